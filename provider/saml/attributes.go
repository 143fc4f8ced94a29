package saml

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
)

const maxText = 2048

// Claims beside the attributes: what the NameID says.
const (
	// ClaimNameID is the claim of [provider.Identity] with the NameID.
	ClaimNameID = "urn:oasis:names:tc:SAML:2.0:assertion:NameID"
	// ClaimNameIDFormat is the claim with its format.
	ClaimNameIDFormat = "urn:oasis:names:tc:SAML:2.0:assertion:NameID:Format"
)

// An attribute is what an identity provider says about a user (SAML Core §2.7.3.1).
type attribute struct {
	name, friendly string
	values         []string
}

type attributes []attribute

// usual are the names that attributes have where Config.Attributes says nothing, the more specific first.
var usual = struct{ username, email, firstName, lastName, name, groups []string }{
	username: []string{
		"urn:oid:0.9.2342.19200300.100.1.1", "uid", "username", "urn:oid:1.3.6.1.4.1.5923.1.1.1.6", "eduPersonPrincipalName",
		"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
	},
	email: []string{
		"urn:oid:0.9.2342.19200300.100.1.3", "mail", "email", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
	},
	firstName: []string{
		"urn:oid:2.5.4.42", "givenName", "firstName", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname",
	},
	lastName: []string{
		"urn:oid:2.5.4.4", "sn", "surname", "lastName", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname",
	},
	name: []string{
		"urn:oid:2.16.840.1.113730.3.1.241", "displayName", "http://schemas.microsoft.com/identity/claims/displayname",
		"urn:oid:2.5.4.3", "cn",
	},
	groups: []string{
		"groups", "memberOf", "http://schemas.xmlsoap.org/claims/Group",
		"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
	},
}

// readAttributes adds what a statement says. Several attributes of one name are one.
func (p *Provider) readAttributes(statement *etree.Element, to *attributes) error {
	at := make(map[string]int, len(*to))
	for i := range *to {
		at[(*to)[i].name] = i
	}
	for _, e := range elements(statement) {
		if is(e, nsAssertion, "EncryptedAttribute") {
			var err error
			if e, err = p.decrypt(e, true); err != nil {
				return err
			}
		}
		if !is(e, nsAssertion, "Attribute") {
			return fmt.Errorf("AttributeStatement with a %s in it", quote(e.Tag))
		}
		a := attribute{name: attr(e, "Name"), friendly: attr(e, "FriendlyName")}
		if a.name == "" {
			return errors.New("attribute without a name")
		}
		for _, value := range all(e, nsAssertion, "AttributeValue") {
			if s, ok := valueOf(value); ok {
				a.values = append(a.values, s)
			}
		}
		if i, there := at[a.name]; there {
			(*to)[i].values = append((*to)[i].values, a.values...)
			continue
		}
		at[a.name] = len(*to)
		*to = append(*to, a)
	}
	return nil
}

// valueOf returns the text of a value, or of the NameID in it, as eduPersonTargetedID has one. Others have no text.
func valueOf(e *etree.Element) (string, bool) {
	if s, ok := textOf(e); ok {
		return trim(s), true
	}
	inner, err := only(e)
	if err != nil || !is(inner, nsAssertion, "NameID") {
		return "", false
	}
	s, ok := textOf(inner)
	return trim(s), ok
}

// byName returns the attribute of that name, nil if there is none.
func (all attributes) byName(name string) *attribute {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// byFriendlyName returns the attribute with that friendly name, nil if there is none or more than one: nothing makes sure
// that they are unique.
func (all attributes) byFriendlyName(name string) *attribute {
	var found *attribute
	for i := range all {
		if all[i].friendly != name {
			continue
		}
		if found != nil {
			return nil
		}
		found = &all[i]
	}
	return found
}

// find returns the attribute that is called so; its name counts more than a friendly one.
func (all attributes) find(name string) *attribute {
	if a := all.byName(name); a != nil {
		return a
	}
	return all.byFriendlyName(name)
}

func (all attributes) values(name string) []string {
	if a := all.find(name); a != nil {
		return a.values
	}
	return nil
}

// text returns the one value, for people, of the first attribute that has one: of the configured name or, if that is empty,
// of the usual ones.
func (all attributes) text(configured string, usual []string) string {
	if configured != "" {
		usual = []string{configured}
	}
	for _, name := range usual {
		if v := all.values(name); len(v) > 0 && v[0] != "" && len(v[0]) <= maxText && !strings.ContainsFunc(v[0], isControl) {
			return v[0]
		}
	}
	return ""
}

func isControl(r rune) bool { return unicode.IsControl(r) }

// claims returns the attributes by name, and by friendly name where that is nothing else's name: a string, or a list of
// them.
func (all attributes) claims() map[string]any {
	claims := make(map[string]any, 2*len(all)+2)
	friendly := make(map[string]int, len(all))
	for i := range all {
		claims[all[i].name] = all[i].claim()
		friendly[all[i].friendly]++
	}
	for i := range all {
		name := all[i].friendly
		if _, taken := claims[name]; name != "" && !taken && friendly[name] == 1 {
			claims[name] = all[i].claim()
		}
	}
	return claims
}

func (a *attribute) claim() any {
	if len(a.values) == 1 {
		return a.values[0]
	}
	list := make([]any, len(a.values))
	for i, v := range a.values {
		list[i] = v
	}
	return list
}

// subject returns who it is.
func (p *Provider) subject(a *assertion) (string, error) {
	var found *attribute
	switch {
	case p.cfg.SubjectAttribute != "":
		found = a.attributes.byName(p.cfg.SubjectAttribute)
	case p.cfg.SubjectFriendlyName != "":
		found = a.attributes.byFriendlyName(p.cfg.SubjectFriendlyName)
	default:
		return a.subject.Value, nil
	}
	name := cmp.Or(p.cfg.SubjectAttribute, p.cfg.SubjectFriendlyName)
	if found == nil || len(found.values) != 1 {
		return "", fmt.Errorf("there is no single value of attribute %q, which says who it is", name)
	}
	s := found.values[0]
	if !provider.IsSubject(s) {
		return "", fmt.Errorf("attribute %q, which says who it is, is unusable", name)
	}
	return s, nil
}

// identity returns what the assertion says. It has been checked.
func (p *Provider) identity(up *upstream, a *assertion) (*provider.Identity, error) {
	subject, err := p.subject(a)
	if err != nil {
		return nil, err
	}
	own := &p.cfg.Attributes
	id := &provider.Identity{
		Issuer:    up.entityID,
		Subject:   subject,
		Username:  a.attributes.text(own.Username, usual.username),
		Email:     a.attributes.text(own.Email, usual.email),
		FirstName: a.attributes.text(own.FirstName, usual.firstName),
		LastName:  a.attributes.text(own.LastName, usual.lastName),
		Name:      a.attributes.text(own.Name, usual.name),
		Groups:    a.groups(own.Groups),
		ACR:       a.authn.class,
		AuthTime:  a.authn.at,
		Session:   a.authn.session,
		Claims:    a.attributes.claims(),
		Tokens:    a.tokens,

		SessionUntil: a.authn.sessionUntil,
		Once:         &provider.Once{ID: a.id, Until: p.usableUntil(a.issued)},
	}
	if a.subject.Format == string(NameIDEmail) && id.Email == "" && own.Email == "" {
		id.Email = a.subject.Value
	}
	id.EmailVerified = p.cfg.EmailVerified && id.Email != ""
	id.Username = cmp.Or(id.Username, id.Email, subject)
	if a.subject.Value != "" {
		id.Claims[ClaimNameID], id.Claims[ClaimNameIDFormat] = a.subject.Value, a.subject.Format
	}
	if _, _, err := up.logout(p.cfg.LogoutBinding); err == nil && a.subject.Value != "" && p.signingKey() != nil {
		hint, err := json.Marshal(a.subject)
		if err != nil {
			return nil, err
		}
		id.LogoutHint = string(hint)
	}
	return id, nil
}

func (a *assertion) groups(configured string) []string {
	names := usual.groups
	if configured != "" {
		names = []string{configured}
	}
	for _, name := range names {
		if values := a.attributes.values(name); len(values) > 0 {
			return values
		}
	}
	return nil
}
