package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// The steps of a login by password and the required actions, one after the other, and what browsers and servers do at each of them:
// as TestStateOfFirstLogin has it for the steps of a first login.
func TestStateOfLocalLogin(t *testing.T) {
	t.Parallel()
	for _, nodes := range []string{"one node", "two nodes"} {
		for _, at := range []string{"password", "code", "new password", "mail"} {
			for _, event := range []string{
				"nothing", "refresh", "empty", "back", "forward", "other tab", "other tab first", "restart", "expiry", "another browser", "twice",
			} {
				if event == "restart" && nodes == "two nodes" {
					continue
				}
				t.Run(at+"/"+event+"/"+nodes, func(t *testing.T) {
					t.Parallel()
					newLocalVisit(t, nodes == "two nodes").walk(at, event)
				})
			}
		}
	}
}

// A localVisit is alice, who has a password that she has to change, a second factor, and an address that nobody has verified.
type localVisit struct {
	*world
	t       *testing.T
	alice   *store.User
	mails   *mailbox
	edit    func(*broker.Config)
	browser *brokertest.Browser
	codes   []string
}

const chosenWords = "her own words"

var localSteps = []string{"password", "code", "new password", "mail"}

func newLocalVisit(t *testing.T, twoNodes bool) *localVisit {
	t.Helper()
	v := &localVisit{t: t, mails: newMailbox(), browser: brokertest.NewBrowser(t)}
	v.world, v.alice, _, _ = newPasswordWorld(t, func(c *broker.Config) { verified(c); c.Mailer = v.mails })
	v.edit = func(c *broker.Config) {
		verified(c)
		c.Credentials, c.Passwords = v.store, &factor.Passwords{Memory: 8, Time: 1}
		c.Mailer, c.LocalLogin, c.Providers[0].TrustEmail = v.mails, true, true
	}
	hash, err := v.local().Passwords.Hash(t.Context(), password)
	if err == nil {
		err = v.local().SetPassword(t.Context(), v.alice.ID, hash, true)
	}
	codes, failed := v.local().NewRecoveryCodes(t.Context(), v.alice.ID)
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	v.codes = codes
	v.editUser("alice", func(u *store.User) { u.EmailVerified = false })
	if twoNodes {
		v.twoNodes(v.edit)
	}
	return v
}

// begin opens the login page in alice's browser.
func (v *localVisit) begin() *brokertest.Page { return v.sane(v.browser.Get(v.Origin + "/deep")) }

// sane fails if the page is a failure of the broker.
func (v *localVisit) sane(page *brokertest.Page) *brokertest.Page {
	v.t.Helper()
	if page.Status >= http.StatusInternalServerError {
		v.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return page
}

// try answers the page for the step if it is one that asks.
func (v *localVisit) try(page *brokertest.Page, step string) *brokertest.Page {
	v.t.Helper()
	if _, _, ok := page.Form(); !ok {
		return page
	}
	return v.sane(page.Submit(map[string]url.Values{
		"password": answer("alice", password), "code": {"code": {v.codes[0]}},
		"new password": {"password": {chosenWords}, "repeat": {chosenWords}}, "mail": press("confirmed"),
	}[step]))
}

// confirm opens the newest mail elsewhere, while the page waits for that.
func (v *localVisit) confirm(waiting *brokertest.Page) {
	all := v.mails.demands()
	v.sane(v.sane(brokertest.NewBrowser(v.t).Get(all[len(all)-1])).Submit(number(waiting)))
}

// finish goes through all steps in another tab, with what is left of codes and passwords.
func (v *localVisit) finish() *brokertest.Page {
	v.t.Helper()
	page := v.begin()
	for _, step := range localSteps {
		if step == "mail" {
			v.confirm(page)
		}
		if page.URL.Path != "/deep" {
			page = v.try(page, step)
		}
	}
	return page
}

// walk goes through the login, and lets the event happen at the step.
func (v *localVisit) walk(at, event string) {
	v.t.Helper()
	mails, ends := 1, true // how many are sent, and whether the login ends in spite of the event
	page := v.begin()
	var before []*brokertest.Page
	for i, step := range localSteps {
		if step == "mail" && len(v.mails.demands()) > 0 {
			v.confirm(page)
		}
		if step == at {
			switch event {
			case "refresh":
				page = v.browser.Get(page.URL.String())
			case "empty":
				page = page.Submit(nil)
			case "back":
				for j, old := range before {
					if again := v.try(old, localSteps[j]); step != "mail" && again.URL.Path == "/deep" {
						v.t.Errorf("an answer to %s leads in", localSteps[j])
					}
					v.sane(v.browser.Get(old.URL.String()))
				}
				page = v.browser.Get(page.URL.String())
			case "other tab":
				other := v.begin()
				for _, earlier := range localSteps[:i] {
					if earlier == "code" { // one is good once
						v.codes = v.codes[1:]
					}
					other = v.try(other, earlier)
				}
				if i == 3 {
					mails = 2
				}
			case "other tab first":
				spare := v.codes
				if v.codes = v.codes[1:]; v.finish().URL.Path != "/deep" {
					v.t.Error("the other tab does not get in")
				}
				v.codes = spare
				v.try(page, step)
				v.wantAlice(v.browser.Get(v.Origin+"/deep"), len(v.mails.demands()))
				return
			case "expiry":
				v.advance(61 * time.Minute)
				ends = i == 0 // the first page is no step yet
			case "restart":
				v.reconfigure(v.edit)
			case "another browser":
				stranger := v.sane(brokertest.NewBrowser(v.t).Get(page.URL.String()))
				if step != "password" && strings.Contains(stranger.Body, `name="turn"`) {
					v.t.Errorf("another browser is shown the step: status %d\n%s", stranger.Status, stranger.Body)
				}
			case "twice": // by a second click, or after going back
				next := v.try(page, step)
				if again := v.try(page, step); step != "mail" && again.URL.Path == "/deep" {
					v.t.Errorf("the second answer leads in: status %d at %s", again.Status, again.URL)
				}
				if i > 0 {
					before, page = append(before, page), next
					continue
				}
			}
		}
		if v.sane(page); page.URL.Path == "/deep" { // what was confirmed elsewhere counts without an answer
			break
		}
		before = append(before, page)
		if page = v.try(page, step); !ends && step == at {
			if page.URL.Path == "/deep" || !strings.Contains(page.Body, "Start again") && !strings.Contains(page.Body, "expired") {
				v.t.Errorf("too late: status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			return
		}
	}
	if event == "forward" {
		for i, old := range before {
			if localSteps[i] == at {
				v.try(old, at)
				v.sane(v.browser.Get(old.URL.String()))
			}
		}
		page = v.browser.Get(v.Origin + "/deep")
	}
	v.wantAlice(page, mails)
}

// wantAlice fails unless the page is the host's, for alice, who is there once, with her new password and a verified address.
func (v *localVisit) wantAlice(page *brokertest.Page, mails int) {
	v.t.Helper()
	shows(v.t, page, http.StatusOK)
	if page.URL.Path != "/deep" || page.Who().ID != v.alice.ID || !v.named("alice").EmailVerified {
		v.t.Errorf("ends at %s\n%s", page.URL, page.Body)
	}
	if temporary, err := v.local().VerifyPassword(v.t.Context(), factor.Attempt{UserID: v.alice.ID}, chosenWords); temporary || err != nil {
		v.t.Errorf("her password: temporary is %t, %v", temporary, err)
	}
	if n := len(v.mails.demands()); n != mails {
		v.t.Errorf("%d mails, want %d", n, mails)
	}
}
