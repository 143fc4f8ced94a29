package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// OpenID Connect Core 1.0, the authorization code flow, section by section.

func TestCore3_1_2_1(t *testing.T) {
	t.Parallel()
	rows := []refusal{
		{"redirect_uri missing", unset("redirect_uri"), page400},
		{"redirect_uri empty", set("redirect_uri", ""), page400},
		{"scope missing", unset("scope"), "invalid_scope"},
		{"scope without openid", set("scope", "profile email"), "invalid_scope"},
		{"scope with OpenID", set("scope", "OpenID"), "invalid_scope"},
		{"prompt none with another", set("prompt", "none login"), "invalid_request"},
		{"prompt unknown", set("prompt", "create"), "invalid_request"},
		{"prompt in capitals", set("prompt", "LOGIN"), "invalid_request"},
	}
	for _, junk := range []string{"-1", "+1", "1.5", "1e3", "0x10", "ten", "99999999999999999999", "4294967296", " 5", "５"} {
		rows = append(rows, refusal{"max_age " + junk, set("max_age", junk), "invalid_request"})
	}
	newRequestWorld(t).refuses(t, rows...)
	t.Run("POST", testAuthorizeByPost)
	t.Run("prompt", testAuthorizePrompts)
	t.Run("prompt consent", testConsentPrompt)
	t.Run("max_age", testMaxAge)
}

func TestCore3_1_2_2(t *testing.T) {
	t.Parallel()
	t.Run("id_token_hint", testAuthorizeIDTokenHint)
	t.Run("sub of the claims parameter", testClaimsRequestSubject)
	// What must be there and is not, and what is there and is not as it must be, is in TestCore3_1_2_1 and TestRFC6749Section4_1_1.
}

// When a visitor has to prove who they are, and when they must not be asked to.
func TestCore3_1_2_3(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ask := func(b *brokertest.Browser, prompt string) *reply {
		params := w.authParams()
		params.Set("prompt", prompt)
		return w.authorize(params, b)
	}
	authTime := func(code string) any { return part(t, w.redeem(code, nil).tokens(t).IDToken, 1)["auth_time"] }
	b := w.login("Demo")

	t.Run("nobody is signed in", func(t *testing.T) {
		r := ask(nil, "")
		shows(t, &brokertest.Page{Status: r.StatusCode, Body: r.text}, http.StatusOK, "Continue with Demo")
		other := brokertest.NewBrowser(t)
		other.SetCookies(w.URL, map[string]string{w.cookieName("session"): "made.up"})
		r = ask(other, "")
		shows(t, &brokertest.Page{Status: r.StatusCode, Body: r.text}, http.StatusOK, "Continue with Demo")
	})
	t.Run("signed in already", func(t *testing.T) {
		if _, query := ask(b, "").location(t); query.Get("code") == "" {
			t.Errorf("answered %v", query)
		}
	})
	t.Run("prompt=login asks for another proof", func(t *testing.T) {
		before := authTime(w.code(b, nil))
		w.advance(2 * time.Minute)
		w.op.LoginAs("") // the upstream shows its own page
		defer w.op.LoginAs("alice")
		params := w.authParams()
		params.Set("prompt", "login")
		page := b.Get(w.URL + "/authorize?" + params.Encode())
		shows(t, page, http.StatusOK, "Continue with Demo")
		page = page.Click("Demo")
		if got := went(t, page, w.op.Issuer()).Query().Get("prompt"); got != "login" {
			t.Errorf("the upstream is asked with prompt=%q", got)
		}
		last := b.Post(page.URL.String(), url.Values{"user": {"alice"}}, "")
		if after := authTime(went(t, last, w.callback()).Query().Get("code")); after.(float64) < before.(float64)+120 {
			t.Errorf("auth_time was %v and is %v", before, after)
		}
	})
	t.Run("prompt=none shows nothing", func(t *testing.T) {
		wantRefused(t, w, ask(nil, "none"), "login_required")
		if _, query := ask(b, "none").location(t); query.Get("code") == "" {
			t.Errorf("answered %v", query)
		}
	})
	t.Run("against clickjacking", func(t *testing.T) {
		r := ask(nil, "")
		if r.Header.Get("X-Frame-Options") != "DENY" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("headers %v", r.Header)
		}
	})
	t.Run("against cross-site request forgery", func(t *testing.T) {
		// An attacker's login, finished in the victim's browser, signs nobody in.
		attacker, victim := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
		w.op.LoginAs("")
		defer w.op.LoginAs("alice")
		page := attacker.Get(w.URL + "/broker/demo/login?" + w.authParams().Encode())
		attacker.Stop()
		answer := attacker.Post(page.URL.String(), url.Values{"user": {"bob"}}, "")
		stolen := answer.Header.Get("Location")
		if !strings.HasPrefix(stolen, w.URL+"/broker/demo/endpoint?") {
			t.Fatalf("the upstream answers to %q", stolen)
		}
		if last := victim.Get(stolen); last.Status < 400 || len(victim.Cookies(w.URL)) != 0 {
			t.Errorf("the victim is at %s with %v", last.URL, victim.Cookies(w.URL))
		}
	})
}

func TestCore3_1_2_4(t *testing.T) {
	t.Parallel()
	t.Run("consent", testConsent)
	t.Run("after a login", testConsentAfterLogin)
	t.Run("bound", testConsentBound)
}

// The answer is TestRFC6749Section4_1_2, its iss TestRFC9207Section2.
func TestCore3_1_2_5(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	r := w.authorize(w.authParams(), w.login("Demo"))
	to, query := r.location(t)
	if to != w.callback() || query.Get("code") == "" || query.Get("state") != "the state" || len(query) != 3 {
		t.Errorf("answered to %s with %v", to, query)
	}
	for _, never := range []string{"id_token", "access_token", "token_type"} { // by no front channel
		if query.Has(never) || strings.Contains(r.Header.Get("Location"), "#") {
			t.Errorf("answered with %s", never)
		}
	}
}

func TestCore3_1_2_6(t *testing.T) {
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"response_type missing", unset("response_type"), "invalid_request"},
		{"response_type token", set("response_type", "token"), "unsupported_response_type"},
		{"response_type id_token", set("response_type", "id_token"), "unsupported_response_type"},
		{"response_type code id_token", set("response_type", "code id_token"), "unsupported_response_type"},
		{"response_type Code", set("response_type", "Code"), "unsupported_response_type"},
		{"OAuth Response Modes: fragment", set("response_mode", "fragment"), "invalid_request"},
		{"OAuth Response Modes: web_message", set("response_mode", "web_message"), "invalid_request"},
		{"request", set("request", "eyJhbGciOiJub25lIn0.e30."), "request_not_supported"},
		{"request_uri", set("request_uri", "https://evil.example/"), "request_uri_not_supported"},
		{"registration", set("registration", "{}"), "registration_not_supported"},
	}...)
	t.Run("login_required, interaction_required", testPromptNoneShowsNoPage)
	t.Run("a flow would ask", testPromptNoneFlow)
	t.Run("consent_required", testConsentPassive)
	t.Run("max_age", testPassiveAndMaxAge)
}

// A client authenticates in the way that it is registered for: TestRFC6749Section2_3_1, TestClientAssertion.
func TestCore3_1_3_1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	code := w.code(w.login("Demo"), nil)
	wantError(t, send(t, http.MethodPost, w.URL+"/token", w.redeemForm(code), nil), http.StatusUnauthorized, "invalid_client")
	if r := send(t, http.MethodGet, w.URL+"/token?"+w.redeemForm(code).Encode(), nil, basic("rp", w.secret())); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", r.StatusCode)
	}
	w.redeem(code, nil).tokens(t) // neither has used it up
}

// Who redeems a code, with what, when and how often is TestRFC6749Section4_1_2 and 4_1_3. A code is none of another request.
func TestCore3_1_3_2(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	b := w.login("Demo")
	d := w.startDevice()
	w.decide(b, d, "allow")
	wantError(t, w.redeem(d.DeviceCode, nil), http.StatusBadRequest, "invalid_grant")
	wantError(t, w.redeem(strings.TrimPrefix(w.pushed(nil).Get("request_uri"), requestURIPrefix), nil), http.StatusBadRequest, "invalid_grant")
	a := w.redeem(w.code(b, nil), nil).renewed(t)
	wantError(t, w.redeem(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	w.refresh(a.RefreshToken, nil).renewed(t)
}

// What the tokens say is TestTokenContents.
func TestCore3_1_3_3(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	r := w.redeem(w.code(w.login("Demo"), nil), nil)
	if a := r.tokens(t); a.TokenType != "Bearer" || part(t, a.IDToken, 1)["nonce"] != "the nonce" {
		t.Errorf("answered %s", r.text)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", r.Header)
	}
}

func TestCore3_1_3_4(t *testing.T) { // each error is TestRFC6749Section5_2
	t.Parallel()
	w := newWorld(t, nil)
	r := w.redeem("x", nil)
	wantError(t, r, http.StatusBadRequest, "invalid_grant")
	if !strings.HasPrefix(r.text, "{") || strings.Contains(r.text, "token\":") {
		t.Errorf("answered %s", r.text)
	}
}
