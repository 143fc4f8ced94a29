package integration

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
)

// Somebody with a password signs in where everything is offered, confirms the address, and sets up all that the account page has.
func TestAccountInChromium(t *testing.T) {
	t.Parallel()
	h := startLinking(t, func(c *broker.Config) {
		c.LocalLogin, c.ChangeUsername = true, true
		c.PostLogin = flow.Flow{{ID: "verified", Do: firstlogin.VerifyEmail{}}}
	})
	u := h.user("Otto Berg", nil, "acme", "globex")
	u.EmailVerified = false
	if err := h.store.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	local := h.broker.Local()
	hash, err := local.Passwords.Hash(t.Context(), "correct horse battery", u.Username)
	if err == nil {
		err = local.SetPassword(t.Context(), u.ID, hash, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	browser := startChromium(t)
	b, other := openTab(t, browser, window{width: 360}), openTab(t, browser, window{width: 360})
	set := func(field, value string) {
		t.Helper()
		b.do("fill in "+field, chromedp.SetValue(chromedp.Search("#"+field), value))
	}

	b.open(h.origin)
	h.page(b, "login", "Choose how you want to sign in.")
	set("username", "otto")
	set("password", "correct horse battery")
	b.do("sign in", chromedp.Click(chromedp.Search(`//form[.//input[@type="password"]]//button[@type="submit"]`)))
	h.page(b, "verify-email", "Look into your mailbox")
	other.open(h.mail.wait(t, u.Email).link(t))
	h.page(other, "verify-email-proof", "Is this your address?")
	other.copyNumber(b)
	other.click("Yes")
	h.page(other, "verify-email-done", "Confirmed")
	b.click("I have confirmed it")
	b.see("Hello, Otto Berg")

	b.open(h.origin + "/account/totp")
	b.see("Set up an authenticator app")
	if w := evaluate[int](b, `(i => i.complete && i.checkVisibility() ? i.naturalWidth : 0)(document.querySelector(".qr img"))`); w < 100 {
		t.Errorf("the QR code is %d wide", w)
	}
	h.page(b, "account-totp", "Set up an authenticator app")
	code, err := totp.GenerateCode(evaluate[string](b, `document.querySelector("code").innerText.replaceAll(" ", "")`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	set("code", code)
	b.do("confirm", chromedp.Click(chromedp.Search(`form.fields button[type="submit"]`)))
	h.page(b, "account-recovery", "Your recovery codes")
	b.click("I have kept them")
	b.see("Your account")
	b.authenticator()
	b.open(h.origin + "/account/passkey")
	h.page(b, "account-passkey", "Create a passkey")
	b.click("Create passkey")
	b.see("Your passkey was added. You can sign in with it from now on.")
	b.open(h.origin + "/account/username")
	h.page(b, "account-username", "Change user name")
	b.open(h.origin + "/account/email")
	h.page(b, "account-email", "Change e-mail address")
	b.open(h.origin + "/account/password")
	h.page(b, "account-password", "Change password")
	b.open(h.origin + "/account/")
	h.page(b, "account-all", "Your account")
}
