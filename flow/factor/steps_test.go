package factor_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// reauth is how an existing account proves itself.
var reauth = flow.Flow{
	{ID: "password", Do: factor.UsernamePassword{}},
	{ID: "second", When: flow.Conditional, Sub: flow.Flow{
		{ID: "needs-second", Do: factor.NeedsSecond()},
		{ID: "code", Do: factor.SecondFactor{}},
	}},
}

func form(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

// start begins f for somebody whose e-mail address is that of ann, who exists.
func (w *world) start(t testing.TB, f flow.Flow) *flowtest.Driver {
	t.Helper()
	return w.startAs(t, f, &flow.Draft{
		Profile:  provider.Profile{Email: "ann@example.com", Username: "annie"},
		Existing: &flow.Existing{UserID: "ann", Field: "email"},
	})
}

func (w *world) startAs(t testing.TB, f flow.Flow, d *flow.Draft) *flowtest.Driver {
	t.Helper()
	return flowtest.Start(t, f, flowtest.Login{Draft: d, Accounts: w.store, Now: w.clock(), Lent: w.lent()})
}

func errorsOf(t testing.TB, d *flowtest.Driver, page string, want ...string) {
	t.Helper()
	var got []string
	for _, field := range slices.Sorted(maps.Keys(d.Page(page).Errors)) {
		got = append(got, field+" "+d.Page(page).Errors[field])
	}
	if !slices.Equal(got, want) {
		t.Fatalf("page %s has errors %q, want %q", page, got, want)
	}
}

func TestUsernamePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.user(t, "bob")

	d := w.start(t, reauth)
	if page := d.Page("password"); page.Data["username"] != "ann@example.com" || page.Data["fixed"] != false || page.Data["another"] != false {
		t.Errorf("page has %v", page.Data)
	}
	d.Answer(nil)
	errorsOf(t, d, "password", "password required", "username required")
	d.Answer(form("username", "ann"))
	errorsOf(t, d, "password", "password required")
	d.Answer(form("username", "", "password", right))
	errorsOf(t, d, "password", "username required")
	d.Answer(form("username", "Ann", "password", wrong, "another", ""))
	errorsOf(t, d, "password", "password refused")
	if name := d.Page("password").Data["username"]; name != "Ann" {
		t.Errorf("the name became %q", name)
	}
	refused := fmt.Sprint(d.Page("password").Errors)
	d.Answer(form("username", "nobody", "password", right))
	if got := fmt.Sprint(d.Page("password").Errors); got != refused {
		t.Errorf("nobody is told apart: %s, %s", got, refused)
	}
	if d.Draft().UserID != "" || d.Draft().AMR != nil {
		t.Errorf("decided on %+v without proof", d.Draft())
	}
	d.Answer(form("username", " BOB@example.com ", "password", right))
	if got := d.Done(); got.UserID != "bob" || !slices.Equal(got.AMR, []string{"pwd"}) {
		t.Errorf("got %+v, want bob, who has proved to be that", got)
	}
}

// What a page shows is what the visitor brought, not what the account is called.
func TestPasswordPageTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	for field, want := range map[string]string{"email": "ann@example.com", "username": "annie"} {
		d := w.startAs(t, flow.Flow{{ID: "password", Do: factor.Password{}}}, &flow.Draft{
			Profile:  provider.Profile{Email: "ann@example.com", Username: "annie"},
			Existing: &flow.Existing{UserID: "ann", Field: field},
		})
		if page := d.Page("password"); page.Data["username"] != want || page.Data["fixed"] != true {
			t.Errorf("by %s: page has %v, want %s", field, page.Data, want)
		}
	}
}

func TestPasswordOfKnownUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.user(t, "bob")
	f := flow.Flow{{ID: "password", When: flow.Alternative, Do: factor.Password{}}, {ID: "deny", When: flow.Alternative, Do: deny{}}}
	d := w.start(t, f)
	d.Answer(form("username", "bob", "password", wrong))
	errorsOf(t, d, "password", "password refused")
	d.Answer(form("username", "bob", "password", right))
	if got := d.Done(); got.UserID != "ann" {
		t.Errorf("decided on %s, want the one who was found", got.UserID)
	}

	w.startAs(t, f, &flow.Draft{}).Denied("no_other_way")
	w.startAs(t, f, &flow.Draft{UserID: "without"}).Denied("no_other_way")
	w.startAs(t, f, &flow.Draft{New: true, Existing: &flow.Existing{UserID: "ann"}}).Denied("no_other_way")
	d = w.startAs(t, f, &flow.Draft{Existing: &flow.Existing{UserID: "deleted", Field: "email"}})
	d.Answer(form("password", right))
	errorsOf(t, d, "password", "password refused")
	d.Answer(form("another", "", "password", right))
	d.Denied("no_other_way")
	d = w.startAs(t, flow.Flow{{ID: "name", Do: factor.UsernamePassword{}}}, &flow.Draft{UserID: "bob"})
	d.Answer(form("username", "ann", "password", right))
	if got := d.Done(); got.UserID != "bob" {
		t.Errorf("decided on %s, though bob was decided on", got.UserID)
	}
	flowtest.Start(t, f, flowtest.Login{Accounts: w.store, Draft: &flow.Draft{UserID: "ann"}}).Denied("no_other_way")
}

type deny struct{ factor.Password }

func (deny) Authenticate(_ context.Context, _ *flow.Turn) (flow.Result, error) {
	return flow.Deny("no_other_way"), nil
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	code := w.totp(t, "ann")
	w.pass(time.Minute)
	d := w.start(t, reauth)
	d.Answer(form("username", "ann", "password", right))
	if another := d.Page("otp").Data["another"]; another != false {
		t.Errorf("another way is offered, and there is none")
	}
	d.Replay(0, form("username", "ann", "password", right))
	d.Answer(nil)
	errorsOf(t, d, "otp", "code required")
	d.Answer(form("code", " - "))
	errorsOf(t, d, "otp", "code required")
	d.Answer(form("another", ""))
	errorsOf(t, d, "otp", "code required")
	d.Answer(form("code", "000000"))
	errorsOf(t, d, "otp", "code refused")
	now := code()
	d.Answer(form("code", now))
	if got := d.Done(); got.UserID != "ann" || !slices.Equal(got.AMR, []string{"pwd", "otp", "mfa"}) {
		t.Errorf("got %+v", got)
	}

	d = w.start(t, reauth)
	d.Answer(form("username", "ann", "password", right))
	d.Answer(form("code", now))
	errorsOf(t, d, "otp", "code refused")

	codes, err := w.NewRecoveryCodes(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	d = w.start(t, reauth)
	d.Answer(form("username", "ann", "password", right))
	d.Answer(form("another", ""))
	d.Answer(form("code", now)) // of the other kind
	errorsOf(t, d, "recovery", "code refused")
	d.Answer(form("another", ""))
	d.Page("otp")
	d.Answer(form("another", ""))
	d.Answer(form("code", strings.ToLower(codes[9])))
	d.Done()
}

// One who is locked out of codes is locked out in each login, and beginning again does not help.
func TestSecondFactorLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	code := w.totp(t, "ann")
	w.pass(time.Minute)
	for range 5 {
		d := w.start(t, reauth)
		d.Answer(form("username", "ann", "password", right))
		d.Answer(form("code", "000000"))
		errorsOf(t, d, "otp", "code refused")
	}
	d := w.start(t, reauth)
	d.Answer(form("username", "ann", "password", right))
	d.Answer(form("code", code()))
	errorsOf(t, d, "otp", "code refused")
}

func TestCodeSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.user(t, "bob")
	code := w.totp(t, "ann")
	w.pass(time.Minute)
	f := flow.Flow{
		{ID: "password", Do: factor.UsernamePassword{}},
		{ID: "second", Sub: flow.Flow{
			{ID: "otp", When: flow.Alternative, Do: factor.OTP{}},
			{ID: "recovery", When: flow.Alternative, Do: factor.RecoveryCode{}},
		}},
	}
	d := w.start(t, f)
	d.Answer(form("username", "bob", "password", right))
	d.Denied(flow.ReasonSkipped) // he has neither, and one is required

	codes, err := w.NewRecoveryCodes(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	d = w.start(t, f)
	d.Answer(form("username", "bob", "password", right))
	d.Answer(form("code", codes[0]))
	d.Done()

	d = w.start(t, f)
	d.Answer(form("username", "ann", "password", right))
	if d.Page("otp").Data["another"] != true {
		t.Error("no other way is offered")
	}
	d.Answer(form("code", code()))
	d.Done()
	d = w.start(t, f)
	d.Answer(form("username", "ann", "password", right))
	d.Answer(form("another", ""))
	d.Page("otp") // she has no other way

	alone := flow.Flow{{ID: "otp", Do: factor.OTP{}}} // nobody has proved anything: the codes of ann are not asked for
	w.start(t, alone).Denied(flow.ReasonSkipped)
}

// A passkey that has verified its user needs no second factor.
func TestNeedsSecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.user(t, "bob")
	w.totp(t, "ann")
	f := flow.Flow{
		{ID: "first", Do: succeed{}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
		}},
		{ID: "app", When: flow.Conditional, Sub: flow.Flow{
			{ID: "has-app", Do: factor.Has(store.CredentialTOTP)}, {ID: "denied", Do: deny{}},
		}},
	}
	w.startAs(t, f, &flow.Draft{UserID: "ann"}).Page("otp")
	w.startAs(t, f, &flow.Draft{UserID: "ann", AMR: []string{"hwk", "mfa"}}).Denied("no_other_way")
	w.startAs(t, f, &flow.Draft{UserID: "bob"}).Done()
	w.startAs(t, f, &flow.Draft{}).Done()

	lent := w.lent()
	lent.Credentials = &broken{}
	s, turn := flow.State{}, &flow.Turn{Draft: &flow.Draft{UserID: "ann"}, Accounts: w.store, Lent: lent}
	if out, err := f.Run(t.Context(), &s, turn); err == nil {
		t.Errorf("nobody knows whether there is a second factor, and the flow got to %+v", out)
	}
}

type succeed struct{ factor.Password }

func (succeed) Authenticate(_ context.Context, _ *flow.Turn) (flow.Result, error) {
	return flow.Success(), nil
}

func TestDisabledUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.user(t, "ann")
	ann.Disabled = true
	if err := w.store.UpdateUser(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	d := w.start(t, reauth)
	d.Answer(form("username", "ann", "password", wrong))
	errorsOf(t, d, "password", "password refused")
	d.Answer(form("username", "ann", "password", right))
	d.Denied(factor.UserDisabled)
}

// A locked account looks as one that does not exist, in everything.
func TestLockedLooksLikeNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	pages := map[string]string{}
	for _, name := range []string{"ann", "nobody"} {
		d := w.start(t, reauth)
		for range 7 {
			d.Answer(form("username", name, "password", wrong))
			pages[name] += strings.ReplaceAll(fmt.Sprintln(d.Outcome().Kind, *d.Page("password")), name, "NAME")
		}
		d.Answer(form("username", name, "password", right))
		pages[name] += strings.ReplaceAll(fmt.Sprintln(d.Outcome().Kind, *d.Page("password")), name, "NAME")
	}
	if pages["ann"] != pages["nobody"] {
		t.Errorf("the account is shown\n%s\nand nobody\n%s", pages["ann"], pages["nobody"])
	}
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	lent := w.lent()
	lent.Source = "203.0.113.7"
	d := flowtest.Start(t, reauth, flowtest.Login{Accounts: w.store, Now: w.now, Lent: lent})
	for i := range 20 {
		d.Answer(form("username", fmt.Sprint("name", i), "password", wrong))
		errorsOf(t, d, "password", "password refused")
	}
	d.Answer(form("username", "ann", "password", right))
	errorsOf(t, d, "password", "password too_many")
}

func TestUpdatePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.setPassword(t, "ann", "given by an admin", true)
	w.user(t, "bob")
	f := flow.Flow{{ID: "password", Do: factor.UsernamePassword{}}, {ID: "update", Do: factor.UpdatePassword{}}}
	d := w.start(t, f)
	d.Answer(form("username", "ann", "password", "given by an admin"))
	if page := d.Page("new-password"); page.Data["username"] != "ann" || page.Data["must"] != true {
		t.Errorf("page has %v", page.Data)
	}
	for _, row := range []struct {
		password, repeat string
		want             []string
	}{
		{"", "", []string{"password required", "repeat required"}},
		{"a new password", "a new passwort", []string{"repeat not_repeated"}},
		{"short", "short", []string{"password too_short"}},
		{"ann@example.com", "ann@example.com", []string{"password is_name"}},
		{"given by an admin", "given by an admin", []string{"password same"}},
	} {
		d.Answer(form("password", row.password, "repeat", row.repeat))
		errorsOf(t, d, "new-password", row.want...)
	}
	d.Answer(form("password", "a new password", "repeat", "a new password"))
	hash := d.Done().Password
	if ok, _, err := w.Passwords.Verify(t.Context(), hash, "a new password"); !ok || err != nil {
		t.Errorf("the draft's hash %s is not of the new password (%v)", hash, err)
	}
	want(t, "until it is committed, the old password", w.try(t, factor.Attempt{UserID: "ann"}, "given by an admin"), nil)
	if err := w.SetPassword(t.Context(), "ann", hash, false); err != nil {
		t.Fatal(err)
	}
	d = w.start(t, f)
	d.Answer(form("username", "ann", "password", "a new password"))
	if got := d.Done(); got.Password != nil {
		t.Errorf("asked again and got %s", got.Password)
	}

	missing := flow.Flow{{ID: "update", Do: factor.UpdatePassword{Missing: true}}}
	w.startAs(t, missing, &flow.Draft{UserID: "bob"}).Done()
	d = w.startAs(t, missing, &flow.Draft{New: true, Profile: provider.Profile{Username: "new-name", Email: "new@example.com"}})
	d.Answer(form("password", "New-Name", "repeat", "New-Name"))
	errorsOf(t, d, "new-password", "password is_name")
	w.startAs(t, missing, &flow.Draft{}).Denied(flow.ReasonSkipped)
	optional := flow.Flow{{ID: "update", Do: factor.UpdatePassword{}}}
	w.startAs(t, optional, &flow.Draft{New: true}).Done()
}

// What a step decided is undone with the sub-flow that it stands in.
func TestProofsAreUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	f := flow.Flow{
		{ID: "one", When: flow.Alternative, Sub: flow.Flow{
			{ID: "alt", When: flow.Alternative, Sub: flow.Flow{{ID: "password", Do: factor.Password{}}, {ID: "fail", Do: fail{}}}},
		}},
		{ID: "two", When: flow.Alternative, Do: succeed{}},
	}
	d := w.start(t, f)
	d.Answer(form("password", right))
	if got := d.Done(); got.UserID != "" || got.AMR != nil || got.Password != nil {
		t.Errorf("the draft still has %+v", got)
	}
}

type fail struct{}

func (fail) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	t.Draft.Password = []byte("x")
	return flow.Result{}, errBroken
}
