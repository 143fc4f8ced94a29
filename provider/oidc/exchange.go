package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// exchange gets the tokens for a code.
func (p *Provider) exchange(ctx context.Context, up *upstream, code string, l *login) (*provider.Tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.RedirectURI}}
	if l.Verifier != "" {
		form.Set("code_verifier", l.Verifier)
	}
	t, err := p.tokens(ctx, up, "redeem code", form)
	if err == nil && t.IDToken == "" {
		return nil, fail(provider.Invalid, "redeem code: no ID token; is %q an OpenID Provider?", p.cfg.Issuer)
	}
	return t, err
}

// tokens asks the token endpoint. No error of it repeats what the endpoint sent but an error code, since providers are known to
// repeat code and secret in theirs.
func (p *Provider) tokens(ctx context.Context, up *upstream, what string, form url.Values) (*provider.Tokens, error) {
	req, err := p.auth.TokenRequest(ctx, up.tokenURL, form)
	if err != nil {
		return nil, err
	}
	asked := p.now()
	status, contentType, body, err := p.do(req)
	if err != nil {
		return nil, fail(provider.Unavailable, "%s: %w", what, err)
	}
	var a oauth.TokenAnswer
	unreadable := json.Unmarshal(body, &a) != nil
	if status != http.StatusOK || (!unreadable && a.Error != "") {
		return nil, p.tokenError(up, what, status, &a)
	}
	switch {
	case !oauth.IsMedia(contentType, "application/json"):
		return nil, fail(provider.Invalid, "%s: answer is %s, want application/json", what, oauth.Quote(contentType))
	case unreadable:
		return nil, fail(provider.Invalid, "%s: answer is not the JSON of a token response", what)
	case !strings.EqualFold(a.TokenType, "Bearer"):
		return nil, fail(provider.Invalid, "%s: token type is %s, want Bearer", what, oauth.Quote(a.TokenType))
	case a.AccessToken == "":
		return nil, fail(provider.Invalid, "%s: no access token", what)
	}
	return &provider.Tokens{
		AccessToken:  a.AccessToken,
		TokenType:    "Bearer",
		RefreshToken: a.RefreshToken,
		IDToken:      a.IDToken,
		Scope:        a.Scope,
		Expiry:       oauth.Expiry(asked, a.ExpiresIn),
	}, nil
}

// tokenError says what an error of the token endpoint means.
func (p *Provider) tokenError(up *upstream, what string, status int, a *oauth.TokenAnswer) error {
	hint := ""
	if up.authMethods != nil {
		hint = fmt.Sprintf("this client uses %s, the provider says that it takes %s",
			p.cfg.AuthMethod, oauth.Quote(strings.Join(up.authMethods, " ")))
	}
	if what == refreshing {
		return oauth.RefreshError(status, a, hint)
	}
	return oauth.TokenError(what, status, a.Error, hint)
}
