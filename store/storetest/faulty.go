package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// ErrDead is what every call of a [Faulty] store returns that has died.
var ErrDead = errors.New("storetest: the node is dead")

// A Call is a moment before or after a method of a store is called.
type Call struct {
	Number int    // of the call, from 1
	Method string // such as "CreateUser"
	After  bool   // the store has done what it was asked to, and the answer is on its way
}

// Faulty returns s with faults, for tests of what happens to those who use a store when it fails, or when they die. plan is
// asked before and after each call, by one call at a time, and returns
//
//   - nil, for all to go on as ever;
//   - [ErrDead], for the node to die: this call and every later one fails, and what was written stays;
//   - any other error, with which this call fails. After the call, what was written stays all the same, as where an answer
//     is lost.
//
// Each node of a test has a Faulty of its own over the store that they share. Commit is one call if s is a
// [store.Committer], and is otherwise a call for each of the writes that [store.Commit] makes of it. The capabilities and
// roles of s are found by [store.As]; the methods of those that it lacks are for nobody.
func Faulty(s store.Store, plan func(Call) error) store.Store {
	return &faulty{Store: s, plan: plan}
}

type faulty struct {
	store.Store // embedded to be complete: each of its methods is below
	plan        func(Call) error

	mu    sync.Mutex
	calls int
	dead  bool
}

// Unwrap is for [store.As].
func (f *faulty) Unwrap() store.Store { return f.Store }

// begin counts a call and says how it fails before it is made.
func (f *faulty) begin(method string) (Call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	c := Call{Number: f.calls, Method: method}
	return c, f.ask(c)
}

// end says how a call fails after it was made.
func (f *faulty) end(c Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.After = true
	return f.ask(c)
}

func (f *faulty) ask(c Call) error {
	if f.dead {
		return ErrDead
	}
	err := f.plan(c)
	f.dead = errors.Is(err, ErrDead)
	return err
}

// read calls a method that returns something.
func read[T any](f *faulty, method string, call func() (T, error)) (T, error) {
	var none T
	c, err := f.begin(method)
	if err != nil {
		return none, err
	}
	v, err := call()
	if failed := f.end(c); failed != nil {
		return none, failed
	}
	return v, err
}

// write calls a method that may count up the versions of what it is given: a call that failed has not.
func (f *faulty) write(method string, call func() error, versions ...*int64) error {
	before := make([]int64, len(versions))
	for i, v := range versions {
		before[i] = *v
	}
	_, err := read(f, method, func() (struct{}, error) { return struct{}{}, call() })
	if err != nil {
		for i, v := range versions {
			*v = before[i]
		}
	}
	return err
}

func (f *faulty) User(ctx context.Context, id string) (*store.User, error) {
	return read(f, "User", func() (*store.User, error) { return f.Store.User(ctx, id) })
}

func (f *faulty) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	return read(f, "FindUsers", func() ([]*store.User, error) { return f.Store.FindUsers(ctx, q) })
}

func (f *faulty) CreateUser(ctx context.Context, u *store.User) error {
	return f.write("CreateUser", func() error { return f.Store.CreateUser(ctx, u) }, &u.Version)
}

func (f *faulty) UpdateUser(ctx context.Context, u *store.User) error {
	return f.write("UpdateUser", func() error { return f.Store.UpdateUser(ctx, u) }, &u.Version)
}

func (f *faulty) DeleteUser(ctx context.Context, id string) error {
	return f.write("DeleteUser", func() error { return f.Store.DeleteUser(ctx, id) })
}

func (f *faulty) Link(ctx context.Context, key store.LinkKey) (*store.Link, error) {
	return read(f, "Link", func() (*store.Link, error) { return f.Store.Link(ctx, key) })
}

func (f *faulty) LinksOf(ctx context.Context, userID string) ([]*store.Link, error) {
	return read(f, "LinksOf", func() ([]*store.Link, error) { return f.Store.LinksOf(ctx, userID) })
}

func (f *faulty) CreateLink(ctx context.Context, l *store.Link) error {
	return f.write("CreateLink", func() error { return f.Store.CreateLink(ctx, l) }, &l.Version)
}

func (f *faulty) UpdateLink(ctx context.Context, l *store.Link) error {
	return f.write("UpdateLink", func() error { return f.Store.UpdateLink(ctx, l) }, &l.Version)
}

func (f *faulty) DeleteLink(ctx context.Context, key store.LinkKey) error {
	return f.write("DeleteLink", func() error { return f.Store.DeleteLink(ctx, key) })
}

func (f *faulty) Session(ctx context.Context, id string) (*store.Session, error) {
	return read(f, "Session", func() (*store.Session, error) { return f.Store.Session(ctx, id) })
}

func (f *faulty) FindSessions(ctx context.Context, q store.SessionQuery) ([]*store.Session, error) {
	return read(f, "FindSessions", func() ([]*store.Session, error) { return f.Store.FindSessions(ctx, q) })
}

func (f *faulty) CreateSession(ctx context.Context, s *store.Session) error {
	return f.write("CreateSession", func() error { return f.Store.CreateSession(ctx, s) }, &s.Version)
}

func (f *faulty) UpdateSession(ctx context.Context, s *store.Session) error {
	return f.write("UpdateSession", func() error { return f.Store.UpdateSession(ctx, s) }, &s.Version)
}

func (f *faulty) DeleteSession(ctx context.Context, id string) error {
	return f.write("DeleteSession", func() error { return f.Store.DeleteSession(ctx, id) })
}

func (f *faulty) Grant(ctx context.Context, id string) (*store.Grant, error) {
	return read(f, "Grant", func() (*store.Grant, error) { return f.Store.Grant(ctx, id) })
}

func (f *faulty) FindGrants(ctx context.Context, q store.GrantQuery) ([]*store.Grant, error) {
	return read(f, "FindGrants", func() ([]*store.Grant, error) { return f.Store.FindGrants(ctx, q) })
}

func (f *faulty) CreateGrant(ctx context.Context, g *store.Grant) error {
	return f.write("CreateGrant", func() error { return f.Store.CreateGrant(ctx, g) }, &g.Version)
}

func (f *faulty) UpdateGrant(ctx context.Context, g *store.Grant) error {
	return f.write("UpdateGrant", func() error { return f.Store.UpdateGrant(ctx, g) }, &g.Version)
}

func (f *faulty) DeleteGrant(ctx context.Context, id string) error {
	return f.write("DeleteGrant", func() error { return f.Store.DeleteGrant(ctx, id) })
}

func (f *faulty) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return f.write("Put", func() error { return f.Store.Put(ctx, purpose, key, value, expires) })
}

func (f *faulty) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return f.write("Add", func() error { return f.Store.Add(ctx, purpose, key, value, expires) })
}

func (f *faulty) Get(ctx context.Context, purpose, key string) ([]byte, error) {
	return read(f, "Get", func() ([]byte, error) { return f.Store.Get(ctx, purpose, key) })
}

func (f *faulty) Take(ctx context.Context, purpose, key string) ([]byte, error) {
	return read(f, "Take", func() ([]byte, error) { return f.Store.Take(ctx, purpose, key) })
}

func (f *faulty) Keys(ctx context.Context) ([]*store.Key, error) {
	return read(f, "Keys", func() ([]*store.Key, error) { return f.Store.Keys(ctx) })
}

func (f *faulty) AddKey(ctx context.Context, k *store.Key) error {
	return f.write("AddKey", func() error { return f.Store.AddKey(ctx, k) })
}

func (f *faulty) DeleteKey(ctx context.Context, id string) error {
	return f.write("DeleteKey", func() error { return f.Store.DeleteKey(ctx, id) })
}

// Commit implements [store.Committer].
func (f *faulty) Commit(ctx context.Context, l *store.Login) error {
	if c, ok := store.As[store.Committer](f.Store); ok {
		return f.commit(ctx, c, l)
	}
	var parts store.Parts
	switch s := f.Store.(type) {
	case store.Parts:
		parts = s
	case *store.Parts:
		parts = *s
	default:
		return store.Commit(ctx, struct{ store.Store }{f}, l)
	}
	// Each place is still one, so that the same writes are made at once.
	places := map[any]any{}
	at := func(role any) any {
		c, ok := role.(store.Committer)
		if !ok || !reflect.ValueOf(role).Comparable() {
			return struct{ store.Store }{f}
		}
		if places[role] == nil {
			places[role] = &faultyPlace{struct{ store.Store }{f}, f, c}
		}
		return places[role]
	}
	return store.Commit(ctx, store.Parts{
		Users: at(parts.Users).(store.Users), Links: at(parts.Links).(store.Links), Sessions: at(parts.Sessions).(store.Sessions),
		Grants: at(parts.Grants).(store.Grants), Transient: at(parts.Transient).(store.Transient), Keyring: f,
	}, l)
}

// A faultyPlace is a place of [store.Parts] that keeps some roles and can write what is for them at once.
type faultyPlace struct {
	store.Store
	f  *faulty
	in store.Committer
}

func (p *faultyPlace) Commit(ctx context.Context, l *store.Login) error {
	return p.f.commit(ctx, p.in, l)
}

func (f *faulty) commit(ctx context.Context, c store.Committer, l *store.Login) error {
	var versions []*int64
	if l.NewUser != nil {
		versions = append(versions, &l.NewUser.Version)
	}
	if l.User != nil {
		versions = append(versions, &l.User.Version)
	}
	if l.NewLink != nil {
		versions = append(versions, &l.NewLink.Version)
	}
	if l.Link != nil {
		versions = append(versions, &l.Link.Version)
	}
	if l.Session != nil {
		versions = append(versions, &l.Session.Version)
	}
	if l.Grant != nil {
		versions = append(versions, &l.Grant.Version)
	}
	return f.write("Commit", func() error { return c.Commit(ctx, l) }, versions...)
}

// Sweep implements [store.Sweeper].
func (f *faulty) Sweep(ctx context.Context, limit int) (int, error) {
	return read(f, "Sweep", func() (int, error) { return having[store.Sweeper](f).Sweep(ctx, limit) })
}

// DisabledHolders implements [store.Holders].
func (f *faulty) DisabledHolders(ctx context.Context, after string, limit int) ([]string, error) {
	return read(f, "DisabledHolders", func() ([]string, error) { return having[store.Holders](f).DisabledHolders(ctx, after, limit) })
}

// having returns what [store.As] has found. Whoever did not ask it finds out here.
func having[T any](f *faulty) T {
	t, ok := store.As[T](f.Store)
	if !ok {
		panic("storetest: the store has no such capability: ask store.As")
	}
	return t
}

func (f *faulty) Secrets(ctx context.Context, field store.SecretField, after []string, limit int) ([]*store.Secret, error) {
	return read(f, "Secrets", func() ([]*store.Secret, error) { return having[store.Secrets](f).Secrets(ctx, field, after, limit) })
}

func (f *faulty) ReplaceSecret(ctx context.Context, old *store.Secret, value []byte) error {
	return f.write("ReplaceSecret", func() error { return having[store.Secrets](f).ReplaceSecret(ctx, old, value) })
}

func (f *faulty) Client(ctx context.Context, id string) (*store.Client, error) {
	return read(f, "Client", func() (*store.Client, error) { return having[store.Clients](f).Client(ctx, id) })
}

func (f *faulty) ListClients(ctx context.Context, after string, limit int) ([]*store.Client, error) {
	return read(f, "ListClients", func() ([]*store.Client, error) { return having[store.Clients](f).ListClients(ctx, after, limit) })
}

func (f *faulty) PutClient(ctx context.Context, c *store.Client) error {
	return f.write("PutClient", func() error { return having[store.Clients](f).PutClient(ctx, c) }, &c.Version)
}

func (f *faulty) DeleteClient(ctx context.Context, id string) error {
	return f.write("DeleteClient", func() error { return having[store.Clients](f).DeleteClient(ctx, id) })
}

func (f *faulty) CredentialsOf(ctx context.Context, userID string) ([]*store.Credential, error) {
	return read(f, "CredentialsOf", func() ([]*store.Credential, error) {
		return having[store.Credentials](f).CredentialsOf(ctx, userID)
	})
}

func (f *faulty) CreateCredential(ctx context.Context, c *store.Credential) error {
	return f.write("CreateCredential", func() error { return having[store.Credentials](f).CreateCredential(ctx, c) }, &c.Version)
}

func (f *faulty) UpdateCredential(ctx context.Context, c *store.Credential) error {
	return f.write("UpdateCredential", func() error { return having[store.Credentials](f).UpdateCredential(ctx, c) }, &c.Version)
}

func (f *faulty) DeleteCredential(ctx context.Context, id string) error {
	return f.write("DeleteCredential", func() error { return having[store.Credentials](f).DeleteCredential(ctx, id) })
}

func (f *faulty) Fence(ctx context.Context, provider string) (*store.Fence, error) {
	return read(f, "Fence", func() (*store.Fence, error) { return having[store.Fences](f).Fence(ctx, provider) })
}

func (f *faulty) PutFence(ctx context.Context, v *store.Fence) error {
	return f.write("PutFence", func() error { return having[store.Fences](f).PutFence(ctx, v) }, &v.Version)
}

var (
	_ store.Committer   = (*faulty)(nil)
	_ store.Sweeper     = (*faulty)(nil)
	_ store.Holders     = (*faulty)(nil)
	_ store.Secrets     = (*faulty)(nil)
	_ store.Clients     = (*faulty)(nil)
	_ store.Credentials = (*faulty)(nil)
	_ store.Fences      = (*faulty)(nil)
)
