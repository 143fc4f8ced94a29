package firstlogin

import (
	"cmp"
	"context"
	"slices"

	"github.com/go-idbroker/idbroker/flow"
)

// Deny denies whoever comes to it: at the end of a Conditional sub-flow, for instance.
type Deny struct {
	// Reason is the id of the message for the visitor, as of [flow.Deny]; "" is "access_denied".
	Reason string
}

// Authenticate denies.
func (d Deny) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Deny(cmp.Or(d.Reason, "access_denied")), nil
}

// Allow succeeds and decides nothing: an Alternative that ends its level.
type Allow struct{}

// Authenticate succeeds.
func (Allow) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Success(), nil
}

// HasRole is a condition (see [flow.If]): who was decided on has this role, or will have it. Nobody has one before it is decided.
func HasRole(role string) flow.Authenticator {
	return flow.If(func(ctx context.Context, t *flow.Turn) (bool, error) {
		roles, _, err := decidedOn(ctx, t)
		return slices.Contains(roles, role), err
	})
}

// HasAttribute is a condition (see [flow.If]): who was decided on has this value among those of the attribute, or will have it.
func HasAttribute(name, value string) flow.Authenticator {
	return flow.If(func(ctx context.Context, t *flow.Turn) (bool, error) {
		_, attributes, err := decidedOn(ctx, t)
		return slices.Contains(attributes[name], value), err
	})
}

// ByProvider is a condition (see [flow.If]): one of these providers has vouched.
func ByProvider(aliases ...string) flow.Authenticator {
	aliases = slices.Clone(aliases)
	return flow.If(func(_ context.Context, t *flow.Turn) (bool, error) {
		return slices.Contains(aliases, t.Provider.Alias), nil
	})
}

func decidedOn(ctx context.Context, t *flow.Turn) (roles []string, attributes map[string][]string, err error) {
	d := t.Draft
	if d.New {
		return d.Profile.Roles, d.Profile.Attributes, nil
	}
	if d.UserID == "" {
		return nil, nil, nil
	}
	u, err := userOrNil(ctx, t, d.UserID)
	if u == nil || err != nil {
		return nil, nil, err
	}
	return u.Roles, u.Attributes, nil
}
