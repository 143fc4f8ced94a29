package factor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// UserDisabled is the reason with which steps deny a user who has proved themselves and may not sign in.
const UserDisabled = "user_disabled"

// LocalOf returns the local credentials that the broker lends to the step that has this turn; false if it lends none, and the step
// has to skip.
func LocalOf(t *flow.Turn) (*Local, bool) {
	if t.Credentials == nil || t.Transient == nil || t.Passwords == nil {
		return nil, false
	}
	now := t.Now
	return &Local{
		Credentials: t.Credentials, Transient: t.Transient, Passwords: t.Passwords, Now: func() time.Time { return now }, Refused: t.Refused,
	}, true
}

// AttemptOf returns an attempt at a credential of this user by the visitor who has this turn.
func AttemptOf(t *flow.Turn, userID string) Attempt {
	a := Attempt{UserID: userID, Source: t.Source}
	if userID != "" && t.KnownDevice != nil {
		a.Device = t.KnownDevice(userID)
	}
	return a
}

// UsernamePassword asks for a username or e-mail address and the password, and decides for the user who proves to be that: in a
// first login it may be another one than the one who was found to exist. The name is prefilled with what the upstream said, and
// can be changed; where the draft has a UserID already, it is that user whose password is asked for, as by [Password].
//
// Its page is "password". It skips where the broker keeps no credentials, and where a new user was decided on. It denies a
// disabled user, once they have proved themselves, with [UserDisabled].
type UsernamePassword struct {
	// OrPasskey takes a passkey in place of name and password, as [Passkey] does, where the broker has them.
	OrPasskey bool
}

var _ flow.Decider = UsernamePassword{}

// Decides marks the step as one that decides the draft.
func (UsernamePassword) Decides() {}

// TakesPassword marks the step as one that [TakesPassword] finds.
func (UsernamePassword) TakesPassword() {}

// Authenticate asks and decides.
func (s UsernamePassword) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return askPassword(ctx, t, t.Draft.UserID, s.OrPasskey && t.Passkeys != nil)
}

// Password asks for the password of the user who is known: the draft's UserID or, in a first login, the one who was found to exist,
// and decides for them. It is [UsernamePassword] with a name that cannot be changed and without passkeys, and skips where nobody is known, or where
// the draft's UserID has no password. Whether somebody who was only found to exist has one it does not tell.
type Password struct{}

var _ flow.Decider = Password{}

// Decides marks the step as one that decides the draft.
func (Password) Decides() {}

// TakesPassword marks the step as one that [TakesPassword] finds.
func (Password) TakesPassword() {}

// TakesPassword reports whether a step of f that is not disabled asks for a password: [UsernamePassword], [Password], or one of a host's
// own that has their method TakesPassword. The broker's account page offers to set a password where the login page, or a flow after
// each login, takes one.
func TakesPassword(f flow.Flow) bool { return takes[interface{ TakesPassword() }](f) }

// TakesCode reports the same of codes: of [OTP], [SecondFactor], [RecoveryCode], and steps that have their method TakesCode. The account
// page offers to set up an authenticator app by the same rule.
func TakesCode(f flow.Flow) bool { return takes[interface{ TakesCode() }](f) }

func takes[What any](f flow.Flow) bool {
	return slices.ContainsFunc(f, func(s flow.Step) bool {
		_, ok := s.Do.(What)
		return s.When != flow.Disabled && (ok || takes[What](s.Sub))
	})
}

// Authenticate asks and decides.
func (Password) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	userID := t.Draft.UserID
	if userID == "" && t.Draft.Existing != nil {
		userID = t.Draft.Existing.UserID
	}
	if userID == "" {
		return flow.Skip(), nil
	}
	return askPassword(ctx, t, userID, false)
}

// askPassword asks for the password of this user, or, if it is "", for a name as well; orPasskey takes a passkey in its place.
func askPassword(ctx context.Context, t *flow.Turn, userID string, orPasskey bool) (flow.Result, error) {
	l, ok := LocalOf(t)
	if !ok || t.Draft.New {
		return flow.Skip(), nil
	}
	if t.Input.Has("another") && t.Others() {
		return flow.Another(), nil
	}
	if userID != "" && userID == t.Draft.UserID {
		kinds, err := l.Kinds(ctx, userID)
		if err != nil || !slices.Contains(kinds, store.CredentialPassword) && !(orPasskey && slices.Contains(kinds, store.CredentialPasskey)) {
			return flow.Skip(), err
		}
	}
	name := broughtName(t)
	if t.Input != nil && userID == "" {
		name = shorten(t.Input.Get("username"))
	}
	page := flow.Page{Name: "password", Data: map[string]any{
		"username": name, "fixed": userID != "", "another": t.Others(),
	}}
	ask := func(errs map[string]string) (flow.Result, error) {
		page.Errors = errs
		if !orPasskey {
			return flow.Ask(page), nil
		}
		options, err := beginPasskey(ctx, t)
		if options != "" {
			page.Data["passkey"] = options
		}
		return flow.Ask(page), err
	}
	switch {
	case t.Input == nil:
		return ask(nil)
	case orPasskey && t.Input.Has(fieldCredential):
		result, err := takePasskey(ctx, t)
		if errors.Is(err, ErrRefused) {
			return ask(map[string]string{fieldCredential: "refused"})
		}
		return result, err
	}
	password := t.Input.Get("password")
	errs := missing(map[string]string{"username": name, "password": password})
	if userID != "" {
		delete(errs, "username")
	}
	if len(errs) > 0 {
		return ask(errs)
	}
	user, attempt, err := who(ctx, t, userID, t.Input.Get("username"))
	if err != nil {
		return flow.Result{}, err
	}
	_, err = l.VerifyPassword(ctx, attempt, password)
	if err == nil && user == nil {
		err = ErrRefused
	}
	if err != nil {
		code, err := refusal(err)
		if err != nil {
			return flow.Result{}, err
		}
		return ask(map[string]string{"password": code})
	}
	if user.Disabled {
		return flow.Deny(UserDisabled), nil
	}
	t.Draft.UserID = user.ID
	t.Draft.AMR = addAMR(t.Draft.AMR, AMRPassword)
	return flow.Success(), nil
}

// who returns the user with this id or, if it is "", of this name; nil if there is nobody, which is an attempt, too.
func who(ctx context.Context, t *flow.Turn, userID, name string) (*store.User, Attempt, error) {
	if userID == "" {
		user, tried, err := FindUser(ctx, t.Accounts, name)
		if user == nil || err != nil {
			return nil, Attempt{Name: tried, Source: t.Source}, err
		}
		return user, AttemptOf(t, user.ID), nil
	}
	user, err := t.Accounts.User(ctx, userID)
	if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
		return nil, Attempt{Name: userID, Source: t.Source}, nil
	}
	return user, AttemptOf(t, userID), err
}

// OTP asks for a one-time code of the user's authenticator app (TOTP). Its page is "otp". It skips where the user whom the
// draft has decided on has no app, and where nobody was decided on.
type OTP struct{}

// TakesCode marks the step as one that [TakesCode] finds.
func (OTP) TakesCode() {}

// Authenticate asks.
func (OTP) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return askCode(ctx, t, store.CredentialTOTP)
}

// RecoveryCode asks for one of the user's recovery codes, which is used up by it. Its page is "recovery". It skips as [OTP] does.
type RecoveryCode struct{}

// TakesCode marks the step as one that [TakesCode] finds.
func (RecoveryCode) TakesCode() {}

// Authenticate asks.
func (RecoveryCode) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return askCode(ctx, t, store.CredentialRecovery)
}

// SecondFactor is [OTP] and [RecoveryCode] in one: it asks for a code of the app, where the user has one, and lets them turn to a
// recovery code and back.
type SecondFactor struct{}

// TakesCode marks the step as one that [TakesCode] finds.
func (SecondFactor) TakesCode() {}

// Authenticate asks.
func (SecondFactor) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return askCode(ctx, t, store.CredentialTOTP, store.CredentialRecovery)
}

// askCode asks for a code of one of these kinds, of which the first that the user has comes first.
func askCode(ctx context.Context, t *flow.Turn, kinds ...store.CredentialKind) (flow.Result, error) {
	l, ok := LocalOf(t)
	if !ok || t.Draft.UserID == "" {
		return flow.Skip(), nil
	}
	has, err := l.Kinds(ctx, t.Draft.UserID)
	if err != nil {
		return flow.Result{}, err
	}
	kinds = slices.DeleteFunc(kinds, func(k store.CredentialKind) bool { return !slices.Contains(has, k) })
	if len(kinds) == 0 {
		return flow.Skip(), nil
	}
	kind := kinds[0]
	if asked := store.CredentialKind(t.Get("kind")); slices.Contains(kinds, asked) {
		kind = asked
	}
	if t.Input.Has("another") && (len(kinds) > 1 || t.Others()) {
		next := (slices.Index(kinds, kind) + 1) % len(kinds)
		t.Set("kind", string(kinds[next]))
		if next == 0 && t.Others() {
			return flow.Another(), nil
		}
		return flow.Ask(codePage(t, kinds[next], true)), nil
	}
	page := codePage(t, kind, len(kinds) > 1)
	if t.Input == nil {
		return flow.Ask(page), nil
	}
	code := t.Input.Get("code")
	if page.Errors = missing(map[string]string{"code": squeeze(code)}); len(page.Errors) > 0 {
		return flow.Ask(page), nil
	}
	verify := l.VerifyTOTP
	if kind == store.CredentialRecovery {
		verify = l.VerifyRecoveryCode
	}
	if err := verify(ctx, AttemptOf(t, t.Draft.UserID), code); err != nil {
		code, err := refusal(err)
		page.Errors = map[string]string{"code": code}
		return flow.Ask(page), err
	}
	t.Draft.AMR = addAMR(t.Draft.AMR, AMROTP, AMRMultiple)
	return flow.Success(), nil
}

func codePage(t *flow.Turn, kind store.CredentialKind, more bool) flow.Page {
	name := "otp"
	if kind == store.CredentialRecovery {
		name = "recovery"
	}
	return flow.Page{Name: name, Data: map[string]any{"another": more || t.Others()}}
}

// Has is a condition (see [flow.If]): the user whom the draft has decided on has a credential of one of these kinds.
func Has(kinds ...store.CredentialKind) flow.Authenticator {
	return flow.If(func(ctx context.Context, t *flow.Turn) (bool, error) { return has(ctx, t, kinds) })
}

// NeedsSecond is a condition (see [flow.If]) for a sub-flow that asks for a second factor, after the step that decides who it is:
// the user has a credential of one of these kinds, and was not asked for a second factor yet. Without kinds it is an authenticator
// app or recovery codes. A passkey that has verified its user is two factors in one.
func NeedsSecond(kinds ...store.CredentialKind) flow.Authenticator {
	if len(kinds) == 0 {
		kinds = []store.CredentialKind{store.CredentialTOTP, store.CredentialRecovery}
	}
	return flow.If(func(ctx context.Context, t *flow.Turn) (bool, error) {
		if slices.Contains(t.Draft.AMR, AMRMultiple) {
			return false, nil
		}
		return has(ctx, t, kinds)
	})
}

func has(ctx context.Context, t *flow.Turn, kinds []store.CredentialKind) (bool, error) {
	l, ok := LocalOf(t)
	if !ok || t.Draft.UserID == "" {
		return false, nil
	}
	all, err := l.Kinds(ctx, t.Draft.UserID)
	return slices.ContainsFunc(kinds, func(k store.CredentialKind) bool { return slices.Contains(all, k) }), err
}

// UpdatePassword asks a user whose password is [Temporary] for a new one, before they come in. Its page is "new-password". The
// draft gets the password's hash, which is written with the login. It succeeds where there is nothing to change, and skips
// where the broker keeps no credentials or nobody was decided on.
type UpdatePassword struct {
	// Missing asks those who have no password, too: new users, for instance.
	Missing bool
}

// Authenticate asks.
func (s UpdatePassword) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	l, ok := LocalOf(t)
	if !ok || !t.Draft.Decided() {
		return flow.Skip(), nil
	}
	old, err := s.old(ctx, l, t.Draft.UserID)
	if err != nil {
		return flow.Result{}, err
	}
	if old == nil && !s.Missing || old != nil && old.Label != Temporary {
		return flow.Success(), nil
	}
	names, err := namesOf(ctx, t)
	if err != nil {
		return flow.Result{}, err
	}
	page := flow.Page{Name: "new-password", Data: map[string]any{"username": names[0], "must": old != nil}}
	if t.Input == nil {
		return flow.Ask(page), nil
	}
	password := t.Input.Get("password")
	if page.Errors = missing(map[string]string{"password": password, "repeat": t.Input.Get("repeat")}); len(page.Errors) > 0 {
		return flow.Ask(page), nil
	}
	hash, err := s.hash(ctx, l, t, old, names)
	var refused PasswordError
	switch {
	case errors.Is(err, PasswordRepeated):
		page.Errors = map[string]string{"repeat": string(PasswordRepeated)}
		return flow.Ask(page), nil
	case errors.As(err, &refused):
		page.Errors = map[string]string{"password": string(refused)}
		return flow.Ask(page), nil
	case err != nil:
		return flow.Result{}, err
	}
	t.Draft.Password = hash
	return flow.Success(), nil
}

// old returns the password that the user has, nil if none.
func (UpdatePassword) old(ctx context.Context, l *Local, userID string) (*store.Credential, error) {
	if userID == "" {
		return nil, nil
	}
	return l.of(ctx, userID, store.CredentialPassword)
}

func (UpdatePassword) hash(ctx context.Context, l *Local, t *flow.Turn, old *store.Credential, names []string) ([]byte, error) {
	password := t.Input.Get("password")
	if password != t.Input.Get("repeat") {
		return nil, PasswordRepeated
	}
	hash, err := l.Passwords.Hash(ctx, password, names...)
	if old == nil || err != nil {
		return hash, err
	}
	same, _, err := l.Passwords.Verify(ctx, old.Secret, password)
	if same {
		err = PasswordSame
	}
	return hash, err
}

// namesOf returns what the user whom the draft has decided on is called, the name that they sign in with first.
func namesOf(ctx context.Context, t *flow.Turn) ([]string, error) {
	if t.Draft.New {
		p := &t.Draft.Profile
		return []string{p.Username, p.Email}, nil
	}
	u, err := t.Accounts.User(ctx, t.Draft.UserID)
	if err != nil {
		return nil, err
	}
	return []string{u.Username, u.Email}, nil
}

// broughtName is the name that the visitor has brought along from the upstream. It is theirs: what an existing account is called
// they do not learn.
func broughtName(t *flow.Turn) string {
	p := &t.Draft.Profile
	if t.Draft.Existing != nil && t.Draft.Existing.Field == "username" || p.Email == "" {
		return shorten(p.Username)
	}
	return shorten(p.Email)
}

// shorten bounds what travels with the login.
func shorten(s string) string {
	const most = 320
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// missing returns an error for each field that is empty, nil if none is.
func missing(fields map[string]string) map[string]string {
	var errs map[string]string
	for name, value := range fields {
		if value == "" {
			if errs == nil {
				errs = map[string]string{}
			}
			errs[name] = "required"
		}
	}
	return errs
}

// refusal returns the message for what proves nothing, which is the same for all of that, or err if it could not be told.
func refusal(err error) (string, error) {
	switch {
	case errors.Is(err, ErrTooMany):
		return "too_many", nil
	case errors.Is(err, ErrRefused):
		return "refused", nil
	}
	return "", err
}

// addAMR adds what is not there yet.
func addAMR(amr []string, more ...string) []string {
	for _, m := range more {
		if !slices.Contains(amr, m) {
			amr = append(slices.Clone(amr), m)
		}
	}
	return amr
}
