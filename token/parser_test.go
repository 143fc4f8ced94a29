package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

// refused fails the test if p accepts raw, and if the error is not an ErrInvalid that keeps the token to itself.
func refused(t *testing.T, p *token.Parser, name, raw string) {
	t.Helper()
	c, err := p.Parse(t.Context(), raw)
	if c != nil || !errors.Is(err, token.ErrInvalid) {
		t.Errorf("%s: Parse = %v, %v, want ErrInvalid", name, c, err)
		return
	}
	for _, part := range strings.Split(raw, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error %q tells of the token", name, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	for _, a := range algorithms {
		c, err := newParser(r).Parse(t.Context(), sign(t, r, a, access(claims{"nbf": epoch.Unix() - 1, "email": "a@b"})))
		if err != nil {
			t.Fatalf("Parse(%s): %v", a, err)
		}
		if c.Issuer != issuer || c.Subject != "user" || len(c.Audience) != 1 || c.Audience[0] != audience || c.ID != "id" {
			t.Errorf("Parse(%s) = %+v", a, c)
		}
		if !c.Expires.Equal(epoch.Add(5*time.Minute)) || !c.IssuedAt.Equal(epoch) || !c.NotBefore.Equal(epoch.Add(-time.Second)) {
			t.Errorf("Parse(%s): times are %v, %v, %v", a, c.Expires, c.IssuedAt, c.NotBefore)
		}
		var more struct{ Email string }
		if err := c.Decode(&more); err != nil || more.Email != "a@b" {
			t.Errorf("Decode = %+v, %v", more, err)
		}
		var wrong struct{ Sub int }
		if err := c.Decode(&wrong); !errors.Is(err, token.ErrInvalid) || strings.Contains(err.Error(), "user") {
			t.Errorf("Decode into a wrong struct: %v, want an ErrInvalid without the claim", err)
		}
	}
}

func TestParseClaims(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.EdDSA)
	now := epoch.Unix()
	ok, expired := error(nil), token.ErrExpired
	bad := token.ErrInvalid
	for _, tt := range []struct {
		name    string
		changes claims
		want    error
	}{
		{"no iss", claims{"iss": nil}, bad},
		{"other iss", claims{"iss": "https://evil.example"}, bad},
		{"iss with slash", claims{"iss": issuer + "/"}, bad},
		{"iss in capitals", claims{"iss": strings.ToUpper(issuer)}, bad},
		{"empty iss", claims{"iss": ""}, bad},
		{"iss list", claims{"iss": []string{issuer}}, bad},
		{"no aud", claims{"aud": nil}, bad},
		{"other aud", claims{"aud": "https://other.example"}, bad},
		{"empty aud", claims{"aud": []string{}}, bad},
		{"aud among others", claims{"aud": []string{"x", audience}}, ok},
		{"aud with null", claims{"aud": []any{nil, audience}}, bad},
		{"aud with number", claims{"aud": []any{1, audience}}, bad},
		{"aud object", claims{"aud": claims{audience: true}}, bad},
		{"aud prefix", claims{"aud": audience + "/v2"}, bad},
		{"no sub", claims{"sub": nil}, bad},
		{"empty sub", claims{"sub": ""}, bad},
		{"null sub", claims{"sub": (*string)(nil)}, bad},
		{"numeric sub", claims{"sub": 7}, bad},
		{"no sub but sid", claims{"sub": nil, "sid": "s"}, bad},
		{"no exp", claims{"exp": nil}, bad},
		{"null exp", claims{"exp": (*int)(nil)}, bad},
		{"text exp", claims{"exp": fmt.Sprint(now + 300)}, bad},
		{"negative exp", claims{"exp": -1}, bad},
		{"endless exp", claims{"exp": 1e300}, bad},
		{"exp 0", claims{"exp": 0}, expired},
		{"exp now", claims{"exp": now}, ok}, // leeway
		{"exp at leeway", claims{"exp": now - 10}, expired},
		{"exp just in leeway", claims{"exp": float64(now) - 9.5}, ok},
		{"exp past", claims{"exp": now - 300}, expired},
		{"exp past and other aud", claims{"exp": now - 300, "aud": "x"}, bad},
		{"no iat", claims{"iat": nil}, bad},
		{"text iat", claims{"iat": "now"}, bad},
		{"iat ahead", claims{"iat": now + 11}, bad},
		{"iat within leeway", claims{"iat": now + 10}, ok},
		{"nbf ahead", claims{"nbf": now + 11}, bad},
		{"nbf within leeway", claims{"nbf": now + 10}, ok},
		{"text nbf", claims{"nbf": "never"}, bad},
		{"numeric jti", claims{"jti": 1}, bad},
		{"names in capitals", claims{"iss": nil, "ISS": issuer}, bad},
	} {
		c, err := newParser(r).Parse(t.Context(), sign(t, r, token.EdDSA, access(tt.changes)))
		if !errors.Is(err, tt.want) || (err == nil) != (c != nil) || errors.Is(err, token.ErrExpired) != errors.Is(tt.want, token.ErrExpired) {
			t.Errorf("%s: Parse = %v, %v, want %v", tt.name, c, err, tt.want)
		}
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", tt.name, err)
		}
	}
}

func TestParserOptions(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	old := sign(t, r, token.ES256, access(claims{"exp": epoch.Unix() - 3600, "aud": "somebody"}))
	p := newParser(r)
	p.SkipAudience, p.SkipExpiry, p.Audience = true, true, ""
	if c, err := p.Parse(t.Context(), old); err != nil || c.Audience[0] != "somebody" {
		t.Errorf("Parse with SkipAudience and SkipExpiry = %v, %v", c, err)
	}
	refused(t, p, "SkipExpiry without exp", sign(t, r, token.ES256, access(claims{"exp": nil})))
	p.SkipExpiry = false
	if _, err := p.Parse(t.Context(), old); !errors.Is(err, token.ErrExpired) {
		t.Errorf("Parse without SkipExpiry: %v, want ErrExpired", err)
	}
	p = newParser(r)
	p.Leeway = -1
	if _, err := p.Parse(t.Context(), sign(t, r, token.ES256, access(claims{"exp": epoch.Unix()}))); !errors.Is(err, token.ErrExpired) {
		t.Errorf("Parse without leeway at exp: %v, want ErrExpired", err)
	}
	p.Algorithms = []string{token.ES256}
	refused(t, p, "algorithm not in the list", sign(t, r, token.EdDSA, access(nil)))
	p.Algorithms = []string{}
	refused(t, p, "empty list of algorithms", sign(t, r, token.ES256, access(nil)))

	// Logout tokens have a sub, a sid or both.
	p = newParser(r)
	p.Type = token.LogoutToken
	for _, tt := range []struct {
		changes claims
		ok      bool
	}{{nil, true}, {claims{"sub": nil, "sid": "s"}, true}, {claims{"sub": nil}, false}, {claims{"sub": nil, "sid": ""}, false}} {
		raw, err := r.Sign(epoch, token.EdDSA, token.LogoutToken, access(tt.changes))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Parse(t.Context(), raw); (err == nil) != tt.ok {
			t.Errorf("logout token with %v: %v, want ok: %v", tt.changes, err, tt.ok)
		}
	}
}

func TestParserWithoutItsFieldsAcceptsNothing(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.EdDSA)
	raw := sign(t, r, token.EdDSA, access(claims{"iss": "", "aud": ""}))
	for name, change := range map[string]func(*token.Parser){
		"type": func(p *token.Parser) { p.Type = "" }, "issuer": func(p *token.Parser) { p.Issuer = "" },
		"audience": func(p *token.Parser) { p.Audience = "" }, "keys": func(p *token.Parser) { p.Keys = nil },
	} {
		p := newParser(r)
		change(p)
		if c, err := p.Parse(t.Context(), raw); err == nil || c != nil || errors.Is(err, token.ErrInvalid) {
			t.Errorf("Parse without %s = %v, %v, want an error that blames the parser", name, c, err)
		}
	}
}

// No token passes for one of another purpose.
func TestParseTypes(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.EdDSA)
	types := []token.Type{token.IDToken, token.AccessToken, token.LogoutToken}
	for _, is := range types {
		raw, err := r.Sign(epoch, token.EdDSA, is, access(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range types {
			p := newParser(r)
			p.Type = want
			if _, err := p.Parse(t.Context(), raw); (err == nil) != (is == want) {
				t.Errorf("a %q as a %q: %v", is, want, err)
			}
		}
	}
	for typ, ok := range map[string]bool{
		`"at+jwt"`: true, `"AT+JWT"`: true, `"application/at+jwt"`: true, `"Application/At+Jwt"`: true,
		`"application/application/at+jwt"`: false, `"application/"`: false, `"text/at+jwt"`: false, `" at+jwt"`: false, `""`: false,
		`null`: false, `1`: false, `["at+jwt"]`: false, `"at+jwt\u0000"`: false,
	} {
		raw := forge(`{"alg":"EdDSA","kid":"EdDSA","typ":`+typ+`}`, toJSON(access(nil)), private(token.EdDSA))
		if _, err := newParser(r).Parse(t.Context(), raw); (err == nil) != ok {
			t.Errorf("typ %s: %v, want ok: %v", typ, err, ok)
		}
	}
	refused(t, newParser(r), "no typ", forge(`{"alg":"EdDSA","kid":"EdDSA"}`, toJSON(access(nil)), private(token.EdDSA)))
	p := newParser(r)
	p.Type = "task"
	refused(t, p, "typ that folds to ASCII", forge(`{"alg":"EdDSA","kid":"EdDSA","typ":"taſk"}`, toJSON(access(nil)), private(token.EdDSA)))
}

// The attacks on signatures: somebody who has no key of ours, but all of our public ones, forges a token.
func TestParseRefusesForgeries(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	rsaKey, ecKey, edKey := private(token.RS256).(*rsa.PrivateKey), private(token.ES256), private(token.EdDSA).(ed25519.PrivateKey)
	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwks, _ := r.JWKS(epoch)
	payload := toJSON(access(nil))
	head := func(alg, kid, more string) string {
		return fmt.Sprintf(`{"typ":"at+jwt","alg":%q,"kid":%q%s}`, alg, kid, more)
	}
	p := newParser(r)
	everything := newParser(r)
	everything.Algorithms = []string{
		"HS256", "HS384", "HS512", "none", "None", "NONE", "", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA",
	}
	for name, raw := range map[string]string{
		"HS256 with the public key, DER":    forge(head("HS256", "RS256", ""), payload, der),
		"HS256 with the public key, PEM":    forge(head("HS256", "RS256", ""), payload, pemKey),
		"HS256 with the public key, PKCS 1": forge(head("HS256", "RS256", ""), payload, pkcs1),
		"HS256 with the public key, Ed":     forge(head("HS256", "EdDSA", ""), payload, []byte(edKey.Public().(ed25519.PublicKey))),
		"HS256 with the key set":            forge(head("HS256", "RS256", ""), payload, jwks),
		"HS256 with an empty key":           forge(head("HS256", "RS256", ""), payload, []byte{}),
		"RS256 with an HMAC":                forge(head("RS256", "RS256", ""), payload, der),
		"none":                              forge(head("none", "RS256", ""), payload, nil),
		"none with signature":               forge(head("none", "RS256", ""), payload, rsaKey),
		"None":                              forge(head("None", "RS256", ""), payload, nil),
		"NONE":                              forge(head("NONE", "RS256", ""), payload, nil),
		"empty algorithm":                   forge(head("", "RS256", ""), payload, nil),
		"no algorithm":                      forge(`{"typ":"at+jwt","kid":"RS256"}`, payload, rsaKey),
		"numeric algorithm":                 forge(`{"typ":"at+jwt","kid":"RS256","alg":1}`, payload, rsaKey),
		"lower-case algorithm":              forge(head("rs256", "RS256", ""), payload, rsaKey),
		"RS512 named, RS256 signed":         forge(head("RS512", "RS256", ""), payload, rsaKey),
		"RS256 key used for PS256":          forge(head("PS256", "RS256", ""), payload, pss{rsaKey}),
		"PS256 key used for RS256":          forge(head("RS256", "PS256", ""), payload, private(token.PS256)),
		"ES256 named, RSA key":              forge(head("ES256", "RS256", ""), payload, ecKey),
		"RS256 named, EC key":               forge(head("RS256", "ES256", ""), payload, rsaKey),
		"EdDSA named, EC key":               forge(head("EdDSA", "ES256", ""), payload, edKey),
		"no signature":                      forge(head("RS256", "RS256", ""), payload, nil),
		"unknown kid":                       forge(head("RS256", "rs256", ""), payload, rsaKey),
		"kid of another key":                forge(head("RS256", "EdDSA", ""), payload, rsaKey),
		"kid is a path":                     forge(head("HS256", "../../dev/null", ""), payload, []byte{}),
		"kid is SQL":                        forge(head("RS256", "x' UNION SELECT 'key", ""), payload, rsaKey),
		"empty kid":                         forge(head("RS256", "", ""), payload, rsaKey),
		"numeric kid":                       forge(`{"typ":"at+jwt","alg":"RS256","kid":1}`, payload, rsaKey),
		"kid list":                          forge(`{"typ":"at+jwt","alg":"RS256","kid":["RS256"]}`, payload, rsaKey),
		"endless kid":                       forge(head("RS256", strings.Repeat("k", 300), ""), payload, rsaKey),
		"crit":                              forge(head("RS256", "RS256", `,"crit":["exp"]`), payload, rsaKey),
		"empty crit":                        forge(head("RS256", "RS256", `,"crit":[]`), payload, rsaKey),
		"null crit":                         forge(head("RS256", "RS256", `,"crit":null`), payload, rsaKey),
		"b64":                               forge(head("RS256", "RS256", `,"b64":false`), payload, rsaKey),
		"two algorithms":                    forge(head("RS256", "RS256", `,"alg":"RS256"`), payload, rsaKey),
		"two algorithms, escaped":           forge(head("RS256", "RS256", `,"\u0061lg":"RS256"`), payload, rsaKey),
		"two algorithms, capitals":          forge(head("RS256", "RS256", `,"ALG":"none"`), payload, rsaKey),
		"two key ids":                       forge(head("RS256", "RS256", `,"kid":"RS256"`), payload, rsaKey),
		"two embedded names":                forge(head("RS256", "RS256", `,"x":{"a":1,"a":2}`), payload, rsaKey),
		"data after the header":             forge(head("RS256", "RS256", "")+"{}", payload, rsaKey),
		"header is a list":                  forge("["+head("RS256", "RS256", "")+"]", payload, rsaKey),
		"header is null":                    forge("null", payload, rsaKey),
		"header is empty":                   forge("", payload, rsaKey),
		"header in Latin 1":                 forge(head("RS256", "RS256", ",\"x\":\"\xe4\""), payload, rsaKey),
		"deep header":                       forge(head("RS256", "RS256", `,"x":`+strings.Repeat("[", 90)+strings.Repeat("]", 90)), payload, rsaKey),
	} {
		refused(t, p, name, raw)
		refused(t, everything, name+" (all algorithms allowed)", raw)
	}
	for name, payload := range map[string]string{
		"two issuers":             `{"iss":"secret",` + payload[1:],
		"data after the claims":   payload + "{}",
		"claims are a list":       "[" + payload + "]",
		"claims are null":         "null",
		"claims are empty":        "",
		"claims are a string":     `"secret"`,
		"truncated claims":        payload[:len(payload)-1],
		"deep claims":             payload[:len(payload)-1] + `,"x":` + strings.Repeat(`{"a":`, 90) + "1" + strings.Repeat("}", 90) + "}",
		"equal names":             payload[:len(payload)-1] + `,"sub":"root"}`,
		"equal names, escaped":    payload[:len(payload)-1] + `,"s\u0075b":"root"}`,
		"equal names, capitals":   payload[:len(payload)-1] + `,"SUB":"root"}`,
		"equal names, long s":     payload[:len(payload)-1] + `,"ſub":"root"}`,
		"equal names, Kelvin":     payload[:len(payload)-1] + `,"k":1,"K":2}`,
		"equal names, nested":     payload[:len(payload)-1] + `,"x":[{"a":1,"b":{"c":1,"c":2}}]}`,
		"invalid UTF-8":           payload[:len(payload)-1] + ",\"x\":\"\xff\"}",
		"byte order mark":         "\ufeff" + payload,
		"single quotes":           strings.ReplaceAll(payload, `"`, `'`),
		"comment":                 payload + "//",
		"infinite expiry":         strings.Replace(payload, `"exp":`, `"exp":Infinity,"x":`, 1),
		"hexadecimal expiry":      strings.Replace(payload, `"exp":`, `"exp":0xffffffffff,"x":`, 1),
		"digits with underscores": strings.Replace(payload, `"exp":`, `"exp":1_000,"x":`, 1),
	} {
		refused(t, p, name, forge(head("RS256", "RS256", ""), payload, rsaKey))
	}
	// The same helper makes a good one, so it is not the helper that fails.
	if _, err := p.Parse(t.Context(), forge(head("RS256", "RS256", `,"x":{"a":1,"b":[1,{"a":2}]}`), payload, rsaKey)); err != nil {
		t.Errorf("a good token by hand: %v", err)
	}
}

// Keys that a token brings along are not used.
func TestParseIgnoresEmbeddedKeys(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.RS256)
	evil, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := token.Key{ID: "RS256", Algorithm: token.RS256, Private: evil}
	jwks, _ := mustRing(t, token.Schedule{}, k).JWKS(epoch)
	jwk := strings.TrimSuffix(strings.TrimPrefix(string(jwks), `{"keys":[`), `]}`)
	for _, header := range []string{
		`{"alg":"RS256","typ":"at+jwt","kid":"RS256","jwk":` + jwk + `}`,
		`{"alg":"RS256","typ":"at+jwt","jwk":` + jwk + `}`,
		`{"alg":"RS256","typ":"at+jwt","kid":"RS256","jku":"https://evil.example/jwks"}`,
		`{"alg":"RS256","typ":"at+jwt","kid":"RS256","x5u":"https://evil.example/x5u"}`,
		`{"alg":"RS256","typ":"at+jwt","kid":"RS256","x5c":["MIIB"]}`,
		`{"alg":"RS256","typ":"at+jwt","kid":"RS256"}`,
	} {
		refused(t, newParser(r), header, forge(header, toJSON(access(nil)), evil))
		if _, err := newParser(r).Parse(t.Context(), forge(header, toJSON(access(nil)), private(token.RS256))); err != nil {
			t.Errorf("a good signature with %.60s: %v", header, err)
		}
	}
}

// Every way to spell a token but the one it was issued in is refused.
func TestParseRefusesOtherSpellings(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	p := newParser(r)
	for _, a := range algorithms {
		raw := sign(t, r, a, access(nil))
		h, rest, _ := strings.Cut(raw, ".")
		c, s, _ := strings.Cut(rest, ".")
		for name, twin := range map[string]string{
			"padding": raw + "=", "two paddings": raw + "==", "line break at the end": raw + "\n", "line break": h + ".\n" + c + "." + s,
			"return in the signature": h + "." + c + "." + s[:4] + "\r\n" + s[4:], "blank": " " + raw, "tab": raw + "\t", "NUL": raw + "\x00",
			"Bearer": "Bearer " + raw, "standard alphabet": h + "." + c + ".++//" + s[4:], "no signature": h + "." + c + ".",
			"two segments": h + "." + c, "one segment": h, "four segments": raw + ".", "five segments": raw + "." + s + "." + s,
			"leading dot": "." + raw, "no header": "." + c + "." + s, "no claims": h + ".." + s, "dots": "..", "empty": "",
			"swapped": c + "." + h + "." + s, "JSON serialization": `{"payload":"` + c + `","signatures":[{"protected":"` + h + `","signature":"` + s + `"}]}`,
			"more signature": raw + "AAAA", "case twin": h + "." + c + "." + strings.ToLower(s), "signature of nothing": h + "." + c + "." + b64(make([]byte, 64)),
			"unicode": raw + "é", "percent": strings.Replace(raw, ".", "%2E", 1), "zero r and s": h + "." + c + "." + strings.Repeat("A", 86),
		} {
			refused(t, p, a+" "+name, twin)
		}
		for i := range s {
			if i%7 == 0 || i > len(s)-8 {
				refused(t, p, fmt.Sprint(a, " truncated signature ", i), h+"."+c+"."+s[:i])
			}
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for _, last := range alphabet { // base64 twins: other letters for the same bytes
			if twin := raw[:len(raw)-1] + string(last); twin != raw {
				refused(t, p, a+" last letter", twin)
			}
		}
	}
}

func TestParseLimitsSizeBeforeAnythingElse(t *testing.T) { // not parallel: it counts allocations
	r := newRing(t, token.EdDSA)
	asked := false
	p := newParser(source(func(ctx context.Context, id string, now time.Time) ([]token.PublicKey, error) {
		asked = true
		return r.PublicKeys(ctx, id, now)
	}))
	long := sign(t, r, token.EdDSA, access(claims{"x": strings.Repeat("x", 13<<10)}))
	for name, raw := range map[string]string{
		"dots": strings.Repeat(".", 1<<22), "long": long, "letters": strings.Repeat("A", 1<<22), "nested": forge(strings.Repeat("[", 1<<20), "", nil),
	} {
		refused(t, p, name, raw)
		if allocations := testing.AllocsPerRun(10, func() { _, _ = p.Parse(t.Context(), raw) }); allocations > 5 {
			t.Errorf("%s: refusing it takes %v allocations", name, allocations)
		}
	}
	if asked {
		t.Error("keys were asked for")
	}
	p.MaxSize = len(long)
	if _, err := p.Parse(t.Context(), long); err != nil {
		t.Errorf("Parse with a larger MaxSize: %v", err)
	}
	p.MaxSize = len(long) - 1
	refused(t, p, "one byte too long", long)
}

// source is a KeySource of a function.
type source func(context.Context, string, time.Time) ([]token.PublicKey, error)

func (f source) PublicKeys(ctx context.Context, id string, now time.Time) ([]token.PublicKey, error) {
	return f(ctx, id, now)
}

func TestParseWithoutKeyID(t *testing.T) {
	t.Parallel()
	raw := forge(`{"alg":"RS256","typ":"at+jwt"}`, toJSON(access(nil)), private(token.RS256))
	if _, err := newParser(newRing(t, token.RS256, token.ES256)).Parse(t.Context(), raw); err != nil {
		t.Errorf("one candidate and no key id: %v", err)
	}
	second := newKey(token.RS256)
	second.ID, second.Generation, second.NotBefore = "b", 2, epoch.Add(time.Hour)
	refused(t, newParser(mustRing(t, token.Schedule{}, newKey(token.RS256), second)), "two candidates and no key id", raw)
}

// A source that could not be asked, and one that brings keys of every kind.
func TestParseKeySources(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.RS256)
	raw := sign(t, r, token.RS256, access(nil))
	down := errors.New("down")
	answer := func(keys []token.PublicKey, err error) *token.Parser {
		return newParser(source(func(context.Context, string, time.Time) ([]token.PublicKey, error) { return keys, err }))
	}
	good := r.Public(epoch)
	c, err := answer(good, down).Parse(t.Context(), raw)
	if c != nil || !errors.Is(err, down) || errors.Is(err, token.ErrInvalid) {
		t.Errorf("Parse with a source that is down = %v, %v, want its error and no ErrInvalid", c, err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := weakRSA(t)
	for name, keys := range map[string][]token.PublicKey{
		"none": nil, "nil key": {{}}, "private key": {{Key: private(token.RS256)}}, "value, not pointer": {{Key: *good[0].Key.(*rsa.PublicKey)}},
		"secret": {{Key: []byte("secret")}}, "other kind": {{Key: &p256.PublicKey}}, "other algorithm": {{Algorithm: "RS512", Key: good[0].Key}},
		"nil RSA key": {{Key: (*rsa.PublicKey)(nil)}}, "empty RSA key": {{Key: &rsa.PublicKey{}}}, "empty EC key": {{Key: &ecdsa.PublicKey{}}}, "short Ed key": {{Key: ed25519.PublicKey{1}}},
		"exponent 1": {{Key: &rsa.PublicKey{N: good[0].Key.(*rsa.PublicKey).N, E: 1}}},
	} {
		refused(t, answer(keys, nil), name, raw)
	}
	refused(t, answer([]token.PublicKey{{Key: &weak.PublicKey}}, nil), "weak RSA key",
		forge(`{"alg":"RS256","typ":"at+jwt","kid":"weak"}`, toJSON(access(nil)), weak))
	// Several keys of one id: the one that signed decides, wherever it stands.
	other := private(token.PS256).Public()
	twins := []token.PublicKey{{ID: "RS256", Key: &p256.PublicKey}, {ID: "RS256", Key: other}, good[0], {ID: "RS256", Key: other}}
	if _, err := answer(twins, nil).Parse(t.Context(), raw); err != nil {
		t.Errorf("Parse with other keys of the same id: %v", err)
	}
}
