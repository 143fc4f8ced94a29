package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// stepUp asks a user who is known for a passkey. It decides nothing, so that a flow may do without it.
type stepUp struct{}

func (stepUp) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return factor.Passkey{}.Authenticate(ctx, t)
}

// startPasskeys serves a host whose users sign in with a provider, a password or a passkey; guards need a passkey besides. It is at
// localhost, as an IP address can have no passkeys.
func startPasskeys(t *testing.T) (origin string, s *memstore.Store) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin = fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	s = memstore.New()
	upstream := func(alias, name string) broker.Provider {
		op := providertest.StartOIDC(t, providertest.OIDCConfig{Name: name, AutoLogin: "ada", Users: []providertest.User{
			{Subject: "ada", Username: "ada", Name: "Ada Lindqvist", Email: "ada@mail.example", EmailVerified: true},
		}})
		client := op.Register(providertest.Client{ID: alias, RedirectURIs: []string{brokertest.CallbackURL(origin+"/id", alias)}})
		idp, err := oidc.New(oidc.Config{
			Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret,
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Provider{Alias: alias, Name: name, IdP: idp, TrustEmail: true}
	}
	b, err := broker.New(broker.Config{
		Name: "Your App", BaseURL: origin + "/id", Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")}, Store: s,
		Credentials: s, LocalLogin: true, Passkeys: passkey.Site{},
		Providers: []broker.Provider{upstream("demo", "Demo"), upstream("other", "Other")},
		PostLogin: flow.Flow{{ID: "known", Do: firstlogin.Allow{}}, {ID: "guards", When: flow.Conditional, Sub: flow.Flow{
			{ID: "is-guard", Do: firstlogin.HasRole("guard")}, {ID: "passkey", Do: stepUp{}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/account/", b.Account())
	mux.Handle("/", b.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		fmt.Fprintf(w, "<!doctype html><title>App</title><link rel=icon href=data:,><p>Hello, %s</p>", user.Name)
	})))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	return origin, s
}

// authenticator gives the tab a device that keeps passkeys and verifies its user, and returns what has it verify nobody any more,
// or again.
func (b *tab) authenticator() (verifies func(bool)) {
	b.t.Helper()
	b.do("start", chromedp.Navigate("about:blank"))
	if _, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		b.t.Fatal(err)
	}
	device, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return func(yes bool) {
		b.t.Helper()
		if _, err := chromedp.Call(b.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{
			AuthenticatorID: device.AuthenticatorID, IsUserVerified: yes,
		}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// looks waits for the page, and looks at it in windows of two sizes and both colours.
func (b *tab) looks(name, title string) {
	b.t.Helper()
	b.see(title)
	was := b.look
	for _, look := range []window{{width: 360}, {width: 360, dark: true}, {width: 1000}, {width: 1000, dark: true}} {
		scheme := map[bool]string{true: "dark", false: "light"}[look.dark]
		b.look = look
		b.do("look at "+name, chromedp.EmulateViewport(look.width, 800))
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}); err != nil {
			b.t.Fatal(err)
		}
		b.shot("passkey-" + name)
		b.wantFit(name)
		if screenshots == "" {
			break
		}
	}
	b.look = was
	if said := slices.DeleteFunc(b.said(), func(m string) bool { return strings.Contains(m, "favicon") }); len(said) > 0 {
		b.t.Errorf("%s: the console says %q", name, said)
	}
}

// TestPasskeysInChromium makes a passkey in a real browser, signs in with it, proves an account by it, and removes it, with the pages'
// script under their policy.
func TestPasskeysInChromium(t *testing.T) {
	t.Parallel()
	origin, s := startPasskeys(t)
	b := openTab(t, startChromium(t), window{width: 360})
	verifies := b.authenticator()
	signOut := func() {
		t.Helper()
		b.open(origin + "/id/logout")
		b.click("Sign out")
		b.see("You are signed out")
	}
	b.open(origin)
	b.click("Continue with Demo")
	b.see("Hello, Ada Lindqvist")
	b.open(origin + "/account/")
	b.looks("none", "Passkeys")
	b.click("Add a passkey")
	b.looks("create", "Create a passkey")
	b.do("name it", chromedp.SetValue(chromedp.Search("#label"), "Laptop"))
	verifies(false) // by somebody whose finger is not the user's
	b.click("Create passkey")
	b.looks("create-failed", "That did not work, or was cancelled. Please try again or use another way.")
	verifies(true)
	b.click("Create passkey")
	b.looks("made", "Your passkey was added. You can sign in with it from now on.")
	b.see("Laptop")
	signOut()

	verifies(false)
	b.open(origin)
	b.looks("login", "Sign in with a passkey")
	b.click("Sign in with a passkey")
	b.looks("failed", "That did not work, or was cancelled. Please try again or use another way.")
	verifies(true)
	b.click("Sign in with a passkey")
	b.see("Hello, Ada Lindqvist")
	users, err := s.FindUsers(t.Context(), store.UserQuery{Username: "ada"})
	if err != nil || len(users) != 1 {
		t.Fatalf("ada is %v, %v", users, err)
	}
	ada := users[0]
	sessions, err := s.FindSessions(t.Context(), store.SessionQuery{UserID: ada.ID})
	if err != nil || len(sessions) != 1 || !slices.Contains(sessions[0].AMR, "mfa") || sessions[0].Upstream != (store.LinkKey{}) {
		t.Errorf("sessions %+v, %v; want one by a passkey", sessions, err)
	}
	signOut()

	// The field for the name offers passkeys, too; this device takes the offer without being asked.
	b.open(origin)
	b.see("Hello, Ada Lindqvist")
	signOut()

	// What came by another provider is hers once a passkey has proved it.
	verifies(false)
	b.open(origin)
	b.click("Continue with Other")
	b.click("Use the account that exists")
	b.see("Prove that the account is yours")
	b.click("Use another way")
	b.looks("password", "Sign in with your password")
	verifies(true)
	b.click("Sign in with a passkey")
	b.see("Hello, Ada Lindqvist")
	links, err := s.LinksOf(t.Context(), ada.ID)
	if err != nil || len(links) != 2 {
		t.Errorf("links %v, %v", links, err)
	}
	signOut()

	ada.Roles = []string{"guard"}
	if err := s.UpdateUser(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	verifies(false)
	b.open(origin)
	b.click("Continue with Demo")
	verifies(true)
	b.looks("page", "Sign in with a passkey")
	b.click("Use passkey")
	b.see("Hello, Ada Lindqvist")

	b.open(origin + "/account/")
	b.click("Rename")
	b.looks("rename", "Rename this passkey")
	b.do("name it", chromedp.SetValue(chromedp.Search("#label"), "Old laptop"))
	b.click("Save")
	b.see("Old laptop")
	b.do("remove it", chromedp.Click(chromedp.Search(`//*[@aria-labelledby="passkeys"]//button`)))
	b.looks("remove", "Remove this passkey?")
	b.click("Remove")
	b.see("It was removed.")
	if left, err := s.CredentialsOf(t.Context(), ada.ID); len(left) != 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}
