package sqlstore

import "context"

// What a user holds is looked for one by one, since a join would read all links where few users are disabled.
const sqlDisabledHolders = `SELECT id FROM idbroker_users u WHERE disabled AND id > $1 AND COALESCE(
		(SELECT 1 FROM idbroker_links l WHERE l.user_id = u.id AND LENGTH(l.tokens) > 0 LIMIT 1),
		(SELECT 1 FROM idbroker_sessions s WHERE s.user_id = u.id AND LENGTH(s.upstream_tokens) > 0 AND s.expires_at > $2 LIMIT 1)
	) IS NOT NULL ORDER BY id LIMIT $3`

// DisabledHolders implements [store.Holders].
func (s *Store) DisabledHolders(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = s.do(ctx, func(q querier) error {
		found, err := all(ctx, q, scanID, sqlDisabledHolders, after, s.now().UnixMicro(), max(limit, 0))
		ids = ids[:0]
		for _, id := range found {
			ids = append(ids, *id)
		}
		return err
	})
	return ids, err
}

func scanID(r scanner) (*string, error) {
	var id string
	err := r.Scan(&id)
	return &id, err
}
