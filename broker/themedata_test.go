package broker_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-idbroker/idbroker/broker"
)

// A theme finds what the host gives it about a provider beside each button and link, escaped; the built-in pages show nothing of it.
func TestThemeData(t *testing.T) {
	t.Parallel()
	data := map[string]string{"glyph": `icon-demo"><script>`}
	give := func(c *broker.Config) {
		c.Providers[0].ThemeData, c.Providers[1].ThemeData = data, map[string]string{"glyph": "icon-other"}
	}
	w := newWorld(t, give)
	b := w.login("Demo")
	for _, page := range []string{w.URL + "/login", w.at("")} {
		if strings.Contains(b.Get(page).Body, "icon-") {
			t.Errorf("the built-in page at %s shows it", page)
		}
	}
	page := func(main string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{{define "title"}}x{{end}}{{define "main"}}<h1>x</h1>` + main + `{{end}}`)}
	}
	w.reconfigure(also(give, func(c *broker.Config) {
		c.Theme = fstest.MapFS{
			"templates/login.html": page(`{{range .Data.Providers}}<a class="{{.ThemeData.glyph}}" href="{{.URL}}">{{.Name}}</a>{{end}}`),
			"templates/account.html": page(`{{range .Data.Links}}<p class="{{.ThemeData.glyph}}">{{.Provider}}</p>{{end}}` +
				`{{range .Data.Linkable}}<b class="{{.ThemeData.glyph}}">{{.Name}}</b>{{end}}`),
		}
	}))
	data["glyph"] = "changed" // while requests are served
	const glyph = `class="icon-demo&#34;&gt;&lt;script&gt;"`
	shows(t, b.Get(w.URL+"/login?prompt=login"), 200, "<a "+glyph, `<a class="icon-other" href="`)
	shows(t, b.Get(w.at("")), 200, "<p "+glyph+">Demo</p>", `<b class="icon-other">Other</b>`)
}
