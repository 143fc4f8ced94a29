package factor

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// A bound is how often something may be guessed: some tries are free, and each further one has to wait for longer.
type bound struct {
	purpose     string // see [store.Transient]
	free        int
	first, most time.Duration // the waits
	forget      time.Duration
}

// What is bound, and how. Passwords and codes count apart, as strangers may try the former only.
var (
	passwordBound = bound{"factor password", 4, 30 * time.Second, 15 * time.Minute, 24 * time.Hour}
	codeBound     = bound{"factor code", 4, 30 * time.Second, 15 * time.Minute, 24 * time.Hour}
	sourceBound   = bound{"factor source", 19, 30 * time.Second, 15 * time.Minute, 10 * time.Minute}
)

// errLocked means that the next try has to wait.
var errLocked = errors.New("locked")

// A try is one that was counted, as if it had failed.
type try struct {
	marks store.Transient
	bound bound
	key   string
	mark  string // the one that it took
	free  int    // how many free ones were taken before
}

// begin counts a try for key, or returns errLocked. Every other error means that the store could not tell.
//
// The free ones are marks with numbers. After them, a try has to get the one mark "wait", which stays for longer each time,
// as marks for the levels tell. Of any number of racing callers the store gives each mark to one.
func (b bound) begin(ctx context.Context, marks store.Transient, key string, now time.Time) (*try, error) {
	t := &try{marks: marks, bound: b, key: key}
	for ; t.free < b.free; t.free++ {
		t.mark = freeKey(key, t.free)
		if ok, err := b.add(ctx, marks, t.mark, now.Add(b.forget)); ok || err != nil {
			return t, err
		}
	}
	level, wait := 0, b.first
	for ; wait < b.most; level, wait = level+1, min(2*wait, b.most) {
		_, err := marks.Get(ctx, b.purpose, levelKey(key, level))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	t.mark = waitKey(key)
	ok, err := b.add(ctx, marks, t.mark, now.Add(wait))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errLocked
	}
	_, err = b.add(ctx, marks, levelKey(key, level), now.Add(b.forget))
	return t, err
}

func freeKey(key string, i int) string      { return key + " " + strconv.Itoa(i) }
func waitKey(key string) string             { return key + " wait" }
func levelKey(key string, level int) string { return key + " level " + strconv.Itoa(level) }

func (b bound) add(ctx context.Context, marks store.Transient, mark string, expires time.Time) (bool, error) {
	err := marks.Add(ctx, b.purpose, mark, nil, expires)
	if errors.Is(err, store.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// takeBack lets the try not have been.
func (t *try) takeBack(ctx context.Context) error { return t.take(ctx, t.mark) }

// reset forgets all tries for the key.
func (t *try) reset(ctx context.Context) error {
	var errs []error
	for i := range min(t.free+1, t.bound.free) {
		errs = append(errs, t.take(ctx, freeKey(t.key, i)))
	}
	if t.free == t.bound.free {
		for level, wait := 0, t.bound.first; wait < t.bound.most; level, wait = level+1, 2*wait {
			errs = append(errs, t.take(ctx, levelKey(t.key, level)))
		}
		errs = append(errs, t.take(ctx, waitKey(t.key)))
	}
	return errors.Join(errs...)
}

func (t *try) take(ctx context.Context, mark string) error {
	_, err := t.marks.Take(ctx, t.bound.purpose, mark)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// guess checks something by fn, within bounds. fn is told whether the account is locked, and then does the same work and
// finds it wrong.
func (l *Local) guess(ctx context.Context, b bound, kind store.CredentialKind, a Attempt, fn func(locked bool) error) error {
	now := l.Now()
	var source *try
	if a.Source != "" {
		var err error
		if source, err = sourceBound.begin(ctx, l.Transient, hashed("source", a.Source), now); err != nil {
			return tooMany(err)
		}
	}
	account, err := b.begin(ctx, l.Transient, a.key(), now)
	locked := errors.Is(err, errLocked)
	if err != nil && !locked {
		return err
	}
	if err := fn(locked); err != nil {
		if l.Refused != nil && !locked && errors.Is(err, ErrRefused) {
			l.Refused(ctx, a.UserID, kind, a.Source)
		}
		return err
	}
	if locked { // fn has found something right that it must not
		return ErrRefused
	}
	// It is proved. That its tries could not be forgotten makes it no less so.
	ctx = context.WithoutCancel(ctx)
	_ = account.reset(ctx)
	if source != nil {
		_ = source.takeBack(ctx) // and not the other ones: who has an account may be guessing at others
	}
	return nil
}

func tooMany(err error) error {
	if errors.Is(err, errLocked) {
		return ErrTooMany
	}
	return err
}

// key is under which the attempt counts.
func (a Attempt) key() string {
	switch {
	case a.UserID == "":
		return hashed("name", a.Name)
	case a.Device != "":
		return hashed("device", a.UserID, a.Device)
	}
	return hashed("user", a.UserID)
}

// hashed makes a key of bounded length of parts of any.
func hashed(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + " " + p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}
