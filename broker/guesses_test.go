package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
)

// What can be guessed, and where it is asked for:
//
//   - a password: on the login page, there again for a recent proof, by a step of a first login, by a step after each login, and on the
//     account page before it is changed;
//   - a code of the app or a recovery code: after a password, after a provider, and when an account proves itself.
//
// Each of these counts for the account, as the tests below have it. A code that a device shows counts for the user who enters it (see
// TestDeviceGuessing), the number of a mailed link for the link. There is nothing to guess in the code by which an app is set up, whose
// seed is on that very page, in passkeys, and in what is random: mailed links, handles, tokens and the secrets of clients. The token
// endpoint takes no password of a user's, and asking for a mail that resets one tells nothing.

// What is guessed on any path counts on every other.
func TestEveryPathCountsPasswords(t *testing.T) {
	t.Parallel()
	const wrong = "a guess"
	// Each returns the page after the password was sent, in her own browser or, where she is signed in by it, a copy of it.
	paths := map[string]func(w *world, b *brokertest.Browser, secret string) *brokertest.Page{
		"login page": func(w *world, b *brokertest.Browser, secret string) *brokertest.Page {
			return b.Get(w.URL + "/login?prompt=login").Submit(answer("alice", secret))
		},
		"recent proof": func(w *world, b *brokertest.Browser, secret string) *brokertest.Page {
			return b.Get(w.URL + "/login?again=" + w.named("alice").ID + "&return_to=/account/").Submit(answer("alice", secret))
		},
		"first login": func(w *world, b *brokertest.Browser, secret string) *brokertest.Page {
			page := b.Get(w.URL + "/broker/other/login")
			shows(w.t, page, http.StatusOK, `type="password"`)
			return page.Submit(answer("alice", secret))
		},
		"after each login": func(w *world, b *brokertest.Browser, secret string) *brokertest.Page {
			page := b.Get(w.URL + "/broker/demo/login")
			shows(w.t, page, http.StatusOK, `type="password"`)
			return page.Submit(url.Values{"password": {secret}})
		},
		"account page": func(w *world, b *brokertest.Browser, secret string) *brokertest.Page {
			return b.Get(w.at("password")).Submit(url.Values{"current": {secret}, "password": {"words"}, "repeat": {"words"}})
		},
	}
	refused := func(p *brokertest.Page) bool {
		return strings.Contains(p.Body, "This is not right") || strings.Contains(p.Body, `id="current-error"`)
	}
	for at, guess := range paths {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			w, _, hers, _ := newPasswordWorld(t, nil)
			w.reconfigure(func(c *broker.Config) {
				c.Credentials, c.Passwords, c.LocalLogin, c.FirstLogin = w.store, &factor.Passwords{Memory: 8, Time: 1}, true, prove
				c.Providers[0].PostLogin = flow.Flow{{ID: "again", Do: factor.Password{}}}
			})
			for i := range 5 {
				if page := guess(w, hers, wrong); !refused(page) {
					t.Fatalf("guess %d: status %d at %s\n%s", i, page.Status, page.URL, page.Body)
				}
			}
			for other, try := range paths {
				if page := try(w, hers, password); !refused(page) {
					t.Errorf("five guesses do not count for %s: status %d at %s", other, page.Status, page.URL)
				}
			}
			// It is her browser that has guessed: she is not locked out of others.
			if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Submit(answer("alice", password)); page.URL.Path != "/" {
				t.Errorf("another browser: status %d at %s", page.Status, page.URL)
			}
		})
	}
}

// Codes of the app and recovery codes count together, on every path and from every browser.
func TestEveryPathCountsCodes(t *testing.T) {
	t.Parallel()
	paths := map[string]func(w *world, b *brokertest.Browser) *brokertest.Page{
		"after a password": func(w *world, b *brokertest.Browser) *brokertest.Page {
			return b.Get(w.Origin + "/").Submit(answer("alice", password))
		},
		"after a provider": func(w *world, b *brokertest.Browser) *brokertest.Page { return b.Get(w.Origin + "/").Click("Demo") },
		"in a first login": func(w *world, b *brokertest.Browser) *brokertest.Page {
			return b.Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
		},
	}
	for at, path := range paths {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			w, alice, _, _ := newPasswordWorld(t, func(c *broker.Config) {
				c.Providers[0].PostLogin = flow.Flow{{ID: "allow", Do: firstlogin.Allow{}}, {ID: "second", When: flow.Conditional, Sub: flow.Flow{
					{ID: "has-second", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
				}}}
			})
			e := w.app(alice.ID)
			codes, err := w.local().NewRecoveryCodes(t.Context(), alice.ID)
			must(t, err)
			for i := range 5 {
				page := path(w, brokertest.NewBrowser(t))
				guess := "000000"
				if i%2 == 1 {
					page, guess = page.Submit(press("another")), "AAAA-AAAA-AAAA-AAAA"
				}
				shows(t, page.Submit(url.Values{"code": {guess}}), http.StatusOK, `id="code-error"`)
			}
			for other, path := range paths {
				page := path(w, brokertest.NewBrowser(t)).Submit(url.Values{"code": {code(t, e.Text, w.clock())}})
				shows(t, page, http.StatusOK, `id="code-error"`)
				page = path(w, brokertest.NewBrowser(t)).Submit(press("another")).Submit(url.Values{"code": {codes[0]}})
				if !strings.Contains(page.Body, `id="code-error"`) {
					t.Errorf("five guesses do not count for %s: status %d at %s", other, page.Status, page.URL)
				}
			}
		})
	}
}
