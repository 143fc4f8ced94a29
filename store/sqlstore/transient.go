package sqlstore

import (
	"context"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

const (
	sqlPut = `INSERT INTO idbroker_transient (purpose, key, value, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (purpose, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`

	sqlAdd = sqlPut + ` WHERE idbroker_transient.expires_at <= $5`

	sqlGet = `SELECT value FROM idbroker_transient WHERE purpose = $1 AND key = $2 AND expires_at > $3`

	sqlTake = `DELETE FROM idbroker_transient WHERE purpose = $1 AND key = $2 AND expires_at > $3 RETURNING value`
)

// Put implements [store.Transient].
func (s *Store) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return s.do(ctx, func(q querier) error {
		_, err := q.exec(ctx, sqlPut, purpose, key, value, expires.UnixMicro())
		return err
	})
}

// Add implements [store.Transient].
func (s *Store) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	now := s.now()
	return s.do(ctx, func(q querier) error { return add(ctx, q, purpose, key, value, expires, now) })
}

func add(ctx context.Context, q querier, purpose, key string, value []byte, expires, now time.Time) error {
	return one(store.ErrExists)(q.exec(ctx, sqlAdd, purpose, key, value, expires.UnixMicro(), now.UnixMicro()))
}

// Get implements [store.Transient].
func (s *Store) Get(ctx context.Context, purpose, key string) ([]byte, error) {
	return s.value(ctx, sqlGet, purpose, key)
}

// Take implements [store.Transient].
func (s *Store) Take(ctx context.Context, purpose, key string) ([]byte, error) {
	return s.value(ctx, sqlTake, purpose, key)
}

func (s *Store) value(ctx context.Context, text, purpose, key string) (value []byte, err error) {
	now := s.now().UnixMicro()
	err = s.do(ctx, func(q querier) error { return q.row(ctx, text, purpose, key, now).Scan(&value) })
	return value, err
}
