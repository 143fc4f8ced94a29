package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-idbroker/idbroker/store"
)

func (s *Store) sessionKey(id string) string { return s.key("s:", id) }

// digest is a key of any length and any bytes as a short one. Were two the same, what is found would still be looked at.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

func (s *Store) userIndex(userID string) string { return s.key("u:", digest(userID)) }

// What is found by a provider has its hash tag: one script writes it all.
func (s *Store) providerIndex(provider string) string { return s.key("p:", "{"+digest(provider)+"}") }

func (s *Store) subjectIndex(provider, subject string) string {
	return s.providerIndex(provider) + ":sub:" + digest(subject)
}

func (s *Store) upstreamIndex(provider, session string) string {
	return s.providerIndex(provider) + ":sid:" + digest(session)
}

// indexes are the keys that lead to n, in lists that each are of one hash tag.
func (s *Store) indexes(n *store.Session) [][]string {
	all := [][]string{{s.userIndex(n.UserID)}}
	if p := n.Upstream.Provider; p != "" {
		of := []string{s.providerIndex(p), s.subjectIndex(p, n.Upstream.Subject)}
		if n.UpstreamSession != "" {
			of = append(of, s.upstreamIndex(p, n.UpstreamSession))
		}
		all = append(all, of)
	}
	return all
}

// value of a session: when it expires, its version, and the rest of it.
func sessionValue(n *store.Session, version int64) string {
	return stampTime(n.ExpiresAt) + stamp(version) + string(encode(n))
}

// session reads a value. One that has expired comes with ErrNotFound.
func (s *Store) session(id, value string) (*store.Session, error) {
	rest, gone, err := s.expired(value)
	if err != nil {
		return nil, err
	}
	if len(rest) < stampLen {
		return nil, errValue
	}
	version, err := strconv.ParseInt(rest[:stampLen], 10, 64)
	if err != nil {
		return nil, errValue
	}
	n := &store.Session{ID: id, Version: version}
	if err := decode(n, rest[stampLen:]); err != nil {
		return nil, err
	}
	if gone {
		return n, store.ErrNotFound
	}
	return n, nil
}

// Session implements [store.Sessions].
func (s *Store) Session(ctx context.Context, id string) (*store.Session, error) {
	value, err := s.value(ctx, "GET", s.sessionKey(id))
	if err != nil {
		return nil, err
	}
	n, err := s.session(id, value)
	if err != nil {
		return nil, err
	}
	return n, nil
}

var errQuery = errors.New("redisstore: the query names nothing")

// FindSessions implements [store.Sessions]. It asks Redis once for the ids and once for each session.
func (s *Store) FindSessions(ctx context.Context, q store.SessionQuery) ([]*store.Session, error) {
	var key string
	switch {
	case q.UserID != "":
		key = s.userIndex(q.UserID)
	case q.Provider == "":
		return nil, errQuery
	case q.UpstreamSession != "":
		key = s.upstreamIndex(q.Provider, q.UpstreamSession)
	case q.Subject != "":
		key = s.subjectIndex(q.Provider, q.Subject)
	default:
		key = s.providerIndex(q.Provider)
	}
	ids, err := s.ids(ctx, key)
	if err != nil {
		return nil, err
	}
	found := []*store.Session{}
	for _, id := range ids {
		// An id may lead to nothing: its session has ended, is not written yet, or never was.
		n, err := s.Session(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil && names(q, n) {
			found = append(found, n)
		}
	}
	slices.SortFunc(found, func(a, b *store.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

func (s *Store) ids(ctx context.Context, key string) ([]string, error) {
	reply, err := s.do(ctx, "ZRANGEBYSCORE", key, "("+stampTime(s.now()), "+inf")
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("redis ZRANGEBYSCORE: %w: %T", errReply, reply)
	}
	ids := make([]string, len(list))
	for i, v := range list {
		if ids[i], err = textOf(v); err != nil {
			return nil, fmt.Errorf("redis ZRANGEBYSCORE: %w", err)
		}
	}
	return ids, nil
}

func names(q store.SessionQuery, n *store.Session) bool {
	return (q.UserID == "" || q.UserID == n.UserID) &&
		(q.Provider == "" || q.Provider == n.Upstream.Provider) &&
		(q.Issuer == "" || q.Issuer == n.Upstream.Issuer) &&
		(q.Subject == "" || q.Subject == n.Upstream.Subject) &&
		(q.UpstreamSession == "" || q.UpstreamSession == n.UpstreamSession)
}

// CreateSession implements [store.Sessions].
func (s *Store) CreateSession(ctx context.Context, n *store.Session) error {
	if err := s.index(ctx, n); err != nil {
		return err
	}
	if err := s.add(ctx, s.sessionKey(n.ID), sessionValue(n, 1), n.ExpiresAt); err != nil {
		return err
	}
	n.Version = 1
	return nil
}

const (
	// scriptUpdate replaces the version that it is told.
	scriptUpdate = `local old = redis.call('GET', KEYS[1])
if not old or tonumber(string.sub(old, 1, 16)) <= tonumber(ARGV[3]) or string.sub(old, 17, 32) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

	// scriptIndex adds an id, removes those that have expired for long, and sees that the key goes with its last. A score is
	// only ever raised: a session that lives on must not be lost because an update of it was to end it sooner and failed.
	scriptIndex = `for _, key in ipairs(KEYS) do
redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[4])
redis.call('ZADD', key, 'GT', ARGV[2], ARGV[1])
if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
end
return 1`

	scriptUnindex = `for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 1`
)

// UpdateSession implements [store.Sessions]. What it was found by before still leads to it until it expires, and is not
// what a query finds.
func (s *Store) UpdateSession(ctx context.Context, n *store.Session) error {
	if err := s.index(ctx, n); err != nil {
		return err
	}
	updated, err := s.eval(ctx, scriptUpdate, []string{s.sessionKey(n.ID)}, sessionValue(n, n.Version+1), s.keep(n.ExpiresAt),
		stampTime(s.now()), stamp(n.Version))
	if err != nil {
		return err
	}
	if !updated {
		return store.ErrConflict
	}
	n.Version++
	return nil
}

// index lets n be found. It comes before n is written: a session that nobody finds could not be signed out.
func (s *Store) index(ctx context.Context, n *store.Session) error {
	expired := stampTime(s.now().Add(-slack))
	for _, keys := range s.indexes(n) {
		if _, err := s.eval(ctx, scriptIndex, keys, n.ID, stampTime(n.ExpiresAt), s.keep(n.ExpiresAt), expired); err != nil {
			return err
		}
	}
	return nil
}

// DeleteSession implements [store.Sessions].
func (s *Store) DeleteSession(ctx context.Context, id string) error {
	value, err := s.value(ctx, "GETDEL", s.sessionKey(id))
	if err != nil {
		return err
	}
	n, err := s.session(id, value)
	if n == nil {
		return nil // it was one of another version, and is gone
	}
	for _, keys := range s.indexes(n) {
		// The session has ended. What is left in an index if this fails leads to nothing, and expires.
		_, _ = s.eval(ctx, scriptUnindex, keys, id)
	}
	return err
}
