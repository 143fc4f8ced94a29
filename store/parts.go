package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// Parts is a [Store] of roles that are kept in different places: users in the host's own table, sessions in Redis, the
// rest in a database. All six are required; [Parts.Check] says which are missing, and the package broker asks it.
//
//	rest := sqlstore.New(db)
//	s := store.Parts{Users: hostUsers, Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest}
//
// It is no [Committer], since nothing spans the places; but [Commit] knows it, and writes what goes into one Committer in
// one transaction as far as the order allows, which is that of every store that is no Committer: mark, new user, links,
// user, grant, session. In the example a known user's login is one transaction; one that writes the host's table is three,
// of which the middle one is the user. A place is told by its value: give all its roles the same pointer.
//
// What fails is taken back where it would be in the way, as Commit says. Where the process dies between two writes, the
// login is used up and nobody is signed in, and there stays
//
//   - after the mark: nothing;
//   - after the new user: a user without a link, whom the next login of the same identity meets as an existing account;
//   - after the links or the user: a user who is linked and up to date;
//   - after the grant: one whose code nobody was told, which expires.
//
// What wraps Parts forwards Commit by calling the function of that name, as store/seal does: nobody else knows Parts.
type Parts struct {
	Users
	Links
	Sessions
	Grants
	Transient
	Keyring
}

var (
	_ Store   = Parts{}
	_ Sweeper = Parts{}
)

// Check reports the roles that nobody keeps. It does no I/O.
func (p Parts) Check() error {
	var errs []error
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		role := v.Field(i).Elem()
		if !role.IsValid() || role.Kind() == reflect.Pointer && role.IsNil() {
			errs = append(errs, fmt.Errorf("store.Parts: %s is nil", v.Type().Field(i).Name))
		}
	}
	return errors.Join(errs...)
}

// Sweep implements [Sweeper] by those of the parts that are one, each asked once. One that fails keeps no other from it.
func (p Parts) Sweep(ctx context.Context, limit int) (int, error) {
	swept, errs := 0, []error{ctx.Err()}
	var asked []any
	for _, role := range []any{p.Users, p.Links, p.Sessions, p.Grants, p.Transient, p.Keyring} {
		sweeper, ok := role.(Sweeper)
		if !ok || contains(asked, role) || swept >= limit {
			continue
		}
		asked = append(asked, role)
		n, err := sweeper.Sweep(ctx, limit-swept)
		swept, errs = swept+n, append(errs, err)
	}
	return swept, errors.Join(errs...)
}

func contains(places []any, place any) bool {
	for _, p := range places {
		if same(p, place) {
			return true
		}
	}
	return false
}

// same reports whether two roles are kept by the very same store. What cannot be compared is another.
func same(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// writes are what Commit writes one after the other, each of it at once.
func (p Parts) writes(l *Login) []*write {
	var all []*write
	add := func(needed bool, place any, set func(*Login)) {
		if !needed {
			return
		}
		if n := len(all); n > 0 && same(all[n-1].place, place) {
			if c, ok := place.(Committer); ok {
				all[n-1].committer = c
				set(&all[n-1].login)
				return
			}
		}
		w := &write{parts: p, place: place}
		set(&w.login)
		all = append(all, w)
	}
	add(l.Once != "", p.Transient, func(w *Login) { w.Once, w.OnceExpires = l.Once, l.OnceExpires })
	add(l.NewUser != nil, p.Users, func(w *Login) { w.NewUser = l.NewUser })
	add(l.NewLink != nil, p.Links, func(w *Login) { w.NewLink = l.NewLink })
	add(l.Link != nil, p.Links, func(w *Login) { w.Link = l.Link })
	add(l.OldLink != nil, p.Links, func(w *Login) { w.OldLink = l.OldLink })
	add(l.User != nil, p.Users, func(w *Login) { w.User = l.User })
	add(l.Grant != nil, p.Grants, func(w *Login) { w.Grant = l.Grant })
	add(l.Session != nil, p.Sessions, func(w *Login) { w.Session = l.Session })
	add(l.EndSession != "", p.Sessions, func(w *Login) { w.EndSession = l.EndSession })
	return all
}

// A write is one part of a login or, where there is a committer for it, several.
type write struct {
	parts     Parts
	place     any
	committer Committer // of more than one part
	login     Login
}

func (w *write) do(ctx context.Context) error {
	l := &w.login
	switch {
	case w.committer != nil:
		return w.committer.Commit(ctx, l)
	case l.Once != "":
		return w.parts.Add(ctx, PurposeLogin, l.Once, nil, l.OnceExpires)
	case l.NewUser != nil:
		return w.parts.CreateUser(ctx, l.NewUser)
	case l.NewLink != nil:
		return w.parts.CreateLink(ctx, l.NewLink)
	case l.Link != nil:
		return w.parts.UpdateLink(ctx, l.Link)
	case l.OldLink != nil:
		err := w.parts.DeleteLink(ctx, l.OldLink.LinkKey)
		if errors.Is(err, ErrNotFound) {
			return ErrConflict
		}
		return err
	case l.User != nil:
		return w.parts.UpdateUser(ctx, l.User)
	case l.Grant != nil:
		return w.parts.CreateGrant(ctx, l.Grant)
	case l.Session != nil && l.Session.Version > 0:
		return w.parts.UpdateSession(ctx, l.Session)
	case l.Session != nil:
		return w.parts.CreateSession(ctx, l.Session)
	}
	return unlessMissing(w.parts.DeleteSession(ctx, l.EndSession))
}

func unlessMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
