package saml_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(err)
	odd := newKey("p224", p224, epoch, epoch.AddDate(1, 0, 0))
	negative := -time.Second
	tests := []struct {
		name, want string
		edit       func(*saml.Config)
	}{
		{"nothing", "EntityID", func(c *saml.Config) { *c = saml.Config{} }},
		{"no entity", "EntityID", func(c *saml.Config) { c.EntityID = "" }},
		{"entity with space", "EntityID", func(c *saml.Config) { c.EntityID = "a b" }},
		{"entity of the provider", "EntityID", func(c *saml.Config) { c.EntityID = idpEntity }},
		{"no provider", "not known", func(c *saml.Config) { c.Certificates = nil }},
		{"no name of the provider", "not known", func(c *saml.Config) { c.IdPEntityID = "" }},
		{"no endpoint", "not known", func(c *saml.Config) { c.Endpoints.SingleSignOn = "" }},
		{"endpoint without TLS", "https", func(c *saml.Config) { c.Endpoints.SingleSignOn = "http://idp.example/sso" }},
		{"script as endpoint", "https", func(c *saml.Config) { c.Endpoints.SingleSignOn = "javascript:alert(1)" }},
		{"script as logout endpoint", "https", func(c *saml.Config) { c.Endpoints.SingleLogout = "data:text/html,x" }},
		{"metadata without TLS", "https", func(c *saml.Config) { c.MetadataURL = "http://idp.example/metadata" }},
		{"metadata that is none", "Metadata", func(c *saml.Config) { c.Metadata = []byte("<x/>") }},
		{"metadata certificates without metadata", "MetadataCertificates", func(c *saml.Config) { c.MetadataCertificates = c.Certificates }},
		{"weak certificate", "2048", func(c *saml.Config) { c.Certificates = []*x509.Certificate{weakKey().Certificate} }},
		{"certificate of a small curve", "P-256", func(c *saml.Config) { c.Certificates = []*x509.Certificate{odd.Certificate} }},
		{"nil certificate", "nil", func(c *saml.Config) { c.Certificates = []*x509.Certificate{nil} }},
		{"empty certificate", "refused", func(c *saml.Config) { c.Certificates = []*x509.Certificate{{}} }},
		{"empty signing key", "Private and Certificate", func(c *saml.Config) { c.SigningKeys = []saml.Key{{}} }},
		{"signing key without certificate", "Private and Certificate", func(c *saml.Config) { c.SigningKeys = []saml.Key{{Private: spKey().Private}} }},
		{"signing key without key", "Private and Certificate", func(c *saml.Config) { c.SigningKeys = []saml.Key{{Certificate: spKey().Certificate}} }},
		{"nil signing key", "Private and Certificate", func(c *saml.Config) {
			c.SigningKeys = []saml.Key{{Private: (*rsa.PrivateKey)(nil), Certificate: spKey().Certificate}}
		}},
		{"public signing key", "Private and Certificate", func(c *saml.Config) {
			public := spKey().Certificate.PublicKey.(*rsa.PublicKey)
			c.SigningKeys = []saml.Key{{Private: &rsa.PrivateKey{PublicKey: *public}, Certificate: spKey().Certificate}}
		}},
		{"zero signing key", "Private and Certificate", func(c *saml.Config) {
			c.SigningKeys = []saml.Key{{Private: &ecdsa.PrivateKey{}, Certificate: ecKey().Certificate}}
		}},
		{"certificate of another key", "not that of", func(c *saml.Config) {
			c.SigningKeys = []saml.Key{{Private: spKey().Private, Certificate: otherKey().Certificate}}
		}},
		{"weak signing key", "2048", func(c *saml.Config) { c.SigningKeys = []saml.Key{weakKey()} }},
		{"decryption by ECDSA", "decrypts", func(c *saml.Config) { c.DecryptionKeys = []saml.Key{ecKey()} }},
		{"algorithm without key", "SigningKeys", func(c *saml.Config) { c.SignatureAlgorithm = saml.RSASHA256 }},
		{"algorithm of another key", "SignatureAlgorithm", func(c *saml.Config) {
			c.SigningKeys, c.SignatureAlgorithm = []saml.Key{spKey()}, saml.ECDSASHA256
		}},
		{"SHA-1", "SignatureAlgorithm", func(c *saml.Config) {
			c.SigningKeys, c.SignatureAlgorithm = []saml.Key{spKey()}, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
		}},
		{"signed metadata without key", "SigningKeys", func(c *saml.Config) { c.SignMetadata = true }},
		{"names without keys", "KeyNames", func(c *saml.Config) { c.KeyNames = saml.KeyNameID }},
		{"names of an unknown kind", "KeyNames", func(c *saml.Config) { c.SigningKeys, c.KeyNames = []saml.Key{spKey()}, "KEY_ID" }},
		{"names of nothing", "has no subject", func(c *saml.Config) {
			c.SigningKeys, c.KeyNames = []saml.Key{subjectKey(pkix.Name{})}, saml.KeyNameSubject
		}},
		{"extension without key", "SigningKeys", func(c *saml.Config) { c.KeyNameExtension = true }},
		{"extension without name", "KeyNameExtension", func(c *saml.Config) {
			c.SigningKeys, c.KeyNameExtension = []saml.Key{spKey()}, true
		}},
		{"encryption without key", "DecryptionKeys", func(c *saml.Config) { c.WantAssertionsEncrypted = true }},
		{"CBC without key", "InsecureAllowCBC", func(c *saml.Config) { c.InsecureAllowCBC = true }},
		{"transient subject", "transient", func(c *saml.Config) { c.NameIDFormat = saml.NameIDTransient }},
		{"format", "NameIDFormat", func(c *saml.Config) { c.NameIDFormat = "persistent" }},
		{"two subjects", "SubjectAttribute", func(c *saml.Config) { c.SubjectAttribute, c.SubjectFriendlyName = "a", "b" }},
		{"request binding", "RequestBinding", func(c *saml.Config) { c.RequestBinding = saml.HTTPArtifact }},
		{"response binding", "ResponseBinding", func(c *saml.Config) { c.ResponseBinding = "POST" }},
		{"artifact without endpoint", "ArtifactResolution", func(c *saml.Config) { c.ResponseBinding = saml.HTTPArtifact }},
		{"comparison", "AuthnContextComparison", func(c *saml.Config) { c.AuthnContextComparison = "equal" }},
		{"classes and declarations", "AuthnContextDecls", func(c *saml.Config) {
			c.AuthnContextClasses, c.AuthnContextDecls = []string{"urn:a"}, []string{"urn:b"}
		}},
		{"class that is none", "no URI", func(c *saml.Config) { c.AuthnContextClasses = []string{"password"} }},
		{"skew", "ClockSkew", func(c *saml.Config) { c.ClockSkew = 181 * time.Second }},
		{"negative skew", "ClockSkew", func(c *saml.Config) { c.ClockSkew = -1 }},
		{"negative age", "MaxAge", func(c *saml.Config) { c.MaxAge = &negative }},
		{"refresh", "MetadataRefresh", func(c *saml.Config) { c.MetadataRefresh = time.Second }},
		{"age", "MetadataMaxAge", func(c *saml.Config) { c.MetadataMaxAge = time.Hour }},
		{"validity", "MetadataValidity", func(c *saml.Config) { c.MetadataValidity = time.Second }},
		{"value without attribute", "EssentialAttribute", func(c *saml.Config) { c.EssentialValue = "x" }},
		{"value that is none", "EssentialValue", func(c *saml.Config) { c.EssentialAttribute, c.EssentialValue = "x", "(" }},
		{"attribute without name", "RequestedAttributes", func(c *saml.Config) { c.RequestedAttributes = []saml.RequestedAttribute{{}} }},
		{"service of nothing", "ServiceName", func(c *saml.Config) { c.ServiceName = "x" }},
		{"target elsewhere", "Unsolicited", func(c *saml.Config) { c.Unsolicited = map[string]string{"x": "https://other.example/"} }},
		{"target elsewhere, without a scheme", "Unsolicited", func(c *saml.Config) { c.Unsolicited = map[string]string{"x": "//other.example/"} }},
		{"target elsewhere, backwards", "Unsolicited", func(c *saml.Config) { c.Unsolicited = map[string]string{"x": `/\other.example/`} }},
		{"target without a client", "Unsolicited", func(c *saml.Config) { c.Unsolicited = map[string]string{"x": "client:"} }},
		{"anew where nobody asked", "use MaxAge", func(c *saml.Config) { c.Unsolicited, c.ForceAuthn = map[string]string{"": "/"}, true }},
		{"at once where nobody asked", "use MaxAge", func(c *saml.Config) { c.Unsolicited, c.MaxAge = map[string]string{"": "/"}, new(time.Duration) }},
		{"long relay state", "Unsolicited", func(c *saml.Config) { c.Unsolicited = map[string]string{strings.Repeat("x", 81): "/"} }},
	}
	for _, test := range tests {
		cfg := config()
		test.edit(&cfg)
		p, err := saml.New(cfg)
		if p != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: New = %v, %v, want an error with %q", test.name, p, err, test.want)
		}
	}
}

func TestInsecure(t *testing.T) {
	t.Parallel()
	if got := newProvider(t, config()).Insecure(); len(got) != 0 {
		t.Errorf("Insecure() = %v, want nothing", got)
	}
	cfg := decrypting(config())
	cfg.InsecureAllowPrivateNetworks, cfg.InsecureAllowHTTP, cfg.InsecureAllowCBC, cfg.InsecureAllowExpiredCertificates = true, true, true, true
	want := []string{"InsecureAllowCBC", "InsecureAllowExpiredCertificates", "InsecureAllowHTTP", "InsecureAllowPrivateNetworks"}
	if got := newProvider(t, cfg).Insecure(); !slices.Equal(got, want) {
		t.Errorf("Insecure() = %v, want %v", got, want)
	}
}

func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	cfg := decrypting(config())
	cfg.SigningKeys = []saml.Key{spKey()}
	d := spKey().Private.(*rsa.PrivateKey).D.String()
	p := newProvider(t, cfg)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, s := range []string{fmt.Sprintf(verb, cfg), fmt.Sprintf(verb, p), p.LogValue().String()} {
			if strings.Contains(s, d) || !strings.Contains(s, idpEntity) {
				t.Errorf("%s prints %.80s", verb, s)
			}
		}
	}
}

// What the caller changes after New changes nothing.
func TestNewCopies(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.AuthnContextClasses = []string{"urn:a"}
	p := newProvider(t, cfg)
	cfg.AuthnContextClasses[0], cfg.Certificates[0] = "urn:b", nil
	_, r := beginRequest(t, p, provider.Request{})
	if got := find(t, r, ".//saml:AuthnContextClassRef").Text(); got != "urn:a" {
		t.Errorf("class = %q", got)
	}
}
