package broker_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/provider/social"
	"github.com/go-idbroker/idbroker/store"
)

// A discord is a vendor in the place of the network: whoever is sent there agrees at once.
type discord struct{ base http.Transport }

// RoundTrip is http.RoundTripper's.
func (d *discord) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, header http.Header, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	json := http.Header{"Content-Type": {"application/json"}}
	switch q := r.URL.Query(); r.URL.Host + r.URL.Path {
	case "discord.com/oauth2/authorize":
		to := q.Get("redirect_uri") + "?" + url.Values{"code": {"c"}, "state": {q.Get("state")}, "iss": {"https://discord.com"}}.Encode()
		return answer(http.StatusFound, http.Header{"Location": {to}}, "")
	case "discord.com/api/oauth2/token":
		return answer(http.StatusOK, json, `{"access_token":"at","token_type":"Bearer"}`)
	case "discord.com/api/v10/users/@me":
		return answer(http.StatusOK, json, `{"id":"80351110224678912","username":"a11ce","global_name":"Another Name","verified":false}`)
	}
	return d.base.RoundTrip(r)
}

// What applications are told about a user is the same in every token and answer, for every scope and client, whichever kind of
// provider the user came through: OpenID Connect, OAuth 2.0, SAML, a social network, or none.
func TestClaimsOutAreTheSame(t *testing.T) {
	t.Parallel()
	vendor := &discord{}
	t.Cleanup(vendor.base.CloseIdleConnections)
	git := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice", OAuth2: &providertest.OAuth2{
		UserInfo: func(providertest.User) any {
			return map[string]any{"sub": 4711, "name": "A. Liddell", "groups": []string{"evil"}}
		},
	}})
	w := newWorld(t, func(c *broker.Config) {
		federated, err := saml.New(saml.Config{
			EntityID: c.BaseURL, IdPEntityID: samlIdP, Certificates: []*x509.Certificate{samlKey().Certificate},
			Endpoints: saml.Endpoints{SingleSignOn: samlSSO}, Now: c.Now,
		})
		must(t, err)
		c.Credentials, c.LocalLogin, c.Passwords = c.Store.(store.Credentials), true, &factor.Passwords{Memory: 8, Time: 1}
		c.Providers = append(c.Providers, broker.Provider{Alias: "git", Name: "Git", IdP: gitServer(t, git, c.BaseURL)},
			broker.Provider{Alias: "saml", IdP: federated},
			broker.Provider{Alias: "discord", IdP: social.Discord("id", "secret").With(social.Options{HTTPClient: &http.Client{Transport: vendor}})})
		rp := &c.Clients[0]
		rp.Scopes = []string{"openid", "profile", "email", "roles", "groups", "work"}
		app := *rp
		app.ID = "app"
		rp.Claims = []store.ClientClaim{
			{Name: "department", From: "attribute:dept"},
			{Name: "teams", From: "groups", In: []string{store.ClaimInAccessToken, store.ClaimInUserInfo}},
		}
		app.Claims = []store.ClientClaim{
			{Name: "cost_center", From: "attribute:cost", Scope: "work", In: []string{store.ClaimInIDToken}},
			{Name: "team_list", From: "groups", List: true, In: []string{store.ClaimInIDToken, store.ClaimInUserInfo}},
		}
		c.Clients = append(c.Clients, app)
	})
	kept := w.linkedEverywhere(t)
	ways := map[string]func(*brokertest.Browser){
		"demo":    func(b *brokertest.Browser) { b.Get(w.Origin + "/").Click("Demo") },
		"git":     func(b *brokertest.Browser) { b.Get(w.Origin + "/").Click("Git") },
		"discord": func(b *brokertest.Browser) { b.Get(w.Origin + "/").Click("Discord") },
		"":        func(b *brokertest.Browser) { b.Get(w.Origin + "/").Submit(answer("alice", password)) },
		"saml":    func(b *brokertest.Browser) { w.samlLogin(t, b, "_claims") },
	}
	first := map[string]map[string]any{}
	for alias, enter := range ways {
		b := brokertest.NewBrowser(t)
		b.Transport = vendor
		enter(b)
		for _, client := range []string{"rp", "app"} {
			for _, scope := range []string{"openid", "openid email", "openid profile roles", "openid profile email roles groups work"} {
				for place, said := range w.toldTo(t, b, client, scope) {
					key := fmt.Sprintf("%s to %s for %s", place, client, scope)
					if by, _ := said["identity_provider"].(string); by != alias && place == "ID token" || said["sub"] != kept.ID {
						t.Errorf("%s, through %q, is about %v by %q", key, alias, said["sub"], by)
					}
					maps.DeleteFunc(said, func(name string, _ any) bool { return slices.Contains(ofTheLogin, name) })
					if first[key] == nil {
						first[key] = said
					}
					if !reflect.DeepEqual(said, first[key]) {
						t.Errorf("%s says, through %q,\n%v\nand otherwise\n%v", key, alias, said, first[key])
					}
				}
			}
		}
	}
	// That the rows are about something: each source, place, client and scope makes a difference.
	for key, want := range map[string][]string{
		"ID token to rp for openid":      {"aud", "department", "iss", "sub"},
		"access token to rp for openid":  {"aud", "client_id", "iss", "scope", "sub", "teams"},
		"userinfo to rp for openid":      {"department", "sub", "teams"},
		"userinfo to app for openid":     {"sub", "team_list"},
		"introspection to rp for openid": {"active", "aud", "client_id", "iss", "scope", "sub", "teams", "token_type"},
		"ID token to app for openid profile email roles groups work": {"aud", "cost_center", "email", "email_verified", "family_name", "given_name",
			"iss", "locale", "name", "picture", "preferred_username", "sub", "team_list", "updated_at"},
		"access token to app for openid profile email roles groups work": {"aud", "client_id", "groups", "iss", "roles", "scope", "sub"},
	} {
		if got := slices.Sorted(maps.Keys(first[key])); !slices.Equal(got, want) {
			t.Errorf("%s are %q, want %q", key, got, want)
		}
	}
}

// ofTheLogin are claims that say something of one login, and nothing of the user.
var ofTheLogin = []string{"iat", "exp", "nbf", "jti", "sid", "nonce", "at_hash", "auth_time", "acr", "amr", "identity_provider"}

// linkedEverywhere makes a user who has a password and is linked to all providers.
func (w *world) linkedEverywhere(t *testing.T) *store.User {
	t.Helper()
	u := &store.User{
		ID: "u-alice", Username: "alice", Email: "alice@kept.example", EmailVerified: true, FirstName: "Alice", LastName: "Liddell",
		Name: "Alice Liddell", Locale: "de", Picture: "https://kept.example/alice.png", Roles: []string{"admin"}, Groups: []string{"staff", "boat"},
		Attributes: map[string][]string{"dept": {"R&D"}, "cost": {"7"}}, UpdatedAt: w.clock(),
	}
	must(t, w.store.CreateUser(t.Context(), u))
	for _, key := range []store.LinkKey{
		{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"}, {Provider: "git", Subject: "4711"},
		{Provider: "discord", Issuer: "https://discord.com", Subject: "80351110224678912"},
		{Provider: "saml", Issuer: samlIdP, Subject: "saml-alice"},
	} {
		must(t, w.store.CreateLink(t.Context(), &store.Link{LinkKey: key, UserID: u.ID}))
	}
	w.setPassword(u.ID, password)
	return u
}

// toldTo is all that a client is told about who is signed in, by place.
func (w *world) toldTo(t *testing.T, b *brokertest.Browser, client, scope string) map[string]map[string]any {
	t.Helper()
	code := w.code(b, func(v url.Values) { v.Set("client_id", client); v.Set("scope", scope) })
	a := w.post("/token", client, w.redeemForm(code)).tokens(t)
	return map[string]map[string]any{
		"ID token": part(t, a.IDToken, 1), "access token": part(t, a.AccessToken, 1), "userinfo": w.saidOf(t, a.AccessToken),
		"introspection": w.introspect(client, a.AccessToken).active(t),
	}
}

// gitServer is a server that knows no OpenID Connect, for a broker at base.
func gitServer(t *testing.T, server *providertest.OIDC, base string) *oauth2.Provider {
	t.Helper()
	client := server.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "git")}})
	at := server.Issuer()
	idp, err := oauth2.New(oauth2.Config{
		Endpoints: oauth2.Endpoints{Authorization: at + "/authorize", Token: at + "/token", UserInfo: at + "/userinfo"},
		ClientID:  client.ID, ClientSecret: client.Secret, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	must(t, err)
	return idp
}
