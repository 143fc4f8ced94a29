package storetest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

type (
	ctx  = context.Context
	mem  = memstore.Store
	base = store.Store
)

// A fake is a store that breaks one promise, and the checks that have to notice.
type fake struct {
	does   string
	checks []string
	make   func(*mem) base
}

var fakes = []fake{
	// users
	{"forgets who is disabled", []string{"users/round trip"}, func(m *mem) base { return enablesAll{m} }},
	{"keeps deleted users", []string{"users/round trip", "commit/part by part/no user without a link", "commit/part by part/races"},
		func(m *mem) base { return keepsUsers{m} }},
	{"has its own error for missing users", []string{"users/missing"}, func(m *mem) base { return ownError{m} }},
	{"makes users by updates", []string{"users/missing"}, func(m *mem) base { return upsertsUsers{m} }},
	{"finds everybody for an empty query", []string{"users/missing"}, func(m *mem) base { return anyQuery{m} }},
	{"counts versions of failed writes", []string{"users/unique"}, func(m *mem) base { return hastyVersion{m} }},
	{"lets all share an e-mail", []string{"users/email"}, func(m *mem) base { return sharesAll{m} }},
	{"lets nobody share an e-mail", []string{"users/email"}, func(m *mem) base { return sharesNone{m} }},
	{"finds more than ten", []string{"users/find at most ten"}, func(m *mem) base { return findsEleven{m} }},
	{"ignores versions of users", []string{"users/update", "commit/part by part/stale"}, func(m *mem) base { return blindUsers{m} }},
	{"looks before it leaps",
		[]string{"users/races", "links/races", "sessions/races", "grants/races", "transient/races", "keyring/races"},
		func(m *mem) base { return looks{m, new(meeting)} }},
	{"keeps the user it is given", []string{"users/copies"}, func(m *mem) base { return &aliasIn{Store: m} }},
	{"returns the records it keeps", []string{"links/copies", "sessions/copies", "grants/copies", "keyring/copies"},
		func(m *mem) base { return &aliasOut{Store: m, kept: map[string]any{}} }},

	// links
	{"lets a link be taken over", []string{"links/round trip", "commit/part by part/no user without a link",
		"commit/part by part/link that takes another's place"},
		func(m *mem) base { return overLinks{m} }},
	{"has its own error for missing links", []string{"links/missing"}, func(m *mem) base { return ownError{m} }},
	{"returns links in any order", []string{"links/of a user"}, func(m *mem) base { return unsorted{m} }},
	{"ignores versions of links", []string{"links/update", "commit/part by part/stale"}, func(m *mem) base { return blindLinks{m} }},

	{"keeps a checksum of providers", []string{"links/ten thousand providers"}, func(m *mem) base { return sums{m} }},

	// sessions
	{"has its own error for missing sessions", []string{"sessions/missing"}, func(m *mem) base { return ownError{m} }},
	{"raises sessions by updates", []string{"sessions/missing"}, func(m *mem) base { return upsertsSessions{m} }},
	{"finds all sessions for an empty query", []string{"sessions/missing"}, func(m *mem) base { return anyQuery{m} }},
	{"finds sessions in any order", []string{"sessions/find"}, func(m *mem) base { return unsorted{m} }},
	{"finds sessions of every issuer", []string{"sessions/find"}, func(m *mem) base { return anyIssuer{m} }},
	{"ignores versions of sessions", []string{"sessions/update"}, func(m *mem) base { return blindSessions{m} }},
	{"keeps what has expired", []string{"sessions/expiry", "grants/expiry", "transient/expiry"}, stopped},
	{"finds what has expired", []string{"sessions/expiry", "grants/expiry"},
		func(m *mem) base { return &findsExpired{Store: m, old: memstore.New()} }},
	{"never gives ids of expired things again", []string{"sessions/expiry"}, func(m *mem) base { return &onceOnly{Store: m} }},
	{"keeps milliseconds", []string{"sessions/round trip", "times"}, func(m *mem) base { return millis{m} }},
	{"returns local times", []string{"sessions/round trip", "times"}, func(m *mem) base { return local{m} }},

	// grants
	{"has its own error for missing grants", []string{"grants/missing"}, func(m *mem) base { return ownError{m} }},
	{"forgets that a code was used", []string{"grants/round trip"}, func(m *mem) base { return forgetsUse{m} }},
	{"finds all grants for an empty query", []string{"grants/missing"}, func(m *mem) base { return anyQuery{m} }},
	{"finds grants in any order", []string{"grants/find"}, func(m *mem) base { return unsorted{m} }},
	{"ignores versions of grants", []string{"grants/update"}, func(m *mem) base { return blindGrants{m} }},

	// clients
	{"loses digits of clients' numbers", []string{"clients/round trip"}, func(m *mem) base { return roundsClients{m} }},
	{"has its own error for missing clients", []string{"clients/missing"}, func(m *mem) base { return ownError{m} }},
	{"ends a list where its beginning is gone", []string{"clients/list"}, func(m *mem) base { return listsFrom{m} }},
	{"lists more than it is asked for", []string{"clients/list"}, func(m *mem) base { return listsAll{m} }},
	{"begins anew after a client that is not there", []string{"clients/forged pages", "clients/list"},
		func(m *mem) base { return beginsAnew{m} }},
	{"has its own error for a page that it does not know", []string{"clients/forged pages"}, func(m *mem) base { return knowsPages{m} }},
	{"ignores versions of clients", []string{"clients/update"}, func(m *mem) base { return blindClients{m} }},
	{"merges what clients have with what they had", []string{"clients/update"}, func(m *mem) base { return mergesClients{m} }},
	{"looks before it puts a client", []string{"clients/races"}, func(m *mem) base { return looksForClients{m, new(meeting)} }},
	{"returns the clients it keeps", []string{"clients/copies"},
		func(m *mem) base { return &aliasOut{Store: m, kept: map[string]any{}} }},
	{"keeps the client it is given", []string{"clients/copies"}, func(m *mem) base { return &aliasClient{Store: m} }},
	{"folds case of client ids", []string{"clients/byte for byte"}, func(m *mem) base { return foldsClients{m} }},
	{"mends UTF-8 in clients", []string{"clients/byte for byte"}, func(m *mem) base { return mendsClients{m} }},
	{"deletes clients in spite of a cancelled context", []string{"clients/cancelled"}, func(m *mem) base { return deafToClients{m} }},

	// credentials
	{"keeps one passkey a user", []string{"credentials/one of a kind", "credentials/of a user"}, func(m *mem) base { return onePasskey{m} }},
	{"lets a user have two passwords", []string{"credentials/one of a kind", "credentials/races"},
		func(m *mem) base { return severalPasswords{m} }},
	{"has its own error for missing credentials", []string{"credentials/missing"}, func(m *mem) base { return ownError{m} }},
	{"makes credentials by updates", []string{"credentials/missing"}, func(m *mem) base { return upsertsCredentials{m} }},
	{"returns credentials in any order", []string{"credentials/of a user"}, func(m *mem) base { return unsortedCredentials{m} }},
	{"ignores versions of credentials", []string{"credentials/update", "credentials/races"},
		func(m *mem) base { return blindCredentials{m} }},
	{"moves credentials to other users", []string{"credentials/update"}, func(m *mem) base { return movesCredentials{m} }},
	{"keeps the credential it is given", []string{"credentials/round trip", "credentials/copies"},
		func(m *mem) base { return &aliasCredential{Store: m} }},
	{"folds case of credentials' users", []string{"credentials/byte for byte"}, func(m *mem) base { return foldsCredentials{m} }},
	{"updates credentials in spite of a cancelled context", []string{"credentials/cancelled"},
		func(m *mem) base { return deafToCredentials{m} }},

	// fences
	{"puts fences over those that are there", []string{"fences/round trip", "fences/update", "fences/races"},
		func(m *mem) base { return overFences{m} }},
	{"has its own error for missing fences", []string{"fences/missing"}, func(m *mem) base { return ownError{m} }},
	{"keeps the fence it is given", []string{"fences/copies"}, func(m *mem) base { return &aliasFence{Store: m} }},
	{"folds case of fences' providers", []string{"fences/byte for byte"}, func(m *mem) base { return foldsFences{m} }},
	{"puts fences in spite of a cancelled context", []string{"fences/cancelled"}, func(m *mem) base { return deafToFences{m} }},

	// secrets
	{"lists secrets twice", []string{"secrets/list"}, func(m *mem) base { return listsSecretsTwice{m} }},
	{"replaces secrets whatever they are", []string{"secrets/replace", "secrets/races"}, func(m *mem) base { return blindSecrets{m} }},
	{"counts versions of replaced secrets", []string{"secrets/replace"}, func(m *mem) base { return countsReplacements{m} }},
	{"replaces secrets in spite of a cancelled context", []string{"secrets/cancelled"}, func(m *mem) base { return deafToSecrets{m} }},

	// transient
	{"adds over what is there", []string{"transient/values", "transient/races", "commit/part by part/replay"},
		func(m *mem) base { return addsOver{m} }},
	{"does not remove what is taken", []string{"transient/values", "transient/races"}, func(m *mem) base { return takesNot{m} }},
	{"returns strings without their NULs", []string{"transient/values"}, func(m *mem) base { return cString{m} }},
	{"forgets purposes", []string{"transient/purposes"}, func(m *mem) base { return noPurpose{m} }},
	{"does not add over what has expired", []string{"transient/expiry"}, func(m *mem) base { return &onceOnly{Store: m} }},
	{"keeps the value it is given", []string{"transient/copies"},
		func(m *mem) base { return &aliasValue{Store: m, kept: map[string][]byte{}} }},

	// keyring
	{"returns keys in any order", []string{"keyring/round trip"}, func(m *mem) base { return unsorted{m} }},
	{"gives a generation twice", []string{"keyring/unique", "keyring/races"}, func(m *mem) base { return generations{m} }},

	// keys and values of every kind
	{"folds case of users", []string{"users/byte for byte"}, func(m *mem) base { return changesUsers{m, strings.ToLower} }},
	{"mends UTF-8 of users", []string{"users/odd bytes"}, func(m *mem) base {
		return changesUsers{m, func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }}
	}},
	{"updates users in spite of a cancelled context", []string{"users/cancelled"}, func(m *mem) base { return hastyUsers{m} }},
	{"folds case", []string{"keys/byte for byte"}, func(m *mem) base { return changesKeys{m, strings.ToLower} }},
	{"trims", []string{"keys/byte for byte"}, func(m *mem) base { return changesKeys{m, strings.TrimSpace} }},
	{"cuts", []string{"keys/byte for byte"}, func(m *mem) base { return changesKeys{m, cut} }},
	{"composes characters", []string{"keys/byte for byte"}, func(m *mem) base {
		return changesKeys{m, func(s string) string { return strings.ReplaceAll(s, "a\u0308", "\u00e4") }}
	}},
	{"mends UTF-8", []string{"keys/odd bytes"}, func(m *mem) base {
		return changesKeys{m, func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }}
	}},
	{"ends strings at NUL", []string{"keys/odd bytes"}, func(m *mem) base {
		return changesKeys{m, func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s }}
	}},
	{"joins the parts of keys", []string{"keys/parts"}, func(m *mem) base { return joins{m} }},
	{"joins purposes and keys", []string{"keys/parts"}, func(m *mem) base { return joinsPurpose{m} }},
	{"folds case of providers", []string{"keys/byte for byte"}, func(m *mem) base { return foldsProviders{m} }},
	{"finds grants of clients of another case", []string{"keys/byte for byte"}, func(m *mem) base { return foldsGrants{m} }},
	{"cuts long values", []string{"long values"}, func(m *mem) base { return cutsValues{m} }},
	{"says that long values exist", []string{"long values"}, func(m *mem) base { return longExists{m} }},
	{"forgets empty strings", []string{"empty"}, func(m *mem) base { return dropsEmpty{m} }},
	{"takes in spite of a cancelled context", []string{"cancelled"}, func(m *mem) base { return deaf{m} }},
	{"writes in spite of a cancelled context", []string{"cancelled"}, func(m *mem) base { return hasty{m} }},

	// commit
	{"commits part by part", []string{"commit/all or nothing"}, func(m *mem) base { return commits{m, byParts} }},
	{"does not set versions", []string{"commit/writes all", "commit/part by part/writes all", "commit/part by part/parts"},
		func(m *mem) base { return noVersions{m} }},
	{"sets versions of failed commits", []string{"commit/all or nothing"}, func(m *mem) base { return commits{m, hastyCommit} }},
	{"does not end sessions", []string{"commit/writes all", "commit/parts"}, func(m *mem) base {
		return commits{m, func(ctx ctx, m *mem, l *store.Login) error { c := *l; c.EndSession = ""; return m.Commit(ctx, &c) }}
	}},
	{"leaves links in whose place others come", []string{"commit/link that takes another's place", "commit/all or nothing"}, func(m *mem) base {
		return commits{m, func(ctx ctx, m *mem, l *store.Login) error { c := *l; c.OldLink = nil; return m.Commit(ctx, &c) }}
	}},
	{"sets no marks", []string{"commit/replay", "commit/races"}, func(m *mem) base {
		return commits{m, func(ctx ctx, m *mem, l *store.Login) error { c := *l; c.Once = ""; return m.Commit(ctx, &c) }}
	}},
	{"looks for marks before it sets them", []string{"commit/races"}, func(m *mem) base { return commits{m, lookThenCommit()} }},
	{"lets logins overwrite", []string{"commit/stale"}, func(m *mem) base { return commits{m, blindCommit} }},
	{"raises sessions by logins", []string{"commit/stale", "commit/all or nothing"}, func(m *mem) base {
		return commits{m, func(ctx ctx, m *mem, l *store.Login) error {
			if l.Session != nil && l.Session.Version > 0 {
				_ = m.DeleteSession(ctx, l.Session.ID)
				l.Session.Version = 0
			}
			return m.Commit(ctx, l)
		}}
	}},
	{"leaves users without a link", []string{"commit/no user without a link", "commit/all or nothing"},
		func(m *mem) base { return commits{m, userFirst} }},
	{"commits in spite of a cancelled context", []string{"commit/cancelled"}, func(m *mem) base {
		return commits{m, func(ctx ctx, m *mem, l *store.Login) error { return m.Commit(context.WithoutCancel(ctx), l) }}
	}},

	// holders
	{"finds holders who are not disabled", []string{"holders"}, func(m *mem) base {
		return holds{m, func(ctx ctx, m *mem, after string, limit int) ([]string, error) {
			if u, err := m.User(ctx, "u2"); err == nil {
				u.Disabled = true
				_ = m.UpdateUser(ctx, u)
			}
			return m.DisabledHolders(ctx, after, limit)
		}}
	}},
	{"finds holders without a limit", []string{"holders"}, func(m *mem) base {
		return holds{m, func(ctx ctx, m *mem, after string, _ int) ([]string, error) {
			return m.DisabledHolders(ctx, after, 1000)
		}}
	}},
	{"finds holders in spite of a cancelled context", []string{"holders"}, func(m *mem) base {
		return holds{m, func(ctx ctx, m *mem, after string, limit int) ([]string, error) {
			return m.DisabledHolders(context.WithoutCancel(ctx), after, limit)
		}}
	}},

	// sweep
	{"sweeps without a limit", []string{"sweep"}, func(m *mem) base {
		return sweeps{m, func(ctx ctx, m *mem, limit int) (int, error) { return m.Sweep(ctx, min(limit, 1)*1000) }}
	}},
	{"sweeps nothing", []string{"sweep"}, func(m *mem) base {
		return sweeps{m, func(ctx ctx, _ *mem, _ int) (int, error) { return 0, ctx.Err() }}
	}},
	{"sweeps what has not expired", []string{"sweep"}, func(m *mem) base {
		return sweeps{m, func(ctx ctx, m *mem, limit int) (int, error) {
			now := m.Now
			defer func() { m.Now = now }()
			m.Now = func() time.Time { return now().Add(100 * time.Minute) }
			return m.Sweep(ctx, limit)
		}}
	}},
}

type holds struct {
	*mem
	find func(ctx ctx, m *mem, after string, limit int) ([]string, error)
}

func (s holds) DisabledHolders(ctx ctx, after string, limit int) ([]string, error) {
	return s.find(ctx, s.mem, after, limit)
}

// A meeting is where the first to come waits for a second, so that a race is run and not only started.
type meeting struct{ came atomic.Int32 }

func (m *meeting) wait() {
	m.came.Add(1)
	for start := time.Now(); m.came.Load() < 2 && time.Since(start) < 10*time.Second; {
		runtime.Gosched()
	}
}

type enablesAll struct{ *mem }

func (s enablesAll) CreateUser(ctx ctx, u *store.User) error {
	c := *u
	c.Disabled = false
	err := s.mem.CreateUser(ctx, &c)
	u.Version = c.Version
	return err
}

type keepsUsers struct{ *mem }

func (s keepsUsers) DeleteUser(ctx ctx, id string) error {
	_, err := s.User(ctx, id)
	return err
}

type ownError struct{ *mem }

func own(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return errors.New("no rows")
	}
	return err
}

func (s ownError) User(ctx ctx, id string) (*store.User, error) {
	u, err := s.mem.User(ctx, id)
	return u, own(err)
}

func (s ownError) DeleteLink(ctx ctx, key store.LinkKey) error {
	return own(s.mem.DeleteLink(ctx, key))
}

func (s ownError) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.mem.Session(ctx, id)
	return n, own(err)
}

func (s ownError) Grant(ctx ctx, id string) (*store.Grant, error) {
	g, err := s.mem.Grant(ctx, id)
	return g, own(err)
}

func (s ownError) Client(ctx ctx, id string) (*store.Client, error) {
	c, err := s.mem.Client(ctx, id)
	return c, own(err)
}

type upsertsUsers struct{ *mem }

func (s upsertsUsers) UpdateUser(ctx ctx, u *store.User) error {
	err := s.mem.UpdateUser(ctx, u)
	if errors.Is(err, store.ErrConflict) {
		return s.CreateUser(ctx, u)
	}
	return err
}

type anyQuery struct{ *mem }

func (s anyQuery) FindUsers(ctx ctx, q store.UserQuery) ([]*store.User, error) {
	users, err := s.mem.FindUsers(ctx, q)
	if q == (store.UserQuery{}) {
		err = nil
	}
	return users, err
}

func (s anyQuery) FindSessions(ctx ctx, q store.SessionQuery) ([]*store.Session, error) {
	sessions, err := s.mem.FindSessions(ctx, q)
	if q == (store.SessionQuery{}) {
		err = nil
	}
	return sessions, err
}

func (s anyQuery) FindGrants(ctx ctx, q store.GrantQuery) ([]*store.Grant, error) {
	grants, err := s.mem.FindGrants(ctx, q)
	if q == (store.GrantQuery{}) {
		err = nil
	}
	return grants, err
}

type hastyVersion struct{ *mem }

func (s hastyVersion) CreateUser(ctx ctx, u *store.User) error {
	err := s.mem.CreateUser(ctx, u)
	u.Version = 1
	return err
}

type sharesAll struct{ *mem }

func (s sharesAll) CreateUser(ctx ctx, u *store.User) error {
	u.SharedEmail = true
	return s.mem.CreateUser(ctx, u)
}

type sharesNone struct{ *mem }

func (s sharesNone) CreateUser(ctx ctx, u *store.User) error {
	u.SharedEmail = false
	return s.mem.CreateUser(ctx, u)
}

type findsEleven struct{ *mem }

func (s findsEleven) FindUsers(ctx ctx, q store.UserQuery) ([]*store.User, error) {
	users, err := s.mem.FindUsers(ctx, q)
	return append(users, &store.User{ID: "the eleventh"}), err
}

type blindUsers struct{ *mem }

func (s blindUsers) UpdateUser(ctx ctx, u *store.User) error {
	for {
		now, err := s.User(ctx, u.ID)
		if err == nil {
			u.Version = now.Version
		}
		if done := s.mem.UpdateUser(ctx, u); err != nil || !errors.Is(done, store.ErrConflict) {
			return done
		}
	}
}

type blindLinks struct{ *mem }

func (s blindLinks) UpdateLink(ctx ctx, l *store.Link) error {
	for {
		now, err := s.Link(ctx, l.LinkKey)
		if err == nil {
			l.Version = now.Version
		}
		if done := s.mem.UpdateLink(ctx, l); err != nil || !errors.Is(done, store.ErrConflict) {
			return done
		}
	}
}

type blindSessions struct{ *mem }

func (s blindSessions) UpdateSession(ctx ctx, n *store.Session) error {
	for {
		now, err := s.Session(ctx, n.ID)
		if err == nil {
			n.Version = now.Version
		}
		if done := s.mem.UpdateSession(ctx, n); err != nil || !errors.Is(done, store.ErrConflict) {
			return done
		}
	}
}

type blindGrants struct{ *mem }

func (s blindGrants) UpdateGrant(ctx ctx, g *store.Grant) error {
	for {
		now, err := s.Grant(ctx, g.ID)
		if err == nil {
			g.Version = now.Version
		}
		if done := s.mem.UpdateGrant(ctx, g); err != nil || !errors.Is(done, store.ErrConflict) {
			return done
		}
	}
}

// looks reads what it then changes, and lets another read it between.
type looks struct {
	*mem
	*meeting
}

func (s looks) UpdateUser(ctx ctx, u *store.User) error {
	now, err := s.User(ctx, u.ID)
	if err != nil || now.Version != u.Version {
		return store.ErrConflict
	}
	s.wait()
	return blindUsers{s.mem}.UpdateUser(ctx, u)
}

func (s looks) UpdateLink(ctx ctx, l *store.Link) error {
	now, err := s.Link(ctx, l.LinkKey)
	if err != nil || now.Version != l.Version {
		return store.ErrConflict
	}
	s.wait()
	return blindLinks{s.mem}.UpdateLink(ctx, l)
}

func (s looks) DeleteLink(ctx ctx, key store.LinkKey) error {
	if _, err := s.Link(ctx, key); err != nil {
		return err
	}
	s.wait()
	_ = s.mem.DeleteLink(ctx, key)
	return nil
}

func (s looks) UpdateSession(ctx ctx, n *store.Session) error {
	now, err := s.Session(ctx, n.ID)
	if err != nil || now.Version != n.Version {
		return store.ErrConflict
	}
	s.wait()
	return blindSessions{s.mem}.UpdateSession(ctx, n)
}

func (s looks) DeleteSession(ctx ctx, id string) error {
	if _, err := s.Session(ctx, id); err != nil {
		return err
	}
	s.wait()
	_ = s.mem.DeleteSession(ctx, id)
	return nil
}

func (s looks) UpdateGrant(ctx ctx, g *store.Grant) error {
	now, err := s.Grant(ctx, g.ID)
	if err != nil || now.Version != g.Version {
		return store.ErrConflict
	}
	s.wait()
	return blindGrants{s.mem}.UpdateGrant(ctx, g)
}

func (s looks) DeleteGrant(ctx ctx, id string) error {
	if _, err := s.Grant(ctx, id); err != nil {
		return err
	}
	s.wait()
	_ = s.mem.DeleteGrant(ctx, id)
	return nil
}

func (s looks) Add(ctx ctx, purpose, key string, value []byte, expires time.Time) error {
	if _, err := s.Get(ctx, purpose, key); err == nil {
		return store.ErrExists
	}
	s.wait()
	return s.Put(ctx, purpose, key, value, expires)
}

func (s looks) Take(ctx ctx, purpose, key string) ([]byte, error) {
	value, err := s.Get(ctx, purpose, key)
	if err != nil {
		return nil, err
	}
	s.wait()
	_, _ = s.mem.Take(ctx, purpose, key)
	return value, nil
}

func (s looks) AddKey(ctx ctx, k *store.Key) error {
	keys, err := s.Keys(ctx)
	same := func(o *store.Key) bool { return o.Algorithm == k.Algorithm && o.Generation == k.Generation }
	if err != nil || slices.ContainsFunc(keys, same) {
		return store.ErrExists
	}
	s.wait()
	if err := s.mem.AddKey(ctx, k); !errors.Is(err, store.ErrExists) {
		return err
	}
	return nil
}

type aliasIn struct {
	*memstore.Store
	kept *store.User
}

func (s *aliasIn) CreateUser(ctx ctx, u *store.User) error {
	s.kept = u
	return s.Store.CreateUser(ctx, u)
}

func (s *aliasIn) User(ctx, string) (*store.User, error) { c := *s.kept; return &c, nil }

type aliasOut struct {
	*memstore.Store
	kept map[string]any
}

// cached returns what was read for key before, the very same.
func cached[T any](s *aliasOut, key string, v T, err error) (T, error) {
	if err != nil {
		return v, err
	}
	if old, ok := s.kept[key]; ok {
		return old.(T), nil
	}
	s.kept[key] = v
	return v, nil
}

func (s *aliasOut) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	l, err := s.Store.Link(ctx, key)
	return cached(s, "link", l, err)
}

func (s *aliasOut) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.Store.Session(ctx, id)
	return cached(s, "session", n, err)
}

func (s *aliasOut) Grant(ctx ctx, id string) (*store.Grant, error) {
	g, err := s.Store.Grant(ctx, id)
	return cached(s, "grant", g, err)
}

func (s *aliasOut) Client(ctx ctx, id string) (*store.Client, error) {
	c, err := s.Store.Client(ctx, id)
	return cached(s, "client", c, err)
}

func (s *aliasOut) Keys(ctx ctx) ([]*store.Key, error) {
	keys, err := s.Store.Keys(ctx)
	return cached(s, "keys", keys, err)
}

type aliasValue struct {
	*memstore.Store
	kept map[string][]byte
}

func (s *aliasValue) Put(_ ctx, _, key string, value []byte, _ time.Time) error {
	s.kept[key] = value
	return nil
}
func (s *aliasValue) Add(_ ctx, _, key string, value []byte, _ time.Time) error {
	s.kept[key] = value
	return nil
}
func (s *aliasValue) Get(_ ctx, _, key string) ([]byte, error) { return s.kept[key], nil }

type overLinks struct{ *mem }

func (s overLinks) CreateLink(ctx ctx, l *store.Link) error {
	if old, err := s.Link(ctx, l.LinkKey); err == nil {
		l.Version = old.Version
		return s.UpdateLink(ctx, l)
	}
	return s.mem.CreateLink(ctx, l)
}

type unsorted struct{ *mem }

func (s unsorted) LinksOf(ctx ctx, user string) ([]*store.Link, error) {
	v, err := s.mem.LinksOf(ctx, user)
	slices.Reverse(v)
	return v, err
}

func (s unsorted) FindSessions(ctx ctx, q store.SessionQuery) ([]*store.Session, error) {
	v, err := s.mem.FindSessions(ctx, q)
	slices.Reverse(v)
	return v, err
}

func (s unsorted) FindGrants(ctx ctx, q store.GrantQuery) ([]*store.Grant, error) {
	v, err := s.mem.FindGrants(ctx, q)
	slices.Reverse(v)
	return v, err
}

// Keys are sorted as text, by which generation 10 comes before 2.
func (s unsorted) Keys(ctx ctx) ([]*store.Key, error) {
	v, err := s.mem.Keys(ctx)
	slices.SortFunc(v, func(a, b *store.Key) int { return strings.Compare(a.ID, b.ID) })
	return v, err
}

type upsertsSessions struct{ *mem }

func (s upsertsSessions) UpdateSession(ctx ctx, n *store.Session) error {
	if _, err := s.Session(ctx, n.ID); err != nil {
		return s.CreateSession(ctx, n)
	}
	return s.mem.UpdateSession(ctx, n)
}

type anyIssuer struct{ *mem }

func (s anyIssuer) FindSessions(ctx ctx, q store.SessionQuery) ([]*store.Session, error) {
	q.Issuer = ""
	return s.mem.FindSessions(ctx, q)
}

// stopped is a store whose clock does not go on.
func stopped(m *mem) base {
	now := m.Now()
	m.Now = func() time.Time { return now }
	return m
}

// findsExpired looks a query up in a store whose clock does not go on.
type findsExpired struct {
	*memstore.Store
	old *mem
}

func (s *findsExpired) CreateSession(ctx ctx, n *store.Session) error {
	c := *n
	return errors.Join(s.old.CreateSession(ctx, &c), s.Store.CreateSession(ctx, n))
}

func (s *findsExpired) FindSessions(ctx ctx, q store.SessionQuery) ([]*store.Session, error) {
	return s.old.FindSessions(ctx, q)
}

func (s *findsExpired) CreateGrant(ctx ctx, g *store.Grant) error {
	c := *g
	return errors.Join(s.old.CreateGrant(ctx, &c), s.Store.CreateGrant(ctx, g))
}

func (s *findsExpired) FindGrants(ctx ctx, q store.GrantQuery) ([]*store.Grant, error) {
	return s.old.FindGrants(ctx, q)
}

// onceOnly never gives a key away twice, expired or not.
type onceOnly struct {
	*memstore.Store
	seen sync.Map
}

func (s *onceOnly) CreateSession(ctx ctx, n *store.Session) error {
	if _, seen := s.seen.LoadOrStore(n.ID, true); seen {
		return store.ErrExists
	}
	return s.Store.CreateSession(ctx, n)
}

func (s *onceOnly) Put(ctx ctx, purpose, key string, value []byte, expires time.Time) error {
	s.seen.Store(purpose+key, true)
	return s.Store.Put(ctx, purpose, key, value, expires)
}

func (s *onceOnly) Add(ctx ctx, purpose, key string, value []byte, expires time.Time) error {
	if _, seen := s.seen.LoadOrStore(purpose+key, true); seen {
		return store.ErrExists
	}
	return s.Store.Add(ctx, purpose, key, value, expires)
}

type millis struct{ *mem }

func (s millis) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.mem.Session(ctx, id)
	if err == nil {
		n.AuthTime = n.AuthTime.Truncate(time.Millisecond)
	}
	return n, err
}

type local struct{ *mem }

func (s local) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.mem.Session(ctx, id)
	if err == nil {
		n.AuthTime = n.AuthTime.In(time.FixedZone("CET", 3600))
	}
	return n, err
}

type forgetsUse struct{ *mem }

func (s forgetsUse) Grant(ctx ctx, id string) (*store.Grant, error) {
	g, err := s.mem.Grant(ctx, id)
	if err == nil {
		g.CodeUsed = false
	}
	return g, err
}

type addsOver struct{ *mem }

func (s addsOver) Add(ctx ctx, purpose, key string, value []byte, expires time.Time) error {
	return s.Put(ctx, purpose, key, value, expires)
}

type takesNot struct{ *mem }

func (s takesNot) Take(ctx ctx, purpose, key string) ([]byte, error) { return s.Get(ctx, purpose, key) }

type cString struct{ *mem }

func (s cString) Get(ctx ctx, purpose, key string) ([]byte, error) {
	v, err := s.mem.Get(ctx, purpose, key)
	return []byte(strings.TrimRight(string(v), "\x00")), err
}

type noPurpose struct{ *mem }

func (s noPurpose) Put(ctx ctx, _, key string, value []byte, expires time.Time) error {
	return s.mem.Put(ctx, "", key, value, expires)
}

func (s noPurpose) Add(ctx ctx, _, key string, value []byte, expires time.Time) error {
	return s.mem.Add(ctx, "", key, value, expires)
}
func (s noPurpose) Get(ctx ctx, _, key string) ([]byte, error)  { return s.mem.Get(ctx, "", key) }
func (s noPurpose) Take(ctx ctx, _, key string) ([]byte, error) { return s.mem.Take(ctx, "", key) }

type generations struct{ *mem }

func (s generations) AddKey(ctx ctx, k *store.Key) error {
	c := *k
	c.Algorithm += "#" + k.ID
	return s.mem.AddKey(ctx, &c)
}

// changesKeys stores and looks for something like what it is asked for.
type changesKeys struct {
	*mem
	change func(string) string
}

// changesUsers does so with the ids of users.
type changesUsers struct {
	*mem
	change func(string) string
}

func (s changesUsers) CreateUser(ctx ctx, u *store.User) error {
	c := *u
	c.ID = s.change(u.ID)
	return s.mem.CreateUser(ctx, &c)
}

func (s changesUsers) User(ctx ctx, id string) (*store.User, error) {
	return s.mem.User(ctx, s.change(id))
}

type hastyUsers struct{ *mem }

func (s hastyUsers) UpdateUser(ctx ctx, u *store.User) error {
	return errors.Join(s.mem.UpdateUser(context.WithoutCancel(ctx), u), ctx.Err())
}

func cut(s string) string { return s[:min(len(s), 255)] }

func (s changesKeys) CreateLink(ctx ctx, l *store.Link) error {
	c := *l
	c.Subject = s.change(l.Subject)
	return s.mem.CreateLink(ctx, &c)
}

func (s changesKeys) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	key.Subject = s.change(key.Subject)
	return s.mem.Link(ctx, key)
}

type joins struct{ *mem }

func (s joins) CreateLink(ctx ctx, l *store.Link) error {
	c := *l
	c.LinkKey = store.LinkKey{Subject: strings.Join([]string{l.Provider, l.Issuer, l.Subject}, ":")}
	return s.mem.CreateLink(ctx, &c)
}

func (s joins) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	return s.mem.Link(ctx, store.LinkKey{Subject: strings.Join([]string{key.Provider, key.Issuer, key.Subject}, ":")})
}

type joinsPurpose struct{ *mem }

func (s joinsPurpose) Put(ctx ctx, purpose, key string, value []byte, expires time.Time) error {
	return s.mem.Put(ctx, "", purpose+"/"+key, value, expires)
}

func (s joinsPurpose) Take(ctx ctx, purpose, key string) ([]byte, error) {
	return s.mem.Take(ctx, "", purpose+"/"+key)
}

type dropsEmpty struct{ *mem }

func (s dropsEmpty) Session(ctx ctx, id string) (*store.Session, error) {
	n, err := s.mem.Session(ctx, id)
	if err == nil {
		n.AMR = slices.DeleteFunc(n.AMR, func(v string) bool { return v == "" })
	}
	return n, err
}

type deaf struct{ *mem }

func (s deaf) Take(ctx ctx, purpose, key string) ([]byte, error) {
	return s.mem.Take(context.WithoutCancel(ctx), purpose, key)
}

type hasty struct{ *mem }

func (s hasty) UpdateGrant(ctx ctx, g *store.Grant) error {
	return errors.Join(s.mem.UpdateGrant(context.WithoutCancel(ctx), g), ctx.Err())
}

type commits struct {
	*mem
	commit func(ctx, *mem, *store.Login) error
}

func (s commits) Commit(ctx ctx, l *store.Login) error { return s.commit(ctx, s.mem, l) }

func byParts(ctx ctx, m *mem, l *store.Login) error { return store.Commit(ctx, partByPart{m}, l) }

func hastyCommit(ctx ctx, m *mem, l *store.Login) error {
	err := m.Commit(ctx, l)
	if err != nil && l.NewUser != nil {
		l.NewUser.Version = 1
	}
	return err
}

func lookThenCommit() func(ctx, *mem, *store.Login) error {
	var others meeting
	return func(ctx ctx, m *mem, l *store.Login) error {
		if _, err := m.Get(ctx, store.PurposeLogin, l.Once); err == nil {
			return store.ErrExists
		}
		others.wait()
		c := *l
		c.Once = ""
		return errors.Join(m.Commit(ctx, &c), m.Put(ctx, store.PurposeLogin, l.Once, nil, l.OnceExpires))
	}
}

func blindCommit(ctx ctx, m *mem, l *store.Login) error {
	if l.User != nil {
		if now, err := m.User(ctx, l.User.ID); err == nil {
			l.User.Version = now.Version
		}
	}
	return m.Commit(ctx, l)
}

func userFirst(ctx ctx, m *mem, l *store.Login) error {
	c := *l
	if c.NewUser != nil {
		if err := m.CreateUser(ctx, c.NewUser); err != nil {
			return err
		}
		c.NewUser = nil
	}
	return m.Commit(ctx, &c)
}

// noVersions tells nobody what it counts.
type noVersions struct{ *mem }

func (s noVersions) Commit(ctx ctx, l *store.Login) error {
	c := *l
	if l.NewUser != nil {
		u := *l.NewUser
		c.NewUser = &u
	}
	return s.mem.Commit(ctx, &c)
}

func (s noVersions) CreateUser(ctx ctx, u *store.User) error {
	c := *u
	return s.mem.CreateUser(ctx, &c)
}

type sweeps struct {
	*mem
	sweep func(ctx, *mem, int) (int, error)
}

func (s sweeps) Sweep(ctx ctx, limit int) (int, error) { return s.sweep(ctx, s.mem, limit) }

// sums makes of a provider's name what is good for a table of some dozens.
type sums struct{ *mem }

func (s sums) sum(key store.LinkKey) store.LinkKey {
	key.Provider = fmt.Sprint(crc32.ChecksumIEEE([]byte(key.Provider)) % (1 << 22))
	return key
}

func (s sums) CreateLink(ctx ctx, l *store.Link) error {
	c := *l
	c.LinkKey = s.sum(l.LinkKey)
	return s.mem.CreateLink(ctx, &c)
}

func (s sums) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	l, err := s.mem.Link(ctx, s.sum(key))
	if err == nil {
		l.LinkKey = key
	}
	return l, err
}

type foldsProviders struct{ *mem }

func (s foldsProviders) CreateLink(ctx ctx, l *store.Link) error {
	c := *l
	c.Provider = strings.ToLower(l.Provider)
	return s.mem.CreateLink(ctx, &c)
}

func (s foldsProviders) Link(ctx ctx, key store.LinkKey) (*store.Link, error) {
	key.Provider = strings.ToLower(key.Provider)
	return s.mem.Link(ctx, key)
}

type foldsGrants struct{ *mem }

func (s foldsGrants) CreateGrant(ctx ctx, g *store.Grant) error {
	c := *g
	c.ClientID = strings.ToLower(g.ClientID)
	return s.mem.CreateGrant(ctx, &c)
}

func (s foldsGrants) FindGrants(ctx ctx, q store.GrantQuery) ([]*store.Grant, error) {
	q.ClientID = strings.ToLower(q.ClientID)
	return s.mem.FindGrants(ctx, q)
}

type cutsValues struct{ *mem }

func (s cutsValues) CreateSession(ctx ctx, n *store.Session) error {
	c := *n
	c.ACR = cut(n.ACR)
	err := s.mem.CreateSession(ctx, &c)
	n.Version = c.Version
	return err
}

type longExists struct{ *mem }

func (s longExists) CreateGrant(ctx ctx, g *store.Grant) error {
	if len(g.Nonce) > 1000 {
		return store.ErrExists
	}
	return s.mem.CreateGrant(ctx, g)
}

type beginsAnew struct{ *mem }

func (s beginsAnew) ListClients(ctx ctx, after string, limit int) ([]*store.Client, error) {
	if _, err := s.mem.Client(ctx, after); err != nil {
		after = ""
	}
	return s.mem.ListClients(ctx, after, limit)
}

type knowsPages struct{ *mem }

func (s knowsPages) ListClients(ctx ctx, after string, limit int) ([]*store.Client, error) {
	if after != "" {
		if _, err := s.mem.Client(ctx, after); err != nil {
			return nil, err
		}
	}
	return s.mem.ListClients(ctx, after, limit)
}
