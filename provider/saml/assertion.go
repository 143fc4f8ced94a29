package saml

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

const (
	methodBearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	formatEntity = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	// maxMessageAge is how long ago a message may have been issued that a browser has only just brought.
	maxMessageAge = 10 * time.Minute
	maxID         = 1024
	maxSubject    = 1024
)

// A header is what messages and assertions have in common (SAML Core §3.2.1, §2.3.3).
type header struct {
	id           string
	issued       time.Time
	issuer       string // "" if it has none
	destination  string
	inResponseTo *string // nil if it is not there
}

func readHeader(e *etree.Element) (h header, err error) {
	if v := attr(e, "Version"); v != "2.0" {
		return h, fmt.Errorf("version of %s is %s, want 2.0", e.Tag, quote(v))
	}
	if h.id = attr(e, "ID"); h.id == "" || len(h.id) > maxID {
		return h, fmt.Errorf("%s without a usable ID", e.Tag)
	}
	var there bool
	if h.issued, there, err = instant(e, "IssueInstant"); err != nil || !there {
		return h, orMissing(err, "IssueInstant")
	}
	issuer, err := maybe(e, nsAssertion, "Issuer")
	if err != nil {
		return h, err
	}
	if issuer != nil {
		if format := attr(issuer, "Format"); format != "" && format != formatEntity {
			return h, fmt.Errorf("issuer has the format %s", quote(format))
		}
		if h.issuer, err = text(issuer); err != nil {
			return h, err
		}
	}
	h.destination = attr(e, "Destination")
	if s, there := lookup(e, "InResponseTo"); there {
		h.inResponseTo = &s
	}
	return h, nil
}

func orMissing(err error, name string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("no %s", name)
}

// checkIssued refuses what was issued in the future, or too long ago to have come straight.
func (p *Provider) checkIssued(t time.Time) error {
	now, skew := p.now(), p.cfg.ClockSkew
	switch {
	case t.After(now.Add(skew)):
		return errors.New("issued in the future: are both clocks right?")
	case t.Before(now.Add(-maxMessageAge - skew)):
		return errors.New("issued too long ago: are both clocks right?")
	}
	return nil
}

// usableUntil returns when checkIssued refuses what was issued then, whatever else it says: how long it has to be remembered
// that it was used.
func (p *Provider) usableUntil(issued time.Time) time.Time {
	return issued.Add(maxMessageAge + p.cfg.ClockSkew + time.Second)
}

// checkDestination looks where a message was sent to. One that is signed must say it (SAML Bindings §3.4.5.2, §3.5.5.2).
func (h *header) checkDestination(want string, must bool) error {
	if h.destination == want || h.destination == "" && !must {
		return nil
	}
	return fmt.Errorf("destination is %s, want %q", quote(h.destination), want)
}

// checkRequest looks whether it answers this request; "" is none at all.
func checkRequest(inResponseTo *string, want string) error {
	switch {
	case want == "" && inResponseTo != nil:
		return errors.New("it answers a request, and there was none")
	case want == "":
		return nil
	case inResponseTo == nil:
		return errors.New("it does not say which request it answers")
	case subtle.ConstantTimeCompare([]byte(*inResponseTo), []byte(want)) != 1:
		return errors.New("it answers another request")
	}
	return nil
}

// checkEnvelope looks at what the Response says about itself (SAML Profiles §4.1.4.2).
func (p *Provider) checkEnvelope(up *upstream, env *envelope, l *login) error {
	if env.issuer != "" && env.issuer != up.entityID {
		return fmt.Errorf("issuer of the response is %s, want %q", quote(env.issuer), up.entityID)
	}
	if err := p.checkIssued(env.issued); err != nil {
		return err
	}
	if err := env.checkDestination(l.ACS, env.signed); err != nil {
		return err
	}
	return checkRequest(env.inResponseTo, l.Request)
}

// An assertion is what a signature covers, read.
type assertion struct {
	header
	subject       nameID
	confirmations []confirmation
	conditions    conditions
	authn         authn
	attributes    attributes
	tokens        *provider.Tokens // the assertion itself; nil unless it is to be kept
}

// A nameID is a name of a user, and what qualifies it (SAML Core §2.2.2).
type nameID struct {
	Value           string `json:"v"`
	Format          string `json:"f,omitempty"`
	NameQualifier   string `json:"n,omitempty"`
	SPNameQualifier string `json:"s,omitempty"`
}

// A confirmation says who may present the assertion: whoever bears it, at a place and in a time.
type confirmation struct {
	method       string
	recipient    string
	inResponseTo *string
	notBefore    time.Time // zero if there is none
	notOnOrAfter time.Time
}

type conditions struct {
	notBefore    time.Time // zero if there is none
	notOnOrAfter time.Time
	audiences    [][]string // one of each must be us
}

// An authn says how and when the user proved who they are.
type authn struct {
	at           time.Time
	session      string
	sessionUntil time.Time // zero if there is none
	class        string
}

// readAssertion reads all of an assertion. Elements of SAML that it does not know are refused.
func (p *Provider) readAssertion(e *etree.Element) (a *assertion, err error) {
	a = &assertion{}
	if a.header, err = readHeader(e); err != nil {
		return nil, err
	}
	subject, err := one(e, nsAssertion, "Subject")
	if err != nil {
		return nil, err
	}
	if err := p.readSubject(subject, a); err != nil {
		return nil, err
	}
	c, err := one(e, nsAssertion, "Conditions")
	if err != nil {
		return nil, err
	}
	if err := a.conditions.read(c); err != nil {
		return nil, err
	}
	statement, err := one(e, nsAssertion, "AuthnStatement")
	if err != nil {
		return nil, err
	}
	if err := a.authn.read(statement); err != nil {
		return nil, err
	}
	for _, statement := range all(e, nsAssertion, "AttributeStatement") {
		if err := p.readAttributes(statement, &a.attributes); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (p *Provider) readSubject(e *etree.Element, a *assertion) error {
	name, err := p.nameIDIn(e)
	if err != nil {
		return err
	}
	if name != nil {
		a.subject = *name
	}
	for _, c := range all(e, nsAssertion, "SubjectConfirmation") {
		confirmation, err := readConfirmation(c)
		if err != nil {
			return err
		}
		a.confirmations = append(a.confirmations, confirmation)
	}
	return nil
}

// nameIDIn returns the one NameID in e, decrypted if need be; nil if there is none. Its signature was verified.
func (p *Provider) nameIDIn(e *etree.Element) (*nameID, error) {
	plain, err := maybe(e, nsAssertion, "NameID")
	if err != nil {
		return nil, err
	}
	encrypted, err := maybe(e, nsAssertion, "EncryptedID")
	if err != nil {
		return nil, err
	}
	base, err := maybe(e, nsAssertion, "BaseID")
	switch {
	case err != nil:
		return nil, err
	case base != nil || plain != nil && encrypted != nil:
		return nil, errors.New("a subject of an unknown kind, or two of them")
	case encrypted != nil:
		if plain, err = p.decrypt(encrypted, true); err != nil {
			return nil, err
		}
		if !is(plain, nsAssertion, "NameID") {
			return nil, errors.New("what was encrypted is no NameID")
		}
	case plain == nil:
		return nil, nil
	}
	return readNameID(plain)
}

// readNameID takes the name as it is, space included: two that differ are two users.
func readNameID(e *etree.Element) (*nameID, error) {
	value, ok := textOf(e)
	if !ok || trim(value) == "" || len(value) > maxSubject || strings.ContainsFunc(value, isControl) {
		return nil, errors.New("NameID is empty, too long, or no text")
	}
	return &nameID{
		Value:           value,
		Format:          attr(e, "Format"),
		NameQualifier:   attr(e, "NameQualifier"),
		SPNameQualifier: attr(e, "SPNameQualifier"),
	}, nil
}

func readConfirmation(e *etree.Element) (c confirmation, err error) {
	c.method = attr(e, "Method")
	data, err := maybe(e, nsAssertion, "SubjectConfirmationData")
	if err != nil || data == nil {
		return c, err
	}
	c.recipient = attr(data, "Recipient")
	if s, there := lookup(data, "InResponseTo"); there {
		c.inResponseTo = &s
	}
	if c.notBefore, _, err = instant(data, "NotBefore"); err != nil {
		return c, err
	}
	c.notOnOrAfter, _, err = instant(data, "NotOnOrAfter")
	return c, err
}

// read refuses conditions that it does not know: they could say no (SAML Core §2.5.1.1).
func (c *conditions) read(e *etree.Element) (err error) {
	if c.notBefore, _, err = instant(e, "NotBefore"); err != nil {
		return err
	}
	if c.notOnOrAfter, _, err = instant(e, "NotOnOrAfter"); err != nil {
		return err
	}
	for _, condition := range elements(e) {
		switch {
		case is(condition, nsAssertion, "AudienceRestriction"):
			var audiences []string
			for _, audience := range all(condition, nsAssertion, "Audience") {
				s, _ := textOf(audience)
				audiences = append(audiences, trim(s))
			}
			c.audiences = append(c.audiences, audiences)
		case is(condition, nsAssertion, "OneTimeUse"): // every assertion is used once
		case is(condition, nsAssertion, "ProxyRestriction"):
			// The broker vouches for users on the word of others: it may not where nobody may.
			if trim(attr(condition, "Count")) == "0" || len(elements(condition)) > 0 {
				return errors.New("the identity provider does not let others vouch on its word (ProxyRestriction)")
			}
		default:
			return fmt.Errorf("unknown condition %s", quote(condition.Tag))
		}
	}
	return nil
}

func (a *authn) read(e *etree.Element) (err error) {
	var there bool
	if a.at, there, err = instant(e, "AuthnInstant"); err != nil || !there {
		return orMissing(err, "AuthnInstant")
	}
	if a.sessionUntil, _, err = instant(e, "SessionNotOnOrAfter"); err != nil {
		return err
	}
	if a.session = attr(e, "SessionIndex"); len(a.session) > maxID || strings.ContainsFunc(a.session, isControl) {
		return errors.New("SessionIndex is unusable")
	}
	context, err := maybe(e, nsAssertion, "AuthnContext")
	if err != nil || context == nil {
		return orMissing(err, "AuthnContext")
	}
	class, err := maybe(context, nsAssertion, "AuthnContextClassRef")
	if err != nil || class == nil {
		return err
	}
	a.class, err = text(class)
	return err
}

// check looks whether an assertion is by this identity provider, for this broker, in answer to this login, at this time
// (SAML Profiles §4.1.4.3).
func (p *Provider) check(up *upstream, a *assertion, l *login) error {
	if a.issuer != up.entityID {
		return fmt.Errorf("issuer is %s, want %q", quote(a.issuer), up.entityID)
	}
	for _, err := range []error{
		p.checkIssued(a.issued),
		p.checkConfirmed(a, l),
		p.checkConditions(&a.conditions),
		p.checkAuthn(&a.authn, l),
		p.checkSubject(up, &a.subject),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkConfirmed looks for a confirmation by which whoever bears the assertion may present it here and now.
func (p *Provider) checkConfirmed(a *assertion, l *login) error {
	err := errors.New("no SubjectConfirmation by bearer")
	for i := range a.confirmations {
		c := &a.confirmations[i]
		if c.method != methodBearer {
			continue
		}
		if err = p.checkBearer(c, l); err == nil {
			return nil
		}
	}
	return err
}

func (p *Provider) checkBearer(c *confirmation, l *login) error {
	switch {
	case c.recipient != l.ACS:
		return fmt.Errorf("recipient is %s, want %q", quote(c.recipient), l.ACS)
	case c.notOnOrAfter.IsZero():
		return errors.New("SubjectConfirmationData has no NotOnOrAfter")
	}
	if err := p.checkTimes(c.notBefore, c.notOnOrAfter); err != nil {
		return err
	}
	return checkRequest(c.inResponseTo, l.Request)
}

// checkTimes looks whether it is between two times, of which each may be zero.
func (p *Provider) checkTimes(notBefore, notOnOrAfter time.Time) error {
	now, skew := p.now(), p.cfg.ClockSkew
	switch {
	case !notBefore.IsZero() && now.Add(skew).Before(notBefore):
		return errors.New("not valid yet: are both clocks right?")
	case !notOnOrAfter.IsZero() && !now.Before(notOnOrAfter.Add(skew)):
		return errors.New("expired: are both clocks right?")
	}
	return nil
}

func (p *Provider) checkConditions(c *conditions) error {
	if len(c.audiences) == 0 {
		return errors.New("no AudienceRestriction: it could be for anybody")
	}
	for _, audiences := range c.audiences {
		if !slices.Contains(audiences, p.cfg.EntityID) {
			return fmt.Errorf("audience is not %q", p.cfg.EntityID)
		}
	}
	return p.checkTimes(c.notBefore, c.notOnOrAfter)
}

// checkAuthn holds the identity provider to what it was asked. The request may not be signed, and then whoever has the
// browser could have taken that out.
func (p *Provider) checkAuthn(a *authn, l *login) error {
	now, skew := p.now(), p.cfg.ClockSkew
	switch {
	case a.at.After(now.Add(skew)):
		return errors.New("AuthnInstant is in the future: are both clocks right?")
	case !a.sessionUntil.IsZero() && !now.Before(a.sessionUntil.Add(skew)):
		return errors.New("the session there is over (SessionNotOnOrAfter)")
	case l.Fresh && a.at.Before(time.Unix(l.Begun, 0).Add(-skew)):
		return errors.New("the user did not prove anew who they are, though ForceAuthn was asked for")
	case p.cfg.MaxAge != nil && *p.cfg.MaxAge > 0 && a.at.Before(time.Unix(l.Begun, 0).Add(-*p.cfg.MaxAge-skew)):
		return errors.New("the user proved who they are longer ago than MaxAge allows")
	case len(l.Classes) > 0 && !slices.Contains(l.Classes, a.class):
		return fmt.Errorf("the user proved who they are by %s, which is not what was asked for", quote(a.class))
	}
	return nil
}

// checkSubject looks at a NameID that says who it is.
func (p *Provider) checkSubject(up *upstream, name *nameID) error {
	if p.subjectFromAttribute() {
		return nil
	}
	format := NameIDFormat(name.Format)
	if format == "" {
		format = NameIDUnspecified
	}
	switch {
	case name.Value == "":
		return errors.New("no NameID")
	case format == NameIDTransient:
		return fail(provider.Misconfigured, "the NameID is transient, another one at each login: set SubjectAttribute")
	case p.cfg.NameIDFormat != NameIDUnspecified && format != p.cfg.NameIDFormat:
		return fail(provider.Misconfigured, "the NameID has the format %s, NameIDFormat is %q", quote(name.Format), p.cfg.NameIDFormat)
	case name.NameQualifier != "" && name.NameQualifier != up.entityID,
		name.SPNameQualifier != "" && name.SPNameQualifier != p.cfg.EntityID:
		// Within another domain, or for another service provider, the same name may be somebody else's.
		return fail(provider.Misconfigured, "the NameID is qualified by %s, %s", quote(name.NameQualifier), quote(name.SPNameQualifier))
	case !provider.IsSubject(name.Value):
		return errors.New("the NameID stands for nobody")
	}
	return nil
}

func (p *Provider) subjectFromAttribute() bool {
	return p.cfg.SubjectAttribute != "" || p.cfg.SubjectFriendlyName != ""
}
