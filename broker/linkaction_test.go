package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// wantLink is an authentication request that asks for a link.
func (w *world) wantLink(edit func(url.Values)) string {
	params := w.authParams()
	params.Set("kc_action", "idp_link:other")
	if edit != nil {
		edit(params)
	}
	return w.URL + "/authorize?" + params.Encode()
}

// answered is where the application got its answer, and what that says.
func answered(t testing.TB, w *world, p *brokertest.Page) url.Values {
	t.Helper()
	redirect := w.authParams().Get("redirect_uri")
	for _, u := range p.Trail {
		if strings.HasPrefix(u, redirect) {
			parsed, err := url.Parse(u)
			must(t, err)
			return parsed.Query()
		}
	}
	t.Fatalf("no answer in %q: status %d\n%s", p.Trail, p.Status, p.Body)
	return nil
}

// Row 76, as an application asks for it, with Keycloak's parameters.
func TestRow76ByApplication(t *testing.T) {
	t.Parallel()
	yes, no := url.Values{"decision": {"yes"}}, url.Values{"decision": {"no"}}
	linked := func(w *world) bool { return len(w.linksOf(w.named("alice").ID)) == 2 }
	t.Run("success", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		got := answered(t, w, b.Get(w.wantLink(nil)).Submit(yes))
		if got.Get("kc_action_status") != "success" || got.Get("code") == "" || got.Get("kc_action") != "idp_link:other" || !linked(w) {
			t.Errorf("answer %v, linked %t", got, linked(w))
		}
	})
	t.Run("not signed in", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		page := brokertest.NewBrowser(t).Get(w.wantLink(nil)).Click("Demo")
		shows(t, page, http.StatusOK, "Link Other to your account?")
		if got := answered(t, w, page.Submit(yes)); got.Get("kc_action_status") != "success" || !linked(w) {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("prompt=login and consent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		page := b.Get(w.wantLink(func(v url.Values) { v.Set("prompt", "login consent") })).Click("Demo").Submit(yes)
		if got := answered(t, w, page.Submit(url.Values{"decision": {"allow"}})); got.Get("kc_action_status") != "success" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		got := answered(t, w, w.login("Demo").Get(w.wantLink(nil)).Submit(no))
		if got.Get("kc_action_status") != "cancelled" || got.Get("code") == "" || linked(w) {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("refused upstream", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.other.LoginAs("")
		b := w.login("Demo")
		away := b.Get(w.wantLink(nil)).Submit(yes)
		got := answered(t, w, b.Post(away.URL.String(), url.Values{"refuse": {"1"}}, ""))
		if got.Get("kc_action_status") != "cancelled" || linked(w) {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("unknown is ignored", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		got := answered(t, w, w.login("Demo").Get(w.wantLink(func(v url.Values) { v.Set("kc_action", "idp_link:nobody") })))
		if got.Has("kc_action_status") || got.Get("code") == "" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("status cannot be made up", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		page := b.Get(w.wantLink(func(v url.Values) { v.Set("idp_linked", "success"); v.Set("kc_action_status", "success") }))
		shows(t, page, http.StatusOK, "Link Other to your account?")
	})
	for name, edit := range map[string]func(*broker.Config){
		"disabled":                      func(c *broker.Config) { c.Providers[1].Disabled = true },
		"not among those of the client": func(c *broker.Config) { c.Clients[0].Providers = []string{"demo"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, edit)
			got := answered(t, w, w.login("Demo").Get(w.wantLink(nil)))
			if got.Get("kc_action_status") != "error" || linked(w) {
				t.Errorf("answer %v", got)
			}
		})
	}
	t.Run("prompt=none", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		got := answered(t, w, w.login("Demo").Get(w.wantLink(func(v url.Values) { v.Set("prompt", "none") })))
		if got.Get("error") != "interaction_required" {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("a proof of long ago", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		w.advance(11 * time.Minute)
		page := b.Get(w.wantLink(nil))
		if page.URL.Path != "/id/login" {
			t.Fatalf("status %d at %s", page.Status, page.URL)
		}
		page = page.Click("Demo")
		shows(t, page, http.StatusOK, "Link Other to your account?")
		if got := answered(t, w, page.Submit(yes)); got.Get("kc_action_status") != "success" || !linked(w) {
			t.Errorf("answer %v", got)
		}
	})
	t.Run("somebody else's", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.login("Other")
		b := w.login("Demo")
		before := b.Get(w.Origin + "/").Who()
		shows(t, b.Get(w.wantLink(nil)).Submit(yes), http.StatusConflict, "Already linked to another account")
		if after := b.Get(w.Origin + "/").Who(); after != before {
			t.Errorf("the session was %+v, and is %+v", before, after)
		}
	})
}
