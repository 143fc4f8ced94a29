package broker

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
)

// hostLink handles GET /link: the host application wants its user to link one more provider. Parameters: provider, its alias,
// return_to and ui_locales. The browser comes back to return_to with the parameter link_status: "success", "cancelled" or
// "error". Who is not signed in signs in first; who has not done so just now does so again, and then is asked.
func (b *Broker) hostLink(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("request") {
		b.login.ShowLink(w, r)
		return
	}
	t, err := b.linkTarget(r.URL.RawQuery)
	if err == nil {
		_, err = b.login.Linkable(t.Link, t)
	}
	if err != nil {
		b.login.Fail(w, r, nil, err)
		return
	}
	active, err := b.sessions.Current(r)
	switch {
	case err == nil:
		b.login.Conclude(w, r, t, active.Session)
	case !errors.Is(err, session.ErrNone):
		b.login.Fail(w, r, t, err)
	default:
		b.login.Choose(w, r, t)
	}
}

// linkTarget makes a login target of the parameters of /link.
func (b *Broker) linkTarget(rawQuery string) (*login.Target, error) {
	if len(rawQuery) > maxQuery {
		return nil, &login.Problem{Status: http.StatusRequestURITooLong, Message: "too_large"}
	}
	params, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
	}
	where, err := b.returnTo(params)
	if err != nil {
		return nil, err
	}
	t := &login.Target{
		Start: "/link?" + params.Encode(), Back: where, Locales: params.Get("ui_locales"), Link: params.Get("provider"),
	}
	t.Grant = func(_ context.Context, s *store.Session) (*store.Grant, login.Answer, error) {
		status := b.login.LinkStatus(params.Get(login.ParamLinked), s)
		if status == "" {
			answer, err := b.login.AskToLink(t, s)
			return nil, answer, err
		}
		u, err := url.Parse(where)
		if err != nil {
			return nil, login.Answer{}, err
		}
		query := u.Query()
		query.Set("link_status", status)
		u.RawQuery = query.Encode()
		return nil, login.Answer{URL: u.String()}, nil
	}
	t.ReadHints(params)
	return t, nil
}
