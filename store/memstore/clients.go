package memstore

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// Client implements [store.Clients].
func (s *Store) Client(ctx context.Context, id string) (c *store.Client, err error) {
	if err := s.read(ctx, func() { c = s.clients[id] }); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, store.ErrNotFound
	}
	return copyClient(c), nil
}

// ListClients implements [store.Clients].
func (s *Store) ListClients(ctx context.Context, after string, limit int) ([]*store.Client, error) {
	page := []*store.Client{}
	err := s.read(ctx, func() {
		for _, id := range slices.Sorted(maps.Keys(s.clients)) {
			if id > after && len(page) < limit {
				page = append(page, s.clients[id])
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for i, kept := range page {
		page[i] = copyClient(kept)
	}
	return page, nil
}

// PutClient implements [store.Clients].
func (s *Store) PutClient(ctx context.Context, c *store.Client) error {
	return s.write(ctx, func() error {
		old := s.clients[c.ID]
		switch {
		case c.Version == 0 && old != nil:
			return store.ErrExists
		case c.Version != 0 && (old == nil || old.Version != c.Version):
			return store.ErrConflict
		}
		kept := copyClient(c)
		kept.Version++
		s.clients[c.ID] = kept
		c.Version++
		return nil
	})
}

// DeleteClient implements [store.Clients].
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return s.write(ctx, func() error {
		if s.clients[id] == nil {
			return store.ErrNotFound
		}
		delete(s.clients, id)
		return nil
	})
}

// copyClient copies the slices of c, whichever there are: a client has many and gets more.
func copyClient(c *store.Client) *store.Client {
	kept := *c
	copySlices(reflect.ValueOf(&kept).Elem())
	return &kept
}

func copySlices(v reflect.Value) {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			copySlices(v.Field(i))
		}
		return
	}
	if v.Kind() != reflect.Slice || v.IsNil() {
		return
	}
	c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(c, v)
	v.Set(c)
	for i := range c.Len() {
		copySlices(c.Index(i))
	}
}
