package broker_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
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
)

// verified demands an address that somebody has verified, of whoever signs in.
func verified(c *broker.Config) {
	c.PostLogin = flow.Flow{{ID: "verified", Do: firstlogin.VerifyEmail{}}}
}

// demands are the links that VerifyEmail has mailed, oldest first.
func (m *mailbox) demands() (all []string) {
	for _, msg := range m.with("Confirm your") {
		all = append(all, proofLink.FindString(msg.Text))
	}
	return all
}

// newDemandWorld is a linkWorld in which carol, whose address nobody has verified, comes from Other, which is not trusted.
func newDemandWorld(t *testing.T, edit func(*broker.Config)) *linkWorld {
	t.Helper()
	l := newLinkWorld(t, func(c *broker.Config) {
		verified(c)
		if edit != nil {
			edit(c)
		}
	})
	l.other.LoginAs("carol")
	return l
}

func (l *linkWorld) comeAsCarol(b *brokertest.Browser) *brokertest.Page {
	l.t.Helper()
	page := b.Get(l.Origin + "/deep?a=1").Click("Other")
	shows(l.t, page, http.StatusOK, "Look into your mailbox", "carol@other.example")
	return page
}

func (l *linkWorld) wantVerified(page *brokertest.Page, username string) {
	l.t.Helper()
	if page.Status != http.StatusOK || page.URL.Path != "/deep" {
		l.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if who := page.Who(); who.Username != username || !l.named(username).EmailVerified {
		l.t.Errorf("signed in as %+v; verified is %t", who, l.named(username).EmailVerified)
	}
}

// Row 31: whose address is verified by a provider that is trusted for it is not asked, everybody else is.
func TestRow31VerifyEmail(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		edit  func(*broker.Config)
		setUp func(l *linkWorld)
		come  func(l *linkWorld, b *brokertest.Browser) *brokertest.Page
		asks  string // for which address; "" for none
	}{
		"trusted": {come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
			return b.Get(l.Origin + "/deep").Click("Demo")
		}},
		"trusted, but not verified there": {
			setUp: func(l *linkWorld) { l.op.LoginAs("bob") },
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				return b.Get(l.Origin + "/deep").Click("Demo")
			},
			asks: "bob@example.com",
		},
		"not trusted": {
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				return b.Get(l.Origin + "/deep").Click("Other")
			},
			asks: "carol@other.example",
		},
		"trusted, but edited": {
			edit: func(c *broker.Config) {
				c.Providers[1].TrustEmail = true
				c.Providers[1].FirstLogin = firstlogin.Default()
				c.Providers[1].FirstLogin[0].Do = firstlogin.ReviewProfile{Mode: firstlogin.ReviewOn}
			},
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				page := b.Get(l.Origin + "/deep").Click("Other")
				if page.URL.Path == "/deep" { // the second time
					return page
				}
				return page.Submit(url.Values{
					"username": {"carol"}, "email": {"new@other.example"}, "name": {"Carol"},
				})
			},
			asks: "new@other.example",
		},
		"known, and verified by nobody": {
			setUp: func(l *linkWorld) { l.editUser("alice", func(u *store.User) { u.EmailVerified = false }) },
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				return b.Get(l.Origin + "/deep").Click("Demo")
			},
			asks: "alice@example.com",
		},
		"by password": {
			edit:  func(c *broker.Config) { c.LocalLogin = true },
			setUp: func(l *linkWorld) { l.editUser("alice", func(u *store.User) { u.EmailVerified = false }) },
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				return b.Get(l.Origin + "/deep").Submit(answer("alice", password))
			},
			asks: "alice@example.com",
		},
		"about to get an address that nobody has verified": {
			edit: func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce },
			setUp: func(l *linkWorld) {
				l.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "moved@example.com"})
			},
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				return b.Get(l.Origin + "/deep").Click("Demo")
			},
			asks: "moved@example.com",
		},
		"linked by a mail that has proved it": {
			setUp: func(l *linkWorld) {
				l.editUser("alice", func(u *store.User) { u.EmailVerified = false })
				l.other.LoginAs("alice")
			},
			come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
				b.Get(l.Origin + "/deep").Click("Other").Submit(press("link"))
				return b.Get(l.box.links()[0]).Submit(nil)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newDemandWorld(t, row.edit)
			if row.setUp != nil {
				row.setUp(l)
			}
			credentials, _ := l.store.CredentialsOf(t.Context(), l.alice.ID)
			b := brokertest.NewBrowser(t)
			page := row.come(l, b)
			mails := l.box.with("Confirm your")
			if row.asks == "" {
				if page.URL.Path != "/deep" || len(mails) != 0 {
					t.Errorf("%d mails, status %d at %s\n%s", len(mails), page.Status, page.URL, page.Body)
				}
				return
			}
			if len(mails) != 1 || mails[0].To != row.asks {
				t.Fatalf("mails %+v, want one to %s; status %d at %s\n%s", mails, row.asks, page.Status, page.URL, page.Body)
			}
			l.wantSignedOut(brokertest.NewBrowser(t))
			shows(t, page, http.StatusOK, "Look into your mailbox", row.asks)
			page = b.Get(l.box.demands()[0]).Submit(nil)
			if page.URL.Path != "/deep" {
				t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			user, err := l.store.User(t.Context(), page.Who().ID)
			if err != nil || !user.EmailVerified || user.Email != row.asks {
				t.Errorf("user %+v, %v", user, err)
			}
			if after, err := l.store.CredentialsOf(t.Context(), l.alice.ID); len(after) != len(credentials) || err != nil {
				t.Errorf("alice had %d credentials and has %d, %v: nothing is taken away by it", len(credentials), len(after), err)
			}
			if l.linksOf(l.alice)["demo"] != 1 {
				t.Error("alice has lost her link")
			}
			again := row.come(l, brokertest.NewBrowser(t))
			if strings.Contains(again.Body, "Look into your mailbox") {
				t.Error("asked again at the next login")
			}
		})
	}
}

// The mail that VerifyEmail sends is as that of VerifyByEmail: one, and more on request; in any browser, where a button confirms; once.
func TestVerifyEmailLink(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, nil)
	first, second := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	page := l.comeAsCarol(first)
	typed := number(page)
	for range 3 {
		page = first.Get(page.URL.String())
	}
	if n := len(l.box.demands()); n != 1 {
		t.Fatalf("%d mails after refreshing, want one", n)
	}
	for range 8 {
		page = page.Submit(press("resend"))
	}
	shows(t, page, http.StatusOK, "several mails already")
	if n := len(l.box.demands()); n != 5 {
		t.Fatalf("%d mails, want five at most", n)
	}
	shows(t, page.Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
	if page = page.Submit(press("another")); page.URL.Path == "/deep" {
		t.Error("another way leads in")
	}
	link := l.box.demands()[0]
	confirm := second.Get(link)
	shows(t, confirm, http.StatusOK, "Is this your address?", "Other as carol (carol@other.example)")
	l.wantSignedOut(first) // GET changes nothing
	shows(t, confirm.Submit(typed), http.StatusOK, "Go back to the browser")
	l.wantSignedOut(second)
	shows(t, second.Get(link), http.StatusConflict, "confirmed already")
	page = first.Get(page.URL.String()).Submit(press("confirmed"))
	l.wantVerified(page, "carol")
	if late := second.Get(l.box.demands()[1]).Submit(typed); late.Status < 400 {
		t.Errorf("an older mail: status %d", late.Status)
	}
	if l.users("carol") != 1 {
		t.Error("carol is there more than once")
	}
}

// Nobody's mailbox is filled by strangers who sign in with its address somewhere, again and again.
func TestMailsToAnAddressAreBounded(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, nil)
	for i := range 12 {
		name := fmt.Sprintf("carol%d", i)
		l.other.SetUser(providertest.User{Subject: name, Username: name, Email: "carol@other.example", Name: "C"})
		l.other.LoginAs(name)
		page := brokertest.NewBrowser(t).Get(l.Origin + "/deep").Click("Other")
		if told := strings.Contains(page.Body, "several mails already"); told != (i >= 10) {
			t.Errorf("login %d: told that there were too many is %t", i+1, told)
		}
	}
	if n := len(l.box.demands()); n != 10 {
		t.Errorf("%d mails, want ten at most", n)
	}
}

// A proof is for one login of one identity with one address, and opens no other step: least of all the one that links.
func TestVerifyEmailIsBound(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, nil)
	carols, others := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	l.comeAsCarol(carols)
	l.other.SetUser(providertest.User{Subject: "mallory", Username: "mallory", Email: "carol@other.example", Name: "M"})
	l.other.LoginAs("mallory")
	waiting := others.Get(l.Origin + "/deep").Click("Other")
	carols.Get(l.box.demands()[0]).Submit(nil)
	// carol is a user now, so mallory's address is hers.
	waiting = waiting.Submit(press("confirmed"))
	shows(t, waiting, http.StatusOK, "not confirmed yet")
	if waiting = brokertest.NewBrowser(t).Get(l.box.demands()[1]).Submit(number(waiting)); waiting.Status == http.StatusOK {
		// Even who is talked into confirming it makes nobody a user with an address that is another's.
		if page := others.Get(l.Origin + "/deep").Click("Other"); page.URL.Path == "/deep" {
			t.Errorf("mallory is %+v", page.Who())
		}
	}
	if l.users("mallory") != 0 {
		t.Error("mallory is a user")
	}

	// The link that confirms an address links nobody, and takes no credentials.
	l.editUser("alice", func(u *store.User) { u.EmailVerified = false })
	hers := brokertest.NewBrowser(t)
	hersWaits := hers.Get(l.Origin + "/deep").Click("Demo")
	demand := l.box.demands()[2]
	l.other.LoginAs("alice")
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("link"))
	shows(t, brokertest.NewBrowser(t).Get(demand).Submit(number(hersWaits)), http.StatusOK, "Go back to the browser")
	shows(t, page.Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
	l.wantNoLink(b)
	if all, err := l.store.CredentialsOf(t.Context(), l.alice.ID); len(all) != 1 || err != nil {
		t.Errorf("%d credentials, %v", len(all), err)
	}
}

// What ends a proof, and who must not be told about.
func TestVerifyEmailDies(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(l *linkWorld)
		status int
	}{
		"too late": {func(l *linkWorld) { l.advance(16 * time.Minute) }, http.StatusGone},
		"provider disabled": {func(l *linkWorld) {
			l.reconfigure(l.setup(func(c *broker.Config) { verified(c); c.Providers[0].Disabled = true }))
		}, http.StatusForbidden},
		"user disabled": {func(l *linkWorld) { l.editUser("alice", func(u *store.User) { u.Disabled = true }) }, http.StatusForbidden},
		"user deleted": {func(l *linkWorld) {
			if err := l.store.DeleteUser(l.t.Context(), l.alice.ID); err != nil {
				l.t.Fatal(err)
			}
		}, http.StatusGone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newDemandWorld(t, nil)
			l.editUser("alice", func(u *store.User) { u.EmailVerified = false })
			b := brokertest.NewBrowser(t)
			b.Get(l.Origin + "/deep").Click("Demo")
			confirm := b.Get(l.box.demands()[0])
			row.change(l)
			if page := confirm.Submit(nil); page.Status < 400 || page.Status >= 500 {
				t.Errorf("confirmed: status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			if page := b.Get(l.box.demands()[0]); page.Status < 400 || page.Status >= 500 {
				t.Errorf("opened: status %d", page.Status)
			}
			l.wantSignedOut(b)
		})
	}
}

// Where the address is changed by somebody else meanwhile, the new one is asked about.
func TestVerifyEmailOfAnotherAddress(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, nil)
	l.editUser("alice", func(u *store.User) { u.EmailVerified = false })
	b := brokertest.NewBrowser(t)
	page := b.Get(l.Origin + "/deep").Click("Demo")
	brokertest.NewBrowser(t).Get(l.box.demands()[0]).Submit(number(page))
	l.editUser("alice", func(u *store.User) { u.Email = "new@example.com" })
	page = page.Submit(press("confirmed"))
	shows(t, page, http.StatusOK, "Look into your mailbox", "new@example.com")
	if mails := l.box.with("Confirm your"); len(mails) != 2 || mails[1].To != "new@example.com" {
		t.Errorf("mails %+v", mails)
	}
	l.wantVerified(b.Get(l.box.demands()[1]).Submit(nil), "alice")
}

// Where it is changed after it was proved, and before the login ends, the new one is nobody's yet.
func TestVerifiedEmailChangedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, func(c *broker.Config) {
		c.PostLogin = append(c.PostLogin, flow.Step{ID: "update", Do: factor.UpdatePassword{}})
	})
	hash, err := l.local().Passwords.Hash(t.Context(), password)
	if err == nil {
		err = l.local().SetPassword(t.Context(), l.alice.ID, hash, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.editUser("alice", func(u *store.User) { u.EmailVerified = false })
	b := brokertest.NewBrowser(t)
	b.Get(l.Origin + "/deep").Click("Demo")
	page := b.Get(l.box.demands()[0]).Submit(nil)
	shows(t, page, http.StatusOK, `autocomplete="new-password"`)
	l.editUser("alice", func(u *store.User) { u.Email = "new@example.com" })
	page = page.Submit(url.Values{"password": {"her own words"}, "repeat": {"her own words"}})
	if u := l.named("alice"); u.EmailVerified || u.Email != "new@example.com" {
		t.Errorf("status %d at %s: %s counts as verified: %t", page.Status, page.URL, u.Email, u.EmailVerified)
	}
}

// Without a mailer, or an address, a host that demands a verified one lets nobody in who has none; it fails for nobody else.
func TestVerifyEmailWithoutMail(t *testing.T) {
	t.Parallel()
	l := newDemandWorld(t, noMailer)
	page := brokertest.NewBrowser(t).Get(l.Origin + "/deep").Click("Demo")
	l.wantVerified(page, "alice")
	if page := brokertest.NewBrowser(t).Get(l.Origin + "/deep").Click("Other"); page.Status != http.StatusForbidden || l.users("carol") != 0 {
		t.Errorf("carol: status %d at %s", page.Status, page.URL)
	}
	l.reconfigure(l.setup(func(c *broker.Config) {
		verified(c)
		c.FirstLogin = flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{}}}
	}))
	l.other.SetUser(providertest.User{Subject: "carol", Username: "carol"})
	if page := brokertest.NewBrowser(t).Get(l.Origin + "/deep").Click("Other"); page.Status != http.StatusForbidden || l.users("carol") != 0 {
		t.Errorf("without an address: status %d at %s", page.Status, page.URL)
	}
}

// Steps of the post-login flow see the user as the login will write them.
func TestPostLoginSeesWhatIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	w.reconfigure(func(c *broker.Config) {
		c.Providers[0].Mappers = []provider.Mapper{{Name: "guest", Sync: provider.SyncForce, Map: func(m *provider.Mapping) error {
			m.Profile.Roles = append(m.Profile.Roles, "guest")
			return nil
		}}}
		c.PostLogin = flow.Flow{{ID: "no-guests", When: flow.Conditional, Sub: flow.Flow{
			{ID: "is-guest", Do: firstlogin.HasRole("guest")}, {ID: "deny", Do: firstlogin.Deny{}},
		}}, {ID: "allow", Do: firstlogin.Allow{}}}
	})
	if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); page.Status != http.StatusForbidden {
		t.Errorf("who is a guest by this login: status %d at %s", page.Status, page.URL)
	}
}
