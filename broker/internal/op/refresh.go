package op

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// A refresh token is "<grant id>.<secret>". The grant knows the hashes of the secret that is good now and of the one before
// it. A secret is itself sealed for its grant, so that whoever presents any older one is recognised as somebody who has
// what was used up long ago, and not mistaken for a guesser: a thief who refreshes twice would else go unnoticed.
const (
	refreshPurpose = "refresh"
	// refreshGrace is for a client that did not get the answer, or asked from two places at once.
	refreshGrace = 10 * time.Second
	// refreshAttempts is how often a lost race is followed by another look. The second already finds the winner's answer.
	refreshAttempts = 3

	defaultRefreshLifetime = 30 * 24 * time.Hour
	defaultRefreshIdle     = 14 * 24 * time.Hour
)

// startRefresh gives the grant a refresh token, if the client may use one, and sets how long it lives. It is for the caller
// to write the grant. A grant with the scope offline_access is taken out of its session (OpenID Connect Core §11).
func (p *Provider) startRefresh(ctx context.Context, c *store.Client, g *store.Grant, active *session.Active) (refreshToken string, err error) {
	mayRefresh := p.Gate.Grant(c, store.GrantTypeRefresh) == nil
	if mayRefresh && g.SessionID != "" && slices.Contains(g.Scope, scopeOffline) {
		if err := p.leaveTrace(ctx, g, active.Session); err != nil {
			return "", err
		}
		g.SessionID = ""
	}
	g.ExpiresAt = p.grantEnd(c, g, active)
	if !mayRefresh {
		return "", nil
	}
	return p.newRefreshToken(g), nil
}

// leaveTrace keeps the client among those that are told when the session ends, though the grant is not in it any more.
// Nothing is issued for a trace, and a grant leaves one, however often it is asked to.
func (p *Provider) leaveTrace(ctx context.Context, g *store.Grant, s *store.Session) error {
	err := p.Store.CreateGrant(ctx, &store.Grant{
		ID: "trace-" + g.ID, ClientID: g.ClientID, UserID: g.UserID, SessionID: s.ID, AuthTime: g.AuthTime, Upstream: g.Upstream,
		CreatedAt: p.Now().UTC(), ExpiresAt: s.ExpiresAt,
	})
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// grantEnd is when the grant ends if nobody uses it again: with its session or, without one, by the client's lifetimes.
func (p *Provider) grantEnd(c *store.Client, g *store.Grant, active *session.Active) time.Time {
	if g.SessionID != "" {
		return active.Session.ExpiresAt
	}
	end := g.CreatedAt.Add(cmp.Or(c.RefreshLifetime, defaultRefreshLifetime))
	if idle := p.Now().UTC().Add(cmp.Or(c.RefreshIdle, defaultRefreshIdle)); idle.Before(end) {
		return idle
	}
	return end
}

// newRefreshToken puts a new refresh token in the place of the one that is good now.
func (p *Provider) newRefreshToken(g *store.Grant) string {
	secret := p.Login.Sealer.Seal(refreshPurpose, g.ID, []byte(rand.Text()))
	g.PreviousHash, g.RefreshHash = g.RefreshHash, []byte(token.HashHandle(refreshPurpose, secret))
	return g.ID + "." + secret
}

// A refreshState is what a refresh token that was issued here is worth.
type refreshState int

const (
	refreshUsed     refreshState = iota // used up: whoever has it should not
	refreshRepeated                     // used up a moment ago
	refreshGood
)

// grantOfRefresh returns the grant that raw is, or once was, a refresh token of. The error is an invalid_grant if there is
// none.
func (p *Provider) grantOfRefresh(ctx context.Context, raw string) (*store.Grant, refreshState, error) {
	id, secret, ok := splitCode(raw)
	if !ok {
		return nil, refreshUsed, invalidGrant("not a refresh token")
	}
	g, err := p.Store.Grant(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refreshUsed, invalidGrant("no such grant")
	}
	if err != nil {
		return nil, refreshUsed, err
	}
	if token.MatchHandle(refreshPurpose, secret, string(g.RefreshHash)) {
		return g, refreshGood, nil
	}
	if _, err := p.Login.Sealer.Open(refreshPurpose, g.ID, secret); err != nil {
		return nil, refreshUsed, invalidGrant("wrong secret")
	}
	if p.Now().Before(g.GraceUntil) && token.MatchHandle(refreshPurpose, secret, string(g.PreviousHash)) {
		return g, refreshRepeated, nil
	}
	return g, refreshUsed, nil
}

// refresh exchanges a refresh token for tokens and another refresh token (RFC 6749 §6, RFC 9700 §4.14.2). Of any number of
// racing requests one makes the answer, and all get it.
func (p *Provider) refresh(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	for attempt := 1; ; attempt++ {
		answer, err := p.tryRefresh(ctx, req)
		if !errors.Is(err, store.ErrConflict) || attempt == refreshAttempts {
			return answer, err
		}
	}
}

func (p *Provider) tryRefresh(ctx context.Context, req *tokenRequest) (*tokenResponse, error) {
	if req.form.Get("refresh_token") == "" {
		return nil, badRequest("invalid_request", "refresh_token is missing")
	}
	g, state, err := p.grantOfRefresh(ctx, req.form.Get("refresh_token"))
	switch {
	case err != nil:
		return nil, err
	case g.ClientID != req.client.ID:
		// RFC 6749 §10.4 binds it to its client. Another that has it has stolen it, or was given what is stolen by now.
		return nil, p.end(ctx, g, "the refresh token is another client's: it leaked")
	case state == refreshUsed:
		return nil, p.end(ctx, g, "the refresh token was used before: it leaked")
	}
	active, err := p.grantAlive(ctx, g)
	if errors.Is(err, errDead) {
		return nil, p.end(ctx, g, err.Error())
	}
	if err != nil {
		return nil, err
	}
	narrow := *g
	narrow.Nonce = "" // OpenID Connect Core §12.2
	if err := narrowGrant(&narrow, req.client, req.form.Get("scope")); err != nil {
		return nil, err
	}
	if narrow.Resources, err = p.targets(req.client, g.Resources, req.form["resource"]); err != nil {
		return nil, err
	}
	if err := p.bind(ctx, req.client, g); err != nil {
		return nil, err
	}
	if g.SessionID != "" { // the application goes on because its user does
		if err := p.Sessions.Touch(ctx, active.Session); err != nil {
			return nil, err
		}
	}
	if state == refreshRepeated {
		return p.repeat(ctx, &narrow)
	}
	return p.rotate(ctx, req.client, g, &narrow, active)
}

// rotate makes the answer to a refresh token that is good: for narrow, which is what was asked of g. The tokens are there
// before the store decides who was first, as the answer is stored with the decision.
func (p *Provider) rotate(ctx context.Context, c *store.Client, g, narrow *store.Grant, active *session.Active) (*tokenResponse, error) {
	now := p.Now().UTC()
	g.ExpiresAt = p.grantEnd(c, g, active)
	if !now.Before(g.ExpiresAt) { // its lifetime was shortened meanwhile
		return nil, p.end(ctx, g, "the grant is too old")
	}
	narrow.ExpiresAt = g.ExpiresAt
	answer, err := p.issue(ctx, c, narrow, active)
	if err != nil {
		return nil, err
	}
	answer.RefreshToken = p.newRefreshToken(g)
	g.Answer, err = json.Marshal(keptAnswer{askedFor(ctx, narrow), answer})
	if err != nil {
		return nil, err
	}
	g.GraceUntil = now.Add(refreshGrace)
	if err := p.Store.UpdateGrant(ctx, g); err != nil {
		return nil, err
	}
	return answer, nil
}

// repeat gives the answer that was given to the same question.
func (p *Provider) repeat(ctx context.Context, narrow *store.Grant) (*tokenResponse, error) {
	var kept keptAnswer
	if err := json.Unmarshal(narrow.Answer, &kept); err != nil {
		return nil, err
	}
	if kept.Question != askedFor(ctx, narrow) {
		return nil, invalidGrant("the refresh token was just used to ask for something else")
	}
	return kept.Answer, nil
}

// A keptAnswer is one with the question that it is for, so that nobody who asks for tokens for one API, or for one key, gets
// those for another.
type keptAnswer struct {
	Question string
	Answer   *tokenResponse
}

func askedFor(ctx context.Context, narrow *store.Grant) string {
	scope, resources := strings.Join(narrow.Scope, " "), strings.Join(narrow.Resources, " ")
	return strings.Join([]string{narrow.ID, scope, resources, provenKey(ctx)}, "\x00")
}
