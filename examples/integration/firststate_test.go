package integration

import (
	"context"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// Two live nodes share one PostgreSQL, with connections of their own, and take the requests of a first login in turn. The same table,
// longer and over a store in memory, is in the package broker.

// A firstLogins is where people come from Other who have an account by Demo.
type firstLogins struct {
	t           *testing.T
	late        atomic.Int64 // nanoseconds that all clocks were advanced
	demo, other *providertest.OIDC
	store       *sqlstore.Store // a third party's
	local       *factor.Local
	hash        []byte // of everybody's password
	origin      string

	mu    sync.Mutex
	mails []broker.Message
}

const everybodysPassword = "the same old password"

func (f *firstLogins) clock() time.Time { return time.Now().Add(time.Duration(f.late.Load())) }

// Send implements broker.Mailer.
func (f *firstLogins) Send(_ context.Context, m *broker.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mails = append(f.mails, *m)
	return nil
}

func startFirstLogins(t *testing.T) *firstLogins {
	t.Helper()
	f := &firstLogins{t: t}
	f.demo = providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Demo", Alg: "ES256", Now: f.clock})
	f.other = providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Other", Alg: "ES256", Now: f.clock})
	dsn := newPostgres(t)
	f.store = sqlstore.New(openPostgres(t, dsn))
	var asked atomic.Uint64
	var nodes []http.Handler
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nodes[bits.OnesCount64(asked.Add(1))%2].ServeHTTP(w, r) // Thue and Morse: there is no rhythm to it
	}))
	t.Cleanup(balancer.Close)
	f.origin = balancer.URL
	for range 2 {
		kept := sqlstore.New(openPostgres(t, dsn))
		kept.Now = f.clock
		passwords := &factor.Passwords{Memory: 8, Time: 1}
		node := brokertest.Start(t, func(string) broker.Config {
			return broker.Config{
				BaseURL: f.origin + "/id", Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")}, Store: kept, Credentials: kept,
				Now: f.clock, Passwords: passwords, Mailer: f, Providers: []broker.Provider{
					{Alias: "demo", Name: "Demo", IdP: f.upstream(f.demo, "demo"), TrustEmail: true},
					{Alias: "other", Name: "Other", IdP: f.upstream(f.other, "other")},
				},
			}
		})
		to, err := url.Parse(node.Origin)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		}})
		f.local = node.Broker.Local()
	}
	var err error
	if f.hash, err = f.local.Passwords.Hash(t.Context(), everybodysPassword); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *firstLogins) upstream(op *providertest.OIDC, alias string) provider.IdentityProvider {
	f.t.Helper()
	client := op.Register(providertest.Client{
		ID: alias, Secret: "of " + alias + ", the same on each node", RedirectURIs: []string{brokertest.CallbackURL(f.origin+"/id", alias)},
	})
	idp, err := oidc.New(oidc.Config{
		Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, Now: f.clock,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return idp
}

// A newcomer is one person's first login by Other.
type newcomer struct {
	*firstLogins
	t       *testing.T
	name    string
	user    *store.User
	codes   []string
	browser *brokertest.Browser
	before  []*brokertest.Page
}

func (f *firstLogins) newcomer(t *testing.T, number int) *newcomer {
	t.Helper()
	ctx := t.Context()
	n := &newcomer{firstLogins: f, t: t, name: fmt.Sprint("person", number), browser: brokertest.NewBrowser(t)}
	email := n.name + "@example.com"
	f.demo.SetUser(providertest.User{Subject: n.name, Username: n.name, Email: email, EmailVerified: true, Name: "P"})
	f.other.SetUser(providertest.User{Subject: n.name, Username: n.name + "b", Email: email, EmailVerified: true}) // and no name: review
	f.demo.LoginAs(n.name)
	f.other.LoginAs(n.name)
	now := f.clock()
	n.user = &store.User{ID: n.name, Username: n.name, Email: email, EmailVerified: true, CreatedAt: now, UpdatedAt: now}
	err := f.store.CreateUser(ctx, n.user)
	if err == nil {
		key := store.LinkKey{Provider: "demo", Issuer: f.demo.Issuer(), Subject: n.name}
		err = f.store.CreateLink(ctx, &store.Link{LinkKey: key, UserID: n.name, CreatedAt: now, LastLogin: now})
	}
	if err == nil {
		err = f.local.SetPassword(ctx, n.name, f.hash, false)
	}
	if err == nil {
		n.codes, err = f.local.NewRecoveryCodes(ctx, n.name)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mails = nil
	return n
}

// sane fails if the page is a failure of the broker.
func (n *newcomer) sane(page *brokertest.Page) *brokertest.Page {
	n.t.Helper()
	if page.Status >= http.StatusInternalServerError {
		n.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return page
}

func (n *newcomer) submit(page *brokertest.Page, form url.Values) *brokertest.Page {
	n.t.Helper()
	if _, _, ok := page.Form(); !ok {
		return page
	}
	n.before = append(n.before, page)
	return n.sane(page.Submit(form))
}

var (
	mailedProof = regexp.MustCompile(`http\S+/proof\?link=\S+`)
	shownNumber = regexp.MustCompile(`class="code digits" dir="ltr">([0-9 ]+)<`)
)

// confirm opens every mail in another browser, where the number of the page that waits is typed in.
func (n *newcomer) confirm(waiting *brokertest.Page) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	shown := shownNumber.FindStringSubmatch(waiting.Body)
	for _, m := range n.mails {
		link := mailedProof.FindString(m.Text)
		if link == "" || shown == nil {
			continue
		}
		if page := n.sane(brokertest.NewBrowser(n.t).Get(link)); page.Status == http.StatusOK {
			n.sane(page.Submit(url.Values{"number": {shown[1]}}))
		}
	}
}

// A stop is a place on the way, and how it goes on from there to the next one.
type stop struct {
	name, shows string
	answer      func(n *newcomer) url.Values
	mail        bool // it goes on by the mail
}

func fixed(form url.Values) func(*newcomer) url.Values {
	return func(*newcomer) url.Values { return form }
}

// Two ways through the default flow: by the mail, and past it to the password and a code.
var stops = map[string][]stop{
	"mail": {
		{name: "review", shows: "Check your details", answer: fixed(url.Values{"first_name": {"P"}, "last_name": {"Q"}})},
		{name: "confirm", shows: "already exists", answer: fixed(url.Values{"link": {"1"}})},
		{name: "mail", shows: "Look into your mailbox", answer: fixed(url.Values{"confirmed": {"1"}}), mail: true},
	},
	"password": {
		{name: "review", shows: "Check your details", answer: fixed(url.Values{"first_name": {"P"}, "last_name": {"Q"}})},
		{name: "confirm", shows: "already exists", answer: fixed(url.Values{"link": {"1"}})},
		{name: "mail", shows: "Look into your mailbox", answer: fixed(url.Values{"another": {"1"}})},
		{name: "choose provider", shows: "Continue with Demo", answer: fixed(url.Values{"another": {"1"}})},
		{name: "password", shows: `type="password"`, answer: func(n *newcomer) url.Values {
			return url.Values{"username": {n.name}, "password": {everybodysPassword}}
		}},
		{name: "second factor", shows: `name="code"`, answer: func(n *newcomer) url.Values { return url.Values{"code": {n.codes[0]}} }},
	},
}

// come goes to the first n stops of a way.
func (n *newcomer) come(way []stop) *brokertest.Page {
	n.t.Helper()
	return n.goOn(n.sane(n.browser.Get(n.origin+"/deep?a=1").Click("Other")), way)
}

func (n *newcomer) goOn(page *brokertest.Page, way []stop) *brokertest.Page {
	n.t.Helper()
	for _, s := range way {
		if page.URL.Path == "/deep" {
			break
		}
		if !strings.Contains(page.Body, s.shows) {
			n.t.Fatalf("not at %s, but at %s: status %d\n%s", s.name, page.URL, page.Status, page.Body)
		}
		if s.mail {
			n.confirm(page)
		}
		page = n.submit(page, s.answer(n))
	}
	return page
}

// again begins anew in the same browser, unless the page shows that it is over.
func (n *newcomer) again(way []stop) *brokertest.Page {
	n.t.Helper()
	page := n.sane(n.browser.Get(n.origin + "/deep?a=1"))
	if page.URL.Path == "/deep" {
		return page
	}
	return n.goOn(n.sane(page.Click("Other")), way)
}

// wantOne fails unless the browser is signed in as the person, who is there once and has one link with each provider.
func (n *newcomer) wantOne() {
	n.t.Helper()
	home := n.browser.Get(n.origin + "/")
	if home.URL.Path != "/" || home.Who().ID != n.name {
		n.t.Fatalf("not signed in as %s, but at %s\n%s", n.name, home.URL, home.Body)
	}
	links, err := n.store.LinksOf(n.t.Context(), n.name)
	if err != nil || len(links) != 2 {
		n.t.Errorf("links %+v, %v; want one with each provider", links, err)
	}
	for _, q := range []store.UserQuery{{Email: n.user.Email}, {Username: n.name + "b"}} {
		found, err := n.store.FindUsers(n.t.Context(), q)
		if err != nil || len(found) > 1 || len(found) == 1 && found[0].ID != n.name {
			n.t.Errorf("there are also %+v, %v", found, err)
		}
	}
}

func TestStateOfFirstLoginOverPostgres(t *testing.T) {
	t.Parallel()
	f := startFirstLogins(t)
	number := 0
	for _, event := range []struct {
		name string
		do   func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page
	}{
		{"nothing", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			return n.goOn(page, way[at:])
		}},
		{"refresh", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			return n.goOn(n.sane(n.browser.Get(page.URL.String())), way[at:])
		}},
		{"back", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			for i, old := range n.before {
				n.sane(n.browser.Get(old.URL.String()))
				n.sane(old.Submit(way[i].answer(n)))
			}
			return n.goOn(n.sane(n.browser.Get(page.URL.String())), way[at:])
		}},
		{"forward", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			end := n.goOn(page, way[at:])
			n.sane(n.browser.Get(page.URL.String()))
			n.sane(page.Submit(way[at].answer(n)))
			return end
		}},
		{"other tab", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			n.come(way[:at])
			return n.goOn(page, way[at:])
		}},
		{"other tab first", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			end := n.again(way)
			if page = n.submit(page, way[at].answer(n)); page.Status != http.StatusOK && page.Status != http.StatusConflict {
				n.t.Errorf("the first tab is told %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			return end
		}},
		{"other browser", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			stranger := brokertest.NewBrowser(n.t)
			if seen := stranger.Get(page.URL.String()); seen.Status != http.StatusConflict {
				n.t.Errorf("another browser sees the page: status %d\n%s", seen.Status, seen.Body)
			}
			_, form, _ := page.Form()
			if answered := stranger.Post(page.URL.String(), form, ""); answered.Status != http.StatusConflict {
				n.t.Errorf("another browser answers the page: status %d\n%s", answered.Status, answered.Body)
			}
			return n.goOn(page, way[at:])
		}},
		{"both nodes at once", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			if way[at].mail {
				n.confirm(page)
			}
			var clicks sync.WaitGroup
			for range 4 {
				clicks.Go(func() { n.sane(page.Submit(way[at].answer(n))) })
			}
			clicks.Wait()
			page = n.sane(n.browser.Get(page.URL.String()))
			for i, s := range way { // wherever that has led to
				if strings.Contains(page.Body, s.shows) && page.Status == http.StatusOK {
					return n.goOn(page, way[i:])
				}
			}
			n.codes = n.codes[1:]
			return n.again(way)
		}},
		{"expiry", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			n.late.Add(int64(41 * time.Minute))
			if page = n.submit(page, way[at].answer(n)); page.Status != http.StatusConflict || !strings.Contains(page.Body, "Start again") {
				n.t.Errorf("too late: status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			return n.again(way)
		}},
		{"cookies lost", func(n *newcomer, page *brokertest.Page, way []stop, at int) *brokertest.Page {
			lost := map[string]string{}
			for name := range n.browser.Cookies(n.origin + "/id") {
				lost[name] = "lost"
			}
			n.browser.SetCookies(n.origin+"/id", lost)
			if page = n.submit(page, way[at].answer(n)); page.Status != http.StatusConflict {
				n.t.Errorf("without cookies: status %d at %s\n%s", page.Status, page.URL, page.Body)
			}
			return n.again(way)
		}},
	} {
		for name, way := range stops {
			for at, s := range way {
				if name == "password" && at < 2 {
					continue // as by mail
				}
				number++
				t.Run(event.name+"/"+name+"/"+s.name, func(t *testing.T) { // one after the other: they share clocks and upstreams
					n := f.newcomer(t, number)
					page := event.do(n, n.come(way[:at]), way, at)
					if page.Status >= 400 {
						t.Errorf("ends with status %d at %s\n%s", page.Status, page.URL, page.Body)
					}
					n.wantOne()
				})
			}
		}
	}
}
