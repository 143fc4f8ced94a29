package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

const (
	minRSABits = 2048
	maxRSABits = 8192 // above, a signature costs seconds

	envelopedTransform = string(dsig.EnvelopedSignatureAltorithmId)
	exclusiveTransform = string(dsig.CanonicalXML10ExclusiveAlgorithmId)
)

// A signatureMethod binds an algorithm's name to its hash and to the only kind of key that it may be used with.
type signatureMethod struct {
	hash crypto.Hash
	rsa  bool // PKCS #1 v1.5; otherwise ECDSA
}

// signatureMethods and digestMethods are all that is accepted. What is not here, SHA-1 above all, is refused.
var (
	signatureMethods = map[string]signatureMethod{
		string(RSASHA256):   {crypto.SHA256, true},
		string(RSASHA384):   {crypto.SHA384, true},
		string(RSASHA512):   {crypto.SHA512, true},
		string(ECDSASHA256): {crypto.SHA256, false},
		string(ECDSASHA384): {crypto.SHA384, false},
		string(ECDSASHA512): {crypto.SHA512, false},
	}
	digestMethods = map[string]crypto.Hash{
		"http://www.w3.org/2001/04/xmlenc#sha256":       crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
		"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
	}
)

// errForeignKey says that a signature is well-formed, and by none of the trusted keys.
var errForeignKey = errors.New("the signature is by none of the keys that the identity provider is known to have")

// verified checks the enveloped signature of e and returns what it covers, parsed again from the very bytes that were
// digested. e is used up: nothing may be read from it any more.
//
// That makes it of no consequence how e itself was parsed. A parser that reads something else than was written (which is
// what round-trip validators look for) yields other canonical bytes; either nobody has signed those, or they are what the
// identity provider signed, and that is what is returned. The same holds of SignedInfo: its canonical bytes are what the
// signature is checked over and what digest, algorithms and reference are read from.
func verified(e *etree.Element, keys []crypto.PublicKey, l limits) (*etree.Element, error) {
	sig, err := signatureOf(e)
	if err != nil {
		return nil, err
	}
	signedInfo, err := canonical(sig.info, sig.prefixes, ofMessage)
	if err != nil {
		return nil, err
	}
	info, err := parseSignedInfo(signedInfo)
	if err != nil {
		return nil, err
	}
	if !signedBy(keys, info.method, signedInfo, sig.value) {
		return nil, errForeignKey
	}
	e.RemoveChild(sig.element) // the enveloped-signature transform
	covered, err := canonical(e, info.prefixes, l)
	if err != nil {
		return nil, err
	}
	h := info.digestHash.New()
	h.Write(covered)
	if subtle.ConstantTimeCompare(h.Sum(nil), info.digest) != 1 {
		return nil, errors.New("the digest in the signature is that of something else")
	}
	out, err := parse(covered, l)
	if err != nil {
		return nil, err
	}
	if id := attr(out, "ID"); id == "" || info.uri != "#"+id {
		return nil, errors.New("the signature refers to something else")
	}
	return out, nil
}

// hasSignature reports whether e has a signature of its own.
func hasSignature(e *etree.Element) bool { return len(all(e, nsSignature, "Signature")) > 0 }

// A signature is the part of ds:Signature that is used. ds:KeyInfo is not: which keys count is known.
type signature struct {
	element  *etree.Element
	info     *etree.Element
	prefixes string // that the canonicalization of info keeps
	value    []byte
}

// signatureOf reads the one signature of e, which has the one shape that SAML Core §5.4 allows.
func signatureOf(e *etree.Element) (*signature, error) {
	s := &signature{}
	var err error
	if s.element, err = one(e, nsSignature, "Signature"); err != nil {
		return nil, err
	}
	for _, c := range elements(s.element) {
		if !is(c, nsSignature, "SignedInfo") && !is(c, nsSignature, "SignatureValue") && !is(c, nsSignature, "KeyInfo") {
			return nil, fmt.Errorf("signature with a %s in it", c.Tag)
		}
	}
	if _, err := maybe(s.element, nsSignature, "KeyInfo"); err != nil {
		return nil, err
	}
	if s.info, err = one(s.element, nsSignature, "SignedInfo"); err != nil {
		return nil, err
	}
	if _, s.prefixes, err = readSignedInfo(s.info); err != nil { // before canonicalization, so that that is cheap
		return nil, err
	}
	s.value, err = binary(s.element, "SignatureValue")
	return s, err
}

// A signedInfo is what ds:SignedInfo says.
type signedInfo struct {
	method     string
	uri        string
	prefixes   string // that the canonicalization of what is signed keeps
	digestHash crypto.Hash
	digest     []byte
}

func parseSignedInfo(canonical []byte) (*signedInfo, error) {
	e, err := parse(canonical, ofMessage)
	if err != nil {
		return nil, err
	}
	if !is(e, nsSignature, "SignedInfo") {
		return nil, errors.New("no SignedInfo")
	}
	info, _, err := readSignedInfo(e)
	return info, err
}

// readSignedInfo refuses all but: exclusive canonicalization, one of the methods, and one reference with the two transforms.
func readSignedInfo(e *etree.Element) (info *signedInfo, own string, err error) {
	parts, err := expect(e, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if err != nil {
		return nil, "", err
	}
	if own, err = exclusive(parts[0]); err != nil {
		return nil, "", err
	}
	info = &signedInfo{method: attr(parts[1], "Algorithm")}
	if _, ok := signatureMethods[info.method]; !ok || len(elements(parts[1])) > 0 {
		return nil, "", fmt.Errorf("signature algorithm %s is refused", quote(info.method))
	}
	return info, own, info.readReference(parts[2])
}

func (info *signedInfo) readReference(e *etree.Element) error {
	info.uri = attr(e, "URI")
	parts, err := expect(e, "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return err
	}
	transforms, err := expect(parts[0], "Transform", "Transform")
	if err != nil {
		return err
	}
	if a := attr(transforms[0], "Algorithm"); a != envelopedTransform || len(elements(transforms[0])) > 0 {
		return fmt.Errorf("transform %s is refused", quote(a))
	}
	if info.prefixes, err = exclusive(transforms[1]); err != nil {
		return err
	}
	algorithm := attr(parts[1], "Algorithm")
	hash, ok := digestMethods[algorithm]
	if !ok || len(elements(parts[1])) > 0 {
		return fmt.Errorf("digest algorithm %s is refused", quote(algorithm))
	}
	info.digestHash = hash
	info.digest, err = binary(e, "DigestValue")
	return err
}

// expect returns the children of e, which must be these, in this order and no others.
func expect(e *etree.Element, tags ...string) ([]*etree.Element, error) {
	found := elements(e)
	if len(found) != len(tags) {
		return nil, fmt.Errorf("%d elements in %s", len(found), e.Tag)
	}
	for i, tag := range tags {
		if !is(found[i], nsSignature, tag) {
			return nil, fmt.Errorf("%s in %s, want %s", found[i].Tag, e.Tag, tag)
		}
	}
	return found, nil
}

// exclusive reads a use of exclusive canonicalization without comments, and returns the prefixes that it keeps.
func exclusive(e *etree.Element) (prefixes string, err error) {
	if a := attr(e, "Algorithm"); a != exclusiveTransform {
		return "", fmt.Errorf("canonicalization %s is refused", quote(a))
	}
	kept, err := maybe(e, nsExclusive, "InclusiveNamespaces")
	if err != nil || len(elements(e)) > 1 || kept == nil && len(elements(e)) > 0 {
		return "", fmt.Errorf("%s with something else than InclusiveNamespaces", e.Tag)
	}
	if kept == nil {
		return "", nil
	}
	if len(elements(kept)) > 0 { // it would be canonicalized before anything is known of who wrote it
		return "", errors.New("InclusiveNamespaces with elements in it")
	}
	if prefixes = attr(kept, "PrefixList"); len(prefixes) > 1000 {
		return "", errors.New("too many prefixes in InclusiveNamespaces")
	}
	return prefixes, nil
}

// binary returns the bytes that the one child of that name holds.
func binary(e *etree.Element, tag string) ([]byte, error) {
	c, err := one(e, nsSignature, tag)
	if err != nil {
		return nil, err
	}
	s, err := text(c)
	if err != nil {
		return nil, err
	}
	b, err := decodeBase64(s)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is no base64", tag)
	}
	return b, nil
}

// canonical returns e by Exclusive XML Canonicalization 1.0 without comments. e is taken out of its document and changed.
// What would be larger than documents may be is refused before it is written.
func canonical(e *etree.Element, prefixes string, l limits) ([]byte, error) {
	inherit(e, e.Parent())
	var defaults map[*etree.Element]string
	if slices.Contains(strings.Fields(prefixes), "#default") { // which the library takes for a prefix of that name
		defaults = map[*etree.Element]string{}
		noteDefaults(e, "", defaults)
	}
	if err := etreeutils.TransformExcC14n(e, prefixes, false); err != nil {
		return nil, fmt.Errorf("canonicalization: %w", err)
	}
	if defaults != nil {
		keepDefaults(e, "", defaults)
	}
	if n := sizeOfValues(e); n > int64(l.bytes) {
		return nil, fmt.Errorf("canonicalization: more than %d bytes come of it", n)
	}
	doc := etree.NewDocument()
	doc.SetRoot(e)
	doc.WriteSettings = etree.WriteSettings{CanonicalAttrVal: true, CanonicalEndTags: true, CanonicalText: true}
	b, err := doc.WriteToBytes()
	if err == nil && len(b) == 0 {
		err = errors.New("nothing came of it")
	}
	if err != nil {
		return nil, fmt.Errorf("canonicalization: %w", err)
	}
	return b, nil
}

// sizeOfValues returns how many bytes the attributes of e and of all in it have. Canonicalization declares a namespace anew at each
// element that is first to use it: of a long name and many elements, gigabytes come that were a few kilobytes.
func sizeOfValues(e *etree.Element) (n int64) {
	for i := range e.Attr {
		n += int64(len(e.Attr[i].Value))
	}
	for _, t := range e.Child {
		if c, ok := t.(*etree.Element); ok {
			n += sizeOfValues(c)
		}
	}
	return n
}

// noteDefaults notes which default namespace each element has, in one that has this.
func noteDefaults(e *etree.Element, outer string, noted map[*etree.Element]string) {
	if value, there := lookup(e, "xmlns"); there {
		outer = value
	}
	noted[e] = outer
	for _, c := range elements(e) {
		noteDefaults(c, outer, noted)
	}
}

// keepDefaults declares default namespaces as inclusive canonicalization does: wherever one begins, used or not.
func keepDefaults(e *etree.Element, declared string, noted map[*etree.Element]string) {
	e.RemoveAttr("xmlns")
	if noted[e] != declared {
		declared = noted[e]
		e.Attr = slices.Insert(e.Attr, 0, etree.Attr{Key: "xmlns", Value: declared}) // it comes before all others
	}
	for _, c := range elements(e) {
		keepDefaults(c, declared, noted)
	}
}

// signedBy reports whether value is the signature of data by one of the keys, which passed checkPublic when they were read.
func signedBy(keys []crypto.PublicKey, algorithm string, data, value []byte) bool {
	method, ok := signatureMethods[algorithm]
	if !ok {
		return false
	}
	h := method.hash.New()
	h.Write(data)
	digest := h.Sum(nil)
	for _, key := range keys {
		switch key := key.(type) {
		case *rsa.PublicKey:
			if method.rsa && rsa.VerifyPKCS1v15(key, method.hash, digest, value) == nil {
				return true
			}
		case *ecdsa.PublicKey:
			if !method.rsa && verifyECDSA(key, digest, value) {
				return true
			}
		}
	}
	return false
}

// verifyECDSA takes a signature as XML Signature 1.1 §6.4.3 has it: r and s, each as long as the order of the curve. The
// ASN.1 of other protocols is refused.
func verifyECDSA(key *ecdsa.PublicKey, digest, value []byte) bool {
	n := (key.Curve.Params().N.BitLen() + 7) / 8
	if len(value) != 2*n {
		return false
	}
	return ecdsa.Verify(key, digest, new(big.Int).SetBytes(value[:n]), new(big.Int).SetBytes(value[n:]))
}

// checkPublic refuses keys that nothing should be signed or encrypted with.
func checkPublic(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits || key.E < 3 || key.E%2 == 0 {
			return fmt.Errorf("RSA keys need %d to %d bits", minRSABits, maxRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		if key != nil && (key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()) {
			return nil
		}
		return errors.New("ECDSA keys need the curve P-256, P-384 or P-521")
	}
	return fmt.Errorf("keys of type %T are refused", key)
}

// sign returns the signature of data, as XML writes it.
func (k *Key) sign(algorithm SignatureAlgorithm, data []byte) ([]byte, error) {
	method := signatureMethods[string(algorithm)]
	h := method.hash.New()
	h.Write(data)
	value, err := k.Private.Sign(rand.Reader, h.Sum(nil), method.hash)
	if err != nil || method.rsa {
		return value, err
	}
	return rawECDSA(k.Certificate.PublicKey, value)
}

// rawECDSA turns the ASN.1 form of an ECDSA signature into r and s.
func rawECDSA(public crypto.PublicKey, der []byte) ([]byte, error) {
	key, ok := public.(*ecdsa.PublicKey)
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &rs); !ok || err != nil || len(rest) > 0 {
		return nil, errors.New("the key made no ECDSA signature")
	}
	n := (key.Curve.Params().N.BitLen() + 7) / 8
	raw := make([]byte, 2*n)
	rs.R.FillBytes(raw[:n])
	rs.S.FillBytes(raw[n:])
	return raw, nil
}

// envelop signs e, which has an ID, and puts the signature behind its Issuer, where the schemas of SAML have it; in one
// without an Issuer it comes first.
func (k *Key) envelop(algorithm SignatureAlgorithm, e *etree.Element) error {
	ctx, err := dsig.NewSigningContext(k.Private, [][]byte{k.Certificate.Raw})
	if err != nil {
		return err
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(string(algorithm)); err != nil {
		return err
	}
	sig, err := ctx.ConstructSignature(e.Copy(), true) // it changes what it signs
	if err != nil {
		return err
	}
	if !signatureMethods[string(algorithm)].rsa {
		if err := rewriteECDSA(sig, k.Certificate); err != nil {
			return err
		}
	}
	if k.Name != "" {
		if info, err := one(sig, nsSignature, "KeyInfo"); err == nil {
			info.CreateElement(ctx.Prefix + ":KeyName").SetText(k.Name)
		}
	}
	at := 0
	if issuer, _ := maybe(e, nsAssertion, "Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	e.InsertChildAt(at, sig)
	return nil
}

// rewriteECDSA replaces the ASN.1 that goxmldsig writes.
func rewriteECDSA(sig *etree.Element, certificate *x509.Certificate) error {
	value, err := one(sig, nsSignature, "SignatureValue")
	if err != nil {
		return err
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value.Text()))
	if err != nil {
		return err
	}
	raw, err := rawECDSA(certificate.PublicKey, der)
	if err != nil {
		return err
	}
	value.SetText(base64.StdEncoding.EncodeToString(raw))
	return nil
}
