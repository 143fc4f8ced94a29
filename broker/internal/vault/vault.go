// Package vault keeps what upstreams have issued for themselves, hands it out, and renews it before it ends.
//
// It owns what is written (vault.go), the one flight in which it is renewed, on all nodes (renew.go), and how it is given up
// (revoke.go). It does not write at a login: package login does, with all else. Who may have what its callers decide; whether a
// provider or a user is switched off it asks itself.
//
//	link.Tokens = v.Keep(ctx, p, identity.Tokens, link.Tokens) // at a login
//	…
//	tokens, err := v.Tokens(ctx, user, "corp", sessionID)
package vault

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/fence"
	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// Why there are no tokens.
var (
	ErrOff       = errors.New("broker: the provider's tokens are not stored")
	ErrNotLinked = errors.New("broker: the user is not linked to this provider")
	ErrNone      = errors.New("broker: nothing is stored")
	ErrLinkAgain = errors.New("broker: the tokens have ended: the user has to sign in with this provider again")
	ErrRefresh   = errors.New("broker: the tokens have ended and could not be renewed")
)

// RoleRead is the role of users whose tokens applications may fetch.
const RoleRead = "broker.read-token"

const (
	// maxKept bounds what is written: an assertion of 64 KiB in base64url, and what stands around it.
	maxKept            = 96 << 10
	defaultMinValidity = 5 * time.Second
)

// A Vault keeps tokens. Its fields are set before the first use; then it is safe for concurrent use.
type Vault struct {
	Store    store.Store
	Gate     *gate.Gate
	Fences   *fence.Keeper
	Sessions *session.Manager
	Now      func() time.Time
	Log      *slog.Logger
	// InSession says that some provider's tokens are kept in sessions.
	InSession bool

	mu      sync.Mutex
	flights map[string]*flight
}

// A record is what is written.
type record struct {
	Tokens provider.Tokens
	// Mark is on what the provider's word rested when it issued them: what it has issued goes to nobody else.
	Mark string
	// Ended says that the upstream takes the refresh token no more. Then there are no tokens.
	Ended bool `json:",omitempty"`
	// Lease is that of the node which renews them now; the zero value is none.
	Lease lease `json:",omitzero"`
	// Refused is since when the upstream refuses to renew them without saying why; zero if it does not.
	Refused time.Time `json:",omitzero"`
}

func decode(kept []byte) (*record, error) {
	if len(kept) == 0 {
		return nil, ErrNone
	}
	r := &record{}
	if err := json.Unmarshal(kept, r); err != nil {
		return nil, errors.New("stored tokens are unreadable") // the error would have some of them
	}
	return r, nil
}

// mark is short, as it is written with every token.
func mark(p *gate.Provider) string {
	trusted, ok := p.IdP.(provider.Trusted)
	if !ok {
		return ""
	}
	sum := sha256.Sum256([]byte(trusted.Trust().Mark()))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// Keep returns what is to be written of t, which a login with p has brought; before was written the last time. A login that brings
// nothing leaves that as it is, and one without a refresh token leaves the one that is there: some upstreams give it only once.
func (v *Vault) Keep(ctx context.Context, p *gate.Provider, t *provider.Tokens, before []byte) []byte {
	old, err := decode(before)
	if err != nil || old.Mark != mark(p) {
		old, before = nil, nil
	}
	if t == nil || t.AccessToken == "" {
		return before
	}
	r := &record{Tokens: *t, Mark: mark(p)}
	if r.Tokens.RefreshToken == "" && old != nil && old.Tokens.RefreshToken != "" {
		r.Tokens.RefreshToken, r.Tokens.IDToken = old.Tokens.RefreshToken, old.Tokens.IDToken // they belong together
		r.Lease = old.Lease                                                                   // who renews it goes on
	}
	kept, err := r.encode()
	if err != nil {
		v.Log.WarnContext(ctx, "tokens of the upstream are not kept", "provider", p.Alias, "error", err)
	}
	return kept
}

// Bound takes what is too large to be kept from an identity, before a login that pauses keeps it.
func (v *Vault) Bound(ctx context.Context, p *gate.Provider, id *provider.Identity) {
	t := id.Tokens
	if p.StoreTokens == provider.TokensDropped || t == nil {
		return
	}
	if n := len(t.AccessToken) + len(t.RefreshToken) + len(t.IDToken); n > maxKept {
		v.Log.WarnContext(ctx, "tokens of the upstream are not kept", "provider", p.Alias, "bytes", n, "most", maxKept)
		id.Tokens = &provider.Tokens{IDToken: t.IDToken} // for signing out there
	}
}

func (r *record) encode() ([]byte, error) {
	kept, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(kept) > maxKept {
		return nil, fmt.Errorf("they have %d bytes, the most is %d", len(kept), maxKept)
	}
	return kept, nil
}

// fresh reports whether the tokens are good for long enough. An assertion says itself until when it is.
func (v *Vault) fresh(p *gate.Provider, t *provider.Tokens) bool {
	return t.Expiry.IsZero() || v.Now().Add(cmp.Or(p.TokenMinValidity, defaultMinValidity)).Before(t.Expiry)
}

// Tokens returns what the provider with this alias has issued for the user, renewed if need be. Where the provider's tokens are
// kept in sessions it is what that session has, and nothing for "". Besides the errors of this package it returns refusals of the
// gate, and errors of the store.
func (v *Vault) Tokens(ctx context.Context, user *store.User, alias, sessionID string) (*provider.Tokens, error) {
	p, err := v.Gate.Enabled(alias) // one that is for linking only is for this, too
	// Of a transient user the session says it.
	if err == nil && !p.TransientUsers {
		err = v.Gate.User(user)
	}
	if err != nil {
		return nil, err
	}
	tokens, err := v.stored(ctx, p, user.ID, sessionID)
	if errors.Is(err, ErrNotLinked) { // unless the link has taken another's place meanwhile
		return v.stored(ctx, p, user.ID, sessionID)
	}
	return tokens, err
}

// stored returns the user's tokens, renewed if need be.
func (v *Vault) stored(ctx context.Context, p *gate.Provider, userID, sessionID string) (*provider.Tokens, error) {
	s, err := v.shelf(ctx, p, userID, sessionID)
	if err == nil {
		_, err = v.Fences.Pass(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	r, _, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if ready, err := v.ready(p, r); ready != nil || err != nil {
		return ready, err
	}
	return v.together(ctx, s.key, func(ctx context.Context) (*provider.Tokens, error) { return v.renew(ctx, p, s) })
}

// ready returns the tokens if they can be handed out as they are. It returns nothing if they have to be renewed, and an error if
// that cannot be.
func (v *Vault) ready(p *gate.Provider, r *record) (*provider.Tokens, error) {
	_, renewable := p.IdP.(provider.TokenRefresher)
	renewable = renewable && r.Tokens.RefreshToken != ""
	switch {
	case r.Ended || r.Mark != mark(p):
		return nil, ErrLinkAgain
	case v.fresh(p, &r.Tokens), !renewable && v.Now().Before(r.Tokens.Expiry):
		return &r.Tokens, nil
	case !renewable:
		return nil, ErrLinkAgain
	}
	return nil, nil
}

// A shelf is where the tokens of one user and provider are kept.
type shelf struct {
	key  string // of all shelves
	read reader
	// moved reports, of a shelf that is gone, whether the user has another one of the same kind by now.
	moved func(context.Context) bool
}

// shelf returns where the provider's tokens are kept.
func (v *Vault) shelf(ctx context.Context, p *gate.Provider, userID, sessionID string) (*shelf, error) {
	switch p.StoreTokens {
	case provider.TokensOnLink:
		return v.ofLink(ctx, userID, p.Alias)
	case provider.TokensInSession:
		return v.ofSession(userID, p.Alias, sessionID)
	}
	return nil, ErrOff
}

// A reader returns what is kept, and what puts something else in its place if nobody else has written meanwhile (store.ErrConflict).
type reader func(ctx context.Context) (kept []byte, put func(context.Context, []byte) error, err error)

// open returns the record, and what writes another one.
func (s *shelf) open(ctx context.Context) (r *record, put func(context.Context, *record) error, err error) {
	kept, write, err := s.read(ctx)
	if err == nil {
		r, err = decode(kept)
	}
	if err != nil {
		return nil, nil, err
	}
	return r, func(ctx context.Context, next *record) error {
		kept, err := next.encode()
		if err != nil {
			return err
		}
		return write(ctx, kept)
	}, nil
}

// ofLink returns the shelf on the link of the user and a provider: of several that with which they signed in last.
func (v *Vault) ofLink(ctx context.Context, userID, alias string) (*shelf, error) {
	links, err := v.Store.LinksOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	var last *store.Link
	for _, l := range links {
		if l.Provider == alias && (last == nil || used(l).After(used(last))) {
			last = l
		}
	}
	if last == nil {
		return nil, ErrNotLinked
	}
	key := last.LinkKey
	moved := func(ctx context.Context) bool {
		_, err := v.ofLink(ctx, userID, alias)
		return err == nil
	}
	return &shelf{"link\x00" + key.Provider + "\x00" + key.Issuer + "\x00" + key.Subject, v.onLink(userID, key), moved}, nil
}

func (v *Vault) onLink(userID string, key store.LinkKey) reader {
	return func(ctx context.Context) ([]byte, func(context.Context, []byte) error, error) {
		l, err := v.Store.Link(ctx, key)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.UserID != userID {
			return nil, nil, ErrNotLinked
		}
		if err != nil {
			return nil, nil, err
		}
		return l.Tokens, func(ctx context.Context, kept []byte) error {
			next := *l
			next.Tokens = kept
			err := v.Store.UpdateLink(ctx, &next)
			if err == nil {
				l = &next
			}
			return err
		}, nil
	}
}

func used(l *store.Link) time.Time {
	if l.LastLogin.After(l.CreatedAt) {
		return l.LastLogin
	}
	return l.CreatedAt
}

// Newest returns the id of the user's newest session that has tokens of the provider, "" if none has.
func (v *Vault) Newest(ctx context.Context, userID, alias string) (string, error) {
	sessions, err := v.Store.FindSessions(ctx, store.SessionQuery{UserID: userID, Provider: alias})
	if err != nil {
		return "", err
	}
	for _, found := range sessions {
		if len(found.UpstreamTokens) == 0 {
			continue
		}
		if _, err := v.Sessions.Load(ctx, found.ID); !errors.Is(err, session.ErrNone) {
			return found.ID, err
		}
	}
	return "", nil
}

// ofSession returns the shelf in a session that the provider has vouched for.
func (v *Vault) ofSession(userID, alias, id string) (*shelf, error) {
	if id == "" {
		return nil, ErrNone
	}
	read := func(ctx context.Context) ([]byte, func(context.Context, []byte) error, error) {
		active, err := v.Sessions.Load(ctx, id)
		if errors.Is(err, session.ErrNone) || err == nil && (active.User.ID != userID || active.Session.Upstream.Provider != alias) {
			return nil, nil, ErrNone
		}
		if err != nil {
			return nil, nil, err
		}
		return active.Session.UpstreamTokens, v.putInSession(active.Session), nil
	}
	return &shelf{"session\x00" + id, read, func(context.Context) bool { return false }}, nil
}

func (v *Vault) putInSession(s *store.Session) func(context.Context, []byte) error {
	return func(ctx context.Context, kept []byte) error {
		next := *s
		next.UpstreamTokens = kept
		err := v.Store.UpdateSession(ctx, &next)
		if err == nil {
			s = &next
		}
		return err
	}
}
