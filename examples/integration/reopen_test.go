package integration

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/redisstore"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// What is in the files at this moment is what a process that is killed leaves behind.
func TestSQLiteReopen(t *testing.T) {
	t.Parallel()
	storetest.RunReopen(t, func(t testing.TB) (store.Store, func() store.Store) {
		file := newFile(t)
		return sqlstore.New(openSQLite(t, file+pragmas)), func() store.Store { return sqlstore.New(openSQLite(t, copied(t, file)+pragmas)) }
	})
}

// copied returns a copy of a database that somebody has open.
func copied(t testing.TB, file string) string {
	t.Helper()
	to := newFile(t)
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(strings.TrimPrefix(file, "file:") + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimPrefix(to, "file:")+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestPostgresReopen(t *testing.T) {
	t.Parallel()
	storetest.RunReopen(t, func(t testing.TB) (store.Store, func() store.Store) {
		server := startPostgres(t)
		return sqlstore.New(openPostgres(t, server.dsn())), func() store.Store {
			server.kill(syscall.SIGKILL)
			waitFor(t, func() bool { return server.start(t.Context()) == nil }) // its children need a moment to notice
			return sqlstore.New(openPostgres(t, server.dsn()))
		}
	})
}

// Sessions and marks survive where Redis is told to write them to its file, each at once.
func TestRedisReopen(t *testing.T) {
	t.Parallel()
	storetest.RunReopen(t, func(t testing.TB) (store.Store, func() store.Store) {
		server, file := startRedis(t, "--appendonly", "yes", "--appendfsync", "always"), newFile(t)
		parts := func(file string) store.Store {
			fast, rest := redisstore.New(goRedis(server.client(t))), sqlstore.New(openSQLite(t, file+pragmas))
			return store.Parts{Users: rest, Links: rest, Sessions: fast, Grants: rest, Transient: fast, Keyring: rest}
		}
		return parts(file), func() store.Store {
			server.kill()
			server.start(t)
			return parts(copied(t, file))
		}
	})
}
