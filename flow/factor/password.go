package factor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/secure/precis"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/internal/spelling"
)

// A PasswordError says why a password may not be chosen. Its text is the id of the message for whoever chose it.
type PasswordError string

// Why a password may not be chosen.
const (
	PasswordTooShort PasswordError = "too_short"    // fewer characters than [Passwords.MinLength]
	PasswordTooLong  PasswordError = "too_long"     // more than 1 KiB
	PasswordNoText   PasswordError = "no_text"      // not UTF-8, or with characters that no keyboard has
	PasswordIsName   PasswordError = "is_name"      // what the user is called
	PasswordBreached PasswordError = "breached"     // said by [Passwords.Breached]
	PasswordRepeated PasswordError = "not_repeated" // not the same twice
	PasswordSame     PasswordError = "same"         // the one that has to be changed
)

// Error returns the id of the message.
func (e PasswordError) Error() string { return string(e) }

// maxPassword is how long a password may be, in bytes.
const maxPassword = 1 << 10

// What OWASP's Password Storage Cheat Sheet has for argon2id, and the sizes of RFC 9106 §3.1.
const (
	defaultMemory  = 19 << 10 // KiB
	defaultTime    = 2
	defaultThreads = 1
	saltSize       = 16
	hashSize       = 32
)

// Bounds of hashes that came from elsewhere: more would be an attack on this machine.
const (
	maxMemory     = 256 << 10 // KiB
	maxTime       = 16
	maxThreads    = 16
	maxHashSize   = 64
	maxBcryptCost = 14
	maxBcrypt     = 72 // bytes of a password that bcrypt looks at
)

// Passwords hashes passwords with argon2id and verifies them, as many at once as it may. The zero value has the parameters
// that OWASP recommends. It is safe for concurrent use once its fields are set, and must not be copied.
//
// A password is text: it is compared as the OpaqueString of RFC 8265 §4.2, Unicode normal form C with every space the same
// (as NIST SP 800-63B §3.1.1.2 asks), and its length is counted in characters. There are no rules of composition. Hashes are
// PHC strings; those of bcrypt ("$2a$", "$2b$", "$2y$") are verified too, for users who come from elsewhere, and made
// anew when their users come with the right password. Until then such a user's wrong password takes another time than one of
// nobody.
type Passwords struct {
	// Memory is that of one hash, in KiB; 0 is 19 MiB.
	Memory uint32
	// Time is the number of passes over it; 0 is 2.
	Time uint32
	// Threads is argon2's parallelism; 0 is 1.
	Threads uint8
	// MinLength of a new password, in characters; 0 is 8.
	MinLength int
	// Breached is asked about a new password, for instance at a list of breached ones: an error that is PasswordBreached
	// refuses it, any other one means that it could not be told and refuses it, too. Nil asks nobody.
	Breached func(ctx context.Context, password string) error
	// AtOnce is how many hashes are made at the same time, which bounds the memory; whoever comes later waits. 0 is one a
	// processor, and at most eight.
	AtOnce int

	once  sync.Once
	slots chan struct{}
}

var _ flow.Passwords = (*Passwords)(nil)

// Insecure returns the fields that are weaker than what OWASP recommends.
func (p *Passwords) Insecure() []string {
	var weak []string
	if c := p.params(); uint64(c.memory)*uint64(c.time) < defaultMemory*defaultTime || c.memory < 7<<10 {
		weak = append(weak, "Passwords.Memory and Time")
	}
	if p.minLength() < 8 {
		weak = append(weak, "Passwords.MinLength")
	}
	return weak
}

// Hash implements [flow.Passwords].
func (p *Passwords) Hash(ctx context.Context, password string, names ...string) ([]byte, error) {
	text, err := p.check(ctx, password, names)
	if err != nil {
		return nil, err
	}
	return p.hash(ctx, text)
}

func (p *Passwords) hash(ctx context.Context, text string) ([]byte, error) {
	c := p.params()
	c.salt = make([]byte, saltSize)
	_, _ = rand.Read(c.salt) // never fails
	if err := p.work(ctx, func() { c.hash = c.derive(text, hashSize) }); err != nil {
		return nil, err
	}
	return []byte(c.String()), nil
}

// Verify implements [flow.Passwords].
func (p *Passwords) Verify(ctx context.Context, hash []byte, password string) (ok bool, better []byte, err error) {
	text, prepared := prepare(password)
	outdated := false
	switch {
	case len(hash) == 0:
		_, err = p.hash(ctx, text)
	case strings.HasPrefix(string(hash), "$2"):
		ok, err = p.verifyBcrypt(ctx, hash, text)
		outdated = len(text) <= maxBcrypt // what bcrypt did not look at was not proved
	default:
		ok, outdated, err = p.verifyArgon2(ctx, hash, text)
	}
	if ok = ok && prepared && err == nil; ok && outdated {
		better, err = p.hash(ctx, text)
	}
	return ok, better, err
}

func (p *Passwords) verifyArgon2(ctx context.Context, hash []byte, text string) (ok, outdated bool, err error) {
	c, err := parsePHC(string(hash))
	if err != nil {
		return false, false, err
	}
	err = p.work(ctx, func() {
		ok = subtle.ConstantTimeCompare(c.derive(text, uint32(len(c.hash))), c.hash) == 1 //nolint:gosec // at most maxHashSize
	})
	now := p.params()
	return ok, c.memory != now.memory || c.time != now.time || c.threads != now.threads || len(c.hash) != hashSize, err
}

func (p *Passwords) verifyBcrypt(ctx context.Context, hash []byte, text string) (ok bool, err error) {
	cost, err := bcrypt.Cost(hash)
	if err == nil && cost > maxBcryptCost {
		err = fmt.Errorf("cost %d is more than %d", cost, maxBcryptCost)
	}
	if err != nil {
		return false, fmt.Errorf("factor: bcrypt hash: %w", err)
	}
	var result error
	err = p.work(ctx, func() { result = bcrypt.CompareHashAndPassword(hash, []byte(text)) })
	if err == nil && result != nil && !errors.Is(result, bcrypt.ErrMismatchedHashAndPassword) {
		err = fmt.Errorf("factor: bcrypt hash: %w", result)
	}
	return err == nil && result == nil, err
}

// check returns the password as it is hashed, if it may be chosen.
func (p *Passwords) check(ctx context.Context, password string, names []string) (string, error) {
	if len(password) > maxPassword {
		return "", PasswordTooLong
	}
	if utf8.RuneCountInString(password) < p.minLength() {
		return "", PasswordTooShort
	}
	text, ok := prepare(password)
	if !ok {
		return "", PasswordNoText
	}
	if utf8.RuneCountInString(text) < p.minLength() {
		return "", PasswordTooShort
	}
	for _, name := range names {
		if name = spelling.Username(name); name != "" && name == spelling.Username(text) {
			return "", PasswordIsName
		}
	}
	if p.Breached == nil {
		return text, nil
	}
	if err := p.Breached(ctx, text); err != nil {
		return "", fmt.Errorf("breached passwords: %w", err)
	}
	return text, nil
}

// prepare returns the password as it is compared, and whether it is one at all. What is none takes as much work.
func prepare(password string) (string, bool) {
	if len(password) > maxPassword || !utf8.ValidString(password) {
		return "", false
	}
	text, err := precis.OpaqueString.String(password)
	return text, err == nil
}

// work does f, when it is its turn.
func (p *Passwords) work(ctx context.Context, f func()) error {
	p.once.Do(func() {
		n := p.AtOnce
		if n <= 0 {
			n = min(runtime.GOMAXPROCS(0), 8)
		}
		p.slots = make(chan struct{}, n)
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	f()
	return nil
}

func (p *Passwords) minLength() int {
	if p.MinLength <= 0 {
		return 8
	}
	return p.MinLength
}

func (p *Passwords) params() phc {
	c := phc{memory: p.Memory, time: p.Time, threads: p.Threads}
	if c.memory == 0 {
		c.memory = defaultMemory
	}
	if c.time == 0 {
		c.time = defaultTime
	}
	if c.threads == 0 {
		c.threads = defaultThreads
	}
	return c
}

// A phc is a hash of argon2id, with what it was made with.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

func (c phc) derive(password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), c.salt, c.time, c.memory, c.threads, size)
}

// String returns the hash as a PHC string.
func (c phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		b64.EncodeToString(c.salt), b64.EncodeToString(c.hash))
}

// errPHC does not say more: the string is a secret.
var errPHC = errors.New("factor: not a hash of argon2id or bcrypt, or one that takes more than this machine should give")

// parsePHC reads a PHC string as String writes it, and as other programs do.
func parsePHC(s string) (phc, error) {
	var c phc
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return c, errPHC
	}
	if n, err := fmt.Sscanf(parts[2], "v=%d", &version); n != 1 || err != nil || version != argon2.Version {
		return c, errPHC
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); n != 3 || err != nil {
		return c, errPHC
	}
	if c.memory < 8 || c.memory > maxMemory || c.time < 1 || c.time > maxTime || c.threads < 1 || c.threads > maxThreads {
		return c, errPHC
	}
	var err1, err2 error
	b64 := base64.RawStdEncoding.Strict()
	c.salt, err1 = b64.DecodeString(parts[4])
	c.hash, err2 = b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(c.salt) < 8 || len(c.hash) < 16 || len(c.hash) > maxHashSize {
		return c, errPHC
	}
	return c, nil
}
