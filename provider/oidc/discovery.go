package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
	"github.com/go-idbroker/idbroker/token"
)

const (
	metadataLifetime = time.Hour
	metadataRetry    = 30 * time.Second // while it is stale and cannot be fetched
	firstRetry       = 3 * time.Second  // while it is not known and cannot be fetched: visitors come faster
	flightTimeout    = 15 * time.Second
)

// metadata is what discovery tells (OpenID Connect Discovery 1.0 §3, RFC 9207 §3), as far as it is used.
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	UserInfo      string   `json:"userinfo_endpoint"`
	JWKS          string   `json:"jwks_uri"`
	EndSession    string   `json:"end_session_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	SigningAlgs   []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	ResponseIss   bool     `json:"authorization_response_iss_parameter_supported"`
}

// upstream is the provider as it is known at the moment. It is replaced as a whole and never changed.
type upstream struct {
	client        oauth2.Config
	tokenURL      string
	userInfoURL   string // "" if it is not to be asked
	jwksURL       string
	logoutURL     string // the end_session_endpoint; "" if there is none
	revocationURL string // likewise
	algs          []string
	keys          goidc.KeySet
	responseIss   bool     // an answer must say its issuer
	authMethods   []string // that the token endpoint says it takes; nil if it does not say
	refreshAt     time.Time
}

// A failure is why the provider could not be discovered, and until when that is not tried again.
type failure struct {
	err   error
	until time.Time
}

// upstream returns the provider, discovering it if need be. While it cannot be discovered again, what is known stays in
// use. Callers at the same time share one request, and one that leaves does not end it for the others.
func (p *Provider) upstream(ctx context.Context) (*upstream, error) {
	up := p.current.Load()
	if up == nil && !p.cfg.discovers() {
		p.current.CompareAndSwap(nil, p.newUpstream(metadata{}, nil)) // of those at the same moment one counts
		up = p.current.Load()
	}
	if up.fresh(p.now()) {
		return up, nil
	}
	flight := p.flight.DoChan("", func() (any, error) {
		// Detached from the request, as others wait for it too, and bounded by a time of its own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		return p.refresh(ctx)
	})
	if up != nil {
		return up, nil
	}
	select {
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*upstream), nil //nolint:errcheck // refresh returns nothing else
	case <-ctx.Done():
		return nil, fail(provider.Unavailable, "discover %s: %w", oauth.Redact(p.cfg.DiscoveryURL), ctx.Err())
	}
}

func (up *upstream) fresh(now time.Time) bool {
	return up != nil && (up.refreshAt.IsZero() || now.Before(up.refreshAt))
}

func (p *Provider) refresh(ctx context.Context) (*upstream, error) {
	old := p.current.Load()
	if old.fresh(p.now()) {
		return old, nil // by another flight, which landed after the caller had looked
	}
	if last := p.failed.Load(); old == nil && last != nil && p.now().Before(last.until) {
		return nil, last.err
	}
	m, err := p.discover(ctx)
	if err != nil {
		p.failed.Store(&failure{err, p.now().Add(firstRetry)})
		if old != nil {
			later := *old
			later.refreshAt = p.now().Add(metadataRetry)
			p.current.Store(&later)
		}
		return nil, err
	}
	up := p.newUpstream(m, old)
	up.refreshAt = p.now().Add(metadataLifetime)
	p.current.Store(up)
	p.failed.Store(nil)
	return up, nil
}

// Stale returns why what is known of the provider could not be fetched again, while logins go on with what was known before.
// It is nil if nothing is amiss.
func (p *Provider) Stale() error {
	up := p.current.Load()
	if up == nil {
		return nil // a login fails, and says why
	}
	var errs []error
	if last := p.failed.Load(); last != nil {
		errs = append(errs, last.err)
	}
	if keys, ok := up.keys.(*token.Remote); ok {
		errs = append(errs, keys.Err())
	}
	return errors.Join(errs...)
}

// discover fetches the metadata and checks it.
func (p *Provider) discover(ctx context.Context) (metadata, error) {
	var m metadata
	at := oauth.Redact(p.cfg.DiscoveryURL)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.cfg.DiscoveryURL, nil)
	if err != nil {
		return m, fail(provider.Misconfigured, "discover %s: bad address", at)
	}
	req.Header.Set("Accept", "application/json")
	status, _, body, err := p.do(req)
	switch {
	case err != nil:
		return m, fail(provider.Unavailable, "discover: %w", err)
	case status >= 500 || status == http.StatusTooManyRequests:
		return m, fail(provider.Unavailable, "discover %s: status %d", at, status)
	case status != http.StatusOK:
		return m, fail(provider.Misconfigured, "discover %s: status %d; is this the issuer's address?", at, status)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fail(provider.Misconfigured, "discover %s: %w", at, err)
	}
	if m.Issuer != p.cfg.Issuer {
		return m, fail(provider.Misconfigured, "discover %s: the issuer there is %q, but %q is configured; they must be equal, "+
			"a slash at the end included", at, m.Issuer, p.cfg.Issuer)
	}
	if err := m.check(&p.cfg); err != nil {
		return m, fail(provider.Misconfigured, "discover %s: %w", at, err)
	}
	return m, nil
}

// check looks at the addresses that will be used.
func (m *metadata) check(c *Config) error {
	m.override(c)
	for _, e := range []struct {
		name, url string
		optional  bool
	}{
		{"authorization_endpoint", m.Authorization, false},
		{"token_endpoint", m.Token, false},
		{"jwks_uri", m.JWKS, c.hmac()},
		{"userinfo_endpoint", m.UserInfo, true},
		{"end_session_endpoint", m.EndSession, true},
		{"revocation_endpoint", m.Revocation, true},
	} {
		if e.url == "" && e.optional {
			continue
		}
		if e.url == "" {
			return fmt.Errorf("%s is missing", e.name)
		}
		if err := oauth.CheckURL(e.url, c.InsecureAllowHTTP); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// override puts the configured addresses in.
func (m *metadata) override(c *Config) {
	for _, e := range []struct {
		to    *string
		fixed string
	}{
		{&m.Authorization, c.Endpoints.Authorization},
		{&m.Token, c.Endpoints.Token},
		{&m.UserInfo, c.Endpoints.UserInfo},
		{&m.JWKS, c.Endpoints.JWKS},
		{&m.EndSession, c.Endpoints.EndSession},
		{&m.Revocation, c.Endpoints.Revocation},
	} {
		if e.fixed != "" {
			*e.to = e.fixed
		}
	}
}

// newUpstream prepares whatever does not change from login to login. Keys that are cached survive, if they are the same.
func (p *Provider) newUpstream(m metadata, old *upstream) *upstream {
	m.override(&p.cfg)
	up := &upstream{
		client: oauth2.Config{
			ClientID: p.cfg.ClientID,
			Scopes:   p.cfg.Scopes,
			// The style is of no consequence for a URL; it is set so that no use of the value could ever probe.
			Endpoint: oauth2.Endpoint{AuthURL: m.Authorization, TokenURL: m.Token, AuthStyle: oauth2.AuthStyleInHeader},
		},
		tokenURL:      m.Token,
		userInfoURL:   m.UserInfo,
		jwksURL:       m.JWKS,
		logoutURL:     m.EndSession,
		revocationURL: m.Revocation,
		algs:          p.cfg.SigningAlgs,
		responseIss:   m.ResponseIss || p.cfg.RequireResponseIssuer,
		authMethods:   m.AuthMethods,
	}
	if p.cfg.DisableUserInfo {
		up.userInfoURL = ""
	}
	if up.algs == nil {
		up.algs = acceptable(m.SigningAlgs)
	}
	switch {
	case p.cfg.hmac():
		up.keys = secretKey(p.cfg.ClientSecret)
	case old != nil && old.jwksURL == up.jwksURL && slices.Equal(old.algs, up.algs):
		up.keys = old.keys
	default:
		up.keys = &token.Remote{URL: up.jwksURL, Client: p.client(), Algorithms: up.algs, Now: p.now}
	}
	return up
}

// do sends req and reads the whole answer, whatever its status.
func (p *Provider) do(req *http.Request) (status int, contentType string, body []byte, err error) {
	return oauth.Do(p.client(), req)
}
