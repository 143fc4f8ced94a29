package broker_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// Random walks through whole brokers, over HTTP: alice and mallory both come from Other with her address. The many walks, and the
// model in full, are in flow/firstlogin; here it is the broker's own cookies, journeys, mailed links and commits that are walked.

// How many worlds there are, walks in each, and moves in a walk.
const (
	walkWorlds = 20
	walksEach  = 12
	walkMoves  = 14
)

// A walker is somebody in a browser of their own.
type walker struct {
	name     string // alice or mallory
	browser  *brokertest.Browser
	subject  string // at Other
	page     *brokertest.Page
	old      []*brokertest.Page
	password bool // has given the right one, and the right code
	code     bool
	provider bool // has been at Demo as alice
	mailed   bool // alice has confirmed a mail for them
}

// A mail has a link for the login of one of them.
type mail struct {
	link string
	to   *walker
}

// A stroll is one walk of both.
type stroll struct {
	*linkWorld
	dice    *rand.Rand
	walkers []*walker
	codes   []string
	off     bool // Other is switched off
	mails   []mail
	fault   string               // what must not have happened
	hole    func(*broker.Config) // that is planted
	trace   []string
}

func (s *stroll) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *stroll) wrong(format string, args ...any) {
	if s.fault == "" {
		s.fault = fmt.Sprintf(format, args...)
	}
}

func TestWalksOverHTTP(t *testing.T) {
	t.Parallel()
	for n := range walkWorlds {
		t.Run(fmt.Sprint("world ", n), func(t *testing.T) {
			t.Parallel()
			l := newLinkWorld(t, nil)
			linked := 0
			for i := range walksEach {
				s := newStroll(l, n*walksEach+i)
				linked += s.walk(i)
				if s.fault != "" {
					t.Fatalf("%s\n%s", s.fault, strings.Join(s.trace, "\n"))
				}
			}
			if linked == 0 {
				t.Error("no walk gets anywhere")
			}
		})
	}
}

// What finds nothing where there is something proves nothing.
func TestWalksOverHTTPFindPlantedHoles(t *testing.T) {
	t.Parallel()
	found := firstlogin.Default()
	existing := found[1].Sub[1].Sub
	existing[1].Sub = append(flow.Flow{{ID: "set", When: flow.Alternative, Do: firstlogin.InsecureSetExisting{}}}, existing[1].Sub...)
	oneFactor := firstlogin.Default()
	ways := oneFactor[1].Sub[1].Sub[1].Sub
	ways[2].Sub = ways[2].Sub[:1]
	for name, f := range map[string]flow.Flow{"an account that was only found": found, "no second factor": oneFactor} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinkWorld(t, nil)
			hole := func(c *broker.Config) { c.FirstLogin = f }
			l.reconfigure(l.setup(hole))
			for i := range 4 * walksEach {
				s := newStroll(l, i)
				s.hole = hole
				if s.walk(i); strings.Contains(s.fault, "has proved nothing") {
					return
				}
			}
			t.Error("it was not found")
		})
	}
}

func newStroll(l *linkWorld, seed int) *stroll {
	return &stroll{linkWorld: l, dice: rand.New(rand.NewPCG(20300101, uint64(seed))), hole: func(*broker.Config) {}}
}

func (s *stroll) walk(number int) (linked int) {
	s.advance(61 * time.Minute) // what was guessed and mailed is forgotten
	s.editUser("alice", func(u *store.User) { u.Disabled = false })
	codes, err := s.local().NewRecoveryCodes(s.t.Context(), s.alice.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	s.codes = codes
	for _, name := range []string{"alice", "mallory"} {
		w := &walker{name: name, browser: brokertest.NewBrowser(s.t), subject: fmt.Sprint(name, number)}
		s.other.SetUser(providertest.User{
			Subject: w.subject, Username: w.subject, Email: "alice@example.com", EmailVerified: true, Name: name,
		})
		s.walkers = append(s.walkers, w)
	}
	old := len(s.box.links())
	for n := 0; n < walkMoves && s.fault == ""; n++ {
		w := s.walkers[s.dice.IntN(2)]
		s.move(w)
		for _, link := range s.box.links()[old+len(s.mails):] {
			s.mails = append(s.mails, mail{link, w})
		}
		s.check()
	}
	if s.off {
		s.switchOther(false)
	}
	for _, w := range s.walkers {
		if s.linkOf(w) != nil {
			linked++
		}
	}
	return linked
}

func (s *stroll) move(w *walker) {
	n := s.dice.IntN(100)
	switch {
	case w.page == nil || n < 5:
		s.begin(w)
	case n < 20 && len(s.mails) > 0:
		s.open(s.mails[s.dice.IntN(len(s.mails))])
	case n < 27:
		s.happen()
	case n < 34 && len(w.old) > 0:
		old := w.old[s.dice.IntN(len(w.old))]
		s.note("%s goes back to %s", w.name, kindOf(old))
		s.show(w, s.submit(old, s.anything()))
	case n < 38:
		s.note("%s reloads", w.name)
		s.show(w, w.browser.Get(w.page.URL.String()))
	case n < 42:
		other := s.walkers[s.dice.IntN(2)]
		if other.page != nil {
			s.note("%s opens the page of %s", w.name, other.name)
			s.show(w, w.browser.Get(other.page.URL.String()))
		}
	case n < 55:
		s.answer(w, s.anything())
	default:
		s.answer(w, s.sensible(w))
	}
}

var pageKind = regexp.MustCompile(`class="page-([a-z-]+)"`)

// kindOf returns what page it is, "" for one of the host.
func kindOf(p *brokertest.Page) string {
	if m := pageKind.FindStringSubmatch(p.Body); m != nil {
		return m[1]
	}
	return ""
}

func (s *stroll) show(w *walker, p *brokertest.Page) {
	s.t.Helper()
	s.note("  %d %s at %s", p.Status, kindOf(p), p.URL.Path)
	if p.Status >= http.StatusInternalServerError {
		s.wrong("status %d at %s\n%s", p.Status, p.URL, p.Body)
	}
	if w.page != nil {
		w.old = append(w.old, w.page)
	}
	w.page = p
}

func (s *stroll) begin(w *walker) {
	s.note("%s begins", w.name)
	s.other.LoginAs(w.subject)
	page := w.browser.Get(s.Origin + "/")
	if page.URL.Path != "/" {
		if s.off {
			return
		}
		page = page.Click("Other")
	}
	s.show(w, page)
}

func (s *stroll) submit(p *brokertest.Page, form url.Values) *brokertest.Page {
	if _, _, ok := p.Form(); !ok {
		return p
	}
	return p.Submit(form)
}

// answer answers the page that is shown, and keeps account of what that proves.
func (s *stroll) answer(w *walker, form url.Values) {
	kind := kindOf(w.page)
	s.note("%s answers %s: %v", w.name, kind, form)
	switch {
	case kind == "password" && form.Get("password") == password:
		w.password = true
	case kind == "recovery" && form.Get("code") == s.codes[0]:
		w.code = true
	case kind == "choose-provider" && form.Get("provider") == "demo" && w.name == "alice":
		w.provider = true
	}
	if kind == "choose-provider" && w.name != "alice" { // at Demo, mallory is bob
		s.op.LoginAs("bob")
		defer s.op.LoginAs("alice")
	}
	s.other.LoginAs(w.subject)
	s.show(w, s.submit(w.page, form))
	if kind == "recovery" && kindOf(w.page) != "recovery" {
		s.codes = append(s.codes[1:], "none left")
	}
}

func (s *stroll) sensible(w *walker) url.Values {
	n := s.dice.IntN(10)
	switch kindOf(w.page) {
	case "confirm-link":
		return press([]string{"link", "review"}[n/9])
	case "review":
		return url.Values{"email": {[]string{"alice@example.com", w.subject + "@other.example"}[n/8]}}
	case "verify-email":
		return press([]string{"confirmed", "another", "resend"}[min(n/4, 2)])
	case "choose-provider":
		if n < 5 {
			return url.Values{"provider": {"demo"}}
		}
		return press("another")
	case "password":
		if w.name == "alice" {
			return answer("alice", password)
		}
		return answer("alice", "a guess")
	case "recovery":
		if w.name == "alice" {
			return url.Values{"code": {s.codes[0]}}
		}
		return url.Values{"code": {"0000-0000-0000-0000"}}
	}
	return nil
}

func (s *stroll) anything() url.Values {
	all := []url.Values{
		{}, press("link"), press("review"), press("confirmed"), press("resend"), press("another"), press("replace"), {"turn": {"x"}},
		{"provider": {"other"}}, {"code": {"1"}}, answer("alice", ""), answer("", "a guess"), {"email": {"alice@example.com"}, "username": {"alice"}},
	}
	return all[s.dice.IntN(len(all))]
}

// open is alice with a mail: in her browser or in another one. She presses every button, whoever has asked for it, and types in the
// number that her own browser shows, if it shows one.
func (s *stroll) open(m mail) {
	alice := s.walkers[0]
	b := alice.browser
	if s.dice.IntN(2) == 0 {
		b = brokertest.NewBrowser(s.t)
	}
	page := b.Get(m.link)
	s.note("alice opens a mail for %s: %d %s", m.to.name, page.Status, kindOf(page))
	if page.Status == http.StatusOK {
		// What mallory has asked for she cannot confirm, however much she wants to.
		m.to.mailed = m.to.mailed || m.to == alice
		typed := url.Values{"number": {"a guess"}}
		if alice.page != nil && s.dice.IntN(6) > 0 {
			typed = number(alice.page)
		}
		page = page.Submit(typed)
	}
	if b == alice.browser {
		s.show(alice, page)
	} else if page.Status >= http.StatusInternalServerError {
		s.wrong("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}

func (s *stroll) switchOther(off bool) {
	s.off = off
	s.note("restart; Other is off: %t", off)
	s.reconfigure(s.setup(func(c *broker.Config) {
		c.Providers[1].Disabled = off
		s.hole(c)
	}))
}

// happen is what nobody in a browser does.
func (s *stroll) happen() {
	switch s.dice.IntN(5) {
	case 0:
		d := []time.Duration{time.Minute, 16 * time.Minute, 41 * time.Minute}[s.dice.IntN(3)]
		s.note("%s pass", d)
		s.advance(d)
	case 1:
		s.editUser("alice", func(u *store.User) { u.Disabled = !u.Disabled })
		s.note("alice is disabled or not any more")
	case 2:
		s.switchOther(!s.off)
	case 3:
		s.switchOther(s.off) // a restart
	case 4:
		w := s.walkers[s.dice.IntN(2)]
		if l := s.linkOf(w); l != nil {
			s.note("the link of %s is deleted", w.name)
			if err := s.store.DeleteLink(s.t.Context(), l.LinkKey); err != nil {
				s.t.Fatal(err)
			}
			w.password, w.code, w.provider, w.mailed = false, false, false, false
		}
	}
}

func (s *stroll) linkOf(w *walker) *store.Link {
	l, err := s.store.Link(s.t.Context(), store.LinkKey{Provider: "other", Issuer: s.other.Issuer(), Subject: w.subject})
	if err != nil {
		return nil
	}
	return l
}

// check looks at all that there is.
func (s *stroll) check() {
	s.t.Helper()
	alice := s.named("alice")
	if !alice.EmailVerified || alice.Email != "alice@example.com" {
		s.wrong("alice is %+v", alice)
	}
	if found, err := s.store.FindUsers(s.t.Context(), store.UserQuery{Email: alice.Email}); len(found) != 1 || err != nil {
		s.wrong("%d users have her address, %v", len(found), err)
	}
	for _, w := range s.walkers {
		l := s.linkOf(w)
		if l != nil && l.UserID == alice.ID && !w.mailed && !w.provider && !(w.password && w.code) {
			s.wrong("%s is linked to alice, and has proved nothing", w.name)
		}
		home := w.browser.Get(s.Origin + "/")
		if home.URL.Path != "/" {
			continue
		}
		switch who := home.Who(); {
		case s.off && who.Provider == "other":
			s.wrong("%s has a session by a provider that is off", w.name)
		case l == nil:
			s.wrong("%s has a session as %s, and no link", w.name, who.ID)
		case l.UserID != who.ID:
			s.wrong("%s is linked to %s, and signed in as %s", w.name, l.UserID, who.ID)
		case who.ID == alice.ID && alice.Disabled:
			s.wrong("%s has a session as alice, who is disabled", w.name)
		case who.ID != alice.ID && who.Verified:
			s.wrong("the address of %s counts as verified", who.ID)
		}
	}
}
