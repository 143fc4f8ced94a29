package main

import (
	"context"
	_ "embed"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// The providers stand for those that your users have accounts at. Ada has one at each, with the same e-mail address.

//go:embed web/acme.svg
var acmeIcon []byte

//go:embed web/globex.svg
var globexIcon []byte

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

// demoUpstreams starts the demo providers and returns them as the broker's upstreams. Acme is trusted to have verified the
// addresses of its own staff; at Globex anybody can sign up.
func demoUpstreams(ctx context.Context, sites *sites, baseURL string) ([]broker.Provider, error) {
	acme, err := demoProvider(ctx, sites, baseURL+"/broker/acme", providertest.OIDCConfig{
		Name: "Acme Staff", Accent: "#0f766e", Users: acmeUsers,
	})
	if err != nil {
		return nil, err
	}
	globex, err := demoProvider(ctx, sites, baseURL+"/broker/globex", providertest.OIDCConfig{
		Name: "Globex Mail", Accent: "#9a3412", Users: globexUsers, Alg: "ES256",
	})
	if err != nil {
		return nil, err
	}
	return []broker.Provider{
		{Alias: "acme", Name: "Acme Staff", Icon: acmeIcon, IdP: acme, TrustEmail: true},
		{Alias: "globex", Name: "Globex Mail", Icon: globexIcon, IdP: globex},
	}, nil
}

// demoProvider starts a provider at an address of its own, registers the broker there, and returns it as an upstream. With
// a real provider only the last statement is left, without the two fields that are spelt Insecure.
func demoProvider(ctx context.Context, sites *sites, at string, c providertest.OIDCConfig) (*oidc.Provider, error) {
	site, err := sites.listenNext(ctx)
	if err != nil {
		return nil, err
	}
	c.Issuer, c.AlwaysAsk = site.url, true // so that one can be somebody else the next time
	op, err := providertest.NewOIDC(c)
	if err != nil {
		return nil, err
	}
	site.handler = op
	client := op.Register(providertest.Client{
		Name: "Your App", RedirectURIs: []string{at + "/endpoint"}, PostLogoutRedirectURIs: []string{at + "/logout_response"},
	})
	return oidc.New(oidc.Config{
		Issuer:                       op.Issuer(),
		ClientID:                     client.ID,
		ClientSecret:                 client.Secret,
		InsecureAllowHTTP:            true,
		InsecureAllowPrivateNetworks: true,
	})
}
