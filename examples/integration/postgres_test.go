package integration

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// A postgres is a private server on loopback, in a folder of its own.
type postgres struct {
	cmd  []string
	cred *syscall.Credential // whom it runs as
	dir  string
	addr string
	url  *url.URL // of its database "postgres"; the account may do everything
	*process
}

// sharedPostgres is the one server of a test binary, which the first test that wants it starts and TestMain stops.
var sharedPostgres struct {
	sync.Mutex
	*postgres
	schemas int
}

// newPostgres returns the address of an empty schema, on a server that other tests use too. What they write is kept from
// each other, and survives no crash of the machine.
func newPostgres(t testing.TB) (dsn string) {
	t.Helper()
	binaries := requirePostgres(t)
	s := &sharedPostgres
	s.Lock()
	defer s.Unlock()
	if s.postgres == nil {
		dir, err := os.MkdirTemp("", "idbroker-pg")
		if err != nil {
			t.Fatal(err)
		}
		p, err := runPostgres(context.WithoutCancel(t.Context()), binaries, dir, "fsync=off", "max_connections=300")
		if err != nil {
			t.Fatal(errors.Join(err, os.RemoveAll(dir)))
		}
		s.postgres = p
	}
	s.schemas++
	schema := fmt.Sprint("test", s.schemas)
	db, err := sql.Open("pgx", s.url.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	return s.dsn("search_path", schema)
}

// stopSharedPostgres ends the server that newPostgres started, if it did.
func stopSharedPostgres() error {
	if sharedPostgres.postgres == nil {
		return nil
	}
	sharedPostgres.kill(syscall.SIGQUIT)
	return os.RemoveAll(sharedPostgres.dir)
}

// startPostgres starts a server for one test, with more settings such as "fsync=off".
func startPostgres(t testing.TB, settings ...string) *postgres {
	t.Helper()
	binaries := requirePostgres(t)
	dir, err := os.MkdirTemp("", "idbroker-pg") // not t.TempDir, into which another account cannot look
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p, err := runPostgres(t.Context(), binaries, dir, settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill(syscall.SIGQUIT)
		if t.Failed() {
			t.Logf("PostgreSQL printed:\n%s", p.output())
		}
	})
	return p
}

// requirePostgres returns the folder of the server's programs, which Debian does not put into PATH.
func requirePostgres(t testing.TB) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	return filepath.Dir(requireProgram(t, "postgres"))
}

func runPostgres(ctx context.Context, binaries, dir string, settings ...string) (*postgres, error) {
	p := &postgres{dir: dir}
	if os.Geteuid() == 0 { // as which it refuses to run
		account, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, err := strconv.Atoi(account.Uid)
		gid, err2 := strconv.Atoi(account.Gid)
		if err := cmp.Or(err, err2, os.Chown(dir, uid, gid)); err != nil {
			return nil, err
		}
		p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	password := rand.Text()
	file, data := filepath.Join(dir, "password"), filepath.Join(dir, "data")
	if err := os.WriteFile(file, []byte(password), 0o644); err != nil {
		return nil, err
	}
	init := p.command(ctx, filepath.Join(binaries, "initdb"), "-A", "scram-sha-256", "--pwfile="+file, "-U", "broker", "-E", "UTF8",
		"--no-sync", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "-D", data) // which does not sort by bytes
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.cmd = []string{filepath.Join(binaries, "postgres"), "-D", data}
	for _, s := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=32MB"}, settings...) {
		p.cmd = append(p.cmd, "-c", s)
	}
	p.url = &url.URL{Scheme: "postgres", User: url.UserPassword("broker", password), Path: "/postgres"}
	var err error
	for range 3 { // the port that was free may be somebody's by now
		if err = p.listen(ctx); err == nil {
			return p, nil
		}
	}
	return nil, err
}

func (p *postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	if p.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	}
	return cmd
}

func (p *postgres) listen(ctx context.Context) error {
	var err error
	if p.addr, err = freeAddress(); err != nil {
		return err
	}
	p.url.Host = p.addr
	return p.start(ctx)
}

// start starts the server on its port, again if it has been stopped.
func (p *postgres) start(ctx context.Context) error {
	out, err := os.Create(filepath.Join(p.dir, "output"))
	if err != nil {
		return err
	}
	defer out.Close()
	_, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return err
	}
	cmd := p.command(context.WithoutCancel(ctx), p.cmd[0], append(p.cmd[1:], "-p", port)...)
	cmd.Stdout, cmd.Stderr = out, out
	p.process, err = start(ctx, cmd, prints("database system is ready to accept connections"))
	if err != nil && p.process != nil {
		err = fmt.Errorf("%w: %s", err, p.output())
		p.kill(syscall.SIGQUIT)
	}
	return err
}

// kill ends the server: by SIGINT in good order, by SIGQUIT or SIGKILL at once. Its children end with it.
func (p *postgres) kill(how syscall.Signal) {
	_ = p.process.cmd.Process.Signal(how)
	select {
	case <-p.done:
	case <-time.After(peerStop):
		_ = p.process.cmd.Process.Kill()
		<-p.done
	}
}

// dsn is the address of the server's database, with parameters by name and value.
func (p *postgres) dsn(params ...string) string {
	u := *p.url
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// openPostgres opens a database as a host should: with as many idle connections as there may be, since a new one costs
// more than a login.
func openPostgres(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// queryInt reads one number.
func queryInt(t testing.TB, db *sql.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", strings.TrimSpace(query), err)
	}
	return n
}
