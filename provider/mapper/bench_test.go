package mapper_test

import (
	"fmt"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
)

// Twenty mappers over a token with a hundred claims.
func BenchmarkTwentyMappers(b *testing.B) {
	all := claims(b, document)
	for i := range 100 - len(all) {
		all[fmt.Sprintf("claim%d", i)] = fmt.Sprintf("value%d", i)
	}
	var set []provider.Mapper
	for i := range 5 {
		set = append(set,
			mapper.Attribute(fmt.Sprintf("claim%d", i), fmt.Sprintf("attribute%d", i)),
			mapper.Role(fmt.Sprintf("role%d", i), mapper.Condition{Claim: "list", Value: "7"}, mapper.Condition{Claim: "text", Value: "v.*", Regex: true}),
			mapper.Group(fmt.Sprintf("group%d", i), mapper.Condition{Claim: "people[1].name", Value: "<y>"}),
			mapper.Attribute("people[0].tags", fmt.Sprintf("tags%d", i)))
	}
	for _, m := range set {
		if m.Err != nil {
			b.Fatal(m.Err)
		}
	}
	identity := &provider.Identity{Subject: "s", Claims: all}
	b.ReportAllocs()
	for b.Loop() {
		profile := provider.ProfileOf(identity, false)
		m := &provider.Mapping{Alias: "corp", Identity: identity, Profile: &profile}
		for i := range set {
			if err := set[i].Map(m); err != nil {
				b.Fatal(err)
			}
		}
		if len(profile.Roles) != 5 || len(profile.Groups) != 5 || len(profile.Attributes) != 10 {
			b.Fatalf("%+v", profile)
		}
	}
}
