package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

const (
	issuer   = "https://broker.example"
	audience = "https://api.example"
)

var (
	algorithms = []string{token.RS256, token.PS256, token.ES256, token.EdDSA}
	epoch      = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// private returns one private key per algorithm for all tests, as RSA keys take long to make.
var private = func() func(string) crypto.Signer {
	keys := make(map[string]func() crypto.Signer)
	for _, a := range algorithms {
		keys[a] = sync.OnceValue(func() crypto.Signer {
			k, err := token.GenerateKey(a)
			if err != nil {
				panic(err)
			}
			return k
		})
	}
	return func(algorithm string) crypto.Signer { return keys[algorithm]() }
}()

// newKey returns a key that may sign since long before epoch, with its algorithm as its id.
func newKey(algorithm string) token.Key {
	return token.Key{
		ID: algorithm, Algorithm: algorithm, Generation: 1, Private: private(algorithm), NotBefore: epoch.Add(-time.Hour),
	}
}

// newRing returns a ring with a signing key for each of the algorithms; none is all.
func newRing(tb testing.TB, names ...string) *token.Ring {
	tb.Helper()
	if names == nil {
		names = algorithms
	}
	var keys []token.Key
	for _, a := range names {
		keys = append(keys, newKey(a))
	}
	return mustRing(tb, token.Schedule{}, keys...)
}

func mustRing(tb testing.TB, s token.Schedule, keys ...token.Key) *token.Ring {
	tb.Helper()
	r, err := token.NewRing(s, keys...)
	if err != nil {
		tb.Fatalf("NewRing: %v", err)
	}
	return r
}

type claims map[string]any

// access returns the claims of a good access token, changed by changes; nil takes a claim away.
func access(changes claims) claims {
	c := claims{
		"iss": issuer, "sub": "user", "aud": audience, "exp": epoch.Unix() + 300, "iat": epoch.Unix(), "jti": "id",
		"client_id": "client", "scope": "read write",
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func newParser(keys token.KeySource) *token.Parser {
	return &token.Parser{
		Type: token.AccessToken, Issuer: issuer, Audience: audience, Keys: keys, Now: func() time.Time { return epoch },
	}
}

// sign signs claims as an access token with the ring.
func sign(tb testing.TB, r *token.Ring, algorithm string, c claims) string {
	tb.Helper()
	raw, err := r.Sign(epoch, algorithm, token.AccessToken, c)
	if err != nil {
		tb.Fatalf("Sign: %v", err)
	}
	return raw
}

// forge builds a token of anything by hand, without the code under test.
func forge(header, payload string, key any) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(rawSignature(signed, key))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// pss asks rawSignature for PS256.
type pss struct{ *rsa.PrivateKey }

// rawSignature signs with the 256-bit algorithm of the key; a []byte is a key for HS256, nil gives an empty signature.
func rawSignature(signed string, key any) []byte {
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	switch k := key.(type) {
	case nil:
	case []byte:
		m := hmac.New(sha256.New, k)
		m.Write([]byte(signed))
		signature = m.Sum(nil)
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(nil, k, crypto.SHA256, digest[:])
	case pss:
		signature, err = rsa.SignPSS(rand.Reader, k.PrivateKey, crypto.SHA256, digest[:], nil)
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, digest[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(signed))
	default:
		panic("no such key")
	}
	if err != nil {
		panic(err)
	}
	return signature
}

// bareKey returns the private key of an algorithm as rawSignature wants it.
func bareKey(algorithm string) any {
	if algorithm == token.PS256 {
		return pss{private(algorithm).(*rsa.PrivateKey)}
	}
	return private(algorithm)
}

// bareVerify verifies with the standard library alone.
func bareVerify(signed string, signature []byte, public crypto.PublicKey, algorithm string) bool {
	digest := sha256.Sum256([]byte(signed))
	switch k := public.(type) {
	case *rsa.PublicKey:
		return algorithm == token.RS256 && rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil ||
			algorithm == token.PS256 && rsa.VerifyPSS(k, crypto.SHA256, digest[:], signature, nil) == nil
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(signature[:len(signature)/2]), new(big.Int).SetBytes(signature[len(signature)/2:])
		return len(signature) == 64 && ecdsa.Verify(k, digest[:], r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(k, []byte(signed), signature)
	}
	return false
}

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
