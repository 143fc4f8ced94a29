// Package providertest is an upstream for tests and demonstrations: an OpenID Provider, or a SAML 2.0 identity provider, in
// the process, with scripted users, consent, refusals and faults.
//
// It owns the provider's side of the protocol and its pages. It is as strict as a provider should be, so that a client
// that works here works elsewhere, and it breaks where a test tells it to, so that a client that should refuse can be
// seen to refuse. It knows nothing of brokers.
//
//	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice"})
//	client := op.Register(providertest.Client{RedirectURIs: []string{callback}})
//	// configure what is tested with op.Issuer(), client.ID and client.Secret, and log in: alice goes straight through
//
//	op.LoginAs("bob")                        // somebody else
//	op.Break(providertest.NonceWrong)        // must be refused now
//	op.Break()                               // healed
//	op.RotateKeys()                          // must go on working
//	got := op.Requests(providertest.Token)   // what arrived
//
// Without AutoLogin there is a page. A test posts to the page's own URL what a person would click: user=alice (subject,
// username or e-mail address), refuse=1, or consent=allow. A program that wants a demonstration provider mounts
// [NewOIDC] on a listener of its own.
//
// [StartSAML] and [NewSAML] are the same for SAML 2.0. [ReplaySAML] sends a service provider every forgery of a SAML message that
// is known, and fails the test for each that it takes, or that costs it much:
//
//	providertest.ReplaySAML(t, providertest.SAMLProviderTarget(idp, provider, acs, logout))
package providertest

import (
	"net/http/httptest"
	"testing"
)

// StartOIDC serves a provider on a loopback address until the test has ended.
func StartOIDC(t testing.TB, cfg OIDCConfig) *OIDC {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	cfg.Issuer = "http://" + server.Listener.Addr().String() + cfg.Issuer
	op, err := NewOIDC(cfg)
	if err != nil {
		server.Listener.Close()
		t.Fatal(err)
	}
	server.Config.Handler = op
	server.Start()
	t.Cleanup(func() {
		server.Config.Handler.(*OIDC).Break() // releases who waits for a slow answer
		stop(server)
	})
	return op
}

// stop ends a server and forgets what it served. The testing package keeps clean-ups until the last test has ended, and with
// them all that they refer to.
func stop(server *httptest.Server) {
	server.Close()
	server.Config.Handler = nil
}
