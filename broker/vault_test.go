package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// withRefresh asks for a refresh token.
func withRefresh(c *oidc.Config) { c.Scopes = []string{"openid", "profile", "email", "offline_access"} }

// newVaultWorld keeps what "demo" issues, for which "rp" may ask.
func newVaultWorld(t testing.TB, mode provider.TokenMode, edit func(*broker.Config)) *world {
	t.Helper()
	w := newWorld(t, nil)
	w.keeping(mode, edit)
	return w
}

// keeping reconfigures the broker.
func (w *world) keeping(mode provider.TokenMode, edit func(*broker.Config)) {
	w.t.Helper()
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", withRefresh)
		c.Providers[0].StoreTokens, c.Providers[0].TokensReadable = mode, mode != provider.TokensDropped
		c.Clients[0].ProviderTokens, c.Clients[0].AccessTokenLifetime = []string{"demo", "other"}, 12*time.Hour
		c.SessionIdle = 5 * time.Hour
		if edit != nil {
			edit(c)
		}
	})
}

func (w *world) fetch(alias, token string) *reply {
	w.t.Helper()
	return send(w.t, http.MethodGet, w.URL+"/broker/"+alias+"/token", nil, bearer(token))
}

// A fetched token is all that the endpoint may say.
type fetched struct {
	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

func (r *reply) fetched(t testing.TB) fetched {
	t.Helper()
	var f fetched
	d := json.NewDecoder(strings.NewReader(r.text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d: %v\n%s", r.StatusCode, err, r.text)
	}
	return f
}

// wantNoToken fails unless the reply is this error, and nothing else.
func wantNoToken(t testing.TB, r *reply, status int, code string) {
	t.Helper()
	var a struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	d := json.NewDecoder(strings.NewReader(r.text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || r.StatusCode != status || a.Error != code || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d %s, want %d %s (%v)", r.StatusCode, r.text, status, code, err)
	}
	for _, reflected := range []string{"provider:", "refresh tokens:", "127.0.0.1", "localhost", "as scripted"} {
		if strings.Contains(r.text, reflected) {
			t.Errorf("%s says %q", r.text, reflected)
		}
	}
}

// good reports whether the upstream takes an access token of its own.
func (w *world) good(op *providertest.OIDC, accessToken string) bool {
	w.t.Helper()
	return send(w.t, http.MethodGet, op.Issuer()+"/userinfo", nil, bearer(accessToken)).StatusCode == http.StatusOK
}

// renewals returns how many refresh tokens the upstream was brought, and how many of them it took.
func renewals(op *providertest.OIDC) (brought, taken int) {
	for _, r := range op.Requests(providertest.Token) {
		if r.Params.Get("grant_type") == "refresh_token" {
			brought++
			if r.Error == "" {
				taken++
			}
		}
	}
	return brought, taken
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.After(time.Minute); !ok(); {
		select {
		case <-limit:
			t.Fatalf("%s: not within 20 seconds", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Row 74: the stored token is returned to the role and client that may have it, renewed when it is near its end, and the old
// refresh token is kept where no new one comes; a renewal that fails is told.
func TestRow74(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) { c.Providers[0].TokenMinValidity = time.Minute })
	b := w.login("Demo")
	if roles := w.named("alice").Roles; !slices.Equal(roles, []string{broker.RoleReadToken}) {
		t.Fatalf("alice has the roles %q", roles)
	}
	access := w.accessToken(b)
	first := w.fetch("demo", access).fetched(t)
	if !w.good(w.op, first.AccessToken) || first.Issued != accessTokenType || first.TokenType != "Bearer" || first.ExpiresIn > 600 ||
		first.ExpiresIn < 590 || first.Scope != "openid profile email offline_access" {
		t.Errorf("fetched %+v", first)
	}
	if again := w.fetch("demo", access).fetched(t); again.AccessToken != first.AccessToken {
		t.Error("a token that is good for ten minutes was renewed")
	}
	w.advance(9*time.Minute + 10*time.Second) // fifty seconds remain
	second := w.fetch("demo", access).fetched(t)
	if second.AccessToken == first.AccessToken || !w.good(w.op, second.AccessToken) || second.ExpiresIn < 590 {
		t.Errorf("near its end: fetched %+v", second)
	}
	if again := w.fetch("demo", access).fetched(t); again.AccessToken != second.AccessToken {
		t.Error("what was renewed was not kept")
	}

	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) { delete(m, "refresh_token"); delete(m, "scope"); delete(m, "id_token") }})
	w.advance(10 * time.Minute)
	third := w.fetch("demo", access).fetched(t)
	if third.Scope != first.Scope || !w.good(w.op, third.AccessToken) {
		t.Errorf("what the answer leaves out: %+v", third)
	}
	sent := w.op.Requests(providertest.Token)
	spent := sent[len(sent)-1].Params.Get("refresh_token")

	w.op.Break(providertest.TokenDown)
	w.advance(10 * time.Minute)
	r := w.fetch("demo", access)
	wantNoToken(t, r, http.StatusBadGateway, "refresh_failed")
	sent = w.op.Requests(providertest.Token)
	if got := sent[len(sent)-1].Params.Get("refresh_token"); got != spent || got == "" {
		t.Error("the old refresh token was not kept, though no new one came")
	}

	w.op.Break() // it has taken that refresh token before
	wantNoToken(t, w.fetch("demo", access), http.StatusBadGateway, "link_again")
	brought, _ := renewals(w.op)
	wantNoToken(t, w.fetch("demo", access), http.StatusBadGateway, "link_again")
	if now, _ := renewals(w.op); now != brought {
		t.Error("a refresh token was tried again after it had been refused")
	}
	w.op.Edit(providertest.Hooks{})
	w.login("Demo")
	if last := w.fetch("demo", access).fetched(t); !w.good(w.op, last.AccessToken) {
		t.Error("another login did not help")
	}
}

// Row 75: tokens of a session vanish with it.
func TestRow75(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensInSession, nil)
	b, other := w.login("Demo"), w.login("Demo")
	if l := w.linksOf(w.named("alice").ID); len(l[0].Tokens) != 0 {
		t.Error("the link has tokens, too")
	}
	access, others := w.accessToken(b), w.accessToken(other)
	mine, theirs := w.fetch("demo", access).fetched(t), w.fetch("demo", others).fetched(t)
	if mine.AccessToken == theirs.AccessToken {
		t.Error("both sessions have the same token")
	}
	w.advance(10 * time.Minute)
	renewed := w.fetch("demo", access).fetched(t)
	if renewed.AccessToken == mine.AccessToken || !w.good(w.op, renewed.AccessToken) {
		t.Errorf("renewed: %+v", renewed)
	}
	shows(t, b.Get(w.URL+"/logout").Submit(nil), http.StatusOK, "signed out")
	if r := w.fetch("demo", access); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the sign-out: status %d %s", r.StatusCode, r.text)
	}
	eventually(t, "the upstream is told", func() bool { return !w.good(w.op, renewed.AccessToken) })
	if kept := w.fetch("demo", others).fetched(t); !w.good(w.op, kept.AccessToken) {
		t.Error("another session's token has ended, too")
	}
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); err != nil {
		t.Errorf("the host, while one session is left: %v", err)
	}
	must(t, w.Broker.SignOut(t.Context(), w.named("alice").ID))
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); !errors.Is(err, broker.ErrNoTokens) {
		t.Errorf("the host, after all sessions have ended: %v", err)
	}
}

// A grant that outlives its session has none of what the session had.
func TestTokensInSessionNeedIt(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensInSession, func(c *broker.Config) {
		c.Clients[0].Scopes = []string{"openid", "offline_access"}
	})
	b := w.login("Demo")
	tokens := w.redeem(w.code(b, set("scope", "openid offline_access")), nil).tokens(t)
	w.login("Demo") // another session, with tokens of its own
	w.deleteSession(b)
	wantNoToken(t, w.fetch("demo", tokens.AccessToken), http.StatusNotFound, "no_token")
}

func TestUpstreamTokenRefused(t *testing.T) {
	t.Parallel()
	forbidden := func(r *reply) bool {
		return r.StatusCode == http.StatusForbidden && strings.Contains(r.text, `{"error":"insufficient_scope"}`)
	}
	unauthorized := func(r *reply) bool { return r.StatusCode == http.StatusUnauthorized }
	withError := func(status int, code string) func(*reply) bool {
		return func(r *reply) bool { return r.StatusCode == status && strings.Contains(r.text, `"error":"`+code+`"`) }
	}
	for name, row := range map[string]struct {
		mode  provider.TokenMode
		setup func(*broker.Config) // from the beginning
		alias string
		then  func(w *world, b *brokertest.Browser) // after the login and before the token is fetched
		later func(*broker.Config)                  // likewise
		token func(w *world, b *brokertest.Browser) string
		want  func(*reply) bool
	}{
		"no token":         {token: func(*world, *brokertest.Browser) string { return "" }, want: unauthorized},
		"no token of ours": {token: func(*world, *brokertest.Browser) string { return "x.y.z" }, want: unauthorized},
		"the upstream's own": {token: func(w *world, _ *brokertest.Browser) string {
			tokens, err := w.Broker.UpstreamTokens(w.t.Context(), w.named("alice").ID, "demo")
			must(w.t, err)
			return tokens.AccessToken
		}, want: unauthorized},
		"an ID token": {token: func(w *world, b *brokertest.Browser) string {
			return w.redeem(w.code(b, nil), nil).tokens(w.t).IDToken
		}, want: unauthorized},
		"for another API alone": {setup: func(c *broker.Config) { c.Clients[0].Audience = []string{"https://api.example"} },
			token: func(w *world, b *brokertest.Browser) string {
				return w.redeem(w.code(b, set("resource", "https://api.example")), nil).tokens(w.t).AccessToken
			}, want: unauthorized},
		"client that is not listed":   {later: func(c *broker.Config) { c.Clients[0].ProviderTokens = nil }, want: forbidden},
		"client for another provider": {later: func(c *broker.Config) { c.Clients[0].ProviderTokens = []string{"other"} }, want: forbidden},
		"the alias in another case":   {alias: "Demo", want: forbidden},
		"a provider that is none":     {alias: "none", want: forbidden},
		"user without the role": {then: func(w *world, _ *brokertest.Browser) {
			u := w.named("alice")
			u.Roles = nil
			must(w.t, w.store.UpdateUser(w.t.Context(), u))
		}, want: forbidden},
		"provider that is off":    {later: func(c *broker.Config) { c.Providers[0].Disabled = true }, want: unauthorized},
		"provider for links only": {later: func(c *broker.Config) { c.Providers[0].LinkOnly = true }, want: unauthorized},
		"client that is off":      {later: func(c *broker.Config) { c.Clients[0].Disabled = true }, want: unauthorized},
		"user who is off": {then: func(w *world, _ *brokertest.Browser) {
			u := w.named("alice")
			u.Disabled = true
			must(w.t, w.store.UpdateUser(w.t.Context(), u))
		}, want: unauthorized},
		"user who was deleted": {then: func(w *world, _ *brokertest.Browser) {
			must(w.t, w.store.DeleteUser(w.t.Context(), w.named("alice").ID))
		}, want: unauthorized},
		"session that has ended": {then: func(w *world, b *brokertest.Browser) { w.deleteSession(b) }, want: unauthorized},
		"link that is gone":      {then: func(w *world, _ *brokertest.Browser) { w.unlink("alice") }, want: unauthorized},
		"provider that is not linked": {alias: "other", later: func(c *broker.Config) { c.Providers[1].StoreTokens = provider.TokensOnLink },
			want: withError(400, "not_linked")},
		"provider that stores nothing": {alias: "other", want: withError(400, "tokens_not_stored")},
		"provider that stores nothing any more": {later: func(c *broker.Config) { c.Providers[0].StoreTokens, c.Providers[0].TokensReadable = 0, false },
			want: withError(400, "tokens_not_stored")},
		"stored in the link, now in sessions": {later: func(c *broker.Config) { c.Providers[0].StoreTokens = provider.TokensInSession },
			want: withError(404, "no_token")},
		"in the session of another provider": {mode: provider.TokensInSession, alias: "other", later: func(c *broker.Config) {
			c.Providers[1].StoreTokens = provider.TokensInSession
		}, want: withError(404, "no_token")},
		"issued before it was stored": {mode: provider.TokensDropped, later: func(c *broker.Config) { c.Providers[0].StoreTokens = provider.TokensOnLink },
			then: func(w *world, _ *brokertest.Browser) {
				u := w.named("alice")
				u.Roles = []string{broker.RoleReadToken}
				must(w.t, w.store.UpdateUser(w.t.Context(), u))
			}, want: withError(404, "no_token")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mode := row.mode
			if mode == provider.TokensDropped && name != "issued before it was stored" {
				mode = provider.TokensOnLink
			}
			w := newVaultWorld(t, mode, row.setup)
			b := w.login("Demo")
			if row.token == nil {
				row.token = (*world).accessToken
			}
			token := row.token(w, b)
			if row.then != nil {
				row.then(w, b)
			}
			if row.later != nil {
				w.keeping(mode, row.later)
			}
			alias := row.alias
			if alias == "" {
				alias = "demo"
			}
			r := w.fetch(alias, token)
			if !row.want(r) || strings.Contains(r.text, "access_token\"") || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d %v\n%s", r.StatusCode, r.Header, r.text)
			}
			if challenge := r.Header.Get("WWW-Authenticate"); (r.StatusCode == 401 || r.StatusCode == 403) != strings.HasPrefix(challenge, `Bearer realm="upstream token"`) {
				t.Errorf("status %d with the challenge %q", r.StatusCode, challenge)
			}
		})
	}
}

// A provider that is for linking only is linked for its tokens.
func TestUpstreamTokenOfLinkOnlyProvider(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) {
		c.Providers[1].LinkOnly, c.Providers[1].StoreTokens = true, provider.TokensOnLink
	})
	b := w.login("Demo")
	access := w.accessToken(b)
	wantNoToken(t, w.fetch("other", access), http.StatusBadRequest, "not_linked")
	w.link(b, "other")
	first := w.fetch("other", access).fetched(t)
	if !w.good(w.other, first.AccessToken) || w.good(w.op, first.AccessToken) {
		t.Error("it is not the token of the provider that was linked")
	}
	w.advance(11 * time.Minute) // it has no refresh token
	wantNoToken(t, w.fetch("other", access), http.StatusBadGateway, "link_again")
	page := b.Get(w.URL + "/link?provider=other&return_to=/account/").Click("Demo") // who they are was proved too long ago
	page.Submit(url.Values{"decision": {"yes"}})
	if again := w.fetch("other", access).fetched(t); !w.good(w.other, again.AccessToken) {
		t.Error("linking it again did not help")
	}
}

// Nobody gets what was issued for somebody else, with whatever token of theirs.
func TestUpstreamTokenOfAnotherUser(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		alice := w.accessToken(w.login("Demo"))
		w.op.LoginAs("bob")
		bob := w.accessToken(w.login("Demo"))
		for user, access := range map[string]string{"alice": alice, "bob": bob} {
			said := send(t, http.MethodGet, w.op.Issuer()+"/userinfo", nil, bearer(w.fetch("demo", access).fetched(t).AccessToken))
			if !strings.Contains(said.text, `"sub":"`+user+`"`) {
				t.Errorf("mode %d: the token of %s is of %s", mode, user, said.text)
			}
			if again := w.fetch("demo", access).fetched(t); again.AccessToken == "" {
				t.Errorf("mode %d: nothing the second time", mode)
			}
		}
	}
}

// A token that is bound to a key needs its proof, which is good once.
func TestUpstreamTokenDPoP(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	var access string
	bound := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(w.login("Demo"), nil)),
		withProofs(basic("rp", w.secret()), w.tokenProof("ES256")))
	decode(t, bound, &struct {
		AccessToken *string `json:"access_token"`
	}{&access})
	get := func(key string, changes fields) func(scheme string) *reply {
		proof := w.proofFor(key, "GET", "/broker/demo/token", fields{"ath": athOf(access)}.with(changes))
		return func(scheme string) *reply {
			return send(t, http.MethodGet, w.URL+"/broker/demo/token", nil, withProofs(func(r *http.Request) {
				r.Header.Set("Authorization", scheme+" "+access)
			}, proof))
		}
	}
	good := get("ES256", nil)
	good("DPoP").fetched(t)
	for name, r := range map[string]*reply{
		"the same proof": good("DPoP"), "as a bearer token": get("ES256", nil)("Bearer"), "another key": get("other", nil)("DPoP"),
		"of another alias": get("ES256", fields{"htu": w.URL + "/broker/other/token"})("DPoP"), "without a proof": w.fetch("demo", access),
	} {
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d %s", name, r.StatusCode, r.text)
		}
	}
}

// Scripts of the client's own pages may read the answer, and no others.
func TestUpstreamTokenCORS(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) { c.Clients[0].Origins = []string{"https://spa.example"} })
	access := w.accessToken(w.login("Demo"))
	for origin, want := range map[string]string{"https://spa.example": "https://spa.example", "https://evil.example": ""} {
		from := func(r *http.Request) {
			bearer(access)(r)
			r.Header.Set("Origin", origin)
		}
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			r := send(t, method, w.URL+"/broker/demo/token", nil, from)
			if got := r.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s from %s: may be read by %q", method, origin, got)
			}
		}
	}
}

// What an alias issued goes to nobody that it is pointed to later: not with a refresh, not when it is unlinked.
func TestTokensOfProviderPointedElsewhere(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	b := w.login("Demo")
	access := w.accessToken(b)
	evil := w.elsewhere()
	w.keeping(provider.TokensOnLink, func(c *broker.Config) { c.Providers[0].IdP = w.upstream(evil, "demo", withRefresh) })
	if r := w.fetch("demo", access); r.StatusCode != http.StatusForbidden {
		t.Errorf("held: status %d %s", r.StatusCode, r.text)
	}
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); !errors.Is(err, broker.ErrTokensRefused) {
		t.Errorf("held: %v", err)
	}
	must(t, w.Broker.ConfirmProvider(t.Context(), "demo"))
	wantNoToken(t, w.fetch("demo", access), http.StatusBadGateway, "link_again") // of whom it was is nobody's guess now
	w.advance(11 * time.Minute)
	wantNoToken(t, w.fetch("demo", access), http.StatusBadGateway, "link_again")
	again := w.login("Demo")
	if n := len(w.linksOf(w.named("alice").ID)); n != 1 {
		t.Errorf("%d links", n)
	}
	w.fetch("demo", w.accessToken(again)).fetched(t)
	for _, r := range evil.Requests(providertest.Token, providertest.Revocation) {
		if r.Params.Get("grant_type") != "authorization_code" {
			t.Errorf("the other provider was sent %s", r.Params.Get("grant_type"))
		}
	}
}

// Unlinked is gone: here at once, and there as soon as it can be told.
func TestTokensAreRevokedWithTheLink(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) { c.Providers[1].StoreTokens = 0 })
	b := w.login("Demo")
	w.link(b, "other")
	access := w.accessToken(b)
	tokens := w.fetch("demo", access).fetched(t)
	w.unlinkAs(b, "Demo")
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 || links[0].Provider != "other" {
		t.Fatalf("links: %v", links)
	}
	eventually(t, "the upstream is told", func() bool { return !w.good(w.op, tokens.AccessToken) })
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); !errors.Is(err, broker.ErrNotLinked) {
		t.Errorf("the host: %v", err)
	}
}

// What is switched off is written no more, and taken away by the next login.
func TestTokensAreForgotten(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	if len(w.linksOf(id)[0].Tokens) == 0 {
		t.Fatal("nothing is stored")
	}
	w.keeping(provider.TokensDropped, nil)
	w.login("Demo")
	if len(w.linksOf(id)[0].Tokens) != 0 {
		t.Error("the tokens are still there")
	}
	if w.keeping(provider.TokensInSession, nil); w.sessionTokens(id) {
		t.Error("a session has tokens from before they were kept")
	}
	w.login("Demo")
	if !w.sessionTokens(id) {
		t.Error("the session has no tokens")
	}
}

func (w *world) sessionTokens(userID string) bool {
	found, err := w.store.FindSessions(w.t.Context(), store.SessionQuery{UserID: userID})
	must(w.t, err)
	return slices.ContainsFunc(found, func(s *store.Session) bool { return len(s.UpstreamTokens) > 0 })
}

// No token is in a log, also where things go wrong, and none is readable in the store.
func TestTokensAreSecret(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		log := newLockedLog()
		w := newVaultWorld(t, mode, func(c *broker.Config) {
			c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		b := w.login("Demo")
		access := w.accessToken(b)
		first := w.fetch("demo", access).fetched(t)
		w.advance(11 * time.Minute)
		second := w.fetch("demo", access).fetched(t)
		w.advance(11 * time.Minute)
		w.op.Break(providertest.TokenInvalidGrant)
		wantNoToken(t, w.fetch("demo", access), http.StatusBadGateway, "link_again")
		w.op.Break(providertest.TokenDown)
		secrets := []string{first.AccessToken, second.AccessToken, access}
		for _, r := range w.op.Requests(providertest.Token) {
			secrets = append(secrets, r.Params.Get("refresh_token"))
		}
		stored := ""
		for _, l := range w.linksOf(w.named("alice").ID) {
			stored += string(l.Tokens)
		}
		for _, s := range w.sessionsOf(w.named("alice").ID) {
			stored += string(s.UpstreamTokens)
		}
		for _, secret := range secrets {
			if secret != "" && (strings.Contains(log.String(), secret) || strings.Contains(stored, secret)) {
				t.Errorf("mode %d: a token is readable", mode)
			}
		}
		if !strings.Contains(log.String(), "tokens not renewed") {
			t.Errorf("mode %d: nothing is said about the refresh", mode)
		}
	}
}

// Five hundred callers at once, with and without patience: one question to the upstream.
func TestRefreshStorm(t *testing.T) {
	t.Parallel()
	const callers = 500
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		w.login("Demo")
		id := w.named("alice").ID
		for round := range 3 {
			w.advance(11 * time.Minute)
			got := make([]string, callers)
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if i%10 == 0 {
						cancel()
					}
					tokens, err := w.Broker.UpstreamTokens(ctx, id, "demo")
					switch {
					case err == nil:
						got[i] = tokens.AccessToken
					case i%10 != 0 || !errors.Is(err, context.Canceled):
						t.Errorf("caller %d: %v", i, err)
					}
				})
			}
			all.Wait()
			slices.Sort(got)
			if distinct := slices.Compact(got); len(distinct) > 2 || !w.good(w.op, distinct[len(distinct)-1]) {
				t.Errorf("mode %d, round %d: %d different tokens", mode, round, len(distinct))
			}
			if brought, taken := renewals(w.op); brought != round+1 || taken != round+1 {
				t.Errorf("mode %d, round %d: the upstream was brought %d refresh tokens and took %d", mode, round, brought, taken)
			}
		}
	}
}

// A SAML provider issues its assertion, which is kept whole and until when it says itself.
func TestUpstreamAssertion(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		var made *broker.Provider
		w := newSAMLWorld(t, func(_ *saml.Config, p *broker.Provider) { made = p })
		w.reconfigure(func(c *broker.Config) {
			made.StoreTokens, made.TokensReadable = mode, true
			c.Providers, c.Clients[0].ProviderTokens = append(c.Providers, *made), []string{"saml"}
		})
		b := stopped(t)
		w.samlLogin(t, b, "_a1")
		access := w.accessToken(b)
		got := w.fetch("saml", access).fetched(t)
		text, err := base64.RawURLEncoding.DecodeString(got.AccessToken)
		if err != nil || got.Issued != provider.TypeSAML2 || got.TokenType != "N_A" || got.ExpiresIn != 0 ||
			!strings.HasPrefix(string(text), "<saml:Assertion") || !strings.Contains(string(text), `ID="_a1"`) {
			t.Errorf("mode %d: %+v, %v: %s", mode, got, err, text)
		}
	}
}

// What is too large to be kept is not, and the login is none the worse for it.
func TestTokensTooLarge(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) { m["refresh_token"] = strings.Repeat("r", 100<<10) }})
	b := w.login("Demo")
	wantNoToken(t, w.fetch("demo", w.accessToken(b)), http.StatusNotFound, "no_token")
	if said := log.String(); !strings.Contains(said, "tokens of the upstream are not kept") || strings.Contains(said, "rrr") {
		t.Errorf("the log says %s", said)
	}
}

// The keys of what is kept can be exchanged.
func TestResealTokens(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		w.login("Demo")
		next := []byte("another secret of the tests: 32!")
		for _, secrets := range [][][]byte{{next, worldSecrets[0]}, {next}} {
			w.keeping(mode, func(c *broker.Config) { c.Secrets = secrets })
			if len(secrets) == 2 {
				if n, err := w.Broker.Reseal(t.Context()); n == 0 || err != nil {
					t.Fatalf("mode %d: Reseal: %d, %v", mode, n, err)
				}
			}
			if tokens, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); err != nil || tokens.AccessToken == "" {
				t.Errorf("mode %d with %d secrets: %v", mode, len(secrets), err)
			}
		}
	}
}

// Some upstreams give a refresh token the first time only: a login without one leaves that in its place.
func TestRefreshTokenOfAnEarlierLogin(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) { delete(m, "refresh_token") }})
	w.advance(time.Minute) // the ID token of the first login has another auth_time, with which what is renewed is compared
	w.login("Demo")
	later, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	must(t, err)
	w.wantRenewals(0)
	w.advance(11 * time.Minute)
	renewed, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	if err != nil || renewed.AccessToken == later.AccessToken || !w.good(w.op, renewed.AccessToken) {
		t.Errorf("UpstreamTokens: %v", err)
	}
	w.wantRenewals(1)
}

// Who links again a provider that was confirmed as another has the tokens of that, though the link is by its former issuer.
func TestTokensOfAConfirmedProviderThatIsLinkedAgain(t *testing.T) {
	t.Parallel()
	linkOnly := func(c *broker.Config) {
		c.Providers[1].LinkOnly, c.Providers[1].StoreTokens = true, provider.TokensOnLink
	}
	w := newVaultWorld(t, provider.TokensOnLink, linkOnly)
	b := w.login("Demo")
	w.link(b, "other")
	id := w.named("alice").ID
	moved := w.elsewhere()
	moved.SetUser(providertest.User{Subject: "carol", Username: "carol"})
	moved.LoginAs("carol")
	w.keeping(provider.TokensOnLink, also(linkOnly, func(c *broker.Config) { c.Providers[1].IdP = w.upstream(moved, "other", nil) }))
	must(t, w.Broker.ConfirmProvider(t.Context(), "other"))
	if _, err := w.Broker.UpstreamTokens(t.Context(), id, "other"); !errors.Is(err, broker.ErrLinkAgain) {
		t.Errorf("what it issued before: %v", err)
	}
	w.link(b, "other")
	if tokens, err := w.Broker.UpstreamTokens(t.Context(), id, "other"); err != nil || !w.good(moved, tokens.AccessToken) {
		t.Errorf("linked again: %v", err)
	}
}

// A session that another user's takes the place of takes its tokens with it.
func TestTokensAreRevokedWithASessionThatIsReplaced(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensInSession, nil)
	b := w.login("Demo")
	tokens := w.fetch("demo", w.accessToken(b)).fetched(t)
	w.op.LoginAs("bob")
	b.Get(w.URL + "/broker/demo/login?return_to=/")
	if who := b.Get(w.Origin + "/").Who(); who.Username != "bob" {
		t.Fatalf("signed in as %+v", who)
	}
	eventually(t, "the upstream is told", func() bool { return !w.good(w.op, tokens.AccessToken) })
	if again := w.fetch("demo", w.accessToken(b)).fetched(t); !w.good(w.op, again.AccessToken) || again.AccessToken == tokens.AccessToken {
		t.Error("bob has no token of his own")
	}
}

// So do those of a session that goes on by the word of another upstream.
func TestTokensAreRevokedWithTheWordOfTheirUpstream(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensInSession, nil)
	b := w.login("Demo")
	w.link(b, "other")
	before := b.Get(w.Origin + "/").Who()
	tokens := w.fetch("demo", w.accessToken(b)).fetched(t)
	b.Get(w.URL + "/login?prompt=login&return_to=/").Click("Other")
	if who := b.Get(w.Origin + "/").Who(); who.Session != before.Session || who.Provider != "other" {
		t.Fatalf("signed in as %+v", who)
	}
	eventually(t, "the upstream is told", func() bool { return !w.good(w.op, tokens.AccessToken) })
}

// A host that switches somebody off for good has all revoked, on links and in sessions.
func TestRevokeUpstreamTokens(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]provider.TokenMode{"on the link": provider.TokensOnLink, "in the session": provider.TokensInSession} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVaultWorld(t, mode, nil)
			b := w.login("Demo")
			access := w.accessToken(b)
			tokens := w.fetch("demo", access).fetched(t)
			w.op.LoginAs("bob")
			others := w.fetch("demo", w.accessToken(w.login("Demo"))).fetched(t)
			alice := w.named("alice")
			alice.Disabled = true
			must(t, w.store.UpdateUser(t.Context(), alice))
			if !w.good(w.op, tokens.AccessToken) {
				t.Error("revoked already")
			}
			must(t, w.Broker.RevokeUpstreamTokens(t.Context(), alice.ID))
			eventually(t, "the upstream is told", func() bool { return !w.good(w.op, tokens.AccessToken) })
			if len(w.linksOf(alice.ID)[0].Tokens) > 0 || w.sessionTokens(alice.ID) {
				t.Error("they are still there")
			}
			if !w.good(w.op, others.AccessToken) {
				t.Error("another user's are revoked, too")
			}
			alice = w.named("alice")
			alice.Disabled = false
			must(t, w.store.UpdateUser(t.Context(), alice))
			if _, err := w.Broker.UpstreamTokens(t.Context(), alice.ID, "demo"); !errors.Is(err, broker.ErrNoTokens) {
				t.Errorf("UpstreamTokens: %v", err)
			}
			must(t, w.Broker.RevokeUpstreamTokens(t.Context(), alice.ID))
			must(t, w.Broker.RevokeUpstreamTokens(t.Context(), "nobody"))
		})
	}
}

// A login in a browser that has no session asks for none, whatever is kept in sessions.
func TestTokensInSessionCostOthersNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var read atomic.Int32
	w.keeping(provider.TokensInSession, func(c *broker.Config) {
		c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
			if call.Method == "Session" && !call.After {
				read.Add(1)
			}
			return nil
		})
	})
	b := stopped(t)
	callback := w.ready(b, "other")
	b.Get(callback)
	if n := read.Load(); n != 0 {
		t.Errorf("%d sessions were read", n)
	}
	if !w.signedIn(b) {
		t.Error("not signed in")
	}
}

// What an alias issued is not revoked at whom it is pointed to later either.
func TestTokensAreNotRevokedElsewhere(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	b := w.login("Demo")
	w.link(b, "other")
	evil := w.elsewhere()
	w.keeping(provider.TokensOnLink, func(c *broker.Config) { c.Providers[0].IdP = w.upstream(evil, "demo", withRefresh) })
	must(t, w.Broker.ConfirmProvider(t.Context(), "demo"))
	w.unlinkAs(b, "Demo")
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
		t.Fatalf("links: %v", links)
	}
	w.op.LoginAs("bob")
	w.keeping(provider.TokensOnLink, nil)
	must(t, w.Broker.ConfirmProvider(t.Context(), "demo"))
	w.other.LoginAs("twin")
	bob := w.login("Demo") // whose tokens are revoked by the same way
	w.link(bob, "other")
	w.unlinkAs(bob, "Demo")
	eventually(t, "the upstream is told of the others", func() bool { return len(w.op.Requests(providertest.Revocation)) == 1 })
	if n := len(evil.Requests(providertest.Revocation)); n != 0 {
		t.Errorf("the other provider was sent %d tokens", n)
	}
}

// unlinkAs takes a provider away on the account page.
func (w *world) unlinkAs(b *brokertest.Browser, title string) {
	w.t.Helper()
	page := b.Get(w.at(""))
	for i := range 2 {
		asked := b.Post(w.at("unlink"), url.Values{"link": {field(w.t, page, "link", i)}}, w.Origin)
		if strings.Contains(asked.Body, title) {
			asked.Submit(url.Values{"decision": {"yes"}})
			return
		}
	}
	w.t.Fatalf("%s cannot be unlinked:\n%s", title, page.Body)
}

// A refresh token is not taken over from what the provider was trusted as before, also where its users kept their names.
func TestRefreshTokenOfBeforeAConfirmation(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) {
			withRefresh(c)
			c.Endpoints.Token = w.op.Issuer() + "/token"
		})
	})
	must(t, w.Broker.ConfirmProvider(t.Context(), "demo"))
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) { delete(m, "refresh_token") }})
	w.login("Demo")
	_, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	must(t, err)
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); !errors.Is(err, broker.ErrLinkAgain) {
		t.Errorf("UpstreamTokens: %v", err)
	}
	w.wantRenewals(0)
}
