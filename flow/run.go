package flow

import (
	"context"
	"errors"
	"fmt"
)

// maxRestarts bounds how often one flow can begin again.
const maxRestarts = 32

// A Kind says how a turn ended.
type Kind int

// The zero Kind lets nobody in.
const (
	Denied Kind = iota // the flow is over, without success
	Asked              // it is paused at a page
	Left               // it is paused until the browser is back from another upstream
	Done               // the flow is over and has succeeded; whether the draft is decided is for the broker to check
)

var kindNames = [...]string{"denied", "asked", "left", "done"}

// String returns the kind in words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// An Outcome is what became of a turn.
type Outcome struct {
	Kind   Kind
	Step   string         // where the flow is paused, or who denied; "" if it was the flow as a whole
	Page   *Page          // if Asked: what to show
	Alias  string         // if Left: the upstream to send the browser to
	Reason string         // if Denied: the id of the message for the visitor
	Data   map[string]any // if Denied: for that message; may be nil
	// Failed holds the errors of alternatives that could not be decided in this turn, while the flow went on without
	// them. They are for the log.
	Failed error
}

// Run begins the flow, if s is the zero State and t brings no answer, or goes on from where s is paused with the answer
// that t brings, up to the next pause or the end. Steps that have ended are not run again. It fails with [ErrStale] if t
// answers another pause than the one s is in, and with the error of a step that could not be decided; with any error,
// both s and *t.Draft are as they were.
func (f Flow) Run(ctx context.Context, s *State, t *Turn) (Outcome, error) {
	shape, leaves, problems := f.shape()
	if len(problems) > 0 {
		return Outcome{}, fmt.Errorf("flow: not fit to run: %w", errors.Join(problems...))
	}
	if t.Draft == nil {
		return Outcome{}, errors.New("flow: a turn needs a draft")
	}
	if !s.admits(t, shape, leaves) {
		return Outcome{}, ErrStale
	}
	r := run{state: s.clone(), turn: *t, draft: t.Draft.clone(), resume: s.step}
	if r.state.shape == "" {
		r.state.shape, r.state.before = shape, r.draft.decision()
	}
	out, err := r.flow(ctx, f)
	if err != nil {
		return Outcome{}, err
	}
	if r.resume != "" { // the state says it is paused where the flow does not come by
		return Outcome{}, ErrStale
	}
	out.Failed = errors.Join(r.failed...)
	*s, *t.Draft = *r.state, *r.draft
	return out, nil
}

// A run is one turn, on copies of the state and the draft.
type run struct {
	state  *State
	turn   Turn // as it was given
	draft  *Draft
	resume string  // the step whose pause the turn answers, until the walk has come to it
	out    Outcome // of a walk that has stopped
	failed []error
	others int // of the levels that it is in, how many have several Alternatives
}

// A verdict is how a step or a level ended. From paused on, they stop the walk.
type verdict int

const (
	skipped verdict = iota
	succeeded
	paused
	denied
	restarted
	passed // up to the nearest level with several Alternatives
)

func (r *run) flow(ctx context.Context, f Flow) (Outcome, error) {
	for {
		v, err := r.level(ctx, f)
		if err != nil {
			return Outcome{}, err
		}
		switch v {
		case succeeded:
			r.end(Outcome{Kind: Done})
		case skipped:
			r.end(Outcome{Reason: ReasonUndecided})
		case restarted:
			if r.state.restarts < maxRestarts {
				r.restart()
				continue
			}
			r.end(Outcome{Reason: ReasonRestarts})
		}
		return r.out, nil
	}
}

// end ends the flow.
func (r *run) end(out Outcome) verdict {
	r.state.proceed()
	r.state.steps = nil
	r.out = out
	return denied
}

func (r *run) restart() {
	s := r.state
	r.state = &State{shape: s.shape, before: s.before, restarts: s.restarts + 1, steps: map[string]record{}}
	r.draft.decide(s.before)
	r.draft.Existing = nil
}

// level walks one level. Results of leaves are remembered, those of levels follow from them, so each turn walks from the
// top and runs nothing until it is where the last one paused.
func (r *run) level(ctx context.Context, f Flow) (verdict, error) {
	if must := f.required(); len(must) > 0 {
		return r.all(ctx, must)
	}
	return r.first(ctx, f.alternatives())
}

// all is a level of Required and Conditional steps.
func (r *run) all(ctx context.Context, steps []*Step) (verdict, error) {
	level := skipped
	for _, s := range steps {
		v, err := r.step(ctx, s)
		switch {
		case err != nil || v >= paused:
			return v, err
		case v == succeeded:
			level = succeeded
		case s.When != Conditional:
			return r.end(Outcome{Step: s.ID, Reason: ReasonSkipped}), nil
		}
	}
	return level, nil
}

// first is a level of Alternatives.
func (r *run) first(ctx context.Context, steps []*Step) (verdict, error) {
	if len(steps) > 1 {
		r.others++
		defer func() { r.others-- }()
	}
	for {
		v, more, err := r.round(ctx, steps)
		switch {
		case !more:
			return v, err
		case len(steps) == 1 || r.others > 1: // the next way may be further out
			return passed, nil
		}
		for _, s := range steps {
			r.state.edit(s.ID, func(rec *record) { rec.Passed = false })
		}
	}
}

// round tries the Alternatives once, and reports whether there are more: those that the visitor has passed over.
func (r *run) round(ctx context.Context, steps []*Step) (v verdict, more bool, err error) {
	var failed []error
	for _, s := range steps {
		if r.state.steps[s.ID].Passed {
			more = true
			continue
		}
		v, err := r.step(ctx, s)
		switch {
		case errors.Is(err, ErrStale):
			return skipped, false, err
		case err != nil: // if ctx has ended, no other leaf will run
			failed = append(failed, err)
		case v == passed:
			r.pass(s)
			more = true
		case v != skipped:
			return v, false, nil
		}
	}
	return skipped, more, errors.Join(failed...)
}

// pass leaves an alternative that the visitor does not want now: what it decided is undone, and who comes back to it finds it as if
// they had never been there, but for what its steps remember.
func (r *run) pass(s *Step) {
	r.draft.decide(*r.state.steps[s.ID].Before)
	r.forget(s)
	r.state.edit(s.ID, func(rec *record) { rec.Passed = true })
}

func (r *run) forget(s *Step) {
	r.state.edit(s.ID, func(rec *record) { *rec = record{Memory: rec.Memory} })
	for i := range s.Sub {
		r.forget(&s.Sub[i])
	}
}

// step runs one step and undoes what it decided if it did not succeed.
func (r *run) step(ctx context.Context, s *Step) (verdict, error) {
	r.state.edit(s.ID, func(rec *record) {
		if rec.Before == nil {
			d := r.draft.decision()
			rec.Before = &d
		}
	})
	v, err := r.do(ctx, s)
	if v >= paused {
		return v, err
	}
	r.state.edit(s.ID, func(rec *record) {
		if err != nil || v == skipped {
			r.draft.decide(*rec.Before)
		}
		rec.Before = nil
	})
	return v, err
}

func (r *run) do(ctx context.Context, s *Step) (verdict, error) {
	switch {
	case s.Do != nil:
		return r.leaf(ctx, s)
	case s.When == Conditional:
		return r.conditional(ctx, s)
	}
	return r.level(ctx, s.Sub)
}

func (r *run) conditional(ctx context.Context, s *Step) (verdict, error) {
	conditions := s.Sub.conditions()
	for _, c := range conditions {
		if v, err := r.leaf(ctx, c); v != succeeded || err != nil {
			return skipped, err
		}
	}
	if len(conditions) == 0 {
		return skipped, nil
	}
	v, err := r.level(ctx, s.Sub)
	if v == skipped && err == nil { // it counts, so it is Required
		return r.end(Outcome{Step: s.ID, Reason: ReasonSkipped}), nil
	}
	return v, err
}

// leaf returns what a leaf answered, and runs it if it has not yet.
func (r *run) leaf(ctx context.Context, s *Step) (verdict, error) {
	switch r.state.steps[s.ID].Result {
	case answerSuccess:
		return succeeded, nil
	case answerSkip:
		return skipped, nil
	case answerFailed:
		return skipped, fmt.Errorf("step %s: failed in an earlier turn", s.ID)
	}
	if r.resume != "" && (r.resume != s.ID || s.isCondition()) {
		return skipped, ErrStale
	}
	if err := ctx.Err(); err != nil {
		return skipped, err
	}
	answers := r.resume != ""
	res, err := r.call(ctx, s)
	if err == nil {
		res, err = res.check()
	}
	if err != nil {
		err = fmt.Errorf("step %s: %w", s.ID, err)
		r.failed = append(r.failed, err)
		return r.answer(s, answerFailed), err
	}
	if res.kind == resultAnother && (!answers || r.others == 0) { // nobody wanted it, or there is none
		res = Skip()
	}
	return r.take(s, res), nil
}

// call runs a leaf. Only the one whose pause is answered sees the answer.
func (r *run) call(ctx context.Context, s *Step) (Result, error) {
	t := r.turn
	t.Draft, t.step, t.required, t.state = r.draft, s.ID, s.When != Alternative, r.state
	t.others = r.others > 0
	if r.resume == "" {
		t.Input, t.Returned = nil, nil
	}
	r.resume = ""
	c, ok := s.Do.(condition)
	if !ok {
		return s.Do.Authenticate(ctx, &t)
	}
	t.Draft = r.draft.clone() // to look at only
	holds, err := c.fn(ctx, &t)
	if err != nil || !holds {
		return Skip(), err
	}
	return Success(), nil
}

// take turns a leaf's result into a verdict and remembers it.
func (r *run) take(s *Step, res Result) verdict {
	switch res.kind {
	case resultSuccess:
		return r.answer(s, answerSuccess)
	case resultSkip:
		return r.answer(s, answerSkip)
	case resultAsk:
		r.state.pause(s.ID, &res.page, "")
		r.out = Outcome{Kind: Asked, Step: s.ID, Page: &res.page}
		return paused
	case resultLeave:
		// A page that is there is this step's: another's went when that ended.
		r.state.pause(s.ID, r.state.page, res.alias)
		r.out = Outcome{Kind: Left, Step: s.ID, Alias: res.alias}
		return paused
	case resultRestart:
		return restarted
	case resultAnother:
		r.state.proceed()
		return passed
	}
	return r.end(Outcome{Step: s.ID, Reason: res.reason, Data: res.data})
}

// answer remembers how a leaf ended.
func (r *run) answer(s *Step, a answer) verdict {
	r.state.proceed()
	r.state.edit(s.ID, func(rec *record) { rec.Result = a })
	if a == answerSuccess {
		return succeeded
	}
	return skipped
}
