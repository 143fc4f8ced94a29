package providertest

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
)

// logout is the end session endpoint, OpenID Connect RP-Initiated Logout 1.0 §2. It does not ask the user.
func (o *OIDC) logout(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	params := r.URL.Query()
	if r.Method == http.MethodPost {
		params = r.PostForm
	}
	rec := o.record(EndSession, r, params)
	target, err := o.logoutTarget(params)
	if err != nil {
		o.failPage(w, rec, http.StatusBadRequest, err.Error())
		return
	}
	if cookie, err := r.Cookie(o.cookie); err == nil {
		o.mu.Lock()
		delete(o.sessions, cookie.Value)
		o.mu.Unlock()
		o.setCookie(w, "", -1)
	}
	if target == "" {
		o.signedOutPage(w)
		return
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// logoutTarget is where to send the browser then, "" for nowhere.
func (o *OIDC) logoutTarget(params url.Values) (string, error) {
	id := params.Get("client_id")
	if hint := params.Get("id_token_hint"); hint != "" {
		claims, err := o.ownIDToken(hint)
		if err != nil {
			return "", errors.New("id_token_hint is not a token of this provider")
		}
		if len(claims.Audience) != 1 || id != "" && id != claims.Audience[0] {
			return "", errors.New("id_token_hint is not for this client")
		}
		id = claims.Audience[0]
	}
	target := params.Get("post_logout_redirect_uri")
	if target == "" {
		return "", nil
	}
	if c, ok := o.client(id); !ok || !slices.Contains(c.PostLogoutRedirectURIs, target) {
		return "", errors.New("post_logout_redirect_uri is not registered for this client")
	}
	if state := params.Get("state"); state != "" {
		target = withQuery(target, url.Values{"state": {state}})
	}
	return target, nil
}

// ownIDToken checks the signature, but not the expiry: a hint may be old.
func (o *OIDC) ownIDToken(token string) (claims josejwt.Claims, err error) {
	var algs []jose.SignatureAlgorithm
	for _, alg := range o.algs() {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	parsed, err := josejwt.ParseSigned(token, algs)
	if err != nil {
		return claims, err
	}
	for _, k := range o.published(parsed.Headers[0].Algorithm) {
		if parsed.Claims(k.signer.Public(), &claims) == nil {
			return claims, nil
		}
	}
	return claims, errors.New("no key of ours signed it")
}
