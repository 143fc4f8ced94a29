package oidc_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

func TestNewDoesNoIO(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.setDown(true)
	p := newProvider(t, o.config())
	if got := o.count("/.well-known/openid-configuration"); got != 0 {
		t.Errorf("%d requests by New", got)
	}
	_, _, err := o.begin(t, p)
	refused(t, err, provider.Unavailable, "status 502")
	o.setDown(false)
	if _, _, err := o.begin(t, p); err == nil {
		t.Error("discovery was tried again at once")
	}
	o.advance(4 * time.Second)
	o.must(t, p)
	if got := o.count("/.well-known/openid-configuration"); got != 2 {
		t.Errorf("%d requests, want one that failed and one", got)
	}
}

func TestDiscoveryRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		edit func(*op)
		kind provider.Kind
		want []string
	}{
		{"another issuer", func(o *op) { o.metadata["issuer"] = "https://evil.example" }, provider.Misconfigured,
			[]string{`"https://evil.example"`, "127.0.0.1", "is configured"}},
		{"a slash more", func(o *op) { o.metadata["issuer"] = o.URL + "/" }, provider.Misconfigured, []string{"slash"}},
		{"no issuer", func(o *op) { delete(o.metadata, "issuer") }, provider.Misconfigured, []string{`the issuer there is ""`}},
		{"no token endpoint", func(o *op) { delete(o.metadata, "token_endpoint") }, provider.Misconfigured,
			[]string{"token_endpoint is missing"}},
		{"no authorization endpoint", func(o *op) { delete(o.metadata, "authorization_endpoint") }, provider.Misconfigured,
			[]string{"authorization_endpoint is missing"}},
		{"no keys", func(o *op) { delete(o.metadata, "jwks_uri") }, provider.Misconfigured, []string{"jwks_uri is missing"}},
		{"script", func(o *op) { o.metadata["authorization_endpoint"] = "javascript:alert(1)//" }, provider.Misconfigured,
			[]string{"authorization_endpoint"}},
		{"data", func(o *op) { o.metadata["authorization_endpoint"] = "data:text/html,x" }, provider.Misconfigured,
			[]string{"authorization_endpoint"}},
		{"file", func(o *op) { o.metadata["jwks_uri"] = "file:///etc/passwd" }, provider.Misconfigured, []string{"jwks_uri"}},
		{"relative", func(o *op) { o.metadata["token_endpoint"] = "/token" }, provider.Misconfigured, []string{"token_endpoint"}},
		{"credentials", func(o *op) { o.metadata["userinfo_endpoint"] = "https://user:hunter2@x.example/" }, provider.Misconfigured,
			[]string{"userinfo_endpoint", "user name"}},
		{"fragment", func(o *op) { o.metadata["authorization_endpoint"] = o.URL + "/a#x" }, provider.Misconfigured, []string{"fragment"}},
		{"wrong type", func(o *op) { o.metadata["token_endpoint"] = 5 }, provider.Misconfigured, []string{"discover"}},
		{"HTML", func(o *op) { o.discover = func(w http.ResponseWriter) { io.WriteString(w, "<html>") } }, provider.Misconfigured,
			[]string{"invalid character"}},
		{"404", func(o *op) { o.discover = func(w http.ResponseWriter) { w.WriteHeader(404) } }, provider.Misconfigured,
			[]string{"status 404"}},
		{"500", func(o *op) { o.discover = func(w http.ResponseWriter) { w.WriteHeader(500) } }, provider.Unavailable,
			[]string{"status 500"}},
		{"huge", func(o *op) {
			o.discover = func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat(" ", 2<<20)) }
		}, provider.Unavailable, []string{"more than 1048576 bytes"}},
		{"redirect loop", func(o *op) {
			o.discover = func(w http.ResponseWriter) {
				w.Header().Set("Location", "/.well-known/openid-configuration")
				w.WriteHeader(http.StatusFound)
			}
		}, provider.Unavailable, []string{"more than 3 redirects"}},
		{"private address", func(o *op) {
			o.discover = func(w http.ResponseWriter) {
				w.Header().Set("Location", "http://169.254.169.254/latest/meta-data/?token=hidden")
				w.WriteHeader(http.StatusFound)
			}
		}, provider.Unavailable, []string{"not a permitted destination"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			row.edit(o)
			_, _, err := o.begin(t, newProvider(t, o.config()))
			for _, want := range row.want {
				refused(t, err, row.kind, want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %q shows too much", err)
			}
		})
	}
}

func TestDiscoveryNeedsHTTPS(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.InsecureAllowHTTP = false
	if _, err := oidc.New(cfg); err == nil || !strings.Contains(err.Error(), "InsecureAllowHTTP") {
		t.Errorf("New with an issuer on http: %v", err)
	}
	// The client that New makes is the strict one.
	cfg = oidc.Config{Issuer: "https://127.0.0.1:1", ClientID: clientID, ClientSecret: clientSecret}
	_, err := newProvider(t, cfg).Begin(t.Context(), provider.Request{RedirectURI: callback, State: "s"})
	refused(t, err, provider.Unavailable, "InsecureAllowPrivateNetworks")
}

// A client that the host gives has no policy of ours, but the code and the secret must not travel on all the same.
func TestHostsClientFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(cfg.HTTPClient.CloseIdleConnections)
	p := newProvider(t, cfg)
	o.must(t, p)
	o.reply = func(w http.ResponseWriter) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	_, err := o.login(t, p)
	refused(t, err, provider.Unavailable, "redirects are not followed")
	if got := o.count("/elsewhere"); got != 0 {
		t.Error("the redirect was followed")
	}
	o.reply = func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat(" ", 2<<20)) }
	_, err = o.login(t, p)
	refused(t, err, provider.Unavailable, "more than 1048576 bytes")
	if cfg.HTTPClient.CheckRedirect != nil || cfg.HTTPClient.Timeout != 0 {
		t.Error("the host's client was changed")
	}
}

func TestDiscoveryIsSharedAndRefreshed(t *testing.T) {
	t.Parallel()
	const path = "/.well-known/openid-configuration"
	o := newOP(t)
	p := newProvider(t, o.config())
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if _, err := p.Begin(context.Background(), provider.Request{RedirectURI: callback, State: "s"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := o.count(path); got != 1 {
		t.Errorf("%d requests by 32 callers, want 1", got)
	}
	o.advance(59 * time.Minute)
	o.must(t, p)
	if got := o.count(path); got != 1 {
		t.Errorf("%d requests within the lifetime, want 1", got)
	}

	// After the lifetime what is known is used while the new is fetched, and the new then.
	o.advance(2 * time.Minute)
	o.mu.Lock()
	o.metadata["authorization_endpoint"] = o.URL + "/moved"
	o.mu.Unlock()
	until(t, func() bool {
		redirect, _, err := o.begin(t, p)
		if err != nil {
			t.Fatal(err)
		}
		return strings.HasPrefix(redirect.URL, o.URL+"/moved")
	})
	if got := o.count(path); got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
	jwks := o.count("/jwks")
	o.must(t, p)
	if got := o.count("/jwks"); got != jwks {
		t.Error("the keys were forgotten with the metadata")
	}
}

func TestDiscoveryStaleWhileError(t *testing.T) {
	t.Parallel()
	const path = "/.well-known/openid-configuration"
	o := newOP(t)
	p := newProvider(t, o.config())
	o.must(t, p)
	if err := p.Stale(); err != nil {
		t.Errorf("Stale() = %v although nothing is amiss", err)
	}
	o.discover = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	o.advance(30 * 24 * time.Hour)
	o.must(t, p)
	until(t, func() bool { o.must(t, p); return o.count(path) == 2 })
	for range 50 {
		o.must(t, p)
	}
	if got := o.count(path); got > 3 { // 3: a flight may have landed between two looks
		t.Errorf("%d requests: a provider that is down is asked too often", got)
	}
	if err := p.Stale(); err == nil || !strings.Contains(err.Error(), "status 502") {
		t.Errorf("Stale() = %v, want what the refresh failed by", err)
	}
	o.mu.Lock()
	o.discover = nil // a flight may be on its way
	o.mu.Unlock()
	o.advance(time.Minute)
	before := o.count(path)
	until(t, func() bool { o.must(t, p); return o.count(path) > before && p.Stale() == nil })
}

// One who leaves does not end the request that others wait for.
func TestDiscoveryOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	arrived, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o.discover = func(w http.ResponseWriter) {
		once.Do(func() { close(arrived) })
		<-proceed
		writeJSON(w, o.metadata)
	}
	p := newProvider(t, o.config())
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	r := provider.Request{RedirectURI: callback, State: "s"}
	go func() { _, err := p.Begin(ctx, r); first <- err }()
	<-arrived
	go func() { _, err := p.Begin(context.Background(), r); second <- err }()
	cancel()
	refused(t, <-first, provider.Unavailable, "context canceled")
	close(proceed)
	if err := <-second; err != nil {
		t.Error(err)
	}
	if got := o.count("/.well-known/openid-configuration"); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestEndpointsByHand(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.Endpoints = oidc.Endpoints{Authorization: o.URL + "/authorize", Token: o.URL + "/token", JWKS: o.URL + "/jwks"}
	cfg.SigningAlgs = []string{"ES256"}
	cfg.Issuer = "https://issuer.example" // there is nothing at it
	o.metadata["issuer"] = cfg.Issuer
	o.must(t, newProvider(t, cfg))
	if o.count("/.well-known/openid-configuration") != 0 || o.count("/userinfo") != 0 {
		t.Error("something was discovered")
	}
	cfg.Endpoints.UserInfo = o.URL + "/userinfo"
	if got := o.must(t, newProvider(t, cfg)).Name; got != "Alice by userinfo" {
		t.Errorf("name %q", got)
	}

	// One by hand beats the discovered one, which then does not matter.
	o = newOP(t)
	cfg = o.config()
	cfg.Endpoints.Token = o.URL + "/token"
	o.metadata["token_endpoint"] = "javascript:alert(1)"
	o.must(t, newProvider(t, cfg))
}

func TestConcurrentLogins(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	for range 6 { // past the lifetimes of metadata and keys
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if _, err := o.login(t, p); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		o.advance(20 * time.Minute)
	}
}

// until asks until it is so.
func until(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it never came to be so")
		}
	}
}
