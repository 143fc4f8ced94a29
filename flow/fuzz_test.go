package flow_test

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
)

func FuzzRun(f *testing.F) {
	mustEnd := map[uint64]bool{}
	for seed := range uint64(64) {
		if f.Add(seed); len(mustEnd) < 8 && walk(f, seed) == flow.Done {
			mustEnd[seed] = true
		}
	}
	if len(mustEnd) == 0 {
		f.Fatal("no flow ends well")
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		if walk(t, seed) != flow.Done && mustEnd[seed] {
			t.Errorf("seed %d ended well before", seed)
		}
	})
}

// Whatever a state says, it neither crashes the engine nor lets a flow succeed in which no step ever has: neither by its
// own account nor by the state's.
func FuzzState(f *testing.F) {
	proved := false
	prove := func(ctx context.Context, t *flow.Turn) (flow.Result, error) {
		r, err := form(ctx, t)
		proved = proved || t.Input.Get("say") == "success"
		return r, err
	}
	tree := flow.Flow{
		{ID: "a", Do: do(prove)},
		{ID: "b", Sub: flow.Flow{
			{ID: "c", When: flow.Alternative, Do: do(prove)},
			{ID: "d", When: flow.Alternative, Sub: flow.Flow{{ID: "e", Do: do(prove)}}},
			{ID: "x", When: flow.Disabled, Do: do(prove)},
		}},
		{ID: "g", When: flow.Conditional, Sub: flow.Flow{{ID: "if", Do: holds(true)}, {ID: "h", Do: do(prove)}}},
	}
	var last string // state, which one more success ends
	for _, answers := range [][]string{{}, {"success"}, {"success", "skip"}, {"success", "success"}, {"success", "skip", "leave"}, {"restart"}} {
		s, turn := &flow.State{}, newTurn()
		if _, err := tree.Run(f.Context(), s, turn); err != nil {
			f.Fatal(err)
		}
		for _, a := range answers {
			turn.Token, turn.Input = s.Token(), say(a)
			if _, err := tree.Run(f.Context(), s, turn); err != nil {
				f.Fatal(err)
			}
		}
		if f.Add([]byte(marshal(f, s)), "success"); len(answers) == 2 && answers[1] == "success" {
			last = marshal(f, s)
		}
	}
	f.Add([]byte(`{"t":"x","s":"if","r":{"a":{"r":1},"b":{"r":1},"g":{"r":1}}}`), "success")
	f.Add([]byte(`{"f":null,"r":{"a":{"r":9}}}`), "")
	f.Fuzz(func(t *testing.T, text []byte, answer string) {
		var s flow.State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		var claims struct {
			R map[string]struct{ R int }
		}
		if err := json.Unmarshal(text, &claims); err != nil {
			t.Fatalf("the state was read, but: %v", err)
		}
		claimed := false
		for _, id := range []string{"a", "c", "e", "h"} {
			claimed = claimed || claims.R[id].R == 1
		}
		before := marshal(t, s)
		turn := newTurn()
		turn.Token = s.Token()
		if turn.Token != "" {
			turn.Input = url.Values{"say": {answer}}
		}
		proved = false
		out, err := tree.Run(t.Context(), &s, turn)
		if string(text) == last && answer == "success" && (err != nil || out.Kind != flow.Done || !proved) {
			t.Errorf("the last step: %+v, %v", out, err)
		}
		if err != nil && marshal(t, s) != before {
			t.Errorf("failed and changed %s to %s", before, marshal(t, s))
		}
		if err == nil && out.Kind == flow.Done && !proved && !claimed {
			t.Errorf("done with nothing proved by %s", text)
		}
		trip(t, &s)
	})
}
