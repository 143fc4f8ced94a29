package main

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

// app are the pages of the host application. Nothing in them knows how anybody signed in.
type app struct {
	upstreams []broker.Provider
	clients   []store.Client
	mailer    broker.Mailer
}

// front is open to everybody.
func (a *app) front(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	render(w, http.StatusOK, "front", view{App: "Your App", Icon: "icon.svg", Data: struct {
		User    *store.User // nil if nobody is signed in
		Names   string
		Clients []store.Client
		Mailbox string
	}{user, a.names(), a.clients, a.mailbox()}})
}

// private is behind RequireLogin, so that there is somebody.
func (a *app) private(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	session, _ := broker.SessionFrom(r.Context())
	render(w, http.StatusOK, "app", view{App: "Your App", Icon: "icon.svg", Data: struct {
		User     *store.User
		Session  *store.Session
		Provider string
		Clients  []store.Client
	}{user, session, a.nameOf(session.Upstream.Provider), a.clients}})
}

// mailbox is where the demo shows what is mailed.
func (a *app) mailbox() string {
	if box, ok := a.mailer.(*mailbox); ok {
		return box.url
	}
	return ""
}

// names lists the providers as one reads them.
func (a *app) names() string {
	var list strings.Builder
	for i, p := range a.upstreams {
		switch {
		case i > 0 && i == len(a.upstreams)-1:
			list.WriteString(" and ")
		case i > 0:
			list.WriteString(", ")
		}
		list.WriteString(p.Name)
	}
	return list.String()
}

func (a *app) nameOf(alias string) string {
	for _, p := range a.upstreams {
		if p.Alias == alias {
			return p.Name
		}
	}
	return alias
}

// What both applications share: the look of their pages.

//go:embed web
var web embed.FS

var pages = parsePages("front", "app", "client", "mailbox", "problem")

func parsePages(names ...string) map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{"clock": clock}).ParseFS(web, "web/layout.html"))
	parsed := map[string]*template.Template{}
	for _, name := range names {
		parsed[name] = template.Must(template.Must(layout.Clone()).ParseFS(web, "web/"+name+".html"))
	}
	return parsed
}

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

// A view is what a page shows.
type view struct {
	App   string // whose page it is
	Icon  string
	Class string // of its look, "" for the usual one
	Data  any
}

// render writes a page that runs no script and that nobody frames or keeps.
func render(w http.ResponseWriter, status int, page string, v view) {
	var out bytes.Buffer
	if err := pages[page].Execute(&out, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(out.Bytes())
}

// static serves the stylesheet and the icons at /static/.
var static = staticFiles("app.css", "client.svg", "mailbox.svg", "theme/static/icon.svg")

// theme makes the broker's pages the application's own: its icon, for a start.
var theme = must(fs.Sub(web, "web/theme"))

func staticFiles(names ...string) http.Handler {
	mux := http.NewServeMux()
	files := must(fs.Sub(web, "web"))
	for _, name := range names {
		mux.HandleFunc("GET /static/"+path.Base(name), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeFileFS(w, r, files, name)
		})
	}
	return mux
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
