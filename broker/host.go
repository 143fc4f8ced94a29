package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

type activeKey struct{}

// Sessions tells the handlers behind it who is signed in, if somebody is: see [UserFrom] and [SessionFrom]. It stops
// nobody. A store that fails is answered with status 503.
func (b *Broker) Sessions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active, err := b.sessions.Current(r)
		switch {
		case err == nil:
			r = r.WithContext(context.WithValue(r.Context(), activeKey{}, active))
		case !errors.Is(err, session.ErrNone):
			b.log.ErrorContext(r.Context(), "read session", "error", err)
			http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// RequireLogin lets only requests with a session through, with what [Broker.Sessions] tells. A browser that opens a page
// without one is sent to the login and comes back to that page; every other request is answered with status 401.
func (b *Broker) RequireLogin(next http.Handler) http.Handler {
	return b.Sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := UserFrom(r.Context()); ok {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if !opensPage(r) {
			http.Error(w, "not signed in", http.StatusUnauthorized)
			return
		}
		to := url.Values{"return_to": {originalPath(r)}}
		http.Redirect(w, r, b.base.String()+"/login?"+to.Encode(), http.StatusSeeOther)
	}))
}

// opensPage reports whether the browser wants to show the answer, rather than a script or an API client to read it.
func opensPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// originalPath is the path and query that the browser asked for, whatever the host's router has stripped of it since.
func originalPath(r *http.Request) string {
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil && u.Host == "" {
		return u.RequestURI()
	}
	return r.URL.RequestURI()
}

// UserFrom returns the user who is signed in, behind [Broker.Sessions] or [Broker.RequireLogin]. The value belongs to the
// request; changing it changes nothing else.
func UserFrom(ctx context.Context) (*store.User, bool) {
	active, ok := ctx.Value(activeKey{}).(*session.Active)
	if !ok {
		return nil, false
	}
	return active.User, true
}

// SessionFrom returns the session that [UserFrom]'s user is signed in with: which provider vouched, and when.
func SessionFrom(ctx context.Context) (*store.Session, bool) {
	active, ok := ctx.Value(activeKey{}).(*session.Active)
	if !ok {
		return nil, false
	}
	return active.Session, true
}

// hostLogin handles GET and POST /login: the host application, or a person, wants a session. Parameters: return_to or
// application, idp_hint, login_hint, ui_locales and prompt.
func (b *Broker) hostLogin(w http.ResponseWriter, r *http.Request) {
	query := r.URL.RawQuery
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
			return
		}
		login.ReadForm(r.PostForm)
		query = r.PostForm.Encode()
	}
	t, err := b.hostTarget(r.Context(), query)
	if err != nil {
		b.login.Fail(w, r, nil, err)
		return
	}
	active, err := b.sessions.Current(r)
	switch {
	case err == nil && len(t.Wishes.Prompt) == 0:
		b.login.Conclude(w, r, t, active.Session)
	case err != nil && !errors.Is(err, session.ErrNone):
		b.login.Fail(w, r, t, err)
	default:
		b.login.Choose(w, r, t)
	}
}

const (
	maxForm = 64 << 10
	// maxQuery bounds the parameters of /login, which the page repeats once for each provider.
	maxQuery = 8 << 10
)

// hostTarget makes a login target of the parameters of /login.
func (b *Broker) hostTarget(ctx context.Context, rawQuery string) (*login.Target, error) {
	if len(rawQuery) > maxQuery {
		return nil, &login.Problem{Status: http.StatusRequestURITooLong, Message: "too_large"}
	}
	params, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
	}
	where, client, err := b.leadsTo(ctx, params)
	if err != nil {
		return nil, err
	}
	t := &login.Target{
		Start:   "/login?" + params.Encode(),
		Back:    b.home,
		Locales: params.Get("ui_locales"),
		Wishes: provider.Request{
			LoginHint: params.Get("login_hint"),
			UILocales: strings.Fields(params.Get("ui_locales")),
		},
		Grant: func(context.Context, *store.Session) (*store.Grant, login.Answer, error) {
			return nil, login.Answer{URL: where}, nil
		},
	}
	if client != nil {
		t.Application, t.Back, t.Providers = cmp.Or(client.Name, client.ID), where, client.Providers
	}
	if user := params.Get(login.ParamAgain); user != "" {
		t.Again(user)
		return t, nil
	}
	switch params.Get("prompt") {
	case "":
	case "login":
		t.Wishes.Prompt = []string{"login"}
	case "select_account":
		t.Wishes.Prompt, t.Choose = []string{"select_account"}, true
	default:
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("unknown prompt")}
	}
	t.ReadHints(params)
	return t, nil
}

// leadsTo returns where a login of nobody's request leads: to a page of the host's, or to the home page of the client that
// application names, which then asks for a login of its own and finds a session.
func (b *Broker) leadsTo(ctx context.Context, params url.Values) (string, *store.Client, error) {
	if !params.Has(login.ParamClient) {
		where, err := b.returnTo(params)
		return where, nil, err
	}
	client, err := b.gate.Client(ctx, params.Get(login.ParamClient))
	if err != nil {
		return "", nil, err
	}
	home, err := url.Parse(client.HomeURL)
	if params.Has("return_to") || err != nil || home.Host == "" || home.Scheme != "https" && home.Scheme != "http" {
		err := fmt.Errorf("client %q has no HomeURL to lead to, or return_to stands beside it", client.ID)
		return "", nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
	}
	return client.HomeURL, client, nil
}

// returnTo returns the URL that return_to names, which must be on BaseURL's site.
func (b *Broker) returnTo(params url.Values) (string, error) {
	target := params.Get("return_to")
	if target == "" {
		return b.home, nil
	}
	local, ok := web.LocalPath(b.base, target)
	if !ok {
		return "", &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New("return_to is not on this site")}
	}
	return b.base.Scheme + "://" + b.base.Host + local, nil
}
