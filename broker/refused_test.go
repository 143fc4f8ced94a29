package broker_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// lines returns those of a log in JSON with this message.
func (b *syncBuffer) lines(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	for text := range strings.Lines(b.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == message {
			found = append(found, line)
		}
	}
	return found
}

// Each refused guess, wherever it was made, leaves a line that says at whose account and from where, and nothing of what was typed.
func TestRefusedGuessesAreLogged(t *testing.T) {
	t.Parallel()
	const wrong = "not-her-password@secret.example"
	for name, row := range map[string]struct {
		kind   string
		nobody bool // there is no such account
		try    func(w *world, user string) (*brokertest.Page, url.Values)
	}{
		"login page": {kind: "password", try: func(w *world, _ string) (*brokertest.Page, url.Values) {
			return brokertest.NewBrowser(w.t).Get(w.Origin + "/"), answer("alice", wrong)
		}},
		"login page, no such user": {kind: "password", nobody: true, try: func(w *world, _ string) (*brokertest.Page, url.Values) {
			return brokertest.NewBrowser(w.t).Get(w.Origin + "/"), answer(wrong, wrong)
		}},
		"first login": {kind: "password", try: func(w *world, _ string) (*brokertest.Page, url.Values) {
			return brokertest.NewBrowser(w.t).Get(w.Origin + "/").Click("Other"), answer("alice", wrong)
		}},
		"account page": {kind: "password", try: func(w *world, _ string) (*brokertest.Page, url.Values) {
			return w.login("Demo").Get(w.at("password")), url.Values{"current": {wrong}, "password": {"her own words"}, "repeat": {"her own words"}}
		}},
		"code of an app": {kind: "totp", try: func(w *world, user string) (*brokertest.Page, url.Values) {
			w.app(user)
			return brokertest.NewBrowser(w.t).Get(w.Origin + "/").Submit(answer("alice", password)), url.Values{"code": {"1 3 5 7 9 0"}}
		}},
		"recovery code": {kind: "recovery", try: func(w *world, user string) (*brokertest.Page, url.Values) {
			if _, err := w.local().NewRecoveryCodes(w.t.Context(), user); err != nil {
				w.t.Fatal(err)
			}
			return brokertest.NewBrowser(w.t).Get(w.Origin + "/").Submit(answer("alice", password)), url.Values{"code": {"AAAA-BBBB-CCCC"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := &syncBuffer{}
			w, alice, _, _ := newPasswordWorld(t, func(c *broker.Config) {
				c.Logger = slog.New(slog.NewJSONHandler(j, nil))
				c.RemoteAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("203.0.113.7") }
			})
			page, form := row.try(w, alice.ID)
			page = page.Submit(form)
			found := j.lines(t, "credential refused")
			if len(found) != 1 {
				t.Fatalf("%d lines, want one\n%s", len(found), j.String())
			}
			user := alice.ID
			if row.nobody {
				user = ""
			}
			if line := found[0]; line["user"] != user || line["kind"] != row.kind || line["source"] == "" || line["request"] == "" || line["level"] != "WARN" {
				t.Errorf("line %v", line)
			}
			for range 12 { // most of them while it is locked
				page = page.Submit(form)
			}
			if n := len(j.lines(t, "credential refused")); n < 4 || n > 6 {
				t.Errorf("%d lines for 13 guesses, want no more than may be made", n)
			}
			for _, secret := range []string{"secret.example", "1 3 5", "AAAA-BBBB", "AAAABBBBCCCC", "alice@example.com", password} {
				if strings.Contains(j.String(), secret) {
					t.Errorf("%q is in the log", secret)
				}
			}
		})
	}
}
