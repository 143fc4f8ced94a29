package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// The step by itself, without HTTP.
func TestTerms(t *testing.T) {
	t.Parallel()
	f := flow.Flow{{ID: "terms", Do: Terms{Version: "2"}}}
	d := flowtest.Start(t, f, flowtest.Login{})
	for _, wrong := range []url.Values{nil, {"accept": {""}}, {"accept": {"1"}}} {
		d.Answer(wrong)
		if got := d.Page("terms").Errors["accept"]; got != "required" {
			t.Errorf("%v is answered with the error %q", wrong, got)
		}
	}
	d.Answer(url.Values{"accept": {"2"}})
	if got := d.Done().Profile.Attributes["terms"]; len(got) != 1 || got[0] != "2" {
		t.Errorf("the version is kept as %q", got)
	}
	d = flowtest.Start(t, f, flowtest.Login{})
	d.Answer(url.Values{"accept": {"2"}, "decline": {"1"}})
	d.Denied("terms_declined")
}

// The step in a broker, with its page.
func TestTermsInABroker(t *testing.T) {
	t.Parallel()
	kept := memstore.New()
	srv := brokertest.Start(t, func(base string) broker.Config {
		op := providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice"})
		client := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
		idp, err := oidc.New(oidc.Config{
			Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		c := broker.Config{Store: kept, Providers: []broker.Provider{{Alias: "demo", IdP: idp}}}
		configure(&c)
		return c
	})
	see := func(page *brokertest.Page, text string) *brokertest.Page {
		t.Helper()
		if !strings.Contains(page.Body, text) {
			t.Fatalf("%s does not say %q:\n%s", page.URL, text, page.Body)
		}
		return page
	}
	alice := func() []*store.User {
		t.Helper()
		found, err := kept.FindUsers(t.Context(), store.UserQuery{Username: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	page := see(brokertest.NewBrowser(t).Get(srv.Origin+"/").Click("demo"), "Version 2026-10")
	see(page.Submit(url.Values{"decline": {"1"}}), "You have not accepted our terms")
	if len(alice()) > 0 {
		t.Error("who has declined became a user")
	}

	b := brokertest.NewBrowser(t)
	page = see(b.Get(srv.Origin+"/").Click("demo"), "Terms of service")
	page = see(page.Submit(url.Values{"accept": {}}), "Please accept the terms of service")
	if who := page.Submit(url.Values{"accept": {"2026-10"}}).Who(); who.Username != "alice" {
		t.Fatalf("signed in as %+v", who)
	}
	if found := alice(); len(found) != 1 || found[0].Attributes["terms"][0] != "2026-10" {
		t.Errorf("the user is %+v", found)
	}
	if who := brokertest.NewBrowser(t).Get(srv.Origin + "/").Click("demo").Who(); who.Username != "alice" { // once is enough
		t.Errorf("the second time it is %+v", who)
	}
}
