package op

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// UserInfo handles GET and POST /userinfo (OpenID Connect Core §5.3).
func (p *Provider) UserInfo(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	access, err := p.bearer(w, r)
	if err != nil {
		p.challenge(w, r, "userinfo", err)
		return
	}
	web.RecordOf(r.Context()).Note("client", access.ClientID)
	if !slices.Contains(strings.Fields(access.Scope), "openid") { // OpenID Connect Core §5.3
		p.challenge(w, r, "userinfo", insufficient("the access token lacks the scope openid"))
		return
	}
	if err := p.tellUserInfo(w, r, access); err != nil {
		p.fail(w, r, err)
	}
}

// userInfo is the answer of the endpoint. Issuer and audience are in a signed one (OpenID Connect Core §5.3.2); there is no
// expiry, so that it passes nowhere for an ID token.
type userInfo struct {
	Issuer   string `json:"iss,omitempty"`
	Audience string `json:"aud,omitempty"`
	IssuedAt int64  `json:"iat,omitempty"`
	Subject  string `json:"sub"`
	userClaims
}

// tellUserInfo answers in the way that the client is registered for.
func (p *Provider) tellUserInfo(w http.ResponseWriter, r *http.Request, t *issuedToken) error {
	client, err := p.Gate.Client(r.Context(), t.ClientID)
	if err != nil {
		return err
	}
	allowOrigin(r.Context(), client)
	u, grant := t.active.User, *t.grant
	if err := narrowGrant(&grant, client, strings.Join(permitted(client, t.Scope), " ")); err != nil {
		return err
	}
	info := userInfo{Subject: u.ID, userClaims: claimsOf(u, grant.Scope)}
	info.add(u, &grant, inUserInfo)
	more := clientClaims(client, t.active, grant.Scope, store.ClaimInUserInfo)
	if client.UserInfoAlg == "" {
		writeJSON(w, http.StatusOK, tell(info, more))
		return nil
	}
	ring, err := p.Keys.Ring(r.Context())
	if err != nil {
		return err
	}
	now := p.Now()
	info.Issuer, info.Audience, info.IssuedAt = p.issuer(), client.ID, now.Unix()
	signed, err := ring.Sign(now, client.UserInfoAlg, token.IDToken, tell(info, more))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwt")
	if _, err := w.Write([]byte(signed)); err != nil { //nolint:gosec // a JWT, and said to be one
		web.RecordOf(r.Context()).Err = err // the client is gone
	}
	return nil
}

// accessToken returns the access token of the request: from the header, or from the form of a POST, never from the URL
// (RFC 6750 §2, RFC 9700 §4.3.2), and whether it came by the scheme DPoP. "" means that there is none.
func accessToken(w http.ResponseWriter, r *http.Request) (raw string, dpop bool, err error) {
	var inForm string
	if r.Method == http.MethodPost {
		form, err := tokenForm(w, r)
		if err != nil {
			return "", false, err
		}
		inForm = form.Get("access_token")
	}
	scheme, inHeader, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	dpop = strings.EqualFold(scheme, "DPoP")
	if !dpop && !strings.EqualFold(scheme, "Bearer") {
		return inForm, false, nil // another way to authenticate is none (RFC 6750 §3.1)
	}
	if inForm != "" {
		return "", dpop, errors.New("the access token must come in one way")
	}
	return strings.TrimSpace(inHeader), dpop, nil
}

// bearer returns the access token that a request to the broker's own API was sent with.
func (p *Provider) bearer(w http.ResponseWriter, r *http.Request) (*issuedToken, error) {
	raw, dpop, err := accessToken(w, r)
	if err != nil {
		return nil, &oauthError{http.StatusBadRequest, "invalid_request", "", err}
	}
	if raw == "" {
		return nil, &oauthError{status: http.StatusUnauthorized, err: errors.New("no access token")}
	}
	access, err := p.readAccess(r.Context(), raw, p.issuer())
	if err == nil {
		err = p.checkSender(r, raw, dpop, access.Claims)
	}
	switch {
	case errors.Is(err, errToken):
		err = &oauthError{http.StatusUnauthorized, "invalid_token", "", err}
	case errors.Is(err, errProof):
		err = &oauthError{http.StatusUnauthorized, "invalid_dpop_proof", "", err}
	}
	return access, err
}

// insufficient is an access token that is good, and not for this (RFC 6750 §3.1).
func insufficient(why string) error {
	return &oauthError{http.StatusForbidden, "insufficient_scope", "", errors.New(why)}
}

// challenge answers as RFC 6750 §3 and RFC 9449 §7.1 have it: without an error code where no token was sent, else with it in
// the challenge of the scheme that was used. The other scheme's follows. What is no error of a token is answered as elsewhere.
func (p *Provider) challenge(w http.ResponseWriter, r *http.Request, realm string, err error) {
	refusal, ok := errors.AsType[*oauthError](err)
	if !ok {
		p.fail(w, r, err)
		return
	}
	rec := web.RecordOf(r.Context())
	rec.Err = err
	used, other := `Bearer realm="`+realm+`"`, dpopChallenge(realm)
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "DPoP") {
		used, other = other, used
	}
	if refusal.code != "" {
		used += `, error="` + refusal.code + `"`
	}
	w.Header().Set("WWW-Authenticate", used)
	w.Header().Add("WWW-Authenticate", other)
	if refusal.code == "" {
		w.WriteHeader(refusal.status)
		return
	}
	writeJSON(w, refusal.status, struct {
		Error string `json:"error"`
	}{refusal.code})
}
