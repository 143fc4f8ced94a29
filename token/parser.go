package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Parser verifies tokens of one type from one issuer for one audience. Type, Issuer, Audience and Keys are required, and
// nothing is accepted without them. A Parser is safe for concurrent use once its fields are set.
//
// It makes the checks of RFC 7519 §7.2 and RFC 8725, and more: the algorithm is in the list and fits the key, the header
// has no "crit", "typ" is Type, "iss" is Issuer, "aud" contains Audience, "sub" is there (in a logout token: or "sid"),
// "exp" and "iat" are there, and now is between "iat", "nbf" and "exp". [ClientAssertion] says what differs for it.
// Nothing is decoded twice or leniently: no JSON name occurs twice, and base64url has no line breaks, padding or bits
// left over.
type Parser struct {
	Type     Type
	Issuer   string
	Audience string
	Keys     KeySource

	// Algorithms that are accepted. Nil is all that the broker signs with: RS256, PS256, ES256, EdDSA.
	Algorithms []string
	// MaxSize is the length in bytes above which a token is refused unread. Zero is 16 KiB.
	MaxSize int
	// Leeway is how far the issuer's clock may be from ours. Zero is ten seconds, negative is none.
	Leeway time.Duration
	// Now returns the current time. Nil is time.Now.
	Now func() time.Time

	// SkipAudience accepts any audience, for the issuer's own tokens that it gets back (id_token_hint). The caller
	// looks at Claims.Audience.
	SkipAudience bool
	// SkipExpiry accepts what has expired, likewise. There must be an "exp" all the same.
	SkipExpiry bool
}

// Claims are the registered claims (RFC 7519 §4.1) of a token that was verified. Times that it does not have are zero.
type Claims struct {
	Issuer    string
	Subject   string
	Audience  []string
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	ID        string
	Payload   json.RawMessage // all claims, as they were signed

	members object
}

// Decode unmarshals all claims into v as encoding/json does. The error is an [ErrInvalid] that says nothing of the claims.
func (c *Claims) Decode(v any) error {
	if err := json.Unmarshal(c.Payload, v); err != nil {
		return invalid(fmt.Sprintf("the claims do not fit %T", v))
	}
	return nil
}

var ownAlgorithms = []string{RS256, PS256, ES256, EdDSA}

const defaultLeeway = 10 * time.Second

// Parse verifies a token. What is wrong with a token is an [ErrInvalid], and an [ErrExpired] if it is nothing but old; any
// other error means that it could not be checked. With an error there are no claims.
func (p *Parser) Parse(ctx context.Context, raw string) (*Claims, error) {
	if p.Type == "" || p.Issuer == "" || p.Audience == "" && !p.SkipAudience || p.Keys == nil {
		return nil, errors.New("verify token: the Parser lacks its Type, Issuer, Audience or Keys")
	}
	j, err := split(raw, cmp.Or(p.MaxSize, defaultMaxSize))
	if err != nil {
		return nil, err
	}
	if !p.Type.accepts(j.typ) {
		return nil, invalid("type")
	}
	if j.alg == HS256 && p.Type != ClientAssertion {
		return nil, invalid("algorithm")
	}
	accepted := p.Algorithms
	if accepted == nil {
		accepted = ownAlgorithms
	}
	now := clock(p.Now)
	payload, err := j.verify(ctx, p.Keys, accepted, now)
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	if err := p.check(c, now); err != nil {
		return nil, err
	}
	return c, nil
}

func clock(now func() time.Time) time.Time {
	if now == nil {
		return time.Now()
	}
	return now()
}

func parseClaims(payload []byte) (*Claims, error) {
	o, err := parseObject(payload)
	if err != nil {
		return nil, fmt.Errorf("%w in the claims", err)
	}
	c := &Claims{Payload: payload, members: o}
	for _, err := range []error{
		o.text("iss", &c.Issuer), o.text("sub", &c.Subject), o.text("jti", &c.ID), o.texts("aud", &c.Audience),
		o.date("exp", &c.Expires), o.date("nbf", &c.NotBefore), o.date("iat", &c.IssuedAt),
	} {
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// check compares the claims with what is expected. Expiry comes last, so that ErrExpired says that all else is right.
func (p *Parser) check(c *Claims, now time.Time) error {
	leeway := max(cmp.Or(p.Leeway, defaultLeeway), 0)
	switch {
	case c.Issuer != p.Issuer:
		return invalid("issuer")
	case !p.SkipAudience && !slices.Contains(c.Audience, p.Audience):
		return invalid("audience")
	case c.Subject == "" && !(p.Type == LogoutToken && c.hasSession()):
		return invalid("no subject")
	case p.Type == ClientAssertion && (c.Subject != c.Issuer || c.ID == ""):
		return invalid("not by the client about itself, or without a jti")
	case p.Type == IDToken && c.Subject == c.Issuer:
		return invalid("about its issuer: that is a client assertion")
	case c.IssuedAt.IsZero() && p.Type != ClientAssertion || c.IssuedAt.After(now.Add(leeway)):
		return invalid("not issued yet")
	case c.NotBefore.After(now.Add(leeway)):
		return invalid("not valid yet")
	case c.Expires.IsZero():
		return invalid("no expiry")
	case !p.SkipExpiry && !now.Add(-leeway).Before(c.Expires):
		return ErrExpired
	}
	return nil
}

// hasSession reports whether a logout token names a session, which it may instead of a subject.
func (c *Claims) hasSession() bool {
	var sid string
	return c.members.text("sid", &sid) == nil && sid != ""
}
