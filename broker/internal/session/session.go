// Package session ties a browser to a local user: a random handle in a cookie, its hash in the store.
//
// It owns the cookie and the lifetimes. It does not decide who may log in (package login) nor whether a user or provider
// may still be used (package gate, which it asks every time).
package session

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	cookieName = "session"
	purpose    = "session"
	// touchEvery is how exact LastSeen is: more often would cost a write per request.
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

// Current returns the session of the browser that sent r, or ErrNone. Every other error means that the store could not
// tell.
func (m *Manager) Current(r *http.Request) (*Active, error) {
	id, ok := m.ID(r)
	if !ok {
		return nil, ErrNone
	}
	return m.Load(r.Context(), id)
}

// ID returns the id of the session that r claims, which may not exist.
func (m *Manager) ID(r *http.Request) (string, bool) {
	handle := m.Cookies.Get(r, cookieName)
	if handle == "" {
		return "", false
	}
	return token.HashHandle(purpose, handle), true
}

// Load returns the session with this id if it is honoured now, or ErrNone.
func (m *Manager) Load(ctx context.Context, id string) (*Active, error) {
	s, err := m.Store.Session(ctx, id)
	if err != nil {
		return nil, none(err)
	}
	now := m.Now()
	if now.Sub(s.LastSeen) >= m.Idle || !now.Before(s.ExpiresAt) || m.Gate.Session(s) != nil {
		return nil, ErrNone
	}
	u, err := m.Store.User(ctx, s.UserID)
	if err != nil {
		return nil, none(err)
	}
	if m.Gate.User(u) != nil {
		return nil, ErrNone
	}
	if now.Sub(s.LastSeen) >= touchEvery {
		s.LastSeen = now
		// Another request may have touched or ended it: either way there is nothing left to do here.
		if err := m.Store.UpdateSession(ctx, s); err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
	}
	return &Active{Session: s, User: u}, nil
}

// New returns a session that starts now, and the handle for its cookie. Nothing is written.
func (m *Manager) New() (s *store.Session, handle string) {
	handle, id := token.NewHandle(purpose)
	now := m.Now().UTC()
	return &store.Session{ID: id, AuthTime: now, CreatedAt: now, LastSeen: now, ExpiresAt: now.Add(m.Absolute)}, handle
}

// SetCookie hands the browser the handle of a session that was written.
func (m *Manager) SetCookie(w http.ResponseWriter, handle string) {
	m.Cookies.Set(w, cookieName, handle, 0, false)
}

// End ends the session of the browser that sent r, if it has one.
func (m *Manager) End(w http.ResponseWriter, r *http.Request) error {
	id, ok := m.ID(r)
	if !ok {
		return nil
	}
	m.Cookies.Clear(w, cookieName)
	if err := m.Store.DeleteSession(r.Context(), id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// none turns "not there" into ErrNone and keeps every other error.
func none(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrNone
	}
	return err
}
