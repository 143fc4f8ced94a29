package logout

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
)

// Browser handles GET and POST /broker/{alias}/endpoint/logout, where upstreams send the browser whose messages travel with
// it (provider.LogoutAnswerer): with a message of their own, or with the answer to ours.
func (s *Service) Browser(w http.ResponseWriter, r *http.Request) {
	p, err := s.Gate.Enabled(r.PathValue("alias"))
	if err != nil {
		s.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusNotFound, Message: "not_found", Err: err})
		return
	}
	web.RecordOf(r.Context()).Note("provider", p.Alias)
	answerer, ok := p.IdP.(provider.LogoutAnswerer)
	if !ok {
		s.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	params, err := s.brought(w, r)
	if err != nil {
		s.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	at := s.tripURL(p.Alias, "/endpoint/logout")
	if r.URL.RawQuery != "" {
		at += "?" + r.URL.RawQuery
	}
	if params.Has("SAMLResponse") {
		s.answered(w, r, p, answerer, provider.Callback{URL: at, Params: params})
		return
	}
	s.asked(w, r, p, answerer, provider.LogoutMessage{URL: at, Params: params})
}

// brought returns the parameters of the query or of the form, never of both.
func (s *Service) brought(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return url.ParseQuery(r.URL.RawQuery)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxMessage)
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	return r.PostForm, nil
}

// asked carries out what an upstream's message says and sends the browser back with the answer. A message that cannot be
// verified gets none: nothing is known of who sent it.
func (s *Service) asked(w http.ResponseWriter, r *http.Request, p *gate.Provider, answerer provider.LogoutAnswerer,
	m provider.LogoutMessage) {
	receiver, ok := p.IdP.(provider.LogoutReceiver)
	if !ok {
		s.Login.Fail(w, r, nil, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	l, err := receiver.ReceiveLogout(r.Context(), m)
	if err != nil {
		s.Login.Fail(w, r, nil, err)
		return
	}
	done := s.carryOut(r.Context(), p.Alias, l)
	if errors.Is(done, errReplayed) {
		s.Login.Fail(w, r, nil, done)
		return
	}
	redirect, err := answerer.AnswerLogout(r.Context(), l, done == nil)
	if err != nil {
		s.Login.Fail(w, r, nil, errors.Join(err, done))
		return
	}
	web.RecordOf(r.Context()).Err = done
	s.Login.Send(w, r, &login.Target{}, login.Answer{URL: redirect.URL, Form: redirect.Form})
}

// answered goes on with a sign-out that led to the upstream. The session here has ended whatever the upstream says. Where its answer
// is in doubt, be it forged, a refusal, or that not everybody was told, the visitor reads that they may be signed in there still,
// and can try again or go on, to an application that waits too: nothing but the visitor's own eyes would notice otherwise.
func (s *Service) answered(w http.ResponseWriter, r *http.Request, p *gate.Provider, answerer provider.LogoutAnswerer,
	cb provider.Callback) {
	states := cb.Params["RelayState"]
	kept, state, err := s.kept(r, states, s.Store.Get)
	if err != nil {
		s.Login.Fail(w, r, nil, err)
		return
	}
	cb.Data = kept.Data
	if err := answerer.FinishLogout(r.Context(), cb); err != nil {
		s.Log.WarnContext(r.Context(), "the upstream may not have signed out", "provider", p.Alias, "error", err)
		again := &way{url: s.tripURL(p.Alias, "/logout?state="+state), name: p.Title(), mode: provider.LogoutOffer, doubtful: true}
		s.leave(w, r, kept.Target, nil, again)
		return
	}
	if _, _, err := s.kept(r, states, s.Store.Take); err != nil { // it has come twice at once
		s.Login.Fail(w, r, nil, err)
		return
	}
	s.Cookies.Clear(w, tripCookie+state)
	s.leave(w, r, kept.Target, nil, nil)
}
