package oidc_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

func TestFinishReturnsIdentity(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	id := o.must(t, newProvider(t, o.config()))
	if id.Issuer != o.URL || id.Subject != "alice-1" || id.Name != "Alice by userinfo" || id.Username != "alice-1" {
		t.Errorf("identity %+v", id)
	}
	if id.Tokens.AccessToken != "the-access-token" || id.Tokens.RefreshToken != "the-refresh-token" ||
		id.Tokens.TokenType != "Bearer" || id.Tokens.Scope != "openid email" || id.Tokens.IDToken == "" {
		t.Error("tokens are not those that were issued")
	}
	if want := o.now().Add(5 * time.Minute); id.Tokens.Expiry.Sub(want).Abs() > time.Second {
		t.Errorf("expiry %v, want %v", id.Tokens.Expiry, want)
	}
	if got := fmt.Sprintf("%v %+v %#v", id.Tokens, id, *id); strings.Contains(got, "the-access-token") {
		t.Errorf("tokens are printed: %s", got)
	}
}

// The steps are those of OpenID Connect Core §3.1.3.7; each row is one way to get a step wrong.
func TestIDTokenValidationSteps(t *testing.T) {
	t.Parallel()
	late := time.Now()
	ago := func(d time.Duration) int64 { return late.Add(-d).Unix() }
	rows := []struct {
		name string
		edit func(object)
		want string
	}{
		{"2 iss of somebody else", set("iss", "https://evil.example"), "issuer"},
		{"2 iss with a slash more", func(m object) { m["iss"] = m["iss"].(string) + "/" }, "issuer"},
		{"2 iss in capitals", func(m object) { m["iss"] = strings.ToUpper(m["iss"].(string)) }, "issuer"},
		{"2 iss begins like it", func(m object) { m["iss"] = m["iss"].(string) + ".evil.example" }, "issuer"},
		{"2 iss missing", drop("iss"), "iss is missing"},
		{"2 iss empty", set("iss", ""), "iss is missing"},
		{"2 iss null", set("iss", nil), "iss is missing"},
		{"2 iss a list", func(m object) { m["iss"] = []any{m["iss"]} }, "unmarshal"},
		{"2 iss a number", set("iss", 1), "unmarshal"},

		{"3 aud of somebody else", set("aud", "evil"), "audience"},
		{"3 aud missing", drop("aud"), "audience"},
		{"3 aud empty", set("aud", ""), "audience"},
		{"3 aud null", set("aud", nil), "audience"},
		{"3 aud empty list", set("aud", []string{}), "audience"},
		{"3 aud list of others", set("aud", []string{"evil", "broker2"}), "audience"},
		{"3 aud begins like it", set("aud", clientID+"2"), "audience"},
		{"3 aud joined", set("aud", "evil "+clientID), "audience"},
		{"3 aud in capitals", set("aud", strings.ToUpper(clientID)), "audience"},
		{"3 aud nested", set("aud", []any{[]string{clientID}}), "unmarshal"},
		{"3 aud an object", set("aud", object{clientID: true}), "unmarshal"},
		{"3 aud with a number", merge(object{"aud": []any{clientID, 1}, "azp": clientID}), "unmarshal"},
		{"3 aud a number", set("aud", 1), "unmarshal"},

		{"4 several aud, no azp", set("aud", []string{clientID, "other"}), "azp"},
		{"4 several aud, azp null", merge(object{"aud": []string{clientID, "other"}, "azp": nil}), "azp"},
		{"5 azp of somebody else", set("azp", "evil"), "azp"},
		{"5 azp of somebody else, several aud", merge(object{"aud": []string{clientID, "evil"}, "azp": "evil"}), "azp"},
		{"5 azp empty", set("azp", ""), "azp"},
		{"5 azp a list", set("azp", []string{clientID}), "azp"},

		{"9 exp over", set("exp", ago(61*time.Second)), "expired"},
		{"9 exp long over", set("exp", 1), "expired"},
		{"9 exp zero", set("exp", 0), "expired"},
		{"9 exp missing", drop("exp"), "expired"},
		{"9 exp null", set("exp", nil), "ID token"},
		{"9 exp a string", set("exp", "9999999999"), "exp"},
		{"9 exp a word", set("exp", "never"), "ID token"},
		{"9 exp a bool", set("exp", true), "ID token"},
		{"9 exp negative", set("exp", -1), "exp"},
		{"9 exp beyond all dates", set("exp", 1e300), "exp"},
		{"9 exp a list", set("exp", []int{1 << 40}), "ID token"},

		{"10 iat in the future", set("iat", ago(-61*time.Second)), "in the future"},
		{"10 iat too old", set("iat", ago(12*time.Minute)), "too long ago"},
		{"10 iat zero", set("iat", 0), "too long ago"},
		{"10 iat missing", drop("iat"), "no iat"},
		{"10 iat null", set("iat", nil), "ID token"},
		{"10 iat a string", set("iat", "0"), "iat"},
		{"10 nbf in the future", set("nbf", ago(-61*time.Second)), "not valid yet"},
		{"10 nbf a string", set("nbf", "0"), "nbf"},
		{"10 nbf null", set("nbf", nil), "nbf"},

		{"11 nonce of somebody else", set("nonce", "another"), "nonce"},
		{"11 nonce missing", drop("nonce"), "nonce"},
		{"11 nonce empty", set("nonce", ""), "nonce"},
		{"11 nonce null", set("nonce", nil), "nonce"},
		{"11 nonce longer", func(m object) { m["nonce"] = m["nonce"].(string) + "x" }, "nonce"},
		{"11 nonce shorter", func(m object) { m["nonce"] = m["nonce"].(string)[:20] }, "nonce"},
		{"11 nonce in lower case", func(m object) { m["nonce"] = strings.ToLower(m["nonce"].(string)) }, "nonce"},
		{"11 nonce a list", func(m object) { m["nonce"] = []any{m["nonce"]} }, "unmarshal"},
		{"11 nonce a number", set("nonce", 0), "unmarshal"},

		{"13 auth_time in the future", set("auth_time", ago(-61*time.Second)), "auth_time"},
		{"13 auth_time a string", set("auth_time", "1"), "auth_time"},
		{"13 auth_time null", set("auth_time", nil), "auth_time"},

		{"at_hash of another token", set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"},
		{"at_hash empty", set("at_hash", ""), "at_hash"},
		{"at_hash null", set("at_hash", nil), "at_hash"},
		{"at_hash a number", set("at_hash", 1), "unmarshal"},
		{"at_hash whole", func(m object) { h := sha256.Sum256([]byte("the-access-token")); m["at_hash"] = b64(h[:]) }, "at_hash"},
		{"at_hash padded", func(m object) { m["at_hash"] = m["at_hash"].(string) + "==" }, "at_hash"},
		{"c_hash of another code", set("c_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "c_hash"},
		{"c_hash null", set("c_hash", nil), "c_hash"},

		{"sub missing", drop("sub"), "sub"},
		{"sub empty", set("sub", ""), "sub"},
		{"sub null", set("sub", nil), "sub"},
		{"sub the word null", set("sub", "null"), "subject"},
		{"sub zero", set("sub", 0), "unmarshal"},
		{"sub a number", set("sub", 12345), "unmarshal"},
		{"sub a list", set("sub", []string{"alice-1"}), "unmarshal"},
		{"sub an object", set("sub", object{"id": "alice-1"}), "unmarshal"},
		{"sub a bool", set("sub", true), "unmarshal"},
		{"sub too long", set("sub", strings.Repeat("x", 256)), "subject"},
		{"sub with a line break", set("sub", "alice\n1"), "subject"},
		{"sub with a NUL", set("sub", "alice\x00"), "subject"},
		{"sub not ASCII", set("sub", "älice"), "subject"},

		{"a logout token", set("events", object{"http://schemas.openid.net/event/backchannel-logout": object{}}), "security event"},
		{"a security event", set("events", nil), "security event"},
	}
	o := newOP(t)
	o.clock = late
	cfg := o.config()
	cfg.DisableUserInfo = true // whose own checks would find some of it
	p := newProvider(t, cfg)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o.claims = row.edit
			_, err := o.login(t, p)
			refused(t, err, provider.Invalid, "ID token: ")
			refused(t, err, provider.Invalid, row.want)
		})
	}
}

func TestIDTokenAccepted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	o := newOP(t)
	o.clock = now
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	for _, row := range []struct {
		name string
		edit func(object)
	}{
		{"as it comes", nil},
		{"aud a list of one", set("aud", []string{clientID})},
		{"azp", set("azp", clientID)},
		{"several aud and azp", merge(object{"aud": []string{"other", clientID}, "azp": clientID})},
		{"exp over within the skew", set("exp", ago(58*time.Second))},
		{"exp a fraction", set("exp", float64(now.Unix())+60.25)},
		{"iat ahead within the skew", set("iat", ago(-58*time.Second))},
		{"iat ten minutes old", set("iat", ago(10*time.Minute))},
		{"nbf ahead within the skew", set("nbf", ago(-58*time.Second))},
		{"auth_time long ago, not asked for", set("auth_time", 1)},
		{"no at_hash", drop("at_hash")},
		{"sub as long as it may be", set("sub", strings.Repeat("x", 255))},
		{"sub with signs", set("sub", `a|b~c d"\{}`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.claims = row.edit
			o.must(t, p)
		})
	}
}

// What encoding/json thinks of as one name must not be two things to two readers.
func TestIDTokenClaimTwins(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	// More members put before or after what was there.
	after := func(more string) func([]byte) []byte {
		return func(b []byte) []byte { return append(append(bytes.TrimSuffix(b, []byte("}")), ","+more...), '}') }
	}
	before := func(more string) func([]byte) []byte {
		return func(b []byte) []byte { return append([]byte("{"+more+","), b[1:]...) }
	}
	for _, more := range []string{`"SUB":"root"`, `"Iss":"https://evil.example"`, `"AUD":"evil"`, `"eXp":9999999999`, `"ſub":"root"`,
		`"sub":"root"`, `"nonce":"x"`, `"exp":9999999999`} {
		o.payload = after(more)
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "ID token")
		o.payload = before(more)
		_, err = o.login(t, p)
		refused(t, err, provider.Invalid, "ID token")
	}
	for _, whole := range []string{"null", "[]", `""`, "0", "true", "", "{", "{}{}", "{} x", "\xff", `{"sub":"\xff"}`} {
		o.payload = func([]byte) []byte { return []byte(whole) }
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "ID token")
	}
}

func TestIDTokenHeader(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	for _, typ := range []any{"at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "", nil, 1, []string{"JWT"},
		"JWT ", "JOSE"} {
		o.header = set("typ", typ)
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "type")
	}
	for _, row := range []object{{"crit": []string{"exp"}, "exp": 1}, {"crit": []string{}}, {"crit": nil}, {"b64": false},
		{"b64": true}, {"crit": []string{"b64"}, "b64": true}} {
		o.header = merge(row)
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "header")
	}
	for _, edit := range []func(object){drop("typ"), set("typ", "jwt"), set("cty", "x"), drop("kid"),
		set("jku", "https://evil.example/jwks")} {
		o.header = edit
		o.must(t, p)
	}
	o.header = set("kid", "k2")
	_, err := o.login(t, p)
	refused(t, err, provider.Invalid, "unknown key")
}

// Whoever signs chooses neither the algorithm nor the key.
func TestIDTokenForged(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	rsaKey := newKey(t, "RS256", "r1")
	o.keys = append(o.keys, rsaKey.public())
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	mallory := newKey(t, "ES256", "k1")
	malloryRSA := newKey(t, "RS256", "mallory")
	der, err := x509.MarshalPKIXPublicKey(rsaKey.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk := jose.JSONWebKey{Key: mallory.private.Public(), KeyID: "k1", Algorithm: "ES256"}
	asJSON, _ := rsaKey.public().MarshalJSON()

	payloadOf := func(raw string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		if err != nil {
			t.Error(err)
		}
		return b
	}
	resign := func(key any, header object) func(string) string {
		return func(raw string) string { return sign(t, key, header, payloadOf(raw)) }
	}
	flip := func(part int) func(string) string {
		return func(raw string) string {
			parts := strings.Split(raw, ".")
			b, _ := base64.RawURLEncoding.DecodeString(parts[part])
			b[len(b)/2] ^= 1
			parts[part] = b64(b)
			return strings.Join(parts, ".")
		}
	}
	for _, row := range []struct {
		name string
		raw  func(string) string
	}{
		{"alg none", resign(nil, object{"alg": "none", "typ": "JWT"})},
		{"alg None", resign(nil, object{"alg": "None", "typ": "JWT"})},
		{"alg empty", resign(nil, object{"alg": "", "kid": "k1"})},
		{"alg missing", resign(nil, object{"kid": "k1"})},
		{"alg a number", resign(nil, object{"alg": 5, "kid": "k1"})},
		{"alg not listed by the provider", resign(malloryRSA.private, object{"alg": "RS512", "kid": "r1"})},
		{"alg not that of the key", resign(rsaKey.private, object{"alg": "RS256", "kid": "k1"})},
		{"alg PS256 with the RS256 key", resign(rsaKey.private, object{"alg": "PS256", "kid": "r1"})},
		{"HMAC with the public key in PEM", resign(asPEM, object{"alg": "HS256", "kid": "r1"})},
		{"HMAC with the public key in DER", resign(der, object{"alg": "HS256", "kid": "r1"})},
		{"HMAC with the public key as JWK", resign(asJSON, object{"alg": "HS256", "kid": "r1"})},
		{"HMAC with an empty key", resign([]byte{}, object{"alg": "HS256", "kid": "r1"})},
		{"HMAC with the client secret, not configured", resign([]byte(clientSecret), object{"alg": "HS256"})},
		{"key of somebody else", resign(mallory.private, object{"alg": "ES256", "kid": "k1"})},
		{"RSA key of somebody else", resign(malloryRSA.private, object{"alg": "RS256", "kid": "r1"})},
		{"key in the header", resign(mallory.private, object{"alg": "ES256", "kid": "k1", "jwk": jwk})},
		{"key in the header, no kid", resign(mallory.private, object{"alg": "ES256", "jwk": jwk})},
		{"address of keys in the header", resign(mallory.private, object{"alg": "ES256", "kid": "k2", "jku": o.URL + "/evil"})},
		{"no signature", func(raw string) string { return raw[:strings.LastIndex(raw, ".")+1] }},
		{"no signature, no dot", func(raw string) string { return raw[:strings.LastIndex(raw, ".")] }},
		{"cut", func(raw string) string { return raw[:len(raw)-1] }},
		{"one letter more", func(raw string) string { return raw + "A" }},
		{"padded", func(raw string) string { return raw + "=" }},
		{"line break", func(raw string) string { return raw + "\n" }},
		{"payload changed", flip(1)},
		{"header changed", flip(0)},
		{"signature changed", flip(2)},
		{"signature of zeros", func(raw string) string { return raw[:strings.LastIndex(raw, ".")+1] + b64(make([]byte, 64)) }},
		{"four parts", func(raw string) string { return raw + ".AAAA" }},
		{"encrypted", func(raw string) string { return raw + ".AAAA.AAAA" }},
		{"JSON serialization", func(raw string) string {
			s := strings.Split(raw, ".")
			return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, s[1], s[0], s[2])
		}},
		{"dots", func(string) string { return strings.Repeat(".", 10000) }},
		{"huge", func(raw string) string { return raw + strings.Repeat("A", 1<<17) }},
		{"not a token", func(string) string { return "hello" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.raw = row.raw
			_, err := o.login(t, p)
			refused(t, err, provider.Invalid, "ID token")
		})
	}
}

// What is too long is refused before anything in it is decoded.
func TestIDTokenTooLong(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.claims = set("padding", strings.Repeat("x", 16<<10))
	_, err := o.login(t, newProvider(t, o.config()))
	refused(t, err, provider.Invalid, "ID token: it has")
}

func TestIDTokenAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.signer = newKey(t, alg, "k1")
			o.keys = []any{o.signer.public()}
			o.metadata["id_token_signing_alg_values_supported"] = []string{alg}
			half := func(s string) string {
				switch {
				case strings.HasSuffix(alg, "256"):
					h := sha256.Sum256([]byte(s))
					return b64(h[:16])
				case strings.HasSuffix(alg, "384"):
					h := sha512.Sum384([]byte(s))
					return b64(h[:24])
				}
				h := sha512.Sum512([]byte(s))
				return b64(h[:32])
			}
			o.claims = set("at_hash", half("the-access-token"))
			o.must(t, newProvider(t, o.config()))

			o.claims = set("at_hash", half("another"))
			_, err := o.login(t, newProvider(t, o.config()))
			refused(t, err, provider.Invalid, "at_hash")

			o.claims = drop("at_hash")
			cfg := o.config()
			cfg.SigningAlgs = []string{"ES256", "RS256"}
			if alg != "ES256" && alg != "RS256" {
				_, err = o.login(t, newProvider(t, cfg))
				refused(t, err, provider.Invalid, "accepted are ES256 RS256")
			}
		})
	}
	t.Run("RS256 if the metadata names none", func(t *testing.T) {
		t.Parallel()
		o := newOP(t)
		delete(o.metadata, "id_token_signing_alg_values_supported")
		_, err := o.login(t, newProvider(t, o.config()))
		refused(t, err, provider.Invalid, "accepted are RS256")
	})
}

func TestHS256(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	delete(o.metadata, "jwks_uri")
	cfg := o.config()
	cfg.SigningAlgs = []string{"HS256"}
	p := newProvider(t, cfg)
	header := object{"alg": "HS256", "typ": "JWT"}
	resign := func(key []byte, header object) func(string) string {
		return func(raw string) string {
			payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
			return sign(t, key, header, payload)
		}
	}
	o.raw = resign([]byte(clientSecret), header)
	o.must(t, p)
	for _, raw := range []func(string) string{
		resign([]byte(clientSecret+"x"), header),
		resign([]byte{}, header),
		resign([]byte(clientSecret), object{"alg": "HS512"}),
		resign([]byte(clientSecret), object{"alg": "HS256", "typ": "at+jwt"}),
		resign([]byte(clientSecret), object{"alg": "HS256", "crit": []string{"b64"}, "b64": true}),
		func(raw string) string { return raw },
	} {
		o.raw = raw
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "ID token")
	}
	o.raw = func(raw string) string {
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		return resign([]byte(clientSecret), header)("." + b64(bytes.Replace(payload, []byte("{"), []byte(`{"SUB":"root",`), 1)))
	}
	if got := o.must(t, p).Subject; got != "alice-1" {
		t.Errorf("subject %q: a name in other letters won", got)
	}
}

func TestNonceSkipped(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.InsecureSkipNonce = true
	p := newProvider(t, cfg)
	_, q, err := o.begin(t, p)
	if err != nil || q.Has("nonce") {
		t.Fatalf("nonce sent: %v, %v", q, err)
	}
	o.claims = drop("nonce")
	o.must(t, p)
	for _, nonce := range []any{"of another login", "", nil} {
		o.claims = set("nonce", nonce)
		_, err = o.login(t, p)
		refused(t, err, provider.Invalid, "nonce")
	}
}

// A provider that knows neither PKCE nor a nonce.
func TestCodeInjectionAllowed(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.InsecureSkipPKCE, cfg.InsecureSkipNonce, cfg.InsecureAllowCodeInjection = true, true, true
	p := newProvider(t, cfg)
	o.claims = drop("nonce")
	o.must(t, p)
	if _, q, err := o.begin(t, p); err != nil || q.Has("nonce") || q.Has("code_challenge") {
		t.Errorf("sent %v, %v", q, err)
	}
	if o.tokenReq.PostForm.Has("code_verifier") {
		t.Error("a verifier was sent")
	}
	if !slices.Contains(p.Insecure(), "InsecureAllowCodeInjection") {
		t.Errorf("Insecure() = %q", p.Insecure())
	}
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	age := func(d time.Duration) *time.Duration { return &d }
	for _, row := range []struct {
		name             string
		fixed, requested *time.Duration
		forward          bool
		asked            string // the parameter; "" is none
		authAge          time.Duration
		want             string // of the error; "" is none
	}{
		{"nothing asked", nil, nil, true, "", 24 * time.Hour, ""},
		{"asked, not passed on", nil, age(time.Minute), false, "", 24 * time.Hour, ""},
		{"fresh enough", nil, age(time.Hour), true, "3600", time.Hour, ""},
		{"stale", nil, age(time.Hour), true, "3600", time.Hour + 2*time.Minute, "max_age"},
		{"stale within the skew", nil, age(time.Hour), true, "3600", time.Hour + 50*time.Second, ""},
		{"zero, fresh", nil, age(0), true, "0", 0, ""},
		{"zero, stale", nil, age(0), true, "0", 2 * time.Minute, "max_age"},
		{"negative is zero", nil, age(-time.Hour), true, "0", 2 * time.Minute, "max_age"},
		{"a part of a second is none", nil, age(1900 * time.Millisecond), true, "1", 0, ""},
		{"fixed", age(time.Hour), nil, false, "3600", 2 * time.Hour, "max_age"},
		{"shorter of both is the fixed", age(time.Hour), age(5 * time.Hour), true, "3600", 2 * time.Hour, "max_age"},
		{"shorter of both is the application's", age(5 * time.Hour), age(time.Hour), true, "3600", 2 * time.Hour, "max_age"},
		{"fixed zero beats all", age(0), age(time.Hour), true, "0", 30 * time.Minute, "max_age"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			cfg := o.config()
			cfg.MaxAge, cfg.ForwardMaxAge = row.fixed, row.forward
			p := newProvider(t, cfg)
			o.request = func(r *provider.Request) { r.MaxAge = row.requested }
			_, q, err := o.begin(t, p)
			if err != nil || q.Get("max_age") != row.asked || q.Has("max_age") != (row.asked != "") {
				t.Fatalf("max_age %q, want %q (%v)", q["max_age"], row.asked, err)
			}
			o.claims = set("auth_time", o.ago(row.authAge))
			id, err := o.login(t, p)
			if row.want != "" {
				refused(t, err, provider.Invalid, row.want)
			} else if err != nil {
				t.Error(err)
			} else if id.AuthTime.Unix() != o.ago(row.authAge) {
				t.Errorf("AuthTime %v", id.AuthTime)
			}
			if row.asked != "" {
				o.claims = nil
				_, err = o.login(t, p)
				refused(t, err, provider.Invalid, "no auth_time")
			}
		})
	}
}

// The user may take time on the provider's pages: the age counts from when the provider was asked.
func TestMaxAgeCountsFromBegin(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	zero := time.Duration(0)
	cfg.MaxAge = &zero
	p := newProvider(t, cfg)
	begun := o.now().Unix()
	o.params = func(url.Values) { o.advance(9 * time.Minute) }
	o.claims = set("auth_time", begun+5)
	o.must(t, p)
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	o.must(t, p)
	old, fresh := o.signer, newKey(t, "ES256", "k2")

	// A new key is found without a restart, once the least interval between fetches is over.
	o.advance(time.Minute)
	o.mu.Lock()
	o.keys = []any{old.public(), fresh.public()}
	o.mu.Unlock()
	o.signer = fresh
	o.must(t, p)
	if got := o.count("/jwks"); got != 2 {
		t.Errorf("%d fetches of the keys, want 2", got)
	}

	// A key that is taken out is refused when the cache's life is over, and not before it was fetched again.
	o.mu.Lock()
	o.keys = []any{fresh.public()}
	o.mu.Unlock()
	o.advance(2 * time.Hour)
	o.signer = old
	_, err := o.login(t, p)
	refused(t, err, provider.Invalid, "unknown key")
	o.signer = fresh
	o.must(t, p)
}

func TestKeySetOddities(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	enc := newKey(t, "RS256", "k1").public() // the id of the signing key, for encryption
	enc.Use, enc.Algorithm = "enc", "RSA-OAEP"
	bare := o.signer.public()
	bare.Use, bare.Algorithm = "", ""
	o.keys = []any{
		object{"kty": "XYZ", "kid": "x"}, object{}, enc, object{"kty": "oct", "kid": "k1", "k": b64([]byte("secret"))},
		object{"kty": "EC", "crv": "P-999", "kid": "k1", "x": "AA", "y": "AA"}, bare,
	}
	o.must(t, newProvider(t, o.config()))

	// Forging with the symmetric key that stands in the set does not work, nor does the one for encryption.
	o.raw = func(raw string) string {
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		return sign(t, []byte("secret"), object{"alg": "HS256", "kid": "k1"}, payload)
	}
	_, err := o.login(t, newProvider(t, o.config()))
	refused(t, err, provider.Invalid, "ID token")
}

func TestKeysUnavailable(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.metadata["jwks_uri"] = o.URL + "/nothing-here"
	_, err := o.login(t, newProvider(t, o.config()))
	refused(t, err, provider.Unavailable, "keys of the provider")
}

// Any provider's answer at any other's door: only its own opens.
func TestMixUp(t *testing.T) {
	t.Parallel()
	const n = 4
	ops := make([]*op, n)
	tokens := make([]string, n)
	for i := range ops {
		ops[i] = newOP(t)
		cfg := ops[i].config()
		cfg.DisableUserInfo, cfg.InsecureSkipNonce = true, true // so that only issuer and key tell them apart
		ops[i].claims = drop("nonce")
		tokens[i] = ops[i].must(t, newProvider(t, cfg)).Tokens.IDToken
	}
	for i, o := range ops {
		cfg := o.config()
		cfg.DisableUserInfo, cfg.InsecureSkipNonce = true, true
		p := newProvider(t, cfg)
		for j, token := range tokens {
			o.raw = func(string) string { return token }
			_, err := o.login(t, p)
			if i == j && err != nil {
				t.Errorf("%d at %d: %v", j, i, err)
			} else if i != j {
				refused(t, err, provider.Invalid, "ID token")
			}
			o.params = func(v url.Values) { v["iss"] = []string{ops[j].URL} }
			if _, err := o.login(t, p); i != j {
				refused(t, err, provider.Invalid, "answer: issuer")
			} else if err != nil {
				t.Error(err)
			}
			o.params = nil
		}
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	const ours, theirs = "11111111-aaaa-4bbb-8ccc-222222222222", "99999999-aaaa-4bbb-8ccc-222222222222"
	setUp := func(t *testing.T, edit func(*oidc.Config)) (*op, *oidc.Provider) {
		o := newOP(t)
		o.metadata["issuer"] = o.URL + "/{tenantid}/v2.0"
		cfg := o.config()
		cfg.Issuer = o.URL + "/{tenantid}/v2.0"
		cfg.Tenants = []string{strings.ToUpper(ours)}
		cfg.DiscoveryURL = o.URL + "/.well-known/openid-configuration"
		if edit != nil {
			edit(&cfg)
		}
		return o, newProvider(t, cfg)
	}
	of := func(o *op, tenant string, tid any) func(object) {
		return merge(object{"iss": o.URL + "/" + tenant + "/v2.0", "tid": tid})
	}
	o, p := setUp(t, nil)
	o.claims = of(o, ours, ours)
	if got := o.must(t, p).Issuer; got != o.URL+"/"+ours+"/v2.0" {
		t.Errorf("issuer %q", got)
	}
	for _, row := range []struct {
		name, tenant string
		tid          any
	}{
		{"another tenant", theirs, theirs},
		{"iss ours, tid theirs", ours, theirs},
		{"iss theirs, tid ours", theirs, ours},
		{"no tid", ours, nil},
		{"tid a list", ours, []string{ours}},
		{"the template itself", "{tenantid}", "{tenantid}"},
		{"common", "common", "common"},
		{"a path", ours + "/../" + theirs, ours},
		{"in capitals", strings.ToUpper(ours), strings.ToUpper(ours)},
		{"empty", "", ""},
	} {
		o.claims = of(o, row.tenant, row.tid)
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "ID token")
	}
	o.claims = of(o, ours, ours)
	o.params = func(v url.Values) { v["iss"] = []string{o.URL + "/" + ours + "/v2.0"} }
	o.must(t, p)
	o.params = func(v url.Values) { v["iss"] = []string{o.URL + "/" + theirs + "/v2.0"} }
	_, err := o.login(t, p)
	refused(t, err, provider.Invalid, "answer: issuer")

	o, p = setUp(t, func(c *oidc.Config) { c.Tenants, c.InsecureAllowAnyTenant = nil, true })
	o.claims = of(o, theirs, theirs)
	o.must(t, p)
	o.claims = of(o, "common", "common")
	_, err = o.login(t, p)
	refused(t, err, provider.Invalid, "issuer")
}

func TestFurtherIssuers(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.Issuers = []string{"accounts.google.com"}
	o.claims = set("iss", "accounts.google.com")
	if got := o.must(t, newProvider(t, cfg)).Issuer; got != "accounts.google.com" {
		t.Errorf("issuer %q", got)
	}
	cfg.Issuers = nil
	_, err := o.login(t, newProvider(t, cfg))
	refused(t, err, provider.Invalid, "issuer")
}

// go-oidc lets Google leave the scheme out. Only a configuration may.
func TestNoExceptionForGoogle(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.Issuer = "https://accounts.google.com"
	cfg.Endpoints = oidc.Endpoints{Authorization: o.URL + "/authorize", Token: o.URL + "/token", JWKS: o.URL + "/jwks"}
	cfg.SigningAlgs = []string{"ES256"}
	p := newProvider(t, cfg)
	o.claims = set("iss", "accounts.google.com")
	_, err := o.login(t, p)
	refused(t, err, provider.Invalid, "issuer")
	o.claims = set("iss", "https://accounts.google.com")
	o.must(t, p)
}

func TestTokensAreNotReusable(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	stolen := o.must(t, p).Tokens.IDToken
	o.raw = func(string) string { return stolen }
	_, err := o.login(t, p)
	refused(t, err, provider.Invalid, "nonce")
}
