package providertest_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// startWithPage returns a provider that asks, and the URL of its login page.
func startWithPage(t testing.TB, cfg providertest.OIDCConfig, change change) (*rp, string) {
	t.Helper()
	cfg.Alg = "ES256"
	p := newRP(t, providertest.StartOIDC(t, cfg), providertest.Client{ID: "app", Name: "The <App>"})
	return p, p.pageURL(change)
}

func (p *rp) pageURL(change change) string {
	return p.config.Endpoint.AuthURL + "?" + change.apply(p.authorizeParams()).Encode()
}

func TestLoginPage(t *testing.T) {
	t.Parallel()
	p, page := startWithPage(t, providertest.OIDCConfig{Name: "Acme & Sons", Accent: "#ffcc00"}, change{"login_hint": {"bob@example.com"}})
	p.op.SetUser(providertest.User{Username: "x", Name: `<script>alert("x")</script>`, Error: "access_denied"})
	browser := newBrowser(t)
	shown := get(t, browser, page)
	for _, want := range []string{"Acme &amp; Sons", "The &lt;App&gt;", "Alice Liddell", `<html lang="en">`, "&lt;script&gt;alert", "ends with access_denied"} {
		if !strings.Contains(shown.body, want) {
			t.Errorf("the page has no %q:\n%s", want, shown.body)
		}
	}
	if strings.Index(shown.body, "Bob Sawyer") > strings.Index(shown.body, "Alice Liddell") || strings.Count(shown.body, "autofocus") != 1 {
		t.Errorf("the user who was hinted at does not come first:\n%s", shown.body)
	}
	if policy := shown.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
		strings.Contains(shown.body, "style=") {
		t.Errorf("Content-Security-Policy %q", policy)
	}
	style := get(t, browser, p.op.Issuer()+"/style.css")
	if !strings.HasPrefix(style.body, ":root { --accent: #ffcc00; --on-accent: #000000; }") || !strings.HasPrefix(style.header.Get("Content-Type"), "text/css") {
		t.Errorf("style: %.80s", style.body)
	}
	action := html.UnescapeString(regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(shown.body)[1])
	if target, err := url.Parse(page); err != nil || "?"+target.Query().Encode() != action {
		t.Errorf("the form goes to %q, not to the page's own URL %q", action, page)
	}
	if back := post(t, browser, page, url.Values{"user": {"248289761002"}}).back(t); back.Get("code") == "" {
		t.Errorf("bob: %v", back)
	}
	if back := post(t, newBrowser(t), page, url.Values{"refuse": {"1"}}).back(t); back.Get("error") != "access_denied" || back.Get("state") != "s t&a=te" {
		t.Errorf("refused: %v", back)
	}
	if got := post(t, newBrowser(t), page, url.Values{"user": {"nobody"}}); got.status != http.StatusBadRequest || got.back(t) != nil {
		t.Errorf("nobody: %d", got.status)
	}
	foreign := formRequest(t, page, url.Values{"user": {"alice"}})
	foreign.Header.Set("Origin", "https://evil.example")
	if got := do(t, newBrowser(t), foreign); got.status != http.StatusForbidden {
		t.Errorf("a choice made on another site: %d", got.status)
	}
}

// A relying party may POST its request, from its own site: OpenID Connect Core §3.1.2.1.
func TestAuthorizeByPost(t *testing.T) {
	t.Parallel()
	p, page := startWithPage(t, providertest.OIDCConfig{}, nil)
	r := formRequest(t, p.config.Endpoint.AuthURL, p.authorizeParams())
	r.Header.Set("Origin", "https://app.example")
	browser := newBrowser(t)
	if got := do(t, browser, r); got.status != http.StatusOK || !strings.Contains(got.body, "Alice Liddell") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if back := post(t, browser, page, url.Values{"user": {"alice"}}).back(t); back.Get("code") == "" {
		t.Errorf("alice: %v", back)
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	p, page := startWithPage(t, providertest.OIDCConfig{Consent: true}, nil)
	browser := newBrowser(t)
	passive := p.pageURL(change{"prompt": {"none"}})
	if got := post(t, newBrowser(t), page, url.Values{"consent": {"allow"}}); got.back(t) != nil || !strings.Contains(got.body, "Who are you?") {
		t.Errorf("consent by nobody: %d", got.status)
	}
	if got := post(t, browser, page, url.Values{"user": {"alice"}}); !strings.Contains(got.body, "Allow access?") || got.back(t) != nil {
		t.Fatalf("no question: %d %s", got.status, got.body)
	}
	if back := get(t, browser, passive).back(t); back.Get("error") != "consent_required" {
		t.Errorf("prompt=none without consent: %v", back)
	}
	if back := post(t, browser, page, url.Values{"refuse": {"1"}}).back(t); back.Get("error") != "access_denied" {
		t.Errorf("refused: %v", back)
	}
	if back := post(t, browser, page, url.Values{"consent": {"allow"}}).back(t); back.Get("code") == "" {
		t.Errorf("allowed: %v", back)
	}
	if back := get(t, browser, passive).back(t); back.Get("code") == "" {
		t.Errorf("prompt=none with consent: %v", back)
	}
	if got := get(t, browser, p.pageURL(change{"prompt": {"consent"}})); !strings.Contains(got.body, "Allow access?") {
		t.Errorf("prompt=consent: %d", got.status)
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	cfg := providertest.OIDCConfig{Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) }}
	p, page := startWithPage(t, cfg, nil)
	browser := newBrowser(t)
	if back := post(t, browser, page, url.Values{"user": {"alice"}}).back(t); back.Get("code") == "" {
		t.Fatalf("login: %v", back)
	}
	late.Store(int64(time.Hour))
	const code = ""
	for _, row := range []struct {
		change change
		want   string // an error, code, or "page"
	}{
		{nil, code},
		{change{"prompt": {"none"}}, code},
		{change{"prompt": {"login"}}, "page"},
		{change{"prompt": {"select_account"}}, "page"},
		{change{"prompt": {"consent"}}, "page"},
		{change{"max_age": {"7200"}}, code},
		{change{"max_age": {"1800"}}, "page"},
		{change{"max_age": {"0"}}, "page"},
		{change{"max_age": {"1800"}, "prompt": {"none"}}, "login_required"},
		{change{"login_hint": {"alice"}}, code},
		{change{"login_hint": {"bob"}}, "page"},
		{change{"login_hint": {"bob"}, "prompt": {"none"}}, "login_required"},
		{change{"login_hint": {"somebody"}}, code},
	} {
		got := get(t, browser, p.pageURL(row.change))
		back := got.back(t)
		if row.want == "page" && (back != nil || got.status != http.StatusOK) || row.want != "page" && back.Get("error") != row.want ||
			row.want == code && back.Get("code") == "" {
			t.Errorf("%v: %d %v, want %q", row.change, got.status, back, row.want)
		}
	}
	if back := get(t, newBrowser(t), p.pageURL(change{"prompt": {"none"}})).back(t); back.Get("error") != "login_required" {
		t.Errorf("another browser: %v", back)
	}

	authTime := func(change change) time.Time {
		back := get(t, browser, p.pageURL(change)).back(t)
		form := url.Values{"grant_type": {"authorization_code"}, "code": {back.Get("code")}, "redirect_uri": {callback}, "code_verifier": {strings.Repeat("v", 43)}}
		claims, _ := part(t, p.tokenRequest(t, form).json()["id_token"].(string), 1)
		return time.Unix(int64(claims["auth_time"].(float64)), 0)
	}
	first := authTime(nil)
	if since := cfg.Now().Sub(first); since < 59*time.Minute {
		t.Errorf("auth_time %v ago, want an hour", since)
	}
	p.op.LoginAs("alice")
	if got := authTime(nil); !got.Equal(first) {
		t.Errorf("auth_time of a session changed from %v to %v", first, got)
	}
	if got := authTime(change{"max_age": {"60"}}); got.Sub(first) < 59*time.Minute {
		t.Errorf("auth_time after max_age: %v, first %v", got, first)
	}
}

// What a browser no longer holds is worth nothing to whoever kept a copy.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	p, page := startWithPage(t, providertest.OIDCConfig{}, nil)
	passive := p.pageURL(change{"prompt": {"none"}})
	for name, end := range map[string]func(*http.Client) fetched{
		"another login": func(b *http.Client) fetched { return post(t, b, page, url.Values{"user": {"bob"}}) },
		"logout":        func(b *http.Client) fetched { return get(t, b, p.op.Issuer()+"/logout") },
	} {
		browser, thief := newBrowser(t), newBrowser(t)
		post(t, browser, page, url.Values{"user": {"alice"}})
		target, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		thief.Jar.SetCookies(target, browser.Jar.Cookies(target))
		if back := get(t, thief, passive).back(t); back.Get("code") == "" {
			t.Fatalf("%s: the copy did not work to begin with: %v", name, back)
		}
		end(browser)
		if back := get(t, thief, passive).back(t); back.Get("error") != "login_required" {
			t.Errorf("%s: a copy of the cookie still brings %v", name, back)
		}
	}
}

// Cookies do not know ports, and two providers of a demonstration share a host.
func TestSessionsOfTwoProviders(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	one, page1 := startWithPage(t, providertest.OIDCConfig{}, nil)
	two, page2 := startWithPage(t, providertest.OIDCConfig{}, nil)
	post(t, browser, page1, url.Values{"user": {"alice"}})
	if back := get(t, browser, two.pageURL(change{"prompt": {"none"}})).back(t); back.Get("error") != "login_required" {
		t.Errorf("a session of the first brings at the second %v", back)
	}
	post(t, browser, page2, url.Values{"user": {"bob"}})
	if back := get(t, browser, one.pageURL(change{"prompt": {"none"}})).back(t); back.Get("code") == "" {
		t.Errorf("a login at the second ended the session at the first: %v", back)
	}
}

// max_age=0 asks for a new proof, even if no time has passed since the last one.
func TestMaxAgeZero(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p, page := startWithPage(t, providertest.OIDCConfig{Now: func() time.Time { return now }}, nil)
	browser := newBrowser(t)
	post(t, browser, page, url.Values{"user": {"alice"}})
	if got := get(t, browser, p.pageURL(change{"max_age": {"0"}})); got.status != http.StatusOK || !strings.Contains(got.body, "Who are you?") {
		t.Errorf("a session was enough: %d", got.status)
	}
}

func TestAlwaysAsk(t *testing.T) {
	t.Parallel()
	p, page := startWithPage(t, providertest.OIDCConfig{AlwaysAsk: true}, nil)
	browser := newBrowser(t)
	post(t, browser, page, url.Values{"user": {"alice"}})
	if got := get(t, browser, page); got.status != http.StatusOK || !strings.Contains(got.body, "Who are you?") {
		t.Errorf("a session was enough: %d", got.status)
	}
	if back := get(t, browser, p.pageURL(change{"prompt": {"none"}})).back(t); back.Get("code") == "" {
		t.Errorf("prompt=none: %v", back)
	}
}

func TestFormPost(t *testing.T) {
	t.Parallel()
	p := newRP(t, providertest.StartOIDC(t, fast()), providertest.Client{})
	got := get(t, newBrowser(t), p.pageURL(change{"response_mode": {"form_post"}, "state": {`"><script>`}}))
	if got.status != http.StatusOK || !strings.Contains(got.body, `action="`+callback+`"`) || strings.Contains(got.body, `"><script>`) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	fields := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(got.body, -1) {
		fields.Add(m[1], html.UnescapeString(m[2]))
	}
	if fields.Get("state") != `"><script>` || fields.Get("iss") != p.op.Issuer() || fields.Get("code") == "" || len(fields) != 3 {
		t.Errorf("fields %v", fields)
	}
	script := regexp.MustCompile(`<script src="([^"]*)">`).FindStringSubmatch(got.body)
	if js := get(t, newBrowser(t), script[1]); !strings.HasPrefix(js.header.Get("Content-Type"), "text/javascript") || js.body == "" {
		t.Errorf("script %v: %v", script, js)
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{PostLogoutRedirectURIs: []string{callback}})
	other := newRP(t, op, providertest.Client{PostLogoutRedirectURIs: []string{"http://other.example/"}})
	browser := newBrowser(t)
	signedIn := func() bool { return get(t, browser, p.pageURL(change{"prompt": {"none"}})).back(t).Has("code") }
	login := func() string {
		got, err := p.login(t, browser)
		if err != nil || !signedIn() {
			t.Fatalf("no session: %v", err)
		}
		return got.tokens.Extra("id_token").(string)
	}
	idToken := login()
	for name, params := range map[string]url.Values{
		"no client":            {"post_logout_redirect_uri": {callback}},
		"not registered":       {"post_logout_redirect_uri": {callback + "x"}, "id_token_hint": {idToken}},
		"another client's":     {"post_logout_redirect_uri": {"http://other.example/"}, "id_token_hint": {idToken}},
		"hint and client":      {"post_logout_redirect_uri": {"http://other.example/"}, "id_token_hint": {idToken}, "client_id": {other.client.ID}},
		"broken hint":          {"post_logout_redirect_uri": {callback}, "id_token_hint": {idToken + "A"}},
		"hint, another client": {"id_token_hint": {idToken}, "client_id": {other.client.ID}},
	} {
		if got := get(t, browser, op.Issuer()+"/logout?"+params.Encode()); got.status != http.StatusBadRequest || got.back(t) != nil || !signedIn() {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	op.RotateKeys() // an old hint is good enough
	good := url.Values{"post_logout_redirect_uri": {callback}, "id_token_hint": {idToken}, "state": {"s"}}
	if back := get(t, browser, op.Issuer()+"/logout?"+good.Encode()).back(t); back.Get("state") != "s" || signedIn() {
		t.Errorf("logout with a hint: %v", back)
	}
	login()
	if got := post(t, browser, op.Issuer()+"/logout", url.Values{}); got.status != http.StatusOK || !strings.Contains(got.body, "You are signed out") || signedIn() {
		t.Errorf("logout without parameters: %d", got.status)
	}
	if got := op.Requests(providertest.EndSession); len(got) != 8 {
		t.Errorf("%d logout requests, want 8", len(got))
	}
}
