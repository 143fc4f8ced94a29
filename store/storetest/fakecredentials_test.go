package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func (s forgetful) CredentialsOf(ctx ctx, user string) ([]*store.Credential, error) {
	found, err := s.Store.CredentialsOf(ctx, user)
	for _, c := range found {
		forget(c, s.field)
	}
	return found, err
}

func (s forgetful) Fence(ctx ctx, provider string) (*store.Fence, error) {
	f, err := s.Store.Fence(ctx, provider)
	return forget(f, s.field), err
}

func (s ownError) DeleteCredential(ctx ctx, id string) error {
	return own(s.mem.DeleteCredential(ctx, id))
}

func (s ownError) Fence(ctx ctx, provider string) (*store.Fence, error) {
	f, err := s.mem.Fence(ctx, provider)
	return f, own(err)
}

type unsortedCredentials struct{ *mem }

func (s unsortedCredentials) CredentialsOf(ctx ctx, user string) ([]*store.Credential, error) {
	found, err := s.mem.CredentialsOf(ctx, user)
	slices.Reverse(found)
	return found, err
}

// severalPasswords keeps a second password under another kind, which it hides.
type severalPasswords struct{ *mem }

func (s severalPasswords) CreateCredential(ctx ctx, c *store.Credential) error {
	if err := s.mem.CreateCredential(ctx, c); !errors.Is(err, store.ErrExists) || c.Kind == store.CredentialPasskey {
		return err
	}
	other := *c
	other.Kind = store.CredentialPasskey
	err := s.mem.CreateCredential(ctx, &other)
	c.Version = other.Version
	return err
}

type onePasskey struct{ *mem }

func (s onePasskey) CreateCredential(ctx ctx, c *store.Credential) error {
	found, err := s.CredentialsOf(ctx, c.UserID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(other *store.Credential) bool { return other.Kind == c.Kind }) {
		return store.ErrExists
	}
	return s.mem.CreateCredential(ctx, c)
}

type blindCredentials struct{ *mem }

func (s blindCredentials) UpdateCredential(ctx ctx, c *store.Credential) error {
	for {
		found, err := s.CredentialsOf(ctx, c.UserID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(found, func(other *store.Credential) bool { return other.ID == c.ID })
		if i < 0 {
			return store.ErrConflict
		}
		c.Version = found[i].Version
		if err := s.mem.UpdateCredential(ctx, c); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// movesCredentials gives a credential to whom an update names.
type movesCredentials struct{ *mem }

func (s movesCredentials) UpdateCredential(ctx ctx, c *store.Credential) error {
	err := s.mem.UpdateCredential(ctx, c)
	if errors.Is(err, store.ErrConflict) && c.UserID == "another" {
		moved := *c
		return errors.Join(s.mem.DeleteCredential(ctx, c.ID), s.mem.CreateCredential(ctx, &moved))
	}
	return err
}

type upsertsCredentials struct{ *mem }

func (s upsertsCredentials) UpdateCredential(ctx ctx, c *store.Credential) error {
	if err := s.mem.UpdateCredential(ctx, c); !errors.Is(err, store.ErrConflict) {
		return err
	}
	return s.mem.CreateCredential(ctx, c)
}

type aliasCredential struct {
	*memstore.Store
	kept *store.Credential
}

func (s *aliasCredential) CreateCredential(_ ctx, c *store.Credential) error {
	c.Version++
	s.kept = c
	return nil
}

func (s *aliasCredential) CredentialsOf(ctx, string) ([]*store.Credential, error) {
	c := *s.kept
	return []*store.Credential{&c}, nil
}

type foldsCredentials struct{ *mem }

func (s foldsCredentials) CreateCredential(ctx ctx, c *store.Credential) error {
	folded := *c
	folded.UserID = strings.ToLower(c.UserID)
	return s.mem.CreateCredential(ctx, &folded)
}

type deafToCredentials struct{ *mem }

func (s deafToCredentials) UpdateCredential(ctx ctx, c *store.Credential) error {
	return errors.Join(s.mem.UpdateCredential(context.WithoutCancel(ctx), c), ctx.Err())
}

type overFences struct{ *mem }

func (s overFences) PutFence(ctx ctx, f *store.Fence) error {
	for {
		now, err := s.Fence(ctx, f.Provider)
		switch {
		case err == nil:
			f.Version = now.Version
		case !errors.Is(err, store.ErrNotFound):
			return err
		case f.Version != 0:
			return store.ErrConflict
		}
		if err := s.mem.PutFence(ctx, f); !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
}

type aliasFence struct {
	*memstore.Store
	kept *store.Fence
}

func (s *aliasFence) PutFence(_ ctx, f *store.Fence) error {
	f.Version++
	s.kept = f
	return nil
}

func (s *aliasFence) Fence(ctx, string) (*store.Fence, error) { f := *s.kept; return &f, nil }

type foldsFences struct{ *mem }

func (s foldsFences) PutFence(ctx ctx, f *store.Fence) error {
	folded := *f
	folded.Provider = strings.ToLower(f.Provider)
	return s.mem.PutFence(ctx, &folded)
}

type deafToFences struct{ *mem }

func (s deafToFences) PutFence(ctx ctx, f *store.Fence) error {
	return errors.Join(s.mem.PutFence(context.WithoutCancel(ctx), f), ctx.Err())
}
