package broker

import (
	"context"
	"errors"
)

// Reseal seals again with the first of Config.Secrets what others of them have sealed in the store, and returns how many
// values that were. Call it after a new secret was put first on every node: what is written by itself is sealed with that from
// then on, and the rest by Reseal. Once it has returned without an error, an old secret is needed for an hour more, for logins
// under way and the like, and then by refresh tokens that it has sealed, for as long as these live: without it a stolen one
// that was used up is no longer told from one that never was.
//
// It reads every link, session, credential, key and client once, in batches, beside whatever else goes on. Where the store
// was put behind store/seal by the host, the keys of that are meant instead of Config.Secrets. What cannot be opened, and what
// a store cannot list, is in the error, and keeps nothing else from being sealed.
func (b *Broker) Reseal(ctx context.Context) (int, error) {
	total, errs := 0, []error(nil)
	for _, kept := range b.sealed {
		n, err := kept.Reseal(ctx)
		total, errs = total+n, append(errs, err)
	}
	return total, errors.Join(errs...)
}

// A resealer is what store/seal makes of a store.
type resealer interface {
	Reseal(ctx context.Context) (int, error)
}
