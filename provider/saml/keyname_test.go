package saml_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// subjectKey is a key whose certificate has this subject.
func subjectKey(subject pkix.Name) saml.Key {
	k := spKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotBefore: epoch, NotAfter: epoch.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Private.Public(), k.Private)
	must(err)
	k.Certificate, err = x509.ParseCertificate(der)
	must(err)
	return k
}

// The three ways of Keycloak's xmlSigKeyInfoKeyNameTransformer, and a name of the host's own, which beats them.
func TestKeyNames(t *testing.T) {
	t.Parallel()
	key := subjectKey(pkix.Name{CommonName: "broker", Organization: []string{"Example, Inc."}, Country: []string{"CH"}})
	sum := sha256.Sum256(key.Certificate.RawSubjectPublicKeyInfo)
	for _, test := range []struct {
		own, want string
		names     saml.KeyName
	}{
		{"", "", ""},
		{"", `CN=broker, O=Example\, Inc., C=CH`, saml.KeyNameSubject},
		{"", base64.RawURLEncoding.EncodeToString(sum[:]), saml.KeyNameID},
		{"own", "own", ""},
		{"own", "own", saml.KeyNameSubject},
		{"own", "own", saml.KeyNameID},
	} {
		key.Name = test.own
		cfg := config()
		cfg.SigningKeys, cfg.DecryptionKeys, cfg.KeyNames = []saml.Key{key}, []saml.Key{key}, test.names
		cfg.RequestBinding = saml.HTTPPost
		p := newProvider(t, cfg)
		_, request := beginRequest(t, p, provider.Request{})
		if got := keyNamesIn(request); strings.Join(got, "|") != test.want {
			t.Errorf("%q, own name %q: the signature names %q, want %q", test.names, test.own, got, test.want)
		}
		d, err := p.Descriptor(t.Context(), published)
		must(err)
		both := strings.TrimPrefix(test.want+"|"+test.want, "|")
		if got := keyNamesIn(read(t, string(d.Body))); strings.Join(got, "|") != both {
			t.Errorf("%q, own name %q: the metadata names %q, want %q", test.names, test.own, got, both)
		}
	}
}

func keyNamesIn(e *etree.Element) (names []string) {
	for _, n := range e.FindElements("//ds:KeyName") {
		names = append(names, n.Text())
	}
	return names
}

// Only what has no other place for the name of its key says it in an extension, and the signature covers that.
func TestKeyNameExtension(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.SigningKeys, cfg.KeyNames, cfg.KeyNameExtension = []saml.Key{spKey()}, saml.KeyNameSubject, true
	for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
		cfg.RequestBinding = binding
		p := newProvider(t, cfg)
		redirect, request := beginRequest(t, p, provider.Request{})
		logout, err := p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "alice", State: state})
		must(err)
		answer, err := p.AnswerLogout(t.Context(), &provider.Logout{ID: "_l"}, true)
		must(err)
		for name, e := range map[string]*etree.Element{
			"AuthnRequest":   request,
			"LogoutRequest":  sent(t, logout, "SAMLRequest"),
			"LogoutResponse": sent(t, answer, "SAMLResponse"),
		} {
			extensions := e.FindElements("./samlp:Extensions")
			if binding == saml.HTTPPost {
				if len(extensions) != 0 {
					t.Errorf("%s by HTTP-POST has an extension", name)
				}
				continue
			}
			if len(extensions) != 1 || extensions[0].Index() != find(t, e, "./saml:Issuer").Index()+1 || len(extensions[0].ChildElements()) != 1 {
				t.Fatalf("%s: %d extensions, or not one behind the Issuer", name, len(extensions))
			}
			info := extensions[0].ChildElements()[0]
			if info.Tag != "KeyInfo" || info.NamespaceURI() != "urn:keycloak:ext:key:1.0" || info.SelectAttrValue("MessageSigningKeyId", "") != "CN=sp" {
				t.Errorf("%s: extension %s in %q, %v", name, info.Tag, info.NamespaceURI(), info.Attr)
			}
		}
		if binding == saml.HTTPRedirect {
			_, raw, _ := strings.Cut(redirect.URL, "?")
			covered, signature, _ := strings.Cut(raw, "&Signature=")
			signature, err = url.QueryUnescape(signature)
			must(err)
			if err := spKey().Certificate.CheckSignature(x509.SHA256WithRSA, []byte(covered), decode(t, signature)); err != nil {
				t.Error(err)
			}
		}
	}
}
