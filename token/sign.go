package token

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Type is the purpose of a token as its "typ" header says it, so that no token passes for one of another purpose
// (RFC 8725 §3.11). The zero Type is refused.
type Type string

// The types of the broker's tokens.
const (
	IDToken     Type = "JWT"
	AccessToken Type = "at+jwt"     // RFC 9068 §2.1
	LogoutToken Type = "logout+jwt" // OpenID Connect Back-Channel Logout §2.4
	// ClientAssertion is what a client authenticates with (RFC 7523 §3). Most clients give theirs the type "JWT" or
	// none, so a [Parser] takes these too, and tells it from all others by what it must say: "sub" is "iss", and there is
	// a "jti". There need be no "iat". It alone may be signed with HS256, see [Secrets].
	ClientAssertion Type = "client-authentication+jwt"
)

// accepts reports whether a token with this "typ" may be one of type t.
func (t Type) accepts(typ string) bool {
	return isType(typ, t) || t == ClientAssertion && (typ == "" || isType(typ, IDToken))
}

// Sign signs claims, which must marshal to a JSON object, with the key of the algorithm that signs now. Type and key id
// go into the header. Which claims a token must have is the caller's business. It fails if no key of the algorithm
// signs now.
func (r *Ring) Sign(now time.Time, algorithm string, t Type, claims any) (string, error) {
	k := r.signer(algorithm, now)
	if k == nil {
		return "", fmt.Errorf("sign token: no %s key signs now", algorithm)
	}
	h, ok := k.headers[t]
	if !ok {
		h = header(k.Key, t)
	}
	return sign(k.Key, h, t, claims)
}

// Sign signs claims, which must marshal to a JSON object, with k at any time. It is for keys that stand in no [Ring], such
// as the one that a client authenticates with (private_key_jwt).
func (k Key) Sign(t Type, claims any) (string, error) {
	if err := k.check(); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return sign(k, header(k, t), t, claims)
}

// header returns the encoded header of tokens of type t that are signed with k, with the dot that follows it.
func header(k Key, t Type) string {
	h, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Typ Type   `json:"typ"`
		Kid string `json:"kid"`
	}{k.Algorithm, t, k.ID})
	if err != nil {
		panic("token: three strings do not marshal: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(h) + "."
}

func sign(k Key, header string, t Type, claims any) (string, error) {
	if t == "" {
		return "", errors.New("sign token: no type")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if payload[0] != '{' {
		return "", fmt.Errorf("sign token: claims of type %T are no JSON object", claims)
	}
	var b strings.Builder
	// Room for all of it, so that the builder never moves and what is signed shares its memory.
	encoded := base64.RawURLEncoding.EncodedLen
	b.Grow(len(header) + encoded(len(payload)) + 1 + encoded(signatureLen(k.Private)))
	b.WriteString(header)
	writeBase64(&b, payload)
	signature, err := algorithms[k.Algorithm].method.Sign(b.String(), k.Private)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	b.WriteByte('.')
	writeBase64(&b, signature)
	return b.String(), nil
}

func signatureLen(private crypto.Signer) int {
	if k, ok := private.(*rsa.PrivateKey); ok {
		return k.Size()
	}
	return 64 // ES256 and Ed25519 alike
}

// writeBase64 encodes src piece by piece through the stack instead of through another slice.
func writeBase64(b *strings.Builder, src []byte) {
	var buf [256]byte
	const piece = len(buf) / 4 * 3
	for len(src) > 0 {
		n := min(piece, len(src))
		base64.RawURLEncoding.Encode(buf[:], src[:n])
		b.Write(buf[:base64.RawURLEncoding.EncodedLen(n)])
		src = src[n:]
	}
}
