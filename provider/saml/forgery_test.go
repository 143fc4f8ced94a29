package saml_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func forgeryTarget(t *testing.T, url, alg string, edit func(*saml.Config)) providertest.SAMLTarget {
	t.Helper()
	idp, err := providertest.NewSAML(providertest.SAMLConfig{URL: url, Alg: alg, Providers: []providertest.SAMLServiceProvider{{
		EntityID: spEntity, ACS: []string{acs}, Logout: sloAddress, Certificates: []*x509.Certificate{spKey().Certificate}, EncryptTo: spKey().Certificate,
	}}, LaxRequests: true})
	must(err)
	metadata, err := idp.Metadata()
	must(err)
	cfg := saml.Config{EntityID: spEntity, IdPEntityID: idp.EntityID(), Metadata: []byte(metadata), SigningKeys: []saml.Key{spKey()},
		DecryptionKeys: []saml.Key{spKey()}, InsecureAllowHTTP: true, HTTPClient: &http.Client{Transport: inProcess{idp}}}
	if edit != nil {
		edit(&cfg)
	}
	return providertest.SAMLProviderTarget(idp, newProvider(t, cfg), acs, sloAddress)
}

// inProcess takes requests to a handler without a network.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// Every forgery there is, against each way to sign and to decrypt.
func TestForgeries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, alg string
		edit      func(*saml.Config)
		least     int // that have to be sent
	}{
		{"RSA", "", nil, 800},
		{"ECDSA, CBC allowed", "ES256", func(c *saml.Config) { c.InsecureAllowCBC = true }, 700},
		{"ECDSA, unsolicited answers allowed", "ES384", func(c *saml.Config) { c.Unsolicited = map[string]string{"app": "/app"} }, 700},
		{"without a key to sign with", "ES256", func(c *saml.Config) { c.SigningKeys = nil }, 700},
		{"HTTP-Redirect", "", func(c *saml.Config) { c.ResponseBinding, c.LogoutBinding = saml.HTTPRedirect, saml.HTTPPost }, 150},
		{"HTTP-Artifact", "ES256", func(c *saml.Config) { c.ResponseBinding = saml.HTTPArtifact }, 150},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := 0
			for _, r := range providertest.ReplaySAML(t, forgeryTarget(t, "https://idp.example", tt.alg, tt.edit)) {
				if !r.LeftOut {
					sent++
				}
			}
			if t.Logf("%d were sent", sent); sent < tt.least {
				t.Errorf("%d were sent, want %d", sent, tt.least)
			}
		})
	}
}

// The answer of each identity provider is taken at its own endpoint and at no other.
func TestForgeriesAcross(t *testing.T) {
	t.Parallel()
	for _, binding := range []saml.Binding{saml.HTTPPost, saml.HTTPRedirect, saml.HTTPArtifact} {
		by := func(c *saml.Config) { c.ResponseBinding = binding }
		providertest.ReplaySAMLAcross(t, forgeryTarget(t, "https://a.example", "ES256", by), forgeryTarget(t, "https://b.example", "", by),
			forgeryTarget(t, "https://c.example", "ES256", by))
	}
}

// No forgery costs much, those least that are about nothing else.
func TestForgeriesCost(t *testing.T) { // alone, since it counts what the process does
	target := forgeryTarget(t, "https://idp.example", "ES256", nil)
	target.Budget = providertest.Cost{Time: 5 * time.Second, Bytes: 96 << 20}
	var most providertest.Cost
	for _, f := range providertest.SAMLForgeries() {
		if !strings.HasPrefix(f.Name, "bomb: ") && !strings.Contains(f.Name, "compressed") && !strings.Contains(f.Name, "5,000") {
			continue
		}
		r := f.Replay(t, target)
		if wrong := r.Wrong(); wrong != "" {
			t.Error(wrong)
		}
		most = providertest.Cost{Time: max(most.Time, r.Cost.Time), Bytes: max(most.Bytes, r.Cost.Bytes)}
	}
	t.Logf("at most %v", most)
}
