package broker_test

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// serve asks a handler as a program behind a proxy would, without any listener.
func serve(t testing.TB, h http.Handler, method, target string, form url.Values, edit func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// overHTTPS returns a broker at https://app.example/id with an upstream that always vouches.
func overHTTPS(t testing.TB, edit func(*broker.Config)) *broker.Broker {
	t.Helper()
	c := broker.Config{
		BaseURL: "https://app.example/id", Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")}, Store: memstore.New(),
		Providers: []broker.Provider{{Alias: "lax", IdP: laxUpstream{}}}, DefaultProvider: "lax",
	}
	if edit != nil {
		edit(&c)
	}
	b, err := broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cookiesOf(r *http.Response) string {
	var list []string
	for _, c := range r.Cookies() {
		if c.MaxAge >= 0 {
			list = append(list, c.Name+"="+c.Value)
		}
	}
	return strings.Join(list, "; ")
}

func withCookies(cookies string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Cookie", cookies) }
}

func TestSessionCookieFlags(t *testing.T) { // RFC 6265bis §4.1.3
	t.Parallel()
	b := overHTTPS(t, nil)
	away := serve(t, b, http.MethodGet, "https://app.example/id/login?return_to=/deep", nil, nil)
	back := serve(t, b, http.MethodGet, away.Header.Get("Location"), nil, withCookies(cookiesOf(away)))
	if back.StatusCode != http.StatusSeeOther || back.Header.Get("Location") != "https://app.example/deep" {
		t.Fatalf("status %d to %q", back.StatusCode, back.Header.Get("Location"))
	}
	n := 0
	for _, c := range append(away.Cookies(), back.Cookies()...) {
		n++
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("%s", c.Raw)
		}
		if c.MaxAge > 3600 || !c.Expires.IsZero() {
			t.Errorf("lives long: %s", c.Raw)
		}
	}
	if n != 3 { // the login under way, set and cleared, and the session
		t.Errorf("%d cookies", n)
	}
	// Over http the same names are nobody's: who can plant them has not planted ours.
	plain := strings.ReplaceAll(cookiesOf(back), "__Host-", "")
	if r := serve(t, b.RequireLogin(http.NotFoundHandler()), http.MethodGet, "/", nil, withCookies(plain)); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the prefix: status %d", r.StatusCode)
	}
	if r := serve(t, b.RequireLogin(http.NotFoundHandler()), http.MethodGet, "/", nil, withCookies(cookiesOf(back))); r.StatusCode != http.StatusNotFound {
		t.Errorf("the session itself: status %d", r.StatusCode)
	}
}

// sessionCookie returns the value of the browser's session cookie, "" if it has none.
func (w *world) sessionCookie(b *brokertest.Browser) string {
	return b.Cookies(w.URL)[w.cookieName("session")]
}

func TestSessionFixation(t *testing.T) { // CVE-2026-7507, Zitadel CVE-2024-28197
	t.Parallel()
	w := newWorld(t, nil)
	t.Run("a planted cookie is not adopted", func(t *testing.T) {
		for _, planted := range []string{"x", strings.Repeat("A", 26), "A.B", w.sessionCookie(w.login("Demo"))} {
			b := brokertest.NewBrowser(t)
			b.SetCookies(w.URL, map[string]string{w.cookieName("session"): planted})
			page := b.Get(w.URL + "/login?prompt=login").Click("Other")
			if page.Status != http.StatusOK || w.sessionCookie(b) == planted || w.sessionCookie(b) == "" {
				t.Errorf("planted %q: status %d, cookie %q", planted, page.Status, w.sessionCookie(b))
			}
			attacker := brokertest.NewBrowser(t)
			attacker.SetCookies(w.URL, map[string]string{w.cookieName("session"): planted})
			if w.signedIn(attacker) {
				t.Errorf("planted %q: it is a session now", planted)
			}
		}
	})
	t.Run("a new login changes the cookie and ends the old one", func(t *testing.T) {
		for _, name := range []string{"Demo", "Other"} { // the same user, and another
			b := w.login("Demo")
			old := w.sessionCookie(b)
			b.Get(w.URL + "/login?prompt=login").Click(name)
			if w.sessionCookie(b) == old || !w.signedIn(b) {
				t.Errorf("%s: cookie %q, before %q", name, w.sessionCookie(b), old)
			}
			thief := brokertest.NewBrowser(t)
			thief.SetCookies(w.URL, map[string]string{w.cookieName("session"): old})
			if w.signedIn(thief) {
				t.Errorf("%s: the old cookie still works", name)
			}
		}
	})
	t.Run("a proof that is asked for again changes the cookie", func(t *testing.T) {
		b := w.login("Demo")
		old, who := w.sessionCookie(b), b.Get(w.Origin+"/").Who()
		b.Get(w.URL + "/login?again=" + who.ID + "&return_to=/").Click("Demo")
		if w.sessionCookie(b) == old || !w.signedIn(b) {
			t.Errorf("cookie %q, before %q", w.sessionCookie(b), old)
		}
		wantDead(t, w, old)
	})
	t.Run("a login that links has a cookie of its own", func(t *testing.T) {
		l := newLinkWorld(t, noMailer)
		l.op.LoginAs("bob")
		planted := l.sessionCookie(l.login("Demo"))
		b := brokertest.NewBrowser(t)
		b.SetCookies(l.URL, map[string]string{l.cookieName("session"): planted})
		l.other.LoginAs("alice")
		page := b.Get(l.URL + "/login?prompt=login&return_to=/deep").Click("Other").Submit(press("link")).Submit(press("another"))
		page = page.Submit(answer("alice", password))
		if who := page.Who(); who.ID != l.alice.ID || l.sessionCookie(b) == planted {
			t.Errorf("signed in as %+v, cookie %q", who, l.sessionCookie(b))
		}
		wantDead(t, l.world, planted)
	})
	t.Run("no part of it is enough", func(t *testing.T) {
		b := w.login("Demo")
		good := w.sessionCookie(b)
		who := b.Get(w.Origin + "/").Who()
		fakes := []string{who.Session, who.Session + ".", "." + who.Session, good + "A", good + ".", strings.ToLower(good), who.Session + "." + who.Session}
		for i := range good {
			fakes = append(fakes, good[:i], twin(good, i))
		}
		for _, fake := range fakes {
			r := send(t, http.MethodGet, w.Origin+"/", nil, withCookies(w.cookieName("session")+"="+fake))
			if r.StatusCode != http.StatusUnauthorized {
				t.Errorf("%q of %q: status %d", fake, good, r.StatusCode)
			}
		}
		if r := send(t, http.MethodGet, w.Origin+"/", nil, withCookies(w.cookieName("session")+"="+good+"; "+w.cookieName("session")+"="+good)); r.StatusCode != 401 {
			t.Errorf("the cookie twice: status %d", r.StatusCode)
		}
	})
}

// wantDead tries the cookie of a session that is no more.
func wantDead(t *testing.T, w *world, cookie string) {
	t.Helper()
	thief := brokertest.NewBrowser(t)
	thief.SetCookies(w.URL, map[string]string{w.cookieName("session"): cookie})
	if w.signedIn(thief) {
		t.Error("the old cookie still works")
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*world, *brokertest.Browser) {
		w := newWorld(t, func(c *broker.Config) { c.SessionLifetime, c.SessionIdle = 2*time.Hour, 20*time.Minute })
		return w, w.login("Demo")
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		w, b := start(t)
		w.advance(19 * time.Minute)
		if !w.signedIn(b) {
			t.Error("ended before its time")
		}
		w.advance(19 * time.Minute)
		if !w.signedIn(b) {
			t.Error("using it does not keep it")
		}
		w.advance(21 * time.Minute)
		if w.signedIn(b) {
			t.Error("still there")
		}
	})
	t.Run("absolutely", func(t *testing.T) {
		t.Parallel()
		w, b := start(t)
		for range 7 {
			w.advance(17 * time.Minute)
			if !w.signedIn(b) {
				t.Fatal("ended before its time")
			}
		}
		w.advance(2 * time.Minute)
		if w.signedIn(b) {
			t.Error("still there after two hours")
		}
	})
	for name, off := range map[string]func(*world){
		"user disabled":     func(w *world) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) },
		"user deleted":      func(w *world) { w.deleteUser("alice") },
		"provider disabled": func(w *world) { w.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = true }) },
		"provider removed":  func(w *world) { w.reconfigure(func(c *broker.Config) { c.Providers = c.Providers[1:] }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, b := start(t)
			off(w)
			if w.signedIn(b) {
				t.Error("still there")
			}
		})
	}
	t.Run("a disabled user cannot come back", func(t *testing.T) { // row 53
		t.Parallel()
		w, b := start(t)
		w.editUser("alice", func(u *store.User) { u.Disabled = true })
		shows(t, b.Get(w.Origin+"/").Click("Demo"), http.StatusForbidden, "Your account is blocked")
		shows(t, brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Click("Demo"), http.StatusForbidden, "Your account is blocked", "Back to Test App")
	})
}

func TestLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	t.Run("asks, and ends the session at once", func(t *testing.T) {
		b := w.login("Demo")
		old := w.sessionCookie(b)
		page := b.Get(w.URL + "/logout?return_to=/bye")
		if page.Status != http.StatusOK || !w.signedIn(b) {
			t.Fatalf("a link has signed somebody out: status %d", page.Status)
		}
		page = page.Submit(nil)
		shows(t, page, http.StatusOK, "You are signed out", w.Origin+"/bye")
		thief := brokertest.NewBrowser(t)
		thief.SetCookies(w.URL, map[string]string{w.cookieName("session"): old})
		if w.signedIn(b) || w.signedIn(thief) || w.sessionCookie(b) != "" {
			t.Error("still signed in")
		}
		shows(t, b.Get(w.URL+"/logout"), http.StatusOK, "You are signed out")
		shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK, "You are signed out")
	})
	own := w.Origin
	for _, row := range []struct {
		name   string
		header map[string]string
		status int
	}{
		{"from our page", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": own}, 200},
		{"from our page, in an old browser", map[string]string{"Origin": own}, 200},
		{"typed in", map[string]string{"Sec-Fetch-Site": "none"}, 200},
		{"by a program", nil, 200},
		{"behind a proxy: our origin, another Host", map[string]string{"Origin": own, "Host": "10.0.0.1:8080"}, 200},
		{"behind a proxy: our origin and site, another Host", map[string]string{"Origin": own, "Host": "10.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}, 200},
		{"cross-site", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		{"cross-site without an origin", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"same site, another origin", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://sibling.example"}, 403},
		{"another origin, in an old browser", map[string]string{"Origin": "https://evil.example"}, 403},
		{"another port, in an old browser", map[string]string{"Origin": "http://127.0.0.1:1"}, 403},
		{"origin null", map[string]string{"Origin": "null"}, 403},
		{"origin that begins like ours", map[string]string{"Origin": own + ".evil.example"}, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := w.login("Demo")
			for _, path := range []string{"/logout", "/login", "/flow/x"} {
				r := send(t, http.MethodPost, w.URL+path, url.Values{"email": {"x@unknown.example"}}, func(r *http.Request) {
					r.Header.Set("Cookie", w.cookies(b))
					for name, value := range row.header {
						if r.Header.Set(name, value); name == "Host" {
							r.Host = value
						}
					}
				})
				if (r.StatusCode == http.StatusForbidden) != (row.status == http.StatusForbidden) {
					t.Errorf("%s: status %d, want %d\n%s", path, r.StatusCode, row.status, r.text)
				}
			}
			if w.signedIn(b) != (row.status == http.StatusForbidden) {
				t.Errorf("signed in: %v", w.signedIn(b))
			}
		})
	}
}

func TestRequireLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	html := http.Header{"Accept": {"text/html,application/xhtml+xml"}}
	for _, row := range []struct {
		name     string
		method   string
		header   http.Header
		redirect bool
	}{
		{"a browser opens a page", http.MethodGet, http.Header{"Accept": html["Accept"], "Sec-Fetch-Mode": {"navigate"}}, true},
		{"an old browser opens a page", http.MethodGet, html, true},
		{"HEAD of a page", http.MethodHead, html, true},
		{"POST of a page", http.MethodPost, html, false},
		{"POST by navigation", http.MethodPost, http.Header{"Accept": html["Accept"], "Sec-Fetch-Mode": {"navigate"}}, false},
		{"PUT", http.MethodPut, html, false},
		{"fetch", http.MethodGet, http.Header{"Accept": {"*/*"}, "Sec-Fetch-Mode": {"cors"}}, false},
		{"fetch that wants HTML", http.MethodGet, http.Header{"Accept": html["Accept"], "Sec-Fetch-Mode": {"same-origin"}}, false},
		{"an image", http.MethodGet, http.Header{"Accept": {"image/*"}, "Sec-Fetch-Mode": {"no-cors"}}, false},
		{"JSON", http.MethodGet, http.Header{"Accept": {"application/json"}}, false},
		{"a program", http.MethodGet, nil, false},
		{"a web socket", http.MethodGet, http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Fetch-Mode": {"websocket"}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := send(t, row.method, w.Origin+"/deep/page?a=b%26c&d=%2F", nil, func(r *http.Request) { maps.Copy(r.Header, row.header) })
			to, query := r.location(t)
			if !row.redirect {
				if r.StatusCode != http.StatusUnauthorized || to != "" || strings.Contains(r.text, "alice") {
					t.Errorf("status %d to %q", r.StatusCode, to)
				}
				return
			}
			if r.StatusCode != http.StatusSeeOther || to != w.URL+"/login" || query.Get("return_to") != "/deep/page?a=b%26c&d=%2F" {
				t.Errorf("status %d to %q %v", r.StatusCode, to, query)
			}
			if r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.Header)
			}
		})
	}
	t.Run("comes back to the very page", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"/deep/page?a=b%26c&d=%2F&e=+", "/%C3%A9/%2F/x", "/a;b", "/?", "/x?return_to=//evil.example"} {
			page := brokertest.NewBrowser(t).Get(w.Origin + path).Click("Other")
			if page.Status != http.StatusOK || page.Who().Path != strings.TrimSuffix(path, "?") && page.Who().Path != path {
				t.Errorf("%s: status %d, came to %s", path, page.Status, page.URL)
			}
		}
	})
	t.Run("a path that looks like another host leads nowhere", func(t *testing.T) {
		t.Parallel()
		h := w.Broker.RequireLogin(http.NotFoundHandler())
		for _, target := range []string{"//evil.example/x", `/\evil.example`, "/%5cevil.example", "/%2f%2fevil.example", "//evil.example:80/%0d%0a"} {
			r := serve(t, h, http.MethodGet, "/", nil, func(r *http.Request) {
				r.Header = html.Clone()
				r.RequestURI = target
			})
			to, err := url.Parse(r.Header.Get("Location"))
			if err != nil || !strings.HasPrefix(to.String(), w.URL+"/login?") {
				t.Fatalf("%s leads to %s", target, to)
			}
			next := send(t, http.MethodGet, to.String(), nil, nil)
			if strings.HasPrefix(next.Header.Get("Location"), "http") {
				t.Errorf("%s leads to %q", target, next.Header.Get("Location"))
			}
		}
	})
	t.Run("UserFrom tells nothing elsewhere", func(t *testing.T) {
		t.Parallel()
		if user, ok := broker.UserFrom(t.Context()); ok || user != nil {
			t.Errorf("%v %v", user, ok)
		}
		if session, ok := broker.SessionFrom(t.Context()); ok || session != nil {
			t.Errorf("%v %v", session, ok)
		}
		serve(t, w.Broker.Sessions(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, ok := broker.UserFrom(r.Context()); ok {
				t.Error("somebody is there")
			}
		})), http.MethodGet, "/", nil, nil)
	})
	t.Run("what a handler does to the user stays with it", func(t *testing.T) {
		t.Parallel()
		b := w.login("Other")
		serve(t, w.Broker.Sessions(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			user, ok := broker.UserFrom(r.Context())
			if !ok {
				t.Fatal("nobody is there")
			}
			user.Username, user.Disabled = "changed", true
		})), http.MethodGet, "/", nil, withCookies(w.cookies(b)))
		if who := b.Get(w.Origin + "/").Who(); who.Username != "carol" {
			t.Errorf("user is %q now", who.Username)
		}
	})
}

// returnToAttacks are values that some browser or parser takes for another site, or that have no business in a header.
func returnToAttacks(origin string) []string {
	host := strings.TrimPrefix(origin, "http://")
	return []string{
		"//evil.example", "///evil.example", "////evil.example", `/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`,
		"https:evil.example", "https:/evil.example", "https:///evil.example", "http:evil.example", "https://evil.example", "http://evil.example",
		"HTTP://EVIL.EXAMPLE", "ftp://" + host, "ws://" + host, "https://" + host, "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)",
		"data:text/html,x", "vbscript:x", "blob:" + origin + "/x", "view-source:" + origin,
		"%2f%2fevil.example", "%5cevil.example", "%09//evil.example", "evil.example", "evil.example/path", ".", "..", "*",
		"/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/\r\nSet-Cookie: x=1", "/x\x00", "/x\x7f", "/x y",
		"http://user@" + host, "http://user:pass@" + host + "/", "http://" + host + "@evil.example/", "http://evil.example@" + host + "/",
		"http://" + host + `\@evil.example`, "http://" + host + ".evil.example", "http://" + host + ":80", "http://127.0.0.1:1/", "http://127.0.0.1/",
		"http://localhost" + host[strings.IndexByte(host, ':'):] + "/", "http://" + host + "%2f@evil.example", "http://[::1]/", "http://" + host + "1/",
		origin + "//evil.example", "http:" + "//", "://", "http://", "//" + host, "/%zz",
	}
}

func testReturnTo(t *testing.T) { // CWE-601
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Other")
	for _, target := range returnToAttacks(w.Origin) {
		query := "return_to=" + url.QueryEscape(target)
		for _, path := range []string{"/login?", "/broker/demo/login?", "/logout?"} {
			for _, cookies := range []string{"", w.cookies(b)} {
				r := send(t, http.MethodGet, w.URL+path+query, nil, withCookies(cookies))
				if r.StatusCode != http.StatusBadRequest || r.Header.Get("Location") != "" || strings.Contains(r.text, "evil.example") {
					t.Errorf("%s of %q: status %d to %q", path, target, r.StatusCode, r.Header.Get("Location"))
				}
			}
		}
		r := send(t, http.MethodPost, w.URL+"/logout", url.Values{"return_to": {target}}, withCookies(w.cookies(b)))
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("POST /logout to %q: status %d", target, r.StatusCode)
		}
	}
	if !w.signedIn(b) {
		t.Error("a refused logout has signed somebody out")
	}
	for target, want := range map[string]string{
		"/": "/", "/x?y=z#f": "/x?y=z#f", "": "/", w.Origin: "/", w.Origin + "/x": "/x", "/é": "/%C3%A9", "/x?u=//evil.example": "/x?u=//evil.example",
		"/a/../b": "/a/../b", "/%2f%2fevil.example": "/%2f%2fevil.example",
		"?x": "/?x", "#x": "/#x",
	} {
		r := send(t, http.MethodGet, w.URL+"/login?return_to="+url.QueryEscape(target), nil, withCookies(w.cookies(b)))
		if got := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || got != w.Origin+want {
			t.Errorf("%q leads to %q, want %q (status %d)", target, got, w.Origin+want, r.StatusCode)
		}
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	var spy *spyStore
	w := newWorld(t, func(c *broker.Config) {
		if spy == nil {
			spy = &spyStore{Store: c.Store}
		}
		c.Store = spy
	})
	b := w.login("Demo")
	token := w.redeem(w.code(b, nil), nil).tokens(t).AccessToken
	code := w.code(b, nil)
	callback := stopped(t)
	ready := w.ready(callback, "other")
	const secret = "dial tcp 10.1.2.3:5432: password s3cr3t"
	spy.hook = func(string) error { return errors.New(secret) }
	for name, r := range map[string]*reply{
		"RequireLogin": send(t, http.MethodGet, w.Origin+"/", nil, withCookies(w.cookies(b))),
		"login":        send(t, http.MethodGet, w.URL+"/login", nil, withCookies(w.cookies(b))),
		"logout":       send(t, http.MethodPost, w.URL+"/logout", url.Values{}, withCookies(w.cookies(b))),
		"authorize":    w.authorize(w.authParams(), b),
		"token":        w.redeem(code, nil),
		"userinfo":     w.userinfo(token),
		"callback":     send(t, http.MethodGet, ready, nil, withCookies(w.cookies(callback))),
	} {
		if r.StatusCode < 500 || r.Header.Get("Location") != "" || strings.Contains(r.text, "s3cr3t") || strings.Contains(r.text, "alice") {
			t.Errorf("%s: status %d to %q\n%s", name, r.StatusCode, r.Header.Get("Location"), r.text)
		}
		if name == "RequireLogin" && r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d, want 503", name, r.StatusCode)
		}
	}
	// Nobody is let in, and nobody is sent away, while it cannot be known who it is.
	spy.hook = nil
	if !w.signedIn(b) {
		t.Error("a failing store has signed somebody out")
	}
	w.redeem(code, nil).tokens(t)
	t.Run("at each call of a login", func(t *testing.T) {
		var calls []string
		spy.hook = func(call string) error { calls = append(calls, call); return nil }
		w.op.LoginAs("bob")
		w.login("Demo")
		if !slices.Contains(calls, "commit login") {
			t.Fatalf("calls %v", calls)
		}
		for i := range calls {
			n := 0
			spy.hook = func(string) error {
				if n++; n == i+1 {
					return errors.New(secret)
				}
				return nil
			}
			page := brokertest.NewBrowser(t).Get(w.URL + "/broker/demo/login")
			if page.Status != http.StatusOK && page.Status < 500 || strings.Contains(page.Body, "s3cr3t") {
				t.Errorf("failing at %s: status %d at %s", calls[i], page.Status, page.URL)
			}
		}
		spy.hook = nil
		if w.users("bob") != 1 {
			t.Errorf("%d users", w.users("bob"))
		}
	})
}
