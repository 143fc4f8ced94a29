package oidc

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// userInfo fetches what the userinfo endpoint says about the user of the ID token (OpenID Connect Core §5.3).
func (p *Provider) userInfo(ctx context.Context, up *upstream, accessToken string, id claims) (claims, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, up.userInfoURL, nil)
	if err != nil {
		return nil, fail(provider.Misconfigured, "userinfo: bad address")
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", p.userInfoMedia())
	status, contentType, body, err := p.do(req)
	switch {
	case err != nil:
		return nil, fail(provider.Unavailable, "userinfo: %w", err)
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, fail(provider.Unavailable, "userinfo: status %d", status)
	case status != http.StatusOK:
		return nil, fail(provider.Invalid, "userinfo: status %d", status)
	}
	var info claims
	switch {
	case oauth.IsMedia(contentType, "application/json") && !p.wantsJWT():
		info, err = parseClaims(body)
	case oauth.IsMedia(contentType, "application/jwt"):
		info, err = p.signedUserInfo(ctx, up, string(body), id)
	default:
		return nil, fail(provider.Invalid, "userinfo: answer is %s, want %s", oauth.Quote(contentType), p.userInfoMedia())
	}
	if err != nil {
		if _, ok := errors.AsType[*provider.Error](err); ok {
			return nil, err
		}
		return nil, fail(provider.Invalid, "userinfo: %w", err)
	}
	// §5.3.2: without this check, an access token of somebody else brings their name and address along.
	if info["sub"] != id["sub"] {
		return nil, fail(provider.Invalid, "userinfo: it is about another subject than the ID token")
	}
	return info, nil
}

// wantsJWT reports whether userinfo in plain JSON is refused.
func (p *Provider) wantsJWT() bool {
	return p.cfg.RequireSignedUserInfo || p.cfg.RequireEncryptedUserInfo
}

func (p *Provider) userInfoMedia() string {
	if p.wantsJWT() {
		return "application/jwt"
	}
	return "application/json, application/jwt"
}

// signedUserInfo verifies userinfo that is a JWT, encrypted or not: for this client, by the issuer of the ID token, and not
// too old if it says so.
func (p *Provider) signedUserInfo(ctx context.Context, up *upstream, raw string, id claims) (claims, error) {
	raw, err := p.open(raw, p.cfg.RequireEncryptedUserInfo, jwtType)
	if err != nil {
		return nil, err
	}
	if _, err := parseHeader(raw, up.algs, jwtType); err != nil {
		return nil, err
	}
	keys := &keySet{KeySet: up.keys}
	payload, err := keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, keys.explain("userinfo", err)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	audience, err := c.audience()
	if err != nil {
		return nil, err
	}
	exp, expires, err := c.time("exp")
	switch {
	case err != nil:
		return nil, err
	case c["iss"] != id["iss"]:
		return nil, errors.New("it is by another issuer than the ID token")
	case !slices.Contains(audience, p.cfg.ClientID):
		return nil, errors.New("it is for another client")
	case expires && !p.now().Before(exp.Add(p.cfg.ClockSkew)):
		return nil, errors.New("expired")
	}
	return c, checkPurpose(c)
}
