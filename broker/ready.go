package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

// Ready returns nil if the broker can do its work now: the store answers, and the secrets open the signing keys in it. The
// first call on an empty store makes the first keys. It reads once in each role of the store, which may be kept in different
// places, for a readiness probe, or for a look at a broker with a new configuration before it takes over from the one
// before. The error is for the log and not for visitors.
func (b *Broker) Ready(ctx context.Context) error {
	if err := b.keys.Check(ctx); err != nil {
		return err
	}
	const nobody = "ready"
	for role, read := range map[string]func() error{
		"users":     func() error { _, err := b.store.User(ctx, nobody); return err },
		"links":     func() error { _, err := b.store.Link(ctx, store.LinkKey{Provider: nobody}); return err },
		"sessions":  func() error { _, err := b.store.Session(ctx, nobody); return err },
		"grants":    func() error { _, err := b.store.Grant(ctx, nobody); return err },
		"transient": func() error { _, err := b.store.Get(ctx, nobody, nobody); return err },
	} {
		if err := read(); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%s: %w", role, err)
		}
	}
	return nil
}
