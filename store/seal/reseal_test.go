package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/seal"
)

// Whatever is written is sealed with the first key, and Reseal does so with the rest. Then the old key is not needed.
func TestReseal(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memstore.New()
	fill(t, sealer(t, older).Store(m))
	both := sealer(t, newer, older).Store(m)

	l, err := both.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := both.UpdateLink(ctx, l); err != nil {
		t.Fatal(err)
	}
	if l, err = sealer(t, newer).Store(m).Link(ctx, l.LinkKey); err != nil || string(l.Tokens) != secret {
		t.Errorf("what was written since: %v, %v", l, err)
	}

	// One of two links, two sessions with three each, a credential, a key and two secrets of a client.
	if n, err := both.Reseal(ctx); n != 11 || err != nil {
		t.Errorf("Reseal: %d, %v, want 11", n, err)
	}
	if n, err := both.Reseal(ctx); n != 0 || err != nil {
		t.Errorf("Reseal again: %d, %v, want 0", n, err)
	}
	only := sealer(t, newer).Store(m)
	for i, err := range []error{
		second(only.LinksOf(ctx, "b")), second(only.FindSessions(ctx, store.SessionQuery{UserID: "a"})), second(only.Session(ctx, "b")),
		second(only.CredentialsOf(ctx, "a")), second(only.Keys(ctx)), second(only.Client(ctx, "a")),
	} {
		if err != nil {
			t.Errorf("read %d without the old key: %v", i, err)
		}
	}
	// What lives for minutes still needs it.
	_, err = only.Grant(ctx, "a")
	wantSealError(t, err, seal.ErrNoKey)
	_, err = only.Get(ctx, "p", "put")
	wantSealError(t, err, seal.ErrNoKey)
}

// Clients and credentials that are kept elsewhere, and parts, are resealed as well. What nobody can list is told.
func TestResealElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memstore.New()
	fill(t, sealer(t, older).Store(m))
	both := sealer(t, newer, older)
	for name, row := range map[string]struct {
		in   any
		want int
	}{
		"clients": {both.Clients(m), 2}, "credentials": {both.Credentials(m), 1},
		"parts": {both.Store(store.Parts{Users: m, Links: m, Sessions: m, Grants: m, Transient: m, Keyring: m}), 9},
	} {
		if n, err := row.in.(interface {
			Reseal(ctx context.Context) (int, error)
		}).Reseal(ctx); n != row.want || err != nil {
			t.Errorf("%s: %d, %v, want %d", name, n, err, row.want)
		}
	}
	if n, err := both.Store(m).Reseal(ctx); n != 0 || err != nil {
		t.Errorf("all that is left: %d, %v", n, err)
	}
	newest := sealer(t, older, newer)
	redis := bare{m}
	n, err := newest.Store(store.Parts{Users: m, Links: m, Sessions: redis, Grants: m, Transient: m, Keyring: m}).Reseal(ctx)
	if n != 3 || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), string(store.SecretIDToken)) {
		t.Errorf("parts of which one cannot list: %d, %v, want 3", n, err)
	}
}

func second[T any](_ T, err error) error { return err }

// More than one batch, on several nodes at once while somebody writes: each value is resealed once, and none is lost.
func TestResealRaces(t *testing.T) {
	t.Parallel()
	const links, nodes = 1201, 4
	ctx := t.Context()
	m := memstore.New()
	old := sealer(t, older).Store(m)
	key := func(i int) store.LinkKey { return store.LinkKey{Provider: "p", Subject: fmt.Sprint(i)} }
	for i := range links {
		if err := old.CreateLink(ctx, &store.Link{LinkKey: key(i), UserID: "u", Tokens: fmt.Append(nil, "of ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var resealed atomic.Int64
	var all sync.WaitGroup
	for range nodes {
		all.Go(func() {
			n, err := sealer(t, newer, older).Store(m).Reseal(ctx)
			if err != nil {
				t.Error(err)
			}
			resealed.Add(int64(n))
		})
	}
	writer := sealer(t, newer, older).Store(m)
	for i := 0; i < links; i += 100 {
		l, err := writer.Link(ctx, key(i))
		if err == nil {
			l.Username = "written"
			err = writer.UpdateLink(ctx, l)
		}
		if err != nil {
			t.Error(err) // also a conflict: Reseal changes no version
		}
	}
	all.Wait()
	if n := resealed.Load(); n > links || n < links-13 {
		t.Errorf("%d values were resealed of %d", n, links)
	}
	only := sealer(t, newer).Store(m)
	for i := range links {
		l, err := only.Link(ctx, key(i))
		if err != nil || string(l.Tokens) != fmt.Sprint("of ", i) || (l.Username == "written") != (i%100 == 0) {
			t.Fatalf("link %d: %+v, %v", i, l, err)
		}
	}
}

// One value that cannot be opened keeps no other from it, stays as it is, and is told.
func TestResealPassesOver(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memstore.New()
	third := []byte("a third secret of the tests: 32!")
	fill(t, sealer(t, older).Store(m))
	lost := &store.Credential{ID: "lost", UserID: "lost", Secret: []byte(secret)}
	if err := sealer(t, third).Store(m).CreateCredential(ctx, lost); err != nil {
		t.Fatal(err)
	}
	before, err := m.CredentialsOf(ctx, "lost")
	if err != nil {
		t.Fatal(err)
	}
	n, err := sealer(t, newer, older).Store(m).Reseal(ctx)
	if n != 12 {
		t.Errorf("Reseal: %d, want 12", n)
	}
	wantSealError(t, err, seal.ErrNoKey)
	if err == nil || !strings.Contains(err.Error(), idOf(t, third)) || !strings.Contains(err.Error(), "number 1") {
		t.Errorf("the error is %v", err)
	}
	after, err := m.CredentialsOf(ctx, "lost")
	if err != nil || !bytes.Equal(before[0].Secret, after[0].Secret) {
		t.Errorf("what could not be opened was changed, %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := sealer(t, newer, older).Store(m).Reseal(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Reseal with a context that is cancelled: %v", err)
	}
}
