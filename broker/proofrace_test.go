package broker_test

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A meddler lets something happen right before, or right after, the next login that is written.
type meddler struct {
	*memstore.Store
	before, after atomic.Pointer[func()]
}

func (m *meddler) Commit(ctx context.Context, l *store.Login) error {
	if f := m.before.Swap(nil); f != nil {
		(*f)()
	}
	err := m.Store.Commit(ctx, l)
	if f := m.after.Swap(nil); f != nil {
		(*f)()
	}
	return err
}

// A meddled login is by this passkey, and written to this store.
type meddled struct {
	*flowtest.Authenticator
	store *meddler
}

// Between the moment in which a passkey or a password was right and that in which the login is written, it may be taken away: nobody
// is signed in by it then, and no account linked, and nothing granted.
func TestProofTakenAwayAtTheLastMoment(t *testing.T) {
	t.Parallel()
	changes := map[string]func(w *world, hers *brokertest.Browser, alice *store.User){
		"passkey removed": func(w *world, hers *brokertest.Browser, alice *store.User) {
			page := hers.Post(w.at("remove"), url.Values{"credential": {w.passkeysOf(alice.ID)[0].ID}, "decision": {"yes"}}, "")
			shows(w.t, page, http.StatusOK, "It was removed")
		},
		"password changed": func(w *world, hers *brokertest.Browser, _ *store.User) {
			page := hers.Post(w.at("password"), url.Values{"current": {password}, "password": {"words of hers"}, "repeat": {"words of hers"}}, "")
			shows(w.t, page, http.StatusOK, "Your password was")
		},
		"taken away by the host": func(w *world, _ *brokertest.Browser, alice *store.User) {
			must(w.t, w.store.DeleteCredential(w.t.Context(), w.passkeysOf(alice.ID)[0].ID))
		},
	}
	for name, login := range map[string]func(w *world, thief *brokertest.Browser, key *meddled) *brokertest.Page{
		"by password": func(w *world, thief *brokertest.Browser, _ *meddled) *brokertest.Page {
			return thief.Post(w.URL+"/login/password", url.Values{"start": {"/login"}, "username": {"alice"}, "password": {password}}, "")
		},
		"by passkey": func(w *world, thief *brokertest.Browser, key *meddled) *brokertest.Page {
			return w.byPasskey(thief, thief.Get(w.Origin+"/"), key.Authenticator)
		},
		"for an application": func(w *world, thief *brokertest.Browser, _ *meddled) *brokertest.Page {
			params := w.authParams()
			askOffline(params)
			start := "/authorize?" + params.Encode()
			return thief.Post(w.URL+"/login/password", url.Values{"start": {start}, "username": {"alice"}, "password": {password}}, "")
		},
		"in a first login": func(w *world, thief *brokertest.Browser, _ *meddled) *brokertest.Page {
			return thief.Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
		},
		"as the second step": func(w *world, thief *brokertest.Browser, key *meddled) *brokertest.Page {
			w.withPasskeys(func(c *broker.Config) {
				c.Store, c.PostLogin = key.store, flow.Flow{{ID: "again", Do: factor.OwnPasskey{}}}
			})
			page := thief.Get(w.Origin + "/").Click("Demo")
			return page.Submit(url.Values{"credential": {string(key.Get(asksPasskey(w.t, page)))}})
		},
	} {
		for what, change := range changes {
			for _, when := range []string{"before", "after"} {
				if when == "after" && what == "taken away by the host" { // who does that ends the sessions, too
					continue
				}
				t.Run(name+"/"+what+"/"+when, func(t *testing.T) {
					t.Parallel()
					w, _ := newPasskeyWorld(t, offline)
					s := &meddler{Store: w.store}
					w.withPasskeys(func(c *broker.Config) {
						offline(c)
						c.Store, c.LocalLogin, c.FirstLogin = s, true, prove
					})
					hers := w.login("Demo")
					alice := w.named("alice")
					key := &meddled{w.makePasskey(hers, ""), s}
					w.makePasskey(hers, "another one")
					w.setPassword(alice.ID, password)
					w.other.LoginAs("alice")
					thief := brokertest.NewBrowser(t)
					happened := false
					happen := func() { happened = true; change(w, hers, alice) }
					if when == "before" {
						s.before.Store(&happen)
					} else {
						s.after.Store(&happen)
					}
					page := login(w, thief, key)
					if !happened || page.Status != http.StatusConflict {
						t.Errorf("it happened: %t; status %d at %s\n%s", happened, page.Status, page.URL, page.Body)
					}
					if thief.Get(w.Origin+"/").URL.Path == "/" {
						t.Error("signed in")
					}
					if n := len(w.sessionsOf(alice.ID)); n != 1 {
						t.Errorf("%d sessions, want hers", n)
					}
					if n := len(w.linksOf(alice.ID)); n != 1 {
						t.Errorf("%d links, want hers", n)
					}
					if grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{UserID: alice.ID}); len(grants) != 0 || err != nil {
						t.Errorf("grants %v, %v", grants, err)
					}
				})
			}
		}
	}
}
