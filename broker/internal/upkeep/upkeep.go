// Package upkeep does again and again what has to be done from time to time.
//
// It owns when that is: at other moments on each node, later and later while it fails. What is done it is told, as jobs that
// may run on several nodes at once.
package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const (
	minute     = time.Minute
	sweepBatch = 500                   // that one call of the store removes, so that logins need not wait long for it
	atOnce     = 8                     // providers that are maintained
	named      = 10                    // of those that failed: with the network down all have, and there may be thousands
	sweepPause = 50 * time.Millisecond // between two of them
	firstRetry = 5 * time.Second       // and twice as long each further time, up to its time
)

// A Job is a part of the upkeep. An error of Do is logged, and Do called again.
type Job struct {
	Name  string
	Every time.Duration // 0 is a minute
	Do    func(context.Context) error
}

// Run does the jobs until ctx ends. None waits for another.
func Run(ctx context.Context, log *slog.Logger, jobs []Job) {
	var all sync.WaitGroup
	for _, j := range jobs {
		all.Go(func() { j.repeat(ctx, log) })
	}
	all.Wait()
}

func (j Job) repeat(ctx context.Context, log *slog.Logger) {
	every := cmp.Or(j.Every, minute)
	wait, failed := time.Duration(0), 0
	for pause(ctx, wait) {
		err := j.Do(ctx)
		if ctx.Err() != nil {
			return
		}
		wait = every
		if err == nil {
			failed = 0
		} else {
			wait = min(firstRetry<<min(failed, 10), every)
			failed++
			log.ErrorContext(ctx, "upkeep failed", "job", j.Name, "attempt", failed, "retry_in", wait, "error", err)
		}
		wait += upTo(wait / 4) // nodes that were started together do not stay together
	}
}

func upTo(d time.Duration) time.Duration {
	return time.Duration(rand.Int64N(int64(d))) //nolint:gosec // nobody gains by guessing it
}

// pause waits, and reports whether ctx is still there.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Sweep removes what has expired, batch by batch.
func Sweep(ctx context.Context, s store.Sweeper) error {
	for {
		n, err := s.Sweep(ctx, sweepBatch)
		if err != nil || n < sweepBatch || !pause(ctx, sweepPause) {
			return err
		}
	}
}

// Maintain has all do what is due, some at a time, and returns what failed by the alias of each; of many, of the first ones.
func Maintain(ctx context.Context, all map[string]provider.Maintained) error {
	var some errgroup.Group
	some.SetLimit(atOnce)
	var mu sync.Mutex
	var failed []error
	for alias, p := range all {
		some.Go(func() error {
			if err := p.Maintain(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("provider %q: %w", alias, err))
			}
			return nil
		})
	}
	err := some.Wait()
	slices.SortFunc(failed, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if more := len(failed) - named; more > 0 {
		failed = append(failed[:named], fmt.Errorf("and %d more", more))
	}
	return errors.Join(append(failed, err)...)
}
