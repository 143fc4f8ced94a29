package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// elsewhere is an upstream of an attacker, or of an administrator who moved: it says that it is alice whom it lets in.
func (w *world) elsewhere() *providertest.OIDC {
	return providertest.StartOIDC(w.t, providertest.OIDCConfig{Name: "Demo", AutoLogin: "alice", Alg: "ES256", Now: w.clock, Users: []providertest.User{
		{Subject: "alice", Username: "alice", Email: "alice@example.com", EmailVerified: true, Name: "Alice Liddell"},
		{Subject: "mallory", Username: "mallory", Email: "mallory@example.com", EmailVerified: true, Name: "Mallory"},
	}})
}

// pointed has the provider "demo" speak to op.
func (w *world) pointed(op *providertest.OIDC, edit func(*oidc.Config)) func(*broker.Config) {
	return func(c *broker.Config) { c.Providers[0].IdP = w.upstream(op, "demo", edit) }
}

func held(p *brokertest.Page) bool {
	return p.Status == http.StatusForbidden && strings.Contains(string(p.Body), "on hold")
}

// A provider that is pointed elsewhere lets in neither those who are linked to it nor anybody new, until an administrator
// has confirmed it; and then those who were linked are still the same.
func TestProviderPointedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	before := w.login("Demo").Get(w.Origin + "/").Who()
	op := w.elsewhere()
	w.reconfigure(w.pointed(op, nil))

	b := brokertest.NewBrowser(t)
	if p := b.Get(w.Origin + "/").Click("Demo"); !held(p) {
		t.Fatalf("linked: status %d\n%s", p.Status, p.Body)
	}
	op.LoginAs("mallory")
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); !held(p) || w.users("mallory") > 0 {
		t.Errorf("new: status %d, %d users", p.Status, w.users("mallory"))
	}
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other"); p.Status != http.StatusOK {
		t.Errorf("another provider: status %d", p.Status)
	}

	op.LoginAs("alice")
	if err := w.Broker.ConfirmProvider(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if who := w.login("Demo").Get(w.Origin + "/").Who(); who.ID != before.ID {
		t.Errorf("after the confirmation it is user %s, was %s", who.ID, before.ID)
	}
	links, err := w.store.LinksOf(t.Context(), before.ID)
	if err != nil || len(links) != 1 || links[0].Issuer != op.Issuer() {
		t.Errorf("got links %+v, %v; want one, of the new issuer", links, err)
	}
	if who := w.login("Demo").Get(w.Origin + "/").Who(); who.ID != before.ID {
		t.Errorf("the second time it is user %s", who.ID)
	}
	if err := w.Broker.ConfirmProvider(t.Context(), "nobody"); err == nil {
		t.Error("confirmed a provider that does not exist")
	}
}

// The same issuer with its answers from elsewhere is another provider too; and one that is the same again stands.
func TestProviderWithOtherBasis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	op := w.elsewhere()
	w.reconfigure(w.pointed(w.op, func(c *oidc.Config) { c.Endpoints.JWKS = op.Issuer() + "/jwks" }))
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); p.Status == http.StatusOK || w.users("alice") != 1 {
		t.Errorf("other keys: status %d", p.Status)
	}
	w.reconfigure(w.pointed(w.op, func(c *oidc.Config) { c.Issuers = []string{"https://also.example"} }))
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); !held(p) {
		t.Errorf("one more issuer: status %d", p.Status)
	}
	w.reconfigure(w.pointed(w.op, func(c *oidc.Config) { c.ForwardMaxAge, c.Scopes = true, []string{"openid"} }))
	w.login("Demo")
}

// Every way in is held: the answer to a page that was shown before, another upstream's proof, and the other node.
func TestHeldOnEveryWay(t *testing.T) {
	t.Parallel()
	ask := func(c *broker.Config) { c.Theme, c.PostLogin = askTheme, flow.Flow{{ID: "ask", Do: askOnce{}}} }
	w := newWorld(t, ask)
	idp := w.upstream(w.elsewhere(), "demo", nil)
	moved := also(ask, func(c *broker.Config) { c.Providers[0].IdP = idp })
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	if page = page.Submit(url.Values{"ok": {"1"}}); page.Status != http.StatusOK || page.URL.Path != "/" {
		t.Fatalf("first login: status %d at %s", page.Status, page.URL)
	}
	b = brokertest.NewBrowser(t)
	page = b.Get(w.Origin + "/").Click("Demo")
	w.reconfigure(moved)
	if p := page.Submit(url.Values{"ok": {"1"}}); !held(p) {
		t.Errorf("page: status %d at %s", p.Status, p.URL)
	}
	node, err := broker.New(w.config(moved))
	if err != nil {
		t.Fatal(err)
	}
	if err := node.ConfirmProvider(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	page = brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo") // here, where it was held a moment ago
	if page = page.Submit(url.Values{"ok": {"1"}}); page.Status != http.StatusOK || w.users("alice") != 1 {
		t.Errorf("confirmed at the other node: status %d", page.Status)
	}
	w.reconfigure(ask) // whoever goes back to what it was is held again
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); !held(p) {
		t.Errorf("pointed back: status %d", p.Status)
	}
}

// A store that keeps no fences is said to, and a fence that cannot be read lets nobody by.
func TestFencesAreMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	w.reconfigure(func(c *broker.Config) { c.Fences = brokenFences{w.store} })
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); p.Status != http.StatusInternalServerError {
		t.Errorf("broken fences: status %d", p.Status)
	}
	var log bytes.Buffer
	type bare struct{ store.Store } // hides that it keeps fences
	_, err := broker.New(w.config(func(c *broker.Config) {
		c.Store, c.Logger = bare{w.store}, slog.New(slog.NewTextHandler(&log, nil))
	}))
	if err != nil || !strings.Contains(log.String(), "Fences") {
		t.Errorf("got %v and log %s", err, log.String())
	}
}

// brokenFences cannot be read.
type brokenFences struct{ store.Fences }

func (brokenFences) Fence(context.Context, string) (*store.Fence, error) {
	return nil, errors.New("down")
}
