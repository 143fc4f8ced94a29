package token_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

func newVerifier(keys token.KeySource) *token.Verifier {
	return &token.Verifier{Issuer: issuer, Audience: audience, Keys: keys, Now: func() time.Time { return epoch }}
}

// call sends a request with these Authorization headers through v.Require(scopes...).
func call(v *token.Verifier, scopes []string, authorization ...string) *httptest.ResponseRecorder {
	h := v.Require(scopes...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := token.From(r.Context())
		if !ok {
			panic("no access in the context")
		}
		io.WriteString(w, a.Subject+" "+a.ClientID+" "+strings.Join(a.Scope, "+"))
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRequire(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	v := newVerifier(r)
	good := sign(t, r, token.ES256, access(nil))
	const realm = `Bearer realm="https://api.example"`
	const invalid = realm + `, error="invalid_token", error_description="The access token is not valid here"`
	for _, tt := range []struct {
		name      string
		headers   []string
		scopes    []string
		status    int
		challenge string
	}{
		{"good", []string{"Bearer " + good}, nil, 200, ""},
		{"good, other case", []string{"bEARER " + good}, nil, 200, ""},
		{"good, two blanks", []string{"Bearer  " + good}, nil, 200, ""},
		{"scopes", []string{"Bearer " + good}, []string{"write", "read"}, 200, ""},
		{"scope missing", []string{"Bearer " + good}, []string{"read", "admin"}, 403,
			realm + `, error="insufficient_scope", error_description="The access token lacks a scope", scope="read admin"`},
		{"scope prefix", []string{"Bearer " + good}, []string{"rea"}, 403,
			realm + `, error="insufficient_scope", error_description="The access token lacks a scope", scope="rea"`},
		{"nothing", nil, nil, 401, realm},
		{"nothing with scopes", nil, []string{"read"}, 401, realm + `, scope="read"`},
		{"Basic", []string{"Basic dTpw"}, nil, 401, realm},
		{"token without scheme", []string{good}, nil, 401, realm},
		{"no token", []string{"Bearer"}, nil, 400, realm + `, error="invalid_request", error_description="No access token"`},
		{"blank token", []string{"Bearer  "}, nil, 400, realm + `, error="invalid_request", error_description="No access token"`},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, nil, 400,
			realm + `, error="invalid_request", error_description="More than one Authorization header"`},
		{"rubbish", []string{"Bearer rubbish"}, nil, 401, invalid},
		{"two tokens", []string{"Bearer " + good + "," + good}, nil, 401, invalid},
		{"blank at the end", []string{"Bearer " + good + " "}, nil, 401, invalid},
		{"expired", []string{"Bearer " + sign(t, r, token.ES256, access(claims{"exp": epoch.Unix() - 60}))}, nil, 401,
			realm + `, error="invalid_token", error_description="The access token has expired"`},
		{"other audience", []string{"Bearer " + sign(t, r, token.ES256, access(claims{"aud": "x"}))}, nil, 401, invalid},
	} {
		w := call(v, tt.scopes, tt.headers...)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != tt.status || got != tt.challenge {
			t.Errorf("%s: %d %s\nwant %d %s", tt.name, w.Code, got, tt.status, tt.challenge)
		}
		if tt.status == 200 && w.Body.String() != "user client read+write" {
			t.Errorf("%s: body = %q", tt.name, w.Body)
		}
		if tt.status != 200 && (w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), "token")) {
			t.Errorf("%s: %v %q, want no-store and a plain body", tt.name, w.Header(), w.Body)
		}
	}
}

// RFC 6750 §2.2 and §2.3: a token in the form or in the query would end in logs and histories.
func TestRequireReadsNothingButTheHeader(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	good := url.Values{"access_token": {sign(t, r, token.ES256, access(nil))}}.Encode()
	h := newVerifier(r).Require()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let through") }))
	query := httptest.NewRequest(http.MethodGet, "/?"+good, nil)
	form := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(good))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, r := range []*http.Request{query, form} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", r.Method, w.Code)
		}
	}
	if _, ok := token.From(query.Context()); ok {
		t.Error("From finds an access in a request that passed no Require")
	}
}

func TestVerifyRequiresItsClaims(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	v := newVerifier(r)
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id"} {
		for _, value := range []any{nil, "", []int{}, false} {
			a, err := v.Verify(t.Context(), sign(t, r, token.EdDSA, access(claims{name: value})))
			if !errors.Is(err, token.ErrInvalid) || a != nil {
				t.Errorf("Verify with %s %v = %v, %v, want ErrInvalid", name, value, a, err)
			}
		}
	}
	for name, changes := range map[string]claims{
		"scope list": {"scope": []string{"read"}}, "sender-constrained": {"cnf": claims{"jkt": "x"}}, "cnf null": {"cnf": (*int)(nil)},
	} {
		if a, err := v.Verify(t.Context(), sign(t, r, token.EdDSA, access(changes))); !errors.Is(err, token.ErrInvalid) || a != nil {
			t.Errorf("Verify with %s = %v, %v, want ErrInvalid", name, a, err)
		}
	}
	for _, typ := range []token.Type{token.IDToken, token.LogoutToken} {
		raw, err := r.Sign(epoch, token.EdDSA, typ, access(nil))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrInvalid) || a != nil {
			t.Errorf("Verify of a %q = %v, %v, want ErrInvalid", typ, a, err)
		}
	}
	if a, err := v.Verify(t.Context(), sign(t, r, token.EdDSA, access(claims{"scope": nil}))); err != nil || len(a.Scope) != 0 {
		t.Errorf("Verify without scope = %v, %v", a, err)
	}
	if _, err := (&token.Verifier{Keys: r}).Verify(t.Context(), sign(t, r, token.EdDSA, access(claims{"iss": "", "aud": ""}))); err == nil {
		t.Error("a Verifier without its fields accepts a token")
	}
}

// An issuer for discovery: its document is changed by change.
func newIssuer(t *testing.T, r *token.Ring, change func(base string, doc claims)) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /realm/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		doc := claims{"issuer": server.URL + "/realm", "jwks_uri": server.URL + "/keys"}
		change(server.URL, doc)
		io.WriteString(w, toJSON(doc))
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		document, _ := r.JWKS(epoch)
		w.Write(document)
	})
	return server.URL + "/realm"
}

func TestVerifierDiscovers(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	for name, tt := range map[string]struct {
		change func(string, claims)
		status int
	}{
		"good":            {func(string, claims) {}, 200},
		"other issuer":    {func(_ string, d claims) { d["issuer"] = "https://evil.example" }, 503},
		"issuer in short": {func(base string, d claims) { d["issuer"] = base }, 503},
		"no issuer":       {func(_ string, d claims) { delete(d, "issuer") }, 503},
		"no jwks_uri":     {func(_ string, d claims) { delete(d, "jwks_uri") }, 503},
		"file jwks_uri":   {func(_ string, d claims) { d["jwks_uri"] = "file:///etc/passwd" }, 503},
		"lost jwks_uri":   {func(base string, d claims) { d["jwks_uri"] = base + "/lost" }, 503},
		"numeric issuer":  {func(_ string, d claims) { d["issuer"] = 1 }, 503},
	} {
		var log bytes.Buffer
		v := newVerifier(nil)
		v.Issuer = newIssuer(t, r, tt.change)
		v.Log = slog.New(slog.NewTextHandler(&log, nil))
		raw := sign(t, r, token.RS256, access(claims{"iss": v.Issuer}))
		w := call(v, nil, "Bearer "+raw)
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d", name, w.Code, tt.status)
		}
		if tt.status == 503 && (log.Len() == 0 || w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: log %q, challenge %q, want a warning and no challenge", name, &log, w.Header().Get("WWW-Authenticate"))
		}
		if strings.Contains(log.String(), raw[len(raw)-20:]) {
			t.Errorf("%s: the log shows the token", name)
		}
	}
}

// A secure issuer cannot send us to insecure keys.
func TestVerifierRefusesInsecureKeys(t *testing.T) {
	t.Parallel()
	var asked []string
	v := newVerifier(nil)
	v.Client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		doc := toJSON(claims{"issuer": issuer, "jwks_uri": "http://broker.example/keys"})
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(doc)), Header: http.Header{}}, nil
	})}
	if w := call(v, nil, "Bearer "+sign(t, newRing(t), token.RS256, access(nil))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", w.Code)
	}
	if want := []string{issuer + "/.well-known/openid-configuration"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestChallengeCannotBeBroken(t *testing.T) {
	t.Parallel()
	v := newVerifier(newRing(t))
	v.Audience = "a\"b\\c\r\nX: y"
	if got, want := call(v, nil).Header().Get("WWW-Authenticate"), `Bearer realm="abcX: y"`; got != want {
		t.Errorf("challenge = %q, want %q", got, want)
	}
}
