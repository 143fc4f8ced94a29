package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

type transientKey struct{ purpose, key string }

// Put implements [store.Transient].
func (s *Store) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return s.write(ctx, func() error {
		s.transient.put(transientKey{purpose, key}, slices.Clone(value), at(expires))
		return nil
	})
}

// Add implements [store.Transient].
func (s *Store) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return s.write(ctx, func() error {
		_, err := s.add(transientKey{purpose, key}, value, expires, s.now())
		return err
	})
}

func (s *Store) add(k transientKey, value []byte, expires, now time.Time) (undo func(), err error) {
	if s.transient.get(k, now) != nil {
		return nil, store.ErrExists
	}
	s.transient.put(k, slices.Clone(value), at(expires))
	return func() { s.transient.remove(k) }, nil
}

// Get implements [store.Transient].
func (s *Store) Get(ctx context.Context, purpose, key string) (value []byte, err error) {
	now := s.now()
	found := false
	err = s.read(ctx, func() {
		if it := s.transient.get(transientKey{purpose, key}, now); it != nil {
			value, found = slices.Clone(it.value), true
		}
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return value, err
}

// Take implements [store.Transient].
func (s *Store) Take(ctx context.Context, purpose, key string) (value []byte, err error) {
	err = s.write(ctx, func() error {
		it := s.transient.get(transientKey{purpose, key}, s.now())
		if it == nil {
			return store.ErrNotFound
		}
		s.transient.remove(it.key)
		value = it.value
		return nil
	})
	return value, err
}

// Keys implements [store.Keyring].
func (s *Store) Keys(ctx context.Context) ([]*store.Key, error) {
	keys := []*store.Key{}
	err := s.read(ctx, func() {
		for _, k := range s.keys {
			keys = append(keys, copyKey(k))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(keys, func(a, b *store.Key) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), cmp.Compare(a.Generation, b.Generation))
	})
	return keys, nil
}

// AddKey implements [store.Keyring].
func (s *Store) AddKey(ctx context.Context, k *store.Key) error {
	return s.write(ctx, func() error {
		for _, other := range s.keys {
			if other.ID == k.ID || other.Algorithm == k.Algorithm && other.Generation == k.Generation {
				return store.ErrExists
			}
		}
		s.keys[k.ID] = copyKey(k)
		return nil
	})
}

// DeleteKey implements [store.Keyring].
func (s *Store) DeleteKey(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		if s.keys[id] == nil {
			return store.ErrNotFound
		}
		delete(s.keys, id)
		return nil
	})
}

func copyKey(k *store.Key) *store.Key {
	c := *k
	c.Private = slices.Clone(k.Private)
	c.CreatedAt, c.NotBefore = at(k.CreatedAt), at(k.NotBefore)
	return &c
}
