package broker_test

import (
	"net/http"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func TestHello(t *testing.T) {
	op := providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice", Alg: "ES256"})
	rp := brokertest.NewRelyingParty(t)
	srv := brokertest.Start(t, func(base string) broker.Config {
		c := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
		idp, err := oidc.New(oidc.Config{Issuer: op.Issuer(), ClientID: c.ID, ClientSecret: c.Secret, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{Store: memstore.New(), Providers: []broker.Provider{{Alias: "demo", IdP: idp, Name: "Demo"}}, Clients: []store.Client{rp.Client()}}
	})
	rp.Connect(srv.URL)
	b := brokertest.NewBrowser(t)
	p := b.Get(srv.Origin + "/hello?x=1")
	t.Log(p.Status, p.Trail)
	p = p.Click("Demo")
	t.Log(p.Status, p.Trail, p.Body)
	p = b.Get(rp.LoginURL())
	t.Log(p.Status, p.Trail, p.Body)
	p = brokertest.NewBrowser(t).Get(rp.LoginURL()).Click("Demo")
	t.Log(p.Status, p.Trail, p.Body)
	if p.Status != http.StatusOK {
		t.Fatal()
	}
}
