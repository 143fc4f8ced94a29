package passkey_test

import (
	"context"
	"encoding/json"
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
func newStore(t testing.TB) (s *memstore.Store, ann, bob *flowtest.Authenticator) {
	t.Helper()
	s = memstore.New()
	made := map[string]*flowtest.Authenticator{}
	for _, id := range []string{"ann", "bob"} {
		u := &store.User{ID: id, Username: id}
		if err := s.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		made[id] = flowtest.NewAuthenticator(t, origin)
		register(t, s, u, made[id])
	}
	return s, made["ann"], made["bob"]
}

func register(t testing.TB, s store.Credentials, u *store.User, a *flowtest.Authenticator) {
	t.Helper()
	text, state, err := site.BeginRegistration(t.Context(), s, u)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.FinishRegistration(t.Context(), s, u, "laptop", state, a.Create(text), now); err != nil {
		t.Fatal(err)
	}
}

// What a page is asked to have.
type options struct {
	RPID string `json:"rpId"`
	RP   struct {
		ID string `json:"id"`
	} `json:"rp"`
	UserVerification       string `json:"userVerification"`
	AuthenticatorSelection struct {
		ResidentKey      string `json:"residentKey"`
		UserVerification string `json:"userVerification"`
	} `json:"authenticatorSelection"`
	Allow   []struct{ ID string } `json:"allowCredentials"`
	Exclude []struct{ ID string } `json:"excludeCredentials"`
}

func read(t testing.TB, text []byte) (o options) {
	t.Helper()
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("options %s: %v", text, err)
	}
	return o
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
	a := flowtest.NewAuthenticator(t, origin)
	text, state, err := site.BeginRegistration(t.Context(), s, ann)
	if err != nil {
		t.Fatal(err)
	}
	o := read(t, text)
	if o.RP.ID != "app.example" || o.AuthenticatorSelection.UserVerification != "required" ||
		o.AuthenticatorSelection.ResidentKey != "required" || len(o.Exclude) != 1 {
		t.Errorf("options %s", text)
	}
	finish := func(u *store.User, state, answer []byte) error {
		return site.FinishRegistration(t.Context(), s, u, "", state, answer, now)
	}
	good := a.Create(text)
	spoilt := func(edit func(a *flowtest.Authenticator)) []byte {
		b := flowtest.NewAuthenticator(t, origin)
		edit(b)
		return b.Create(text)
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
		"a user who is not there":  finish(ann, state, spoilt(func(a *flowtest.Authenticator) { a.Unverified = true })),
		"another site":             finish(ann, state, spoilt(func(a *flowtest.Authenticator) { a.Origin = "https://evil.example" })),
		"a site below":             finish(ann, state, spoilt(func(a *flowtest.Authenticator) { a.Origin = "https://x.app.example" })),
		"http":                     finish(ann, state, spoilt(func(a *flowtest.Authenticator) { a.Origin = "http://app.example" })),
		"a key for another domain": finish(ann, state, spoilt(func(a *flowtest.Authenticator) { a.RPID = "evil.example" })),
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
	finish := func(t *testing.T, s *memstore.Store, state, answer []byte) (*flow.PasskeyProof, error) {
		return site.FinishLogin(t.Context(), s, s.User, state, answer, now)
	}
	for _, row := range []struct {
		name  string
		spoil func(ann, bob *flowtest.Authenticator)
		any   bool // good where nobody is known
		known bool // good where ann is
	}{
		{"as it should be", func(_, _ *flowtest.Authenticator) {}, true, true},
		{"without a user handle", func(a, _ *flowtest.Authenticator) { a.Handle = nil }, false, true},
		{"the user was not verified", func(a, _ *flowtest.Authenticator) { a.Unverified = true }, false, false},
		{"another site", func(a, _ *flowtest.Authenticator) { a.Origin = "https://evil.example" }, false, false},
		{"another port", func(a, _ *flowtest.Authenticator) { a.Origin = origin + ":8443" }, false, false},
		{"for another domain", func(a, _ *flowtest.Authenticator) { a.RPID = "example" }, false, false},
		{"another key", func(a, b *flowtest.Authenticator) { a.Key = b.Key }, false, false},
		{"bob's key and handle", func(a, b *flowtest.Authenticator) { a.ID, a.Key, a.Handle = b.ID, b.Key, b.Handle }, true, false},
		{"ann's key, bob's handle", func(a, b *flowtest.Authenticator) { a.Handle = b.Handle }, false, false},
		{"bob's key, ann's handle", func(a, b *flowtest.Authenticator) { a.ID, a.Key = b.ID, b.Key }, false, false},
		{"a handle of nobody", func(a, _ *flowtest.Authenticator) { a.Handle = []byte("nobody") }, false, false},
		{"a counter that stands still", func(a, _ *flowtest.Authenticator) { a.Counter-- }, false, false},
		{"a counter that is gone", func(a, _ *flowtest.Authenticator) { a.Counter, a.Uncounted = 0, true }, false, false},
		{"a key that became synced", func(a, _ *flowtest.Authenticator) { a.Synced = true }, false, false},
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
				whose := map[string]string{string(ann.ID): "ann", string(bob.ID): "bob"}
				row.spoil(ann, bob)
				text, state, err := site.BeginLogin(t.Context(), s, who)
				if err != nil {
					t.Fatal(err)
				}
				if o := read(t, text); o.UserVerification != "required" || (len(o.Allow) > 0) != known {
					t.Errorf("options %s", text)
				}
				answer := ann.Get(text)
				proof, err := finish(t, s, state, answer)
				if want != (err == nil) || err != nil && !errors.Is(err, factor.ErrRefused) {
					t.Fatalf("known %t: got %+v, %v; want success %t", known, proof, err, want)
				}
				if err == nil && (proof.User.ID != whose[string(ann.ID)] || !slices.Contains(proof.AMR, "mfa") || !slices.Contains(proof.AMR, "hwk")) {
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
	ann.Unverified = true
	weak := strings.ReplaceAll(string(state), `"required"`, `"preferred"`)
	if proof, err := site.FinishLogin(t.Context(), s, s.User, []byte(weak), ann.Get(text), now); !errors.Is(err, factor.ErrRefused) {
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
	answer := ann.Get(text)
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
	a := flowtest.NewAuthenticator(t, origin)
	a.Synced, a.Uncounted = true, true
	register(t, s, user(t, s, "ann"), a)
	for range 3 {
		text, state, err := site.BeginLogin(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := site.FinishLogin(t.Context(), s, s.User, state, a.Get(text), now)
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
		if err != nil || read(t, text).RPID != want {
			t.Errorf("%q: got %s, %v; want %s", base, text, err, want)
		}
	}
	for s, ok := range map[passkey.Site]bool{
		{}:                                     true,
		{RPID: "app.example"}:                  true,
		{RPID: "id.app.example"}:               true,
		{BaseURL: "https://id.app.example/id"}: true,
		{BaseURL: "https://app.example/id"}:    false,
		{RPID: "evil.example"}:                 false,
		{RPID: "p.example"}:                    false,
		{RPID: "x.id.app.example"}:             false,
	} {
		if _, err := s.At("https://id.app.example/id", "App"); (err == nil) != ok {
			t.Errorf("%+v: got %v, want ok %t", s, err, ok)
		}
	}
	if _, err := (passkey.Site{}).At("http://127.0.0.1:8080/id", ""); !errors.Is(err, passkey.ErrNoSite) {
		t.Errorf("an IP address: got %v", err)
	}
	parent := passkey.Site{BaseURL: "https://id.app.example", RPID: "app.example"}
	if text, _, err := parent.BeginLogin(t.Context(), memstore.New(), nil); err != nil || read(t, text).RPID != "app.example" {
		t.Errorf("parent domain: %s, %v", text, err)
	}
}

var step = flow.Flow{
	{ID: "passkey", When: flow.Alternative, Do: factor.Passkey{}},
	{ID: "other", When: flow.Alternative, Do: other{}},
}

type other struct{ factor.Passkey }

func (other) Authenticate(context.Context, *flow.Turn) (flow.Result, error) {
	return flow.Deny("other_way"), nil
}

func start(t testing.TB, s *memstore.Store, f flow.Flow, d *flow.Draft) *flowtest.Driver {
	t.Helper()
	return flowtest.Start(t, f, flowtest.Login{Draft: d, Accounts: s, Lent: flow.Lent{
		Credentials: s, Transient: s, Passwords: &factor.Passwords{Memory: 8, Time: 1}, Passkeys: site,
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
	d := start(t, s, step, &flow.Draft{Existing: &flow.Existing{UserID: "bob", Field: "email"}})
	if o := read(t, optionsOf(d)); len(o.Allow) > 0 {
		t.Errorf("the page tells which passkeys an account has: %s", optionsOf(d))
	}
	first := optionsOf(d)
	for _, form := range []url.Values{nil, answer(nil), answer([]byte("{}")), answer([]byte("null"))} {
		d.Answer(form)
		if got := d.Page("passkey").Errors["credential"]; got != "refused" {
			t.Errorf("%v: got error %q", form, got)
		}
	}
	d.Answer(answer(ann.Get(first))) // the challenge of a page before
	if got := d.Page("passkey").Errors["credential"]; got != "refused" || d.Draft().UserID != "" {
		t.Errorf("an old challenge: got error %q, draft %+v", got, d.Draft())
	}
	d.Replay(0, answer(ann.Get(first)))
	d.Answer(answer(ann.Get(optionsOf(d))))
	if got := d.Done(); got.UserID != "ann" || !slices.Equal(got.AMR, []string{"hwk", "user", "mfa"}) {
		t.Errorf("got %+v", got)
	}

	d = start(t, s, step, &flow.Draft{UserID: "ann"})
	d.Answer(answer(bob.Get(optionsOf(d))))
	if got := d.Page("passkey").Errors["credential"]; got != "refused" {
		t.Errorf("bob's passkey for ann: got error %q", got)
	}
	d.Answer(answer(ann.Get(optionsOf(d))))
	if got := d.Done(); got.UserID != "ann" {
		t.Errorf("got %+v", got)
	}

	if err := s.CreateUser(t.Context(), &store.User{ID: "without", Username: "without"}); err != nil {
		t.Fatal(err)
	}
	start(t, s, step, &flow.Draft{UserID: "without"}).Denied("other_way")
	start(t, s, step, &flow.Draft{New: true}).Denied("other_way")
	flowtest.Start(t, step, flowtest.Login{Accounts: s}).Denied("other_way")
	d = start(t, s, step, &flow.Draft{})
	d.Answer(url.Values{"another": {""}, "credential": {string(ann.Get(optionsOf(d)))}})
	d.Denied("other_way")

	u := user(t, s, "ann")
	u.Disabled = true
	if err := s.UpdateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	d = start(t, s, step, &flow.Draft{})
	d.Answer(answer(ann.Get(optionsOf(d))))
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
		{ID: "passkey", Do: factor.Passkey{}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
		}},
	}
	d := start(t, s, f, &flow.Draft{})
	d.Answer(answer(ann.Get(optionsOf(d))))
	d.Done()
}

// A step that asks for a name and a password takes a passkey in their place, where it is told to and there are passkeys.
func TestPasswordOrPasskey(t *testing.T) {
	t.Parallel()
	s, ann, bob := newStore(t)
	f := func(orPasskey bool) flow.Flow {
		return flow.Flow{{ID: "password", Do: factor.UsernamePassword{OrPasskey: orPasskey}}, {ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
		}}}
	}
	if err := s.CreateCredential(t.Context(), &store.Credential{ID: "1", UserID: "ann", Kind: store.CredentialTOTP, Secret: make([]byte, 20)}); err != nil {
		t.Fatal(err)
	}
	offered := func(d *flowtest.Driver) []byte {
		text, _ := d.Page("password").Data["passkey"].(string)
		return []byte(text)
	}
	begin := func(d *flow.Draft) *flowtest.Driver { return start(t, s, f(true), d) }
	if text := offered(start(t, s, f(false), &flow.Draft{})); len(text) > 0 {
		t.Errorf("a passkey is offered: %s", text)
	}
	d := start(t, s, f(false), &flow.Draft{})
	d.Answer(answer(ann.Get(optionsAt(t, s))))
	if d.Page("password").Errors["credential"] != "" || d.Draft().UserID != "" {
		t.Errorf("a passkey is taken: %+v", d.Draft())
	}

	d = begin(&flow.Draft{Existing: &flow.Existing{UserID: "ann", Field: "email"}})
	first := offered(d)
	if o := read(t, first); len(o.Allow) > 0 || o.RPID != "app.example" {
		t.Errorf("options %s", first)
	}
	d.Answer(answer(nil))
	d.Answer(answer(ann.Get(first))) // the challenge of a page before
	if got := d.Page("password").Errors["credential"]; got != "refused" {
		t.Errorf("got error %q", got)
	}
	d.Answer(url.Values{"username": {"ann"}, "password": {"a guess"}})
	if got := d.Page("password").Errors["password"]; got != "refused" || len(offered(d)) == 0 {
		t.Errorf("got error %q, options %s", got, offered(d))
	}
	d.Answer(answer(ann.Get(offered(d))))
	if got := d.Done(); got.UserID != "ann" || !slices.Equal(got.AMR, []string{"hwk", "user", "mfa"}) {
		t.Errorf("got %+v", got)
	}

	d = begin(&flow.Draft{UserID: "ann"}) // who has no password
	d.Answer(answer(bob.Get(offered(d))))
	if got := d.Page("password").Errors["credential"]; got != "refused" || d.Draft().AMR != nil {
		t.Errorf("bob's passkey for ann: got error %q", got)
	}
	d.Answer(answer(ann.Get(offered(d))))
	d.Done()
}

// optionsAt returns options of a page that is nobody's.
func optionsAt(t testing.TB, s *memstore.Store) []byte {
	t.Helper()
	text, _, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// careless passkeys ask for anybody's where one of a user was to be asked for.
type careless struct{ passkey.Site }

func (c careless) BeginLogin(ctx context.Context, kept store.Credentials, _ *store.User) (options, state []byte, err error) {
	return c.Site.BeginLogin(ctx, kept, nil)
}

// The step itself sees to it that who is known proves to be that.
func TestStepWithCarelessPasskeys(t *testing.T) {
	t.Parallel()
	s, _, bob := newStore(t)
	d := flowtest.Start(t, step, flowtest.Login{Draft: &flow.Draft{UserID: "ann"}, Accounts: s, Lent: flow.Lent{
		Credentials: s, Transient: s, Passwords: &factor.Passwords{Memory: 8, Time: 1}, Passkeys: careless{site},
	}})
	d.Answer(answer(bob.Get(optionsOf(d))))
	if got := d.Page("passkey").Errors["credential"]; got != "refused" || d.Draft().UserID != "ann" || d.Draft().AMR != nil {
		t.Errorf("bob's passkey for ann: got error %q, draft %+v", got, d.Draft())
	}
}
