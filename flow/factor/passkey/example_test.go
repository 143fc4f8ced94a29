package passkey_test

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

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
