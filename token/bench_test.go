package token_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/token"
)

// BenchmarkSign makes a token; its ratio to the bare signature beside it is what all else costs.
func BenchmarkSign(b *testing.B) {
	r := newRing(b)
	type payload struct {
		Iss, Sub, Aud, Jti, Scope string
		Exp, Iat                  int64
	}
	c := payload{issuer, "QGNWDJYJJKU3EVJRWOKQWZLLCM", audience, "RJ7ZCZ5IIFCRUDHPWCTB4BUBTG", "openid profile email", 1, 2}
	for _, a := range algorithms {
		b.Run(a, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Sign(epoch, a, token.AccessToken, c); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(a+"-bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rawSignature("what is signed", bareKey(a))
			}
		})
	}
}

// BenchmarkParse verifies a token, and beside it the bare signature.
func BenchmarkParse(b *testing.B) {
	r := newRing(b)
	p := newParser(r)
	for _, a := range algorithms {
		raw := sign(b, r, a, access(nil))
		b.Run(a, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Parse(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		signature := rawSignature("what is signed", bareKey(a))
		b.Run(a+"-bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bareVerify("what is signed", signature, private(a).Public(), a) {
					b.Fatal("does not verify")
				}
			}
		})
	}
}

// BenchmarkRefuse measures what an attacker's token costs.
func BenchmarkRefuse(b *testing.B) {
	r := newRing(b)
	p := newParser(r)
	good := sign(b, r, token.RS256, access(nil))
	for name, raw := range map[string]string{
		"type": forge(`{"alg":"RS256"}`, `{}`, nil), "signature": good[:len(good)-8] + "AAAAAAAA", "dots": string(make([]byte, 1<<20)),
		"header": forge(`{"typ":[`+string(make([]byte, 8<<10))+`]}`, `{}`, nil),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Parse(b.Context(), raw); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkRemotePublicKeys(b *testing.B) {
	r := newUpstream(set("a", "b", "c")).remote()
	b.ReportAllocs()
	for b.Loop() {
		if keys, err := r.PublicKeys(b.Context(), "b", epoch); err != nil || len(keys) != 1 {
			b.Fatal(keys, err)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	handle, hash := token.NewHandle("code")
	b.ReportAllocs()
	for b.Loop() {
		if !token.MatchHandle("code", handle, hash) {
			b.Fatal("does not match")
		}
	}
}
