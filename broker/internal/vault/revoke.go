package vault

import (
	"context"
	"errors"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const (
	revokePatience = 10 * time.Second
	forgetPage     = 100 // users
)

// Revoke tells the upstream that what was kept, and is no longer, is not needed any more. Nobody waits for it.
func (v *Vault) Revoke(ctx context.Context, alias string, kept []byte) {
	go v.tell(context.WithoutCancel(ctx), alias, kept)
}

// tell is Revoke for who waits.
func (v *Vault) tell(ctx context.Context, alias string, kept []byte) {
	r, err := decode(kept)
	if err != nil {
		return
	}
	p, err := v.Gate.Enabled(alias)
	if err != nil || r.Ended || r.Mark != mark(p) { // what others have issued is none of its business
		return
	}
	v.revoke(ctx, p, &r.Tokens)
}

func (v *Vault) revoke(ctx context.Context, p *gate.Provider, t *provider.Tokens) {
	revoker, ok := p.IdP.(provider.TokenRevoker)
	if !ok {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			v.Log.ErrorContext(ctx, "panic while tokens were revoked", "provider", p.Alias)
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokePatience)
	defer cancel()
	if err := revoker.RevokeTokens(ctx, t); err != nil {
		v.Log.WarnContext(ctx, "tokens not revoked at the upstream", "provider", p.Alias, "error", err)
	}
}

// Leaving returns what is to be called once the session with this id, "" for none, is gone.
func (v *Vault) Leaving(ctx context.Context, sessionID string) (gone func()) {
	if v.InSession && sessionID != "" {
		if s, err := v.Store.Session(ctx, sessionID); err == nil && len(s.UpstreamTokens) > 0 {
			return func() { v.Revoke(ctx, s.Upstream.Provider, s.UpstreamTokens) }
		}
	}
	return func() {}
}

// Forget gives up whatever is kept for a user, on links and in sessions, and has it revoked. Nobody waits for the latter.
func (v *Vault) Forget(ctx context.Context, userID string) error {
	return v.forget(ctx, userID, v.Revoke)
}

// ForgetDisabled does the same for all users who are disabled, one by one. It may run on several nodes.
func (v *Vault) ForgetDisabled(ctx context.Context, holders store.Holders) (err error) {
	for after := ""; ; {
		page, failed := holders.DisabledHolders(ctx, after, forgetPage)
		if failed != nil || len(page) == 0 {
			return errors.Join(err, failed)
		}
		for _, id := range page {
			// It may take minutes to come to the last of a page: who is switched on again has tokens of a new login.
			user, failed := v.Store.User(ctx, id)
			if failed == nil && !user.Disabled {
				continue
			}
			if failed == nil {
				failed = v.forget(ctx, id, v.tell)
			}
			if failed == nil {
				v.Log.InfoContext(ctx, "tokens of a disabled user are given up", "user", id)
			}
			err = errors.Join(err, failed)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		after = page[len(page)-1]
	}
}

func (v *Vault) forget(ctx context.Context, userID string, revoke revoker) error {
	links, err := v.Store.LinksOf(ctx, userID)
	for _, l := range links {
		err = errors.Join(err, v.empty(ctx, l.Provider, v.onLink(userID, l.LinkKey), revoke))
	}
	sessions, findErr := v.Store.FindSessions(ctx, store.SessionQuery{UserID: userID})
	for _, found := range sessions {
		err = errors.Join(err, v.empty(ctx, found.Upstream.Provider, v.inSession(found.ID), revoke))
	}
	return errors.Join(err, findErr)
}

type revoker func(ctx context.Context, alias string, kept []byte)

// empty takes what read finds, also where it is written meanwhile.
func (v *Vault) empty(ctx context.Context, alias string, read reader, revoke revoker) error {
	for {
		kept, put, err := read(ctx)
		if errors.Is(err, ErrNotLinked) || errors.Is(err, store.ErrNotFound) || err == nil && len(kept) == 0 {
			return nil
		}
		if err == nil {
			err = put(ctx, nil)
		}
		if err == nil {
			revoke(ctx, alias, kept)
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// inSession reads what a session has, honoured or not.
func (v *Vault) inSession(id string) reader {
	return func(ctx context.Context) ([]byte, func(context.Context, []byte) error, error) {
		s, err := v.Store.Session(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		return s.UpstreamTokens, v.putInSession(s), nil
	}
}
