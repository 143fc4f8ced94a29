package storetest

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// partByPart is a store that says no more than that it is one.
type partByPart struct{ store.Store }

func hideCommitter(k *kit) { k.s = partByPart{k.s} }

// commitChecks are what [store.Commit] promises of every store.
func commitChecks(prefix string, prepare func(*kit)) []check {
	all := []check{
		{"writes all", commitWrites},
		{"parts", commitParts},
		{"replay", commitReplay},
		{"no user without a link", commitNoUser},
		{"races", commitRaces},
		{"stale", commitStale},
		{"link that takes another's place", commitReplaces},
	}
	for i, c := range all {
		all[i] = check{prefix + c.name, func(k *kit) { prepare(k); c.run(k) }}
	}
	return all
}

// login is one of a new user, who shares nothing with those of other names.
func (k *kit) login(name string) *store.Login {
	return &store.Login{
		Once: name, OnceExpires: k.at(3600), NewUser: k.own(name), NewLink: k.link(name, name), Session: k.session(name, name),
		Grant: k.grant(name, name),
	}
}

// again is one of a user who has logged in as l before.
func (k *kit) again(l *store.Login, name string) *store.Login {
	u, link := *l.NewUser, *l.NewLink
	u.Name, link.Username = "changed", "changed"
	return &store.Login{
		Once: name, OnceExpires: k.at(3600), User: &u, Link: &link, Session: k.session(name, u.ID), EndSession: l.Session.ID,
		Grant: k.grant(name, u.ID),
	}
}

func commitWrites(k *kit) {
	l := k.login("new")
	k.ok(store.Commit(k.ctx, k.s, l), "Commit of a new user")
	got := []int64{l.NewUser.Version, l.NewLink.Version, l.Session.Version, l.Grant.Version}
	k.same(got, []int64{1, 1, 1, 1}, "Versions after Commit")
	k.written(l.NewUser, l.NewLink, l.Session, l.Grant)
	mark, err := k.s.Get(k.ctx, store.PurposeLogin, "new")
	k.ok(err, "mark of the login")
	k.same(len(mark), 0, "length of the mark")

	a := k.again(l, "again")
	k.ok(store.Commit(k.ctx, k.s, a), "Commit of a known user")
	got = []int64{a.User.Version, a.Link.Version, a.Session.Version, a.Grant.Version}
	k.same(got, []int64{2, 2, 1, 1}, "Versions after Commit")
	k.written(a.User, a.Link, a.Session, a.Grant)
	_, err = k.s.Session(k.ctx, l.Session.ID)
	k.is(err, store.ErrNotFound, "Session that the new one replaces")
	_, err = k.s.Grant(k.ctx, l.Grant.ID)
	k.ok(err, "Grant of the session that the new one replaces")
}

func (k *kit) written(u *store.User, l *store.Link, s *store.Session, g *store.Grant) {
	k.Helper()
	gotUser, err := k.s.User(k.ctx, u.ID)
	k.ok(err, "User after Commit")
	k.same(gotUser, kept(u), "User after Commit")
	gotLink, err := k.s.Link(k.ctx, l.LinkKey)
	k.ok(err, "Link after Commit")
	k.same(gotLink, kept(l), "Link after Commit")
	gotSession, err := k.s.Session(k.ctx, s.ID)
	k.ok(err, "Session after Commit")
	k.same(gotSession, kept(s), "Session after Commit")
	gotGrant, err := k.s.Grant(k.ctx, g.ID)
	k.ok(err, "Grant after Commit")
	k.same(gotGrant, kept(g), "Grant after Commit")
}

// commitParts commits logins of one part each, and keeps the store's copies its own.
func commitParts(k *kit) {
	k.ok(store.Commit(k.ctx, k.s, &store.Login{}), "Commit of nothing")
	k.ok(k.s.CreateSession(k.ctx, k.session("", "nobody")), "CreateSession with an empty id")
	k.ok(store.Commit(k.ctx, k.s, &store.Login{}), "Commit of nothing")
	_, err := k.s.Session(k.ctx, "")
	k.ok(err, "Session with an empty id after a Commit that ends none")
	_, err = k.s.Get(k.ctx, store.PurposeLogin, "")
	k.is(err, store.ErrNotFound, "mark of a login that has none")

	l := k.login("new")
	for _, part := range []*store.Login{
		{Once: l.Once, OnceExpires: l.OnceExpires}, {NewUser: l.NewUser}, {NewLink: l.NewLink}, {Session: l.Session}, {Grant: l.Grant},
	} {
		k.ok(store.Commit(k.ctx, k.s, part), "Commit of a part")
	}
	k.written(l.NewUser, l.NewLink, l.Session, l.Grant)
	a := k.again(l, "again")
	for _, part := range []*store.Login{{User: a.User}, {Link: a.Link}, {Session: a.Session}, {Grant: a.Grant}} {
		k.ok(store.Commit(k.ctx, k.s, part), "Commit of a part")
	}
	k.written(a.User, a.Link, a.Session, a.Grant)
	renewed := *a.Session
	renewed.SecretHash, renewed.ACR, renewed.UserID = []byte("another"), "stronger", "somebody else"
	k.ok(store.Commit(k.ctx, k.s, &store.Login{Session: &renewed}), "Commit that renews a session")
	k.same(renewed.Version, int64(2), "Version of the session after Commit")
	k.written(a.User, a.Link, &renewed, a.Grant)
	_, err = k.s.Session(k.ctx, l.Session.ID)
	k.ok(err, "Session that nobody ended")
	k.ok(store.Commit(k.ctx, k.s, &store.Login{EndSession: l.Session.ID}), "Commit that ends a session")
	_, err = k.s.Session(k.ctx, l.Session.ID)
	k.is(err, store.ErrNotFound, "Session that was ended")
	k.ok(store.Commit(k.ctx, k.s, &store.Login{EndSession: "none"}), "Commit that ends a session which is not there")

	l = k.login("spoilt")
	k.ok(store.Commit(k.ctx, k.s, l), "Commit")
	l.NewUser.Roles[0], l.NewLink.Tokens[0], l.Session.AMR[0], l.Grant.Scope[0] = "X", 'X', "X", "X"
	want := k.login("spoilt")
	want.NewUser.Version, want.NewLink.Version, want.Session.Version, want.Grant.Version = 1, 1, 1, 1
	k.written(want.NewUser, want.NewLink, want.Session, want.Grant)
}

func commitReplay(k *kit) {
	l := k.login("new")
	k.ok(store.Commit(k.ctx, k.s, l), "Commit")
	before := k.snapshot("new", "replay")
	replay := k.login("replay")
	replay.Once = l.Once
	k.is(store.Commit(k.ctx, k.s, replay), store.ErrExists, "Commit of a login whose mark is set")
	k.same(k.snapshot("new", "replay"), before, "store after a replay")
	k.ok(k.s.Put(k.ctx, "another purpose", "free", nil, k.at(3600)), "Put")
	other := k.login("replay")
	other.Once = "free"
	k.ok(store.Commit(k.ctx, k.s, other), "Commit of a login whose mark is set for another purpose only")
}

// commitNoUser wants that a user who could not be linked is not left behind.
func commitNoUser(k *kit) {
	k.ok(store.Commit(k.ctx, k.s, k.login("old")), "Commit")
	l := k.login("new")
	l.NewLink.LinkKey = k.link("old", "").LinkKey
	k.is(store.Commit(k.ctx, k.s, l), store.ErrExists, "Commit of a link that somebody else has")
	_, err := k.s.User(k.ctx, "new")
	k.is(err, store.ErrNotFound, "User who could not be linked")
	got, err := k.s.Link(k.ctx, l.NewLink.LinkKey)
	k.ok(err, "Link")
	k.same(got.UserID, "old", "user of the link that two wanted")
	_, err = k.s.Session(k.ctx, "new")
	k.is(err, store.ErrNotFound, "Session of a user who could not be linked")
	_, err = k.s.Grant(k.ctx, "new")
	k.is(err, store.ErrNotFound, "Grant of a user who could not be linked")
}

func commitRaces(k *kit) {
	name := func(what string, round, i int) string { return fmt.Sprint(what, round, "-", i) }
	left := func(what string) {
		k.Helper()
		for round := range 3 {
			users, sessions := 0, 0
			for i := range racers {
				if _, err := k.s.User(k.ctx, name(what, round, i)); err == nil {
					users++
				}
				if _, err := k.s.Session(k.ctx, name(what, round, i)); err == nil {
					sessions++
				}
			}
			k.same([]int{users, sessions}, []int{1, 1}, "number of users and of sessions after a race for one %s", what)
		}
	}
	k.oneWins(store.ErrExists, "Commit with one mark", func(round, i int) error {
		l := k.login(name("mark", round, i))
		l.Once = fmt.Sprint("mark", round)
		return store.Commit(k.ctx, k.s, l)
	})
	left("mark")
	k.oneWins(store.ErrExists, "Commit with one link", func(round, i int) error {
		l := k.login(name("link", round, i))
		l.NewLink.Subject = fmt.Sprint("link", round)
		return store.Commit(k.ctx, k.s, l)
	})
	left("link")
	k.oneWins(store.ErrExists, "Commit with one username", func(round, i int) error {
		l := k.login(name("username", round, i))
		l.NewUser.Username = fmt.Sprint("username", round)
		return store.Commit(k.ctx, k.s, l)
	})
	left("username")
}

func commitStale(k *kit) {
	l := k.login("old")
	k.ok(store.Commit(k.ctx, k.s, l), "Commit")
	a := k.again(l, "again")
	a.User = nil
	a.Link.Version = 7
	k.is(store.Commit(k.ctx, k.s, a), store.ErrConflict, "Commit of a link that was changed since it was read")
	_, err := k.s.Session(k.ctx, "again")
	k.is(err, store.ErrNotFound, "Session of a login that failed")
	b := k.again(l, "b")
	b.Link = nil
	b.User.Version = 7
	k.is(store.Commit(k.ctx, k.s, b), store.ErrConflict, "Commit of a user who was changed since they were read")
	_, err = k.s.Session(k.ctx, "b")
	k.is(err, store.ErrNotFound, "Session of a login that failed")
	changed, gone := k.session("old", "old"), k.session("gone", "old")
	changed.Version, gone.Version = 7, 1
	for _, s := range []*store.Session{changed, gone} {
		err := store.Commit(k.ctx, k.s, &store.Login{Session: s, Grant: k.grant("c", "old")})
		k.is(err, store.ErrConflict, "Commit of session %q that was changed or deleted since it was read", s.ID)
		_, err = k.s.Grant(k.ctx, "c")
		k.is(err, store.ErrNotFound, "Grant of a login that failed")
	}
	_, err = k.s.Session(k.ctx, "gone")
	k.is(err, store.ErrNotFound, "Session that was to be updated and was not there")
	got, err := k.s.User(k.ctx, "old")
	k.ok(err, "User")
	k.same(got, kept(l.NewUser), "User after logins that failed")
}

// commitReplaces commits logins of somebody who is known by another subject from now on.
func commitReplaces(k *kit) {
	l := k.login("old")
	k.ok(store.Commit(k.ctx, k.s, l), "Commit")
	moved := func(to string) *store.Login {
		link := *l.NewLink
		link.Subject, link.Version = to, 0
		old := *l.NewLink
		return &store.Login{NewLink: &link, OldLink: &old, Session: k.session(to, "old")}
	}
	next := moved("new")
	k.ok(store.Commit(k.ctx, k.s, next), "Commit of a link that takes another's place")
	k.same([]int64{next.NewLink.Version, next.OldLink.Version}, []int64{1, 1}, "Versions after Commit")
	got, err := k.s.Link(k.ctx, next.NewLink.LinkKey)
	k.ok(err, "Link that took another's place")
	k.same(got, kept(next.NewLink), "Link that took another's place")
	_, err = k.s.Link(k.ctx, l.NewLink.LinkKey)
	k.is(err, store.ErrNotFound, "Link whose place another took")
	links, err := k.s.LinksOf(k.ctx, l.NewLink.UserID)
	k.ok(err, "LinksOf")
	k.same(len(links), 1, "number of links after one took another's place")

	k.is(store.Commit(k.ctx, k.s, moved("late")), store.ErrConflict, "Commit of a link that takes the place of one that is gone")
	_, err = k.s.Link(k.ctx, moved("late").NewLink.LinkKey)
	k.is(err, store.ErrNotFound, "Link that was to take the place of one that is gone")
	_, err = k.s.Session(k.ctx, "late")
	k.is(err, store.ErrNotFound, "Session of a login that failed")
	k.oneWins(store.ErrExists, "Commit of a link that takes another's place", func(round, i int) error {
		n := moved("new" + strings.Repeat("+", round+1)) // each round begins with the link that the one before has made
		n.OldLink.Subject = "new" + strings.Repeat("+", round)
		n.Session.ID = fmt.Sprint("raced", round, "-", i)
		return store.Commit(k.ctx, k.s, n)
	})
}

// commitAllOrNothing lets a login with every part fail at each of them in turn.
func commitAllOrNothing(k *kit) {
	base := k.login("base")
	k.ok(store.Commit(k.ctx, k.s, base), "Commit")
	for _, n := range []string{"session", "taken"} {
		k.ok(store.Commit(k.ctx, k.s, k.login(n)), "Commit")
	}
	full := func() *store.Login {
		l := k.again(base, "new")
		l.NewUser, l.NewLink = k.own("new"), k.link("new", "new")
		l.EndSession, l.OldLink = "session", k.link("session", "session")
		l.OldLink.Version = 1
		return l
	}
	names := []string{"base", "session", "taken", "new"}
	before := k.snapshot(names...)
	for _, c := range []struct {
		part  string
		spoil func(l *store.Login)
		want  error
	}{
		{"a mark that is set", func(l *store.Login) { l.Once = "taken" }, store.ErrExists},
		{"a new user's id that is taken", func(l *store.Login) { l.NewUser.ID = "taken" }, store.ErrExists},
		{"a new user's username that is taken", func(l *store.Login) { l.NewUser.Username = "name of taken" }, store.ErrExists},
		{"a new user's e-mail that is taken", func(l *store.Login) { l.NewUser.Email = "taken@example.com" }, store.ErrExists},
		{"a user's version that is old", func(l *store.Login) { l.User.Version-- }, store.ErrConflict},
		{"a user who is gone", func(l *store.Login) { l.User.ID = "gone" }, store.ErrConflict},
		{"a user's username that is taken", func(l *store.Login) { l.User.Username = "name of taken" }, store.ErrExists},
		{"a user's username that the new user takes", func(l *store.Login) { l.User.Username = l.NewUser.Username }, store.ErrExists},
		{"a user's e-mail that is taken", func(l *store.Login) { l.User.Email = "taken@example.com" }, store.ErrExists},
		{"a new link that is taken", func(l *store.Login) { l.NewLink.Subject = "taken" }, store.ErrExists},
		{"a link's version that is old", func(l *store.Login) { l.Link.Version-- }, store.ErrConflict},
		{"a link that is gone", func(l *store.Login) { l.Link.Subject = "gone" }, store.ErrConflict},
		{"an old link's version that is old", func(l *store.Login) { l.OldLink.Version-- }, store.ErrConflict},
		{"an old link that is gone", func(l *store.Login) { l.OldLink.Subject = "gone" }, store.ErrConflict},
		{"a session's version that is old", func(l *store.Login) { l.Session.ID, l.Session.Version = "taken", 7 }, store.ErrConflict},
		{"a session that is gone", func(l *store.Login) { l.Session.ID, l.Session.Version = "gone", 1 }, store.ErrConflict},
		{"a session's id that is taken", func(l *store.Login) { l.Session.ID = "taken" }, store.ErrExists},
		{"a session's version that is old", func(l *store.Login) { l.Session.ID, l.Session.Version = "base", 7 }, store.ErrConflict},
		{"a session that is gone", func(l *store.Login) { l.Session.Version = 1 }, store.ErrConflict},
		{"a session that goes on, and a grant's id that is taken", func(l *store.Login) {
			l.Session.ID, l.Session.Version, l.Session.UserID, l.Grant.ID = "base", 1, "taken", "taken"
		}, store.ErrExists},
		{"a grant's id that is taken", func(l *store.Login) { l.Grant.ID = "taken" }, store.ErrExists},
	} {
		l := full()
		c.spoil(l)
		versions := versionsOf(l)
		k.is(store.Commit(k.ctx, k.s, l), c.want, "Commit with %s", c.part)
		k.same(versionsOf(l), versions, "Versions after a Commit that failed for %s", c.part)
		k.same(k.snapshot(names...), before, "store after a Commit that failed for %s", c.part)
	}
	l := full()
	k.ok(store.Commit(k.ctx, k.s, l), "Commit after the ones that failed")
	k.same(versionsOf(l), []int64{1, 2, 1, 2, 1, 1}, "Versions after Commit")
	_, err := k.s.Session(k.ctx, "session")
	k.is(err, store.ErrNotFound, "Session that was ended")
	_, err = k.s.Link(k.ctx, l.OldLink.LinkKey)
	k.is(err, store.ErrNotFound, "Link whose place another took")
}

func versionsOf(l *store.Login) []int64 {
	return []int64{l.NewUser.Version, l.User.Version, l.NewLink.Version, l.Link.Version, l.Session.Version, l.Grant.Version}
}

func commitCancelled(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	before := k.snapshot("new")
	k.is(store.Commit(ctx, k.s, k.login("new")), context.Canceled, "Commit with a context that is cancelled")
	k.same(k.snapshot("new"), before, "store after a Commit with a context that is cancelled")
}
