package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

func userID(u *store.User) string { return u.ID }

func usersRoundTrip(k *kit) {
	u := k.user("u1")
	k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	k.same(u.Version, int64(1), "Version after CreateUser")
	k.ok(k.s.CreateUser(k.ctx, k.user("u2")), "CreateUser of another")
	got, err := k.s.User(k.ctx, "u1")
	k.ok(err, "User")
	k.same(got, kept(u), "User")
	for _, q := range []store.UserQuery{{Username: u.Username}, {Email: u.Email}} {
		found, err := k.s.FindUsers(k.ctx, q)
		k.ok(err, "FindUsers(%+v)", q)
		k.same(found, []*store.User{kept(u)}, "FindUsers(%+v)", q)
	}
	k.ok(k.s.DeleteUser(k.ctx, "u1"), "DeleteUser")
	_, err = k.s.User(k.ctx, "u1")
	k.is(err, store.ErrNotFound, "User after DeleteUser")
	for _, q := range []store.UserQuery{{Username: u.Username}, {Email: u.Email}} {
		found, err := k.s.FindUsers(k.ctx, q)
		k.ok(err, "FindUsers(%+v) after DeleteUser", q)
		k.same(len(found), 0, "number of users found by %+v after DeleteUser", q)
	}
	_, err = k.s.User(k.ctx, "u2")
	k.ok(err, "User who was not deleted")
}

func usersMissing(k *kit) {
	_, err := k.s.User(k.ctx, "nobody")
	k.is(err, store.ErrNotFound, "User of nobody")
	k.is(k.s.DeleteUser(k.ctx, "nobody"), store.ErrNotFound, "DeleteUser of nobody")
	u := k.user("nobody")
	k.is(k.s.UpdateUser(k.ctx, u), store.ErrConflict, "UpdateUser of nobody")
	u.Version = 1
	k.is(k.s.UpdateUser(k.ctx, u), store.ErrConflict, "UpdateUser of nobody at version 1")
	_, err = k.s.User(k.ctx, "nobody")
	k.is(err, store.ErrNotFound, "User after UpdateUser of nobody")
	for _, q := range []store.UserQuery{{Username: "nobody"}, {Email: "nobody@example.com"}} {
		found, err := k.s.FindUsers(k.ctx, q)
		k.ok(err, "FindUsers(%+v)", q)
		k.same(len(found), 0, "number of users found by %+v", q)
	}
	for _, q := range []store.UserQuery{{}, {Username: "a", Email: "b"}} {
		if _, err := k.s.FindUsers(k.ctx, q); err == nil {
			k.Fatalf("FindUsers(%+v) is no error, but exactly one field has to be set", q)
		}
	}
}

func usersUnique(k *kit) {
	u := k.own("u1")
	k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	id, name := k.own("u1"), k.own("u2")
	id.Username, id.Email = "other", "other@example.com"
	name.Username = u.Username
	k.is(k.s.CreateUser(k.ctx, id), store.ErrExists, "CreateUser with an id that is taken")
	k.is(k.s.CreateUser(k.ctx, name), store.ErrExists, "CreateUser with a username that is taken")
	k.same(name.Version, int64(0), "Version after a CreateUser that failed")
	got, err := k.s.User(k.ctx, "u1")
	k.ok(err, "User")
	k.same(got, kept(u), "User after others wanted the same keys")
	_, err = k.s.User(k.ctx, "u2")
	k.is(err, store.ErrNotFound, "User who could not be created")
	found, err := k.s.FindUsers(k.ctx, store.UserQuery{Email: "other@example.com"})
	k.ok(err, "FindUsers")
	k.same(len(found), 0, "number of users found by the e-mail of one who could not be created")

	name.Username = "free"
	k.ok(k.s.CreateUser(k.ctx, name), "CreateUser with a username that is free")
	name.Username = u.Username
	k.is(k.s.UpdateUser(k.ctx, name), store.ErrExists, "UpdateUser to a username that is taken")
	k.same(name.Version, int64(1), "Version after an UpdateUser that failed")
	name.Username = "free too"
	k.ok(k.s.UpdateUser(k.ctx, name), "UpdateUser to a username that is free")
	again := k.own("u3")
	again.Username = "free"
	k.ok(k.s.CreateUser(k.ctx, again), "CreateUser with a username that was given up")
	found, err = k.s.FindUsers(k.ctx, store.UserQuery{Username: "free"})
	k.ok(err, "FindUsers")
	k.same(ids(found, userID), []string{"u3"}, "users found by a username that changed hands")
}

func usersEmail(k *kit) {
	users := 0
	with := func(email string, shared bool) *store.User {
		users++
		u := k.user(fmt.Sprint("u", users))
		u.Email, u.SharedEmail = email, shared
		return u
	}
	create := func(u *store.User) *store.User {
		k.Helper()
		k.ok(k.s.CreateUser(k.ctx, u), "CreateUser, e-mail %q, shared %v", u.Email, u.SharedEmail)
		return u
	}
	const exists = "%s: e-mail of another user, and not both share it"
	create(with("", false))
	create(with("", false))
	create(with("", true))
	found, err := k.s.FindUsers(k.ctx, store.UserQuery{Email: "none@example.com"})
	k.ok(err, "FindUsers")
	k.same(len(found), 0, "number of users found by an unknown e-mail")

	a := create(with("own@example.com", false))
	k.is(k.s.CreateUser(k.ctx, with("own@example.com", false)), store.ErrExists, exists, "own after own")
	k.is(k.s.CreateUser(k.ctx, with("own@example.com", true)), store.ErrExists, exists, "shared after own")
	b := create(with("shared@example.com", true))
	k.is(k.s.CreateUser(k.ctx, with("shared@example.com", false)), store.ErrExists, exists, "own after shared")
	c := create(with("shared@example.com", true))
	found, err = k.s.FindUsers(k.ctx, store.UserQuery{Email: "shared@example.com"})
	k.ok(err, "FindUsers")
	got := ids(found, userID)
	slices.Sort(got)
	k.same(got, []string{b.ID, c.ID}, "users who share an e-mail")

	a.Name = "Augusta"
	k.ok(k.s.UpdateUser(k.ctx, a), "UpdateUser that leaves the e-mail as it is")
	b.SharedEmail = false
	k.is(k.s.UpdateUser(k.ctx, b), store.ErrExists, exists, "UpdateUser from shared to own")
	b.SharedEmail, b.Email = true, a.Email
	k.is(k.s.UpdateUser(k.ctx, b), store.ErrExists, exists, "UpdateUser to an own one")
	b.Email = c.Email
	k.ok(k.s.DeleteUser(k.ctx, c.ID), "DeleteUser")
	b.SharedEmail = false
	k.ok(k.s.UpdateUser(k.ctx, b), "UpdateUser from shared to own, of the last who shared it")
	k.is(k.s.CreateUser(k.ctx, with(b.Email, true)), store.ErrExists, exists, "shared after one became own")
	b.SharedEmail = true
	k.ok(k.s.UpdateUser(k.ctx, b), "UpdateUser from own to shared")
	create(with(b.Email, true))
	a.Email = ""
	k.ok(k.s.UpdateUser(k.ctx, a), "UpdateUser to no e-mail")
	create(with("own@example.com", false))
}

func usersFindTen(k *kit) {
	for i := range 12 {
		u := k.user(fmt.Sprint("u", i))
		u.Email = "info@example.com"
		k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	}
	found, err := k.s.FindUsers(k.ctx, store.UserQuery{Email: "info@example.com"})
	k.ok(err, "FindUsers")
	got := ids(found, userID)
	slices.Sort(got)
	k.same(len(slices.Compact(got)), 10, "number of users found by an e-mail that twelve share")
}

func usersUpdate(k *kit) {
	u := k.user("u1")
	k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	stale := *u
	*u = store.User{ID: "u1", Username: "new", CreatedAt: k.at(7), UpdatedAt: k.at(8), Version: 1}
	k.ok(k.s.UpdateUser(k.ctx, u), "UpdateUser")
	k.same(u.Version, int64(2), "Version after UpdateUser")
	k.is(k.s.UpdateUser(k.ctx, &stale), store.ErrConflict, "UpdateUser of an old version")
	k.same(stale.Version, int64(1), "Version after an UpdateUser that failed")
	stale.Version = 3
	k.is(k.s.UpdateUser(k.ctx, &stale), store.ErrConflict, "UpdateUser of a version to come")
	got, err := k.s.User(k.ctx, "u1")
	k.ok(err, "User")
	got.Roles, got.Groups, got.Attributes = nil, nil, nil // empty and nil are the same
	k.same(got, kept(u), "User after updates")
	found, err := k.s.FindUsers(k.ctx, store.UserQuery{Email: "u1@example.com"})
	k.ok(err, "FindUsers")
	k.same(len(found), 0, "number of users found by an e-mail that was given up")
	k.ok(k.s.DeleteUser(k.ctx, "u1"), "DeleteUser")
	k.is(k.s.UpdateUser(k.ctx, u), store.ErrConflict, "UpdateUser after DeleteUser")
	_, err = k.s.User(k.ctx, "u1")
	k.is(err, store.ErrNotFound, "User after UpdateUser after DeleteUser")
}

func usersRaces(k *kit) {
	k.oneWins(store.ErrExists, "CreateUser with one id", func(round, i int) error {
		u := k.own(fmt.Sprint("id", round))
		u.Username, u.Email = fmt.Sprint("n", round, "-", i), fmt.Sprint("e", round, "-", i)
		return k.s.CreateUser(k.ctx, u)
	})
	k.oneWins(store.ErrExists, "CreateUser with one username", func(round, i int) error {
		u := k.own(fmt.Sprint("name", round, "-", i))
		u.Username = fmt.Sprint("name", round)
		return k.s.CreateUser(k.ctx, u)
	})
	k.oneWins(store.ErrExists, "CreateUser with one e-mail", func(round, i int) error {
		u := k.own(fmt.Sprint("mail", round, "-", i))
		u.Email = fmt.Sprint("mail", round)
		return k.s.CreateUser(k.ctx, u)
	})
	k.oneWins(store.ErrConflict, "UpdateUser of one version", func(round, i int) error {
		u := k.own("updated")
		u.Name, u.Version = fmt.Sprint(i), int64(round)
		if round == 0 {
			err := k.s.CreateUser(k.ctx, u)
			if errors.Is(err, store.ErrExists) {
				err = store.ErrConflict
			}
			return err
		}
		return k.s.UpdateUser(k.ctx, u)
	})
	for round := range 3 {
		email := fmt.Sprint("mixed", round)
		for _, err := range race(func(i int) error {
			u := k.user(fmt.Sprint(email, i))
			u.Email, u.SharedEmail = email, i%2 == 0
			return k.s.CreateUser(k.ctx, u)
		}) {
			if err != nil {
				k.is(err, store.ErrExists, "CreateUser with one e-mail that only some share")
			}
		}
		found, err := k.s.FindUsers(k.ctx, store.UserQuery{Email: email})
		k.ok(err, "FindUsers")
		if own := slices.ContainsFunc(found, func(u *store.User) bool { return !u.SharedEmail }); len(found) == 0 || own && len(found) > 1 {
			k.Fatalf("%d users have one e-mail after a race, and not all share it: %v", len(found), own)
		}
	}
}

// usersCancelled calls methods whose context has ended: they say so and do nothing.
func usersCancelled(k *kit) {
	u := k.user("old")
	k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	changed := *u
	changed.Name = "changed"
	for name, call := range map[string]func() error{
		"User":       func() error { _, err := k.s.User(ctx, "old"); return err },
		"FindUsers":  func() error { _, err := k.s.FindUsers(ctx, store.UserQuery{Username: u.Username}); return err },
		"CreateUser": func() error { return k.s.CreateUser(ctx, k.user("new")) },
		"UpdateUser": func() error { return k.s.UpdateUser(ctx, &changed) },
		"DeleteUser": func() error { return k.s.DeleteUser(ctx, "old") },
	} {
		k.is(call(), context.Canceled, "%s with a context that is cancelled", name)
		got, err := k.s.User(k.ctx, "old")
		k.ok(err, "User")
		k.same(got, kept(u), "User after %s with a context that is cancelled", name)
		_, err = k.s.User(k.ctx, "new")
		k.is(err, store.ErrNotFound, "User after %s with a context that is cancelled", name)
	}
}

func usersCopies(k *kit) {
	spoil := func(u *store.User) {
		u.Name, u.Disabled = "spoilt", false
		u.Roles[0], u.Groups[0], u.Attributes["phone"][0] = "spoilt", "spoilt", "spoilt"
		u.Attributes["spoilt"] = nil
	}
	copies(k, "User", k.user("u1"), k.user("u1"), spoil, func(u *store.User) error { return k.s.CreateUser(k.ctx, u) },
		func() (*store.User, error) { return k.s.User(k.ctx, "u1") },
		func() (*store.User, error) {
			return first(k.s.FindUsers(k.ctx, store.UserQuery{Username: "name of u1"}))
		},
		func() (*store.User, error) {
			return first(k.s.FindUsers(k.ctx, store.UserQuery{Email: "u1@example.com"}))
		})
	copies(k, "User after an update", k.user("u1"), k.user("u1"), spoil, func(u *store.User) error {
		u.Version = 1
		return k.s.UpdateUser(k.ctx, u)
	}, func() (*store.User, error) { return k.s.User(k.ctx, "u1") })
}

// copies writes a record and then spoils what it gave and what each way to read it returned. want is a record as in.
func copies[T any](k *kit, what string, in, want *T, spoil func(*T), write func(*T) error, reads ...func() (*T, error)) {
	k.Helper()
	k.ok(write(in), "write of a %s", what)
	setVersion(want, version(in))
	spoil(in)
	for _, read := range append(reads, reads...) {
		got, err := read()
		k.ok(err, "read of a %s", what)
		k.same(got, kept(want), "%s, after what was given or returned before was changed", what)
		spoil(got)
	}
}

func first[T any](records []*T, err error) (*T, error) {
	if err == nil && len(records) != 1 {
		err = fmt.Errorf("%d were found, want 1", len(records))
	}
	if err != nil {
		return nil, err
	}
	return records[0], nil
}
