package redisstore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// transientKey has the length of the purpose in it, so that no two pairs are one key.
func (s *Store) transientKey(purpose, key string) string {
	return s.key("t:", strconv.Itoa(len(purpose))+":"+purpose+":"+key)
}

// Put implements [store.Transient].
func (s *Store) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	_, err := s.do(ctx, "SET", s.transientKey(purpose, key), stampTime(expires)+string(value), "PX", s.keep(expires))
	return err
}

// scriptAdd writes what is not there, or has expired by our clock and not yet by that of Redis.
const scriptAdd = `local old = redis.call('GET', KEYS[1])
if old and tonumber(string.sub(old, 1, 16)) > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

// Add implements [store.Transient].
func (s *Store) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return s.add(ctx, s.transientKey(purpose, key), stampTime(expires)+string(value), expires)
}

func (s *Store) add(ctx context.Context, key, value string, expires time.Time) error {
	added, err := s.eval(ctx, scriptAdd, []string{key}, value, s.keep(expires), stampTime(s.now()))
	if err == nil && !added {
		err = store.ErrExists
	}
	return err
}

// Get implements [store.Transient].
func (s *Store) Get(ctx context.Context, purpose, key string) ([]byte, error) {
	return s.live(s.value(ctx, "GET", s.transientKey(purpose, key)))
}

// Take implements [store.Transient].
func (s *Store) Take(ctx context.Context, purpose, key string) ([]byte, error) {
	return s.live(s.value(ctx, "GETDEL", s.transientKey(purpose, key)))
}

// live returns what is in a value that has not expired.
func (s *Store) live(value string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	rest, gone, err := s.expired(value)
	if gone {
		err = errors.Join(err, store.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return []byte(rest), nil
}
