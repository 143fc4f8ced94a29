// Package op is the OpenID Provider: what applications speak to.
//
// It owns the endpoints, one file each, and what tokens say. Whose login it is and how it came about is the package
// login's business: an application gets the same token whoever vouched.
package op

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/keys"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/logout"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	codePurpose     = "code"
	codeLifetime    = time.Minute // RFC 6749 §4.1.2 has ten minutes as the most
	defaultLifetime = 5 * time.Minute
)

// Provider is the OpenID Provider of one broker. Its fields are set once; it is safe for concurrent use.
type Provider struct {
	Base     *url.URL
	Store    store.Store
	Gate     *gate.Gate
	Sessions *session.Manager
	Login    *login.Service
	Logout   *logout.Service
	Keys     *keys.Keys
	Vault    *vault.Vault
	Now      func() time.Time
	// ClientHTTP fetches what clients publish.
	ClientHTTP *http.Client
	// Public bounds what anybody can have the broker keep in the name of a public client.
	Public *PublicLimits

	clientKeys clientKeys
}

// issuer is the broker's name in tokens: the BaseURL, byte for byte.
func (p *Provider) issuer() string { return p.Base.String() }

// newGrant returns what session s grants client c for the request, with the code that redeems it.
func (p *Provider) newGrant(req *authRequest, s *store.Session) (g *store.Grant, code string) {
	now := p.Now().UTC()
	secret, hash := token.NewHandle(codePurpose)
	g = &store.Grant{
		ID:            rand.Text(),
		ClientID:      req.client.ID,
		UserID:        s.UserID,
		SessionID:     s.ID,
		Scope:         scopeIn(s, req.scope),
		Nonce:         req.nonce,
		ClaimsRequest: req.claims.named,
		AuthTime:      s.AuthTime,
		ACR:           s.ACR,
		AMR:           s.AMR,
		Upstream:      s.Upstream,
		Resources:     req.resources,
		CodeHash:      []byte(hash),
		CodeExpires:   now.Add(codeLifetime),
		RedirectURI:   req.redirectURI,
		CodeChallenge: req.challenge,
		JKT:           req.jkt,
		CreatedAt:     now,
		ExpiresAt:     now.Add(codeLifetime),
	}
	return g, g.ID + "." + secret
}

// splitCode takes a code apart into the grant it belongs to and its secret. What can be no grant's id is not looked for:
// not every store takes every string for a key.
func splitCode(code string) (grantID, secret string, ok bool) {
	grantID, secret, ok = strings.Cut(code, ".")
	return grantID, secret, ok && len(grantID) <= 64 && !strings.ContainsFunc(grantID, func(r rune) bool { return !unreserved(r) })
}

// verifies reports whether verifier is the one that challenge was made of (RFC 7636 §4.6, S256).
func verifies(challenge, verifier string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(challenge), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 1
}

// isVerifier reports whether s can be a code verifier (RFC 7636 §4.1).
func isVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return !unreserved(r) })
}

func unreserved(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r)
}

// isChallenge reports whether s can be an S256 code challenge: 32 bytes in base64url (RFC 7636 §4.2).
func isChallenge(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == sha256.Size && len(s) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// errRepeated does not say which: the name may be anything, and is for the client's pages and logs.
var errRepeated = errors.New("a parameter was sent more than once")

// repeated reports whether a parameter was sent twice, which none may be (RFC 6749 §3.1 and §3.2) but those that name what
// tokens are for (RFC 8707 §2, RFC 8693 §2.1).
func repeated(params url.Values) bool {
	for name, values := range params {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return true
		}
	}
	return false
}

// noStore forbids caches to keep the answer (RFC 6749 §5.1).
func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}
