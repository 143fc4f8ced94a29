package memstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// open returns a store whose clock stands still until it is put forward.
func open(testing.TB) (*memstore.Store, func(time.Duration)) {
	now := time.Now()
	s := memstore.New()
	s.Now = func() time.Time { return now }
	return s, func(d time.Duration) { now = now.Add(d) }
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) { return open(t) })
}

// At the moment that it names, a thing has expired, and a microsecond before it has not.
func TestBoundary(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := memstore.New()
	end := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	now := end.Add(-time.Microsecond)
	s.Now = func() time.Time { return now }
	if err := errors.Join(
		s.CreateSession(ctx, &store.Session{ID: "s", UserID: "u", ExpiresAt: end.Add(999)}),
		s.CreateGrant(ctx, &store.Grant{ID: "g", UserID: "u", ExpiresAt: end.Add(999)}),
		s.Add(ctx, "p", "k", nil, end.Add(999)),
	); err != nil {
		t.Fatal(err)
	}
	there := func() error {
		_, err := s.Session(ctx, "s")
		_, err2 := s.Grant(ctx, "g")
		_, err3 := s.Get(ctx, "p", "k")
		return errors.Join(err, err2, err3)
	}
	if err := there(); err != nil {
		t.Errorf("a microsecond before the end: %v", err)
	}
	if n, err := s.Sweep(ctx, 10); n != 0 || err != nil {
		t.Errorf("Sweep a microsecond before the end removed %d, %v", n, err)
	}
	now = end
	if got, want := fmt.Sprint(there()), fmt.Sprint(errors.Join(store.ErrNotFound, store.ErrNotFound, store.ErrNotFound)); got != want {
		t.Errorf("at the end: got %s, want %s", got, want)
	}
	if _, err := s.Take(ctx, "p", "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Take at the end: %v", err)
	}
	if n, err := s.Sweep(ctx, 10); n != 3 || err != nil {
		t.Errorf("Sweep at the end removed %d, %v, want 3", n, err)
	}
}

// Whatever was done, sweeping and deleting leaves nothing behind that would grow.
func TestForgets(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, advance := open(t)
	end := time.Now().Add(time.Hour)
	for i := range 100 {
		id := fmt.Sprint(i)
		l := &store.Login{
			Once: id, OnceExpires: end, NewUser: &store.User{ID: id, Username: id, Email: id},
			NewLink: &store.Link{LinkKey: store.LinkKey{Provider: "p", Subject: id}, UserID: id},
			Session: &store.Session{ID: id, UserID: id, Upstream: store.LinkKey{Provider: "p", Subject: id},
				UpstreamSession: id, ExpiresAt: end},
			Grant: &store.Grant{ID: id, UserID: id, ClientID: "c", SessionID: id, ExpiresAt: end},
		}
		if err := s.Commit(ctx, l); err != nil {
			t.Fatal(err)
		}
		l.Session.UserID, l.Grant.ClientID, l.NewUser.Email = "other", "other", "other"
		l.NewUser.SharedEmail = true
		if err := errors.Join(s.UpdateSession(ctx, l.Session), s.UpdateGrant(ctx, l.Grant), s.UpdateUser(ctx, l.NewUser),
			s.Put(ctx, "p", id, nil, end), s.Put(ctx, "p", id, nil, end.Add(-time.Minute))); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.DeleteUser(ctx, id), s.DeleteLink(ctx, l.NewLink.LinkKey)); err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			if err := errors.Join(s.DeleteSession(ctx, id), s.DeleteGrant(ctx, id)); err != nil {
				t.Fatal(err)
			}
		case 1:
			if _, err := s.Take(ctx, "p", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	advance(2 * time.Hour)
	total := 0
	for {
		n, err := s.Sweep(ctx, 7)
		if err != nil || n > 7 {
			t.Fatalf("Sweep(7): %d, %v", n, err)
		}
		if total += n; n == 0 {
			break
		}
	}
	// 100 marks, 67 values, 66 sessions and 66 grants.
	if want := 100 + 67 + 66 + 66; total != want {
		t.Errorf("swept %d, want %d", total, want)
	}
	if n := s.Len(); n != 0 {
		t.Errorf("%d entries are left in maps and indexes", n)
	}
}

// Clients may also be kept by something that keeps nothing else.
func TestClients(t *testing.T) {
	storetest.RunClients(t, func(testing.TB) store.Clients { return memstore.New() })
}

func TestCredentials(t *testing.T) {
	storetest.RunCredentials(t, func(testing.TB) store.Credentials { return memstore.New() })
}

func TestFences(t *testing.T) {
	storetest.RunFences(t, func(testing.TB) store.Fences { return memstore.New() })
}
