package oauth2_test

import (
	"net/http"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

func TestHowTheTokenIsSent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name                  string
		edit                  func(*oauth2.Config)
		authorization, inPath string
	}{
		{"by default", func(*oauth2.Config) {}, "Bearer at-1", ""},
		{"other scheme", func(c *oauth2.Config) { c.TokenScheme = "OAuth" }, "OAuth at-1", ""},
		{"parameter", func(c *oauth2.Config) {
			c.TokenParam, c.UserInfoParams = "access_token", map[string]string{"site": "x"}
		}, "", "at-1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			if _, err := login(t, s.provider(t, row.edit), nil); err != nil {
				t.Fatal(err)
			}
			r := s.request("/userinfo")
			if got := r.Header.Get("Authorization"); got != row.authorization {
				t.Errorf("Authorization %q, want %q", got, row.authorization)
			}
			if got := r.URL.Query().Get("access_token"); got != row.inPath {
				t.Errorf("access_token %q, want %q", got, row.inPath)
			}
		})
	}
}

// A redirect would tell the token to somebody else, by the header Referer.
func TestTokenParamIsNotRedirected(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*http.Client{
		"own":   nil,
		"given": {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.userinfo.status = http.StatusFound
			_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.TokenParam, c.HTTPClient = "access_token", client }), nil)
			kind(t, name, err, provider.Unavailable)
			if s.request("/stolen") != nil {
				t.Error("the redirect was followed")
			}
		})
	}
}

// A server that needs "openid" to say who it is.
func TestIgnoreIDToken(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.token.body = `{"access_token":"at-1","token_type":"Bearer","id_token":"e30.e30.forged"}`
	id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Scopes, c.IgnoreIDToken = []string{"openid"}, true }), nil)
	if err != nil || id.Subject != "u1" || id.Tokens.IDToken != "" {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestOddTokenAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer answer
		scope  string
		want   provider.Kind // of the error; -1 is none
	}{
		{"list of scopes", answer{body: `{"access_token":"at-1","token_type":"bearer","scope":["openid","user:read:email"]}`}, "openid user:read:email", -1},
		{"empty list", answer{body: `{"access_token":"at-1","token_type":"bearer","scope":[]}`}, "", -1},
		{"no scope", answer{body: `{"access_token":"at-1","token_type":"bearer","scope":null}`}, "", -1},
		{"scope that is none", answer{body: `{"access_token":"at-1","token_type":"bearer","scope":{"a":1}}`}, "", -1},
		{"error as an object", answer{status: 400, body: `{"error":{"message":"at-1","code":100}}`}, "", provider.Misconfigured},
		{"error as an object, status 200", answer{body: `{"error":{"message":"at-1","code":100}}`}, "", provider.Invalid},
		{"GitHub's used code", answer{body: `{"error":"bad_verification_code"}`}, "", provider.Expired},
		{"Slack's used code", answer{body: `{"ok":false,"error":"code_already_used"}`}, "", provider.Expired},
		{"Slack's wrong code", answer{body: `{"ok":false,"error":"invalid_code"}`}, "", provider.Expired},
		{"GitHub's wrong secret", answer{body: `{"error":"incorrect_client_credentials"}`}, "", provider.Misconfigured},
		{"Twitch's wrong secret", answer{status: 403, body: `{"status":403,"message":"invalid client secret"}`}, "", provider.Misconfigured},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.token = row.answer
			s.token.body += " "
			id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.AssumeBearer = true }), nil)
			if row.want >= 0 {
				kind(t, row.name, err, row.want)
				return
			}
			if err != nil || id.Tokens.Scope != row.scope {
				t.Errorf("%+v, %v, want scope %q", id, err, row.scope)
			}
		})
	}
}
