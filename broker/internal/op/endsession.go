package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/logout"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// endSessionParams tell a sign-out that an application asks for from one of the host's.
var endSessionParams = []string{"id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "state"}

// AsksToEndSession reports whether an application has made the request (OpenID Connect RP-Initiated Logout 1.0 §2).
func AsksToEndSession(params url.Values) bool {
	return slices.ContainsFunc(endSessionParams, params.Has)
}

// An endSession is a logout request that was checked.
type endSession struct {
	target logout.Target
	hint   *token.Claims // of id_token_hint; nil if there is none that can be verified
}

// EndSession handles a logout request of an application. confirmed says that the visitor has agreed, on a page of ours.
// Otherwise an ID token of this very session speaks for the visitor; what else there may be, a link could have.
func (p *Provider) EndSession(w http.ResponseWriter, r *http.Request, params url.Values, confirmed bool) {
	req, err := p.endSession(r.Context(), params)
	if err != nil {
		p.Login.Fail(w, r, nil, err)
		return
	}
	web.RecordOf(r.Context()).Note("client", req.target.ClientID)
	held, err := p.Sessions.Held(r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		p.Login.Fail(w, r, nil, err)
		return
	}
	if held == nil || confirmed || req.names(held) {
		p.Logout.SignOut(w, r, held, req.target)
		return
	}
	p.Logout.Ask(w, r, req.target)
}

// endSession checks the request. An application that it names must be one, and an address must be registered for it.
func (p *Provider) endSession(ctx context.Context, params url.Values) (*endSession, error) {
	bad := func(why string) error {
		return &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errors.New(why)}
	}
	if repeated(params) {
		return nil, bad(errRepeated.Error())
	}
	req := &endSession{target: logout.Target{
		ClientID: params.Get("client_id"), URI: params.Get("post_logout_redirect_uri"), State: params.Get("state"),
		Locales: params.Get("ui_locales"),
	}}
	var err error
	if req.hint, err = p.logoutHint(ctx, params.Get("id_token_hint")); err != nil {
		return nil, err
	}
	switch {
	case req.hint == nil:
	case req.target.ClientID == "" && len(req.hint.Audience) == 1:
		req.target.ClientID = req.hint.Audience[0]
	case !slices.Contains(req.hint.Audience, req.target.ClientID):
		return nil, bad("id_token_hint is not for client_id")
	}
	if req.target.ClientID == "" {
		if req.target.URI != "" {
			return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_logout_uri", Err: errors.New("no client is known")}
		}
		return req, nil
	}
	client, err := p.Gate.Client(ctx, req.target.ClientID)
	if err != nil {
		return nil, err
	}
	if req.target.URI != "" && !logout.Registered(client, req.target.URI) {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_logout_uri"}
	}
	return req, nil
}

// logoutHint reads an ID token of ours, however old and for whichever client. One that cannot be verified, perhaps because
// its key is gone, says nothing.
func (p *Provider) logoutHint(ctx context.Context, raw string) (*token.Claims, error) {
	if raw == "" {
		return nil, nil
	}
	parser := token.Parser{
		Type: token.IDToken, Issuer: p.issuer(), Keys: p.Keys, Now: p.Now, SkipExpiry: true, SkipAudience: true,
	}
	claims, err := parser.Parse(ctx, raw)
	if errors.Is(err, token.ErrInvalid) {
		web.RecordOf(ctx).Note("id_token_hint", err.Error())
		return nil, nil
	}
	return claims, err
}

// names reports whether the hint is an ID token of the session.
func (req *endSession) names(held *store.Session) bool {
	var claims struct {
		Session string `json:"sid"`
	}
	return req.hint != nil && req.hint.Decode(&claims) == nil && claims.Session == held.ID
}
