package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

type askOnce struct{}

func (askOnce) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Input == nil || t.Input.Get("ok") == "" {
		return flow.Ask(flow.Page{Name: "ask"}), nil
	}
	return flow.Success(), nil
}

var askTheme = fstest.MapFS{"templates/ask.html": {Data: []byte(`{{define "title"}}x{{end}}{{define "main"}}<form method="post" action="{{.Data.Action}}">{{template "hidden" .Data.Hidden}}<input name="ok"><button type="submit">go</button></form>{{end}}`)}}

func (w *world) named(name string) *store.User {
	u, err := w.store.FindUsers(w.t.Context(), store.UserQuery{Username: name})
	if err != nil || len(u) != 1 {
		w.t.Fatal(name, u, err)
	}
	return u[0]
}

// 1: an unlinked identity gets linked again, and signed in, by a login that was paused.

// An identity that was unlinked while its login was paused is not linked again by it.
func TestUnlinkedWhilePaused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	u := w.named("alice")
	w.reconfigure(func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "ask", Do: askOnce{}}}; c.Theme = askTheme })
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	shows(t, page, 200, "go")
	links, _ := w.store.LinksOf(t.Context(), u.ID)
	if err := w.store.DeleteLink(t.Context(), links[0].LinkKey); err != nil {
		t.Fatal(err)
	}
	page = page.Submit(url.Values{"ok": {"1"}})
	links, _ = w.store.LinksOf(t.Context(), u.ID)
	t.Logf("ended at %s %d", page.URL, page.Status)
	if len(links) != 0 {
		t.Errorf("the deleted link is back: %+v", links[0].LinkKey)
	}
}

// 1b: link moved to another user: post-login flow ran for alice, session is the other's

// The post-login flow has run for the user who logs in, and for nobody else.
func TestLinkedToSomebodyElseWhilePaused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	w.login("Other")
	u, carol := w.named("alice"), w.named("carol")
	var ran string
	w.reconfigure(func(c *broker.Config) {
		c.PostLogin = flow.Flow{{ID: "ask", Do: stepFunc(func(t *flow.Turn) flow.Result {
			if t.Input.Get("ok") == "" {
				return flow.Ask(flow.Page{Name: "ask"})
			}
			ran = t.Draft.UserID
			return flow.Success()
		})}}
		c.Theme = askTheme
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	links, _ := w.store.LinksOf(t.Context(), u.ID)
	l := *links[0]
	l.UserID = carol.ID
	if err := w.store.UpdateLink(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	page = page.Submit(url.Values{"ok": {"1"}})
	if page.URL.Path == "/" {
		t.Errorf("flow ran for %s, signed in as %s (carol is %s)", ran, page.Who().ID, carol.ID)
	}
}

type stepFunc func(t *flow.Turn) flow.Result

func (f stepFunc) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	return f(t), nil
}

// 2: post-login flow ran for a new user, login is one of an existing one

// A flow that ran for a new user is no proof for one who exists by now.
func TestCreatedInAnotherTabWhilePaused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	asks := true
	edit := func(c *broker.Config) {
		c.Theme = askTheme
		c.PostLogin = flow.Flow{{ID: "otp", Do: stepFunc(func(t *flow.Turn) flow.Result {
			if t.Draft.UserID != "" { // who exists must bring a second factor
				return flow.Deny("no_otp")
			}
			if asks && t.Input.Get("ok") == "" {
				return flow.Ask(flow.Page{Name: "ask"})
			}
			return flow.Success()
		})}}
	}
	w.reconfigure(edit)
	thief := brokertest.NewBrowser(t)
	page := thief.Get(w.Origin + "/").Click("Demo") // paused as "new"
	asks = false
	w.login("Demo") // the owner is created, and enrols a factor
	asks = true
	page = page.Submit(url.Values{"ok": {"1"}})
	if page.URL.Path == "/" {
		t.Errorf("signed in as %s though the flow denies existing users", page.Who().Username)
	}
}

// 3: numbers of claims after a pause

// Claims are after a pause what they were before.
func TestClaimsAfterAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "alice@example.com", Name: "Alice", Claims: map[string]any{"emp": json.Number("9007199254740993")}})
	var got any
	w.reconfigure(func(c *broker.Config) {
		c.Theme = askTheme
		c.PostLogin = flow.Flow{{ID: "ask", Do: askOnce{}}}
		c.Providers[0].Mappers = []provider.Mapper{{Name: "m", Stage: provider.StageSession, Map: func(m *provider.Mapping) error {
			got = m.Identity.Claims["emp"]
			return nil
		}}}
	})
	brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo").Submit(url.Values{"ok": {"1"}})
	if n, ok := got.(json.Number); !ok || n != "9007199254740993" {
		t.Errorf("claim is %T %v", got, got)
	}
}

// 4: Leave: the identity that came back is looked up without its lookup mappers

// Who comes back from another upstream is looked up as at a login there.
func TestReturnedIdentityIsMapped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lookup := provider.Mapper{Name: "tenant", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
		m.Identity.Subject = "t1/" + m.Identity.Subject
		return nil
	}}
	var back string
	edit := func(c *broker.Config) {
		c.Providers[1].Mappers = []provider.Mapper{lookup}
		c.Providers[0].PostLogin = flow.Flow{{ID: "x", Do: stepFunc(func(t *flow.Turn) flow.Result {
			if t.Returned == nil {
				return flow.Leave("other")
			}
			back = t.Returned.UserID + "|" + t.Returned.Identity.Subject
			return flow.Success()
		})}}
	}
	w.reconfigure(edit)
	w.login("Other") // carol, linked as t1/carol
	w.login("Demo")
	if want := w.named("carol").ID + "|t1/carol"; back != want {
		t.Errorf("the step saw %q, want %q", back, want)
	}
}

// Nor does anybody come back whom a mapper there refuses, or takes the subject from.
func TestReturnedIdentityIsRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*provider.Mapping) error{
		"by a mapper":       func(*provider.Mapping) error { return errors.New("not of our house") },
		"without a subject": func(m *provider.Mapping) error { m.Identity.Subject = ""; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.login("Other")
			asked := 0
			w.reconfigure(func(c *broker.Config) {
				c.Providers[1].Mappers = []provider.Mapper{{Name: "house", Stage: provider.StageLookup, Map: refuse}}
				c.Providers[0].PostLogin = flow.Flow{{ID: "x", Do: stepFunc(func(t *flow.Turn) flow.Result {
					if t.Returned == nil {
						return flow.Leave("other")
					}
					asked++
					return flow.Success()
				})}}
			})
			b := brokertest.NewBrowser(t)
			page := b.Get(w.Origin + "/").Click("Demo")
			if page.Status < 400 || asked > 0 || w.signedIn(b) {
				t.Errorf("status %d at %s, and the step was told %d times", page.Status, page.URL, asked)
			}
		})
	}
}

// 5: verified stays though a mapper puts another address

// A mapper that changes the address takes its verification away.
func TestMappedEmailIsNotVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Other") // carol, not trusted: unverified
	edit := func(c *broker.Config) { c.Providers[0].TrustEmail = true }
	w.reconfigure(edit)
	w.login("Demo")
	if !w.named("alice").EmailVerified {
		t.Fatal("setup")
	}
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "alice@example.com", Claims: map[string]any{"mail": "ceo@victim.example"}})
	w.reconfigure(func(c *broker.Config) { // not even trusted
		c.Providers[0].Mappers = []provider.Mapper{{Name: "mail", Sync: provider.SyncForce, Map: func(m *provider.Mapping) error {
			m.Profile.Email, _ = m.Identity.Claims["mail"].(string)
			return nil
		}}}
	})
	w.login("Demo")
	if u := w.named("alice"); u.EmailVerified && u.Email == "ceo@victim.example" {
		t.Errorf("%s is verified, which nobody has said", u.Email)
	}
}

// 6: spelling takes the verified mark away

// Another spelling of a verified address is the same address.
func TestSpellingIsNoOtherAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[0].TrustEmail = true })
	w.login("Demo")
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "Alice@Example.com", EmailVerified: true})
	w.reconfigure(func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce })
	w.login("Demo")
	if u := w.named("alice"); !u.EmailVerified {
		t.Errorf("%s was verified and is no longer", u.Email)
	}
}

// 7: sync takes an address that is somebody's username

// The address of one user is not the name of another.
func TestSyncTakesNobodysName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	if err := w.store.CreateUser(t.Context(), &store.User{ID: "victim", Username: "victim@corp.example"}); err != nil {
		t.Fatal(err)
	}
	w.op.SetUser(providertest.User{Subject: "alice", Username: "alice", Email: "victim@corp.example"})
	w.reconfigure(func(c *broker.Config) { c.Providers[0].Sync = provider.SyncForce })
	w.login("Demo")
	if u := w.named("alice"); u.Email == "victim@corp.example" {
		t.Errorf("alice has the address %s, which is another user's name", u.Email)
	}
}

// 8: roles grow

// A mapper that appends what is there already changes nothing.
func TestForcedMappersDoNotPileUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].Sync = provider.SyncForce
		c.Providers[0].Mappers = []provider.Mapper{{Name: "staff", Map: func(m *provider.Mapping) error {
			m.Profile.Roles = append(m.Profile.Roles, "staff")
			return nil
		}}}
	})
	for range 3 {
		w.login("Demo")
	}
	if r := w.named("alice").Roles; len(r) != 1 {
		t.Errorf("roles are %v", r)
	}
}

// 9: idle shorter than a minute

// An idle limit below a minute signs nobody out who is active.
func TestShortIdleLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.SessionIdle = 50 * time.Second })
	b := w.login("Demo")
	for i := range 6 {
		w.advance(10 * time.Second)
		if p := b.Get(w.Origin + "/"); p.URL.Path != "/" {
			t.Fatalf("signed out after %ds of use every 10s", 10*(i+1))
		}
	}
}

// 10: userinfo keeps the browser's session alive

// 11: clients are the host's slice

// What the host does to its slices after New changes nothing.
func TestClientsAreTheBrokersOwn(t *testing.T) {
	t.Parallel()
	var cs []store.Client
	w := newWorld(t, func(c *broker.Config) { cs = c.Clients })
	cs[0].RedirectURIs[0] = "https://evil.example/cb"
	p := brokertest.NewBrowser(t).Get(w.URL + "/authorize?client_id=" + cs[0].ID + "&redirect_uri=https://evil.example/cb")
	_ = p
	if !strings.Contains(p.Body, "redirect") && p.Status != 400 {
		t.Errorf("status %d %s", p.Status, p.URL)
	}
	for _, u := range p.Trail {
		if strings.HasPrefix(u, "https://evil") {
			t.Error(u)
		}
	}
}

// 12: sid

// 13: hidden / disabled provider's name on page

// A link cannot make the page name a provider that is not shown.
func TestNoticeNamesShownProvidersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[1].Name = "Secret Customer AG"
		c.Providers[1].Disabled = true
	})
	p := brokertest.NewBrowser(t).Get(w.URL + "/login?idp_notice=denied&idp_notice_by=other")
	if strings.Contains(p.Body, "Secret Customer") {
		t.Error("leaks")
	}
}

// Visitors cannot make the broker ask an upstream that is down over and over.
func TestDiscoveryIsNotTriedAtEachVisit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	op := providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "a", Users: []providertest.User{{Subject: "a"}}})
	w.reconfigure(func(c *broker.Config) { c.Providers[0].IdP = w.upstream(op, "demo", nil) })
	op.Break(providertest.DiscoveryDown)
	b := stopped(t)
	for range 20 {
		b.Get(w.URL + "/broker/demo/login")
	}
	if n := len(op.Requests(providertest.Discovery)); n > 2 {
		t.Errorf("%d fetches of discovery for 20 visits in a second", n)
	}
}

// Who signed out is not signed in again by a page that was left open.
func TestSignOutForgetsPausedLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo") // known before
	pausing := true
	w.reconfigure(func(c *broker.Config) {
		c.Theme = askTheme
		c.PostLogin = flow.Flow{{ID: "ask", Do: stepFunc(func(t *flow.Turn) flow.Result {
			if pausing && t.Input.Get("ok") == "" {
				return flow.Ask(flow.Page{Name: "ask"})
			}
			return flow.Success()
		})}}
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo") // tab 1, paused
	pausing = false
	b.Get(w.Origin + "/").Click("Demo") // tab 2
	b.Get(w.URL + "/logout").Submit(nil)
	if b.Get(w.Origin+"/").URL.Path == "/" {
		t.Fatal("still in")
	}
	page = page.Submit(url.Values{"ok": {"1"}}) // next person at this machine, from the history
	if page.URL.Path == "/" {
		t.Errorf("signed in as %s after sign-out, without the upstream", page.Who().Username)
	}
}

// What was weakened is said at start.
func TestInsecureSettingsAreLogged(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	w := newWorld(t, func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(&buf, nil)) })
	w.reconfigure(func(c *broker.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&buf, nil))
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.InsecureSkipNonce = true })
	})
	if !strings.Contains(buf.String(), "Insecure") {
		t.Errorf("nothing about InsecureSkipNonce, InsecureAllowHTTP, InsecureAllowPrivateNetworks in the log: %q", buf.String())
	}
}

// redeemed grants of one session

// Who is created in another tab just after it was looked whether anybody knows them stands in nobody's way.
func TestCreatedInAnotherTabMeanwhile(t *testing.T) {
	t.Parallel()
	var w *world
	var done atomic.Bool
	w = newWorld(t, func(c *broker.Config) {
		c.Providers[0].Mappers = []provider.Mapper{{Name: "meanwhile", Map: func(*provider.Mapping) error {
			if !done.Swap(true) {
				w.login("Demo")
			}
			return nil
		}}}
	})
	if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); page.Status != http.StatusOK || page.URL.Path != "/" {
		t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if n := w.users("alice"); n != 1 {
		t.Errorf("%d users, want 1", n)
	}
}

// Of two answers at once to one page, one is looked at: the step is not run for the other.
func TestOneAnswerAtATime(t *testing.T) {
	t.Parallel()
	var run atomic.Int32
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	w := newWorld(t, func(c *broker.Config) {
		c.Theme = askTheme
		c.PostLogin = flow.Flow{{ID: "slow", Do: stepFunc(func(t *flow.Turn) flow.Result {
			if t.Input == nil {
				return flow.Ask(flow.Page{Name: "ask"})
			}
			run.Add(1)
			begun <- struct{}{}
			<-goOn
			return flow.Success()
		})}}
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	first := make(chan *brokertest.Page)
	go func() { first <- page.Submit(url.Values{"ok": {"1"}}) }()
	<-begun
	late := make(chan *brokertest.Page)
	go func() { late <- page.Submit(url.Values{"ok": {"2"}}) }()
	select {
	case second := <-late:
		shows(t, second, http.StatusConflict, "expired")
	case <-begun:
		t.Error("the second answer is looked at, too")
		go func() { <-late }()
	}
	close(goOn)
	if end := <-first; end.URL.Path != "/" || run.Load() != 1 {
		t.Errorf("the first answer leads to %s, and the step was run %d times", end.URL, run.Load())
	}
}

// What somebody else has written at the same moment is read again, once: the login goes on, and does not undo it.
func TestChangedAtTheSameMoment(t *testing.T) {
	t.Parallel()
	for times, want := range []int{http.StatusOK, http.StatusOK, http.StatusConflict} {
		w := newWorld(t, nil)
		left := times
		var mu sync.Mutex
		w.reconfigure(func(c *broker.Config) {
			c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
				mu.Lock()
				defer mu.Unlock()
				if call.Method == "Commit" && !call.After && left > 0 {
					left--
					return store.ErrConflict
				}
				return nil
			})
		})
		if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); page.Status != want {
			t.Errorf("changed %d times: status %d at %s, want %d\n%s", times, page.Status, page.URL, want, page.Body)
		}
	}
}

// A post-login flow asks more of who logs in, and makes nobody somebody else, nor a new user.
func TestPostLoginMakesNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Other")
	w.login("Demo")
	carol := w.named("carol")
	for name, change := range map[string]func(d *flow.Draft){
		"somebody else": func(d *flow.Draft) { d.UserID = carol.ID },
		"a new user":    func(d *flow.Draft) { d.UserID, d.New = "", true },
		"nobody":        func(d *flow.Draft) { d.UserID = "" },
	} {
		w.reconfigure(func(c *broker.Config) {
			c.PostLogin = flow.Flow{{ID: "x", Do: stepFunc(func(t *flow.Turn) flow.Result {
				change(t.Draft)
				return flow.Success()
			})}}
		})
		b := brokertest.NewBrowser(t)
		if page := b.Get(w.Origin + "/").Click("Demo"); page.Status < 400 || w.signedIn(b) {
			t.Errorf("%s: status %d at %s\n%s", name, page.Status, page.URL, page.Body)
		}
		if n := w.users("alice", "carol"); n != 2 {
			t.Errorf("%s: %d users", name, n)
		}
	}
}
