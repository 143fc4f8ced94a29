package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// The tests run the program itself: this test binary is the server where the environment says so.
const beServer = "IDBROKER_EXAMPLE_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(beServer) != "" {
		main()
	}
	os.Exit(m.Run())
}

// A site is a server's address for browsers, which stays when the server is started anew at another port. It stands for the
// proxy that a server often has before it.
type site struct {
	t      *testing.T
	dir    string
	url    string // of the site; the broker is at /id
	op     *providertest.OIDC
	rp     *brokertest.RelyingParty
	target atomic.Pointer[url.URL]
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), rp: brokertest.NewRelyingParty(t)}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(s.target.Load()) }}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	s.url = front.URL
	s.op = providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Demo", AutoLogin: "alice", Alg: "ES256", Clients: []providertest.Client{
		{ID: "broker", Secret: "secret of the broker", RedirectURIs: []string{s.url + "/id/broker/demo/endpoint"}},
	}})
	s.write("secret", "0123456789abcdef0123456789abcdef\n")
	s.write("server.yaml", s.yaml())
	return s
}

// yaml is a configuration that works.
func (s *site) yaml() string {
	return fmt.Sprintf(`
base_url: %s/id
listen: 127.0.0.1:0
name: Example
store: sqlite:broker.db
secrets: [{file: secret}]
log: {format: json}
providers:
  - alias: demo
    type: oidc
    name: Demo
    disabled: false
    issuer: %s
    client_id: broker
    client_secret: secret of the broker
    insecure_allow_http: true
    insecure_allow_private_networks: true
clients:
  - id: %s
    secrets: ["%s"]
    redirect_uris: [%s]
`, s.url, s.op.Issuer(), s.rp.Client().ID, s.rp.Client().Secrets[0], s.rp.Client().RedirectURIs[0])
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// edit changes the configuration as it was written first.
func (s *site) edit(old, replacement string) {
	s.t.Helper()
	if !strings.Contains(s.yaml(), old) {
		s.t.Fatalf("the configuration has no %q", old)
	}
	s.write("server.yaml", strings.Replace(s.yaml(), old, replacement, 1))
}

// A process is a running server and what it has logged.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string

	mu    sync.Mutex
	more  *sync.Cond
	lines []map[string]any
	seen  int // lines that waitLog has passed
	ended bool
}

// start starts the server and waits until it serves.
func (s *site) start() *process {
	s.t.Helper()
	p := startProcess(s.t, filepath.Join(s.dir, "server.yaml"))
	s.target.Store(&url.URL{Scheme: "http", Host: p.addr})
	return p
}

func startProcess(t testing.TB, config string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], "-config", config)}
	p.more = sync.NewCond(&p.mu)
	p.cmd.Env = append(os.Environ(), beServer+"=1")
	errOut, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // mostly it has ended
		p.end()
	})
	go p.read(errOut)
	p.addr, _ = p.waitLog("serving")["address"].(string)
	return p
}

func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := map[string]any{}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			line["msg"] = lines.Text()
		}
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
		p.more.Broadcast()
	}
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.more.Broadcast()
}

// waitLog returns the next line with this message.
func (p *process) waitLog(message string) map[string]any {
	p.t.Helper()
	stop := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer stop.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for ; p.seen < len(p.lines); p.seen++ {
			if line := p.lines[p.seen]; line["msg"] == message {
				p.seen++
				return line
			}
		}
		if p.ended {
			p.t.Fatalf("the server ended without saying %q; it said %v", message, p.lines)
		}
		p.more.Wait()
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits until the server has ended and returns its status.
func (p *process) end() int {
	p.mu.Lock()
	for !p.ended {
		p.more.Wait()
	}
	p.mu.Unlock()
	_ = p.cmd.Wait() // the status says it
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the server as a service manager does.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.end(); status != 0 {
		p.t.Fatalf("after SIGTERM: status %d, want 0; it said %v", status, p.lines)
	}
}
