package store

import (
	"context"
	"time"
)

// Client authentication methods, as registered for "token_endpoint_auth_methods_supported" (OpenID Connect Core §9).
const (
	AuthSecretBasic = "client_secret_basic"
	AuthSecretPost  = "client_secret_post"
	AuthNone        = "none" // a public client: PKCE is all it has
	// AuthSecretJWT and AuthPrivateKeyJWT sign an assertion (RFC 7523 §3), by HS256 with one of Secrets and by a private key.
	AuthSecretJWT     = "client_secret_jwt"
	AuthPrivateKeyJWT = "private_key_jwt"
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
	// JWKS or JWKSURI are the public keys of a client with [AuthPrivateKeyJWT]: a JSON Web Key Set (RFC 7517 §5), or the https
	// address of one, which is fetched when it is needed. One of them is set.
	JWKS, JWKSURI string
	// AuthSigningAlg is the one algorithm of its assertions: RS256, PS256, ES256 or EdDSA, or HS256 with [AuthSecretJWT]. ""
	// is each that fits the method and the key.
	AuthSigningAlg string
	// Grants are the grant types that this client may use; nil is [GrantTypeCode] and [GrantTypeRefresh]. The others
	// have to be named, and then those two as well where they are wanted.
	Grants       []string
	RedirectURIs []string // compared as strings, byte for byte (RFC 9700 §2.1)
	// Scopes are what it may ask for; nil is openid, profile and email. With offline_access its refresh tokens outlive
	// sessions; with roles or groups its access tokens say those of the user. Others mean what its APIs take them for.
	Scopes []string
	// Claims are said of users beside those of OpenID Connect's own scopes.
	Claims []ClientClaim
	// Audience are the APIs that its access tokens are for, beside the broker's own userinfo endpoint. A request can narrow
	// it down by the parameter "resource" (RFC 8707). A client that is named here may introspect the tokens
	// and, with [GrantTypeTokenExchange], exchange them for tokens for what its own Audience names.
	Audience []string
	// PostLogoutRedirectURIs are where a sign-out that it asked for may lead back to, compared as RedirectURIs are (OpenID
	// Connect RP-Initiated Logout 1.0 §3.1).
	PostLogoutRedirectURIs []string
	// BackchannelLogoutURI is told, with a logout token, of each session that has ended in which the client was granted
	// something (OpenID Connect Back-Channel Logout 1.0 §2.2); "" is not told.
	BackchannelLogoutURI string
	// FrontchannelLogoutURI is loaded in a frame of the signed-out page for the same (OpenID Connect Front-Channel Logout
	// 1.0 §2), with iss and sid. It has the origin of one of RedirectURIs. Browsers that keep third parties' cookies away
	// make little of it: prefer the back channel. "" is not loaded.
	FrontchannelLogoutURI string
	// Providers are the aliases of those that may vouch for its users; nil is all. A session that another provider vouched
	// for is none to this client.
	Providers []string
	// ProviderTokens are the aliases of those whose own tokens it may fetch, for users with the role broker.read-token, if they are
	// stored; nil is none.
	ProviderTokens []string
	Origins        []string // of the pages whose scripts may call the token endpoint and its like (CORS), such as "https://spa.example"
	Disabled       bool     // may not be used, and no token that was issued to it is valid
	// InsecureWithoutPKCE lets a client that has a secret leave the code challenge out (RFC 9700 §2.1.1 would have it).
	InsecureWithoutPKCE bool

	// Consent has each user asked once whether the client may have what it asks for. The answer is remembered until the client
	// asks for more.
	Consent bool
	// RequireDPoP refuses token requests without a DPoP proof, so that every access token is bound to a key of the client (RFC
	// 9449 §5.2); others may bring one.
	RequireDPoP bool
	// RequirePAR refuses requests that the client did not push beforehand (RFC 9126 §6).
	RequirePAR bool

	UserInfoAlg     string        // JWA name of the signature of the userinfo response; "" is plain JSON
	IDTokenAlg      string        // JWA name; "" is RS256
	AccessTokenAlg  string        // JWA name; "" is ES256
	IDTokenLifetime time.Duration // 0 is five minutes
	// AccessTokenLifetime is how long an access token lives; 0 is five minutes.
	AccessTokenLifetime time.Duration
	// RefreshLifetime is how long a refresh token with the scope offline_access can be exchanged for the next one, counted
	// from the login; 0 is thirty days. Without that scope refresh tokens end with the session.
	RefreshLifetime time.Duration
	// RefreshIdle is how long such a refresh token lives without being used; 0 is fourteen days.
	RefreshIdle time.Duration

	Version int64 // for [Clients.PutClient]; the store counts it up from 1. A configured client has none
}

// A ClientClaim is a claim that a client gets about users, whoever vouched for them.
type ClientClaim struct {
	// Name of the claim. It is none that the broker writes itself, such as "sub", "email" or "acr".
	Name string
	// From says where it comes from: "attribute:" and the name of a user's attribute, "note:" and the name of a session's note,
	// "roles" or "groups".
	From string
	// Scope has to be granted for it; "" is each login.
	Scope string
	// In are the places that say it, of [ClaimInIDToken], [ClaimInAccessToken] and [ClaimInUserInfo]; nil is the ID token and
	// userinfo.
	In []string
	// List makes an array of it, of one value too, as roles and groups always are; otherwise it is the first value, as a string.
	List bool
}

// Places that say a [ClientClaim].
const (
	ClaimInIDToken     = "id_token"
	ClaimInAccessToken = "access_token"
	ClaimInUserInfo    = "userinfo"
)

// Clients keeps clients beside those that are configured. It is a role of its own: a [Store] need not have it.
type Clients interface {
	// Client returns the client with this id, or ErrNotFound.
	Client(ctx context.Context, id string) (*Client, error)
	// ListClients returns up to limit clients in an order of the store's own, which stays the same: those that follow the
	// one with the id after, be it still there or not, or the first if after is "". None is an empty slice and no error.
	ListClients(ctx context.Context, after string, limit int) ([]*Client, error)
	// PutClient adds c if c.Version is 0; ErrExists if its id is taken. Otherwise it replaces the client c.ID if its
	// version is still c.Version; ErrConflict if it is not or if there is no such client. Then it counts c.Version up.
	// Secrets are kept as they are given, which must be sealed: see PutClient of the package broker, and the package seal.
	PutClient(ctx context.Context, c *Client) error
	// DeleteClient removes the client; ErrNotFound if there is none. What was granted to it stays, for the caller to remove.
	DeleteClient(ctx context.Context, id string) error
}
