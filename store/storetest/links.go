package storetest

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-idbroker/idbroker/store"
)

func subject(l *store.Link) string { return l.Subject }

func version(record any) int64 {
	if v := reflect.ValueOf(record).Elem().FieldByName("Version"); v.IsValid() {
		return v.Int()
	}
	return 0 // a Key has none
}

func setVersion(record any, version int64) {
	if v := reflect.ValueOf(record).Elem().FieldByName("Version"); v.IsValid() {
		v.SetInt(version)
	}
}

func linksRoundTrip(k *kit) {
	l := k.link("s1", "u1")
	k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
	k.same(l.Version, int64(1), "Version after CreateLink")
	got, err := k.s.Link(k.ctx, l.LinkKey)
	k.ok(err, "Link")
	k.same(got, kept(l), "Link")
	links, err := k.s.LinksOf(k.ctx, "u1")
	k.ok(err, "LinksOf")
	k.same(links, []*store.Link{kept(l)}, "LinksOf")

	other := k.link("s1", "u2")
	k.is(k.s.CreateLink(k.ctx, other), store.ErrExists, "CreateLink with the key of another user's link")
	k.same(other.Version, int64(0), "Version after a CreateLink that failed")
	k.is(k.s.CreateLink(k.ctx, k.link("s1", "u1")), store.ErrExists, "CreateLink once more")
	got, err = k.s.Link(k.ctx, l.LinkKey)
	k.ok(err, "Link")
	k.same(got, kept(l), "Link after another user wanted its key")
	links, err = k.s.LinksOf(k.ctx, "u2")
	k.ok(err, "LinksOf")
	k.same(len(links), 0, "number of links of a user whose link could not be created")

	k.ok(k.s.DeleteLink(k.ctx, l.LinkKey), "DeleteLink")
	_, err = k.s.Link(k.ctx, l.LinkKey)
	k.is(err, store.ErrNotFound, "Link after DeleteLink")
	links, err = k.s.LinksOf(k.ctx, "u1")
	k.ok(err, "LinksOf")
	k.same(len(links), 0, "number of links of a user whose link was deleted")
	k.ok(k.s.CreateLink(k.ctx, other), "CreateLink with a key that was given up")
}

func linksMissing(k *kit) {
	l := k.link("s1", "u1")
	_, err := k.s.Link(k.ctx, l.LinkKey)
	k.is(err, store.ErrNotFound, "Link that is not there")
	k.is(k.s.DeleteLink(k.ctx, l.LinkKey), store.ErrNotFound, "DeleteLink of none")
	k.is(k.s.UpdateLink(k.ctx, l), store.ErrConflict, "UpdateLink of none")
	_, err = k.s.Link(k.ctx, l.LinkKey)
	k.is(err, store.ErrNotFound, "Link after UpdateLink of none")
	links, err := k.s.LinksOf(k.ctx, "u1")
	k.ok(err, "LinksOf")
	k.same(len(links), 0, "number of links of nobody")
}

func linksOf(k *kit) {
	for i, s := range []string{"third", "first", "second"} {
		l := k.link(s, "u1")
		l.CreatedAt = k.at([]int{30, 10, 20}[i])
		k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
	}
	k.ok(k.s.CreateLink(k.ctx, k.link("another's", "u2")), "CreateLink")
	links, err := k.s.LinksOf(k.ctx, "u1")
	k.ok(err, "LinksOf")
	k.same(ids(links, subject), []string{"first", "second", "third"}, "LinksOf, by creation")
}

func linksUpdate(k *kit) {
	l := k.link("s1", "u1")
	k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
	stale := *l
	*l = store.Link{LinkKey: l.LinkKey, UserID: "u2", CreatedAt: k.at(7), LastLogin: k.at(8), Version: 1}
	k.ok(k.s.UpdateLink(k.ctx, l), "UpdateLink")
	k.same(l.Version, int64(2), "Version after UpdateLink")
	k.is(k.s.UpdateLink(k.ctx, &stale), store.ErrConflict, "UpdateLink of an old version")
	k.same(stale.Version, int64(1), "Version after an UpdateLink that failed")
	got, err := k.s.Link(k.ctx, l.LinkKey)
	k.ok(err, "Link")
	k.same(len(got.Tokens), 0, "length of the tokens of a link that has none")
	got.Tokens = nil
	k.same(got, kept(l), "Link after updates")
	for user, want := range map[string]int{"u1": 0, "u2": 1} {
		links, err := k.s.LinksOf(k.ctx, user)
		k.ok(err, "LinksOf")
		k.same(len(links), want, "number of links of %s after the link went from u1 to u2", user)
	}
	k.ok(k.s.DeleteLink(k.ctx, l.LinkKey), "DeleteLink")
	k.is(k.s.UpdateLink(k.ctx, l), store.ErrConflict, "UpdateLink after DeleteLink")
	_, err = k.s.Link(k.ctx, l.LinkKey)
	k.is(err, store.ErrNotFound, "Link after UpdateLink after DeleteLink")
}

func linksRaces(k *kit) {
	k.oneWins(store.ErrExists, "CreateLink with one key", func(round, i int) error {
		return k.s.CreateLink(k.ctx, k.link(fmt.Sprint(round), fmt.Sprint("u", i)))
	})
	k.oneWins(store.ErrConflict, "UpdateLink of one version", func(round, i int) error {
		l := k.link("updated", fmt.Sprint("u", i))
		l.Version = int64(round)
		if round == 0 {
			return asConflict(k.s.CreateLink(k.ctx, l))
		}
		return k.s.UpdateLink(k.ctx, l)
	})
	k.oneWins(store.ErrNotFound, "DeleteLink of one key", func(round, _ int) error {
		return k.s.DeleteLink(k.ctx, k.link(fmt.Sprint(round), "").LinkKey)
	})
}

// asConflict lets a record be created by the first round of a race of updates.
func asConflict(err error) error {
	if errors.Is(err, store.ErrExists) {
		return store.ErrConflict
	}
	return err
}

func linksCopies(k *kit) {
	spoil := func(l *store.Link) { l.UserID, l.Tokens[0] = "spoilt", 'X' }
	key := k.link("s1", "").LinkKey
	copies(k, "Link", k.link("s1", "u1"), k.link("s1", "u1"), spoil,
		func(l *store.Link) error { return k.s.CreateLink(k.ctx, l) },
		func() (*store.Link, error) { return k.s.Link(k.ctx, key) },
		func() (*store.Link, error) { return first(k.s.LinksOf(k.ctx, "u1")) })
	copies(k, "Link after an update", k.link("s1", "u1"), k.link("s1", "u1"), spoil, func(l *store.Link) error {
		l.Version = 1
		return k.s.UpdateLink(k.ctx, l)
	}, func() (*store.Link, error) { return k.s.Link(k.ctx, key) })
}
