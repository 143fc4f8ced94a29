package oidc_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/provider/oidc"
)

// Whoever signs, redeems codes or says who somebody is decides whom subjects stand for; the client does not, nor what it asks for.
func TestTrust(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	mark := func(edit func(*oidc.Config)) string {
		c := o.config()
		edit(&c)
		return newProvider(t, c).Trust().Mark()
	}
	was := mark(func(*oidc.Config) {})
	seen := map[string]string{was: "nothing"}
	for name, edit := range map[string]func(*oidc.Config){
		"issuer":         func(c *oidc.Config) { c.Issuer = "https://other.example" },
		"discovery":      func(c *oidc.Config) { c.DiscoveryURL = o.URL + "/x" },
		"token":          func(c *oidc.Config) { c.Endpoints.Token = o.URL + "/x" },
		"keys":           func(c *oidc.Config) { c.Endpoints.JWKS = o.URL + "/x" },
		"userinfo":       func(c *oidc.Config) { c.Endpoints.UserInfo = o.URL + "/x" },
		"issuers":        func(c *oidc.Config) { c.Issuers = []string{"https://other.example"} },
		"former subject": func(c *oidc.Config) { c.FormerSubjectClaim = "old" },
		"signature":      func(c *oidc.Config) { c.SigningAlgs = []string{"HS256"} },
	} {
		got := mark(edit)
		if other, same := seen[got]; same {
			t.Errorf("%s: the word rests on the same as with a change of %s", name, other)
		}
		seen[got] = name
	}
	if mark(func(c *oidc.Config) {
		c.ClientID, c.ClientSecret, c.Scopes, c.FormPost = "other", "another secret", []string{"openid"}, true
		c.ExchangeAudiences, c.Endpoints.Revocation, c.SigningAlgs = []string{"app"}, o.URL+"/revoke", []string{"ES256"}
	}) != was {
		t.Error("another client is another provider")
	}
}
