// Package oidc lets users in through an OpenID Provider, by the authorization code flow of OpenID Connect Core 1.0 with
// PKCE and nonce.
//
// It owns what lies between a browser's trip to one provider and the identity that comes of it: discovery, the request, the
// check of the answer, client authentication, the checks of ID token and userinfo. It owns no session and no user, and
// keeps nothing of a login: what it must remember is in the redirect that the broker seals.
//
//	idp, err := oidc.New(oidc.Config{
//		Issuer:       "https://accounts.google.com",
//		ClientID:     id,
//		ClientSecret: secret,
//	})
//	…
//	cfg.Providers = []broker.Provider{{Alias: "google", IdP: idp}}
//
// The redirect URI to register there is {BaseURL}/broker/google/endpoint. Package social has well-known vendors by name.
//
// All checks are on unless a field of [Config] that is spelt Insecure… takes one away.
package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/claim"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// Provider is one OpenID Provider as an upstream. It is made by [New] and safe for concurrent use.
type Provider struct {
	cfg      Config // with defaults filled in; not changed after New
	auth     oauth.Client
	issuers  issuers
	client   func() *http.Client // made when it is first needed
	now      func() time.Time
	required *regexp.Regexp // what EssentialClaim must match; nil if there is none
	former   claim.Path     // of FormerSubjectClaim; nil if there is none
	jwks     []byte         // what Descriptor publishes; nil if that is nothing

	current atomic.Pointer[upstream]
	failed  atomic.Pointer[failure]
	flight  singleflight.Group
}

var (
	_ provider.IdentityProvider = (*Provider)(nil)
	_ provider.LogoutStarter    = (*Provider)(nil)
	_ provider.LogoutReceiver   = (*Provider)(nil)
	_ provider.TokenVerifier    = (*Provider)(nil)
	_ provider.TokenRefresher   = (*Provider)(nil)
	_ provider.TokenRevoker     = (*Provider)(nil)
	_ provider.Trusted          = (*Provider)(nil)
	_ provider.Publisher        = (*Provider)(nil)
)

// New returns the upstream that cfg describes. It does no I/O: the provider may be down, and stay down, without harm to
// anything but logins through it. All mistakes in cfg are returned in one error.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	required, former, err := cfg.check()
	if err != nil {
		return nil, err
	}
	jwks, err := cfg.publicKeys()
	if err != nil {
		return nil, fmt.Errorf("oidc: public keys: %w", err)
	}
	p := &Provider{
		cfg:      cfg,
		auth:     cfg.client(),
		issuers:  cfg.issuers(),
		now:      cfg.Now,
		required: required,
		former:   former,
		jwks:     jwks,
	}
	p.client = sync.OnceValue(p.cfg.httpClient)
	return p, nil
}

// Finish verifies the answer of the provider and returns who it vouched for.
func (p *Provider) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	l, err := parseLogin(cb.Data)
	if err != nil {
		return nil, err
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	code, err := p.codeOf(up, cb.Params)
	if err != nil {
		return nil, err
	}
	tokens, err := p.exchange(ctx, up, code, l)
	if err != nil {
		return nil, err
	}
	idClaims, err := p.verifyIDToken(ctx, up, tokens, code, l)
	if err != nil {
		return nil, err
	}
	all := idClaims
	if up.userInfoURL != "" {
		info, err := p.userInfo(ctx, up, tokens.AccessToken, idClaims)
		if err != nil {
			return nil, err
		}
		all = idClaims.with(info)
	}
	if err := p.checkEssential(all); err != nil {
		return nil, err
	}
	id := all.identity(p.cfg.GroupsClaim, tokens)
	id.FormerSubject = p.formerSubject(idClaims)
	return id, nil
}

// formerSubject returns by what else the ID token names its subject, "" if by nothing that can.
func (p *Provider) formerSubject(idToken claims) string {
	if p.former == nil {
		return ""
	}
	former, ok := claim.ID(p.former.Find(idToken))
	if !ok {
		return ""
	}
	return former
}

// checkEssential looks for the claim without which nobody gets in.
func (p *Provider) checkEssential(c claims) error {
	if p.required == nil {
		return nil
	}
	values := c.values(p.cfg.EssentialClaim)
	for _, v := range values {
		if p.required.MatchString(v) {
			return nil
		}
	}
	return fail(provider.ClaimMismatch, "none of the %d values of claim %q is one that is required", len(values), p.cfg.EssentialClaim)
}

// Format prints issuer and client, whatever the verb: the rest holds secrets.
func (p *Provider) Format(s fmt.State, verb rune) { p.cfg.Format(s, verb) }

// LogValue keeps secrets out of logs.
func (p *Provider) LogValue() slog.Value { return p.cfg.LogValue() }

func fail(kind provider.Kind, format string, args ...any) error {
	return &provider.Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Insecure returns the names of the fields by which the configuration takes a check away, for the broker to log at start.
func (p *Provider) Insecure() []string {
	var set []string
	for name, on := range map[string]bool{
		"InsecureAllowAnyTenant":       p.cfg.InsecureAllowAnyTenant,
		"InsecureAllowCodeInjection":   p.cfg.InsecureAllowCodeInjection,
		"InsecureAllowPrivateNetworks": p.cfg.InsecureAllowPrivateNetworks,
		"InsecureAllowHTTP":            p.cfg.InsecureAllowHTTP,
		"InsecureSkipPKCE":             p.cfg.InsecureSkipPKCE,
		"InsecureSkipNonce":            p.cfg.InsecureSkipNonce,
	} {
		if on {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return set
}
