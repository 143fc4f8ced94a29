package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// newRSA returns a self-signed certificate and its key, which sign and decrypt, in PEM.
func newRSA(t *testing.T) (certificate *x509.Certificate, cert, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// A server with nothing but this file signs users in and out by SAML, with metadata that it fetches and with metadata that it reads.
func TestSAML(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	idp := providertest.StartSAML(t, providertest.SAMLConfig{AutoLogin: "alice", SignMetadata: true})
	certificate, cert, key := newRSA(t)
	s.write("cert.pem", cert)
	s.write("key.pem", key)
	s.write("idp.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: idp.Certificates()[0].Raw})))
	s.write("metadata.xml", brokertest.NewBrowser(t).Get(idp.EntityID()).Body)
	for _, alias := range []string{"byurl", "byfile"} {
		acs := brokertest.CallbackURL(s.url+"/id", alias)
		idp.Register(providertest.SAMLServiceProvider{
			EntityID: "urn:" + alias, ACS: []string{acs}, Logout: acs + "/logout",
			Certificates: []*x509.Certificate{certificate}, EncryptTo: certificate,
		})
	}
	const rest = `
    logout: perform
    saml:
      entity_id: urn:%[1]s
      %[2]s
      metadata_certificates: idp.pem
      signing_keys: [{private: {file: key.pem}, certificate: cert.pem}]
      decryption_keys: [{private: {file: key.pem}, certificate: cert.pem}]
      key_names: id
      key_name_extension: true
      want_assertions_encrypted: true
      unsolicited: {portal: "client:rp"}
      insecure_allow_http: true
      insecure_allow_private_networks: true
`
	provider := func(alias, metadata string) string {
		return "  - alias: " + alias + "\n    type: saml\n    name: " + alias + fmt.Sprintf(rest, alias, metadata)
	}
	text := strings.Replace(s.yaml(), "clients:\n", provider("byurl", "metadata_url: "+idp.EntityID())+provider("byfile", "metadata_file: metadata.xml")+"clients:\n", 1)
	home := s.rp.Client().HomeURL
	s.write("server.yaml", text+"    home_url: "+home+"\n    post_logout_redirect_uris: ["+s.rp.SignedOutURL()+"]\n")
	s.start()
	s.rp.Connect(s.url + "/id")
	for _, row := range []struct{ alias, user, name string }{{"byurl", "alice", "Alice Liddell"}, {"byfile", "bob", "Bob Sawyer"}} {
		alias := row.alias
		idp.LoginAs(row.user)
		b := brokertest.NewBrowser(t)
		page := b.Get(s.rp.LoginURL()).Click("Continue with " + alias)
		if _, form, ok := page.Form(); ok && form.Has("SAMLResponse") {
			page = page.Submit(nil) // as its script does
		}
		login := s.rp.Login()
		if page.Status != http.StatusOK || login.Claims["name"] != row.name {
			t.Fatalf("%s: at %s (status %d), claims %v\n%s", alias, page.URL, page.Status, login.Claims, page.Body)
		}
		page = b.Get(s.rp.LogoutURL(nil))
		if !strings.HasPrefix(page.URL.String(), s.rp.SignedOutURL()) || !strings.Contains(strings.Join(page.Trail, " "), idp.SLO()) {
			t.Errorf("%s: signed out by way of %q", alias, page.Trail)
		}
		if request := idp.Requests("AuthnRequest"); !strings.Contains(request[len(request)-1].XML, "urn:keycloak:ext:key:1.0") {
			t.Errorf("%s: the request does not name its key", alias)
		}
		page = b.Get(idp.StartURL("urn:"+alias, "portal")).Submit(nil)
		if !strings.HasPrefix(page.URL.String(), home) || page.Status != http.StatusOK {
			t.Errorf("%s: from the portal to %s (status %d), want %s\n%s", alias, page.URL, page.Status, home, page.Body)
		}
	}
}
