package saml

import "github.com/beevik/etree"

// Canonical is for tests that compare octets.
func Canonical(e *etree.Element, prefixes string) ([]byte, error) {
	return canonical(e, prefixes, ofMessage)
}
