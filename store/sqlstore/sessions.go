package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

const sessionColumns = `id, secret_hash, user_id, provider, issuer, subject, upstream_session, upstream_token, upstream_tokens,
	transient_user, acr, amr, notes, auth_time, created_at, last_seen, expires_at, version`

func scanSession(r scanner) (*store.Session, error) {
	var s store.Session
	err := r.Scan(&s.ID, &s.SecretHash, &s.UserID, &s.Upstream.Provider, &s.Upstream.Issuer, &s.Upstream.Subject,
		&s.UpstreamSession, &s.UpstreamIDToken, &s.UpstreamTokens, &s.TransientUser, &s.ACR, packed[[]string]{&s.AMR}, packed[map[string]string]{&s.Notes}, instant{&s.AuthTime},
		instant{&s.CreatedAt}, instant{&s.LastSeen}, instant{&s.ExpiresAt}, &s.Version)
	return &s, err
}

// sessionArgs are the values of sessionColumns without the version.
func sessionArgs(s *store.Session, more ...any) ([]any, error) {
	amr, err := pack(s.AMR)
	notes, err2 := pack(s.Notes)
	return append([]any{s.ID, s.SecretHash, s.UserID, s.Upstream.Provider, s.Upstream.Issuer, s.Upstream.Subject,
		s.UpstreamSession, s.UpstreamIDToken, s.UpstreamTokens, s.TransientUser, s.ACR, amr, notes, s.AuthTime.UnixMicro(), s.CreatedAt.UnixMicro(), s.LastSeen.UnixMicro(),
		s.ExpiresAt.UnixMicro()}, more...), errors.Join(err, err2)
}

const sqlSession = `SELECT ` + sessionColumns + ` FROM idbroker_sessions WHERE id = $1 AND expires_at > $2`

// Session implements [store.Sessions].
func (s *Store) Session(ctx context.Context, id string) (found *store.Session, err error) {
	now := s.now().UnixMicro()
	err = s.do(ctx, func(q querier) (err error) {
		found, err = scanSession(q.row(ctx, sqlSession, id, now))
		return err
	})
	return orNil(found, err)
}

// One text for each index that a query can begin with; the rest of the query filters what the index finds.
const (
	sqlFindSessions = `SELECT ` + sessionColumns + ` FROM idbroker_sessions
		WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR provider = $2) AND ($3 = '' OR issuer = $3)
		AND ($4 = '' OR subject = $4) AND ($5 = '' OR upstream_session = $5) AND expires_at > $6 AND `

	sqlSessionsOfUser     = sqlFindSessions + `user_id = $1` + newestFirst
	sqlSessionsOfUpstream = sqlFindSessions + `provider = $2 AND upstream_session = $5 AND upstream_session <> ''` + newestFirst
	sqlSessionsOfSubject  = sqlFindSessions + `provider = $2 AND subject = $4 AND provider <> ''` + newestFirst
	sqlSessionsOfProvider = sqlFindSessions + `provider = $2 AND provider <> ''` + newestFirst

	newestFirst = ` ORDER BY created_at DESC, id`
)

// FindSessions implements [store.Sessions].
func (s *Store) FindSessions(ctx context.Context, q store.SessionQuery) (found []*store.Session, err error) {
	var text string
	switch {
	case q.UserID != "":
		text = sqlSessionsOfUser
	case q.Provider == "":
		return nil, errQuery
	case q.UpstreamSession != "":
		text = sqlSessionsOfUpstream
	case q.Subject != "":
		text = sqlSessionsOfSubject
	default:
		text = sqlSessionsOfProvider
	}
	now := s.now().UnixMicro()
	err = s.do(ctx, func(db querier) (err error) {
		found, err = all(ctx, db, scanSession, text, q.UserID, q.Provider, q.Issuer, q.Subject, q.UpstreamSession, now)
		return err
	})
	return found, err
}

// CreateSession implements [store.Sessions].
func (s *Store) CreateSession(ctx context.Context, n *store.Session) error {
	now := s.now()
	err := s.do(ctx, func(q querier) error { return createSession(ctx, q, n, now) })
	if err == nil {
		n.Version = 1
	}
	return err
}

const (
	sqlCreateSession = `INSERT INTO idbroker_sessions (` + sessionColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 1) ON CONFLICT DO NOTHING`

	sqlClearSession = `DELETE FROM idbroker_sessions WHERE id = $1 AND expires_at <= $2`
)

func createSession(ctx context.Context, q querier, n *store.Session, now time.Time) error {
	args, err := sessionArgs(n)
	if err != nil {
		return err
	}
	return create(ctx, q, sqlCreateSession, args, sqlClearSession, now)
}

// create inserts a row whose key is args[0]. Where that is taken it may be by one that has expired and was not swept
// yet, which does not count.
func create(ctx context.Context, q querier, insert string, args []any, clear string, now time.Time) error {
	n, err := q.exec(ctx, insert, args...)
	if err != nil || n == 1 {
		return err
	}
	if err := one(store.ErrExists)(q.exec(ctx, clear, args[0], now.UnixMicro())); err != nil {
		return err
	}
	return one(store.ErrExists)(q.exec(ctx, insert, args...))
}

const sqlUpdateSession = `UPDATE idbroker_sessions SET secret_hash = $2, user_id = $3, provider = $4, issuer = $5,
	subject = $6, upstream_session = $7, upstream_token = $8, upstream_tokens = $9, transient_user = $10, acr = $11,
	amr = $12, notes = $13, auth_time = $14, created_at = $15, last_seen = $16, expires_at = $17, version = version + 1
	WHERE id = $1 AND version = $18 AND expires_at > $19`

// UpdateSession implements [store.Sessions].
func (s *Store) UpdateSession(ctx context.Context, n *store.Session) error {
	now := s.now()
	err := s.do(ctx, func(q querier) error { return updateSession(ctx, q, n, now) })
	if err == nil {
		n.Version++
	}
	return err
}

func updateSession(ctx context.Context, q querier, n *store.Session, now time.Time) error {
	args, err := sessionArgs(n, n.Version, now.UnixMicro())
	if err != nil {
		return err
	}
	return one(store.ErrConflict)(q.exec(ctx, sqlUpdateSession, args...))
}

// writeSession creates n or, if it has a version, updates it.
func writeSession(ctx context.Context, q querier, n *store.Session, now time.Time) error {
	if n.Version > 0 {
		return updateSession(ctx, q, n, now)
	}
	return createSession(ctx, q, n, now)
}

const (
	sqlDeleteSession = `DELETE FROM idbroker_sessions WHERE id = $1 AND expires_at > $2`
	sqlEndSession    = `DELETE FROM idbroker_sessions WHERE id = $1`
)

// DeleteSession implements [store.Sessions].
func (s *Store) DeleteSession(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteSession, id, s.now().UnixMicro())
}
