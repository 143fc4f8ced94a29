package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

const (
	pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate"
	// impatient has no busy_timeout, so that each conflict of two writers is an error for the store to deal with.
	impatient = "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
)

func newFile(t testing.TB) string {
	t.Helper()
	return "file:" + filepath.Join(t.TempDir(), "broker.db")
}

func openSQLite(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn)
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

// stoppedClock gives a store a clock that only the returned function puts forward.
func stoppedClock(s *sqlstore.Store) (*sqlstore.Store, func(time.Duration)) {
	now := time.Now()
	s.Now = func() time.Time { return now }
	return s, func(d time.Duration) { now = now.Add(d) }
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		return stoppedClock(sqlstore.New(openSQLite(t, newFile(t)+pragmas)))
	})
}

// One connection is all that a database in memory has: a statement outside of a transaction that is open would never
// get one.
func TestSQLiteInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		db := openSQLite(t, ":memory:")
		db.SetMaxOpenConns(1)
		return stoppedClock(sqlstore.New(db))
	})
}

func loginOf(id string, end time.Time) *store.Login {
	key := store.LinkKey{Provider: "acme", Issuer: "https://acme.example", Subject: id}
	return &store.Login{
		Once: id, OnceExpires: end,
		NewUser: &store.User{ID: id, Username: id, Email: id + "@example.com", Name: "Ada", Roles: []string{"user"}, CreatedAt: end},
		NewLink: &store.Link{LinkKey: key, UserID: id, Email: id + "@example.com", CreatedAt: end},
		Session: &store.Session{ID: id, UserID: id, Upstream: key, UpstreamSession: id, AMR: []string{"pwd"}, ExpiresAt: end},
		Grant: &store.Grant{ID: id, ClientID: "app", UserID: id, SessionID: id, Scope: []string{"openid"}, CodeHash: make([]byte, 32),
			ExpiresAt: end},
	}
}

// What clients have got since is in no column of its own, and a program that does not know it does not honour the client.
func TestSQLiteUnknownClientSetting(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openSQLite(t, newFile(t)+pragmas)
	s := sqlstore.New(db)
	if err := s.PutClient(ctx, &store.Client{ID: "app"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, `UPDATE idbroker_clients SET client = '{"ID":"app","RequireWhatComesLater":true}'`); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Client(ctx, "app"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Client with a setting of a later version: got %+v, %v, want an error", c, err)
	}
}

// At the moment that it names, a thing has expired, and a microsecond before it has not.
func TestSQLiteBoundary(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := sqlstore.New(openSQLite(t, newFile(t)+pragmas))
	end := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	now := end.Add(-time.Microsecond)
	s.Now = func() time.Time { return now }
	if err := s.Commit(ctx, loginOf("id", end)); err != nil {
		t.Fatal(err)
	}
	there := func() [3]error {
		_, err := s.Session(ctx, "id")
		_, err2 := s.Grant(ctx, "id")
		_, err3 := s.Get(ctx, store.PurposeLogin, "id")
		return [3]error{err, err2, err3}
	}
	if got, want := there(), ([3]error{}); got != want {
		t.Errorf("a microsecond before the end: got errors %v, want none", got)
	}
	now = end
	if got, want := there(), [3]error{store.ErrNotFound, store.ErrNotFound, store.ErrNotFound}; got != want {
		t.Errorf("at the end: got errors %v, want %v", got, want)
	}
	if _, err := s.Take(ctx, store.PurposeLogin, "id"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Take at the end: got error %v, want %v", err, store.ErrNotFound)
	}
	if n, err := s.Sweep(ctx, 10); n != 3 || err != nil {
		t.Errorf("Sweep at the end: got %d, %v, want 3", n, err)
	}
}

// More is swept than one statement removes, and exactly what was asked for.
func TestSQLiteSweepsInBatches(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openSQLite(t, newFile(t)+pragmas)
	s, advance := stoppedClock(sqlstore.New(db))
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	const total = 1300
	fill := `INSERT INTO idbroker_transient (purpose, key, value, expires_at)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT 'p', i, x'', $2 FROM n`
	if _, err := db.ExecContext(ctx, fill, total, s.Now().Add(time.Minute).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "p", "alive", nil, s.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	advance(time.Minute)
	for _, want := range []int{1200, total - 1200, 0} {
		if got, err := s.Sweep(ctx, 1200); got != want || err != nil {
			t.Fatalf("Sweep(1200): got %d, %v, want %d", got, err, want)
		}
	}
	if _, err := s.Get(ctx, "p", "alive"); err != nil {
		t.Errorf("what has not expired: %v", err)
	}
}

// Two processes that share a file and do not wait for each other still have one winner each time, and no other errors.
func TestSQLiteWithoutBusyTimeout(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := newFile(t)
	var stores []*sqlstore.Store
	for range 4 {
		stores = append(stores, sqlstore.New(openSQLite(t, file+impatient)))
	}
	end := time.Now().Add(time.Hour)
	for round := range 20 {
		id := fmt.Sprint(round)
		errs := make([]error, len(stores))
		var done sync.WaitGroup
		for i, s := range stores {
			done.Go(func() {
				l := loginOf(fmt.Sprint(round, "-", i), end)
				l.Once = id
				errs[i] = s.Commit(ctx, l)
			})
		}
		done.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, store.ErrExists) {
				t.Errorf("Commit that lost the race: %v", err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d commits won, want 1", round, won)
		}
	}
}

// A call that has to wait for another writer waits no longer than its context allows, and then has written nothing.
func TestSQLiteDeadline(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := newFile(t)
	s := sqlstore.New(openSQLite(t, file+pragmas))
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keys(ctx); err != nil {
		t.Fatal(err)
	}
	other := openSQLite(t, file+pragmas)
	tx, err := other.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	for name, call := range map[string]func() error{
		"Commit": func() error { return s.Commit(short, loginOf("late", time.Now().Add(time.Hour))) },
		"Put":    func() error { return s.Put(short, "p", "late", nil, time.Now().Add(time.Hour)) },
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s while another writes: got error %v, want %v", name, err, context.DeadlineExceeded)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.User(ctx, "late"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("User of a Commit that ran out of time: got error %v, want %v", err, store.ErrNotFound)
	}
	if err := s.Commit(ctx, loginOf("late", time.Now().Add(time.Hour))); err != nil {
		t.Errorf("Commit after one that ran out of time: %v", err)
	}
}

// Nodes that start at once make the tables once.
func TestSQLiteMigratesOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := newFile(t)
	var done sync.WaitGroup
	for i := range 8 {
		s := sqlstore.New(openSQLite(t, file+pragmas))
		done.Go(func() {
			if err := s.CreateUser(ctx, &store.User{ID: fmt.Sprint(i), Username: fmt.Sprint(i)}); err != nil {
				t.Errorf("first use of a database that others use for the first time: %v", err)
			}
			if err := s.Migrate(ctx); err != nil {
				t.Errorf("Migrate of what is up to date: %v", err)
			}
		})
	}
	done.Wait()
	db := openSQLite(t, file+pragmas)
	var users, versions int
	err := db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM idbroker_users),
		(SELECT COUNT(*) FROM idbroker_migrations WHERE version > 0)`).Scan(&users, &versions)
	if err != nil || users != 8 || versions != 1 {
		t.Errorf("got %d users and %d migrations, %v, want 8 and 1", users, versions, err)
	}
}

// What a later version of the program has made of the database, this one does not touch.
func TestSQLiteRefusesNewer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := newFile(t)
	db := openSQLite(t, file+pragmas)
	if err := sqlstore.New(db).Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO idbroker_migrations (version, applied_at) VALUES (4711, 0)`); err != nil {
		t.Fatal(err)
	}
	s := sqlstore.New(db)
	for name, err := range map[string]error{
		"Migrate": s.Migrate(ctx), "Put": s.Put(ctx, "p", "k", nil, time.Now().Add(time.Hour)),
	} {
		if err == nil || !strings.Contains(err.Error(), "4711") {
			t.Errorf("%s of a newer database: got error %v, want one that names its version", name, err)
		}
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM idbroker_migrations WHERE version = 4711`); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "p", "k", nil, time.Now().Add(time.Hour)); err != nil {
		t.Errorf("Put after the cause of the first failure is gone: %v", err)
	}
}

// A first call that fails does not spoil the ones after it.
func TestSQLiteTriesAgain(t *testing.T) {
	t.Parallel()
	s := sqlstore.New(openSQLite(t, newFile(t)+pragmas))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Keys(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("Keys: got error %v, want %v", err, context.Canceled)
	}
	if _, err := s.Keys(t.Context()); err != nil {
		t.Errorf("Keys after one that was cancelled: %v", err)
	}
}

func BenchmarkSQLiteSession(b *testing.B) {
	s := sqlstore.New(openSQLite(b, newFile(b)+pragmas))
	if err := s.Commit(b.Context(), loginOf("id", time.Now().Add(time.Hour))); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Session(b.Context(), "id"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSQLiteTake(b *testing.B) {
	s := sqlstore.New(openSQLite(b, newFile(b)+pragmas))
	value, end := make([]byte, 200), time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Put(b.Context(), "p", "k", value, end); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Take(b.Context(), "p", "k"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSQLiteCommit is of somebody new each time, and of somebody known whose link is updated.
func BenchmarkSQLiteCommit(b *testing.B) {
	b.Run("new", func(b *testing.B) {
		s := sqlstore.New(openSQLite(b, newFile(b)+pragmas))
		end := time.Now().Add(time.Hour)
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			if err := s.Commit(b.Context(), loginOf(fmt.Sprint(i), end)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		s := sqlstore.New(openSQLite(b, newFile(b)+pragmas))
		end := time.Now().Add(time.Hour)
		first := loginOf("first", end)
		if err := s.Commit(b.Context(), first); err != nil {
			b.Fatal(err)
		}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			l := loginOf(fmt.Sprint(i), end)
			l.NewUser, l.NewLink, l.Link = nil, nil, first.NewLink
			if err := s.Commit(b.Context(), l); err != nil {
				b.Fatal(err)
			}
		}
	})
}
