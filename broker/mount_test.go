package broker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// The broker works at any path, kept or stripped by what it is mounted on, and says the same URLs everywhere.
func TestMounting(t *testing.T) {
	t.Parallel()
	const host = "https://app.example"
	for _, row := range []struct {
		name  string
		base  string
		mount func(h http.Handler, base string) http.Handler
	}{
		{"at a path", "/id", func(h http.Handler, base string) http.Handler {
			mux := http.NewServeMux()
			mux.Handle(base+"/", h)
			return mux
		}},
		{"at a path, stripped", "/id", func(h http.Handler, base string) http.Handler {
			mux := http.NewServeMux()
			mux.Handle(base+"/", http.StripPrefix(base, h))
			return mux
		}},
		{"at the root", "", func(h http.Handler, _ string) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", h)
			return mux
		}},
		{"without a mux", "/id", func(h http.Handler, _ string) http.Handler { return h }},
		{"deeper", "/a/b/id", func(h http.Handler, base string) http.Handler {
			mux := http.NewServeMux()
			mux.Handle(base+"/", h)
			return mux
		}},
		{"deeper, stripped in two steps", "/a/b/id", func(h http.Handler, _ string) http.Handler {
			inner := http.NewServeMux()
			inner.Handle("/b/id/", http.StripPrefix("/b/id", h))
			mux := http.NewServeMux()
			mux.Handle("/a/", http.StripPrefix("/a", inner))
			return mux
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			base := host + row.base
			h := row.mount(overHTTPS(t, func(c *broker.Config) { c.BaseURL = base }), row.base)
			for path, status := range map[string]int{
				"/login": 303, "/logout": 200, "/jwks": 200, "/.well-known/openid-configuration": 200, "/userinfo": 401, "/authorize": 400,
				"/token": 405, "/broker/lax/login": 303, "/broker/lax/endpoint": 400, "/static/style.css": 200, "/": 303, "/nothing": 404, "/icon/lax": 404,
			} {
				r := serve(t, h, http.MethodGet, base+path, nil, nil)
				if r.StatusCode != status {
					t.Errorf("%s: status %d, want %d", path, r.StatusCode, status)
				}
				if to := r.Header.Get("Location"); to != "" && !strings.HasPrefix(to, base+"/") {
					t.Errorf("%s leads to %s", path, to)
				}
			}
			away := serve(t, h, http.MethodGet, base+"/login?return_to=/x", nil, nil)
			if to := away.Header.Get("Location"); !strings.HasPrefix(to, base+"/broker/lax/endpoint?") {
				t.Fatalf("redirect_uri is in %s", to)
			}
			back := serve(t, h, http.MethodGet, away.Header.Get("Location"), nil, withCookies(cookiesOf(away)))
			if back.StatusCode != http.StatusSeeOther || back.Header.Get("Location") != host+"/x" {
				t.Errorf("callback: status %d to %s", back.StatusCode, back.Header.Get("Location"))
			}
		})
	}
}

// Row 57; Zitadel CVE-2025-64101, oauth2-proxy CVE-2026-40575, CVE-2025-64484: no header decides a URL.
func TestHeadersDecideNoURL(t *testing.T) {
	t.Parallel()
	b := overHTTPS(t, func(c *broker.Config) {
		c.DefaultProvider = ""
		c.Providers[0].Domains = []string{"lax.example"}
	})
	app := b.RequireLogin(http.NotFoundHandler())
	get := func(h http.Handler, target string, header map[string]string) string {
		r := serve(t, h, http.MethodGet, target, nil, func(r *http.Request) {
			r.Header.Set("Accept", "text/html")
			for name, value := range header {
				r.Header[name] = []string{value} // as it came, underscores included
				if name == "Host" {
					r.Host = value
				}
			}
		})
		var body strings.Builder
		if _, err := fmt.Fprint(&body, r.Header.Get("Location"), " ", r.StatusCode, " "); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 1<<20)
		n, _ := r.Body.Read(text)
		body.Write(text[:n])
		return regexp.MustCompile(`state=[A-Z2-7]{26}|<code>[A-Z2-7]{16}</code>`).ReplaceAllString(body.String(), "")
	}
	targets := []string{
		"https://app.example/id/login", "https://app.example/id/logout", "https://app.example/id/broker/lax/login", "https://app.example/id/",
		"https://app.example/id/nothing", "https://app.example/id/broker/lax/endpoint?state=x", "https://app.example/id/.well-known/openid-configuration",
	}
	for _, header := range []map[string]string{
		{"Host": "evil.example"}, {"Host": "app.example:8443"}, {"Host": "app.example@evil.example"}, {"Host": ""},
		{"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Proto": "http"}, {"X-Forwarded-Port": "8443"}, {"X-Forwarded-Prefix": "/evil"},
		{"X-Forwarded-For": "10.0.0.1"}, {"X-Forwarded-Server": "evil.example"}, {"X-Forwarded-Scheme": "http"}, {"X-Forwarded-Uri": "/evil"},
		{"Forwarded": "for=1.2.3.4;host=evil.example;proto=http"}, {"X-Original-Url": "/evil"}, {"X-Rewrite-Url": "/evil"}, {"X-Host": "evil.example"},
		{"X-Original-Host": "evil.example"}, {"X_Forwarded_Host": "evil.example"}, {"Referer": "https://evil.example/"}, {"Origin": "https://evil.example"},
		{"X-Http-Method-Override": "POST"}, {"X-Request-Id": "chosen-by-a-stranger"}, {"X-Forwarded-User": "admin"}, {"X-Remote-User": "admin"},
	} {
		for _, target := range targets {
			if got, want := get(b, target, header), get(b, target, nil); got != want {
				t.Errorf("%v: %s differs:\n%s\nfrom\n%s", header, target, got, want)
			}
		}
		if got, want := get(app, "https://app.example/page", header), get(app, "https://app.example/page", nil); got != want {
			t.Errorf("%v: RequireLogin says %s, without it %s", header, got, want)
		}
	}
}

func TestUncleanPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{
		"//", "//login", "/login/", "/login//", "/./login", "/x/../login", "/login/..", "/..", "/../login", "/..;/login", "/login;x=1", "/login%00", "/LOGIN",
		"/%6cogin%2f", "/login%2f", "/%2e%2e/login", "/%2e/login", "/broker//login", "/broker/%2e%2e/login", "/broker/../login",
		"/broker/demo/login/", "/broker/demo/endpoint/x", "/static/", "/static/../login", "/static/%2e%2e%2ftemplates%2flogin.html", "/static/..%5clogin",
		"/icon/", "/icon/..%2f..%2fetc%2fpasswd", "/flow/", "/flow/a/b", "/.well-known/", "/.well-known/openid-configuration/", "/nothing", "/token/x", "/*", "/%ff",
		"/" + strings.Repeat("a/", 2000), "/" + strings.Repeat("%2e%2e/", 500), "/authorize.json", "/debug/pprof/", "/{alias}", "/login?x#y/../..",
	} {
		r := serve(t, w.Broker, http.MethodGet, "http://127.0.0.1/", nil, func(r *http.Request) {
			u, err := url.Parse(w.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			r.URL, r.RequestURI = u, u.RequestURI()
		})
		if path == "/login?x#y/../.." {
			if r.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d", path, r.StatusCode)
			}
			continue
		}
		if r.StatusCode != http.StatusNotFound || r.Header.Get("Location") != "" {
			t.Errorf("%.60s: status %d to %q", path, r.StatusCode, r.Header.Get("Location"))
		}
	}
	for _, target := range []string{"", "*", "id", "/idlogin", "/id", "/ID/login", "http://evil.example/id/x"} {
		r := serve(t, w.Broker, http.MethodGet, "http://127.0.0.1/", nil, func(r *http.Request) {
			r.URL = &url.URL{Path: target}
		})
		if r.StatusCode >= 500 || strings.Contains(r.Header.Get("Location"), "evil") {
			t.Errorf("%q: status %d to %q", target, r.StatusCode, r.Header.Get("Location"))
		}
	}
}

func TestMethods(t *testing.T) { // RFC 9110 §9.3.2 and §15.5.6
	t.Parallel()
	w := newWorld(t, nil)
	all := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"}
	for path, allow := range map[string]string{
		"/login": "GET, POST", "/logout": "GET, POST", "/broker/demo/login": "GET", "/flow/x": "GET, POST", "/icon/demo": "GET", "/static/style.css": "GET",
		"/broker/demo/endpoint": "GET, POST", "/.well-known/openid-configuration": "GET, OPTIONS", "/jwks": "GET, OPTIONS", "/authorize": "GET, POST", "/token": "OPTIONS, POST",
		"/userinfo": "GET, OPTIONS, POST",
	} {
		for _, method := range all {
			r := send(t, method, w.URL+path, nil, nil)
			known := slices.Contains(strings.Split(allow, ", "), method) || method == "HEAD" && strings.Contains(allow, "GET")
			if (r.StatusCode == http.StatusMethodNotAllowed) == known {
				t.Errorf("%s %s: status %d", method, path, r.StatusCode)
			}
			if !known && r.Header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, r.Header.Get("Allow"), allow)
			}
			if method == "HEAD" && r.text != "" {
				t.Errorf("HEAD %s has a body", path)
			}
			if r.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s %s has no request id", method, path)
			}
		}
	}
}

// Every page has the strict headers, whatever it says; and each request has an id, which error pages show.
func testPageHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].Icon = []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)
	})
	b := w.login("Demo")
	pages := map[string]*reply{
		"login":     send(t, http.MethodGet, w.URL+"/login", nil, nil),
		"authorize": w.authorize(w.authParams(), nil),
		"refusal":   send(t, http.MethodGet, w.URL+"/authorize", nil, nil),
		"logout":    send(t, http.MethodGet, w.URL+"/logout", nil, withCookies(w.cookies(b))),
		"signedout": send(t, http.MethodGet, w.URL+"/logout", nil, nil),
		"expired":   send(t, http.MethodGet, w.URL+"/flow/x", nil, nil),
		"callback":  send(t, http.MethodGet, w.URL+"/broker/demo/endpoint?state=x", nil, nil),
		"not found": send(t, http.MethodGet, w.URL+"/nothing", nil, nil),
		"method":    send(t, http.MethodDelete, w.URL+"/login", nil, nil),
		"cross":     send(t, http.MethodPost, w.URL+"/logout", url.Values{}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
	}
	ids := map[string]bool{}
	for name, r := range pages {
		policy := r.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: policy %q lacks %s", name, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") || strings.Contains(policy, "*") {
			t.Errorf("%s: policy %q", name, policy)
		}
		for header, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8",
			"Referrer-Policy": "strict-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if r.Header.Get(header) != want {
				t.Errorf("%s: %s is %q, want %q", name, header, r.Header.Get(header), want)
			}
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins may read it", name)
		}
		id := r.Header.Get("X-Request-Id")
		if id == "" || ids[id] {
			t.Errorf("%s: request id %q", name, id)
		}
		ids[id] = true
		if r.StatusCode >= 400 && !strings.Contains(r.text, id) {
			t.Errorf("%s: the page does not show the request id", name)
		}
		if strings.Contains(r.text, "<script") || strings.Contains(r.text, " style=") || regexp.MustCompile(`\son[a-z]+=`).MatchString(r.text) {
			t.Errorf("%s: there is something inline:\n%s", name, r.text)
		}
	}
	icon := send(t, http.MethodGet, w.URL+"/icon/demo", nil, nil)
	if icon.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(icon.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("icon: %v", icon.Header)
	}
	for _, wrong := range []string{"/icon/other", "/icon/nobody"} {
		if r := send(t, http.MethodGet, w.URL+wrong, nil, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", wrong, r.StatusCode)
		}
	}
}

// Two brokers in one process do not take each other's cookies, codes or tokens for their own.
func TestTwoBrokers(t *testing.T) {
	t.Parallel()
	shared := memstore.New()
	one := overHTTPS(t, func(c *broker.Config) { c.Store = shared })
	two := overHTTPS(t, func(c *broker.Config) { c.Secrets = [][]byte{[]byte("another secret: again 32 bytes!!")} })
	away := serve(t, one, http.MethodGet, "https://app.example/id/login", nil, nil)
	r := serve(t, two, http.MethodGet, away.Header.Get("Location"), nil, withCookies(cookiesOf(away)))
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("another broker's pending login: status %d", r.StatusCode)
	}
	// A node with a newer secret before the shared one goes on with what the other one began.
	rotated := overHTTPS(t, func(c *broker.Config) {
		c.Store, c.Secrets = shared, [][]byte{[]byte("a newer secret: 32 bytes of them"), c.Secrets[0]}
	})
	r = serve(t, rotated, http.MethodGet, away.Header.Get("Location"), nil, withCookies(cookiesOf(away)))
	if r.StatusCode != http.StatusSeeOther {
		t.Errorf("another node's pending login: status %d", r.StatusCode)
	}
	r = serve(t, one.RequireLogin(http.NotFoundHandler()), http.MethodGet, "/", nil, withCookies(cookiesOf(r)))
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("another node's session: status %d", r.StatusCode)
	}
}

// A browser sends the cookies of every port of a host: two brokers of one developer do not sign each other's users out.
func TestBrokersOnOneHost(t *testing.T) {
	t.Parallel()
	one, two := newWorld(t, nil), newWorld(t, nil)
	b := one.login("Demo")
	shows(t, b.Get(two.Origin+"/").Click("Demo"), http.StatusOK)
	for _, w := range []*world{one, two} {
		if page := b.Get(w.Origin + "/"); page.Status != http.StatusOK || page.Who().Username != "alice" {
			t.Errorf("%s: status %d at %s", w.Origin, page.Status, page.URL)
		}
	}
	b.Get(two.URL + "/logout").Submit(nil)
	if page := b.Get(one.Origin + "/"); page.Status != http.StatusOK || page.URL.Path != "/" {
		t.Errorf("signing out of one signs out of the other: at %s", page.URL)
	}
}

// A handler of the host that flushes, hijacks or panics meets the ResponseWriter that it expects.
func TestHostKeepsItsResponseWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	flushed := false
	server := httptest.NewServer(w.Broker.RequireLogin(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		flushed = http.NewResponseController(rw).Flush() == nil
	})))
	defer server.Close()
	r := send(t, http.MethodGet, server.URL, nil, withCookies(w.cookies(b)))
	if r.StatusCode != http.StatusOK || !flushed {
		t.Errorf("status %d, flushed %v", r.StatusCode, flushed)
	}
}
