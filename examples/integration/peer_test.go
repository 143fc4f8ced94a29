package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Programs of others that tests start. See doc.go for what happens where one is missing.

const (
	peerStart = 2 * time.Minute // how long a program may take until it is ready
	peerStop  = 5 * time.Second // how long it has to end by itself
)

// missingPeer ends a test that lacks something: skipped for a newcomer, failed where the peers are required.
func missingPeer(t testing.TB, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if os.Getenv("IDBROKER_REQUIRE_PEERS") != "" {
		t.Fatalf("%s, and IDBROKER_REQUIRE_PEERS is set", why)
	}
	t.Skipf("%s (bash .ci/run install gets what the tests need)", why)
}

// requireProgram returns the path of the first of the programs that is on the machine.
func requireProgram(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missingPeer(t, "the test needs the program %s", strings.Join(names, " or "))
	return ""
}

// requireNode makes a folder in which Node finds the npm packages that .ci/run installed, and checks that pkg is among
// them. A script that is written there imports them by name.
func requireNode(t testing.TB, pkg string) (dir string) {
	t.Helper()
	requireProgram(t, "node")
	modules := os.Getenv("IDBROKER_NODE_MODULES")
	if modules == "" {
		missingPeer(t, "the test needs the npm package %s in the folder that IDBROKER_NODE_MODULES names", pkg)
	}
	if _, err := os.Stat(filepath.Join(modules, pkg, "package.json")); err != nil {
		missingPeer(t, "IDBROKER_NODE_MODULES has no npm package %s: %v", pkg, err)
	}
	dir = t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startNode runs a module script that imports pkg. The script gets args as process.argv.slice(2).
func startNode(t testing.TB, pkg, script string, ready func(output string) bool, args ...string) *process {
	t.Helper()
	file := filepath.Join(requireNode(t, pkg), "main.mjs")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", append([]string{file}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_ENV=test")
	return startProcess(t, cmd, ready)
}

// freePort returns a loopback address on which nothing listens. Prefer a program that chooses its own port and prints it.
func freePort(t testing.TB) (addr string) {
	t.Helper()
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// portsAsked makes each port of a process another one.
var portsAsked atomic.Uint32

// freeAddress looks below the ports that systems give to whoever wants any (from 32768 on, or higher), so that no test server and no
// connection comes to have one of ours before the program that it is for, or while that is stopped to be started again.
func freeAddress() (string, error) {
	const first, ports = 12000, 20000
	var err error
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", first+(uint32(os.Getpid())*64+portsAsked.Add(1))%ports)
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("no port is free: %w", err)
}

// prints is ready when the program has printed text.
func prints(text string) func(output string) bool {
	return func(output string) bool { return strings.Contains(output, text) }
}

// listens is ready when somebody accepts connections at addr.
func listens(addr string) func(output string) bool {
	return func(string) bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
}

// A process is a running program. Its output is shown when the test fails.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	done chan struct{} // closed when the program has ended
	err  error         // how; to be read when done is closed
}

// startProcess starts cmd in a process group of its own and returns when ready says so. The whole group is stopped, by
// its id, when the test ends, or by stop.
func startProcess(t testing.TB, cmd *exec.Cmd, ready func(output string) bool) *process {
	t.Helper()
	// A file, not a pipe: a pipe that a grandchild holds open would make Wait wait for it.
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	cmd.Stdout, cmd.Stderr = out, out
	p, err := start(t.Context(), cmd, ready)
	if p != nil {
		t.Cleanup(func() {
			p.stop()
			if t.Failed() {
				t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), p.output())
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts cmd, whose output goes to a file already. It returns the process with an error, too, once it has run.
func start(ctx context.Context, cmd *exec.Cmd, ready func(output string) bool) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, peerStart)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return p, fmt.Errorf("%s ended before it was ready: %w", filepath.Base(cmd.Path), cmp.Or(p.err, errEnded))
		case <-ctx.Done():
			return p, fmt.Errorf("%s was not ready: %w", filepath.Base(cmd.Path), ctx.Err())
		case <-tick.C:
			if ready(p.output()) {
				return p, nil
			}
		}
	}
}

var errEnded = errors.New("exit status 0")

// output is what the program has printed so far, to both of its outputs.
func (p *process) output() string {
	out, err := os.ReadFile(p.cmd.Stdout.(*os.File).Name())
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// stop asks the program and its children to end, and ends them if they do not. It may be called more than once.
func (p *process) stop() {
	p.once.Do(func() {
		askGroupToEnd(p.cmd)
		select {
		case <-p.done:
		case <-time.After(peerStop):
		}
		endGroup(p.cmd)
		<-p.done
	})
}
