package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-idbroker/idbroker/store"
)

// RunReopen tests what outlives the process that holds a store. open returns an empty store, and a function that lets go of
// it as a crash would, without a chance to write anything more, and opens what is left. A store that is to survive its
// machine, too, has that done to its server.
func RunReopen(t *testing.T, open func(t testing.TB) (s store.Store, crash func() store.Store)) {
	s, crash := open(t)
	reopen(&kit{TB: t, ctx: t.Context(), s: s, start: start()}, crash)
}

// reopen wants everything that was acknowledged to be there after a crash, and nothing that was taken or deleted.
func reopen(k *kit, crash func() store.Store) {
	end := k.at(3600)
	first := k.login("kept")
	k.ok(store.Commit(k.ctx, k.s, first), "Commit")
	k.ok(store.Commit(k.ctx, k.s, k.again(first, "again")), "Commit of a known user")
	gone := k.login("gone")
	k.ok(store.Commit(k.ctx, k.s, gone), "Commit")
	k.ok(k.s.DeleteUser(k.ctx, "gone"), "DeleteUser")
	k.ok(k.s.DeleteLink(k.ctx, gone.NewLink.LinkKey), "DeleteLink")
	k.ok(k.s.DeleteSession(k.ctx, "gone"), "DeleteSession")
	k.ok(k.s.DeleteGrant(k.ctx, "gone"), "DeleteGrant")
	g := k.grant("used", "kept")
	g.CodeUsed = false
	k.ok(k.s.CreateGrant(k.ctx, g), "CreateGrant")
	g.CodeUsed = true
	k.ok(k.s.UpdateGrant(k.ctx, g), "UpdateGrant")
	k.ok(k.s.AddKey(k.ctx, k.key("kept", "RS256", 1)), "AddKey")
	k.ok(k.s.AddKey(k.ctx, k.key("gone", "RS256", 2)), "AddKey")
	k.ok(k.s.DeleteKey(k.ctx, "gone"), "DeleteKey")
	k.ok(k.s.Put(k.ctx, "p", "kept", []byte("kept"), end), "Put")
	k.ok(k.s.Add(k.ctx, "p", "gone", []byte("taken"), end), "Add")
	_, err := k.s.Take(k.ctx, "p", "gone")
	k.ok(err, "Take")

	names := []string{"kept", "again", "gone", "used"}
	before := k.snapshot(names...)
	k.s = crash()
	k.same(k.snapshot(names...), before, "store after a crash")
	k.is(k.s.Add(k.ctx, store.PurposeLogin, "kept", nil, end), store.ErrExists, "Add of the mark of a login, after a crash")
	k.is(k.s.CreateLink(k.ctx, k.link("kept", "other")), store.ErrExists, "CreateLink with a key that is taken, after a crash")
	_, err = k.s.Take(k.ctx, "p", "gone")
	k.is(err, store.ErrNotFound, "Take of what was taken, after a crash")
	stale := k.grant("used", "kept")
	stale.Version = 1
	k.is(k.s.UpdateGrant(k.ctx, stale), store.ErrConflict, "UpdateGrant of an old version, after a crash")
	k.ok(store.Commit(k.ctx, k.s, k.login("new")), "Commit after a crash")
}

// manyNames are as many as a large installation has providers: whoever makes something shorter of a name than it is meets two
// that are the same.
const manyNames = 10_000

// linksMany keeps the same subject apart at ten thousand providers.
func linksMany(k *kit) {
	key := func(i int) store.LinkKey {
		return store.LinkKey{Provider: fmt.Sprintf("tenant-%05d", i), Issuer: "https://login.example", Subject: "ada"}
	}
	const atOnce = 8
	each := func(do func(i int) error) {
		k.Helper()
		errs := make([]error, atOnce)
		var done sync.WaitGroup
		for part := range atOnce {
			done.Go(func() {
				for i := part; i < manyNames && errs[part] == nil; i += atOnce {
					errs[part] = do(i)
				}
			})
		}
		done.Wait()
		for _, err := range errs {
			k.ok(err, "links of ten thousand providers")
		}
	}
	each(func(i int) error {
		return k.s.CreateLink(k.ctx, &store.Link{LinkKey: key(i), UserID: fmt.Sprint("u", i), CreatedAt: k.start})
	})
	each(func(i int) error {
		l, err := k.s.Link(k.ctx, key(i))
		if err == nil && l.UserID != fmt.Sprint("u", i) {
			err = fmt.Errorf("the link at %s is of user %s, want u%d", l.Provider, l.UserID, i)
		}
		return err
	})
	links, err := k.s.LinksOf(k.ctx, "u7777")
	k.ok(err, "LinksOf")
	k.same(len(links), 1, "number of links of one of ten thousand users")
	k.same(links[0].LinkKey, key(7777), "link of one of ten thousand users")
	_, err = k.s.Link(k.ctx, key(manyNames))
	k.is(err, store.ErrNotFound, "Link at the provider after the last")
}

// names4K are longer than any key need be.
func names4K() []string {
	return []string{strings.Repeat("x", 4095) + "a", strings.Repeat("x", 4095) + "b", strings.Repeat("\u00e4\U0001f600", 682) + "a"}
}

// valuesLong are kept exactly or refused, by an error of their own and without a trace.
func valuesLong(k *kit) {
	for i, s := range names4K() {
		id := fmt.Sprint("long", i)
		u, l, n, g := k.own(id), k.link(id, id), k.session(id, id), k.grant(id, id)
		u.Name, u.Picture, u.Roles, u.Attributes = s, s, []string{s, "b"}, map[string][]string{s: {s}}
		l.Username, l.Email, l.Tokens = s, s, []byte(s)
		n.ACR, n.Notes, n.AMR = s, map[string]string{s: s}, []string{s}
		g.Nonce, g.RedirectURI, g.Scope = s, s, []string{s, "b"}
		got1, err := k.s.User(k.ctx, refused(k, id, k.s.CreateUser(k.ctx, u)))
		keptOr(k, got1, err, u)
		refused(k, id, k.s.CreateLink(k.ctx, l))
		got2, err := k.s.Link(k.ctx, l.LinkKey)
		keptOr(k, got2, err, l)
		got3, err := k.s.Session(k.ctx, refused(k, id, k.s.CreateSession(k.ctx, n)))
		keptOr(k, got3, err, n)
		got4, err := k.s.Grant(k.ctx, refused(k, id, k.s.CreateGrant(k.ctx, g)))
		keptOr(k, got4, err, g)
	}
}

// refused wants an error of what cannot be kept to be of its own kind.
func refused(k *kit, id string, err error) string {
	k.Helper()
	if err != nil && isSentinel(err) {
		k.Fatalf("a record with a value of 4 KiB was taken for another: %v", err)
	}
	return id
}

// keptOr wants a record to be as it was given, if it was accepted, and not to be there otherwise.
func keptOr[T any](k *kit, got *T, err error, want *T) {
	k.Helper()
	if version(want) == 0 {
		k.is(err, store.ErrNotFound, "a record that was refused for a value of 4 KiB")
		return
	}
	k.ok(err, "a record with a value of 4 KiB")
	k.same(got, kept(want), "a record with a value of 4 KiB")
}

// clientsForged lists what follows clients that never were. Wherever such a name belongs in the order, what is listed after it
// is some of the list as it is, no more than was asked for, and the same as if a client had been there and was deleted.
func clientsForged(k *kit) {
	for i := range 9 {
		k.ok(k.clients.PutClient(k.ctx, k.client(fmt.Sprint("client-", i))), "PutClient")
	}
	list := func(after string) ([]string, error) {
		page, err := k.clients.ListClients(k.ctx, after, 3)
		if err != nil {
			if isSentinel(err) {
				k.Fatalf("ListClients after %q: %v", brief(after), err)
			}
			return nil, err
		}
		return ids(page, clientID), nil
	}
	all, err := k.clients.ListClients(k.ctx, "", 100)
	k.ok(err, "ListClients")
	order := ids(all, clientID)
	for _, forged := range append(names4K(),
		"client-3x", "client", "CLIENT-3", "client-3 ", " ", "%", "_", "*", "0", "-1", "~", "' OR 1=1 --", `{"id":"client-3"}`, "client-3\x00",
		"Y2xpZW50LTM=", "\xff\xfe", "\uffff", "\U0010ffff", "client-\u0663", "../client-3", "null") {
		got, err := list(forged)
		if err != nil {
			continue
		}
		at := len(order)
		if len(got) > 0 {
			at = slices.Index(order, got[0])
		}
		if at < 0 || len(got) > 3 || !slices.Equal(got, order[at:min(at+3, len(order))]) {
			k.Fatalf("ListClients after %q: got %q, which is no page of %q", brief(forged), got, order)
		}
		if err := k.clients.PutClient(k.ctx, k.client(forged)); err != nil {
			continue
		}
		real, err := list(forged)
		k.ok(err, "ListClients after %q, which is there", brief(forged))
		k.ok(k.clients.DeleteClient(k.ctx, forged), "DeleteClient")
		k.same(got, real, "ListClients after %q while it was not there, and while it was", brief(forged))
	}
}
