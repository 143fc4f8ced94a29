// Package limit bounds how often something may be tried within a time: a [Limit] over all nodes, a [Rate] on one.
//
// It owns the counting and nothing else: what is tried, and by whom, is the caller's to name. A try at a Limit is a mark in a
// [store.Transient], of which there is a fixed number and which expires; since of any number of racing callers one gets a
// mark, tries at the same moment are counted as well as tries in a row.
package limit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// ErrTooMany says that there were as many tries as there may be.
var ErrTooMany = errors.New("limit: too many tries")

// maxProbes bounds what one try costs. A limit above it is reached a little early, when most of its marks are taken.
const maxProbes = 16

// A Limit is a number of tries within a time. Its fields are set once; it is safe for concurrent use.
type Limit struct {
	Store   store.Transient
	Now     func() time.Time
	Purpose string // names the limit, see [store.Transient]
	Max     int
	Within  time.Duration
}

// Try counts a try for key, or returns ErrTooMany. Every other error means that the store could not tell. forgive, which
// is nil with an error, takes the try back.
func (l *Limit) Try(ctx context.Context, key string) (forgive func(context.Context) error, err error) {
	expires := l.Now().Add(l.Within)
	start := l.start()
	for i := range min(l.Max, maxProbes) {
		mark := key + " " + strconv.Itoa((start+i)%l.Max)
		err := l.Store.Add(ctx, l.Purpose, mark, nil, expires)
		if errors.Is(err, store.ErrExists) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return l.forget(ctx, mark) }, nil
	}
	return nil, ErrTooMany
}

// start is where to look for a free mark first: anywhere, where there are too many to look at all.
func (l *Limit) start() int {
	if l.Max <= maxProbes {
		return 0
	}
	var raw [8]byte
	_, _ = rand.Read(raw[:])                                    // never fails
	return int(binary.BigEndian.Uint64(raw[:]) % uint64(l.Max)) //nolint:gosec // less than Max, which is an int
}

func (l *Limit) forget(ctx context.Context, mark string) error {
	_, err := l.Store.Take(ctx, l.Purpose, mark)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
