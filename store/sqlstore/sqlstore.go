// Package sqlstore is a [store.Store] over [database/sql], for SQLite and PostgreSQL.
//
// It owns the tables whose names begin with "idbroker_". It imports no driver: the host opens the database with the one
// it likes, and closes it. Which database it is the store asks the database itself.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // github.com/jackc/pgx/v5/stdlib
//	if err != nil {
//		return err
//	}
//	db.SetMaxOpenConns(16)
//	db.SetMaxIdleConns(16)
//	b, err := broker.New(broker.Config{
//		BaseURL: "https://example.com/id",
//		Secrets: [][]byte{secret},
//		Store:   sqlstore.New(db),
//	})
//
// # PostgreSQL
//
// Tested with version 15 and pgx. Give the pool as many idle connections as it may open: a new one, which
// prepares its statements first, costs more than a login. Any isolation level will do and READ COMMITTED, the default, is
// the fastest; what fails because of others is repeated. Statements are prepared, so a pooler in between must know
// prepared statements (PgBouncer from 1.21 on) or pool sessions. What an index holds is at most 2,700 bytes after
// compression: a longer name is refused.
//
// CockroachDB speaks this protocol, and nothing here needs what it lacks: no advisory lock, no exclusion constraint, no
// domain; all writes bear serializable transactions that fail at COMMIT. It has not been tried: its binary could not be
// had where this was written. Let Migrate run before the nodes start there, with autocommit_before_ddl off.
//
// # SQLite
//
//	db, err := sql.Open("sqlite", "file:broker.db?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
//		"&_pragma=synchronous(NORMAL)&_txlock=immediate") // modernc.org/sqlite
//
// busy_timeout lets writers wait for each other, of other processes too; without it a busy database fails sooner. With
// journal_mode WAL readers do not wait for writers, and with synchronous NORMAL a crash of the machine (not of the
// process) may lose the last moments of writes but harms nothing: set FULL where a replay mark has to survive a power cut.
// A database in memory exists once a connection, so it needs db.SetMaxOpenConns(1). There are no foreign keys to enforce.
//
// # Tables
//
// The tables are made and brought up to date by the first call of any method, or ahead of it by [Store.Migrate]. A
// database that a later version of this package has migrated is refused.
package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// Store keeps everything in a database. Make one with [New]; it must not be copied.
type Store struct {
	// Now tells the time by which things expire; nil is [time.Now]. Set it before the first use. Processes that share a
	// database expire each other's things, so their clocks have to agree.
	Now func() time.Time

	db    *sql.DB
	gate  chan struct{} // holds one token while the database is being made ready
	ready atomic.Pointer[database]
}

// A database is one that is ready for use.
type database struct {
	dialect
	statements
}

// statements are the prepared ones by their text.
type statements map[string]*sql.Stmt

var (
	_ store.Store       = (*Store)(nil)
	_ store.Committer   = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
	_ store.Holders     = (*Store)(nil)
	_ store.Clients     = (*Store)(nil)
	_ store.Credentials = (*Store)(nil)
	_ store.Fences      = (*Store)(nil)
	_ store.Secrets     = (*Store)(nil)
)

// New returns a store in db. It does no I/O: whether the database can be used shows with the first call of a method.
// The database stays the caller's, who closes it after the last use of the store.
func New(db *sql.DB) *Store {
	return &Store{db: db, gate: make(chan struct{}, 1)}
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// prepared returns the database, which the first call makes ready: it sees to the tables and prepares all statements. One
// that fails is tried again by the next.
func (s *Store) prepared(ctx context.Context) (*database, error) {
	if p := s.ready.Load(); p != nil {
		return p, nil
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if p := s.ready.Load(); p != nil {
		return p, nil
	}
	d, err := s.migrate(ctx)
	if err != nil {
		return nil, err
	}
	p := statements{}
	for _, text := range texts {
		// All at once and not when first needed: that may be inside a transaction which holds the only connection.
		st, err := s.db.PrepareContext(ctx, text)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("prepare %.40q: %w", text, err)
		}
		p[text] = st
	}
	db := &database{d, p}
	s.ready.Store(db)
	return db, nil
}

// lock is a mutex that a waiter leaves when its ctx ends.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) unlock() { <-s.gate }

func (p statements) close() {
	for _, st := range p {
		_ = st.Close() // the error that is reported is why they are closed
	}
}

// querier runs prepared statements, in a transaction if it has one.
type querier struct {
	*database
	tx *sql.Tx
}

func (q querier) stmt(ctx context.Context, text string) *sql.Stmt {
	if q.tx != nil {
		return q.tx.StmtContext(ctx, q.statements[text])
	}
	return q.statements[text]
}

// exec returns how many rows it wrote.
func (q querier) exec(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := q.stmt(ctx, text).ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row is the result of a statement of at most one row; its Scan is ErrNotFound where there is none.
func (q querier) row(ctx context.Context, text string, args ...any) row {
	return row{q.stmt(ctx, text).QueryRowContext(ctx, args...), q.reads(text)}
}

type row struct {
	*sql.Row
	reads bool
}

func (r row) Scan(dest ...any) error {
	err := r.Row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return noted(err, r.reads)
}

// reads says whether a statement that failed has certainly written nothing.
func (q querier) reads(text string) bool { return q.tx == nil && strings.HasPrefix(text, "SELECT ") }

// unwritten is the error of something that has written nothing and lost its connection, as all do at once when the
// database is restarted. Of a write that lost it nobody can say whether it was done.
type unwritten struct{ error }

func (u unwritten) Unwrap() error { return u.error }

func noted(err error, reads bool) error {
	if err != nil && reads && severed(err) {
		return unwritten{err}
	}
	return err
}

func severed(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		// Connection exceptions; the server is shutting down, has crashed, or is starting.
		return strings.HasPrefix(state.SQLState(), "08") || strings.HasPrefix(state.SQLState(), "57P0")
	}
	var op *net.OpError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op)
}

type scanner interface{ Scan(dest ...any) error }

// all reads every row of a statement.
func all[T any](ctx context.Context, q querier, scan func(scanner) (*T, error), text string, args ...any) ([]*T, error) {
	rows, err := q.stmt(ctx, text).QueryContext(ctx, args...)
	if err != nil {
		return nil, noted(err, q.reads(text))
	}
	defer rows.Close()
	found := []*T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, noted(rows.Err(), q.reads(text))
}

// do runs f, whose statements stand each for itself.
func (s *Store) do(ctx context.Context, f func(querier) error) error {
	return s.retry(ctx, func() error {
		p, err := s.prepared(ctx)
		if err != nil {
			return err
		}
		return f(querier{database: p})
	})
}

// tx runs f in a transaction, maybe several times: f must do nothing else. The first statement of f must write, so that
// SQLite never has to turn the lock of a reader into that of a writer, which fails if another wrote in between.
func (s *Store) tx(ctx context.Context, f func(querier) error) error {
	return s.retry(ctx, func() error {
		p, err := s.prepared(ctx)
		if err != nil {
			return err
		}
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return noted(err, true)
		}
		defer tx.Rollback() //nolint:errcheck // nothing to roll back after Commit, and no more to be done otherwise
		if err := f(querier{p, tx}); err != nil {
			return err
		}
		return tx.Commit()
	})
}

// attempts and the wait between them bound how long retries take: some two seconds in all. So many are needed where 64
// callers want one row at an isolation level at which all but one of them fail.
const (
	attempts = 14
	maxWait  = 512 // milliseconds
)

// retry runs f again while it loses against others or finds its connection lost before it wrote anything, and says in the error which package and whether ctx was why.
func (s *Store) retry(ctx context.Context, f func() error) error {
	var err error
	for i := range attempts {
		if err = f(); err == nil || ctx.Err() != nil || !lost(err) {
			break
		}
		if i < attempts-1 {
			wait(ctx, time.Duration(1+rand.Int64N(min(int64(2)<<i, maxWait)))*time.Millisecond) //nolint:gosec // jitter is no secret
		}
	}
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return err
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("sqlstore: %w: %w", ctx.Err(), err) // some drivers say no more than "interrupted"
	default:
		return fmt.Errorf("sqlstore: %w", err)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lost says whether err means that a statement or transaction was undone because of others, and may well do if it is
// repeated. Drivers are told apart by the methods of their errors.
func lost(err error) bool {
	var u unwritten
	if errors.As(err, &u) {
		return true
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		switch state.SQLState() {
		case "40001", "40P01": // serialization failure, deadlock
			return true
		case "23505": // a unique key was taken after a statement had found it free: the repeated one finds it taken
			return true
		}
	}
	var code interface{ Code() int }
	if errors.As(err, &code) {
		const busy, locked = 5, 6
		primary := code.Code() & 0xff
		return primary == busy || primary == locked
	}
	return false
}
