package oauth2_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

// kind fails unless err is a provider.Error of this kind without a secret in it.
func kind(t testing.TB, name string, err error, want provider.Kind) {
	t.Helper()
	failure, ok := errors.AsType[*provider.Error](err)
	if !ok {
		t.Errorf("%s: error is %v, want a provider.Error", name, err)
		return
	}
	if failure.Kind != want {
		t.Errorf("%s: %v, want kind %v", name, err, want)
	}
	for _, secret := range []string{"at-1", "rt-1", "a secret", "code-1"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error has a secret in it: %v", name, err)
		}
	}
}

// CVE-2026-82968: who has no id is nobody.
func TestSubjectIsRequired(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"u1"`: "u1", `17`: "17", `-17`: "-17", `9007199254740993`: "9007199254740993", `"00"`: "00",
		`null`: "", `"0"`: "", `"undefined"`: "", `""`: "", `" "`: "", `"null"`: "", `0`: "", `-0`: "", `0.0`: "", `1.5`: "", `1e3`: "", `true`: "", `false`: "", `[]`: "", `["u1"]`: "",
		`{}`: "", `{"id":"u1"}`: "", `"a\u0000"`: "", `"a\nb"`: "", `"` + strings.Repeat("a", 5000) + `"`: "",
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"decoy","data":{"user":[{"id":` + value + `}]}}`
		id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Claims.Subject = "data.user[0].id" }), nil)
		if want == "" {
			kind(t, value, err, provider.Invalid)
			if id != nil {
				t.Errorf("%s: identity %+v", value, id)
			}
			continue
		}
		if err != nil || id.Subject != want {
			t.Errorf("%s: %+v, %v, want subject %q", value, id, err, want)
		}
	}
	for _, body := range []string{`{}`, `{"data":null}`, `{"data":{"user":[]}}`, `{"data":{"user":{"id":"u1"}}}`, `{"Sub":"u1"}`} {
		s := newServer(t)
		s.userinfo.body = body
		_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Claims.Subject = "data.user[0].id" }), nil)
		kind(t, body, err, provider.Invalid)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		params func(url.Values)
		want   provider.Kind
	}{
		{"no state", func(q url.Values) { q.Del("state") }, provider.Invalid},
		{"two states", func(q url.Values) { q.Add("state", "state-1") }, provider.Invalid},
		{"no code", func(q url.Values) { q.Del("code") }, provider.Invalid},
		{"two codes", func(q url.Values) { q.Add("code", "code-2") }, provider.Invalid},
		{"long code", func(q url.Values) { q.Set("code", strings.Repeat("c", 9000)) }, provider.Invalid},
		{"code and error", func(q url.Values) { q.Set("error", "access_denied") }, provider.Invalid},
		{"refused", func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, provider.Denied},
		{"server error", func(q url.Values) { q.Del("code"); q.Set("error", "server_error") }, provider.Unavailable},
		{"unknown error", func(q url.Values) { q.Del("code"); q.Set("error", "<b>") }, provider.Invalid},
		{"another issuer", func(q url.Values) { q.Set("iss", "https://evil.example") }, provider.Invalid},
		{"empty issuer", func(q url.Values) { q.Set("iss", "") }, provider.Invalid},
		{"another issuer's error", func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("iss", "https://evil.example")
		}, provider.Invalid},
	} {
		s := newServer(t)
		_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Issuer = "https://good.example" }), row.params)
		kind(t, row.name, err, row.want)
		if s.request("/token") != nil {
			t.Errorf("%s: the code was redeemed", row.name)
		}
	}
	s := newServer(t)
	p := s.provider(t, func(c *oauth2.Config) { c.Issuer, c.RequireResponseIssuer = "https://good.example", true })
	_, err := login(t, p, nil)
	kind(t, "no issuer where one is required", err, provider.Invalid)
	if id, err := login(t, p, func(q url.Values) { q.Set("iss", "https://good.example") }); err != nil || id.Issuer != "https://good.example" {
		t.Errorf("right issuer: %+v, %v", id, err)
	}
	_, err = login(t, s.provider(t, nil), func(q url.Values) { q.Set("iss", "https://good.example") })
	kind(t, "an issuer, and none configured", err, provider.Misconfigured)
}

// What comes back is not what Begin returned, or lacks the verifier.
func TestForeignData(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.provider(t, nil)
	q := url.Values{"state": {"s"}, "code": {"code-1"}}
	for _, data := range []string{"", "{}", "null", "[]", `{"r":""}`, `{"r":"https://app.example"}`, `{"v":"x"}`} {
		_, err := p.Finish(t.Context(), provider.Callback{Params: q, Data: []byte(data)})
		kind(t, data, err, provider.Invalid)
	}
}

func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		edit func(*oauth2.Config)
		answer
		want provider.Kind
	}{
		{"error", nil, answer{status: 400, body: `{"error":"invalid_grant","error_description":"code-1 at-1"}`}, provider.Expired},
		{"error with status 200", nil, answer{body: `{"error":"incorrect_client_credentials"}`}, provider.Misconfigured},
		{"error beside a token", nil, answer{body: `{"access_token":"at-1","token_type":"bearer","error":"invalid_client"}`}, provider.Misconfigured},
		{"client refused", nil, answer{status: 401, body: `{"error":"invalid_client"}`}, provider.Misconfigured},
		{"down", nil, answer{status: 503, contentType: "text/html", body: `<b>at-1</b>`}, provider.Unavailable},
		{"busy", nil, answer{status: 429}, provider.Unavailable},
		{"a page", nil, answer{contentType: "text/html", body: `at-1`}, provider.Invalid},
		{"JSON that is called a page", nil, answer{contentType: "text/html", body: `{"access_token":"at-1","token_type":"bearer"}`}, provider.Invalid},
		{"cut off", nil, answer{body: `{"access_token":"at-1"`}, provider.Invalid},
		{"a list", nil, answer{body: `[]`}, provider.Invalid},
		{"null", nil, answer{body: `null`}, provider.Invalid},
		{"no token", nil, answer{body: `{"token_type":"bearer"}`}, provider.Invalid},
		{"token is a number", nil, answer{body: `{"access_token":7,"token_type":"bearer"}`}, provider.Invalid},
		{"token breaks the header", nil, answer{body: `{"access_token":"at-1\r\nX: y","token_type":"bearer"}`}, provider.Invalid},
		{"no type", nil, answer{body: `{"access_token":"at-1"}`}, provider.Invalid},
		{"another type", func(c *oauth2.Config) { c.AssumeBearer = true }, answer{body: `{"access_token":"at-1","token_type":"mac"}`}, provider.Invalid},
		{"a form", nil, answer{contentType: "application/x-www-form-urlencoded", body: `access_token=at-1&token_type=bearer`}, provider.Invalid},
		{"a form that is wrong", func(c *oauth2.Config) { c.FormTokens = true }, answer{contentType: "text/plain", body: `access_token=%zz`}, provider.Invalid},
		{"a form with two tokens", func(c *oauth2.Config) { c.FormTokens = true },
			answer{contentType: "text/plain", body: `access_token=a&access_token=b&token_type=bearer`}, provider.Invalid},
		{"a form with an error", func(c *oauth2.Config) { c.FormTokens = true }, answer{contentType: "text/plain", body: `error=invalid_grant`}, provider.Expired},
		{"redirected", nil, answer{status: 307}, provider.Unavailable},
		{"huge", nil, answer{body: `{"access_token":"` + strings.Repeat("a", 2<<20) + `"}`}, provider.Unavailable},
	} {
		s := newServer(t)
		s.token = row.answer
		_, err := login(t, s.provider(t, row.edit), nil)
		kind(t, row.name, err, row.want)
		if s.request("/userinfo") != nil || s.request("/stolen") != nil {
			t.Errorf("%s: it went on", row.name)
		}
	}
}

func TestUserInfoAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		answer
		want provider.Kind
	}{
		{"no such token", answer{status: 401, body: `{"error":"invalid_token"}`}, provider.Invalid},
		{"error with a subject", answer{status: 400, body: `{"sub":"u1"}`}, provider.Invalid},
		{"scope", answer{status: 403}, provider.Misconfigured},
		{"down", answer{status: 500, body: `{"sub":"u1"}`}, provider.Unavailable},
		{"busy", answer{status: 429}, provider.Unavailable},
		{"created", answer{status: 201, body: `{"sub":"u1"}`}, provider.Invalid},
		{"redirected", answer{status: 302}, provider.Unavailable},
		{"a page", answer{contentType: "text/html", body: `{"sub":"u1"}`}, provider.Invalid},
		{"a list", answer{body: `[{"sub":"u1"}]`}, provider.Invalid},
		{"a text", answer{body: `"u1"`}, provider.Invalid},
		{"null", answer{body: `null`}, provider.Invalid},
		{"two documents", answer{body: `{"sub":"u1"}{"sub":"u2"}`}, provider.Invalid},
		{"something behind it", answer{body: `{"sub":"u1"}x`}, provider.Invalid},
		{"cut off", answer{body: `{"sub":"u1"`}, provider.Invalid},
		{"deep", answer{body: strings.Repeat(`{"a":`, 200_000)}, provider.Invalid},
		{"huge", answer{body: `{"sub":"u1","x":"` + strings.Repeat("a", 2<<20) + `"}`}, provider.Unavailable},
	} {
		s := newServer(t)
		s.userinfo = row.answer
		id, err := login(t, s.provider(t, nil), nil)
		kind(t, row.name, err, row.want)
		if id != nil || s.request("/stolen") != nil {
			t.Errorf("%s: it went on: %+v", row.name, id)
		}
	}
}

// The address and whether it is verified come from one document, and only "true" is true.
func TestEmails(t *testing.T) {
	t.Parallel()
	type mail struct {
		Email    any  `json:"email"`
		Verified any  `json:"verified"`
		Primary  bool `json:"primary"`
	}
	for _, row := range []struct {
		name string
		body string
		want string
	}{
		{"primary and verified", toJSON(t, []mail{{"a@x.example", true, false}, {"b@x.example", true, true}, {"c@x.example", true, false}}), "b@x.example true"},
		{"verified before primary", toJSON(t, []mail{{"a@x.example", false, true}, {"b@x.example", true, false}, {"c@x.example", true, false}}), "b@x.example true"},
		{"none verified", toJSON(t, []mail{{"a@x.example", false, false}, {"b@x.example", false, true}}), "b@x.example false"},
		{"none verified nor primary", toJSON(t, []mail{{"a@x.example", false, false}}), " false"},
		{"verified is a number", toJSON(t, []mail{{"a@x.example", 1, true}}), "a@x.example false"},
		{"verified is null", toJSON(t, []mail{{"a@x.example", nil, true}}), "a@x.example false"},
		{"verified is an object", toJSON(t, []mail{{"a@x.example", map[string]any{"true": true}, true}}), "a@x.example false"},
		{"verified is a text", toJSON(t, []mail{{"a@x.example", "true", true}}), "a@x.example true"},
		{"address is null", toJSON(t, []mail{{nil, true, true}, {"b@x.example", true, false}}), "b@x.example true"},
		{"address is a list", toJSON(t, []mail{{[]string{"a@x.example"}, true, true}}), " false"},
		{"nothing", `[]`, " false"},
		{"no objects", `["a@x.example", null, 7]`, " false"},
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","email":"victim@x.example","email_verified":true}` // which does not count here
		s.emails.body = row.body
		id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Endpoints.Emails = s.url + "/emails" }), nil)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := fmt.Sprint(id.Email, " ", id.EmailVerified); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	for name, row := range map[string]struct {
		answer
		kind provider.Kind
	}{
		"an object": {answer{body: `{"emails":[]}`}, provider.Invalid}, "null": {answer{body: `null`}, provider.Invalid},
		"no scope": {answer{status: 404}, provider.Misconfigured}, "down": {answer{status: 500}, provider.Unavailable},
		"a page": {answer{contentType: "text/html", body: "[]"}, provider.Invalid},
	} {
		s := newServer(t)
		s.emails = row.answer
		_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Endpoints.Emails = s.url + "/emails" }), nil)
		kind(t, name, err, row.kind)
	}
}

func TestUserInfoEmail(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`"email":"a@x.example","email_verified":true`:    "a@x.example true",
		`"email":"a@x.example","email_verified":"true"`:  "a@x.example true",
		`"email":"a@x.example","email_verified":"false"`: "a@x.example false",
		`"email":"a@x.example","email_verified":1`:       "a@x.example false",
		`"email":"a@x.example"`:                          "a@x.example false",
		`"email":null,"email_verified":true`:             " false",
		`"email":["a@x.example"],"email_verified":true`:  " false",
		`"email":true,"email_verified":true`:             " false",
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1",` + body + `}`
		id, err := login(t, s.provider(t, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(id.Email, " ", id.EmailVerified); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// Where userinfo lists addresses itself, what stands beside the list counts as little as beside an endpoint of its own.
func TestEmailsOfUserInfo(t *testing.T) {
	t.Parallel()
	const entry = `{"value":"b@x.example","confirmed":"true","main":true}`
	for list, want := range map[string]string{
		`[{"value":"a@x.example","confirmed":false},` + entry + `]`: "b@x.example true",
		`[{"value":"a@x.example","main":true}]`:                     "a@x.example false",
		`[]`:                                                        " false", `null`: " false", entry: " false", `"victim@x.example"`: " false",
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","email":"victim@x.example","email_verified":true,"mails":{"list":` + list + `}}`
		id, err := login(t, s.provider(t, func(c *oauth2.Config) {
			c.EmailList = oauth2.EmailList{List: "mails.list", Email: "value", Verified: "confirmed", Primary: "main"}
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(id.Email, " ", id.EmailVerified); got != want {
			t.Errorf("%s: got %q, want %q", list, got, want)
		}
	}
}

// A server that tells no address that it has not verified says so of none, in each of the three places.
func TestEmailVerifiedByConfiguration(t *testing.T) {
	t.Parallel()
	for place, edit := range map[string]func(*oauth2.Config, *server){
		"userinfo": func(*oauth2.Config, *server) {},
		"a list":   func(c *oauth2.Config, _ *server) { c.EmailList.List = "list" },
		"an endpoint": func(c *oauth2.Config, s *server) {
			c.Endpoints.Emails, s.emails.body = s.url+"/emails", `[{"email":"a@x.example"}]`
		},
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","email":"a@x.example","list":[{"email":"a@x.example"}]}`
		id, err := login(t, s.provider(t, func(c *oauth2.Config) {
			c.EmailVerified = true
			edit(c, s)
		}), nil)
		if err != nil || id.Email != "a@x.example" || !id.EmailVerified {
			t.Errorf("%s: %+v, %v", place, id, err)
		}
		s.userinfo.body, s.emails.body = `{"sub":"u1"}`, `[]`
		if id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.EmailVerified = true }), nil); err != nil || id.EmailVerified {
			t.Errorf("%s: no address is verified: %+v, %v", place, id, err)
		}
	}
}

// What identifies nobody is nobody's former id either, and hinders no login.
func TestFormerSubject(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"old"`: "old", `7`: "7", `null`: "", `""`: "", `"null"`: "", `0`: "", `true`: "", `["old"]`: "", `{"a":1}`: "", `1.5`: "",
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","old":` + value + `}`
		id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Claims.FormerSubject = "old" }), nil)
		if err != nil || id.FormerSubject != want {
			t.Errorf("%s: %+v, %v", value, id, err)
		}
		if id, err := login(t, s.provider(t, nil), nil); err != nil || id.FormerSubject != "" {
			t.Errorf("%s, without a claim for it: %+v, %v", value, id, err)
		}
	}
}

// Groups are texts that can be stored and shown, or none.
func TestGroups(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`["a","b"]`: "[a b]", `"a"`: "[a]", `["a",7,true,null,"",{"n":"b"},["c"],"d\u0000"]`: "[a]", `null`: "[]", `{"a":1}`: "[]",
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","groups":` + value + `}`
		for path, want := range map[string]string{"": want, "-": "[]"} {
			id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Claims.Groups = path }), nil)
			if err != nil || fmt.Sprint(id.Groups) != want {
				t.Errorf("%s at %q: %+v, %v", value, path, id, err)
			}
		}
	}
}

// A page or a picture gets no script.
func TestPicture(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://x.example/a.png": "https://x.example/a.png", "http://x.example/a.png": "http://x.example/a.png", "javascript:alert(1)": "", "data:image/png;base64,x": "", "//x.example/a.png": "", "HTTPS://x": "",
	} {
		s := newServer(t)
		s.userinfo.body = toJSON(t, map[string]any{"sub": "u1", "picture": url})
		id, err := login(t, s.provider(t, nil), nil)
		if err != nil || id.Picture != want {
			t.Errorf("%s: %+v, %v", url, id, err)
		}
	}
}

func TestEssentialClaim(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		value, body string
		ok          bool
	}{
		{"staff", `["staff","x"]`, true}, {"staff", `"staff"`, true}, {"staff", `"staff2"`, false}, {"a|staff", `"staff"`, true}, {"staff", `null`, false},
		{"staff", `{"staff":true}`, false}, {".*", `{"staff":true}`, false}, {".*", `[null,["staff"]]`, false}, {"", `"x"`, true}, {"", `""`, false}, {"", `[]`, false}, {"7", `7`, true},
	} {
		s := newServer(t)
		s.userinfo.body = `{"sub":"u1","org":{"teams":` + row.body + `}}`
		_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.EssentialClaim, c.EssentialValue = "org.teams", row.value }), nil)
		if row.ok && err != nil {
			t.Errorf("%q in %s: %v", row.value, row.body, err)
		}
		if !row.ok {
			kind(t, row.value+" in "+row.body, err, provider.ClaimMismatch)
		}
	}
}

// An address inside somebody's network is not asked unless that is configured.
func TestGuardedClient(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, err := login(t, s.provider(t, func(c *oauth2.Config) { c.InsecureAllowPrivateNetworks = false }), nil)
	kind(t, "loopback", err, provider.Unavailable)
	if s.request("/token") != nil {
		t.Error("the server was asked")
	}
	_, err = login(t, s.provider(t, func(c *oauth2.Config) { c.HTTPClient = &http.Client{} }), nil)
	if err != nil {
		t.Errorf("a client of the host: %v", err)
	}
	s.userinfo.status = 302
	_, err = login(t, s.provider(t, func(c *oauth2.Config) { c.HTTPClient = &http.Client{} }), nil)
	kind(t, "a client without a word on redirects", err, provider.Unavailable)
	if s.request("/stolen") != nil {
		t.Error("the token was taken along")
	}
}
