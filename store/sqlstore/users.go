package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/go-idbroker/idbroker/store"
)

var errQuery = errors.New("sqlstore: the query names nothing")

const userColumns = `id, username, email, email_verified, shared_email, first_name, last_name, name, locale, picture,
	disabled, roles, groups, attributes, created_at, updated_at, version`

func scanUser(r scanner) (*store.User, error) {
	var u store.User
	err := r.Scan(&u.ID, &u.Username, &u.Email, &u.EmailVerified, &u.SharedEmail, &u.FirstName, &u.LastName, &u.Name,
		&u.Locale, &u.Picture, &u.Disabled, packed[[]string]{&u.Roles}, packed[[]string]{&u.Groups},
		packed[map[string][]string]{&u.Attributes}, instant{&u.CreatedAt}, instant{&u.UpdatedAt}, &u.Version)
	return &u, err
}

// userArgs are the values of userColumns.
func userArgs(u *store.User) ([]any, error) {
	roles, err := pack(u.Roles)
	groups, err2 := pack(u.Groups)
	attributes, err3 := pack(u.Attributes)
	return []any{u.ID, u.Username, u.Email, u.EmailVerified, u.SharedEmail, u.FirstName, u.LastName, u.Name, u.Locale,
		u.Picture, u.Disabled, roles, groups, attributes, u.CreatedAt.UnixMicro(), u.UpdatedAt.UnixMicro(),
		u.Version}, errors.Join(err, err2, err3)
}

const sqlUser = `SELECT ` + userColumns + ` FROM idbroker_users WHERE id = $1`

// User implements [store.Users].
func (s *Store) User(ctx context.Context, id string) (u *store.User, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		u, err = scanUser(q.row(ctx, sqlUser, id))
		return err
	})
	return orNil(u, err)
}

// orNil keeps what an error left half-read from the caller.
func orNil[T any](v *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

const (
	sqlUserByName  = `SELECT ` + userColumns + ` FROM idbroker_users WHERE username = $1`
	sqlUserByEmail = `SELECT ` + userColumns + ` FROM idbroker_users WHERE email = $1 AND email <> '' LIMIT 10`
)

// FindUsers implements [store.Users].
func (s *Store) FindUsers(ctx context.Context, q store.UserQuery) (users []*store.User, err error) {
	if (q.Username == "") == (q.Email == "") {
		return nil, errQuery
	}
	text, arg := sqlUserByName, q.Username
	if q.Email != "" {
		text, arg = sqlUserByEmail, q.Email
	}
	err = s.do(ctx, func(db querier) (err error) {
		users, err = all(ctx, db, scanUser, text, arg)
		return err
	})
	return users, err
}

// CreateUser implements [store.Users].
func (s *Store) CreateUser(ctx context.Context, u *store.User) error {
	err := s.tx(ctx, func(q querier) error { return createUser(ctx, q, u) })
	if err == nil {
		u.Version = 1
	}
	return err
}

// What the unique indexes cannot say, that an e-mail may be shared only by those who all share it, is asked by the
// statements themselves. That is enough where writers run one after the other; elsewhere one who shares an e-mail and one
// who does not could get it at the same moment, so whoever gets one holds a lock on it. The lock is a row, and the
// statement after it sees what the one before has committed, or fails and is repeated, at every isolation level and
// whatever pool is in between: an advisory lock holds at one level, on one of the databases.
const sqlLock = `INSERT INTO idbroker_locks (name, taken) VALUES ($1, 1)
	ON CONFLICT (name) DO UPDATE SET taken = idbroker_locks.taken + 1`

// locks is how many e-mails share: so many that few have to wait for each other's, and that the table stays small.
const locks = 4096

// lockEmail holds the e-mail until the transaction ends.
func lockEmail(ctx context.Context, q querier, email string) error {
	h := fnv.New32a()
	h.Write([]byte(email))
	_, err := q.exec(ctx, sqlLock, fmt.Sprintf("email %03x", h.Sum32()%locks))
	return err
}

// The types are given because PostgreSQL does not take them from the table in a SELECT.
const sqlCreateUser = `INSERT INTO idbroker_users (` + userColumns + `)
	SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BOOLEAN), CAST($5 AS BOOLEAN),
		CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS TEXT), CAST($10 AS TEXT), CAST($11 AS BOOLEAN),
		CAST($12 AS TEXT), CAST($13 AS TEXT), CAST($14 AS TEXT), CAST($15 AS BIGINT), CAST($16 AS BIGINT), 1
	WHERE NOT EXISTS (SELECT 1 FROM idbroker_users other WHERE other.email = $3 AND other.email <> ''
		AND NOT (other.shared_email AND $5))
	ON CONFLICT DO NOTHING`

func createUser(ctx context.Context, q querier, u *store.User) error {
	args, err := userArgs(u)
	if err != nil {
		return err
	}
	if q.concurrent && u.Email != "" {
		if err := lockEmail(ctx, q, u.Email); err != nil {
			return err
		}
	}
	n, err := q.exec(ctx, sqlCreateUser, args[:len(args)-1]...)
	if err == nil && n == 0 {
		return store.ErrExists
	}
	return err
}

// UpdateUser implements [store.Users].
func (s *Store) UpdateUser(ctx context.Context, u *store.User) error {
	err := s.tx(ctx, func(q querier) error { return updateUser(ctx, q, u) })
	if err == nil {
		u.Version++
	}
	return err
}

// An UPDATE has no ON CONFLICT, so it asks for the unique keys too. Unless $18, it leaves a user alone whose e-mail it
// would have to hold for it.
const (
	sqlUpdateUser = `UPDATE idbroker_users SET username = $2, email = $3, email_verified = $4, shared_email = $5,
		first_name = $6, last_name = $7, name = $8, locale = $9, picture = $10, disabled = $11, roles = $12, groups = $13,
		attributes = $14, created_at = $15, updated_at = $16, version = version + 1
	WHERE id = $1 AND version = $17 AND ($18 OR email = $3 AND shared_email = $5)
		AND NOT EXISTS (SELECT 1 FROM idbroker_users other WHERE other.username = $2 AND other.id <> $1)
		AND NOT EXISTS (SELECT 1 FROM idbroker_users other WHERE other.email = $3 AND other.email <> '' AND other.id <> $1
			AND NOT (other.shared_email AND $5))`

	sqlUserVersion = `SELECT version FROM idbroker_users WHERE id = $1`
)

func updateUser(ctx context.Context, q querier, u *store.User) error {
	args, err := userArgs(u)
	if err != nil {
		return err
	}
	// Mostly the e-mail stays, and nothing has to be held.
	holds := !q.concurrent || u.Email == ""
	n, err := q.exec(ctx, sqlUpdateUser, append(args, holds)...)
	if err == nil && n == 0 && !holds {
		if err = lockEmail(ctx, q, u.Email); err == nil {
			n, err = q.exec(ctx, sqlUpdateUser, append(args, true)...)
		}
	}
	if err != nil || n == 1 {
		return err
	}
	var version int64
	err = q.row(ctx, sqlUserVersion, u.ID).Scan(&version)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && version != u.Version:
		return store.ErrConflict
	case err == nil:
		return store.ErrExists
	default:
		return err
	}
}

const sqlDeleteUser = `DELETE FROM idbroker_users WHERE id = $1`

// DeleteUser implements [store.Users].
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteUser, id)
}

// delete runs a statement that removes one row.
func (s *Store) delete(ctx context.Context, text string, args ...any) error {
	return s.do(ctx, func(q querier) error { return one(store.ErrNotFound)(q.exec(ctx, text, args...)) })
}

// one turns "no row was written" into an error.
func one(none error) func(n int64, err error) error {
	return func(n int64, err error) error {
		if err == nil && n == 0 {
			return none
		}
		return err
	}
}
