package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
	"github.com/go-idbroker/idbroker/token"
)

const (
	hs256   = "HS256"
	jwtType = "JWT"
	// maxTokenAge is how old an ID token may be that the token endpoint has only just sent.
	maxTokenAge = 10 * time.Minute
	maxTokenLen = 16 << 10
	maxSubject  = 255 // OpenID Connect Core §2
)

// acceptable returns those of the algorithms that a provider lists which may be accepted without being asked for, or
// RS256, which every provider must have (OpenID Connect Discovery §3).
func acceptable(listed []string) []string {
	algs := slices.DeleteFunc(slices.Clone(listed), func(alg string) bool { return !isAsymmetric(alg) })
	if len(algs) == 0 {
		return []string{"RS256"}
	}
	slices.Sort(algs)
	return slices.Compact(algs)
}

func isAsymmetric(alg string) bool {
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA":
		return true
	}
	return false
}

// verifyIDToken makes the checks of OpenID Connect Core §3.1.3.7, and those of §3.1.3.8 and of RFC 8725 with them, and
// returns the claims.
//
// go-oidc verifies algorithm, signature, audience and expiry. But it reads claims without regard to the case of their
// names and leaves much unread, so that all that matters is read here again, by its exact name.
func (p *Provider) verifyIDToken(ctx context.Context, up *upstream, t *provider.Tokens, code string, l *login) (claims, error) {
	c, alg, err := p.openIDToken(ctx, up, t)
	if err != nil {
		return nil, err
	}
	for _, err := range []error{
		p.checkIDToken(c, t, alg),
		checkNonce(c, l.Nonce),
		checkHash(c, "c_hash", code, alg),
		p.checkAuthTime(c, l),
	} {
		if err != nil {
			return nil, fail(provider.Invalid, "ID token: %w", err)
		}
	}
	return c, nil
}

// openIDToken verifies who signed the ID token, that it is for this client and has not expired, and returns its claims and the
// algorithm.
func (p *Provider) openIDToken(ctx context.Context, up *upstream, t *provider.Tokens) (_ claims, alg string, err error) {
	// What is kept is what was signed: as an id_token_hint it has to go back so (OpenID Connect Core §3.1.2.1).
	if t.IDToken, err = p.open(t.IDToken, p.cfg.RequireEncryptedIDToken, jwtType); err != nil {
		return nil, "", fail(provider.Invalid, "ID token: %w", err)
	}
	h, err := parseHeader(t.IDToken, up.algs, jwtType)
	if err != nil {
		return nil, "", fail(provider.Invalid, "ID token: %w", err)
	}
	keys := &keySet{KeySet: up.keys}
	verifier := goidc.NewVerifier("", keys, &goidc.Config{
		ClientID:             p.cfg.ClientID,
		SupportedSigningAlgs: up.algs,
		SkipIssuerCheck:      true, // more than one may be right: checkIssuer looks
		Now:                  func() time.Time { return p.now().Add(-p.cfg.ClockSkew) },
	})
	verified, err := verifier.Verify(ctx, t.IDToken)
	if err != nil {
		return nil, "", keys.explain("ID token", err)
	}
	var payload json.RawMessage
	if err := verified.Claims(&payload); err != nil {
		return nil, "", fail(provider.Invalid, "ID token: %w", err)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, "", fail(provider.Invalid, "ID token: %w", err)
	}
	return c, h.Alg, nil
}

// checkIDToken makes those checks that do not depend on the login.
func (p *Provider) checkIDToken(c claims, t *provider.Tokens, alg string) error {
	for _, err := range []error{
		p.checkIssuer(c), p.checkAudience(c), checkPurpose(c), p.checkTimes(c), checkHash(c, "at_hash", t.AccessToken, alg), checkSubject(c),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// A header is the part of a JOSE header that is looked at before any key.
type header struct {
	Alg  string
	Type string
}

// parseHeader refuses tokens that are for something else (RFC 8725 §3.11) or that need to be understood in a way that
// nobody here does. A token without a type passes.
func parseHeader(raw string, algs []string, types ...string) (h header, err error) {
	if len(raw) > maxTokenLen {
		return h, fmt.Errorf("it has %d bytes", len(raw))
	}
	if strings.Count(raw, ".") != 2 {
		return h, errors.New("it is not a signed JWT")
	}
	c, err := decodeHeader(raw)
	if err != nil {
		return h, err
	}
	h.Alg, _ = c["alg"].(string)
	if !slices.Contains(algs, h.Alg) {
		return h, fmt.Errorf("signed with %s, accepted are %s", oauth.Quote(h.Alg), strings.Join(algs, " "))
	}
	if err := refuseParams(c, "crit", "b64"); err != nil {
		return h, err
	}
	return h, checkType(c, "typ", types)
}

func (p *Provider) checkIssuer(c claims) error {
	iss, err := c.must("iss")
	if err != nil {
		return err
	}
	tenant, ok := p.issuers.accept(iss)
	if !ok {
		return fmt.Errorf("issuer is %s, want %q", oauth.Quote(iss), p.cfg.Issuer)
	}
	if tenant != "" && c["tid"] != tenant {
		return errors.New("the tenant of the issuer is not that of the user")
	}
	return nil
}

func (p *Provider) checkAudience(c claims) error {
	audience, err := c.audience()
	if err != nil {
		return err
	}
	if !slices.Contains(audience, p.cfg.ClientID) {
		return errors.New("audience is not this client")
	}
	switch azp, there := c["azp"]; {
	case there && azp != p.cfg.ClientID:
		return errors.New("azp is not this client")
	case !there && len(audience) > 1:
		return errors.New("several audiences and no azp")
	}
	return nil
}

// checkPurpose refuses security event tokens (RFC 8417): those for back-channel logout have the same issuer, audience and
// key, and need no type of their own.
func checkPurpose(c claims) error {
	if _, there := c["events"]; there {
		return errors.New("it is a security event, a logout token for instance")
	}
	return nil
}

func (p *Provider) checkTimes(c claims) error {
	now, skew := p.now(), p.cfg.ClockSkew
	exp, there, err := c.time("exp")
	if err != nil || !there {
		return orMissing(err, "exp")
	}
	iat, there, err := c.time("iat")
	if err != nil || !there {
		return orMissing(err, "iat")
	}
	nbf, _, err := c.time("nbf")
	switch {
	case err != nil:
		return err
	case !now.Before(exp.Add(skew)):
		return errors.New("expired")
	case iat.After(now.Add(skew)):
		return errors.New("issued in the future: are both clocks right?")
	case iat.Before(now.Add(-maxTokenAge - skew)):
		return errors.New("issued too long ago: are both clocks right?")
	case nbf.After(now.Add(skew)):
		return errors.New("not valid yet")
	}
	return nil
}

func orMissing(err error, name string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("no %s", name)
}

// checkNonce refuses a nonce where none was sent, too: somebody else's login had it.
func checkNonce(c claims, want string) error {
	got, there := c["nonce"]
	if !there && want == "" {
		return nil
	}
	s, ok := got.(string)
	if !ok || want == "" || subtle.ConstantTimeCompare([]byte(s), []byte(want)) != 1 {
		return errors.New("nonce is not that of this login")
	}
	return nil
}

// checkHash compares the claim, if it is there, with the left half of the hash of value (OpenID Connect Core §3.1.3.6).
func checkHash(c claims, name, value, alg string) error {
	got, there := c[name]
	if !there {
		return nil
	}
	var h hash.Hash
	switch {
	case strings.HasSuffix(alg, "256"):
		h = sha256.New()
	case strings.HasSuffix(alg, "384"):
		h = sha512.New384()
	default: // 512 and Ed25519
		h = sha512.New()
	}
	h.Write([]byte(value))
	want := base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:h.Size()/2])
	if s, ok := got.(string); !ok || subtle.ConstantTimeCompare([]byte(s), []byte(want)) != 1 {
		return fmt.Errorf("%s does not fit what came with it", name)
	}
	return nil
}

// checkSubject refuses what could not be a key, and what OpenID Connect Core §2 does not allow.
func checkSubject(c claims) error {
	sub, err := c.must("sub")
	if err != nil {
		return err
	}
	if len(sub) > maxSubject || !provider.IsSubject(sub) {
		return errors.New("subject is unusable")
	}
	for i := range len(sub) {
		if sub[i] < ' ' || sub[i] > '~' {
			return errors.New("subject has other than printable ASCII characters")
		}
	}
	return nil
}

// checkAuthTime holds the provider to the max_age that it was sent. What counts is the age when it was asked, not when the
// user is done with its pages.
func (p *Provider) checkAuthTime(c claims, l *login) error {
	at, there, err := c.time("auth_time")
	switch {
	case err != nil:
		return err
	case there && at.After(p.now().Add(p.cfg.ClockSkew)):
		return errors.New("auth_time is in the future")
	case l.MaxAge == nil:
		return nil
	case !there:
		return errors.New("no auth_time, though max_age was asked for")
	case at.Before(time.Unix(l.Begun-*l.MaxAge, 0).Add(-p.cfg.ClockSkew)):
		return errors.New("the user proved who they are longer ago than max_age allows")
	}
	return nil
}

// keySet remembers why a signature was not verified, which go-oidc turns into text.
type keySet struct {
	goidc.KeySet
	err error
}

// VerifySignature is called by go-oidc.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	var payload []byte
	payload, k.err = k.KeySet.VerifySignature(ctx, jwt)
	return payload, k.err
}

// explain tells a bad token from keys that could not be had.
func (k *keySet) explain(what string, err error) error {
	switch {
	case k.err == nil:
		return fail(provider.Invalid, "%s: %w", what, err)
	case errors.Is(k.err, token.ErrInvalid):
		return fail(provider.Invalid, "%s: %w", what, k.err)
	}
	return fail(provider.Unavailable, "%s: keys of the provider: %w", what, k.err)
}

// secretKey verifies what was signed with the client secret by HS256.
type secretKey string

// VerifySignature verifies the signature of a JWT and returns its payload.
func (k secretKey) VerifySignature(_ context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return nil, fmt.Errorf("%w: malformed", token.ErrInvalid)
	}
	payload, err := jws.Verify([]byte(k))
	if err != nil {
		return nil, fmt.Errorf("%w: signature", token.ErrInvalid)
	}
	return payload, nil
}
