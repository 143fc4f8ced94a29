package sqlstore

import (
	"context"

	"github.com/go-idbroker/idbroker/store"
)

const linkColumns = `provider, issuer, subject, user_id, username, email, tokens, created_at, last_login, version`

func scanLink(r scanner) (*store.Link, error) {
	var l store.Link
	err := r.Scan(&l.Provider, &l.Issuer, &l.Subject, &l.UserID, &l.Username, &l.Email, &l.Tokens, instant{&l.CreatedAt},
		instant{&l.LastLogin}, &l.Version)
	return &l, err
}

// linkArgs are the values of linkColumns without the version.
func linkArgs(l *store.Link, more ...any) []any {
	return append([]any{l.Provider, l.Issuer, l.Subject, l.UserID, l.Username, l.Email, l.Tokens, l.CreatedAt.UnixMicro(),
		l.LastLogin.UnixMicro()}, more...)
}

const sqlLink = `SELECT ` + linkColumns + ` FROM idbroker_links WHERE provider = $1 AND issuer = $2 AND subject = $3`

// Link implements [store.Links].
func (s *Store) Link(ctx context.Context, key store.LinkKey) (l *store.Link, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		l, err = scanLink(q.row(ctx, sqlLink, key.Provider, key.Issuer, key.Subject))
		return err
	})
	return orNil(l, err)
}

const sqlLinksOf = `SELECT ` + linkColumns + ` FROM idbroker_links WHERE user_id = $1
	ORDER BY created_at, provider, issuer, subject`

// LinksOf implements [store.Links].
func (s *Store) LinksOf(ctx context.Context, userID string) (links []*store.Link, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		links, err = all(ctx, q, scanLink, sqlLinksOf, userID)
		return err
	})
	return links, err
}

// CreateLink implements [store.Links].
func (s *Store) CreateLink(ctx context.Context, l *store.Link) error {
	err := s.do(ctx, func(q querier) error { return createLink(ctx, q, l) })
	if err == nil {
		l.Version = 1
	}
	return err
}

const sqlCreateLink = `INSERT INTO idbroker_links (` + linkColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1) ON CONFLICT DO NOTHING`

func createLink(ctx context.Context, q querier, l *store.Link) error {
	return one(store.ErrExists)(q.exec(ctx, sqlCreateLink, linkArgs(l)...))
}

// UpdateLink implements [store.Links].
func (s *Store) UpdateLink(ctx context.Context, l *store.Link) error {
	err := s.do(ctx, func(q querier) error { return updateLink(ctx, q, l) })
	if err == nil {
		l.Version++
	}
	return err
}

const sqlUpdateLink = `UPDATE idbroker_links SET user_id = $4, username = $5, email = $6, tokens = $7, created_at = $8,
	last_login = $9, version = version + 1 WHERE provider = $1 AND issuer = $2 AND subject = $3 AND version = $10`

func updateLink(ctx context.Context, q querier, l *store.Link) error {
	return one(store.ErrConflict)(q.exec(ctx, sqlUpdateLink, linkArgs(l, l.Version)...))
}

const (
	sqlDeleteLink = `DELETE FROM idbroker_links WHERE provider = $1 AND issuer = $2 AND subject = $3`
	sqlDropLink   = sqlDeleteLink + ` AND version = $4`
)

// DeleteLink implements [store.Links].
func (s *Store) DeleteLink(ctx context.Context, key store.LinkKey) error {
	return s.delete(ctx, sqlDeleteLink, key.Provider, key.Issuer, key.Subject)
}
