// Package web is what a visitor sees of the broker: the pages, their words, their looks and their headers.
//
// It owns the templates, the message files and the stylesheet, the choice of language, and the security headers of a
// page. It knows nothing of logins: whoever renders says which page, and hands over its data.
//
//	pages, err := web.NewPages(web.Config{Base: "/id", Name: "Example", Logger: log})
//	if err != nil {
//		return err // a template or message file of the theme is broken
//	}
//	mux.Handle("GET /id/static/", pages.Static())
//	pages.Render(w, r, web.Page{
//		Name: "error", Status: http.StatusNotFound, RequestID: id,
//		Data: web.ErrorData{Message: "not_found", Back: "/"},
//	})
//
// # Themes
//
// A theme is an [fs.FS] laid over the embedded files:
//
//	static/theme.css      loaded after style.css; a few custom properties are enough for other colours
//	static/logo.svg       shown at the top of every page, with the product's name as its text
//	static/…              any other file: replaces ours of that name, or is served beside them
//	locales/de.json       flat JSON, key to text: its keys replace ours one by one, and may be new ones
//	locales/nl.json       one more language; what it leaves out is said in English
//	templates/login.html  replaces our page; layout.html and parts.html, which every page shares, can be replaced too
//	templates/terms.html  a new page, rendered by its name with [FlowData]
//	mail/mail.html        replaces the one page that every mail is
//
// A page defines the templates "title" and "main", and "head" if it needs more there. They see .Lang, .Product (the name
// of the product, may be empty), .Page, .RequestID and .Data, and call:
//
//	t "key" "name" value …    the text of a message, with its {name} placeholders replaced
//	either ARGS "key" …       the text of the first message that exists; ARGS is a map of placeholders, or nil
//	known "key"               whether there is such a message
//	static "logo.svg"         the address of a static file, to be cached for ever
//	has "logo.svg"            whether there is such a static file
//	link URL, icon URL        the address if it may be followed or shown, otherwise ""
//	letter NAME, hue NAME     the initial of a name, and a number from 0 to 5, for a tile in place of an icon
//
// Pages run no script and no inline style: the Content-Security-Policy forbids both, but for a script of ours on the few that need it. A page of a theme that does not
// parse, misuses an escaping context, or names a message or a static file that does not exist fails in [NewPages].
package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed templates mail locales static
var embedded embed.FS

// Config says what the pages are called and how they differ from the built-in ones.
type Config struct {
	// Base is the path prefix of the broker's URLs: "" or "/id". It has no slash at its end.
	Base string
	// Name is the product's name, shown at the top of every page and in its title. If empty, neither has one.
	Name string
	// Theme is laid over the embedded files; nil means none. It is read by NewPages only.
	Theme fs.FS
	// Logger is told what could not be rendered. If nil, nobody is.
	Logger *slog.Logger
}

// Pages renders pages. It never changes after [NewPages] and may be used by many goroutines.
type Pages struct {
	base, name string
	log        *slog.Logger
	words      *catalogs
	files      map[string]*file
	pages      map[string]func() map[string]*template.Template // language, then page
	mail       *template.Template
}

// A Page is one page to be rendered.
type Page struct {
	Name      string // of the template, without .html
	Status    int    // of the response; 0 means 200
	Locales   string // ui_locales of the request; if empty, or if none of them is known, Accept-Language decides
	RequestID string // shown on error pages and logged, so that one finds the other; may be empty
	Data      any    // LoginData for "login", and so on; FlowData for the pages of a theme
}

// view is what a template sees.
type view struct {
	Page, Lang, Dir, Product, RequestID string
	Data                                any
}

// NewPages parses every template and reads every static file, once. Its error joins all that is wrong
// with the theme.
func NewPages(c Config) (*Pages, error) {
	if !validBase(c.Base) {
		return nil, fmt.Errorf("pages: base %q is neither empty nor a clean path such as /id", c.Base)
	}
	p := &Pages{base: c.Base, name: c.Name, log: c.Logger}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	layers := []fs.FS{embedded}
	if c.Theme != nil {
		layers = append(layers, c.Theme)
	}
	var err1, err2, err3 error
	p.words, err1 = readCatalogs(layers)
	p.files, err2 = readStatic(layers)
	p.mail, err3 = readMail(layers)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	if err := p.parse(layers); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return p, nil
}

func validBase(base string) bool {
	if base == "" {
		return true
	}
	return base != "/" && base[0] == '/' && path.Clean(base) == base && (&url.URL{Path: base}).EscapedPath() == base
}

// parse fills p.pages from the templates of all layers, of which the last one wins. What is wrong with a template is wrong in
// every language, as each falls back to the first: the others are parsed when somebody wants them.
func (p *Pages) parse(layers []fs.FS) error {
	sources, err := readAll(layers, "templates", ".html")
	if err != nil {
		return err
	}
	shared := template.New("layout").Funcs(p.funcs(p.words.def()))
	for _, name := range []string{"layout", "parts"} {
		if _, err := shared.Parse(string(sources[name])); err != nil {
			return fmt.Errorf("templates/%s.html: %w", name, err)
		}
		delete(sources, name)
	}
	first, err := p.parseIn(p.words.def(), shared, sources)
	if err != nil {
		return err
	}
	p.pages = map[string]func() map[string]*template.Template{
		p.words.def(): func() map[string]*template.Template { return first },
	}
	for _, lang := range p.words.langs[1:] {
		p.pages[lang] = sync.OnceValue(func() map[string]*template.Template {
			pages, err := p.parseIn(lang, shared, sources)
			if err != nil { // in this language alone: its visitors read the other
				p.log.Error("templates not parsed", "language", lang, "err", err)
				return first
			}
			return pages
		})
	}
	return nil
}

// parseIn parses every page in one language.
func (p *Pages) parseIn(lang string, shared *template.Template, sources map[string][]byte) (map[string]*template.Template, error) {
	var errs []error
	pages := make(map[string]*template.Template, len(sources))
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		t, err := p.parsePage(shared, lang, name, string(sources[name]))
		if err != nil {
			errs = append(errs, fmt.Errorf("templates/%s.html in %s: %w", name, lang, err))
			continue
		}
		pages[name] = t
	}
	return pages, errors.Join(errs...)
}

// parsePage parses one page in one language, and executes it once: html/template looks at contexts only then.
func (p *Pages) parsePage(shared *template.Template, lang, name, source string) (*template.Template, error) {
	t, err := shared.Clone()
	if err != nil {
		return nil, err
	}
	if _, err := t.Funcs(p.funcs(lang)).Parse(source); err != nil {
		return nil, err
	}
	data, builtin := sample(name)
	err = t.Execute(io.Discard, p.view(lang, Page{Name: name, RequestID: "sample", Data: data}))
	// What a page of a theme makes of its own data cannot be known here, so that only errors of the other kinds count.
	if err != nil && !builtin && !isStatic(err) {
		err = nil
	}
	return t, err
}

// isStatic reports whether a template's error is there whatever the data.
func isStatic(err error) bool {
	var escape *template.Error
	return errors.As(err, &escape) || errors.Is(err, errUnknown)
}

func (p *Pages) view(lang string, page Page) view {
	return view{
		Page: page.Name, Lang: lang, Dir: direction(lang), Product: p.name, RequestID: page.RequestID, Data: page.Data,
	}
}

// checker is page data that must not be rendered at all if it is wrong.
type checker interface{ check() error }

// Render writes a page with its status, language and security headers. A page that cannot be rendered is logged, and a
// plain 500 is written in its place, never half a page.
func (p *Pages) Render(w http.ResponseWriter, r *http.Request, page Page) {
	lang := p.Language(r, page.Locales)
	h := w.Header()
	Headers(h)
	h.Add("Vary", "Accept-Language")
	var buf bytes.Buffer
	if err := p.execute(&buf, lang, page); err != nil {
		p.log.ErrorContext(r.Context(), "page not rendered", "page", page.Name, "request", page.RequestID, "err", err)
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "Internal error "+page.RequestID+"\n")
		return
	}
	switch data := page.Data.(type) {
	case PostData:
		h.Set("Content-Security-Policy", postPolicy)
	case SignedOutData:
		h.Set("Content-Security-Policy", data.policy())
	}
	if asksPasskey(page) {
		h.Set("Content-Security-Policy", pagePolicy+scriptPolicy)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	if page.Status != 0 {
		w.WriteHeader(page.Status)
	}
	_, _ = w.Write(buf.Bytes()) // a visitor who has gone needs no page
}

// asksPasskey reports whether the page is one of those with the script for passkeys.
func asksPasskey(page Page) bool {
	switch data := page.Data.(type) {
	case LoginData:
		return data.Passkey != nil
	case AccountFormData:
		return data.Options != ""
	case FlowData:
		return page.Name == "passkey" || page.Name == "password" && data.Data["passkey"] != nil
	}
	return false
}

func (p *Pages) execute(w io.Writer, lang string, page Page) error {
	t := p.pages[lang]()[page.Name]
	if t == nil {
		return fmt.Errorf("no template %q", page.Name)
	}
	if c, ok := page.Data.(checker); ok {
		if err := c.check(); err != nil {
			return err
		}
	}
	return t.Execute(w, p.view(lang, page))
}

// Language is the language in which a page is rendered for this request: the first one known of ui_locales (OpenID
// Connect Core §3.1.2.1, space-separated, may be empty), else the best for Accept-Language, else English.
func (p *Pages) Language(r *http.Request, uiLocales string) string {
	return p.words.choose(uiLocales, strings.Join(r.Header.Values("Accept-Language"), ","))
}

// funcs are what templates call, in one language.
func (p *Pages) funcs(lang string) template.FuncMap {
	return template.FuncMap{
		"t":      func(key string, args ...any) (string, error) { return p.words.text(lang, key, args) },
		"either": func(args map[string]string, keys ...string) (string, error) { return p.words.either(lang, args, keys) },
		"known":  func(key string) bool { return p.words.known(lang, key) },
		"static": p.staticURL,
		"has":    func(name string) bool { return p.files[name] != nil },
		"link":   link,
		"icon":   icon,
		"frames": frames,
		"letter": letter,
		"hue":    hue,
		"digits": digits,
	}
}

// readAll reads the files dir/*ext of all layers. The result's keys are without folder and extension.
func readAll(layers []fs.FS, dir, ext string) (map[string][]byte, error) {
	all := make(map[string][]byte)
	for _, layer := range layers {
		names, err := fs.Glob(layer, dir+"/*"+ext)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			b, err := fs.ReadFile(layer, name)
			if err != nil {
				return nil, err
			}
			all[strings.TrimSuffix(path.Base(name), ext)] = b
		}
	}
	return all, nil
}
