package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

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

// RefreshError is [TokenError] for a request for new tokens. Not all say by a code of RFC 6749 §5.2 that the refresh token is spent: some
// say it in words only, or by the code of something else. Where nobody can tell what a refusal means the kind is Denied: a gateway
// that is out of order refuses in the same way.
func RefreshError(status int, a *TokenAnswer, hint string) error {
	err := TokenError("refresh tokens", status, a.Error, hint)
	_, known := KindOf(a.Error)
	if status != http.StatusBadRequest && status != http.StatusUnauthorized || known && a.Error != "invalid_request" {
		return err
	}
	switch {
	case a.spent():
		err.Kind = provider.Expired
	case !known:
		err.Kind = provider.Denied
	}
	return err
}

// spent reports whether an error says in words that the refresh token is no longer good.
func (a *TokenAnswer) spent() bool {
	return slices.ContainsFunc(a.words, func(s string) bool {
		s = strings.ReplaceAll(strings.ToLower(s), "_", " ")
		ended := slices.ContainsFunc([]string{"invalid", "expired", "revoked", "unknown", "bad", "not found"}, func(word string) bool {
			return strings.Contains(s, word)
		})
		return ended && strings.Contains(s, "refresh token") || s == "value passed for the token was invalid." // the latter is X's
	})
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
