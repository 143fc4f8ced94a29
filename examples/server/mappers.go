package main

import (
	"fmt"
	"slices"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
)

// A mapping is one of a provider's mappers. Which keys count depends on its type.
type mapping struct {
	Type      mapperType     `yaml:"type"`
	Sync      syncMode       `yaml:"sync"`
	Claim     string         `yaml:"claim"`
	Attribute string         `yaml:"attribute"`
	Role      string         `yaml:"role"`
	Group     string         `yaml:"group"`
	Note      string         `yaml:"note"`
	External  string         `yaml:"external"`
	Prefix    string         `yaml:"prefix"`
	Template  string         `yaml:"template"`
	Target    usernameTarget `yaml:"target"`
	Values    []string       `yaml:"values"`
	When      []condition    `yaml:"when"`
}

type condition struct {
	Claim string `yaml:"claim"`
	Value string `yaml:"value"`
	Regex bool   `yaml:"regex"`
}

type (
	mapperType     string
	usernameTarget string
)

func (mapperType) names() []string {
	return []string{"attribute", "fixed_attribute", "role", "fixed_role", "external_role", "group", "fixed_group", "groups", "note", "fixed_note",
		"username"}
}

func (usernameTarget) names() []string {
	return []string{"local", "broker_id", "broker_username", "former_id"}
}

func (t usernameTarget) target() mapper.Target {
	return mapper.Target(max(slices.Index(t.names(), string(t)), 0))
}

// mapperKeys are the keys of each type; the one that ends with "?" may be left out.
var mapperKeys = map[mapperType][]string{
	"attribute": {"claim", "attribute"}, "fixed_attribute": {"attribute", "values"}, "role": {"role", "when"}, "fixed_role": {"role"},
	"external_role": {"external", "role"}, "group": {"group", "when"}, "fixed_group": {"group"}, "groups": {"claim?", "prefix?"},
	"note": {"claim", "note"}, "fixed_note": {"note", "values"}, "username": {"template", "target?"},
}

// mappers makes a provider's mappers. One that has a mistake is told, and does nothing.
func (s *setup) mappers(path string, all []mapping) (made []provider.Mapper) {
	for i, m := range all {
		at := fmt.Sprintf("%s[%d]", path, i)
		one := provider.Mapper{Name: "mistaken", Map: func(*provider.Mapping) error { return nil }}
		if s.checkMapping(at, m) {
			if built := m.mapper(); built.Err != nil {
				s.doc.problem(at, "%v", built.Err)
				s.doc.problems[len(s.doc.problems)-1].library = true
			} else {
				one = built.With(m.Sync.mode())
			}
		}
		made = append(made, one)
	}
	return made
}

// checkMapping reports keys that are missing, and those that would do nothing.
func (s *setup) checkMapping(path string, m mapping) (ok bool) {
	if m.Type == "" {
		if !s.doc.has(path + ".type") {
			s.doc.problem(path+".type", "is missing: README.md has those that there are")
		}
		return false
	}
	ok = true
	say := func(key, format string, args ...any) {
		ok = false
		if !s.doc.has(path + "." + key) {
			s.doc.problem(path+"."+key, format, args...)
			s.doc.problems[len(s.doc.problems)-1].library = true
		}
	}
	for _, key := range []struct {
		name  string
		given bool
	}{
		{"claim", m.Claim != ""}, {"attribute", m.Attribute != ""}, {"role", m.Role != ""}, {"group", m.Group != ""}, {"note", m.Note != ""},
		{"external", m.External != ""}, {"prefix", m.Prefix != ""}, {"template", m.Template != ""}, {"target", m.Target != ""},
		{"values", len(m.Values) > 0}, {"when", len(m.When) > 0},
	} {
		needed := slices.Contains(mapperKeys[m.Type], key.name)
		switch {
		case needed && !key.given:
			say(key.name, "is missing: the type %s needs it", m.Type)
		case key.given && !needed && !slices.Contains(mapperKeys[m.Type], key.name+"?"):
			say(key.name, "does nothing in a mapper of the type %s", m.Type)
		}
	}
	if m.Type == "fixed_note" && len(m.Values) > 1 {
		say("values", "is to be one: a note has no more")
	}
	return ok
}

// mapper makes the mapper. Its keys are those of its type.
func (m mapping) mapper() provider.Mapper {
	when := make([]mapper.Condition, len(m.When))
	for i, c := range m.When {
		when[i] = mapper.Condition{Claim: c.Claim, Value: c.Value, Regex: c.Regex}
	}
	switch m.Type {
	case "attribute":
		return mapper.Attribute(m.Claim, m.Attribute)
	case "fixed_attribute":
		return mapper.FixedAttribute(m.Attribute, m.Values...)
	case "role":
		return mapper.Role(m.Role, when[0], when[1:]...)
	case "fixed_role":
		return mapper.FixedRole(m.Role)
	case "external_role":
		return mapper.ExternalRole(m.External, m.Role)
	case "group":
		return mapper.Group(m.Group, when[0], when[1:]...)
	case "fixed_group":
		return mapper.FixedGroup(m.Group)
	case "groups":
		return mapper.Groups(m.Claim, m.Prefix)
	case "note":
		return mapper.Note(m.Claim, m.Note)
	case "fixed_note":
		return mapper.FixedNote(m.Note, m.Values[0])
	}
	return mapper.Username(m.Template, m.Target.target())
}
