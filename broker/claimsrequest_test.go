package broker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// personal are the claims about the user in m.
func personal(m map[string]any) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch name {
		case "name", "given_name", "family_name", "preferred_username", "picture", "locale", "updated_at", "email", "email_verified":
			list = append(list, name)
		}
	}
	return list
}

// claimed returns what the ID token and userinfo say about the user after a request with these claims and scope.
func (w *world) claimed(t *testing.T, b *brokertest.Browser, scope, claims string) (idToken, userInfo []string) {
	t.Helper()
	tokens := w.redeem(w.code(b, func(v url.Values) { v.Set("scope", scope); v.Set("claims", claims) }), nil).tokens(t)
	var info map[string]any
	if err := json.Unmarshal([]byte(w.userinfo(tokens.AccessToken).text), &info); err != nil {
		t.Fatal(err)
	}
	return personal(part(t, tokens.IDToken, 1)), personal(info)
}

func TestClaimsRequest(t *testing.T) { // OpenID Connect Core §5.5
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	w.editUser("alice", func(u *store.User) {
		u.FirstName, u.LastName, u.Picture, u.Locale = "Alice", "Liddell", "https://pictures.example/a.png", "en"
	})
	for _, row := range []struct {
		scope, claims     string
		idToken, userInfo []string
	}{
		{"openid", `{"userinfo":{"email":null}}`, nil, []string{"email"}},
		{"openid", `{"id_token":{"email":{"essential":true},"name":{}}}`, []string{"email", "name"}, nil},
		{"openid", `{"userinfo":{"email_verified":{"essential":true}},"id_token":{"given_name":null}}`, []string{"given_name"}, []string{"email_verified"}},
		{"openid email", `{"userinfo":{"picture":null}}`, []string{"email", "email_verified"}, []string{"email", "email_verified", "picture"}},
		{"openid", `{"userinfo":{"shoe_size":{"essential":true},"http://claims.example/x":null}}`, nil, nil},
		{"openid", `{"id_token":{"auth_time":{"essential":true},"iss":{"value":"https://evil.example"},"aud":null}}`, nil, nil},
		{"openid", `{"verified":{"email":null}}`, nil, nil},
		{"openid", `{}`, nil, nil},
		{"openid", `{"userinfo":null,"id_token":null}`, nil, nil},
	} {
		idToken, userInfo := w.claimed(t, b, row.scope, row.claims)
		if !slices.Equal(idToken, row.idToken) || !slices.Equal(userInfo, row.userInfo) {
			t.Errorf("scope %q, claims %s: %v and %v, want %v and %v", row.scope, row.claims, idToken, userInfo, row.idToken, row.userInfo)
		}
	}
	for _, name := range []string{"name", "given_name", "family_name", "preferred_username", "picture", "locale", "updated_at", "email", "email_verified"} {
		want := []string{name}
		if got, _ := w.claimed(t, b, "openid", fmt.Sprintf(`{"id_token":{%q:null}}`, name)); !slices.Equal(got, want) {
			t.Errorf("%s in the ID token: %v", name, got)
		}
		if _, got := w.claimed(t, b, "openid", fmt.Sprintf(`{"userinfo":{%q:null}}`, name)); !slices.Equal(got, want) {
			t.Errorf("%s in userinfo: %v", name, got)
		}
	}
}

func TestClaimsRequestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	for _, claims := range []string{
		`x`, `[]`, `"x"`, `1`, `{"userinfo":[]}`, `{"userinfo":{"email":true}}`, `{"id_token":{"email":"x"}}`, `{"id_token":{}} {}`, `{"id_token":`,
		`{"id_token":{"acr":{"essential":true,"values":[1]}}}`, `{"id_token":{"sub":{"value":7}}}`, `{"id_token":{"sub":{"value":""}}}`,
		`{"id_token":{"email":{"essential":"yes"}}}`, `{"x":"` + strings.Repeat("x", 5000) + `"}`,
	} {
		params := w.authParams()
		params.Set("claims", claims)
		wantRefused(t, w, w.authorize(params, b), "invalid_request")
	}
}

func TestClaimsRequestNeedsScope(t *testing.T) { // a claim is no way around the scopes that the client may have
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid", "profile"} })
	idToken, userInfo := w.claimed(t, w.login("Demo"), "openid", `{"userinfo":{"email":{"essential":true},"name":null},"id_token":{"email":null}}`)
	if len(idToken) != 0 || !slices.Equal(userInfo, []string{"name"}) {
		t.Errorf("%v and %v", idToken, userInfo)
	}
}

func TestClaimsRequestConsent(t *testing.T) { // OpenID Connect Core §5.5: nor around the user's consent
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Consent = true })
	b := w.login("Demo")
	params := w.authParams()
	params.Set("scope", "openid")
	w.answered(b.Get(w.URL + "/authorize?" + params.Encode()).Submit(allow))
	params.Set("claims", `{"userinfo":{"email":null}}`)
	page := b.Get(w.URL + "/authorize?" + params.Encode())
	shows(t, page, http.StatusOK, "Allow Test App", "see your e-mail address")
	if w.answered(page.Submit(allow)).Get("code") == "" {
		t.Error("no code")
	}
}

func testClaimsRequestSubject(t *testing.T) { // OpenID Connect Core §3.1.2.2 and §5.5.1
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	ask := func(sub, prompt string) url.Values {
		params := w.authParams()
		params.Set("claims", fmt.Sprintf(`{"id_token":{"sub":{"value":%q}}}`, sub))
		params.Set("prompt", prompt)
		return params
	}
	if _, query := w.authorize(ask(who.ID, "none"), b).location(t); query.Get("code") == "" {
		t.Errorf("the user who is signed in: %v", query)
	}
	wantRefused(t, w, w.authorize(ask("somebody else", "none"), b), "login_required")
	page := b.Get(w.URL + "/authorize?" + ask("somebody else", "").Encode())
	shows(t, page, http.StatusOK, "Continue with Demo")
	if got := w.answered(page.Click("Continue with Demo")); got.Get("error") != "login_required" || got.Has("code") {
		t.Errorf("another user signed in: %v", got)
	}
	values := w.authParams()
	values.Set("claims", fmt.Sprintf(`{"id_token":{"sub":{"values":["x",%q]}}}`, who.ID))
	if _, query := w.authorize(values, b).location(t); query.Get("code") == "" {
		t.Errorf("one of two users: %v", query)
	}
}

func TestClaimsRequestACR(t *testing.T) { // OpenID Connect Core §5.5.1.1
	t.Parallel()
	w := newWorld(t, nil)
	w.op.Edit(providertest.Hooks{IDToken: func(_, claims map[string]any) { claims["acr"] = "gold" }})
	b := w.login("Demo")
	ask := func(acr, prompt string) url.Values {
		params := w.authParams()
		params.Set("claims", `{"id_token":{"acr":`+acr+`}}`)
		params.Set("prompt", prompt)
		return params
	}
	for _, met := range []string{
		`{"essential":true,"values":["silver","gold"]}`, `{"essential":true,"value":"gold"}`, `{"essential":true}`, `null`, `{"values":["platinum"]}`,
	} {
		r := w.authorize(ask(met, "none"), b)
		if _, query := r.location(t); query.Get("code") == "" {
			t.Errorf("acr %s: %v", met, query)
		}
	}
	unmet := `{"essential":true,"values":["platinum"]}`
	wantRefused(t, w, w.authorize(ask(unmet, "none"), b), "login_required")
	page := b.Get(w.URL + "/authorize?" + ask(unmet, "").Encode())
	shows(t, page, http.StatusOK, "Continue with Demo")
	last := page.Click("Continue with Demo")
	if got := went(t, last, w.op.Issuer()).Query().Get("acr_values"); got != "platinum" {
		t.Errorf("upstream was asked for %q", got)
	}
	if got := w.answered(last); got.Get("error") != "unmet_authentication_requirements" || got.Has("code") {
		t.Errorf("answer %v", got)
	}
}

func TestUserInfoSigned(t *testing.T) { // OpenID Connect Core §5.3.2
	t.Parallel()
	for _, alg := range []string{token.RS256, token.ES256, token.PS256, token.EdDSA} {
		w := newWorld(t, func(c *broker.Config) { c.Clients[0].UserInfoAlg = alg })
		b := w.login("Demo")
		r := w.userinfo(w.redeem(w.code(b, nil), nil).tokens(t).AccessToken)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/jwt" || r.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: status %d, headers %v", alg, r.StatusCode, r.Header)
		}
		keys := &token.Remote{URL: w.URL + "/jwks"}
		head, claims := part(t, r.text, 0), part(t, r.text, 1)
		if head["alg"] != alg || claims["iss"] != w.URL || claims["aud"] != "rp" || claims["sub"] == "" || claims["email"] == nil {
			t.Errorf("%s: %v %v", alg, head, claims)
		}
		// It is no ID token, whoever is shown it as one.
		parser := token.Parser{Type: token.IDToken, Issuer: w.URL, Audience: "rp", Keys: keys, SkipExpiry: true}
		if _, err := parser.Parse(t.Context(), r.text); err == nil || !strings.Contains(err.Error(), "expiry") {
			t.Errorf("%s: as an ID token: %v", alg, err)
		}
		params := w.authParams()
		params.Set("id_token_hint", r.text)
		params.Set("prompt", "none")
		wantRefused(t, w, w.authorize(params, b), "login_required")
	}
	w := newWorld(t, nil)
	if _, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].UserInfoAlg = "none" })); err == nil {
		t.Error("UserInfoAlg none is accepted")
	}
}
