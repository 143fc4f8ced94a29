package broker_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/seal"
)

const password = "correct horse battery"

// prove is a first-login flow in which an account that exists proves itself by its password, and a code where it has an app.
var prove = flow.Flow{
	{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
	{ID: "existing", When: flow.Alternative, Sub: flow.Flow{
		{ID: "password", Do: factor.UsernamePassword{}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()},
			{ID: "code", Do: factor.SecondFactor{}},
		}},
	}},
}

// newLocalWorld is a world whose broker keeps credentials, and in which alice of demo is a user with a password.
func newLocalWorld(t testing.TB, edit func(*broker.Config)) (*world, *store.User, *brokertest.Browser) {
	t.Helper()
	w := newWorld(t, nil)
	w.reconfigure(func(c *broker.Config) {
		c.Credentials, c.FirstLogin, c.Passwords = w.store, prove, &factor.Passwords{Memory: 8, Time: 1}
		if edit != nil {
			edit(c)
		}
	})
	browser := w.login("Demo")
	found, err := w.store.FindUsers(t.Context(), store.UserQuery{Username: "alice"})
	if err != nil || len(found) != 1 {
		t.Fatalf("alice is %v, %v", found, err)
	}
	hash, err := w.local().Passwords.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.local().SetPassword(t.Context(), found[0].ID, hash, false); err != nil {
		t.Fatal(err)
	}
	w.other.LoginAs("alice")
	return w, found[0], browser
}

// local is what a host writes credentials with, sealed as the broker seals them.
func (w *world) local() *factor.Local {
	keys, err := seal.FromSecrets([]byte("a secret of the tests: 32 bytes!"))
	if err != nil {
		w.t.Fatal(err)
	}
	sealed := seal.New(keys).Store(w.store)
	return &factor.Local{
		Credentials: sealed, Transient: sealed, Passwords: &factor.Passwords{Memory: 8, Time: 1}, Now: w.clock,
	}
}

func answer(name, password string) url.Values {
	return url.Values{"username": {name}, "password": {password}}
}

// Somebody at another provider with alice's e-mail address becomes alice with her password, and not before.
func TestLinkByPassword(t *testing.T) {
	t.Parallel()
	w, alice, _ := newLocalWorld(t, nil)
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Other")
	for _, try := range []url.Values{{}, answer("alice", ""), answer("alice", "a guess"), answer("nobody", password)} {
		page = page.Submit(try)
		if page.Status != 200 || !strings.Contains(page.Body, `id="password-error"`) {
			t.Fatalf("%v: got status %d\n%s", try, page.Status, page.Body)
		}
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 1 || err != nil {
		t.Fatalf("linked before the proof: %v, %v", links, err)
	}
	page = page.Submit(answer("Alice@Example.com", password))
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v, want alice", who)
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 2 || err != nil {
		t.Errorf("alice has links %v, %v", links, err)
	}
	sessions, err := w.store.FindSessions(t.Context(), store.SessionQuery{UserID: alice.ID, Provider: "other"})
	if err != nil || len(sessions) != 1 || !slices.Contains(sessions[0].AMR, "pwd") {
		t.Errorf("sessions %+v, %v; want one whose AMR has the password", sessions, err)
	}
}

// Strangers lock alice's password for browsers that she has not used, and not for hers.
func TestStrangersDoNotLockOut(t *testing.T) {
	t.Parallel()
	w, alice, hers := newLocalWorld(t, nil)
	w.op.LoginAs("bob")
	stranger := w.login("Demo") // whose browser is known, but not as one of hers
	w.op.LoginAs("alice")
	stranger.Get(w.URL + "/logout").Submit(nil)
	page := stranger.Get(w.Origin + "/").Click("Other")
	for range 6 {
		page = page.Submit(answer("alice", "a guess"))
	}
	page = page.Submit(answer("alice", password))
	if !strings.Contains(page.Body, `id="password-error"`) {
		t.Fatalf("the sixth try in a row was not refused: status %d at %s", page.Status, page.URL)
	}
	page = brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
	if !strings.Contains(page.Body, `id="password-error"`) {
		t.Fatalf("the account is not locked for others: status %d at %s", page.Status, page.URL)
	}
	// Her browser is known, though she signs out there.
	hers.Get(w.URL + "/logout").Submit(nil)
	page = hers.Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v, want alice", who)
	}
}

// A disabled user proves nothing.
func TestLinkByPasswordDisabled(t *testing.T) {
	t.Parallel()
	w, alice, _ := newLocalWorld(t, nil)
	alice.Disabled = true
	if err := w.store.UpdateUser(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Other").Submit(answer("alice", password))
	if page.Status != 403 || strings.Contains(page.Body, "alice") {
		t.Errorf("got status %d\n%s", page.Status, page.Body)
	}
	if links, err := w.store.LinksOf(t.Context(), alice.ID); len(links) != 1 || err != nil {
		t.Errorf("alice has links %v, %v", links, err)
	}
}

// A password that has to be changed is changed by the login.
func TestUpdatePasswordIsCommitted(t *testing.T) {
	t.Parallel()
	w, alice, _ := newLocalWorld(t, func(c *broker.Config) {
		c.PostLogin = flow.Flow{{ID: "update", Do: factor.UpdatePassword{}}}
	})
	hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.local().SetPassword(t.Context(), alice.ID, hash, true); err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	page := b.Get(w.Origin + "/").Click("Demo")
	if !strings.Contains(page.Body, `autocomplete="new-password"`) {
		t.Fatalf("not asked for a new password: status %d\n%s", page.Status, page.Body)
	}
	page = page.Submit(url.Values{"password": {"her own words"}, "repeat": {"her own words"}})
	if who := page.Who(); who.ID != alice.ID {
		t.Errorf("signed in as %+v, want alice", who)
	}
	temporary, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, "her own words")
	if temporary || err != nil {
		t.Errorf("the new password: temporary is %t, %v", temporary, err)
	}
}

// TestNoPasskeysLinked: who does not use them links nothing of them.
func TestNoPasskeysLinked(t *testing.T) {
	t.Parallel()
	deps := string(goCommand(t, "list", "-deps", "github.com/go-idbroker/idbroker/broker"))
	if !strings.Contains(deps, "github.com/go-idbroker/idbroker/flow/factor\n") {
		t.Fatal("the list has not even the package factor")
	}
	for dep := range strings.SplitSeq(deps, "\n") {
		if strings.Contains(dep, "webauthn") || strings.HasSuffix(dep, "/factor/passkey") {
			t.Errorf("broker links %s", dep)
		}
	}
}
