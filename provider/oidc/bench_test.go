package oidc_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
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
			token := o.idToken(b, object{"iss": o.URL, "sub": "alice-1", "aud": clientID, "exp": now.Add(time.Hour).Unix(),
				"iat": now.Unix(), "nonce": q.Get("nonce"), "name": "Alice", "email": "a@x.example", "email_verified": true})
			b.ReportMetric(benchFinish(b, o, p, redirect.Data, token), "reply-B")
		})
	}
}

func benchFinish(b *testing.B, o *op, p *oidc.Provider, data []byte, token string) float64 {
	body := []byte(`{"access_token":"the-access-token","token_type":"Bearer","expires_in":300,"id_token":"` + token + `"}`)
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
