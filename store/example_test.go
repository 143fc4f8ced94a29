package store_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// staff is the host's own users, here in a map and in practice in its users table.
type staff struct {
	mu   sync.Mutex
	rows map[string]store.User
}

func (s *staff) User(_ context.Context, id string) (*store.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.rows[id]; ok {
		return &u, nil
	}
	return nil, store.ErrNotFound
}

func (s *staff) FindUsers(_ context.Context, q store.UserQuery) (found []*store.User, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.rows {
		if q.Username != "" && u.Username == q.Username || q.Email != "" && u.Email == q.Email {
			found = append(found, &u)
		}
	}
	return found, nil
}

func (s *staff) CreateUser(ctx context.Context, u *store.User) error {
	for _, q := range []store.UserQuery{{Username: u.Username}, {Email: u.Email}} {
		if found, _ := s.FindUsers(ctx, q); len(found) > 0 { // a table has unique columns for this
			return store.ErrExists
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Version = 1
	s.rows[u.ID] = *u
	return nil
}

func (s *staff) UpdateUser(_ context.Context, u *store.User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.rows[u.ID]; !ok || old.Version != u.Version {
		return store.ErrConflict
	}
	u.Version++
	s.rows[u.ID] = *u
	return nil
}

func (s *staff) DeleteUser(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.rows[id]; !ok {
		return store.ErrNotFound
	}
	delete(s.rows, id)
	return nil
}

// Users in the host's table, the rest elsewhere.
func ExampleParts() {
	rest := memstore.New()
	s := store.Parts{
		Users: &staff{rows: map[string]store.User{}},
		Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest,
	}

	ctx := context.Background()
	err := store.Commit(ctx, s, &store.Login{
		NewUser: &store.User{ID: "e4711", Username: "ada", Email: "ada@example.com"},
		NewLink: &store.Link{LinkKey: store.LinkKey{Provider: "corp", Subject: "1"}, UserID: "e4711"},
	})
	fmt.Println(err)
	user, err := s.User(ctx, "e4711")
	fmt.Println(user.Username, user.Version, err)
	// Output:
	// <nil>
	// ada 1 <nil>
}
