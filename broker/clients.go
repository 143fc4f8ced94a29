package broker

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

// PutClient writes a client to Config.ClientStore: a new one if c.Version is 0, otherwise one that was read there and
// changed. It holds for every request from then on, and so does a DeleteClient of the store. c is checked as [New] checks
// Config.Clients, and all mistakes are in the error; of Providers only, nothing says that they are configured, so that a
// provider may come later. Of the store's errors, [store.ErrExists] and [store.ErrConflict] can be told.
//
// Secrets are sealed with Config.Secrets before they are written, and no client is honoured whose secrets are not: never
// write one to the store by other means. Those of a client that was read from the store are sealed already, and may stand
// beside new ones. What was weakened on purpose is logged.
func (b *Broker) PutClient(ctx context.Context, c *store.Client) error {
	if err := b.gate.PutClient(ctx, c); err != nil {
		return fmt.Errorf("put client: %w", err)
	}
	logInsecure(b.log, c)
	return nil
}
