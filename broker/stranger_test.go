package broker_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// Somebody signs in with another's address, and the other, who owns the mailbox, presses every button of the mail that they get: in a
// browser that does not wait they have to know the number that the stranger's page shows.

// A strangersMail is one that mallory's login has sent to alice.
type strangersMail struct {
	name  string
	edit  func(*broker.Config)
	come  func(l *linkWorld, b *brokertest.Browser) *brokertest.Page // mallory, up to the page that waits
	mails func(l *linkWorld) []string
	taken func(l *linkWorld) bool // mallory has what they want
}

var strangersMails = []strangersMail{
	{
		name:  "link",
		come:  func(l *linkWorld, b *brokertest.Browser) *brokertest.Page { return l.comeByMail(b) },
		mails: func(l *linkWorld) []string { return l.box.links() },
		taken: func(l *linkWorld) bool { return l.linksOf(l.alice)["other"] > 0 },
	},
	{
		name: "address",
		edit: verified,
		come: func(l *linkWorld, b *brokertest.Browser) *brokertest.Page {
			// alice has no account, or another address there: nobody stands in mallory's way.
			l.editUser("alice", func(u *store.User) { u.Email = "alice@elsewhere.example" })
			return b.Get(l.Origin + "/deep").Click("Other")
		},
		mails: func(l *linkWorld) []string { return l.box.demands() },
		taken: func(l *linkWorld) bool {
			found, err := l.store.FindUsers(l.t.Context(), store.UserQuery{Email: "alice@example.com"})
			return err != nil || len(found) > 0
		},
	},
}

func eachStrangersMail(t *testing.T, try func(t *testing.T, s *strangersMail, l *linkWorld)) {
	t.Helper()
	for _, s := range strangersMails {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			l := newLinkWorld(t, s.edit)
			l.other.SetUser(providertest.User{Subject: "mallory", Username: "mallory", Email: "alice@example.com", EmailVerified: true, Name: "M"})
			l.other.LoginAs("mallory")
			try(t, &s, l)
		})
	}
}

// wantNothing fails if the login goes on that waits in the browser.
func (s *strangersMail) wantNothing(l *linkWorld, mallory *brokertest.Browser, waiting *brokertest.Page) {
	l.t.Helper()
	shows(l.t, mallory.Get(waiting.URL.String()).Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
	if s.taken(l) {
		l.t.Error("mallory got it")
	}
}

func (s *strangersMail) newest(l *linkWorld) string {
	l.t.Helper()
	all := s.mails(l)
	if len(all) == 0 {
		l.t.Fatal("there is no mail")
	}
	return all[len(all)-1]
}

// other is a number, and not the one that the page shows.
func other(waiting *brokertest.Page) url.Values {
	shown := number(waiting).Get("number")
	if shown == "0000" {
		return url.Values{"number": {"1111"}}
	}
	return url.Values{"number": {"0000"}}
}

func TestStrangersMailNeedsTheNumber(t *testing.T) {
	t.Parallel()
	eachStrangersMail(t, func(t *testing.T, s *strangersMail, l *linkWorld) {
		mallory := brokertest.NewBrowser(t)
		waiting := s.come(l, mallory)
		alice := brokertest.NewBrowser(t)
		confirm := alice.Get(s.newest(l))
		shows(t, confirm, http.StatusOK, `name="number"`)
		if shown := number(waiting).Get("number"); shown == "" || strings.Contains(confirm.Body, ">"+shown+"<") || strings.Contains(confirm.Body, `"`+shown+`"`) {
			t.Fatalf("the number is %q, and the mail's page is\n%s", shown, confirm.Body)
		}
		for _, typed := range []url.Values{nil, {}, {"number": {""}}, {"number": {"  "}}, nil, nil} { // no tries
			shows(t, confirm.Submit(typed), http.StatusOK, `name="number"`, "Please type the number")
			s.wantNothing(l, mallory, waiting)
		}
		for range 2 {
			shows(t, confirm.Submit(other(waiting)), http.StatusOK, `name="number"`, "This is not the number")
			s.wantNothing(l, mallory, waiting)
		}
		shows(t, confirm.Submit(other(waiting)), http.StatusGone, "no longer valid")
		for _, page := range []*brokertest.Page{alice.Get(s.newest(l)), confirm.Submit(number(waiting)), mallory.Get(s.newest(l))} {
			shows(t, page, http.StatusGone, "no longer valid") // it is over, whatever comes now, and in whatever browser
		}
		s.wantNothing(l, mallory, waiting)

		// Who has mistyped their own number asks for another mail.
		waiting = mallory.Get(waiting.URL.String()).Submit(press("resend"))
		shows(t, alice.Get(s.newest(l)).Submit(number(waiting)), http.StatusOK, "Go back to the browser")
		if page := waiting.Submit(press("confirmed")); page.URL.Path != "/deep" {
			t.Errorf("with the right number: status %d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
}

// A login of alice's own that waits in her browser does not confirm mallory's, nor does her number.
func TestStrangersMailAndOwnLogin(t *testing.T) {
	t.Parallel()
	eachStrangersMail(t, func(t *testing.T, s *strangersMail, l *linkWorld) {
		mallory := brokertest.NewBrowser(t)
		waiting := s.come(l, mallory)
		strange := s.newest(l)
		l.other.SetUser(providertest.User{Subject: "alice", Username: "alicia", Email: "alice@example.com", EmailVerified: true, Name: "A"})
		l.other.LoginAs("alice")
		alice := brokertest.NewBrowser(t)
		own := s.come(l, alice)
		for number(own).Get("number") == number(waiting).Get("number") { // once in ten thousand runs
			own = s.come(l, alice)
		}
		confirm := alice.Get(strange)
		shows(t, confirm, http.StatusOK, `name="number"`)
		shows(t, confirm.Submit(nil), http.StatusOK, "Please type the number")
		shows(t, confirm.Submit(number(own)), http.StatusOK, "This is not the number")
		s.wantNothing(l, mallory, waiting)
		page := alice.Get(s.newest(l))
		if strings.Contains(page.Body, `name="number"`) {
			t.Error("in the browser that waits, the number is asked for")
		}
		if page = page.Submit(nil); page.URL.Path != "/deep" {
			t.Errorf("her own: status %d at %s\n%s", page.Status, page.URL, page.Body)
		}
	})
}

// What waits in a browser is known by its cookie alone: that its address is known does not make another browser it.
func TestStrangersMailAndAddressOfTheLogin(t *testing.T) {
	t.Parallel()
	eachStrangersMail(t, func(t *testing.T, s *strangersMail, l *linkWorld) {
		mallory := brokertest.NewBrowser(t)
		waiting := s.come(l, mallory)
		link, err := url.Parse(s.newest(l))
		if err != nil {
			t.Fatal(err)
		}
		alice := brokertest.NewBrowser(t)
		alice.Get(waiting.URL.String())
		form := link.Query()
		form.Set("journey", waiting.URL.Path[strings.LastIndex(waiting.URL.Path, "/")+1:])
		form.Set("turn", "1")
		form.Set("confirmed", "1")
		shows(t, alice.Post(l.URL+"/proof", form, ""), http.StatusOK, "Please type the number")
		s.wantNothing(l, mallory, waiting)
	})
}
