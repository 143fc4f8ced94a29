// Package fence holds the links of a provider that is not what it was when they were made, until an administrator has
// confirmed that it still speaks of the same people: whoever gets a provider to be pointed elsewhere could otherwise log in
// as anybody who is linked to it.
//
// It owns the comparison and its short memory; the fences themselves are the store's.
package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// remembered is for how long a fence that stands is not read again. One that holds always is, so that a confirmation counts
// at once.
const remembered = time.Minute

// A Keeper keeps the fences of all providers. Its fields are set before the first use; then it is safe for concurrent use.
type Keeper struct {
	Store store.Fences // nil keeps none
	Now   func() time.Time
	Log   *slog.Logger

	mu    sync.Mutex
	known map[string]known // by alias
}

type known struct {
	former []string
	until  time.Time
}

// Pass returns nil if p is what its links were made with, and further issuers under which they may still be found;
// otherwise [gate.ErrProviderHeld]. The first one who comes by p raises its fence.
func (k *Keeper) Pass(ctx context.Context, p *gate.Provider) (former []string, err error) {
	trusted, ok := p.IdP.(provider.Trusted)
	if k == nil || k.Store == nil || !ok {
		return nil, nil
	}
	if former, ok := k.recall(p.Alias); ok {
		return former, nil
	}
	trust := trusted.Trust()
	f, err := k.raise(ctx, p.Alias, trust)
	if err != nil {
		return nil, fmt.Errorf("fence of provider: %w", err)
	}
	if f.Mark != trust.Mark() {
		k.Log.ErrorContext(ctx, "provider was changed and is held until ConfirmProvider", "provider", p.Alias, "was", f.Mark, "is", trust.Mark())
		return nil, gate.ErrProviderHeld
	}
	return k.remember(f), nil
}

// raise returns the provider's fence, a new one if there is none.
func (k *Keeper) raise(ctx context.Context, alias string, trust provider.Trust) (*store.Fence, error) {
	f, err := k.Store.Fence(ctx, alias)
	if !errors.Is(err, store.ErrNotFound) {
		return f, err
	}
	f = &store.Fence{Provider: alias, Mark: trust.Mark(), Issuers: []string{trust.Issuer}, ConfirmedAt: k.Now().UTC()}
	if err := k.Store.PutFence(ctx, f); !errors.Is(err, store.ErrExists) {
		return f, err
	}
	return k.Store.Fence(ctx, alias)
}

// Confirm has the provider trusted as what it is now. Links that were made under another of its issuers stay its links.
func (k *Keeper) Confirm(ctx context.Context, p *gate.Provider) error {
	trusted, ok := p.IdP.(provider.Trusted)
	if k.Store == nil || !ok {
		return nil
	}
	trust := trusted.Trust()
	f, err := k.raise(ctx, p.Alias, trust)
	if err != nil || f.Mark == trust.Mark() {
		return err
	}
	was := f.Mark
	f.Issuers = append([]string{trust.Issuer}, slices.DeleteFunc(f.Issuers, func(i string) bool { return i == trust.Issuer })...)
	f.Mark, f.ConfirmedAt = trust.Mark(), k.Now().UTC()
	if err := k.Store.PutFence(ctx, f); err != nil {
		return err
	}
	k.remember(f)
	k.Log.WarnContext(ctx, "provider confirmed", "provider", p.Alias, "was", was, "is", f.Mark)
	return nil
}

func (k *Keeper) recall(alias string) ([]string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, ok := k.known[alias]
	return f.former, ok && k.Now().Before(f.until)
}

func (k *Keeper) remember(f *store.Fence) []string {
	former := slices.Clone(f.Issuers[min(1, len(f.Issuers)):])
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = map[string]known{}
	}
	k.known[f.Provider] = known{former, k.Now().Add(remembered)}
	return former
}
