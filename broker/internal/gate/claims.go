package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// ownClaims are written by the broker and mean what the specifications say: nobody else's word may stand in their place
// (advisories: custom claims that overwrite reserved ones).
var ownClaims = []string{
	// JWT (RFC 7519 §4.1), and what binds or chains tokens (RFC 7800, RFC 8693 §4, RFC 9068 §2.2)
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "typ", "cnf", "act", "may_act", "client_id", "scope", "scp", "azp", "events", "toe", "txn",
	"sub_id", "vot", "vtm", "trust_framework", "token_type", "active", "authorization_details", "permissions", "entitlements",
	// ID tokens and logout tokens (OpenID Connect Core §2, §3.3.2.11, Back-Channel Logout §2.4)
	"auth_time", "nonce", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "sub_jwk", "identity_provider", "_claim_names", "_claim_sources",
	// about users (OpenID Connect Core §5.1), which have a source of their own
	"name", "given_name", "family_name", "preferred_username", "picture", "locale", "updated_at", "email", "email_verified",
	"phone_number_verified",
}

// checkClaims returns every mistake in the claims of a client.
func checkClaims(c *store.Client) (errs []error) {
	seen := map[string]bool{}
	for _, claim := range c.Claims {
		if err := checkClaim(claim); err != nil {
			errs = append(errs, fmt.Errorf("Claims: %q: %w", claim.Name, err))
		}
		for _, place := range ClaimPlaces(claim) {
			if at := place + " " + claim.Name; seen[at] {
				errs = append(errs, fmt.Errorf("Claims: %q is twice in the %s", claim.Name, place))
			} else {
				seen[at] = true
			}
		}
		if claim.Scope != "" && c.Scopes != nil && !slices.Contains(c.Scopes, claim.Scope) {
			errs = append(errs, fmt.Errorf("Claims: %q: Scopes do not have %q", claim.Name, claim.Scope))
		}
	}
	return errs
}

func checkClaim(c store.ClientClaim) error {
	if c.Name == "" || len(c.Name) > 128 || strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
		return errors.New("is no name of a claim: 1 to 128 printable ASCII characters without spaces and quotes")
	}
	if slices.Contains(ownClaims, c.Name) {
		return errors.New("is a claim that the broker writes itself")
	}
	if kind, name, ok := strings.Cut(c.From, ":"); !(ok && name != "" && (kind == "attribute" || kind == "note")) && c.From != "roles" && c.From != "groups" {
		return fmt.Errorf(`From %q is none of "attribute:NAME", "note:NAME", "roles" and "groups"`, c.From)
	}
	if (c.Name == "roles" || c.Name == "groups") && c.From != c.Name {
		return fmt.Errorf("is what the scope %s says, and comes from nothing else", c.Name)
	}
	for _, place := range c.In {
		if !slices.Contains([]string{store.ClaimInIDToken, store.ClaimInAccessToken, store.ClaimInUserInfo}, place) {
			return fmt.Errorf("In has %q, which is no place for a claim", place)
		}
	}
	return nil
}

// ClaimPlaces returns the places that say the claim.
func ClaimPlaces(c store.ClientClaim) []string {
	if c.In == nil {
		return []string{store.ClaimInIDToken, store.ClaimInUserInfo}
	}
	return c.In
}
