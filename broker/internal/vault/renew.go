package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	leasePurpose = "token refresh"
	// leaseLifetime is longer than leading takes by as much as the clocks of two nodes may differ: a lease that one of them takes for
	// ended while the other one works would have a refresh token used twice. After a crash nobody renews for that long.
	leaseLifetime = leadPatience + 70*time.Second
	leadPatience  = 20 * time.Second       // for asking the upstream and writing its answer
	askPatience   = 10 * time.Second       // for asking
	waitPatience  = 25 * time.Second       // for another node that leads
	waitEvery     = 100 * time.Millisecond // to look what became of it
)

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
	for {
		r, err := s.record(ctx)
		if err != nil {
			return nil, err
		}
		if ready, err := v.ready(p, r); ready != nil || err != nil {
			return ready, err
		}
		began := time.Now()
		lease := token.HashHandle(leasePurpose, s.key)
		err = v.Store.Add(ctx, leasePurpose, lease, nil, v.Now().Add(leaseLifetime))
		if err == nil {
			return v.lead(ctx, p, s, lease, began)
		}
		if !errors.Is(err, store.ErrExists) {
			return nil, err
		}
		if wait(ctx, waitEvery) != nil {
			return nil, fmt.Errorf("%w: another node is at it for too long", ErrRefresh)
		}
	}
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
// bring home what the upstream has answered.
func (v *Vault) lead(ctx context.Context, p *gate.Provider, s *shelf, lease string, began time.Time) (*provider.Tokens, error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), began.Add(leadPatience))
	defer cancel()
	defer func() {
		if time.Since(began) > leaseLifetime-leadPatience { // by now it may be another's
			return
		}
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadPatience)
		defer cancel()
		if _, err := v.Store.Take(free, leasePurpose, lease); err != nil && !errors.Is(err, store.ErrNotFound) {
			v.Log.WarnContext(ctx, "lease for renewing tokens is left to end by itself", "provider", p.Alias, "error", err)
		}
	}()
	r, put, err := s.open(ctx) // the one who led before may have written
	if err != nil {
		return nil, err
	}
	if ready, err := v.ready(p, r); ready != nil || err != nil {
		return ready, err
	}
	next, err := v.ask(ctx, p, r)
	if errors.Is(err, ErrLinkAgain) {
		return v.give(ctx, p, s, put, r, &record{Mark: r.Mark, Ended: true}, err)
	}
	if err != nil {
		return nil, err
	}
	return v.give(ctx, p, s, put, r, &record{Tokens: *next, Mark: r.Mark}, nil)
}

// ask has the upstream renew the tokens.
func (v *Vault) ask(ctx context.Context, p *gate.Provider, r *record) (*provider.Tokens, error) {
	refresher, ok := p.IdP.(provider.TokenRefresher)
	if !ok {
		return nil, ErrLinkAgain
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
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
	if failure, ok := errors.AsType[*provider.Error](err); ok && failure.Kind == provider.Expired {
		why = ErrLinkAgain
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
			v.revoke(ctx, p, &next.Tokens)
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
