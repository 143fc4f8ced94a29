package oidc_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
)

func TestCallbackRefused(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	with := func(name string, values ...string) func(url.Values) { return func(v url.Values) { v[name] = values } }
	for _, row := range []struct {
		name string
		edit func(url.Values)
		want string
	}{
		{"nothing", func(v url.Values) { clear(v) }, "no state"},
		{"no state", func(v url.Values) { v.Del("state") }, "no state"},
		{"state empty", with("state", ""), "no state"},
		{"state twice", func(v url.Values) { v.Add("state", v.Get("state")) }, `2 times "state"`},
		{"no code", func(v url.Values) { v.Del("code") }, "neither a code nor an error"},
		{"code empty", with("code", ""), "neither a code nor an error"},
		{"code twice", func(v url.Values) { v.Add("code", v.Get("code")) }, `2 times "code"`},
		{"code huge", with("code", strings.Repeat("x", 8<<10+1)), "8193 bytes"},
		{"error and code", with("error", "access_denied"), "both a code and an error"},
		{"error empty beside code", with("error", ""), "both a code and an error"},
		{"error twice", func(v url.Values) { v.Del("code"); v["error"] = []string{"access_denied", "x"} }, `2 times "error"`},
		{"error empty", func(v url.Values) { v.Del("code"); v.Set("error", "") }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.params = row.edit
			_, err := o.login(t, p)
			if e := refused(t, err, provider.Invalid, row.want); e.Code != "" {
				t.Errorf("code %q of an answer that is not to be trusted", e.Code)
			}
		})
	}
	if got := o.count("/token"); got != 0 {
		t.Errorf("%d codes were redeemed", got)
	}
}

// Whose answer it is counts before what it says.
func TestRFC9207Section2_4(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	with := func(name string, values ...string) func(url.Values) { return func(v url.Values) { v[name] = values } }
	for _, row := range []struct {
		name string
		edit func(url.Values)
		want string
	}{
		{"iss of somebody else", with("iss", "https://evil.example"), "issuer is"},
		{"iss empty", with("iss", ""), "issuer is"},
		{"iss twice", with("iss", o.URL, o.URL), `2 times "iss"`},
		{"iss right and wrong", with("iss", o.URL, "https://evil.example"), `2 times "iss"`},
		{"iss with a slash more", with("iss", o.URL+"/"), "issuer is"},
		{"error of somebody else", func(v url.Values) { v.Del("code"); v.Set("error", "access_denied"); v.Set("iss", "https://evil") },
			"issuer is"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.params = row.edit
			_, err := o.login(t, p)
			if e := refused(t, err, provider.Invalid, row.want); e.Code != "" {
				t.Errorf("code %q of an answer that is not to be trusted", e.Code)
			}
		})
	}
	if got := o.count("/token"); got != 0 {
		t.Errorf("%d codes were redeemed", got)
	}
	t.Run("missing", testCallbackIssuerRequired)
}

func testCallbackIssuerRequired(t *testing.T) {
	t.Parallel()
	for _, hand := range []bool{false, true} {
		o := newOP(t)
		cfg := o.config()
		o.metadata["authorization_response_iss_parameter_supported"] = !hand
		cfg.RequireResponseIssuer = hand
		p := newProvider(t, cfg)
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "no issuer")
		o.params = func(v url.Values) { v.Del("code"); v.Set("error", "access_denied") }
		_, err = o.login(t, p)
		refused(t, err, provider.Invalid, "no issuer")
		o.params = func(v url.Values) { v.Set("iss", o.URL) }
		o.must(t, p)
	}
}

func TestCallbackErrors(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	for _, row := range []struct {
		code, description string
		want              provider.Kind
		wantCode          string
	}{
		{"access_denied", "", provider.Denied, "access_denied"},
		{"user_cancelled_login", "", provider.Denied, "user_cancelled_login"},
		{"login_required", "", provider.LoginRequired, "login_required"},
		{"interaction_required", "", provider.LoginRequired, "interaction_required"},
		{"consent_required", "", provider.LoginRequired, "consent_required"},
		{"account_selection_required", "", provider.LoginRequired, "account_selection_required"},
		{"temporarily_unavailable", "", provider.Unavailable, "temporarily_unavailable"},
		{"temporarily_unavailable", "authentication_expired", provider.Expired, "temporarily_unavailable"},
		{"server_error", "authentication_expired", provider.Unavailable, "server_error"},
		{"unauthorized_client", "", provider.Misconfigured, "unauthorized_client"},
		{"invalid_scope", "", provider.Misconfigured, "invalid_scope"},
		{"invalid_request", "", provider.Misconfigured, "invalid_request"},
		{"unsupported_response_type", "", provider.Misconfigured, "unsupported_response_type"},
		{"something_else", "", provider.Invalid, "something_else"},
		{"ACCESS_DENIED", "", provider.Invalid, "ACCESS_DENIED"},
		{"two words", "", provider.Invalid, ""},
		{"a\r\nlog line", "", provider.Invalid, ""},
		{`quo"te`, "", provider.Invalid, ""},
		{`back\slash`, "", provider.Invalid, ""},
		{"ümlaut", "", provider.Invalid, ""},
		{strings.Repeat("x", 65), "", provider.Invalid, ""},
		{strings.Repeat("x", 64), "", provider.Invalid, strings.Repeat("x", 64)},
	} {
		o.params = func(v url.Values) {
			v.Del("code")
			v.Set("error", row.code)
			v.Set("error_description", row.description)
		}
		_, err := o.login(t, p)
		if e := refused(t, err, row.want, row.description); e.Code != row.wantCode {
			t.Errorf("%q: code %q, want %q", row.code, e.Code, row.wantCode)
		}
	}
	o.params = func(v url.Values) {
		v.Del("code")
		v.Set("error", "access_denied")
		v.Set("error_description", "first\nsecond\x1b[31m"+strings.Repeat("x", 5000))
	}
	_, err := o.login(t, p)
	if s := err.Error(); strings.ContainsAny(s, "\n\x1b") || len(s) > 400 {
		t.Errorf("the description is in the error as it came: %q", s)
	}
}

func TestFinishRefusesData(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	for _, data := range []string{"", "{}", "null", "[]", "x", `{"r":"https://x"}`, `{"t":5}`, `{"r":1,"t":1}`, "\x00\x01"} {
		o.data = func([]byte) []byte { return []byte(data) }
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "not what Begin returned")
	}
}
