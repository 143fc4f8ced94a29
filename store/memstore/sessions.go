package memstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// Session implements [store.Sessions].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	now := s.now()
	var found *store.Session
	err := s.read(ctx, func() {
		if it := s.sessions.get(id, now); it != nil {
			found = it.value
		}
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, store.ErrNotFound
	}
	return copySession(found), nil
}

// FindSessions implements [store.Sessions].
func (s *Store) FindSessions(ctx context.Context, q store.SessionQuery) ([]*store.Session, error) {
	if q.UserID == "" && q.Provider == "" {
		return nil, errQuery
	}
	now := s.now()
	sessions := []*store.Session{}
	err := s.read(ctx, func() {
		for id := range s.sessionIDs(q) {
			if it := s.sessions.get(id, now); it != nil && names(q, it.value) {
				sessions = append(sessions, it.value)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for i, kept := range sessions {
		sessions[i] = copySession(kept)
	}
	slices.SortFunc(sessions, func(a, b *store.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return sessions, nil
}

// sessionIDs returns the fewest that an index can narrow q down to.
func (s *Store) sessionIDs(q store.SessionQuery) map[string]struct{} {
	switch {
	case q.UserID != "":
		return s.sessionsOfUser[q.UserID]
	case q.UpstreamSession != "":
		return s.sessionsOfUpstream[[2]string{q.Provider, q.UpstreamSession}]
	case q.Subject != "":
		return s.sessionsOfSubject[[2]string{q.Provider, q.Subject}]
	default:
		return s.sessionsOfProvider[q.Provider]
	}
}

func names(q store.SessionQuery, s *store.Session) bool {
	return (q.UserID == "" || q.UserID == s.UserID) &&
		(q.Provider == "" || q.Provider == s.Upstream.Provider) &&
		(q.Issuer == "" || q.Issuer == s.Upstream.Issuer) &&
		(q.Subject == "" || q.Subject == s.Upstream.Subject) &&
		(q.UpstreamSession == "" || q.UpstreamSession == s.UpstreamSession)
}

// CreateSession implements [store.Sessions].
func (s *Store) CreateSession(ctx context.Context, n *store.Session) error {
	return s.write(ctx, func() error {
		_, err := s.createSession(n, s.now())
		if err == nil {
			n.Version = 1
		}
		return err
	})
}

func (s *Store) createSession(n *store.Session, now time.Time) (undo func(), err error) {
	if s.sessions.get(n.ID, now) != nil {
		return nil, store.ErrExists
	}
	if expired := s.sessions.items[n.ID]; expired != nil {
		s.removeSession(expired.value)
	}
	kept := copySession(n)
	kept.Version = 1
	s.putSession(kept)
	return func() { s.removeSession(kept) }, nil
}

// writeSession creates n or, if it has a version, updates it.
func (s *Store) writeSession(n *store.Session, now time.Time) (undo func(), err error) {
	if n.Version > 0 {
		return s.updateSession(n, now)
	}
	return s.createSession(n, now)
}

func (s *Store) updateSession(n *store.Session, now time.Time) (undo func(), err error) {
	it := s.sessions.get(n.ID, now)
	if it == nil || it.value.Version != n.Version {
		return nil, store.ErrConflict
	}
	old, kept := it.value, copySession(n)
	kept.Version++
	s.unindexSession(old)
	s.putSession(kept)
	return func() {
		s.unindexSession(kept)
		s.putSession(old)
	}, nil
}

// UpdateSession implements [store.Sessions].
func (s *Store) UpdateSession(ctx context.Context, n *store.Session) error {
	return s.write(ctx, func() error {
		if _, err := s.updateSession(n, s.now()); err != nil {
			return err
		}
		n.Version++
		return nil
	})
}

// DeleteSession implements [store.Sessions].
func (s *Store) DeleteSession(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		it := s.sessions.get(id, s.now())
		if it == nil {
			return store.ErrNotFound
		}
		s.removeSession(it.value)
		return nil
	})
}

func (s *Store) putSession(n *store.Session) {
	s.sessions.put(n.ID, n, n.ExpiresAt)
	s.sessionsOfUser.add(n.UserID, n.ID)
	if p := n.Upstream.Provider; p != "" {
		s.sessionsOfProvider.add(p, n.ID)
		s.sessionsOfSubject.add([2]string{p, n.Upstream.Subject}, n.ID)
		if n.UpstreamSession != "" {
			s.sessionsOfUpstream.add([2]string{p, n.UpstreamSession}, n.ID)
		}
	}
}

func (s *Store) removeSession(n *store.Session) {
	s.sessions.remove(n.ID)
	s.unindexSession(n)
}

func (s *Store) unindexSession(n *store.Session) {
	s.sessionsOfUser.remove(n.UserID, n.ID)
	p := n.Upstream.Provider
	s.sessionsOfProvider.remove(p, n.ID)
	s.sessionsOfSubject.remove([2]string{p, n.Upstream.Subject}, n.ID)
	s.sessionsOfUpstream.remove([2]string{p, n.UpstreamSession}, n.ID)
}

func copySession(n *store.Session) *store.Session {
	c := *n
	c.SecretHash, c.AMR, c.Notes = slices.Clone(n.SecretHash), slices.Clone(n.AMR), maps.Clone(n.Notes)
	c.UpstreamIDToken, c.UpstreamTokens = slices.Clone(n.UpstreamIDToken), slices.Clone(n.UpstreamTokens)
	c.TransientUser = slices.Clone(n.TransientUser)
	c.AuthTime, c.CreatedAt = at(n.AuthTime), at(n.CreatedAt)
	c.LastSeen, c.ExpiresAt = at(n.LastSeen), at(n.ExpiresAt)
	return &c
}
