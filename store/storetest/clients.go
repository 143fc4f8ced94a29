package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

func clientID(c *store.Client) string { return c.ID }

func clientChecks() []check {
	return []check{
		{"clients/round trip", clientsRoundTrip},
		{"clients/missing", clientsMissing},
		{"clients/list", clientsList},
		{"clients/forged pages", clientsForged},
		{"clients/update", clientsUpdate},
		{"clients/races", clientsRaces},
		{"clients/copies", clientsCopies},
		{"clients/byte for byte", clientsExact},
		{"clients/cancelled", clientsCancelled},
	}
}

// client has every field set, whichever there are.
func (k *kit) client(id string) *store.Client {
	c := &store.Client{}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		k.fill(v.Field(i), v.Type().Field(i).Name)
	}
	c.ID, c.Version = id, 0
	return c
}

func (k *kit) fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(name + " <&>\u00fc\"'\\\n\u2028")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1<<53 + int64(len(name))) // more than a float64 holds
	case reflect.Uint8:
		v.SetUint(0xff)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			k.fill(v.Index(i), fmt.Sprint(name, i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			k.fill(v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	default:
		k.Fatalf("storetest: teach fill to set %s, which is a %s", name, v.Type())
	}
}

func clientsRoundTrip(k *kit) {
	c := k.client("c1")
	k.ok(k.clients.PutClient(k.ctx, c), "PutClient")
	k.same(c.Version, int64(1), "Version after PutClient")
	got, err := k.clients.Client(k.ctx, "c1")
	k.ok(err, "Client")
	k.same(got, c, "Client")
	listed, err := k.clients.ListClients(k.ctx, "", 10)
	k.ok(err, "ListClients")
	k.same(listed, []*store.Client{c}, "ListClients")
	other := k.client("c1")
	other.Name = "another"
	k.is(k.clients.PutClient(k.ctx, other), store.ErrExists, "PutClient without a version and with an id that is taken")
	k.same(other.Version, int64(0), "Version after a PutClient that failed")
	got, err = k.clients.Client(k.ctx, "c1")
	k.ok(err, "Client")
	k.same(got, c, "Client after another wanted its id")
	bare := &store.Client{ID: "bare"}
	k.ok(k.clients.PutClient(k.ctx, bare), "PutClient")
	got, err = k.clients.Client(k.ctx, "bare")
	k.ok(err, "Client")
	k.same(emptied(got), bare, "Client that has nothing but an id")
	k.ok(k.clients.DeleteClient(k.ctx, "c1"), "DeleteClient")
	_, err = k.clients.Client(k.ctx, "c1")
	k.is(err, store.ErrNotFound, "Client after DeleteClient")
	k.ok(k.clients.PutClient(k.ctx, k.client("c1")), "PutClient with an id that was given up")
}

// emptied makes empty slices nil, which are the same.
func emptied(c *store.Client) *store.Client {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 {
			f.SetZero()
		}
	}
	return c
}

func clientsMissing(k *kit) {
	_, err := k.clients.Client(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Client that is not there")
	k.is(k.clients.DeleteClient(k.ctx, "none"), store.ErrNotFound, "DeleteClient of none")
	c := k.client("none")
	c.Version = 1
	k.is(k.clients.PutClient(k.ctx, c), store.ErrConflict, "PutClient with a version of none")
	k.same(c.Version, int64(1), "Version after a PutClient that failed")
	_, err = k.clients.Client(k.ctx, "none")
	k.is(err, store.ErrNotFound, "Client after PutClient with a version of none")
	listed, err := k.clients.ListClients(k.ctx, "", 10)
	k.ok(err, "ListClients")
	k.same(len(listed), 0, "number of clients where there are none")
}

func clientsList(k *kit) {
	const total = 7
	var made []string
	for i := range total {
		id := fmt.Sprint("client-", (i*3)%total)
		made = append(made, id)
		k.ok(k.clients.PutClient(k.ctx, k.client(id)), "PutClient")
	}
	var seen []string
	for after := ""; ; after = seen[len(seen)-1] {
		page, err := k.clients.ListClients(k.ctx, after, 3)
		k.ok(err, "ListClients")
		if len(page) > 3 {
			k.Fatalf("ListClients with limit 3 returned %d", len(page))
		}
		if seen = append(seen, ids(page, clientID)...); len(page) < 3 || len(seen) > total {
			break
		}
	}
	all, err := k.clients.ListClients(k.ctx, "", 100)
	k.ok(err, "ListClients")
	k.same(seen, ids(all, clientID), "pages of ListClients, and all at once")
	k.same(slices.Sorted(slices.Values(seen)), slices.Sorted(slices.Values(made)), "clients that were listed")
	k.ok(k.clients.DeleteClient(k.ctx, seen[2]), "DeleteClient")
	page, err := k.clients.ListClients(k.ctx, seen[2], 2)
	k.ok(err, "ListClients")
	k.same(ids(page, clientID), seen[3:5], "ListClients after one that was deleted")
	page, err = k.clients.ListClients(k.ctx, "", 0)
	k.ok(err, "ListClients")
	k.same(len(page), 0, "number of clients with limit 0")
}

func clientsUpdate(k *kit) {
	c := k.client("c1")
	k.ok(k.clients.PutClient(k.ctx, c), "PutClient")
	stale := *c
	*c = store.Client{ID: "c1", Name: "changed", Version: 1}
	k.ok(k.clients.PutClient(k.ctx, c), "PutClient with a version")
	k.same(c.Version, int64(2), "Version after an update")
	k.is(k.clients.PutClient(k.ctx, &stale), store.ErrConflict, "PutClient of an old version")
	k.same(stale.Version, int64(1), "Version after a PutClient that failed")
	got, err := k.clients.Client(k.ctx, "c1")
	k.ok(err, "Client")
	k.same(emptied(got), c, "Client after updates: what it had before is gone")
	k.ok(k.clients.DeleteClient(k.ctx, "c1"), "DeleteClient")
	k.is(k.clients.PutClient(k.ctx, c), store.ErrConflict, "PutClient with a version after DeleteClient")
	_, err = k.clients.Client(k.ctx, "c1")
	k.is(err, store.ErrNotFound, "Client after that")
}

func clientsRaces(k *kit) {
	k.oneWins(store.ErrExists, "PutClient with one new id", func(round, i int) error {
		c := k.client(fmt.Sprint(round))
		c.Name = fmt.Sprint(i)
		return k.clients.PutClient(k.ctx, c)
	})
	k.oneWins(store.ErrConflict, "PutClient of one version", func(round, i int) error {
		c := k.client("updated")
		c.Name, c.Version = fmt.Sprint(i), int64(round)
		return asConflict(k.clients.PutClient(k.ctx, c))
	})
	k.oneWins(store.ErrNotFound, "DeleteClient of one id", func(round, _ int) error {
		return k.clients.DeleteClient(k.ctx, fmt.Sprint(round))
	})
}

func clientsCopies(k *kit) {
	spoil := func(c *store.Client) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Slice {
				spoilSlice(f)
			}
		}
	}
	read := func() (*store.Client, error) { return k.clients.Client(k.ctx, "c1") }
	copies(k, "Client", k.client("c1"), k.client("c1"), spoil,
		func(c *store.Client) error { return k.clients.PutClient(k.ctx, c) }, read,
		func() (*store.Client, error) { return first(k.clients.ListClients(k.ctx, "", 10)) })
	copies(k, "Client after an update", k.client("c1"), k.client("c1"), spoil, func(c *store.Client) error {
		c.Version = 1
		return k.clients.PutClient(k.ctx, c)
	}, read)
}

// spoilSlice changes what a slice holds, to the last level, but not the slice itself.
func spoilSlice(v reflect.Value) {
	switch e := v.Index(0); e.Kind() {
	case reflect.Slice:
		spoilSlice(e)
	case reflect.Struct:
		for i := range e.NumField() {
			if f := e.Field(i); f.Kind() == reflect.Slice {
				spoilSlice(f)
			}
		}
	default:
		e.SetZero()
	}
}

// clientsExact keeps ids and values byte for byte, or refuses them.
func clientsExact(k *kit) {
	for _, id := range twins() {
		c := k.client(id)
		c.Name, c.RedirectURIs = id, []string{id, ""}
		k.ok(k.clients.PutClient(k.ctx, c), "PutClient %+q", id)
	}
	for _, id := range twins() {
		got, err := k.clients.Client(k.ctx, id)
		k.ok(err, "Client %+q", id)
		k.same([]string{got.ID, got.Name, got.RedirectURIs[0], got.RedirectURIs[1]}, []string{id, id, id, ""}, "Client %+q", id)
	}
	for i, odd := range []string{"\xff", "\xc3\x28", "\xed\xa0\x80", "\ufffd", "a\x00"} {
		c := k.client(fmt.Sprint("odd", i))
		c.Name, c.Scopes = odd, []string{odd}
		if err := k.clients.PutClient(k.ctx, c); err != nil {
			if isSentinel(err) {
				k.Fatalf("PutClient with %+q: %v", odd, err)
			}
			continue
		}
		got, err := k.clients.Client(k.ctx, c.ID)
		k.ok(err, "Client with %+q", odd)
		k.same([]string{got.Name, got.Scopes[0]}, []string{odd, odd}, "strings of a client")
	}
}

func clientsCancelled(k *kit) {
	c := k.client("old")
	k.ok(k.clients.PutClient(k.ctx, c), "PutClient")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"Client":              func() error { _, err := k.clients.Client(ctx, "old"); return err },
		"ListClients":         func() error { _, err := k.clients.ListClients(ctx, "", 10); return err },
		"PutClient":           func() error { return k.clients.PutClient(ctx, k.client("new")) },
		"PutClient, existing": func() error { changed := *c; changed.Name = "changed"; return k.clients.PutClient(ctx, &changed) },
		"DeleteClient":        func() error { return k.clients.DeleteClient(ctx, "old") },
	} {
		k.is(call(), context.Canceled, "%s with a context that is cancelled", name)
		got, err := k.clients.Client(k.ctx, "old")
		k.ok(err, "Client")
		k.same(got, c, "Client after %s with a context that is cancelled", name)
		if _, err := k.clients.Client(k.ctx, "new"); !errors.Is(err, store.ErrNotFound) {
			k.Fatalf("Client after %s with a context that is cancelled: %v", name, err)
		}
	}
}
