package broker_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// What a client may not have any more it does not get by what was granted before.

func TestSessionThatGoesOnIsStillTold(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(url.Values){"session": func(url.Values) {}, "offline": askOffline} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, also(signsOut, offline, func(c *broker.Config) { c.SessionIdle = 24 * time.Hour }))
			b := w.login("Demo")
			first := w.redeem(w.code(b, edit), nil).tokens(t)
			w.advance(9 * time.Hour)
			b.Get(w.Origin + "/id/login?prompt=login&idp_hint=demo&return_to=/")
			w.advance(2 * time.Hour) // when the session would have ended, had its user not logged in again
			who := b.Get(w.Origin + "/").Who()
			if sid := part(t, first.IDToken, 1)["sid"]; who.Session != sid {
				t.Fatalf("session %s, sid %v", who.Session, sid)
			}
			w.refresh(first.RefreshToken, nil).renewed(t)
			if err := w.Broker.SignOut(t.Context(), who.ID); err != nil {
				t.Fatal(err)
			}
			if got := w.rp.Logouts(); len(got) != 1 {
				t.Errorf("the application was told %d times", len(got))
			}
		})
	}
}

func TestRevokedIsStillToldOfSignOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := w.login("Demo")
	tokens := w.redeem(w.code(b, nil), nil).tokens(t)
	w.post("/revoke", "rp", url.Values{"token": {tokens.AccessToken}})
	if err := w.Broker.SignOut(t.Context(), b.Get(w.Origin+"/").Who().ID); err != nil {
		t.Fatal(err)
	}
	if got := w.rp.Logouts(); len(got) != 1 {
		t.Errorf("the application was told %d times", len(got))
	}
}

func TestSingleClaimsEndWithTheirScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t, offline)
	tokens := w.redeem(w.code(w.login("Demo"), func(v url.Values) {
		v.Set("scope", "openid offline_access")
		v.Set("claims", `{"id_token":{"email":null},"userinfo":{"email":null}}`)
	}), nil).renewed(t)
	if email := part(t, tokens.IDToken, 1)["email"]; email != "alice@example.com" {
		t.Fatalf("email is %v", email)
	}
	w.reconfigure(func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid", "offline_access"} })
	if r := w.userinfo(tokens.AccessToken); strings.Contains(r.text, "alice@") {
		t.Errorf("userinfo: %s", r.text)
	}
	next := w.refresh(tokens.RefreshToken, nil).renewed(t)
	if email := part(t, next.IDToken, 1)["email"]; email != nil {
		t.Errorf("ID token: email %v", email)
	}
}

func TestScopeWithdrawnBeforeRedemption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid", "roles", "email"} })
	b := w.login("Demo")
	w.editUser("alice", func(u *store.User) { u.Roles = []string{"admin"} })
	code := w.code(b, func(v url.Values) { v.Set("scope", "openid roles email") })
	w.reconfigure(func(c *broker.Config) { c.Clients[0].Scopes = []string{"openid"} })
	tokens := w.redeem(code, nil).tokens(t)
	roles, email := part(t, tokens.AccessToken, 1)["roles"], part(t, tokens.IDToken, 1)["email"]
	if tokens.Scope != "openid" || roles != nil || email != nil {
		t.Errorf("scope %q, roles %v, email %v", tokens.Scope, roles, email)
	}
}

func TestExchangeNeedsConsent(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	w.login("Demo")
	w.exchanging(func(c *broker.Config) {
		for i := range c.Clients {
			c.Clients[i].Consent = true
		}
	})
	if r := w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil); r.StatusCode == http.StatusOK {
		t.Errorf("nobody was asked: %s", r.text)
	}
}

// relinks is a step that lets a user through while an administrator links the identity to another.
type relinks struct {
	w           *world
	from, to    string
	askedAbout2 bool
}

func (s *relinks) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Draft.UserID == s.to {
		s.askedAbout2 = true
		return flow.Deny("not_this_one"), nil
	}
	links, err := s.w.store.LinksOf(ctx, s.from)
	for _, l := range links {
		l.UserID = s.to
		err = s.w.store.UpdateLink(ctx, l)
	}
	return flow.Success(), err
}

func TestExchangeOfAnIdentityThatMoves(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, nil)
	alice := w.login("Demo").Get(w.Origin + "/").Who().ID
	w.op.LoginAs("bob")
	bob := w.login("Demo").Get(w.Origin + "/").Who().ID
	w.advance(2 * time.Hour) // so that the exchange writes the link
	step := &relinks{w: w, from: alice, to: bob}
	w.exchanging(func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "s", Do: step}} })
	if r := w.exchangeForeign(w.upstreamToken(w.op, "alice"), nil); r.StatusCode == http.StatusOK && !step.askedAbout2 {
		t.Errorf("a token for whom the flow was not asked about: %s", r.text)
	}
}

// RFC 9126 §4: one answer, be it no.
func TestPushedRequestIsDeniedOnce(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	b := w.login("Demo")
	q := w.pushed(nil)
	if got := w.answered(b.Get(w.URL + "/authorize?" + q.Encode()).Submit(deny)).Get("error"); got != "access_denied" {
		t.Fatalf("denied: error %q", got)
	}
	shows(t, b.Get(w.URL+"/authorize?"+q.Encode()), http.StatusBadRequest)
}

// However many redeem a code at once, what remembers the application for the sign-out is one row.
func TestRacesLeaveOneTrace(t *testing.T) {
	t.Parallel()
	const racers = 16
	var spy *spyStore
	w := newWorld(t, also(signsOut, offline, func(c *broker.Config) {
		spy = &spyStore{Store: c.Store}
		c.Store = spy
	}))
	b := w.login("Demo")
	code := w.code(b, askOffline)
	var ready, all sync.WaitGroup
	ready.Add(racers)
	spy.hook = func(call string) error {
		if call == "update grant" { // each has read the grant, and found the code unused
			ready.Done()
			ready.Wait()
		}
		return nil
	}
	for range racers {
		all.Go(func() { w.redeem(code, nil) })
	}
	all.Wait()
	spy.hook = nil
	who := b.Get(w.Origin + "/").Who()
	grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{SessionID: who.Session})
	if err != nil {
		t.Fatal(err)
	}
	if len(grants) != 1 {
		t.Errorf("%d rows are left of one grant", len(grants))
	}
}

// OpenID Connect Core §3.1.2.6: an upstream that answers without a page, and does not say that its proof is new enough, is
// the application's login_required.
func testPassiveAndMaxAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.DefaultProvider = "demo"
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.AcceptPromptNone = true })
	})
	w.op.Edit(providertest.Hooks{IDToken: func(_, claims map[string]any) { delete(claims, "auth_time") }})
	b := brokertest.NewBrowser(t)
	b.Get(w.rp.LoginURL())
	w.advance(5 * time.Minute)
	w.rp.Params = url.Values{"prompt": {"none"}, "max_age": {"60"}}
	asked := len(w.op.Requests(providertest.Token))
	shows(t, b.Get(w.rp.LoginURL()), http.StatusOK)
	if got := w.rp.Login().Error; got != "login_required" || len(w.op.Requests(providertest.Token)) == asked {
		t.Errorf("error %q, want login_required after the upstream's answer", got)
	}
}
