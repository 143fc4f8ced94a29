// Package social has the well-known vendors as upstreams: each is a constructor that knows the vendor's addresses, scopes, claims and
// peculiarities, over package oidc where the vendor is an OpenID Provider, over package oauth2 where it is not.
//
// It owns facts about vendors, which their documentation says, and what no other vendor does. It owns no protocol.
//
//	b, err := broker.New(broker.Config{
//		…
//		Providers: []broker.Provider{
//			{Alias: "google", IdP: social.Google(id, secret).With(social.Options{HostedDomains: []string{"example.com"}})},
//			{Alias: "github", IdP: social.GitHub(id, secret)},
//		},
//	})
//
// A constructor does no I/O and returns one value. What is wrong with its arguments is what Check returns, which broker.New asks. The
// application is registered at the vendor with the redirect URI {BaseURL}/broker/{alias}/endpoint, as each constructor's comment says
// step by step.
//
// Left out are Instagram, which since the end of its Basic Display API in December 2024 signs in professional accounts only, to
// manage them, and tells no e-mail address; OpenShift, whose cluster is an [oauth2.Config] with the subject metadata.uid and the username
// metadata.name; and whatever speaks OAuth 1.0a alone. A vendor that is not here is a few lines for [oidc.New] or [oauth2.New].
//
// Where a vendor cannot be asked for a new proof of who somebody is, a login that has to be one (prompt=login, or a max_age that is over)
// is refused, as provider.LoginRequired: at Apple, Google, LinkedIn, Slack and Twitch, and at all vendors that are an [OAuth2] but
// Facebook and Kakao.
//
// Whether an e-mail address is verified is what the vendor says, and each comment says how much that is. The broker believes it only
// with broker.Provider.TrustEmail.
package social

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// Options are what may be changed about a vendor. The zero value changes nothing. A field that a vendor has no use for is a mistake,
// which Check returns.
type Options struct {
	// Scopes to ask for, in place of those that the vendor's comment names. If nil: those.
	Scopes []string
	// Prompt is sent with every login as the parameter "prompt", "select_account" for instance. If nil it is what the application
	// asks for at OpenID Providers, and nothing elsewhere. Where a new proof is asked for, how that is done comes beside it.
	Prompt []string
	// AuthParams are sent with every authorization request, in addition.
	AuthParams map[string]string
	// ForwardLoginHint passes the application's login_hint on, and ForwardUILocales its ui_locales.
	ForwardLoginHint bool
	ForwardUILocales bool
	// ForwardMaxAge passes the application's max_age on and holds the vendor to it: an answer that does not say when the user proved
	// who they are (auth_time) is refused. Without it the broker asks for a new proof after an answer that is too old or does not say.
	// OpenID Providers only.
	ForwardMaxAge bool
	// ClockSkew is how far the vendor's clock may be off; one minute if zero, five at most. OpenID Providers only.
	ClockSkew time.Duration
	// EssentialClaim is a claim without which nobody gets in, as in [oidc.Config] and [oauth2.Config], and EssentialValue the regular
	// expression that it must match. If empty: none.
	EssentialClaim string
	EssentialValue string
	// ExchangeAudiences are the ids of further clients at the vendor whose ID tokens may be exchanged. OpenID Providers only.
	ExchangeAudiences []string

	// BaseURL is where an installation or a domain of one's own is, "https://git.example.com": GitHub Enterprise Server, GitLab
	// self-managed, Salesforce My Domain, Microsoft's national clouds. If empty: the public one.
	BaseURL string
	// Sandbox is the vendor's place for tests: PayPal, Salesforce.
	Sandbox bool
	// HostedDomains are the Google Workspace domains whose users may come in; "*" is any. If nil: everybody, consumers too.
	HostedDomains []string
	// Offline asks for a refresh token, from vendors who give none otherwise: Auth0, Google, Keycloak, Microsoft, Okta, Salesforce, X.
	// Two have to allow it to the application: Okta by the grant type Refresh Token, Salesforce by the scope refresh_token.
	Offline bool
	// Fields are fetched from Facebook, in addition to those that the comment names.
	Fields []string
	// InsecureAllowAnyTenant lets users of any Microsoft Entra tenant in, whoever made it, and personal accounts.
	InsecureAllowAnyTenant bool

	// HTTPClient is what the vendor is asked with; the guarded client of [provider.NewHTTPClient] if nil.
	HTTPClient *http.Client
	// InsecureAllowPrivateNetworks is for the client that is made when HTTPClient is nil, for an installation in one's own network.
	InsecureAllowPrivateNetworks bool
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// check refuses what the vendor has no use for.
func (o *Options) check(takes []string) error {
	var errs []error
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ExchangeAudiences", o.ExchangeAudiences != nil},
		{"ForwardMaxAge", o.ForwardMaxAge},
		{"ClockSkew", o.ClockSkew != 0},
		{"BaseURL", o.BaseURL != ""},
		{"Sandbox", o.Sandbox},
		{"HostedDomains", o.HostedDomains != nil},
		{"Offline", o.Offline},
		{"Fields", o.Fields != nil},
		{"InsecureAllowAnyTenant", o.InsecureAllowAnyTenant},
	} {
		if f.set && !slices.Contains(takes, f.name) {
			errs = append(errs, fmt.Errorf("%s: this vendor has no use for it", f.name))
		}
	}
	if o.BaseURL != "" {
		errs = append(errs, checkBase("BaseURL", o.BaseURL))
	}
	return errors.Join(errs...)
}

// checkBase refuses what nothing can be appended to.
func checkBase(name, base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(base, "?#") {
		return fmt.Errorf("%s: is not an https address without user and query", name)
	}
	return nil
}

func checkDomain(domain string) error {
	if domain == "" {
		return errors.New("domain: is missing")
	}
	return nil
}

// base returns BaseURL without a slash at its end, or what stands for none.
func (o *Options) base(public string) string {
	if o.BaseURL == "" {
		return public
	}
	return strings.TrimRight(o.BaseURL, "/")
}

// A vendor is what both kinds have.
type vendor struct {
	brand provider.Brand
	takes []string // fields of Options that are not for everybody
	// offline is the scope by which a vendor that takes Offline is asked for a refresh token, if it is by a scope.
	offline string
	err     error // that has nothing to do with Options
	// adjust edits what the vendor said, or refuses it.
	adjust func(o *Options, id *provider.Identity) error
}

// scopes returns what to ask for.
func (v *vendor) scopes(o *Options, own []string) []string {
	if o.Scopes != nil {
		own = o.Scopes
	}
	if o.Offline && v.offline != "" {
		own = append(slices.Clone(own), v.offline)
	}
	return own
}

// OpenID is a vendor that is an OpenID Provider: all that [oidc.Provider] is, and a brand. It is made by the constructors of this
// package and safe for concurrent use. One whose Check returns an error is good for nothing.
type OpenID struct {
	*openID // its methods are this one's; nil if err is not
	preset  openIDPreset
	options Options
	err     error
}

type openID = oidc.Provider // so that what is embedded is not exported: it checks less

// An openIDPreset is a vendor over package oidc.
type openIDPreset struct {
	vendor
	config    oidc.Config
	configure func(c *oidc.Config, o *Options) error // what Options change, beyond what they change for everybody
	// subject are the claims that say who it is, if that is not sub alone.
	subject []string
	// issuer is what Trust names, if that is not the one that is configured.
	issuer func(o *Options) string
	// callback edits what came of the answer that the browser brought, which nobody has signed.
	callback func(id *provider.Identity, params url.Values)
}

var (
	_ provider.IdentityProvider = (*OpenID)(nil)
	_ provider.LogoutStarter    = (*OpenID)(nil)
	_ provider.LogoutReceiver   = (*OpenID)(nil)
	_ provider.TokenVerifier    = (*OpenID)(nil)
	_ provider.TokenRefresher   = (*OpenID)(nil)
	_ provider.TokenRevoker     = (*OpenID)(nil)
	_ provider.Trusted          = (*OpenID)(nil)
	_ provider.Publisher        = (*OpenID)(nil)
	_ provider.Branded          = (*OpenID)(nil)
)

func (preset openIDPreset) build(o Options) *OpenID {
	o.HostedDomains = slices.Clone(o.HostedDomains) // looked at with each login
	p := &OpenID{preset: preset, options: o}
	c := preset.config
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "profile", "email"}
	}
	c.Scopes = preset.scopes(&o, c.Scopes)
	c.Prompt, c.ForwardLoginHint, c.ForwardUILocales = o.Prompt, o.ForwardLoginHint, o.ForwardUILocales
	c.ForwardMaxAge, c.ClockSkew, c.ExchangeAudiences = o.ForwardMaxAge, o.ClockSkew, o.ExchangeAudiences
	c.EssentialClaim, c.EssentialValue = o.EssentialClaim, o.EssentialValue
	c.HTTPClient, c.InsecureAllowPrivateNetworks, c.Now = o.HTTPClient, o.InsecureAllowPrivateNetworks, o.Now
	c.AuthParams = merged(c.AuthParams, o.AuthParams)
	p.err = errors.Join(preset.err, o.check(append([]string{"ExchangeAudiences", "ForwardMaxAge", "ClockSkew"}, preset.takes...)))
	if preset.configure != nil {
		p.err = errors.Join(p.err, preset.configure(&c, &p.options))
	}
	if p.err == nil {
		p.openID, p.err = oidc.New(c)
	}
	return p
}

// With returns the vendor with these options, in place of those that it had.
func (p *OpenID) With(o Options) *OpenID { return p.preset.build(o) }

// Check returns what is wrong with the arguments of the constructor and with the options.
func (p *OpenID) Check() error { return p.err }

// Brand returns name and icon.
func (p *OpenID) Brand() provider.Brand { return p.preset.brand }

// Begin says where to send the browser.
func (p *OpenID) Begin(ctx context.Context, r provider.Request) (*provider.Redirect, error) {
	if p.err != nil {
		return nil, &provider.Error{Kind: provider.Misconfigured, Err: p.err}
	}
	return p.openID.Begin(ctx, r)
}

// Finish verifies the answer of the vendor and returns who it vouched for.
func (p *OpenID) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	if p.err != nil {
		return nil, &provider.Error{Kind: provider.Misconfigured, Err: p.err}
	}
	id, err := p.openID.Finish(ctx, cb)
	if err == nil && p.preset.callback != nil {
		p.preset.callback(id, cb.Params)
	}
	return p.settle(id, err)
}

// VerifyToken verifies an ID token that an application got from the vendor, as [oidc.Provider.VerifyToken] does. What is checked at a
// login beyond that, Options.HostedDomains for instance, is checked here as well.
func (p *OpenID) VerifyToken(ctx context.Context, raw string) (*provider.Identity, error) {
	if p.err != nil {
		return nil, &provider.Error{Kind: provider.Misconfigured, Err: p.err}
	}
	return p.settle(p.openID.VerifyToken(ctx, raw))
}

// settle makes of what every OpenID Provider says what this one means.
func (p *OpenID) settle(id *provider.Identity, err error) (*provider.Identity, error) {
	if err != nil {
		return nil, err
	}
	if p.preset.subject != nil {
		if err := compose(id, p.preset.subject); err != nil {
			return nil, err
		}
	}
	if p.preset.adjust != nil {
		if err := p.preset.adjust(&p.options, id); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// Trust says on what the vendor's word rests: its name, whatever its addresses are in one version of this package, and by which claims
// it says who somebody is.
func (p *OpenID) Trust() provider.Trust {
	issuer := p.openID.Trust().Issuer
	if p.preset.issuer != nil {
		issuer = p.preset.issuer(&p.options)
	}
	subject := cmp.Or(strings.Join(p.preset.subject, "."), "sub")
	return provider.Trust{Issuer: issuer, Basis: []string{"protocol=openid-connect", "subject=" + subject}}
}

// OAuth2 is a vendor that is no OpenID Provider: all that [oauth2.Provider] is, and a brand. It is made by the constructors of this
// package and safe for concurrent use. One whose Check returns an error is good for nothing.
type OAuth2 struct {
	*oAuth2 // its methods are this one's; nil if err is not
	preset  oAuth2Preset
	options Options
	err     error
}

type oAuth2 = oauth2.Provider // likewise

// An oAuth2Preset is a vendor over package oauth2.
type oAuth2Preset struct {
	vendor
	config    oauth2.Config
	configure func(c *oauth2.Config, o *Options) error // what Options change, beyond what they change for everybody
}

var (
	_ provider.IdentityProvider = (*OAuth2)(nil)
	_ provider.TokenRefresher   = (*OAuth2)(nil)
	_ provider.TokenRevoker     = (*OAuth2)(nil)
	_ provider.Trusted          = (*OAuth2)(nil)
	_ provider.Branded          = (*OAuth2)(nil)
)

func (preset oAuth2Preset) build(o Options) *OAuth2 {
	p := &OAuth2{preset: preset, options: o}
	c := preset.config
	c.Scopes = preset.scopes(&o, c.Scopes)
	c.ForwardLoginHint, c.ForwardUILocales = o.ForwardLoginHint, o.ForwardUILocales
	c.EssentialClaim, c.EssentialValue = o.EssentialClaim, o.EssentialValue
	c.HTTPClient, c.InsecureAllowPrivateNetworks, c.Now = o.HTTPClient, o.InsecureAllowPrivateNetworks, o.Now
	c.AuthParams = merged(c.AuthParams, o.AuthParams)
	if o.Prompt != nil {
		c.AuthParams = merged(c.AuthParams, map[string]string{"prompt": strings.Join(o.Prompt, " ")})
	}
	p.err = errors.Join(preset.err, o.check(preset.takes))
	if preset.configure != nil {
		p.err = errors.Join(p.err, preset.configure(&c, &p.options))
	}
	if p.err == nil {
		p.oAuth2, p.err = oauth2.New(c)
	}
	return p
}

// With returns the vendor with these options, in place of those that it had.
func (p *OAuth2) With(o Options) *OAuth2 { return p.preset.build(o) }

// Check returns what is wrong with the arguments of the constructor and with the options.
func (p *OAuth2) Check() error { return p.err }

// Brand returns name and icon.
func (p *OAuth2) Brand() provider.Brand { return p.preset.brand }

// Begin says where to send the browser.
func (p *OAuth2) Begin(ctx context.Context, r provider.Request) (*provider.Redirect, error) {
	if p.err != nil {
		return nil, &provider.Error{Kind: provider.Misconfigured, Err: p.err}
	}
	return p.oAuth2.Begin(ctx, r)
}

// Finish verifies the answer of the vendor and returns who it says the bearer of its access token is.
func (p *OAuth2) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	if p.err != nil {
		return nil, &provider.Error{Kind: provider.Misconfigured, Err: p.err}
	}
	id, err := p.oAuth2.Finish(ctx, cb)
	if err != nil {
		return nil, err
	}
	if p.preset.adjust != nil {
		if err := p.preset.adjust(&p.options, id); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// Trust says on what the vendor's word rests: its name, whatever its addresses are in one version of this package, and by which claim
// it says who somebody is.
func (p *OAuth2) Trust() provider.Trust {
	subject := p.preset.config.Claims.Subject
	return provider.Trust{Issuer: p.oAuth2.Trust().Issuer, Basis: []string{"protocol=oauth2", "subject=" + subject}}
}

// merged returns both, of which the second beats the first.
func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}

// compose makes the subject of several claims, none of which may be missing. They are ids without a dot of their own.
func compose(id *provider.Identity, claims []string) error {
	parts := make([]string, len(claims))
	for i, name := range claims {
		s, _ := id.Claims[name].(string)
		if s == "" || s == "null" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '.' }) {
			return refuse(provider.Invalid, "claim %q, which says who it is, is missing or unusable", name)
		}
		parts[i] = s
	}
	if id.Username == id.Subject {
		id.Username = strings.Join(parts, ".")
	}
	id.Subject = strings.Join(parts, ".")
	return nil
}

func refuse(kind provider.Kind, format string, args ...any) error {
	return &provider.Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}
