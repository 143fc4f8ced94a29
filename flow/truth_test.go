package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
)

var errOops = errors.New("oops")

// A node is a step of the truth table. A leaf has a result, a sub-flow has children; a Conditional one has a condition.
type node struct {
	when      flow.Requirement
	result    byte // S success, K skip, E error, D deny
	condition byte // T true, F false, E error
	sub       []node
}

func (n node) String() string {
	kind := string("RACX"[n.when])
	if n.condition != 0 {
		kind += "?" + string(n.condition)
	}
	if n.sub == nil {
		return kind + "=" + string(n.result)
	}
	return kind + "[" + describe(n.sub) + "]"
}

func describe(level []node) string {
	words := make([]string, len(level))
	for i, n := range level {
		words[i] = n.String()
	}
	return strings.Join(words, " ")
}

// build makes the flow of a level. Each leaf that runs writes its ID into ran.
func build(level []node, prefix string, ran *[]string) flow.Flow {
	f := flow.Flow{}
	for i, n := range level {
		id := fmt.Sprintf("%s%c", prefix, 'a'+i)
		s := flow.Step{ID: id, When: n.when}
		if n.sub == nil {
			s.Do = do(func(context.Context, *flow.Turn) (flow.Result, error) {
				*ran = append(*ran, id)
				switch n.result {
				case 'S':
					return flow.Success(), nil
				case 'K':
					return flow.Skip(), nil
				case 'D':
					return flow.Deny("no"), nil
				}
				return flow.Result{}, errOops
			})
		} else {
			s.Sub = build(n.sub, id, ran)
		}
		if n.condition != 0 {
			s.Sub = append(flow.Flow{{ID: id + "-if", Do: flow.If(func(context.Context, *flow.Turn) (bool, error) {
				*ran = append(*ran, id+"?")
				if n.condition == 'E' {
					return true, errOops
				}
				return n.condition == 'T', nil
			})}}, s.Sub...)
		}
		f = append(f, s)
	}
	return f
}

// oracle says what a level must come to, written from the rules and not from the engine: "success", "skip", "error",
// or "deny …".
func oracle(level []node, prefix string, ran *[]string) string {
	var serious, alternatives []int
	for i, n := range level {
		switch n.when {
		case flow.Required, flow.Conditional:
			serious = append(serious, i)
		case flow.Alternative:
			alternatives = append(alternatives, i)
		}
	}
	if len(serious) == 0 {
		verdict := "skip"
		for _, i := range alternatives {
			v := oracleStep(level[i], prefix, i, ran)
			if v == "success" || strings.HasPrefix(v, "deny") {
				return v
			}
			if v == "error" {
				verdict = "error"
			}
		}
		return verdict
	}
	verdict := "skip"
	for _, i := range serious {
		n, id := level[i], fmt.Sprintf("%s%c", prefix, 'a'+i)
		must := n.when == flow.Required
		if n.when == flow.Conditional {
			*ran = append(*ran, id+"?")
			if n.condition == 'E' {
				return "error"
			}
			must = n.condition == 'T'
		}
		if !must {
			continue
		}
		v := oracleStep(n, prefix, i, ran)
		if v == "skip" {
			return "deny " + id
		}
		if v != "success" {
			return v
		}
		verdict = "success"
	}
	return verdict
}

func oracleStep(n node, prefix string, i int, ran *[]string) string {
	id := fmt.Sprintf("%s%c", prefix, 'a'+i)
	if n.sub != nil {
		return oracle(n.sub, id, ran)
	}
	*ran = append(*ran, id)
	return map[byte]string{'S': "success", 'K': "skip", 'E': "error", 'D': "deny no " + id}[n.result]
}

func engine(level []node) (string, []string) {
	var ran []string
	var s flow.State
	out, err := build(level, "", &ran).Run(context.Background(), &s, newTurn())
	switch {
	case errors.Is(err, errOops):
		return "error", ran
	case err != nil:
		return "unexpected: " + err.Error(), ran
	case out.Kind == flow.Done:
		return "success", ran
	case out.Kind == flow.Denied && out.Reason == flow.ReasonUndecided:
		return "skip", ran
	case out.Kind == flow.Denied && out.Reason == flow.ReasonSkipped:
		return "deny " + out.Step, ran
	case out.Kind == flow.Denied:
		return "deny " + out.Reason + " " + out.Step, ran
	}
	return "unexpected: " + out.Kind.String(), ran
}

func leaves(when flow.Requirement, results string) []node {
	var out []node
	for _, r := range []byte(results) {
		out = append(out, node{when: when, result: r})
	}
	return out
}

// small are the steps of which the levels of the table are made.
func small() []node {
	all := append(leaves(flow.Required, "SKED"), leaves(flow.Alternative, "SKED")...)
	all = append(all, node{when: flow.Disabled, result: 'S'})
	for _, c := range []byte("TFE") {
		for _, sub := range []node{{result: 'S'}, {result: 'K'}, {when: flow.Alternative, result: 'S'},
			{when: flow.Alternative, result: 'E'}, {when: flow.Disabled, result: 'S'}} {
			all = append(all, node{when: flow.Conditional, condition: c, sub: []node{sub}})
		}
	}
	return all
}

// table returns the levels: all of one and two steps, those of three steps of the more telling kinds, and these nested.
func table() [][]node {
	steps := small()
	levels := [][]node{}
	for _, a := range steps {
		levels = append(levels, []node{a})
	}
	for _, a := range steps {
		for _, b := range steps {
			levels = append(levels, []node{a, b})
		}
	}
	telling := append(leaves(flow.Required, "SK"), leaves(flow.Alternative, "SKE")...)
	telling = append(telling, node{when: flow.Disabled, result: 'S'},
		node{when: flow.Conditional, condition: 'T', sub: leaves(flow.Required, "S")},
		node{when: flow.Conditional, condition: 'F', sub: leaves(flow.Required, "S")})
	for _, a := range telling {
		for _, b := range telling {
			for _, c := range telling {
				levels = append(levels, []node{a, b, c})
			}
			inner := []node{a, b}
			levels = append(levels,
				[]node{{when: flow.Required, sub: inner}},
				[]node{{when: flow.Alternative, sub: inner}, {when: flow.Alternative, result: 'S'}},
				[]node{{when: flow.Required, result: 'S'}, {when: flow.Conditional, condition: 'T', sub: inner}},
				[]node{{when: flow.Disabled, sub: inner}, {when: flow.Required, result: 'S'}},
				[]node{{when: flow.Required, sub: []node{{when: flow.Alternative, sub: inner}}}})
		}
	}
	return levels
}

func TestTruthTable(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("# R required, A alternative, C?T C?F C?E conditional (true, false, error), X disabled; =S success, =K skip, =E error,\n" +
		"# =D deny; [sub-flow]. Then what the flow comes to (\"skip\" as a whole denies), and which leaves and conditions ran.\n" +
		"# Levels that Check refuses are marked !.\n")
	for _, level := range table() {
		var wantRan []string
		want := oracle(level, "", &wantRan)
		got, ran := engine(level)
		if got != want || strings.Join(ran, " ") != strings.Join(wantRan, " ") {
			t.Errorf("%s: got %s after %v, want %s after %v", describe(level), got, ran, want, wantRan)
		}
		mark := ""
		if build(level, "", new([]string)).Check() != nil {
			mark = "! "
		}
		fmt.Fprintf(&text, "%s%s -> %s (%s)\n", mark, describe(level), got, strings.Join(ran, " "))
	}
	golden(t, "truth.txt", text.String())
}
