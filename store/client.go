package store

import "time"

// Client authentication methods, as registered for "token_endpoint_auth_methods_supported" (OpenID Connect Core §9).
const (
	AuthSecretBasic = "client_secret_basic"
	AuthSecretPost  = "client_secret_post"
	AuthNone        = "none" // a public client: PKCE is all it has
)

// Grant types, for [Client.Grants].
const (
	GrantTypeCode          = "authorization_code"                              // RFC 6749 §4.1
	GrantTypeRefresh       = "refresh_token"                                   // RFC 6749 §6
	GrantTypeCredentials   = "client_credentials"                              // RFC 6749 §4.4
	GrantTypeDevice        = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628
	GrantTypeTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
)

// A Client is an application that signs its users in at the broker over OpenID Connect.
type Client struct {
	ID      string
	Name    string   // for people; "" shows ID
	HomeURL string   // where a page's "back to the application" leads; "" offers no such link
	Secrets [][]byte // any of them is accepted, so that a secret can be exchanged without a gap
	// AuthMethod is the one way in which this client authenticates: "" is [AuthSecretBasic].
	AuthMethod string
	// Grants are the grant types that this client may use; nil is [GrantTypeCode] and [GrantTypeRefresh]. The others
	// have to be named, and then those two as well where they are wanted.
	Grants       []string
	RedirectURIs []string // compared as strings, byte for byte (RFC 9700 §2.1)
	Scopes       []string // what it may ask for; nil is openid, profile and email
	Audience     []string // the APIs its access tokens are for, beside the broker's own userinfo endpoint
	Disabled     bool
	// InsecureWithoutPKCE lets a client that has a secret leave the code challenge out (RFC 9700 §2.1.1 would have it).
	InsecureWithoutPKCE bool

	IDTokenAlg      string        // JWA name; "" is RS256
	AccessTokenAlg  string        // JWA name; "" is ES256
	IDTokenLifetime time.Duration // 0 is five minutes
	// AccessTokenLifetime is how long an access token lives; 0 is five minutes.
	AccessTokenLifetime time.Duration
}
