package broker_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// The OAuth 2.0 Authorization Framework, section by section: what it asks of an authorization server with the grants that
// there are here. The implicit grant (§4.2) and the password grant (§4.3) are none of them.

func TestRFC6749Section2_3_1(t *testing.T) { testTokenClientAuthentication(t) }

func TestRFC6749Section3_1(t *testing.T) { // nothing is sent twice
	t.Parallel()
	w := newRequestWorld(t)
	at := w.callback()
	rows := []refusal{
		{"client_id twice", set("client_id", "rp", "rp"), page400},
		{"redirect_uri twice", set("redirect_uri", at, at), page400},
		{"redirect_uri twice, a foreign one second", set("redirect_uri", at, "https://evil.example/"), page400},
	}
	for name := range w.authParams() {
		if name != "client_id" && name != "redirect_uri" {
			rows = append(rows, refusal{name + " twice", func(v url.Values) { v.Add(name, v.Get(name)) }, "invalid_request"})
		}
	}
	w.refuses(t, rows...)
}

func TestRFC6749Section3_1_2_5(t *testing.T) { testPageHeaders(t) } // no third party's script sees a code

func TestRFC6749Section3_2(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	w.keepsCode(t, w.login("Demo"), []badRedemption{
		{"code twice", func(v url.Values) { v.Add("code", v.Get("code")) }, "invalid_request"},
		{"code_verifier twice", func(v url.Values) { v.Add("code_verifier", v.Get("code_verifier")) }, "invalid_request"},
		{"grant_type twice", func(v url.Values) { v.Add("grant_type", "x") }, "invalid_request"},
		{"unknown parameter with markup twice", func(v url.Values) { v[`<b>"\`+"\n"] = []string{"1", "2"} }, "invalid_request"},
	}...)
	t.Run("request", testTokenRequest)
}

func TestRFC6749Section4_1_1(t *testing.T) {
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"client_id missing", unset("client_id"), page400},
		{"client_id empty", set("client_id", ""), page400},
		{"client_id unknown", set("client_id", "nobody"), page400},
		{"client_id in another case", set("client_id", "RP"), page400},
		{"client_id with NUL", set("client_id", "rp\x00"), page400},
		{"CVE-2026-1486: client disabled", set("client_id", "off"), page400},
	}...)
}

func TestRFC6749Section4_1_2(t *testing.T) { // the code expires, is used once, and is its client's and redirect URI's (§4.1.3)
	t.Parallel()
	t.Run("expires", testTokenCodeExpires)
	t.Run("used twice", testTokenReplay)
	t.Run("used at once", testTokenRace)
	t.Run("answers", testAuthorizeAnswers)
}

// No redirect leads to an address that is not this client's; everything else is told there.
func TestRFC6749Section4_1_2_1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{
			ID: "machine", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs, Audience: []string{"api"},
			Grants: []string{store.GrantTypeCredentials},
		})
	})
	w.refuses(t, []refusal{
		{"unauthorized_client", set("client_id", "machine"), "unauthorized_client"},
		{"invalid_target (RFC 8707 §2)", set("resource", "https://nobody.example/"), "invalid_target"},
		{"the client is wrong, and all else too", func(v url.Values) { v.Set("client_id", "nobody"); v.Del("response_type"); v.Del("scope") }, page400},
		{"the redirect URI is wrong, and all else too", func(v url.Values) { v.Set("redirect_uri", "https://evil.example/"); v.Del("scope") }, page400},
	}...)
	t.Run("access_denied", testConsentDenied)
	t.Run("server_error", func(t *testing.T) {
		t.Parallel()
		spy := &spyStore{}
		w := newWorld(t, func(c *broker.Config) { spy.Store = c.Store; c.Store = spy })
		b := w.login("Demo")
		spy.hook = func(call string) error {
			if call == "create grant" {
				return errors.New("the database on db7 is down")
			}
			return nil
		}
		// What is our own fault is said to the visitor, without a word about what it was, and brings nobody a code.
		r := w.authorize(w.authParams(), b)
		if r.StatusCode != http.StatusInternalServerError || r.Header.Get("Location") != "" || strings.Contains(r.text, "db7") {
			t.Errorf("status %d to %q\n%s", r.StatusCode, r.Header.Get("Location"), r.text)
		}
	})
}

func TestRFC6749Section4_1_3(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	b := w.login("Demo")
	w.keepsCode(t, b, []badRedemption{
		{"code missing", unset("code"), "invalid_grant"},
		{"code empty", set("code", ""), "invalid_grant"},
		{"not a code", set("code", "x"), "invalid_grant"},
		{"a dot", set("code", "."), "invalid_grant"},
		{"code with NUL", set("code", "\x00.\x00"), "invalid_grant"},
		{"code that is no UTF-8", set("code", "\xff\xfe.\xff"), "invalid_grant"},
		{"code of 60 KB", set("code", strings.Repeat("A", 30000)+"."+strings.Repeat("B", 30000)), "invalid_grant"},
		{"redirect_uri missing", unset("redirect_uri"), "invalid_grant"},
		{"redirect_uri empty", set("redirect_uri", ""), "invalid_grant"},
		{"redirect_uri with a slash", func(v url.Values) { v.Set("redirect_uri", v.Get("redirect_uri")+"/") }, "invalid_grant"},
		{"redirect_uri in another case", func(v url.Values) { v.Set("redirect_uri", strings.ToUpper(v.Get("redirect_uri"))) }, "invalid_grant"},
	}...)
	t.Run("CVE-2026-55672: another client's code", func(t *testing.T) {
		t.Parallel()
		code := w.code(b, nil)
		r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(code), basic("thief", w.secret()))
		wantError(t, r, http.StatusBadRequest, "invalid_grant")
		// Whoever presents it, it was seen by somebody who should not have it.
		wantError(t, w.redeem(code, nil), http.StatusBadRequest, "invalid_grant")
	})
}

func TestRFC6749Section4_1_4(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	a := w.redeem(w.code(b, nil), nil).renewed(t) // both tokens
	if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
		t.Errorf("userinfo: status %d", r.StatusCode)
	}
	w.refresh(a.RefreshToken, nil).renewed(t)
	wantError(t, w.redeem("x", nil), http.StatusBadRequest, "invalid_grant")
}

func TestRFC6749Section4_4_2(t *testing.T) { testClientCredentialsRequest(t) }

func TestRFC6749Section4_4_3(t *testing.T) { testClientCredentials(t) } // without a refresh token

func TestRFC6749Section5_1(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	b := w.login("Demo")
	t.Run("as it should be", func(t *testing.T) {
		r := w.redeem(w.code(b, nil), nil)
		a := r.tokens(t)
		if a.TokenType != "Bearer" || a.ExpiresIn != 300 || a.Scope != "openid profile email" || a.Error != "" {
			t.Errorf("answered %s", r.text)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Pragma") != "no-cache" {
			t.Errorf("headers %v", r.Header)
		}
	})
	t.Run("a scope that is not the one asked for is said", func(t *testing.T) {
		t.Parallel()
		a := w.redeem(w.code(b, set("scope", "openid email admin")), nil).tokens(t)
		if a.Scope != "openid email" {
			t.Errorf("scope %q", a.Scope)
		}
	})
	t.Run("numbers are numbers", func(t *testing.T) {
		t.Parallel()
		r := w.redeem(w.code(b, nil), nil)
		var a struct {
			ExpiresIn json.RawMessage `json:"expires_in"`
		}
		if err := json.Unmarshal([]byte(r.text), &a); err != nil || string(a.ExpiresIn) != "300" {
			t.Errorf("expires_in is %s: %v", a.ExpiresIn, err)
		}
		if r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
	})
}

func TestRFC6749Section5_2(t *testing.T) { // with 401 and a challenge for invalid_client: see also TestRFC6749Section2_3_1
	t.Parallel()
	w := newCodeWorld(t)
	w.keepsCode(t, w.login("Demo"), []badRedemption{
		{"grant_type missing", unset("grant_type"), "invalid_request"},
		{"grant_type unknown", set("grant_type", "password"), "unsupported_grant_type"},
		{"grant_type that is not this client's", set("grant_type", "client_credentials"), "unauthorized_client"},
		{"grant_type in capitals", set("grant_type", "AUTHORIZATION_CODE"), "unsupported_grant_type"},
	}...)
	t.Run("invalid_client", func(t *testing.T) {
		t.Parallel()
		r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm("x"), basic("rp", "wrong"))
		wantError(t, r, http.StatusUnauthorized, "invalid_client")
		if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("the challenge is %q", r.Header.Get("WWW-Authenticate"))
		}
	})
	t.Run("server_error is ours", func(t *testing.T) {
		t.Parallel()
		spy := &spyStore{}
		w := newWorld(t, func(c *broker.Config) { spy.Store = c.Store; c.Store = spy })
		code := w.code(w.login("Demo"), nil)
		spy.hook = func(call string) error {
			if call == "update grant" {
				return errors.New("the database on db7 is down")
			}
			return nil
		}
		wantError(t, w.redeem(code, nil), http.StatusInternalServerError, "server_error")
	})
}

func TestRFC6749Section6(t *testing.T) {
	t.Parallel()
	t.Run("refresh", testRefresh)
	t.Run("request", testRefreshRequest)
	t.Run("scope", testRefreshScope)
	t.Run("lifetime", testRefreshLifetime)
}

// §10.1 asks that clients are authenticated wherever they can be (TestRFC6749Section2_3_1), and that no client that was
// installed on its users' devices is trusted by a secret: who configures one with [store.AuthNone] can give it none.
func TestRFC6749Section10_1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].AuthMethod = store.AuthNone }))
	if err == nil || !strings.Contains(err.Error(), "has no secret") {
		t.Errorf("a public client with a secret: %v", err)
	}
	_, err = broker.New(w.config(func(c *broker.Config) { c.Clients[0].Secrets = nil }))
	if err == nil || !strings.Contains(err.Error(), "Secrets") {
		t.Errorf("a client that authenticates, without a secret: %v", err)
	}
}

// §10.2: who pretends to be a client gets its answers at that client's address only, whoever the user is, and with a
// consent page the user sees which one it is. That of a public client cannot be relied on, and is asked for again.
func TestRFC6749Section10_2(t *testing.T) {
	t.Parallel()
	w := newRequestWorld(t)
	b := w.login("Demo")
	params := w.authParams()
	params.Set("client_id", "another")
	wantPage(t, w.authorize(params, b), page400)
	params.Set("redirect_uri", "https://another.example/callback")
	if to, _ := w.authorize(params, b).location(t); to != "https://another.example/callback" {
		t.Errorf("the answer goes to %s", to)
	}
}

func TestRFC6749Section10_3(t *testing.T) { // access tokens are not guessed, changed or made: TestUserInfoToken; here: no more than asked
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	a := w.redeem(w.code(b, set("scope", "openid")), nil).tokens(t)
	if scope := part(t, a.AccessToken, 1)["scope"]; scope != "openid" {
		t.Errorf("scope %v", scope)
	}
	if r := w.userinfo(a.AccessToken); strings.Contains(r.text, "alice@") {
		t.Errorf("userinfo says %s", r.text)
	}
}

func TestRFC6749Section10_4(t *testing.T) { // bound to the client, rotated, and its family ends with a replay
	t.Parallel()
	t.Run("client", testRefreshClient)
	t.Run("reuse", testRefreshReuse)
}

// §10.5 is TestRFC6749Section4_1_2: codes live a minute, are used once, and a second use ends what the first one brought.

// §10.6 is TestRFC6749Section4_1_3 for the code, and TestRFC9700Section2_1 for the request.

// §10.7 and §4.3: nobody's password is taken, whoever asks.
func TestRFC6749Section10_7(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"secret"}, "scope": {"openid"}}
	wantError(t, w.post("/token", "rp", form), http.StatusBadRequest, "unsupported_grant_type")
	_, err := broker.New(w.config(func(c *broker.Config) { c.Clients[0].Grants = []string{store.GrantTypeCode, "password"} }))
	if err == nil {
		t.Error("a client may be configured to use passwords")
	}
}

// §10.8: nothing that must stay secret is taken from an address, where it would be logged: TestRFC6749Section3_2.

// §10.9: what is not on this machine is reached over TLS alone.
func TestRFC6749Section10_9(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, edit := range []func(*broker.Config){
		func(c *broker.Config) { c.BaseURL = "http://app.example/id" },
		func(c *broker.Config) { c.Clients[0].RedirectURIs = []string{"http://app.example/callback"} },
	} {
		if _, err := broker.New(w.config(edit)); err == nil || !strings.Contains(err.Error(), "https") {
			t.Errorf("without TLS: %v", err)
		}
	}
}

// §10.10: what could be guessed has the 128 bits that it must have, a little more, and no two are alike. The 160 bits that it
// should have are those of a world in which guesses are not counted in requests.
func TestRFC6749Section10_10(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	b := w.login("Demo")
	seen := map[string]bool{}
	random := func(what, secret string) {
		t.Helper()
		if len(secret) < 26 || seen[secret] { // of five bits each, or more
			t.Errorf("%s is %q", what, secret)
		}
		seen[secret] = true
	}
	for range 20 {
		_, secret, _ := strings.Cut(w.code(b, nil), ".")
		random("a code", secret)
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		_, secret, _ = strings.Cut(a.RefreshToken, ".")
		random("a refresh token", secret)
		random("a device code", w.startDevice().DeviceCode)
		random("a request_uri", strings.TrimPrefix(w.pushed(nil).Get("request_uri"), requestURIPrefix))
	}
	cookies := w.cookies(b)
	_, secret, _ := strings.Cut(cookies, "=")
	random("a session", secret)
}

// §10.11 is about teaching people; no page of ours asks for a password.

// §10.12: the client's state comes back byte by byte (TestRFC6749Section4_1_2), and nothing at the authorization endpoint is
// decided by another site's page.
func TestRFC6749Section10_12(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	b := w.login("Demo")
	page := b.Get(w.URL + "/authorize?" + w.authParams().Encode())
	shows(t, page, http.StatusOK, "Allow Test App")
	_, fields, _ := page.Form()
	fields.Set("decision", "allow")
	shows(t, b.Post(w.URL+"/consent", fields, "https://evil.example/"), http.StatusForbidden)
	if got := w.silent(b, "openid profile email"); got != "consent_required" {
		t.Errorf("another site's page has consented: %s", got)
	}
	// A form that only another browser was shown counts for nothing either.
	shows(t, w.login("Other").Post(w.URL+"/consent", fields, ""), http.StatusConflict)
}

// §10.13 is TestRFC6749Section3_1_2_5: no page can be framed.

func TestRFC6749Section10_14(t *testing.T) { testPagesEscape(t) }

func TestRFC6749Section10_15(t *testing.T) { testReturnTo(t) } // for the authorization endpoint TestRFC9700Section2_1

// §10.16: a token says whom it is for, and there is no grant whose token an application would take for its own login.
func TestRFC6749Section10_16(t *testing.T) {
	t.Parallel()
	w := newWorld(t, peers)
	b := w.login("Demo")
	w.refuses(t, refusal{"implicit", set("response_type", "token"), "unsupported_response_type"})
	a := w.redeem(w.code(b, nil), nil).tokens(t)
	if aud := part(t, a.IDToken, 1)["aud"]; aud != "rp" {
		t.Errorf("the ID token is for %v", aud)
	}
	wantInactive(t, w.introspect("thief", a.AccessToken)) // another client learns nothing of it
	page := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.authParams().Encode() + "&access_token=" + a.AccessToken)
	shows(t, page, http.StatusOK, "Continue with Demo") // and signs nobody in with it
}
