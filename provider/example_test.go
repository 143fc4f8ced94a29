package provider_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
)

// An intranet signs people in at a page of its own and sends them back with a ticket, which is good for one look-up.
type intranet struct {
	loginURL string
	redeem   func(ctx context.Context, ticket string) (employee string, err error)
}

func (p *intranet) Begin(_ context.Context, r provider.Request) (*provider.Redirect, error) {
	params := url.Values{"return": {r.RedirectURI}, "state": {r.State}}
	return &provider.Redirect{URL: p.loginURL + "?" + params.Encode()}, nil
}

func (p *intranet) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	if len(cb.Params["ticket"]) != 1 {
		return nil, &provider.Error{Kind: provider.Invalid, Err: errors.New("not exactly one ticket")}
	}
	employee, err := p.redeem(ctx, cb.Params.Get("ticket"))
	if err != nil {
		return nil, &provider.Error{Kind: provider.Unavailable, Err: err}
	}
	if employee == "" { // nobody: an empty subject must never be somebody
		return nil, &provider.Error{Kind: provider.Expired, Err: errors.New("the ticket is not good any more")}
	}
	return &provider.Identity{Subject: employee, Username: employee}, nil
}

// A provider of one's own: two methods. It goes into broker.Config as broker.Provider{Alias: "intranet", IdP: idp}.
func ExampleIdentityProvider() {
	var idp provider.IdentityProvider = &intranet{
		loginURL: "https://intranet.example/login",
		redeem: func(_ context.Context, ticket string) (string, error) {
			return map[string]string{"T-1": "e4711"}[ticket], nil
		},
	}
	ctx := context.Background()
	redirect, err := idp.Begin(ctx, provider.Request{RedirectURI: "https://app.example/id/broker/intranet/endpoint", State: "s"})
	fmt.Println(redirect.URL, err)

	identity, err := idp.Finish(ctx, provider.Callback{Params: url.Values{"state": {"s"}, "ticket": {"T-1"}}, Data: redirect.Data})
	fmt.Println(identity.Subject, err)
	_, err = idp.Finish(ctx, provider.Callback{Params: url.Values{"state": {"s"}, "ticket": {"T-2"}}, Data: redirect.Data})
	fmt.Println(err)
	// Output:
	// https://intranet.example/login?return=https%3A%2F%2Fapp.example%2Fid%2Fbroker%2Fintranet%2Fendpoint&state=s <nil>
	// e4711 <nil>
	// provider: expired: the ticket is not good any more
}

// A mapper is one function: here it makes roles of the groups that begin with a prefix, anew at each login.
func ExampleMapper() {
	roles := provider.Mapper{
		Name: "app roles",
		Sync: provider.SyncForce,
		Map: func(m *provider.Mapping) error {
			m.Profile.Roles = nil
			for _, group := range m.Identity.Groups {
				if role, ok := strings.CutPrefix(group, "app-"); ok {
					m.Profile.Roles = append(m.Profile.Roles, role)
				}
			}
			return nil
		},
	}
	identity := &provider.Identity{Subject: "1", Groups: []string{"staff", "app-admin", "app-editor"}}
	profile := provider.ProfileOf(identity, false)
	err := roles.Map(&provider.Mapping{Alias: "corp", Identity: identity, Profile: &profile})
	fmt.Println(profile.Roles, err)
	// Output: [admin editor] <nil>
}
