package seal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// BenchmarkLogin is what a login writes, with an upstream ID token of 1.2 KB in the session, into memory: bare and sealed.
func BenchmarkLogin(b *testing.B) {
	m := memstore.New()
	idToken := []byte(strings.Repeat("x", 1200))
	for _, c := range []struct {
		name string
		s    store.Store
	}{{"bare", m}, {"sealed", sealer(b, older).Store(m)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			end := time.Now().Add(time.Hour)
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprint(c.name, i)
				if err := store.Commit(b.Context(), c.s, &store.Login{
					Once: id, OnceExpires: end, Session: &store.Session{ID: id, UserID: "u" + id, UpstreamIDToken: idToken, ExpiresAt: end},
					Grant: &store.Grant{ID: id, UserID: "u" + id, ExpiresAt: end},
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkValue seals and opens one value of 1.2 KB.
func BenchmarkValue(b *testing.B) {
	m := memstore.New()
	s := sealer(b, older).Store(m)
	value, end := []byte(strings.Repeat("x", 1200)), time.Now().Add(time.Hour)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Put(b.Context(), "p", "k", value, end); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Get(b.Context(), "p", "k"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
