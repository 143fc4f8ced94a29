package factor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// Passkey asks for a passkey and decides for the user whose it is. Where the draft has a UserID already, it asks for one of that
// user, and skips if they have none; an account that was only found to exist is not asked about, as that would tell whether it
// has one.
//
// Its page is "passkey". It skips where the broker has no passkeys or keeps no credentials, and where a new user was decided on. It
// denies a disabled user with [UserDisabled].
type Passkey struct{}

var _ flow.Decider = Passkey{}

// Decides marks the step as one that decides the draft.
func (Passkey) Decides() {}

// OwnPasskey asks the user whom the draft has decided on already for a passkey of theirs, on the page of [Passkey]. It decides
// nothing, so that a flow after a login can step up by it, beside other steps and under a condition; [NeedsSecond] is one. It skips
// where nobody was decided on, and where [Passkey] does.
type OwnPasskey struct{}

// Authenticate asks.
func (OwnPasskey) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Draft.UserID == "" {
		return flow.Skip(), nil
	}
	return Passkey{}.Authenticate(ctx, t)
}

const (
	begunPasskey    = "passkey"    // under which a step keeps what was begun, and when
	begunAt         = "passkey at" // in seconds
	fieldCredential = "credential" // the browser's answer

	passkeyLifetime = 10 * time.Minute
)

// Authenticate asks and decides.
func (s Passkey) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if _, ok := LocalOf(t); !ok || t.Passkeys == nil || t.Draft.New {
		return flow.Skip(), nil
	}
	if t.Input.Has("another") && t.Others() {
		return flow.Another(), nil
	}
	var errs map[string]string
	if t.Input != nil {
		result, err := takePasskey(ctx, t)
		if !errors.Is(err, ErrRefused) {
			return result, err
		}
		errs = map[string]string{fieldCredential: "refused"}
	}
	// Whatever was answered, the next page has a challenge of its own.
	options, err := beginPasskey(ctx, t)
	if options == "" || err != nil {
		return flow.Skip(), err
	}
	return flow.Ask(flow.Page{Name: "passkey", Errors: errs, Data: map[string]any{"options": options, "another": t.Others()}}), nil
}

// beginPasskey begins to ask for a passkey, one of the user whom the draft has decided on if there is one, and returns the options
// for the page: "" if that user has none.
func beginPasskey(ctx context.Context, t *flow.Turn) (options string, err error) {
	var user *store.User
	if t.Draft.UserID != "" {
		if ok, err := has(ctx, t, []store.CredentialKind{store.CredentialPasskey}); !ok || err != nil {
			return "", err
		}
		if user, err = t.Accounts.User(ctx, t.Draft.UserID); err != nil {
			return "", err
		}
	}
	text, state, err := t.Passkeys.BeginLogin(ctx, t.Credentials, user)
	if err != nil {
		return "", err
	}
	t.Set(begunPasskey, string(state))
	t.Set(begunAt, strconv.FormatInt(t.Now.Unix(), 10))
	return string(text), nil
}

// takePasskey decides for the user whose passkey has answered what was begun. It is ErrRefused if that proves nothing.
func takePasskey(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	at, err := strconv.ParseInt(t.Get(begunAt), 10, 64)
	if err != nil || t.Now.Sub(time.Unix(at, 0)) > passkeyLifetime {
		return flow.Result{}, fmt.Errorf("%w: passkey: nothing was begun, or too long ago", ErrRefused)
	}
	state, answer := []byte(t.Get(begunPasskey)), []byte(t.Input.Get(fieldCredential))
	proof, err := t.Passkeys.FinishLogin(ctx, t.Credentials, t.Accounts.User, state, answer, t.Now)
	if errors.Is(err, ErrRefused) && t.Note != nil {
		t.Note("refused", string(store.CredentialPasskey))
	}
	switch {
	case err != nil:
		return flow.Result{}, err
	case t.Draft.UserID != "" && t.Draft.UserID != proof.User.ID:
		return flow.Result{}, ErrRefused
	case proof.User.Disabled:
		return flow.Deny(UserDisabled), nil
	}
	t.Draft.UserID = proof.User.ID
	t.Draft.AMR = addAMR(t.Draft.AMR, proof.AMR...)
	return flow.Success(), nil
}
