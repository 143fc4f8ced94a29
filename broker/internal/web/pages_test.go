package web_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// versions are the hashes of static files.
var versions = regexp.MustCompile(`\?v=[\w-]{12}`)

// since is when everything on the account page began.
var since = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

var languages = []string{"en", "de", "fr"}

// theme has a page of its own, as a host's would.
var theme = fstest.MapFS{
	"templates/terms.html": {Data: []byte(`{{define "title"}}{{t "terms.title"}}{{end}}
{{define "main" -}}
<h1>{{template "title" .}}</h1>
{{template "problems" .}}
<p class="lead">{{t "terms.text" "version" .Data.Data.version}}</p>
<form class="fields" method="post" action="{{.Data.Action}}">
{{template "hidden" .Data.Hidden -}}
<label class="choice" for="accept"><input id="accept" type="checkbox" name="accept" value="yes"> {{t "terms.accept"}}</label>
<button class="button" type="submit">{{t "continue.link"}}</button>
</form>
{{- end}}
`)},
	"locales/en.json": {Data: []byte(`{"terms.title": "Terms of use", "terms.text": "Version {version}", "terms.accept": "I agree"}`)},
	"locales/de.json": {Data: []byte(`{"terms.title": "Nutzungsbedingungen", "terms.text": "Fassung {version}",
		"terms.accept": "Ich stimme zu", "field.accept.required": "Bitte stimmen Sie zu."}`)},
}

// pages are rendered in every language, kept as golden files, and looked through.
func pages() map[string]web.Page {
	google := web.Button{Name: "Google", URL: "/id/login/google?return_to=%2Fa&x=1"}
	github := web.Button{Name: "GitHub", URL: "/id/login/github", Icon: "data:image/svg+xml,%3Csvg/%3E", Last: true}
	long := web.Button{Name: "Universität & École <Zürich>", URL: "/id/login/uni", Icon: "/img/uni.svg"}
	return map[string]web.Page{
		"login": {Name: "login", Data: web.LoginData{
			Providers: []web.Button{google, github, long}, Notice: "denied",
			NoticeArgs:  map[string]string{"provider": "GitHub"},
			Application: "Inventory", Back: &web.Link{URL: "https://inventory.example/cb?error=access_denied&state=s"},
			Email: &web.EmailForm{
				Action: "/id/login", Value: `anna"@`, Error: "unknown",
				Hidden: url.Values{"return_to": {"/a?b=c"}, "many": {"1", "2"}},
			},
		}},
		"login-single": {Name: "login", Data: web.LoginData{Providers: []web.Button{github}, Notice: "signed_out"}},
		"login-email":  {Name: "login", Data: web.LoginData{Email: &web.EmailForm{Action: "/id/login"}}},
		"login-none":   {Name: "login", Data: web.LoginData{Back: &web.Link{Text: "Home", URL: "/"}}},
		"error": {Name: "error", Status: http.StatusBadGateway, Data: web.ErrorData{
			Message: "upstream_unavailable", Args: map[string]string{"provider": "Google"},
			Retry: "/id/broker/google/login", Other: "/id/login?idp_hint=", Back: "com.example.app:/cb?error=server_error", Application: "Inventory",
		}},
		"error-elsewhere": {Name: "error", Status: http.StatusBadGateway, Data: web.ErrorData{
			Message: "upstream_misconfigured", Args: map[string]string{"provider": "Google"}, Retry: "/id/login",
		}},
		"error-unknown": {Name: "error", Status: http.StatusBadRequest, Data: web.ErrorData{Message: "no such id"}},
		"expired": {Name: "expired", Status: http.StatusBadRequest, Data: web.ExpiredData{
			Continue: "/id/flow/1", Restart: "/id/login", Back: "https://inventory.example/", Application: "Inventory",
		}},
		"expired-restart": {Name: "expired", Data: web.ExpiredData{Restart: "/id/login"}},
		"logout": {Name: "logout", Data: web.LogoutData{
			Action: "/id/logout", Hidden: url.Values{"return_to": {"https://app.example/"}}, Back: "https://app.example/",
		}},
		"logout-application": {Name: "logout", Data: web.LogoutData{
			Action: "/id/logout", Hidden: url.Values{"client_id": {"inventory"}, "confirm": {"1"}}, Application: "Inventory",
		}},
		"signedout": {Name: "signedout", Data: web.SignedOutData{Login: "/id/login", Back: "/"}},
		"signedout-upstream": {Name: "signedout", Data: web.SignedOutData{
			Login: "/id/login", Back: "https://inventory.example/out?state=s&a=1", Application: "Inventory",
			Upstream: &web.Link{Text: "Universität & École", URL: "/id/broker/uni/logout?state=x"},
			Frames:   []string{"https://a.example:8443/out?iss=https%3A%2F%2Fid&sid=s", "http://127.0.0.1:1/out", "https://a.example:8443/2"},
		}},
		"signedout-unconfirmed": {Name: "signedout", Data: web.SignedOutData{
			Back: "https://inventory.example/out?state=s", Application: "Inventory", Unconfirmed: true,
			Upstream: &web.Link{Text: "Universität & École", URL: "/id/broker/uni/logout?state=x"},
		}},
		"signedout-onward": {Name: "signedout", Data: web.SignedOutData{
			Login: "/id/login", Back: "https://inventory.example/out", Onward: "https://inventory.example/out?a=1&b='2'",
			Frames: []string{"https://a.example/out"},
		}},
		"continue": {Name: "continue", Data: web.ContinueData{URL: "https://idp.example/authorize?a=1&b='2'"}},
		"post": {Name: "post", Data: web.PostData{
			URL: "https://idp.example/sso", Fields: url.Values{"SAMLRequest": {`a+b/"<c>`}, "submit": {"1"}},
		}},
		"post-application": {Name: "post", Data: web.PostData{
			URL: "https://inventory.example/cb", Fields: url.Values{"code": {"c"}, "state": {`"<s>`}}, Application: "Inventory",
		}},
		"consent": {Name: "consent", Data: web.ConsentData{
			Application: "Inventory", Account: "anna@example.com", Scopes: []string{"openid", "profile", "email", "offline_access", "stock:<all>"},
			Action: "/id/consent", Hidden: url.Values{"request": {`a"b`}}, Field: "decision",
		}},
		"device": {Name: "device", Data: web.DeviceData{Action: "/id/device"}},
		"device-error": {Name: "device", Status: http.StatusBadRequest, Data: web.DeviceData{
			Action: "/id/device", Hidden: url.Values{"ui_locales": {"de"}}, Value: `BCDF"<`, Error: "form",
		}},
		"device-confirm": {Name: "device-confirm", Data: web.DeviceConfirmData{
			Application: "Living Room <TV>", Account: "anna@example.com", Code: "WDJB-MJHT", Scopes: []string{"openid", "email", "stock:<all>"},
			Action: "/id/device", Hidden: url.Values{"confirm": {"sealed"}}, Field: "decision", Switch: "/id/device?user_code=WDJB-MJHT&prompt=select_account",
		}},
		"device-allowed": {Name: "device-done", Data: web.DeviceDoneData{Application: "Living Room <TV>", Allowed: true}},
		"device-denied":  {Name: "device-done", Data: web.DeviceDoneData{Application: "Living Room <TV>"}},
		"password": {Name: "password", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"username": `anna"<`, "another": true},
			Errors: map[string]string{"username": "required", "password": "refused"}, Reset: "/id/reset?flow=1",
		}},
		"password-fixed": {Name: "password", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"username": "anna@example.com", "fixed": true},
		}},
		"otp": {Name: "otp", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"another": true},
			Errors: map[string]string{"code": "refused"},
		}},
		"recovery": {Name: "recovery", Data: web.FlowData{Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}}},
		"new-password": {Name: "new-password", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"username": "anna", "must": true},
			Errors: map[string]string{"password": "breached", "repeat": "not_repeated"},
		}},
		"review": {Name: "review", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data:   map[string]any{"username": `anna"<`, "email": "anna@", "first_name": "Anna", "last_name": "", "single": false},
			Errors: map[string]string{"email": "invalid", "last_name": "required", "username": "invalid"},
		}},
		"review-single": {Name: "review", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data: map[string]any{"username": "", "email": "", "name": "Anna & Co", "single": true, "email_optional": true},
		}},
		"confirm-link": {Name: "confirm-link", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data: map[string]any{"field": "email", "provider": "Universität & École", "review": true, "link": true},
		}},
		"confirm-link-username": {Name: "confirm-link", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data: map[string]any{"field": "username", "provider": "Google", "review": true, "link": false},
		}},
		"override-link": {Name: "override-link", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data: map[string]any{"provider": "Google", "former": "anna@old.example", "now": "<anna@new.example>"},
		}},
		"verify-email": {Name: "verify-email", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data:   map[string]any{"email": "anna@example.com", "provider": "Google", "minutes": "15", "number": "0471", "another": true},
			Errors: map[string]string{"confirmed": "not_yet"},
		}},
		"verify-email-own": {Name: "verify-email", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"email": "anna@example.com", "minutes": "15", "number": "0471", "own": true},
		}},
		"verify-email-failed": {Name: "verify-email", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data:   map[string]any{"email": "anna@example.com", "provider": "Google", "minutes": "15"},
			Errors: map[string]string{"mail": "failed"},
		}},
		"choose-provider": {Name: "choose-provider", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"},
			Data: map[string]any{"provider": "Google", "another": true, "providers": []any{
				map[string]any{"alias": "uni", "name": "Universität & École"}, map[string]any{"alias": "hub", "name": "GitHub"},
			}},
			Errors: map[string]string{"provider": "not_linked"},
		}},
		"proof": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {`h"<`}}, Provider: "Google", Username: "<anna>", Account: "anna",
		}},
		"proof-disowns": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {"h"}}, Provider: "Google", Username: "anna@gmail.example", Account: "anna", Disowns: true,
		}},
		"proof-verify": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {"h"}}, Provider: "Google", Username: "<anna>", Account: "anna", Email: "anna@example.com",
		}},
		"proof-verify-local": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {"h"}}, Account: "anna", Email: "anna@example.com",
		}},
		"proof-elsewhere": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {"h"}}, Provider: "Google", Username: "<anna>", Account: "anna", Elsewhere: true,
		}},
		"proof-elsewhere-wrong": {Name: "proof", Data: web.ProofData{
			Action: "/id/proof", Hidden: url.Values{"link": {"h"}}, Account: "anna", Email: "anna@example.com", Elsewhere: true, Problem: "wrong",
		}},
		"proof-done": {Name: "proof", Data: web.ProofData{
			Done: true, Application: "Inventory", Back: "https://inventory.example/", Restart: "/id/login",
		}},
		"passkey": {Name: "passkey", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"options": `{"challenge":"<"'>"}`, "another": true},
			Errors: map[string]string{"credential": "refused"},
		}},
		"passkey-create": {Name: "passkey", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"options": `{}`, "create": true},
		}},
		"login-local": {Name: "login", Data: web.LoginData{
			Providers: []web.Button{google}, Notice: "sign_in_again", Local: &web.LocalForm{
				Action: "/id/login/password", Start: `/authorize?a="b"&c=d`, Username: `anna"<`, Reset: "/id/reset",
				Errors: map[string]string{"username": "required", "password": "refused"},
			},
		}},
		"login-passkey": {Name: "login", Data: web.LoginData{
			Providers: []web.Button{google}, Local: &web.LocalForm{Action: "/id/login/password", Start: "/login"}, Passkey: &web.PasskeyForm{
				Action: "/id/login/passkey", Hidden: url.Values{"start": {"/login"}, "begun": {"sealed"}}, Options: `{"challenge":"<"'>"}`, Error: "refused",
			},
		}},
		"login-passkey-only": {Name: "login", Data: web.LoginData{Passkey: &web.PasskeyForm{Action: "/id/login/passkey", Options: `{}`}}},
		"password-passkey": {Name: "password", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Errors: map[string]string{"credential": "refused"},
			Data: map[string]any{"username": "anna", "passkey": `{"challenge":"<"'>"}`, "another": true},
		}},
		"account-passkey": {Name: "account-passkey", Data: web.AccountFormData{
			Base: "/account", Action: "/account/passkey", Hidden: url.Values{"begun": {"sealed"}}, Options: `{"challenge":"<"'>"}`, Value: `a"<`,
			Errors: map[string]string{"credential": "refused", "label": "invalid"},
		}},
		"account-passkey-rename": {Name: "account-passkey", Data: web.AccountFormData{
			Base: "/account", Action: "/account/rename", Hidden: url.Values{"credential": {"k1"}}, Value: "Laptop", Has: true,
		}},
		"login-local-only": {Name: "login", Data: web.LoginData{Local: &web.LocalForm{Action: "/id/login/password", Start: "/login"}}},
		"account": {Name: "account", Data: web.AccountData{
			Base: "/account", Account: "anna", Rename: true, Notice: "last_way", Bad: true, Email: "anna@example.com", Mail: true,
			Profile: web.AccountProfile{
				FirstName: "Anna", LastName: `"<b>`, Name: "Anna", Locale: "de", Errors: map[string]string{"last_name": "invalid"},
				Locales: []web.AccountLocale{{}, {Tag: "en", Name: "English"}, {Tag: "de", Name: "Deutsch", Chosen: true}},
			},
			Links: []web.AccountLink{
				{ID: "l1", Provider: "Google", As: "anna@gmail.example", Needed: true}, {ID: "l2", Provider: "Universität & École", Icon: "/img/uni.svg", Off: true},
			},
			Linkable: []web.Button{github, {Name: "Microsoft", URL: "/id/link?provider=ms&return_to=%2Faccount%2F"}},
			Local: &web.AccountCredentials{
				Password: &web.AccountCredential{ID: "p", Since: since}, App: &web.AccountCredential{ID: "a", Since: since}, Codes: 7,
				Passkeys: []web.AccountCredential{{ID: "k1", Label: "<Laptop>", Since: since, Used: since}, {ID: "k2", Since: since}}, MorePasskeys: true,
			},
			Sessions: []web.AccountSession{
				{ID: "s1", Current: true, By: "Google", Since: since, Seen: since}, {ID: "s2", Since: since, Seen: since},
				{ID: "s3", Passkey: true, Since: since, Seen: since},
			},
			Logout: "/id/logout",
		}},
		"account-transient": {Name: "account", Data: web.AccountData{
			Base: "/account", Account: "anna", Transient: true, Logout: "/id/logout",
			Sessions: []web.AccountSession{{ID: "s1", Current: true, By: "Google", Since: since, Seen: since}},
		}},
		"account-bare": {Name: "account", Data: web.AccountData{
			Base: "/account", Account: "anna", Notice: "profile", Local: &web.AccountCredentials{MorePasskeys: true},
			Sessions: []web.AccountSession{{ID: "s1", Current: true, By: "Google", Since: since, Seen: since}},
		}},
		"account-confirm": {Name: "account-confirm", Data: web.ConfirmData{
			Question: "unlink", Args: map[string]string{"provider": "Universität & École"}, Action: "/account/unlink",
			Hidden: url.Values{"link": {"l1"}}, Field: "decision", Danger: true,
		}},
		"account-link": {Name: "account-confirm", Data: web.ConfirmData{
			Question: "link", Args: map[string]string{"provider": "Google", "account": "anna"}, Action: "/id/link",
			Hidden: url.Values{"request": {"sealed"}}, Field: "decision",
		}},
		"account-password": {Name: "account-password", Data: web.AccountFormData{
			Base: "/account", Action: "/account/password", Account: "anna", Has: true,
			Errors: map[string]string{"current": "refused", "password": "too_short", "repeat": "not_repeated"},
		}},
		"account-totp": {Name: "account-totp", Data: web.AccountFormData{
			Base: "/account", Action: "/account/totp", Hidden: url.Values{"enrolment": {"sealed"}}, QR: "data:image/png;base64,AAAA",
			Secret: "ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567", Errors: map[string]string{"code": "refused"},
		}},
		"account-username": {Name: "account-username", Data: web.AccountFormData{
			Base: "/account", Action: "/account/username", Value: "<anna>", Errors: map[string]string{"username": "taken"},
		}},
		"account-email": {Name: "account-email", Data: web.AccountFormData{
			Base: "/account", Action: "/account/email", Value: `a"<`, Errors: map[string]string{"email": "invalid"},
		}},
		"account-recovery": {Name: "account-recovery", Data: web.RecoveryData{
			Base: "/account", Codes: []string{"ABCD-EFGH-IJKL-MNOP", "QRST-UVWX-YZ23-4567"},
		}},
		"reset-ask": {Name: "reset", Data: web.ResetData{
			Stage: "ask", Action: "/id/reset", Hidden: url.Values{"flow": {"1"}}, Value: `a"<`, Continue: "/id/login", Errors: map[string]string{"username": "required"},
		}},
		"reset-sent": {Name: "reset", Data: web.ResetData{Stage: "sent", Continue: "/id/login"}},
		"reset-set": {Name: "reset", Data: web.ResetData{
			Stage: "set", Action: "/id/reset/set", Hidden: url.Values{"link": {"h"}}, Errors: map[string]string{"password": "too_short", "repeat": "not_repeated"},
		}},
		"reset-done": {Name: "reset", Data: web.ResetData{Stage: "done", Continue: "/id/login"}},
		"terms": {Name: "terms", Data: web.FlowData{
			Action: "/id/flow/1", Hidden: map[string]string{"turn": "t"}, Data: map[string]any{"version": 7},
			Errors: map[string]string{"accept": "required"},
		}},
	}
}

func newPages(t testing.TB, c web.Config) *web.Pages {
	t.Helper()
	p, err := web.NewPages(c)
	if err != nil {
		t.Fatalf("NewPages: %v", err)
	}
	return p
}

func render(t testing.TB, p *web.Pages, page web.Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	p.Render(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), page)
	return w
}

func TestGolden(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Base: "/id", Name: "Northwind & Co", Theme: theme})
	for name, page := range pages() {
		for _, lang := range languages {
			t.Run(name+"/"+lang, func(t *testing.T) {
				t.Parallel()
				page := page
				page.Locales, page.RequestID = lang, "7QK2M4XD5HTZ"
				w := render(t, p, page)
				got := w.Body.Bytes()
				if want := max(page.Status, http.StatusOK); w.Code != want {
					t.Fatalf("status %d, want %d: %s", w.Code, want, got)
				}
				inspect(t, got, lang, page.Name)
				// The hashes of static files would change every golden file whenever the stylesheet does.
				got = versions.ReplaceAll(got, []byte("?v=HASH"))
				file := filepath.Join("testdata", "golden", name+"."+lang+".html")
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs; look at the page, then run go test with -update. got:\n%s", file, got)
				}
			})
		}
	}
}

// TestErrors renders every error message that there is, in every language, with and without arguments.
func TestErrors(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{})
	for key := range catalog(t, "en") {
		id, ok := strings.CutSuffix(key, ".title")
		id, isError := strings.CutPrefix(id, "error.")
		if !ok || !isError {
			continue
		}
		for _, lang := range languages {
			texts := catalog(t, lang)
			bare := render(t, p, web.Page{Name: "error", Locales: lang, Data: web.ErrorData{Message: id}}).Body.String()
			args := map[string]string{"provider": "Pro&vider", "application": "App"}
			full := render(t, p, web.Page{Name: "error", Locales: lang, Data: web.ErrorData{Message: id, Args: args}}).Body.String()
			inspect(t, []byte(bare), lang, "error")
			inspect(t, []byte(full), lang, "error")
			if strings.ContainsAny(bare+full, "{}") {
				t.Errorf("%s in %s: a placeholder was left", id, lang)
			}
			text := texts["error."+id+".text"]
			if strings.Contains(text, "{provider}") &&
				(!strings.Contains(bare, texts["default.provider"]) || !strings.Contains(full, "Pro&amp;vider")) {
				t.Errorf("%s in %s does not name the provider: %s", id, lang, full)
			}
		}
	}
}

// TestHostile renders what an attacker would have an upstream, an application or a parameter say.
func TestHostile(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Theme: theme})
	scripts := []string{
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)",
		"data:text/html,<script>alert(1)</script>", "vbscript:x", "javascript://x.example/%0aalert(1)",
	}
	markup := `"><script>alert(1)</script><img src=x onerror=alert(1)>' {provider} {{.}}`
	for _, script := range scripts {
		for name, data := range map[string]any{
			"login": web.LoginData{
				Providers: []web.Button{{Name: markup, URL: script, Icon: script}, {Name: "b", URL: script, Icon: markup, Last: true}},
				Notice:    markup, NoticeArgs: map[string]string{"provider": markup}, Application: markup,
				Email:   &web.EmailForm{Action: script, Value: markup, Error: markup, Hidden: url.Values{markup: {markup}}},
				Passkey: &web.PasskeyForm{Action: script, Hidden: url.Values{markup: {markup}}, Options: markup, Error: markup},
				Back:    &web.Link{Text: markup, URL: script},
			},
			"error": web.ErrorData{
				Message: "denied", Args: map[string]string{"provider": markup}, Retry: script, Other: script, Back: script, Application: markup,
			},
			"device": web.DeviceData{Action: script, Hidden: url.Values{markup: {markup}}, Value: markup, Error: markup},
			"device-confirm": web.DeviceConfirmData{
				Application: markup, Account: markup, Code: markup, Scopes: []string{markup}, Action: script,
				Hidden: url.Values{markup: {markup}}, Field: markup, Switch: script,
			},
			"device-done": web.DeviceDoneData{Application: markup, Allowed: true},
			"expired":     web.ExpiredData{Continue: script, Restart: script, Back: script, Application: markup},
			"logout":      web.LogoutData{Action: script, Back: script, Application: markup},
			"signedout": web.SignedOutData{
				Login: script, Back: script, Application: markup, Upstream: &web.Link{Text: markup, URL: script}, Onward: script,
				Unconfirmed: true,
				Frames:      []string{script, markup, "https://a.example;script-src *"},
			},
			"consent": web.ConsentData{
				Application: markup, Account: markup, Scopes: []string{markup}, Action: script,
				Hidden: url.Values{markup: {markup}}, Field: markup,
			},
			"password": web.FlowData{
				Action: script, Hidden: map[string]string{markup: markup}, Data: map[string]any{"username": markup, "another": markup, "passkey": markup},
				Errors: map[string]string{"username": markup, "password": markup, "credential": markup},
			},
			"otp":      web.FlowData{Action: script, Errors: map[string]string{"code": markup}},
			"recovery": web.FlowData{Action: script, Errors: map[string]string{"code": markup}},
			"new-password": web.FlowData{
				Action: script, Data: map[string]any{"username": markup}, Errors: map[string]string{"password": markup, "repeat": markup},
			},
			"review": web.FlowData{
				Action: script, Data: map[string]any{"username": markup, "email": markup, "first_name": markup, "last_name": markup},
				Errors: map[string]string{"username": markup, "email": markup, "first_name": markup, "last_name": markup},
			},
			"confirm-link":  web.FlowData{Action: script, Data: map[string]any{"field": markup, "provider": markup, "review": true, "link": true}},
			"override-link": web.FlowData{Action: script, Data: map[string]any{"provider": markup, "former": markup, "now": markup}},
			"verify-email": web.FlowData{
				Action: script, Data: map[string]any{"email": markup, "provider": markup, "minutes": markup, "another": true},
				Errors: map[string]string{"confirmed": markup},
			},
			"choose-provider": web.FlowData{Action: script, Errors: map[string]string{"provider": markup}, Data: map[string]any{
				"provider": markup, "providers": []any{map[string]any{"alias": markup, "name": markup}},
			}},
			"proof": web.ProofData{
				Action: script, Hidden: url.Values{markup: {markup}}, Provider: markup, Username: markup, Account: markup,
			},
			"passkey": web.FlowData{
				Action: script, Data: map[string]any{"options": markup, "create": markup}, Errors: map[string]string{"credential": markup},
			},
			"account": web.AccountData{
				Base: "/account", Account: markup, Notice: markup, Email: markup, Mail: true, Logout: script,
				Profile: web.AccountProfile{
					FirstName: markup, LastName: markup, Name: markup, Locales: []web.AccountLocale{{Tag: markup, Name: markup}},
					Errors: map[string]string{"name": markup},
				},
				Links:    []web.AccountLink{{ID: markup, Provider: markup, Icon: script, As: markup}},
				Linkable: []web.Button{{Name: markup, URL: script, Icon: script}},
				Local: &web.AccountCredentials{
					Password: &web.AccountCredential{ID: markup}, App: &web.AccountCredential{ID: markup, Label: markup},
					Passkeys: []web.AccountCredential{{ID: markup, Label: markup}}, MorePasskeys: true,
				},
				Sessions: []web.AccountSession{{ID: markup, By: markup}},
			},
			"account-password": web.AccountFormData{Base: "/account", Action: script, Account: markup, Has: true, Errors: map[string]string{"password": markup}},
			"account-totp":     web.AccountFormData{Base: "/account", Action: script, QR: script, Secret: markup, Hidden: url.Values{markup: {markup}}},
			"account-username": web.AccountFormData{Base: "/account", Action: script, Value: markup, Errors: map[string]string{"username": markup}},
			"account-email":    web.AccountFormData{Base: "/account", Action: script, Value: markup, Errors: map[string]string{"email": markup}},
			"account-passkey":  web.AccountFormData{Base: "/account", Action: script, Options: markup, Value: markup, Hidden: url.Values{markup: {markup}}},
			"account-recovery": web.RecoveryData{Base: "/account", Codes: []string{markup}},
			"account-confirm":  web.ConfirmData{Question: "link", Args: map[string]string{"provider": markup}, Action: script, Hidden: url.Values{markup: {markup}}, Field: markup},
			"reset":            web.ResetData{Stage: "set", Action: script, Hidden: url.Values{markup: {markup}}, Continue: script},
			"post": web.PostData{ // whose URL is refused if it is a script: TestContinueAndPostCheckTheirURL
				URL: "https://idp.example/sso?a='b'", Fields: url.Values{"SAMLRequest": {markup}, "RelayState": {"javascript:alert(1)", markup}, markup: {markup}}, Application: markup,
			},
			"terms": web.FlowData{
				Action: script, Hidden: map[string]string{markup: markup}, Data: map[string]any{"version": markup},
				Errors: map[string]string{"accept": markup},
			},
		} {
			w := render(t, p, web.Page{Name: name, RequestID: markup, Data: data})
			if w.Code != http.StatusOK {
				t.Errorf("%s with %q: status %d", name, script, w.Code)
			}
			inspect(t, w.Body.Bytes(), "en", name)
		}
	}
}

// TestIcon: a tile stands in for what the policy would not let load.
func TestIcon(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{})
	for icon, want := range map[string]bool{
		"/id/static/g.svg": true, "data:image/png;base64,AAAA": true, "": false, "https://cdn.example/g.svg": false,
		"//cdn.example/g.svg": false, "data:text/html,x": false, "javascript:x": false, "g.svg": false,
	} {
		w := render(t, p, web.Page{Name: "login", Data: web.LoginData{Providers: []web.Button{{Name: "«ölx»", URL: "/", Icon: icon}}}})
		body := w.Body.String()
		if got := strings.Contains(body, `<img class="tile"`); got != want {
			t.Errorf("icon %q: shown is %t, want %t", icon, got, want)
		}
		if tile := strings.Contains(body, `aria-hidden="true">Ö</span>`); tile == want {
			t.Errorf("icon %q: tile is %t, want %t", icon, tile, !want)
		}
	}
}

func TestContinueAndPostCheckTheirURL(t *testing.T) {
	t.Parallel()
	rows := []struct {
		url            string
		onward, posted bool
	}{
		{"https://idp.example/a?b=c&d='e'#f", true, true},
		{"http://127.0.0.1:8080/cb", true, true},
		{"/id/login", true, false},
		{"com.example.app:/cb?code=x", true, false},
		{"javascript:alert(1)", false, false},
		{"JavaScript:alert(1)", false, false},
		{"java\tscript:alert(1)", false, false},
		{" https://idp.example/", false, false},
		{"data:text/html,x", false, false},
		{"about:blank", false, false},
		{"https:///path", false, false},
		{"https:idp.example", false, false},
		{"//evil.example/", false, false},
		{"/\\evil.example/", false, false},
		{"relative", false, false},
		{"https://idp.example/\"x", false, false},
		{"", false, false},
	}
	p := newPages(t, web.Config{})
	for _, row := range rows {
		for name, want := range map[string]bool{"continue": row.onward, "post": row.posted} {
			var data any = web.ContinueData{URL: row.url}
			if name == "post" {
				data = web.PostData{URL: row.url}
			}
			w := render(t, p, web.Page{Name: name, RequestID: "id", Data: data})
			switch body := w.Body.String(); {
			case want && (w.Code != http.StatusOK || strings.Contains(body, "ZgotmplZ")):
				t.Errorf("%s to %q: status %d\n%s", name, row.url, w.Code, body)
			case !want && (w.Code != http.StatusInternalServerError || body != "Internal error id\n"):
				t.Errorf("%s to %q: status %d, want 500\n%s", name, row.url, w.Code, body)
			}
		}
	}
}

// TestRenderFailure sees a plain 500 instead of half a page, and a log that tells why.
func TestRenderFailure(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := newPages(t, web.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, page := range []web.Page{
		{Name: "nosuch", RequestID: "r1"},
		{Name: "login", RequestID: "r2", Data: web.ErrorData{}},
		{Name: "layout", RequestID: "r3"},
	} {
		w := render(t, p, page)
		if got, want := w.Body.String(), "Internal error "+page.RequestID+"\n"; w.Code != http.StatusInternalServerError || got != want {
			t.Errorf("%s: %d %q, want 500 %q", page.Name, w.Code, got, want)
		}
		if !strings.Contains(log.String(), "request="+page.RequestID) {
			t.Errorf("%s: not logged: %s", page.Name, log.String())
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: headers %v", page.Name, w.Header())
		}
	}
}

func TestRenderConcurrently(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Theme: theme})
	var wg sync.WaitGroup
	for name, page := range pages() {
		for _, lang := range languages {
			page := page
			page.Locales = lang
			want := render(t, p, page).Body.String()
			wg.Go(func() {
				if got := render(t, p, page).Body.String(); got != want {
					t.Errorf("%s in %s differs from one rendering to the next", name, lang)
				}
			})
		}
	}
	wg.Wait()
}

func BenchmarkRender(b *testing.B) {
	p := newPages(b, web.Config{Theme: theme})
	page := pages()["login"]
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "de-CH,de;q=0.9,en;q=0.8")
	b.ReportAllocs()
	for b.Loop() {
		p.Render(httptest.NewRecorder(), r, page)
	}
}

// node is a start tag.
type node struct {
	name string
	attr map[string]string
}

// void are the elements without an end tag.
var void = []string{"meta", "link", "img", "input"}

// inspect checks what must hold for every page: it is well-formed, in its language, can be used by everybody, and has
// nothing that the policy forbids.
func inspect(t *testing.T, page []byte, lang, name string) {
	t.Helper()
	nodes := parse(t, page)
	count := make(map[string]int)
	ids, labelled := make(map[string]bool), make(map[string]bool)
	for _, n := range nodes {
		count[n.name]++
		if id := n.attr["id"]; id != "" {
			if ids[id] {
				t.Errorf("%s: id %q twice", name, id)
			}
			ids[id] = true
		}
		if n.name == "label" {
			labelled[n.attr["for"]] = true
		}
	}
	for _, once := range []string{"html", "head", "title", "body", "header", "main", "h1"} {
		if count[once] != 1 {
			t.Errorf("%s: %d <%s>, want 1", name, count[once], once)
		}
	}
	if got := nodes[0].attr["lang"]; got != lang {
		t.Errorf("%s: lang=%q, want %q", name, got, lang)
	}
	for _, n := range nodes {
		for _, complaint := range complaints(n, name, ids, labelled) {
			t.Errorf("%s: <%s %v> %s", name, n.name, n.attr, complaint)
		}
	}
}

// scripted are the pages that may have a script of ours, with which.
var scripted = map[string]string{
	"post": "/static/post.js", "passkey": "/static/passkey.js", "login": "/static/passkey.js", "password": "/static/passkey.js",
	"account-passkey": "/static/passkey.js",
}

func complaints(n node, page string, ids, labelled map[string]bool) (all []string) {
	complain := func(when bool, what string) {
		if when {
			all = append(all, what)
		}
	}
	kind := n.attr["type"]
	_, hidden := n.attr["hidden"]
	framed := page == "signedout" && hidden && n.attr["sandbox"] == "allow-scripts allow-same-origin"
	complain(n.name == "iframe" && !framed, "is not allowed")
	complain(n.name == "style" || n.name == "base" || n.name == "object", "is not allowed")
	complain(n.name == "script" && (scripted[page] == "" || !strings.Contains(n.attr["src"], scripted[page])), "is a script")
	complain(n.name == "input" && kind != "hidden" && !labelled[n.attr["id"]], "has no label")
	complain(n.name == "button" && kind == "", "has no type")
	_, alt := n.attr["alt"]
	complain(n.name == "img" && !alt, "has no alt")
	complain(n.name == "a" && n.attr["href"] == "", "leads nowhere")
	complain(n.name == "form" && n.attr["action"] == "", "has no action")
	for _, id := range strings.Fields(n.attr["aria-describedby"]) {
		complain(!ids[id], "is described by what is not there")
	}
	for attr, value := range n.attr {
		complain(attr == "style" || strings.HasPrefix(attr, "on"), "has an inline "+attr)
		if attr == "href" || attr == "src" || attr == "action" || n.name == "meta" && attr == "content" {
			v := strings.ToLower(value)
			complain(strings.Contains(v, "script:") && !strings.HasPrefix(v, "#"), "has a script as its "+attr)
			complain(strings.HasPrefix(v, "data:") && !(n.name == "img" && strings.HasPrefix(v, "data:image/")), "has data as its "+attr)
			complain(strings.HasPrefix(v, "#") && v != "#zgotmplz" && !ids[value[1:]], "points at what is not there")
		}
	}
	return all
}

// parse returns the start tags of a page, and checks that elements are closed in the order in which they were opened.
func parse(t *testing.T, page []byte) (nodes []node) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict = false
	var open []string
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, page)
		}
		switch tag := token.(type) {
		case xml.StartElement:
			n := node{name: tag.Name.Local, attr: make(map[string]string)}
			for _, a := range tag.Attr {
				if _, twice := n.attr[a.Name.Local]; twice {
					t.Errorf("<%s> has %s twice", n.name, a.Name.Local)
				}
				n.attr[a.Name.Local] = a.Value
			}
			nodes = append(nodes, n)
			if !slices.Contains(void, n.name) {
				open = append(open, n.name)
			}
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != tag.Name.Local {
				t.Fatalf("</%s> closes %v\n%s", tag.Name.Local, open, page)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) != 0 || len(nodes) == 0 {
		t.Fatalf("left open: %v\n%s", open, page)
	}
	return nodes
}

// TestInspect shows that the inspection would see what it is there for.
func TestInspect(t *testing.T) {
	t.Parallel()
	for _, bad := range []node{
		{"a", map[string]string{"href": "JavaScript:x"}},
		{"a", map[string]string{"href": ""}},
		{"a", map[string]string{"href": "#nosuch"}},
		{"meta", map[string]string{"content": "0;url=javascript:x"}},
		{"iframe", nil},
		{"p", map[string]string{"style": "x"}},
		{"p", map[string]string{"onclick": "x"}},
		{"script", map[string]string{"src": "/x.js"}},
		{"img", map[string]string{"src": "data:text/html,x", "alt": ""}},
		{"img", map[string]string{"src": "/x"}},
		{"input", map[string]string{"id": "x"}},
		{"input", map[string]string{"type": "hidden", "aria-describedby": "x"}},
		{"button", nil},
		{"form", nil},
	} {
		if got := complaints(bad, "login", nil, nil); len(got) != 1 {
			t.Errorf("%v: complaints %v, want one", bad, got)
		}
	}
	if got := complaints(node{"script", map[string]string{"src": "/id/static/post.js"}}, "post", nil, nil); got != nil {
		t.Errorf("script of the post page: %v", got)
	}
}
