package social_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A world is a broker, and the vendors that it knows.
type world struct {
	*brokertest.Server
	t     testing.TB
	store *memstore.Store
	wire  wire
}

// newWorld starts a broker that trusts all vendors for e-mail addresses. edit may be nil.
func newWorld(t testing.TB, edit func(*broker.Config), all ...*vendor) (*world, []*double) {
	t.Helper()
	w := &world{t: t, store: memstore.New(), wire: wire{hosts: map[string]string{}, base: &http.Transport{}}}
	t.Cleanup(w.wire.base.CloseIdleConnections)
	var doubles []*double
	w.Server = brokertest.Start(t, func(base string) broker.Config {
		c := broker.Config{Store: w.store, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
		for _, v := range all {
			doubles = append(doubles, v.start(t, &w.wire, brokertest.CallbackURL(base, v.alias)))
			c.Providers = append(c.Providers, broker.Provider{
				Alias: v.alias, IdP: v.idp(&http.Client{Transport: &wire{hosts: w.wire.hosts, base: w.wire.base}}),
				TrustEmail: true,
			})
		}
		if edit != nil {
			edit(&c)
		}
		return c
	})
	w.wire.broker = strings.TrimPrefix(w.Origin, "http://")
	return w, doubles
}

// one is newWorld for one vendor.
func one(t testing.TB, v *vendor, edit func(*broker.Config)) (*world, *double) {
	t.Helper()
	w, doubles := newWorld(t, edit, v)
	return w, doubles[0]
}

// signIn takes a new browser through a login and returns where it ends.
func (w *world) signIn(d *double) *brokertest.Page {
	w.t.Helper()
	b := brokertest.NewBrowser(w.t)
	b.Transport = &w.wire
	page := b.Get(w.Origin + "/").Click("Continue with " + d.name)
	if page.URL.Host == hostOf(d.authorize) && d.formPost {
		page = page.Submit(nil)
	}
	return page
}

// in takes a new browser through a login that has to succeed and returns the user.
func (w *world) in(d *double) *store.User {
	w.t.Helper()
	return w.user(w.signIn(d))
}

// user returns who is signed in at a page of the host application.
func (w *world) user(page *brokertest.Page) *store.User {
	w.t.Helper()
	if page.Status != http.StatusOK || page.URL.Path != "/" || "http://"+page.URL.Host != w.Origin {
		w.t.Fatalf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	user, err := w.store.User(w.t.Context(), page.Who().ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return user
}

// link returns the one link of a user.
func (w *world) link(user *store.User) *store.Link {
	w.t.Helper()
	links, err := w.store.LinksOf(w.t.Context(), user.ID)
	if err != nil || len(links) != 1 {
		w.t.Fatalf("links of %s: %+v, %v", user.Username, links, err)
	}
	return links[0]
}

// refused fails unless nobody was signed in, and the page is an error page of the broker's own that says text.
func (w *world) refused(page *brokertest.Page, text string) {
	w.t.Helper()
	switch {
	case page.Status < 400 || page.Status == http.StatusInternalServerError:
		w.t.Errorf("status %d at %s", page.Status, page.URL)
	case !strings.Contains(page.Body, text):
		w.t.Errorf("status %d, and the page does not say %q:\n%s", page.Status, text, page.Body)
	case strings.Contains(page.Body, confidential):
		w.t.Errorf("the page says what the vendor wrote:\n%s", page.Body)
	}
}

// nobody fails if there is a user with this name or address.
func (w *world) nobody(username, email string) {
	w.t.Helper()
	for _, q := range []store.UserQuery{{Username: strings.ToLower(username)}, {Email: email}} {
		if q == (store.UserQuery{}) {
			continue
		}
		if found, err := w.store.FindUsers(w.t.Context(), q); err != nil || len(found) != 0 {
			w.t.Errorf("%+v: %d users, %v", q, len(found), err)
		}
	}
}

// add makes a user who has proved an address.
func (w *world) add(username, email string) *store.User {
	w.t.Helper()
	u := &store.User{ID: "id-of-" + username, Username: username, Email: email, EmailVerified: true, Name: "Already Here"}
	if err := w.store.CreateUser(w.t.Context(), u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// autoLink is the flow that is easiest to fool: who comes with a verified address is its user.
func autoLink(c *broker.Config) {
	c.FirstLogin = flow.Flow{
		{ID: "auto", When: flow.Alternative, Do: firstlogin.AutoLink{}},
		{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
	}
}

// Every vendor, by its documentation, through a whole login.
func TestVendors(t *testing.T) {
	t.Parallel()
	for _, v := range vendors() {
		t.Run(v.alias, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, *vendor){
				"success": testSuccess, "refusal": testRefusal, "no address": testNoEmail,
				"an address that is not verified": testUnverified,
				"linked by address":               testLinked, "errors": testErrors, "renamed": testRenamed, "nobody": testNoID,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, v)
				})
			}
		})
	}
}

func testSuccess(t *testing.T, v *vendor) {
	w, d := one(t, v, autoLink)
	user := w.in(d)
	link := w.link(user)
	got := want{link.Subject, user.Username, user.Name, user.FirstName, user.LastName, user.Picture}
	if got != v.want {
		t.Errorf("got  %+v\nwant %+v", got, v.want)
	}
	if link.Provider != v.alias || link.Issuer != v.issuer {
		t.Errorf("linked to %q at %q, want %q at %q", link.Provider, link.Issuer, v.alias, v.issuer)
	}
	if who := v.ann(); user.Email != who.email || user.EmailVerified != v.verifies {
		t.Errorf("address %q, verified %v; want %q, %v", user.Email, user.EmailVerified, who.email, v.verifies)
	}
	if again := w.in(d); again.ID != user.ID {
		t.Error("the second login is somebody else's")
	}
}

func testRefusal(t *testing.T, v *vendor) {
	w, d := one(t, v, nil)
	d.set(func(d *double) { d.denied = true })
	page := w.signIn(d)
	switch {
	case page.Status != http.StatusOK || !strings.Contains(page.Body, cancelled):
		t.Errorf("status %d at %s:\n%s", page.Status, page.URL, page.Body)
	case strings.Contains(page.Body, confidential):
		t.Errorf("the page says what the vendor wrote:\n%s", page.Body)
	}
	if d.asked(v.token) != 0 {
		t.Error("the token endpoint was asked")
	}
	d.set(func(d *double) { d.denied = false })
	page = page.Click("Continue with " + v.name)
	if d.formPost {
		page = page.Submit(nil)
	}
	if page.Status != http.StatusOK || page.URL.Host != hostOf(w.Origin) {
		t.Errorf("the second try: status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
}

// Without an address they are asked for one, which nobody has verified.
func testNoEmail(t *testing.T, v *vendor) {
	w, d := one(t, v, nil)
	d.set(func(d *double) { d.who.email, d.who.verified = "", false })
	page := w.signIn(d)
	if page.URL.Host != hostOf(w.Origin) || page.URL.Path == "/" {
		t.Fatalf("status %d at %s, want the page that asks for an address\n%s", page.Status, page.URL, page.Body)
	}
	fields := url.Values{"email": {"typed@initech.example"}}
	if _, filled, _ := page.Form(); filled.Get("username") == "" {
		fields.Set("username", "ann-typed")
	}
	user := w.user(page.Submit(fields))
	if user.Email != "typed@initech.example" || user.EmailVerified {
		t.Errorf("address %q, verified %v", user.Email, user.EmailVerified)
	}
}

// What a vendor has not verified is not verified here, although the vendor is trusted, and opens no account.
func testUnverified(t *testing.T, v *vendor) {
	if v.noEmail || v.onlyVerified {
		assertNoEmail(t, v)
		return
	}
	w, d := one(t, v, autoLink)
	victim := w.add("victim", "victim@initech.example")
	d.set(func(d *double) { d.who.verified = false })
	if user := w.in(d); user.EmailVerified || user.Email != "ann@initech.example" {
		t.Errorf("address %q, verified %v", user.Email, user.EmailVerified)
	}
	d.set(func(d *double) { d.who.id, d.who.email = changedID(d.who.id), victim.Email })
	w.refused(w.signIn(d), "already exists")
	if links, err := w.store.LinksOf(t.Context(), victim.ID); err != nil || len(links) != 0 {
		t.Errorf("the victim is linked to %+v, %v", links, err)
	}
}

// changedID returns the id of somebody else.
func changedID(id string) string {
	last := id[len(id)-1]
	if last == '7' {
		return id[:len(id)-1] + "8"
	}
	return id[:len(id)-1] + "7"
}

// assertNoEmail wants no address of a vendor that has none, or none that is not verified.
func assertNoEmail(t *testing.T, v *vendor) {
	w, d := one(t, v, autoLink)
	d.set(func(d *double) { d.who.verified = false })
	if user := w.in(d); user.Email != "" || user.EmailVerified {
		t.Errorf("address %q, verified %v, of a vendor that has none", user.Email, user.EmailVerified)
	}
}

// That an address opens the account which has it is what testUnverified rests on; and who does not verify opens none.
func testLinked(t *testing.T, v *vendor) {
	if v.noEmail {
		assertNoEmail(t, v)
		return
	}
	w, d := one(t, v, autoLink)
	local := w.add("ann-local", "ann@initech.example")
	if !v.verifies {
		w.refused(w.signIn(d), "already exists")
		return
	}
	if user := w.in(d); user.ID != local.ID || w.link(user).Subject != v.want.subject {
		t.Errorf("signed in as %s, linked to %+v", user.ID, w.link(user))
	}
}

// junk is what servers send in place of an answer, their vendors or what stands before them.
var junk = []reply{
	{status: 500, contentType: "text/html", body: "<h1>" + confidential + "</h1>"},
	{status: 503, body: `{"error":"` + confidential + `"}`},
	{status: 200, contentType: "text/html", body: "<h1>" + confidential + "</h1>"},
	{status: 200, body: `{"` + confidential + `":`},
	{status: 200, body: `[]`},
	{status: 200, body: `null`},
	{status: 200, body: `{"error":{"message":"` + confidential + `","code":190}}`},
	{status: 200, body: `{"error":["` + confidential + `"],"error_description":7}`},
	{status: 200, body: `"` + confidential + `"`},
	{status: 302, body: confidential},
	{status: 204},
}

// An error of the vendor's is a page of ours, which tells nothing of it, and nobody's login.
func testErrors(t *testing.T, v *vendor) {
	type row struct {
		address string
		say     reply
		text    string
	}
	rows := []row{
		{v.token, v.badCode, v.expired},
		{v.token, v.badClient, notSetUp},
	}
	for _, j := range junk {
		rows = append(rows, row{v.token, j, ""})
	}
	for _, a := range v.apis {
		if v.openID != nil {
			continue // whether it is asked at all is the preset's business: see TestUserInfo
		}
		rows = append(rows, row{a.url, a.broken, ""})
		for _, j := range junk {
			if j.body == `[]` && strings.HasSuffix(a.url, "/emails") {
				continue // nobody has an address there
			}
			rows = append(rows, row{a.url, j, ""})
		}
	}
	w, d := one(t, v, nil)
	for _, r := range rows {
		before := d.asked(r.address)
		d.set(func(d *double) { d.says = map[string]reply{r.address: r.say} })
		page := w.signIn(d)
		t.Logf("%s: %d %.40q: status %d", r.address, r.say.status, r.say.body, page.Status)
		w.refused(page, r.text)
		if d.asked(r.address) != before+1 {
			t.Errorf("%s was asked %d times", r.address, d.asked(r.address)-before)
		}
	}
	w.nobody(v.want.username, "ann@initech.example")
}

// Names and addresses change, and are somebody else's then; the account stays.
func testRenamed(t *testing.T, v *vendor) {
	w, d := one(t, v, autoLink)
	user := w.in(d)
	before := w.link(user)
	d.set(func(d *double) {
		d.who.user, d.who.name, d.who.first, d.who.last = "ann-of-old", "Ann Old", "Ann", "Old"
		if !d.noEmail {
			d.who.email = "ann.old@initech.example"
		}
	})
	if again := w.in(d); again.ID != user.ID || again.Username != user.Username {
		t.Errorf("came back as %s (%s), was %s (%s)", again.ID, again.Username, user.ID, user.Username)
	}
	after := w.link(user)
	if !v.noEmail && after.Email != "ann.old@initech.example" {
		t.Errorf("the link's address is %q", after.Email)
	}
	if after.Username == before.Username && before.Username != before.Subject {
		t.Errorf("the link is still called %q", after.Username)
	}
	// Somebody else takes the name that became free.
	d.set(func(d *double) {
		d.who = v.ann()
		d.who.id = changedID(d.who.id)
		if !d.noEmail {
			d.who.email = "newcomer@initech.example"
		}
	})
	if page := w.signIn(d); page.URL.Path == "/" && page.Status == http.StatusOK && page.Who().ID == user.ID {
		t.Error("who took the name is signed in as the one who had it")
	}
}

// Who has no id is nobody: all who lack one would be the same.
func testNoID(t *testing.T, v *vendor) {
	w, d := one(t, v, autoLink)
	for _, id := range []string{"", "0", " ", "null"} {
		if id == "0" && !v.numbers {
			continue // a text like any other
		}
		d.set(func(d *double) { d.who.id = id })
		page := w.signIn(d)
		if page.Status < 400 {
			t.Errorf("id %q: status %d at %s", id, page.Status, page.URL)
		}
		w.refused(page, notVerified)
	}
	w.nobody(v.want.username, "ann@initech.example")
}
