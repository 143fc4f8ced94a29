package logout

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// ParamConfirm is the field of the form with which a visitor says yes.
const ParamConfirm = "confirm"

// A Target is what follows a sign-out: a page of the host application, or an application that asked for it.
type Target struct {
	ReturnTo string // absolute, and checked by the caller; the host application's
	ClientID string // of the application that asked; "" if none did
	URI      string // post_logout_redirect_uri, "" if it gave none
	State    string
	Locales  string // ui_locales of the request
}

// A place is where the browser can go on to.
type place struct {
	application string // its name
	url         string // "" if there is none
	leads       bool   // the application wants the browser to go there by itself
}

// place looks again whether the application may be used and has registered the address, so that nothing which was switched
// off while the browser was away leads on.
func (s *Service) place(ctx context.Context, t Target) place {
	if t.ClientID == "" {
		return place{url: cmp.Or(t.ReturnTo, s.Home)}
	}
	client, err := s.Gate.Client(ctx, t.ClientID)
	if err != nil {
		return place{}
	}
	p := place{application: client.Name, url: client.HomeURL}
	if p.application == "" {
		p.application = client.ID
	}
	if Registered(client, t.URI) {
		p.url, p.leads = t.URI, true
		if t.State != "" {
			p.url = withQuery(t.URI, url.Values{"state": {t.State}})
		}
	}
	return p
}

// Registered reports whether a sign-out may lead to uri (RP-Initiated Logout §3: compared as strings).
func Registered(c *store.Client, uri string) bool {
	return uri != "" && slices.Contains(c.PostLogoutRedirectURIs, uri)
}

// Ask shows the page that asks whether to sign out.
func (s *Service) Ask(w http.ResponseWriter, r *http.Request, t Target) {
	hidden := url.Values{ParamConfirm: {"1"}}
	for name, value := range map[string]string{
		"return_to": t.ReturnTo, "client_id": t.ClientID, "post_logout_redirect_uri": t.URI, "state": t.State, "ui_locales": t.Locales,
	} {
		if value != "" {
			hidden.Set(name, value)
		}
	}
	back := t
	back.URI = "" // there the application would take it for a sign-out
	to := s.place(r.Context(), back)
	data := web.LogoutData{Action: s.Base.String() + "/logout", Hidden: hidden, Back: to.url, Application: to.application}
	s.render(w, r, t, web.Page{Name: "logout", Data: data})
}

// SignOut ends the session, which may be nil, makes the browser forget it, and sends it on.
func (s *Service) SignOut(w http.ResponseWriter, r *http.Request, held *store.Session, t Target) {
	var frames []string
	var up *way
	if held != nil {
		var err error
		if frames, err = s.End(r.Context(), "signed out", held.ID); err != nil {
			s.Login.Fail(w, r, nil, err)
			return
		}
		up = s.prepare(w, r, held, t)
	}
	s.Sessions.Forget(w)
	s.Login.Forget(w, r)
	s.leave(w, r, t, frames, up)
}

// leave shows that the visitor is signed out, or sends the browser on where nobody has to look.
func (s *Service) leave(w http.ResponseWriter, r *http.Request, t Target, frames []string, up *way) {
	to := s.place(r.Context(), t)
	data := web.SignedOutData{Back: to.url, Application: to.application, Frames: frames}
	switch {
	case up != nil && up.mode == provider.LogoutPerform:
		data.Onward = up.url
	case up != nil:
		data.Upstream, data.Unconfirmed = &web.Link{Text: up.name, URL: up.url}, up.doubtful
	case to.leads:
		data.Onward = to.url
	}
	if data.Onward != "" && len(frames) == 0 {
		s.Login.Send(w, r, &login.Target{Locales: t.Locales}, login.Answer{URL: data.Onward})
		return
	}
	if t.ClientID == "" { // otherwise signing in begins at the application
		data.Login = s.Base.String() + "/login?" + url.Values{"return_to": {t.ReturnTo}}.Encode()
	}
	s.render(w, r, t, web.Page{Name: "signedout", Data: data})
}

func (s *Service) render(w http.ResponseWriter, r *http.Request, t Target, page web.Page) {
	page.Status, page.Locales, page.RequestID = http.StatusOK, t.Locales, web.RecordOf(r.Context()).ID
	s.Pages.Render(w, r, page)
}
