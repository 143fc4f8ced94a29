package oauth2_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

func TestRefreshTokens(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answer answer
		old    func(*provider.Tokens)
		want   provider.Tokens
		kind   provider.Kind // of the error, where there is nothing that is wanted
	}{
		"everything anew": {
			answer: answer{body: `{"access_token":"at-2","token_type":"bearer","refresh_token":"rt-2","scope":"less"}`},
			want:   provider.Tokens{AccessToken: "at-2", TokenType: "Bearer", RefreshToken: "rt-2", Scope: "less"},
		},
		"what is not sent stays": {
			answer: answer{body: `{"access_token":"at-2","token_type":"bearer"}`},
			want:   provider.Tokens{AccessToken: "at-2", TokenType: "Bearer", RefreshToken: "rt-1", Scope: "user"},
		},
		"no refresh token": {old: func(t *provider.Tokens) { t.RefreshToken = "" }, kind: provider.Expired},
		"a spent one": {
			answer: answer{status: 400, body: `{"error":"invalid_grant","error_description":"rt-1 of a secret was used"}`}, kind: provider.Expired,
		},
		"a spent one of GitHub's": {answer: answer{body: `{"error":"bad_refresh_token","error_description":"rt-1 is spent"}`}, kind: provider.Expired},
		"a spent one of Slack's":  {answer: answer{body: `{"ok":false,"error":"invalid_refresh_token"}`}, kind: provider.Expired},
		"a spent one of Twitch's": {
			answer: answer{status: 400, body: `{"error":"Bad Request","status":400,"message":"Invalid refresh token"}`}, kind: provider.Expired,
		},
		"a spent one of Twitch's, as its documentation has it": {
			answer: answer{status: 401, body: `{"error":"Unauthorized","status":401,"message":"Invalid refresh token"}`}, kind: provider.Expired,
		},
		"a spent one of X's": {
			answer: answer{status: 400, body: `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}`}, kind: provider.Expired,
		},
		"a spent one of HubSpot's": {
			answer: answer{status: 400, body: `{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}`}, kind: provider.Expired,
		},
		"invalid request": {answer: answer{status: 400, body: `{"error":"invalid_request"}`}, kind: provider.Misconfigured},
		"client's error that speaks of the token": {
			answer: answer{status: 401, body: `{"error":"invalid_client","error_description":"invalid refresh token"}`}, kind: provider.Misconfigured,
		},
		"out of order, in such words": {answer: answer{status: 503, body: `{"message":"Invalid refresh token"}`}, kind: provider.Unavailable},
		"too many, in such words":     {answer: answer{status: 429, body: `{"message":"Invalid refresh token"}`}, kind: provider.Unavailable},
		"a gateway that refuses":      {answer: answer{status: 401, body: `{"message":"Unauthorized"}`}, kind: provider.Denied},
		"a gateway that forbids":      {answer: answer{status: 403, body: `{"message":"invalid client secret"}`}, kind: provider.Misconfigured},
		"a gateway's page":            {answer: answer{status: 401, contentType: "text/html", body: `<h1>Invalid refresh token</h1>`}, kind: provider.Denied},
		"no words":                    {answer: answer{status: 400, body: `{"message":{"a":1},"error_description":["x"]}`}, kind: provider.Denied},
		"no access token":             {answer: answer{body: `{"token_type":"bearer"}`}, kind: provider.Invalid},
		"a page":                      {answer: answer{contentType: "text/html", body: `rt-1`}, kind: provider.Invalid},
		"a redirect":                  {answer: answer{status: 307}, kind: provider.Unavailable},
		"out of order":                {answer: answer{status: 503, body: `{"error":"invalid_grant"}`}, kind: provider.Unavailable},
		"client is refused":           {answer: answer{status: 401, body: `{"error":"invalid_client"}`}, kind: provider.Misconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := s.provider(t, func(c *oauth2.Config) { c.TokenParams = map[string]string{"audience": "api"} })
			identity, err := login(t, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			old := *identity.Tokens
			if row.old != nil {
				row.old(&old)
			}
			s.token = row.answer
			before := old
			got, err := p.RefreshTokens(t.Context(), &old)
			if old != before {
				t.Error("what was to be renewed was changed")
			}
			if row.want != (provider.Tokens{}) {
				if err != nil || *got != row.want {
					t.Errorf("RefreshTokens: %#v, %v, want %#v", got, err, row.want)
				}
				form := s.request("/token").PostForm
				if form.Get("refresh_token") != "rt-1" || form.Get("grant_type") != "refresh_token" || form.Get("audience") != "api" || len(form) != 3 {
					t.Errorf("request %v", form)
				}
				return
			}
			failure, ok := errors.AsType[*provider.Error](err)
			if !ok || failure.Kind != row.kind {
				t.Fatalf("RefreshTokens: %v, want %v", err, row.kind)
			}
			for _, secret := range []string{"rt-1", "a secret", "at-1"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q shows %q", err, secret)
				}
			}
		})
	}
}

func TestRevokeTokens(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	tokens := &provider.Tokens{AccessToken: "at-1", RefreshToken: "rt-1"}
	if err := s.provider(t, nil).RevokeTokens(t.Context(), tokens); err != nil || s.request("/revoke") != nil {
		t.Errorf("without an endpoint: %v", err)
	}
	p := s.provider(t, func(c *oauth2.Config) { c.Endpoints.Revocation = s.url + "/revoke" })
	if err := p.RevokeTokens(t.Context(), tokens); err != nil {
		t.Error(err)
	}
	r := s.request("/revoke")
	if id, secret, ok := r.BasicAuth(); r.Method != http.MethodPost || r.PostForm.Get("token") != "rt-1" || !ok || id != "client" || secret == "" {
		t.Errorf("request %s %v", r.Method, r.PostForm)
	}
	cfg := s.config()
	cfg.InsecureAllowHTTP, cfg.Endpoints.Revocation = false, "http://127.0.0.1/revoke"
	if _, err := oauth2.New(cfg); err == nil || !strings.Contains(err.Error(), "Endpoints.Revocation") {
		t.Errorf("http for a revocation endpoint: %v", err)
	}
}
