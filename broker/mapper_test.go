package broker_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// is is a condition on a claim.
func is(claim, value string) mapper.Condition { return mapper.Condition{Claim: claim, Value: value} }

// mapped gives the first provider mappers and a sync mode.
func mapped(sync provider.SyncMode, mappers ...provider.Mapper) func(*broker.Config) {
	return func(c *broker.Config) { c.Providers[0].Sync, c.Providers[0].Mappers = sync, mappers }
}

// says has the first upstream say this about alice.
func (w *world) says(u providertest.User, claims map[string]any) {
	u.Subject, u.Username, u.Email, u.Claims = "alice", "alice", "alice@example.com", claims
	w.op.SetUser(u)
}

// 69: IMPORT, LEGACY and FORCE × set, changed and vanished, for attributes, names, roles and groups: testdata/sync.txt is what
// the documentation promises.
func TestSyncTable(t *testing.T) {
	t.Parallel()
	mappers := []provider.Mapper{
		mapper.Attribute("dept", "dept"),
		mapper.Attribute("first", "firstName"),
		mapper.Role("reader", is("roles", "r")), mapper.Role("both", is("roles", "r")), mapper.Role("both", is("kept", "yes")),
		mapper.Role("both", is("roles", "never")),
		mapper.Group("team", is("roles", "r")),
		mapper.Groups("groups", "corp/"),
		mapper.FixedRole("member"), mapper.FixedAttribute("source", "corp"), mapper.FixedGroup("all"), mapper.ExternalRole("app.w", "writer"),
		mapper.Username("${CLAIM.dept}-user", mapper.Local),
	}
	join := func(list []string, keep func(string) bool) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !keep(s) }), " ")
	}
	one := func(name string) func(string) bool { return func(s string) bool { return s == name } }
	onLink := map[*store.User]string{}
	under := func(s string) bool { return strings.HasPrefix(s, "corp/") }
	rows := []struct {
		name string
		of   func(*store.User) string
	}{
		{"full name, without a mapper", func(u *store.User) string { return u.Name }},
		{"last name, without a mapper", func(u *store.User) string { return u.LastName }},
		{"locale, without a mapper", func(u *store.User) string { return u.Locale }},
		{"picture, without a mapper", func(u *store.User) string { return u.Picture }},
		{"e-mail address, without a mapper", func(u *store.User) string { return u.Email }},
		{"first name", func(u *store.User) string { return u.FirstName }},
		{"attribute", func(u *store.User) string { return strings.Join(u.Attributes["dept"], " ") }},
		{"attribute that is fixed, taken by hand", func(u *store.User) string { return strings.Join(u.Attributes["source"], " ") }},
		{"attribute given by hand", func(u *store.User) string { return strings.Join(u.Attributes["hand"], " ") }},
		{"role on a condition", func(u *store.User) string { return join(u.Roles, one("reader")) }},
		{"role of two mappers, one still holds", func(u *store.User) string { return join(u.Roles, one("both")) }},
		{"role of an external one, taken by hand", func(u *store.User) string { return join(u.Roles, one("writer")) }},
		{"role that is fixed, taken by hand", func(u *store.User) string { return join(u.Roles, one("member")) }},
		{"role given by hand", func(u *store.User) string { return join(u.Roles, one("hand")) }},
		{"group on a condition", func(u *store.User) string { return join(u.Groups, one("team")) }},
		{"group that is fixed, taken by hand", func(u *store.User) string { return join(u.Groups, one("all")) }},
		{"groups with the prefix corp/", func(u *store.User) string { return join(u.Groups, under) }},
		{"group given by hand", func(u *store.User) string { return join(u.Groups, one("hand")) }},
		{"username", func(u *store.User) string { return u.Username }},
		{"username on the link", func(u *store.User) string { return onLink[u] }},
	}
	writer := map[string]any{"app": map[string]any{"roles": []any{"w"}}}
	const line = "%-39s %-7s %-18s %-21s %s\n"
	table := make([]strings.Builder, len(rows))
	for _, mode := range []struct {
		name string
		sync provider.SyncMode
	}{{"import", provider.SyncImport}, {"legacy", provider.SyncLegacy}, {"force", provider.SyncForce}} {
		w := newWorld(t, mapped(mode.sync, mappers...))
		var stages [3]*store.User
		for i, said := range []struct {
			user   providertest.User
			claims map[string]any
		}{
			{providertest.User{Name: "Alice A", FamilyName: "A", Locale: "de", Picture: "https://x.example"}, map[string]any{
				"dept": "a", "first": "Alice", "roles": []any{"r"}, "groups": []any{"x", "y"}, "kept": "yes", "resource_access": writer,
			}},
			{providertest.User{Name: "Alice B", FamilyName: "B", Locale: "fr", Picture: "https://y.example"}, map[string]any{
				"dept": []any{"b", "c"}, "first": "Al", "roles": []any{"r", "s"}, "groups": []any{"y", "z"}, "kept": "yes",
				"email": "al@example.com", "resource_access": writer, "preferred_username": "al",
			}},
			{providertest.User{}, map[string]any{"kept": "yes", "email": nil}},
		} {
			w.says(said.user, said.claims)
			id := w.login("Demo").Get(w.Origin + "/").Who().ID
			user, err := w.store.User(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			seen := *user
			stages[i], onLink[&seen] = &seen, w.linksOf(id)[0].Username
			if i == 0 {
				user.Roles = []string{"hand", "reader", "both"} // and no longer member
				user.Groups = append(slices.DeleteFunc(slices.Clone(user.Groups), one("all")), "hand")
				user.Attributes = map[string][]string{"hand": {"yes"}, "dept": {"a"}}
				if err := w.store.UpdateUser(t.Context(), user); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i, row := range rows {
			cells := make([]any, 0, 5)
			cells = append(cells, row.name, mode.name)
			for _, user := range stages {
				value := row.of(user)
				if value == "" {
					value = "-"
				}
				cells = append(cells, value)
			}
			fmt.Fprintf(&table[i], line, cells...)
		}
	}
	got := fmt.Sprintf(line, "what the user has", "mode", "created", "claim changed", "claim vanished")
	for i := range table {
		got += "\n" + table[i].String()
	}
	const golden = "testdata/sync.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A mapper's own sync mode beats that of its provider, in both directions.
func TestMapperSyncModeWins(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		provider, mapper provider.SyncMode
		want             string
	}{
		{provider.SyncForce, provider.SyncImport, "old"},
		{provider.SyncForce, provider.SyncLegacy, "old"},
		{provider.SyncForce, provider.SyncInherit, ""},
		{provider.SyncImport, provider.SyncForce, ""},
		{provider.SyncInherit, provider.SyncInherit, "old"},
		{provider.SyncLegacy, provider.SyncInherit, "old"},
	} {
		w := newWorld(t, mapped(row.provider, mapper.Attribute("x", "x").With(row.mapper)))
		w.says(providertest.User{Name: "Alice"}, map[string]any{"x": "old"})
		id := w.login("Demo").Get(w.Origin + "/").Who().ID
		w.says(providertest.User{Name: "Alice"}, nil)
		w.login("Demo")
		user, err := w.store.User(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(user.Attributes["x"], " "); got != row.want {
			t.Errorf("provider %d, mapper %d: got %q, want %q", row.provider, row.mapper, got, row.want)
		}
	}
}

// Keycloak #43698: a login by which nothing changes writes no user, whatever the order in which roles and groups came to be.
func TestNothingChangedNothingWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mapped(provider.SyncForce,
		mapper.Role("b", is("roles", "b")), mapper.Role("a", is("roles", "a")), mapper.Groups("groups", ""), mapper.Attribute("roles", "all"),
		mapper.Username("${UUID}", mapper.Local), mapper.Attribute("mail", "email"), mapper.Attribute("first", "firstName"),
		provider.Mapper{Name: "renames", Map: func(m *provider.Mapping) error {
			m.Profile.Username += "-again"
			return nil
		}}))
	w.says(providertest.User{Name: "Alice"}, map[string]any{
		"roles": []any{"a", "b"}, "groups": []any{"x", "y", "x"}, "mail": "other@example.com", "first": "Al",
	})
	id := w.login("Demo").Get(w.Origin + "/").Who().ID
	user, err := w.store.User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(user.Roles)
	slices.Reverse(user.Groups)
	user.Roles = append([]string{"hand"}, user.Roles...)
	user.EmailVerified = true // by a mailed code
	if err := w.store.UpdateUser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	w.login("Demo")
	after, err := w.store.User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if after.Version != user.Version {
		t.Errorf("the user was written: %+v, was %+v", after, user)
	}
	if len(after.Groups) != 2 {
		t.Errorf("groups are %q", after.Groups)
	}
}

// A mapper that puts another address in place of the upstream's verified one gets no verified address by that.
func TestMapperEmailStaysUnverified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers[0].TrustEmail = true
		mapped(provider.SyncForce, mapper.Attribute("mail", "email"))(c)
	})
	for range 2 {
		w.says(providertest.User{Name: "Alice", EmailVerified: true}, map[string]any{"mail": "ceo@victim.example"})
		id := w.login("Demo").Get(w.Origin + "/").Who().ID
		user, err := w.store.User(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if user.Email != "ceo@victim.example" || user.EmailVerified {
			t.Errorf("%s, verified %v", user.Email, user.EmailVerified)
		}
	}
}

// Nor does one that comes before anybody is looked up: what the upstream has verified is the address that it said.
func TestLookupMapperEmailIsUnverified(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		email    string
		verified bool
	}{
		"another address":           {"ceo@victim.example", false},
		"the same in other letters": {"Alice@Example.COM", true},
		"none, and typed in then":   {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *broker.Config) {
				c.Providers[0].TrustEmail = true
				c.Providers[0].Mappers = []provider.Mapper{{Name: "mail", Stage: provider.StageLookup, Map: func(m *provider.Mapping) error {
					m.Identity.Email = row.email
					return nil
				}}}
			})
			page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo")
			if _, _, asked := page.Form(); asked {
				page.Submit(reviewed)
			}
			found, err := w.store.FindUsers(t.Context(), store.UserQuery{Email: "alice@example.com"})
			if row.email == "ceo@victim.example" {
				found, err = w.store.FindUsers(t.Context(), store.UserQuery{Email: row.email})
			}
			if err != nil || len(found) != 1 || found[0].EmailVerified != row.verified {
				t.Errorf("users %+v, %v; want one, verified %t", found, err, row.verified)
			}
		})
	}
}

// 70: nested claims, array index, escaped dot, typed values.
func TestMapperPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mapped(provider.SyncImport,
		mapper.Attribute(`app\.example.people[1].name`, "name2"), mapper.Attribute("big", "big"), mapper.Attribute("nested", "nested"),
		mapper.Role("seven", is("n", "7")), mapper.Role("eight", is("n", "8")), mapper.Role("on", is("flags.on", "true")),
		mapper.Role("off", is("flags.off", "true")), mapper.Role("half", is("half", "0.5"))))
	w.says(providertest.User{Name: "Alice"}, map[string]any{
		"app.example": map[string]any{"people": []any{nil, map[string]any{"name": "Bob"}}},
		"big":         int64(9007199254740993), "nested": map[string]any{"a": []any{1, "<b>"}}, "n": []any{1, 7}, "half": 0.5,
		"flags": map[string]any{"on": true, "off": "false"},
	})
	id := w.login("Demo").Get(w.Origin + "/").Who().ID
	user, err := w.store.User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"name2": {"Bob"}, "big": {"9007199254740993"}, "nested": {`{"a":[1,"<b>"]}`}}
	if !maps.EqualFunc(user.Attributes, want, slices.Equal) {
		t.Errorf("attributes are %q, want %q", user.Attributes, want)
	}
	if want := []string{"seven", "on", "half"}; !slices.Equal(user.Roles, want) {
		t.Errorf("roles are %q, want %q", user.Roles, want)
	}
}

// 71: an AND list with a regular expression grants and, under FORCE, revokes.
func TestMapperConditions(t *testing.T) {
	t.Parallel()
	all := []mapper.Condition{{Claim: "groups", Value: "it-[a-z]+", Regex: true}, is("site", "berlin")}
	w := newWorld(t, mapped(provider.SyncForce, mapper.Role("admin", all[0], all[1]), mapper.Group("ops", all[0], all[1])))
	for _, row := range []struct {
		groups []any
		site   any
		want   bool
	}{
		{[]any{"staff", "it-ops"}, "berlin", true},
		{[]any{"staff", "it-ops"}, "paris", false},
		{[]any{"staff", "it-ops"}, []any{"paris", "berlin"}, true},
		{[]any{"staff", "it-ops2"}, "berlin", false},
		{[]any{"it-ops"}, "berlin", true},
		{nil, nil, false},
	} {
		w.says(providertest.User{Name: "Alice"}, map[string]any{"groups": row.groups, "site": row.site})
		id := w.login("Demo").Get(w.Origin + "/").Who().ID
		user, err := w.store.User(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(user.Roles, "admin") != row.want || slices.Contains(user.Groups, "ops") != row.want {
			t.Errorf("%v at %v: roles %q, groups %q, want %v", row.groups, row.site, user.Roles, user.Groups, row.want)
		}
	}
}

// 72: a username template with pipes; a name that is taken leads to the account that exists.
func TestMapperUsername(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		name := mapper.Username("${ALIAS}.${CLAIM.email | localpart | lowercase}", mapper.Local)
		c.Providers[0].Mappers = []provider.Mapper{name}
		c.Providers[1].Mappers = []provider.Mapper{mapper.Username("demo.${CLAIM.preferred_username}", mapper.Local)}
	})
	w.says(providertest.User{Name: "Alice"}, map[string]any{"email": "ALICE@example.com"})
	if who := w.login("Demo").Get(w.Origin + "/").Who(); who.Username != "demo.alice" {
		t.Errorf("username is %q", who.Username)
	}
	w.other.LoginAs("twin") // whose name is alice there
	page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Other")
	if page.URL.Path == "/" || !strings.Contains(page.Body, "An account with this user name already exists") {
		t.Errorf("who has a taken name got to %s\n%s", page.URL, page.Body)
	}
	if n := w.users("demo.alice"); n != 1 {
		t.Errorf("%d users have the name", n)
	}
}

// 56, in one mapper: the id by which the broker knows somebody is another than the subject, and the name on the link too. What
// cannot identify anybody lets nobody in.
func TestMapperBrokerID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mapped(provider.SyncImport,
		mapper.Username("${CLAIM.tid}/${CLAIM.oid}", mapper.BrokerID), mapper.Username("${CLAIM.nick}", mapper.BrokerUsername)))
	w.says(providertest.User{Name: "Alice"}, map[string]any{"tid": "t1", "oid": 17, "nick": "Ally"})
	id := w.login("Demo").Get(w.Origin + "/").Who().ID
	link, err := w.store.Link(t.Context(), store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "t1/17"})
	if err != nil || link.UserID != id || link.Username != "ally" {
		t.Fatalf("link is %+v, %v", link, err)
	}
	for _, bad := range []any{nil, "", " ", "null", 0, false, []any{}, []any{"17"}, map[string]any{}} {
		w.says(providertest.User{Name: "Alice"}, map[string]any{"tid": "t1", "oid": bad})
		page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo")
		if page.Status < 400 {
			t.Errorf("oid %#v: status %d at %s", bad, page.Status, page.URL)
		}
	}
}

// The username on the link is lower case, or as the provider writes it; a user's own is lower case always.
func TestCaseOfUsername(t *testing.T) {
	t.Parallel()
	for keep, want := range map[bool]string{false: "ally mcbeal", true: "Ally McBeal"} {
		w := newWorld(t, func(c *broker.Config) {
			c.Providers[0].CaseSensitiveUsername, c.Providers[1].CaseSensitiveUsername = keep, keep
		})
		for _, op := range []*providertest.OIDC{w.op, w.other} {
			op.SetUser(providertest.User{Subject: "ally", Username: "Ally McBeal", Email: "Ally@Example.com", Name: "Ally"})
			op.LoginAs("ally")
		}
		b := w.login("Demo")
		shows(t, w.link(b, "other"), http.StatusOK)
		user := w.named("ally mcbeal")
		for _, link := range w.linksOf(user.ID) {
			if link.Username != want {
				t.Errorf("keep %t: the link with %s says %q", keep, link.Provider, link.Username)
			}
		}
		if n := len(w.linksOf(user.ID)); n != 2 {
			t.Errorf("%d links", n)
		}
		// What was configured otherwise before is as it is to be from the next login on.
		w.reconfigure(func(c *broker.Config) { c.Providers[0].CaseSensitiveUsername = !keep })
		w.login("Demo")
		if got := w.linksOf(user.ID)[0].Username; got == want || !strings.EqualFold(got, want) {
			t.Errorf("keep %t at first: the link says %q", keep, got)
		}
	}
}

// 73: a session note is written anew at each login.
func TestMapperNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mapped(provider.SyncImport, mapper.Note("tenant", "tenant"), mapper.Note("gone", "gone"), mapper.FixedNote("via", "demo")))
	b := brokertest.NewBrowser(t)
	for _, row := range []struct {
		said map[string]any
		want map[string]string
	}{
		{map[string]any{"tenant": "one", "gone": "x"}, map[string]string{"tenant": "one", "gone": "x", "via": "demo"}},
		{map[string]any{"tenant": []any{"two", "three"}}, map[string]string{"tenant": `["two","three"]`, "via": "demo"}},
	} {
		w.says(providertest.User{Name: "Alice"}, row.said)
		b.Get(w.Origin + "/").Click("Demo")
		session, err := w.store.Session(t.Context(), b.Get(w.Origin+"/").Who().Session)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(session.Notes, row.want) {
			t.Errorf("notes are %q, want %q", session.Notes, row.want)
		}
		b = brokertest.NewBrowser(t)
	}
}

// A mapper may write to both maps at each stage and login; what is not for the stage comes to nothing.
func TestMapperFindsMaps(t *testing.T) {
	t.Parallel()
	write := func(stage provider.Stage) provider.Mapper {
		return provider.Mapper{Name: "both", Stage: stage, Map: func(m *provider.Mapping) error {
			m.Profile.Attributes["by"], m.Profile.Notes["by"] = []string{strconv.Itoa(int(stage))}, strconv.Itoa(int(stage))
			return nil
		}}
	}
	w := newWorld(t, mapped(provider.SyncForce, write(provider.StageProfile), write(provider.StageSession)))
	for range 2 {
		who := w.login("Demo").Get(w.Origin + "/").Who()
		user, err := w.store.User(t.Context(), who.ID)
		if err != nil {
			t.Fatal(err)
		}
		session, err := w.store.Session(t.Context(), who.Session)
		if err != nil {
			t.Fatal(err)
		}
		if got := user.Attributes["by"]; !slices.Equal(got, []string{"0"}) || session.Notes["by"] != strconv.Itoa(int(provider.StageSession)) {
			t.Errorf("the user has %q, the session %q", got, session.Notes["by"])
		}
	}
}

// A mapper that can never work is said so at the start, with its place.
func TestMapperMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, m := range map[string]provider.Mapper{
		"regex":    mapper.Role("r", mapper.Condition{Claim: "a", Value: "(", Regex: true}),
		"path":     mapper.Attribute("a[", "x"),
		"reserved": mapper.Attribute("a", "sub"),
		"sync":     mapper.FixedRole("r").With(9),
		"stage":    {Stage: 7, Map: func(*provider.Mapping) error { return nil }},
	} {
		_, err := broker.New(w.config(mapped(provider.SyncImport, mapper.FixedRole("ok"), m)))
		if err == nil || !strings.Contains(err.Error(), `Providers[0] ("demo"): Mappers[1] (`) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// 73: what a mapper notes in the session is said downstream, and anew after each login, by refresh tokens of before, too.
func TestRow73NoteDownstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(mapped(provider.SyncImport, mapper.Note("tenant", "tenant")), func(c *broker.Config) {
		c.Clients[0].Claims = []store.ClientClaim{
			{Name: "tenant", From: "note:tenant", In: []string{store.ClaimInIDToken, store.ClaimInAccessToken, store.ClaimInUserInfo}},
		}
	}))
	b := brokertest.NewBrowser(t)
	var before string
	for _, row := range []struct{ said, want any }{{"one", "one"}, {"two", "two"}, {nil, nil}, {"three", "three"}} {
		w.says(providertest.User{Name: "Alice"}, map[string]any{"tenant": row.said})
		if page := b.Get(w.URL + "/login?prompt=login&return_to=/").Click("Demo"); page.URL.Path != "/" {
			t.Fatalf("login: status %d at %s", page.Status, page.URL)
		}
		a := w.redeem(w.code(b, nil), nil).renewed(t)
		for where, said := range map[string]map[string]any{
			"ID token": part(t, a.IDToken, 1), "access token": part(t, a.AccessToken, 1), "userinfo": w.saidOf(t, a.AccessToken),
			"introspection": w.introspect("rp", a.AccessToken).active(t),
		} {
			if said["tenant"] != row.want {
				t.Errorf("%v: %s says %v", row.said, where, said["tenant"])
			}
		}
		if before != "" {
			if got := part(t, w.refresh(before, nil).renewed(t).IDToken, 1)["tenant"]; got != row.want {
				t.Errorf("%v: a refresh token of before brings %v", row.said, got)
			}
		}
		before = a.RefreshToken
	}
}
