package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// The conformance kit runs against SQLite in the module of the examples, where a driver may be required.

// A script is a database that remembers nothing: each write touches one row, unless it is told to fail or to touch none.
type script struct {
	version int64  // of the tables
	is      string // what the database says to be; "" is an SQLite
	begins  atomic.Int64
	commits atomic.Int64
	fail    func(text string) error // nil or an error for a statement, or for "BEGIN" and "COMMIT"
	rows    func(text string) int64 // nil: 1
}

func (s *script) check(text string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(text)
}

func (s *script) Connect(context.Context) (driver.Conn, error) { return scriptConn{s}, nil }
func (s *script) Driver() driver.Driver                        { return nil }

type scriptConn struct{ s *script }

func (c scriptConn) Prepare(text string) (driver.Stmt, error) { return scriptStmt{c.s, text}, nil }
func (c scriptConn) Close() error                             { return nil }
func (c scriptConn) Begin() (driver.Tx, error)                { c.s.begins.Add(1); return c, c.s.check("BEGIN") }
func (c scriptConn) Commit() error                            { c.s.commits.Add(1); return c.s.check("COMMIT") }
func (c scriptConn) Rollback() error                          { return nil }

type scriptStmt struct {
	s    *script
	text string
}

func (st scriptStmt) Close() error  { return nil }
func (st scriptStmt) NumInput() int { return -1 }

func (st scriptStmt) Exec([]driver.Value) (driver.Result, error) {
	if err := st.s.check(st.text); err != nil {
		return nil, err
	}
	if st.s.rows != nil {
		return driver.RowsAffected(st.s.rows(st.text)), nil
	}
	return driver.RowsAffected(1), nil
}

func (st scriptStmt) Query([]driver.Value) (driver.Rows, error) {
	if err := st.s.check(st.text); err != nil {
		return nil, err
	}
	switch st.text {
	case "SELECT version()":
		if st.s.is == "" {
			return nil, errors.New("no such function: version")
		}
		return &scriptRows{left: 1, value: st.s.is}, nil
	case "SELECT sqlite_version()":
		if st.s.is != "" {
			return nil, errors.New("function sqlite_version() does not exist")
		}
		return &scriptRows{left: 1, value: "3.53.0"}, nil
	default:
		return &scriptRows{left: 1, value: st.s.version}, nil
	}
}

type scriptRows struct {
	left  int
	value driver.Value
}

func (r *scriptRows) Columns() []string { return []string{"version"} }
func (r *scriptRows) Close() error      { return nil }

func (r *scriptRows) Next(dest []driver.Value) error {
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	dest[0] = r.value
	return nil
}

func openScript(t *testing.T, s *script) *Store {
	t.Helper()
	if s.version == 0 {
		s.version = 1
	}
	db := sql.OpenDB(s)
	t.Cleanup(func() { _ = db.Close() })
	return New(db)
}

// The errors of drivers, as they look from outside.
type stateError string

func (e stateError) Error() string    { return "state " + string(e) }
func (e stateError) SQLState() string { return string(e) }

type codeError int

func (e codeError) Error() string { return fmt.Sprint("code ", int(e)) }
func (e codeError) Code() int     { return int(e) }

func login() *store.Login {
	return &store.Login{Once: "once", NewUser: &store.User{ID: "u"}, Session: &store.Session{ID: "s"}, Grant: &store.Grant{ID: "g"}}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		where string
		times int64 // how often it fails
		tries int64
		fails bool
	}{
		"serialization failure":              {stateError("40001"), "idbroker_grants", 2, 3, false},
		"serialization failure at the end":   {stateError("40001"), "COMMIT", 2, 3, false},
		"deadlock":                           {stateError("40P01"), "idbroker_sessions", 1, 2, false},
		"unique key taken meanwhile":         {stateError("23505"), "idbroker_users", 1, 2, false},
		"busy":                               {codeError(5), "BEGIN", 3, 4, false},
		"busy, extended code":                {codeError(5 | 2<<8), "idbroker_transient", 1, 2, false},
		"locked":                             {codeError(6), "COMMIT", 1, 2, false},
		"wrapped":                            {fmt.Errorf("driver: %w", codeError(5)), "BEGIN", 1, 2, false},
		"for ever":                           {codeError(5), "BEGIN", 1 << 30, attempts, true},
		"a constraint, which stays":          {codeError(19), "idbroker_users", 1, 1, true},
		"not null violation":                 {stateError("23502"), "idbroker_users", 1, 1, true},
		"an error of no kind":                {errors.New("disk on fire"), "idbroker_users", 1, 1, true},
		"of no kind, when nobody can say if": {errors.New("connection reset"), "COMMIT", 1, 1, true},
		"the server ends, nothing written":   {stateError("57P01"), "BEGIN", 2, 3, false},
		"the server ends, written perhaps":   {stateError("57P01"), "COMMIT", 1, 1, true},
		"no connection, nothing written":     {&net.OpError{Op: "write", Err: errors.New("broken pipe")}, "BEGIN", 2, 3, false},
		"no connection, written perhaps":     {io.ErrUnexpectedEOF, "idbroker_sessions", 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed atomic.Int64
			db := &script{fail: func(text string) error {
				if strings.Contains(text, c.where) && failed.Add(1) <= c.times {
					return c.err
				}
				return nil
			}}
			s := openScript(t, db)
			l := login()
			err := s.Commit(t.Context(), l)
			if got := db.begins.Load(); got != c.tries {
				t.Errorf("Commit began %d transactions, want %d", got, c.tries)
			}
			if (err != nil) != c.fails || c.fails && !errors.Is(err, c.err) {
				t.Errorf("Commit: got error %v, want one: %v", err, c.fails)
			}
			want := int64(1)
			if c.fails {
				want = 0
			}
			if l.NewUser.Version != want || l.Session.Version != want || l.Grant.Version != want {
				t.Errorf("Versions %d, %d, %d, want %d", l.NewUser.Version, l.Session.Version, l.Grant.Version, want)
			}
		})
	}
}

// What only reads is repeated when the connection is lost, and what takes is not: it may have taken.
func TestReadsAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var left atomic.Int64
	db := &script{fail: func(text string) error {
		if left.Add(-1) >= 0 {
			return stateError("57P01")
		}
		return nil
	}}
	s := openScript(t, db)
	if _, err := s.prepared(ctx); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do    func() error
		reads bool
	}{
		"Get":       {func() error { _, err := s.Get(ctx, "p", "k"); return err }, true},
		"Take":      {func() error { _, err := s.Take(ctx, "p", "k"); return err }, false},
		"LinksOf":   {func() error { _, err := s.LinksOf(ctx, "u"); return err }, true},
		"Put":       {func() error { return s.Put(ctx, "p", "k", nil, time.Now()) }, false},
		"DeleteKey": {func() error { return s.DeleteKey(ctx, "k") }, false},
	} {
		left.Store(1)
		var state stateError
		err := c.do()
		if got := !errors.As(err, &state); got != c.reads {
			t.Errorf("%s over a connection that is lost: got %v, want it repeated: %v", name, err, c.reads)
		}
	}
}

// Whoever waits for a database that is busy stops when the context ends.
func TestRetryEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	db := &script{fail: func(text string) error {
		if text == "BEGIN" {
			cancel()
			return codeError(5)
		}
		return nil
	}}
	err := openScript(t, db).Commit(ctx, login())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: got error %v, want %v", err, context.Canceled)
	}
	if got := db.begins.Load(); got != 1 {
		t.Errorf("Commit began %d transactions, want 1", got)
	}
}

// A part that is not written ends the transaction before its end.
func TestCommitDoesNotCommitHalf(t *testing.T) {
	t.Parallel()
	for part, want := range map[string]error{
		"INSERT INTO idbroker_transient": store.ErrExists, "INSERT INTO idbroker_users": store.ErrExists,
		"idbroker_sessions": store.ErrExists, "idbroker_grants": store.ErrExists,
	} {
		db := &script{rows: func(text string) int64 {
			if strings.Contains(text, part) {
				return 0
			}
			return 1
		}}
		if err := openScript(t, db).Commit(t.Context(), login()); !errors.Is(err, want) {
			t.Errorf("Commit without %s: got error %v, want %v", part, err, want)
		}
		if got := db.commits.Load(); got != 0 {
			t.Errorf("Commit without %s: committed %d times", part, got)
		}
	}
}

// Nothing runs unprepared, and each transaction begins with a write.
func TestStatements(t *testing.T) {
	t.Parallel()
	sorted := slices.Clone(texts)
	slices.Sort(sorted)
	if got, want := len(slices.Compact(sorted)), len(texts); got != want {
		t.Errorf("%d of %d statements differ", got, want)
	}
	var first []string
	db := &script{fail: func(text string) error { first = append(first, text); return nil }}
	s := openScript(t, db)
	if _, err := s.prepared(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, l := range []*store.Login{
		{Once: "o"}, {NewUser: &store.User{}}, {User: &store.User{}}, {NewLink: &store.Link{}}, {Link: &store.Link{}},
		{Session: &store.Session{}}, {Session: &store.Session{Version: 1}}, {EndSession: "s"}, {Grant: &store.Grant{ExpiresAt: now}},
	} {
		first = nil
		if err := s.Commit(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if len(first) != 3 || !regexp.MustCompile(`^(INSERT|UPDATE|DELETE) `).MatchString(first[1]) {
			t.Errorf("a login with one part runs %q, want one write between BEGIN and COMMIT", first)
		}
	}
}

// Only where writers run side by side is an e-mail held, before it is looked for, and only one that a user gets.
func TestLocks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var run []string
	for is, concurrent := range map[string]bool{"": false, "PostgreSQL 15.4 on x86": true, "CockroachDB CCL v24.1": true} {
		changed := false // an e-mail
		db := &script{is: is, fail: func(text string) error { run = append(run, text); return nil }}
		db.rows = func(text string) int64 {
			if text == sqlUpdateUser && changed {
				changed = false
				return 0
			}
			return 1
		}
		s := openScript(t, db)
		if _, err := s.prepared(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name       string
			changed    bool
			do         func(*store.User) error
			email      string
			want, held []string
		}{
			{"create", false, func(u *store.User) error { return s.CreateUser(ctx, u) }, "a@b", []string{sqlCreateUser}, []string{sqlLock, sqlCreateUser}},
			{"create without", false, func(u *store.User) error { return s.CreateUser(ctx, u) }, "", []string{sqlCreateUser}, []string{sqlCreateUser}},
			{"update", false, func(u *store.User) error { return s.UpdateUser(ctx, u) }, "a@b", []string{sqlUpdateUser}, []string{sqlUpdateUser}},
			{"update without", false, func(u *store.User) error { return s.UpdateUser(ctx, u) }, "", []string{sqlUpdateUser}, []string{sqlUpdateUser}},
		} {
			run = nil
			want := c.want
			if concurrent {
				want = c.held
			}
			if err := c.do(&store.User{Email: c.email}); err != nil {
				t.Errorf("%q: %s: %v", is, c.name, err)
			}
			if got := run[1 : len(run)-1]; !slices.Equal(got, want) {
				t.Errorf("%q: %s runs %q, want %q", is, c.name, got, want)
			}
		}
		if !concurrent {
			continue
		}
		run, changed = nil, true
		if err := s.UpdateUser(ctx, &store.User{Email: "a@b"}); err != nil {
			t.Errorf("%q: update of the e-mail: %v", is, err)
		}
		if got, want := run[1:len(run)-1], []string{sqlUpdateUser, sqlLock, sqlUpdateUser}; !slices.Equal(got, want) {
			t.Errorf("%q: update of the e-mail runs %q, want %q", is, got, want)
		}
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for is, want := range map[string]dialect{
		"": sqlite, "PostgreSQL 15.4 (Debian) on x86_64-pc-linux-gnu": postgres, "CockroachDB CCL v24.1.0 (x86_64)": cockroach,
	} {
		if got, err := openScript(t, &script{is: is}).detect(ctx); err != nil || got != want {
			t.Errorf("detect of %q: got %+v, %v, want %+v", is, got, err, want)
		}
	}
	if _, err := openScript(t, &script{is: "8.0.36"}).detect(ctx); err == nil || !strings.Contains(err.Error(), "8.0.36") {
		t.Errorf("detect of another database: got error %v, want one that says which", err)
	}
	refused := errors.New("connection refused")
	db := &script{is: "PostgreSQL", fail: func(string) error { return refused }}
	if _, err := openScript(t, db).detect(ctx); !errors.Is(err, refused) {
		t.Errorf("detect of nothing: got error %v, want %v", err, refused)
	}
}

func TestSchemaOfDialect(t *testing.T) {
	t.Parallel()
	const text = "CREATE TABLE t (\n\ta TEXT NOT NULL,\n\tb TEXTS\n)"
	if got := sqlite.schema(text); got != text {
		t.Errorf("schema for SQLite: got %q, want it as it is", got)
	}
	if got, want := postgres.schema(text), "CREATE TABLE t (\n\ta TEXT COLLATE \"C\" NOT NULL,\n\tb TEXTS\n)"; got != want {
		t.Errorf("schema for PostgreSQL: got %q, want %q", got, want)
	}
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	all, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^(?:CREATE (?:UNIQUE )?(?:TABLE|INDEX)|ALTER TABLE) idbroker_[a-z_]+ `)
	for _, m := range all {
		for _, text := range m.statements {
			if !name.MatchString(text) || strings.Contains(text, ";") {
				t.Errorf("%s: statement makes no table or index of ours, or is two: %.60q", m.name, text)
			}
		}
	}
	if todo, err := after(all, 0); err != nil || len(todo) != len(all) {
		t.Errorf("after(0): got %d migrations, %v, want all", len(todo), err)
	}
	last := int64(len(all))
	if todo, err := after(all, last); err != nil || len(todo) != 0 {
		t.Errorf("after(%d): got %d migrations, %v, want none", last, len(todo), err)
	}
	if _, err := after(all, last+1); err == nil {
		t.Errorf("after(%d): no error for a newer database", last+1)
	}
	for _, names := range [][]string{
		{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"0001_a.sql", "0001_b.sql"}, {"a.sql"}, {"0000_a.sql"}, {"1x_a.sql"},
	} {
		files := fstest.MapFS{}
		for _, n := range names {
			files["migrations/"+n] = &fstest.MapFile{}
		}
		if _, err := migrations(files); err == nil {
			t.Errorf("migrations(%q): no error", names)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	got := split("-- a; comment;\n\nCREATE TABLE a (\r\n\tb TEXT -- ; no end\n);  \nCREATE INDEX c;\nlast")
	want := []string{"CREATE TABLE a (\n\tb TEXT -- ; no end\n)\n", "CREATE INDEX c\n", "last\n"}
	if !slices.Equal(got, want) {
		t.Errorf("split: got %q, want %q", got, want)
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		[]string{"a", "\xff"}, map[string]string{"\xff": ""}, map[string]string{"": "\xff"},
		map[string][]string{"\xff": nil}, map[string][]string{"a": {"b", "\xc3\x28"}},
	} {
		if got, err := pack(v); err == nil {
			t.Errorf("pack(%q): got %q, want an error", v, got)
		}
	}
	for want, v := range map[string]any{
		"": []string{}, `["","\ufffd"]`: []string{"", "\ufffd"}, `{"a":["b"]}`: map[string][]string{"a": {"b"}},
	} {
		want = strings.ReplaceAll(want, `\ufffd`, "\ufffd")
		if got, err := pack(v); got != want || err != nil {
			t.Errorf("pack(%q): got %q, %v, want %q", v, got, err, want)
		}
	}
}
