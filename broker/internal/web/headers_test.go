package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// directives returns a policy by directive.
func directives(policy string) map[string]string {
	all := make(map[string]string)
	for d := range strings.SplitSeq(policy, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
		all[name] = value
	}
	return all
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Theme: theme})
	for name, page := range pages() {
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Origin") // of the host
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", "de")
		p.Render(w, r, page)
		h := w.Header()
		for key, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "strict-origin",
			"Cache-Control": "no-store", "Content-Language": "de", "Content-Type": "text/html; charset=utf-8",
			"Cross-Origin-Opener-Policy": "", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(key); got != want {
				t.Errorf("%s: %s = %q, want %q", name, key, got, want)
			}
		}
		if got := strings.Join(h.Values("Vary"), ","); got != "Origin,Accept-Language" {
			t.Errorf("%s: Vary = %q", name, got)
		}
		want := map[string]string{
			"default-src": "'none'", "style-src": "'self'", "img-src": "'self' data:", "font-src": "'self'",
			"base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'self'",
		}
		if page.Name == "post" {
			delete(want, "form-action") // any: see postPolicy
			want["script-src"] = "'self'"
		}
		if strings.Contains(name, "passkey") && name != "account-passkey-rename" {
			want["script-src"] = "'self'"
		}
		if data, ok := page.Data.(web.SignedOutData); ok && len(data.Frames) > 0 {
			want["frame-src"] = map[string]string{ // see TestSignedOutFrames
				"signedout-upstream": "https://a.example:8443 http://127.0.0.1:1", "signedout-onward": "https://a.example",
			}[name]
		}
		got := directives(h.Get("Content-Security-Policy"))
		if len(got) != len(want) {
			t.Errorf("%s: policy %v, want %v", name, got, want)
		}
		for d, value := range want {
			if got[d] != value {
				t.Errorf("%s: %s %q, want %q", name, d, got[d], value)
			}
		}
	}
}
