package saml

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

// An envelope is a Response: what it says about itself.
type envelope struct {
	header
	signed bool // it is covered by a signature as a whole
}

// open takes an answer apart until there is one assertion that a trusted key has signed, and returns that. Whatever is read
// in the end comes from bytes that a verified signature covers; what is read before can only end the login.
func (p *Provider) open(up *upstream, in *inbound, l *login) (*assertion, error) {
	keys, err := p.keys(up)
	if err != nil {
		return nil, err
	}
	if in.detached != nil {
		if err := in.detached.verify(keys); err != nil {
			return nil, err
		}
	}
	response, err := parse(in.data, ofMessage)
	if err != nil {
		return nil, err
	}
	response, signed, err := p.verifyResponse(response, keys, in.detached != nil || in.covered)
	if err != nil {
		return nil, err
	}
	env := envelope{signed: signed}
	if env.header, err = readHeader(response); err != nil {
		return nil, err
	}
	if err := p.checkEnvelope(up, &env, l); err != nil {
		return nil, err
	}
	inner, whole, err := p.verifyAssertion(response, keys, signed, in.keep)
	if err != nil {
		return nil, err
	}
	a, err := p.readAssertion(inner)
	if err == nil && in.keep {
		a.tokens = &provider.Tokens{AccessToken: whole, TokenType: "N_A", IssuedType: provider.TypeSAML2}
	}
	return a, err
}

// verifyResponse looks whether it is a Response that somebody was signed in by, and at its signature if it has one.
func (p *Provider) verifyResponse(response *etree.Element, keys []crypto.PublicKey, signed bool) (*etree.Element, bool, error) {
	if !is(response, nsProtocol, "Response") {
		return nil, false, fmt.Errorf("it is a %s", quote(response.Tag))
	}
	s, err := readStatus(response)
	if err != nil {
		return nil, false, err
	}
	if err := s.err(); err != nil {
		return nil, false, err
	}
	if err := checkParts(response); err != nil {
		return nil, false, err
	}
	if !hasSignature(response) {
		return response, signed, nil
	}
	if response, err = verified(response, keys, ofMessage); err != nil {
		return nil, false, err
	}
	// What was signed may be something else than what stood around it.
	if !is(response, nsProtocol, "Response") {
		return nil, false, errors.New("no Response was signed")
	}
	if s, err = readStatus(response); err != nil {
		return nil, false, err
	}
	return response, true, errors.Join(s.err(), checkParts(response))
}

// checkParts refuses a Response with anything in it that has to be chosen from: all wrapping of signatures is about
// showing one assertion to who verifies and another to who reads.
func checkParts(response *etree.Element) error {
	assertions := append(all(response, nsAssertion, "Assertion"), all(response, nsAssertion, "EncryptedAssertion")...)
	if len(assertions) != 1 {
		return fmt.Errorf("%d assertions", len(assertions))
	}
	signatures := len(all(response, nsSignature, "Signature")) + len(all(assertions[0], nsSignature, "Signature"))
	var c census
	c.count(response)
	if c.assertions != 1 || c.signatures != signatures {
		return errors.New("assertions or signatures at unusual places")
	}
	return nil
}

// A census counts, wherever they stand, the elements that matter most.
type census struct{ assertions, signatures int }

func (c *census) count(e *etree.Element) {
	switch e.Tag {
	case "Assertion", "EncryptedAssertion":
		c.assertions++
	case "Signature":
		c.signatures++
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok {
			c.count(child)
		}
	}
}

// verifyAssertion returns the assertion of a response, decrypted, as a signature covers it: its own, or that of the
// whole response, which covers the ciphertext too. With keep it returns the base64url of the whole of it as well.
func (p *Provider) verifyAssertion(response *etree.Element, keys []crypto.PublicKey, signed, keep bool) (
	inner *etree.Element, whole string, err error) {
	if inner, err = p.assertionIn(response, signed); err != nil {
		return nil, "", err
	}
	if keep {
		if whole, err = standalone(inner); err != nil {
			return nil, "", err
		}
	}
	switch own := hasSignature(inner); {
	case own:
		if inner, err = verified(inner, keys, ofMessage); err != nil {
			return nil, "", err
		}
	case p.cfg.WantAssertionsSigned:
		return nil, "", errors.New("the assertion has no signature of its own (WantAssertionsSigned)")
	case !signed:
		return nil, "", errors.New("neither the response nor the assertion is signed")
	}
	if !is(inner, nsAssertion, "Assertion") {
		return nil, "", errors.New("no assertion was signed")
	}
	return inner, whole, nil
}

// assertionIn returns the assertion of a response, decrypted if need be.
func (p *Provider) assertionIn(response *etree.Element, signed bool) (*etree.Element, error) {
	inner, err := maybe(response, nsAssertion, "Assertion")
	if err != nil {
		return nil, err
	}
	if inner != nil {
		if p.cfg.WantAssertionsEncrypted {
			return nil, errors.New("the assertion is not encrypted (WantAssertionsEncrypted)")
		}
		return inner, nil
	}
	encrypted, err := one(response, nsAssertion, "EncryptedAssertion")
	if err != nil {
		return nil, err
	}
	if inner, err = p.decrypt(encrypted, signed); err != nil {
		return nil, err
	}
	return inner, checkDecrypted(inner)
}

// standalone writes an element as a document of its own, in base64url (RFC 8693 §3, RFC 7522 §2.1). Its signature stays good: what
// it needs of the prefixes around it is declared on it.
func standalone(e *etree.Element) (string, error) {
	root := e.Copy()
	inherit(root, e.Parent())
	doc := etree.NewDocument()
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	doc.SetRoot(root)
	text, err := doc.WriteToBytes()
	return base64.RawURLEncoding.EncodeToString(text), err
}

// checkDecrypted makes the checks of checkParts for what could not be looked into by then.
func checkDecrypted(e *etree.Element) error {
	var c census
	c.count(e)
	if !is(e, nsAssertion, "Assertion") || c.assertions != 1 || c.signatures != len(all(e, nsSignature, "Signature")) {
		return errors.New("what was encrypted is not one assertion")
	}
	return nil
}
