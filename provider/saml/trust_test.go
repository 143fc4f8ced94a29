package saml_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// What decides who a subject is makes another trust, and nothing else does: the broker holds all logins while it differs.
func TestTrust(t *testing.T) {
	t.Parallel()
	trust := func(edit func(*saml.Config)) provider.Trust {
		cfg := config()
		edit(&cfg)
		return newProvider(t, cfg).Trust()
	}
	plain := trust(func(*saml.Config) {})
	if plain.Issuer != idpEntity {
		t.Errorf("Issuer = %q, want %q", plain.Issuer, idpEntity)
	}
	byURL := func(c *saml.Config) {
		c.Certificates, c.Endpoints, c.MetadataURL = nil, saml.Endpoints{}, "https://idp.example/metadata"
	}
	same := map[string]func(*saml.Config){
		"broker's name":   func(c *saml.Config) { c.EntityID = "https://another.example" },
		"rolled over key": func(c *saml.Config) { c.Certificates = append(c.Certificates, otherKey().Certificate) },
		"signs in itself": func(c *saml.Config) { c.SigningKeys = []saml.Key{idpKey()} },
		"its new address": func(c *saml.Config) { c.Endpoints.SingleSignOn = "https://new.example/sso" },
		"attribute names": func(c *saml.Config) { c.Attributes.Email = "address" },
	}
	for name, edit := range same {
		if got := trust(edit); got.Mark() != plain.Mark() {
			t.Errorf("%s: Trust = %q, want %q", name, got.Mark(), plain.Mark())
		}
	}
	marks := map[string]string{plain.Mark(): "plain"}
	for name, edit := range map[string]func(*saml.Config){
		"another entity":    func(c *saml.Config) { c.IdPEntityID = "https://other.example" },
		"metadata":          byURL,
		"other metadata":    func(c *saml.Config) { byURL(c); c.MetadataURL += "2" },
		"query of metadata": func(c *saml.Config) { byURL(c); c.MetadataURL += "?token=hunter2" },
		"no entity":         func(c *saml.Config) { byURL(c); c.IdPEntityID = "" },
		"attribute":         func(c *saml.Config) { c.SubjectAttribute = "uid" },
		"another attribute": func(c *saml.Config) { c.SubjectAttribute = "mail" },
		"another friendly":  func(c *saml.Config) { c.SubjectFriendlyName = "mail" },
		"pinned keys":       func(c *saml.Config) { pinned := c.Certificates; byURL(c); c.Certificates = pinned },
		"friendly name":     func(c *saml.Config) { c.SubjectFriendlyName = "uid" },
		"format":            func(c *saml.Config) { c.NameIDFormat = saml.NameIDEmail },
	} {
		got := trust(edit).Mark()
		if was, there := marks[got]; there {
			t.Errorf("%s: the same trust as %s: %q", name, was, got)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s: a secret is told: %q", name, got)
		}
		marks[got] = name
	}
	if got := newProvider(t, byMetadata(descriptor{}.String())).Trust().Issuer; got != idpEntity {
		t.Errorf("of metadata in a file: Issuer = %q, want %q", got, idpEntity)
	}
}

// While metadata cannot be fetched again, logins go on and Stale says why.
func TestStale(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(descriptor{}.String()))
	}))
	t.Cleanup(server.Close)
	var now atomic.Pointer[time.Time]
	now.Store(&epoch)
	p := newProvider(t, saml.Config{
		EntityID: spEntity, MetadataURL: server.URL, InsecureAllowHTTP: true, HTTPClient: server.Client(),
		Now: func() time.Time { return *now.Load() },
	})
	if err := p.Stale(); err != nil {
		t.Errorf("before the first login: Stale = %v", err)
	}
	begin(t, p, provider.Request{})
	if err := p.Stale(); err != nil {
		t.Errorf("Stale = %v although nothing is amiss", err)
	}
	down.Store(true)
	late := epoch.Add(24 * time.Hour)
	now.Store(&late)
	for deadline := time.Now().Add(time.Minute); p.Stale() == nil; {
		begin(t, p, provider.Request{})
		if time.Now().After(deadline) {
			t.Fatal("Stale does not say that metadata cannot be fetched")
		}
	}
	if err := p.Stale(); !strings.Contains(err.Error(), "status 502") {
		t.Errorf("Stale = %v, want the status", err)
	}
	down.Store(false)
	later := late.Add(time.Hour)
	now.Store(&later)
	for deadline := time.Now().Add(time.Minute); p.Stale() != nil; {
		begin(t, p, provider.Request{})
		if time.Now().After(deadline) {
			t.Fatalf("Stale = %v although metadata can be fetched again", p.Stale())
		}
	}
}
