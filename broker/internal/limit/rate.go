package limit

import (
	"fmt"
	"sync"
	"time"
)

// maxKeys bounds how many keys a Rate knows: some hundred bytes each.
const maxKeys = 10_000

// A Rate is a number of tries within a time, counted in the memory of one node. It is for what strangers do, who must not
// fill the store, not even with marks of how often they came; so several nodes allow as many times as much. Tries are
// forgotten one by one, not all at once. Its fields are set once; it is safe for concurrent use.
type Rate struct {
	Now    func() time.Time
	Max    int
	Within time.Duration

	mu sync.Mutex
	// full is when a key has all of its tries again. One that has them now need not be known.
	full map[string]time.Time
}

// TooSoon is the error of a [Rate]. It is an [ErrTooMany].
type TooSoon struct {
	Wait time.Duration // until the next try
}

// Error says how long to wait.
func (e *TooSoon) Error() string { return fmt.Sprintf("%v: wait %v", ErrTooMany, e.Wait) }

// Unwrap returns ErrTooMany.
func (e *TooSoon) Unwrap() error { return ErrTooMany }

// Try counts a try for key, or returns a *TooSoon and counts nothing.
func (r *Rate) Try(key string) error {
	now := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	full, known := r.full[key]
	if !known || full.Before(now) {
		full = now
	}
	full = full.Add(r.Within / time.Duration(r.Max))
	if wait := full.Sub(now) - r.Within; wait > 0 {
		return &TooSoon{wait}
	}
	if r.full == nil {
		r.full = map[string]time.Time{}
	}
	if !known && len(r.full) >= maxKeys {
		r.makeRoom(now)
	}
	r.full[key] = full
	return nil
}

// makeRoom forgets some keys that have all of their tries, or else any: whoever has that many keys is not held up by
// what each of them may do.
func (r *Rate) makeRoom(now time.Time) {
	looked := 0
	for key, full := range r.full {
		if !full.After(now) || looked == 0 {
			delete(r.full, key)
		}
		if looked++; looked == 16 {
			return
		}
	}
}
