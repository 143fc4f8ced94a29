package integration

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// testdata/schema_0001.sqlite.sql is what a release with migration 0001 as its last has made of a database and kept in
// it; there is one file for each released schema and database. Each must become what a fresh database is, keep what is in
// it, and pass the kit.
//
// With -update the files of the newest migration are written anew. That is for a migration that is not released yet:
//
//	go test ./integration -run TestSchemas -update
var update = flag.Bool("update", false, "write testdata/schema_*.sql of the newest migration anew")

// A schemaPeer is a kind of database that schemas are tried on.
type schemaPeer struct {
	empty   func(testing.TB) (*sql.DB, string)
	catalog string // a query for all that is in the schema, as one column of text
	dump    func(t testing.TB, db *sql.DB, dsn string) string
}

func schemaPeers() map[string]schemaPeer {
	return map[string]schemaPeer{
		"sqlite": {
			empty: func(t testing.TB) (*sql.DB, string) {
				dsn := newFile(t) + pragmas
				return openSQLite(t, dsn), dsn
			},
			catalog: `SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_master ORDER BY 1`,
			dump:    dumpSQLite,
		},
		"postgres": {
			empty: func(t testing.TB) (*sql.DB, string) {
				dsn := newPostgres(t)
				return openPostgres(t, dsn), dsn
			},
			catalog: `SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default)
					FROM information_schema.columns WHERE table_schema = current_schema()
				UNION ALL SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes
					WHERE schemaname = current_schema() ORDER BY 1`,
			dump: dumpPostgres,
		},
	}
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	for name, peer := range schemaPeers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh, dsn := peer.empty(t)
			s := sqlstore.New(fresh)
			writeSample(t, s)
			checkSample(t, s)
			newest := int(queryInt(t, fresh, `SELECT MAX(version) FROM idbroker_migrations`))
			if *update {
				file := fmt.Sprintf("testdata/schema_%04d.%s.sql", newest, name)
				if err := os.WriteFile(file, []byte(peer.dump(t, fresh, dsn)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := strings.Join(column(t, fresh, peer.catalog), "\n")
			files, err := filepath.Glob("testdata/schema_*." + name + ".sql")
			if err != nil || len(files) != newest {
				t.Fatalf("got the schemas %q, %v, want one of each of %d migrations: see -update", files, err, newest)
			}
			for _, file := range files {
				t.Run(strings.Split(filepath.Base(file), ".")[0], func(t *testing.T) {
					db := restore(t, peer, file)
					checkSample(t, sqlstore.New(db))
					if got := strings.Join(column(t, db, peer.catalog), "\n"); got != want {
						t.Errorf("the schema of %s, brought up to date, is\n%s\nand a fresh one is\n%s", file, got, want)
					}
					storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
						db := restore(t, peer, file)
						s := sqlstore.New(db)
						if err := s.Migrate(t.Context()); err != nil {
							t.Fatal(err)
						}
						empty(t, db, want)
						return stoppedClock(s)
					})
				})
			}
		})
	}
}

func restore(t testing.TB, peer schemaPeer, file string) *sql.DB {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	db, _ := peer.empty(t)
	if _, err := db.ExecContext(t.Context(), string(text)); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return db
}

var tableName = regexp.MustCompile(`\bidbroker_[a-z]+\b`)

// empty removes what is in the tables that the catalog names.
func empty(t testing.TB, db *sql.DB, catalog string) {
	t.Helper()
	for _, table := range tables(catalog) {
		if table == "idbroker_migrations" {
			continue
		}
		if _, err := db.ExecContext(t.Context(), `DELETE FROM `+table); err != nil {
			t.Fatal(err)
		}
	}
}

func tables(catalog string) []string {
	var names []string
	for line := range strings.Lines(catalog) {
		if strings.HasPrefix(line, "table ") || strings.HasPrefix(line, "idbroker_") { // of SQLite, or a column in PostgreSQL
			names = append(names, tableName.FindString(line))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func column(t testing.TB, db *sql.DB, query string) (values []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

func dumpSQLite(t testing.TB, db *sql.DB, _ string) string {
	t.Helper()
	made := column(t, db, `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid`)
	text := strings.Join(made, ";\n\n") + ";\n"
	for _, table := range column(t, db, `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`) {
		columns := column(t, db, `SELECT name FROM pragma_table_info('`+table+`') ORDER BY cid`)
		values := "quote(" + strings.Join(columns, ") || ', ' || quote(") + ")"
		for _, row := range column(t, db, `SELECT `+values+` FROM `+table+` ORDER BY 1`) {
			text += fmt.Sprintf("\nINSERT INTO %s (%s) VALUES (%s);\n", table, strings.Join(columns, ", "), row)
		}
	}
	return text
}

func dumpPostgres(t testing.TB, db *sql.DB, dsn string) string {
	t.Helper()
	var schema string
	if err := db.QueryRowContext(t.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	where, _, _ := strings.Cut(dsn, "?")
	cmd := exec.CommandContext(t.Context(), filepath.Join(requirePostgres(t), "pg_dump"), "--column-inserts", "--no-owner", "--no-privileges",
		"--schema="+schema, where)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	noise := regexp.MustCompile(`(?m)^(--.*|SET .*|SELECT pg_catalog.*|CREATE SCHEMA .*|\\.*)\n`).ReplaceAllString(string(out), "")
	noise = regexp.MustCompile(`\n{3,}`).ReplaceAllString(noise, "\n\n")
	return strings.TrimSpace(strings.ReplaceAll(noise, schema+".", "")) + "\n"
}

// The sample is what a release has kept; it does not follow later fields.

type sample struct {
	user       *store.User
	link       *store.Link
	session    *store.Session
	grant      *store.Grant
	client     *store.Client
	key        *store.Key
	credential *store.Credential
	fence      *store.Fence
}

func newSample() *sample {
	begin, end := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), time.Date(2999, 1, 2, 3, 4, 5, 6000, time.UTC)
	key := store.LinkKey{Provider: "acme", Issuer: "https://acme.example", Subject: "it's \"ada\" \\ ü"}
	return &sample{
		user: &store.User{
			ID: "u", Username: "ada", Email: "ada@example.com", EmailVerified: true, SharedEmail: true, FirstName: "Ada", LastName: "L",
			Name: "Ada L", Locale: "en", Picture: "https://example.com/a", Disabled: true, Roles: []string{"r"}, Groups: []string{"/g"},
			Attributes: map[string][]string{"k": {"v", "w"}}, CreatedAt: begin, UpdatedAt: begin, Version: 1,
		},
		link: &store.Link{LinkKey: key, UserID: "u", Username: "n", Email: "e", Tokens: []byte{0, 0xff, '\''}, CreatedAt: begin, LastLogin: begin, Version: 1},
		session: &store.Session{
			ID: "s", SecretHash: []byte{1, 0}, UserID: "u", Upstream: key, UpstreamSession: "us", UpstreamIDToken: []byte{2}, UpstreamTokens: []byte{3}, TransientUser: []byte{4}, ACR: "acr",
			AMR: []string{"pwd"}, Notes: map[string]string{"k": "v"}, AuthTime: begin, CreatedAt: begin, LastSeen: begin, ExpiresAt: end, Version: 1,
		},
		grant: &store.Grant{
			ID: "g", Kind: store.GrantConsent, ClientID: "c", UserID: "u", SessionID: "s", Scope: []string{"openid"}, Nonce: "n",
			ClaimsRequest: []string{"userinfo:name"}, AuthTime: begin, ACR: "acr", AMR: []string{"pwd"}, Upstream: key,
			Resources: []string{"https://api.example"}, JKT: "jkt", CodeHash: []byte{3}, CodeExpires: begin, CodeUsed: true,
			RedirectURI: "https://app.example", CodeChallenge: "ch", RefreshHash: []byte{4}, PreviousHash: []byte{5}, GraceUntil: begin,
			Answer: []byte{6}, CreatedAt: begin, ExpiresAt: end, Version: 1,
		},
		client:     &store.Client{ID: "c", Name: "App", Secrets: [][]byte{{7, 0}}, RedirectURIs: []string{"https://app.example"}, Version: 1},
		key:        &store.Key{ID: "k", Algorithm: "ES256", Generation: 3, Private: []byte{8, 0}, CreatedAt: begin, NotBefore: begin},
		credential: &store.Credential{ID: "cr", UserID: "u", Kind: store.CredentialPassword, Label: "l", Secret: []byte{9}, Step: 10, CreatedAt: begin, LastUsed: begin, Version: 1},
		fence:      &store.Fence{Provider: "acme", Mark: "m", Issuers: []string{"https://acme.example"}, ConfirmedAt: begin, Version: 1},
	}
}

const samplePurpose, sampleKey, sampleValue = "p", "k", "\x00v"

func writeSample(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	ctx, want := t.Context(), newSample()
	s.Now = func() time.Time { return want.user.CreatedAt }
	want.client.Version, want.fence.Version = 0, 0 // are added
	for _, err := range []error{
		s.CreateUser(ctx, want.user), s.CreateLink(ctx, want.link), s.CreateSession(ctx, want.session), s.CreateGrant(ctx, want.grant),
		s.PutClient(ctx, want.client), s.AddKey(ctx, want.key), s.CreateCredential(ctx, want.credential), s.PutFence(ctx, want.fence),
		s.Put(ctx, samplePurpose, sampleKey, []byte(sampleValue), want.session.ExpiresAt),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkSample(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	ctx, want := t.Context(), newSample()
	got, errs := &sample{}, [9]error{}
	got.user, errs[0] = s.User(ctx, "u")
	got.link, errs[1] = s.Link(ctx, want.link.LinkKey)
	got.session, errs[2] = s.Session(ctx, "s")
	got.grant, errs[3] = s.Grant(ctx, "g")
	got.client, errs[4] = s.Client(ctx, "c")
	keys, err := s.Keys(ctx)
	credentials, err2 := s.CredentialsOf(ctx, "u")
	got.fence, errs[5] = s.Fence(ctx, "acme")
	value, err3 := s.Get(ctx, samplePurpose, sampleKey)
	copy(errs[6:], []error{err, err2, err3})
	if errs != [9]error{} || len(keys) != 1 || len(credentials) != 1 || string(value) != sampleValue {
		t.Fatalf("read what an earlier version has kept: %v; %d keys, %d credentials, value %q", errs, len(keys), len(credentials), value)
	}
	got.key, got.credential = keys[0], credentials[0]
	g, w := reflect.ValueOf(*got), reflect.ValueOf(*want)
	for i := range g.NumField() {
		got, want := fmt.Sprintf("%+v", g.Field(i).Elem()), fmt.Sprintf("%+v", w.Field(i).Elem())
		if got != want {
			t.Errorf("what an earlier version has kept is read as\n%s\nwant\n%s", got, want)
		}
	}
}
