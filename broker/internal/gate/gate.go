// Package gate is the one place where it is checked whether a provider, a client or a user may take part at all. Every
// entrance passes it: the start of a login, its callback, each further step, a session, a code, a token.
//
// It owns the configured providers and clients by name; it decides nothing that depends on what somebody proved.
package gate

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// Refusals.
var (
	ErrUnknownProvider  = errors.New("gate: unknown provider")
	ErrProviderDisabled = errors.New("gate: provider is disabled")
	ErrLinkOnly         = errors.New("gate: provider may only be linked")
	ErrUnknownClient    = errors.New("gate: unknown client")
	ErrClientDisabled   = errors.New("gate: client is disabled")
	ErrUserDisabled     = errors.New("gate: user is disabled")
)

// A Provider is a configured upstream; the fields are those of broker.Provider and documented there.
type Provider struct {
	Alias       string
	IdP         provider.IdentityProvider
	Name        string
	Icon        []byte
	Order       int
	Disabled    bool
	HideOnLogin bool
	LinkOnly    bool
	Domains     []string
	TrustEmail  bool
	Sync        provider.SyncMode
	Mappers     []provider.Mapper
	FirstLogin  flow.Flow
	PostLogin   flow.Flow
}

// A Gate knows the providers and clients. It is immutable and safe for concurrent use.
type Gate struct {
	providers map[string]*Provider
	shown     []*Provider
	domains   map[string]*Provider
	clients   map[string]*store.Client
}

// New returns a gate for providers and clients whose names are unique.
func New(providers []Provider, clients []store.Client) *Gate {
	g := &Gate{
		providers: make(map[string]*Provider, len(providers)),
		domains:   map[string]*Provider{},
		clients:   make(map[string]*store.Client, len(clients)),
	}
	for i := range providers {
		p := &providers[i] // of the broker's own slice
		g.providers[p.Alias] = p
		if p.Disabled || p.LinkOnly {
			continue
		}
		for _, domain := range p.Domains {
			g.domains[strings.ToLower(domain)] = p
		}
		if !p.HideOnLogin {
			g.shown = append(g.shown, p)
		}
	}
	slices.SortStableFunc(g.shown, func(a, b *Provider) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Title(), b.Title()))
	})
	for i := range clients {
		c := clients[i]
		c.Secrets, c.RedirectURIs = slices.Clone(c.Secrets), slices.Clone(c.RedirectURIs)
		c.Scopes, c.Audience = slices.Clone(c.Scopes), slices.Clone(c.Audience)
		g.clients[c.ID] = &c
	}
	return g
}

// Title is what people call the provider.
func (p *Provider) Title() string { return cmp.Or(p.Name, p.Alias) }

// Provider returns the provider whatever its state, or ErrUnknownProvider: for showing, not for logging in.
func (g *Gate) Provider(alias string) (*Provider, error) {
	p, ok := g.providers[alias]
	if !ok {
		return nil, ErrUnknownProvider
	}
	return p, nil
}

// Enabled returns the provider if it may be used for anything.
func (g *Gate) Enabled(alias string) (*Provider, error) {
	p, err := g.Provider(alias)
	if err != nil {
		return nil, err
	}
	if p.Disabled {
		return nil, ErrProviderDisabled
	}
	return p, nil
}

// Login returns the provider if somebody may log in with it.
func (g *Gate) Login(alias string) (*Provider, error) {
	p, err := g.Enabled(alias)
	if err != nil {
		return nil, err
	}
	if p.LinkOnly {
		return nil, ErrLinkOnly
	}
	return p, nil
}

// Shown returns the providers of the login page, in its order. The caller must not change the slice.
func (g *Gate) Shown() []*Provider { return g.shown }

// HasDomains reports whether an e-mail address can lead to a provider.
func (g *Gate) HasDomains() bool { return len(g.domains) > 0 }

// Domain returns the provider of the domain of an e-mail address, or nil. Only one plain "local@domain" has a domain.
func (g *Gate) Domain(email string) *Provider {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || strings.Contains(domain, "@") {
		return nil
	}
	return g.domains[strings.ToLower(domain)]
}

// Client returns the client if it may be used.
func (g *Gate) Client(id string) (*store.Client, error) {
	c, ok := g.clients[id]
	if !ok {
		return nil, ErrUnknownClient
	}
	if c.Disabled {
		return nil, ErrClientDisabled
	}
	return c, nil
}

// User returns an error if u may not log in and hold tokens.
func (g *Gate) User(u *store.User) error {
	if u.Disabled {
		return ErrUserDisabled
	}
	return nil
}

// Session returns an error if s must not be honoured any more because of who vouched for it.
func (g *Gate) Session(s *store.Session) error {
	if s.Upstream.Provider == "" {
		return nil
	}
	_, err := g.Enabled(s.Upstream.Provider)
	return err
}
