// Package flowtest drives a flow in a test, without HTTP and without a browser.
//
// It owns the [Driver], which answers pages, goes back to old ones and puts the flow's state through JSON between any two
// turns, as a broker does; and [Accounts], a handful of users and links in memory.
//
//	d := flowtest.Start(t, f, flowtest.Login{Identity: &provider.Identity{Subject: "1", Email: "ann@example.com"}})
//	d.Page("terms")
//	d.Answer(url.Values{"accept": {"yes"}})
//	draft := d.Done()
package flowtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// A Login is what a flow is started with. The zero value is somebody with the subject "subject" from an upstream with
// the alias "upstream", and no accounts.
type Login struct {
	Provider flow.Provider      // an empty Alias is "upstream"
	Identity *provider.Identity // nil is one with the Subject "subject"
	Draft    *flow.Draft        // nil has the identity's profile before any mapper
	Accounts flow.Accounts      // nil is empty
	Now      time.Time          // zero is noon UTC on 1 January 2030
	Language string             // "" is "en"
	Lent     flow.Lent          // what the broker lends; the zero value is nothing
}

func (l Login) withDefaults() Login {
	if l.Provider.Alias == "" {
		l.Provider.Alias = "upstream"
	}
	if l.Identity == nil {
		l.Identity = &provider.Identity{Subject: "subject"}
	}
	if l.Draft == nil {
		l.Draft = &flow.Draft{Profile: provider.ProfileOf(l.Identity, l.Provider.TrustEmail)}
	}
	if l.Accounts == nil {
		l.Accounts = &Accounts{}
	}
	if l.Now.IsZero() {
		l.Now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	}
	if l.Language == "" {
		l.Language = "en"
	}
	return l
}

// A Driver is one visitor in one flow. It is not safe for concurrent use.
type Driver struct {
	tb     testing.TB
	flow   flow.Flow
	login  Login
	state  []byte // JSON, as it is between two turns
	draft  []byte
	tokens []string // of the pauses so far
	last   flow.Outcome
}

// Start checks f, begins it, and fails the test if either is an error.
func Start(tb testing.TB, f flow.Flow, l Login) *Driver {
	tb.Helper()
	if err := f.Check(); err != nil {
		tb.Fatalf("flow: %v", err)
	}
	l = l.withDefaults()
	d := &Driver{tb: tb, flow: f, login: l}
	d.state, d.draft = d.json(flow.State{}), d.json(l.Draft)
	d.must(d.run(flow.Turn{}))
	return d
}

// Answer answers the page that is shown, and fails the test if the flow fails.
func (d *Driver) Answer(form url.Values) flow.Outcome {
	d.tb.Helper()
	return d.must(d.TryAnswer(form))
}

// TryAnswer is Answer for a flow that may fail. If it does, the test fails unless the state and draft are unchanged.
func (d *Driver) TryAnswer(form url.Values) (flow.Outcome, error) {
	d.tb.Helper()
	return d.run(flow.Turn{Token: d.token(), Input: answer(form)})
}

// Return comes back from the upstream that the flow has sent the browser to.
func (d *Driver) Return(from flow.Returned) flow.Outcome {
	d.tb.Helper()
	return d.must(d.run(flow.Turn{Token: d.token(), Returned: &from}))
}

// Replay answers the nth pause (the first is 0) once more, as a back button, a second tab or a second click does. It
// fails the test unless that is [flow.ErrStale] and changes nothing. For the pause that the flow is in, use Answer.
func (d *Driver) Replay(n int, form url.Values) {
	d.tb.Helper()
	if n < 0 || n >= len(d.tokens) || d.tokens[n] == d.token() {
		d.tb.Fatalf("there is no earlier pause %d: the flow has paused %d times", n, len(d.tokens))
	}
	if _, err := d.run(flow.Turn{Token: d.tokens[n], Input: answer(form)}); !errors.Is(err, flow.ErrStale) {
		d.tb.Fatalf("answer to the old pause %d: got error %v, want %v", n, err, flow.ErrStale)
	}
}

// Outcome returns how the last turn ended.
func (d *Driver) Outcome() flow.Outcome { return d.last }

// Page fails the test unless the flow is paused at the page of this name, and returns it.
func (d *Driver) Page(name string) *flow.Page {
	d.tb.Helper()
	s := d.read()
	if s.Page() == nil || s.Page().Name != name {
		d.tb.Fatalf("got %+v, want page %s", d.last, name)
	}
	return s.Page()
}

// Done fails the test unless the flow has succeeded, and returns the draft.
func (d *Driver) Done() *flow.Draft {
	d.tb.Helper()
	if d.last.Kind != flow.Done {
		d.tb.Fatalf("got %+v, want %v", d.last, flow.Done)
	}
	return d.Draft()
}

// Denied fails the test unless the flow was denied for this reason, and returns the data of the message.
func (d *Driver) Denied(reason string) map[string]any {
	d.tb.Helper()
	if d.last.Kind != flow.Denied || d.last.Reason != reason {
		d.tb.Fatalf("got %+v, want %v because of %s", d.last, flow.Denied, reason)
	}
	return d.last.Data
}

// Draft returns a copy of the draft as it is now.
func (d *Driver) Draft() *flow.Draft {
	d.tb.Helper()
	var draft flow.Draft
	if err := json.Unmarshal(d.draft, &draft); err != nil {
		d.tb.Fatalf("read draft: %v", err)
	}
	return &draft
}

// run is one turn: out of JSON, through the flow, into JSON.
func (d *Driver) run(t flow.Turn) (flow.Outcome, error) {
	d.tb.Helper()
	s := d.read()
	t.Provider, t.Identity, t.Draft, t.Accounts = d.login.Provider, d.login.Identity, d.Draft(), d.login.Accounts
	t.Now, t.Language, t.Lent = d.login.Now, d.login.Language, d.login.Lent
	out, err := d.flow.Run(d.tb.Context(), s, &t)
	state, draft := d.json(s), d.json(t.Draft)
	if err != nil {
		if string(state) != string(d.state) || string(draft) != string(d.draft) {
			d.tb.Fatalf("flow: failed (%v), but changed %s %s to %s %s", err, d.state, d.draft, state, draft)
		}
		return out, err
	}
	d.state, d.draft, d.last = state, draft, out
	if s.Token() != "" {
		d.tokens = append(d.tokens, s.Token())
	}
	return out, nil
}

func (d *Driver) must(out flow.Outcome, err error) flow.Outcome {
	d.tb.Helper()
	if err != nil {
		d.tb.Fatalf("flow: %v", err)
	}
	return out
}

func (d *Driver) token() string {
	d.tb.Helper()
	return d.read().Token()
}

func (d *Driver) read() *flow.State {
	d.tb.Helper()
	var s flow.State
	if err := json.Unmarshal(d.state, &s); err != nil {
		d.tb.Fatalf("flow: %v", err)
	}
	return &s
}

func (d *Driver) json(v any) []byte {
	d.tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		d.tb.Fatalf("write %T: %v", v, err)
	}
	return text
}

// answer makes sure that an empty form is an answer.
func answer(form url.Values) url.Values {
	if form == nil {
		return url.Values{}
	}
	return form
}

// Accounts are users and links in memory. It hands out copies of neither: a test sees what a step does to them.
type Accounts struct {
	Users []*store.User
	Links []*store.Link
}

var _ flow.Accounts = (*Accounts)(nil)

// User returns the user with this id, or [store.ErrNotFound].
func (a *Accounts) User(_ context.Context, id string) (*store.User, error) {
	for _, u := range a.Users {
		if u.ID == id {
			return u, nil
		}
	}
	return nil, store.ErrNotFound
}

// FindUsers returns the users that q names.
func (a *Accounts) FindUsers(_ context.Context, q store.UserQuery) ([]*store.User, error) {
	if (q.Username == "") == (q.Email == "") {
		return nil, errors.New("flowtest: a query names users by exactly one field")
	}
	found := []*store.User{}
	for _, u := range a.Users {
		if q.Username != "" && u.Username == q.Username || q.Email != "" && u.Email == q.Email {
			found = append(found, u)
		}
	}
	return found, nil
}

// Link returns the link with this key, or [store.ErrNotFound].
func (a *Accounts) Link(_ context.Context, key store.LinkKey) (*store.Link, error) {
	for _, l := range a.Links {
		if l.LinkKey == key {
			return l, nil
		}
	}
	return nil, store.ErrNotFound
}

// LinksOf returns the links of a user.
func (a *Accounts) LinksOf(_ context.Context, userID string) ([]*store.Link, error) {
	found := []*store.Link{}
	for _, l := range a.Links {
		if l.UserID == userID {
			found = append(found, l)
		}
	}
	return found, nil
}
