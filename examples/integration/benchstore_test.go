package integration

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// A benchStore is a store to measure, with what can be known of its database.
type benchStore struct {
	store   store.Store
	db      *sql.DB // nil for one in memory
	analyze string
	counts  sqlCounts
	cpu     func(testing.TB) int64 // nanoseconds of the database's own processes; nil if it has none
	written func(testing.TB) int64 // bytes of log; nil if nothing is written
}

func benchMemory(testing.TB) *benchStore { return &benchStore{store: memstore.New()} }

func benchSQLite(synchronous string) func(testing.TB) *benchStore {
	return func(b testing.TB) *benchStore {
		s := &benchStore{analyze: "ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)"}
		dsn := newFile(b) + strings.Replace(pragmas, "NORMAL", synchronous, 1)
		s.db = s.counts.open(b, openSQLite(b, dsn), dsn)
		s.store = sqlstore.New(s.db)
		return s
	}
}

func benchPostgres(b testing.TB) *benchStore {
	server := startPostgres(b, "autovacuum=off", "max_wal_size=8GB", "shared_buffers=256MB", "checkpoint_timeout=1h")
	s := &benchStore{analyze: "VACUUM ANALYZE"}
	plain := openPostgres(b, server.dsn())
	s.db = s.counts.open(b, plain, server.dsn())
	s.db.SetMaxOpenConns(16)
	s.db.SetMaxIdleConns(16)
	s.store = sqlstore.New(s.db)
	s.cpu = func(b testing.TB) int64 { return familyCPU(b, server.process.cmd.Process.Pid) }
	s.written = func(b testing.TB) int64 {
		return queryInt(b, plain, `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn`)
	}
	return s
}

// fill makes n users with a link each, as if they had all signed in once, who are called user-1 and so on upstream.
func (s *benchStore) fill(b testing.TB, n int, issuer string) {
	b.Helper()
	ctx, now := b.Context(), time.Now()
	if s.db == nil {
		for i := 1; i <= n; i++ {
			name := fmt.Sprint("user-", i)
			u := &store.User{ID: name, Username: name, Email: name + "@example.com", EmailVerified: true, CreatedAt: now}
			l := &store.Link{LinkKey: store.LinkKey{Provider: "up", Issuer: issuer, Subject: name}, UserID: name, CreatedAt: now}
			if err := s.store.CreateUser(ctx, u); err != nil {
				b.Fatal(err)
			}
			if err := s.store.CreateLink(ctx, l); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	if _, err := s.store.Keys(ctx); err != nil { // makes the tables
		b.Fatal(err)
	}
	const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) `
	for _, text := range []string{
		`INSERT INTO idbroker_users (id, username, email, email_verified, shared_email, first_name, last_name, name, locale, picture,
			disabled, roles, groups, attributes, created_at, updated_at, version) ` + numbers +
			`SELECT 'user-' || i, 'user-' || i, 'user-' || i || '@example.com', TRUE, FALSE, 'Some', 'One', 'Some One', 'en', '',
			FALSE, '', '', '', %d, %d, 1 FROM n`,
		`INSERT INTO idbroker_links (user_id, subject, provider, issuer, username, email, created_at, last_login, version) ` + numbers +
			`SELECT 'user-' || i, 'user-' || i, 'up', '` + issuer + `', 'user-' || i, 'user-' || i || '@example.com', %d, %d, 1 FROM n`,
	} {
		if _, err := s.db.ExecContext(ctx, fmt.Sprintf(text, n, now.UnixMicro(), now.UnixMicro())); err != nil {
			b.Fatal(err)
		}
	}
	for text := range strings.SplitSeq(s.analyze, ";") {
		if _, err := s.db.ExecContext(ctx, text); err != nil {
			b.Fatal(err)
		}
	}
}

// familyCPU returns the CPU time of a process, its children, and those that have ended, in nanoseconds.
func familyCPU(b testing.TB, pid int) (total int64) {
	b.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		b.Fatalf("read the processes: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// proc(5): what follows the name in brackets begins with the third field.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		parent, self := fields[1] == strconv.Itoa(pid), filepath.Base(filepath.Dir(file)) == strconv.Itoa(pid)
		if !parent && !self {
			continue
		}
		times := fields[11:13] // utime, stime
		if self {
			times = fields[11:15] // and those of children that it has waited for
		}
		for _, t := range times {
			ticks, err := strconv.ParseInt(t, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += ticks * int64(time.Second) / 100
		}
	}
	return total
}
