package flow_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
)

// Terms asks for consent to the terms of service, and lets nobody in without it.
type Terms struct{ Version string }

func (a Terms) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	page := flow.Page{Name: "terms", Data: map[string]any{"version": a.Version}}
	switch {
	case t.Input == nil: // the step was just reached
		return flow.Ask(page), nil
	case t.Input.Has("decline"):
		return flow.Deny("terms_declined"), nil
	case t.Input.Get("accept") != a.Version:
		page.Errors = map[string]string{"accept": "terms_must_be_accepted"}
		return flow.Ask(page), nil
	}
	t.Draft.Profile.Attributes["terms"] = []string{a.Version}
	return flow.Success(), nil
}

// An authenticator of one's own, in a flow of one's own. The broker does the rest; what it does with a flow is this.
func ExampleAuthenticator() {
	f := flow.Flow{
		{ID: "terms", Do: Terms{Version: "3"}},
		{ID: "create", Do: firstlogin.CreateUserIfUnique{}},
	}
	if err := f.Check(); err != nil {
		panic(err)
	}
	fmt.Print(f)

	ann := &provider.Identity{Subject: "1", Username: "Ann", Email: "ann@example.com"}
	var state flow.State
	turn := &flow.Turn{
		Identity: ann,
		Draft:    &flow.Draft{Profile: provider.ProfileOf(ann, false)},
		Accounts: &flowtest.Accounts{},
	}
	out, _ := f.Run(context.Background(), &state, turn)
	fmt.Println(out.Kind, out.Step, out.Page.Name)

	turn.Token, turn.Input = state.Token(), url.Values{"accept": {"3"}}
	out, _ = f.Run(context.Background(), &state, turn)
	fmt.Println(out.Kind, turn.Draft.New, turn.Draft.Profile.Username, turn.Draft.Profile.Attributes["terms"])
	// Output:
	// ├ terms  REQUIRED    flow_test.Terms
	// └ create REQUIRED    firstlogin.CreateUserIfUnique
	// asked terms terms
	// done true ann [3]
}

// The same authenticator, tested as a host would.
func TestTerms(t *testing.T) {
	t.Parallel()
	f := flow.Flow{{ID: "terms", Do: Terms{Version: "3"}}}

	d := flowtest.Start(t, f, flowtest.Login{})
	d.Answer(nil)
	d.Answer(url.Values{"accept": {"2"}})
	if got := d.Page("terms").Errors["accept"]; got != "terms_must_be_accepted" {
		t.Errorf("got error %q for an old version's consent", got)
	}
	d.Replay(0, url.Values{"accept": {"3"}})
	d.Answer(url.Values{"accept": {"3"}})
	if got := d.Done().Profile.Attributes["terms"]; len(got) != 1 || got[0] != "3" {
		t.Errorf("got attribute %q, want the version", got)
	}

	d = flowtest.Start(t, f, flowtest.Login{})
	d.Answer(url.Values{"decline": {""}, "accept": {"3"}})
	d.Denied("terms_declined")
}
