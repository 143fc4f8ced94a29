package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/limit"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func newLimit(t testing.TB, tries int) (*limit.Limit, func(time.Duration)) {
	t.Helper()
	var late atomic.Int64
	clock := func() time.Time { return time.Unix(1_800_000_000, late.Load()) }
	s := memstore.New()
	s.Now = clock
	return &limit.Limit{Store: s, Now: clock, Purpose: "test", Max: tries, Within: time.Minute},
		func(d time.Duration) { late.Add(int64(d)) }
}

func try(t testing.TB, l *limit.Limit, key string) error {
	t.Helper()
	_, err := l.Try(t.Context(), key)
	return err
}

func TestTry(t *testing.T) {
	t.Parallel()
	l, advance := newLimit(t, 3)
	for i := range 3 {
		if err := try(t, l, "a"); err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		advance(10 * time.Second)
	}
	if err := try(t, l, "a"); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("the fourth try: %v", err)
	}
	if err := try(t, l, "b"); err != nil {
		t.Errorf("another key: %v", err)
	}
	advance(30 * time.Second) // the first one is a minute ago
	if err := try(t, l, "a"); err != nil {
		t.Errorf("a minute after the first: %v", err)
	}
	if err := try(t, l, "a"); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("the fourth within a minute: %v", err)
	}
}

func TestForgive(t *testing.T) {
	t.Parallel()
	l, advance := newLimit(t, 1)
	for range 5 {
		forgive, err := l.Try(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := forgive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	forgive, err := l.Try(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	advance(2 * time.Minute)
	if err := forgive(t.Context()); err != nil {
		t.Errorf("forgiving what has expired: %v", err)
	}
}

func TestTryAtOnce(t *testing.T) {
	t.Parallel()
	for _, most := range []int{5, 40} {
		l, _ := newLimit(t, most)
		var passed atomic.Int64
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 300 {
			all.Go(func() {
				<-start
				if _, err := l.Try(context.WithoutCancel(t.Context()), "a"); err == nil {
					passed.Add(1)
				}
			})
		}
		close(start)
		all.Wait()
		// A large limit may be reached a little early.
		if n := int(passed.Load()); n > most || n < most*3/4 {
			t.Errorf("%d of 300 at once passed, of at most %d", n, most)
		}
	}
}

type broken struct{ store.Transient }

var errBroken = errors.New("broken")

func (broken) Add(context.Context, string, string, []byte, time.Time) error { return errBroken }

func TestTryStoreFails(t *testing.T) {
	t.Parallel()
	l, _ := newLimit(t, 3)
	l.Store = broken{}
	forgive, err := l.Try(t.Context(), "a")
	if !errors.Is(err, errBroken) || errors.Is(err, limit.ErrTooMany) || forgive != nil {
		t.Errorf("got %v, %v", fmt.Sprintf("%p", forgive), err)
	}
}
