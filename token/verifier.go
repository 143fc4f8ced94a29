package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Verifier protects a resource server: it accepts access tokens (RFC 9068) of one issuer for one audience, sent as
// bearer tokens in the Authorization header (RFC 6750 §2.1) and nowhere else. Issuer and Audience are required, and
// nothing is accepted without them. Tokens that are bound to a key of the sender ("cnf") are refused, as the proof is
// not checked here.
//
// A Verifier is safe for concurrent use once its fields are set, and must not be copied after its first use.
type Verifier struct {
	Issuer   string // exactly as in the tokens' "iss"
	Audience string // this resource server's name, one of the tokens' "aud"

	// Keys of the issuer. Nil is those at the jwks_uri of Issuer + "/.well-known/openid-configuration", cached as a
	// [Remote] does and first fetched with the first token.
	Keys KeySource
	// Client fetches the keys if Keys is nil. Nil is one with a timeout of ten seconds that follows no redirect to
	// another host.
	Client *http.Client
	// Algorithms, Leeway and Now are as in [Parser].
	Algorithms []string
	Leeway     time.Duration
	Now        func() time.Time
	// Log is told, at debug level, why a token was refused, and as a warning that none can be checked. Nil is nobody.
	Log *slog.Logger

	once   sync.Once
	remote *Remote
}

// An Access is what an access token allows.
type Access struct {
	Claims
	ClientID string
	Scope    []string
}

// Verify verifies an access token and returns what it allows. Errors are those of [Parser.Parse].
func (v *Verifier) Verify(ctx context.Context, raw string) (*Access, error) {
	p := Parser{
		Type: AccessToken, Issuer: v.Issuer, Audience: v.Audience, Keys: v.keys(),
		Algorithms: v.Algorithms, Leeway: v.Leeway, Now: v.Now,
	}
	c, err := p.Parse(ctx, raw)
	if err != nil {
		return nil, err
	}
	return newAccess(c)
}

func newAccess(c *Claims) (*Access, error) {
	a := &Access{Claims: *c}
	var scope string
	if err := cmp.Or(c.members.text("client_id", &a.ClientID), c.members.text("scope", &scope)); err != nil {
		return nil, err
	}
	if a.ClientID == "" || a.ID == "" { // RFC 9068 §2.2
		return nil, invalid("no client_id or no jti")
	}
	if c.members.has("cnf") {
		return nil, invalid("bound to its sender")
	}
	a.Scope = strings.Fields(scope)
	return a, nil
}

func (v *Verifier) keys() KeySource {
	if v.Keys != nil {
		return v.Keys
	}
	v.once.Do(func() {
		v.remote = &Remote{Locate: v.discover, Client: v.Client, Algorithms: v.Algorithms, Now: v.Now}
	})
	return v.remote
}

// discover finds the issuer's key set (OpenID Connect Discovery §4).
func (v *Verifier) discover(ctx context.Context) (string, error) {
	body, _, err := get(ctx, v.Client, strings.TrimSuffix(v.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return "", errors.New("discovery document is no JSON")
	}
	if doc.Issuer != v.Issuer {
		return "", fmt.Errorf("discovery document is that of %q, not of %q", doc.Issuer, v.Issuer)
	}
	u, err := url.Parse(doc.JWKS)
	if err != nil || u.Scheme != "https" && !strings.HasPrefix(v.Issuer, u.Scheme+"://") {
		return "", errors.New("discovery document has no usable jwks_uri")
	}
	return doc.JWKS, nil
}

type accessKey struct{}

// From returns what the access token of a request allows, if a handler of [Verifier.Require] let it through.
func From(ctx context.Context) (*Access, bool) {
	a, ok := ctx.Value(accessKey{}).(*Access)
	return a, ok
}

// Require returns a middleware that lets only requests through whose access token has all of the scopes, and answers the
// others as RFC 6750 §3 says: 401 with a challenge, or 403 where a scope is missing. If the issuer's keys cannot be had the
// answer is 503.
func (v *Verifier) Require(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a, refusal := v.authorize(r, scopes)
			if refusal != nil {
				v.refuse(w, r, refusal)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accessKey{}, a)))
		})
	}
}

// A refusal is an answer of RFC 6750 §3.
type refusal struct {
	status      int
	code        string // "" if the request tried nothing, or if it is not to blame
	description string
	scopes      []string
	err         error
}

func (v *Verifier) authorize(r *http.Request, scopes []string) (*Access, *refusal) {
	raw, bad := bearer(r.Header.Values("Authorization"))
	if bad != nil {
		bad.scopes = scopes
		return nil, bad
	}
	a, err := v.Verify(r.Context(), raw)
	switch {
	case errors.Is(err, ErrExpired):
		return nil, &refusal{http.StatusUnauthorized, "invalid_token", "The access token has expired", scopes, err}
	case errors.Is(err, ErrInvalid):
		return nil, &refusal{http.StatusUnauthorized, "invalid_token", "The access token is not valid here", scopes, err}
	case err != nil:
		return nil, &refusal{status: http.StatusServiceUnavailable, err: err}
	}
	for _, s := range scopes {
		if !slices.Contains(a.Scope, s) {
			return nil, &refusal{http.StatusForbidden, "insufficient_scope", "The access token lacks a scope", scopes, nil}
		}
	}
	return a, nil
}

// bearer returns the token of a request's Authorization headers.
func bearer(headers []string) (string, *refusal) {
	if len(headers) > 1 {
		return "", &refusal{status: http.StatusBadRequest, code: "invalid_request", description: "More than one Authorization header"}
	}
	scheme, raw, _ := strings.Cut(strings.Join(headers, ""), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &refusal{status: http.StatusUnauthorized} // RFC 6750 §3.1: no credentials, no error code
	}
	raw = strings.TrimLeft(raw, " ")
	if raw == "" {
		return "", &refusal{status: http.StatusBadRequest, code: "invalid_request", description: "No access token"}
	}
	return raw, nil
}

func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	if v.Log != nil && f.status == http.StatusServiceUnavailable {
		v.Log.WarnContext(r.Context(), "access tokens cannot be verified", "error", f.err)
	} else if v.Log != nil && f.code != "" {
		v.Log.DebugContext(r.Context(), "access token refused", "code", f.code, "error", f.err)
	}
	w.Header().Set("Cache-Control", "no-store")
	if f.status != http.StatusServiceUnavailable {
		w.Header().Set("WWW-Authenticate", v.challenge(f))
	}
	http.Error(w, http.StatusText(f.status), f.status)
}

// challenge returns the WWW-Authenticate header of RFC 6750 §3.
func (v *Verifier) challenge(f *refusal) string {
	c := `Bearer realm="` + quotable(v.Audience) + `"`
	if f.code != "" {
		c += `, error="` + f.code + `", error_description="` + f.description + `"`
	}
	if len(f.scopes) > 0 {
		c += `, scope="` + quotable(strings.Join(f.scopes, " ")) + `"`
	}
	return c
}

// quotable leaves out what would end a quoted string or the header.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}
