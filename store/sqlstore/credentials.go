package sqlstore

import (
	"context"

	"github.com/go-idbroker/idbroker/store"
)

const credentialColumns = `id, user_id, kind, label, secret, step, created_at, last_used, version`

func scanCredential(r scanner) (*store.Credential, error) {
	var c store.Credential
	err := r.Scan(&c.ID, &c.UserID, &c.Kind, &c.Label, &c.Secret, &c.Step, instant{&c.CreatedAt}, instant{&c.LastUsed}, &c.Version)
	return &c, err
}

// credentialArgs are the values of credentialColumns without the version.
func credentialArgs(c *store.Credential, more ...any) []any {
	return append([]any{c.ID, c.UserID, string(c.Kind), c.Label, c.Secret, c.Step, c.CreatedAt.UnixMicro(),
		c.LastUsed.UnixMicro()}, more...)
}

const sqlCredentialsOf = `SELECT ` + credentialColumns + ` FROM idbroker_credentials WHERE user_id = $1
	ORDER BY created_at, id`

// CredentialsOf implements [store.Credentials].
func (s *Store) CredentialsOf(ctx context.Context, userID string) (found []*store.Credential, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		found, err = all(ctx, q, scanCredential, sqlCredentialsOf, userID)
		return err
	})
	return found, err
}

const sqlCreateCredential = `INSERT INTO idbroker_credentials (` + credentialColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) ON CONFLICT DO NOTHING`

// CreateCredential implements [store.Credentials].
func (s *Store) CreateCredential(ctx context.Context, c *store.Credential) error {
	err := s.do(ctx, func(q querier) error {
		return one(store.ErrExists)(q.exec(ctx, sqlCreateCredential, credentialArgs(c)...))
	})
	if err == nil {
		c.Version = 1
	}
	return err
}

const sqlUpdateCredential = `UPDATE idbroker_credentials SET label = $4, secret = $5, step = $6, created_at = $7,
	last_used = $8, version = version + 1 WHERE id = $1 AND user_id = $2 AND kind = $3 AND version = $9`

// UpdateCredential implements [store.Credentials].
func (s *Store) UpdateCredential(ctx context.Context, c *store.Credential) error {
	err := s.do(ctx, func(q querier) error {
		return one(store.ErrConflict)(q.exec(ctx, sqlUpdateCredential, credentialArgs(c, c.Version)...))
	})
	if err == nil {
		c.Version++
	}
	return err
}

const sqlDeleteCredential = `DELETE FROM idbroker_credentials WHERE id = $1`

// DeleteCredential implements [store.Credentials].
func (s *Store) DeleteCredential(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteCredential, id)
}
