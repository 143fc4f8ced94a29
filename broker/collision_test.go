package broker_test

import (
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// better-auth CVE-2026-110863, CVE-2026-67330: who has the same issuer and subject at two providers is two people, and so is
// who differs in case, or in where a separator might stand.
func TestSubjectsOfProvidersStayApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	rename := func(issuer, subject, name string) []provider.Mapper {
		return []provider.Mapper{{Name: "same", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
			m.Identity.Issuer, m.Identity.Subject, m.Identity.Username = issuer, subject, name
			m.Identity.Email = strings.ReplaceAll(name, " ", ".") + "@example.com"
			return nil
		}}}
	}
	users := map[string]string{} // id by case
	for name, who := range map[string]struct{ provider, alias, issuer, subject string }{
		"one":            {"Demo", "demo", "https://issuer.example", "same"},
		"other provider": {"Other", "other", "https://issuer.example", "same"},
		"case twin":      {"Demo", "demo", "https://issuer.example", "Same"},
		"other issuer":   {"Demo", "demo", "https://issuer.example/", "same"},
		"separator":      {"Demo", "demo", "https://issuer.example|same", ""},
		"separator 2":    {"Demo", "demo", "https://issuer.example", "|same"},
	} {
		subject := who.subject
		if subject == "" {
			subject = "x"
		}
		w.reconfigure(func(c *broker.Config) {
			for i := range c.Providers {
				c.Providers[i].Mappers = rename(who.issuer, subject, "user "+name)
			}
		})
		id := w.login(who.provider).Get(w.Origin + "/").Who().ID
		if before, taken := users[id]; taken {
			t.Errorf("%q and %q are one user", before, name)
		}
		users[id] = name
		link, err := w.store.Link(t.Context(), store.LinkKey{Provider: who.alias, Issuer: who.issuer, Subject: subject})
		if err != nil || link.UserID != id {
			t.Errorf("%q: link %+v, %v", name, link, err)
		}
	}
}
