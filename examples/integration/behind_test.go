package integration

import (
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// Two brokers: the upstream of the one at the front is the one at the back, whose upstream is a test provider. Each has an
// application, which is told of sign-outs.
type behind struct {
	back, front       *brokertest.Server
	backURL           string
	frontStore        *sqlstore.Store
	backApp, frontApp *brokertest.RelyingParty
}

func startBehind(t *testing.T) *behind {
	t.Helper()
	w := &behind{frontStore: sqlstore.New(openSQLite(t, newFile(t)+pragmas)), backApp: newToldApp(t), frontApp: newToldApp(t)}
	demo := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256"})
	key := newClientKey(t, "ES256")
	config := broker.Config{
		ClientHTTP: provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
	}
	w.back = brokertest.Start(t, func(base string) broker.Config {
		// Cookies do not know ports: the brokers need hosts of their own.
		w.backURL = strings.Replace(base, "127.0.0.1", "localhost", 1)
		w.front = brokertest.Start(t, func(string) broker.Config {
			c := config
			c.Store, c.DefaultProvider = w.frontStore, "back"
			c.Clients = []store.Client{w.frontApp.Client()}
			c.Providers = []broker.Provider{{
				Alias: "back", TrustEmail: true, Logout: provider.LogoutPerform,
				IdP: newUpstream(t, oidc.Config{
					Issuer: w.backURL, ClientID: "front", ClientKey: key, RequireResponseIssuer: true,
					SigningAlgs: []string{"EdDSA"}, RequireSignedUserInfo: true,
				}),
			}}
			return c
		})
		c := config
		c.BaseURL, c.Store, c.DefaultProvider = w.backURL, sqlstore.New(openSQLite(t, newFile(t)+pragmas)), "demo"
		c.Providers = []broker.Provider{{
			Alias: "demo", IdP: demoIdP(t, demo, w.backURL), TrustEmail: true, Logout: provider.LogoutPerform,
		}}
		c.Clients = []store.Client{w.backApp.Client(), {
			ID: "front", AuthMethod: store.AuthPrivateKeyJWT, JWKS: string(publicSet(t, key)), IDTokenAlg: "EdDSA", UserInfoAlg: "EdDSA",
			RedirectURIs:           []string{brokertest.CallbackURL(w.front.URL, "back")},
			PostLogoutRedirectURIs: []string{w.front.URL + "/broker/back/logout_response"},
			BackchannelLogoutURI:   w.front.URL + "/broker/back/backchannel_logout",
		}}
		return c
	})
	w.backApp.Connect(w.backURL)
	w.frontApp.Connect(w.front.URL)
	return w
}

// newToldApp is an application that wants to know of sign-outs.
func newToldApp(t *testing.T) *brokertest.RelyingParty {
	t.Helper()
	rp := brokertest.NewRelyingParty(t)
	c := rp.Client()
	c.BackchannelLogoutURI, c.PostLogoutRedirectURIs = rp.BackchannelURL(), []string{rp.SignedOutURL()}
	rp.SetClient(c)
	return rp
}

// signIn signs alice in at the application, and reports whether anybody had to be asked who is there.
func (w *behind) signIn(t *testing.T, browser *brokertest.Browser, rp *brokertest.RelyingParty) (asked bool) {
	t.Helper()
	page := browser.Get(rp.LoginURL())
	if asked = strings.Contains(page.Body, "Who are you?"); asked {
		page = page.Submit(url.Values{"user": {"alice"}})
	}
	if !strings.HasPrefix(page.URL.String(), rp.Client().RedirectURIs[0]) {
		t.Fatalf("at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	return asked
}

func TestBrokerBehindBroker(t *testing.T) {
	t.Parallel()
	w := startBehind(t)
	browser := brokertest.NewBrowser(t)
	equal(t, "asked at the first login", w.signIn(t, browser, w.frontApp), true)
	equal(t, "asked for the application at the back", w.signIn(t, browser, w.backApp), false)
	atFront, atBack := w.frontApp.Login(), w.backApp.Login()
	equal(t, "name at the front", atFront.Claims["name"], any("Alice Liddell"))
	equal(t, "e-mail address at the front", atFront.UserInfo["email"], any("alice@example.com"))
	equal(t, "who vouched at the front", atFront.Claims["identity_provider"], any("back"))
	equal(t, "who vouched at the back", atBack.Claims["identity_provider"], any("demo"))

	links, err := w.frontStore.LinksOf(t.Context(), atFront.Subject)
	if err != nil || len(links) != 1 {
		t.Fatalf("links at the front: %v, %v, want one", links, err)
	}
	equal(t, "link at the front", links[0].LinkKey, store.LinkKey{Provider: "back", Issuer: w.backURL, Subject: atBack.Subject})

	again := brokertest.NewBrowser(t)
	w.signIn(t, again, w.frontApp)
	equal(t, "sub of the second login", w.frontApp.Login().Subject, atFront.Subject)
}

// A sign-out at the front goes through both brokers to the provider, and back.
func TestSignOutThroughBrokers(t *testing.T) {
	t.Parallel()
	w := startBehind(t)
	browser := brokertest.NewBrowser(t)
	w.signIn(t, browser, w.frontApp)
	w.signIn(t, browser, w.backApp)
	page := browser.Get(w.frontApp.LogoutURL(nil))
	if !strings.HasPrefix(page.URL.String(), w.frontApp.SignedOutURL()+"?state=") {
		t.Errorf("at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	w.wantTold(t)
	equal(t, "asked who is there after the sign-out", w.signIn(t, browser, w.frontApp), true)
}

// A sign-out at the back reaches the application at the front without the browser.
func TestSignOutAtTheBack(t *testing.T) {
	t.Parallel()
	w := startBehind(t)
	browser := brokertest.NewBrowser(t)
	w.signIn(t, browser, w.frontApp)
	w.signIn(t, browser, w.backApp)
	other := brokertest.NewBrowser(t) // another session of the same user goes on
	other.Get(w.front.Origin).Submit(url.Values{"user": {"alice"}})
	browser.Get(w.backApp.LogoutURL(nil))
	w.wantTold(t)
	equal(t, "asked who is there after the sign-out", w.signIn(t, browser, w.frontApp), true)
	equal(t, "who is there in the other browser", other.Get(w.front.Origin).Who().Name, "Alice Liddell")
}

// wantTold fails the test unless each application was told once that the session of its login has ended.
func (w *behind) wantTold(t *testing.T) {
	t.Helper()
	for where, rp := range map[string]*brokertest.RelyingParty{"front": w.frontApp, "back": w.backApp} {
		told := rp.Logouts()
		if len(told) != 1 {
			t.Errorf("the application at the %s was told of %v, want one sign-out", where, told)
			continue
		}
		equal(t, "session that has ended at the "+where, any(told[0].Session), rp.Login().Claims["sid"])
	}
}
