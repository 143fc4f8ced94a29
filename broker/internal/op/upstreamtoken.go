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
	tokens, err := p.Vault.Tokens(r.Context(), access.active.User, r.PathValue("alias"), access.grant.SessionID)
	if gate.Refused(err) { // it is told no more than who may not
		p.challenge(w, r, realm, &oauthError{http.StatusForbidden, "insufficient_scope", "", err})
		return
	}
	if err != nil {
		p.fail(w, r, noUpstreamToken(err))
		return
	}
	writeJSON(w, http.StatusOK, p.told(tokens))
}

// mayFetch returns an error unless the client of the access token may fetch tokens of the provider, and its user's. Nobody learns
// which of it is missing, nor which providers there are.
func (p *Provider) mayFetch(r *http.Request, access *issuedToken) error {
	alias := r.PathValue("alias")
	rec := web.RecordOf(r.Context())
	rec.Note("client", access.ClientID)
	rec.Note("provider", alias)
	client, err := p.Gate.Client(r.Context(), access.ClientID)
	if err != nil {
		return err
	}
	allowOrigin(r.Context(), client)
	switch {
	case access.grant == nil:
		return insufficient("the access token is no user's")
	case !slices.Contains(client.ProviderTokens, alias):
		return insufficient("the client's ProviderTokens do not name the provider")
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
