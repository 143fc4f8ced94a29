package providertest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A change to a request that would have been right; a nil value leaves a parameter out.
type change map[string][]string

func (c change) apply(v url.Values) url.Values {
	v = maps.Clone(v)
	for name, values := range c {
		if v[name] = values; values == nil {
			delete(v, name)
		}
	}
	return v
}

func (p *rp) authorizeParams() url.Values {
	return url.Values{
		"client_id": {p.client.ID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s t&a=te"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"}, "nonce": {"n"},
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	public := newRP(t, op, providertest.Client{Auth: "none"})
	const stays = "" // no redirect may leave the provider
	for _, row := range []struct {
		name   string
		change change
		want   string
	}{
		{"unknown client", change{"client_id": {"x"}}, stays},
		{"no client", change{"client_id": nil}, stays},
		{"no redirect URI", change{"redirect_uri": nil}, stays},
		{"redirect URI with another query", change{"redirect_uri": {callback + "&x=1"}}, stays},
		{"redirect URI below", change{"redirect_uri": {"http://app.example/callback/x?kept=1"}}, stays},
		{"redirect URI in capitals", change{"redirect_uri": {strings.Replace(callback, "app", "APP", 1)}}, stays},
		{"redirect URI elsewhere", change{"redirect_uri": {"http://app.example@evil.example/callback?kept=1"}}, stays},
		{"two redirect URIs", change{"redirect_uri": {callback, callback}}, stays},
		{"two states", change{"state": {"a", "b"}}, stays},
		{"no response type", change{"response_type": nil}, "unsupported_response_type"},
		{"implicit", change{"response_type": {"id_token"}}, "unsupported_response_type"},
		{"fragment", change{"response_mode": {"fragment"}}, "invalid_request"},
		{"no openid", change{"scope": {"profile openid2"}}, "invalid_scope"},
		{"request object", change{"request": {"e30."}}, "request_not_supported"},
		{"request URI", change{"request_uri": {"https://app.example/r"}}, "request_uri_not_supported"},
		{"plain PKCE", change{"code_challenge_method": {"plain"}}, "invalid_request"},
		{"PKCE method left out", change{"code_challenge_method": nil}, "invalid_request"},
		{"PKCE challenge left out", change{"code_challenge": nil}, "invalid_request"},
		{"short challenge", change{"code_challenge": {"short"}}, "invalid_request"},
		{"prompt none and login", change{"prompt": {"none login"}}, "invalid_request"},
		{"prompt none, nobody there", change{"prompt": {"none"}}, "login_required"},
		{"negative max_age", change{"max_age": {"-1"}}, "invalid_request"},
		{"max_age in words", change{"max_age": {"soon"}}, "invalid_request"},
		{"public client without PKCE", change{"client_id": {public.client.ID}, "code_challenge": nil, "code_challenge_method": nil}, "invalid_request"},
	} {
		got := get(t, newBrowser(t), p.config.Endpoint.AuthURL+"?"+row.change.apply(p.authorizeParams()).Encode())
		if row.want == stays {
			if got.status != http.StatusBadRequest || got.header.Get("Location") != "" {
				t.Errorf("%s: %d to %q, want a page with 400", row.name, got.status, got.header.Get("Location"))
			}
			continue
		}
		back := got.back(t)
		if back.Get("error") != row.want || back.Has("code") || back.Get("iss") != op.Issuer() || back.Get("kept") != "1" {
			t.Errorf("%s: answered %v, want %s", row.name, back, row.want)
		}
		if want := p.authorizeParams().Get("state"); row.change["state"] == nil && back.Get("state") != want {
			t.Errorf("%s: state %q, want %q", row.name, back.Get("state"), want)
		}
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	cfg := fast()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	op := providertest.StartOIDC(t, cfg)
	p, other := newRP(t, op, providertest.Client{}), newRP(t, op, providertest.Client{})
	poster := newRP(t, op, providertest.Client{Auth: "client_secret_post"})
	form := func(code, verifier string) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	}
	for _, row := range []struct {
		name   string
		change change
		edit   func(*http.Request)
		want   string
	}{
		{name: "other redirect URI", change: change{"redirect_uri": {"http://app.example/callback"}}, want: "invalid_grant"},
		{name: "no redirect URI", change: change{"redirect_uri": nil}, want: "invalid_grant"},
		{name: "wrong verifier", change: change{"code_verifier": {strings.Repeat("x", 43)}}, want: "invalid_grant"},
		{name: "no verifier", change: change{"code_verifier": nil}, want: "invalid_grant"},
		{name: "wrong code", change: change{"code": {"x"}}, want: "invalid_grant"},
		{name: "no code", change: change{"code": nil}, want: "invalid_grant"},
		{name: "two grant types", change: change{"grant_type": {"authorization_code", "refresh_token"}}, want: "invalid_request"},
		{name: "password grant", change: change{"grant_type": {"password"}}, want: "unsupported_grant_type"},
		{name: "another client's ID beside", change: change{"client_id": {other.client.ID}}, want: "invalid_client"},
		{name: "two ways to authenticate", change: change{"client_secret": {p.client.Secret}}, want: "invalid_client"},
		{name: "wrong secret", edit: func(r *http.Request) { r.SetBasicAuth(p.client.ID, "wrong") }, want: "invalid_client"},
		{name: "no secret", change: change{"client_id": {p.client.ID}}, edit: func(r *http.Request) { r.Header.Del("Authorization") }, want: "invalid_client"},
		{name: "secret not encoded", edit: func(r *http.Request) { r.SetBasicAuth(p.client.ID, p.client.Secret) }, want: "invalid_client"},
		{name: "secret in the query", edit: func(r *http.Request) { r.URL.RawQuery = "client_secret=x" }, want: "invalid_request"},
		{name: "another client", edit: func(r *http.Request) {
			r.SetBasicAuth(url.QueryEscape(other.client.ID), url.QueryEscape(other.client.Secret))
		}, want: "invalid_grant"},
		{name: "another client's method", edit: func(r *http.Request) {
			r.SetBasicAuth(url.QueryEscape(poster.client.ID), url.QueryEscape(poster.client.Secret))
		}, want: "invalid_client"},
		{name: "bearer", edit: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, want: "invalid_client"},
	} {
		code, verifier := p.code(t)
		r := formRequest(t, p.config.Endpoint.TokenURL, row.change.apply(form(code, verifier)))
		r.SetBasicAuth(url.QueryEscape(p.client.ID), url.QueryEscape(p.client.Secret))
		if row.edit != nil {
			row.edit(r)
		}
		got := do(t, newBrowser(t), r)
		if got.json()["error"] != row.want || got.status < 400 || got.json()["access_token"] != nil {
			t.Errorf("%s: %d %s, want %s", row.name, got.status, got.body, row.want)
		}
	}

	post := change{"client_id": {p.client.ID}, "client_secret": {p.client.Secret}}
	code, verifier := p.code(t)
	r := formRequest(t, p.config.Endpoint.TokenURL, post.apply(form(code, verifier)))
	if got := do(t, newBrowser(t), r); got.json()["error"] != "invalid_client" {
		t.Errorf("client_secret_post by a client registered for basic: %s", got.body)
	}

	back := get(t, newBrowser(t), p.config.AuthCodeURL("s")).back(t)
	if got := p.tokenRequest(t, form(back.Get("code"), strings.Repeat("v", 43))); got.json()["error"] != "invalid_grant" {
		t.Errorf("a verifier without a challenge: %s", got.body)
	}

	short := strings.Repeat("v", 42)
	back = get(t, newBrowser(t), p.config.AuthCodeURL("s", oauth2.S256ChallengeOption(short))).back(t)
	if got := p.tokenRequest(t, form(back.Get("code"), short)); got.json()["error"] != "invalid_grant" {
		t.Errorf("a verifier of 42 characters: %s", got.body)
	}

	code, verifier = p.code(t)
	p.tokenRequest(t, form(code, strings.Repeat("x", 43)))
	if got := p.tokenRequest(t, form(code, verifier)); got.json()["error"] != "invalid_grant" {
		t.Errorf("the second guess at a verifier: %s", got.body)
	}

	code, verifier = p.code(t)
	late.Store(int64(2 * time.Minute))
	if got := p.tokenRequest(t, form(code, verifier)); got.json()["error"] != "invalid_grant" {
		t.Errorf("an expired code: %s", got.body)
	}
}

func TestCodeWorksOnce(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	code, verifier := p.code(t)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	var wg sync.WaitGroup
	var won atomic.Int32
	var access atomic.Value
	for range 32 {
		wg.Go(func() {
			if got := p.tokenRequest(t, form); got.status == http.StatusOK {
				won.Add(1)
				access.Store(got.json()["access_token"])
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("the code was redeemed %d times", won.Load())
	}
	if got := userinfo(t, op, "Bearer "+access.Load().(string)); got.status != http.StatusUnauthorized {
		t.Errorf("after its code was reused, the access token brings %d", got.status)
	}
}

func userinfo(t testing.TB, op *providertest.OIDC, authorization string) fetched {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, op.Issuer()+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	return do(t, newBrowser(t), r)
}

func TestUserInfoRefuses(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	cfg := fast()
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	op := providertest.StartOIDC(t, cfg)
	got, err := newRP(t, op, providertest.Client{}).login(t, newBrowser(t))
	if err != nil {
		t.Fatal(err)
	}
	token := got.tokens.AccessToken
	for _, authorization := range []string{"", "Bearer", "Bearer x", "Basic " + token, "Bearer " + token[1:], "Bearer " + got.tokens.Extra("id_token").(string)} {
		if got := userinfo(t, op, authorization); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q brings %d", authorization, got.status)
		}
	}
	if got := userinfo(t, op, "Bearer "+token); got.status != http.StatusOK {
		t.Errorf("a good token brings %d", got.status)
	}
	late.Store(int64(time.Hour))
	if got := userinfo(t, op, "Bearer "+token); got.status != http.StatusUnauthorized {
		t.Errorf("an expired token brings %d", got.status)
	}
}

func TestAssertionRefuses(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	foreign, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err3 := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil || err2 != nil || err3 != nil {
		t.Fatal(err, err2, err3)
	}
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{Auth: "private_key_jwt", Key: key.Public()})
	secret := []byte(strings.Repeat("s", 64))
	shared := newRP(t, op, providertest.Client{Auth: "client_secret_jwt", Secret: string(secret)})
	basic := newRP(t, op, providertest.Client{Secret: string(secret)})
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	sign := func(claims map[string]any) string { return assertion(t, op, p.client.ID, jose.ES256, key, claims) }
	used := sign(map[string]any{"jti": "once"})
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	for _, row := range []struct {
		name, assertion string
		change          change
		ok              bool
	}{
		{name: "good", assertion: used, ok: true},
		{name: "replayed", assertion: used},
		{name: "same jti again", assertion: sign(map[string]any{"jti": "once"})},
		{name: "for the token endpoint", assertion: sign(map[string]any{"aud": op.Issuer() + "/token"}), ok: true},
		{name: "no jti", assertion: sign(map[string]any{"jti": nil})},
		{name: "no aud", assertion: sign(map[string]any{"aud": nil})},
		{name: "other aud", assertion: sign(map[string]any{"aud": "https://another.example"})},
		{name: "two aud", assertion: sign(map[string]any{"aud": []string{op.Issuer(), "https://another.example"}})},
		{name: "no exp", assertion: sign(map[string]any{"exp": nil})},
		{name: "expired", assertion: sign(map[string]any{"exp": in(-time.Second)})},
		{name: "valid for ever", assertion: sign(map[string]any{"exp": in(time.Hour)})},
		{name: "iat in the future", assertion: sign(map[string]any{"iat": in(5 * time.Minute)})},
		{name: "nbf in the future", assertion: sign(map[string]any{"nbf": in(5 * time.Minute)})},
		{name: "another sub", assertion: sign(map[string]any{"sub": "x"})},
		{name: "another iss", assertion: sign(map[string]any{"iss": "x"})},
		{name: "another client's", assertion: sign(map[string]any{"iss": shared.client.ID, "sub": shared.client.ID})},
		{name: "another client_id beside", assertion: sign(nil), change: change{"client_id": {shared.client.ID}}},
		{name: "no type", assertion: sign(nil), change: change{"client_assertion_type": nil}},
		{name: "another type", assertion: sign(nil), change: change{"client_assertion_type": {"jwt"}}},
		{name: "no assertion", assertion: ""},
		{name: "a secret beside", assertion: sign(nil), change: change{"client_secret": {"x"}}},
		{name: "foreign key", assertion: assertion(t, op, p.client.ID, jose.ES256, foreign, nil)},
		{name: "HMAC with the public key", assertion: assertion(t, op, p.client.ID, jose.HS256, public, nil)},
		{name: "tampered", assertion: sign(nil) + "A"},
		{name: "client_secret_jwt", assertion: assertion(t, op, shared.client.ID, jose.HS256, secret, nil), ok: true},
		{name: "wrong secret", assertion: assertion(t, op, shared.client.ID, jose.HS256, []byte(strings.Repeat("t", 64)), nil)},
		{name: "JWT with a secret that is registered for basic", assertion: assertion(t, op, basic.client.ID, jose.HS256, secret, nil)},
	} {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}, "client_assertion": {row.assertion}, "client_assertion_type": {assertionType}}
		want := "invalid_client"
		if row.ok {
			want = "invalid_grant" // the client is known, and has no code
		}
		if got := post(t, newBrowser(t), op.Issuer()+"/token", row.change.apply(form)); got.json()["error"] != want {
			t.Errorf("%s: %s, want %s", row.name, got.body, want)
		}
	}
}

func TestNoCodeForAWrongHand(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p, other := newRP(t, op, providertest.Client{}), newRP(t, op, providertest.Client{})
	code, verifier := p.code(t)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	if got := other.tokenRequest(t, form); got.json()["error"] != "invalid_grant" {
		t.Errorf("another client's code: %s", got.body)
	}
	if got := p.tokenRequest(t, form); got.status != http.StatusOK {
		t.Errorf("another client could spend the code: %s", got.body)
	}
}
