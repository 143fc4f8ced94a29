package broker_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A host application with one upstream. Here the upstream is one for tests, on a loopback address; in production it is
// your customer's or your company's, and the lines with Insecure in them go.
func ExampleNew() {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	upstream, client := demoUpstream(server.URL + "/id/broker/corp/endpoint")
	defer upstream.Close()

	corp, err := oidc.New(oidc.Config{
		Issuer: upstream.URL, ClientID: client.ID, ClientSecret: client.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		BaseURL:   server.URL + "/id",
		Secrets:   [][]byte{[]byte("thirty-two random bytes, kept safe")},
		Store:     memstore.New(),
		Providers: []broker.Provider{{Alias: "corp", Name: "Example Corp", IdP: corp}},
		// One upstream needs no page to choose from.
		DefaultProvider: "corp",
	})
	if err != nil {
		log.Fatal(err)
	}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		fmt.Fprintf(w, "Hello, %s!\n", user.Name)
	})
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(app))

	fmt.Print(browse(server.URL + "/"))
	// Output: Hello, Alice Liddell!
}

// What is wrong is said all at once, when the program starts.
func ExampleNew_mistakes() {
	_, err := broker.New(broker.Config{
		BaseURL: "http://app.example/id",
		Store:   memstore.New(),
	})
	fmt.Println(err)
	// Output:
	// broker: configuration:
	// BaseURL: "http://app.example/id" must be https; http is for loopback hosts only
	// Secrets: give at least one of 32 random bytes, for instance from crypto/rand
}

// Sessions tells a handler who is there and turns nobody away, for pages that look different to visitors.
func ExampleBroker_Sessions() {
	b, err := broker.New(broker.Config{
		BaseURL: "https://app.example/id",
		Secrets: [][]byte{[]byte("thirty-two random bytes, kept safe")},
		Store:   memstore.New(),
	})
	if err != nil {
		log.Fatal(err)
	}
	page := b.Sessions(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, ok := broker.UserFrom(r.Context()); ok {
			fmt.Fprintf(w, "Hello, %s!\n", user.Name)
			return
		}
		fmt.Fprintln(w, "Hello, stranger!")
	}))
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
	fmt.Print(w.Body)
	// Output: Hello, stranger!
}

// demoUpstream serves an OpenID Provider at which alice is signed in already.
func demoUpstream(redirectURI string) (*httptest.Server, providertest.Client) {
	var op *providertest.OIDC
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { op.ServeHTTP(w, r) }))
	op, err := providertest.NewOIDC(providertest.OIDCConfig{
		Issuer: server.URL, Alg: "ES256", AutoLogin: "alice",
		Users: []providertest.User{{Username: "alice", Email: "alice@example.com", Name: "Alice Liddell"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	return server, op.Register(providertest.Client{RedirectURIs: []string{redirectURI}})
}

// browse opens a page as a browser does, with cookies.
func browse(url string) string {
	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	response, err := (&http.Client{Jar: jar}).Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return string(text)
}

// The account page stands wherever the host wants it, beside the broker.
func ExampleBroker_Account() {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	upstream, client := demoUpstream(server.URL + "/id/broker/corp/endpoint")
	defer upstream.Close()

	corp, err := oidc.New(oidc.Config{
		Issuer: upstream.URL, ClientID: client.ID, ClientSecret: client.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	users := memstore.New()
	b, err := broker.New(broker.Config{
		BaseURL:         server.URL + "/id",
		Secrets:         [][]byte{[]byte("thirty-two random bytes, kept safe")},
		Store:           users,
		Credentials:     users, // passwords and one-time codes can be set up on the page
		LocalLogin:      true,  // and signed in with
		Providers:       []broker.Provider{{Alias: "corp", Name: "Example Corp", IdP: corp}},
		DefaultProvider: "corp",
	})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/id/", b)
	mux.Handle("/account/", b.Account())

	page := browse(server.URL + "/account/")
	fmt.Println(strings.Contains(page, "You are signed in as"), strings.Contains(page, "Set a password"))
	// Output: true true
}
