package provider

import (
	"context"
	"log/slog"
	"time"
)

// TypeSAML2 is the IssuedType of [Tokens] whose AccessToken is a SAML 2.0 assertion (RFC 8693 §3).
const TypeSAML2 = "urn:ietf:params:oauth:token-type:saml2"

// Tokens are what an upstream issued for itself.
type Tokens struct {
	AccessToken  string // or what IssuedType says
	TokenType    string // how AccessToken is sent, "Bearer"; "N_A" is not at all (RFC 8693 §2.2.1)
	RefreshToken string
	IDToken      string
	Scope        string
	Expiry       time.Time // of AccessToken; zero if the upstream did not say
	// IssuedType says what AccessToken is: "" is an access token of OAuth 2.0, [TypeSAML2] the base64url of an assertion.
	IssuedType string
}

// LogValue keeps tokens out of logs.
func (*Tokens) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps tokens out of whatever is printed.
func (*Tokens) String() string { return "[redacted]" }

// TokenRefresher is the capability of an [IdentityProvider] whose tokens can be renewed without the user.
type TokenRefresher interface {
	// RefreshTokens trades the RefreshToken of old, which it leaves as it is, for new tokens of the same user (RFC 6749 §6).
	// What the upstream does not send anew is taken over from old. The refresh token may be spent once the call has begun,
	// and the one in the answer the only one that is good: the caller must not call it with the same one twice, nor lose
	// what it returns. It fails with a [*Error], of the kind Expired where the refresh token is no longer good and only
	// the user can get another, by signing in; and of the kind Denied where the upstream refuses and it is not known why, which
	// the broker takes for the same once it has gone on for an hour.
	RefreshTokens(ctx context.Context, old *Tokens) (*Tokens, error)
}

// TokenRevoker is the capability of an [IdentityProvider] that can be told that its tokens are not needed any more.
type TokenRevoker interface {
	// RevokeTokens makes the tokens invalid, as far as the upstream can do so (RFC 7009); nothing to be done is no error,
	// and neither are tokens that are invalid already.
	RevokeTokens(ctx context.Context, t *Tokens) error
}

// A TokenMode says whether the broker keeps what an upstream has issued for itself, and for how long.
type TokenMode int

const (
	TokensDropped TokenMode = iota // nothing is kept
	TokensOnLink                   // with the link of user and upstream: until it is removed, or they sign in again
	// TokensInSession keeps it with the session that the upstream has vouched for, and no longer. What is linked while somebody is
	// signed in by another provider has none. A session is read with each of its requests, and so are its tokens.
	TokensInSession
)
