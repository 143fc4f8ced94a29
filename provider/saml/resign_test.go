package saml_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider/saml"
)

// resign changes SignedInfo as an identity provider would write it that signs in its own way, and signs that.
func resign(t *testing.T, key saml.Key, r *etree.Element, edit func(info *etree.Element)) {
	t.Helper()
	info := r.FindElement(".//ds:SignedInfo")
	edit(info)
	alone := info.Copy()
	alone.CreateAttr("xmlns:ds", dsig.Namespace)
	data, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(alone)
	must(err)
	digest := sha256.Sum256(data)
	value, err := key.Private.Sign(rand.Reader, digest[:], crypto.SHA256)
	must(err)
	if key.Certificate.PublicKeyAlgorithm == x509.ECDSA {
		value = rawOf(value, 32)
	}
	r.FindElement(".//ds:SignatureValue").SetText(base64Of(value))
}

// A key that is trusted does not make every form of signature trusted: only one says what it covers.
func TestSignedInfoRefused(t *testing.T) {
	t.Parallel()
	set := func(path, value string) func(*etree.Element) {
		return func(info *etree.Element) { info.FindElement(path).CreateAttr("Algorithm", value) }
	}
	ecdsaSigned := func(c *saml.Config) { c.Certificates = []*x509.Certificate{ecKey().Certificate, idpKey().Certificate} }
	tests := []struct {
		name, want string
		key        saml.Key
		config     func(*saml.Config)
		edit       func(*etree.Element)
	}{
		{"as it was", "", idpKey(), nil, func(*etree.Element) {}},
		{"as it was, ECDSA", "", ecKey(), ecdsaSigned, set("./ds:SignatureMethod", string(saml.ECDSASHA256))},
		{"RSA that says it is ECDSA", "none of the keys", idpKey(), ecdsaSigned, set("./ds:SignatureMethod", string(saml.ECDSASHA256))},
		{"ECDSA that says it is RSA", "none of the keys", ecKey(), ecdsaSigned, set("./ds:SignatureMethod", string(saml.RSASHA256))},
		{"another reference before", "elements in SignedInfo", idpKey(), nil, func(info *etree.Element) {
			r := info.FindElement("./ds:Reference")
			other := r.Copy()
			other.CreateAttr("URI", "#_resp")
			info.InsertChildAt(r.Index(), other)
		}},
		{"another reference behind", "elements in SignedInfo", idpKey(), nil, func(info *etree.Element) {
			info.AddChild(info.FindElement("./ds:Reference").Copy())
		}},
		{"no reference", "elements in SignedInfo", idpKey(), nil, func(info *etree.Element) { info.RemoveChild(info.FindElement("./ds:Reference")) }},
		{"another order", "want", idpKey(), nil, func(info *etree.Element) { info.AddChild(info.FindElement("./ds:SignatureMethod")) }},
		{"of another namespace", "want", idpKey(), nil, func(info *etree.Element) {
			e := info.FindElement("./ds:SignatureMethod")
			e.Space = "x"
			e.CreateAttr("xmlns:x", "urn:x")
		}},
		{"the whole document", "something else", idpKey(), nil, func(info *etree.Element) { info.FindElement("./ds:Reference").CreateAttr("URI", "") }},
		{"the element around it", "something else", idpKey(), nil, func(info *etree.Element) { info.FindElement("./ds:Reference").CreateAttr("URI", "#_resp") }},
		{"by pointer", "something else", idpKey(), nil, func(info *etree.Element) {
			info.FindElement("./ds:Reference").CreateAttr("URI", "#xpointer(id('_assert'))")
		}},
		{"not enveloped", "transform", idpKey(), nil, set("./ds:Reference/ds:Transforms/ds:Transform[1]", string(dsig.CanonicalXML10ExclusiveAlgorithmId))},
		{"by XPath", "transform", idpKey(), nil, set("./ds:Reference/ds:Transforms/ds:Transform[1]", "http://www.w3.org/TR/1999/REC-xpath-19991116")},
		{"with something in it", "transform", idpKey(), nil, func(info *etree.Element) {
			info.FindElement(".//ds:Transform[1]").CreateElement("ds:XPath").SetText("//x")
		}},
		{"one transform only", "Transforms", idpKey(), nil, func(info *etree.Element) {
			e := info.FindElement(".//ds:Transforms")
			e.RemoveChild(e.FindElement("./ds:Transform[1]"))
		}},
		{"three transforms", "Transforms", idpKey(), nil, func(info *etree.Element) {
			e := info.FindElement(".//ds:Transforms")
			e.AddChild(e.FindElement("./ds:Transform[2]").Copy())
		}},
		{"inclusive", "canonicalization", idpKey(), nil, set(".//ds:Transform[2]", string(dsig.CanonicalXML10RecAlgorithmId))},
		{"with comments", "canonicalization", idpKey(), nil, set(".//ds:Transform[2]", string(dsig.CanonicalXML10ExclusiveWithCommentsAlgorithmId))},
		{"SignedInfo inclusive", "canonicalization", idpKey(), nil, set("./ds:CanonicalizationMethod", string(dsig.CanonicalXML11AlgorithmId))},
		{"exclusive with something else in it", "InclusiveNamespaces", idpKey(), nil, func(info *etree.Element) {
			info.FindElement(".//ds:Transform[2]").CreateElement("ds:XPath").SetText("//x")
		}},
		{"exclusive with something beside the prefixes", "InclusiveNamespaces", idpKey(), nil, func(info *etree.Element) {
			e := info.FindElement("./ds:CanonicalizationMethod")
			keepPrefixes(e, "")
			e.CreateElement("ds:XPath").SetText("//x")
		}},
		{"with prefixes twice", "InclusiveNamespaces", idpKey(), nil, func(info *etree.Element) {
			e := info.FindElement("./ds:CanonicalizationMethod")
			keepPrefixes(e, "")
			keepPrefixes(e, "")
		}},
		{"too many prefixes", "too many prefixes", idpKey(), nil, func(info *etree.Element) {
			keepPrefixes(info.FindElement("./ds:CanonicalizationMethod"), strings.Repeat("p ", 501))
		}},
		{"digest of SHA-1", "digest algorithm", idpKey(), nil, set(".//ds:DigestMethod", "http://www.w3.org/2000/09/xmldsig#sha1")},
		{"digest of nothing", "DigestValue", idpKey(), nil, func(info *etree.Element) { info.FindElement(".//ds:DigestValue").SetText("") }},
		{"digest of something else", "digest", idpKey(), nil, func(info *etree.Element) {
			info.FindElement(".//ds:DigestValue").SetText(base64Of(make([]byte, 32)))
		}},
		{"truncated HMAC", "signature algorithm", idpKey(), nil, func(info *etree.Element) {
			info.FindElement("./ds:SignatureMethod").CreateElement("ds:HMACOutputLength").SetText("8")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			if test.config != nil {
				test.config(&cfg)
			}
			identity, err := try(t, cfg, func(f *forge) {
				f.after = func(r *etree.Element) { resign(t, test.key, r, test.edit) }
			})
			if test.want != "" {
				refused(t, identity, err, test.want)
			} else if err != nil || identity.Subject != "alice-1" {
				t.Errorf("identity %+v, error %v", identity, err)
			}
		})
	}
	cfg := config()
	ecdsaSigned(&cfg)
	for _, at := range []int{0, 32, 64} { // s has two lengths, if the two halves may have any
		identity, err := try(t, cfg, func(f *forge) {
			f.key, f.method = ecKey(), string(saml.ECDSASHA256)
			f.after = func(r *etree.Element) {
				v := r.FindElement(".//ds:SignatureValue")
				v.SetText(base64Of(slices.Insert(decode(t, v.Text()), at, 0)))
			}
		})
		refused(t, identity, err, "none of the keys")
	}
}

// keepPrefixes has a canonicalization keep prefixes that nothing uses.
func keepPrefixes(method *etree.Element, prefixes string) {
	kept := method.CreateElement("ec:InclusiveNamespaces")
	kept.CreateAttr("xmlns:ec", "http://www.w3.org/2001/10/xml-exc-c14n#")
	kept.CreateAttr("PrefixList", prefixes)
}

// The prefixes that InclusiveNamespaces names are kept, as Shibboleth's signatures need it.
func TestInclusiveNamespaces(t *testing.T) {
	t.Parallel()
	identity, err := try(t, config(), func(f *forge) {
		f.edit = func(r *etree.Element) {
			r.CreateAttr("xmlns:xs", "http://www.w3.org/2001/XMLSchema")
			for _, v := range r.FindElements(".//saml:AttributeValue") {
				v.RemoveAttr("xmlns:xs")
			}
		}
		f.canonical = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("xs")
		f.after = func(r *etree.Element) {
			resign(t, idpKey(), r, func(info *etree.Element) {
				keepPrefixes(info.FindElement(".//ds:Transform[2]"), "xs")
			})
		}
	})
	if err != nil || identity.Subject != "alice-1" {
		t.Errorf("identity %+v, error %v", identity, err)
	}
}
