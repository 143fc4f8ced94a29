package op

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
)

// errDead says that something which the grant hangs on has ended or was switched off.
var errDead = errors.New("op: the grant is dead")

// grantAlive returns whose grant it is and the session that it was given in. For a grant that outlives sessions that is
// none of the store: it has no id, and says what the grant remembers.
//
// This is the one place where it is checked what a grant hangs on, and every entrance that honours a grant passes it: the
// client, that it takes the word of the provider that vouched and may have tokens without a session if it has, the
// session, the user, the provider, and the link between these two. It is errDead if one of them is off. Every other error
// means that the store could not tell.
func (p *Provider) grantAlive(ctx context.Context, g *store.Grant) (*session.Active, error) {
	client, err := p.Gate.Client(ctx, g.ClientID)
	if err == nil {
		err = p.Gate.Allows(client, g.Upstream.Provider)
	}
	if err != nil {
		return nil, dead(err)
	}
	if g.Kind != store.GrantTokens || slices.Contains(g.Scope, scopeOffline) && !slices.Contains(scopesOf(client), scopeOffline) {
		return nil, errDead
	}
	if g.SessionID == "" {
		return p.offline(ctx, g)
	}
	active, err := p.Sessions.Load(ctx, g.SessionID)
	if err != nil {
		return nil, dead(err)
	}
	if active.User.ID != g.UserID {
		return nil, errDead
	}
	if active.Session.Upstream != g.Upstream { // somebody else has vouched for the session since
		if _, err := p.Sessions.Vouched(ctx, g.UserID, g.Upstream); err != nil {
			return nil, dead(err)
		}
	}
	return active, nil
}

func (p *Provider) offline(ctx context.Context, g *store.Grant) (*session.Active, error) {
	user, err := p.Sessions.Vouched(ctx, g.UserID, g.Upstream)
	if err != nil {
		return nil, dead(err)
	}
	return &session.Active{User: user, Session: &store.Session{
		UserID: g.UserID, Upstream: g.Upstream, ACR: g.ACR, AMR: g.AMR, AuthTime: g.AuthTime, ExpiresAt: g.ExpiresAt,
	}}, nil
}

func dead(err error) error {
	if errors.Is(err, session.ErrNone) || gate.Refused(err) {
		return errors.Join(errDead, err)
	}
	return err
}

// mayUse returns an error unless the client may use the grant type (RFC 6749 §5.2).
func (p *Provider) mayUse(client *store.Client, grantType string) error {
	err := p.Gate.Grant(client, grantType)
	switch {
	case err == nil:
		return nil
	case grantType == "":
		return &oauthError{status: http.StatusBadRequest, code: "invalid_request", description: "grant_type is missing"}
	case errors.Is(err, gate.ErrNoGrantType):
		return &oauthError{http.StatusBadRequest, "unsupported_grant_type", "there is no such grant_type here", err}
	default:
		return &oauthError{http.StatusBadRequest, "unauthorized_client", "this client may not use this grant_type", err}
	}
}
