package broker_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// A server that knows no OpenID Connect lets its users in, and with mappers over what it says. CVE-2026-82968: whoever has no id there is
// refused, and leaves no link.
func TestOAuth2Login(t *testing.T) {
	t.Parallel()
	said := map[string]any{}
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice", OAuth2: &providertest.OAuth2{
		UserInfo: func(providertest.User) any { return said },
	}})
	w := newWorld(t, nil)
	client := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(w.base, "git")}})
	idp, err := oauth2.New(oauth2.Config{
		Endpoints: oauth2.Endpoints{Authorization: op.Issuer() + "/authorize", Token: op.Issuer() + "/token", UserInfo: op.Issuer() + "/userinfo"},
		ClientID:  client.ID, ClientSecret: client.Secret, Claims: oauth2.Claims{Subject: "account.id", Username: "login"},
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.reconfigure(func(c *broker.Config) {
		c.Providers = append(c.Providers, broker.Provider{Alias: "git", Name: "Git", IdP: idp, Sync: provider.SyncForce, TrustEmail: true,
			Mappers: []provider.Mapper{mapper.Attribute("plan.name", "plan"), mapper.Role("pro", is("plan.seats", "5"))}})
	})
	said["account"] = map[string]any{"id": 4711}
	said["login"], said["email"], said["email_verified"], said["name"] = "Octo", "octo@example.com", true, "Octo Cat"
	said["plan"] = map[string]any{"name": "pro", "seats": 5}
	who := w.login("Git").Get(w.Origin + "/").Who()
	link, err := w.store.Link(t.Context(), store.LinkKey{Provider: "git", Subject: "4711"})
	if err != nil || link.UserID != who.ID || who.Username != "octo" || !who.Verified {
		t.Fatalf("link %+v, %v; signed in as %+v", link, err, who)
	}
	user, err := w.store.User(t.Context(), who.ID)
	if err != nil || user.Attributes["plan"][0] != "pro" || len(user.Roles) != 1 {
		t.Errorf("user %+v, %v", user, err)
	}
	for _, id := range []any{nil, "", 0, " ", "null", []any{4711}, map[string]any{"id": 4711}, true, 4711.5} {
		said["account"] = map[string]any{"id": id}
		b := brokertest.NewBrowser(t)
		if page := b.Get(w.Origin + "/").Click("Git"); page.Status < 400 || w.signedIn(b) {
			t.Errorf("id %#v: status %d at %s", id, page.Status, page.URL)
		}
	}
	if links, err := w.store.LinksOf(t.Context(), who.ID); err != nil || len(links) != 1 {
		t.Errorf("links %+v, %v", links, err)
	}
	if n := w.users("octo"); n != 1 {
		t.Errorf("%d users", n)
	}
}
