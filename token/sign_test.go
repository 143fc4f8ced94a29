package token_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/go-idbroker/idbroker/token"
)

// Two libraries that share no code with sign read what it writes.
func TestSignedTokensAreReadByOthers(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	big := access(claims{"long": strings.Repeat("ü<&>", 500)})
	for _, a := range algorithms {
		for _, typ := range []token.Type{token.IDToken, token.AccessToken, token.LogoutToken, "custom+jwt"} {
			for _, c := range []claims{access(nil), big, {}} {
				raw, err := r.Sign(epoch, a, typ, c)
				if err != nil {
					t.Fatalf("Sign(%s, %s): %v", a, typ, err)
				}
				public := private(a).Public()
				parsed, err := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()).Parse(raw, func(*jwt.Token) (any, error) { return public, nil })
				if err != nil {
					t.Fatalf("golang-jwt refuses a %s: %v", a, err)
				}
				if got, want := toJSON(parsed.Header), toJSON(claims{"alg": a, "typ": typ, "kid": a}); got != want {
					t.Errorf("header = %s, want %s", got, want)
				}
				if got, want := toJSON(parsed.Claims), toJSON(c); got != want {
					t.Errorf("claims = %.80s, want %.80s", got, want)
				}
				object, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a)})
				if err != nil {
					t.Fatalf("go-jose does not parse a %s: %v", a, err)
				}
				if _, err := object.Verify(public); err != nil {
					t.Errorf("go-jose refuses a %s: %v", a, err)
				}
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.EdDSA)
	for name, c := range map[string]any{
		"nil": nil, "a string": "claims", "a list": []string{"a"}, "a nil map": map[string]any(nil), "broken JSON": json.RawMessage(`{"a":`),
		"what has no JSON": func() {},
	} {
		if raw, err := r.Sign(epoch, token.EdDSA, token.IDToken, c); err == nil {
			t.Errorf("Sign of %s = %q, want an error", name, raw)
		}
	}
	if raw, err := r.Sign(epoch, token.EdDSA, "", claims{}); err == nil {
		t.Errorf("Sign without a type = %q, want an error", raw)
	}
}

func TestKeySign(t *testing.T) {
	t.Parallel()
	k := newKey(token.ES256)
	raw, err := k.Sign(token.AccessToken, access(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newParser(newRing(t)).Parse(t.Context(), raw); err != nil {
		t.Errorf("Parse: %v", err)
	}
}

// Beyond marshalling and the signature itself there is one allocation: the token.
func TestSignAllocatesLittle(t *testing.T) {
	r := newRing(t, token.EdDSA)
	payload := json.RawMessage(toJSON(access(nil)))
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := r.Sign(epoch, token.EdDSA, token.AccessToken, payload); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 8 {
		t.Errorf("Sign makes %v allocations, want at most 8", allocations)
	}
}
