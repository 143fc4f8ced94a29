package integration

import (
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// The npm package samlp, of Auth0, as the upstream. It verifies what the broker signs, and encrypts with AES-GCM.

//go:embed testdata/samlp.mjs
var samlpScript string

// samlpRows are providers of one broker, by alias.
var samlpRows = []struct {
	alias   string
	options map[string]any // of samlp.auth
	edit    func(*saml.Config)
	refused string // why, as the log has it
}{
	{alias: "assertion", options: map[string]any{}},
	{alias: "response", options: map[string]any{"signResponse": true, "signAssertion": false}},
	{alias: "both", options: map[string]any{"signResponse": true, "signatureAlgorithm": "rsa-sha256"}, edit: func(c *saml.Config) {
		c.RequestBinding, c.WantAssertionsSigned = saml.HTTPPost, true
	}},
	{alias: "aes128", options: map[string]any{"encryptionAlgorithm": "http://www.w3.org/2009/xmlenc11#aes128-gcm"}},
	{alias: "sha1", options: map[string]any{"signatureAlgorithm": "rsa-sha1", "digestAlgorithm": "sha1"}, refused: "rsa-sha1"},
	{alias: "sha1digest", options: map[string]any{"digestAlgorithm": "sha1"}, refused: "xmldsig#sha1"},
	{alias: "cbc", options: map[string]any{"encryptionAlgorithm": "http://www.w3.org/2001/04/xmlenc#aes256-cbc", "signResponse": true,
		"disallowEncryptionWithInsecureAlgorithm": false}, refused: "CBC mode"},
	{alias: "unsigned", options: map[string]any{"signAssertion": false}, refused: "neither the response nor the assertion is signed"},
	{alias: "audience", options: map[string]any{"audience": "https://another.example"}, refused: "audience is not"},
	{alias: "recipient", options: map[string]any{"recipient": "https://another.example"}, refused: "recipient is"},
	{alias: "answer", options: map[string]any{"inResponseTo": "_another"}, refused: "it answers another request"},
	{alias: "plain", edit: func(c *saml.Config) { c.WantAssertionsEncrypted = true }, refused: "the assertion is not encrypted",
		options: map[string]any{"encryptionCert": nil, "encryptionPublicKey": nil}},
}

func TestSAMLThroughSamlp(t *testing.T) {
	t.Parallel()
	requireNode(t, "samlp")
	rp := newToldApp(t)
	address := freePort(t)
	home := "http://" + address
	var peer *process
	var log notes
	srv := brokertest.Start(t, func(base string) broker.Config {
		c := broker.Config{
			Logger:     slog.New(slog.NewTextHandler(&log, nil)),
			Store:      sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Clients:    []store.Client{rp.Client()},
			ClientHTTP: provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
		}
		theirs, signing, decryption := newSAMLKey(t, nil), newSAMLKey(t, nil), newSAMLKey(t, nil)
		parties := map[string]any{}
		for _, row := range samlpRows {
			cfg := saml.Config{
				EntityID: base + "/" + row.alias, IdPEntityID: home + "/metadata", Certificates: []*x509.Certificate{theirs.Certificate},
				Endpoints:   saml.Endpoints{SingleSignOn: home + "/sso", SingleLogout: home + "/slo"},
				SigningKeys: []saml.Key{signing}, DecryptionKeys: []saml.Key{decryption},
				LogoutBinding: saml.HTTPPost, InsecureAllowHTTP: true,
			}
			if row.edit != nil {
				row.edit(&cfg)
			}
			c.Providers = append(c.Providers, broker.Provider{Alias: row.alias, Logout: provider.LogoutPerform, IdP: newSAML(t, cfg)})
			acs := brokertest.CallbackURL(base, row.alias)
			parties[cfg.EntityID] = map[string]any{
				"acs": acs, "slo": acs + "/logout", "options": row.options,
				"signing": inPEM("CERTIFICATE", signing.Certificate.Raw), "encryption": inPEM("CERTIFICATE", decryption.Certificate.Raw),
			}
		}
		key, cert := keyInPEM(t, theirs)
		_, port, _ := strings.Cut(address, ":")
		config, err := json.Marshal(map[string]any{"port": json.Number(port), "key": key, "cert": cert, "parties": parties})
		if err != nil {
			t.Fatal(err)
		}
		peer = startNode(t, "samlp", samlpScript, prints("issuer "), string(config))
		return c
	})
	rp.Connect(srv.URL)
	for _, row := range samlpRows {
		browser := brokertest.NewBrowser(t)
		browser.Get(home + "/as/" + row.alias)
		log.take()
		page := browser.Get(rp.LoginURL()).Click("Continue with " + row.alias)
		for range 2 { // the broker's form where it posts, and the one of samlp
			if strings.HasPrefix(page.URL.String(), home) || strings.Contains(page.Body, "SAMLRequest") {
				page = page.Submit(nil)
			}
		}
		in := strings.HasPrefix(page.URL.String(), rp.Client().RedirectURIs[0])
		login, said := rp.Login(), log.take()
		switch {
		case row.refused != "" && (in || !strings.Contains(said, row.refused) || page.Status < 400 || login.Claims["name"] == row.alias+" of samlp"):
			t.Errorf("%s: at %s (status %d), want a refusal because of %q:\n%s", row.alias, page.URL, page.Status, row.refused, said)
		case row.refused == "" && (!in || login.Claims["name"] != row.alias+" of samlp" || login.Claims["email"] != row.alias+"@samlp.example"):
			t.Errorf("%s: at %s (status %d) with %v, want the application:\n%s", row.alias, page.URL, page.Status, login.Claims, page.Body)
		}
		if row.refused != "" || !in {
			continue
		}
		// Out, by forms with signatures in the message.
		page = browser.Get(rp.LogoutURL(url.Values{"id_token_hint": {login.IDToken}}))
		for range 2 {
			if _, form, ok := page.Form(); ok && (form.Has("SAMLRequest") || form.Has("SAMLResponse")) {
				page = page.Submit(nil)
			}
		}
		if !strings.HasPrefix(page.URL.String(), rp.SignedOutURL()) {
			t.Errorf("%s: after the sign-out at %s (status %d), want the application:\n%s", row.alias, page.URL, page.Status, page.Body)
		}
		if said := "signed out samlp-" + row.alias; !strings.Contains(peer.output(), said) {
			t.Errorf("%s: samlp does not say %q", row.alias, said)
		}
	}
}

// notes are what was written since they were taken last.
type notes struct {
	mu      sync.Mutex
	written []byte
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.written = append(n.written, p...)
	return len(p), nil
}

func (n *notes) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	written := string(n.written)
	n.written = nil
	return written
}
