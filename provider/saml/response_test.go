package saml_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// try runs a login against a provider of that configuration.
func try(t *testing.T, cfg saml.Config, change func(*forge)) (*provider.Identity, error) {
	t.Helper()
	p := newProvider(t, cfg)
	data, id := begin(t, p, provider.Request{})
	f := newForge(id)
	if change != nil {
		change(f)
	}
	return finish(t, p, data, f.response(t))
}

// refused fails unless err is a *provider.Error with that in it.
func refused(t *testing.T, identity *provider.Identity, err error, want string) {
	t.Helper()
	if identity != nil {
		t.Fatalf("identity = %+v, want none", identity)
	}
	if failure, ok := errors.AsType[*provider.Error](err); !ok || !strings.Contains(failure.Error(), want) {
		t.Fatalf("error = %v, want one with %q", err, want)
	}
}

func find(t *testing.T, e *etree.Element, path string) *etree.Element {
	t.Helper()
	found := e.FindElement(path)
	if found == nil {
		t.Fatalf("no %s", path)
	}
	return found
}

func TestFinish(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	for _, signed := range []string{"a", "r", "ra"} {
		data, id := begin(t, p, provider.Request{})
		f := newForge(id)
		f.signed = signed
		identity, err := finish(t, p, data, f.response(t))
		if err != nil {
			t.Fatalf("signed %q: %v", signed, err)
		}
		if identity.Subject != "alice-1" || identity.Email != "alice@example.com" || identity.Issuer != idpEntity || identity.Session != "session-1" {
			t.Errorf("signed %q: identity = %+v", signed, identity)
		}
		if identity.Once == nil || identity.Once.ID != "_assert" || !identity.Once.Until.After(epoch.Add(5*time.Minute)) {
			t.Errorf("signed %q: Once = %+v", signed, identity.Once)
		}
		if identity.EmailVerified || identity.AuthTime != epoch || !strings.HasSuffix(identity.ACR, ":PasswordProtectedTransport") {
			t.Errorf("signed %q: identity = %+v", signed, identity)
		}
	}
}

// What identity providers do that is no attack.
func TestFinishAccepts(t *testing.T) {
	t.Parallel()
	reissued := newKey("again", idpKey().Private, epoch.AddDate(0, -1, 0), epoch.AddDate(2, 0, 0))
	tests := []struct {
		name   string
		config func(*saml.Config)
		change func(*forge)
	}{
		{"RSA with SHA-384", nil, func(f *forge) { f.method = string(saml.RSASHA384) }},
		{"RSA with SHA-512", nil, func(f *forge) { f.method = string(saml.RSASHA512) }},
		{"ECDSA as raw r and s", func(c *saml.Config) { c.Certificates = []*x509.Certificate{ecKey().Certificate} },
			func(f *forge) { f.key, f.method = ecKey(), string(saml.ECDSASHA256) }},
		{"one of several certificates", func(c *saml.Config) {
			c.Certificates = []*x509.Certificate{otherKey().Certificate, ecKey().Certificate, idpKey().Certificate}
		}, nil},
		{"a certificate that was issued anew for the same key", func(c *saml.Config) {
			c.Certificates = []*x509.Certificate{reissued.Certificate}
		}, nil},
		{"a foreign certificate in KeyInfo, which does not matter", nil, func(f *forge) {
			f.after = func(r *etree.Element) {
				r.FindElement(".//ds:X509Certificate").SetText(base64Of(otherKey().Certificate.Raw))
			}
		}},
		{"no KeyInfo", nil, func(f *forge) {
			f.after = func(r *etree.Element) {
				info := r.FindElement(".//ds:KeyInfo")
				info.Parent().RemoveChild(info)
			}
		}},
		{"the clock a minute off", nil, func(f *forge) { f.at = epoch.Add(time.Minute) }},
		{"not valid before half a minute has passed", nil, func(f *forge) {
			f.edit = func(r *etree.Element) {
				r.FindElement(".//saml:Conditions").CreateAttr("NotBefore", stamp(epoch.Add(30*time.Second)))
				r.FindElement(".//saml:SubjectConfirmationData").CreateAttr("NotBefore", stamp(epoch.Add(30*time.Second)))
			}
		}},
		{"expired within the skew", nil, func(f *forge) { f.at = epoch.Add(-5*time.Minute - 59*time.Second) }},
		{"one of several confirmations, the first", nil, func(f *forge) {
			f.edit = func(r *etree.Element) {
				s := r.FindElement(".//saml:Subject")
				bad := s.FindElement("./saml:SubjectConfirmation").Copy()
				bad.FindElement("./saml:SubjectConfirmationData").CreateAttr("Recipient", "https://elsewhere.example/")
				s.AddChild(bad)
			}
		}},
		{"one of several confirmations, the last", nil, func(f *forge) {
			f.edit = func(r *etree.Element) {
				s := r.FindElement(".//saml:Subject")
				good := s.FindElement("./saml:SubjectConfirmation")
				s.AddChild(good.Copy())
				good.CreateAttr("Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")
			}
		}},
		{"several audiences of one restriction", nil, func(f *forge) {
			f.edit = func(r *etree.Element) {
				restriction := r.FindElement(".//saml:AudienceRestriction")
				restriction.InsertChildAt(0, newText("saml:Audience", "https://elsewhere.example"))
			}
		}},
		{"OneTimeUse", nil, func(f *forge) {
			f.edit = func(r *etree.Element) { r.FindElement(".//saml:Conditions").CreateElement("saml:OneTimeUse") }
		}},
		{"no Destination, as the response is not signed", nil, func(f *forge) {
			f.edit = func(r *etree.Element) { r.RemoveAttr("Destination") }
		}},
		{"no issuer of the response", nil, func(f *forge) {
			f.edit = func(r *etree.Element) { r.RemoveChild(r.FindElement("./saml:Issuer")) }
		}},
		{"CDATA", nil, func(f *forge) {
			f.text = func(s string) string { return strings.Replace(s, ">alice-1<", "><![CDATA[alice-1]]><", 1) }
		}},
		{"an XML declaration and a byte order mark", nil, func(f *forge) {
			f.text = func(s string) string { return "\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + s + "\n" }
		}},
		{"five thousand values", nil, func(f *forge) {
			values := make([]string, 5000)
			for i := range values {
				values[i] = fmt.Sprint("group-", i)
			}
			f.attributes = attribute("groups", values...)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, signed := range []string{"a", "r", "ra"} {
				if signed != "a" && strings.Contains(test.name, "as the response is not signed") || signed == "r" && strings.Contains(test.name, "issuer of the response") {
					continue
				}
				if strings.Contains(signed, "r") && test.name == "no issuer of the response" {
					continue
				}
				cfg := config()
				if test.config != nil {
					test.config(&cfg)
				}
				identity, err := try(t, cfg, func(f *forge) {
					f.signed = signed
					if test.change != nil {
						test.change(f)
					}
				})
				if err != nil {
					t.Fatalf("signed %q: %v", signed, err)
				}
				if identity.Subject != "alice-1" {
					t.Errorf("signed %q: Subject = %q", signed, identity.Subject)
				}
			}
		})
	}
}

func newText(tag, text string) *etree.Element {
	e := etree.NewElement(tag)
	e.SetText(text)
	return e
}

// evil returns a copy of an element that speaks of somebody else.
func evil(e *etree.Element, sameID bool) *etree.Element {
	c := e.Copy()
	for _, name := range c.FindElements(".//saml:NameID") {
		name.SetText("admin")
	}
	if !sameID {
		c.CreateAttr("ID", "_evil")
		for _, a := range c.FindElements(".//saml:Assertion") {
			a.CreateAttr("ID", "_evil2")
		}
	}
	return c
}

func withoutSignature(e *etree.Element) *etree.Element {
	if s := e.FindElement("./ds:Signature"); s != nil {
		e.RemoveChild(s)
	}
	return e
}

// The wraps move what was signed out of the reader's sight and put something else in its place (XSW 1 to 9 of the
// literature, before, behind, around and inside of each other).
var wraps = map[string]func(r *etree.Element, sameID bool){
	"response beside the original in its signature": func(r *etree.Element, sameID bool) {
		original, sig := withoutSignature(r.Copy()), r.FindElement("./ds:Signature")
		if sig == nil {
			sig = r.FindElement("./saml:Assertion/ds:Signature")
		}
		become(r, evil(r, sameID))
		if s := r.FindElement("./ds:Signature"); s != nil {
			s.AddChild(original)
			return
		}
		sig.AddChild(original)
		r.AddChild(sig)
	},
	"response around the original, the signature outside": func(r *etree.Element, sameID bool) {
		original := withoutSignature(r.Copy())
		become(r, evil(r, sameID))
		r.CreateElement("samlp:Extensions").AddChild(original)
	},
	"assertion before the original": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		r.InsertChildAt(a.Index(), withoutSignature(evil(a, sameID)))
	},
	"assertion behind the original": func(r *etree.Element, sameID bool) {
		r.AddChild(withoutSignature(evil(r.FindElement("./saml:Assertion"), sameID)))
	},
	"assertion around the original": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		e := withoutSignature(evil(a, sameID))
		r.InsertChildAt(a.Index(), e)
		e.AddChild(a)
	},
	"assertion with the signature, the original beside": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		e := evil(a, sameID)
		r.InsertChildAt(a.Index(), e)
		withoutSignature(a)
	},
	"assertion with the signature, the original in it": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		e := evil(a, sameID)
		r.InsertChildAt(a.Index(), e)
		r.RemoveChild(a)
		if s := e.FindElement("./ds:Signature"); s != nil {
			s.CreateElement("ds:Object").AddChild(withoutSignature(a))
			return
		}
		e.CreateElement("saml:Advice").AddChild(a)
	},
	"the original in Extensions": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		r.InsertChildAt(a.Index(), withoutSignature(evil(a, sameID)))
		ext := etree.NewElement("samlp:Extensions")
		ext.AddChild(a)
		r.InsertChildAt(0, ext)
	},
	"the original in an Object of another signature": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		e := withoutSignature(evil(a, sameID))
		r.InsertChildAt(a.Index(), e)
		s := etree.NewElement("ds:Signature")
		s.CreateAttr("xmlns:ds", dsig.Namespace)
		s.CreateElement("ds:Object").AddChild(a)
		e.AddChild(s)
	},
	"the original in Status": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		r.InsertChildAt(a.Index(), withoutSignature(evil(a, sameID)))
		r.FindElement("./samlp:Status").CreateElement("samlp:StatusDetail").AddChild(a)
	},
	"the signature moved to the response": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		become(a, evil(a, sameID))
		if s := a.FindElement("./ds:Signature"); s != nil {
			r.AddChild(s)
		}
	},
	"the signature moved under Status": func(r *etree.Element, _ bool) {
		s := r.FindElement("./ds:Signature")
		if s == nil {
			s = r.FindElement("./saml:Assertion/ds:Signature")
		}
		r.FindElement("./samlp:Status").AddChild(s)
		r.FindElement(".//saml:NameID").SetText("admin")
	},
	"another name in place": func(r *etree.Element, _ bool) { r.FindElement(".//saml:NameID").SetText("admin") },
	"another namespace for the original": func(r *etree.Element, sameID bool) {
		a := r.FindElement("./saml:Assertion")
		e := withoutSignature(evil(a, sameID))
		r.InsertChildAt(a.Index(), e)
		a.Space = "x"
		a.CreateAttr("xmlns:x", "urn:other")
	},
	"a name of another namespace before": func(r *etree.Element, _ bool) {
		n := r.FindElement(".//saml:NameID")
		twin := n.Copy()
		twin.Space = "x"
		twin.CreateAttr("xmlns:x", "urn:other")
		twin.SetText("admin")
		n.Parent().InsertChildAt(0, twin)
	},
}

func become(e, other *etree.Element) {
	e.Child, e.Attr = nil, nil
	for _, a := range other.Attr {
		e.CreateAttr(a.FullKey(), a.Value)
	}
	for _, c := range append([]etree.Token(nil), other.Child...) {
		e.AddChild(c)
	}
}

func TestSignatureWrapping(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	tried := 0
	for name, wrap := range wraps {
		for _, signed := range []string{"a", "r", "ra"} {
			for _, sameID := range []bool{false, true} {
				data, id := begin(t, p, provider.Request{})
				f := newForge(id)
				f.signed = signed
				f.after = func(r *etree.Element) { wrap(r, sameID) }
				identity, err := finish(t, p, data, f.response(t))
				if _, ok := errors.AsType[*provider.Error](err); identity != nil || !ok {
					t.Errorf("%s, signed %q, same id %v: identity %+v, error %v", name, signed, sameID, identity, err)
				}
				tried++
			}
		}
	}
	if tried != 6*len(wraps) {
		t.Errorf("%d tried", tried)
	}
}

// Whatever is repeated, commented or exchanged within ds:Signature is refused.
func TestSignatureShape(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	inside := []string{
		"SignedInfo", "SignatureValue", "KeyInfo", "CanonicalizationMethod", "SignatureMethod", "Reference", "Transforms",
		"Transform", "DigestMethod", "DigestValue",
	}
	check := func(what, signed string, after func(*etree.Element)) {
		t.Helper()
		data, id := begin(t, p, provider.Request{})
		f := newForge(id)
		f.signed, f.after = signed, after
		identity, err := finish(t, p, data, f.response(t))
		if _, ok := errors.AsType[*provider.Error](err); identity != nil || !ok {
			t.Errorf("%s, signed %q: identity %+v, error %v", what, signed, identity, err)
		}
	}
	for _, signed := range []string{"a", "r"} {
		for _, tag := range inside {
			at := func(r *etree.Element) *etree.Element { return r.FindElement(".//ds:" + tag) }
			check("twice "+tag, signed, func(r *etree.Element) {
				e := at(r)
				e.Parent().InsertChildAt(e.Index(), e.Copy())
			})
			check("twice, behind, "+tag, signed, func(r *etree.Element) { at(r).Parent().AddChild(at(r).Copy()) })
			if tag != "KeyInfo" {
				check("no "+tag, signed, func(r *etree.Element) { at(r).Parent().RemoveChild(at(r)) })
			}
			check("comment in "+tag, signed, func(r *etree.Element) { at(r).InsertChildAt(0, etree.NewComment("x")) })
			check("instruction in "+tag, signed, func(r *etree.Element) { at(r).InsertChildAt(0, etree.NewProcInst("x", "y")) })
		}
		check("twice Signature", signed, func(r *etree.Element) {
			s := r.FindElement(".//ds:Signature")
			s.Parent().AddChild(s.Copy())
		})
		check("Object", signed, func(r *etree.Element) { r.FindElement(".//ds:Signature").CreateElement("ds:Object") })
		check("Manifest", signed, func(r *etree.Element) { r.FindElement(".//ds:SignedInfo").CreateElement("ds:Manifest") })
		check("no URI", signed, func(r *etree.Element) { r.FindElement(".//ds:Reference").CreateAttr("URI", "") })
		check("another URI", signed, func(r *etree.Element) { r.FindElement(".//ds:Reference").CreateAttr("URI", "#_other") })
		for attribute, values := range map[string][]string{
			"SignatureMethod": {
				"http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
				"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", string(saml.RSASHA512), string(saml.ECDSASHA256), "",
			},
			"DigestMethod":           {"http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2001/04/xmlenc#sha512", ""},
			"CanonicalizationMethod": {string(dsig.CanonicalXML10RecAlgorithmId), string(dsig.CanonicalXML10ExclusiveWithCommentsAlgorithmId)},
			"Transform":              {"http://www.w3.org/TR/1999/REC-xslt-19991116", "http://www.w3.org/TR/1999/REC-xpath-19991116"},
		} {
			for _, value := range values {
				check(attribute+" "+value, signed, func(r *etree.Element) { r.FindElement(".//ds:"+attribute).CreateAttr("Algorithm", value) })
			}
		}
	}
}

func TestSignatureRefused(t *testing.T) {
	t.Parallel()
	expired := newKey("expired", idpKey().Private, epoch.AddDate(-2, 0, 0), epoch.Add(-time.Second))
	early := newKey("early", idpKey().Private, epoch.Add(61*time.Second), epoch.AddDate(2, 0, 0))
	tests := []struct {
		name, want string
		config     func(*saml.Config)
		change     func(*forge)
	}{
		{"unsigned", "neither the response nor the assertion is signed", nil, func(f *forge) { f.signed = "" }},
		{"signed by a stranger, who says so in KeyInfo", "none of the keys", nil, func(f *forge) { f.key = otherKey() }},
		{"SHA-1", "is refused", nil, func(f *forge) { f.method = dsig.RSASHA1SignatureMethod }},
		{"a certificate that is not valid yet", "valid now", func(c *saml.Config) { c.Certificates = []*x509.Certificate{early.Certificate} }, nil},
		{"a certificate that has expired", "valid now", func(c *saml.Config) { c.Certificates = []*x509.Certificate{expired.Certificate} }, nil},
		{"ECDSA in ASN.1", "none of the keys", func(c *saml.Config) { c.Certificates = []*x509.Certificate{ecKey().Certificate} },
			func(f *forge) { f.key, f.method, f.keepDER = ecKey(), string(saml.ECDSASHA256), true }},
		{"inclusive canonicalization", "canonicalization", nil, func(f *forge) { f.canonical = dsig.MakeC14N10RecCanonicalizer() }},
		{"canonicalization with comments", "canonicalization", nil,
			func(f *forge) { f.canonical = dsig.MakeC14N10ExclusiveWithCommentsCanonicalizerWithPrefixList("") }},
		{"the assertion without a signature of its own", "WantAssertionsSigned", func(c *saml.Config) { c.WantAssertionsSigned = true },
			func(f *forge) { f.signed = "r" }},
		{"a second assertion, signed as well", "2 assertions", nil, func(f *forge) {
			f.signed = "ra"
			f.signedEdit = func(r *etree.Element) {
				a := r.FindElement("./saml:Assertion").Copy()
				withoutSignature(a).CreateAttr("ID", "_second")
				r.AddChild(a)
			}
		}},
		{"an assertion in another one", "unusual places", nil, func(f *forge) {
			f.signed = "r"
			f.edit = func(r *etree.Element) {
				a := r.FindElement("./saml:Assertion")
				inner := evil(a, false)
				a.CreateElement("saml:Advice").AddChild(inner)
			}
		}},
		{"a signature in an attribute", "unusual places", nil, func(f *forge) {
			f.signed = "r"
			f.edit = func(r *etree.Element) {
				r.FindElement(".//saml:AttributeValue").CreateElement("ds:Signature").CreateAttr("xmlns:ds", dsig.Namespace)
			}
		}},
		{"no assertion", "0 assertions", nil, func(f *forge) {
			f.signed = "r"
			f.edit = func(r *etree.Element) { r.RemoveChild(r.FindElement("./saml:Assertion")) }
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			if test.config != nil {
				test.config(&cfg)
			}
			identity, err := try(t, cfg, test.change)
			refused(t, identity, err, test.want)
		})
	}
	cfg := config()
	cfg.Certificates, cfg.InsecureAllowExpiredCertificates = []*x509.Certificate{expired.Certificate}, true
	if _, err := try(t, cfg, nil); err != nil {
		t.Errorf("InsecureAllowExpiredCertificates: %v", err)
	}
}

// Text that is cut in two is either whole or refused, never a part of itself.
func TestDocumentRefused(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	replace := func(old, now string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, now, 1) }
	}
	tests := map[string]func(string) string{
		"comment in a name":     replace(">alice-1<", ">alice<!-- -->-1<"),
		"instruction in a name": replace(">alice-1<", ">alice<?x y?>-1<"),
		"document type":         func(s string) string { return `<!DOCTYPE x>` + s },
		"entity": func(s string) string {
			return `<!DOCTYPE x [<!ENTITY e "alice-1">]>` + strings.Replace(s, ">alice-1<", ">&e;<", 1)
		},
		"undeclared entity":   replace(">alice-1<", ">alice-1&e;<"),
		"second root":         func(s string) string { return s + "<x/>" },
		"the same root again": func(s string) string { return s + s },
		"prefixes over prefixes": replace(`<samlp:Status>`,
			`<samlp:Status `+someAttributes("xmlns:a", 35)+`><x `+someAttributes("xmlns:b", 35)+`/>`),
		"text behind the root":       func(s string) string { return s + "x" },
		"comment before the root":    func(s string) string { return "<!-- -->" + s },
		"instruction in front":       func(s string) string { return "<?x y?>" + s },
		"another encoding":           func(s string) string { return `<?xml version="1.0" encoding="UTF-16"?>` + s },
		"not UTF-8":                  replace(">alice-1<", ">alice-1\xff<"),
		"attribute twice":            replace(`ID="_resp"`, `ID="_resp" ID="_resp"`),
		"attribute twice by prefix":  replace(`ID="_resp"`, `ID="_resp" xmlns:x="urn:x" xmlns:y="urn:x" x:z="" y:z=""`),
		"id twice":                   replace(`ID="_resp"`, `ID="_assert"`),
		"id twice, in another case":  replace(`<samlp:Status>`, `<samlp:Status id="_assert">`),
		"undeclared prefix":          replace(`<samlp:Status>`, `<samlp:Status><x:y/>`),
		"undeclared attribute":       replace(`<samlp:Status>`, `<samlp:Status x:y="">`),
		"prefix taken back":          replace(`<samlp:Status>`, `<samlp:Status xmlns:saml="">`),
		"xml declared anew":          replace(`<samlp:Status>`, `<samlp:Status xmlns:xml="urn:x">`),
		"name with two colons":       replace(`<samlp:Status>`, `<samlp:Status><samlp:x:y/>`),
		"name with a colon in front": replace(`<samlp:Status>`, `<samlp:Status><:x/>`),
		"deep":                       replace(`<samlp:Status>`, `<samlp:Status>`+strings.Repeat("<x>", 50)+strings.Repeat("</x>", 50)),
		"many elements":              replace(`<samlp:Status>`, `<samlp:Status>`+strings.Repeat("<x/>", 40000)),
		"many attributes":            replace(`<samlp:Status>`, `<samlp:Status `+manyAttributes("a")+`>`),
		"many prefixes":              replace(`<samlp:Status>`, `<samlp:Status `+manyAttributes("xmlns:a")+`>`),
		"large":                      func(s string) string { return s + strings.Repeat(" ", 1600<<10) },
		"not closed":                 func(s string) string { return s[:len(s)-1] },
		"empty":                      func(string) string { return "" },
		"no XML":                     func(string) string { return "alice-1" },
		"something else":             func(string) string { return `<x xmlns="` + nsAssertion + `"/>` },
		"null":                       replace(">alice-1<", ">alice-1\x00<"),
	}
	for name, change := range tests {
		for _, signed := range []string{"a", "r"} {
			data, id := begin(t, p, provider.Request{})
			f := newForge(id)
			f.signed, f.text = signed, change
			identity, err := finish(t, p, data, f.response(t))
			if failure, ok := errors.AsType[*provider.Error](err); identity != nil || !ok || failure.Kind != provider.Invalid {
				t.Errorf("%s, signed %q: identity %+v, error %v", name, signed, identity, err)
			}
		}
	}
}

func manyAttributes(name string) string { return someAttributes(name, 70) }

func someAttributes(name string, n int) string {
	s := ""
	for i := range n {
		s += fmt.Sprintf(`%s%d="u" `, name, i)
	}
	return s
}

// Each condition of the profile, absent, wrong and at its edge. All of it was signed.
func TestConditions(t *testing.T) {
	t.Parallel()
	set := func(path, name, value string) func(*etree.Element) {
		return func(r *etree.Element) { r.FindElement(path).CreateAttr(name, value) }
	}
	unset := func(path, name string) func(*etree.Element) {
		return func(r *etree.Element) { r.FindElement(path).RemoveAttr(name) }
	}
	drop := func(path string) func(*etree.Element) {
		return func(r *etree.Element) {
			e := r.FindElement(path)
			e.Parent().RemoveChild(e)
		}
	}
	put := func(path, text string) func(*etree.Element) {
		return func(r *etree.Element) { r.FindElement(path).SetText(text) }
	}
	const (
		response     = "."
		assertion    = "./saml:Assertion"
		confirmation = ".//saml:SubjectConfirmation"
		data         = ".//saml:SubjectConfirmationData"
		conditions   = ".//saml:Conditions"
		statement    = ".//saml:AuthnStatement"
		name         = ".//saml:NameID"
	)
	past := func(d time.Duration) string { return stamp(epoch.Add(-d)) }
	future := func(d time.Duration) string { return stamp(epoch.Add(d)) }
	tests := []struct {
		name, want string
		edit       func(*etree.Element)
	}{
		{"issuer of the response", "issuer", put("./saml:Issuer", "https://other.example")},
		{"issuer of the assertion", "issuer", put("./saml:Assertion/saml:Issuer", "https://other.example")},
		{"no issuer of the assertion", "issuer", drop("./saml:Assertion/saml:Issuer")},
		{"issuer with a format", "format", set("./saml:Assertion/saml:Issuer", "Format", "urn:x")},
		{"version of the response", "version", set(response, "Version", "1.1")},
		{"version of the assertion", "version", set(assertion, "Version", "1.1")},
		{"no version", "version", unset(assertion, "Version")},
		{"destination", "destination", set(response, "Destination", "https://broker.example/id/broker/y/endpoint")},
		{"no destination though signed", "destination", unset(response, "Destination")},
		{"no InResponseTo of the response", "which request", unset(response, "InResponseTo")},
		{"empty InResponseTo of the response", "another request", set(response, "InResponseTo", "")},
		{"InResponseTo of the response", "another request", set(response, "InResponseTo", "_other")},
		{"no InResponseTo", "which request", unset(data, "InResponseTo")},
		{"empty InResponseTo", "another request", set(data, "InResponseTo", "")},
		{"InResponseTo", "another request", set(data, "InResponseTo", "_other")},
		{"no Recipient", "recipient", unset(data, "Recipient")},
		{"Recipient", "recipient", set(data, "Recipient", "https://broker.example/id/broker/y/endpoint")},
		{"Recipient in another case", "recipient", set(data, "Recipient", strings.ToUpper(acs))},
		{"no NotOnOrAfter of the confirmation", "NotOnOrAfter", unset(data, "NotOnOrAfter")},
		{"expired confirmation", "expired", set(data, "NotOnOrAfter", past(time.Minute))},
		{"confirmation of the future", "not valid yet", set(data, "NotBefore", future(61*time.Second))},
		{"no confirmation", "bearer", drop(confirmation)},
		{"no data of the confirmation", "recipient", drop(data)},
		{"holder of key", "bearer", set(confirmation, "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")},
		{"sender vouches", "bearer", set(confirmation, "Method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches")},
		{"no Conditions", "Conditions", drop(conditions)},
		{"two Conditions", "Conditions", func(r *etree.Element) { r.FindElement(assertion).AddChild(r.FindElement(conditions).Copy()) }},
		{"no audience restriction", "AudienceRestriction", drop(".//saml:AudienceRestriction")},
		{"empty audience restriction", "audience", drop(".//saml:Audience")},
		{"audience", "audience", put(".//saml:Audience", "https://other.example")},
		{"audience that begins as ours", "audience", put(".//saml:Audience", spEntity+"/x")},
		{"another audience restriction", "audience", func(r *etree.Element) {
			r.FindElement(conditions).CreateElement("saml:AudienceRestriction").AddChild(newText("saml:Audience", "https://other.example"))
		}},
		{"expired", "expired", set(conditions, "NotOnOrAfter", past(time.Minute))},
		{"not yet valid", "not valid yet", set(conditions, "NotBefore", future(61*time.Second))},
		{"no time", "no time", set(conditions, "NotBefore", "now")},
		{"unknown condition", "unknown condition", func(r *etree.Element) { r.FindElement(conditions).CreateElement("saml:Condition") }},
		{"condition of another namespace", "unknown condition", func(r *etree.Element) {
			r.FindElement(conditions).CreateElement("x:OneTimeUse").CreateAttr("xmlns:x", "urn:x")
		}},
		{"no proxies", "ProxyRestriction", func(r *etree.Element) {
			r.FindElement(conditions).CreateElement("saml:ProxyRestriction").CreateAttr("Count", "0")
		}},
		{"issued in the future", "future", set(assertion, "IssueInstant", future(61*time.Second))},
		{"issued long ago", "too long ago", set(assertion, "IssueInstant", past(12*time.Minute))},
		{"response issued in the future", "future", set(response, "IssueInstant", future(61*time.Second))},
		{"response issued long ago", "too long ago", set(response, "IssueInstant", past(12*time.Minute))},
		{"no IssueInstant", "IssueInstant", unset(assertion, "IssueInstant")},
		{"no statement", "AuthnStatement", drop(statement)},
		{"two statements", "AuthnStatement", func(r *etree.Element) { r.FindElement(assertion).AddChild(r.FindElement(statement).Copy()) }},
		{"no AuthnInstant", "AuthnInstant", unset(statement, "AuthnInstant")},
		{"AuthnInstant in the future", "future", set(statement, "AuthnInstant", future(61*time.Second))},
		{"session over", "session there is over", set(statement, "SessionNotOnOrAfter", past(time.Minute))},
		{"no AuthnContext", "AuthnContext", drop(".//saml:AuthnContext")},
		{"no subject", "Subject", drop(".//saml:Subject")},
		{"no name", "no NameID", drop(name)},
		{"empty name", "NameID", put(name, " ")},
		{"null name", "stands for nobody", put(name, "null")},
		{"name with a line feed", "NameID", put(name, "alice\n-1")},
		{"transient name", "transient", set(name, "Format", string(saml.NameIDTransient))},
		{"name of another format", "format", set(name, "Format", string(saml.NameIDEmail))},
		{"name of no format", "format", unset(name, "Format")},
		{"name of another domain", "qualified", set(name, "NameQualifier", "https://other.example")},
		{"name for another", "qualified", set(name, "SPNameQualifier", "https://other.example")},
		{"two names", "NameID", func(r *etree.Element) { r.FindElement(".//saml:Subject").AddChild(r.FindElement(name).Copy()) }},
		{"no id", "ID", unset(assertion, "ID")},
		{"element in a name", "NameID", func(r *etree.Element) { r.FindElement(name).CreateElement("saml:x") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			identity, err := try(t, config(), func(f *forge) { f.signed, f.edit = "r", test.edit })
			refused(t, identity, err, test.want)
		})
	}
	for _, skew := range []time.Duration{time.Second, 3 * time.Minute} {
		cfg := config()
		cfg.ClockSkew = skew
		expire := func(at time.Duration) func(*forge) {
			return func(f *forge) {
				f.edit = func(r *etree.Element) {
					set(data, "NotOnOrAfter", stamp(epoch.Add(at)))(r)
					set(conditions, "NotOnOrAfter", stamp(epoch.Add(at)))(r)
				}
			}
		}
		if _, err := try(t, cfg, expire(-skew+time.Second)); err != nil {
			t.Errorf("skew %v: a second before its end: %v", skew, err)
		}
		identity, err := try(t, cfg, expire(-skew))
		refused(t, identity, err, "expired")
	}
}

// What the identity provider was asked for cannot be taken out of the request on its way.
func TestAsked(t *testing.T) {
	t.Parallel()
	zero, hour := time.Duration(0), time.Hour
	old := func(f *forge) {
		f.edit = func(r *etree.Element) {
			r.FindElement(".//saml:AuthnStatement").CreateAttr("AuthnInstant", stamp(epoch.Add(-62*time.Minute)))
		}
	}
	tests := []struct {
		name, want string
		config     func(*saml.Config)
		request    provider.Request
	}{
		{"ForceAuthn", "ForceAuthn", func(c *saml.Config) { c.ForceAuthn = true }, provider.Request{}},
		{"prompt login", "ForceAuthn", nil, provider.Request{Prompt: []string{"login"}}},
		{"max_age 0", "ForceAuthn", nil, provider.Request{MaxAge: &zero}},
		{"MaxAge 0", "ForceAuthn", func(c *saml.Config) { c.MaxAge = &zero }, provider.Request{}},
		{"MaxAge", "MaxAge", func(c *saml.Config) { c.MaxAge = &hour }, provider.Request{}},
		{"class", "not what was asked for", func(c *saml.Config) { c.AuthnContextClasses = []string{"urn:mfa"} }, provider.Request{}},
		{"acr_values", "not what was asked for", func(c *saml.Config) { c.ForwardACRValues = true },
			provider.Request{ACRValues: []string{"urn:mfa"}}},
	}
	for _, test := range tests {
		cfg := config()
		if test.config != nil {
			test.config(&cfg)
		}
		p := newProvider(t, cfg)
		data, id := begin(t, p, test.request)
		f := newForge(id)
		old(f)
		identity, err := finish(t, p, data, f.response(t))
		refused(t, identity, err, test.want)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	const prefix = "urn:oasis:names:tc:SAML:2.0:status:"
	tests := []struct {
		code, sub string
		want      provider.Kind
		wantCode  string
	}{
		{"Responder", "NoPassive", provider.LoginRequired, "NoPassive"},
		{"Responder", "AuthnFailed", provider.Denied, "AuthnFailed"},
		{"Requester", "RequestDenied", provider.Denied, "RequestDenied"},
		{"Requester", "InvalidNameIDPolicy", provider.Misconfigured, "InvalidNameIDPolicy"},
		{"Responder", "NoAuthnContext", provider.Misconfigured, "NoAuthnContext"},
		{"Requester", "", provider.Misconfigured, "Requester"},
		{"Responder", "", provider.Unavailable, "Responder"},
		{"VersionMismatch", "", provider.Misconfigured, "VersionMismatch"},
		{"", "", provider.Invalid, ""},
		{"Succes", `a"b`, provider.Invalid, ""},
	}
	for _, test := range tests {
		for _, keep := range []bool{false, true} {
			_, err := try(t, config(), func(f *forge) {
				f.signed = "r"
				f.edit = func(r *etree.Element) {
					code := r.FindElement("./samlp:Status/samlp:StatusCode")
					code.CreateAttr("Value", prefix+test.code)
					if test.sub != "" {
						code.CreateElement("samlp:StatusCode").CreateAttr("Value", prefix+test.sub)
					}
					if !keep {
						r.RemoveChild(r.FindElement("./saml:Assertion"))
					}
				}
			})
			failure, ok := errors.AsType[*provider.Error](err)
			if !ok || failure.Kind != test.want || failure.Code != test.wantCode {
				t.Errorf("%s %s: error = %v, want %v (%s)", test.code, test.sub, err, test.want, test.wantCode)
			}
		}
	}
	_, err := try(t, config(), func(f *forge) { f.edit = func(r *etree.Element) { r.RemoveChild(r.FindElement("./samlp:Status")) } })
	refused(t, nil, err, "Status")
}

// No element or attribute is so necessary that a message without it makes the code panic.
func TestEverythingDropped(t *testing.T) {
	t.Parallel()
	p := newProvider(t, decrypting(config()))
	data, id := begin(t, p, provider.Request{})
	for _, signed := range []string{"a", "r", "ra"} {
		for _, encrypted := range []bool{false, true} {
			f := newForge(id)
			f.signed = signed
			if encrypted {
				f.encrypt = gcm(spKey()).encrypt
			}
			whole := f.response(t)
			for i := range len(read(t, whole).FindElements("//*")) {
				e := read(t, whole).FindElements("//*")[i]
				if e.Parent() != nil && e.Parent().Tag != "" {
					dropped := read(t, whole)
					d := dropped.FindElements("//*")[i]
					d.Parent().RemoveChild(d)
					_, err := finish(t, p, data, write(dropped))
					wantProviderError(t, "without "+e.Tag, err)
				}
				for j := range e.Attr {
					dropped := read(t, whole)
					d := dropped.FindElements("//*")[i]
					name := d.Attr[j].FullKey()
					d.RemoveAttr(name)
					_, err := finish(t, p, data, write(dropped))
					wantProviderError(t, "without "+e.Tag+"/@"+name, err)
				}
			}
		}
	}
}

// wantProviderError allows success: not all that can be dropped matters.
func wantProviderError(t *testing.T, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*provider.Error](err); err != nil && !ok {
		t.Errorf("%s: error = %v, want a *provider.Error", what, err)
	}
}

// N providers of one broker: an answer of one is refused at each other.
func TestOtherProvider(t *testing.T) {
	t.Parallel()
	type pair struct {
		p      *saml.Provider
		key    saml.Key
		entity string
		sp     string
	}
	var all []pair
	for i, key := range []saml.Key{idpKey(), otherKey(), idpKey()} { // the third has the key of the first
		cfg := config()
		cfg.IdPEntityID = fmt.Sprintf("https://idp-%d.example", i)
		cfg.Certificates = []*x509.Certificate{key.Certificate}
		all = append(all, pair{newProvider(t, cfg), key, cfg.IdPEntityID, spEntity})
	}
	for i, at := range all {
		for j, from := range all {
			data, id := begin(t, at.p, provider.Request{})
			f := newForge(id)
			f.key, f.signed = from.key, "r"
			f.edit = func(r *etree.Element) {
				for _, issuer := range r.FindElements(".//saml:Issuer") {
					issuer.SetText(from.entity)
				}
			}
			identity, err := finish(t, at.p, data, f.response(t))
			if (err == nil) != (i == j) || (identity != nil) != (i == j) {
				t.Errorf("answer of %d at %d: %v", j, i, err)
			}
		}
	}
}

func TestFinishData(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	for _, data := range []string{"", "null", "{}", `{"i":"","r":"` + acs + `","t":1}`, `{"i":"x","r":"","t":1}`, `{"i":"x","r":"y"}`} {
		_, err := finish(t, p, []byte(data), newForge("x").response(t))
		refused(t, nil, err, "not what Begin returned")
	}
}

func decrypting(c saml.Config) saml.Config {
	c.DecryptionKeys = []saml.Key{spKey()}
	return c
}
