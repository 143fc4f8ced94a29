package saml_test

import (
	"crypto/x509"
	"testing"

	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func forgeryTarget(t *testing.T, url, alg string, edit func(*saml.Config)) providertest.SAMLTarget {
	t.Helper()
	idp, err := providertest.NewSAML(providertest.SAMLConfig{URL: url, Alg: alg, Providers: []providertest.SAMLServiceProvider{{
		EntityID: spEntity, ACS: []string{acs}, Logout: sloAddress, Certificates: []*x509.Certificate{spKey().Certificate}, EncryptTo: spKey().Certificate,
	}}})
	must(err)
	metadata, err := idp.Metadata()
	must(err)
	cfg := saml.Config{EntityID: spEntity, IdPEntityID: idp.EntityID(), Metadata: []byte(metadata), SigningKeys: []saml.Key{spKey()},
		DecryptionKeys: []saml.Key{spKey()}, InsecureAllowHTTP: true}
	if edit != nil {
		edit(&cfg)
	}
	return providertest.SAMLProviderTarget(idp, newProvider(t, cfg), acs, sloAddress)
}

// Every forgery there is, against each way to sign and to decrypt.
func TestForgeries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, alg string
		edit      func(*saml.Config)
	}{
		{"RSA", "", nil},
		{"ECDSA, CBC allowed", "ES256", func(c *saml.Config) { c.InsecureAllowCBC = true }},
		{"ECDSA, unsolicited answers allowed", "ES384", func(c *saml.Config) { c.Unsolicited = map[string]string{"app": "/app"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := 0
			for _, r := range providertest.ReplaySAML(t, forgeryTarget(t, "https://idp.example", tt.alg, tt.edit)) {
				if !r.LeftOut {
					sent++
				}
			}
			if sent < 500 {
				t.Errorf("%d were sent", sent)
			}
		})
	}
}

// The answer of each identity provider is taken at its own endpoint and at no other.
func TestForgeriesAcross(t *testing.T) {
	t.Parallel()
	providertest.ReplaySAMLAcross(t, forgeryTarget(t, "https://a.example", "ES256", nil), forgeryTarget(t, "https://b.example", "", nil),
		forgeryTarget(t, "https://c.example", "ES256", nil))
}
