package broker_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

var benchAlgs = []string{token.RS256, token.PS256, token.ES256, token.EdDSA}

// bareSignature is how long it takes to sign as the algorithm does, and nothing else, on this machine now.
func bareSignature(b *testing.B, alg string) time.Duration {
	b.Helper()
	key, err := token.GenerateKey(alg)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("what is signed"))
	var options crypto.SignerOpts = crypto.SHA256
	switch alg {
	case token.PS256:
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case token.EdDSA:
		options = crypto.Hash(0)
	}
	const times = 200
	start := time.Now()
	for range times {
		if _, err := key.Sign(rand.Reader, digest[:], options); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start) / times
}

// benchClients has a client of each algorithm that may do all that clients may do.
func benchClients(c *broker.Config) {
	for _, alg := range benchAlgs {
		c.Clients = append(c.Clients, store.Client{
			ID: alg, Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs, IDTokenAlg: alg, AccessTokenAlg: alg,
			Grants: []string{store.GrantTypeCode, store.GrantTypeRefresh, store.GrantTypeCredentials}, Audience: []string{"https://api.example/"},
		})
	}
}

// ask sends a token request without a network in between.
func (w *world) ask(client string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, w.URL+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	basic(client, w.secret())(r)
	answer := httptest.NewRecorder()
	w.Broker.ServeHTTP(answer, r)
	return answer
}

// BenchmarkToken is the token endpoint with everything that it checks, by algorithm: an access token for a client itself,
// which is one signature, and a refresh, which is two and two of the store. "x-bare" is the time in bare signatures.
func BenchmarkToken(b *testing.B) {
	w := newWorld(b, benchClients)
	browser := w.login("Demo")
	report := func(b *testing.B, alg string, start time.Time, signatures int) {
		perOp := time.Since(start) / time.Duration(b.N)
		b.ReportMetric(float64(perOp)/float64(bareSignature(b, alg)*time.Duration(signatures)), "x-bare")
	}
	for _, alg := range benchAlgs {
		b.Run("credentials/"+alg, func(b *testing.B) {
			form := url.Values{"grant_type": {store.GrantTypeCredentials}}
			w.ask(alg, form) // the keys are made
			b.ReportAllocs()
			start := time.Now()
			for b.Loop() {
				if answer := w.ask(alg, form); answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
			report(b, alg, start, 1)
		})
		b.Run("refresh/"+alg, func(b *testing.B) {
			code := w.code(browser, set("client_id", alg))
			current := w.post("/token", alg, w.redeemForm(code)).renewed(b).RefreshToken
			b.ReportAllocs()
			start := time.Now()
			for b.Loop() {
				answer := w.ask(alg, refreshForm(current))
				var a tokenAnswer
				if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil || answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
				current = a.RefreshToken
			}
			report(b, alg, start, 2)
		})
	}
}

// storm sends the same request 64 times at once and returns how many succeeded.
func (w *world) storm(client string, form url.Values) (granted int, last string) {
	answers := make(chan *httptest.ResponseRecorder, 64)
	var all sync.WaitGroup
	for range cap(answers) {
		all.Go(func() { answers <- w.ask(client, form) })
	}
	all.Wait()
	close(answers)
	for answer := range answers {
		if answer.Code == http.StatusOK {
			granted, last = granted+1, answer.Body.String()
		}
	}
	return granted, last
}

// BenchmarkTokenStorm is 64 parallel redemptions of one code, of which at most one succeeds, and 64 parallel uses of one
// refresh token, which all get the same answer.
func BenchmarkTokenStorm(b *testing.B) {
	w := newWorld(b, benchClients)
	browser := w.login("Demo")
	b.Run("code", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if granted, _ := w.storm("rp", w.redeemForm(w.code(browser, nil))); granted > 1 {
				b.Fatalf("%d got tokens", granted)
			}
		}
	})
	b.Run("refresh", func(b *testing.B) {
		current := w.redeem(w.code(browser, nil), nil).renewed(b).RefreshToken
		b.ReportAllocs()
		for b.Loop() {
			granted, last := w.storm("rp", refreshForm(current))
			var a tokenAnswer
			if err := json.Unmarshal([]byte(last), &a); err != nil || granted != 64 {
				b.Fatalf("%d got tokens: %v", granted, err)
			}
			current = a.RefreshToken
		}
	})
}
