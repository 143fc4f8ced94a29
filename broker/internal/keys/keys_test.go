package keys_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/keys"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/token"
)

// follows is how long after a call of Replace another node may still use what was withdrawn.
const follows = 15 * time.Second

var epoch = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

var errDown = errors.New("the store is down")

// A flaky store fails what down says it does.
type flaky struct {
	store.Keyring
	down  func(call string) bool
	calls int
}

func (f *flaky) fails(ctx context.Context, call string) error {
	f.calls++
	if f.down != nil && f.down(call) {
		return errDown
	}
	return ctx.Err()
}

func (f *flaky) Keys(ctx context.Context) ([]*store.Key, error) {
	if err := f.fails(ctx, "keys"); err != nil {
		return nil, err
	}
	return f.Keyring.Keys(ctx)
}

func (f *flaky) AddKey(ctx context.Context, k *store.Key) error {
	if err := f.fails(ctx, "add"); err != nil {
		return err
	}
	return f.Keyring.AddKey(ctx, k)
}

func (f *flaky) DeleteKey(ctx context.Context, id string) error {
	if err := f.fails(ctx, "delete"); err != nil {
		return err
	}
	return f.Keyring.DeleteKey(ctx, id)
}

// sealed puts a store behind a secret, as a broker does.
func sealed(t testing.TB, s store.Store, secret string) *seal.Store {
	t.Helper()
	secrets, err := seal.FromSecrets(bytes.Repeat([]byte(secret), 32))
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(secrets).Store(s)
}

func newKeys(t testing.TB, s store.Keyring, now func() time.Time) *keys.Keys {
	return &keys.Keys{
		Store: s, Now: now, Log: slog.New(slog.DiscardHandler), Algorithms: []string{token.ES256},
	}
}

// signer returns the key that signs ES256 on a node, and fails if there is none.
func signer(t testing.TB, k *keys.Keys) string {
	t.Helper()
	ring, err := k.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, ok := ring.Signer(token.ES256, k.Now())
	if !ok {
		t.Fatal("no key signs")
	}
	return key.ID
}

func knows(t testing.TB, k *keys.Keys, id string) bool {
	t.Helper()
	found, err := k.PublicKeys(t.Context(), id, k.Now())
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}

func stored(t testing.TB, s store.Keyring) []string {
	t.Helper()
	list, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range list {
		ids = append(ids, k.ID)
	}
	return ids
}

// While the store is down a node goes on for half of the announcement, and says so now and then; after that other nodes
// could sign with what it does not know, and verify no more what it signs.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	now := epoch
	s := &flaky{Keyring: memstore.New()}
	k := newKeys(t, s, func() time.Time { return now })
	var log bytes.Buffer
	k.Log = slog.New(slog.NewTextHandler(&log, nil))
	first := signer(t, k)
	s.down = func(string) bool { return true }
	before := s.calls
	for range 12 * 60 {
		now = now.Add(time.Minute - time.Second)
		for range 3 {
			if got := signer(t, k); got != first {
				t.Fatalf("the store is down for %v: another key signs", now.Sub(epoch))
			}
			if ring, err := k.Published(t.Context()); err != nil || ring.Phase(first, now) != token.Signing {
				t.Fatalf("the store is down for %v: what is published lacks the signer, error %v", now.Sub(epoch), err)
			}
		}
	}
	if tries := s.calls - before; tries > 12*60 || strings.Count(log.String(), "going on") != tries || !strings.Contains(log.String(), errDown.Error()) {
		t.Errorf("%d tries in %v, and logged:\n%.500s", tries, now.Sub(epoch), log.String())
	}
	now = epoch.Add(12 * time.Hour)
	if _, err := k.Ring(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Ring after half of the announcement: error %v, want that of the store", err)
	}
	if _, err := k.PublicKeys(t.Context(), first, now); !errors.Is(err, errDown) {
		t.Errorf("PublicKeys after half of the announcement: error %v, want that of the store", err)
	}
	s.down = nil
	if got := signer(t, k); got != first {
		t.Error("once the store is back, another key signs")
	}
}

// A store that can be read but not written lets everything but the rotation go on, for as long as it takes.
func TestStoreReadOnly(t *testing.T) {
	t.Parallel()
	now := epoch
	s := &flaky{Keyring: memstore.New()}
	k := newKeys(t, s, func() time.Time { return now })
	first := signer(t, k)
	s.down = func(call string) bool { return call != "keys" }
	for range 200 {
		now = now.Add(24 * time.Hour)
		if got := signer(t, k); got != first {
			t.Fatalf("after %v another key signs", now.Sub(epoch))
		}
	}
	s.down = nil
	now = now.Add(time.Minute)
	signer(t, k)
	now = now.Add(24*time.Hour + time.Second)
	if got := signer(t, k); got == first || !knows(t, k, first) {
		t.Error("once it can be written, the next key does not sign after its announcement, beside the old one")
	}
	// An empty store that cannot be written is no store.
	s = &flaky{Keyring: memstore.New(), down: func(call string) bool { return call == "add" }}
	none := newKeys(t, s, k.Now)
	for range 2 { // what it has read is not taken for all that is needed
		if _, err := none.Ring(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("without any key: error %v", err)
		}
	}
	s.down = nil
	signer(t, none) // at once
}

// A visitor who hangs up does not keep others from the store.
func TestHangingUp(t *testing.T) {
	t.Parallel()
	now := epoch
	s := &flaky{Keyring: memstore.New()}
	k := newKeys(t, s, func() time.Time { return now })
	signer(t, k)
	now = now.Add(time.Minute)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Ring(gone); err != nil {
		t.Errorf("Ring for a visitor who hung up: %v", err)
	}
	before := s.calls
	if signer(t, k); s.calls == before {
		t.Error("the next visitor gets what is old")
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	now := epoch
	s := memstore.New()
	clock := func() time.Time { return now }
	a, b := newKeys(t, s, clock), newKeys(t, s, func() time.Time { return now.Add(-time.Minute) })
	b.Algorithms = []string{token.ES256, token.EdDSA} // a newer configuration
	old := signer(t, a)
	now = now.Add(89*24*time.Hour + time.Hour)
	signer(t, a)
	if got := signer(t, b); got != old || len(stored(t, s)) != 3 {
		t.Fatalf("%d keys, want a signer and the next one, and one of the other algorithm", len(stored(t, s)))
	}
	before := stored(t, s)
	if err := a.Replace(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := signer(t, a)
	after := stored(t, s)
	if slices.ContainsFunc(after, func(id string) bool { return slices.Contains(before, id) }) || len(after) != 2 {
		t.Errorf("keys %q, want two others than %q", after, before)
	}
	if slices.Contains(before, fresh) || knows(t, a, old) {
		t.Error("the node that was called still signs with the old key, or knows it")
	}
	if ring, err := b.Published(t.Context()); err != nil || ring.Phase(fresh, now) != token.Signing || ring.Phase(old, now) != token.Gone {
		t.Errorf("another node does not publish what signs now (error %v)", err)
	}
	if got := signer(t, b); got != fresh {
		t.Error("another node, whose clock is behind, does not sign with the new key")
	}
	now = now.Add(80 * 24 * time.Hour)
	if got := signer(t, a); got != fresh {
		t.Error("the new key does not stay for its time")
	}
}

// Others learn of it without being told.
func TestReplaceBound(t *testing.T) {
	t.Parallel()
	now := epoch
	s := memstore.New()
	clock := func() time.Time { return now }
	a, b := newKeys(t, s, clock), newKeys(t, s, clock)
	old := signer(t, a)
	signer(t, b)
	now = now.Add(time.Second)
	if err := a.Replace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !knows(t, b, signer(t, a)) {
		t.Error("what the first signs with now is unknown to the second")
	}
	now = now.Add(follows)
	if got := signer(t, b); got == old || knows(t, b, old) {
		t.Errorf("the old key is in use %v later", follows)
	}
}

// Several that replace at once do not lose a key nor keep an old one.
func TestReplaceTogether(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	clock := func() time.Time { return epoch }
	var nodes []*keys.Keys
	for range 6 {
		k := newKeys(t, s, clock)
		nodes = append(nodes, k)
		signer(t, k)
	}
	old := signer(t, nodes[0])
	var all sync.WaitGroup
	for _, k := range nodes {
		all.Go(func() {
			if err := k.Replace(t.Context()); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for range 20 {
				if _, err := k.Published(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	left := stored(t, s)
	if slices.Contains(left, old) || len(left) == 0 {
		t.Fatalf("keys %q left, the old one was %q", left, old)
	}
	for i, k := range nodes {
		if ring, err := k.Published(t.Context()); err != nil || !slices.Contains(left, signer(t, k)) || ring.Phase(old, epoch) != token.Gone {
			t.Errorf("node %d is not done: %v", i, err)
		}
	}
}

// Whatever of it fails, the old keys go only when the new ones are there.
func TestReplaceFails(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"keys", "add", "delete"} {
		s := &flaky{Keyring: memstore.New()}
		k := newKeys(t, s, func() time.Time { return epoch })
		old := signer(t, k)
		s.down = func(c string) bool { return c == call }
		if err := k.Replace(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("%s fails: Replace() = %v", call, err)
		}
		s.down = nil
		if !slices.Contains(stored(t, s), old) {
			t.Errorf("%s fails: the old key is gone", call)
		}
		if err := k.Replace(t.Context()); err != nil || slices.Contains(stored(t, s), old) || len(stored(t, s)) != 1 {
			t.Errorf("after %s failed: Replace() = %v, and keeps %q", call, err, stored(t, s))
		}
	}
}

// A secret that was lost takes its keys with it, but only if somebody says so.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	clock := func() time.Time { return epoch }
	old := signer(t, newKeys(t, sealed(t, s, "s"), clock))
	k := newKeys(t, sealed(t, s, "t"), clock)
	for _, f := range []func(context.Context) (*token.Ring, error){k.Ring, k.Published} {
		if _, err := f(t.Context()); err == nil || !strings.Contains(err.Error(), "not among Config.Secrets") {
			t.Errorf("keys of another secret: error %v", err)
		}
	}
	if err := k.Check(t.Context()); err == nil {
		t.Error("Check finds nothing wrong with keys of another secret")
	}
	if !slices.Contains(stored(t, s), old) {
		t.Fatal("they were removed without a word")
	}
	if err := k.Replace(t.Context()); err != nil || slices.Contains(stored(t, s), old) {
		t.Errorf("Replace() = %v, keys %q", err, stored(t, s))
	}
	signer(t, k)
}

type noKMS struct{}

func (noKMS) Current(context.Context) (string, error)      { return "k", nil }
func (noKMS) Open(context.Context, string) ([]byte, error) { return nil, errDown }

// A KMS that does not answer has lost no key: none is removed for it.
func TestKeysBehindAKMSThatIsDown(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	clock := func() time.Time { return epoch }
	old := signer(t, newKeys(t, sealed(t, s, "s"), clock))
	k := newKeys(t, seal.New(noKMS{}).Store(s), clock)
	if _, err := k.Ring(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Ring() error = %v, want %v", err, errDown)
	}
	if err := k.Replace(t.Context()); !errors.Is(err, errDown) || !slices.Contains(stored(t, s), old) {
		t.Errorf("Replace() = %v, keys %q", err, stored(t, s))
	}
}
