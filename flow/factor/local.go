package factor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/flow/internal/spelling"
	"github.com/go-idbroker/idbroker/store"
)

// Temporary is the Label of a password that its user has to change when they next sign in: somebody else knows it.
const Temporary = "temporary"

// FindUser returns the only user with this username or e-mail address, however it is spelt, and the spelling under which the
// name counts as tried; nil if there is none, or if it is the address of several. It does the same in each case.
func FindUser(ctx context.Context, users interface {
	FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error)
}, name string) (*store.User, string, error) {
	username, email := spelling.Username(name), spelling.Email(name)
	const nobody = " " // which is no username and no address
	var found [2][]*store.User
	for i, q := range []store.UserQuery{{Username: orElse(username, nobody)}, {Email: orElse(email, nobody)}} {
		var err error
		if found[i], err = users.FindUsers(ctx, q); err != nil {
			return nil, "", fmt.Errorf("find user: %w", err)
		}
	}
	for _, users := range found {
		if len(users) == 1 {
			return users[0], "", nil
		}
	}
	return nil, orElse(username, email), nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// VerifyPassword returns nil if password is that of the account, [ErrRefused] or [ErrTooMany] if that is not proved, and any
// other error if it could not be told. It takes as long for an account that is locked, or has no password, or is none. temporary
// reports that the password has to be changed now.
func (l *Local) VerifyPassword(ctx context.Context, a Attempt, password string) (temporary bool, err error) {
	err = l.guess(ctx, passwordBound, store.CredentialPassword, a, func(locked bool) error {
		c, err := l.of(ctx, orElse(a.UserID, "-"), store.CredentialPassword)
		if err != nil {
			return err
		}
		var hash []byte
		if c != nil && a.UserID != "" && !locked {
			hash = c.Secret
		}
		ok, better, err := l.Passwords.Verify(ctx, hash, password)
		switch {
		case err != nil:
			return fmt.Errorf("verify password: %w", err)
		case locked:
			return fmt.Errorf("%w: %w", ErrRefused, errLocked)
		case hash == nil:
			return fmt.Errorf("%w: there is no such account, or it has no password", ErrRefused)
		case !ok:
			return fmt.Errorf("%w: wrong password", ErrRefused)
		}
		temporary = c.Label == Temporary
		return l.used(ctx, c, better)
	})
	return temporary, err
}

// used notes that the password was right, and keeps a better hash of it.
func (l *Local) used(ctx context.Context, c *store.Credential, better []byte) error {
	now := l.Now().UTC()
	if better == nil && now.Sub(c.LastUsed) < seenEvery {
		return nil
	}
	if better != nil {
		c.Secret = better
	}
	c.LastUsed = now
	if err := l.Credentials.UpdateCredential(ctx, c); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("write password: %w", err)
	}
	return nil // somebody else was quicker to write the same, or it was changed at this moment
}

// SetPassword gives the user the password that hash was made of by [Passwords.Hash], in place of the one they have. A
// temporary one has to be changed when they next sign in.
func (l *Local) SetPassword(ctx context.Context, userID string, hash []byte, temporary bool) error {
	return l.put(ctx, userID, store.CredentialPassword, func(c *store.Credential) {
		c.Secret, c.Label, c.CreatedAt = bytes.Clone(hash), "", l.Now().UTC()
		if temporary {
			c.Label = Temporary
		}
	})
}

func newCredential(userID string, kind store.CredentialKind, now time.Time) *store.Credential {
	return &store.Credential{ID: rand.Text(), UserID: userID, Kind: kind, CreatedAt: now.UTC()}
}

// Kinds returns which credentials the user can use, each kind once.
func (l *Local) Kinds(ctx context.Context, userID string) ([]store.CredentialKind, error) {
	all, err := l.Credentials.CredentialsOf(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	var kinds []store.CredentialKind
	for _, c := range all {
		if len(c.Secret) == 0 { // every recovery code was used
			continue
		}
		if !slices.Contains(kinds, c.Kind) {
			kinds = append(kinds, c.Kind)
		}
	}
	return kinds, nil
}

// squeeze returns what a visitor typed without what they may put between the characters.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '\t' || r == '\u00a0' {
			return -1
		}
		return r
	}, s)
}
