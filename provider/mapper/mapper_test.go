package mapper_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
)

const document = `{
	"text": "value", "empty": "", "nothing": null, "list": ["a", null, "b", 7], "yes": true, "no": false,
	"int": 42, "zero": 0, "minus": -9007199254740993, "long": 9007199254740993, "float": 1.50, "control": "a\u0000b", "a.b": "dotted", "a": {"b": "nested", "c[0]": "bracket", "": "unnamed"},
	"matrix": [[1, 2], [3, [4]]], "people": [{"name": "x", "tags": ["t0", "t1"]}, {"name": "<y>"}],
	"https://example.com/claims/roles": ["r"], "urn:oid:2.5.4.42": "Alice", "back\\slash": "bs",
	"realm_access": {"roles": ["admin", "my.role"]}, "resource_access": {"my.app": {"roles": ["writer"]}}
}`

func claims(t testing.TB, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func mapping(all map[string]any) *provider.Mapping {
	profile := provider.ProfileOf(&provider.Identity{}, false)
	return &provider.Mapping{Alias: "corp", Profile: &profile, Identity: &provider.Identity{Subject: "s", Username: "u", Claims: all}}
}

func run(t testing.TB, m provider.Mapper, on *provider.Mapping) {
	t.Helper()
	if m.Err != nil {
		t.Fatalf("%s: %v", m.Name, m.Err)
	}
	if err := m.Map(on); err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
}

// 70: nested claims, array index, escaped dot, typed values.
func TestPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		"text":                                 {"value"},
		"Text":                                 nil,
		"empty":                                nil,
		"nothing":                              nil,
		"missing.deeper[3].still":              nil,
		"control":                              nil,
		"list":                                 {"a", "b", "7"},
		"list[0]":                              {"a"},
		"list[1]":                              nil,
		"list[3]":                              {"7"},
		"list[4]":                              nil,
		"list.a":                               nil,
		"text[0]":                              nil,
		"yes":                                  {"true"},
		"no":                                   {"false"},
		"int":                                  {"42"},
		"long":                                 {"9007199254740993"},
		"float":                                {"1.50"},
		"a.b":                                  {"nested"},
		`a\.b`:                                 {"dotted"},
		`a.c\[0\]`:                             {"bracket"},
		`a[0]`:                                 nil,
		`back\\slash`:                          {"bs"},
		"matrix":                               {"[1,2]", "[3,[4]]"},
		"matrix[1][1][0]":                      {"4"},
		"people[0].tags[1]":                    {"t1"},
		"people[1]":                            {`{"name":"<y>"}`},
		"https://example.com/claims/roles":     {"r"},
		"urn:oid:2.5.4.42":                     {"Alice"},
		`https://example\.com/claims/roles[0]`: {"r"},
	} {
		on := mapping(claims(t, document))
		run(t, mapper.Attribute(path, "x"), on)
		if got := on.Profile.Attributes["x"]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// What is too long to be stored counts as missing, alone and in a list.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	longest, longer := strings.Repeat("x", 4096), strings.Repeat("x", 4097)
	on := mapping(map[string]any{"list": []any{longer, longest}, "alone": longer})
	run(t, mapper.Attribute("list", "list"), on)
	run(t, mapper.Attribute("alone", "alone"), on)
	if got := on.Profile.Attributes; len(got) != 1 || !slices.Equal(got["list"], []string{longest}) {
		t.Errorf("got %d attributes, of %d values", len(got), len(got["list"]))
	}
}

// A SAML attribute is found like any claim, whatever its name looks like; a []string of somebody's own provider is a list.
func TestOtherKindsOfClaims(t *testing.T) {
	t.Parallel()
	all := map[string]any{"list": []string{"x", "y"}, "n": 5, "n64": int64(6), "f": 2.5, "urn:oid:1.2": []any{"p", "q"}}
	for path, want := range map[string][]string{
		"list": {"x", "y"}, "list[1]": {"y"}, "list[2]": nil, "list.x": nil, "n": {"5"}, "n64": {"6"}, "f": {"2.5"}, "urn:oid:1.2": {"p", "q"},
	} {
		on := mapping(all)
		run(t, mapper.Attribute(path, "x"), on)
		if got := on.Profile.Attributes["x"]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	ok := mapper.Condition{Claim: "a", Value: "b"}
	for name, m := range map[string]provider.Mapper{
		"no claim":               mapper.Attribute("", "x"),
		"no attribute":           mapper.Attribute("a", ""),
		"spaces":                 mapper.Attribute("a", " x"),
		"empty name":             mapper.Attribute("a..b", "x"),
		"dot at the end":         mapper.Attribute("a.", "x"),
		"dot at the start":       mapper.Attribute(".a", "x"),
		"index first":            mapper.Attribute("[0]", "x"),
		"no number":              mapper.Attribute("a[x]", "x"),
		"negative":               mapper.Attribute("a[-1]", "x"),
		"not closed":             mapper.Attribute("a[0", "x"),
		"closed only":            mapper.Attribute("a]", "x"),
		"after an index":         mapper.Attribute("a[0]b", "x"),
		"huge index":             mapper.Attribute("a[99999999999999999999]", "x"),
		"backslash at the end":   mapper.Attribute(`a\`, "x"),
		"backslash before a":     mapper.Attribute(`\a`, "x"),
		"long":                   mapper.Attribute(strings.Repeat("a", 2000), "x"),
		"deep":                   mapper.Attribute(strings.Repeat("a.", 100)+"a", "x"),
		"reserved attribute":     mapper.Attribute("a", "sub"),
		"reserved in capitals":   mapper.Attribute("a", "ROLES"),
		"reserved fixed":         mapper.FixedAttribute("email_verified", "true"),
		"reserved note":          mapper.Note("a", "acr"),
		"reserved fixed note":    mapper.FixedNote("sid", "x"),
		"fixed field":            mapper.FixedAttribute("email", "a@example.com"),
		"no value":               mapper.FixedAttribute("a"),
		"empty value":            mapper.FixedAttribute("a", ""),
		"no role":                mapper.Role("", ok),
		"no group":               mapper.FixedGroup(""),
		"empty condition":        mapper.Role("r", mapper.Condition{}),
		"condition without want": mapper.Role("r", mapper.Condition{Claim: "a"}),
		"claim of a condition":   mapper.Role("r", mapper.Condition{Claim: "a[", Value: "b"}),
		"second condition":       mapper.Role("r", ok, mapper.Condition{Claim: "a", Value: "(", Regex: true}),
		"unbalanced regex":       mapper.Role("r", mapper.Condition{Claim: "a", Value: "a)|(b", Regex: true}),
		"external role":          mapper.ExternalRole("a.b.c", "r"),
		"external index":         mapper.ExternalRole("a[0]", "r"),
		"no external":            mapper.ExternalRole("", "r"),
		"prefix":                 mapper.Groups("g", "a\n"),
		"groups path":            mapper.Groups("g[", ""),
		"fixed note":             mapper.FixedNote("n", "a\nb"),
		"template":               mapper.Username("", mapper.Local),
		"open":                   mapper.Username("a${ALIAS", mapper.Local),
		"unknown":                mapper.Username("${NAME}", mapper.Local),
		"pipe":                   mapper.Username("${ALIAS|reverse}", mapper.Local),
		"bad claim":              mapper.Username("${CLAIM.}", mapper.Local),
		"target":                 mapper.Username("${CLAIM.a}", 7),
		"one id for all":         mapper.Username("${ALIAS}", mapper.BrokerID),
		"an id of two in one":    mapper.Username("${CLAIM.a}${CLAIM.b}", mapper.BrokerID),
		"a former id of two":     mapper.Username("x${CLAIM.a}${CLAIM.b}", mapper.FormerID),
		"after an index, longer": mapper.Attribute("a[0]bc", "x"),
		"a role with a space":    mapper.FixedRole("r "),
		"an id for each login":   mapper.Username("${CLAIM.a}${UUID}", mapper.BrokerID),
	} {
		if m.Err == nil || m.Name == "" {
			t.Errorf("%s: no error (%q)", name, m.Name)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		claim, value string
		regex        bool
		want         bool
	}{
		{"text", "value", false, true},
		{"text", "Value", false, false},
		{"text", "valu", false, false},
		{"int", "42", false, true},
		{"int", "42.0", false, true},
		{"int", "4", false, false},
		{"int", "042", false, true}, // the same number
		{"float", "1.5", false, true},
		{"float", "1.6", false, false},
		{"long", "9007199254740993", false, true},
		{"long", "9007199254740992", false, false},
		{"long", "9007199254740992.0", false, false}, // nearly
		{"long", "9.007199254740993e15", false, false},
		{"minus", "-9007199254740993", false, true},
		{"minus", "-9007199254740992.0", false, false},
		{"zero", "0.0", false, true},
		{"zero", "x", false, false}, // which is no number
		{"yes", "true", false, true},
		{"yes", "1", false, false},
		{"no", "false", false, true},
		{"no", "true", false, false},
		{"nothing", "null", false, false},
		{"missing", "", false, false},
		{"list", "b", false, true},
		{"list", "7", false, true},
		{"list", "7.0", false, true},
		{"list", "c", false, false},
		{"list[0]", "b", false, false},
		{"matrix", "[1,2]", false, false},
		{"matrix", ".*", true, false},
		{"people", ".*", true, false},
		{"text", "v.*e", true, true},
		{"text", "alu", true, false}, // the whole text
		{"text", "v|value", true, true},
		{"text", "(?i)VALUE", true, true},
		{"list", "[ab]", true, true},
		{"int", `\d+`, true, true},
		{"yes", "t.*", true, true},
		{"empty", ".*", true, true},
		{"nothing", ".*", true, false},
		{"control", "a.b", false, false},
	} {
		if row.value == "" {
			row.value = "x"
		}
		on := mapping(claims(t, document))
		run(t, mapper.Role("r", mapper.Condition{Claim: row.claim, Value: row.value, Regex: row.regex}), on)
		if got := len(on.Profile.Roles) == 1; got != row.want {
			t.Errorf("%s is %s (regex %v): got %v, want %v", row.claim, row.value, row.regex, got, row.want)
		}
	}
}

// A text is no number: "42.0" is not "42" where the upstream says a text.
func TestTextsAreNoNumbers(t *testing.T) {
	t.Parallel()
	on := mapping(map[string]any{"id": "42.0", "t": "true"})
	run(t, mapper.Role("r", mapper.Condition{Claim: "id", Value: "42"}), on)
	if len(on.Profile.Roles) > 0 {
		t.Error(`the text "42.0" is 42`)
	}
	run(t, mapper.Role("r", mapper.Condition{Claim: "t", Value: "true"}), on)
	if len(on.Profile.Roles) != 1 {
		t.Error(`the text "true" is not "true"`)
	}
}

func TestAllConditionsHaveToHold(t *testing.T) {
	t.Parallel()
	yes, no := mapper.Condition{Claim: "text", Value: "value"}, mapper.Condition{Claim: "text", Value: "other"}
	for _, row := range []struct {
		all  []mapper.Condition
		want bool
	}{{[]mapper.Condition{yes, yes}, true}, {[]mapper.Condition{yes, no}, false}, {[]mapper.Condition{no, yes}, false}, {[]mapper.Condition{no, no}, false}} {
		on := mapping(claims(t, document))
		run(t, mapper.Group("g", row.all[0], row.all[1:]...), on)
		if got := len(on.Profile.Groups) == 1; got != row.want {
			t.Errorf("%v: got %v", row.all, got)
		}
	}
}

func TestExternalRoles(t *testing.T) {
	t.Parallel()
	for external, want := range map[string]bool{
		"admin": true, "other": false, `my\.role`: true, "my.role": false, `my\.app.writer`: true, `my\.app.admin`: false, "writer": false,
	} {
		on := mapping(claims(t, document))
		run(t, mapper.ExternalRole(external, "r"), on)
		if got := slices.Contains(on.Profile.Roles, "r"); got != want {
			t.Errorf("%s: got %v, want %v", external, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	on := mapping(map[string]any{"v": "new", "bad": "javascript:alert(1)", "web": "https://example.com/a.png"})
	for _, field := range []string{"firstName", "lastName", "name", "locale", "email"} {
		run(t, mapper.Attribute("v", field), on)
	}
	p := on.Profile
	for _, got := range []string{p.FirstName, p.LastName, p.Name, p.Locale, p.Email} {
		if got != "new" {
			t.Errorf("%+v", p)
		}
	}
	run(t, mapper.Attribute("bad", "picture"), on)
	if p.Picture != "" {
		t.Errorf("picture is %q", p.Picture)
	}
	run(t, mapper.Attribute("web", "picture"), on)
	if p.Picture != "https://example.com/a.png" || len(p.Attributes) > 0 {
		t.Errorf("%+v", p)
	}
	m := mapper.Attribute("gone", "firstName")
	on.Identity.FirstName, on.Update = "said", true
	m.Forget(on)
	run(t, m, on)
	if p.FirstName != "said" {
		t.Errorf("first name is %q, want what the provider says", p.FirstName)
	}
	if mapper.Attribute("gone", "email").Forget != nil {
		t.Error("an e-mail address can be taken away")
	}
}

// Mappers add to each other's work, also on a profile that somebody made without maps, and grant nothing twice.
func TestSeveralMappers(t *testing.T) {
	t.Parallel()
	on := mapping(map[string]any{"a": "1", "g": []any{"x"}})
	on.Profile = &provider.Profile{}
	for _, m := range []provider.Mapper{
		mapper.Attribute("a", "one"), mapper.FixedAttribute("two", "2"), mapper.Note("a", "one"), mapper.FixedNote("two", "2"),
		mapper.FixedRole("r"), mapper.FixedRole("r"), mapper.Groups("g", ""),
	} {
		run(t, m, on)
	}
	p := on.Profile
	if len(p.Attributes) != 2 || !maps.Equal(p.Notes, map[string]string{"one": "1", "two": "2"}) ||
		!slices.Equal(p.Roles, []string{"r"}) || !slices.Equal(p.Groups, []string{"x"}) {
		t.Errorf("got %+v", p)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	on := mapping(claims(t, document))
	for path, note := range map[string]string{"text": "one", "list": "many", "a": "object", "missing": "none"} {
		run(t, mapper.Note(path, note), on)
	}
	run(t, mapper.FixedNote("fixed", "x"), on)
	want := map[string]string{"one": "value", "many": `["a","b","7"]`, "fixed": "x", "object": `{"":"unnamed","b":"nested","c[0]":"bracket"}`}
	if !maps.Equal(on.Profile.Notes, want) {
		t.Errorf("got %q, want %q", on.Profile.Notes, want)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	on := mapping(map[string]any{"g": []any{"a", "", " ", nil, "b\n", map[string]any{"x": "y"}, "c"}})
	on.Identity.Groups = []string{"own"}
	m := mapper.Groups("g", "corp/")
	on.Profile.Groups = []string{"hand", "corp/old", "corp/a"}
	m.Forget(on)
	run(t, m, on)
	run(t, mapper.Groups("", "said/"), on)
	if want := []string{"hand", "corp/a", "corp/c", "said/own"}; !slices.Equal(on.Profile.Groups, want) {
		t.Errorf("got %q, want %q", on.Profile.Groups, want)
	}
}

// 72: username template with pipes.
func TestUsername(t *testing.T) {
	t.Parallel()
	all := claims(t, `{"mail": "Alice@Example.com", "odd": "a@b@c", "first": "Al", "deep": {"x.y": ["One", "Two"]}, "n": 12, "null": null,
		"urn:oasis:names:tc:SAML:2.0:assertion:NameID": "N1", "urn:oid:1.2": "saml"}`)
	for template, want := range map[string]string{
		"${ALIAS}.${CLAIM.mail}":                        "corp.Alice@Example.com",
		"${CLAIM.mail | localpart | lowercase}":         "alice",
		"${CLAIM.mail|uppercase}":                       "ALICE@EXAMPLE.COM",
		"${CLAIM.odd|localpart}":                        "a@b",
		"${CLAIM.first|localpart}":                      "Al",
		`x-${CLAIM.deep.x\.y}-${CLAIM.deep.x\.y[1]}`:    "x-One-Two",
		"${CLAIM.n}":                                    "12",
		"${ALIAS}.${CLAIM.missing}":                     "corp.",
		"${CLAIM.missing}${CLAIM.null}":                 "u", // nothing: as it was
		"$5 {ALIAS} ${ATTRIBUTE.urn:oid:1.2} ${NAMEID}": "$5 {ALIAS} saml N1",
	} {
		on := mapping(all)
		on.Profile.Username = "u"
		run(t, mapper.Username(template, mapper.Local), on)
		if on.Profile.Username != want {
			t.Errorf("%s: got %q, want %q", template, on.Profile.Username, want)
		}
		on = mapping(all)
		m := mapper.Username(template, mapper.BrokerUsername)
		run(t, m, on)
		if on.Identity.Username != want || m.Stage != provider.StageLookup {
			t.Errorf("%s as the name at the broker: got %q, want %q", template, on.Identity.Username, want)
		}
	}
	a, b := mapping(all), mapping(all)
	m := mapper.Username("${UUID}", mapper.Local)
	run(t, m, a)
	run(t, m, b)
	if len(a.Profile.Username) != 36 || a.Profile.Username == b.Profile.Username {
		t.Errorf("UUIDs are %q and %q", a.Profile.Username, b.Profile.Username)
	}
	a.Update, a.Profile.Username = true, "stays"
	if run(t, m, a); a.Profile.Username != "stays" {
		t.Error("a user who exists was renamed")
	}
}

// CVE-2026-82968: what stands for nothing is nobody's id, alone or as a part of one.
func TestBrokerID(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"x"`: "t-x", `7`: "t-7", `-7`: "t--7", `9007199254740993`: "t-9007199254740993",
		`null`: "", `""`: "", `"  "`: "", `"null"`: "", `0`: "", `-0`: "", `1.0`: "", `1e3`: "", `true`: "", `[]`: "", `["x"]`: "", `{}`: "", `{"x":1}`: "",
		`"a\u0000"`: "",
	} {
		on := mapping(claims(t, `{"tid": "t", "oid": `+value+`}`))
		m := mapper.Username("${CLAIM.tid}-${CLAIM.oid}", mapper.BrokerID)
		err := m.Map(on)
		if want == "" && err == nil || want != "" && (err != nil || on.Identity.Subject != want) {
			t.Errorf("%s: subject %q, error %v, want %q", value, on.Identity.Subject, err, want)
		}
		if want == "" && on.Identity.Subject != "s" {
			t.Errorf("%s: subject %q after an error", value, on.Identity.Subject)
		}
	}
	on := mapping(map[string]any{"mail": "@example.com"})
	if mapper.Username("${CLAIM.mail|localpart}", mapper.BrokerID).Map(on) == nil {
		t.Error("a pipe left nothing of an id")
	}
	if mapper.Username("x${CLAIM.none}", mapper.BrokerID).Map(mapping(nil)) == nil {
		t.Error("an identity without claims has an id")
	}
}

// CVE-2026-110863: names with separators are not two people's one id. Whatever the claims are, different ones make different ids,
// or none.
func TestBrokerIDsStayApart(t *testing.T) {
	t.Parallel()
	id := func(template, a, b string, target mapper.Target) (string, bool) {
		on := mapping(map[string]any{"a": a, "b": b})
		m := mapper.Username(template, target)
		if m.Err != nil {
			t.Fatal(m.Err)
		}
		err := m.Map(on)
		if target == mapper.FormerID {
			return on.Identity.FormerSubject, on.Identity.FormerSubject != ""
		}
		return on.Identity.Subject, err == nil
	}
	texts := []string{"x", "x-", "-x", "-", "--", "x--", "--x", "x-y", "x--y", "y", "y-x", "corp", "x-corp", "CORP", "é", "ê"}
	for _, template := range []string{"${CLAIM.a}-${CLAIM.b}", "${CLAIM.a}--${CLAIM.b}", "${CLAIM.a}-${ALIAS}-${CLAIM.b}",
		"${CLAIM.a}${ALIAS|uppercase}${CLAIM.b}", "${CLAIM.a}-${CLAIM.b}-", "${CLAIM.a}é${CLAIM.b}"} {
		for _, target := range []mapper.Target{mapper.BrokerID, mapper.FormerID} {
			made := map[string][2]string{}
			for _, a := range texts {
				for _, b := range texts {
					s, ok := id(template, a, b, target)
					if other, taken := made[s]; ok && taken {
						t.Errorf("%s: %q is both %q and %q", template, s, other, [2]string{a, b})
					}
					if ok {
						made[s] = [2]string{a, b}
					}
				}
			}
			if len(made) < 40 {
				t.Errorf("%s: only %d of the pairs have an id", template, len(made))
			}
		}
	}
	on := mapping(map[string]any{})
	on.Identity.FormerSubject = "was"
	if run(t, mapper.Username("${CLAIM.a}", mapper.FormerID), on); on.Identity.FormerSubject != "was" {
		t.Errorf("without the claim the former subject is %q, want what the provider says", on.Identity.FormerSubject)
	}
	if _, ok := id("${CLAIM.a}-${ALIAS}", "x-y", "", mapper.BrokerID); !ok {
		t.Error("a claim that no other one follows has to end nowhere")
	}
}

// Names that decide something in a token are nobody's to write, whichever the mapper and however they are spelt (CVE-2024-29892).
func TestReservedNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "acr", "amr", "azp", "sid", "nonce", "auth_time", "at_hash", "c_hash", "cnf", "act",
		"client_id", "scope", "typ", "active", "token_type", "identity_provider", "id", "username", "preferred_username", "roles", "groups",
		"email_verified", "emailVerified", "disabled",
	} {
		for _, spelt := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			for _, m := range []provider.Mapper{
				mapper.Attribute("a", spelt), mapper.FixedAttribute(spelt, "x"), mapper.Note("a", spelt), mapper.FixedNote(spelt, "x"),
			} {
				if m.Err == nil || m.Map != nil {
					t.Errorf("%s: can be written", m.Name)
				}
			}
		}
	}
}

// What a mapper adds and takes away changes no list that somebody else holds.
func TestListsAreNotShared(t *testing.T) {
	t.Parallel()
	shared := []string{"a", "r", "b"}
	on := mapping(nil)
	on.Profile.Roles = shared
	mapper.FixedRole("r").Forget(on)
	if !slices.Equal(shared, []string{"a", "r", "b"}) || !slices.Equal(on.Profile.Roles, []string{"a", "b"}) {
		t.Errorf("shared %q, roles %q", shared, on.Profile.Roles)
	}
	fixed := mapper.FixedAttribute("x", "y")
	run(t, fixed, on)
	on.Profile.Attributes["x"][0] = "changed"
	again := mapping(nil)
	if run(t, fixed, again); again.Profile.Attributes["x"][0] != "y" {
		t.Error("a fixed attribute was changed from outside")
	}
}
