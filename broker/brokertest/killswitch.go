package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// KillSwitch tests on the stores that open makes, each of them empty, that whatever is switched off is off at once, by
// every way in: one table of what can be switched off by what a browser or an application can be in the middle of. Where
// the store is a [store.Clients], the rows about the client are tried with a client that is kept there, too.
func KillSwitch(t *testing.T, open func(t testing.TB) store.Store) {
	for _, row := range switches {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			row.try(t, newScene(t, s, nil))
			if _, ok := s.(store.Clients); ok && row.client {
				t.Run("in the store", func(t *testing.T) {
					s := open(t)
					row.try(t, newScene(t, s, s.(store.Clients)))
				})
			}
		})
	}
	t.Run("revoked while something is off", func(t *testing.T) {
		t.Parallel()
		newScene(t, open(t), nil).revokeWhileOff()
	})
}

// revokeWhileOff revokes tokens while nobody could use them. They stay dead when it is on again; others come back to life.
func (s *scene) revokeWhileOff() {
	s.t.Helper()
	config, kept := s.tokens("offline_access")
	_, revoked := s.tokens("offline_access")
	_, access := s.tokens()
	own := s.token(url.Values{"grant_type": {store.GrantTypeCredentials}})
	s.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = true })
	for _, token := range []string{revoked.RefreshToken, access.AccessToken, own} {
		s.revoke(token)
	}
	s.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = false })
	if s.refresh(config, kept)() == "" {
		s.t.Error("what was not revoked does not come back")
	}
	if s.refresh(config, revoked)() != "" || s.subject(access.AccessToken) != "" || s.introspect(access.AccessToken) != "" || s.introspect(own) != "" {
		s.t.Error("what was revoked while it was off came back")
	}
}

// A killSwitch is one row: what is switched off, and the entrances that do not hang on it and have to stay open.
type killSwitch struct {
	name   string
	off    func(*scene)
	spares []string
	client bool // it is the client that is switched off
}

// Entrances that hang on the same.
var (
	ways       = []string{"way to the upstream", "hinted way to the upstream"} // whoever comes back from there
	logins     = []string{"start", "hint", "callback", "flow step"}
	access     = []string{"userinfo", "introspection"}
	refreshing = []string{"introspection of a refresh token", "refresh"}
	devices    = []string{"device", "device's page"}
	exchanges  = []string{"exchange", "foreign exchange"}
	itself     = []string{"client credentials", "introspection of its own token"} // no user has a part in these
	own        = []string{"host", "account page", "linking"}                      // no application has a part in these
	closed     = []string{"revoked", "revoked before"}                            // whatever is on or off
)

// allBut are the entrances that stay open where these are closed.
func allBut(names ...string) (open []string) {
	for _, e := range entrances {
		if !slices.Contains(names, e.name) && !slices.Contains(closed, e.name) {
			open = append(open, e.name)
		}
	}
	return open
}

var switches = []killSwitch{
	// What proves that the table proves something.
	{name: "nothing", off: func(*scene) {}, client: true, spares: allBut()},
	{name: "provider disabled", spares: itself, off: func(s *scene) {
		s.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = true })
	}},
	{name: "provider removed", spares: itself, off: func(s *scene) {
		s.reconfigure(func(c *broker.Config) { c.Providers = c.Providers[1:] })
	}},
	{name: "provider link-only", spares: itself, off: func(s *scene) {
		s.reconfigure(func(c *broker.Config) { c.Providers[0].LinkOnly = true })
	}},
	{name: "provider's tokens are not exchanged", spares: allBut("foreign exchange"), off: func(s *scene) {
		s.reconfigure(func(c *broker.Config) { c.Providers[0].AllowTokenExchange = false })
	}},
	{name: "link deleted", spares: slices.Concat(ways, itself), off: func(s *scene) {
		s.must(s.store.DeleteLink(s.t.Context(), s.link().LinkKey))
	}},
	{name: "link of another user now", spares: slices.Concat(ways, itself), off: func(s *scene) {
		other := &store.User{ID: "other", Username: "other"}
		s.must(s.store.CreateUser(s.t.Context(), other))
		link := s.link()
		link.UserID = other.ID
		s.must(s.store.UpdateLink(s.t.Context(), link))
	}},
	{name: "user disabled", spares: slices.Concat(ways, itself), off: func(s *scene) {
		user, err := s.store.User(s.t.Context(), s.user)
		s.must(err)
		user.Disabled = true
		s.must(s.store.UpdateUser(s.t.Context(), user))
	}},
	{name: "user deleted", spares: slices.Concat(ways, itself), off: func(s *scene) {
		s.must(s.store.DeleteUser(s.t.Context(), s.user))
	}},
	{name: "session deleted", off: func(s *scene) { s.must(s.store.DeleteSession(s.t.Context(), s.session)) },
		spares: slices.Concat(ways, logins, itself, []string{"offline refresh", "foreign exchange"})},
	{name: "client disabled", client: true, spares: own, off: func(s *scene) {
		s.editClient(func(c *store.Client) { c.Disabled = true })
	}},
	{name: "client removed", client: true, spares: own, off: (*scene).removeClient},
	{name: "client no longer takes the provider's word", client: true, spares: slices.Concat(itself, own), off: func(s *scene) {
		s.editClient(func(c *store.Client) { c.Providers = []string{"other"} })
	}},
	// A token that is out lives as long as it does: it was granted when it could be.
	{name: "client may not use codes", client: true, off: func(s *scene) { s.withdraw(store.GrantTypeCode) },
		spares: slices.Concat(access, refreshing, devices, exchanges, itself, own, []string{"offline refresh"})},
	{name: "client may not refresh", client: true, off: func(s *scene) { s.withdraw(store.GrantTypeRefresh) },
		spares: allBut(append(refreshing, "offline refresh")...)},
	{name: "client may not have offline access", client: true, off: func(s *scene) {
		s.editClient(func(c *store.Client) { c.Scopes = nil })
	}, spares: allBut("offline refresh")},
	{name: "client may not use devices", client: true, off: func(s *scene) { s.withdraw(store.GrantTypeDevice) },
		spares: allBut(devices...)},
	{name: "client may not exchange", client: true, off: func(s *scene) { s.withdraw(store.GrantTypeTokenExchange) },
		spares: allBut(exchanges...)},
	{name: "client may not have tokens of its own", client: true, off: func(s *scene) { s.withdraw(store.GrantTypeCredentials) },
		spares: allBut(itself...)},
}

// An entrance is one column: it prepares something while all is well, and returns how to go on with it afterwards. That
// returns the user who got in, "" for nobody.
type entrance struct {
	name    string
	prepare func(*scene) (enter func() string)
}

// entrances are tried in this order, so those that make new sessions come last.
var entrances = []entrance{
	{"code", func(s *scene) func() string {
		config, code := s.heldCode(s.browser)
		return func() string {
			tokens, err := config.Exchange(s.t.Context(), code, oauth2.VerifierOption(verifier))
			if err != nil {
				return ""
			}
			return s.subject(tokens.AccessToken)
		}
	}},
	{"userinfo", func(s *scene) func() string {
		_, tokens := s.tokens()
		return func() string { return s.subject(tokens.AccessToken) }
	}},
	{"introspection", func(s *scene) func() string {
		_, tokens := s.tokens()
		return func() string { return s.introspect(tokens.AccessToken) }
	}},
	{"introspection of a refresh token", func(s *scene) func() string {
		_, tokens := s.tokens()
		return func() string { return s.introspect(tokens.RefreshToken) }
	}},
	{"refresh", func(s *scene) func() string { return s.refresh(s.tokens()) }},
	{"offline refresh", func(s *scene) func() string { return s.refresh(s.tokens("offline_access")) }},
	{"exchange", func(s *scene) func() string {
		_, tokens := s.tokens()
		return func() string {
			return s.issued(url.Values{
				"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {tokens.AccessToken},
				"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			})
		}
	}},
	{"foreign exchange", func(s *scene) func() string {
		token := s.upstreamToken()
		return func() string {
			return subjectOf(s.token(url.Values{
				"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {token}, "subject_issuer": {"demo"},
				"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
			}))
		}
	}},
	{"client credentials", func(s *scene) func() string {
		return func() string { return s.issued(url.Values{"grant_type": {store.GrantTypeCredentials}}) }
	}},
	{"introspection of its own token", func(s *scene) func() string {
		token := s.token(url.Values{"grant_type": {store.GrantTypeCredentials}})
		return func() string {
			if s.introspect(token) != s.rp.client.ID {
				return ""
			}
			return s.user
		}
	}},
	{"revoked", func(s *scene) func() string {
		config, tokens := s.tokens("offline_access")
		return func() string {
			s.revoke(tokens.RefreshToken)
			return s.refresh(config, tokens)()
		}
	}},
	{"revoked before", func(s *scene) func() string {
		config, tokens := s.tokens("offline_access")
		s.revoke(tokens.RefreshToken)
		return func() string {
			return cmp.Or(s.refresh(config, tokens)(), s.subject(tokens.AccessToken), s.introspect(tokens.AccessToken))
		}
	}},
	{"device", func(s *scene) func() string {
		code, page := s.device()
		page.Submit(url.Values{"decision": {"allow"}})
		return func() string { return s.issued(code) }
	}},
	{"device's page", func(s *scene) func() string {
		code, page := s.device()
		return func() string {
			page.Submit(url.Values{"decision": {"allow"}})
			return s.issued(code)
		}
	}},
	{"single sign-on", func(s *scene) func() string {
		return func() string { return s.arrived(s.browser.Get(s.rp.AuthURL() + "&prompt=none")) }
	}},
	{"pushed request", func(s *scene) func() string {
		pushed := s.push()
		return func() string { return s.arrived(s.browser.Get(pushed)) }
	}},
	{"consent", func(s *scene) func() string {
		page := s.browser.Get(s.rp.AuthURL() + "&prompt=consent")
		if page.URL.Path != "/id/consent" {
			s.t.Fatalf("brokertest: no consent page, but %d at %s", page.Status, page.URL)
		}
		return func() string { return s.arrived(page.Submit(url.Values{"decision": {"allow"}})) }
	}},
	{"host", func(s *scene) func() string {
		return func() string {
			page := s.browser.Get(s.Origin + "/")
			if page.Status != http.StatusOK || page.URL.Path != "/" {
				return ""
			}
			return page.Who().ID
		}
	}},
	{"account page", func(s *scene) func() string {
		return func() string {
			if page := s.browser.Get(s.Origin + "/account/"); page.Status != http.StatusOK || page.URL.Path != "/account/" {
				return ""
			}
			return s.user
		}
	}},
	{"linking", func(s *scene) func() string {
		page := s.browser.Get(s.URL + "/link?provider=other&return_to=/account/")
		if page.URL.Path != "/id/link" {
			s.t.Fatalf("brokertest: not asked whether to link: %d at %s", page.Status, page.URL)
		}
		return func() string {
			page.Submit(url.Values{"decision": {"yes"}})
			links, err := s.store.LinksOf(s.t.Context(), s.user)
			s.must(err)
			if !slices.ContainsFunc(links, func(l *store.Link) bool { return l.Provider == "other" }) {
				return ""
			}
			return s.user
		}
	}},
	{"callback", func(s *scene) func() string {
		s.upstream.LoginAs("")
		away := NewBrowser(s.t).Get(s.startURL())
		s.upstream.LoginAs("alice")
		return func() string {
			return s.arrived(away.browser.Post(away.URL.String(), url.Values{"user": {"alice"}}, ""))
		}
	}},
	{"flow step", func(s *scene) func() string {
		s.pause.Store(true)
		paused := NewBrowser(s.t).Get(s.startURL())
		s.pause.Store(false)
		if !strings.HasPrefix(paused.URL.Path, "/id/flow/") {
			s.t.Fatalf("brokertest: the flow did not pause: %d at %s", paused.Status, paused.URL)
		}
		return func() string { return s.arrived(paused.Submit(nil)) }
	}},
	{"way to the upstream", func(s *scene) func() string {
		return func() string { return s.sentOn(s.startURL()) }
	}},
	{"hinted way to the upstream", func(s *scene) func() string {
		return func() string { return s.sentOn(s.rp.AuthURL() + "&idp_hint=demo") }
	}},
	{"start", func(s *scene) func() string {
		return func() string { return s.arrived(NewBrowser(s.t).Get(s.startURL())) }
	}},
	{"hint", func(s *scene) func() string {
		return func() string { return s.arrived(NewBrowser(s.t).Get(s.rp.AuthURL() + "&idp_hint=demo")) }
	}},
}

func (row killSwitch) try(t *testing.T, s *scene) {
	enter := make([]func() string, len(entrances))
	for i, e := range entrances {
		enter[i] = e.prepare(s)
	}
	row.off(s)
	for i, e := range entrances {
		in, spared := enter[i]() == s.user, slices.Contains(row.spares, e.name)
		if in && !spared {
			t.Errorf("%s: off, but %s still lets in", row.name, e.name)
		}
		if !in && spared {
			t.Errorf("%s: off, and %s does not let in, although it has nothing to do with it", row.name, e.name)
		}
	}
}

// A scene is a broker with a user who is signed in, before something is switched off.
type scene struct {
	*Server
	t        testing.TB
	store    store.Store
	clients  store.Clients // where the client is kept; nil if it is configured
	upstream *providertest.OIDC
	rp       *RelyingParty
	idp      *oidc.Provider
	pause    atomic.Bool // the post-login flow asks something
	edits    []func(*broker.Config)
	browser  *Browser // signed in
	user     string   // its user's id
	session  string   // its session's id
}

func newScene(t testing.TB, in store.Store, clients store.Clients) *scene {
	t.Helper()
	s := &scene{t: t, store: in, clients: clients, rp: NewRelyingParty(t)}
	s.upstream = providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice", Alg: "ES256", Users: []providertest.User{
		{Subject: "alice", Username: "alice", Email: "alice@example.com", EmailVerified: true, Name: "Alice"},
	}})
	client := s.rp.Client()
	client.RedirectURIs = append(client.RedirectURIs, s.rp.url+"/held")
	client.Scopes = []string{"openid", "profile", "email", "offline_access"}
	client.Grants = []string{
		store.GrantTypeCode, store.GrantTypeRefresh, store.GrantTypeDevice, store.GrantTypeTokenExchange, store.GrantTypeCredentials,
	}
	client.Audience = []string{"https://api.example"}
	s.rp.SetClient(client)
	s.Server = Start(t, s.config)
	s.rp.Connect(s.URL)
	if clients != nil {
		s.must(s.Broker.PutClient(t.Context(), &client))
	}
	s.browser = NewBrowser(t)
	s.user = s.arrived(s.browser.Get(s.startURL()))
	if s.user == "" {
		t.Fatal("brokertest: nobody is signed in before anything is switched off")
	}
	s.session = s.browser.Get(s.Origin + "/").Who().Session
	return s
}

func (s *scene) config(base string) broker.Config {
	if s.idp == nil {
		client := s.upstream.Register(providertest.Client{ID: "broker", RedirectURIs: []string{CallbackURL(base, "demo"), CallbackURL(base, "other")}})
		var err error
		s.idp, err = oidc.New(oidc.Config{
			Issuer: s.upstream.Issuer(), ClientID: client.ID, ClientSecret: client.Secret,
			ExchangeAudiences: []string{mobile.ClientID}, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		s.must(err)
		s.upstream.Register(providertest.Client{ID: mobile.ClientID, Auth: "none", RedirectURIs: []string{mobile.RedirectURL}})
	}
	c := broker.Config{
		BaseURL:   base,
		Secrets:   [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 2)},
		Store:     s.store,
		Providers: []broker.Provider{{Alias: "demo", IdP: s.idp, AllowTokenExchange: true}, {Alias: "other", IdP: s.idp}},
		PostLogin: flow.Flow{{ID: "pause", Do: pauseStep{&s.pause}}},
		Theme: fstest.MapFS{"templates/pause.html": {Data: []byte(`{{define "title"}}Pause{{end}}{{define "main"}}
			<form method="post" action="{{.Data.Action}}">
			{{range $name, $value := .Data.Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">{{end}}
			<button type="submit">Go on</button></form>{{end}}`)}},
	}
	if s.clients != nil {
		c.ClientStore = s.clients
	} else {
		c.Clients = []store.Client{s.rp.Client()}
	}
	for _, edit := range s.edits {
		edit(&c)
	}
	return c
}

// pauseStep asks something that has no answer while it is told to, and otherwise lets everybody pass.
type pauseStep struct{ pause *atomic.Bool }

func (p pauseStep) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	if p.pause.Load() {
		return flow.Ask(flow.Page{Name: "pause"}), nil
	}
	return flow.Success(), nil
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("brokertest: %v", err)
	}
}

// reconfigure replaces the broker by one with another configuration, as a restart would.
func (s *scene) reconfigure(edit func(*broker.Config)) {
	s.t.Helper()
	s.edits = append(s.edits, edit)
	b, err := broker.New(s.config(s.URL))
	s.must(err)
	*s.Broker = *b
}

func (s *scene) editClient(edit func(*store.Client)) {
	s.t.Helper()
	if s.clients == nil {
		s.reconfigure(func(c *broker.Config) { edit(&c.Clients[0]) })
		return
	}
	client, err := s.clients.Client(s.t.Context(), s.rp.client.ID)
	s.must(err)
	edit(client)
	s.must(s.Broker.PutClient(s.t.Context(), client))
}

// withdraw takes a grant type from the client, and what it would be no client with.
func (s *scene) withdraw(grantType string) {
	s.t.Helper()
	s.editClient(func(c *store.Client) {
		c.Grants = slices.DeleteFunc(slices.Clone(c.Grants), func(g string) bool { return g == grantType })
		if grantType == store.GrantTypeRefresh {
			c.Scopes = nil // offline access needs it
		}
	})
}

func (s *scene) removeClient() {
	s.t.Helper()
	if s.clients == nil {
		s.reconfigure(func(c *broker.Config) { c.Clients = nil })
		return
	}
	s.must(s.clients.DeleteClient(s.t.Context(), s.rp.client.ID))
}

func (s *scene) link() *store.Link {
	s.t.Helper()
	links, err := s.store.LinksOf(s.t.Context(), s.user)
	s.must(err)
	if len(links) != 1 {
		s.t.Fatalf("brokertest: %d links, want 1", len(links))
	}
	return links[0]
}

// startURL begins a login at the application with the provider demo, past every page that might not offer it.
func (s *scene) startURL() string {
	_, query, _ := strings.Cut(s.rp.AuthURL(), "?")
	return s.URL + "/broker/demo/login?" + query
}

// sentOn returns the user if a new browser that opens the URL comes to the upstream.
func (s *scene) sentOn(start string) string {
	s.t.Helper()
	s.upstream.LoginAs("")
	defer s.upstream.LoginAs("alice")
	if p := NewBrowser(s.t).Get(start); !strings.HasPrefix(p.URL.String(), s.upstream.Issuer()) {
		return ""
	}
	return s.user
}

// arrived returns who came to the application with a code. One that got a code and then no tokens for it is in, too: that
// another check comes later excuses none that was not made.
func (s *scene) arrived(p *Page) string {
	s.t.Helper()
	callback := s.rp.url + "/callback?"
	if !slices.ContainsFunc(p.Trail, func(u string) bool { return strings.HasPrefix(u, callback) && strings.Contains(u, "code=") }) {
		return ""
	}
	if p.Status != http.StatusOK {
		return s.user
	}
	var login Login
	p.JSON(&login)
	return login.Subject
}

const verifier = "a-code-verifier-of-the-tests-which-is-long-enough"

// heldCode returns a code that the browser has brought, and what redeems it.
func (s *scene) heldCode(b *Browser, scopes ...string) (config *oauth2.Config, code string) {
	s.t.Helper()
	config = s.rp.Config()
	config.Scopes = append(config.Scopes, scopes...)
	config.RedirectURL = s.rp.url + "/held"
	code = b.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))).URL.Query().Get("code")
	if code == "" {
		s.t.Fatal("brokertest: no code before anything is switched off")
	}
	return config, code
}

// tokens are what the browser's user grants the application, with these scopes beside its usual ones.
func (s *scene) tokens(scopes ...string) (*oauth2.Config, *oauth2.Token) {
	s.t.Helper()
	config, code := s.heldCode(s.browser, scopes...)
	tokens, err := config.Exchange(s.t.Context(), code, oauth2.VerifierOption(verifier))
	s.must(err)
	return config, tokens
}

// refresh returns how to go on with the refresh token. Somebody is in already if it brings any token.
func (s *scene) refresh(config *oauth2.Config, tokens *oauth2.Token) func() string {
	return func() string {
		_, err := config.TokenSource(s.t.Context(), &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
		if err != nil {
			return ""
		}
		return s.user
	}
}

// issued returns the user if the token endpoint gives the application a token for the form.
func (s *scene) issued(form url.Values) string {
	s.t.Helper()
	if s.token(form) == "" {
		return ""
	}
	return s.user
}

// token returns the access token that the application is given for the form, "" for none.
func (s *scene) token(form url.Values) string {
	s.t.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	s.ask(s.request("/token", form), &answer)
	return answer.Token
}

// subjectOf reads whom a token is about, be it still good or not.
func subjectOf(token string) string {
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Subject string `json:"sub"`
	}
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Subject
}

// mobile is an application of the upstream's own, whose ID tokens are exchanged.
var mobile = oauth2.Config{ClientID: "mobile", RedirectURL: "com.example.mobile:/callback", Scopes: []string{"openid", "email"}}

// upstreamToken returns an ID token that the application mobile got at the upstream, without the broker.
func (s *scene) upstreamToken() string {
	s.t.Helper()
	upstream, err := gooidc.NewProvider(s.t.Context(), s.upstream.Issuer())
	s.must(err)
	config := mobile
	config.Endpoint = upstream.Endpoint()
	config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet,
		config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), gooidc.Nonce("nonce")), nil)
	s.must(err)
	answer, err := http.DefaultTransport.RoundTrip(r)
	s.must(err)
	s.must(answer.Body.Close())
	to, err := answer.Location()
	s.must(err)
	tokens, err := config.Exchange(s.t.Context(), to.Query().Get("code"), oauth2.VerifierOption(verifier))
	s.must(err)
	id, _ := tokens.Extra("id_token").(string)
	return id
}

// push pushes an authentication request, and returns the address that a browser goes to with it.
func (s *scene) push() string {
	s.t.Helper()
	endpoint, query, _ := strings.Cut(s.rp.AuthURL(), "?")
	params, err := url.ParseQuery(query)
	s.must(err)
	var pushed struct {
		URI string `json:"request_uri"`
	}
	s.ask(s.request("/par", params), &pushed)
	if pushed.URI == "" {
		s.t.Fatal("brokertest: no request is pushed before anything is switched off")
	}
	return endpoint + "?" + url.Values{"client_id": {s.rp.client.ID}, "request_uri": {pushed.URI}}.Encode()
}

// revoke ends what the token hangs on. A client that is off is not heard, and no other answer is an excuse.
func (s *scene) revoke(token string) {
	s.t.Helper()
	response, err := http.DefaultClient.Do(s.request("/revoke", url.Values{"token": {token}}))
	s.must(err)
	s.must(response.Body.Close())
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusUnauthorized {
		s.t.Errorf("a revocation is answered with %d", response.StatusCode)
	}
}

// device begins a login of a device, and returns what the device asks with, and the page that lets it in.
func (s *scene) device() (code url.Values, page *Page) {
	s.t.Helper()
	var device struct {
		Code string `json:"device_code"`
		URI  string `json:"verification_uri_complete"`
	}
	s.ask(s.request("/device_authorization", url.Values{"scope": {"openid"}}), &device)
	return url.Values{"grant_type": {store.GrantTypeDevice}, "device_code": {device.Code}}, s.browser.Get(device.URI)
}

// request is one of the application to an endpoint.
func (s *scene) request(endpoint string, form url.Values) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.URL+endpoint, strings.NewReader(form.Encode()))
	s.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(s.rp.client.ID), url.QueryEscape(string(s.rp.client.Secrets[0])))
	return r
}

// introspect returns whom the broker says that a token is about, if it is active.
func (s *scene) introspect(token string) string {
	s.t.Helper()
	var info struct {
		Active  bool   `json:"active"`
		Subject string `json:"sub"`
	}
	if s.ask(s.request("/introspect", url.Values{"token": {token}}), &info); !info.Active {
		return ""
	}
	return info.Subject
}

// subject returns whom userinfo says that the token is about.
func (s *scene) subject(accessToken string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+"/userinfo", nil)
	s.must(err)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	var info struct {
		Subject string `json:"sub"`
	}
	s.ask(r, &info)
	return info.Subject
}

// ask sends a request and reads the answer into v, if there is one.
func (s *scene) ask(r *http.Request, v any) {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	s.must(err)
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusCreated {
		s.must(json.NewDecoder(response.Body).Decode(v))
	}
}
