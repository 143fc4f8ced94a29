package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	s.rp.Connect(s.url + "/id")

	b := brokertest.NewBrowser(t)
	page := b.Get(s.rp.LoginURL()).Click("Demo")
	first := s.rp.Login()
	if first.Subject == "" || first.Claims["iss"] != s.url+"/id" {
		t.Fatalf("login at the application: got %+v (page %s)", first, page.Body)
	}
	if page = b.Get(s.url + "/"); page.Status != http.StatusOK || !strings.Contains(page.Body, "Signed in as Alice Liddell") {
		t.Errorf("landing page: status %d\n%s", page.Status, page.Body)
	}
	if page = page.Click("Sign out").Submit(nil); !strings.Contains(page.Body, "You are signed out") {
		t.Errorf("after signing out:\n%s", page.Body)
	}
	if page = b.Get(s.url + "/"); !strings.HasPrefix(page.URL.Path, "/id/login") {
		t.Errorf("landing page of nobody: at %s, want the login", page.URL)
	}
	if page = page.Click("Demo"); page.URL.Path != "/" || page.Status != http.StatusOK {
		t.Errorf("after a login that came from nowhere: at %s, status %d", page.URL, page.Status)
	}
	if page = b.Get(s.url + "/elsewhere"); page.Status != http.StatusNotFound {
		t.Errorf("an unknown address: status %d, want 404", page.Status)
	}
	for _, path := range []string{"/id/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/id"} {
		if page = b.Get(s.url + path); page.Status != http.StatusOK || !strings.Contains(page.Body, `"`+s.url+`/id"`) {
			t.Errorf("%s: status %d\n%s", path, page.Status, page.Body)
		}
	}
	p.stop()

	// What is in the store stays.
	s.start()
	brokertest.NewBrowser(t).Get(s.rp.LoginURL()).Click("Demo")
	if again := s.rp.Login(); again.Subject != first.Subject || again.IDToken == first.IDToken {
		t.Errorf("after a restart: subject %q, want %q again in another token", again.Subject, first.Subject)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	b := brokertest.NewBrowser(t)
	b.Get(s.url + "/").Click("Demo")

	for _, mistake := range []struct{ name, old, replacement, want string }{
		{"unknown key", "name: Demo", "nam: Demo", "server.yaml:11:5: providers[0].nam: is no key that is known here: did you mean name?"},
		{"base URL", "/id", "/other", "server.yaml:2:1: base_url: has changed: that needs a restart"},
		{"listen", "127.0.0.1:0", "127.0.0.1:1", "server.yaml:3:1: listen: has changed: that needs a restart"},
		{"store", "sqlite:broker.db", "memory", "server.yaml:5:1: store: has changed: that needs a restart"},
		{"secret of the keys", "{file: secret}", "another secret of thirty-two bytes", "not among"},
	} {
		s.edit(mistake.old, mistake.replacement)
		p.signal(syscall.SIGHUP)
		line := p.waitLog("configuration not taken over: the one before stays in use")
		if problem, _ := line["problem"].(string); !strings.Contains(problem, mistake.want) {
			t.Errorf("%s: the log says %q, want %q", mistake.name, problem, mistake.want)
		}
		if page := b.Get(s.url + "/"); !strings.Contains(page.Body, "Signed in as Alice") {
			t.Fatalf("%s: after a configuration that was refused nobody is signed in:\n%s", mistake.name, page.Body)
		}
	}

	s.edit("disabled: false", "disabled: true")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	if page := b.Get(s.url + "/"); page.URL.Path != "/id/login" || strings.Contains(page.Body, "Continue with Demo") {
		t.Errorf("with the provider switched off: at %s\n%s", page.URL, page.Body)
	}

	s.edit("name: Example", "name: Another Name")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	page := brokertest.NewBrowser(t).Get(s.url + "/")
	if !strings.Contains(page.Body, "Another Name") {
		t.Errorf("after the second reload:\n%s", page.Body)
	}
	if page = page.Click("Demo"); !strings.Contains(page.Body, "Signed in as Alice") {
		t.Errorf("with the provider on again: at %s\n%s", page.URL, page.Body)
	}
	p.stop()
}

// After a new secret was put first, -reseal makes the old one superfluous while the server runs.
func TestReseal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo")
	var said bytes.Buffer
	reseal := func() int {
		return command([]string{"-config", filepath.Join(s.dir, "server.yaml"), "-reseal"}, &said, &said)
	}
	if status := reseal(); status != 0 || !strings.Contains(said.String(), "0 values were sealed again") {
		t.Fatalf("with nothing to do: status %d, said %s", status, said.String())
	}
	s.edit("secrets: [{file: secret}]", "secrets: [a new secret of thirty-two bytes.., {file: secret}]")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	said.Reset()
	if status := reseal(); status != 0 || strings.Contains(said.String(), "0 values") {
		t.Fatalf("after a new secret: status %d, said %s", status, said.String())
	}
	s.edit("secrets: [{file: secret}]", "secrets: [a new secret of thirty-two bytes..]")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	if page := brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo"); !strings.Contains(page.Body, "Signed in as Alice") {
		t.Errorf("without the old secret: at %s\n%s", page.URL, page.Body)
	}
	p.stop()
}

// A provider that is pointed elsewhere waits for -confirm, of which the server that runs learns.
func TestConfirm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo")
	s.edit("name: Demo", "name: Demo\n    issuers: [\"https://also.example\"]")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	if page := brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo"); !strings.Contains(page.Body, "on hold") {
		t.Fatalf("at %s\n%s", page.URL, page.Body)
	}
	var said bytes.Buffer
	if status := command([]string{"-config", filepath.Join(s.dir, "server.yaml"), "-confirm", "nobody"}, &said, &said); status != 1 {
		t.Errorf("an unknown provider: status %d, said %s", status, said.String())
	}
	if status := command([]string{"-config", filepath.Join(s.dir, "server.yaml"), "-confirm", "demo"}, &said, &said); status != 0 {
		t.Fatalf("status %d, said %s", status, said.String())
	}
	if page := brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo"); !strings.Contains(page.Body, "Signed in as Alice") {
		t.Errorf("confirmed: at %s\n%s", page.URL, page.Body)
	}
	p.stop()
}

// A base_url without a path leaves the broker everything but the server's own addresses.
func TestBaseWithoutPath(t *testing.T) {
	t.Parallel()
	c, err := newSetup("test.yaml", []byte("base_url: http://localhost\nstore: memory\nsecrets: [0123456789abcdef0123456789abcdef]"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{log: slog.New(slog.DiscardHandler), store: memstore.New()}
	n, err := s.node(c)
	if err != nil {
		t.Fatal(err)
	}
	s.current.Store(n)
	for _, row := range []struct {
		path     string
		want     int
		location string
		broker   bool // answers
	}{
		{"/", http.StatusSeeOther, "http://localhost/login", false},
		{"/login", http.StatusOK, "", true},
		{"/.well-known/openid-configuration", http.StatusOK, "", true},
		{"/.well-known/oauth-authorization-server", http.StatusOK, "", true},
		{"/nowhere", http.StatusNotFound, "", true},
		{"//evil.example/..", http.StatusNotFound, "", true},
		{livePath, http.StatusOK, "", false},
		{readyPath, http.StatusOK, "", false},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
		r.URL.Path = row.path
		s.ServeHTTP(w, r)
		if w.Code != row.want || w.Header().Get("Location") != row.location || (w.Header().Get("X-Request-Id") != "") != row.broker {
			t.Errorf("%s: got %d to %q, by the broker %v; want %d to %q, %v", row.path, w.Code, w.Header().Get("Location"),
				w.Header().Get("X-Request-Id") != "", row.want, row.location, row.broker)
		}
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	p.mu.Lock()
	line := p.lines[0]
	p.mu.Unlock()
	if line["msg"] != "insecure setting" || line["setting"] != "InsecureAllowHTTP" {
		t.Errorf("the first line of the log is %v, want what is insecure", line)
	}
	if info, err := os.Stat(filepath.Join(s.dir, "broker.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v (error %v), want it for the owner only", info, err)
	}
	for _, path := range []string{livePath, readyPath} {
		if status, body := get(t, s.url+path+"?verbose=1"); status != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: got %d %q, want 200 ok", path, status, body)
		}
		response, err := http.Post(s.url+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: got %d, want 405", path, response.StatusCode)
		}
	}
	p.stop()

	s.write("secret", "a secret that cannot open the keys of the first")
	p = s.start()
	if status, body := get(t, s.url+readyPath); status != http.StatusServiceUnavailable || body != "not ready\n" {
		t.Errorf("%s with keys that cannot be read: got %d %q, want 503 and no reason", readyPath, status, body)
	}
	if line = p.waitLog("not ready"); !strings.Contains(line["error"].(string), "signing key") {
		t.Errorf("the log does not say why: %v", line)
	}
	if status, _ := get(t, s.url+livePath); status != http.StatusOK {
		t.Errorf("%s with keys that cannot be read: got %d, want 200", livePath, status)
	}
	p.stop()
}

// A login that is under way when the server is told to end goes through.
func TestEndsGracefully(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	asked, answer := make(chan struct{}), make(chan struct{})
	s.op.Edit(providertest.Hooks{UserInfo: func(map[string]any) { close(asked); <-answer }})
	b := brokertest.NewBrowser(t)
	done := make(chan *brokertest.Page)
	page := b.Get(s.url + "/")
	b.Stop() // what comes after the login's own answer would not be served any more
	callback := page.Click("Demo").Header.Get("Location")
	callback = b.Get(callback).Header.Get("Location")
	go func() { done <- b.Get(callback) }()
	<-asked
	p.signal(syscall.SIGTERM)
	p.waitLog("ending: no new connections, and time for requests that are under way")
	if conn, err := net.Dial("tcp", p.addr); err == nil {
		conn.Close()
		t.Error("a server that ends takes connections")
	}
	close(answer)
	if page := <-done; page.Status != http.StatusSeeOther || page.Header.Get("Location") != s.url+"/" {
		t.Errorf("the login that was under way: status %d to %q\n%s", page.Status, page.Header.Get("Location"), page.Body)
	}
	if status := p.end(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}

// A database for all to read is refused as a secret is.
func TestOpenDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(s.dir, "broker.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.dir, "broker.db"), 0o604); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if status := command([]string{"-config", filepath.Join(s.dir, "server.yaml")}, &said, &said); status != 1 ||
		!strings.Contains(said.String(), "store: everybody on this machine may read") {
		t.Errorf("status %d, said %q; want 1 and why", status, said.String())
	}
}

// pair returns a certificate for localhost and its key, in PEM.
func pair(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// What is configured for TLS is read back from the listener (advisories: Dex CVE-2024-23656).
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	renew := func(serial int64) {
		cert, key := pair(t, serial)
		s.write("cert.pem", cert)
		s.write("key.pem", key)
	}
	renew(1)
	s.edit("listen:", "tls: {cert_file: cert.pem, key_file: key.pem}\nlisten:")
	p := s.start()
	dial := func(most uint16) (*tls.Conn, error) {
		return tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: most})
	}
	if conn, err := dial(tls.VersionTLS11); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	served := func() int64 {
		conn, err := dial(0)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := served(); got != 1 {
		t.Errorf("certificate %d is served, want 1", got)
	}
	renew(2)
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration taken over")
	if got := served(); got != 2 {
		t.Errorf("after SIGHUP certificate %d is served, want 2", got)
	}
	s.write("cert.pem", "no certificate")
	p.signal(syscall.SIGHUP)
	p.waitLog("configuration not taken over: the one before stays in use")
	if got := served(); got != 2 {
		t.Errorf("after a certificate that is none, %d is served, want 2", got)
	}
	s.write("server.yaml", s.yaml())
	p.signal(syscall.SIGHUP)
	if line := p.waitLog("configuration not taken over: the one before stays in use"); !strings.Contains(line["problem"].(string), "tls: has changed") {
		t.Errorf("without TLS: %v", line)
	}
	p.stop()
}
