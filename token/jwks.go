package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxKeys and maxKeyID bound what is read from somebody else's key set.
const (
	maxKeys  = 100
	maxKeyID = 256
)

// JWKS returns the key set (RFC 7517 §5) of the keys that are published at now, public halves only, and for how long it
// may be cached: an hour at most, and never so long that a cache could miss a key between its announcement and its
// first signature. Serve it as application/jwk-set+json or application/json with that "Cache-Control: max-age".
func (r *Ring) JWKS(now time.Time) (document []byte, maxAge time.Duration) {
	var b bytes.Buffer
	b.WriteString(`{"keys":[`)
	sep := ""
	for _, k := range r.keys {
		if r.phase(k, now) != Gone {
			b.WriteString(sep)
			b.Write(k.jwk)
			sep = ","
		}
	}
	b.WriteString(`]}`)
	return b.Bytes(), min(time.Hour, r.schedule.Announce/4).Truncate(time.Second)
}

// marshalJWK encodes a public key as it is published.
func marshalJWK(k PublicKey) ([]byte, error) {
	return jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}.MarshalJSON()
}

// parseJWKS reads a key set that somebody else published. Keys that cannot verify a signature by one of the algorithms
// are left out without harm to the others (RFC 7517 §5): unknown kinds and algorithms, encryption keys, symmetric and
// private ones, weak ones, malformed ones.
func parseJWKS(document []byte, accepted []string) ([]PublicKey, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if len(*set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var keys []PublicKey
	for _, raw := range *set.Keys {
		// A private key fits nothing: once published it is everybody's.
		if k, ok := parseJWK(raw); ok && slices.ContainsFunc(accepted, k.fits) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func parseJWK(raw []byte) (PublicKey, bool) {
	var jwk jose.JSONWebKey
	var more struct {
		Ops []string `json:"key_ops"`
	}
	if jwk.UnmarshalJSON(raw) != nil || json.Unmarshal(raw, &more) != nil {
		return PublicKey{}, false
	}
	verifies := (jwk.Use == "" || jwk.Use == "sig") && (more.Ops == nil || slices.Contains(more.Ops, "verify"))
	if !verifies || len(jwk.KeyID) > maxKeyID {
		return PublicKey{}, false
	}
	return PublicKey{ID: jwk.KeyID, Algorithm: jwk.Algorithm, Key: jwk.Key}, true
}
