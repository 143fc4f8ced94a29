package brokertest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// A Browser is one person's browser without scripts: it keeps cookies, follows redirects and pages that lead on by
// themselves, and says where its requests come from as browsers do. Once its fields are set several goroutines can use it, as
// somebody does who clicks twice.
type Browser struct {
	// Header is sent with every request, for instance Accept-Language.
	Header http.Header
	// Transport carries every request, for instance to doubles of hosts that tests must not reach; http.DefaultTransport if nil.
	// A page's address is that of its response's Request.
	Transport http.RoundTripper

	t      testing.TB
	client *http.Client
}

// trailKey is of the context of a request, whose value is a *[]string: the URLs that it has led to.
type trailKey struct{}

// NewBrowser returns a browser without cookies.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	b := &Browser{Header: http.Header{}, t: t, client: &http.Client{Jar: jar}}
	b.client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		trail := r.Context().Value(trailKey{}).(*[]string)
		*trail = append(*trail, r.URL.String())
		if len(via) > 20 {
			return errors.New("more than 20 redirects")
		}
		return nil
	}
	return b
}

// Cookies returns the browser's cookies for a URL, by name.
func (b *Browser) Cookies(rawURL string) map[string]string {
	b.t.Helper()
	found := map[string]string{}
	for _, c := range b.client.Jar.Cookies(b.parse(rawURL)) {
		found[c.Name] = c.Value
	}
	return found
}

// SetCookies plants cookies for a URL, as an attacker might, or to carry them over from another browser.
func (b *Browser) SetCookies(rawURL string, cookies map[string]string) {
	b.t.Helper()
	var list []*http.Cookie
	for name, value := range cookies {
		list = append(list, &http.Cookie{Name: name, Value: value, Path: "/"})
	}
	b.client.Jar.SetCookies(b.parse(rawURL), list)
}

// Stop makes the browser not follow redirects, so that a test sees each one.
func (b *Browser) Stop() {
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

func (b *Browser) parse(rawURL string) *url.URL {
	b.t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		b.t.Fatalf("brokertest: %v", err)
	}
	return u
}

// Get opens a URL as if it was typed in.
func (b *Browser) Get(rawURL string) *Page {
	b.t.Helper()
	return b.open(http.MethodGet, rawURL, nil, "none")
}

// Post sends a form from the page at the URL from, "" for a page of the same origin.
func (b *Browser) Post(rawURL string, form url.Values, from string) *Page {
	b.t.Helper()
	site := "same-origin"
	if from != "" && b.parse(from).Host != b.parse(rawURL).Host {
		site = "cross-site"
	}
	return b.open(http.MethodPost, rawURL, form, site)
}

func (b *Browser) open(method, rawURL string, form url.Values, site string) *Page {
	b.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, rawURL, body)
	if err != nil {
		b.t.Fatalf("brokertest: %v", err)
	}
	r.Header = b.Header.Clone()
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", site)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, trail, err := b.do(r)
	if err != nil {
		b.t.Fatalf("brokertest: %s %s: %v", method, rawURL, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatalf("brokertest: read %s: %v", response.Request.URL, err)
	}
	p := &Page{
		Status: response.StatusCode, URL: response.Request.URL, Header: response.Header, Body: string(text),
		Trail: trail, browser: b,
	}
	b.loadFrames(p)
	if to := p.refresh(); to != "" {
		trail := p.Trail
		p = b.open(http.MethodGet, to, nil, "cross-site")
		p.Trail = append(trail, p.Trail...)
	}
	return p
}

// do sends a request and follows redirects. The second result is the URLs that it has asked.
func (b *Browser) do(r *http.Request) (*http.Response, []string, error) {
	trail := []string{r.URL.String()}
	client := *b.client
	client.Transport = b.Transport
	response, err := client.Do(r.WithContext(context.WithValue(r.Context(), trailKey{}, &trail)))
	return response, trail, err
}

// A Page is what the browser shows.
type Page struct {
	Status int
	URL    *url.URL // of the address bar
	Header http.Header
	Body   string
	Trail  []string // the URLs that led here, this one included

	browser *Browser
}

// JSON reads the page into v.
func (p *Page) JSON(v any) {
	p.browser.t.Helper()
	if err := json.Unmarshal([]byte(p.Body), v); err != nil {
		p.browser.t.Fatalf("brokertest: %s (status %d) is no JSON: %v\n%s", p.URL, p.Status, err, p.Body)
	}
}

// Who reads the answer of [Start]'s host application.
func (p *Page) Who() Who {
	p.browser.t.Helper()
	var who Who
	p.JSON(&who)
	return who
}

// Click follows the link with this text, which need not be all of its text.
func (p *Page) Click(text string) *Page {
	p.browser.t.Helper()
	for _, link := range p.Links() {
		if strings.Contains(link.Text, text) {
			return p.browser.open(http.MethodGet, p.resolve(link.URL), nil, "same-origin")
		}
	}
	p.browser.t.Fatalf("brokertest: no link %q at %s (status %d):\n%s", text, p.URL, p.Status, p.Body)
	return nil
}

// Submit fills in the page's first form, its hidden fields kept, and sends it as a person would.
func (p *Page) Submit(fields url.Values) *Page {
	p.browser.t.Helper()
	form, ok := p.form()
	if !ok {
		p.browser.t.Fatalf("brokertest: no form at %s (status %d):\n%s", p.URL, p.Status, p.Body)
	}
	for name, values := range fields {
		form.fields[name] = values
	}
	to := p.resolve(form.action)
	if !strings.EqualFold(form.method, http.MethodPost) {
		u := p.browser.parse(to)
		u.RawQuery = form.fields.Encode()
		return p.browser.open(http.MethodGet, u.String(), nil, "same-origin")
	}
	return p.browser.Post(to, form.fields, p.URL.String())
}

// A Link is an anchor of a page.
type Link struct{ Text, URL string }

// Links returns the page's anchors in order.
func (p *Page) Links() []Link {
	var links []Link
	inside := false
	p.walk(func(token xml.Token) {
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "a" {
				inside = true
				links = append(links, Link{URL: attr(e, "href")})
			}
		case xml.CharData:
			if inside {
				last := &links[len(links)-1]
				last.Text = strings.TrimSpace(last.Text + " " + strings.Join(strings.Fields(string(e)), " "))
			}
		case xml.EndElement:
			if e.Name.Local == "a" {
				inside = false
			}
		}
	})
	return links
}

// Frames returns the addresses of the page's frames in order.
func (p *Page) Frames() []string {
	if !strings.Contains(p.Body, "<iframe") {
		return nil
	}
	var frames []string
	p.walk(func(token xml.Token) {
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "iframe" {
			frames = append(frames, attr(e, "src"))
		}
	})
	return frames
}

// Form returns where the page's first form is sent, as it stands there, and the values that it would send untouched.
func (p *Page) Form() (action string, fields url.Values, ok bool) {
	f, ok := p.form()
	if !ok {
		return "", nil, false
	}
	return f.action, f.fields, true
}

type form struct {
	action, method string
	fields         url.Values
}

// form returns the first form with the values that it would send untouched.
func (p *Page) form() (*form, bool) {
	var found *form
	done := false
	p.walk(func(token xml.Token) {
		switch e := token.(type) {
		case xml.StartElement:
			switch {
			case done:
			case e.Name.Local == "form" && found == nil:
				found = &form{action: attr(e, "action"), method: attr(e, "method"), fields: url.Values{}}
			case e.Name.Local == "input" && found != nil && attr(e, "name") != "":
				found.fields.Add(attr(e, "name"), attr(e, "value"))
			}
		case xml.EndElement:
			done = done || found != nil && e.Name.Local == "form"
		}
	})
	return found, found != nil
}

// refresh returns the URL that the page leads to by itself, "" if it does not.
func (p *Page) refresh() string {
	if !strings.Contains(p.Body, "http-equiv") {
		return ""
	}
	var to string
	p.walk(func(token xml.Token) {
		e, ok := token.(xml.StartElement)
		if ok && e.Name.Local == "meta" && strings.EqualFold(attr(e, "http-equiv"), "refresh") {
			_, to, _ = strings.Cut(attr(e, "content"), "url=")
		}
	})
	if to == "" {
		return ""
	}
	return p.resolve(to)
}

func (p *Page) resolve(ref string) string {
	u, err := p.URL.Parse(ref)
	if err != nil {
		p.browser.t.Fatalf("brokertest: %s leads to %q: %v", p.URL, ref, err)
	}
	return u.String()
}

// walk reads the page as far as it can be read.
func (p *Page) walk(visit func(xml.Token)) {
	d := xml.NewDecoder(strings.NewReader(p.Body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if err != nil {
			return
		}
		visit(token)
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
