package memstore

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// User implements [store.Users].
func (s *Store) User(ctx context.Context, id string) (u *store.User, err error) {
	if err := s.read(ctx, func() { u = s.users[id] }); err != nil {
		return nil, err
	}
	if u == nil {
		return nil, store.ErrNotFound
	}
	return copyUser(u), nil
}

// FindUsers implements [store.Users].
func (s *Store) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	if (q.Username == "") == (q.Email == "") {
		return nil, errQuery
	}
	users := []*store.User{}
	err := s.read(ctx, func() {
		if id, ok := s.usernames[q.Username]; ok && q.Username != "" {
			users = append(users, s.users[id])
		}
		for id := range s.emails[q.Email] {
			if users = append(users, s.users[id]); len(users) == 10 {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for i, u := range users {
		users[i] = copyUser(u)
	}
	return users, nil
}

// CreateUser implements [store.Users].
func (s *Store) CreateUser(ctx context.Context, u *store.User) error {
	return s.write(ctx, func() error {
		_, err := s.createUser(u)
		if err == nil {
			u.Version = 1
		}
		return err
	})
}

func (s *Store) createUser(u *store.User) (undo func(), err error) {
	if s.users[u.ID] != nil || s.taken(u) {
		return nil, store.ErrExists
	}
	kept := copyUser(u)
	kept.Version = 1
	s.putUser(kept)
	return func() { s.removeUser(kept) }, nil
}

// UpdateUser implements [store.Users].
func (s *Store) UpdateUser(ctx context.Context, u *store.User) error {
	return s.write(ctx, func() error {
		_, err := s.updateUser(u)
		if err == nil {
			u.Version++
		}
		return err
	})
}

func (s *Store) updateUser(u *store.User) (undo func(), err error) {
	old := s.users[u.ID]
	if old == nil || old.Version != u.Version {
		return nil, store.ErrConflict
	}
	if s.taken(u) {
		return nil, store.ErrExists
	}
	kept := copyUser(u)
	kept.Version++
	s.removeUser(old)
	s.putUser(kept)
	return func() { s.removeUser(kept); s.putUser(old) }, nil
}

// DeleteUser implements [store.Users].
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		u := s.users[id]
		if u == nil {
			return store.ErrNotFound
		}
		s.removeUser(u)
		return nil
	})
}

// taken says whether somebody else has the name or, unless both share it, the e-mail of u.
func (s *Store) taken(u *store.User) bool {
	if id, ok := s.usernames[u.Username]; ok && id != u.ID {
		return true
	}
	for id := range s.emails[u.Email] {
		if id != u.ID {
			// One other is enough to look at: where there are several, all share.
			return !u.SharedEmail || !s.users[id].SharedEmail
		}
	}
	return false
}

func (s *Store) putUser(u *store.User) {
	s.users[u.ID] = u
	s.usernames[u.Username] = u.ID
	if u.Email != "" {
		s.emails.add(u.Email, u.ID)
	}
}

func (s *Store) removeUser(u *store.User) {
	delete(s.users, u.ID)
	delete(s.usernames, u.Username)
	s.emails.remove(u.Email, u.ID)
}

func copyUser(u *store.User) *store.User {
	c := *u
	c.Roles, c.Groups = slices.Clone(u.Roles), slices.Clone(u.Groups)
	c.Attributes = maps.Clone(u.Attributes)
	for name, values := range c.Attributes {
		c.Attributes[name] = slices.Clone(values)
	}
	c.CreatedAt, c.UpdatedAt = at(u.CreatedAt), at(u.UpdatedAt)
	return &c
}

// Link implements [store.Links].
func (s *Store) Link(ctx context.Context, key store.LinkKey) (l *store.Link, err error) {
	if err := s.read(ctx, func() { l = s.links[key] }); err != nil {
		return nil, err
	}
	if l == nil {
		return nil, store.ErrNotFound
	}
	return copyLink(l), nil
}

// LinksOf implements [store.Links].
func (s *Store) LinksOf(ctx context.Context, userID string) ([]*store.Link, error) {
	links := []*store.Link{}
	err := s.read(ctx, func() {
		for key := range s.linksOf[userID] {
			links = append(links, copyLink(s.links[key]))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(links, func(a, b *store.Link) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Provider, b.Provider),
			cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject))
	})
	return links, nil
}

// CreateLink implements [store.Links].
func (s *Store) CreateLink(ctx context.Context, l *store.Link) error {
	return s.write(ctx, func() error {
		_, err := s.createLink(l)
		if err == nil {
			l.Version = 1
		}
		return err
	})
}

func (s *Store) createLink(l *store.Link) (undo func(), err error) {
	if s.links[l.LinkKey] != nil {
		return nil, store.ErrExists
	}
	kept := copyLink(l)
	kept.Version = 1
	s.putLink(kept)
	return func() { s.removeLink(kept) }, nil
}

// UpdateLink implements [store.Links].
func (s *Store) UpdateLink(ctx context.Context, l *store.Link) error {
	return s.write(ctx, func() error {
		_, err := s.updateLink(l)
		if err == nil {
			l.Version++
		}
		return err
	})
}

func (s *Store) updateLink(l *store.Link) (undo func(), err error) {
	old := s.links[l.LinkKey]
	if old == nil || old.Version != l.Version {
		return nil, store.ErrConflict
	}
	kept := copyLink(l)
	kept.Version++
	s.removeLink(old)
	s.putLink(kept)
	return func() { s.removeLink(kept); s.putLink(old) }, nil
}

func (s *Store) dropLink(l *store.Link) (undo func(), err error) {
	old := s.links[l.LinkKey]
	if old == nil || old.Version != l.Version {
		return nil, store.ErrConflict
	}
	s.removeLink(old)
	return func() { s.putLink(old) }, nil
}

// DeleteLink implements [store.Links].
func (s *Store) DeleteLink(ctx context.Context, key store.LinkKey) error {
	return s.write(ctx, func() error {
		l := s.links[key]
		if l == nil {
			return store.ErrNotFound
		}
		s.removeLink(l)
		return nil
	})
}

func (s *Store) putLink(l *store.Link) {
	s.links[l.LinkKey] = l
	if s.linksOf[l.UserID] == nil {
		s.linksOf[l.UserID] = map[store.LinkKey]struct{}{}
	}
	s.linksOf[l.UserID][l.LinkKey] = struct{}{}
}

func (s *Store) removeLink(l *store.Link) {
	delete(s.links, l.LinkKey)
	if delete(s.linksOf[l.UserID], l.LinkKey); len(s.linksOf[l.UserID]) == 0 {
		delete(s.linksOf, l.UserID)
	}
}

func copyLink(l *store.Link) *store.Link {
	c := *l
	c.Tokens = slices.Clone(l.Tokens)
	c.CreatedAt, c.LastLogin = at(l.CreatedAt), at(l.LastLogin)
	return &c
}
