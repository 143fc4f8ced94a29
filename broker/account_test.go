package broker_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// at returns the address of a part of the account page.
func (w *world) at(word string) string { return w.Origin + "/account/" + word }

// field returns the value of the nth hidden field of this name on the page.
func field(t testing.TB, p *brokertest.Page, name string, n int) string {
	t.Helper()
	found := regexp.MustCompile(`name="`+name+`" value="([^"]*)"`).FindAllStringSubmatch(p.Body, -1)
	if n >= len(found) {
		t.Fatalf("%s has %d fields %q, want more:\n%s", p.URL, len(found), name, p.Body)
	}
	return found[n][1]
}

// link links one more provider to the account of the browser's user, and returns where that ends.
func (w *world) link(b *brokertest.Browser, alias string) *brokertest.Page {
	w.t.Helper()
	page := b.Get(w.URL + "/link?provider=" + alias + "&return_to=/account/")
	shows(w.t, page, http.StatusOK, "to your account?")
	return page.Submit(url.Values{"decision": {"yes"}})
}

func (w *world) linksOf(userID string) []*store.Link {
	w.t.Helper()
	found, err := w.store.LinksOf(w.t.Context(), userID)
	must(w.t, err)
	return found
}

// A user links a provider, sees it, and takes it away; then it is nobody's.
func TestRow77Unlink(t *testing.T) {
	t.Parallel()
	box := newInbox()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = box })
	b := w.login("Demo")
	alice := w.named("alice")
	page := b.Get(w.at(""))
	shows(t, page, http.StatusOK, "signed in as alice", "your only way to sign in", "Link Other")
	if strings.Contains(page.Body, `name="link"`) {
		t.Error("the last way in has a button to remove it")
	}
	shows(t, w.link(b, "other"), http.StatusOK, "was linked to your account")
	if links := w.linksOf(alice.ID); len(links) != 2 || links[1].Subject != "carol" {
		t.Fatalf("links %v", links)
	}
	if msg := box.next(t); !strings.Contains(msg.Subject, "Other was linked") || msg.To != alice.Email {
		t.Errorf("mail %+v", msg)
	}
	// It signs her in, and what it has vouched for dies with it.
	elsewhere := brokertest.NewBrowser(t)
	if who := elsewhere.Get(w.Origin + "/").Click("Other").Who(); who.ID != alice.ID {
		t.Fatalf("the link signs in %+v", who)
	}
	tokens := w.redeem(w.code(elsewhere, nil), nil).tokens(t)
	page = b.Get(w.at(""))
	id := field(t, page, "link", 1)
	page = b.Post(w.at("unlink"), url.Values{"link": {id}}, "")
	shows(t, page, http.StatusOK, "Unlink Other?")
	if len(w.linksOf(alice.ID)) != 2 {
		t.Fatal("unlinked without a confirmation")
	}
	shows(t, page.Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "The link was removed")
	if msg := box.next(t); !strings.Contains(msg.Subject, "Other was removed") {
		t.Errorf("mail %+v", msg)
	}
	if elsewhere.Get(w.Origin+"/").URL.Path == "/" || w.userinfo(tokens.AccessToken).StatusCode == http.StatusOK {
		t.Error("what the link vouched for lives on")
	}
	if found, err := w.store.FindGrants(t.Context(), store.GrantQuery{UserID: alice.ID}); len(found) != 0 || err != nil {
		t.Errorf("grants %v, %v", found, err)
	}
	if who := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other").Who(); who.ID == alice.ID {
		t.Error("who was unlinked is still alice")
	}
	// The last one stays, whatever the form says.
	key := w.linksOf(alice.ID)[0].LinkKey
	shows(t, b.Post(w.at("unlink"), url.Values{"link": {linkID(key)}, "decision": {"yes"}}, ""), http.StatusOK, "only way to sign in")
	if len(w.linksOf(alice.ID)) != 1 {
		t.Error("the last way in was removed")
	}
}

// What cannot be signed in with is no way that is left.
func TestRow77LastWay(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		edit func(w *world, c *broker.Config)
		goes bool
	}{
		"other provider":           {func(*world, *broker.Config) {}, true},
		"other provider disabled":  {func(_ *world, c *broker.Config) { c.Providers[1].Disabled = true }, false},
		"other provider link-only": {func(_ *world, c *broker.Config) { c.Providers[1].LinkOnly = true }, false},
		"other provider removed":   {func(_ *world, c *broker.Config) { c.Providers = c.Providers[:1] }, false},
		"other provider held":      {func(w *world, c *broker.Config) { c.Providers[1].IdP = w.upstream(w.elsewhere(), "other", nil) }, false},
		"password": {func(w *world, c *broker.Config) {
			c.Providers[1].Disabled, c.LocalLogin, c.Credentials, c.Passwords = true, true, w.store, &factor.Passwords{Memory: 8, Time: 1}
			w.setPassword(w.named("alice").ID, password)
		}, true},
		"password that nobody asks for": {func(w *world, c *broker.Config) {
			c.Providers[1].Disabled, c.Credentials = true, w.store
			w.setPassword(w.named("alice").ID, password)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.login("Demo")
			alice := w.named("alice")
			w.link(b, "other")
			w.reconfigure(func(c *broker.Config) { row.edit(w, c) })
			demo := w.linksOf(alice.ID)[0]
			b.Post(w.at("unlink"), url.Values{"link": {linkID(demo.LinkKey)}, "decision": {"yes"}}, "")
			if gone := len(w.linksOf(alice.ID)) == 1; gone != row.goes {
				t.Errorf("unlinked: %t, want %t", gone, row.goes)
			}
		})
	}
}

// Two tabs that each remove one of the last two ways leave one.
func TestUnlinkRace(t *testing.T) {
	t.Parallel()
	for range 5 {
		w := newWorld(t, nil)
		b := w.login("Demo")
		alice := w.named("alice")
		w.link(b, "other")
		cookies := b.Cookies(w.URL)
		var all sync.WaitGroup
		for _, l := range w.linksOf(alice.ID) {
			tab := brokertest.NewBrowser(t)
			tab.SetCookies(w.URL, cookies)
			all.Go(func() { tab.Post(w.at("unlink"), url.Values{"link": {linkID(l.LinkKey)}, "decision": {"yes"}}, "") })
		}
		all.Wait()
		if n := len(w.linksOf(alice.ID)); n != 1 {
			t.Fatalf("%d links are left", n)
		}
	}
}

// A link that was made under another issuer of the provider goes too: it would be found in the place of the other.
func TestUnlinkTwins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	w.link(b, "other")
	carol := w.linksOf(alice.ID)[1]
	twin := &store.Link{LinkKey: store.LinkKey{Provider: "other", Issuer: "https://former.example", Subject: carol.Subject}, UserID: alice.ID}
	must(t, w.store.CreateLink(t.Context(), twin))
	b.Post(w.at("unlink"), url.Values{"link": {linkID(carol.LinkKey)}, "decision": {"yes"}}, "")
	if links := w.linksOf(alice.ID); len(links) != 1 || links[0].Provider != "demo" {
		t.Errorf("links %v", links)
	}
}

// CVE-2026-15571, row 76: a request to link is good for one session, once, for ten minutes, and nobody can make one up.
func TestLinkRequest(t *testing.T) {
	t.Parallel()
	yes := func(request string) url.Values { return url.Values{"request": {request}, "decision": {"yes"}} }
	ask := func(w *world, b *brokertest.Browser) string {
		return field(w.t, b.Get(w.URL+"/link?provider=other&return_to=/account/"), "request", 0)
	}
	for name, try := range map[string]func(w *world, b *brokertest.Browser){
		"made up": func(w *world, b *brokertest.Browser) { b.Post(w.URL+"/link", yes(strings.Repeat("A", 80)), "") },
		"none": func(w *world, b *brokertest.Browser) {
			b.Post(w.URL+"/link", url.Values{"provider": {"other"}, "decision": {"yes"}}, "")
		},
		"by a link": func(w *world, b *brokertest.Browser) { b.Get(w.URL + "/link?decision=yes&request=" + ask(w, b)) },
		"of another session of the user": func(w *world, b *brokertest.Browser) {
			b.Post(w.URL+"/link", yes(ask(w, w.login("Demo"))), "")
		},
		"expired": func(w *world, b *brokertest.Browser) {
			request := ask(w, b)
			w.advance(11 * time.Minute)
			b.Get(w.URL + "/login?prompt=login").Click("Demo") // the session is the same, and its proof is new
			b.Post(w.URL+"/link", yes(request), "")
		},
		"after a proof that is old by now": func(w *world, b *brokertest.Browser) {
			w.advance(9 * time.Minute)
			request := ask(w, b)
			w.advance(2 * time.Minute)
			b.Post(w.URL+"/link", yes(request), "")
		},
		"by another site": func(w *world, b *brokertest.Browser) {
			b.Post(w.URL+"/link", yes(ask(w, b)), "https://evil.example/")
		},
		"declined": func(w *world, b *brokertest.Browser) {
			request := ask(w, b)
			page := b.Post(w.URL+"/link", url.Values{"request": {request}, "decision": {"no"}}, "")
			shows(w.t, page, http.StatusOK, "Nothing was linked")
			b.Post(w.URL+"/link", yes(request), "")
		},
		"disabled meanwhile": func(w *world, b *brokertest.Browser) {
			request := ask(w, b)
			w.reconfigure(func(c *broker.Config) { c.Providers[1].Disabled = true })
			b.Post(w.URL+"/link", yes(request), "")
		},
		"user disabled meanwhile": func(w *world, b *brokertest.Browser) {
			request := ask(w, b)
			u := w.named("alice")
			u.Disabled = true
			must(w.t, w.store.UpdateUser(w.t.Context(), u))
			b.Post(w.URL+"/link", yes(request), "")
		},
		"signed out meanwhile": func(w *world, b *brokertest.Browser) {
			request := ask(w, b)
			b.Get(w.URL + "/logout").Submit(nil)
			b.Post(w.URL+"/link", yes(request), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.login("Demo")
			try(w, b)
			if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
				t.Errorf("linked: %v", links)
			}
		})
	}
	t.Run("used twice", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := w.login("Demo")
		request := ask(w, b)
		shows(t, b.Post(w.URL+"/link", yes(request), ""), http.StatusOK, "was linked")
		b.Post(w.at("unlink"), url.Values{"link": {linkID(w.linksOf(w.named("alice").ID)[1].LinkKey)}, "decision": {"yes"}}, "")
		shows(t, b.Post(w.URL+"/link", yes(request), ""), http.StatusConflict, "expired")
		if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
			t.Errorf("linked again: %v", links)
		}
	})
}

// What came back from the upstream is good once: whoever unlinks is not linked again from the history.
func TestLinkComesBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	page := w.link(b, "other")
	shows(t, page, http.StatusOK, "was linked")
	i := slices.IndexFunc(page.Trail, func(u string) bool { return strings.HasPrefix(u, w.URL+"/link/") })
	if i < 0 {
		t.Fatalf("led by %q", page.Trail)
	}
	b.Post(w.at("unlink"), url.Values{"link": {linkID(w.linksOf(alice.ID)[1].LinkKey)}, "decision": {"yes"}}, "")
	shows(t, b.Get(page.Trail[i]), http.StatusConflict, "expired")
	if links := w.linksOf(alice.ID); len(links) != 1 {
		t.Errorf("links %v", links)
	}
}

// Row 76: who is linked to a provider is not linked to somebody else there besides.
func TestRow76SecondIdentityOfAProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	shows(t, w.link(b, "other"), http.StatusOK, "was linked")
	before := w.linksOf(alice.ID)
	w.other.LoginAs("twin")
	shows(t, w.link(b, "other"), http.StatusConflict, "is linked already")
	if links := w.linksOf(alice.ID); !reflect.DeepEqual(links, before) {
		t.Errorf("links %v, were %v", links, before)
	}
}

// What comes back from the upstream is linked by the session that has asked, and by no other.
func TestLinkComesBackElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.other.LoginAs("")
	attacker := w.login("Demo")
	w.op.LoginAs("bob")
	victim := w.login("Demo")
	away := attacker.Get(w.URL + "/link?provider=other&return_to=/account/").Submit(url.Values{"decision": {"yes"}})
	// The victim's browser gets everything that the attacker's has but its session: login CSRF, the other way round.
	session := w.cookieName("session")
	cookies := attacker.Cookies(w.URL)
	delete(cookies, session)
	victim.SetCookies(w.URL, cookies)
	attacker.Stop()
	back := attacker.Post(away.URL.String(), url.Values{"user": {"carol"}}, "")
	page := victim.Get(back.Header.Get("Location"))
	if page.Status != http.StatusConflict {
		t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	for _, name := range []string{"alice", "bob"} {
		if links := w.linksOf(w.named(name).ID); len(links) != 1 {
			t.Errorf("%s has links %v", name, links)
		}
	}
	if who := victim.Get(w.Origin + "/").Who(); who.Username != "bob" {
		t.Errorf("the victim is %+v now", who)
	}
}

// Row 76: somebody else's identity is refused, and the session stays whose it is.
func TestRow76LinkedToOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Other") // carol is a user
	b := w.login("Demo")
	before := b.Get(w.Origin + "/").Who()
	page := w.link(b, "other")
	shows(t, page, http.StatusConflict, "Already linked to another account")
	if after := b.Get(w.Origin + "/").Who(); after != before {
		t.Errorf("the session was %+v, and is %+v", before, after)
	}
	if links := w.linksOf(before.ID); len(links) != 1 {
		t.Errorf("links %v", links)
	}
}

// Row 76: refused at the upstream is cancelled; not signed in is signing in first, then linking.
func TestRow76CancelledAndNotSignedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.other.LoginAs("")
	b := brokertest.NewBrowser(t)
	page := b.Get(w.URL + "/link?provider=other&return_to=/account/?x=1").Click("Demo")
	shows(t, page, http.StatusOK, "Link Other to your account?")
	page = page.Submit(url.Values{"decision": {"yes"}})
	page = b.Post(page.URL.String(), url.Values{"refuse": {"1"}}, "")
	if page.URL.Query().Get("link_status") != "cancelled" && !strings.Contains(page.Body, "Nothing was linked") {
		t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 {
		t.Errorf("links %v", links)
	}
}

// One that is for linking only can be linked here, and nobody signs in with it; a disabled one cannot.
func TestLinkOnlyIsLinkedHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[1].LinkOnly = true })
	b := w.login("Demo")
	shows(t, w.link(b, "other"), http.StatusOK, "was linked")
	if page := brokertest.NewBrowser(t).Get(w.URL + "/broker/other/login"); page.Status != http.StatusForbidden {
		t.Errorf("signing in with it: status %d", page.Status)
	}
	w.reconfigure(func(c *broker.Config) { c.Providers[1].Disabled = true })
	for _, alias := range []string{"other", "nobody", ""} {
		if page := b.Get(w.URL + "/link?provider=" + alias); page.Status < 400 {
			t.Errorf("%q: status %d", alias, page.Status)
		}
	}
}

// What changes how somebody signs in takes a proof of a few minutes ago, by the same user.
func TestAccountNeedsRecentProof(t *testing.T) {
	t.Parallel()
	w, alice, b, _ := newPasswordWorld(t, nil)
	w.app(alice.ID)
	must(t, w.store.CreateLink(t.Context(), &store.Link{LinkKey: store.LinkKey{Provider: "other", Subject: "x"}, UserID: alice.ID}))
	w.advance(11 * time.Minute)
	all, err := w.store.CredentialsOf(t.Context(), alice.ID)
	must(t, err)
	forms := map[string]url.Values{
		"unlink": {"link": {linkID(w.linksOf(alice.ID)[1].LinkKey)}, "decision": {"yes"}}, "email": {"email": {"new@example.com"}},
		"password": {"current": {password}, "password": {"all new words"}, "repeat": {"all new words"}}, "totp": {"code": {"000000"}},
		"recovery": {"decision": {"yes"}}, "remove": {"credential": {all[0].ID}, "decision": {"yes"}},
	}
	for word, form := range forms {
		page := b.Post(w.at(word), form, "")
		if page.URL.Path != "/id/login" || page.URL.Query().Get("again") != alice.ID {
			t.Errorf("%s: status %d at %s", word, page.Status, page.URL)
		}
	}
	if after, err := w.store.CredentialsOf(t.Context(), alice.ID); !reflect.DeepEqual(after, all) || err != nil || len(w.linksOf(alice.ID)) != 2 {
		t.Errorf("something was changed: %v, %v", after, err)
	}
	for _, word := range []string{"password", "totp", "email"} {
		if page := b.Get(w.at(word)); page.URL.Path != "/id/login" {
			t.Errorf("GET %s: at %s", word, page.URL)
		}
	}
	// Another user proves nothing, and takes nothing over.
	w.op.LoginAs("bob")
	before := b.Get(w.Origin + "/").Who()
	shows(t, b.Get(w.at("email")).Click("Demo"), http.StatusForbidden, "This is another account")
	if after := b.Get(w.Origin + "/").Who(); after != before {
		t.Errorf("the session was %+v, and is %+v", before, after)
	}
	w.op.LoginAs("alice")
	page := b.Get(w.at("email")).Click("Demo")
	shows(t, page, http.StatusOK, "New e-mail address")
	if after := b.Get(w.Origin + "/").Who(); after.Session != before.Session {
		t.Errorf("session %s has become %s", before.Session, after.Session)
	}
}

// Zitadel CVE-2026-27946: no form of the page reaches a field that says whom or what to trust.
func TestAccountSetsNoTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = newInbox() })
	b := w.login("Demo")
	alice := w.named("alice")
	alice.EmailVerified = false
	must(t, w.store.UpdateUser(t.Context(), alice))
	form := url.Values{"email": {"boss@example.com"}, "decision": {"yes"}}
	kind := reflect.TypeFor[store.User]()
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		snake := regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_$2")
		for _, spelt := range []string{name, strings.ToLower(name), strings.ToLower(snake)} {
			form.Set(spelt, "true")
			form.Set(spelt+"[]", "admin")
		}
	}
	form.Set("email", "boss@example.com")
	for _, word := range []string{"profile", "email", "verify", "sessions", "unlink", "", "password", "remove"} {
		b.Post(w.at(word), form, "")
		b.Post(w.at(word)+"?"+form.Encode(), form, "")
	}
	after := w.named("alice")
	own := []string{"FirstName", "LastName", "Name", "Locale", "UpdatedAt", "Version"}
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		was, is := reflect.ValueOf(*alice).Field(i).Interface(), reflect.ValueOf(*after).Field(i).Interface()
		if !slices.Contains(own, name) && !reflect.DeepEqual(was, is) {
			t.Errorf("%s was %v, and is %v", name, was, is)
		}
	}
	if after.Name != "true" {
		t.Errorf("name is %q: the form did nothing", after.Name)
	}
}

// Only one's own sessions can be ended.
func TestAccountSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	here, there, third := w.login("Demo"), w.login("Demo"), w.login("Demo")
	w.op.LoginAs("bob")
	bob := w.login("Demo")
	theirs := bob.Get(w.Origin + "/").Who().Session
	here.Post(w.at("sessions"), url.Values{"session": {theirs}}, "")
	if bob.Get(w.Origin+"/").URL.Path != "/" {
		t.Error("somebody else's session was ended")
	}
	page := here.Get(w.at(""))
	if strings.Contains(page.Body, theirs) || strings.Count(page.Body, `name="session"`) != 2 {
		t.Errorf("the sessions shown are not hers:\n%s", page.Body)
	}
	shows(t, here.Post(w.at("sessions"), url.Values{"session": {there.Get(w.Origin + "/").Who().Session}}, ""), http.StatusOK, "Signed out there")
	if there.Get(w.Origin+"/").URL.Path == "/" || third.Get(w.Origin+"/").URL.Path != "/" {
		t.Error("another session was ended than was said")
	}
	here.Post(w.at("sessions"), url.Values{"others": {"1"}}, "")
	if third.Get(w.Origin+"/").URL.Path == "/" || here.Get(w.Origin+"/").URL.Path != "/" {
		t.Error("all others are not all others")
	}
}

// Another site's page posts nothing, and a visitor without a session sees nothing.
func TestAccountGuards(t *testing.T) {
	t.Parallel()
	w, alice, b, _ := newPasswordWorld(t, nil)
	for _, word := range []string{"profile", "unlink", "sessions", "email", "verify", "password", "totp", "recovery", "recovery.txt", "remove"} {
		if page := b.Post(w.at(word), url.Values{"name": {"Mallory"}, "others": {"1"}}, "https://evil.example/"); page.Status != http.StatusForbidden {
			t.Errorf("%s by another site: status %d", word, page.Status)
		}
		if page := brokertest.NewBrowser(t).Post(w.at(word), url.Values{"name": {"Mallory"}}, ""); page.URL.Path != "/id/login" {
			t.Errorf("%s without a session: status %d at %s", word, page.Status, page.URL)
		}
	}
	if after := w.named("alice"); after.Name != alice.Name {
		t.Errorf("name is %q", after.Name)
	}
	if page := brokertest.NewBrowser(t).Get(w.at("")); page.URL.Path != "/id/login" || page.URL.Query().Get("return_to") != "/account/" {
		t.Errorf("at %s", page.URL)
	}
	if page := b.Get(w.Origin + "/account/x%2f..%2f//password"); strings.Contains(page.Body, `action="//`) {
		t.Errorf("a form leads elsewhere:\n%s", page.Body)
	}
}

// The e-mail address changes once its owner has opened the link, signed in as the user, and not before.
func TestAccountEmail(t *testing.T) {
	t.Parallel()
	box := newInbox()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = box })
	b := w.login("Demo")
	w.op.LoginAs("bob")
	bob := w.login("Demo")
	w.op.LoginAs("alice")
	shows(t, b.Get(w.at("email")).Submit(url.Values{"email": {"no address"}}), http.StatusOK, "whole e-mail address")
	shows(t, b.Get(w.at("email")).Submit(url.Values{"email": {"Alice@New.example"}}), http.StatusOK, "We have sent a message")
	msg := box.next(t)
	if msg.To != "alice@new.example" {
		t.Fatalf("mail to %s", msg.To)
	}
	link := links.FindString(msg.Text)
	b.Get(link)
	if u := w.named("alice"); u.Email != "alice@example.com" {
		t.Fatalf("opening the link made it %s", u.Email)
	}
	shows(t, bob.Get(link), http.StatusGone, "no longer valid")
	bob.Post(w.at("verify"), url.Values{"proof": {param(t, link, "proof")}, "decision": {"yes"}}, "")
	page := b.Get(link).Submit(url.Values{"decision": {"yes"}})
	shows(t, page, http.StatusOK, "Your e-mail address was changed")
	if u := w.named("alice"); u.Email != "alice@new.example" || !u.EmailVerified || w.named("bob").Email != "bob@example.com" {
		t.Errorf("alice is %s, %t", u.Email, u.EmailVerified)
	}
	if msg := box.next(t); msg.To != "alice@example.com" || !strings.Contains(msg.Subject, "changed") {
		t.Errorf("the former address is told %+v", msg)
	}
	shows(t, b.Post(w.at("verify"), url.Values{"proof": {param(t, link, "proof")}, "decision": {"yes"}}, ""), http.StatusGone)
	// Another's address is told apart from no other until its owner opens the link, and never becomes hers.
	shows(t, b.Get(w.at("email")).Submit(url.Values{"email": {"bob@example.com"}}), http.StatusOK, "We have sent a message")
	shows(t, b.Get(box.link(t)).Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "cannot be used here")
	if u := w.named("alice"); u.Email != "alice@new.example" {
		t.Errorf("alice is %s", u.Email)
	}
}

// Whoever puts a session of their own into somebody's browser does not have them confirm their address for it: a mailed link is good
// in the session that has asked for it.
func TestAccountEmailIsConfirmedWhereItWasAskedFor(t *testing.T) {
	t.Parallel()
	box := newInbox()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = box })
	asks, planted := w.login("Demo"), w.login("Demo")
	shows(t, asks.Get(w.at("email")).Submit(url.Values{"email": {"victim@example.com"}}), http.StatusOK, "We have sent a message")
	link := box.link(t)
	shows(t, planted.Get(link), http.StatusForbidden, "browser in which you asked")
	answer := url.Values{"proof": {param(t, link, "proof")}, "decision": {"yes"}}
	shows(t, planted.Post(w.at("verify"), answer, ""), http.StatusForbidden, "browser in which you asked")
	if u := w.named("alice"); u.Email != "alice@example.com" {
		t.Fatalf("confirmed in another session: %s", u.Email)
	}
	shows(t, asks.Get(link).Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "Your e-mail address was changed")
}

// Password, app and recovery codes are set up, used and taken away.
func TestAccountCredentials(t *testing.T) {
	t.Parallel()
	w, alice, b, box := newPasswordWorld(t, nil)
	other := w.login("Demo")
	new := url.Values{"current": {"a guess"}, "password": {"all new words"}, "repeat": {"all new words"}}
	page := b.Get(w.at("password")).Submit(new)
	shows(t, page, http.StatusOK, `id="current-error"`)
	new.Set("current", password)
	shows(t, page.Submit(new), http.StatusOK, "Your password was saved")
	if msg := box.next(t); msg.To != alice.Email || !strings.Contains(msg.Subject, "ways to sign in") {
		t.Errorf("mail %+v", msg)
	}
	if other.Get(w.Origin+"/").URL.Path == "/" || b.Get(w.Origin+"/").URL.Path != "/" {
		t.Error("not the other sessions were ended")
	}
	page = b.Get(w.at("totp"))
	shows(t, page, http.StatusOK, "data:image/png;base64,")
	secret := strings.ReplaceAll(regexp.MustCompile(`<code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page.Body)[1], " ", "")
	page = page.Submit(url.Values{"code": {"000000"}})
	shows(t, page, http.StatusOK, `id="code-error"`, secret[:4])
	thief := w.login("Demo")
	if got := thief.Post(w.at("totp"), url.Values{"enrolment": {field(t, page, "enrolment", 0)}, "code": {code(t, secret, w.clock())}}, ""); strings.Contains(got.Body, "recovery codes") {
		t.Error("another session's enrolment was taken")
	}
	page = page.Submit(url.Values{"code": {code(t, secret, w.clock())}})
	shows(t, page, http.StatusOK, "Your recovery codes")
	codes := regexp.MustCompile(`<code>([A-Z2-7-]{19})</code>`).FindAllStringSubmatch(page.Body, -1)
	if len(codes) != 10 {
		t.Fatalf("%d codes", len(codes))
	}
	file := page.Submit(nil)
	if file.Header.Get("Content-Disposition") == "" || !strings.HasPrefix(file.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("the file: %v\n%s", file.Header, file.Body)
	}
	must(t, w.local().VerifyRecoveryCode(t.Context(), factor.Attempt{UserID: alice.ID}, codes[0][1]))
	shows(t, b.Get(w.at("")), http.StatusOK, "Left: 9")
	all, err := w.store.CredentialsOf(t.Context(), alice.ID)
	must(t, err)
	i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.Kind == store.CredentialTOTP })
	shows(t, b.Post(w.at("remove"), url.Values{"credential": {all[i].ID}}, "").Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "It was removed")
	if all, err = w.store.CredentialsOf(t.Context(), alice.ID); len(all) != 1 || err != nil {
		t.Errorf("credentials %v, %v", all, err)
	}
	// Somebody else's stays.
	w.setPassword("nobody", password)
	theirs, err := w.store.CredentialsOf(t.Context(), "nobody")
	must(t, err)
	b.Post(w.at("remove"), url.Values{"credential": {theirs[0].ID}, "decision": {"yes"}}, "")
	if theirs, err = w.store.CredentialsOf(t.Context(), "nobody"); len(theirs) != 1 || err != nil {
		t.Error("somebody else's password was removed")
	}
}

func TestShowInAccount(t *testing.T) {
	t.Parallel()
	for mode, want := range map[provider.AccountMode][2]bool{
		provider.AccountAlways: {true, true}, provider.AccountWhenLinked: {false, true}, provider.AccountNever: {false, false},
	} {
		w := newWorld(t, func(c *broker.Config) { c.Providers[1].ShowInAccount = mode })
		b := w.login("Demo")
		offered := strings.Contains(b.Get(w.at("")).Body, "Link Other")
		w.link(b, "other")
		shown := strings.Contains(b.Get(w.at("")).Body, "<p>Other")
		if got := [2]bool{offered, shown}; got != want {
			t.Errorf("mode %d: offered and shown %v, want %v", mode, got, want)
		}
	}
}

// linkID is what the page calls a link in its forms.
func linkID(key store.LinkKey) string {
	sum := sha256.Sum256([]byte(key.Provider + "\x00" + key.Issuer + "\x00" + key.Subject))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// While one tab removes a way in, no other does.
func TestUnlinkOneAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	w.link(b, "other")
	must(t, w.store.Add(t.Context(), "account change", alice.ID, nil, w.clock().Add(10*time.Second)))
	form := url.Values{"link": {linkID(w.linksOf(alice.ID)[1].LinkKey)}, "decision": {"yes"}}
	shows(t, b.Post(w.at("unlink"), form, ""), http.StatusOK, "Something else is being changed")
	if len(w.linksOf(alice.ID)) != 2 {
		t.Error("unlinked all the same")
	}
	w.advance(11 * time.Second)
	shows(t, b.Post(w.at("unlink"), form, ""), http.StatusOK, "The link was removed")
}

// A mailed link is for one user, though another has the same address, which is none.
func TestAccountEmailOfAnother(t *testing.T) {
	t.Parallel()
	box := newInbox()
	w := newWorld(t, func(c *broker.Config) { c.Mailer = box })
	b := w.login("Demo")
	w.op.LoginAs("bob")
	bob := w.login("Demo")
	for _, name := range []string{"alice", "bob"} {
		u := w.named(name)
		u.Email, u.EmailVerified = "", false
		must(t, w.store.UpdateUser(t.Context(), u))
	}
	b.Get(w.at("email")).Submit(url.Values{"email": {"new@example.com"}})
	link := box.link(t)
	shows(t, bob.Get(link), http.StatusGone)
	bob.Post(w.at("verify"), url.Values{"proof": {param(t, link, "proof")}, "decision": {"yes"}}, "")
	if u := w.named("bob"); u.Email != "" {
		t.Errorf("bob is %s", u.Email)
	}
	shows(t, b.Get(link).Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "Your e-mail address was changed")
}

// A password that is all there is stays, and an address that is another user's name becomes nobody's.
func TestAccountPasswordIsLastWay(t *testing.T) {
	t.Parallel()
	w, alice, _, box := newPasswordWorld(t, nil)
	must(t, w.store.DeleteLink(t.Context(), w.linksOf(alice.ID)[0].LinkKey))
	b := brokertest.NewBrowser(t)
	b.Get(w.Origin + "/").Submit(answer("alice", password))
	all, err := w.store.CredentialsOf(t.Context(), alice.ID)
	must(t, err)
	form := url.Values{"credential": {all[0].ID}, "decision": {"yes"}}
	shows(t, b.Post(w.at("remove"), form, ""), http.StatusOK, "only way to sign in")
	if all, err = w.store.CredentialsOf(t.Context(), alice.ID); len(all) != 1 || err != nil {
		t.Errorf("credentials %v, %v", all, err)
	}
	must(t, w.store.CreateUser(t.Context(), &store.User{ID: "n", Username: "name@example.com"}))
	b.Get(w.at("email")).Submit(url.Values{"email": {"name@example.com"}})
	shows(t, b.Get(box.link(t)).Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "cannot be used here")
}

// A username is changed where the host allows it, by who has just proved who they are, to one that is nobody's name or address; and
// the answers tell no more than a first login's would, and not often.
func TestAccountUsername(t *testing.T) {
	t.Parallel()
	box := newInbox()
	log := &syncBuffer{}
	w := newWorld(t, func(c *broker.Config) {
		c.ChangeUsername, c.Mailer, c.Logger = true, box, slog.New(slog.NewJSONHandler(log, nil))
	})
	b := w.login("Demo")
	w.op.LoginAs("bob")
	w.login("Demo")
	w.op.LoginAs("alice")
	shows(t, b.Get(w.Origin+"/account/"), http.StatusOK, "Change user name")
	try := func(name string) *brokertest.Page {
		return b.Get(w.at("username")).Submit(url.Values{"username": {name}})
	}
	for name, text := range map[string]string{
		"Bob": "is taken", "": "cannot be used", "bob@example.com": "cannot be used", "some\u200bone": "cannot be used",
		strings.Repeat("x", 256): "cannot be used", "carol@other.example": "cannot be used",
	} {
		shows(t, try(name), http.StatusOK, text)
	}
	if w.users("alice") != 1 {
		t.Fatal("alice is renamed")
	}
	id := w.named("alice").ID
	shows(t, try(" ALICE.L "), http.StatusOK, "Your user name was changed")
	if u := w.named("alice.l"); u.ID != id || w.users("alice") != 0 {
		t.Errorf("alice is %+v", u)
	}
	if msg := box.next(t); msg.To != "alice@example.com" || !strings.Contains(msg.Text, "“alice”") {
		t.Errorf("she is told %+v", msg)
	}
	if lines := log.lines(t, "account changed"); len(lines) != 1 || lines[0]["changed"] != "username" || lines[0]["user"] != id {
		t.Errorf("lines %v", lines)
	}
	shows(t, try("Alice@Example.com"), http.StatusOK, "was changed") // an address that is hers
	for range 10 {
		try("bob")
	}
	shows(t, try("bob"), http.StatusOK, "several user names already")
	w.advance(time.Hour) // so that there may be more tries
	b = w.login("Demo")
	w.advance(11 * time.Minute)
	if page := b.Get(w.at("username")); page.URL.Path == "/account/username" {
		t.Error("changed without a proof of who it is")
	}
	if page := b.Post(w.at("username"), url.Values{"username": {"other"}}, ""); w.users("other") != 0 {
		t.Errorf("changed without a proof of who it is, at %s", page.URL)
	}
}

// The zero value keeps usernames for good.
func TestAccountUsernameIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	if strings.Contains(b.Get(w.Origin+"/account/").Body, "Change user name") {
		t.Error("it is offered")
	}
	b.Post(w.at("username"), url.Values{"username": {"other"}}, "")
	if w.users("other") != 0 || w.users("alice") != 1 {
		t.Error("alice is renamed")
	}
}

// A rival takes a name right before it is written.
type rival struct{ *memstore.Store }

func (r rival) UpdateUser(ctx context.Context, u *store.User) error {
	if u.Username == "wanted" {
		if err := r.CreateUser(ctx, &store.User{ID: "rival", Username: u.Username}); err != nil {
			return err
		}
	}
	return r.Store.UpdateUser(ctx, u)
}

// A name that somebody has got meanwhile is taken, and so is an address that is not one's own alone.
func TestAccountUsernameIsAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		kept, _ := c.Store.(*memstore.Store)
		c.ChangeUsername, c.Store = true, rival{kept}
	})
	alice := w.login("Demo")
	w.op.LoginAs("bob")
	w.login("Demo")
	for _, name := range []string{"alice", "bob"} {
		w.editUser(name, func(u *store.User) { u.Email, u.SharedEmail = "family@example.com", true })
	}
	for _, name := range []string{"wanted", "family@example.com"} {
		page := alice.Get(w.at("username")).Submit(url.Values{"username": {name}})
		shows(t, page, http.StatusOK, "is taken")
	}
	if w.users("alice") != 1 {
		t.Error("alice is renamed")
	}
}

// Of many who want a name at once one gets it.
func TestAccountUsernameRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.ChangeUsername = true })
	alice := w.login("Demo")
	w.op.LoginAs("bob")
	bob := w.login("Demo")
	var both sync.WaitGroup
	for _, b := range []*brokertest.Browser{alice, bob} {
		both.Go(func() { b.Post(w.at("username"), url.Values{"username": {"wanted"}}, "") })
	}
	both.Wait()
	if w.users("wanted") != 1 || w.users("alice", "bob") != 1 {
		t.Errorf("%d are called wanted, %d as before", w.users("wanted"), w.users("alice", "bob"))
	}
}
