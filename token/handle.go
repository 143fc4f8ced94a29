package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

// NewHandle returns a random secret of 26 letters and digits (130 bits) and its hash for the purpose. Give the handle away
// and keep the hash, see [HashHandle].
func NewHandle(purpose string) (handle, hash string) {
	handle = rand.Text()
	return handle, HashHandle(purpose, handle)
}

// HashHandle returns what a store keeps instead of a handle: the SHA-256 of purpose and handle in base64url, 43
// characters. The same handle has another hash for each purpose, so a code is found as nothing but a code. Any string has
// a hash; those of a malformed, truncated or differently spelt handle just belong to nothing. A fast hash is enough for
// a random secret, and is not for a password.
func HashHandle(purpose, handle string) string {
	h := sha256.New()
	// The length keeps purpose and handle apart.
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(purpose))))
	h.Write([]byte(purpose))
	h.Write([]byte(handle))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// MatchHandle reports, in a time that does not depend on where they differ, whether hash is that of handle for the purpose.
func MatchHandle(purpose, handle, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(HashHandle(purpose, handle)), []byte(hash)) == 1
}
