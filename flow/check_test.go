package flow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	yes := always(flow.Success())
	decides := decider{yes}
	leaf := func(id string) flow.Step { return flow.Step{ID: id, Do: yes} }
	deep := flow.Flow{leaf("leaf")}
	for i := range 16 {
		deep = flow.Flow{{ID: fmt.Sprintf("level%d", i), Sub: deep}}
	}
	var wide flow.Flow
	for i := range 257 {
		wide = append(wide, leaf(fmt.Sprintf("s%d", i)))
	}
	endless := flow.Flow{{ID: "a"}, {ID: "b"}}
	endless[0].Sub, endless[1].Sub = endless, endless

	tests := []struct {
		name string
		flow flow.Flow
		want []string // each is in one line of the error; none: no error
	}{
		{"one step", flow.Flow{leaf("a")}, nil},
		{"every kind of character", flow.Flow{leaf("Az09-_")}, nil},
		{"conditional with alternatives", flow.Flow{leaf("a"), {ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: holds(true)}, {ID: "x", When: flow.Alternative, Do: yes}, {ID: "y", When: flow.Alternative, Do: yes}}}}, nil},
		{"disabled beside all", flow.Flow{{ID: "d", When: flow.Disabled, Do: yes}, {ID: "a", When: flow.Alternative, Do: yes}}, nil},
		{"disabled sub-flow with nothing enabled", flow.Flow{leaf("a"), {ID: "d", When: flow.Disabled, Sub: flow.Flow{
			{ID: "x", When: flow.Disabled, Do: yes}}}}, nil},
		{"decider before a sub-flow", flow.Flow{{ID: "a", Do: decides}, leaf("b")}, nil},
		{"decider on each way", flow.Flow{leaf("review"), {ID: "who", Sub: flow.Flow{
			{ID: "create", When: flow.Alternative, Do: decides},
			{ID: "link", When: flow.Alternative, Sub: flow.Flow{leaf("confirm"), {ID: "prove", Do: decides}}}}}}, nil},

		{"decider behind a condition, alone", flow.Flow{{ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: holds(true)}, {ID: "create", Do: decides}}}}, nil},

		{"empty", nil, []string{"flow: is empty"}},
		{"empty sub-flow", flow.Flow{leaf("a"), {ID: "b", Sub: flow.Flow{}}}, []string{"b: is empty"}},
		{"all disabled", flow.Flow{{ID: "a", When: flow.Disabled, Do: yes}}, []string{"flow: can never succeed"}},
		{"sub-flow all disabled", flow.Flow{{ID: "s", Sub: flow.Flow{{ID: "a", When: flow.Disabled, Do: yes}}}}, []string{"s: can never succeed"}},
		{"only conditions", flow.Flow{leaf("a"), {ID: "c", When: flow.Conditional, Sub: flow.Flow{{ID: "if", Do: holds(true)}}}},
			[]string{"c: can never succeed"}},
		{"no ID", flow.Flow{{Do: yes}}, []string{"#1: has no ID"}},
		{"bad IDs", flow.Flow{leaf("a b"), leaf("a/b"), leaf("ä"), leaf("\u212a"), leaf(strings.Repeat("a", 65))},
			[]string{"a b: has no ID", "a/b: has no ID", "ä: has no ID", "\u212a: has no ID", "aaa: has no ID"}},
		{"same ID twice, far apart", flow.Flow{leaf("a"), {ID: "b", Sub: flow.Flow{leaf("a")}}}, []string{"b/a: has the ID of another"}},
		{"neither", flow.Flow{{ID: "a"}}, []string{"a: has neither Do nor Sub"}},
		{"both", flow.Flow{{ID: "a", Do: yes, Sub: flow.Flow{leaf("b")}}}, []string{"a: has both Do and Sub"}},
		{"unknown requirement", flow.Flow{{ID: "a", When: 4, Do: yes}, {ID: "b", When: -1, Do: yes}},
			[]string{"a: has the unknown requirement 4", "b: has the unknown requirement -1"}},
		{"conditional leaf", flow.Flow{{ID: "a", When: flow.Conditional, Do: yes}}, []string{"a: is Conditional, which only a sub-flow"}},
		{"conditional without condition", flow.Flow{leaf("x"), {ID: "a", When: flow.Conditional, Sub: flow.Flow{leaf("b")}}},
			[]string{"a: is Conditional without a condition"}},
		{"condition disabled", flow.Flow{leaf("x"), {ID: "a", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", When: flow.Disabled, Do: holds(true)}, leaf("b")}}}, []string{"a: is Conditional without a condition"}},
		{"condition out of place", flow.Flow{{ID: "if", Do: holds(true)}, leaf("b")}, []string{"if: is a condition outside"}},
		{"condition too deep", flow.Flow{{ID: "c", When: flow.Conditional, Sub: flow.Flow{{ID: "s", Sub: flow.Flow{
			{ID: "if", Do: holds(true)}, leaf("b")}}}}}, []string{"c/s/if: is a condition outside"}},
		{"condition that is not required", flow.Flow{leaf("x"), {ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", When: flow.Alternative, Do: holds(true)}, leaf("b")}}}, []string{"c/if: is a condition and ALTERNATIVE"}},
		{"condition without a function", flow.Flow{leaf("x"), {ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: flow.If(nil)}, leaf("b")}}}, []string{"c/if: is a condition without a function"}},
		{"mixed", flow.Flow{{ID: "s", Sub: flow.Flow{leaf("a"), {ID: "b", When: flow.Alternative, Do: yes}}}},
			[]string{"s: b is Alternative beside a, which is REQUIRED"}},
		{"mistake in a disabled sub-flow", flow.Flow{leaf("a"), {ID: "d", When: flow.Disabled, Sub: flow.Flow{{ID: "x"}}}},
			[]string{"d/x: has neither"}},
		{"mixed in a disabled sub-flow", flow.Flow{leaf("a"), {ID: "d", When: flow.Disabled, Sub: flow.Flow{
			leaf("x"), {ID: "y", When: flow.Alternative, Do: yes}}}}, []string{"d: y is Alternative beside x"}},
		{"two mistakes", flow.Flow{{ID: "a"}, {ID: "b", When: 9, Do: yes}}, []string{"a: has neither", "b: has the unknown"}},
		{"too deep", deep, []string{"is nested deeper than 16"}},
		{"too wide", wide, []string{"there are more than 256 steps"}},
		{"contains itself", endless, []string{"is nested deeper than 16"}},

		{"decider passed over by a condition", flow.Flow{leaf("review"), {ID: "c", When: flow.Conditional, Sub: flow.Flow{
			{ID: "if", Do: holds(true)}, {ID: "create", Do: decides}}}}, []string{"nothing decided, when these succeed: review:"}},
		{"decider beside an alternative", flow.Flow{leaf("review"), {ID: "who", Sub: flow.Flow{
			{ID: "create", When: flow.Alternative, Do: decides},
			{ID: "link", When: flow.Alternative, Sub: flow.Flow{leaf("confirm"), leaf("prove")}}}}},
			[]string{"nothing decided, when these succeed: review, confirm, prove:"}},
		{"decider ignored beside a required step", flow.Flow{leaf("a"), {ID: "create", When: flow.Alternative, Do: decides}},
			[]string{"create is Alternative beside a", "nothing decided, when these succeed: a:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.flow.Check()
			if len(tt.want) == 0 && err != nil {
				t.Errorf("got %v, want no error", err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
	if s := endless.String(); len(s) > 1<<17 {
		t.Errorf("a flow that contains itself is printed in %d bytes", len(s))
	}
}

func TestDecides(t *testing.T) {
	t.Parallel()
	d := decider{always(flow.Success())}
	for _, tt := range []struct {
		flow flow.Flow
		want bool
	}{
		{flow.Flow{{ID: "a", Do: d.do}}, false},
		{flow.Flow{{ID: "a", Do: d}}, true},
		{flow.Flow{{ID: "a", Do: d, When: flow.Disabled}}, false},
		{flow.Flow{{ID: "a", Sub: flow.Flow{{ID: "b", Do: d}}}}, true},
		{flow.Flow{{ID: "a", When: flow.Disabled, Sub: flow.Flow{{ID: "b", Do: d}}}}, false},
	} {
		if got := tt.flow.Decides(); got != tt.want {
			t.Errorf("Decides of\n%v got %v, want %v", tt.flow, got, tt.want)
		}
	}
}

// The tree that the default flow will be, which is Keycloak's, and how it prints.
func TestString(t *testing.T) {
	t.Parallel()
	yes := always(flow.Success())
	f := flow.Flow{
		{ID: "review", Do: yes},
		{ID: "account", Sub: flow.Flow{
			{ID: "create", When: flow.Alternative, Do: decider{yes}},
			{ID: "existing", When: flow.Alternative, Sub: flow.Flow{
				{ID: "confirm", Do: yes},
				{ID: "verify", Sub: flow.Flow{
					{ID: "email", When: flow.Alternative, Do: named{decider{yes}}},
					{ID: "reauth", When: flow.Alternative, Sub: flow.Flow{
						{ID: "password", Do: decider{yes}},
						{ID: "second-factor", When: flow.Conditional, Sub: flow.Flow{
							{ID: "has-factor", Do: holds(true)},
							{ID: "no-passkey", Do: holds(true)},
							{ID: "otp", When: flow.Alternative, Do: yes},
							{ID: "webauthn", When: flow.Disabled, Do: yes},
							{ID: "recovery", When: flow.Disabled, Do: yes},
						}},
					}},
				}},
			}},
		}},
		{ID: "organization", When: flow.Conditional, Sub: flow.Flow{
			{ID: "has-organization", Do: holds(true)},
			{ID: "join", Do: yes},
		}},
	}
	if err := f.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	golden(t, "keycloak.txt", f.String())
}

// named is an authenticator that says what it does.
type named struct{ decider }

func (named) String() string { return "mail a link" }
