package factor_test

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// ann returns a store in which ann has the password "a long password", and what checks it.
func ann() (*memstore.Store, *factor.Local) {
	ctx := context.Background()
	s := memstore.New()
	l := &factor.Local{Credentials: s, Transient: s, Passwords: &factor.Passwords{}, Now: time.Now}
	if err := s.CreateUser(ctx, &store.User{ID: "1", Username: "ann", Email: "ann@example.com"}); err != nil {
		log.Fatal(err)
	}
	hash, err := l.Passwords.Hash(ctx, "a long password")
	if err != nil {
		log.Fatal(err)
	}
	if err := l.SetPassword(ctx, "1", hash, false); err != nil {
		log.Fatal(err)
	}
	return s, l
}

// run begins the flow as the broker does and gives it these answers, and returns the draft.
func run(f flow.Flow, s *memstore.Store, d *flow.Draft, answers ...url.Values) *flow.Draft {
	if err := f.Check(); err != nil {
		log.Fatal(err)
	}
	var state flow.State
	turn := &flow.Turn{
		Draft: d, Accounts: s, Now: time.Now(),
		Lent: flow.Lent{Credentials: s, Transient: s, Passwords: &factor.Passwords{}},
	}
	for i := 0; ; i++ {
		out, err := f.Run(context.Background(), &state, turn)
		if err != nil {
			log.Fatal(err)
		}
		if out.Kind != flow.Asked || i == len(answers) {
			fmt.Println(out.Kind)
			return turn.Draft
		}
		fmt.Println("page", out.Page.Name, out.Page.Errors)
		turn.Token, turn.Input = state.Token(), answers[i]
	}
}

// Somebody with an upstream identity that nobody is linked to proves by a password whose account it is.
func ExampleUsernamePassword() {
	s, _ := ann()
	f := flow.Flow{{ID: "password", Do: factor.UsernamePassword{}}}
	d := run(f, s, &flow.Draft{},
		url.Values{"username": {"Ann@example.com"}, "password": {"a guess"}},
		url.Values{"username": {"Ann@example.com"}, "password": {"a long password"}})
	fmt.Println(d.UserID, d.AMR)
	// Output:
	// page password map[]
	// page password map[password:refused]
	// done
	// 1 [pwd]
}

// The account that was found proves itself; another one cannot.
func ExamplePassword() {
	s, _ := ann()
	f := flow.Flow{{ID: "password", Do: factor.Password{}}}
	d := &flow.Draft{Profile: provider.Profile{Email: "ann@example.com"}, Existing: &flow.Existing{UserID: "1", Field: "email"}}
	d = run(f, s, d, url.Values{"password": {"a long password"}})
	fmt.Println(d.UserID)
	// Output:
	// page password map[]
	// done
	// 1
}

// A code of the app, in a flow that runs after each login.
func ExampleOTP() {
	s, l := ann()
	app := enrol(l)
	d := run(flow.Flow{{ID: "otp", Do: factor.OTP{}}}, s, &flow.Draft{UserID: "1"}, url.Values{"code": {app(time.Now())}})
	fmt.Println(d.AMR)
	// Output:
	// page otp map[]
	// done
	// [otp mfa]
}

// enrol gives ann an authenticator app, as an account page does.
func enrol(l *factor.Local) (app func(time.Time) string) {
	e := factor.NewEnrolment("Example", "ann") // show e.QR() and e.Text, and keep e.Seed sealed until the code comes
	app = func(at time.Time) string {
		code, err := totp.GenerateCode(e.Text, at)
		if err != nil {
			log.Fatal(err)
		}
		return code
	}
	// Half a minute ago, so that the code of now is still good.
	now := l.Now()
	l.Now = func() time.Time { return now.Add(-30 * time.Second) }
	if err := l.EnrolTOTP(context.Background(), "1", "phone", e.Seed, app(l.Now())); err != nil {
		log.Fatal(err)
	}
	return app
}

func ExampleRecoveryCode() {
	s, l := ann()
	codes, err := l.NewRecoveryCodes(context.Background(), "1")
	if err != nil {
		log.Fatal(err)
	}
	run(flow.Flow{{ID: "recovery", Do: factor.RecoveryCode{}}}, s, &flow.Draft{UserID: "1"},
		url.Values{"code": {"AAAA-BBBB-CCCC-DDDD"}}, url.Values{"code": {codes[0]}})
	left, _ := l.RecoveryCodesLeft(context.Background(), "1")
	fmt.Println(len(codes), left)
	// Output:
	// page recovery map[]
	// page recovery map[code:refused]
	// done
	// 10 9
}

// The user has lost the phone.
func ExampleSecondFactor() {
	s, l := ann()
	enrol(l)
	codes, err := l.NewRecoveryCodes(context.Background(), "1")
	if err != nil {
		log.Fatal(err)
	}
	run(flow.Flow{{ID: "second", Do: factor.SecondFactor{}}}, s, &flow.Draft{UserID: "1"},
		url.Values{"another": {"1"}}, url.Values{"code": {codes[0]}})
	// Output:
	// page otp map[]
	// page recovery map[]
	// done
}

// Password and, for those who have an app, a code: what a login by the broker's own credentials is made of.
func ExampleNeedsSecond() {
	s, _ := ann()
	f := flow.Flow{
		{ID: "password", Do: factor.UsernamePassword{}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()},
			{ID: "code", Do: factor.SecondFactor{}},
		}},
		{ID: "update", Do: factor.UpdatePassword{}},
	}
	fmt.Print(f)
	run(f, s, &flow.Draft{}, url.Values{"username": {"ann"}, "password": {"a long password"}})
	// Output:
	// ├ password       REQUIRED    factor.UsernamePassword
	// ├ second         CONDITIONAL
	// │ ├ needs-second REQUIRED    condition
	// │ └ code         REQUIRED    factor.SecondFactor
	// └ update         REQUIRED    factor.UpdatePassword
	// page password map[]
	// done
}

// Those who have an app have to use it, in a flow that runs after each login.
func ExampleHas() {
	s, _ := ann()
	run(flow.Flow{
		{ID: "first", Do: factor.Password{}},
		{ID: "app", When: flow.Conditional, Sub: flow.Flow{
			{ID: "has-app", Do: factor.Has(store.CredentialTOTP)},
			{ID: "otp", Do: factor.OTP{}},
		}},
	}, s, &flow.Draft{UserID: "1"}, url.Values{"password": {"a long password"}})
	// Output:
	// page password map[]
	// done
}

func ExampleUpdatePassword() {
	s, l := ann()
	hash, err := l.Passwords.Hash(context.Background(), "given by an administrator")
	if err != nil {
		log.Fatal(err)
	}
	if err := l.SetPassword(context.Background(), "1", hash, true); err != nil {
		log.Fatal(err)
	}
	d := run(flow.Flow{{ID: "update", Do: factor.UpdatePassword{}}}, s, &flow.Draft{UserID: "1"},
		url.Values{"password": {"my own"}, "repeat": {"my own"}},
		url.Values{"password": {"one of my own"}, "repeat": {"one of my own"}})
	fmt.Println("to be written:", d.Password != nil)
	// Output:
	// page new-password map[]
	// page new-password map[password:too_short]
	// done
	// to be written: true
}

// A login form of a host's own.
func ExampleLocal() {
	s, l := ann()
	for _, name := range []string{"Ann", "bob"} {
		user, tried, err := factor.FindUser(context.Background(), s, name)
		if err != nil {
			log.Fatal(err)
		}
		attempt := factor.Attempt{Name: tried, Source: "203.0.113.7"}
		if user != nil {
			attempt.UserID = user.ID
		}
		_, err = l.VerifyPassword(context.Background(), attempt, "a long password")
		fmt.Println(name, err) // for the log: the visitor learns that it was refused
	}
	// Output:
	// Ann <nil>
	// bob factor: refused: there is no such account, or it has no password
}

// A host that asks a list of breached passwords.
func ExamplePasswords() {
	p := &factor.Passwords{Breached: func(_ context.Context, password string) error {
		if password == "password" {
			return factor.PasswordBreached
		}
		return nil
	}}
	_, err := p.Hash(context.Background(), "password")
	fmt.Println(err)
	// Output: breached passwords: breached
}

// An account that exists proves itself by a passkey or else by its password.
func ExamplePasskey() {
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "passkey", When: flow.Alternative, Do: factor.Passkey{}},
		{ID: "password", When: flow.Alternative, Do: factor.UsernamePassword{}},
	}
	fmt.Print(f)
	fmt.Println(f.Check())
	// Output:
	// ├ create   ALTERNATIVE firstlogin.CreateUserIfUnique
	// ├ passkey  ALTERNATIVE factor.Passkey
	// └ password ALTERNATIVE factor.UsernamePassword
	// <nil>
}

func ExampleOwnPasskey() {
	f := flow.Flow{ // after each login: whoever has a passkey uses it
		{ID: "step-up", When: flow.Conditional, Sub: flow.Flow{
			{ID: "has-passkey", Do: factor.NeedsSecond(store.CredentialPasskey)},
			{ID: "passkey", Do: factor.OwnPasskey{}},
		}},
		{ID: "allow", Do: firstlogin.Allow{}},
	}
	fmt.Print(f)
	fmt.Println(f.Check())
	// Output:
	// ├ step-up       CONDITIONAL
	// │ ├ has-passkey REQUIRED    condition
	// │ └ passkey     REQUIRED    factor.OwnPasskey
	// └ allow         REQUIRED    firstlogin.Allow
	// <nil>
}
