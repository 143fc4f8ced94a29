package memstore

import (
	"cmp"
	"context"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// CredentialsOf implements [store.Credentials].
func (s *Store) CredentialsOf(ctx context.Context, userID string) ([]*store.Credential, error) {
	found := []*store.Credential{}
	err := s.read(ctx, func() {
		for id := range s.credentialsOf[userID] {
			found = append(found, copyCredential(s.credentials[id]))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *store.Credential) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// CreateCredential implements [store.Credentials].
func (s *Store) CreateCredential(ctx context.Context, c *store.Credential) error {
	return s.write(ctx, func() error {
		if s.credentials[c.ID] != nil {
			return store.ErrExists
		}
		for id := range s.credentialsOf[c.UserID] {
			if c.Kind != store.CredentialPasskey && s.credentials[id].Kind == c.Kind {
				return store.ErrExists
			}
		}
		kept := copyCredential(c)
		kept.Version, c.Version = 1, 1
		s.credentials[c.ID] = kept
		s.credentialsOf.add(c.UserID, c.ID)
		return nil
	})
}

// UpdateCredential implements [store.Credentials].
func (s *Store) UpdateCredential(ctx context.Context, c *store.Credential) error {
	return s.write(ctx, func() error {
		old := s.credentials[c.ID]
		if old == nil || old.Version != c.Version || old.UserID != c.UserID || old.Kind != c.Kind {
			return store.ErrConflict
		}
		c.Version++
		s.credentials[c.ID] = copyCredential(c)
		return nil
	})
}

// DeleteCredential implements [store.Credentials].
func (s *Store) DeleteCredential(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		c := s.credentials[id]
		if c == nil {
			return store.ErrNotFound
		}
		delete(s.credentials, id)
		s.credentialsOf.remove(c.UserID, id)
		return nil
	})
}

func copyCredential(c *store.Credential) *store.Credential {
	kept := *c
	kept.Secret = slices.Clone(c.Secret)
	kept.CreatedAt, kept.LastUsed = at(c.CreatedAt), at(c.LastUsed)
	return &kept
}
