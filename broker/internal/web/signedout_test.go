package web_test

import (
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// The page loads the frames that it has, and its policy allows their origins and nothing else.
func TestSignedOutFrames(t *testing.T) {
	t.Parallel()
	const before = "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	p := newPages(t, web.Config{})
	for _, row := range []struct {
		name   string
		frames []string
		loaded int
		policy string
	}{
		{"none", nil, 0, ""},
		{"one", []string{"https://app.example/out?sid=1"}, 1, "; frame-src https://app.example"},
		{"ports count, paths do not", []string{"https://a.example/1", "https://a.example/2", "http://127.0.0.1:80/3"}, 3,
			"; frame-src https://a.example http://127.0.0.1:80"},
		{"a script", []string{"javascript:alert(1)"}, 0, ""},
		{"data", []string{"data:text/html,x"}, 0, ""},
		{"an app", []string{"com.example.app:/out"}, 0, ""},
		{"a path", []string{"/id/logout"}, 0, ""},
		{"no scheme", []string{"//a.example/"}, 0, ""},
		{"a wildcard", []string{"https://*.example/"}, 0, ""},
		{"a policy in the host", []string{"https://a.example;script-src%20*/"}, 0, ""},
		{"a list in the host", []string{"https://a.example,b.example/"}, 0, ""},
		{"a user", []string{"https://a.example@b.example/"}, 0, ""},
		{"a space", []string{"https://a.example /"}, 0, ""},
		{"an IPv6 address, which policies do not know", []string{"https://[::1]/"}, 0, ""},
		{"no host", []string{"https:///out"}, 0, ""},
		{"among good ones", []string{"javascript:alert(1)", "https://a.example/"}, 1, "; frame-src https://a.example"},
	} {
		w := render(t, p, web.Page{Name: "signedout", Data: web.SignedOutData{Frames: row.frames}})
		if got := w.Header().Get("Content-Security-Policy"); got != before+row.policy {
			t.Errorf("%s: policy %q, want %q", row.name, got, before+row.policy)
		}
		if got := strings.Count(w.Body.String(), "<iframe "); got != row.loaded {
			t.Errorf("%s: %d frames, want %d\n%s", row.name, got, row.loaded, w.Body)
		}
	}
	for _, name := range []string{"logout", "expired", "continue"} {
		if got := render(t, p, pages()[name]).Header().Get("Content-Security-Policy"); got != before {
			t.Errorf("%s: policy %q", name, got)
		}
	}
}
