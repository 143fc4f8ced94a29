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
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// makePasskey is a step in which a user who has no passkey makes one, as the account page of a host would.
type makePasskey struct{}

func (makePasskey) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	user, err := t.Accounts.User(ctx, t.Draft.UserID)
	if err != nil {
		return flow.Result{}, err
	}
	if t.Input != nil {
		err := t.Passkeys.FinishRegistration(ctx, t.Credentials, user, "laptop", []byte(t.Get("state")), []byte(t.Input.Get("credential")), t.Now)
		return flow.Success(), err
	}
	all, err := t.Credentials.CredentialsOf(ctx, user.ID)
	if len(all) > 0 || err != nil {
		return flow.Success(), err
	}
	options, state, err := t.Passkeys.BeginRegistration(ctx, t.Credentials, user)
	if err != nil {
		return flow.Result{}, err
	}
	t.Set("state", string(state))
	return flow.Ask(flow.Page{Name: "passkey", Data: map[string]any{"options": string(options), "create": true}}), nil
}

// startPasskeys serves a host whose users need a passkey besides their upstream, and make one when they first come back. It is
// at localhost, as an IP address can have no passkeys.
func startPasskeys(t *testing.T) (origin string, s *memstore.Store) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin = fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Demo", AutoLogin: "ada", Users: []providertest.User{
		{Subject: "ada", Username: "ada", Name: "Ada Lindqvist"},
	}})
	client := upstream.Register(providertest.Client{ID: "demo", RedirectURIs: []string{brokertest.CallbackURL(origin+"/id", "demo")}})
	idp, err := oidc.New(oidc.Config{
		Issuer: upstream.Issuer(), ClientID: client.ID, ClientSecret: client.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s = memstore.New()
	b, err := broker.New(broker.Config{
		BaseURL: origin + "/id", Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")}, Store: s, Credentials: s,
		Passkeys:  passkey.Site{},
		Providers: []broker.Provider{{Alias: "demo", Name: "Demo", IdP: idp}},
		PostLogin: flow.Flow{{ID: "make", Do: makePasskey{}}, {ID: "passkey", Do: factor.Passkey{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateUser(t.Context(), &store.User{ID: "1", Username: "ada", Name: "Ada Lindqvist"}); err != nil {
		t.Fatal(err)
	}
	link := &store.Link{LinkKey: store.LinkKey{Provider: "demo", Issuer: upstream.Issuer(), Subject: "ada"}, UserID: "1", CreatedAt: time.Now()}
	if err := s.CreateLink(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		fmt.Fprintf(w, "<!doctype html><title>App</title><link rel=icon href=data:,><p>Hello, %s</p><a href=/id/logout>Sign out</a>", user.Name)
	})))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	return origin, s
}

// TestPasskeysInChromium makes a passkey in a real browser and uses it, with the page's script under its policy.
func TestPasskeysInChromium(t *testing.T) {
	t.Parallel()
	origin, s := startPasskeys(t)
	b := openTab(t, startChromium(t), window{width: 360})
	b.do("start", chromedp.Navigate("about:blank"))
	if _, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	device, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	quiet := func(where string) {
		t.Helper()
		b.shot("passkey-" + where)
		b.wantFit(where)
		said := slices.DeleteFunc(b.said(), func(m string) bool { return strings.Contains(m, "favicon") })
		if len(said) > 0 {
			t.Errorf("%s: the console says %q", where, said)
		}
	}
	b.open(origin)
	b.click("Continue with Demo")
	b.see("Create a passkey")
	quiet("create")
	b.click("Create passkey")
	b.see("Sign in with a passkey")
	quiet("use")
	if _, err := chromedp.Call(b.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device.AuthenticatorID}); err != nil {
		t.Fatal(err)
	}
	b.click("Use passkey") // by somebody whose finger is not the user's
	b.see("That did not work, or was cancelled. Please try again or use another way.")
	quiet("failed")
	if _, err := chromedp.Call(b.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{
		AuthenticatorID: device.AuthenticatorID, IsUserVerified: true,
	}); err != nil {
		t.Fatal(err)
	}
	b.click("Use passkey")
	b.see("Hello, Ada Lindqvist")
	sessions, err := s.FindSessions(t.Context(), store.SessionQuery{UserID: "1"})
	if err != nil || len(sessions) != 1 || !slices.Contains(sessions[0].AMR, "mfa") {
		t.Errorf("sessions %+v, %v; want one of several factors", sessions, err)
	}
}
