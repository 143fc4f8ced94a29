package op

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/store"
)

// An application asks by a parameter of the authentication request that its user links a provider, as at Keycloak; what became of
// that, "success", "cancelled" or "error", is in the parameter kc_action_status of the answer, beside the code.
const (
	paramAction = "kc_action"
	linkAction  = "idp_link:"
	linkWithin  = 30 * time.Minute // for which a pushed request is kept
)

// linkWanted returns the alias of the provider that the application wants linked, "" for none. One that nobody knows, and every
// other action, is ignored.
func (p *Provider) linkWanted(params url.Values) string {
	alias, ok := strings.CutPrefix(params.Get(paramAction), linkAction)
	if !ok {
		return ""
	}
	if _, err := p.Gate.Provider(alias); err != nil {
		return ""
	}
	return alias
}

// linkFirst returns the answer that asks the user to link what the application wants linked, nil if there is nothing to ask.
func (p *Provider) linkFirst(ctx context.Context, req *authRequest, s *store.Session) (*login.Answer, error) {
	if req.link == "" {
		return nil, nil
	}
	if req.status = p.Login.LinkStatus(req.linked, s); req.status != "" {
		return nil, nil
	}
	t := p.target(req)
	if _, err := p.Login.Linkable(req.link, t); err != nil || len(s.TransientUser) > 0 {
		req.status = login.LinkError
		return nil, nil
	}
	if slices.Contains(req.prompt, "none") {
		refusal := req.failure(p.issuer(), "interaction_required", "linking asks the user")
		return &refusal, nil
	}
	if err := p.prolong(ctx, req.pushed, p.Now().Add(linkWithin)); err != nil {
		return nil, err
	}
	answer, err := p.Login.AskToLink(t, s)
	return &answer, err
}

func orNone(a *login.Answer) login.Answer {
	if a == nil {
		return login.Answer{}
	}
	return *a
}
