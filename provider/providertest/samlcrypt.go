package providertest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
)

// SAMLEncryption is how assertions are encrypted. The zero value is AES-256-GCM with RSA-OAEP as XML Encryption 1.0 has it.
type SAMLEncryption struct {
	Data string // "aes128-gcm", "aes256-gcm", "aes128-cbc" or "aes256-cbc"; "" is "aes256-gcm"
	// SHA256 wraps the key with RSA-OAEP whose digest and mask are by SHA-256 (XML Encryption 1.1) in place of SHA-1.
	SHA256 bool
}

var xmlDataMethods = map[string]struct {
	uri  string
	size int
	gcm  bool
}{
	"aes128-gcm": {xmlEnc11NS + "aes128-gcm", 16, true},
	"aes256-gcm": {xmlEnc11NS + "aes256-gcm", 32, true},
	"aes128-cbc": {xmlEncNS + "aes128-cbc", 16, false},
	"aes256-cbc": {xmlEncNS + "aes256-cbc", 32, false},
}

func (e SAMLEncryption) check() error {
	if _, ok := xmlDataMethods[e.Data]; !ok && e.Data != "" {
		return fmt.Errorf("providertest: no encryption %q", e.Data)
	}
	return nil
}

// element returns plain as EncryptedAssertion, or another element of that kind.
func (e SAMLEncryption) element(tag, plain string, to *x509.Certificate) (string, error) {
	if e.Data == "" {
		e.Data = "aes256-gcm"
	}
	method := xmlDataMethods[e.Data]
	key := make([]byte, method.size)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	ciphertext, err := sealXML(block, method.gcm, []byte(plain))
	if err != nil {
		return "", err
	}
	return e.wrapped(tag, ciphertext, key, to)
}

// wrapped is element for a ciphertext, whatever it is.
func (e SAMLEncryption) wrapped(tag string, ciphertext, key []byte, to *x509.Certificate) (string, error) {
	public, ok := to.PublicKey.(*rsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("providertest: assertions are encrypted for RSA keys only, not for %T", to.PublicKey)
	}
	hash, algorithm := crypto.SHA1, `"`+xmlEncNS+`rsa-oaep-mgf1p"><ds:DigestMethod Algorithm="`+xmlSignatureNS+`sha1"/>`
	if e.SHA256 {
		hash, algorithm = crypto.SHA256, `"`+xmlEnc11NS+`rsa-oaep"><ds:DigestMethod Algorithm="`+xmlEncNS+
			`sha256"/><e11:MGF xmlns:e11="`+xmlEnc11NS+`" Algorithm="`+xmlEnc11NS+`mgf1sha256"/>`
	}
	wrapped, err := rsa.EncryptOAEPWithOptions(rand.Reader, public, key, &rsa.OAEPOptions{Hash: hash, MGFHash: hash})
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return strings.NewReplacer("TAG", tag, "DATA", xmlDataMethods[e.Data].uri, "KEY", algorithm, "WRAPPED", b64(wrapped), "CIPHER", b64(ciphertext)).
		Replace(`<saml:TAG xmlns:saml="` + samlAssertionNS + `"><xenc:EncryptedData xmlns:xenc="` + xmlEncNS + `" Type="` + xmlEncNS +
			`Element"><xenc:EncryptionMethod Algorithm="DATA"/><ds:KeyInfo xmlns:ds="` + xmlSignatureNS +
			`"><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm=KEY</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>WRAPPED` +
			`</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>CIPHER` +
			`</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:TAG>`), nil
}

// sealXML encrypts as XML Encryption 1.1 §5.2 says: the nonce stands before the ciphertext.
func sealXML(block cipher.Block, gcm bool, plain []byte) ([]byte, error) {
	if gcm {
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		return aead.Seal(nil, nil, plain, nil), nil
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, make([]byte, padding)...)
	plain[len(plain)-1] = byte(padding)
	out := make([]byte, aes.BlockSize+len(plain))
	_, _ = rand.Read(out[:aes.BlockSize]) // never fails
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], plain)
	return out, nil
}
