package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

const (
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	idTokenType     = "urn:ietf:params:oauth:token-type:id_token"
	jwtTokenType    = "urn:ietf:params:oauth:token-type:jwt"
)

// withExchange has "rp" send its tokens to the API "backend", which hands them on to "files" and "mail". "files" may hand
// them on to "deep"; "stranger" may exchange what it gets, and gets nothing; "plain" may not exchange. Provider "demo"
// lets the tokens of its application "mobile" be exchanged.
func withExchange(edit func(*broker.Config)) func(*broker.Config) {
	return func(c *broker.Config) {
		c.Clients[0].Audience = []string{"backend"}
		secrets := c.Clients[0].Secrets
		only := []string{store.GrantTypeTokenExchange}
		c.Clients = append(c.Clients,
			store.Client{ID: "backend", Secrets: secrets, Grants: only, Audience: []string{"files", "mail", "https://api.example/v1"}, Scopes: []string{"openid", "email", "mail"}},
			store.Client{ID: "files", Secrets: secrets, Grants: only, Audience: []string{"files", "backend"}, AccessTokenLifetime: time.Hour},
			store.Client{ID: "stranger", Secrets: secrets, Grants: only, Audience: []string{"files"}},
			store.Client{ID: "lonely", Secrets: secrets, Grants: only},
			store.Client{ID: "plain", Secrets: secrets, RedirectURIs: c.Clients[0].RedirectURIs, Audience: []string{"files"}})
		c.Clients[0].Audience = append(c.Clients[0].Audience, "plain", "lonely")
		c.Providers[0].AllowTokenExchange = true
		if edit != nil {
			edit(c)
		}
	}
}

// newExchangeWorld has upstreams whose application is "mobile".
func newExchangeWorld(t testing.TB, edit func(*broker.Config)) *world {
	t.Helper()
	w := newWorld(t, nil)
	for _, op := range []*providertest.OIDC{w.op, w.other} {
		op.Register(providertest.Client{ID: "mobile", Auth: "none", RedirectURIs: []string{"com.example.mobile:/cb"}})
	}
	w.exchanging(edit)
	return w
}

// exchanging reconfigures the broker.
func (w *world) exchanging(edit func(*broker.Config)) {
	w.t.Helper()
	mobile := func(c *oidc.Config) { c.ExchangeAudiences = []string{"mobile"} }
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP, c.Providers[1].IdP = w.upstream(w.op, "demo", mobile), w.upstream(w.other, "other", mobile)
		withExchange(edit)(c)
	})
}

// An exchangeAnswer is all that a token exchange may say.
type exchangeAnswer struct {
	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

// exchanged reads a successful answer and returns it with the claims of the token.
func (r *reply) exchanged(t testing.TB) (exchangeAnswer, map[string]any) {
	t.Helper()
	var a exchangeAnswer
	d := json.NewDecoder(strings.NewReader(r.text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || r.StatusCode != http.StatusOK || a.Issued != accessTokenType || a.TokenType != "Bearer" {
		t.Fatalf("status %d: %v\n%s", r.StatusCode, err, r.text)
	}
	return a, part(t, a.AccessToken, 1)
}

// exchange sends a token exchange of the client for a token of ours.
func (w *world) exchange(client, subject string, edit func(url.Values)) *reply {
	w.t.Helper()
	form := url.Values{
		"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {subject}, "subject_token_type": {accessTokenType},
	}
	if edit != nil {
		edit(form)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, basic(client, w.secret()))
}

// accessToken returns a fresh one of "rp".
func (w *world) accessToken(b *brokertest.Browser) string {
	w.t.Helper()
	return w.redeem(w.code(b, nil), nil).tokens(w.t).AccessToken
}

func TestExchange(t *testing.T) { // RFC 8693 §2
	t.Parallel()
	w := newExchangeWorld(t, nil)
	b := w.login("Demo")
	subject := w.accessToken(b)
	before := part(t, subject, 1)
	a, claims := w.exchange("backend", subject, nil).exchanged(t)
	if fmt.Sprint(claims["aud"]) != "[files mail https://api.example/v1]" || claims["scope"] != "openid email" || a.Scope != "openid email" ||
		claims["client_id"] != "backend" || claims["sub"] != before["sub"] || claims["sid"] != before["sid"] || claims["auth_time"] != before["auth_time"] ||
		fmt.Sprint(claims["act"]) != "map[sub:backend]" || claims["jti"] == before["jti"] {
		t.Errorf("got %v\nof  %v", claims, before)
	}
	if claims["exp"].(float64) > before["exp"].(float64) {
		t.Error("it outlives the token that it was made of")
	}
	wantInvalidToken(t, w.userinfo(a.AccessToken)) // it is not for there
	for name, row := range map[string]struct {
		edit       func(url.Values)
		aud, scope string
	}{
		"one audience":                        {set("audience", "files"), "[files]", "openid email"},
		"two audiences":                       {set("audience", "mail", "files"), "[mail files]", "openid email"},
		"the same twice":                      {set("audience", "mail", "mail"), "[mail]", "openid email"},
		"a resource (RFC 8707)":               {set("resource", "https://api.example/v1"), "[https://api.example/v1]", "openid email"},
		"audience and resource":               {func(v url.Values) { v.Set("resource", "https://api.example/v1"); v.Set("audience", "mail") }, "[mail https://api.example/v1]", "openid email"},
		"less scope":                          {set("scope", "email"), "[files mail https://api.example/v1]", "email"},
		"scope without a value":               {set("scope", ""), "[files mail https://api.example/v1]", "openid email"},
		"requested_token_type is said":        {set("requested_token_type", accessTokenType), "[files mail https://api.example/v1]", "openid email"},
		"an empty actor_token counts as none": {set("actor_token", ""), "[files mail https://api.example/v1]", "openid email"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, claims := w.exchange("backend", subject, row.edit).exchanged(t)
			if fmt.Sprint(claims["aud"]) != row.aud || a.Scope != row.scope || claims["scope"] != row.scope {
				t.Errorf("for %v with scope %q, want %s with %q", claims["aud"], a.Scope, row.aud, row.scope)
			}
		})
	}
}

func TestExchangeRefusals(t *testing.T) { // RFC 8693 §2.2.2, CVE-2026-9704
	t.Parallel()
	w := newExchangeWorld(t, nil)
	b := w.login("Demo")
	tokens := w.redeem(w.code(b, nil), nil).tokens(t)
	subject := tokens.AccessToken
	for _, row := range []struct {
		name, client string
		edit         func(url.Values)
		code         string
	}{
		{"subject_token dropped", "backend", unset("subject_token"), "invalid_request"},
		{"subject_token empty", "backend", set("subject_token", ""), "invalid_request"},
		{"subject_token_type dropped", "backend", unset("subject_token_type"), "invalid_request"},
		{"subject_token_type unknown", "backend", set("subject_token_type", "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"},
		{"subject_token_type refresh_token", "backend", set("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
		{"our token as ID token", "backend", set("subject_token_type", idTokenType), "invalid_request"},
		{"our token as JWT", "backend", set("subject_token_type", jwtTokenType), "invalid_request"},
		{"our token as a provider's access token", "backend", set("subject_issuer", "demo"), "invalid_request"},
		{"requested_token_type refresh_token", "backend", set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
		{"requested_token_type id_token", "backend", set("requested_token_type", idTokenType), "invalid_request"},
		{"actor_token", "backend", set("actor_token", subject), "invalid_request"},
		{"actor_token_type alone", "backend", set("actor_token_type", accessTokenType), "invalid_request"},
		{"an ID token", "backend", set("subject_token", tokens.IDToken), "invalid_request"},
		{"a letter changed", "backend", set("subject_token", twin(subject, len(subject)/2)), "invalid_request"},
		{"cut", "backend", set("subject_token", subject[:len(subject)-2]), "invalid_request"},
		{"very long", "backend", set("subject_token", subject+strings.Repeat("A", 30000)), "invalid_request"},
		{"audience of nobody", "backend", set("audience", "bank"), "invalid_target"},
		{"audience of the subject token", "backend", set("audience", "backend"), "invalid_target"},
		{"audience the broker itself", "backend", set("audience", w.URL), "invalid_target"},
		{"audience in another case", "backend", set("audience", "Files"), "invalid_target"},
		{"one right, one wrong audience", "backend", set("audience", "files", "bank"), "invalid_target"},
		{"resource of nobody", "backend", set("resource", "https://bank.example"), "invalid_target"},
		{"scope beyond the client's", "backend", set("scope", "openid profile"), "invalid_scope"},
		{"scope beyond the subject token's", "backend", set("scope", "mail"), "invalid_scope"},
		{"scope of nobody", "backend", set("scope", "admin"), "invalid_scope"},
		{"offline access", "backend", set("scope", "openid offline_access"), "invalid_scope"},
		{"a client without an audience", "lonely", nil, "invalid_target"},
		{"a client that the token was not sent to", "stranger", nil, "invalid_request"},
		{"a client without the grant", "plain", nil, "unauthorized_client"},
		{"the client that got it, without the grant", "rp", nil, "unauthorized_client"},
		{"scope twice", "backend", set("scope", "openid", "email"), "invalid_request"},
		{"subject_token twice", "backend", set("subject_token", subject, subject), "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, w.exchange(row.client, subject, row.edit), http.StatusBadRequest, row.code)
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		t.Parallel()
		form := url.Values{"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {subject}, "subject_token_type": {accessTokenType}}
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, basic("backend", "wrong")), http.StatusUnauthorized, "invalid_client")
		form.Set("client_id", "backend")
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, nil), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("what is left without subject_token is no other grant", func(t *testing.T) {
		t.Parallel()
		code := w.code(b, nil)
		form := w.redeemForm(code)
		form.Set("grant_type", store.GrantTypeTokenExchange)
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, basic("rp", w.secret())), http.StatusBadRequest, "unauthorized_client")
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, basic("backend", w.secret())), http.StatusBadRequest, "invalid_request")
		w.redeem(code, nil).tokens(t) // and nothing was used up
	})
}

func TestExchangeIsForClientsThatAuthenticate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, err := broker.New(w.config(withExchange(editClient("backend", func(c *store.Client) { c.AuthMethod, c.Secrets = store.AuthNone, nil }))))
	if err == nil || !strings.Contains(err.Error(), "token exchange") {
		t.Errorf("a public client may exchange tokens: %v", err)
	}
	_, err = broker.New(w.config(func(c *broker.Config) { c.Providers[0].IdP, c.Providers[0].AllowTokenExchange = plainIdP{}, true }))
	if err == nil || !strings.Contains(err.Error(), "AllowTokenExchange") {
		t.Errorf("a provider may that cannot verify tokens: %v", err)
	}
}

type plainIdP struct{ provider.IdentityProvider }

// A token that was exchanged says by whom, and can be exchanged again a few times.
func TestExchangeChain(t *testing.T) { // RFC 8693 §4.1
	t.Parallel()
	w := newExchangeWorld(t, nil)
	tokens := []string{w.accessToken(w.login("Demo"))}
	a, claims := w.exchange("backend", tokens[0], set("audience", "files")).exchanged(t)
	expires := claims["exp"]
	a, claims = w.exchange("files", a.AccessToken, set("audience", "backend")).exchanged(t)
	if fmt.Sprint(claims["act"]) != "map[act:map[sub:backend] sub:files]" || claims["client_id"] != "files" || claims["scope"] != "openid email" {
		t.Errorf("got %v", claims)
	}
	if claims["exp"] != expires {
		t.Errorf("it ends at %v, and what it was made of at %v", claims["exp"], expires)
	}
	for range 3 {
		wantError(t, w.exchange("files", a.AccessToken, set("audience", "files")), http.StatusBadRequest, "invalid_target")
		a, claims = w.exchange("files", a.AccessToken, nil).exchanged(t)
		if fmt.Sprint(claims["aud"]) != "[backend]" {
			t.Errorf("its own token became one for %v", claims["aud"])
		}
	}
	wantError(t, w.exchange("files", a.AccessToken, nil), http.StatusBadRequest, "invalid_request")
	w.exchange("backend", tokens[0], nil).exchanged(t)
	t.Run("a client in it is switched off", func(t *testing.T) {
		a, _ := w.exchange("backend", tokens[0], set("audience", "files")).exchanged(t)
		w.exchange("files", a.AccessToken, nil).exchanged(t)
		w.exchanging(editClient("backend", func(c *store.Client) { c.Disabled = true }))
		wantError(t, w.exchange("files", a.AccessToken, nil), http.StatusBadRequest, "invalid_request")
	})
}

// A token that can be used no more is not exchanged any more (Casdoor CVE-2026-9097, Keycloak CVE-2026-1486).
func TestExchangeSwitchedOff(t *testing.T) {
	t.Parallel()
	off := func(edit func(*broker.Config)) func(*world, *brokertest.Browser) {
		return func(w *world, _ *brokertest.Browser) { w.exchanging(edit) }
	}
	for _, row := range []struct {
		name   string
		off    func(*world, *brokertest.Browser)
		status int
		code   string
	}{
		{"user disabled", func(w *world, _ *brokertest.Browser) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) }, 400, "invalid_request"},
		{"user deleted", func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") }, 400, "invalid_request"},
		{"client disabled", off(editClient("backend", func(c *store.Client) { c.Disabled = true })), 401, "invalid_client"},
		{"grant type taken away", off(editClient("backend", func(c *store.Client) {
			c.Grants, c.RedirectURIs = nil, []string{"https://backend.example/"}
		})), 400, "unauthorized_client"},
		{"client takes another provider's word", off(editClient("backend", func(c *store.Client) { c.Providers = []string{"other"} })), 400, "invalid_request"},
		{"first client disabled", off(editClient("rp", func(c *store.Client) { c.Disabled = true })), 400, "invalid_request"},
		{"first client removed", off(editClient("rp", func(c *store.Client) { c.ID = "rp2" })), 400, "invalid_request"},
		{"first client takes another provider's word", off(editClient("rp", func(c *store.Client) { c.Providers = []string{"other"} })), 400, "invalid_request"},
		{"provider disabled", off(func(c *broker.Config) { c.Providers[0].Disabled = true }), 400, "invalid_request"},
		{"provider removed", off(func(c *broker.Config) { c.Providers[0].Alias = "demo2" }), 400, "invalid_request"},
		{"link removed", func(w *world, _ *brokertest.Browser) { w.unlink("alice") }, 400, "invalid_request"},
		{"session deleted", func(w *world, b *brokertest.Browser) { w.deleteSession(b) }, 400, "invalid_request"},
		{"signed out", func(w *world, b *brokertest.Browser) { b.Get(w.URL + "/logout").Submit(nil) }, 400, "invalid_request"},
		{"grant deleted", func(w *world, b *brokertest.Browser) { w.deleteGrants(b) }, 400, "invalid_request"},
		{"expired", func(w *world, _ *brokertest.Browser) { w.advance(5*time.Minute + time.Second) }, 400, "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newExchangeWorld(t, nil)
			b := w.login("Demo")
			subject := w.accessToken(b)
			w.exchange("backend", subject, nil).exchanged(t)
			row.off(w, b)
			wantError(t, w.exchange("backend", subject, nil), row.status, row.code)
		})
	}
}

// deleteGrants ends what the session of a browser has granted.
func (w *world) deleteGrants(b *brokertest.Browser) {
	w.t.Helper()
	grants, err := w.store.FindGrants(w.t.Context(), store.GrantQuery{SessionID: b.Get(w.Origin + "/").Who().Session})
	if err != nil || len(grants) == 0 {
		w.t.Fatalf("grants: %v, %v", grants, err)
	}
	for _, g := range grants {
		if err := w.store.DeleteGrant(w.t.Context(), g.ID); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A code that was used twice ends what it got, and with it what that was exchanged for.
func TestExchangeOfAReplayedCode(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	code := w.code(w.login("Demo"), nil)
	subject := w.redeem(code, nil).tokens(t).AccessToken
	a, _ := w.exchange("backend", subject, set("audience", "files")).exchanged(t)
	wantError(t, w.redeem(code, nil), http.StatusBadRequest, "invalid_grant")
	wantError(t, w.exchange("backend", subject, nil), http.StatusBadRequest, "invalid_request")
	wantError(t, w.exchange("files", a.AccessToken, nil), http.StatusBadRequest, "invalid_request")
}

func TestExchangeBound(t *testing.T) { // RFC 9449 §5
	t.Parallel()
	w := newExchangeWorld(t, nil)
	form := w.redeemForm(w.code(w.login("Demo"), nil))
	var bound exchangeAnswer
	decode(t, send(t, http.MethodPost, w.URL+"/token", form, withProofs(basic("rp", w.secret()), w.tokenProof("ES256"))), &bound)
	wantError(t, w.exchange("backend", bound.AccessToken, nil), http.StatusBadRequest, "invalid_request")
	form = url.Values{"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {bound.AccessToken}, "subject_token_type": {accessTokenType}}
	r := send(t, http.MethodPost, w.URL+"/token", form, withProofs(basic("backend", w.secret()), w.tokenProof("other")))
	var a exchangeAnswer
	decode(t, r, &a)
	if cnf := fmt.Sprint(part(t, a.AccessToken, 1)["cnf"]); a.TokenType != "DPoP" || cnf != "map[jkt:"+jktOf(t, "other")+"]" {
		t.Errorf("token_type %s, cnf %s", a.TokenType, cnf)
	}
}

// upstreamToken returns an ID token that an application got at an upstream by itself.
func (w *world) upstreamToken(op *providertest.OIDC, user string) string {
	w.t.Helper()
	params := url.Values{
		"client_id": {"mobile"}, "redirect_uri": {"com.example.mobile:/cb"}, "response_type": {"code"}, "scope": {"openid profile email"},
		"code_challenge": {challengeOf(testVerifier)}, "code_challenge_method": {"S256"}, "nonce": {"of the application"}, "state": {"s"},
		"login_hint": {user},
	}
	_, query := send(w.t, http.MethodGet, op.Issuer()+"/authorize?"+params.Encode(), nil, nil).location(w.t)
	r := send(w.t, http.MethodPost, op.Issuer()+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {query.Get("code")}, "redirect_uri": {"com.example.mobile:/cb"},
		"code_verifier": {testVerifier}, "client_id": {"mobile"},
	}, nil)
	var tokens struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(r.text), &tokens); err != nil || tokens.IDToken == "" {
		w.t.Fatalf("no ID token: status %d %s", r.StatusCode, r.text)
	}
	return tokens.IDToken
}

// exchangeForeign sends a token exchange of "backend" for a token of provider "demo".
func (w *world) exchangeForeign(subject string, edit func(url.Values)) *reply {
	w.t.Helper()
	return w.exchange("backend", subject, func(v url.Values) {
		v.Set("subject_token_type", idTokenType)
		v.Set("subject_issuer", "demo")
		if edit != nil {
			edit(v)
		}
	})
}

func TestExchangeForeign(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	who := w.login("Demo").Get(w.Origin + "/").Who()
	a, claims := w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil).exchanged(t)
	if claims["sub"] != who.ID || claims["client_id"] != "backend" || fmt.Sprint(claims["act"]) != "map[sub:backend]" || claims["sid"] != nil ||
		a.Scope != "openid email mail" || a.ExpiresIn != 300 || !strings.Contains(fmt.Sprint(claims["aud"]), w.URL) {
		t.Errorf("got %v", claims)
	}
	r := w.userinfo(a.AccessToken)
	if r.StatusCode != http.StatusOK || !strings.Contains(r.text, "alice@example.com") {
		t.Errorf("userinfo: status %d %s", r.StatusCode, r.text)
	}
	if _, claims := w.exchangeForeign(w.upstreamToken(w.op, "alice"), func(v url.Values) {
		v.Set("audience", "files")
		v.Set("scope", "email")
		v.Set("subject_token_type", jwtTokenType)
	}).exchanged(t); fmt.Sprint(claims["aud"]) != "[files]" || claims["scope"] != "email" {
		t.Errorf("got %v", claims)
	}
	w.advance(5*time.Minute + 15*time.Second)
	wantInvalidToken(t, w.userinfo(a.AccessToken))
	if grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{ClientID: "backend"}); err != nil || len(grants) != 0 {
		t.Errorf("grants are left over: %v, %v", grants, err)
	}
}

// Nobody comes into being by an exchange, and nobody is linked.
func TestExchangeForeignUnknown(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	r := w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil)
	wantError(t, r, http.StatusBadRequest, "invalid_request")
	if !strings.HasPrefix(r.answer(t).Description, "not linked") {
		t.Errorf("it does not say why: %s", r.text)
	}
	if n := w.users("alice", "alice@example.com"); n != 0 {
		t.Errorf("%d users came into being", n)
	}
	// The same e-mail address, at a provider that vouches for it, is nobody's proof either.
	w.login("Demo")
	w.exchanging(func(c *broker.Config) { c.Providers[1].AllowTokenExchange, c.Providers[1].TrustEmail = true, true })
	wantError(t, w.exchangeForeign(w.upstreamToken(w.other, "alice"), set("subject_issuer", "other")), http.StatusBadRequest, "invalid_request")
}

// Every rule that keeps somebody from logging in keeps them from an exchange (Keycloak CVE-2026-1486, CVE-2026-1609,
// CVE-2025-14559, CVE-2026-18214, #49993; Dex GHSA-7qjx-gp9h-65qj), and ends what was exchanged before.
func TestExchangeForeignSwitchedOff(t *testing.T) {
	t.Parallel()
	off := func(edit func(*broker.Config)) func(*world) { return func(w *world) { w.exchanging(edit) } }
	for _, row := range []struct {
		name   string
		off    func(*world)
		status int
		code   string
		lives  bool // a token of before
	}{
		{"user disabled", func(w *world) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) }, 400, "invalid_request", false},
		{"user deleted", func(w *world) { w.deleteUser("alice") }, 400, "invalid_request", false},
		{"link removed", func(w *world) { w.unlink("alice") }, 400, "invalid_request", false},
		{"client disabled", off(editClient("backend", func(c *store.Client) { c.Disabled = true })), 401, "invalid_client", false},
		{"client removed", off(editClient("backend", func(c *store.Client) { c.ID = "backend2" })), 401, "invalid_client", false},
		{"grant type taken away", off(editClient("backend", func(c *store.Client) {
			c.Grants, c.RedirectURIs = nil, []string{"https://backend.example/"}
		})), 400, "unauthorized_client", false},
		{"client takes another provider's word", off(editClient("backend", func(c *store.Client) { c.Providers = []string{"other"} })), 400, "invalid_request", false},
		{"provider disabled", off(func(c *broker.Config) { c.Providers[0].Disabled = true }), 400, "invalid_request", false},
		{"provider removed", off(func(c *broker.Config) { c.Providers[0].Alias = "demo2" }), 400, "invalid_request", false},
		{"provider only for links", off(func(c *broker.Config) { c.Providers[0].LinkOnly = true }), 400, "invalid_request", false},
		{"provider does not allow it", off(func(c *broker.Config) { c.Providers[0].AllowTokenExchange = false }), 400, "invalid_request", true},
		{"another provider behind the alias", off(func(c *broker.Config) { c.Providers[0].IdP = c.Providers[1].IdP }), 400, "invalid_request", true},
		{"essential claim missing", func(w *world) {
			idp := w.upstream(w.op, "demo", func(c *oidc.Config) {
				c.ExchangeAudiences, c.EssentialClaim, c.EssentialValue = []string{"mobile"}, "hd", "corp.example"
			})
			w.exchanging(func(c *broker.Config) { c.Providers[0].IdP = idp })
		}, 400, "invalid_request", true},
		{"application not among those of the provider", func(w *world) {
			idp := w.upstream(w.op, "demo", nil)
			w.exchanging(func(c *broker.Config) { c.Providers[0].IdP = idp })
		}, 400, "invalid_request", true},
		{"post-login flow asks", off(func(c *broker.Config) {
			c.PostLogin = flow.Flow{{ID: "ask", Do: steps(flow.Ask(flow.Page{Name: "error"}))}}
		}), 400, "invalid_request", true},
		{"post-login flow of the provider denies", off(func(c *broker.Config) {
			c.Providers[0].PostLogin = flow.Flow{{ID: "deny", Do: steps(flow.Deny("no"))}}
		}), 400, "invalid_request", true},
		{"post-login flow wants another provider", off(func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "leave", Do: steps(flow.Leave("other"))}} }), 400, "invalid_request", true},
		{"post-login flow proves nothing", off(func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "skip", Do: steps(flow.Skip())}} }), 400, "invalid_request", true},
		{"mapper before the look-up refuses", off(refuseAt(provider.StageLookup)), 400, "invalid_request", true},
		{"mapper of the session refuses", off(refuseAt(provider.StageSession)), 400, "invalid_request", true},
		{"mapper names somebody else", off(func(c *broker.Config) {
			c.Providers[0].Mappers = []provider.Mapper{{Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
				m.Identity.Subject = "mapped " + m.Identity.Subject
				return nil
			}}}
		}), 400, "invalid_request", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newExchangeWorld(t, nil)
			w.login("Demo")
			w.login("Other")
			a, _ := w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil).exchanged(t)
			subject := w.upstreamToken(w.op, "alice")
			row.off(w)
			wantError(t, w.exchangeForeign(subject, nil), row.status, row.code)
			if row.lives {
				if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
					t.Errorf("a token of before: status %d", r.StatusCode)
				}
				return
			}
			wantInvalidToken(t, w.userinfo(a.AccessToken))
		})
	}
}

func refuseAt(stage provider.Stage) func(*broker.Config) {
	return func(c *broker.Config) {
		c.Providers[0].Mappers = []provider.Mapper{{Stage: stage, Map: func(*provider.Mapping) error { return errors.New("refused") }}}
	}
}

// steps is a step that always ends in the same way.
func steps(r flow.Result) flow.Authenticator { return fixedStep{r} }

type fixedStep struct{ result flow.Result }

func (s fixedStep) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return s.result, nil
}

func TestExchangeForeignRefusals(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	b := w.login("Demo")
	own := w.redeem(w.code(b, nil), nil).tokens(t)
	for _, row := range []struct {
		name string
		edit func(url.Values)
		code string
	}{
		{"subject_issuer dropped", unset("subject_issuer"), "invalid_request"},
		{"subject_issuer unknown", set("subject_issuer", "nobody"), "invalid_request"},
		{"subject_issuer in capitals", set("subject_issuer", "DEMO"), "invalid_request"},
		{"subject_issuer the issuer itself", set("subject_issuer", w.op.Issuer()), "invalid_request"},
		{"subject_issuer that does not allow it", set("subject_issuer", "other"), "invalid_request"},
		{"as access token", set("subject_token_type", accessTokenType), "invalid_request"},
		{"our own ID token", set("subject_token", own.IDToken), "invalid_request"},
		{"our own access token", set("subject_token", own.AccessToken), "invalid_request"},
		{"another provider's", set("subject_token", w.upstreamToken(w.other, "carol")), "invalid_request"},
		{"an upstream's logout token", set("subject_token", w.op.LogoutToken(providertest.Logout{Client: "mobile", Subject: "alice"})), "invalid_request"},
		{"no JWT", set("subject_token", "x"), "invalid_request"},
		{"a dot", set("subject_token", "."), "invalid_request"},
		{"audience of nobody", set("audience", "bank"), "invalid_target"},
		{"scope beyond the client's", set("scope", "openid profile"), "invalid_scope"},
		{"offline access", set("scope", "offline_access"), "invalid_scope"},
		{"actor_token", set("actor_token", own.AccessToken), "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, w.exchangeForeign(w.upstreamToken(w.op, "alice"), row.edit), http.StatusBadRequest, row.code)
		})
	}
	t.Run("old", func(t *testing.T) {
		t.Parallel()
		w := newExchangeWorld(t, nil)
		w.login("Demo")
		subject, fresh := w.upstreamToken(w.op, "alice"), w.upstreamToken(w.op, "alice")
		w.advance(5 * time.Minute)
		w.exchangeForeign(fresh, nil).exchanged(t)
		w.advance(time.Minute + 2*time.Second)
		wantError(t, w.exchangeForeign(subject, nil), http.StatusBadRequest, "invalid_request")
	})
	t.Run("the provider is down", func(t *testing.T) {
		t.Parallel()
		w := newExchangeWorld(t, nil)
		w.login("Demo")
		subject := w.upstreamToken(w.op, "alice")
		idp := w.upstream(w.op, "demo", func(c *oidc.Config) { c.ExchangeAudiences = []string{"mobile"} })
		w.exchanging(func(c *broker.Config) { c.Providers[0].IdP = idp })
		w.op.Break(providertest.DiscoveryDown)
		wantError(t, w.exchangeForeign(subject, nil), http.StatusServiceUnavailable, "temporarily_unavailable")
	})
}

// A token is exchanged once, however it is written.
func TestExchangeForeignReplay(t *testing.T) { // CVE-2026-90997
	t.Parallel()
	w := newExchangeWorld(t, nil)
	w.login("Demo")
	w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil).exchanged(t) // the keys are made
	subject := w.upstreamToken(w.op, "alice")
	statuses := make(chan int, 64)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range cap(statuses) {
		token := []string{subject, otherSignature(t, subject)}[i%2]
		all.Go(func() {
			<-start
			statuses <- w.exchangeForeign(token, nil).StatusCode
		})
	}
	close(start)
	all.Wait()
	close(statuses)
	n := map[int]int{}
	for status := range statuses {
		n[status]++
	}
	if n[http.StatusOK] != 1 || n[http.StatusBadRequest] != 63 {
		t.Errorf("answers by status: %v", n)
	}
	w.advance(4 * time.Minute)
	wantError(t, w.exchangeForeign(subject, nil), http.StatusBadRequest, "invalid_request")
}

// otherSignature writes the signature of an ES256 token in the other way that is as good: (r, n-s) for (r, s).
func otherSignature(t testing.TB, raw string) string {
	t.Helper()
	cut := strings.LastIndex(raw, ".") + 1
	signature, err := base64.RawURLEncoding.DecodeString(raw[cut:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("signature of %d bytes: %v", len(signature), err)
	}
	n, ok := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	if !ok {
		t.Fatal("the order of P-256 is misspelt")
	}
	s := new(big.Int).SetBytes(signature[32:])
	n.Sub(n, s).FillBytes(signature[32:])
	return raw[:cut] + base64.RawURLEncoding.EncodeToString(signature)
}

// What a login writes about a user, an exchange does as well.
func TestExchangeForeignSyncs(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	who := w.login("Demo").Get(w.Origin + "/").Who()
	w.exchanging(func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce })
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "alice@example.com", Name: "Alice Hargreaves"})
	w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil).exchanged(t)
	u, err := w.store.User(t.Context(), who.ID)
	if err != nil || u.Name != "Alice Hargreaves" {
		t.Errorf("user is %+v, %v", u, err)
	}
	sessions, err := w.store.FindSessions(t.Context(), store.SessionQuery{UserID: who.ID})
	if err != nil || len(sessions) != 1 {
		t.Errorf("%d sessions, %v", len(sessions), err)
	}
}

// Several at once, each of which would write the same about the user.
func TestExchangeForeignAtOnce(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	w.login("Demo")
	w.exchanging(func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce })
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "alice@example.com", Name: "Alice Hargreaves"})
	w.advance(2 * time.Hour) // the link is written, too
	var all sync.WaitGroup
	for range 16 {
		subject := w.upstreamToken(w.op, "alice")
		all.Go(func() {
			if r := w.exchangeForeign(subject, nil); r.StatusCode != http.StatusOK {
				t.Errorf("status %d: %s", r.StatusCode, r.text)
			}
		})
	}
	all.Wait()
}

func TestExchangeDiscovery(t *testing.T) { // RFC 8414 §2, RFC 8628 §4
	t.Parallel()
	w := newWorld(t, nil)
	var doc struct {
		Grants []string `json:"grant_types_supported"`
		Device string   `json:"device_authorization_endpoint"`
	}
	decode(t, send(t, http.MethodGet, w.URL+"/.well-known/openid-configuration", nil, nil), &doc)
	if doc.Device != w.URL+"/device_authorization" || !slices.Contains(doc.Grants, store.GrantTypeDevice) ||
		!slices.Contains(doc.Grants, store.GrantTypeTokenExchange) {
		t.Errorf("announced %+v", doc)
	}
}
