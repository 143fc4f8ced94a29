package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"math/big"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// The providers stand for those that your users have accounts at. Two speak OpenID Connect: Ada has an account at both, with
// the same e-mail address. One speaks SAML 2.0, as many companies do. One speaks OAuth 2.0 and nothing else, as GitHub does.

//go:embed web/acme.svg
var acmeIcon []byte

//go:embed web/globex.svg
var globexIcon []byte

//go:embed web/initech.svg
var initechIcon []byte

//go:embed web/forkyard.svg
var forkyardIcon []byte

var acmeUsers = []providertest.User{
	acmeUser("ada", "Ada", "Lindqvist", "engineering"),
	acmeUser("bashir", "Bashir", "Okafor", "support"),
	acmeUser("chiyo", "Chiyo", "Tanaka", "engineering", "admins"),
}

func acmeUser(name, given, family string, groups ...string) providertest.User {
	return providertest.User{
		Subject: "acme-" + name, Username: name, GivenName: given, FamilyName: family,
		Email: name + "@acme.example", EmailVerified: true, Groups: groups,
	}
}

var globexUsers = []providertest.User{
	{Subject: "8d2f01", Username: "dario77", GivenName: "Dario", FamilyName: "Ruiz", Email: "dario@globex.example", EmailVerified: true},
	{Subject: "8d2f02", Username: "emilia.n", GivenName: "Emilia", FamilyName: "Novák", Email: "emilia@globex.example"},
	{Subject: "8d2f03", Username: "lindqvist", GivenName: "Ada", FamilyName: "Lindqvist", Email: "ada@acme.example", EmailVerified: true},
}

var initechUsers = []providertest.User{
	{Subject: "E-1017", Username: "fhaddad", GivenName: "Farid", FamilyName: "Haddad", Email: "farid@initech.example", EmailVerified: true,
		Groups: []string{"finance"}},
	{Subject: "E-1042", Username: "gsandoval", GivenName: "Greta", FamilyName: "Sandoval", Email: "greta@initech.example", EmailVerified: true,
		Groups: []string{"finance", "approvers"}},
}

var forkyardUsers = []providertest.User{
	{Subject: "583231", Username: "hinata-codes", Name: "Hinata Mori", Email: "hinata@mori.example", EmailVerified: true},
	{Subject: "17", Username: "igor", Name: "Igor Petrov", Email: "igor@petrov.example"},
}

// demoUpstreams starts the demo providers and returns them as the broker's upstreams. Acme and Initech are trusted to have
// verified the addresses of their own staff; at Globex and Forkyard anybody can sign up.
func demoUpstreams(ctx context.Context, sites *sites, baseURL string) ([]broker.Provider, error) {
	acme, err := demoOpenID(ctx, sites, baseURL+"/broker/acme", providertest.OIDCConfig{
		Name: "Acme Staff", Accent: "#0f766e", Users: acmeUsers,
	})
	if err != nil {
		return nil, err
	}
	globex, err := demoOpenID(ctx, sites, baseURL+"/broker/globex", providertest.OIDCConfig{
		Name: "Globex Mail", Accent: "#9a3412", Users: globexUsers, Alg: "ES256",
	})
	if err != nil {
		return nil, err
	}
	initech, err := demoSAML(ctx, sites, baseURL+"/broker/initech", providertest.SAMLConfig{
		Name: "Initech SSO", Accent: "#6d28d9", Users: initechUsers, Alg: "ES256",
	})
	if err != nil {
		return nil, err
	}
	forkyard, err := demoOAuth2(ctx, sites, baseURL+"/broker/forkyard", providertest.OIDCConfig{
		Name: "Forkyard", Accent: "#334155", Users: forkyardUsers,
		OAuth2: &providertest.OAuth2{UserInfo: forkyardUser, Emails: forkyardEmails},
	})
	if err != nil {
		return nil, err
	}
	return []broker.Provider{
		{Alias: "acme", Name: "Acme Staff", Icon: acmeIcon, IdP: acme, TrustEmail: true},
		{Alias: "globex", Name: "Globex Mail", Icon: globexIcon, IdP: globex},
		{Alias: "initech", Name: "Initech SSO", Icon: initechIcon, IdP: initech, TrustEmail: true},
		{Alias: "forkyard", Name: "Forkyard", Icon: forkyardIcon, IdP: forkyard},
	}, nil
}

// Each of the functions below starts a provider at an address of its own, registers the broker there, and returns it as an
// upstream. With a real provider only the last statement is left, without the two fields that are spelt Insecure.

func demoOpenID(ctx context.Context, sites *sites, at string, c providertest.OIDCConfig) (*oidc.Provider, error) {
	op, client, err := listenOIDC(ctx, sites, at, c)
	if err != nil {
		return nil, err
	}
	return oidc.New(oidc.Config{
		Issuer:                       op.Issuer(),
		ClientID:                     client.ID,
		ClientSecret:                 client.Secret,
		InsecureAllowHTTP:            true,
		InsecureAllowPrivateNetworks: true,
	})
}

// A server that knows OAuth 2.0 only says who somebody is in a form of its own, which is data.
func demoOAuth2(ctx context.Context, sites *sites, at string, c providertest.OIDCConfig) (*oauth2.Provider, error) {
	op, client, err := listenOIDC(ctx, sites, at, c)
	if err != nil {
		return nil, err
	}
	return oauth2.New(oauth2.Config{
		Endpoints: oauth2.Endpoints{
			Authorization: op.Issuer() + "/authorize", Token: op.Issuer() + "/token",
			UserInfo: op.Issuer() + "/userinfo", Emails: op.Issuer() + "/emails",
		},
		Issuer:                       op.Issuer(),
		ClientID:                     client.ID,
		ClientSecret:                 client.Secret,
		Claims:                       oauth2.Claims{Subject: "id", Username: "login", Picture: "avatar_url"},
		InsecureAllowHTTP:            true,
		InsecureAllowPrivateNetworks: true,
	})
}

func listenOIDC(ctx context.Context, sites *sites, at string, c providertest.OIDCConfig) (*providertest.OIDC, providertest.Client, error) {
	site, err := sites.listenNext(ctx)
	if err != nil {
		return nil, providertest.Client{}, err
	}
	c.Issuer, c.AlwaysAsk = site.url, true // so that one can be somebody else the next time
	op, err := providertest.NewOIDC(c)
	if err != nil {
		return nil, providertest.Client{}, err
	}
	site.handler = op
	return op, op.Register(providertest.Client{
		Name: "Your App", RedirectURIs: []string{at + "/endpoint"}, PostLogoutRedirectURIs: []string{at + "/logout_response"},
	}), nil
}

// forkyardUser is what such a server says about a user: a number is the id, and the address may be private.
func forkyardUser(u providertest.User) any {
	id, _ := strconv.Atoi(u.Subject) // they are numbers, all of them
	return map[string]any{"id": id, "login": u.Username, "name": u.Name, "email": nil}
}

// forkyardEmails is its answer to a second question. Only an address that was verified counts as such.
func forkyardEmails(u providertest.User) any {
	return []map[string]any{
		{"email": u.Subject + "+" + u.Username + "@users.noreply.forkyard.example", "verified": true, "primary": false},
		{"email": u.Email, "verified": u.EmailVerified, "primary": true},
	}
}

// Both sides of SAML know each other by keys: what this application sends is signed as well.
func demoSAML(ctx context.Context, sites *sites, at string, c providertest.SAMLConfig) (*saml.Provider, error) {
	site, err := sites.listenNext(ctx)
	if err != nil {
		return nil, err
	}
	key, err := newSAMLKey()
	if err != nil {
		return nil, err
	}
	c.URL = site.url
	c.Providers = []providertest.SAMLServiceProvider{{
		EntityID: at, Name: "Your App", ACS: []string{at + "/endpoint"}, Logout: at + "/endpoint/logout",
		Certificates: []*x509.Certificate{key.Certificate},
	}}
	idp, err := providertest.NewSAML(c)
	if err != nil {
		return nil, err
	}
	site.handler = idp
	return saml.New(saml.Config{
		EntityID:                     at,
		MetadataURL:                  idp.EntityID(),
		SigningKeys:                  []saml.Key{key},
		EmailVerified:                true, // SAML has no way to say so in each answer
		ForceAuthn:                   true, // so that one can be somebody else the next time
		InsecureAllowHTTP:            true,
		InsecureAllowPrivateNetworks: true,
	})
}

// newSAMLKey makes a key with a certificate. In earnest both are kept; who issued the certificate does not matter.
func newSAMLKey() (saml.Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return saml.Key{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Your App"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return saml.Key{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return saml.Key{Private: private, Certificate: certificate}, err
}
