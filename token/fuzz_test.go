package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/token"
)

// FuzzParse signs any header and claims with a genuine key and appends anything. What the Parser accepts must verify with the
// standard library alone, and must say what was asked for when it is read by another decoder.
func FuzzParse(f *testing.F) {
	good := toJSON(access(nil))
	mustEnter := map[string]bool{}
	for i, a := range []string{"RS256", "ES256", "EdDSA", "HS256", "none"} {
		header := `{"alg":"` + a + `","kid":"` + a + `","typ":"at+jwt"}`
		mustEnter[header+good+string(rune(i))] = i < 3
		f.Add(header, good, "", uint8(i))
	}
	f.Add(`{"alg":"EdDSA","typ":"application/AT+jwt","kid":"EdDSA","x":[{"y":1e5},null]}`, toJSON(access(claims{"aud": []string{"x", audience}})), "", uint8(2))
	f.Add(`{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt","crit":[]}`, good, "", uint8(2))
	f.Add(`{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt"}`, good+" ", "=", uint8(2))
	f.Add(`{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt"}`, `{"iss":"x",`+good[1:], "\n", uint8(2))
	f.Add(`{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt"}`, `{"\u0069ss":"x","ISS":1,`+good[1:], ".", uint8(2))
	r := newRing(f)
	p := newParser(r)
	keys := []any{private(token.RS256), private(token.ES256), private(token.EdDSA), []byte{}, nil}
	f.Fuzz(func(t *testing.T, header, payload, tail string, key uint8) {
		raw := forge(header, payload, keys[int(key)%len(keys)]) + tail
		c, err := p.Parse(t.Context(), raw)
		if err != nil {
			if c != nil || !errors.Is(err, token.ErrInvalid) || mustEnter[header+payload+tail+string(rune(key))] {
				t.Fatalf("Parse = %v, %v", c, err)
			}
			return
		}
		if tail != "" || string(c.Payload) != payload {
			t.Fatalf("accepted %q with the tail %q", c.Payload, tail)
		}
		verifyDirectly(t, r, raw)
		var got struct {
			claims
			iss, sub string
			aud      []any
			exp, iat float64
		}
		if err := json.Unmarshal(c.Payload, &got.claims); err != nil {
			t.Fatal(err)
		}
		got.iss, _ = got.claims["iss"].(string)
		got.sub, _ = got.claims["sub"].(string)
		got.exp, _ = got.claims["exp"].(float64)
		got.iat, _ = got.claims["iat"].(float64)
		if one, ok := got.claims["aud"].(string); ok {
			got.aud = []any{one}
		} else {
			got.aud, _ = got.claims["aud"].([]any)
		}
		now := float64(epoch.Unix())
		if got.iss != issuer || got.sub == "" || !slices.Contains(got.aud, any(audience)) || got.exp <= now-10 || got.iat > now+10 {
			t.Fatalf("accepted %s", payload)
		}
		// What a struct gets must be what a map gets.
		var s struct{ Iss, Sub string }
		if c.Decode(&s) == nil && (s.Iss != issuer || s.Sub != got.sub || c.Subject != got.sub) {
			t.Fatalf("accepted %s, which reads as %+v", payload, s)
		}
	})
}

// verifyDirectly checks header and signature of an accepted token without golang-jwt.
func verifyDirectly(t *testing.T, r *token.Ring, raw string) {
	t.Helper()
	parts := strings.Split(raw, ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	var h map[string]any
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatalf("accepted the header %s: %v", header, err)
	}
	typ, _ := h["typ"].(string)
	if typ = strings.ToLower(typ); typ != "at+jwt" && typ != "application/at+jwt" || h["crit"] != nil {
		t.Fatalf("accepted the header %s", header)
	}
	kid, _ := h["kid"].(string)
	public, _ := r.PublicKeys(t.Context(), kid, epoch)
	ok := slices.ContainsFunc(public, func(k token.PublicKey) bool {
		return k.Algorithm == h["alg"] && bareVerify(parts[0]+"."+parts[1], signature, k.Key, k.Algorithm)
	})
	if !ok {
		t.Fatalf("accepted a signature that does not verify: %s", header)
	}
}

// FuzzJWKS reads any key set. Whatever is taken from it is a public key that is strong enough.
func FuzzJWKS(f *testing.F) {
	own, _ := newRing(f).JWKS(epoch)
	f.Add(own)
	f.Add(set("a", "a", "b"))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"RSA","n":"","e":""},{}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":""},null,1]}`))
	f.Add(bytes.Replace(own, []byte(`"AQAB"`), []byte(`"AQ"`), 1))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := token.ParseJWKS(document, token.UpstreamAlgorithms)
		if bytes.Equal(document, own) && (err != nil || len(keys) != len(algorithms)) {
			t.Fatalf("took %d keys of %d, %v", len(keys), len(algorithms), err)
		}
		if err != nil && len(keys) > 0 || len(keys) > 100 {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			switch key := k.Key.(type) {
			case *rsa.PublicKey:
				if key.N.BitLen() < 2048 || key.E < 3 {
					t.Fatalf("took an RSA key of %d bits with the exponent %d", key.N.BitLen(), key.E)
				}
			case *ecdsa.PublicKey:
				if _, err := key.ECDH(); err != nil {
					t.Fatalf("took a point: %v", err)
				}
			case ed25519.PublicKey:
				if len(key) != ed25519.PublicKeySize {
					t.Fatalf("took an Ed25519 key of %d bytes", len(key))
				}
			default:
				t.Fatalf("took a %T", key)
			}
		}
	})
}
