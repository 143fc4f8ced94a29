package broker_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// Every place that a first login can be at when something happens: two tables, of what is switched off and of what browsers and
// servers do, by these stations. Entrances of those who have signed in before are in brokertest.KillSwitch.

// A visit is somebody of Other who wants to be alice, in one browser.
type visit struct {
	*linkWorld
	browser *brokertest.Browser
	from    string // where the login begins
	codes   []string
	before  *brokertest.Page // the page before the one that is shown
}

// newVisit has alice with a second factor, and her namesake without a name, so that no step of the flow is passed over.
func newVisit(t *testing.T) *visit {
	t.Helper()
	l := newLinkWorld(t, nil)
	l.other.SetUser(providertest.User{Subject: "alice", Username: "alice2", Email: "alice@example.com", EmailVerified: true})
	codes, err := l.local().NewRecoveryCodes(t.Context(), l.alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	return &visit{linkWorld: l, browser: brokertest.NewBrowser(t), from: l.Origin + "/deep?a=1", codes: codes}
}

func (v *visit) submit(page *brokertest.Page, form url.Values) *brokertest.Page {
	v.t.Helper()
	v.before = page
	return v.sane(page.Submit(form))
}

// sane fails if the page is a failure of the broker.
func (v *visit) sane(page *brokertest.Page) *brokertest.Page {
	v.t.Helper()
	if page.Status >= http.StatusInternalServerError {
		v.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return page
}

// lastLink is the newest link in alice's mailbox.
func (v *visit) lastLink() string {
	v.t.Helper()
	links := v.box.links()
	if len(links) == 0 {
		v.t.Fatal("there is no mail")
	}
	return links[len(links)-1]
}

// A station is a place in the login, and the way on from there to its end.
type station struct {
	name  string
	reach func(v *visit) *brokertest.Page
	on    func(v *visit, p *brokertest.Page) *brokertest.Page
	shows string // on the page there
}

func upstreamPage(v *visit) *brokertest.Page {
	v.other.LoginAs("")
	defer v.other.LoginAs("alice")
	return v.browser.Get(v.from).Click("Other")
}

func reviewPage(v *visit) *brokertest.Page { return v.sane(v.browser.Get(v.from).Click("Other")) }

func confirmPage(v *visit) *brokertest.Page {
	return v.submit(reviewPage(v), reviewed)
}

func mailPage(v *visit) *brokertest.Page { return v.submit(confirmPage(v), press("link")) }

func proofPage(v *visit) *brokertest.Page {
	v.before = mailPage(v)
	return v.sane(v.browser.Get(v.lastLink()))
}

func choosePage(v *visit) *brokertest.Page { return v.submit(mailPage(v), press("another")) }

func witnessPage(v *visit) *brokertest.Page {
	v.op.LoginAs("")
	defer v.op.LoginAs("alice")
	return v.submit(choosePage(v), url.Values{"provider": {"demo"}})
}

func passwordPage(v *visit) *brokertest.Page { return v.submit(choosePage(v), press("another")) }

func codePage(v *visit) *brokertest.Page { return v.submit(passwordPage(v), answer("alice", password)) }

// byMail goes on from the page that a mail was sent, by every mail in another browser.
func byMail(v *visit, p *brokertest.Page) *brokertest.Page {
	for _, link := range v.box.links() {
		if confirm := v.sane(brokertest.NewBrowser(v.t).Get(link)); confirm.Status == http.StatusOK {
			v.sane(confirm.Submit(number(p)))
		}
	}
	return v.try(p, press("confirmed"))
}

// try submits the form if there is one.
func (v *visit) try(p *brokertest.Page, form url.Values) *brokertest.Page {
	v.t.Helper()
	if _, _, ok := p.Form(); !ok {
		return p
	}
	return v.submit(p, form)
}

// atUpstream signs in there, unless the upstream has let the browser pass.
func atUpstream(v *visit, p *brokertest.Page) *brokertest.Page {
	if strings.HasPrefix(p.URL.String(), v.Origin) {
		return p
	}
	return v.sane(v.browser.Post(p.URL.String(), url.Values{"user": {"alice"}}, ""))
}

// reviewed is the profile as it was, with what is missing.
var reviewed = url.Values{"username": {"alice2"}, "email": {"alice@example.com"}, "first_name": {"Alice"}, "last_name": {"L"}}

var stations = []station{
	{"away", upstreamPage, func(v *visit, p *brokertest.Page) *brokertest.Page {
		p = v.try(atUpstream(v, p), reviewed)
		return byMail(v, v.try(p, press("link")))
	}, ""},
	{"review", reviewPage, func(v *visit, p *brokertest.Page) *brokertest.Page {
		p = v.try(p, reviewed)
		return byMail(v, v.try(p, press("link")))
	}, "Check your details"},
	{"confirm", confirmPage, func(v *visit, p *brokertest.Page) *brokertest.Page { return byMail(v, v.try(p, press("link"))) }, "already exists"},
	{"mail", mailPage, byMail, "Look into your mailbox"},
	{"mailed link", proofPage, func(v *visit, p *brokertest.Page) *brokertest.Page { return v.try(p, nil) }, "Connect Other"},
	{"mail confirmed elsewhere", func(v *visit) *brokertest.Page {
		p := mailPage(v)
		v.sane(v.sane(brokertest.NewBrowser(v.t).Get(v.lastLink())).Submit(number(p)))
		return p
	}, func(v *visit, p *brokertest.Page) *brokertest.Page { return v.try(p, press("confirmed")) }, "Look into your mailbox"},
	{"choose provider", choosePage, func(v *visit, p *brokertest.Page) *brokertest.Page {
		return v.try(p, url.Values{"provider": {"demo"}})
	}, "Continue with Demo"},
	{"away at the witness", witnessPage, atUpstream, ""},
	{"password", passwordPage, func(v *visit, p *brokertest.Page) *brokertest.Page {
		return v.try(v.try(p, answer("alice", password)), url.Values{"code": {v.codes[0]}})
	}, `type="password"`},
	{"second factor", codePage, func(v *visit, p *brokertest.Page) *brokertest.Page {
		return v.try(p, url.Values{"code": {v.codes[0]}})
	}, `name="code"`},
}

// at goes to the station and fails if it does not get there.
func (s *station) at(v *visit) *brokertest.Page {
	v.t.Helper()
	page := s.reach(v)
	if page.Status != http.StatusOK || !strings.Contains(page.Body, s.shows) {
		v.t.Fatalf("not at %s: status %d at %s\n%s", s.name, page.Status, page.URL, page.Body)
	}
	return page
}

// What is switched off in the middle of a first login lets nobody in, whatever they prove then; and nothing is written.
func TestSwitchedOffInFirstLogin(t *testing.T) {
	t.Parallel()
	providers := func(edit func(demo, other *broker.Provider)) func(v *visit) {
		return func(v *visit) {
			v.reconfigure(v.setup(func(c *broker.Config) { edit(&c.Providers[0], &c.Providers[1]) }))
		}
	}
	client := func(edit func(c *broker.Config)) func(v *visit) {
		return func(v *visit) { v.reconfigure(v.setup(edit)) }
	}
	witnesses := []string{"choose provider", "away at the witness"}
	for _, row := range []struct {
		name string
		off  func(v *visit)
		only []string // the stations that hang on it; nil for all
		app  bool     // a login for the host does not hang on it
	}{
		{name: "nothing", off: func(*visit) {}, only: []string{}},
		{name: "provider disabled", off: providers(func(_, other *broker.Provider) { other.Disabled = true })},
		{name: "provider link-only", off: providers(func(_, other *broker.Provider) { other.LinkOnly = true })},
		{name: "provider removed", off: func(v *visit) {
			v.reconfigure(v.setup(func(c *broker.Config) { c.Providers = c.Providers[:1] }))
		}},
		{name: "witness disabled", off: providers(func(demo, _ *broker.Provider) { demo.Disabled = true }), only: witnesses},
		{name: "witness link-only", off: providers(func(demo, _ *broker.Provider) { demo.LinkOnly = true }), only: witnesses},
		{name: "witness removed", only: witnesses, off: func(v *visit) {
			v.reconfigure(v.setup(func(c *broker.Config) { c.Providers = c.Providers[1:] }))
		}},
		{name: "link with the witness deleted", only: witnesses, off: func(v *visit) {
			if err := v.store.DeleteLink(v.t.Context(), store.LinkKey{Provider: "demo", Issuer: v.op.Issuer(), Subject: "alice"}); err != nil {
				v.t.Fatal(err)
			}
		}},
		{name: "user disabled", off: func(v *visit) { v.editUser("alice", func(u *store.User) { u.Disabled = true }) }},
		{name: "user deleted", off: func(v *visit) { v.deleteUser("alice") }},
		{name: "client disabled", app: true, off: client(func(c *broker.Config) { c.Clients[0].Disabled = true })},
		{name: "client removed", app: true, off: client(func(c *broker.Config) { c.Clients = nil })},
		{name: "client no longer takes the provider's word", app: true, off: client(func(c *broker.Config) { c.Clients[0].Providers = []string{"demo"} })},
	} {
		for _, s := range stations {
			t.Run(row.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				v := newVisit(t)
				if v.from = v.Origin + "/deep?a=1"; row.app || row.only != nil {
					v.from = v.rp.LoginURL()
				}
				page := s.at(v)
				row.off(v)
				s.on(v, page)
				open := row.only != nil
				for _, name := range row.only {
					open = open && name != s.name
				}
				in := v.rp.Login().Subject == v.alice.ID
				if home := v.browser.Get(v.Origin + "/"); home.URL.Path == "/" {
					in = in || home.Who().ID == v.alice.ID // and not who is new, after she was deleted
				}
				if linked := v.linksOf(v.alice)["other"] > 0; in != open || linked != open {
					t.Errorf("signed in is %t and linked is %t, want %t", in, linked, open)
				}
				if n := v.users("alice2"); n > 0 && row.name != "user deleted" {
					t.Errorf("%d other users", n)
				}
			})
		}
	}
}

// Whatever browsers, clocks and servers do in the middle of a first login, whoever is in it can go on or start again, and ends as
// alice, who is there once and has one link.
func TestStateOfFirstLogin(t *testing.T) {
	t.Parallel()
	again := func(v *visit, s *station) *brokertest.Page { // from the start, to the end
		return s.on(v, s.at(v))
	}
	restart := func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
		v.t.Helper()
		for _, link := range page.Links() {
			if strings.Contains(link.Text, "Start again") || strings.Contains(link.Text, "Try again") {
				if begun := v.sane(page.Click(link.Text)); begun.Status >= 400 {
					v.t.Errorf("starting again leads to %d at %s\n%s", begun.Status, begun.URL, begun.Body)
				}
				return again(v, s)
			}
		}
		v.t.Fatalf("no way to start again: status %d at %s\n%s", page.Status, page.URL, page.Body)
		return nil
	}
	for _, event := range []struct {
		name string
		do   func(v *visit, s *station, page *brokertest.Page) *brokertest.Page
	}{
		{"nothing", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page { return s.on(v, page) }},
		{"refresh", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			for range 2 {
				page = v.sane(v.browser.Get(page.URL.String()))
			}
			return s.on(v, page)
		}},
		{"back", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			if v.before != nil {
				for _, form := range []url.Values{nil, press("link"), press("another"), press("confirmed")} {
					v.sane(v.before.Submit(form))
				}
				v.sane(v.browser.Get(v.before.URL.String()))
			}
			return s.on(v, v.sane(v.browser.Get(page.URL.String())))
		}},
		{"back to the upstream's answer", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			for _, u := range page.Trail {
				if strings.Contains(u, "/endpoint?") {
					v.sane(v.browser.Get(u))
				}
			}
			return s.on(v, page)
		}},
		{"forward", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			end := s.on(v, page)
			for _, form := range []url.Values{nil, press("link"), press("confirmed"), answer("alice", password), {"code": {v.codes[1]}}} {
				v.sane(v.try(page, form))
			}
			v.sane(v.browser.Get(page.URL.String()))
			return end
		}},
		{"other tab", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			v.sane(s.reach(v))
			return s.on(v, page)
		}},
		{"other tab first", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			end := again(v, s)
			v.sane(s.on(v, page))
			return end
		}},
		{"other browser", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			stranger := brokertest.NewBrowser(v.t)
			seen := v.sane(stranger.Get(page.URL.String()))
			if _, form, ok := page.Form(); ok && strings.HasPrefix(page.URL.Path, "/id/flow/") {
				if seen.Status != http.StatusConflict {
					v.t.Errorf("another browser sees the page: status %d\n%s", seen.Status, seen.Body)
				}
				v.sane(stranger.Post(page.URL.String(), form, ""))
			}
			v.wantSignedOut(stranger)
			return s.on(v, page)
		}},
		{"restart of the server", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			v.reconfigure(v.setup(nil))
			return s.on(v, page)
		}},
		{"other node", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			nodes := v.nodes(2)
			*v.Broker = *nodes[0]
			if s.shows != "" {
				page = v.sane(v.browser.Get(page.URL.String()))
			}
			*v.Broker = *nodes[1]
			return s.on(v, page)
		}},
		{"expiry", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			v.advance(41 * time.Minute)
			return restart(v, s, s.on(v, page))
		}},
		{"expiry, then refresh", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			v.advance(41 * time.Minute)
			if page = v.browser.Get(page.URL.String()); s.shows == "" {
				return restart(v, s, s.on(v, page))
			}
			return restart(v, s, page)
		}},
		{"cookies lost", func(v *visit, s *station, page *brokertest.Page) *brokertest.Page {
			if s.name == "mailed link" {
				return again(v, s)
			}
			lost := map[string]string{}
			for name := range v.browser.Cookies(v.URL) {
				lost[name] = "lost"
			}
			v.browser.SetCookies(v.URL, lost)
			return restart(v, s, s.on(v, page))
		}},
	} {
		for _, s := range stations {
			for _, nodes := range []string{"one node", "two nodes"} {
				if nodes == "two nodes" && (event.name == "restart of the server" || event.name == "other node") {
					continue // these are about nodes of their own
				}
				t.Run(event.name+"/"+s.name+"/"+nodes, func(t *testing.T) {
					t.Parallel()
					v := newVisit(t)
					if nodes == "two nodes" {
						v.twoNodes(v.setup(nil))
						v.from = v.Origin + "/deep?a=1"
					}
					page := event.do(v, &s, s.at(v))
					if page.Status >= 400 {
						t.Errorf("ends with status %d at %s\n%s", page.Status, page.URL, page.Body)
					}
					v.wantAlice()
				})
			}
		}
	}
}

// nodes returns brokers over the store that they all share.
func (v *visit) nodes(n int) (all []*broker.Broker) {
	v.t.Helper()
	c := v.config(v.setup(nil))
	for range n {
		b, err := broker.New(c)
		if err != nil {
			v.t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// wantAlice fails unless the browser is signed in as alice, who is there once and has one link with each provider.
func (v *visit) wantAlice() {
	v.t.Helper()
	home := v.browser.Get(v.Origin + "/")
	if home.URL.Path != "/" {
		v.t.Fatalf("not signed in, but at %s\n%s", home.URL, home.Body)
	}
	if who := home.Who(); who.ID != v.alice.ID {
		v.t.Errorf("signed in as %+v, want alice", who)
	}
	if n := v.linksOf(v.alice); n["other"] != 1 || n["demo"] != 1 {
		v.t.Errorf("alice has links %v, want one with each", n)
	}
	if n := v.users("alice", "alice2"); n != 1 {
		v.t.Errorf("%d users, want alice alone", n)
	}
}

// Of any number of clicks on the last page, on whatever nodes, one counts; and of any number of tabs that finish the same first
// login, one makes the user or the link.
func TestFirstLoginIsCommittedOnce(t *testing.T) {
	t.Parallel()
	const tabs = 6
	for _, s := range stations {
		if s.name != "mail confirmed elsewhere" && s.name != "password" && s.name != "second factor" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t)
			v.clickAtOnce([]tab{{s.at(v), v.browser}}, map[string]url.Values{
				"mail confirmed elsewhere": press("confirmed"), "password": answer("alice", password), "second factor": {"code": {v.codes[0]}},
			}[s.name])
			if n := v.linksOf(v.alice)["other"]; n > 1 || n == 0 && s.name != "password" {
				t.Errorf("alice has %d links with Other", n)
			}
			sessions, err := v.store.FindSessions(t.Context(), store.SessionQuery{UserID: v.alice.ID})
			if n := v.linksOf(v.alice)["other"]; len(sessions) != 1+n || err != nil { // one is from before
				t.Errorf("%d sessions, %v: more than one click has signed in", len(sessions), err)
			}
			if n := v.users("alice", "alice2"); n != 1 {
				t.Errorf("%d users, want alice alone", n)
			}
		})
	}
	for name, subject := range map[string]string{"tabs that create": "new", "tabs that link": "alice"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t)
			v.other.SetUser(providertest.User{Subject: "new", Username: "new", Email: "new@other.example"})
			v.other.LoginAs(subject)
			var open []tab
			for i := range tabs {
				if i%2 == 0 {
					v.browser = brokertest.NewBrowser(t)
				}
				form := url.Values{"first_name": {"A"}, "last_name": {"B"}}
				page := reviewPage(v)
				if subject == "alice" {
					page = v.submit(v.submit(v.submit(v.submit(page, form), press("link")), press("another")), press("another"))
					page = v.submit(page, answer("alice", password))
				}
				open = append(open, tab{page, v.browser})
			}
			form := url.Values{"first_name": {"A"}, "last_name": {"B"}, "code": {v.codes[0]}}
			v.clickAtOnce(open, form)
			links := v.linksOf(v.alice)["other"]
			if n := v.users("new"); subject == "new" && (n != 1 || links != 0) {
				t.Errorf("%d users, want one", n)
			}
			if n := v.users("alice", "alice2"); subject == "alice" && (n != 1 || links != 1) {
				t.Errorf("%d users and %d links, want alice with one", n, links)
			}
		})
	}
}

// A tab shows a page.
type tab struct {
	*brokertest.Page
	in *brokertest.Browser
}

// clickAtOnce answers the pages eight times each, at once, on two nodes.
func (v *visit) clickAtOnce(pages []tab, form url.Values) {
	v.t.Helper()
	nodes := v.nodes(2)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 8 * len(pages) {
		page := pages[i%len(pages)]
		_, fields, ok := page.Form()
		if !ok {
			v.t.Fatalf("no form at %s\n%s", page.URL, page.Body)
		}
		for name, values := range form {
			fields[name] = values
		}
		r := httptest.NewRequestWithContext(v.t.Context(), http.MethodPost, page.URL.String(), strings.NewReader(fields.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for name, value := range page.in.Cookies(page.URL.String()) {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		all.Go(func() {
			<-start
			w := httptest.NewRecorder()
			nodes[i%2].ServeHTTP(w, r)
			if w.Code >= http.StatusInternalServerError {
				v.t.Errorf("status %d\n%s", w.Code, w.Body)
			}
		})
	}
	close(start)
	all.Wait()
}

// Where the store fails, or the node dies, at any call of the store in the request that ends a first login, nobody is there twice:
// whoever comes again is alice, with one link.
func TestFirstLoginAndCrash(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		station string
		parts   bool // the store writes part by part
		form    func(v *visit) url.Values
	}{
		{"mail confirmed elsewhere", false, func(*visit) url.Values { return press("confirmed") }},
		{"mail confirmed elsewhere", true, func(*visit) url.Values { return press("confirmed") }},
		{"second factor", true, func(v *visit) url.Values { return url.Values{"code": {v.codes[0]}} }},
	} {
		s := stations[slices.IndexFunc(stations, func(s station) bool { return s.name == row.station })]
		review := stations[1]
		try := func(t *testing.T, plan func(storetest.Call) error) {
			v := newVisit(t)
			page := s.at(v)
			var below store.Store = v.store
			if row.parts {
				below = struct{ store.Store }{v.store}
			}
			v.reconfigure(v.setup(func(c *broker.Config) { c.Store = storetest.Faulty(below, plan) }))
			if end := page.Submit(row.form(v)); strings.Contains(end.Body, "on fire") {
				t.Errorf("the page tells what went wrong:\n%s", end.Body)
			}
			v.reconfigure(v.setup(nil))
			if page = v.sane(v.browser.Get(v.from)); page.URL.Path != "/deep" { // nobody was signed in
				if page = v.sane(page.Click("Other")); page.URL.Path != "/deep" { // nor linked
					review.on(v, page)
				}
			}
			v.wantAlice()
		}
		var calls []string
		try(t, func(c storetest.Call) error {
			if !c.After {
				calls = append(calls, c.Method)
			}
			return nil
		})
		if len(calls) < 5 {
			t.Fatalf("these are all calls: %q", calls)
		}
		for i, method := range calls {
			for name, fault := range map[string]error{"fails": errors.New("the store is on fire"), "kills": storetest.ErrDead} {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, parts %t, call %d %s %s, after %t", s.name, row.parts, i+1, method, name, after), func(t *testing.T) {
						t.Parallel()
						happened := false
						try(t, func(c storetest.Call) error {
							if c.Number != i+1 || c.After != after {
								return nil
							}
							happened = true
							return fault
						})
						if !happened {
							t.Error("the request went another way, and the fault did not happen")
						}
					})
				}
			}
		}
	}
}
