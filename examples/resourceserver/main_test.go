package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

const audience = "https://orders.example.com"

// login signs Alice in at an application that edit may change, and returns what the application gets.
func login(t *testing.T, scope string, edit func(*store.Client)) (issuer string, got brokertest.Login) {
	t.Helper()
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice"})
	rp := brokertest.NewRelyingParty(t)
	rp.Params.Set("scope", scope)
	client := rp.Client()
	client.Scopes = []string{"openid", "profile", "email", "orders:read"}
	edit(&client)
	srv := brokertest.Start(t, func(base string) broker.Config {
		at := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
		idp, err := oidc.New(oidc.Config{
			Issuer: op.Issuer(), ClientID: at.ID, ClientSecret: at.Secret,
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			Store: memstore.New(), Clients: []store.Client{client},
			Providers: []broker.Provider{{Alias: "demo", Name: "Demo", IdP: idp}},
		}
	})
	rp.Connect(srv.URL)
	brokertest.NewBrowser(t).Get(rp.LoginURL()).Click("Demo")
	if got = rp.Login(); got.AccessToken == "" {
		t.Fatalf("no access token: %+v", got)
	}
	return srv.URL, got
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	ours := func(c *store.Client) { c.Audience = []string{audience} }
	for _, row := range []struct {
		name   string
		scope  string
		edit   func(*store.Client)
		header func(brokertest.Login) string
		want   int
		says   string // in the body, or in the challenge
	}{
		{"accepted", "openid profile email orders:read", ours, bearer, http.StatusOK, `"orders":["tea","biscuits"]`},
		{"no token", "openid profile email orders:read", ours, func(brokertest.Login) string { return "" }, http.StatusUnauthorized, "Bearer"},
		{"without the scope", "openid profile email", ours, bearer, http.StatusForbidden, "insufficient_scope"},
		{"for another API", "openid profile email orders:read", func(c *store.Client) { c.Audience = []string{"https://other.example.com"} },
			bearer, http.StatusUnauthorized, "invalid_token"},
		{"an ID token", "openid profile email orders:read", ours,
			func(l brokertest.Login) string { return "Bearer " + l.IDToken }, http.StatusUnauthorized, "invalid_token"},
		{"altered", "openid profile email orders:read", ours, func(l brokertest.Login) string {
			parts := strings.Split(l.AccessToken, ".")
			signature := []byte(parts[2])
			slices.Reverse(signature)
			return "Bearer " + parts[0] + "." + parts[1] + "." + string(signature)
		}, http.StatusUnauthorized, "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			issuer, got := login(t, row.scope, row.edit)
			api := httptest.NewServer(newAPI(issuer, audience))
			t.Cleanup(api.Close)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL+"/orders", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", row.header(got))
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if said := string(body) + response.Header.Get("WWW-Authenticate"); response.StatusCode != row.want || !strings.Contains(said, row.says) {
				t.Errorf("got %d %q, want %d with %q", response.StatusCode, said, row.want, row.says)
			}
			if row.want == http.StatusOK && !strings.Contains(string(body), got.Subject) {
				t.Errorf("the API does not know whom the token is for: %s", body)
			}
		})
	}
}

func bearer(l brokertest.Login) string { return "Bearer " + l.AccessToken }
