package oauth2

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

const defaultTimeout = 10 * time.Second

// An AuthMethod says how the broker proves to the token endpoint that it is the client. The names are those of the
// registry in RFC 7591 §2.
type AuthMethod string

// The methods. None is tried in place of another.
const (
	ClientSecretBasic AuthMethod = "client_secret_basic" // id and secret are form-encoded first, RFC 6749 §2.3.1
	ClientSecretPost  AuthMethod = "client_secret_post"
	ClientSecretJWT   AuthMethod = "client_secret_jwt" // signed with HS256
	PrivateKeyJWT     AuthMethod = "private_key_jwt"
	NoClientAuth      AuthMethod = "none" // a public client, which PKCE alone protects
	// ClientSecretBasicUnencoded is client_secret_basic for a server that takes id and secret as they are.
	ClientSecretBasicUnencoded AuthMethod = "client_secret_basic_unencoded"
)

// Endpoints are the addresses of a server. All but Emails and Revocation are required.
type Endpoints struct {
	Authorization string // where browsers are sent
	Token         string // where codes are redeemed
	UserInfo      string // what says, in JSON, who the bearer of an access token is
	Emails        string // what lists the user's e-mail addresses, if UserInfo does not; see EmailList
	Revocation    string // where it is told that tokens are not needed any more (RFC 7009); "" tells nobody
}

// Claims are the paths at which userinfo says something, as package mapper describes them: "data.user.id". What is empty stands
// for the name in brackets, which is the one of OpenID Connect; "-" stands for nothing.
type Claims struct {
	Subject       string // who it is: a text or a number but 0, stable and never reassigned ("sub")
	Username      string // "preferred_username"
	Email         string // "email"
	EmailVerified string // a boolean ("email_verified")
	FirstName     string // "given_name"
	LastName      string // "family_name"
	Name          string // "name"
	Locale        string // "locale"
	Picture       string // an http or https URL ("picture")
	Groups        string // a list of texts ("groups")
	// FormerSubject is by what the server named its users before Subject did: who is linked by that is linked by Subject from the next
	// login on. Empty is nothing, too. Whoever can choose what stands there can sign in as anybody who is linked by it: no e-mail
	// address, no name that can change.
	FormerSubject string
}

// EmailList says how the answer of Endpoints.Emails is to be read or, without that endpoint and with List, how the list in the answer
// of Endpoints.UserInfo is. What is empty stands for the name in brackets. Of the addresses that are verified the primary one counts,
// or else the first; if none is verified, the primary one, unverified.
type EmailList struct {
	List     string // path of the list; empty is the whole answer of Endpoints.Emails
	Email    string // path of the address in an element ("email")
	Verified string // of a boolean ("verified")
	Primary  string // of a boolean ("primary")
}

// Config describes an authorization server and the broker as its client. Endpoints, ClientID and a means of client
// authentication are required; everything else has a useful zero value.
type Config struct {
	Endpoints Endpoints // where the server is
	// Issuer is the server's name for itself. It is part of what users are linked to, and can not be changed later. If the
	// server sends "iss" with its answers (RFC 9207) it has to be this.
	Issuer string
	// RequireResponseIssuer refuses an answer without "iss". One that is there is always checked.
	RequireResponseIssuer bool

	ClientID     string // as registered at the server
	ClientSecret string `json:"-"` // for all ways of client authentication but private_key_jwt and none
	// ClientKey signs for private_key_jwt: its ID, Algorithm and Private are used.
	ClientKey token.Key `json:"-"`
	// AuthMethod is ClientSecretBasic if empty and there is a ClientSecret, PrivateKeyJWT if empty and there is a ClientKey. A
	// client without either must say NoClientAuth.
	AuthMethod AuthMethod
	// AssertionAudience is the audience of the assertion of private_key_jwt and client_secret_jwt; the token endpoint if empty.
	AssertionAudience string

	Scopes         []string // to ask for; nil asks for none
	ScopeSeparator string   // between scopes; empty is a space, as RFC 6749 §3.3 says
	// AuthParams are sent with every authorization request. They beat ForwardParams.
	AuthParams map[string]string
	// ForwardParams are the names of request parameters of the application that are passed on. Those of the protocol are refused.
	ForwardParams    []string
	ForwardLoginHint bool // pass the application's login_hint on
	ForwardUILocales bool // pass the application's ui_locales on
	// LoginParams are sent in addition when a new proof is asked for, "auth_type": "reauthenticate" for instance. Without them such a
	// login is refused (provider.LoginRequired): the server would not know, and what it says would be taken for a new proof.
	LoginParams map[string]string
	FormPost    bool // ask for the answer as a POST (response_mode=form_post)
	// TokenParams are sent with every token request, beside those of the protocol.
	TokenParams map[string]string
	// FormTokens takes a token response that is a form ("access_token=…&expires=…") instead of JSON.
	FormTokens bool
	// AssumeBearer takes a token response without a token_type, which RFC 6749 §5.1 requires.
	AssumeBearer bool
	// UserInfoParams are put into the query at UserInfo and Emails: "fields": "id,name,email".
	UserInfoParams map[string]string
	// TokenParam is the name of a query parameter in which the access token is sent to UserInfo and Emails instead of in the header
	// Authorization, for a server that reads no other; empty is the header.
	TokenParam string
	// TokenScheme stands before the access token in Authorization; empty is "Bearer", RFC 6750 §2.1.
	TokenScheme string
	// IgnoreIDToken lets "openid" be asked for although nobody here looks at an ID token, for a server that says who it is to those
	// alone who ask so, and whose ID tokens package oidc cannot use: who it is remains what UserInfo says.
	IgnoreIDToken bool
	// ProofParam is the name of a query parameter with the HMAC of the access token by SHA-256 under the ClientSecret, such as
	// "appsecret_proof"; empty sends none.
	ProofParam string
	// Header is sent to UserInfo and Emails: an Accept, a version of the interface, a User-Agent. Authorization is the access token's.
	Header map[string]string

	Claims    Claims    // where userinfo says what
	EmailList EmailList // how the answer of Endpoints.Emails is to be read
	// EmailVerified says that the server tells no address that it has not verified, so that nothing in userinfo says so.
	EmailVerified bool
	// EssentialClaim is the path of a claim without which nobody gets in (provider.ClaimMismatch). EssentialValue is a regular
	// expression that the whole value, or one whole element of a list, must match; empty is any value.
	EssentialClaim string
	EssentialValue string

	// HTTPClient is what the server is asked with; the guarded client of [provider.NewHTTPClient] if nil. One that is given
	// should be guarded too, may be shared among providers, and follows no redirects here unless its CheckRedirect says so.
	HTTPClient *http.Client
	// InsecureAllowPrivateNetworks is for the client that is made when HTTPClient is nil.
	InsecureAllowPrivateNetworks bool
	InsecureAllowHTTP            bool // endpoints without TLS are not refused
	// InsecureSkipPKCE sends no code challenge, for a server that chokes on it. One that knows nothing of PKCE ignores it.
	InsecureSkipPKCE bool

	Now func() time.Time // time.Now if nil
}

// Format prints client and token endpoint, whatever the verb: the rest holds secrets.
func (c Config) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "oauth2 client %q at %s", c.ClientID, oauth.Redact(c.Endpoints.Token))
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token_endpoint", oauth.Redact(c.Endpoints.Token)), slog.String("client_id", c.ClientID))
}

// withDefaults returns c with its own copies of what it refers to.
func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.AuthMethod == "" {
		client := c.client()
		c.AuthMethod = AuthMethod(client.DefaultMethod())
	}
	if c.ScopeSeparator == "" {
		c.ScopeSeparator = " "
	}
	for _, d := range []struct {
		of   *string
		name string
	}{
		{&c.Claims.Subject, "sub"}, {&c.Claims.Username, "preferred_username"}, {&c.Claims.Email, "email"},
		{&c.Claims.EmailVerified, "email_verified"}, {&c.Claims.FirstName, "given_name"}, {&c.Claims.LastName, "family_name"},
		{&c.Claims.Name, "name"}, {&c.Claims.Locale, "locale"}, {&c.Claims.Picture, "picture"}, {&c.Claims.Groups, "groups"},
		{&c.EmailList.Email, "email"}, {&c.EmailList.Verified, "verified"}, {&c.EmailList.Primary, "primary"},
	} {
		if *d.of == "" {
			*d.of = d.name
		}
	}
	c.Scopes, c.ForwardParams = slices.Clone(c.Scopes), slices.Clone(c.ForwardParams)
	for _, m := range []*map[string]string{&c.AuthParams, &c.LoginParams, &c.TokenParams, &c.UserInfoParams, &c.Header} {
		*m = maps.Clone(*m)
	}
	return c
}

// client returns the broker as a client of the server.
func (c *Config) client() oauth.Client {
	return oauth.Client{
		ID: c.ClientID, Secret: c.ClientSecret, Key: c.ClientKey, Method: string(c.AuthMethod), Audience: c.AssertionAudience, Now: c.Now,
	}
}

// httpClient returns the client to fetch with. One without bounds of its own gets those that matter most here: a redirect
// would carry the code, the client's secret and the access token to somebody else.
func (c *Config) httpClient() *http.Client {
	given := c.HTTPClient
	if given == nil {
		given = provider.NewHTTPClient(provider.HTTPOptions{
			InsecureAllowPrivateNetworks: c.InsecureAllowPrivateNetworks,
			InsecureAllowHTTP:            c.InsecureAllowHTTP,
		})
	}
	client := *given
	if client.Timeout <= 0 {
		client.Timeout = defaultTimeout
	}
	if client.CheckRedirect == nil || c.TokenParam != "" { // which Referer would tell
		client.CheckRedirect = func(*http.Request, []*http.Request) error {
			return errors.New("redirects are not followed: configure the address that it is sent on to")
		}
	}
	return &client
}

type report = func(format string, args ...any)

// paths are the places of claims that were read.
type paths struct {
	subject, username, email, emailVerified, firstName, lastName, name, locale, picture, groups claim.Path
	list, listEmail, listVerified, listPrimary, former                                          claim.Path
	essential                                                                                   claim.Path
	required                                                                                    *regexp.Regexp // nil if nothing is
}

// check returns every mistake in c, and what was read.
func (c *Config) check() (*paths, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("oauth2: "+format, args...)) }
	c.checkAddresses(bad)
	c.checkClient(bad)
	c.checkRequest(bad)
	read := c.readPaths(bad)
	c.readEssential(bad, read)
	return read, errors.Join(errs...)
}

func (c *Config) checkAddresses(bad report) {
	for _, e := range []struct {
		name, url string
		optional  bool
	}{
		{"Authorization", c.Endpoints.Authorization, false},
		{"Token", c.Endpoints.Token, false},
		{"UserInfo", c.Endpoints.UserInfo, false},
		{"Emails", c.Endpoints.Emails, true},
		{"Revocation", c.Endpoints.Revocation, true},
	} {
		if e.url == "" {
			if !e.optional {
				bad("Endpoints.%s: is missing", e.name)
			}
			continue
		}
		if err := oauth.CheckURL(e.url, c.InsecureAllowHTTP); err != nil {
			bad("Endpoints.%s: %w", e.name, err)
		}
	}
	if c.RequireResponseIssuer && c.Issuer == "" {
		bad("RequireResponseIssuer: needs the Issuer that it is to be")
	}
}

func (c *Config) checkClient(bad report) {
	if c.ClientID == "" {
		bad("ClientID is missing")
	}
	client := c.client()
	client.CheckAuth(bad)
	if c.AuthMethod == NoClientAuth && c.ClientSecret != "" && c.ProofParam == "" {
		bad("ClientSecret: is not used with AuthMethod %q", c.AuthMethod)
	}
	if c.AuthMethod == NoClientAuth && c.InsecureSkipPKCE {
		bad("InsecureSkipPKCE: nothing else protects a client that does not authenticate")
	}
	if c.ProofParam != "" && c.ClientSecret == "" {
		bad("ProofParam: needs the ClientSecret")
	}
}

// ownParams are the protocol's, or have a field of their own.
var ownParams = []string{
	"", "client_id", "response_type", "redirect_uri", "state", "nonce", "scope", "code_challenge", "code_challenge_method", "request", "request_uri",
	"client_secret", "client_assertion", "client_assertion_type", "dpop_jkt", "response_mode", "login_hint", "ui_locales",
	"grant_type", "code", "code_verifier", "refresh_token", "access_token",
}

func (c *Config) checkRequest(bad report) {
	names := func(field string, all []string, also ...string) {
		for _, name := range all {
			if slices.Contains(ownParams, name) || slices.Contains(also, name) {
				bad("%s: %q: it is the protocol's, or has a field of its own", field, name)
			}
		}
	}
	names("AuthParams", slices.Sorted(maps.Keys(c.AuthParams)))
	names("ForwardParams", c.ForwardParams, "prompt", "max_age")
	names("LoginParams", slices.Sorted(maps.Keys(c.LoginParams)))
	names("TokenParams", slices.Sorted(maps.Keys(c.TokenParams)))
	if _, taken := c.UserInfoParams[c.TokenParam]; c.TokenParam != "" && (taken || c.TokenParam == c.ProofParam) {
		bad("TokenParam: %q is sent with another value as well", c.TokenParam)
	}
	if c.TokenScheme != "" && (!oauth.IsWord(c.TokenScheme) || c.TokenParam != "") {
		bad("TokenScheme: %q is none, or stands beside TokenParam", c.TokenScheme)
	}
	names("UserInfoParams", slices.Sorted(maps.Keys(c.UserInfoParams)))
	for name, value := range c.Header {
		if strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Host") || strings.EqualFold(name, "Cookie") {
			bad("Header: %q cannot be set", name)
		}
		if !oauth.IsWord(name) || strings.ContainsAny(name, ":") || strings.ContainsAny(value, "\r\n\x00") {
			bad("Header: %q is none", name)
		}
	}
	for _, s := range c.Scopes {
		if !oauth.IsWord(s) {
			bad("Scopes: %q is not a scope", s)
		}
	}
	if slices.Contains(c.Scopes, "openid") && !c.IgnoreIDToken {
		bad("Scopes: with %q it is an OpenID Provider, which package oidc is for: here nobody would check its ID token", "openid")
	}
	if c.ScopeSeparator != " " && c.ScopeSeparator != "," {
		bad("ScopeSeparator: %q is neither a space nor a comma", c.ScopeSeparator)
	}
}

func (c *Config) readPaths(bad report) *paths {
	read := &paths{}
	for _, p := range []struct {
		to         *claim.Path
		name, path string
	}{
		{&read.subject, "Claims.Subject", c.Claims.Subject}, {&read.username, "Claims.Username", c.Claims.Username},
		{&read.email, "Claims.Email", c.Claims.Email}, {&read.emailVerified, "Claims.EmailVerified", c.Claims.EmailVerified},
		{&read.firstName, "Claims.FirstName", c.Claims.FirstName}, {&read.lastName, "Claims.LastName", c.Claims.LastName},
		{&read.name, "Claims.Name", c.Claims.Name}, {&read.locale, "Claims.Locale", c.Claims.Locale},
		{&read.picture, "Claims.Picture", c.Claims.Picture}, {&read.groups, "Claims.Groups", c.Claims.Groups},
		{&read.former, "Claims.FormerSubject", c.Claims.FormerSubject},
		{&read.list, "EmailList.List", c.EmailList.List}, {&read.listEmail, "EmailList.Email", c.EmailList.Email},
		{&read.listVerified, "EmailList.Verified", c.EmailList.Verified}, {&read.listPrimary, "EmailList.Primary", c.EmailList.Primary},
	} {
		if p.path == "-" || p.path == "" {
			continue
		}
		at, err := claim.Parse(p.path)
		if err != nil {
			bad("%s: %w", p.name, err)
		}
		*p.to = at
	}
	if c.Claims.Subject == "-" {
		bad("Claims.Subject: nobody can be known without it")
	}
	return read
}

func (c *Config) readEssential(bad report, read *paths) {
	if c.EssentialClaim == "" {
		if c.EssentialValue != "" {
			bad("EssentialValue: has no EssentialClaim to look at")
		}
		return
	}
	var err error
	if read.essential, err = claim.Parse(c.EssentialClaim); err != nil {
		bad("EssentialClaim: %w", err)
	}
	if c.EssentialValue == "" {
		read.required = regexp.MustCompile(`(?s)\A.+\z`)
		return
	}
	if _, err := regexp.Compile(c.EssentialValue); err != nil { // before the anchors, which could balance it
		bad("EssentialValue: %w", err)
		return
	}
	read.required = regexp.MustCompile(`\A(?:` + c.EssentialValue + `)\z`)
}
