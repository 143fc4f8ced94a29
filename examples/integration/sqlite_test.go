package integration

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

const pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate"

// openDB opens a database of its own for a test.
func openDB(t testing.TB, driver, file, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, "file:"+file+options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openStore(t testing.TB, db *sql.DB) (*sqlstore.Store, func(time.Duration)) {
	now := time.Now()
	s := sqlstore.New(db)
	s.Now = func() time.Time { return now }
	return s, func(d time.Duration) { now = now.Add(d) }
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		return openStore(t, openDB(t, "sqlite", filepath.Join(t.TempDir(), "broker.db"), pragmas))
	})
}
