// Package session ties a browser to a local user: a random secret in a cookie, its hash in the store.
//
// It owns the cookie and the lifetimes. It does not decide who may log in (package login) nor whether a user or provider
// may still be used (package gate, which it asks every time).
package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	cookieName = "session"
	purpose    = "session"
	// touchEvery is how exact LastSeen is, for an idle limit that is not shorter: more often would cost a write per request.
	touchEvery = time.Minute
)

// ErrNone says that nobody is signed in.
var ErrNone = errors.New("session: nobody is signed in")

// Manager makes, finds and ends sessions. Its fields are set once; it is safe for concurrent use.
type Manager struct {
	Store    store.Store
	Gate     *gate.Gate
	Cookies  web.Cookies
	Now      func() time.Time
	Absolute time.Duration // how long a session lives
	Idle     time.Duration // how long it lives without being used
}

// Active is a session that is honoured now, with its user.
type Active struct {
	Session *store.Session
	User    *store.User
}

// Current returns the session of the browser that sent r, or ErrNone, and notes that it was used. Every other error means
// that the store could not tell.
func (m *Manager) Current(r *http.Request) (*Active, error) {
	s, err := m.Held(r)
	if err != nil {
		return nil, err
	}
	active, err := m.honour(r.Context(), s)
	if err != nil {
		return nil, err
	}
	return active, m.Touch(r.Context(), s)
}

// ID returns the id of the session of the browser that sent r, honoured or not, "" if it has none.
func (m *Manager) ID(r *http.Request) (string, error) {
	s, err := m.Held(r)
	if errors.Is(err, ErrNone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return s.ID, nil
}

// Held is Current for signing out: a session is returned even if it is not honoured, because its user or provider is
// switched off for instance.
func (m *Manager) Held(r *http.Request) (*store.Session, error) {
	id, secret, ok := strings.Cut(m.Cookies.Get(r, cookieName), ".")
	if !ok {
		return nil, ErrNone
	}
	s, err := m.Store.Session(r.Context(), id)
	if err != nil {
		return nil, none(err)
	}
	if !token.MatchHandle(purpose, secret, string(s.SecretHash)) {
		return nil, ErrNone
	}
	return s, nil
}

// Load returns the session with this id if it is honoured now, or ErrNone. It is for tokens: that an application uses one
// does not keep its user's browser signed in.
func (m *Manager) Load(ctx context.Context, id string) (*Active, error) {
	s, err := m.Store.Session(ctx, id)
	if err != nil {
		return nil, none(err)
	}
	return m.honour(ctx, s)
}

func (m *Manager) honour(ctx context.Context, s *store.Session) (*Active, error) {
	now := m.Now()
	if now.Sub(s.LastSeen) >= m.Idle || !now.Before(s.ExpiresAt) {
		return nil, ErrNone
	}
	u, err := m.user(ctx, s)
	if err != nil {
		return nil, err
	}
	return &Active{Session: s, User: u}, nil
}

// user returns whose session it is, if they may be signed in.
func (m *Manager) user(ctx context.Context, s *store.Session) (*store.User, error) {
	if len(s.TransientUser) == 0 {
		return m.Vouched(ctx, s.UserID, s.Upstream)
	}
	u := &store.User{}
	if err := json.Unmarshal(s.TransientUser, u); err != nil || m.Gate.Transient(u, s.UserID, s.Upstream) != nil {
		return nil, ErrNone
	}
	return u, nil
}

// Vouched returns the user if they may be signed in because of who vouched for them: user and provider are enabled, and the
// link between the two is still there. The zero key is nobody upstream, and needs no link. Otherwise it is ErrNone, as for
// a session; what outlives sessions has to ask this each time.
func (m *Manager) Vouched(ctx context.Context, userID string, by store.LinkKey) (*store.User, error) {
	if m.Gate.Upstream(by.Provider) != nil {
		return nil, ErrNone
	}
	if by != (store.LinkKey{}) {
		link, err := m.Store.Link(ctx, by)
		if err != nil {
			return nil, none(err)
		}
		if link.UserID != userID {
			return nil, ErrNone
		}
	}
	u, err := m.Store.User(ctx, userID)
	if err != nil {
		return nil, none(err)
	}
	if m.Gate.User(u) != nil {
		return nil, ErrNone
	}
	return u, nil
}

// Touch notes that the session was used, as exactly as the idle limit needs it.
func (m *Manager) Touch(ctx context.Context, s *store.Session) error {
	now := m.Now()
	if now.Sub(s.LastSeen) < min(touchEvery, m.Idle/2) {
		return nil
	}
	s.LastSeen = now
	// Another request may have touched or ended it: either way there is nothing left to do here.
	if err := m.Store.UpdateSession(ctx, s); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// Begin returns the session of a user who has logged in now, in a browser whose session had the id current, "" if none, and
// the value for its cookie. Nothing is written. A session that the same user has in this browser goes on, so that what
// applications were granted in it lives; any other is to end, and its id is returned. Either way the cookie is a new one:
// what was planted or stolen before is worth nothing after.
func (m *Manager) Begin(ctx context.Context, current, userID string) (s *store.Session, cookie, ends string, err error) {
	secret, hash := token.NewHandle(purpose)
	now := m.Now().UTC()
	s = &store.Session{ID: rand.Text(), UserID: userID, CreatedAt: now}
	if current != "" {
		active, err := m.Load(ctx, current)
		switch {
		case errors.Is(err, ErrNone):
		case err != nil:
			return nil, "", "", err
		case active.User.ID == userID:
			s = active.Session
		default:
			ends = current
		}
	}
	s.SecretHash, s.AuthTime, s.LastSeen, s.ExpiresAt = []byte(hash), now, now, now.Add(m.Absolute)
	return s, s.ID + "." + secret, ends, nil
}

// SetCookie hands the browser the cookie of a session that was written.
func (m *Manager) SetCookie(w http.ResponseWriter, cookie string) {
	m.Cookies.Set(w, cookieName, cookie, 0, false)
}

// Forget makes the browser forget its cookie.
func (m *Manager) Forget(w http.ResponseWriter) { m.Cookies.Clear(w, cookieName) }

// none turns "not there" into ErrNone and keeps every other error.
func none(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrNone
	}
	return err
}
