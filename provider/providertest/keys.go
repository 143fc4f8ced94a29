package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

var (
	keyAlgs    = []string{"RS256", "PS256", "ES256", "EdDSA"}
	secretAlgs = []string{"HS256", "HS384", "HS512"}
)

type key struct {
	kid    string
	alg    string
	signer crypto.Signer
}

func newKey(alg string) (*key, error) {
	k := &key{kid: rand.Text()[:10], alg: alg}
	var err error
	switch alg {
	case "RS256", "PS256":
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("providertest: no signing algorithm %q", alg)
	}
	return k, err
}

// jwk returns the public key as JSON has it.
func (k *key) jwk() map[string]any {
	data, err := jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.kid, Algorithm: k.alg, Use: "sig"}.MarshalJSON()
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		panic(err) // newKey makes no key that has no JSON form
	}
	return m
}

func (k *key) sign(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	switch private := k.signer.(type) {
	case *rsa.PrivateKey:
		if k.alg == "PS256" {
			return rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64) // RFC 7518 §3.4
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature, nil
	default:
		return k.signer.Sign(nil, input, crypto.Hash(0))
	}
}

// A ring is the keys of one algorithm.
type ring struct {
	signing *key
	next    *key   // announced
	old     []*key // still published
	foreign *key   // never published: what a forger has
	enc     *key   // published among odd keys only
}

// useAlg makes a key for an algorithm that is used for the first time.
func (o *OIDC) useAlg(alg string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys[alg] != nil {
		return nil
	}
	k, err := newKey(alg)
	if err != nil {
		return err
	}
	o.keys[alg] = &ring{signing: k}
	return nil
}

// algs are those in use, the provider's own first.
func (o *OIDC) algs() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	algs := []string{o.cfg.Alg}
	for _, alg := range slices.Sorted(maps.Keys(o.keys)) {
		if alg != o.cfg.Alg {
			algs = append(algs, alg)
		}
	}
	return algs
}

func (o *OIDC) signingKey(alg string) *key {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.keys[alg].signing
}

// foreignKey returns a key that the provider never published.
func (o *OIDC) foreignKey(alg string) *key {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.keys[alg]
	if r.foreign == nil {
		r.foreign = mustKey(alg)
	}
	return r.foreign
}

func mustKey(alg string) *key {
	k, err := newKey(alg)
	if err != nil {
		panic(err) // alg has a key already, so that it is known
	}
	return k
}

// AnnounceKeys publishes, for every algorithm in use, the key that [OIDC.RotateKeys] will sign with next.
func (o *OIDC) AnnounceKeys() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for alg, r := range o.keys {
		if r.next == nil {
			r.next = mustKey(alg)
		}
	}
}

// RotateKeys signs with other keys from now on, the announced ones if there are any. The old keys stay published until
// [OIDC.RetireKeys].
func (o *OIDC) RotateKeys() {
	o.AnnounceKeys()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.keys {
		r.old = append(r.old, r.signing)
		r.signing, r.next = r.next, nil
	}
}

// RetireKeys stops publishing the keys that no longer sign.
func (o *OIDC) RetireKeys() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.keys {
		r.old = nil
	}
}

// published returns the keys of an algorithm that can be fetched.
func (o *OIDC) published(alg string) []*key {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.keys[alg]; r != nil {
		return r.published()
	}
	return nil
}

func (r *ring) published() []*key {
	keys := []*key{r.signing}
	if r.next != nil {
		keys = append(keys, r.next)
	}
	return append(keys, r.old...)
}

// jwks publishes the keys, RFC 7517 §5.
func (o *OIDC) jwks(_ *http.Request, s *script, _ record) reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys, odd := []map[string]any{}, []map[string]any{}
	for _, alg := range slices.Sorted(maps.Keys(o.keys)) {
		r := o.keys[alg]
		for _, k := range r.published() {
			keys = append(keys, k.jwk())
		}
		if s.has(JWKSOddKeys) {
			odd = append(odd, r.encryptionTwin())
		}
	}
	switch {
	case s.has(JWKSEmpty):
		keys = keys[:0]
	case s.has(JWKSNoKid):
		for _, k := range keys {
			delete(k, "kid")
		}
	case s.has(JWKSOddKeys):
		for _, k := range keys {
			delete(k, "use")
			delete(k, "alg")
		}
		keys = slices.Concat(strangeKeys(), odd, keys)
	}
	return jsonReply(http.StatusOK, map[string]any{"keys": keys})
}

// encryptionTwin is a key for encryption that only "use" tells from the signing key.
func (r *ring) encryptionTwin() map[string]any {
	if r.enc == nil {
		r.enc = mustKey(r.signing.alg)
	}
	twin := r.enc.jwk()
	twin["use"], twin["kid"] = "enc", r.signing.kid
	delete(twin, "alg")
	return twin
}

// strangeKeys are keys that no signature can be checked with.
func strangeKeys() []map[string]any {
	return []map[string]any{
		{"kty": "AKP", "alg": "ML-DSA-65", "kid": "unknown-kty", "use": "sig", "pub": "AAAA"},
		{"kty": "oct", "kid": "symmetric", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{"kty": "OKP", "crv": "X25519", "kid": "agreement", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"},
	}
}

// A jwt is about to be signed.
type jwt struct {
	header, claims map[string]any
	key            *key
	secret         []byte // of the client
	accessToken    string
	extra          string // raw JSON members at the end of the claims
	sign           func(input []byte) ([]byte, error)
	tamper         bool
}

func (o *OIDC) newJWT(k *key, claims map[string]any) *jwt {
	return &jwt{header: map[string]any{"alg": k.alg, "kid": k.kid, "typ": "JWT"}, claims: claims, key: k, sign: k.sign}
}

// unsigned leaves the signature out.
func (j *jwt) unsigned() {
	j.header["alg"] = "none"
	j.sign = func([]byte) ([]byte, error) { return nil, nil }
}

// signHMAC signs with a secret, whatever it is.
func (j *jwt) signHMAC(secret []byte) {
	j.header["alg"] = "HS256"
	j.sign = func(input []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}
}

func (j *jwt) compact() (string, error) {
	header, err := json.Marshal(j.header)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(j.claims)
	if err != nil {
		return "", err
	}
	if j.extra != "" {
		claims = []byte(strings.TrimSuffix(string(claims), "}") + "," + j.extra + "}")
	}
	input := b64(header) + "." + b64(claims)
	signature, err := j.sign([]byte(input))
	if err != nil {
		return "", err
	}
	if j.tamper && len(signature) > 0 {
		signature[0] ^= 1
	}
	return input + "." + b64(signature), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// tokenHash is at_hash, OpenID Connect Core §3.1.3.6. EdDSA is over Ed25519 here, whose hash is SHA-512.
func tokenHash(alg, token string) string {
	if alg == "EdDSA" {
		sum := sha512.Sum512([]byte(token))
		return b64(sum[:32])
	}
	sum := sha256.Sum256([]byte(token))
	return b64(sum[:16])
}
