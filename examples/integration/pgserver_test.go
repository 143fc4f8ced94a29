package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The standalone server on PostgreSQL, whose address it has from the environment.
func TestServerOnPostgres(t *testing.T) {
	t.Parallel()
	dsn, dir, addr := newPostgres(t), t.TempDir(), freePort(t)
	program, file := filepath.Join(dir, "server"), filepath.Join(dir, "server.yaml")
	build := exec.CommandContext(t.Context(), requireProgram(t, "go"), "build", "-o", program, "../server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	yaml := fmt.Sprintf("base_url: http://%s\nlisten: %s\nstore: {env: IDBROKER_STORE}\nsecrets: [0123456789abcdef0123456789abcdef]\n", addr, addr)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-config", file)
	cmd.Env = append(os.Environ(), "IDBROKER_STORE="+dsn)
	startProcess(t, cmd, listens(addr))
	for _, path := range []string{"/readyz", "/jwks"} { // the latter makes the keys
		response, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %v, want 200", path, response.StatusCode, err)
		}
	}
	if n := queryInt(t, openPostgres(t, dsn), `SELECT COUNT(*) FROM idbroker_keys`); n == 0 {
		t.Error("the server keeps no keys in PostgreSQL")
	}
}
