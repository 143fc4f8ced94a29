// Package factor holds the credentials that the broker itself keeps, and the steps that ask for them: passwords, one-time
// codes (TOTP), recovery codes and passkeys. How a passkey is checked is in the package passkey below it.
//
// It owns how they are made and checked, and the bound on guessing, which counts over every way on which something can be
// guessed. It owns no page (a step names one, the broker renders it) and no table (see [store.Credentials]).
//
// Broker.Config.LocalLogin has the login page ask for a password and, of who has one, a second factor. These steps are for flows that
// ask for more, such as a second factor of users who come from a provider, too:
//
//	cfg.Credentials = sqlStore
//	cfg.PostLogin = flow.Flow{{ID: "allow", Do: firstlogin.Allow{}}, {ID: "second", When: flow.Conditional, Sub: flow.Flow{
//		{ID: "has-second", Do: factor.NeedsSecond()},
//		{ID: "code", Do: factor.SecondFactor{}},
//	}}}
//
// A host that asks on pages of its own uses [Local]. That, and not what is checked here, decides who may come to it: to change a
// credential, a user should have proved themselves just before.
//
// Passwords and recovery codes are kept as hashes. The seed of an authenticator app has to be kept itself: the broker keeps it sealed,
// and a host that makes a [Local] of its own wraps its store by the package store/seal.
//
// # Guessing
//
// Four wrong passwords for an account are free. The fifth locks it for 30 seconds, and each further one for twice as long, up
// to 15 minutes; a day after, or at once when the right one comes, it is forgotten. While an account is locked the right
// password is no better than a wrong one, and a visitor cannot tell a locked account from one that does not exist, nor either
// from a wrong password. A try is counted before it is checked, by marks of which of all racing callers one gets each, so
// that tries at the same moment, on however many nodes, are no more than tries in a row.
//
// A stranger who goes on guessing for ever would keep an account locked for ever. What they lock is the password for
// browsers in which this user has never signed in: those in which they have (see [flow.Lent].KnownDevice) count by
// themselves. Other ways to sign in, by a linked provider, a passkey or a mailed link, are not locked at all. Nor are one-time
// codes, which have a count of their own, for TOTP and recovery codes together, and which nobody comes to who has not proved
// the password or whatever comes first.
//
// Besides, all that comes from one source (see [flow.Lent].Source) may fail 20 times in ten minutes, whoever it is about.
package factor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// ErrRefused means that what was given proves nothing: it is wrong, was used before, the account is locked, or there is
// no such account or credential. Its text says for the log which of these; a visitor must not learn it.
var ErrRefused = errors.New("factor: refused")

// ErrTooMany means that too much from the same source has failed, whoever it was about, and that nothing was checked.
var ErrTooMany = errors.New("factor: too many tries from the same source")

// Local checks and changes the credentials of users, for steps and for a host's own pages. Its fields are set once; all of
// them but Refused are required. It is safe for concurrent use.
type Local struct {
	Credentials store.Credentials
	Transient   store.Transient
	Passwords   flow.Passwords
	Now         func() time.Time
	// Refused is told, for the audit log, of each try that proved nothing: at whose credential of which kind, and from where
	// ([Attempt].Source). userID is "" if there is no such account. Tries at an account that is locked already, or from a source
	// that has tried too much, are not told, so that there are no more of these than may be guessed. It may be nil.
	Refused func(ctx context.Context, userID string, kind store.CredentialKind, source string)
}

// An Attempt says whose credential is tried, and from where.
type Attempt struct {
	// UserID is the account; "" if there is none of the name that was given, which then is tried like one.
	UserID string
	// Name is the login name that was given, where UserID is "".
	Name string
	// Source and Device are [flow.Lent].Source and the result of KnownDevice for this user.
	Source, Device string
}

// AMR values (RFC 8176 §2) that steps put into [flow.Draft].AMR.
const (
	AMRPassword = "pwd"
	AMROTP      = "otp"
	AMRMultiple = "mfa" // two factors, or a passkey that has verified its user
)

// of returns the user's credential of a kind of which there is one at most, nil if there is none.
func (l *Local) of(ctx context.Context, userID string, kind store.CredentialKind) (*store.Credential, error) {
	all, err := l.Credentials.CredentialsOf(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	for _, c := range all {
		if c.Kind == kind {
			return c, nil
		}
	}
	return nil, nil
}

// put makes the user's only credential of a kind anew, whether or not there is one.
func (l *Local) put(ctx context.Context, userID string, kind store.CredentialKind, edit func(c *store.Credential)) error {
	for range maxRetries {
		c, err := l.of(ctx, userID, kind)
		if err != nil {
			return err
		}
		write := l.Credentials.UpdateCredential
		if c == nil {
			write, c = l.Credentials.CreateCredential, newCredential(userID, kind, l.Now())
		}
		before := c.CreatedAt
		if edit(c); c.Version > 0 && !c.CreatedAt.After(before) { // another one shows by when it was made, whatever the clocks say
			c.CreatedAt = before.Add(time.Microsecond)
		}
		err = write(ctx, c)
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return fmt.Errorf("write %s: %w", kind, store.ErrConflict)
}

// maxRetries bounds how often a credential is read again because somebody else has written it.
const maxRetries = 8

// seenEvery is how exact [store.Credential.LastUsed] is where nothing else is to be written.
const seenEvery = time.Hour
