package provider_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
)

// upstream is a TLS server on loopback, with a client that may reach it.
func upstream(t *testing.T, o provider.HTTPOptions, h http.HandlerFunc) (*httptest.Server, *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of the tests
	s.StartTLS()
	t.Cleanup(s.Close)
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AddCert(s.Certificate())
	c := provider.NewHTTPClient(o)
	t.Cleanup(c.CloseIdleConnections)
	return s, c
}

func get(t *testing.T, c *http.Client, addr string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(c, req)
}

func read(c *http.Client, req *http.Request) (string, error) {
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", part)
	}
	if !strings.Contains(err.Error(), part) {
		t.Fatalf("error %q, want one with %q", err, part)
	}
}

func TestHTTPClientRefusesAddresses(t *testing.T) {
	t.Parallel()
	strict := provider.NewHTTPClient(provider.HTTPOptions{})
	private := []string{"127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
		"[::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "localhost"}
	never := []string{"169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "0.0.0.0", "[::]", "192.0.2.1", "198.18.0.1",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:db8::1]", "[ff02::1]", "[fec0::1]"}
	for _, host := range append(private, never...) {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			_, err := get(t, strict, "https://"+host+":1/")
			wantError(t, err, "not a permitted destination")
			wantError(t, err, "InsecureAllowPrivateNetworks")
		})
	}
	laxer := provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowPrivateNetworks: true})
	for _, host := range never {
		t.Run("private networks allowed: "+host, func(t *testing.T) {
			t.Parallel()
			_, err := get(t, laxer, "https://"+host+":1/")
			wantError(t, err, "not a permitted destination")
		})
	}
	for _, host := range private[:len(private)-1] {
		t.Run("passes when allowed: "+host, func(t *testing.T) { // the guard is asked: nothing is to leave this machine
			t.Parallel()
			addr := netip.MustParseAddr(strings.Trim(host, "[]")).Unmap() // as a dialer does
			network := map[bool]string{true: "tcp4", false: "tcp6"}[addr.Is4()]
			if err := provider.DialGuard(true)(network, netip.AddrPortFrom(addr, 443).String(), nil); err != nil {
				t.Error(err)
			}
			if err := provider.DialGuard(false)(network, netip.AddrPortFrom(addr, 443).String(), nil); err == nil {
				t.Error("it passes when it is not allowed, too")
			}
		})
	}
}

func TestHTTPClientRefusesURLs(t *testing.T) {
	t.Parallel()
	c := provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowPrivateNetworks: true})
	for _, row := range []struct{ addr, want string }{
		{"http://127.0.0.1:1/", "InsecureAllowHTTP"},
		{"file:///etc/passwd", "only https"},
		{"ftp://127.0.0.1/", "only https"},
		{"gopher://127.0.0.1/", "only https"},
		{"https://", "without a host"},
		{"https://user:pw@127.0.0.1:1/", "user name or password"},
		{"https://evil@127.0.0.1:1/", "user name or password"},
	} {
		t.Run(row.addr, func(t *testing.T) {
			t.Parallel()
			_, err := get(t, c, row.addr)
			wantError(t, err, row.want)
			if strings.Contains(err.Error(), ":pw@") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

func TestHTTPClientAllowsHTTPOnlyIfAsked(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	t.Cleanup(s.Close)
	c := provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowPrivateNetworks: true, InsecureAllowHTTP: true})
	t.Cleanup(c.CloseIdleConnections)
	if got, err := get(t, c, s.URL); err != nil || got != "hello" {
		t.Errorf("get = %q, %v", got, err)
	}
	if _, err := get(t, provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowHTTP: true}), s.URL); err == nil {
		t.Error("allowing http allowed loopback too")
	}
}

func TestHTTPClientRedirects(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posts.Add(1) }))
	t.Cleanup(plain.Close)
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true}, func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		if r.Method != http.MethodGet {
			posts.Add(1)
		}
		io.WriteString(w, "arrived")
	})
	hops := func(n int) string {
		to := "/"
		for range n {
			to = "/?to=" + url.QueryEscape(to)
		}
		return s.URL + to
	}
	if got, err := get(t, c, hops(3)); err != nil || got != "arrived" {
		t.Errorf("three redirects: %q, %v", got, err)
	}
	for _, row := range []struct{ name, to, want string }{
		{"metadata service", "https://169.254.169.254/latest/", "not a permitted destination"},
		{"without TLS", plain.URL, "InsecureAllowHTTP"},
		{"file", "file:///etc/passwd", "only https"},
		{"credentials", strings.Replace(s.URL, "//", "//a:b@", 1), "user name or password"},
	} {
		_, err := get(t, c, s.URL+"/?to="+url.QueryEscape(row.to))
		wantError(t, err, row.want)
	}
	_, err := get(t, c, hops(4))
	wantError(t, err, "more than 3 redirects")

	for _, row := range []struct{ name, method, authorization, want string }{
		{"post", http.MethodPost, "", "POST is not redirected"},
		{"put", http.MethodPut, "", "PUT is not redirected"},
		{"bearer", http.MethodGet, "Bearer secret", "credentials is not redirected"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), row.method, hops(1), strings.NewReader("secret=1"))
		if err != nil {
			t.Fatal(err)
		}
		if row.authorization != "" {
			req.Header.Set("Authorization", row.authorization)
		}
		_, err = read(c, req)
		wantError(t, err, row.want)
	}
	if posts.Load() != 0 {
		t.Error("a redirected POST arrived")
	}
}

func TestHTTPClientRedirectLoop(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true}, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	_, err := get(t, c, s.URL)
	wantError(t, err, "more than 3 redirects")
	if got := served.Load(); got != 4 {
		t.Errorf("%d requests, want 4", got)
	}
}

func TestHTTPClientBoundsBody(t *testing.T) {
	t.Parallel()
	const limit = 1000
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true, MaxBody: limit},
		func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/exact":
				io.WriteString(w, strings.Repeat("x", limit))
			case "/over":
				io.WriteString(w, strings.Repeat("x", limit+1))
			case "/endless":
				for chunk := strings.Repeat("x", 1<<15); ; {
					if _, err := io.WriteString(w, chunk); err != nil {
						return
					}
				}
			case "/bomb":
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				for chunk := make([]byte, 1<<20); ; {
					if _, err := z.Write(chunk); err != nil {
						return
					}
				}
			case "/header":
				w.Header().Set("X-Long", strings.Repeat("x", 1<<17))
			}
		})
	if got, err := get(t, c, s.URL+"/exact"); err != nil || len(got) != limit {
		t.Errorf("body of the allowed size: %d bytes, %v", len(got), err)
	}
	for _, path := range []string{"/over", "/endless", "/bomb"} {
		got, err := get(t, c, s.URL+path)
		wantError(t, err, "more than 1000 bytes")
		if len(got) != limit {
			t.Errorf("%s: %d bytes were read, want %d", path, len(got), limit)
		}
	}
	_, err := get(t, c, s.URL+"/header")
	wantError(t, err, "header")
}

func TestHTTPClientReadAfterCapFails(t *testing.T) {
	t.Parallel()
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true, MaxBody: 3},
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "12345678") })
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	one := make([]byte, 1)
	var got []byte
	for range 20 {
		n, err := resp.Body.Read(one)
		got = append(got, one[:n]...)
		if len(got) == 3 && n == 0 {
			wantError(t, err, "more than 3 bytes")
		}
	}
	if string(got) != "123" {
		t.Errorf("read %q past the cap", got)
	}
}

func TestHTTPClientBoundsTime(t *testing.T) {
	t.Parallel()
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true, Timeout: 300 * time.Millisecond},
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/body" {
				io.WriteString(w, "a first byte")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // to return is to answer, which a client that is slow to hang up would hear
		})
	for _, path := range []string{"/", "/body"} {
		_, err := get(t, c, s.URL+path)
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("%s: error %v, want a time-out", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Timeout = time.Hour // else a busy machine may have the time-out come first
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if _, err := read(c, req); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestHTTPClientDefaults(t *testing.T) {
	t.Parallel()
	if got := provider.NewHTTPClient(provider.HTTPOptions{}).Timeout; got != 10*time.Second {
		t.Errorf("time-out %v, want 10s", got)
	}
	s, c := upstream(t, provider.HTTPOptions{InsecureAllowPrivateNetworks: true}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 1<<20+1))
	})
	_, err := get(t, c, s.URL)
	wantError(t, err, "more than 1048576 bytes")

	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = s.Config.ErrorLog
	old.StartTLS()
	t.Cleanup(old.Close)
	_, err = get(t, c, old.URL)
	wantError(t, err, "protocol version")

	untrusted := provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowPrivateNetworks: true})
	_, err = get(t, untrusted, s.URL)
	wantError(t, err, "certificate")
}

// A name is worth nothing: what it resolves to when the connection is made decides.
func TestHTTPClientDNSRebinding(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())

	resolver := nameService(t, [4]byte{169, 254, 169, 254}, [4]byte{10, 0, 0, 1}, [4]byte{127, 0, 0, 1})
	c := provider.NewHTTPClientResolving(provider.HTTPOptions{InsecureAllowHTTP: true}, resolver)
	for range 4 {
		_, err := get(t, c, "http://idp.example.com:"+port+"/")
		wantError(t, err, "not a permitted destination")
	}
	if hits.Load() != 0 {
		t.Error("the private server was reached")
	}

	// The same name service serves a client that may, so it was the guard that refused.
	c = provider.NewHTTPClientResolving(provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
		nameService(t, [4]byte{127, 0, 0, 1}))
	t.Cleanup(c.CloseIdleConnections)
	if _, err := get(t, c, "http://idp.example.com:"+port+"/"); err != nil || hits.Load() != 1 {
		t.Errorf("allowed: error %v, %d requests", err, hits.Load())
	}
}

// nameService answers every question for an A record with the next of the addresses, and with the last for ever.
func nameService(t *testing.T, addrs ...[4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buf, n := make([]byte, 512), 0; ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, isA := answerTo(buf[:size], addrs[min(n, len(addrs)-1)])
			if isA {
				n++
			}
			conn.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

// answerTo builds a DNS answer (RFC 1035 §4.1) of one A record, or of none if another type was asked for.
func answerTo(question []byte, addr [4]byte) (msg []byte, isA bool) {
	end := 12
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5
	isA = binary.BigEndian.Uint16(question[end-4:]) == 1
	msg = append([]byte(nil), question[:end]...)
	copy(msg[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if !isA {
		return msg, false
	}
	msg[7] = 1
	msg = append(msg, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(msg, addr[:]...), true
}

func TestHTTPClientIgnoresProxyOfEnvironment(t *testing.T) {
	var proxied, direct atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { direct.Add(1) }))
	t.Cleanup(target.Close)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	if os.Getenv("HTTP_PROXY") == "" {
		t.Fatal("no proxy in the environment")
	}
	c := provider.NewHTTPClientResolving(provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
		nameService(t, [4]byte{127, 0, 0, 1}))
	t.Cleanup(c.CloseIdleConnections)
	_, port, _ := net.SplitHostPort(target.Listener.Addr().String())
	if _, err := get(t, c, "http://idp.example.com:"+port+"/"); err != nil {
		t.Fatal(err)
	}
	if proxied.Load() != 0 || direct.Load() != 1 {
		t.Errorf("%d requests by the proxy, %d direct", proxied.Load(), direct.Load())
	}
}
