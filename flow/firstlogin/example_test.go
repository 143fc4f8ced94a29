package firstlogin_test

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A visitor is somebody whom an upstream with the alias "social" vouches for, at a broker that knows ann.
type visitor struct {
	turn  flow.Turn
	flow  flow.Flow
	state flow.State
	out   flow.Outcome
}

func visit(f flow.Flow, id provider.Identity) *visitor {
	if err := f.Check(); err != nil {
		log.Fatal(err)
	}
	v := &visitor{flow: f, turn: flow.Turn{
		Provider: flow.Provider{Alias: "social", Name: "Social", TrustEmail: true}, Identity: &id, Now: time.Now(),
		Draft: &flow.Draft{Profile: provider.ProfileOf(&id, true)},
		Accounts: &flowtest.Accounts{
			Users: []*store.User{{ID: "1", Username: "ann", Email: "ann@example.com", EmailVerified: true, Roles: []string{"admin"}}},
			Links: []*store.Link{{LinkKey: store.LinkKey{Provider: "work", Subject: "a"}, UserID: "1"}},
		},
	}}
	v.turn.Upstream = func(alias string) (flow.Provider, bool) { return flow.Provider{Alias: alias, Name: "Work"}, true }
	return v
}

// answer goes on with the flow and prints where it is; the first one begins it.
func (v *visitor) answer(form url.Values) *visitor {
	v.turn.Token, v.turn.Input = v.state.Token(), form
	out, err := v.flow.Run(context.Background(), &v.state, &v.turn)
	if err != nil {
		log.Fatal(err)
	}
	v.turn.Returned, v.out = nil, out
	switch d := v.turn.Draft; {
	case out.Kind == flow.Asked:
		fmt.Println("asked:", out.Page.Name)
	case out.Kind == flow.Left:
		fmt.Println("sent to:", out.Alias)
	case out.Kind == flow.Denied:
		fmt.Println("denied:", out.Reason)
	case d.New:
		fmt.Println("new user:", d.Profile.Username, d.Profile.Email, "verified:", d.Profile.EmailVerified)
	default:
		fmt.Println("user:", d.UserID)
	}
	return v
}

// annAgain is somebody with ann's address.
var annAgain = provider.Identity{Subject: "s", Username: "annie", Email: "ann@example.com", EmailVerified: true, Name: "Ann"}

func Example() {
	v := visit(firstlogin.Default(), annAgain)
	v.answer(nil)
	v.answer(url.Values{"link": {"1"}})
	v.answer(url.Values{"provider": {"work"}})
	// The browser is back, and somebody there is linked to ann.
	v.turn.Returned = &flow.Returned{Alias: "work", Identity: &provider.Identity{Subject: "a"}, UserID: "1"}
	v.answer(nil)
	// Output:
	// asked: confirm-link
	// asked: choose-provider
	// sent to: work
	// user: 1
}

func ExampleDefault() {
	fmt.Print(firstlogin.Default())
	// Output:
	// ├ review                 REQUIRED    firstlogin.ReviewProfile (missing)
	// └ account                REQUIRED
	//   ├ create               ALTERNATIVE firstlogin.CreateUserIfUnique
	//   └ existing             ALTERNATIVE
	//     ├ confirm            REQUIRED    firstlogin.ConfirmLink
	//     └ verify             REQUIRED
	//       ├ email            ALTERNATIVE firstlogin.VerifyByEmail
	//       ├ provider         ALTERNATIVE firstlogin.VerifyByProvider
	//       └ reauthenticate   ALTERNATIVE
	//         ├ password       REQUIRED    factor.UsernamePassword
	//         └ second         CONDITIONAL
	//           ├ needs-second REQUIRED    condition
	//           └ code         REQUIRED    factor.SecondFactor
}

func ExampleReviewProfile() {
	v := visit(flow.Flow{
		{ID: "review", Do: firstlogin.ReviewProfile{Mode: firstlogin.ReviewOn}},
		{ID: "create", Do: firstlogin.CreateUserIfUnique{}},
	}, provider.Identity{Subject: "s", Username: "bob", Email: "bob@example.com", EmailVerified: true, Name: "Bob"})
	v.answer(nil)
	v.answer(url.Values{"email": {"bob@private.example"}, "username": {"bob"}, "name": {"Bob"}}) // which nobody vouches for
	// Output:
	// asked: review
	// new user: bob bob@private.example verified: false
}

func ExampleCreateUserIfUnique() {
	f := flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{}}}
	visit(f, provider.Identity{Subject: "s", Email: "bob@example.com", EmailVerified: true}).answer(nil)
	visit(f, annAgain).answer(nil)
	// Output:
	// new user: bob@example.com bob@example.com verified: true
	// denied: account_exists
}

func ExampleConfirmLink() {
	v := visit(flow.Flow{
		{ID: "detect", Do: firstlogin.DetectExisting{}},
		{ID: "confirm", Do: firstlogin.ConfirmLink{}},
		{ID: "prove", Do: firstlogin.VerifyByProvider{}},
	}, annAgain).answer(nil)
	fmt.Println("has the same:", v.out.Page.Data["field"])
	v.answer(url.Values{"link": {"1"}})
	// Output:
	// asked: confirm-link
	// has the same: email
	// asked: choose-provider
}

func ExampleVerifyByEmail() {
	f := flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "email", Do: firstlogin.VerifyByEmail{}}}
	v := visit(f, annAgain)
	var mailed flow.Mail
	marks := memstore.New()
	v.turn.Transient, v.turn.BaseURL, v.turn.Journey = marks, "https://id.example", "a login"
	v.turn.Mail = func(_ context.Context, m flow.Mail) error { mailed = m; return nil }
	v.answer(nil)
	v.answer(url.Values{"confirmed": {"1"}})

	// What the broker does when somebody confirms below the link, in whatever browser.
	link, err := url.Parse(mailed.Link)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := firstlogin.ConfirmProof(context.Background(), marks, v.turn.Accounts, firstlogin.Confirmation{
		Handle: link.Query().Get("link"), Number: v.out.Page.Data["number"].(string), // as the page of the first one shows it
	}, time.Now()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("mailed:", mailed.Name, "to", mailed.To)
	v.answer(url.Values{"confirmed": {"1"}})
	// Output:
	// asked: verify-email
	// asked: verify-email
	// mailed: link-account to ann@example.com
	// user: 1
}

func ExampleVerifyEmail() {
	f := flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{}}, {ID: "verified", Do: firstlogin.VerifyEmail{}}}
	v := visit(f, provider.Identity{Subject: "n", Username: "new", Email: "new@example.com"})
	marks := memstore.New()
	v.turn.Transient, v.turn.BaseURL, v.turn.Journey = marks, "https://id.example", "a login"
	v.turn.Mail = func(_ context.Context, m flow.Mail) error {
		fmt.Println("mailed:", m.Name, "to", m.To)
		link, err := url.Parse(m.Link)
		if err != nil {
			return err
		}
		// What the broker does when somebody confirms below the link.
		_, err = firstlogin.ConfirmProof(context.Background(), marks, v.turn.Accounts, firstlogin.Confirmation{
			Handle: link.Query().Get("link"), Journey: v.turn.Journey, // in the same browser
		}, time.Now())
		return err
	}
	v.answer(nil)
	v.answer(url.Values{"confirmed": {"1"}})
	fmt.Println("read:", v.turn.Draft.VerifiedEmail)
	// Output:
	// mailed: confirm-address to new@example.com
	// asked: verify-email
	// new user: new new@example.com verified: false
	// read: new@example.com
}

func ExampleRevokeProofs() {
	marks := memstore.New()
	key := store.LinkKey{Provider: "social", Issuer: "https://social.example", Subject: "s"}
	// Whoever unlinks an identity makes what could link it again worthless.
	fmt.Println(firstlogin.RevokeProofs(context.Background(), marks, "1", key, time.Now()))
	// Output: <nil>
}

func ExampleVerifyByProvider() {
	v := visit(flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "other", Do: firstlogin.VerifyByProvider{}}}, annAgain)
	v.answer(nil)
	v.answer(url.Values{"provider": {"work"}})
	v.turn.Returned = &flow.Returned{Alias: "work", Identity: &provider.Identity{Subject: "x"}} // whom nobody is linked to
	v.answer(nil)
	// Output:
	// asked: choose-provider
	// sent to: work
	// asked: choose-provider
}

func ExampleVerifyByReauthentication() {
	s := memstore.New()
	passwords := &factor.Passwords{}
	hash, err := passwords.Hash(context.Background(), "a long password")
	if err != nil {
		log.Fatal(err)
	}
	local := &factor.Local{Credentials: s, Transient: s, Passwords: passwords, Now: time.Now}
	if err := local.SetPassword(context.Background(), "1", hash, false); err != nil {
		log.Fatal(err)
	}
	v := visit(firstlogin.VerifyByReauthentication(), annAgain)
	v.turn.Credentials, v.turn.Transient, v.turn.Passwords = s, s, passwords
	v.answer(nil)
	v.answer(url.Values{"username": {"ann"}, "password": {"a guess"}})
	v.answer(url.Values{"username": {"ann"}, "password": {"a long password"}})
	// Output:
	// asked: password
	// asked: password
	// user: 1
}

func ExampleDetectExisting() {
	f := flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "prove", Do: firstlogin.VerifyByProvider{}}}
	visit(f, provider.Identity{Subject: "s", Email: "nobody@example.com"}).answer(nil)
	// Output: denied: no_account
}

func ExampleAutoLink() {
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "auto", When: flow.Alternative, Do: firstlogin.AutoLink{}},
	}
	visit(f, annAgain).answer(nil)
	visit(f, provider.Identity{Subject: "s", Email: "ann@example.com"}).answer(nil) // which the upstream has not verified
	// Output:
	// user: 1
	// denied: flow_undecided
}

func ExampleInsecureSetExisting() {
	f := flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "set", Do: firstlogin.InsecureSetExisting{}}}
	fmt.Println(f.Insecure())
	visit(f, provider.Identity{Subject: "s", Email: "ann@example.com"}).answer(nil) // whoever says so
	// Output:
	// [set: InsecureSetExisting]
	// user: 1
}

func ExampleConfirmOverrideLink() {
	v := visit(flow.Flow{
		{ID: "detect", Do: firstlogin.DetectExisting{}},
		{ID: "auto", Do: firstlogin.AutoLink{}},
		{ID: "override", Do: firstlogin.ConfirmOverrideLink{}},
	}, annAgain)
	v.turn.Accounts.(*flowtest.Accounts).Links[0].Provider = "social" // ann is somebody else there already
	v.answer(nil)
	v.answer(url.Values{"replace": {"1"}})
	fmt.Println("replaces:", v.turn.Draft.Replace)
	// Output:
	// asked: override-link
	// user: 1
	// replaces: true
}

func ExampleDeny() {
	visit(flow.Flow{
		{ID: "auto", Do: firstlogin.AutoLink{}},
		{ID: "no-admins", When: flow.Conditional, Sub: flow.Flow{
			{ID: "is-admin", Do: firstlogin.HasRole("admin")},
			{ID: "deny", Do: firstlogin.Deny{}},
		}},
	}, annAgain).answer(nil)
	// Output: denied: access_denied
}

func ExampleAllow() {
	// By "work" everybody is welcome; by any other provider, only who proves more.
	visit(flow.Flow{
		{ID: "auto", Do: firstlogin.AutoLink{}},
		{ID: "more", Sub: flow.Flow{
			{ID: "password", When: flow.Alternative, Do: factor.OTP{}},
			{ID: "allow", When: flow.Alternative, Do: firstlogin.Allow{}},
		}},
	}, annAgain).answer(nil)
	// Output: user: 1
}

func ExampleHasRole() {
	fmt.Print(flow.Flow{{ID: "admins", When: flow.Conditional, Sub: flow.Flow{
		{ID: "is-admin", Do: firstlogin.HasRole("admin")},
		{ID: "code", Do: factor.OTP{}},
	}}})
	// Output:
	// └ admins     CONDITIONAL
	//   ├ is-admin REQUIRED    condition
	//   └ code     REQUIRED    factor.OTP
}

func ExampleHasAttribute() {
	f := flow.Flow{{ID: "left", When: flow.Conditional, Sub: flow.Flow{
		{ID: "has-left", Do: firstlogin.HasAttribute("status", "left")},
		{ID: "deny", Do: firstlogin.Deny{Reason: "account_closed"}},
	}}}
	fmt.Println(f.Check())
	// Output: <nil>
}

func ExampleByProvider() {
	visit(flow.Flow{
		{ID: "auto", Do: firstlogin.AutoLink{}},
		{ID: "social", When: flow.Conditional, Sub: flow.Flow{
			{ID: "is-social", Do: firstlogin.ByProvider("social", "other")},
			{ID: "deny", Do: firstlogin.Deny{}},
		}},
	}, annAgain).answer(nil)
	// Output: denied: access_denied
}

func ExampleDecide() {
	d := firstlogin.Decide(firstlogin.Question{
		Identity: &annAgain,
		Profile:  provider.ProfileOf(&annAgain, false),
		ByEmail:  []*store.User{{ID: "1", Email: "ann@example.com"}},
		Policy:   firstlogin.Policy{AutoLink: true},
	})
	fmt.Println(d.Action)
	for _, r := range d.Reasons {
		fmt.Println("-", r.Text())
	}
	// Output:
	// ask
	// - an account has this e-mail address
	// - the provider is not trusted for e-mail addresses
	// - nobody vouches for the e-mail address in the profile any more
	// - the account's e-mail address was never verified
}

func ExampleDryRun() {
	users := []*store.User{
		{ID: "1", Username: "ann", Email: "ann@example.com", EmailVerified: true},
		{ID: "2", Username: "bob", Email: "bob@example.com"},
	}
	all := &flowtest.Accounts{Users: users}
	for f, err := range firstlogin.DryRun(context.Background(), all, slices.Values(users), flow.Provider{Alias: "social"}, firstlogin.Policy{AutoLink: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(f.User.Username, strings.TrimSpace(f.Decision.String()))
	}
	// Output:
	// ann link: email_exists mutually_verified
	// bob ask: email_exists account_unverified
}
