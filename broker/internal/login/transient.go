package login

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// meet makes the journey one of a transient user, whom the upstream has vouched for and nobody keeps: each login is their first,
// and none is decided by a flow.
func (s *Service) meet(ctx context.Context, j *journey) error {
	p := &j.Draft.Profile
	if err := mapAt(j.provider, provider.StageProfile, &provider.Mapping{Alias: j.Alias, Identity: j.Identity, Profile: p}); err != nil {
		return err
	}
	p.Email = firstlogin.Email(p.Email)
	p.EmailVerified = p.EmailVerified && p.Email != ""
	if j.provider.TokensReadable {
		p.Roles = append(p.Roles, vault.RoleRead)
	}
	j.Transient = newUser(p, s.Now().UTC())
	j.Transient.ID = gate.TransientID(j.key())
	j.Transient.Username = cmp.Or(firstlogin.Username(p.Username), p.Email, j.Transient.ID)
	j.Draft.UserID, j.Linked = j.Transient.ID, j.Transient.ID
	if err := s.lookUp(ctx, j); err != nil {
		return err
	}
	j.nextStage()
	return nil
}

// describeTransient puts the user into the session, or takes one out that is there no more.
func describeTransient(session *store.Session, j *journey) (err error) {
	session.TransientUser = nil
	if j.Transient != nil {
		session.TransientUser, err = json.Marshal(j.Transient)
	}
	return err
}

// alone are the accounts that the steps of a transient user's journey may look at: there is nobody but that user, or what an
// upstream says would find out about others.
type alone struct{ user *store.User }

func (a alone) User(_ context.Context, id string) (*store.User, error) {
	if id != a.user.ID {
		return nil, store.ErrNotFound
	}
	u := *a.user
	u.Roles, u.Groups = slices.Clone(u.Roles), slices.Clone(u.Groups)
	return &u, nil
}

func (alone) FindUsers(context.Context, store.UserQuery) ([]*store.User, error) { return nil, nil }

func (alone) Link(context.Context, store.LinkKey) (*store.Link, error) { return nil, store.ErrNotFound }

func (alone) LinksOf(context.Context, string) ([]*store.Link, error) { return nil, nil }

// accounts returns what the journey's steps may look at.
func (s *Service) accounts(j *journey) flow.Accounts {
	if j.Transient != nil {
		return alone{j.Transient}
	}
	return accounts{s.Store, s, j}
}
