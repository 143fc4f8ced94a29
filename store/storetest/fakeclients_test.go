package storetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

type roundsClients struct{ *mem }

func (s roundsClients) Client(ctx ctx, id string) (*store.Client, error) {
	c, err := s.mem.Client(ctx, id)
	if err == nil {
		c.IDTokenLifetime = time.Duration(float64(c.IDTokenLifetime))
	}
	return c, err
}

// listsFrom looks for the client that the page follows.
type listsFrom struct{ *mem }

func (s listsFrom) ListClients(ctx ctx, after string, limit int) ([]*store.Client, error) {
	if _, err := s.Client(ctx, after); after != "" && err != nil {
		return nil, ctx.Err()
	}
	return s.mem.ListClients(ctx, after, limit)
}

type listsAll struct{ *mem }

func (s listsAll) ListClients(ctx ctx, after string, _ int) ([]*store.Client, error) {
	return s.mem.ListClients(ctx, after, 1000)
}

type blindClients struct{ *mem }

func (s blindClients) PutClient(ctx ctx, c *store.Client) error {
	for {
		now, err := s.Client(ctx, c.ID)
		if err == nil && c.Version > 0 {
			c.Version = now.Version
		}
		if done := s.mem.PutClient(ctx, c); err != nil || !errors.Is(done, store.ErrConflict) {
			return done
		}
	}
}

type mergesClients struct{ *mem }

func (s mergesClients) PutClient(ctx ctx, c *store.Client) error {
	if now, err := s.Client(ctx, c.ID); err == nil && c.Secrets == nil {
		c.Secrets = now.Secrets
		defer func() { c.Secrets = nil }()
	}
	return s.mem.PutClient(ctx, c)
}

type looksForClients struct {
	*mem
	*meeting
}

func (s looksForClients) PutClient(ctx ctx, c *store.Client) error {
	now, err := s.Client(ctx, c.ID)
	switch {
	case c.Version == 0 && err == nil:
		return store.ErrExists
	case c.Version != 0 && (err != nil || now.Version != c.Version):
		return store.ErrConflict
	}
	s.wait()
	if _, err := s.Client(ctx, c.ID); err == nil && c.Version == 0 {
		c.Version++
		return nil
	}
	return blindClients{s.mem}.PutClient(ctx, c)
}

type aliasClient struct {
	*memstore.Store
	kept *store.Client
}

func (s *aliasClient) PutClient(_ ctx, c *store.Client) error {
	c.Version++
	s.kept = c
	return nil
}

func (s *aliasClient) Client(ctx, string) (*store.Client, error) { c := *s.kept; return &c, nil }

type foldsClients struct{ *mem }

func (s foldsClients) PutClient(ctx ctx, c *store.Client) error {
	folded := *c
	folded.ID = strings.ToLower(c.ID)
	return s.mem.PutClient(ctx, &folded)
}

type mendsClients struct{ *mem }

func (s mendsClients) Client(ctx ctx, id string) (*store.Client, error) {
	c, err := s.mem.Client(ctx, id)
	if err == nil {
		c.Name = strings.ToValidUTF8(c.Name, "\ufffd")
	}
	return c, err
}

type deafToClients struct{ *mem }

func (s deafToClients) DeleteClient(ctx ctx, id string) error {
	return errors.Join(s.mem.DeleteClient(context.WithoutCancel(ctx), id), ctx.Err())
}
