package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/go-idbroker/idbroker/store"
)

// minKey is the least length of a key in bytes.
const minKey = 32

// Keys are the keys that seal, each known by an id of 1 to 255 bytes that is no secret. They must be safe for concurrent use.
// Those of a program's configuration are made by [FromSecrets]. To have a KMS hold the master key, configure each key as what
// the KMS made of it, and have Open ask the KMS for the key itself.
type Keys interface {
	// Current returns the id of the key that seals. It is asked for each value, so it answers from memory.
	Current(ctx context.Context) (id string, err error)
	// Open returns the key with an id, of at least 32 random bytes that stay the same for ever, or [ErrNoKey] if there is
	// none. It may take its time: the key is kept, and of those who need it at the same time one asks. An error is not kept.
	Open(ctx context.Context, id string) (key []byte, err error)
}

// FromSecrets returns keys out of memory: the first seals, the others still open. Each has at least 32 random bytes, and its id
// follows from it. The same secrets may serve other purposes of idbroker, as those of the broker's Config do.
func FromSecrets(secrets ...[]byte) (Keys, error) {
	if len(secrets) == 0 {
		return nil, errors.New("seal: give at least one secret of 32 random bytes")
	}
	s := &static{byID: map[string][]byte{}}
	for i, secret := range secrets {
		k, err := newKey(secret)
		if err != nil {
			return nil, fmt.Errorf("seal: secret %d: %w", i, err)
		}
		id, err := hkdf.Expand(sha256.New, k, "id", 8)
		if err != nil {
			return nil, err
		}
		name := hex.EncodeToString(id)
		if i == 0 {
			s.current = name
		}
		s.byID[name] = append([]byte(nil), secret...)
	}
	return s, nil
}

type static struct {
	current string
	byID    map[string][]byte
}

func (s *static) Current(context.Context) (string, error) { return s.current, nil }

func (s *static) Open(_ context.Context, id string) ([]byte, error) {
	if secret, ok := s.byID[id]; ok {
		return secret, nil
	}
	return nil, ErrNoKey
}

// maxKept is how many keys are kept. More than a few are not in use unless somebody makes ids up.
const maxKept = 64

// A cache asks for each key once.
type cache struct {
	keys Keys

	mu   sync.Mutex
	kept map[string]*entry
}

// An entry is a key, or one that is being asked for until done is closed. Its fields are set before that.
type entry struct {
	done chan struct{}
	key  key
	err  error
}

var errNilKeys = errors.New("the keys are nil")

func (c *cache) current(ctx context.Context) (string, key, error) {
	if c.keys == nil {
		return "", nil, errNilKeys
	}
	id, err := c.keys.Current(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("current key: %w", plainly(err))
	}
	if len(id) == 0 || len(id) > 255 {
		return "", nil, fmt.Errorf("current key: its id has %d bytes, not 1 to 255", len(id))
	}
	k, err := c.get(ctx, []byte(id))
	return id, k, err
}

func (c *cache) get(ctx context.Context, id []byte) (key, error) {
	if c.keys == nil {
		return nil, errNilKeys
	}
	for {
		e, first := c.entry(id)
		if first {
			c.ask(ctx, string(id), e)
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Who asked may have been called off, which is no news for those who wait.
		if called := errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded); called && !first && ctx.Err() == nil {
			continue
		}
		return e.key, e.err
	}
}

// entry returns what is known about a key, and whether the caller is the first and has to ask.
func (c *cache) entry(id []byte) (e *entry, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[string(id)]; e != nil {
		return e, false
	}
	if c.kept == nil {
		c.kept = map[string]*entry{}
	}
	for other := range c.kept {
		if len(c.kept) < maxKept {
			break
		}
		delete(c.kept, other)
	}
	e = &entry{done: make(chan struct{})}
	c.kept[string(id)] = e
	return e, true
}

func (c *cache) ask(ctx context.Context, id string, e *entry) {
	e.err = errors.New("seal: Keys.Open panicked") // unless it returns
	defer func() {
		if e.err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.kept[id] == e {
				delete(c.kept, id)
			}
		}
		close(e.done)
	}()
	secret, err := c.keys.Open(ctx, id)
	if err == nil {
		e.key, err = newKey(secret)
	}
	if e.err = nil; err != nil {
		e.err = fmt.Errorf("key %q: %w", id, plainly(err))
	}
}

// plainly keeps an error of keys from being taken for what a store says.
func plainly(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) {
		return errors.New(err.Error())
	}
	return err
}
