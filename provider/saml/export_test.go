package saml

import (
	"crypto"

	"github.com/beevik/etree"
)

// Canonical is for tests that compare octets.
func Canonical(e *etree.Element, prefixes string) ([]byte, error) {
	return canonical(e, prefixes, ofMessage)
}

// Verified is for tests that verify what no parser yields.
func Verified(e *etree.Element, key crypto.PublicKey) (*etree.Element, error) {
	return verified(e, []crypto.PublicKey{key}, ofMessage)
}

// Parse is for tests that look at nothing else.
func Parse(data []byte) (*etree.Element, error) { return parse(data, ofMessage) }

// VerifyResponse is for tests of responses that no parser yields.
func VerifyResponse(p *Provider, e *etree.Element, key crypto.PublicKey) error {
	_, _, err := p.verifyResponse(e, []crypto.PublicKey{key}, false)
	return err
}
