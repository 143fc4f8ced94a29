package op

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// claimNames are the claims that discovery announces.
var claimNames = []string{
	"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", "identity_provider",
	"name", "given_name", "family_name", "preferred_username", "picture", "locale", "updated_at", "email", "email_verified",
}

// userClaims are the claims about a user, by scope (OpenID Connect Core §5.1 and §5.4). They are the same whoever
// vouched.
type userClaims struct {
	Name       string `json:"name,omitempty"`
	GivenName  string `json:"given_name,omitempty"`
	FamilyName string `json:"family_name,omitempty"`
	Username   string `json:"preferred_username,omitempty"`
	Picture    string `json:"picture,omitempty"`
	Locale     string `json:"locale,omitempty"`
	UpdatedAt  int64  `json:"updated_at,omitempty"`

	Email         string `json:"email,omitempty"`
	EmailVerified *bool  `json:"email_verified,omitempty"`
}

// idClaims are the claims of an ID token (OpenID Connect Core §2).
type idClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	AuthTime int64    `json:"auth_time"`
	Nonce    string   `json:"nonce,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Session  string   `json:"sid,omitempty"`
	AtHash   string   `json:"at_hash"`
	Provider string   `json:"identity_provider,omitempty"` // alias of the upstream that vouched, by Keycloak's name
	userClaims
	more map[string]any // of [store.Client.Claims]
}

// accessClaims are the claims of an access token (RFC 9068 §2.2). Those about the user are left out where a client acts for
// itself.
type accessClaims struct {
	Issuer   string         `json:"iss"`
	Subject  string         `json:"sub"`
	Audience []string       `json:"aud"`
	Expires  int64          `json:"exp"`
	IssuedAt int64          `json:"iat"`
	ID       string         `json:"jti"` // names the grant, see grantOfToken, and tokens that this one was exchanged for
	ClientID string         `json:"client_id"`
	Scope    string         `json:"scope,omitempty"`
	AuthTime int64          `json:"auth_time,omitempty"`
	ACR      string         `json:"acr,omitempty"`
	AMR      []string       `json:"amr,omitempty"`
	Bound    *bound         `json:"cnf,omitempty"`
	Session  string         `json:"sid,omitempty"`
	Actor    *actor         `json:"act,omitempty"`
	Roles    []string       `json:"roles,omitempty"`  // RFC 9068 §2.2.3.1, for the scope "roles"
	Groups   []string       `json:"groups,omitempty"` // likewise, for the scope "groups"
	more     map[string]any // of [store.Client.Claims]
}

func claimsOf(u *store.User, scope []string) userClaims {
	var c userClaims
	if slices.Contains(scope, "profile") {
		c.Name = cmp.Or(u.Name, strings.TrimSpace(u.FirstName+" "+u.LastName))
		c.GivenName, c.FamilyName, c.Username = u.FirstName, u.LastName, u.Username
		c.Picture, c.Locale = u.Picture, u.Locale
		if !u.UpdatedAt.IsZero() {
			c.UpdatedAt = u.UpdatedAt.Unix()
		}
	}
	if slices.Contains(scope, "email") && u.Email != "" {
		c.Email, c.EmailVerified = u.Email, &u.EmailVerified
	}
	return c
}

func (p *Provider) idClaims(client *store.Client, g *store.Grant, a *session.Active, accessToken string, now time.Time) idClaims {
	claims := idClaims{
		Issuer:     p.issuer(),
		Subject:    a.User.ID,
		Audience:   client.ID,
		Expires:    now.Add(cmp.Or(client.IDTokenLifetime, defaultLifetime)).Unix(),
		IssuedAt:   now.Unix(),
		AuthTime:   g.AuthTime.Unix(),
		Nonce:      g.Nonce,
		ACR:        g.ACR,
		AMR:        g.AMR,
		Session:    a.Session.ID,
		AtHash:     atHash(idTokenAlg(client), accessToken),
		Provider:   g.Upstream.Provider,
		userClaims: claimsOf(a.User, g.Scope),
		more:       clientClaims(client, a, g.Scope, store.ClaimInIDToken),
	}
	claims.add(a.User, g, inIDToken)
	return claims
}

func (p *Provider) accessClaims(client *store.Client, g *store.Grant, a *session.Active, now time.Time) accessClaims {
	expires := now.Add(cmp.Or(client.AccessTokenLifetime, defaultLifetime))
	if g.ExpiresAt.Before(expires) {
		expires = g.ExpiresAt
	}
	c := accessClaims{
		Issuer:   p.issuer(),
		Subject:  a.User.ID,
		Audience: p.audience(client, g.Resources),
		Expires:  expires.Unix(),
		IssuedAt: now.Unix(),
		ID:       g.ID + "." + rand.Text(),
		ClientID: client.ID,
		Scope:    strings.Join(g.Scope, " "),
		AuthTime: g.AuthTime.Unix(),
		ACR:      g.ACR,
		AMR:      g.AMR,
		Session:  a.Session.ID,
		more:     clientClaims(client, a, g.Scope, store.ClaimInAccessToken),
	}
	if slices.Contains(g.Scope, scopeRoles) {
		c.Roles = a.User.Roles
	}
	if slices.Contains(g.Scope, scopeGroups) {
		c.Groups = a.User.Groups
	}
	return c
}

// grantOfToken returns the id of the grant that a token with this jti was issued for, "" if it was for none.
func grantOfToken(jti string) string {
	id, _, ok := strings.Cut(jti, ".")
	if !ok {
		return ""
	}
	return id
}

// atHash binds the ID token to the access token (OpenID Connect Core §3.1.3.6), by the hash of the ID token's algorithm:
// SHA-512 for Ed25519 (RFC 8032 §5.1), SHA-256 for all others that we sign with.
func atHash(alg, accessToken string) string {
	if alg == token.EdDSA {
		sum := sha512.Sum512([]byte(accessToken))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func idTokenAlg(c *store.Client) string     { return cmp.Or(c.IDTokenAlg, token.RS256) }
func accessTokenAlg(c *store.Client) string { return cmp.Or(c.AccessTokenAlg, token.ES256) }
