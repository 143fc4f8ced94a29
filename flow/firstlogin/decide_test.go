package firstlogin_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const annsAddress = "ann@example.com"

// conditions are all that has to be so for a link by e-mail, each with what breaks it and the reason that says so.
var conditions = []struct {
	name   string
	reason firstlogin.Reason
	spoil  func(q *firstlogin.Question)
}{
	{"policy", firstlogin.AutoLinkOff, func(q *firstlogin.Question) { q.Policy.AutoLink = false }},
	{"trusted", firstlogin.ProviderUntrusted, func(q *firstlogin.Question) { q.Provider.TrustEmail = false }},
	{"said verified", firstlogin.UpstreamUnverified, func(q *firstlogin.Question) { q.Identity.EmailVerified = false }},
	{"vouched for still", firstlogin.ProfileUnverified, func(q *firstlogin.Question) { q.Profile.EmailVerified = false }},
	{"the same address", firstlogin.EmailForeign, func(q *firstlogin.Question) { q.Identity.Email = "mallory@example.com" }},
	{"well formed", firstlogin.EmailMalformed, func(q *firstlogin.Question) { q.Identity.Email = annsAddress + "@evil.example" }},
	{"not edited", firstlogin.ProfileEdited, func(q *firstlogin.Question) { q.Edited = true }},
	{"one by e-mail", firstlogin.SeveralAccounts, func(q *firstlogin.Question) {
		q.ByEmail = append(q.ByEmail, &store.User{ID: "other", Email: annsAddress, EmailVerified: true})
	}},
	{"nobody else by name", firstlogin.SeveralAccounts, func(q *firstlogin.Question) { q.ByUsername = []*store.User{{ID: "named"}} }},
	{"account verified", firstlogin.AccountUnverified, func(q *firstlogin.Question) { q.ByEmail[0].EmailVerified = false }},
	{"account's own address", firstlogin.EmailForeign, func(q *firstlogin.Question) { q.ByEmail[0].Email = "old@example.com" }},
	{"not shared", firstlogin.AccountShared, func(q *firstlogin.Question) { q.ByEmail[0].SharedEmail = true }},
	{"not disabled", firstlogin.AccountDisabled, func(q *firstlogin.Question) { q.ByEmail[0].Disabled = true }},
}

// linkable is a question that is answered by a link.
func linkable() firstlogin.Question {
	return firstlogin.Question{
		Provider: flow.Provider{Alias: "up", TrustEmail: true},
		Identity: &provider.Identity{Subject: "1", Email: "Ann@Example.com", EmailVerified: true},
		Profile:  provider.Profile{Email: annsAddress, EmailVerified: true, Username: "ann"},
		ByEmail:  []*store.User{{ID: "ann", Email: annsAddress, EmailVerified: true}},
		Policy:   firstlogin.Policy{AutoLink: true},
	}
}

// Every set of conditions that do not hold, of which only the empty one links. It is each row of the advisories on e-mail as proof.
func TestDecideLinksOnlyIfAllHolds(t *testing.T) {
	t.Parallel()
	for broken := range 1 << len(conditions) {
		q := linkable()
		var names []string
		for i, c := range conditions {
			if broken&(1<<i) != 0 {
				c.spoil(&q)
				names = append(names, c.name)
			}
		}
		d := firstlogin.Decide(q)
		if len(names) == 0 {
			if d.Action != firstlogin.Link || d.UserID != "ann" || !slices.Contains(d.Reasons, firstlogin.MutuallyVerified) {
				t.Fatalf("all holds: got %+v, want a link", d)
			}
			continue
		}
		if d.Action != firstlogin.Ask {
			t.Fatalf("without %q: got %v, want the account asked", names, d)
		}
	}
	for _, c := range conditions {
		q := linkable()
		c.spoil(&q)
		if d := firstlogin.Decide(q); !slices.Contains(d.Reasons, c.reason) || c.reason.Text() == "" {
			t.Errorf("without %s: got %v, want the reason %s, with a text", c.name, d, c.reason)
		}
	}
}

// Whatever is asked: a link is only ever to the one account that the address belongs to on both sides, a new user only where nobody
// was found, and no address reaches the log.
func TestDecideProperties(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	coin := func() bool { return r.IntN(4) > 0 }
	address := func() string {
		return pick(annsAddress, "Ann@Example.com", "bob@example.com", "", "a@b@c", "ann@example.com\n")
	}
	users := func() (all []*store.User) {
		for range r.IntN(3) {
			all = append(all, &store.User{
				ID: pick("1", "2"), Email: pick(annsAddress, "bob@example.com", ""), EmailVerified: coin(), Disabled: !coin(), SharedEmail: !coin(),
			})
		}
		return all
	}
	links := 0
	for range 200_000 {
		q := firstlogin.Question{
			Provider: flow.Provider{TrustEmail: coin()}, Edited: !coin(), ByEmail: users(),
			Profile: provider.Profile{Email: pick(annsAddress, "bob@example.com", ""), EmailVerified: coin()},
			Policy:  firstlogin.Policy{AutoLink: coin(), SharedEmail: !coin(), NoNewUsers: !coin()},
		}
		if !coin() {
			q.ByUsername = users()
		}
		if coin() {
			q.Identity = &provider.Identity{Email: address(), EmailVerified: coin()}
		}
		d := firstlogin.Decide(q)
		where := fmt.Sprintf("%+v\n%v", q, d)
		if len(d.Reasons) == 0 || strings.Contains(d.String(), "@") {
			t.Fatal(where)
		}
		switch d.Action {
		case firstlogin.Link:
			links++
			u := q.ByEmail[0]
			if !q.Policy.AutoLink || q.Policy.SharedEmail || !q.Provider.TrustEmail || q.Edited || q.Identity == nil || !q.Identity.EmailVerified ||
				!q.Profile.EmailVerified || firstlogin.Email(q.Identity.Email) != u.Email || q.Profile.Email != u.Email || u.Email == "" ||
				!u.EmailVerified || u.Disabled || u.SharedEmail || len(q.ByEmail) != 1 || d.UserID != u.ID {
				t.Fatal("linked: " + where)
			}
		case firstlogin.Create:
			if len(q.ByUsername) > 0 || len(q.ByEmail) > 0 && !q.Policy.SharedEmail || q.Policy.NoNewUsers || d.UserID != "" {
				t.Fatal("created: " + where)
			}
		case firstlogin.Refuse:
			if !q.Policy.NoNewUsers || d.UserID != "" {
				t.Fatal("refused: " + where)
			}
		case firstlogin.Ask:
			if d.Field != "email" && d.Field != "username" {
				t.Fatal("asked: " + where)
			}
		}
	}
	if links < 100 {
		t.Errorf("of 200000 questions %d were answered by a link: too few to have said anything", links)
	}
}

func TestActionString(t *testing.T) {
	t.Parallel()
	if got := firstlogin.Action(9).String() + firstlogin.Refuse.String(); got != "Action(9)refuse" {
		t.Errorf("got %s", got)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	all := &flowtest.Accounts{
		Users: []*store.User{
			{ID: "1", Username: "ann", Email: annsAddress, EmailVerified: true},
			{ID: "2", Username: "bob", Email: "bob@example.com"},
			{ID: "3", Username: "carl"},
			{ID: "4", Username: "dora", Email: "dora@example.com", EmailVerified: true},
		},
		Links: []*store.Link{{LinkKey: store.LinkKey{Provider: "up", Subject: "d"}, UserID: "4"}},
	}
	got := map[string]string{}
	for f, err := range firstlogin.DryRun(t.Context(), all, slices.Values(all.Users), flow.Provider{Alias: "up"}, firstlogin.Policy{AutoLink: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got[f.User.Username] = f.Decision.String()
	}
	if len(got) != 2 || got["ann"] != "link: email_exists mutually_verified" || got["bob"] != "ask: email_exists account_unverified" {
		t.Errorf("got %v", got)
	}
}
