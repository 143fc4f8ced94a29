package broker_test

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// samlTarget is a whole broker, as forgers see it.
func samlTarget(t *testing.T) providertest.SAMLTarget {
	t.Helper()
	var idp *providertest.SAML
	w := newSAMLWorld(t, func(s *saml.Config, _ *broker.Provider) {
		var err error
		if idp, err = providertest.NewSAML(providertest.SAMLConfig{URL: samlIdP, Alg: "ES256", Now: s.Now}); err != nil {
			t.Fatal(err)
		}
		s.IdPEntityID, s.Certificates, s.DecryptionKeys = idp.EntityID(), idp.Certificates(), []saml.Key{samlKey()}
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
		}
	}}
}

// What a provider of SAML refuses, the broker around it refuses; what it sees to itself (state, replay, whose session ends)
// it sees to.
func TestSAMLForgeries(t *testing.T) {
	t.Parallel()
	if n := len(providertest.ReplaySAML(t, samlTarget(t))); n < 700 {
		t.Errorf("%d forgeries", n)
	}
}
