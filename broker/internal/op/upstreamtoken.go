package op

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// An upstreamToken is what a provider has issued for itself: never its refresh token, nor who the user is there.
type upstreamToken struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"` // RFC 8693 §3
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in,omitempty"` // seconds; left out if the provider did not say
	Scope           string `json:"scope,omitempty"`
}

// UpstreamToken handles GET /broker/{alias}/token: a client that the configuration lets do so fetches what the provider has issued
// for a user, by an access token of that user.
func (p *Provider) UpstreamToken(w http.ResponseWriter, r *http.Request) {
	const realm = "upstream token"
	noStore(w)
	access, err := p.bearer(w, r)
	if err == nil {
		err = p.mayFetch(r, access)
	}
	if err != nil {
		p.challenge(w, r, realm, err)
		return
	}
	p.tellUpstreamToken(w, r, access, func(err error) { p.challenge(w, r, realm, err) })
}

// AskUpstreamToken handles POST /broker/{alias}/token: the same for a client that proves who it is, and brings the access token in the
// form: one of its own, or one that is for it. A token that is bound to a key needs its proof here as well.
func (p *Provider) AskUpstreamToken(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	client, form, err := p.tokenQuery(w, r)
	var access *issuedToken
	switch {
	case err == nil && client.AuthMethod == store.AuthNone:
		err = invalidClient(errors.New("a public client may not ask for tokens of providers by itself"))
	case err == nil:
		access, err = p.brought(r, client, form.Get("token"))
	}
	if err == nil {
		err = p.mayAsk(r, client, access)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	p.tellUpstreamToken(w, r, access, func(err error) { p.fail(w, r, err) })
}

// brought returns an access token that a client has, or that is for it. All that is wrong with one looks alike.
func (p *Provider) brought(r *http.Request, client *store.Client, raw string) (*issuedToken, error) {
	access, err := p.readAccess(r.Context(), raw, "")
	if err == nil && access.ClientID != client.ID && !slices.Contains(access.Audience, client.ID) {
		err = errors.Join(errToken, errors.New("it is another client's, and not for this one"))
	}
	if err == nil {
		jkt, _ := access.JKT() // which checkSender looks at
		err = p.checkSender(r, raw, jkt != "", access.Claims)
	}
	if errors.Is(err, errToken) {
		err = &oauthError{http.StatusBadRequest, "invalid_token", "the access token is not valid, or not for this client", err}
	}
	return access, err
}

// tellUpstreamToken answers who may have the token.
func (p *Provider) tellUpstreamToken(w http.ResponseWriter, r *http.Request, access *issuedToken, refuse func(error)) {
	tokens, err := p.Vault.Tokens(r.Context(), access.active.User, r.PathValue("alias"), access.grant.SessionID)
	if gate.Refused(err) { // it is told no more than who may not
		refuse(&oauthError{http.StatusForbidden, "insufficient_scope", "", err})
		return
	}
	if err != nil {
		p.fail(w, r, noUpstreamToken(err))
		return
	}
	writeJSON(w, http.StatusOK, p.told(tokens))
}

// mayFetch returns an error unless the client of the access token may fetch tokens of the provider, and its user's.
func (p *Provider) mayFetch(r *http.Request, access *issuedToken) error {
	web.RecordOf(r.Context()).Note("client", access.ClientID)
	client, err := p.Gate.Client(r.Context(), access.ClientID)
	if err != nil {
		return err
	}
	allowOrigin(r.Context(), client)
	return p.mayAsk(r, client, access)
}

// mayAsk returns an error unless the client may have tokens of the provider for the user of the access token. Nobody learns which of it
// is missing, nor which providers there are.
func (p *Provider) mayAsk(r *http.Request, client *store.Client, access *issuedToken) error {
	alias := r.PathValue("alias")
	rec := web.RecordOf(r.Context())
	rec.Note("provider", alias)
	switch {
	case access.grant == nil:
		return insufficient("the access token is no user's")
	case !slices.Contains(client.ProviderTokens, alias):
		return insufficient("the client's ProviderTokens do not name the provider")
	case p.Gate.Allows(client, access.grant.Upstream.Provider) != nil:
		return insufficient("the client takes no word of the provider that vouched")
	case !slices.Contains(access.active.User.Roles, vault.RoleRead):
		return insufficient("the user lacks the role " + vault.RoleRead)
	}
	rec.Note("user", access.active.User.ID)
	return nil
}

// noUpstreamToken says why there is none, by a code and words of our own.
func noUpstreamToken(err error) error {
	for _, e := range []struct {
		is          error
		status      int
		code, words string
	}{
		{vault.ErrOff, http.StatusBadRequest, "tokens_not_stored", "the provider's tokens are not stored"},
		{vault.ErrNotLinked, http.StatusBadRequest, "not_linked", "the user is not linked to this provider"},
		{vault.ErrNone, http.StatusNotFound, "no_token", "there is no token: the user has to sign in with this provider"},
		{vault.ErrLinkAgain, http.StatusBadGateway, "link_again", "the token has ended: the user has to sign in with this provider again"},
		{vault.ErrRefresh, http.StatusBadGateway, "refresh_failed", "the token has ended and could not be renewed: try again"},
	} {
		if errors.Is(err, e.is) {
			return &oauthError{e.status, e.code, e.words, err}
		}
	}
	return err
}

func (p *Provider) told(t *provider.Tokens) upstreamToken {
	answer := upstreamToken{
		AccessToken: t.AccessToken, IssuedTokenType: cmp.Or(t.IssuedType, typeAccessToken), TokenType: cmp.Or(t.TokenType, "Bearer"), Scope: t.Scope,
	}
	if !t.Expiry.IsZero() {
		answer.ExpiresIn = int64(max(t.Expiry.Sub(p.Now()), time.Second) / time.Second)
	}
	return answer
}
