package oidc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

// maxExchangeAge is how old an ID token may be that somebody brings along. Younger is not asked for, as the application
// has to get it first, from a device that may be slow.
const maxExchangeAge = 5 * time.Minute

// VerifyToken verifies an ID token that an application got from the provider, and returns who it is about. All checks of
// a login are made but those of what a login has and this has not: nonce, code and access token. Instead the token must
// be for this client or for one of Config.ExchangeAudiences, and at most five minutes old. Userinfo is not asked, as there
// is no token for it: what Config.EssentialClaim names has to be in the ID token.
func (p *Provider) VerifyToken(ctx context.Context, raw string) (*provider.Identity, error) {
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	if raw, err = p.open(raw, false, jwtType); err != nil {
		return nil, fail(provider.Invalid, "exchanged token: %w", err)
	}
	if _, err := parseHeader(raw, up.algs, jwtType); err != nil {
		return nil, fail(provider.Invalid, "exchanged token: %w", err)
	}
	keys := &keySet{KeySet: up.keys}
	payload, err := keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, keys.explain("exchanged token", err)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, fail(provider.Invalid, "exchanged token: %w", err)
	}
	for _, err := range []error{
		p.checkIssuer(c),
		p.checkExchangeAudience(c),
		checkPurpose(c),
		checkNoAccess(c),
		p.checkTimes(c),
		p.checkFresh(c),
		checkSubject(c),
		p.checkAuthTime(c, &login{Begun: p.now().Unix(), MaxAge: p.maxAge(nil)}),
	} {
		if err != nil {
			return nil, fail(provider.Invalid, "exchanged token: %w", err)
		}
	}
	if err := p.checkEssential(c); err != nil {
		return nil, err
	}
	id := c.identity(p.cfg.GroupsClaim, nil)
	id.FormerSubject = p.formerSubject(c)
	return id, nil
}

// checkExchangeAudience is the check of a login, but for one more client that may have asked for the token. Whoever asked
// for it has to be one of them, too.
func (p *Provider) checkExchangeAudience(c claims) error {
	audience, err := c.audience()
	if err != nil {
		return err
	}
	accepted := func(client string) bool {
		return client == p.cfg.ClientID || slices.Contains(p.cfg.ExchangeAudiences, client)
	}
	if !slices.ContainsFunc(audience, accepted) {
		return errors.New("audience is neither this client nor one of ExchangeAudiences")
	}
	switch azp, there := c["azp"]; {
	case there:
		if client, ok := azp.(string); !ok || !accepted(client) {
			return errors.New("azp is neither this client nor one of ExchangeAudiences")
		}
	case len(audience) > 1:
		return errors.New("several audiences and no azp")
	}
	return nil
}

// checkNoAccess refuses what providers issue as access tokens with the same key and, sometimes, the same audience: an API
// that was sent one could sign in as its user. Only at the token endpoint is it sure what is what.
func checkNoAccess(c claims) error {
	for _, name := range []string{"scope", "scp"} {
		if _, there := c[name]; there {
			return errors.New("it is an access token: it has a scope")
		}
	}
	if typ, there := c["typ"]; there && typ != "ID" { // Keycloak's way to tell its tokens apart
		return errors.New("it is no ID token: its claim typ says so")
	}
	return nil
}

func (p *Provider) checkFresh(c claims) error {
	iat, there, err := c.time("iat")
	if err != nil || !there {
		return orMissing(err, "iat")
	}
	if iat.Before(p.now().Add(-maxExchangeAge - p.cfg.ClockSkew)) {
		return errors.New("issued too long ago to be exchanged")
	}
	return nil
}
