package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// Grant implements [store.Grants].
func (s *Store) Grant(ctx context.Context, id string) (*store.Grant, error) {
	now := s.now()
	var found *store.Grant
	err := s.read(ctx, func() {
		if it := s.grants.get(id, now); it != nil {
			found = it.value
		}
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, store.ErrNotFound
	}
	return copyGrant(found), nil
}

// FindGrants implements [store.Grants].
func (s *Store) FindGrants(ctx context.Context, q store.GrantQuery) ([]*store.Grant, error) {
	if q == (store.GrantQuery{}) {
		return nil, errQuery
	}
	now := s.now()
	grants := []*store.Grant{}
	err := s.read(ctx, func() {
		for id := range s.grantIDs(q) {
			it := s.grants.get(id, now)
			if it != nil && (q.UserID == "" || q.UserID == it.value.UserID) &&
				(q.ClientID == "" || q.ClientID == it.value.ClientID) &&
				(q.SessionID == "" || q.SessionID == it.value.SessionID) {
				grants = append(grants, it.value)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for i, kept := range grants {
		grants[i] = copyGrant(kept)
	}
	slices.SortFunc(grants, func(a, b *store.Grant) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return grants, nil
}

// grantIDs returns the fewest that an index can narrow q down to.
func (s *Store) grantIDs(q store.GrantQuery) map[string]struct{} {
	switch {
	case q.SessionID != "":
		return s.grantsOfSession[q.SessionID]
	case q.UserID != "":
		return s.grantsOfUser[q.UserID]
	default:
		return s.grantsOfClient[q.ClientID]
	}
}

// CreateGrant implements [store.Grants].
func (s *Store) CreateGrant(ctx context.Context, g *store.Grant) error {
	return s.write(ctx, func() error {
		err := s.createGrant(g, s.now())
		if err == nil {
			g.Version = 1
		}
		return err
	})
}

func (s *Store) createGrant(g *store.Grant, now time.Time) error {
	if s.grants.get(g.ID, now) != nil {
		return store.ErrExists
	}
	if expired := s.grants.items[g.ID]; expired != nil {
		s.removeGrant(expired.value)
	}
	kept := copyGrant(g)
	kept.Version = 1
	s.putGrant(kept)
	return nil
}

// UpdateGrant implements [store.Grants].
func (s *Store) UpdateGrant(ctx context.Context, g *store.Grant) error {
	return s.write(ctx, func() error {
		old := s.grants.get(g.ID, s.now())
		if old == nil || old.value.Version != g.Version {
			return store.ErrConflict
		}
		kept := copyGrant(g)
		kept.Version++
		s.unindexGrant(old.value)
		s.putGrant(kept)
		g.Version++
		return nil
	})
}

// DeleteGrant implements [store.Grants].
func (s *Store) DeleteGrant(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		it := s.grants.get(id, s.now())
		if it == nil {
			return store.ErrNotFound
		}
		s.removeGrant(it.value)
		return nil
	})
}

func (s *Store) putGrant(g *store.Grant) {
	s.grants.put(g.ID, g, g.ExpiresAt)
	s.grantsOfUser.add(g.UserID, g.ID)
	s.grantsOfClient.add(g.ClientID, g.ID)
	if g.SessionID != "" {
		s.grantsOfSession.add(g.SessionID, g.ID)
	}
}

func (s *Store) removeGrant(g *store.Grant) {
	s.grants.remove(g.ID)
	s.unindexGrant(g)
}

func (s *Store) unindexGrant(g *store.Grant) {
	s.grantsOfUser.remove(g.UserID, g.ID)
	s.grantsOfClient.remove(g.ClientID, g.ID)
	s.grantsOfSession.remove(g.SessionID, g.ID)
}

func copyGrant(g *store.Grant) *store.Grant {
	c := *g
	c.Scope, c.AMR, c.Resources = slices.Clone(g.Scope), slices.Clone(g.AMR), slices.Clone(g.Resources)
	c.ClaimsRequest = slices.Clone(g.ClaimsRequest)
	c.CodeHash, c.Answer = slices.Clone(g.CodeHash), slices.Clone(g.Answer)
	c.RefreshHash, c.PreviousHash = slices.Clone(g.RefreshHash), slices.Clone(g.PreviousHash)
	c.AuthTime, c.CodeExpires, c.GraceUntil = at(g.AuthTime), at(g.CodeExpires), at(g.GraceUntil)
	c.CreatedAt, c.ExpiresAt = at(g.CreatedAt), at(g.ExpiresAt)
	return &c
}
