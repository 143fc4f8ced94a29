package login

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
)

const (
	pendingCookie   = "login-" // followed by the state
	pendingPurpose  = "pending"
	pendingLifetime = 10 * time.Minute
	// pendingKept is how long the browser keeps the cookie: longer, so that who comes late learns what happened and
	// can start again.
	pendingKept    = time.Hour
	maxPendingSize = 6000 // bytes of cookies, of the 8 KiB that proxies take as a header
	maxPending     = 5    // tabs at once; the oldest are forgotten, so that cookies cannot pile up
)

// A pending login is one whose browser is away at the upstream. It lives sealed in a cookie of that browser, under the
// state that must come back: nobody who is not signed in writes to the store.
type pending struct {
	Start   string    `json:"s"`
	Data    []byte    `json:"d,omitempty"` // the provider's own
	Flow    string    `json:"f,omitempty"` // id of the paused flow that sent the browser away, if one did
	Retried bool      `json:"r,omitempty"` // the upstream has asked to start again once already
	Fresh   bool      `json:"p,omitempty"` // the upstream was asked for a new proof of who it is
	Link    *linking  `json:"l,omitempty"` // who wants it linked; nil for a login
	Expires time.Time `json:"e"`

	unasked bool // there was none: the upstream has sent somebody who did not ask
}

// begin sends the browser to the provider. flowID names the paused flow that wants the answer, "" for a login.
func (s *Service) begin(w http.ResponseWriter, r *http.Request, t *Target, p *gate.Provider, flowID string) {
	t.via = p.Title()
	state := rand.Text()
	request := t.Wishes
	request.RedirectURI = s.callbackURL(p)
	request.State = state
	if t.fresh {
		request.Prompt = []string{"login"}
	}
	redirect, err := p.IdP.Begin(r.Context(), request)
	web.RecordOf(r.Context()).Note("provider", p.Alias)
	if err != nil {
		s.upstreamFailed(w, r, t, p, flowID, err)
		return
	}
	sealed, err := s.sealPending(p.Alias, state, pending{
		Start:   t.Start,
		Data:    redirect.Data,
		Flow:    flowID,
		Retried: t.retried,
		Fresh:   t.fresh,
		Link:    t.linking,
		Expires: s.Now().Add(pendingLifetime),
	})
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	if !s.Cookies.Fits(pendingCookie+state, sealed) {
		s.Fail(w, r, t, &Problem{Status: http.StatusRequestURITooLong, Message: "too_large"})
		return
	}
	s.Cookies.Trim(w, r, pendingCookie, maxPending-1, maxPendingSize-len(sealed))
	s.Cookies.Set(w, pendingCookie+state, sealed, pendingKept, redirect.PostBack)
	if redirect.Form != nil {
		s.Render(w, r, t, web.Page{Name: "post", Status: http.StatusOK, Data: web.PostData{URL: redirect.URL, Fields: redirect.Form}})
		return
	}
	if t.ByEmail || flowID != "" || t.linking != nil { // the browser is here by a form
		s.leaveByPage(w, r, t, redirect.URL)
		return
	}
	s.leave(w, r, redirect.URL)
}

func (s *Service) sealPending(alias, state string, wait pending) (string, error) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false) // which makes six bytes of each "&"
	if err := e.Encode(wait); err != nil {
		return "", err
	}
	return s.Sealer.Seal(pendingPurpose, pendingContext(alias, state), plain.Bytes()), nil
}

// claim returns the pending login that the state belongs to in this browser and for this provider, once: the browser is
// told to forget it.
func (s *Service) claim(w http.ResponseWriter, r *http.Request, alias, state string) (*pending, error) {
	sealed := s.Cookies.Get(r, pendingCookie+state)
	if sealed == "" {
		return nil, s.noCookie(r)
	}
	s.Cookies.Clear(w, pendingCookie+state)
	plain, err := s.Sealer.Open(pendingPurpose, pendingContext(alias, state), sealed)
	if err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Message: "no_cookie", Err: err}
	}
	var wait pending
	if err := json.Unmarshal(plain, &wait); err != nil {
		return nil, err
	}
	return &wait, nil
}

// noCookie tells whoever develops over http, where no cookie can be had along with another site's form, why a login by one
// ends. Browsers say where a form comes from.
func (s *Service) noCookie(r *http.Request) *Problem {
	if r.Method == http.MethodPost && !s.Cookies.Secure && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return &Problem{Status: http.StatusBadRequest, Message: "needs_https",
			Err: errors.New("the answer is a form of another site, and BaseURL is http: browsers bring no cookie along")}
	}
	return &Problem{Status: http.StatusBadRequest, Message: "no_cookie"}
}

func (s *Service) callbackURL(p *gate.Provider) string {
	return s.url("/broker/" + url.PathEscape(p.Alias) + "/endpoint")
}

// pendingContext binds a sealed login to its state and provider; neither contains the separator.
func pendingContext(alias, state string) string { return alias + " " + state }
