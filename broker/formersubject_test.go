package broker_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// A renamedWorld is one whose upstream "demo" has called alice otherwise before: she is linked by that, and it says so in the
// claim "old" of its ID tokens.
type renamedWorld struct {
	*world
	alice string // her id here
}

func newRenamedWorld(t *testing.T, edit func(*broker.Config)) *renamedWorld {
	t.Helper()
	r := &renamedWorld{world: newWorld(t, nil)}
	r.alice = r.login("Demo").Get(r.Origin + "/").Who().ID
	r.reconfigure(func(c *broker.Config) {
		c.Providers[0].IdP = r.upstream(r.op, "demo", func(c *oidc.Config) { c.FormerSubjectClaim = "ids.old" })
		if edit != nil {
			edit(c)
		}
	})
	if err := r.Broker.ConfirmProvider(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	r.renamed("alice-2", "alice")
	return r
}

// renamed has the upstream let alice in by a subject, and say what it was before.
func (r *renamedWorld) renamed(subject string, old any) {
	r.op.SetUser(providertest.User{
		Subject: subject, Username: "alice", Email: "alice@example.com", EmailVerified: true, Name: "Alice Liddell",
		Claims: map[string]any{"ids": map[string]any{"old": old}},
	})
	r.op.LoginAs(subject)
}

// subjects are those by which a user is linked to "demo".
func (r *renamedWorld) subjects(userID string) []string {
	r.t.Helper()
	links, err := r.store.LinksOf(r.t.Context(), userID)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, l := range links {
		all = append(all, l.Subject)
	}
	return all
}

// wantOnly fails unless the login is alice's and she is linked by her new subject alone.
func (r *renamedWorld) wantOnly(t *testing.T, id string) {
	t.Helper()
	if got := r.subjects(r.alice); id != r.alice || !slices.Equal(got, []string{"alice-2"}) {
		t.Errorf("user %s was %s, linked by %q", id, r.alice, got)
	}
}

// 56: who is linked by the subject that the upstream had for them before is the same user, and is linked by the new one from then on.
func TestRow56FormerSubject(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	r.wantOnly(t, r.login("Demo").Get(r.Origin+"/").Who().ID)
	r.renamed("alice-2", nil) // and needs the old one no more
	r.wantOnly(t, r.login("Demo").Get(r.Origin+"/").Who().ID)
	link, err := r.store.Link(t.Context(), store.LinkKey{Provider: "demo", Issuer: r.op.Issuer(), Subject: "alice-2"})
	if err != nil || link.Username != "alice" || link.CreatedAt.IsZero() {
		t.Errorf("link is %+v, %v", link, err)
	}
}

// A former subject is what the provider calls it in the ID token, and nothing that stands for nobody.
func TestFormerSubjectThatIsNone(t *testing.T) {
	t.Parallel()
	for _, old := range []any{nil, "", " ", "null", "undefined", 0, false, []any{"alice"}, map[string]any{"sub": "alice"}, "ALICE", "alice "} {
		r := newRenamedWorld(t, nil)
		r.renamed("alice-2", old)
		b := brokertest.NewBrowser(t)
		b.Get(r.Origin + "/").Click("Demo")
		if r.signedIn(b) || !slices.Equal(r.subjects(r.alice), []string{"alice"}) {
			t.Errorf("%#v: signed in, alice is linked by %q", old, r.subjects(r.alice))
		}
	}
}

// What anybody may be able to edit is not asked: userinfo is another document than the one that is signed.
func TestFormerSubjectInUserInfo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lean := providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Lean", AutoLogin: "alice", Alg: "ES256", LeanIDToken: true, Now: w.clock,
		Users: []providertest.User{{Subject: "alice", Username: "alice", Email: "alice@example.com", Name: "Alice"}}})
	r := &renamedWorld{world: w}
	r.op = lean
	r.reconfigure(func(c *broker.Config) {
		c.Providers[0] = broker.Provider{Alias: "lean", Name: "Lean", IdP: w.upstream(lean, "lean", func(c *oidc.Config) { c.FormerSubjectClaim = "ids.old" })}
	})
	r.alice = r.login("Lean").Get(r.Origin + "/").Who().ID
	r.renamed("mallory", "alice")
	b := brokertest.NewBrowser(t)
	b.Get(r.Origin + "/").Click("Lean")
	if r.signedIn(b) || !slices.Equal(r.subjects(r.alice), []string{"alice"}) {
		t.Errorf("signed in, alice is linked by %q", r.subjects(r.alice))
	}
}

// Whoever is known by the new subject already is that user, whatever it is said they were before.
func TestFormerSubjectStealsNothing(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	r.op.LoginAs("bob")
	bob := r.login("Demo").Get(r.Origin + "/").Who().ID
	r.op.SetUser(providertest.User{Subject: "bob", Username: "bob", Email: "bob@example.com", Claims: map[string]any{"ids": map[string]any{"old": "alice"}}})
	if got := r.login("Demo").Get(r.Origin + "/").Who().ID; got != bob {
		t.Errorf("bob is %s, was %s", got, bob)
	}
	if got := r.subjects(r.alice); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("alice is linked by %q", got)
	}
	if got := r.subjects(bob); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("bob is linked by %q", got)
	}
}

// Who moves to another issuer and to other subjects at once is found by either, and by their own subject first: that stands for
// nobody else at any of its issuers.
func TestFormerSubjectAndFormerIssuer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		formerly    []string // subjects that are linked under the former issuer
		now         []string // and under the present one
		want        string   // by which the user is linked whom "alice-2", once "alice", is
		leaves, its string   // what is linked then, under the former issuer and under the present one
	}{
		{"both former", []string{"alice"}, nil, "former alice", "", "alice-2"},
		{"own subject at the former issuer", []string{"alice-2"}, []string{"alice"}, "former alice-2", "", "alice alice-2"},
		{"own subject at both", []string{"alice-2"}, []string{"alice", "alice-2"}, "present alice-2", "alice-2", "alice alice-2"},
		{"former subject at both", []string{"alice"}, []string{"alice"}, "present alice", "alice", "alice-2"},
	} {
		w := newWorld(t, nil)
		w.op.LoginAs("bob")
		w.login("Demo") // by whom the provider is known as what it was
		op, former := w.elsewhere(), w.op.Issuer()
		w.reconfigure(w.pointed(op, func(c *oidc.Config) { c.FormerSubjectClaim = "ids.old" }))
		if err := w.Broker.ConfirmProvider(t.Context(), "demo"); err != nil {
			t.Fatal(err)
		}
		linked := func(era, issuer string, subjects []string) {
			for _, subject := range subjects {
				id := era + " " + subject
				err := w.store.CreateUser(t.Context(), &store.User{ID: id, Username: id})
				if err := errors.Join(err, w.store.CreateLink(t.Context(),
					&store.Link{LinkKey: store.LinkKey{Provider: "demo", Issuer: issuer, Subject: subject}, UserID: id})); err != nil {
					t.Fatal(err)
				}
			}
		}
		linked("former", former, row.formerly)
		linked("present", op.Issuer(), row.now)
		r := &renamedWorld{world: w}
		r.op = op
		r.renamed("alice-2", "alice")
		if id := r.login("Demo").Get(r.Origin + "/").Who().ID; id != row.want {
			t.Errorf("%s: signed in as %q, want %q", row.name, id, row.want)
		}
		left := func(issuer string) string {
			var subjects []string
			for _, subject := range []string{"alice", "alice-2"} {
				if _, err := w.store.Link(t.Context(), store.LinkKey{Provider: "demo", Issuer: issuer, Subject: subject}); err == nil {
					subjects = append(subjects, subject)
				}
			}
			return strings.Join(subjects, " ")
		}
		if now, before := left(op.Issuer()), left(former); now != row.its || before != row.leaves {
			t.Errorf("%s: linked are %q under the present issuer, %q under the former", row.name, now, before)
		}
	}
}

// Somebody else who is signed in cannot link it either: it is alice's.
func TestFormerSubjectIsLinkedElsewhere(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	b := r.login("Other")
	carol := b.Get(r.Origin + "/").Who().ID
	shows(t, r.link(b, "demo"), http.StatusConflict)
	if got := r.subjects(r.alice); !slices.Equal(got, []string{"alice"}) || len(r.subjects(carol)) != 1 {
		t.Errorf("alice is linked by %q, carol by %q", got, r.subjects(carol))
	}
}

// It lets people in, so a provider that begins to name one is held until somebody has confirmed it.
func TestFormerSubjectIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login("Demo")
	w.reconfigure(w.pointed(w.op, func(c *oidc.Config) { c.FormerSubjectClaim = "ids.old" }))
	if p := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); !held(p) {
		t.Errorf("status %d", p.Status)
	}
}

// Two at once are one: whoever is later finds the new link.
func TestFormerSubjectTwice(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	callbacks, browsers := make([]string, 8), make([]*brokertest.Browser, 8)
	for i := range callbacks {
		browsers[i] = stopped(t)
		callbacks[i] = r.ready(browsers[i], "demo")
	}
	var all sync.WaitGroup
	for i := range callbacks {
		all.Go(func() { browsers[i].Get(callbacks[i]) })
	}
	all.Wait()
	for _, b := range browsers {
		r.wantOnly(t, b.Get(r.Origin+"/").Who().ID)
	}
}

// A store that fails leaves the old link or, where it writes part by part, both or the new one: the next login is alice's.
func TestFormerSubjectAndAStoreThatFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Commit", "CreateLink", "DeleteLink", "CreateSession"} {
		for _, after := range []bool{false, true} {
			faulty := false
			r := newRenamedWorld(t, nil)
			r.reconfigure(func(c *broker.Config) {
				c.Providers[0].IdP = r.upstream(r.op, "demo", func(c *oidc.Config) { c.FormerSubjectClaim = "ids.old" })
				failing := storetest.Faulty(r.store, func(call storetest.Call) error {
					if faulty && call.Method == method && call.After == after {
						return errors.New("the store is down")
					}
					return nil
				})
				c.Store = failing
				if method != "Commit" {
					c.Store = struct{ store.Store }{failing}
				}
			})
			faulty = true
			b := brokertest.NewBrowser(t)
			if page := b.Get(r.Origin + "/").Click("Demo"); page.Status < 400 || r.signedIn(b) {
				t.Errorf("%s: status %d", method, page.Status)
			}
			if got := r.subjects(r.alice); len(got) == 0 {
				t.Errorf("%s, after it is %t: alice is not linked any more", method, after)
			}
			faulty = false
			if id := r.login("Demo").Get(r.Origin + "/").Who().ID; id != r.alice {
				t.Errorf("%s, after it is %t: user %s was %s", method, after, id, r.alice)
			}
		}
	}
}

// What the old link vouched for elsewhere ends with it; the browser that signs in goes on.
func TestFormerSubjectEndsOtherSessions(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	r.op.LoginAs("alice")
	elsewhere, here := r.login("Demo"), r.login("Demo")
	session := here.Get(r.Origin + "/").Who().Session
	r.op.LoginAs("alice-2")
	here.Get(r.URL + "/login?prompt=login&return_to=/").Click("Demo")
	if who := here.Get(r.Origin + "/").Who(); who.Session != session || who.ID != r.alice {
		t.Errorf("here: %+v, was session %s", who, session)
	}
	if r.signedIn(elsewhere) {
		t.Error("elsewhere: signed in")
	}
}

// A mapper can say it too, for every protocol; and the path may be one of what an OAuth 2.0 server says.
func TestFormerSubjectByMapper(t *testing.T) {
	t.Parallel()
	r := newRenamedWorld(t, nil)
	r.reconfigure(mapped(provider.SyncImport, mapper.Username("${CLAIM.ids.old}", mapper.FormerID)))
	if err := r.Broker.ConfirmProvider(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	r.renamed("alice-2", nil) // somebody without it is nobody whom it could name
	b := brokertest.NewBrowser(t)
	if b.Get(r.Origin + "/").Click("Demo"); r.signedIn(b) {
		t.Error("signed in without a former subject")
	}
	r.renamed("alice-2", "alice")
	r.wantOnly(t, r.login("Demo").Get(r.Origin+"/").Who().ID)
}

func TestFormerSubjectOfOAuth2(t *testing.T) {
	t.Parallel()
	o := newOAuth2World(t, func(c *oauth2.Config) { c.Claims.Subject, c.Claims.FormerSubject = "uuid", "id" })
	if err := o.store.CreateUser(t.Context(), &store.User{ID: "octo", Username: "octo"}); err != nil {
		t.Fatal(err)
	}
	if err := o.store.CreateLink(t.Context(), &store.Link{LinkKey: store.LinkKey{Provider: "git", Subject: "4711"}, UserID: "octo"}); err != nil {
		t.Fatal(err)
	}
	o.said["uuid"], o.said["id"] = "8d2c", 4711
	if id := o.login("Git").Get(o.Origin + "/").Who().ID; id != "octo" {
		t.Errorf("signed in as %s", id)
	}
	if _, err := o.store.Link(t.Context(), store.LinkKey{Provider: "git", Subject: "8d2c"}); err != nil {
		t.Error(err)
	}
}
