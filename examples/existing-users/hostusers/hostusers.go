// Package hostusers is [store.Users] over a table of users that an application has had before there was a broker. Copy it,
// and put your own columns in.
//
//	rest := sqlstore.New(db)
//	s := store.Parts{Users: hostusers.New(db), Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest}
//
// schema.sql is the table as it was, migration.sql what is added to it. storetest.RunUsers says whether yours is right.
package hostusers

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/go-idbroker/idbroker/store"
)

// Schema makes the application's own table, and Migration adds to it what the broker needs.
var (
	//go:embed schema.sql
	Schema string
	//go:embed migration.sql
	Migration string
)

// Users keeps users in the application's table.
type Users struct{ db *sql.DB }

var _ store.Users = (*Users)(nil)

// New returns the users in db, which is PostgreSQL.
func New(db *sql.DB) *Users { return &Users{db} }

// profile is what the table has no column for.
type profile struct {
	EmailVerified                        bool
	FirstName, LastName, Locale, Picture string
	Roles, Groups                        []string            `json:",omitempty"`
	Attributes                           map[string][]string `json:",omitempty"`
	UpdatedAt                            time.Time
}

const columns = `SELECT sub, username, email, shared_email, full_name, is_active, created_at, profile, version FROM users WHERE `

func scan(row interface{ Scan(...any) error }) (*store.User, error) {
	var u store.User
	var p profile
	var active bool
	var text []byte
	err := row.Scan(&u.ID, &u.Username, &u.Email, &u.SharedEmail, &u.Name, &active, &u.CreatedAt, &text, &u.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, store.ErrNotFound
	}
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return nil, err
	}
	u.Disabled, u.CreatedAt, u.UpdatedAt = !active, u.CreatedAt.UTC(), p.UpdatedAt.UTC()
	u.EmailVerified, u.FirstName, u.LastName, u.Locale, u.Picture = p.EmailVerified, p.FirstName, p.LastName, p.Locale, p.Picture
	u.Roles, u.Groups, u.Attributes = p.Roles, p.Groups, p.Attributes
	return &u, nil
}

// User implements [store.Users].
func (s *Users) User(ctx context.Context, id string) (*store.User, error) {
	return scan(s.db.QueryRowContext(ctx, columns+`sub = $1`, id))
}

// FindUsers implements [store.Users].
func (s *Users) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	where, arg := `username = $1`, q.Username
	if q.Email != "" {
		where, arg = `email = $1 LIMIT 10`, q.Email
	}
	if (q.Username == "") == (q.Email == "") {
		return nil, errors.New("hostusers: the query names nothing, or two things")
	}
	rows, err := s.db.QueryContext(ctx, columns+where, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []*store.User
	for rows.Next() {
		u, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, u)
	}
	return found, rows.Err()
}

// CreateUser implements [store.Users].
func (s *Users) CreateUser(ctx context.Context, u *store.User) error {
	err := s.write(ctx, u, `INSERT INTO users (sub, username, email, shared_email, full_name, is_active, created_at, profile)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, store.ErrExists)
	if err == nil {
		u.Version = 1
	}
	return err
}

// UpdateUser implements [store.Users].
func (s *Users) UpdateUser(ctx context.Context, u *store.User) error {
	err := s.write(ctx, u, `UPDATE users SET username = $2, email = $3, shared_email = $4, full_name = $5, is_active = $6,
		created_at = $7, profile = $8, version = version + 1 WHERE sub = $1 AND version = $9`, store.ErrConflict, u.Version)
	if err == nil {
		u.Version++
	}
	return err
}

// write writes one row, unless the user's e-mail is somebody else's and not both share it. The lock is held until the
// transaction ends: two who want one e-mail come one after the other.
func (s *Users) write(ctx context.Context, u *store.User, text string, none error, more ...any) error {
	p, err := json.Marshal(profile{
		u.EmailVerified, u.FirstName, u.LastName, u.Locale, u.Picture, u.Roles, u.Groups, u.Attributes, u.UpdatedAt,
	})
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	if u.Email != "" {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 4711))`, u.Email); err != nil {
			return err
		}
	}
	result, err := tx.ExecContext(ctx, text, append([]any{u.ID, u.Username, u.Email, u.SharedEmail, u.Name, !u.Disabled,
		u.CreatedAt.UTC(), string(p)}, more...)...)
	if unique, ok := errors.AsType[*pgconn.PgError](err); ok && unique.Code == "23505" {
		return store.ErrExists
	}
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, none)
	}
	var others int
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM users WHERE email = $1 AND email <> '' AND sub <> $2
		AND NOT (shared_email AND $3)`, u.Email, u.ID, u.SharedEmail).Scan(&others)
	switch {
	case err != nil:
		return err
	case others > 0:
		return store.ErrExists
	}
	return tx.Commit()
}

// DeleteUser implements [store.Users].
func (s *Users) DeleteUser(ctx context.Context, id string) error {
	result, err := s.db.ExecContext(ctx, `DELETE FROM users WHERE sub = $1`, id)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, store.ErrNotFound)
	}
	return nil
}
