package op

import (
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// Scopes that do something else than ask for claims about the user (OpenID Connect Core §5.4 and §11, RFC 9068 §2.2.3.1).
const (
	scopeOffline = "offline_access" // a refresh token that outlives the session
	scopeRoles   = "roles"          // the user's roles, in the access token
	scopeGroups  = "groups"         // the user's groups, in the access token
)

// defaultScopes are what a client may ask for that does not say.
var defaultScopes = []string{"openid", "profile", "email"}

// userScopes are those that mean nothing without a user. What else a client may ask for means something to its APIs.
var userScopes = []string{"openid", "profile", "email", scopeOffline, scopeRoles, scopeGroups}

// scopesOf returns what the client may ask for.
func scopesOf(c *store.Client) []string {
	if c.Scopes == nil {
		return defaultScopes
	}
	return c.Scopes
}

// scopeIn returns what of a scope can be granted in session s: a user who vanishes with it can leave nothing that outlives it, and
// then the request for that is ignored (OpenID Connect Core §11).
func scopeIn(s *store.Session, scope []string) []string {
	if len(s.TransientUser) == 0 {
		return scope
	}
	return slices.DeleteFunc(slices.Clone(scope), func(name string) bool { return name == scopeOffline })
}

// narrowScope returns what of granted the client may still have, and of that what is asked for, "" for all. To ask for
// more is refused (RFC 6749 §6).
func narrowScope(c *store.Client, granted []string, asked string) ([]string, error) {
	scope := permitted(c, strings.Join(granted, " "))
	if asked == "" {
		return scope, nil
	}
	var narrow []string
	for s := range strings.FieldsSeq(asked) {
		if !slices.Contains(scope, s) {
			return nil, invalidScope("scope is more than was granted")
		}
		if !slices.Contains(narrow, s) {
			narrow = append(narrow, s)
		}
	}
	return narrow, nil
}

// targets returns the APIs that tokens are to be for (RFC 8707 §2): those that are asked for, which must all be among those
// that the client may have and, if it was granted only some of them, among these. Nobody asking, it is what was granted;
// nil is what the client has by default.
func (p *Provider) targets(c *store.Client, granted, asked []string) ([]string, error) {
	allowed := p.audience(c, nil)
	if len(granted) > 0 {
		allowed = slices.DeleteFunc(slices.Clone(granted), func(r string) bool { return !slices.Contains(allowed, r) })
	}
	var targets []string
	for _, r := range asked {
		if r == "" || slices.Contains(targets, r) { // RFC 6749 §3.1: without a value it counts as left out
			continue
		}
		if !slices.Contains(allowed, r) {
			return nil, errTarget
		}
		targets = append(targets, r)
	}
	if len(targets) > 0 || len(granted) == 0 {
		return targets, nil
	}
	if len(allowed) == 0 {
		return nil, errTarget
	}
	return allowed, nil
}

// errTarget does not say which: what exists is nobody's business who may not use it.
var errTarget = badRequest("invalid_target", "resource is none that the client may have tokens for")

// audience returns what an access token for these resources has as its "aud". One that names none is for all of the
// client's APIs and for our userinfo endpoint, which can be named by the issuer's URL.
func (p *Provider) audience(c *store.Client, resources []string) []string {
	if len(resources) > 0 {
		return resources
	}
	return append(slices.Clone(c.Audience), p.issuer())
}

// narrowGrant narrows what tokens are issued for to what is asked, and to what the client may have by now: scopes, and the
// single claims that belong to them.
func narrowGrant(g *store.Grant, c *store.Client, asked string) error {
	scope, err := narrowScope(c, g.Scope, asked)
	if err != nil {
		return err
	}
	if len(scope) < len(g.Scope) { // what is narrowed down is for nothing beyond its scope
		g.ClaimsRequest = nil
	}
	g.Scope = scope
	g.ClaimsRequest = slices.DeleteFunc(slices.Clone(g.ClaimsRequest), func(entry string) bool {
		name := strings.TrimPrefix(strings.TrimPrefix(entry, inIDToken), inUserInfo)
		return !slices.Contains(scopesOf(c), claimScopes[name])
	})
	return nil
}
