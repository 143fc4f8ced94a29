package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/provider"
)

// RefreshForm is the request for new tokens (RFC 6749 §6), with no scope: that is all that was granted. Without a refresh token
// only the user can help.
func RefreshForm(old *provider.Tokens) (url.Values, error) {
	if old.RefreshToken == "" {
		return nil, Fail(provider.Expired, "refresh tokens: there is no refresh token")
	}
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken}}, nil
}

// Renewed fills in what an answer to a refresh request leaves as it was.
func Renewed(next, old *provider.Tokens) *provider.Tokens {
	if next.RefreshToken == "" {
		next.RefreshToken = old.RefreshToken
	}
	if next.Scope == "" {
		next.Scope = old.Scope
	}
	if next.IDToken == "" {
		next.IDToken = old.IDToken
	}
	return next
}

// Revoke has the refresh token invalidated at endpoint, with all that hangs on it, or the access token if there is none (RFC
// 7009 §2). "" for endpoint does nothing. An assertion is the one for the token endpoint, which servers know it by.
func (c *Client) Revoke(ctx context.Context, client *http.Client, endpoint, tokenURL string, t *provider.Tokens) error {
	form := url.Values{"token": {t.RefreshToken}, "token_type_hint": {"refresh_token"}}
	if t.RefreshToken == "" {
		form = url.Values{"token": {t.AccessToken}, "token_type_hint": {"access_token"}}
	}
	if endpoint == "" || form.Get("token") == "" {
		return nil
	}
	as := *c
	as.Audience = cmp.Or(c.Audience, tokenURL)
	req, err := as.TokenRequest(ctx, endpoint, form)
	if err != nil {
		return err
	}
	status, _, body, err := Do(client, req)
	if err != nil {
		return Fail(provider.Unavailable, "revoke tokens: %w", err)
	}
	if status >= 200 && status < 300 {
		return nil
	}
	var a TokenAnswer
	_ = json.Unmarshal(body, &a) // what is no JSON has no code
	return TokenError("revoke tokens", status, a.Error, "")
}
