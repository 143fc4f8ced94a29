package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

// startQuickstart builds and starts examples/quickstart, and returns the URL that it prints.
func startQuickstart(t *testing.T) (*process, string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "quickstart.exe") // Windows wants the ending, nobody else minds
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../quickstart").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := startProcess(t, exec.Command(program, "-addr", "127.0.0.1:0", "-open=false"), prints("Ctrl+C"))
	url := strings.TrimSuffix(regexp.MustCompile(`http://\S+`).FindString(p.output()), "/")
	if url == "" {
		t.Fatalf("no URL in %q", p.output())
	}
	return p, url
}

func TestQuickstartInChromium(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	p, origin := startQuickstart(t)
	for _, look := range []window{
		{width: 1280}, {width: 1280, dark: true}, {width: 360}, {width: 360, dark: true}, {width: 1280, noScript: true},
	} {
		t.Run(look.String(), func(t *testing.T) {
			walkThrough(openTab(t, browser, look), origin)
			walkProtocols(openTab(t, browser, look), origin)
		})
	}
	t.Run("linking", func(t *testing.T) {
		mailbox := strings.TrimSuffix(regexp.MustCompile(`mailed to them is at\s+(http://\S+)`).FindStringSubmatch(p.output())[1], "/")
		walkToLink(openTab(t, browser, window{width: 1280}), openTab(t, browser, window{width: 360, dark: true}), origin, mailbox)
	})
	t.Run("by keyboard", func(t *testing.T) { walkByKeyboard(openTab(t, browser, window{width: 1280}), origin) })
	p.stop()
	if p.err != nil {
		t.Errorf("the quickstart ended with %v, want no error", p.err)
	}
}

// walkThrough does what a person does who tries the quickstart.
func walkThrough(b *tab, origin string) {
	b.t.Helper()
	page := func(name, text string) {
		b.t.Helper()
		b.see(text)
		b.shot(name)
		b.wantFit(name)
		if said := b.said(); len(said) > 0 {
			b.t.Errorf("%s: the console says %q", name, said)
		}
	}
	b.open(origin)
	page("front", "This is your application")
	b.click("Sign in")
	page("login", "Continue with Globex Mail")
	b.click("Acme Staff")
	page("provider", "Who are you?")
	b.click("Ada Lindqvist")
	page("app", "Signed in with Acme Staff")
	b.click("Continue to Another App")
	page("another", "ID token")
	b.click("Sign out")
	page("another-out", "This is another application")
	b.click("Go to Your App")
	b.see("Signed in with Acme Staff")
	b.click("Sign out")
	page("signedout", "You are signed out")
	b.click("Sign in again")
	b.click("Globex Mail")
	b.see("Who are you?")
	b.click("Refuse")
	page("refused", "Continue with Acme Staff")
	b.click("Globex Mail")
	b.see("Who are you?")
	b.click("Ada Lindqvist")
	page("account-exists", "An account with this e‑mail address already exists")
}

// walkProtocols signs in by SAML 2.0, and by OAuth 2.0 without OpenID Connect.
func walkProtocols(b *tab, origin string) {
	b.t.Helper()
	page := func(name, text string) {
		b.t.Helper()
		b.see(text)
		b.shot(name)
		b.wantFit(name)
	}
	b.open(origin + "/app")
	b.click("Initech SSO")
	page("saml-provider", "Who are you?")
	b.click("Greta Sandoval")
	if b.look.noScript {
		page("saml-answer", "One moment")
		b.click("Continue")
	}
	page("saml-app", "Signed in with Initech SSO")
	b.click("Sign out")
	b.see("You are signed out")
	b.open(origin + "/app")
	b.click("Forkyard")
	page("oauth2-provider", "Who are you?")
	b.click("Hinata Mori")
	page("oauth2-app", "Signed in with Forkyard")
	if said := b.said(); len(said) > 0 {
		b.t.Errorf("the console says %q", said)
	}
}

// walkToLink proves by a mailed link that Ada at Globex is Ada at Acme, and looks at her account.
func walkToLink(b, mails *tab, origin, mailbox string) {
	b.t.Helper()
	page := func(b *tab, name, text string) {
		b.t.Helper()
		b.see(text)
		b.shot(name)
		b.wantFit(name)
	}
	mails.open(mailbox)
	page(mails, "mailbox-empty", "There is no mail yet")
	b.open(origin)
	b.click("Sign in")
	b.click("Globex Mail")
	b.click("Ada Lindqvist")
	b.click("Use the account that exists")
	b.see("Look into your mailbox")
	mails.open(mailbox)
	page(mails, "mailbox", "Link Globex Mail to your account")
	mails.click("Open the link")
	mails.see("Connect Globex Mail to your account?")
	mails.copyNumber(b)
	mails.click("Yes, it was me")
	mails.see("Confirmed")
	b.click("I have confirmed it")
	page(b, "app-linked", "Signed in with Globex Mail")
	b.click("Your account")
	page(b, "app-account", "Your account")
	if said := append(b.said(), mails.said()...); len(said) > 0 {
		b.t.Errorf("the console says %q", said)
	}
}

// walkByKeyboard signs in with Tab and Enter alone.
func walkByKeyboard(b *tab, origin string) {
	b.t.Helper()
	b.open(origin)
	b.see("This is your application")
	tabTo(b, "Sign in")
	b.press(kb.Enter)
	b.see("Continue with Acme Staff")
	if presses := tabTo(b, "Acme Staff"); presses != 1 {
		b.t.Errorf("the first provider is reached with %d presses of Tab, want 1", presses)
	}
	b.shot("login-keyboard")
	b.press(kb.Enter)
	b.see("Who are you?")
	tabTo(b, "Chiyo Tanaka")
	b.press(kb.Enter)
	b.see("Hello, Chiyo Tanaka")
	tabTo(b, "Continue to Another App")
	b.press(kb.Enter)
	b.see("ID token")
	tabTo(b, "Sign out")
}

// tabTo presses Tab until something that shows text has the focus, and returns how often. Whatever gets the focus on the
// way must show it.
func tabTo(b *tab, text string) int {
	b.t.Helper()
	for i := 1; i <= 20; i++ {
		b.press(kb.Tab)
		focus := evaluate[struct{ Text, Outline string }](b, `({
			Text: document.activeElement.textContent.trim().replace(/\s+/g, " "),
			Outline: getComputedStyle(document.activeElement).outlineStyle,
		})`)
		if focus.Outline == "none" {
			b.t.Errorf("%q does not show that it has the focus", focus.Text)
		}
		if strings.Contains(focus.Text, text) {
			return i
		}
	}
	b.t.Fatalf("Tab does not reach %q", text)
	return 0
}

// The tests above rely on the console to report, and on scripts to be off where they are said to be.
func TestTabTells(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self' 'nonce-a'")
		fmt.Fprint(w, `<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,">
<p style="color: red">here</p><p id="who">nobody</p><div hidden>`+strings.Repeat("x", 10)+`</div>
<script nonce="a">document.getElementById("who").textContent = "a script"</script><script>alert("inline")</script>`)
	}))
	t.Cleanup(server.Close)
	browser := startChromium(t)

	b := openTab(t, browser, window{width: 360})
	b.open(server.URL)
	b.see("a script")
	want := []string{"inline style", "inline script"}
	for deadline := time.Now().Add(browserPatience); len(want) > 0; {
		for _, m := range b.said() {
			want = slices.DeleteFunc(want, func(w string) bool { return strings.Contains(m, w) })
		}
		if time.Now().After(deadline) {
			t.Fatalf("the console does not tell of %q", want)
		}
		evaluate[bool](b, "true") // lets the browser speak
	}

	b = openTab(t, browser, window{width: 360, noScript: true})
	b.open(server.URL)
	b.see("nobody")
}
