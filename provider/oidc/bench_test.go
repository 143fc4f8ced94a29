package oidc_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/token"
)

func BenchmarkBegin(b *testing.B) {
	o := newOP(b)
	p := newProvider(b, o.config())
	r := provider.Request{RedirectURI: callback, State: rand.Text()}
	if _, err := p.Begin(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Begin(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFinish includes the request to the token endpoint and the provider's side of it; the signature is made
// beforehand.
func BenchmarkFinish(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			o := newOP(b)
			o.signer = newKey(b, alg, "k1")
			o.keys = []any{o.signer.public()}
			cfg := o.config()
			cfg.SigningAlgs = []string{alg}
			cfg.DisableUserInfo = true
			now := time.Now()
			cfg.Now = func() time.Time { return now }
			p := newProvider(b, cfg)
			redirect, q, err := o.begin(b, p)
			if err != nil {
				b.Fatal(err)
			}
			idToken := o.idToken(b, object{"iss": o.URL, "sub": "alice-1", "aud": clientID, "exp": now.Add(time.Hour).Unix(),
				"iat": now.Unix(), "nonce": q.Get("nonce"), "name": "Alice", "email": "a@x.example", "email_verified": true})
			b.ReportMetric(benchFinish(b, o, p, redirect.Data, idToken), "reply-B")
		})
	}
}

func benchFinish(b *testing.B, o *op, p *oidc.Provider, data []byte, idToken string) float64 {
	body := []byte(`{"access_token":"the-access-token","token_type":"Bearer","expires_in":300,"id_token":"` + idToken + `"}`)
	o.reply = staticJSON(body)
	cb := provider.Callback{Params: url.Values{"code": {"c"}, "state": {"s"}}, Data: data}
	if _, err := p.Finish(b.Context(), cb); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Finish(b.Context(), cb); err != nil {
			b.Fatal(err)
		}
	}
	return float64(len(body))
}

func staticJSON(body []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}
}

// BenchmarkDecrypt is an encrypted token that is verified; beside it the same one that nobody encrypted, and one that no key of
// as many as there may be opens, which anybody can send.
func BenchmarkDecrypt(b *testing.B) {
	o := newOP(b)
	signed := sign(b, o.signer.private, object{"alg": "ES256", "kid": "k1"}, mustJSON(b, object{
		"iss": o.URL, "sub": "alice-1", "aud": clientID, "exp": o.ago(-time.Minute), "iat": o.ago(0),
	}))
	for _, alg := range append([]string{""}, keyAlgs...) {
		cfg, raw := o.config(), signed
		name := "plain"
		if alg != "" {
			name = alg
			cfg.DecryptionKeys = []token.Key{decryptionKey(b, alg, "d1")}
			raw = encrypt(b, recipient(cfg.DecryptionKeys[0]), jose.A256GCM, nil, []byte(signed))
		}
		b.Run(name, func(b *testing.B) { benchmarkVerify(b, newProvider(b, cfg), raw, true) })
	}
	cfg := o.config()
	for i := range 8 {
		cfg.DecryptionKeys = append(cfg.DecryptionKeys, decryptionKey(b, "RSA-OAEP-256", fmt.Sprint(i)))
	}
	raw := encrypt(b, recipient(decryptionKey(b, "RSA-OAEP-256", "r1")), jose.A256GCM, nil, []byte(signed))
	b.Run("none of 8 opens", func(b *testing.B) { benchmarkVerify(b, newProvider(b, cfg), raw, false) })
}

func benchmarkVerify(b *testing.B, p *oidc.Provider, raw string, ok bool) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.VerifyToken(b.Context(), raw); (err == nil) != ok {
			b.Fatal(err)
		}
	}
}
