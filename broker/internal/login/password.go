package login

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const (
	stepPassword  = "local-password"
	fieldStart    = "start" // of the login page's form: the target's Start
	fieldUsername = "username"
	fieldPassword = "password"
)

// localFlow is what somebody passes who signs in with a password of the broker's own.
var localFlow = flow.Flow{
	{ID: stepPassword, Do: factor.UsernamePassword{}},
	{ID: "local-second", When: flow.Conditional, Sub: flow.Flow{
		{ID: "local-has-second", Do: factor.NeedsSecond()},
		{ID: "local-code", Do: factor.SecondFactor{}},
	}},
	{ID: "local-update", Do: factor.UpdatePassword{}},
}

// localProvider stands where there is no upstream. It has no name, no mappers and nothing to speak to.
func localProvider(byPasskey bool) *gate.Provider {
	if byPasskey {
		return &gate.Provider{FirstLogin: passkeyFlow}
	}
	return &gate.Provider{FirstLogin: localFlow}
}

// local reports whether no upstream has a part in the journey.
func (j *journey) local() bool { return j.Alias == "" }

// onLoginPage reports whether what this step asks is on the login page.
func (j *journey) onLoginPage(step string) bool {
	return j.local() && (step == stepPassword || step == stepPasskey)
}

// localAllowed returns an error if nobody may sign in to t with a password or, if byPasskey, with a passkey. An application that
// names whose word it takes has not named the broker's own.
func (s *Service) localAllowed(t *Target, byPasskey bool) error {
	switch {
	case byPasskey && s.Passkeys == nil, !byPasskey && !s.Local:
		return gate.ErrUnknownProvider
	case len(t.Providers) > 0:
		return gate.ErrProviderNotAllowed
	}
	return nil
}

// entrance returns what the journey goes by, if it may.
func (s *Service) entrance(j *journey) (*gate.Provider, error) {
	if !j.local() {
		return s.Gate.Login(j.Alias, j.target.Providers)
	}
	if err := s.localAllowed(j.target, j.Passkey); err != nil {
		return nil, err
	}
	return localProvider(j.Passkey), nil
}

// lookUpLocal reads the user whom the flow has decided on, and checks that they may log in.
func (s *Service) lookUpLocal(ctx context.Context, j *journey) error {
	if j.Draft.UserID == "" || j.Draft.New {
		return errors.New("a login without an upstream has to decide on a user who exists")
	}
	user, err := s.Store.User(ctx, j.Draft.UserID)
	if errors.Is(err, store.ErrNotFound) {
		return errConflict
	}
	if err != nil {
		return err
	}
	j.account.user = user
	return s.Gate.User(user)
}

// AnswerPassword handles POST /login/password: the form on the login page. Nothing is kept for somebody who has proved nothing.
func (s *Service) AnswerPassword(w http.ResponseWriter, r *http.Request) {
	if t, ok := s.localTarget(w, r, false); ok {
		s.local(w, r, &journey{target: t}, url.Values{
			fieldUsername: {r.PostForm.Get(fieldUsername)}, fieldPassword: {r.PostForm.Get(fieldPassword)},
		})
	}
}

// localTarget returns what a form on the login page is sent for, or says itself why that may not be.
func (s *Service) localTarget(w http.ResponseWriter, r *http.Request, byPasskey bool) (t *Target, ok bool) {
	if !s.readForm(w, r) {
		return nil, false
	}
	t, err := s.Resolve(r.Context(), r.PostForm.Get(fieldStart))
	if err == nil && t.Passive {
		err = &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("a form for a login without a page")}
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return nil, false
	}
	if err := s.localAllowed(t, byPasskey); err != nil {
		s.Fail(w, r, t, err)
		return nil, false
	}
	return t, true
}

// local begins a journey without an upstream, whose first page is on the login page already, with the answer to that.
func (s *Service) local(w http.ResponseWriter, r *http.Request, j *journey, input url.Values) {
	j.ID, j.Once, j.Start, j.Identity = rand.Text(), rand.Text(), j.target.Start, &provider.Identity{}
	j.Expires, j.provider = s.Now().Add(journeyLifetime), localProvider(j.Passkey)
	if _, err := s.flowOf(j).Run(r.Context(), &j.State, s.turn(r, j, nil)); err != nil {
		s.Fail(w, r, j.target, err)
		return
	}
	s.proceed(w, r, j, &flow.Turn{Token: j.State.Token(), Input: input})
}

// wrongLocal shows the login page again. It says the same of everything but what was left empty, or came from a source that has
// tried too much.
func (s *Service) wrongLocal(w http.ResponseWriter, r *http.Request, j *journey, errs map[string]string) {
	s.loginPage(w, r, j.target, func(data *web.LoginData) {
		data.Notice = ""
		if j.Passkey {
			data.Passkey.Error = "refused"
			return
		}
		data.Local.Username = r.PostForm.Get(fieldUsername)
		if data.Local.Errors = errs; len(errs) == 0 {
			data.Local.Errors = map[string]string{fieldPassword: "refused"}
		}
	})
}

func (s *Service) localForm(t *Target) *web.LocalForm {
	form := &web.LocalForm{Action: s.url("/login/password"), Start: t.Start, Username: t.Wishes.LoginHint}
	if s.mayReset() {
		form.Reset = s.url("/reset")
	}
	return form
}

// RecentProof is for how long somebody who has proved who they are may change how that is proved.
const RecentProof = 10 * time.Minute

// Recent reports whether the user of the session has proved who they are just now.
func (s *Service) Recent(session *store.Session) bool {
	return s.Now().Sub(session.AuthTime) <= RecentProof
}

// ParamAgain is the parameter of /login that names who is to sign in again.
const ParamAgain = "again"

// Again makes t a login in which the user proves anew who they are, and nobody else can.
func (t *Target) Again(userID string) {
	age := RecentProof / 2
	t.Same, t.fresh = userID, true
	t.Wishes.Prompt, t.Wishes.MaxAge = []string{"login"}, &age
	t.HasHint = true // whoever has several ways chooses one
	t.Notice = "sign_in_again"
}

// AgainURL returns where the user proves anew who they are; then the browser goes to the path.
func (s *Service) AgainURL(userID, path string) string {
	return s.url("/login?" + url.Values{ParamAgain: {userID}, "return_to": {path}}.Encode())
}

// Attempt returns an attempt at a credential of this user by whoever sent r.
func (s *Service) Attempt(r *http.Request, userID string) factor.Attempt {
	return factor.Attempt{UserID: userID, Source: s.Source(r), Device: s.knownDevice(r, userID)}
}

// NewPassword returns the hash of the password that a form with the fields "password" and "repeat" chooses for the user, or what is
// wrong with it by field.
func (s *Service) NewPassword(ctx context.Context, user *store.User, form url.Values) (hash []byte, wrong map[string]string, err error) {
	chosen := form.Get(fieldPassword)
	switch {
	case chosen == "":
		return nil, map[string]string{fieldPassword: "required"}, nil
	case chosen != form.Get("repeat"):
		return nil, map[string]string{"repeat": string(factor.PasswordRepeated)}, nil
	}
	hash, err = s.Passwords.Hash(ctx, chosen, user.Username, user.Email)
	if refused, ok := errors.AsType[factor.PasswordError](err); ok {
		return nil, map[string]string{fieldPassword: string(refused)}, nil
	}
	return hash, nil, err
}
