package vault

import (
	"context"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
)

const revokePatience = 10 * time.Second

// Revoke tells the upstream that what was kept, and is no longer, is not needed any more. Nobody waits for it.
func (v *Vault) Revoke(ctx context.Context, alias string, kept []byte) {
	r, err := decode(kept)
	if err != nil {
		return
	}
	p, err := v.Gate.Enabled(alias)
	if err != nil || r.Ended || r.Mark != mark(p) { // what others have issued is none of its business
		return
	}
	go v.revoke(context.WithoutCancel(ctx), p, &r.Tokens)
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
