package op

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// errToken says that an access token is not, or no longer, good.
var errToken = errors.New("op: invalid access token")

// UserInfo handles GET and POST /userinfo (OpenID Connect Core §5.3).
func (p *Provider) UserInfo(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	raw, dpop, err := accessToken(w, r)
	if err != nil {
		p.challenge(w, r, http.StatusBadRequest, "invalid_request", err)
		return
	}
	if raw == "" {
		p.challenge(w, r, http.StatusUnauthorized, "", errors.New("no access token"))
		return
	}
	active, grant, err := p.accept(r, raw, dpop)
	if errors.Is(err, errToken) {
		p.challenge(w, r, http.StatusUnauthorized, "invalid_token", err)
		return
	}
	if errors.Is(err, errProof) {
		p.challenge(w, r, http.StatusUnauthorized, "invalid_dpop_proof", err)
		return
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	web.RecordOf(r.Context()).Note("client", grant.ClientID)
	if err := p.tellUserInfo(w, r, active.User, grant); err != nil {
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
func (p *Provider) tellUserInfo(w http.ResponseWriter, r *http.Request, u *store.User, g *store.Grant) error {
	client, err := p.Gate.Client(r.Context(), g.ClientID)
	if err != nil {
		return err
	}
	allowOrigin(r.Context(), client)
	info := userInfo{Subject: u.ID, userClaims: claimsOf(u, g.Scope)}
	info.add(u, g, inUserInfo)
	if client.UserInfoAlg == "" {
		writeJSON(w, http.StatusOK, info)
		return nil
	}
	ring, err := p.Keys.Ring(r.Context())
	if err != nil {
		return err
	}
	now := p.Now()
	info.Issuer, info.Audience, info.IssuedAt = p.issuer(), client.ID, now.Unix()
	signed, err := ring.Sign(now, client.UserInfoAlg, token.IDToken, info)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwt")
	if _, err := w.Write([]byte(signed)); err != nil {
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

// accept returns whose access token it is, if it was issued here, for here, to the sender, and nothing it hangs on has ended.
func (p *Provider) accept(r *http.Request, raw string, dpop bool) (*session.Active, *store.Grant, error) {
	ctx := r.Context()
	ring, err := p.Keys.Ring(ctx)
	if err != nil {
		return nil, nil, err
	}
	parser := token.Parser{Type: token.AccessToken, Issuer: p.issuer(), Audience: p.issuer(), Keys: ring, Now: p.Now}
	claims, err := parser.Parse(ctx, raw)
	if err != nil {
		return nil, nil, errors.Join(errToken, err)
	}
	g, err := p.Store.Grant(ctx, grantOfToken(claims.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, errToken
	}
	if err != nil {
		return nil, nil, err
	}
	if !g.CodeUsed || g.UserID != claims.Subject {
		return nil, nil, errToken
	}
	active, err := p.grantAlive(ctx, g)
	if errors.Is(err, errDead) {
		return nil, nil, errors.Join(errToken, err)
	}
	if err != nil {
		return nil, nil, err
	}
	return active, g, p.checkSender(r, raw, dpop, claims)
}

// challenge answers as RFC 6750 §3 and RFC 9449 §7.1 have it: without an error code where no token was sent, else with it in
// the challenge of the scheme that was used. The other scheme's follows.
func (p *Provider) challenge(w http.ResponseWriter, r *http.Request, status int, code string, err error) {
	rec := web.RecordOf(r.Context())
	rec.Err = err
	used, other := `Bearer realm="userinfo"`, dpopChallenge("userinfo")
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "DPoP") {
		used, other = other, used
	}
	if code != "" {
		used += `, error="` + code + `"`
	}
	w.Header().Set("WWW-Authenticate", used)
	w.Header().Add("WWW-Authenticate", other)
	if code == "" {
		w.WriteHeader(status)
		return
	}
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{code})
}
