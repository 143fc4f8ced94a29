package broker_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// An inbox gets mail, from whatever goroutine.
type inbox chan broker.Message

func newInbox() inbox { return make(inbox, 64) }

func (m inbox) Send(_ context.Context, msg *broker.Message) error {
	m <- *msg
	return nil
}

// next waits for a mail.
func (m inbox) next(t testing.TB) broker.Message {
	t.Helper()
	select {
	case msg := <-m:
		return msg
	case <-time.After(time.Minute):
		t.Fatal("no mail came")
		return broker.Message{}
	}
}

var links = regexp.MustCompile(`http://\S+`)

// link returns the link in the next mail.
func (m inbox) link(t testing.TB) string {
	t.Helper()
	msg := m.next(t)
	link := links.FindString(msg.Text)
	if link == "" {
		t.Fatalf("no link in %s", msg.Text)
	}
	return link
}

// reset returns the link of the next mail by which a password can be set.
func (m inbox) reset(t testing.TB) string {
	t.Helper()
	for {
		if msg := m.next(t); strings.Contains(msg.Text, "/reset?") {
			return links.FindString(msg.Text)
		}
	}
}

// newPasswordWorld is a world in which alice of demo has a password, and the login page asks for it.
func newPasswordWorld(t testing.TB, edit func(*broker.Config)) (*world, *store.User, *brokertest.Browser, inbox) {
	t.Helper()
	box := newInbox()
	w, alice, hers := newLocalWorld(t, func(c *broker.Config) {
		c.LocalLogin, c.Mailer = true, box
		c.Providers[0].TrustEmail = true
		if edit != nil {
			edit(c)
		}
	})
	return w, alice, hers, box
}

// app gives alice an authenticator app and returns what makes its codes.
func (w *world) app(userID string) *factor.Enrolment {
	w.t.Helper()
	e := factor.NewEnrolment("", "alice")
	if err := w.local().EnrolTOTP(w.t.Context(), userID, "", e.Seed, code(w.t, e.Text, w.clock())); err != nil {
		w.t.Fatal(err)
	}
	w.advance(2 * time.Minute)
	return e
}

func (w *world) sessionsOf(userID string) []*store.Session {
	w.t.Helper()
	found, err := w.store.FindSessions(w.t.Context(), store.SessionQuery{UserID: userID})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A password signs in beside the providers, without anybody upstream, everywhere.
func TestLocalLogin(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Submit(answer("Alice@Example.com", password))
	if who := page.Who(); who.ID != alice.ID || who.Provider != "" {
		t.Fatalf("signed in as %+v, want alice by nobody", who)
	}
	tokens := w.redeem(w.code(b, nil), nil).tokens(t)
	if got := w.userinfo(tokens.AccessToken); got.StatusCode != http.StatusOK || !strings.Contains(got.text, alice.ID) {
		t.Errorf("userinfo: status %d, %s", got.StatusCode, got.text)
	}
	if claims := part(t, tokens.IDToken, 1); !slices.Contains(stringsOf(claims["amr"]), "pwd") || claims["sub"] != alice.ID {
		t.Errorf("ID token says %v", claims)
	}
	alice.Disabled = true
	if err := w.store.UpdateUser(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	if page := b.Get(w.Origin + "/"); page.URL.Path != "/id/login" {
		t.Errorf("a disabled user is at %s", page.URL)
	}
	if got := w.userinfo(tokens.AccessToken); got.StatusCode == http.StatusOK {
		t.Error("a disabled user's token is good for userinfo")
	}
}

func stringsOf(v any) []string {
	list, _ := v.([]any)
	var all []string
	for _, one := range list {
		s, _ := one.(string)
		all = append(all, s)
	}
	return all
}

// Unknown, without a password, disabled, locked and wrong are one answer, and leave nothing behind.
func TestLocalLoginTellsNothing(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	carol := &store.User{ID: "carol-id", Username: "carol", Email: "carol@example.com"}
	off := &store.User{ID: "off-id", Username: "erica", Email: "erica@example.com", Disabled: true}
	for _, u := range []*store.User{carol, off} {
		if err := w.store.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := w.local().Passwords.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.local().SetPassword(t.Context(), off.ID, hash, false); err != nil {
		t.Fatal(err)
	}
	try := func(name, secret string) string {
		page := brokertest.NewBrowser(t).Get(w.Origin + "/").Submit(answer(name, secret))
		if page.Status != http.StatusOK || page.URL.Path != "/id/login/password" {
			t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
		}
		return differing.ReplaceAllString(strings.ReplaceAll(page.Body, name, "NAME"), "RANDOM")
	}
	want := try("alice", "a guess")
	if !strings.Contains(want, "This is not right") {
		t.Fatalf("no error: %s", want)
	}
	for _, row := range [][2]string{{"nobod", password}, {"carol", password}, {"erica", password}, {"erica", "a guess"}} {
		if got := try(row[0], row[1]); got != want {
			t.Errorf("%s with %q is told apart:\n%s", row[0], row[1], got)
		}
	}
	for range 5 {
		try("alice", "a guess")
	}
	if got := try("alice", password); got != want {
		t.Errorf("locked is told apart:\n%s", got)
	}
	if n := len(w.sessionsOf(alice.ID)); n != 1 {
		t.Errorf("%d sessions, want hers only", n)
	}
}

// The fifth guess locks on every path: what was guessed on the login page counts when an account proves itself, and the other way.
func TestRow14LimitIsShared(t *testing.T) {
	t.Parallel()
	w, _, _, _ := newPasswordWorld(t, nil)
	b := brokertest.NewBrowser(t)
	for range 5 {
		b.Get(w.Origin + "/").Submit(answer("alice", "a guess"))
	}
	page := b.Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
	if !strings.Contains(page.Body, `id="password-error"`) {
		t.Errorf("five guesses on the login page do not count elsewhere: status %d at %s", page.Status, page.URL)
	}
}

// Rows 25 and 26: whoever has an app is asked for its code, and is nobody before; who has none is not.
func TestRow25LocalLoginAsksForCode(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	e := w.app(alice.ID)
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Submit(answer("alice", password))
	if !strings.Contains(page.Body, `autocomplete="one-time-code"`) || !strings.HasPrefix(page.URL.Path, "/id/flow/") {
		t.Fatalf("not asked for a code: %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if other := b.Get(w.Origin + "/"); other.URL.Path != "/id/login" {
		t.Errorf("signed in before the code: at %s", other.URL)
	}
	if again := page.Submit(url.Values{"code": {"000000"}}); !strings.Contains(again.Body, `id="code-error"`) {
		t.Errorf("a wrong code: status %d\n%s", again.Status, again.Body)
	} else {
		page = again
	}
	page = page.Submit(url.Values{"code": {code(t, e.Text, w.clock())}})
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v", who)
	}
	found, err := w.store.Session(t.Context(), page.Who().Session)
	if err != nil || !slices.Contains(found.AMR, "mfa") || !slices.Contains(found.AMR, "pwd") {
		t.Errorf("session %+v, %v", found, err)
	}
}

// Switched off between the password and the code: refused.
func TestLocalLoginSwitchedOff(t *testing.T) {
	t.Parallel()
	w, alice, _, box := newPasswordWorld(t, nil)
	e := w.app(alice.ID)
	page := brokertest.NewBrowser(t).Get(w.Origin + "/").Submit(answer("alice", password))
	w.reconfigure(func(c *broker.Config) {
		c.Credentials, c.Passwords, c.Mailer = w.store, &factor.Passwords{Memory: 8, Time: 1}, box
	})
	if page = page.Submit(url.Values{"code": {code(t, e.Text, w.clock())}}); page.Status < 400 {
		t.Errorf("status %d at %s", page.Status, page.URL)
	}
	if page = brokertest.NewBrowser(t).Get(w.URL + "/login"); strings.Contains(page.Body, `name="password"`) {
		t.Error("the login page still asks for a password")
	}
	start := url.Values{"start": {"/login"}, "username": {"alice"}, "password": {password}}
	if page = brokertest.NewBrowser(t).Post(w.URL+"/login/password", start, ""); page.Status < 400 {
		t.Errorf("posted: status %d at %s", page.Status, page.URL)
	}
}

// A client that names whose word it takes does not take the broker's own, by no way.
func TestLocalLoginIsNoProvider(t *testing.T) {
	t.Parallel()
	w, _, _, box := newPasswordWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Credentials, c.Passwords, c.LocalLogin, c.Mailer = w.store, &factor.Passwords{Memory: 8, Time: 1}, true, box
		c.Clients[0].Providers = []string{"demo"}
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.URL + "/authorize?" + w.authParams().Encode())
	if strings.Contains(page.Body, `name="password"`) {
		t.Error("the login page of such a client asks for a password")
	}
	start := url.Values{"start": {"/authorize?" + w.authParams().Encode()}, "username": {"alice"}, "password": {password}}
	if page := b.Post(w.URL+"/login/password", start, ""); page.Status != http.StatusForbidden {
		t.Errorf("posted: status %d at %s", page.Status, page.URL)
	}
	b.Get(w.Origin + "/").Submit(answer("alice", password))
	if page := b.Get(w.URL + "/authorize?" + w.authParams().Encode()); page.URL.Path != "/id/authorize" {
		t.Errorf("a session by password satisfies the client: at %s", page.URL)
	}
}

// CVE-2026-7507, CVE-2024-28197: what was in the browser before is worth nothing after.
func TestLocalLoginFixation(t *testing.T) {
	t.Parallel()
	w, _, hers, _ := newPasswordWorld(t, nil)
	name := w.cookieName("session")
	planted := hers.Cookies(w.URL)[name]
	thief := brokertest.NewBrowser(t)
	thief.SetCookies(w.URL, map[string]string{name: planted})
	if page := thief.Get(w.Origin + "/"); page.URL.Path != "/" {
		t.Fatalf("the cookie is no session: at %s", page.URL)
	}
	hers.Get(w.URL + "/login?prompt=login").Submit(answer("alice", password))
	if now := hers.Cookies(w.URL)[name]; now == planted || now == "" {
		t.Errorf("the cookie is %q as before", now)
	}
	if page := thief.Get(w.Origin + "/"); page.URL.Path == "/" {
		t.Error("the old cookie still is a session")
	}
}

// The form is posted by our own pages only.
func TestLocalLoginCrossSite(t *testing.T) {
	t.Parallel()
	w, _, _, _ := newPasswordWorld(t, nil)
	b := brokertest.NewBrowser(t)
	form := url.Values{"start": {"/login"}, "username": {"alice"}, "password": {password}}
	if page := b.Post(w.URL+"/login/password", form, "https://evil.example/"); page.Status != http.StatusForbidden {
		t.Errorf("status %d", page.Status)
	}
	if page := b.Get(w.Origin + "/"); page.URL.Path == "/" {
		t.Error("signed in by another site")
	}
}

// A password that somebody else knows is changed before anybody comes in.
func TestLocalLoginMustChange(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.local().SetPassword(t.Context(), alice.ID, hash, true); err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Submit(answer("alice", "given by an admin"))
	if !strings.Contains(page.Body, `autocomplete="new-password"`) {
		t.Fatalf("not asked: status %d\n%s", page.Status, page.Body)
	}
	if other := b.Get(w.Origin + "/"); other.URL.Path == "/" {
		t.Error("in before it was changed")
	}
	page = page.Submit(url.Values{"password": {"her own words"}, "repeat": {"her own words"}})
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v", who)
	}
}

// Row 15: who has forgotten the password while an account proves itself sets a new one, and then comes in, linked.
func TestRow15ResetInsideReauthentication(t *testing.T) {
	t.Parallel()
	w, alice, hers, box := newPasswordWorld(t, nil)
	b := brokertest.NewBrowser(t)
	asked := b.Get(w.Origin + "/").Click("Other")
	page := asked.Click("Forgot your password?").Submit(url.Values{"username": {"alice"}})
	shows(t, page, http.StatusOK, "If there is such an account")
	link := box.link(t)
	page = b.Get(link)
	shows(t, page, http.StatusOK, "Choose a new password")
	page = page.Submit(url.Values{"password": {"all new words"}, "repeat": {"all new words"}})
	shows(t, page, http.StatusOK, "Your new password is set")
	if other := hers.Get(w.Origin + "/"); other.URL.Path == "/" {
		t.Error("sessions go on after a reset")
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 1 || err != nil {
		t.Fatalf("linked by the reset alone: %v, %v", links, err)
	}
	page = page.Click("Continue").Submit(answer("alice", "all new words"))
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v", who)
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 2 || err != nil {
		t.Errorf("links %v, %v", links, err)
	}
	shows(t, b.Get(link), http.StatusGone, "no longer valid")
}

// Row 16: in another browser the link sets the password, and nobody is signed in or linked there or anywhere.
func TestRow16ResetInOtherBrowser(t *testing.T) {
	t.Parallel()
	w, alice, _, box := newPasswordWorld(t, nil)
	attacker, victim := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	paused := attacker.Get(w.Origin + "/").Click("Other")
	paused.Click("Forgot your password?").Submit(url.Values{"username": {"alice"}})
	page := victim.Get(box.link(t)).Submit(url.Values{"password": {"all new words"}, "repeat": {"all new words"}})
	shows(t, page, http.StatusOK, "Your new password is set")
	if page = page.Click("Continue"); page.URL.Path != "/id/login" {
		t.Errorf("the other browser is led to %s", page.URL)
	}
	for name, b := range map[string]*brokertest.Browser{"victim": victim, "attacker": attacker} {
		if page := b.Get(w.Origin + "/"); page.URL.Path == "/" {
			t.Errorf("%s is signed in", name)
		}
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 1 || err != nil {
		t.Errorf("links %v, %v", links, err)
	}
}

// CVE-2026-18963: a reset skips no second factor.
func TestResetSkipsNoFactor(t *testing.T) {
	t.Parallel()
	w, alice, _, box := newPasswordWorld(t, nil)
	w.app(alice.ID)
	b := brokertest.NewBrowser(t)
	b.Get(w.URL + "/reset").Submit(url.Values{"username": {"alice@example.com"}})
	page := b.Get(box.link(t)).Submit(url.Values{"password": {"all new words"}, "repeat": {"all new words"}})
	page = page.Click("Continue").Submit(answer("alice", "all new words"))
	if !strings.Contains(page.Body, `autocomplete="one-time-code"`) {
		t.Errorf("no code asked: status %d at %s", page.Status, page.URL)
	}
	if page := b.Get(w.Origin + "/"); page.URL.Path == "/" {
		t.Error("signed in without a code")
	}
}

// A reset tells nobody who exists, is bounded, dies with a change, works once and not for ever.
func TestReset(t *testing.T) {
	t.Parallel()
	ask := func(w *world, name string) *brokertest.Page {
		return brokertest.NewBrowser(t).Get(w.URL + "/reset").Submit(url.Values{"username": {name}})
	}
	logged := func(t *testing.T) (w *world, log *lockedLog, box inbox) {
		log = newLockedLog()
		w, _, _, box = newPasswordWorld(t, func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		return w, log, box
	}
	t.Run("one answer", func(t *testing.T) {
		t.Parallel()
		w, _, _, _ := newPasswordWorld(t, nil)
		one, other := ask(w, "alice"), ask(w, "nobod")
		if one.Status != other.Status || differing.ReplaceAllString(one.Body, "") != differing.ReplaceAllString(other.Body, "") {
			t.Errorf("%s\n%s", one.Body, other.Body)
		}
	})
	t.Run("three mails an hour", func(t *testing.T) {
		t.Parallel()
		w, log, box := logged(t)
		for range 3 {
			ask(w, "alice")
			box.link(t)
		}
		ask(w, "alice")
		log.waitFor(t, "enough mails in an hour")
		w.advance(2 * time.Hour)
		ask(w, "alice")
		box.link(t)
		if len(box) > 0 {
			t.Errorf("%d mails more", len(box))
		}
	})
	for name, change := range map[string]func(w *world, alice *store.User){
		"expired": func(w *world, _ *store.User) { w.advance(21 * time.Minute) },
		"address changed": func(w *world, u *store.User) {
			u.Email = "new@example.com"
			must(w.t, w.store.UpdateUser(w.t.Context(), u))
		},
		"address in doubt": func(w *world, u *store.User) {
			u.EmailVerified = false
			must(w.t, w.store.UpdateUser(w.t.Context(), u))
		},
		"user disabled":    func(w *world, u *store.User) { u.Disabled = true; must(w.t, w.store.UpdateUser(w.t.Context(), u)) },
		"user deleted":     func(w *world, u *store.User) { must(w.t, w.store.DeleteUser(w.t.Context(), u.ID)) },
		"password changed": func(w *world, u *store.User) { w.advance(time.Second); w.setPassword(u.ID, "another one of hers") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, alice, _, box := newPasswordWorld(t, nil)
			ask(w, "alice")
			link := box.link(t)
			form := brokertest.NewBrowser(t).Get(link)
			change(w, alice)
			page := form.Submit(url.Values{"password": {"all new words"}, "repeat": {"all new words"}})
			if page.Status != http.StatusGone {
				t.Errorf("status %d at %s", page.Status, page.URL)
			}
			if _, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, "all new words"); err == nil {
				t.Error("the password was set")
			}
		})
	}
	t.Run("no mail to an address that nobody verified, or without a password", func(t *testing.T) {
		t.Parallel()
		w, log, box := logged(t)
		must(t, w.store.CreateUser(t.Context(), &store.User{ID: "u1", Username: "u1", Email: "u1@example.com", EmailVerified: true}))
		must(t, w.store.CreateUser(t.Context(), &store.User{ID: "u2", Username: "u2", Email: "u2@example.com"}))
		w.setPassword("u2", "some password")
		ask(w, "u1")
		log.waitFor(t, "has no password")
		ask(w, "u2")
		log.waitFor(t, "no account that can be mailed")
		ask(w, "alice")
		if msg := box.next(t); msg.To != "alice@example.com" || len(box) > 0 {
			t.Errorf("mail to %s, and %d more", msg.To, len(box))
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) setPassword(userID, secret string) {
	w.t.Helper()
	hash, err := w.local().Passwords.Hash(w.t.Context(), secret)
	must(w.t, err)
	must(w.t, w.local().SetPassword(w.t.Context(), userID, hash, false))
}

// code is what an app with this secret shows.
func code(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(secret, at)
	must(t, err)
	return c
}

// Disabled between the password and the code: refused.
func TestLocalLoginDisabledMeanwhile(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	e := w.app(alice.ID)
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Submit(answer("alice", password))
	alice.Disabled = true
	must(t, w.store.UpdateUser(t.Context(), alice))
	n := len(w.sessionsOf(alice.ID))
	shows(t, page.Submit(url.Values{"code": {code(t, e.Text, w.clock())}}), http.StatusForbidden)
	if len(w.sessionsOf(alice.ID)) != n {
		t.Error("a session was made")
	}
}
