package login

import (
	"cmp"
	"errors"
	"maps"
	"net/http"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
)

// A Problem is an error that a visitor can be told about: by the id of a message, never by the error's text.
type Problem struct {
	Status  int
	Message string            // "<id>" of the messages "error.<id>.title" and "error.<id>.text"
	Args    map[string]string // placeholders of the message
	Err     error             // for the log; may be nil
}

// Error returns the text for the log.
func (p *Problem) Error() string {
	if p.Err == nil {
		return p.Message
	}
	return p.Message + ": " + p.Err.Error()
}

// Unwrap returns what happened.
func (p *Problem) Unwrap() error { return p.Err }

// ErrTransientUser is for what a transient user cannot do, as nobody keeps it.
var ErrTransientUser = &Problem{Status: http.StatusForbidden, Message: "transient_user", Err: errors.New("the user is a transient one")}

// explanations says what visitors are told about errors of other packages.
var explanations = []struct {
	err     error
	status  int
	message string
}{
	{gate.ErrUnknownProvider, http.StatusNotFound, "unknown_provider"},
	{gate.ErrProviderDisabled, http.StatusForbidden, "provider_disabled"},
	{gate.ErrLinkOnly, http.StatusForbidden, "link_only"},
	{gate.ErrProviderNotAllowed, http.StatusForbidden, "provider_not_allowed"},
	{gate.ErrUnknownClient, http.StatusBadRequest, "unknown_client"},
	{gate.ErrClientDisabled, http.StatusBadRequest, "client_disabled"},
	{gate.ErrUserDisabled, http.StatusForbidden, "user_disabled"},
	{gate.ErrTransient, http.StatusForbidden, "not_linkable"},
	{gate.ErrProviderHeld, http.StatusForbidden, "provider_held"},
}

// upstreamProblems says what visitors are told about an upstream, by kind.
var upstreamProblems = map[provider.Kind]Problem{
	provider.Invalid:       {Status: http.StatusBadGateway, Message: "upstream_invalid"},
	provider.Denied:        {Status: http.StatusForbidden, Message: "denied"},
	provider.LoginRequired: {Status: http.StatusForbidden, Message: "login_required"},
	provider.Expired:       {Status: http.StatusBadRequest, Message: "upstream_expired"},
	provider.Unavailable:   {Status: http.StatusBadGateway, Message: "upstream_unavailable"},
	provider.Misconfigured: {Status: http.StatusBadGateway, Message: "upstream_misconfigured"},
	provider.ClaimMismatch: {Status: http.StatusForbidden, Message: "claim_mismatch"},
}

// explain returns what a visitor is told about err.
func explain(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if failure, ok := errors.AsType[*provider.Error](err); ok {
		if p, ok := upstreamProblems[failure.Kind]; ok {
			return &p
		}
	}
	for _, e := range explanations {
		if errors.Is(err, e.err) {
			return &Problem{Status: e.status, Message: e.message}
		}
	}
	return &Problem{Status: http.StatusInternalServerError, Message: "internal"}
}

// lost are the messages for somebody whose login cannot be told any more, and who is to start afresh.
var lost = map[string]bool{"no_cookie": true, "needs_https": true, "already_used": true, "cross_site": true, "expired": true, "proof_expired": true}

// elsewhere are the messages that ask for another way to sign in, which whoever is sent to the same provider again cannot choose.
var elsewhere = map[string]bool{
	"provider_disabled": true, "provider_held": true, "link_only": true, "provider_not_allowed": true, "upstream_misconfigured": true,
}

// Fail shows the page for err: what happened, how to try again, the way back to the application of t, which may be nil.
func (s *Service) Fail(w http.ResponseWriter, r *http.Request, t *Target, err error) {
	web.RecordOf(r.Context()).Err = err
	p := explain(err)
	if t != nil && t.Passive {
		s.Send(w, r, t, t.Refuse(passiveProblem(p)))
		return
	}
	data := web.ErrorData{Message: p.Message, Args: map[string]string{}}
	maps.Copy(data.Args, p.Args)
	if t != nil {
		if t.via != "" {
			data.Args["provider"] = t.via
		}
		if t.Application != "" {
			data.Args["application"] = t.Application
		}
		data.Back, data.Application = t.Back, t.Application
		if t.Start != "" {
			data.Retry = cmp.Or(t.again, s.url(t.Start))
			switch {
			case t.linking != nil:
			case elsewhere[p.Message]:
				data.Retry = s.chooseAgain(t, nil)
			case t.others:
				data.Other = s.chooseAgain(t, nil)
			}
		}
	} else if lost[p.Message] {
		data.Retry = s.url("/login")
	} else if p.Status == http.StatusNotFound {
		data.Back = s.Home
	}
	s.Render(w, r, t, web.Page{Name: "error", Status: p.Status, Data: data})
}

// passiveProblem is what an application is told that allowed no page, not even this one (OpenID Connect Core §3.1.2.1).
func passiveProblem(p *Problem) string {
	switch {
	case p.Message == "login_required":
		return "login_required"
	case p.Status == http.StatusForbidden:
		return "access_denied"
	case p.Status >= http.StatusInternalServerError:
		return "server_error"
	}
	return "login_required"
}

// Expired shows the page for a step that cannot be taken any more: to start again or, where there is something to go on
// with, to continue.
func (s *Service) Expired(w http.ResponseWriter, r *http.Request, t *Target, continueURL string) {
	if t != nil && t.Passive {
		s.Send(w, r, t, t.Refuse("login_required"))
		return
	}
	data := web.ExpiredData{Continue: continueURL, Restart: s.url("/login")}
	if t != nil {
		data.Restart, data.Back, data.Application = s.url(t.Start), t.Back, t.Application
	}
	s.Render(w, r, t, web.Page{Name: "expired", Status: http.StatusConflict, Data: data})
}

// Render shows a page to somebody whose login is for t, which may be nil.
func (s *Service) Render(w http.ResponseWriter, r *http.Request, t *Target, page web.Page) {
	if t != nil {
		page.Locales = t.Locales
	}
	page.RequestID = web.RecordOf(r.Context()).ID
	s.Pages.Render(w, r, page)
}

// Send sends the browser away with the answer. Where it has to post one, and where it came by a form itself, a page of ours
// comes in between.
func (s *Service) Send(w http.ResponseWriter, r *http.Request, t *Target, a Answer) {
	switch {
	case a.Form != nil:
		s.Render(w, r, t, web.Page{Name: "post", Status: http.StatusOK, Data: web.PostData{
			URL: a.URL, Fields: a.Form, Application: t.Application,
		}})
	case s.ownForm(r):
		s.leaveByPage(w, r, t, a.URL)
	default:
		s.leave(w, r, a.URL)
	}
}

// ownForm reports whether a form of one of our pages sent the request. Where it cannot be told it may have been.
func (s *Service) ownForm(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	origin := r.Header.Get("Origin")
	return origin == "" || origin == s.Base.Scheme+"://"+s.Base.Host
}

// leave redirects the browser to url.
func (s *Service) leave(w http.ResponseWriter, r *http.Request, url string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, url, http.StatusSeeOther) //nolint:gosec // made by the broker, a provider, or registered by a client
}

// leaveByPage does the same after a form was submitted: browsers apply the page's form-action to every redirect that
// follows, so the way to another site has to begin on a page of its own.
func (s *Service) leaveByPage(w http.ResponseWriter, r *http.Request, t *Target, url string) {
	s.Render(w, r, t, web.Page{Name: "continue", Status: http.StatusOK, Data: web.ContinueData{URL: url}})
}
