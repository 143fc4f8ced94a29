// Package flow decides logins step by step: a pure engine, which knows neither HTTP nor HTML.
//
// It owns the tree of steps ([Flow], [Step], [Requirement]), what a step is ([Authenticator]), what it sees ([Turn]) and
// answers ([Result]), and how a flow pauses at a page and goes on from there ([State]). It owns no concrete step:
// firstlogin and factor have those; and it commits nothing: steps fill a [Draft], which the broker writes once, after the
// flow has succeeded.
//
//	f := flow.Flow{
//		{ID: "terms", Do: acceptTerms{}},
//		{ID: "account", Do: firstlogin.CreateUserIfUnique{}},
//	}
//	if err := f.Check(); err != nil { … }
package flow

import (
	"context"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// A Flow is one level of steps, in order. With a Required or Conditional step on the level, all of these must succeed
// (a Conditional one unless its condition is false); otherwise the first Alternative that succeeds decides the level.
// A level on which nothing decided is skipped, never successful.
type Flow []Step

// A Step is a leaf that does something, or a sub-flow: exactly one of Do and Sub is set.
type Step struct {
	ID   string      // unique in the whole tree; letters, digits, "-" and "_"
	When Requirement // the zero value is Required
	Do   Authenticator
	Sub  Flow
}

// A Requirement says what a step means for its level. They are Keycloak's.
type Requirement int

const (
	Required    Requirement = iota // must succeed; one that skips denies
	Alternative                    // may succeed: the first that does ends the level; not beside Required or Conditional
	Conditional                    // a sub-flow that is Required if all conditions on its level are true, else passed over
	Disabled                       // is not there
)

// An Authenticator is what a step does: prove, ask, decide, or look. Implementations are safe for concurrent use and
// keep nothing between calls but what [Turn.Set] keeps.
type Authenticator interface {
	// Authenticate does the step, or the next part of it. It is called with t.Input nil when the flow reaches the step,
	// and with the visitor's answer when its page was answered. An error means that it could not be decided: it is
	// logged and never shown; an expected outcome, a wrong password for instance, is a Result.
	Authenticate(ctx context.Context, t *Turn) (Result, error)
}

// A Turn is what a step sees and edits.
type Turn struct {
	Provider Provider           // the upstream that vouched
	Identity *provider.Identity // what it said, this time; not to be edited
	Draft    *Draft             // what will be written; to be edited
	Accounts Accounts           // for looking things up
	Input    url.Values         // the visitor's answer to this step's own page; nil when the step was just reached
	Now      time.Time
	Language string // BCP 47, of the pages

	step  string // ID of the step that runs
	state *State
}

// Provider is what a step may know of the upstream that vouched.
type Provider struct {
	Alias      string
	Name       string // for people
	TrustEmail bool
}

// Accounts is what a step may ask the store. It has no method that writes: steps decide, the broker commits.
type Accounts interface {
	User(ctx context.Context, id string) (*store.User, error)
	FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error)
	Link(ctx context.Context, key store.LinkKey) (*store.Link, error)
	LinksOf(ctx context.Context, userID string) ([]*store.Link, error)
}

// A Draft is what a login will write. It is decided when it says either New or UserID, and not both.
type Draft struct {
	Profile provider.Profile // what the upstream's identity became; steps may let the visitor edit it
	New     bool             // create a user from Profile
	UserID  string           // the existing user who logs in, or whom the identity will be linked to
	// SharedEmail lets the new user have an e-mail address that others have.
	SharedEmail bool
}

// Decided reports whether the draft says what to write.
func (d *Draft) Decided() bool { return d.New != (d.UserID != "") }
