package mapper_test

import (
	"encoding/json"
	"fmt"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
)

// The usual mappers, as they stand in broker.Provider.Mappers.
func Example() {
	mappers := []provider.Mapper{
		mapper.Attribute("hr.department", "department"),
		mapper.Role("admin", mapper.Condition{Claim: "groups", Value: "it-.*", Regex: true}, mapper.Condition{Claim: "hr.grade", Value: "7"}),
		mapper.Username("${ALIAS}.${CLAIM.email | localpart | lowercase}", mapper.Local),
	}
	identity := &provider.Identity{Subject: "1", Claims: map[string]any{
		"email": "Alice@example.com", "groups": []any{"staff", "it-support"},
		"hr": map[string]any{"department": "Optics", "grade": json.Number("7")},
	}}
	profile := provider.ProfileOf(identity, false)
	for _, m := range mappers {
		if err := m.Map(&provider.Mapping{Alias: "corp", Identity: identity, Profile: &profile}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(profile.Username, profile.Roles, profile.Attributes)
	// Output: corp.alice [admin] map[department:[Optics]]
}

// A mapper of one's own is a function.
func Example_ownMapper() {
	initials := provider.Mapper{Name: "initials", Map: func(m *provider.Mapping) error {
		if p := m.Profile; p.FirstName != "" && p.LastName != "" {
			p.Attributes["initials"] = []string{p.FirstName[:1] + p.LastName[:1]}
		}
		return nil
	}}
	identity := &provider.Identity{FirstName: "Alice", LastName: "Liddell"}
	profile := provider.ProfileOf(identity, false)
	err := initials.Map(&provider.Mapping{Identity: identity, Profile: &profile})
	fmt.Println(profile.Attributes["initials"], err)
	// Output: [AL] <nil>
}
