package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // the hash of RSA-OAEP as XML Encryption has it; nothing depends on its collisions
	"errors"

	"github.com/beevik/etree"
)

const maxEncryptedKeys = 8

// errDecrypt is all that is ever said: what exactly was wrong would help nobody but who sends changed ciphertexts.
var errDecrypt = errors.New("it cannot be decrypted")

// A dataMethod is how content is encrypted.
type dataMethod struct {
	keySize int
	gcm     bool
}

var dataMethods = map[string]dataMethod{
	nsEncryption11 + "aes128-gcm": {16, true},
	nsEncryption11 + "aes192-gcm": {24, true},
	nsEncryption11 + "aes256-gcm": {32, true},
	nsEncryption + "aes128-cbc":   {16, false},
	nsEncryption + "aes192-cbc":   {24, false},
	nsEncryption + "aes256-cbc":   {32, false},
}

// oaepHashes are those of RSA-OAEP: SHA-1, its default, is no weakness there.
var (
	oaepDigests = map[string]crypto.Hash{
		"":                                       crypto.SHA1,
		"http://www.w3.org/2000/09/xmldsig#sha1": crypto.SHA1,
		"http://www.w3.org/2001/04/xmlenc#sha256":       crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384,
		"http://www.w3.org/2001/04/xmlenc#sha512":       crypto.SHA512,
	}
	oaepMasks = map[string]crypto.Hash{
		"":                            crypto.SHA1,
		nsEncryption11 + "mgf1sha1":   crypto.SHA1,
		nsEncryption11 + "mgf1sha256": crypto.SHA256,
		nsEncryption11 + "mgf1sha384": crypto.SHA384,
		nsEncryption11 + "mgf1sha512": crypto.SHA512,
	}
)

// decrypt returns the element that is encrypted in e: an EncryptedAssertion, EncryptedID or EncryptedAttribute. covered
// says that a verified signature covers the ciphertext, without which content that is not authenticated by itself is
// refused. Whoever has the public key can encrypt: that something could be decrypted says nothing about who wrote it.
func (p *Provider) decrypt(e *etree.Element, covered bool) (*etree.Element, error) {
	data, err := one(e, nsEncryption, "EncryptedData")
	if err != nil {
		return nil, err
	}
	method, err := p.dataMethod(data, covered)
	if err != nil {
		return nil, err
	}
	ciphertext, ok := cipherValue(data)
	keys, err := encryptedKeys(e, data)
	if err != nil {
		return nil, err
	}
	// From here on everything takes the same way, whatever fails: with no key at all the content is tried with a random one.
	key := make([]byte, method.keySize)
	_, _ = rand.Read(key) // never fails
	for _, k := range keys {
		if found := p.unwrap(k); len(found) == method.keySize {
			key = found
		}
	}
	plain, err := method.open(key, ciphertext)
	if err != nil || !ok {
		return nil, errDecrypt
	}
	inner, err := parseIn(e, plain, ofMessage)
	if err != nil {
		return nil, errDecrypt
	}
	return inner, nil
}

func (p *Provider) dataMethod(data *etree.Element, covered bool) (m dataMethod, err error) {
	if len(p.cfg.DecryptionKeys) == 0 {
		return m, errors.New("it is encrypted, and there are no DecryptionKeys")
	}
	e, err := one(data, nsEncryption, "EncryptionMethod")
	if err != nil {
		return m, err
	}
	m, ok := dataMethods[attr(e, "Algorithm")]
	switch {
	case !ok:
		return m, errors.New("encryption algorithm " + quote(attr(e, "Algorithm")) + " is refused")
	case !m.gcm && !p.cfg.InsecureAllowCBC:
		return m, errors.New("it is encrypted in CBC mode (InsecureAllowCBC allows that in a signed response)")
	case !m.gcm && !covered:
		return m, errors.New("it is encrypted in CBC mode, and no signature covers that")
	}
	return m, nil
}

// encryptedKeys returns the EncryptedKeys of data, which are in it or beside it.
func encryptedKeys(e, data *etree.Element) ([]*etree.Element, error) {
	keys := all(e, nsEncryption, "EncryptedKey")
	for _, info := range all(data, nsSignature, "KeyInfo") {
		keys = append(keys, all(info, nsEncryption, "EncryptedKey")...)
	}
	if len(keys) == 0 || len(keys) > maxEncryptedKeys {
		return nil, errors.New("it is encrypted with no key, or with too many")
	}
	return keys, nil
}

// unwrap decrypts an EncryptedKey with each of our keys; nil if none does.
func (p *Provider) unwrap(e *etree.Element) []byte {
	options := oaepOptions(e)
	wrapped, ok := cipherValue(e)
	if options == nil || !ok {
		return nil
	}
	var key []byte
	for i := range p.cfg.DecryptionKeys {
		private, ok := p.cfg.DecryptionKeys[i].Private.(crypto.Decrypter)
		if !ok {
			continue
		}
		if found, err := private.Decrypt(rand.Reader, wrapped, options); err == nil {
			key = found
		}
	}
	return key
}

// oaepOptions reads how a key is wrapped (XML Encryption 1.1 §5.5); nil if that is refused, as PKCS #1 v1.5 is.
func oaepOptions(key *etree.Element) *rsa.OAEPOptions {
	e, err := one(key, nsEncryption, "EncryptionMethod")
	if err != nil {
		return nil
	}
	var digest, mask, label string
	for _, c := range elements(e) {
		switch {
		case is(c, nsSignature, "DigestMethod"):
			digest = attr(c, "Algorithm")
		case is(c, nsEncryption11, "MGF"):
			mask = attr(c, "Algorithm")
		case is(c, nsEncryption, "OAEPparams"):
			label, _ = textOf(c)
		case is(c, nsEncryption, "KeySize"):
		default:
			return nil
		}
	}
	hash, known := oaepDigests[digest]
	maskHash, knownMask := oaepMasks[mask]
	switch algorithm := attr(e, "Algorithm"); {
	case !known || !knownMask:
		return nil
	case algorithm == nsEncryption+"rsa-oaep-mgf1p" && mask == "":
	case algorithm == nsEncryption11+"rsa-oaep":
	default:
		return nil
	}
	options := &rsa.OAEPOptions{Hash: hash, MGFHash: maskHash}
	if label != "" {
		if options.Label, err = decodeBase64(label); err != nil {
			return nil
		}
	}
	return options
}

// cipherValue returns the ciphertext of EncryptedData or EncryptedKey. References to elsewhere are refused.
func cipherValue(e *etree.Element) ([]byte, bool) {
	data, err := one(e, nsEncryption, "CipherData")
	if err != nil {
		return nil, false
	}
	value, err := one(data, nsEncryption, "CipherValue")
	if err != nil {
		return nil, false
	}
	s, ok := textOf(value)
	if !ok {
		return nil, false
	}
	b, err := decodeBase64(s)
	return b, err == nil
}

// open decrypts content, before which its nonce stands (XML Encryption 1.1 §5.2).
func (m dataMethod) open(key, ciphertext []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if m.gcm {
		aead, err := cipher.NewGCM(block)
		if err != nil || len(ciphertext) < aead.NonceSize() {
			return nil, errDecrypt
		}
		return aead.Open(nil, ciphertext[:aead.NonceSize()], ciphertext[aead.NonceSize():], nil)
	}
	const size = aes.BlockSize
	if len(ciphertext) < 2*size || len(ciphertext)%size != 0 {
		return nil, errDecrypt
	}
	plain := make([]byte, len(ciphertext)-size)
	cipher.NewCBCDecrypter(block, ciphertext[:size]).CryptBlocks(plain, ciphertext[size:])
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errDecrypt
	}
	return plain[:len(plain)-padding], nil
}
