package broker_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

// peers adds clients to the world's application that all have its secret: "api", which may have tokens for itself and is
// named by tokens of "rp"; "thief", which is not; and "public".
func peers(c *broker.Config) {
	offline(c)
	c.Clients[0].Audience = []string{"api", "https://orders.example/"}
	c.Clients = append(c.Clients,
		store.Client{
			ID: "api", Secrets: c.Clients[0].Secrets, Grants: []string{store.GrantTypeCredentials}, Scopes: []string{"read", "write"},
			Audience: []string{"https://orders.example/", "https://mail.example/"},
		},
		store.Client{ID: "thief", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs},
		store.Client{ID: "public", AuthMethod: store.AuthNone, RedirectURIs: c.Clients[0].RedirectURIs},
	)
}

func (w *world) revoke(client, token string) *reply {
	w.t.Helper()
	return w.post("/revoke", client, url.Values{"token": {token}})
}

// wantRevoked fails unless the reply is the one that every revocation gets.
func wantRevoked(t *testing.T, r *reply) {
	t.Helper()
	if r.StatusCode != http.StatusOK || r.text != "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d %q %v", r.StatusCode, r.text, r.Header)
	}
}

func TestRevoke(t *testing.T) { // RFC 7009 §2
	t.Parallel()
	w := newWorld(t, peers)
	b := w.login("Demo")
	for _, edit := range []func(url.Values){nil, askOffline} {
		for name, pick := range map[string]func(tokenAnswer) string{
			"§2.1: refresh token": func(a tokenAnswer) string { return a.RefreshToken },
			"§2.1: access token":  func(a tokenAnswer) string { return a.AccessToken },
			"§2.1: a refresh token that was used": func(a tokenAnswer) string {
				w.refresh(a.RefreshToken, nil).renewed(t)
				return a.RefreshToken
			},
		} {
			t.Run(name, func(t *testing.T) {
				a, other := w.redeem(w.code(b, edit), nil).renewed(t), w.redeem(w.code(b, edit), nil).renewed(t)
				wantRevoked(t, w.revoke("rp", pick(a)))
				wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
				wantInvalidToken(t, w.userinfo(a.AccessToken))
				wantRevoked(t, w.revoke("rp", a.RefreshToken)) // §2.2: again
				w.refresh(other.RefreshToken, nil).renewed(t)  // another grant of the same user and client
				if page := b.Get(w.Origin + "/"); page.Status != http.StatusOK {
					t.Errorf("the session ended, too: status %d", page.Status)
				}
			})
		}
	}
	t.Run("§2.1: the hint is a hint", func(t *testing.T) {
		for _, hint := range []string{"access_token", "refresh_token", "saml2_token", ""} {
			for _, pick := range []func(tokenAnswer) string{
				func(a tokenAnswer) string { return a.RefreshToken }, func(a tokenAnswer) string { return a.AccessToken },
			} {
				a := w.redeem(w.code(b, nil), nil).renewed(t)
				wantRevoked(t, w.post("/revoke", "rp", url.Values{"token": {pick(a)}, "token_type_hint": {hint}}))
				wantInvalidToken(t, w.userinfo(a.AccessToken))
			}
		}
	})
	t.Run("§2.1: another client's is left alone", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		for _, client := range []string{"thief", "api"} {
			wantRevoked(t, w.revoke(client, a.AccessToken))
			wantRevoked(t, w.revoke(client, a.RefreshToken))
		}
		for _, token := range []string{a.AccessToken, a.RefreshToken} {
			wantRevoked(t, send(t, http.MethodPost, w.URL+"/revoke", url.Values{"token": {token}, "client_id": {"public"}}, nil))
		}
		w.refresh(a.RefreshToken, nil).renewed(t)
	})
	t.Run("§2.2: what is no token is none any more", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		code := w.code(b, nil)
		id, _, _ := strings.Cut(a.RefreshToken, ".")
		for _, junk := range []string{
			"x", ".", "..", "\x00.\x00", "\xff", id, id + ".", id + ".x", a.RefreshToken[:len(a.RefreshToken)-1], a.RefreshToken + "A",
			twin(a.RefreshToken, len(a.RefreshToken)-1), a.IDToken, code, strings.Repeat("A", 30000) + ".B", a.AccessToken[:len(a.AccessToken)-1],
			twin(a.AccessToken, len(a.AccessToken)-1), "a.b.c",
		} {
			wantRevoked(t, w.revoke("rp", junk))
		}
		w.refresh(a.RefreshToken, nil).renewed(t)
		w.redeem(code, nil).renewed(t)
	})
	t.Run("§2.1: an access token that has expired ends nothing", func(t *testing.T) {
		b := w.login("Demo")
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		w.advance(6 * time.Minute)
		wantRevoked(t, w.revoke("rp", a.AccessToken))
		w.refresh(a.RefreshToken, nil).renewed(t)
	})
}

func TestRevokeRequest(t *testing.T) { // RFC 7009 §2.1 and §2.2.1
	t.Parallel()
	w := newWorld(t, peers)
	b := w.login("Demo")
	a := w.redeem(w.code(b, nil), nil).renewed(t)
	good := url.Values{"token": {a.RefreshToken}}
	wantError(t, w.post("/revoke", "rp", url.Values{}), http.StatusBadRequest, "invalid_request")
	wantError(t, w.post("/revoke", "rp", url.Values{"token": {""}}), http.StatusBadRequest, "invalid_request")
	wantError(t, w.post("/revoke", "rp", url.Values{"token": {"x", "y"}}), http.StatusBadRequest, "invalid_request")
	wantError(t, send(t, http.MethodPost, w.URL+"/revoke", good, nil), http.StatusUnauthorized, "invalid_client")
	wantError(t, send(t, http.MethodPost, w.URL+"/revoke", good, basic("rp", "wrong")), http.StatusUnauthorized, "invalid_client")
	wantError(t, send(t, http.MethodPost, w.URL+"/revoke?"+good.Encode(), url.Values{}, basic("rp", w.secret())), http.StatusBadRequest, "invalid_request")
	byName := url.Values{"token": {a.RefreshToken}, "client_id": {"rp"}}
	wantError(t, send(t, http.MethodPost, w.URL+"/revoke", byName, nil), http.StatusUnauthorized, "invalid_client")
	if r := send(t, http.MethodGet, w.URL+"/revoke?"+good.Encode(), nil, basic("rp", w.secret())); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", r.StatusCode)
	}
	a = w.refresh(a.RefreshToken, nil).renewed(t)
	t.Run("§2.1: a public client revokes its own", func(t *testing.T) {
		form := w.redeemForm(w.code(b, set("client_id", "public")))
		form.Set("client_id", "public")
		own := send(t, http.MethodPost, w.URL+"/token", form, nil).renewed(t)
		wantRevoked(t, send(t, http.MethodPost, w.URL+"/revoke", url.Values{"token": {own.RefreshToken}, "client_id": {"public"}}, nil))
		wantInvalidToken(t, w.userinfo(own.AccessToken))
	})
}

func TestRevokeStoreFails(t *testing.T) { // RFC 7009 §2.2.1
	t.Parallel()
	faulty := &faultyStore{}
	w := newWorld(t, func(c *broker.Config) { faulty.Store, c.Store = c.Store, faulty })
	b := w.login("Demo")
	once := w.redeem(w.code(b, nil), nil).renewed(t)
	faulty.deletes.Store(1)
	wantRevoked(t, w.revoke("rp", once.RefreshToken))
	wantInvalidToken(t, w.userinfo(once.AccessToken))
	a := w.redeem(w.code(b, nil), nil).renewed(t)
	faulty.deletes.Store(2)
	r := w.revoke("rp", a.RefreshToken)
	wantError(t, r, http.StatusServiceUnavailable, "temporarily_unavailable")
	if strings.Contains(r.text, "fire") {
		t.Errorf("answered %s", r.text)
	}
	wantRevoked(t, w.revoke("rp", a.RefreshToken)) // tried again
	wantInvalidToken(t, w.userinfo(a.AccessToken))
}

// A token that was exchanged (RFC 8693) hangs on the grant of the client that it came from, which who exchanged it does not
// end; and one that was revoked is exchanged for nothing (CVE-2026-9097).
func TestRevokeExchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		peers(c)
		c.Clients[1].Grants = []string{store.GrantTypeCredentials, store.GrantTypeTokenExchange}
		c.Clients[1].Audience, c.Clients[1].Scopes = []string{"api", "thief"}, nil
	})
	b := w.login("Demo")
	trade := func(subject string) *reply {
		return w.post("/token", "api", url.Values{
			"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {subject},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		})
	}
	traded := func(subject string) string {
		t.Helper()
		r := trade(subject)
		var a struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(r.text), &a); err != nil || a.AccessToken == "" {
			t.Fatalf("status %d %s", r.StatusCode, r.text)
		}
		return a.AccessToken
	}
	a := w.redeem(w.code(b, nil), nil).renewed(t)
	one, two := traded(a.AccessToken), traded(a.AccessToken)
	for _, client := range []string{"api", "thief"} { // whose it is, and whom it is for
		if got := w.introspect(client, one).active(t); got["client_id"] != "api" || got["act"] == nil {
			t.Errorf("%s: %v", client, got)
		}
	}
	wantInactive(t, w.introspect("rp", one)) // it is another's by now
	for _, client := range []string{"rp", "thief"} {
		wantRevoked(t, w.revoke(client, one))
	}
	w.introspect("api", one).active(t)
	wantRevoked(t, w.revoke("api", one))
	wantInactive(t, w.introspect("api", one))
	wantInactive(t, w.introspect("thief", one))
	wantError(t, trade(one), http.StatusBadRequest, "invalid_request")
	w.introspect("thief", two).active(t)
	if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
		t.Errorf("the first token died, too: status %d", r.StatusCode)
	}
	a = w.refresh(a.RefreshToken, nil).renewed(t)
	t.Run("its client may exchange no more", func(t *testing.T) {
		w.reconfigure(func(c *broker.Config) { peers(c); c.Clients[1].Audience = []string{"api", "thief"} })
		wantInactive(t, w.introspect("thief", two))
	})
	t.Run("the grant ends", func(t *testing.T) {
		w.reconfigure(func(c *broker.Config) {
			peers(c)
			c.Clients[1].Grants = append(c.Clients[1].Grants, store.GrantTypeTokenExchange)
			c.Clients[1].Audience = []string{"api", "thief"}
		})
		w.introspect("thief", two).active(t)
		wantRevoked(t, w.revoke("rp", a.RefreshToken))
		wantInactive(t, w.introspect("thief", two))
	})
}

// With an exchanged token ends all that was made of it, and nothing beside it.
func TestRevokeEndsDescendants(t *testing.T) { // RFC 7009 §2.1
	t.Parallel()
	w := newExchangeWorld(t, nil)
	subject := w.accessToken(w.login("Demo"))
	exchanged := func(client, of string) string {
		a, _ := w.exchange(client, of, nil).exchanged(t)
		return a.AccessToken
	}
	child, sibling := exchanged("backend", subject), exchanged("backend", subject)
	grandchild := exchanged("files", child)
	great, cousin := exchanged("files", grandchild), exchanged("files", sibling)
	revoke := func(client, raw string) {
		t.Helper()
		wantRevoked(t, send(t, http.MethodPost, w.URL+"/revoke", url.Values{"token": {raw}}, basic(client, w.secret())))
	}
	ends := func(raw string) {
		t.Helper()
		wantError(t, w.exchange("files", raw, nil), http.StatusBadRequest, "invalid_request")
	}
	revoke("files", grandchild)
	ends(grandchild)
	ends(great)
	another := exchanged("files", child) // what it was made of lives
	revoke("backend", child)
	ends(child)
	ends(another)
	exchanged("files", cousin)
	// The same of a provider's token.
	foreign, _ := w.exchangeForeign(w.upstreamToken(w.op, "alice"), set("audience", "files")).exchanged(t)
	line := exchanged("files", foreign.AccessToken)
	revoke("backend", foreign.AccessToken)
	ends(foreign.AccessToken)
	ends(line)
}
