package broker_test

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store"
)

const (
	samlIdP   = "https://saml.example"
	samlSSO   = samlIdP + "/sso"
	samlSLO   = samlIdP + "/slo"
	samlPages = samlIdP + "/page" // where its forms are posted from
)

// samlKey signs for the identity provider of these tests, and for the broker.
var samlKey = sync.OnceValue(func() saml.Key {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return saml.Key{Private: private, Certificate: certificate}
})

// newSAMLWorld has a provider "saml" beside the others.
func newSAMLWorld(t *testing.T, edit func(*saml.Config, *broker.Provider)) *world {
	t.Helper()
	return newWorld(t, samlProvider(t, edit))
}

func samlProvider(t *testing.T, edit func(*saml.Config, *broker.Provider)) func(*broker.Config) {
	return func(c *broker.Config) {
		p := broker.Provider{Alias: "saml", Name: "SAML"}
		s := saml.Config{
			EntityID: c.BaseURL, IdPEntityID: samlIdP, Certificates: []*x509.Certificate{samlKey().Certificate},
			Endpoints:   saml.Endpoints{SingleSignOn: samlSSO, SingleLogout: samlSLO},
			SigningKeys: []saml.Key{samlKey()}, Now: c.Now,
		}
		if edit != nil {
			edit(&s, &p)
		}
		idp, err := saml.New(s)
		if err != nil {
			t.Fatal(err)
		}
		p.IdP = idp
		c.Providers = append(c.Providers, p)
	}
}

// samlMessage returns the message in a redirect, and the RelayState.
func samlMessage(t *testing.T, rawURL, name string) (*etree.Element, string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil || !u.Query().Has(name) {
		t.Fatalf("%q brings no %s: %v", rawURL, name, err)
	}
	deflated, err := base64.StdEncoding.DecodeString(u.Query().Get(name))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil {
		t.Fatal(err)
	}
	return samlElement(t, string(data)), u.Query().Get("RelayState")
}

func samlElement(t *testing.T, text string) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

// samlAnswer is a signed response about alice. An empty request is none.
func (w *world) samlAnswer(id, request string) string {
	w.t.Helper()
	return w.samlSigned(w.samlUnsigned(id, request))
}

func (w *world) samlUnsigned(id, request string) string {
	if request != "" {
		request = ` InResponseTo="` + request + `"`
	}
	now := w.clock().UTC()
	stamp, later, acs := now.Format(time.RFC3339), now.Add(5*time.Minute).Format(time.RFC3339), brokertest.CallbackURL(w.URL, "saml")
	return fmt.Sprintf(`<p:Response xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r" Version="2.0" IssueInstant="%[1]s" Destination="%[3]s"%[4]s>`+
		`<saml:Issuer>%[5]s</saml:Issuer><p:Status><p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></p:Status>`+
		`<saml:Assertion ID="%[7]s" Version="2.0" IssueInstant="%[1]s"><saml:Issuer>%[5]s</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">saml-alice</saml:NameID>`+
		`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="%[2]s" Recipient="%[3]s"%[4]s/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions><saml:AudienceRestriction><saml:Audience>%[6]s</saml:Audience></saml:AudienceRestriction></saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%[1]s" SessionIndex="%[7]s-session" SessionNotOnOrAfter="%[8]s"><saml:AuthnContext/></saml:AuthnStatement>`+
		`<saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>alice@saml.example</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="uid"><saml:AttributeValue>samlalice</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="givenName"><saml:AttributeValue>Alice</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="sn"><saml:AttributeValue>Liddell</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></p:Response>`,
		stamp, later, acs, request, samlIdP, w.base, id, now.Add(2*time.Hour).Format(time.RFC3339))
}

// samlSigned returns a message with the identity provider's signature.
func (w *world) samlSigned(text string) string {
	w.t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		w.t.Fatal(err)
	}
	ctx, err := dsig.NewSigningContext(samlKey().Private, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	sig, err := ctx.ConstructSignature(doc.Root().Copy(), true)
	if err != nil {
		w.t.Fatal(err)
	}
	sig.RemoveChild(sig.FindElement("./ds:KeyInfo"))
	doc.Root().InsertChildAt(1, sig)
	data, err := doc.WriteToBytes()
	if err != nil {
		w.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

// samlLogin signs a browser in through "saml".
func (w *world) samlLogin(t *testing.T, b *brokertest.Browser, id string) *brokertest.Page {
	t.Helper()
	return w.samlLoginAs(t, b, id, func(answer string) string { return answer })
}

// samlLoginAs is samlLogin with an answer that was edited before it was signed.
func (w *world) samlLoginAs(t *testing.T, b *brokertest.Browser, id string, edit func(string) string) *brokertest.Page {
	t.Helper()
	b.Stop()
	request, state := samlMessage(t, b.Get(w.URL+"/broker/saml/login?return_to=/deep").Header.Get("Location"), "SAMLRequest")
	if len(state) > 80 { // SAML Bindings §3.4.3
		t.Errorf("RelayState has %d bytes", len(state))
	}
	return b.Post(brokertest.CallbackURL(w.URL, "saml"), url.Values{
		"SAMLResponse": {w.samlSigned(edit(w.samlUnsigned(id, request.SelectAttrValue("ID", ""))))}, "RelayState": {state},
	}, samlPages)
}

func TestSAMLLogin(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	b := stopped(t)
	if to := w.samlLogin(t, b, "_a1").Header.Get("Location"); to != w.Origin+"/deep" {
		t.Fatalf("login leads to %q", to)
	}
	if who := b.Get(w.Origin + "/").Who(); who.Username != "samlalice" || who.Email != "alice@saml.example" {
		t.Errorf("signed in as %+v", who)
	}
	if w.users("samlalice") != 1 {
		t.Error("no user, or several")
	}
	// SessionNotOnOrAfter ends the session here too.
	if s := w.samlSessions(); len(s) != 1 || s[0].ExpiresAt.After(w.clock().Add(2*time.Hour)) {
		t.Errorf("sessions = %+v", s)
	}
	w.advance(2 * time.Hour)
	if page := b.Get(w.Origin + "/"); page.Status == http.StatusOK {
		t.Errorf("signed in for longer than there: %s", page.Body)
	}
}

// One assertion is good for one login, whatever answer and whichever browser it is brought by.
func TestSAMLReplay(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, func(s *saml.Config, _ *broker.Provider) { s.Unsolicited = map[string]string{"": "/", "deep": "/deep"} })
	if page := w.samlLogin(t, stopped(t), "_a1"); page.Status != http.StatusSeeOther {
		t.Fatalf("login: %d %s", page.Status, page.Body)
	}
	if page := w.samlLogin(t, stopped(t), "_a1"); page.Status != http.StatusConflict {
		t.Errorf("the same id again: %d %s", page.Status, page.Header.Get("Location"))
	}
	acs := brokertest.CallbackURL(w.URL, "saml")
	unsolicited := url.Values{"SAMLResponse": {w.samlAnswer("_a2", "")}, "RelayState": {"deep"}}
	first := stopped(t)
	if page := first.Post(acs, unsolicited, samlPages); page.Header.Get("Location") != w.Origin+"/deep" {
		t.Fatalf("unsolicited: %d %q %s", page.Status, page.Header.Get("Location"), page.Body)
	}
	if who := first.Get(w.Origin + "/").Who(); who.Username != "samlalice" {
		t.Errorf("signed in as %+v", who)
	}
	second := stopped(t)
	if page := second.Post(acs, unsolicited, samlPages); page.Status != http.StatusConflict {
		t.Errorf("replayed: %d %s", page.Status, page.Header.Get("Location"))
	}
	// Nor does another node take it, which has nothing but the store in common with this one.
	w.reconfigure(func(c *broker.Config) {
		idp, err := saml.New(saml.Config{
			EntityID: c.BaseURL, IdPEntityID: samlIdP, Certificates: []*x509.Certificate{samlKey().Certificate},
			Endpoints: saml.Endpoints{SingleSignOn: samlSSO}, Unsolicited: map[string]string{"": "/", "deep": "/deep"}, Now: c.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = append(c.Providers, broker.Provider{Alias: "saml", Name: "SAML", IdP: idp})
	})
	if page := stopped(t).Post(acs, unsolicited, samlPages); page.Status != http.StatusConflict {
		t.Errorf("replayed on another node: %d %s", page.Status, page.Header.Get("Location"))
	}
	// Of racing browsers one is signed in.
	race := url.Values{"SAMLResponse": {w.samlAnswer("_a3", "")}}
	statuses := make(chan int, 8)
	for range cap(statuses) {
		browser := stopped(t)
		go func() { statuses <- browser.Post(acs, race, samlPages).Status }()
	}
	won := 0
	for range cap(statuses) {
		if <-statuses == http.StatusSeeOther {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of 8 were signed in, want one", won)
	}
}

// What nobody asked for passes nothing that others do not pass.
func TestSAMLUnsolicitedRefused(t *testing.T) {
	t.Parallel()
	allow := func(s *saml.Config, _ *broker.Provider) { s.Unsolicited = map[string]string{"": "/"} }
	for name, test := range map[string]struct {
		edit   func(*saml.Config, *broker.Provider)
		form   func(*world) url.Values
		status int
	}{
		"switched off": {nil, nil, http.StatusBadGateway},
		"disabled": {func(s *saml.Config, p *broker.Provider) {
			allow(s, p)
			p.Disabled = true
		}, nil, http.StatusNotFound},
		"link only": {func(s *saml.Config, p *broker.Provider) {
			allow(s, p)
			p.LinkOnly = true
		}, nil, http.StatusForbidden},
		"unknown RelayState": {allow, func(w *world) url.Values {
			return url.Values{"SAMLResponse": {w.samlAnswer("_a", "")}, "RelayState": {"https://evil.example/"}}
		}, http.StatusBadGateway},
		"answer to somebody's request": {allow, func(w *world) url.Values {
			return url.Values{"SAMLResponse": {w.samlAnswer("_a", "_request")}}
		}, http.StatusBadGateway},
		"with a state that is nobody's": {allow, func(w *world) url.Values {
			return url.Values{"SAMLResponse": {w.samlAnswer("_a", "")}, "RelayState": {strings.Repeat("A", 26)}}
		}, http.StatusBadRequest},
		"no answer": {allow, func(*world) url.Values { return url.Values{"x": {"y"}} }, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSAMLWorld(t, test.edit)
			form := url.Values{"SAMLResponse": {w.samlAnswer("_a", "")}}
			if test.form != nil {
				form = test.form(w)
			}
			if page := stopped(t).Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages); page.Status != test.status {
				t.Errorf("status %d, want %d\n%s", page.Status, test.status, page.Body)
			}
			if w.users("samlalice") != 0 {
				t.Error("a user came to be")
			}
		})
	}
}

// CVE-2026-3009, 2603, 3047, 16442: what is switched off is off for a login that nobody asked for, too, also for who is known.
func TestSAMLUnsolicitedSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		off    func(*world)
		status int
	}{
		"nothing":       {func(*world) {}, http.StatusSeeOther},
		"user disabled": {func(w *world) { w.editUser("samlalice", func(u *store.User) { u.Disabled = true }) }, http.StatusForbidden},
		"provider disabled": {func(w *world) {
			w.reconfigure(unsolicited(t, func(p *broker.Provider) { p.Disabled = true }))
		}, http.StatusNotFound},
		"provider link-only": {func(w *world) {
			w.reconfigure(unsolicited(t, func(p *broker.Provider) { p.LinkOnly = true }))
		}, http.StatusForbidden},
		"provider removed": {func(w *world) { w.reconfigure(nil) }, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, unsolicited(t, func(*broker.Provider) {}))
			arrive := func(id string) (*brokertest.Browser, *brokertest.Page) {
				b := stopped(t)
				form := url.Values{"SAMLResponse": {w.samlAnswer(id, "")}}
				return b, b.Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages)
			}
			if b, page := arrive("_a"); !w.signedIn(b) {
				t.Fatalf("before: status %d\n%s", page.Status, page.Body)
			}
			row.off(w)
			b, page := arrive("_b")
			if page.Status != row.status || w.signedIn(b) != (row.status == http.StatusSeeOther) {
				t.Errorf("status %d, want %d; signed in is %t\n%s", page.Status, row.status, w.signedIn(b), page.Body)
			}
		})
	}
}

// unsolicited configures a SAML provider that starts logins itself.
func unsolicited(t *testing.T, edit func(*broker.Provider)) func(*broker.Config) {
	return samlProvider(t, func(s *saml.Config, p *broker.Provider) {
		s.Unsolicited = map[string]string{"": "/"}
		edit(p)
	})
}

// Row 67: a login that nobody asked for here lands at the application that its RelayState stands for, which then finds a session; not
// at one that nobody knows, that is switched off, that has no home page, or that this provider may not vouch to.
func TestRow67UnsolicitedToClient(t *testing.T) {
	t.Parallel()
	perClient := samlProvider(t, func(s *saml.Config, _ *broker.Provider) {
		s.Unsolicited = map[string]string{"app": "client:rp", "nobody": "client:nobody", "": "client:homeless", "off": "client:off", "others": "client:others"}
	})
	w := newWorld(t, also(perClient, func(c *broker.Config) {
		for _, id := range []string{"homeless", "off", "others"} {
			client := c.Clients[0]
			client.ID, client.Disabled = id, id == "off"
			if id == "homeless" {
				client.HomeURL = ""
			}
			if id == "others" {
				client.Providers = []string{"demo"}
			}
			c.Clients = append(c.Clients, client)
		}
	}))
	for relayState, want := range map[string]int{
		"nobody": http.StatusBadRequest, "": http.StatusBadRequest, "off": http.StatusBadRequest, "others": http.StatusForbidden, "other": http.StatusBadGateway,
	} {
		b := stopped(t)
		form := url.Values{"SAMLResponse": {w.samlAnswer("_"+rand.Text(), "")}, "RelayState": {relayState}}
		page := b.Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages)
		if page.Status != want || page.Header.Get("Location") != "" || w.signedIn(b) || w.users("samlalice") != 0 {
			t.Errorf("RelayState %q: status %d, want %d, leads to %q", relayState, page.Status, want, page.Header.Get("Location"))
		}
	}
	b := stopped(t)
	form := url.Values{"SAMLResponse": {w.samlAnswer("_a", "")}, "RelayState": {"app"}}
	page := b.Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages)
	if to := page.Header.Get("Location"); page.Status != http.StatusSeeOther || to != w.rp.Client().HomeURL {
		t.Fatalf("status %d, leads to %q, want %q", page.Status, to, w.rp.Client().HomeURL)
	}
	page = b.Get(b.Get(w.rp.LoginURL()).Header.Get("Location"))
	if to := page.Header.Get("Location"); !strings.HasPrefix(to, w.rp.Client().RedirectURIs[0]+"?") || !strings.Contains(to, "code=") {
		t.Errorf("the application's own login: status %d, leads to %q", page.Status, to)
	}
}

// Whoever names an application at the login comes to its home page and nowhere else.
func TestLoginToApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	home := w.rp.Client().HomeURL
	page := brokertest.NewBrowser(t).Get(w.URL + "/login?application=rp")
	shows(t, page, http.StatusOK, "Test App")
	if page = page.Click("Demo"); page.Status != http.StatusOK || strings.TrimSuffix(page.URL.String(), "/") != home {
		t.Errorf("status %d at %s, want %s", page.Status, page.URL, home)
	}
	for _, query := range []string{"application=", "application=nobody", "application=rp&return_to=/x", "application=" + url.QueryEscape(home)} {
		if page := stopped(t).Get(w.URL + "/login?" + query); page.Status != http.StatusBadRequest {
			t.Errorf("%s: status %d, leads to %q", query, page.Status, page.Header.Get("Location"))
		}
	}
}

// An answer of one provider is none of another's, the state least of all.
func TestSAMLOtherProvider(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	b := stopped(t)
	request, state := samlMessage(t, b.Get(w.URL+"/broker/saml/login").Header.Get("Location"), "SAMLRequest")
	form := url.Values{"SAMLResponse": {w.samlAnswer("_a", request.SelectAttrValue("ID", ""))}, "RelayState": {state}}
	if page := b.Post(brokertest.CallbackURL(w.URL, "demo"), form, samlPages); page.Status != http.StatusBadRequest {
		t.Errorf("status %d at another provider", page.Status)
	}
	if page := stopped(t).Post(brokertest.CallbackURL(w.URL, "saml"), form, samlPages); page.Status != http.StatusBadRequest {
		t.Errorf("status %d in another browser", page.Status)
	}
}

func (w *world) samlSessions() []*store.Session {
	w.t.Helper()
	found, err := w.store.FindSessions(w.t.Context(), store.SessionQuery{Provider: "saml"})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// samlLogoutRequest is a signed request of the upstream.
func (w *world) samlLogoutRequest(id, subject string, sessions ...string) string {
	w.t.Helper()
	s := fmt.Sprintf(`<p:LogoutRequest xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="%s" Version="2.0" IssueInstant="%s" Destination="%s"><saml:Issuer>%s</saml:Issuer>`,
		id, w.clock().UTC().Format(time.RFC3339), brokertest.CallbackURL(w.URL, "saml")+"/logout", samlIdP)
	if subject != "" {
		s += `<saml:NameID>` + subject + `</saml:NameID>`
	}
	for _, session := range sessions {
		s += `<p:SessionIndex>` + session + `</p:SessionIndex>`
	}
	return w.samlSigned(s + `</p:LogoutRequest>`)
}

func TestSAMLLogoutByUpstream(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	at := brokertest.CallbackURL(w.URL, "saml") + "/logout"
	for i := range 4 {
		w.samlLogin(t, stopped(t), fmt.Sprint("_a", i))
	}
	left := func() (names []string) {
		for _, s := range w.samlSessions() {
			names = append(names, s.UpstreamSession)
		}
		slices.Sort(names)
		return names
	}
	send := func(message string) *brokertest.Page {
		return stopped(t).Post(at, url.Values{"SAMLRequest": {message}, "RelayState": {"theirs"}}, samlPages)
	}
	for _, step := range []struct {
		name, message string
		status        int
		left          []string
	}{
		{"a session that is not there", w.samlLogoutRequest("_l1", "saml-alice", "_x"), http.StatusSeeOther, []string{"_a0-session", "_a1-session", "_a2-session", "_a3-session"}},
		{"another's session", w.samlLogoutRequest("_l2", "saml-bob", "_a0-session"), http.StatusSeeOther, []string{"_a0-session", "_a1-session", "_a2-session", "_a3-session"}},
		{"one session", w.samlLogoutRequest("_l3", "saml-alice", "_a0-session"), http.StatusSeeOther, []string{"_a1-session", "_a2-session", "_a3-session"}},
		{"the same message", w.samlLogoutRequest("_l3", "saml-alice"), http.StatusBadGateway, []string{"_a1-session", "_a2-session", "_a3-session"}},
		{"two sessions", w.samlLogoutRequest("_l4", "", "_a1-session", "_a2-session"), http.StatusSeeOther, []string{"_a3-session"}},
		{"all of a subject", w.samlLogoutRequest("_l5", "saml-alice"), http.StatusSeeOther, nil},
	} {
		page := send(step.message)
		if got := left(); page.Status != step.status || !slices.Equal(got, step.left) {
			t.Errorf("%s: status %d, left are %v, want %d, %v", step.name, page.Status, got, step.status, step.left)
		}
		if step.status != http.StatusSeeOther {
			continue
		}
		answer, relayState := samlMessage(t, page.Header.Get("Location"), "SAMLResponse")
		if relayState != "theirs" || answer.FindElement(".//samlp:StatusCode").SelectAttrValue("Value", "") != "urn:oasis:names:tc:SAML:2.0:status:Success" {
			t.Errorf("%s: answer with RelayState %q", step.name, relayState)
		}
	}
	unsigned := base64.StdEncoding.EncodeToString([]byte(`<p:LogoutRequest xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol"/>`))
	for name, page := range map[string]*brokertest.Page{
		"unsigned":            send(unsigned),
		"nothing":             stopped(t).Get(at),
		"another provider":    stopped(t).Post(brokertest.CallbackURL(w.URL, "demo")+"/logout", url.Values{"SAMLRequest": {unsigned}}, samlPages),
		"nobody's answer":     stopped(t).Post(at, url.Values{"SAMLResponse": {unsigned}, "RelayState": {strings.Repeat("A", 26)}}, samlPages),
		"without the browser": stopped(t).Post(w.URL+"/broker/saml/backchannel_logout", url.Values{"SAMLRequest": {w.samlLogoutRequest("_l9", "saml-alice")}}, ""),
	} {
		if page.Status < 400 || page.Header.Get("Location") != "" {
			t.Errorf("%s: status %d, Location %q", name, page.Status, page.Header.Get("Location"))
		}
	}
}

func TestSAMLLogoutAtUpstream(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	for _, good := range []bool{true, false} {
		b := stopped(t)
		w.samlLogin(t, b, fmt.Sprint("_a", good))
		page := b.Post(w.URL+"/logout", url.Values{"confirm": {"1"}, "return_to": {w.Origin + "/bye"}}, "")
		link := page.Header.Get("Location")
		if link == "" {
			for _, l := range page.Links() {
				if strings.Contains(l.URL, "/broker/saml/logout") {
					link = l.URL
				}
			}
		}
		if link == "" {
			t.Fatalf("%d\n%s", page.Status, page.Body)
		}
		request, state := samlMessage(t, b.Get(link).Header.Get("Location"), "SAMLRequest")
		if request.FindElement("./saml:NameID").Text() != "saml-alice" || request.FindElement("./samlp:SessionIndex").Text() != fmt.Sprint("_a", good, "-session") {
			t.Errorf("request = %v", request)
		}
		if n := len(w.samlSessions()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		answer := w.samlLogoutAnswer(request.SelectAttrValue("ID", ""), samlSuccess)
		if !good { // forged, which changes nothing: the session here has ended
			answer = base64.StdEncoding.EncodeToString([]byte("<x/>"))
		}
		form := url.Values{"SAMLResponse": {answer}, "RelayState": {state}}
		if page := stopped(t).Post(brokertest.CallbackURL(w.URL, "saml")+"/logout", form, samlPages); page.Status != http.StatusBadRequest {
			t.Errorf("in another browser: status %d", page.Status)
		}
		page = b.Post(brokertest.CallbackURL(w.URL, "saml")+"/logout", form, samlPages)
		shows(t, page, http.StatusOK, w.Origin+"/bye")
		if told := strings.Contains(page.Body, "SAML has not confirmed"); told == good {
			t.Errorf("the answer is good: %v, and visitors read that they may be signed in there: %v", good, told)
		}
		again := b.Get(w.URL + "/broker/saml/logout?state=" + state) // what the page offers
		if offered := again.Status == http.StatusSeeOther && strings.HasPrefix(again.Header.Get("Location"), samlSLO); offered == good {
			t.Errorf("the answer is good: %v, and visitors can try again: %v (status %d)", good, offered, again.Status)
		}
		if page = b.Post(brokertest.CallbackURL(w.URL, "saml")+"/logout", form, samlPages); good && page.Status != http.StatusBadRequest {
			t.Errorf("the answer a second time: status %d", page.Status)
		}
	}
}

// samlLogoutAnswer is a signed LogoutResponse to a request.
func (w *world) samlLogoutAnswer(request, status string) string {
	return w.samlSigned(fmt.Sprintf(`<p:LogoutResponse xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_b" Version="2.0" IssueInstant="%s" Destination="%s" InResponseTo="%s"><saml:Issuer>%s</saml:Issuer><p:Status>%s</p:Status></p:LogoutResponse>`,
		w.clock().UTC().Format(time.RFC3339), brokertest.CallbackURL(w.URL, "saml")+"/logout", request, samlIdP, status))
}

const (
	samlSuccess = `<p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>`
	samlRefusal = `<p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>`
	samlPartial = `<p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"><p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:PartialLogout"/></p:StatusCode>`
)

// An application waits. Whoever may still be signed in at the upstream is told so, can try again, and can go on to the application;
// where nothing is in doubt nobody is stopped.
func TestSAMLLogoutInDoubt(t *testing.T) {
	t.Parallel()
	perform := samlProvider(t, func(_ *saml.Config, p *broker.Provider) { p.Logout = provider.LogoutPerform })
	w := newWorld(t, also(perform, func(c *broker.Config) {
		registerLogout(&c.Clients[0])
		c.Clients[0].BackchannelLogoutURI = ""
	}))
	back := w.rp.SignedOutURL() + "?state=theirs"
	tampered := func(message string) string {
		text, _ := base64.StdEncoding.DecodeString(message)
		return base64.StdEncoding.EncodeToString(bytes.Replace(text, []byte(`ID="_b"`), []byte(`ID="_c"`), 1))
	}
	for _, row := range []struct {
		name   string
		answer func(request string) string
		doubt  bool
	}{
		{"signed out", func(id string) string { return w.samlLogoutAnswer(id, samlSuccess) }, false},
		{"refused there", func(id string) string { return w.samlLogoutAnswer(id, samlRefusal) }, true},
		{"others were not told", func(id string) string { return w.samlLogoutAnswer(id, samlPartial) }, true},
		{"signature of something else", func(id string) string { return tampered(w.samlLogoutAnswer(id, samlSuccess)) }, true},
		{"answer to another request", func(string) string { return w.samlLogoutAnswer("_x", samlSuccess) }, true},
		{"no answer", func(string) string { return base64.StdEncoding.EncodeToString([]byte("<x/>")) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := stopped(t)
			w.samlLogin(t, b, "_"+rand.Text())
			page := b.Post(w.URL+"/logout", url.Values{
				"confirm": {"1"}, "client_id": {"rp"}, "post_logout_redirect_uri": {w.rp.SignedOutURL()}, "state": {"theirs"}, "ui_locales": {"de"},
			}, "")
			request, state := samlMessage(t, page.Header.Get("Location"), "SAMLRequest")
			arrive := func(answer string) *brokertest.Page {
				return b.Post(brokertest.CallbackURL(w.URL, "saml")+"/logout", url.Values{"SAMLResponse": {answer}, "RelayState": {state}}, samlPages)
			}
			id := request.SelectAttrValue("ID", "")
			page = arrive(row.answer(id))
			if row.doubt {
				shows(t, page, http.StatusOK, "Sie sind hier abgemeldet", "SAML hat nicht bestätigt", "Zurück zu Test App")
				links := page.Links()
				has := func(to string) bool {
					return slices.ContainsFunc(links, func(l brokertest.Link) bool { return l.URL == to })
				}
				again := w.URL + "/broker/saml/logout?state=" + state
				if !has(back) || !has(again) {
					t.Errorf("links %+v, want %s and %s", links, back, again)
				}
				to := b.Get(again).Header.Get("Location")
				if !strings.HasPrefix(to, samlSLO) {
					t.Fatalf("trying again leads to %q", to)
				}
				request, _ := samlMessage(t, to, "SAMLRequest")
				anew := request.SelectAttrValue("ID", "")
				if anew == id || request.FindElement("./saml:NameID").Text() != "saml-alice" {
					t.Errorf("trying again brings the message %q, which was there before, or is about somebody else", anew)
				}
				shows(t, arrive(w.samlLogoutAnswer(id, samlSuccess)), http.StatusOK, "SAML hat nicht bestätigt")
				page = arrive(w.samlLogoutAnswer(anew, samlSuccess))
			}
			if to := page.Header.Get("Location"); page.Status != http.StatusSeeOther || to != back {
				t.Errorf("status %d, leads to %q, want %q", page.Status, to, back)
			}
		})
	}
}

func TestSAMLDescriptor(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	page := brokertest.NewBrowser(t).Get(brokertest.CallbackURL(w.URL, "saml") + "/descriptor")
	shows(t, page, http.StatusOK, `Location="`+brokertest.CallbackURL(w.URL, "saml")+`"`, `Location="`+brokertest.CallbackURL(w.URL, "saml")+`/logout"`)
}

// A provider that takes its subjects from elsewhere than before is held, as one that points elsewhere is.
func TestSAMLProviderWithOtherBasis(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	if page := w.samlLogin(t, stopped(t), "_a1"); page.Status != http.StatusSeeOther {
		t.Fatalf("login: %d %s", page.Status, page.Body)
	}
	w.reconfigure(func(c *broker.Config) {
		idp, err := saml.New(saml.Config{
			EntityID: c.BaseURL, IdPEntityID: samlIdP, Certificates: []*x509.Certificate{samlKey().Certificate},
			Endpoints: saml.Endpoints{SingleSignOn: samlSSO}, SubjectAttribute: "uid", Now: c.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = append(c.Providers, broker.Provider{Alias: "saml", Name: "SAML", IdP: idp})
	})
	if page := w.samlLogin(t, stopped(t), "_a2"); !held(page) {
		t.Errorf("with another subject: %d %s", page.Status, page.Body)
	}
	if err := w.Broker.ConfirmProvider(t.Context(), "saml"); err != nil {
		t.Fatal(err)
	}
	if page := w.samlLogin(t, stopped(t), "_a3"); held(page) {
		t.Error("held although confirmed")
	}
}

// 50: whoever lacks the attribute that the identity provider has to send, or has another value, is no user.
func TestRow50EssentialAttributeOfSAML(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, func(c *saml.Config, _ *broker.Provider) {
		c.EssentialAttribute, c.EssentialValue = "kind", "staff|admin.*"
	})
	login := func(id string, values ...string) (*brokertest.Browser, *brokertest.Page) {
		b := stopped(t)
		return b, w.samlLoginAs(t, b, id, func(answer string) string {
			attribute := ""
			for _, v := range values {
				attribute += `<saml:AttributeValue>` + v + `</saml:AttributeValue>`
			}
			if len(values) > 0 {
				attribute = `<saml:Attribute Name="kind">` + attribute + `</saml:Attribute>`
			}
			return strings.Replace(answer, `</saml:AttributeStatement>`, attribute+`</saml:AttributeStatement>`, 1)
		})
	}
	for id, values := range map[string][]string{"_none": nil, "_empty": {""}, "_other": {"guest"}, "_longer": {"my staff"}, "_list": {"guest", "Staff"}} {
		b, page := login(id, values...)
		shows(t, page, http.StatusForbidden, "This account cannot be used here")
		if w.signedIn(b) || w.users("samlalice") > 0 {
			t.Errorf("%q: signed in %t, %d users", values, w.signedIn(b), w.users("samlalice"))
		}
	}
	for id, values := range map[string][]string{"_one": {"staff"}, "_pattern": {"administrator"}, "_among": {"guest", "staff"}} {
		if b, page := login(id, values...); !w.signedIn(b) {
			t.Errorf("%q: status %d\n%s", values, page.Status, page.Body)
		}
	}
}

// Over http no cookie comes with the form of another site: whoever develops is told so, and a visitor without a cookie as ever.
func TestSAMLNeedsHTTPS(t *testing.T) {
	t.Parallel()
	w := newSAMLWorld(t, nil)
	acs, form := brokertest.CallbackURL(w.URL, "saml"), url.Values{"SAMLResponse": {"x"}, "RelayState": {strings.Repeat("A", 26)}}
	for from, want := range map[string]string{samlPages: "This address needs https", w.Origin + "/": "We do not recognise your browser"} {
		page := brokertest.NewBrowser(t).Post(acs, form, from)
		if page.Status != http.StatusBadRequest || !strings.Contains(page.Body, want) {
			t.Errorf("from %s: status %d, want a page that says %q:\n%s", from, page.Status, want, page.Body)
		}
	}
}
