package broker_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

func (w *world) introspect(client, token string) *reply {
	w.t.Helper()
	return w.post("/introspect", client, url.Values{"token": {token}})
}

// active returns what is said about a token that is active.
func (r *reply) active(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.text), &m); err != nil || r.StatusCode != http.StatusOK || m["active"] != true {
		t.Fatalf("status %d %s", r.StatusCode, r.text)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", r.Header)
	}
	return m
}

// wantInactive fails unless the reply says that the token is not active, and nothing else.
func wantInactive(t *testing.T, r *reply) {
	t.Helper()
	if r.StatusCode != http.StatusOK || strings.TrimSpace(r.text) != `{"active":false}` || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d %s", r.StatusCode, r.text)
	}
}

func TestIntrospect(t *testing.T) { // RFC 7662 §2.2
	t.Parallel()
	w := newWorld(t, peers)
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	for _, edit := range []func(url.Values){nil, askOffline} {
		a := w.redeem(w.code(b, edit), nil).renewed(t)
		t.Run("§2.2: an access token, to its client and to the API that it is for", func(t *testing.T) {
			for _, client := range []string{"rp", "api"} {
				got := w.introspect(client, a.AccessToken).active(t)
				want := maps.Clone(part(t, a.AccessToken, 1))
				want["active"], want["token_type"] = true, "Bearer"
				if gotJSON, wantJSON := segment(got), segment(want); gotJSON != wantJSON {
					t.Errorf("%s: got %v, want %v", client, got, want)
				}
				if got["sub"] != who.ID || got["client_id"] != "rp" || got["iss"] != w.URL || got["scope"] != a.Scope || got["exp"] == nil ||
					got["iat"] == nil || got["jti"] == nil {
					t.Errorf("%s: %v", client, got)
				}
				for _, name := range []string{"email", "name", "preferred_username", "username"} {
					if _, has := got[name]; has {
						t.Errorf("it says the %s", name)
					}
				}
			}
		})
		t.Run("§2.2: a refresh token, to its client", func(t *testing.T) {
			got := w.introspect("rp", a.RefreshToken).active(t)
			names := slices.Sorted(maps.Keys(got))
			if want := []string{"active", "client_id", "exp", "iat", "iss", "scope", "sub"}; !slices.Equal(names, want) {
				t.Errorf("it says %v, want %v", names, want)
			}
			if got["sub"] != who.ID || got["client_id"] != "rp" || got["scope"] != a.Scope {
				t.Errorf("it says %v", got)
			}
			wantInactive(t, w.introspect("api", a.RefreshToken))
			next := w.refresh(a.RefreshToken, nil).renewed(t)
			wantInactive(t, w.introspect("rp", a.RefreshToken)) // used, though within the grace
			w.introspect("rp", next.RefreshToken).active(t)
		})
		t.Run("§4: other clients learn nothing", func(t *testing.T) {
			a := w.redeem(w.code(b, edit), nil).renewed(t)
			wantInactive(t, w.introspect("thief", a.AccessToken))
			wantInactive(t, w.introspect("thief", a.RefreshToken))
			w.introspect("rp", a.RefreshToken).active(t)
		})
	}
	t.Run("RFC 8707: a token for another API", func(t *testing.T) {
		a := w.redeem(w.code(b, set("resource", "https://orders.example/")), nil).renewed(t)
		wantInactive(t, w.introspect("api", a.AccessToken))
		w.introspect("rp", a.AccessToken).active(t)
	})
	t.Run("§2.2: what is no token", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		id, _, _ := strings.Cut(a.RefreshToken, ".")
		foreign := newWorld(t, peers)
		theirs := foreign.redeem(foreign.code(foreign.login("Demo"), nil), nil).renewed(t)
		for _, junk := range []string{
			"x", ".", "..", "\x00.\x00", "\xff", id, id + ".", id + ".x", a.IDToken, w.code(b, nil), "a.b.c", strings.Repeat("A", 30000) + ".B",
			a.RefreshToken + "A", twin(a.RefreshToken, len(a.RefreshToken)-1), a.AccessToken + "A", twin(a.AccessToken, len(a.AccessToken)-5),
			theirs.AccessToken, theirs.RefreshToken,
		} {
			wantInactive(t, w.introspect("rp", junk))
		}
		w.refresh(a.RefreshToken, nil).renewed(t)
	})
	t.Run("§2.2: what has expired", func(t *testing.T) {
		b := w.login("Demo")
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		w.advance(6 * time.Minute)
		wantInactive(t, w.introspect("rp", a.AccessToken))
		w.introspect("rp", a.RefreshToken).active(t)
		w.advance(time.Hour)
		wantInactive(t, w.introspect("rp", a.RefreshToken))
	})
	t.Run("a refresh token that was used is not made dead by asking", func(t *testing.T) {
		b := w.login("Demo")
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		next := w.refresh(a.RefreshToken, nil).renewed(t)
		w.advance(time.Minute)
		wantInactive(t, w.introspect("rp", a.RefreshToken))
		w.refresh(next.RefreshToken, nil).renewed(t)
	})
}

func TestIntrospectRequest(t *testing.T) { // RFC 7662 §2.1
	t.Parallel()
	w := newWorld(t, peers)
	a := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t)
	good := url.Values{"token": {a.AccessToken}}
	wantError(t, w.post("/introspect", "rp", url.Values{}), http.StatusBadRequest, "invalid_request")
	wantError(t, w.post("/introspect", "rp", url.Values{"token": {"x", "y"}}), http.StatusBadRequest, "invalid_request")
	wantError(t, send(t, http.MethodPost, w.URL+"/introspect", good, nil), http.StatusUnauthorized, "invalid_client")
	wantError(t, send(t, http.MethodPost, w.URL+"/introspect", good, basic("rp", "wrong")), http.StatusUnauthorized, "invalid_client")
	wantError(t, send(t, http.MethodPost, w.URL+"/introspect", good, bearer(a.AccessToken)), http.StatusUnauthorized, "invalid_client")
	r := send(t, http.MethodPost, w.URL+"/introspect?"+good.Encode(), url.Values{}, basic("rp", w.secret()))
	wantError(t, r, http.StatusBadRequest, "invalid_request")
	if r := send(t, http.MethodGet, w.URL+"/introspect?"+good.Encode(), nil, basic("rp", w.secret())); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", r.StatusCode)
	}
	t.Run("§2.1: not for public clients, not even for their own", func(t *testing.T) {
		form := w.redeemForm(w.code(w.login("Demo"), set("client_id", "public")))
		form.Set("client_id", "public")
		own := send(t, http.MethodPost, w.URL+"/token", form, nil).renewed(t)
		for _, token := range []string{own.AccessToken, own.RefreshToken, "x"} {
			r := send(t, http.MethodPost, w.URL+"/introspect", url.Values{"token": {token}, "client_id": {"public"}}, nil)
			wantError(t, r, http.StatusUnauthorized, "invalid_client")
		}
	})
	for _, hint := range []string{"access_token", "refresh_token", "junk"} {
		w.post("/introspect", "rp", url.Values{"token": {a.AccessToken}, "token_type_hint": {hint}}).active(t)
		w.post("/introspect", "rp", url.Values{"token": {a.RefreshToken}, "token_type_hint": {hint}}).active(t)
	}
}

// RFC 7662 §2.2: a token whose user, client, provider, link or session is off is not active, and says not why.
func TestIntrospectSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]func(*world, *brokertest.Browser){
		"user disabled": func(w *world, _ *brokertest.Browser) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) },
		"user deleted":  func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") },
		"link deleted": func(w *world, _ *brokertest.Browser) {
			key := store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"}
			if err := w.store.DeleteLink(w.t.Context(), key); err != nil {
				w.t.Fatal(err)
			}
		},
		"client disabled": func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { peers(c); c.Clients[0].Disabled = true })
		},
		"client removed": func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { peers(c); c.Clients = c.Clients[1:] })
		},
		"provider disabled": func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { peers(c); c.Providers[0].Disabled = true })
		},
		"grant revoked": func(w *world, b *brokertest.Browser) {
			grants, err := w.store.FindGrants(w.t.Context(), store.GrantQuery{ClientID: "rp"})
			if err != nil {
				w.t.Fatal(err)
			}
			for _, g := range grants {
				if err := w.store.DeleteGrant(w.t.Context(), g.ID); err != nil {
					w.t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, peers)
			b := w.login("Demo")
			bound, free := w.redeem(w.code(b, nil), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
			for _, a := range []tokenAnswer{bound, free} {
				w.introspect("api", a.AccessToken).active(t)
			}
			off(w, b)
			for _, a := range []tokenAnswer{bound, free} {
				wantInactive(t, w.introspect("api", a.AccessToken))
				if !strings.HasPrefix(name, "client") { // that cannot ask any more
					wantInactive(t, w.introspect("rp", a.RefreshToken))
				}
			}
		})
	}
	t.Run("signed out", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, peers)
		b := w.login("Demo")
		bound, free := w.redeem(w.code(b, nil), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
		if err := w.store.DeleteSession(t.Context(), b.Get(w.Origin+"/").Who().Session); err != nil {
			t.Fatal(err)
		}
		wantInactive(t, w.introspect("api", bound.AccessToken))
		wantInactive(t, w.introspect("rp", bound.RefreshToken))
		w.introspect("api", free.AccessToken).active(t)
		w.introspect("rp", free.RefreshToken).active(t)
	})
}
