package factor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

const (
	recoveryCodes = 10
	recoverySize  = 16 // characters of base32: 80 bits, so that a plain hash will do
)

// NewRecoveryCodes makes ten recovery codes and returns them, for the user to write down: only their hashes are kept. Codes
// that the user had before are good for nothing any more.
func (l *Local) NewRecoveryCodes(ctx context.Context, userID string) ([]string, error) {
	var codes []string
	var hashes []byte
	for range recoveryCodes {
		code := rand.Text()[:recoverySize]
		hashes = append(hashes, hashRecovery(userID, code)...)
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	err := l.put(ctx, userID, store.CredentialRecovery, func(c *store.Credential) {
		c.Secret, c.CreatedAt = bytes.Clone(hashes), l.Now().UTC()
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// RecoveryCodesLeft returns how many recovery codes the user has.
func (l *Local) RecoveryCodesLeft(ctx context.Context, userID string) (int, error) {
	c, err := l.of(ctx, userID, store.CredentialRecovery)
	if c == nil || err != nil {
		return 0, err
	}
	return len(c.Secret) / sha256.Size, nil
}

// VerifyRecoveryCode returns nil if code is one of the user's recovery codes, which is used up by it, and otherwise an error
// as [Local.VerifyTOTP] does, with which it shares the bound on guessing.
func (l *Local) VerifyRecoveryCode(ctx context.Context, a Attempt, code string) error {
	return l.guess(ctx, codeBound, store.CredentialRecovery, a.code(), func(locked bool) error {
		if locked {
			return fmt.Errorf("%w: %w", ErrRefused, errLocked)
		}
		hash := hashRecovery(a.UserID, strings.ToUpper(squeeze(code)))
		return l.use(ctx, a.UserID, store.CredentialRecovery, func(c *store.Credential) error {
			rest, found := without(c.Secret, hash)
			if !found {
				return fmt.Errorf("%w: wrong or used recovery code", ErrRefused)
			}
			c.Secret = rest
			return nil
		})
	})
}

// without returns the hashes without this one, and whether it was among them.
func without(hashes, hash []byte) (rest []byte, found bool) {
	for len(hashes) >= len(hash) {
		var h []byte
		h, hashes = hashes[:len(hash)], hashes[len(hash):]
		if subtle.ConstantTimeCompare(h, hash) == 1 {
			found = true
			continue
		}
		rest = append(rest, h...)
	}
	return rest, found
}

// hashRecovery binds a code to its user: what is used for one is never another's.
func hashRecovery(userID, code string) []byte {
	sum := sha256.Sum256([]byte("idbroker recovery code\x00" + userID + "\x00" + code))
	return sum[:]
}
