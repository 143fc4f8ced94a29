package providertest

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed page.html
var pageSource string

//go:embed style.css
var styleSource string

var pages = template.Must(template.New("page").Funcs(template.FuncMap{"initial": initial}).Parse(pageSource))

func initial(name string) string {
	r, size := utf8.DecodeRuneInString(name)
	if size == 0 {
		return "?"
	}
	return strings.ToUpper(string(r))
}

// A page is what page.html shows.
type page struct {
	Kind     string // "login", "consent", "fail", "signed out" or "post"
	Provider string
	Style    string // URL
	Action   string // of the form
	Client   string
	Users    []pageUser
	Scopes   []string
	Message  string
	Fields   url.Values
	Script   string // URL
}

type pageUser struct {
	Subject, Name, Detail, Error string
	Hinted, Unverified           bool
}

func (u User) onPage() pageUser {
	detail := u.Email
	if detail == "" {
		detail = u.Username
	}
	return pageUser{Subject: u.Subject, Name: u.display(), Detail: detail, Error: u.Error, Unverified: u.Email != "" && !u.EmailVerified}
}

// loginPage asks who it is; the user that was hinted at comes first.
func (o *OIDC) loginPage(w http.ResponseWriter, req *authRequest, hinted string) {
	p := page{Kind: "login", Client: req.client.display(), Action: "?" + req.params.Encode()}
	o.mu.Lock()
	for _, u := range o.users {
		shown := u.onPage()
		if shown.Hinted = hinted != "" && u.Subject == hinted; shown.Hinted {
			p.Users = slices.Insert(p.Users, 0, shown)
			continue
		}
		p.Users = append(p.Users, shown)
	}
	o.mu.Unlock()
	o.render(w, http.StatusOK, p)
}

var scopeTexts = map[string]string{
	"openid": "Know who you are here", "profile": "Your name and picture", "email": "Your e-mail address",
	"groups": "The groups you belong to", "offline_access": "Access while you are away",
}

func (o *OIDC) consentPage(w http.ResponseWriter, req *authRequest, user User) {
	p := page{Kind: "consent", Client: req.client.display(), Action: "?" + req.params.Encode(), Users: []pageUser{user.onPage()}}
	for _, scope := range req.scope {
		text := scopeTexts[scope]
		if text == "" {
			text = scope
		}
		p.Scopes = append(p.Scopes, text)
	}
	o.render(w, http.StatusOK, p)
}

func (o *OIDC) failPage(w http.ResponseWriter, rec record, status int, message string) {
	rec.failed(message)
	o.render(w, status, page{Kind: "fail", Message: message})
}

func (o *OIDC) signedOutPage(w http.ResponseWriter) {
	o.render(w, http.StatusOK, page{Kind: "signed out"})
}

// postPage posts an answer, OAuth 2.0 Form Post Response Mode.
func (o *OIDC) postPage(w http.ResponseWriter, target string, fields url.Values) {
	o.render(w, http.StatusOK, page{Kind: "post", Action: target, Fields: fields})
}

// render shows a page.
func (o *OIDC) render(w http.ResponseWriter, status int, p page) { o.look().render(w, status, p) }

func (o *OIDC) look() look { return look{o.cfg.Name, o.base, o.cfg.Accent} }

func (o *OIDC) style(w http.ResponseWriter, _ *http.Request) { o.look().style(w) }

func (o *OIDC) submit(w http.ResponseWriter, _ *http.Request) { o.look().submit(w) }

// A look is what the pages of a provider have in common.
type look struct{ name, base, accent string }

// render has no form-action in its policy: browsers apply it to the redirects after a form, too.
func (l look) render(w http.ResponseWriter, status int, p page) {
	p.Provider, p.Style, p.Script = l.name, l.base+"/style.css", l.base+"/submit.js"
	var buf bytes.Buffer
	if err := pages.Execute(&buf, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, a form sends "Origin: null"
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(buf.Bytes())
}

func (l look) style(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprintf(w, ":root { --accent: %s; --on-accent: %s; }\n%s", l.accent, readableOn(l.accent), styleSource)
}

func (look) submit(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprint(w, "document.forms[0].submit();\n")
}

// readableOn is black or white, whichever stands out more on a colour "#rrggbb" (WCAG 2 relative luminance, roughly).
func readableOn(colour string) string {
	rgb, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil {
		return "#ffffff"
	}
	channel := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		return c * c
	}
	if 0.2126*channel(16)+0.7152*channel(8)+0.0722*channel(0) > 0.18 {
		return "#000000"
	}
	return "#ffffff"
}
