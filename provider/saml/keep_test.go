package saml_test

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// kept logs in at a broker that keeps tokens, and returns what it is to keep.
func kept(t *testing.T, cfg saml.Config, edit func(*forge)) *provider.Tokens {
	t.Helper()
	p := newProvider(t, cfg)
	data, request := begin(t, p, provider.Request{})
	f := newForge(request)
	edit(f)
	cb := posted(f.response(t))
	cb.Data, cb.KeepTokens = data, true
	identity, err := p.Finish(t.Context(), cb)
	if err != nil {
		t.Fatalf("Finish: %v", err)
	}
	return identity.Tokens
}

// The assertion is handed out as it was signed: somebody else's library verifies it, apart from the response that it came in.
func TestKeptAssertion(t *testing.T) {
	t.Parallel()
	awkward := attribute("note", "a &amp; b &lt;c&gt; &quot;d&quot; &#9;é\u2028")
	for name, row := range map[string]struct {
		edit func(*forge)
		cfg  saml.Config
	}{
		"signed":                   {func(f *forge) { f.signed = "a" }, config()},
		"within a signed response": {func(f *forge) { f.signed = "ra" }, config()},
		"encrypted":                {func(f *forge) { f.encrypt = gcm(spKey()).encrypt }, decrypting(config())},
		"with awkward text":        {func(f *forge) { f.attributes += awkward }, config()},
		"with prefixes that it names": {func(f *forge) {
			f.edit = func(r *etree.Element) {
				r.CreateAttr("xmlns:xs", "http://www.w3.org/2001/XMLSchema")
				for _, v := range r.FindElements(".//saml:AttributeValue") {
					v.RemoveAttr("xmlns:xs")
				}
			}
			f.canonical = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("xs")
			f.after = func(r *etree.Element) {
				resign(t, idpKey(), r, func(info *etree.Element) {
					prefixes := info.FindElement(".//ds:Transform[2]").CreateElement("ec:InclusiveNamespaces")
					prefixes.CreateAttr("xmlns:ec", "http://www.w3.org/2001/10/xml-exc-c14n#")
					prefixes.CreateAttr("PrefixList", "xs")
				})
			}
		}, config()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := kept(t, row.cfg, row.edit)
			if tokens == nil || tokens.IssuedType != provider.TypeSAML2 || tokens.TokenType != "N_A" || !tokens.Expiry.IsZero() {
				t.Fatalf("tokens %#v", tokens)
			}
			text, err := base64.RawURLEncoding.DecodeString(tokens.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			root := read(t, string(text))
			verifier := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{idpKey().Certificate}})
			verifier.IdAttribute = "ID"
			verifier.Clock = dsig.NewFakeClockAt(epoch)
			verified, err := verifier.Validate(root)
			if err != nil {
				t.Fatalf("verified by somebody else: %v\n%s", err, text)
			}
			if e := verified.FindElement("./saml:Subject/saml:NameID"); e == nil || e.Text() != "alice-1" {
				t.Errorf("the assertion is about nobody:\n%s", text)
			}
		})
	}
}

// Where only the response was signed the assertion is what that had; where nothing is kept, nothing is prepared.
func TestKeptAssertionWithoutSignature(t *testing.T) {
	t.Parallel()
	tokens := kept(t, config(), func(f *forge) { f.signed = "r" })
	text, err := base64.RawURLEncoding.DecodeString(tokens.AccessToken)
	if err != nil || !strings.Contains(string(text), "alice-1") || strings.Contains(string(text), "Signature") || read(t, string(text)).Tag != "Assertion" {
		t.Errorf("%v: %s", err, text)
	}
	identity, err := try(t, config(), func(*forge) {})
	if err != nil || identity.Tokens != nil {
		t.Errorf("without KeepTokens: %v, %v", identity.Tokens, err)
	}
}
