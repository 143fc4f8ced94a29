package seal_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/seal"
)

// kms are keys that come from elsewhere.
type kms struct {
	current string
	err     error
	open    func(ctx context.Context, id string) ([]byte, error)
}

func (k kms) Current(context.Context) (string, error)             { return k.current, k.err }
func (k kms) Open(ctx context.Context, id string) ([]byte, error) { return k.open(ctx, id) }

func keyOf(id string) []byte { return []byte(fmt.Sprintf("%32s", id)) }

func put(ctx context.Context, s store.Store, key string) error {
	return s.Put(ctx, "p", key, []byte(secret), later)
}

func get(ctx context.Context, s store.Store, key string) (err error) {
	_, err = s.Get(ctx, "p", key)
	return err
}
func counting(n *atomic.Int32) func(context.Context, string) ([]byte, error) {
	return func(_ context.Context, id string) ([]byte, error) { n.Add(1); return keyOf(id), nil }
}

var later = time.Now().Add(time.Hour)

// The KMS is asked once for a key, however many values there are and however many want it at once.
func TestKeysAreAskedOnce(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	gate := make(chan struct{})
	m := memstore.New()
	s := seal.New(kms{current: "k", open: func(context.Context, string) ([]byte, error) {
		calls.Add(1)
		<-gate
		return keyOf("k"), nil
	}}).Store(m)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			if err := put(t.Context(), s, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	all.Wait()
	for i := range 64 {
		if err := get(t.Context(), s, fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the KMS was asked %d times", n)
	}
}

// What fails once is asked again, and what panics hangs nobody.
func TestKeysThatFail(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := seal.New(kms{current: "k", open: func(context.Context, string) ([]byte, error) {
		switch calls.Add(1) {
		case 1:
			return nil, errors.New("no connection to the KMS")
		case 2:
			panic("in the host's code")
		}
		return keyOf("k"), nil
	}}).Store(memstore.New())
	if err := put(t.Context(), s, "a"); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("first: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = put(t.Context(), s, "a")
	}()
	if err := put(t.Context(), s, "a"); err != nil {
		t.Errorf("third: %v", err)
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("the KMS was asked %d times, want 3", n)
	}
}

// Who asked may go away; those who wait for the answer do not go with them, and each waits no longer than it likes.
func TestKeysAndContexts(t *testing.T) {
	t.Parallel()
	asked := make(chan context.Context, 10)
	s := seal.New(kms{current: "k", open: func(ctx context.Context, _ string) ([]byte, error) {
		asked <- ctx
		if len(asked) > 1 {
			return keyOf("k"), nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}).Store(memstore.New())
	first, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() { errs <- put(first, s, "a") }()
	for len(asked) == 0 { // until the first is asking
		runtime.Gosched()
	}
	impatient, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if err := put(impatient, s, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that does not wait: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- put(t.Context(), s, "c") }()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("one that went away: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("one that waits: %v", err)
	}
}

// However many ids somebody has made up, a bounded number of keys is kept.
func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	m := memstore.New()
	for i := range 200 {
		id := fmt.Sprint("key ", i)
		if err := put(t.Context(), seal.New(kms{current: id, open: counting(&calls)}).Store(m), id); err != nil {
			t.Fatal(err)
		}
	}
	sealer := seal.New(kms{current: "key 0", open: counting(&calls)})
	for i := range 200 {
		if err := get(t.Context(), sealer.Store(m), fmt.Sprint("key ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := sealer.Kept(); n > 64 {
		t.Errorf("%d keys are kept", n)
	}
}
