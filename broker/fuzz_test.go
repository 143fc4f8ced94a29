package broker_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

// fuzzed returns a broker with one client and one upstream, which vouches at once if def is its alias.
func fuzzed(t testing.TB, def string) *broker.Broker {
	return overHTTPS(t, func(c *broker.Config) {
		c.DefaultProvider = def
		client := goodClient()
		client.InsecureWithoutPKCE = true
		c.Clients = []store.Client{client, {
			ID: "native", AuthMethod: store.AuthNone, RedirectURIs: []string{"com.example.app:/cb", "http://127.0.0.1/cb?x=y"},
		}}
	})
}

// get sends one request to a handler, with the query as it is.
func get(t testing.TB, h http.Handler, path, query, cookies string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://app.example/id"+path, nil)
	r.URL.RawQuery = query
	r.Header.Set("Cookie", cookies)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// wantSafe fails unless the answer is no failure of ours, and leads only where one of the prefixes is.
func wantSafe(t *testing.T, w *httptest.ResponseRecorder, prefixes ...string) {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("status %d\n%s", w.Code, w.Body)
	}
	to := w.Header().Get("Location")
	if to == "" {
		return
	}
	for _, c := range []byte(to) {
		if c <= ' ' || c > '~' || c == '\\' || c == '"' {
			t.Fatalf("leads to %q", to)
		}
	}
	u, err := url.Parse(to)
	if err != nil || u.User != nil {
		t.Fatalf("leads to %q: %v", to, err)
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(to, prefix) {
			return
		}
	}
	t.Fatalf("leads to %q", to)
}

// registered are the redirect URIs of fuzzed's clients as a redirect begins with them.
var registered = []string{"https://app.example/callback?", "com.example.app:/cb?", "http://127.0.0.1/cb?x=y&"}

// goodRequest is an authentication request of fuzzed's first client.
func goodRequest() string {
	return url.Values{
		"client_id": {"app"}, "redirect_uri": {"https://app.example/callback"}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {challengeOf(testVerifier)}, "code_challenge_method": {"S256"}, "state": {"s"},
	}.Encode()
}

// goodSession signs in at fuzzed, and returns the cookies.
func goodSession(t testing.TB, b http.Handler) string {
	t.Helper()
	away := get(t, b, "/broker/lax/login", "", "")
	_, query, _ := strings.Cut(away.Header().Get("Location"), "?")
	return cookiesOf(get(t, b, "/broker/lax/endpoint", query, cookiesOf(away.Result())).Result())
}

// goodCode returns a code for the client.
func goodCode(t testing.TB, b http.Handler, session string) string {
	t.Helper()
	to, err := url.Parse(get(t, b, "/authorize", goodRequest(), session).Header().Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		t.Fatalf("no code in %v, %v", to, err)
	}
	return to.Query().Get("code")
}

func FuzzAuthorize(f *testing.F) {
	good := goodRequest()
	f.Add(good)
	f.Add(good + "&prompt=none")
	f.Add(good + "&prompt=none&prompt=login&max_age=x")
	f.Add("client_id=native&redirect_uri=com.example.app:/cb&response_type=token&state=%0d%0aSet-Cookie:x")
	f.Add("client_id=native&redirect_uri=" + url.QueryEscape("http://127.0.0.1/cb?x=y") + "&%3cb%3e=1&%3cb%3e=2")
	f.Add("client_id=app&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback%2f..%3b%2f")
	f.Add("client_id=app&client_id=native;redirect_uri=x&%zz")
	f.Add("email=a@b.example&idp_hint=lax&kc_idp_hint=&idp_notice=denied&idp_by_email=1")
	asked, direct := fuzzed(f, ""), fuzzed(f, "lax")
	session := goodSession(f, direct)
	f.Fuzz(func(t *testing.T, query string) {
		if query == good {
			goodCode(t, direct, session)
		}
		for _, path := range []string{"/authorize", "/broker/lax/login", "/login"} {
			allowed := append([]string{"https://app.example/id/broker/lax/endpoint?"}, registered...)
			if path == "/login" {
				allowed = []string{"https://app.example/"} // return_to is any path of the site
			}
			wantSafe(t, get(t, asked, path, query, ""), allowed...)
			wantSafe(t, get(t, direct, path, query, ""), allowed...)
			wantSafe(t, get(t, direct, path, query, session), allowed...)
		}
	})
}

func FuzzReturnTo(f *testing.F) {
	for _, attack := range returnToAttacks("http://app.example:80") {
		f.Add(attack)
	}
	f.Add("/deep?x=y#z")
	f.Add("https://app.example/x")
	b := fuzzed(f, "lax")
	f.Fuzz(func(t *testing.T, target string) {
		away := get(t, b, "/login", url.Values{"return_to": {target}}.Encode(), "")
		wantSafe(t, away, "https://app.example/id/broker/lax/endpoint?")
		if away.Code != http.StatusSeeOther {
			if target == "/deep?x=y#z" {
				t.Fatalf("status %d", away.Code)
			}
			return
		}
		callback, err := url.Parse(away.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		back := get(t, b, "/broker/lax/endpoint", callback.RawQuery, cookiesOf(away.Result()))
		wantSafe(t, back, "https://app.example/")
		to, err := url.Parse(back.Header().Get("Location"))
		if err != nil || to.Host != "app.example" || to.Scheme != "https" || target == "/deep?x=y#z" && to.String() != "https://app.example"+target {
			t.Fatalf("%q leads to %q", target, back.Header().Get("Location"))
		}
	})
}

func FuzzCallback(f *testing.F) {
	f.Add("state=AAAAAAAAAAAAAAAAAAAAAAAAAA&code=x", "__Host-idbroker-login-AAAAAAAAAAAAAAAAAAAAAAAAAA=x")
	f.Add("state=AAAAAAAAAAAAAAAAAAAAAAAAAA&RelayState=AAAAAAAAAAAAAAAAAAAAAAAAAA", "")
	f.Add("error=access_denied&error_description=%3Cb%3E", "__Host-idbroker-session=x; __Host-idbroker-session=y")
	f.Add("%zz", "=;=;")
	const good = "state=STATE&code=x"
	f.Add(good, "COOKIE")
	f.Add(good, "")
	f.Add("state=STATE&state=STATE&code=x", "COOKIE")
	f.Add("state=AAAAAAAAAAAAAAAAAAAAAAAAAA&code=x", "COOKIE")
	b := fuzzed(f, "")
	app := b.RequireLogin(http.NotFoundHandler())
	f.Fuzz(func(t *testing.T, query, cookies string) {
		mustEnter := query == good && cookies == "COOKIE"
		away := get(t, b, "/broker/lax/login", "", "")
		begun, err := url.Parse(away.Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		state, cookie := begun.Query().Get("state"), cookiesOf(away.Result())
		query, cookies = strings.ReplaceAll(query, "STATE", state), strings.ReplaceAll(cookies, "COOKIE", cookie)
		w := get(t, b, "/broker/lax/endpoint", query, cookies)
		wantSafe(t, w, "https://app.example/")
		params, _ := url.ParseQuery(query)
		mayEnter := strings.Contains(cookies, cookie) && len(params["state"]) == 1 && params.Get("state") == state
		entered := strings.Contains(strings.Join(w.Header().Values("Set-Cookie"), "\n"), "session=")
		if entered && !mayEnter || !entered && mustEnter || entered != (w.Code < 400) {
			t.Fatalf("status %d, %v", w.Code, w.Header())
		}
		if w := get(t, app, "", "", cookies); w.Code != http.StatusUnauthorized {
			t.Fatalf("the cookies %q are a session: status %d", cookies, w.Code)
		}
		wantSafe(t, get(t, b, "/flow/"+url.PathEscape(query), "", cookies))
		wantSafe(t, get(t, b, "/logout", query, cookies))
	})
}

// FuzzToken sends any body with good credentials: there is an error in JSON, or the one code that is right.
func FuzzToken(f *testing.F) {
	f.Add("grant_type=authorization_code&code=x.y&redirect_uri=z&code_verifier=" + testVerifier)
	f.Add("grant_type=authorization_code&code=%00.%ff&code=1")
	f.Add("grant_type=refresh_token&client_secret=x&client_id=app")
	f.Add(";;&%zz=1")
	const good = "grant_type=authorization_code&code=CODE&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&code_verifier=" + testVerifier
	f.Add(good)
	f.Add(good + "x")
	f.Add(strings.Replace(good, "%2Fcallback", "%2F", 1))
	b := fuzzed(f, "")
	session := goodSession(f, b)
	f.Fuzz(func(t *testing.T, body string) {
		mustEnter, code := body == good, ""
		if strings.Contains(body, "CODE") {
			code = goodCode(t, b, session)
			body = strings.ReplaceAll(body, "CODE", code)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://app.example/id/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("app", "0123456789abcdef")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		got := &reply{w.Result(), w.Body.String()}
		if got.StatusCode == http.StatusOK {
			form, err := url.ParseQuery(body)
			if err != nil || form.Get("code") != code || form.Get("redirect_uri") != "https://app.example/callback" || form.Get("code_verifier") != testVerifier {
				t.Fatalf("%s gives %s", body, got.text)
			}
			got.tokens(t)
			return
		}
		if mustEnter {
			t.Fatalf("status %d %s", got.StatusCode, got.text)
		}
		if got.StatusCode != http.StatusBadRequest && got.StatusCode != http.StatusUnauthorized || got.answer(t).Error == "" {
			t.Fatalf("status %d %s", got.StatusCode, got.text)
		}
	})
}
