package storetest

import (
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func sessionID(s *store.Session) string { return s.ID }

func sessionsRoundTrip(k *kit) {
	s := k.session("s1", "u1")
	k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
	k.same(s.Version, int64(1), "Version after CreateSession")
	got, err := k.s.Session(k.ctx, "s1")
	k.ok(err, "Session")
	k.same(got, kept(s), "Session")
	found, err := k.s.FindSessions(k.ctx, store.SessionQuery{UserID: "u1"})
	k.ok(err, "FindSessions")
	k.same(found, []*store.Session{kept(s)}, "FindSessions")
	other := k.session("s1", "u2")
	k.is(k.s.CreateSession(k.ctx, other), store.ErrExists, "CreateSession with an id that is taken")
	k.same(other.Version, int64(0), "Version after a CreateSession that failed")
	got, err = k.s.Session(k.ctx, "s1")
	k.ok(err, "Session")
	k.same(got, kept(s), "Session after another wanted its id")
	k.ok(k.s.DeleteSession(k.ctx, "s1"), "DeleteSession")
	_, err = k.s.Session(k.ctx, "s1")
	k.is(err, store.ErrNotFound, "Session after DeleteSession")
	found, err = k.s.FindSessions(k.ctx, store.SessionQuery{UserID: "u1"})
	k.ok(err, "FindSessions")
	k.same(len(found), 0, "number of sessions after DeleteSession")
}

func sessionsMissing(k *kit) {
	_, err := k.s.Session(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Session that is not there")
	k.is(k.s.DeleteSession(k.ctx, "none"), store.ErrNotFound, "DeleteSession of none")
	k.is(k.s.UpdateSession(k.ctx, k.session("none", "u1")), store.ErrConflict, "UpdateSession of none")
	_, err = k.s.Session(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Session after UpdateSession of none")
	for _, q := range []store.SessionQuery{{}, {Issuer: "i", Subject: "s"}, {UpstreamSession: "x"}} {
		if _, err := k.s.FindSessions(k.ctx, q); err == nil {
			k.Fatalf("FindSessions(%+v) is no error, but one of UserID and Provider has to be set", q)
		}
	}
}

func sessionsFind(k *kit) {
	// In the order of their creation, and stored in another.
	made := []struct{ id, user, provider, issuer, subject, upstream string }{
		{"a", "u1", "acme", "i1", "x", "sid1"},
		{"b", "u1", "acme", "i1", "x", "sid2"},
		{"c", "u2", "acme", "i2", "x", "sid1"},
		{"d", "u1", "corp", "i1", "x", "sid1"},
		{"e", "u1", "", "", "", ""},
		{"f", "u3", "acme", "", "y", ""},
	}
	for _, i := range []int{3, 0, 5, 1, 4, 2} {
		m := made[i]
		s := k.session(m.id, m.user)
		s.Upstream = store.LinkKey{Provider: m.provider, Issuer: m.issuer, Subject: m.subject}
		s.UpstreamSession, s.CreatedAt = m.upstream, k.at(i)
		k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
	}
	for _, c := range []struct {
		q    store.SessionQuery
		want []string
	}{
		{store.SessionQuery{UserID: "u1"}, []string{"e", "d", "b", "a"}},
		{store.SessionQuery{UserID: "u1", Provider: "acme"}, []string{"b", "a"}},
		{store.SessionQuery{UserID: "u1", Provider: "acme", UpstreamSession: "sid1"}, []string{"a"}},
		{store.SessionQuery{UserID: "u2", Provider: "acme", Issuer: "i1"}, []string{}},
		{store.SessionQuery{UserID: "nobody"}, []string{}},
		{store.SessionQuery{Provider: "acme"}, []string{"f", "c", "b", "a"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i1"}, []string{"b", "a"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i1", Subject: "x"}, []string{"b", "a"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i2", Subject: "x"}, []string{"c"}},
		{store.SessionQuery{Provider: "acme", Subject: "x"}, []string{"c", "b", "a"}},
		{store.SessionQuery{Provider: "acme", Subject: "y"}, []string{"f"}},
		{store.SessionQuery{Provider: "acme", UpstreamSession: "sid1"}, []string{"c", "a"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i1", UpstreamSession: "sid1"}, []string{"a"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i1", Subject: "x", UpstreamSession: "sid2"}, []string{"b"}},
		{store.SessionQuery{Provider: "acme", Issuer: "i1", Subject: "y", UpstreamSession: "sid2"}, []string{}},
		{store.SessionQuery{Provider: "corp"}, []string{"d"}},
		{store.SessionQuery{Provider: "none"}, []string{}},
	} {
		found, err := k.s.FindSessions(k.ctx, c.q)
		k.ok(err, "FindSessions(%+v)", c.q)
		k.same(ids(found, sessionID), c.want, "FindSessions(%+v), newest first", c.q)
	}
}

func sessionsUpdate(k *kit) {
	s := k.session("s1", "u1")
	k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
	stale := *s
	*s = store.Session{ID: "s1", UserID: "u2", Upstream: store.LinkKey{Provider: "corp"}, ExpiresAt: k.at(7200),
		AuthTime: k.at(1), CreatedAt: k.at(2), LastSeen: k.at(3), Version: 1}
	k.ok(k.s.UpdateSession(k.ctx, s), "UpdateSession")
	k.same(s.Version, int64(2), "Version after UpdateSession")
	k.is(k.s.UpdateSession(k.ctx, &stale), store.ErrConflict, "UpdateSession of an old version")
	k.same(stale.Version, int64(1), "Version after an UpdateSession that failed")
	got, err := k.s.Session(k.ctx, "s1")
	k.ok(err, "Session")
	k.same(len(got.SecretHash), 0, "length of the hash of a session that has none")
	k.same(len(got.UpstreamIDToken), 0, "length of the upstream's token of such a session")
	k.same(len(got.UpstreamTokens), 0, "length of the upstream's tokens of such a session")
	k.same(len(got.TransientUser), 0, "length of the transient user of such a session")
	got.TransientUser = nil
	got.SecretHash, got.UpstreamIDToken, got.UpstreamTokens, got.AMR, got.Notes = nil, nil, nil, nil, nil // empty and nil are the same
	k.same(got, kept(s), "Session after updates")
	for _, c := range []struct {
		q    store.SessionQuery
		want int
	}{
		{store.SessionQuery{UserID: "u1"}, 0}, {store.SessionQuery{UserID: "u2"}, 1},
		{store.SessionQuery{Provider: "acme"}, 0}, {store.SessionQuery{Provider: "corp"}, 1},
		{store.SessionQuery{Provider: "acme", UpstreamSession: "upstream of s1"}, 0},
		{store.SessionQuery{Provider: "acme", Subject: "ada"}, 0},
	} {
		found, err := k.s.FindSessions(k.ctx, c.q)
		k.ok(err, "FindSessions(%+v)", c.q)
		k.same(len(found), c.want, "number of sessions found by %+v after an update", c.q)
	}
	k.ok(k.s.DeleteSession(k.ctx, "s1"), "DeleteSession")
	k.is(k.s.UpdateSession(k.ctx, s), store.ErrConflict, "UpdateSession after DeleteSession")
	_, err = k.s.Session(k.ctx, "s1")
	k.is(err, store.ErrNotFound, "Session after UpdateSession after DeleteSession")
}

func sessionsExpiry(k *kit) {
	create := func(id string, end int) *store.Session {
		s := k.session(id, "u1")
		s.ExpiresAt = k.at(end)
		k.ok(k.s.CreateSession(k.ctx, s), "CreateSession")
		return s
	}
	early, late := create("early", 600), create("late", 1800)
	longer, shorter := create("longer", 600), create("shorter", 1800)
	longer.ExpiresAt, shorter.ExpiresAt = k.at(1800), k.at(600)
	k.ok(k.s.UpdateSession(k.ctx, longer), "UpdateSession")
	k.ok(k.s.UpdateSession(k.ctx, shorter), "UpdateSession")
	k.advance(9 * time.Minute)
	for _, s := range []*store.Session{early, late, longer, shorter} {
		_, err := k.s.Session(k.ctx, s.ID)
		k.ok(err, "Session %q a minute before the first end", s.ID)
	}
	k.advance(2 * time.Minute)
	for _, s := range []*store.Session{early, shorter} {
		_, err := k.s.Session(k.ctx, s.ID)
		k.is(err, store.ErrNotFound, "Session %q a minute after its end", s.ID)
	}
	k.is(k.s.UpdateSession(k.ctx, early), store.ErrConflict, "UpdateSession of one that has expired")
	early.ExpiresAt = k.at(9000)
	k.is(k.s.UpdateSession(k.ctx, early), store.ErrConflict, "UpdateSession that would raise one that has expired")
	k.is(k.s.DeleteSession(k.ctx, "early"), store.ErrNotFound, "DeleteSession of one that has expired")
	for _, q := range []store.SessionQuery{{UserID: "u1"}, {Provider: "acme"}, {Provider: "acme", Subject: "ada"}} {
		found, err := k.s.FindSessions(k.ctx, q)
		k.ok(err, "FindSessions(%+v)", q)
		k.same(len(found), 2, "number of sessions found by %+v, which have not expired", q)
	}
	found, err := k.s.FindSessions(k.ctx, store.SessionQuery{Provider: "acme", UpstreamSession: "upstream of early"})
	k.ok(err, "FindSessions")
	k.same(len(found), 0, "number of sessions found by an upstream session, which has expired")
	k.ok(k.s.CreateSession(k.ctx, k.session("early", "u2")), "CreateSession with the id of one that has expired")
	_, err = k.s.Session(k.ctx, "early")
	k.ok(err, "Session with the id of one that had expired")
	found, err = k.s.FindSessions(k.ctx, store.SessionQuery{UserID: "u1"})
	k.ok(err, "FindSessions")
	k.same(len(found), 2, "number of sessions of the user whose session expired and whose id another got")

	gone := k.session("gone", "u1")
	gone.ExpiresAt = time.Time{}
	k.ok(k.s.CreateSession(k.ctx, gone), "CreateSession without an end")
	_, err = k.s.Session(k.ctx, "gone")
	k.is(err, store.ErrNotFound, "Session whose ExpiresAt is zero, which is long ago")
}

func sessionsRaces(k *kit) {
	k.oneWins(store.ErrExists, "CreateSession with one id", func(round, i int) error {
		return k.s.CreateSession(k.ctx, k.session(fmt.Sprint(round), fmt.Sprint("u", i)))
	})
	k.oneWins(store.ErrConflict, "UpdateSession of one version", func(round, i int) error {
		s := k.session("updated", fmt.Sprint("u", i))
		s.Version = int64(round)
		if round == 0 {
			return asConflict(k.s.CreateSession(k.ctx, s))
		}
		return k.s.UpdateSession(k.ctx, s)
	})
	k.oneWins(store.ErrNotFound, "DeleteSession of one id", func(round, _ int) error {
		return k.s.DeleteSession(k.ctx, fmt.Sprint(round))
	})
}

func sessionsCopies(k *kit) {
	spoil := func(s *store.Session) {
		s.UserID, s.SecretHash[0], s.AMR[0], s.Notes["tenant"] = "spoilt", 'X', "spoilt", "spoilt"
		s.UpstreamIDToken[0], s.UpstreamTokens[0], s.TransientUser[0] = 'X', 'X', 'X'
	}
	copies(k, "Session", k.session("s1", "u1"), k.session("s1", "u1"), spoil,
		func(s *store.Session) error { return k.s.CreateSession(k.ctx, s) },
		func() (*store.Session, error) { return k.s.Session(k.ctx, "s1") },
		func() (*store.Session, error) {
			return first(k.s.FindSessions(k.ctx, store.SessionQuery{UserID: "u1"}))
		})
	copies(k, "Session after an update", k.session("s1", "u1"), k.session("s1", "u1"), spoil, func(s *store.Session) error {
		s.Version = 1
		return k.s.UpdateSession(k.ctx, s)
	}, func() (*store.Session, error) { return k.s.Session(k.ctx, "s1") })
}
