package oidc_test

import (
	"crypto"
	"crypto/rand"
	"net/http"
	"net/http/cookiejar"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/token"
)

// These tests go through a provider that was written by others, with a browser in between.

type flow struct {
	op      *providertest.OIDC
	client  providertest.Client
	browser *http.Client
}

func newFlow(t testing.TB, cfg providertest.OIDCConfig, client providertest.Client) *flow {
	t.Helper()
	if cfg.Alg == "" {
		cfg.Alg = "ES256"
	}
	cfg.AutoLogin = "alice"
	client.RedirectURIs = []string{"https://broker.example/callback"}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{op: providertest.StartOIDC(t, cfg), browser: &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	f.client = f.op.Register(client)
	t.Cleanup(f.browser.CloseIdleConnections)
	return f
}

func (f *flow) config(t testing.TB) oidc.Config {
	c := provider.NewHTTPClient(provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true})
	t.Cleanup(c.CloseIdleConnections)
	return oidc.Config{
		Issuer: f.op.Issuer(), ClientID: f.client.ID, ClientSecret: f.client.Secret, HTTPClient: c, InsecureAllowHTTP: true,
	}
}

func (f *flow) login(t testing.TB, p *oidc.Provider) (*provider.Identity, error) {
	t.Helper()
	state := rand.Text()
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: f.client.RedirectURIs[0], State: state})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, redirect.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatalf("the provider answers with status %d", resp.StatusCode)
	}
	return p.Finish(t.Context(), provider.Callback{URL: back.String(), Params: back.Query(), Data: redirect.Data})
}

func TestFlow(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{Issuer: "/realms/demo"}, providertest.Client{})
	p := newProvider(t, f.config(t))
	id, err := f.login(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if id.Username != "alice" || id.Email != "alice@example.com" || !id.EmailVerified || id.Subject == "" || id.Tokens == nil {
		t.Errorf("identity %+v", id)
	}
	f.op.LoginAs("bob")
	other, err := f.login(t, p)
	if err != nil || other.Subject == id.Subject {
		t.Errorf("bob is %+v, %v", other, err)
	}
}

func TestFlowClientAuth(t *testing.T) {
	t.Parallel()
	private, err := token.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []oidc.AuthMethod{oidc.ClientSecretBasic, oidc.ClientSecretPost, oidc.ClientSecretJWT, oidc.PrivateKeyJWT,
		oidc.NoClientAuth} {
		t.Run(string(method), func(t *testing.T) {
			t.Parallel()
			c := providertest.Client{Auth: string(method)}
			if method == oidc.PrivateKeyJWT {
				c.Key = crypto.PublicKey(private.Public())
			}
			f := newFlow(t, providertest.OIDCConfig{}, c)
			cfg := f.config(t)
			cfg.AuthMethod = method
			if method == oidc.PrivateKeyJWT {
				cfg.ClientKey = token.Key{ID: "k", Algorithm: "ES256", Private: private}
			}
			if _, err := f.login(t, newProvider(t, cfg)); err != nil {
				t.Fatal(err)
			}
			want := string(method)
			if method == oidc.NoClientAuth {
				want = ""
			}
			if got := f.op.Requests(providertest.Token); len(got) != 1 || got[0].ClientAuth != want {
				t.Errorf("%d token requests, the first by %q", len(got), got[0].ClientAuth)
			}
		})
	}
}

func TestFlowKeyRotation(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	cfg := f.config(t)
	start := time.Now()
	offset := time.Duration(0)
	cfg.Now = func() time.Time { return start.Add(offset) }
	cfg.ClockSkew = 5 * time.Minute
	p := newProvider(t, cfg)
	for range 3 {
		if _, err := f.login(t, p); err != nil {
			t.Fatal(err)
		}
		f.op.RotateKeys()
		offset += time.Minute // the least interval between two fetches is over
	}
}

func TestFlowFaults(t *testing.T) {
	t.Parallel()
	const accepted = provider.Kind(-1)
	wants := map[providertest.Fault]provider.Kind{
		providertest.DiscoveryDown:        provider.Unavailable,
		providertest.DiscoverySlow:        provider.Unavailable,
		providertest.DiscoveryHuge:        provider.Unavailable,
		providertest.DiscoveryRedirected:  provider.Unavailable,
		providertest.DiscoveryNotJSON:     provider.Misconfigured,
		providertest.DiscoveryTruncated:   provider.Unavailable,
		providertest.DiscoveryWrongIssuer: provider.Misconfigured,

		providertest.JWKSDown:       provider.Unavailable,
		providertest.JWKSSlow:       provider.Unavailable,
		providertest.JWKSHuge:       provider.Unavailable,
		providertest.JWKSRedirected: provider.Unavailable,
		providertest.JWKSNotJSON:    provider.Unavailable,
		providertest.JWKSTruncated:  provider.Unavailable,
		providertest.JWKSNoKid:      accepted,
		providertest.JWKSOddKeys:    accepted,

		providertest.TokenDown:          provider.Unavailable,
		providertest.TokenSlow:          provider.Unavailable,
		providertest.TokenHuge:          provider.Unavailable,
		providertest.TokenRedirected:    provider.Unavailable,
		providertest.TokenTruncated:     provider.Unavailable,
		providertest.TokenInvalidGrant:  provider.Expired,
		providertest.TokenInvalidClient: provider.Misconfigured,

		providertest.UserInfoDown:       provider.Unavailable,
		providertest.UserInfoSlow:       provider.Unavailable,
		providertest.UserInfoHuge:       provider.Unavailable,
		providertest.UserInfoRedirected: provider.Unavailable,
		providertest.UserInfoTruncated:  provider.Unavailable,

		providertest.ErrorAccessDenied:          provider.Denied,
		providertest.ErrorLoginRequired:         provider.LoginRequired,
		providertest.ErrorServer:                provider.Unavailable,
		providertest.ErrorAuthenticationExpired: provider.Expired,

		// Whether the state is the right one is the caller's to check; here nobody does.
		providertest.ResponseStateWrong: accepted,

		providertest.EmailVerifiedString:      accepted,
		providertest.EmailVerifiedFalseString: accepted,
		providertest.EmailVerifiedFalse:       accepted,
		providertest.EmailVerifiedAbsent:      accepted,
	}
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{UserInfoAlg: "ES256"})
	for _, fault := range providertest.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			want := wants[fault] // Invalid is what most of them are
			cfg := f.config(t)
			cfg.RequireSignedUserInfo = true
			cfg.MaxAge = new(time.Hour)
			if f, ok := f.slow(fault); ok {
				cfg.HTTPClient.Timeout = f
			}
			f.op.Break(fault)
			defer f.op.Break()
			id, err := f.login(t, newProvider(t, cfg))
			if want != accepted {
				refused(t, err, want, "")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			verified := fault != providertest.EmailVerifiedFalse && fault != providertest.EmailVerifiedFalseString &&
				fault != providertest.EmailVerifiedAbsent
			if id.EmailVerified != verified || id.Email != "alice@example.com" {
				t.Errorf("address %q, verified %v", id.Email, id.EmailVerified)
			}
		})
	}
}

// slow returns how long to wait for an answer that never comes.
func (f *flow) slow(fault providertest.Fault) (time.Duration, bool) {
	switch fault {
	case providertest.DiscoverySlow, providertest.JWKSSlow, providertest.TokenSlow, providertest.UserInfoSlow:
		return 500 * time.Millisecond, true
	}
	return 0, false
}

// What is broken for a while must not stay broken.
func TestFlowHeals(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	cfg, late := f.config(t), new(atomic.Int64)
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	p := newProvider(t, cfg)
	for _, fault := range []providertest.Fault{providertest.DiscoveryDown, providertest.TokenDown, providertest.UserInfoDown,
		providertest.NonceWrong} {
		f.op.Break(fault)
		if _, err := f.login(t, p); err == nil {
			t.Errorf("%s: login succeeded", fault)
		}
		f.op.Break()
		late.Add(int64(4 * time.Second)) // discovery is not tried again at once
		if _, err := f.login(t, p); err != nil {
			t.Errorf("after %s: %v", fault, err)
		}
	}
}
