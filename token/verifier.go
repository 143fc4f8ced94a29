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

// A Verifier protects a resource server: it accepts access tokens (RFC 9068) of one issuer for one audience, sent in the
// Authorization header and nowhere else, as bearer tokens (RFC 6750 §2.1) or, with DPoP set, with the proof of the key that
// they are bound to (RFC 9449 §7.1). Issuer and Audience are required, and nothing is accepted without them. A token that
// is bound to a key ("cnf") never passes as a bearer token.
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
	// DPoP is what it takes to check proofs. Nil refuses every token that is bound to a key.
	DPoP *DPoP
	// Log is told, at debug level, why a token was refused, and as a warning that none can be checked. Nil is nobody.
	Log *slog.Logger

	once   sync.Once
	remote *Remote
}

// A DPoP is what a [Verifier] needs to check proofs of possession (RFC 9449). Both fields are required; without them every
// request is answered with 503.
type DPoP struct {
	// BaseURL is what senders put before the path of a request, such as "https://api.example": no header of the request
	// decides it. Where a part of the path is stripped on the way to the Verifier, BaseURL ends with that part.
	BaseURL string
	// Once remembers key until then, and reports whether it was not remembered yet: of any number of racing callers,
	// on all nodes, it says so to one. An error refuses the request.
	Once func(ctx context.Context, key string, until time.Time) (first bool, err error)
}

// An Access is what an access token allows.
type Access struct {
	Claims
	ClientID string
	Scope    []string
}

// Verify verifies an access token that was sent as a bearer token and returns what it allows. Errors are those of
// [Parser.Parse].
func (v *Verifier) Verify(ctx context.Context, raw string) (*Access, error) {
	a, err := v.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if a.members.has("cnf") {
		return nil, invalid("bound to its sender")
	}
	return a, nil
}

// verify accepts tokens that are bound to a key too.
func (v *Verifier) verify(ctx context.Context, raw string) (*Access, error) {
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
// others as RFC 6750 §3 and RFC 9449 §7.1 say: 401 with a challenge, or 403 where a scope is missing. If the issuer's keys
// cannot be had, or it cannot be known whether a proof was used before, the answer is 503.
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
	dpop        bool // the token came by the scheme DPoP
}

// errProof is what is wrong with a proof, and not with the access token.
var errProof = fmt.Errorf("%w proof", ErrInvalid)

func (v *Verifier) authorize(r *http.Request, scopes []string) (*Access, *refusal) {
	raw, dpop, bad := v.credentials(r.Header.Values("Authorization"))
	if bad == nil {
		var a *Access
		if a, bad = v.allow(r, raw, dpop, scopes); bad == nil {
			return a, nil
		}
	}
	bad.scopes, bad.dpop = scopes, dpop
	return nil, bad
}

// allow looks at what was sent by one of the schemes.
func (v *Verifier) allow(r *http.Request, raw string, dpop bool, scopes []string) (*Access, *refusal) {
	var a *Access
	var err error
	if dpop {
		a, err = v.prove(r, raw)
	} else {
		a, err = v.Verify(r.Context(), raw)
	}
	switch {
	case errors.Is(err, ErrExpired):
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_token", description: "The access token has expired", err: err}
	case errors.Is(err, errProof):
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_dpop_proof", description: "The DPoP proof is not valid here", err: err}
	case errors.Is(err, ErrInvalid):
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_token", description: "The access token is not valid here", err: err}
	case err != nil:
		return nil, &refusal{status: http.StatusServiceUnavailable, err: err}
	}
	for _, s := range scopes {
		if !slices.Contains(a.Scope, s) {
			return nil, &refusal{status: http.StatusForbidden, code: "insufficient_scope", description: "The access token lacks a scope"}
		}
	}
	return a, nil
}

// prove verifies an access token that was sent with a proof. The proof is used up last, when nothing else is wrong.
func (v *Verifier) prove(r *http.Request, raw string) (*Access, error) {
	if v.DPoP.BaseURL == "" || v.DPoP.Once == nil {
		return nil, errors.New("verify proof: the DPoP lacks its BaseURL or Once")
	}
	a, err := v.verify(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return nil, fmt.Errorf("%w: %d of them", errProof, len(proofs))
	}
	proof, err := ParseProof(proofs[0], r.Method, strings.TrimSuffix(v.DPoP.BaseURL, "/")+r.URL.EscapedPath(), clock(v.Now))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProof, err)
	}
	if !proof.Covers(raw, &a.Claims) {
		return nil, invalid("not bound to the key of the proof, or the proof is another token's")
	}
	first, err := v.DPoP.Once(r.Context(), proof.Key, proof.Until)
	if err != nil {
		return nil, fmt.Errorf("verify proof: %w", err)
	}
	if !first {
		return nil, fmt.Errorf("%w: used before", errProof)
	}
	return a, nil
}

// credentials returns the token of a request's Authorization headers, and whether it came by the scheme DPoP.
func (v *Verifier) credentials(headers []string) (raw string, dpop bool, bad *refusal) {
	if len(headers) > 1 {
		return "", false, &refusal{status: http.StatusBadRequest, code: "invalid_request", description: "More than one Authorization header"}
	}
	scheme, raw, _ := strings.Cut(strings.Join(headers, ""), " ")
	dpop = v.DPoP != nil && strings.EqualFold(scheme, "DPoP")
	if !dpop && !strings.EqualFold(scheme, "Bearer") {
		return "", false, &refusal{status: http.StatusUnauthorized} // RFC 6750 §3.1: no credentials, no error code
	}
	raw = strings.TrimLeft(raw, " ")
	if raw == "" {
		return "", dpop, &refusal{status: http.StatusBadRequest, code: "invalid_request", description: "No access token"}
	}
	return raw, dpop, nil
}

func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	if v.Log != nil && f.status == http.StatusServiceUnavailable {
		v.Log.WarnContext(r.Context(), "access tokens cannot be verified", "error", f.err)
	} else if v.Log != nil && f.code != "" {
		v.Log.DebugContext(r.Context(), "access token refused", "code", f.code, "error", f.err)
	}
	w.Header().Set("Cache-Control", "no-store")
	if f.status != http.StatusServiceUnavailable {
		w.Header()["Www-Authenticate"] = v.challenges(f)
	}
	http.Error(w, http.StatusText(f.status), f.status)
}

// challenges returns the WWW-Authenticate headers of RFC 6750 §3 and RFC 9449 §7.1: what is wrong by the scheme that was
// used, and with a 401 the other scheme, if there is one, for another try.
func (v *Verifier) challenges(f *refusal) []string {
	c := ` realm="` + quotable(v.Audience) + `"`
	other := c
	if f.code != "" {
		c += `, error="` + f.code + `", error_description="` + f.description + `"`
	}
	if len(f.scopes) > 0 {
		c += `, scope="` + quotable(strings.Join(f.scopes, " ")) + `"`
	}
	algs := `, algs="` + strings.Join(ownAlgorithms, " ") + `"`
	switch {
	case f.dpop && f.status == http.StatusUnauthorized:
		return []string{"DPoP" + c + algs, "Bearer" + other}
	case f.dpop:
		return []string{"DPoP" + c + algs}
	case v.DPoP != nil && f.status == http.StatusUnauthorized:
		return []string{"Bearer" + c, "DPoP" + other + algs}
	}
	return []string{"Bearer" + c}
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
