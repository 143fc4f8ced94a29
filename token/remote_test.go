package token_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/token"
)

// An upstream serves a key set without a network, however badly it is told to.
type upstream struct {
	mu     sync.Mutex
	hits   int
	status int
	header http.Header
	body   []byte
	err    error
	hold   func(context.Context) error // called before answering
}

func newUpstream(body []byte) *upstream {
	return &upstream{status: http.StatusOK, header: http.Header{}, body: body}
}

func (u *upstream) client() *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		u.mu.Lock()
		u.hits++
		hold, err := u.hold, u.err
		resp := &http.Response{StatusCode: u.status, Header: u.header, Body: io.NopCloser(bytes.NewReader(u.body)), Request: r}
		u.mu.Unlock()
		if hold != nil {
			err = hold(r.Context())
		}
		if err != nil {
			return nil, err
		}
		return resp, nil
	})}
}

func (u *upstream) set(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hits
}

func (u *upstream) remote() *token.Remote {
	return &token.Remote{URL: "https://up.example/jwks", Client: u.client()}
}

// hang keeps requests waiting until they give up or the function that it returns is called.
func (u *upstream) hang() func() {
	land := make(chan struct{})
	u.set(func() {
		u.hold = func(ctx context.Context) error {
			select {
			case <-land:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return func() { close(land) }
}

// set returns a key set of RSA keys with these ids.
func set(ids ...string) []byte {
	var s jose.JSONWebKeySet
	for _, id := range ids {
		s.Keys = append(s.Keys, jose.JSONWebKey{Key: private(token.RS256).Public(), KeyID: id, Use: "sig"})
	}
	return []byte(toJSON(s))
}

// ask asks for a key and says "found", "none" or "error".
func ask(tb testing.TB, r *token.Remote, id string, now time.Time) string {
	tb.Helper()
	keys, err := r.PublicKeys(tb.Context(), id, now)
	switch {
	case err != nil && len(keys) > 0:
		tb.Errorf("PublicKeys(%q) = %d keys and %v", id, len(keys), err)
		return "both"
	case errors.Is(err, token.ErrInvalid):
		tb.Errorf("PublicKeys(%q) blames the token: %v", id, err)
		return "error"
	case err != nil:
		return "error"
	case len(keys) > 0:
		return "found"
	}
	return "none"
}

func TestRemoteLifetime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		control []string
		field   time.Duration
		want    time.Duration
	}{
		{nil, 0, time.Hour},
		{nil, 10 * time.Minute, 10 * time.Minute},
		{[]string{"max-age=600"}, 0, 10 * time.Minute},
		{[]string{"public, Max-Age=7200, must-revalidate"}, 0, 2 * time.Hour},
		{[]string{"public", `max-age="600"`}, 0, 10 * time.Minute},
		{[]string{"max-age=0"}, 0, 5 * time.Minute},
		{[]string{"max-age=-5"}, 0, 5 * time.Minute},
		{[]string{"max-age=99999999999"}, 0, 24 * time.Hour},
		{[]string{"max-age=99999999999999999999"}, 0, time.Hour},
		{[]string{"max-age=soon"}, 0, time.Hour},
		{[]string{"no-store, max-age=600"}, 0, 5 * time.Minute},
		{[]string{"no-cache"}, 0, 5 * time.Minute},
	} {
		u := newUpstream(set("a"))
		u.header["Cache-Control"] = tt.control
		r := u.remote()
		r.Lifetime = tt.field
		for i, at := range []time.Duration{0, tt.want - 1, tt.want, 2*tt.want - 1, 2 * tt.want} {
			if got := ask(t, r, "a", epoch.Add(at)); got != "found" {
				t.Errorf("%q: key is %s", tt.control, got)
			}
			if got, want := u.count(), i/2+1; got != want {
				t.Errorf("%q: %d fetches after %v, want %d", tt.control, got, at, want)
			}
		}
	}
}

func TestRemoteRotation(t *testing.T) {
	t.Parallel()
	u := newUpstream(set("old"))
	r := u.remote()
	ask(t, r, "old", epoch)
	u.set(func() { u.body = set("new") })
	for _, tt := range []struct {
		id   string
		at   time.Duration
		want string
		hits int
	}{
		{"new", 29 * time.Second, "none", 1}, // too early
		{"old", 29 * time.Second, "found", 1},
		{"new", 30 * time.Second, "found", 2}, // an unknown key is fetched without a restart
		{"old", 31 * time.Second, "none", 2},  // and a removed one is gone with it
	} {
		if got := ask(t, r, tt.id, epoch.Add(tt.at)); got != tt.want || u.count() != tt.hits {
			t.Errorf("key %q after %v is %s with %d fetches, want %s with %d", tt.id, tt.at, got, u.count(), tt.want, tt.hits)
		}
	}
	// A removed key ends with the lifetime, even if nobody asks for another.
	u.set(func() { u.body = set("newer") })
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{{time.Hour, "found"}, {time.Hour + 30*time.Second, "none"}} {
		if got := ask(t, r, "new", epoch.Add(tt.at)); got != tt.want {
			t.Errorf("a removed key after %v is %s, want %s", tt.at, got, tt.want)
		}
	}
	u.set(func() { u.body = []byte(`{"keys":[]}`) })
	if got := ask(t, r, "newer", epoch.Add(3*time.Hour)); got != "none" {
		t.Errorf("a key after all were withdrawn is %s, want none", got)
	}
}

func TestRemoteIsNotDrivenByTokens(t *testing.T) {
	t.Parallel()
	u := newUpstream(set("a"))
	r := u.remote()
	now := epoch
	r.Now = func() time.Time { return now }
	good := forge(`{"alg":"RS256","kid":"a"}`, `{}`, private(token.RS256))
	if _, err := r.VerifySignature(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Minute)
	for i := range 100 {
		bad := forge(`{"alg":"RS256","kid":"a"}`, fmt.Sprintf(`{"n":%d}`, i), []byte("wrong"))
		if _, err := r.VerifySignature(t.Context(), bad); !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("bad signature: %v", err)
		}
	}
	if got := u.count(); got != 1 {
		t.Errorf("100 bad signatures made %d fetches, want the 1 before", got)
	}
	for i := range 100 {
		if got := ask(t, r, fmt.Sprint("unknown", i), now); got != "none" {
			t.Fatalf("an unknown key is %s", got)
		}
	}
	if got := u.count(); got != 2 {
		t.Errorf("100 unknown keys at once made %d fetches, want 1 more", got-1)
	}
	// The same unknown id, asked for again and again for a minute and a half.
	for range 90 {
		now = now.Add(time.Second)
		ask(t, r, "unknown0", now)
	}
	if got := u.count(); got != 2 {
		t.Errorf("an id that is known to be unknown made %d fetches", got-2)
	}
	if ask(t, r, "unknown0", now.Add(time.Minute)); u.count() != 3 {
		t.Errorf("an unknown id was fetched %d times after its time, want once", u.count()-2)
	}
	// Thousands of ids, one each half minute: the memory of them is bounded, and known keys stay.
	now = now.Add(time.Minute)
	for i := range 1000 {
		now = now.Add(30 * time.Second)
		ask(t, r, fmt.Sprint("more", i), now)
	}
	if got := ask(t, r, "a", now); got != "found" || u.count() > 1003 {
		t.Errorf("after 1000 unknown ids the key is %s with %d fetches", got, u.count())
	}
	if got := r.Misses(); got == 0 || got > 256 {
		t.Errorf("%d unknown ids are remembered, want 1 to 256", got)
	}
}

func TestRemoteStaleWhileError(t *testing.T) {
	t.Parallel()
	u := newUpstream(set("a"))
	r := u.remote()
	ask(t, r, "a", epoch)
	u.set(func() { u.status = http.StatusServiceUnavailable })
	for _, tt := range []struct {
		id   string
		at   time.Duration
		want string
	}{
		{"a", time.Hour, "found"},
		{"b", time.Hour, "error"}, // who knows
		{"a", 12 * time.Hour, "found"},
		{"", 12*time.Hour + time.Second, "found"},
		{"a", 25*time.Hour - 1, "found"},
		{"a", 25 * time.Hour, "error"},
		{"", 25*time.Hour + 1, "error"},
	} {
		if got := ask(t, r, tt.id, epoch.Add(tt.at)); got != tt.want {
			t.Errorf("key %q after %v is %s, want %s", tt.id, tt.at, got, tt.want)
		}
	}
	u.set(func() { u.status = http.StatusOK })
	if got := ask(t, r, "a", epoch.Add(26*time.Hour)); got != "found" {
		t.Errorf("a key after the upstream came back is %s", got)
	}
	r = u.remote()
	r.MaxStale = -1
	ask(t, r, "a", epoch)
	u.set(func() { u.err = errors.New("down") })
	if got := ask(t, r, "a", epoch.Add(time.Hour)); got != "error" {
		t.Errorf("a stale key without MaxStale is %s, want error", got)
	}
}

func TestRemoteRetries(t *testing.T) {
	t.Parallel()
	u := newUpstream(nil)
	u.err = errors.New("down")
	r := u.remote()
	for i := range 100 { // ten seconds
		if got := ask(t, r, "a", epoch.Add(time.Duration(i)*100*time.Millisecond)); got != "error" {
			t.Fatalf("a key of an upstream that is down is %s", got)
		}
	}
	if got := u.count(); got != 2 {
		t.Errorf("%d fetches in ten seconds, want one each five", got)
	}
	u.set(func() { u.err, u.body = nil, set("a") })
	if got := ask(t, r, "a", epoch.Add(10*time.Second)); got != "found" {
		t.Errorf("a key after the upstream came back is %s", got)
	}
}

func TestRemoteOneFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(set("a"))
		land := u.hang()
		r := u.remote()
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := r.PublicKeys(ctx, "a", epoch)
			first <- err
		}()
		synctest.Wait() // its fetch is under way
		found := make(chan string, 64)
		for range cap(found) {
			go func() { found <- ask(t, r, "a", epoch) }()
		}
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) || errors.Is(err, token.ErrInvalid) {
			t.Errorf("the caller who left got %v, want context.Canceled", err)
		}
		land()
		for range cap(found) {
			if got := <-found; got != "found" {
				t.Errorf("for a caller who waited the key is %s", got)
			}
		}
		if got := u.count(); got != 1 {
			t.Errorf("%d fetches, want 1", got)
		}
	})
}

// An upstream that hangs: the fetch ends by itself, and once that is known nobody waits who has a key.
func TestRemoteHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(set("a"))
		r := u.remote()
		ask(t, r, "a", epoch)
		defer u.hang()()
		begin := time.Now() // of the bubble, whose clock goes on when all are waiting
		if got, took := ask(t, r, "a", epoch.Add(time.Hour)), time.Since(begin); got != "found" || took != 15*time.Second {
			t.Errorf("after %v a stale key is %s", took, got)
		}
		begin = time.Now()
		if got, took := ask(t, r, "a", epoch.Add(2*time.Hour)), time.Since(begin); got != "found" || took != 0 {
			t.Errorf("then after %v it is %s", took, got)
		}
		synctest.Wait()
		if got := u.count(); got != 3 {
			t.Errorf("%d fetches, want a third in the background", got)
		}
	})
}

func TestRemoteRefusesReplies(t *testing.T) {
	t.Parallel()
	many := make([]string, 101)
	for name, change := range map[string]func(*upstream){
		"404":           func(u *upstream) { u.status = http.StatusNotFound },
		"201":           func(u *upstream) { u.status = http.StatusCreated },
		"500":           func(u *upstream) { u.status = http.StatusInternalServerError },
		"304":           func(u *upstream) { u.status = http.StatusNotModified },
		"HTML":          func(u *upstream) { u.body = []byte("<html>") },
		"empty":         func(u *upstream) { u.body = nil },
		"no keys":       func(u *upstream) { u.body = []byte(`{"error":"oops"}`) },
		"null keys":     func(u *upstream) { u.body = []byte(`{"keys":null}`) },
		"keys a string": func(u *upstream) { u.body = []byte(`{"keys":"none"}`) },
		"a list":        func(u *upstream) { u.body = set("a")[8:] },
		"trailing data": func(u *upstream) { u.body = append(set("a"), '{') },
		"large":         func(u *upstream) { u.body = append(set("a"), bytes.Repeat([]byte(" "), 1<<20)...) },
		"too many":      func(u *upstream) { u.body = set(many...) },
		"cut off":       func(u *upstream) { u.err = io.ErrUnexpectedEOF },
	} {
		u := newUpstream(set("a"))
		change(u)
		if got := ask(t, u.remote(), "a", epoch); got != "error" {
			t.Errorf("%s: key is %s, want error", name, got)
		}
	}
	if got := ask(t, &token.Remote{}, "a", epoch); got != "error" {
		t.Errorf("a Remote without URL: key is %s, want error", got)
	}
	missing := &token.Remote{Locate: func(context.Context) (string, error) { return "", errors.New("lost") }}
	if _, err := missing.PublicKeys(t.Context(), "a", epoch); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("a Remote that is not located: %v, want the reason", err)
	}
}

// Keys that cannot be used do no harm to the others.
func TestRemoteIgnoresOddKeys(t *testing.T) {
	t.Parallel()
	weak := weakRSA(t)
	var keys []any
	add := func(key any, change func(map[string]any)) {
		raw, err := (&jose.JSONWebKey{Key: key, KeyID: fmt.Sprint("odd", len(keys)), Use: "sig"}).MarshalJSON()
		var m map[string]any
		if err = errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
			t.Fatal(err)
		}
		change(m)
		keys = append(keys, m)
	}
	public, same := private(token.RS256).Public(), func(map[string]any) {}
	with := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
	add(public, with("use", "enc"))
	add(public, with("use", "tls"))
	add(public, with("key_ops", []string{"encrypt"}))
	add(public, with("key_ops", []string{}))
	add(public, with("key_ops", "verify"))
	add(public, with("alg", "HS256"))
	add(public, with("alg", "none"))
	add(public, with("alg", "ES256"))
	add(public, with("alg", "RSA-OAEP"))
	add(public, with("alg", 5))
	add(public, with("kty", "post-quantum"))
	add(public, with("kty", nil))
	add(public, with("e", "AQ"))
	add(public, with("n", "%%%"))
	add(public, with("x5c", []string{"bm8gY2VydA"}))
	add(public, with("kid", strings.Repeat("k", 300)))
	add(private(token.RS256), same)
	add([]byte("0123456789abcdef0123456789abcdef"), same)
	add(&weak.PublicKey, same)
	add(private(token.ES256).Public(), with("y", "AAAA"))
	add(private(token.ES256).Public(), with("crv", "secp256k1"))
	add(private(token.EdDSA).Public(), with("crv", "X25519"))
	add(private(token.EdDSA).Public(), with("x", "AA"))
	keys = append(keys, nil, 7, "key", []int{}, map[string]any{})
	odd := len(keys)
	add(public, with("kid", "plain"))
	add(public, func(m map[string]any) {
		delete(m, "use")
		m["kid"], m["alg"], m["key_ops"] = "full", "RS384", []string{"sign", "verify"}
	})
	add(private(token.ES256).Public(), with("kid", "ec"))
	add(private(token.EdDSA).Public(), with("kid", "ed"))
	r := newUpstream([]byte(toJSON(map[string]any{"keys": keys, "other": true}))).remote()
	got, err := r.PublicKeys(t.Context(), "", epoch)
	if err != nil || len(got) != len(keys)-odd {
		t.Errorf("PublicKeys = %d keys, %v, want the %d good ones", len(got), err, len(keys)-odd)
	}
	for _, k := range got {
		if strings.HasPrefix(k.ID, "odd") || len(k.ID) > 256 {
			t.Errorf("key %q was taken: %T for %q", k.ID, k.Key, k.Algorithm)
		}
	}
	p := newParser(r)
	for _, tt := range []struct {
		kid string
		key crypto.Signer
		ok  bool
	}{
		{"plain", private(token.RS256), true}, {"ec", private(token.ES256), true}, {"ed", private(token.EdDSA), true},
		{"full", private(token.RS256), false}, // is for RS384 only
		{"odd18", weak, false},
	} {
		alg := map[string]string{"ec": token.ES256, "ed": token.EdDSA}[tt.kid]
		if alg == "" {
			alg = token.RS256
		}
		raw := forge(fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, alg, tt.kid), toJSON(access(nil)), tt.key)
		if _, err := p.Parse(t.Context(), raw); (err == nil) != tt.ok {
			t.Errorf("a token of the key %q: %v, want ok: %v", tt.kid, err, tt.ok)
		}
	}
}

func TestRemoteVerifySignature(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var s jose.JSONWebKeySet
	for id, k := range map[string]any{"rsa": private(token.RS256).Public(), "384": &p384.PublicKey, "ed": private(token.EdDSA).Public()} {
		s.Keys = append(s.Keys, jose.JSONWebKey{Key: k, KeyID: id})
	}
	u := newUpstream([]byte(toJSON(s)))
	r := u.remote()
	payload := toJSON(access(nil))
	for alg, kid := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa", "ES384": "384", "EdDSA": "ed",
	} {
		key := map[string]any{"rsa": private(token.RS256), "384": p384, "ed": private(token.EdDSA)}[kid]
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
		if err != nil {
			t.Fatal(err)
		}
		object, err := signer.Sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := object.CompactSerialize()
		if got, err := r.VerifySignature(t.Context(), raw); err != nil || string(got) != payload {
			t.Errorf("VerifySignature(%s) = %.20s, %v", alg, got, err)
		}
		strict := u.remote()
		strict.Algorithms = []string{"ES256"}
		if got, err := strict.VerifySignature(t.Context(), raw); !errors.Is(err, token.ErrInvalid) || got != nil {
			t.Errorf("VerifySignature(%s) where only ES256 is allowed = %.20s, %v", alg, got, err)
		}
	}
	der, _ := x509.MarshalPKIXPublicKey(private(token.RS256).Public())
	rsaKey := private(token.RS256).(*rsa.PrivateKey)
	for name, raw := range map[string]string{
		"HS256":           forge(`{"alg":"HS256","kid":"rsa"}`, payload, der),
		"none":            forge(`{"alg":"none","kid":"rsa"}`, payload, nil),
		"crit":            forge(`{"alg":"RS256","kid":"rsa","crit":["x"]}`, payload, rsaKey),
		"tampered":        forge(`{"alg":"RS256","kid":"ed"}`, payload, rsaKey),
		"equal names":     forge(`{"alg":"RS256","kid":"rsa"}`, `{"sub":"a","SUB":"b"}`, rsaKey),
		"no object":       forge(`{"alg":"RS256","kid":"rsa"}`, `[]`, rsaKey),
		"large":           forge(`{"alg":"RS256","kid":"rsa"}`, `{"x":"`+strings.Repeat("x", 16<<10)+`"}`, rsaKey),
		"rubbish":         "a.b.c",
		"short signature": forge(`{"alg":"ES384","kid":"384"}`, payload, private(token.ES256)),
	} {
		if got, err := r.VerifySignature(t.Context(), raw); !errors.Is(err, token.ErrInvalid) || got != nil {
			t.Errorf("%s: VerifySignature = %q, %v, want ErrInvalid", name, got, err)
		}
	}
}

func TestRemoteServesGoOIDC(t *testing.T) {
	t.Parallel()
	verifier := oidc.NewVerifier(issuer, newUpstream(set("a")).remote(), &oidc.Config{ClientID: audience, Now: func() time.Time { return epoch }})
	raw := forge(`{"alg":"RS256","kid":"a","typ":"JWT"}`, toJSON(access(nil)), private(token.RS256))
	if got, err := verifier.Verify(t.Context(), raw); err != nil || got.Subject != "user" {
		t.Errorf("Verify = %v, %v", got, err)
	}
	if got, err := verifier.Verify(t.Context(), raw[:len(raw)-8]); err == nil {
		t.Errorf("Verify of a broken signature = %v", got)
	}
}

func TestDefaultClientFollowsNoRedirectElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(set("a")) }))
	t.Cleanup(elsewhere.Close)
	mux := http.NewServeMux()
	mux.Handle("/here", http.RedirectHandler("/keys", http.StatusFound))
	mux.Handle("/there", http.RedirectHandler(elsewhere.URL, http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(set("a")) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, want := range map[string]string{"/keys": "found", "/here": "found", "/there": "error", "/loop": "error", "/lost": "error"} {
		if got := ask(t, &token.Remote{URL: server.URL + path}, "a", epoch); got != want {
			t.Errorf("%s: key is %s, want %s", path, got, want)
		}
	}
}
