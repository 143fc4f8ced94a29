package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/claim"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
	"github.com/go-idbroker/idbroker/token"
)

const (
	defaultSkew    = time.Minute
	maxSkew        = 5 * time.Minute
	minSecretBytes = 32 // for an HMAC with SHA-256, RFC 7518 §3.2
	defaultTimeout = 10 * time.Second
)

// An AuthMethod says how the broker proves to the token endpoint that it is the client. The names are those of the
// registry in OpenID Connect Core §9 and RFC 7591 §2.
type AuthMethod string

// The methods. None is tried in place of another: a secret that is sent in two ways is in more logs than it should be.
const (
	ClientSecretBasic AuthMethod = "client_secret_basic" // id and secret are form-encoded first, RFC 6749 §2.3.1
	ClientSecretPost  AuthMethod = "client_secret_post"
	ClientSecretJWT   AuthMethod = "client_secret_jwt" // signed with HS256
	PrivateKeyJWT     AuthMethod = "private_key_jwt"
	NoClientAuth      AuthMethod = "none" // a public client, which PKCE alone protects
	// ClientSecretBasicUnencoded is client_secret_basic for a provider that takes id and secret as they are.
	ClientSecretBasicUnencoded AuthMethod = "client_secret_basic_unencoded"
)

// Endpoints are addresses of a provider. One that is set here beats the discovered one.
type Endpoints struct {
	Authorization string
	Token         string
	UserInfo      string
	JWKS          string
	EndSession    string // where to sign out (RP-Initiated Logout §2.1); without discovery the only way to know one
	Revocation    string // where it is told that tokens are not needed any more (RFC 7009); likewise
}

// Config describes an OpenID Provider and the broker as its client. Issuer, ClientID and a means of client authentication
// are required; everything else has a useful zero value.
type Config struct {
	// Issuer is the provider's issuer identifier, exactly as the provider spells it, a slash at the end included. The
	// rest is discovered at Issuer + "/.well-known/openid-configuration" when it is first needed.
	//
	// It may contain "{tenantid}", as Microsoft Entra's multi-tenant issuer does
	// ("https://login.microsoftonline.com/{tenantid}/v2.0"). The tenant of an ID token, its claim "tid", must then be one
	// of Tenants, and discovery is made with "organizations" in place of the tenant.
	Issuer string
	// Tenants are the ids (GUIDs) of the tenants whose users may come in. Only for an Issuer with "{tenantid}", and
	// required there.
	Tenants []string
	// InsecureAllowAnyTenant lets users of any tenant in: whoever signs up for a tenant of their own decides what its
	// users are called.
	InsecureAllowAnyTenant bool
	// Issuers are further values of "iss" that count as this provider.
	Issuers []string
	// DiscoveryURL is where the metadata is, if it is elsewhere. The issuer in it must be Issuer all the same.
	DiscoveryURL string
	// Endpoints beat those that are discovered. With Authorization, Token and JWKS all set nothing is discovered.
	Endpoints Endpoints
	// RequireResponseIssuer refuses an answer without the parameter "iss" (RFC 9207) even if the metadata does not promise
	// one. An "iss" that is there is always checked.
	RequireResponseIssuer bool

	ClientID     string // as registered at the provider
	ClientSecret string `json:"-"` // for all ways of client authentication but private_key_jwt and none
	// ClientSecretFunc returns the secret of the moment, in place of ClientSecret, for one that is made from a key, as Apple wants it,
	// or that is renewed elsewhere. It is called for each request to the token endpoint, by many goroutines, and its error is
	// logged. It goes with the methods that send the secret itself, client_secret_basic and client_secret_post.
	ClientSecretFunc func() (string, error) `json:"-"`
	// ClientKey signs for private_key_jwt: its ID, Algorithm and Private are used.
	ClientKey token.Key `json:"-"`
	// AuthMethod is ClientSecretBasic if empty and there is a ClientSecret or a ClientSecretFunc, PrivateKeyJWT if empty and there is a
	// ClientKey. A client without either must say NoClientAuth.
	AuthMethod AuthMethod
	// AssertionAudience is the audience of the assertion of private_key_jwt and client_secret_jwt; the address of the
	// token endpoint if empty (OpenID Connect Core §9). Some providers want their issuer.
	AssertionAudience string

	// Scopes to ask for; "openid" is always among them. If nil: openid, profile, email.
	Scopes []string
	// Prompt is sent with every login, in place of what the application asks, but for "login", which stands beside it where a new
	// proof is asked for. An application that asks for "none" gets
	// provider.LoginRequired then, as it does unless AcceptPromptNone is set.
	Prompt []string
	// PromptValues are the values of prompt that the provider knows, for one that turns others away or takes no notice of them. What
	// the application asks for beyond them is left out. Where neither they nor Prompt have "login", a login which is to be a new
	// proof is refused (provider.LoginRequired). If nil: all of OpenID Connect Core §3.1.2.1.
	PromptValues     []string
	IgnorePrompt     bool // what the application asks for is not passed on, but for "login" as with Prompt; by default all of it is
	AcceptPromptNone bool // "none" is passed on
	ForwardLoginHint bool // pass the application's login_hint on
	ForwardUILocales bool // pass the application's ui_locales on
	ForwardMaxAge    bool // pass the application's max_age on, and hold the provider to it
	// MaxAge is the longest time since the user proved who they are that is ever accepted; nil is any. Where the
	// application's is passed on too, the shorter one counts. A provider that is asked must send auth_time.
	MaxAge *time.Duration
	// ForwardParams are the names of further request parameters of the application that are passed on. acr_values
	// always is; parameters of the protocol itself are refused.
	ForwardParams []string
	// AuthParams are sent with every authorization request, "access_type" or "hd" for instance. They beat ForwardParams.
	AuthParams map[string]string
	// FormPost asks for the answer as a POST (OAuth 2.0 Form Post Response Mode) instead of in the URL.
	FormPost bool

	// SigningAlgs are the algorithms that ID tokens and signed userinfo may be signed with. If nil: those of RS, PS, ES
	// (256, 384, 512) and EdDSA that the metadata lists, or RS256 if it lists none. HS256, whose key is the ClientSecret,
	// must be set here, alone, and needs a secret of at least 32 bytes.
	SigningAlgs []string
	// ClockSkew is how far the provider's clock may be off; one minute if zero, five at most.
	ClockSkew time.Duration
	// DecryptionKeys open ID tokens, userinfo and logout tokens that the provider encrypts to this client (RFC 7516): the ID,
	// Algorithm and Private of each are used. What is encrypted has to be a signed JWT, for which all other checks are made.
	// Algorithm is RSA-OAEP-256 or RSA-OAEP (RSA of 2048 to 8192 bits), ECDH-ES, ECDH-ES+A128KW or ECDH-ES+A256KW (P-256),
	// and a key is used with no other. RSA-OAEP hashes with SHA-1, whose weakness does not matter there, and is what some
	// providers know alone; RSA1_5, dir and PBES2 are always refused, and so is compression ("zip").
	//
	// There may be eight, each with an ID of its own. [Provider.Descriptor] publishes the first for each Algorithm, the others
	// still open what was encrypted to them. To exchange a key without a gap put the new one behind the old one on every
	// node, then before it, and remove the old one when the provider has fetched the new.
	DecryptionKeys []token.Key `json:"-"`
	// ContentEncryption are the algorithms ("enc") that content may be encrypted with. If nil: A128GCM, A192GCM, A256GCM.
	// A128CBC-HS256, which providers use that were not told otherwise, and A256CBC-HS512 must be set here. They are safe as
	// they are authenticated (RFC 7518 §5.2), but where an implementation gets that wrong, CBC gives the content away.
	ContentEncryption []string
	// RequireEncryptedIDToken refuses ID tokens of a login that are not encrypted, RequireEncryptedUserInfo userinfo that is
	// not, for a client that is registered for it: they notice when a provider no longer encrypts.
	RequireEncryptedIDToken  bool
	RequireEncryptedUserInfo bool
	// DisableUserInfo spares the request to the userinfo endpoint, for a provider whose ID tokens say everything.
	DisableUserInfo bool
	// RequireSignedUserInfo refuses userinfo that is no signed JWT, for a client that is registered for one. What was
	// encrypted is signed anyway.
	RequireSignedUserInfo bool
	// GroupsClaim is the claim with the user's groups; "groups" if empty.
	GroupsClaim string
	// FormerSubjectClaim is the path, as package mapper describes it, of a claim of the ID token by which the provider named its users
	// before "sub" did: who is linked by that is linked by "sub" from the next login on. Userinfo is not asked for it. Empty is none.
	// Whoever can choose what stands there can sign in as anybody who is linked by it: no e-mail address, no name that can change.
	FormerSubjectClaim string
	// EssentialClaim is the name of a claim without which nobody gets in (provider.ClaimMismatch). EssentialValue is a
	// regular expression that the whole value, or one whole element of a list, must match; empty is any value.
	EssentialClaim string
	EssentialValue string
	// ExchangeAudiences are the ids of further clients at this provider, mobile applications for instance, whose ID tokens
	// [Provider.VerifyToken] accepts. Those of ClientID always are.
	ExchangeAudiences []string

	// HTTPClient is what the provider is fetched with; the guarded client of [provider.NewHTTPClient] if nil. One that
	// is given should be guarded too, may be shared among providers, and follows no redirects here unless its
	// CheckRedirect says so.
	HTTPClient *http.Client
	// InsecureAllowPrivateNetworks is for the client that is made when HTTPClient is nil.
	InsecureAllowPrivateNetworks bool
	InsecureAllowHTTP            bool // endpoints without TLS are not refused
	// InsecureSkipPKCE sends no code challenge, for a provider that chokes on it. Otherwise the method is S256: plain is none
	// that can be chosen, as it protects from nobody who reads the request (RFC 9700 §2.1.1).
	InsecureSkipPKCE  bool
	InsecureSkipNonce bool // no nonce is sent, for a provider that does not return it
	// InsecureAllowCodeInjection lets InsecureSkipPKCE and InsecureSkipNonce stand beside each other, for a provider that knows neither,
	// as LinkedIn: whoever gets hold of a code that was on its way to the broker can sign in with it as its user.
	InsecureAllowCodeInjection bool

	Now func() time.Time // time.Now if nil
}

// Format prints issuer and client, whatever the verb: the rest holds secrets.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "oidc client %q at %q", c.ClientID, c.Issuer)
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("issuer", c.Issuer), slog.String("client_id", c.ClientID))
}

// withDefaults returns c with its own copies of what it refers to.
func (c Config) withDefaults() Config {
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "profile", "email"}
	}
	c.Scopes = slices.Clone(c.Scopes)
	if !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
	if c.AuthMethod == "" {
		client := c.client()
		c.AuthMethod = AuthMethod(client.DefaultMethod())
	}
	if c.ClockSkew == 0 {
		c.ClockSkew = defaultSkew
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.DiscoveryURL == "" {
		at := strings.Replace(c.Issuer, tenantPlaceholder, "organizations", 1)
		c.DiscoveryURL = strings.TrimSuffix(at, "/") + "/.well-known/openid-configuration"
	}
	c.Tenants = slices.Clone(c.Tenants)
	for i, t := range c.Tenants {
		c.Tenants[i] = strings.ToLower(t)
	}
	c.Issuers = slices.Clone(c.Issuers)
	c.AuthParams = maps.Clone(c.AuthParams)
	if c.MaxAge != nil {
		c.MaxAge = new(*c.MaxAge)
	}
	c.Prompt, c.PromptValues = slices.Clone(c.Prompt), slices.Clone(c.PromptValues)
	c.ForwardParams = slices.Clone(c.ForwardParams)
	c.SigningAlgs = slices.Clone(c.SigningAlgs)
	c.DecryptionKeys = slices.Clone(c.DecryptionKeys)
	if c.ContentEncryption == nil {
		c.ContentEncryption = defaultEncryption
	}
	c.ContentEncryption = slices.Clone(c.ContentEncryption)
	c.ExchangeAudiences = slices.Clone(c.ExchangeAudiences)
	return c
}

// hmac reports whether ID tokens are signed with the client secret.
func (c *Config) hmac() bool { return slices.Contains(c.SigningAlgs, hs256) }

// discovers reports whether anything has to be discovered.
func (c *Config) discovers() bool {
	e := c.Endpoints
	return e.Authorization == "" || e.Token == "" || (e.JWKS == "" && !c.hmac())
}

// httpClient returns the client to fetch with. One without bounds of its own gets those that matter most here: a redirect
// would carry the code and the client's secret to somebody else.
func (c *Config) httpClient() *http.Client {
	if c.HTTPClient == nil {
		return provider.NewHTTPClient(provider.HTTPOptions{
			InsecureAllowPrivateNetworks: c.InsecureAllowPrivateNetworks,
			InsecureAllowHTTP:            c.InsecureAllowHTTP,
		})
	}
	client := *c.HTTPClient
	if client.Timeout <= 0 {
		client.Timeout = defaultTimeout
	}
	if client.CheckRedirect == nil {
		client.CheckRedirect = func(*http.Request, []*http.Request) error {
			return errors.New("redirects are not followed: configure the address that it is sent on to")
		}
	}
	return &client
}

// check returns every mistake in c, what EssentialClaim must match, and where FormerSubjectClaim is.
func (c *Config) check() (required *regexp.Regexp, former claim.Path, _ error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("oidc: "+format, args...)) }
	c.checkAddresses(bad)
	c.checkClient(bad)
	c.checkRequest(bad)
	c.checkTokens(bad)
	c.checkDecryption(bad)
	required, err := c.essential()
	if err != nil {
		bad("EssentialValue: %w", err)
	}
	if c.FormerSubjectClaim != "" {
		if former, err = claim.Parse(c.FormerSubjectClaim); err != nil {
			bad("FormerSubjectClaim: %w", err)
		}
	}
	return required, former, errors.Join(errs...)
}

type report = func(format string, args ...any)

func (c *Config) checkAddresses(bad report) {
	if c.Issuer == "" {
		bad("Issuer is missing")
	} else if err := oauth.CheckURL(strings.Replace(c.Issuer, tenantPlaceholder, "x", 1), c.InsecureAllowHTTP); err != nil {
		bad("Issuer: %w", err)
	} else if strings.Contains(c.Issuer, "?") {
		bad("Issuer: has a query")
	} else if strings.Count(c.Issuer, tenantPlaceholder) > 1 {
		bad("Issuer: has %s twice", tenantPlaceholder)
	}
	switch template := strings.Contains(c.Issuer, tenantPlaceholder); {
	case template && len(c.Tenants) == 0 && !c.InsecureAllowAnyTenant:
		bad("Tenants: an Issuer with %s needs the tenants whose users may come in", tenantPlaceholder)
	case template && len(c.Tenants) > 0 && c.InsecureAllowAnyTenant:
		bad("InsecureAllowAnyTenant: would make Tenants mean nothing")
	case !template && (len(c.Tenants) > 0 || c.InsecureAllowAnyTenant):
		bad("Tenants: only for an Issuer with %s, or nobody checks them", tenantPlaceholder)
	}
	for _, t := range c.Tenants {
		if !isGUID(t) {
			bad("Tenants: %q is not the id of a tenant, 8-4-4-4-12 hexadecimal digits", t)
		}
	}
	for _, iss := range c.Issuers {
		if iss == "" || strings.ContainsAny(iss, "{}") {
			bad("Issuers: %q cannot be an issuer", iss)
		}
	}
	for _, e := range []struct{ name, url string }{
		{"DiscoveryURL", c.DiscoveryURL},
		{"Endpoints.Authorization", c.Endpoints.Authorization},
		{"Endpoints.Token", c.Endpoints.Token},
		{"Endpoints.UserInfo", c.Endpoints.UserInfo},
		{"Endpoints.JWKS", c.Endpoints.JWKS},
		{"Endpoints.EndSession", c.Endpoints.EndSession},
		{"Endpoints.Revocation", c.Endpoints.Revocation},
	} {
		if e.url == "" || c.Issuer == "" {
			continue
		}
		if err := oauth.CheckURL(e.url, c.InsecureAllowHTTP); err != nil {
			bad("%s: %w", e.name, err)
		}
	}
}

func (c *Config) checkClient(bad report) {
	if c.ClientID == "" {
		bad("ClientID is missing")
	}
	client := c.client()
	client.CheckAuth(bad)
	if c.AuthMethod == NoClientAuth && c.InsecureSkipPKCE {
		bad("InsecureSkipPKCE: nothing else protects a client that does not authenticate")
	}
	if c.AuthMethod == NoClientAuth && c.ClientSecret != "" && !c.hmac() {
		bad("ClientSecret: is not used with AuthMethod %q", c.AuthMethod)
	}
	if neither := c.InsecureSkipPKCE && c.InsecureSkipNonce; neither != c.InsecureAllowCodeInjection {
		bad("InsecureSkipPKCE and InsecureSkipNonce: without both a stolen code is as good as a login (RFC 9700 §2.1.1), which " +
			"InsecureAllowCodeInjection alone allows, and is for alone")
	}
}

// client returns the broker as a client of the provider.
func (c *Config) client() oauth.Client {
	return oauth.Client{
		ID: c.ClientID, Secret: c.ClientSecret, SecretFunc: c.ClientSecretFunc, Key: c.ClientKey, Method: string(c.AuthMethod),
		Audience: c.AssertionAudience, Now: c.Now,
	}
}

// ownParams cannot be forwarded or set at will: they are the protocol, or have a field of their own.
func ownParams(name string) (hint string, own bool) {
	switch name {
	case "client_id", "response_type", "redirect_uri", "state", "nonce", "scope", "code_challenge", "code_challenge_method",
		"request", "request_uri", "client_secret", "client_assertion", "client_assertion_type", "dpop_jkt":
		return "it is not the application's to choose", true
	case "response_mode":
		return "use FormPost", true
	case "prompt":
		return "use Prompt and IgnorePrompt", true
	case "max_age":
		return "use MaxAge and ForwardMaxAge", true
	case "login_hint":
		return "use ForwardLoginHint", true
	case "ui_locales":
		return "use ForwardUILocales", true
	case "acr_values":
		return "it is always forwarded", true
	case "":
		return "it is empty", true
	}
	return "", false
}

func (c *Config) checkRequest(bad report) {
	for _, name := range c.ForwardParams {
		if hint, own := ownParams(name); own {
			bad("ForwardParams: %q: %s", name, hint)
		}
	}
	for name := range c.AuthParams {
		if hint, own := ownParams(name); own && name != "acr_values" {
			bad("AuthParams: %q: %s", name, hint)
		}
	}
	for _, s := range c.Scopes {
		if !oauth.IsWord(s) {
			bad("Scopes: %q is not a scope", s)
		}
	}
	for _, s := range c.Prompt {
		if !oauth.IsWord(s) || (s == "none" && len(c.Prompt) > 1) {
			bad("Prompt: %q is not a prompt, or cannot stand beside others", s)
		}
	}
	if c.MaxAge != nil && *c.MaxAge < 0 {
		bad("MaxAge: is negative")
	}
}

func (c *Config) checkTokens(bad report) {
	if c.SigningAlgs != nil && len(c.SigningAlgs) == 0 {
		bad("SigningAlgs: is empty, so that nothing could be accepted; nil is the default")
	}
	for _, alg := range c.SigningAlgs {
		if alg != hs256 && !isAsymmetric(alg) {
			bad("SigningAlgs: %q is refused", alg)
		}
	}
	if c.hmac() {
		// With both kinds allowed, whoever can choose the algorithm chooses the kind of key that is tried.
		if len(c.SigningAlgs) > 1 {
			bad("SigningAlgs: %s cannot stand beside others", hs256)
		}
		if len(c.ClientSecret) < minSecretBytes {
			bad("ClientSecret: %s needs one of at least %d bytes", hs256, minSecretBytes)
		}
	}
	if slices.Contains(c.ExchangeAudiences, "") {
		bad("ExchangeAudiences: one is empty")
	}
	if c.ClockSkew < 0 || c.ClockSkew > maxSkew {
		bad("ClockSkew: must be between zero and %v", maxSkew)
	}
}

func (c *Config) essential() (*regexp.Regexp, error) {
	switch {
	case c.EssentialClaim == "" && c.EssentialValue == "":
		return nil, nil
	case c.EssentialClaim == "":
		return nil, errors.New("has no EssentialClaim to look at")
	case c.EssentialValue == "":
		return regexp.Compile(`(?s)\A.+\z`)
	}
	if _, err := regexp.Compile(c.EssentialValue); err != nil { // before the anchors, which could balance it
		return nil, err
	}
	return regexp.Compile(`\A(?:` + c.EssentialValue + `)\z`)
}
