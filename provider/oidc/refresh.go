package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

const refreshing = "refresh tokens"

// RefreshTokens renews tokens (OpenID Connect Core §12). An ID token in the answer must be about the same user at the same issuer
// (§12.2), and takes the place of the old one.
func (p *Provider) RefreshTokens(ctx context.Context, old *provider.Tokens) (*provider.Tokens, error) {
	form, err := oauth.RefreshForm(old)
	if err != nil {
		return nil, err
	}
	before, err := payloadOf(old.IDToken)
	if err == nil {
		err = p.checkIssuer(before) // whose refresh token it is: nobody else is to see it
	}
	if err != nil {
		return nil, fail(provider.Expired, "refresh tokens: ID token of before: %w", err)
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	next, err := p.tokens(ctx, up, refreshing, form)
	if err != nil {
		return nil, err
	}
	if err := p.checkRenewed(ctx, up, next, before); err != nil {
		return nil, err
	}
	return oauth.Renewed(next, old), nil
}

// checkRenewed checks the ID token of a refresh response, if there is one. While the provider's keys cannot be had it is dropped:
// it was sent by the provider itself, over TLS, and the new refresh token beside it must not be lost.
func (p *Provider) checkRenewed(ctx context.Context, up *upstream, next *provider.Tokens, before claims) error {
	if next.IDToken == "" {
		return nil
	}
	c, alg, err := p.openIDToken(ctx, up, next)
	if failure, ok := errors.AsType[*provider.Error](err); ok && failure.Kind == provider.Unavailable {
		c, err = payloadOf(next.IDToken)
		next.IDToken = ""
	} else if err == nil {
		err = p.checkIDToken(c, next, alg)
	}
	if err == nil {
		err = checkSame(c, before)
	}
	if err != nil {
		return fail(provider.Invalid, "refresh tokens: %w", err)
	}
	return nil
}

// checkSame compares an ID token with the one before, as OpenID Connect Core §12.2 has it. Nonce and auth_time may be left out; what
// the one before leaves out has nothing to be compared with.
func checkSame(c, before claims) error {
	for _, name := range []string{"iss", "sub"} {
		if c[name] != before[name] {
			return errors.New("ID token: " + name + " is another than that of the login")
		}
	}
	for _, name := range []string{"nonce", "auth_time"} {
		value, there := c[name]
		if old, said := before[name]; there && said && value != old {
			return errors.New("ID token: " + name + " is another than that of the login")
		}
	}
	return nil
}

// payloadOf returns the claims of a signed JWT whose signature was verified before, or need not be.
func payloadOf(raw string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("it is not a signed JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("malformed payload")
	}
	return parseClaims(payload)
}

// RevokeTokens tells the provider that tokens are not needed any more, if it has a revocation_endpoint.
func (p *Provider) RevokeTokens(ctx context.Context, t *provider.Tokens) error {
	up, err := p.upstream(ctx)
	if err != nil {
		return err
	}
	return p.auth.Revoke(ctx, p.client(), up.revocationURL, up.tokenURL, t)
}
