package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/token"
)

// The examples of RFC 9449: figure 2 (§4.1) for a token request, figure 12 (§7.1) for a resource.
const (
	rfc9449Header = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQy" +
		"VVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfc9449Token = rfc9449Header + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva" +
		"2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfc9449Resource = rfc9449Header + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy" +
		"9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9" +
		".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfc9449JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

const (
	proofURL = "https://api.example/notes"
	proofJTI = "a-proof"
)

func TestParseProofOfTheRFC(t *testing.T) { // RFC 9449 §4.1, §7.1
	t.Parallel()
	made := time.Unix(1562262616, 0)
	p, err := token.ParseProof(rfc9449Token, "POST", "https://server.example.com/token", made)
	if err != nil || p.JKT != rfc9449JKT || len(p.Key) != 43 || !p.Until.After(made.Add(time.Minute)) {
		t.Errorf("ParseProof = %+v, %v", p, err)
	}
	q, err := token.ParseProof(rfc9449Resource, "GET", "https://resource.example.org/protectedresource", made)
	if err != nil || q.JKT != rfc9449JKT || q.Key == p.Key {
		t.Fatalf("ParseProof = %+v, %v", q, err)
	}
	const accessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	bound, other, unbound := bindingOf(t, rfc9449JKT), bindingOf(t, p.Key), bindingOf(t, "")
	if !q.Covers(accessToken, bound) {
		t.Error("the proof does not cover the token of the example")
	}
	if q.Covers(accessToken+"x", bound) || q.Covers("", bound) || q.Covers(accessToken, other) || q.Covers(accessToken, unbound) {
		t.Error("the proof covers another token")
	}
	if p.Covers(accessToken, bound) || p.Covers("", bound) {
		t.Error("a proof without ath covers a token")
	}
}

// bindingOf returns the claims of a token that is bound to jkt.
func bindingOf(t *testing.T, jkt string) *token.Claims {
	t.Helper()
	var cnf any
	if jkt != "" {
		cnf = claims{"jkt": jkt}
	}
	r := newRing(t, token.EdDSA)
	c, err := newParser(r).Parse(t.Context(), sign(t, r, token.EdDSA, access(claims{"cnf": cnf})))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// jwkOf returns the public JWK of an algorithm's key.
func jwkOf(private crypto.Signer) claims {
	b, err := jose.JSONWebKey{Key: private.Public()}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var jwk claims
	if err := json.Unmarshal(b, &jwk); err != nil {
		panic(err)
	}
	return jwk
}

// proof makes a proof for GET proofURL with the header and claims changed; nil takes a member away.
func proof(algorithm string, header, payload claims) string {
	h := claims{"typ": "dpop+jwt", "alg": algorithm, "jwk": jwkOf(private(algorithm))}
	p := claims{"jti": proofJTI, "htm": "GET", "htu": proofURL, "iat": epoch.Unix()}
	for _, m := range []struct{ to, changes claims }{{h, header}, {p, payload}} {
		maps.Copy(m.to, m.changes)
		maps.DeleteFunc(m.to, func(_ string, v any) bool { return v == nil })
	}
	return forge(toJSON(h), toJSON(p), bareKey(algorithm))
}

func TestParseProof(t *testing.T) { // RFC 9449 §4.3
	t.Parallel()
	keys := map[string]bool{}
	for _, a := range algorithms {
		p, err := token.ParseProof(proof(a, nil, nil), "GET", proofURL, epoch)
		if err != nil {
			t.Errorf("ParseProof by %s: %v", a, err)
			continue
		}
		if want, _ := token.KeyID(private(a).Public()); p.JKT != want {
			t.Errorf("JKT by %s = %s, want %s", a, p.JKT, want)
		}
		keys[p.Key] = true
	}
	if len(keys) != len(algorithms) {
		t.Error("proofs of the same jti by other keys are taken for one another")
	}
}

func TestParseProofRefuses(t *testing.T) {
	t.Parallel()
	now := epoch.Unix()
	ec := private(token.ES256).(*ecdsa.PrivateKey)
	scalar, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := private(token.RS256).(*rsa.PrivateKey)
	weak := weakRSA(t)
	with := func(changes claims) claims { // the public JWK, changed
		jwk := jwkOf(ec)
		maps.Copy(jwk, changes)
		maps.DeleteFunc(jwk, func(_ string, v any) bool { return v == nil })
		return claims{"jwk": jwk}
	}
	good := proof(token.ES256, nil, nil)
	parts := strings.Split(good, ".")
	flipped, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	flipped[len(flipped)-1] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	header := func(more string) string {
		return `{"typ":"dpop+jwt","alg":"ES256","jwk":` + toJSON(jwkOf(ec)) + more + `}`
	}
	payload := toJSON(claims{"jti": "x", "htm": "GET", "htu": proofURL, "iat": now})
	rows := map[string]string{
		"§4.3 2: empty":                   "",
		"§4.3 2: not a JWT":               "junk",
		"§4.3 2: two in one header":       good + ", " + good,
		"§4.3 2: four segments":           good + ".x",
		"§4.3 2: no signature":            parts[0] + "." + parts[1] + ".",
		"§4.3 2: padded":                  good + "=",
		"§4.3 2: line break":              good[:9] + "\n" + good[9:],
		"§4.3 2: too long":                proof(token.ES256, nil, claims{"x": strings.Repeat("x", 8<<10)}),
		"CVE-2025-30204: many dots":       strings.Repeat(".", 8000),
		"§4.3 3: no jti":                  proof(token.ES256, nil, claims{"jti": nil}),
		"§4.3 3: empty jti":               proof(token.ES256, nil, claims{"jti": ""}),
		"§4.3 3: numeric jti":             proof(token.ES256, nil, claims{"jti": 1}),
		"§4.3 3: no htm":                  proof(token.ES256, nil, claims{"htm": nil}),
		"§4.3 3: no htu":                  proof(token.ES256, nil, claims{"htu": nil}),
		"§4.3 3: no iat":                  proof(token.ES256, nil, claims{"iat": nil}),
		"§4.3 3: textual iat":             proof(token.ES256, nil, claims{"iat": fmt.Sprint(now)}),
		"§4.3 3: two jtis":                forge(header(""), `{"jti":"y",`+payload[1:], ec),
		"§4.3 3: two jtis by case":        forge(header(""), `{"JTI":"y",`+payload[1:], ec),
		"§4.3 4: no typ":                  proof(token.ES256, claims{"typ": nil}, nil),
		"§4.3 4: typ JWT":                 proof(token.ES256, claims{"typ": "JWT"}, nil),
		"§4.3 4: typ at+jwt":              proof(token.ES256, claims{"typ": "at+jwt"}, nil),
		"§4.3 5: none":                    forge(strings.Replace(header(""), "ES256", "none", 1), payload, nil),
		"§4.3 5: none, signed":            proof(token.ES256, claims{"alg": "none"}, nil),
		"§4.3 5: no alg":                  proof(token.ES256, claims{"alg": nil}, nil),
		"§4.3 5: alg of another key":      proof(token.ES256, claims{"alg": "RS256"}, nil),
		"§4.3 5: alg out of the list":     proof(token.RS256, claims{"alg": "RS512"}, nil),
		"§4.3 5: HS256 with an oct key":   forge(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"`+b64(make([]byte, 32))+`"}}`, payload, make([]byte, 32)),
		"§4.3 5: HS256 by the public key": forge(`{"typ":"dpop+jwt","alg":"HS256","jwk":`+toJSON(jwkOf(rsaKey))+`}`, payload, rsaKey.N.Bytes()),
		"§4.3 6: another key's signature": parts[0] + "." + parts[1] + "." + strings.Split(proof(token.EdDSA, nil, nil), ".")[2],
		"§4.3 6: twin of the signature":   parts[0] + "." + parts[1] + "." + b64(flipped),
		"§4.3 6: another payload":         parts[0] + "." + b64([]byte(payload)) + "." + parts[2],
		"§4.3 6: another's jwk":           proof(token.ES256, claims{"jwk": jwkOf(private(token.EdDSA))}, nil),
		"§4.3 6: no jwk":                  proof(token.ES256, claims{"jwk": nil}, nil),
		"§4.3 6: jwk is text":             proof(token.ES256, claims{"jwk": toJSON(jwkOf(ec))}, nil),
		"§4.3 6: jwk null":                forge(`{"typ":"dpop+jwt","alg":"ES256","jwk":null}`, payload, ec),
		"§4.3 6: jwk list":                proof(token.ES256, claims{"jwk": []any{jwkOf(ec)}}, nil),
		"§4.3 6: jku instead":             proof(token.ES256, claims{"jwk": nil, "jku": "https://evil.example/jwks"}, nil),
		"§4.3 6: kid instead":             proof(token.ES256, claims{"jwk": nil, "kid": "ES256"}, nil),
		"§4.3 6: two jwks":                forge(header(`,"jwk":`+toJSON(jwkOf(ec))), payload, ec),
		"§4.3 6: two kinds in one jwk":    forge(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"RSA",`+toJSON(jwkOf(ec))[1:]+`}`, payload, ec),
		"§4.3 6: crit":                    forge(header(`,"crit":["exp"]`), payload, ec),
		"§4.3 7: private key":             proof(token.ES256, with(claims{"d": b64(scalar)}), nil),
		"§4.3 7: an empty d":              proof(token.ES256, with(claims{"d": ""}), nil),
		"§4.3 7: d is null":               proof(token.ES256, with(claims{"d": (*int)(nil)}), nil),
		"§4.3 7: a member of RSA":         proof(token.ES256, with(claims{"p": "AQAB"}), nil),
		"§4.3 7: k":                       proof(token.ES256, with(claims{"k": "AQAB"}), nil),
		"key not for signatures":          proof(token.ES256, with(claims{"use": "enc"}), nil),
		"key not to verify with":          proof(token.ES256, with(claims{"key_ops": []string{"encrypt"}}), nil),
		"key for another algorithm":       proof(token.ES256, with(claims{"alg": "ES384"}), nil),
		"point not on the curve":          proof(token.ES256, with(claims{"y": b64(make([]byte, 32))}), nil),
		"point cut":                       proof(token.ES256, with(claims{"x": "AA"}), nil),
		"another curve":                   forge(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+toJSON(jwkOf(p384))+`}`, payload, ec),
		"RSA of 1024 bits":                forge(`{"typ":"dpop+jwt","alg":"RS256","jwk":`+toJSON(jwkOf(weak))+`}`, payload, weak),
		"RSA with the exponent 1":         forge(`{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","n":"`+b64(rsaKey.N.Bytes())+`","e":"AQ"}}`, payload, rsaKey),
		"§4.3 8: POST":                    proof(token.ES256, nil, claims{"htm": "POST"}),
		"§4.3 8: in lower case":           proof(token.ES256, nil, claims{"htm": "get"}),
		"§4.3 9: another path":            proof(token.ES256, nil, claims{"htu": proofURL + "/1"}),
		"§4.3 9: a slash more":            proof(token.ES256, nil, claims{"htu": proofURL + "/"}),
		"§4.3 9: another host":            proof(token.ES256, nil, claims{"htu": "https://evil.example/notes"}),
		"§4.3 9: host with an end":        proof(token.ES256, nil, claims{"htu": "https://api.example.evil.example/notes"}),
		"§4.3 9: another port":            proof(token.ES256, nil, claims{"htu": "https://api.example:8443/notes"}),
		"§4.3 9: port of http":            proof(token.ES256, nil, claims{"htu": "https://api.example:80/notes"}),
		"§4.3 9: http":                    proof(token.ES256, nil, claims{"htu": "http://api.example/notes"}),
		"§4.3 9: a user":                  proof(token.ES256, nil, claims{"htu": "https://u@api.example/notes"}),
		"§4.3 9: path only":               proof(token.ES256, nil, claims{"htu": "/notes"}),
		"§4.3 9: no scheme":               proof(token.ES256, nil, claims{"htu": "//api.example/notes"}),
		"§4.3 9: in other case":           proof(token.ES256, nil, claims{"htu": "https://api.example/Notes"}),
		"§4.3 9: escaped slash":           proof(token.ES256, nil, claims{"htu": "https://api.example/%2Fnotes"}),
		"§4.3 9: bad escape":              proof(token.ES256, nil, claims{"htu": "https://api.example/%zznotes"}),
		"§4.3 9: a list":                  proof(token.ES256, nil, claims{"htu": []string{proofURL}}),
		"§4.3 11: old":                    proof(token.ES256, nil, claims{"iat": now - 61}),
		"§4.3 11: ahead":                  proof(token.ES256, nil, claims{"iat": now + 61}),
		"§4.3 11: ages ago":               proof(token.ES256, nil, claims{"iat": 0}),
		"§4.3 11: in milliseconds":        proof(token.ES256, nil, claims{"iat": now * 1000}),
		"expired":                         proof(token.ES256, nil, claims{"exp": now}),
		"not valid yet":                   proof(token.ES256, nil, claims{"nbf": now + 1}),
		"§4.3 12: ath is a list":          proof(token.ES256, nil, claims{"ath": []string{"x"}}),
	}
	for name, raw := range rows {
		p, err := token.ParseProof(raw, "GET", proofURL, epoch)
		if p != nil || !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: ParseProof = %+v, %v, want ErrInvalid", name, p, err)
		}
	}
}

// RFC 9449 §4.3: how htu may be spelt, by RFC 3986 §6.2.2 and §6.2.3.
func TestParseProofNormalises(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ htu, url string }{
		{"HTTPS://API.example/notes", proofURL},
		{"https://api.example:443/notes", proofURL},
		{"https://api.example:/notes", proofURL},
		{"https://api.example/notes?q=1#f", proofURL},
		{"https://api.example/n%6ftes", proofURL},
		{"https://api.example/%7euser/%c3%a4", "https://api.example/~user/%C3%A4"},
		{"https://api.example/a/../notes", proofURL},
		{"https://api.example/./notes", proofURL},
		{"https://api.example/x/%2e%2E/notes", proofURL},
		{"https://api.example", "https://api.example/"},
		{"http://127.0.0.1:80/notes", "http://127.0.0.1/notes"},
		{"http://[::1]:8080/notes", "http://[::1]:8080/notes"},
		{proofURL, proofURL + "?q=1"},
	} {
		if _, err := token.ParseProof(proof(token.EdDSA, nil, claims{"htu": tt.htu}), "GET", tt.url, epoch); err != nil {
			t.Errorf("htu %s for %s: %v", tt.htu, tt.url, err)
		}
	}
	for _, d := range []int64{-60, 60} {
		if _, err := token.ParseProof(proof(token.EdDSA, nil, claims{"iat": epoch.Unix() + d}), "GET", proofURL, epoch); err != nil {
			t.Errorf("made %d seconds from now: %v", d, err)
		}
	}
	if _, err := token.ParseProof(proof(token.EdDSA, claims{"typ": "application/DPoP+JWT", "kid": "mine"}, claims{"nonce": "n"}), "GET", proofURL, epoch); err != nil {
		t.Errorf("with what it need not have: %v", err)
	}
}

// Points of small order: a signature that is good for a message without anybody having a private key. A proof by one would
// be everybody's. That none is read is go-jose's doing, and has to stay so.
func TestSmallOrderKeys(t *testing.T) {
	t.Parallel()
	one := make([]byte, 32) // the neutral element
	one[0] = 1
	for _, spelling := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000080",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	} {
		public, err := hex.DecodeString(spelling)
		if err != nil {
			t.Fatal(err)
		}
		header := `{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + b64(public) + `"}}`
		forged := 0
		for i := range 64 { // R neutral and S zero: good whenever the hash is a multiple of the order
			signed := b64([]byte(header)) + "." + b64([]byte(fmt.Sprintf(`{"jti":"%d","htm":"GET","htu":%q,"iat":%d}`, i, proofURL, epoch.Unix())))
			signature := append(append([]byte{}, one...), make([]byte, 32)...)
			if !ed25519.Verify(public, []byte(signed), signature) {
				continue
			}
			forged++
			if p, err := token.ParseProof(signed+"."+b64(signature), "GET", proofURL, epoch); !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: ParseProof = %+v, %v", spelling, p, err)
			}
		}
		if forged == 0 {
			t.Errorf("%s: nothing could be forged: is it of small order?", spelling)
		}
	}
}

// once is a store of replay marks for one process.
type once struct {
	mu   sync.Mutex
	seen map[string]time.Time
	err  error
}

func (o *once) mark(_ context.Context, key string, until time.Time) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false, o.err
	}
	if _, ok := o.seen[key]; ok {
		return false, nil
	}
	o.seen[key] = until
	return true, nil
}

// boundTo returns an access token that is bound to the key of an algorithm, and its ath.
func boundTo(t *testing.T, r *token.Ring, algorithm string, changes claims) (raw, ath string) {
	t.Helper()
	c := access(claims{"cnf": claims{"jkt": keyID(t, algorithm)}})
	maps.Copy(c, changes)
	raw = sign(t, r, token.ES256, c)
	return raw, athOf(raw)
}

func keyID(t *testing.T, algorithm string) string {
	t.Helper()
	id, err := token.KeyID(private(algorithm).Public())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func athOf(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return b64(sum[:])
}

// present sends a request with a token by scheme, and proofs.
func present(v *token.Verifier, scheme, raw string, proofs ...string) *httptest.ResponseRecorder {
	h := v.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := token.From(r.Context())
		fmt.Fprint(w, a.Subject)
	}))
	r := httptest.NewRequest(http.MethodGet, "http://other.example/notes?page=2", nil)
	r.Header.Set("Authorization", scheme+" "+raw)
	r.Header["Dpop"] = proofs
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRequireDPoP(t *testing.T) { // RFC 9449 §7
	t.Parallel()
	r := newRing(t)
	v := newVerifier(r)
	seen := &once{seen: map[string]time.Time{}}
	v.DPoP = &token.DPoP{BaseURL: "https://api.example/", Once: seen.mark}
	raw, ath := boundTo(t, r, token.EdDSA, nil)
	other, otherATH := boundTo(t, r, token.ES256, nil)
	unbound := sign(t, r, token.ES256, access(nil))
	old, oldATH := boundTo(t, r, token.EdDSA, claims{"exp": epoch.Unix() - 60})
	narrow, narrowATH := boundTo(t, r, token.EdDSA, claims{"scope": "write"})
	two, twoATH := boundTo(t, r, token.EdDSA, claims{"cnf": claims{"jkt": keyID(t, token.EdDSA), "x5t#S256": "y"}})
	n := 0
	fresh := func(ath string, changes claims) string {
		n++
		p := claims{"jti": fmt.Sprint(n), "ath": ath}
		maps.Copy(p, changes)
		return proof(token.EdDSA, nil, p)
	}
	const (
		dpop   = `DPoP realm="https://api.example"`
		algs   = `, algs="RS256 PS256 ES256 EdDSA"`
		scope  = `, scope="read"`
		bearer = `Bearer realm="https://api.example"`
		reason = `, error="invalid_token", error_description="The access token is not valid here"`
		badP   = `, error="invalid_dpop_proof", error_description="The DPoP proof is not valid here"`
	)
	good := fresh(ath, nil)
	for _, tt := range []struct {
		name       string
		scheme     string
		raw        string
		proofs     []string
		status     int
		challenges string
	}{
		{"§7.1: as it should be", "DPoP", raw, []string{good}, 200, ""},
		{"§7.1: scheme in other case", "dpop", raw, []string{fresh(ath, nil)}, 200, ""},
		{"§7.2: an unbound token as Bearer", "Bearer", unbound, nil, 200, ""},
		{"§11.1: the same proof again", "DPoP", raw, []string{good}, 401, dpop + badP + scope + algs + "\n" + bearer},
		{"§4.3 1: no proof", "DPoP", raw, nil, 401, dpop + badP + scope + algs + "\n" + bearer},
		{"§4.3 1: two proofs", "DPoP", raw, []string{fresh(ath, nil), fresh(ath, nil)}, 401, dpop + badP + scope + algs + "\n" + bearer},
		{"§4.3 9: for the Host header's URL", "DPoP", raw, []string{fresh(ath, claims{"htu": "http://other.example/notes"})}, 401, dpop + badP + scope + algs + "\n" + bearer},
		{"§4.3 12: no ath", "DPoP", raw, []string{fresh("", nil)}, 401, dpop + reason + scope + algs + "\n" + bearer},
		{"§4.3 12: another token's ath", "DPoP", raw, []string{fresh(otherATH, nil)}, 401, dpop + reason + scope + algs + "\n" + bearer},
		{"§4.3 12: bound to another key", "DPoP", other, []string{fresh(otherATH, nil)}, 401, dpop + reason + scope + algs + "\n" + bearer},
		{"§7.1: a bearer token as DPoP", "DPoP", unbound, []string{fresh(athOf(unbound), nil)}, 401, dpop + reason + scope + algs + "\n" + bearer},
		{"§7.2: a bound token as Bearer", "Bearer", raw, nil, 401, bearer + reason + scope + "\n" + dpop + algs},
		{"§7.2: a bound token as Bearer, with its proof", "Bearer", raw, []string{fresh(ath, nil)}, 401, bearer + reason + scope + "\n" + dpop + algs},
		{"bound to more than a key", "DPoP", two, []string{fresh(twoATH, nil)}, 401, dpop + reason + scope + algs + "\n" + bearer},
		{"expired", "DPoP", old, []string{fresh(oldATH, nil)}, 401,
			dpop + `, error="invalid_token", error_description="The access token has expired"` + scope + algs + "\n" + bearer},
		{"scope missing", "DPoP", narrow, []string{fresh(narrowATH, nil)}, 403,
			dpop + `, error="insufficient_scope", error_description="The access token lacks a scope"` + scope + algs},
		{"no token", "DPoP", "", nil, 400, dpop + `, error="invalid_request", error_description="No access token"` + scope + algs},
		{"nothing", "Basic", "x", nil, 401, bearer + scope + "\n" + dpop + algs},
	} {
		w := present(v, tt.scheme, tt.raw, tt.proofs...)
		got := strings.Join(w.Header().Values("WWW-Authenticate"), "\n")
		if w.Code != tt.status || got != tt.challenges {
			t.Errorf("%s: %d\n%s\nwant %d\n%s", tt.name, w.Code, got, tt.status, tt.challenges)
		}
	}
	if len(seen.seen) != 3 { // the two good ones and the one without the scope
		t.Errorf("%d proofs are remembered, want only the good ones", len(seen.seen))
	}
	if a, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrInvalid) || a != nil {
		t.Errorf("Verify of a bound token = %v, %v, want ErrInvalid", a, err)
	}
}

func TestRequireDPoPFailsClosed(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	raw, ath := boundTo(t, r, token.EdDSA, nil)
	good := proof(token.EdDSA, nil, claims{"ath": ath})
	seen := &once{seen: map[string]time.Time{}, err: errors.New("store is down")}
	for name, d := range map[string]*token.DPoP{
		"the store is down": {BaseURL: "https://api.example", Once: seen.mark}, "no Once": {BaseURL: "https://api.example"}, "no BaseURL": {Once: seen.mark},
	} {
		v := newVerifier(r)
		v.DPoP = d
		if w := present(v, "DPoP", raw, good); w.Code != http.StatusServiceUnavailable || len(w.Header().Values("WWW-Authenticate")) > 0 {
			t.Errorf("%s: %d %v, want 503", name, w.Code, w.Header())
		}
	}
	v := newVerifier(r)
	if w := present(v, "DPoP", raw, good); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != `Bearer realm="https://api.example", scope="read"` {
		t.Errorf("without DPoP: %d %v, want 401 and no word of DPoP", w.Code, w.Header())
	}
	if w := present(v, "Bearer", raw, good); w.Code != http.StatusUnauthorized {
		t.Errorf("a bound token without DPoP: %d, want 401", w.Code)
	}
}

// Of 64 requests with one proof at once, one is let through.
func TestRequireDPoPRace(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	v := newVerifier(r)
	v.DPoP = &token.DPoP{BaseURL: "https://api.example", Once: (&once{seen: map[string]time.Time{}}).mark}
	raw, ath := boundTo(t, r, token.EdDSA, nil)
	good := proof(token.EdDSA, nil, claims{"ath": ath})
	status := make(chan int, 64)
	for range cap(status) {
		go func() { status <- present(v, "DPoP", raw, good).Code }()
	}
	through := 0
	for range cap(status) {
		if <-status == http.StatusOK {
			through++
		}
	}
	if through != 1 {
		t.Errorf("%d requests were let through, want 1", through)
	}
}

// FuzzParseProof signs any header and claims with the key that the header should carry. What is accepted verifies with the
// standard library alone and says what was asked for; its spelling of the URL does not matter twice.
func FuzzParseProof(f *testing.F) {
	const own = `{"kty":"OKP","crv":"Ed25519","x":"KEY"}` // the processes of a fuzz run have one each
	f.Add(own, `"dpop+jwt"`, "GET", proofURL, int64(0), "")
	f.Add(`{"kty":"oct","k":"AAAA"}`, `"JWT"`, "POST", "https://API.example:443/%6eotes/../notes?x#y", int64(-61), ",")
	f.Add(`{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `null`, "get", "//x", int64(1e15), "=")
	f.Add(own, `"DPOP+jwt"`, "GET", "https://api.example/%2e/notes", int64(60), "")
	key := private(token.EdDSA).(ed25519.PrivateKey)
	f.Fuzz(func(t *testing.T, jwk, typ, method, htu string, late int64, tail string) {
		header := `{"typ":` + typ + `,"alg":"EdDSA","jwk":` + strings.ReplaceAll(jwk, "KEY", b64(key.Public().(ed25519.PublicKey))) + `}`
		payload := toJSON(claims{"jti": proofJTI, "htm": method, "htu": htu, "iat": epoch.Unix() + late})
		p, err := token.ParseProof(forge(header, payload, key)+tail, "GET", proofURL, epoch)
		if err != nil {
			mustEnter := jwk == own && typ == `"dpop+jwt"` && method == "GET" && htu == proofURL && late == 0 && tail == ""
			if p != nil || !errors.Is(err, token.ErrInvalid) || mustEnter {
				t.Fatalf("ParseProof = %+v, %v", p, err)
			}
			return
		}
		if want, _ := token.KeyID(key.Public()); p.JKT != want {
			t.Fatalf("accepted %s by the key %s", header, p.JKT)
		}
		if method != "GET" || late < -60 || late > 60 || tail != "" || !strings.HasPrefix(strings.ToLower(htu), "https://api.example") {
			t.Fatalf("accepted %s", payload)
		}
		if _, err := token.ParseProof(proof(token.EdDSA, nil, nil), "GET", htu, epoch); err != nil {
			t.Fatalf("%q is %q one way only: %v", htu, proofURL, err)
		}
	})
}
