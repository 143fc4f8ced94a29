package saml_test

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

var published = provider.DescriptorRequest{URL: acs + "/descriptor", RedirectURI: acs, LogoutURI: slo}

func TestDescriptor(t *testing.T) {
	t.Parallel()
	now := epoch
	index := uint16(7)
	cfg := config()
	cfg.Now = func() time.Time { return now }
	cfg.SigningKeys, cfg.DecryptionKeys = []saml.Key{spKey(), otherKey()}, []saml.Key{otherKey(), spKey()}
	cfg.SigningKeys[0].Name = "sp-1"
	cfg.SignMetadata, cfg.WantAssertionsSigned = true, true
	cfg.RequestedAttributes = []saml.RequestedAttribute{{Name: "urn:oid:2.5.4.42", FriendlyName: "givenName", Required: true}, {Name: "mail"}}
	cfg.ServiceName, cfg.AttributeService = "Broker", &index
	p := newProvider(t, cfg)
	d, err := p.Descriptor(t.Context(), published)
	if err != nil || d.ContentType != "application/samlmetadata+xml" || d.MaxAge <= 0 {
		t.Fatalf("Descriptor = %+v, %v", d, err)
	}
	root := read(t, string(d.Body))
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{spKey().Certificate}})
	ctx.Clock = dsig.NewFakeClockAt(epoch)
	if _, err := ctx.Validate(root); err != nil {
		t.Errorf("signature: %v", err)
	}
	if root.SelectAttrValue("entityID", "") != spEntity || root.SelectAttrValue("validUntil", "") != stamp(epoch.Add(7*24*time.Hour)) {
		t.Errorf("descriptor = %s", d.Body)
	}
	role := find(t, root, "./md:SPSSODescriptor")
	for path, want := range map[string]string{
		"./md:KeyDescriptor[1]/ds:KeyInfo/ds:X509Data/ds:X509Certificate": base64Of(spKey().Certificate.Raw),
		"./md:KeyDescriptor[1]/ds:KeyInfo/ds:KeyName":                     "sp-1",
		"./md:KeyDescriptor[2]/ds:KeyInfo/ds:X509Data/ds:X509Certificate": base64Of(otherKey().Certificate.Raw),
		"./md:KeyDescriptor[3]/ds:KeyInfo/ds:X509Data/ds:X509Certificate": base64Of(otherKey().Certificate.Raw),
		"./md:NameIDFormat":                             string(saml.NameIDPersistent),
		"./md:AttributeConsumingService/md:ServiceName": "Broker",
	} {
		if got := find(t, role, path).Text(); got != want {
			t.Errorf("%s = %.40q, want %.40q", path, got, want)
		}
	}
	if n := len(role.FindElements("./md:KeyDescriptor")); n != 3 {
		t.Errorf("%d keys, want 3", n)
	}
	for path, want := range map[string]string{
		".|AuthnRequestsSigned":                                              "true",
		".|WantAssertionsSigned":                                             "true",
		"./md:SingleLogoutService[1]|Location":                               slo,
		"./md:SingleLogoutService[1]|Binding":                                string(saml.HTTPRedirect),
		"./md:SingleLogoutService[2]|Binding":                                string(saml.HTTPPost),
		"./md:AssertionConsumerService|Location":                             acs,
		"./md:AssertionConsumerService|Binding":                              string(saml.HTTPPost),
		"./md:AttributeConsumingService|index":                               "7",
		"./md:AttributeConsumingService/md:RequestedAttribute[1]|Name":       "urn:oid:2.5.4.42",
		"./md:AttributeConsumingService/md:RequestedAttribute[1]|isRequired": "true",
		"./md:AttributeConsumingService/md:RequestedAttribute[2]|NameFormat": "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
		"./md:KeyDescriptor[3]|use":                                          "encryption",
	} {
		at := bytes.IndexByte([]byte(path), '|')
		if got := find(t, role, path[:at]).SelectAttrValue(path[at+1:], ""); got != want {
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
	again, err := p.Descriptor(t.Context(), published)
	if err != nil || !bytes.Equal(again.Body, d.Body) {
		t.Errorf("made again, %v", err)
	}
	now = now.Add(2 * time.Hour)
	if later, err := p.Descriptor(t.Context(), published); err != nil || bytes.Equal(later.Body, d.Body) {
		t.Errorf("not made again, %v", err)
	}
}

func TestDescriptorPlain(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	elsewhere := published
	elsewhere.RedirectURI = "https://broker.example/id/broker/elsewhere/endpoint"
	if d, err := p.Descriptor(t.Context(), elsewhere); err != nil || !strings.Contains(string(d.Body), elsewhere.RedirectURI) {
		t.Errorf("at another address: %v", err)
	}
	d, err := p.Descriptor(t.Context(), published)
	if err != nil {
		t.Fatal(err)
	}
	root := read(t, string(d.Body))
	for _, name := range []string{"AuthnRequestsSigned", "WantAssertionsSigned"} {
		if got := find(t, root, "./md:SPSSODescriptor").SelectAttrValue(name, ""); got != "false" {
			t.Errorf("%s = %q, want false", name, got)
		}
	}
	if strings.Contains(string(d.Body), elsewhere.RedirectURI) {
		t.Error("it has the address of another")
	}
	for _, path := range []string{"//md:KeyDescriptor", "//md:SingleLogoutService", "//md:AttributeConsumingService", "//ds:Signature"} {
		if root.FindElement(path) != nil {
			t.Errorf("there is a %s", path)
		}
	}
}

// The binding by which answers have to come is the one that the metadata names.
func TestDescriptorBinding(t *testing.T) {
	t.Parallel()
	for _, binding := range []saml.Binding{saml.HTTPPost, saml.HTTPRedirect, saml.HTTPArtifact} {
		cfg := config()
		cfg.ResponseBinding, cfg.Endpoints.ArtifactResolution = binding, "https://idp.example/artifacts"
		d, err := newProvider(t, cfg).Descriptor(t.Context(), published)
		must(err)
		if got := find(t, read(t, string(d.Body)), ".//md:AssertionConsumerService").SelectAttrValue("Binding", ""); got != string(binding) {
			t.Errorf("by %s, want %s", got, binding)
		}
	}
}
