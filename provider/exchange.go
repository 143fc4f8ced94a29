package provider

import "context"

// TokenVerifier is the capability of an [IdentityProvider] whose tokens mean something without a browser: an application
// that got one by itself exchanges it for the broker's (RFC 8693).
type TokenVerifier interface {
	// VerifyToken verifies a token that says who somebody is, and returns what Finish would. It must refuse, with a
	// [*Error], what it cannot verify, what was not issued for the broker or for an application that the configuration
	// names, what is older than a few minutes, and what says something else than who signed in, an access token above all.
	// That a token was not used before is the caller's to check.
	VerifyToken(ctx context.Context, token string) (*Identity, error)
}
