package flowtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

type do func(t *flow.Turn) (flow.Result, error)

func (f do) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) { return f(t) }

func ask(t *flow.Turn) (flow.Result, error) {
	switch {
	case t.Returned != nil, t.Input.Has("ok"):
		return flow.Success(), nil
	case t.Input.Has("leave"):
		return flow.Leave("other"), nil
	case t.Input.Has("error"):
		return flow.Result{}, errors.New("oops")
	}
	return flow.Ask(flow.Page{Name: "ask"}), nil
}

// recorder is a test that may fail without failing the one that uses it.
type recorder struct {
	testing.TB
	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns how a test that does this would fail, "" if it would not.
func failure(t *testing.T, test func(tb testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	over := make(chan struct{})
	go func() {
		defer close(over)
		test(r)
	}()
	<-over
	return r.failure
}

// Each promise of the driver fails the test that breaks it, and no other.
func TestDriver(t *testing.T) {
	t.Parallel()
	f := flow.Flow{{ID: "ask", Do: do(ask)}}
	ok := url.Values{"ok": {""}}
	start := func(tb testing.TB) *flowtest.Driver { return flowtest.Start(tb, f, flowtest.Login{}) }
	tests := []struct {
		name string
		test func(tb testing.TB)
		want string // part of the failure; "" for none
	}{
		{"done", func(tb testing.TB) { d := start(tb); d.Page("ask"); d.Answer(ok); d.Done() }, ""},
		{"left and back", func(tb testing.TB) {
			d := start(tb)
			d.Answer(url.Values{"leave": {""}})
			d.Return(flow.Returned{Alias: "other"})
			d.Done()
		}, ""},
		{"replay", func(tb testing.TB) {
			d := start(tb)
			d.Answer(nil)
			d.Replay(0, ok)
			d.Answer(ok)
			d.Replay(1, ok)
			d.Done()
		}, ""},
		{"flow that Check refuses", func(tb testing.TB) { flowtest.Start(tb, nil, flowtest.Login{}) }, "is empty"},
		{"flow that fails", func(tb testing.TB) { start(tb).Answer(url.Values{"error": {""}}) }, "oops"},
		{"answer when it is over", func(tb testing.TB) { d := start(tb); d.Answer(ok); d.Answer(ok) }, flow.ErrStale.Error()},
		{"back from nowhere", func(tb testing.TB) { start(tb).Return(flow.Returned{Alias: "other"}) }, flow.ErrStale.Error()},
		{"not done", func(tb testing.TB) { start(tb).Done() }, "want done"},
		{"another page", func(tb testing.TB) { start(tb).Page("other") }, "want page other"},
		{"no page", func(tb testing.TB) { d := start(tb); d.Answer(ok); d.Page("ask") }, "want page ask"},
		{"not denied", func(tb testing.TB) { start(tb).Denied("no") }, "want denied"},
		{"denied for another reason", func(tb testing.TB) {
			no := do(func(*flow.Turn) (flow.Result, error) { return flow.Deny("no"), nil })
			flowtest.Start(tb, flow.Flow{{ID: "no", Do: no}}, flowtest.Login{}).Denied("other")
		}, "want denied because of other"},
		{"replay of what is shown", func(tb testing.TB) { start(tb).Replay(0, ok) }, "no earlier pause"},
		{"replay of what never was", func(tb testing.TB) { start(tb).Replay(7, ok) }, "no earlier pause"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := failure(t, tt.test); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got failure %q, want %q", got, tt.want)
			}
		})
	}
}

// A step that keeps what it must remember in itself, or in the turn, does not have it at the next turn.
func TestNothingButJSONSurvives(t *testing.T) {
	t.Parallel()
	var first *flow.Draft
	d := flowtest.Start(t, flow.Flow{{ID: "keeps", Do: do(func(t *flow.Turn) (flow.Result, error) {
		if t.Input == nil {
			first = t.Draft
			return flow.Ask(flow.Page{Name: "ask"}), nil
		}
		first.UserID = "smuggled"
		return flow.Success(), nil
	})}}, flowtest.Login{})
	d.Answer(nil)
	if draft := d.Done(); draft.UserID != "" {
		t.Errorf("draft is for %q, want nobody", draft.UserID)
	}
}

func TestTryAnswer(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{{ID: "ask", Do: do(ask)}}, flowtest.Login{})
	if _, err := d.TryAnswer(url.Values{"error": {""}}); err == nil || errors.Is(err, flow.ErrStale) {
		t.Errorf("got %v, want the step's error", err)
	}
	d.Page("ask")
	if got := d.Outcome().Kind; got != flow.Asked {
		t.Errorf("the outcome is %v after a turn that failed, want that of the turn before", got)
	}
}

func TestLoginDefaults(t *testing.T) {
	t.Parallel()
	var saw flow.Turn
	look := do(func(t *flow.Turn) (flow.Result, error) { saw = *t; return flow.Success(), nil })
	f := flow.Flow{{ID: "look", Do: look}}
	flowtest.Start(t, f, flowtest.Login{}).Done()
	if saw.Provider.Alias != "upstream" || saw.Identity.Subject != "subject" || saw.Now.IsZero() || saw.Language != "en" || saw.Accounts == nil {
		t.Errorf("got %+v, want defaults", saw)
	}
	flowtest.Start(t, f, flowtest.Login{
		Provider: flow.Provider{Alias: "a", TrustEmail: true},
		Identity: &provider.Identity{Subject: "1", Email: "a@example.com", EmailVerified: true},
	}).Done()
	if p := saw.Draft.Profile; p.Email != "a@example.com" || !p.EmailVerified {
		t.Errorf("got profile %+v, want the identity's", p)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	key := store.LinkKey{Provider: "p", Issuer: "i", Subject: "s"}
	a := &flowtest.Accounts{
		Users: []*store.User{{ID: "1", Username: "ann", Email: "x@example.com"}, {ID: "2", Username: "bob", Email: "x@example.com"}},
		Links: []*store.Link{{LinkKey: key, UserID: "1"}},
	}
	if u, err := a.User(ctx, "2"); err != nil || u.Username != "bob" {
		t.Errorf("User(2) got %v, %v, want bob", u, err)
	}
	if _, err := a.User(ctx, "3"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("User(3) got %v, want %v", err, store.ErrNotFound)
	}
	for q, want := range map[store.UserQuery]int{{Email: "x@example.com"}: 2, {Username: "ann"}: 1, {Username: "Ann"}: 0, {Email: "ann"}: 0} {
		if got, err := a.FindUsers(ctx, q); err != nil || got == nil || len(got) != want {
			t.Errorf("FindUsers(%+v) got %d, %v, want %d", q, len(got), err, want)
		}
	}
	for _, q := range []store.UserQuery{{}, {Username: "ann", Email: "x@example.com"}} {
		if _, err := a.FindUsers(ctx, q); err == nil {
			t.Errorf("FindUsers(%+v) got no error", q)
		}
	}
	if l, err := a.Link(ctx, key); err != nil || l.UserID != "1" {
		t.Errorf("Link got %v, %v, want that of 1", l, err)
	}
	key.Issuer = ""
	if _, err := a.Link(ctx, key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Link of another issuer got %v, want %v", err, store.ErrNotFound)
	}
	for id, want := range map[string]int{"1": 1, "2": 0} {
		if got, err := a.LinksOf(ctx, id); err != nil || got == nil || len(got) != want {
			t.Errorf("LinksOf(%s) got %d, %v, want %d", id, len(got), err, want)
		}
	}
}
