package providertest_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A naiveSP makes the mistakes of the advisories.
type naiveSP struct {
	idp *providertest.SAML
	// believes takes every signature for a good one; with it the rest is checked.
	believes bool
	// lax checks no condition.
	lax bool
	// last reads the last assertion and not the first. What a signature covers is looked for anywhere in the document.
	last bool
	// binding is that of the answer; "" is HTTP-POST.
	binding string
}

func (n *naiveSP) begin(t testing.TB) providertest.SAMLAttempt {
	t.Helper()
	sp := gosaml(n.idp)
	doc, err := sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		t.Fatal(err)
	}
	id := doc.Root().SelectAttrValue("ID", "")
	if n.binding != "" {
		doc.Root().CreateAttr("ProtocolBinding", "urn:oasis:names:tc:SAML:2.0:bindings:"+n.binding)
	}
	u, err := sp.BuildAuthURLRedirect("relay", doc)
	if err != nil {
		t.Fatal(err)
	}
	var leaving string
	return providertest.SAMLAttempt{URL: u,
		Finish: func(at string, form url.Values) (string, error) { return n.finish(id, at, form) },
		Logout: func(at string, form url.Values) error { return n.farewell("SAMLRequest", "", "", at, form) },
		BeginLogout: func() (string, url.Values, error) {
			var text string
			leaving, text, err = n.message("LogoutRequest", n.idp.SLO(), "<saml:NameID>victim-1</saml:NameID>")
			return n.idp.SLO(), url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(text))}, "RelayState": {"bye"}}, err
		},
		FinishLogout: func(at string, form url.Values) error { return n.farewell("SAMLResponse", leaving, "bye", at, form) },
	}
}

func (n *naiveSP) finish(id, at string, form url.Values) (subject string, err error) {
	if form == nil {
		u, err := url.Parse(at)
		if err != nil {
			return "", err
		}
		form = u.Query()
	}
	if form.Get("RelayState") != "relay" && !n.lax {
		return "", errors.New("RelayState")
	}
	if artifact := form.Get("SAMLart"); artifact != "" {
		answer, err := n.resolve(artifact)
		if err != nil {
			return "", err
		}
		return n.read(answer, id, n.signed)
	}
	values := form["SAMLResponse"]
	if len(values) == 0 {
		return "", errors.New("nothing came")
	}
	data, err := base64.StdEncoding.DecodeString(values[len(values)-1])
	if err != nil {
		return "", err
	}
	data = inflated(data)
	data = regexp.MustCompile(`<!DOCTYPE[^>\[]*(\[.*\])?>`).ReplaceAll(data, nil)
	doc := etree.NewDocument()
	doc.ReadSettings.Permissive = true
	if err := doc.ReadFromBytes(data); err != nil {
		return "", err
	}
	if doc.Root() == nil {
		return "", errors.New("no XML")
	}
	signed := n.signed
	if n.binding == "HTTP-Redirect" {
		signed = func(*etree.Element) bool { return n.queried(at, "SAMLResponse") == nil }
	}
	return n.read(doc.Root(), id, signed)
}

// read reads an answer, wherever in root it is.
func (n *naiveSP) read(root *etree.Element, id string, signed func(*etree.Element) bool) (subject string, err error) {
	encrypted := !n.believes && signed(root) // what is signed may be what is encrypted still
	if err := n.decrypt(root); err != nil {
		return "", err
	}
	assertions := append(root.FindElements("//Assertion"), root)
	assertions = slices.DeleteFunc(assertions, func(e *etree.Element) bool { return e.Tag != "Assertion" })
	if len(assertions) == 0 {
		return "", errors.New("no assertion")
	}
	a := assertions[0]
	if n.last {
		a = assertions[len(assertions)-1]
	}
	if !n.believes && !encrypted && !signed(root) {
		return "", errors.New("not signed")
	}
	if !n.lax {
		if err := n.check(root, a, id); err != nil {
			return "", err
		}
	}
	name := a.FindElement("./Subject/NameID")
	if name == nil {
		return "nobody", nil
	}
	return name.Text(), nil // the text before the first comment
}

func (n *naiveSP) decrypt(root *etree.Element) error {
	for _, e := range root.FindElements(".//EncryptedAssertion") {
		plain, err := decryptXML(e)
		if err != nil {
			return err
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(plain); err != nil || doc.Root() == nil {
			return errors.New("what was encrypted is no XML")
		}
		e.Parent().InsertChildAt(e.Index(), doc.Root())
	}
	return nil
}

// signed looks whether some signature in the document holds for some element of it.
func (n *naiveSP) signed(root *etree.Element) bool {
	for _, sig := range root.FindElements("//Signature") {
		ref := sig.FindElement("./SignedInfo/Reference")
		if ref == nil {
			continue
		}
		for _, e := range append(root.FindElements("//*[@ID]"), root) {
			if "#"+e.SelectAttrValue("ID", "") == ref.SelectAttrValue("URI", "") && n.holds(sig, e) {
				return true
			}
		}
	}
	return false
}

func (n *naiveSP) holds(sig, e *etree.Element) bool {
	canonical := func(e *etree.Element, without string) []byte {
		copied := e.Copy()
		for p := e.Parent(); p != nil; p = p.Parent() {
			for _, a := range p.Attr {
				if a.Space == "xmlns" && copied.SelectAttr(a.FullKey()) == nil {
					copied.CreateAttr(a.FullKey(), a.Value)
				}
			}
		}
		for _, s := range copied.SelectElements("Signature") {
			if v := s.FindElement("./SignatureValue"); v != nil && v.Text() == without {
				copied.RemoveChild(s)
			}
		}
		out, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(copied)
		if err != nil {
			return nil
		}
		return out
	}
	value, digest, info := sig.FindElement("./SignatureValue"), sig.FindElement("./SignedInfo/Reference/DigestValue"), sig.FindElement("./SignedInfo")
	if value == nil || digest == nil || info == nil {
		return false
	}
	h := crypto.SHA256.New()
	h.Write(canonical(e, value.Text()))
	if base64.StdEncoding.EncodeToString(h.Sum(nil)) != digest.Text() {
		return false
	}
	h = crypto.SHA256.New()
	h.Write(canonical(info, "-"))
	decoded, err := base64.StdEncoding.DecodeString(value.Text())
	if err != nil {
		return false
	}
	key := n.idp.Certificates()[0].PublicKey.(*rsa.PublicKey)
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, h.Sum(nil), decoded) == nil
}

// check is what the believing one checks.
func (n *naiveSP) check(root, a *etree.Element, id string) error {
	get := func(path, attr string) string {
		e := a.FindElement(path)
		switch {
		case e == nil:
			return ""
		case attr == "":
			return e.Text()
		}
		return e.SelectAttrValue(attr, "")
	}
	for what, ok := range map[string]bool{
		"issuer":    get("./Issuer", "") == n.idp.EntityID(),
		"audience":  get("./Conditions/AudienceRestriction/Audience", "") == samlSP,
		"recipient": get("./Subject/SubjectConfirmation/SubjectConfirmationData", "Recipient") == samlACS,
		"request":   get("./Subject/SubjectConfirmation/SubjectConfirmationData", "InResponseTo") == id,
		"status":    root.FindElement("./Status/StatusCode") != nil || root.FindElement(".//Response/Status/StatusCode") != nil,
		"method":    get("./Subject/SubjectConfirmation", "Method") != "",
		"authn":     get("./AuthnStatement", "AuthnInstant") != "",
	} {
		if !ok {
			return errors.New(what)
		}
	}
	return nil
}

func newNaiveTarget(t testing.TB) *providertest.SAML {
	t.Helper()
	idp, err := providertest.NewSAML(providertest.SAMLConfig{URL: "https://idp.example", Providers: []providertest.SAMLServiceProvider{{
		EntityID: samlSP, ACS: []string{samlACS}, Logout: "https://sp.example/slo", Certificates: []*x509.Certificate{samlSPKey().cert}, EncryptTo: samlSPKey().cert,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return idp
}

// A forgery that nobody would fall for, being malformed by accident, proves nothing: service providers that make the mistakes
// of the advisories fall for nearly all.
func TestSAMLForgeriesAreGood(t *testing.T) {
	t.Parallel()
	idp := newNaiveTarget(t)
	finds, findsLast, lax := &naiveSP{idp: idp}, &naiveSP{idp: idp, last: true}, &naiveSP{idp: idp, lax: true}
	naive := []*naiveSP{
		{idp: idp, believes: true}, {idp: idp, believes: true, last: true}, {idp: idp, believes: true, lax: true},
		{idp: idp, believes: true, lax: true, last: true}, finds, findsLast, lax,
	}
	// These harm in other ways than by being believed, or are no XML at all.
	hopeless := regexp.MustCompile(`no base64|document, .*: (no XML|nothing|UTF-7|not UTF-8|a NUL|names with two colons|an undeclared prefix|something else)|no assertion|ciphertext|plaintext|compressed|nested deeply|bomb: (only|encrypted,? |an element that|elements in|entities of entities, in|.* with )`)
	names := map[string]bool{}
	total, believed := 0, 0
	for _, f := range providertest.SAMLForgeries() {
		if names[f.Name] {
			t.Errorf("two are called %q", f.Name)
		}
		names[f.Name] = true
		if f.Why == "" {
			t.Errorf("%s: does not say what it stands for", f.Name)
		}
		if strings.Contains(f.Name, "too large") || strings.Contains(f.Name, "compressed") || strings.Contains(f.Name, "deeply") {
			continue // they are about what it costs, and cost it here as well
		}
		replay := func(n *naiveSP) providertest.SAMLResult {
			return f.Replay(t, providertest.SAMLTarget{IdP: idp, Begin: n.begin})
		}
		first := replay(naive[0])
		if first.LeftOut {
			continue
		}
		if strings.HasPrefix(f.Name, "bomb: ") { // a message like others, to who looks closely at nothing
			if !first.Accepted && !hopeless.MatchString(f.Name) {
				t.Errorf("%s: nobody gets to see it: %v", f.Name, first.Err)
			}
			continue
		}
		total++
		if first.Accepted || slices.ContainsFunc(naive[1:], func(n *naiveSP) bool { return replay(n).Accepted }) {
			believed++
		} else if !hopeless.MatchString(f.Name) {
			t.Errorf("%s: nobody falls for it: %v", f.Name, first.Err)
		}
		// Wrapping has to fool one who checks signatures, and be read as the victim; wrong conditions, one who checks nothing else.
		switch {
		case strings.HasPrefix(f.Name, "wrapping"):
			if a, b := replay(finds), replay(findsLast); a.Subject != "victim-1" && b.Subject != "victim-1" {
				t.Errorf("%s: %q, %v; %q, %v", f.Name, a.Subject, a.Err, b.Subject, b.Err)
			}
		case strings.HasPrefix(f.Name, "conditions"):
			if got := replay(lax); !got.Accepted {
				t.Errorf("%s: who checks signatures only refuses it: %v", f.Name, got.Err)
			}
		}
	}
	t.Logf("%d forgeries, somebody fell for %d", total, believed)
	if total < 700 || believed < total*9/10 {
		t.Errorf("%d forgeries, somebody fell for %d", total, believed)
	}
}

func inflated(data []byte) []byte {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return data
	}
	return inflate(data)
}

// The eight ways of "On Breaking SAML: Be Whoever You Want to Be" are among them, whatever is signed: all others vary them.
func TestSAMLWrappingsAreThere(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range providertest.SAMLForgeries() {
		names[f.Name] = true
	}
	for number, how := range map[int][2]string{
		1: {"response", "genuine in a Signature, signature moved"},
		2: {"response", "genuine in it, signature moved"},
		3: {"assertion", "genuine behind it, signature left"},
		4: {"assertion", "genuine in it, signature left"},
		5: {"assertion", "genuine behind it, signature moved"},
		6: {"assertion", "genuine in a Signature, signature moved"},
		8: {"assertion", "genuine in the Object of a Signature, signature moved"},
	} {
		for _, signed := range []string{how[0], "both"} {
			for _, id := range []string{"", ", same ID"} {
				if name := "wrapping of the " + how[0] + ", signed: " + signed + ", " + how[1] + id; !names[name] {
					t.Errorf("%d: there is no %q", number, name)
				}
			}
		}
	}
	for _, name := range []string{
		"wrapping of the assertion, genuine left, forged in Extensions", // number 7
		"wrapping of the assertion, genuine left, forged in Extensions, same ID",
		"wrapping of the assertion, signed: both, genuine in it, signature left, the other signature kept",
		"wrapping of the response, signed: both, genuine in it, signature moved, same ID, the other signature kept",
		"wrapping of the assertion, encrypted, genuine in a Signature, signature moved, same ID",
		"wrapping of the encrypted assertion, genuine in Extensions, forged encrypted",
		"wrapping of the response with an encrypted assertion, signed: both, genuine in the Object of a Signature, signature moved, forged plain",
	} {
		if !names[name] {
			t.Errorf("there is no %q", name)
		}
	}
}
