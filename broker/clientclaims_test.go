package broker_test

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// told are claims from everywhere that there is.
func told(c *broker.Config) {
	c.Providers[0].Mappers = []provider.Mapper{
		{Name: "user", Map: func(m *provider.Mapping) error {
			m.Profile.Attributes["dept"] = []string{"R&D", "Sales"}
			m.Profile.Roles, m.Profile.Groups = []string{"admin"}, []string{"staff"}
			return nil
		}},
		{Name: "session", Stage: provider.StageSession, Map: func(m *provider.Mapping) error {
			m.Profile.Notes["tenant"] = "acme"
			return nil
		}},
	}
	c.Clients[0].Scopes = []string{"openid", "profile", "email", "work", "roles"}
	c.Clients[0].Claims = []store.ClientClaim{
		{Name: "department", From: "attribute:dept"},
		{Name: "departments", From: "attribute:dept", List: true, Scope: "work", In: []string{store.ClaimInAccessToken}},
		{Name: "https://app.example/tenant", From: "note:tenant", In: []string{store.ClaimInIDToken}},
		{Name: "teams", From: "groups", In: []string{store.ClaimInUserInfo, store.ClaimInAccessToken}},
		{Name: "nothing", From: "attribute:nothing"},
	}
}

// Each client is told what it is configured to be, where it is, and by the scope that it is; nobody else is.
func TestClientClaims(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"", "ES256"} {
		w := newWorld(t, also(told, func(c *broker.Config) { c.Clients[0].UserInfoAlg = alg }))
		b := w.login("Demo")
		for scope, want := range map[string]map[string]map[string]any{
			"openid": {
				"id":       {"department": "R&D", "https://app.example/tenant": "acme"},
				"access":   {"teams": []any{"staff"}},
				"userinfo": {"department": "R&D", "teams": []any{"staff"}},
			},
			"openid work roles": {
				"id":       {"department": "R&D", "https://app.example/tenant": "acme"},
				"access":   {"departments": []any{"R&D", "Sales"}, "teams": []any{"staff"}, "roles": []any{"admin"}},
				"userinfo": {"department": "R&D", "teams": []any{"staff"}},
			},
		} {
			tokens := w.redeem(w.code(b, func(v url.Values) { v.Set("scope", scope) }), nil).tokens(t)
			info := w.saidOf(t, tokens.AccessToken)
			for place, got := range map[string]map[string]any{
				"id": part(t, tokens.IDToken, 1), "access": part(t, tokens.AccessToken, 1), "userinfo": info,
			} {
				for _, name := range []string{"department", "departments", "https://app.example/tenant", "teams", "nothing", "roles", "groups"} {
					if !reflect.DeepEqual(got[name], want[place][name]) {
						t.Errorf("%s: the %s says %s %v, want %v", scope, place, name, got[name], want[place][name])
					}
				}
				if got["sub"] == "" || got["sub"] == nil {
					t.Errorf("%s: the %s has lost its sub: %v", scope, place, got)
				}
			}
		}
	}
}

// A claim that the broker writes is nobody else's (advisories: custom claims overwrite reserved ones), in a configuration and
// in the store alike.
func TestClientClaimsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, claim := range []store.ClientClaim{
		{Name: "sub", From: "attribute:x"}, {Name: "iss", From: "attribute:x"}, {Name: "aud", From: "attribute:x"}, {Name: "exp", From: "note:x"},
		{Name: "acr", From: "attribute:x"}, {Name: "sid", From: "note:x"}, {Name: "email", From: "attribute:x"}, {Name: "email_verified", From: "attribute:x"},
		{Name: "cnf", From: "attribute:x"}, {Name: "act", From: "attribute:x"}, {Name: "client_id", From: "attribute:x"}, {Name: "scope", From: "attribute:x"},
		{Name: "roles", From: "attribute:roles"}, {Name: "groups", From: "roles"}, {Name: "identity_provider", From: "attribute:x"},
		{Name: "", From: "roles"}, {Name: "a b", From: "roles"}, {Name: "a\"b", From: "roles"}, {Name: strings.Repeat("x", 129), From: "roles"},
		{Name: "x", From: ""}, {Name: "x", From: "attribute:"}, {Name: "x", From: "email"}, {Name: "x", From: "secret:x"},
		{Name: "x", From: "roles", In: []string{"logout_token"}}, {Name: "x", From: "roles", Scope: "not-mine"},
	} {
		_, err := broker.New(w.config(func(c *broker.Config) {
			c.Clients[0].Scopes, c.Clients[0].Claims = []string{"openid"}, []store.ClientClaim{claim}
		}))
		if err == nil || !strings.Contains(err.Error(), "Claims") {
			t.Errorf("%+v: got %v", claim, err)
		}
	}
	twice := []store.ClientClaim{{Name: "x", From: "roles"}, {Name: "x", From: "groups", In: []string{store.ClaimInUserInfo}}}
	if _, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].Claims = twice })); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one name twice: got %v", err)
	}
}

// saidOf returns what the userinfo endpoint says, signed or not.
func (w *world) saidOf(t *testing.T, accessToken string) map[string]any {
	t.Helper()
	r := w.userinfo(accessToken)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/jwt") {
		return part(t, r.text, 1)
	}
	var info map[string]any
	if err := json.Unmarshal([]byte(r.text), &info); err != nil {
		t.Fatalf("userinfo: status %d: %v\n%s", r.StatusCode, err, r.text)
	}
	return info
}
