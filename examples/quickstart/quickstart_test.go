package main

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/flowtest"
)

// start runs the program on free ports and returns what it printed and the URL in it. stop ends it as a signal does and
// returns what run returned.
func start(t *testing.T) (printed, origin string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", true, in)
		in.CloseWithError(err)
		ended <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: got error %v, want none", err)
		}
	})
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatalf("the program ended: %v", err)
	}
	printed = string(buf[:n])
	origin = strings.TrimSuffix(regexp.MustCompile(`http://\S+`).FindString(printed), "/")
	if origin == "" {
		t.Fatalf("no URL in %q", printed)
	}
	return printed, origin, stop
}

func be(user string) url.Values { return url.Values{"user": {user}} }

func wantText(t *testing.T, p *brokertest.Page, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.Body, text) {
			t.Errorf("%s (status %d) does not say %q:\n%s", p.URL, p.Status, text, p.Body)
		}
	}
}

// subject reads the sub that a page shows.
func subject(t *testing.T, p *brokertest.Page) string {
	t.Helper()
	found := regexp.MustCompile(`<dt>Subject</dt><dd><code>(\w+)</code>`).FindStringSubmatch(p.Body)
	if found == nil {
		t.Fatalf("no subject at %s:\n%s", p.URL, p.Body)
	}
	return found[1]
}

func TestQuickstart(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	b := brokertest.NewBrowser(t)

	page := b.Get(origin)
	wantText(t, page, "This is your application", "Acme Staff, Globex Mail, Initech SSO and Forkyard,")
	page = page.Click("Sign in")
	wantText(t, page, "Continue with Acme Staff", "Continue with Globex Mail")
	page = page.Click("Acme Staff").Submit(be("ada"))
	if got, want := page.URL.String(), origin+"/app"; got != want {
		t.Fatalf("after the login: at %s, want %s\n%s", got, want, page.Body)
	}
	wantText(t, page, "Hello, Ada Lindqvist", "Signed in with Acme Staff", "ada@acme.example", ">verified<", "acme-ada")
	ada := subject(t, page)

	page = page.Click("Continue to Another App")
	if page.URL.Host == b.Get(origin).URL.Host {
		t.Fatalf("Another App is at %s, want an address of its own", page.URL)
	}
	wantText(t, page, "Hello, Ada Lindqvist", "&#34;alg&#34;: &#34;RS256&#34;", "&#34;alg&#34;: &#34;ES256&#34;", "at&#43;jwt",
		"&#34;identity_provider&#34;: &#34;acme&#34;")
	if got := subject(t, page); got != ada {
		t.Errorf("subject at Another App: got %s, want Your App's %s", got, ada)
	}
	another := page.URL
	if page = page.Submit(nil); page.URL.Host != another.Host {
		t.Errorf("after signing out of Another App: at %s, want %s", page.URL, another)
	}
	wantText(t, page, "This is another application")
	wantText(t, b.Get(origin), "Welcome back, Ada Lindqvist")

	wantText(t, b.Get(origin+"/app").Submit(nil), "You are signed out")
	wantText(t, b.Get(origin+"/app"), "Continue with Acme Staff")
	page = b.Get(origin + "/app").Click("Globex Mail").Submit(be("emilia.n"))
	wantText(t, page, "Hello, Emilia Novák", "Signed in with Globex Mail", "not verified")
	if emilia := subject(t, page); emilia == ada {
		t.Errorf("subjects of Ada and Emilia are both %s", ada)
	}
}

// SAML 2.0 ends in the same account page and in tokens of the same kind, and signs out at both ends.
func TestSAML(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	b := brokertest.NewBrowser(t)
	page := b.Get(origin + "/app").Click("Initech SSO")
	wantText(t, page, "Who are you?", "<strong>Your App</strong>", "Farid Haddad")
	page = page.Submit(be("E-1042"))
	wantText(t, page, "<h1>One moment</h1>") // the answer, in a form; this browser runs no script
	page = page.Submit(nil)
	wantText(t, page, "Hello, Greta Sandoval", "Signed in with Initech SSO", "greta@initech.example", ">verified<", "E-1042")
	greta := subject(t, page)
	page = page.Click("Continue to Another App")
	wantText(t, page, "Hello, Greta Sandoval", "&#34;identity_provider&#34;: &#34;initech&#34;", "at&#43;jwt")
	if got := subject(t, page); got != greta {
		t.Errorf("subject at Another App: got %s, want Your App's %s", got, greta)
	}
	page = b.Get(origin + "/app").Submit(nil)
	wantText(t, page, "You are signed out", "Initech SSO")
	wantText(t, page.Click("Initech SSO"), "Sign in again")
	wantText(t, b.Get(origin), "This is your application")

	page = b.Get(origin + "/app").Click("Initech SSO").Submit(url.Values{"refuse": {"refuse"}}).Submit(nil)
	wantText(t, page, `role="alert"`, "Continue with Acme Staff")
}

// A server without OpenID Connect: the id is a number, and the address comes from a second question.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	page := brokertest.NewBrowser(t).Get(origin + "/app").Click("Forkyard").Submit(be("hinata-codes"))
	wantText(t, page, "Hello, Hinata Mori", "Signed in with Forkyard", "hinata@mori.example", ">not verified<", "<code>583231</code>", "hinata-codes")
	wantText(t, page.Click("Continue to Another App"), "Hello, Hinata Mori", "&#34;identity_provider&#34;: &#34;forkyard&#34;")
	page = brokertest.NewBrowser(t).Get(origin + "/app").Click("Forkyard").Submit(be("igor"))
	wantText(t, page, "Hello, Igor Petrov", "17&#43;igor@users.noreply.forkyard.example") // the primary one is not verified
}

func TestSameAddressAtBothProviders(t *testing.T) {
	t.Parallel()
	printed, origin, _ := start(t)
	ada := subject(t, brokertest.NewBrowser(t).Get(origin+"/app").Click("Acme Staff").Submit(be("ada")))
	mails := regexp.MustCompile(`mailed to them is at\s+(http://\S+)`).FindStringSubmatch(printed)[1]
	elsewhere := brokertest.NewBrowser(t)
	wantText(t, elsewhere.Get(mails), "There is no mail yet")

	b := brokertest.NewBrowser(t)
	page := b.Get(origin + "/app").Click("Globex Mail").Submit(be("lindqvist"))
	wantText(t, page, "An account with this e‑mail address already exists")
	if strings.Contains(page.Body, "ada@acme.example") {
		t.Errorf("the page names the address:\n%s", page.Body)
	}
	wantText(t, b.Get(origin), "This is your application") // nobody is signed in
	page = page.Submit(url.Values{"link": {"1"}})
	wantText(t, page, "Look into your mailbox")
	letter := elsewhere.Get(origin).Click("mailbox")
	wantText(t, letter, "Link Globex Mail to your account", "to ada@acme.example")
	folder := regexp.MustCompile(`mail is in (\S+),`).FindStringSubmatch(printed)[1]
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 {
		t.Errorf("the folder %s has %v, %v; want one mail", folder, files, err)
	}
	number := regexp.MustCompile(`class="code digits"[^>]*>([0-9 ]+)<`).FindStringSubmatch(page.Body)
	if number == nil {
		t.Fatalf("the page that waits shows no number:\n%s", page.Body)
	}
	wantText(t, letter.Click("Open the link").Submit(url.Values{"number": {number[1]}}), "Confirmed")
	page = page.Submit(url.Values{"confirmed": {"1"}})
	wantText(t, page, "Hello, Ada Lindqvist", "Signed in with Globex Mail")
	if got := subject(t, page); got != ada {
		t.Errorf("at Globex Ada is %s, at Acme %s", got, ada)
	}
	wantText(t, b.Get(origin+"/account/"), "Unlink Acme Staff", "Unlink Globex Mail")
	told := func() bool {
		return strings.Contains(elsewhere.Get(mails).Body, "Globex Mail was linked to your account")
	}
	for limit := time.After(time.Minute); !told(); { // the mail goes out beside the answer
		select {
		case <-limit:
			t.Fatal("nobody is told of the link")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Who comes in by a passkey sees a page that names no provider.
func TestPasskeyNamesNoProvider(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	b := brokertest.NewBrowser(t)
	options := func(p *brokertest.Page) []byte {
		found := regexp.MustCompile(`data-options="([^"]*)"`).FindStringSubmatch(p.Body)
		if found == nil {
			t.Fatalf("%s (status %d) asks for no passkey:\n%s", p.URL, p.Status, p.Body)
		}
		return []byte(html.UnescapeString(found[1]))
	}
	b.Get(origin + "/app").Click("Acme Staff").Submit(be("chiyo"))
	device := flowtest.NewAuthenticator(t, origin)
	page := b.Get(origin + "/account/passkey")
	wantText(t, page.Submit(url.Values{"credential": {string(device.Create(options(page)))}}), "Your passkey was added")
	if page := b.Get(origin + "/account/"); strings.Contains(page.Body, "password") || strings.Contains(page.Body, "/totp") {
		t.Errorf("the account page offers what nobody can sign in with:\n%s", page.Body)
	}
	b.Get(origin + "/app").Submit(nil)
	page = b.Get(origin + "/app")
	page = page.Submit(url.Values{"credential": {string(device.Get(options(page)))}})
	wantText(t, page, "Hello, Chiyo Tanaka", "Signed in with a passkey")
	if strings.Contains(page.Body, "<dt>Provider</dt>") {
		t.Errorf("the page has a provider:\n%s", page.Body)
	}
}

func TestRefusedAtTheProvider(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	page := brokertest.NewBrowser(t).Get(origin + "/app").Click("Acme Staff").Submit(url.Values{"refuse": {"refuse"}})
	wantText(t, page, `role="alert"`, "Continue with Globex Mail")
	wantText(t, page.Click("Globex Mail").Submit(be("dario77")), "Hello, Dario Ruiz")
}

func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	page := brokertest.NewBrowser(t).Get(origin + "/app").Click("Acme Staff").Submit(be("ada"))
	page = page.Click("somebody else").Click("Acme Staff").Submit(be("chiyo"))
	wantText(t, page, "Hello, Chiyo Tanaka")
}

// anotherApp returns where the second application is, seen by a browser that Bashir sits at.
func anotherApp(t *testing.T, origin string) (b *brokertest.Browser, home string) {
	t.Helper()
	b = brokertest.NewBrowser(t)
	page := b.Get(origin + "/app").Click("Acme Staff").Submit(be("bashir"))
	return b, strings.TrimSuffix(page.Click("Another App").URL.String(), "/")
}

func TestAnotherAppSignsInByItself(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	_, another := anotherApp(t, origin)
	b := brokertest.NewBrowser(t)
	page := b.Get(another).Click("Sign in")
	wantText(t, page, "Sign in to Another App")
	if page = page.Click("Back to Another App"); page.URL.String() != another+"/" {
		t.Errorf("after going back: at %s, want %s/", page.URL, another)
	}
	page = page.Click("Sign in").Click("Globex Mail").Submit(be("dario77"))
	wantText(t, page, "Hello, Dario Ruiz", "This application got the tokens below")
	wantText(t, b.Get(origin), "Welcome back, Dario Ruiz") // one login for all
}

func TestAnotherAppRefusesForeignAnswers(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	attacker, another := anotherApp(t, origin)
	attacker.Stop()
	location := attacker.Get(another + "/login").Header.Get("Location") // the attempt whose answer is to be planted
	answer := attacker.Get(location).Header.Get("Location")
	if !strings.HasPrefix(answer, another+"/callback?") {
		t.Fatalf("the broker leads to %q, want the callback", answer)
	}

	victim := brokertest.NewBrowser(t)
	for name, prepare := range map[string]func(){
		"no attempt":      func() {},
		"another attempt": func() { victim.Get(another + "/login") },
	} {
		prepare()
		page := victim.Get(answer)
		if page.Status != http.StatusBadRequest {
			t.Errorf("%s: got status %d, want %d", name, page.Status, http.StatusBadRequest)
		}
		wantText(t, page, "Signing in did not work")
		wantText(t, victim.Get(another), "This is another application")
	}
	if page := victim.Post(another+"/logout", nil, origin); page.Status != http.StatusForbidden {
		t.Errorf("logout from another site's form: got status %d, want %d", page.Status, http.StatusForbidden)
	}
}

func TestPagesRunNoScript(t *testing.T) {
	t.Parallel()
	_, origin, _ := start(t)
	b, another := anotherApp(t, origin)
	for _, address := range []string{origin + "/", origin + "/app", another + "/"} {
		page := b.Get(address)
		policy := page.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: Content-Security-Policy %q lacks %s", address, policy, want)
			}
		}
		if strings.Contains(page.Body, "<script") || strings.Contains(page.Body, "style=") {
			t.Errorf("%s has a script or an inline style:\n%s", address, page.Body)
		}
	}
	if page := b.Get(origin + "/static/app.css"); page.Status != http.StatusOK ||
		!strings.HasPrefix(page.Header.Get("Content-Type"), "text/css") {
		t.Errorf("stylesheet: got status %d and type %q", page.Status, page.Header.Get("Content-Type"))
	}
}

func TestEndsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	printed, origin, stop := start(t)
	database := regexp.MustCompile(`\S+broker\.db`).FindString(printed)
	brokertest.NewBrowser(t).Get(origin + "/app").Click("Acme Staff").Submit(be("ada"))
	if _, err := os.Stat(database); err != nil {
		t.Errorf("the database that %q names: %v", printed, err)
	}
	if err := stop(); err != nil {
		t.Errorf("run: got error %v, want none", err)
	}
	if _, err := os.Stat(filepath.Dir(database)); !os.IsNotExist(err) {
		t.Errorf("the database's folder is still there (error %v)", err)
	}
	if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(origin, "http://"), time.Second); err == nil {
		conn.Close()
		t.Errorf("%s still accepts connections", origin)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	var taken sites
	t.Cleanup(taken.close)
	first, err := taken.listenFirst(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "nonsense", strings.TrimPrefix(first.url, "http://")} {
		if err := run(t.Context(), addr, false, io.Discard); err == nil {
			t.Errorf("run at %q: got no error", addr)
		}
	}
	// Now the default is taken, by us or by somebody else.
	_, _ = taken.listenFirst(t.Context(), defaultAddr)
	moved, err := taken.listenFirst(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(moved.note, defaultAddr+" is taken") || strings.HasSuffix(moved.url, ":8080") {
		t.Errorf("with the default taken: got %s and the note %q", moved.url, moved.note)
	}
}
