package passkey

import (
	"context"
	"errors"
	"slices"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// Login asks for a passkey and decides for the user whose it is. Where the draft has a UserID already, it asks for one of that
// user, and skips if they have none; an account that was only found to exist is not asked about, as that would tell whether it
// has one.
//
// Its page is "passkey". It skips where the broker keeps no credentials or its host is an IP address, and where a new user was
// decided on. It denies a disabled user with [factor.UserDisabled].
type Login struct {
	// RPID is that of [Site].
	RPID string
}

var _ flow.Decider = Login{}

// Decides marks the step as one that decides the draft.
func (Login) Decides() {}

// Where the step keeps what was begun.
const begun = "begun"

// Authenticate asks and decides.
func (s Login) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	site := Site{BaseURL: t.BaseURL, RPID: s.RPID}
	if _, err := site.engine(); errors.Is(err, ErrNoSite) || t.Credentials == nil || t.Draft.New {
		return flow.Skip(), nil
	}
	if t.Input.Has("another") && t.Others() {
		return flow.Another(), nil
	}
	if t.Input == nil {
		return s.ask(ctx, t, site, nil)
	}
	// Whatever comes of it, the next page has a challenge of its own.
	state, answer := []byte(t.Get(begun)), []byte(t.Input.Get("credential"))
	proof, err := site.FinishLogin(ctx, t.Credentials, t.Accounts.User, state, answer, t.Now)
	switch {
	case errors.Is(err, factor.ErrRefused):
		return s.ask(ctx, t, site, map[string]string{"credential": "refused"})
	case err != nil:
		return flow.Result{}, err
	case proof.User.Disabled:
		return flow.Deny(factor.UserDisabled), nil
	case t.Draft.UserID != "" && t.Draft.UserID != proof.User.ID:
		return s.ask(ctx, t, site, map[string]string{"credential": "refused"})
	}
	t.Draft.UserID = proof.User.ID
	t.Draft.AMR = append(slices.Clone(t.Draft.AMR), proof.AMR...)
	return flow.Success(), nil
}

// ask begins anew and asks.
func (Login) ask(ctx context.Context, t *flow.Turn, site Site, errs map[string]string) (flow.Result, error) {
	user, ok, err := asked(ctx, t)
	if err != nil || !ok {
		return flow.Skip(), err
	}
	options, state, err := site.BeginLogin(ctx, t.Credentials, user)
	if err != nil {
		return flow.Result{}, err
	}
	t.Set(begun, string(state))
	return flow.Ask(flow.Page{
		Name: "passkey", Errors: errs, Data: map[string]any{"options": string(options), "another": t.Others()},
	}), nil
}

// asked returns the user whose passkey it has to be, nil for anybody's; it is not ok if they have none.
func asked(ctx context.Context, t *flow.Turn) (u *store.User, ok bool, err error) {
	if t.Draft.UserID == "" {
		return nil, true, nil
	}
	if u, err = t.Accounts.User(ctx, t.Draft.UserID); err != nil {
		return nil, false, err
	}
	o, err := read(ctx, t.Credentials, u)
	return u, err == nil && len(o.keys) > 0, err
}
