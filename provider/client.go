package provider

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	defaultTimeout = 10 * time.Second
	defaultMaxBody = 1 << 20
	maxRedirects   = 3
	maxHeaderBytes = 64 << 10
	idlePerHost    = 16
)

// HTTPOptions are what may be changed about the client of [NewHTTPClient]. The zero value is the strict one.
type HTTPOptions struct {
	// Timeout is for a whole exchange, from the name look-up to the last byte of the body; 10 seconds if zero.
	Timeout time.Duration
	// MaxBody is the most bytes that an answer may have, counted after decompression; 1 MiB if zero. Reading past it is
	// an error.
	MaxBody int64
	// RootCAs are whom to trust for TLS; the system's if nil.
	RootCAs *x509.CertPool
	// InsecureAllowPrivateNetworks lets requests go to loopback, private (RFC 1918, RFC 4193) and shared (RFC 6598)
	// addresses, for an upstream inside one's own network. Link-local addresses, at which clouds hand out credentials,
	// and all other special ones stay refused.
	InsecureAllowPrivateNetworks bool
	// InsecureAllowHTTP lets requests go out without TLS.
	InsecureAllowHTTP bool
}

// NewHTTPClient returns the client through which to fetch whatever an administrator can type or an upstream can name: it
// defends against server-side request forgery (OWASP SSRF, RFC 9700 §4) and against upstreams that never end.
//
//   - It connects to public addresses only. The address is checked when the connection is made, after the name was
//     resolved, so that a name which resolves to something else the second time gains nothing; no proxy is used, since
//     the proxy would be what is checked.
//   - https only, TLS 1.2 or newer; a URL with a user name or password is refused.
//   - Redirects are followed for a GET or HEAD without Authorization, at most three, and each target passes the same
//     checks. Any other request that is redirected fails, so that no secret travels on.
//   - Time, header and body are bounded.
//
// Its errors say which option would allow what was refused. The client keeps no cookies, is safe for concurrent use, and
// holds idle connections: make one and share it.
func NewHTTPClient(o HTTPOptions) *http.Client { return newHTTPClient(o, nil) }

func newHTTPClient(o HTTPOptions, resolver *net.Resolver) *http.Client {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	dialer := &net.Dialer{Timeout: o.Timeout, Resolver: resolver, Control: dialGuard(o.InsecureAllowPrivateNetworks)}
	return &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: checkRedirect,
		Transport: &guard{
			allowHTTP: o.InsecureAllowHTTP,
			maxBody:   o.MaxBody,
			next: &http.Transport{
				Proxy:                  nil,
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
				TLSHandshakeTimeout:    o.Timeout,
				MaxResponseHeaderBytes: maxHeaderBytes,
				MaxIdleConnsPerHost:    idlePerHost,
				IdleConnTimeout:        90 * time.Second,
				ForceAttemptHTTP2:      true,
			},
		},
	}
}

// dialGuard returns the check that runs between the name look-up and the connection, once for each address.
func dialGuard(allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	options := []ssrf.Option{ssrf.WithAnyPort()}
	if allowPrivate {
		options = append(options, ssrf.WithAllowedV4Prefixes(privateV4()...), ssrf.WithAllowedV6Prefixes(privateV6()...))
	}
	safe := ssrf.New(options...).Safe
	return func(network, address string, c syscall.RawConn) error {
		err := safe(network, address, c)
		if err == nil || allowPrivate {
			return err
		}
		return fmt.Errorf("%w (InsecureAllowPrivateNetworks allows an upstream inside your own network)", err)
	}
}

func privateV4() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"),
	}
}

func privateV6() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7")}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return fmt.Errorf("a %s is not redirected: configure the address that it is sent on to", first.Method)
	case first.Header.Get("Authorization") != "":
		return errors.New("a request with credentials is not redirected: configure the address that it is sent on to")
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// guard is the part of the client that looks at each request, the redirected ones included, and at each answer.
type guard struct {
	allowHTTP bool
	maxBody   int64
	next      http.RoundTripper
}

// RoundTrip sends req if it may be sent.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req.URL); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &cappedBody{ReadCloser: resp.Body, left: g.maxBody, max: g.maxBody}
	return resp, nil
}

// CloseIdleConnections is found by [http.Client.CloseIdleConnections].
func (g *guard) CloseIdleConnections() {
	if c, ok := g.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (g *guard) check(u *url.URL) error {
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !g.allowHTTP):
		return fmt.Errorf("scheme %q is refused: only https is used (InsecureAllowHTTP allows http)", u.Scheme)
	case u.Host == "":
		return errors.New("address without a host")
	case u.User != nil:
		return errors.New("address with a user name or password in it")
	}
	return nil
}

// cappedBody fails, rather than ends, when there is more to read than allowed.
type cappedBody struct {
	io.ReadCloser
	left, max int64
}

// Read reads until the cap.
func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLarge()
	}
	if int64(len(p)) > b.left {
		p = p[:b.left+1] // one byte more than allowed tells a body of the exact size from a longer one
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, b.tooLarge()
	}
	return n, err
}

func (b *cappedBody) tooLarge() error {
	return fmt.Errorf("answer of more than %d bytes is refused (MaxBody allows more)", b.max)
}
