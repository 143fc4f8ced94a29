package web_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

func TestTheme(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Base: "/id", Name: "Northwind", Theme: fstest.MapFS{
		"static/theme.css":         {Data: []byte(":root{--accent:#800}")},
		"static/logo.svg":          {Data: []byte("<svg/>")},
		"locales/ar.json":          {Data: []byte(`{"login.title": "تسجيل الدخول"}`)},
		"locales/de.json":          {Data: []byte(`{"signedout.title": "Bis bald"}`)},
		"templates/signedout.html": {Data: []byte(`{{define "title"}}{{t "signedout.title"}}{{end}}{{define "main"}}<h1>{{template "title" .}}</h1>own{{end}}`)},
	}})
	rows := []struct {
		name, lang string
		page       web.Page
		want, not  []string
	}{
		{
			"page replaced, message replaced", "de", web.Page{Name: "signedout", Data: web.SignedOutData{Login: "/x"}},
			[]string{`<h1>Bis bald</h1>own`, `href="/id/static/theme.css?v=`, `class="logo" src="/id/static/logo.svg?v=`, `alt="Northwind"`},
			[]string{`href="/x"`, `class="product"`},
		},
		{
			"other messages stay", "de", web.Page{Name: "expired", Data: web.ExpiredData{Restart: "/"}},
			[]string{"Von vorn beginnen"}, nil,
		},
		{
			"new language, from right to left, in part", "ar", web.Page{Name: "login", Data: web.LoginData{Providers: []web.Button{{Name: "G", URL: "/"}}}},
			[]string{`<html lang="ar" dir="rtl">`, "<h1>تسجيل الدخول</h1>", "Continue with G"}, nil,
		},
	}
	for _, row := range rows {
		row.page.Locales = row.lang
		w := render(t, p, row.page)
		inspect(t, w.Body.Bytes(), row.lang, row.page.Name)
		for _, want := range row.want {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: no %q in\n%s", row.name, want, w.Body)
			}
		}
		for _, not := range row.not {
			if strings.Contains(w.Body.String(), not) {
				t.Errorf("%s: %q in\n%s", row.name, not, w.Body)
			}
		}
	}
}

// TestBrokenTheme: what is wrong with a theme is known before anybody logs in.
func TestBrokenTheme(t *testing.T) {
	t.Parallel()
	page := func(main string) []byte {
		return []byte(`{{define "title"}}x{{end}}{{define "main"}}<h1>x</h1>` + main + `{{end}}`)
	}
	rows := []struct {
		name, file string
		data       []byte
		want       string
	}{
		{"syntax", "templates/login.html", page("{{if}}"), "templates/login.html"},
		{"unknown function", "templates/a.html", page("{{nosuch}}"), "nosuch"},
		{"unknown message", "templates/a.html", page(`{{t "no.such"}}`), "message no.such: does not exist"},
		{"unknown static file", "templates/a.html", page(`{{static "no.png"}}`), "static/no.png: does not exist"},
		{"unknown field of ours", "templates/login.html", page("{{.Data.Nosuch}}"), "Nosuch"},
		{"title missing", "templates/login.html", []byte(`{{define "main"}}x{{end}}`), `"title"`},
		{"main missing in a new page", "templates/a.html", []byte(`{{define "title"}}x{{end}}`), `"main"`},
		{"ambiguous context", "templates/a.html", page(`<a {{if .Lang}}href="{{else}}title="{{end}}{{.Page}}">`), "templates/a.html"},
		{"layout", "templates/layout.html", []byte("{{end}}"), "templates/layout.html"},
		{"no JSON", "locales/de.json", []byte("{"), "locales/de.json"},
		{"nested JSON", "locales/de.json", []byte(`{"a": {"b": "c"}}`), "locales/de.json"},
		{"no language", "locales/german.json", []byte(`{}`), "locales/german.json"},
		{"language spelt otherwise", "locales/pt_BR.json", []byte(`{}`), "locales/pt_BR.json"},
	}
	for _, row := range rows {
		_, err := web.NewPages(web.Config{Theme: fstest.MapFS{row.file: {Data: row.data}}})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: NewPages = %v, want an error with %q", row.name, err, row.want)
		}
	}
	_, err := web.NewPages(web.Config{Theme: fstest.MapFS{
		"templates/a.html": {Data: page("{{if}}")}, "templates/b.html": {Data: page("{{nosuch}}")},
	}})
	if err == nil || strings.Count(err.Error(), "templates/a.html") != 1 || !strings.Contains(err.Error(), "templates/b.html") {
		t.Errorf("two mistakes: NewPages = %v, want each of them once", err)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	for base, ok := range map[string]bool{
		"": true, "/id": true, "/a/b": true, "/": false, "id": false, "/id/": false, "/a//b": false, "/a/../b": false, `/a"b`: false,
		"https://a.example/id": false,
	} {
		if _, err := web.NewPages(web.Config{Base: base}); (err == nil) != ok {
			t.Errorf("NewPages with base %q: %v", base, err)
		}
	}
}
