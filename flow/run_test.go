package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/provider"
)

func say(s string) url.Values { return url.Values{"say": {s}} }

func TestStepsThatEndedAreNotRunAgain(t *testing.T) {
	t.Parallel()
	runs := map[string]int{}
	count := func(id string, r flow.Result) flow.Step {
		return flow.Step{ID: id, Do: do(func(context.Context, *flow.Turn) (flow.Result, error) { runs[id]++; return r, nil })}
	}
	skips := count("skips", flow.Skip())
	skips.When = flow.Alternative
	conditions := 0
	f := flow.Flow{
		count("first", flow.Success()),
		{ID: "choice", Sub: flow.Flow{skips, {ID: "asks", When: flow.Alternative, Do: do(form)}}},
		{ID: "maybe", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: flow.If(func(context.Context, *flow.Turn) (bool, error) { conditions++; return true, nil })},
			{ID: "asks-too", Do: do(form)},
		}},
		count("last", flow.Success()),
	}
	d := flowtest.Start(t, f, flowtest.Login{})
	d.Page("form")
	d.Answer(nil)
	d.Answer(say("success"))
	if got := d.Outcome().Step; got != "asks-too" {
		t.Fatalf("paused at %q, want asks-too", got)
	}
	d.Answer(say("success"))
	d.Done()
	want := map[string]int{"first": 1, "skips": 1, "last": 1}
	if !reflect.DeepEqual(runs, want) || conditions != 1 {
		t.Errorf("ran %v and the condition %d times, want %v and 1", runs, conditions, want)
	}
}

func TestAnAlternativeThatWasAskedMaySkip(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{
		{ID: "mail", When: flow.Alternative, Do: do(form)},
		{ID: "password", When: flow.Alternative, Do: do(form)},
	}, flowtest.Login{})
	if out := d.Answer(say("skip")); out.Step != "password" {
		t.Fatalf("paused at %q, want password", out.Step)
	}
	d.Answer(say("skip"))
	d.Denied(flow.ReasonUndecided)
}

// An empty answer, one out of order, one to an old page and one with another flow's token change nothing
// (advisories: a stage skipped by an empty POST, or by another flow's id).
func TestStaleTurns(t *testing.T) {
	t.Parallel()
	f := flow.Flow{{ID: "one", Do: do(form)}, {ID: "two", Do: do(form)}}
	other := flow.Flow{{ID: "one", Do: do(form)}, {ID: "two", When: flow.Disabled, Do: do(form)}}
	begin := func() *flow.State {
		s := &flow.State{}
		if _, err := f.Run(t.Context(), s, newTurn()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	elsewhere := begin()
	onward := begin()
	old := onward.Token()
	turn := newTurn()
	turn.Token, turn.Input = old, say("success")
	if _, err := f.Run(t.Context(), onward, turn); err != nil {
		t.Fatal(err)
	}
	over := begin()
	turn = newTurn()
	turn.Token, turn.Input = over.Token(), say("deny")
	if _, err := f.Run(t.Context(), over, turn); err != nil {
		t.Fatal(err)
	}

	came := &flow.Returned{Alias: "other"}
	paused := begin()
	tests := []struct {
		name  string
		flow  flow.Flow
		state *flow.State
		turn  flow.Turn
	}{
		{"an answer before the flow began", f, &flow.State{}, flow.Turn{Input: say("success")}},
		{"a token before the flow began", f, &flow.State{}, flow.Turn{Token: "x"}},
		{"a return before the flow began", f, &flow.State{}, flow.Turn{Returned: came}},
		{"begun again", f, paused, flow.Turn{}},
		{"an answer without a token", f, paused, flow.Turn{Input: say("success")}},
		{"a token without an answer", f, paused, flow.Turn{Token: paused.Token()}},
		{"a part of the token", f, paused, flow.Turn{Token: paused.Token()[1:], Input: say("success")}},
		{"another login's token", f, paused, flow.Turn{Token: elsewhere.Token(), Input: say("success")}},
		{"a return to a page", f, paused, flow.Turn{Token: paused.Token(), Returned: came}},
		{"an answer and a return", f, paused, flow.Turn{Token: paused.Token(), Returned: came, Input: say("success")}},
		{"the page before", f, onward, flow.Turn{Token: old, Input: say("success")}},
		{"another flow", other, paused, flow.Turn{Token: paused.Token(), Input: say("success")}},
		{"a flow that is over", f, over, flow.Turn{Token: turn.Token, Input: say("success")}},
		{"a flow that is over, begun again", f, over, flow.Turn{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := json.Marshal(tt.state)
			tt.turn.Draft = &flow.Draft{}
			out, err := tt.flow.Run(t.Context(), tt.state, &tt.turn)
			if !errors.Is(err, flow.ErrStale) {
				t.Errorf("got %v and error %v, want %v", out.Kind, err, flow.ErrStale)
			}
			if after, _ := json.Marshal(tt.state); string(after) != string(before) {
				t.Errorf("state changed from %s to %s", before, after)
			}
		})
	}
}

func TestEachPageHasItsOwnToken(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{{ID: "form", Do: do(form)}}, flowtest.Login{})
	d.Answer(nil)
	d.Answer(nil)
	d.Replay(0, say("success"))
	d.Replay(1, say("success"))
	d.Page("form")
	d.Answer(say("success"))
	d.Replay(2, say("success")) // the second click
	d.Done()
}

func TestLeave(t *testing.T) {
	t.Parallel()
	var came *flow.Returned
	reauth := do(func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		if came = t.Returned; came != nil && came.UserID == "ann" {
			t.Draft.UserID = "ann"
			return flow.Success(), nil
		}
		return form(ctx, t)
	})
	next := do(func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		if t.Returned != nil {
			return flow.Deny("not_for_me"), nil
		}
		return form(ctx, t)
	})
	f := flow.Flow{{ID: "reauth", Do: reauth}, {ID: "next", Do: next}}
	ann := flow.Returned{Alias: "other", Identity: &provider.Identity{Subject: "7"}, UserID: "ann"}

	t.Run("and come back", func(t *testing.T) {
		d := flowtest.Start(t, f, flowtest.Login{})
		if out := d.Answer(say("leave")); out.Kind != flow.Left || out.Alias != "other" || out.Step != "reauth" {
			t.Fatalf("got %+v, want left for other", out)
		}
		if out := d.Return(ann); out.Step != "next" || came.Identity.Subject != "7" {
			t.Fatalf("got %+v and %+v, want paused at next and who came back", out, came)
		}
		if d.Draft().UserID != "ann" {
			t.Errorf("draft is for %q, want ann", d.Draft().UserID)
		}
		d.Answer(say("success"))
		d.Done()
	})
	t.Run("as nobody, and see the page again", func(t *testing.T) {
		d := flowtest.Start(t, f, flowtest.Login{})
		d.Answer(say("leave"))
		d.Return(flow.Returned{Alias: "other", Identity: &provider.Identity{Subject: "8"}})
		d.Page("form")
	})
	t.Run("and press back", func(t *testing.T) {
		d := flowtest.Start(t, f, flowtest.Login{})
		d.Answer(say("leave"))
		d.Replay(0, say("success"))
		d.Page("form") // what "continue" shows
		if out := d.Answer(nil); out.Kind != flow.Asked {
			t.Fatalf("got %+v, want asked", out)
		}
	})
	t.Run("and come back from elsewhere", func(t *testing.T) {
		s := &flow.State{}
		turn := newTurn()
		leave := flow.Flow{{ID: "leave", Do: always(flow.Leave("other"))}}
		if out, err := leave.Run(t.Context(), s, turn); err != nil || out.Kind != flow.Left || s.Alias() != "other" || s.Page() != nil {
			t.Fatalf("got %+v, %v, page %v, want left for other", out, err, s.Page())
		}
		turn.Token = s.Token()
		turn.Returned = &flow.Returned{Alias: "evil", UserID: "ann"}
		if _, err := leave.Run(t.Context(), s, turn); !errors.Is(err, flow.ErrStale) {
			t.Errorf("back from another upstream: got %v, want %v", err, flow.ErrStale)
		}
		turn.Returned, turn.Input = nil, say("success")
		if _, err := leave.Run(t.Context(), s, turn); !errors.Is(err, flow.ErrStale) {
			t.Errorf("an answer where there is no page: got %v, want %v", err, flow.ErrStale)
		}
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	f := flow.Flow{
		{ID: "review", Do: do(func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
			if mail := t.Input.Get("mail"); mail != "" {
				t.Draft.Profile.Email = mail
				return flow.Success(), nil
			}
			return flow.Ask(flow.Page{Name: "review", Data: map[string]any{"mail": t.Draft.Profile.Email}}), nil
		})},
		{ID: "who", Do: do(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
			if t.Get("seen") != "" {
				return flow.Deny("remembered_too_much"), nil
			}
			t.Set("seen", "yes")
			t.Draft.UserID, t.Draft.Existing = "ann", &flow.Existing{UserID: "ann", Field: "email"}
			return flow.Success(), nil
		})},
		{ID: "confirm", Do: do(form)},
	}
	d := flowtest.Start(t, f, flowtest.Login{Draft: &flow.Draft{UserID: "initial"}})
	for range 32 {
		d.Answer(url.Values{"mail": {"b@example.com"}})
		d.Answer(say("restart"))
		if got := d.Page("review").Data["mail"]; got != "b@example.com" {
			t.Fatalf("the form is filled with %v, want what was edited", got)
		}
		if draft := d.Draft(); draft.UserID != "initial" || draft.Existing != nil {
			t.Fatalf("draft is %+v, want as it was at the start but for the profile", draft)
		}
	}
	d.Answer(url.Values{"mail": {"b@example.com"}})
	d.Answer(say("restart"))
	d.Denied(flow.ReasonRestarts)

	flowtest.Start(t, flow.Flow{{ID: "loop", Do: always(flow.Restart())}}, flowtest.Login{}).Denied(flow.ReasonRestarts)
}

func TestMemoryIsTheStepsOwn(t *testing.T) {
	t.Parallel()
	counts := func(_ context.Context, t *flow.Turn) (flow.Result, error) {
		if t.Get("n") == "xx" {
			return flow.Success(), nil
		}
		t.Set("n", t.Get("n")+"x")
		t.Set("bad\xff", "\xfe")
		return flow.Ask(flow.Page{Name: "form", Data: map[string]any{"n": t.Get("n")}}), nil
	}
	d := flowtest.Start(t, flow.Flow{{ID: "a", Do: do(counts)}, {ID: "b", Do: do(counts)}}, flowtest.Login{})
	for _, want := range []string{"x", "xx", "x", "xx"} {
		if got := d.Page("form").Data["n"]; got != want {
			t.Fatalf("got memory %v, want %v", got, want)
		}
		d.Answer(nil)
	}
	d.Done()
}

func TestResultsThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		result flow.Result
		want   string
	}{
		{"zero", flow.Result{}, "no result"},
		{"page without a name", flow.Ask(flow.Page{}), "template"},
		{"page that is a path", flow.Ask(flow.Page{Name: "../x"}), "template"},
		{"page with a function", flow.Ask(flow.Page{Name: "p", Data: map[string]any{"f": func() {}}}), "data"},
		{"reason that is a sentence", flow.Deny("<b>No!</b>"), "message"},
		{"no reason", flow.Deny(""), "message"},
		{"long reason", flow.Deny(strings.Repeat("a", 65)), "message"},
		{"reason with a function", flow.DenyPage("no", map[string]any{"f": func() {}}), "data"},
		{"leave for nowhere", flow.Leave(""), "alias"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s flow.State
			out, err := flow.Flow{{ID: "step", Do: always(tt.result)}}.Run(t.Context(), &s, newTurn())
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "step") {
				t.Errorf("got %v and error %v, want an error about %q that names the step", out.Kind, err, tt.want)
			}
		})
	}
}

// What a page shows is the same when it is shown first and when it comes out of the state.
func TestPageIsPlain(t *testing.T) {
	t.Parallel()
	type named struct {
		N int64 `json:"n"`
	}
	d := flowtest.Start(t, flow.Flow{{ID: "p", Do: always(flow.Ask(flow.Page{
		Name:   "p",
		Data:   map[string]any{"x": named{1 << 60}, "bad": "\xff", "list": []string{"a"}},
		Errors: map[string]string{"mail": "invalid_email"},
	}))}}, flowtest.Login{})
	first := d.Outcome().Page
	if again := d.Page("p"); !reflect.DeepEqual(first, again) {
		t.Errorf("shown first: %#v\nthen: %#v", first, again)
	}
	if got := first.Data["x"]; !reflect.DeepEqual(got, map[string]any{"n": json.Number("1152921504606846976")}) {
		t.Errorf("got %#v, want the number as it was", got)
	}
}

func TestErrorsChangeNothing(t *testing.T) {
	t.Parallel()
	f := flow.Flow{{ID: "ask", Do: do(form)}, {ID: "break", Do: do(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
		t.Draft.Profile.Attributes["x"] = []string{"edited"}
		t.Draft.UserID = "ann"
		return flow.Result{}, errOops
	})}}
	d := flowtest.Start(t, f, flowtest.Login{})
	for range 2 { // the visitor may try again
		if _, err := d.TryAnswer(say("success")); !errors.Is(err, errOops) || !strings.Contains(err.Error(), "step break") {
			t.Fatalf("got %v, want %v with the step's name", err, errOops)
		}
		d.Page("form")
	}
}

func TestFailedAlternatives(t *testing.T) {
	t.Parallel()
	broken := flow.Step{ID: "broken", When: flow.Alternative, Do: fail(errOops)}
	asks := flow.Step{ID: "asks", When: flow.Alternative, Do: do(form)}

	t.Run("are reported while the flow goes on", func(t *testing.T) {
		d := flowtest.Start(t, flow.Flow{broken, asks}, flowtest.Login{})
		if out := d.Outcome(); out.Kind != flow.Asked || !errors.Is(out.Failed, errOops) {
			t.Fatalf("got %+v, want a page, and the error for the log", out)
		}
		if out := d.Answer(say("success")); out.Kind != flow.Done || out.Failed != nil {
			t.Errorf("got %+v, want done, and the error reported once", out)
		}
	})
	t.Run("are an error if nothing succeeds later", func(t *testing.T) {
		d := flowtest.Start(t, flow.Flow{broken, asks}, flowtest.Login{})
		if out, err := d.TryAnswer(say("skip")); err == nil || !strings.Contains(err.Error(), "step broken") {
			t.Errorf("got %+v and %v, want an error that names the step", out, err)
		}
	})
	t.Run("are joined", func(t *testing.T) {
		errToo := errors.New("oops, too")
		both := flow.Flow{broken, {ID: "too", When: flow.Alternative, Do: fail(errToo)}}
		_, err := both.Run(t.Context(), &flow.State{}, newTurn())
		if !errors.Is(err, errOops) || !errors.Is(err, errToo) {
			t.Errorf("got %v, want both errors", err)
		}
	})
	t.Run("do not hide that the request has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := flow.Flow{
			{ID: "slow", When: flow.Alternative, Do: do(func(ctx context.Context, _ *flow.Turn) (flow.Result, error) {
				cancel()
				return flow.Result{}, ctx.Err()
			})},
			{ID: "open", When: flow.Alternative, Do: always(flow.Success())},
		}
		if out, err := f.Run(ctx, &flow.State{}, newTurn()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v and %v, want %v", out.Kind, err, context.Canceled)
		}
	})
	t.Run("do not run once the request has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f := flow.Flow{{ID: "open", Do: always(flow.Success())}}
		if out, err := f.Run(ctx, &flow.State{}, newTurn()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v and %v, want %v", out.Kind, err, context.Canceled)
		}
	})
}

// A user who was named on a way that did not lead to success must not be the one who logs in.
func TestWhatAFailedWayDecidedIsUndone(t *testing.T) {
	t.Parallel()
	names := func(r flow.Result, err error) do {
		return func(_ context.Context, t *flow.Turn) (flow.Result, error) {
			t.Draft.UserID, t.Draft.SharedEmail = "victim", true
			t.Draft.Existing = &flow.Existing{UserID: "victim", Field: "email"}
			return r, err
		}
	}
	proof := flow.Step{ID: "proof", Do: do(form)}
	tests := map[string]struct {
		way    flow.Step
		answer string // to proof, if that is asked
	}{
		"leaf skips":           {way: flow.Step{Do: names(flow.Skip(), nil)}},
		"leaf fails":           {way: flow.Step{Do: names(flow.Result{}, errOops)}},
		"no result":            {way: flow.Step{Do: names(flow.Result{}, nil)}},
		"proof fails at once":  {way: flow.Step{Sub: flow.Flow{{ID: "set", Do: names(flow.Success(), nil)}, {ID: "p", Do: fail(errOops)}}}},
		"proof fails in turn":  {way: flow.Step{Sub: flow.Flow{{ID: "set", Do: names(flow.Success(), nil)}, proof}}, answer: "error"},
		"nested proof fails":   {way: flow.Step{Sub: flow.Flow{{ID: "set", Do: names(flow.Success(), nil)}, {ID: "p", Sub: flow.Flow{proof}}}}, answer: "error"},
		"asks, and then skips": {way: flow.Step{Do: do(asksAs("victim"))}, answer: "skip"},
		"asks, and then fails": {way: flow.Step{Do: do(asksAs("victim"))}, answer: "error"},
		"condition": {way: flow.Step{Sub: flow.Flow{{ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: flow.If(func(_ context.Context, t *flow.Turn) (bool, error) { t.Draft.UserID = "victim"; return false, nil })},
			{ID: "x", Do: always(flow.Success())},
		}}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.way.ID, tt.way.When = "way", flow.Alternative
			f := flow.Flow{tt.way, {ID: "other", When: flow.Alternative, Do: always(flow.Success())}}
			d := flowtest.Start(t, f, flowtest.Login{})
			if tt.answer != "" {
				d.Page("form")
				d.Answer(say(tt.answer))
			}
			if draft := d.Done(); draft.UserID != "" || draft.New || draft.SharedEmail {
				t.Errorf("draft decides %+v, want nothing", draft)
			}
		})
	}
}

// asksAs is form, and names a user meanwhile.
func asksAs(user string) do {
	return func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		t.Draft.UserID = user
		return form(ctx, t)
	}
}

func TestConditionsWriteNothing(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{{ID: "c", When: flow.Conditional, Sub: flow.Flow{
		{ID: "if", Do: flow.If(func(_ context.Context, t *flow.Turn) (bool, error) { t.Draft.UserID = "victim"; return true, nil })},
		{ID: "x", Do: always(flow.Success())},
	}}}, flowtest.Login{})
	if draft := d.Done(); draft.UserID != "" {
		t.Errorf("draft is for %q, want nobody", draft.UserID)
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	honest := do(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
		if t.Required() {
			return flow.DenyPage("taken", map[string]any{"field": "email"}), nil
		}
		return flow.Skip(), nil
	})
	d := flowtest.Start(t, flow.Flow{{ID: "h", Do: honest}}, flowtest.Login{})
	if data := d.Denied("taken"); data["field"] != "email" {
		t.Errorf("got data %v, want the field", data)
	}
	flowtest.Start(t, flow.Flow{
		{ID: "h", When: flow.Alternative, Do: honest},
		{ID: "x", When: flow.Alternative, Do: always(flow.Success())},
	}, flowtest.Login{}).Done()
}

func TestRunRefusesABrokenFlow(t *testing.T) {
	t.Parallel()
	yes := always(flow.Success())
	for name, f := range map[string]flow.Flow{
		"two steps of one ID":      {{ID: "a", Do: always(flow.Skip()), When: flow.Alternative}, {ID: "a", Do: yes, When: flow.Alternative}},
		"neither":                  {{ID: "a"}, {ID: "b", Do: yes}},
		"unknown requirement":      {{ID: "a", When: 7, Do: yes}},
		"condition out of place":   {{ID: "a", Do: holds(true)}, {ID: "b", Do: yes}},
		"condition as alternative": {{ID: "a", When: flow.Alternative, Do: holds(true)}, {ID: "b", When: flow.Alternative, Do: yes}},
	} {
		if out, err := f.Run(t.Context(), &flow.State{}, newTurn()); err == nil {
			t.Errorf("%s: got %v, want an error", name, out.Kind)
		}
	}
	if out, err := (flow.Flow{}).Run(t.Context(), &flow.State{}, newTurn()); err != nil || out.Kind != flow.Denied {
		t.Errorf("empty flow: got %v, %v, want denied", out.Kind, err)
	}
	if out, err := (flow.Flow{{ID: "a", Do: yes}}).Run(t.Context(), &flow.State{}, &flow.Turn{}); err == nil {
		t.Errorf("no draft: got %v, want an error", out.Kind)
	}
}

// A condition that somebody has wrapped is none, and proves nothing either.
func TestAWrappedConditionProvesNothing(t *testing.T) {
	t.Parallel()
	wrapped := struct{ flow.Authenticator }{holds(true)}
	if out, err := (flow.Flow{{ID: "a", Do: wrapped}}).Run(t.Context(), &flow.State{}, newTurn()); err == nil {
		t.Errorf("got %v, want an error", out.Kind)
	}
}
