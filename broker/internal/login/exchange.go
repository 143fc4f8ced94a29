package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// Refusals of an [Exchange].
var (
	// ErrNotLinked: who it is would have to be decided in a browser.
	ErrNotLinked = errors.New("login: no user is linked to this identity")
	// ErrInteraction: a step of the post-login flow wants to show a page, or refused.
	ErrInteraction = errors.New("login: the user would have to take a further step")
	// ErrReplayed: what was brought along was used before.
	ErrReplayed = errors.New("login: this was used before")
)

// An Exchange is a login without a browser: an application has brought along what an upstream said about somebody.
type Exchange struct {
	Provider  *gate.Provider
	Providers []string // aliases of those whose word counts; nil is everybody's
	Identity  *provider.Identity
	Once      string    // names what was brought along, which is good for one exchange
	Expires   time.Time // from when on it would be refused anyway
	// Grant returns what the application is granted, of a session that will never be written.
	Grant func(s *store.Session) *store.Grant
}

// Exchange does for an identity what a login does: the same checks, mappers, look-up, flow and synchronisation, and writes
// the grant. It creates no user and no link, and what would need a page is refused.
func (s *Service) Exchange(r *http.Request, e Exchange) (*store.Grant, error) {
	ctx := r.Context()
	j, err := s.newJourney(ctx, &Target{Providers: e.Providers}, e.Provider, e.Identity, e.Once)
	if err != nil {
		return nil, err
	}
	j.Expires = e.Expires
	if j.account.user == nil || j.Transient != nil {
		return nil, ErrNotLinked
	}
	web.RecordOf(ctx).Note("user", j.account.user.ID)
	if err := s.pass(r, j); err != nil {
		return nil, err
	}
	grant, err := s.commitExchange(ctx, j, e)
	if errors.Is(err, store.ErrConflict) { // another login of the same user, perhaps: look again, once
		if err := s.lookUp(ctx, j); err != nil {
			return nil, err
		}
		grant, err = s.commitExchange(ctx, j, e)
	}
	if errors.Is(err, store.ErrExists) && s.replayed(ctx, j) {
		return nil, ErrReplayed
	}
	return grant, err
}

// pass runs the post-login flow, which must let the user through without a page.
func (s *Service) pass(r *http.Request, j *journey) error {
	f := s.flowOf(j)
	if len(f) == 0 {
		return nil
	}
	out, err := f.Run(r.Context(), &j.State, s.turn(r, j, nil))
	if err != nil {
		return err
	}
	if out.Kind != flow.Done || j.decision() != j.Decided {
		return fmt.Errorf("%w: step %q: %v", ErrInteraction, out.Step, out.Kind)
	}
	return nil
}

func (s *Service) commitExchange(ctx context.Context, j *journey, e Exchange) (*store.Grant, error) {
	if j.account.user == nil || s.overtaken(j) {
		return nil, ErrNotLinked
	}
	now := s.Now().UTC()
	login := &store.Login{Once: j.Once, OnceExpires: j.Expires}
	if err := s.update(ctx, j, login, now); err != nil {
		return nil, err
	}
	session := &store.Session{UserID: j.account.user.ID, AuthTime: now}
	if !j.Identity.AuthTime.IsZero() {
		session.AuthTime = j.Identity.AuthTime.UTC()
	}
	if err := s.describeSession(ctx, session, j); err != nil {
		return nil, err
	}
	login.Grant = e.Grant(session)
	if err := store.Commit(ctx, s.Store, login); err != nil {
		return nil, fmt.Errorf("commit exchange: %w", err)
	}
	return login.Grant, nil
}
