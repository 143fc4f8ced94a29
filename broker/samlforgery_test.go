package broker_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// inProcess takes requests to a handler without a network.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// A countingHandler counts lines of a log that say something.
type countingHandler struct {
	slog.Handler
	what string
	n    *atomic.Int64
}

func (h countingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h countingHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h countingHandler) WithGroup(string) slog.Handler            { return h }
func (h countingHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.what {
		h.n.Add(1)
	}
	return nil
}

// samlTarget is a whole broker, as forgers see it.
func samlTarget(t *testing.T, binding saml.Binding) providertest.SAMLTarget {
	t.Helper()
	var idp *providertest.SAML
	var doubts atomic.Int64 // about answers to a sign-out
	w := newWorld(t, func(c *broker.Config) {
		var err error
		if idp, err = providertest.NewSAML(providertest.SAMLConfig{URL: samlIdP, Alg: "ES256", Now: c.Now}); err != nil {
			t.Fatal(err)
		}
		p, err := saml.New(saml.Config{
			EntityID: c.BaseURL, IdPEntityID: idp.EntityID(), Certificates: idp.Certificates(), ResponseBinding: binding,
			Endpoints:   saml.Endpoints{SingleSignOn: idp.SSO(), SingleLogout: idp.SLO(), ArtifactResolution: idp.Artifacts()},
			SigningKeys: []saml.Key{samlKey()}, DecryptionKeys: []saml.Key{samlKey()}, Now: c.Now,
			HTTPClient: &http.Client{Transport: inProcess{idp}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Providers = append(c.Providers, broker.Provider{Alias: "saml", Name: "SAML", IdP: p, Logout: provider.LogoutPerform})
		c.Logger = slog.New(countingHandler{slog.DiscardHandler, "the upstream may not have signed out", &doubts})
	})
	idp.Register(providertest.SAMLServiceProvider{
		EntityID: w.base, ACS: []string{brokertest.CallbackURL(w.URL, "saml")}, Logout: brokertest.CallbackURL(w.URL, "saml") + "/logout",
		Certificates: []*x509.Certificate{samlKey().Certificate}, EncryptTo: samlKey().Certificate,
	})
	return providertest.SAMLTarget{IdP: idp, Begin: func(testing.TB) providertest.SAMLAttempt {
		b := stopped(t)
		bring := func(at string, form url.Values) *brokertest.Page {
			if form == nil {
				return b.Get(at)
			}
			return b.Post(at, form, samlPages)
		}
		return providertest.SAMLAttempt{
			URL: b.Get(w.URL + "/broker/saml/login?return_to=/deep").Header.Get("Location"),
			Finish: func(at string, form url.Values) (string, error) {
				page := bring(at, form)
				if page.Header.Get("Location") != w.Origin+"/deep" {
					return "", fmt.Errorf("status %d", page.Status)
				}
				links := w.linksOf(b.Get(w.Origin + "/").Who().ID)
				if len(links) != 1 {
					t.Errorf("%d links", len(links))
					return "", nil
				}
				return links[0].Subject, nil
			},
			Logout: func(at string, form url.Values) error {
				page := bring(at, form)
				if page.Status >= 400 {
					return fmt.Errorf("status %d", page.Status)
				}
				if w.signedIn(b) {
					return fmt.Errorf("signed in still, status %d", page.Status)
				}
				return nil
			},
			// The session here ends whatever is answered: an answer that is not believed is one that the log warns of.
			BeginLogout: func() (string, url.Values, error) {
				page := b.Post(w.URL+"/logout", url.Values{"confirm": {"1"}, "return_to": {w.Origin + "/bye"}}, "")
				if w.signedIn(b) {
					t.Error("signed in still")
				}
				return page.Header.Get("Location"), nil, nil
			},
			FinishLogout: func(at string, form url.Values) error {
				before := doubts.Load()
				page := bring(at, form)
				if page.Status >= 400 || doubts.Load() > before {
					return fmt.Errorf("status %d, %d warnings", page.Status, doubts.Load()-before)
				}
				return nil
			},
		}
	}}
}

// What a provider of SAML refuses, the broker around it refuses; what it sees to itself (state, replay, whose session ends)
// it sees to.
func TestSAMLForgeries(t *testing.T) {
	t.Parallel()
	for binding, least := range map[saml.Binding]int{saml.HTTPPost: 700, saml.HTTPRedirect: 150, saml.HTTPArtifact: 150} {
		t.Run(string(binding[strings.LastIndex(string(binding), ":")+1:]), func(t *testing.T) {
			t.Parallel()
			sent := 0
			for _, r := range providertest.ReplaySAML(t, samlTarget(t, binding)) {
				if !r.LeftOut {
					sent++
				}
			}
			if sent < least {
				t.Errorf("%d were sent, want %d", sent, least)
			}
		})
	}
}
