package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/go-idbroker/idbroker/store"
)

// A held is a credential of a user's, as it was made. Which one a user has proved themselves by is not told apart: a login ends with
// any that they had then.
type held struct {
	ID   string
	Made int64 // in microseconds: a password that is set anew is another one
}

func holds(all []*store.Credential) []held {
	kept := make([]held, len(all))
	for i, c := range all {
		kept[i] = held{c.ID, c.CreatedAt.UnixMicro()}
	}
	return kept
}

// A witness is the credentials that steps of a journey are lent. It notes what a user had when they were first looked at, which is
// before anything was proved by it, and what the journey itself makes of that.
type witness struct {
	store.Credentials
	mu   sync.Mutex
	seen map[string][]held // by user
}

// CredentialsOf returns the credentials of a user, and notes them.
func (w *witness) CredentialsOf(ctx context.Context, userID string) ([]*store.Credential, error) {
	all, err := w.Credentials.CredentialsOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[userID]; !ok {
		w.seen[userID] = holds(all)
	}
	return all, nil
}

// UpdateCredential writes a credential, and notes how it was made now.
func (w *witness) UpdateCredential(ctx context.Context, c *store.Credential) error {
	if err := w.Credentials.UpdateCredential(ctx, c); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen[c.UserID] {
		if w.seen[c.UserID][i].ID == c.ID {
			w.seen[c.UserID][i].Made = c.CreatedAt.UnixMicro()
		}
	}
	return nil
}

// witness returns what sees to the credentials in this request. Of somebody who has proved themselves in an earlier one it knows what
// they had then.
func (s *Service) witness(j *journey) *witness {
	if j.witness == nil {
		j.witness = &witness{Credentials: s.Credentials, seen: map[string][]held{}}
		if len(j.Draft.AMR) > 0 {
			j.witness.seen[j.Draft.UserID] = slices.Clone(j.Held)
		}
	}
	return j.witness
}

// noteHeld keeps with the journey what its user had when they proved who they are.
func (s *Service) noteHeld(ctx context.Context, j *journey) error {
	j.Held = nil
	if len(j.Draft.AMR) == 0 || j.Draft.UserID == "" || s.Credentials == nil || j.Transient != nil {
		return nil
	}
	w, ok := s.witness(j), false
	if j.Held, ok = w.seen[j.Draft.UserID]; ok {
		return nil
	}
	_, err := w.CredentialsOf(ctx, j.Draft.UserID) // a step of the host's own has asked nobody
	j.Held = w.seen[j.Draft.UserID]
	return err
}

// errUnproved says that what somebody has proved themselves by is gone.
var errUnproved = errors.New("login: a credential that the user had when they proved who they are was removed or changed")

// stillProved returns errUnproved if a credential was removed, or made anew, that the user of the journey had when they proved who they
// are: whoever it was may have known what is another one, or none, from now on. It compares what is kept with what was, and no clocks.
func (s *Service) stillProved(ctx context.Context, j *journey) error {
	if len(j.Draft.AMR) == 0 || len(j.Held) == 0 {
		return nil
	}
	if s.Credentials == nil { // the broker keeps none any more
		return errUnproved
	}
	all, err := s.Credentials.CredentialsOf(ctx, j.Draft.UserID)
	if err != nil {
		return fmt.Errorf("read credentials again: %w", err)
	}
	now := holds(all)
	if slices.ContainsFunc(j.Held, func(h held) bool { return !slices.Contains(now, h) }) {
		return errUnproved
	}
	return nil
}

// takeBack undoes a login whose proof was taken away at this very moment. Nobody was told of its session, nor of its code, so that
// nothing of it is of use where the process ends before.
//
// Whoever takes a credential away ends the user's sessions after that. A login is either written before they look for sessions, and
// found; or its proof is looked at again after the credential was gone. So it takes no transaction over both, which no two stores have.
func (s *Service) takeBack(ctx context.Context, j *journey, login *store.Login) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mailPatience)
	defer cancel()
	var err error
	if login.NewLink != nil && login.NewUser == nil && j.account.user == nil {
		err = s.unlink(ctx, login.NewLink)
	}
	_, failed := s.End(ctx, "the proof was taken away meanwhile", login.Session.ID)
	return errors.Join(err, failed)
}
