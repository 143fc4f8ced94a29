package integration

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// The pages that the quickstart does not come by, in a browser that runs no script: consent, devices, an answer by form,
// signing out, and what is shown when something is wrong.
func TestPagesInChromium(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	rp := brokertest.NewRelyingParty(t)
	srv := brokertest.Start(t, func(base string) broker.Config {
		upstream := providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice", Alg: "ES256"})
		client := rp.Client()
		client.Name, client.Scopes = "Weather Station", []string{"openid", "profile", "email", "offline_access", "stations:write"}
		return broker.Config{
			Name:      "Your App",
			Store:     sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers: []broker.Provider{{Alias: "demo", Name: "Acme Staff", IdP: demoIdP(t, upstream, base)}},
			Clients: []store.Client{client, {
				ID: "tv", Name: "Living Room TV", AuthMethod: store.AuthNone, Grants: []string{store.GrantTypeDevice},
			}},
		}
	})
	rp.Connect(srv.URL)
	for _, look := range []window{
		{width: 1280, noScript: true}, {width: 1280, noScript: true, dark: true},
		{width: 360, noScript: true}, {width: 360, noScript: true, dark: true}, {width: 1280},
	} {
		t.Run(look.String(), func(t *testing.T) { walkPages(openTab(t, browser, look), srv, rp) })
	}
}

// walkPages does what the broker's own forms are for.
func walkPages(b *tab, srv *brokertest.Server, rp *brokertest.RelyingParty) {
	b.t.Helper()
	page := func(name, text string) {
		b.t.Helper()
		b.see(text)
		b.shot(name)
		b.wantFit(name)
	}
	rp.Params = url.Values{"prompt": {"consent"}, "scope": {"openid profile email offline_access stations:write"}}
	b.open(rp.LoginURL())
	page("login-for", "Sign in to Weather Station")
	b.click("Acme Staff")
	page("consent", "Allow Weather Station to use your account?")
	b.click("Do not allow")
	b.arrive(rp.LoginURL()[:strings.LastIndex(rp.LoginURL(), "/")] + "/callback?")
	if got := rp.Login().Error; got != "access_denied" {
		b.t.Errorf("the application got %q", got)
	}
	b.open(rp.LoginURL())
	b.click("Allow")
	b.arrive(rp.LoginURL()[:strings.LastIndex(rp.LoginURL(), "/")] + "/callback?")
	user := rp.Login().Subject
	if user == "" {
		b.t.Errorf("the application got %+v", rp.Login())
	}
	walkFormPost(b, rp, user, page)
	walkDevice(b, srv, page)
	if said := b.said(); len(said) > 0 {
		b.t.Errorf("the console says %q", said)
	}
	b.open(srv.URL + "/flow/none")
	page("expired", "This page has expired")
	b.open(srv.URL + "/authorize?client_id=nobody")
	page("error", "Unknown application")
	b.open(srv.URL + "/nothing")
	page("not-found", "Page not found")
	b.see("Back") // to the host application
	b.said()      // the pages' own status is what they are about

	b.open(srv.URL + "/logout")
	page("logout", "Sign out?")
	b.click("Sign out")
	page("signed-out", "You are signed out")
	if said := b.said(); len(said) > 0 {
		b.t.Errorf("the console says %q", said)
	}
}

// walkFormPost signs in with response_mode=form_post: by a button, which a script presses where there are any.
func walkFormPost(b *tab, rp *brokertest.RelyingParty, user string, page func(name, text string)) {
	b.t.Helper()
	rp.Params = url.Values{"response_mode": {"form_post"}}
	b.open(rp.LoginURL())
	if b.look.noScript {
		b.appear()
		page("form-post", "You are being taken back to Weather Station. If nothing happens, please select “Continue”.")
		b.click("Continue")
	}
	b.arrive(rp.LoginURL()[:strings.LastIndex(rp.LoginURL(), "/")] + "/callback")
	if address := evaluate[string](b, "location.href"); strings.Contains(address, "code=") {
		b.t.Errorf("the answer is in the address %s", address)
	}
	if got := rp.Login(); got.Subject != user || got.Error != "" {
		b.t.Errorf("the application got %+v", got)
	}
}

// walkDevice lets a device in, whose code is typed wrong at first.
func walkDevice(b *tab, srv *brokertest.Server, page func(name, text string)) {
	b.t.Helper()
	var device struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		URI        string `json:"verification_uri"`
	}
	post := func(path string, form url.Values, v any) {
		b.t.Helper()
		r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, srv.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(v); err != nil {
			b.t.Fatal(err)
		}
	}
	post("/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid profile"}}, &device)
	enter := func(code string) {
		b.t.Helper()
		b.do("enter "+code, chromedp.SetValue(chromedp.Search("#user_code"), code))
		b.click("Continue")
	}
	b.open(device.URI)
	page("device", "Connect a device")
	enter("BBBB-BBBB")
	page("device-wrong", "There is no device that waits with this code. It may have expired: please check it, or let your device show a new one.")
	b.said() // that page's own status
	enter(strings.ToLower(strings.ReplaceAll(device.UserCode, "-", " ")))
	page("device-confirm", device.UserCode)
	b.click("Allow")
	page("device-done", "Your device is connected")
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	post("/token", url.Values{"grant_type": {store.GrantTypeDevice}, "device_code": {device.DeviceCode}, "client_id": {"tv"}}, &tokens)
	if tokens.AccessToken == "" {
		b.t.Error("the device gets nothing")
	}
}

// appear waits until a page is seen that comes in slowly, so that it does not flash where a script leads on.
func (b *tab) appear() {
	b.t.Helper()
	b.do("see the page come", chromedp.WaitVisible(chromedp.Search("main")))
	for deadline := time.Now().Add(browserPatience); evaluate[string](b, `getComputedStyle(document.querySelector(".column")).opacity`) != "1"; {
		if time.Now().After(deadline) {
			b.t.Fatal("the page stays invisible")
		}
	}
}

// arrive waits until the address begins with prefix.
func (b *tab) arrive(prefix string) {
	b.t.Helper()
	var address string
	var err error
	for deadline := time.Now().Add(browserPatience); time.Now().Before(deadline); {
		// While one page takes another's place there is nobody to ask.
		if address, err = chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href")); strings.HasPrefix(address, prefix) {
			return
		}
	}
	b.t.Fatalf("the address is %q (%v), want %s", address, err, prefix)
}
