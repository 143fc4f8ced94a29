package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// posted is the form with which a page answers the application.
func posted(t testing.TB, r *reply, to string) url.Values {
	t.Helper()
	page := &brokertest.Page{Status: r.StatusCode, Body: r.text}
	action, fields, ok := page.Form()
	if !ok || r.StatusCode != http.StatusOK || action != to {
		t.Fatalf("status %d, form to %q, want %q\n%s", r.StatusCode, action, to, r.text)
	}
	policy := r.Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "form-action") || !strings.Contains(policy, "script-src 'self'") || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", r.Header)
	}
	if r.Header.Get("Location") != "" || strings.Contains(r.text, "?code=") {
		t.Errorf("the answer is in an address, too:\n%s", r.text)
	}
	return fields
}

func TestFormPost(t *testing.T) { // OAuth 2.0 Form Post Response Mode §2 and §4, RFC 9207 §2
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	params := w.authParams()
	params.Set("response_mode", "form_post")
	params.Set("state", `a "b" <script>`)
	fields := posted(t, w.authorize(params, b), w.callback())
	if fields.Get("state") != `a "b" <script>` || fields.Get("iss") != w.URL || len(fields) != 3 {
		t.Errorf("posted %v", fields)
	}
	w.redeem(fields.Get("code"), nil).tokens(t)

	params.Set("scope", "profile")
	fields = posted(t, w.authorize(params, b), w.callback())
	if fields.Get("error") != "invalid_scope" || fields.Get("state") == "" || fields.Get("iss") != w.URL || fields.Has("code") {
		t.Errorf("an error was posted as %v", fields)
	}
	passive := w.authParams()
	passive.Set("response_mode", "form_post")
	passive.Set("prompt", "none")
	if fields = posted(t, w.authorize(passive, nil), w.callback()); fields.Get("error") != "login_required" {
		t.Errorf("prompt=none was answered with %v", fields)
	}
}

func TestFormPostRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients[0].RedirectURIs = append(c.Clients[0].RedirectURIs, "com.example.app:/cb")
	})
	b := w.login("Demo")
	native := w.authParams()
	native.Set("response_mode", "form_post")
	native.Set("redirect_uri", "com.example.app:/cb")
	if to, query := w.authorize(native, b).location(t); to != "com.example.app:/cb" || query.Get("error") != "invalid_request" {
		t.Errorf("a native app was answered at %s with %v", to, query)
	}
	twice := w.authParams()
	twice["response_mode"] = []string{"form_post", "query"}
	wantRefused(t, w, w.authorize(twice, b), "invalid_request")
}

// The whole way with an application that has its answers posted: login, the way back, and a page in between.
func TestFormPostLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[1].Domains = []string{"other.example"} })
	w.rp.Params.Set("response_mode", "form_post")
	b := brokertest.NewBrowser(t)
	page := b.Get(w.rp.LoginURL()).Click("Continue with Demo")
	shows(t, page, http.StatusOK, "Test App", "post.js")
	shows(t, page.Submit(nil), http.StatusOK)
	if got := w.rp.Login(); got.Subject == "" || got.Error != "" {
		t.Fatalf("login %+v", got)
	}
	// With a session, and by the e-mail form.
	shows(t, b.Get(w.rp.LoginURL()).Submit(nil), http.StatusOK)
	page = brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Submit(url.Values{"email": {"carol@other.example"}})
	shows(t, page.Submit(nil), http.StatusOK)
	if w.rp.Login().Subject == "" {
		t.Error("no login by the e-mail form")
	}
	// The link back to the application.
	page = brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Click("Back to Test App")
	shows(t, page, http.StatusOK, "access_denied")
	page.Submit(nil)
	if got := w.rp.Login().Error; got != "access_denied" {
		t.Errorf("going back told the application %q", got)
	}
	// And what an upstream says to somebody who may see no page.
	w.rp.Params.Set("prompt", "none")
	w.op.Break(providertest.ErrorLoginRequired)
	brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Submit(nil)
	if got := w.rp.Login().Error; got != "login_required" {
		t.Errorf("prompt=none told the application %q", got)
	}
}
