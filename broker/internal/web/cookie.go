package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxCookie is how many bytes of name and value every browser keeps.
const maxCookie = 4000

// Cookies sets and reads the broker's cookies. Over https they carry the __Host- prefix, so that no other host, a
// sibling subdomain for instance, can plant one.
type Cookies struct {
	Secure bool // the BaseURL is https
	// Port of the BaseURL, "" for the default one. Browsers keep one set of cookies for all ports of a host, where during
	// development another broker may be.
	Port string
}

// Name returns the name under which the cookie is known to the browser.
func (c Cookies) Name(name string) string {
	prefix := "idbroker-"
	if c.Secure {
		prefix = "__Host-idbroker-"
	}
	if c.Port != "" {
		prefix += c.Port + "-"
	}
	return prefix + name
}

// Get returns the value of the cookie, "" if the browser sent none or more than one of that name.
func (c Cookies) Get(r *http.Request, name string) string {
	found := r.CookiesNamed(c.Name(name))
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// Trim makes the browser forget cookies whose names begin with prefix, the earliest first, until at most count of them are
// left, of at most size bytes together: servers and proxies refuse requests whose headers have grown too long. Cookies of
// one path come earliest first (RFC 6265 §5.4).
func (c Cookies) Trim(w http.ResponseWriter, r *http.Request, prefix string, count, size int) {
	var found []*http.Cookie
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, c.Name(prefix)) {
			found = append(found, cookie)
			size -= len(cookie.Name) + len(cookie.Value)
		}
	}
	for ; len(found) > 0 && (len(found) > count || size < 0); found = found[1:] {
		size += len(found[0].Name) + len(found[0].Value)
		c.Clear(w, strings.TrimPrefix(found[0].Name, c.Name("")))
	}
}

// Fits reports whether a browser would keep the cookie.
func (c Cookies) Fits(name, value string) bool { return len(c.Name(name))+len(value) <= maxCookie }

// Set sets a cookie that scripts cannot read and that other sites' requests do not carry, except by a link. With
// lifetime 0 it ends with the browser. With crossSite it comes along with a POST from another site too, which browsers
// allow over https only.
func (c Cookies) Set(w http.ResponseWriter, name, value string, lifetime time.Duration, crossSite bool) {
	cookie := c.cookie(name, value)
	cookie.MaxAge = int(lifetime / time.Second)
	if crossSite && c.Secure {
		cookie.SameSite = http.SameSiteNoneMode
	}
	http.SetCookie(w, cookie)
}

// Clear makes the browser forget the cookie.
func (c Cookies) Clear(w http.ResponseWriter, name string) {
	cookie := c.cookie(name, "")
	cookie.MaxAge = -1
	http.SetCookie(w, cookie)
}

func (c Cookies) cookie(name, value string) *http.Cookie {
	return &http.Cookie{
		Name:     c.Name(name),
		Value:    value,
		Path:     "/",
		Secure:   c.Secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// Loopback reports whether a host is this machine, for which http is as good as https.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// quotes escapes what may stand raw in a query and must not in a header or a page.
var quotes = strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", "`", "%60")

// LocalPath returns target as a path with query on this site, and whether it is one: an absolute path, or a URL of the
// same origin as base. Whatever a browser might read as another site (//host, /\host, control characters) is none.
func LocalPath(base *url.URL, target string) (string, bool) {
	if strings.ContainsFunc(target, func(r rune) bool { return r < 0x21 || r == '\\' || r == 0x7f }) {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil || u.User != nil || u.Opaque != "" {
		return "", false
	}
	if u.Scheme != "" || u.Host != "" {
		if u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) {
			return "", false
		}
		u.Scheme, u.Host = "", ""
	}
	if u.Path == "" {
		u.Path = "/"
	}
	local := quotes.Replace(u.String())
	if local[0] != '/' || strings.HasPrefix(local, "//") {
		return "", false
	}
	return local, true
}
