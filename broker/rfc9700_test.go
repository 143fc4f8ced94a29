package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

// Best Current Practice for OAuth 2.0 Security, §2, section by section.

// Redirect URIs are compared as strings. CVE-2026-7504, 3872, 9689, CVE-2024-8883, CVE-2024-52289: what is nearly registered
// is not registered.
func TestRFC9700Section2_1(t *testing.T) {
	t.Parallel()
	w := newRequestWorld(t)
	at := w.callback()
	host := strings.TrimSuffix(strings.TrimPrefix(at, "http://"), "/callback")
	rows := []refusal{
		{"redirect_uri of another client", set("redirect_uri", "https://another.example/callback"), page400},
	}
	for _, near := range []string{
		at + "/", at + "//", at + "?", at + "#", at + "?x=1", at + "#x", at + "%20", at + " ", at + "\x00", at + ".evil.example", at + "/..",
		strings.ToUpper(at), "HTTP://" + host + "/callback", strings.Replace(at, "callback", "Callback", 1),
		strings.Replace(at, "/callback", "//callback", 1), strings.Replace(at, "/callback", "/./callback", 1),
		strings.Replace(at, "/callback", "/x/../callback", 1), strings.Replace(at, "/callback", "/..;/callback", 1),
		strings.Replace(at, "/callback", "/callback/..;/evil", 1), strings.Replace(at, "/callback", "/%63allback", 1),
		strings.Replace(at, "/callback", "%2fcallback", 1), strings.Replace(at, "/callback", `\callback`, 1),
		strings.Replace(at, "http://", "https://", 1), strings.Replace(at, "http://", "http:/", 1), strings.Replace(at, "http://", "//", 1),
		strings.Replace(at, "http://", "http://user@", 1), strings.Replace(at, "http://", "http://user:pass@", 1),
		"http://evil.example@" + host + "/callback", "http://" + host + "@evil.example/callback", "http://" + host + `\@evil.example/callback`,
		"http://" + host + ".evil.example/callback", "http://evil." + host + "/callback", "http://" + host + "1/callback",
		"http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback", "http://2130706433/callback",
		"null", "*", "http://*/callback", "about:blank", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "/callback", "callback",
		"http://" + host, "http://" + host + "/", at + "\r\nSet-Cookie: x=1", strings.Replace(at, "127.0.0.1", "１２７.0.0.1", 1),
		strings.Replace(at, "127.0.0.1", "127x0.0.1", 1), strings.Replace(at, "127.0.0.1", "127.0.0x1", 1), // a dot is no pattern
		w.URL + "/authorize", w.URL + "/login", "https://another.example/callback",
	} {
		rows = append(rows, refusal{"redirect_uri " + near, set("redirect_uri", near), page400})
	}
	w.refuses(t, rows...)
	t.Run("no 307", func(t *testing.T) { // which would send the form on, §4.12
		t.Parallel()
		b := w.login("Demo")
		if r := w.authorize(w.authParams(), b); r.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d", r.StatusCode)
		}
	})
	// Mix-up is kept away by iss: TestRFC9207Section2. Forged requests by state and cookie: TestCore3_1_2_3.
}

func TestRFC9700Section2_1_1(t *testing.T) { // PKCE; what it checks is TestRFC7636…, and codes used twice TestRFC6749Section4_1_2
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"plain", set("code_challenge_method", "plain"), "invalid_request"},
	}...)
	w := newCodeWorld(t)
	b := w.login("Demo")
	t.Run("downgrade", func(t *testing.T) {
		t.Parallel()
		without := func(v url.Values) { v.Set("client_id", "lax"); v.Del("code_challenge"); v.Del("code_challenge_method") }
		redeem := func(code string, edit func(url.Values)) *reply {
			form := w.redeemForm(code)
			edit(form)
			return send(t, http.MethodPost, w.URL+"/token", form, basic("lax", w.secret()))
		}
		wantError(t, redeem(w.code(b, without), func(url.Values) {}), http.StatusBadRequest, "invalid_grant") // verifier without challenge
		redeem(w.code(b, without), unset("code_verifier")).tokens(t)
		wantError(t, redeem(w.code(b, set("client_id", "lax")), unset("code_verifier")), http.StatusBadRequest, "invalid_grant")
		redeem(w.code(b, set("client_id", "lax")), func(url.Values) {}).tokens(t)
	})
	t.Run("announced", func(t *testing.T) {
		t.Parallel()
		if doc := send(t, http.MethodGet, w.URL+"/.well-known/oauth-authorization-server", nil, nil).text; !strings.Contains(doc, `"code_challenge_methods_supported":["S256"]`) {
			t.Errorf("metadata %s", doc)
		}
	})
}

func TestRFC9700Section2_1_2(t *testing.T) { // no access token comes by the front channel
	t.Parallel()
	var rows []refusal
	for _, kind := range []string{"token", "id_token token", "code token", "code id_token token", "none"} {
		rows = append(rows, refusal{kind, set("response_type", kind), "unsupported_response_type"})
	}
	newRequestWorld(t).refuses(t, rows...)
}

// §2.2 is its two parts.

// §2.2.1: tokens can be bound to a key of the client, which is TestDPoPToken and TestDPoPUserInfo, and have to be where the
// client's configuration says so.
func TestRFC9700Section2_2_1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].RequireDPoP = true })
	wantError(t, w.redeem(w.code(w.login("Demo"), nil), nil), http.StatusBadRequest, "invalid_dpop_proof")
}

// §2.2.2: the refresh tokens of a public client rotate, and a replay ends them. Those that it binds to a key: TestDPoPRefresh.
func TestRFC9700Section2_2_2(t *testing.T) {
	t.Parallel()
	w := newRequestWorld(t)
	form := w.redeemForm(w.code(w.login("Demo"), set("client_id", "public")))
	form.Set("client_id", "public")
	first := send(t, http.MethodPost, w.URL+"/token", form, nil).renewed(t)
	refresh := func(raw string) *reply {
		return send(t, http.MethodPost, w.URL+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}, "client_id": {"public"}}, nil)
	}
	second := refresh(first.RefreshToken).renewed(t)
	third := refresh(second.RefreshToken).renewed(t)
	if first.RefreshToken == second.RefreshToken || second.RefreshToken == third.RefreshToken {
		t.Error("it was not rotated")
	}
	wantError(t, refresh(first.RefreshToken), http.StatusBadRequest, "invalid_grant")
	wantError(t, refresh(third.RefreshToken), http.StatusBadRequest, "invalid_grant")
	wantInvalidToken(t, w.userinfo(third.AccessToken))
}

func TestRFC9700Section2_3(t *testing.T) { // least privilege: one API, and no scope that was not asked for
	t.Parallel()
	w := newWorld(t, peers)
	b := w.login("Demo")
	a := w.redeem(w.code(b, set("resource", "https://orders.example/")), nil).tokens(t)
	if aud := segment(part(t, a.AccessToken, 1)["aud"]); strings.Contains(aud, "mail") {
		t.Errorf("aud %s", aud)
	}
	if scope := part(t, a.AccessToken, 1)["scope"]; scope != "openid profile email" {
		t.Errorf("scope %v", scope)
	}
	wantRefused(t, w, w.authorize(changed(w.authParams(), set("resource", "https://nobody.example/")), b), "invalid_target")
}

// §2.4, nobody's password is taken, is TestRFC6749Section10_7.

// §2.5: keys instead of secrets are TestClientAssertion. What is registered is the only way.
func TestRFC9700Section2_5(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	doc := send(t, http.MethodGet, w.URL+"/.well-known/oauth-authorization-server", nil, nil).text
	if !strings.Contains(doc, store.AuthPrivateKeyJWT) {
		t.Errorf("private_key_jwt is not announced: %s", doc)
	}
	form := w.redeemForm(w.code(w.login("Demo"), nil))
	form.Set("client_id", "rp")
	form.Set("client_secret", w.secret())
	wantError(t, send(t, http.MethodPost, w.URL+"/token", form, nil), http.StatusUnauthorized, "invalid_client")
}

// §2.6: metadata is TestWellKnown, TLS is TestRFC6749Section10_9. Scripts of other sites get nothing from the authorization
// endpoint.
func TestRFC9700Section2_6(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Origins = []string{"https://spa.example"} })
	b := w.login("Demo")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
		r := send(t, method, w.URL+"/authorize?"+w.authParams().Encode(), nil, func(r *http.Request) {
			r.Header.Set("Cookie", w.cookies(b))
			r.Header.Set("Origin", "https://spa.example")
			r.Header.Set("Access-Control-Request-Method", "GET")
		})
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s is %q", method, name, r.Header.Get(name))
			}
		}
	}
}

// changed returns the parameters, edited.
func changed(params url.Values, edit func(url.Values)) url.Values {
	edit(params)
	return params
}
