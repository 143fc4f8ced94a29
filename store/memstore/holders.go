package memstore

import (
	"context"
	"slices"
	"time"
)

// DisabledHolders implements [store.Holders]. Each page costs as much as looking at all users.
func (s *Store) DisabledHolders(ctx context.Context, after string, limit int) ([]string, error) {
	now, ids := s.now(), []string{}
	err := s.read(ctx, func() {
		for id, u := range s.users {
			if u.Disabled && id > after && s.holds(id, now) {
				ids = append(ids, id)
			}
		}
	})
	slices.Sort(ids)
	return ids[:min(max(limit, 0), len(ids))], err
}

// holds reports whether tokens of an upstream are kept of the user.
func (s *Store) holds(userID string, now time.Time) bool {
	for key := range s.linksOf[userID] {
		if len(s.links[key].Tokens) > 0 {
			return true
		}
	}
	for id := range s.sessionsOfUser[userID] {
		if it := s.sessions.get(id, now); it != nil && len(it.value.UpstreamTokens) > 0 {
			return true
		}
	}
	return false
}
