// Package token owns the broker's keys and everything that is signed with them or hashed for the store.
//
// A [Ring] holds the signing keys and knows, from the time alone, which of them signs, which are published and what has
// to be rotated. A [Parser] is the strict way to read a token back, a [Remote] fetches and caches the keys of somebody
// else, and a [Verifier] protects a resource server written in Go that accepts the broker's access tokens. Handles are
// opaque secrets of which only a hash is kept. A [KeySet] and [Secrets] are what clients sign their assertions with, a
// [Proof] is what a DPoP header proves. The package knows no store, no protocol endpoint and no user.
//
//	ring, err := token.NewRing(token.Schedule{}, keys...) // from the store, opened
//	…
//	raw, err := ring.Sign(now, token.ES256, token.AccessToken, claims)
//	…
//	p := token.Parser{Type: token.AccessToken, Issuer: issuer, Audience: "https://api.example", Keys: ring}
//	c, err := p.Parse(ctx, raw)
//	if errors.Is(err, token.ErrExpired) {
//		…
//	}
//	err = c.Decode(&mine)
//
// Signatures are made and checked by golang-jwt, key sets are written and read by go-jose; all other checks are made
// here, and are on. No error of this package contains a token or a part of one.
package token
