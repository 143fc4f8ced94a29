package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sentinels of what can be wrong with a token. Every error about a token itself is an ErrInvalid; any other error means
// that it could not be checked, because the keys could not be had or ctx ended.
var (
	ErrInvalid = errors.New("token: invalid")
	// ErrExpired: the token is genuine and all right but for its time. It is an ErrInvalid too.
	ErrExpired = fmt.Errorf("%w: it has expired", ErrInvalid)
)

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }

// A KeySource knows the public keys of one issuer. [Ring] and [Remote] are two. It is safe for concurrent use.
type KeySource interface {
	// PublicKeys returns the keys with this id that may verify at now, or all of them if id is "". None is an empty
	// result and no error; an error means that the keys could not be had, and is never about the token. The result
	// may be shared: callers do not change it.
	PublicKeys(ctx context.Context, id string, now time.Time) ([]PublicKey, error)
}

// defaultMaxSize bounds tokens before anything of them is looked at.
const defaultMaxSize = 16 << 10

// A jws is a compact JWS (RFC 7515 §7.1) taken apart, with nothing of it verified.
type jws struct {
	alg, kid, typ string
	header        object // all of it
	signed        string // what the signature is over
	payload       string // encoded
	signature     []byte
}

// split takes a token apart. It refuses whatever a verifier must not overlook: other characters than base64url's (the
// decoder would skip line breaks), other than three segments, bits left over, extensions that must be understood.
func split(raw string, maxSize int) (*jws, error) {
	if len(raw) > maxSize {
		return nil, invalid("too long")
	}
	dots := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.':
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return nil, invalid("malformed")
		}
	}
	if dots != 2 {
		return nil, invalid("malformed")
	}
	end := strings.LastIndexByte(raw, '.')
	header, payload, _ := strings.Cut(raw[:end], ".")
	j := &jws{signed: raw[:end], payload: payload}
	var err error
	if j.signature, err = decodeSegment(raw[end+1:]); err != nil {
		return nil, err
	}
	if err := j.readHeader(header); err != nil {
		return nil, err
	}
	return j, nil
}

var strictBase64 = base64.RawURLEncoding.Strict()

func decodeSegment(s string) ([]byte, error) {
	b, err := strictBase64.DecodeString(s)
	if err != nil {
		return nil, invalid("malformed")
	}
	return b, nil
}

// readHeader takes from the header what it may say. Keys that it carries or points to (jwk, jku, x5c, x5u) are not looked
// at, but for a DPoP proof's: who chooses the key chooses the signer.
func (j *jws) readHeader(segment string) error {
	b, err := decodeSegment(segment)
	if err != nil {
		return err
	}
	header, err := parseObject(b)
	if err != nil {
		return fmt.Errorf("%w in the header", err)
	}
	// RFC 7515 §4.1.11: none is understood here, RFC 7797 §6: b64 is one of them.
	if header.has("crit") || header.has("b64") {
		return invalid("critical extension")
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{"alg", &j.alg}, {"kid", &j.kid}, {"typ", &j.typ}} {
		if err := header.text(f.name, f.to); err != nil {
			return err
		}
	}
	if header.has("kid") && (j.kid == "" || len(j.kid) > maxKeyID) {
		return invalid("key id")
	}
	j.header = header
	return nil
}

// verify checks the signature with the keys of the source and returns the payload. The header's algorithm counts only if
// it is in the list and fits the kind of key that was found; without a key id there must be no choice (RFC 8725 §3.1).
func (j *jws) verify(ctx context.Context, source KeySource, accepted []string, now time.Time) ([]byte, error) {
	if !slices.Contains(accepted, j.alg) {
		return nil, invalid("algorithm")
	}
	keys, err := source.PublicKeys(ctx, j.kid, now)
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	return j.verifyWith(keys)
}

// verifyWith is the rest of verify, once the algorithm is known to be in the list.
func (j *jws) verifyWith(keys []PublicKey) ([]byte, error) {
	fitting, verified := 0, false
	for _, k := range keys {
		if !k.fits(j.alg) {
			continue
		}
		if fitting++; fitting > 1 && j.kid == "" {
			return nil, invalid("no key id")
		}
		verified = verified || algorithms[j.alg].method.Verify(j.signed, j.signature, k.Key) == nil
	}
	if fitting == 0 {
		return nil, invalid("unknown key")
	}
	if !verified {
		return nil, invalid("signature")
	}
	return decodeSegment(j.payload)
}

// isType compares media types as RFC 7515 §4.1.9 says: case-insensitively, with or without "application/".
func isType(typ string, want Type) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	// Folding maps some other letters to ASCII ones, all of which are longer.
	return want != "" && len(typ) == len(want) && strings.EqualFold(typ, string(want))
}
