package logout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

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
	URL    string
	Form   url.Values
	Data   []byte // the provider's own
	Target Target // what follows then
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
	redirect, err := s.begin(r.Context(), starter, provider.LogoutRequest{
		IDToken:     string(ended.UpstreamIDToken), // however old
		Subject:     ended.Upstream.Subject,
		Session:     ended.UpstreamSession,
		RedirectURI: s.tripURL(p.Alias, "/logout_response"),
		State:       state,
	})
	if redirect == nil && err == nil {
		return nil
	}
	if err == nil {
		err = s.keep(w, r, p.Alias, state, redirect, t)
	}
	if err != nil {
		s.Log.WarnContext(r.Context(), "no sign-out at the upstream", "provider", p.Alias, "error", err)
		return nil
	}
	return &way{url: s.tripURL(p.Alias, "/logout?state="+state), name: p.Title(), mode: p.Logout}
}

func (s *Service) begin(ctx context.Context, starter provider.LogoutStarter,
	request provider.LogoutRequest) (*provider.Redirect, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	return starter.BeginLogout(ctx, request)
}

func (s *Service) keep(w http.ResponseWriter, r *http.Request, alias, state string, redirect *provider.Redirect, t Target) error {
	plain, err := json.Marshal(trip{URL: redirect.URL, Form: redirect.Form, Data: redirect.Data, Target: t})
	if err != nil {
		return err
	}
	handle, _ := token.NewHandle(tripPurpose)
	key := tripKey(alias, state, handle)
	if err := s.Store.Put(r.Context(), tripPurpose, key, plain, s.Now().Add(tripLifetime)); err != nil {
		return err
	}
	s.Cookies.Trim(w, r, tripCookie, 0, 0)
	s.Cookies.Set(w, tripCookie+state, handle, tripLifetime, redirect.PostBack)
	return nil
}

// StartUpstream handles GET /broker/{alias}/logout: the visitor wants to sign out there as well.
func (s *Service) StartUpstream(w http.ResponseWriter, r *http.Request) {
	kept, _, err := s.kept(r, r.URL.Query()["state"], s.Store.Get)
	if err == nil {
		_, err = s.Gate.Enabled(r.PathValue("alias"))
	}
	if err != nil {
		s.Login.Fail(w, r, nil, err)
		return
	}
	s.Login.Send(w, r, &login.Target{Locales: kept.Target.Locales}, login.Answer{URL: kept.URL, Form: kept.Form})
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
