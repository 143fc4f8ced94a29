// Package broker is idbroker's front door: the one package that a host application imports, besides a store and a
// provider.
//
// It turns a [Config] into a [Broker], an http.Handler with the login pages, the callbacks of the upstreams and the OpenID
// Provider, and into middleware for the host's own pages. It owns the way a login takes through the other packages, and
// nothing that they own: no protocol, no flow step, no table.
//
//	b, err := broker.New(broker.Config{
//		BaseURL:   "https://app.example/id",
//		Secrets:   [][]byte{secret},
//		Store:     sqlstore.New(db),
//		Providers: []broker.Provider{{Alias: "corp", IdP: corp}},
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	go b.Run(ctx) // upkeep
//	http.Handle("/id/", b)
//	http.Handle("/account/", b.Account())
//	http.Handle("/", b.RequireLogin(app))
//
// In app, [UserFrom] says who is there. Each upstream has {BaseURL}/broker/{alias}/endpoint registered as its redirect URI; what makes
// one is below package provider: social for vendors by name, oidc, saml and oauth2 for all others. Applications in any language sign in
// over OpenID Connect, once they are in Clients; BaseURL is the issuer.
//
// What else there is is a field of Config: LocalLogin and Passkeys for credentials of the broker's own, Mailer for proofs by mail,
// FirstLogin and PostLogin for what a login asks, Theme for what its pages look like.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/account"
	"github.com/go-idbroker/idbroker/broker/internal/fence"
	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/keys"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/logout"
	"github.com/go-idbroker/idbroker/broker/internal/op"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/token"
)

// A Broker is an http.Handler to be mounted at the path of its BaseURL, and the middleware that goes with it. It is safe
// for concurrent use, keeps nothing that another node needs, and starts no goroutine but in [Broker.Run].
type Broker struct {
	base     *url.URL
	home     string // absolute
	log      *slog.Logger
	now      func() time.Time
	store    store.Store
	gate     *gate.Gate
	fences   *fence.Keeper
	sessions *session.Manager
	pages    *web.Pages
	keys     *keys.Keys
	vault    *vault.Vault
	login    *login.Service
	logouts  *logout.Service
	account  *account.Service
	handler  http.Handler
	sealed   []resealer // all that keeps secrets
	holders  store.Holders

	maintained map[string]provider.Maintained
}

// New checks the configuration and returns its broker, or every mistake in it joined in one error. It does no I/O: a
// store or an upstream that is down now may be up when it is needed.
func New(c Config) (*Broker, error) {
	c.defaults()
	base, home, errs := c.check()
	if err := c.placePasskeys(); err != nil {
		errs = append(errs, err)
	}
	sealer, err := web.NewSealer(c.Secrets)
	if err != nil {
		errs = append(errs, fmt.Errorf("Secrets: %w", err))
	}
	pages, err := web.NewPages(web.Config{Base: base.Path, Name: c.Name, Theme: c.Theme, Logger: c.Logger})
	if err != nil {
		errs = append(errs, fmt.Errorf("Theme: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("broker: configuration:\n%w", err)
	}
	holders := holdersOf(c.Store)
	if err := c.sealStores(); err != nil {
		return nil, err
	}
	b := &Broker{
		base: base, home: home, log: c.Logger, now: c.Now, store: c.Store, pages: pages,
		sealed: c.resealers(), maintained: c.maintained(), holders: holders,
	}
	b.gate = gate.New(c.gateProviders(), c.Clients, c.ClientStore)
	cookies := web.Cookies{Secure: base.Scheme == "https", Port: base.Port()}
	b.sessions = &session.Manager{
		Store: c.Store, Gate: b.gate, Cookies: cookies, Now: c.Now, Absolute: c.SessionLifetime, Idle: c.SessionIdle,
	}
	b.fences = &fence.Keeper{Store: c.Fences, Now: c.Now, Log: c.Logger}
	b.vault = &vault.Vault{
		Store: c.Store, Gate: b.gate, Fences: b.fences, Sessions: b.sessions, Now: c.Now, Log: c.Logger, InSession: c.tokensInSession(),
	}
	b.keys = &keys.Keys{
		Store: c.Store, Now: c.Now, Log: c.Logger, Schedule: c.Keys, Algorithms: c.algorithms(),
	}
	b.login = &login.Service{
		Base: base, Home: home, Store: c.Store, Gate: b.gate, Fences: b.fences, Sessions: b.sessions, Pages: pages, Sealer: sealer,
		Vault: b.vault, Cookies: cookies,
		Now: c.Now, Log: c.Logger, Default: c.DefaultProvider, FirstLogin: c.FirstLogin, PostLogin: c.PostLogin, Local: c.LocalLogin,
		Credentials: c.Credentials, Passwords: c.Passwords, Passkeys: c.Passkeys, Source: c.source,
	}
	if c.Mailer != nil {
		b.login.Mail = c.mail(pages)
	}
	b.logouts = &logout.Service{
		Base: base, Home: home, Store: c.Store, Gate: b.gate, Sessions: b.sessions, Keys: b.keys, Login: b.login, Pages: pages,
		Vault: b.vault, Cookies: cookies, Client: c.clientHTTP(), Now: c.Now, Log: c.Logger,
	}
	b.login.End, b.login.Ended, b.login.EndEverything = b.logouts.End, b.logouts.Ended, b.logouts.EndEverything
	b.account = b.accountService(&c, sealer)
	server := &op.Provider{
		Base: base, Store: c.Store, Gate: b.gate, Sessions: b.sessions, Login: b.login, Keys: b.keys, Now: c.Now,
		Vault: b.vault, ClientHTTP: c.clientHTTP(), Public: op.NewPublicLimits(c.Now, c.source),
	}
	server.Logout = b.logouts
	b.login.Resolve = func(ctx context.Context, start string) (*login.Target, error) {
		path, query, _ := strings.Cut(start, "?")
		switch path {
		case "/authorize":
			return server.Resolve(ctx, query)
		case "/device":
			return server.ResolveDevice(query)
		case "/link":
			return b.linkTarget(query)
		}
		return b.hostTarget(ctx, query)
	}
	b.handler = b.routes(server)
	for i := range c.Clients {
		logInsecure(c.Logger, &c.Clients[i])
	}
	c.logInsecureParties()
	return b, nil
}

// ServeHTTP serves the broker's pages and endpoints. It may be mounted with the path of BaseURL kept or stripped; no
// header of the request decides any URL.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.serve(w, r, b.below(r))
}

// ConfirmProvider has a provider trusted as what it is configured as now, after its issuer, or what else its word rests on
// ([provider.Trusted]), has been changed: until then nobody can log in with it. Who confirms says that the same subject is
// the same person as before. Links that were made under a former issuer stay. The error says that there is no such provider,
// or is the store's; [store.ErrConflict] is another node that confirmed something else.
func (b *Broker) ConfirmProvider(ctx context.Context, alias string) error {
	p, err := b.gate.Provider(alias)
	if err != nil {
		return fmt.Errorf("broker: confirm provider %q: %w", alias, err)
	}
	if err := b.fences.Confirm(ctx, p); err != nil {
		return fmt.Errorf("broker: confirm provider %q: %w", alias, err)
	}
	return nil
}

// WellKnown serves the issuer's metadata where RFC 8414 §3.1 and §5 have it, at the root of the host: what the broker itself
// serves at BaseURL + "/.well-known/openid-configuration", a handler for "https://app.example/.well-known/" serves at
// "/.well-known/oauth-authorization-server/id" and "/.well-known/openid-configuration/id". Every other path is not found. A
// broker whose BaseURL has no path needs none of this.
func (b *Broker) WellKnown() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server" + b.base.Path, "/.well-known/openid-configuration" + b.base.Path:
			b.serve(w, r, "/.well-known/openid-configuration")
		default:
			http.NotFound(w, r)
		}
	})
}

// serve handles r as one for a path below BaseURL.
func (b *Broker) serve(w http.ResponseWriter, r *http.Request, path string) {
	if path != r.URL.Path {
		stripped := *r.URL
		stripped.Path, stripped.RawPath = path, ""
		r2 := *r
		r2.URL = &stripped
		r = &r2
	}
	web.Recorded(w, r, path, b.log, b.now, b.handler)
}

// below returns the path of the request below the base. A path that is another than the one that was requested was
// stripped by the host already.
func (b *Broker) below(r *http.Request) string {
	path := r.URL.Path
	requested, err := url.ParseRequestURI(r.RequestURI)
	stripped := err == nil && requested.Path != path
	if rest, ok := strings.CutPrefix(path, b.base.Path); ok && !stripped && (rest == "" || rest[0] == '/') {
		path = rest
	}
	if path == "" {
		return "/"
	}
	return path
}

// algorithms are those that some client's tokens are signed with. RS256 is always among them, as OpenID Connect Core
// §15.1 has it.
func (c *Config) algorithms() []string {
	algs := []string{token.RS256, token.ES256}
	if c.ClientStore != nil {
		algs = append(algs, token.PS256, token.EdDSA)
	}
	for _, client := range c.Clients {
		for _, alg := range []string{client.IDTokenAlg, client.AccessTokenAlg, client.UserInfoAlg} {
			if alg != "" && !slices.Contains(algs, alg) {
				algs = append(algs, alg)
			}
		}
	}
	return algs
}

// sealStores puts what is kept behind store/seal, unless the host has.
func (c *Config) sealStores() error {
	secrets, err := seal.FromSecrets(c.Secrets...)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	sealer := seal.New(secrets)
	c.Store = sealer.Store(c.Store)
	if c.ClientStore != nil {
		c.ClientStore = sealer.Clients(c.ClientStore)
	}
	if c.Credentials != nil {
		c.Credentials = sealer.Credentials(c.Credentials)
	}
	return nil
}

// placePasskeys has the passkeys be for this broker.
func (c *Config) placePasskeys() (err error) {
	if c.Passkeys == nil {
		return nil
	}
	if c.Credentials == nil {
		return errors.New("Passkeys: need Credentials, which keep them")
	}
	if c.Passkeys, err = c.Passkeys.At(c.BaseURL, c.Name); err != nil {
		return fmt.Errorf("Passkeys: %w", err)
	}
	return nil
}

// resealers are the stores that sealStores has sealed. One that is named twice is asked twice, and has no more to do then.
func (c *Config) resealers() (all []resealer) {
	for _, kept := range []any{c.Store, c.ClientStore, c.Credentials} {
		if r, ok := kept.(resealer); ok {
			all = append(all, r)
		}
	}
	return all
}

func (c *Config) gateProviders() []gate.Provider {
	list := make([]gate.Provider, len(c.Providers))
	for i, p := range c.Providers {
		list[i] = gate.Provider(p)
	}
	return list
}

// defaults fills in what the host left out.
func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RemoteAddr == nil {
		c.RemoteAddr = connectionAddr
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = 10 * time.Hour
	}
	if c.SessionIdle == 0 {
		c.SessionIdle = 30 * time.Minute
	}
	c.Providers = slices.Clone(c.Providers)
	for i := range c.Providers {
		c.Providers[i].brand()
		c.Providers[i].ThemeData = maps.Clone(c.Providers[i].ThemeData)
	}
	if c.HomeURL == "" {
		c.HomeURL = "/"
	}
	if c.Fences == nil {
		c.Fences = besideLinks(c.Store)
	}
	if c.Passwords == nil {
		c.Passwords = &factor.Passwords{}
	}
	if c.FirstLogin == nil {
		c.FirstLogin = firstlogin.Default()
	}
}

// besideLinks returns the fences that are kept where the links are, nil if none are.
func besideLinks(s store.Store) store.Fences {
	switch p := s.(type) {
	case store.Parts:
		fences, _ := p.Links.(store.Fences)
		return fences
	case *store.Parts:
		return besideLinks(*p)
	}
	fences, _ := store.As[store.Fences](s)
	return fences
}
