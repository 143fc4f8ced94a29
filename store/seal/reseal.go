package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// resealBatch is how many values are read at a time.
const resealBatch = 500

// maxFailures is how many values that could not be resealed are told apart.
const maxFailures = 10

// Reseal seals with the current key whatever of the [store.SecretFields] and of the clients' secrets another key has sealed,
// and returns how many values that were. It reads all of them once, in batches, and writes those; it may run on every node at
// once and while the store is in use, and is repeated from the beginning where it was interrupted. A value that cannot be
// opened is passed over and told by the error; so are fields whose keeper is no [store.Secrets], by [errors.ErrUnsupported].
func (s *Store) Reseal(ctx context.Context) (int, error) {
	r := &resealing{s: s.s}
	for _, field := range store.SecretFields() {
		if field == store.SecretCredential && !has[store.Credentials](s.in) {
			continue
		}
		if err := r.field(ctx, keeper(s.in, field), field); err != nil {
			return r.done, err
		}
	}
	if has[store.Clients](s.in) {
		if err := r.clients(ctx, &s.clients); err != nil {
			return r.done, err
		}
	}
	return r.done, r.err()
}

// Reseal does what [Store.Reseal] does, for clients alone.
func (c *clients) Reseal(ctx context.Context) (int, error) {
	r := &resealing{s: c.s}
	err := r.clients(ctx, c)
	return r.done, cmp.Or(err, r.err())
}

// Reseal does what [Store.Reseal] does, for credentials alone.
func (c *credentials) Reseal(ctx context.Context) (int, error) {
	r := &resealing{s: c.s}
	in, _ := c.in.(store.Secrets)
	err := r.field(ctx, in, store.SecretCredential)
	return r.done, cmp.Or(err, r.err())
}

func has[T any](s store.Store) bool {
	_, ok := store.As[T](s)
	return ok
}

// keeper returns who lists the secrets of a field in s, or nil if nobody does.
func keeper(s store.Store, field store.SecretField) store.Secrets {
	parts, ok := s.(store.Parts)
	if !ok {
		in, _ := store.As[store.Secrets](s)
		return in
	}
	var in store.Secrets
	switch field {
	case store.SecretTokens:
		in, _ = parts.Links.(store.Secrets)
	case store.SecretIDToken, store.SecretUpstream, store.SecretUser:
		in, _ = parts.Sessions.(store.Secrets)
	case store.SecretPrivate:
		in, _ = parts.Keyring.(store.Secrets)
	}
	return in
}

type resealing struct {
	s      *Sealer
	done   int
	failed int     // values that stay as they are, and fields
	errs   []error // why, each reason once
}

func (r *resealing) err() error {
	if r.failed == 0 {
		return nil
	}
	return fmt.Errorf("seal: reseal: values stay as they are, number %d: %w", r.failed, errors.Join(r.errs...))
}

// fail notes that a value stays as it is.
func (r *resealing) fail(err error) {
	if r.failed++; len(r.errs) < maxFailures && !slices.ContainsFunc(r.errs, func(e error) bool { return e.Error() == err.Error() }) {
		r.errs = append(r.errs, err)
	}
}

func (r *resealing) field(ctx context.Context, in store.Secrets, field store.SecretField) error {
	if in == nil {
		r.fail(fmt.Errorf("%s: who keeps them cannot list them: %w", field, errors.ErrUnsupported))
		return nil
	}
	for after := []string(nil); ; {
		page, err := in.Secrets(ctx, field, after, resealBatch)
		for i := 0; i < len(page) && err == nil; i++ {
			err = r.value(ctx, in, page[i])
		}
		if err != nil {
			return fmt.Errorf("seal: reseal %s: %w", field, err)
		}
		if len(page) < resealBatch {
			return nil
		}
		after = page[len(page)-1].Row
	}
}

// value reseals one that needs it. Its error ends the work; one of the value itself does not.
func (r *resealing) value(ctx context.Context, in store.Secrets, secret *store.Secret) error {
	if len(secret.Value) == 0 {
		return nil
	}
	next, err := r.again(ctx, at(secret.Field, secret.Row...), secret.Value)
	if err != nil || next == nil {
		return r.passOver(ctx, err)
	}
	err = in.ReplaceSecret(ctx, secret, next)
	if errors.Is(err, store.ErrConflict) {
		return nil // somebody has written it meanwhile, and so sealed it, or removed it
	}
	if err == nil {
		r.done++
	}
	return err
}

// again returns the value sealed with the current key, or nil if it is.
func (r *resealing) again(ctx context.Context, p place, value []byte) ([]byte, error) {
	current, _, err := r.s.cache.current(ctx)
	if err != nil {
		return nil, err
	}
	if id, _, ok := split(value); ok && string(id) == current {
		return nil, nil
	}
	plain, err := r.s.open(ctx, p, value)
	if err != nil {
		return nil, err
	}
	return r.s.seal(ctx, p, plain)
}

// passOver notes what is wrong with a value, and returns what is wrong with everything.
func (r *resealing) passOver(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		r.fail(err)
	}
	return ctx.Err()
}

func (r *resealing) clients(ctx context.Context, c *clients) error {
	for after := ""; ; {
		page, err := c.in.ListClients(ctx, after, resealBatch)
		for i := 0; i < len(page) && err == nil; i++ {
			err = r.client(ctx, c, page[i])
		}
		if err != nil {
			return fmt.Errorf("seal: reseal %s: %w", fieldClient, err)
		}
		if len(page) < resealBatch {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

func (r *resealing) client(ctx context.Context, c *clients, client *store.Client) error {
	resealed := 0
	for i, secret := range client.Secrets {
		next, err := r.again(ctx, at(fieldClient, client.ID), secret)
		if err != nil {
			return r.passOver(ctx, err)
		}
		if next != nil {
			client.Secrets[i] = next
			resealed++
		}
	}
	if resealed == 0 {
		return nil
	}
	err := c.in.PutClient(ctx, client)
	if errors.Is(err, store.ErrConflict) {
		return nil // as in value
	}
	if err == nil {
		r.done += resealed
	}
	return err
}
