package broker

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/logout"
	"github.com/go-idbroker/idbroker/broker/internal/op"
	"github.com/go-idbroker/idbroker/broker/internal/session"
)

// SignOut ends every session of a user at once, wherever the browsers are, with all that was granted in them, and tells the
// applications that want to be told. Grants that outlive sessions stay. It returns once all sessions have ended and each
// application was tried to be told, for two seconds at most; [Broker.Run] tries again. A user without sessions is no error.
func (b *Broker) SignOut(ctx context.Context, userID string) error {
	return b.logouts.EndAll(ctx, "signed out by the host", userID)
}

// maxLogoutURL bounds a logout request, whose id_token_hint may be long.
const maxLogoutURL = 16 << 10

// logout serves /logout: for the host application, for people, and for applications that ask to end a session (OpenID
// Connect RP-Initiated Logout 1.0 §2).
func (b *Broker) logout(p *op.Provider, sameSite func(http.HandlerFunc) http.Handler) map[string]http.Handler {
	return map[string]http.Handler{
		"GET": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.askToLogout(w, r, p) }),
		"POST": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
				return
			}
			if op.AsksToEndSession(r.PostForm) && !r.PostForm.Has(logout.ParamConfirm) {
				b.logoutByGet(w, r)
				return
			}
			sameSite(func(w http.ResponseWriter, r *http.Request) { b.confirmedLogout(w, r, p) }).ServeHTTP(w, r)
		}),
	}
}

// askToLogout handles GET: a link may not sign anybody out, unless an application speaks for the visitor.
func (b *Broker) askToLogout(w http.ResponseWriter, r *http.Request, p *op.Provider) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	if op.AsksToEndSession(params) {
		p.EndSession(w, r, params, false)
		return
	}
	where, err := b.returnTo(params)
	if err != nil {
		b.login.Fail(w, r, nil, err)
		return
	}
	t := logout.Target{ReturnTo: where, Locales: params.Get("ui_locales")}
	switch _, err := b.sessions.Held(r); {
	case errors.Is(err, session.ErrNone):
		b.logouts.SignOut(w, r, nil, t)
	case err != nil:
		b.login.Fail(w, r, nil, err)
	default:
		b.logouts.Ask(w, r, t)
	}
}

// logoutByGet makes a GET of an application's POST: browsers do not send the session's cookie along with the POST of
// another site, and whoever is not known cannot be signed out.
func (b *Broker) logoutByGet(w http.ResponseWriter, r *http.Request) {
	query := r.PostForm.Encode()
	if len(query) > maxLogoutURL {
		b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusRequestEntityTooLarge, Message: "too_large"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, b.base.String()+"/logout?"+query, http.StatusSeeOther) //nolint:gosec // to the broker itself
}

// confirmedLogout handles a POST of our own pages or of the host's. Parameter: return_to, where the signed-out page leads.
func (b *Broker) confirmedLogout(w http.ResponseWriter, r *http.Request, p *op.Provider) {
	if op.AsksToEndSession(r.PostForm) {
		p.EndSession(w, r, r.PostForm, true)
		return
	}
	where, err := b.returnTo(r.PostForm)
	if err != nil {
		b.login.Fail(w, r, nil, err)
		return
	}
	held, err := b.sessions.Held(r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		b.login.Fail(w, r, nil, err)
		return
	}
	b.logouts.SignOut(w, r, held, logout.Target{ReturnTo: where, Locales: r.PostForm.Get("ui_locales")})
}
