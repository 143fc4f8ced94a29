package store

import (
	"context"
	"time"
)

// A Fence is what a provider was trusted as when its links were made. While that is not what the provider is now, such as
// after its issuer was changed, its links are held: nobody logs in by them until an administrator has confirmed the change.
type Fence struct {
	Provider string // alias of the provider in the broker's configuration
	// Mark stands for all about the provider that its links rely on. The broker makes it, and compares it with the
	// provider's present one.
	Mark string
	// Issuers are those under which its links may be found, as in [LinkKey], the present one first: who moved a provider to
	// another name confirms that its subjects are the same people.
	Issuers     []string
	ConfirmedAt time.Time
	Version     int64 // for [Fences.PutFence]; the store counts it up from 1
}

// Fences keeps a fence for each provider: a handful at a time, each read by its provider's alias. It is a role of its own:
// a [Store] need not have it. None is ever removed, as that would let a provider be trusted anew as whatever it is.
type Fences interface {
	// Fence returns the fence of the provider with this alias, or ErrNotFound.
	Fence(ctx context.Context, provider string) (*Fence, error)
	// PutFence adds f if f.Version is 0; ErrExists if the provider has one. Otherwise it replaces the provider's if its
	// version is still f.Version; ErrConflict if it is not or if there is none. Then it counts f.Version up. Of any number
	// of racing callers with the same version exactly one wins.
	PutFence(ctx context.Context, f *Fence) error
}
