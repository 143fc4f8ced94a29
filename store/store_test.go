package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// parts is a store that is no Committer, and fails where it is told to.
type parts struct {
	store.Store
	cancel     context.CancelFunc // called before CreateLink fails
	failUpdate bool
}

var errDown = errors.New("down")

func (p parts) CreateLink(ctx context.Context, l *store.Link) error {
	if p.cancel != nil {
		p.cancel()
		return ctx.Err()
	}
	return p.Store.CreateLink(ctx, l)
}

func (p parts) UpdateUser(ctx context.Context, u *store.User) error {
	if p.failUpdate {
		return errDown
	}
	return p.Store.UpdateUser(ctx, u)
}

func login() *store.Login {
	return &store.Login{
		Once: "once", OnceExpires: time.Now().Add(time.Hour), NewUser: &store.User{ID: "u", Username: "u"},
		NewLink: &store.Link{LinkKey: store.LinkKey{Provider: "p", Subject: "s"}, UserID: "u"},
		Session: &store.Session{ID: "s", UserID: "u", ExpiresAt: time.Now().Add(time.Hour)},
	}
}

// A request that ends between the user and the link must not leave the user behind.
func TestCommitRepairsAfterCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := parts{Store: memstore.New(), cancel: cancel}
	if err := store.Commit(ctx, s, login()); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: got error %v, want %v", err, context.Canceled)
	}
	if u, err := s.User(t.Context(), "u"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the user who could not be linked: %+v, %v, want %v", u, err, store.ErrNotFound)
	}
	// The mark stays: what the upstream vouched for is used up.
	if err := store.Commit(t.Context(), parts{Store: s.Store}, login()); !errors.Is(err, store.ErrExists) {
		t.Errorf("the replay of a login that failed half-way: got error %v, want %v", err, store.ErrExists)
	}
}

// Nobody is signed in by a login whose user could not be written.
func TestCommitStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	s := parts{Store: memstore.New(), failUpdate: true}
	l := login()
	l.User, l.NewUser, l.NewLink = l.NewUser, nil, nil
	if err := store.Commit(t.Context(), s, l); !errors.Is(err, errDown) {
		t.Errorf("Commit: got error %v, want %v", err, errDown)
	}
	if _, err := s.Session(t.Context(), "s"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the session of a login that failed: %v, want %v", err, store.ErrNotFound)
	}
}

// A store that can write a login at once is asked to.
func TestCommitUsesTheCommitter(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	if err := s.CreateSession(t.Context(), login().Session); err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(t.Context(), s, login()); !errors.Is(err, store.ErrExists) {
		t.Errorf("Commit: got error %v, want %v", err, store.ErrExists)
	}
	if _, err := s.User(t.Context(), "u"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the user of a login that failed: %v, want %v", err, store.ErrNotFound)
	}
}
