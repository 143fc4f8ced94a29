package memstore

import (
	"context"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// Fence implements [store.Fences].
func (s *Store) Fence(ctx context.Context, provider string) (f *store.Fence, err error) {
	if err := s.read(ctx, func() { f = s.fences[provider] }); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, store.ErrNotFound
	}
	return copyFence(f), nil
}

// PutFence implements [store.Fences].
func (s *Store) PutFence(ctx context.Context, f *store.Fence) error {
	return s.write(ctx, func() error {
		old := s.fences[f.Provider]
		switch {
		case f.Version == 0 && old != nil:
			return store.ErrExists
		case f.Version != 0 && (old == nil || old.Version != f.Version):
			return store.ErrConflict
		}
		f.Version++
		s.fences[f.Provider] = copyFence(f)
		return nil
	})
}

func copyFence(f *store.Fence) *store.Fence {
	kept := *f
	kept.Issuers, kept.ConfirmedAt = slices.Clone(f.Issuers), at(f.ConfirmedAt)
	return &kept
}
