package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

func (w *world) credentials(client string, edit func(url.Values)) *reply {
	w.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if edit != nil {
		edit(form)
	}
	return w.post("/token", client, form)
}

// own returns the access token of a successful answer, which is for nobody but the client.
func (r *reply) own(t testing.TB) tokenAnswer {
	t.Helper()
	a := r.answer(t)
	if r.StatusCode != http.StatusOK || a.AccessToken == "" || a.IDToken != "" || a.RefreshToken != "" || a.TokenType != "Bearer" {
		t.Fatalf("status %d: %s", r.StatusCode, r.text)
	}
	return a
}

func testClientCredentials(t *testing.T) { // RFC 6749 §4.4, RFC 9068 §2.2
	t.Parallel()
	w := newWorld(t, peers)
	r := w.credentials("api", nil)
	a := r.own(t)
	if r.Header.Get("Cache-Control") != "no-store" || a.ExpiresIn != 300 || a.Scope != "read write" {
		t.Errorf("answered %s %v", r.text, r.Header)
	}
	claims := part(t, a.AccessToken, 1)
	for name, want := range map[string]any{"iss": w.URL, "sub": "api", "client_id": "api", "scope": "read write"} {
		if claims[name] != want {
			t.Errorf("RFC 9068 §2.2: %s is %v, want %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"sid", "auth_time", "acr", "amr", "roles", "groups", "nonce"} {
		if value, has := claims[name]; has {
			t.Errorf("RFC 9068 §2.2: there is %s: %v", name, value)
		}
	}
	keys := &token.Remote{URL: w.URL + "/jwks", Now: w.clock}
	api := token.Verifier{Issuer: w.URL, Audience: "https://orders.example/", Keys: keys, Now: w.clock}
	if access, err := api.Verify(t.Context(), a.AccessToken); err != nil || access.ClientID != "api" || access.Subject != "api" {
		t.Errorf("at the API: %v %v", access, err)
	}
	wantInvalidToken(t, w.userinfo(a.AccessToken)) // there is no user
	grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{ClientID: "api"})
	if err != nil || len(grants) != 0 {
		t.Errorf("the store keeps %d grants, %v", len(grants), err)
	}
}

func testClientCredentialsRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, peers)
	for _, row := range []struct {
		name, client string
		edit         func(url.Values)
		code         string // "" is success
		scope        string
	}{
		{"RFC 6749 §4.4.2: narrower", "api", set("scope", "read"), "", "read"},
		{"RFC 6749 §3.3: twice the same", "api", set("scope", "read  read"), "", "read"},
		{"RFC 6749 §3.3: an empty scope counts as left out", "api", set("scope", ""), "", "read write"},
		{"RFC 6749 §3.3: wider", "api", set("scope", "read admin"), "invalid_scope", ""},
		{"RFC 6749 §4.4: openid is about a user", "api", set("scope", "openid"), "invalid_scope", ""},
		{"RFC 6749 §4.4: offline_access too", "api", set("scope", "read offline_access"), "invalid_scope", ""},
		{"RFC 8707 §2: one API", "api", set("resource", "https://mail.example/"), "", "read write"},
		{"RFC 8707 §2: unknown API", "api", set("resource", "https://evil.example/"), "invalid_target", ""},
		{"RFC 8707 §2: the broker itself", "api", func(v url.Values) { v.Set("resource", w.URL) }, "invalid_target", ""},
		{"RFC 6749 §5.2: a client that may not", "rp", nil, "unauthorized_client", ""},
		{"RFC 6749 §5.2: another that may not", "thief", nil, "unauthorized_client", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := w.credentials(row.client, row.edit)
			if row.code != "" {
				wantError(t, r, http.StatusBadRequest, row.code)
				return
			}
			if a := r.own(t); a.Scope != row.scope {
				t.Errorf("scope %q, want %q", a.Scope, row.scope)
			}
		})
	}
	t.Run("RFC 6749 §4.4.2: the client authenticates", func(t *testing.T) {
		t.Parallel()
		form := url.Values{"grant_type": {"client_credentials"}}
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, nil), http.StatusUnauthorized, "invalid_client")
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, basic("api", "wrong")), http.StatusUnauthorized, "invalid_client")
		byName := url.Values{"grant_type": {"client_credentials"}, "client_id": {"api"}}
		wantError(t, send(t, http.MethodPost, w.URL+"/token", byName, nil), http.StatusUnauthorized, "invalid_client")
		public := url.Values{"grant_type": {"client_credentials"}, "client_id": {"public"}}
		wantError(t, send(t, http.MethodPost, w.URL+"/token", public, nil), http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("RFC 8707 §2: aud", func(t *testing.T) {
		t.Parallel()
		a := w.credentials("api", set("resource", "https://mail.example/")).own(t)
		if aud := segment(part(t, a.AccessToken, 1)["aud"]); aud != segment([]string{"https://mail.example/"}) {
			t.Errorf("aud %s", aud)
		}
	})
	t.Run("RFC 9068 §4: never for our own endpoint", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *broker.Config) {
			peers(c)
			c.Clients[1].Audience = append(c.Clients[1].Audience, c.BaseURL)
			c.Clients[2].Grants, c.Clients[2].Audience = []string{store.GrantTypeCredentials}, []string{c.BaseURL}
		})
		a := w.credentials("api", nil).own(t)
		if aud := segment(part(t, a.AccessToken, 1)["aud"]); aud != segment([]string{"https://orders.example/", "https://mail.example/"}) {
			t.Errorf("aud %s", aud)
		}
		wantInvalidToken(t, w.userinfo(a.AccessToken))
		wantError(t, w.credentials("thief", nil), http.StatusBadRequest, "invalid_target")
	})
	t.Run("a client without scopes of its own", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *broker.Config) { peers(c); c.Clients[1].Scopes = nil })
		if a := w.credentials("api", nil).own(t); a.Scope != "" || part(t, a.AccessToken, 1)["scope"] != nil {
			t.Errorf("scope %q", a.Scope)
		}
	})
}

func TestClientCredentialsEnd(t *testing.T) { // RFC 7009 §2, RFC 7662 §2
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		peers(c)
		c.Clients[1].Audience = append(c.Clients[1].Audience, "rp")
		c.Clients[1].Providers = []string{"other"} // which is about users
	})
	a, other := w.credentials("api", nil).own(t), w.credentials("api", nil).own(t)
	for _, client := range []string{"api", "rp"} {
		if got := w.introspect(client, a.AccessToken).active(t); got["sub"] != "api" || got["token_type"] != "Bearer" {
			t.Errorf("%s: %v", client, got)
		}
	}
	wantInactive(t, w.introspect("thief", a.AccessToken))
	wantRevoked(t, w.revoke("rp", a.AccessToken)) // whom it was sent to, but not issued to
	w.introspect("api", a.AccessToken).active(t)
	wantRevoked(t, w.revoke("api", a.AccessToken))
	wantInactive(t, w.introspect("api", a.AccessToken))
	wantInactive(t, w.introspect("rp", a.AccessToken))
	w.introspect("api", other.AccessToken).active(t)
	w.advance(4*time.Minute + 59*time.Second)
	wantInactive(t, w.introspect("api", a.AccessToken)) // until it expires
	w.advance(time.Minute)
	wantInactive(t, w.introspect("api", other.AccessToken))

	for name, off := range map[string]func(*broker.Config){
		"disabled": func(c *broker.Config) { peers(c); c.Clients[1].Disabled = true },
		"removed":  func(c *broker.Config) { peers(c); c.Clients = append(c.Clients[:1], c.Clients[2:]...) },
		"may not any more": func(c *broker.Config) {
			peers(c)
			c.Clients[1].Grants, c.Clients[1].RedirectURIs = nil, c.Clients[0].RedirectURIs
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *broker.Config) { peers(c); c.Clients[1].Audience = []string{"rp"} })
			a := w.credentials("api", nil).own(t)
			w.introspect("rp", a.AccessToken).active(t)
			w.reconfigure(func(c *broker.Config) { off(c) })
			wantInactive(t, w.introspect("rp", a.AccessToken))
			if r := w.credentials("api", nil); r.StatusCode < 400 {
				t.Errorf("it still gets tokens: %s", r.text)
			}
		})
	}
}

// A configuration that gives a client what it can never use is refused.
func TestClientCredentialsConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, row := range map[string]struct {
		edit func(*store.Client)
		say  string
	}{
		"RFC 6749 §4.4: a public client": {func(c *store.Client) {
			c.AuthMethod, c.Secrets, c.Audience = store.AuthNone, nil, []string{"x"}
			c.Grants = []string{store.GrantTypeCode, store.GrantTypeCredentials}
		}, "client_credentials"},
		"RFC 9068 §2.2: no audience": {func(c *store.Client) { c.Grants = []string{store.GrantTypeCredentials} }, "Audience"},
		"offline_access without refresh_token": {func(c *store.Client) {
			c.Grants, c.Scopes = []string{store.GrantTypeCode}, []string{"openid", "offline_access"}
		}, "offline_access"},
		"RefreshLifetime that lies in the past":   {func(c *store.Client) { c.RefreshLifetime = -time.Second }, "RefreshLifetime"},
		"RefreshIdle that lies in the past":       {func(c *store.Client) { c.RefreshIdle = -time.Second }, "RefreshIdle"},
		"RFC 6749 §4.3: a grant type that is not": {func(c *store.Client) { c.Grants = []string{"password"} }, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := broker.New(w.config(func(c *broker.Config) { row.edit(&c.Clients[0]) }))
			if err == nil || !strings.Contains(err.Error(), row.say) {
				t.Errorf("got error %v, want one about %s", err, row.say)
			}
		})
	}
}
