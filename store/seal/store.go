package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// What rests for minutes and is not among store.SecretFields, and what can be listed.
const (
	fieldAnswer    store.SecretField = "grants.answer"
	fieldTransient store.SecretField = "transient.value"
	fieldClient    store.SecretField = "clients.secrets"
)

// Store is a store whose secrets are sealed before another keeps them. It has the capabilities and roles that the other has:
// see [store.As]. Of what the other lacks, Commit goes part by part, Sweep and DisabledHolders find nothing; the methods of [store.Clients],
// [store.Credentials] and [store.Fences] return [errors.ErrUnsupported].
type Store struct {
	clients
	credentials
	s  *Sealer
	in store.Store
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.Committer   = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
	_ store.Holders     = (*Store)(nil)
	_ store.Clients     = (*Store)(nil)
	_ store.Credentials = (*Store)(nil)
	_ store.Fences      = (*Store)(nil)
)

// Store returns in with its secrets sealed. One that is sealed already, with whichever keys, stays as it is.
func (s *Sealer) Store(in store.Store) *Store {
	if sealed, ok := in.(*Store); ok {
		return sealed
	}
	sealed := &Store{s: s, in: in, clients: clients{s, none{}}, credentials: credentials{s, none{}}}
	if c, ok := store.As[store.Clients](in); ok {
		sealed.clients.in = c
	}
	if c, ok := store.As[store.Credentials](in); ok {
		sealed.credentials.in = c
	}
	return sealed
}

// Clients returns in with its secrets sealed, as Store does, for clients that are kept elsewhere.
func (s *Sealer) Clients(in store.Clients) store.Clients {
	switch in.(type) {
	case *Store, *clients:
		return in
	}
	return &clients{s, in}
}

// Credentials returns in with its secrets sealed, as Store does, for credentials that are kept elsewhere.
func (s *Sealer) Credentials(in store.Credentials) store.Credentials {
	switch in.(type) {
	case *Store, *credentials:
		return in
	}
	return &credentials{s, in}
}

// Unwrap returns the store that keeps what is sealed.
func (s *Store) Unwrap() store.Store { return s.in }

// Insecure names the settings that weaken it.
func (s *Store) Insecure() []string { return s.s.Insecure() }

// User implements [store.Users].
func (s *Store) User(ctx context.Context, id string) (*store.User, error) { return s.in.User(ctx, id) }

// FindUsers implements [store.Users].
func (s *Store) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	return s.in.FindUsers(ctx, q)
}

// CreateUser implements [store.Users].
func (s *Store) CreateUser(ctx context.Context, u *store.User) error { return s.in.CreateUser(ctx, u) }

// UpdateUser implements [store.Users].
func (s *Store) UpdateUser(ctx context.Context, u *store.User) error { return s.in.UpdateUser(ctx, u) }

// DeleteUser implements [store.Users].
func (s *Store) DeleteUser(ctx context.Context, id string) error { return s.in.DeleteUser(ctx, id) }

// optional seals what a record need not have.
func (s *Sealer) optional(ctx context.Context, p func() place, value *[]byte) (err error) {
	if len(*value) > 0 {
		*value, err = s.seal(ctx, p(), *value)
	}
	return err
}

// openOptional is the way back from optional.
func (s *Sealer) openOptional(ctx context.Context, p func() place, value *[]byte) (err error) {
	if len(*value) > 0 {
		*value, err = s.open(ctx, p(), *value)
	}
	return err
}

// opened opens a record that a store has returned, which is the caller's.
func opened[T any](ctx context.Context, record *T, err error, open func(context.Context, *T) error) (*T, error) {
	if err == nil {
		err = open(ctx, record)
	}
	if err != nil {
		return nil, err
	}
	return record, nil
}

func allOpened[T any](ctx context.Context, records []*T, err error, open func(context.Context, *T) error) ([]*T, error) {
	for _, record := range records {
		if err == nil {
			err = open(ctx, record)
		}
	}
	if err != nil {
		return nil, err
	}
	return records, nil
}

// write seals a copy of a record, hands that to write and takes over its version.
func write[T any](ctx context.Context, record *T, seal func(context.Context, *T) error, write func(context.Context, *T) error,
	version func(*T) *int64) error {
	sealed := *record
	if err := seal(ctx, &sealed); err != nil {
		return err
	}
	if err := write(ctx, &sealed); err != nil {
		return err
	}
	*version(record) = *version(&sealed)
	return nil
}

func linkVersion(l *store.Link) *int64       { return &l.Version }
func sessionVersion(n *store.Session) *int64 { return &n.Version }
func grantVersion(g *store.Grant) *int64     { return &g.Version }

func ofLink(l *store.Link) func() place {
	return func() place { return at(store.SecretTokens, l.Provider, l.Issuer, l.Subject) }
}

func (s *Store) sealLink(ctx context.Context, l *store.Link) error {
	return s.s.optional(ctx, ofLink(l), &l.Tokens)
}

func (s *Store) openLink(ctx context.Context, l *store.Link) error {
	return s.s.openOptional(ctx, ofLink(l), &l.Tokens)
}

// Link implements [store.Links].
func (s *Store) Link(ctx context.Context, key store.LinkKey) (*store.Link, error) {
	l, err := s.in.Link(ctx, key)
	return opened(ctx, l, err, s.openLink)
}

// LinksOf implements [store.Links].
func (s *Store) LinksOf(ctx context.Context, userID string) ([]*store.Link, error) {
	links, err := s.in.LinksOf(ctx, userID)
	return allOpened(ctx, links, err, s.openLink)
}

// CreateLink implements [store.Links].
func (s *Store) CreateLink(ctx context.Context, l *store.Link) error {
	return write(ctx, l, s.sealLink, s.in.CreateLink, linkVersion)
}

// UpdateLink implements [store.Links].
func (s *Store) UpdateLink(ctx context.Context, l *store.Link) error {
	return write(ctx, l, s.sealLink, s.in.UpdateLink, linkVersion)
}

// DeleteLink implements [store.Links].
func (s *Store) DeleteLink(ctx context.Context, key store.LinkKey) error {
	return s.in.DeleteLink(ctx, key)
}

func ofSession(field store.SecretField, n *store.Session) func() place {
	return func() place { return at(field, n.ID) }
}

func (s *Store) sealSession(ctx context.Context, n *store.Session) error {
	if err := s.s.optional(ctx, ofSession(store.SecretIDToken, n), &n.UpstreamIDToken); err != nil {
		return err
	}
	if err := s.s.optional(ctx, ofSession(store.SecretUser, n), &n.TransientUser); err != nil {
		return err
	}
	return s.s.optional(ctx, ofSession(store.SecretUpstream, n), &n.UpstreamTokens)
}

func (s *Store) openSession(ctx context.Context, n *store.Session) error {
	if err := s.s.openOptional(ctx, ofSession(store.SecretIDToken, n), &n.UpstreamIDToken); err != nil {
		return err
	}
	if err := s.s.openOptional(ctx, ofSession(store.SecretUser, n), &n.TransientUser); err != nil {
		return err
	}
	return s.s.openOptional(ctx, ofSession(store.SecretUpstream, n), &n.UpstreamTokens)
}

// Session implements [store.Sessions].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	n, err := s.in.Session(ctx, id)
	return opened(ctx, n, err, s.openSession)
}

// FindSessions implements [store.Sessions].
func (s *Store) FindSessions(ctx context.Context, q store.SessionQuery) ([]*store.Session, error) {
	sessions, err := s.in.FindSessions(ctx, q)
	return allOpened(ctx, sessions, err, s.openSession)
}

// CreateSession implements [store.Sessions].
func (s *Store) CreateSession(ctx context.Context, n *store.Session) error {
	return write(ctx, n, s.sealSession, s.in.CreateSession, sessionVersion)
}

// UpdateSession implements [store.Sessions].
func (s *Store) UpdateSession(ctx context.Context, n *store.Session) error {
	return write(ctx, n, s.sealSession, s.in.UpdateSession, sessionVersion)
}

// DeleteSession implements [store.Sessions].
func (s *Store) DeleteSession(ctx context.Context, id string) error {
	return s.in.DeleteSession(ctx, id)
}

func ofGrant(g *store.Grant) func() place {
	return func() place { return at(fieldAnswer, g.ID) }
}

func (s *Store) sealGrant(ctx context.Context, g *store.Grant) error {
	return s.s.optional(ctx, ofGrant(g), &g.Answer)
}

func (s *Store) openGrant(ctx context.Context, g *store.Grant) error {
	return s.s.openOptional(ctx, ofGrant(g), &g.Answer)
}

// Grant implements [store.Grants].
func (s *Store) Grant(ctx context.Context, id string) (*store.Grant, error) {
	g, err := s.in.Grant(ctx, id)
	return opened(ctx, g, err, s.openGrant)
}

// FindGrants implements [store.Grants].
func (s *Store) FindGrants(ctx context.Context, q store.GrantQuery) ([]*store.Grant, error) {
	grants, err := s.in.FindGrants(ctx, q)
	return allOpened(ctx, grants, err, s.openGrant)
}

// CreateGrant implements [store.Grants].
func (s *Store) CreateGrant(ctx context.Context, g *store.Grant) error {
	return write(ctx, g, s.sealGrant, s.in.CreateGrant, grantVersion)
}

// UpdateGrant implements [store.Grants].
func (s *Store) UpdateGrant(ctx context.Context, g *store.Grant) error {
	return write(ctx, g, s.sealGrant, s.in.UpdateGrant, grantVersion)
}

// DeleteGrant implements [store.Grants].
func (s *Store) DeleteGrant(ctx context.Context, id string) error { return s.in.DeleteGrant(ctx, id) }

func ofTransient(purpose, key string) func() place {
	return func() place { return at(fieldTransient, purpose, key) }
}

// Put implements [store.Transient].
func (s *Store) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	if err := s.s.optional(ctx, ofTransient(purpose, key), &value); err != nil {
		return err
	}
	return s.in.Put(ctx, purpose, key, value, expires)
}

// Add implements [store.Transient].
func (s *Store) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	if err := s.s.optional(ctx, ofTransient(purpose, key), &value); err != nil {
		return err
	}
	return s.in.Add(ctx, purpose, key, value, expires)
}

// Get implements [store.Transient].
func (s *Store) Get(ctx context.Context, purpose, key string) ([]byte, error) {
	value, err := s.in.Get(ctx, purpose, key)
	if err == nil {
		err = s.s.openOptional(ctx, ofTransient(purpose, key), &value)
	}
	return value, err
}

// Take implements [store.Transient]. A value that cannot be opened is gone all the same.
func (s *Store) Take(ctx context.Context, purpose, key string) ([]byte, error) {
	value, err := s.in.Take(ctx, purpose, key)
	if err == nil {
		err = s.s.openOptional(ctx, ofTransient(purpose, key), &value)
	}
	return value, err
}

// A LostKeysError is that of [Store.Keys] where some keys can be opened with none of the sealer's, and so by nobody who has
// no others.
type LostKeysError struct {
	IDs []string // of the keys in the store
	Err error    // why, of the first
}

func (e *LostKeysError) Error() string { return fmt.Sprintf("keys %q: %v", e.IDs, e.Err) }

// Unwrap returns Err.
func (e *LostKeysError) Unwrap() error { return e.Err }

// Keys implements [store.Keyring]. With a [*LostKeysError] it returns the others.
func (s *Store) Keys(ctx context.Context) ([]*store.Key, error) {
	keys, err := s.in.Keys(ctx)
	if err != nil {
		return nil, err
	}
	opened, lost := make([]*store.Key, 0, len(keys)), &LostKeysError{}
	for _, k := range keys {
		k.Private, err = s.s.open(ctx, at(store.SecretPrivate, k.ID), k.Private)
		switch {
		case err == nil:
			opened = append(opened, k)
		case errors.Is(err, ErrNoKey) || errors.Is(err, ErrNotSealed) || errors.Is(err, ErrAltered):
			lost.IDs, lost.Err = append(lost.IDs, k.ID), cmp.Or(lost.Err, err)
		default:
			return nil, err // a KMS that is down has lost nothing
		}
	}
	if len(lost.IDs) > 0 {
		return opened, lost
	}
	return opened, nil
}

// AddKey implements [store.Keyring].
func (s *Store) AddKey(ctx context.Context, k *store.Key) (err error) {
	sealed := *k
	if sealed.Private, err = s.s.seal(ctx, at(store.SecretPrivate, k.ID), k.Private); err != nil {
		return err
	}
	return s.in.AddKey(ctx, &sealed)
}

// DeleteKey implements [store.Keyring].
func (s *Store) DeleteKey(ctx context.Context, id string) error { return s.in.DeleteKey(ctx, id) }

// Commit implements [store.Committer].
func (s *Store) Commit(ctx context.Context, l *store.Login) error {
	sealed := *l
	if err := errors.Join(
		sealPart(ctx, &sealed.NewLink, s.sealLink), sealPart(ctx, &sealed.Link, s.sealLink),
		sealPart(ctx, &sealed.Session, s.sealSession), sealPart(ctx, &sealed.Grant, s.sealGrant),
	); err != nil {
		return err
	}
	if l.OldLink != nil { // what is deleted needs no secrets
		sealed.OldLink = &store.Link{LinkKey: l.OldLink.LinkKey, Version: l.OldLink.Version}
	}
	// Whatever was written has its version, also where only a part was.
	err := store.Commit(ctx, s.in, &sealed)
	tellVersion(l.NewLink, sealed.NewLink, linkVersion)
	tellVersion(l.Link, sealed.Link, linkVersion)
	tellVersion(l.Session, sealed.Session, sessionVersion)
	tellVersion(l.Grant, sealed.Grant, grantVersion)
	return err
}

func sealPart[T any](ctx context.Context, part **T, seal func(context.Context, *T) error) error {
	if *part == nil {
		return nil
	}
	sealed := **part
	*part = &sealed
	return seal(ctx, &sealed)
}

func tellVersion[T any](part, sealed *T, version func(*T) *int64) {
	if part != nil {
		*version(part) = *version(sealed)
	}
}

// Sweep implements [store.Sweeper].
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	if sweeper, ok := store.As[store.Sweeper](s.in); ok {
		return sweeper.Sweep(ctx, limit)
	}
	return 0, ctx.Err()
}

// DisabledHolders implements [store.Holders].
func (s *Store) DisabledHolders(ctx context.Context, after string, limit int) ([]string, error) {
	if holders, ok := store.As[store.Holders](s.in); ok {
		return holders.DisabledHolders(ctx, after, limit)
	}
	return nil, ctx.Err()
}

// Fence implements [store.Fences].
func (s *Store) Fence(ctx context.Context, provider string) (*store.Fence, error) {
	if fences, ok := store.As[store.Fences](s.in); ok {
		return fences.Fence(ctx, provider)
	}
	return nil, errors.ErrUnsupported
}

// PutFence implements [store.Fences].
func (s *Store) PutFence(ctx context.Context, f *store.Fence) error {
	if fences, ok := store.As[store.Fences](s.in); ok {
		return fences.PutFence(ctx, f)
	}
	return errors.ErrUnsupported
}

// clients seals the secrets of clients.
type clients struct {
	s  *Sealer
	in store.Clients
}

// Insecure names the settings that weaken it.
func (c *clients) Insecure() []string { return c.s.Insecure() }

func (c *clients) seal(ctx context.Context, client *store.Client) (err error) {
	client.Secrets = slices.Clone(client.Secrets)
	for i, secret := range client.Secrets {
		if client.Secrets[i], err = c.s.seal(ctx, at(fieldClient, client.ID), secret); err != nil {
			return err
		}
	}
	return nil
}

func (c *clients) open(ctx context.Context, client *store.Client) (err error) {
	for i, secret := range client.Secrets {
		if client.Secrets[i], err = c.s.open(ctx, at(fieldClient, client.ID), secret); err != nil {
			return err
		}
	}
	return nil
}

// OpenClient returns a copy of a client in which those secrets are opened that are sealed, because it was read from the store
// itself.
func (c *clients) OpenClient(ctx context.Context, client *store.Client) (_ *store.Client, err error) {
	plain := *client
	plain.Secrets = slices.Clone(client.Secrets)
	for i, secret := range plain.Secrets {
		if !isEnvelope(secret) {
			continue
		}
		if plain.Secrets[i], err = c.s.open(ctx, at(fieldClient, client.ID), secret); err != nil {
			return nil, err
		}
	}
	return &plain, nil
}

// Client implements [store.Clients].
func (c *clients) Client(ctx context.Context, id string) (*store.Client, error) {
	client, err := c.in.Client(ctx, id)
	return opened(ctx, client, err, c.open)
}

// ListClients implements [store.Clients].
func (c *clients) ListClients(ctx context.Context, after string, limit int) ([]*store.Client, error) {
	page, err := c.in.ListClients(ctx, after, limit)
	return allOpened(ctx, page, err, c.open)
}

// PutClient implements [store.Clients].
func (c *clients) PutClient(ctx context.Context, client *store.Client) error {
	return write(ctx, client, c.seal, c.in.PutClient, func(c *store.Client) *int64 { return &c.Version })
}

// DeleteClient implements [store.Clients].
func (c *clients) DeleteClient(ctx context.Context, id string) error {
	return c.in.DeleteClient(ctx, id)
}

// credentials seals the secrets of credentials, hashes too: who has read the store has nothing to try passwords on, and who
// can write to it cannot give one user another's.
type credentials struct {
	s  *Sealer
	in store.Credentials
}

// Insecure names the settings that weaken it.
func (c *credentials) Insecure() []string { return c.s.Insecure() }

func ofCredential(c *store.Credential) place {
	return at(store.SecretCredential, c.ID, c.UserID, string(c.Kind))
}

func (c *credentials) sealCredential(ctx context.Context, n *store.Credential) (err error) {
	n.Secret, err = c.s.seal(ctx, ofCredential(n), n.Secret)
	return err
}

func (c *credentials) openCredential(ctx context.Context, n *store.Credential) (err error) {
	n.Secret, err = c.s.open(ctx, ofCredential(n), n.Secret)
	return err
}

func credentialVersion(c *store.Credential) *int64 { return &c.Version }

// CredentialsOf implements [store.Credentials].
func (c *credentials) CredentialsOf(ctx context.Context, userID string) ([]*store.Credential, error) {
	found, err := c.in.CredentialsOf(ctx, userID)
	return allOpened(ctx, found, err, c.openCredential)
}

// CreateCredential implements [store.Credentials].
func (c *credentials) CreateCredential(ctx context.Context, n *store.Credential) error {
	return write(ctx, n, c.sealCredential, c.in.CreateCredential, credentialVersion)
}

// UpdateCredential implements [store.Credentials].
func (c *credentials) UpdateCredential(ctx context.Context, n *store.Credential) error {
	return write(ctx, n, c.sealCredential, c.in.UpdateCredential, credentialVersion)
}

// DeleteCredential implements [store.Credentials].
func (c *credentials) DeleteCredential(ctx context.Context, id string) error {
	return c.in.DeleteCredential(ctx, id)
}

// none stands for roles that the store has not.
type none struct{}

func (none) Client(context.Context, string) (*store.Client, error) { return nil, errors.ErrUnsupported }

func (none) ListClients(context.Context, string, int) ([]*store.Client, error) {
	return nil, errors.ErrUnsupported
}

func (none) PutClient(context.Context, *store.Client) error { return errors.ErrUnsupported }

func (none) DeleteClient(context.Context, string) error { return errors.ErrUnsupported }

func (none) CredentialsOf(context.Context, string) ([]*store.Credential, error) {
	return nil, errors.ErrUnsupported
}

func (none) CreateCredential(context.Context, *store.Credential) error { return errors.ErrUnsupported }

func (none) UpdateCredential(context.Context, *store.Credential) error { return errors.ErrUnsupported }

func (none) DeleteCredential(context.Context, string) error { return errors.ErrUnsupported }
