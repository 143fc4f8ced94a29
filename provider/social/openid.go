package social

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// Google is Google's OpenID Provider, for consumers and Google Workspace. Documentation looked up in 2026-11.
//
// The subject is sub, the account's number. An e-mail address is verified if Google says so (email_verified): surely so for
// addresses of Gmail and of the account's Workspace domain; others were verified once and may have found another owner. Scopes:
// openid, profile, email. Options.HostedDomains are compared with the claim hd of the ID token, at logins and at token exchange alike.
// With Options.Offline Google gives a refresh token, but only when the user consents: at the first login, as a rule. Google does not know
// prompt=login: a login that has to be a new proof is refused (provider.LoginRequired).
//
//  1. Open the Google Cloud console and choose or make a project.
//  2. Under Google Auth Platform, fill in branding, audience and contact.
//  3. Under Clients, create a client of the type Web application.
//  4. As authorized redirect URI enter {BaseURL}/broker/{alias}/endpoint.
//  5. Copy client ID and client secret, which is shown once.
func Google(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("Google", "G", "#1a73e8", white), takes: []string{"HostedDomains", "Offline"}, adjust: checkHosted},
		config: oidc.Config{
			Issuer: "https://accounts.google.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			DisableUserInfo: true, // the ID token says it all, and hd is to be the one that was signed
			PromptValues:    []string{"none", "consent", "select_account"},
		},
		configure: func(c *oidc.Config, o *Options) error {
			if o.Offline {
				c.AuthParams["access_type"] = "offline"
			}
			switch len(o.HostedDomains) {
			case 0:
			case 1:
				c.AuthParams["hd"] = o.HostedDomains[0] // a wish: what counts is the token
			default:
				c.AuthParams["hd"] = "*"
			}
			if o.HostedDomains != nil && (len(o.HostedDomains) == 0 || slices.Contains(o.HostedDomains, "")) {
				return errors.New(`HostedDomains: is empty, or one is; nil lets everybody in, "*" any Workspace domain`)
			}
			return nil
		},
	}.build(Options{})
}

// checkHosted holds Google to Options.HostedDomains.
func checkHosted(o *Options, id *provider.Identity) error {
	if o.HostedDomains == nil {
		return nil
	}
	hd, _ := id.Claims["hd"].(string)
	accepted := func(domain string) bool { return domain == "*" || strings.EqualFold(domain, hd) }
	if hd == "" || !slices.ContainsFunc(o.HostedDomains, accepted) {
		return refuse(provider.ClaimMismatch, "the account is of none of HostedDomains")
	}
	return nil
}

const (
	entra     = "https://login.microsoftonline.com"
	consumers = "9188040d-6c67-4c5b-b112-36a304b66dad" // the tenant of personal Microsoft accounts
)

func entraIssuer(o *Options) string { return o.base(entra) + "/{tenantid}/v2.0" }

var guid = regexp.MustCompile(`\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z`)

// Microsoft is the Microsoft identity platform: the Entra tenants with these ids, or "consumers" for personal accounts.
// Documentation looked up in 2026-11.
//
// The subject is tid and oid, with a dot between: the tenant and the account in it, whatever application asks. An e-mail address is
// never verified, as a tenant's administrator writes into it what they like. Scopes: openid, profile, email; without profile there
// is no oid. Options.BaseURL is for national clouds, "https://login.microsoftonline.us". Options.InsecureAllowAnyTenant goes without
// tenants.
//
//  1. Open the Entra admin center, App registrations, New registration.
//  2. Choose the account types: this directory, several, or personal accounts too.
//  3. Add the platform Web with the redirect URI {BaseURL}/broker/{alias}/endpoint.
//  4. Under Token configuration add the optional claims email, family_name and given_name to the ID token.
//  5. Under Certificates & secrets make a client secret and copy its value; application (client) ID and directory (tenant) ID stand
//     in the overview.
func Microsoft(clientID, clientSecret string, tenants ...string) *OpenID {
	tenants = slices.Clone(tenants)
	for i, t := range tenants {
		if tenants[i] = strings.ToLower(t); tenants[i] == "consumers" {
			tenants[i] = consumers
		}
	}
	return openIDPreset{
		vendor: vendor{
			brand: brand("Microsoft", "M", "#0067b8", white), takes: []string{"BaseURL", "InsecureAllowAnyTenant", "Offline"},
			offline: "offline_access", adjust: checkTenant,
		},
		config: oidc.Config{
			ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			DisableUserInfo: true, // it says less than the ID token, and has a picture that nobody can fetch
		},
		subject: []string{"tid", "oid"},
		issuer:  entraIssuer, // one tenant more changes nobody's identity
		configure: func(c *oidc.Config, o *Options) error {
			base := o.base(entra)
			c.InsecureAllowAnyTenant = o.InsecureAllowAnyTenant
			if len(tenants) == 1 {
				c.Issuer = base + "/" + tenants[0] + "/v2.0"
				if o.InsecureAllowAnyTenant {
					return errors.New("InsecureAllowAnyTenant: would make the tenants mean nothing")
				}
				if !guid.MatchString(tenants[0]) {
					return fmt.Errorf("Tenants: %q is not the id of a tenant, 8-4-4-4-12 hexadecimal digits", tenants[0])
				}
				return nil
			}
			c.Issuer, c.Tenants = entraIssuer(o), tenants
			at := "organizations"
			if slices.Contains(tenants, consumers) || o.InsecureAllowAnyTenant {
				at = "common"
			}
			c.DiscoveryURL = base + "/" + at + "/v2.0/.well-known/openid-configuration"
			return nil
		},
	}.build(Options{})
}

// checkTenant holds the subject to the tenant that vouched for it, whose administrator has written the e-mail address.
func checkTenant(o *Options, id *provider.Identity) error {
	tenant, _, _ := strings.Cut(id.Subject, ".")
	if id.Issuer != strings.Replace(entraIssuer(o), "{tenantid}", tenant, 1) {
		return refuse(provider.Invalid, "the tenant of the issuer is not that of the user")
	}
	return distrustEmail(o, id)
}

// distrustEmail is for vendors who do not say that an address is verified, or whose word for it others can put in their mouth.
func distrustEmail(_ *Options, id *provider.Identity) error {
	id.EmailVerified = false
	return nil
}

// AppleKey is a key for Sign in with Apple, as it is made in Apple's developer portal.
type AppleKey struct {
	TeamID string // of the developer account, ten letters and digits
	ID     string // of the key, likewise
	PEM    []byte `json:"-"` // the file AuthKey_….p8
}

// Format prints the ids, whatever the verb: the rest is secret.
func (k AppleKey) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "Apple key %q of team %q", k.ID, k.TeamID)
}

// Apple is Sign in with Apple. The client's id is that of the Services ID. Documentation looked up in 2026-11.
//
// The subject is sub, the account's id for the developer's team. The e-mail address is verified if Apple says so (email_verified),
// and may be one of Apple's relay (is_private_email), to which only senders can write that are registered with Apple. Scopes: openid,
// name, email. The answer comes as a POST. The name comes with the first login only, and nobody has signed it: the browser could
// have said anything, so that it is taken for a name and for nothing else; with provider.SyncForce it is gone after the second login,
// with provider.SyncLegacy it stays. The client secret is made of the key for each request.
//
//  1. In the developer portal, enable Sign in with Apple for an App ID.
//  2. Make a Services ID, whose identifier is the client's id, and enable Sign in with Apple for it.
//  3. Configure it with the domain, and {BaseURL}/broker/{alias}/endpoint as return URL: https, and not on localhost.
//  4. Make a key with Sign in with Apple enabled for that App ID and download it, which can be done once.
//  5. Note the key's ID, and the Team ID, which is that of the membership.
func Apple(clientID string, key AppleKey) *OpenID {
	preset := openIDPreset{
		vendor: vendor{brand: brand("Apple", "A", "#000", white)},
		config: oidc.Config{
			Issuer: "https://appleid.apple.com", ClientID: clientID, AuthMethod: oidc.ClientSecretPost, FormPost: true,
			Scopes: []string{"openid", "name", "email"},
			// Nothing is discovered: Apple's metadata had another issuer than its tokens, once, for days.
			Endpoints: oidc.Endpoints{
				Authorization: "https://appleid.apple.com/auth/authorize", Token: "https://appleid.apple.com/auth/token",
				JWKS: "https://appleid.apple.com/auth/keys", Revocation: "https://appleid.apple.com/auth/revoke",
			},
			DisableUserInfo: true, // there is none
			PromptValues:    []string{},
		},
		callback: appleName,
	}
	signer, err := key.signer()
	preset.err = err
	preset.configure = func(c *oidc.Config, o *Options) error {
		c.ClientSecretFunc = func() (string, error) { return appleSecret(signer, key.TeamID, clientID, o.now()) }
		return nil
	}
	return preset.build(Options{})
}

// LinkedIn is Sign In with LinkedIn using OpenID Connect. Documentation looked up in 2026-11.
//
// The subject is sub, the member's id for this application. The e-mail address is verified if LinkedIn says so (email_verified).
// Scopes: openid, profile, email. LinkedIn returns no nonce and refuses PKCE but from native applications that it has approved, so
// that neither protects a code on its way: Insecure says so, and the state, which is bound to the browser, is all there is.
//
//  1. Open the LinkedIn developer portal and create an app that belongs to a company page.
//  2. Under Products request Sign In with LinkedIn using OpenID Connect.
//  3. Under Auth add the authorized redirect URL {BaseURL}/broker/{alias}/endpoint.
//  4. Copy client ID and primary client secret from there.
//  5. Under Settings have the page verify the app.
func LinkedIn(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("LinkedIn", "in", "#0a66c2", white)},
		config: oidc.Config{
			Issuer: "https://www.linkedin.com/oauth", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			DisableUserInfo:  true, // it says what the ID token says
			PromptValues:     []string{},
			InsecureSkipPKCE: true, InsecureSkipNonce: true, InsecureAllowCodeInjection: true,
		},
	}.build(Options{})
}

// GitLab is GitLab.com or, with Options.BaseURL, a self-managed GitLab. Documentation looked up in 2026-11.
//
// The subject is sub, the user's number. The e-mail address is verified if GitLab says so (email_verified), which on a self-managed
// GitLab its administrator can. Scopes: openid, profile, email. Groups are those of userinfo.
//
//  1. Open Applications in the settings of the user, the group or, on a self-managed GitLab, the instance.
//  2. Choose Add new application and enter a name.
//  3. As redirect URI enter {BaseURL}/broker/{alias}/endpoint.
//  4. Leave Confidential ticked, and tick the scopes openid, profile and email.
//  5. Save and copy application ID and secret.
func GitLab(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("GitLab", "GL", "#fc6d26", black), takes: []string{"BaseURL"}},
		config: oidc.Config{ClientID: clientID, ClientSecret: clientSecret},
		configure: func(c *oidc.Config, o *Options) error {
			c.Issuer = o.base("https://gitlab.com")
			return nil
		},
	}.build(Options{})
}

// Slack is Sign in with Slack. Documentation looked up in 2026-11.
//
// The subject is the id of the workspace and that of the user in it, with a dot between, as Slack's user ids are unique in a
// workspace only. The e-mail address is verified if Slack says so (email_verified); those who run a workspace can set the addresses of
// its members. Scopes: openid, profile, email. Who is to come from one workspace only is said by Options.EssentialClaim
// "https://slack.com/team_id". Slack reports errors of its token endpoint with status 200.
//
//  1. Open Your Apps at api.slack.com and create an app from scratch.
//  2. Under OAuth & Permissions add the redirect URL {BaseURL}/broker/{alias}/endpoint, which has to be https.
//  3. There add the user token scopes openid, profile and email.
//  4. Under Basic Information copy client ID and client secret.
//  5. Under Manage Distribution activate public distribution, if other workspaces are to come in.
func Slack(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("Slack", "S", "#4a154b", white)},
		config: oidc.Config{
			Issuer: "https://slack.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			DisableUserInfo: true, // it says what the ID token says
			PromptValues:    []string{},
		},
		subject: []string{"https://slack.com/team_id", "https://slack.com/user_id"},
	}.build(Options{})
}

// twitchClaims asks for what Twitch leaves out otherwise (OpenID Connect Core §5.5).
const twitchClaims = `{"id_token":{"email":null,"email_verified":null,"picture":null,"preferred_username":null}}`

// Twitch is Twitch. Documentation looked up in 2026-11.
//
// The subject is sub, the user's number. The e-mail address is verified if Twitch says so (email_verified). Scopes: openid,
// user:read:email. Twitch has no PKCE, and no names but the display name, which is both username and name.
//
//  1. Open the Twitch developer console, with two-factor authentication enabled for the account.
//  2. Choose Register Your Application and enter a name.
//  3. As OAuth redirect URL enter {BaseURL}/broker/{alias}/endpoint.
//  4. Choose the category Website Integration and the client type Confidential.
//  5. Under Manage copy the client ID, and make a new secret.
func Twitch(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("Twitch", "T", "#9146ff", white), adjust: calledByUsername},
		config: oidc.Config{
			Issuer: "https://id.twitch.tv/oauth2", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			Scopes: []string{"openid", "user:read:email"}, AuthParams: map[string]string{"claims": twitchClaims},
			DisableUserInfo: true, // it says what the ID token says
			PromptValues:    []string{},
		},
	}.build(Options{})
}

// calledByUsername is for a vendor who shows people by their username.
func calledByUsername(_ *Options, id *provider.Identity) error {
	if id.Claims["preferred_username"] == id.Username { // and not what stands in for it
		id.Name = id.Username
	}
	return nil
}

// Salesforce is Salesforce, with Options.BaseURL one organisation's My Domain, with Options.Sandbox its sandboxes.
// Documentation looked up in 2026-11.
//
// The subject is sub, an address with the ids of organisation and user. The e-mail address is verified if Salesforce says so
// (email_verified); at the public address users of any organisation come in, as whatever its administrator calls them: a My Domain,
// or Options.EssentialClaim "organization_id", keeps the others out. Scopes: openid, profile, email.
//
//  1. Open Setup, External Client App Manager, and choose New External Client App.
//  2. Enable OAuth and enter the callback URL {BaseURL}/broker/{alias}/endpoint.
//  3. Select the scopes openid, profile and email.
//  4. Require a secret for the web server flow, and PKCE.
//  5. Save, wait ten minutes, and copy consumer key and consumer secret.
func Salesforce(clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("Salesforce", "SF", "#0176d3", white), takes: []string{"BaseURL", "Sandbox", "Offline"}, offline: "refresh_token"},
		config: oidc.Config{ClientID: clientID, ClientSecret: clientSecret},
		configure: func(c *oidc.Config, o *Options) error {
			c.Issuer = o.base("https://login.salesforce.com")
			switch {
			case o.Sandbox && o.BaseURL != "":
				return errors.New("Sandbox: BaseURL says where already")
			case o.Sandbox:
				c.Issuer = "https://test.salesforce.com"
			}
			return nil
		},
	}.build(Options{})
}

// LINE is LINE Login. Documentation looked up in 2026-11.
//
// The subject is sub, the user's id for the channel's provider. The e-mail address is not verified: LINE does not say that it is.
// Scopes: openid, profile, email, of which the last has to be applied for. LINE signs its ID tokens with the channel secret (HS256).
//
//  1. Open the LINE Developers console and choose or make a provider.
//  2. Make a channel of the type LINE Login, for web apps.
//  3. Under LINE Login enter the callback URL {BaseURL}/broker/{alias}/endpoint.
//  4. Under Basic settings apply for the permission for e-mail addresses, or leave the scope out.
//  5. There copy channel ID and channel secret, and publish the channel.
func LINE(channelID, channelSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{brand: brand("LINE", "L", "#06c755", black), adjust: distrustEmail},
		config: oidc.Config{
			Issuer: "https://access.line.me", ClientID: channelID, ClientSecret: channelSecret, AuthMethod: oidc.ClientSecretPost,
			Endpoints: oidc.Endpoints{
				Authorization: "https://access.line.me/oauth2/v2.1/authorize", Token: "https://api.line.me/oauth2/v2.1/token",
			},
			SigningAlgs:     []string{"HS256"},
			DisableUserInfo: true, // it says less than the ID token
		},
	}.build(Options{})
}

// Okta is an Okta organisation or one of its authorization servers: domain is "example.okta.com", or
// "example.okta.com/oauth2/default". Documentation looked up in 2026-11.
//
// The subject is sub, the user's id. The e-mail address is verified if Okta says so (email_verified), which the organisation's
// administrator can. Scopes: openid, profile, email.
//
//  1. In the admin console open Applications and choose Create App Integration.
//  2. Choose OIDC and Web Application, with the grant type Authorization Code.
//  3. As sign-in redirect URI enter {BaseURL}/broker/{alias}/endpoint.
//  4. Assign the people or groups who may come in.
//  5. Copy client ID and client secret.
func Okta(domain, clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{
			brand: brand("Okta", "O", "#00297a", white), takes: []string{"Offline"}, offline: "offline_access", err: checkDomain(domain),
		},
		config: oidc.Config{Issuer: strings.TrimRight(httpsOf(domain), "/"), ClientID: clientID, ClientSecret: clientSecret},
	}.build(Options{})
}

// Auth0 is an Auth0 tenant: domain is "example.eu.auth0.com" or a domain of one's own. Documentation looked up in 2026-11.
//
// The subject is sub, which begins with the name of the connection. The e-mail address is verified if Auth0 says so (email_verified),
// which is what the connection or the tenant's administrator said to it. Scopes: openid, profile, email. The username is the nickname.
//
//  1. In the dashboard open Applications and choose Create Application.
//  2. Choose Regular Web Application.
//  3. Under Settings enter the allowed callback URL {BaseURL}/broker/{alias}/endpoint.
//  4. Save.
//  5. Copy domain, client ID and client secret.
func Auth0(domain, clientID, clientSecret string) *OpenID {
	return openIDPreset{
		vendor: vendor{
			brand: brand("Auth0", "A0", "#eb5424", black), takes: []string{"Offline"}, offline: "offline_access", adjust: nickname,
			err: checkDomain(domain),
		},
		config: oidc.Config{
			Issuer:   strings.TrimRight(httpsOf(domain), "/") + "/",
			ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
		},
	}.build(Options{})
}

// nickname is the username of vendors who have no preferred_username.
func nickname(_ *Options, id *provider.Identity) error {
	if s, _ := id.Claims["nickname"].(string); named(s) != "" && id.Claims["preferred_username"] == nil {
		id.Username = named(s)
	}
	return nil
}

// httpsOf returns a domain as an address.
func httpsOf(domain string) string {
	if domain == "" || strings.Contains(domain, "://") {
		return domain
	}
	return "https://" + domain
}

// Keycloak is a realm of a Keycloak at base, "https://sso.example.com". Documentation looked up in 2026-11.
//
// The subject is sub, the user's id in the realm. The e-mail address is verified if the realm says so (email_verified), which its
// administrator can. Scopes: openid, profile, email.
//
//  1. In the admin console choose the realm, Clients, Create client, of the type OpenID Connect.
//  2. Switch Client authentication on, and leave Standard flow ticked.
//  3. As valid redirect URI enter {BaseURL}/broker/{alias}/endpoint.
//  4. Save.
//  5. Under Credentials copy the client secret.
func Keycloak(base, realm, clientID, clientSecret string) *OpenID {
	preset := openIDPreset{
		vendor: vendor{brand: brand("Keycloak", "K", "#4d4d4d", white), takes: []string{"Offline"}, offline: "offline_access"},
		config: oidc.Config{
			Issuer:   strings.TrimRight(base, "/") + "/realms/" + url.PathEscape(realm),
			ClientID: clientID, ClientSecret: clientSecret,
		},
	}
	preset.err = checkBase("base", base)
	if realm == "" || strings.ContainsAny(realm, "/\\?#") || strings.Trim(realm, ".") == "" {
		preset.err = errors.Join(preset.err, fmt.Errorf("realm: %q is none", realm))
	}
	return preset.build(Options{})
}
