package sqlstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/store"
)

// A client is kept as JSON, so that no new setting of clients needs a migration. What is zero is left out: a program that
// does not know a setting refuses the clients that have it, rather than to let them do without.

func scanClient(r scanner) (*store.Client, error) {
	var text string
	var version int64
	if err := r.Scan(&version, &text); err != nil {
		return nil, err
	}
	var c store.Client
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.Version = version
	return &c, nil
}

func clientJSON(c *store.Client) (string, error) {
	if !validStrings(reflect.ValueOf(*c)) {
		return "", errUTF8
	}
	fields := map[string]any{}
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Version" && !v.Field(i).IsZero() {
			fields[name] = v.Field(i).Interface()
		}
	}
	text, err := json.Marshal(fields)
	return string(text), err
}

// validStrings reports whether each string in v is valid UTF-8.
func validStrings(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			if !validStrings(v.Field(i)) {
				return false
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if !validStrings(v.Index(i)) {
				return false
			}
		}
	}
	return true
}

const sqlClient = `SELECT version, client FROM idbroker_clients WHERE id = $1`

// Client implements [store.Clients].
func (s *Store) Client(ctx context.Context, id string) (c *store.Client, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		c, err = scanClient(q.row(ctx, sqlClient, id))
		return err
	})
	return orNil(c, err)
}

const sqlClients = `SELECT version, client FROM idbroker_clients WHERE id > $1 ORDER BY id LIMIT $2`

// ListClients implements [store.Clients].
func (s *Store) ListClients(ctx context.Context, after string, limit int) (page []*store.Client, err error) {
	err = s.do(ctx, func(q querier) (err error) {
		page, err = all(ctx, q, scanClient, sqlClients, after, max(limit, 0))
		return err
	})
	return page, err
}

const (
	sqlCreateClient = `INSERT INTO idbroker_clients (id, client, version) VALUES ($1, $2, 1) ON CONFLICT DO NOTHING`
	sqlUpdateClient = `UPDATE idbroker_clients SET client = $2, version = version + 1 WHERE id = $1 AND version = $3`
)

// PutClient implements [store.Clients].
func (s *Store) PutClient(ctx context.Context, c *store.Client) error {
	text, err := clientJSON(c)
	if err != nil {
		return fmt.Errorf("sqlstore: client: %w", err)
	}
	err = s.do(ctx, func(q querier) error {
		if c.Version == 0 {
			return one(store.ErrExists)(q.exec(ctx, sqlCreateClient, c.ID, text))
		}
		return one(store.ErrConflict)(q.exec(ctx, sqlUpdateClient, c.ID, text, c.Version))
	})
	if err == nil {
		c.Version++
	}
	return err
}

const sqlDeleteClient = `DELETE FROM idbroker_clients WHERE id = $1`

// DeleteClient implements [store.Clients].
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return s.delete(ctx, sqlDeleteClient, id)
}
