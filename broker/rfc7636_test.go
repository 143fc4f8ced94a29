package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Proof Key for Code Exchange, section by section.

func TestRFC7636Section4_1(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	b := w.login("Demo")
	w.keepsCode(t, b, []badRedemption{
		{"verifier with a space", set("code_verifier", testVerifier+" "), "invalid_grant"},
	}...)
	t.Run("a short verifier that fits its challenge", func(t *testing.T) {
		t.Parallel()
		code := w.code(b, set("code_challenge", challengeOf("short")))
		wantError(t, w.redeem(code, set("code_verifier", "short")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("as long and as short as may be", func(t *testing.T) {
		t.Parallel()
		for _, n := range []int{43, 128} {
			verifier := strings.Repeat("v", n)
			w.redeem(w.code(b, set("code_challenge", challengeOf(verifier))), set("code_verifier", verifier)).tokens(t)
		}
		long := strings.Repeat("v", 129)
		wantError(t, w.redeem(w.code(b, set("code_challenge", challengeOf(long))), set("code_verifier", long)), http.StatusBadRequest, "invalid_grant")
	})
}

func TestRFC7636Section4_2(t *testing.T) {
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"challenge too short", set("code_challenge", challengeOf("x")[:42]), "invalid_request"},
		{"challenge too long", set("code_challenge", challengeOf("x")+"A"), "invalid_request"},
		{"challenge padded", set("code_challenge", challengeOf("x")+"="), "invalid_request"},
		{"challenge in standard base64", set("code_challenge", strings.Repeat("+/", 21)+"A"), "invalid_request"},
		{"challenge with trailing bits", set("code_challenge", strings.Repeat("A", 42)+"B"), "invalid_request"},
		{"challenge with a line end", set("code_challenge", challengeOf("x")[:42]+"\n"+"A"), "invalid_request"},
	}...)
}

func TestRFC7636Section4_3(t *testing.T) {
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"method s256", set("code_challenge_method", "s256"), "invalid_request"},
	}...)
}

func TestRFC7636Section4_4(t *testing.T) { // the code does not say what it is bound to
	t.Parallel()
	w := newWorld(t, nil)
	code := w.code(w.login("Demo"), nil)
	if strings.Contains(code, challengeOf(testVerifier)) {
		t.Errorf("code %q", code)
	}
	w.redeem(code, nil).tokens(t)
}

func TestRFC7636Section4_4_1(t *testing.T) {
	t.Parallel()
	newRequestWorld(t).refuses(t, []refusal{
		{"no challenge", func(v url.Values) { v.Del("code_challenge"); v.Del("code_challenge_method") }, "invalid_request"},
		{"empty challenge", set("code_challenge", ""), "invalid_request"},
		{"no method, which is plain", unset("code_challenge_method"), "invalid_request"},
		{"a public client without", func(v url.Values) {
			v.Set("client_id", "public")
			v.Del("code_challenge")
			v.Del("code_challenge_method")
		}, "invalid_request"},
	}...)
}

func TestRFC7636Section4_5(t *testing.T) { // the verifier comes in the body, and with the code alone
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	form := w.redeemForm(w.code(b, nil))
	form.Del("code_verifier")
	r := send(t, http.MethodPost, w.URL+"/token?"+url.Values{"code_verifier": {testVerifier}}.Encode(), form, basic("rp", w.secret()))
	wantError(t, r, http.StatusBadRequest, "invalid_grant")
}

func TestRFC7636Section4_6(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	w.keepsCode(t, w.login("Demo"), []badRedemption{
		{"CVE-2024-23647: verifier missing", unset("code_verifier"), "invalid_grant"},
		{"verifier empty", set("code_verifier", ""), "invalid_grant"},
		{"verifier wrong", set("code_verifier", twin(testVerifier, 20)), "invalid_grant"},
		{"verifier cut", set("code_verifier", testVerifier[:43]), "invalid_grant"},
		{"the challenge as verifier", set("code_verifier", challengeOf(testVerifier)), "invalid_grant"},
	}...)
}
