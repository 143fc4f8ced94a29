// Package mapper has the usual mappers: constructors of [provider.Mapper] that import attributes, grant roles and groups, make
// names, and note things in sessions.
//
// It owns how claims are found and compared, and what of a user a mapper decides. When mappers run, and what becomes of their
// work, is the broker's.
//
//	broker.Provider{
//		Alias: "corp", IdP: corp, Sync: provider.SyncForce,
//		Mappers: []provider.Mapper{
//			mapper.Attribute("hr.department", "department"),
//			mapper.Role("admin", mapper.Condition{Claim: "groups", Value: "it-.*", Regex: true}),
//			mapper.Username("${ALIAS}.${CLAIM.preferred_username}", mapper.Local),
//			mapper.Note("tenant", "tenant").With(provider.SyncImport),
//		},
//	}
//
// A constructor that is given what can never work returns a mapper with Err set, and broker.New says so.
//
// # Claims
//
// A claim of OpenID Connect or OAuth 2.0, and an attribute of SAML by its name or friendly name, is found by a path: names with
// dots between them go down into objects, "[0]" into lists. A backslash takes the meaning from ".", "[", "]" and itself:
// "resource_access.my\.app.roles[0]". What begins with "urn:", "http://" or "https://" is a single name, unless it has a
// backslash in it. Names are exact.
//
// A list is as many values as it has elements. Numbers are kept as they were written, objects and lists in lists become JSON.
// Null, empty texts, texts of more than 4 KiB and those with control characters count as missing.
//
// # Users who exist
//
// With [provider.SyncImport] a mapper runs when the user is created, and never again. With [provider.SyncLegacy] it runs at each
// login and only adds and replaces. With [provider.SyncForce] the user gets at each login what one who is created now would get:
// what a mapper gave, and no mapper gives any more, is taken away, and what a mapper of this provider decides nobody else can
// give for longer than until the next login. That is a role or group that is named in a constructor (for [Groups] all that begin
// with its prefix), an attribute, a name. The file broker/testdata/sync.txt
// is the whole table. Notes are written anew at each login.
package mapper

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/claim"
)

// fields are what of a user has a place of its own.
var fields = map[string]struct {
	of   func(*provider.Profile) *string
	said func(*provider.Identity) string
}{
	"firstName": {func(p *provider.Profile) *string { return &p.FirstName }, func(id *provider.Identity) string { return id.FirstName }},
	"lastName":  {func(p *provider.Profile) *string { return &p.LastName }, func(id *provider.Identity) string { return id.LastName }},
	"name":      {func(p *provider.Profile) *string { return &p.Name }, func(id *provider.Identity) string { return id.Name }},
	"locale":    {func(p *provider.Profile) *string { return &p.Locale }, func(id *provider.Identity) string { return id.Locale }},
	"picture":   {func(p *provider.Profile) *string { return &p.Picture }, func(id *provider.Identity) string { return id.Picture }},
	"email":     {func(p *provider.Profile) *string { return &p.Email }, nil}, // which is never taken away
}

// reserved are names that decide something, in tokens or of a user: an attribute or note that is called so would only seem to.
var reserved = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "acr", "amr", "azp", "sid", "nonce", "auth_time", "at_hash", "c_hash", "cnf", "act",
	"client_id", "scope", "typ", "active", "token_type", "identity_provider", "id", "username", "preferred_username", "roles", "groups",
	"email_verified", "emailVerified", "disabled", "sharedEmail", "version",
}

// checkName looks at the name of an attribute or note.
func checkName(what, name string) error {
	switch {
	case !claim.Usable(name) || strings.TrimSpace(name) != name:
		return fmt.Errorf("the name of the %s is missing, or none", what)
	case slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, name) }):
		return fmt.Errorf("%s %q is reserved", what, name)
	}
	return nil
}

func checkGrant(what, name string) error {
	if !claim.Usable(name) || strings.TrimSpace(name) != name {
		return fmt.Errorf("the name of the %s is missing, or none", what)
	}
	return nil
}

// broken returns m as one that can never work.
func broken(m provider.Mapper, err error) provider.Mapper {
	m.Err = err
	return m
}

// Attribute imports a claim as an attribute of the user, all values of one that is a list. The attributes "firstName",
// "lastName", "name", "locale", "picture" (an http or https URL) and "email" are the user's own fields, and get the first value; an
// address that comes so is not verified. Where the claim is missing such a field remains what the provider itself says.
func Attribute(path, attribute string) provider.Mapper {
	m := provider.Mapper{Name: "attribute " + attribute}
	at, err := claim.Parse(path)
	if err := errors.Join(err, checkName("attribute", attribute)); err != nil {
		return broken(m, err)
	}
	field, own := fields[attribute]
	if !own {
		m.Forget = func(m *provider.Mapping) { delete(m.Profile.Attributes, attribute) }
		m.Map = func(m *provider.Mapping) error {
			if values := claim.Texts(at.Find(m.Identity.Claims)); len(values) > 0 {
				setAttribute(m, attribute, values)
			}
			return nil
		}
		return m
	}
	if field.said != nil {
		m.Forget = func(m *provider.Mapping) { *field.of(m.Profile) = field.said(m.Identity) }
	}
	m.Map = func(m *provider.Mapping) error {
		values := claim.Texts(at.Find(m.Identity.Claims))
		if len(values) > 0 && (attribute != "picture" || isWeb(values[0])) {
			*field.of(m.Profile) = values[0]
		}
		return nil
	}
	return m
}

// isWeb reports whether s can be an address in a page: no script, no data.
func isWeb(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

func setAttribute(m *provider.Mapping, name string, values []string) {
	if m.Profile.Attributes == nil {
		m.Profile.Attributes = map[string][]string{}
	}
	m.Profile.Attributes[name] = values
}

// FixedAttribute gives everybody an attribute.
func FixedAttribute(attribute string, values ...string) provider.Mapper {
	m := provider.Mapper{Name: "fixed attribute " + attribute}
	err := checkName("attribute", attribute)
	if _, own := fields[attribute]; own {
		err = fmt.Errorf("%q is a user's own", attribute)
	}
	if len(values) == 0 || slices.ContainsFunc(values, func(s string) bool { return !claim.Usable(s) }) {
		err = errors.Join(err, errors.New("a value is missing, too long, or has control characters"))
	}
	if err != nil {
		return broken(m, err)
	}
	values = slices.Clone(values)
	m.Map = func(m *provider.Mapping) error {
		setAttribute(m, attribute, slices.Clone(values))
		return nil
	}
	return m
}

// Role grants a role if all conditions hold.
func Role(role string, when Condition, and ...Condition) provider.Mapper {
	return granting("role", role, rolesOf, append([]Condition{when}, and...))
}

// Group puts the user into a group if all conditions hold.
func Group(group string, when Condition, and ...Condition) provider.Mapper {
	return granting("group", group, groupsOf, append([]Condition{when}, and...))
}

// FixedRole grants a role to everybody who comes through the provider.
func FixedRole(role string) provider.Mapper { return granting("role", role, rolesOf, nil) }

// FixedGroup puts everybody who comes through the provider into a group.
func FixedGroup(group string) provider.Mapper { return granting("group", group, groupsOf, nil) }

func rolesOf(p *provider.Profile) *[]string  { return &p.Roles }
func groupsOf(p *provider.Profile) *[]string { return &p.Groups }

// granting returns the mapper that adds name to a list if all conditions hold.
func granting(what, name string, of func(*provider.Profile) *[]string, conditions []Condition) provider.Mapper {
	m := provider.Mapper{Name: what + " " + name}
	all, err := checks(conditions)
	if err := errors.Join(checkGrant(what, name), err); err != nil {
		return broken(m, err)
	}
	m.Forget = func(m *provider.Mapping) { remove(of(m.Profile), func(s string) bool { return s == name }) }
	m.Map = func(m *provider.Mapping) error {
		for i := range all {
			if !all[i].holds(m.Identity.Claims) {
				return nil
			}
		}
		add(of(m.Profile), name)
		return nil
	}
	return m
}

// ExternalRole grants a role to those who have the external one at a Keycloak: "admin" is a role of its realm (claim realm_access),
// "app.admin" the role admin of its client app (resource_access), with backslashes as in a path. Keycloak has to be told to put
// these claims into the ID token or userinfo.
func ExternalRole(external, role string) provider.Mapper {
	m := provider.Mapper{Name: "external role " + external}
	p, err := claim.Parse(external)
	names, ok := p.Names()
	if err == nil && (!ok || len(names) > 2 || strings.HasPrefix(external, "urn:")) {
		err = fmt.Errorf("external role %q is neither ROLE nor CLIENT.ROLE", external)
	}
	if err := errors.Join(err, checkGrant("role", role)); err != nil {
		return broken(m, err)
	}
	at := append(claim.Name("realm_access"), claim.Name("roles")...)
	if len(names) == 2 {
		at = append(append(claim.Name("resource_access"), p[0]), claim.Name("roles")...)
	}
	have := check{at: at, value: names[len(names)-1]}
	m.Forget = func(m *provider.Mapping) { remove(&m.Profile.Roles, func(s string) bool { return s == role }) }
	m.Map = func(m *provider.Mapping) error {
		if have.holds(m.Identity.Claims) {
			add(&m.Profile.Roles, role)
		}
		return nil
	}
	return m
}

// Groups imports the groups that a claim lists, or those that the provider itself has found if the path is "", with the prefix
// before each. Under [provider.SyncForce] the user is in no other group that begins with the prefix; with "" in no other at
// all but those of further mappers.
func Groups(path, prefix string) provider.Mapper {
	m := provider.Mapper{Name: "groups " + path}
	var at claim.Path
	var err error
	if path != "" {
		at, err = claim.Parse(path)
	}
	if prefix != "" && !claim.Usable(prefix) {
		err = errors.Join(err, errors.New("the prefix is too long, or has control characters"))
	}
	if err != nil {
		return broken(m, err)
	}
	m.Forget = func(m *provider.Mapping) {
		remove(&m.Profile.Groups, func(s string) bool { return strings.HasPrefix(s, prefix) })
	}
	m.Map = func(m *provider.Mapping) error {
		said := any(m.Identity.Groups)
		if at != nil {
			said = at.Find(m.Identity.Claims)
		}
		for _, e := range claim.Elements(said) { // the broker leaves each in once
			if s, ok := claim.Scalar(e); ok && claim.Usable(prefix+s) && strings.TrimSpace(s) != "" {
				m.Profile.Groups = append(m.Profile.Groups, prefix+s)
			}
		}
		return nil
	}
	return m
}

// Note copies a claim into the session, where it is until the next login: several values as a JSON array.
func Note(path, note string) provider.Mapper {
	m := provider.Mapper{Name: "note " + note, Stage: provider.StageSession}
	at, err := claim.Parse(path)
	if err := errors.Join(err, checkName("note", note)); err != nil {
		return broken(m, err)
	}
	m.Map = func(m *provider.Mapping) error {
		switch values := claim.Texts(at.Find(m.Identity.Claims)); len(values) {
		case 0:
		case 1:
			setNote(m, note, values[0])
		default:
			setNote(m, note, claim.JSON(values))
		}
		return nil
	}
	return m
}

// FixedNote puts a note into each session.
func FixedNote(note, value string) provider.Mapper {
	m := provider.Mapper{Name: "fixed note " + note, Stage: provider.StageSession}
	err := checkName("note", note)
	if !claim.Usable(value) {
		err = errors.Join(err, errors.New("the value is missing, too long, or has control characters"))
	}
	if err != nil {
		return broken(m, err)
	}
	m.Map = func(m *provider.Mapping) error {
		setNote(m, note, value)
		return nil
	}
	return m
}

func setNote(m *provider.Mapping, name, value string) {
	if m.Profile.Notes == nil {
		m.Profile.Notes = map[string]string{}
	}
	m.Profile.Notes[name] = value
}

// add appends name if it is not there.
func add(list *[]string, name string) {
	if !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}

// remove takes out what drop says. The list itself may be shared.
func remove(list *[]string, drop func(string) bool) {
	*list = slices.DeleteFunc(slices.Clone(*list), drop)
}
