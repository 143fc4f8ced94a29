package main

import (
	"database/sql"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// postgresAddress checks the address of a PostgreSQL database and returns it with what it leaves open. An error must not
// say what stands in it.
func postgresAddress(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Path == "" || u.Path == "/" {
		return "", errors.New("is to be postgres://USER:PASSWORD@HOST:PORT/DATABASE, with what is no letter or digit in the password escaped")
	}
	// The driver would try TLS, whoever answers, and do without where there is none.
	if q := u.Query(); !q.Has("sslmode") && os.Getenv("PGSSLMODE") == "" && !local(u.Hostname()) {
		q.Set("sslmode", "verify-full")
		u.RawQuery = q.Encode()
	}
	if _, err := pgx.ParseConfig(u.String()); err != nil {
		return "", errors.New("is no address of a PostgreSQL database that the driver understands")
	}
	return u.String(), nil
}

// local says whether nobody but this machine sees what is sent to host, which is empty for a socket of this machine.
func local(host string) bool {
	if host == "" || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// unchecked says whether connections to the address are to a server whose certificate nobody checks.
func unchecked(dsn string) bool {
	c, err := pgx.ParseConfig(dsn)
	return err != nil || !local(c.Host) && c.Host[0] != '/' && (c.TLSConfig == nil || c.TLSConfig.InsecureSkipVerify)
}

// postgresConnections is how many connections a server holds at most. Each does some hundred logins a second, and a
// PostgreSQL has a hundred by default for all that use it.
const postgresConnections = 16

func openPostgres(dsn string) (*sql.DB, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(postgresConnections)
	db.SetMaxIdleConns(postgresConnections) // a new one costs more than a login
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}
