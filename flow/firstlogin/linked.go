package firstlogin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// VerifyByProvider has the account that was found prove itself by another provider that it is linked to: it offers those that are
// enabled, never the one just used, and sends the browser there. Whoever is linked to the identity that comes back is who it
// decides for; that may be another user than was found. An identity that nobody is linked to decides nothing, and the first one is
// not lost: the page is shown again.
//
// Its page is "choose-provider". It skips where there is no other provider. It denies a disabled user with factor.UserDisabled.
type VerifyByProvider struct{}

var _ flow.Decider = VerifyByProvider{}

// Decides marks the step as one that decides the draft.
func (VerifyByProvider) Decides() {}

// Authenticate offers, sends away, and decides.
func (VerifyByProvider) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	offered, err := otherProviders(ctx, t)
	if err != nil || len(offered) == 0 || t.Draft.Decided() {
		return flow.Skip(), err
	}
	if t.Returned != nil {
		return returned(ctx, t, offered)
	}
	if t.Input.Has("another") && t.Others() {
		return flow.Another(), nil
	}
	if alias := t.Input.Get("provider"); slices.ContainsFunc(offered, func(p flow.Provider) bool { return p.Alias == alias }) {
		return flow.Leave(alias), nil
	}
	return flow.Ask(choosePage(t, offered)), nil
}

func returned(ctx context.Context, t *flow.Turn, offered []flow.Provider) (flow.Result, error) {
	if !slices.ContainsFunc(offered, func(p flow.Provider) bool { return p.Alias == t.Returned.Alias }) || t.Returned.UserID == "" {
		page := choosePage(t, offered)
		page.Errors = map[string]string{"provider": "not_linked"}
		return flow.Ask(page), nil
	}
	u, err := userOrNil(ctx, t, t.Returned.UserID)
	switch {
	case err != nil:
		return flow.Result{}, err
	case u == nil:
		return flow.Ask(choosePage(t, offered)), nil
	case u.Disabled:
		return flow.Deny(factor.UserDisabled), nil
	}
	note(t, "linked_by", "provider "+t.Returned.Alias)
	t.Draft.UserID = u.ID
	return flow.Success(), nil
}

func choosePage(t *flow.Turn, offered []flow.Provider) flow.Page {
	list := make([]map[string]any, len(offered))
	for i, p := range offered {
		list[i] = map[string]any{"alias": p.Alias, "name": p.Name}
	}
	return flow.Page{Name: "choose-provider", Data: map[string]any{
		"providers": list, "provider": t.Provider.Name, "another": t.Others(),
	}}
}

// otherProviders returns the enabled providers that the account that was found is linked to, without the one just used.
func otherProviders(ctx context.Context, t *flow.Turn) ([]flow.Provider, error) {
	if t.Upstream == nil {
		return nil, nil
	}
	u, err := candidate(ctx, t)
	if u == nil || err != nil {
		return nil, err
	}
	links, err := t.Accounts.LinksOf(ctx, u.ID)
	if err != nil {
		return nil, fmt.Errorf("links of account: %w", err)
	}
	var offered []flow.Provider
	for _, l := range links {
		known := slices.ContainsFunc(offered, func(p flow.Provider) bool { return p.Alias == l.Provider })
		if p, ok := t.Upstream(l.Provider); ok && !known && l.Provider != t.Provider.Alias {
			offered = append(offered, p)
		}
	}
	return offered, nil
}

// userOrNil returns the user with this id, nil if there is none any more.
func userOrNil(ctx context.Context, t *flow.Turn, id string) (*store.User, error) {
	u, err := t.Accounts.User(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	return u, nil
}
