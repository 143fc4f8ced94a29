package storetest

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A recorder is a test that notes its failure and goes on failing nobody else.
type recorder struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, text)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.said) > 0
}

func (r *recorder) Helper()                           {}
func (r *recorder) Fail()                             { r.fail("failed") }
func (r *recorder) FailNow()                          { r.fail("failed"); runtime.Goexit() }
func (r *recorder) Error(args ...any)                 { r.fail(fmt.Sprintln(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.fail(fmt.Sprintln(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// try runs a check against the stores that build makes of fresh ones, and returns what it has to complain about.
func try(t *testing.T, c check, build func(*memstore.Store) store.Store) []string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // its own, which FailNow ends
		defer close(done)
		c.run(newKit(r, opener(build)))
	}()
	<-done
	return r.said
}

func opener(build func(*memstore.Store) store.Store) func(testing.TB) (store.Store, func(time.Duration)) {
	return func(testing.TB) (store.Store, func(time.Duration)) {
		now := time.Now()
		m := memstore.New()
		m.Now = func() time.Time { return now }
		return build(m), func(d time.Duration) { now = now.Add(d) }
	}
}

func whole(m *memstore.Store) store.Store { return m }

func TestRun(t *testing.T) {
	t.Parallel()
	Run(t, opener(whole))
	t.Run("part by part", func(t *testing.T) {
		Run(t, opener(func(m *memstore.Store) store.Store { return partByPart{m} }))
	})
}

func TestRunUsers(t *testing.T) {
	t.Parallel()
	RunUsers(t, func(testing.TB) store.Users { return memstore.New() })
}

// A kit that never fails proves nothing: each check has to find the store out that breaks its promise.
func TestBrokenStores(t *testing.T) {
	t.Parallel()
	missed := map[string]bool{}
	byName := map[string]check{}
	for _, c := range checks(memstore.New()) {
		missed[c.name] = true
		byName[c.name] = c
	}
	for _, f := range fakes {
		for _, name := range f.checks {
			c, ok := byName[name]
			if !ok {
				t.Fatalf("there is no check %q", name)
			}
			delete(missed, name)
			t.Run(name+"/"+f.does, func(t *testing.T) {
				t.Parallel()
				if said := try(t, c, whole); len(said) > 0 {
					t.Fatalf("a store that keeps its promises fails: %s", said)
				}
				said := try(t, c, f.make)
				if len(said) == 0 {
					t.Fatalf("a store that %s passes", f.does)
				}
				t.Log(strings.Join(said, "\n"))
			})
		}
	}
	for name := range missed {
		t.Errorf("no broken store fails %q", name)
	}
}

// Each field of a sample is set, so that the round trips miss one that a store forgets.
func TestForgottenFields(t *testing.T) {
	t.Parallel()
	byName := map[string]check{}
	for _, c := range checks(memstore.New()) {
		byName[c.name] = c
	}
	for name, record := range map[string]any{
		"users/round trip": store.User{}, "links/round trip": store.Link{}, "sessions/round trip": store.Session{},
		"grants/round trip": store.Grant{}, "keyring/round trip": store.Key{}, "clients/round trip": store.Client{},
		"credentials/round trip": store.Credential{}, "fences/round trip": store.Fence{},
	} {
		for i, typ := 0, reflect.TypeOf(record); i < typ.NumField(); i++ {
			t.Run(name+"/"+typ.Field(i).Name, func(t *testing.T) {
				t.Parallel()
				if said := try(t, byName[name], func(m *memstore.Store) store.Store { return forgetful{m, i} }); len(said) == 0 {
					t.Fatalf("a store that forgets %s passes", typ.Field(i).Name)
				}
			})
		}
	}
}

// forgetful hands records out without one of their fields.
type forgetful struct {
	*memstore.Store
	field int
}

func forget[T any](record *T, field int) *T {
	if record != nil {
		reflect.ValueOf(record).Elem().Field(field).SetZero()
	}
	return record
}

func (s forgetful) User(ctx ctx, id string) (*store.User, error) {
	u, err := s.Store.User(ctx, id)
	return forget(u, s.field), err
}

func (s forgetful) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	l, err := s.Store.Link(ctx, key)
	return forget(l, s.field), err
}

func (s forgetful) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.Store.Session(ctx, id)
	return forget(n, s.field), err
}

func (s forgetful) Grant(ctx ctx, id string) (*store.Grant, error) {
	g, err := s.Store.Grant(ctx, id)
	return forget(g, s.field), err
}

func (s forgetful) Client(ctx ctx, id string) (*store.Client, error) {
	c, err := s.Store.Client(ctx, id)
	return forget(c, s.field), err
}

func (s forgetful) Keys(ctx ctx) ([]*store.Key, error) {
	keys, err := s.Store.Keys(ctx)
	for _, k := range keys {
		forget(k, s.field)
	}
	return keys, err
}
