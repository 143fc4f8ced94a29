package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// xmlsec1, the reference implementation of XML signatures and encryption on libxml2, as the oracle: it verifies what
// provider/saml signs, and provider/saml takes what it has signed and encrypted.

const (
	nsSAMLProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsSAMLAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsSAMLMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsXMLEnc        = "http://www.w3.org/2001/04/xmlenc#"
	nsXMLEnc11      = "http://www.w3.org/2009/xmlenc11#"
	xmlsecIdP       = "https://idp.example"
	xmlsecSP        = "https://sp.example"
	xmlsecACS       = "https://sp.example/acs"
)

// xmlsec is a folder in which xmlsec1 works.
type xmlsec struct {
	t       *testing.T
	program string
	dir     string
}

func newXMLSec(t *testing.T) *xmlsec {
	t.Helper()
	return &xmlsec{t: t, program: requireProgram(t, "xmlsec1"), dir: t.TempDir()}
}

func (x *xmlsec) file(name, text string) string {
	x.t.Helper()
	name = filepath.Join(x.dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
	return name
}

// run returns what the program writes to the file after --output, and what it says.
func (x *xmlsec) run(args ...string) (written, said string, err error) {
	x.t.Helper()
	out := filepath.Join(x.dir, "out.xml")
	args = slices.Insert(args, 1, "--output", out)
	text, err := exec.CommandContext(x.t.Context(), x.program, args...).CombinedOutput()
	if err != nil {
		return "", string(text), err
	}
	data, err := os.ReadFile(out)
	if err != nil && args[0] != "--verify" {
		x.t.Fatal(err)
	}
	return string(data), string(text), nil
}

// verify reports whether the root of document, of this name, is signed by key.
func (x *xmlsec) verify(document, name string, key saml.Key) error {
	x.t.Helper()
	certificate := x.file("trusted.pem", inPEM("CERTIFICATE", key.Certificate.Raw))
	_, said, err := x.run("--verify", "--trusted-pem", certificate, "--id-attr:ID", name, x.file("in.xml", document))
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// sign fills in the first empty signature of a document.
func (x *xmlsec) sign(document, name string, key saml.Key) string {
	x.t.Helper()
	private, _ := keyInPEM(x.t, key)
	signed, said, err := x.run("--sign", "--privkey-pem", x.file("key.pem", private), "--id-attr:ID", name, x.file("in.xml", document))
	if err != nil {
		x.t.Fatalf("xmlsec1 does not sign: %v: %s", err, said)
	}
	return signed
}

// encrypt encrypts the assertion of a document.
func (x *xmlsec) encrypt(document, template, session string, to saml.Key) string {
	x.t.Helper()
	encrypted, said, err := x.run("--encrypt", "--pubkey-cert-pem", x.file("to.pem", inPEM("CERTIFICATE", to.Certificate.Raw)), "--session-key", session,
		"--xml-data", x.file("in.xml", document), "--node-name", nsSAMLAssertion+":Assertion", x.file("template.xml", template))
	if err != nil {
		x.t.Fatalf("xmlsec1 does not encrypt: %v: %s", err, said)
	}
	return encrypted
}

// emptySignature is one that xmlsec1 fills in.
func emptySignature(id, algorithm, digest string) string {
	return keepingSignature(id, algorithm, digest, "")
}

// keepingSignature is one whose canonicalization keeps these prefixes.
func keepingSignature(id, algorithm, digest, prefixes string) string {
	kept := ""
	if prefixes != "" {
		kept = `<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="` + prefixes + `"/>`
	}
	return fmt.Sprintf(`<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>
<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">%[4]s</ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="%[1]s"/>
<ds:Reference URI="#%[2]s"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>
<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">%[4]s</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="%[3]s"/><ds:DigestValue/></ds:Reference>
</ds:SignedInfo><ds:SignatureValue/></ds:Signature>`, algorithm, id, digest, kept)
}

// withDefaults declares default namespaces that nothing uses, here and there.
func withDefaults(document string) string {
	return strings.NewReplacer("<samlp:Response ", `<samlp:Response xmlns="urn:a" xmlns:x="urn:x" `, "<saml:Assertion ", `<saml:Assertion xmlns="urn:b" `,
		"<saml:Conditions ", `<saml:Conditions xmlns="" `, "<saml:Audience>", `<saml:Audience xmlns="urn:a">`,
		"<saml:AttributeValue>", `<saml:AttributeValue xmlns="urn:b">`).Replace(document)
}

func newEC(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// postedMessage returns the message in a form.
func postedMessage(t *testing.T, redirect *provider.Redirect, err error, field string) string {
	t.Helper()
	if err != nil || redirect == nil {
		t.Fatalf("no form with a %s: %v", field, err)
	}
	message, err := base64.StdEncoding.DecodeString(redirect.Form.Get(field))
	if err != nil || len(message) == 0 {
		t.Fatalf("no %s in %v: %v", field, redirect.Form, err)
	}
	return string(message)
}

func TestXMLSecVerifiesWhatSAMLSigns(t *testing.T) {
	t.Parallel()
	x := newXMLSec(t)
	rsaKey := newSAMLKey(t, nil)
	for _, row := range []struct {
		algorithm saml.SignatureAlgorithm
		key       saml.Key
	}{
		{saml.RSASHA256, rsaKey}, {saml.RSASHA384, rsaKey}, {saml.RSASHA512, rsaKey},
		{saml.ECDSASHA256, newSAMLKey(t, newEC(t, elliptic.P256()))},
		{saml.ECDSASHA384, newSAMLKey(t, newEC(t, elliptic.P384()))},
		{saml.ECDSASHA512, newSAMLKey(t, newEC(t, elliptic.P521()))},
	} {
		idp := newSAML(t, saml.Config{
			EntityID: xmlsecSP, IdPEntityID: xmlsecIdP, Certificates: []*x509.Certificate{rsaKey.Certificate},
			Endpoints:      saml.Endpoints{SingleSignOn: xmlsecIdP + "/sso?a=b&c=<d>", SingleLogout: xmlsecIdP + "/slo"},
			RequestBinding: saml.HTTPPost, SigningKeys: []saml.Key{row.key}, SignatureAlgorithm: row.algorithm, SignMetadata: true,
			ForwardLoginHint: true, AuthnContextClasses: []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:Password"},
			RequestedAttributes: []saml.RequestedAttribute{{Name: "mail", FriendlyName: `<"E-Mäil">` + "\r\n\t"}},
		})
		begun, err := idp.Begin(t.Context(), provider.Request{RedirectURI: xmlsecACS, State: "state", LoginHint: "<ädä> & 'co'\r\n\t]]>"})
		login := postedMessage(t, begun, err, "SAMLRequest")
		left, err := idp.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "<ädä>\r\n\t", Session: `"1"`, RedirectURI: xmlsecACS, State: "state"})
		logout := postedMessage(t, left, err, "SAMLRequest")
		answered, err := idp.AnswerLogout(t.Context(), &provider.Logout{ID: "_1", State: "state"}, true)
		answer := postedMessage(t, answered, err, "SAMLResponse")
		for _, message := range []struct{ document, name string }{
			{login, nsSAMLProtocol + ":AuthnRequest"}, {logout, nsSAMLProtocol + ":LogoutRequest"},
			{answer, nsSAMLProtocol + ":LogoutResponse"}, {metadataOf(t, idp, "https://sp.example", "saml"), nsSAMLMetadata + ":EntityDescriptor"},
		} {
			if err := x.verify(message.document, message.name, row.key); err != nil {
				t.Errorf("%s of %s: %v\n%s", row.algorithm, message.name, err, message.document)
			}
			// The oracle sees a change.
			changed := strings.Replace(message.document, xmlsecSP, "https://sp.examplf", 1)
			if err := x.verify(changed, message.name, row.key); err == nil {
				t.Errorf("%s of %s: xmlsec1 takes one that was changed", row.algorithm, message.name)
			}
		}
	}
}

// xmlsecResponse is an answer to a request, with room for a signature of the response and one of the assertion. lead is
// before the assertion, trail behind it.
func xmlsecResponse(request, ofResponse, ofAssertion, lead, trail string) string {
	now := time.Now().UTC()
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<samlp:Response xmlns:samlp="%[1]s" xmlns:saml="%[2]s" ID="_response" Version="2.0" IssueInstant="%[3]s" Destination="%[4]s" InResponseTo="%[5]s">
  <saml:Issuer>%[6]s</saml:Issuer>%[7]s
  <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
  %[8]s<saml:Assertion xmlns:saml="%[2]s" ID="_assertion" Version="2.0" IssueInstant="%[3]s">
    <saml:Issuer>%[6]s</saml:Issuer>%[9]s
    <saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">&lt;äda&gt;</saml:NameID>
      <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="%[10]s" Recipient="%[4]s" InResponseTo="%[5]s"/></saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotOnOrAfter="%[10]s"><saml:AudienceRestriction><saml:Audience>%[11]s</saml:Audience></saml:AudienceRestriction></saml:Conditions>
    <saml:AuthnStatement AuthnInstant="%[3]s" SessionIndex="1"><saml:AuthnContext/></saml:AuthnStatement>
    <saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>ada@idp.example</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>
  </saml:Assertion>%[12]s
</samlp:Response>`, nsSAMLProtocol, nsSAMLAssertion, now.Format(time.RFC3339), xmlsecACS, request, xmlsecIdP, ofResponse, lead, ofAssertion,
		now.Add(time.Minute).Format(time.RFC3339), xmlsecSP, trail)
}

// encryptedTemplate says how xmlsec1 encrypts.
func encryptedTemplate(data, key, digest string) string {
	if digest != "" {
		digest = `<ds:DigestMethod Algorithm="` + digest + `"/>`
	}
	return fmt.Sprintf(`<xenc:EncryptedData xmlns:xenc="%[1]s" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Type="%[1]sElement"><xenc:EncryptionMethod Algorithm="%[2]s"/>
<ds:KeyInfo><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="%[3]s">%[4]s</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>
<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>`, nsXMLEnc, data, key, digest)
}

func TestSAMLTakesWhatXMLSecMakes(t *testing.T) {
	t.Parallel()
	x := newXMLSec(t)
	rsaKey, decryption := newSAMLKey(t, nil), newSAMLKey(t, nil)
	p256, p384, p521 := newSAMLKey(t, newEC(t, elliptic.P256())), newSAMLKey(t, newEC(t, elliptic.P384())), newSAMLKey(t, newEC(t, elliptic.P521()))
	const (
		sha1     = "http://www.w3.org/2000/09/xmldsig#sha1"
		sha256   = nsXMLEnc + "sha256"
		sha384   = "http://www.w3.org/2001/04/xmldsig-more#sha384"
		sha512   = nsXMLEnc + "sha512"
		oaep     = nsXMLEnc + "rsa-oaep-mgf1p"
		response = nsSAMLProtocol + ":Response"
	)
	const assertion = nsSAMLAssertion + ":Assertion"
	for _, row := range []struct {
		name              string
		algorithm, digest string
		key               saml.Key
		signed            string // what is
		template, session string // how it is encrypted, if it is
		cbc               bool
		prefixes          string // that canonicalization keeps
		refused           string
	}{
		{name: "RSA-SHA256 of the assertion", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: assertion},
		{name: "RSA-SHA256 of the response", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response},
		{name: "RSA-SHA384", algorithm: string(saml.RSASHA384), digest: sha384, key: rsaKey, signed: assertion},
		{name: "RSA-SHA512", algorithm: string(saml.RSASHA512), digest: sha512, key: rsaKey, signed: response},
		{name: "ECDSA on P-256", algorithm: string(saml.ECDSASHA256), digest: sha256, key: p256, signed: assertion},
		{name: "ECDSA on P-384", algorithm: string(saml.ECDSASHA384), digest: sha384, key: p384, signed: response},
		{name: "ECDSA on P-521", algorithm: string(saml.ECDSASHA512), digest: sha512, key: p521, signed: assertion},
		{name: "keeping a prefix", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: assertion, prefixes: "x saml"},
		{name: "keeping default namespaces of the assertion", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: assertion, prefixes: "#default"},
		{name: "keeping default namespaces of the response", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response, prefixes: "#default x ds"},
		{name: "AES-128-GCM", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: assertion,
			template: encryptedTemplate(nsXMLEnc11+"aes128-gcm", oaep, ""), session: "aes-128"},
		{name: "AES-256-GCM", algorithm: string(saml.ECDSASHA256), digest: sha256, key: p256, signed: assertion,
			template: encryptedTemplate(nsXMLEnc11+"aes256-gcm", oaep, sha1), session: "aes-256"},
		{name: "AES-256-GCM and a signed response", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response,
			template: encryptedTemplate(nsXMLEnc11+"aes256-gcm", oaep, ""), session: "aes-256"},
		{name: "AES-256-CBC in a signed response", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response, cbc: true,
			template: encryptedTemplate(nsXMLEnc+"aes256-cbc", oaep, ""), session: "aes-256"},

		{name: "AES-256-CBC of a signed assertion", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: assertion, cbc: true,
			template: encryptedTemplate(nsXMLEnc+"aes256-cbc", oaep, ""), session: "aes-256", refused: "CBC"},
		{name: "AES-256-CBC where it is not allowed", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response,
			template: encryptedTemplate(nsXMLEnc+"aes256-cbc", oaep, ""), session: "aes-256", refused: "CBC"},
		{name: "RSA 1.5", algorithm: string(saml.RSASHA256), digest: sha256, key: rsaKey, signed: response,
			template: encryptedTemplate(nsXMLEnc11+"aes256-gcm", nsXMLEnc+"rsa-1_5", ""), session: "aes-256", refused: "cannot be decrypted"},
		{name: "RSA-SHA1", algorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1", digest: sha256, key: rsaKey, signed: assertion, refused: "rsa-sha1"},
		{name: "digest by SHA-1", algorithm: string(saml.RSASHA256), digest: sha1, key: rsaKey, signed: assertion, refused: "sha1"},
		{name: "ECDSA-SHA1", algorithm: "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1", digest: sha256, key: p256, signed: assertion, refused: "ecdsa-sha1"},
		{name: "another's key", algorithm: string(saml.RSASHA256), digest: sha256, key: newSAMLKey(t, nil), signed: assertion, refused: "key"},
	} {
		cfg := saml.Config{
			EntityID: xmlsecSP, IdPEntityID: xmlsecIdP, Endpoints: saml.Endpoints{SingleSignOn: xmlsecIdP + "/sso"},
			Certificates:   []*x509.Certificate{p521.Certificate, p384.Certificate, p256.Certificate, rsaKey.Certificate},
			DecryptionKeys: []saml.Key{newSAMLKey(t, nil), decryption}, InsecureAllowCBC: row.cbc,
		}
		idp := newSAML(t, cfg)
		request, begun := beginSAML(t, idp)
		signatures, lead, trail := map[string]string{}, "", ""
		if row.template != "" {
			lead, trail = "<saml:EncryptedAssertion>", "</saml:EncryptedAssertion>"
		}
		id := map[string]string{response: "_response", assertion: "_assertion"}[row.signed]
		signatures[row.signed] = keepingSignature(id, row.algorithm, row.digest, row.prefixes)
		document := xmlsecResponse(request, signatures[response], signatures[assertion], lead, trail)
		if row.prefixes != "" {
			document = withDefaults(document)
		}
		sign := func() { document = x.sign(document, row.signed, row.key) }
		if row.signed == assertion {
			sign()
		}
		if row.template != "" {
			document = x.encrypt(document, row.template, row.session, decryption)
		}
		if row.signed == response {
			sign()
		}
		finish := func(document string) (*provider.Identity, error) {
			return idp.Finish(t.Context(), provider.Callback{URL: xmlsecACS, Data: begun, Params: url.Values{
				"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(document))}, "RelayState": {"state"},
			}})
		}
		identity, err := finish(document)
		switch {
		case row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)):
			t.Errorf("%s: got %v, %v; want an error with %q", row.name, identity, err, row.refused)
		case row.refused == "" && err != nil:
			t.Errorf("%s: %v\n%s", row.name, err, document)
		case row.refused == "" && (identity.Subject != "<äda>" || identity.Email != "ada@idp.example"):
			t.Errorf("%s: got %+v", row.name, identity)
		}
		if row.refused != "" || row.signed != response && row.template != "" {
			continue
		}
		if identity, err := finish(strings.Replace(document, xmlsecIdP+"</saml:Issuer>", xmlsecIdP+" </saml:Issuer>", 2)); err == nil {
			t.Errorf("%s: changed and taken: %+v", row.name, identity)
		}
	}
}

// beginSAML begins a login and returns the id of the request, and what has to be kept.
func beginSAML(t *testing.T, idp *saml.Provider) (id string, data []byte) {
	t.Helper()
	redirect, err := idp.Begin(t.Context(), provider.Request{RedirectURI: xmlsecACS, State: "state"})
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ I string }
	if err := json.Unmarshal(redirect.Data, &kept); err != nil || kept.I == "" {
		t.Fatalf("no id of the request in %s: %v", redirect.Data, err)
	}
	return kept.I, redirect.Data
}

// Metadata that a federation has signed with xmlsec1.
func TestSAMLTakesMetadataOfXMLSec(t *testing.T) {
	t.Parallel()
	x := newXMLSec(t)
	federation, signing := newSAMLKey(t, nil), newSAMLKey(t, newEC(t, elliptic.P256()))
	document := x.sign(fmt.Sprintf(`<md:EntitiesDescriptor xmlns:md="%[1]s" ID="_all" validUntil="%[2]s">%[3]s
  <md:EntityDescriptor entityID="%[4]s"><md:IDPSSODescriptor protocolSupportEnumeration="%[5]s">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>
%[6]s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleSignOnService Binding="%[7]s" Location="%[4]s/sso"/>
  </md:IDPSSODescriptor></md:EntityDescriptor>
</md:EntitiesDescriptor>`, nsSAMLMetadata, time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		emptySignature("_all", string(saml.RSASHA512), nsXMLEnc+"sha512"), xmlsecIdP, nsSAMLProtocol,
		base64.StdEncoding.EncodeToString(signing.Certificate.Raw), saml.HTTPRedirect), nsSAMLMetadata+":EntitiesDescriptor", federation)
	config := saml.Config{EntityID: xmlsecSP, Metadata: []byte(document), MetadataCertificates: []*x509.Certificate{federation.Certificate}}
	if got := newSAML(t, config).Trust().Issuer; got != xmlsecIdP {
		t.Errorf("the issuer is %q, want %q", got, xmlsecIdP)
	}
	config.Metadata = []byte(strings.Replace(document, "/sso", "/ssp", 1))
	if _, err := saml.New(config); err == nil {
		t.Error("metadata that was changed is taken")
	}
	config.Metadata, config.MetadataCertificates = []byte(document), []*x509.Certificate{signing.Certificate}
	if _, err := saml.New(config); err == nil {
		t.Error("metadata that somebody else has signed is taken")
	}
}
