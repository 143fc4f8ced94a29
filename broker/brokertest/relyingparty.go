package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/store"
)

// A RelyingParty is an application on a loopback address that signs its users in at a broker over OpenID Connect, with
// code, PKCE, state, nonce and issuer checked. It is safe for concurrent use.
type RelyingParty struct {
	// Params are further parameters of each authentication request: prompt, idp_hint and the like. Set them before the
	// login that is to have them.
	Params url.Values
	// Now is the clock by which ID tokens expire; nil is [time.Now]. Set it before the first login.
	Now func() time.Time

	t      testing.TB
	url    string
	client store.Client

	mu       sync.Mutex
	provider *oidc.Provider
	pending  map[string]attempt // by state
	last     Login
	back     []Logout
	front    []Logout
}

type attempt struct{ verifier, nonce string }

// A Login is what the relying party got.
type Login struct {
	Error       string // the error code of the response; "" if it succeeded
	Subject     string
	Claims      map[string]any // of the ID token
	UserInfo    map[string]any
	IDToken     string
	AccessToken string
	Code        string
	Verifier    string
}

// NewRelyingParty serves an application until the test has ended.
func NewRelyingParty(t testing.TB) *RelyingParty {
	t.Helper()
	rp := &RelyingParty{t: t, Params: url.Values{}, pending: map[string]attempt{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", rp.login)
	mux.HandleFunc("GET /callback", rp.callback)
	mux.HandleFunc("POST /callback", rp.callback)
	mux.HandleFunc("POST /backchannel", rp.backchannel)
	mux.HandleFunc("GET /frontchannel", rp.frontchannel)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "relying party") })
	server := httptest.NewServer(mux)
	t.Cleanup(func() { stop(server) })
	rp.url = server.URL
	rp.client = store.Client{
		ID: "rp", Name: "Test App", HomeURL: rp.url, Secrets: [][]byte{[]byte("a secret with :, + and %")},
		RedirectURIs: []string{rp.url + "/callback"},
	}
	return rp
}

// Client returns the relying party as the broker must know it. What a test changes in it has to be told by [SetClient].
func (rp *RelyingParty) Client() store.Client { return rp.client }

// SetClient changes how the relying party presents itself.
func (rp *RelyingParty) SetClient(c store.Client) { rp.client = c }

// LoginURL is where a browser begins a login at the application.
func (rp *RelyingParty) LoginURL() string { return rp.url + "/login" }

// Connect discovers the broker.
func (rp *RelyingParty) Connect(issuer string) {
	rp.t.Helper()
	p, err := oidc.NewProvider(rp.t.Context(), issuer)
	if err != nil {
		rp.t.Fatalf("brokertest: discover %s: %v", issuer, err)
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.provider = p
}

// Login returns what the latest login brought.
func (rp *RelyingParty) Login() Login {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return rp.last
}

// Config is the relying party's OAuth 2.0 client.
func (rp *RelyingParty) Config() *oauth2.Config {
	endpoint := rp.provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	config := &oauth2.Config{
		ClientID: rp.client.ID, RedirectURL: rp.client.RedirectURIs[0], Endpoint: endpoint,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
	switch rp.client.AuthMethod {
	case store.AuthSecretPost:
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	case store.AuthNone:
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		return config
	}
	config.ClientSecret = string(rp.client.Secrets[0])
	return config
}

// AuthURL begins a login and returns the authentication request.
func (rp *RelyingParty) AuthURL() string {
	a := attempt{verifier: oauth2.GenerateVerifier(), nonce: oauth2.GenerateVerifier()}
	state := oauth2.GenerateVerifier()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.pending[state] = a
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.nonce), oauth2.S256ChallengeOption(a.verifier)}
	for name := range rp.Params {
		options = append(options, oauth2.SetAuthURLParam(name, rp.Params.Get(name)))
	}
	return rp.Config().AuthCodeURL(state, options...)
}

func (rp *RelyingParty) login(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, rp.AuthURL(), http.StatusSeeOther)
}

func (rp *RelyingParty) callback(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	login, err := rp.finish(r.Context(), r.Form)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rp.mu.Lock()
	rp.last = *login
	rp.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(login) // the browser is gone: nobody is left to be told
}

func (rp *RelyingParty) finish(ctx context.Context, params url.Values) (*Login, error) {
	rp.mu.Lock()
	a, known := rp.pending[params.Get("state")]
	delete(rp.pending, params.Get("state"))
	rp.mu.Unlock()
	switch {
	case !known:
		return nil, errors.New("state is not ours")
	case params.Get("iss") != rp.issuer():
		return nil, fmt.Errorf("iss is %q", params.Get("iss"))
	case params.Has("error"):
		return &Login{Error: params.Get("error")}, nil
	}
	return rp.redeem(ctx, params.Get("code"), a)
}

func (rp *RelyingParty) redeem(ctx context.Context, code string, a attempt) (*Login, error) {
	tokens, err := rp.Config().Exchange(ctx, code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	verifier := rp.provider.Verifier(&oidc.Config{ClientID: rp.client.ID, Now: rp.Now})
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if id.Nonce != a.nonce {
		return nil, errors.New("nonce is not ours")
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		return nil, err
	}
	info, err := rp.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return nil, err
	}
	login := &Login{Subject: id.Subject, IDToken: raw, AccessToken: tokens.AccessToken, Code: code, Verifier: a.verifier}
	return login, errors.Join(id.Claims(&login.Claims), info.Claims(&login.UserInfo))
}

func (rp *RelyingParty) issuer() string {
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	if err := rp.provider.Claims(&metadata); err != nil {
		return ""
	}
	return metadata.Issuer
}
