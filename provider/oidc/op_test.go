package oidc_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

const (
	clientID     = "broker"
	clientSecret = "a secret of at least thirty-two bytes"
	callback     = "https://broker.example/id/callback/op?x=1"
)

type object = map[string]any

// An op is an OpenID Provider that says whatever a test wants it to say. What it is not told to do wrong, it does right.
// Its fields are set before the request that they are for; mu guards what requests of several goroutines touch.
type op struct {
	*httptest.Server

	mu       sync.Mutex
	signer   testKey
	keys     []any // of the JWKS; jose.JSONWebKey or whatever else
	codes    map[string]url.Values
	requests map[string]int // by path
	clock    time.Time
	metadata object
	tokenReq *http.Request // the last one, with its form

	down     bool                      // every request fails
	auth     func(*http.Request) bool  // client authentication; nil accepts
	claims   func(object)              // edits the ID token's
	header   func(object)              // and its header
	payload  func([]byte) []byte       // and its payload as JSON
	raw      func(string) string       // and the whole token
	answer   func(object)              // edits the token response
	media    string                    // its type; JSON if empty
	reply    func(http.ResponseWriter) // replaces the token response
	userinfo http.HandlerFunc          // replaces the default, which says sub and name
	discover func(http.ResponseWriter) // replaces discovery
	params   func(url.Values)          // edits the answer that the browser brings
	request  func(r *provider.Request) // edits the request
	data     func([]byte) []byte       // edits what is handed back
	ctx      func() context.Context    // of Finish
}

type testKey struct {
	private crypto.Signer
	alg, id string
}

func newKey(t testing.TB, alg, id string) testKey {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = rsaKeys[id == "r1"]()
	}
	if err != nil {
		t.Fatal(err)
	}
	return testKey{private, alg, id}
}

// Two RSA keys are enough, and take long to make.
var rsaKeys = map[bool]func() (*rsa.PrivateKey, error){
	false: sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
	true:  sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
}

func (k testKey) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig"}
}

// sign makes a JWT of any header and payload. Like idToken, it must not call t.Helper.
func sign(t testing.TB, key any, header object, payload []byte) string {
	h, err := json.Marshal(header)
	if err != nil {
		t.Error(err)
	}
	signed := b64(h) + "." + b64(payload)
	alg, _ := header["alg"].(string)
	method := jwt.GetSigningMethod(alg)
	if method == nil || alg == "none" {
		return signed + "."
	}
	sig, err := method.Sign(signed, key)
	if err != nil {
		t.Error(err)
	}
	return signed + "." + b64(sig)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newOP(t testing.TB) *op {
	t.Helper()
	o := &op{
		signer:   newKey(t, "ES256", "k1"),
		codes:    map[string]url.Values{},
		requests: map[string]int{},
		clock:    time.Now(),
	}
	o.keys = []any{o.signer.public()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", o.serveMetadata)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.keys == nil {
			http.Error(w, "out of order", http.StatusBadGateway)
			return
		}
		writeJSON(w, object{"keys": o.keys})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { o.serveToken(t, w, r) })
	mux.HandleFunc("GET /userinfo", o.serveUserInfo)
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		o.mu.Lock()
		o.tokenReq = r
		o.mu.Unlock()
		if o.reply != nil {
			o.reply(w)
		}
	})
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.requests[r.URL.Path]++
		down := o.down
		o.mu.Unlock()
		if down {
			http.Error(w, "out of order", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(o.Close)
	o.metadata = object{
		"issuer":                                o.URL,
		"authorization_endpoint":                o.URL + "/authorize",
		"token_endpoint":                        o.URL + "/token",
		"userinfo_endpoint":                     o.URL + "/userinfo",
		"jwks_uri":                              o.URL + "/jwks",
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256", "none"},
	}
	return o
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (o *op) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.clock
}

func (o *op) advance(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clock = o.clock.Add(d)
}

func (o *op) count(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests[path]
}

func (o *op) setDown(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *op) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	discover := o.discover
	o.mu.Unlock()
	if discover != nil {
		discover(w)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	writeJSON(w, o.metadata)
}

func (o *op) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "Bearer the-access-token":
		w.WriteHeader(http.StatusUnauthorized)
	case o.userinfo != nil:
		o.userinfo(w, r)
	default:
		writeJSON(w, object{"sub": "alice-1", "name": "Alice by userinfo"})
	}
}

func (o *op) serveToken(t testing.TB, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
	o.mu.Lock()
	o.tokenReq = r
	q, known := o.codes[r.PostForm.Get("code")]
	delete(o.codes, r.PostForm.Get("code"))
	now := o.clock
	o.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case o.reply != nil:
		o.reply(w)
		return
	case o.auth != nil && !o.auth(r):
		w.WriteHeader(http.StatusUnauthorized)
		writeJSON(w, object{"error": "invalid_client"})
		return
	case r.PostForm.Get("grant_type") == "refresh_token":
		o.serveRefresh(t, w, r, now)
		return
	case !known, r.PostForm.Get("grant_type") != "authorization_code", r.PostForm.Get("redirect_uri") != q.Get("redirect_uri"),
		q.Has("code_challenge") && b64(challenge[:]) != q.Get("code_challenge"),
		q.Has("code_challenge") != r.PostForm.Has("code_verifier"):
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, object{"error": "invalid_grant"})
		return
	}
	hash := sha256.Sum256([]byte("the-access-token"))
	answer := object{
		"access_token":  "the-access-token",
		"token_type":    "bearer",
		"refresh_token": "the-refresh-token",
		"expires_in":    300,
		"scope":         "openid email",
		"id_token": o.idToken(t, object{
			"iss": o.metadata["issuer"], "sub": "alice-1", "aud": clientID, "exp": now.Add(5 * time.Minute).Unix(),
			"iat": now.Unix(), "nonce": q.Get("nonce"), "at_hash": b64(hash[:16]),
		}),
	}
	if o.answer != nil {
		o.answer(answer)
	}
	w.Header().Set("Content-Type", cmp.Or(o.media, "application/json"))
	json.NewEncoder(w).Encode(answer)
}

func (o *op) serveRefresh(t testing.TB, w http.ResponseWriter, r *http.Request, now time.Time) {
	if r.PostForm.Get("refresh_token") != "the-refresh-token" {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, object{"error": "invalid_grant", "error_description": r.PostForm.Get("refresh_token") + " is spent"})
		return
	}
	hash := sha256.Sum256([]byte("the-next-access-token"))
	answer := object{
		"access_token": "the-next-access-token", "token_type": "bearer", "refresh_token": "the-next-refresh-token", "expires_in": 600,
		"id_token": o.idToken(t, object{
			"iss": o.metadata["issuer"], "sub": "alice-1", "aud": clientID, "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(),
			"at_hash": b64(hash[:16]),
		}),
	}
	if o.answer != nil {
		o.answer(answer)
	}
	w.Header().Set("Content-Type", cmp.Or(o.media, "application/json"))
	json.NewEncoder(w).Encode(answer)
}

// idToken must not call t.Helper: it runs inside fuzz targets too, with their *testing.F as t, whose Helper panics there.
func (o *op) idToken(t testing.TB, claims object) string {
	header := object{"alg": o.signer.alg, "kid": o.signer.id, "typ": "JWT"}
	if o.claims != nil {
		o.claims(claims)
	}
	if o.header != nil {
		o.header(header)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	if o.payload != nil {
		payload = o.payload(payload)
	}
	raw := sign(t, o.signer.private, header, payload)
	if o.raw != nil {
		raw = o.raw(raw)
	}
	return raw
}

// config is of a client that this provider accepts.
func (o *op) config() oidc.Config {
	return oidc.Config{
		Issuer:       o.URL,
		ClientID:     clientID,
		ClientSecret: clientSecret,
		HTTPClient: provider.NewHTTPClient(provider.HTTPOptions{
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		}),
		InsecureAllowHTTP: true,
		Now:               o.now,
	}
}

func newProvider(t testing.TB, cfg oidc.Config) *oidc.Provider {
	t.Helper()
	p, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.HTTPClient != nil {
		t.Cleanup(cfg.HTTPClient.CloseIdleConnections)
	}
	return p
}

// begin starts a login and returns the redirect and its parameters.
func (o *op) begin(t testing.TB, p *oidc.Provider) (*provider.Redirect, url.Values, error) {
	t.Helper()
	r := provider.Request{RedirectURI: callback, State: rand.Text()}
	if o.request != nil {
		o.request(&r)
	}
	redirect, err := p.Begin(t.Context(), r)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(redirect.URL)
	if err != nil {
		t.Fatal(err)
	}
	return redirect, u.Query(), nil
}

// login goes all the way. Whatever comes of it, no error may show a secret of either side.
func (o *op) login(t testing.TB, p *oidc.Provider) (*provider.Identity, error) {
	t.Helper()
	redirect, q, err := o.begin(t, p)
	if err != nil {
		return nil, err
	}
	code := rand.Text()
	o.mu.Lock()
	o.codes[code] = q
	o.mu.Unlock()
	params := url.Values{"code": {code}, "state": {q.Get("state")}}
	if o.params != nil {
		o.params(params)
	}
	data, ctx := redirect.Data, t.Context()
	if o.data != nil {
		data = o.data(data)
	}
	if o.ctx != nil {
		ctx = o.ctx()
	}
	id, err := p.Finish(ctx, provider.Callback{URL: callback + "&" + params.Encode(), Params: params, Data: data})
	if (id == nil) == (err == nil) {
		t.Errorf("Finish = %v, %v: want exactly one of both", id, err)
	}
	if err != nil {
		for _, secret := range []string{clientSecret, url.QueryEscape(clientSecret), code, "the-access-token", "the-refresh-token",
			q.Get("nonce"), "eyJ"} {
			if secret != "" && strings.Contains(err.Error(), secret) {
				t.Errorf("error %q shows %q", err, secret)
			}
		}
	}
	return id, err
}

// must goes all the way and expects to arrive.
func (o *op) must(t testing.TB, p *oidc.Provider) *provider.Identity {
	t.Helper()
	id, err := o.login(t, p)
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return id
}

// refused expects an error of the kind, with part in its text.
func refused(t testing.TB, err error, kind provider.Kind, part string) *provider.Error {
	t.Helper()
	e, ok := errors.AsType[*provider.Error](err)
	if !ok {
		t.Fatalf("error %v, want a *provider.Error", err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), part) {
		t.Errorf("error %q (%v), want %v with %q", e, e.Kind, kind, part)
	}
	return e
}

// set returns an edit that sets one member, and drop one that removes it.
func set(name string, value any) func(object) { return func(m object) { m[name] = value } }
func drop(name string) func(object)           { return func(m object) { delete(m, name) } }

// merge returns an edit that sets several members.
func merge(more object) func(object) { return func(m object) { maps.Copy(m, more) } }

func (o *op) ago(d time.Duration) int64 { return o.now().Add(-d).Unix() }
