package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/token"
)

func TestKeySurvivesMarshalling(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		der, err := token.MarshalKey(private(a))
		if err != nil {
			t.Fatalf("MarshalKey(%s): %v", a, err)
		}
		got, err := token.ParseKey(der)
		if err != nil {
			t.Fatalf("ParseKey(%s): %v", a, err)
		}
		if !got.(interface{ Equal(crypto.PrivateKey) bool }).Equal(private(a)) {
			t.Errorf("ParseKey(MarshalKey(%s)) is another key", a)
		}
		if k, ok := got.(*rsa.PrivateKey); ok && k.Precomputed.Dp == nil {
			t.Errorf("ParseKey(%s) is not precomputed", a)
		}
	}
}

func TestGenerateKeyRefusesOtherAlgorithms(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"", "none", "HS256", "RS512", "rs256", "ES384"} {
		if k, err := token.GenerateKey(a); err == nil {
			t.Errorf("GenerateKey(%q) = %T, want an error", a, k)
		}
	}
}

func weakRSA(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestWeakAndForeignKeysAreRefused(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := weakRSA(t)
	for _, k := range []crypto.Signer{weak, p384} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.ParseKey(der); err == nil {
			t.Errorf("ParseKey accepts a %T that is too weak or on another curve", k)
		}
	}
	if _, err := token.ParseKey([]byte("no key")); err == nil {
		t.Error("ParseKey accepts rubbish")
	}
	for name, k := range map[string]token.Key{
		"weak RSA":        {ID: "a", Algorithm: token.RS256, Private: weak},
		"other curve":     {ID: "a", Algorithm: token.ES256, Private: p384},
		"other kind":      {ID: "a", Algorithm: token.ES256, Private: private(token.RS256)},
		"no private key":  {ID: "a", Algorithm: token.ES256},
		"nil private key": {ID: "a", Algorithm: token.RS256, Private: (*rsa.PrivateKey)(nil)},
		"HMAC":            {ID: "a", Algorithm: "HS256", Private: private(token.RS256)},
		"none":            {ID: "a", Algorithm: "none", Private: private(token.RS256)},
		"no id":           {Algorithm: token.ES256, Private: private(token.ES256)},
		"endless id":      {ID: strings.Repeat("a", 257), Algorithm: token.ES256, Private: private(token.ES256)},
	} {
		if _, err := token.NewRing(token.Schedule{}, k); err == nil {
			t.Errorf("NewRing accepts a key with %s", name)
		}
		if _, err := k.Sign(token.IDToken, claims{}); err == nil {
			t.Errorf("Key.Sign signs with %s", name)
		}
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	t.Parallel()
	rsaKey := private(token.RS256).(*rsa.PrivateKey)
	secrets := []*big.Int{rsaKey.D, rsaKey.Primes[0]}
	for _, k := range []any{newKey(token.RS256), []token.Key{newKey(token.RS256)}, &token.Key{ID: "x", Private: rsaKey}} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "key", k)
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "key", k)
		encoded, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		out := fmt.Sprintf("%v %+v %#v %s %d %x", k, k, k, k, k, k) + log.String() + string(encoded)
		for _, s := range secrets {
			for _, form := range []string{s.String(), s.Text(16)} {
				if strings.Contains(out, form[:20]) {
					t.Errorf("printing %T shows the private key", k)
				}
			}
		}
	}
	if got, want := fmt.Sprint(newKey(token.RS256)), "RS256 key RS256"; got != want {
		t.Errorf("Sprint(key) = %q, want %q", got, want)
	}
}

func TestKeyID(t *testing.T) {
	t.Parallel()
	a, err := token.KeyID(private(token.ES256).Public())
	if err != nil || len(a) != 43 {
		t.Fatalf("KeyID = %q, %v, want 43 characters", a, err)
	}
	if again, _ := token.KeyID(private(token.ES256).Public()); again != a {
		t.Errorf("KeyID = %q, then %q", a, again)
	}
	if other, _ := token.KeyID(private(token.RS256).Public()); other == a {
		t.Error("two keys have one id")
	}
	if id, err := token.KeyID("no key"); err == nil {
		t.Errorf("KeyID of a string = %q, want an error", id)
	}
}
