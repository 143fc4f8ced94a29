package store

import (
	"context"
	"errors"
)

// Commit writes l to s: in one transaction where s is a [Committer], otherwise part by part.
//
// Part by part, the mark comes first, so that a login which failed half-way is not repeated by a replay. Then come a new
// user, the links, the user, the sessions and the grant, and the first that fails ends it. A user who was created but
// could not be linked is removed again; a crash exactly between the two leaves a user without a link, whom the next login
// of the same identity meets as an existing account. Any later failure leaves a user who is linked but not signed in.
func Commit(ctx context.Context, s Store, l *Login) error {
	if c, ok := s.(Committer); ok {
		return c.Commit(ctx, l)
	}
	if l.Once != "" {
		if err := s.Add(ctx, PurposeLogin, l.Once, nil, l.OnceExpires); err != nil {
			return err
		}
	}
	if l.NewUser != nil {
		if err := s.CreateUser(ctx, l.NewUser); err != nil {
			return err
		}
	}
	if err := commitLink(ctx, s, l); err != nil {
		if l.NewUser != nil {
			// The request may be what ended; the repair must not end with it.
			err = errors.Join(err, s.DeleteUser(context.WithoutCancel(ctx), l.NewUser.ID))
		}
		return err
	}
	if l.User != nil {
		if err := s.UpdateUser(ctx, l.User); err != nil {
			return err
		}
	}
	if l.Session != nil {
		write := s.CreateSession
		if l.Session.Version > 0 {
			write = s.UpdateSession
		}
		if err := write(ctx, l.Session); err != nil {
			return err
		}
	}
	if l.EndSession != "" {
		if err := s.DeleteSession(ctx, l.EndSession); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if l.Grant != nil {
		return s.CreateGrant(ctx, l.Grant)
	}
	return nil
}

func commitLink(ctx context.Context, s Store, l *Login) error {
	if l.NewLink != nil {
		if err := s.CreateLink(ctx, l.NewLink); err != nil {
			return err
		}
	}
	if l.Link != nil {
		return s.UpdateLink(ctx, l.Link)
	}
	return nil
}
