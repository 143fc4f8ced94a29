package token

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A KeySet is a [KeySource] that never changes, such as the keys that a client was registered with.
type KeySet []PublicKey

// ParseKeySet reads a JWK set (RFC 7517 §5) that somebody typed in: the keys that verify RS256, PS256, ES256 or EdDSA. Others
// are left out as the RFC has it, but it is an error if none is left, and if a key is private or symmetric: that one has
// to be replaced, as it is in the wrong hands.
func ParseKeySet(document []byte) (KeySet, error) {
	if _, err := parseObject(document); err != nil {
		return nil, errors.New("not a JSON object with each name once")
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	for i, raw := range set.Keys {
		if jwk, err := parseObject(raw); err != nil || jwk.private() {
			return nil, fmt.Errorf("key %d is not a public key", i)
		}
	}
	keys, err := parseJWKS(document, ownAlgorithms)
	if err == nil && len(keys) == 0 {
		err = errors.New("no key that a signature can be verified with")
	}
	return keys, err
}

// PublicKeys returns the keys with this id, or all of them if it is "".
func (s KeySet) PublicKeys(_ context.Context, id string, _ time.Time) ([]PublicKey, error) {
	if id == "" {
		return s, nil
	}
	var found []PublicKey
	for _, k := range s {
		if k.ID == id {
			found = append(found, k)
		}
	}
	return found, nil
}

// private reports whether a JWK has a member that is not for others (RFC 7518 §6, RFC 8037 §2): even one that this kind of
// key does not have says that somebody published what they should not.
func (o object) private() bool {
	return slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}, o.has)
}

// HS256 is HMAC with SHA-256 (RFC 7518 §3.2). It is for a [ClientAssertion] alone, by a client that shares a secret with
// the broker (client_secret_jwt, OpenID Connect Core §9); a [Parser] for that must name it in its Algorithms.
const HS256 = "HS256"

// minSecret is the least length of a key for HS256 (RFC 7518 §3.2).
const minSecret = 32

// Secrets are keys for [HS256], of at least 32 random bytes each, and any of them is accepted. They are a [KeySource] that
// has no key ids. Nothing else verifies HS256: no key that was published can pass for one of them.
type Secrets [][]byte

// PublicKeys returns the secrets as one key, whatever the id.
func (s Secrets) PublicKeys(_ context.Context, id string, _ time.Time) ([]PublicKey, error) {
	return []PublicKey{{ID: id, Algorithm: HS256, Key: s}}, nil
}

// Format prints no secret, whatever the verb.
func (s Secrets) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%d secrets", len(s)) }

// LogValue logs no secret.
func (s Secrets) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

func fitsSecrets(key crypto.PublicKey) bool {
	s, ok := key.(Secrets)
	return ok && len(s) > 0 && !slices.ContainsFunc(s, func(secret []byte) bool { return len(secret) < minSecret })
}

// anySecret verifies with each of the secrets.
type anySecret struct{ *jwt.SigningMethodHMAC }

func (m anySecret) Verify(signed string, signature []byte, key any) error {
	secrets, ok := key.(Secrets)
	if !ok {
		return jwt.ErrInvalidKeyType
	}
	verified := false
	for _, secret := range secrets {
		if m.SigningMethodHMAC.Verify(signed, signature, secret) == nil {
			verified = true
		}
	}
	if !verified {
		return jwt.ErrSignatureInvalid
	}
	return nil
}
