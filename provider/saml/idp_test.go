package saml_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // attacks are signed with it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

const (
	spEntity  = "https://broker.example/saml"
	idpEntity = "https://idp.example/metadata"
	acs       = "https://broker.example/id/broker/x/endpoint"
	state     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	ssoURL    = "https://idp.example/sso"
	sloURL    = "https://idp.example/slo"
)

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// Keys are files, so that the processes of a fuzz run have the same.
var (
	idpKey   = sync.OnceValue(func() saml.Key { return keyOf("idp") })
	otherKey = sync.OnceValue(func() saml.Key { return keyOf("other") })
	spKey    = sync.OnceValue(func() saml.Key { return keyOf("sp") })
	weakKey  = sync.OnceValue(func() saml.Key { return keyOf("weak") })
	ecKey    = sync.OnceValue(func() saml.Key { return keyOf("ec") })
)

func keyOf(name string) saml.Key {
	data, err := os.ReadFile("testdata/" + name + ".pem")
	must(err)
	block, _ := pem.Decode(data)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(err)
	return newKey(name, private.(crypto.Signer), epoch.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(err)
	return k
}

func newKey(name string, private crypto.Signer, from, until time.Time) saml.Key {
	template := &x509.Certificate{SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return saml.Key{Private: private, Certificate: cert}
}

func config() saml.Config {
	return saml.Config{
		EntityID:     spEntity,
		IdPEntityID:  idpEntity,
		Endpoints:    saml.Endpoints{SingleSignOn: ssoURL, SingleLogout: sloURL},
		Certificates: []*x509.Certificate{idpKey().Certificate},
		Now:          func() time.Time { return epoch },
	}
}

func newProvider(t testing.TB, cfg saml.Config) *saml.Provider {
	t.Helper()
	p, err := saml.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return p
}

// begin starts a login and returns what has to be kept, and the id of the request.
func begin(t testing.TB, p *saml.Provider, r provider.Request) (data []byte, id string) {
	t.Helper()
	redirect, request := beginRequest(t, p, r)
	return redirect.Data, request.SelectAttrValue("ID", "")
}

func beginRequest(t testing.TB, p *saml.Provider, r provider.Request) (*provider.Redirect, *etree.Element) {
	t.Helper()
	r.RedirectURI, r.State = acs, state
	redirect, err := p.Begin(t.Context(), r)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return redirect, sent(t, redirect, "SAMLRequest")
}

// sent returns the message in a redirect.
func sent(t testing.TB, redirect *provider.Redirect, name string) *etree.Element {
	t.Helper()
	var data []byte
	if redirect.Form != nil {
		data = decode(t, redirect.Form.Get(name))
	} else {
		u, err := url.Parse(redirect.URL)
		if err != nil {
			t.Fatalf("redirect: %v", err)
		}
		data, err = io.ReadAll(flate.NewReader(bytes.NewReader(decode(t, u.Query().Get(name)))))
		if err != nil {
			t.Fatalf("inflate: %v", err)
		}
	}
	return read(t, string(data))
}

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("base64: %v", err)
	}
	return b
}

func read(t testing.TB, s string) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(s); err != nil {
		t.Fatalf("read: %v", err)
	}
	return doc.Root()
}

func write(e *etree.Element) string {
	doc := etree.NewDocument()
	doc.SetRoot(e.Copy())
	s, err := doc.WriteToString()
	must(err)
	return s
}

// A forge makes responses, good ones unless it is told otherwise.
type forge struct {
	request    string // id
	key        saml.Key
	method     string // signature algorithm
	signed     string // "r", "a", "ra" or ""
	encrypt    func(string) string
	at         time.Time
	edit       func(response *etree.Element) // before anything is signed
	signedEdit func(response *etree.Element) // after the assertion was signed, before the response is
	after      func(response *etree.Element) // after everything was signed
	text       func(string) string           // of the document, at the end
	attributes string
	nameID     string
	inclusive  string
	keepDER    bool
	canonical  dsig.Canonicalizer
}

func newForge(request string) *forge {
	return &forge{
		request: request, key: idpKey(), method: string(saml.RSASHA256), signed: "a", at: epoch,
		nameID:     `<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice-1</saml:NameID>`,
		attributes: attribute("mail", "alice@example.com"),
	}
}

func attribute(name string, values ...string) string {
	s := `<saml:Attribute Name="` + name + `">`
	for _, v := range values {
		s += `<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">` + v + `</saml:AttributeValue>`
	}
	return s + `</saml:Attribute>`
}

const responseTemplate = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_resp" Version="2.0" IssueInstant="%[1]s" Destination="%[2]s" InResponseTo="%[3]s"><saml:Issuer>%[4]s</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="_assert" Version="2.0" IssueInstant="%[1]s"><saml:Issuer>%[4]s</saml:Issuer><saml:Subject>%[5]s<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="%[6]s" Recipient="%[2]s" InResponseTo="%[3]s"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="%[7]s" NotOnOrAfter="%[6]s"><saml:AudienceRestriction><saml:Audience>%[8]s</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="%[1]s" SessionIndex="session-1"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>%[9]s</saml:AttributeStatement></saml:Assertion></samlp:Response>`

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// response returns the document.
func (f *forge) response(t testing.TB) string {
	t.Helper()
	root := read(t, fmt.Sprintf(responseTemplate, stamp(f.at), acs, f.request, idpEntity, f.nameID,
		stamp(f.at.Add(5*time.Minute)), stamp(f.at.Add(-time.Minute)), spEntity, f.attributes))
	if f.edit != nil {
		f.edit(root)
	}
	if strings.Contains(f.signed, "a") {
		f.sign(t, root.FindElement("./saml:Assertion"))
	}
	if f.signedEdit != nil {
		f.signedEdit(root)
	}
	if f.encrypt != nil {
		a := root.FindElement("./saml:Assertion")
		a.CreateAttr("xmlns:saml", nsAssertion)
		enc := read(t, f.encrypt(write(a)))
		root.InsertChildAt(a.Index(), enc)
		root.RemoveChild(a)
	}
	if strings.Contains(f.signed, "r") {
		f.sign(t, root)
	}
	if f.after != nil {
		f.after(root)
	}
	doc := write(root)
	if f.text != nil {
		doc = f.text(doc)
	}
	return doc
}

const nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"

// sign signs e by the library, not by the code under test.
func (f *forge) sign(t testing.TB, e *etree.Element) {
	t.Helper()
	signElement(t, e, f.key, f.method, f.keepDER, f.canonical, f.inclusive)
}

func signElement(t testing.TB, e *etree.Element, key saml.Key, method string, keepDER bool, c dsig.Canonicalizer, inclusive string) {
	t.Helper()
	ctx, err := dsig.NewSigningContext(key.Private, [][]byte{key.Certificate.Raw})
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if c != nil {
		ctx.Canonicalizer = c
	}
	if err := ctx.SetSignatureMethod(method); err != nil {
		t.Fatalf("sign: %v", err)
	}
	copied := e.Copy()
	for p := e.Parent(); p != nil; p = p.Parent() { // what is declared around it
		for _, a := range p.Attr {
			if a.Space == "xmlns" && copied.SelectAttr("xmlns:"+a.Key) == nil {
				copied.CreateAttr("xmlns:"+a.Key, a.Value)
			}
		}
	}
	sig, err := ctx.ConstructSignature(copied, true)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	if _, ok := key.Private.(*ecdsa.PrivateKey); ok && !keepDER {
		v := sig.FindElement("./ds:SignatureValue")
		v.SetText(base64.StdEncoding.EncodeToString(rawOf(decode(t, v.Text()), 32)))
	}
	e.InsertChildAt(e.FindElement("./saml:Issuer").Index()+1, sig)
}

func rawOf(der []byte, n int) []byte {
	var rs struct{ R, S *big.Int }
	_, err := asn1.Unmarshal(der, &rs)
	must(err)
	raw := make([]byte, 2*n)
	rs.R.FillBytes(raw[:n])
	rs.S.FillBytes(raw[n:])
	return raw
}

func posted(doc string) provider.Callback {
	return provider.Callback{URL: acs, Params: url.Values{
		"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(doc))}, "RelayState": {state},
	}}
}

func finish(t testing.TB, p *saml.Provider, data []byte, doc string) (*provider.Identity, error) {
	t.Helper()
	cb := posted(doc)
	cb.Data = data
	return p.Finish(t.Context(), cb)
}

// An encryption is how a test encrypts.
type encryption struct {
	data, key    string // algorithms
	digest, mgf  string // of RSA-OAEP, "" leaves it out
	hash         crypto.Hash
	mgfHash      crypto.Hash
	to           *rsa.PublicKey
	wrongKeySize bool
	beside       bool // the EncryptedKey stands beside the EncryptedData
	tag          string
}

const (
	xmlenc   = "http://www.w3.org/2001/04/xmlenc#"
	xmlenc11 = "http://www.w3.org/2009/xmlenc11#"
)

func gcm(to saml.Key) encryption {
	return encryption{
		data: xmlenc11 + "aes256-gcm", key: xmlenc + "rsa-oaep-mgf1p", hash: crypto.SHA1, mgfHash: crypto.SHA1,
		to: to.Certificate.PublicKey.(*rsa.PublicKey), tag: "EncryptedAssertion",
	}
}

func (e encryption) encrypt(plain string) string {
	size := map[string]int{"aes128-gcm": 16, "aes256-gcm": 32, "aes128-cbc": 16, "aes256-cbc": 32}[e.data[strings.Index(e.data, "#")+1:]]
	if e.wrongKeySize {
		size = 48 - size
	}
	key := make([]byte, size)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	must(err)
	var ciphertext []byte
	if strings.Contains(e.data, "gcm") {
		aead, err := cipher.NewGCM(block)
		must(err)
		nonce := make([]byte, 12)
		_, _ = rand.Read(nonce)
		ciphertext = aead.Seal(nonce, nonce, []byte(plain), nil)
	} else {
		n := 16 - len(plain)%16
		padded := append([]byte(plain), make([]byte, n)...)
		padded[len(padded)-1] = byte(n)
		iv := make([]byte, 16)
		_, _ = rand.Read(iv)
		ciphertext = append(iv, padded...)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(ciphertext[16:], padded)
	}
	wrapped := e.wrap(key)
	method := ""
	if e.digest != "" {
		method += `<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="` + e.digest + `"/>`
	}
	if e.mgf != "" {
		method += `<xenc11:MGF xmlns:xenc11="` + xmlenc11 + `" Algorithm="` + e.mgf + `"/>`
	}
	encode := base64.StdEncoding.EncodeToString
	encryptedKey := `<xenc:EncryptedKey xmlns:xenc="` + xmlenc + `"><xenc:EncryptionMethod Algorithm="` + e.key + `">` + method +
		`</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>` + encode(wrapped) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey>`
	inside, beside := `<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`+encryptedKey+`</ds:KeyInfo>`, ""
	if e.beside {
		inside, beside = "", encryptedKey
	}
	return `<saml:` + e.tag + ` xmlns:saml="` + nsAssertion + `"><xenc:EncryptedData xmlns:xenc="` + xmlenc +
		`" Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="` + e.data + `"/>` + inside +
		`<xenc:CipherData><xenc:CipherValue>` + encode(ciphertext) + `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>` + beside +
		`</saml:` + e.tag + `>`
}

func (e encryption) wrap(key []byte) []byte {
	if strings.HasSuffix(e.key, "rsa-1_5") {
		//lint:ignore SA1019 an attack
		w, err := rsa.EncryptPKCS1v15(rand.Reader, e.to, key) //nolint:staticcheck // as it says above
		must(err)
		return w
	}
	w, err := rsa.EncryptOAEPWithOptions(rand.Reader, e.to, key, &rsa.OAEPOptions{Hash: e.hash, MGFHash: e.mgfHash})
	must(err)
	return w
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
