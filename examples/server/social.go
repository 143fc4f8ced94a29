package main

import (
	"reflect"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

// A vendor is what a provider of the type of a well-known vendor has below its key social. A field with the name of one of
// social.Options is that one, the others are what the vendor's constructor takes.
type vendor struct {
	ClientID                     string            `yaml:"client_id"`
	ClientSecret                 secret            `yaml:"client_secret"`
	Tenants                      []string          `yaml:"tenants"`
	Domain                       string            `yaml:"domain"`
	Realm                        string            `yaml:"realm"`
	Key                          secret            `yaml:"key"`
	AppleKey                     appleKey          `yaml:"apple_key"`
	Scopes                       []string          `yaml:"scopes"`
	Prompt                       []string          `yaml:"prompt"`
	AuthParams                   map[string]string `yaml:"auth_params"`
	ForwardLoginHint             bool              `yaml:"forward_login_hint"`
	ForwardUILocales             bool              `yaml:"forward_ui_locales"`
	ForwardMaxAge                bool              `yaml:"forward_max_age"`
	ClockSkew                    time.Duration     `yaml:"clock_skew"`
	EssentialClaim               string            `yaml:"essential_claim"`
	EssentialValue               string            `yaml:"essential_value"`
	ExchangeAudiences            []string          `yaml:"exchange_audiences"`
	BaseURL                      string            `yaml:"base_url"`
	Sandbox                      bool              `yaml:"sandbox"`
	HostedDomains                []string          `yaml:"hosted_domains"`
	Offline                      bool              `yaml:"offline"`
	Fields                       []string          `yaml:"fields"`
	InsecureAllowAnyTenant       bool              `yaml:"insecure_allow_any_tenant"`
	InsecureAllowPrivateNetworks bool              `yaml:"insecure_allow_private_networks"`
}

type appleKey struct {
	TeamID string `yaml:"team_id"`
	ID     string `yaml:"id"`
	PEM    secret `yaml:"pem"`
}

// A preset is a provider of package social, of which there are two kinds.
type preset interface {
	provider.IdentityProvider
	Check() error
}

// A vendorType is a type of provider that package social knows: what it makes of the keys, and which of them it takes beside
// client_id, client_secret and those of social.Options.
type vendorType struct {
	make  func(v *vendor, o social.Options) preset
	takes []string
}

// openID and plain are what most vendors are made by.
type (
	openIDVendor = func(id, secret string) *social.OpenID
	oAuth2Vendor = func(id, secret string) *social.OAuth2
)

func openIDType(f openIDVendor) vendorType {
	return vendorType{make: func(v *vendor, o social.Options) preset { return f(v.ClientID, string(v.ClientSecret)).With(o) }}
}

func oAuth2Type(f oAuth2Vendor) vendorType {
	return vendorType{make: func(v *vendor, o social.Options) preset { return f(v.ClientID, string(v.ClientSecret)).With(o) }}
}

// vendors are the types of providers that package social knows.
var vendors = map[upstreamType]vendorType{
	"amazon":    oAuth2Type(social.Amazon),
	"bitbucket": oAuth2Type(social.Bitbucket),
	"discord":   oAuth2Type(social.Discord),
	"facebook":  oAuth2Type(social.Facebook),
	"github":    oAuth2Type(social.GitHub),
	"kakao":     oAuth2Type(social.Kakao),
	"paypal":    oAuth2Type(social.PayPal),
	"spotify":   oAuth2Type(social.Spotify),
	"x":         oAuth2Type(social.X),
	"yandex":    oAuth2Type(social.Yandex),

	"gitlab":     openIDType(social.GitLab),
	"google":     openIDType(social.Google),
	"line":       openIDType(social.LINE),
	"linkedin":   openIDType(social.LinkedIn),
	"salesforce": openIDType(social.Salesforce),
	"slack":      openIDType(social.Slack),
	"twitch":     openIDType(social.Twitch),

	"apple": {takes: []string{"apple_key"}, make: func(v *vendor, o social.Options) preset {
		return social.Apple(v.ClientID, social.AppleKey{TeamID: v.AppleKey.TeamID, ID: v.AppleKey.ID, PEM: []byte(v.AppleKey.PEM)}).With(o)
	}},
	"auth0": {takes: []string{"domain"}, make: func(v *vendor, o social.Options) preset {
		return social.Auth0(v.Domain, v.ClientID, string(v.ClientSecret)).With(o)
	}},
	"keycloak": {takes: []string{"realm", "base_url"}, make: func(v *vendor, o social.Options) preset {
		o.BaseURL = ""
		return social.Keycloak(v.BaseURL, v.Realm, v.ClientID, string(v.ClientSecret)).With(o)
	}},
	"microsoft": {takes: []string{"tenants"}, make: func(v *vendor, o social.Options) preset {
		return social.Microsoft(v.ClientID, string(v.ClientSecret), v.Tenants...).With(o)
	}},
	"okta": {takes: []string{"domain"}, make: func(v *vendor, o social.Options) preset {
		return social.Okta(v.Domain, v.ClientID, string(v.ClientSecret)).With(o)
	}},
	"stackoverflow": {takes: []string{"key"}, make: func(v *vendor, o social.Options) preset {
		return social.StackOverflow(v.ClientID, string(v.ClientSecret), string(v.Key)).With(o)
	}},
}

// socialProvider makes a provider of a vendor. Its mistakes are told; v is nil if checkType has told that.
func (s *setup) socialProvider(path string, t upstreamType, v *vendor) (provider.IdentityProvider, error) {
	if v == nil {
		return mistaken{}, nil
	}
	for _, key := range []string{"apple_key", "domain", "key", "realm", "tenants"} {
		_, given := s.doc.find(path + "." + key)
		if takes := slices.Contains(vendors[t].takes, key); given && !takes {
			s.doc.problem(path+"."+key, "%s has no use for it", t)
		} else if takes && !given && !(key == "tenants" && v.InsecureAllowAnyTenant) {
			s.doc.problem(path, "%s is missing", key)
			return mistaken{}, nil
		}
	}
	if _, given := s.doc.find(path + ".client_secret"); given && t == "apple" {
		s.doc.problem(path+".client_secret", "apple has no use for it: the secret is made of apple_key")
	}
	idp := vendors[t].make(v, s.socialOptions(*v))
	if err := idp.Check(); err != nil {
		s.doc.explain(err, reflect.TypeFor[vendor](), path)
		return nil, err
	}
	return idp, nil
}

func (s *setup) socialOptions(v vendor) social.Options {
	var made social.Options
	s.assign(&made, v)
	made.HTTPClient = s.client(provider.HTTPOptions{InsecureAllowPrivateNetworks: v.InsecureAllowPrivateNetworks})
	return made
}
