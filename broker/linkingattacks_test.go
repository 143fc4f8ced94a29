package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// Attacks on linking that were published for comparable systems. Those on the decision alone are in flow/firstlogin.

// CVE-2026-9087: a proof that was made for one identity is of no use to another: not to somebody else at the same upstream, not to
// the same subject at another one, and not to another login.
func TestProofIsForOneIdentity(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) {
		c.Providers = append(c.Providers, broker.Provider{Alias: "third", Name: "Third", IdP: l.upstream(l.other, "third", nil)})
	}))
	l.other.SetUser(providertest.User{Subject: "mallory", Username: "mallory", Email: "alice@example.com", EmailVerified: true, Name: "M"})
	typed := number(l.comeByMail(brokertest.NewBrowser(t)))
	link := l.box.links()[0]

	mallory, sameElsewhere, sameAgain := brokertest.NewBrowser(t), brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	pages := map[string]*brokertest.Page{"the same person, another login": l.comeByMail(sameAgain)}
	pages["the same subject at another provider"] = sameElsewhere.Get(l.Origin + "/").Click("Third").Submit(press("link"))
	l.other.LoginAs("mallory")
	pages["somebody else at the same provider"] = l.comeByMail(mallory)

	shows(t, brokertest.NewBrowser(t).Get(link).Submit(typed), http.StatusOK, "Go back to the browser") // alice confirms the first one
	for who, page := range pages {
		page = page.Submit(press("confirmed"))
		shows(t, page, http.StatusOK, "not confirmed yet")
		if t.Failed() {
			t.Fatal(who)
		}
	}
	if n := l.linksOf(l.alice); n["other"]+n["third"] != 0 {
		t.Errorf("links %v", n)
	}
}

// CVE-2026-92358: a proof dies with the user, with the address, with the provider, and with its time.
func TestProofDies(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		kill func(l *linkWorld)
		want string
	}{
		"user deleted":     {func(l *linkWorld) { l.deleteUser("alice") }, ""},
		"user disabled":    {func(l *linkWorld) { l.editUser("alice", func(u *store.User) { u.Disabled = true }) }, ""},
		"address changed":  {func(l *linkWorld) { l.editUser("alice", func(u *store.User) { u.Email = "new@example.com" }) }, ""},
		"provider is off":  {func(l *linkWorld) { l.reconfigure(l.setup(func(c *broker.Config) { c.Providers[1].Disabled = true })) }, "switched off"},
		"too late":         {func(l *linkWorld) { l.advance(16 * time.Minute) }, "not confirmed yet"},
		"login given up":   {func(l *linkWorld) { l.advance(41 * time.Minute) }, "expired"},
		"provider removed": {func(l *linkWorld) { l.reconfigure(l.setup(func(c *broker.Config) { c.Providers = c.Providers[:1] })) }, "does not exist"},
	} {
		for _, before := range []bool{true, false} { // it is killed before, or after, the click
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := newLinkWorld(t, nil)
				first, second := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
				waiting := l.comeByMail(first)
				confirm := second.Get(l.box.links()[0])
				if before {
					row.kill(l)
				}
				page := confirm.Submit(number(waiting))
				if before == strings.Contains(page.Body, "Go back to the browser") {
					t.Errorf("killed before the click is %t: status %d\n%s", before, page.Status, page.Body)
				}
				if !before {
					row.kill(l)
				}
				page = waiting.Submit(press("confirmed"))
				if !strings.Contains(page.Body, row.want) || page.Status >= 500 {
					t.Errorf("status %d, want a page that says %q\n%s", page.Status, row.want, page.Body)
				}
				if n := l.linksOf(l.alice)["other"]; n != 0 {
					t.Errorf("%d links", n)
				}
				if who := first.Get(l.Origin + "/"); who.URL.Path == "/" {
					t.Errorf("signed in as %+v", who.Who())
				}
			})
		}
	}
}

// CVE-2026-92358: whoever unlinks a provider is not linked again by a mail that was sent before, whether it was confirmed by then or
// not, nor by the login that waits for it.
func TestUnlinkKillsMailedProof(t *testing.T) {
	t.Parallel()
	for _, confirmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("confirmed before is %t", confirmed), func(t *testing.T) {
			t.Parallel()
			l := newLinkWorld(t, nil)
			waits, elsewhere := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
			waiting := l.comeByMail(waits)
			mail := elsewhere.Get(l.box.links()[0])
			home := l.login("Demo")
			shows(t, l.link(home, "other"), http.StatusOK, "was linked to your account")
			if confirmed {
				shows(t, mail.Submit(number(waiting)), http.StatusOK, "Go back to the browser")
			}
			page := home.Post(l.at("unlink"), url.Values{"link": {field(t, home.Get(l.at("")), "link", 1)}}, "")
			shows(t, page.Submit(url.Values{"decision": {"yes"}}), http.StatusOK, "The link was removed")
			if page := mail.Submit(number(waiting)); page.Status < 400 || page.Status >= 500 {
				t.Errorf("the mail, after that: status %d\n%s", page.Status, page.Body)
			}
			shows(t, waiting.Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
			if n := l.linksOf(l.alice)["other"]; n != 0 {
				t.Error("she is linked again")
			}
			l.wantSignedOut(waits)
		})
	}
}

// CVE-2025-7365: who puts somebody's address in while reviewing is offered no mail to it, and is not linked by it, even where both
// sides have verified what they have.
func TestEditedAddressProvesNothing(t *testing.T) {
	t.Parallel()
	f := firstlogin.Default()
	f[0].Do = firstlogin.ReviewProfile{Mode: firstlogin.ReviewOn}
	f[1].Sub = append(flow.Flow{{ID: "auto", When: flow.Alternative, Do: firstlogin.AutoLink{}}}, f[1].Sub...)
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) { c.FirstLogin, c.Providers[1].TrustEmail = f, true }))
	l.other.LoginAs("carol")
	b := brokertest.NewBrowser(t)
	page := b.Get(l.Origin + "/").Click("Other")
	page = page.Submit(url.Values{"email": {"alice@example.com"}})
	shows(t, page, http.StatusOK, "already exists")
	page = page.Submit(press("link"))
	if n := len(l.box.links()); n != 0 {
		t.Errorf("%d mails went to the address that was put in", n)
	}
	shows(t, page, http.StatusOK, "Continue with Demo")
	l.wantNoLink(b)

	// And back: an address that was put in and taken back is not vouched for again.
	page = brokertest.NewBrowser(t).Get(l.Origin + "/").Click("Other").Submit(url.Values{"email": {"alice@example.com"}})
	page = page.Submit(press("review")).Submit(url.Values{"email": {"carol@other.example"}})
	if u := l.named("carol"); u.EmailVerified || page.URL.Path != "/" {
		t.Errorf("%+v is verified; at %s", u, page.URL)
	}
}

// Pre-hijacking (better-auth CVE-2026-53516, PocketBase CVE-2024-38351, FusionAuth #2542): an account that somebody set up in
// advance with the victim's address, a password and a provider of their own, is not theirs any more once the victim proves it.
func TestPreHijack(t *testing.T) {
	t.Parallel()
	l := &linkWorld{world: newWorld(t, nil), box: newMailbox()}
	l.reconfigure(l.setup(func(c *broker.Config) { c.Providers[0].TrustEmail = false }))
	attacker := l.login("Demo") // whose upstream lets them say any address
	l.alice = l.named("alice")
	l.setPassword(l.alice, "planted by the attacker")
	if _, err := l.local().NewRecoveryCodes(t.Context(), l.alice.ID); err != nil {
		t.Fatal(err)
	}
	if l.alice.EmailVerified {
		t.Fatal("set-up: the address is verified")
	}
	// By the planted password, without an upstream whose link could be taken away.
	offline := &store.Grant{
		ID: "planted", ClientID: "rp", UserID: l.alice.ID, Scope: []string{"openid", "offline_access"}, CodeUsed: true,
		CreatedAt: l.clock(), ExpiresAt: l.clock().Add(time.Hour),
	}
	if err := l.store.CreateGrant(t.Context(), offline); err != nil {
		t.Fatal(err)
	}
	l.other.LoginAs("alice")
	victim := brokertest.NewBrowser(t)
	page := l.come(victim)
	l.wantNoLink(victim) // nothing is merged in silence
	page.Submit(press("link"))
	confirm := victim.Get(l.box.links()[0])
	shows(t, confirm, http.StatusOK, "every other way to sign in to it is removed")
	l.wantLinked(confirm.Submit(nil))
	if u := l.named("alice"); !u.EmailVerified {
		t.Error("the address is not verified")
	}
	if all, err := l.store.CredentialsOf(t.Context(), l.alice.ID); len(all) != 0 || err != nil {
		t.Errorf("the planted credentials are there still: %d, %v", len(all), err)
	}
	if n := l.linksOf(l.alice); n["demo"] != 0 {
		t.Errorf("the attacker's link is there still: %v", n)
	}
	sessions, err := l.store.FindSessions(t.Context(), store.SessionQuery{UserID: l.alice.ID})
	if err != nil || len(sessions) != 1 || sessions[0].Upstream.Provider != "other" {
		t.Errorf("sessions %+v, %v; want the victim's alone", sessions, err)
	}
	if _, err := l.store.Grant(t.Context(), offline.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the attacker's tokens that outlive sessions are good still: %v", err)
	}
	l.wantSignedOut(attacker)
	again := attacker.Get(l.Origin + "/deep").Click("Demo")
	shows(t, again, http.StatusOK, "already exists")
}

// A dyingStore is one before which the process dies that would write a login.
type dyingStore struct {
	*memstore.Store
	dead atomic.Bool
}

func (d *dyingStore) Commit(ctx context.Context, l *store.Login) error {
	if d.dead.Load() && l.NewLink != nil {
		return errors.New("the process has died")
	}
	return d.Store.Commit(ctx, l)
}

// Where the process dies between the proof and the login, nothing planted is left, nothing is linked, and the owner of the address
// proves it again.
func TestPreHijackAndCrash(t *testing.T) {
	t.Parallel()
	l := &linkWorld{world: newWorld(t, nil), box: newMailbox()}
	dying := &dyingStore{Store: l.store}
	l.reconfigure(l.setup(func(c *broker.Config) { c.Store, c.Providers[0].TrustEmail = dying, false }))
	l.login("Demo")
	l.alice = l.named("alice")
	l.setPassword(l.alice, "planted by the attacker")
	l.other.LoginAs("alice")
	victim := brokertest.NewBrowser(t)
	l.comeByMail(victim)
	dying.dead.Store(true)
	shows(t, victim.Get(l.box.links()[0]).Submit(nil), http.StatusInternalServerError)
	dying.dead.Store(false)
	l.wantNoLink(victim)
	if all, err := l.store.CredentialsOf(t.Context(), l.alice.ID); len(all) != 0 || err != nil || l.named("alice").EmailVerified {
		t.Errorf("%d credentials, %v; verified is %t", len(all), err, l.named("alice").EmailVerified)
	}
	l.comeByMail(victim)
	l.wantLinked(victim.Get(l.box.links()[1]).Submit(nil))
}

// An address that was proved and then changed, before the login was over, proves nothing.
func TestProvedAddressChangedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) {
		c.Theme, c.PostLogin = askTheme, flow.Flow{{ID: "ask", Do: askOnce{}}}
	}))
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	page := b.Get(l.box.links()[0]).Submit(nil)
	shows(t, page, http.StatusOK, "go")
	l.editUser("alice", func(u *store.User) { u.Email = "new@example.com" })
	page = page.Submit(url.Values{"ok": {"1"}})
	shows(t, page, http.StatusConflict, "expired")
	l.wantNoLink(b)
}

// Who proves the address for the first time comes in also if their second factor is among what is taken away by that.
func TestDisownedSecondFactor(t *testing.T) {
	t.Parallel()
	l := &linkWorld{world: newWorld(t, nil), box: newMailbox()}
	l.reconfigure(l.setup(func(c *broker.Config) {
		c.Providers[0].TrustEmail = false
		c.FirstLogin = flow.Flow{
			{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
			{ID: "existing", When: flow.Alternative, Sub: flow.Flow{
				{ID: "mail", Do: firstlogin.VerifyByEmail{}}, {ID: "second", Do: factor.SecondFactor{}},
			}},
		}
	}))
	l.login("Demo")
	l.alice = l.named("alice")
	codes, err := l.local().NewRecoveryCodes(t.Context(), l.alice.ID)
	must(t, err)
	l.other.LoginAs("alice")
	b := brokertest.NewBrowser(t)
	shows(t, b.Get(l.Origin+"/").Click("Other"), http.StatusOK, "Look into your mailbox")
	page := b.Get(l.box.links()[0]).Submit(nil)
	shows(t, page, http.StatusOK, `name="code"`)
	if who := page.Submit(url.Values{"code": {codes[0]}}).Who(); who.ID != l.alice.ID {
		t.Errorf("signed in as %+v, want alice", who)
	}
	if n := l.linksOf(l.alice); n["demo"] != 0 || n["other"] != 1 {
		t.Errorf("links %v", n)
	}
}

// Nor is anything taken away where the address had been verified before, or somebody proves otherwise.
func TestProofTakesNothingOfAVerifiedAccount(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	l.wantLinked(b.Get(l.box.links()[0]).Submit(nil))
	all, err := l.store.CredentialsOf(t.Context(), l.alice.ID)
	if n := l.linksOf(l.alice); n["demo"] != 1 || len(all) != 1 || err != nil {
		t.Errorf("links %v, %d credentials, %v", n, len(all), err)
	}
}

// The page below a mailed link takes no orders from other sites, and is not framed.
func TestProofFromAnotherSite(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	link, err := url.Parse(l.box.links()[0])
	if err != nil {
		t.Fatal(err)
	}
	page := b.Post(l.URL+"/proof", link.Query(), "https://evil.example/")
	shows(t, page, http.StatusForbidden, "another site")
	l.wantNoLink(b)
	shown := b.Get(link.String())
	if csp := shown.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if ref := shown.Header.Get("Referrer-Policy"); ref != "strict-origin" && ref != "no-referrer" {
		t.Errorf("referrer policy %q: the link would leave the page", ref)
	}
}

// What is stored of a mailed link is no link; and neither it nor an address is in the log at Info.
func TestProofHandleIsNotKept(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	logged := func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) }
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(logged))
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	link, err := url.Parse(l.box.links()[0])
	if err != nil {
		t.Fatal(err)
	}
	handle := link.Query().Get("link")
	if _, err := l.store.Get(t.Context(), "linkmail", handle); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the handle itself is a key of the store: %v", err)
	}
	l.wantLinked(b.Get(link.String()).Submit(nil))
	log.waitFor(t, "linked=other")
	for _, secret := range []string{handle, "alice@example.com", password} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
	log.waitFor(t, `first_login="ask: email_exists`)
	log.waitFor(t, `linked_by=email`)
}

// A login that was begun in one browser cannot be ended in another, with whatever of it is known there.
func TestFlowOfAnotherBrowser(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	victim, attacker := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	page := l.comeByMail(victim)
	_, form, ok := page.Form()
	if !ok {
		t.Fatal("no form")
	}
	form.Set("confirmed", "1")
	brokertest.NewBrowser(t).Get(l.box.links()[0]).Submit(number(page))
	shows(t, attacker.Post(page.URL.String(), form, ""), http.StatusConflict, "expired")
	shows(t, attacker.Get(page.URL.String()), http.StatusConflict, "expired")
	l.wantNoLink(attacker)
}

// Whether an account exists is told to those only whom an upstream has vouched for with its address or name; and the page is the
// same whoever the account is.
func TestConfirmPageIsTheSameForAll(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	turn := func(p *brokertest.Page) string {
		_, form, _ := p.Form()
		return strings.NewReplacer(form.Get("turn"), "TURN", p.URL.Path, "PATH").Replace(p.Body)
	}
	one := turn(l.come(brokertest.NewBrowser(t)))
	l.editUser("alice", func(u *store.User) { u.FirstName, u.Roles = "Other", []string{"admin"} })
	two := turn(l.come(brokertest.NewBrowser(t)))
	if one != two {
		t.Errorf("the page tells two accounts apart:\n%s\n%s", one, two)
	}
}

// nOAuth (Descope 2023, Semperis 2025): who changes their address at the upstream to somebody else's is who they were, and gets
// nothing of the other, however much the provider is trusted.
func TestAddressIsNoKey(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) { c.Providers[1].TrustEmail, c.Providers[1].Sync = true, provider.SyncForce }))
	l.other.LoginAs("carol")
	l.login("Other")
	carol := l.named("carol")
	l.other.SetUser(providertest.User{Subject: "carol", Username: "carol", Email: "alice@example.com", EmailVerified: true, Name: "Alice Liddell"})
	who := l.login("Other").Get(l.Origin + "/").Who()
	if after := l.named("carol"); who.ID != carol.ID || after.Email != carol.Email {
		t.Errorf("signed in as %+v; carol is %+v now", who, after)
	}
	if n := l.linksOf(l.alice)["other"]; n != 0 || l.named("alice").Email != "alice@example.com" {
		t.Errorf("alice has %d links with Other, and is %+v", n, l.named("alice"))
	}
}

// authentik CVE-2022-46145, CVE-2026-49448; Zitadel CVE-2024-49757: an empty answer, one without the fields that are asked for, one
// to the page of another login, and a repeated one skip no step.
func TestNoAnswerSkipsAStep(t *testing.T) {
	t.Parallel()
	for _, s := range stations {
		if s.shows == "" || s.name == "mail confirmed elsewhere" || s.name == "mailed link" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t)
			other := s.at(v) // another login of the same browser
			page := s.at(v)
			if page.URL.Path == other.URL.Path {
				t.Fatal("set-up: it is the same login")
			}
			_, foreign, _ := other.Form()
			_, own, _ := page.Form()
			for _, form := range []url.Values{
				nil, {}, {"turn": own["turn"]}, {"turn": {""}}, foreign, {"turn": foreign["turn"], "link": {"1"}, "confirmed": {"1"}},
			} {
				if answered := v.browser.Post(page.URL.String(), form, ""); answered.Status >= 500 || answered.URL.Path == "/deep" {
					t.Errorf("%v: status %d at %s", form, answered.Status, answered.URL)
				}
				v.wantNoLink(v.browser)
				if page = v.browser.Get(page.URL.String()); !strings.Contains(page.Body, s.shows) {
					t.Fatalf("%v led to another step:\n%s", form, page.Body)
				}
			}
			s.on(v, page)
			v.wantAlice()
		})
	}
}

// CVE-2026-37982, CVE-2026-4282: what was mailed to prove an account is good for nothing else.
func TestMailedLinkIsForOnePurpose(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) { c.LocalLogin = true }))
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	link, err := url.Parse(l.box.links()[0])
	if err != nil {
		t.Fatal(err)
	}
	handle := link.Query().Get("link")
	for _, path := range []string{"/reset?reset=", "/reset?link=", "/link/", "/flow/", "/account/email?link="} {
		stranger := brokertest.NewBrowser(t)
		if page := stranger.Get(l.URL + path + handle); strings.Contains(page.Body, `name="repeat"`) || page.Status >= 500 {
			t.Errorf("%s: status %d\n%s", path, page.Status, page.Body)
		}
		page := stranger.Post(l.URL+"/reset/set", url.Values{
			"reset": {handle}, "link": {handle}, "password": {"set by a stranger"}, "repeat": {"set by a stranger"},
		}, "")
		if page.Status < 400 || page.Status >= 500 {
			t.Errorf("a password was set by it: status %d\n%s", page.Status, page.Body)
		}
		l.wantNoLink(stranger)
	}
	l.wantLinked(b.Get(link.String()).Submit(nil)) // nor was it used up
}
