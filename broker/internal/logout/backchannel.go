package logout

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-idbroker/idbroker/token"
)

const (
	// patience is how long a sign-out waits for all applications together. Whoever needs longer is told again later.
	patience = 2 * time.Second
	// storePatience is for the whole of a sign-out, which goes on when its request has ended.
	storePatience = 10 * time.Second
	parallel      = 32 // applications that are told at once
	maxQueue      = 10_000
	lookEvery     = time.Second // for what is due
	lifetime      = 2 * time.Minute
	logoutType    = "http://schemas.openid.net/event/backchannel-logout"
	maxAnswer     = 4 << 10 // that is read, to use the connection again
)

// waits are those before each further attempt.
var waits = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}

// A message tells one application that one session has ended.
type message struct {
	client, user, session string

	failed int       // attempts
	due    time.Time // of the next one
}

// logoutClaims are the claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
type logoutClaims struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	ID       string              `json:"jti"`
	Events   map[string]struct{} `json:"events"`
	Session  string              `json:"sid"`
}

// tell sends the messages, for as long as ctx lasts, and queues those that were not taken.
func (s *Service) tell(ctx context.Context, messages []*message) {
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, m := range messages {
		group.Go(func() error {
			s.attempt(ctx, m)
			return nil
		})
	}
	_ = group.Wait() // attempts keep their errors
}

// attempt sends a message once, and queues it to be sent again if that failed.
func (s *Service) attempt(ctx context.Context, m *message) {
	began := s.Now()
	err := s.send(ctx, m)
	log := s.Log.With("client", m.client, "session", m.session, "attempt", m.failed+1)
	if err == nil {
		log.InfoContext(ctx, "application told of the sign-out", "took", s.Now().Sub(began))
		return
	}
	if m.failed == len(waits) {
		log.ErrorContext(ctx, "application not told of the sign-out, given up", "error", err)
		return
	}
	m.due = s.Now().Add(waits[m.failed])
	m.failed++
	if !s.enqueue(m) {
		log.ErrorContext(ctx, "application not told of the sign-out, too many are waiting", "error", err)
		return
	}
	log.WarnContext(ctx, "application not told of the sign-out yet", "error", err)
}

// send posts a logout token to the application (Back-Channel Logout §2.5). It is a new one each time: an application that
// was told but could not answer would take the same for a replay.
func (s *Service) send(ctx context.Context, m *message) error {
	client, err := s.Gate.Client(ctx, m.client)
	if err != nil {
		return err
	}
	if client.BackchannelLogoutURI == "" {
		return nil // it wants to be told no longer, or never did
	}
	ring, err := s.Keys.Ring(ctx)
	if err != nil {
		return err
	}
	now := s.Now()
	signed, err := ring.Sign(now, cmp.Or(client.IDTokenAlg, token.RS256), token.LogoutToken, logoutClaims{
		Issuer:   s.Base.String(),
		Subject:  m.user,
		Audience: client.ID,
		IssuedAt: now.Unix(),
		Expires:  now.Add(lifetime).Unix(),
		ID:       rand.Text(),
		Events:   map[string]struct{}{logoutType: {}},
		Session:  m.session,
	})
	if err != nil {
		return err
	}
	return s.post(ctx, client.BackchannelLogoutURI, url.Values{"logout_token": {signed}})
}

func (s *Service) post(ctx context.Context, uri string, form url.Values) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := s.Client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // what it says is of no interest
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func (s *Service) enqueue(m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= maxQueue {
		return false
	}
	s.queue = append(s.queue, m)
	return true
}

// Run sends what is queued when it is due, until ctx ends. What is queued then is lost: applications learn from their
// tokens, which are dead, that the session is.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if left := len(s.take(time.Time{})); left > 0 {
				s.Log.WarnContext(ctx, "applications not told of a sign-out", "messages", left)
			}
			return
		case <-tick.C:
			s.tell(ctx, s.take(s.Now()))
		}
	}
}

// take removes from the queue what is due at now, or everything if that is zero.
func (s *Service) take(now time.Time) (due []*message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var later []*message
	for _, m := range s.queue {
		if now.IsZero() || !now.Before(m.due) {
			due = append(due, m)
		} else {
			later = append(later, m)
		}
	}
	s.queue = later
	return due
}
