package integration

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// startBroker starts a broker with the upstreams that providers returns, which is told its BaseURL, and an application.
func startBroker(t *testing.T, providers func(base string) []broker.Provider) (*brokertest.Server, *brokertest.RelyingParty) {
	t.Helper()
	rp := brokertest.NewRelyingParty(t)
	srv := brokertest.Start(t, func(base string) broker.Config {
		return broker.Config{
			Store:     sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers: providers(base),
			Clients:   []store.Client{rp.Client()},
		}
	})
	rp.Connect(srv.URL)
	return srv, rp
}

// newUpstream is the upstream on loopback that cfg describes.
func newUpstream(t *testing.T, cfg oidc.Config) *oidc.Provider {
	t.Helper()
	cfg.InsecureAllowHTTP, cfg.InsecureAllowPrivateNetworks = true, true
	idp, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return idp
}

// The example OpenID Provider of the certified Go module zitadel/oidc as the upstream. Its issuer ends with a slash.
func TestLoginThroughZitadel(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String() + "/"
	_, rp := startBroker(t, func(base string) []broker.Provider {
		// Its clients are a global variable, to be filled before it starts.
		storage.RegisterClients(
			storage.WebClient("web", foreignSecret, brokertest.CallbackURL(base, "confidential")),
			storage.NativeClient("native", brokertest.CallbackURL(base, "public")),
		)
		return []broker.Provider{
			{Alias: "confidential", IdP: newUpstream(t, oidc.Config{Issuer: issuer, ClientID: "web", ClientSecret: foreignSecret})},
			{Alias: "public", IdP: newUpstream(t, oidc.Config{Issuer: issuer, ClientID: "native", AuthMethod: oidc.NoClientAuth})},
		}
	})
	users := storage.NewStorage(storage.NewUserStore(issuer))
	server.Config.Handler = exampleop.SetupServer(issuer, users, slog.New(slog.DiscardHandler), false)
	server.Start()
	t.Cleanup(server.Close)

	login := func(alias, user, password string) *brokertest.Page {
		t.Helper()
		page := brokertest.NewBrowser(t).Get(rp.LoginURL()).Click("Continue with " + alias)
		if !strings.HasPrefix(page.URL.String(), issuer+"login/username?") {
			t.Fatalf("at %s (status %d), want the upstream's login page:\n%s", page.URL, page.Status, page.Body)
		}
		return page.Submit(url.Values{"username": {user}, "password": {password}})
	}
	signIn := func(alias, user string) brokertest.Login {
		t.Helper()
		page := login(alias, user, "verysecure")
		if page.Status != http.StatusOK || !strings.HasPrefix(rp.LoginURL(), "http://"+page.URL.Host) {
			t.Fatalf("%s through %s: at %s (status %d), want the application:\n%s", user, alias, page.URL, page.Status, page.Body)
		}
		return rp.Login()
	}
	page := login("confidential", "test-user@127.0.0.1", "wrong")
	if !strings.HasPrefix(page.URL.String(), issuer) || rp.Login().Subject != "" {
		t.Errorf("with a wrong password: at %s, and the application has %v", page.URL, rp.Login())
	}
	first := signIn("confidential", "test-user@127.0.0.1")
	equal(t, "who vouched", first.Claims["identity_provider"], any("confidential"))
	equal(t, "name", first.Claims["name"], any("Test User"))
	equal(t, "e-mail address", first.Claims["email"], any("test-user@zitadel.ch"))
	if again := signIn("confidential", "test-user@127.0.0.1"); again.Subject != first.Subject || first.Subject == "" {
		t.Errorf("subject of the second login: got %q, want %q", again.Subject, first.Subject)
	}
	if other := signIn("public", "test-user2"); other.Subject == first.Subject || other.Claims["identity_provider"] != "public" {
		t.Errorf("somebody else: got subject %q through %v", other.Subject, other.Claims["identity_provider"])
	}
}
