package op

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
)

// Revoke handles POST /revoke (RFC 7009): a client that does not need a token any more ends what it was granted. Whether
// the token was one, and whose, nobody learns.
func (p *Provider) Revoke(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	client, form, err := p.tokenQuery(w, r)
	if err == nil {
		err = p.revoke(r.Context(), client, form.Get("token"))
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// revoke ends what a token of the client hangs on, and leaves what is another's alone (RFC 7009 §2.1). A store that fails
// is told to the client, who has to try again (RFC 7009 §2.2.1).
func (p *Provider) revoke(ctx context.Context, client *store.Client, raw string) error {
	find := p.ownRefresh
	if isJWT(raw) {
		find = p.ownAccess
	}
	end, err := find(ctx, client, raw)
	if err == nil && end != nil {
		err = end(context.WithoutCancel(ctx))
	}
	if err != nil {
		return &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "the token was not revoked: try again", err}
	}
	return nil
}

// ownRefresh returns what ends the grant that raw is a refresh token of, be it used up by now; nil if there is nothing to
// end.
func (p *Provider) ownRefresh(ctx context.Context, client *store.Client, raw string) (func(context.Context) error, error) {
	g, _, err := p.grantOfRefresh(ctx, raw)
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		return nothingToEnd(ctx, refusal)
	}
	if err != nil {
		return nil, err
	}
	if g.ClientID != client.ID {
		return nothingToEnd(ctx, errors.New("the refresh token is another client's"))
	}
	return func(ctx context.Context) error { return p.withdraw(ctx, g) }, nil
}

// ownAccess is the same for an access token. One that hangs on no grant, or was exchanged and hangs
// on one that may be another client's, is marked until it expires.
func (p *Provider) ownAccess(ctx context.Context, client *store.Client, raw string) (func(context.Context) error, error) {
	t, err := p.parseAccess(ctx, raw, "")
	if errors.Is(err, errToken) {
		return nothingToEnd(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	if t.ClientID != client.ID {
		return nothingToEnd(ctx, errors.New("the access token is another client's"))
	}
	if id := grantOfToken(t.ID); id != "" && t.Actor == nil {
		g, err := p.Store.Grant(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nothingToEnd(ctx, err)
		}
		return func(ctx context.Context) error { return p.withdraw(ctx, g) }, err
	}
	return func(ctx context.Context) error {
		return p.Store.Put(ctx, revokedPurpose, t.ID, nil, t.Expires.Add(revokedLeeway))
	}, nil
}

// nothingToEnd keeps the reason for the log.
func nothingToEnd(ctx context.Context, why error) (func(context.Context) error, error) {
	web.RecordOf(ctx).Err = why
	return nil, nil
}
