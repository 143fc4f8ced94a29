package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// Linking takes a proof that is recent when it is asked for, and still when it is confirmed.
func TestLinkNeedsRecentProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	w.advance(9 * time.Minute)
	request := field(t, b.Get(w.URL+"/link?provider=other&return_to=/account/"), "request", 0)
	w.advance(2 * time.Minute)
	shows(t, b.Get(w.URL+"/link?request="+request), http.StatusOK, "Please sign in again")
	page := b.Post(w.URL+"/link", url.Values{"request": {request}, "decision": {"yes"}}, "")
	shows(t, page, http.StatusConflict, "expired")
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
		t.Errorf("linked: %v", links)
	}
}

// What comes back meets the session that has asked, not another one of the same user.
func TestLinkComesBackToItsSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.other.LoginAs("")
	asking, another := w.login("Demo"), w.login("Demo")
	away := asking.Get(w.URL + "/link?provider=other&return_to=/account/").Submit(url.Values{"decision": {"yes"}})
	session, cookies := w.cookieName("session"), asking.Cookies(w.URL)
	delete(cookies, session)
	another.SetCookies(w.URL, cookies)
	asking.Stop()
	back := asking.Post(away.URL.String(), url.Values{"user": {"carol"}}, "")
	shows(t, another.Get(back.Header.Get("Location")), http.StatusConflict, "expired")
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
		t.Errorf("linked: %v", links)
	}
}

// Who is linked to a provider is not linked to it by somebody else as well.
func TestLinkOfSecondIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	w.op.LoginAs("bob")
	shows(t, w.link(b, "demo"), http.StatusConflict)
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 || links[0].Username != "alice" {
		t.Errorf("links %v", links)
	}
}

// An account mails five proofs of a new address an hour, to whatever addresses.
func TestAccountMailsAreBounded(t *testing.T) {
	t.Parallel()
	box := newInbox()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = box })
	b := w.login("Demo")
	ask := func(i int) *brokertest.Page {
		return b.Get(w.at("email")).Submit(url.Values{"email": {fmt.Sprintf("new%d@example.com", i)}})
	}
	for i := range 5 {
		shows(t, ask(i), http.StatusOK, "We have sent a message")
		box.link(t)
	}
	shows(t, ask(5), http.StatusOK, `id="email-error"`)
	w.advance(61 * time.Minute)
	b = w.login("Demo")
	shows(t, ask(6), http.StatusOK, "We have sent a message")
	if msg := box.next(t); msg.To != "new6@example.com" {
		t.Errorf("mail to %s", msg.To)
	}
}

// A seed that was shown long ago is not taken, whatever its code: another one is shown.
func TestEnrolmentExpires(t *testing.T) {
	t.Parallel()
	w, alice, b, _ := newPasswordWorld(t, nil)
	page := b.Get(w.at("totp"))
	seed := strings.ReplaceAll(regexp.MustCompile(`<code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page.Body)[1], " ", "")
	for range 2 {
		w.advance(8 * time.Minute)
		b.Get(w.URL + "/login?prompt=login").Click("Demo")
	}
	again := page.Submit(url.Values{"code": {code(t, seed, w.clock())}})
	shows(t, again, http.StatusOK, "Set up an authenticator app")
	if field(t, again, "enrolment", 0) == field(t, page, "enrolment", 0) {
		t.Error("the same seed is shown again")
	}
	if all, err := w.store.CredentialsOf(t.Context(), alice.ID); len(all) != 1 || err != nil {
		t.Errorf("credentials %v, %v; want the password", all, err)
	}
}

// Of a mailed link to reset a password that is answered twice at once, one answer counts.
func TestResetRace(t *testing.T) {
	t.Parallel()
	var meanwhile atomic.Pointer[func()]
	w, alice, _, box := newPasswordWorld(t, func(c *broker.Config) {
		c.Passwords = &factor.Passwords{Memory: 8, Time: 1, Breached: func(context.Context, string) error {
			if f := meanwhile.Swap(nil); f != nil {
				(*f)()
			}
			return nil
		}}
	})
	brokertest.NewBrowser(t).Get(w.URL + "/reset").Submit(url.Values{"username": {"alice"}})
	form := brokertest.NewBrowser(t).Get(box.reset(t))
	first := func() {
		shows(t, form.Submit(url.Values{"password": {"all new words"}, "repeat": {"all new words"}}), http.StatusOK, "Your new password is set")
	}
	meanwhile.Store(&first)
	shows(t, form.Submit(url.Values{"password": {"other new words"}, "repeat": {"other new words"}}), http.StatusGone)
	if _, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, "all new words"); err != nil {
		t.Errorf("the first answer's password: %v", err)
	}
}

// From one place ten mails an hour are asked for, whosever they are.
func TestResetMailsOfOneSource(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	w, _, _, box := newPasswordWorld(t, func(c *broker.Config) {
		c.RemoteAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("203.0.113.7") }
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	ask := func(i int) {
		id := fmt.Sprint("u", i)
		must(t, w.store.CreateUser(t.Context(), &store.User{ID: id, Username: id, Email: id + "@example.com", EmailVerified: true}))
		w.setPassword(id, "some password")
		brokertest.NewBrowser(t).Get(w.URL + "/reset").Submit(url.Values{"username": {id}})
	}
	for i := range 10 {
		ask(i)
		box.reset(t)
	}
	ask(10)
	log.waitFor(t, "enough mails in an hour") // the answer does not wait for it
	w.advance(61 * time.Minute)
	ask(11)
	if msg := box.next(t); msg.To != "u11@example.com" {
		t.Errorf("mail to %s", msg.To)
	}
}
