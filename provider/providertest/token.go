package providertest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	codeTTL   = time.Minute
	accessTTL = 10 * time.Minute
)

// A grant is what stands behind a code and the tokens that it becomes.
type grant struct {
	client      string
	redirectURI string
	challenge   string
	nonce       string
	scope       []string
	session     session
	expiry      time.Time // of the code or the access token; zero for a refresh token
	used        bool
	revoked     *bool // shared by all tokens of one code
}

// token is the token endpoint, RFC 6749 §3.2.
func (o *OIDC) token(r *http.Request, s *script, rec record) reply {
	if r.URL.RawQuery != "" {
		return errorReply(rec, http.StatusBadRequest, "invalid_request", "parameters belong in the body")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return errorReply(rec, http.StatusBadRequest, "invalid_request", fmt.Sprintf("parameter %q is there more than once", name))
		}
	}
	c, method, err := o.authenticate(r)
	if method != "none" {
		rec.authenticated(method)
	}
	if err == nil && s.has(TokenInvalidClient) {
		err = fmt.Errorf("as scripted")
	}
	if err != nil {
		refused := errorReply(rec, http.StatusUnauthorized, "invalid_client", err.Error())
		refused.challenge = `Basic realm="providertest"`
		return refused
	}
	if s.has(TokenInvalidGrant) {
		return errorReply(rec, http.StatusBadRequest, "invalid_grant", "as scripted")
	}
	switch grantType := r.PostForm.Get("grant_type"); grantType {
	case "authorization_code":
		return o.redeemCode(s, rec, c, r.PostForm)
	case "refresh_token":
		return o.redeemRefresh(s, rec, c, r.PostForm)
	default:
		return errorReply(rec, http.StatusBadRequest, "unsupported_grant_type", grantType)
	}
}

// redeemCode takes the code, which is spent by the first client that authenticated and showed it, whatever else is wrong.
func (o *OIDC) redeemCode(s *script, rec record, c Client, form url.Values) reply {
	g, problem := o.takeCode(form.Get("code"), c, form)
	if problem != "" {
		return errorReply(rec, http.StatusBadRequest, "invalid_grant", problem)
	}
	return o.tokens(s, rec, c, g)
}

func (o *OIDC) takeCode(code string, c Client, form url.Values) (*grant, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.codes[code]
	switch {
	case g == nil || g.client != c.ID:
		return nil, "unknown code"
	case g.used:
		*g.revoked = true // RFC 6749 §4.1.2: what was issued for it ends
		return nil, "the code was used before"
	}
	g.used, g.revoked = true, new(bool)
	switch {
	case !o.cfg.Now().Before(g.expiry):
		return nil, "the code has expired"
	case form.Get("redirect_uri") != g.redirectURI:
		return nil, "redirect_uri is not that of the authorization request"
	case !g.verifies(form.Get("code_verifier")):
		return nil, "code_verifier does not fit"
	}
	return g, ""
}

var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`) // RFC 7636 §4.1

// verifies checks PKCE. A verifier without a challenge is refused, RFC 9700 §2.1.1: the challenge may have been stripped.
func (g *grant) verifies(verifier string) bool {
	if g.challenge == "" {
		return verifier == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return verifierForm.MatchString(verifier) && base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
}

// redeemRefresh takes a refresh token, which is replaced at each use. Who brings one that was used before ends all that came of the
// same login (RFC 9700 §4.14.2).
func (o *OIDC) redeemRefresh(s *script, rec record, c Client, form url.Values) reply {
	g, code := o.takeRefresh(form.Get("refresh_token"), c, strings.Fields(form.Get("scope")))
	if code != "" {
		return errorReply(rec, http.StatusBadRequest, code, "unknown refresh token, or more scope than was granted")
	}
	return o.tokens(s, rec, c, g)
}

// takeRefresh returns what stands behind a refresh token, or the code of an error.
func (o *OIDC) takeRefresh(token string, c Client, scope []string) (*grant, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.refresh[token]
	if g == nil || g.client != c.ID || *g.revoked {
		return nil, "invalid_grant"
	}
	if g.used {
		*g.revoked = true
		return nil, "invalid_grant"
	}
	next := *g
	next.nonce = "" // OpenID Connect Core §12.2
	if len(scope) > 0 {
		next.scope = scope
	}
	if slices.ContainsFunc(next.scope, func(s string) bool { return !slices.Contains(g.scope, s) }) {
		return nil, "invalid_scope"
	}
	g.used = true
	return &next, ""
}

// revoke is the revocation endpoint, RFC 7009: what came of the same login ends with the token, whichever it is.
func (o *OIDC) revoke(r *http.Request, _ *script, rec record) reply {
	c, method, err := o.authenticate(r)
	if method != "none" {
		rec.authenticated(method)
	}
	if err != nil {
		return errorReply(rec, http.StatusUnauthorized, "invalid_client", err.Error())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, grants := range []map[string]*grant{o.refresh, o.access} {
		if g := grants[r.PostForm.Get("token")]; g != nil && g.client == c.ID {
			*g.revoked = true
		}
	}
	return jsonReply(http.StatusOK, map[string]any{})
}

// tokens is a successful reply, RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3.
func (o *OIDC) tokens(s *script, rec record, c Client, g *grant) reply {
	user, ok := o.user(g.session.subject)
	if !ok {
		return errorReply(rec, http.StatusBadRequest, "invalid_grant", "the user is gone")
	}
	access := *g
	access.expiry = o.cfg.Now().Add(accessTTL)
	accessToken := handle()
	out := map[string]any{
		"access_token": accessToken, "token_type": "Bearer", "expires_in": int(accessTTL / time.Second), "scope": strings.Join(g.scope, " "),
	}
	refreshToken := ""
	if slices.Contains(g.scope, "offline_access") {
		refreshToken = handle()
		out["refresh_token"] = refreshToken
	}
	if o.cfg.OAuth2 == nil && !s.has(TokenNoIDToken) {
		idToken, err := o.idToken(s, c, g, user, accessToken)
		if err != nil {
			return errorReply(rec, http.StatusInternalServerError, "server_error", err.Error())
		}
		out["id_token"] = idToken
	}
	o.mu.Lock()
	o.access[accessToken] = &access
	if refreshToken != "" {
		lasting := *g
		lasting.expiry, lasting.used = time.Time{}, false
		o.refresh[refreshToken] = &lasting
	}
	o.mu.Unlock()
	if s.hooks.Token != nil {
		s.hooks.Token(out)
	}
	return jsonReply(http.StatusOK, out)
}

func (o *OIDC) idToken(s *script, c Client, g *grant, user User, accessToken string) (string, error) {
	alg := c.IDTokenAlg
	if alg == "" {
		alg = o.cfg.Alg
	}
	claims := map[string]any{}
	if !o.cfg.LeanIDToken {
		claims = userClaims(s, user, g.scope)
	}
	claims["iss"] = o.cfg.Issuer
	claims["sub"] = user.Subject
	claims["aud"] = c.ID
	claims["azp"] = c.ID
	claims["iat"] = o.unix(0)
	claims["exp"] = o.unix(accessTTL)
	claims["auth_time"] = g.session.authTime.Unix()
	claims["sid"] = g.session.id
	claims["at_hash"] = tokenHash(alg, accessToken)
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	j := o.newJWT(o.signingKey(alg), claims)
	j.accessToken, j.secret = accessToken, []byte(c.Secret)
	o.breakIDToken(s, j)
	return o.encrypted(s, c, j)
}

// userClaims is what the scopes tell about a user, OpenID Connect Core §5.4.
func userClaims(s *script, user User, scope []string) map[string]any {
	claims := map[string]any{}
	put := func(name, value string) {
		if value != "" {
			claims[name] = value
		}
	}
	if slices.Contains(scope, "profile") {
		put("name", user.fullName())
		put("given_name", user.GivenName)
		put("family_name", user.FamilyName)
		put("preferred_username", user.Username)
		put("locale", user.Locale)
		put("picture", user.Picture)
	}
	if slices.Contains(scope, "email") && user.Email != "" {
		claims["email"], claims["email_verified"] = user.Email, user.EmailVerified
	}
	if slices.Contains(scope, "groups") && user.Groups != nil {
		claims["groups"] = user.Groups
	}
	for name, value := range user.Claims {
		claims[name] = value
	}
	for _, f := range s.faults {
		switch f {
		case EmailVerifiedString:
			claims["email_verified"] = "true"
		case EmailVerifiedFalseString:
			claims["email_verified"] = "false"
		case EmailVerifiedFalse:
			claims["email_verified"] = false
		case EmailVerifiedAbsent:
			delete(claims, "email_verified")
		}
	}
	return claims
}

func (u User) fullName() string {
	if u.Name != "" {
		return u.Name
	}
	return strings.TrimSpace(u.GivenName + " " + u.FamilyName)
}

const sweepAt = 20_000 // codes and access tokens

// sweep forgets what has expired whenever there is twice as much as it left the last time. It is called with o.mu held.
func (o *OIDC) sweep() {
	if len(o.codes)+len(o.access) < o.sweepAt {
		return
	}
	now := o.cfg.Now()
	for _, grants := range []map[string]*grant{o.codes, o.access} {
		maps.DeleteFunc(grants, func(_ string, g *grant) bool { return g.expiry.Before(now) })
	}
	maps.DeleteFunc(o.refresh, func(_ string, g *grant) bool { return g.used || *g.revoked })
	o.sweepAt = max(sweepAt, 2*(len(o.codes)+len(o.access)))
}
