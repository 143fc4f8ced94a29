package broker_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/token"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientKey returns one private key per algorithm for all tests, as RSA keys take long to make. "other" is another ES256 key.
var clientKey = func() func(string) crypto.Signer {
	keys := map[string]func() crypto.Signer{}
	for name, alg := range map[string]string{"RS256": "RS256", "PS256": "PS256", "ES256": "ES256", "EdDSA": "EdDSA", "other": "ES256"} {
		keys[name] = sync.OnceValue(func() crypto.Signer {
			k, err := token.GenerateKey(alg)
			if err != nil {
				panic(err)
			}
			return k
		})
	}
	return func(name string) crypto.Signer { return keys[name]() }
}()

// jwkOf is a private key's public half, as its owner publishes it.
func jwkOf(private crypto.Signer) map[string]any {
	b, err := jose.JSONWebKey{Key: private.Public()}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(b, &jwk); err != nil {
		panic(err)
	}
	return jwk
}

// jwksOf is the key set of the named keys, whose ids are their names.
func jwksOf(names ...string) string {
	var keys []map[string]any
	for _, name := range names {
		jwk := jwkOf(clientKey(name))
		jwk["kid"] = name
		keys = append(keys, jwk)
	}
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// signJWT signs by hand what is given, by the algorithm that its header names as far as the key has it.
func signJWT(header, claims any, key any) string {
	signed := segment(header) + "." + segment(claims)
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	switch k := key.(type) {
	case nil:
	case string:
		mac := hmac.New(sha256.New, []byte(k))
		mac.Write([]byte(signed))
		signature = mac.Sum(nil)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(signed))
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, digest[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), e
	case *rsa.PrivateKey:
		if header.(fields)["alg"] == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], nil)
		} else {
			signature, err = rsa.SignPKCS1v15(nil, k, crypto.SHA256, digest[:])
		}
	}
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

type fields map[string]any

// with returns f with the changes made; nil takes a field away.
func (f fields) with(changes fields) fields {
	f = maps.Clone(f)
	maps.Copy(f, changes)
	maps.DeleteFunc(f, func(_ string, v any) bool { return v == nil })
	return f
}

const (
	jwtSecret   = "0123456789abcdef0123456789abcdef"
	otherSecret = "another secret with 32 characters"
)

// newAssertingWorld has a client per way to sign assertions.
func newAssertingWorld(t *testing.T, edit func(*broker.Config)) *world {
	return newWorld(t, func(c *broker.Config) {
		uris := c.Clients[0].RedirectURIs
		c.Clients = append(c.Clients,
			store.Client{ID: "mac", AuthMethod: store.AuthSecretJWT, Secrets: [][]byte{[]byte(jwtSecret), []byte(otherSecret)}, RedirectURIs: uris},
			store.Client{ID: "signing", AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256", "EdDSA", "PS256", "RS256"), RedirectURIs: uris},
			store.Client{ID: "single", AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("RS256"), AuthSigningAlg: "PS256", RedirectURIs: uris},
			store.Client{ID: "basic", Secrets: [][]byte{[]byte(jwtSecret)}, RedirectURIs: uris},
			store.Client{ID: "none", AuthMethod: store.AuthNone, RedirectURIs: uris},
			store.Client{ID: "off", AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256"), RedirectURIs: uris, Disabled: true},
		)
		if edit != nil {
			edit(c)
		}
	})
}

var assertions atomic.Int64

// claimsFor are those of a good assertion, with a jti of its own.
func (w *world) claimsFor(client string) fields {
	now := w.clock().Unix()
	return fields{
		"iss": client, "sub": client, "aud": w.URL, "iat": now, "exp": now + 60, "jti": fmt.Sprint("jti", assertions.Add(1)),
	}
}

// assert sends a token request without a code: who is authenticated is told that, with another error.
func (w *world) assert(assertion string, edit func(url.Values)) *reply {
	w.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "client_assertion_type": {jwtBearer}, "client_assertion": {assertion}}
	if edit != nil {
		edit(form)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, nil)
}

func (w *world) wantAuthenticated(t *testing.T, r *reply) {
	t.Helper()
	wantError(t, r, http.StatusBadRequest, "invalid_grant")
}

func TestClientAssertion(t *testing.T) { // RFC 7523 §2.2 and §3, OpenID Connect Core §9
	t.Parallel()
	w := newAssertingWorld(t, nil)
	now := w.clock().Unix()
	ec, ed := clientKey("ES256"), clientKey("EdDSA")
	head := fields{"alg": "ES256", "kid": "ES256", "typ": "JWT"}
	signing := func(changes fields) string { return signJWT(head, w.claimsFor("signing").with(changes), ec) }
	headed := func(changes fields, key any) string { return signJWT(head.with(changes), w.claimsFor("signing"), key) }
	mac := func(changes fields, key string) string {
		return signJWT(fields{"alg": "HS256"}.with(changes), w.claimsFor("mac"), key)
	}
	rows := []struct {
		name      string
		assertion string
		edit      func(url.Values)
		ok        bool
	}{
		{"§3: private_key_jwt", signing(nil), nil, true},
		{"§3: with client_id as well", signing(nil), set("client_id", "signing"), true},
		{"§9: client_secret_jwt", mac(nil, jwtSecret), nil, true},
		{"§9: client_secret_jwt by the second secret", mac(fields{"typ": "JWT", "kid": "any"}, otherSecret), nil, true},
		{"ES256", headed(nil, ec), nil, true},
		{"EdDSA", headed(fields{"alg": "EdDSA", "kid": "EdDSA"}, ed), nil, true},
		{"RS256", headed(fields{"alg": "RS256", "kid": "RS256"}, clientKey("RS256")), nil, true},
		{"PS256", headed(fields{"alg": "PS256", "kid": "PS256"}, clientKey("PS256")), nil, true},
		{"no kid, one key that fits", headed(fields{"kid": nil}, ec), nil, true},
		{"no typ", headed(fields{"typ": nil}, ec), nil, true},
		{"typ client-authentication+jwt", headed(fields{"typ": "client-authentication+jwt"}, ec), nil, true},
		{"§3 3: the token endpoint is the audience", signing(fields{"aud": w.URL + "/token"}), nil, true},
		{"§3 3: issuer and token endpoint are", signing(fields{"aud": []string{w.URL, w.URL + "/token"}}), nil, true},
		{"§3 4: five minutes", signing(fields{"exp": now + 300}), nil, true},
		{"§3 6: no iat", signing(fields{"iat": nil}), nil, true},
		{"the algorithm that is registered", signJWT(fields{"alg": "PS256", "kid": "RS256"}, w.claimsFor("single"), clientKey("RS256")), nil, true},

		{"another algorithm than registered", signJWT(fields{"alg": "RS256", "kid": "RS256"}, w.claimsFor("single"), clientKey("RS256")), nil, false},
		{"RFC 7521 §4.2: no type", signing(nil), unset("client_assertion_type"), false},
		{"RFC 7521 §4.2: another type", signing(nil), set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), false},
		{"RFC 7521 §4.2: type in capitals", signing(nil), set("client_assertion_type", strings.ToUpper(jwtBearer)), false},
		{"RFC 7521 §4.2: type with a blank", signing(nil), set("client_assertion_type", jwtBearer+" "), false},
		{"RFC 7521 §4.2: type without assertion", "", nil, false},
		{"RFC 7521 §4.2: another client_id", signing(nil), set("client_id", "mac"), false},
		{"RFC 7521 §4.2: the public client's client_id", signing(nil), set("client_id", "none"), false},
		{"§3 1: no iss", signing(fields{"iss": nil}), nil, false},
		{"§3 1: iss is another's", signing(fields{"iss": "mac"}), nil, false},
		{"§3 1: iss is the broker", signing(fields{"iss": w.URL}), nil, false},
		{"§3 2: no sub", signing(fields{"sub": nil}), nil, false},
		{"§3 2: sub is another's", signing(fields{"sub": "off", "iss": "off"}), nil, false},
		{"§3 2: iss and sub differ", signing(fields{"sub": "single"}), nil, false},
		{"§3 2: sub is a user's", signing(fields{"sub": "alice"}), nil, false},
		{"§3 2: two subs", strings.Replace(signing(nil), ".", "."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"signing","sub":"mac"}`))+".", 1), nil, false},
		{"§3 2: sub is SQL", signing(fields{"sub": "' OR 1=1 --", "iss": "' OR 1=1 --"}), nil, false},
		{"§3 2: sub is NUL", signing(fields{"sub": "\x00", "iss": "\x00"}), nil, false},
		{"§3 3: no aud", signing(fields{"aud": nil}), nil, false},
		{"§3 3: empty aud", signing(fields{"aud": ""}), nil, false},
		{"§3 3: empty list", signing(fields{"aud": []string{}}), nil, false},
		{"§3 3: aud is the client", signing(fields{"aud": "signing"}), nil, false},
		{"§3 3: aud is another issuer", signing(fields{"aud": "https://evil.example"}), nil, false},
		{"§3 3: us and somebody else", signing(fields{"aud": []string{w.URL, "https://evil.example"}}), nil, false},
		{"§3 3: a slash more", signing(fields{"aud": w.URL + "/"}), nil, false},
		{"§3 3: a slash more at the endpoint", signing(fields{"aud": w.URL + "/token/"}), nil, false},
		{"§3 3: the issuer in capitals", signing(fields{"aud": strings.ToUpper(w.URL)}), nil, false},
		{"§3 3: another endpoint of ours", signing(fields{"aud": w.URL + "/userinfo"}), nil, false},
		{"§3 3: the endpoint with a query", signing(fields{"aud": w.URL + "/token?x"}), nil, false},
		{"§3 3: the origin", signing(fields{"aud": w.Origin}), nil, false},
		{"§3 4: no exp", signing(fields{"exp": nil}), nil, false},
		{"§3 4: expired", signing(fields{"exp": now - 11}), nil, false},
		{"§3 4: lives for an hour", signing(fields{"exp": now + 3600}), nil, false},
		{"§3 4: lives for ever", signing(fields{"exp": 253402300799}), nil, false},
		{"§3 4: textual exp", signing(fields{"exp": fmt.Sprint(now + 60)}), nil, false},
		{"§3 5: not yet", signing(fields{"nbf": now + 60}), nil, false},
		{"§3 6: of the future", signing(fields{"iat": now + 60}), nil, false},
		{"§3 6: of yesterday", signing(fields{"iat": now - 86400}), nil, false},
		{"§9: no jti", signing(fields{"jti": nil}), nil, false},
		{"§9: empty jti", signing(fields{"jti": ""}), nil, false},
		{"RFC 8725 §3.1: none", signJWT(fields{"alg": "none"}, w.claimsFor("signing"), nil), nil, false},
		{"RFC 8725 §3.1: None", signJWT(fields{"alg": "None"}, w.claimsFor("signing"), nil), nil, false},
		{"RFC 8725 §3.1: none for a secret", signJWT(fields{"alg": "none"}, w.claimsFor("mac"), nil), nil, false},
		{"RFC 8725 §3.1: no signature", headed(nil, nil), nil, false},
		{"RFC 8725 §2.1: HS256 by the key set", signJWT(fields{"alg": "HS256", "kid": "ES256"}, w.claimsFor("signing"), jwksOf("ES256", "EdDSA", "PS256", "RS256")), nil, false},
		{"RFC 8725 §2.1: HS256 by the public key", signJWT(fields{"alg": "HS256", "kid": "EdDSA"}, w.claimsFor("signing"), string(ed.Public().(ed25519.PublicKey))), nil, false},
		{"RFC 8725 §2.1: HS256 by nothing", signJWT(fields{"alg": "HS256"}, w.claimsFor("signing"), ""), nil, false},
		{"another key", headed(nil, clientKey("other")), nil, false},
		{"another key, brought along", headed(fields{"jwk": jwkOf(clientKey("other")), "kid": nil}, clientKey("other")), nil, false},
		{"another key, pointed to", headed(fields{"jku": "https://evil.example/jwks"}, clientKey("other")), nil, false},
		{"another of its keys", headed(fields{"kid": "EdDSA"}, ec), nil, false},
		{"unknown kid", headed(fields{"kid": "x"}, ec), nil, false},
		{"no kid, two keys that fit", headed(fields{"alg": "RS256", "kid": nil}, clientKey("RS256")), nil, false},
		{"an algorithm out of the list", headed(fields{"alg": "RS512", "kid": "RS256"}, clientKey("RS256")), nil, false},
		{"typ at+jwt", headed(fields{"typ": "at+jwt"}, ec), nil, false},
		{"typ dpop+jwt", headed(fields{"typ": "dpop+jwt"}, ec), nil, false},
		{"typ logout+jwt", headed(fields{"typ": "logout+jwt"}, ec), nil, false},
		{"crit", headed(fields{"crit": []string{"exp"}}, ec), nil, false},
		{"another client's secret", mac(nil, "a secret with :, + and %"), nil, false},
		{"a part of the secret", mac(nil, jwtSecret[:31]), nil, false},
		{"an empty secret", mac(nil, ""), nil, false},
		{"HS512", mac(fields{"alg": "HS512"}, jwtSecret), nil, false},
		{"a private key for a client with secrets", signJWT(head, w.claimsFor("mac"), ec), nil, false},
		{"a secret for a client with keys", signJWT(fields{"alg": "HS256"}, w.claimsFor("signing"), jwtSecret), nil, false},
		{"a client registered for basic", signJWT(fields{"alg": "HS256"}, w.claimsFor("basic"), jwtSecret), nil, false},
		{"a public client", signJWT(fields{"alg": "HS256"}, w.claimsFor("none"), ""), nil, false},
		{"a client that is off", signJWT(head, w.claimsFor("off"), ec), nil, false},
		{"nobody", signJWT(head, w.claimsFor("nobody"), ec), nil, false},
		{"not a JWT", "junk", nil, false},
		{"two dots", "..", nil, false},
		{"CVE-2025-30204: many dots", strings.Repeat(".", 60000), nil, false},
		{"large", strings.Repeat("A", 60000), nil, false},
		{"four parts", signing(nil) + ".x", nil, false},
		{"blank at the end", signing(nil) + " ", nil, false},
		{"padded", signing(nil) + "=", nil, false},
	}
	// What was just signed is sent at once: subtests that wait for their turn would find it expired.
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := w.assert(row.assertion, row.edit)
			if row.ok {
				w.wantAuthenticated(t, r)
				return
			}
			wantError(t, r, http.StatusUnauthorized, "invalid_client")
			if unknown := w.assert(signJWT(head, w.claimsFor("nobody"), ec), nil); unknown.text != r.text {
				t.Errorf("%s, but of an unknown client %s", r.text, unknown.text)
			}
		})
	}
	for name, edit := range map[string]func(*http.Request, url.Values){
		"by Basic too":           func(r *http.Request, _ url.Values) { basic("signing", jwtSecret)(r) },
		"by post too":            func(_ *http.Request, v url.Values) { v.Set("client_secret", jwtSecret) },
		"a secret and the type":  func(_ *http.Request, v url.Values) { v.Del("client_assertion"); v.Set("client_secret", jwtSecret) },
		"Basic and the type":     func(r *http.Request, v url.Values) { v.Del("client_assertion"); basic("basic", jwtSecret)(r) },
		"two assertions at once": func(_ *http.Request, v url.Values) { v.Add("client_assertion", signing(nil)) },
	} {
		t.Run("RFC 6749 §2.3: "+name, func(t *testing.T) {
			form := url.Values{"grant_type": {"authorization_code"}, "client_assertion_type": {jwtBearer}, "client_assertion": {signing(nil)}}
			edit(&http.Request{Header: http.Header{}}, form)
			r := send(t, http.MethodPost, w.URL+"/token", form, func(r *http.Request) { edit(r, url.Values{}) })
			wantError(t, r, http.StatusBadRequest, "invalid_request")
		})
	}
}

func TestClientAssertionBringsTokens(t *testing.T) { // RFC 7523 §2.2
	t.Parallel()
	w := newAssertingWorld(t, nil)
	b := w.login("Demo")
	for client, sign := range map[string]func() string{
		"signing": func() string {
			return signJWT(fields{"alg": "EdDSA", "kid": "EdDSA"}, w.claimsFor("signing"), clientKey("EdDSA"))
		},
		"mac": func() string { return signJWT(fields{"alg": "HS256"}, w.claimsFor("mac"), jwtSecret) },
	} {
		form := w.redeemForm(w.code(b, set("client_id", client)))
		form.Set("client_assertion_type", jwtBearer)
		form.Set("client_assertion", sign())
		a := send(t, http.MethodPost, w.URL+"/token", form, nil).tokens(t)
		if got := part(t, a.AccessToken, 1)["client_id"]; got != client {
			t.Errorf("client_id is %v, want %s", got, client)
		}
	}
}

func TestClientAssertionReplay(t *testing.T) { // RFC 7523 §3 7, OpenID Connect Core §9
	t.Parallel()
	w := newAssertingWorld(t, nil)
	head := fields{"alg": "ES256", "kid": "ES256"}
	claims := w.claimsFor("signing")
	once := signJWT(head, claims, clientKey("ES256"))
	w.wantAuthenticated(t, w.assert(once, nil))
	wantError(t, w.assert(once, nil), http.StatusUnauthorized, "invalid_client")
	// ECDSA has many signatures of one text, and claims many spellings: what counts is the jti.
	wantError(t, w.assert(signJWT(head, claims, clientKey("ES256")), nil), http.StatusUnauthorized, "invalid_client")
	wantError(t, w.assert(signJWT(fields{"alg": "EdDSA", "kid": "EdDSA"}, claims.with(fields{"exp": claims["exp"].(int64) + 1}), clientKey("EdDSA")), nil),
		http.StatusUnauthorized, "invalid_client")
	// Another client has jtis of its own.
	w.wantAuthenticated(t, w.assert(signJWT(fields{"alg": "HS256"}, w.claimsFor("mac").with(fields{"jti": claims["jti"]}), jwtSecret), nil))
	// Up to the last moment, and from then on it has expired.
	w.advance(65 * time.Second)
	wantError(t, w.assert(once, nil), http.StatusUnauthorized, "invalid_client")
	w.advance(time.Hour)
	wantError(t, w.assert(once, nil), http.StatusUnauthorized, "invalid_client")

	// Somebody who cannot sign uses nobody's jti up, and writes nothing.
	claims = w.claimsFor("signing")
	wantError(t, w.assert(signJWT(head, claims, clientKey("other")), nil), http.StatusUnauthorized, "invalid_client")
	w.wantAuthenticated(t, w.assert(signJWT(head, claims, clientKey("ES256")), nil))

	// Of 64 at once one is authenticated.
	raced := signJWT(head, w.claimsFor("signing"), clientKey("ES256"))
	status := make(chan int, 64)
	for range cap(status) {
		go func() { status <- w.assert(raced, nil).StatusCode }()
	}
	through := 0
	for range cap(status) {
		if <-status == http.StatusBadRequest {
			through++
		}
	}
	if through != 1 {
		t.Errorf("%d of 64 were authenticated, want 1", through)
	}
}

// Each endpoint that clients authenticate at takes assertions, for itself and once.
func TestClientAssertionEverywhere(t *testing.T) { // RFC 7009 §2.1, RFC 7662 §2.1, RFC 8628 §3.1, RFC 9126 §2
	t.Parallel()
	w := newAssertingWorld(t, func(c *broker.Config) {
		for i := range c.Clients {
			if c.Clients[i].ID == "signing" {
				c.Clients[i].Grants = []string{store.GrantTypeCode, store.GrantTypeDevice}
			}
		}
	})
	paths := map[string]int{"/introspect": http.StatusOK, "/revoke": http.StatusOK, "/par": http.StatusCreated, "/device_authorization": http.StatusOK}
	for path, status := range paths {
		ask := func(claims fields, key crypto.Signer) *reply {
			form := w.authParams()
			form.Set("client_id", "signing")
			form.Set("token", "x")
			form.Set("client_assertion_type", jwtBearer)
			form.Set("client_assertion", signJWT(fields{"alg": "ES256", "kid": "ES256"}, claims, key))
			return send(t, http.MethodPost, w.URL+path, form, nil)
		}
		for _, audience := range []string{w.URL, w.URL + "/token", w.URL + path} {
			claims := w.claimsFor("signing").with(fields{"aud": audience})
			if r := ask(claims, clientKey("ES256")); r.StatusCode != status {
				t.Errorf("%s with the audience %s: status %d %s", path, audience, r.StatusCode, r.text)
			}
			wantError(t, ask(claims, clientKey("ES256")), http.StatusUnauthorized, "invalid_client")
		}
		for other := range paths {
			if other != path {
				wantError(t, ask(w.claimsFor("signing").with(fields{"aud": w.URL + other}), clientKey("ES256")), http.StatusUnauthorized, "invalid_client")
			}
		}
		wantError(t, ask(w.claimsFor("signing"), clientKey("other")), http.StatusUnauthorized, "invalid_client")
	}
}

// A client whose keys are fetched: a new key is found, a server that is down or that holds something else lets nobody in.
func TestClientAssertionJWKSURI(t *testing.T) { // OpenID Connect Registration §2, OpenID Connect Core §10.1.1
	t.Parallel()
	var document atomic.Value
	document.Store(jwksOf("ES256"))
	var fetched atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		fmt.Fprint(w, document.Load())
	}))
	t.Cleanup(server.Close)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }))
	t.Cleanup(elsewhere.Close)
	add := func(c *broker.Config) {
		for id, uri := range map[string]string{"fetched": server.URL + "/jwks", "lost": elsewhere.URL + "/jwks"} {
			c.Clients = append(c.Clients, store.Client{ID: id, AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: uri, RedirectURIs: c.Clients[0].RedirectURIs})
		}
		c.ClientHTTP.InsecureAllowHTTP, c.ClientHTTP.InsecureAllowPrivateNetworks = true, true
	}
	w := newAssertingWorld(t, add)
	by := func(client, key string) *reply {
		return w.assert(signJWT(fields{"alg": "ES256", "kid": key}, w.claimsFor(client), clientKey(key)), nil)
	}
	w.wantAuthenticated(t, by("fetched", "ES256"))
	w.wantAuthenticated(t, by("fetched", "ES256"))
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
	wantError(t, by("lost", "ES256"), http.StatusUnauthorized, "invalid_client")
	wantError(t, by("fetched", "other"), http.StatusUnauthorized, "invalid_client")
	document.Store(jwksOf("other"))
	w.advance(3 * time.Minute) // it was not there just now
	w.wantAuthenticated(t, by("fetched", "other"))
	wantError(t, by("fetched", "ES256"), http.StatusUnauthorized, "invalid_client")
	document.Store(`{"keys":[{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString([]byte(jwtSecret)) + `"}]}`)
	w.advance(2 * time.Hour)
	wantError(t, by("fetched", "other"), http.StatusUnauthorized, "invalid_client")
	wantError(t, w.assert(signJWT(fields{"alg": "HS256"}, w.claimsFor("fetched"), jwtSecret), nil), http.StatusUnauthorized, "invalid_client")
	before := fetched.Load()
	for range 100 {
		by("fetched", "other")
	}
	if n := fetched.Load() - before; n > 1 {
		t.Errorf("a hundred requests fetched %d times", n)
	}
}

// The broker's own client does not reach what no client should make it reach.
func TestClientAssertionJWKSURIIsGuarded(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int64
	inside := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		fmt.Fprint(w, jwksOf("ES256"))
	}))
	t.Cleanup(inside.Close)
	w := newAssertingWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "inside", AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: inside.URL, RedirectURIs: c.Clients[0].RedirectURIs})
	})
	r := w.assert(signJWT(fields{"alg": "ES256", "kid": "ES256"}, w.claimsFor("inside"), clientKey("ES256")), nil)
	wantError(t, r, http.StatusUnauthorized, "invalid_client")
	if n := fetched.Load(); n != 0 {
		t.Errorf("reached a private address %d times", n)
	}
}

func TestClientAssertionStoreDown(t *testing.T) {
	t.Parallel()
	w := newAssertingWorld(t, func(c *broker.Config) { c.Store = marklessStore{c.Store.(*memstore.Store)} })
	r := w.assert(signJWT(fields{"alg": "HS256"}, w.claimsFor("mac"), jwtSecret), nil)
	wantError(t, r, http.StatusInternalServerError, "server_error")
}

func TestClientAssertionConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	long := [][]byte{[]byte(jwtSecret)}
	for name, c := range map[string]store.Client{
		"RFC 7518 §3.2: a short secret":      {AuthMethod: store.AuthSecretJWT, Secrets: [][]byte{long[0], long[0][:31]}},
		"no secret":                          {AuthMethod: store.AuthSecretJWT},
		"secrets and keys":                   {AuthMethod: store.AuthSecretJWT, Secrets: long, JWKS: jwksOf("ES256")},
		"HS256 is no RS256":                  {AuthMethod: store.AuthSecretJWT, Secrets: long, AuthSigningAlg: "RS256"},
		"keys without the method":            {Secrets: long, JWKS: jwksOf("ES256")},
		"an address without the method":      {AuthMethod: store.AuthNone, JWKSURI: "https://app.example/jwks"},
		"an algorithm without the method":    {Secrets: long, AuthSigningAlg: "ES256"},
		"no keys":                            {AuthMethod: store.AuthPrivateKeyJWT},
		"two sources of keys":                {AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256"), JWKSURI: "https://app.example/jwks"},
		"keys and secrets":                   {AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256"), Secrets: long},
		"RS256 is no HS256":                  {AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256"), AuthSigningAlg: "HS256"},
		"none":                               {AuthMethod: store.AuthPrivateKeyJWT, JWKS: jwksOf("ES256"), AuthSigningAlg: "none"},
		"no JSON":                            {AuthMethod: store.AuthPrivateKeyJWT, JWKS: "x"},
		"no key in it":                       {AuthMethod: store.AuthPrivateKeyJWT, JWKS: `{"keys":[]}`},
		"a private key":                      {AuthMethod: store.AuthPrivateKeyJWT, JWKS: strings.Replace(jwksOf("ES256"), `"kid"`, `"d":"AQ","kid"`, 1)},
		"http":                               {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "http://app.example/jwks"},
		"http on this machine, not allowed":  {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "http://127.0.0.1/jwks"},
		"file":                               {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "file:///etc/passwd"},
		"a user":                             {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "https://u:p@app.example/jwks"},
		"no host":                            {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "https:///jwks"},
		"a relative one":                     {AuthMethod: store.AuthPrivateKeyJWT, JWKSURI: "/jwks"},
		"a method that there is not":         {AuthMethod: "tls_client_auth", Secrets: long},
		"a method in capitals":               {AuthMethod: "PRIVATE_KEY_JWT", JWKS: jwksOf("ES256")},
		"a secret that is the key set's":     {AuthMethod: store.AuthPrivateKeyJWT, JWKS: `{"keys":[{"kty":"oct","k":"AAAA"}]}`},
		"a weak key":                         {AuthMethod: store.AuthPrivateKeyJWT, JWKS: `{"keys":[{"kty":"RSA","e":"AQAB","n":"AQAB"}]}`},
		"a point of small order is none":     {AuthMethod: store.AuthPrivateKeyJWT, JWKS: `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`},
		"an unknown one of several settings": {AuthMethod: store.AuthSecretJWT, Secrets: long, JWKSURI: "https://app.example/jwks"},
	} {
		c.ID, c.RedirectURIs = "strong", []string{"https://app.example/cb"}
		_, err := broker.New(w.config(func(config *broker.Config) { config.Clients = append(config.Clients, c) }))
		if err == nil || !strings.Contains(err.Error(), `Clients[1] ("strong")`) {
			t.Errorf("%s: New = %v, want an error about the client", name, err)
		}
	}
}

// marklessStore cannot set marks.
type marklessStore struct{ *memstore.Store }

// Add fails but for logins, so that a test gets as far as the token endpoint.
func (s marklessStore) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	if purpose == store.PurposeLogin {
		return s.Store.Add(ctx, purpose, key, value, expires)
	}
	return errors.New("marks cannot be set")
}
