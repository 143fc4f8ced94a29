package op

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
)

// An introspection is what there is to know about a token (RFC 7662 §2.2). All that is known of one that is not active, or
// that the client has no business with, is that it is not active.
type introspection map[string]any

// Introspect handles POST /introspect, for clients that prove who they are.
func (p *Provider) Introspect(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	client, form, err := p.tokenQuery(w, r)
	if err == nil && client.AuthMethod == store.AuthNone {
		err = invalidClient(errors.New("a public client may not introspect tokens"))
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	answer, err := p.introspect(r.Context(), client, form.Get("token"))
	if err != nil {
		p.fail(w, r, err)
		return
	}
	answer["active"] = len(answer) > 0
	writeJSON(w, http.StatusOK, answer)
}

// tokenQuery reads a request of a client about a token. The token_type_hint is not needed (RFC 7662 §2.1, RFC 7009 §2.1).
func (p *Provider) tokenQuery(w http.ResponseWriter, r *http.Request) (*store.Client, url.Values, error) {
	form, err := tokenForm(w, r)
	if err != nil {
		return nil, nil, err
	}
	client, err := p.authenticate(r, form)
	if err != nil {
		return nil, nil, err
	}
	web.RecordOf(r.Context()).Note("client", client.ID)
	if form.Get("token") == "" {
		return nil, nil, badRequest("invalid_request", "token is missing")
	}
	return client, form, nil
}

// introspect returns nothing about a token that is not active for the client.
func (p *Provider) introspect(ctx context.Context, client *store.Client, raw string) (introspection, error) {
	if isJWT(raw) {
		return p.introspectAccess(ctx, client, raw)
	}
	return p.introspectRefresh(ctx, client, raw)
}

// isJWT tells our access tokens from our refresh tokens by their dots.
func isJWT(raw string) bool { return strings.Count(raw, ".") > 1 }

// introspectAccess tells the APIs that a token is for, and the client that has it, what it says.
func (p *Provider) introspectAccess(ctx context.Context, client *store.Client, raw string) (introspection, error) {
	t, err := p.readAccess(ctx, raw, "")
	if errors.Is(err, errToken) {
		return inactive(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	if t.ClientID != client.ID && !slices.Contains(t.Audience, client.ID) {
		return inactive(ctx, errors.New("the token is another client's, and not for this one"))
	}
	answer := introspection{}
	if err := json.Unmarshal(t.Payload, &answer); err != nil {
		return nil, err
	}
	answer["token_type"] = "Bearer"
	if jkt, err := t.JKT(); err == nil && jkt != "" {
		answer["token_type"] = "DPoP" // RFC 9449 §6.2
	}
	return answer, nil
}

// introspectRefresh tells the client whose refresh token it is. It makes nothing of one that was used before: that is for
// the token endpoint, where somebody tries to use it.
func (p *Provider) introspectRefresh(ctx context.Context, client *store.Client, raw string) (introspection, error) {
	g, state, err := p.grantOfRefresh(ctx, raw)
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		return inactive(ctx, refusal)
	}
	if err != nil {
		return nil, err
	}
	if state != refreshGood || g.ClientID != client.ID || p.Gate.Grant(client, store.GrantTypeRefresh) != nil {
		return inactive(ctx, errors.New("the refresh token was used, or is another client's"))
	}
	active, err := p.grantAlive(ctx, g)
	if errors.Is(err, errDead) {
		return inactive(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	return introspection{
		"iss": p.issuer(), "client_id": g.ClientID, "sub": active.User.ID, "scope": strings.Join(g.Scope, " "),
		"iat": g.CreatedAt.Unix(), "exp": g.ExpiresAt.Unix(),
	}, nil
}

// inactive keeps the reason for the log.
func inactive(ctx context.Context, why error) (introspection, error) {
	web.RecordOf(ctx).Err = why
	return introspection{}, nil
}
