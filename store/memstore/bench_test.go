package memstore_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func BenchmarkSession(b *testing.B) {
	s := memstore.New()
	for i := range 10_000 {
		n := &store.Session{ID: strconv.Itoa(i), UserID: strconv.Itoa(i % 1000), ExpiresAt: time.Now().Add(time.Hour)}
		if err := s.CreateSession(b.Context(), n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Session(b.Context(), "77"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s := memstore.New()
	value, end := make([]byte, 200), time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Put(b.Context(), "p", "k", value, end); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Take(b.Context(), "p", "k"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit is of somebody new each time.
func BenchmarkCommit(b *testing.B) {
	s := memstore.New()
	end := time.Now().Add(time.Hour)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		id := strconv.Itoa(i)
		key := store.LinkKey{Provider: "p", Issuer: "https://p.example", Subject: id}
		if err := s.Commit(b.Context(), &store.Login{
			Once: id, OnceExpires: end, NewUser: &store.User{ID: id, Username: id, Email: id},
			NewLink: &store.Link{LinkKey: key, UserID: id},
			Session: &store.Session{ID: id, UserID: id, Upstream: key, UpstreamSession: id, ExpiresAt: end},
			Grant:   &store.Grant{ID: id, UserID: id, ClientID: "c", SessionID: id, ExpiresAt: end},
		}); err != nil {
			b.Fatal(err)
		}
	}
}
