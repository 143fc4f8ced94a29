package logout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	tripCookie   = "logout-" // followed by the state
	tripPurpose  = "logout"
	tripLifetime = 10 * time.Minute
	// upstreamPatience is for a provider that has to be discovered first.
	upstreamPatience = 2 * time.Second
)

// A trip is a browser's way to the upstream and back. It is kept in the store under a handle that only this browser
// has, and taken from there when the browser is back.
type trip struct {
	Request provider.LogoutRequest
	URL     string
	Form    url.Values
	Data    []byte // the provider's own
	Begun   bool   // the browser was sent there
	Target  Target // what follows then
}

// A way leads the browser to the upstream.
type way struct {
	url  string // of ours, where the trip begins
	name string // of the provider
	mode provider.LogoutMode
	// doubtful says that the browser was there, and that nobody knows whether it is signed out.
	doubtful bool
}

// prepare returns the way to the upstream's own sign-out, nil if there is none. Whatever fails here leaves that out: the
// session here has ended already.
func (s *Service) prepare(w http.ResponseWriter, r *http.Request, ended *store.Session, t Target) *way {
	p, err := s.Gate.Enabled(ended.Upstream.Provider)
	if err != nil || p.Logout == provider.LogoutNone {
		return nil
	}
	starter, ok := p.IdP.(provider.LogoutStarter)
	if !ok {
		return nil
	}
	state := rand.Text()
	kept := &trip{Target: t, Request: provider.LogoutRequest{
		IDToken:     string(ended.UpstreamIDToken), // however old
		Subject:     ended.Upstream.Subject,
		Session:     ended.UpstreamSession,
		RedirectURI: s.tripURL(p.Alias, "/logout_response"),
		State:       state,
	}}
	redirect, err := s.begin(r.Context(), starter, kept)
	if redirect == nil && err == nil {
		return nil
	}
	if err == nil {
		handle, _ := token.NewHandle(tripPurpose)
		if err = s.keep(r.Context(), tripKey(p.Alias, state, handle), kept); err == nil {
			s.Cookies.Trim(w, r, tripCookie, 0, 0)
			s.Cookies.Set(w, tripCookie+state, handle, tripLifetime, redirect.PostBack)
		}
	}
	if err != nil {
		s.Log.WarnContext(r.Context(), "no sign-out at the upstream", "provider", p.Alias, "error", err)
		return nil
	}
	return &way{url: s.tripURL(p.Alias, "/logout?state="+state), name: p.Title(), mode: p.Logout}
}

// begin has the provider say where to, and notes it; nil if there is nowhere to go.
func (s *Service) begin(ctx context.Context, starter provider.LogoutStarter, kept *trip) (*provider.Redirect, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	redirect, err := starter.BeginLogout(ctx, kept.Request)
	if redirect != nil && err == nil {
		kept.URL, kept.Form, kept.Data = redirect.URL, redirect.Form, redirect.Data
	}
	return redirect, err
}

func (s *Service) keep(ctx context.Context, key string, kept *trip) error {
	plain, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return s.Store.Put(ctx, tripPurpose, key, plain, s.Now().Add(tripLifetime))
}

// StartUpstream handles GET /broker/{alias}/logout: the visitor wants to sign out there as well.
func (s *Service) StartUpstream(w http.ResponseWriter, r *http.Request) {
	kept, state, err := s.kept(r, r.URL.Query()["state"], s.Store.Get)
	var p *gate.Provider
	if err == nil {
		p, err = s.Gate.Enabled(r.PathValue("alias"))
	}
	if err == nil {
		err = s.depart(r, p, state, kept)
	}
	if err != nil {
		s.Login.Fail(w, r, nil, err)
		return
	}
	s.Login.Send(w, r, &login.Target{Locales: kept.Target.Locales}, login.Answer{URL: kept.URL, Form: kept.Form})
}

// depart notes that the browser leaves for the upstream. Whoever tries again, because of an answer that was in doubt, or after going
// back, brings another message: upstreams refuse one that they have had before.
func (s *Service) depart(r *http.Request, p *gate.Provider, state string, kept *trip) error {
	if starter, ok := p.IdP.(provider.LogoutStarter); ok && kept.Begun {
		if _, err := s.begin(r.Context(), starter, kept); err != nil {
			return err
		}
	}
	kept.Begun = true
	return s.keep(r.Context(), tripKey(p.Alias, state, s.Cookies.Get(r, tripCookie+state)), kept)
}

// Returned handles GET /broker/{alias}/logout_response: the browser is back from there. What came of it is the upstream's
// business; the sign-out here goes on to its end.
func (s *Service) Returned(w http.ResponseWriter, r *http.Request) {
	kept, state, err := s.kept(r, r.URL.Query()["state"], s.Store.Take)
	if err != nil {
		s.Login.Fail(w, r, nil, err)
		return
	}
	s.Cookies.Clear(w, tripCookie+state)
	s.leave(w, r, kept.Target, nil, nil)
}

// kept reads the trip that the one state belongs to in this browser and for this provider, with read, which is the store's
// Get or Take.
func (s *Service) kept(r *http.Request, states []string,
	read func(ctx context.Context, purpose, key string) ([]byte, error)) (kept *trip, state string, err error) {
	alias := r.PathValue("alias")
	web.RecordOf(r.Context()).Note("provider", alias)
	unknown := &login.Problem{Status: http.StatusBadRequest, Message: "logout_state"}
	if len(states) != 1 {
		return nil, "", unknown
	}
	handle := s.Cookies.Get(r, tripCookie+states[0])
	if handle == "" {
		return nil, "", unknown
	}
	key := tripKey(alias, states[0], handle)
	plain, err := read(r.Context(), tripPurpose, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", unknown
	}
	if err != nil {
		return nil, "", err
	}
	kept = &trip{}
	if err := json.Unmarshal(plain, kept); err != nil {
		return nil, "", unknown
	}
	return kept, states[0], nil
}

func (s *Service) tripURL(alias, rest string) string {
	return s.Base.String() + "/broker/" + url.PathEscape(alias) + rest
}

// tripKey names a trip by what only its browser has, and by what it is for: asked for anything else, it stays where it is.
func tripKey(alias, state, handle string) string {
	return token.HashHandle(tripPurpose, alias+" "+state+" "+handle)
}
