package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const (
	askPatience  = 10 * time.Second // for asking the upstream
	leadPatience = 20 * time.Second // for that and writing its answer
	// deadAfter is for how long others see a lease before they take its holder for dead, by clocks of their own that nobody sets: as
	// long as it may ask the upstream, and then some to write in. Whoever asks with the same refresh token before that may have it
	// taken for stolen; who waits for longer misses the moment for which many upstreams take it once more.
	deadAfter = 15 * time.Second
	// staleAfter is the same for a lease that nobody has watched: by the clocks of two nodes, which may be minutes apart.
	staleAfter   = 10 * time.Minute
	waitPatience = 25 * time.Second       // for another node that leads, and for what to do when it has died
	waitEvery    = 100 * time.Millisecond // to look what became of it
	// refusedFor is for how long an upstream has to refuse without saying why before the user is told to sign in again: longer than
	// outages in which it takes nobody for somebody.
	refusedFor = time.Hour
)

// errRefused: the upstream has refused, and did not say why.
var errRefused = errors.New("the provider refuses")

// A lease says that a node is about to ask the upstream, or has asked and not written the answer yet. It is kept with the tokens, so
// that of two nodes one gets it: of two writes of the same version one wins.
type lease struct {
	ID string
	At time.Time
}

// A flight is one piece of work that any number of callers wait for.
type flight struct {
	done   chan struct{} // closed when the rest is set
	tokens *provider.Tokens
	err    error
}

// together has work done once for all who want the same at the same time. A caller who leaves ends it for nobody, and what it has
// begun is brought to its end.
func (v *Vault) together(ctx context.Context, key string, work func(context.Context) (*provider.Tokens, error)) (*provider.Tokens, error) {
	v.mu.Lock()
	f := v.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		if v.flights == nil {
			v.flights = map[string]*flight{}
		}
		v.flights[key] = f
		go v.fly(context.WithoutCancel(ctx), key, f, work)
	}
	v.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	own := *f.tokens
	return &own, nil
}

func (v *Vault) fly(ctx context.Context, key string, f *flight, work func(context.Context) (*provider.Tokens, error)) {
	f.err = fmt.Errorf("%w: the work was given up", ErrRefresh) // by runtime.Goexit
	defer func() {
		if r := recover(); r != nil { // no request's, whose server would see to it
			f.tokens, f.err = nil, fmt.Errorf("%w: panic of type %T", ErrRefresh, r)
			v.Log.ErrorContext(ctx, "panic while tokens were renewed", "error", f.err)
		}
		v.mu.Lock()
		delete(v.flights, key)
		v.mu.Unlock()
		close(f.done)
	}()
	f.tokens, f.err = work(ctx)
}

// renew returns tokens that are good for long enough: from the upstream, or those that another node has got there.
func (v *Vault) renew(ctx context.Context, p *gate.Provider, s *shelf) (*provider.Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, waitPatience)
	defer cancel()
	var seen lease
	var since time.Time
	for {
		r, put, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		if ready, err := v.ready(p, r); ready != nil || err != nil {
			return ready, err
		}
		if r.Lease.ID != seen.ID {
			seen, since = r.Lease, time.Now()
		}
		if r.Lease.ID == "" || time.Since(since) >= deadAfter || v.Now().Sub(r.Lease.At) >= staleAfter {
			began, mine := time.Now(), *r
			mine.Lease = lease{rand.Text(), v.Now().UTC()}
			err := put(ctx, &mine)
			if err == nil || v.taken(ctx, s, &mine) {
				return v.lead(ctx, p, s, put, &mine, began)
			}
			if !errors.Is(err, store.ErrConflict) {
				return nil, err
			}
			continue
		}
		if wait(ctx, waitEvery) != nil {
			return nil, fmt.Errorf("%w: another node is at it for too long", ErrRefresh)
		}
	}
}

// taken reports whether a lease was written though the write seemed to fail.
func (v *Vault) taken(ctx context.Context, s *shelf, mine *record) bool {
	r, _, err := s.open(ctx)
	return err == nil && r.Lease.ID == mine.Lease.ID
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lead renews the tokens while no other node does. It has a time of its own: what remains of its caller's may be too short to
// bring home what the upstream has answered. r has the lease, and put writes in its place.
func (v *Vault) lead(ctx context.Context, p *gate.Provider, s *shelf, put func(context.Context, *record) error, r *record,
	began time.Time) (*provider.Tokens, error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), began.Add(leadPatience))
	defer cancel()
	next, err := v.ask(ctx, p, r, began.Add(askPatience))
	if err == nil {
		return v.give(ctx, p, s, put, r, &record{Tokens: *next, Mark: r.Mark}, nil)
	}
	if errors.Is(err, ErrLinkAgain) {
		return v.give(ctx, p, s, put, r, &record{Mark: r.Mark, Ended: true}, err)
	}
	since := r.Refused
	if errors.Is(err, errRefused) {
		verdict := ErrRefresh
		switch now := v.Now().UTC(); {
		case since.IsZero():
			since = now
		case now.Sub(since) >= refusedFor: // it is asked again all the same, as it may come to its senses
			verdict = ErrLinkAgain
		}
		err = fmt.Errorf("%w: %w", verdict, err)
	}
	v.free(ctx, p, s, put, r, since)
	return nil, err
}

// free gives the lease back, unless the tokens are of a later login by now, or another node's to renew.
func (v *Vault) free(ctx context.Context, p *gate.Provider, s *shelf, put func(context.Context, *record) error, r *record, refused time.Time) {
	id := r.Lease.ID
	for {
		next := *r
		next.Lease, next.Refused = lease{}, refused
		err := put(ctx, &next)
		if err == nil {
			return
		}
		if errors.Is(err, store.ErrConflict) {
			r, put, err = s.open(ctx)
		}
		if err != nil {
			v.Log.WarnContext(ctx, "lease for renewing tokens is left to end by itself", "provider", p.Alias, "error", err)
			return
		}
		if r.Lease.ID != id {
			return
		}
	}
}

// ask has the upstream renew the tokens, until a time.
func (v *Vault) ask(ctx context.Context, p *gate.Provider, r *record, until time.Time) (_ *provider.Tokens, err error) {
	defer func() { // so that the lease is given back
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic of type %T", ErrRefresh, r)
			v.Log.ErrorContext(ctx, "panic while tokens were renewed", "provider", p.Alias, "error", err)
		}
	}()
	refresher, ok := p.IdP.(provider.TokenRefresher)
	if !ok {
		return nil, ErrLinkAgain
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	old := r.Tokens
	next, err := refresher.RefreshTokens(ctx, &old)
	if err == nil && (next == nil || next.AccessToken == "") {
		err = errors.New("the provider returned no tokens")
	}
	why := ErrRefresh
	if err == nil {
		if _, err = (&record{Tokens: *next, Mark: r.Mark}).encode(); err == nil {
			return next, nil
		}
		why = ErrLinkAgain // the old refresh token is spent, and the new one cannot be kept
		go v.revoke(ctx, p, next)
	}
	switch failure, ok := errors.AsType[*provider.Error](err); {
	case ok && failure.Kind == provider.Expired:
		why = ErrLinkAgain
	case ok && failure.Kind == provider.Denied:
		why = errRefused
	}
	v.Log.WarnContext(ctx, "tokens not renewed", "provider", p.Alias, "error", err)
	return nil, fmt.Errorf("%w: %w", why, err)
}

// give writes next in the place of spent, whatever else was written meanwhile, unless that are tokens of a later login. It returns
// what is kept from then on, or verdict if that is not nil and next is kept.
func (v *Vault) give(ctx context.Context, p *gate.Provider, s *shelf, put func(context.Context, *record) error, spent, next *record,
	verdict error) (*provider.Tokens, error) {
	for {
		err := put(ctx, next)
		if err == nil {
			return &next.Tokens, verdict
		}
		if !errors.Is(err, store.ErrConflict) {
			v.Log.WarnContext(ctx, "renewed tokens not written, trying again", "provider", p.Alias, "error", err)
		}
		now, again, readErr := s.open(ctx)
		switch {
		case errors.Is(readErr, ErrNone), errors.Is(readErr, ErrNotLinked): // unlinked or signed out meanwhile
			if errors.Is(readErr, ErrNone) || !s.moved(ctx) { // what revokes the old ones may end those of the new link with them
				v.revoke(ctx, p, &next.Tokens)
			}
			return nil, readErr
		case readErr == nil && now.Tokens.RefreshToken != spent.Tokens.RefreshToken:
			if now.Ended {
				return nil, ErrLinkAgain
			}
			return &now.Tokens, nil // of a later login, or ours: that a write failed does not mean that nothing was written
		case readErr == nil:
			put = again
		}
		if errors.Is(err, store.ErrConflict) && readErr == nil {
			continue
		}
		if wait(ctx, waitEvery) != nil {
			v.Log.ErrorContext(ctx, "renewed tokens are lost: the user may have to sign in with this provider again", "provider", p.Alias, "error", err)
			return nil, fmt.Errorf("%w: %w", ErrRefresh, err)
		}
	}
}
