package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// newDeviceWorld has a public client "tv" and a confidential one "box", which are devices.
func newDeviceWorld(t testing.TB, edit func(*broker.Config)) *world {
	t.Helper()
	return newWorld(t, withDevices(edit))
}

func withDevices(edit func(*broker.Config)) func(*broker.Config) {
	return func(c *broker.Config) {
		c.Clients = append(c.Clients,
			store.Client{ID: "tv", Name: "Living Room <TV>", AuthMethod: store.AuthNone, Grants: []string{store.GrantTypeDevice}},
			store.Client{ID: "box", Secrets: c.Clients[0].Secrets, Grants: []string{store.GrantTypeDevice}, Scopes: []string{"profile", "api"}})
		if edit != nil {
			edit(c)
		}
	}
}

// editClient returns an edit of the client with this id.
func editClient(id string, edit func(*store.Client)) func(*broker.Config) {
	return func(c *broker.Config) {
		for i := range c.Clients {
			if c.Clients[i].ID == id {
				edit(&c.Clients[i])
			}
		}
	}
}

// A deviceStart is what a device is told (RFC 8628 §3.2).
type deviceStart struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
}

func (w *world) startDevice() deviceStart {
	w.t.Helper()
	r := send(w.t, http.MethodPost, w.URL+"/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid profile email"}}, nil)
	var d deviceStart
	decoder := json.NewDecoder(strings.NewReader(r.text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil || r.StatusCode != http.StatusOK {
		w.t.Fatalf("status %d: %s", r.StatusCode, r.text)
	}
	return d
}

// poll asks as the device does.
func (w *world) poll(code string) *reply {
	w.t.Helper()
	return send(w.t, http.MethodPost, w.URL+"/token", url.Values{
		"grant_type": {store.GrantTypeDevice}, "device_code": {code}, "client_id": {"tv"},
	}, nil)
}

// decide opens the page of a device and answers it.
func (w *world) decide(b *brokertest.Browser, d deviceStart, decision string) *brokertest.Page {
	w.t.Helper()
	page := b.Get(d.Complete)
	shows(w.t, page, http.StatusOK, d.UserCode)
	return page.Submit(url.Values{"decision": {decision}})
}

func TestDevice(t *testing.T) { // RFC 8628 §3
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.UserCode) || len(d.DeviceCode) < 22 ||
		d.URI != w.URL+"/device" || d.Complete != d.URI+"?user_code="+d.UserCode || d.ExpiresIn != 600 || d.Interval != 5 {
		t.Errorf("told %+v", d)
	}
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "authorization_pending")
	b := brokertest.NewBrowser(t)
	page := b.Get(d.Complete)
	shows(t, page, http.StatusOK, "Continue with Demo")
	page = page.Click("Demo")
	shows(t, page, http.StatusOK, "Living Room &lt;TV&gt;", d.UserCode, "alice@example.com", "Only allow this if you started it yourself", "see your e-mail address")
	if page.URL.Path != "/id/device" {
		t.Errorf("the login ends at %s", page.URL)
	}
	w.advance(5 * time.Second)
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "authorization_pending")
	shows(t, page.Submit(url.Values{"decision": {"allow"}}), http.StatusOK, "Your device is connected", "Go back to it")
	a := w.poll(d.DeviceCode).tokens(t)
	who := b.Get(w.Origin + "/").Who()
	claims := part(t, a.IDToken, 1)
	if claims["sub"] != who.ID || claims["sid"] != who.Session || claims["aud"] != "tv" || claims["identity_provider"] != "demo" || claims["nonce"] != nil {
		t.Errorf("ID token says %v", claims)
	}
	if a.Scope != "openid profile email" || a.TokenType != "Bearer" {
		t.Errorf("answered %+v", a)
	}
	if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK || !strings.Contains(r.text, who.ID) {
		t.Errorf("userinfo: status %d %s", r.StatusCode, r.text)
	}
}

func TestDeviceRequestRefusals(t *testing.T) { // RFC 8628 §3.1, authentik CVE-2024-38371
	t.Parallel()
	w := newDeviceWorld(t, nil)
	good := func() url.Values { return url.Values{"client_id": {"tv"}, "scope": {"openid"}} }
	for _, row := range []struct {
		name   string
		form   func(url.Values)
		header func(*http.Request)
		status int
		code   string
	}{
		{"no client", unset("client_id"), nil, 401, "invalid_client"},
		{"unknown client", set("client_id", "nobody"), nil, 401, "invalid_client"},
		{"a client without the grant", unset("client_id"), basic("rp", w.secret()), 400, "unauthorized_client"},
		{"a confidential client without its secret", set("client_id", "box"), nil, 401, "invalid_client"},
		{"a confidential client with a wrong secret", unset("client_id"), basic("box", "wrong"), 401, "invalid_client"},
		{"a public client with a secret", set("client_secret", "x"), nil, 401, "invalid_client"},
		{"no scope", unset("scope"), nil, 400, "invalid_scope"},
		{"a scope of nobody", set("scope", "admin"), nil, 400, "invalid_scope"},
		{"a parameter twice", set("scope", "openid", "email"), nil, 400, "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			form := good()
			row.form(form)
			wantError(t, send(t, http.MethodPost, w.URL+"/device_authorization", form, row.header), row.status, row.code)
		})
	}
	t.Run("GET", func(t *testing.T) {
		t.Parallel()
		if r := send(t, http.MethodGet, w.URL+"/device_authorization?client_id=tv&scope=openid", nil, nil); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("status %d", r.StatusCode)
		}
	})
}

func TestDeviceScope(t *testing.T) { // authentik CVE-2024-52287
	t.Parallel()
	w := newDeviceWorld(t, nil)
	r := send(t, http.MethodPost, w.URL+"/device_authorization", url.Values{"scope": {"openid api profile admin api offline_access"}}, basic("box", w.secret()))
	var d deviceStart
	if err := json.Unmarshal([]byte(r.text), &d); err != nil {
		t.Fatal(err)
	}
	page := w.login("Demo").Get(d.Complete)
	shows(t, page, http.StatusOK, "use “api” on your behalf", "see your profile")
	for _, scope := range []string{"admin", "know who you are"} {
		if strings.Contains(page.Body, scope) {
			t.Errorf("the page asks for %q, which the client may not have", scope)
		}
	}
	page.Submit(url.Values{"decision": {"allow"}})
	got := send(t, http.MethodPost, w.URL+"/token", url.Values{"grant_type": {store.GrantTypeDevice}, "device_code": {d.DeviceCode}}, basic("box", w.secret()))
	a := got.answer(t)
	if got.StatusCode != http.StatusOK || a.Scope != "api profile" || a.IDToken != "" {
		t.Errorf("status %d: %s", got.StatusCode, got.text)
	}
}

// A device that may have a refresh token gets one, and with offline_access keeps it when the session ends.
func TestDeviceRefresh(t *testing.T) { // OpenID Connect Core §11, RFC 8707 §2
	t.Parallel()
	w := newWorld(t, withDevices(editClient("tv", func(c *store.Client) {
		c.Grants = append(c.Grants, store.GrantTypeRefresh)
		c.Scopes, c.Audience = []string{"openid", "offline_access"}, []string{"films", "music"}
	})))
	for _, row := range []struct {
		scope string
		lives bool
	}{{"openid", false}, {"openid offline_access", true}} {
		b := w.login("Demo")
		var d deviceStart
		decode(t, send(t, http.MethodPost, w.URL+"/device_authorization", url.Values{
			"client_id": {"tv"}, "scope": {row.scope}, "resource": {"films"},
		}, nil), &d)
		w.decide(b, d, "allow")
		a := w.poll(d.DeviceCode).tokens(t)
		if aud := fmt.Sprint(part(t, a.AccessToken, 1)["aud"]); aud != "[films]" || a.RefreshToken == "" {
			t.Fatalf("for %s, with refresh token: %t", aud, a.RefreshToken != "")
		}
		w.deleteSession(b)
		r := send(t, http.MethodPost, w.URL+"/token", url.Values{
			"grant_type": {store.GrantTypeRefresh}, "refresh_token": {a.RefreshToken}, "client_id": {"tv"},
		}, nil)
		if (r.StatusCode == http.StatusOK) != row.lives {
			t.Errorf("%s: without its session, status %d: %s", row.scope, r.StatusCode, r.text)
		}
	}
	r := send(t, http.MethodPost, w.URL+"/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid"}, "resource": {"bank"}}, nil)
	wantError(t, r, http.StatusBadRequest, "invalid_target")
}

func TestDeviceEntry(t *testing.T) { // RFC 8628 §3.3 and §6.1
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	plain := strings.ReplaceAll(d.UserCode, "-", "")
	signedIn := w.login("Demo")
	for name, entered := range map[string]string{
		"as shown": d.UserCode, "without a dash": plain, "in lower case": strings.ToLower(d.UserCode), "with spaces": " " + plain[:3] + " " + plain[3:] + " ",
		"with a long dash": plain[:4] + "–" + plain[4:], "with dashes everywhere": strings.Join(strings.Split(plain, ""), "-"),
	} {
		t.Run(name, func(t *testing.T) {
			page := signedIn.Get(d.URI)
			shows(t, page, http.StatusOK, "Enter the code")
			shows(t, page.Submit(url.Values{"user_code": {entered}}), http.StatusOK, "Living Room", d.UserCode)
		})
	}
	for name, entered := range map[string]string{
		"nothing": "", "too short": plain[:7], "too long": plain + "B", "a vowel": "A" + plain[1:], "a digit": "1" + plain[1:],
		"markup": `"><script>alert(1)</script>`, "NUL": plain[:7] + "\x00", "a letter that folds to S": plain[:7] + "ſ", "very long": strings.Repeat("B-", 3000),
	} {
		t.Run(name, func(t *testing.T) {
			page := brokertest.NewBrowser(t).Get(d.URI).Submit(url.Values{"user_code": {entered}})
			shows(t, page, http.StatusBadRequest, "not a whole code")
			if strings.Contains(page.Body, "<script") {
				t.Error("what was entered is markup")
			}
		})
	}
	t.Run("signing in after it was entered", func(t *testing.T) {
		page := brokertest.NewBrowser(t).Get(d.URI).Submit(url.Values{"user_code": {plain}})
		shows(t, page, http.StatusOK, "Continue with Other")
		shows(t, page.Click("Other"), http.StatusOK, d.UserCode, "carol@other.example")
	})
	t.Run("nobody who is not signed in learns whether a code is right", func(t *testing.T) {
		right := brokertest.NewBrowser(t).Get(d.Complete)
		wrong := brokertest.NewBrowser(t).Get(d.URI + "?user_code=BBBB-BBBB")
		if right.Status != wrong.Status || len(right.Body) != len(wrong.Body) {
			t.Errorf("status %d and %d bytes, or %d and %d", right.Status, len(right.Body), wrong.Status, len(wrong.Body))
		}
	})
}

// The ways that a login takes lead back to the device, with its code.
func TestDeviceLogin(t *testing.T) {
	t.Parallel()
	t.Run("with a default provider", func(t *testing.T) {
		t.Parallel()
		w := newDeviceWorld(t, func(c *broker.Config) { c.DefaultProvider = "demo" })
		d := w.startDevice()
		shows(t, brokertest.NewBrowser(t).Get(d.Complete), http.StatusOK, d.UserCode, "alice@example.com")
		shows(t, brokertest.NewBrowser(t).Get(d.URI).Submit(url.Values{"user_code": {d.UserCode}}), http.StatusOK, d.UserCode)
	})
	t.Run("by e-mail address", func(t *testing.T) {
		t.Parallel()
		w := newDeviceWorld(t, func(c *broker.Config) { c.Providers[1].Domains = []string{"other.example"} })
		d := w.startDevice()
		page := brokertest.NewBrowser(t).Get(d.Complete)
		shows(t, page.Submit(url.Values{"email": {"x@nowhere.example"}}), http.StatusOK, "We know no organisation")
		shows(t, page.Submit(url.Values{"email": {"carol@other.example"}}), http.StatusOK, d.UserCode, "carol@other.example")
	})
	t.Run("in another language", func(t *testing.T) {
		t.Parallel()
		w := newDeviceWorld(t, nil)
		d := w.startDevice()
		page := brokertest.NewBrowser(t).Get(d.Complete + "&ui_locales=de").Click("Demo")
		shows(t, page, http.StatusOK, "Ihr Gerät muss diesen Code anzeigen")
		shows(t, page.Submit(url.Values{"decision": {"allow"}}), http.StatusOK, "Ihr Gerät ist verbunden")
	})
	t.Run("as somebody else", func(t *testing.T) {
		t.Parallel()
		w := newDeviceWorld(t, nil)
		d := w.startDevice()
		page := w.login("Demo").Get(d.Complete).Click("Use another account")
		shows(t, page, http.StatusOK, "Continue with Other")
		page = page.Click("Other")
		shows(t, page, http.StatusOK, d.UserCode, "carol@other.example")
		page.Submit(url.Values{"decision": {"allow"}})
		if claims := part(t, w.poll(d.DeviceCode).tokens(t).IDToken, 1); claims["identity_provider"] != "other" {
			t.Errorf("ID token says %v", claims)
		}
	})
}

func TestDeviceDenied(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	b := w.login("Demo")
	page := b.Get(d.Complete)
	shows(t, page.Submit(url.Values{"decision": {"deny"}}), http.StatusOK, "Nothing was connected")
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "access_denied")
	shows(t, page.Submit(url.Values{"decision": {"allow"}}), http.StatusConflict, "This page has expired")
	shows(t, b.Get(d.Complete), http.StatusBadRequest, "no device that waits")
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "access_denied")
}

func TestDeviceExpires(t *testing.T) { // RFC 8628 §3.5
	t.Parallel()
	w := newDeviceWorld(t, nil)
	waiting, asked, allowed := w.startDevice(), w.startDevice(), w.startDevice()
	b := w.login("Demo")
	page := b.Get(asked.Complete)
	shows(t, page, http.StatusOK, asked.UserCode)
	w.decide(b, allowed, "allow")
	w.advance(10*time.Minute + time.Second)
	for name, d := range map[string]deviceStart{"waiting": waiting, "asked": asked, "allowed": allowed} {
		if a := w.poll(d.DeviceCode).answer(t); a.Error != "expired_token" {
			t.Errorf("%s: got %+v", name, a)
		}
	}
	shows(t, b.Get(waiting.Complete), http.StatusBadRequest, "It may have expired")
	shows(t, page.Submit(url.Values{"decision": {"allow"}}), http.StatusConflict, "This page has expired")
	w.advance(11 * time.Minute)
	wantError(t, w.poll(waiting.DeviceCode), http.StatusBadRequest, "invalid_grant")
}

func TestDeviceSlowDown(t *testing.T) { // RFC 8628 §3.5
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	for i, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "authorization_pending"}, {5 * time.Second, "authorization_pending"}, {time.Second, "slow_down"},
		{6 * time.Second, "slow_down"}, // ten seconds are asked now, fifteen from here on
		{15 * time.Second, "authorization_pending"}, {10 * time.Second, "slow_down"}, {20 * time.Second, "authorization_pending"},
	} {
		w.advance(step.after)
		if a := w.poll(d.DeviceCode).answer(t); a.Error != step.want {
			t.Errorf("step %d: got %s, want %s", i, a.Error, step.want)
		}
	}
	w.decide(w.login("Demo"), d, "allow")
	w.poll(d.DeviceCode).tokens(t) // slow_down is a kind of pending
}

func TestDeviceCodeRefused(t *testing.T) { // RFC 6749 §5.2, CVE-2026-55672, CVE-2026-27840, CVE-2026-4282
	t.Parallel()
	w := newDeviceWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "thief", AuthMethod: store.AuthNone, Grants: []string{store.GrantTypeDevice}})
	})
	d := w.startDevice()
	b := w.login("Demo")
	w.decide(b, d, "allow")
	form := func(edit func(url.Values)) url.Values {
		v := url.Values{"grant_type": {store.GrantTypeDevice}, "device_code": {d.DeviceCode}, "client_id": {"tv"}}
		edit(v)
		return v
	}
	rows := map[string]url.Values{
		"another client":                    form(set("client_id", "thief")),
		"missing":                           form(unset("device_code")),
		"empty":                             form(set("device_code", "")),
		"the user code":                     form(set("device_code", d.UserCode)),
		"an authorization code":             form(set("device_code", w.code(b, nil))),
		"in lower case":                     form(set("device_code", strings.ToLower(d.DeviceCode))),
		"NUL":                               form(set("device_code", d.DeviceCode+"\x00")),
		"long":                              form(set("device_code", strings.Repeat("A", 40000))),
		"as code of the wrong parameter":    form(func(v url.Values) { v.Set("code", d.DeviceCode); v.Del("device_code") }),
		"a code that is longer by a letter": form(set("device_code", d.DeviceCode+"A")),
	}
	for name, v := range rows {
		t.Run(name, func(t *testing.T) {
			wantError(t, send(t, http.MethodPost, w.URL+"/token", v, nil), http.StatusBadRequest, "invalid_grant")
		})
	}
	for i := range d.DeviceCode {
		wantError(t, w.poll(d.DeviceCode[:i]), http.StatusBadRequest, "invalid_grant")
		wantError(t, w.poll(twin(d.DeviceCode, i)), http.StatusBadRequest, "invalid_grant")
	}
	t.Run("as an authorization code", func(t *testing.T) {
		wantError(t, w.redeem(d.DeviceCode, nil), http.StatusBadRequest, "invalid_grant")
	})
	w.poll(d.DeviceCode).tokens(t) // none of them has used it up
}

func TestDeviceReplay(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	b := w.login("Demo")
	w.decide(b, d, "allow")
	a := w.poll(d.DeviceCode).tokens(t)
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "invalid_grant")
	wantInvalidToken(t, w.userinfo(a.AccessToken)) // one of the two had stolen the code
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "invalid_grant")
	shows(t, b.Get(w.Origin+"/"), http.StatusOK)
}

func TestDeviceRace(t *testing.T) { // CVE-2026-90997, supabase/auth#2483
	t.Parallel()
	w := newDeviceWorld(t, nil)
	b := w.login("Demo")
	first := w.startDevice()
	w.decide(b, first, "allow")
	w.poll(first.DeviceCode).tokens(t) // the keys are made
	for range 4 {
		d := w.startDevice()
		w.decide(b, d, "allow")
		statuses := make(chan int, 64)
		start := make(chan struct{})
		var all sync.WaitGroup
		for range cap(statuses) {
			all.Go(func() {
				<-start
				statuses <- w.poll(d.DeviceCode).StatusCode
			})
		}
		close(start)
		all.Wait()
		close(statuses)
		n := map[int]int{}
		for status := range statuses {
			n[status]++
		}
		if n[http.StatusOK] != 1 || n[http.StatusBadRequest] != 63 {
			t.Errorf("answers by status: %v", n)
		}
	}
}

// Two answers at the same moment: the device gets what one of them said, and nothing else.
func TestDeviceDecisionRace(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	b := w.login("Demo")
	for range 8 {
		d := w.startDevice()
		page := b.Get(d.Complete)
		answers := make(chan int, 16)
		fields := confirmFields(t, page)
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range cap(answers) {
			form := url.Values{"confirm": fields["confirm"], "decision": {[]string{"allow", "deny"}[i%2]}}
			all.Go(func() {
				<-start
				answers <- send(t, http.MethodPost, w.URL+"/device", form, func(r *http.Request) { r.Header.Set("Cookie", w.cookies(b)) }).StatusCode
			})
		}
		close(start)
		all.Wait()
		close(answers)
		n := map[int]int{}
		for status := range answers {
			n[status]++
		}
		if n[http.StatusOK] != 1 || n[http.StatusConflict] != 15 {
			t.Errorf("answers by status: %v", n)
		}
	}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

func confirmFields(t testing.TB, page *brokertest.Page) url.Values {
	t.Helper()
	fields := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(page.Body, -1) {
		fields.Add(m[1], m[2])
	}
	if fields.Get("confirm") == "" {
		t.Fatalf("nothing to confirm: status %d\n%s", page.Status, page.Body)
	}
	return fields
}

// Nobody answers in another's place (dex#4928), and no other site makes somebody answer (RFC 8628 §5.4).
func TestDeviceConfirmation(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	alice, carol := w.login("Demo"), w.login("Other")
	again := w.login("Demo") // another browser of the same user
	fields := confirmFields(t, alice.Get(d.Complete))
	fields.Set("decision", "allow")
	with := func(edit func(url.Values)) url.Values {
		v := url.Values{}
		for name, values := range fields {
			v[name] = values
		}
		edit(v)
		return v
	}
	nobody := brokertest.NewBrowser(t)
	flip := func(v url.Values) { v.Set("confirm", twin(v.Get("confirm"), len(v.Get("confirm"))/2)) }
	for name, row := range map[string]struct {
		browser *brokertest.Browser
		form    url.Values
		from    string
		status  int
	}{
		"another user":                    {carol, fields, "", http.StatusConflict},
		"another browser":                 {again, fields, "", http.StatusConflict},
		"nobody":                          {nobody, fields, "", http.StatusConflict},
		"another site":                    {alice, fields, "https://evil.example/", http.StatusForbidden},
		"nothing sealed":                  {alice, with(set("confirm", "")), "", http.StatusConflict},
		"the code instead":                {alice, with(set("confirm", d.UserCode)), "", http.StatusConflict},
		"a letter changed":                {alice, with(flip), "", http.StatusConflict},
		"no decision":                     {alice, with(unset("decision")), "", http.StatusBadRequest},
		"another decision":                {alice, with(set("decision", "Allow")), "", http.StatusBadRequest},
		"the code and a decision, but no": {alice, url.Values{"user_code": {d.UserCode}, "decision": {"allow"}}, "", http.StatusOK}, // asks
	} {
		t.Run(name, func(t *testing.T) {
			page := row.browser.Post(w.URL+"/device", row.form, row.from)
			shows(t, page, row.status)
			if strings.Contains(page.Body, "is connected") {
				t.Error("it says that the device is connected")
			}
		})
	}
	w.advance(6 * time.Second)
	wantError(t, w.poll(d.DeviceCode), http.StatusBadRequest, "authorization_pending")
	if page := alice.Get(d.Complete + "&confirm=" + fields.Get("confirm") + "&decision=allow"); strings.Contains(page.Body, "is connected") {
		t.Error("a link decided")
	}
	shows(t, alice.Post(w.URL+"/device", fields, ""), http.StatusOK, "Your device is connected")
	w.poll(d.DeviceCode).tokens(t)
}

func TestDeviceGuessing(t *testing.T) { // RFC 8628 §5.1
	t.Parallel()
	w := newDeviceWorld(t, nil)
	d := w.startDevice()
	guess := func(i int) string { return d.URI + "?user_code=BBBBBBB" + string("BCDFGHJKLMNPQRSTVWXZ"[i]) }
	alice := w.login("Demo")
	for i := range 9 {
		shows(t, alice.Get(guess(i)), http.StatusBadRequest, "no device that waits")
		shows(t, alice.Get(d.Complete), http.StatusOK, d.UserCode) // right ones do not count
	}
	shows(t, alice.Get(guess(9)), http.StatusBadRequest, "no device that waits")
	shows(t, alice.Get(guess(10)), http.StatusTooManyRequests, "Too many attempts")
	shows(t, alice.Get(d.Complete), http.StatusTooManyRequests, "Too many attempts")
	shows(t, w.login("Demo").Get(d.Complete), http.StatusTooManyRequests, "Too many attempts") // another session is none of another user
	shows(t, w.login("Other").Get(d.Complete), http.StatusOK, d.UserCode)
	w.advance(10*time.Minute + time.Second)
	shows(t, alice.Get(w.startDevice().Complete), http.StatusOK, "Living Room")
}

func TestDeviceGuessingAtOnce(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	cookies := w.cookies(w.login("Demo"))
	statuses := make(chan int, 64)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range cap(statuses) {
		all.Go(func() {
			<-start
			code := "BBBBBB" + string("BCDFGHJKLMNPQRSTVWXZ"[i/20]) + string("BCDFGHJKLMNPQRSTVWXZ"[i%20])
			statuses <- send(t, http.MethodGet, w.URL+"/device?user_code="+code, nil, func(r *http.Request) { r.Header.Set("Cookie", cookies) }).StatusCode
		})
	}
	close(start)
	all.Wait()
	close(statuses)
	n := map[int]int{}
	for status := range statuses {
		n[status]++
	}
	if n[http.StatusBadRequest] != 10 || n[http.StatusTooManyRequests] != 54 {
		t.Errorf("answers by status: %v", n)
	}
}

func TestDeviceProviderPolicy(t *testing.T) { // Dex GHSA-7qjx-gp9h-65qj, authentik CVE-2024-38371
	t.Parallel()
	only := func(alias string) func(*broker.Config) {
		return withDevices(editClient("tv", func(c *store.Client) { c.Providers = []string{alias} }))
	}
	w := newWorld(t, only("other"))
	d := w.startDevice()
	b := w.login("Demo")
	page := b.Get(d.Complete)
	shows(t, page, http.StatusOK, "Sign in to Living Room", "Continue with Other")
	if strings.Contains(page.Body, "Continue with Demo") || strings.Contains(page.Body, `value="allow"`) {
		t.Errorf("the page offers what the client does not take:\n%s", page.Body)
	}
	page = page.Click("Other")
	shows(t, page, http.StatusOK, d.UserCode, "carol@other.example")
	w.reconfigure(only("demo"))
	shows(t, page.Submit(url.Values{"decision": {"allow"}}), http.StatusForbidden, "Not available for this application")
	if r := w.poll(d.DeviceCode); r.StatusCode != http.StatusBadRequest || r.answer(t).AccessToken != "" {
		t.Errorf("status %d: %s", r.StatusCode, r.text)
	}
}

// Whatever is switched off once the user has agreed, the device gets nothing; and what it has got already is dead.
func TestDeviceSwitchedOff(t *testing.T) {
	t.Parallel()
	off := func(edit func(*broker.Config)) func(*world, *brokertest.Browser) {
		return func(w *world, _ *brokertest.Browser) { w.reconfigure(withDevices(edit)) }
	}
	for _, row := range []struct {
		name   string
		off    func(*world, *brokertest.Browser)
		status int
		code   string
	}{
		{"user disabled", func(w *world, _ *brokertest.Browser) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) }, 400, "invalid_grant"},
		{"user deleted", func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") }, 400, "invalid_grant"},
		{"client disabled", off(editClient("tv", func(c *store.Client) { c.Disabled = true })), 401, "invalid_client"},
		{"client removed", off(editClient("tv", func(c *store.Client) { c.ID = "tv2" })), 401, "invalid_client"},
		{"grant type taken away", off(editClient("tv", func(c *store.Client) {
			c.Grants, c.RedirectURIs = nil, []string{"https://tv.example/"}
		})), 400, "unauthorized_client"},
		{"client takes another provider's word", off(editClient("tv", func(c *store.Client) { c.Providers = []string{"other"} })), 400, "invalid_grant"},
		{"provider disabled", off(func(c *broker.Config) { c.Providers[0].Disabled = true }), 400, "invalid_grant"},
		{"provider removed", off(func(c *broker.Config) { c.Providers = c.Providers[1:] }), 400, "invalid_grant"},
		{"provider only for links", off(func(c *broker.Config) { c.Providers[0].LinkOnly = true }), 400, "invalid_grant"},
		{"link removed", func(w *world, _ *brokertest.Browser) { w.unlink("alice") }, 400, "invalid_grant"},
		{"session deleted", func(w *world, b *brokertest.Browser) { w.deleteSession(b) }, 400, "invalid_grant"},
		{"session idle", func(w *world, _ *brokertest.Browser) { w.advance(6 * time.Minute) }, 400, "invalid_grant"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newDeviceWorld(t, func(c *broker.Config) { c.SessionIdle = 5 * time.Minute })
			b := w.login("Demo")
			before, has := w.startDevice(), w.startDevice()
			w.decide(b, before, "allow")
			w.decide(b, has, "allow")
			a := w.poll(has.DeviceCode).tokens(t)
			row.off(w, b)
			wantError(t, w.poll(before.DeviceCode), row.status, row.code)
			if row.name != "grant type taken away" {
				wantInvalidToken(t, w.userinfo(a.AccessToken))
			}
		})
	}
}

// The same, between the page and the answer to it.
func TestDeviceSwitchedOffBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	off := func(edit func(*broker.Config)) func(*world, *brokertest.Browser) {
		return func(w *world, _ *brokertest.Browser) { w.reconfigure(withDevices(edit)) }
	}
	for _, row := range []struct {
		name   string
		off    func(*world, *brokertest.Browser)
		status int
	}{
		{"user disabled", func(w *world, _ *brokertest.Browser) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) }, http.StatusConflict},
		{"user deleted", func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") }, http.StatusConflict},
		{"client disabled", off(editClient("tv", func(c *store.Client) { c.Disabled = true })), http.StatusBadRequest},
		{"client removed", off(editClient("tv", func(c *store.Client) { c.ID = "tv2" })), http.StatusBadRequest},
		{"provider disabled", off(func(c *broker.Config) { c.Providers[0].Disabled = true }), http.StatusConflict},
		{"link removed", func(w *world, _ *brokertest.Browser) { w.unlink("alice") }, http.StatusConflict},
		{"session deleted", func(w *world, b *brokertest.Browser) { w.deleteSession(b) }, http.StatusConflict},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newDeviceWorld(t, nil)
			b := w.login("Demo")
			d := w.startDevice()
			page := b.Get(d.Complete)
			row.off(w, b)
			shows(t, page.Submit(url.Values{"decision": {"allow"}}), row.status)
			w.reconfigure(withDevices(nil))
			if r := w.poll(d.DeviceCode); r.StatusCode != http.StatusBadRequest || r.answer(t).AccessToken != "" {
				t.Errorf("status %d: %s", r.StatusCode, r.text)
			}
		})
	}
}

// unlink removes the links of a user.
func (w *world) unlink(name string) {
	w.t.Helper()
	users, err := w.store.FindUsers(w.t.Context(), store.UserQuery{Username: name})
	if err != nil || len(users) != 1 {
		w.t.Fatalf("user %q: %v, %v", name, users, err)
	}
	links, err := w.store.LinksOf(w.t.Context(), users[0].ID)
	if err != nil || len(links) == 0 {
		w.t.Fatalf("links of %q: %v, %v", name, links, err)
	}
	for _, l := range links {
		if err := w.store.DeleteLink(w.t.Context(), l.LinkKey); err != nil {
			w.t.Fatal(err)
		}
	}
}

// deleteSession ends the session of a browser behind its back.
func (w *world) deleteSession(b *brokertest.Browser) {
	w.t.Helper()
	who := b.Get(w.Origin + "/").Who()
	if err := w.store.DeleteSession(w.t.Context(), who.Session); err != nil {
		w.t.Fatal(err)
	}
}
