package op

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// errToken says that an access token is not, or no longer, good.
var errToken = errors.New("op: invalid access token")

const (
	// revokedPurpose marks tokens that were revoked by themselves: they hang on no grant, or on one that is not only theirs.
	revokedPurpose = "revoked"
	revokedLeeway  = time.Minute // longer than any Parser takes a token for valid after its expiry
)

// An issuedToken is an access token that was issued here, and that nothing it hangs on has ended.
type issuedToken struct {
	*token.Claims `json:"-"`
	ClientID      string `json:"client_id"`
	Scope         string `json:"scope"`
	Actor         *actor `json:"act"` // nil unless it was exchanged

	// Whose it is, and by which grant; nil if the client acts for itself.
	active *session.Active
	grant  *store.Grant
}

// readAccess returns an access token that is for audience, "" for any. What is wrong with it is an errToken; any other
// error means that it could not be checked.
func (p *Provider) readAccess(ctx context.Context, raw, audience string) (*issuedToken, error) {
	t, err := p.parseAccess(ctx, raw, audience)
	if err != nil {
		return nil, err
	}
	if grantOfToken(t.ID) == "" {
		_, err = p.clientAlive(ctx, t, store.GrantTypeCredentials)
	} else {
		err = p.userTokenAlive(ctx, t)
	}
	if errors.Is(err, errDead) {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// parseAccess checks a token by itself.
func (p *Provider) parseAccess(ctx context.Context, raw, audience string) (*issuedToken, error) {
	parser := token.Parser{
		Type: token.AccessToken, Issuer: p.issuer(), Audience: audience, SkipAudience: audience == "", Keys: p.Keys, Now: p.Now,
	}
	claims, err := parser.Parse(ctx, raw)
	if errors.Is(err, token.ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	if err != nil {
		return nil, err
	}
	t := &issuedToken{Claims: claims}
	if err := t.Decode(t); err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	return t, nil
}

// userTokenAlive sets whose token it is, and by which grant. An exchanged token hangs on the grant of the first one, and on
// the client that has it now.
func (p *Provider) userTokenAlive(ctx context.Context, t *issuedToken) (err error) {
	t.grant, err = p.Store.Grant(ctx, grantOfToken(t.ID))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: it is gone", errDead)
	}
	if err != nil {
		return err
	}
	if !t.grant.CodeUsed || t.grant.UserID != t.Subject {
		return fmt.Errorf("%w: it is not what the token was issued for", errDead)
	}
	if t.Actor != nil {
		client, err := p.clientAlive(ctx, t, store.GrantTypeTokenExchange)
		if err == nil {
			err = p.Gate.Allows(client, t.grant.Upstream.Provider)
		}
		if err != nil {
			return dead(err)
		}
	}
	t.active, err = p.grantAlive(ctx, t.grant)
	return err
}

// clientAlive returns the client of a token if it may still have tokens by this grant type, and this one was not revoked by
// itself.
func (p *Provider) clientAlive(ctx context.Context, t *issuedToken, grantType string) (*store.Client, error) {
	client, err := p.Gate.Client(ctx, t.ClientID)
	if err == nil {
		err = p.Gate.Grant(client, grantType)
	}
	if err != nil {
		return nil, dead(err)
	}
	return client, p.notRevoked(ctx, t.ID)
}

// notRevoked returns an errDead if the token with this jti, or one that it was exchanged for, was revoked by itself.
func (p *Provider) notRevoked(ctx context.Context, jti string) error {
	for {
		_, err := p.Store.Get(ctx, revokedPurpose, jti)
		if err == nil {
			return fmt.Errorf("%w: it was revoked", errDead)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		parent := jti[:max(strings.LastIndexByte(jti, '.'), 0)]
		if !strings.Contains(parent, ".") { // of a token of its own, or a grant's
			return nil
		}
		jti = parent
	}
}
