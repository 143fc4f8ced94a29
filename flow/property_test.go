package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/flow"
)

// A forest makes random flows, and remembers how their leaves ended.
type forest struct {
	rand  *rand.Rand
	seed  uint64
	tree  flow.Flow
	ids   []string
	ended map[string]flow.Result // since the last restart
}

func newForest(seed uint64) *forest {
	return &forest{rand: rand.New(rand.NewPCG(seed, 0)), seed: seed, ended: map[string]flow.Result{}}
}

func (f *forest) id() string {
	id := fmt.Sprintf("n%dn", len(f.ids))
	f.ids = append(f.ids, id)
	return id
}

// level makes a level of at most four steps. Half of them mix what Check refuses to be mixed.
func (f *forest) level(depth int) flow.Flow {
	level := flow.Flow{}
	kinds := []flow.Requirement{flow.Required, flow.Conditional, flow.Disabled}
	switch f.rand.IntN(4) {
	case 0:
		kinds = []flow.Requirement{flow.Alternative, flow.Alternative, flow.Disabled}
	case 1:
		kinds = []flow.Requirement{flow.Required, flow.Alternative, flow.Conditional, flow.Disabled}
	}
	for range f.rand.IntN(4) + 1 {
		s := flow.Step{ID: f.id(), When: kinds[f.rand.IntN(len(kinds))]}
		switch {
		case s.When == flow.Conditional && depth == 0:
			s.When = flow.Required
			s.Do = f.leaf(s.ID)
		case s.When == flow.Conditional:
			for range f.rand.IntN(3) {
				id := f.id()
				s.Sub = append(s.Sub, flow.Step{ID: id, Do: f.condition(id)})
			}
			s.Sub = append(s.Sub, f.level(depth-1)...)
		case depth > 0 && f.rand.IntN(2) == 0:
			s.Sub = f.level(depth - 1)
		default:
			s.Do = f.leaf(s.ID)
		}
		level = append(level, s)
	}
	return level
}

func (f *forest) condition(id string) flow.Authenticator {
	v := f.rand.IntN(3)
	return flow.If(func(_ context.Context, t *flow.Turn) (bool, error) {
		t.Draft.UserID = "condition"
		if v == 2 && f.rand.IntN(8) == 0 {
			return true, errOops
		}
		f.ended[id] = flow.Skip()
		if v > 0 {
			f.ended[id] = flow.Success()
		}
		return v > 0, nil
	})
}

// leaf makes a leaf that does something by chance, which depends on the seed, its ID and how often it was called.
func (f *forest) leaf(id string) flow.Authenticator {
	var salt uint64
	for _, c := range id {
		salt = salt*31 + uint64(c)
	}
	return do(func(_ context.Context, t *flow.Turn) (flow.Result, error) {
		n := t.Get("n")
		t.Set("n", n+"x")
		dice := rand.New(rand.NewPCG(f.seed^salt, uint64(len(n))))
		if dice.IntN(2) == 0 {
			t.Draft.UserID = id
		}
		r := flow.Success()
		switch dice.IntN(18) {
		case 0, 1, 2, 16, 17:
			r = flow.Skip()
		case 3:
			return flow.Result{}, errOops
		case 4, 5, 6:
			return flow.Ask(flow.Page{Name: "p", Data: map[string]any{"n": len(n), "id": id}}), nil
		case 7:
			return flow.Leave("other"), nil
		case 8:
			if dice.IntN(8) == 0 {
				r = flow.Deny("no")
			}
		case 9:
			if dice.IntN(8) == 0 {
				clear(f.ended)
				return flow.Restart(), nil
			}
		}
		f.ended[id] = r
		if dice.IntN(8) == 0 && reflect.DeepEqual(r, flow.Skip()) {
			if t.Others() && (t.Input != nil || t.Returned != nil) {
				f.leave(f.tree, id)
			}
			return flow.Another(), nil
		}
		return r, nil
	})
}

// leave forgets how the leaves ended of the Alternative that the visitor leaves at this leaf, and reports whether the leaf is in the
// level, and whether the Alternative is.
func (f *forest) leave(level flow.Flow, id string) (found, left bool) {
	others := 0
	for _, s := range level {
		switch {
		case s.When == flow.Alternative:
			others++
		case s.When != flow.Disabled && !isCondition(s):
			others = -10 // Alternatives are ignored
		}
	}
	for _, s := range level {
		found, left = s.ID == id, false
		if !found {
			found, left = f.leave(s.Sub, id)
		}
		if found && !left && others > 1 {
			f.forget(s)
			left = true
		}
		if found {
			return found, left
		}
	}
	return false, false
}

func (f *forest) forget(s flow.Step) {
	delete(f.ended, s.ID)
	for _, inner := range s.Sub {
		f.forget(inner)
	}
}

// wins returns the leaves to whose success the level owes its own, nil if it has none: by the rules, from how the leaves
// and conditions ended.
func (f *forest) wins(level flow.Flow) []string {
	var must, may []flow.Step
	for _, s := range level {
		switch {
		case s.When == flow.Disabled || isCondition(s):
		case s.When == flow.Alternative:
			may = append(may, s)
		default:
			must = append(must, s)
		}
	}
	won := func(s flow.Step) []string {
		if s.Do == nil {
			return f.wins(s.Sub)
		}
		if reflect.DeepEqual(f.ended[s.ID], flow.Success()) {
			return []string{s.ID}
		}
		return nil
	}
	var all []string
	for _, s := range must {
		w := won(s)
		if w == nil && (s.When == flow.Required || f.counts(s.Sub)) {
			return nil
		}
		all = append(all, w...)
	}
	if len(must) > 0 {
		return all
	}
	for _, s := range may {
		if w := won(s); w != nil {
			return w
		}
	}
	return nil
}

// counts reports whether no condition of a Conditional sub-flow was false: they were true, or one failed.
func (f *forest) counts(sub flow.Flow) bool {
	n := 0
	for _, s := range sub {
		if !isCondition(s) {
			continue
		}
		if n++; reflect.DeepEqual(f.ended[s.ID], flow.Skip()) {
			return false
		}
	}
	return n > 0
}

func isCondition(s flow.Step) bool {
	return s.Do != nil && strings.HasSuffix(fmt.Sprintf("%T", s.Do), ".condition")
}

// walk goes through a random flow to its end, and checks on the way what must hold for every flow.
func walk(t testing.TB, seed uint64) flow.Kind {
	t.Helper()
	f := newForest(seed)
	tree := f.level(3)
	f.tree = tree
	s, draft := &flow.State{}, &flow.Draft{}
	turn := newTurn()
	for range 200 {
		stale(t, seed, tree, s, draft, turn)
		before, draftBefore := marshal(t, s), marshal(t, draft)
		turn.Draft = draft
		out, err := tree.Run(t.Context(), s, turn)
		if err != nil {
			if errors.Is(err, flow.ErrStale) {
				t.Fatalf("seed %d: a good answer is stale in\n%v%s", seed, tree, before)
			}
			if marshal(t, s) != before || marshal(t, draft) != draftBefore {
				t.Fatalf("seed %d: failed and changed %s to %s", seed, before, marshal(t, s))
			}
			return flow.Denied // the same would happen again
		}
		switch out.Kind {
		case flow.Done:
			w := f.wins(tree)
			if len(w) == 0 {
				t.Fatalf("seed %d: done without a success in\n%v%v", seed, tree, f.ended)
			}
			if draft.UserID != "" && !slices.Contains(w, draft.UserID) {
				t.Fatalf("seed %d: done for %s, which did not win: %v\n%v", seed, draft.UserID, w, tree)
			}
			return out.Kind
		case flow.Denied:
			return out.Kind
		}
		s, draft = trip(t, s), trip(t, draft)
		turn = newTurn()
		turn.Token = s.Token()
		if out.Kind == flow.Left {
			turn.Returned = &flow.Returned{Alias: "other"}
		} else {
			turn.Input = url.Values{}
			if !reflect.DeepEqual(out.Page, s.Page()) {
				t.Fatalf("seed %d: page %+v is %+v after a restart", seed, out.Page, s.Page())
			}
		}
	}
	t.Fatalf("seed %d: does not end:\n%v", seed, tree)
	return flow.Denied
}

// stale makes sure that turns which are nearly t are refused and change nothing.
func stale(tb testing.TB, seed uint64, f flow.Flow, s *flow.State, d *flow.Draft, t *flow.Turn) {
	tb.Helper()
	twins := []flow.Turn{*t, *t, *t}
	twins[0].Token += "x"
	twins[1].Input, twins[1].Returned = url.Values{}, &flow.Returned{Alias: "other"}
	twins[2].Input, twins[2].Returned = nil, &flow.Returned{Alias: "else"}
	before, draft := marshal(tb, s), marshal(tb, d)
	for i := range twins {
		twins[i].Draft = d
		if _, err := f.Run(tb.Context(), s, &twins[i]); !errors.Is(err, flow.ErrStale) {
			tb.Fatalf("seed %d: got %v for a stale turn", seed, err)
		}
	}
	if marshal(tb, s) != before || marshal(tb, d) != draft {
		tb.Fatalf("seed %d: a stale turn changed %s to %s", seed, before, marshal(tb, s))
	}
}

func marshal(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func trip[T any](tb testing.TB, v *T) *T {
	tb.Helper()
	text, out := marshal(tb, v), new(T)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		tb.Fatal(err)
	}
	if again := marshal(tb, out); again != text {
		tb.Fatalf("%s becomes %s", text, again)
	}
	return out
}

func TestRandomFlows(t *testing.T) {
	t.Parallel()
	ends := map[flow.Kind]int{}
	for seed := range uint64(3000) {
		ends[walk(t, seed)]++
	}
	if ends[flow.Done] < 500 || ends[flow.Denied] < 500 {
		t.Errorf("got ends %v, which proves little", ends)
	}
}

// The same flow comes to the same end whether or not its state travels as JSON between turns.
func TestJSONChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		var stories [2]string
		for i := range stories {
			f := newForest(seed)
			f.tree = f.level(3)
			tree := f.tree
			s, turn := &flow.State{}, newTurn()
			for range 200 {
				out, err := tree.Run(t.Context(), s, turn)
				stories[i] += fmt.Sprintln(out.Kind, out.Step, marshal(t, out.Page), out.Reason, out.Failed, err, turn.Draft.UserID)
				if err != nil || s.Token() == "" {
					break
				}
				if i == 1 {
					s, turn.Draft = trip(t, s), trip(t, turn.Draft)
				}
				turn.Token, turn.Input, turn.Returned = s.Token(), nil, nil
				if out.Kind == flow.Left {
					turn.Returned = &flow.Returned{Alias: "other"}
				} else {
					turn.Input = url.Values{}
				}
			}
		}
		if stories[0] != stories[1] {
			t.Fatalf("seed %d: in memory\n%sthrough JSON\n%s", seed, stories[0], stories[1])
		}
	}
}

// A flow that passes Check prints each of its IDs in one line of its own.
func TestStringHasEachIDOnce(t *testing.T) {
	t.Parallel()
	passed := 0
	for seed := range uint64(5000) {
		f := newForest(seed)
		tree := f.level(3)
		if tree.Check() != nil {
			continue
		}
		passed++
		text := tree.String()
		for _, id := range f.ids {
			if n := strings.Count(text, id+" "); n != 1 {
				t.Fatalf("seed %d: %s is %d times in\n%s", seed, id, n, text)
			}
		}
		if lines := strings.Count(text, "\n"); lines != len(f.ids) {
			t.Fatalf("seed %d: %d lines for %d steps", seed, lines, len(f.ids))
		}
	}
	if passed < 100 {
		t.Errorf("only %d flows passed Check", passed)
	}
}

// Check and the engine agree: where Check says that every way to success goes by a Decider, no run succeeds without.
func TestUndecidedIsComputedRight(t *testing.T) {
	t.Parallel()
	said := map[bool]int{}
	for seed := range uint64(3000) {
		f := newForest(seed)
		tree := f.level(3)
		if tree.Check() != nil {
			continue
		}
		marked := map[string]bool{}
		mark(tree, f.rand, marked)
		fine := tree.Check() == nil
		if !tree.Decides() {
			continue
		}
		said[fine]++
		s, turn := &flow.State{}, newTurn()
		out, err := tree.Run(t.Context(), s, turn)
		if err != nil || out.Kind != flow.Done || !fine {
			continue
		}
		if !slices.ContainsFunc(f.wins(tree), func(id string) bool { return marked[id] }) {
			t.Fatalf("seed %d: done by %v and without any of %v in\n%v", seed, f.wins(tree), marked, tree)
		}
	}
	if said[true] < 100 || said[false] < 100 {
		t.Errorf("got %v, which proves little", said)
	}
}

// mark makes a third of the leaves deciders.
func mark(level flow.Flow, r *rand.Rand, marked map[string]bool) {
	for i := range level {
		s := &level[i]
		if d, ok := s.Do.(do); ok && r.IntN(3) == 0 {
			s.Do, marked[s.ID] = decider{d}, true
		}
		mark(s.Sub, r, marked)
	}
}
