package providertest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A program logs alice in. A test would use StartOIDC instead of the listener.
func Example() {
	ctx := context.Background()
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

	client := op.Register(providertest.Client{RedirectURIs: []string{"http://app.example/callback"}})
	rp, err := oidc.NewProvider(ctx, op.Issuer())
	if err != nil {
		log.Fatal(err)
	}
	config := oauth2.Config{ClientID: client.ID, ClientSecret: client.Secret, Endpoint: rp.Endpoint(),
		RedirectURL: client.RedirectURIs[0], Scopes: []string{"openid", "email"}}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	verifier := oauth2.GenerateVerifier()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		log.Fatal(err)
	}
	idToken, err := rp.Verifier(&oidc.Config{ClientID: client.ID}).Verify(ctx, tokens.Extra("id_token").(string))
	if err != nil {
		log.Fatal(err)
	}
	var who struct{ Email string }
	if err := idToken.Claims(&who); err != nil {
		log.Fatal(err)
	}
	fmt.Println(who.Email, "through", op.Requests(providertest.Token)[0].ClientAuth)
	// Output: alice@example.com through client_secret_basic
}
