package providertest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
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

func inAMinute() int64 { return time.Now().Add(time.Minute).Unix() }

// fast is a configuration without pages and without RSA.
func fast() providertest.OIDCConfig {
	return providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice"}
}

func TestLoginWithEachAlgorithm(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: alg, AutoLogin: "alice"})
			p := newRP(t, op, providertest.Client{UserInfoAlg: alg})
			got, err := p.login(t, newBrowser(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, claims := range []map[string]any{got.claims, got.userinfo} {
				if claims["email"] != "alice@example.com" || claims["email_verified"] != true || claims["name"] != "Alice Liddell" ||
					claims["preferred_username"] != "alice" || claims["sub"] != "248289761001" {
					t.Errorf("claims of alice: %v", claims)
				}
				if claims["groups"] != nil {
					t.Errorf("groups without their scope: %v", claims["groups"])
				}
			}
			if header, _ := part(t, got.tokens.Extra("id_token").(string), 0); header["alg"] != alg {
				t.Errorf("signed with %v, want %v", header["alg"], alg)
			}
		})
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/", "/realms/demo", "/tenant/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			cfg := fast()
			cfg.Issuer = path
			op := providertest.StartOIDC(t, cfg)
			if !strings.HasSuffix(op.Issuer(), path) {
				t.Errorf("Issuer() = %q, want one that ends in %q", op.Issuer(), path)
			}
			if _, err := newRP(t, op, providertest.Client{}).login(t, newBrowser(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewOIDCRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]providertest.OIDCConfig{
		"no issuer":        {},
		"query":            {Issuer: "https://op.example/?x=1"},
		"scheme":           {Issuer: "ftp://op.example"},
		"auto login":       {Issuer: "https://op.example", AutoLogin: "nobody"},
		"accent":           {Issuer: "https://op.example", Accent: "red; } body { display: none"},
		"algorithm":        {Issuer: "https://op.example", Alg: "HS256"},
		"client algorithm": {Issuer: "https://op.example", Clients: []providertest.Client{{IDTokenAlg: "none"}}},
		"method":           {Issuer: "https://op.example", Clients: []providertest.Client{{Auth: "tls_client_auth"}}},
		"no key":           {Issuer: "https://op.example", Clients: []providertest.Client{{Auth: "private_key_jwt"}}},
	} {
		if cfg.Alg == "" {
			cfg.Alg = "ES256"
		}
		if _, err := providertest.NewOIDC(cfg); err == nil {
			t.Errorf("%s: NewOIDC(%+v) succeeded", name, cfg)
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	op.SetUser(providertest.User{Username: "carol", Name: "Carol", Email: "carol@example.com", Groups: []string{"a"},
		Claims: map[string]any{"department": 7, "locale": "fy"}})
	op.SetUser(providertest.User{Username: "mallory", Error: "interaction_required"})
	p := newRP(t, op, providertest.Client{})
	p.config.Scopes = append(p.config.Scopes, "groups")

	hint := func(user string) oauth2.AuthCodeOption { return oauth2.SetAuthURLParam("login_hint", user) }
	got, err := p.login(t, newBrowser(t), hint("carol@example.com"))
	if err != nil || got.claims["sub"] != "carol" || got.claims["department"] != 7.0 || got.claims["locale"] != "fy" ||
		got.claims["groups"].([]any)[0] != "a" {
		t.Errorf("carol by hint: %v, %v", got.claims, err)
	}
	if _, err := p.login(t, newBrowser(t), hint("mallory")); err == nil || err.Error() != "interaction_required" {
		t.Errorf("mallory's login: %v, want interaction_required", err)
	}
	op.LoginAs("bob")
	if got, err := p.login(t, newBrowser(t)); err != nil || got.claims["email"] != "bob@example.com" || got.claims["email_verified"] != false {
		t.Errorf("bob: %v, %v", got.claims, err)
	}
	op.SetUser(providertest.User{Subject: "248289761002", Email: "robert@example.com"})
	op.LoginAs("robert@example.com")
	if got, err := p.login(t, newBrowser(t)); err != nil || got.userinfo["email"] != "robert@example.com" {
		t.Errorf("bob with another address: %v, %v", got.userinfo, err)
	}
	if _, err := p.login(t, newBrowser(t), hint("nobody")); err != nil {
		t.Errorf("a hint that names nobody: %v", err)
	}
}

func TestLeanIDToken(t *testing.T) {
	t.Parallel()
	cfg := fast()
	cfg.LeanIDToken = true
	got, err := newRP(t, providertest.StartOIDC(t, cfg), providertest.Client{}).login(t, newBrowser(t))
	if err != nil || got.claims["email"] != nil || got.userinfo["email"] == nil {
		t.Errorf("ID token %v, userinfo %v, %v", got.claims, got.userinfo, err)
	}
}

func TestRequestsAreRecorded(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	if _, err := p.login(t, newBrowser(t), oauth2.SetAuthURLParam("ui_locales", "de fr"), oauth2.SetAuthURLParam("acr_values", "2")); err != nil {
		t.Fatal(err)
	}
	asked := op.Requests(providertest.Authorize)
	if len(asked) != 1 || asked[0].Params.Get("ui_locales") != "de fr" || asked[0].Params.Get("acr_values") != "2" || asked[0].Method != "GET" {
		t.Errorf("authorize requests: %+v", asked)
	}
	if got := op.Requests(providertest.Token); len(got) != 1 || got[0].ClientAuth != "client_secret_basic" ||
		got[0].Params.Get("code_verifier") == "" || got[0].Error != "" {
		t.Errorf("token requests: %+v", got)
	}
	if d, j := len(op.Requests(providertest.Discovery)), len(op.Requests(providertest.JWKS)); d != 1 || j != 1 {
		t.Errorf("%d discovery and %d JWKS requests, want 1 and 1", d, j)
	}
	if got, want := len(op.Requests()), 5; got != want {
		t.Errorf("%d requests, want %d", got, want)
	}
	if _, err := p.config.Exchange(t.Context(), "wrong"); err == nil || op.Requests(providertest.Token)[1].Error != "invalid_grant" {
		t.Errorf("a wrong code: %v, recorded as %q", err, op.Requests(providertest.Token)[1].Error)
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	op.Edit(providertest.Hooks{
		Discovery: func(doc map[string]any) { doc["issuer"] = "elsewhere" },
		Token:     func(reply map[string]any) { reply["extra"] = "yes" },
		IDToken:   func(header, claims map[string]any) { header["extra"], claims["acr"] = true, "gold" },
		UserInfo:  func(claims map[string]any) { claims["nickname"] = "al" },
	})
	got, err := p.login(t, newBrowser(t))
	if err != nil || got.tokens.Extra("extra") != "yes" || got.claims["acr"] != "gold" || got.userinfo["nickname"] != "al" {
		t.Errorf("edited: %v %v, %v", got.claims, got.userinfo, err)
	}
	if header, _ := part(t, got.tokens.Extra("id_token").(string), 0); header["extra"] != true {
		t.Errorf("header %v", header)
	}
	if doc := get(t, newBrowser(t), op.Issuer()+"/.well-known/openid-configuration").json(); doc["issuer"] != "elsewhere" {
		t.Errorf("issuer %v", doc["issuer"])
	}
	op.Edit(providertest.Hooks{})
	if got, err := p.login(t, newBrowser(t)); err != nil || got.claims["acr"] != nil {
		t.Errorf("after the hooks were removed: %v, %v", got.claims, err)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	kids := func() (kids []string) {
		for _, k := range get(t, newBrowser(t), op.Issuer()+"/jwks").json()["keys"].([]any) {
			kids = append(kids, k.(map[string]any)["kid"].(string))
		}
		return kids
	}
	login := func() string {
		got, err := p.login(t, newBrowser(t))
		if err != nil {
			t.Fatal(err)
		}
		header, _ := part(t, got.tokens.Extra("id_token").(string), 0)
		return header["kid"].(string)
	}
	first := login()
	op.AnnounceKeys()
	announced := kids()
	if len(announced) != 2 || announced[0] != first || login() != first {
		t.Fatalf("announced: %v, signing with %v", announced, first)
	}
	op.RotateKeys()
	if second := login(); second != announced[1] || len(kids()) != 2 {
		t.Fatalf("rotated: %v, signing with %v, announced %v", kids(), second, announced)
	}
	op.RotateKeys()
	op.RetireKeys()
	if third := login(); len(kids()) != 1 || kids()[0] != third {
		t.Fatalf("retired: %v, signing with %v", kids(), third)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p, other := newRP(t, op, providertest.Client{}), newRP(t, op, providertest.Client{})
	p.config.Scopes = append(p.config.Scopes, "offline_access")
	got, err := p.login(t, newBrowser(t))
	if err != nil {
		t.Fatal(err)
	}
	refresh := func(p *rp, token string) (*oauth2.Token, error) {
		return p.config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token}).Token()
	}
	if _, err := refresh(other, got.tokens.RefreshToken); err == nil {
		t.Error("another client's refresh token was taken")
	}
	next, err := refresh(p, got.tokens.RefreshToken)
	if err != nil || next.RefreshToken == got.tokens.RefreshToken {
		t.Fatalf("refresh: %v", err)
	}
	claims, _ := part(t, next.Extra("id_token").(string), 1)
	if claims["sub"] != got.claims["sub"] || claims["auth_time"] != got.claims["auth_time"] || claims["nonce"] != nil {
		t.Errorf("refreshed ID token %v, first one %v", claims, got.claims)
	}
	wider := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next.RefreshToken}, "scope": {"openid groups"}}
	if got := p.tokenRequest(t, wider); got.json()["error"] != "invalid_scope" {
		t.Errorf("more scope: %v", got.body)
	}
	if _, err := refresh(p, got.tokens.RefreshToken); err == nil {
		t.Error("a used refresh token was taken")
	}
	if _, err := refresh(p, next.RefreshToken); err == nil {
		t.Error("the next refresh token was taken after the one before had been used twice")
	}
	if got, err = p.login(t, newBrowser(t)); err != nil {
		t.Fatal(err)
	}
	for _, revoker := range []*rp{other, p} {
		form := url.Values{"token": {got.tokens.RefreshToken}}
		if revoked := revoker.post(t, op.Issuer()+"/revoke", form); revoked.status != 200 {
			t.Errorf("revoke: status %d", revoked.status)
		}
		next, err := refresh(p, got.tokens.RefreshToken)
		if (err == nil) != (revoker == other) {
			t.Errorf("refresh after %s has revoked it: %v", revoker.client.ID, err)
		}
		if err == nil {
			got.tokens = next
		}
	}
	if got, err := newRP(t, op, providertest.Client{}).login(t, newBrowser(t)); err != nil || got.tokens.RefreshToken != "" {
		t.Errorf("without offline_access: refresh token %q, %v", got.tokens.RefreshToken, err)
	}
}

// tokenRequest authenticates as registered, with client_secret_basic.
func (p *rp) tokenRequest(t testing.TB, form url.Values) fetched {
	t.Helper()
	return p.post(t, p.config.Endpoint.TokenURL, form)
}

func (p *rp) post(t testing.TB, address string, form url.Values) fetched {
	t.Helper()
	r := formRequest(t, address, form)
	r.SetBasicAuth(url.QueryEscape(p.client.ID), url.QueryEscape(p.client.Secret))
	return do(t, newBrowser(t), r)
}

func TestParallelLogins(t *testing.T) {
	t.Parallel()
	op := providertest.StartOIDC(t, fast())
	p := newRP(t, op, providertest.Client{})
	var wg sync.WaitGroup
	var done atomic.Int32
	for range 64 {
		browser := newBrowser(t)
		wg.Go(func() {
			if _, err := p.login(t, browser); err != nil {
				t.Error(err)
				return
			}
			done.Add(1)
		})
	}
	for range 20 {
		op.Break(providertest.EmailVerifiedFalse)
		op.SetUser(providertest.User{Username: "dave"})
		op.Requests()
		op.Break()
	}
	wg.Wait()
	if got := done.Load(); got != 64 {
		t.Errorf("%d logins succeeded, want 64", got)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, err3 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	op := providertest.StartOIDC(t, fast())
	type row struct {
		auth string
		alg  jose.SignatureAlgorithm
		key  crypto.Signer
	}
	for _, r := range []row{
		{auth: "client_secret_basic"}, {auth: "client_secret_post"}, {auth: "none"},
		{auth: "client_secret_jwt", alg: jose.HS256}, {auth: "client_secret_jwt", alg: jose.HS512},
		{"private_key_jwt", jose.RS256, rsaKey}, {"private_key_jwt", jose.PS256, rsaKey},
		{"private_key_jwt", jose.ES256, ecKey}, {"private_key_jwt", jose.EdDSA, edKey},
	} {
		t.Run(r.auth+" "+string(r.alg), func(t *testing.T) {
			t.Parallel()
			c := providertest.Client{Auth: r.auth}
			if r.auth == "client_secret_jwt" {
				c.Secret = strings.Repeat("long enough for HMAC with SHA-512 ", 3)
			}
			if r.key != nil {
				c.Key = r.key.Public()
			}
			p := newRP(t, op, c)
			if r.alg == "" {
				if _, err := p.login(t, newBrowser(t)); err != nil {
					t.Error(err)
				}
				return
			}
			var key any = r.key
			if r.key == nil {
				key = []byte(c.Secret)
			}
			p.config.ClientSecret = ""
			code, verifier := p.code(t)
			_, err := p.finish(t, code, "nonce", oauth2.VerifierOption(verifier),
				oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
				oauth2.SetAuthURLParam("client_assertion", assertion(t, op, p.client.ID, r.alg, key, nil)))
			if err != nil {
				t.Error(err)
			}
			requests := op.Requests(providertest.Token)
			for _, got := range requests {
				if got.Params.Get("client_id") == p.client.ID && got.ClientAuth != r.auth {
					t.Errorf("recorded as %q, want %q", got.ClientAuth, r.auth)
				}
			}
		})
	}
}

// code logs in up to the code, with PKCE and the nonce "nonce".
func (p *rp) code(t testing.TB) (code, verifier string) {
	t.Helper()
	verifier = oauth2.GenerateVerifier()
	back := get(t, newBrowser(t), p.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "nonce"))).back(t)
	if back.Get("code") == "" {
		t.Fatalf("no code: %v", back)
	}
	return back.Get("code"), verifier
}
