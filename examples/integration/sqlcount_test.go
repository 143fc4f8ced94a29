package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync/atomic"
	"testing"
)

// sqlCounts counts what a store asks of its database.
type sqlCounts struct {
	statements atomic.Int64
	writes     atomic.Int64 // transactions that write, those of a single statement included
}

func (c *sqlCounts) reset() {
	c.statements.Store(0)
	c.writes.Store(0)
}

// open opens a database that counts, by the driver of another.
func (c *sqlCounts) open(t testing.TB, like *sql.DB, dsn string) *sql.DB {
	t.Helper()
	db := sql.OpenDB(&countingConnector{driver: like.Driver(), dsn: dsn, counts: c})
	t.Cleanup(func() { db.Close() })
	return db
}

type countingConnector struct {
	driver driver.Driver
	dsn    string
	counts *sqlCounts
}

func (c *countingConnector) Driver() driver.Driver { return c.driver }

func (c *countingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn, counts: c.counts}, nil
}

// A countingConn lets database/sql prepare every statement, so that each execution passes countingStmt.
type countingConn struct {
	driver.Conn
	counts *sqlCounts
	inTx   bool
}

func (c *countingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	read := strings.HasPrefix(strings.ToUpper(strings.TrimSpace(query)), "SELECT")
	return &countingStmt{Stmt: s, conn: c, read: read}, nil
}

func (c *countingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	c.inTx = true
	return &countingTx{Tx: tx, conn: c}, nil
}

type countingTx struct {
	driver.Tx
	conn *countingConn
}

func (t *countingTx) Commit() error {
	t.conn.inTx = false
	t.conn.counts.writes.Add(1)
	return t.Tx.Commit()
}

func (t *countingTx) Rollback() error {
	t.conn.inTx = false
	return t.Tx.Rollback()
}

type countingStmt struct {
	driver.Stmt
	conn *countingConn
	read bool
}

func (s *countingStmt) count() {
	s.conn.counts.statements.Add(1)
	if !s.read && !s.conn.inTx {
		s.conn.counts.writes.Add(1)
	}
}

func (s *countingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.count()
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *countingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.count()
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
