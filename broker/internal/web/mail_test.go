package web

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestMail(t *testing.T) {
	t.Parallel()
	p := newPages(t, Config{Name: "Example & Co"})
	for lang, want := range map[string]string{"en": "Confirm address", "de": "Adresse bestätigen", "fr": "Confirmer l’adresse", "xx": "Confirm address"} {
		m, err := p.Mail(lang, Mail{
			Name: "verify-email", Link: "https://b.example/id/mail?t=1&u=2", Args: map[string]string{"email": "ann@example.com", "minutes": "10"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"ann@example.com", want + "\nhttps://b.example/id/mail?t=1&u=2\n", " 10 ", "-- \nExample & Co\n"} {
			if !strings.Contains(m.Text, part) {
				t.Errorf("%s: text lacks %q:\n%s", lang, part, m.Text)
			}
		}
		for _, part := range []string{`href="https://b.example/id/mail?t=1&amp;u=2"`, "ann@example.com", "Example &amp; Co"} {
			if !strings.Contains(m.HTML, part) {
				t.Errorf("%s: HTML lacks %q:\n%s", lang, part, m.HTML)
			}
		}
	}
}

// What others chose (advisories: stored XSS in mails, header injection) is text, short, and on one line.
func TestMailOfAnAttacker(t *testing.T) {
	t.Parallel()
	p := newPages(t, Config{})
	m, err := p.Mail("en", Mail{Name: "link-account", Link: "https://b.example/", Args: map[string]string{
		"provider": "Up\r\nBcc: victim@example.com",
		"username": "<script>alert(1)</script>{account}\n\nDear customer, " + strings.Repeat("x", 9999),
		"account":  "ann",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(m.Subject, "\r\n") {
		t.Errorf("the subject has several lines: %q", m.Subject)
	}
	if strings.Contains(m.HTML, "<script") || strings.Contains(m.Text, "\n\nDear") || strings.Contains(m.Text, strings.Repeat("x", 300)) {
		t.Errorf("the attacker writes the mail:\n%s\n%s", m.Text, m.HTML)
	}
	if !strings.Contains(m.Text, "{account}") {
		t.Error("a value's own braces were filled in")
	}
}

func TestMailTheme(t *testing.T) {
	t.Parallel()
	p := newPages(t, Config{Theme: fstest.MapFS{
		"mail/mail.html":  {Data: []byte(`<html lang="{{.Lang}}"><p>{{.Text}}<a href="{{.Link}}">{{.Button}}</a>`)},
		"locales/en.json": {Data: []byte(`{"mail.welcome.subject":"Hello","mail.welcome.text":"Good to see you, {name}."}`)},
	}})
	m, err := p.Mail("en", Mail{Name: "welcome", Args: map[string]string{"name": "Ann"}})
	if err != nil || m.Subject != "Hello" || !strings.Contains(m.HTML, `<html lang="en"><p>Good to see you, Ann.`) {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := p.Mail("en", Mail{Name: "nothing"}); err == nil {
		t.Error("a mail without words was rendered")
	}
	if _, err := NewPages(Config{Theme: fstest.MapFS{"mail/mail.html": {Data: []byte("{{.Nonsense}}")}}}); err == nil {
		t.Error("a broken template was accepted")
	}
}

func newPages(t *testing.T, c Config) *Pages {
	t.Helper()
	p, err := NewPages(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
