package social_test

import (
	"context"
	"fmt"
	"log"
	"net/url"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func Example() {
	github := social.GitHub("client id", "client secret")
	google := social.Google("client id", "client secret").With(social.Options{HostedDomains: []string{"example.com"}})
	_, err := broker.New(broker.Config{
		BaseURL:   "https://app.example/id",
		Secrets:   [][]byte{[]byte("32 random bytes that are kept...")},
		Store:     memstore.New(),
		Providers: []broker.Provider{{Alias: "github", IdP: github}, {Alias: "google", IdP: google}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(github.Brand().Name, "and", google.Brand().Name)
	// Output: GitHub and Google
}

// Installations of one's own.
func ExampleOAuth2_With() {
	idp := social.GitHub("client id", "client secret").With(social.Options{BaseURL: "https://git.example.com"})
	redirect, err := idp.Begin(context.Background(), provider.Request{
		RedirectURI: "https://app.example/id/broker/git/endpoint", State: "state",
	})
	if err != nil {
		log.Fatal(err)
	}
	to, err := url.Parse(redirect.URL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(to.Host + to.Path)
	// Output: git.example.com/login/oauth/authorize
}

// What is wrong is said by Check, which broker.New asks.
func ExampleOpenID_Check() {
	fmt.Println(social.Microsoft("client id", "client secret", "contoso").Check())
	// Output: Tenants: "contoso" is not the id of a tenant, 8-4-4-4-12 hexadecimal digits
}
