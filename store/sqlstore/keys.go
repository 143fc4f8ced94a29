package sqlstore

import (
	"cmp"
	"context"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

const keyColumns = `id, algorithm, generation, private, created_at, not_before`

func scanKey(r scanner) (*store.Key, error) {
	var k store.Key
	err := r.Scan(&k.ID, &k.Algorithm, &k.Generation, &k.Private, instant{&k.CreatedAt}, instant{&k.NotBefore})
	return &k, err
}

const sqlKeys = `SELECT ` + keyColumns + ` FROM idbroker_keys`

// Keys implements [store.Keyring].
func (s *Store) Keys(ctx context.Context) (keys []*store.Key, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		keys, err = all(ctx, q, scanKey, sqlKeys)
		return err
	})
	// Not by the database, whose collation may put "EdDSA" before "ES256".
	slices.SortFunc(keys, func(a, b *store.Key) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), cmp.Compare(a.Generation, b.Generation))
	})
	return keys, err
}

const sqlAddKey = `INSERT INTO idbroker_keys (` + keyColumns + `) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`

// AddKey implements [store.Keyring].
func (s *Store) AddKey(ctx context.Context, k *store.Key) error {
	return s.do(ctx, func(q querier) error {
		return one(store.ErrExists)(q.exec(ctx, sqlAddKey, k.ID, k.Algorithm, k.Generation, k.Private,
			k.CreatedAt.UnixMicro(), k.NotBefore.UnixMicro()))
	})
}

const sqlDeleteKey = `DELETE FROM idbroker_keys WHERE id = $1`

// DeleteKey implements [store.Keyring].
func (s *Store) DeleteKey(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteKey, id)
}
