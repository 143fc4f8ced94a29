package main

import (
	"strings"
	"testing"
)

// The server runs on PostgreSQL in the tests of the folder integration.

func TestPostgresAddress(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for _, row := range []struct {
		dsn, want string
		unchecked bool
	}{
		{"postgres://u:p@db.example/idbroker", "postgres://u:p@db.example/idbroker?sslmode=verify-full", false},
		{"postgresql://u:p@db.example:5433/idbroker?search_path=a", "postgresql://u:p@db.example:5433/idbroker?search_path=a&sslmode=verify-full", false},
		{"postgres://u:p@10.0.0.1/idbroker?sslmode=require", "postgres://u:p@10.0.0.1/idbroker?sslmode=require", true},
		{"postgres://u:p@db.example/idbroker?sslmode=disable", "postgres://u:p@db.example/idbroker?sslmode=disable", true},
		{"postgres://u:p@127.0.0.1/idbroker", "postgres://u:p@127.0.0.1/idbroker", false},
		{"postgres://u:p@[::1]:5432/idbroker", "postgres://u:p@[::1]:5432/idbroker", false},
		{"postgres://u:p@localhost/idbroker", "postgres://u:p@localhost/idbroker", false},
		{"postgres:///idbroker?host=/var/run/postgresql", "postgres:///idbroker?host=/var/run/postgresql", false},
	} {
		got, err := postgresAddress(row.dsn)
		if err != nil || got != row.want {
			t.Errorf("postgresAddress(%q): got %q, %v, want %q", row.dsn, got, err, row.want)
		}
		if got := unchecked(row.want); got != row.unchecked {
			t.Errorf("unchecked(%q): got %v, want %v", row.want, got, row.unchecked)
		}
	}
	for _, dsn := range []string{"postgres://u:hunter2@db", "postgres://u:hunter%2@db/x", "postgres://u:hunter2@db/x?sslmode=no", "postgres://u:hunter2@db:p/x"} {
		if _, err := postgresAddress(dsn); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("postgresAddress(%q): got error %v, want one without the password", dsn, err)
		}
	}
}
