package integration

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// The identity provider of providertest, which all attacks are made with, against xmlsec1 too: were it wrong in the way that
// provider/saml is, the two would agree.

var samlResponseField = regexp.MustCompile(`name="SAMLResponse" value="([^"]*)"`)

// idpAnswer posts a request to the identity provider, and returns the document of its answer.
func idpAnswer(t *testing.T, idp *providertest.SAML, request string) string {
	t.Helper()
	form := url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(request))}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, idp.SSO(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := samlResponseField.FindSubmatch(body)
	if m == nil {
		t.Fatalf("no answer: %s", body)
	}
	text, err := base64.StdEncoding.DecodeString(html.UnescapeString(string(m[1])))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func idpRequest(idp *providertest.SAML, id, signature string) string {
	return fmt.Sprintf(`<samlp:AuthnRequest xmlns:samlp="%s" xmlns:saml="%s" ID="%s" Version="2.0" IssueInstant="%s" Destination="%s"><saml:Issuer>%s</saml:Issuer>%s</samlp:AuthnRequest>`,
		nsSAMLProtocol, nsSAMLAssertion, id, time.Now().UTC().Format("2006-01-02T15:04:05Z"), idp.SSO(), xmlsecSP, signature)
}

// What it signs and encrypts, xmlsec1 verifies and decrypts, and not if it was changed.
func TestXMLSecVerifiesIdP(t *testing.T) {
	t.Parallel()
	key := newSAMLKey(t, nil)
	for _, tt := range []struct {
		alg  string
		sign providertest.SAMLSign
		data string
	}{
		{"RS256", providertest.SAMLSignAssertion, ""}, {"RS384", providertest.SAMLSignResponse, ""}, {"RS512", providertest.SAMLSignBoth, ""},
		{"ES256", providertest.SAMLSignAssertion, ""}, {"ES384", providertest.SAMLSignResponse, ""}, {"ES512", providertest.SAMLSignBoth, ""},
		{"RS256", providertest.SAMLSignAssertion, "aes128-gcm"}, {"ES256", providertest.SAMLSignAssertion, "aes256-gcm"},
		{"RS256", providertest.SAMLSignAssertion, "aes128-cbc"}, {"ES256", providertest.SAMLSignAssertion, "aes256-cbc"},
	} {
		t.Run(strings.Join([]string{tt.alg, string(tt.sign), tt.data}, " "), func(t *testing.T) {
			t.Parallel()
			x := newXMLSec(t)
			sp := providertest.SAMLServiceProvider{EntityID: xmlsecSP, ACS: []string{xmlsecACS}, Sign: tt.sign}
			if tt.data != "" {
				sp.EncryptTo, sp.Encryption = key.Certificate, providertest.SAMLEncryption{Data: tt.data}
			}
			idp := providertest.StartSAML(t, providertest.SAMLConfig{
				Alg: tt.alg, AutoLogin: "alice", SignMetadata: true, Providers: []providertest.SAMLServiceProvider{sp},
			})
			answer := idpAnswer(t, idp, idpRequest(idp, "_r", ""))
			if tt.data != "" {
				private, _ := keyInPEM(t, key)
				plain, said, err := x.run("--decrypt", "--privkey-pem", x.file("key.pem", private), x.file("encrypted.xml", answer))
				if err != nil || !strings.Contains(plain, "alice@example.com") {
					t.Fatalf("decrypt: %v %s\n%s", err, said, plain)
				}
				answer = plain
			}
			idpKey := x.file("idp.pem", inPEM("CERTIFICATE", idp.Certificates()[0].Raw))
			verify := func(document, of string) error {
				_, said, err := x.run("--verify", "--pubkey-cert-pem", idpKey, "--id-attr:ID", nsSAMLProtocol+":Response", "--id-attr:ID", nsSAMLAssertion+":Assertion",
					"--node-xpath", "//*[local-name()='"+of+"']/*[local-name()='Signature']", x.file("in.xml", document))
				if err != nil {
					return fmt.Errorf("%w: %s", err, said)
				}
				return nil
			}
			for _, of := range map[providertest.SAMLSign][]string{
				providertest.SAMLSignAssertion: {"Assertion"}, providertest.SAMLSignResponse: {"Response"}, providertest.SAMLSignBoth: {"Response", "Assertion"},
			}[tt.sign] {
				if err := verify(answer, of); err != nil {
					t.Errorf("%s: %v", of, err)
				}
				if verify(strings.ReplaceAll(answer, "alice@example.com", "mallory@example.com"), of) == nil {
					t.Errorf("%s: verified though it was changed", of)
				}
			}
			metadata, err := idp.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			if err := x.verify(metadata, nsSAMLMetadata+":EntityDescriptor", saml.Key{Certificate: idp.Certificates()[0]}); err != nil {
				t.Errorf("metadata: %v", err)
			}
		})
	}
}

// What xmlsec1 signs, it takes, and not if it was changed.
func TestIdPTakesWhatXMLSecSigns(t *testing.T) {
	t.Parallel()
	for algorithm, key := range map[string]saml.Key{"rsa-sha512": newSAMLKey(t, nil), "ecdsa-sha384": newSAMLKey(t, newEC(t, elliptic.P384()))} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			x := newXMLSec(t)
			idp := providertest.StartSAML(t, providertest.SAMLConfig{Alg: "ES256", AutoLogin: "alice", Providers: []providertest.SAMLServiceProvider{{
				EntityID: xmlsecSP, ACS: []string{xmlsecACS}, Certificates: []*x509.Certificate{key.Certificate},
			}}})
			empty := emptySignature("_r", "http://www.w3.org/2001/04/xmldsig-more#"+algorithm, nsXMLEnc+"sha256")
			request := x.sign(idpRequest(idp, "_r", empty), nsSAMLProtocol+":AuthnRequest", key)
			if answer := idpAnswer(t, idp, request); !strings.Contains(answer, `InResponseTo="_r"`) {
				t.Errorf("answer: %s", answer)
			}
			changed := strings.Replace(request, "<samlp:AuthnRequest", `<samlp:AuthnRequest ForceAuthn="true"`, 1)
			resp, err := http.PostForm(idp.SSO(), url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte(changed))}})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("changed: %s", resp.Status)
			}
		})
	}
}
