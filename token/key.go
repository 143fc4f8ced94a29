package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Algorithms that the broker signs with, by their JWA names (RFC 7518 §3.1, RFC 8037 §3.1). EdDSA is Ed25519. Tokens of
// others are verified with their SHA-384 and SHA-512 relatives too, see [Remote]. "none" is in no list, and HMAC in none
// that is used unless it is named.
const (
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// RSA keys outside of these bounds are refused everywhere: below they can be factored, above they cost seconds.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// An algorithm binds a JWA name to what computes it and to the only keys that it may be computed with.
type algorithm struct {
	method jwt.SigningMethod
	fits   func(crypto.PublicKey) bool
}

var algorithms = map[string]algorithm{
	"RS256": {jwt.SigningMethodRS256, fitsRSA},
	"RS384": {jwt.SigningMethodRS384, fitsRSA},
	"RS512": {jwt.SigningMethodRS512, fitsRSA},
	"PS256": {jwt.SigningMethodPS256, fitsRSA},
	"PS384": {jwt.SigningMethodPS384, fitsRSA},
	"PS512": {jwt.SigningMethodPS512, fitsRSA},
	"ES256": {jwt.SigningMethodES256, fitsCurve(elliptic.P256())},
	"ES384": {jwt.SigningMethodES384, fitsCurve(elliptic.P384())},
	"ES512": {jwt.SigningMethodES512, fitsCurve(elliptic.P521())},
	"EdDSA": {jwt.SigningMethodEdDSA, fitsEd25519},
	HS256:   {anySecret{jwt.SigningMethodHS256}, fitsSecrets},
}

func fitsRSA(key crypto.PublicKey) bool {
	k, ok := key.(*rsa.PublicKey)
	if !ok || k == nil || k.N == nil {
		return false
	}
	// With an exponent of 1 every message is its own signature.
	return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits && k.E >= 3 && k.E%2 == 1
}

func fitsCurve(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(key crypto.PublicKey) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k != nil && k.Curve == curve
	}
}

func fitsEd25519(key crypto.PublicKey) bool {
	k, ok := key.(ed25519.PublicKey)
	return ok && len(k) == ed25519.PublicKeySize
}

// A Key signs. Its phases follow from NotBefore and from the keys around it, see [Ring].
//
// Formatting or marshalling a Key never shows its private half.
type Key struct {
	ID         string // the "kid", unique among all keys of an issuer; see [KeyID]
	Algorithm  string // RS256, PS256, ES256 or EdDSA
	Generation int    // counts up per algorithm, from 1
	// Private is an *rsa.PrivateKey of 2048 to 8192 bits, an *ecdsa.PrivateKey on P-256 or an ed25519.PrivateKey, as
	// Algorithm needs it. It comes from [GenerateKey] or [ParseKey].
	Private   crypto.Signer `json:"-"`
	NotBefore time.Time     // the first moment it may sign
}

// Format prints algorithm and id, whatever the verb.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "%s key %s", k.Algorithm, k.ID) }

// check says what is wrong with k as a signing key.
func (k Key) check() error {
	switch k.Algorithm {
	case RS256, PS256, ES256, EdDSA:
	default:
		return fmt.Errorf("key %s: algorithm %q is not one to sign with", k.ID, k.Algorithm)
	}
	if k.ID == "" || len(k.ID) > maxKeyID {
		return fmt.Errorf("%v: its id must have 1 to %d bytes", k, maxKeyID)
	}
	public, err := publicOf(k.Private)
	if err != nil {
		return fmt.Errorf("%v: %w", k, err)
	}
	if !algorithms[k.Algorithm].fits(public) {
		return fmt.Errorf("%v: private key does not fit the algorithm, or is too weak", k)
	}
	return nil
}

func publicOf(private crypto.Signer) (crypto.PublicKey, error) {
	switch p := private.(type) {
	case *rsa.PrivateKey:
		if p != nil && p.D != nil {
			return &p.PublicKey, nil
		}
	case *ecdsa.PrivateKey:
		if p != nil {
			return &p.PublicKey, nil
		}
	case ed25519.PrivateKey:
		if len(p) == ed25519.PrivateKeySize {
			return p.Public(), nil
		}
	}
	return nil, errors.New("private key is missing or of a kind that cannot sign here")
}

// GenerateKey makes a private key for [RS256], [PS256] (both RSA, 2048 bits), [ES256] or [EdDSA]. RSA takes up to a second.
func GenerateKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case RS256, PS256:
		return rsa.GenerateKey(rand.Reader, minRSABits)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("generate key: algorithm %q is not one to sign with", algorithm)
}

// KeyID returns the SHA-256 thumbprint of a public key (RFC 7638) in base64url, which makes a good [Key] ID.
func KeyID(public crypto.PublicKey) (string, error) {
	print, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("key id: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(print), nil
}

// MarshalKey encodes a private key as PKCS #8 (RFC 5208) in DER. It is a secret: seal it before it is stored.
func MarshalKey(private crypto.Signer) ([]byte, error) {
	if _, err := publicOf(private); err != nil {
		return nil, fmt.Errorf("marshal key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("marshal key: %w", err)
	}
	return der, nil
}

// ParseKey decodes what [MarshalKey] encoded, and refuses keys that no algorithm here could sign with. The key is
// precomputed: parse it once, not for each signature.
func ParseKey(der []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	private, _ := parsed.(crypto.Signer)
	public, err := publicOf(private)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	for _, name := range []string{RS256, ES256, EdDSA} {
		if algorithms[name].fits(public) {
			return private, nil
		}
	}
	return nil, errors.New("parse key: too weak, or of a kind that cannot sign here")
}

// A PublicKey verifies.
type PublicKey struct {
	ID        string           // the "kid", "" if its owner gave none
	Algorithm string           // the only algorithm it may be used with; "" is any that fits the kind of key
	Key       crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey; those of Secrets are Secrets
}

// fits reports whether a signature by algorithm may be verified with k at all.
func (k PublicKey) fits(algorithm string) bool {
	a, known := algorithms[algorithm]
	return known && (k.Algorithm == "" || k.Algorithm == algorithm) && a.fits(k.Key)
}
