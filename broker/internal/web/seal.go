package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// MinSecret is the least length of a secret in bytes.
const MinSecret = 32

// ErrSealed is returned for whatever cannot be opened: it was altered, sealed for something else, or with another secret.
var ErrSealed = errors.New("web: cannot be opened")

// A Sealer encrypts and authenticates what browsers and applications keep for the broker, to come back unread and unaltered;
// what the store keeps, the package store/seal seals. It seals with the first secret and opens with any, so that secrets can
// be exchanged. It is safe for concurrent use.
type Sealer struct {
	keys []sealKey
}

type sealKey struct {
	id   [4]byte // tells which secret it was, so that opening tries one
	aead cipher.AEAD
}

// NewSealer makes a Sealer of secrets of at least [MinSecret] bytes each, of which there must be one.
func NewSealer(secrets [][]byte) (*Sealer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("give at least one of 32 random bytes, for instance from crypto/rand")
	}
	s := &Sealer{}
	for i, secret := range secrets {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("number %d has %d bytes: give at least %d random ones", i, len(secret), MinSecret)
		}
		k, err := newSealKey(secret)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

func newSealKey(secret []byte) (sealKey, error) {
	var k sealKey
	derived, err := hkdf.Key(sha256.New, secret, nil, "idbroker seal v1", 32+len(k.id))
	if err != nil {
		return k, err
	}
	copy(k.id[:], derived[32:])
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		return k, err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// Seal returns plaintext sealed for purpose and context, as text that is safe in cookies and URLs. Only an Open with
// the same purpose and context gets it back.
func (s *Sealer) Seal(purpose, context string, plaintext []byte) string {
	k := &s.keys[0]
	out := make([]byte, 0, len(k.id)+len(plaintext)+k.aead.Overhead())
	out = append(out, k.id[:]...)
	return base64.RawURLEncoding.EncodeToString(k.aead.Seal(out, nil, plaintext, additional(purpose, context)))
}

// Open returns what was sealed, or ErrSealed.
func (s *Sealer) Open(purpose, context, sealed string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || strings.ContainsAny(sealed, "\r\n") { // which even a strict decoder passes over
		return nil, ErrSealed
	}
	for i := range s.keys {
		k := &s.keys[i]
		if len(raw) < len(k.id) || [4]byte(raw[:4]) != k.id {
			continue
		}
		if plain, err := k.aead.Open(nil, nil, raw[len(k.id):], additional(purpose, context)); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}

// additional joins the two so that no other pair gives the same bytes: purposes are constants without NUL.
func additional(purpose, context string) []byte {
	return []byte(purpose + "\x00" + context)
}
