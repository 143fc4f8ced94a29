package providertest_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"github.com/beevik/etree"
	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

func inflate(data []byte) []byte {
	out, _ := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), 1<<20)) // what comes of it is looked at
	return out
}

// decryptXML is decryption without care.
func decryptXML(e *etree.Element) ([]byte, error) {
	key64, text64 := e.FindElement(".//EncryptedKey/CipherData/CipherValue"), e.FindElement("./EncryptedData/CipherData/CipherValue")
	if key64 == nil || text64 == nil {
		return nil, errors.New("no ciphertext")
	}
	wrapped, err := base64.StdEncoding.DecodeString(key64.Text())
	if err != nil {
		return nil, err
	}
	text, err := base64.StdEncoding.DecodeString(text64.Text())
	if err != nil {
		return nil, err
	}
	key, err := rsa.DecryptOAEP(crypto.SHA1.New(), rand.Reader, samlSPKey().private, wrapped, nil)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(e.FindElement(".//EncryptionMethod").SelectAttrValue("Algorithm", ""), "gcm") {
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		return aead.Open(nil, nil, text, nil)
	}
	return nil, errors.New("not by GCM")
}

func gosaml(idp *providertest.SAML) *saml2.SAMLServiceProvider {
	return &saml2.SAMLServiceProvider{
		IdentityProviderSSOURL: idp.SSO(), IdentityProviderIssuer: idp.EntityID(), ServiceProviderIssuer: samlSP, AssertionConsumerServiceURL: samlACS,
		SignAuthnRequests: true, AudienceURI: samlSP, IDPCertificateStore: &dsig.MemoryX509CertificateStore{Roots: idp.Certificates()},
		SPKeyStore: samlSPKey(), SignAuthnRequestsCanonicalizer: dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(""),
		SignAuthnRequestsAlgorithm: dsig.RSASHA256SignatureMethod,
	}
}
