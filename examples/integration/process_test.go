//go:build unix

package integration

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The helpers that start the programs of others are tried here on a shell, which every Unix has.

func TestProcessStopsItsChildren(t *testing.T) {
	t.Parallel()
	// Whoever of the group is alive holds the write end of this pipe.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", `sh -c 'trap "" TERM; echo child; while :; do sleep 1; done' & wait`)
	cmd.ExtraFiles = []*os.File{w}
	p := startProcess(t, cmd, prints("child"))
	w.Close()
	p.stop()
	if err := r.SetReadDeadline(time.Now().Add(peerStart)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("read from a pipe that the child had: got error %v, want its end: somebody is still alive", err)
	}
	p.stop() // again does no harm
}

func TestProcessThatEndsIsNotReady(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"echo hello; exit 0", "echo hello >&2; exit 3"} {
		out, err := os.Create(filepath.Join(t.TempDir(), "output"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd := exec.Command("sh", "-c", script)
		cmd.Stdout, cmd.Stderr = out, out
		p, err := start(t.Context(), cmd, func(string) bool { return false })
		if err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
			t.Errorf("%s: got error %v, want one that says that it ended", script, err)
		}
		p.stop()
		if got := p.output(); got != "hello\n" {
			t.Errorf("%s: got output %q, want %q", script, got, "hello\n")
		}
	}
}

func TestListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := listens(l.Addr().String())
	if !ready("") {
		t.Errorf("listens(%s) is false while somebody does", l.Addr())
	}
	l.Close()
	if ready("") {
		t.Errorf("listens(%s) is true after the listener was closed", l.Addr())
	}
}

func TestNodeFindsPackages(t *testing.T) {
	t.Parallel()
	p := startNode(t, "oidc-provider", `
import { Provider } from 'oidc-provider';
const server = new Provider('http://' + process.argv[2]).listen(process.argv[2].split(':')[1], '127.0.0.1');
server.on('listening', () => console.log('ready'));
`, prints("ready"), freePort(t))
	if !strings.Contains(p.output(), "ready") {
		t.Errorf("got output %q, want ready", p.output())
	}
}
