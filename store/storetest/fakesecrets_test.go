package storetest

import (
	"context"
	"errors"

	"github.com/go-idbroker/idbroker/store"
)

type listsSecretsTwice struct{ *mem }

func (s listsSecretsTwice) Secrets(ctx ctx, f store.SecretField, after []string, limit int) ([]*store.Secret, error) {
	page, err := s.mem.Secrets(ctx, f, after, limit)
	if len(page) == limit && limit > 1 && after != nil {
		page[limit-1] = page[0]
	}
	return page, err
}

type blindSecrets struct{ *mem }

func (s blindSecrets) ReplaceSecret(ctx ctx, old *store.Secret, value []byte) error {
	for {
		err := s.mem.ReplaceSecret(ctx, old, value)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		all, err := s.mem.Secrets(ctx, old.Field, nil, 1000)
		if err != nil {
			return err
		}
		found := false
		for _, now := range all {
			if rowOf(now) == rowOf(old) {
				old, found = now, true
			}
		}
		if !found {
			return store.ErrConflict
		}
	}
}

type countsReplacements struct{ *mem }

func (s countsReplacements) ReplaceSecret(ctx ctx, old *store.Secret, value []byte) error {
	if old.Field != store.SecretIDToken {
		return s.mem.ReplaceSecret(ctx, old, value)
	}
	n, err := s.Session(ctx, old.Row[0])
	if err != nil || string(n.UpstreamIDToken) != string(old.Value) {
		return errors.Join(store.ErrConflict, ctx.Err())
	}
	n.UpstreamIDToken = value
	return s.UpdateSession(ctx, n)
}

type deafToSecrets struct{ *mem }

func (s deafToSecrets) ReplaceSecret(ctx ctx, old *store.Secret, value []byte) error {
	return errors.Join(s.mem.ReplaceSecret(context.WithoutCancel(ctx), old, value), ctx.Err())
}
