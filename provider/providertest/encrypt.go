package providertest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

var (
	encryptionAlgs = []string{"RSA-OAEP-256", "RSA-OAEP", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"}
	encryptionEncs = []string{"A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"}
)

// Faults of what is encrypted. They do nothing to a client without EncryptionAlg, and all but the first are errors there.
const (
	EncryptionAbsent   Fault = "encryption: absent" // signed and no more
	EncryptionKeyWrong Fault = "encryption: to another key, with the client's kid"
	EncryptionTampered Fault = "encryption: tag wrong"
	EncryptionCut      Fault = "encryption: content cut"
	EncryptionHeader   Fault = "encryption: header changed afterwards"
	EncryptionRSA15    Fault = "encryption: RSA1_5"
	EncryptionDirect   Fault = "encryption: dir with the client secret"
	EncryptionPassword Fault = "encryption: PBES2 with the client secret"
	EncryptionZip      Fault = "encryption: zip"
	EncryptionCrit     Fault = "encryption: unknown crit"
	EncryptionTyp      Fault = "encryption: typ at+jwt"
	EncryptionCty      Fault = "encryption: cty json"
	EncryptionTwice    Fault = "encryption: nested twice"
	EncryptionUnsigned Fault = "encryption: alg none inside"
	EncryptionClaims   Fault = "encryption: claims inside" // no JWS at all
	EncryptionForeign  Fault = "encryption: signed by another key inside"
)

var encryptionFaults = []Fault{
	EncryptionAbsent, EncryptionKeyWrong, EncryptionTampered, EncryptionCut, EncryptionHeader, EncryptionRSA15, EncryptionDirect,
	EncryptionPassword, EncryptionZip, EncryptionCrit, EncryptionTyp, EncryptionCty, EncryptionTwice, EncryptionUnsigned,
	EncryptionClaims, EncryptionForeign,
}

// EncryptionFaults returns every fault of what is encrypted to a client with EncryptionAlg. They are not among [Faults].
func EncryptionFaults() []Fault { return slices.Clone(encryptionFaults) }

// encryptionKey finds the key of the client that is encrypted to.
func (c Client) encryptionKey() (jose.JSONWebKey, error) {
	if !slices.Contains(encryptionAlgs, c.EncryptionAlg) || c.EncryptionEnc != "" && !slices.Contains(encryptionEncs, c.EncryptionEnc) {
		return jose.JSONWebKey{}, fmt.Errorf("no encryption with %q and %q", c.EncryptionAlg, c.EncryptionEnc)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(c.JWKS, &set); err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("JWKS: %w", err)
	}
	for _, k := range set.Keys {
		if k.Use == "enc" && k.Algorithm == c.EncryptionAlg && k.IsPublic() {
			return k, nil
		}
	}
	return jose.JSONWebKey{}, errors.New("JWKS has no public key to encrypt to")
}

// encrypted signs j and, for a client that wants that, encrypts it (RFC 7519 §11.2).
func (o *OIDC) encrypted(s *script, c Client, j *jwt) (string, error) {
	if c.EncryptionAlg == "" || s.has(EncryptionAbsent) {
		return j.compact()
	}
	switch {
	case s.has(EncryptionUnsigned):
		j.unsigned()
	case s.has(EncryptionForeign):
		j.sign = o.foreignKey(j.key.alg).sign
	}
	plain, err := j.compact()
	if err != nil {
		return "", err
	}
	if s.has(EncryptionClaims) {
		claims, err := json.Marshal(j.claims)
		if err != nil {
			return "", err
		}
		plain = string(claims)
	}
	token, err := encrypt(s, c, j, plain)
	if err == nil && s.has(EncryptionTwice) {
		token, err = encrypt(s, c, j, token)
	}
	return token, err
}

func encrypt(s *script, c Client, j *jwt, plain string) (string, error) {
	key, err := c.encryptionKey()
	if err != nil {
		return "", err
	}
	to := jose.Recipient{Algorithm: jose.KeyAlgorithm(c.EncryptionAlg), Key: key.Key, KeyID: key.KeyID}
	enc := jose.A256GCM
	if c.EncryptionEnc != "" {
		enc = jose.ContentEncryption(c.EncryptionEnc)
	}
	secret := sha256.Sum256(j.secret) // as the 32 bytes that a key needs
	options := (&jose.EncrypterOptions{}).WithContentType("JWT").WithType("JWT")
	switch {
	case s.has(EncryptionKeyWrong):
		to.Key, err = otherKey(key)
	case s.has(EncryptionRSA15):
		to.Algorithm = jose.RSA1_5
		if _, ok := to.Key.(*rsa.PublicKey); !ok {
			to.Key, err = otherKey(jose.JSONWebKey{Key: &rsa.PublicKey{}})
		}
	case s.has(EncryptionDirect):
		to.Algorithm, to.Key, enc = jose.DIRECT, secret[:], jose.A256GCM
	case s.has(EncryptionPassword):
		to.Algorithm, to.Key, to.PBES2Count = jose.PBES2_HS256_A128KW, secret[:], 1000
	case s.has(EncryptionZip):
		options.Compression = jose.DEFLATE
	case s.has(EncryptionCrit):
		options = options.WithHeader("crit", []string{"example"}).WithHeader("example", true)
	case s.has(EncryptionTyp):
		options = options.WithType("at+jwt")
	case s.has(EncryptionCty):
		options = options.WithContentType("json")
	}
	if err != nil {
		return "", err
	}
	encrypter, err := jose.NewEncrypter(enc, to, options)
	if err != nil {
		return "", err
	}
	object, err := encrypter.Encrypt([]byte(plain))
	if err != nil {
		return "", err
	}
	token, err := object.CompactSerialize()
	if err != nil {
		return "", err
	}
	return spoilEncrypted(s, token), nil
}

// otherKey makes a key of the same kind, whose private half nobody has.
func otherKey(like jose.JSONWebKey) (any, error) {
	alg := "ES256"
	if _, ok := like.Key.(*rsa.PublicKey); ok {
		alg = "RS256"
	}
	k, err := newKey(alg)
	if err != nil {
		return nil, err
	}
	return k.signer.Public(), nil
}

// spoilEncrypted changes what was encrypted on its way.
func spoilEncrypted(s *script, token string) string {
	parts := strings.Split(token, ".")
	switch {
	case s.has(EncryptionTampered):
		parts[4] = otherFirst(parts[4])
	case s.has(EncryptionCut):
		parts[3] = ""
	case s.has(EncryptionHeader):
		header, _ := base64.RawURLEncoding.DecodeString(parts[0]) // it was encoded a moment ago
		parts[0] = b64([]byte(`{"x":"` + rand.Text() + `",` + string(header[1:])))
	}
	return strings.Join(parts, ".")
}

// otherFirst changes the first character, all of whose bits count.
func otherFirst(part string) string {
	if part[0] == 'A' {
		return "B" + part[1:]
	}
	return "A" + part[1:]
}
