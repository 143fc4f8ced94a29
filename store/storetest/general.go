package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func isSentinel(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict)
}

// times are kept to the microsecond, in UTC, however long ago or ahead, and zero stays zero.
func times(k *kit) {
	for i, t := range []time.Time{
		{}, time.UnixMicro(0), time.UnixMicro(-1), time.UnixMicro(1_700_000_000_000_001), k.start.Add(999 * time.Microsecond),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(1900, 1, 1, 0, 0, 0, 1000, time.FixedZone("", -3600)),
		time.Date(2026, 10, 25, 2, 30, 0, 0, time.FixedZone("", 7200)),
	} {
		id := fmt.Sprint(i)
		u, l, s := k.user(id), k.link(id, id), k.session(id, id)
		g, key := k.grant(id, id), k.key(id, "RS256", i)
		u.CreatedAt, u.UpdatedAt, l.CreatedAt, l.LastLogin = t, t, t, t
		s.AuthTime, s.CreatedAt, s.LastSeen = t, t, t
		g.AuthTime, g.CodeExpires, g.GraceUntil, g.CreatedAt = t, t, t, t
		key.CreatedAt, key.NotBefore = t, t
		k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
		k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
		k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
		k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
		k.ok(k.s.AddKey(k.ctx, key), "AddKey")
		gotUser, err := k.s.User(k.ctx, id)
		k.ok(err, "User")
		k.same(gotUser, kept(u), "User of %v", t)
		gotLink, err := k.s.Link(k.ctx, l.LinkKey)
		k.ok(err, "Link")
		k.same(gotLink, kept(l), "Link of %v", t)
		gotSession, err := k.s.Session(k.ctx, id)
		k.ok(err, "Session")
		k.same(gotSession, kept(s), "Session of %v", t)
		gotGrant, err := k.s.Grant(k.ctx, id)
		k.ok(err, "Grant")
		k.same(gotGrant, kept(g), "Grant of %v", t)
		keys, err := k.s.Keys(k.ctx)
		k.ok(err, "Keys")
		k.same(len(keys), i+1, "number of keys")
		k.same(keys[i], kept(key), "Key of %v", t)
	}
}

// empties can be stored, and what is empty is not mistaken for what has an empty element.
func empties(k *kit) {
	end := k.at(3600)
	for i, list := range [][]string{nil, {}, {""}, {"", ""}} {
		id := fmt.Sprint(i)
		want := len(list)
		u := &store.User{ID: id, Username: id, Roles: list, Groups: list, Attributes: map[string][]string{"": {"x"}, "a": {""}}}
		s := &store.Session{ID: id, UserID: id, AMR: list, Notes: map[string]string{"": ""}, ExpiresAt: end}
		g := &store.Grant{ID: id, UserID: id, Scope: list, AMR: list, Resources: list, ClaimsRequest: list, CodeHash: []byte{}, ExpiresAt: end}
		l := &store.Link{LinkKey: store.LinkKey{Provider: "p", Subject: id}, UserID: id, Tokens: []byte{}}
		k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
		k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
		k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
		k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
		gotUser, err := k.s.User(k.ctx, id)
		k.ok(err, "User")
		k.same([]int{len(gotUser.Roles), len(gotUser.Groups)}, []int{want, want}, "length of the lists of a user, of %q", list)
		k.same(gotUser.Attributes, map[string][]string{"": {"x"}, "a": {""}}, "attributes with an empty name and an empty value")
		gotSession, err := k.s.Session(k.ctx, id)
		k.ok(err, "Session")
		k.same(len(gotSession.AMR), want, "length of the list of a session, of %q", list)
		k.same(gotSession.Notes, map[string]string{"": ""}, "an empty note")
		k.same(gotSession.Upstream, store.LinkKey{}, "upstream of a session that has none")
		gotGrant, err := k.s.Grant(k.ctx, id)
		k.ok(err, "Grant")
		k.same([]int{len(gotGrant.Scope), len(gotGrant.AMR), len(gotGrant.Resources), len(gotGrant.ClaimsRequest), len(gotGrant.CodeHash)},
			[]int{want, want, want, want, 0}, "length of the lists of a grant, of %q", list)
		k.same(gotGrant.Upstream, store.LinkKey{}, "upstream of a grant that has none")
		gotLink, err := k.s.Link(k.ctx, l.LinkKey)
		k.ok(err, "Link")
		k.same(len(gotLink.Tokens), 0, "length of no tokens")
	}
}

// cancelled calls say so and do nothing.
func cancelled(k *kit) {
	end := k.at(3600)
	u, l, s, g := k.user("old"), k.link("old", "old"), k.session("old", "old"), k.grant("old", "old")
	k.ok(k.s.CreateUser(k.ctx, u), "CreateUser")
	k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
	k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
	k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
	k.ok(k.s.Put(k.ctx, "p", "old", []byte("old"), end), "Put")
	k.ok(k.s.AddKey(k.ctx, k.key("old", "RS256", 1)), "AddKey")
	before := k.snapshot("old", "new")

	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	changed := func() (*store.User, *store.Link, *store.Session, *store.Grant) {
		u, l, s, g := *u, *l, *s, *g
		u.Name, l.Username, s.ACR, g.Nonce = "changed", "changed", "changed", "changed"
		return &u, &l, &s, &g
	}
	u2, l2, s2, g2 := changed()
	for name, call := range map[string]func() error{
		"User":          func() error { _, err := k.s.User(ctx, "old"); return err },
		"FindUsers":     func() error { _, err := k.s.FindUsers(ctx, store.UserQuery{Username: u.Username}); return err },
		"CreateUser":    func() error { return k.s.CreateUser(ctx, k.user("new")) },
		"UpdateUser":    func() error { return k.s.UpdateUser(ctx, u2) },
		"DeleteUser":    func() error { return k.s.DeleteUser(ctx, "old") },
		"Link":          func() error { _, err := k.s.Link(ctx, l.LinkKey); return err },
		"LinksOf":       func() error { _, err := k.s.LinksOf(ctx, "old"); return err },
		"CreateLink":    func() error { return k.s.CreateLink(ctx, k.link("new", "new")) },
		"UpdateLink":    func() error { return k.s.UpdateLink(ctx, l2) },
		"DeleteLink":    func() error { return k.s.DeleteLink(ctx, l.LinkKey) },
		"Session":       func() error { _, err := k.s.Session(ctx, "old"); return err },
		"FindSessions":  func() error { _, err := k.s.FindSessions(ctx, store.SessionQuery{UserID: "old"}); return err },
		"CreateSession": func() error { return k.s.CreateSession(ctx, k.session("new", "new")) },
		"UpdateSession": func() error { return k.s.UpdateSession(ctx, s2) },
		"DeleteSession": func() error { return k.s.DeleteSession(ctx, "old") },
		"Grant":         func() error { _, err := k.s.Grant(ctx, "old"); return err },
		"FindGrants":    func() error { _, err := k.s.FindGrants(ctx, store.GrantQuery{UserID: "old"}); return err },
		"CreateGrant":   func() error { return k.s.CreateGrant(ctx, k.grant("new", "new")) },
		"UpdateGrant":   func() error { return k.s.UpdateGrant(ctx, g2) },
		"DeleteGrant":   func() error { return k.s.DeleteGrant(ctx, "old") },
		"Put":           func() error { return k.s.Put(ctx, "p", "old", []byte("new"), end) },
		"Add":           func() error { return k.s.Add(ctx, "p", "new", nil, end) },
		"Get":           func() error { _, err := k.s.Get(ctx, "p", "old"); return err },
		"Take":          func() error { _, err := k.s.Take(ctx, "p", "old"); return err },
		"Keys":          func() error { _, err := k.s.Keys(ctx); return err },
		"AddKey":        func() error { return k.s.AddKey(ctx, k.key("new", "RS256", 2)) },
		"DeleteKey":     func() error { return k.s.DeleteKey(ctx, "old") },
	} {
		k.is(call(), context.Canceled, "%s with a context that is cancelled", name)
		k.same(k.snapshot("old", "new"), before, "store after %s with a context that is cancelled", name)
	}
}

// snapshot reads all that there is under the given names.
func (k *kit) snapshot(names ...string) map[string]any {
	k.Helper()
	seen := map[string]any{}
	note := func(what, name string, v any, err error) {
		k.Helper()
		switch {
		case err == nil:
			seen[what+" "+name] = v
		case !errors.Is(err, store.ErrNotFound):
			k.Fatalf("%s %q: %v", what, name, err)
		}
	}
	for _, n := range names {
		u, err := k.s.User(k.ctx, n)
		note("User", n, u, err)
		users, err := k.s.FindUsers(k.ctx, store.UserQuery{Username: "name of " + n})
		note("FindUsers", n, ids(users, userID), err)
		users, err = k.s.FindUsers(k.ctx, store.UserQuery{Email: n + "@example.com"})
		note("FindUsers by e-mail", n, ids(users, userID), err)
		l, err := k.s.Link(k.ctx, k.link(n, "").LinkKey)
		note("Link", n, l, err)
		links, err := k.s.LinksOf(k.ctx, n)
		note("LinksOf", n, ids(links, subject), err)
		s, err := k.s.Session(k.ctx, n)
		note("Session", n, s, err)
		sessions, err := k.s.FindSessions(k.ctx, store.SessionQuery{UserID: n})
		note("FindSessions", n, ids(sessions, sessionID), err)
		g, err := k.s.Grant(k.ctx, n)
		note("Grant", n, g, err)
		grants, err := k.s.FindGrants(k.ctx, store.GrantQuery{UserID: n})
		note("FindGrants", n, ids(grants, grantID), err)
		for _, purpose := range []string{"p", store.PurposeLogin} {
			v, err := k.s.Get(k.ctx, purpose, n)
			note("Get for "+purpose, n, string(v), err)
		}
	}
	keys, err := k.s.Keys(k.ctx)
	note("Keys", "", ids(keys, keyID), err)
	return seen
}

// sweep removes no more than it may, and only what has expired.
func sweep(k *kit) {
	const each, limit = 10, 7
	for i := range each {
		for age, end := range map[string]time.Time{"old": k.at(60), "new": k.at(3600)} {
			id := fmt.Sprint(age, i)
			s, g := k.session(id, age), k.grant(id, age)
			s.ExpiresAt, g.ExpiresAt = end, end
			k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
			k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
			k.ok(k.s.Put(k.ctx, "p", id, []byte(id), end), "Put")
		}
		k.ok(k.s.CreateUser(k.ctx, k.user(fmt.Sprint("u", i))), "CreateUser")
		k.ok(k.s.CreateLink(k.ctx, k.link(fmt.Sprint("l", i), "u")), "CreateLink")
		k.ok(k.s.AddKey(k.ctx, k.key(fmt.Sprint("k", i), "RS256", i)), "AddKey")
	}
	sweeper, _ := store.As[store.Sweeper](k.s)
	n, err := sweeper.Sweep(k.ctx, 100)
	k.ok(err, "Sweep")
	k.same(n, 0, "number of things swept before anything has expired")
	k.advance(2 * time.Minute)
	n, err = sweeper.Sweep(k.ctx, 0)
	k.ok(err, "Sweep")
	k.same(n, 0, "number of things swept by Sweep(0)")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	_, err = sweeper.Sweep(ctx, limit)
	k.is(err, context.Canceled, "Sweep with a context that is cancelled")
	total := 0
	for range 3 * each {
		n, err := sweeper.Sweep(k.ctx, limit)
		k.ok(err, "Sweep")
		if n < 0 || n > limit {
			k.Fatalf("Sweep(%d) removed %d", limit, n)
		}
		total += n
	}
	if total == 0 || total > 3*each {
		k.Fatalf("sweeps removed %d things of the %d that have expired", total, 3*each)
	}
	n, err = sweeper.Sweep(k.ctx, limit)
	k.ok(err, "Sweep")
	k.same(n, 0, "number of things swept after all were")
	for i := range each {
		id := fmt.Sprint("new", i)
		_, err := k.s.Session(k.ctx, id)
		k.ok(err, "Session that has not expired, after sweeps")
		_, err = k.s.Grant(k.ctx, id)
		k.ok(err, "Grant that has not expired, after sweeps")
		got, err := k.s.Take(k.ctx, "p", id)
		k.ok(err, "value that has not expired, after sweeps")
		k.same(string(got), id, "value after sweeps")
		_, err = k.s.User(k.ctx, fmt.Sprint("u", i))
		k.ok(err, "User after sweeps")
		_, err = k.s.Link(k.ctx, k.link(fmt.Sprint("l", i), "").LinkKey)
		k.ok(err, "Link after sweeps")
	}
	keys, err := k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	k.same(len(keys), each, "number of keys after sweeps")
}
