package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

const (
	xmlsecSP  = "https://sp.example/saml"
	xmlsecACS = "https://sp.example/acs"
)

// xmlsec runs the XML Security Library, which knows nothing of either side here.
func xmlsec(t *testing.T, document string, args ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "document.xml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, name := range []string{"protocol:Response", "protocol:AuthnRequest", "assertion:Assertion", "metadata:EntityDescriptor"} {
		ids = append(ids, "--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:"+name)
	}
	cmd := exec.CommandContext(t.Context(), requireProgram(t, "xmlsec1"), append(append(args[:1:1], ids...), append(args[1:], file)...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), err
}

// xmlsecKey makes a key and writes it and its certificate for xmlsec1.
func xmlsecKey(t *testing.T, private crypto.Signer) (key saml.Key, keyFile, certFile string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return saml.Key{Private: private, Certificate: cert}, pemFile(t, "PRIVATE KEY", pkcs8), pemFile(t, "CERTIFICATE", der)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var xmlsecField = regexp.MustCompile(`name="SAMLResponse" value="([^"]*)"`)

// xmlsecAnswer sends a request to the identity provider, and returns the document of its answer.
func xmlsecAnswer(t *testing.T, r *provider.Redirect) string {
	t.Helper()
	resp, err := http.PostForm(r.URL, r.Form) //nolint:noctx // to this process
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := xmlsecField.FindSubmatch(body)
	if m == nil {
		t.Fatalf("no answer: %s", body)
	}
	text, err := base64.StdEncoding.DecodeString(html.UnescapeString(string(m[1])))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the broker and the identity provider of providertest sign and encrypt, xmlsec1 verifies and decrypts.
func TestXMLSec(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, keyFile, certFile := xmlsecKey(t, rsaKey)
	for _, tt := range []struct {
		alg  string
		sign providertest.SAMLSign
		data string
	}{
		{"RS256", providertest.SAMLSignAssertion, ""}, {"RS512", providertest.SAMLSignResponse, ""}, {"RS256", providertest.SAMLSignBoth, ""},
		{"ES256", providertest.SAMLSignAssertion, ""}, {"ES384", providertest.SAMLSignResponse, ""}, {"ES512", providertest.SAMLSignBoth, ""},
		{"RS256", providertest.SAMLSignAssertion, "aes128-gcm"}, {"ES256", providertest.SAMLSignAssertion, "aes256-gcm"},
		{"RS256", providertest.SAMLSignAssertion, "aes128-cbc"}, {"RS256", providertest.SAMLSignAssertion, "aes256-cbc"},
	} {
		t.Run(strings.Join([]string{tt.alg, string(tt.sign), tt.data}, " "), func(t *testing.T) {
			t.Parallel()
			sp := providertest.SAMLServiceProvider{EntityID: xmlsecSP, ACS: []string{xmlsecACS}, Certificates: []*x509.Certificate{key.Certificate}, Sign: tt.sign}
			if tt.data != "" {
				sp.EncryptTo, sp.Encryption = key.Certificate, providertest.SAMLEncryption{Data: tt.data}
			}
			idp := providertest.StartSAML(t, providertest.SAMLConfig{Alg: tt.alg, AutoLogin: "alice", SignMetadata: true, Providers: []providertest.SAMLServiceProvider{sp}})
			broker, err := saml.New(saml.Config{EntityID: xmlsecSP, IdPEntityID: idp.EntityID(), MetadataURL: idp.EntityID(), SigningKeys: []saml.Key{key},
				RequestBinding: saml.HTTPPost, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true})
			if err != nil {
				t.Fatal(err)
			}
			redirect, err := broker.Begin(t.Context(), provider.Request{RedirectURI: xmlsecACS, State: "state"})
			if err != nil {
				t.Fatal(err)
			}
			request, err := base64.StdEncoding.DecodeString(redirect.Form.Get("SAMLRequest"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := xmlsec(t, string(request), "--verify", "--pubkey-cert-pem", certFile); err != nil {
				t.Errorf("the broker's request: %v", err)
			}
			cert := pemFile(t, "CERTIFICATE", idp.Certificates()[0].Raw)
			answer := xmlsecAnswer(t, redirect)
			if tt.data != "" {
				if answer, err = xmlsec(t, answer, "--decrypt", "--privkey-pem", keyFile); err != nil {
					t.Fatalf("decrypt: %v", err)
				}
				if !strings.Contains(answer, "alice@example.com") {
					t.Errorf("decrypted: %s", answer)
				}
			}
			signatures := map[providertest.SAMLSign][]string{
				providertest.SAMLSignAssertion: {"Assertion"}, providertest.SAMLSignResponse: {"Response"}, providertest.SAMLSignBoth: {"Response", "Assertion"},
			}[tt.sign]
			for _, tag := range signatures {
				node := "/*[local-name()='Response']/*[local-name()='Signature']"
				if tag == "Assertion" {
					node = "//*[local-name()='Assertion']/*[local-name()='Signature']"
				}
				if _, err := xmlsec(t, answer, "--verify", "--pubkey-cert-pem", cert, "--node-xpath", node); err != nil {
					t.Errorf("%s: %v", tag, err)
				}
				changed := strings.ReplaceAll(answer, "alice@example.com", "mallory@example.com")
				if _, err := xmlsec(t, changed, "--verify", "--pubkey-cert-pem", cert, "--node-xpath", node); err == nil {
					t.Errorf("%s: verified though it was changed", tag)
				}
			}
			metadata, err := idp.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := xmlsec(t, metadata, "--verify", "--pubkey-cert-pem", cert); err != nil {
				t.Errorf("metadata: %v", err)
			}
		})
	}
}

// xmlsecTemplate is a signature that xmlsec1 fills in.
const xmlsecTemplate = `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>` +
	`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#%s"/><ds:Reference URI="#%s"><ds:Transforms>` +
	`<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>` +
	`</ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/></ds:Signature>`

// What xmlsec1 signs, both sides here take: a request at the identity provider, and an answer at the broker.
func TestXMLSecSigns(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string]crypto.Signer{"rsa-sha256": rsaKey, "ecdsa-sha256": ecKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, keyFile, _ := xmlsecKey(t, private)
			sign := func(text, id string) string {
				t.Helper()
				text = strings.Replace(text, "</saml:Issuer>", "</saml:Issuer>"+fmt.Sprintf(xmlsecTemplate, name, id), 1)
				signed, err := xmlsec(t, text, "--sign", "--privkey-pem", keyFile)
				if err != nil {
					t.Fatal(err)
				}
				return signed
			}
			idp := providertest.StartSAML(t, providertest.SAMLConfig{AutoLogin: "alice", Providers: []providertest.SAMLServiceProvider{{
				EntityID: xmlsecSP, ACS: []string{xmlsecACS}, Certificates: []*x509.Certificate{key.Certificate},
			}}})
			now := time.Now().UTC().Format("2006-01-02T15:04:05Z")
			request := sign(fmt.Sprintf(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r" Version="2.0" `+
				`IssueInstant="%s" Destination="%s"><saml:Issuer>%s</saml:Issuer></samlp:AuthnRequest>`, now, idp.SSO(), xmlsecSP), "_r")
			answer := xmlsecAnswer(t, &provider.Redirect{URL: idp.SSO(), Form: url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(request))}}})
			if !strings.Contains(answer, `InResponseTo="_r"`) {
				t.Errorf("answer: %s", answer)
			}

			broker, err := saml.New(saml.Config{EntityID: xmlsecSP, IdPEntityID: idp.EntityID(), Certificates: []*x509.Certificate{key.Certificate},
				Endpoints: saml.Endpoints{SingleSignOn: idp.SSO()}, SigningKeys: []saml.Key{key}, RequestBinding: saml.HTTPPost, InsecureAllowHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			redirect, err := broker.Begin(t.Context(), provider.Request{RedirectURI: xmlsecACS, State: "state"})
			if err != nil {
				t.Fatal(err)
			}
			// The identity provider's own signature is taken out, and xmlsec1 signs.
			genuine := regexp.MustCompile(`(?s)<ds:Signature .*</ds:Signature>`).ReplaceAllString(xmlsecAnswer(t, redirect), "")
			id := regexp.MustCompile(`ID="([^"]*)"`).FindStringSubmatch(genuine)[1]
			signed := sign(genuine, id)
			signed = signed[strings.Index(signed, "<samlp:Response"):]
			finish := func(document string) (*provider.Identity, error) {
				return broker.Finish(t.Context(), provider.Callback{URL: xmlsecACS, Data: redirect.Data, Params: url.Values{
					"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(document))}, "RelayState": {"state"}}})
			}
			if who, err := finish(signed); err != nil || who.Email != "alice@example.com" {
				t.Errorf("signed by xmlsec1: %+v, %v\n%s", who, err, signed)
			}
			if _, err := finish(strings.ReplaceAll(signed, "alice@example.com", "mallory@example.com")); err == nil {
				t.Error("taken though it was changed")
			}
		})
	}
}
