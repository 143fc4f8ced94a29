package flow

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// ErrStale is what [Flow.Run] returns when the turn does not answer the pause that the state is in: an old page, another
// login's page, a second click, a flow that is over or was reconfigured meanwhile. Nothing has changed: the visitor may
// go on with [State.Page] or begin a new login.
var ErrStale = errors.New("flow: the answer is not to the page that the flow is paused at")

// A State is where a login stands in its flow: what each step answered and where it is paused. The zero value has not
// begun. It travels as JSON between turns, and whoever keeps it keeps it from being read and changed; that it is the
// latest one is beyond it, so what follows a flow must be done once at most. It is not safe for concurrent use.
type State struct {
	shape    string   // fingerprint of the flow it belongs to
	token    string   // of the pause; "" if not begun or over
	step     string   // where it is paused
	page     *Page    // what was asked there; never edited
	alias    string   // which upstream the browser was sent to
	before   decision // the draft's when the flow began
	restarts int
	steps    map[string]record
}

// A record is what a state knows of one step.
type record struct {
	Result answer            `json:"r,omitempty"` // of a leaf; those of sub-flows follow from them
	Memory map[string]string `json:"m,omitempty"` // copied before it is changed
	Before *decision         `json:"b,omitempty"` // the draft's when the step began, while it has not ended
	Passed bool              `json:"o,omitempty"` // of an Alternative: the visitor wants another one first
}

type answer int

const (
	answerNone answer = iota
	answerSuccess
	answerSkip
	answerFailed // with an error, as an alternative or a part of one
)

// stateJSON is a State as it travels.
type stateJSON struct {
	Shape    string            `json:"f,omitempty"`
	Token    string            `json:"t,omitempty"`
	Step     string            `json:"s,omitempty"`
	Page     *Page             `json:"p,omitempty"`
	Alias    string            `json:"a,omitempty"`
	Before   decision          `json:"b,omitzero"`
	Restarts int               `json:"n,omitempty"`
	Steps    map[string]record `json:"r,omitempty"`
}

// Token returns the random name of the pause the flow is in, which the answer has to bring back in [Turn.Token]. It is
// "" for a flow that has not begun or is over.
func (s *State) Token() string { return s.token }

// Page returns the page that is to be answered, nil if there is none. It is not to be edited.
func (s *State) Page() *Page { return s.page }

// Alias returns the upstream to which the flow has sent the browser and from which it has not come back, "" if there is
// none.
func (s *State) Alias() string { return s.alias }

// Step returns the ID of the step at which the flow is paused, "" if it is not.
func (s *State) Step() string { return s.step }

// MarshalJSON returns the state as it travels.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{s.shape, s.token, s.step, s.page, s.alias, s.before, s.restarts, s.steps})
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses what it cannot have written.
func (s *State) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	d.UseNumber()
	var j stateJSON
	if err := d.Decode(&j); err != nil {
		return fmt.Errorf("flow: read state: %w", err)
	}
	for id, r := range j.Steps {
		if r.Result < answerNone || r.Result > answerFailed {
			return fmt.Errorf("flow: read state: step %q has result %d", id, r.Result)
		}
	}
	if j.Restarts < 0 || j.Page != nil && !isName(j.Page.Name, "-_") {
		return errors.New("flow: read state: restarts or page out of range")
	}
	*s = State{j.Shape, j.Token, j.Step, j.Page, j.Alias, j.Before, j.Restarts, j.Steps}
	return nil
}

// admits reports whether t begins the flow of this shape, or answers the pause it is in.
func (s *State) admits(t *Turn, shape string, leaves map[string]bool) bool {
	if s.token == "" { // it has not begun, or is over
		begun := s.shape != "" || s.step != "" || len(s.steps) > 0
		return !begun && t.Token == "" && t.Input == nil && t.Returned == nil
	}
	if s.step == "" || s.shape != shape || subtle.ConstantTimeCompare([]byte(s.token), []byte(t.Token)) != 1 {
		return false
	}
	for id, r := range s.steps {
		if r.Result != answerNone && !leaves[id] {
			return false
		}
	}
	if t.Returned != nil {
		return t.Input == nil && s.alias != "" && s.alias == t.Returned.Alias
	}
	return t.Input != nil && s.page != nil
}

// clone returns a copy whose changes s does not see.
func (s *State) clone() *State {
	c := *s
	c.steps = maps.Clone(s.steps)
	if c.steps == nil {
		c.steps = map[string]record{}
	}
	return &c
}

// pause stops at a step, for a page or an upstream.
func (s *State) pause(step string, page *Page, alias string) {
	s.token, s.step, s.page, s.alias = rand.Text(), step, page, alias
}

// proceed forgets the pause.
func (s *State) proceed() { s.token, s.step, s.page, s.alias = "", "", nil, "" }

func (s *State) edit(step string, edit func(r *record)) {
	r := s.steps[step]
	edit(&r)
	if r.Result == answerNone && r.Memory == nil && r.Before == nil && !r.Passed {
		delete(s.steps, step)
		return
	}
	s.steps[step] = r
}

func (s *State) set(step, name, value string) {
	s.edit(step, func(r *record) {
		m := maps.Clone(r.Memory)
		if m == nil {
			m = map[string]string{}
		}
		// JSON would do the same to what is not UTF-8, but only at the end of the turn.
		m[strings.ToValidUTF8(name, "\uFFFD")] = strings.ToValidUTF8(value, "\uFFFD")
		r.Memory = m
	})
}
