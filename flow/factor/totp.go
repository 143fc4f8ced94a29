package factor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"image/png"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/go-idbroker/idbroker/store"
)

// What every authenticator app can do (RFC 6238 §4 and its defaults, RFC 4226 §4 R6).
const (
	totpPeriod = 30 // seconds
	totpDigits = 6
	totpSkew   = 1 // steps before and after this one whose codes are taken (RFC 6238 §5.2)
	seedSize   = 20
	qrSize     = 240 // pixels
)

// An Enrolment is a TOTP seed on its way into an authenticator app. It is a secret: whoever keeps it until it is confirmed seals
// it.
type Enrolment struct {
	Seed []byte // 20 random bytes
	URI  string // otpauth://totp/…, for the app to open
	Text string // the seed in base32, for people to type
}

// NewEnrolment makes a seed for the app to show under the names of the product and of the account. Nothing is written: see
// [Local.EnrolTOTP].
func NewEnrolment(product, account string) *Enrolment {
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed) // never fails
	e := &Enrolment{Seed: seed, Text: base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(seed)}
	label, query := account, url.Values{"secret": {e.Text}}
	if product != "" {
		label = product + ":" + account
		query.Set("issuer", product)
	}
	// Apps read "+" as itself: a space is "%20" here.
	e.URI = "otpauth://totp/" + url.PathEscape(label) + "?" + plusless(query.Encode())
	return e
}

func plusless(query string) string {
	return string(bytes.ReplaceAll([]byte(query), []byte("+"), []byte("%20")))
}

// QR returns the URI as an image for an app to scan, a PNG.
func (e *Enrolment) QR() ([]byte, error) {
	key, err := otp.NewKeyFromURL(e.URI)
	if err != nil {
		return nil, errors.New("factor: QR code: not an otpauth URI") // the cause has the seed in it
	}
	img, err := key.Image(qrSize, qrSize)
	if err != nil {
		return nil, fmt.Errorf("factor: QR code: %w", err)
	}
	var out bytes.Buffer
	err = png.Encode(&out, img)
	return out.Bytes(), err
}

// EnrolTOTP gives the user the seed, in place of one they may have, if code is one that it makes now: before that, it
// counts for nothing. The code is used up by it. It is [ErrRefused] if it is not.
func (l *Local) EnrolTOTP(ctx context.Context, userID, label string, seed []byte, code string) error {
	if len(seed) != seedSize {
		return fmt.Errorf("factor: a seed has %d bytes", seedSize)
	}
	step, ok := matchTOTP(seed, code, l.Now(), 0)
	if !ok {
		return fmt.Errorf("%w: wrong code", ErrRefused)
	}
	return l.put(ctx, userID, store.CredentialTOTP, func(c *store.Credential) {
		now := l.Now().UTC()
		c.Secret, c.Label, c.Step, c.CreatedAt, c.LastUsed = bytes.Clone(seed), label, step, now, now
	})
}

// VerifyTOTP returns nil if code is one that the user's app makes now and was not used before, [ErrRefused] or [ErrTooMany]
// if that is not proved, and any other error if it could not be told. It is for users who have proved something else already:
// strangers must not come to it. Of any number of racing callers with the same code one is right.
func (l *Local) VerifyTOTP(ctx context.Context, a Attempt, code string) error {
	return l.guess(ctx, codeBound, store.CredentialTOTP, a.code(), func(locked bool) error {
		if locked {
			return fmt.Errorf("%w: %w", ErrRefused, errLocked)
		}
		return l.use(ctx, a.UserID, store.CredentialTOTP, func(c *store.Credential) error {
			step, ok := matchTOTP(c.Secret, code, l.Now(), c.Step)
			if !ok {
				return fmt.Errorf("%w: wrong or used code", ErrRefused)
			}
			c.Step = step
			return nil
		})
	})
}

// use reads the user's credential of a kind, lets check note in it what was used up, and writes it; if somebody else has
// written it meanwhile, it is checked again.
func (l *Local) use(ctx context.Context, userID string, kind store.CredentialKind, check func(c *store.Credential) error) error {
	for range maxRetries {
		c, err := l.of(ctx, userID, kind)
		if err != nil {
			return err
		}
		if c == nil {
			return fmt.Errorf("%w: no credential of kind %s", ErrRefused, kind)
		}
		if err := check(c); err != nil {
			return err
		}
		c.LastUsed = l.Now().UTC()
		if err := l.Credentials.UpdateCredential(ctx, c); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("use %s: %w", kind, store.ErrConflict)
}

// code returns the attempt as it counts for codes: per account, whichever browser it comes from.
func (a Attempt) code() Attempt {
	a.Device = ""
	return a
}

// matchTOTP returns the time step after used that makes this code, of those around now.
func matchTOTP(seed []byte, code string, now time.Time, used int64) (step int64, ok bool) {
	code = squeeze(code)
	if len(code) != totpDigits {
		return 0, false
	}
	current := now.Unix() / totpPeriod
	secret := base32.StdEncoding.EncodeToString(seed)
	for s := current - totpSkew; s <= current+totpSkew; s++ {
		want, err := hotp.GenerateCodeCustom(secret, uint64(s), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}) //nolint:gosec // not before 1970
		if err == nil && s > used && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
			break
		}
	}
	return step, ok
}
