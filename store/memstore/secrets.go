package memstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// Secrets implements [store.Secrets]. Each page costs as much as sorting all of the field.
func (s *Store) Secrets(ctx context.Context, field store.SecretField, after []string, limit int) (page []*store.Secret, err error) {
	now := s.now()
	if err := s.read(ctx, func() {
		switch field {
		case store.SecretTokens:
			for _, l := range s.links {
				page = append(page, secret(field, l.Tokens, l.Provider, l.Issuer, l.Subject))
			}
		case store.SecretIDToken, store.SecretUpstream, store.SecretUser:
			for id := range s.sessions.items {
				if it := s.sessions.get(id, now); it != nil {
					page = append(page, secret(field, *ofSession(it.value, field), id))
				}
			}
		case store.SecretCredential:
			for _, c := range s.credentials {
				page = append(page, secret(field, c.Secret, c.ID, c.UserID, string(c.Kind)))
			}
		case store.SecretPrivate:
			for _, k := range s.keys {
				page = append(page, secret(field, k.Private, k.ID))
			}
		default:
			err = errField(field)
		}
	}); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(page, func(a, b *store.Secret) int { return slices.Compare(a.Row, b.Row) })
	from, there := slices.BinarySearchFunc(page, after, func(x *store.Secret, row []string) int { return slices.Compare(x.Row, row) })
	if there {
		from++
	}
	page = page[from:min(from+max(limit, 0), len(page))]
	for _, x := range page {
		x.Value = slices.Clone(x.Value)
	}
	return page, nil
}

func secret(field store.SecretField, value []byte, row ...string) *store.Secret {
	return &store.Secret{Field: field, Row: row, Value: value}
}

func ofSession(n *store.Session, field store.SecretField) *[]byte {
	switch field {
	case store.SecretUpstream:
		return &n.UpstreamTokens
	case store.SecretUser:
		return &n.TransientUser
	}
	return &n.UpstreamIDToken
}

func errField(field store.SecretField) error {
	return fmt.Errorf("memstore: there is no secret field %q", field)
}

// ReplaceSecret implements [store.Secrets].
func (s *Store) ReplaceSecret(ctx context.Context, old *store.Secret, value []byte) error {
	value = slices.Clone(value)
	row := func(n int) []string { return slices.Concat(old.Row, make([]string, n))[:n] } // as many as the field has
	return s.write(ctx, func() error {
		switch old.Field {
		case store.SecretTokens:
			r := row(3)
			key := store.LinkKey{Provider: r[0], Issuer: r[1], Subject: r[2]}
			return replace(s.links, key, old, value, func(l *store.Link) *[]byte { return &l.Tokens })
		case store.SecretIDToken, store.SecretUpstream, store.SecretUser:
			it := s.sessions.get(row(1)[0], s.now())
			if it == nil || !bytes.Equal(*ofSession(it.value, old.Field), old.Value) {
				return store.ErrConflict
			}
			kept := *it.value
			*ofSession(&kept, old.Field) = value
			it.value = &kept
			return nil
		case store.SecretCredential:
			r := row(3)
			c := s.credentials[r[0]]
			if c != nil && (c.UserID != r[1] || string(c.Kind) != r[2]) {
				return store.ErrConflict
			}
			return replace(s.credentials, r[0], old, value, func(c *store.Credential) *[]byte { return &c.Secret })
		case store.SecretPrivate:
			return replace(s.keys, row(1)[0], old, value, func(k *store.Key) *[]byte { return &k.Private })
		default:
			return errField(old.Field)
		}
	})
}

// replace puts a copy of a record with another value in its place: records in a map are never changed.
func replace[K comparable, T any](records map[K]*T, key K, old *store.Secret, value []byte, field func(*T) *[]byte) error {
	record := records[key]
	if record == nil || !bytes.Equal(*field(record), old.Value) {
		return store.ErrConflict
	}
	kept := *record
	*field(&kept) = value
	records[key] = &kept
	return nil
}
