package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// offline lets the world's application have refresh tokens that outlive sessions.
func offline(c *broker.Config) {
	c.Clients[0].Scopes = []string{"openid", "profile", "email", "offline_access"}
}

func askOffline(v url.Values) { v.Set("scope", "openid profile email offline_access") }

// refresh sends a refresh token of the world's application.
func (w *world) refresh(refreshToken string, edit func(url.Values)) *reply {
	w.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	if edit != nil {
		edit(form)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, basic("rp", w.secret()))
}

// post sends a form to an endpoint as one of the clients, who all have the same secret.
func (w *world) post(path, client string, form url.Values) *reply {
	w.t.Helper()
	return send(w.t, http.MethodPost, w.URL+path, form, basic(client, w.secret()))
}

func refreshForm(refreshToken string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
}

// renewed returns the tokens of a successful refresh.
func (r *reply) renewed(t testing.TB) tokenAnswer {
	t.Helper()
	a := r.tokens(t)
	if a.RefreshToken == "" {
		t.Fatalf("no refresh token: %s", r.text)
	}
	return a
}

// both runs a test with a refresh token that ends with its session, and with one that outlives it.
func both(t *testing.T, test func(t *testing.T, w *world, first func(b *brokertest.Browser) tokenAnswer)) {
	t.Helper()
	for name, edit := range map[string]func(url.Values){"session": func(url.Values) {}, "offline_access": askOffline} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, offline)
			test(t, w, func(b *brokertest.Browser) tokenAnswer { return w.redeem(w.code(b, edit), nil).renewed(t) })
		})
	}
}

func testRefresh(t *testing.T) { // RFC 6749 §6, OpenID Connect Core §12
	t.Parallel()
	both(t, func(t *testing.T, w *world, first func(*brokertest.Browser) tokenAnswer) {
		b := w.login("Demo")
		before := first(b)
		w.advance(4 * time.Minute)
		r := w.refresh(before.RefreshToken, nil)
		after := r.renewed(t)
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Pragma") != "no-cache" {
			t.Errorf("RFC 6749 §5.1: headers %v", r.Header)
		}
		if after.TokenType != "Bearer" || after.ExpiresIn != 300 || after.Scope != before.Scope {
			t.Errorf("RFC 6749 §5.1: answered %s", r.text)
		}
		if after.AccessToken == before.AccessToken || after.RefreshToken == before.RefreshToken || after.IDToken == before.IDToken {
			t.Error("RFC 9700 §4.14.2: a token is the same as before")
		}
		for _, token := range []string{before.AccessToken, after.AccessToken} {
			if r := w.userinfo(token); r.StatusCode != http.StatusOK {
				t.Errorf("userinfo: status %d %s", r.StatusCode, r.text)
			}
		}
		old, claims := part(t, before.IDToken, 1), part(t, after.IDToken, 1)
		for _, name := range []string{"iss", "sub", "aud", "auth_time", "identity_provider", "name", "email"} {
			if claims[name] != old[name] || claims[name] == nil {
				t.Errorf("OIDC Core §12.2: %s is %v, was %v", name, claims[name], old[name])
			}
		}
		if _, has := claims["nonce"]; has || old["nonce"] != "the nonce" {
			t.Errorf("OIDC Core §12.2: nonce is %v, was %v", claims["nonce"], old["nonce"])
		}
		if claims["iat"].(float64) < old["iat"].(float64)+240 {
			t.Errorf("OIDC Core §12.2: iat is %v, was %v", claims["iat"], old["iat"])
		}
		provider, err := gooidc.NewProvider(t.Context(), w.URL)
		if err != nil {
			t.Fatal(err)
		}
		id, err := provider.Verifier(&gooidc.Config{ClientID: "rp", Now: w.clock}).Verify(t.Context(), after.IDToken)
		if err != nil {
			t.Fatal(err)
		}
		if err := id.VerifyAccessToken(after.AccessToken); err != nil {
			t.Errorf("OIDC Core §3.1.3.6: at_hash: %v", err)
		}
		for range 5 { // and on and on
			w.advance(4 * time.Minute)
			after = w.refresh(after.RefreshToken, nil).renewed(t)
		}
		if r := w.userinfo(after.AccessToken); r.StatusCode != http.StatusOK {
			t.Errorf("userinfo after five refreshes: status %d", r.StatusCode)
		}
	})
}

func testRefreshRequest(t *testing.T) { // RFC 6749 §6 and §5.2
	t.Parallel()
	w := newWorld(t, offline)
	b := w.login("Demo")
	first := w.redeem(w.code(b, nil), nil).renewed(t)
	for _, row := range []struct {
		name string
		edit func(url.Values)
		code string
	}{
		{"§6: refresh_token missing", unset("refresh_token"), "invalid_request"},
		{"§3.1: refresh_token empty", set("refresh_token", ""), "invalid_request"},
		{"§3.2: refresh_token twice", func(v url.Values) { v.Add("refresh_token", "x") }, "invalid_request"},
		{"§5.2: not a refresh token", set("refresh_token", "x"), "invalid_grant"},
		{"§5.2: a dot", set("refresh_token", "."), "invalid_grant"},
		{"§5.2: NUL", set("refresh_token", "\x00.\x00"), "invalid_grant"},
		{"§5.2: no UTF-8", set("refresh_token", "\xff\xfe.\xff"), "invalid_grant"},
		{"§5.2: 60 KB", set("refresh_token", strings.Repeat("A", 30000)+"."+strings.Repeat("B", 30000)), "invalid_grant"},
		{"§5.2: an access token", set("refresh_token", first.AccessToken), "invalid_grant"},
		{"§5.2: an ID token", set("refresh_token", first.IDToken), "invalid_grant"},
		{"§5.2: a code", func(v url.Values) { v.Set("refresh_token", w.code(b, nil)) }, "invalid_grant"},
		{"§6: wider scope", set("scope", "openid profile email offline_access"), "invalid_scope"},
		{"§6: unknown scope", set("scope", "openid admin"), "invalid_scope"},
		{"§6: scope in capitals", set("scope", "OPENID"), "invalid_scope"},
		{"§3.3: scope twice", func(v url.Values) { v["scope"] = []string{"openid", "email"} }, "invalid_request"},
		{"RFC 8707 §2: unknown resource", set("resource", "https://evil.example/"), "invalid_target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			wantError(t, w.refresh(first.RefreshToken, row.edit), http.StatusBadRequest, row.code)
		})
	}
	t.Run("RFC 6749 §4.1.3: a refresh token is no code", func(t *testing.T) {
		wantError(t, w.redeem(first.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("CVE-2026-27840: prefixes, suffixes and twins", func(t *testing.T) {
		other := w.redeem(w.code(b, nil), nil).renewed(t).RefreshToken
		good := first.RefreshToken
		id, secret, _ := strings.Cut(good, ".")
		otherID, otherSecret, _ := strings.Cut(other, ".")
		fakes := []string{
			good + "A", good + ".", good + "=", good + " ", " " + good, good + "\x00", good + "\n", good + "." + secret, id + "." + otherSecret,
			otherID + "." + secret, secret + "." + id, id + ".." + secret, strings.ToLower(good), id, id + ".", "." + secret, secret,
		}
		for i := range good {
			fakes = append(fakes, good[:i], twin(good, i))
		}
		for _, fake := range fakes {
			if r := w.refresh(fake, nil); r.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: status %d %s", fake, r.StatusCode, r.text)
			}
		}
		w.refresh(other, nil).renewed(t)
	})
	w.refresh(first.RefreshToken, nil).renewed(t) // nothing of all this has hurt it
}

func testRefreshClient(t *testing.T) { // RFC 6749 §6 and §10.4, RFC 9700 §4.14
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		offline(c)
		like := func(id, method string, grants ...string) {
			client := store.Client{ID: id, AuthMethod: method, RedirectURIs: c.Clients[0].RedirectURIs, Grants: grants}
			if method != store.AuthNone {
				client.Secrets = c.Clients[0].Secrets
			}
			c.Clients = append(c.Clients, client)
		}
		like("thief", "")
		like("public", store.AuthNone)
		like("codes", "", store.GrantTypeCode)
	})
	b := w.login("Demo")
	t.Run("§6: the client authenticates", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		form := refreshForm(a.RefreshToken)
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, basic("rp", "wrong")), http.StatusUnauthorized, "invalid_client")
		form.Set("client_id", "rp")
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, nil), http.StatusUnauthorized, "invalid_client")
		w.refresh(a.RefreshToken, nil).renewed(t)
	})
	t.Run("§10.4: another client's ends what it was granted", func(t *testing.T) {
		for _, try := range []func(form url.Values) *reply{
			func(form url.Values) *reply { return w.post("/token", "thief", form) },
			func(form url.Values) *reply {
				form.Set("client_id", "public")
				return send(t, http.MethodPost, w.URL+"/token", form, nil)
			},
		} {
			a := w.redeem(w.code(b, nil), nil).renewed(t)
			wantError(t, try(refreshForm(a.RefreshToken)), http.StatusBadRequest, "invalid_grant")
			wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
			wantInvalidToken(t, w.userinfo(a.AccessToken))
		}
	})
	t.Run("§6: a public client has its own", func(t *testing.T) {
		form := w.redeemForm(w.code(b, set("client_id", "public")))
		form.Set("client_id", "public")
		a := send(t, http.MethodPost, w.URL+"/token", form, nil).renewed(t)
		form = refreshForm(a.RefreshToken)
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, nil), http.StatusUnauthorized, "invalid_client")
		form.Set("client_id", "public")
		next := send(t, http.MethodPost, w.URL+"/token", form, nil).renewed(t)
		if next.RefreshToken == a.RefreshToken {
			t.Error("RFC 9700 §2.2.2: it was not rotated")
		}
	})
	t.Run("§5.2: a client that may not", func(t *testing.T) {
		a := w.post("/token", "codes", w.redeemForm(w.code(b, set("client_id", "codes")))).tokens(t)
		if a.RefreshToken != "" {
			t.Error("it got a refresh token")
		}
		wantError(t, w.post("/token", "codes", refreshForm("x.y")), http.StatusBadRequest, "unauthorized_client")
	})
}

func testRefreshScope(t *testing.T) { // RFC 6749 §6, RFC 9700 §4.14.2
	t.Parallel()
	w := newWorld(t, offline)
	a := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t)
	narrow := w.refresh(a.RefreshToken, set("scope", "openid email openid")).renewed(t)
	if narrow.Scope != "openid email" || part(t, narrow.AccessToken, 1)["scope"] != "openid email" || part(t, narrow.IDToken, 1)["name"] != nil {
		t.Errorf("scope %q, ID token %v", narrow.Scope, part(t, narrow.IDToken, 1))
	}
	var info map[string]any
	if err := json.Unmarshal([]byte(w.userinfo(narrow.AccessToken).text), &info); err != nil || info["email"] == nil || info["name"] != nil {
		t.Errorf("userinfo says %v %v", info, err)
	}
	without := w.refresh(narrow.RefreshToken, set("scope", "email")).answer(t)
	if without.IDToken != "" || without.Scope != "email" {
		t.Errorf("without openid: %v", without)
	}
	if r := w.userinfo(without.AccessToken); r.StatusCode != http.StatusForbidden ||
		r.Header.Get("WWW-Authenticate") != `Bearer realm="userinfo", error="insufficient_scope"` { // RFC 6750 §3.1
		t.Errorf("userinfo without openid: status %d, %v", r.StatusCode, r.Header)
	}
	wide := w.refresh(without.RefreshToken, nil).renewed(t) // the refresh token keeps what it had
	if wide.Scope != "openid profile email" {
		t.Errorf("scope %q after narrower ones", wide.Scope)
	}
	t.Run("OIDC Core §5.5: claims that were asked for one by one", func(t *testing.T) {
		claims := func(v url.Values) {
			v.Set("scope", "openid profile")
			v.Set("claims", `{"userinfo":{"email":null},"id_token":{"email":null}}`)
		}
		a := w.redeem(w.code(w.login("Demo"), claims), nil).renewed(t)
		for _, row := range []struct {
			scope string
			said  bool
		}{{"", true}, {"openid", false}, {"openid profile", true}} {
			a = w.refresh(a.RefreshToken, set("scope", row.scope)).renewed(t)
			inUserInfo := strings.Contains(w.userinfo(a.AccessToken).text, `"email"`)
			if inIDToken := part(t, a.IDToken, 1)["email"] != nil; inIDToken != row.said || inUserInfo != row.said {
				t.Errorf("scope %q: email in the ID token: %t, in userinfo: %t, want %t", row.scope, inIDToken, inUserInfo, row.said)
			}
		}
	})
	w.reconfigure(func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid", "email"} })
	if now := w.refresh(wide.RefreshToken, nil).renewed(t); now.Scope != "openid email" {
		t.Errorf("scope %q, of which the client may have less by now", now.Scope)
	}
}

// RFC 9700 §4.14.2: a refresh token is good for one use. One that did not get the answer may ask again within seconds; a later use
// of it, or of any before it, ends all that was granted.
func testRefreshReuse(t *testing.T) {
	t.Parallel()
	dead := func(t *testing.T, w *world, a tokenAnswer) {
		t.Helper()
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		wantInvalidToken(t, w.userinfo(a.AccessToken))
	}
	t.Run("inside the grace: the same answer", func(t *testing.T) {
		t.Parallel()
		both(t, func(t *testing.T, w *world, first func(*brokertest.Browser) tokenAnswer) {
			a := first(w.login("Demo"))
			b := w.refresh(a.RefreshToken, nil).renewed(t)
			w.advance(9 * time.Second)
			if again := w.refresh(a.RefreshToken, nil).renewed(t); again != b {
				t.Errorf("got %v, want %v", again, b)
			}
			c := w.refresh(b.RefreshToken, nil).renewed(t)
			if r := w.userinfo(c.AccessToken); r.StatusCode != http.StatusOK {
				t.Errorf("userinfo: status %d", r.StatusCode)
			}
		})
	})
	t.Run("after the grace", func(t *testing.T) {
		t.Parallel()
		both(t, func(t *testing.T, w *world, first func(*brokertest.Browser) tokenAnswer) {
			b := w.login("Demo")
			a, other := first(b), first(b)
			next := w.refresh(a.RefreshToken, nil).renewed(t)
			w.advance(11 * time.Second)
			wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
			dead(t, w, next)
			w.refresh(other.RefreshToken, nil).renewed(t) // another grant of the same user to the same client
			if page := b.Get(w.Origin + "/"); page.Status != http.StatusOK {
				t.Errorf("the session ended, too: status %d", page.Status)
			}
		})
	})
	t.Run("a thief who refreshes twice", func(t *testing.T) {
		t.Parallel()
		both(t, func(t *testing.T, w *world, first func(*brokertest.Browser) tokenAnswer) {
			stolen := first(w.login("Demo"))
			thiefs := w.refresh(w.refresh(stolen.RefreshToken, nil).renewed(t).RefreshToken, nil).renewed(t)
			wantError(t, w.refresh(stolen.RefreshToken, nil), http.StatusBadRequest, "invalid_grant") // by its owner
			dead(t, w, thiefs)
		})
	})
	t.Run("inside the grace, to ask for something else", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		a := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t)
		b := w.refresh(a.RefreshToken, nil).renewed(t)
		wantError(t, w.refresh(a.RefreshToken, set("scope", "openid")), http.StatusBadRequest, "invalid_grant")
		w.refresh(b.RefreshToken, nil).renewed(t)
	})
	t.Run("inside the grace, RFC 9449 §5: by another key of the client", func(t *testing.T) {
		t.Parallel()
		w := newDPoPWorld(t, nil)
		a := w.redeemBound("web", w.code(w.login("Demo"), set("client_id", "web")), w.tokenProof("ES256")).tokens(t)
		b := w.refreshBound("web", a.RefreshToken, w.tokenProof("ES256")).renewed(t)
		wantError(t, w.refreshBound("web", a.RefreshToken, w.tokenProof("EdDSA")), http.StatusBadRequest, "invalid_grant")
		wantError(t, w.refreshBound("web", a.RefreshToken), http.StatusBadRequest, "invalid_grant")
		if again := w.refreshBound("web", a.RefreshToken, w.tokenProof("ES256")).renewed(t); again != b {
			t.Errorf("got %v, want %v", again, b)
		}
	})
	t.Run("inside the grace, an answer that was moved in the store", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		alice, carol := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t), w.redeem(w.code(w.login("Other"), nil), nil).renewed(t)
		w.refresh(alice.RefreshToken, nil).renewed(t)
		w.refresh(carol.RefreshToken, nil).renewed(t)
		of, to := w.grantOf(t, carol.AccessToken), w.grantOf(t, alice.AccessToken)
		to.Answer = of.Answer
		if err := w.store.UpdateGrant(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.refresh(alice.RefreshToken, nil), http.StatusInternalServerError, "server_error")
	})
	t.Run("inside the grace, by another client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *broker.Config) {
			c.Clients = append(c.Clients, store.Client{ID: "thief", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs})
		})
		a := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t)
		b := w.refresh(a.RefreshToken, nil).renewed(t)
		wantError(t, w.post("/token", "thief", refreshForm(a.RefreshToken)), http.StatusBadRequest, "invalid_grant")
		dead(t, w, b)
	})
	t.Run("inside the grace, of a user who was disabled", func(t *testing.T) {
		t.Parallel()
		both(t, func(t *testing.T, w *world, first func(*brokertest.Browser) tokenAnswer) {
			a := first(w.login("Demo"))
			w.refresh(a.RefreshToken, nil).renewed(t)
			w.editUser("alice", func(u *store.User) { u.Disabled = true })
			wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		})
	})
	t.Run("RFC 6749 §4.1.2: a replayed code ends refresh tokens", func(t *testing.T) {
		t.Parallel()
		for _, edit := range []func(url.Values){nil, askOffline} {
			w := newWorld(t, offline)
			code := w.code(w.login("Demo"), edit)
			a := w.redeem(code, nil).renewed(t)
			b := w.refresh(a.RefreshToken, nil).renewed(t)
			wantError(t, w.redeem(code, nil), http.StatusBadRequest, "invalid_grant")
			dead(t, w, b)
		}
	})
}

// A faulty store fails the deletes and updates of grants as often as it is told.
type faultyStore struct {
	store.Store
	deletes, updates atomic.Int32
}

var errFaulty = errors.New("the disk is on fire")

func (s *faultyStore) DeleteGrant(ctx context.Context, id string) error {
	if s.deletes.Add(-1) >= 0 {
		return errFaulty
	}
	return s.Store.DeleteGrant(ctx, id)
}

func (s *faultyStore) UpdateGrant(ctx context.Context, g *store.Grant) error {
	if s.updates.Add(-1) >= 0 {
		return errFaulty
	}
	return s.Store.UpdateGrant(ctx, g)
}

// supabase/auth#2624: the family dies though the store errs once.
func TestRefreshStoreFails(t *testing.T) {
	t.Parallel()
	faulty := &faultyStore{}
	w := newWorld(t, func(c *broker.Config) { faulty.Store, c.Store = c.Store, faulty })
	b := w.login("Demo")
	t.Run("RFC 9700 §4.14.2: a reuse while deleting fails once", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		next := w.refresh(a.RefreshToken, nil).renewed(t)
		w.advance(11 * time.Second)
		faulty.deletes.Store(1)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		wantError(t, w.refresh(next.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		wantInvalidToken(t, w.userinfo(next.AccessToken))
	})
	t.Run("a rotation that was not written is none", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		faulty.updates.Store(1)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusInternalServerError, "server_error")
		w.refresh(a.RefreshToken, nil).renewed(t)
	})
}

// CVE-2026-90997, supabase/auth#2483: of 64 at once one makes the answer and all get it, so that one refresh token is alive after
// it; and so on, storm after storm.
func TestRefreshRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, offline)
	current := w.redeem(w.code(w.login("Demo"), askOffline), nil).renewed(t)
	for range 4 {
		replies := make(chan *reply, 64)
		start := make(chan struct{})
		var all sync.WaitGroup
		for range cap(replies) {
			all.Go(func() {
				<-start
				replies <- w.refresh(current.RefreshToken, nil)
			})
		}
		close(start)
		all.Wait()
		close(replies)
		answers := map[tokenAnswer]int{}
		for r := range replies {
			answers[r.renewed(t)]++
		}
		if len(answers) != 1 {
			t.Fatalf("%d different answers", len(answers))
		}
		for a := range answers {
			current = a
		}
		w.advance(15 * time.Second)
	}
	grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{ClientID: "rp"})
	if err != nil {
		t.Fatal(err)
	}
	alive := slices.DeleteFunc(grants, func(g *store.Grant) bool { return len(g.RefreshHash) == 0 })
	if len(alive) != 1 {
		t.Errorf("%d grants have a refresh token", len(alive))
	}
	w.refresh(current.RefreshToken, nil).renewed(t)
}

// OpenID Connect Core §11, and how long refresh tokens live.
func testRefreshLifetime(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	t.Run("with the session", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("with the session's idle limit", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		a := w.redeem(w.code(w.login("Demo"), nil), nil).renewed(t)
		for range 4 {
			w.advance(20 * time.Minute)
			a = w.refresh(a.RefreshToken, nil).renewed(t) // using it is using the session
		}
		w.advance(31 * time.Minute)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("offline_access outlives the session", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		a := w.redeem(w.code(b, askOffline), nil).renewed(t)
		if a.Scope != "openid profile email offline_access" || part(t, a.IDToken, 1)["sid"] == nil {
			t.Errorf("scope %q, claims %v", a.Scope, part(t, a.IDToken, 1))
		}
		shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK)
		w.advance(13 * day)
		a = w.refresh(a.RefreshToken, nil).renewed(t)
		if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
			t.Errorf("userinfo: status %d", r.StatusCode)
		}
		for _, token := range []string{a.IDToken, a.AccessToken} {
			if sid, has := part(t, token, 1)["sid"]; has {
				t.Errorf("it names the session %v, which it is not of", sid)
			}
		}
		w.advance(14*day + time.Second) // RefreshIdle
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("offline_access, at most", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		a := w.redeem(w.code(w.login("Demo"), askOffline), nil).renewed(t)
		for range 2 {
			w.advance(14*day - time.Hour)
			a = w.refresh(a.RefreshToken, nil).renewed(t)
		}
		w.advance(2*day - time.Hour)
		a = w.refresh(a.RefreshToken, nil).renewed(t)
		w.advance(4 * time.Hour)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("by the client's lifetimes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *broker.Config) {
			offline(c)
			c.Clients[0].RefreshLifetime, c.Clients[0].RefreshIdle = 2*time.Hour, time.Hour
		})
		b := w.login("Demo")
		a, idle := w.redeem(w.code(b, askOffline), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
		w.advance(50 * time.Minute)
		a = w.refresh(a.RefreshToken, nil).renewed(t)
		w.advance(11 * time.Minute)
		wantError(t, w.refresh(idle.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		w.advance(40 * time.Minute)
		a = w.refresh(a.RefreshToken, nil).renewed(t)
		w.advance(18 * time.Minute)
		last := w.refresh(a.RefreshToken, nil).renewed(t)
		if last.ExpiresIn > 61 { // an access token ends with what it hangs on
			t.Errorf("expires in %d", last.ExpiresIn)
		}
		w.advance(61 * time.Second)
		wantError(t, w.refresh(last.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		wantInvalidToken(t, w.userinfo(last.AccessToken))
	})
	t.Run("a lifetime that was shortened", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		a := w.redeem(w.code(w.login("Demo"), askOffline), nil).renewed(t)
		w.advance(2 * time.Hour)
		w.reconfigure(func(c *broker.Config) { offline(c); c.Clients[0].RefreshLifetime = time.Hour })
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the client that may not have it asks for it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		a := w.redeem(w.code(b, askOffline), nil).renewed(t)
		if a.Scope != "openid profile email" {
			t.Errorf("scope %q", a.Scope)
		}
		shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK)
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the session still knows the client", func(t *testing.T) { // it has to be told of the logout
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		w.redeem(w.code(b, askOffline), nil).renewed(t)
		grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{SessionID: b.Get(w.Origin + "/").Who().Session})
		if err != nil || len(grants) != 1 || grants[0].ClientID != "rp" {
			t.Errorf("%d grants, %v", len(grants), err)
		}
	})
}

// CVE-2026-2603, 3009, 1486, 3047, CVE-2025-64717: what is switched off is off for refresh tokens of both kinds.
func TestRefreshSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		off    func(*world, *brokertest.Browser)
		status int
		code   string
	}{
		{"user disabled", func(w *world, _ *brokertest.Browser) {
			w.editUser("alice", func(u *store.User) { u.Disabled = true })
		}, http.StatusBadRequest, "invalid_grant"},
		{"user deleted", func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") }, http.StatusBadRequest, "invalid_grant"},
		{"link deleted", func(w *world, b *brokertest.Browser) {
			key := store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"}
			if err := w.store.DeleteLink(w.t.Context(), key); err != nil {
				w.t.Fatal(err)
			}
		}, http.StatusBadRequest, "invalid_grant"},
		{"link moved to another user", func(w *world, b *brokertest.Browser) {
			link, err := w.store.Link(w.t.Context(), store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"})
			if err == nil {
				link.UserID = "somebody else"
				err = w.store.UpdateLink(w.t.Context(), link)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}, http.StatusBadRequest, "invalid_grant"},
		{"client disabled", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { offline(c); c.Clients[0].Disabled = true })
		}, http.StatusUnauthorized, "invalid_client"},
		{"client removed", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { c.Clients = nil })
		}, http.StatusUnauthorized, "invalid_client"},
		{"client may not refresh", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) {
				offline(c)
				c.Clients[0].Scopes, c.Clients[0].Grants = nil, []string{store.GrantTypeCode}
			})
		}, http.StatusBadRequest, "unauthorized_client"},
		{"provider disabled", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { offline(c); c.Providers[0].Disabled = true })
		}, http.StatusBadRequest, "invalid_grant"},
		{"provider removed", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { offline(c); c.Providers = c.Providers[1:] })
		}, http.StatusBadRequest, "invalid_grant"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, offline)
			b := w.login("Demo")
			bound, free := w.redeem(w.code(b, nil), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
			row.off(w, b)
			for _, a := range []tokenAnswer{bound, free} {
				wantError(t, w.refresh(a.RefreshToken, nil), row.status, row.code)
				if row.code != "unauthorized_client" {
					wantInvalidToken(t, w.userinfo(a.AccessToken))
				}
			}
			w.reconfigure(offline) // on again
			for _, a := range []tokenAnswer{bound, free} {
				if r := w.refresh(a.RefreshToken, nil); row.code == "invalid_grant" && r.StatusCode != http.StatusBadRequest {
					t.Errorf("it lives again: status %d", r.StatusCode)
				}
			}
		})
	}
	t.Run("session deleted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		bound, free := w.redeem(w.code(b, nil), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
		if err := w.store.DeleteSession(t.Context(), b.Get(w.Origin+"/").Who().Session); err != nil {
			t.Fatal(err)
		}
		wantError(t, w.refresh(bound.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		wantInvalidToken(t, w.userinfo(bound.AccessToken))
		w.refresh(free.RefreshToken, nil).renewed(t)
	})
	t.Run("offline_access withdrawn from the client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		bound, free := w.redeem(w.code(b, nil), nil).renewed(t), w.redeem(w.code(b, askOffline), nil).renewed(t)
		w.reconfigure(nil)
		wantError(t, w.refresh(free.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
		w.refresh(bound.RefreshToken, nil).renewed(t)
	})
	t.Run("the provider that vouched, though another did since", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, offline)
		b := w.login("Demo")
		who := b.Get(w.Origin + "/").Who()
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		link := &store.Link{LinkKey: store.LinkKey{Provider: "other", Issuer: w.other.Issuer(), Subject: "carol"}, UserID: who.ID}
		if err := w.store.CreateLink(t.Context(), link); err != nil {
			t.Fatal(err)
		}
		if again := b.Get(w.URL + "/login?prompt=login&return_to=/").Click("Other").Who(); again.Session != who.Session || again.Provider != "other" {
			t.Fatalf("the session is %v, was %v", again, who)
		}
		a = w.refresh(a.RefreshToken, nil).renewed(t)
		if by := part(t, a.IDToken, 1)["identity_provider"]; by != "demo" {
			t.Errorf("OIDC Core §12.2: identity_provider is %v", by)
		}
		w.reconfigure(func(c *broker.Config) { offline(c); c.Providers[0].Disabled = true })
		wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	})
}

// Several refresh tokens of one user and client live and die by themselves.
func TestRefreshIndependent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, offline)
	laptop, phone := w.login("Demo"), w.login("Demo")
	var all []tokenAnswer
	for _, b := range []*brokertest.Browser{laptop, phone} {
		for _, edit := range []func(url.Values){nil, askOffline} {
			all = append(all, w.redeem(w.code(b, edit), nil).renewed(t))
		}
	}
	for i := range all {
		all[i] = w.refresh(all[i].RefreshToken, nil).renewed(t)
	}
	shows(t, laptop.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK)
	wantError(t, w.refresh(all[0].RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	for _, a := range all[1:] {
		w.refresh(a.RefreshToken, nil).renewed(t)
	}
}

// RFC 8707 §2: an access token for one API is worth nothing at another, nor at userinfo.
func TestResource(t *testing.T) {
	t.Parallel()
	const orders, mail = "https://orders.example/", "https://mail.example/v1"
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Audience = []string{orders, mail} })
	b := w.login("Demo")
	aud := func(a tokenAnswer) []string {
		var list []string
		switch aud := part(t, a.AccessToken, 1)["aud"].(type) {
		case []any:
			for _, s := range aud {
				list = append(list, s.(string))
			}
		case string:
			list = []string{aud}
		}
		return list
	}
	wants := func(t *testing.T, a tokenAnswer, want ...string) {
		t.Helper()
		if got := aud(a); !slices.Equal(got, want) {
			t.Errorf("aud is %v, want %v", got, want)
		}
	}
	t.Run("nobody asked", func(t *testing.T) {
		wants(t, w.redeem(w.code(b, nil), nil).tokens(t), orders, mail, w.URL)
		wants(t, w.redeem(w.code(b, set("resource", "")), set("resource", "")).tokens(t), orders, mail, w.URL)
	})
	t.Run("§2.1: asked at authorize", func(t *testing.T) {
		a := w.redeem(w.code(b, set("resource", orders)), nil).renewed(t)
		wants(t, a, orders)
		wantInvalidToken(t, w.userinfo(a.AccessToken))
		wants(t, w.refresh(a.RefreshToken, nil).renewed(t), orders)
		wants(t, w.redeem(w.code(b, set("resource", orders, mail, orders)), nil).renewed(t), orders, mail)
	})
	t.Run("§2.2: narrowed at the token endpoint", func(t *testing.T) {
		a := w.redeem(w.code(b, set("resource", orders, mail)), set("resource", mail)).renewed(t)
		wants(t, a, mail)
		a = w.refresh(a.RefreshToken, set("resource", orders)).renewed(t) // the grant keeps what it had
		wants(t, a, orders)
		wants(t, w.refresh(a.RefreshToken, nil).renewed(t), orders, mail)
		wants(t, w.redeem(w.code(b, nil), set("resource", mail)).tokens(t), mail)
	})
	t.Run("userinfo by its issuer", func(t *testing.T) {
		a := w.redeem(w.code(b, set("resource", w.URL)), nil).renewed(t)
		wants(t, a, w.URL)
		if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
			t.Errorf("status %d", r.StatusCode)
		}
	})
	t.Run("§2: what the client may not have", func(t *testing.T) {
		for _, resource := range []string{"https://evil.example/", orders + "x", orders[:len(orders)-1], strings.ToUpper(orders), orders + "#", "orders", mail + "/../v1"} {
			r := w.authorize(w.edited(set("resource", resource)), b)
			if _, query := r.location(t); query.Get("error") != "invalid_target" || query.Get("code") != "" || query.Get("iss") != w.URL {
				t.Errorf("authorize for %s: %s", resource, r.Header.Get("Location"))
			}
			code := w.code(b, nil)
			wantError(t, w.redeem(code, set("resource", resource)), http.StatusBadRequest, "invalid_target")
			a := w.redeem(code, nil).renewed(t) // a mistake is no attack
			wantError(t, w.refresh(a.RefreshToken, set("resource", orders, resource)), http.StatusBadRequest, "invalid_target")
		}
	})
	t.Run("§2.2: what was not granted", func(t *testing.T) {
		wantError(t, w.redeem(w.code(b, set("resource", orders)), set("resource", mail)), http.StatusBadRequest, "invalid_target")
		wantError(t, w.redeem(w.code(b, set("resource", orders)), set("resource", w.URL)), http.StatusBadRequest, "invalid_target")
	})
	t.Run("the same refresh token for two APIs at once", func(t *testing.T) {
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		next := w.refresh(a.RefreshToken, set("resource", orders)).renewed(t)
		wantError(t, w.refresh(a.RefreshToken, set("resource", mail)), http.StatusBadRequest, "invalid_grant")
		wants(t, w.refresh(next.RefreshToken, set("resource", mail)).renewed(t), mail)
	})
	t.Run("withdrawn from the client", func(t *testing.T) {
		one := w.redeem(w.code(b, set("resource", orders)), nil).renewed(t)
		two := w.redeem(w.code(b, set("resource", orders, mail)), nil).renewed(t)
		w.reconfigure(func(c *broker.Config) { c.Clients[0].Audience = []string{mail} })
		wantError(t, w.refresh(one.RefreshToken, nil), http.StatusBadRequest, "invalid_target")
		wants(t, w.refresh(two.RefreshToken, nil).renewed(t), mail)
	})
}

// edited are a good authentication request's parameters, edited.
func (w *world) edited(edit func(url.Values)) url.Values {
	params := w.authParams()
	edit(params)
	return params
}

// RFC 9068 §2.2.3.1: what a user may do is said to those APIs whose clients may say it.
func TestAccessTokenRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid", "roles", "groups"} })
	b := w.login("Demo")
	w.editUser("alice", func(u *store.User) { u.Roles, u.Groups = []string{"admin", "user"}, []string{"staff"} })
	for scope, want := range map[string]string{
		"openid": `null null`, "openid roles": `["admin","user"] null`, "openid groups": `null ["staff"]`, "openid roles groups": `["admin","user"] ["staff"]`,
	} {
		a := w.redeem(w.code(b, set("scope", scope)), nil).renewed(t)
		for _, a := range []tokenAnswer{a, w.refresh(a.RefreshToken, nil).renewed(t)} {
			claims := part(t, a.AccessToken, 1)
			roles, _ := json.Marshal(claims["roles"])
			groups, _ := json.Marshal(claims["groups"])
			if got := string(roles) + " " + string(groups); got != want {
				t.Errorf("scope %q: %s, want %s", scope, got, want)
			}
			if id := part(t, a.IDToken, 1); id["roles"] != nil || id["groups"] != nil {
				t.Errorf("scope %q: ID token %v", scope, id)
			}
		}
	}
	w.editUser("alice", func(u *store.User) { u.Roles = nil })
	a := w.redeem(w.code(b, set("scope", "openid roles")), nil).tokens(t)
	if roles, has := part(t, a.AccessToken, 1)["roles"]; has {
		t.Errorf("roles of somebody who has none: %v", roles)
	}
}
