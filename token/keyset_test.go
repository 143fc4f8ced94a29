package token_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

const client = "client"

// assertion returns the claims of a good client assertion, changed by changes; nil takes a claim away.
func assertion(changes claims) claims {
	c := claims{"iss": client, "sub": client, "aud": issuer, "exp": epoch.Unix() + 60, "iat": epoch.Unix(), "jti": "once"}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func newAssertionParser(keys token.KeySource, algorithms ...string) *token.Parser {
	return &token.Parser{
		Type: token.ClientAssertion, Issuer: client, Audience: issuer, Keys: keys, Algorithms: algorithms,
		Now: func() time.Time { return epoch },
	}
}

func TestParseClientAssertion(t *testing.T) { // RFC 7523 §3, OpenID Connect Core §9
	t.Parallel()
	r := newRing(t, token.ES256)
	p := newAssertionParser(r)
	for name, tt := range map[string]struct {
		header  string
		changes claims
		ok      bool
	}{
		"typ JWT":                            {`"typ":"JWT"`, nil, true},
		"typ jwt":                            {`"typ":"application/jwt"`, nil, true},
		"no typ":                             {`"x":1`, nil, true},
		"client-authentication+jwt":          {`"typ":"client-authentication+jwt"`, nil, true},
		"Client-Authentication+JWT":          {`"typ":"application/Client-Authentication+JWT"`, nil, true},
		"no iat":                             {`"typ":"JWT"`, claims{"iat": nil}, true},
		"audience among others":              {`"typ":"JWT"`, claims{"aud": []string{"x", issuer}}, true},
		"typ at+jwt":                         {`"typ":"at+jwt"`, nil, false},
		"typ logout+jwt":                     {`"typ":"logout+jwt"`, nil, false},
		"typ dpop+jwt":                       {`"typ":"dpop+jwt"`, nil, false},
		"typ null":                           {`"typ":null`, nil, false},
		"typ application/":                   {`"typ":"application/"`, nil, false},
		"crit":                               {`"typ":"JWT","crit":["exp"]`, nil, false},
		"jwk does not count":                 {`"typ":"JWT","jwk":{},"alg":"none"`, nil, false},
		"RFC 7523 §3 1: no iss":              {`"typ":"JWT"`, claims{"iss": nil}, false},
		"RFC 7523 §3 1: other iss":           {`"typ":"JWT"`, claims{"iss": "other"}, false},
		"RFC 7523 §3 2: no sub":              {`"typ":"JWT"`, claims{"sub": nil}, false},
		"RFC 7523 §3 2: other sub":           {`"typ":"JWT"`, claims{"sub": "other"}, false},
		"RFC 7523 §3 2: both others'":        {`"typ":"JWT"`, claims{"iss": "other", "sub": "other"}, false},
		"RFC 7523 §3 3: no aud":              {`"typ":"JWT"`, claims{"aud": nil}, false},
		"RFC 7523 §3 3: other aud":           {`"typ":"JWT"`, claims{"aud": issuer + "/"}, false},
		"RFC 7523 §3 4: no exp":              {`"typ":"JWT"`, claims{"exp": nil}, false},
		"RFC 7523 §3 4: expired":             {`"typ":"JWT"`, claims{"exp": epoch.Unix() - 11}, false},
		"RFC 7523 §3 5: not valid yet":       {`"typ":"JWT"`, claims{"nbf": epoch.Unix() + 11}, false},
		"RFC 7523 §3 6: from tomorrow":       {`"typ":"JWT"`, claims{"iat": epoch.Unix() + 11}, false},
		"OpenID Connect Core §9: no jti":     {`"typ":"JWT"`, claims{"jti": nil}, false},
		"OpenID Connect Core §9: empty jti":  {`"typ":"JWT"`, claims{"jti": ""}, false},
		"OpenID Connect Core §9: number jti": {`"typ":"JWT"`, claims{"jti": 1}, false},
	} {
		raw := forge(`{"alg":"ES256","kid":"ES256",`+tt.header+`}`, toJSON(assertion(tt.changes)), private(token.ES256))
		if _, err := p.Parse(t.Context(), raw); (err == nil) != tt.ok || err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v, want ok: %v", name, err, tt.ok)
		}
	}
	signed, err := newKey(token.ES256).Sign(token.ClientAssertion, assertion(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(t.Context(), signed); err != nil {
		t.Errorf("what Sign made: %v", err)
	}
}

// No token of ours is an assertion by somebody whom its claims could name, and no assertion is a token of ours: even if one
// key signed both, and issuer and audience could be had to be anything.
func TestAssertionsAreNoTokens(t *testing.T) {
	t.Parallel()
	r := newRing(t, token.EdDSA)
	p := newAssertionParser(r)
	p.Issuer = issuer
	for _, typ := range []token.Type{token.IDToken, token.AccessToken, token.LogoutToken} {
		raw, err := r.Sign(epoch, token.EdDSA, typ, access(claims{"aud": issuer, "sid": "s"}))
		if err != nil {
			t.Fatal(err)
		}
		refused(t, p, string(typ)+" as an assertion", raw)
	}
	for _, as := range []token.Type{token.IDToken, token.AccessToken, token.LogoutToken} {
		for _, typ := range []string{`"typ":"JWT",`, `"typ":"client-authentication+jwt",`, ""} {
			raw := forge(`{`+typ+`"alg":"EdDSA","kid":"EdDSA"}`, toJSON(assertion(claims{"sid": "s", "client_id": client, "scope": "read"})), private(token.EdDSA))
			p := newAssertionParser(r)
			if _, err := p.Parse(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
			p.Type = as
			refused(t, p, typ+" as "+string(as), raw)
		}
	}
}

func TestSecrets(t *testing.T) { // client_secret_jwt, OpenID Connect Core §9
	t.Parallel()
	first, second := []byte(strings.Repeat("1", 32)), []byte(strings.Repeat("2", 32))
	mac := func(header string, key []byte) string { return forge(header, toJSON(assertion(nil)), key) }
	const head = `{"alg":"HS256","typ":"JWT"}`
	p := newAssertionParser(token.Secrets{first, second}, token.HS256)
	for name, raw := range map[string]string{
		"first": mac(head, first), "second": mac(head, second), "with a key id": mac(`{"alg":"HS256","kid":"any"}`, second),
	} {
		if _, err := p.Parse(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(&private(token.RS256).(*rsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"another secret": mac(head, []byte(strings.Repeat("3", 32))), "no key": mac(head, []byte{}), "a part": mac(head, first[:31]), "both": mac(head, append(first, second...)),
		"none": forge(`{"alg":"none"}`, toJSON(assertion(nil)), nil), "no signature": forge(head, toJSON(assertion(nil)), nil),
		"HS512 named": mac(`{"alg":"HS512"}`, first), "RS256 named": mac(`{"alg":"RS256"}`, first), "hs256": mac(`{"alg":"hs256"}`, first),
	} {
		refused(t, p, name, raw)
	}
	refused(t, newAssertionParser(token.Secrets{}, token.HS256), "no secrets", mac(head, []byte{}))
	refused(t, newAssertionParser(token.Secrets{nil}, token.HS256), "an empty secret", mac(head, []byte{}))
	refused(t, newAssertionParser(token.Secrets{first, first[:31]}, token.HS256), "RFC 7518 §3.2: a short secret", mac(head, first[:31]))
	refused(t, newAssertionParser(token.Secrets{first}), "HS256 is in no list that says nothing", mac(head, first))
	// CVE-2026-11800: whoever can be had to allow HS256 has no key for it but Secrets.
	public := newRing(t).Public(epoch)
	document, _ := newRing(t).JWKS(epoch)
	set, err := token.ParseKeySet(document)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]token.KeySource{"ring": newRing(t), "set": token.KeySet(public), "parsed": set} {
		for key, secret := range map[string][]byte{
			"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWKS": document, "none": {},
		} {
			refused(t, newAssertionParser(keys, token.HS256, token.RS256), "HS256 by the "+key+" of a "+name, mac(`{"alg":"HS256","kid":"RS256"}`, secret))
		}
	}
	// A token of another type is no business of secrets.
	at := newParser(token.Secrets{first})
	at.Algorithms = []string{token.HS256}
	refused(t, at, "an access token", forge(`{"alg":"HS256","typ":"at+jwt"}`, toJSON(access(nil)), first))
	for _, raw := range []any{[]byte("secret"), first, [][]byte{first}, token.Secrets(nil)} {
		refused(t, newAssertionParser(token.KeySet{{Key: raw}}, token.HS256), fmt.Sprintf("a %T", raw), mac(head, first))
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	s := token.Secrets{[]byte(strings.Repeat("geheim", 6))}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secrets", s)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secrets", s)
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s %x", s, s, s, s, s), log.String()} {
		if strings.Contains(printed, "geheim") || strings.Contains(printed, "676568") || !strings.Contains(printed, "1 secrets") {
			t.Errorf("printed %s", printed)
		}
	}
}

func TestParseKeySet(t *testing.T) { // RFC 7517 §5
	t.Parallel()
	r := newRing(t)
	document, _ := r.JWKS(epoch)
	s, err := token.ParseKeySet(document)
	if err != nil || len(s) != len(algorithms) {
		t.Fatalf("ParseKeySet = %v, %v", s, err)
	}
	for _, a := range algorithms {
		found, err := s.PublicKeys(t.Context(), a, epoch)
		if err != nil || len(found) != 1 || found[0].Algorithm != a {
			t.Errorf("PublicKeys(%s) = %v, %v", a, found, err)
		}
	}
	if found, err := s.PublicKeys(t.Context(), "x", epoch); err != nil || len(found) != 0 {
		t.Errorf("PublicKeys of an unknown id = %v, %v", found, err)
	}
	if found, err := s.PublicKeys(t.Context(), "", epoch); err != nil || len(found) != len(s) {
		t.Errorf("PublicKeys of no id = %v, %v", found, err)
	}
	ec := toJSON(jwkOf(private(token.ES256)))
	list := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	if s, err := token.ParseKeySet([]byte(list(ec, `{"kty":"unheard of"}`, strings.Replace(ec, "{", `{"use":"enc",`, 1)))); err != nil || len(s) != 1 {
		t.Errorf("with keys that are none of ours: %v, %v", s, err)
	}
	for name, document := range map[string]string{
		"nothing": "", "text": "x", "null": "null", "a list": "[" + ec + "]", "one key": ec, "no keys": "{}", "keys is null": `{"keys":null}`, "empty": list(),
		"only unknown ones": list(`{"kty":"unheard of"}`), "null key": list("null"), "two lists": `{"keys":[],"keys":[` + ec + `]}`,
		"private": list(ec, strings.Replace(ec, "{", `{"d":"AQAB",`, 1)), "symmetric": list(ec, `{"kty":"oct","k":"AAAA"}`),
		"data after it": list(ec) + "x", "a name twice": list(strings.Replace(ec, "{", `{"kty":"EC",`, 1)),
	} {
		if s, err := token.ParseKeySet([]byte(document)); err == nil || s != nil {
			t.Errorf("%s: ParseKeySet = %v, %v, want an error", name, s, err)
		} else if strings.Contains(err.Error(), "AQAB") {
			t.Errorf("%s: the error %q tells of the key", name, err)
		}
	}
}

// FuzzParseClientAssertion signs any header and claims. What is accepted is by the client, about the client, for us, and has
// a jti; and it is no ID token, though both may have the type JWT.
func FuzzParseClientAssertion(f *testing.F) {
	good := toJSON(assertion(nil))
	const byRing, byPassword = `{"alg":"EdDSA","typ":"JWT","kid":"EdDSA"}`, `{"alg":"HS256"}`
	f.Add(byRing, good, uint8(0))
	f.Add(byPassword, good, uint8(1))
	f.Add(`{"alg":"HS256","kid":"EdDSA"}`, good, uint8(2))
	f.Add(`{"alg":"none"}`, good, uint8(3))
	f.Add(`{"alg":"EdDSA","typ":"client-authentication+jwt","kid":"EdDSA"}`, `{"iss":"x",`+good[1:], uint8(0))
	f.Add(`{"alg":"EdDSA","typ":"","kid":"EdDSA"}`, `{"SUB":"x","aud":[null],`+good[1:], uint8(0))
	r := newRing(f, token.EdDSA)
	secret := []byte(strings.Repeat("s", 32))
	document, _ := r.JWKS(epoch)
	keys := []any{private(token.EdDSA), secret, document, nil}
	byKey, bySecret := newAssertionParser(r), newAssertionParser(token.Secrets{secret}, token.HS256)
	f.Fuzz(func(t *testing.T, header, payload string, key uint8) {
		raw := forge(header, payload, keys[int(key)%len(keys)])
		a, errA := byKey.Parse(t.Context(), raw)
		b, errB := bySecret.Parse(t.Context(), raw)
		if errA == nil && (errB == nil || key%4 != 0) || errB == nil && key%4 != 1 {
			t.Fatalf("accepted %s by key %d", header, key%4)
		}
		if payload == good && (header == byRing && key == 0 && errA != nil || header == byPassword && key == 1 && errB != nil) {
			t.Fatalf("%s is refused: %v, %v", header, errA, errB)
		}
		for _, c := range []*token.Claims{a, b} {
			if c == nil {
				continue
			}
			var got struct {
				claims
				aud []any
			}
			if err := json.Unmarshal(c.Payload, &got.claims); err != nil {
				t.Fatal(err)
			}
			exp, _ := got.claims["exp"].(float64)
			if got.claims["iss"] != client || got.claims["sub"] != client || c.ID == "" || got.claims["jti"] != c.ID || exp <= float64(epoch.Unix()-10) {
				t.Fatalf("accepted %s", payload)
			}
			id := newAssertionParser(r)
			id.Type = token.IDToken
			if _, err := id.Parse(t.Context(), raw); err == nil {
				t.Fatalf("%s is an ID token too", payload)
			}
		}
	})
}
