package broker_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// The rows are those of the acceptance tests for logins and options of a broker that people know.

func TestKnownIdentityLogsInWithoutForms(t *testing.T) { // row 36
	t.Parallel()
	for _, test := range []struct {
		name  string
		sync  provider.SyncMode
		email string
		first string
	}{
		{"import keeps what was written first", provider.SyncImport, "alice@example.com", "Alice Liddell"},
		{"force takes what is said now", provider.SyncForce, "new@example.com", "Alice New"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *broker.Config) {
				c.Providers[0].Sync, c.Providers[0].TrustEmail = test.sync, true
			})
			before := w.login("Demo").Get(w.Origin + "/").Who()
			w.op.SetUser(providertest.User{Subject: "alice", Username: "alice-renamed", Email: "New@example.com",
				EmailVerified: true, Name: "Alice New", GivenName: "Alice", FamilyName: "New"})
			after := w.login("Demo").Get(w.Origin + "/").Who()
			if after.ID != before.ID || after.Username != before.Username {
				t.Errorf("user %s %q became %s %q", before.ID, before.Username, after.ID, after.Username)
			}
			if after.Email != test.email || after.Name != test.first || !after.Verified {
				t.Errorf("email %q verified %v name %q, want %q true %q", after.Email, after.Verified, after.Name, test.email, test.first)
			}
		})
	}
}

func TestForceNeverTakesAnotherUsersEmail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce })
	w.login("Other") // carol@other.example
	before := w.login("Demo").Get(w.Origin + "/").Who()
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "carol@other.example", EmailVerified: true})
	after := w.login("Demo").Get(w.Origin + "/").Who()
	if after.ID != before.ID || after.Email != before.Email {
		t.Errorf("user %s has e-mail %q, want %s with %q", after.ID, after.Email, before.ID, before.Email)
	}
}

func TestDefaultProvider(t *testing.T) { // row 37
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.DefaultProvider = "demo" })
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/deep?x=1")
	if page.Status != http.StatusOK || page.Who().Path != "/deep?x=1" {
		t.Fatalf("default provider: %d at %s", page.Status, page.URL)
	}
	t.Run("SSO has priority", func(t *testing.T) {
		w.op.LoginAs("") // the upstream would show a page
		page := b.Get(w.rp.LoginURL())
		shows(t, page, http.StatusOK, `"Subject"`)
	})
	t.Run("another way can be chosen where there is no use in trying again", func(t *testing.T) {
		w.op.LoginAs("alice")
		w.op.Break(providertest.TokenInvalidClient)
		page := brokertest.NewBrowser(t).Get(w.Origin + "/deep")
		shows(t, page.Click("Choose another way to sign in"), http.StatusOK, "Continue with Demo", "Continue with Other")
		w.op.Break()
	})
	t.Run("an error shows the login page and does not loop", func(t *testing.T) {
		w.op.Break(providertest.ErrorAccessDenied)
		page := brokertest.NewBrowser(t).Get(w.Origin + "/deep")
		shows(t, page, http.StatusOK, "Demo did not confirm who you are, because permission was refused", "Continue with Other")
		if n := len(page.Trail); n > 8 {
			t.Errorf("%d requests: %q", n, page.Trail)
		}
		w.op.Break()
		if page = page.Click("Other"); page.Status != http.StatusOK || page.Who().Path != "/deep" {
			t.Errorf("another provider after the error: %d at %s", page.Status, page.URL)
		}
	})
}

// Buttons stand in the order that people look names up in.
func TestButtonsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers = append(c.Providers, c.Providers[1], c.Providers[1])
		for i, name := range []string{"git", "acme", "GitHub", "Zeta"} {
			c.Providers[i].Alias, c.Providers[i].Name = "p"+strconv.Itoa(i), name
		}
		c.Providers[3].Order = -1
	})
	page := brokertest.NewBrowser(t).Get(w.URL + "/login")
	at := -1
	for _, name := range []string{"Zeta", "acme", "git", "GitHub"} {
		i := strings.Index(page.Body, "<span>Continue with "+name+"</span>")
		if i <= at {
			t.Errorf("%s is at %d, want it behind %d", name, i, at)
		}
		at = i
	}
}

func TestHints(t *testing.T) { // row 38
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.DefaultProvider = "demo"
		c.Providers = append(c.Providers, c.Providers[1], c.Providers[1], c.Providers[1])
		c.Providers[1].HideOnLogin = true
		c.Providers[2].Alias, c.Providers[2].Name, c.Providers[2].Disabled = "off", "Switched Off", true
		c.Providers[3].Alias, c.Providers[3].Name, c.Providers[3].LinkOnly = "link", "Link Only", true
		c.Providers[4].Alias, c.Providers[4].Name = "shown", "Shown"
	})
	for _, test := range []struct {
		hint     string
		upstream string // of the redirect; "" for the login page
	}{
		{"idp_hint=other", w.other.Issuer()}, // hidden, and reachable by a hint
		{"kc_idp_hint=other", w.other.Issuer()},
		{"idp_hint=demo&kc_idp_hint=other", w.op.Issuer()},
		{"idp_hint=", ""},
		{"kc_idp_hint=", ""},
		{"idp_hint=nobody", ""},
		{"idp_hint=off", ""},
		{"idp_hint=link", ""},
		{"idp_hint=Demo", ""}, // aliases are exact
		{"", w.op.Issuer()},
	} {
		for _, start := range []string{w.URL + "/login?" + test.hint, w.rp.AuthURL() + "&" + test.hint} {
			page := brokertest.NewBrowser(t).Get(start)
			if test.upstream != "" {
				went(t, page, test.upstream+"/")
				continue
			}
			shows(t, page, http.StatusOK, "Continue with Demo", "Continue with Shown")
			for _, hidden := range []string{"Other", "Switched Off", "Link Only"} {
				if strings.Contains(page.Body, hidden) {
					t.Errorf("%s: the page lists %q", test.hint, hidden)
				}
			}
		}
	}
}

func TestStartByURL(t *testing.T) { // rows 39 and 40
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].Disabled = true
		c.Providers[1].LinkOnly = true
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.URL + "/login")
	if strings.Contains(page.Body, "Demo") || strings.Contains(page.Body, "Other") {
		t.Errorf("the login page lists a provider that cannot be used:\n%s", page.Body)
	}
	shows(t, b.Get(w.URL+"/broker/demo/login"), http.StatusForbidden, "switched off")
	shows(t, b.Get(w.URL+"/broker/other/login"), http.StatusForbidden, "Not available for signing in")
	shows(t, b.Get(w.URL+"/broker/nobody/login"), http.StatusNotFound, "does not exist")
	shows(t, b.Get(w.URL+"/broker/demo/endpoint?code=x&state=y"), http.StatusNotFound, "Page not found")
	shows(t, b.Get(w.URL+"/broker/nobody/endpoint?code=x&state=y"), http.StatusNotFound, "Page not found")
}

func TestSwitchedOffWhileTheBrowserIsAway(t *testing.T) { // row 40
	t.Parallel()
	for _, test := range []struct {
		name   string
		edit   func(*broker.Config)
		status int
	}{
		{"provider disabled", func(c *broker.Config) { c.Providers[0].Disabled = true }, http.StatusNotFound},
		{"provider removed", func(c *broker.Config) { c.Providers = c.Providers[1:] }, http.StatusNotFound},
		{"provider link-only", func(c *broker.Config) { c.Providers[0].LinkOnly = true }, http.StatusForbidden},
		{"client disabled", func(c *broker.Config) { c.Clients[0].Disabled = true }, http.StatusBadRequest},
		{"client removed", func(c *broker.Config) { c.Clients = nil }, http.StatusBadRequest},
		{"redirect URI removed", func(c *broker.Config) {
			c.Clients[0].RedirectURIs = []string{"https://elsewhere.example/"}
		}, http.StatusBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.op.LoginAs("")
			b := brokertest.NewBrowser(t)
			away := b.Get(w.rp.LoginURL()).Click("Demo") // at the upstream's page
			w.reconfigure(test.edit)
			page := b.Post(away.URL.String(), url.Values{"user": {"alice"}}, "")
			shows(t, page, test.status)
			if w.users("alice") != 0 || w.rp.Login().Subject != "" {
				t.Error("the login went through")
			}
		})
	}
}

func TestForwarding(t *testing.T) { // row 41
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) {
			c.ForwardLoginHint, c.ForwardUILocales, c.ForwardMaxAge = true, true, true
			c.ForwardParams = []string{"hd"}
		})
	})
	w.rp.Params = url.Values{
		"idp_hint": {"demo"}, "login_hint": {"a b+c&d=e@example.com"}, "ui_locales": {"fr de"}, "prompt": {"login"},
		"max_age": {"600"}, "acr_values": {"gold silver"}, "hd": {"a&b=c.example"}, "secret_param": {"x"},
	}
	page := brokertest.NewBrowser(t).Get(w.rp.LoginURL())
	shows(t, page, http.StatusOK, `"Subject"`)
	sent := went(t, page, w.op.Issuer()+"/authorize").Query()
	for name, want := range map[string]string{
		"login_hint": "a b+c&d=e@example.com", "ui_locales": "fr de", "prompt": "login", "max_age": "600",
		"acr_values": "gold silver", "hd": "a&b=c.example", "secret_param": "", "idp_hint": "",
	} {
		if got := sent.Get(name); got != want {
			t.Errorf("%s: upstream got %q, want %q", name, got, want)
		}
	}
	t.Run("not unless enabled", func(t *testing.T) {
		w.rp.Params.Set("idp_hint", "other")
		sent := went(t, brokertest.NewBrowser(t).Get(w.rp.LoginURL()), w.other.Issuer()+"/authorize").Query()
		for _, name := range []string{"login_hint", "ui_locales", "max_age", "hd"} {
			if sent.Has(name) {
				t.Errorf("%s was forwarded", name)
			}
		}
	})
}

func TestPromptNone(t *testing.T) { // row 42
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.DefaultProvider = "demo"
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.AcceptPromptNone = true })
	})
	w.rp.Params.Set("prompt", "none")
	passive := func(b *brokertest.Browser) string {
		t.Helper()
		shows(t, b.Get(w.rp.LoginURL()), http.StatusOK)
		return w.rp.Login().Error
	}
	w.op.LoginAs("")
	if got := passive(brokertest.NewBrowser(t)); got != "login_required" {
		t.Errorf("nobody is signed in at the upstream: error %q, want login_required", got)
	}
	if n := len(w.op.Requests(providertest.Authorize)); n != 1 {
		t.Errorf("upstream was asked %d times, want once", n)
	}
	w.op.Break(providertest.ErrorLoginRequired)
	if got := passive(brokertest.NewBrowser(t)); got != "login_required" {
		t.Errorf("upstream says login_required: error %q", got)
	}
	w.op.Break()
	w.rp.Params.Set("idp_hint", "other")
	before := len(w.other.Requests(providertest.Authorize))
	if got := passive(brokertest.NewBrowser(t)); got != "login_required" {
		t.Errorf("provider that does not accept prompt=none: error %q", got)
	}
	if n := len(w.other.Requests(providertest.Authorize)); n != before {
		t.Error("a provider that does not accept prompt=none was asked")
	}
	t.Run("with a session", func(t *testing.T) {
		w.op.LoginAs("bob")
		b := brokertest.NewBrowser(t)
		b.Get(w.Origin + "/")
		if got := passive(b); got != "" || w.rp.Login().Subject == "" {
			t.Errorf("error %q, subject %q", got, w.rp.Login().Subject)
		}
	})
}

func testMaxAge(t *testing.T) { // row 43
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.ForwardMaxAge = true })
	})
	w.rp.Params = url.Values{"max_age": {"60"}, "idp_hint": {"demo"}}
	for _, fault := range []providertest.Fault{providertest.AuthTimeStale, providertest.AuthTimeAbsent} {
		w.op.Break(fault)
		page := brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		if w.rp.Login().Subject != "" || page.Status == http.StatusOK && strings.Contains(page.Body, `"Subject"`) {
			t.Errorf("%s was accepted: %s", fault, page.Body)
		}
	}
	w.op.Break()
	shows(t, brokertest.NewBrowser(t).Get(w.rp.LoginURL()), http.StatusOK, `"Subject"`)
	t.Run("a session that is too old asks again", func(t *testing.T) {
		w.rp.Params = url.Values{"idp_hint": {"demo"}}
		b := brokertest.NewBrowser(t)
		b.Get(w.rp.LoginURL())
		w.advance(2 * time.Minute)
		asked := len(w.op.Requests(providertest.Authorize))
		b.Get(w.rp.LoginURL())
		if n := len(w.op.Requests(providertest.Authorize)); n != asked {
			t.Error("without max_age the session is enough, but the upstream was asked")
		}
		w.rp.Params.Set("max_age", "60")
		b.Get(w.rp.LoginURL())
		if n := len(w.op.Requests(providertest.Authorize)); n == asked {
			t.Error("max_age has passed, but the upstream was not asked")
		}
	})
}

func TestEmailDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[1].Domains = []string{"Other.example"} })
	start := w.Origin + "/page"
	login := func(email string) *brokertest.Page {
		return brokertest.NewBrowser(t).Get(start).Submit(url.Values{"email": {email}})
	}
	if who := login("carol@OTHER.example").Who(); who.Provider != "other" || who.Path != "/page" {
		t.Errorf("signed in through %q at %q", who.Provider, who.Path)
	}
	for _, unknown := range []string{"a@sub.other.example", "a@example.other", "a@other.example@evil.example", "a@evil.example@other.example",
		"other.example", "@other.example", "",
		// Names that end like it, begin like it, or look like it (oauth2-proxy CVE-2026-40574, memos CVE-2026-51584).
		"a@evilother.example", "a@other.example.evil.example", "a@other.example.", "a@other.example@other.example", "a@other.example,evil.example",
		"a@\u043ether.example", "a@other\u3002example", "a@xn--ther-qmd.example", "a@other.example%00", `"a@other.example"@evil.example`,
	} {
		page := login(unknown)
		if page.URL.Path != "/id/login" || page.Status != http.StatusOK {
			t.Errorf("%q led to %s (%d)", unknown, page.URL, page.Status)
		}
	}
	shows(t, login("x@unknown.example"), http.StatusOK, "We know no organisation", "Continue with Demo")
	t.Run("of an application's login_hint", func(t *testing.T) {
		w.rp.Params = url.Values{"login_hint": {"carol@other.example"}}
		page := brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		went(t, page, w.other.Issuer())
		shows(t, page, http.StatusOK, `"Subject"`)
	})
	t.Run("for an application", func(t *testing.T) {
		w.rp.Params = url.Values{}
		page := brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Submit(url.Values{"email": {"carol@other.example"}})
		shows(t, page, http.StatusOK, `"Subject"`)
	})
}
