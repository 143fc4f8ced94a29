package oidc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/token"
)

// A login by hand: what the broker does for its host.
func Example() {
	// The provider; elsewhere it is somebody else's.
	server := httptest.NewUnstartedServer(nil)
	op, err := providertest.NewOIDC(providertest.OIDCConfig{
		Issuer: "http://" + server.Listener.Addr().String(), Alg: "ES256", AutoLogin: "alice",
	})
	if err != nil {
		log.Fatal(err)
	}
	server.Config.Handler = op
	server.Start()
	defer server.Close()
	client := op.Register(providertest.Client{RedirectURIs: []string{"https://app.example/callback"}})

	idp, err := oidc.New(oidc.Config{
		Issuer:       op.Issuer(),
		ClientID:     client.ID,
		ClientSecret: client.Secret,
		// For a provider on this machine only.
		InsecureAllowHTTP:            true,
		InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	redirect, err := idp.Begin(ctx, provider.Request{RedirectURI: "https://app.example/callback", State: "state of this browser"})
	if err != nil {
		log.Fatal(err)
	}

	// The browser goes there, the user logs in, and the provider sends the browser back.
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(redirect.URL)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		log.Fatal(err)
	}

	id, err := idp.Finish(ctx, provider.Callback{URL: back.String(), Params: back.Query(), Data: redirect.Data})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id.Username, id.Email, id.EmailVerified)
	// Output: alice alice@example.com true
}

// A client to which the provider encrypts: it finds the public key at the "jwks_uri" that is registered there, which is the
// broker's BaseURL + "/broker/{alias}/endpoint/descriptor".
func ExampleProvider_Descriptor() {
	private, err := token.GenerateKey(token.ES256) // made once and kept: "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
	if err != nil {
		log.Fatal(err)
	}
	idp, err := oidc.New(oidc.Config{
		Issuer:                  "https://op.example",
		ClientID:                "broker",
		ClientSecret:            "…",
		DecryptionKeys:          []token.Key{{ID: "2026", Algorithm: "ECDH-ES+A256KW", Private: private}},
		RequireEncryptedIDToken: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	published, err := idp.Descriptor(context.Background(), provider.DescriptorRequest{})
	if err != nil {
		log.Fatal(err)
	}
	var set struct {
		Keys []struct{ Kid, Use, Alg string }
	}
	if err := json.Unmarshal(published.Body, &set); err != nil {
		log.Fatal(err)
	}
	fmt.Println(published.ContentType, set.Keys)
	// Output: application/jwk-set+json [{2026 enc ECDH-ES+A256KW}]
}

// Microsoft Entra, for the users of two organisations.
func ExampleNew_tenants() {
	idp, err := oidc.New(oidc.Config{
		Issuer:       "https://login.microsoftonline.com/{tenantid}/v2.0",
		Tenants:      []string{"b0b5c7a6-3f0c-4b5e-9d5a-111111111111", "b0b5c7a6-3f0c-4b5e-9d5a-222222222222"},
		ClientID:     "8f2d6a0e-0d3c-4d6f-8f44-333333333333",
		ClientSecret: "…",
	})
	fmt.Println(idp, err)
	// Output: oidc client "8f2d6a0e-0d3c-4d6f-8f44-333333333333" at "https://login.microsoftonline.com/{tenantid}/v2.0" <nil>
}
