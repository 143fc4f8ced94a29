package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/token"
)

// minimal is the least that a broker needs.
func minimal() broker.Config {
	return broker.Config{
		BaseURL: "https://app.example/id",
		Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")},
		Store:   memstore.New(),
	}
}

func goodClient() store.Client {
	return store.Client{ID: "app", Secrets: [][]byte{[]byte("0123456789abcdef")}, RedirectURIs: []string{"https://app.example/callback"}}
}

func TestConfigMinimal(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*broker.Config){
		"minimal":          func(*broker.Config) {},
		"at the root":      func(c *broker.Config) { c.BaseURL = "https://app.example" },
		"with a port":      func(c *broker.Config) { c.BaseURL = "https://app.example:8443/a/b" },
		"on localhost":     func(c *broker.Config) { c.BaseURL = "http://localhost:8080/id" },
		"on 127.0.0.1":     func(c *broker.Config) { c.BaseURL = "http://127.0.0.1:8080/id" },
		"on [::1]":         func(c *broker.Config) { c.BaseURL = "http://[::1]:8080/id" },
		"on app.localhost": func(c *broker.Config) { c.BaseURL = "http://app.localhost/id" },
		"home":             func(c *broker.Config) { c.HomeURL = "https://app.example/home?x=1" },
		"home path":        func(c *broker.Config) { c.HomeURL = "/home" },
		"client":           func(c *broker.Config) { c.Clients = []store.Client{goodClient()} },
		"redirect URIs": func(c *broker.Config) {
			client := goodClient()
			client.RedirectURIs = []string{"https://a.example/?x=y", "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:1/", "com.example.app:/cb"}
			c.Clients = []store.Client{client}
		},
		"provider": func(c *broker.Config) {
			c.Providers = []broker.Provider{{Alias: "a-b_c.1", IdP: laxUpstream{}, Domains: []string{"a.example", "B.example"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := minimal()
			edit(&c)
			if b, err := broker.New(c); err != nil || b == nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	provide := func(edit func(*broker.Provider)) func(*broker.Config) {
		return func(c *broker.Config) {
			p := broker.Provider{Alias: "demo", IdP: laxUpstream{}}
			edit(&p)
			c.Providers = []broker.Provider{p}
		}
	}
	client := func(edit func(*store.Client)) func(*broker.Config) {
		return func(c *broker.Config) {
			app := goodClient()
			edit(&app)
			c.Clients = []store.Client{app}
		}
	}
	type row struct {
		name string
		edit func(*broker.Config)
		want string // in the error
	}
	rows := []row{
		{"no secret", func(c *broker.Config) { c.Secrets = nil }, "Secrets"},
		{"a short secret", func(c *broker.Config) { c.Secrets = [][]byte{[]byte("short")} }, "Secrets"},
		{"a short second secret", func(c *broker.Config) { c.Secrets = append(c.Secrets, []byte("short")) }, "Secrets"},
		{"an empty secret", func(c *broker.Config) { c.Secrets = [][]byte{{}} }, "Secrets"},
		{"no store", func(c *broker.Config) { c.Store = nil }, "Store"},
		{"a store without a role", func(c *broker.Config) {
			m := memstore.New()
			c.Store = &store.Parts{Users: m, Links: m, Sessions: (*memstore.Store)(nil), Grants: m, Transient: m, Keyring: m}
		}, "Store: store.Parts: Sessions is nil"},
		{"negative lifetime", func(c *broker.Config) { c.SessionLifetime = -1 }, "SessionLifetime"},
		{"negative idle time", func(c *broker.Config) { c.SessionIdle = -1 }, "SessionIdle"},
		{"home elsewhere", func(c *broker.Config) { c.HomeURL = "https://evil.example/" }, "HomeURL"},
		{"home in another scheme", func(c *broker.Config) { c.HomeURL = "http://app.example/" }, "HomeURL"},
		{"home as script", func(c *broker.Config) { c.HomeURL = "javascript:alert(1)" }, "HomeURL"},
		{"home without a slash", func(c *broker.Config) { c.HomeURL = "home" }, "HomeURL"},
		{"home of two slashes", func(c *broker.Config) { c.HomeURL = "//evil.example" }, "HomeURL"},
		{"default that is not there", func(c *broker.Config) { c.DefaultProvider = "nobody" }, "DefaultProvider"},
		{"keys never sign", func(c *broker.Config) { c.Keys = token.Schedule{Sign: -time.Hour} }, "Keys"},
		{"keys retire before their tokens", func(c *broker.Config) { c.Keys = token.Schedule{Retire: 13*time.Hour - 1} }, "Keys"},
		{"keys that nobody knows in time", func(c *broker.Config) { c.Keys = token.Schedule{Announce: 10*time.Minute - 1} }, "Keys"},
		{"theme with a broken template", func(c *broker.Config) {
			c.Theme = fstest.MapFS{"templates/login.html": {Data: []byte("{{define")}}
		}, "Theme"},
		{"theme with broken words", func(c *broker.Config) { c.Theme = fstest.MapFS{"locales/en.json": {Data: []byte("{")}} }, "Theme"},
		{"first login that proves nothing", func(c *broker.Config) {
			c.FirstLogin = flow.Flow{{ID: "a", When: flow.Disabled, Do: firstlogin.CreateUserIfUnique{}}}
		}, "FirstLogin"},
		{"post login without a step's work", func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "a"}} }, "PostLogin"},

		{"alias missing", provide(func(p *broker.Provider) { p.Alias = "" }), "Alias"},
		{"alias with a slash", provide(func(p *broker.Provider) { p.Alias = "a/b" }), "Alias"},
		{"alias of dots", provide(func(p *broker.Provider) { p.Alias = ".." }), "Alias"},
		{"alias with a space", provide(func(p *broker.Provider) { p.Alias = "a b" }), "Alias"},
		{"alias with a percent sign", provide(func(p *broker.Provider) { p.Alias = "%d%s%!" }), `Providers[0] ("%d%s%!"): Alias`},
		{"alias not ASCII", provide(func(p *broker.Provider) { p.Alias = "é" }), "Alias"},
		{"alias too long", provide(func(p *broker.Provider) { p.Alias = strings.Repeat("a", 65) }), "Alias"},
		{"alias twice", func(c *broker.Config) {
			c.Providers = []broker.Provider{{Alias: "a", IdP: laxUpstream{}}, {Alias: "a", IdP: laxUpstream{}}}
		}, "Alias is taken"},
		{"alias twice in other case", func(c *broker.Config) {
			c.Providers = []broker.Provider{{Alias: "a", IdP: laxUpstream{}}, {Alias: "A", IdP: laxUpstream{}}}
		}, "Alias is taken"},
		{"IdP missing", provide(func(p *broker.Provider) { p.IdP = nil }), "IdP"},
		{"provider that cannot work", provide(func(p *broker.Provider) { p.IdP = brokenUpstream{} }), "it cannot work"},
		{"icon of the brand", provide(func(p *broker.Provider) { p.IdP = brandedUpstream{icon: "<html>"} }), "Icon"},
		{"nil pointer with a brand", provide(func(p *broker.Provider) { p.IdP = (*brandedUpstream)(nil) }), "IdP is nil"},
		{"icon of HTML", provide(func(p *broker.Provider) { p.Icon = []byte("<html><script>alert(1)</script>") }), "Icon"},
		{"icon too large", provide(func(p *broker.Provider) { p.Icon = append([]byte("<svg"), bytes.Repeat([]byte(" "), 1<<20)...) }), "Icon"},
		{"sync mode unknown", provide(func(p *broker.Provider) { p.Sync = 99 }), "Sync"},
		{"domain with a wildcard", provide(func(p *broker.Provider) { p.Domains = []string{"*.example"} }), "Domains"},
		{"domain of an address", provide(func(p *broker.Provider) { p.Domains = []string{"a@b.example"} }), "Domains"},
		{"domain empty", provide(func(p *broker.Provider) { p.Domains = []string{""} }), "Domains"},
		{"domain of a URL", provide(func(p *broker.Provider) { p.Domains = []string{"https://a.example"} }), "Domains"},
		{"domain of two providers", func(c *broker.Config) {
			c.Providers = []broker.Provider{
				{Alias: "a", IdP: laxUpstream{}, Domains: []string{"x.example"}}, {Alias: "b", IdP: laxUpstream{}, Domains: []string{"X.Example"}},
			}
		}, "Domains"},
		{"mapper without a function", provide(func(p *broker.Provider) { p.Mappers = []provider.Mapper{{Name: "m"}} }), "Mappers[0]"},
		{"provider's first login that proves nothing", provide(func(p *broker.Provider) {
			p.FirstLogin = flow.Flow{{ID: "a", When: flow.Disabled, Do: firstlogin.CreateUserIfUnique{}}}
		}), "FirstLogin"},
		{"provider's post login without a step's work", provide(func(p *broker.Provider) { p.PostLogin = flow.Flow{{ID: "a"}} }), "PostLogin"},

		{"provider with an unknown token mode", provide(func(p *broker.Provider) { p.StoreTokens = 3 }), "StoreTokens"},
		{"provider whose tokens are readable and not stored", provide(func(p *broker.Provider) { p.TokensReadable = true }), "TokensReadable"},
		{"provider with a negative validity", provide(func(p *broker.Provider) { p.TokenMinValidity = -1 }), "TokenMinValidity"},

		{"client that reads tokens of no provider", client(func(c *store.Client) { c.ProviderTokens = []string{"none"} }), "ProviderTokens"},
		{"client that reads tokens of an empty alias", client(func(c *store.Client) { c.ProviderTokens = []string{""} }), "ProviderTokens"},
		{"client without id", client(func(c *store.Client) { c.ID = "" }), "ID"},
		{"client id with a space", client(func(c *store.Client) { c.ID = "a b" }), "ID"},
		{"client id twice", func(c *broker.Config) { c.Clients = []store.Client{goodClient(), goodClient()} }, "ID is taken"},
		{"client without secret", client(func(c *store.Client) { c.Secrets = nil }), "Secrets"},
		{"client with a short secret", client(func(c *store.Client) { c.Secrets = [][]byte{[]byte("short")} }), "Secrets"},
		{"client with an empty second secret", client(func(c *store.Client) { c.Secrets = append(c.Secrets, nil) }), "Secrets"},
		{"public client with a secret", client(func(c *store.Client) { c.AuthMethod = store.AuthNone }), "AuthMethod"},
		{"public client without PKCE", client(func(c *store.Client) {
			c.AuthMethod, c.Secrets, c.InsecureWithoutPKCE = store.AuthNone, nil, true
		}), "PKCE"},
		{"client with an unknown method", client(func(c *store.Client) { c.AuthMethod = "tls" }), "AuthMethod"},
		{"client without redirect URI", client(func(c *store.Client) { c.RedirectURIs = nil }), "RedirectURIs"},
		{"client with HMAC", client(func(c *store.Client) { c.IDTokenAlg = "HS256" }), "HS256"},
		{"client with alg none", client(func(c *store.Client) { c.AccessTokenAlg = "none" }), "none"},
		{"client with a negative lifetime", client(func(c *store.Client) { c.IDTokenLifetime = -1 }), "lifetime"},
		{"client with a long lifetime", client(func(c *store.Client) { c.AccessTokenLifetime = 13 * time.Hour }), "lifetime"},
	}
	for _, base := range []string{
		"", "/id", "app.example/id", "//app.example/id", "http://app.example/id", "http://10.0.0.1/id", "http://localhost.evil.example/id", "ftp://app.example",
		"https://", "https:app.example", "https://app.example/", "https://app.example/id/", "https://app.example//id", "https://app.example/a/../id",
		"https://app.example/id?x", "https://app.example/id?", "https://app.example/id#x", "https://app.example/id#", "https://user@app.example/id",
		"https://user:pass@app.example/id", "HTTPS://app.example/id", "https://APP.example/id", "https://app.example/%69d", "https://app.example/i d",
		"https://app.example/é", "https://app.example:443/id", "https://app.example:/id", "http://localhost:80/id", "javascript:alert(1)", "https://%zz",
	} {
		rows = append(rows, row{"BaseURL " + base, func(c *broker.Config) { c.BaseURL = base }, "BaseURL"})
	}
	for _, uri := range []string{
		"", "/callback", "callback", "app.example/callback", "//app.example/callback", "http://app.example/callback", "https://*.app.example/", "https://app.example/*",
		"https://app.example/cb#x", "https://app.example/cb#", "https://user@app.example/cb", "https:///cb", "https:cb", "http://localhost.evil.example/",
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "myapp:/cb", "myapp://cb", "about:blank",
		"https://app.example/cb?code=1", "https://app.example/cb?x=1&state=2", "https://app.example/cb?error=x", "https://app.example/cb?iss=x",
		"https://app.example/cb?%63ode=1", "https://app.example/a b", "https://app.example\\@evil.example/", "https://app.example/\x00", "https://äpp.example/",
		"https://app.example/cb?x=%zz",
	} {
		rows = append(rows, row{"RedirectURIs " + uri, client(func(c *store.Client) { c.RedirectURIs = append(c.RedirectURIs, uri) }), "RedirectURIs"})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := minimal()
			row.edit(&c)
			b, err := broker.New(c)
			if err == nil || b != nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want an error that names %s", err, row.want)
			}
			for _, secret := range []string{"a secret of the tests", "0123456789abcdef", "%!"} {
				if row.name != "alias with a percent sign" && strings.Contains(err.Error(), secret) {
					t.Errorf("the error has %q in it: %v", secret, err)
				}
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		_, err := broker.New(broker.Config{
			BaseURL: "app.example", SessionIdle: -1, DefaultProvider: "nobody",
			Providers: []broker.Provider{{Alias: "a/b"}},
			Clients:   []store.Client{{ID: "app", RedirectURIs: []string{"*"}}},
		})
		if err == nil {
			t.Fatal("no error")
		}
		for _, field := range []string{"BaseURL", "Secrets", "Store", "SessionIdle", "DefaultProvider", "Alias", "IdP", "Clients[0]", "RedirectURIs"} {
			if !strings.Contains(err.Error(), field) {
				t.Errorf("%s is not in:\n%v", field, err)
			}
		}
	})
}

// New and the mounting of a broker ask nothing of the store or of an upstream: both may be down then.
func TestNewDoesNoIO(t *testing.T) {
	t.Parallel()
	c := minimal()
	c.Store = &spyStore{hook: func(call string) error { panic("New calls the store: " + call) }}
	c.Providers = []broker.Provider{{Alias: "dead", IdP: deadUpstream{}}}
	c.Clients = []store.Client{goodClient()}
	b, err := broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.RequireLogin(b)
	b.Sessions(b)
}

// deadUpstream must not be asked.
type deadUpstream struct{}

func (deadUpstream) Begin(context.Context, provider.Request) (*provider.Redirect, error) {
	panic("New asks an upstream")
}

func (deadUpstream) Finish(context.Context, provider.Callback) (*provider.Identity, error) {
	panic("New asks an upstream")
}

// What is weakened is said when it starts, and nothing that is logged is a secret.
func TestLogs(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := newWorld(t, func(c *broker.Config) {
		c.Logger = logger
		c.Clients[0].InsecureWithoutPKCE = true
	})
	if !strings.Contains(log.String(), "InsecureWithoutPKCE") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the weakening is not said:\n%s", log)
	}
	b := stopped(t)
	callback := w.ready(b, "demo")
	b.Get(callback)
	code := w.code(b, nil)
	tokens := w.redeem(code, nil).tokens(t)
	w.userinfo(tokens.AccessToken)
	w.userinfo("junk-token-of-a-stranger")
	w.redeem(code, nil)
	w.redeem("junk-code-of-a-stranger", set("code_verifier", "junk-verifier"))
	b.Get(w.URL + "/login?login_hint=alice@example.com&return_to=//evil")
	_, secret, _ := strings.Cut(code, ".")
	for _, word := range []string{
		secret, param(t, callback, "code"), param(t, callback, "state"), tokens.AccessToken, tokens.IDToken, w.sessionCookie(b), w.secret(), testVerifier,
		"alice@example.com", "a secret of the tests", "junk-token", "junk-code", "junk-verifier", "the nonce", "the state",
	} {
		if word == "" || strings.Contains(log.String(), word) {
			t.Errorf("%q is in the log:\n%s", word, log)
		}
	}
	if !strings.Contains(log.String(), "user=") || !strings.Contains(log.String(), "provider=demo") || !strings.Contains(log.String(), "request=") {
		t.Errorf("the log does not say who logged in:\n%s", log)
	}
}

// A syncBuffer is written by the server while the test reads it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Run ends with its context, whatever the store does, and does not die of it.
func TestRun(t *testing.T) {
	t.Parallel()
	c := minimal()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan string, 100)
	c.Store = &spyStore{Store: memstore.New(), hook: func(call string) error {
		calls <- call
		return errors.New("down")
	}}
	b, err := broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	for call := range calls {
		if call == "sweep" {
			break
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// brokenUpstream is an upstream whose constructor could not return an error.
type brokenUpstream struct{ laxUpstream }

// Check says what is wrong.
func (brokenUpstream) Check() error { return errors.New("it cannot work") }

// brandedUpstream is an upstream that people know.
type brandedUpstream struct {
	laxUpstream
	icon string
}

// Brand says what they know it by.
func (u brandedUpstream) Brand() provider.Brand {
	return provider.Brand{Name: "Acme <Inc>", Icon: []byte(u.icon)}
}

// A brand is shown where the configuration says nothing else.
func TestConfigBrand(t *testing.T) {
	t.Parallel()
	const icon, own = `<svg xmlns="http://www.w3.org/2000/svg"/>`, `<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>`
	list := []broker.Provider{
		{Alias: "plain", IdP: brandedUpstream{icon: icon}},
		{Alias: "named", IdP: brandedUpstream{icon: icon}, Name: "Staff", Icon: []byte(own)},
		{Alias: "other", IdP: laxUpstream{}},
	}
	w := newWorld(t, func(c *broker.Config) { c.Providers = list })
	page := send(t, http.MethodGet, w.URL+"/login", nil, nil)
	for _, want := range []string{"Acme &lt;Inc&gt;", "Staff", "other"} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the login page lacks %q:\n%s", want, page.text)
		}
	}
	for alias, want := range map[string]string{"plain": icon, "named": own} {
		if got := send(t, http.MethodGet, w.URL+"/icon/"+alias, nil, nil); got.text != want {
			t.Errorf("icon of %s: %q, want %q", alias, got.text, want)
		}
	}
	if list[0].Name != "" || list[0].Icon != nil {
		t.Error("the host's own slice was changed")
	}
}
