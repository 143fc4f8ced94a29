package storetest

import (
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// What a crash does to a store that writes later, and to one that writes all at once.
func TestReopen(t *testing.T) {
	t.Parallel()
	RunReopen(t, func(testing.TB) (store.Store, func() store.Store) { // which is no crash for what it keeps
		m := memstore.New()
		return m, func() store.Store { return m }
	})
	for does, crash := range map[string]func(*testing.T, *memstore.Store) store.Store{
		"forgets everything": func(*testing.T, *memstore.Store) store.Store { return memstore.New() },
		"raises what was taken": func(t *testing.T, m *memstore.Store) store.Store {
			if err := m.Add(t.Context(), "p", "gone", []byte("taken"), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			return m
		},
		"raises who was deleted": func(t *testing.T, m *memstore.Store) store.Store {
			if err := m.CreateUser(t.Context(), &store.User{ID: "gone", Username: "gone"}); err != nil {
				t.Fatal(err)
			}
			return m
		},
		"forgets that a code was used": func(t *testing.T, m *memstore.Store) store.Store {
			g, err := m.Grant(t.Context(), "used")
			if err != nil {
				t.Fatal(err)
			}
			g.CodeUsed = false
			if err := m.UpdateGrant(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			return m
		},
		"forgets the marks of logins": func(t *testing.T, m *memstore.Store) store.Store {
			if _, err := m.Take(t.Context(), store.PurposeLogin, "kept"); err != nil {
				t.Fatal(err)
			}
			return m
		},
	} {
		t.Run(does, func(t *testing.T) {
			t.Parallel()
			m := memstore.New()
			said := try(t, check{does, func(k *kit) { reopen(k, func() store.Store { return crash(t, m) }) }},
				func(*memstore.Store) store.Store { return m })
			if len(said) == 0 {
				t.Errorf("a store that %s passes", does)
			}
		})
	}
}
