package login

import (
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

// explanations says what visitors are told about errors of other packages.
var explanations = []struct {
	err     error
	status  int
	message string
}{
	{gate.ErrUnknownProvider, http.StatusNotFound, "unknown_provider"},
	{gate.ErrProviderDisabled, http.StatusForbidden, "provider_disabled"},
	{gate.ErrLinkOnly, http.StatusForbidden, "link_only"},
	{gate.ErrUnknownClient, http.StatusBadRequest, "unknown_client"},
	{gate.ErrClientDisabled, http.StatusBadRequest, "client_disabled"},
	{gate.ErrUserDisabled, http.StatusForbidden, "user_disabled"},
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
var lost = map[string]bool{"no_cookie": true, "already_used": true, "cross_site": true}

// Fail shows the page for err: what happened, how to try again, the way back to the application of t, which may be nil.
func (s *Service) Fail(w http.ResponseWriter, r *http.Request, t *Target, err error) {
	web.RecordOf(r.Context()).Err = err
	p := explain(err)
	if t != nil && t.Passive {
		s.leave(w, r, t.Refuse(passiveProblem(p.Status)))
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
		data.Retry, data.Back, data.Application = s.url(t.Start), t.Back, t.Application
	} else if lost[p.Message] {
		data.Retry = s.url("/login")
	}
	s.render(w, r, t, web.Page{Name: "error", Status: p.Status, Data: data})
}

// passiveProblem is what an application is told that allowed no page, not even this one (OpenID Connect Core §3.1.2.1).
func passiveProblem(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "access_denied"
	case status >= http.StatusInternalServerError:
		return "server_error"
	}
	return "login_required"
}

// expired shows the page for a step that cannot be taken any more: to start again or, where there is something to go on
// with, to continue.
func (s *Service) expired(w http.ResponseWriter, r *http.Request, t *Target, continueURL string) {
	if t != nil && t.Passive {
		s.leave(w, r, t.Refuse("login_required"))
		return
	}
	data := web.ExpiredData{Continue: continueURL, Restart: s.url("/login")}
	if t != nil {
		data.Restart, data.Back, data.Application = s.url(t.Start), t.Back, t.Application
	}
	s.render(w, r, t, web.Page{Name: "expired", Status: http.StatusConflict, Data: data})
}

func (s *Service) render(w http.ResponseWriter, r *http.Request, t *Target, page web.Page) {
	if t != nil {
		page.Locales = t.Locales
	}
	page.RequestID = web.RecordOf(r.Context()).ID
	s.Pages.Render(w, r, page)
}

// Leave sends the browser to url: by a page if it is here by a form, which may be one of ours.
func (s *Service) Leave(w http.ResponseWriter, r *http.Request, t *Target, url string) {
	if r.Method == http.MethodPost && !t.Passive {
		s.leaveByPage(w, r, t, url)
		return
	}
	s.leave(w, r, url)
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
	s.render(w, r, t, web.Page{Name: "continue", Status: http.StatusOK, Data: web.ContinueData{URL: url}})
}
