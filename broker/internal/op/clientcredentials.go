package op

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// clientCredentials gives a client a token for itself (RFC 6749 §4.4): no user, no session, no refresh token, and no grant
// that the store would have to keep. Its "sub" is its "client_id", as no user's token has it (RFC 9700 §4.15), and it is
// not for our userinfo endpoint.
func (p *Provider) clientCredentials(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	scope, err := narrowScope(req.client, clientScopes(req.client), req.form.Get("scope"))
	if err != nil {
		return nil, err
	}
	audience, err := p.clientTargets(req)
	if err != nil {
		return nil, err
	}
	ring, err := p.Keys.Ring(ctx)
	if err != nil {
		return nil, err
	}
	now := p.Now()
	claims := accessClaims{
		Issuer:   p.issuer(),
		Subject:  req.client.ID,
		Audience: audience,
		Expires:  now.Add(cmp.Or(req.client.AccessTokenLifetime, defaultLifetime)).Unix(),
		IssuedAt: now.Unix(),
		ID:       rand.Text(), // without a dot: see grantOfToken
		ClientID: req.client.ID,
		Scope:    strings.Join(scope, " "),
	}
	answer := &tokenResponse{ExpiresIn: claims.Expires - claims.IssuedAt, Scope: claims.Scope}
	answer.AccessToken, answer.TokenType, err = p.signAccess(ctx, ring, req.client, claims, now)
	return answer, err
}

// clientTargets returns the APIs that the token is to be for. There has to be one, and our own is none.
func (p *Provider) clientTargets(req *tokenRequest) ([]string, error) {
	apis := slices.DeleteFunc(slices.Clone(req.client.Audience), func(api string) bool { return api == p.issuer() })
	if len(apis) == 0 {
		return nil, errTarget
	}
	return p.targets(req.client, apis, req.form["resource"])
}

// clientScopes are those of the client that mean something without a user. It gets them all if it names none.
func clientScopes(c *store.Client) []string {
	return slices.DeleteFunc(slices.Clone(scopesOf(c)), func(s string) bool { return slices.Contains(userScopes, s) })
}
