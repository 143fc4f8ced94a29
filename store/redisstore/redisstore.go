// Package redisstore keeps sessions and transient values in Redis 7 or Valkey, where a database should be spared them. It
// imports no client: any will do, through the one method of [Doer].
//
// It owns two of a store's roles, [store.Sessions] and [store.Transient]; the others stay in a database, and [store.Parts]
// puts them together. With go-redis:
//
//	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
//	fast := redisstore.New(redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
//		reply, err := rdb.Do(ctx, args...).Result()
//		if errors.Is(err, redis.Nil) {
//			return nil, nil
//		}
//		return reply, err
//	}))
//	db := sqlstore.New(database)
//	s := store.Parts{Users: db, Links: db, Sessions: fast, Grants: db, Transient: fast, Keyring: db}
//
// # What Redis has to be like
//
// Set maxmemory-policy to noeviction. Everything here has a time to live, so that under any other policy a full Redis throws
// away what says that a token was used, or which sessions a user has. A full Redis that evicts nothing fails logins instead.
//
// Redis may forget everything at once: people sign in again, and applications whose refresh tokens hang on a session ask
// them to. It must not go back in time. A restart from an old snapshot (save without appendonly), a restored backup, or
// a replica that takes over without the last writes brings back sessions that were signed out and values that were taken.
// Persist nothing (save "", appendonly no), or with appendonly yes and appendfsync always (everysec: the last second may be
// undone, and as much as the replica is behind when one takes over). After a restore, FLUSHALL.
//
// # What is lost with it
//
// Users, links, grants, keys, and so authorization codes, refresh tokens and consents are not here: no code and no refresh
// token is redeemed twice whatever happens to Redis. What Transient kept for a moment is gone, and for the rest of
// that moment this is possible again:
//
//   - a login that a browser has begun and finished, once more by the same browser, as far as the upstream's answer was
//     kept in it sealed: ten minutes. An upstream that takes its own code once refuses most of it;
//   - a token that an upstream signed and that was exchanged for ours (RFC 8693), until it expires;
//   - a client's assertion (RFC 7523) and a DPoP proof (RFC 9449), for whoever has seen them, until they expire: minutes;
//   - an access token without a grant, or one that was exchanged, though it was revoked, until it expires: five minutes unless
//     the client says otherwise. Those with a grant stay revoked;
//   - guesses at user codes, which are counted from nought; the codes themselves are gone as well.
//
// A pushed request (RFC 9126) and a device that waits are gone with their marks and have to begin anew. Whoever cannot accept
// the list keeps Transient in the database and only Sessions here.
//
// # How it is kept
//
// A command or a script touches one key, or keys with one hash tag, so that Redis Cluster serves it; there is no KEYS and
// no SCAN. Sessions are found through sorted sets by user and by provider, whose members go with their scores once they
// have expired. What a session is found by is written before the session itself, and again with each update.
//
// A client that tries a command again whose answer was lost does no harm: what had been done counts as done by another, and
// the login fails. Times are told by the clock of [Store.Now], and Redis keeps everything a minute longer than that; clocks
// of nodes may be that far apart.
package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// A Doer is a Redis client, or a thin layer over one. It is safe for concurrent use.
type Doer interface {
	// Do sends one command and returns its reply: nil without an error for a nil reply, string or []byte for a string,
	// int64 for an integer, []any for an array. Every argument is a string. An error is that of Redis or of the way
	// there, and in particular none is nil: that would be taken for a value that is not there. Do ends when ctx does. A
	// client of a cluster sends EVAL to the node of its first key.
	Do(ctx context.Context, args ...any) (reply any, err error)
}

// DoFunc is a function as a [Doer].
type DoFunc func(ctx context.Context, args ...any) (reply any, err error)

// Do calls f.
func (f DoFunc) Do(ctx context.Context, args ...any) (any, error) { return f(ctx, args...) }

// Store keeps sessions and transient values. Make one with [New]; it must not be copied. Its fields are set before the first
// use.
type Store struct {
	// Prefix is in front of every key, so that one Redis can serve several; "" is "idbroker:".
	Prefix string
	// Timeout is how long a command may take, so that nobody waits for a Redis that does not answer; 0 is three seconds.
	Timeout time.Duration
	// Now tells the time by which things expire; nil is [time.Now].
	Now func() time.Time

	redis Doer
}

var (
	_ store.Sessions  = (*Store)(nil)
	_ store.Transient = (*Store)(nil)
)

// New returns a store in the Redis that d speaks to. It does no I/O. Closing the client is the caller's, after the last use.
func New(d Doer) *Store { return &Store{redis: d} }

const (
	defaultPrefix  = "idbroker:"
	defaultTimeout = 3 * time.Second
	// slack is how much longer Redis keeps a thing than it lives, in case clocks differ.
	slack = time.Minute
	// longest is how long it keeps anything: there is no end of time to count to.
	longest = 100 * 365 * 24 * time.Hour
)

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Store) key(kind, rest string) string { return cmp.Or(s.Prefix, defaultPrefix) + kind + rest }

// do sends a command. Its error has no value and no key in it that Redis does not put there.
func (s *Store) do(ctx context.Context, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, cmp.Or(s.Timeout, defaultTimeout))
	defer cancel()
	reply, err := s.redis.Do(limited, args...)
	if err != nil {
		// Clients have words of their own for a context that has ended.
		return nil, fmt.Errorf("redis %s: %w", args[0], cmp.Or(ctx.Err(), err))
	}
	return reply, nil
}

// eval runs a script that returns 1 if it has done what it is for, and 0 if it must not.
func (s *Store) eval(ctx context.Context, script string, keys []string, args ...string) (bool, error) {
	all := append(make([]any, 0, 3+len(keys)+len(args)), "EVAL", script, strconv.Itoa(len(keys)))
	for _, k := range keys {
		all = append(all, k)
	}
	for _, a := range args {
		all = append(all, a)
	}
	reply, err := s.do(ctx, all...)
	if err != nil {
		return false, err
	}
	switch reply {
	case int64(1):
		return true, nil
	case int64(0):
		return false, nil
	}
	return false, fmt.Errorf("redis EVAL: %w: %T", errReply, reply)
}

// value sends a command whose reply is a kept value, and returns it, or ErrNotFound for none.
func (s *Store) value(ctx context.Context, args ...any) (string, error) {
	reply, err := s.do(ctx, args...)
	if err != nil {
		return "", err
	}
	if reply == nil {
		return "", store.ErrNotFound
	}
	text, err := textOf(reply)
	if err != nil {
		return "", fmt.Errorf("redis %s: %w", args[0], err)
	}
	return text, nil
}

var errReply = errors.New("an unexpected reply")

func textOf(reply any) (string, error) {
	switch r := reply.(type) {
	case string:
		return r, nil
	case []byte:
		return string(r), nil
	}
	return "", fmt.Errorf("%w: %T", errReply, reply)
}

// Every value begins with when it expires, so that our clock is asked as well as that of Redis, and that scripts can tell.

const stampLen = 16

// stamp is a number as scripts read it, of a fixed length. Lua has no integers beyond 2⁵³: what would be later than the year
// 2255 is that moment, what would be before 1970 is that.
func stamp(n int64) string { return fmt.Sprintf("%0*d", stampLen, min(max(n, 0), 1<<53)) }

func stampTime(t time.Time) string { return stamp(t.UnixMicro()) }

var errValue = errors.New("redisstore: a value that this version has not written")

// expired splits a value and reports whether it has expired by our clock.
func (s *Store) expired(value string) (rest string, gone bool, err error) {
	if len(value) < stampLen {
		return "", false, errValue
	}
	end, err := strconv.ParseInt(value[:stampLen], 10, 64)
	if err != nil {
		return "", false, errValue
	}
	return value[stampLen:], end <= s.now().UnixMicro(), nil
}

// keep is how many milliseconds Redis has to keep what expires then. It is counted from now and not from any moment by the
// clock of Redis. What has expired is kept for a moment: Redis knows no time to live of nothing.
func (s *Store) keep(expires time.Time) string {
	left := min(max(expires.Sub(s.now()), -slack), longest) + slack
	return strconv.FormatInt(max(left.Milliseconds(), 1), 10)
}
