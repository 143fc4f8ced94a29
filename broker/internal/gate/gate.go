// Package gate is the one place where it is checked whether a provider, a client or a user may take part at all. Every
// entrance passes it: the start of a login, its callback, each further step, a session, a code, a token.
//
// It owns the configured providers and clients by name; it decides nothing that depends on what somebody proved.
package gate

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// Refusals.
var (
	ErrUnknownProvider  = errors.New("gate: unknown provider")
	ErrProviderDisabled = errors.New("gate: provider is disabled")
	ErrLinkOnly         = errors.New("gate: provider may only be linked")
	// ErrProviderHeld: the provider is trusted as something else than its links were made with, see the package fence.
	ErrProviderHeld = errors.New("gate: provider was changed, and nobody has confirmed it")
	// ErrTransient: the provider vouches for transient users only, and so for nobody who is kept.
	ErrTransient = errors.New("gate: provider has transient users only")
	// ErrProviderNotAllowed: the provider may be used, but not for this client.
	ErrProviderNotAllowed = errors.New("gate: provider may not vouch for users of this client")
	ErrUnknownClient      = errors.New("gate: unknown client")
	ErrClientDisabled     = errors.New("gate: client is disabled")
	ErrNoGrantType        = errors.New("gate: there is no such grant type")
	ErrGrantType          = errors.New("gate: client may not use this grant type")
	ErrUserDisabled       = errors.New("gate: user is disabled")
)

// Refused reports whether err is one of the refusals, and not the failure of a store that could not tell.
func Refused(err error) bool {
	return slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
}

var refusals = []error{
	ErrUnknownProvider, ErrProviderDisabled, ErrLinkOnly, ErrProviderHeld, ErrTransient, ErrProviderNotAllowed, ErrUnknownClient, ErrClientDisabled,
	ErrNoGrantType, ErrGrantType, ErrUserDisabled,
}

// A Provider is a configured upstream; the fields are those of broker.Provider and documented there.
type Provider struct {
	Alias                 string
	IdP                   provider.IdentityProvider
	Name                  string
	Icon                  []byte
	ThemeData             map[string]string
	Order                 int
	Disabled              bool
	HideOnLogin           bool
	LinkOnly              bool
	ShowInAccount         provider.AccountMode
	Domains               []string
	TrustEmail            bool
	CaseSensitiveUsername bool
	Sync                  provider.SyncMode
	Mappers               []provider.Mapper
	Logout                provider.LogoutMode
	AllowTokenExchange    bool
	StoreTokens           provider.TokenMode
	TokensReadable        bool
	TokenMinValidity      time.Duration
	TransientUsers        bool
	FirstLogin            flow.Flow
	PostLogin             flow.Flow
}

// A Gate knows the providers and clients. It is immutable and safe for concurrent use.
type Gate struct {
	providers map[string]*Provider
	shown     []*Provider
	linkable  []*Provider
	domains   map[string]*Provider
	clients   map[string]*store.Client

	clientStore store.Clients // may be nil
}

// New returns a gate for providers and clients whose names are unique, and for more clients in a store, which may be nil
// and seals.
func New(providers []Provider, clients []store.Client, clientStore store.Clients) *Gate {
	g := &Gate{
		providers: make(map[string]*Provider, len(providers)),
		domains:   map[string]*Provider{},
		clients:   make(map[string]*store.Client, len(clients)),

		clientStore: clientStore,
	}
	for i := range providers {
		p := &providers[i] // of the broker's own slice
		g.providers[p.Alias] = p
		if !p.Disabled && !p.TransientUsers {
			g.linkable = append(g.linkable, p)
		}
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
	for _, list := range [][]*Provider{g.shown, g.linkable} {
		slices.SortStableFunc(list, func(a, b *Provider) int {
			return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(strings.ToLower(a.Title()), strings.ToLower(b.Title())))
		})
	}
	for i := range clients {
		c := clients[i]
		c.Secrets, c.RedirectURIs = slices.Clone(c.Secrets), slices.Clone(c.RedirectURIs)
		c.ProviderTokens = slices.Clone(c.ProviderTokens)
		c.Scopes, c.Audience, c.Claims = slices.Clone(c.Scopes), slices.Clone(c.Audience), slices.Clone(c.Claims)
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

// Login returns the provider if somebody may log in with it: only says whose word counts ([store.Client.Providers]), nil
// is everybody's.
func (g *Gate) Login(alias string, only []string) (*Provider, error) {
	p, err := g.Enabled(alias)
	if err != nil {
		return nil, err
	}
	if p.LinkOnly {
		return nil, ErrLinkOnly
	}
	if !among(only, alias) {
		return nil, ErrProviderNotAllowed
	}
	return p, nil
}

// Linked returns the provider if somebody may log in with it as a user who is kept, and linked to it. Of one with transient users
// nobody may, whoever was linked before.
func (g *Gate) Linked(alias string, only []string) (*Provider, error) {
	p, err := g.Login(alias, only)
	if err != nil {
		return nil, err
	}
	if p.TransientUsers {
		return nil, ErrTransient
	}
	return p, nil
}

// Shown returns the providers of the login page, in its order. The caller must not change the slice.
func (g *Gate) Shown(only []string) []*Provider {
	if len(only) == 0 {
		return g.shown
	}
	var list []*Provider
	for _, p := range g.shown {
		if slices.Contains(only, p.Alias) {
			list = append(list, p)
		}
	}
	return list
}

// Linkable returns the providers that somebody may link, in the order of the login page.
func (g *Gate) Linkable() []*Provider { return g.linkable }

// HasDomains reports whether an e-mail address can lead to a provider.
func (g *Gate) HasDomains(only []string) bool {
	if len(only) == 0 {
		return len(g.domains) > 0
	}
	return slices.ContainsFunc(only, func(alias string) bool {
		p, err := g.Login(alias, only)
		return err == nil && len(p.Domains) > 0
	})
}

// Domain returns the provider of the domain of an e-mail address, or nil. Only one plain "local@domain" has a domain.
func (g *Gate) Domain(email string, only []string) *Provider {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || strings.Contains(domain, "@") {
		return nil
	}
	if p := g.domains[strings.ToLower(domain)]; p != nil && among(only, p.Alias) {
		return p
	}
	return nil
}

// transientPrefix begins the ids of transient users, and of nobody else.
const transientPrefix = "transient-"

// TransientID returns the id of the transient user whom this key names: the same at each login, and made of the key alone. Who
// knows the key knows the id; nobody gets from the id to a key that cannot be guessed.
func TransientID(key store.LinkKey) string {
	parts := fmt.Sprintf("%d:%s%d:%s%s", len(key.Provider), key.Provider, len(key.Issuer), key.Issuer, key.Subject)
	sum := sha256.Sum256([]byte(parts))
	return transientPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// User returns an error if u, who is kept, may not log in and hold tokens. One with the id of a transient user may not.
func (g *Gate) User(u *store.User) error {
	if u.Disabled || strings.HasPrefix(u.ID, transientPrefix) {
		return ErrUserDisabled
	}
	return nil
}

// Transient returns an error unless a session may be that of the transient user u, for whom the upstream has vouched under key.
func (g *Gate) Transient(u *store.User, userID string, key store.LinkKey) error {
	p, err := g.Login(key.Provider, nil)
	switch {
	case err != nil:
		return err
	case !p.TransientUsers || u.Disabled || u.ID != userID || u.ID != TransientID(key):
		return ErrUserDisabled
	}
	return nil
}

// Upstream returns an error if the word of a provider, "" for none, must not be honoured any more about a user who is kept: nobody
// could log in with it now.
func (g *Gate) Upstream(alias string) error {
	if alias == "" {
		return nil
	}
	_, err := g.Linked(alias, nil)
	return err
}
