package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manyProviders is a configuration with n providers: half of them are discovered, half have their addresses in it.
func manyProviders(n int) string {
	var b strings.Builder
	b.WriteString(`
base_url: http://localhost/id
listen: 127.0.0.1:0
store: sqlite:broker.db
secrets: [0123456789abcdef0123456789abcdef]
log: {format: json}
providers:
`)
	for i := range n {
		fmt.Fprintf(&b, `
  - type: oidc
    alias: tenant-%[1]d
    name: Tenant %[1]d
    issuer: https://login.tenant-%[1]d.example
    client_id: client-%[1]d
    client_secret: secret-of-tenant-%[1]d
    domains: [tenant-%[1]d.example]
    hide_on_login: true
`, i)
		if i%2 == 1 {
			fmt.Fprintf(&b, `
    endpoints:
      authorization: https://login.tenant-%[1]d.example/authorize
      token: https://login.tenant-%[1]d.example/token
      jwks: https://login.tenant-%[1]d.example/jwks
`, i)
		}
	}
	return b.String()
}

// BenchmarkColdStart reports the time from the start of the process until it is ready, its CPU time until then, and the
// memory that it has then.
func BenchmarkColdStart(b *testing.B) {
	var alone float64
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("providers=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			name := filepath.Join(dir, "server.yaml")
			if err := os.WriteFile(name, []byte(manyProviders(n)), 0o600); err != nil {
				b.Fatal(err)
			}
			coldStart(b, name) // which makes the keys
			var took, cpu time.Duration
			var kept float64
			b.ResetTimer()
			for range b.N {
				t, c, k := coldStart(b, name)
				took, cpu, kept = took+t, cpu+c, kept+k
			}
			kept /= float64(b.N)
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms-until-ready")
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms")
			b.ReportMetric(kept, "KiB-resident")
			if n == 1 {
				alone = kept
			} else {
				b.ReportMetric((kept-alone)/float64(n), "KiB/provider")
			}
		})
	}
}

// coldStart starts the program, waits until it is ready, and ends it.
func coldStart(b *testing.B, name string) (took, cpu time.Duration, kept float64) {
	b.Helper()
	began := time.Now()
	p := startProcess(b, name)
	ready := &url.URL{Scheme: "http", Host: p.addr, Path: readyPath}
	response, err := http.Get(ready.String())
	if err != nil {
		b.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Fatalf("%s: status %d", readyPath, response.StatusCode)
	}
	took = time.Since(began)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	if _, err := fmt.Sscan(string(rest), &kept); err != nil {
		b.Fatal(err)
	}
	p.stop()
	usage, _ := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return took, time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), kept
}

// Ten thousand providers are ordinary: all their mistakes are found, and places told, in the time of one look at each.
func TestManyProviders(t *testing.T) {
	t.Parallel()
	text := manyProviders(10_000)
	s, err := newSetup("test.yaml", []byte(text), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.options.Providers); n != 10_000 || len(s.clients) != 1 {
		t.Errorf("%d providers with %d HTTP clients, want 10000 that share one", n, len(s.clients))
	}
	text = strings.Replace(text, "issuer: https://login.tenant-9998.example", "issuer: http://login.tenant-9998.example", 1)
	text = strings.Replace(text, "alias: tenant-9999", "alias: tenant-17", 1)
	_, err = newSetup("test.yaml", []byte(text), 0o600)
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "providers[9998].issuer: ") ||
		!strings.Contains(err.Error(), "providers[9999].alias: ") {
		t.Errorf("two mistakes among them: %v", err)
	}
}
