package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
	"github.com/go-idbroker/idbroker/token"
)

const (
	// maxEncryptedLen has room for a signed JWT of maxTokenLen, in base64url once more, and for what is around it.
	maxEncryptedLen   = maxTokenLen*4/3 + 4<<10
	maxDecryptionKeys = 8 // each of them may be tried on what anybody sends
	maxKeyID          = 256
	minRSABits        = 2048
	maxRSABits        = 8192
	descriptorMaxAge  = time.Hour
)

// errNotForUs is all that is said of what does not open, whatever the reason: who tries must not learn how far they came.
var errNotForUs = errors.New("it cannot be decrypted with any of DecryptionKeys")

// defaultEncryption is what content may be encrypted with unless the configuration says more.
var defaultEncryption = []string{string(jose.A128GCM), string(jose.A192GCM), string(jose.A256GCM)}

// knownEncryption is what the configuration may name.
var knownEncryption = append(slices.Clone(defaultEncryption), string(jose.A128CBC_HS256), string(jose.A256CBC_HS512))

// open returns the signed JWT in an encrypted one (RFC 7519 §5.2, §11.2), or what is not encrypted as it is, unless it is
// required to be. Nothing of what it returns is verified yet, as anybody can encrypt to a public key.
func (p *Provider) open(raw string, required bool, types ...string) (string, error) {
	switch encrypted := strings.Count(raw, ".") == 4; { // RFC 7516 §9
	case !encrypted && required:
		return "", errors.New("it is not encrypted")
	case !encrypted:
		return raw, nil
	case len(p.cfg.DecryptionKeys) == 0:
		return "", errors.New("it is not a signed JWT but an encrypted one, and there are no DecryptionKeys")
	case len(raw) > maxEncryptedLen:
		return "", fmt.Errorf("it has %d bytes", len(raw))
	}
	h, err := p.encryptionHeader(raw, types)
	if err != nil {
		return "", err
	}
	object, err := jose.ParseEncryptedCompact(raw, []jose.KeyAlgorithm{jose.KeyAlgorithm(h.alg)},
		[]jose.ContentEncryption{jose.ContentEncryption(h.enc)})
	if err != nil || hasEncryptedKey(raw) == (h.alg == string(jose.ECDH_ES)) {
		return "", errNotForUs
	}
	// The one with the key's id comes first, and all others after it: the id is only a hint.
	for _, named := range []bool{true, false} {
		for _, k := range p.cfg.DecryptionKeys {
			if k.Algorithm != h.alg || (k.ID == h.kid) != named {
				continue
			}
			if plain, err := object.Decrypt(k.Private); err == nil {
				return string(plain), nil
			}
		}
	}
	return "", errNotForUs
}

// An encryptionHeader is the part of the header of an encrypted JWT that decides what is done with it.
type encryptionHeader struct{ alg, enc, kid string }

// encryptionHeader reads the header before any key is touched. A key takes part in no algorithm but its own, so that nobody
// else chooses how it is used; there is none for RSA1_5, dir and PBES2, see [Config.DecryptionKeys].
func (p *Provider) encryptionHeader(raw string, types []string) (h encryptionHeader, err error) {
	c, err := decodeHeader(raw)
	if err != nil {
		return h, err
	}
	h.alg, _ = c["alg"].(string)
	h.enc, _ = c["enc"].(string)
	h.kid, _ = c["kid"].(string)
	if !slices.ContainsFunc(p.cfg.DecryptionKeys, func(k token.Key) bool { return k.Algorithm == h.alg }) {
		return h, fmt.Errorf("encrypted with %s, which none of DecryptionKeys is for", oauth.Quote(h.alg))
	}
	if !slices.Contains(p.cfg.ContentEncryption, h.enc) {
		return h, fmt.Errorf("content encrypted with %s, accepted are %s", oauth.Quote(h.enc), strings.Join(p.cfg.ContentEncryption, " "))
	}
	// Compressed text tells by its length what is in it, and a little of it can become a lot (RFC 8725 §3.6).
	if err := refuseParams(c, "crit", "b64", "zip"); err != nil {
		return h, err
	}
	if err := checkType(c, "typ", types); err != nil {
		return h, err
	}
	return h, checkType(c, "cty", types)
}

// hasEncryptedKey reports whether there is a wrapped key, as there must not be where the key is agreed on (RFC 7516 §5.2).
func hasEncryptedKey(raw string) bool {
	_, rest, _ := strings.Cut(raw, ".")
	return !strings.HasPrefix(rest, ".")
}

// decodeHeader reads the first part of a compact JWS or JWE.
func decodeHeader(raw string) (claims, error) {
	encoded, _, _ := strings.Cut(raw, ".")
	data, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("malformed header")
	}
	c, err := parseClaims(data)
	if err != nil {
		return nil, errors.New("malformed header")
	}
	return c, nil
}

// refuseParams refuses a header that needs to be understood in a way that nobody here does.
func refuseParams(header claims, names ...string) error {
	for _, name := range names {
		if _, there := header[name]; there {
			return fmt.Errorf("header has %q", name)
		}
	}
	return nil
}

// checkType refuses what says that it is something else (RFC 8725 §3.11). What does not say what it is passes.
func checkType(header claims, name string, types []string) error {
	value, there := header[name]
	if !there {
		return nil
	}
	s, ok := value.(string)
	if !ok || !slices.ContainsFunc(types, func(want string) bool { return strings.EqualFold(s, want) }) {
		return fmt.Errorf("type (%s) is %s, want %s", name, oauth.Quote(fmt.Sprint(value)), strings.Join(types, " or "))
	}
	return nil
}

func (c *Config) checkDecryption(bad report) {
	if len(c.DecryptionKeys) > maxDecryptionKeys {
		bad("DecryptionKeys: %d are too many, as each may be tried on what anybody sends; the most is %d",
			len(c.DecryptionKeys), maxDecryptionKeys)
	}
	for i, k := range c.DecryptionKeys {
		if err := c.checkDecryptionKey(k); err != nil {
			bad("DecryptionKeys[%d]: %w", i, err)
		}
		if slices.ContainsFunc(c.DecryptionKeys[:i], func(other token.Key) bool { return other.ID == k.ID }) {
			bad("DecryptionKeys[%d]: its id is that of another", i)
		}
	}
	for _, enc := range c.ContentEncryption {
		if !slices.Contains(knownEncryption, enc) {
			bad("ContentEncryption: %q is refused", enc)
		}
	}
	if len(c.ContentEncryption) == 0 {
		bad("ContentEncryption: is empty, so that nothing could be decrypted; nil is the default")
	}
	for name, required := range map[string]bool{
		"RequireEncryptedIDToken": c.RequireEncryptedIDToken, "RequireEncryptedUserInfo": c.RequireEncryptedUserInfo,
	} {
		if required && len(c.DecryptionKeys) == 0 {
			bad("%s: without DecryptionKeys nobody could get in", name)
		}
	}
}

func (c *Config) checkDecryptionKey(k token.Key) error {
	if k.ID == "" || len(k.ID) > maxKeyID {
		return fmt.Errorf("its id must have 1 to %d bytes", maxKeyID)
	}
	fits := false
	switch jose.KeyAlgorithm(k.Algorithm) {
	case jose.RSA_OAEP_256, jose.RSA_OAEP:
		private, ok := k.Private.(*rsa.PrivateKey)
		fits = ok && private != nil && private.D != nil && private.N != nil &&
			private.N.BitLen() >= minRSABits && private.N.BitLen() <= maxRSABits
	case jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A256KW:
		private, ok := k.Private.(*ecdsa.PrivateKey)
		fits = ok && private != nil && private.Curve == elliptic.P256()
	default:
		return fmt.Errorf("algorithm %q is not one to decrypt with", k.Algorithm)
	}
	if !fits {
		return fmt.Errorf("private key does not fit %s, or is too weak", k.Algorithm)
	}
	// One key for both would let what it does for one protocol be used against the other (RFC 8725 §3.8, NIST SP 800-57).
	if c.ClientKey.Private != nil && samePublic(c.ClientKey.Private, k.Private) {
		return errors.New("it is the ClientKey, which signs: make one of its own")
	}
	return nil
}

func samePublic(a, b crypto.Signer) bool {
	public, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b.Public())
}

// Descriptor returns the public keys of this client as a JWK set (RFC 7517 §5), for its "jwks_uri" at the provider: that of
// the ClientKey, and the first of DecryptionKeys for each algorithm. There is nothing to publish for a client without any.
func (p *Provider) Descriptor(context.Context, provider.DescriptorRequest) (*provider.Descriptor, error) {
	if p.jwks == nil {
		return nil, nil
	}
	return &provider.Descriptor{ContentType: "application/jwk-set+json", Body: slices.Clone(p.jwks), MaxAge: descriptorMaxAge}, nil
}

// publicKeys encodes what Descriptor publishes, nil if that is nothing.
func (c *Config) publicKeys() ([]byte, error) {
	var set jose.JSONWebKeySet
	add := func(k token.Key, use string) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: use})
	}
	if c.AuthMethod == PrivateKeyJWT {
		add(c.ClientKey, "sig")
	}
	published := map[string]bool{}
	for _, k := range c.DecryptionKeys {
		if !published[k.Algorithm] {
			add(k, "enc")
		}
		published[k.Algorithm] = true
	}
	if set.Keys == nil {
		return nil, nil
	}
	return json.Marshal(set)
}
