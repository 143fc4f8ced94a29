package providertest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

const callback = "http://app.example/callback?kept=1"

// newBrowser has cookies and follows redirects as long as they stay on a loopback address.
func newBrowser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Hostname() != "127.0.0.1" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// A fetched is what an HTTP request brought.
type fetched struct {
	status int
	header http.Header
	body   string
	err    error // while reading the body
}

func (f fetched) json() map[string]any {
	var m map[string]any
	if json.Unmarshal([]byte(f.body), &m) != nil {
		return nil
	}
	return m
}

// back is what came back to the redirect URI; nil if nothing did.
func (f fetched) back(t testing.TB) url.Values {
	t.Helper()
	if f.header.Get("Location") == "" {
		return nil
	}
	u, err := url.Parse(f.header.Get("Location"))
	if err != nil || !strings.HasPrefix(u.String(), callback) {
		t.Fatalf("redirected to %q, want the callback (%v)", f.header.Get("Location"), err)
	}
	return u.Query()
}

func do(t testing.TB, c *http.Client, r *http.Request) fetched {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fetched{resp.StatusCode, resp.Header, string(body), err}
}

func get(t testing.TB, c *http.Client, target string) fetched {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, r)
}

func post(t testing.TB, c *http.Client, target string, form url.Values) fetched {
	t.Helper()
	return do(t, c, formRequest(t, target, form))
}

func formRequest(t testing.TB, target string, form url.Values) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// An rp is a relying party that checks all it can.
type rp struct {
	op       *providertest.OIDC
	client   providertest.Client
	provider *oidc.Provider
	config   oauth2.Config
}

func newRP(t testing.TB, op *providertest.OIDC, c providertest.Client) *rp {
	t.Helper()
	c.RedirectURIs = append(c.RedirectURIs, callback)
	c = op.Register(c)
	p, err := oidc.NewProvider(t.Context(), op.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Endpoint: p.Endpoint(), RedirectURL: callback,
		Scopes: []string{"openid", "profile", "email"}}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if c.Auth != "client_secret_basic" {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &rp{op, c, p, config}
}

// A loginResult is what an rp believes after a login.
type loginResult struct {
	tokens   *oauth2.Token
	claims   map[string]any // of the ID token
	userinfo map[string]any
}

// login sends the browser through a login that shows no page.
func (p *rp) login(t testing.TB, browser *http.Client, more ...oauth2.AuthCodeOption) (loginResult, error) {
	t.Helper()
	state, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	options := append([]oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier), oidc.Nonce("n-" + state)}, more...)
	back := get(t, browser, p.config.AuthCodeURL(state, options...)).back(t)
	switch {
	case back == nil:
		return loginResult{}, errors.New("the browser did not come back")
	case len(back["state"]) != 1 || back.Get("state") != state:
		return loginResult{}, fmt.Errorf("state %q", back["state"])
	case len(back["iss"]) != 1 || back.Get("iss") != p.op.Issuer():
		return loginResult{}, fmt.Errorf("iss %q", back["iss"])
	case back.Get("error") != "":
		return loginResult{}, errors.New(back.Get("error"))
	}
	return p.finish(t, back.Get("code"), "n-"+state, oauth2.VerifierOption(verifier))
}

func (p *rp) finish(t testing.TB, code, nonce string, more ...oauth2.AuthCodeOption) (got loginResult, err error) {
	t.Helper()
	if got.tokens, err = p.config.Exchange(t.Context(), code, more...); err != nil {
		return got, err
	}
	raw, _ := got.tokens.Extra("id_token").(string)
	idToken, err := p.provider.VerifierContext(t.Context(), &oidc.Config{ClientID: p.client.ID}).Verify(t.Context(), raw)
	if err != nil {
		return got, err
	}
	if idToken.Nonce != nonce {
		return got, fmt.Errorf("nonce %q, want %q", idToken.Nonce, nonce)
	}
	if err := idToken.VerifyAccessToken(got.tokens.AccessToken); err != nil {
		return got, err
	}
	info, err := p.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(got.tokens))
	if err != nil {
		return got, err
	}
	if info.Subject != idToken.Subject {
		return got, errors.New("userinfo is about somebody else")
	}
	return got, errors.Join(idToken.Claims(&got.claims), info.Claims(&got.userinfo))
}

// assertion is a client assertion with what is right, unless edit makes something else of it.
func assertion(t testing.TB, op *providertest.OIDC, clientID string, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": clientID, "sub": clientID, "aud": op.Issuer(), "jti": oauth2.GenerateVerifier(), "exp": inAMinute()}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	token, err := josejwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// part decodes the header (0) or the claims (1) of a JWT.
func part(t testing.TB, token string, i int) (map[string]any, string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[i])
	var m map[string]any
	if err = errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	return m, string(raw)
}
