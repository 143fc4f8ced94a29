package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

const spa = "https://spa.example"

// crossOrigin starts a world with an application that has pages on spa, and another one whose pages are elsewhere.
func crossOrigin(t *testing.T) *world {
	t.Helper()
	return newWorld(t, func(c *broker.Config) {
		c.Clients[0].Origins = []string{spa}
		c.Clients = append(c.Clients, store.Client{
			ID: "another", AuthMethod: store.AuthNone, Origins: []string{"https://another.example"}, RedirectURIs: c.Clients[0].RedirectURIs,
		}, store.Client{
			ID: "off", AuthMethod: store.AuthNone, Disabled: true, Origins: []string{"https://off.example"},
			RedirectURIs: c.Clients[0].RedirectURIs,
		})
	})
}

func from(origin string, more func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		if more != nil {
			more(r)
		}
		r.Header.Set("Origin", origin)
	}
}

// readable reports whether the page of the origin may read the reply, also when it sent credentials.
func readable(t *testing.T, r *reply, origin string) bool {
	t.Helper()
	h := r.Header
	got := h.Get("Access-Control-Allow-Origin")
	if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("Vary %q", h.Values("Vary"))
	}
	if got == "*" || got != "" && got != origin || (got != "") != (h.Get("Access-Control-Allow-Credentials") == "true") {
		t.Errorf("for %s: headers %v", origin, h)
	}
	return got != ""
}

// notOrigins are what the page of no client sends (casdoor CVE-2024-41657).
var notOrigins = []string{
	"null", "*", "", "https://evil.example", "http://spa.example", "https://spa.example:8443", "https://spa.example.evil.example",
	"https://evil.spa.example", "https://evilspa.example", "https://SPA.example", "https://spa.example/", "https://user@spa.example", "https://off.example",
}

func TestCORSPreflight(t *testing.T) { // Fetch §3.3.5
	t.Parallel()
	w := crossOrigin(t)
	preflight := func(path, origin string) *reply {
		return send(t, http.MethodOptions, w.URL+path, nil, from(origin, func(r *http.Request) {
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,dpop")
		}))
	}
	for _, path := range []string{"/token", "/userinfo", "/par"} {
		for _, origin := range []string{spa, "https://another.example"} {
			r := preflight(path, origin)
			allowed := strings.ToLower(r.Header.Get("Access-Control-Allow-Headers"))
			if !readable(t, r, origin) || r.StatusCode != http.StatusNoContent || !strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), "POST") ||
				!strings.Contains(allowed, "authorization") || !strings.Contains(allowed, "content-type") || !strings.Contains(allowed, "dpop") {
				t.Errorf("%s from %s: status %d, headers %v", path, origin, r.StatusCode, r.Header)
			}
		}
		for _, origin := range notOrigins {
			if readable(t, preflight(path, origin), origin) {
				t.Errorf("%s from %q is allowed", path, origin)
			}
		}
	}
	two := send(t, http.MethodOptions, w.URL+"/token", nil, func(r *http.Request) { r.Header["Origin"] = []string{spa, "https://evil.example"} })
	if readable(t, two, spa) {
		t.Error("two origins count as one")
	}
	for _, path := range []string{"/authorize", "/login", "/consent", "/logout"} {
		if r := preflight(path, spa); r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be called by scripts: %v", path, r.Header)
		}
	}
}

func TestCORS(t *testing.T) { // Fetch §3.3.3: the answer is for the pages of the client that it is for
	t.Parallel()
	w := crossOrigin(t)
	b := w.login("Demo")
	auth := basic("rp", w.secret())
	redeem := func(origin string) *reply {
		return send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), from(origin, auth))
	}
	token := redeem(spa)
	if !readable(t, token, spa) {
		t.Errorf("tokens cannot be read: %v", token.Header)
	}
	access := token.tokens(t).AccessToken
	if r := send(t, http.MethodGet, w.URL+"/userinfo", nil, from(spa, bearer(access))); !readable(t, r, spa) || r.StatusCode != http.StatusOK {
		t.Errorf("userinfo cannot be read: %v", r.Header)
	}
	if r := send(t, http.MethodPost, w.URL+"/par", w.authParams(), from(spa, auth)); !readable(t, r, spa) || r.StatusCode != http.StatusCreated {
		t.Errorf("the answer to a pushed request cannot be read: %v", r.Header)
	}
	bad := w.redeemForm("no code")
	if r := send(t, http.MethodPost, w.URL+"/token", bad, from(spa, auth)); !readable(t, r, spa) {
		t.Error("an error of the client's cannot be read")
	}
	// Another client's page is as foreign as anybody's.
	for _, origin := range append([]string{"https://another.example"}, notOrigins...) {
		if readable(t, redeem(origin), origin) {
			t.Errorf("%q may read tokens", origin)
		}
		if readable(t, send(t, http.MethodGet, w.URL+"/userinfo", nil, from(origin, bearer(access))), origin) {
			t.Errorf("%q may read userinfo", origin)
		}
		if readable(t, send(t, http.MethodPost, w.URL+"/par", w.authParams(), from(origin, auth)), origin) {
			t.Errorf("%q may push requests", origin)
		}
	}
	if readable(t, send(t, http.MethodPost, w.URL+"/token", bad, from(spa, basic("rp", "wrong"))), spa) {
		t.Error("who is not the client may read the answer")
	}
	two := send(t, http.MethodPost, w.URL+"/token", bad, func(r *http.Request) {
		auth(r)
		r.Header["Origin"] = []string{spa, "https://evil.example"}
	})
	if readable(t, two, spa) {
		t.Error("two origins count as one")
	}
	if r := w.authorize(w.authParams(), b); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("the authorization endpoint may be read by scripts")
	}
}

func TestCORSPublic(t *testing.T) { // what everybody may know may be read by every page, without credentials
	t.Parallel()
	w := crossOrigin(t)
	for _, path := range []string{"/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			r := send(t, method, w.URL+path, nil, from("https://evil.example", nil))
			if r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Access-Control-Allow-Credentials") != "" || r.StatusCode >= 300 {
				t.Errorf("%s %s: status %d, headers %v", method, path, r.StatusCode, r.Header)
			}
		}
	}
}

func TestOrigins(t *testing.T) { // a configuration with what is no origin does not start
	t.Parallel()
	w := newWorld(t, nil)
	for _, origin := range []string{
		"null", "*", "", "spa.example", "https://", "https://spa.example/", "https://spa.example/x", "https://spa.example?x", "https://SPA.example",
		"HTTPS://spa.example", "https://*.example", "https://user@spa.example", "http://spa.example", "https://spa.example:443", "http://localhost:80",
		"https://spa.example:", "file://", "com.example.app://x", "https://spä.example", "https://spa.example https://b.example",
	} {
		_, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].Origins = []string{origin} }))
		if err == nil || !strings.Contains(err.Error(), "Origins") {
			t.Errorf("%q: %v", origin, err)
		}
	}
	for _, origin := range []string{spa, "https://spa.example:8443", "http://localhost:3000", "http://127.0.0.1:8081", "http://[::1]:3000"} {
		if _, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].Origins = []string{origin} })); err != nil {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
