package storetest

import (
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func grantID(g *store.Grant) string { return g.ID }

func grantsRoundTrip(k *kit) {
	g := k.grant("g1", "u1")
	k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
	k.same(g.Version, int64(1), "Version after CreateGrant")
	got, err := k.s.Grant(k.ctx, "g1")
	k.ok(err, "Grant")
	k.same(got, kept(g), "Grant")
	found, err := k.s.FindGrants(k.ctx, store.GrantQuery{UserID: "u1"})
	k.ok(err, "FindGrants")
	k.same(found, []*store.Grant{kept(g)}, "FindGrants")
	other := k.grant("g1", "u2")
	k.is(k.s.CreateGrant(k.ctx, other), store.ErrExists, "CreateGrant with an id that is taken")
	k.same(other.Version, int64(0), "Version after a CreateGrant that failed")
	got, err = k.s.Grant(k.ctx, "g1")
	k.ok(err, "Grant")
	k.same(got, kept(g), "Grant after another wanted its id")
	k.ok(k.s.DeleteGrant(k.ctx, "g1"), "DeleteGrant")
	_, err = k.s.Grant(k.ctx, "g1")
	k.is(err, store.ErrNotFound, "Grant after DeleteGrant")
	found, err = k.s.FindGrants(k.ctx, store.GrantQuery{UserID: "u1"})
	k.ok(err, "FindGrants")
	k.same(len(found), 0, "number of grants after DeleteGrant")
}

func grantsMissing(k *kit) {
	_, err := k.s.Grant(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Grant that is not there")
	k.is(k.s.DeleteGrant(k.ctx, "none"), store.ErrNotFound, "DeleteGrant of none")
	k.is(k.s.UpdateGrant(k.ctx, k.grant("none", "u1")), store.ErrConflict, "UpdateGrant of none")
	_, err = k.s.Grant(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Grant after UpdateGrant of none")
	if _, err := k.s.FindGrants(k.ctx, store.GrantQuery{}); err == nil {
		k.Fatalf("FindGrants with an empty query is no error")
	}
}

func grantsFind(k *kit) {
	made := []struct{ id, user, client, session string }{
		{"a", "u1", "c1", "s1"}, {"b", "u1", "c2", "s1"}, {"c", "u1", "c1", ""}, {"d", "u2", "c1", "s2"}, {"e", "u2", "c1", ""},
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		g := k.grant(made[i].id, made[i].user)
		g.ClientID, g.SessionID, g.CreatedAt = made[i].client, made[i].session, k.at(i)
		k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
	}
	for _, c := range []struct {
		q    store.GrantQuery
		want []string
	}{
		{store.GrantQuery{UserID: "u1"}, []string{"c", "b", "a"}},
		{store.GrantQuery{UserID: "u1", ClientID: "c1"}, []string{"c", "a"}},
		{store.GrantQuery{ClientID: "c1"}, []string{"e", "d", "c", "a"}},
		{store.GrantQuery{SessionID: "s1"}, []string{"b", "a"}},
		{store.GrantQuery{SessionID: "s1", ClientID: "c2"}, []string{"b"}},
		{store.GrantQuery{SessionID: "s2", UserID: "u1"}, []string{}},
		{store.GrantQuery{UserID: "nobody"}, []string{}},
	} {
		found, err := k.s.FindGrants(k.ctx, c.q)
		k.ok(err, "FindGrants(%+v)", c.q)
		k.same(ids(found, grantID), c.want, "FindGrants(%+v), newest first", c.q)
	}
}

func grantsUpdate(k *kit) {
	g := k.grant("g1", "u1")
	k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
	stale := *g
	*g = store.Grant{ID: "g1", UserID: "u2", ClientID: "c2", SessionID: "s2", ExpiresAt: k.at(7200), Version: 1}
	k.ok(k.s.UpdateGrant(k.ctx, g), "UpdateGrant")
	k.same(g.Version, int64(2), "Version after UpdateGrant")
	k.is(k.s.UpdateGrant(k.ctx, &stale), store.ErrConflict, "UpdateGrant of an old version")
	k.same(stale.Version, int64(1), "Version after an UpdateGrant that failed")
	got, err := k.s.Grant(k.ctx, "g1")
	k.ok(err, "Grant")
	k.same(len(got.Scope)+len(got.AMR)+len(got.Resources)+len(got.ClaimsRequest), 0, "length of the lists of a grant that has none")
	k.same(len(got.CodeHash)+len(got.RefreshHash)+len(got.PreviousHash)+len(got.Answer), 0, "length of the hashes of such a grant")
	got.Scope, got.AMR, got.Resources, got.ClaimsRequest = nil, nil, nil, nil
	got.CodeHash, got.RefreshHash, got.PreviousHash, got.Answer = nil, nil, nil, nil
	k.same(got, kept(g), "Grant after updates")
	for _, c := range []struct {
		q    store.GrantQuery
		want int
	}{
		{store.GrantQuery{UserID: "u1"}, 0}, {store.GrantQuery{UserID: "u2"}, 1}, {store.GrantQuery{ClientID: "app"}, 0},
		{store.GrantQuery{ClientID: "c2"}, 1}, {store.GrantQuery{SessionID: "session of g1"}, 0}, {store.GrantQuery{SessionID: "s2"}, 1},
	} {
		found, err := k.s.FindGrants(k.ctx, c.q)
		k.ok(err, "FindGrants(%+v)", c.q)
		k.same(len(found), c.want, "number of grants found by %+v after an update", c.q)
	}
	k.ok(k.s.DeleteGrant(k.ctx, "g1"), "DeleteGrant")
	k.is(k.s.UpdateGrant(k.ctx, g), store.ErrConflict, "UpdateGrant after DeleteGrant")
	_, err = k.s.Grant(k.ctx, "g1")
	k.is(err, store.ErrNotFound, "Grant after UpdateGrant after DeleteGrant")
}

func grantsExpiry(k *kit) {
	early, late := k.grant("early", "u1"), k.grant("late", "u1")
	early.ExpiresAt, late.ExpiresAt = k.at(600), k.at(1800)
	k.ok(k.s.CreateGrant(k.ctx, early), "CreateGrant")
	k.ok(k.s.CreateGrant(k.ctx, late), "CreateGrant")
	k.advance(9 * time.Minute) // the codes, which have an end of their own, are long past it
	for _, id := range []string{"early", "late"} {
		_, err := k.s.Grant(k.ctx, id)
		k.ok(err, "Grant %q a minute before the first end", id)
	}
	k.advance(2 * time.Minute)
	_, err := k.s.Grant(k.ctx, "early")
	k.is(err, store.ErrNotFound, "Grant a minute after its end")
	early.ExpiresAt = k.at(9000)
	k.is(k.s.UpdateGrant(k.ctx, early), store.ErrConflict, "UpdateGrant that would raise one that has expired")
	k.is(k.s.DeleteGrant(k.ctx, "early"), store.ErrNotFound, "DeleteGrant of one that has expired")
	for _, q := range []store.GrantQuery{{UserID: "u1"}, {ClientID: "app"}} {
		found, err := k.s.FindGrants(k.ctx, q)
		k.ok(err, "FindGrants(%+v)", q)
		k.same(ids(found, grantID), []string{"late"}, "FindGrants(%+v), which have not expired", q)
	}
	found, err := k.s.FindGrants(k.ctx, store.GrantQuery{SessionID: "session of early"})
	k.ok(err, "FindGrants")
	k.same(len(found), 0, "number of grants found by the session of one that has expired")
	k.ok(k.s.CreateGrant(k.ctx, k.grant("early", "u2")), "CreateGrant with the id of one that has expired")
	_, err = k.s.Grant(k.ctx, "early")
	k.ok(err, "Grant with the id of one that had expired")
}

func grantsRaces(k *kit) {
	k.oneWins(store.ErrExists, "CreateGrant with one id", func(round, i int) error {
		return k.s.CreateGrant(k.ctx, k.grant(fmt.Sprint(round), fmt.Sprint("u", i)))
	})
	k.oneWins(store.ErrConflict, "UpdateGrant of one version", func(round, i int) error {
		g := k.grant("updated", fmt.Sprint("u", i))
		g.Version = int64(round)
		if round == 0 {
			return asConflict(k.s.CreateGrant(k.ctx, g))
		}
		return k.s.UpdateGrant(k.ctx, g)
	})
	k.oneWins(store.ErrNotFound, "DeleteGrant of one id", func(round, _ int) error {
		return k.s.DeleteGrant(k.ctx, fmt.Sprint(round))
	})
}

func grantsCopies(k *kit) {
	spoil := func(g *store.Grant) {
		g.ClientID, g.Scope[0], g.AMR[0], g.Resources[0], g.ClaimsRequest[0] = "spoilt", "spoilt", "spoilt", "spoilt", "spoilt"
		g.CodeHash[0], g.RefreshHash[0], g.PreviousHash[0], g.Answer[0] = 'X', 'X', 'X', 'X'
	}
	copies(k, "Grant", k.grant("g1", "u1"), k.grant("g1", "u1"), spoil,
		func(g *store.Grant) error { return k.s.CreateGrant(k.ctx, g) },
		func() (*store.Grant, error) { return k.s.Grant(k.ctx, "g1") },
		func() (*store.Grant, error) { return first(k.s.FindGrants(k.ctx, store.GrantQuery{UserID: "u1"})) })
	copies(k, "Grant after an update", k.grant("g1", "u1"), k.grant("g1", "u1"), spoil, func(g *store.Grant) error {
		g.Version = 1
		return k.s.UpdateGrant(k.ctx, g)
	}, func() (*store.Grant, error) { return k.s.Grant(k.ctx, "g1") })
}
