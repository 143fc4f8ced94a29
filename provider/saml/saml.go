// Package saml lets users in through a SAML 2.0 identity provider, as its service provider by the Web Browser SSO profile.
//
// It owns what lies between a browser's trip to one identity provider and the identity that comes of it: metadata, requests,
// signatures, decryption, the checks of the answer, and single logout. It owns no session and no user, and keeps nothing
// of a login: what it must remember is in the redirect that the broker seals.
//
//	idp, err := saml.New(saml.Config{
//		EntityID:    "https://app.example/id",
//		MetadataURL: "https://idp.example/metadata",
//	})
//	…
//	cfg.Providers = []broker.Provider{{Alias: "customer", IdP: idp}}
//
// The identity provider is given the broker's own metadata, at {BaseURL}/broker/customer/endpoint/descriptor, or what it says: the entity
// id, and {BaseURL}/broker/customer/endpoint, to which answers are posted. Keys to sign requests and to decrypt answers are fields of
// [Config], and needed by few.
//
// All checks are on unless a field of [Config] that is spelt Insecure… takes one away. An answer passes one station after
// the other, each a file: binding.go (sizes and encodings), document.go (the one strict parser), status.go, signature.go,
// encryption.go, assertion.go (whether it is for this login, here and now), attributes.go.
package saml

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/go-idbroker/idbroker/provider"
)

// Provider is one SAML identity provider as an upstream. It is made by [New] and safe for concurrent use.
type Provider struct {
	cfg      Config // with defaults filled in; not changed after New
	client   *http.Client
	now      func() time.Time
	required *regexp.Regexp // what EssentialAttribute must match; nil if there is none
	issuer   string         // the identity provider's name, "" if only what is fetched says it

	current atomic.Pointer[upstream]
	failed  atomic.Pointer[failure]
	flight  singleflight.Group
	told    atomic.Pointer[notice] // the last certificate that was said to expire

	published atomic.Pointer[published]
}

var _ provider.IdentityProvider = (*Provider)(nil)

// New returns the upstream that cfg describes. It does no I/O: the identity provider may be down, and stay down, without
// harm to anything but logins through it. All mistakes in cfg are returned in one error.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	required, err := cfg.check()
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, client: cfg.httpClient(), now: cfg.Now, required: required, issuer: cfg.IdPEntityID}
	switch {
	case len(cfg.Metadata) > 0:
		up, err := p.read(cfg.Metadata)
		if err != nil {
			return nil, fmt.Errorf("saml: Metadata: %w", err)
		}
		p.issuer = up.entityID
		if cfg.MetadataURL != "" {
			up.refreshAt = p.now() // it is used until the first fetch
		} else {
			up.refreshAt = time.Time{}
		}
		p.current.Store(up)
	case cfg.static() && cfg.MetadataURL == "":
		up, err := p.configured(&upstream{})
		if err != nil {
			return nil, fmt.Errorf("saml: %w", err)
		}
		p.current.Store(up)
	}
	return p, nil
}

// Finish verifies the answer of the identity provider and returns who it vouched for. The broker has to see that it
// does so once (Identity.Once).
func (p *Provider) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	l, err := parseLogin(cb.Data)
	if err != nil {
		return nil, err
	}
	in, err := p.inbound(ctx, cb)
	if err != nil {
		return nil, err
	}
	in.keep = cb.KeepTokens
	return p.accept(ctx, in, l)
}

// accept reads an answer. One that is signed by an unknown key is looked at again if there are new keys.
func (p *Provider) accept(ctx context.Context, in *inbound, l *login) (*provider.Identity, error) {
	var identity *provider.Identity
	err := p.withKeys(ctx, func(up *upstream) (err error) {
		identity, err = p.identify(up, in, l)
		return err
	})
	if err != nil {
		return nil, invalid("answer", err)
	}
	return identity, nil
}

// identify takes an answer through all stations.
func (p *Provider) identify(up *upstream, in *inbound, l *login) (*provider.Identity, error) {
	a, err := p.open(up, in, l)
	if err != nil {
		return nil, err
	}
	if err := p.check(up, a, l); err != nil {
		return nil, err
	}
	if err := p.checkEssential(a.attributes); err != nil {
		return nil, err
	}
	return p.identity(up, a)
}

// checkEssential looks for the attribute without which nobody gets in.
func (p *Provider) checkEssential(all attributes) error {
	if p.required == nil {
		return nil
	}
	values := all.values(p.cfg.EssentialAttribute)
	if slices.ContainsFunc(values, p.required.MatchString) {
		return nil
	}
	return fail(provider.ClaimMismatch, "none of the %d values of attribute %q is one that is required",
		len(values), p.cfg.EssentialAttribute)
}

// Format prints the names of both sides, whatever the verb: the rest holds secrets.
func (p *Provider) Format(s fmt.State, verb rune) { p.cfg.Format(s, verb) }

// LogValue keeps secrets out of logs.
func (p *Provider) LogValue() slog.Value { return p.cfg.LogValue() }

// Insecure returns the names of the fields by which the configuration takes a check away, for the broker to log at start.
func (p *Provider) Insecure() []string {
	var set []string
	for name, on := range map[string]bool{
		"InsecureAllowPrivateNetworks":     p.cfg.InsecureAllowPrivateNetworks,
		"InsecureAllowHTTP":                p.cfg.InsecureAllowHTTP,
		"InsecureAllowCBC":                 p.cfg.InsecureAllowCBC,
		"InsecureAllowExpiredCertificates": p.cfg.InsecureAllowExpiredCertificates,
	} {
		if on {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return set
}

// signingKey returns the key to sign with, nil if there is none.
func (p *Provider) signingKey() *Key {
	if len(p.cfg.SigningKeys) == 0 {
		return nil
	}
	return &p.cfg.SigningKeys[0]
}

func fail(kind provider.Kind, format string, args ...any) error {
	return &provider.Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// invalid makes a *provider.Error of what is none yet.
func invalid(what string, err error) error {
	if _, ok := errors.AsType[*provider.Error](err); ok {
		return err
	}
	return fail(provider.Invalid, "%s: %w", what, err)
}
