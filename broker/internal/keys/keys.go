// Package keys keeps the broker's signing keys: sealed in the store, opened once, rotated as the package token plans.
//
// It owns the way between a store.Keyring and a token.Ring. Every node runs it: of several that make the next key at once
// the store lets one win, and the others read that one.
package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/token"
)

const (
	// fresh is how long a ring is used before the store is asked again. It bounds how long after a call of Replace on one
	// node the others still use what was withdrawn.
	fresh = 15 * time.Second
	// retry is how long a store that failed is left alone, as long as there is a ring to go on with.
	retry = 5 * time.Second
	// within is how long the store has for one refresh.
	within = 10 * time.Second
	// patience is how many lost races for the next generation are followed by another look.
	patience = 5
)

// Keys holds the ring. Its fields are set once; it is safe for concurrent use. It is a token.KeySource of the keys that
// tokens of the broker are signed with.
type Keys struct {
	Store      store.Keyring
	Now        func() time.Time
	Log        *slog.Logger
	Schedule   token.Schedule
	Algorithms []string // those that sign something

	mu      sync.Mutex // one refresh at a time; it guards retryAt
	retryAt time.Time
	begun   atomic.Uint64 // readings of the store
	cached  atomic.Pointer[snapshot]
}

type snapshot struct {
	ring   *token.Ring
	read   time.Time
	number uint64 // of the reading
	opened map[string]token.Key
}

// younger reports whether the keys were read less than d ago, by a clock that may have been set back since.
func (s *snapshot) younger(now time.Time, d time.Duration) bool {
	if s == nil {
		return false
	}
	age := now.Sub(s.read)
	return age > -fresh && age < d
}

// held reports whether the keys may be used even if the store does not answer.
func (s *snapshot) held(now time.Time) bool { return s != nil && s.younger(now, s.ring.MaxAge()) }

// Ring returns the keys as they are in the store, or were a moment ago; a store that fails now does not stop a ring that
// was read before, until that could lack a key which other nodes sign with. The first call on an empty store makes the
// first keys.
func (k *Keys) Ring(ctx context.Context) (*token.Ring, error) {
	now, begun := k.Now(), k.begun.Load()
	s := k.cached.Load()
	if s.younger(now, fresh) {
		return s.ring, nil
	}
	if !s.held(now) {
		k.mu.Lock()
	} else if !k.mu.TryLock() {
		return s.ring, nil // while one refreshes, others go on with what there is
	}
	defer k.mu.Unlock()
	return k.since(ctx, begun, now)
}

// Published returns the keys as they are in the store now. Whatever any node has signed with before this call is among
// them: it is what key sets are published from. Callers at the same time share one reading.
func (k *Keys) Published(ctx context.Context) (*token.Ring, error) {
	begun := k.begun.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.since(ctx, begun, k.Now())
}

// PublicKeys makes Keys a token.KeySource. A key that is not known is looked for in the store: another node may have begun
// to sign with it this moment.
func (k *Keys) PublicKeys(ctx context.Context, id string, now time.Time) ([]token.PublicKey, error) {
	for _, keys := range []func(context.Context) (*token.Ring, error){k.Ring, k.Published} {
		ring, err := keys(ctx)
		if err != nil {
			return nil, err
		}
		if found, err := ring.PublicKeys(ctx, id, now); err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// since returns a ring that was read after the reading with this number, or the last one as long as that may be used
// while the store fails. Its caller holds k.mu.
func (k *Keys) since(ctx context.Context, number uint64, now time.Time) (*token.Ring, error) {
	s := k.cached.Load()
	if s != nil && s.number > number {
		return s.ring, nil
	}
	if wait := k.retryAt.Sub(now); s.held(now) && wait > 0 && wait <= retry {
		return s.ring, nil
	}
	timed, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	next, err := k.refresh(timed, now)
	if next != nil { // it was read, even if what was due could not be done
		if err != nil && !k.complete(next.ring, now) {
			return nil, err // not to be kept: the very next call tries again
		}
		s = next
		k.cached.Store(s)
	}
	if err == nil {
		return s.ring, nil
	}
	if !s.held(now) {
		return nil, err
	}
	if ctx.Err() == nil { // who hangs up says nothing about the store
		k.retryAt = now.Add(retry)
		k.Log.WarnContext(ctx, "signing keys: going on with those that were read before", "read", s.read, "error", err)
	}
	return s.ring, nil
}

// complete reports whether there is a key of each algorithm that signs.
func (k *Keys) complete(ring *token.Ring, now time.Time) bool {
	return !slices.ContainsFunc(k.Algorithms, func(algorithm string) bool {
		_, ok := ring.Signer(algorithm, now)
		return !ok
	})
}

// Check returns why the keys cannot be used. It asks the store now, whatever was read before.
func (k *Keys) Check(ctx context.Context) error {
	if _, err := k.Ring(ctx); err != nil {
		return err
	}
	_, _, err := k.read(ctx, k.Now())
	return err
}

// refresh reads the keys and carries out what is planned for them. With an error it returns what it has read, if it has.
func (k *Keys) refresh(ctx context.Context, now time.Time) (s *snapshot, err error) {
	for range patience {
		next, foreign, err := k.read(ctx, now)
		if err != nil || len(foreign) > 0 {
			return s, errors.Join(err, errForeign(foreign))
		}
		s = next
		plan := s.ring.Plan(now, k.Algorithms...)
		if len(plan.Add) == 0 && len(plan.Drop) == 0 {
			return s, nil
		}
		if err := k.add(ctx, plan.Add, now); err != nil && !errors.Is(err, store.ErrExists) {
			return s, err
		}
		if err := k.drop(ctx, plan.Drop); err != nil {
			return s, err
		}
	}
	return s, errors.New("signing keys: other nodes kept changing them")
}

// Replace withdraws every key that there is and has new ones sign from now on. Keys that cannot be opened are withdrawn
// too. What other nodes make meanwhile stays.
func (k *Keys) Replace(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Now()
	var withdrawn []string
	for attempt := range patience {
		s, foreign, err := k.read(ctx, now)
		if err != nil {
			return err
		}
		if attempt == 0 {
			withdrawn = slices.Collect(maps.Keys(s.opened))
		}
		// Nobody who has these secrets could use them, and they would be in the way.
		if err := k.drop(ctx, foreign); err != nil {
			return err
		}
		err = k.add(ctx, k.successors(s, withdrawn, now), now)
		if errors.Is(err, store.ErrExists) {
			continue // another node was quicker: its key may do, too
		}
		if err == nil {
			err = k.drop(ctx, withdrawn)
		}
		if err == nil {
			s, err = k.refresh(ctx, now)
		}
		if err != nil {
			return err
		}
		k.cached.Store(s)
		k.Log.WarnContext(ctx, "signing keys were replaced", "withdrawn", append(withdrawn, foreign...))
		return nil
	}
	return errors.New("signing keys: other nodes kept changing them")
}

// successors plans a key for each algorithm whose signer is to be withdrawn.
func (k *Keys) successors(s *snapshot, withdrawn []string, now time.Time) (add []token.Key) {
	algorithms := slices.Clone(k.Algorithms)
	for _, key := range s.opened {
		algorithms = append(algorithms, key.Algorithm)
	}
	slices.Sort(algorithms)
	for _, algorithm := range slices.Compact(algorithms) {
		signer, ok := s.ring.Signer(algorithm, now)
		if !ok || slices.Contains(withdrawn, signer.ID) {
			add = append(add, s.ring.Replace(now, algorithm).Add...)
		}
	}
	return add
}

// read reads the keys. Those that cannot be opened are foreign.
func (k *Keys) read(ctx context.Context, now time.Time) (s *snapshot, foreign []string, err error) {
	s = &snapshot{read: now, number: k.begun.Add(1), opened: map[string]token.Key{}}
	stored, err := k.Store.Keys(ctx)
	var lost *seal.LostKeysError
	if errors.As(err, &lost) {
		foreign = lost.IDs
	} else if err != nil {
		return nil, nil, fmt.Errorf("signing keys: %w", err)
	}
	var ring []token.Key
	for _, sk := range stored {
		key, err := k.open(sk)
		if err != nil {
			return nil, nil, fmt.Errorf("signing key %s: %w", sk.ID, err)
		}
		s.opened[sk.ID] = key
		ring = append(ring, key)
	}
	if s.ring, err = token.NewRing(k.Schedule, ring...); err != nil {
		return nil, nil, err
	}
	return s, foreign, nil
}

func errForeign(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("signing keys %q were sealed with a secret that is not among Config.Secrets: add that secret again, "+
		"or withdraw all keys by RotateKeys", ids)
}

// open parses a stored key, or takes it from the last reading.
func (k *Keys) open(sk *store.Key) (token.Key, error) {
	if old := k.cached.Load(); old != nil {
		if key, ok := old.opened[sk.ID]; ok && key.NotBefore.Equal(sk.NotBefore) {
			return key, nil
		}
	}
	private, err := token.ParseKey(sk.Private)
	if err != nil {
		return token.Key{}, err
	}
	return token.Key{ID: sk.ID, Algorithm: sk.Algorithm, Generation: sk.Generation, Private: private, NotBefore: sk.NotBefore}, nil
}

// add makes and keeps the keys that are planned. It is store.ErrExists if other nodes had planned the same.
func (k *Keys) add(ctx context.Context, planned []token.Key, now time.Time) error {
	var late error
	for _, next := range planned {
		sk, err := k.generate(next, now)
		if err != nil {
			return fmt.Errorf("make signing key: %w", err)
		}
		err = k.Store.AddKey(ctx, sk)
		if err != nil && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("add signing key: %w", err)
		}
		late = cmp.Or(late, err)
	}
	return late
}

func (k *Keys) drop(ctx context.Context, ids []string) error {
	for _, id := range ids {
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
		Private:    der,
		CreatedAt:  now.UTC(),
		NotBefore:  next.NotBefore,
	}, nil
}
