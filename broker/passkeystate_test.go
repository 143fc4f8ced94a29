package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
)

// What browsers and servers do at the page that asks for a passkey after a login: whoever is at it can go on or start again, and nobody
// else can.
func TestStateOfPasskeyStep(t *testing.T) {
	t.Parallel()
	for event, row := range map[string]struct {
		do    func(v *passkeyVisit) *brokertest.Page // returns the page that is answered in the end
		again bool                                   // it ends in a page from which the login begins again
	}{
		"nothing": {do: func(v *passkeyVisit) *brokertest.Page { return v.page }},
		"refresh": {do: func(v *passkeyVisit) *brokertest.Page { return v.browser.Get(v.page.URL.String()) }},
		"empty": {do: func(v *passkeyVisit) *brokertest.Page {
			page := v.page.Submit(nil)
			shows(v.t, page, http.StatusOK, "could not be verified")
			return page
		}},
		"an answer to a page before": {do: func(v *passkeyVisit) *brokertest.Page {
			page := v.page.Submit(nil)
			v.refused(v.answer(v.page))
			return page
		}},
		"back": {do: func(v *passkeyVisit) *brokertest.Page {
			v.browser.Get(v.Origin + "/deep")
			return v.browser.Get(v.page.URL.String())
		}},
		"other tab": {do: func(v *passkeyVisit) *brokertest.Page {
			v.begin()
			return v.page
		}},
		"other tab first": {do: func(v *passkeyVisit) *brokertest.Page {
			if page := v.answer(v.begin()); page.URL.Path != "/deep" {
				v.t.Errorf("the other tab is at %s", page.URL)
			}
			return v.page
		}},
		"other browser": {do: func(v *passkeyVisit) *brokertest.Page {
			stranger := brokertest.NewBrowser(v.t)
			v.refused(stranger.Get(v.page.URL.String()))
			_, form, _ := v.page.Form()
			form.Set("credential", string(v.key.Get(asksPasskey(v.t, v.page))))
			v.refused(stranger.Post(v.page.URL.String(), form, ""))
			if stranger.Get(v.Origin+"/").URL.Path == "/" {
				v.t.Error("another browser is signed in")
			}
			return v.page
		}},
		"restart": {do: func(v *passkeyVisit) *brokertest.Page { v.withPasskeys(v.edit); return v.page }},
		"a challenge that is too old": {do: func(v *passkeyVisit) *brokertest.Page {
			v.advance(11 * time.Minute)
			page := v.answer(v.page)
			shows(v.t, page, http.StatusOK, "could not be verified")
			return page
		}},
		"expiry": {do: func(v *passkeyVisit) *brokertest.Page { v.advance(41 * time.Minute); return v.page }, again: true},
		"switched off": {do: func(v *passkeyVisit) *brokertest.Page {
			v.reconfigure(func(c *broker.Config) {
				c.Credentials, c.PostLogin = v.store, flow.Flow{{ID: "again", Do: factor.OwnPasskey{}}}
			})
			return v.page
		}, again: true},
	} {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			v := newPasskeyVisit(t)
			page := v.answer(row.do(v))
			if row.again {
				if page.URL.Path == "/deep" || page.Status >= http.StatusInternalServerError || len(page.Links()) == 0 {
					t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
				}
				return
			}
			if page.URL.Path != "/deep" || page.Who().Username != "alice" {
				t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			if v.refused(v.answer(v.page)); v.users("alice") != 1 || len(v.sessionsOf(v.named("alice").ID)) != 2 {
				t.Errorf("%d users, sessions %v; want hers and the new one", v.users("alice"), v.sessionsOf(v.named("alice").ID))
			}
		})
	}
}

// A passkeyVisit is alice at the page that asks for her passkey, after a login by a provider.
type passkeyVisit struct {
	*world
	t       *testing.T
	key     interface{ Get(options []byte) []byte }
	edit    func(*broker.Config)
	browser *brokertest.Browser
	page    *brokertest.Page
}

func newPasskeyVisit(t *testing.T) *passkeyVisit {
	t.Helper()
	w, _ := newPasskeyWorld(t, nil)
	v := &passkeyVisit{world: w, t: t, browser: brokertest.NewBrowser(t)}
	v.key = w.makePasskey(w.login("Demo"), "")
	v.edit = func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "again", Do: factor.OwnPasskey{}}} }
	w.withPasskeys(v.edit)
	v.page = v.begin()
	return v
}

func (v *passkeyVisit) begin() *brokertest.Page {
	v.t.Helper()
	page := v.browser.Get(v.Origin + "/deep").Click("Demo")
	asksPasskey(v.t, page)
	return page
}

// answer sends what her device makes of the page, if it asks for something.
func (v *passkeyVisit) answer(page *brokertest.Page) *brokertest.Page {
	v.t.Helper()
	if !passkeyOptions.MatchString(page.Body) {
		return page
	}
	return page.Submit(url.Values{"credential": {string(v.key.Get(asksPasskey(v.t, page)))}})
}

// refused fails unless the page is one that cannot be answered any more, and leads on.
func (v *passkeyVisit) refused(page *brokertest.Page) {
	v.t.Helper()
	if page.Status != http.StatusConflict || !strings.Contains(page.Body, "expired") {
		v.t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}
