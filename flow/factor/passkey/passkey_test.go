package passkey_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/factor/passkey"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

const origin = "https://app.example"

var (
	site = passkey.Site{BaseURL: origin + "/id"}
	now  = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
)

// newStore returns a store with ann and bob, each with a passkey.
func newStore(t testing.TB) (s *memstore.Store, ann, bob *authenticator) {
	t.Helper()
	s = memstore.New()
	made := map[string]*authenticator{}
	for _, id := range []string{"ann", "bob"} {
		u := &store.User{ID: id, Username: id}
		if err := s.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		made[id] = newAuthenticator(t, origin)
		register(t, s, u, made[id])
	}
	return s, made["ann"], made["bob"]
}

func register(t testing.TB, s store.Credentials, u *store.User, a *authenticator) {
	t.Helper()
	text, state, err := site.BeginRegistration(t.Context(), s, u)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.FinishRegistration(t.Context(), s, u, "laptop", state, a.create(text), now); err != nil {
		t.Fatal(err)
	}
}

func user(t testing.TB, s *memstore.Store, id string) *store.User {
	t.Helper()
	u, err := s.User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	ann := user(t, s, "ann")
	a := newAuthenticator(t, origin)
	text, state, err := site.BeginRegistration(t.Context(), s, ann)
	if err != nil {
		t.Fatal(err)
	}
	o := a.read(text)
	if o.RP.ID != "app.example" || o.AuthenticatorSelection.UserVerification != "required" ||
		o.AuthenticatorSelection.ResidentKey != "required" || len(o.Exclude) != 1 {
		t.Errorf("options %s", text)
	}
	finish := func(u *store.User, state, answer []byte) error {
		return site.FinishRegistration(t.Context(), s, u, "", state, answer, now)
	}
	good := a.create(text)
	spoilt := func(edit func(a *authenticator)) []byte {
		b := newAuthenticator(t, origin)
		edit(b)
		return b.create(text)
	}
	_, other, err := site.BeginRegistration(t.Context(), s, ann)
	if err != nil {
		t.Fatal(err)
	}
	_, login, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another challenge":        finish(ann, other, good),
		"somebody else's":          finish(user(t, s, "bob"), state, good),
		"nothing begun":            finish(ann, nil, good),
		"a login begun":            finish(ann, login, good),
		"nothing":                  finish(ann, state, nil),
		"no answer":                finish(ann, state, []byte("{}")),
		"a user who is not there":  finish(ann, state, spoilt(func(a *authenticator) { a.verifies = false })),
		"another site":             finish(ann, state, spoilt(func(a *authenticator) { a.origin = "https://evil.example" })),
		"a site below":             finish(ann, state, spoilt(func(a *authenticator) { a.origin = "https://x.app.example" })),
		"http":                     finish(ann, state, spoilt(func(a *authenticator) { a.origin = "http://app.example" })),
		"a key for another domain": finish(ann, state, spoilt(func(a *authenticator) { a.rpID = "evil.example" })),
	} {
		if !errors.Is(err, factor.ErrRefused) {
			t.Errorf("%s: got %v, want %v", name, err, factor.ErrRefused)
		}
	}
	if err := finish(ann, state, good); err != nil {
		t.Fatal(err)
	}
	if err := finish(ann, state, good); !errors.Is(err, factor.ErrRefused) {
		t.Errorf("the same passkey again: got %v", err)
	}
	all, err := s.CredentialsOf(t.Context(), "ann")
	if err != nil || len(all) != 2 || all[0].Kind != store.CredentialPasskey || all[0].Label+all[1].Label != "laptop" {
		t.Errorf("ann has %d, %v", len(all), err)
	}
	if _, _, err := site.BeginRegistration(t.Context(), s, &store.User{ID: strings.Repeat("x", 65)}); err == nil {
		t.Error("a user handle of 65 bytes is taken")
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	finish := func(t *testing.T, s *memstore.Store, state, answer []byte) (*passkey.Proof, error) {
		return site.FinishLogin(t.Context(), s, s.User, state, answer, now)
	}
	for _, row := range []struct {
		name  string
		spoil func(ann, bob *authenticator)
		any   bool // good where nobody is known
		known bool // good where ann is
	}{
		{"as it should be", func(_, _ *authenticator) {}, true, true},
		{"without a user handle", func(a, _ *authenticator) { a.noHandle = true }, false, true},
		{"the user was not verified", func(a, _ *authenticator) { a.verifies = false }, false, false},
		{"another site", func(a, _ *authenticator) { a.origin = "https://evil.example" }, false, false},
		{"another port", func(a, _ *authenticator) { a.origin = origin + ":8443" }, false, false},
		{"for another domain", func(a, _ *authenticator) { a.rpID = "example" }, false, false},
		{"another key", func(a, b *authenticator) { a.other = b.key }, false, false},
		{"bob's key and handle", func(a, b *authenticator) { a.id, a.key, a.handle = b.id, b.key, b.handle }, true, false},
		{"ann's key, bob's handle", func(a, b *authenticator) { a.handle = b.handle }, false, false},
		{"bob's key, ann's handle", func(a, b *authenticator) { a.id, a.key = b.id, b.key }, false, false},
		{"a handle of nobody", func(a, _ *authenticator) { a.handle = []byte("nobody") }, false, false},
		{"a counter that stands still", func(a, _ *authenticator) { a.counter-- }, false, false},
		{"a counter that is gone", func(a, _ *authenticator) { a.counter, a.counts = 0, false }, false, false},
		{"a key that became synced", func(a, _ *authenticator) { a.synced = true }, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, known := range []bool{false, true} {
				s, ann, bob := newStore(t)
				var who *store.User
				want := row.any
				if known {
					who, want = user(t, s, "ann"), row.known
				}
				row.spoil(ann, bob)
				text, state, err := site.BeginLogin(t.Context(), s, who)
				if err != nil {
					t.Fatal(err)
				}
				if o := ann.read(text); o.UserVerification != "required" || (len(o.Allow) > 0) != known {
					t.Errorf("options %s", text)
				}
				answer := ann.get(text)
				proof, err := finish(t, s, state, answer)
				if want != (err == nil) || err != nil && !errors.Is(err, factor.ErrRefused) {
					t.Fatalf("known %t: got %+v, %v; want success %t", known, proof, err, want)
				}
				if err == nil && (proof.User.ID != string(ann.handle) || !slices.Contains(proof.AMR, "mfa") || !slices.Contains(proof.AMR, "hwk")) {
					t.Errorf("known %t: got %+v", known, proof)
				}
				if err != nil {
					continue
				}
				if proof, err := finish(t, s, state, answer); !errors.Is(err, factor.ErrRefused) {
					t.Errorf("the same answer again: got %+v, %v", proof, err)
				}
			}
		})
	}
}

// What was begun without asking for the user's verification is not finished.
func TestLoginAsksForVerification(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	text, state, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	ann.verifies = false
	weak := strings.ReplaceAll(string(state), `"required"`, `"preferred"`)
	if proof, err := site.FinishLogin(t.Context(), s, s.User, []byte(weak), ann.get(text), now); !errors.Is(err, factor.ErrRefused) {
		t.Errorf("got %+v, %v", proof, err)
	}
}

// Of racing answers of a key with a counter one counts, on however many nodes.
func TestLoginRace(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	text, state, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := ann.get(text)
	var wg sync.WaitGroup
	results := make([]error, 64)
	for i := range results {
		wg.Go(func() { _, results[i] = site.FinishLogin(t.Context(), s, s.User, state, answer, now) })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else if !errors.Is(err, factor.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of 64 won", won)
	}
}

// A synced passkey has no counter, and can be used at the same time as often as its user likes.
func TestLoginSynced(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	a := newAuthenticator(t, origin)
	a.synced, a.counts = true, false
	register(t, s, user(t, s, "ann"), a)
	for range 3 {
		text, state, err := site.BeginLogin(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := site.FinishLogin(t.Context(), s, s.User, state, a.get(text), now)
		if err != nil || !slices.Equal(proof.AMR, []string{"swk", "user", "mfa"}) {
			t.Errorf("got %+v, %v", proof, err)
		}
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://app.example/id": "app.example", "http://localhost:8080/id": "localhost", "https://app.example:8443": "app.example",
		"http://127.0.0.1:8080/id": "", "https://[::1]/id": "", "": "", "/id": "",
	} {
		text, _, err := passkey.Site{BaseURL: base}.BeginLogin(t.Context(), memstore.New(), nil)
		if want == "" {
			if !errors.Is(err, passkey.ErrNoSite) {
				t.Errorf("%q: got %s, %v; want %v", base, text, err, passkey.ErrNoSite)
			}
			continue
		}
		if err != nil || (&authenticator{t: t}).read(text).RPID != want {
			t.Errorf("%q: got %s, %v; want %s", base, text, err, want)
		}
	}
	parent := passkey.Site{BaseURL: "https://id.app.example", RPID: "app.example"}
	if text, _, err := parent.BeginLogin(t.Context(), memstore.New(), nil); err != nil || (&authenticator{t: t}).read(text).RPID != "app.example" {
		t.Errorf("parent domain: %s, %v", text, err)
	}
}

var step = flow.Flow{
	{ID: "passkey", When: flow.Alternative, Do: passkey.Login{}},
	{ID: "other", When: flow.Alternative, Do: other{}},
}

type other struct{ passkey.Login }

func (other) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Deny("other_way"), nil
}

func start(t testing.TB, s *memstore.Store, f flow.Flow, d *flow.Draft, base string) *flowtest.Driver {
	t.Helper()
	return flowtest.Start(t, f, flowtest.Login{Draft: d, Accounts: s, Lent: flow.Lent{
		BaseURL: base, Credentials: s, Transient: s, Passwords: &factor.Passwords{},
	}})
}

func optionsOf(d *flowtest.Driver) []byte {
	text, _ := d.Outcome().Page.Data["options"].(string)
	return []byte(text)
}

func answer(text []byte) url.Values { return url.Values{"credential": {string(text)}} }

func TestStep(t *testing.T) {
	t.Parallel()
	s, ann, bob := newStore(t)
	d := start(t, s, step, &flow.Draft{Existing: &flow.Existing{UserID: "bob", Field: "email"}}, site.BaseURL)
	if o := ann.read(optionsOf(d)); len(o.Allow) > 0 {
		t.Errorf("the page tells which passkeys an account has: %s", optionsOf(d))
	}
	first := optionsOf(d)
	for _, form := range []url.Values{nil, answer(nil), answer([]byte("{}")), answer([]byte("null"))} {
		d.Answer(form)
		if got := d.Page("passkey").Errors["credential"]; got != "refused" {
			t.Errorf("%v: got error %q", form, got)
		}
	}
	d.Answer(answer(ann.get(first))) // the challenge of a page before
	if got := d.Page("passkey").Errors["credential"]; got != "refused" || d.Draft().UserID != "" {
		t.Errorf("an old challenge: got error %q, draft %+v", got, d.Draft())
	}
	d.Replay(0, answer(ann.get(first)))
	d.Answer(answer(ann.get(optionsOf(d))))
	if got := d.Done(); got.UserID != "ann" || !slices.Equal(got.AMR, []string{"hwk", "user", "mfa"}) {
		t.Errorf("got %+v", got)
	}

	d = start(t, s, step, &flow.Draft{UserID: "ann"}, site.BaseURL)
	d.Answer(answer(bob.get(optionsOf(d))))
	if got := d.Page("passkey").Errors["credential"]; got != "refused" {
		t.Errorf("bob's passkey for ann: got error %q", got)
	}
	d.Answer(answer(ann.get(optionsOf(d))))
	if got := d.Done(); got.UserID != "ann" {
		t.Errorf("got %+v", got)
	}

	if err := s.CreateUser(t.Context(), &store.User{ID: "without", Username: "without"}); err != nil {
		t.Fatal(err)
	}
	start(t, s, step, &flow.Draft{UserID: "without"}, site.BaseURL).Denied("other_way")
	start(t, s, step, &flow.Draft{New: true}, site.BaseURL).Denied("other_way")
	start(t, s, step, &flow.Draft{}, "http://127.0.0.1:8080/id").Denied("other_way")
	flowtest.Start(t, step, flowtest.Login{Accounts: s}).Denied("other_way")
	d = start(t, s, step, &flow.Draft{}, site.BaseURL)
	d.Answer(url.Values{"another": {""}, "credential": {string(ann.get(optionsOf(d)))}})
	d.Denied("other_way")

	u := user(t, s, "ann")
	u.Disabled = true
	if err := s.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	d = start(t, s, step, &flow.Draft{}, site.BaseURL)
	d.Answer(answer(ann.get(optionsOf(d))))
	d.Denied(factor.UserDisabled)
}

// Behaviour: who signs in with a passkey is asked for no second factor.
func TestStepSkipsSecondFactor(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	totp := &store.Credential{ID: "1", UserID: "ann", Kind: store.CredentialTOTP, Secret: make([]byte, 20)}
	if err := s.CreateCredential(t.Context(), totp); err != nil {
		t.Fatal(err)
	}
	f := flow.Flow{
		{ID: "passkey", Do: passkey.Login{}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
		}},
	}
	d := start(t, s, f, &flow.Draft{}, site.BaseURL)
	d.Answer(answer(ann.get(optionsOf(d))))
	d.Done()
}
