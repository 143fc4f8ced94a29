package integration

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// SAML identity providers that others wrote as upstreams: LemonLDAP::NG with the library lasso here, npm samlp in
// samlp_test.go. Broker, store and application are real.

// newSAMLKey makes a key pair and a certificate of it.
func newSAMLKey(t testing.TB, private crypto.Signer) saml.Key {
	t.Helper()
	if private == nil {
		var err error
		if private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return saml.Key{Private: private, Certificate: certificate}
}

func newSAML(t testing.TB, cfg saml.Config) *saml.Provider {
	t.Helper()
	idp, err := saml.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return idp
}

// metadataOf returns what the broker at base publishes for a provider.
func metadataOf(t testing.TB, idp *saml.Provider, base, alias string) string {
	t.Helper()
	at := brokertest.CallbackURL(base, alias)
	d, err := idp.Descriptor(t.Context(), provider.DescriptorRequest{URL: at + "/descriptor", RedirectURI: at, LogoutURI: at + "/logout"})
	if err != nil {
		t.Fatal(err)
	}
	return string(d.Body)
}

// keyInPEM returns the private key and the certificate.
func keyInPEM(t testing.TB, k saml.Key) (private, certificate string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("PRIVATE KEY", der), inPEM("CERTIFICATE", k.Certificate.Raw)
}

// lemonSAML is a portal's configuration as an identity provider of those whose metadata is given by alias.
func lemonSAML(t *testing.T, metadata map[string]string, edit func(alias string, options map[string]any)) map[string]any {
	t.Helper()
	private, certificate := keyInPEM(t, newSAMLKey(t, nil))
	documents, options, attributes := map[string]any{}, map[string]any{}, map[string]any{}
	for alias, document := range metadata {
		documents[alias] = map[string]string{"samlSPMetaDataXML": document}
		o := map[string]any{
			"samlSPMetaDataOptionsNameIDFormat":             "persistent",
			"samlSPMetaDataOptionsSignSSOMessage":           1,
			"samlSPMetaDataOptionsSignSLOMessage":           1,
			"samlSPMetaDataOptionsCheckSSOMessageSignature": 1,
			"samlSPMetaDataOptionsCheckSLOMessageSignature": 1,
			"samlSPMetaDataOptionsSignatureMethod":          "RSA_SHA256",
		}
		edit(alias, o)
		options[alias] = o
		attributes[alias] = map[string]string{
			"uid": "1;uid;;uid", "mail": "1;urn:oid:0.9.2342.19200300.100.1.3;urn:oasis:names:tc:SAML:2.0:attrname-format:uri;mail", "cn": "1;cn;;displayName",
		}
	}
	return map[string]any{
		"issuerDBSAMLActivation": 1, "sameSite": "Lax", "samlServicePrivateKeySig": private, "samlServicePublicKeySig": certificate,
		"samlSPMetaDataXML": documents, "samlSPMetaDataOptions": options, "samlSPMetaDataExportedAttributes": attributes,
	}
}

func TestSAMLThroughLemonLDAP(t *testing.T) {
	t.Parallel()
	var portal string
	var lemon *process
	rp := newToldApp(t)
	srv := brokertest.Start(t, func(base string) broker.Config {
		signing, decryption := newSAMLKey(t, nil), newSAMLKey(t, nil)
		config := func(alias string) saml.Config {
			return saml.Config{
				EntityID: base + "/" + alias, SigningKeys: []saml.Key{signing}, DecryptionKeys: []saml.Key{decryption},
				MetadataURL: "http://127.0.0.1/not-yet", InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
			}
		}
		metadata := map[string]string{}
		for _, alias := range []string{"plain", "sealed", "strict"} {
			metadata[alias] = metadataOf(t, newSAML(t, config(alias)), base, alias)
		}
		portal, lemon = startPortal(t, "localhost", func(string) map[string]any {
			return lemonSAML(t, metadata, func(alias string, o map[string]any) {
				if alias != "plain" {
					o["samlSPMetaDataOptionsEncryptionMode"] = "assertion"
				}
			})
		})
		upstream := func(alias string, edit func(*saml.Config)) broker.Provider {
			c := config(alias)
			c.MetadataURL, c.IdPEntityID = portal+"/saml/metadata", portal+"/saml/metadata"
			edit(&c)
			return broker.Provider{Alias: alias, Logout: provider.LogoutPerform, IdP: newSAML(t, c)}
		}
		return broker.Config{
			Store: sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers: []broker.Provider{
				upstream("plain", func(c *saml.Config) { c.KeyNames, c.KeyNameExtension = saml.KeyNameID, true }), // which it passes over
				upstream("sealed", func(c *saml.Config) {
					c.WantAssertionsEncrypted, c.InsecureAllowCBC, c.RequestBinding = true, true, saml.HTTPPost
				}),
				upstream("strict", func(*saml.Config) {}),
			},
			Clients:    []store.Client{rp.Client()},
			ClientHTTP: provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
		}
	})
	rp.Connect(srv.URL)
	signIn := func(browser *brokertest.Browser, alias, user string) *brokertest.Page {
		t.Helper()
		page := browser.Get(rp.LoginURL()).Click("Continue with " + alias)
		if _, form, ok := page.Form(); ok && form.Has("SAMLRequest") {
			page = page.Submit(nil) // as the page's script does
		}
		if !strings.HasPrefix(page.URL.String(), portal) {
			t.Fatalf("at %s (status %d), want the upstream's login page:\n%s", page.URL, page.Status, page.Body)
		}
		page = page.Submit(url.Values{"user": {user}, "password": {user}})
		if _, form, ok := page.Form(); !ok || !form.Has("SAMLResponse") {
			t.Fatalf("%s: at %s (status %d), want a page that posts an answer:\n%s", user, page.URL, page.Status, page.Body)
		}
		return page.Submit(nil)
	}
	signedIn := func(browser *brokertest.Browser, alias, user string) brokertest.Login {
		t.Helper()
		page := signIn(browser, alias, user)
		if !strings.HasPrefix(page.URL.String(), rp.Client().RedirectURIs[0]) {
			t.Fatalf("%s by %s: at %s (status %d), want the application:\n%s", user, alias, page.URL, page.Status, page.Body)
		}
		return rp.Login()
	}

	browser := brokertest.NewBrowser(t)
	first := signedIn(browser, "plain", "dwho")
	equal(t, "name", first.Claims["name"], any("Doctor Who"))
	equal(t, "e-mail address", first.Claims["email"], any("dwho@badwolf.org"))
	other := signedIn(brokertest.NewBrowser(t), "sealed", "rtyler")
	equal(t, "somebody else's name", other.Claims["name"], any("Rose Tyler"))
	if page := signIn(brokertest.NewBrowser(t), "strict", "msmith"); page.Status < 400 || rp.Login().Claims["name"] == "Mr Smith" {
		t.Errorf("AES-CBC without InsecureAllowCBC: at %s (status %d)", page.URL, page.Status)
	}

	// Out from the application: request and answer by redirects with detached signatures.
	page := browser.Get(rp.LogoutURL(url.Values{"id_token_hint": {first.IDToken}}))
	if !strings.HasPrefix(page.URL.String(), rp.SignedOutURL()) {
		t.Errorf("after the sign-out: at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	wantDetached(t, page.Trail, portal+"/saml/singleLogout?", "SAMLRequest")
	wantDetached(t, page.Trail, brokertest.CallbackURL(srv.URL, "plain")+"/logout?", "SAMLResponse")
	if again := signedIn(browser, "plain", "dwho"); again.Subject != first.Subject || first.Subject == "" { // it asked who is there
		t.Errorf("subject of the second login: got %q, want %q", again.Subject, first.Subject)
	}

	// Out from the portal, which asks all whom it told about the user in frames.
	told := len(rp.Logouts())
	page = browser.Get(portal + "/?logout=1")
	frames := page.Frames()
	if len(frames) != 1 {
		t.Fatalf("%d frames of a page with status %d:\n%s", len(frames), page.Status, page.Body)
	}
	wantDetached(t, frames, brokertest.CallbackURL(srv.URL, "plain")+"/logout?", "SAMLRequest")
	// It says so when it has verified the answer, as it has no page for that.
	if said := "Unable to store SLO status for plain because there is no RelayState"; !strings.Contains(lemon.output(), said) {
		t.Errorf("the portal has not taken the answer to its request:\n%s", lemon.output())
	}
	if logouts := rp.Logouts(); len(logouts) != told+1 || logouts[told].Subject != first.Subject {
		t.Errorf("the application was told %v, want one more about %s", logouts[told:], first.Subject)
	}
}

// wantDetached fails the test if no URL of a trail begins with prefix and brings the message with a signature over the query.
func wantDetached(t *testing.T, trail []string, prefix, message string) {
	t.Helper()
	for _, at := range trail {
		if !strings.HasPrefix(at, prefix) {
			continue
		}
		u, err := url.Parse(at)
		if err == nil && u.Query().Has(message) && u.Query().Get("Signature") != "" && u.Query().Get("SigAlg") == string(saml.RSASHA256) {
			return
		}
	}
	t.Errorf("no signed %s at %s, only:\n%s", message, prefix, strings.Join(trail, "\n"))
}
