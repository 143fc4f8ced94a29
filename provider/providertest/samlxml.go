package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // forgeries are signed with it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Names of SAML 2.0 and of what it stands on.
const (
	samlAssertionNS = "urn:oasis:names:tc:SAML:2.0:assertion"
	samlProtocolNS  = "urn:oasis:names:tc:SAML:2.0:protocol"
	samlMetadataNS  = "urn:oasis:names:tc:SAML:2.0:metadata"
	xmlSignatureNS  = "http://www.w3.org/2000/09/xmldsig#"
	xmlEncNS        = "http://www.w3.org/2001/04/xmlenc#"
	xmlEnc11NS      = "http://www.w3.org/2009/xmlenc11#"
	soapNS          = "http://schemas.xmlsoap.org/soap/envelope/"
	exclusiveC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	enveloped       = xmlSignatureNS + "enveloped-signature"
	samlBearer      = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	samlStatus      = "urn:oasis:names:tc:SAML:2.0:status:"
	samlBinding     = "urn:oasis:names:tc:SAML:2.0:bindings:"
	samlFormat11    = "urn:oasis:names:tc:SAML:1.1:nameid-format:"
	samlFormat20    = "urn:oasis:names:tc:SAML:2.0:nameid-format:"
)

// An xmlAlg is a way to sign.
type xmlAlg struct {
	uri, digestURI string
	hash           crypto.Hash
	curve          elliptic.Curve // nil for RSA
}

var xmlAlgs = map[string]xmlAlg{
	"RS256": {"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", xmlEncNS + "sha256", crypto.SHA256, nil},
	"RS384": {"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", "http://www.w3.org/2001/04/xmldsig-more#sha384", crypto.SHA384, nil},
	"RS512": {"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", xmlEncNS + "sha512", crypto.SHA512, nil},
	"ES256": {"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", xmlEncNS + "sha256", crypto.SHA256, elliptic.P256()},
	"ES384": {"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", "http://www.w3.org/2001/04/xmldsig-more#sha384", crypto.SHA384, elliptic.P384()},
	"ES512": {"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512", xmlEncNS + "sha512", crypto.SHA512, elliptic.P521()},
}

// sha1Alg is for forgeries, and is no SP's to use.
var sha1Alg = xmlAlg{xmlSignatureNS + "rsa-sha1", xmlSignatureNS + "sha1", crypto.SHA1, nil}

// A certKey is a key with a certificate that it signed itself.
type certKey struct {
	private crypto.Signer
	cert    *x509.Certificate
}

func newCertKey(name string, curve elliptic.Curve, bits int, now time.Time) (*certKey, error) {
	k := &certKey{}
	var err error
	if curve != nil {
		k.private, err = ecdsa.GenerateKey(curve, rand.Reader)
	} else {
		k.private, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return nil, err
	}
	k.cert, err = x509.ParseCertificate(der)
	return k, err
}

// sign returns a signature as XML Signature 1.1 §6.4 writes it: of ECDSA, r and s side by side.
func (k *certKey) sign(alg xmlAlg, data []byte) ([]byte, error) {
	h := alg.hash.New()
	h.Write(data)
	digest := h.Sum(nil)
	private, ok := k.private.(*ecdsa.PrivateKey)
	if !ok {
		return k.private.Sign(rand.Reader, digest, alg.hash)
	}
	r, s, err := ecdsa.Sign(rand.Reader, private, digest)
	if err != nil {
		return nil, err
	}
	size := (private.Curve.Params().BitSize + 7) / 8
	value := make([]byte, 2*size)
	r.FillBytes(value[:size])
	s.FillBytes(value[size:])
	return value, nil
}

// verifyValue checks a signature by the algorithm with this URI.
func verifyValue(certs []*x509.Certificate, uri string, data, value []byte) error {
	for _, alg := range xmlAlgs {
		if alg.uri != uri {
			continue
		}
		h := alg.hash.New()
		h.Write(data)
		digest := h.Sum(nil)
		for _, c := range certs {
			switch key := c.PublicKey.(type) {
			case *rsa.PublicKey:
				if alg.curve == nil && rsa.VerifyPKCS1v15(key, alg.hash, digest, value) == nil {
					return nil
				}
			case *ecdsa.PublicKey:
				size := (key.Curve.Params().BitSize + 7) / 8
				if alg.curve != nil && len(value) == 2*size &&
					ecdsa.Verify(key, digest, new(big.Int).SetBytes(value[:size]), new(big.Int).SetBytes(value[size:])) {
					return nil
				}
			}
		}
		return errors.New("the signature is by none of the registered certificates")
	}
	return fmt.Errorf("the signature algorithm %q is not accepted", uri)
}

// c14n is Exclusive XML Canonicalization 1.0 without comments.
func c14n(e *etree.Element) ([]byte, error) {
	return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(standalone(e))
}

// standalone returns a copy that declares what is declared around e.
func standalone(e *etree.Element) *etree.Element {
	copied := e.Copy()
	for p := e.Parent(); p != nil; p = p.Parent() {
		for _, a := range p.Attr {
			if (a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns") && copied.SelectAttr(a.FullKey()) == nil {
				copied.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return copied
}

// A signing is how an element is signed.
type signing struct {
	key     *certKey
	alg     xmlAlg
	keyInfo *x509.Certificate // nil for no KeyInfo
}

// envelop puts an enveloped signature behind the Issuer of e, or before everything (SAML Core §5.4).
func (s signing) envelop(e *etree.Element) error {
	sig, err := s.over(e)
	if err != nil {
		return err
	}
	at := 0
	if issuer := child(e, "Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	e.InsertChildAt(at, sig)
	return nil
}

// over returns the signature of e, which has none yet. The SignedInfo is written in canonical form.
func (s signing) over(e *etree.Element) (*etree.Element, error) {
	data, err := c14n(e)
	if err != nil {
		return nil, err
	}
	h := s.alg.hash.New()
	h.Write(data)
	info := signedInfo(s.alg, reference(s.alg.digestURI, e.SelectAttrValue("ID", ""), h.Sum(nil)))
	value, err := s.key.sign(s.alg, []byte(info))
	if err != nil {
		return nil, err
	}
	keyInfo := ""
	if s.keyInfo != nil {
		keyInfo = "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>" + base64.StdEncoding.EncodeToString(s.keyInfo.Raw) +
			"</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
	}
	return readXML(`<ds:Signature xmlns:ds="` + xmlSignatureNS + `">` + info + "<ds:SignatureValue>" +
		base64.StdEncoding.EncodeToString(value) + "</ds:SignatureValue>" + keyInfo + "</ds:Signature>")
}

func signedInfo(alg xmlAlg, references string) string {
	return `<ds:SignedInfo xmlns:ds="` + xmlSignatureNS + `"><ds:CanonicalizationMethod Algorithm="` + exclusiveC14N +
		`"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="` + alg.uri + `"></ds:SignatureMethod>` + references + `</ds:SignedInfo>`
}

func reference(digestURI, id string, digest []byte) string {
	return `<ds:Reference URI="#` + id + `"><ds:Transforms><ds:Transform Algorithm="` + enveloped +
		`"></ds:Transform><ds:Transform Algorithm="` + exclusiveC14N + `"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="` +
		digestURI + `"></ds:DigestMethod><ds:DigestValue>` + base64.StdEncoding.EncodeToString(digest) + `</ds:DigestValue></ds:Reference>`
}

// verifyEnveloped checks the signature of e, which has to have one. It takes the one form that SAML Core §5.4 has.
func verifyEnveloped(e *etree.Element, certs []*x509.Certificate) error {
	e = standalone(e)
	sig, err := onlyChild(e, xmlSignatureNS, "Signature")
	if err != nil {
		return err
	}
	info, err := onlyChild(sig, xmlSignatureNS, "SignedInfo")
	if err != nil {
		return err
	}
	ref, err := onlyChild(info, xmlSignatureNS, "Reference")
	if err != nil {
		return err
	}
	if id := e.SelectAttrValue("ID", ""); id == "" || ref.SelectAttrValue("URI", "") != "#"+id {
		return errors.New("the signature refers to something else")
	}
	for path, want := range map[string]string{
		"CanonicalizationMethod": exclusiveC14N, "Reference/Transforms/Transform[1]": enveloped, "Reference/Transforms/Transform[2]": exclusiveC14N,
	} {
		if m := info.FindElement(path); m == nil || m.SelectAttrValue("Algorithm", "") != want {
			return fmt.Errorf("%s of the signature is not %s", path, want)
		}
	}
	if n := len(info.FindElements("Reference/Transforms/*")); n != 2 {
		return fmt.Errorf("%d transforms", n)
	}
	signed, err := c14n(info)
	if err != nil {
		return err
	}
	value, err := base64Text(sig, "SignatureValue")
	if err != nil {
		return err
	}
	if err := verifyValue(certs, info.FindElement("SignatureMethod").SelectAttrValue("Algorithm", ""), signed, value); err != nil {
		return err
	}
	digest, err := base64Text(ref, "DigestValue")
	if err != nil {
		return err
	}
	e.RemoveChild(sig)
	data, err := c14n(e)
	if err != nil {
		return err
	}
	for _, alg := range xmlAlgs {
		if alg.digestURI == ref.FindElement("DigestMethod").SelectAttrValue("Algorithm", "") {
			h := alg.hash.New()
			h.Write(data)
			if string(h.Sum(nil)) == string(digest) {
				return nil
			}
			return errors.New("the digest is that of something else")
		}
	}
	return errors.New("the digest algorithm is not accepted")
}

func base64Text(e *etree.Element, tag string) ([]byte, error) {
	c := child(e, tag)
	if c == nil {
		return nil, fmt.Errorf("no %s", tag)
	}
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(c.Text()), ""))
}

// onlyChild returns the child of that name, of which there must be one.
func onlyChild(e *etree.Element, ns, tag string) (*etree.Element, error) {
	var found *etree.Element
	for _, c := range e.ChildElements() {
		if c.Tag != tag || c.NamespaceURI() != ns {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("more than one %s", tag)
		}
		found = c
	}
	if found == nil {
		return nil, fmt.Errorf("no %s", tag)
	}
	return found, nil
}

// child returns the first child of that name in whatever namespace; nil if there is none.
func child(e *etree.Element, tag string) *etree.Element {
	for _, c := range e.ChildElements() {
		if c.Tag == tag {
			return c
		}
	}
	return nil
}

// readXML reads a document of one element, without a document type.
func readXML(text string) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings.PreserveDuplicateAttrs = true
	if err := doc.ReadFromString(text); err != nil {
		return nil, err
	}
	for _, t := range doc.Child {
		if _, ok := t.(*etree.Directive); ok {
			return nil, errors.New("a document type")
		}
	}
	if len(doc.ChildElements()) != 1 {
		return nil, errors.New("not one element")
	}
	return doc.Root(), nil
}

// writeXML writes e with what is declared around it.
func writeXML(e *etree.Element) string {
	doc := etree.NewDocument()
	doc.WriteSettings = etree.WriteSettings{CanonicalAttrVal: true, CanonicalText: true}
	doc.SetRoot(standalone(e))
	text, err := doc.WriteToString()
	if err != nil {
		panic(err) // a string takes everything
	}
	return text
}

var xmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\t", "&#9;", "\n", "&#10;", "\r", "&#13;")

func esc(s string) string { return xmlEscaper.Replace(s) }

func xmlTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// xmlID returns an id (SAML Core §1.3.4) that begins as XML wants it.
func xmlID() string { return "_" + rand.Text() }
