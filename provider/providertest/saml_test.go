package providertest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	saml2 "github.com/russellhaering/gosaml2"
	"github.com/russellhaering/gosaml2/types"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

const (
	samlSP  = "https://sp.example/saml"
	samlACS = "https://sp.example/acs"
)

// A spKey is a service provider's key, as gosaml2 wants it.
type spKey struct {
	private *rsa.PrivateKey
	cert    *x509.Certificate
}

func (k *spKey) GetKeyPair() (*rsa.PrivateKey, []byte, error) { return k.private, k.cert.Raw, nil }

var samlSPKey = sync.OnceValue(func() *spKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return &spKey{private, certify(private)}
})

func certify(private crypto.Signer) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// A samlRP is a service provider by gosaml2, which has nothing to do with this project.
type samlRP struct {
	t   testing.TB
	idp *providertest.SAML
	sp  *saml2.SAMLServiceProvider
}

func newSAMLRP(t testing.TB, cfg providertest.SAMLConfig, edit func(*providertest.SAMLServiceProvider)) *samlRP {
	t.Helper()
	idp := providertest.StartSAML(t, cfg)
	sp := providertest.SAMLServiceProvider{EntityID: samlSP, ACS: []string{samlACS}, Certificates: []*x509.Certificate{samlSPKey().cert}}
	if edit != nil {
		edit(&sp)
	}
	idp.Register(sp)
	return &samlRP{t, idp, gosaml(idp)}
}

// requestURL is a signed request by HTTP-Redirect, once it was edited.
func (p *samlRP) requestURL(edit func(*etree.Element)) string {
	p.t.Helper()
	doc, err := p.sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		p.t.Fatal(err)
	}
	if edit != nil {
		edit(doc.Root())
	}
	u, err := p.sp.BuildAuthURLRedirect("relay & state", doc)
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

// requestForm is a signed request by HTTP-POST, once it was edited.
func (p *samlRP) requestForm(edit, after func(*etree.Element)) url.Values {
	p.t.Helper()
	doc, err := p.sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		p.t.Fatal(err)
	}
	if edit != nil {
		edit(doc.Root())
	}
	signed, err := p.sp.SignAuthnRequest(doc.Root())
	if err != nil {
		p.t.Fatal(err)
	}
	if after != nil {
		after(signed)
	}
	doc.SetRoot(signed)
	text, err := doc.WriteToString()
	if err != nil {
		p.t.Fatal(err)
	}
	return url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(text))}, "RelayState": {"relay & state"}}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

func fields(body string) url.Values {
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		form.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return form
}

func TestSAMLLogin(t *testing.T) {
	t.Parallel()
	sign := func(s providertest.SAMLSign) func(*providertest.SAMLServiceProvider) {
		return func(sp *providertest.SAMLServiceProvider) { sp.Sign = s }
	}
	encrypt := func(data string) func(*providertest.SAMLServiceProvider) {
		return func(sp *providertest.SAMLServiceProvider) {
			sp.EncryptTo, sp.Encryption = samlSPKey().cert, providertest.SAMLEncryption{Data: data}
		}
	}
	tests := []struct {
		name string
		alg  string
		edit func(*providertest.SAMLServiceProvider)
	}{
		{"as it comes", "", nil},
		{"response", "RS256", sign(providertest.SAMLSignResponse)},
		{"both", "RS512", sign(providertest.SAMLSignBoth)},
		{"encrypted", "", encrypt("")},
		{"encrypted AES-128-GCM", "RS384", encrypt("aes128-gcm")},
		{"encrypted AES-128-CBC", "", encrypt("aes128-cbc")},
		{"encrypted AES-256-CBC", "", encrypt("aes256-cbc")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSAMLRP(t, providertest.SAMLConfig{Alg: tt.alg, AutoLogin: "alice"}, tt.edit)
			shown := post(t, newBrowser(t), p.idp.SSO(), p.requestForm(nil, nil))
			if shown.status != http.StatusOK || !strings.Contains(shown.body, `action="`+samlACS+`"`) {
				t.Fatalf("%d:\n%s", shown.status, shown.body)
			}
			form := fields(shown.body)
			info, err := p.sp.RetrieveAssertionInfo(form.Get("SAMLResponse"))
			if err != nil {
				t.Fatalf("gosaml2: %v", err)
			}
			if info.NameID != "248289761001" || info.Values.Get("mail") != "alice@example.com" || form.Get("RelayState") != "relay & state" ||
				info.WarningInfo.InvalidTime || info.WarningInfo.NotInAudience || info.SessionIndex == "" {
				t.Errorf("got %+v, RelayState %q", info, form.Get("RelayState"))
			}
			if got := get(t, newBrowser(t), p.requestURL(nil)); got.status != http.StatusOK || fields(got.body).Get("SAMLResponse") == "" {
				t.Errorf("by redirect: %d\n%s", got.status, got.body)
			}
		})
	}
}

// A service provider that makes a mistake finds out here.
func TestSAMLStrict(t *testing.T) {
	t.Parallel()
	p := newSAMLRP(t, providertest.SAMLConfig{AutoLogin: "alice"}, nil)
	attr := func(name, value string) func(*etree.Element) {
		return func(e *etree.Element) { e.CreateAttr(name, value) }
	}
	refused := func(what, want string, got fetched) {
		t.Helper()
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d, want %q in\n%s", what, got.status, want, got.body)
		}
	}
	edits := []struct {
		name, want string
		edit       func(*etree.Element)
	}{
		{"another ACS", "is not registered", attr("AssertionConsumerServiceURL", samlACS+"/")},
		{"another destination", "Destination is", attr("Destination", "https://other.example/")},
		{"no destination", "Destination is", func(e *etree.Element) { e.RemoveAttr("Destination") }},
		{"old", "too far from now", attr("IssueInstant", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))},
		{"of tomorrow", "too far from now", attr("IssueInstant", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))},
		{"local time", "no time in UTC", attr("IssueInstant", time.Now().UTC().Format("2006-01-02T15:04:05+00:00"))},
		{"version 1", "Version is not", attr("Version", "1.1")},
		{"an id with a digit first", "is none", attr("ID", "1abc")},
		{"another binding", "ProtocolBinding", attr("ProtocolBinding", "urn:x")},
		{"somebody else", "is registered", func(e *etree.Element) { e.FindElement("./Issuer").SetText("https://evil.example") }},
	}
	for _, tt := range edits {
		refused(tt.name, tt.want, get(t, newBrowser(t), p.requestURL(tt.edit)))
		refused(tt.name+" by POST", tt.want, post(t, newBrowser(t), p.idp.SSO(), p.requestForm(tt.edit, nil)))
	}
	good := p.requestURL(nil)
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	without := func(names ...string) string {
		var kept []string
		for part := range strings.SplitSeq(u.RawQuery, "&") {
			name, _, _ := strings.Cut(part, "=")
			keep := true
			for _, n := range names {
				keep = keep && n != name
			}
			if keep {
				kept = append(kept, part)
			}
		}
		return p.idp.SSO() + "?" + strings.Join(kept, "&")
	}
	refused("no signature", "no signature", get(t, newBrowser(t), without("Signature", "SigAlg")))
	refused("no RelayState any more", "none of the registered", get(t, newBrowser(t), without("RelayState")))
	refused("another RelayState", "none of the registered", get(t, newBrowser(t), without("RelayState")+"&RelayState=x"))
	refused("twice", "more than once", get(t, newBrowser(t), good+"&SAMLRequest=x"))
	refused("an algorithm that is none", "is not accepted", get(t, newBrowser(t),
		without("SigAlg")+"&SigAlg="+url.QueryEscape("http://www.w3.org/2000/09/xmldsig#rsa-sha1")))
	refused("tampered", "something else", post(t, newBrowser(t), p.idp.SSO(), p.requestForm(nil, attr("ForceAuthn", "true"))))
	refused("signature taken off", "no Signature", post(t, newBrowser(t), p.idp.SSO(), p.requestForm(nil, func(e *etree.Element) {
		e.Child = slices.DeleteFunc(e.Child, func(c etree.Token) bool { return c == e.FindElement("./Signature") })
	})))
	refused("no XML", "invalid XML", post(t, newBrowser(t), p.idp.SSO(), url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte("<a>"))}}))
	refused("nothing", "missing", post(t, newBrowser(t), p.idp.SSO(), nil))
	if got := get(t, newBrowser(t), good); got.status != http.StatusOK {
		t.Errorf("the good one: %d\n%s", got.status, got.body)
	}
	refused("replayed", "was there before", get(t, newBrowser(t), good))
	if n := len(p.idp.Requests("AuthnRequest")); n < 2*len(edits) {
		t.Errorf("%d requests were noted", n)
	}
}

// loginPage returns the URL of the page that is shown.
func loginPage(t *testing.T, p *samlRP, shown fetched) string {
	t.Helper()
	m := regexp.MustCompile(`<form method="post" action="(\?id=[^"]*)"`).FindStringSubmatch(shown.body)
	if m == nil {
		t.Fatalf("no login page:\n%s", shown.body)
	}
	return strings.TrimSuffix(p.idp.SSO(), "/sso") + "/login" + html.UnescapeString(m[1])
}

func TestSAMLPage(t *testing.T) {
	t.Parallel()
	p := newSAMLRP(t, providertest.SAMLConfig{Name: "Acme & Sons"}, nil)
	browser := newBrowser(t)
	page := loginPage(t, p, get(t, browser, p.requestURL(nil)))
	if shown := get(t, browser, page); !strings.Contains(shown.body, "Acme &amp; Sons") || !strings.Contains(shown.body, "Alice Liddell") {
		t.Errorf("page:\n%s", shown.body)
	}
	if got := post(t, browser, page, url.Values{"user": {"nobody"}}); got.status != http.StatusBadRequest {
		t.Errorf("nobody: %d", got.status)
	}
	if got := fields(post(t, browser, page, url.Values{"user": {"bob"}}).body).Get("SAMLResponse"); got == "" {
		t.Error("no response about bob")
	} else if info, err := p.sp.RetrieveAssertionInfo(got); err != nil || info.NameID != "248289761002" {
		t.Errorf("bob: %+v, %v", info, err)
	}
	if got := post(t, browser, page, url.Values{"user": {"bob"}}); got.status != http.StatusBadRequest {
		t.Errorf("the page a second time: %d", got.status)
	}
	if got := get(t, browser, p.requestURL(nil)); fields(got.body).Get("SAMLResponse") == "" {
		t.Errorf("no single sign-on: %d", got.status)
	}
	page = loginPage(t, p, get(t, browser, p.requestURL(func(e *etree.Element) { e.CreateAttr("ForceAuthn", "true") })))
	refused, _ := base64.StdEncoding.DecodeString(fields(post(t, browser, page, url.Values{"refuse": {"1"}}).body).Get("SAMLResponse"))
	if !strings.Contains(string(refused), "RequestDenied") || strings.Contains(string(refused), "Assertion ") {
		t.Errorf("refused: %s", refused)
	}
}

func TestSAMLMetadata(t *testing.T) {
	t.Parallel()
	p := newSAMLRP(t, providertest.SAMLConfig{Alg: "ES256", SignMetadata: true}, nil)
	count := func() int {
		t.Helper()
		var d types.EntityDescriptor
		doc := etree.NewDocument()
		if err := doc.ReadFromString(get(t, newBrowser(t), p.idp.EntityID()).body); err != nil {
			t.Fatal(err)
		}
		text, err := doc.WriteToBytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if d.EntityID != p.idp.EntityID() || d.IDPSSODescriptor.SingleSignOnServices[0].Location != p.idp.SSO() || doc.FindElement("./EntityDescriptor/Signature") == nil {
			t.Errorf("metadata: %+v", d)
		}
		return len(d.IDPSSODescriptor.KeyDescriptors)
	}
	for want, step := range []func(){nil, func() {}, p.idp.AnnounceKeys, p.idp.RotateKeys, p.idp.RetireKeys} {
		if step == nil {
			continue
		}
		step()
		if got := count(); got != []int{0, 1, 2, 2, 1}[want] {
			t.Errorf("step %d: %d keys", want, got)
		}
	}
}

func TestNewSAMLRefuses(t *testing.T) {
	t.Parallel()
	good := providertest.SAMLServiceProvider{EntityID: samlSP, ACS: []string{samlACS}}
	edit := func(change func(*providertest.SAMLServiceProvider)) []providertest.SAMLServiceProvider {
		sp := good
		change(&sp)
		return []providertest.SAMLServiceProvider{sp}
	}
	for name, cfg := range map[string]providertest.SAMLConfig{
		"no URL": {}, "a relative URL": {URL: "/idp"}, "a query": {URL: "https://idp.example?x"}, "a colour": {Accent: "red"}, "an algorithm": {Alg: "HS256"},
		"no such user":  {AutoLogin: "nobody"},
		"no ACS":        {Providers: edit(func(sp *providertest.SAMLServiceProvider) { sp.ACS = nil })},
		"no entity":     {Providers: edit(func(sp *providertest.SAMLServiceProvider) { sp.EntityID = "" })},
		"a script ACS":  {Providers: edit(func(sp *providertest.SAMLServiceProvider) { sp.ACS = []string{"javascript:alert(1)"} })},
		"what to sign":  {Providers: edit(func(sp *providertest.SAMLServiceProvider) { sp.Sign = "all" })},
		"an encryption": {Providers: edit(func(sp *providertest.SAMLServiceProvider) { sp.Encryption.Data = "des" })},
	} {
		if cfg.URL == "" && name != "no URL" {
			cfg.URL = "https://idp.example"
		}
		if _, err := providertest.NewSAML(cfg); err == nil || !strings.HasPrefix(err.Error(), "providertest: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := providertest.NewSAML(providertest.SAMLConfig{URL: "https://idp.example", Alg: "ES256", Providers: []providertest.SAMLServiceProvider{good}}); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Assertions are encrypted for RSA keys only, which is found out when there is one.
func TestSAMLEncryptToECDSA(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := newSAMLRP(t, providertest.SAMLConfig{AutoLogin: "alice"}, func(sp *providertest.SAMLServiceProvider) { sp.EncryptTo = certify(private) })
	if got := get(t, newBrowser(t), p.requestURL(nil)); got.status != http.StatusInternalServerError || !strings.Contains(got.body, "RSA keys only") {
		t.Errorf("%d: %s", got.status, got.body)
	}
}

// A program mounts the provider on a listener of its own. A test would use StartSAML.
func ExampleNewSAML() {
	idp, err := providertest.NewSAML(providertest.SAMLConfig{
		URL: "https://idp.example/demo", Alg: "ES256", AutoLogin: "alice",
		Providers: []providertest.SAMLServiceProvider{{EntityID: "https://app.example", ACS: []string{"https://app.example/acs"}}},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/demo/", idp)
	fmt.Println(idp.EntityID())
	// Output: https://idp.example/demo/metadata
}
