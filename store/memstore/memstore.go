// Package memstore is a [store.Store] in memory: for tests, demonstrations and programs that may forget everything when
// they end.
//
// It owns no persistence and nothing that several processes could share; sqlstore does.
//
//	b, err := broker.New(broker.Config{
//		BaseURL: "http://localhost:8080/id",
//		Secrets: [][]byte{secret},
//		Store:   memstore.New(),
//	})
//
// Every lookup is one in a map, whatever the number of users and sessions. What has expired is not found, and its
// memory is given back by [Store.Sweep].
package memstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// Store keeps everything in maps. Make one with [New]; it must not be copied.
//
// A record in a map is never changed, only replaced, so that readers hold the lock no longer than for a lookup.
type Store struct {
	// Now tells the time by which things expire; nil is [time.Now]. Set it before the first use.
	Now func() time.Time

	mu        sync.RWMutex
	users     map[string]*store.User
	usernames map[string]string // username to id
	emails    index[string]     // e-mail to ids
	links     map[store.LinkKey]*store.Link
	linksOf   map[string]map[store.LinkKey]struct{}
	keys      map[string]*store.Key
	clients   map[string]*store.Client
	fences    map[string]*store.Fence // by provider
	transient timed[transientKey, []byte]

	credentials   map[string]*store.Credential
	credentialsOf index[string] // user to ids

	sessions           timed[string, *store.Session]
	sessionsOfUser     index[string]
	sessionsOfProvider index[string]
	sessionsOfSubject  index[[2]string] // provider and subject
	sessionsOfUpstream index[[2]string] // provider and the upstream's session

	grants          timed[string, *store.Grant]
	grantsOfUser    index[string]
	grantsOfClient  index[string]
	grantsOfSession index[string]
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.Committer   = (*Store)(nil)
	_ store.Sweeper     = (*Store)(nil)
	_ store.Holders     = (*Store)(nil)
	_ store.Clients     = (*Store)(nil)
	_ store.Credentials = (*Store)(nil)
	_ store.Fences      = (*Store)(nil)
	_ store.Secrets     = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	return &Store{
		users:     map[string]*store.User{},
		usernames: map[string]string{},
		emails:    index[string]{},
		links:     map[store.LinkKey]*store.Link{},
		linksOf:   map[string]map[store.LinkKey]struct{}{},
		keys:      map[string]*store.Key{},
		clients:   map[string]*store.Client{},
		fences:    map[string]*store.Fence{},
		transient: newTimed[transientKey, []byte](),

		credentials:   map[string]*store.Credential{},
		credentialsOf: index[string]{},

		sessions:           newTimed[string, *store.Session](),
		sessionsOfUser:     index[string]{},
		sessionsOfProvider: index[string]{},
		sessionsOfSubject:  index[[2]string]{},
		sessionsOfUpstream: index[[2]string]{},

		grants:          newTimed[string, *store.Grant](),
		grantsOfUser:    index[string]{},
		grantsOfClient:  index[string]{},
		grantsOfSession: index[string]{},
	}
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// read runs f while nobody writes, unless ctx has ended.
func (s *Store) read(ctx context.Context, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f()
	return nil
}

// write runs f alone, unless ctx has ended. f changes nothing when it returns an error.
func (s *Store) write(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// Commit implements [store.Committer].
func (s *Store) Commit(ctx context.Context, l *store.Login) error {
	return s.write(ctx, func() error { return s.commit(l, s.now()) })
}

func (s *Store) commit(l *store.Login, now time.Time) error {
	var undo []func()
	var err error
	step := func(back func(), failed error) {
		if err = failed; err == nil {
			undo = append(undo, back)
		}
	}
	if l.Once != "" {
		step(s.add(transientKey{store.PurposeLogin, l.Once}, nil, l.OnceExpires, now))
	}
	if err == nil && l.NewUser != nil {
		step(s.createUser(l.NewUser))
	}
	if err == nil && l.User != nil {
		step(s.updateUser(l.User))
	}
	if err == nil && l.NewLink != nil {
		step(s.createLink(l.NewLink))
	}
	if err == nil && l.Link != nil {
		step(s.updateLink(l.Link))
	}
	if err == nil && l.OldLink != nil {
		step(s.dropLink(l.OldLink))
	}
	if err == nil && l.Session != nil {
		step(s.writeSession(l.Session, now))
	}
	if err == nil && l.Grant != nil {
		err = s.createGrant(l.Grant, now)
	}
	if err != nil {
		for _, back := range slices.Backward(undo) {
			back()
		}
		return err
	}
	if old := s.sessions.items[l.EndSession]; old != nil && l.EndSession != "" {
		s.removeSession(old.value)
	}
	setVersions(l)
	return nil
}

// setVersions tells the caller what was written.
func setVersions(l *store.Login) {
	if l.NewUser != nil {
		l.NewUser.Version = 1
	}
	if l.User != nil {
		l.User.Version++
	}
	if l.NewLink != nil {
		l.NewLink.Version = 1
	}
	if l.Link != nil {
		l.Link.Version++
	}
	if l.Session != nil {
		l.Session.Version++
	}
	if l.Grant != nil {
		l.Grant.Version = 1
	}
}

// Sweep implements [store.Sweeper]. Its cost grows with what it removes, not with what is kept.
func (s *Store) Sweep(ctx context.Context, limit int) (int, error) {
	n := 0
	err := s.write(ctx, func() error {
		now := s.now()
		for ; n < limit; n++ {
			if it := s.transient.oldest(now); it != nil {
				s.transient.remove(it.key)
			} else if it := s.sessions.oldest(now); it != nil {
				s.removeSession(it.value)
			} else if it := s.grants.oldest(now); it != nil {
				s.removeGrant(it.value)
			} else {
				break
			}
		}
		return nil
	})
	return n, err
}

// at is t as every store keeps it: UTC, to the microsecond, without a monotonic reading.
func at(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

var errQuery = errors.New("memstore: the query names nothing")
