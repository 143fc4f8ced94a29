package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// A Result is how a step ends, or pauses. It is made by one of [Success], [Skip], [Another], [Ask], [Deny], [DenyPage], [Leave] and
// [Restart]; the zero value is none of them, and is refused with an error.
type Result struct {
	kind   resultKind
	page   Page
	reason string
	data   map[string]any
	alias  string
}

type resultKind int

const (
	resultNone resultKind = iota
	resultSuccess
	resultSkip
	resultAsk
	resultDeny
	resultLeave
	resultRestart
	resultAnother
)

// Success ends the step: it has done what it is for.
func Success() Result { return Result{kind: resultSuccess} }

// Skip ends the step without success: it has nothing to do here. The next Alternative is tried; a Required step that skips
// denies the flow.
func Skip() Result { return Result{kind: resultSkip} }

// Another leaves the step, on an answer by which the visitor wants another way: the Alternative that it is, or stands in, is left
// for the next one. What was decided in it is undone. After the last way comes the first again, as if the visitor had not been
// there, but for what its steps have kept with [Turn.Set]. Where [Turn.Others] reports that there is no other way it is [Skip].
func Another() Result { return Result{kind: resultAnother} }

// Ask shows a page and calls the step again with the answer.
func Ask(p Page) Result { return Result{kind: resultAsk, page: p} }

// Deny ends the whole flow. The reason is the id of the message that the visitor sees: 1 to 64 lower case ASCII letters,
// digits and "_".
func Deny(reason string) Result { return Result{kind: resultDeny, reason: reason} }

// DenyPage is [Deny] with data for the message. As for [Page], data must be fit for JSON and for the visitor's eyes.
func DenyPage(reason string, data map[string]any) Result {
	return Result{kind: resultDeny, reason: reason, data: data}
}

// Leave sends the browser to another upstream to prove something, and calls the step again with t.Returned when it is
// back. Until then, the step's last page can still be answered.
func Leave(alias string) Result { return Result{kind: resultLeave, alias: alias} }

// Restart begins the flow anew: what the steps remember and what the draft decided is forgotten, the draft's profile
// stays as it was edited. A flow that is restarted more than 32 times denies.
func Restart() Result { return Result{kind: resultRestart} }

// A Page is what a step asks the visitor.
type Page struct {
	// Name of the template: 1 to 64 lower case ASCII letters, digits, "-" and "_".
	Name string `json:"n"`
	// Data for the template. It must be fit for JSON, as the template sees what JSON made of it, numbers as
	// [json.Number]; and for the visitor's eyes, as must everything in a page.
	Data map[string]any `json:"d,omitempty"`
	// Errors holds for each field of the form that was not filled in well the id of a message.
	Errors map[string]string `json:"e,omitempty"`
}

// Reasons with which the engine itself denies.
const (
	ReasonSkipped   = "flow_step_skipped"      // a required step could not be done
	ReasonUndecided = "flow_undecided"         // no step of the flow decided anything
	ReasonRestarts  = "flow_too_many_restarts" // the visitor, or a step, began again too often
)

// check returns r as it will be after a trip through JSON, or what is wrong with it.
func (r Result) check() (Result, error) {
	var err error
	switch r.kind {
	case resultSuccess, resultSkip, resultRestart, resultAnother:
	case resultAsk:
		if !isName(r.page.Name, "-_") {
			return r, fmt.Errorf("asked for page %q: not the name of a template", r.page.Name)
		}
		if r.page.Data, err = plain(r.page.Data); err != nil {
			return r, fmt.Errorf("asked for page %s: data: %w", r.page.Name, err)
		}
		if r.page.Errors, err = plain(r.page.Errors); err != nil {
			return r, fmt.Errorf("asked for page %s: errors: %w", r.page.Name, err)
		}
	case resultDeny:
		if !isName(r.reason, "_") {
			return r, fmt.Errorf("denied because of %q: not the id of a message", r.reason)
		}
		if r.data, err = plain(r.data); err != nil {
			return r, fmt.Errorf("denied because of %s: data: %w", r.reason, err)
		}
	case resultLeave:
		if r.alias == "" {
			return r, errors.New("left for an upstream without an alias")
		}
	default:
		return r, errors.New("returned no result and no error")
	}
	return r, nil
}

// plain returns a copy of m as JSON would bring it back, so that a page is the same before and after a restart.
func plain[V any](m map[string]V) (map[string]V, error) {
	if len(m) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out map[string]V
	return out, d.Decode(&out)
}

// isName reports whether s is 1 to 64 lower case ASCII letters, digits, and characters of extra.
func isName(s, extra string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !bytes.Contains([]byte(extra), []byte{c}) {
			return false
		}
	}
	return true
}

// If makes a condition of fn: a leaf that stands, Required, directly in a Conditional sub-flow and says whether that
// sub-flow counts. Conditions are evaluated in order when the flow reaches the sub-flow, up to the first that is false;
// each at most once, and anew where the visitor comes back to a way that they had left (see [Another]). They are no success by themselves, and what they write into the draft is lost.
func If(fn func(ctx context.Context, t *Turn) (bool, error)) Authenticator { return condition{fn} }

type condition struct {
	fn func(ctx context.Context, t *Turn) (bool, error)
}

// Authenticate refuses: a condition proves nothing, and the engine asks it directly.
func (condition) Authenticate(context.Context, *Turn) (Result, error) {
	return Result{}, errors.New("flow: a condition is no step by itself")
}

func (s *Step) isCondition() bool {
	_, ok := s.Do.(condition)
	return ok
}
