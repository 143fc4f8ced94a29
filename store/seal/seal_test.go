package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/store/storetest"
)

var (
	older = []byte("a secret of the tests: 32 bytes!")
	newer = []byte("another secret of the tests: 32!")
)

func sealer(t testing.TB, secrets ...[]byte) *seal.Sealer {
	t.Helper()
	keys, err := seal.FromSecrets(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(keys)
}

func TestStore(t *testing.T) {
	t.Parallel()
	open := func(wrap func(*memstore.Store) store.Store) func(testing.TB) (store.Store, func(time.Duration)) {
		return func(t testing.TB) (store.Store, func(time.Duration)) {
			now := time.Now()
			m := memstore.New()
			m.Now = func() time.Time { return now }
			return sealer(t, older).Store(wrap(m)), func(d time.Duration) { now = now.Add(d) }
		}
	}
	t.Run("whole", func(t *testing.T) { storetest.Run(t, open(func(m *memstore.Store) store.Store { return m })) })
	t.Run("bare", func(t *testing.T) { storetest.Run(t, open(func(m *memstore.Store) store.Store { return bare{m} })) })
	t.Run("clients", func(t *testing.T) {
		storetest.RunClients(t, func(t testing.TB) store.Clients { return sealer(t, older).Clients(memstore.New()) })
	})
	t.Run("credentials", func(t *testing.T) {
		storetest.RunCredentials(t, func(t testing.TB) store.Credentials { return sealer(t, older).Credentials(memstore.New()) })
	})
}

// bare is a store without any capability.
type bare struct{ store.Store }

// listing is store.Secrets by another name: a field of that name would hide the method.
type listing = store.Secrets

// Stores with a single capability each.
type (
	commits struct {
		store.Store
		store.Committer
	}
	sweeps struct {
		store.Store
		store.Sweeper
	}
	lists struct {
		store.Store
		listing
	}
	holds struct {
		store.Store
		store.Holders
	}
	hasClients struct {
		store.Store
		store.Clients
	}
	hasCredentials struct {
		store.Store
		store.Credentials
	}
	hasFences struct {
		store.Store
		store.Fences
	}
)

func is[T any](s store.Store) bool { _, ok := store.As[T](s); return ok }

// capabilities are all interfaces of package store that a Store need not have, and how they are found.
var capabilities = map[string]func(store.Store) bool{
	"Committer": is[store.Committer], "Sweeper": is[store.Sweeper], "Clients": is[store.Clients],
	"Credentials": is[store.Credentials], "Fences": is[store.Fences], "Secrets": is[store.Secrets], "Holders": is[store.Holders],
}

// A sealed store can do what the store behind it can, and claims no more. It hands out no sealed values: Reseal uses them.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	if got, want := slices.Sorted(maps.Keys(capabilities)), interfaces(t); !slices.Equal(got, want) {
		t.Fatalf("package store has the capabilities %q, and this test knows %q", want, got)
	}
	m := memstore.New()
	for name, in := range map[string]store.Store{
		"none": bare{m}, "all": m, "Committer": commits{m, m}, "Sweeper": sweeps{m, m}, "Secrets": lists{m, m}, "Clients": hasClients{m, m},
		"Credentials": hasCredentials{m, m}, "Fences": hasFences{m, m}, "Holders": holds{m, m},
	} {
		sealed := sealer(t, older).Store(in)
		for capability, has := range capabilities {
			if want := name == "all" || name == capability; has(in) != want {
				t.Fatalf("the test's own store with %s: %s is %v", name, capability, !want)
			}
			if want := has(in) && capability != "Secrets"; has(sealed) != want {
				t.Errorf("a sealed store over one with %s: %s is %v, want %v", name, capability, !want, want)
			}
		}
	}
	// Nor does it panic, or lie, where somebody asks it past store.As.
	ctx, sealed := t.Context(), sealer(t, older).Store(bare{m})
	_, err1 := sealed.Client(ctx, "x")
	_, err2 := sealed.ListClients(ctx, "", 1)
	_, err3 := sealed.CredentialsOf(ctx, "x")
	_, err4 := sealed.Fence(ctx, "x")
	_, err5 := sealed.Reseal(ctx)
	for i, err := range []error{err1, err2, err3, err4, err5, sealed.PutClient(ctx, &store.Client{}), sealed.DeleteClient(ctx, "x"),
		sealed.CreateCredential(ctx, &store.Credential{}), sealed.UpdateCredential(ctx, &store.Credential{}),
		sealed.DeleteCredential(ctx, "x"), sealed.PutFence(ctx, &store.Fence{})} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("call %d of what is not there: %v", i, err)
		}
	}
	if n, err := sealed.Sweep(ctx, 1); n != 0 || err != nil {
		t.Errorf("Sweep of a store that forgets by itself: %d, %v", n, err)
	}
	if ids, err := sealed.DisabledHolders(ctx, "", 1); len(ids) != 0 || err != nil {
		t.Errorf("DisabledHolders of a store that has none: %q, %v", ids, err)
	}
}

// interfaces are the exported ones of package store but for Store and the roles in it.
func interfaces(t *testing.T) (names []string) {
	t.Helper()
	//lint:ignore SA1019 a folder of few files is enough
	files, err := parser.ParseDir(token.NewFileSet(), "..", nil, 0) //nolint:staticcheck // as it says above
	if err != nil {
		t.Fatal(err)
	}
	found, roles := map[string]bool{}, map[string]bool{"Store": true}
	ast.Inspect(files["store"], func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		if i, ok := spec.Type.(*ast.InterfaceType); ok {
			found[spec.Name.Name] = true
			for _, m := range i.Methods.List {
				if role, ok := m.Type.(*ast.Ident); ok && len(m.Names) == 0 && spec.Name.Name == "Store" {
					roles[role.Name] = true
				}
			}
		}
		return true
	})
	for name := range found {
		if !roles[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// secret is what must not be found in a store.
const secret = "what nobody but the broker may read"

// secretsIn are the fields of bytes that a record has: sealed, or not and why.
var secretsIn = map[string]string{
	"Link.Tokens": "sealed", "Session.UpstreamIDToken": "sealed", "Session.UpstreamTokens": "sealed", "Session.TransientUser": "sealed", "Grant.Answer": "sealed", "Key.Private": "sealed",
	"Client.Secrets": "sealed", "Credential.Secret": "sealed",
	"Session.SecretHash": "a hash of a random handle", "Grant.CodeHash": "a hash of a random handle",
	"Grant.RefreshHash": "a hash of a random handle", "Grant.PreviousHash": "a hash of a random handle",
	"Secret.Value": "the sealed value itself",
}

func TestEveryFieldIsDecided(t *testing.T) {
	t.Parallel()
	for _, record := range []any{
		store.User{}, store.Link{}, store.Session{}, store.Grant{}, store.Key{}, store.Client{}, store.Credential{}, store.Fence{}, store.Secret{},
	} {
		typ := reflect.TypeOf(record)
		for f := range typ.Fields() {
			bytesIn := f.Type == reflect.TypeFor[[]byte]() || f.Type == reflect.TypeFor[[][]byte]()
			if name := typ.Name() + "." + f.Name; bytesIn && secretsIn[name] == "" {
				t.Errorf("%s holds bytes: is it sealed or not?", name)
			}
		}
	}
}

// fill puts the secret by every method that writes one.
func fill(t *testing.T, s *seal.Store) {
	t.Helper()
	ctx, end := t.Context(), time.Now().Add(time.Hour)
	link := func(id string) *store.Link {
		return &store.Link{LinkKey: store.LinkKey{Provider: "p", Issuer: "i", Subject: id}, UserID: id, Tokens: []byte(secret)}
	}
	session := func(id string) *store.Session {
		return &store.Session{ID: id, UserID: id, UpstreamIDToken: []byte(secret), UpstreamTokens: []byte(secret), TransientUser: []byte(secret), ExpiresAt: end}
	}
	grant := func(id string) *store.Grant {
		return &store.Grant{ID: id, UserID: id, Answer: []byte(secret), ExpiresAt: end}
	}
	l, n, g := link("a"), session("a"), grant("a")
	c := &store.Credential{ID: "a", UserID: "a", Kind: store.CredentialTOTP, Secret: []byte(secret)}
	client := &store.Client{ID: "a", Secrets: [][]byte{[]byte(secret), []byte(secret + "!")}}
	key := &store.Key{ID: "a", Algorithm: "RS256", Private: []byte(secret)}
	if err := errors.Join(
		s.CreateLink(ctx, l), s.UpdateLink(ctx, l), s.CreateSession(ctx, n), s.UpdateSession(ctx, n), s.CreateGrant(ctx, g), s.UpdateGrant(ctx, g),
		s.CreateCredential(ctx, c), s.UpdateCredential(ctx, c), s.PutClient(ctx, client), s.PutClient(ctx, client), s.AddKey(ctx, key),
		s.Put(ctx, "p", "put", []byte(secret), end), s.Add(ctx, "p", "add", []byte(secret), end),
		s.Commit(ctx, &store.Login{NewUser: &store.User{ID: "b", Username: "b"}, NewLink: link("b"), Session: session("b"), Grant: grant("b")}),
	); err != nil {
		t.Fatal(err)
	}
	n.Version = 2
	if err := s.Commit(ctx, &store.Login{Link: l, Session: n}); err != nil {
		t.Fatal(err)
	}
	if l.Version != 3 || n.Version != 3 {
		t.Errorf("versions after Commit: %d, %d, want 3", l.Version, n.Version)
	}
	for _, got := range [][]byte{l.Tokens, n.UpstreamIDToken, n.UpstreamTokens, n.TransientUser, g.Answer, c.Secret, client.Secrets[0], key.Private} {
		if string(got) != secret {
			t.Errorf("the caller's record has %q now", got)
		}
	}
}

// readAll returns all secrets that a store has of what fill wrote.
func readAll(t *testing.T, s store.Store) [][]byte {
	t.Helper()
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	var values [][]byte
	ctx := t.Context()
	for _, id := range []string{"a", "b"} {
		links, err := s.LinksOf(ctx, id)
		note(err)
		l, err := s.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: id})
		note(err)
		sessions, err := s.FindSessions(ctx, store.SessionQuery{UserID: id})
		note(err)
		n, err := s.Session(ctx, id)
		note(err)
		grants, err := s.FindGrants(ctx, store.GrantQuery{UserID: id})
		note(err)
		g, err := s.Grant(ctx, id)
		note(err)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		values = append(values, links[0].Tokens, l.Tokens, sessions[0].UpstreamIDToken, n.UpstreamIDToken,
			sessions[0].UpstreamTokens, n.UpstreamTokens, sessions[0].TransientUser, n.TransientUser, grants[0].Answer, g.Answer)
	}
	keys, err := s.Keys(ctx)
	note(err)
	credentials, err := s.(store.Credentials).CredentialsOf(ctx, "a")
	note(err)
	client, err := s.(store.Clients).Client(ctx, "a")
	note(err)
	clients, err := s.(store.Clients).ListClients(ctx, "", 10)
	note(err)
	put, err := s.Get(ctx, "p", "put")
	note(err)
	add, err := s.Take(ctx, "p", "add")
	note(err)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	values = append(values, keys[0].Private, credentials[0].Secret, put, add)
	return append(append(values, client.Secrets...), clients[0].Secrets...)
}

func TestNothingIsReadable(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(*memstore.Store) store.Store{
		"committer": func(m *memstore.Store) store.Store { return m },
		"part by part": func(m *memstore.Store) store.Store {
			return struct {
				hasClients
				store.Credentials
			}{hasClients{m, m}, m}
		},
	} {
		m := memstore.New()
		sealed := sealer(t, older).Store(wrap(m))
		fill(t, sealed)
		seen := map[string]bool{}
		raw := readAll(t, m)
		for i, value := range raw {
			if bytes.Contains(value, []byte(secret[:12])) || len(value) < len(secret) {
				t.Errorf("%s: value %d in the store is %q", name, i, value)
			}
			seen[string(value)] = true
		}
		if err := m.Add(t.Context(), "p", "add", raw[23], time.Now().Add(time.Hour)); err != nil { // was taken
			t.Fatal(err)
		}
		for i, value := range readAll(t, sealed) {
			if strings.TrimSuffix(string(value), "!") != secret {
				t.Errorf("%s: value %d is %q", name, i, value)
			}
		}
	}
}

// Who can write to the store can move a value nowhere else, and alter none.
func TestAttacksOnValues(t *testing.T) {
	t.Parallel()
	ctx, end := t.Context(), time.Now().Add(time.Hour)
	for name, row := range map[string]struct {
		tamper func(m *memstore.Store) error
		read   func(s *seal.Store) error
		want   error
	}{
		"tokens of another link": {func(m *memstore.Store) error {
			l, err := m.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: "a"})
			l.Subject = "mallory"
			return errors.Join(err, m.CreateLink(ctx, l))
		}, func(s *seal.Store) error {
			_, err := s.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: "mallory"})
			return err
		}, seal.ErrAltered},
		"parts of a key shifted": {func(m *memstore.Store) error {
			l, err := m.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: "a"})
			l.LinkKey = store.LinkKey{Provider: "pi", Subject: "a"}
			return errors.Join(err, m.CreateLink(ctx, l))
		}, func(s *seal.Store) error {
			_, err := s.Link(ctx, store.LinkKey{Provider: "pi", Subject: "a"})
			return err
		}, seal.ErrAltered},
		"token of another session": {func(m *memstore.Store) error {
			n, err := m.Session(ctx, "a")
			n.ID = "mallory"
			return errors.Join(err, m.CreateSession(ctx, n))
		}, func(s *seal.Store) error { _, err := s.Session(ctx, "mallory"); return err }, seal.ErrAltered},
		"answer of another grant": {func(m *memstore.Store) error {
			g, err := m.Grant(ctx, "a")
			g.ID = "mallory"
			return errors.Join(err, m.CreateGrant(ctx, g))
		}, func(s *seal.Store) error { _, err := s.Grant(ctx, "mallory"); return err }, seal.ErrAltered},
		"answer as an ID token": {func(m *memstore.Store) error {
			g, err := m.Grant(ctx, "a")
			n, err2 := m.Session(ctx, "a")
			n.UpstreamIDToken = g.Answer
			return errors.Join(err, err2, m.UpdateSession(ctx, n))
		}, func(s *seal.Store) error { _, err := s.Session(ctx, "a"); return err }, seal.ErrAltered},
		"private key under another id": {func(m *memstore.Store) error {
			keys, err := m.Keys(ctx)
			keys[0].ID, keys[0].Generation = "mallory", 7
			return errors.Join(err, m.DeleteKey(ctx, "a"), m.AddKey(ctx, keys[0]))
		}, func(s *seal.Store) error { _, err := s.Keys(ctx); return err }, seal.ErrAltered},
		"a credential given to another user": {func(m *memstore.Store) error {
			found, err := m.CredentialsOf(ctx, "a")
			found[0].UserID = "admin"
			return errors.Join(err, m.DeleteCredential(ctx, "a"), m.CreateCredential(ctx, found[0]))
		}, func(s *seal.Store) error { _, err := s.CredentialsOf(ctx, "admin"); return err }, seal.ErrAltered},
		"a credential of another kind": {func(m *memstore.Store) error {
			found, err := m.CredentialsOf(ctx, "a")
			found[0].Kind = store.CredentialPassword
			return errors.Join(err, m.DeleteCredential(ctx, "a"), m.CreateCredential(ctx, found[0]))
		}, func(s *seal.Store) error { _, err := s.CredentialsOf(ctx, "a"); return err }, seal.ErrAltered},
		"a credential without a secret": {func(m *memstore.Store) error {
			return m.CreateCredential(ctx, &store.Credential{ID: "x", UserID: "x", Kind: store.CredentialPassword})
		}, func(s *seal.Store) error { _, err := s.CredentialsOf(ctx, "x"); return err }, seal.ErrNotSealed},
		"a password hash of the attacker's": {func(m *memstore.Store) error {
			return m.CreateCredential(ctx, &store.Credential{ID: "x", UserID: "x", Secret: []byte("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA")})
		}, func(s *seal.Store) error { _, err := s.CredentialsOf(ctx, "x"); return err }, seal.ErrNotSealed},
		"secret of another client": {func(m *memstore.Store) error {
			c, err := m.Client(ctx, "a")
			c.ID, c.Version = "mallory", 0
			return errors.Join(err, m.PutClient(ctx, c))
		}, func(s *seal.Store) error { _, err := s.Client(ctx, "mallory"); return err }, seal.ErrAltered},
		"one plain secret beside good ones": {func(m *memstore.Store) error {
			c, err := m.Client(ctx, "a")
			c.Secrets = append(c.Secrets, []byte("a secret that nobody sealed"))
			return errors.Join(err, m.PutClient(ctx, c))
		}, func(s *seal.Store) error { _, err := s.ListClients(ctx, "", 10); return err }, seal.ErrNotSealed},
		"an empty client secret": {func(m *memstore.Store) error {
			return m.PutClient(ctx, &store.Client{ID: "x", Secrets: [][]byte{{}}})
		}, func(s *seal.Store) error { _, err := s.Client(ctx, "x"); return err }, seal.ErrNotSealed},
		"a private key that is not sealed": {func(m *memstore.Store) error {
			return m.AddKey(ctx, &store.Key{ID: "x", Algorithm: "ES256", Private: []byte{0x30, 0}})
		}, func(s *seal.Store) error { _, err := s.Keys(ctx); return err }, seal.ErrNotSealed},
		"no private key": {func(m *memstore.Store) error {
			return m.AddKey(ctx, &store.Key{ID: "x", Algorithm: "ES256"})
		}, func(s *seal.Store) error { _, err := s.Keys(ctx); return err }, seal.ErrNotSealed},
		"a value of another key": {func(m *memstore.Store) error {
			value, err := m.Get(ctx, "p", "put")
			return errors.Join(err, m.Put(ctx, "p", "other", value, end))
		}, func(s *seal.Store) error { _, err := s.Take(ctx, "p", "other"); return err }, seal.ErrAltered},
		"a value whose purpose and key only look the same": {func(m *memstore.Store) error {
			err := sealer(t, older).Store(m).Put(ctx, "p", "k\x00\x00x", []byte(secret), end)
			value, err2 := m.Get(ctx, "p", "k\x00\x00x")
			return errors.Join(err, err2, m.Put(ctx, "p\x00\x00k", "x", value, end))
		}, func(s *seal.Store) error { _, err := s.Get(ctx, "p\x00\x00k", "x"); return err }, seal.ErrAltered},
		"a value of another purpose": {func(m *memstore.Store) error {
			value, err := m.Get(ctx, "p", "put")
			return errors.Join(err, m.Put(ctx, "q", "put", value, end))
		}, func(s *seal.Store) error { _, err := s.Get(ctx, "q", "put"); return err }, seal.ErrAltered},
		"a value that is not sealed": {func(m *memstore.Store) error {
			return m.Put(ctx, "p", "put", []byte(`{"user":"admin"}`), end)
		}, func(s *seal.Store) error { _, err := s.Get(ctx, "p", "put"); return err }, seal.ErrNotSealed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := memstore.New()
			sealed := sealer(t, older).Store(m)
			fill(t, sealed)
			if err := row.tamper(m); err != nil {
				t.Fatal(err)
			}
			wantSealError(t, row.read(sealed), row.want)
		})
	}
}

func wantSealError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) {
		t.Errorf("%v is taken for a sentinel of the store", err)
	}
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error tells the secret: %v", err)
	}
}

func TestAlteredBytes(t *testing.T) {
	t.Parallel()
	ctx, end := t.Context(), time.Now().Add(time.Hour)
	m := memstore.New()
	s := sealer(t, older).Store(m)
	if err := s.Put(ctx, "p", "k", []byte(secret), end); err != nil {
		t.Fatal(err)
	}
	good, err := m.Get(ctx, "p", "k")
	if err != nil {
		t.Fatal(err)
	}
	read := func(value []byte) error {
		t.Helper()
		if err := m.Put(ctx, "p", "k", value, end); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, "p", "k")
		if err != nil && len(got) > 0 && bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q comes with error %v", got, err)
		}
		return err
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		flipped := slices.Clone(good)
		flipped[i] ^= 1
		if err := read(flipped); err == nil {
			t.Errorf("byte %d of %d altered: no error", i, len(good))
		}
		if i > 0 {
			if err := read(good[:i]); err == nil {
				t.Errorf("cut after %d bytes: no error", i)
			}
		}
	}
	if err := read(append(slices.Clone(good), 0)); !errors.Is(err, seal.ErrAltered) {
		t.Errorf("a byte more: %v", err)
	}
	for i := range 3 {
		if err := s.Put(ctx, "p", fmt.Sprint(i), []byte(secret), end); err != nil {
			t.Fatal(err)
		}
		again, err := m.Get(ctx, "p", fmt.Sprint(i))
		if err != nil || bytes.Equal(again, good) {
			t.Errorf("the same value is sealed to the same bytes, %v", err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	m := memstore.New()
	s := sealer(f, older).Store(m)
	end := time.Now().Add(time.Hour)
	if err := s.Put(f.Context(), "p", "k", []byte(secret), end); err != nil {
		f.Fatal(err)
	}
	good, err := m.Take(f.Context(), "p", "k")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:5])
	f.Add([]byte("idb\x01\x00"))
	f.Add([]byte("idb\x01\xff"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if err := m.Put(t.Context(), "p", "k", value, end); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), "p", "k")
		if err == nil && len(value) > 0 && string(got) != secret || err != nil && bytes.Equal(value, good) { // which other processes of the fuzzer have sealed, too
			t.Errorf("%q opens to %q, %v", value, got, err)
		}
	})
}

func TestWrongKeys(t *testing.T) {
	t.Parallel()
	m := memstore.New()
	fill(t, sealer(t, older).Store(m))
	id := idOf(t, older)
	for name, read := range map[string]func(context.Context, *seal.Store) error{
		"Link": func(ctx context.Context, s *seal.Store) error {
			_, err := s.Link(ctx, store.LinkKey{Provider: "p", Issuer: "i", Subject: "a"})
			return err
		},
		"Session":       func(ctx context.Context, s *seal.Store) error { _, err := s.Session(ctx, "a"); return err },
		"Grant":         func(ctx context.Context, s *seal.Store) error { _, err := s.Grant(ctx, "a"); return err },
		"Keys":          func(ctx context.Context, s *seal.Store) error { _, err := s.Keys(ctx); return err },
		"Client":        func(ctx context.Context, s *seal.Store) error { _, err := s.Client(ctx, "a"); return err },
		"CredentialsOf": func(ctx context.Context, s *seal.Store) error { _, err := s.CredentialsOf(ctx, "a"); return err },
		"Get":           func(ctx context.Context, s *seal.Store) error { _, err := s.Get(ctx, "p", "put"); return err },
	} {
		err := read(t.Context(), sealer(t, newer).Store(m))
		wantSealError(t, err, seal.ErrNoKey)
		if err != nil && !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v does not name the key %s", name, err, id)
		}
		if err := read(t.Context(), sealer(t, newer, older).Store(m)); err != nil {
			t.Errorf("%s with both keys: %v", name, err)
		}
		// Another key that goes by the same id.
		err = read(t.Context(), seal.New(kms{current: id, open: func(context.Context, string) ([]byte, error) { return newer, nil }}).Store(m))
		wantSealError(t, err, seal.ErrAltered)
		// A KMS whose own "not found" looks like the store's.
		err = read(t.Context(), seal.New(kms{current: id, open: func(context.Context, string) ([]byte, error) {
			return nil, fmt.Errorf("kms: %w", store.ErrNotFound)
		}}).Store(m))
		wantSealError(t, err, err)
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v does not name the key %s", name, err, id)
		}
		// Plaintext may be let in, but what is sealed is not taken for that.
		lax := sealer(t, newer)
		lax.InsecureAcceptPlaintext = true
		wantSealError(t, read(t.Context(), lax.Store(m)), seal.ErrNoKey)
		if err := read(t.Context(), seal.New(nil).Store(m)); err == nil {
			t.Errorf("%s without keys: no error", name)
		}
	}
}

// Nothing is written unless it can be sealed.
func TestSealFails(t *testing.T) {
	t.Parallel()
	ctx, end := t.Context(), time.Now().Add(time.Hour)
	for name, keys := range map[string]seal.Keys{
		"nil": nil, "no id": kms{}, "long id": kms{current: strings.Repeat("a", 256)},
		"no key":    kms{current: "k", open: func(context.Context, string) ([]byte, error) { return nil, seal.ErrNoKey }},
		"short key": kms{current: "k", open: func(context.Context, string) ([]byte, error) { return older[:31], nil }},
		"down":      kms{err: store.ErrNotFound},
	} {
		m := memstore.New()
		s := seal.New(keys).Store(m)
		l := &store.Link{LinkKey: store.LinkKey{Provider: "p", Subject: "a"}, UserID: "a", Tokens: []byte(secret)}
		for i, err := range []error{
			s.CreateLink(ctx, l), s.CreateSession(ctx, &store.Session{ID: "a", UserID: "a", UpstreamIDToken: []byte(secret), ExpiresAt: end}),
			s.CreateGrant(ctx, &store.Grant{ID: "a", UserID: "a", Answer: []byte(secret), ExpiresAt: end}),
			s.AddKey(ctx, &store.Key{ID: "a"}), s.PutClient(ctx, &store.Client{ID: "a", Secrets: [][]byte{[]byte(secret)}}),
			s.CreateCredential(ctx, &store.Credential{ID: "a", UserID: "a"}), s.Put(ctx, "p", "k", []byte(secret), end),
			s.Add(ctx, "p", "k", []byte(secret), end), s.Commit(ctx, &store.Login{NewUser: &store.User{ID: "a", Username: "a"}, NewLink: l}),
		} {
			if err == nil {
				t.Errorf("%s: write %d went through", name, i)
			}
			wantSealError(t, err, err)
		}
		if _, err := m.User(ctx, "a"); !errors.Is(err, store.ErrNotFound) || l.Version != 0 {
			t.Errorf("%s: a login was written whose tokens could not be sealed: %v", name, err)
		}
	}
}

func TestInsecureAcceptPlaintext(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memstore.New()
	if err := m.CreateCredential(ctx, &store.Credential{ID: "a", UserID: "a", Secret: []byte(secret)}); err != nil {
		t.Fatal(err)
	}
	strict, lax := sealer(t, older), sealer(t, older)
	lax.InsecureAcceptPlaintext = true
	if len(strict.Store(m).Insecure()) != 0 || len(lax.Store(m).Insecure()) != 1 {
		t.Errorf("Insecure: %q and %q", strict.Store(m).Insecure(), lax.Store(m).Insecure())
	}
	_, err := strict.Store(m).CredentialsOf(ctx, "a")
	wantSealError(t, err, seal.ErrNotSealed)
	found, err := lax.Store(m).CredentialsOf(ctx, "a")
	if err != nil || string(found[0].Secret) != secret {
		t.Fatalf("plaintext that is accepted: %v, %v", found, err)
	}
	if n, err := lax.Store(m).Reseal(ctx); n != 1 || err != nil {
		t.Errorf("Reseal: %d, %v, want 1", n, err)
	}
	found, err = strict.Store(m).CredentialsOf(ctx, "a")
	if err != nil || string(found[0].Secret) != secret {
		t.Errorf("after Reseal: %v, %v", found, err)
	}
}

func TestFromSecrets(t *testing.T) {
	t.Parallel()
	for name, secrets := range map[string][][]byte{"none": nil, "short": {older[:31]}, "one of two short": {older, newer[:31]}} {
		if _, err := seal.FromSecrets(secrets...); err == nil || strings.Contains(err.Error(), string(older[:31])) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, b := idOf(t, older), idOf(t, newer); a == b || len(a) != 16 {
		t.Errorf("ids %q, %q", a, b)
	}
	secret := slices.Clone(older)
	keys, err := seal.FromSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	if k, err := keys.Open(t.Context(), idOf(t, older)); err != nil || !bytes.Equal(k, older) {
		t.Errorf("after the caller's bytes were cleared: %q, %v", k, err)
	}
}

func idOf(t testing.TB, secret []byte) string {
	t.Helper()
	keys, err := seal.FromSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What is sealed already is not sealed again.
func TestOnce(t *testing.T) {
	t.Parallel()
	a, b := sealer(t, older), sealer(t, newer)
	sealed := a.Store(memstore.New())
	if b.Store(sealed) != sealed || b.Clients(sealed) != store.Clients(sealed) || b.Credentials(sealed) != store.Credentials(sealed) {
		t.Error("a sealed store is wrapped again")
	}
	clients, credentials := a.Clients(memstore.New()), a.Credentials(memstore.New())
	if b.Clients(clients) != clients || b.Credentials(credentials) != credentials {
		t.Error("sealed clients or credentials are wrapped again")
	}
}
