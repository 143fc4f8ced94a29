package sqlstore

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

// A page of secrets goes by the primary key, whose columns come first in a row. What follows them says of what the rows are.
const (
	sqlSecretTokens = `SELECT provider, issuer, subject, tokens FROM idbroker_links
		WHERE (provider, issuer, subject) > ($1, $2, $3) ORDER BY provider, issuer, subject LIMIT $4`
	sqlSecretIDToken    = `SELECT id, upstream_token FROM idbroker_sessions WHERE id > $1 ORDER BY id LIMIT $2`
	sqlSecretUpstream   = `SELECT id, upstream_tokens FROM idbroker_sessions WHERE id > $1 ORDER BY id LIMIT $2`
	sqlSecretUser       = `SELECT id, transient_user FROM idbroker_sessions WHERE id > $1 ORDER BY id LIMIT $2`
	sqlSecretCredential = `SELECT id, user_id, kind, secret FROM idbroker_credentials WHERE id > $1 ORDER BY id LIMIT $2`
	sqlSecretPrivate    = `SELECT id, private FROM idbroker_keys WHERE id > $1 ORDER BY id LIMIT $2`

	sqlReplaceTokens = `UPDATE idbroker_links SET tokens = $1 WHERE tokens = $2
		AND provider = $3 AND issuer = $4 AND subject = $5`
	sqlReplaceIDToken    = `UPDATE idbroker_sessions SET upstream_token = $1 WHERE upstream_token = $2 AND id = $3`
	sqlReplaceUpstream   = `UPDATE idbroker_sessions SET upstream_tokens = $1 WHERE upstream_tokens = $2 AND id = $3`
	sqlReplaceUser       = `UPDATE idbroker_sessions SET transient_user = $1 WHERE transient_user = $2 AND id = $3`
	sqlReplaceCredential = `UPDATE idbroker_credentials SET secret = $1 WHERE secret = $2
		AND id = $3 AND user_id = $4 AND kind = $5`
	sqlReplacePrivate = `UPDATE idbroker_keys SET private = $1 WHERE private = $2 AND id = $3`
)

// A secretColumn is how a field is read and written: row is how many columns tell its record, key how many of them are the
// primary key.
type secretColumn struct {
	list, replace string
	row, key      int
}

func columnOf(field store.SecretField) (secretColumn, error) {
	switch field {
	case store.SecretTokens:
		return secretColumn{sqlSecretTokens, sqlReplaceTokens, 3, 3}, nil
	case store.SecretIDToken:
		return secretColumn{sqlSecretIDToken, sqlReplaceIDToken, 1, 1}, nil
	case store.SecretUpstream:
		return secretColumn{sqlSecretUpstream, sqlReplaceUpstream, 1, 1}, nil
	case store.SecretUser:
		return secretColumn{sqlSecretUser, sqlReplaceUser, 1, 1}, nil
	case store.SecretCredential:
		return secretColumn{sqlSecretCredential, sqlReplaceCredential, 3, 1}, nil
	case store.SecretPrivate:
		return secretColumn{sqlSecretPrivate, sqlReplacePrivate, 1, 1}, nil
	}
	return secretColumn{}, fmt.Errorf("sqlstore: there is no secret field %q", field)
}

// Secrets implements [store.Secrets]. What has expired and was not swept yet is among them.
func (s *Store) Secrets(ctx context.Context, field store.SecretField, after []string, limit int) (page []*store.Secret, err error) {
	c, err := columnOf(field)
	if err != nil {
		return nil, err
	}
	args := make([]any, c.key, c.key+1)
	for i := range args {
		args[i] = "" // comes before all that have a key
		if i < len(after) {
			args[i] = after[i]
		}
	}
	args = append(args, max(limit, 0))
	scan := func(r scanner) (*store.Secret, error) {
		secret := &store.Secret{Field: field, Row: make([]string, c.row)}
		dest := make([]any, 0, c.row+1)
		for i := range secret.Row {
			dest = append(dest, &secret.Row[i])
		}
		return secret, r.Scan(append(dest, &secret.Value)...)
	}
	err = s.do(ctx, func(q querier) (err error) {
		page, err = all(ctx, q, scan, c.list, args...)
		return err
	})
	return page, err
}

// ReplaceSecret implements [store.Secrets].
func (s *Store) ReplaceSecret(ctx context.Context, old *store.Secret, value []byte) error {
	c, err := columnOf(old.Field)
	if err != nil {
		return err
	}
	args := []any{value, old.Value}
	for i := range c.row {
		part := ""
		if i < len(old.Row) {
			part = old.Row[i]
		}
		args = append(args, part)
	}
	return s.do(ctx, func(q querier) error { return one(store.ErrConflict)(q.exec(ctx, c.replace, args...)) })
}
