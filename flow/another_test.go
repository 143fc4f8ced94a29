package flow_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/flowtest"
)

// ask asks with a page of its own name, and does what the answer says; if that is success, it names a user of its own.
func ask(name string) do {
	return func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		t.Set("been", t.Get("been")+"x")
		if t.Input == nil {
			return flow.Ask(flow.Page{Name: name, Data: map[string]any{"others": t.Others(), "been": t.Get("been")}}), nil
		}
		if t.Input.Get("say") == "success" {
			t.Draft.UserID = name
		}
		return form(ctx, t)
	}
}

func alternative(id string) flow.Step { return flow.Step{ID: id, When: flow.Alternative, Do: ask(id)} }

// Who wants another way goes round all that there are, and finds each as if they had never been there.
func TestAnother(t *testing.T) {
	t.Parallel()
	nobody := flow.Step{ID: "nobody", When: flow.Alternative, Do: always(flow.Skip())}
	for name, row := range map[string]struct {
		flow  flow.Flow
		walk  string // what is said to the page, and the next page, in turn
		user  string // whom it is decided for at the end; "" if it is denied
		start string
	}{
		"round":             {flow.Flow{alternative("a"), alternative("b"), nobody}, "another b another a another b success", "b", "a"},
		"the only one left": {flow.Flow{nobody, alternative("a")}, "another a another a success", "a", "a"},
		"out of a sub-flow": {flow.Flow{alternative("a"), {ID: "s", When: flow.Alternative, Sub: flow.Flow{
			{ID: "p", Do: ask("p")}, {ID: "c", Do: ask("c")},
		}}}, "another p success c another a another p success c success", "c", "a"},
		"what was proved is not proved any more": {flow.Flow{{ID: "s", When: flow.Alternative, Sub: flow.Flow{
			{ID: "p", Do: ask("p")}, {ID: "c", Do: ask("c")},
		}}, alternative("a")}, "success c another a another p another a success", "a", "p"},
		"out of a conditional one": {flow.Flow{{ID: "s", When: flow.Alternative, Sub: flow.Flow{
			{ID: "p", Do: ask("p")},
			{ID: "when", When: flow.Conditional, Sub: flow.Flow{{ID: "if", Do: holds(true)}, {ID: "c", Do: ask("c")}}},
		}}, alternative("a")}, "success c another a another p success c success", "c", "p"},
		"nested": {flow.Flow{
			{ID: "s", When: flow.Alternative, Sub: flow.Flow{alternative("a"), alternative("b")}}, alternative("c"),
		}, "another b another c another a another b success", "b", "a"},
		"nested, and the last of it is nothing": {flow.Flow{
			{ID: "s", When: flow.Alternative, Sub: flow.Flow{alternative("a"), nobody}}, alternative("c"),
		}, "another c another a success", "a", "a"},
		"one in several": {flow.Flow{
			{ID: "s", When: flow.Alternative, Sub: flow.Flow{alternative("a")}}, alternative("c"),
		}, "another c another a success", "a", "a"},
		"where there is no other": {flow.Flow{{ID: "a", Do: ask("a")}}, "another", "", "a"},
		"an only alternative":     {flow.Flow{alternative("a")}, "another", "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := flowtest.Start(t, row.flow, flowtest.Login{})
			d.Page(row.start)
			words := strings.Fields(row.walk)
			for i := 0; i < len(words); i += 2 {
				d.Answer(say(words[i]))
				if i > 0 {
					d.Replay(i/2-1, say("success"))
				}
				if i+1 < len(words) {
					page := d.Page(words[i+1])
					if others := len(row.flow) > 1; page.Data["others"] != others {
						t.Errorf("page %s says of others %v, want %t", words[i+1], page.Data["others"], others)
					}
					if user := d.Draft().UserID; user != "" && (user != "p" || words[i+1] != "c") {
						t.Errorf("at %s it is decided for %s", words[i+1], user)
					}
				}
			}
			if row.user == "" {
				if out := d.Outcome(); out.Kind != flow.Denied {
					t.Errorf("got %+v, want that nobody gets in", out)
				}
				return
			}
			if user := d.Done().UserID; user != row.user {
				t.Errorf("done for %s, want %s", user, row.user)
			}
		})
	}
}

// What a step keeps it finds again; and one that wants another way unasked is passed over once, not for ever.
func TestAnotherKeepsMemory(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{
		{ID: "never", When: flow.Alternative, Do: always(flow.Another())}, alternative("a"), alternative("b"),
	}, flowtest.Login{})
	d.Answer(say("another"))
	d.Answer(say("another"))
	if been := d.Page("a").Data["been"]; been != "xxx" {
		t.Errorf("the step remembers %q, want all three calls", been)
	}
	flowtest.Start(t, flow.Flow{
		{ID: "never", When: flow.Alternative, Do: always(flow.Another())}, {ID: "nor", When: flow.Alternative, Do: always(flow.Another())},
	}, flowtest.Login{}).Denied(flow.ReasonUndecided)
}

// A restart forgets which ways were left.
func TestAnotherAndRestart(t *testing.T) {
	t.Parallel()
	d := flowtest.Start(t, flow.Flow{alternative("a"), alternative("b")}, flowtest.Login{})
	d.Answer(say("another"))
	d.Page("b")
	d.Answer(say("restart"))
	d.Page("a")
}
