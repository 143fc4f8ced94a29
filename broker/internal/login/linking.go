package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// What became of the wish to link a provider.
const (
	LinkSuccess   = "success"
	LinkCancelled = "cancelled"
	LinkError     = "error"
)

// ParamLinked is the parameter of a Start that says, sealed for one session, what became of its wish to link.
const ParamLinked = "idp_linked"

const (
	linkAskPurpose    = "link question"
	linkPurpose       = "link"
	linkStatusPurpose = "link status"
	linkUsedPurpose   = "link question answered"
	linkLifetime      = 10 * time.Minute
	fieldRequest      = "request"
	fieldDecision     = "decision"
	maxLinkForm       = 32 << 10
)

// A linking is by whom something is linked that an upstream is about to vouch for.
type linking struct {
	User    string `json:"u"`
	Session string `json:"s"`
}

// A linkQuestion asks a user whether they want to link a provider. Sealed, it is the request that nobody can guess; it is good for
// one session and answered once (CVE-2026-15571).
type linkQuestion struct {
	ID      string    `json:"i"`
	Start   string    `json:"s"`
	Expires time.Time `json:"e"`
}

// A linkResult is what came back from the upstream, on its way to the session that it is for: a browser does not send its session
// along with another site's POST.
type linkResult struct {
	Start    string             `json:"s"`
	Alias    string             `json:"a"`
	Link     linking            `json:"l"`
	Status   string             `json:"t,omitempty"` // if the upstream has vouched for nobody
	Identity *provider.Identity `json:"d,omitempty"`
	Expires  time.Time          `json:"e"`
}

// AskToLink returns the answer that asks the user of the session whether they want to link what t names.
func (s *Service) AskToLink(t *Target, active *store.Session) (Answer, error) {
	plain, err := json.Marshal(linkQuestion{ID: rand.Text(), Start: t.Start, Expires: s.Now().Add(linkLifetime)})
	if err != nil {
		return Answer{}, err
	}
	sealed := s.Sealer.Seal(linkAskPurpose, active.ID, plain)
	return Answer{URL: s.url("/link?" + url.Values{fieldRequest: {sealed}}.Encode())}, nil
}

// LinkStatus returns what became of the wish to link, as a Start says it for this session; "" if nothing did.
func (s *Service) LinkStatus(sealed string, active *store.Session) string {
	if sealed == "" {
		return ""
	}
	status, err := s.Sealer.Open(linkStatusPurpose, active.ID, sealed)
	if err != nil {
		return ""
	}
	return string(status)
}

// Linkable returns the provider if it may be linked by way of t: one that is for linking only may, too.
func (s *Service) Linkable(alias string, t *Target) (*gate.Provider, error) {
	p, err := s.Gate.Enabled(alias)
	if err != nil {
		return nil, err
	}
	if p.TransientUsers {
		return nil, gate.ErrTransient
	}
	if len(t.Providers) > 0 && !slices.Contains(t.Providers, alias) {
		return nil, gate.ErrProviderNotAllowed
	}
	return p, nil
}

// ShowLink handles GET /link with a request: the page that asks. Who has not proved who they are just now does so first.
func (s *Service) ShowLink(w http.ResponseWriter, r *http.Request) {
	sealed := r.URL.Query().Get(fieldRequest)
	_, t, p, active, ok := s.linkAsked(w, r, sealed)
	if !ok {
		return
	}
	if !s.Recent(active.Session) {
		s.leave(w, r, s.AgainURL(active.User.ID, s.Base.Path+"/link?"+url.Values{fieldRequest: {sealed}}.Encode()))
		return
	}
	s.Render(w, r, t, web.Page{Name: "account-confirm", Status: http.StatusOK, Data: web.ConfirmData{
		Question: "link", Args: map[string]string{"provider": p.Title(), "account": active.User.Username},
		Action: s.url("/link"), Hidden: url.Values{fieldRequest: {sealed}}, Field: fieldDecision,
	}})
}

// AnswerLink handles POST /link: the user's decision. Of two answers at once one counts.
func (s *Service) AnswerLink(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLinkForm)
	if err := r.ParseForm(); err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	q, t, p, active, ok := s.linkAsked(w, r, r.PostForm.Get(fieldRequest))
	if !ok {
		return
	}
	if !s.Recent(active.Session) {
		s.Expired(w, r, nil, s.url(t.Start))
		return
	}
	err := s.Store.Add(r.Context(), linkUsedPurpose, q.ID, nil, q.Expires)
	if errors.Is(err, store.ErrExists) {
		s.Expired(w, r, nil, s.url(t.Start))
		return
	}
	if err == nil {
		_, err = s.Fences.Pass(r.Context(), p)
	}
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	if r.PostForm.Get(fieldDecision) != "yes" {
		s.linked(w, r, t.Start, active.Session, LinkCancelled)
		return
	}
	t.linking = &linking{User: active.User.ID, Session: active.Session.ID}
	t.fresh = false
	t.Wishes.Prompt, t.Wishes.MaxAge, t.Wishes.LoginHint = []string{"select_account"}, nil, ""
	s.begin(w, r, t, p, "")
}

// linkAsked opens a request for the session of the browser, and says why not itself.
func (s *Service) linkAsked(w http.ResponseWriter, r *http.Request, sealed string) (
	q linkQuestion, t *Target, p *gate.Provider, active *session.Active, ok bool) {
	active, err := s.Sessions.Current(r)
	if errors.Is(err, session.ErrNone) {
		s.Expired(w, r, nil, "")
		return q, nil, nil, nil, false
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return q, nil, nil, nil, false
	}
	plain, err := s.Sealer.Open(linkAskPurpose, active.Session.ID, sealed)
	if err == nil {
		err = json.Unmarshal(plain, &q)
	}
	if err != nil || !s.Now().Before(q.Expires) {
		s.Expired(w, r, nil, "")
		return q, nil, nil, nil, false
	}
	if t, err = s.Resolve(r.Context(), q.Start); err != nil {
		s.Fail(w, r, nil, err)
		return q, nil, nil, nil, false
	}
	t.Passive = false // there is a page already
	if len(active.Session.TransientUser) > 0 {
		s.Fail(w, r, t, ErrTransientUser)
		return q, nil, nil, nil, false
	}
	if p, err = s.Linkable(t.Link, t); err != nil {
		s.Fail(w, r, t, err)
		return q, nil, nil, nil, false
	}
	t.via = p.Title()
	return q, t, p, active, true
}

// linkVouched goes on once an upstream has vouched for what a user wants to link.
func (s *Service) linkVouched(w http.ResponseWriter, r *http.Request, t *Target, p *gate.Provider, id *provider.Identity) {
	if err := mapLookup(p, id); err != nil {
		s.linkRefused(w, r, t, err)
		return
	}
	// Only what a link remembers.
	kept := &provider.Identity{Issuer: id.Issuer, Subject: id.Subject, Username: id.Username, Email: id.Email,
		FormerSubject: id.FormerSubject}
	if p.StoreTokens == provider.TokensOnLink {
		kept.Tokens = id.Tokens
	}
	s.keepLink(w, r, t, linkResult{Alias: p.Alias, Identity: kept})
}

// linkRefused goes on from an upstream that vouched for nobody.
func (s *Service) linkRefused(w http.ResponseWriter, r *http.Request, t *Target, err error) {
	web.RecordOf(r.Context()).Err = err
	status := LinkError
	if failure, ok := errors.AsType[*provider.Error](err); ok && (failure.Kind == provider.Denied || failure.Kind == provider.LoginRequired) {
		status = LinkCancelled
	}
	s.keepLink(w, r, t, linkResult{Status: status})
}

func (s *Service) keepLink(w http.ResponseWriter, r *http.Request, t *Target, result linkResult) {
	result.Start, result.Link, result.Expires = t.Start, *t.linking, s.Now().Add(linkLifetime)
	plain, err := json.Marshal(result)
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	handle, hash := token.NewHandle(linkPurpose)
	if err := s.Store.Put(r.Context(), linkPurpose, hash, plain, result.Expires); err != nil {
		s.Fail(w, r, t, err)
		return
	}
	s.leave(w, r, s.url("/link/"+handle))
}

// FinishLink handles GET /link/{handle}: what came back meets the session that has asked for it. Nobody is signed in by it, and
// no session changes hands.
func (s *Service) FinishLink(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	hash := token.HashHandle(linkPurpose, r.PathValue("handle"))
	plain, err := s.Store.Take(ctx, linkPurpose, hash)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Fail(w, r, nil, err)
		return
	}
	var result linkResult
	if err != nil || json.Unmarshal(plain, &result) != nil || !s.Now().Before(result.Expires) {
		s.Expired(w, r, nil, "")
		return
	}
	active, err := s.Sessions.Current(r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		s.Fail(w, r, nil, err)
		return
	}
	if err != nil || active.Session.ID != result.Link.Session || active.User.ID != result.Link.User {
		s.Expired(w, r, nil, s.url(result.Start))
		return
	}
	if result.Status == "" {
		t, err := s.Resolve(ctx, result.Start)
		if err == nil {
			err = s.makeLink(ctx, r, t, &result, active)
		}
		if err != nil {
			if t != nil {
				t.Passive = false
			}
			s.Fail(w, r, t, err)
			return
		}
		result.Status = LinkSuccess
	}
	s.linked(w, r, result.Start, active.Session, result.Status)
}

// makeLink makes the link, of an identity that is nobody's yet.
func (s *Service) makeLink(ctx context.Context, r *http.Request, t *Target, result *linkResult, active *session.Active) error {
	if t.Link != result.Alias {
		return &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("another provider vouched than was to be linked")}
	}
	p, err := s.Linkable(result.Alias, t)
	if err != nil {
		return err
	}
	t.via = p.Title()
	former, err := s.Fences.Pass(ctx, p)
	if err != nil {
		return err
	}
	key := store.LinkKey{Provider: p.Alias, Issuer: result.Identity.Issuer, Subject: result.Identity.Subject}
	known, err := s.link(ctx, key, result.Identity.FormerSubject, former)
	switch {
	case err == nil && known.UserID == active.User.ID:
		return s.linkAgain(ctx, p, known, result.Identity)
	case err == nil:
		return &Problem{Status: http.StatusConflict, Message: "linked_elsewhere", Err: errors.New("the identity is linked to another user")}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	links, err := s.Store.LinksOf(ctx, active.User.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(links, func(l *store.Link) bool { return l.Provider == p.Alias }) {
		return &Problem{Status: http.StatusConflict, Message: "link_exists", Err: errors.New("the user is linked to this provider already, by another identity")}
	}
	now := s.Now().UTC()
	made := &store.Link{LinkKey: key, UserID: active.User.ID, CreatedAt: now}
	describe(made, p, result.Identity)
	made.Tokens = s.tokensOnLink(ctx, p, result.Identity, nil)
	if err := s.Store.CreateLink(ctx, made); errors.Is(err, store.ErrExists) {
		return &Problem{Status: http.StatusConflict, Message: "linked_elsewhere", Err: err}
	} else if err != nil {
		return fmt.Errorf("create link: %w", err)
	}
	s.Changed(r, active.User, "linked", p.Alias)
	s.Tell(r, active.User, flow.Mail{Name: "linked", Args: map[string]string{"provider": p.Title(), "account": active.User.Username}})
	return nil
}

// linkAgain keeps what the upstream has issued for a link that is there already: the tokens that it had may have ended.
func (s *Service) linkAgain(ctx context.Context, p *gate.Provider, known *store.Link, id *provider.Identity) error {
	for {
		tokens := s.tokensOnLink(ctx, p, id, known)
		if bytes.Equal(tokens, known.Tokens) {
			return nil
		}
		known.Tokens = tokens
		err := s.Store.UpdateLink(ctx, known)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if known, err = s.Store.Link(ctx, known.LinkKey); err != nil {
			return fmt.Errorf("link that was linked again: %w", err)
		}
	}
}

// linked goes on to whoever wanted the link.
func (s *Service) linked(w http.ResponseWriter, r *http.Request, start string, active *store.Session, status string) {
	u, err := url.Parse(start)
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	params := u.Query()
	params.Set(ParamLinked, s.Sealer.Seal(linkStatusPurpose, active.ID, []byte(status)))
	t, err := s.Resolve(r.Context(), u.Path+"?"+params.Encode())
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	s.Conclude(w, r, t, active)
}

// Changed writes the line that says who has changed how they sign in.
func (s *Service) Changed(r *http.Request, user *store.User, what, detail string) {
	rec := web.RecordOf(r.Context())
	rec.Note("user", user.ID)
	rec.Note("changed", what)
	s.Log.InfoContext(r.Context(), "account changed", "user", user.ID, "changed", what, "detail", detail, "request", rec.ID)
}

// Tell mails the user news of their account, without anybody waiting for it.
func (s *Service) Tell(r *http.Request, user *store.User, m flow.Mail) {
	if s.Mail == nil || user.Email == "" && m.To == "" {
		return
	}
	if m.To == "" {
		m.To = user.Email
	}
	language := s.Pages.Language(r, user.Locale)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), mailPatience)
	go func() {
		defer cancel()
		if err := s.Mail(ctx, language, m); err != nil {
			s.Log.WarnContext(ctx, "mail about an account not sent", "user", user.ID, "mail", m.Name, "error", err)
		}
	}()
}

// Unlink takes a link away, with those that were made for the same person under another issuer of its provider: else one of them
// would be found in its place. What the link vouched for is dead once it is gone.
func (s *Service) Unlink(ctx context.Context, l *store.Link) error {
	links, err := s.Store.LinksOf(ctx, l.UserID)
	if err != nil {
		return err
	}
	for _, twin := range links {
		if twin.Provider == l.Provider && twin.Subject == l.Subject {
			if err := s.unlink(ctx, twin); err != nil {
				return fmt.Errorf("unlink: %w", err)
			}
		}
	}
	return nil
}
