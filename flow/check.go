package flow

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Bounds of a flow, so that a tree that contains itself is an error and not the end of the process.
const (
	maxDepth = 16
	maxSteps = 256
)

// required returns the Required and Conditional steps of a level. A requirement that is none counts as Required.
func (f Flow) required() []*Step {
	return f.pick(func(s *Step) bool { return s.When != Alternative && s.When != Disabled && !s.isCondition() })
}

// alternatives returns the Alternative steps of a level.
func (f Flow) alternatives() []*Step {
	return f.pick(func(s *Step) bool { return s.When == Alternative && !s.isCondition() })
}

// conditions returns the conditions of a Conditional sub-flow.
func (f Flow) conditions() []*Step {
	return f.pick(func(s *Step) bool { return s.When != Disabled && s.isCondition() })
}

func (f Flow) pick(keep func(s *Step) bool) []*Step {
	var out []*Step
	for i := range f {
		if keep(&f[i]) {
			out = append(out, &f[i])
		}
	}
	return out
}

// Check returns every mistake in the flow, joined, each with the path of IDs to the step and what to do about it; nil if
// there is none. Among them is the way on which a flow that has a [Decider] could succeed with none of them having
// succeeded. [Flow.Run] refuses a flow that is not fit to run by itself; Check is for saying so at the start.
func (f Flow) Check() error {
	_, _, problems := f.shape()
	if len(problems) > 0 {
		// Of a tree that cannot be told apart, nothing else can be said.
		return errors.Join(problems...)
	}
	c := checker{}
	c.level("", f, true)
	if f.Decides() {
		if way, ok := f.undecided(); ok {
			c.complain("", "could succeed with nothing decided, when these succeed: %s: "+
				"make a step Required that decides, or implement Decider", strings.Join(way, ", "))
		}
	}
	return errors.Join(c.problems...)
}

// Decides reports whether a step of f, which has passed Check, is a [Decider] and not disabled: a flow for first logins
// must have one.
func (f Flow) Decides() bool {
	for i := range f {
		if s := &f[i]; s.When != Disabled && (s.decides() || s.Sub.Decides()) {
			return true
		}
	}
	return false
}

// Insecure returns, for the log, what the enabled steps of f name as insecure about themselves by a method Insecure() []string,
// each after its step's ID.
func (f Flow) Insecure() []string {
	var all []string
	for i := range f {
		s := &f[i]
		if s.When == Disabled {
			continue
		}
		if weak, ok := s.Do.(interface{ Insecure() []string }); ok {
			for _, setting := range weak.Insecure() {
				all = append(all, s.ID+": "+setting)
			}
		}
		all = append(all, s.Sub.Insecure()...)
	}
	return all
}

func (s *Step) decides() bool {
	_, ok := s.Do.(Decider)
	return ok
}

// undecided returns the leaves of a way on which the level could succeed without a Decider.
func (f Flow) undecided() (way []string, ok bool) {
	must := f.required()
	for _, s := range must {
		w, ok := s.undecided()
		if !ok && s.When == Required {
			return nil, false
		}
		way = append(way, w...) // a Conditional one may be passed over
	}
	if len(must) > 0 {
		return way, len(way) > 0
	}
	for _, s := range f.alternatives() {
		if way, ok := s.undecided(); ok {
			return way, true
		}
	}
	return nil, false
}

func (s *Step) undecided() ([]string, bool) {
	if s.Do != nil {
		return []string{s.ID}, !s.decides()
	}
	return s.Sub.undecided()
}

type checker struct{ problems []error }

func (c *checker) complain(path, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s: %s", cmp.Or(path, "flow"), fmt.Sprintf(format, args...)))
}

// level checks what makes sense on a level. What is not enabled need not be able to succeed.
func (c *checker) level(path string, f Flow, enabled bool) {
	must, may := f.required(), f.alternatives()
	switch {
	case len(f) == 0:
		c.complain(path, "is empty and can never succeed: add a step, or remove it")
	case enabled && len(must)+len(may) == 0:
		c.complain(path, "can never succeed, as all steps but conditions are Disabled: enable one, or disable it as a whole")
	case len(must) > 0 && len(may) > 0:
		c.complain(path, "%s is Alternative beside %s, which is %v, and would be ignored: put the Alternatives into a sub-flow",
			may[0].ID, must[0].ID, must[0].When)
	}
	for i := range f {
		s := &f[i]
		at := join(path, s.ID)
		if s.Sub == nil {
			continue
		}
		if s.When == Conditional && len(s.Sub.conditions()) == 0 {
			c.complain(at, "is Conditional without a condition, and would be passed over: add one made by If")
		}
		c.level(at, s.Sub, enabled && s.When != Disabled)
	}
}

// shape returns a fingerprint of the tree, for each ID whether it is that of a leaf, and what is wrong with it as a tree.
func (f Flow) shape() (print string, leaves map[string]bool, problems []error) {
	w := walker{leaves: map[string]bool{}}
	w.level("", f, false, 1)
	sum := sha256.Sum256([]byte(w.text.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:12]), w.leaves, w.problems
}

type walker struct {
	checker
	leaves map[string]bool
	text   strings.Builder
	steps  int
}

func (w *walker) level(path string, f Flow, conditional bool, depth int) {
	if depth > maxDepth {
		w.complain(path, "is nested deeper than %d levels", maxDepth)
		return
	}
	w.text.WriteByte('(')
	for i := range f {
		if w.steps++; w.steps > maxSteps {
			if w.steps == maxSteps+1 {
				w.complain(path, "there are more than %d steps", maxSteps)
			}
			return
		}
		s := &f[i]
		name := s.ID
		if name == "" {
			name = fmt.Sprintf("#%d", i+1)
		}
		at := join(path, name)
		w.step(at, s, conditional)
		w.print(s)
		if s.Sub != nil {
			w.level(at, s.Sub, s.When == Conditional, depth+1)
		}
	}
	w.text.WriteByte(')')
}

// print adds a step to the text that tells flows apart. It runs at every turn, so it does without fmt.
func (w *walker) print(s *Step) {
	do := "<nil>"
	if s.Do != nil {
		do = reflect.TypeOf(s.Do).String()
	}
	line := make([]byte, 0, 96)
	line = append(strconv.AppendQuote(line, s.ID), ' ')
	line = append(strconv.AppendInt(line, int64(s.When), 10), ' ')
	line = append(strconv.AppendQuote(line, do), ';')
	w.text.Write(line)
}

func (w *walker) step(at string, s *Step, conditional bool) {
	if !isID(s.ID) {
		w.complain(at, "has no ID of 1 to 64 letters, digits, - and _: give it one")
	} else if _, taken := w.leaves[s.ID]; taken {
		w.complain(at, "has the ID of another step: IDs are unique in the whole tree")
	}
	w.leaves[s.ID] = s.Do != nil
	switch {
	case s.Do == nil && s.Sub == nil:
		w.complain(at, "has neither Do nor Sub: give it one of them")
	case s.Do != nil && s.Sub != nil:
		w.complain(at, "has both Do and Sub: take one of them away")
	}
	switch {
	case s.When < Required || s.When > Disabled:
		w.complain(at, "has the unknown requirement %d", int(s.When))
	case s.When == Conditional && s.Sub == nil:
		w.complain(at, "is Conditional, which only a sub-flow can be: put it and its condition into one")
	}
	if c, ok := s.Do.(condition); ok {
		w.condition(at, s, c, conditional)
	}
}

func (w *walker) condition(at string, s *Step, c condition, conditional bool) {
	switch {
	case c.fn == nil:
		w.complain(at, "is a condition without a function: give If one")
	case !conditional:
		w.complain(at, "is a condition outside a Conditional sub-flow: put it into one, with the steps it is for")
	case s.When != Required && s.When != Disabled:
		w.complain(at, "is a condition and %v: conditions are Required", s.When)
	}
}

func join(path, id string) string {
	if path == "" {
		return id
	}
	return path + "/" + id
}

func isID(id string) bool { return isName(strings.ToLower(id), "-_") && isASCII(id) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
