package sqlstore

import (
	"context"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// texts are all statements that are prepared.
var texts = []string{
	sqlUser, sqlUserByName, sqlUserByEmail, sqlLock, sqlCreateUser, sqlUpdateUser, sqlUserVersion, sqlDeleteUser,
	sqlLink, sqlLinksOf, sqlCreateLink, sqlUpdateLink, sqlDeleteLink, sqlDropLink,
	sqlSession, sqlSessionsOfUser, sqlSessionsOfUpstream, sqlSessionsOfSubject, sqlSessionsOfProvider,
	sqlCreateSession, sqlClearSession, sqlUpdateSession, sqlDeleteSession, sqlEndSession,
	sqlGrant, sqlGrantsOfSession, sqlGrantsOfUser, sqlGrantsOfClient,
	sqlCreateGrant, sqlClearGrant, sqlUpdateGrant, sqlDeleteGrant,
	sqlPut, sqlAdd, sqlGet, sqlTake,
	sqlKeys, sqlAddKey, sqlDeleteKey,
	sqlClient, sqlClients, sqlCreateClient, sqlUpdateClient, sqlDeleteClient,
	sqlCredentialsOf, sqlCreateCredential, sqlUpdateCredential, sqlDeleteCredential,
	sqlFence, sqlCreateFence, sqlUpdateFence,
	sqlSecretTokens, sqlSecretIDToken, sqlSecretUpstream, sqlSecretUser, sqlSecretCredential, sqlSecretPrivate,
	sqlReplaceTokens, sqlReplaceIDToken, sqlReplaceUpstream, sqlReplaceUser, sqlReplaceCredential, sqlReplacePrivate,
	sqlSweepTransient, sqlSweepSessions, sqlSweepGrants, sqlDisabledHolders,
}

// Commit implements [store.Committer]: in one transaction of one statement for each part of l.
func (s *Store) Commit(ctx context.Context, l *store.Login) error {
	now := s.now()
	if err := s.tx(ctx, func(q querier) error { return commit(ctx, q, l, now) }); err != nil {
		return err
	}
	if l.NewUser != nil {
		l.NewUser.Version = 1
	}
	if l.User != nil {
		l.User.Version++
	}
	if l.NewLink != nil {
		l.NewLink.Version = 1
	}
	if l.Link != nil {
		l.Link.Version++
	}
	if l.Session != nil {
		l.Session.Version++
	}
	if l.Grant != nil {
		l.Grant.Version = 1
	}
	return nil
}

func commit(ctx context.Context, q querier, l *store.Login, now time.Time) (err error) {
	if l.Once != "" {
		err = add(ctx, q, store.PurposeLogin, l.Once, nil, l.OnceExpires, now)
	}
	if err == nil && l.NewUser != nil {
		err = createUser(ctx, q, l.NewUser)
	}
	if err == nil && l.User != nil {
		err = updateUser(ctx, q, l.User)
	}
	if err == nil && l.NewLink != nil {
		err = createLink(ctx, q, l.NewLink)
	}
	if err == nil && l.Link != nil {
		err = updateLink(ctx, q, l.Link)
	}
	if err == nil && l.OldLink != nil {
		o := l.OldLink
		err = one(store.ErrConflict)(q.exec(ctx, sqlDropLink, o.Provider, o.Issuer, o.Subject, o.Version))
	}
	if err == nil && l.Session != nil {
		err = writeSession(ctx, q, l.Session, now)
	}
	if err == nil && l.EndSession != "" {
		_, err = q.exec(ctx, sqlEndSession, l.EndSession)
	}
	if err == nil && l.Grant != nil {
		err = createGrant(ctx, q, l.Grant, now)
	}
	return err
}

// That a row has expired is said twice, since PostgreSQL asks only the outer condition again of one that another
// transaction has just given a new value.
const (
	sqlSweepTransient = `DELETE FROM idbroker_transient WHERE (purpose, key) IN
		(SELECT purpose, key FROM idbroker_transient WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
		AND expires_at <= $1`
	sqlSweepSessions = `DELETE FROM idbroker_sessions WHERE id IN
		(SELECT id FROM idbroker_sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1`
	sqlSweepGrants = `DELETE FROM idbroker_grants WHERE id IN
		(SELECT id FROM idbroker_grants WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1`

	sweepBatch = 500 // what one statement removes at most, so that logins need not wait long for it
)

// Sweep implements [store.Sweeper]. An error comes with how many were removed before it.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	now := s.now().UnixMicro()
	swept := 0
	for _, text := range []string{sqlSweepTransient, sqlSweepSessions, sqlSweepGrants} {
		for swept < limit {
			batch := min(limit-swept, sweepBatch)
			var n int64
			err := s.do(ctx, func(q querier) (err error) {
				n, err = q.exec(ctx, text, now, batch)
				return err
			})
			if err != nil {
				return swept, err
			}
			swept += int(n)
			if n < int64(batch) {
				break
			}
		}
	}
	return swept, nil
}
