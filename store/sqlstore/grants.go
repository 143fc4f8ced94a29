package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

const grantColumns = `id, kind, client_id, user_id, session_id, scope, nonce, auth_time, acr, amr, provider, issuer, subject,
	resources, jkt, code_hash, code_expires, code_used, redirect_uri, code_challenge, refresh_hash, previous_hash, grace_until,
	answer, claims_request, created_at, expires_at, version`

func scanGrant(r scanner) (*store.Grant, error) {
	var g store.Grant
	err := r.Scan(&g.ID, &g.Kind, &g.ClientID, &g.UserID, &g.SessionID, packed[[]string]{&g.Scope}, &g.Nonce,
		instant{&g.AuthTime}, &g.ACR, packed[[]string]{&g.AMR}, &g.Upstream.Provider, &g.Upstream.Issuer, &g.Upstream.Subject,
		packed[[]string]{&g.Resources}, &g.JKT, &g.CodeHash, instant{&g.CodeExpires}, &g.CodeUsed, &g.RedirectURI,
		&g.CodeChallenge, &g.RefreshHash, &g.PreviousHash, instant{&g.GraceUntil}, &g.Answer,
		packed[[]string]{&g.ClaimsRequest}, instant{&g.CreatedAt}, instant{&g.ExpiresAt}, &g.Version)
	return &g, err
}

// grantArgs are the values of grantColumns without the version.
func grantArgs(g *store.Grant, more ...any) ([]any, error) {
	scope, err := pack(g.Scope)
	amr, err2 := pack(g.AMR)
	resources, err3 := pack(g.Resources)
	claims, err4 := pack(g.ClaimsRequest)
	return append([]any{g.ID, string(g.Kind), g.ClientID, g.UserID, g.SessionID, scope, g.Nonce, g.AuthTime.UnixMicro(),
			g.ACR, amr, g.Upstream.Provider, g.Upstream.Issuer, g.Upstream.Subject, resources, g.JKT, g.CodeHash,
			g.CodeExpires.UnixMicro(), g.CodeUsed, g.RedirectURI, g.CodeChallenge, g.RefreshHash, g.PreviousHash,
			g.GraceUntil.UnixMicro(), g.Answer, claims, g.CreatedAt.UnixMicro(), g.ExpiresAt.UnixMicro()}, more...),
		errors.Join(err, err2, err3, err4)
}

const sqlGrant = `SELECT ` + grantColumns + ` FROM idbroker_grants WHERE id = $1 AND expires_at > $2`

// Grant implements [store.Grants].
func (s *Store) Grant(ctx context.Context, id string) (g *store.Grant, err error) {
	now := s.now().UnixMicro()
	err = s.do(ctx, func(q querier) (err error) {
		g, err = scanGrant(q.row(ctx, sqlGrant, id, now))
		return err
	})
	return orNil(g, err)
}

// As for sessions: one text for each index.
const (
	sqlFindGrants = `SELECT ` + grantColumns + ` FROM idbroker_grants WHERE ($1 = '' OR user_id = $1)
		AND ($2 = '' OR client_id = $2) AND ($3 = '' OR session_id = $3) AND expires_at > $4 AND `

	sqlGrantsOfSession = sqlFindGrants + `session_id = $3 AND session_id <> ''` + newestFirst
	sqlGrantsOfUser    = sqlFindGrants + `user_id = $1` + newestFirst
	sqlGrantsOfClient  = sqlFindGrants + `client_id = $2` + newestFirst
)

// FindGrants implements [store.Grants].
func (s *Store) FindGrants(ctx context.Context, q store.GrantQuery) (grants []*store.Grant, err error) {
	var text string
	switch {
	case q.SessionID != "":
		text = sqlGrantsOfSession
	case q.UserID != "":
		text = sqlGrantsOfUser
	case q.ClientID != "":
		text = sqlGrantsOfClient
	default:
		return nil, errQuery
	}
	now := s.now().UnixMicro()
	err = s.do(ctx, func(db querier) (err error) {
		grants, err = all(ctx, db, scanGrant, text, q.UserID, q.ClientID, q.SessionID, now)
		return err
	})
	return grants, err
}

// CreateGrant implements [store.Grants].
func (s *Store) CreateGrant(ctx context.Context, g *store.Grant) error {
	now := s.now()
	err := s.do(ctx, func(q querier) error { return createGrant(ctx, q, g, now) })
	if err == nil {
		g.Version = 1
	}
	return err
}

const (
	sqlCreateGrant = `INSERT INTO idbroker_grants (` + grantColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
		$24, $25, $26, $27, 1) ON CONFLICT DO NOTHING`

	sqlClearGrant = `DELETE FROM idbroker_grants WHERE id = $1 AND expires_at <= $2`
)

func createGrant(ctx context.Context, q querier, g *store.Grant, now time.Time) error {
	args, err := grantArgs(g)
	if err != nil {
		return err
	}
	return create(ctx, q, sqlCreateGrant, args, sqlClearGrant, now)
}

const sqlUpdateGrant = `UPDATE idbroker_grants SET kind = $2, client_id = $3, user_id = $4, session_id = $5, scope = $6,
	nonce = $7, auth_time = $8, acr = $9, amr = $10, provider = $11, issuer = $12, subject = $13, resources = $14, jkt = $15,
	code_hash = $16, code_expires = $17, code_used = $18, redirect_uri = $19, code_challenge = $20, refresh_hash = $21,
	previous_hash = $22, grace_until = $23, answer = $24, claims_request = $25, created_at = $26, expires_at = $27,
	version = version + 1 WHERE id = $1 AND version = $28 AND expires_at > $29`

// UpdateGrant implements [store.Grants].
func (s *Store) UpdateGrant(ctx context.Context, g *store.Grant) error {
	now := s.now().UnixMicro()
	err := s.do(ctx, func(q querier) error {
		args, err := grantArgs(g, g.Version, now)
		if err != nil {
			return err
		}
		return one(store.ErrConflict)(q.exec(ctx, sqlUpdateGrant, args...))
	})
	if err == nil {
		g.Version++
	}
	return err
}

const sqlDeleteGrant = `DELETE FROM idbroker_grants WHERE id = $1 AND expires_at > $2`

// DeleteGrant implements [store.Grants].
func (s *Store) DeleteGrant(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteGrant, id, s.now().UnixMicro())
}
