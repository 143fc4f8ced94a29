package integration

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/hotp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A linkingHost is an application with two providers, at which the same people have accounts with the same e-mail addresses.
type linkingHost struct {
	t       *testing.T
	origin  string
	store   *memstore.Store
	broker  *broker.Broker
	mail    *mailServer
	issuers map[string]string
}

// startLinking serves it, with the configuration edited.
func startLinking(t *testing.T, edits ...func(*broker.Config)) *linkingHost {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &linkingHost{t: t, store: memstore.New(), mail: startMailServer(t), issuers: map[string]string{}}
	h.origin = fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port) // an IP address can have no passkeys
	person := func(given, family string) providertest.User {
		return providertest.User{
			Subject: strings.ToLower(given), GivenName: given, FamilyName: family,
			Email: strings.ToLower(given) + "@mail.example", EmailVerified: true,
		}
	}
	c := broker.Config{
		Name: "Your App", BaseURL: h.origin + "/id", Secrets: [][]byte{[]byte("a secret of the tests: 32 bytes!")},
		Store: h.store, Credentials: h.store, Passwords: &factor.Passwords{Memory: 64, Time: 1}, Mailer: h.mail.mailer(),
		Passkeys: passkey.Site{},
		Providers: []broker.Provider{
			h.provider("acme", "Acme Staff", person("Carl", "Weiss"), person("Dana", "Fox")),
			h.provider("globex", "Globex Mail", person("Mia", "Stone"), person("Otto", "Berg"), person("Carl", "Weiss"),
				person("Dana", "Fox"), providertest.User{Subject: "nia", Username: "nia", GivenName: "Nia"}),
		},
	}
	for _, edit := range edits {
		edit(&c)
	}
	h.broker, err = broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", h.broker)
	mux.Handle("/account/", h.broker.Account())
	mux.Handle("/", h.broker.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		fmt.Fprintf(w, "<!doctype html><title>App</title><link rel=icon href=data:,><p>Hello, %s</p>", user.Name)
	})))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	return h
}

func (h *linkingHost) provider(alias, name string, users ...providertest.User) broker.Provider {
	h.t.Helper()
	op := providertest.StartOIDC(h.t, providertest.OIDCConfig{Name: name, AlwaysAsk: true, Users: users})
	client := op.Register(providertest.Client{
		Name: "Your App", RedirectURIs: []string{brokertest.CallbackURL(h.origin+"/id", alias)},
		PostLogoutRedirectURIs: []string{h.origin + "/id/broker/" + alias + "/logout_response"},
	})
	idp, err := oidc.New(oidc.Config{
		Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.issuers[alias] = op.Issuer()
	return broker.Provider{Alias: alias, Name: name, IdP: idp}
}

// user writes somebody who has had an account for long, linked to those providers.
func (h *linkingHost) user(name string, roles []string, links ...string) *store.User {
	h.t.Helper()
	given, _, _ := strings.Cut(name, " ")
	id := strings.ToLower(given)
	u := &store.User{ID: id, Username: id, Email: id + "@mail.example", EmailVerified: true, Name: name, Roles: roles}
	if err := h.store.CreateUser(h.t.Context(), u); err != nil {
		h.t.Fatal(err)
	}
	for _, alias := range links {
		link := &store.Link{
			LinkKey: store.LinkKey{Provider: alias, Issuer: h.issuers[alias], Subject: id}, UserID: id, CreatedAt: time.Now().Add(-time.Hour),
		}
		if err := h.store.CreateLink(h.t.Context(), link); err != nil {
			h.t.Fatal(err)
		}
	}
	return u
}

// wantOne fails the test unless there is one user with this address, who is linked to those providers.
func (h *linkingHost) wantOne(email string, links ...string) *store.User {
	h.t.Helper()
	users, err := h.store.FindUsers(h.t.Context(), store.UserQuery{Email: email})
	if err != nil || len(users) != 1 {
		h.t.Fatalf("%d users with the address %s, %v; want one", len(users), email, err)
	}
	all, err := h.store.LinksOf(h.t.Context(), users[0].ID)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		got = append(got, l.Provider)
	}
	if !slices.Equal(got, links) {
		h.t.Errorf("%s is linked to %q, want %q", email, got, links)
	}
	return users[0]
}

// wantAMR fails the test unless the user's newest session is of this way of signing in.
func (h *linkingHost) wantAMR(userID, amr string) {
	h.t.Helper()
	sessions, err := h.store.FindSessions(h.t.Context(), store.SessionQuery{UserID: userID})
	if err != nil || !slices.ContainsFunc(sessions, func(s *store.Session) bool { return slices.Contains(s.AMR, amr) }) {
		h.t.Errorf("the sessions of %s are %+v, %v; want one with %s", userID, sessions, err, amr)
	}
}

// page waits for a page, and looks at it in windows of every kind.
func (h *linkingHost) page(b *tab, name, text string) {
	h.t.Helper()
	b.see(text)
	was := b.look
	for _, look := range []window{{width: 360}, {width: 360, dark: true}, {width: 1280, dark: true}, {width: 1280}} {
		scheme := "light"
		if look.dark {
			scheme = "dark"
		}
		b.look = look
		b.do("look at "+name, chromedp.EmulateViewport(look.width, 800))
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}); err != nil {
			h.t.Fatal(err)
		}
		b.shot(name)
		b.wantFit(name)
		if screenshots == "" && look.width == was.width {
			break
		}
	}
	b.look = was
	b.do("look back", chromedp.EmulateViewport(was.width, 800))
	if said := b.said(); len(said) > 0 {
		h.t.Errorf("%s: the console says %q", name, said)
	}
}

// begin comes to the application, and from Globex to the page that says that there is an account.
func (h *linkingHost) begin(b *tab, name string) {
	h.t.Helper()
	b.open(h.origin)
	b.click("Globex Mail")
	b.click(name)
	b.see("An account with this e‑mail address already exists")
	b.click("Use the account that exists")
	b.see("Look into your mailbox")
}

func TestLinkingInChromium(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	h := startLinking(t)
	open := func() *tab { return openTab(t, browser, window{width: 360}) }

	h.user("Mia Stone", nil)
	h.byMail(open(), open())
	h.byPassword(open(), h.user("Otto Berg", nil))
	h.user("Carl Weiss", nil, "acme")
	h.byProvider(open())
	h.user("Dana Fox", nil, "acme")
	h.byPasskey(open())
	h.newUser(open())
}

// newUser brings somebody of whom Globex says next to nothing.
func (h *linkingHost) newUser(b *tab) {
	h.t.Helper()
	b.open(h.origin)
	b.click("Globex Mail")
	b.click("Nia")
	h.page(b, "review", "Check your details")
	b.do("fill in", chromedp.SetValue(chromedp.Search("#email"), "nobody"), chromedp.SetValue(chromedp.Search("#last_name"), "Abara"))
	evaluate[bool](b, `document.querySelector("form.fields").noValidate = true`) // so that the broker has to say it
	b.click("Continue")
	b.see("Check your details")
	b.do("see what is wrong", chromedp.WaitVisible(chromedp.Search("#email-error")))
	h.page(b, "review-wrong", "Check your details")
	b.do("fill in", chromedp.SetValue(chromedp.Search("#email"), "nia@mail.example"))
	b.click("Continue")
	b.see("Hello, Nia Abara")
	if u := h.wantOne("nia@mail.example", "globex"); u.EmailVerified {
		h.t.Error("what was typed in counts as verified")
	}
}

// byMail proves the account by a mail that is read in another browser.
func (h *linkingHost) byMail(b, other *tab) {
	h.t.Helper()
	b.open(h.origin)
	b.click("Globex Mail")
	b.click("Mia Stone")
	h.page(b, "exists", "An account with this e‑mail address already exists")
	b.click("Use the account that exists")
	h.page(b, "mailbox", "Look into your mailbox")
	l := h.mail.wait(h.t, "mia@mail.example")
	other.open("data:text/html;base64," + base64.StdEncoding.EncodeToString([]byte(l.html)))
	h.page(other, "mail", "Link Globex Mail to my account")
	b.click("I have confirmed it")
	b.do("see that it is too early", chromedp.WaitVisible(chromedp.Search(`//*[@role="alert"]`)))
	h.page(b, "mailbox-early", "Look into your mailbox")

	other.open(l.link(h.t))
	h.page(other, "proof", "Connect Globex Mail to your account?")
	h.wantOne("mia@mail.example") // opening it proves nothing
	other.copyNumber(b)
	other.click("Yes, it was me")
	h.page(other, "proof-done", "Confirmed")
	other.open(h.origin)
	other.see("Continue with Globex Mail") // who has confirmed is not signed in by that
	b.click("I have confirmed it")
	b.see("Hello, Mia Stone")
	h.wantOne("mia@mail.example", "globex")
	news := h.mail.wait(h.t, "mia@mail.example")
	if !strings.Contains(news.subject, "Globex Mail was linked") {
		h.t.Errorf("the news is %q", news.subject)
	}
	other.open(l.link(h.t))
	other.see("This is confirmed already")
	other.said() // the page's own status
}

// copyNumber types in what the page shows on which a login waits.
func (b *tab) copyNumber(waiting *tab) {
	b.t.Helper()
	b.do("type the number", chromedp.SetValue(chromedp.Search("#number"), evaluate[string](waiting, `document.querySelector(".usercode .code").innerText`)))
}

// byPassword proves the account by its password and a code of its app.
func (h *linkingHost) byPassword(b *tab, u *store.User) {
	h.t.Helper()
	local, now := h.broker.Local(), time.Now()
	hash, err := local.Passwords.Hash(h.t.Context(), "correct horse battery", u.Username)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := local.SetPassword(h.t.Context(), u.ID, hash, false); err != nil {
		h.t.Fatal(err)
	}
	app := factor.NewEnrolment("Your App", u.Username)
	code := func(step int64) string {
		code, err := hotp.GenerateCode(app.Text, uint64(now.Unix()/30+step))
		if err != nil {
			h.t.Fatal(err)
		}
		return code
	}
	if err := local.EnrolTOTP(h.t.Context(), u.ID, "phone", app.Seed, code(0)); err != nil {
		h.t.Fatal(err)
	}
	h.begin(b, "Otto Berg")
	h.mail.wait(h.t, "otto@mail.example")
	b.click("Use another way")
	h.page(b, "password", "Sign in with your password")
	b.do("guess", chromedp.SetValue(chromedp.Search("#password"), "a guess"))
	b.click("Continue")
	b.do("see that it is wrong", chromedp.WaitVisible(chromedp.Search("#password-error")))
	h.page(b, "password-wrong", "Sign in with your password")
	b.do("type it", chromedp.SetValue(chromedp.Search("#password"), "correct horse battery"))
	b.click("Continue")
	h.page(b, "code", "Enter a code from your app")
	h.wantOne("otto@mail.example") // a password is not enough where there is more
	b.do("type the code", chromedp.SetValue(chromedp.Search("#code"), code(1)))
	b.click("Continue")
	b.see("Hello, Otto Berg")
	h.wantOne("otto@mail.example", "globex")
	h.wantAMR("otto", "mfa")
	h.mail.wait(h.t, "otto@mail.example")
}

// byProvider proves the account by the provider that it was linked to first, and unlinks that then.
func (h *linkingHost) byProvider(b *tab) {
	h.t.Helper()
	h.begin(b, "Carl Weiss")
	h.mail.wait(h.t, "carl@mail.example")
	b.click("Use another way")
	h.page(b, "provider", "Prove that the account is yours")
	b.click("Continue with Acme Staff")
	b.see("Who are you?")
	b.click("Carl Weiss")
	b.see("Hello, Carl Weiss")
	h.wantOne("carl@mail.example", "acme", "globex")
	h.mail.wait(h.t, "carl@mail.example")

	b.open(h.origin + "/account/")
	h.page(b, "account", "Your account")
	b.do("unlink Acme", chromedp.Click(chromedp.Search(`//button[@aria-label="Unlink Acme Staff"]`)))
	h.page(b, "unlink", "Unlink Acme Staff?")
	b.click("Unlink")
	h.page(b, "unlinked", "The link was removed.")
	h.wantOne("carl@mail.example", "globex")
	if news := h.mail.wait(h.t, "carl@mail.example"); !strings.Contains(news.subject, "Acme Staff was removed") {
		h.t.Errorf("the news is %q", news.subject)
	}
	if left := evaluate[int](b, `document.querySelectorAll("button[aria-label^=Unlink]").length`); left != 0 {
		h.t.Error("the last way in can be unlinked")
	}
}

// byPasskey proves the account by a passkey that was made before.
func (h *linkingHost) byPasskey(b *tab) {
	h.t.Helper()
	verifies := b.authenticator()
	b.open(h.origin)
	b.click("Acme Staff")
	b.click("Dana Fox")
	b.see("Hello, Dana Fox")
	b.open(h.origin + "/account/passkey")
	b.click("Create passkey")
	b.see("Your passkey was added. You can sign in with it from now on.")
	h.mail.wait(h.t, "dana@mail.example")
	b.open(h.origin + "/id/logout")
	b.click("Sign out")
	b.see("You are signed out")
	h.begin(b, "Dana Fox")
	h.mail.wait(h.t, "dana@mail.example")
	b.click("Use another way")
	b.see("Prove that the account is yours")
	verifies(false) // or the device takes the page's offer without being asked
	b.click("Use another way")
	h.page(b, "password-passkey", "Sign in with your password")
	verifies(true)
	b.click("Sign in with a passkey")
	b.see("Hello, Dana Fox")
	h.wantOne("dana@mail.example", "acme", "globex")
	h.wantAMR("dana", "mfa")
	h.mail.wait(h.t, "dana@mail.example")
}
