package broker_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
)

var (
	allow = url.Values{"decision": {"allow"}}
	deny  = url.Values{"decision": {"deny"}}
)

// consenting starts a world whose application asks for consent, edited.
func consenting(t *testing.T, edit func(*store.Client)) *world {
	t.Helper()
	return newWorld(t, func(c *broker.Config) {
		c.Clients[0].Consent = true
		c.Clients[0].Scopes = []string{"openid", "profile", "email", "stock:read"}
		if edit != nil {
			edit(&c.Clients[0])
		}
	})
}

// answered is what the application got at the end of the page's way.
func (w *world) answered(p *brokertest.Page) url.Values {
	w.t.Helper()
	return went(w.t, p, w.callback()).Query()
}

// silent returns what an application learns that allows no page.
func (w *world) silent(b *brokertest.Browser, scope string) string {
	w.t.Helper()
	params := w.authParams()
	params.Set("prompt", "none")
	params.Set("scope", scope)
	_, query := w.authorize(params, b).location(w.t)
	if query.Get("code") != "" {
		return "code"
	}
	return query.Get("error")
}

func testConsent(t *testing.T) { // OpenID Connect Core §3.1.2.4
	t.Parallel()
	w := consenting(t, nil)
	params := w.authParams()
	params.Set("scope", "openid email stock:read")
	start := w.URL + "/authorize?" + params.Encode()
	b := brokertest.NewBrowser(t)
	page := b.Get(start).Click("Continue with Demo")
	shows(t, page, http.StatusOK, "Allow Test App", "alice@example.com", "know who you are", "see your e-mail address", "stock:read")
	if strings.Contains(page.Body, "your profile") {
		t.Error("asked for what was not requested")
	}
	if w.silent(b, "openid email") != "consent_required" {
		t.Error("consent was given before it was")
	}
	query := w.answered(page.Submit(allow))
	w.redeem(query.Get("code"), nil).tokens(t)
	if query.Get("state") != "the state" || query.Get("iss") != w.URL {
		t.Errorf("answer %v", query)
	}
	// Remembered: for as much, and for less, in any browser, and not for more.
	other := w.login("Demo")
	for _, scope := range []string{"openid email stock:read", "stock:read openid", "openid"} {
		if got := w.silent(other, scope); got != "code" {
			t.Errorf("after consent, %q is answered with %q", scope, got)
		}
	}
	if got := w.silent(other, "openid profile"); got != "consent_required" {
		t.Errorf("more than was agreed to is answered with %q", got)
	}
	params.Set("scope", "openid profile")
	page = other.Get(w.URL + "/authorize?" + params.Encode())
	shows(t, page, http.StatusOK, "your profile")
	w.answered(page.Submit(allow))
	if got := w.silent(other, "openid profile email stock:read"); got != "code" {
		t.Errorf("consent given in two parts is answered with %q", got)
	}
	// Another user has agreed to nothing.
	w.op.LoginAs("bob")
	if got := w.silent(w.login("Demo"), "openid"); got != "consent_required" {
		t.Errorf("another user's consent is answered with %q", got)
	}
	// It is no grant that anything else can be got for, and ends after a year.
	users, err := w.store.FindUsers(t.Context(), store.UserQuery{Username: "alice"})
	if err != nil || len(users) != 1 {
		t.Fatal(users, err)
	}
	grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{UserID: users[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, g := range grants {
		if g.Kind != store.GrantConsent {
			continue
		}
		found++
		if g.SessionID != "" || len(g.CodeHash) > 0 || g.CodeUsed {
			t.Errorf("kept as %+v", g)
		}
		wantError(t, w.redeem(g.ID+".", nil), http.StatusBadRequest, "invalid_grant")
		wantError(t, w.redeem(g.ID+"."+testVerifier, nil), http.StatusBadRequest, "invalid_grant")
	}
	if found != 1 {
		t.Errorf("%d consents kept, want 1", found)
	}
	w.advance(366 * 24 * time.Hour)
	w.op.LoginAs("alice")
	if got := w.silent(w.login("Demo"), "openid"); got != "consent_required" {
		t.Errorf("after a year: %q", got)
	}
}

func testConsentDenied(t *testing.T) { // RFC 6749 §4.1.2.1
	t.Parallel()
	w := consenting(t, nil)
	start := w.URL + "/authorize?" + w.authParams().Encode()
	b := brokertest.NewBrowser(t)
	query := w.answered(b.Get(start).Click("Demo").Submit(deny))
	if query.Get("error") != "access_denied" || query.Get("state") != "the state" || query.Get("iss") != w.URL || query.Has("code") {
		t.Errorf("answer %v", query)
	}
	if got := w.silent(b, "openid"); got != "consent_required" {
		t.Errorf("after a refusal: %q", got)
	}
	shows(t, b.Get(start), http.StatusOK, "Allow Test App")
}

func testConsentPrompt(t *testing.T) { // OpenID Connect Core §3.1.2.1: prompt=consent always asks
	t.Parallel()
	for _, asks := range []bool{true, false} {
		w := consenting(t, func(c *store.Client) { c.Consent = asks })
		b := w.login("Demo")
		params := w.authParams()
		params.Set("prompt", "consent")
		for range 2 {
			page := b.Get(w.URL + "/authorize?" + params.Encode())
			shows(t, page, http.StatusOK, "Allow Test App")
			if w.answered(page.Submit(allow)).Get("code") == "" {
				t.Error("no code")
			}
		}
		params.Set("prompt", "login consent")
		page := b.Get(w.URL + "/authorize?" + params.Encode()).Click("Continue with Demo")
		shows(t, page, http.StatusOK, "Allow Test App")
		if w.answered(page.Submit(allow)).Get("code") == "" {
			t.Error("no code after a new login")
		}
	}
}

// A login that was asked for, and an age that was allowed, are not asked for again because the visitor had to consent.
func testConsentAfterLogin(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	for _, edit := range []func(url.Values){set("prompt", "login"), set("max_age", "0"), set("prompt", "select_account"), set("idp_hint", "demo")} {
		params := w.authParams()
		params.Set("prompt", "consent login")
		edit(params)
		b := brokertest.NewBrowser(t)
		page := b.Get(w.URL + "/authorize?" + params.Encode())
		if params.Get("idp_hint") == "" {
			page = page.Click("Continue with Demo")
		}
		if page.URL.Path == "/id/consent" {
			w.advance(time.Minute)
			shows(t, b.Get(page.URL.String()), http.StatusOK, "Allow Test App")
			page = page.Submit(allow)
		}
		if w.answered(page).Get("code") == "" {
			t.Errorf("%v: no code", params)
		}
	}
}

func testConsentPassive(t *testing.T) { // OpenID Connect Core §3.1.2.6, also when the upstream was asked first
	t.Parallel()
	w := consenting(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Clients[0].Consent, c.DefaultProvider = true, "demo"
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.AcceptPromptNone = true })
	})
	params := w.authParams()
	params.Set("prompt", "none")
	b := brokertest.NewBrowser(t)
	b.Get(w.Origin + "/")
	w.advance(31 * time.Minute) // the session at the upstream lives longer
	page := b.Get(w.URL + "/authorize?" + params.Encode())
	went(t, page, w.op.Issuer())
	if got := w.answered(page).Get("error"); got != "consent_required" {
		t.Errorf("error %q", got)
	}
}

// What is sealed into the consent page is for one session, for a while, and for what is still switched on.
func testConsentBound(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	ask := func() (*brokertest.Browser, *brokertest.Page) {
		t.Helper()
		b := w.login("Demo")
		page := b.Get(w.URL + "/authorize?" + w.authParams().Encode())
		shows(t, page, http.StatusOK, "Allow Test App")
		return b, page
	}
	_, page := ask()
	_, fields, _ := page.Form()
	answer := func(b *brokertest.Browser, request, decision, from string) *brokertest.Page {
		t.Helper()
		return b.Post(w.URL+"/consent", url.Values{"request": {request}, "decision": {decision}}, from)
	}
	sealed := fields.Get("request")
	t.Run("another session of the same user", func(t *testing.T) {
		shows(t, answer(w.login("Demo"), sealed, "allow", ""), http.StatusConflict, "/id/authorize?")
	})
	t.Run("another user", func(t *testing.T) {
		shows(t, answer(w.login("Other"), sealed, "allow", ""), http.StatusConflict)
		shows(t, w.login("Other").Get(page.URL.String()), http.StatusConflict)
	})
	t.Run("nobody", func(t *testing.T) {
		shows(t, answer(brokertest.NewBrowser(t), sealed, "allow", ""), http.StatusConflict)
	})
	b, page := ask()
	_, fields, _ = page.Form()
	sealed = fields.Get("request")
	t.Run("another site", func(t *testing.T) { // CSRF
		shows(t, answer(b, sealed, "allow", "https://evil.example/"), http.StatusForbidden)
	})
	t.Run("tampered with", func(t *testing.T) {
		shows(t, answer(b, twin(sealed, 20), "allow", ""), http.StatusConflict)
		shows(t, answer(b, sealed[:len(sealed)-1], "allow", ""), http.StatusConflict)
		shows(t, answer(b, "", "allow", ""), http.StatusConflict)
	})
	t.Run("no decision", func(t *testing.T) {
		shows(t, answer(b, sealed, "", ""), http.StatusBadRequest)
		shows(t, answer(b, sealed, "Allow", ""), http.StatusBadRequest)
	})
	t.Run("GET is no answer", func(t *testing.T) {
		shows(t, b.Get(page.URL.String()+"&decision=allow"), http.StatusOK, "Allow Test App")
	})
	t.Run("clicked twice", func(t *testing.T) {
		first, second := w.answered(page.Submit(allow)), w.answered(page.Submit(allow))
		if first.Get("code") == "" || second.Get("code") == "" || first.Get("code") == second.Get("code") {
			t.Errorf("answers %v and %v", first, second)
		}
		if w.answered(b.Get(page.URL.String())).Get("code") == "" {
			t.Error("the page was opened again and led nowhere")
		}
	})
	t.Run("too late", func(t *testing.T) {
		w.advance(29 * time.Minute)
		b.Get(w.Origin + "/") // keeps the session
		w.advance(time.Minute)
		shows(t, answer(b, sealed, "allow", ""), http.StatusConflict, "/id/authorize?")
	})
}

func TestConsentSwitchedOff(t *testing.T) { // CVE-2026-2603 and its like: what was switched off while the page was open
	t.Parallel()
	for name, off := range map[string]func(w *world, t *testing.T){
		"client": func(w *world, _ *testing.T) { w.reconfigure(func(c *broker.Config) { c.Clients[0].Disabled = true }) },
		"redirect URI": func(w *world, _ *testing.T) {
			w.reconfigure(func(c *broker.Config) { c.Clients[0].RedirectURIs = []string{"https://new.example/"} })
		},
		"scope": func(w *world, _ *testing.T) {
			w.reconfigure(func(c *broker.Config) { c.Clients[0].Scopes = []string{"profile"} })
		},
		"provider": func(w *world, _ *testing.T) { w.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = true }) },
		"provider of the client": func(w *world, _ *testing.T) {
			w.reconfigure(func(c *broker.Config) { c.Clients[0].Providers = []string{"other"} })
		},
		"user": func(w *world, _ *testing.T) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) },
		"session": func(w *world, t *testing.T) {
			sessions, err := w.store.FindSessions(t.Context(), store.SessionQuery{Provider: "demo"})
			if err != nil || len(sessions) != 1 {
				t.Fatal(sessions, err)
			}
			if err := w.store.DeleteSession(t.Context(), sessions[0].ID); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := consenting(t, nil)
			page := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.authParams().Encode()).Click("Demo")
			off(w, t)
			last := page.Submit(allow)
			for _, u := range last.Trail {
				if strings.HasPrefix(u, w.callback()) {
					t.Errorf("answered all the same: %s", u)
				}
			}
			if last.Status < 400 || last.Status >= 500 {
				t.Errorf("status %d", last.Status)
			}
		})
	}
}

func TestConsentFormPost(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	w.rp.SetClient(func() store.Client { c := w.rp.Client(); c.Consent = true; return c }())
	w.rp.Params.Set("response_mode", "form_post")
	page := brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Click("Demo").Submit(allow)
	shows(t, page, http.StatusOK, "post.js")
	shows(t, page.Submit(nil), http.StatusOK)
	if w.rp.Login().Subject == "" {
		t.Error("no login")
	}
}

func TestConsentPushed(t *testing.T) { // the pushed request lasts until the user has decided, and is answered once
	t.Parallel()
	w := consenting(t, nil)
	b := brokertest.NewBrowser(t)
	page := b.Get(w.URL + "/authorize?" + w.pushed(nil).Encode()).Click("Demo")
	w.advance(10 * time.Minute)
	if w.answered(page.Submit(allow)).Get("code") == "" {
		t.Error("no code")
	}
	again := page.Submit(allow)
	shows(t, again, http.StatusBadRequest)
}

func TestConsentRace(t *testing.T) { // of many that are remembered at once none fails and none is lost
	t.Parallel()
	w := consenting(t, nil)
	b := w.login("Demo")
	var forms []url.Values
	for _, scope := range []string{"openid profile", "openid email", "openid stock:read"} {
		params := w.authParams()
		params.Set("scope", scope)
		_, fields, _ := b.Get(w.URL + "/authorize?" + params.Encode()).Form()
		fields.Set("decision", "allow")
		forms = append(forms, fields)
	}
	cookies := w.cookies(b)
	var wg sync.WaitGroup
	for _, form := range forms {
		wg.Go(func() {
			r := send(t, http.MethodPost, w.URL+"/consent", form, func(r *http.Request) {
				r.Header.Set("Cookie", cookies)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			})
			if r.StatusCode != http.StatusOK || !strings.Contains(r.text, "code=") {
				t.Errorf("status %d: %s", r.StatusCode, r.text)
			}
		})
	}
	wg.Wait()
	if got := w.silent(b, "openid profile email stock:read"); got != "code" {
		t.Errorf("consent given at the same moment is answered with %q", got)
	}
}

type asking struct{}

func (asking) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Ask(flow.Page{Name: "error"}), nil
}

func testPromptNoneFlow(t *testing.T) { // OpenID Connect Core §3.1.2.6, row 42: what needs an action is told, not shown
	t.Parallel()
	w := newWorld(t, nil)
	b := brokertest.NewBrowser(t)
	b.Get(w.Origin + "/").Click("Demo")
	w.advance(31 * time.Minute) // the session at the upstream lives longer
	w.reconfigure(func(c *broker.Config) {
		c.DefaultProvider, c.PostLogin = "demo", flow.Flow{{ID: "ask", Do: asking{}}}
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.AcceptPromptNone = true })
	})
	params := w.authParams()
	params.Set("prompt", "none")
	page := b.Get(w.URL + "/authorize?" + params.Encode())
	went(t, page, w.op.Issuer())
	if got := w.answered(page).Get("error"); got != "interaction_required" {
		t.Errorf("error %q", got)
	}
}
