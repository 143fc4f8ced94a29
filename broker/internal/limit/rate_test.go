package limit_test

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/limit"
)

func newRate(tries int) (*limit.Rate, func(time.Duration)) {
	var late atomic.Int64
	return &limit.Rate{Now: func() time.Time { return time.Unix(1_800_000_000, late.Load()) }, Max: tries, Within: time.Minute},
		func(d time.Duration) { late.Add(int64(d)) }
}

func TestRate(t *testing.T) {
	t.Parallel()
	r, advance := newRate(3)
	for i := range 3 {
		if err := r.Try("a"); err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	for range 5 { // tries in vain cost nothing
		err := r.Try("a")
		if soon, ok := errors.AsType[*limit.TooSoon](err); !ok || soon.Wait != 20*time.Second || !errors.Is(err, limit.ErrTooMany) {
			t.Fatalf("the fourth try: %v, want to wait 20 seconds", err)
		}
	}
	if err := r.Try("b"); err != nil {
		t.Errorf("another key: %v", err)
	}
	advance(20 * time.Second)
	if err := r.Try("a"); err != nil {
		t.Errorf("once it has waited: %v", err)
	}
	if err := r.Try("a"); !errors.Is(err, limit.ErrTooMany) {
		t.Errorf("at once again: %v", err)
	}
	advance(time.Hour) // and it saves up no more than there are
	for i := range 4 {
		if err := r.Try("a"); (err != nil) != (i == 3) {
			t.Errorf("try %d after an hour: %v", i, err)
		}
	}
}

func TestRateAtOnce(t *testing.T) {
	t.Parallel()
	r, _ := newRate(10)
	var let atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if r.Try("a") == nil {
				let.Add(1)
			}
		})
	}
	all.Wait()
	if let.Load() != 10 {
		t.Errorf("%d of 64 were let, want 10", let.Load())
	}
}

// However many strangers come, what is remembered of them stays small; and whoever comes once they have gone is counted.
func TestRateForgets(t *testing.T) {
	t.Parallel()
	r, advance := newRate(2)
	for i := range 50_000 {
		if err := r.Try(strconv.Itoa(i)); err != nil {
			t.Fatalf("stranger %d: %v", i, err)
		}
	}
	if n := r.Known(); n > 10_000 {
		t.Errorf("%d keys are known, want at most 10000", n)
	}
	advance(time.Hour)
	for i := range 5_000 {
		if err := r.Try("later " + strconv.Itoa(i)); err != nil {
			t.Fatalf("stranger %d: %v", i, err)
		}
	}
	if n := r.Known(); n > 10_000 {
		t.Errorf("%d keys are known an hour later, want at most 10000", n)
	}
	if r.Try("later 4999") != nil || r.Try("later 4999") == nil {
		t.Error("one that came is not counted")
	}
}
