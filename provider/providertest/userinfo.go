package providertest

import (
	"net/http"
	"strings"
)

// userinfo is the userinfo endpoint, OpenID Connect Core §5.3: a bearer token in the header, and nowhere else.
func (o *OIDC) userinfo(r *http.Request, s *script, rec record) reply {
	user, c, g, refused := o.bearer(r, rec)
	if refused != nil {
		return *refused
	}
	if shape := o.cfg.OAuth2; shape != nil && shape.UserInfo != nil {
		return o.shaped(s, shape.UserInfo(user))
	}
	claims := userClaims(s, user, g.scope)
	claims["sub"] = user.Subject
	if s.has(UserInfoSubWrong) {
		claims["sub"] = "somebody-else"
	}
	if s.has(UserInfoSubAbsent) {
		delete(claims, "sub")
	}
	signed := c.UserInfoAlg != "" && !s.has(UserInfoUnsigned)
	if signed {
		claims["iss"], claims["aud"] = o.cfg.Issuer, c.ID
	}
	if signed && s.has(UserInfoIssWrong) {
		claims["iss"] = wrongIssuer
	}
	if signed && s.has(UserInfoAudWrong) {
		claims["aud"] = "another-client"
	}
	if s.hooks.UserInfo != nil {
		s.hooks.UserInfo(claims)
	}
	out := jsonReply(http.StatusOK, claims)
	if signed {
		out = o.signedUserInfo(s, rec, c, claims)
	}
	if s.has(UserInfoContentType) {
		out.contentType = "text/html; charset=utf-8"
	}
	return out
}

func (o *OIDC) signedUserInfo(s *script, rec record, c Client, claims map[string]any) reply {
	alg := c.UserInfoAlg
	j := o.newJWT(o.signingKey(alg), claims)
	j.secret = []byte(c.Secret)
	if s.has(UserInfoKeyUnknown) {
		j.sign = o.foreignKey(alg).sign
	}
	if s.has(UserInfoAlgNone) {
		j.unsigned()
	}
	if s.has(JWKSNoKid) {
		delete(j.header, "kid")
	}
	token, err := o.encrypted(s, c, j)
	if err != nil {
		return errorReply(rec, http.StatusInternalServerError, "server_error", err.Error())
	}
	return reply{status: http.StatusOK, contentType: "application/jwt", body: []byte(token)}
}

// revoked reports whether a grant ended before its time.
func (o *OIDC) revoked(g *grant) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *g.revoked
}

// emails is where some vendors list the addresses of a user.
func (o *OIDC) emails(r *http.Request, _ *script, rec record) reply {
	user, _, _, refused := o.bearer(r, rec)
	if refused != nil {
		return *refused
	}
	return jsonReply(http.StatusOK, o.cfg.OAuth2.Emails(user))
}

// shaped is userinfo in the shape of a vendor.
func (o *OIDC) shaped(s *script, said any) reply {
	if object, ok := said.(map[string]any); ok && s.hooks.UserInfo != nil {
		s.hooks.UserInfo(object)
	}
	out := jsonReply(http.StatusOK, said)
	if s.has(UserInfoContentType) {
		out.contentType = "text/html; charset=utf-8"
	}
	return out
}

// bearer finds out whose access token a request has, and which client got it.
func (o *OIDC) bearer(r *http.Request, rec record) (User, Client, *grant, *reply) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	o.mu.Lock()
	g := o.access[token]
	o.mu.Unlock()
	if !strings.EqualFold(scheme, "Bearer") || g == nil || o.revoked(g) || !o.cfg.Now().Before(g.expiry) {
		refused := errorReply(rec, http.StatusUnauthorized, "invalid_token", "no access token of ours, or no longer")
		refused.challenge = `Bearer error="invalid_token"`
		return User{}, Client{}, nil, &refused
	}
	user, ok := o.user(g.session.subject)
	c, known := o.client(g.client)
	if !ok || !known {
		refused := errorReply(rec, http.StatusUnauthorized, "invalid_token", "the user or the client is gone")
		return User{}, Client{}, nil, &refused
	}
	return user, c, g, nil
}
