package op

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/store"
)

// clientClaims returns what a client is told about the user in one place beside what everybody is; nil is nothing.
func clientClaims(c *store.Client, a *session.Active, scope []string, place string) map[string]any {
	var claims map[string]any
	for _, claim := range c.Claims {
		if claim.Scope != "" && !slices.Contains(scope, claim.Scope) || !slices.Contains(gate.ClaimPlaces(claim), place) {
			continue
		}
		if value := claimValue(claim, a); value != nil {
			if claims == nil {
				claims = map[string]any{}
			}
			claims[claim.Name] = value
		}
	}
	return claims
}

// claimValue returns nil where there is nothing to tell.
func claimValue(c store.ClientClaim, a *session.Active) any {
	var values []string
	kind, name, _ := strings.Cut(c.From, ":")
	switch kind {
	case "attribute":
		values = a.User.Attributes[name]
	case "note":
		if note, ok := a.Session.Notes[name]; ok {
			values = []string{note}
		}
	case "roles":
		values, c.List = a.User.Roles, true
	case "groups":
		values, c.List = a.User.Groups, true
	}
	switch {
	case len(values) == 0:
		return nil
	case c.List:
		return values
	}
	return values[0]
}

// tell returns what a client is told: claims, and more if there is more.
func tell(claims any, more map[string]any) any {
	if len(more) == 0 {
		return claims
	}
	return told{claims, more}
}

// A told is a set of claims together with those that only this client is told. In a name that both have the first counts.
type told struct {
	claims any
	more   map[string]any
}

// MarshalJSON returns one object of both.
func (t told) MarshalJSON() ([]byte, error) {
	own, err := json.Marshal(t.claims)
	if err != nil {
		return nil, err
	}
	var all, first map[string]json.RawMessage
	if err := json.Unmarshal(own, &first); err != nil {
		return nil, err
	}
	more, err := json.Marshal(t.more)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(more, &all); err != nil {
		return nil, err
	}
	maps.Copy(all, first)
	return json.Marshal(all)
}
