package login

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/provider"
)

// ParamClient is the parameter of /login that names the application to lead to.
const ParamClient = "application"

// unsolicited takes an answer that no login of this browser waits for, if the provider lets its upstream send those
// (provider.Unsolicited), and reports whether it has taken it. The login that it begins passes all that others pass:
// the state of the provider, its flows, the commit.
func (s *Service) unsolicited(w http.ResponseWriter, r *http.Request, p *gate.Provider, params url.Values) bool {
	idp, ok := p.IdP.(provider.Unsolicited)
	if !ok || params.Has("state") || !params.Has("SAMLResponse") && !params.Has("SAMLart") {
		return false
	}
	identity, target, err := idp.FinishUnsolicited(r.Context(), provider.Callback{
		URL: s.callbackURL(p) + query(r), Params: params, KeepTokens: p.StoreTokens != provider.TokensDropped,
	})
	if err == nil && identity.Once == nil {
		err = &provider.Error{Kind: provider.Invalid, Err: errors.New("an answer that nobody asked for, and that could be used again")}
	}
	if err == nil {
		err = s.once(r.Context(), p.Alias, identity)
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return true
	}
	s.Vault.Bound(r.Context(), p, identity)
	start := url.Values{"return_to": {target}}
	if client, ok := strings.CutPrefix(target, provider.ToClient); ok {
		start = url.Values{ParamClient: {client}}
	}
	t, err := s.Resolve(r.Context(), "/login?"+start.Encode())
	if err != nil {
		s.Fail(w, r, nil, err)
		return true
	}
	t.via = p.Title()
	s.vouched(w, r, t, p, identity, &pending{Expires: s.Now().Add(pendingLifetime), unasked: true}, rand.Text())
	return true
}

// failUnasked has the visitor sign in with the provider from here, where a first login that nobody asked for here would wait. Whoever has
// an account there can begin one in somebody else's browser, which then would be the one that waits: its owner would need no number to
// confirm a mailed link, and could be had to give the password, and so prove that the stranger is they.
func (s *Service) failUnasked(w http.ResponseWriter, r *http.Request, j *journey) {
	j.target.again = s.again(r, j.target, j.provider, "")
	s.Fail(w, r, j.target, &provider.Error{
		Kind: provider.LoginRequired, Err: errors.New("a first login that was not begun here waits for an answer"),
	})
}
