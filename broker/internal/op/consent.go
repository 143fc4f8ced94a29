package op

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
)

const (
	consentPurpose  = "consent"
	consentPatience = 30 * time.Minute // how long the question may stay unanswered
	consentLifetime = 365 * 24 * time.Hour
	fieldRequest    = "request" // of the consent page's form and address
	fieldDecision   = "decision"
)

// A question is a request that was authenticated and now waits for the user's consent. It lives sealed in the address of the
// consent page, so that prompt and max_age, which are done with, are not looked at again.
type question struct {
	Query   string    `json:"q"` // of the authorization endpoint
	Session string    `json:"s"` // whose answer counts
	Expires time.Time `json:"e"`
}

// errStale says that the question cannot be answered any more, or not by this browser.
var errStale = errors.New("op: the consent page has expired")

// askConsent sends session s to the consent page or, if no page may be shown, says so to the client (OpenID Connect Core
// §3.1.2.6).
func (p *Provider) askConsent(ctx context.Context, req *authRequest, s *store.Session) (login.Answer, error) {
	if slices.Contains(req.prompt, "none") {
		return req.failure(p.issuer(), "consent_required", ""), nil
	}
	expires := p.Now().Add(consentPatience)
	plain, err := json.Marshal(question{Query: req.sent.Encode(), Session: s.ID, Expires: expires})
	if err == nil {
		err = p.prolong(ctx, req.pushed, expires)
	}
	if err != nil {
		return login.Answer{}, err
	}
	sealed := p.Login.Sealer.Seal(consentPurpose, "", plain)
	return login.Answer{URL: p.issuer() + "/consent?" + fieldRequest + "=" + sealed}, nil
}

// ShowConsent handles GET /consent.
func (p *Provider) ShowConsent(w http.ResponseWriter, r *http.Request) {
	sealed := r.URL.Query().Get(fieldRequest)
	req, active, err := p.asked(r, sealed)
	if err != nil {
		p.consentFailed(w, r, req, err)
		return
	}
	agreed, err := p.agreed(r.Context(), req, active.Session)
	switch {
	case err != nil:
		p.Login.Fail(w, r, p.target(req), err)
	case agreed: // in another tab
		p.Login.Conclude(w, r, p.target(req), active.Session)
	default:
		p.Login.Render(w, r, p.target(req), web.Page{Name: "consent", Status: http.StatusOK, Data: web.ConsentData{
			Application: req.application(),
			Account:     account(active.User),
			Scopes:      scopeIn(active.Session, req.asks()),
			Action:      p.issuer() + "/consent",
			Hidden:      url.Values{fieldRequest: {sealed}},
			Field:       fieldDecision,
		}})
	}
}

// AnswerConsent handles POST /consent.
func (p *Provider) AnswerConsent(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
	if err := r.ParseForm(); err != nil {
		p.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	req, active, err := p.asked(r, r.PostForm.Get(fieldRequest))
	if err != nil {
		p.consentFailed(w, r, req, err)
		return
	}
	target := p.target(req)
	switch r.PostForm.Get(fieldDecision) {
	case "allow":
		if err := p.remember(r.Context(), req, active.Session); err != nil {
			p.Login.Fail(w, r, target, err)
			return
		}
		req.consented = true
		p.Login.Conclude(w, r, target, active.Session)
	case "deny":
		if err := p.consume(r.Context(), req.pushed); err != nil {
			p.Login.Fail(w, r, target, err)
			return
		}
		p.Login.Send(w, r, target, req.failure(p.issuer(), "access_denied", "the user did not consent"))
	default:
		p.Login.Fail(w, r, target, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("no decision")})
	}
}

// asked returns the request that was sealed and the session that is to answer it. Whatever was switched off meanwhile is
// noticed here: client, user and provider are looked at again. With errStale the request may be nil.
func (p *Provider) asked(r *http.Request, sealed string) (*authRequest, *session.Active, error) {
	plain, err := p.Login.Sealer.Open(consentPurpose, "", sealed)
	if err != nil {
		return nil, nil, errStale
	}
	var q question
	if err := json.Unmarshal(plain, &q); err != nil {
		return nil, nil, errStale // another version of the broker has sealed it
	}
	sent, err := parseQuery(q.Query)
	if err != nil {
		return nil, nil, err
	}
	req, err := p.request(r.Context(), sent)
	if err != nil {
		return nil, nil, unanswerable(err)
	}
	active, err := p.Sessions.Current(r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		return req, nil, err
	}
	if err != nil || active.Session.ID != q.Session || !p.Now().Before(q.Expires) ||
		p.Gate.Allows(req.client, active.Session.Upstream.Provider) != nil {
		return req, nil, errStale
	}
	return req, active, nil
}

func (p *Provider) consentFailed(w http.ResponseWriter, r *http.Request, req *authRequest, err error) {
	var target *login.Target
	if req != nil {
		target = p.target(req)
	}
	if errors.Is(err, errStale) {
		web.RecordOf(r.Context()).Err = err
		p.Login.Expired(w, r, target, "")
		return
	}
	p.Login.Fail(w, r, target, err)
}

// account is what the user knows their account by.
func account(u *store.User) string {
	for _, name := range []string{u.Email, u.Name} {
		if name != "" {
			return name
		}
	}
	return u.Username
}

// asks are the scopes that the user is asked about: those of the request, and those that the claims it names belong to.
func (req *authRequest) asks() []string {
	list := slices.Clone(req.scope)
	for _, scope := range req.claims.scopes() {
		if !slices.Contains(list, scope) {
			list = append(list, scope)
		}
	}
	return list
}

// agreed reports whether the user need not be asked: the client is one that never asks, or they have agreed to as much
// before (OpenID Connect Core §3.1.2.4).
func (p *Provider) agreed(ctx context.Context, req *authRequest, s *store.Session) (bool, error) {
	switch {
	case req.consented:
		return true, nil
	case slices.Contains(req.prompt, "consent"):
		return false, nil
	case !req.client.Consent:
		return true, nil
	}
	given, err := p.Store.Grant(ctx, consentID(s, req.client.ID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if given.Kind != store.GrantConsent || given.UserID != s.UserID || given.ClientID != req.client.ID {
		return false, nil
	}
	return !slices.ContainsFunc(req.asks(), func(scope string) bool { return !slices.Contains(given.Scope, scope) }), nil
}

// remember adds to what the user has agreed that the client may have.
func (p *Provider) remember(ctx context.Context, req *authRequest, s *store.Session) error {
	var err error
	for range 3 { // another tab may be doing the same
		if err = p.tryRemember(ctx, req, s); !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return err
}

func (p *Provider) tryRemember(ctx context.Context, req *authRequest, s *store.Session) error {
	now := p.Now().UTC()
	until, session := now.Add(consentLifetime), ""
	if len(s.TransientUser) > 0 { // it vanishes with the user
		until, session = s.ExpiresAt, s.ID
	}
	g, err := p.Store.Grant(ctx, consentID(s, req.client.ID))
	if errors.Is(err, store.ErrNotFound) {
		return p.Store.CreateGrant(ctx, &store.Grant{
			ID: consentID(s, req.client.ID), Kind: store.GrantConsent, ClientID: req.client.ID, UserID: s.UserID, SessionID: session,
			Scope: req.asks(), CreatedAt: now, ExpiresAt: until,
		})
	}
	if err != nil {
		return err
	}
	for _, scope := range req.asks() {
		if !slices.Contains(g.Scope, scope) {
			g.Scope = append(g.Scope, scope)
		}
	}
	g.ExpiresAt = until
	return p.Store.UpdateGrant(ctx, g)
}

// consentID is the one under which the consent of a session's user to a client is kept; that of a transient user is the session's
// own. It is no id of a grant that has tokens: those are shorter.
func consentID(s *store.Session, clientID string) string {
	who := s.UserID
	if len(s.TransientUser) > 0 {
		who = s.ID
	}
	sum := sha256.Sum256([]byte(who + "\x00" + clientID))
	return "consent-" + base64.RawURLEncoding.EncodeToString(sum[:])
}
