package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// No query's cost grows with what there is, but for the depth of an index. The store prepares all of its statements at
// first use, so that these tests see each, those of a later day too.

// wholeTable are the tables that are read as a whole, with the reason.
var wholeTable = map[string]string{
	"idbroker_keys": "the signing keys of a broker are a handful",
}

func TestSQLitePlans(t *testing.T) {
	t.Parallel()
	dsn := newFile(t) + pragmas
	db, rec := recorded(t, openSQLite(t, dsn).Driver(), dsn)
	if got := statementsOfLogins(t, sqlstore.New(db), rec); got != [2]int{5, 6} {
		t.Errorf("a first and a later login take %v statements, want 5 and 6", got)
	}
	for _, text := range rec.statements(t) {
		for _, step := range planOfSQLite(t, db, text) {
			table, scans := strings.CutPrefix(step, "SCAN ")
			if scans && wholeTable[table] == "" && table != "CONSTANT ROW" || rangeOfSQLite.MatchString(step) && !limited(text) {
				t.Errorf("%s\nin\n%s", step, text)
			}
		}
	}
}

// A search from a value on finds as many as there are, unless there is a LIMIT.
var (
	rangeOfSQLite   = regexp.MustCompile(`^SEARCH .* \([^=)]*[<>][^=)]*\)$`)
	rangeOfPostgres = regexp.MustCompile(`Index Cond: \([^=\n]*[<>]=? [^=\n]*\)\n`)
)

func limited(text string) bool { return strings.Contains(text, "LIMIT $") }

func planOfSQLite(t *testing.T, db *sql.DB, text string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, make([]any, 40)...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestPostgresPlans(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := newPostgres(t)
	plain := openPostgres(t, dsn)
	db, rec := recorded(t, plain.Driver(), dsn)
	// One more than in SQLite: the lock on the e-mail of a new user.
	if got := statementsOfLogins(t, sqlstore.New(db), rec); got != [2]int{6, 6} {
		t.Errorf("a first and a later login take %v statements, want 6 and 6", got)
	}
	fillTables(t, plain, 20_000)
	conn, err := plain.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The plan that is made once for all values: the one for a value could be good by chance.
	if _, err := conn.ExecContext(ctx, `SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	seqScan := regexp.MustCompile(`Seq Scan on (\w+)`)
	for i, text := range rec.statements(t) {
		plan := planOfPostgres(t, conn, fmt.Sprint("p", i), text)
		for _, found := range seqScan.FindAllStringSubmatch(plan, -1) {
			if wholeTable[found[1]] == "" {
				t.Errorf("%s in the plan of\n%s\nwhich is\n%s", found[0], text, plan)
			}
		}
		if found := rangeOfPostgres.FindString(plan); found != "" && !limited(text) {
			t.Errorf("%s in the plan of\n%s\nwhich is\n%s", found, text, plan)
		}
	}
}

func planOfPostgres(t *testing.T, conn *sql.Conn, name, text string) (plan string) {
	t.Helper()
	if _, err := conn.ExecContext(t.Context(), "PREPARE "+name+" AS "+text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	parameters := map[string]bool{}
	for _, p := range regexp.MustCompile(`\$\d+`).FindAllString(text, -1) {
		parameters[p] = true
	}
	explain := "EXPLAIN EXECUTE " + name
	if n := len(parameters); n > 0 {
		explain += "(" + strings.Repeat("NULL, ", n-1) + "NULL)"
	}
	rows, err := conn.QueryContext(t.Context(), explain)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan += line + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

// fillTables puts n rows into each table of the store, whatever its columns are, and lets the planner know.
func fillTables(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT table_name, column_name, data_type FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name LIKE 'idbroker\_%' ORDER BY table_name, ordinal_position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns := map[string][][2]string{}
	for rows.Next() {
		var table, column, kind string
		if err := rows.Scan(&table, &column, &kind); err != nil {
			t.Fatal(err)
		}
		columns[table] = append(columns[table], [2]string{column, kind})
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for table, list := range columns {
		var values []string
		for _, c := range list {
			value := map[string]string{
				"text": "'x' || i", "bigint": "i", "boolean": "i % 2 = 0", "bytea": `'\x00'`,
			}[c[1]]
			switch c[0] {
			case "purpose", "kind", "algorithm":
				value = "'x' || i % 5" // of which there are few
			case "provider", "issuer", "client_id":
				if table != "idbroker_fences" { // one for each
					value = "'x' || i % 500"
				}
			}
			values = append(values, value)
		}
		fill := fmt.Sprintf(`INSERT INTO %s SELECT %s FROM generate_series(1, %d) i ON CONFLICT DO NOTHING`,
			table, strings.Join(values, ", "), n)
		if _, err := db.ExecContext(t.Context(), fill); err != nil {
			t.Fatalf("fill %s: %v", table, err)
		}
		if got := queryInt(t, db, `SELECT COUNT(*) FROM `+table); got < int64(n) {
			t.Fatalf("%s has %d rows, want %d", table, got, n)
		}
	}
	if _, err := db.ExecContext(t.Context(), `ANALYZE`); err != nil {
		t.Fatal(err)
	}
}

// statementsOfLogins counts the statements of a first login and of a later one that ends another session.
func statementsOfLogins(t *testing.T, s *sqlstore.Store, rec *recorder) [2]int {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Keys(ctx); err != nil { // makes the tables and prepares
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour)
	rec.take()
	l := loginOf("id", end)
	if err := s.Commit(ctx, l); err != nil {
		t.Fatal(err)
	}
	first := rec.take()
	again := loginOf("again", end)
	again.NewUser, again.NewLink, again.User, again.Link, again.EndSession = nil, nil, l.NewUser, l.NewLink, "id"
	if err := s.Commit(ctx, again); err != nil {
		t.Fatal(err)
	}
	return [2]int{len(first), len(rec.take())}
}

// A recorder notes the text of each statement that is prepared, and of each prepared one that is run.
type recorder struct {
	mu       sync.Mutex
	prepared []string
	texts    []string
}

func (r *recorder) add(to *[]string, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, text)
}

// take returns what was run since it was last called.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := r.texts
	r.texts = nil
	return texts
}

// statements are the store's own, without those of migrations and others that are run once.
func (r *recorder) statements(t *testing.T) []string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(r.prepared), func(text string) bool {
		return !strings.Contains(text, " idbroker_") || strings.HasPrefix(text, "CREATE ") || strings.Contains(text, " idbroker_migrations")
	})
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) < 40 {
		t.Fatalf("%d statements were seen, too few", len(list))
	}
	return list
}

// recorded opens a database whose statements are noted.
func recorded(t *testing.T, d driver.Driver, dsn string) (*sql.DB, *recorder) {
	t.Helper()
	rec := &recorder{}
	db := sql.OpenDB(connector{dsn, d, rec})
	t.Cleanup(func() { _ = db.Close() })
	return db, rec
}

type connector struct {
	dsn string
	d   driver.Driver
	rec *recorder
}

func (c connector) Driver() driver.Driver { return c.d }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.d.Open(c.dsn)
	return recordedConn{conn, c.rec}, err
}

type recordedConn struct {
	driver.Conn
	rec *recorder
}

func (c recordedConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	c.rec.add(&c.rec.prepared, text)
	st, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
	return recordedStmt{st, text, c.rec}, err
}

func (c recordedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

type recordedStmt struct {
	driver.Stmt
	text string
	rec  *recorder
}

func (s recordedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.rec.add(&s.rec.texts, s.text)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s recordedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.rec.add(&s.rec.texts, s.text)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
