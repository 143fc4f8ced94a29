package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// Whoever has an account at a provider that signs in users who did not ask can begin a login of theirs in alice's browser, with her
// address. There it would be "the login's own browser", in which a mailed link needs no number, and her password is hers to type. So it
// does not wait there, whatever it would wait for; who meant it begins again, here.
func TestPlantedLoginWaitsForNobody(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]flow.Flow{
		"default":     nil,
		"mail":        {{ID: "mail", Do: firstlogin.VerifyByEmail{}}},
		"password":    firstlogin.VerifyByReauthentication(),
		"provider":    {{ID: "provider", Do: firstlogin.VerifyByProvider{}}},
		"new address": {{ID: "new", Do: firstlogin.CreateUserIfUnique{}}, {ID: "own", Do: firstlogin.VerifyEmail{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := "alice@example.com"
			if name == "new address" {
				address = "alice@work.example" // hers as well, without an account
			} else if first != nil {
				first = append(flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}}, first...)
			}
			l := newLinkWorld(t, samlProvider(t, func(s *saml.Config, p *broker.Provider) {
				s.Unsolicited, p.FirstLogin, p.HideOnLogin = map[string]string{"": "/deep", "app": "client:rp"}, first, true
			}))
			edit := func(answer string) string { return strings.ReplaceAll(answer, "alice@saml.example", address) }
			acs := brokertest.CallbackURL(l.URL, "saml")
			alice := brokertest.NewBrowser(t)
			page := alice.Post(acs, url.Values{"SAMLResponse": {l.samlSigned(edit(l.samlUnsigned("_a1", "")))}}, samlPages)
			shows(t, page, http.StatusForbidden, "SAML needs you to sign in there once more", l.URL+"/broker/saml/login?return_to=%2Fdeep")
			for _, link := range append(l.box.links(), l.box.demands()...) {
				shows(t, alice.Get(link), http.StatusOK, `name="number"`)
			}
			if l.linksOf(l.alice)["saml"] != 0 || l.users("samlalice") != 0 || l.signedIn(alice) {
				t.Error("it goes on")
			}
			// What leads on keeps the application.
			page = alice.Post(acs, url.Values{"SAMLResponse": {l.samlSigned(edit(l.samlUnsigned("_a0", "")))}, "RelayState": {"app"}}, samlPages)
			shows(t, page, http.StatusForbidden, "SAML needs you to sign in there once more", l.URL+"/broker/saml/login?application=rp")
			alice.Stop()
			if to := alice.Get(l.URL + "/broker/saml/login?application=rp").Header.Get("Location"); !strings.HasPrefix(to, samlSSO+"?") {
				t.Errorf("beginning again leads to %q", to)
			}
			// The same from here waits.
			page = l.samlLoginAs(t, alice, "_a2", edit)
			if page = alice.Get(page.Header.Get("Location")); page.Status != http.StatusOK || !strings.Contains(page.URL.Path, "/flow/") {
				t.Errorf("asked for: status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
		})
	}
}

// Steps behind the first login wait also where nobody asked, as they give nothing to a stranger but the address that they have verified:
// for that even the browser that waits needs the number.
func TestPlantedLoginVerifiesNoAddress(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, samlProvider(t, func(s *saml.Config, p *broker.Provider) {
		s.Unsolicited, p.PostLogin = map[string]string{"": "/deep"}, flow.Flow{{ID: "address", Do: firstlogin.VerifyEmail{}}}
	}))
	alice := brokertest.NewBrowser(t)
	waiting := alice.Post(brokertest.CallbackURL(l.URL, "saml"), url.Values{"SAMLResponse": {l.samlAnswer("_a1", "")}}, samlPages)
	shows(t, waiting, http.StatusOK, "Look into your mailbox")
	all := l.box.demands()
	if len(all) != 1 {
		t.Fatalf("%d mails, want one", len(all))
	}
	confirm := alice.Get(all[0])
	shows(t, confirm, http.StatusOK, `name="number"`)
	shows(t, confirm.Submit(nil), http.StatusOK, "Please type the number")
	shows(t, alice.Get(waiting.URL.String()).Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
	if l.users("samlalice") != 0 || l.signedIn(alice) {
		t.Error("it goes on")
	}
	shows(t, confirm.Submit(number(waiting)), http.StatusOK, "Go back to the browser")
	if page := alice.Get(waiting.URL.String()).Submit(press("confirmed")); page.URL.Path != "/deep" {
		t.Errorf("with the number: status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}
