package firstlogin_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

func accounts(users ...*store.User) *flowtest.Accounts {
	for i, u := range users {
		u.ID = fmt.Sprintf("user-%d", i)
	}
	return &flowtest.Accounts{Users: users}
}

var createOnly = flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{}}}

func TestDefaultPassesCheck(t *testing.T) {
	t.Parallel()
	if err := firstlogin.Default().Check(); err != nil {
		t.Error(err)
	}
	if !firstlogin.Default().Decides() {
		t.Error("the default flow does not decide")
	}
}

func TestNewUser(t *testing.T) {
	t.Parallel()
	trusted := flow.Provider{Alias: "up", TrustEmail: true}
	tests := []struct {
		name     string
		provider flow.Provider
		identity provider.Identity
		step     firstlogin.CreateUserIfUnique
		accounts *flowtest.Accounts
		want     provider.Profile // of which username, e-mail and whether it is verified count
	}{
		{"complete", trusted, provider.Identity{Subject: "1", Username: " Ann ", Email: "Ann@Example.com", EmailVerified: true}, firstlogin.CreateUserIfUnique{},
			nil, provider.Profile{Username: "ann", Email: "ann@example.com", EmailVerified: true}},
		{"not trusted for e-mail", flow.Provider{}, provider.Identity{Subject: "1", Username: "ann", Email: "ann@example.com", EmailVerified: true},
			firstlogin.CreateUserIfUnique{}, nil, provider.Profile{Username: "ann", Email: "ann@example.com"}},
		{"no username", trusted, provider.Identity{Subject: "1", Email: "Ann@example.com"}, firstlogin.CreateUserIfUnique{},
			nil, provider.Profile{Username: "ann@example.com", Email: "ann@example.com"}},
		{"username that is none", trusted, provider.Identity{Subject: "1", Username: "a\x00b", Email: "ann@example.com"}, firstlogin.CreateUserIfUnique{},
			nil, provider.Profile{Username: "ann@example.com", Email: "ann@example.com"}},
		{"neither", trusted, provider.Identity{Subject: "Ab1"}, firstlogin.CreateUserIfUnique{}, nil, provider.Profile{Username: "up.ab1"}},
		{"e-mail that is none is dropped", trusted, provider.Identity{Subject: "1", Email: "victim@corp.example@evil.example", EmailVerified: true},
			firstlogin.CreateUserIfUnique{}, nil, provider.Profile{Username: "up.1"}},
		{"shared e-mail names nobody", trusted, provider.Identity{Subject: "1", Email: "ann@example.com"}, firstlogin.CreateUserIfUnique{SharedEmail: true},
			accounts(&store.User{Username: "ann@example.com", Email: "ann@example.com"}), provider.Profile{Username: "up.1", Email: "ann@example.com"}},
		{"e-mail that others share", trusted, provider.Identity{Subject: "1", Username: "ann2", Email: "ann@example.com"},
			firstlogin.CreateUserIfUnique{SharedEmail: true}, accounts(&store.User{Username: "ann", Email: "ann@example.com"}),
			provider.Profile{Username: "ann2", Email: "ann@example.com"}},
		{"username that is the own shared e-mail", trusted, provider.Identity{Subject: "1", Username: "Ann@example.com", Email: "ann@example.com"},
			firstlogin.CreateUserIfUnique{SharedEmail: true}, accounts(&store.User{Username: "ann", Email: "ann@example.com"}),
			provider.Profile{Username: "ann@example.com", Email: "ann@example.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.provider.Alias == "" {
				tt.provider.Alias = "up"
			}
			l := flowtest.Login{Provider: tt.provider, Identity: &tt.identity}
			if tt.accounts != nil {
				l.Accounts = tt.accounts
			}
			d := flowtest.Start(t, flow.Flow{{ID: "create", Do: tt.step}}, l).Done()
			if !d.New || !d.Decided() || d.Existing != nil || d.SharedEmail != tt.step.SharedEmail {
				t.Errorf("got draft %+v, want a new user", d)
			}
			got := provider.Profile{Username: d.Profile.Username, Email: d.Profile.Email, EmailVerified: d.Profile.EmailVerified}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestExistingAccount(t *testing.T) {
	t.Parallel()
	ann := provider.Identity{Subject: "1", Username: "Ann", Email: "ANN@example.com", EmailVerified: true}
	tests := []struct {
		name     string
		identity provider.Identity
		users    []*store.User
		step     firstlogin.CreateUserIfUnique
		want     flow.Existing
	}{
		{"e-mail", ann, []*store.User{{Username: "x", Email: "ann@example.com"}}, firstlogin.CreateUserIfUnique{}, flow.Existing{UserID: "user-0", Field: "email"}},
		{"e-mail of one who is disabled", ann, []*store.User{{Username: "x", Email: "ann@example.com", Disabled: true}}, firstlogin.CreateUserIfUnique{},
			flow.Existing{UserID: "user-0", Field: "email"}},
		{"e-mail of several", ann, []*store.User{{Username: "x", Email: "ann@example.com"}, {Username: "y", Email: "ann@example.com"}},
			firstlogin.CreateUserIfUnique{}, flow.Existing{Field: "email"}},
		{"e-mail before username", ann, []*store.User{{Username: "ann"}, {Username: "x", Email: "ann@example.com"}}, firstlogin.CreateUserIfUnique{},
			flow.Existing{UserID: "user-1", Field: "email"}},
		{"username", ann, []*store.User{{Username: "ann", Email: "else@example.com"}}, firstlogin.CreateUserIfUnique{}, flow.Existing{UserID: "user-0", Field: "username"}},
		{"username, with shared e-mail", ann, []*store.User{{Username: "ann", Email: "ann@example.com"}}, firstlogin.CreateUserIfUnique{SharedEmail: true},
			flow.Existing{UserID: "user-0", Field: "username"}},
		{"e-mail that is a username", provider.Identity{Subject: "1", Email: "bob@example.com"}, []*store.User{{Username: "bob@example.com"}},
			firstlogin.CreateUserIfUnique{}, flow.Existing{UserID: "user-0", Field: "username"}},
		{"username that is another's e-mail", provider.Identity{Subject: "1", Username: "Bob@example.com"}, []*store.User{{Username: "bob", Email: "bob@example.com"}},
			firstlogin.CreateUserIfUnique{}, flow.Existing{UserID: "user-0", Field: "username"}},
		{"username in another spelling", provider.Identity{Subject: "1", Username: "\uff21nn"}, []*store.User{{Username: "ann"}},
			firstlogin.CreateUserIfUnique{}, flow.Existing{UserID: "user-0", Field: "username"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			login := flowtest.Login{Identity: &tt.identity, Accounts: accounts(tt.users...)}

			d := flowtest.Start(t, flow.Flow{{ID: "create", Do: tt.step}}, login)
			data := d.Denied(firstlogin.AccountExists)
			if !reflect.DeepEqual(data, map[string]any{"field": tt.want.Field}) {
				t.Errorf("Required: the page gets %v, want the field and nothing else", data)
			}
			if d.Draft().New || d.Draft().UserID != "" {
				t.Errorf("Required: draft decides %+v", d.Draft())
			}

			var saw *flow.Existing
			prove := proof(func(t *flow.Turn) { saw = t.Draft.Existing })
			draft := flowtest.Start(t, flow.Flow{{ID: "account", Sub: flow.Flow{
				{ID: "create", When: flow.Alternative, Do: tt.step},
				{ID: "existing", When: flow.Alternative, Sub: flow.Flow{{ID: "prove", Do: prove}}},
			}}}, login).Done()
			if saw == nil || *saw != tt.want {
				t.Errorf("Alternative: the next step saw %+v, want %+v", saw, tt.want)
			}
			if draft.New || draft.SharedEmail {
				t.Errorf("Alternative: draft decides %+v", draft)
			}
		})
	}
}

// proof stands for a step that proves the existing account.
type proof func(t *flow.Turn)

func (p proof) Decides() {}

func (p proof) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	p(t)
	t.Draft.UserID = "proved"
	return flow.Success(), nil
}

// Subjects that differ in case, and aliases and subjects that run into each other, are different people and get
// different usernames (advisories: id collisions).
func TestMadeUpUsernamesDoNotCollide(t *testing.T) {
	t.Parallel()
	all := accounts()
	for _, who := range []struct{ alias, issuer, subject string }{
		{"up", "", "abc"}, {"up", "", "ABC"}, {"up", "", "Abc"}, {"up", "other", "abc"}, {"up.a", "", "bc"}, {"up", "", "a.bc"},
		{"up", "", "a.Bc"}, {"up", "", strings.Repeat("x", 300)}, {"up", "", "a\x00b"}, {"up", "", "\u200b"},
	} {
		d := flowtest.Start(t, createOnly, flowtest.Login{
			Provider: flow.Provider{Alias: who.alias},
			Identity: &provider.Identity{Issuer: who.issuer, Subject: who.subject},
			Accounts: all,
		}).Done()
		name := d.Profile.Username
		if found, _ := all.FindUsers(t.Context(), store.UserQuery{Username: name}); len(found) > 0 || firstlogin.Username(name) != name {
			t.Errorf("%+q of %s is %q, which is taken or no username", who.subject, who.alias, name)
		}
		all.Users = append(all.Users, &store.User{ID: name, Username: name})
	}
}

func TestMadeUpUsernameThatIsSomebodysEmail(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, createOnly, flowtest.Login{
		Provider: flow.Provider{Alias: "up"},
		Identity: &provider.Identity{Subject: "bob@example.com"},
		Accounts: accounts(&store.User{Username: "bob", Email: "up.bob@example.com"}),
	}).Done()
	if name := d.Profile.Username; strings.Contains(name, "@") || !strings.HasPrefix(name, "up.") {
		t.Errorf("got username %q, want one that is nobody's address", name)
	}
}

func TestSomebodyWhoIsKnownIsNotCreated(t *testing.T) {
	t.Parallel()
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "next", When: flow.Alternative, Do: proof(func(*flow.Turn) {})},
	}
	d := flowtest.Start(t, f, flowtest.Login{
		Draft: &flow.Draft{UserID: "ann", Existing: &flow.Existing{UserID: "bob", Field: "email"}},
	}).Done()
	if d.New || d.UserID != "proved" || d.Existing != nil {
		t.Errorf("got %+v, want no new user and nobody in the way", d)
	}
}

// brokenAccounts cannot be asked for users.
type brokenAccounts struct {
	flowtest.Accounts
	err error
}

func (b *brokenAccounts) FindUsers(context.Context, store.UserQuery) ([]*store.User, error) {
	return nil, b.err
}

// A store that does not answer is no sign that nobody is there; and its error names nobody.
func TestBrokenStore(t *testing.T) {
	t.Parallel()
	errDown := errors.New("down")
	for _, id := range []provider.Identity{{Email: "ann@example.com"}, {Username: "ann"}, {Subject: "ann"}} {
		turn := &flow.Turn{Identity: &id, Draft: &flow.Draft{Profile: provider.ProfileOf(&id, true)}, Accounts: &brokenAccounts{err: errDown}}
		out, err := createOnly.Run(t.Context(), &flow.State{}, turn)
		if !errors.Is(err, errDown) || strings.Contains(err.Error(), "ann") {
			t.Errorf("got %v and error %v, want %v", out.Kind, err, errDown)
		}
		if turn.Draft.New {
			t.Error("the draft has a new user")
		}
	}
}
