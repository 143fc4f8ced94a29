package sqlstore

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// A dialect is all that the databases do not share; the text of every query is the same for each.
type dialect struct {
	concurrent bool   // writers run side by side, so that a rule about several rows needs a lock
	text       string // the type of a text column
}

var (
	// SQLite has one writer at a time and compares bytes.
	sqlite = dialect{concurrent: false, text: "TEXT"}
	// PostgreSQL is told to compare bytes. That is what keys are, it is faster, and an update of the operating system that
	// changes how a language is sorted would leave unique indexes in which nothing is found any more.
	postgres = dialect{concurrent: true, text: `TEXT COLLATE "C"`}
	// CockroachDB compares bytes by itself.
	cockroach = dialect{concurrent: true, text: "TEXT"}
)

// detect asks the database what it is, by the function that each has for it: drivers are none of this package's business.
func (s *Store) detect(ctx context.Context) (dialect, error) {
	var version string
	err := s.db.QueryRowContext(ctx, `SELECT version()`).Scan(&version)
	switch {
	case err == nil && strings.HasPrefix(version, "CockroachDB"):
		return cockroach, nil
	case err == nil && strings.HasPrefix(version, "PostgreSQL"):
		return postgres, nil
	case s.db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version) == nil:
		return sqlite, nil
	case err == nil:
		return dialect{}, fmt.Errorf("the database is neither SQLite nor PostgreSQL: %.40q", version)
	default:
		return dialect{}, fmt.Errorf("ask the database for its version: %w", err)
	}
}

var textColumn = regexp.MustCompile(`\bTEXT\b`)

// schema is the text of a statement of a migration in this dialect.
func (d dialect) schema(text string) string { return textColumn.ReplaceAllLiteralString(text, d.text) }
