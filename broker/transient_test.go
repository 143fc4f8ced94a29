package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// transient has the users of "demo" kept nowhere.
func transient(c *broker.Config) {
	c.Providers[0].TransientUsers, c.Providers[0].TrustEmail = true, true
}

// wantNobody fails if anything of the user with this id is kept but what hangs on a session.
func (w *world) wantNobody(t *testing.T, id string) {
	t.Helper()
	if _, err := w.store.User(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("there is a user: %v", err)
	}
	if n := w.users("alice", id); n > 0 {
		t.Errorf("%d users", n)
	}
	if links := w.linksOf(id); len(links) > 0 {
		t.Errorf("links %+v", links)
	}
	if _, err := w.store.Link(t.Context(), store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("there is a link: %v", err)
	}
}

// 55: a transient user has no row; their session works, for the host and for applications; and they disappear with it.
func TestRow55TransientUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(transient, func(c *broker.Config) {
		c.Clients[0].Scopes = []string{"openid", "profile", "email", "roles", "groups"}
		c.Clients[0].Claims = []store.ClientClaim{{Name: "dept", From: "attribute:dept"}, {Name: "tenant", From: "note:tenant"}}
		c.Providers[0].Mappers = []provider.Mapper{
			mapper.Attribute("dept", "dept"), mapper.Role("boss", is("dept", "top")), mapper.Note("tenant", "tenant"), mapper.FixedGroup("all"),
		}
	}))
	w.says(providertest.User{Name: "Alice Liddell", EmailVerified: true}, map[string]any{"dept": "top", "tenant": "one"})
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	if !strings.HasPrefix(who.ID, "transient-") || who.Username != "alice" || who.Email != "alice@example.com" || !who.Verified || who.Provider != "demo" {
		t.Fatalf("signed in as %+v", who)
	}
	w.wantNobody(t, who.ID)

	a := w.redeem(w.code(b, func(v url.Values) { v.Set("scope", "openid profile email roles groups") }), nil).renewed(t)
	wantToken := func(t *testing.T, what string, said map[string]any, want map[string]any) {
		t.Helper()
		for name, value := range want {
			if got, _ := json.Marshal(said[name]); string(got) != value {
				t.Errorf("%s says %s = %s, want %s", what, name, got, value)
			}
		}
	}
	sub, _ := json.Marshal(who.ID)
	user := map[string]any{"sub": string(sub), "name": `"Alice Liddell"`, "preferred_username": `"alice"`, "email": `"alice@example.com"`, "email_verified": "true", "dept": `"top"`, "tenant": `"one"`}
	wantToken(t, "ID token", part(t, a.IDToken, 1), user)
	access := map[string]any{"sub": string(sub), "roles": `["boss"]`, "groups": `["all"]`}
	wantToken(t, "access token", part(t, a.AccessToken, 1), access)
	wantToken(t, "introspection", w.introspect("rp", a.AccessToken).active(t), access)
	wantToken(t, "userinfo", w.saidOf(t, a.AccessToken), user)

	// The next login is the same user, as the upstream sees them then; what was not said again is not there.
	w.says(providertest.User{Name: "Alice L.", EmailVerified: true}, map[string]any{"tenant": "two"})
	b.Get(w.URL + "/login?prompt=login&return_to=/").Click("Demo")
	again := b.Get(w.Origin + "/").Who()
	if again.ID != who.ID || again.Session != who.Session {
		t.Errorf("signed in as %+v, was %+v", again, who)
	}
	renewed := w.refresh(a.RefreshToken, nil).renewed(t)
	wantToken(t, "ID token", part(t, renewed.IDToken, 1), map[string]any{"sub": string(sub), "name": `"Alice L."`, "dept": "null", "tenant": `"two"`})
	wantToken(t, "access token", part(t, renewed.AccessToken, 1), map[string]any{"roles": "null"})
	w.wantNobody(t, who.ID)

	elsewhere := w.login("Demo").Get(w.Origin + "/").Who()
	if elsewhere.ID != who.ID || elsewhere.Session == who.Session {
		t.Errorf("in another browser it is %+v", elsewhere)
	}
	b.Get(w.URL + "/logout").Submit(nil)
	if w.signedIn(b) {
		t.Error("signed in after the sign-out")
	}
	if left := w.sessionsOf(who.ID); len(left) != 1 || left[0].ID != elsewhere.Session {
		t.Errorf("sessions %+v", left)
	}
	wantError(t, w.refresh(renewed.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")
	wantInactive(t, w.introspect("rp", renewed.AccessToken))
	if r := w.userinfo(renewed.AccessToken); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("userinfo: status %d", r.StatusCode)
	}
}

// What is kept of a transient user is sealed, and only in the session; and a store that forgets it signs nobody in.
func TestTransientUserIsSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, transient)
	b := w.login("Demo")
	kept, err := w.store.Session(t.Context(), b.Get(w.Origin+"/").Who().Session)
	if err != nil || len(kept.TransientUser) == 0 || strings.Contains(string(kept.TransientUser), "alice") {
		t.Fatalf("session %q, %v", kept.TransientUser, err)
	}
	for name, tamper := range map[string]func(*store.Session){
		"forgotten": func(s *store.Session) { s.TransientUser = nil },
		"no JSON":   func(s *store.Session) { s.TransientUser = []byte("{") },
		"in clear":  func(s *store.Session) { s.TransientUser = []byte(`{"ID":"` + s.UserID + `"}`) },
		"another user's session": func(s *store.Session) {
			s.UserID = "transient-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		},
		"another subject":  func(s *store.Session) { s.Upstream.Subject = "bob" },
		"another provider": func(s *store.Session) { s.Upstream.Provider = "other" },
		"no provider":      func(s *store.Session) { s.Upstream = store.LinkKey{} },
	} {
		s, err := w.store.Session(t.Context(), kept.ID)
		must(t, err)
		before := *s
		tamper(s)
		must(t, w.store.UpdateSession(t.Context(), s))
		if w.signedIn(b) {
			t.Errorf("%s: signed in", name)
		}
		before.Version = s.Version
		must(t, w.store.UpdateSession(t.Context(), &before))
	}
	if !w.signedIn(b) {
		t.Error("signed out though nothing is wrong")
	}
}

// Nothing that an upstream says makes a transient user one who is kept, and nobody who is kept can have an id of theirs.
func TestTransientUserIsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ordinary := w.login("Demo").Get(w.Origin + "/").Who() // is linked, with the address and name that will be said again
	byOther := w.login("Other").Get(w.Origin + "/").Who()
	w.reconfigure(transient)
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	if who.ID == ordinary.ID || who.ID == byOther.ID || who.Username != "alice" {
		t.Fatalf("signed in as %+v", who)
	}
	if links := w.linksOf(ordinary.ID); len(links) != 1 || w.users("alice") != 1 {
		t.Errorf("the ordinary user has links %+v", links)
	}

	id := who.ID
	must(t, w.store.CreateUser(t.Context(), &store.User{ID: id, Username: "twin"}))
	must(t, w.store.CreateLink(t.Context(), &store.Link{LinkKey: store.LinkKey{Provider: "other", Issuer: w.other.Issuer(), Subject: "twin"}, UserID: id}))
	w.other.LoginAs("twin")
	twin := brokertest.NewBrowser(t)
	if page := twin.Get(w.Origin + "/").Click("Other"); page.Status != http.StatusForbidden || w.signedIn(twin) {
		t.Errorf("a user of the store with such an id: status %d", page.Status)
	}

	// Two providers with the same issuer and subject are two, and so are subjects that run into their neighbours.
	ids := map[string]string{id: "demo"}
	for name, key := range map[string]store.LinkKey{
		"other provider": {Provider: "other", Issuer: w.op.Issuer(), Subject: "alice"},
		"separators":     {Provider: "demo", Issuer: w.op.Issuer() + "a", Subject: "lice"},
		"case":           {Provider: "demo", Issuer: w.op.Issuer(), Subject: "Alice"},
	} {
		w.reconfigure(func(c *broker.Config) {
			for i := range c.Providers {
				c.Providers[i].TransientUsers = true
				c.Providers[i].Mappers = []provider.Mapper{{Name: "same", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
					m.Identity.Issuer, m.Identity.Subject = key.Issuer, key.Subject
					return nil
				}}}
			}
		})
		title := map[string]string{"demo": "Demo", "other": "Other"}[key.Provider]
		got := w.login(title).Get(w.Origin + "/").Who().ID
		if taken, ok := ids[got]; ok {
			t.Errorf("%s is %s", name, taken)
		}
		ids[got] = name
	}
}

// Switched on or off, the setting ends what rests on it being otherwise, also for logins under way.
func TestTransientUsersSwitched(t *testing.T) {
	t.Parallel()
	ask := func(c *broker.Config) { c.Theme, c.PostLogin = askTheme, flow.Flow{{ID: "ask", Do: askOnce{}}} }
	w := newWorld(t, offline)
	b := w.login("Demo")
	a := w.redeem(w.code(b, askOffline), nil).renewed(t)
	w.reconfigure(also(offline, transient))
	if w.signedIn(b) {
		t.Error("on: whom the provider had vouched for is signed in")
	}
	wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")

	b = w.login("Demo")
	w.reconfigure(offline)
	if w.signedIn(b) {
		t.Error("off: the transient user is signed in")
	}

	for name, setting := range map[string][2]func(*broker.Config){
		"on": {ask, also(ask, transient)}, "off": {also(ask, transient), ask},
	} {
		w := newWorld(t, setting[0])
		b := brokertest.NewBrowser(t)
		page := b.Get(w.Origin + "/").Click("Demo")
		w.reconfigure(setting[1])
		if page = page.Submit(url.Values{"ok": {"1"}}); page.Status != http.StatusConflict || w.signedIn(b) || w.users("alice") > 0 {
			t.Errorf("%s under way: status %d at %s, %d users", name, page.Status, page.URL, w.users("alice"))
		}
	}
}

// There is no offline_access for somebody who vanishes with the session: it is left out, and said to be.
func TestTransientUserGetsNothingOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(offline, transient))
	b := w.login("Demo")
	a := w.redeem(w.code(b, askOffline), nil).renewed(t)
	if a.Scope != "openid profile email" {
		t.Errorf("scope %q", a.Scope)
	}
	a = w.refresh(a.RefreshToken, nil).renewed(t)
	b.Get(w.URL + "/logout").Submit(nil)
	wantError(t, w.refresh(a.RefreshToken, nil), http.StatusBadRequest, "invalid_grant")

	d := newDeviceWorld(t, also(offline, transient))
	b = d.login("Demo")
	start := d.startDevice()
	d.decide(b, start, "allow")
	b.Get(d.URL + "/logout").Submit(nil)
	wantError(t, d.poll(start.DeviceCode), http.StatusBadRequest, "invalid_grant")
}

// What the user has agreed to vanishes with the session, too, and is asked for anew in each.
func TestTransientConsent(t *testing.T) {
	t.Parallel()
	w := consenting(t, nil)
	w.reconfigure(also(transient, func(c *broker.Config) {
		c.Clients[0].Consent, c.Clients[0].Scopes = true, []string{"openid", "profile", "email", "offline_access"}
	}))
	b := w.login("Demo")
	page := b.Get(w.URL + "/authorize?" + changed(w.authParams(), askOffline).Encode())
	shows(t, page, http.StatusOK, `name="decision"`)
	if strings.Contains(page.Body, "offline") {
		t.Errorf("asks for offline access:\n%s", page.Body)
	}
	if code := w.answered(page.Submit(allow)).Get("code"); code == "" {
		t.Fatal("no code")
	}
	if got := w.silent(b, "openid profile"); got != "code" {
		t.Errorf("in the same session: %s", got)
	}
	other := w.login("Demo")
	if got := w.silent(other, "openid profile"); got != "consent_required" {
		t.Errorf("in another session: %s", got)
	}
	id := b.Get(w.Origin + "/").Who().ID
	b.Get(w.URL + "/logout").Submit(nil)
	if grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{UserID: id}); err != nil || len(grants) > 0 {
		t.Errorf("left: %+v, %v", grants, err)
	}
}

// A transient user can link nothing, and nobody can link what their provider vouches for; each page says so.
func TestTransientUserLinksNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, transient)
	b := w.login("Demo")
	id := b.Get(w.Origin + "/").Who().ID
	shows(t, b.Get(w.URL+"/link?provider=other&return_to=/account/"), http.StatusForbidden, "This account is not kept here")
	page := b.Get(w.URL + "/authorize?" + changed(w.authParams(), set("kc_action", "idp_link:other")).Encode())
	if got := w.answered(page).Get("kc_action_status"); got != "error" {
		t.Errorf("kc_action_status %q", got)
	}
	ordinary := w.login("Other")
	shows(t, ordinary.Get(w.URL+"/link?provider=demo&return_to=/account/"), http.StatusForbidden, "cannot be linked")
	page = ordinary.Get(w.at(""))
	shows(t, page, http.StatusOK)
	if strings.Contains(page.Body, "Link Demo") {
		t.Error("the account page offers to link it")
	}
	w.wantNobody(t, id)
}

// The account page has nothing to change, but ends sessions.
func TestTransientAccountPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(also(transient, withCredentials(w)))
	b, other := w.login("Demo"), w.login("Demo")
	id := b.Get(w.Origin + "/").Who().ID
	page := b.Get(w.at(""))
	shows(t, page, http.StatusOK, "Your account is not kept here", "This browser")
	for _, form := range []string{"/profile", "/password", "/totp", "/email", "/unlink", "/passkey"} {
		if strings.Contains(page.Body, w.at("")[len(w.Origin):]+form[1:]+`"`) {
			t.Errorf("it has a way to %s", form)
		}
	}
	for _, word := range []string{"profile", "unlink", "email", "verify", "password", "totp", "recovery", "recovery.txt", "remove", "rename"} {
		for _, answer := range []*brokertest.Page{b.Get(w.at(word)), b.Post(w.at(word), url.Values{"name": {"x"}, "password": {"x"}, "repeat": {"x"}}, w.Origin)} {
			if answer.Status < 400 {
				t.Errorf("%s: status %d", word, answer.Status)
			}
		}
	}
	shows(t, page.Submit(url.Values{"others": {"1"}}), http.StatusOK)
	if !w.signedIn(b) || w.signedIn(other) {
		t.Errorf("signed in here %t, elsewhere %t", w.signedIn(b), w.signedIn(other))
	}
	if kept, err := w.store.CredentialsOf(t.Context(), id); err != nil || len(kept) > 0 {
		t.Errorf("credentials %+v, %v", kept, err)
	}
	w.wantNobody(t, id)
}

// A turnStep is a step of the tests.
type turnStep func(ctx context.Context, t *flow.Turn) (flow.Result, error)

func (f turnStep) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	return f(ctx, t)
}

// withCredentials has the broker keep credentials, which transient users have none of.
func withCredentials(w *world) func(*broker.Config) {
	return func(c *broker.Config) { c.Credentials, c.LocalLogin = w.store, true }
}

// The post-login flow runs, sees the user and nobody else, and has no credentials to look at: what needs them denies.
func TestTransientPostLogin(t *testing.T) {
	t.Parallel()
	var seen []string
	look := turnStep(func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		u, err := t.Accounts.User(ctx, t.Draft.UserID)
		if err != nil {
			return flow.Result{}, err
		}
		seen = append(seen, u.Username, fmt.Sprint(t.Credentials != nil))
		for _, q := range []store.UserQuery{{Email: "alice@example.com"}, {Username: "alice"}} {
			users, err := t.Accounts.FindUsers(ctx, q)
			seen = append(seen, fmt.Sprint(len(users), err))
		}
		u.Roles = append(u.Roles, "admin") // a copy
		t.Draft.Profile.Roles, t.Draft.Profile.Username = []string{"admin"}, "root"
		return flow.Success(), nil
	})
	w := newWorld(t, nil)
	w.login("Demo") // there is an ordinary user with that name and address
	post := func(f flow.Flow) func(*broker.Config) {
		return also(transient, withCredentials(w), func(c *broker.Config) { c.PostLogin = f })
	}
	w.reconfigure(post(flow.Flow{{ID: "look", Do: look}}))
	b := w.login("Demo")
	if got := strings.Join(seen, " "); got != "alice false 0 <nil> 0 <nil>" {
		t.Errorf("the step sees %q", got)
	}
	if who := b.Get(w.Origin + "/").Who(); who.Username != "alice" {
		t.Errorf("signed in as %+v", who)
	}
	for name, f := range map[string]flow.Flow{
		"a denial": {{ID: "deny", Do: turnStep(func(context.Context, *flow.Turn) (flow.Result, error) { return flow.Deny("terms_declined"), nil })}},
		"a code":   {{ID: "code", Do: factor.OTP{}}},
		"somebody else": {{ID: "edit", Do: turnStep(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
			t.Draft.UserID = "somebody"
			return flow.Success(), nil
		})}},
	} {
		w.reconfigure(post(f))
		b := brokertest.NewBrowser(t)
		if page := b.Get(w.Origin + "/").Click("Demo"); page.Status < 400 || w.signedIn(b) {
			t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
		}
	}
}

// A transient user can prove an address, here or in another browser, as long as the provider has such users; each session asks anew.
func TestTransientVerifyEmail(t *testing.T) {
	t.Parallel()
	ofOther := func(c *broker.Config) { c.Providers[1].TransientUsers = true }
	l := newDemandWorld(t, ofOther)
	page := l.comeAsCarol(brokertest.NewBrowser(t))
	elsewhere := brokertest.NewBrowser(t).Get(l.box.demands()[0])
	shows(t, elsewhere, http.StatusOK, "carol@other.example")
	shows(t, elsewhere.Submit(number(page)), http.StatusOK)
	if who := page.Submit(press("confirmed")).Who(); !who.Verified {
		t.Errorf("where the login had waited: signed in as %+v", who)
	}
	waiting := brokertest.NewBrowser(t)
	l.comeAsCarol(waiting)
	who := waiting.Get(l.box.demands()[1]).Submit(nil).Who()
	if who.Email != "carol@other.example" || !who.Verified || !strings.HasPrefix(who.ID, "transient-") {
		t.Errorf("signed in as %+v", who)
	}
	if l.users("carol", who.ID) > 0 || len(l.world.linksOf(who.ID)) > 0 {
		t.Error("something of the user is kept")
	}

	l.comeAsCarol(brokertest.NewBrowser(t))
	l.reconfigure(also(l.setup(verified), func(c *broker.Config) { c.Providers[1].TransientUsers = false }))
	if page := brokertest.NewBrowser(t).Get(l.box.demands()[2]); page.Status != http.StatusGone {
		t.Errorf("the provider has such users no more: status %d", page.Status)
	}
}

// A step that decides on a password for somebody whom nobody keeps leaves nothing of it behind.
func TestTransientPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.reconfigure(also(transient, withCredentials(w), func(c *broker.Config) {
		c.PostLogin = flow.Flow{{ID: "set", Do: turnStep(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
			t.Draft.Password = []byte("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
			return flow.Success(), nil
		})}}
	}))
	id := w.login("Demo").Get(w.Origin + "/").Who().ID
	if kept, err := w.store.CredentialsOf(t.Context(), id); err != nil || len(kept) > 0 {
		t.Errorf("credentials %+v, %v", kept, err)
	}
}

// Mappers that refuse, claims that are missing, a provider that is off or held, and the upstream's sign-out hold as ever.
func TestTransientRefusals(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*world, *broker.Config){
		"essential claim": func(w *world, c *broker.Config) {
			c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.EssentialClaim = "staff" })
		},
		"mapper": func(_ *world, c *broker.Config) {
			c.Providers[0].Mappers = []provider.Mapper{{Name: "no", Map: func(*provider.Mapping) error { return errors.New("no") }}}
		},
		"subject": func(_ *world, c *broker.Config) {
			c.Providers[0].Mappers = []provider.Mapper{{Name: "no", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
				m.Identity.Subject = "null"
				return nil
			}}}
		},
		"another upstream": func(w *world, c *broker.Config) { c.Providers[0].IdP = w.upstream(w.elsewhere(), "demo", nil) },
	} {
		w := newWorld(t, transient)
		w.login("Demo")
		w.reconfigure(also(transient, func(c *broker.Config) { edit(w, c) }))
		b := brokertest.NewBrowser(t)
		if page := b.Get(w.Origin + "/").Click("Demo"); page.Status < 400 || w.signedIn(b) {
			t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
		}
	}

	w := newWorld(t, transient)
	b := w.login("Demo")
	l := w.enter(b, w.rp)
	w.wantTaken(t, providertest.Logout{Session: w.upstreamSession(l)})
	if w.signedIn(b) {
		t.Error("signed in after the upstream's sign-out")
	}
	b = w.login("Demo")
	w.reconfigure(also(transient, func(c *broker.Config) { c.Providers[0].Disabled = true }))
	if w.signedIn(b) {
		t.Error("signed in by a provider that is off")
	}
	w.reconfigure(transient)
	w.advance(31 * time.Minute)
	if w.signedIn(b) {
		t.Error("signed in after the idle limit")
	}
}

// A transient user's word proves nothing about those who are kept: not as another way to prove an account, nor by its address.
func TestTransientProviderProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")          // alice, who is linked to Demo
	w.other.LoginAs("alice") // with alice's address
	other := func() *brokertest.Page {
		return brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other").Submit(press("link"))
	}
	page := other()
	shows(t, page, http.StatusOK, `value="demo"`) // by which she could prove that the account is hers
	w.op.LoginAs("")
	page = page.Submit(url.Values{"provider": {"demo"}}) // and is on her way there
	w.reconfigure(transient)
	page = page.Submit(url.Values{"user": {"alice"}})
	if links := w.linksOf(w.named("alice").ID); len(links) != 1 || strings.HasPrefix(page.URL.String(), w.Origin+"/deep") {
		t.Errorf("the account was proved: at %s, links %+v", page.URL, links)
	}
	w.op.LoginAs("alice")
	if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other"); page.Status != http.StatusForbidden {
		t.Errorf("there is a way to prove it: status %d\n%s", page.Status, page.Body)
	}
}

func TestTransientMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, edit := range map[string]func(*broker.Provider){
		"link only": func(p *broker.Provider) { p.LinkOnly = true }, "exchange": func(p *broker.Provider) { p.AllowTokenExchange = true },
		"first login": func(p *broker.Provider) { p.FirstLogin = flow.Flow{} }, "tokens": func(p *broker.Provider) { p.StoreTokens = provider.TokensOnLink },
	} {
		_, err := broker.New(w.config(func(c *broker.Config) {
			c.Providers[0].TransientUsers = true
			edit(&c.Providers[0])
		}))
		if err == nil || !strings.Contains(err.Error(), "TransientUsers: goes with none of") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the upstream has issued can be kept in the session, which is all that there is.
func TestTransientUserAndUpstreamTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(transient, func(c *broker.Config) { c.Providers[0].StoreTokens = provider.TokensInSession }))
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	tokens, err := w.Broker.UpstreamTokens(t.Context(), who.ID, "demo")
	if err != nil || tokens.AccessToken == "" {
		t.Errorf("tokens of the session: %v", err)
	}
	b.Get(w.URL + "/logout").Submit(nil)
	if _, err := w.Broker.UpstreamTokens(t.Context(), who.ID, "demo"); err == nil {
		t.Error("there are tokens after the sign-out")
	}
}
