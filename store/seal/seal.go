// Package seal encrypts what is secret before a store gets it.
//
// It owns the envelope and the order of keys, and keeps nothing. Every store.Store can be put behind it; the package broker
// does so with what Config.Store names, unless the host has done it already to hold the keys elsewhere than in Config.Secrets:
//
//	keys, err := seal.FromSecrets(secret) // or Keys of your own, over a KMS
//	if err != nil {
//		return err
//	}
//	sealed := seal.New(keys).Store(sqlstore.New(db))
//	b, err := broker.New(broker.Config{Store: sealed, ClientStore: sealed, …
//
// Sealed are the tokens and ID tokens of upstreams, the answers that are kept for repeated refreshes, private keys, secrets
// of clients, credentials, and all transient values. Hashes of handles and what identifies people are not: they are looked
// for, and a broker cannot look for what it cannot compare.
//
// # Envelope
//
// A sealed value is "idb", a version byte, the length of the key's id, the id, and what AES-256-GCM makes of the value with
// a random nonce. The key of that is derived from the one that the id names (HKDF-SHA-256, RFC 5869) for the value's place:
// the field, and the key of its record. So a value that was copied to another record, or to another field, opens no more
// than one that was altered; and the 2³² values that random nonces are good for (NIST SP 800-38D §8.3) are those of one
// field of one record, and no sum that anybody has to watch.
//
// What cannot be opened is an error that says which key was missing: it is never taken for absent, nor for empty.
//
// # Rotation
//
// Put the new key first and keep the old one. From then on whatever is written is sealed with the new one. [Store.Reseal]
// does the same to what is not written by itself. Once it has returned without an error on a store that no program with the
// old order writes any more, the old key is needed for what lives for minutes, and an hour later for nothing.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-idbroker/idbroker/store"
)

// Errors of values that cannot be opened, to be told by [errors.Is]. None of them is ever one of the sentinels of store.
var (
	// ErrNoKey: the key that sealed the value is not there; the error names it.
	ErrNoKey = errors.New("seal: key is missing")
	// ErrNotSealed: the value was written by somebody who does not seal.
	ErrNotSealed = errors.New("seal: value is not sealed")
	// ErrAltered: the value was changed, or sealed for another place, or what has the id of its key now is not that key.
	ErrAltered = errors.New("seal: value was altered or is not of this place")
)

// magic begins each envelope; its last byte is the version.
const magic = "idb\x01"

// A Sealer seals with the current one of its keys and opens with any. It is safe for concurrent use.
type Sealer struct {
	// InsecureAcceptPlaintext takes a value that is not sealed for what it says, instead of refusing it: for the time in which
	// the values of a store that was not sealed are sealed by [Store.Reseal]. Who can write to the store can set passwords
	// and secrets then. Set it before the first use.
	InsecureAcceptPlaintext bool

	cache cache
}

// New returns a Sealer with these keys.
func New(keys Keys) *Sealer { return &Sealer{cache: cache{keys: keys}} }

// Insecure names the settings that weaken it.
func (s *Sealer) Insecure() []string {
	if s.InsecureAcceptPlaintext {
		return []string{"seal: InsecureAcceptPlaintext"}
	}
	return nil
}

// A place is where a value rests: its field, and the key of its record.
type place []byte

// at joins the parts so that no others give the same.
func at(field store.SecretField, row ...string) place {
	size := len(field) + 2*len(row) + 2
	for _, part := range row {
		size += len(part)
	}
	p := append(make(place, 0, size), field...)
	for _, part := range row {
		p = binary.AppendUvarint(append(p, 0), uint64(len(part))) // fields are constants without NUL
		p = append(p, part...)
	}
	return p
}

func (p place) field() string {
	for i, c := range p {
		if c == 0 {
			return string(p[:i])
		}
	}
	return string(p)
}

// seal returns the envelope of a value.
func (s *Sealer) seal(ctx context.Context, p place, plain []byte) ([]byte, error) {
	id, k, err := s.cache.current(ctx)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", p.field(), err)
	}
	aead, err := k.aead(p)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", p.field(), err)
	}
	out := make([]byte, 0, len(magic)+1+len(id)+len(plain)+aead.Overhead())
	out = append(out, magic...)
	out = append(out, byte(len(id))) //nolint:gosec // 1 to 255, as the cache has checked
	out = append(out, id...)
	return aead.Seal(out, nil, plain, nil), nil
}

// open returns what is in the envelope.
func (s *Sealer) open(ctx context.Context, p place, sealed []byte) ([]byte, error) {
	id, box, ok := split(sealed)
	if !ok {
		if s.InsecureAcceptPlaintext && !isEnvelope(sealed) {
			return sealed, nil
		}
		return nil, fmt.Errorf("open %s: %w", p.field(), ErrNotSealed)
	}
	k, err := s.cache.get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.field(), err)
	}
	aead, err := k.aead(p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.field(), err)
	}
	plain, err := aead.Open(nil, nil, box, nil)
	if err != nil {
		return nil, fmt.Errorf("open %s, which key %q has sealed: %w", p.field(), id, ErrAltered)
	}
	return plain, nil
}

// split cuts an envelope into the id of its key and what that has sealed.
func split(sealed []byte) (id, box []byte, ok bool) {
	if !isEnvelope(sealed) || len(sealed) == len(magic) {
		return nil, nil, false
	}
	n, rest := int(sealed[len(magic)]), sealed[len(magic)+1:]
	if n == 0 || len(rest) < n {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

func isEnvelope(value []byte) bool {
	return len(value) >= len(magic) && string(value[:len(magic)]) == magic
}

// A key is what the keys of places are derived from.
type key []byte

func newKey(secret []byte) (key, error) {
	if len(secret) < minKey {
		return nil, fmt.Errorf("it has %d bytes: at least %d random ones are needed", len(secret), minKey)
	}
	return hkdf.Extract(sha256.New, secret, []byte("idbroker store/seal v1"))
}

func (k key) aead(p place) (cipher.AEAD, error) {
	derived, err := hkdf.Expand(sha256.New, k, string(p), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
