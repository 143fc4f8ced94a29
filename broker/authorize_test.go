package broker_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// A reply is what one request got, without any redirect followed.
type reply struct {
	*http.Response
	text string
}

// send sends one request as a program would: no cookies, no redirects. A non-nil form is its body.
func send(t testing.TB, method, rawURL string, form url.Values, edit func(*http.Request)) *reply {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, rawURL, body)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if edit != nil {
		edit(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &reply{response, string(text)}
}

// location returns where the reply redirects to, and its query.
func (r *reply) location(t testing.TB) (string, url.Values) {
	t.Helper()
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	u.RawQuery = ""
	return u.String(), query
}

const testVerifier = "0123456789-abcdefghijklmnopqrstuvwxyz._~ABCDEF"

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authParams are a good authentication request of the world's application.
func (w *world) authParams() url.Values {
	return url.Values{
		"client_id": {"rp"}, "redirect_uri": {w.callback()}, "response_type": {"code"}, "scope": {"openid profile email"},
		"state": {"the state"}, "nonce": {"the nonce"}, "code_challenge": {challengeOf(testVerifier)}, "code_challenge_method": {"S256"},
	}
}

func (w *world) callback() string { return w.rp.Client().RedirectURIs[0] }

// cookies returns the cookies of the browser at the broker, as a header.
func (w *world) cookies(b *brokertest.Browser) string {
	var list []string
	for name, value := range b.Cookies(w.URL) {
		list = append(list, name+"="+value)
	}
	return strings.Join(list, "; ")
}

// authorize sends an authentication request with the cookies of a browser, nil for none.
func (w *world) authorize(params url.Values, b *brokertest.Browser) *reply {
	w.t.Helper()
	return send(w.t, http.MethodGet, w.URL+"/authorize?"+params.Encode(), nil, func(r *http.Request) {
		if b != nil {
			r.Header.Set("Cookie", w.cookies(b))
		}
	})
}

// code returns a fresh code for the session of a browser.
func (w *world) code(b *brokertest.Browser, edit func(url.Values)) string {
	w.t.Helper()
	params := w.authParams()
	if edit != nil {
		edit(params)
	}
	r := w.authorize(params, b)
	_, query := r.location(w.t)
	if query.Get("code") == "" {
		w.t.Fatalf("no code: status %d, Location %q\n%s", r.StatusCode, r.Header.Get("Location"), r.text)
	}
	return query.Get("code")
}

func set(name string, values ...string) func(url.Values) {
	return func(v url.Values) { v[name] = values }
}

func unset(name string) func(url.Values) { return func(v url.Values) { v.Del(name) } }

// A refusal is an authentication request with something wrong, and what it is answered with.
type refusal struct {
	name string
	edit func(url.Values)
	want string // "page STATUS" or the error code that the application is told
}

const page400 = "page 400"

// newRequestWorld has further clients: one that is off, one that has another redirect URI, and a public one.
func newRequestWorld(t testing.TB) *world {
	t.Helper()
	return newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{
			ID: "off", Disabled: true, Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs,
		}, store.Client{
			ID: "another", Secrets: c.Clients[0].Secrets, RedirectURIs: []string{"https://another.example/callback"},
		}, store.Client{
			ID: "public", AuthMethod: store.AuthNone, RedirectURIs: c.Clients[0].RedirectURIs,
		})
	})
}

// refuses tries each row. A visitor who signs in, and one who has a session, meet the same refusals: told to the visitor
// where the application cannot be trusted to be told, told to the application otherwise.
func (w *world) refuses(t *testing.T, rows ...refusal) {
	t.Helper()
	signedIn := w.login("Demo")
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range []*brokertest.Browser{nil, signedIn} {
				params := w.authParams()
				row.edit(params)
				r := w.authorize(params, b)
				if strings.HasPrefix(row.want, "page ") {
					wantPage(t, r, row.want)
				} else {
					wantRefused(t, w, r, row.want)
				}
			}
		})
	}
}

// wantPage fails unless the reply is a page of ours that leads nowhere by itself.
func wantPage(t *testing.T, r *reply, want string) {
	t.Helper()
	if got := "page " + r.Status[:3]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if r.Header.Get("Location") != "" || r.Header.Get("Refresh") != "" || strings.Contains(r.text, "http-equiv") {
		t.Errorf("leads to %q by itself:\n%s", r.Header.Get("Location"), r.text)
	}
	if strings.Contains(strings.ToLower(r.text), "javascript:") || strings.Contains(r.text, "evil.example") {
		t.Errorf("the page repeats what it was sent:\n%s", r.text)
	}
	if !strings.Contains(r.text, "<h1>") || r.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("no page:\n%s", r.text)
	}
}

// wantRefused fails unless the reply tells the application the error code, as RFC 6749 §4.1.2.1 and RFC 9207 §2 have it.
func wantRefused(t *testing.T, w *world, r *reply, code string) {
	t.Helper()
	to, query := r.location(t)
	if r.StatusCode != http.StatusSeeOther || to != w.callback() {
		t.Fatalf("status %d to %q, want 303 to %q", r.StatusCode, to, w.callback())
	}
	if query.Get("error") != code || query.Get("iss") != w.URL || query.Get("state") != "the state" || query.Has("code") {
		t.Errorf("told %v, want error %s with iss and state", query, code)
	}
	// RFC 6749 §4.1.2.1: the characters of error_description.
	if strings.ContainsFunc(query.Get("error_description"), func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		t.Errorf("error_description %q", query.Get("error_description"))
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v", r.Header)
	}
}

func testAuthorizeAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients[0].RedirectURIs = append(c.Clients[0].RedirectURIs, "https://app.example/cb?tenant=a+b", "com.example.app:/cb")
	})
	b := w.login("Demo")
	for _, row := range []struct {
		name string
		edit func(url.Values)
		to   string
	}{
		{"OIDC Core §3.1.2.5: as it should be", nil, w.callback()},
		{"OIDC Core §3.1.2.1: unknown scopes are ignored", set("scope", "openid admin offline_access"), w.callback()},
		{"OIDC Core §3.1.2.1: unknown parameters are ignored", set("foo", "bar"), w.callback()},
		{"RFC 6749 §3.1: empty values count as left out", func(v url.Values) {
			for _, name := range []string{"prompt", "max_age", "request", "request_uri", "registration", "response_mode", "nonce", "ui_locales"} {
				v.Set(name, "")
			}
		}, w.callback()},
		{"OAuth Response Modes: query", set("response_mode", "query"), w.callback()},
		{"OIDC Core §3.1.2.1: prompt none with a session", set("prompt", "none"), w.callback()},
		{"OIDC Core §3.1.2.1: max_age far off", set("max_age", "2147483647"), w.callback()},
		{"RFC 6749 §4.1.2: odd state", set("state", "a b+c&d=e%41\"'<>;#\r\nSet-Cookie: x=1é\x00"), w.callback()},
		{"RFC 6749 §4.1.2: no state", unset("state"), w.callback()},
		{"RFC 6749 §3.1.2: the query of the redirect URI is kept", set("redirect_uri", "https://app.example/cb?tenant=a+b"), "https://app.example/cb"},
		{"RFC 8252 §7.1: private-use scheme", set("redirect_uri", "com.example.app:/cb"), "com.example.app:/cb"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			params := w.authParams()
			if row.edit != nil {
				row.edit(params)
			}
			r := w.authorize(params, b)
			to, query := r.location(t)
			if r.StatusCode != http.StatusSeeOther || to != row.to || query.Get("code") == "" || query.Has("error") {
				t.Fatalf("status %d to %q\n%s", r.StatusCode, r.Header.Get("Location"), r.text)
			}
			if query.Get("iss") != w.URL || query.Get("state") != params.Get("state") || query.Has("state") != params.Has("state") {
				t.Errorf("answered %v", query)
			}
			if strings.Contains(row.to, "app.example") && query.Get("tenant") != "a b" {
				t.Errorf("the redirect URI's own query became %v", query)
			}
			if len(r.Header.Values("Set-Cookie")) != 0 || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.Header)
			}
		})
	}
}

// OpenID Connect Core §3.1.2.1 wants POST too; its parameters are those of the body, and of nothing else.
func testAuthorizeByPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	cookie := func(r *http.Request) { r.Header.Set("Cookie", w.cookies(b)) }
	r := send(t, http.MethodPost, w.URL+"/authorize", w.authParams(), cookie)
	// The form may be ours, whose policy would stop a redirect to another site: a page leads on.
	if r.StatusCode != http.StatusOK || !strings.Contains(r.text, "url="+w.callback()+"?code=") {
		t.Errorf("POST: status %d, Location %q\n%s", r.StatusCode, r.Header.Get("Location"), r.text)
	}
	bad := w.authParams()
	bad.Set("scope", "profile")
	if r = send(t, http.MethodPost, w.URL+"/authorize", bad, nil); !strings.Contains(r.text, "url="+w.callback()+"?error=invalid_scope") {
		t.Errorf("POST of a bad request: status %d\n%s", r.StatusCode, r.text)
	}
	r = send(t, http.MethodPost, w.URL+"/authorize?"+w.authParams().Encode(), url.Values{"client_id": {"nobody"}}, cookie)
	wantPage(t, r, "page 400")
	r = send(t, http.MethodPost, w.URL+"/authorize?"+w.authParams().Encode(), url.Values{}, cookie)
	wantPage(t, r, "page 400")
	big := w.authParams()
	big.Set("state", strings.Repeat("x", 9<<10))
	if r = send(t, http.MethodPost, w.URL+"/authorize", big, cookie); r.StatusCode < 400 || r.StatusCode >= 500 {
		t.Errorf("9 KiB: status %d", r.StatusCode)
	}
	page := brokertest.NewBrowser(t).Post(w.URL+"/authorize", w.authParams(), "https://app.example/")
	shows(t, page, http.StatusOK, "Sign in to Test App", "Continue with Demo")
	page = page.Click("Demo")
	if !strings.HasPrefix(page.URL.String(), w.callback()+"?") || page.URL.Query().Get("state") != "the state" {
		t.Errorf("ends at %s", page.URL)
	}
}

// What does not fit is refused with a page that says so; it is never an error of ours.
func TestAuthorizeTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	for _, row := range []struct {
		name string
		edit func(url.Values)
	}{
		{"state of 3 KB", set("state", strings.Repeat("s", 3000))},
		{"nonce of 3 KB", set("nonce", strings.Repeat("n", 3000))},
		{"login_hint of 3 KB", set("login_hint", strings.Repeat("l", 3000))},
		{"a thousand parameters", func(v url.Values) {
			for i := range 1000 {
				v.Set("p"+strings.Repeat("x", i%7)+string(rune('a'+i%26)), "1")
			}
		}},
		{"state of 9 KB", set("state", strings.Repeat("s", 9000))},
		{"unknown parameter of 100 KB", set("foo", strings.Repeat("s", 100_000))},
	} {
		t.Run(row.name, func(t *testing.T) {
			params := w.authParams()
			row.edit(params)
			page := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + params.Encode())
			if page.Status == http.StatusOK {
				page = page.Click("Demo")
			}
			if page.Status != http.StatusRequestURITooLong && !strings.HasPrefix(page.URL.String(), w.callback()) {
				t.Errorf("status %d at %s\n%s", page.Status, page.URL.Path, page.Body)
			}
			if page.Status == http.StatusRequestURITooLong && !strings.Contains(page.Body, "Too much data") {
				t.Errorf("the page does not say why:\n%s", page.Body)
			}
			if r := w.authorize(params, b); r.StatusCode >= 500 {
				t.Errorf("with a session: status %d", r.StatusCode)
			}
		})
	}
}

// A page repeats what it was sent once for each provider: that is bounded.
func TestLoginTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/login?", "/broker/demo/login?", "/broker/demo/login?client_id=rp&"} {
		r := send(t, http.MethodGet, w.URL+path+"x="+strings.Repeat("x", 100_000), nil, nil)
		if r.StatusCode != http.StatusRequestURITooLong || len(r.text) > 10_000 {
			t.Errorf("%s: status %d, %d bytes", path, r.StatusCode, len(r.text))
		}
	}
	r := send(t, http.MethodPost, w.URL+"/login", url.Values{"email": {strings.Repeat("x", 50_000)}}, nil)
	if r.StatusCode != http.StatusRequestURITooLong || len(r.text) > 10_000 {
		t.Errorf("POST: status %d, %d bytes", r.StatusCode, len(r.text))
	}
}

// Row 42 and OpenID Connect Core §3.1.2.1: with prompt=none there is no page, not even one that says what went wrong.
func testPromptNoneShowsNoPage(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		edit func(*broker.Config)
		prep func(*world)
		want string
	}{
		{"a step wants to ask", func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "ask", Do: asker{}}} }, nil, "interaction_required"},
		{"the user is disabled", nil, func(w *world) {
			w.editUser("alice", func(u *store.User) { u.Disabled = true })
		}, "access_denied"},
		{"the account exists", nil, func(w *world) {
			w.deleteUser("alice")
			w.other.LoginAs("twin") // who is called alice there
			w.login("Other")
		}, "interaction_required"},
		{"the upstream lies", nil, func(w *world) { w.op.Break(providertest.NonceWrong) }, "login_required"},
		{"the upstream is down", nil, func(w *world) { w.op.Break(providertest.TokenDown) }, "login_required"},
		{"nothing is wrong", nil, nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.login("Demo")
			w.advance(24 * time.Hour) // only the upstream still knows who it is
			if row.prep != nil {
				row.prep(w)
			}
			w.reconfigure(func(c *broker.Config) {
				c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.AcceptPromptNone = true })
				if row.edit != nil {
					row.edit(c)
				}
			})
			w.rp.Params = url.Values{"prompt": {"none"}, "idp_hint": {"demo"}}
			page := b.Get(w.rp.LoginURL())
			if got := w.rp.Login(); got.Error != row.want || (got.Subject == "") != (row.want != "") {
				t.Errorf("error %q, want %q; at %s\n%s", got.Error, row.want, page.URL, page.Body)
			}
		})
	}
}

// asker is a step that shows a page.
type asker struct{}

func (asker) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Ask(flow.Page{Name: "login"}), nil
}

// CVE-2026-37980, CVE-2026-9086 and the stored and reflected script holes of the field: nothing that anybody sends is
// markup on a page.
func testPagesEscape(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>'<img src=x onerror=alert(1)>{{.}}javascript:alert(1)`
	w := newWorld(t, func(c *broker.Config) {
		c.Name = evil
		c.Clients[0].Name = evil
		c.Providers[0].Name = evil
		c.Providers[1].Domains = []string{"other.example"} // for the e-mail form
	})
	everywhere := w.authParams()
	for _, name := range []string{"state", "nonce", "login_hint", "ui_locales", "acr_values", "idp_hint", "idp_notice", "foo", evil} {
		everywhere.Set(name, evil)
	}
	everywhere.Set("idp_by_email", "1")
	paths := []string{
		"/authorize?" + everywhere.Encode(),
		"/authorize?" + url.Values{"client_id": {evil}, "redirect_uri": {evil}}.Encode(),
		"/authorize?" + url.Values{evil: {evil, evil}, "client_id": {"rp"}, "redirect_uri": {w.callback() + evil}}.Encode(),
		"/login?" + url.Values{"login_hint": {evil}, "idp_by_email": {"1"}, "ui_locales": {evil}, evil: {evil}}.Encode(),
		"/login?" + url.Values{"return_to": {"/" + url.PathEscape(evil)}}.Encode(),
		"/login?" + url.Values{"return_to": {evil}}.Encode(),
		"/logout?" + url.Values{"return_to": {"/?" + evil}}.Encode(),
		"/broker/" + url.PathEscape(evil) + "/login",
		"/broker/demo/endpoint?" + url.Values{"state": {evil}, "code": {evil}, "error": {evil}, "error_description": {evil}}.Encode(),
		"/flow/" + url.PathEscape(evil),
		"/" + url.PathEscape(evil) + "?" + url.QueryEscape(evil),
	}
	for _, path := range paths {
		page := brokertest.NewBrowser(t).Get(w.URL + path)
		for _, markup := range []string{"<script>alert", "<img src=x", "onerror=alert(1)>", `href="javascript`, `url=javascript`, `"><scr`} {
			if strings.Contains(page.Body, markup) {
				t.Errorf("%s: %q is in the page", path, markup)
			}
		}
		for _, link := range page.Links() {
			if strings.HasPrefix(strings.ToLower(strings.TrimSpace(link.URL)), "javascript:") {
				t.Errorf("%s: link to %q", path, link.URL)
			}
		}
		if page.Status >= 500 {
			t.Errorf("%s: status %d", path, page.Status)
		}
	}
	page := brokertest.NewBrowser(t).Get(w.URL + paths[0])
	shows(t, page, http.StatusOK, "&lt;script&gt;alert(1)&lt;/script&gt;")
}

// Behaviours §1.5 and OpenID Connect Core §3.1.2.1: which prompts use the session, and which do not.
func testAuthorizePrompts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	none := w.authParams()
	none.Set("prompt", "none")
	wantRefused(t, w, w.authorize(none, nil), "login_required")
	for _, prompt := range []string{"login", "select_account", "login consent"} {
		params := w.authParams()
		params.Set("prompt", prompt)
		if r := w.authorize(params, b); r.StatusCode != http.StatusOK || !strings.Contains(r.text, "Continue with Demo") {
			t.Errorf("prompt=%s: status %d to %q", prompt, r.StatusCode, r.Header.Get("Location"))
		}
	}
	zero := w.authParams()
	zero.Set("max_age", "0")
	w.advance(2e9)
	if r := w.authorize(zero, b); r.StatusCode != http.StatusOK {
		t.Errorf("max_age=0: status %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	zero.Set("prompt", "none")
	wantRefused(t, w, w.authorize(zero, b), "login_required")
}

// OpenID Connect Core §3.1.2.2: who was named by id_token_hint is the only one for whom there is a positive answer.
func testAuthorizeIDTokenHint(t *testing.T) {
	t.Parallel()
	w, foreign := newWorld(t, nil), newWorld(t, nil)
	alice := w.login("Demo")
	tokens := w.redeem(w.code(alice, nil), nil).tokens(t)
	theirs := foreign.redeem(foreign.code(foreign.login("Demo"), nil), nil).tokens(t)
	w.op.LoginAs("bob")
	bob := w.login("Demo")
	w.advance(10 * time.Minute) // it has expired, which is no matter (OpenID Connect RP-Initiated Logout §2 says so of its own)
	for _, row := range []struct {
		name, hint, prompt string
		browser            *brokertest.Browser
		want               string // the error; "" for a code, "page" for the login page
	}{
		{"alice's in alice's browser", tokens.IDToken, "none", alice, ""},
		{"alice's in alice's browser, with pages", tokens.IDToken, "", alice, ""},
		{"alice's in bob's browser", tokens.IDToken, "none", bob, "login_required"},
		{"alice's in bob's browser, with pages", tokens.IDToken, "", bob, "page"},
		{"another broker's", theirs.IDToken, "none", alice, "login_required"},
		{"an access token", tokens.AccessToken, "none", alice, "login_required"},
		{"junk", "junk", "none", alice, "login_required"},
		{"junk, with pages", "junk", "", alice, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			params := w.authParams()
			params.Set("prompt", row.prompt)
			params.Set("id_token_hint", row.hint)
			r := w.authorize(params, row.browser)
			_, query := r.location(t)
			if row.want == "page" {
				shows(t, &brokertest.Page{Status: r.StatusCode, Body: r.text}, http.StatusOK, "Continue with Demo")
				return
			}
			if query.Get("error") != row.want || query.Has("code") != (row.want == "") {
				t.Errorf("answered %v, want %q", query, row.want)
			}
		})
	}
	t.Run("bob signs in where alice is wanted", func(t *testing.T) {
		w.rp.Params = url.Values{"id_token_hint": {tokens.IDToken}, "idp_hint": {"demo"}}
		brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		if got := w.rp.Login(); got.Error != "login_required" || got.Subject != "" {
			t.Errorf("the application got %+v", got)
		}
		w.op.LoginAs("alice")
		brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		if got := w.rp.Login(); got.Subject != part(t, tokens.IDToken, 1)["sub"] {
			t.Errorf("the application got %+v", got)
		}
	})
}

// Row 41 and RFC 9700 §4.11: only what is listed reaches the upstream.
func TestAuthorizeDoesNotForwardItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.ForwardParams = []string{"hd"} })
	})
	params := w.authParams()
	params.Set("idp_hint", "demo")
	params.Set("hd", "example.com")
	r := w.authorize(params, nil)
	_, query := r.location(t)
	for _, name := range []string{"state", "nonce", "redirect_uri", "client_id", "code_challenge"} {
		if query.Get(name) == "" || query.Get(name) == params.Get(name) {
			t.Errorf("%s of the request to the upstream is %q", name, query.Get(name))
		}
	}
	if query.Get("redirect_uri") != brokertest.CallbackURL(w.URL, "demo") || query.Get("hd") != "example.com" {
		t.Errorf("sent %v", query)
	}
}

// i18n: the first known one of ui_locales, else Accept-Language, else English.
func TestLanguages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, row := range []struct{ accept, locales, want string }{
		{"", "", "en"}, {"de", "", "de"}, {"fr-CA, en;q=0.5", "", "fr"}, {"de", "fr", "fr"}, {"fr", "xx de", "de"}, {"fr", "xx", "fr"},
		{"*", "", "en"}, {"zz", "", "en"}, {"de;q=0, fr", "", "fr"}, {strings.Repeat("x,", 5000), "", "en"}, {"\x01", "\x00 <b>", "en"},
	} {
		params := w.authParams()
		params.Set("ui_locales", row.locales)
		r := send(t, http.MethodGet, w.URL+"/authorize?"+params.Encode(), nil, func(r *http.Request) {
			if row.accept != "" && row.accept[0] >= ' ' {
				r.Header.Set("Accept-Language", row.accept)
			}
		})
		if got := r.Header.Get("Content-Language"); got != row.want || !strings.Contains(r.text, `<html lang="`+row.want+`"`) {
			t.Errorf("Accept-Language %.20q, ui_locales %q: %q, want %q", row.accept, row.locales, got, row.want)
		}
		if !slices.Contains(r.Header.Values("Vary"), "Accept-Language") {
			t.Errorf("Vary is %v", r.Header.Values("Vary"))
		}
	}
	t.Run("through a whole login", func(t *testing.T) {
		w.op.Break(providertest.TokenDown)
		w.rp.Params = url.Values{"ui_locales": {"de"}, "idp_hint": {"demo"}}
		page := brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		if page.Header.Get("Content-Language") != "de" {
			t.Errorf("the error page after the upstream is in %q:\n%s", page.Header.Get("Content-Language"), page.Body)
		}
	})
}
