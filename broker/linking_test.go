package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// The rows of first logins that need HTTP: who comes with whose address, and what they have to prove. Rows 1 to 5, 8, 22, 26 and 30
// to 32 are in flow/firstlogin; row 31, as a required action, is in verifyemail_test.go, and 15 and 16 (a reset password) in locallogin_test.go.

// A mailbox takes every mail, or refuses it.
type mailbox struct {
	mu   sync.Mutex
	sent []broker.Message
	err  error
	news chan struct{}
}

func newMailbox() *mailbox { return &mailbox{news: make(chan struct{}, 100)} }

func (m *mailbox) Send(_ context.Context, msg *broker.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.sent = append(m.sent, *msg)
	m.news <- struct{}{}
	return nil
}

func (m *mailbox) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// with returns the mails whose subject has this in it.
func (m *mailbox) with(subject string) []broker.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []broker.Message
	for _, msg := range m.sent {
		if strings.Contains(msg.Subject, subject) {
			found = append(found, msg)
		}
	}
	return found
}

var proofLink = regexp.MustCompile(`http\S+/proof\?link=\S+`)

var shownNumber = regexp.MustCompile(`class="code digits" dir="ltr">([0-9]( [0-9]){3})<`)

// number is what to type in elsewhere: the number that the page shows on which a login waits; nil if it shows none.
func number(waiting *brokertest.Page) url.Values {
	if m := shownNumber.FindStringSubmatch(waiting.Body); m != nil {
		return url.Values{"number": {strings.ReplaceAll(m[1], " ", "")}}
	}
	return nil
}

// links returns the addresses of the links that were mailed, oldest first.
func (m *mailbox) links() (all []string) {
	for _, msg := range m.with("Link ") {
		all = append(all, proofLink.FindString(msg.Text))
	}
	return all
}

// A linkWorld is one in which alice of Demo is a user, and somebody with her address, verified, comes from Other.
type linkWorld struct {
	*world
	box   *mailbox
	alice *store.User
}

// newLinkWorld has the default flow, credentials and, unless edit takes it away, a mailer; Demo is trusted for e-mail.
func newLinkWorld(t *testing.T, edit func(*broker.Config)) *linkWorld {
	t.Helper()
	l := &linkWorld{world: newWorld(t, nil), box: newMailbox()}
	l.reconfigure(l.setup(edit))
	l.login("Demo")
	l.alice = l.named("alice")
	l.setPassword(l.alice, password)
	l.other.LoginAs("alice")
	return l
}

func (l *linkWorld) setup(edit func(*broker.Config)) func(*broker.Config) {
	return func(c *broker.Config) {
		c.Credentials, c.Mailer, c.Passwords = l.store, l.box, &factor.Passwords{Memory: 8, Time: 1}
		c.Providers[0].TrustEmail = true
		if edit != nil {
			edit(c)
		}
	}
}

func (l *linkWorld) setPassword(u *store.User, password string) {
	l.t.Helper()
	hash, err := l.local().Passwords.Hash(l.t.Context(), password)
	if err == nil {
		err = l.local().SetPassword(l.t.Context(), u.ID, hash, false)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func noMailer(c *broker.Config) { c.Mailer = nil }

func press(name string) url.Values { return url.Values{name: {"1"}} }

// come is somebody from Other up to the page that says that the account exists.
func (l *linkWorld) come(b *brokertest.Browser) *brokertest.Page {
	l.t.Helper()
	page := b.Get(l.Origin + "/deep?a=1").Click("Other")
	shows(l.t, page, http.StatusOK, "already exists")
	return page
}

// comeByMail is the same up to the page that says that a mail was sent.
func (l *linkWorld) comeByMail(b *brokertest.Browser) *brokertest.Page {
	l.t.Helper()
	page := l.come(b).Submit(press("link"))
	shows(l.t, page, http.StatusOK, "Look into your mailbox")
	return page
}

// comeByPassword is the same up to the form for the password.
func (l *linkWorld) comeByPassword(b *brokertest.Browser) *brokertest.Page {
	l.t.Helper()
	page := l.come(b).Submit(press("link"))
	for !strings.Contains(page.Body, `type="password"`) {
		if !strings.Contains(page.Body, `name="another"`) {
			l.t.Fatalf("no way to the password at %s:\n%s", page.URL, page.Body)
		}
		page = page.Submit(press("another"))
	}
	return page
}

// linksOf returns how many links the user has with each provider.
func (l *linkWorld) linksOf(u *store.User) map[string]int {
	l.t.Helper()
	links, err := l.store.LinksOf(l.t.Context(), u.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	n := map[string]int{}
	for _, link := range links {
		n[link.Provider]++
	}
	return n
}

// wantNoLink fails if alice can be signed in to by Other, or if the browser is signed in.
func (l *linkWorld) wantNoLink(b *brokertest.Browser) {
	l.t.Helper()
	if n := l.linksOf(l.alice)["other"]; n != 0 {
		l.t.Errorf("alice has %d links with Other, want none", n)
	}
	if b.Get(l.Origin+"/").URL.Path == "/" {
		l.t.Error("the browser is signed in")
	}
}

// wantLinked fails unless the page is the host's, for alice, who has one link with Other.
func (l *linkWorld) wantLinked(page *brokertest.Page) {
	l.t.Helper()
	if page.Status != http.StatusOK || page.URL.Path != "/deep" {
		l.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if who := page.Who(); who.ID != l.alice.ID {
		l.t.Errorf("signed in as %+v, want alice", who)
	}
	if n := l.linksOf(l.alice)["other"]; n != 1 {
		l.t.Errorf("alice has %d links with Other, want one", n)
	}
	if n := l.users("alice", "alice2"); n != 1 {
		l.t.Errorf("there are %d users of alice's names, want her alone", n)
	}
}

func TestRow06EmailDuplicate(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := l.come(b)
	shows(t, page, http.StatusOK, "account with this e‑mail address", "Other")
	for _, secret := range []string{"alice@example.com", "Liddell", l.alice.ID, "Demo"} {
		if strings.Contains(page.Body, secret) {
			t.Errorf("the page says %q: whose account it is, nobody is told", secret)
		}
	}
	// Empty, made-up and repeated answers do nothing.
	for _, form := range []url.Values{{}, press("replace"), press("confirmed"), {"turn": {"x"}}} {
		page.Submit(form)
		l.wantNoLink(b)
	}
}

func TestRow07UsernameDuplicate(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.other.LoginAs("twin") // is called alice, too
	b := brokertest.NewBrowser(t)
	page := l.come(b)
	shows(t, page, http.StatusOK, "account with this user name")
	page = page.Submit(press("link"))
	if len(l.box.links()) != 0 || strings.Contains(page.Body, "Demo") && !strings.Contains(page.Body, "Continue with Demo") {
		t.Errorf("a username made the broker send %d mails, or tell:\n%s", len(l.box.links()), page.Body)
	}
	l.wantNoLink(b)
}

func TestRow09ReviewAgain(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("review"))
	shows(t, page, http.StatusOK, "Check your details", `value="alice@example.com"`)
	page = page.Submit(url.Values{"email": {"Mine@Other.Example"}})
	if page.URL.Path != "/deep" {
		t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	u := l.named("alice2")
	if u.Email != "mine@other.example" || u.EmailVerified || u.ID == l.alice.ID {
		t.Errorf("got %+v, want another user with the address that was put in, not verified", u)
	}
}

func TestRow10NoReviewButton(t *testing.T) {
	t.Parallel()
	f := firstlogin.Default()
	f[0].When = flow.Disabled
	l := newLinkWorld(t, func(c *broker.Config) { c.FirstLogin = f })
	b := brokertest.NewBrowser(t)
	page := l.come(b)
	if strings.Contains(page.Body, `name="review"`) {
		t.Errorf("the page offers a step that is disabled:\n%s", page.Body)
	}
	shows(t, page.Submit(press("review")), http.StatusOK, "already exists")
	l.wantNoLink(b)
}

func TestRow11LinkByPassword(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	l.wantLinked(l.comeByPassword(brokertest.NewBrowser(t)).Submit(answer("alice", password)))
	if n := l.linksOf(l.alice); n["demo"] != 1 {
		t.Errorf("links %v: the one with Demo is gone", n)
	}
	if kinds, err := l.local().Kinds(t.Context(), l.alice.ID); len(kinds) != 1 || err != nil {
		t.Errorf("alice proved her password, and has credentials %v, %v", kinds, err)
	}
}

func TestRow12AnotherUserProves(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	bob := &store.User{ID: "bob", Username: "bob", Email: "bob@example.com"}
	if err := l.store.CreateUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	l.setPassword(bob, "bob's own password")
	page := l.comeByPassword(brokertest.NewBrowser(t)).Submit(answer("bob", "bob's own password"))
	if who := page.Who(); who.ID != bob.ID || l.linksOf(bob)["other"] != 1 || l.linksOf(l.alice)["other"] != 0 {
		t.Errorf("signed in as %+v; bob has links %v, alice %v", who, l.linksOf(bob), l.linksOf(l.alice))
	}
}

func TestRow13NobodyProves(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	b := brokertest.NewBrowser(t)
	page := l.comeByPassword(b).Submit(answer("nobody", password))
	shows(t, page, http.StatusOK, `id="password-error"`)
	l.wantNoLink(b)
}

// That other ways in stay open while a password is locked is decided in the package factor: strangers would lock users out.
func TestRow14WrongPassword(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	b := brokertest.NewBrowser(t)
	page := l.comeByPassword(b)
	for range 6 {
		page = page.Submit(answer("alice", "a guess"))
		shows(t, page, http.StatusOK, `id="password-error"`)
	}
	shows(t, page.Submit(answer("alice", password)), http.StatusOK, `id="password-error"`) // locked
	l.wantNoLink(b)
	// Unlike Keycloak, only what is guessed is locked: strangers who guess keep nobody from their own provider.
	if who := l.login("Demo").Get(l.Origin + "/").Who(); who.ID != l.alice.ID {
		t.Errorf("by her own provider, alice is %+v", who)
	}
}

func TestRow17MailInTheSameBrowser(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	l.comeByMail(b)
	mails := l.box.with("Link Other")
	if len(mails) != 1 || mails[0].To != "alice@example.com" || !strings.Contains(mails[0].Text, "alice2 (alice@example.com)") {
		t.Fatalf("mails %+v, want one to alice's own address that names who it was", mails)
	}
	page := b.Get(l.box.links()[0])
	shows(t, page, http.StatusOK, "Connect Other", "as alice2 (alice@example.com)", "“alice”")
	if strings.Contains(page.Body, "removed") {
		t.Error("nothing is removed of an account whose address is verified")
	}
	l.wantNoLink(b) // GET changes nothing
	l.wantLinked(page.Submit(nil))
	if !l.named("alice").EmailVerified {
		t.Error("the address is not verified")
	}
	<-l.box.news
	<-l.box.news
	if told := l.box.with("was linked to"); len(told) != 1 || told[0].To != "alice@example.com" {
		t.Errorf("alice was told %+v", told)
	}
}

func TestRow18MailInAnotherBrowser(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	first, second := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	waiting := l.comeByMail(first)
	shows(t, waiting.Submit(press("confirmed")), http.StatusOK, "not confirmed yet")
	waiting = first.Get(waiting.URL.String())
	page := second.Get(l.box.links()[0])
	l.wantNoLink(second)
	page = page.Submit(number(waiting))
	shows(t, page, http.StatusOK, "Go back to the browser")
	l.wantNoLink(second) // and it is not signed in
	l.wantLinked(waiting.Submit(press("confirmed")))
	l.wantSignedOut(second)
}

func (l *linkWorld) wantSignedOut(b *brokertest.Browser) {
	l.t.Helper()
	if b.Get(l.Origin+"/").URL.Path == "/" {
		l.t.Error("the browser is signed in")
	}
}

func TestRow19LinkUsedTwice(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	first, second := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	typed := number(l.comeByMail(first))
	confirm := second.Get(l.box.links()[0])
	confirm.Submit(typed)
	shows(t, second.Get(l.box.links()[0]), http.StatusConflict, "confirmed already")
	shows(t, confirm.Submit(typed), http.StatusConflict, "confirmed already")
	l.wantNoLink(second)
}

// Of 32 clicks at once one counts.
func TestRow19Race(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	typed := number(l.comeByMail(brokertest.NewBrowser(t)))
	link, err := url.Parse(l.box.links()[0])
	if err != nil {
		t.Fatal(err)
	}
	form := link.Query()
	maps.Copy(form, typed)
	var all sync.WaitGroup
	statuses := make(chan int, 32)
	for range cap(statuses) {
		all.Go(func() {
			r := send(t, http.MethodPost, l.URL+"/proof", form, nil)
			statuses <- r.StatusCode
		})
	}
	all.Wait()
	close(statuses)
	n := map[int]int{}
	for s := range statuses {
		n[s]++
	}
	// Who comes when three are at it already is told that it is of no use any more.
	if n[http.StatusOK] != 1 || n[http.StatusConflict]+n[http.StatusGone] != 31 {
		t.Errorf("answers by status %v, want one 200 and 31 409 or 410", n)
	}
}

func TestRow20Resend(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := l.comeByMail(b)
	typed := number(page)
	for range 3 {
		page = b.Get(page.URL.String())
	}
	if n := len(l.box.links()); n != 1 {
		t.Fatalf("%d mails after refreshing, want one", n)
	}
	page = page.Submit(press("resend"))
	if n := len(l.box.links()); n != 2 {
		t.Fatalf("%d mails after one was asked for, want two", n)
	}
	for range 10 {
		page = page.Submit(press("resend"))
	}
	shows(t, page, http.StatusOK, "several mails already")
	if n := len(l.box.links()); n != 5 {
		t.Errorf("%d mails, want five at most", n)
	}
	// The oldest still works, and then the others do nothing.
	l.wantLinked(b.Get(l.box.links()[0]).Submit(nil))
	other := brokertest.NewBrowser(t)
	late := other.Get(l.box.links()[1]).Submit(typed)
	if late.Status < 400 {
		t.Errorf("an older mail: status %d at %s, want that it is of no use any more", late.Status, late.URL)
	}
	l.wantSignedOut(other)
}

// However many logins somebody begins, an account gets ten mails an hour.
func TestMailsOfAnAccountAreBounded(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	for range 12 {
		l.come(brokertest.NewBrowser(t)).Submit(press("link"))
	}
	if n := len(l.box.links()); n != 10 {
		t.Errorf("%d mails, want ten", n)
	}
	l.advance(61 * time.Minute)
	l.comeByMail(brokertest.NewBrowser(t))
}

// Who tries each way in turn comes back to the question and then to the first, without another mail, and finds there what was
// confirmed meanwhile.
func TestAnotherWayGoesRound(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := l.comeByMail(b)
	round := func() *brokertest.Page {
		for _, text := range []string{"Continue with Demo", `type="password"`, "already exists"} {
			page = page.Submit(press("another"))
			shows(t, page, http.StatusOK, text)
		}
		return page.Submit(press("link"))
	}
	page = round()
	shows(t, page, http.StatusOK, "Look into your mailbox")
	if n := len(l.box.links()); n != 1 {
		t.Fatalf("%d mails, want one", n)
	}
	brokertest.NewBrowser(t).Get(l.box.links()[0]).Submit(number(page))
	l.wantLinked(round())
}

// Whoever has proved a password and then wants another way has proved nothing.
func TestAnotherWayForgetsWhatWasProved(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	codes, err := l.local().NewRecoveryCodes(t.Context(), l.alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	page := l.comeByPassword(b).Submit(answer("alice", password))
	shows(t, page, http.StatusOK, `name="code"`)
	page = page.Submit(press("another"))
	shows(t, page, http.StatusOK, "already exists")
	page = page.Submit(press("link"))
	shows(t, page, http.StatusOK, "Look into your mailbox")
	shows(t, page.Submit(url.Values{"code": {codes[0]}}), http.StatusOK, "not confirmed yet")
	l.wantNoLink(b)
	page = b.Get(page.URL.String()).Submit(press("another")).Submit(press("another"))
	shows(t, page, http.StatusOK, `type="password"`)
	page = page.Submit(answer("alice", password))
	l.wantLinked(page.Submit(url.Values{"code": {codes[0]}}))
}

func TestRow21NoMailer(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	page := l.come(brokertest.NewBrowser(t)).Submit(press("link"))
	shows(t, page, http.StatusOK, "Continue with Demo")
	shows(t, page.Submit(press("another")), http.StatusOK, `type="password"`)
}

// A mail that cannot be sent is said so, and the other way is there; the log has why.
func TestMailFails(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	l := newLinkWorld(t, func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	l.box.fail(errors.New("no route to the mail server"))
	page := l.come(brokertest.NewBrowser(t)).Submit(press("link"))
	shows(t, page, http.StatusOK, "could not be sent", `name="another"`)
	if strings.Contains(page.Body, "no route") {
		t.Errorf("why belongs into the log, not onto the page:\n%s", page.Body)
	}
	log.waitFor(t, "no route")
	l.box.fail(nil)
	page = page.Submit(press("resend"))
	shows(t, page, http.StatusOK, "We have sent a mail")
	shows(t, page.Submit(press("another")), http.StatusOK, "Continue with Demo")
}

func TestRow23ExpiredLink(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	l.comeByMail(brokertest.NewBrowser(t))
	b := brokertest.NewBrowser(t)
	confirm := b.Get(l.box.links()[0])
	l.advance(16 * time.Minute)
	for _, page := range []*brokertest.Page{b.Get(l.box.links()[0]), confirm.Submit(nil)} {
		shows(t, page, http.StatusGone, "no longer valid", "Try again")
		if again := page.Click("Try again"); !strings.Contains(again.Body, "Continue with Other") {
			t.Errorf("the way back leads to %s:\n%s", again.URL, again.Body)
		}
	}
	l.wantNoLink(b)
	for _, bad := range []string{"", "x", strings.Repeat("x", 2000), l.box.links()[0][len(l.URL+"/proof?link="):][:20]} {
		shows(t, b.Get(l.URL+"/proof?link="+bad), http.StatusGone, "no longer valid")
	}
}

func TestRow24MailKeepsTheApplication(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := b.Get(l.rp.LoginURL()).Click("Other").Submit(press("link"))
	shows(t, page, http.StatusOK, "Look into your mailbox")
	b.Get(l.box.links()[0]).Submit(nil)
	if got := l.rp.Login(); got.Error != "" || got.Subject != l.alice.ID {
		t.Errorf("the application got %+v, want alice", got)
	}
	// From another browser, the page leads back to the application as well.
	b = brokertest.NewBrowser(t)
	l.other.SetUser(providertest.User{Subject: "again", Username: "again", Email: "alice@example.com", EmailVerified: true, Name: "A"})
	l.other.LoginAs("again")
	page = b.Get(l.rp.LoginURL()).Click("Other").Submit(press("link"))
	links := l.box.links()
	done := brokertest.NewBrowser(t).Get(links[len(links)-1]).Submit(number(page))
	if !slices.ContainsFunc(done.Links(), func(a brokertest.Link) bool { return strings.Contains(a.URL, "client_id=") }) {
		t.Errorf("the page has links %v, want one that begins again for the application", done.Links())
	}
}

func TestRow25SecondFactor(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	codes, err := l.local().NewRecoveryCodes(t.Context(), l.alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	page := l.comeByPassword(b).Submit(answer("alice", password))
	shows(t, page, http.StatusOK, `name="code"`)
	l.wantNoLink(b)
	page = l.reload(b, page).Submit(url.Values{"code": {"0000-0000"}})
	shows(t, page, http.StatusOK, `id="code-error"`)
	l.wantNoLink(b)
	l.wantLinked(l.reload(b, page).Submit(url.Values{"code": {codes[0]}}))
}

func (l *linkWorld) reload(b *brokertest.Browser, page *brokertest.Page) *brokertest.Page {
	return b.Get(page.URL.String())
}

func TestRow27OtherProvider(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("link"))
	shows(t, page, http.StatusOK, "Continue with Demo")
	l.wantNoLink(b)
	l.wantLinked(l.reload(b, page).Submit(url.Values{"provider": {"demo"}}))
}

func TestRow28NeverTheOneJustUsed(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	// alice has a link with Other as well, to somebody else there.
	key := store.LinkKey{Provider: "other", Issuer: l.other.Issuer(), Subject: "carol"}
	if err := l.store.CreateLink(t.Context(), &store.Link{LinkKey: key, UserID: l.alice.ID}); err != nil {
		t.Fatal(err)
	}
	page := l.come(brokertest.NewBrowser(t)).Submit(press("link"))
	if strings.Contains(page.Body, `value="other"`) {
		t.Errorf("Other is offered as its own witness:\n%s", page.Body)
	}
	page = page.Submit(url.Values{"provider": {"other"}})
	shows(t, page, http.StatusOK, "Continue with Demo") // asked again, and not sent away
	// One that is off is not offered, and does not do.
	l.reconfigure(l.setup(func(c *broker.Config) { c.Mailer, c.Providers[0].Disabled = nil, true }))
	page = page.Submit(url.Values{"provider": {"demo"}})
	shows(t, page, http.StatusOK, `type="password"`)
}

func TestRow29SecondUnknownIdentity(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	l.op.LoginAs("bob") // whom nobody is linked to
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("link")).Submit(url.Values{"provider": {"demo"}})
	shows(t, page, http.StatusOK, "you have no account here")
	if l.users("bob") != 0 {
		t.Error("the second identity became a user")
	}
	l.op.LoginAs("alice")
	l.wantLinked(page.Submit(url.Values{"provider": {"demo"}})) // the first one is not lost
}

// Who refuses at the other provider goes on with the login that sent them there.
func TestRefusedAtTheOtherProvider(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("link"))
	l.op.Break(providertest.ErrorAccessDenied)
	page = page.Submit(url.Values{"provider": {"demo"}})
	shows(t, page, http.StatusOK, "Continue with Demo")
	l.op.Break()
	l.wantNoLink(b)
}

func TestRow33OverrideLink(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	f := flow.Flow{{ID: "prove", Sub: firstlogin.VerifyByReauthentication()}, {ID: "override", Do: firstlogin.ConfirmOverrideLink{}}}
	l := newLinkWorld(t, nil)
	l.reconfigure(l.setup(func(c *broker.Config) { c.FirstLogin, c.Logger = f, slog.New(slog.NewTextHandler(log, nil)) }))
	old := store.LinkKey{Provider: "other", Issuer: l.other.Issuer(), Subject: "carol"}
	if err := l.store.CreateLink(t.Context(), &store.Link{LinkKey: old, UserID: l.alice.ID, Username: "carol"}); err != nil {
		t.Fatal(err)
	}
	begin := func(b *brokertest.Browser) *brokertest.Page {
		page := b.Get(l.Origin + "/deep").Click("Other").Submit(answer("alice", password))
		shows(t, page, http.StatusOK, "Replace your connection", "carol")
		return page
	}
	b := brokertest.NewBrowser(t)
	shows(t, begin(b).Submit(press("keep")), http.StatusForbidden, "Nothing was changed")
	if n := l.linksOf(l.alice)["other"]; n != 1 {
		t.Fatalf("alice has %d links with Other, want the old one", n)
	}
	l.wantLinked(begin(b).Submit(press("replace")))
	if _, err := l.store.Link(t.Context(), old); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old link: %v, want that it is gone", err)
	}
	log.waitFor(t, "replaced=other")
}

// The old link ends with the login that replaces it: where the process dies right after that, whoever had it is out all the same.
func TestRow33OverrideLinkAndCrash(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	setup := l.setup(func(c *broker.Config) {
		c.FirstLogin = flow.Flow{{ID: "prove", Sub: firstlogin.VerifyByReauthentication()}, {ID: "override", Do: firstlogin.ConfirmOverrideLink{}}}
	})
	old := store.LinkKey{Provider: "other", Issuer: l.other.Issuer(), Subject: "carol"}
	if err := l.store.CreateLink(t.Context(), &store.Link{LinkKey: old, UserID: l.alice.ID, Username: "carol"}); err != nil {
		t.Fatal(err)
	}
	l.reconfigure(func(c *broker.Config) {
		setup(c)
		c.Store = storetest.Faulty(l.store, func(c storetest.Call) error {
			if c.Method == "Commit" && c.After && l.linksOf(l.alice)["other"] > 0 {
				return storetest.ErrDead
			}
			return nil
		})
	})
	b := brokertest.NewBrowser(t)
	page := b.Get(l.Origin + "/deep").Click("Other").Submit(answer("alice", password))
	shows(t, page, http.StatusOK, "Replace your connection")
	page.Submit(press("replace"))
	l.reconfigure(setup)
	if _, err := l.store.Link(t.Context(), old); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old link: %v, want that it is gone", err)
	}
	l.wantLinked(b.Get(l.Origin + "/deep").Click("Other"))
}

func TestRow34BackAndForward(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	b := brokertest.NewBrowser(t)
	confirm := l.come(b)
	mail := confirm.Submit(press("link"))
	choose := mail.Submit(press("another"))
	form := choose.Submit(press("another"))
	shows(t, form, http.StatusOK, `type="password"`)
	for name, old := range map[string]*brokertest.Page{"confirm": confirm, "mail": mail, "choose": choose} {
		for _, answer := range []url.Values{press("link"), press("another"), press("resend"), {"provider": {"demo"}}, {}} {
			page := old.Submit(answer)
			shows(t, page, http.StatusConflict, "has expired")
			shows(t, page.Click("Continue"), http.StatusOK, `type="password"`)
			if t.Failed() {
				t.Fatalf("at %s with %v", name, answer)
			}
		}
	}
	if n := len(l.box.links()); n != 1 {
		t.Errorf("going back has sent %d mails", n-1)
	}
	l.wantNoLink(b)
}

// Two tabs, of one browser and of two, that finish the same first login make one user.
func TestRow35TwoTabs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		f := firstlogin.Default()
		f[0].Do = firstlogin.ReviewProfile{Mode: firstlogin.ReviewOn}
		c.FirstLogin = f
	})
	b, other := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	var tabs []*brokertest.Page
	for _, in := range []*brokertest.Browser{b, b, other} {
		page := in.Get(w.URL + "/login?return_to=/").Click("Demo")
		shows(t, page, http.StatusOK, "Check your details")
		tabs = append(tabs, page)
	}
	for i, tab := range tabs {
		if page := tab.Submit(nil); page.Status >= 500 {
			t.Errorf("tab %d: status %d\n%s", i, page.Status, page.Body)
		}
	}
	if n := w.users("alice"); n != 1 {
		t.Errorf("%d users, want one", n)
	}
}

// Two tabs that link the same identity make one link.
func TestRow35TwoTabsLink(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, noMailer)
	one, two := l.comeByPassword(brokertest.NewBrowser(t)), l.comeByPassword(brokertest.NewBrowser(t))
	l.wantLinked(one.Submit(answer("alice", password)))
	if page := two.Submit(answer("alice", password)); page.Status >= 500 {
		t.Errorf("status %d\n%s", page.Status, page.Body)
	}
	if n := l.linksOf(l.alice)["other"]; n != 1 {
		t.Errorf("%d links, want one", n)
	}
}

// The mail that tells of a new link keeps nobody from signing in: not by failing, and not by taking its time.
func TestMailOfNewLinkDoesNotBlock(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, nil)
	slow := &slowMailer{told: make(chan struct{}), release: make(chan struct{})}
	l.reconfigure(l.setup(func(c *broker.Config) { c.Mailer = slow }))
	b := brokertest.NewBrowser(t)
	page := l.come(b).Submit(press("link"))
	for !strings.Contains(page.Body, `type="password"`) {
		page = page.Submit(press("another"))
	}
	l.wantLinked(page.Submit(answer("alice", password)))
	<-slow.told // it hangs, and alice is in
	close(slow.release)
}

// A slowMailer takes its time, and then fails, to tell of a link.
type slowMailer struct{ told, release chan struct{} }

func (s *slowMailer) Send(ctx context.Context, m *broker.Message) error {
	if !strings.Contains(m.Subject, "was linked") {
		return nil
	}
	close(s.told)
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return errors.New("the server is down")
}

// Flows with a step that links without a proof are named in the log.
func TestInsecureFlowIsLogged(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	newWorld(t, func(c *broker.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.Providers[1].FirstLogin = flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "set", Do: firstlogin.InsecureSetExisting{}}}
	})
	log.waitFor(t, `flow="other: FirstLogin" setting="set: InsecureSetExisting"`)
}

// Where an account cannot prove itself, the page says that it exists, and nothing else is asked.
func TestNothingToProveWith(t *testing.T) {
	t.Parallel()
	l := newLinkWorld(t, func(c *broker.Config) { c.Mailer, c.Credentials = nil, nil })
	l.reconfigure(l.setup(func(c *broker.Config) { c.Mailer, c.Credentials, c.Providers[0].LinkOnly = nil, nil, true }))
	page := brokertest.NewBrowser(t).Get(l.Origin + "/").Click("Other")
	shows(t, page, http.StatusForbidden, "The same e-mail address is not enough")
}
