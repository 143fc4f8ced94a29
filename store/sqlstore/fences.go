package sqlstore

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

const fenceColumns = `provider, mark, issuers, confirmed_at, version`

func scanFence(r scanner) (*store.Fence, error) {
	var f store.Fence
	err := r.Scan(&f.Provider, &f.Mark, packed[[]string]{&f.Issuers}, instant{&f.ConfirmedAt}, &f.Version)
	return &f, err
}

const sqlFence = `SELECT ` + fenceColumns + ` FROM idbroker_fences WHERE provider = $1`

// Fence implements [store.Fences].
func (s *Store) Fence(ctx context.Context, provider string) (f *store.Fence, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		f, err = scanFence(q.row(ctx, sqlFence, provider))
		return err
	})
	return orNil(f, err)
}

const (
	sqlCreateFence = `INSERT INTO idbroker_fences (` + fenceColumns + `) VALUES ($1, $2, $3, $4, 1) ON CONFLICT DO NOTHING`
	sqlUpdateFence = `UPDATE idbroker_fences SET mark = $2, issuers = $3, confirmed_at = $4, version = version + 1
		WHERE provider = $1 AND version = $5`
)

// PutFence implements [store.Fences].
func (s *Store) PutFence(ctx context.Context, f *store.Fence) error {
	issuers, err := pack(f.Issuers)
	if err != nil {
		return fmt.Errorf("sqlstore: fence: %w", err)
	}
	args := []any{f.Provider, f.Mark, issuers, f.ConfirmedAt.UnixMicro()}
	err = s.do(ctx, func(q querier) error {
		if f.Version == 0 {
			return one(store.ErrExists)(q.exec(ctx, sqlCreateFence, args...))
		}
		return one(store.ErrConflict)(q.exec(ctx, sqlUpdateFence, append(args, f.Version)...))
	})
	if err == nil {
		f.Version++
	}
	return err
}
