package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
)

func TestStateRefusesWhatItDidNotWrite(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`[]`, `"x"`, `{"unknown":1}`, `{"r":{"a":{"r":4}}}`, `{"r":{"a":{"r":-1}}}`, `{"r":{"a":{"x":1}}}`, `{"n":-1}`,
		`{"p":{"n":"../etc"}}`, `{"p":{}}`, `{"n":1e9}`, `{"t":1}`,
	} {
		var s flow.State
		if err := json.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s was read as %s", text, marshal(t, s))
		}
	}
}

// A state that claims to be paused where the flow does not come by, or of a step that is none, leads nowhere.
func TestStateThatIsPausedElsewhere(t *testing.T) {
	t.Parallel()
	f := flow.Flow{
		{ID: "one", Do: do(form)},
		{ID: "sub", Sub: flow.Flow{{ID: "two", Do: do(form)}}},
		{ID: "choice", Sub: flow.Flow{
			{ID: "four", When: flow.Alternative, Do: do(form)}, {ID: "five", When: flow.Alternative, Do: always(flow.Success())},
		}},
		{ID: "off", When: flow.Disabled, Do: do(form)},
		{ID: "maybe", When: flow.Conditional, Sub: flow.Flow{{ID: "if", Do: holds(true)}, {ID: "three", Do: do(form)}}},
	}
	var s flow.State
	if _, err := f.Run(t.Context(), &s, newTurn()); err != nil {
		t.Fatal(err)
	}
	good := marshal(t, s)
	done := `"r":{"one":{"r":1},"two":{"r":1},"four":{"r":2},"five":{"r":1}}`
	all := `"r":{"one":{"r":1},"two":{"r":1},"four":{"r":1},"if":{"r":1},"three":{"r":1}}`
	tests := map[string]string{
		"the step after":              strings.Replace(good, `"s":"one"`, `"s":"two"`, 1),
		"a sub-flow":                  strings.Replace(good, `"s":"one"`, `"s":"sub"`, 1),
		"a disabled step":             strings.Replace(good, `"s":"one"`, `"s":"off"`, 1),
		"an unknown step":             strings.Replace(good, `"s":"one"`, `"s":"who"`, 1),
		"no step":                     strings.Replace(good, `"s":"one",`, ``, 1),
		"a step that has ended":       fmt.Sprintf(`{%s,"r":{"one":{"r":1}}}`, head(good)),
		"a condition":                 fmt.Sprintf(`{%s,%s}`, strings.Replace(head(good), `"s":"one"`, `"s":"if"`, 1), done),
		"behind an unasked condition": fmt.Sprintf(`{%s,%s}`, strings.Replace(head(good), `"s":"one"`, `"s":"three"`, 1), done),
		"an alternative too late":     fmt.Sprintf(`{%s,"r":{"one":{"r":1},"two":{"r":1}}}`, strings.Replace(head(good), `"s":"one"`, `"s":"five"`, 1)),
		"a flow that has succeeded":   fmt.Sprintf(`{%s,%s}`, head(good), all),
		"results of unknown steps":    fmt.Sprintf(`{%s,"r":{"who":{"r":1}}}`, head(good)),
		"results of sub-flows":        fmt.Sprintf(`{%s,"r":{"sub":{"r":1}}}`, head(good)),
		"another flow's shape":        strings.Replace(good, `"f":"`, `"f":"x`, 1),
	}
	for name, text := range tests {
		var s flow.State
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		turn := newTurn()
		turn.Token, turn.Input = s.Token(), say("success")
		if out, err := f.Run(t.Context(), &s, turn); !errors.Is(err, flow.ErrStale) {
			t.Errorf("%s: got %+v and error %v, want %v", name, out, err, flow.ErrStale)
		}
	}
}

// head returns the members of a state before its results.
func head(state string) string {
	before, _, _ := strings.Cut(state, `,"r":`)
	return strings.TrimPrefix(before, "{")
}

func TestStateIsSmall(t *testing.T) {
	t.Parallel()
	var s flow.State
	f := flow.Flow{{ID: "review", Do: always(flow.Success())}, {ID: "form", Do: do(form)}}
	if _, err := f.Run(t.Context(), &s, newTurn()); err != nil {
		t.Fatal(err)
	}
	if text := marshal(t, s); len(text) > 200 {
		t.Errorf("%d bytes for two steps: %s", len(text), text)
	}
}
