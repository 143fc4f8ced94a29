package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/token"
)

var keyAlgs = []string{"RSA-OAEP-256", "RSA-OAEP", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"}

// decryptionKey makes a key. There are two of RSA, told apart by the id "r1".
func decryptionKey(t testing.TB, alg, id string) token.Key {
	t.Helper()
	kind := "ES256"
	if strings.HasPrefix(alg, "RSA") {
		kind = "RS256"
	}
	return token.Key{ID: id, Algorithm: alg, Private: newKey(t, kind, id).private}
}

// published returns what the provider finds at the client's jwks_uri.
func published(t testing.TB, p *oidc.Provider) []byte {
	t.Helper()
	d, err := p.Descriptor(t.Context(), provider.DescriptorRequest{})
	if err != nil || d == nil || d.ContentType != "application/jwk-set+json" || d.MaxAge != time.Hour {
		t.Fatalf("descriptor %+v, %v", d, err)
	}
	return d.Body
}

// encryptedFlow is a client to which everything is encrypted, and its configuration.
func encryptedFlow(t testing.TB, enc string, keys ...token.Key) (*flow, oidc.Config) {
	t.Helper()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{UserInfoAlg: "ES256"})
	cfg := f.config(t)
	cfg.DecryptionKeys, cfg.RequireEncryptedIDToken, cfg.RequireEncryptedUserInfo = keys, true, true
	f.encrypt(t, cfg, keys[0].Algorithm, enc)
	return f, cfg
}

// encrypt has the provider encrypt to what the client publishes.
func (f *flow) encrypt(t testing.TB, cfg oidc.Config, alg, enc string) {
	t.Helper()
	f.client.EncryptionAlg, f.client.EncryptionEnc, f.client.JWKS = alg, enc, published(t, newProvider(t, cfg))
	f.client = f.op.Register(f.client)
}

// Row 48 of the behaviours: encrypted ID tokens and userinfo are accepted, with each algorithm that is allowed.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	for _, alg := range keyAlgs {
		for _, enc := range []string{"A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"} {
			t.Run(alg+" "+enc, func(t *testing.T) {
				t.Parallel()
				f, cfg := encryptedFlow(t, enc, decryptionKey(t, alg, "d1"))
				if strings.Contains(enc, "CBC") {
					_, err := f.login(t, newProvider(t, cfg))
					refused(t, err, provider.Invalid, `content encrypted with "`+enc+`", accepted are A128GCM A192GCM A256GCM`)
					cfg.ContentEncryption = []string{enc}
				}
				id, err := f.login(t, newProvider(t, cfg))
				if err != nil {
					t.Fatal(err)
				}
				if id.Username != "alice" || id.Email != "alice@example.com" || !id.EmailVerified {
					t.Errorf("identity %+v", id)
				}
				// OpenID Connect Core §3.1.2.1: what goes back as an id_token_hint is no longer encrypted.
				if strings.Count(id.Tokens.IDToken, ".") != 2 {
					t.Error("the ID token that is kept is not the signed one")
				}
			})
		}
	}
}

// Each way in which what is encrypted can be wrong, in ID token, userinfo and logout token.
func TestEncryptionFaults(t *testing.T) {
	t.Parallel()
	const notForUs = "cannot be decrypted with any"
	wants := map[providertest.Fault]string{
		providertest.EncryptionAbsent:   "it is not encrypted",
		providertest.EncryptionKeyWrong: notForUs,
		providertest.EncryptionTampered: notForUs,
		providertest.EncryptionCut:      notForUs,
		providertest.EncryptionHeader:   notForUs,
		providertest.EncryptionRSA15:    `encrypted with "RSA1_5"`,
		providertest.EncryptionDirect:   `encrypted with "dir"`,
		providertest.EncryptionPassword: `encrypted with "PBES2-HS256+A128KW"`,
		providertest.EncryptionZip:      `header has "zip"`,
		providertest.EncryptionCrit:     `header has "crit"`,
		providertest.EncryptionTyp:      `type (typ) is "at+jwt"`,
		providertest.EncryptionCty:      `type (cty) is "json"`,
		providertest.EncryptionTwice:    "it is not a signed JWT",
		providertest.EncryptionUnsigned: `signed with "none"`,
		providertest.EncryptionClaims:   "it is not a signed JWT",
		providertest.EncryptionForeign:  "signature",
	}
	for _, alg := range []string{"RSA-OAEP-256", "RSA-OAEP", "ECDH-ES", "ECDH-ES+A256KW"} {
		f, cfg := encryptedFlow(t, "", decryptionKey(t, alg, "d1"))
		idToken := newProvider(t, cfg)
		cfg.RequireEncryptedIDToken = false
		userInfo := newProvider(t, cfg)
		for _, fault := range providertest.EncryptionFaults() {
			want := wants[fault]
			if want == "" {
				t.Fatalf("%s: what is to become of it?", fault)
			}
			t.Run(alg+"/"+string(fault), func(t *testing.T) {
				defer f.op.Break()
				f.op.Break(fault)
				_, err := f.login(t, idToken)
				refused(t, err, provider.Invalid, "ID token: ")
				refused(t, err, provider.Invalid, want)
				l, err := receive(t, idToken, f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Subject: "s"}))
				if fault == providertest.EncryptionAbsent {
					if err != nil { // it is only recommended
						t.Error(err)
					}
				} else if refused(t, err, provider.Invalid, want); l != nil {
					t.Errorf("logout %+v", l)
				}
				// The ID token is all right, the userinfo is not.
				if fault == providertest.EncryptionAbsent {
					_, err = f.login(t, userInfo)
					refused(t, err, provider.Invalid, "userinfo: "+want)
				}
			})
		}
	}
}

// What is wrong in userinfo alone.
func TestEncryptedUserInfoRefused(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	key := decryptionKey(t, "RSA-OAEP-256", "d1")
	cfg := o.config()
	cfg.DecryptionKeys = []token.Key{key}
	p := newProvider(t, cfg)
	cfg.RequireEncryptedUserInfo = true
	strict := newProvider(t, cfg)
	claims := func(more object) []byte {
		c := object{"iss": o.URL, "aud": clientID, "sub": "alice-1", "name": "Alice, encrypted"}
		merge(more)(c)
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	signed := func(by testKey, more object) []byte {
		return []byte(sign(t, by.private, object{"alg": by.alg, "kid": "k1"}, claims(more)))
	}
	mallory := newKey(t, "ES256", "k1")
	to := recipient(key)
	say := func(body string) { o.userinfo = reply(200, "application/jwt", body) }

	say(encrypt(t, to, jose.A256GCM, nil, signed(o.signer, nil)))
	for _, p := range []*oidc.Provider{p, strict} {
		if got := o.must(t, p).Name; got != "Alice, encrypted" {
			t.Errorf("name %q", got)
		}
	}
	// OpenID Connect Core §5.3.2, CVE-2026-2092: decrypted is not signed.
	for name, row := range map[string]struct{ body, want string }{
		"plain claims inside": {encrypt(t, to, jose.A256GCM, nil, claims(nil)), "not a signed JWT"},
		"somebody else's":     {encrypt(t, to, jose.A256GCM, nil, signed(mallory, nil)), "signature"},
		"another subject":     {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"sub": "root"})), "another subject"},
		"another issuer":      {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"iss": "https://evil.example"})), "another issuer"},
		"another client":      {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"aud": "evil"})), "another client"},
		"expired":             {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"exp": 1})), "expired"},
		"too long":            {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"x": strings.Repeat("x", 40<<10)})), "bytes"},
		"too long inside":     {encrypt(t, to, jose.A256GCM, nil, signed(o.signer, object{"x": strings.Repeat("x", 13<<10)})), "bytes"},
	} {
		say(row.body)
		for _, p := range []*oidc.Provider{p, strict} {
			_, err := o.login(t, p)
			refused(t, err, provider.Invalid, row.want)
			if strings.Contains(fmt.Sprint(err), "alice-1") {
				t.Errorf("%s: error %q repeats the claims", name, err)
			}
		}
	}
	for name, reply := range map[string]http.HandlerFunc{
		"signed":     reply(200, "application/jwt", string(signed(o.signer, nil))),
		"plain JSON": reply(200, "application/json", string(claims(nil))),
		"encrypted, called JSON": reply(200, "application/json",
			encrypt(t, to, jose.A256GCM, nil, signed(o.signer, nil))),
	} {
		o.userinfo = reply
		if _, err := o.login(t, strict); err == nil {
			t.Errorf("%s: accepted although encryption is required", name)
		}
	}
	// Without keys there is nothing to try.
	say(encrypt(t, to, jose.A256GCM, nil, signed(o.signer, nil)))
	_, err := o.login(t, newProvider(t, o.config()))
	refused(t, err, provider.Invalid, "there are no DecryptionKeys")
}

func recipient(k token.Key) jose.Recipient {
	return jose.Recipient{Algorithm: jose.KeyAlgorithm(k.Algorithm), Key: k.Private.Public(), KeyID: k.ID}
}

// encrypt makes a compact JWE of any content.
func encrypt(t testing.TB, to jose.Recipient, enc jose.ContentEncryption, header object, plain []byte) string {
	options := &jose.EncrypterOptions{}
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	e, err := jose.NewEncrypter(enc, to, options)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := e.Encrypt(plain)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Headers of what is encrypted, each refused before a key is touched, and those that say nothing wrong.
func TestEncryptionHeader(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	rsaKey, ecKey := decryptionKey(t, "RSA-OAEP-256", "d1"), decryptionKey(t, "ECDH-ES+A128KW", "d2")
	cfg := o.config()
	cfg.DecryptionKeys = []token.Key{rsaKey, ecKey, decryptionKey(t, "RSA-OAEP", "r1")}
	p := newProvider(t, cfg)
	as := func(alg jose.KeyAlgorithm, k token.Key) jose.Recipient {
		return jose.Recipient{Algorithm: alg, Key: k.Private.Public(), KeyID: k.ID}
	}
	jwk := func(k testKey) any { return jose.JSONWebKey{Key: k.private.Public()} }
	for _, row := range []struct {
		name   string
		to     jose.Recipient
		header object
		want   string // "" is accepted
	}{
		{"nothing but what it needs", recipient(rsaKey), nil, ""},
		{"types", recipient(ecKey), object{"typ": "jwt", "cty": "JWT"}, ""},
		{"keys of the sender's choice", recipient(rsaKey), object{"jwk": jwk(newKey(t, "ES256", "k9")), "jku": "https://evil.example"}, ""},
		{"kid of another key", as("RSA-OAEP-256", token.Key{Private: rsaKey.Private, ID: "d2"}), nil, ""},
		{"kid of nobody", as("RSA-OAEP-256", token.Key{Private: rsaKey.Private, ID: "../../x"}), nil, ""},
		{"no kid", as("RSA-OAEP-256", token.Key{Private: rsaKey.Private}), nil, ""},
		{"the algorithm of another key", as("RSA-OAEP", rsaKey), nil, "cannot be decrypted with any"},
		{"the key's other algorithm", as("ECDH-ES", ecKey), nil, `encrypted with "ECDH-ES"`},
		{"the key's other algorithm, A256KW", as("ECDH-ES+A256KW", ecKey), nil, `encrypted with "ECDH-ES+A256KW"`},
		{"CVE-2016-5430: RSA1_5", as("RSA1_5", rsaKey), nil, `encrypted with "RSA1_5"`},
		{"b64", recipient(rsaKey), object{"b64": true}, `header has "b64"`},
		{"crit", recipient(rsaKey), object{"crit": []string{"exp"}, "exp": 1}, `header has "crit"`},
		{"crit null", recipient(rsaKey), object{"crit": nil}, `header has "crit"`},
		{"zip of another name", recipient(rsaKey), object{"zip": "GZ"}, `header has "zip"`},
		{"zip null", recipient(rsaKey), object{"zip": nil}, `header has "zip"`},
		{"type a number", recipient(rsaKey), object{"typ": 1}, "type (typ)"},
		{"content an access token", recipient(rsaKey), object{"cty": "at+jwt"}, "type (cty)"},
		{"content null", recipient(rsaKey), object{"cty": nil}, "type (cty)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.raw = func(raw string) string { return encrypt(t, row.to, jose.A128GCM, row.header, []byte(raw)) }
			id, err := o.login(t, p)
			if row.want != "" {
				refused(t, err, provider.Invalid, row.want)
			} else if err != nil || id.Subject != "alice-1" {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

// Texts that are no proper JWE: an error, the same one wherever a key was used.
func TestEncryptedMalformed(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	for _, alg := range []string{"RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW"} {
		cfg := o.config()
		cfg.ContentEncryption = []string{"A128GCM", "A128CBC-HS256"}
		cfg.DecryptionKeys = []token.Key{decryptionKey(t, alg, "d1"), decryptionKey(t, "RSA-OAEP", "r1")}
		p := newProvider(t, cfg)
		for _, enc := range []jose.ContentEncryption{jose.A128GCM, jose.A128CBC_HS256} {
			part := func(i int, edit func([]byte) []byte) func(string) string {
				return func(raw string) string {
					parts := strings.Split(encrypt(t, recipient(cfg.DecryptionKeys[0]), enc, nil, []byte(raw)), ".")
					b, err := base64.RawURLEncoding.DecodeString(parts[i])
					if err != nil {
						t.Error(err)
					}
					parts[i] = b64(edit(b))
					return strings.Join(parts, ".")
				}
			}
			header := func(edit func(object)) func(string) string {
				return part(0, func(b []byte) []byte {
					var h object
					if err := json.Unmarshal(b, &h); err != nil {
						t.Error(err)
					}
					edit(h)
					b, err := json.Marshal(h)
					if err != nil {
						t.Error(err)
					}
					return b
				})
			}
			flip := func(b []byte) []byte {
				if len(b) == 0 {
					return []byte{1}
				}
				b[len(b)-1] ^= 1
				return b
			}
			edits := map[string]func(string) string{
				"key changed": part(1, flip), "iv changed": part(2, flip), "content changed": part(3, flip), "tag changed": part(4, flip),
				"x": header(set("x", 1)), "kid changed": header(set("kid", "d9")), "cty": header(set("cty", "JWT")),
				"epk nothing": header(set("epk", nil)), "epk empty": header(set("epk", object{})),
				"epk RSA":       header(set("epk", jose.JSONWebKey{Key: newKey(t, "RS256", "").private.Public()})),
				"epk P-384":     header(set("epk", jose.JSONWebKey{Key: newKey(t, "ES384", "").private.Public()})),
				"epk zero":      header(set("epk", object{"kty": "EC", "crv": "P-256", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))})),
				"epk off curve": header(set("epk", object{"kty": "EC", "crv": "P-256", "x": b64(make([]byte, 32)), "y": b64(bytes.Repeat([]byte{1}, 32))})),
				"apu a number":  header(set("apu", 1)), "apv a list": header(set("apv", []int{1})),
				"only dots": func(string) string { return "...." },
				"too long":  func(string) string { return strings.Repeat("A", 26<<10) + "...." },
			}
			for i := range 5 {
				for n := range 50 { // CVE-2026-34986: lengths of zero to three blocks
					edits[fmt.Sprintf("part %d of %d bytes", i, n)] = part(i, func([]byte) []byte { return make([]byte, n) })
				}
			}
			for name, edit := range edits {
				if alg == "RSA-OAEP-256" && strings.HasPrefix(name, "ep") || alg == "ECDH-ES" && name == "part 1 of 0 bytes" {
					continue // it is no part of that algorithm, or is so anyway
				}
				o.raw = edit
				_, err := o.login(t, p)
				want := "cannot be decrypted with any"
				if name == "only dots" || strings.HasPrefix(name, "part 0") {
					want = "malformed header"
				}
				if name == "too long" { // and so not even looked at
					want = "it has 26628 bytes"
				}
				if err == nil {
					t.Fatalf("%s %s, %s: accepted", alg, enc, name)
				}
				if refused(t, err, provider.Invalid, want); t.Failed() {
					t.Fatalf("%s %s, %s", alg, enc, name)
				}
			}
		}
	}
}

// Keys are exchanged without a login that fails.
func TestDecryptionKeyRotation(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RSA-OAEP-256", "ECDH-ES"} {
		older, newer := decryptionKey(t, alg, "d1"), decryptionKey(t, alg, "r1")
		f, cfg := encryptedFlow(t, "", older)
		// Nodes of which only some have the new configuration, and a provider that has not fetched the keys again.
		for i, step := range []struct {
			keys   []token.Key
			behind []token.Key // what the other nodes have
			fetch  bool
		}{
			{[]token.Key{older, newer}, []token.Key{older}, true},
			{[]token.Key{newer, older}, []token.Key{older, newer}, false},
			{[]token.Key{newer, older}, []token.Key{older, newer}, true},
			{[]token.Key{newer}, []token.Key{newer, older}, true},
		} {
			cfg.DecryptionKeys = step.keys
			if step.fetch {
				f.encrypt(t, cfg, alg, "")
			}
			for _, keys := range [][]token.Key{step.keys, step.behind} {
				cfg.DecryptionKeys = keys
				if _, err := f.login(t, newProvider(t, cfg)); err != nil {
					t.Errorf("%s, step %d: %v", alg, i, err)
				}
			}
		}
		cfg.DecryptionKeys = []token.Key{older}
		_, err := f.login(t, newProvider(t, cfg))
		refused(t, err, provider.Invalid, "cannot be decrypted with any")
	}
}

// An encrypted logout token ends what it names, and says that it is one like any other.
func TestReceiveEncryptedLogout(t *testing.T) {
	t.Parallel()
	f, cfg := encryptedFlow(t, "", decryptionKey(t, "ECDH-ES", "d1"))
	p := newProvider(t, cfg)
	raw := f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Subject: "alice", Session: "s"})
	if l, err := receive(t, p, raw); err != nil || strings.Count(raw, ".") != 4 || l.Subject != "alice" || l.Session != "s" {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, fault := range providertest.LogoutFaults() {
		raw := f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Subject: "alice", Session: "s",
			Faults: []providertest.LogoutFault{fault}})
		if l, err := receive(t, p, raw); err == nil || strings.Count(raw, ".") != 4 {
			t.Errorf("%s: got %+v, %v", fault, l, err)
		}
	}
	id, err := f.login(t, p)
	if err != nil {
		t.Fatal(err)
	}
	to := recipient(cfg.DecryptionKeys[0])
	if l, err := receive(t, p, encrypt(t, to, jose.A256GCM, nil, []byte(id.Tokens.IDToken))); err == nil {
		t.Errorf("an ID token ended %+v", l)
	}
}

// Every fault of a provider is as wrong in what it encrypts.
func TestFaultsInsideEncryption(t *testing.T) {
	t.Parallel()
	f, cfg := encryptedFlow(t, "", decryptionKey(t, "ECDH-ES", "d1"))
	cfg.MaxAge = new(time.Hour)
	p := newProvider(t, cfg)
	for _, fault := range providertest.Faults() {
		token, info := strings.HasPrefix(string(fault), "ID token: "), strings.HasPrefix(string(fault), "userinfo: JWT")
		if !token && !info {
			continue
		}
		f.op.Break(fault)
		if id, err := f.login(t, p); err == nil {
			t.Errorf("%s: got %+v", fault, id)
		}
	}
	f.op.Break()
	if _, err := f.login(t, p); err != nil {
		t.Error(err)
	}
}

// A token that an application brings along may be encrypted to the broker, which is then no more proof than it was.
func TestVerifyEncryptedToken(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DecryptionKeys = []token.Key{decryptionKey(t, "ECDH-ES", "d1")}
	p := newProvider(t, cfg)
	right := object{"iss": o.URL, "sub": "alice-1", "aud": clientID, "exp": o.ago(-time.Minute), "iat": o.ago(0)}
	seal := func(by testKey) string {
		return encrypt(t, recipient(cfg.DecryptionKeys[0]), jose.A256GCM, nil,
			[]byte(sign(t, by.private, object{"alg": "ES256", "kid": "k1"}, mustJSON(t, right))))
	}
	if id, err := p.VerifyToken(t.Context(), seal(o.signer)); err != nil || id.Subject != "alice-1" {
		t.Errorf("got %+v, %v", id, err)
	}
	_, err := p.VerifyToken(t.Context(), seal(newKey(t, "ES256", "k1")))
	refused(t, err, provider.Invalid, "exchanged token: ")
	_, err = newProvider(t, o.config()).VerifyToken(t.Context(), seal(o.signer))
	refused(t, err, provider.Invalid, "no DecryptionKeys")
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecryptionConfigRefused(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, ecKey := decryptionKey(t, "RSA-OAEP-256", "d1"), decryptionKey(t, "ECDH-ES", "d2")
	with := func(alg string, private crypto.Signer) token.Key {
		return token.Key{ID: "d", Algorithm: alg, Private: private}
	}
	for _, row := range []struct {
		name string
		edit func(*oidc.Config)
		want string
	}{
		{"no key", func(c *oidc.Config) { c.RequireEncryptedIDToken = true }, "RequireEncryptedIDToken: without"},
		{"no key for userinfo", func(c *oidc.Config) { c.RequireEncryptedUserInfo = true }, "RequireEncryptedUserInfo: without"},
		{"empty list", func(c *oidc.Config) { c.ContentEncryption = []string{} }, "ContentEncryption: is empty"},
		{"unknown", func(c *oidc.Config) { c.ContentEncryption = []string{"A128GCM", "A192CBC-HS384"} }, `"A192CBC-HS384" is refused`},
		{"none", func(c *oidc.Config) { c.ContentEncryption = []string{"none"} }, `"none" is refused`},
		{"two of one id", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{rsaKey, rsaKey} }, "DecryptionKeys[1]: its id"},
		{"no id", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{{Algorithm: "ECDH-ES", Private: ecKey.Private}} }, "its id"},
		{"too many", func(c *oidc.Config) { c.DecryptionKeys = make([]token.Key, 9) }, "9 are too many"},
		{"zero key", func(c *oidc.Config) { c.DecryptionKeys = make([]token.Key, 1) }, "DecryptionKeys[0]"},
		{"no private half", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("ECDH-ES", nil)} }, "does not fit"},
		{"nil inside", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RSA-OAEP", (*rsa.PrivateKey)(nil))} }, "does not fit"},
		{"half empty inside", func(c *oidc.Config) {
			c.DecryptionKeys = []token.Key{with("RSA-OAEP", &rsa.PrivateKey{D: big.NewInt(1)})}
		}, "does not fit"},
		{"empty inside", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RSA-OAEP", &rsa.PrivateKey{})} }, "does not fit"},
		{"weak", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RSA-OAEP-256", weak)} }, "too weak"},
		{"RSA for ECDH", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("ECDH-ES", rsaKey.Private)} }, "does not fit"},
		{"EC for RSA", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RSA-OAEP", ecKey.Private)} }, "does not fit"},
		{"another curve", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("ECDH-ES", p384)} }, "does not fit"},
		{"Ed25519", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("ECDH-ES", ed)} }, "does not fit"},
		{"a signing algorithm", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RS256", rsaKey.Private)} }, `"RS256" is not one to decrypt`},
		{"RSA1_5", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("RSA1_5", rsaKey.Private)} }, `"RSA1_5" is not one to decrypt`},
		{"dir", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("dir", rsaKey.Private)} }, `"dir" is not one to decrypt`},
		{"PBES2", func(c *oidc.Config) { c.DecryptionKeys = []token.Key{with("PBES2-HS256+A128KW", rsaKey.Private)} }, "is not one to decrypt"},
		{"the key that signs", func(c *oidc.Config) {
			c.ClientSecret, c.ClientKey = "", token.Key{ID: "s", Algorithm: "PS256", Private: rsaKey.Private}
			c.DecryptionKeys = []token.Key{ecKey, rsaKey}
		}, "DecryptionKeys[1]: it is the ClientKey"},
	} {
		cfg := oidc.Config{Issuer: "https://op.example", ClientID: clientID, ClientSecret: clientSecret}
		row.edit(&cfg)
		if p, err := oidc.New(cfg); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: New = %v, %v, want %q", row.name, p, err, row.want)
		}
	}
}

// What is published is what the provider needs and no half of a key more.
func TestDescriptor(t *testing.T) {
	t.Parallel()
	cfg := oidc.Config{Issuer: "https://op.example", ClientID: clientID, ClientSecret: clientSecret}
	if d, err := newProvider(t, cfg).Descriptor(t.Context(), provider.DescriptorRequest{}); d != nil || err != nil {
		t.Errorf("a client without keys publishes %+v, %v", d, err)
	}
	cfg.ClientSecret, cfg.ClientKey = "", token.Key{ID: "s", Algorithm: "ES256", Private: newKey(t, "ES256", "").private}
	cfg.DecryptionKeys = []token.Key{
		decryptionKey(t, "RSA-OAEP-256", "d1"), decryptionKey(t, "ECDH-ES", "d2"), decryptionKey(t, "ECDH-ES", "old"),
		decryptionKey(t, "RSA-OAEP-256", "r1"),
	}
	p := newProvider(t, cfg)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(published(t, p), &set); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range set.Keys {
		got = append(got, strings.Join([]string{k["kid"], k["kty"], k["use"], k["alg"]}, " "))
		for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[secret] != "" {
				t.Errorf("key %s shows %q", k["kid"], secret)
			}
		}
	}
	want := []string{"s EC sig ES256", "d1 RSA enc RSA-OAEP-256", "d2 EC enc ECDH-ES"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	published(t, p)[0] = 'x' // the caller's own copy
	if body := published(t, p); body[0] != '{' {
		t.Errorf("changed by a caller: %s", body)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, p) + fmt.Sprintf(verb, cfg); strings.Contains(text, "DecryptionKeys") || len(text) > 300 {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// Whatever is sent: nothing panics, and who gets in is whom the provider's key signed.
func FuzzDecrypt(f *testing.F) {
	o := newOP(f)
	cfg := o.config()
	cfg.ContentEncryption = []string{"A128GCM", "A256GCM", "A128CBC-HS256"}
	cfg.DecryptionKeys = []token.Key{decryptionKey(f, "RSA-OAEP-256", "d1"), decryptionKey(f, "ECDH-ES", "d2"), decryptionKey(f, "ECDH-ES+A128KW", "d3")}
	p := newProvider(f, cfg)
	claims := object{"iss": o.URL, "sub": "alice-1", "aud": clientID, "exp": o.ago(-time.Minute), "iat": o.ago(0)}
	genuine := sign(f, o.signer.private, object{"alg": "ES256", "kid": "k1"}, mustJSON(f, claims))
	claims["sub"] = "root"
	forged := sign(f, newKey(f, "ES256", "k1").private, object{"alg": "ES256", "kid": "k1"}, mustJSON(f, claims))
	// plain is encrypted to the key that the first number names, or sent as it is; the other two change one byte of it. Tokens stand in it
	// by name, since the processes of a fuzz run have keys of their own.
	written := strings.NewReplacer("GENUINE", genuine, "FORGED", forged)
	for i := range len(cfg.DecryptionKeys) + 1 {
		for _, plain := range []string{"GENUINE", "FORGED", `{"sub":"root"}`, "", "..", "...."} {
			f.Add([]byte(plain), i, 0, byte(0))
			f.Add([]byte(plain), i, 150, byte(1))
			f.Add([]byte(encrypt(f, recipient(cfg.DecryptionKeys[0]), jose.A128GCM, nil, []byte(plain))), i, 1000, byte(3))
		}
	}
	cbc := encrypt(f, recipient(cfg.DecryptionKeys[1]), jose.A128CBC_HS256, nil, []byte(genuine))
	f.Add([]byte(cbc), 3, 0, byte(0))
	f.Fuzz(func(t *testing.T, plain []byte, to, at int, flip byte) {
		raw := written.Replace(string(plain))
		if to >= 0 && to < len(cfg.DecryptionKeys) {
			raw = encrypt(t, recipient(cfg.DecryptionKeys[to]), jose.A256GCM, nil, []byte(raw))
		}
		if at >= 0 && at < len(raw) {
			raw = raw[:at] + string(raw[at]^flip) + raw[at+1:]
		}
		id, err := p.VerifyToken(t.Context(), raw)
		if err == nil {
			if id.Subject != "alice-1" {
				t.Fatalf("%q got in", id.Subject)
			}
			return
		}
		mustEnter := flip == 0 && to >= 0 && to <= len(cfg.DecryptionKeys) && (string(plain) == "GENUINE" || string(plain) == cbc && to == len(cfg.DecryptionKeys))
		if id != nil || strings.ContainsAny(err.Error(), "\r\n\x1b") || mustEnter {
			t.Errorf("got %+v, %q", id, err)
		}
		if l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{Params: url.Values{"logout_token": {raw}}}); err == nil {
			t.Errorf("%+v ends", l)
		}
	})
}
