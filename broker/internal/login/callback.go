package login

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
)

// maxCallback bounds the body of a callback; a SAML response with thousands of attribute values is the largest.
const maxCallback = 9 << 18

// Callback handles GET and POST /broker/{alias}/endpoint: the browser is back from the upstream.
func (s *Service) Callback(w http.ResponseWriter, r *http.Request) {
	p, err := s.Gate.Enabled(r.PathValue("alias"))
	if err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusNotFound, Message: "not_found", Err: err})
		return
	}
	web.RecordOf(r.Context()).Note("provider", p.Alias)
	params, err := answer(w, r)
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	state, err := stateOf(params)
	if err != nil && s.unsolicited(w, r, p, params) {
		return
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	wait, err := s.claim(w, r, p.Alias, state)
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	t, err := s.Resolve(r.Context(), wait.Start)
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	t.retried, t.fresh, t.via, t.linking = wait.Retried, wait.Fresh, p.Title(), wait.Link
	if !s.Now().Before(wait.Expires) {
		s.Expired(w, r, t, "")
		return
	}
	identity, err := p.IdP.Finish(r.Context(), provider.Callback{
		URL:    s.callbackURL(p) + query(r),
		Params: params,
		Data:   wait.Data,

		KeepTokens: p.StoreTokens != provider.TokensDropped,
	})
	if err != nil {
		s.upstreamFailed(w, r, t, p, wait.Flow, err)
		return
	}
	noteStale(r.Context(), p)
	s.Vault.Bound(r.Context(), p, identity)
	if err := s.once(r.Context(), p.Alias, identity); err != nil {
		s.Fail(w, r, t, err)
		return
	}
	if t.linking != nil {
		s.linkVouched(w, r, t, p, identity)
		return
	}
	s.vouched(w, r, t, p, identity, wait, state)
}

// noteStale says in the log that the upstream was used by what was known of it before.
func noteStale(ctx context.Context, p *gate.Provider) {
	old, ok := p.IdP.(interface{ Stale() error })
	if !ok {
		return
	}
	if err := old.Stale(); err != nil {
		web.RecordOf(ctx).Err = fmt.Errorf("provider is used by what was known of it before: %w", err)
	}
}

// answer returns the parameters of the callback: of the query or of the form, never of both.
func answer(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		params, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
		}
		return params, nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxCallback)
	if err := r.ParseForm(); err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
	}
	return r.PostForm, nil
}

func query(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	return "?" + r.URL.RawQuery
}

// stateOf returns the one state that came back, by OAuth 2.0's name for it or SAML's.
func stateOf(params url.Values) (string, error) {
	states := append(params["state"], params["RelayState"]...)
	if len(states) != 1 || !isState(states[0]) {
		return "", &Problem{
			Status:  http.StatusBadRequest,
			Message: "no_cookie",
			Err:     fmt.Errorf("callback with %d states, or one that is not ours", len(states)),
		}
	}
	return states[0], nil
}

// isState reports whether state can be one of ours, which are rand.Text.
func isState(state string) bool {
	if len(state) != 26 {
		return false
	}
	for _, c := range []byte(state) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// upstreamFailed goes on from an upstream that vouched for nobody: a refusal leads back to the choice of the provider,
// a passive application is told, the rest is a page.
func (s *Service) upstreamFailed(w http.ResponseWriter, r *http.Request, t *Target, p *gate.Provider, flowID string, err error) {
	rec := web.RecordOf(r.Context())
	failure, ok := errors.AsType[*provider.Error](err)
	switch {
	case t.linking != nil:
		s.linkRefused(w, r, t, err)
	case !ok:
		s.Fail(w, r, t, err)
	case t.Passive:
		rec.Err = err
		s.Send(w, r, t, t.Refuse(passiveCode(failure)))
	case flowID != "" && (failure.Kind == provider.Denied || failure.Kind == provider.LoginRequired):
		rec.Err = err
		s.leave(w, r, s.url("/flow/"+flowID)) // the login that sent the browser there goes on another way
	case failure.Kind == provider.Denied, failure.Kind == provider.LoginRequired:
		rec.Err = err
		s.leave(w, r, s.withNotice(t, p, failure.Kind))
	case failure.Kind == provider.Expired && failure.Code == "temporarily_unavailable" && !t.retried:
		rec.Err = err
		t.retried = true
		s.begin(w, r, t, p, flowID)
	default:
		t.again = s.again(r, t, p, flowID)
		t.others = flowID == "" && s.otherWays(t, p)
		s.Fail(w, r, t, err)
	}
}

// again returns where trying again leads to after p has failed: to the page of the paused flow that has asked it, where other ways are
// to be found, too, or to p once more. It is "" if that is where the whole login begins.
func (s *Service) again(r *http.Request, t *Target, p *gate.Provider, flowID string) string {
	if flowID != "" {
		if j, err := s.kept(r, flowID, s.Store.Get); err == nil && j.State.Page() != nil {
			return s.flowURL(j)
		}
		return ""
	}
	_, params, err := unhinted(t.Start)
	if err != nil || t.Start == "" {
		return ""
	}
	return s.startURL(p, params)
}

// passiveCode is what an application that allowed no page is told (OpenID Connect Core §3.1.2.6): the upstream's own
// code where that is one for this case.
func passiveCode(failure *provider.Error) string {
	switch failure.Code {
	case "interaction_required", "consent_required", "account_selection_required":
		return failure.Code
	}
	if failure.Kind == provider.Denied {
		return "access_denied"
	}
	return "login_required"
}

// withNotice returns the URL that shows the login page again, with a notice about p.
func (s *Service) withNotice(t *Target, p *gate.Provider, kind provider.Kind) string {
	notice := "denied"
	if kind == provider.LoginRequired {
		notice = "login_required"
	}
	return s.chooseAgain(t, url.Values{paramNotice: {notice}, paramNoticeBy: {p.Alias}})
}

// chooseAgain returns the URL that shows the login page again: without a redirect to a provider that was hinted at or is the default,
// which would end here again.
func (s *Service) chooseAgain(t *Target, more url.Values) string {
	start, err := url.Parse(t.Start)
	if err != nil {
		return s.url("/login")
	}
	params := start.Query()
	params.Del(paramKeycloakHint)
	params.Set(paramHint, "")
	maps.Copy(params, more)
	return s.url(start.Path + "?" + params.Encode())
}
