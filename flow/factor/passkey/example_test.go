package passkey_test

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// An account that exists proves itself by a passkey or else by its password.
func ExampleLogin() {
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "passkey", When: flow.Alternative, Do: passkey.Login{}},
		{ID: "password", When: flow.Alternative, Do: factor.UsernamePassword{}},
	}
	fmt.Print(f)
	fmt.Println(f.Check())
	// Output:
	// ├ create   ALTERNATIVE firstlogin.CreateUserIfUnique
	// ├ passkey  ALTERNATIVE passkey.Login
	// └ password ALTERNATIVE factor.UsernamePassword
	// <nil>
}

// A page of a host's own on which a user makes a passkey.
func ExampleSite() {
	s, site := memstore.New(), passkey.Site{BaseURL: "https://app.example/id", Name: "Example"}
	options, state, err := site.BeginRegistration(context.Background(), s, &store.User{ID: "1", Username: "ann"})
	fmt.Println(len(options) > 0, len(state) > 0, err) // options go to the page's script, state into the session
	// and with what navigator.credentials.create returned:
	err = site.FinishRegistration(context.Background(), s, &store.User{ID: "1"}, "laptop", state, []byte("{}"), now)
	fmt.Println(err != nil)
	// Output:
	// true true <nil>
	// true
}
