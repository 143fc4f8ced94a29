package firstlogin_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// The rows of first logins in which HTTP plays no part; the others are in the package broker.

var bob = provider.Identity{Subject: "1", Username: "bob", Email: "bob@example.com", EmailVerified: true, FirstName: "Bob", LastName: "B"}

var trusted = flow.Provider{Alias: "up", Name: "Up", TrustEmail: true}

func reviewed(mode firstlogin.ReviewMode) flow.Flow {
	f := firstlogin.Default()
	f[0].Do = firstlogin.ReviewProfile{Mode: mode}
	return f
}

func without(edit func(id *provider.Identity)) *provider.Identity {
	id := bob
	edit(&id)
	return &id
}

func TestRow01CompleteProfile(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, firstlogin.Default(), flowtest.Login{Provider: trusted, Identity: &bob}).Done()
	if !d.New || d.Profile.Username != "bob" || d.EditedEmail || d.EditedUsername {
		t.Errorf("got %+v, want a new user without a form", d)
	}
}

func TestRow02ReviewOn(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, reviewed(firstlogin.ReviewOn), flowtest.Login{Provider: trusted, Identity: &bob})
	page := d.Page("review")
	for field, want := range map[string]string{"username": "bob", "email": "bob@example.com", "first_name": "Bob", "last_name": "B"} {
		if page.Data[field] != want {
			t.Errorf("%s is prefilled with %v, want %s", field, page.Data[field], want)
		}
	}
	d.Answer(url.Values{"username": {"Robert"}, "email": {"BOB@Example.com"}, "first_name": {" Robert "}, "last_name": {"B"}})
	got := d.Done()
	if p := got.Profile; p.Username != "robert" || p.Email != "bob@example.com" || !p.EmailVerified || p.FirstName != "Robert" || p.Name != "Robert B" {
		t.Errorf("got %+v", p)
	}
	if got.EditedEmail || !got.EditedUsername {
		t.Errorf("got %+v: another spelling of an address is the same one, another username is not", got)
	}
}

func TestRow03ReviewMissing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		edit func(id *provider.Identity)
		asks bool
	}{
		"nothing":           {func(*provider.Identity) {}, false},
		"one full name":     {func(id *provider.Identity) { id.FirstName, id.LastName, id.Name = "", "", "Bob B" }, false},
		"username":          {func(id *provider.Identity) { id.Username = "" }, false}, // it is the address
		"e-mail":            {func(id *provider.Identity) { id.Email = "" }, true},
		"e-mail that is no": {func(id *provider.Identity) { id.Email = "bob@a@b" }, true},
		"names":             {func(id *provider.Identity) { id.FirstName, id.LastName = "", "" }, true},
		"last name":         {func(id *provider.Identity) { id.LastName = " " }, true},
	} {
		d := flowtest.Start(t, firstlogin.Default(), flowtest.Login{Identity: without(row.edit)})
		if asks := d.Outcome().Kind == flow.Asked; asks != row.asks {
			t.Errorf("without %s: asked is %t, want %t", name, asks, row.asks)
		}
	}
	d := flowtest.Start(t, firstlogin.Default(), flowtest.Login{Identity: without(func(id *provider.Identity) { id.Email = "" })})
	good := func() url.Values {
		return url.Values{"username": {"bob"}, "email": {"bob@example.com"}, "first_name": {"Bob"}, "last_name": {"B"}}
	}
	for field, values := range map[string][]string{
		"email":      {"", " ", "bob", "bob@a@b", "bob@localhost\nx", strings.Repeat("x", 300) + "@example.com"},
		"first_name": {"", "B\x00b", strings.Repeat("x", 256)},
		"last_name":  {"", "\xff"},
		"username":   {"b\u200bob", strings.Repeat("x", 300)},
	} {
		for _, value := range values {
			form := good()
			form.Set(field, value)
			d.Answer(form)
			if errs := d.Page("review").Errors; len(errs) != 1 || errs[field] == "" {
				t.Errorf("%s %.20q: errors %v, want one about it", field, value, errs)
			}
		}
	}
	d.Answer(nil) // an empty answer is one
	d.Page("review")
	d.Answer(good())
	if got := d.Done(); !got.New || got.Profile.EmailVerified || !got.EditedEmail {
		t.Errorf("got %+v, want a new user whose address nobody vouches for", got)
	}
}

// Whose name looks like somebody's address, and is not their own, would stand in that person's way.
func TestReviewRefusesForeignAddressAsName(t *testing.T) {
	t.Parallel()
	form := func(username, email string) url.Values {
		return url.Values{"username": {username}, "email": {email}, "first_name": {"Bob"}, "last_name": {"B"}}
	}
	d := flowtest.Start(t, reviewed(firstlogin.ReviewOn), flowtest.Login{Identity: &bob})
	d.Answer(form("CEO@corp.example", "bob@example.com"))
	if errs := d.Page("review").Errors; errs["username"] != "invalid" {
		t.Errorf("errors %v", errs)
	}
	d.Answer(form("Bob@example.com", "bob@example.com"))
	if got := d.Done(); got.Profile.Username != "bob@example.com" {
		t.Errorf("got %+v", got.Profile)
	}
	id := without(func(id *provider.Identity) { id.Username = "bob@corp.example" }) // what the upstream calls them is theirs
	d = flowtest.Start(t, reviewed(firstlogin.ReviewOn), flowtest.Login{Identity: id})
	d.Answer(form("bob@corp.example", "bob@example.com"))
	d.Done()
}

// Where the account's address changes while the mail is under way, no other mail goes to the new one.
func TestNoMailToAnotherAddress(t *testing.T) {
	t.Parallel()
	o := newOffice()
	all := accounts(&store.User{Username: "ann", Email: "bob@example.com"})
	d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), flowtest.Login{Identity: &bob, Lent: o.lent(), Accounts: all})
	all.Users[0].Email = "new@example.com"
	d.Answer(url.Values{"resend": {"1"}})
	if len(o.sent) != 1 || d.Done().UserID != "proved" {
		t.Errorf("%d mails, want the first one alone, and another way", len(o.sent))
	}
}

func TestRow04ReviewOff(t *testing.T) {
	t.Parallel()
	id := without(func(id *provider.Identity) { id.Email, id.FirstName = "", "" })
	if d := flowtest.Start(t, reviewed(firstlogin.ReviewOff), flowtest.Login{Identity: id}).Done(); !d.New || d.Profile.Username != "bob" {
		t.Errorf("got %+v, want a new user", d)
	}
}

func TestRow05NoUsername(t *testing.T) {
	t.Parallel()
	for _, mode := range []firstlogin.ReviewMode{firstlogin.ReviewMissing, firstlogin.ReviewOn, firstlogin.ReviewOff} {
		id := without(func(id *provider.Identity) { id.Username, id.Email = "", "" })
		d := flowtest.Start(t, reviewed(mode), flowtest.Login{Identity: id})
		d.Page("review")
		d.Answer(url.Values{"first_name": {"Bob"}, "last_name": {"B"}})
		if errs := d.Page("review").Errors; errs["username"] != "required" {
			t.Errorf("%v: errors %v", mode, errs)
		}
		d.Answer(url.Values{"first_name": {"Bob"}, "last_name": {"B"}, "username": {"bobby"}, "email": {"b@example.com"}})
		if got := d.Done(); got.Profile.Username != "bobby" {
			t.Errorf("%v: got %+v", mode, got.Profile)
		}
	}
}

func TestRow08SharedEmail(t *testing.T) {
	t.Parallel()
	f := firstlogin.Default()
	f[1].Sub[0].Do = firstlogin.CreateUserIfUnique{SharedEmail: true}
	all := accounts(&store.User{Username: "other", Email: "bob@example.com", SharedEmail: true})
	if d := flowtest.Start(t, f, flowtest.Login{Identity: &bob, Accounts: all}).Done(); !d.New || !d.SharedEmail {
		t.Errorf("got %+v, want a second user with the address", d)
	}
}

// An office lends a mailer and what it needs.
type office struct {
	marks *memstore.Store
	sent  []flow.Mail
	err   error
}

func newOffice() *office { return &office{marks: memstore.New()} }

func (o *office) lent() flow.Lent {
	return flow.Lent{BaseURL: "https://id.example", Transient: o.marks, Journey: "journey", Start: "/login", Mail: func(_ context.Context, m flow.Mail) error {
		if o.err == nil {
			o.sent = append(o.sent, m)
		}
		return o.err
	}}
}

// confirm confirms the first link that was mailed, in the browser that has asked for it.
func (o *office) confirm(t *testing.T, users *flowtest.Accounts, now time.Time) {
	t.Helper()
	c := firstlogin.Confirmation{Handle: handleOf(t, o.sent[0]), Journey: "journey"}
	if _, err := firstlogin.ConfirmProof(t.Context(), o.marks, users, c, now); err != nil {
		t.Fatal(err)
	}
}

// emailOnly asks for a proof by mail, and then for one that is none of the package's.
func emailOnly(mode firstlogin.ReviewMode) flow.Flow {
	return flow.Flow{
		{ID: "review", Do: firstlogin.ReviewProfile{Mode: mode}},
		{ID: "detect", Do: firstlogin.DetectExisting{}},
		{ID: "verify", Sub: flow.Flow{
			{ID: "email", When: flow.Alternative, Do: firstlogin.VerifyByEmail{}},
			{ID: "other", When: flow.Alternative, Do: proof(func(*flow.Turn) {})},
		}},
	}
}

// Row 22 and CVE-2025-7365, and everything else for which no mail goes out.
func TestRow22NoMailFor(t *testing.T) {
	t.Parallel()
	user := func() *store.User { return &store.User{Username: "ann", Email: "ann@example.com"} }
	typed := url.Values{"username": {"bob"}, "email": {"ann@example.com"}, "first_name": {"B"}, "last_name": {"B"}}
	same := url.Values{"username": {"bob"}, "email": {"bob@example.com"}, "first_name": {"B"}, "last_name": {"B"}}
	renamed := url.Values{"username": {"bobby"}, "email": {"bob@example.com"}, "first_name": {"B"}, "last_name": {"B"}}
	has := func(email string, edit func(u *store.User)) []*store.User {
		u := user()
		u.Email = email
		edit(u)
		return []*store.User{u}
	}
	nothing := func(*store.User) {}
	for name, row := range map[string]struct {
		users []*store.User
		form  url.Values
		lend  func(l *flow.Lent)
		mails int
	}{
		"nothing special":        {users: has("bob@example.com", nothing), form: same, mails: 1},
		"address edited":         {users: has("ann@example.com", nothing), form: typed},
		"username edited":        {users: has("bob@example.com", nothing), form: renamed},
		"found by username":      {users: has("ann@example.com", func(u *store.User) { u.Username = "bob" }), form: same},
		"disabled":               {users: has("bob@example.com", func(u *store.User) { u.Disabled = true }), form: same},
		"shared":                 {users: has("bob@example.com", func(u *store.User) { u.SharedEmail = true }), form: same},
		"several":                {users: append(has("bob@example.com", nothing), has("bob@example.com", nothing)...), form: same},
		"no mailer":              {users: has("bob@example.com", nothing), form: same, lend: func(l *flow.Lent) { l.Mail = nil }},
		"no place for marks":     {users: has("bob@example.com", nothing), form: same, lend: func(l *flow.Lent) { l.Transient = nil }},
		"no address of our own":  {users: has("bob@example.com", nothing), form: same, lend: func(l *flow.Lent) { l.BaseURL = "" }},
		"a login without a name": {users: has("bob@example.com", nothing), form: same, lend: func(l *flow.Lent) { l.Journey = "" }},
	} {
		o := newOffice()
		lent := o.lent()
		if row.lend != nil {
			row.lend(&lent)
		}
		d := flowtest.Start(t, emailOnly(firstlogin.ReviewOn), flowtest.Login{Identity: &bob, Accounts: accounts(row.users...), Lent: lent})
		d.Answer(row.form)
		if len(o.sent) != row.mails {
			t.Errorf("%s: %d mails, want %d", name, len(o.sent), row.mails)
		}
		if row.mails > 0 {
			d.Page("verify-email")
			if o.sent[0].To != "bob@example.com" {
				t.Errorf("%s: to %s", name, o.sent[0].To)
			}
			continue
		}
		if d.Done().UserID != "proved" {
			t.Errorf("%s: the other way was not taken: %+v", name, d.Draft())
		}
	}
}

// Where addresses may be shared, they name nobody, and so prove nothing either.
func TestNoMailWhereAddressesAreShared(t *testing.T) {
	t.Parallel()
	o := newOffice()
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{SharedEmail: true}},
		{ID: "email", When: flow.Alternative, Do: firstlogin.VerifyByEmail{}},
	}
	all := accounts(&store.User{Username: "bob", Email: "bob@example.com"})
	flowtest.Start(t, f, flowtest.Login{Identity: &bob, Accounts: all, Lent: o.lent()}).Denied(flow.ReasonUndecided)
	if len(o.sent) > 0 {
		t.Errorf("mailed to %s", o.sent[0].To)
	}
}

func handleOf(t *testing.T, m flow.Mail) string {
	t.Helper()
	u, err := url.Parse(m.Link)
	if err != nil || !strings.HasPrefix(m.Link, "https://id.example/proof?") || len(u.Query().Get("link")) < 40 {
		t.Fatalf("mail %+v has no link: %v", m, err)
	}
	return u.Query().Get("link")
}

// A proof counts once, for the account, identity, address and login that it was made for.
func TestProofIsBound(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		change func(l *flowtest.Login)
		want   bool
	}{
		"the same":         {func(*flowtest.Login) {}, true},
		"another login":    {func(l *flowtest.Login) { l.Lent.Journey = "another" }, false},
		"another subject":  {func(l *flowtest.Login) { l.Identity.Subject = "2" }, false},
		"another issuer":   {func(l *flowtest.Login) { l.Identity.Issuer = "https://other.example" }, false},
		"another provider": {func(l *flowtest.Login) { l.Provider.Alias = "other" }, false},
		"another account":  {func(l *flowtest.Login) { l.Accounts.(*flowtest.Accounts).Users[0].ID = "other" }, false},
		"too late":         {func(l *flowtest.Login) { l.Now = start.Add(15 * time.Minute) }, false},
	} {
		o := newOffice()
		o.marks.Now = func() time.Time { return start }
		login := func() flowtest.Login {
			id := bob
			return flowtest.Login{
				Provider: trusted, Identity: &id, Lent: o.lent(), Now: start, Accounts: accounts(&store.User{Username: "ann", Email: "bob@example.com"}),
			}
		}
		l := login()
		flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), l).Page("verify-email")
		users := l.Accounts.(*flowtest.Accounts)
		o.confirm(t, users, start)
		l = login()
		row.change(&l)
		d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), l)
		if !row.want {
			d.Page("verify-email")
			d.Answer(url.Values{"confirmed": {"1"}})
		}
		if got := d.Outcome().Kind == flow.Done; got != row.want {
			t.Errorf("%s: linked is %t, want %t", name, got, row.want)
		}
		if !row.want {
			continue
		}
		if draft := d.Done(); draft.UserID != "user-0" || draft.ProvedEmail != "bob@example.com" {
			t.Errorf("%s: got %+v", name, draft)
		}
		again := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), login())
		again.Answer(url.Values{"confirmed": {"1"}})
		again.Page("verify-email") // it was used
	}
}

// A mail that asks whether an address is somebody's asks for nothing more: what it proves links nobody, even in the same login.
func TestProofOfAddressLinksNobody(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	o := newOffice()
	o.marks.Now = func() time.Time { return start }
	id := bob
	login := flowtest.Login{
		Provider: trusted, Identity: &id, Lent: o.lent(), Now: start, Accounts: accounts(&store.User{Username: "ann", Email: "bob@example.com"}),
	}
	found := login
	found.Draft = &flow.Draft{UserID: "user-0"}
	flowtest.Start(t, flow.Flow{{ID: "verify", Do: firstlogin.VerifyEmail{}}}, found).Page("verify-email")
	o.confirm(t, login.Accounts.(*flowtest.Accounts), start)
	d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), login)
	d.Page("verify-email")
	d.Answer(url.Values{"confirmed": {"1"}})
	d.Page("verify-email")
}

// CVE-2026-92358: what was unlinked is not linked again by a mail, or a proof, from before, whatever the clock says of the node that
// it was unlinked at. What is mailed after that is good, if the visitor wants it.
func TestProofIsRevoked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key := store.LinkKey{Provider: "upstream", Subject: bob.Subject}
	for _, skew := range []time.Duration{0, -time.Minute, time.Minute} {
		for _, clicked := range []bool{false, true} {
			o := newOffice()
			all := accounts(&store.User{Username: "ann", Email: "bob@example.com"})
			revoke := func() {
				if err := firstlogin.RevokeProofs(t.Context(), o.marks, "user-0", key, now.Add(skew)); err != nil {
					t.Fatal(err)
				}
			}
			revoke() // and one before, which is none for what comes now
			d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), flowtest.Login{Identity: &bob, Lent: o.lent(), Now: now, Accounts: all})
			confirm := func(m flow.Mail) error {
				_, err := firstlogin.ConfirmProof(t.Context(), o.marks, all, firstlogin.Confirmation{Handle: handleOf(t, m), Journey: "journey"}, now)
				return err
			}
			if clicked {
				if err := confirm(o.sent[0]); err != nil {
					t.Fatal(err)
				}
			}
			revoke()
			if err := confirm(o.sent[0]); !clicked && !errors.Is(err, firstlogin.ErrProofRevoked) {
				t.Errorf("by %v, confirmed after that: %v", skew, err)
			}
			d.Answer(url.Values{"confirmed": {"1"}})
			d.Page("verify-email")
			d.Answer(url.Values{"resend": {"1"}})
			if err := confirm(o.sent[1]); err != nil {
				t.Errorf("by %v, mailed after that: %v", skew, err)
			}
			d.Answer(url.Values{"confirmed": {"1"}})
			d.Done()
		}
	}
}

func TestProofErrors(t *testing.T) {
	t.Parallel()
	o := newOffice()
	now := time.Now()
	all := accounts(&store.User{Username: "ann", Email: "bob@example.com"})
	l := flowtest.Login{Identity: &bob, Lent: o.lent(), Now: now, Accounts: all}
	flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), l)
	handle := handleOf(t, o.sent[0])
	confirm := func(handle string, at time.Time) error {
		_, err := firstlogin.ConfirmProof(t.Context(), o.marks, all, firstlogin.Confirmation{Handle: handle, Journey: "journey"}, at)
		return err
	}
	for _, bad := range []string{"", "x", handle[:len(handle)-1], handle + "A", strings.ToLower(handle)} {
		if err := confirm(bad, now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("handle %q: %v", bad, err)
		}
	}
	if err := confirm(handle, now.Add(time.Hour)); !errors.Is(err, firstlogin.ErrProofExpired) {
		t.Errorf("an hour later: %v", err)
	}
	all.Users[0].Email = "new@example.com"
	if err := confirm(handle, now); !errors.Is(err, firstlogin.ErrProofRevoked) {
		t.Errorf("with another address: %v", err)
	}
	all.Users[0].Email, all.Users[0].Disabled = "bob@example.com", true
	if err := confirm(handle, now); !errors.Is(err, firstlogin.ErrProofRevoked) {
		t.Errorf("of a disabled user: %v", err)
	}
	all.Users[0].Disabled = false
	if err := confirm(handle, now); err != nil {
		t.Errorf("as it was: %v", err)
	}
	if err := confirm(handle, now); !errors.Is(err, firstlogin.ErrProofUsed) {
		t.Errorf("once more: %v", err)
	}
}

// Row 26: who has proved two factors in one is not asked for a second.
func TestRow26NoSecondAfterTwo(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	local := &factor.Local{Credentials: s, Transient: s, Passwords: &factor.Passwords{Memory: 8, Time: 1}, Now: time.Now}
	if _, err := local.NewRecoveryCodes(t.Context(), "proved"); err != nil {
		t.Fatal(err)
	}
	for _, amr := range []string{factor.AMRMultiple, factor.AMRPassword} {
		f := firstlogin.VerifyByReauthentication()
		f[0].Do = proof(func(t *flow.Turn) { t.Draft.AMR = []string{amr} })
		d := flowtest.Start(t, f, flowtest.Login{Lent: flow.Lent{Credentials: s, Transient: s, Passwords: local.Passwords}})
		if asked := d.Outcome().Kind == flow.Asked; asked != (amr == factor.AMRPassword) {
			t.Errorf("after %s: asked is %t", amr, asked)
		}
	}
}

func TestRow30AutoLinkAndDetect(t *testing.T) {
	t.Parallel()
	auto := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "auto", When: flow.Alternative, Do: firstlogin.AutoLink{}},
	}
	all := accounts(&store.User{Username: "x", Email: "bob@example.com", EmailVerified: true})
	if d := flowtest.Start(t, auto, flowtest.Login{Provider: trusted, Identity: &bob, Accounts: all}).Done(); d.UserID != "user-0" {
		t.Errorf("got %+v, want the account without a prompt", d)
	}
	detect := flow.Flow{{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "set", Do: firstlogin.InsecureSetExisting{}}}
	flowtest.Start(t, detect, flowtest.Login{Identity: &bob}).Denied(firstlogin.NoAccount)
	if d := flowtest.Start(t, detect, flowtest.Login{Identity: &bob, Accounts: all}).Done(); d.UserID != "user-0" {
		t.Errorf("got %+v", d)
	}
	byName := accounts(&store.User{Username: "bob"})
	flowtest.Start(t, detect, flowtest.Login{Identity: &bob, Accounts: byName}).Denied(flow.ReasonSkipped)
}

// Rows 31 and 32.
func TestRow31TrustedEmail(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ trust, said, want bool }{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false}} {
		id := without(func(id *provider.Identity) { id.EmailVerified = row.said })
		d := flowtest.Start(t, firstlogin.Default(), flowtest.Login{Provider: flow.Provider{TrustEmail: row.trust}, Identity: id}).Done()
		if d.Profile.EmailVerified != row.want {
			t.Errorf("trusted is %t, said verified is %t: verified is %t", row.trust, row.said, d.Profile.EmailVerified)
		}
	}
}

func TestRequirePassword(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	f := flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{RequirePassword: true}}}
	lent := flow.Lent{Credentials: s, Transient: s, Passwords: &factor.Passwords{Memory: 8, Time: 1}}
	all := accounts()
	d := flowtest.Start(t, f, flowtest.Login{Identity: &bob, Accounts: all, Lent: lent})
	d.Page("new-password")
	d.Answer(url.Values{"password": {"short"}, "repeat": {"short"}})
	d.Page("new-password")
	d.Answer(url.Values{"password": {"long enough to do"}, "repeat": {"long enough to do"}})
	if got := d.Done(); !got.New || len(got.Password) == 0 {
		t.Errorf("got %+v", got)
	}
	taken := flowtest.Start(t, f, flowtest.Login{Identity: &bob, Accounts: all, Lent: lent})
	all.Users = append(all.Users, &store.User{ID: "quick", Username: "bob"})
	taken.Answer(url.Values{"password": {"long enough to do"}, "repeat": {"long enough to do"}})
	taken.Denied(firstlogin.AccountExists)

	turn := &flow.Turn{Identity: &bob, Draft: &flow.Draft{Profile: provider.ProfileOf(&bob, true)}, Accounts: &flowtest.Accounts{}}
	if out, err := f.Run(t.Context(), &flow.State{}, turn); err == nil || turn.Draft.New {
		t.Errorf("without credentials: got %v and %v, want an error and nobody created", out.Kind, err)
	}
}

// A flow that could succeed without a proof does not start, and is told on which way.
func TestFlowWithoutProofIsRefused(t *testing.T) {
	t.Parallel()
	f := flow.Flow{
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
		{ID: "existing", When: flow.Alternative, Sub: flow.Flow{
			{ID: "detect", Do: firstlogin.DetectExisting{}}, {ID: "confirm", Do: firstlogin.ConfirmLink{}}, {ID: "allow", Do: firstlogin.Allow{}},
		}},
	}
	if err := f.Check(); err == nil || !strings.Contains(err.Error(), "detect, confirm, allow") {
		t.Errorf("got %v, want the way named", err)
	}
	if !flow.Flow(f[1].Sub).Decides() {
		return
	}
	t.Error("confirming alone decides")
}

// No step decides for an account that was only found, whatever is answered to its pages, in whatever order.
func TestNoAnswerLinksWithoutProof(t *testing.T) {
	t.Parallel()
	answers := []url.Values{
		nil, {"link": {"1"}}, {"review": {"1"}}, {"confirmed": {"1"}}, {"resend": {"1"}}, {"another": {"1"}}, {"provider": {"work"}}, {"replace": {"1"}},
		{"username": {"bob"}, "password": {"guess"}}, {"username": {"bob"}, "email": {"bob@example.com"}, "first_name": {"B"}, "last_name": {"B"}},
		{"username": {"x"}, "email": {"ann@example.com"}, "first_name": {"B"}, "last_name": {"B"}},
	}
	s := memstore.New()
	passwords := &factor.Passwords{Memory: 8, Time: 1}
	for seed := range 400 {
		o := newOffice()
		lent := o.lent()
		lent.Credentials, lent.Passwords = s, passwords
		all := accounts(&store.User{Username: "ann", Email: "ann@example.com", EmailVerified: true}, &store.User{Username: "bob2", Email: "bob@example.com", EmailVerified: true})
		d := flowtest.Start(t, firstlogin.Default(), flowtest.Login{Provider: trusted, Identity: &bob, Accounts: all, Lent: lent})
		var walk []string
		for n := seed; d.Outcome().Kind == flow.Asked && len(walk) < 12; n = n*31 + 7 {
			a := answers[((n%len(answers))+len(answers))%len(answers)]
			walk = append(walk, fmt.Sprint(a))
			d.Answer(a)
		}
		if draft := d.Draft(); draft.UserID != "" {
			t.Fatalf("%v led to user %s", walk, draft.UserID)
		}
	}
}

// Who confirms in another browser than the login's own has to know what its page shows, has three tries a link, and wins no more by
// trying all at once.
func TestProofNeedsTheNumber(t *testing.T) {
	t.Parallel()
	now := time.Now()
	all := accounts(&store.User{Username: "ann", Email: "bob@example.com"})
	for name, row := range map[string]struct {
		tries []string // "right" is the number
		path  string   // the journey that is claimed
		want  error
	}{
		"right":                       {[]string{"right"}, "", nil},
		"right, with spaces":          {[]string{" r i g h t "}, "", nil},
		"right at the last try":       {[]string{"x", "right1", "right"}, "", nil},
		"nothing":                     {[]string{""}, "", firstlogin.ErrProofNumber},
		"nothing is no try":           {[]string{"", " ", "", "", "right"}, "", nil},
		"wrong":                       {[]string{"x"}, "", firstlogin.ErrProofNumber},
		"wrong thrice":                {[]string{"x", "y", "z"}, "", firstlogin.ErrProofRevoked},
		"right, but too late":         {[]string{"x", "y", "z", "right"}, "", store.ErrNotFound},
		"another login's browser":     {[]string{""}, "another", firstlogin.ErrProofNumber},
		"its own browser":             {[]string{""}, "journey", nil},
		"its own browser, too late":   {[]string{"x", "y", "z", "journey"}, "", store.ErrNotFound},
		"its own browser, in between": {[]string{"x", "y", "journey"}, "", nil},
	} {
		o := newOffice()
		d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), flowtest.Login{Identity: &bob, Lent: o.lent(), Now: now, Accounts: all})
		shown, _ := d.Page("verify-email").Data["number"].(string)
		if len(shown) != 4 {
			t.Fatalf("the page shows %q", shown)
		}
		var err error
		for _, try := range row.tries {
			c := firstlogin.Confirmation{Handle: handleOf(t, o.sent[0]), Journey: row.path}
			switch c.Number = try; strings.Join(strings.Fields(try), "") {
			case "right":
				c.Number = shown
				if try != "right" {
					c.Number = " " + shown[:2] + " " + shown[2:] + " "
				}
			case "journey":
				c.Number, c.Journey = "", try
			}
			_, err = firstlogin.ConfirmProof(t.Context(), o.marks, all, c, now)
		}
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
		d.Answer(url.Values{"confirmed": {"1"}})
		if done := d.Outcome().Kind == flow.Done; done != (row.want == nil) {
			t.Errorf("%s: the login goes on is %t", name, done)
		}
	}
}

// Of all ten thousand numbers at once, three are looked at.
func TestProofNumbersAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := newOffice()
	all := accounts(&store.User{Username: "ann", Email: "bob@example.com"})
	d := flowtest.Start(t, emailOnly(firstlogin.ReviewMissing), flowtest.Login{Identity: &bob, Lent: o.lent(), Now: now, Accounts: all})
	shown, _ := d.Page("verify-email").Data["number"].(string)
	handle := handleOf(t, o.sent[0])
	var tried sync.WaitGroup
	var looked atomic.Int32
	for i := range 64 {
		tried.Go(func() {
			number := fmt.Sprintf("%04d", i)
			if number == shown { // by the hundredth run or so
				number = "9999"
			}
			_, err := firstlogin.ConfirmProof(t.Context(), o.marks, all, firstlogin.Confirmation{Handle: handle, Number: number}, now)
			if errors.Is(err, firstlogin.ErrProofNumber) {
				looked.Add(1)
			}
			if err == nil {
				t.Errorf("the number %s is good, %s is shown", number, shown)
			}
		})
	}
	tried.Wait()
	if n := looked.Load(); n != 2 { // the third wrong one ends the link
		t.Errorf("%d were told to try again, want two", n)
	}
	if _, err := firstlogin.ReadProof(t.Context(), o.marks, handle, now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the link after that: %v", err)
	}
}

// Who is decided on already is not asked who else they could be.
func TestNoMailWhereItIsDecided(t *testing.T) {
	t.Parallel()
	for _, decided := range []flow.Draft{{UserID: "user-1"}, {New: true}} {
		o := newOffice()
		decided.Profile = provider.ProfileOf(&bob, true)
		decided.Existing = &flow.Existing{UserID: "user-0", Field: "email"}
		d := flowtest.Start(t, flow.Flow{
			{ID: "email", When: flow.Alternative, Do: firstlogin.VerifyByEmail{}}, {ID: "other", When: flow.Alternative, Do: proof(func(*flow.Turn) {})},
		}, flowtest.Login{
			Identity: &bob, Draft: &decided, Lent: o.lent(), Accounts: accounts(&store.User{Username: "ann", Email: "bob@example.com"}, &store.User{Username: "b"}),
		})
		if got := d.Done(); got.UserID != "proved" || len(o.sent) > 0 { // by the other step
			t.Errorf("of %+v became %+v, by %d mails", decided, got, len(o.sent))
		}
	}
}

// An address is proved by a mail that went there, and not to the one that the account had a moment ago.
func TestProofIsOfOneAddress(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := newOffice()
	all := accounts(&store.User{Username: "ann", Email: "old@example.com"})
	d := flowtest.Start(t, flow.Flow{{ID: "verify", Do: firstlogin.VerifyEmail{}}}, flowtest.Login{
		Identity: &bob, Draft: &flow.Draft{UserID: "user-0"}, Lent: o.lent(), Now: now, Accounts: all,
	})
	o.confirm(t, all, now)
	all.Users[0].Email = "new@example.com"
	d.Answer(url.Values{"confirmed": {"1"}})
	d.Page("verify-email")
	if len(o.sent) != 2 || o.sent[1].To != "new@example.com" {
		t.Errorf("mails %+v", o.sent)
	}
}

// A condition holds for what it names, and for nothing else.
func TestConditionsTellApart(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		condition flow.Authenticator
		want      bool
	}{
		"her role":              {firstlogin.HasRole("staff"), true},
		"another role":          {firstlogin.HasRole("admin"), false},
		"her attribute":         {firstlogin.HasAttribute("house", "a"), true},
		"another value":         {firstlogin.HasAttribute("house", "b"), false},
		"another attribute":     {firstlogin.HasAttribute("home", "a"), false},
		"her provider":          {firstlogin.ByProvider("x", "up"), true},
		"another provider":      {firstlogin.ByProvider("x", "u"), false},
		"no provider in a list": {firstlogin.ByProvider(), false},
	} {
		all := accounts(&store.User{Username: "ann", Roles: []string{"staff"}, Attributes: map[string][]string{"house": {"a"}}})
		d := flowtest.Start(t, flow.Flow{
			{ID: "if", When: flow.Conditional, Sub: flow.Flow{{ID: "holds", Do: row.condition}, {ID: "deny", Do: firstlogin.Deny{}}}},
			{ID: "allow", Do: firstlogin.Allow{}},
		}, flowtest.Login{Provider: trusted, Identity: &bob, Draft: &flow.Draft{UserID: "user-0"}, Accounts: all})
		if denied := d.Outcome().Kind == flow.Denied; denied != row.want {
			t.Errorf("%s: it holds is %t", name, denied)
		}
	}
}

// Who has edited what an account was found by is that account not even where nothing has to be proved.
func TestSetExistingNotWhereEdited(t *testing.T) {
	t.Parallel()
	for _, draft := range []flow.Draft{{}, {EditedEmail: true}, {EditedUsername: true}} {
		edited := draft.EditedEmail || draft.EditedUsername
		draft.Existing = &flow.Existing{UserID: "user-0", Field: "email"}
		d := flowtest.Start(t, flow.Flow{{ID: "set", Do: firstlogin.InsecureSetExisting{}}}, flowtest.Login{
			Provider: trusted, Identity: &bob, Draft: &draft, Accounts: accounts(&store.User{Username: "ann", Email: "bob@example.com"}),
		})
		if done := d.Outcome().Kind == flow.Done; done == edited {
			t.Errorf("edited is %t, and it is the account is %t", edited, done)
		}
	}
}
