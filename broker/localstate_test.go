package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// The steps of a login by password and the required actions, one after the other, and what browsers and servers do at each of them:
// as TestStateOfFirstLogin has it for the steps of a first login.
func TestStateOfLocalLogin(t *testing.T) {
	t.Parallel()
	const chosen = "her own words"
	for _, at := range []string{"password", "code", "new password", "mail"} {
		for _, event := range []string{"nothing", "refresh", "empty", "another node", "expiry", "another browser", "twice"} {
			t.Run(at+"/"+event, func(t *testing.T) {
				t.Parallel()
				mails := newMailbox()
				config := func(c *broker.Config) { verified(c); c.Mailer = mails }
				w, alice, _, _ := newPasswordWorld(t, config)
				hash, err := w.local().Passwords.Hash(t.Context(), password)
				if err == nil {
					err = w.local().SetPassword(t.Context(), alice.ID, hash, true)
				}
				codes, failed := w.local().NewRecoveryCodes(t.Context(), alice.ID)
				if err != nil || failed != nil {
					t.Fatal(err, failed)
				}
				w.editUser("alice", func(u *store.User) { u.EmailVerified = false })
				b := brokertest.NewBrowser(t)
				answers := []url.Values{
					answer("alice", password), {"code": {codes[0]}}, {"password": {chosen}, "repeat": {chosen}}, press("confirmed"),
				}
				steps := []string{"password", "code", "new password", "mail"}
				page := b.Get(w.Origin + "/deep")
				for i, step := range steps {
					if step == "mail" {
						brokertest.NewBrowser(t).Get(mails.demands()[0]).Submit(nil)
					}
					if step == at {
						switch event {
						case "refresh":
							page = b.Get(page.URL.String())
						case "empty":
							page = page.Submit(nil)
						case "expiry":
							w.advance(61 * time.Minute)
						case "another node": // or the same after a restart
							w.reconfigure(func(c *broker.Config) {
								c.Credentials, c.LocalLogin, c.Providers[0].TrustEmail = w.store, true, true
								config(c)
							})
						case "another browser":
							stranger := brokertest.NewBrowser(t).Get(page.URL.String())
							if stranger.Status >= 500 || step != "password" && strings.Contains(stranger.Body, `name="turn"`) {
								t.Errorf("another browser is shown the step: status %d\n%s", stranger.Status, stranger.Body)
							}
						case "twice": // by a second click, or after going back
							if old := page; i > 0 {
								next := old.Submit(answers[i])
								if again := old.Submit(answers[i]); again.Status >= 500 || step != "mail" && again.URL.Path == "/deep" {
									t.Errorf("the second answer: status %d at %s", again.Status, again.URL)
								}
								page = next
								continue
							}
						}
					}
					if page.Status >= 500 {
						t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
					}
					if page.URL.Path == "/deep" { // what was confirmed elsewhere counts without an answer
						break
					}
					page = page.Submit(answers[i])
					if event == "expiry" && step == at && i > 0 {
						if page.Status >= 500 || page.URL.Path == "/deep" || !strings.Contains(page.Body, "Start again") && !strings.Contains(page.Body, "expired") {
							t.Errorf("too late: status %d at %s\n%s", page.Status, page.URL, page.Body)
						}
						return
					}
				}
				shows(t, page, http.StatusOK)
				if page.URL.Path != "/deep" || page.Who().ID != alice.ID || !w.named("alice").EmailVerified {
					t.Errorf("ends at %s\n%s", page.URL, page.Body)
				}
				if n := len(mails.demands()); n != 1 {
					t.Errorf("%d mails, want one", n)
				}
			})
		}
	}
}
