package broker_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// Whatever fails or dies, and whenever: see brokertest.Crash. SQLite has its turn among the examples' tests.
func TestCrash(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) store.Store{
		"at once":      func(testing.TB) store.Store { return memstore.New() },
		"part by part": func(testing.TB) store.Store { return struct{ store.Store }{memstore.New()} },
		// Users of the host's own, and a cache: the mark, the user, link and grant, and the session are a write each.
		"in three places": func(testing.TB) store.Store {
			rest, cache := memstore.New(), memstore.New()
			return store.Parts{Users: memstore.New(), Links: rest, Sessions: cache, Grants: rest, Transient: cache, Keyring: rest}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brokertest.Crash(t, open)
		})
	}
}
