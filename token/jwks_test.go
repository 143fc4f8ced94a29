package token_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/token"
)

func TestJWKSIsPublic(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	document, _ := r.JWKS(epoch)
	var raw struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		t.Fatalf("JWKS = %s: %v", document, err)
	}
	allowed := map[string][]string{
		"RSA": {"kty", "use", "alg", "kid", "n", "e"},
		"EC":  {"kty", "use", "alg", "kid", "crv", "x", "y"},
		"OKP": {"kty", "use", "alg", "kid", "crv", "x"},
	}
	for _, k := range raw.Keys {
		for name := range k {
			if !slices.Contains(allowed[k["kty"].(string)], name) {
				t.Errorf("key %v publishes %q", k["kid"], name)
			}
		}
		if k["use"] != "sig" || k["alg"] != k["kid"] {
			t.Errorf("key %v is for %v and %v", k["kid"], k["use"], k["alg"])
		}
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatalf("go-jose does not read the key set: %v", err)
	}
	for _, a := range algorithms {
		if got := set.Key(a); len(got) != 1 || !got[0].IsPublic() {
			t.Errorf("key set has %d keys %q, want one public key", len(got), a)
		}
	}
	if len(set.Keys) != len(algorithms) {
		t.Errorf("key set has %d keys, want %d", len(set.Keys), len(algorithms))
	}
	if again, _ := newRing(t, token.EdDSA, token.ES256, token.PS256, token.RS256).JWKS(epoch); string(again) != string(document) {
		t.Error("the key set depends on the order in which keys were given")
	}
	if empty, _ := mustRing(t, token.Schedule{}).JWKS(epoch); string(empty) != `{"keys":[]}` {
		t.Errorf("empty key set = %s", empty)
	}
}

func TestJWKSMaxAgeIsShorterThanAnnounce(t *testing.T) {
	t.Parallel()
	for announce, want := range map[time.Duration]time.Duration{
		0: time.Hour, 48 * time.Hour: time.Hour, time.Hour: 15 * time.Minute, 10 * time.Second: 2 * time.Second,
	} {
		if _, got := mustRing(t, token.Schedule{Announce: announce}).JWKS(epoch); got != want {
			t.Errorf("max-age with Announce %v = %v, want %v", announce, got, want)
		}
	}
}
