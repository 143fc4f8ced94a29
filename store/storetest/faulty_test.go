package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// A node dies right after it has written a user: the user is there, and the node says nothing more.
func ExampleFaulty() {
	ctx := context.Background()
	shared := memstore.New()
	node := storetest.Faulty(shared, func(c storetest.Call) error {
		if c.Method == "CreateUser" && c.After {
			return storetest.ErrDead
		}
		return nil
	})
	fmt.Println(node.CreateUser(ctx, &store.User{ID: "u1", Username: "ada"}))
	_, err := node.User(ctx, "u1")
	fmt.Println(err)
	u, err := shared.User(ctx, "u1")
	fmt.Println(u.Username, err)
	// Output:
	// storetest: the node is dead
	// storetest: the node is dead
	// ada <nil>
}

var errFault = errors.New("fault")

// Without faults it is the store that it wraps, with all that this has and nothing else.
func TestFaultyIsTheStore(t *testing.T) {
	t.Parallel()
	never := func(storetest.Call) error { return nil }
	for name, wrap := range map[string]func(*memstore.Store) store.Store{
		"whole":   func(m *memstore.Store) store.Store { return m },
		"no more": func(m *memstore.Store) store.Store { return struct{ store.Store }{m} },
		"parts":   func(m *memstore.Store) store.Store { return keptAt(m, m) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(testing.TB) (store.Store, func(time.Duration)) {
				now := time.Now()
				m := memstore.New()
				m.Now = func() time.Time { return now }
				return storetest.Faulty(wrap(m), never), func(d time.Duration) { now = now.Add(d) }
			})
			in := wrap(memstore.New())
			f := storetest.Faulty(in, never)
			has[store.Committer](t, in, f)
			has[store.Sweeper](t, in, f)
			has[store.Holders](t, in, f)
			has[store.Secrets](t, in, f)
			has[store.Clients](t, in, f)
			has[store.Credentials](t, in, f)
			has[store.Fences](t, in, f)
		})
	}
}

// keptAt keeps users in one place and all the rest in another.
func keptAt(users store.Users, rest *memstore.Store) store.Parts {
	return store.Parts{Users: users, Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest}
}

func has[T any](t *testing.T, in, f store.Store) {
	t.Helper()
	_, want := store.As[T](in)
	if _, got := store.As[T](f); got != want {
		t.Errorf("%T: %v, want %v as in what it wraps", new(T), got, want)
	}
}

func TestFaultyFails(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memstore.New()
	var seen []storetest.Call
	fault := map[storetest.Call]error{
		{Number: 1, Method: "CreateUser"}:              errFault,
		{Number: 2, Method: "CreateUser", After: true}: errFault,
		{Number: 4, Method: "User", After: true}:       errFault,
		{Number: 6, Method: "Put"}:                     fmt.Errorf("wrapped: %w", storetest.ErrDead),
	}
	f := storetest.Faulty(m, func(c storetest.Call) error { seen = append(seen, c); return fault[c] })
	u := &store.User{ID: "u", Username: "u"}
	for n, want := range []error{errFault, errFault} {
		if err := f.CreateUser(ctx, u); !errors.Is(err, want) || u.Version != 0 {
			t.Errorf("CreateUser %d: %v and version %d, want %v and 0", n+1, err, u.Version, want)
		}
		if _, err := m.User(ctx, "u"); (err == nil) != (n == 1) {
			t.Errorf("CreateUser %d: the user is there: %v", n+1, err == nil)
		}
	}
	if err := f.CreateUser(ctx, u); !errors.Is(err, store.ErrExists) {
		t.Errorf("a call without a fault: %v, want that of the store", err)
	}
	if got, err := f.User(ctx, "u"); got != nil || !errors.Is(err, errFault) {
		t.Errorf("a read that fails afterwards: %v, %v", got, err)
	}
	if got, err := f.User(ctx, "u"); err != nil || got.Username != "u" {
		t.Errorf("a read without a fault: %v, %v", got, err)
	}
	for range 2 {
		if err := f.Put(ctx, "p", "k", nil, time.Now().Add(time.Hour)); !errors.Is(err, storetest.ErrDead) {
			t.Errorf("a call by a dead node: %v", err)
		}
		if _, err := m.Get(ctx, "p", "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a dead node has written: %v", err)
		}
	}
	if last := seen[len(seen)-1]; last != (storetest.Call{Number: 6, Method: "Put"}) {
		t.Errorf("the plan was asked last about %+v, want that by which the node died", last)
	}
}

// The writes of a login are single calls exactly where they are for the store.
func TestFaultyCommit(t *testing.T) {
	t.Parallel()
	const all = "Commit"
	for _, c := range []struct {
		name string
		wrap func(a, b *memstore.Store) store.Store
		want string
	}{
		{"whole", func(a, _ *memstore.Store) store.Store { return a }, all},
		{"part by part", func(a, _ *memstore.Store) store.Store { return struct{ store.Store }{a} }, "Add CreateUser CreateLink CreateGrant CreateSession"},
		{"one place", func(a, _ *memstore.Store) store.Store { return keptAt(a, a) }, all},
		{"users elsewhere", func(a, b *memstore.Store) store.Store { p := keptAt(a, b); return &p }, "Add CreateUser Commit"},
		{"host's users", func(a, b *memstore.Store) store.Store {
			return keptAt(struct{ store.Users }{a}, b)
		}, "Add CreateUser Commit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			end := time.Now().Add(time.Hour)
			for at := 0; ; at++ {
				var calls []string
				f := storetest.Faulty(c.wrap(memstore.New(), memstore.New()), func(c storetest.Call) error {
					if !c.After {
						calls = append(calls, c.Method)
					}
					if c.Number == at {
						return storetest.ErrDead
					}
					return nil
				})
				l := &store.Login{
					Once: "o", OnceExpires: end, NewUser: &store.User{ID: "u", Username: "u"},
					NewLink: &store.Link{LinkKey: store.LinkKey{Provider: "p", Subject: "s"}, UserID: "u"},
					Session: &store.Session{ID: "s", UserID: "u", ExpiresAt: end}, Grant: &store.Grant{ID: "g", UserID: "u", ExpiresAt: end},
				}
				err := store.Commit(t.Context(), f, l)
				want := strings.Fields(c.want)
				if at > len(want) {
					break
				}
				if at == 0 {
					versions := []int64{l.NewUser.Version, l.NewLink.Version, l.Session.Version, l.Grant.Version}
					if err != nil || !slices.Equal(versions, []int64{1, 1, 1, 1}) || !slices.Equal(calls, want) {
						t.Errorf("Commit: %v, calls %q, versions %d, want calls %q and versions of 1", err, calls, versions, want)
					}
					continue
				}
				if !errors.Is(err, storetest.ErrDead) || !slices.Equal(calls, want[:at]) {
					t.Errorf("dead at call %d: %v, calls %q, want %q", at, err, calls, want[:at])
				}
			}
		})
	}
}
