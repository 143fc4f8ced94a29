package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Base: "/id", Theme: fstest.MapFS{
		"static/fonts/a.woff2":   {Data: []byte("font")},
		"static/page.html":       {Data: []byte("<script>")},
		"static/.secret":         {Data: []byte("s")},
		"static/.git/config":     {Data: []byte("s")},
		"templates/terms.html":   {Data: []byte(`{{define "title"}}x{{end}}{{define "main"}}<h1>x</h1>{{end}}`)},
		"elsewhere/passwords.db": {Data: []byte("p")},
	}})
	page := render(t, p, web.Page{Name: "signedout", Data: web.SignedOutData{}}).Body.String()
	version := strings.TrimPrefix(versions.FindString(page[strings.Index(page, "style.css"):]), "?v=")
	const forever, always = "public, max-age=31536000, immutable", "no-cache"
	rows := []struct {
		method, target, tag string
		status              int
		kind, cache         string
	}{
		{"GET", "/id/static/style.css?v=" + version, "", 200, "text/css; charset=utf-8", forever},
		{"HEAD", "/id/static/style.css?v=" + version, "", 200, "text/css; charset=utf-8", forever},
		{"GET", "/static/style.css?v=" + version, "", 200, "text/css; charset=utf-8", forever},
		{"GET", "/id/static/style.css", "", 200, "text/css; charset=utf-8", always},
		{"GET", "/id/static/style.css?v=AAAAAAAAAAAA", "", 200, "text/css; charset=utf-8", always},
		{"GET", "/id/static/style.css", `"` + version + `"`, 304, "", always},
		{"GET", "/id/static/post.js", "", 200, "text/javascript; charset=utf-8", always},
		{"GET", "/id/static/icon.svg", "", 200, "image/svg+xml", always},
		{"GET", "/id/static/fonts/a.woff2", "", 200, "font/woff2", always},
		{"GET", "/id/static/page.html", "", 200, "application/octet-stream", always},
		{"POST", "/id/static/style.css", "", 405, "text/plain; charset=utf-8", ""},
		{"GET", "/id/static/", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/fonts", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/nosuch.css", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/.secret", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/.git/config", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/../templates/terms.html", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/id/static/..%2felsewhere%2fpasswords.db", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"GET", "/other/static/style.css", "", 404, "text/plain; charset=utf-8", "no-store"},
	}
	for _, row := range rows {
		r := httptest.NewRequestWithContext(t.Context(), row.method, row.target, nil)
		r.Header.Set("If-None-Match", row.tag)
		w := httptest.NewRecorder()
		p.Static().ServeHTTP(w, r)
		h := w.Header()
		if w.Code != row.status || h.Get("Content-Type") != row.kind || h.Get("Cache-Control") != row.cache {
			t.Errorf("%s %s: %d %q %q, want %d %q %q", row.method, row.target,
				w.Code, h.Get("Content-Type"), h.Get("Cache-Control"), row.status, row.kind, row.cache)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s may be sniffed", row.method, row.target)
		}
		if row.status == http.StatusOK && !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s %s may run scripts: %q", row.method, row.target, h.Get("Content-Security-Policy"))
		}
	}
}
