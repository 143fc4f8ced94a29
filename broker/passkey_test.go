package broker_test

import (
	"context"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/store"
)

// newPasskeyWorld is a world at localhost, as an IP address can have no passkeys, in which users sign in with them.
func newPasskeyWorld(t testing.TB, edit func(*broker.Config)) (*world, inbox) {
	t.Helper()
	box := newInbox()
	w := newWorld(t, nil)
	for _, at := range []*string{&w.base, &w.URL, &w.Origin} {
		*at = strings.Replace(*at, "127.0.0.1", "localhost", 1)
	}
	w.withPasskeys(func(c *broker.Config) {
		c.Mailer = box
		if edit != nil {
			edit(c)
		}
	})
	w.rp.Connect(w.URL)
	return w, box
}

func (w *world) withPasskeys(edit func(*broker.Config)) {
	w.t.Helper()
	w.reconfigure(func(c *broker.Config) {
		c.Credentials, c.Passkeys, c.Passwords = w.store, passkey.Site{}, &factor.Passwords{Memory: 8, Time: 1}
		if edit != nil {
			edit(c)
		}
	})
}

var passkeyOptions = regexp.MustCompile(`data-options="([^"]*)"`)

// asksPasskey returns the options that the page has for the browser.
func asksPasskey(t testing.TB, p *brokertest.Page) []byte {
	t.Helper()
	found := passkeyOptions.FindStringSubmatch(p.Body)
	if found == nil {
		t.Fatalf("%s (status %d) asks for no passkey:\n%s", p.URL, p.Status, p.Body)
	}
	return []byte(html.UnescapeString(found[1]))
}

// passkeyForm returns what the form for passkeys on the login page sends.
func passkeyForm(t testing.TB, p *brokertest.Page, answer []byte) url.Values {
	t.Helper()
	return url.Values{
		"start": {html.UnescapeString(field(t, p, "start", 0))}, "begun": {field(t, p, "begun", 0)}, "credential": {string(answer)},
	}
}

// makePasskey adds a passkey on the account page.
func (w *world) makePasskey(b *brokertest.Browser, label string) *flowtest.Authenticator {
	w.t.Helper()
	a := flowtest.NewAuthenticator(w.t, w.Origin)
	page := b.Get(w.at("passkey"))
	page = page.Submit(url.Values{"label": {label}, "credential": {string(a.Create(asksPasskey(w.t, page)))}})
	shows(w.t, page, http.StatusOK, "Your passkey was added")
	return a
}

// byPasskey signs in at the login page that is shown.
func (w *world) byPasskey(b *brokertest.Browser, login *brokertest.Page, a *flowtest.Authenticator) *brokertest.Page {
	w.t.Helper()
	return b.Post(w.URL+"/login/passkey", passkeyForm(w.t, login, a.Get(asksPasskey(w.t, login))), "")
}

func (w *world) passkeysOf(userID string) (kept []*store.Credential) {
	w.t.Helper()
	all, err := w.store.CredentialsOf(w.t.Context(), userID)
	must(w.t, err)
	for _, c := range all {
		if c.Kind == store.CredentialPasskey {
			kept = append(kept, c)
		}
	}
	return kept
}

// A user makes a passkey on the account page, is told so by mail, and signs in with it, for applications, too.
func TestPasskeyLogin(t *testing.T) {
	t.Parallel()
	w, box := newPasskeyWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	shows(t, b.Get(w.at("")), http.StatusOK, "Add a passkey")
	a := w.makePasskey(b, "My laptop")
	if msg := box.next(t); msg.To != alice.Email || !strings.Contains(msg.Text, "passkey") {
		t.Errorf("mail %+v", msg)
	}
	w.app(alice.ID) // a passkey is two factors: nobody is asked for a code
	other := brokertest.NewBrowser(t)
	login := other.Get(w.Origin + "/deep?x=1")
	if policy := login.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %s", policy)
	}
	page := w.byPasskey(other, login, a)
	who := page.Who()
	if who.ID != alice.ID || who.Provider != "" || who.Path != "/deep?x=1" {
		t.Fatalf("signed in as %+v", who)
	}
	session, err := w.store.Session(t.Context(), who.Session)
	must(t, err)
	for _, want := range []string{"hwk", "user", "mfa"} {
		if !slices.Contains(session.AMR, want) {
			t.Errorf("the session's AMR is %q", session.AMR)
		}
	}
	claims := part(t, w.redeem(w.code(other, nil), nil).tokens(t).IDToken, 1)
	if !slices.Contains(stringsOf(claims["amr"]), "mfa") || claims["sub"] != alice.ID {
		t.Errorf("ID token says %v", claims)
	}
	shows(t, b.Get(w.at("")), http.StatusOK, "My laptop", "With a passkey", "Last used")
	if other.Get(w.URL + "/logout").Submit(nil); other.Get(w.Origin+"/").URL.Path != "/id/login" {
		t.Error("signed in after signing out")
	}
}

// Whatever proves nothing is one answer: the login page again, which is the same for all of it, and nobody is signed in.
func TestPasskeyLoginAttacks(t *testing.T) {
	t.Parallel()
	type attack struct {
		w           *world
		alice       *store.User
		hers, other *brokertest.Browser
		a           *flowtest.Authenticator
	}
	// Each returns the answer to the last thing that it has sent.
	for name, try := range map[string]func(t *testing.T, x *attack) *brokertest.Page{
		"nothing": func(t *testing.T, x *attack) *brokertest.Page {
			return x.other.Post(x.w.URL+"/login/passkey", passkeyForm(t, x.other.Get(x.w.Origin+"/"), nil), "")
		},
		"no answer": func(t *testing.T, x *attack) *brokertest.Page {
			return x.other.Post(x.w.URL+"/login/passkey", passkeyForm(t, x.other.Get(x.w.Origin+"/"), []byte("{}")), "")
		},
		"nothing was begun": func(t *testing.T, x *attack) *brokertest.Page {
			form := passkeyForm(t, x.other.Get(x.w.Origin+"/"), x.a.Get(asksPasskey(t, x.other.Get(x.w.Origin+"/"))))
			form.Del("begun")
			return x.other.Post(x.w.URL+"/login/passkey", form, "")
		},
		"the challenge of another page": func(t *testing.T, x *attack) *brokertest.Page {
			form := passkeyForm(t, x.other.Get(x.w.Origin+"/"), x.a.Get(asksPasskey(t, x.other.Get(x.w.Origin+"/"))))
			return x.other.Post(x.w.URL+"/login/passkey", form, "")
		},
		"the challenge of another browser": func(t *testing.T, x *attack) *brokertest.Page {
			login := brokertest.NewBrowser(t).Get(x.w.Origin + "/")
			x.other.Get(x.w.Origin + "/") // it has a name of its own
			return x.w.byPasskey(x.other, login, x.a)
		},
		"a browser without a name": func(t *testing.T, x *attack) *brokertest.Page {
			return x.w.byPasskey(brokertest.NewBrowser(t), x.other.Get(x.w.Origin+"/"), x.a)
		},
		"a challenge for a new passkey": func(t *testing.T, x *attack) *brokertest.Page {
			page := x.hers.Get(x.w.at("passkey"))
			form := passkeyForm(t, x.other.Get(x.w.Origin+"/"), x.a.Get(asksPasskey(t, page)))
			form.Set("begun", field(t, page, "begun", 0))
			return x.other.Post(x.w.URL+"/login/passkey", form, "")
		},
		"after eleven minutes": func(t *testing.T, x *attack) *brokertest.Page {
			login := x.other.Get(x.w.Origin + "/")
			x.w.advance(11 * time.Minute)
			return x.w.byPasskey(x.other, login, x.a)
		},
		"an answer that was used": func(t *testing.T, x *attack) *brokertest.Page {
			login := x.other.Get(x.w.Origin + "/")
			form := passkeyForm(t, login, x.a.Get(asksPasskey(t, login)))
			if who := x.other.Post(x.w.URL+"/login/passkey", form, "").Who(); who.ID != x.alice.ID {
				t.Errorf("signed in as %+v", who)
			}
			x.other.Get(x.w.URL + "/logout").Submit(nil)
			return x.other.Post(x.w.URL+"/login/passkey", form, "")
		},
		"an answer of a key without a counter that was used": func(t *testing.T, x *attack) *brokertest.Page {
			x.a = flowtest.NewAuthenticator(t, x.w.Origin)
			x.a.Uncounted, x.a.Synced = true, true
			page := x.hers.Get(x.w.at("passkey"))
			page.Submit(url.Values{"credential": {string(x.a.Create(asksPasskey(t, page)))}})
			login := x.other.Get(x.w.Origin + "/")
			form := passkeyForm(t, login, x.a.Get(asksPasskey(t, login)))
			if who := x.other.Post(x.w.URL+"/login/passkey", form, "").Who(); who.ID != x.alice.ID {
				t.Errorf("signed in as %+v", who)
			}
			x.other.Get(x.w.URL + "/logout").Submit(nil)
			return x.other.Post(x.w.URL+"/login/passkey", form, "")
		},
		"made at another site": func(t *testing.T, x *attack) *brokertest.Page {
			x.a.Origin = "https://evil.example"
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"nobody was verified": func(t *testing.T, x *attack) *brokertest.Page {
			x.a.Unverified = true
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"a counter that has gone back": func(t *testing.T, x *attack) *brokertest.Page {
			x.a.Counter = 0
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"a key that nobody has made here": func(t *testing.T, x *attack) *brokertest.Page {
			b := flowtest.NewAuthenticator(t, x.w.Origin)
			b.Handle = []byte(x.alice.ID)
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), b)
		},
		"for a user who is not there": func(t *testing.T, x *attack) *brokertest.Page {
			x.a.Handle = []byte("nobody")
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"for another user": func(t *testing.T, x *attack) *brokertest.Page {
			x.w.op.LoginAs("bob")
			x.w.login("Demo")
			x.a.Handle = []byte(x.w.named("bob").ID)
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"a passkey that was removed": func(t *testing.T, x *attack) *brokertest.Page {
			page := x.hers.Post(x.w.at("remove"), url.Values{"credential": {x.w.passkeysOf(x.alice.ID)[0].ID}, "decision": {"yes"}}, "")
			shows(t, page, http.StatusOK, "It was removed")
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
		"a disabled user": func(t *testing.T, x *attack) *brokertest.Page {
			x.alice.Disabled = true
			must(t, x.w.store.UpdateUser(t.Context(), x.alice))
			return x.w.byPasskey(x.other, x.other.Get(x.w.Origin+"/"), x.a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newPasskeyWorld(t, nil)
			x := &attack{w: w, hers: w.login("Demo"), other: brokertest.NewBrowser(t)}
			x.alice, x.a = w.named("alice"), w.makePasskey(x.hers, "")
			page := try(t, x)
			shows(t, page, http.StatusOK, "This passkey could not be verified", "Continue with Demo")
			if strings.Contains(page.Body, "alice") || strings.Contains(page.Body, "allowCredentials") {
				t.Errorf("the page tells of somebody:\n%s", page.Body)
			}
			if page := x.other.Get(w.Origin + "/"); page.URL.Path != "/id/login" {
				t.Errorf("signed in: at %s", page.URL)
			}
		})
	}
}

// Of racing answers one signs in, be it a passkey without a counter.
func TestPasskeyLoginRace(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	b := w.login("Demo")
	a := flowtest.NewAuthenticator(t, w.Origin)
	a.Uncounted, a.Synced = true, true
	page := b.Get(w.at("passkey"))
	page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
	login := brokertest.NewBrowser(t)
	shown := login.Get(w.Origin + "/")
	form, cookies := passkeyForm(t, shown, a.Get(asksPasskey(t, shown))), login.Cookies(w.URL)
	var all sync.WaitGroup
	in := make([]bool, 8)
	for i := range in {
		tab := brokertest.NewBrowser(t)
		tab.SetCookies(w.URL, cookies)
		all.Go(func() { in[i] = tab.Post(w.URL+"/login/passkey", form, "").URL.Path == "/" })
	}
	all.Wait()
	if n := len(slices.DeleteFunc(in, func(ok bool) bool { return !ok })); n != 1 {
		t.Errorf("%d of 8 are in", n)
	}
}

// A stranger, with whatever they send, writes nothing.
func TestPasskeyStrangersWriteNothing(t *testing.T) {
	t.Parallel()
	var spy *spyStore
	w, _ := newPasskeyWorld(t, func(c *broker.Config) {
		spy = &spyStore{Store: c.Store}
		c.Store = spy
	})
	spy.hook = func(call string) error {
		if !strings.HasPrefix(call, "get ") {
			t.Errorf("unvouched: %s", call)
		}
		return nil
	}
	b := brokertest.NewBrowser(t)
	login := b.Get(w.URL + "/login")
	stranger := flowtest.NewAuthenticator(t, w.Origin)
	stranger.Handle = []byte("somebody")
	page := b.Post(w.URL+"/login/passkey", passkeyForm(t, login, stranger.Get(asksPasskey(t, login))), "")
	shows(t, page, http.StatusOK, "could not be verified")
	b.Post(w.URL+"/login/passkey", url.Values{"start": {"/login"}, "begun": {"x"}, "credential": {"{}"}}, "")
}

// The form is posted by our own pages only, and only where it may be.
func TestPasskeyLoginEntrances(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	a := w.makePasskey(w.login("Demo"), "")
	b := brokertest.NewBrowser(t)
	login := b.Get(w.URL + "/login")
	form := passkeyForm(t, login, a.Get(asksPasskey(t, login)))
	if page := b.Post(w.URL+"/login/passkey", form, "https://evil.example/"); page.Status != http.StatusForbidden {
		t.Errorf("of another site: status %d", page.Status)
	}
	// A client that may not show a page gets none, and a client that is off nobody.
	silent := w.authParams()
	silent.Set("prompt", "none")
	form.Set("start", "/authorize?"+silent.Encode())
	if page := b.Post(w.URL+"/login/passkey", form, ""); page.Status != http.StatusBadRequest {
		t.Errorf("prompt=none: status %d at %s", page.Status, page.URL)
	}
	form.Set("start", "/authorize?"+w.authParams().Encode())
	w.withPasskeys(func(c *broker.Config) { c.Clients[0].Disabled = true })
	if page := b.Post(w.URL+"/login/passkey", form, ""); page.Status != http.StatusBadRequest {
		t.Errorf("client off: status %d at %s", page.Status, page.URL)
	}
	// One that names whose word it takes does not take the broker's own.
	w.withPasskeys(func(c *broker.Config) { c.Clients[0].Providers = []string{"demo"} })
	if page := b.Get(w.URL + "/authorize?" + w.authParams().Encode()); passkeyOptions.MatchString(page.Body) {
		t.Errorf("the login page of such a client asks for a passkey")
	}
	if page := b.Post(w.URL+"/login/passkey", form, ""); page.Status != http.StatusForbidden {
		t.Errorf("not named by the client: status %d at %s", page.Status, page.URL)
	}
	// And where they are off.
	w.reconfigure(func(c *broker.Config) { c.Credentials = w.store })
	form.Set("start", "/login")
	if page := b.Post(w.URL+"/login/passkey", form, ""); page.Status < 400 {
		t.Errorf("switched off: status %d at %s", page.Status, page.URL)
	}
	if page := b.Get(w.URL + "/login"); passkeyOptions.MatchString(page.Body) || strings.Contains(page.Header.Get("Content-Security-Policy"), "script-src") {
		t.Error("the login page still asks for a passkey")
	}
	if page := b.Get(w.Origin + "/"); page.URL.Path != "/id/login" {
		t.Errorf("signed in: at %s", page.URL)
	}
}

// The flow after a login is passed as with everything else. What it asks has a challenge of its own, and a login that is under way
// ends where passkeys are switched off.
func TestPasskeyPostLogin(t *testing.T) {
	t.Parallel()
	again := flow.Flow{{ID: "again", Do: factor.Passkey{}}}
	w, box := newPasskeyWorld(t, nil)
	hers := w.login("Demo")
	a := flowtest.NewAuthenticator(t, w.Origin)
	a.Uncounted, a.Synced = true, true
	page := hers.Get(w.at("passkey"))
	page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
	post := func(c *broker.Config) { c.PostLogin, c.Mailer = again, box }
	w.withPasskeys(post)
	b := brokertest.NewBrowser(t)
	login := b.Get(w.Origin + "/")
	first := a.Get(asksPasskey(t, login))
	page = b.Post(w.URL+"/login/passkey", passkeyForm(t, login, first), "")
	if !strings.HasPrefix(page.URL.Path, "/id/flow/") {
		t.Fatalf("not asked: status %d at %s", page.Status, page.URL)
	}
	asked := a.Get(asksPasskey(t, page))
	page = page.Submit(url.Values{"credential": {string(first)}})
	shows(t, page, http.StatusOK, "This passkey could not be verified")
	page = page.Submit(url.Values{"credential": {string(asked)}}) // the challenge is another one now
	shows(t, page, http.StatusOK, "This passkey could not be verified")
	asked = a.Get(asksPasskey(t, page))
	w.advance(11 * time.Minute)
	page = page.Submit(url.Values{"credential": {string(asked)}}) // it was asked for too long ago
	shows(t, page, http.StatusOK, "This passkey could not be verified")
	w.reconfigure(func(c *broker.Config) { c.Credentials, c.LocalLogin = w.store, true })
	if page := b.Get(page.URL.String()); page.Status < 400 {
		t.Errorf("goes on without passkeys: status %d", page.Status)
	}
	w.withPasskeys(post)
	if page := page.Submit(url.Values{"credential": {string(a.Get(asksPasskey(t, page)))}}); page.Who().Username != "alice" {
		t.Errorf("at %s", page.URL)
	}
}

// A password that somebody else knows is changed, however its user signs in.
func TestPasskeyLoginMustChange(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	a := w.makePasskey(w.login("Demo"), "")
	hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
	must(t, err)
	must(t, w.local().SetPassword(t.Context(), w.named("alice").ID, hash, true))
	b := brokertest.NewBrowser(t)
	page := w.byPasskey(b, b.Get(w.Origin+"/"), a)
	if !strings.Contains(page.Body, `autocomplete="new-password"`) {
		t.Fatalf("not asked: status %d at %s", page.Status, page.URL)
	}
	page = page.Submit(url.Values{"password": {"her own words"}, "repeat": {"her own words"}})
	if who := page.Who(); who.Username != "alice" {
		t.Errorf("signed in as %+v", who)
	}
}

// A recent proof can be one by a passkey, and only the user's own will do; and prompt=login asks anew.
func TestPasskeyProvesAgain(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	hers := w.login("Demo")
	a := w.makePasskey(hers, "")
	w.op.LoginAs("bob")
	bobs := w.login("Demo")
	bob := w.makePasskey(bobs, "")
	w.advance(11 * time.Minute)
	login := hers.Get(w.at("passkey"))
	shows(t, login, http.StatusOK, "Please sign in again")
	if strings.Contains(string(asksPasskey(t, login)), "allowCredentials") {
		t.Error("the page tells which passkeys she has")
	}
	shows(t, w.byPasskey(hers, login, bob), http.StatusForbidden)
	if who := hers.Get(w.Origin + "/").Who(); who.Username != "alice" {
		t.Errorf("the session is %+v now", who)
	}
	page := w.byPasskey(hers, hers.Get(w.at("passkey")), a)
	shows(t, page, http.StatusOK, "Create a passkey")

	w.advance(time.Minute)
	params := w.authParams()
	params.Set("prompt", "login")
	login = hers.Get(w.URL + "/authorize?" + params.Encode())
	before := w.clock()
	if page = w.byPasskey(hers, login, a); !strings.HasPrefix(page.URL.String(), w.rp.Client().RedirectURIs[0]) {
		t.Errorf("prompt=login: status %d at %s", page.Status, page.URL)
	}
	found := w.sessionsOf(w.named("alice").ID)
	if len(found) != 1 || found[0].AuthTime.Before(before.Add(-time.Second)) {
		t.Errorf("the sessions are %+v", found)
	}
}

// Row 26: an account proves itself by a passkey, in the default flow, and no code is asked for. Another provider is linked so, and
// from then on leads there.
func TestRow26ReauthenticateByPasskey(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, func(c *broker.Config) {
		c.Mailer = nil
		c.Providers[0].TrustEmail = true
	})
	hers := w.login("Demo")
	alice := w.named("alice")
	a := w.makePasskey(hers, "")
	w.app(alice.ID)
	w.other.LoginAs("alice")
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Other").Submit(press("link"))
	for strings.Contains(page.Body, "Prove that the account is yours") {
		page = page.Submit(url.Values{"another": {"1"}})
	}
	options := asksPasskey(t, page)
	if strings.Contains(string(options), "allowCredentials") {
		t.Errorf("the page tells which passkeys the account has: %s", options)
	}
	page = b.Post(page.URL.String(), url.Values{"turn": {field(t, page, "turn", 0)}, "credential": {"{}"}}, "")
	shows(t, page, http.StatusOK, "This passkey could not be verified")
	if links := w.linksOf(alice.ID); len(links) != 1 {
		t.Fatalf("linked before the proof: %v", links)
	}
	stale := page
	page = b.Post(page.URL.String(), url.Values{"turn": {field(t, page, "turn", 0)}, "credential": {string(a.Get(asksPasskey(t, page)))}}, "")
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v", who)
	}
	if links := w.linksOf(alice.ID); len(links) != 2 {
		t.Errorf("links %v", links)
	}
	page = b.Post(stale.URL.String(), url.Values{"turn": {field(t, stale, "turn", 0)}, "credential": {string(a.Get(asksPasskey(t, stale)))}}, "")
	shows(t, page, http.StatusConflict, "expired")
}

// Pre-hijacking: a passkey that was planted before somebody proved the address is gone with the rest.
func TestPreHijackByPasskey(t *testing.T) {
	t.Parallel()
	w, box := newPasskeyWorld(t, nil)
	attacker := w.login("Demo") // whose upstream lets them say any address
	alice := w.named("alice")
	if alice.EmailVerified {
		t.Fatal("set-up: the address is verified")
	}
	a := w.makePasskey(attacker, "planted")
	box.next(t)
	begun := attacker.Get(w.at("passkey"))
	w.other.LoginAs("alice")
	victim := brokertest.NewBrowser(t)
	victim.Get(w.Origin + "/").Click("Other").Submit(press("link"))
	page := victim.Get(box.link(t)).Submit(nil)
	if who := page.Who(); who.ID != alice.ID {
		t.Fatalf("signed in as %+v", who)
	}
	if kept := w.passkeysOf(alice.ID); len(kept) != 0 {
		t.Errorf("%d planted passkeys are left", len(kept))
	}
	thief := brokertest.NewBrowser(t)
	shows(t, w.byPasskey(thief, thief.Get(w.Origin+"/"), a), http.StatusOK, "could not be verified")
	begun.Submit(url.Values{"credential": {string(flowtest.NewAuthenticator(t, w.Origin).Create(asksPasskey(t, begun)))}})
	if kept := w.passkeysOf(alice.ID); len(kept) != 0 {
		t.Error("what was begun before was finished after")
	}
}

// A passkey is made by whoever has proved who they are just now, in the session that has begun it, once, and within minutes.
func TestAddPasskeyAttacks(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator){
		"without a recent proof": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page := b.Get(w.at("passkey"))
			w.advance(9 * time.Minute) // the challenge is good, and the proof is not
			must(t, ageSession(w, 2*time.Minute))
			page = page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
			if page.URL.Path != "/id/login" {
				t.Errorf("at %s", page.URL)
			}
		},
		"after eleven minutes": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page := b.Get(w.at("passkey"))
			w.advance(11 * time.Minute)
			b.Get(w.URL + "/login?prompt=login").Click("Demo") // the session is the same, and its proof is new
			page = page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
			shows(t, page, http.StatusOK, "could not be verified")
		},
		"of another session of the user": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page, own := w.login("Demo").Get(w.at("passkey")), b.Get(w.at("passkey"))
			page = own.Submit(url.Values{"begun": {field(t, page, "begun", 0)}, "credential": {string(a.Create(asksPasskey(t, page)))}})
			shows(t, page, http.StatusOK, "could not be verified")
		},
		"of another user": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			w.op.LoginAs("bob")
			page, own := w.login("Demo").Get(w.at("passkey")), b.Get(w.at("passkey"))
			page = own.Submit(url.Values{"begun": {field(t, page, "begun", 0)}, "credential": {string(a.Create(asksPasskey(t, page)))}})
			shows(t, page, http.StatusOK, "could not be verified")
		},
		"a challenge of the login page": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			login, own := b.Get(w.URL+"/login?prompt=login"), b.Get(w.at("passkey"))
			page := own.Submit(url.Values{"begun": {field(t, login, "begun", 0)}, "credential": {string(a.Create(asksPasskey(t, own)))}})
			shows(t, page, http.StatusOK, "could not be verified")
		},
		"by another site": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page := b.Get(w.at("passkey"))
			form := url.Values{"begun": {field(t, page, "begun", 0)}, "credential": {string(a.Create(asksPasskey(t, page)))}}
			shows(t, b.Post(w.at("passkey"), form, "https://evil.example/"), http.StatusForbidden)
		},
		"made at another site": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			a.Origin = "https://evil.example"
			page := b.Get(w.at("passkey"))
			page = page.Submit(url.Values{"label": {"kept"}, "credential": {string(a.Create(asksPasskey(t, page)))}})
			shows(t, page, http.StatusOK, "could not be verified", `value="kept"`)
		},
		"nothing": func(t *testing.T, w *world, b *brokertest.Browser, _ *flowtest.Authenticator) {
			shows(t, b.Get(w.at("passkey")).Submit(nil), http.StatusOK, "could not be verified")
			shows(t, b.Post(w.at("passkey"), nil, ""), http.StatusOK, "could not be verified")
		},
		"a name that nobody can read": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			for _, label := range []string{strings.Repeat("x", 65), "a\u202eb", "a\x00b"} {
				page := b.Get(w.at("passkey"))
				page = page.Submit(url.Values{"label": {label}, "credential": {string(a.Create(asksPasskey(t, page)))}})
				shows(t, page, http.StatusOK, "This name is too long")
			}
		},
		"again, after it failed": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page := b.Get(w.at("passkey"))
			page.Submit(nil)
			page = page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
			shows(t, page, http.StatusOK, "could not be verified")
		},
		"signed out": func(t *testing.T, w *world, b *brokertest.Browser, a *flowtest.Authenticator) {
			page := b.Get(w.at("passkey"))
			b.Get(w.URL + "/logout").Submit(nil)
			page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newPasskeyWorld(t, nil)
			b := w.login("Demo")
			try(t, w, b, flowtest.NewAuthenticator(t, w.Origin))
			for _, user := range []string{"alice", "bob"} {
				found, err := w.store.FindUsers(t.Context(), store.UserQuery{Username: user})
				must(t, err)
				if len(found) > 0 && len(w.passkeysOf(found[0].ID)) > 0 {
					t.Errorf("%s has a passkey", user)
				}
			}
		})
	}
	t.Run("again, after it was removed", func(t *testing.T) {
		t.Parallel()
		w, _ := newPasskeyWorld(t, nil)
		b := w.login("Demo")
		alice := w.named("alice")
		page := b.Get(w.at("passkey"))
		form := url.Values{"credential": {string(flowtest.NewAuthenticator(t, w.Origin).Create(asksPasskey(t, page)))}}
		shows(t, page.Submit(form), http.StatusOK, "was added")
		b.Post(w.at("remove"), url.Values{"credential": {w.passkeysOf(alice.ID)[0].ID}, "decision": {"yes"}}, "")
		shows(t, page.Submit(form), http.StatusOK, "could not be verified")
		if kept := w.passkeysOf(alice.ID); len(kept) != 0 {
			t.Errorf("%d passkeys", len(kept))
		}
	})
	t.Run("twenty-one", func(t *testing.T) {
		t.Parallel()
		w, _ := newPasskeyWorld(t, nil)
		b := w.login("Demo")
		page := b.Get(w.at("passkey"))
		for range 20 {
			w.makePasskey(b, "")
		}
		shows(t, b.Get(w.at("passkey")), http.StatusOK, "as many passkeys as there can be")
		page.Submit(url.Values{"credential": {string(flowtest.NewAuthenticator(t, w.Origin).Create(asksPasskey(t, page)))}})
		if n := len(w.passkeysOf(w.named("alice").ID)); n != 20 {
			t.Errorf("%d passkeys", n)
		}
	})
}

// ageSession makes the proof of every session of alice older.
func ageSession(w *world, by time.Duration) error {
	found, err := w.store.FindSessions(context.Background(), store.SessionQuery{UserID: w.named("alice").ID})
	for _, s := range found {
		s.AuthTime = s.AuthTime.Add(-by)
		if err := w.store.UpdateSession(context.Background(), s); err != nil {
			return err
		}
	}
	return err
}

// Passkeys have names, are renamed and removed by their user only, and count as ways in, the last of which stays.
func TestPasskeysOnTheAccountPage(t *testing.T) {
	t.Parallel()
	w, box := newPasskeyWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	a := w.makePasskey(b, "laptop")
	box.next(t)
	w.op.LoginAs("bob")
	bobs := w.login("Demo")
	w.makePasskey(bobs, "bob's")
	box.next(t)
	id, others := w.passkeysOf(alice.ID)[0].ID, w.passkeysOf(w.named("bob").ID)[0].ID

	page := b.Get(w.at("rename?credential=" + id))
	shows(t, page, http.StatusOK, `value="laptop"`)
	if strings.Contains(page.Header.Get("Content-Security-Policy"), "script-src") {
		t.Error("a page for a name has a script")
	}
	shows(t, page.Submit(url.Values{"label": {"a\u202eb"}}), http.StatusOK, "This name is too long")
	shows(t, page.Submit(url.Values{"label": {" phone <b> "}}), http.StatusOK, "The new name was saved", "phone &lt;b&gt;")
	w.setPassword(alice.ID, password) // whose label says whether it has to be changed
	all, err := w.store.CredentialsOf(t.Context(), alice.ID)
	must(t, err)
	i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.Kind == store.CredentialPassword })
	for _, attack := range []*brokertest.Page{
		b.Post(w.at("rename"), url.Values{"credential": {all[i].ID}, "label": {"x"}}, ""),
		b.Get(w.at("rename?credential=" + others)), b.Post(w.at("rename"), url.Values{"credential": {others}, "label": {"x"}}, ""),
	} {
		shows(t, attack, http.StatusNotFound)
	}
	b.Post(w.at("remove"), url.Values{"credential": {others}, "decision": {"yes"}}, "")
	if kept := w.passkeysOf(w.named("bob").ID); len(kept) != 1 || kept[0].Label != "bob's" {
		t.Errorf("bob has %v", kept)
	}

	// With a passkey the last link may go; then the passkey may not.
	shows(t, b.Post(w.at("unlink"), url.Values{"link": {linkID(w.linksOf(alice.ID)[0].LinkKey)}, "decision": {"yes"}}, ""), http.StatusOK)
	if n := len(w.linksOf(alice.ID)); n != 0 {
		t.Fatalf("%d links are left", n)
	}
	box.next(t)
	hers := brokertest.NewBrowser(t)
	shows(t, w.byPasskey(hers, hers.Get(w.at("")), a), http.StatusOK, "your only way to sign in")
	page = hers.Post(w.at("remove"), url.Values{"credential": {id}, "decision": {"yes"}}, "")
	shows(t, page, http.StatusOK, "it is your only way to sign in")
	// Of two, one may; not without a recent proof.
	w.makePasskey(hers, "second")
	box.next(t)
	w.advance(11 * time.Minute)
	shows(t, hers.Post(w.at("remove"), url.Values{"credential": {id}, "decision": {"yes"}}, ""), http.StatusOK, "Please sign in again")
	if n := len(w.passkeysOf(alice.ID)); n != 2 {
		t.Fatalf("%d passkeys", n)
	}
	w.byPasskey(hers, hers.Get(w.URL+"/login?prompt=login"), a)
	page = hers.Post(w.at("remove"), url.Values{"credential": {id}}, "")
	shows(t, page, http.StatusOK, "Remove this passkey?")
	shows(t, page.Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "It was removed")
	if msg := box.next(t); !strings.Contains(msg.Text, "passkey") {
		t.Errorf("mail %+v", msg)
	}
}

// Where passkeys are switched off, none is made, and those that are there are no way in.
func TestPasskeysSwitchedOff(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	w.makePasskey(b, "laptop")
	w.reconfigure(func(c *broker.Config) { c.Credentials = w.store })
	page := b.Get(w.at(""))
	shows(t, page, http.StatusOK, "laptop", "your only way to sign in")
	if strings.Contains(page.Body, "Add a passkey") || passkeyOptions.MatchString(b.Get(w.at("passkey")).Body) {
		t.Error("one can be added")
	}
	page = b.Post(w.at("unlink"), url.Values{"link": {linkID(w.linksOf(alice.ID)[0].LinkKey)}, "decision": {"yes"}}, "")
	shows(t, page, http.StatusOK, "it is your only way to sign in")
	b.Post(w.at("remove"), url.Values{"credential": {w.passkeysOf(alice.ID)[0].ID}, "decision": {"yes"}}, "")
	if links, kept := w.linksOf(alice.ID), w.passkeysOf(alice.ID); len(links) != 1 || len(kept) != 0 {
		t.Errorf("links %v, passkeys %v", links, kept)
	}
}

// What is there cannot be taken away by two tabs at once.
func TestLastPasskeyRace(t *testing.T) {
	t.Parallel()
	for range 3 {
		w, _ := newPasskeyWorld(t, nil)
		b := w.login("Demo")
		alice := w.named("alice")
		w.makePasskey(b, "")
		link, kept := linkID(w.linksOf(alice.ID)[0].LinkKey), w.passkeysOf(alice.ID)[0].ID
		var all sync.WaitGroup
		for word, form := range map[string]url.Values{
			"unlink": {"link": {link}, "decision": {"yes"}}, "remove": {"credential": {kept}, "decision": {"yes"}},
		} {
			tab := brokertest.NewBrowser(t)
			tab.SetCookies(w.URL, b.Cookies(w.URL))
			all.Go(func() { tab.Post(w.at(word), form, "") })
		}
		all.Wait()
		if n := len(w.linksOf(alice.ID)) + len(w.passkeysOf(alice.ID)); n != 1 {
			t.Fatalf("%d ways are left", n)
		}
	}
}

// A host without a password on its login page, and one with both.
func TestPasskeyBesidePassword(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	if page := brokertest.NewBrowser(t).Get(w.URL + "/login"); strings.Contains(page.Body, `name="password"`) {
		t.Error("a password is asked for")
	}
	w.withPasskeys(func(c *broker.Config) { c.LocalLogin = true })
	page := brokertest.NewBrowser(t).Get(w.URL + "/login")
	shows(t, page, http.StatusOK, `name="password"`, `autocomplete="username webauthn"`, "Sign in with a passkey")
}

func TestPasskeysConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, row := range map[string]struct {
		edit func(c *broker.Config)
		want string
	}{
		"IP address":     {func(c *broker.Config) { c.Credentials, c.Passkeys = w.store, passkey.Site{} }, "such as localhost"},
		"no credentials": {func(c *broker.Config) { c.Passkeys = passkey.Site{} }, "need Credentials"},
		"other domain": {func(c *broker.Config) {
			c.BaseURL, c.Credentials, c.Passkeys = "https://id.example.com", w.store, passkey.Site{RPID: "example.org"}
		}, `"example.org" is neither "id.example.com" nor`},
		"another broker's": {func(c *broker.Config) {
			c.BaseURL, c.Credentials, c.Passkeys = "https://id.example.com", w.store, passkey.Site{BaseURL: "https://example.org"}
		}, "leave it out"},
	} {
		if _, err := broker.New(w.config(row.edit)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := broker.New(w.config(func(c *broker.Config) {
		c.BaseURL, c.Credentials, c.Passkeys = "https://id.example.com", w.store, passkey.Site{RPID: "example.com"}
	})); err != nil {
		t.Error(err)
	}
}

// Why a passkey was refused is in the log, and on no page: on the login page, and where a flow asks.
func TestRefusedPasskeysAreLogged(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	logged := func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) }
	w, _ := newPasskeyWorld(t, logged)
	a := w.makePasskey(w.login("Demo"), "")
	kept := w.passkeysOf(w.named("alice").ID)[0]
	b := brokertest.NewBrowser(t)
	a.Counter = 0
	page := w.byPasskey(b, b.Get(w.Origin+"/"), a)
	shows(t, page, http.StatusOK, "could not be verified")
	copied := regexp.MustCompile(`level=WARN msg=request .*counter of passkey ` + kept.ID + ` of user ` + kept.UserID)
	if !copied.MatchString(log.String()) {
		t.Errorf("the log does not tell of a copy:\n%s", log.String())
	}
	a.Counter, a.Origin = 5, "https://evil.example/"+strings.Repeat("x", 5000)
	w.byPasskey(b, b.Get(w.Origin+"/"), a)
	if text := log.String(); !strings.Contains(text, "evil.example") || strings.Contains(text, strings.Repeat("x", 500)) {
		t.Errorf("the log tells nothing of another origin, or too much:\n%s", text)
	}
	a.Origin = w.Origin
	w.withPasskeys(func(c *broker.Config) {
		logged(c)
		c.PostLogin = flow.Flow{{ID: "again", Do: factor.OwnPasskey{}}}
	})
	page = w.byPasskey(b, b.Get(w.Origin+"/"), a)
	before := len(log.String())
	a.Counter = 1
	page = page.Submit(url.Values{"credential": {string(a.Get(asksPasskey(t, page)))}})
	shows(t, page, http.StatusOK, "could not be verified")
	if !copied.MatchString(log.String()[before:]) {
		t.Errorf("the log does not tell of a copy that a flow was given:\n%s", log.String()[before:])
	}
}

// Who signs in with a provider steps up by a passkey, if they have one; who signs in with one is not asked again.
func TestPasskeyStepUp(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	a := w.makePasskey(w.login("Demo"), "")
	w.withPasskeys(func(c *broker.Config) {
		c.PostLogin = flow.Flow{
			{ID: "update", Do: factor.UpdatePassword{}},
			{ID: "more", When: flow.Conditional, Sub: flow.Flow{
				{ID: "needs", Do: factor.NeedsSecond(store.CredentialPasskey)}, {ID: "own", Do: factor.OwnPasskey{}},
			}},
		}
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	if options := string(asksPasskey(t, page)); !strings.Contains(options, "allowCredentials") {
		t.Errorf("anybody's passkey is asked for: %s", options)
	}
	who := page.Submit(url.Values{"credential": {string(a.Get(asksPasskey(t, page)))}}).Who()
	session, err := w.store.Session(t.Context(), who.Session)
	must(t, err)
	if who.Username != "alice" || who.Provider != "demo" || !slices.Contains(session.AMR, "mfa") {
		t.Errorf("signed in as %+v by %q", who, session.AMR)
	}
	other := brokertest.NewBrowser(t)
	if who := w.byPasskey(other, other.Get(w.Origin+"/"), a).Who(); who.Username != "alice" {
		t.Errorf("signed in as %+v", who)
	}
	w.op.LoginAs("bob") // who has none
	if who := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo").Who(); who.Username != "bob" {
		t.Errorf("signed in as %+v", who)
	}
}

// A passkey or a password that is removed was perhaps somebody else's, too: what began with one ends, and nothing else.
func TestRemovedCredentialEndsSessions(t *testing.T) {
	t.Parallel()
	for _, kind := range []store.CredentialKind{store.CredentialPasskey, store.CredentialPassword, store.CredentialTOTP} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w, _ := newPasskeyWorld(t, func(c *broker.Config) {
				offline(c)
				c.LocalLogin = true
			})
			byProvider := w.login("Demo")
			alice := w.named("alice")
			a := w.makePasskey(byProvider, "")
			thief, hers := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
			for _, b := range []*brokertest.Browser{thief, hers} {
				if who := w.byPasskey(b, b.Get(w.Origin+"/"), a).Who(); who.ID != alice.ID {
					t.Fatalf("signed in as %+v", who)
				}
			}
			tokens := w.redeem(w.code(thief, askOffline), nil).tokens(t)
			w.setPassword(alice.ID, password)
			w.app(alice.ID)
			all, err := w.store.CredentialsOf(t.Context(), alice.ID)
			must(t, err)
			i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.Kind == kind })
			page := hers.Post(w.at("remove"), url.Values{"credential": {all[i].ID}, "decision": {"yes"}}, "")
			shows(t, page, http.StatusOK, "It was removed")
			in := func(b *brokertest.Browser) bool { return b.Get(w.Origin+"/").URL.Path == "/" }
			if !in(hers) || !in(byProvider) {
				t.Errorf("her own session goes on: %t, by a provider: %t", in(hers), in(byProvider))
			}
			if goesOn := in(thief); goesOn != (kind == store.CredentialTOTP) {
				t.Errorf("the other session goes on: %t", goesOn)
			}
			if status := w.refresh(tokens.RefreshToken, nil).StatusCode; (status == http.StatusOK) != (kind == store.CredentialTOTP) {
				t.Errorf("what was granted to outlive it is refreshed with status %d", status)
			}
		})
	}
}

// A password or an app is offered where signing in asks for it, and nowhere else: who sets it up expects that. What is there can be
// changed and removed.
func TestOffersWhatSignsIn(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	b := w.login("Demo")
	alice := w.named("alice")
	offers := func(password, app bool) {
		t.Helper()
		page := b.Get(w.at(""))
		shows(t, page, http.StatusOK, "Add a passkey")
		for text, want := range map[string]bool{
			`>Set a password<`: password, `/totp"`: app, `id="credentials"`: password || app,
		} {
			if strings.Contains(page.Body, text) != want {
				t.Errorf("%s is there: %t\n%s", text, !want, page.Body)
			}
		}
	}
	offers(false, false) // in the default flow an account proves itself by them, but nobody signs in
	w.setPassword(alice.ID, password)
	w.app(alice.ID)
	shows(t, b.Get(w.at("")), http.StatusOK, "Change password", `/totp"`)
	all, err := w.store.CredentialsOf(t.Context(), alice.ID)
	must(t, err)
	for _, c := range all {
		must(t, w.store.DeleteCredential(t.Context(), c.ID))
	}
	asks := func(steps ...flow.Authenticator) flow.Flow {
		var sub flow.Flow
		for i, step := range steps {
			sub = append(sub, flow.Step{ID: "q" + string(rune('a'+i)), Do: step})
		}
		return flow.Flow{{ID: "p", Sub: sub}}
	}
	for _, row := range []struct {
		edit          func(c *broker.Config)
		password, app bool
	}{
		{func(c *broker.Config) { c.LocalLogin = true }, true, true},
		{func(c *broker.Config) { c.PostLogin = asks(factor.Password{}) }, true, false},
		{func(c *broker.Config) { c.PostLogin = asks(factor.UsernamePassword{}, factor.OTP{}) }, true, true},
		{func(c *broker.Config) { c.Providers[1].PostLogin = asks(factor.SecondFactor{}) }, false, true},
		{func(c *broker.Config) { c.PostLogin = asks(factor.RecoveryCode{}) }, false, true},
		{func(c *broker.Config) {
			c.PostLogin = flow.Flow{{ID: "on", Do: firstlogin.Allow{}}, {ID: "off", When: flow.Disabled, Do: factor.OTP{}}}
		}, false, false},
		{func(c *broker.Config) { c.Providers[1].FirstLogin = firstlogin.Default() }, false, false},
	} {
		w.withPasskeys(row.edit)
		offers(row.password, row.app)
	}
}

// An answer that has signed in is used up on every node, and one that no form can have is an error of the visitor's.
func TestPasskeyLoginOnAnotherNode(t *testing.T) {
	t.Parallel()
	w, _ := newPasskeyWorld(t, nil)
	hers := w.login("Demo")
	a := flowtest.NewAuthenticator(t, w.Origin)
	a.Uncounted, a.Synced = true, true
	page := hers.Get(w.at("passkey"))
	page.Submit(url.Values{"credential": {string(a.Create(asksPasskey(t, page)))}})
	b := brokertest.NewBrowser(t)
	login := b.Get(w.Origin + "/")
	form := passkeyForm(t, login, a.Get(asksPasskey(t, login)))
	w.withPasskeys(nil) // the page is of one node, and the answer comes to another
	if who := b.Post(w.URL+"/login/passkey", form, "").Who(); who.Username != "alice" {
		t.Errorf("signed in as %+v", who)
	}
	b.Get(w.URL + "/logout").Submit(nil)
	w.withPasskeys(nil)
	shows(t, b.Post(w.URL+"/login/passkey", form, ""), http.StatusOK, "could not be verified")
	for name, credential := range map[string]string{
		"huge": strings.Repeat("[", 100<<10), "deep": strings.Repeat("[", 20<<10), "no text": "\xff\x00", "twice": "{}{}", "null": "null",
	} {
		form := passkeyForm(t, b.Get(w.Origin+"/"), []byte(credential))
		if page := b.Post(w.URL+"/login/passkey", form, ""); page.Status >= http.StatusInternalServerError || !strings.Contains(page.Body, "<h1") {
			t.Errorf("%s: status %d", name, page.Status)
		}
		page := hers.Get(w.at("passkey"))
		if page = page.Submit(url.Values{"credential": {credential}}); page.Status >= http.StatusInternalServerError || !strings.Contains(page.Body, "<h1") {
			t.Errorf("%s, on the account page: status %d", name, page.Status)
		}
	}
	if n := len(w.passkeysOf(w.named("alice").ID)); n != 1 {
		t.Errorf("%d passkeys", n)
	}
}

// A login that has taken a passkey or a password, and waits at a page, ends when that is removed, changed or reset, whatever the clock
// of the node says on which that happens. One that takes the new password goes on.
func TestPausedLoginEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	const changed = "words of hers"
	for name, change := range map[string]func(w *world, box inbox, hers *brokertest.Browser, alice *store.User){
		"removed": func(w *world, _ inbox, hers *brokertest.Browser, alice *store.User) {
			page := hers.Post(w.at("remove"), url.Values{"credential": {w.passkeysOf(alice.ID)[0].ID}, "decision": {"yes"}}, "")
			shows(w.t, page, http.StatusOK, "It was removed")
		},
		"changed": func(w *world, _ inbox, hers *brokertest.Browser, _ *store.User) {
			page := hers.Post(w.at("password"), url.Values{"current": {password}, "password": {changed}, "repeat": {changed}}, "")
			shows(w.t, page, http.StatusOK, "Your password was")
		},
		"reset": func(w *world, box inbox, hers *brokertest.Browser, _ *store.User) {
			hers.Get(w.URL + "/reset").Submit(url.Values{"username": {"alice"}})
			page := hers.Get(box.reset(w.t)).Submit(url.Values{"password": {changed}, "repeat": {changed}})
			shows(w.t, page, http.StatusOK, "Your new password is set")
		},
		"by the host": func(w *world, _ inbox, _ *brokertest.Browser, alice *store.User) { w.setPassword(alice.ID, changed) },
	} {
		for _, ahead := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
			t.Run(name+"/"+ahead.String(), func(t *testing.T) {
				t.Parallel()
				w, box := newPasskeyWorld(t, func(c *broker.Config) { c.Providers[0].TrustEmail = true })
				hers := w.login("Demo")
				alice := w.named("alice")
				a := w.makePasskey(hers, "")
				w.setPassword(alice.ID, password)
				w.withPasskeys(func(c *broker.Config) {
					c.LocalLogin, c.Mailer = true, box
					c.PostLogin = flow.Flow{{ID: "again", Do: factor.OwnPasskey{}}}
				})
				w.makePasskey(hers, "second")
				at := func(b *brokertest.Browser, secret string) *brokertest.Page {
					return b.Post(w.URL+"/login/password", url.Values{"start": {"/login"}, "username": {"alice"}, "password": {secret}}, "")
				}
				thief := brokertest.NewBrowser(t)
				paused := at(thief, password)
				answer := url.Values{"turn": {field(t, paused, "turn", 0)}, "credential": {string(a.Get(asksPasskey(t, paused)))}}
				w.advance(ahead)
				change(w, box, hers, alice)
				w.advance(-ahead)
				shows(t, thief.Get(paused.URL.String()), http.StatusConflict) // nor is anything asked any more
				if page := thief.Post(paused.URL.String(), answer, ""); page.Status != http.StatusConflict {
					t.Errorf("the login goes on: status %d at %s", page.Status, page.URL)
				}
				if thief.Get(w.Origin+"/").URL.Path == "/" {
					t.Error("signed in")
				}
				if name != "removed" {
					b := brokertest.NewBrowser(t)
					page := at(b, changed)
					if who := page.Submit(url.Values{"credential": {string(a.Get(asksPasskey(t, page)))}}).Who(); who.ID != alice.ID {
						t.Errorf("signed in as %+v", who)
					}
				}
			})
		}
	}
}

// Of two who know a temporary password the second is not let in, nor sets another one, once the first has changed it: not even one who
// was asked for a new one before.
func TestTemporaryPasswordIsChangedOnce(t *testing.T) {
	t.Parallel()
	w, alice, _, _ := newPasswordWorld(t, nil)
	hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
	must(t, err)
	must(t, w.local().SetPassword(t.Context(), alice.ID, hash, true))
	var pages []*brokertest.Page
	for range 2 {
		page := brokertest.NewBrowser(t).Get(w.Origin + "/").Submit(answer("alice", "given by an admin"))
		shows(t, page, http.StatusOK, `autocomplete="new-password"`)
		pages = append(pages, page)
	}
	page := pages[0].Submit(url.Values{"password": {"her own words"}, "repeat": {"her own words"}})
	if page.URL.Path != "/" {
		t.Fatalf("the first is at %s, status %d\n%s", page.URL, page.Status, page.Body)
	}
	n := len(w.sessionsOf(alice.ID))
	shows(t, pages[1].Submit(url.Values{"password": {"words of a thief"}, "repeat": {"words of a thief"}}), http.StatusConflict)
	if got := len(w.sessionsOf(alice.ID)); got != n {
		t.Errorf("%d sessions, were %d", got, n)
	}
	if _, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, "her own words"); err != nil {
		t.Errorf("her password: %v", err)
	}
}

// Nor is one let in who was quick enough to answer while the first did.
func TestTemporaryPasswordIsChangedMeanwhile(t *testing.T) {
	t.Parallel()
	var meanwhile atomic.Pointer[func()]
	w, alice, _, _ := newPasswordWorld(t, func(c *broker.Config) {
		c.Passwords = &factor.Passwords{Memory: 8, Time: 1, Breached: func(context.Context, string) error {
			if f := meanwhile.Swap(nil); f != nil {
				(*f)()
			}
			return nil
		}}
	})
	hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
	must(t, err)
	must(t, w.local().SetPassword(t.Context(), alice.ID, hash, true))
	page := brokertest.NewBrowser(t).Get(w.Origin + "/").Submit(answer("alice", "given by an admin"))
	n, change := len(w.sessionsOf(alice.ID)), func() { w.setPassword(alice.ID, "her own words") }
	meanwhile.Store(&change)
	shows(t, page.Submit(url.Values{"password": {"words of a thief"}, "repeat": {"words of a thief"}}), http.StatusConflict)
	if got := len(w.sessionsOf(alice.ID)); got != n {
		t.Errorf("%d sessions, were %d", got, n)
	}
	if _, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, "her own words"); err != nil {
		t.Errorf("her password: %v", err)
	}
}
