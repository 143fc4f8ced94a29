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
//
//	var s flow.State // travels as JSON from one request to the next
//	out, err := f.Run(ctx, &s, &flow.Turn{Identity: id, Draft: draft, Accounts: store})
//	// if out.Kind is Asked: show out.Page with s.Token(), and with the answer …
//	out, err = f.Run(ctx, &s, &flow.Turn{Token: form.Get("turn"), Input: form, Identity: id, Draft: draft, Accounts: store})
package flow

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// A Flow is one level of steps, in order. With a Required or Conditional step on the level, all of these must succeed
// (a Conditional one unless a condition is false) and Alternatives are ignored; otherwise the first Alternative that
// succeeds ends the level. A level on which nothing decided is skipped, never successful; and a Required step that skips
// denies the whole flow. So an Alternative that cannot always be done either skips itself, or is a sub-flow whose steps
// stand in a Conditional one.
type Flow []Step

// A Step is a leaf that does something, or a sub-flow: exactly one of Do and Sub is set.
type Step struct {
	ID   string      // unique in the whole tree; 1 to 64 ASCII letters, digits, "-" and "_"
	When Requirement // the zero value is Required
	Do   Authenticator
	Sub  Flow
}

// A Requirement says what a step means for its level. They are Keycloak's.
type Requirement int

const (
	Required    Requirement = iota // must succeed; one that skips denies
	Alternative                    // may succeed: the first that does ends the level; not beside Required or Conditional
	Conditional                    // a sub-flow that is Required if all its conditions (see If) are true, else passed over
	Disabled                       // is not there
)

// An Authenticator is what a step does: prove, ask, decide, or look. Implementations are safe for concurrent use and
// keep nothing between calls but what [Turn.Set] keeps. One that decides the draft is also a [Decider].
type Authenticator interface {
	// Authenticate does the step, or the next part of it. It is called with t.Input and t.Returned nil when the flow
	// reaches the step, and with one of them when its page was answered or the browser came back. An empty answer is an
	// answer: ask again, never succeed. An error means that it could not be decided: it is logged and never shown; an
	// expected outcome, a wrong password for instance, is a Result. What the step wrote into t.Draft.New, UserID,
	// SharedEmail, AMR, Password, ProvedEmail, VerifiedEmail and Replace is undone if it, or a sub-flow it stands in, ends without success.
	Authenticate(ctx context.Context, t *Turn) (Result, error)
}

// Decider is the capability, found by type assertion, of an Authenticator whose success decides the draft: it then has
// set Draft.New or Draft.UserID. [Flow.Check] refuses a flow that has such steps and could succeed without any of them.
// A wrapper has to forward it by hand.
type Decider interface {
	Authenticator
	// Decides does nothing.
	Decides()
}

// A Turn is what a step sees and edits. The broker fills the exported fields and gives it to [Flow.Run], which hands each
// step a copy of its own.
type Turn struct {
	Provider Provider           // the upstream that vouched
	Identity *provider.Identity // what it said, this time; not to be edited
	Draft    *Draft             // what will be written; to be edited; never nil
	Accounts Accounts           // for looking things up
	Now      time.Time
	Language string // BCP 47, of the pages
	Lent

	// Token says which pause this turn answers: [State.Token] as it was when the page was shown or the browser sent
	// away; "" begins a flow.
	Token    string
	Input    url.Values // the visitor's answer to this step's own page; nil when the step was just reached
	Returned *Returned  // who came back after this step's [Leave]; otherwise nil

	step     string // ID of the step that runs
	required bool
	others   bool
	state    *State
}

// Lent is what the broker lends to steps. A step that cannot work without something that is not there skips.
type Lent struct {
	BaseURL     string            // of the broker: "https://app.example/id"; "" if there is none
	Credentials store.Credentials // with which users prove themselves to the broker; nil if it keeps none
	Transient   store.Transient   // for limits and single-use marks; nil only where Credentials and Mail are
	Passwords   Passwords         // nil only where Credentials is
	Passkeys    Passkeys          // nil if there are none
	// Mail sends a mail in the visitor's language; nil if the broker sends none. It returns when the mail is on its way, or an
	// error that says that it is not.
	Mail func(ctx context.Context, m Mail) error
	// Journey names this login: unguessable, and the same as long as it goes on. Start is the path and query below BaseURL that
	// begin the same login anew; "" if nothing does.
	Journey, Start string
	// Upstream returns the provider with this alias if somebody can log in with it now. It may be nil.
	Upstream func(alias string) (Provider, bool)
	// Note adds to what is logged of this request: no secret, and no address. It may be nil.
	Note func(key, value string)
	// Source names where the visitor's request comes from, for limits on guessing; "" if that is not known.
	Source string
	// KnownDevice names the visitor's browser if this user has signed in with it before: "" if not, or if nobody knows. It
	// may be nil.
	KnownDevice func(userID string) string
	// Refused is factor.Local.Refused. It may be nil.
	Refused func(ctx context.Context, userID string, kind store.CredentialKind, source string)
}

// A Mail is what a step has the broker send. What it says is up to the broker, or its theme: the messages mail.<Name>.subject,
// .text, .button and .hint.
type Mail struct {
	Name string            // 1 to 64 lower case ASCII letters, digits and "-"
	To   string            // one address
	Args map[string]string // for the placeholders of the messages
	Link string            // an absolute URL to be opened; "" for none
	Code string            // to be typed in; "" for none
}

// Passwords hashes and verifies passwords, as factor.Passwords does. It is safe for concurrent use.
type Passwords interface {
	// Hash returns what to keep of a password, or an error that is a factor.PasswordError if it may not be chosen. names are
	// what the user is called, which is no password.
	Hash(ctx context.Context, password string, names ...string) ([]byte, error)
	// Verify reports whether hash was made of password; if it was, but otherwise than hashes are made now, better is the hash
	// to keep in its place. With a nil hash it does the same work and finds the password wrong. Its error is never about the
	// password.
	Verify(ctx context.Context, hash []byte, password string) (ok bool, better []byte, err error)
}

// Passkeys makes passkeys (WebAuthn Level 3) and has users prove by them who they are, at one site, as passkey.Site does. What begins
// returns options for the browser's script, as JSON, and state, which has the challenge: it is kept for this browser, out of its
// reach, for one finish and some minutes. It is safe for concurrent use.
type Passkeys interface {
	// At returns the passkeys of the broker at baseURL, for a product of this name; an error if there can be none.
	At(baseURL, name string) (Passkeys, error)
	// BeginRegistration begins to make a passkey for u.
	BeginRegistration(ctx context.Context, c store.Credentials, u *store.User) (options, state []byte, err error)
	// FinishRegistration checks what the browser answered, as JSON, and keeps the passkey under label, which is for people. It
	// is factor.ErrRefused if the answer proves nothing; any other error means that it could not be told.
	FinishRegistration(ctx context.Context, c store.Credentials, u *store.User, label string, state, answer []byte, now time.Time) error
	// BeginLogin begins to ask for a passkey. With u, only a passkey of that user will do; with nil, whoever uses one says who
	// they are, and the options tell nothing about anybody.
	BeginLogin(ctx context.Context, c store.Credentials, u *store.User) (options, state []byte, err error)
	// FinishLogin checks what the browser answered, as FinishRegistration does, and notes the passkey's use. users finds a user
	// by id; one who is disabled proves themselves as any other.
	FinishLogin(ctx context.Context, c store.Credentials, users func(ctx context.Context, id string) (*store.User, error),
		state, answer []byte, now time.Time) (*PasskeyProof, error)
}

// A PasskeyProof is what a passkey has proved.
type PasskeyProof struct {
	User *store.User
	// AMR is how (RFC 8176 §2): the key stays in one device ("hwk"), or may be on several ("swk"), which has verified its user
	// ("user"): two factors ("mfa").
	AMR []string
}

// Returned is what another upstream vouched for after a step's [Leave].
type Returned struct {
	Alias    string             // of that upstream: the one the step named
	Identity *provider.Identity // whom it vouched for; not to be edited
	UserID   string             // the user who is linked to that identity; "" if nobody is
}

// Get returns what this step has kept under name in this run of the flow, "" if nothing.
func (t *Turn) Get(name string) string { return t.state.steps[t.step].Memory[name] }

// Set keeps value under name for this step's later calls in the same flow. Other steps do not see it, and [Restart]
// forgets it. Keep it small, and keep no secret: it travels with the login.
func (t *Turn) Set(name, value string) { t.state.set(t.step, name, value) }

// Required reports whether a [Skip] by this step would deny the login, so that the step may say honestly why instead.
func (t *Turn) Required() bool { return t.required }

// Others reports whether there is another way than this step, to which [Another] leads: it is, or stands in, one of several
// Alternatives. Whether any of them can be gone is not known before.
func (t *Turn) Others() bool { return t.others }

// Provider is what a step may know of the upstream that vouched.
type Provider struct {
	Alias      string
	Name       string // for people
	TrustEmail bool
}

// Accounts is what a step may ask the store. It has no method that writes: steps decide, the broker commits.
type Accounts interface {
	// User returns the user with this id, or [store.ErrNotFound].
	User(ctx context.Context, id string) (*store.User, error)
	// FindUsers returns the users that q names, at most ten; none is no error.
	FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error)
	// Link returns the link with this key, or [store.ErrNotFound].
	Link(ctx context.Context, key store.LinkKey) (*store.Link, error)
	// LinksOf returns a user's links by creation; none is no error.
	LinksOf(ctx context.Context, userID string) ([]*store.Link, error)
}

// A Draft is what a login will write. It is decided when it says either New or UserID, and not both.
type Draft struct {
	Profile provider.Profile // what the upstream's identity became; steps may let the visitor edit it
	New     bool             // create a user from Profile
	UserID  string           // the existing user who logs in, or whom the identity will be linked to
	// SharedEmail lets the new user have an e-mail address that others have.
	SharedEmail bool
	// AMR says how the user has proved to the broker itself who they are in this flow (RFC 8176 §2). Like New and UserID it
	// is undone where its step, or a sub-flow that the step stands in, ends without success. The session gets it.
	AMR []string
	// Password is the hash of the password that the user will have, by [Passwords.Hash]; nil leaves it as it is. It is written
	// right before the login: where the process ends between the two, a user who exists has it already, and nobody is left whom it
	// was asked of and who has none.
	Password []byte
	// ProvedEmail is an address of which the visitor has proved in this flow that they read its mail. If it is still that of the
	// user UserID, it counts as verified from now on; and if it was not before, nothing by which others could sign in as that user
	// outlives the login: their credentials, other links and sessions were made by somebody who had not proved the address.
	ProvedEmail string
	// VerifiedEmail is an address of which the visitor has proved in this flow, once it was decided who they are, that they read
	// its mail. If it is that of the user when the login is written, it counts as verified from now on, and nothing else changes.
	VerifiedEmail string
	// Replace takes the other links of UserID to the same provider away.
	Replace bool
	// EditedEmail and EditedUsername say that the visitor has changed these, so that nobody vouches for them. They are never
	// taken back, not even by [Restart].
	EditedEmail, EditedUsername bool
	// Review says whether the visitor can, or wants to, look through the profile again.
	Review Review
	// Existing is who stands in the way of a new user; nil if nobody does. It is knowledge, not a decision: nothing may
	// be written for that user before their account has proved itself. Its contents never reach a page.
	Existing *Existing
}

// A Review is what can be done about a draft's profile.
type Review int

const (
	ReviewNever  Review = iota // the flow has no step for it
	ReviewAgain                // after a [Restart], there is a step that shows it on request
	ReviewWanted               // that was requested
)

// Existing says which account has what a new user would need.
type Existing struct {
	UserID string // "" if several users have it
	Field  string // "email" or "username"
}

// Decided reports whether the draft says what to write.
func (d *Draft) Decided() bool { return d.New != (d.UserID != "") }

// clone returns a copy that shares nothing with d.
func (d *Draft) clone() *Draft {
	c := *d
	c.Profile = d.Profile.Clone()
	c.AMR, c.Password = slices.Clone(d.AMR), slices.Clone(d.Password)
	if d.Existing != nil {
		e := *d.Existing
		c.Existing = &e
	}
	return &c
}

// A decision is the part of a draft that takes effect.
type decision struct {
	New         bool     `json:"n,omitempty"`
	UserID      string   `json:"u,omitempty"`
	SharedEmail bool     `json:"s,omitempty"`
	AMR         []string `json:"m,omitempty"`
	Password    []byte   `json:"p,omitempty"`
	ProvedEmail string   `json:"e,omitempty"`
	Verified    string   `json:"v,omitempty"`
	Replace     bool     `json:"l,omitempty"`
}

func (d *Draft) decision() decision {
	return decision{d.New, d.UserID, d.SharedEmail, slices.Clone(d.AMR), slices.Clone(d.Password), d.ProvedEmail, d.VerifiedEmail, d.Replace}
}

func (d *Draft) decide(to decision) {
	d.New, d.UserID, d.SharedEmail = to.New, to.UserID, to.SharedEmail
	d.AMR, d.Password = slices.Clone(to.AMR), slices.Clone(to.Password)
	d.ProvedEmail, d.VerifiedEmail, d.Replace = to.ProvedEmail, to.Verified, to.Replace
}
