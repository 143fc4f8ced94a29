package token_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

// exampleRing returns a ring as a broker has it after its first start.
func exampleRing(now time.Time) *token.Ring {
	var keys []token.Key
	empty, err := token.NewRing(token.Schedule{})
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range empty.Plan(now, token.ES256).Add {
		if k.Private, err = token.GenerateKey(k.Algorithm); err != nil {
			log.Fatal(err)
		}
		if k.ID, err = token.KeyID(k.Private.Public()); err != nil {
			log.Fatal(err)
		}
		keys = append(keys, k) // and store it, with MarshalKey(k.Private) sealed
	}
	ring, err := token.NewRing(token.Schedule{}, keys...)
	if err != nil {
		log.Fatal(err)
	}
	return ring
}

func Example() {
	now := time.Now()
	ring := exampleRing(now)
	raw, err := ring.Sign(now, token.ES256, token.AccessToken, map[string]any{
		"iss": "https://id.example", "sub": "alice", "aud": "https://api.example",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "role": "admin",
	})
	if err != nil {
		log.Fatal(err)
	}

	parser := token.Parser{Type: token.AccessToken, Issuer: "https://id.example", Audience: "https://api.example", Keys: ring}
	claims, err := parser.Parse(context.Background(), raw)
	if err != nil {
		log.Fatal(err)
	}
	var more struct{ Role string }
	if err := claims.Decode(&more); err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Subject, more.Role)

	parser.Now = func() time.Time { return now.Add(time.Hour) }
	_, err = parser.Parse(context.Background(), raw)
	fmt.Println(errors.Is(err, token.ErrExpired), err)
	// Output:
	// alice admin
	// true token: invalid: it has expired
}

// The upkeep of a key ring: carry out the plan every few hours, on every node.
func ExampleRing_Plan() {
	now := time.Now()
	ring := exampleRing(now)
	for _, days := range []int{0, 30, 89} {
		plan := ring.Plan(now.AddDate(0, 0, days), token.ES256)
		fmt.Println(days, len(plan.Add), len(plan.Drop))
	}
	next := ring.Plan(now.AddDate(0, 0, 89), token.ES256).Add[0]
	fmt.Println(next.Algorithm, next.Generation)
	// Output:
	// 0 0 0
	// 30 0 0
	// 89 1 0
	// ES256 2
}

// Verifying what somebody else signed, with their keys fetched and cached.
func ExampleRemote() {
	now := time.Now()
	ring := exampleRing(now)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		document, maxAge := ring.JWKS(now)
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(maxAge.Seconds())))
		w.Write(document)
	}))
	defer upstream.Close()

	remote := &token.Remote{URL: upstream.URL}
	raw, err := ring.Sign(now, token.ES256, token.IDToken, map[string]any{"sub": "alice"})
	if err != nil {
		log.Fatal(err)
	}
	payload, err := remote.VerifySignature(context.Background(), raw)
	fmt.Println(string(payload), err)
	// Output:
	// {"sub":"alice"} <nil>
}

// A resource server that accepts the broker's access tokens.
func ExampleVerifier() {
	now := time.Now()
	ring := exampleRing(now)
	verifier := &token.Verifier{
		Issuer:   "https://id.example",
		Audience: "https://api.example",
		Keys:     ring, // leave it out: the keys are found by the issuer's discovery document
	}
	mux := http.NewServeMux()
	mux.Handle("GET /notes", verifier.Require("notes:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		access, _ := token.From(r.Context())
		fmt.Fprintf(w, "notes of %s for %s", access.Subject, access.ClientID)
	})))

	for _, scope := range []string{"notes:read notes:write", "profile", ""} {
		r := httptest.NewRequest(http.MethodGet, "/notes", nil)
		if scope != "" {
			raw, err := ring.Sign(now, token.ES256, token.AccessToken, map[string]any{
				"iss": "https://id.example", "sub": "alice", "aud": "https://api.example", "client_id": "app", "jti": "1",
				"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "scope": scope,
			})
			if err != nil {
				log.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+raw)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
		if challenge := w.Header().Get("WWW-Authenticate"); challenge != "" {
			fmt.Println(challenge)
		}
	}
	// Output:
	// 200 notes of alice for app
	// 403 Forbidden
	// Bearer realm="https://api.example", error="insufficient_scope", error_description="The access token lacks a scope", scope="notes:read"
	// 401 Unauthorized
	// Bearer realm="https://api.example", scope="notes:read"
}

// A resource server that also accepts tokens which are bound to a key of the sender (RFC 9449). What it has to remember is
// kept where all of its nodes find it; here a map will do.
func ExampleVerifier_dPoP() {
	ring := exampleRing(time.Now())
	var mu sync.Mutex
	seen := map[string]time.Time{}
	verifier := &token.Verifier{
		Issuer: "https://id.example", Audience: "https://api.example", Keys: ring,
		DPoP: &token.DPoP{
			BaseURL: "https://api.example",
			Once: func(_ context.Context, key string, until time.Time) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				_, again := seen[key]
				seen[key] = until
				return !again, nil
			},
		},
	}
	h := verifier.Require("notes:read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "notes") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/notes", nil))
	for _, challenge := range w.Header().Values("WWW-Authenticate") {
		fmt.Println(challenge)
	}
	// Output:
	// Bearer realm="https://api.example", scope="notes:read"
	// DPoP realm="https://api.example", algs="RS256 PS256 ES256 EdDSA"
}

// A single-use code: the client holds the handle, the store knows only its hash.
func ExampleNewHandle() {
	code, hash := token.NewHandle("code")
	fmt.Println(token.MatchHandle("code", code, hash))
	fmt.Println(token.MatchHandle("refresh", code, hash))
	fmt.Println(token.HashHandle("code", code) == hash) // look it up by this
	// Output:
	// true
	// false
	// true
}
