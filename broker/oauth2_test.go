package broker_test

import (
	"net/http"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// An oauth2World has a provider "git" beside the others: a server that knows no OpenID Connect, and tells what is in said.
type oauth2World struct {
	*world
	server *providertest.OIDC
	said   map[string]any
}

func newOAuth2World(t *testing.T, edit func(*oauth2.Config), more ...func(*broker.Provider)) *oauth2World {
	t.Helper()
	o := &oauth2World{world: newWorld(t, nil), said: map[string]any{}}
	o.server = providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice", OAuth2: &providertest.OAuth2{
		UserInfo: func(providertest.User) any { return o.said },
	}})
	client := o.server.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(o.base, "git")}})
	at := o.server.Issuer()
	c := oauth2.Config{
		Endpoints: oauth2.Endpoints{Authorization: at + "/authorize", Token: at + "/token", UserInfo: at + "/userinfo"},
		ClientID:  client.ID, ClientSecret: client.Secret, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	}
	edit(&c)
	idp, err := oauth2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	o.reconfigure(func(c *broker.Config) {
		p := broker.Provider{Alias: "git", Name: "Git", IdP: idp}
		for _, edit := range more {
			edit(&p)
		}
		c.Providers = append(c.Providers, p)
	})
	return o
}

// A server that knows no OpenID Connect lets its users in, and with mappers over what it says. CVE-2026-82968: whoever has no id there is
// refused, and leaves no link.
func TestOAuth2Login(t *testing.T) {
	t.Parallel()
	o := newOAuth2World(t, func(c *oauth2.Config) { c.Claims = oauth2.Claims{Subject: "account.id", Username: "login"} }, func(p *broker.Provider) {
		p.Sync, p.TrustEmail = provider.SyncForce, true
		p.Mappers = []provider.Mapper{mapper.Attribute("plan.name", "plan"), mapper.Role("pro", is("plan.seats", "5"))}
	})
	w, said := o.world, o.said
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
	for _, id := range []any{nil, "", 0, " ", "null", "undefined", "0", []any{4711}, map[string]any{"id": 4711}, true, 4711.5} {
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

// 50: who lacks the claim that the server has to say, or has another value, is shown why, and is no user.
func TestRow50EssentialClaimOfOAuth2(t *testing.T) {
	t.Parallel()
	for pattern, rows := range map[string]struct{ in, out []any }{
		"staff": {
			in:  []any{"staff", []any{"guest", "staff"}},
			out: []any{nil, "", "staffer", "Staff", []any{}, []any{"guest", "staffer"}, []any{[]any{"staff"}}, map[string]any{"staff": true}},
		},
		"staff|admin.*": {in: []any{"administrator"}, out: []any{"not staff", "an admin"}},
		"5":             {in: []any{5, "5"}, out: []any{55, 5.5}},
		"":              {in: []any{"whatever", false, 0}, out: []any{nil, "", []any{nil}}},
	} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			o := newOAuth2World(t, func(c *oauth2.Config) { c.EssentialClaim, c.EssentialValue = "org.kinds", pattern })
			o.said["sub"], o.said["preferred_username"], o.said["email"], o.said["name"] = "4711", "octo", "octo@example.com", "Octo"
			say := func(v any) (*brokertest.Browser, *brokertest.Page) {
				o.said["org"] = map[string]any{"kinds": v}
				b := brokertest.NewBrowser(t)
				return b, b.Get(o.Origin + "/").Click("Git")
			}
			for _, v := range rows.out {
				b, page := say(v)
				shows(t, page, http.StatusForbidden, "This account cannot be used here")
				if o.signedIn(b) || o.users("octo") > 0 {
					t.Errorf("%#v: signed in %t, %d users", v, o.signedIn(b), o.users("octo"))
				}
			}
			for _, v := range rows.in {
				if b, page := say(v); !o.signedIn(b) {
					t.Errorf("%#v: status %d at %s", v, page.Status, page.URL)
				}
			}
		})
	}
}
