package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// An application calls an API of the upstream in the name of its user. The broker keeps what the upstream has issued, and renews it.
func ExampleBroker_UpstreamTokens() {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	upstream, client := demoUpstream(server.URL + "/id/broker/corp/endpoint")
	defer upstream.Close()

	corp, err := oidc.New(oidc.Config{
		Issuer: upstream.URL, ClientID: client.ID, ClientSecret: client.Secret,
		Scopes:            []string{"openid", "profile", "email", "offline_access"}, // the last one is for a refresh token
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		BaseURL:         server.URL + "/id",
		Secrets:         [][]byte{[]byte("thirty-two random bytes, kept safe")},
		Store:           memstore.New(),
		Providers:       []broker.Provider{{Alias: "corp", IdP: corp, StoreTokens: provider.TokensOnLink}},
		DefaultProvider: "corp",
	})
	if err != nil {
		log.Fatal(err)
	}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		tokens, err := b.UpstreamTokens(r.Context(), user.ID, "corp")
		switch {
		case errors.Is(err, broker.ErrLinkAgain), errors.Is(err, broker.ErrNoTokens): // nobody but the user can help
			http.Redirect(w, r, "/id/link?provider=corp&return_to=/", http.StatusSeeOther)
			return
		case err != nil:
			http.Error(w, "please try again later", http.StatusServiceUnavailable)
			return
		}
		api, err := http.NewRequestWithContext(r.Context(), http.MethodGet, upstream.URL+"/userinfo", nil)
		if err != nil {
			log.Fatal(err)
		}
		api.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
		response, err := http.DefaultClient.Do(api)
		if err != nil {
			http.Error(w, "please try again later", http.StatusServiceUnavailable)
			return
		}
		defer response.Body.Close()
		var said struct{ Name string }
		if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(w, "Corp says that you are", said.Name)
	})
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(app))

	fmt.Print(browse(server.URL + "/"))
	// Output: Corp says that you are Alice Liddell
}
