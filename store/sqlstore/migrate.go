package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration is one file of migrations/. Once released it is never changed: what is wrong is put right by the next one.
type migration struct {
	version    int64
	name       string
	statements []string
}

// Migrate makes the tables, or brings those of an earlier version of this package up to date. It changes nothing where
// there is nothing to do, several processes may call it at once, and what fails leaves the database as it was.
//
// Methods migrate by themselves when they are first used. Call Migrate at start to learn early that a database cannot be
// used, or with a database account that may create tables so that the broker's own need not.
func (s *Store) Migrate(ctx context.Context) error {
	return s.retry(ctx, func() error {
		if err := s.lock(ctx); err != nil {
			return err
		}
		defer s.unlock()
		_, err := s.migrate(ctx)
		return err
	})
}

const (
	sqlVersion = `SELECT COALESCE(MAX(version), 0) FROM idbroker_migrations`

	sqlMigrations = `CREATE TABLE IF NOT EXISTS idbroker_migrations (
		version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)`

	// The row of version 0 is the lock: who writes it first migrates, and the others wait and find it done. A row is a lock
	// for every database and for every pool between it and us, which an advisory lock is not.
	sqlLockMigrations = `INSERT INTO idbroker_migrations (version, applied_at) VALUES (0, $1)
		ON CONFLICT (version) DO UPDATE SET applied_at = excluded.applied_at`

	sqlMigrated = `INSERT INTO idbroker_migrations (version, applied_at) VALUES ($1, $2)`
)

func (s *Store) migrate(ctx context.Context) (dialect, error) {
	all, err := migrations(migrationFiles)
	if err != nil {
		return dialect{}, err
	}
	d, err := s.detect(ctx)
	if err != nil {
		return d, err
	}
	// That the table is not there yet cannot be told from other errors, which come again below.
	var version int64
	if err := s.db.QueryRowContext(ctx, sqlVersion).Scan(&version); err == nil {
		if todo, err := after(all, version); err != nil || len(todo) == 0 {
			return d, err
		}
	}
	return d, s.apply(ctx, d, all)
}

// apply brings the database up to date under a lock.
func (s *Store) apply(ctx context.Context, d dialect, all []migration) error {
	var version int64
	if _, err := s.db.ExecContext(ctx, sqlMigrations); err != nil && s.db.QueryRowContext(ctx, sqlVersion).Scan(&version) != nil {
		return fmt.Errorf("migrate: %w", err) // not one of those that PostgreSQL has for who creates what another just did
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // as in tx
	if _, err := tx.ExecContext(ctx, sqlLockMigrations, s.now().UnixMicro()); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := tx.QueryRowContext(ctx, sqlVersion).Scan(&version); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	todo, err := after(all, version)
	if err != nil {
		return err
	}
	for _, m := range todo {
		for _, text := range m.statements {
			if _, err := tx.ExecContext(ctx, d.schema(text)); err != nil {
				return fmt.Errorf("migrate to %s: %w", m.name, err)
			}
		}
		if _, err := tx.ExecContext(ctx, sqlMigrated, m.version, s.now().UnixMicro()); err != nil {
			return fmt.Errorf("migrate to %s: %w", m.name, err)
		}
	}
	return tx.Commit()
}

// after returns the migrations that a database of the given version lacks.
func after(all []migration, version int64) ([]migration, error) {
	if last := int64(len(all)); version > last {
		return nil, fmt.Errorf("a later version of the program has made the database: its version is %d, and this one "+
			"knows those up to %d", version, last)
	}
	return all[version:], nil
}

// migrations reads the files, which are numbered from 1 without a gap, such as "0001_start.sql".
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		base := strings.TrimPrefix(name, "migrations/")
		number, _, _ := strings.Cut(base, "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %q is not number %d", base, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{int64(i + 1), base, split(string(text))})
	}
	return all, nil
}

// split cuts a file into its statements, as not every driver takes several at once. A statement ends with a semicolon
// at the end of a line, and comments are lines of their own.
func split(text string) []string {
	var statements []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		whole, ends := strings.CutSuffix(line, ";")
		b.WriteString(whole)
		b.WriteByte('\n')
		if ends {
			statements = append(statements, b.String())
			b.Reset()
		}
	}
	if b.Len() > 0 {
		statements = append(statements, b.String())
	}
	return statements
}
