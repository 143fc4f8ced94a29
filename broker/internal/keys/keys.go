// Package keys keeps the broker's signing keys: sealed in the store, opened once, rotated as the package token plans.
//
// It owns the way between a store.Keyring and a token.Ring. Every node runs it: of several that make the next key at once
// the store lets one win, and the others read that one.
package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	purpose = "signing key"
	// fresh is how long a ring is used before the store is asked again: far less than a key is announced.
	fresh = time.Minute
	// patience is how many lost races for the next generation are followed by another look.
	patience = 5
)

// Keys holds the ring. Its fields are set once; it is safe for concurrent use.
type Keys struct {
	Store      store.Keyring
	Sealer     *web.Sealer
	Now        func() time.Time
	Schedule   token.Schedule
	Algorithms []string // those that sign something

	mu     sync.Mutex // one refresh at a time
	cached atomic.Pointer[snapshot]
}

type snapshot struct {
	ring   *token.Ring
	read   time.Time
	opened map[string]token.Key
}

// Ring returns the keys as they are in the store, at most a minute ago; a store that fails now does not stop a ring that
// was read before. The first call on an empty store makes the first keys.
func (k *Keys) Ring(ctx context.Context) (*token.Ring, error) {
	now := k.Now()
	if s := k.cached.Load(); s != nil && now.Sub(s.read) < fresh {
		return s.ring, nil
	}
	// While one refreshes, others go on with what there is.
	old := k.cached.Load()
	if old != nil && !k.mu.TryLock() {
		return old.ring, nil
	}
	if old == nil {
		k.mu.Lock()
	}
	defer k.mu.Unlock()
	if s := k.cached.Load(); s != nil && now.Sub(s.read) < fresh {
		return s.ring, nil
	}
	s, err := k.refresh(ctx, now)
	if err != nil {
		if old != nil {
			web.RecordOf(ctx).Note("keys", "stale: "+err.Error())
			return old.ring, nil
		}
		return nil, err
	}
	k.cached.Store(s)
	return s.ring, nil
}

// Check returns why the keys cannot be used. It asks the store now, whatever was read before.
func (k *Keys) Check(ctx context.Context) error {
	if _, err := k.Ring(ctx); err != nil {
		return err
	}
	_, err := k.read(ctx, k.Now())
	return err
}

// refresh reads the keys and carries out what is planned for them.
func (k *Keys) refresh(ctx context.Context, now time.Time) (*snapshot, error) {
	for range patience {
		s, err := k.read(ctx, now)
		if err != nil {
			return nil, err
		}
		plan := s.ring.Plan(now, k.Algorithms...)
		if len(plan.Add) == 0 && len(plan.Drop) == 0 {
			return s, nil
		}
		if err := k.carryOut(ctx, plan, now); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("signing keys: other nodes kept changing them")
}

func (k *Keys) read(ctx context.Context, now time.Time) (*snapshot, error) {
	stored, err := k.Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	s := &snapshot{read: now, opened: make(map[string]token.Key, len(stored))}
	var ring []token.Key
	for _, sk := range stored {
		key, err := k.open(sk)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", sk.ID, err)
		}
		s.opened[sk.ID] = key
		ring = append(ring, key)
	}
	s.ring, err = token.NewRing(k.Schedule, ring...)
	return s, err
}

// open opens a stored key, or takes it from the last reading.
func (k *Keys) open(sk *store.Key) (token.Key, error) {
	if old := k.cached.Load(); old != nil {
		if key, ok := old.opened[sk.ID]; ok && key.NotBefore.Equal(sk.NotBefore) {
			return key, nil
		}
	}
	der, err := k.Sealer.OpenBytes(purpose, sk.ID, sk.Private)
	if err != nil {
		return token.Key{}, errors.New("it was sealed with a secret that is not among Config.Secrets: " +
			"add that secret again, or delete the key so that a new one is made")
	}
	private, err := token.ParseKey(der)
	if err != nil {
		return token.Key{}, err
	}
	return token.Key{ID: sk.ID, Algorithm: sk.Algorithm, Generation: sk.Generation, Private: private, NotBefore: sk.NotBefore}, nil
}

func (k *Keys) carryOut(ctx context.Context, plan token.Plan, now time.Time) error {
	for _, next := range plan.Add {
		sk, err := k.generate(next, now)
		if err != nil {
			return fmt.Errorf("make signing key: %w", err)
		}
		if err := k.Store.AddKey(ctx, sk); err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("add signing key: %w", err)
		}
	}
	for _, id := range plan.Drop {
		if err := k.Store.DeleteKey(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("drop signing key: %w", err)
		}
	}
	return nil
}

func (k *Keys) generate(next token.Key, now time.Time) (*store.Key, error) {
	private, err := token.GenerateKey(next.Algorithm)
	if err != nil {
		return nil, err
	}
	id, err := token.KeyID(private.Public())
	if err != nil {
		return nil, err
	}
	der, err := token.MarshalKey(private)
	if err != nil {
		return nil, err
	}
	return &store.Key{
		ID:         id,
		Algorithm:  next.Algorithm,
		Generation: next.Generation,
		Private:    k.Sealer.SealBytes(purpose, id, der),
		CreatedAt:  now.UTC(),
		NotBefore:  next.NotBefore,
	}, nil
}
