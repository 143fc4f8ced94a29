package broker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// Config is everything about a broker. BaseURL, Secrets and Store are required; every other field has a default.
type Config struct {
	// BaseURL is where browsers and applications reach the broker, such as "https://app.example/id". It is the OpenID
	// issuer, and it alone decides every URL. It is https, or http on a loopback host for development.
	BaseURL string
	// Secrets seal what leaves the process or rests in the store: 32 random bytes each, the same on every node. The
	// first seals; the others still open what they sealed, so that a new one can be put before an old one. Keep the
	// old one until [Broker.Reseal] has run.
	Secrets [][]byte
	// Store remembers users, links, sessions, grants and keys. One that has a method Check() error, as [store.Parts] has, is
	// asked by it whether it can work.
	Store store.Store
	// Providers are the upstreams that may vouch for users.
	Providers []Provider
	// Clients are the applications that sign in over OpenID Connect. Hosts that only use [Broker.RequireLogin] have none.
	Clients []store.Client
	// ClientStore keeps further clients, which may change while the broker runs and are written by [Broker.PutClient]. Those
	// of Clients come first. With it the broker has a signing key of every algorithm. Nil is none.
	ClientStore store.Clients
	// Fences remembers on what each provider's word rested when its links were made, so that one that is pointed elsewhere lets
	// nobody in before [Broker.ConfirmProvider]. Nil is Store, or the Links of a [store.Parts], if that is a [store.Fences];
	// where it is none, nothing is remembered, which is logged at start.
	Fences store.Fences
	// Credentials keeps with what users prove themselves to the broker itself: passwords, one-time codes, passkeys. It is the
	// store that Store is, usually. Nil keeps none: steps that ask for them are passed over.
	Credentials store.Credentials
	// LocalLogin lets users sign in with a password of the broker's own, beside the providers; it needs Credentials. A client that
	// names Providers does not take it. Users who have an authenticator app are asked for its code as well. There is no sign-up: users
	// set a password on the account page or at their first login (firstlogin.CreateUserIfUnique), or are brought in by [Broker.Local].
	LocalLogin bool
	// Passkeys lets users sign in with a passkey (WebAuthn) on the login page, make some on the account page, and prove by one that an
	// existing account is theirs; it needs Credentials, and a BaseURL with a domain name, as localhost is. The package
	// flow/factor/passkey has it: passkey.Site{} will do, which learns BaseURL and Name here. A client that names Providers does not
	// take it. A passkey is two factors, so that no code is asked for besides. Nil is none.
	Passkeys flow.Passkeys
	// ChangeUsername lets users change their username on the account page. A name that was given up may be chosen by somebody else:
	// leave it false, which keeps each name for good, where the host or an application takes names for keys.
	ChangeUsername bool
	// Passwords hashes and verifies passwords. Nil is one with the parameters that OWASP recommends.
	Passwords *factor.Passwords
	// Mailer sends mail to users: proofs of their address, news of their account. The package broker/mail has one. Nil sends
	// none: steps that need it are passed over.
	Mailer Mailer
	// ClientHTTP is for requests to addresses of clients, such as their BackchannelLogoutURI. The zero value lets them go
	// over https to public addresses only; a Timeout of 0 is five seconds.
	ClientHTTP provider.HTTPOptions
	// RemoteAddr returns where a request came from, the zero Addr if that is not known. It bounds from where how much can be
	// guessed, and how much strangers can have the broker keep in the name of a public client, and nothing else. Behind a
	// reverse proxy it reads the header that the proxy sets, and that nobody else can. Nil is the address of the connection,
	// unless that is a private one, as a proxy's is: then only each account, and each client as a whole, is bounded.
	RemoteAddr func(*http.Request) netip.Addr
	// DefaultProvider is the alias of the provider to which a browser is sent without a choice. "" shows the login page.
	DefaultProvider string
	// FirstLogin decides what happens to somebody whom no user is linked to, for providers without a flow of their own.
	// Nil is firstlogin.Default().
	FirstLogin flow.Flow
	// PostLogin runs at each login once it is known who it is, for providers without a flow of their own. Nil is none.
	PostLogin flow.Flow
	// SessionLifetime is how long a session lives at most. 0 is ten hours.
	SessionLifetime time.Duration
	// SessionIdle is how long a session lives without a request. 0 is thirty minutes.
	SessionIdle time.Duration
	// HomeURL is where a browser goes that signed in without having wanted to go anywhere: a path on BaseURL's site or a
	// URL of it. "" is "/".
	HomeURL string
	// Keys says when signing keys are announced, sign and retire: 10 minutes for Announce, and 13 hours for Retire, are the
	// least. The zero value is a key every ninety days. The clocks of all nodes have to be right to the minute.
	Keys token.Schedule
	// Name of the product, on every page. "" is none.
	Name string
	// Theme is laid over the built-in pages file by file: templates/*.html, static/*, locales/*.json. Nil is none.
	Theme fs.FS
	// Logger gets one line a request, and what fails in the background. Nil discards.
	Logger *slog.Logger
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

// A Provider is an upstream as this broker uses it.
type Provider struct {
	// Alias names it in URLs, links and tokens: letters, digits, "-", "_" and ".", at most 64. It is part of the redirect
	// URI that is registered at the upstream, {BaseURL}/broker/{alias}/endpoint, and of every link: it can never be
	// changed.
	Alias string
	// IdP speaks to it. One that has a method Check() error is asked by it whether it can work. What it has for the upstream to fetch, if it is a provider.Publisher, is at
	// {BaseURL}/broker/{alias}/endpoint/descriptor.
	IdP provider.IdentityProvider
	// Name is shown on its button. "" shows the name of its brand, if the IdP is a provider.Branded, or else the alias.
	Name string
	// Icon is an SVG, PNG, JPEG, GIF or WebP image for its button, at most 256 KiB. Nil shows that of its brand, or else the first
	// letter of the name.
	Icon []byte
	// ThemeData is for the templates of a [Config.Theme], which have it beside each button of the login and the account page, by
	// names of their own: <span class="{{.ThemeData.glyph}}"> for a font of icons, say. Pages show it to anybody: no secrets. The
	// built-in pages have no use for it, and nil is none.
	ThemeData map[string]string
	// Order of its button: lower comes first, equal ones are sorted by name.
	Order int
	// Disabled switches it off at once for everything: logins, also those under way, and the sessions it vouched for. What it has
	// issued for itself (StoreTokens) is given to nobody and stays as it is, here and there, for when it is switched on again.
	Disabled bool
	// HideOnLogin leaves its button out; a hint, an e-mail domain or the default still lead to it.
	HideOnLogin bool
	// LinkOnly lets users who are signed in link it, but nobody log in with it: sessions it vouched for end. They link it on the
	// account page, or where the host sends them to {BaseURL}/link?provider={alias}&return_to={path}, which brings them back with
	// the parameter link_status, or where a client sends them to /authorize with kc_action=idp_link:{alias}, whose answer has
	// kc_action_status beside the code: success, cancelled or error each. Every enabled provider can be linked so.
	LinkOnly bool
	// ShowInAccount says whether users see it on their account page. The zero value is provider.AccountAlways.
	ShowInAccount provider.AccountMode
	// Domains are the e-mail domains whose users are sent to it, compared without case.
	Domains []string
	// TrustEmail takes its word for it that an e-mail address was verified.
	TrustEmail bool
	// CaseSensitiveUsername keeps upper and lower case of the username on the link, which is for people to read, as the provider
	// has it; otherwise that is lower case. A user's own name is lower case always.
	CaseSensitiveUsername bool
	// Sync says when its data is written to a user who exists. The zero value is provider.SyncImport.
	Sync provider.SyncMode
	// Mappers edit what its identities become, in this order. The package provider/mapper has those that are usual.
	Mappers []provider.Mapper
	// Logout says whether signing out here leads to signing out there, if it has an address for that. The zero value,
	// provider.LogoutOffer, leaves it to the visitor. {BaseURL}/broker/{alias}/logout_response has to be registered there
	// as a post-logout redirect URI, and {BaseURL}/broker/{alias}/backchannel_logout may be, as the URI for back-channel
	// logout, which ends the sessions here whatever Logout says. The single logout service for SAML is
	// {BaseURL}/broker/{alias}/endpoint/logout.
	Logout provider.LogoutMode
	// AllowTokenExchange lets clients that have the grant type exchange the ID tokens that it issued to applications for
	// tokens of the broker (RFC 8693), which an IdP that is a provider.TokenVerifier can verify. Whoever holds such a token
	// is signed in as its user, without a browser; nobody is who is not linked already.
	AllowTokenExchange bool
	// StoreTokens keeps what it has issued for itself, its access token for instance, sealed, for [Broker.UpstreamTokens] and
	// for clients that name it in their ProviderTokens. The zero value, provider.TokensDropped, keeps nothing. What is kept
	// is brought anew by each login, and renewed before it ends if IdP is a provider.TokenRefresher and was given a refresh
	// token, which many give for a scope or a parameter of theirs only. A provider with LinkOnly can be linked for its tokens.
	// If IdP is a provider.TokenRevoker it is told of tokens that are not needed any more, because the user was unlinked, or signed
	// out of the session that had them, or is Disabled: to that [Broker.Run] sees, in a quarter of an hour, and they are gone then,
	// also for a user who is switched on again. Of a user whom the host deletes see [Broker.RevokeUpstreamTokens].
	StoreTokens provider.TokenMode
	// TokensReadable gives users who are created through it the role [RoleReadToken], without which no client is given
	// tokens of theirs. It needs StoreTokens.
	TokensReadable bool
	// TokenMinValidity is for how long a token that is handed out is good at least, if it can be renewed. 0 is five seconds. One that is
	// longer than the upstream has its tokens live renews them at each call.
	TokenMinValidity time.Duration
	// TransientUsers keeps nobody: who signs in is a user of their session and vanishes with it, every trace of a row or link
	// included. Such a user is found by [UserFrom], in tokens and at the userinfo endpoint as others are. The id begins with
	// "transient-" and is the same each time; name, username and e-mail address are what the provider says this time, and may be
	// somebody else's, too: only the id tells users apart. Mappers run at each login as at a first one, and so does PostLogin, with no
	// credentials to look at; FirstLogin does not, and Sync means nothing. There is no offline_access, which is left out of what is
	// granted, no linking, and nothing to change on the account page. Who was linked to the provider before is not looked for: they
	// come in as somebody else, and their sessions by its word end, until this is switched off again.
	TransientUsers bool
	// FirstLogin and PostLogin are used instead of those of [Config] where they are not nil.
	FirstLogin flow.Flow
	PostLogin  flow.Flow
}

// brand fills in what the IdP is known by.
func (p *Provider) brand() {
	branded, ok := p.IdP.(provider.Branded)
	if !ok || isNil(p.IdP) {
		return
	}
	brand := branded.Brand()
	p.Name = cmp.Or(p.Name, brand.Name)
	if p.Icon == nil {
		p.Icon = brand.Icon
	}
}

const (
	maxIcon = 256 << 10
	// minAnnounce leaves caches of five minutes, which is as often as careful relying parties ask, and clocks that are a
	// minute off, one ahead and one behind.
	minAnnounce = 10 * time.Minute
)

// check returns the parsed BaseURL and the absolute HomeURL, and all mistakes. The URL is never nil.
func (c *Config) check() (base *url.URL, home string, errs []error) {
	base, err := checkBaseURL(c.BaseURL)
	if err != nil {
		base, errs = &url.URL{}, append(errs, err)
	} else if local, ok := web.LocalPath(base, c.HomeURL); ok {
		home = base.Scheme + "://" + base.Host + local
	} else {
		errs = append(errs, fmt.Errorf("HomeURL: %q is not on BaseURL's site", c.HomeURL))
	}
	if _, err := token.NewRing(c.Keys); err != nil {
		errs = append(errs, fmt.Errorf("Keys: %w", err))
	}
	if c.Keys.Retire != 0 && c.Keys.Retire < gate.MaxTokenLifetime+time.Hour {
		errs = append(errs, fmt.Errorf("Keys: Retire is not an hour longer than tokens may live, which is %v", gate.MaxTokenLifetime))
	}
	if c.Keys.Announce != 0 && c.Keys.Announce < minAnnounce {
		errs = append(errs, fmt.Errorf("Keys: Announce is shorter than %v: others would learn of keys too late", minAnnounce))
	}
	if isNil(c.Store) {
		errs = append(errs, errors.New("Store: is nil; memstore.New() will do for a first try"))
	} else if checker, ok := c.Store.(interface{ Check() error }); ok {
		if err := checker.Check(); err != nil {
			errs = append(errs, fmt.Errorf("Store: %w", err))
		}
	}
	if checker, ok := c.Mailer.(interface{ Check() error }); ok {
		if err := checker.Check(); err != nil {
			errs = append(errs, fmt.Errorf("Mailer: %w", err))
		}
	}
	if c.SessionLifetime < 0 || c.SessionIdle < 0 {
		errs = append(errs, errors.New("SessionLifetime, SessionIdle: must not be negative"))
	}
	if c.Credentials != nil && isNil(c.Credentials) {
		errs = append(errs, errors.New("Credentials: is a nil pointer; leave it out to keep none"))
	}
	if c.LocalLogin && c.Credentials == nil {
		errs = append(errs, errors.New("LocalLogin: needs Credentials, which keep the passwords"))
	}
	errs = append(errs, checkFirstLogin("FirstLogin", c.FirstLogin), checkFlow("PostLogin", c.PostLogin))
	aliases := map[string]bool{}
	for _, p := range c.Providers {
		aliases[p.Alias] = true
	}
	errs = append(errs, c.checkProviders()...)
	errs = append(errs, c.checkClients(aliases)...)
	if c.DefaultProvider != "" && !aliases[c.DefaultProvider] {
		errs = append(errs, fmt.Errorf("DefaultProvider: there is no provider %q", c.DefaultProvider))
	}
	return base, home, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func checkBaseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("BaseURL: %q is not an absolute URL such as https://app.example/id", raw)
	case u.Scheme != "https" && (u.Scheme != "http" || !web.Loopback(u.Hostname())):
		return nil, fmt.Errorf("BaseURL: %q must be https; http is for loopback hosts only", raw)
	case strings.HasSuffix(u.Host, ":") || u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return nil, fmt.Errorf("BaseURL: %q must leave out the port that is the default, as browsers do", raw)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.HasSuffix(raw, "?") || strings.HasSuffix(raw, "#"):
		return nil, fmt.Errorf("BaseURL: %q must have no user, query or fragment", raw)
	case u.Path != "" && (path.Clean(u.Path) != u.Path || u.Path == "/" || u.RawPath != ""):
		return nil, fmt.Errorf("BaseURL: %q must end with its host or a clean path, without a slash at the end", raw)
	case u.String() != raw || strings.ToLower(u.Host) != u.Host:
		return nil, fmt.Errorf("BaseURL: write %q in lower case and without escapes: it is the issuer, compared byte for byte", raw)
	}
	return u, nil
}

func checkFlow(name string, f flow.Flow) error {
	if f == nil {
		return nil
	}
	if err := f.Check(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func checkFirstLogin(name string, f flow.Flow) error {
	if f != nil && !f.Decides() {
		return errors.Join(checkFlow(name, f), fmt.Errorf("%s: has no step that decides whose login it is, such as firstlogin.CreateUserIfUnique", name))
	}
	return checkFlow(name, f)
}

func (c *Config) checkProviders() (errs []error) {
	aliases, domains := map[string]bool{}, map[string]string{}
	for i, p := range c.Providers {
		where := fmt.Sprintf("Providers[%d] (%q)", i, p.Alias)
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
		}
		if !isAlias(p.Alias) {
			bad(`Alias must be 1 to 64 letters, digits, "-", "_" and ".", and begin with a letter or digit`)
		}
		if folded := strings.ToLower(p.Alias); aliases[folded] {
			bad("Alias is taken by another provider, or differs from it in case only")
		} else {
			aliases[folded] = true
		}
		if isNil(p.IdP) {
			bad("IdP is nil: did its constructor return an error?")
		} else if checker, ok := p.IdP.(interface{ Check() error }); ok {
			if err := checker.Check(); err != nil {
				bad("IdP: %w", err)
			}
		}
		if len(p.Icon) > maxIcon {
			bad("Icon has %d bytes; the most is %d", len(p.Icon), maxIcon)
		} else if len(p.Icon) > 0 && iconType(p.Icon) == "" {
			bad("Icon is no SVG, PNG, JPEG, GIF or WebP image")
		}
		if p.Logout < provider.LogoutOffer || p.Logout > provider.LogoutNone {
			bad("Logout %d is no logout mode", p.Logout)
		}
		if p.ShowInAccount < provider.AccountAlways || p.ShowInAccount > provider.AccountNever {
			bad("ShowInAccount %d is no account mode", p.ShowInAccount)
		}
		if _, ok := p.IdP.(provider.TokenVerifier); p.AllowTokenExchange && p.IdP != nil && !ok {
			bad("AllowTokenExchange: this IdP cannot verify tokens")
		}
		if p.StoreTokens < provider.TokensDropped || p.StoreTokens > provider.TokensInSession {
			bad("StoreTokens %d is no token mode", p.StoreTokens)
		}
		if p.TokensReadable && p.StoreTokens == provider.TokensDropped {
			bad("TokensReadable: needs StoreTokens, or there is nothing to read")
		}
		if p.TokenMinValidity < 0 {
			bad("TokenMinValidity: must not be negative")
		}
		if p.TransientUsers && (p.LinkOnly || p.AllowTokenExchange || p.FirstLogin != nil || p.StoreTokens == provider.TokensOnLink) {
			bad("TransientUsers: goes with none of LinkOnly, AllowTokenExchange, FirstLogin and provider.TokensOnLink: there is no link")
		}
		if p.Sync < provider.SyncInherit || p.Sync > provider.SyncLegacy {
			bad("Sync %d is no sync mode", p.Sync)
		}
		for _, domain := range p.Domains {
			if !isDomain(domain) {
				bad("Domains: %q is not a domain such as example.com", domain)
			}
			domain = strings.ToLower(domain)
			if other, taken := domains[domain]; taken {
				bad("Domains: %q is also provider %q's", domain, other)
			}
			domains[domain] = p.Alias
		}
		for k, m := range p.Mappers {
			switch {
			case m.Err != nil:
				bad("Mappers[%d] (%q): %w", k, m.Name, m.Err)
			case m.Map == nil:
				bad("Mappers[%d] (%q): Map is nil", k, m.Name)
			case m.Sync < provider.SyncInherit || m.Sync > provider.SyncLegacy:
				bad("Mappers[%d] (%q): Sync %d is no sync mode", k, m.Name, m.Sync)
			case m.Stage < provider.StageProfile || m.Stage > provider.StageSession:
				bad("Mappers[%d] (%q): Stage %d is no stage", k, m.Name, m.Stage)
			}
		}
		errs = append(errs, checkFirstLogin(where+": FirstLogin", p.FirstLogin), checkFlow(where+": PostLogin", p.PostLogin))
	}
	return errs
}

// isNil reports whether v is nothing, or a nil pointer that a constructor returned beside an error.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

func isAlias(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isDomain(s string) bool {
	return len(s) <= 253 && strings.Contains(s, ".") && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") &&
		!strings.Contains(s, "..") && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune(`@/\:*`, r)
	})
}

func (c *Config) checkClients(providers map[string]bool) (errs []error) {
	ids := map[string]bool{}
	for i := range c.Clients {
		client := &c.Clients[i]
		where := fmt.Sprintf("Clients[%d] (%q)", i, client.ID)
		for _, err := range gate.CheckClient(client) {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		errs = append(errs, c.reaches(where+": JWKSURI", client.JWKSURI),
			c.reaches(where+": BackchannelLogoutURI", client.BackchannelLogoutURI))
		for _, alias := range client.Providers {
			if !providers[alias] {
				errs = append(errs, fmt.Errorf("%s: Providers: there is no provider %q", where, alias))
			}
		}
		for _, alias := range client.ProviderTokens {
			if !providers[alias] {
				errs = append(errs, fmt.Errorf("%s: ProviderTokens: there is no provider %q", where, alias))
			}
		}
		if ids[client.ID] {
			errs = append(errs, fmt.Errorf("%s: ID is taken by another client", where))
		}
		ids[client.ID] = true
	}
	return errs
}

// reaches returns an error if requests to a client's address would be refused. That it is https, or on this machine, was
// checked.
func (c *Config) reaches(where, uri string) error {
	if strings.HasPrefix(uri, "http:") && !(c.ClientHTTP.InsecureAllowHTTP && c.ClientHTTP.InsecureAllowPrivateNetworks) {
		return fmt.Errorf("%s: is http on this machine, which ClientHTTP does not allow", where)
	}
	return nil
}

// clientHTTP returns what reaches the clients' servers.
func (c *Config) clientHTTP() *http.Client {
	o := c.ClientHTTP
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	return provider.NewHTTPClient(o)
}

// logInsecure says what was weakened on purpose.
func logInsecure(log *slog.Logger, client *store.Client) {
	if client.InsecureWithoutPKCE {
		log.Warn("insecure setting", "client", client.ID, "setting", "InsecureWithoutPKCE")
	}
}

func logInsecureFlow(log *slog.Logger, name string, f flow.Flow) {
	for _, setting := range f.Insecure() {
		log.Warn("insecure setting", "flow", name, "setting", setting)
	}
}

// logInsecureParties says the same of what reaches clients and of providers, which say it by a method Insecure.
func (c *Config) logInsecureParties() {
	if c.ClientHTTP.InsecureAllowHTTP {
		c.Logger.Warn("insecure setting", "setting", "ClientHTTP.InsecureAllowHTTP")
	}
	if c.ClientHTTP.InsecureAllowPrivateNetworks {
		c.Logger.Warn("insecure setting", "setting", "ClientHTTP.InsecureAllowPrivateNetworks")
	}
	if c.Fences == nil {
		c.Logger.Warn("insecure setting", "setting", "Fences: nobody notices that a provider is pointed elsewhere")
	}
	for _, setting := range c.Passwords.Insecure() {
		c.Logger.Warn("insecure setting", "setting", setting)
	}
	for _, kept := range []any{c.Store, c.ClientStore, c.Credentials} {
		if weak, ok := kept.(interface{ Insecure() []string }); ok {
			for _, setting := range weak.Insecure() {
				c.Logger.Warn("insecure setting", "setting", setting)
			}
		}
	}
	if weak, ok := c.Mailer.(interface{ Insecure() []string }); ok {
		for _, setting := range weak.Insecure() {
			c.Logger.Warn("insecure setting", "mailer", fmt.Sprintf("%T", c.Mailer), "setting", setting)
		}
	}
	logInsecureFlow(c.Logger, "FirstLogin", c.FirstLogin)
	logInsecureFlow(c.Logger, "PostLogin", c.PostLogin)
	for _, p := range c.Providers {
		logInsecureFlow(c.Logger, p.Alias+": FirstLogin", p.FirstLogin)
		logInsecureFlow(c.Logger, p.Alias+": PostLogin", p.PostLogin)
		weak, ok := p.IdP.(interface{ Insecure() []string })
		if !ok {
			continue
		}
		for _, setting := range weak.Insecure() {
			c.Logger.Warn("insecure setting", "provider", p.Alias, "setting", setting)
		}
	}
}
