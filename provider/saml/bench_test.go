package saml_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// BenchmarkFinish verifies the same message with this package, with gosaml2, and as little as it could be: one RSA
// signature, one digest, one pass over the XML and over what was encrypted in it.
func BenchmarkFinish(b *testing.B) {
	p := newProvider(b, decrypting(config()))
	data, id := begin(b, p, provider.Request{})
	for _, m := range []struct {
		name   string
		change func(*forge)
	}{
		{"signed response", func(f *forge) { f.signed = "r" }},
		{"signed assertion", func(f *forge) { f.signed = "a" }},
		{"both signed", func(f *forge) { f.signed = "ra" }},
		{"signed and encrypted", func(f *forge) { f.signed, f.encrypt = "a", gcm(spKey()).encrypt }},
		{"5000 values", func(f *forge) {
			values := make([]string, 5000)
			for i := range values {
				values[i] = fmt.Sprint("group-", i)
			}
			f.attributes = attribute("groups", values...)
		}},
	} {
		f := newForge(id)
		m.change(f)
		doc := f.response(b)
		b.Run(m.name+"/saml", func(b *testing.B) {
			repeat(b, func() {
				if _, err := finish(b, p, data, doc); err != nil {
					b.Fatal(err)
				}
			})
		})
		if strings.HasPrefix(m.name, "5000") { // which gosaml2 refuses
			continue
		}
		b.Run(m.name+"/gosaml2", func(b *testing.B) {
			sp := gosaml2SP()
			encoded := base64Of([]byte(doc))
			repeat(b, func() {
				if _, err := sp.RetrieveAssertionInfo(encoded); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(m.name+"/least", func(b *testing.B) {
			key := idpKey().Private.(*rsa.PrivateKey)
			digest := sha256.Sum256([]byte(doc))
			value, err := key.Sign(nil, digest[:], crypto.SHA256)
			must(err)
			documents := []string{doc}
			if f.encrypt != nil { // what is in it has to be read as well
				f.encrypt = nil
				documents = append(documents, write(read(b, f.response(b)).FindElement("./saml:Assertion")))
			}
			repeat(b, func() {
				digest := sha256.Sum256([]byte(doc))
				must(rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], value))
				if len(documents) > 1 {
					_, _ = spKey().Private.(*rsa.PrivateKey).Decrypt(nil, value, &rsa.OAEPOptions{Hash: crypto.SHA1})
				}
				for _, document := range documents {
					for d := xml.NewDecoder(strings.NewReader(document)); ; {
						if _, err := d.RawToken(); err != nil {
							break
						}
					}
				}
			})
		})
	}
	b.Run("RSA-OAEP", func(b *testing.B) { // of which neither side can have less
		value := make([]byte, 256)
		repeat(b, func() {
			_, _ = spKey().Private.(*rsa.PrivateKey).Decrypt(nil, value, &rsa.OAEPOptions{Hash: crypto.SHA1})
		})
	})
}

// repeat reports the time of processors too, collections included: the clock's depends on what else the machine does.
func repeat(b *testing.B, do func()) {
	b.ReportAllocs()
	cost := providertest.Measure(func() {
		for b.Loop() {
			do()
		}
	})
	b.ReportMetric(float64(cost.Time.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func gosaml2SP() *saml2.SAMLServiceProvider {
	return &saml2.SAMLServiceProvider{
		IdentityProviderSSOURL:      ssoURL,
		IdentityProviderIssuer:      idpEntity,
		ServiceProviderIssuer:       spEntity,
		AssertionConsumerServiceURL: acs,
		AudienceURI:                 spEntity,
		IDPCertificateStore:         &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{idpKey().Certificate}},
		Clock:                       dsig.NewFakeClockAt(epoch),
		SPKeyStore: dsig.TLSCertKeyStore(tls.Certificate{
			Certificate: [][]byte{spKey().Certificate.Raw}, PrivateKey: spKey().Private,
		}),
	}
}
