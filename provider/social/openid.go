package social

import (
	"errors"
	"fmt"
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
// With Options.Offline Google gives a refresh token, but only when the user consents: at the first login, as a rule.
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

// consumers is the tenant of personal Microsoft accounts.
const consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"

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
		vendor: vendor{brand: brand("Microsoft", "M", "#0067b8", white), takes: []string{"BaseURL", "InsecureAllowAnyTenant"}, adjust: distrustEmail},
		config: oidc.Config{ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oidc.ClientSecretPost,
			DisableUserInfo: true}, // it says less than the ID token, and has a picture that nobody can fetch
		subject: []string{"tid", "oid"},
		configure: func(c *oidc.Config, o *Options) error {
			base := o.base("https://login.microsoftonline.com")
			c.InsecureAllowAnyTenant = o.InsecureAllowAnyTenant
			if len(tenants) == 1 {
				c.Issuer = base + "/" + tenants[0] + "/v2.0"
				if o.InsecureAllowAnyTenant {
					return errors.New("InsecureAllowAnyTenant: would make the tenants mean nothing")
				}
				if !guid.MatchString(tenants[0]) {
					return fmt.Errorf("tenants: %q is not the id of a tenant, 8-4-4-4-12 hexadecimal digits", tenants[0])
				}
				return nil
			}
			c.Issuer, c.Tenants = base+"/{tenantid}/v2.0", tenants
			at := "organizations"
			if slices.Contains(tenants, consumers) || o.InsecureAllowAnyTenant {
				at = "common"
			}
			c.DiscoveryURL = base + "/" + at + "/v2.0/.well-known/openid-configuration"
			return nil
		},
	}.build(Options{})
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
// have said anything, so that it is taken for a name and for nothing else. The client secret is made of the key for each request.
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
				JWKS: "https://appleid.apple.com/auth/keys",
			},
			DisableUserInfo: true, // there is none
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
