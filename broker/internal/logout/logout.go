// Package logout ends sessions, and tells everybody whom that concerns: the applications that the session had signed in to,
// and the upstream that had vouched.
//
// It owns the graph of a sign-out, one file an edge: a session ends (logout.go), applications are told without a browser
// (backchannel.go), a browser goes on (leave.go) and may go to the upstream (upstream.go), and an upstream tells us
// (receive.go). Who may end which session its callers decide. Nobody who is told, slow or dead, keeps a session alive: it
// ends first.
package logout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/keys"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
)

// Service signs out. Its fields are set once; it is safe for concurrent use.
type Service struct {
	Base     *url.URL
	Home     string // absolute; where a sign-out leads that nobody says more about
	Store    store.Store
	Gate     *gate.Gate
	Sessions *session.Manager
	Vault    *vault.Vault
	Keys     *keys.Keys
	Login    *login.Service // for its pages
	Pages    *web.Pages
	Cookies  web.Cookies
	Client   *http.Client // reaches applications; guarded
	Now      func() time.Time
	Log      *slog.Logger

	mu    sync.Mutex
	queue []*message // to be sent again
}

// End ends the sessions with these ids and tells the applications. What is not there is no error. It returns the addresses
// at which the browser that had the session signs out of applications itself, if it is here.
func (s *Service) End(ctx context.Context, reason string, ids ...string) (frames []string, err error) {
	var ended []string
	var errs []error
	for _, id := range ids {
		gone := s.Vault.Leaving(ctx, id)
		switch err := s.Store.DeleteSession(ctx, id); {
		case err == nil:
			gone()
			ended = append(ended, id)
		case !errors.Is(err, store.ErrNotFound): // who has deleted it tells of it, too
			errs = append(errs, fmt.Errorf("end session: %w", err))
		}
	}
	return s.Ended(ctx, reason, ended...), errors.Join(errs...)
}

// Ended is [Service.End] for sessions that the caller has deleted.
func (s *Service) Ended(ctx context.Context, reason string, ids ...string) (frames []string) {
	if len(ids) == 0 {
		return nil
	}
	// The sessions are over; who asked for that may hang up, and the applications are to know all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	var messages []*message
	for _, id := range ids {
		s.Log.InfoContext(ctx, "session ended", "session", id, "reason", reason)
		m, f := s.applications(ctx, id)
		messages, frames = append(messages, m...), append(frames, f...)
	}
	now, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.tell(now, messages)
	return frames
}

// applications removes what the session had granted, and returns how those are told whom it was granted to.
func (s *Service) applications(ctx context.Context, sessionID string) (messages []*message, frames []string) {
	grants, err := s.Store.FindGrants(ctx, store.GrantQuery{SessionID: sessionID})
	if err != nil {
		// Without its session each of them is dead already.
		s.Log.ErrorContext(ctx, "applications cannot be told that the session has ended", "session", sessionID, "error", err)
		return nil, nil
	}
	var seen []string
	for _, g := range grants {
		if err := s.Store.DeleteGrant(ctx, g.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			s.Log.WarnContext(ctx, "grant of a session that has ended", "grant", g.ID, "error", err)
		}
		if slices.Contains(seen, g.ClientID) {
			continue
		}
		seen = append(seen, g.ClientID)
		client, err := s.Gate.Client(ctx, g.ClientID)
		if gate.Refused(err) {
			s.Log.WarnContext(ctx, "application is not told that the session has ended", "client", g.ClientID, "error", err)
			continue
		}
		if err != nil || client.BackchannelLogoutURI != "" { // a store that cannot tell may do so later
			messages = append(messages, &message{client: g.ClientID, user: g.UserID, session: sessionID})
		}
		if err != nil {
			continue
		}
		if uri := client.FrontchannelLogoutURI; uri != "" {
			frames = append(frames, withQuery(uri, url.Values{"iss": {s.Base.String()}, "sid": {sessionID}}))
		}
	}
	return messages, frames
}

// EndAll ends every session of a user.
func (s *Service) EndAll(ctx context.Context, reason, userID string) error {
	return s.endFound(ctx, reason, store.SessionQuery{UserID: userID})
}

// EndEverything ends every session of a user, and what was granted to outlive sessions: somebody else may have signed in. What the
// user has agreed to stays.
func (s *Service) EndEverything(ctx context.Context, reason, userID string) error {
	return s.EndWhere(ctx, reason, userID, func(string, store.LinkKey) bool { return true })
}

// EndWhere is EndEverything for those sessions and grants that which names, by the session, "" for what outlives sessions, and by
// who vouched.
func (s *Service) EndWhere(ctx context.Context, reason, userID string, which func(sessionID string, by store.LinkKey) bool) error {
	sessions, err := s.Store.FindSessions(ctx, store.SessionQuery{UserID: userID})
	if err != nil {
		return fmt.Errorf("find sessions: %w", err)
	}
	var ids []string
	for _, found := range sessions {
		if which(found.ID, found.Upstream) {
			ids = append(ids, found.ID)
		}
	}
	_, err = s.End(ctx, reason, ids...)
	grants, findErr := s.Store.FindGrants(ctx, store.GrantQuery{UserID: userID})
	err = errors.Join(err, findErr)
	for _, g := range grants {
		if g.Kind == store.GrantConsent || !which(g.SessionID, g.Upstream) {
			continue
		}
		if failed := s.Store.DeleteGrant(ctx, g.ID); failed != nil && !errors.Is(failed, store.ErrNotFound) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// endFound ends the sessions that q names.
func (s *Service) endFound(ctx context.Context, reason string, q store.SessionQuery) error {
	sessions, err := s.Store.FindSessions(ctx, q)
	if err != nil {
		return fmt.Errorf("find sessions: %w", err)
	}
	ids := make([]string, len(sessions))
	for i, found := range sessions {
		ids[i] = found.ID
	}
	_, err = s.End(ctx, reason, ids...)
	return err
}

// withQuery adds parameters to a URL that may have some already.
func withQuery(uri string, params url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + params.Encode()
}
