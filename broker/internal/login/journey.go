package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// A stage is the flow that a journey is in.
type stage int

const (
	stageFirstLogin stage = iota // nobody is linked to the identity yet
	stagePostLogin               // it is known who logs in
	stageDone
)

// A journey is what happens between an upstream's word and the session: the flows. It can pause at a page, and then is
// kept sealed in the store. Nothing it decides is written before its end.
type journey struct {
	ID        string             // names it in URLs, once it has paused, and to its steps
	Key       string             // under which it is kept, once it has paused
	Once      string             // the state of the login, which commits at most once
	Start     string             // of the target
	Alias     string             // of the provider; "" if no upstream has a part in it
	Passkey   bool               // without an upstream it began with a passkey, not with a password
	Identity  *provider.Identity // after the mappers of provider.StageLookup
	Draft     flow.Draft
	Decided   decision    // the draft's when the post-login flow began, which must not change it
	Linked    string      // id of the user whom the identity was linked to when the journey began; "" for nobody
	Transient *store.User `json:",omitempty"` // who logs in, if the provider's users are kept nowhere
	Stage     stage
	State     flow.State // of the flow of Stage
	Expires   time.Time  // when it can no longer be committed
	Held      []held     // what its user had when they proved who they are to the broker itself; nil if they have not
	Unasked   bool       `json:",omitempty"` // the upstream has sent it, and nobody here has asked for it

	target   *Target
	provider *gate.Provider
	account  *account      // what is known of the identity; nil while it must be (re-)read
	user     string        // id of who logged in, once it is committed
	begun    *begunPasskey // the login by passkey that the request is the answer to; nil for none
	session  string        // id of the session that the browser had when the commit was first tried
	witness  *witness      // of this request; nil until somebody's credentials are looked at
}

// A decision is who logs in, as a draft says it.
type decision struct {
	New    bool
	UserID string
}

func (j *journey) decision() decision { return decision{j.Draft.New, j.Draft.UserID} }

// An account is the link of an identity with its user, both nil if there is no link.
type account struct {
	link *store.Link
	user *store.User
	// former says that the link was made under an issuer that the provider had before, or by another subject.
	former bool
}

func (j *journey) key() store.LinkKey {
	return store.LinkKey{Provider: j.Alias, Issuer: j.Identity.Issuer, Subject: j.Identity.Subject}
}

// vouched goes on once an upstream has vouched for somebody.
func (s *Service) vouched(w http.ResponseWriter, r *http.Request, t *Target, p *gate.Provider, id *provider.Identity,
	wait *pending, state string) {
	if wait.Flow != "" {
		s.returned(w, r, p, id, wait.Flow)
		return
	}
	j, err := s.newJourney(r.Context(), t, p, id, state)
	if errors.Is(err, errStale) && !t.fresh && !t.Passive {
		t.fresh = true
		s.begin(w, r, t, p, "")
		return
	}
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	j.Expires, j.Unasked = wait.Expires.Add(journeyLifetime), wait.unasked
	s.proceed(w, r, j, nil)
}

// newJourney runs the mappers that come before the look-up, looks the identity up, and drafts the profile.
func (s *Service) newJourney(ctx context.Context, t *Target, p *gate.Provider, id *provider.Identity, once string) (*journey, error) {
	if _, err := s.Gate.Login(p.Alias, t.Providers); err != nil {
		return nil, err
	}
	if err := mapLookup(p, id); err != nil {
		return nil, err
	}
	if stale(t, id, s.Now()) {
		return nil, errStale
	}
	j := &journey{ID: rand.Text(), Once: once, Start: t.Start, Alias: p.Alias, Identity: id, target: t, provider: p}
	j.Draft.Profile = provider.ProfileOf(id, p.TrustEmail)
	if p.TransientUsers {
		return j, s.meet(ctx, j)
	}
	if err := s.lookUp(ctx, j); err != nil {
		return nil, err
	}
	if j.account.user != nil {
		j.Draft.UserID, j.Linked = j.account.user.ID, j.account.user.ID
		j.nextStage()
		return j, nil
	}
	return j, mapAt(p, provider.StageProfile, &provider.Mapping{Alias: p.Alias, Identity: id, Profile: &j.Draft.Profile})
}

// errStale says that the upstream's proof is older than the application allows, or may be.
var errStale = &provider.Error{Kind: provider.LoginRequired, Err: errors.New("the upstream's authentication is older than max_age")}

// stale reports whether the proof may be older than the application allows. An upstream that does not say when it was
// made is believed only if it was asked for a new one.
func stale(t *Target, id *provider.Identity, now time.Time) bool {
	const skew = time.Minute
	if t.Wishes.MaxAge == nil {
		return false
	}
	if id.AuthTime.IsZero() {
		return !t.fresh
	}
	return now.Sub(id.AuthTime) > *t.Wishes.MaxAge+skew
}

// lookUp reads the link of the identity and its user, and checks that they may log in.
func (s *Service) lookUp(ctx context.Context, j *journey) error {
	j.account = &account{}
	if j.local() {
		return s.lookUpLocal(ctx, j)
	}
	former, err := s.Fences.Pass(ctx, j.provider)
	if err != nil {
		return err
	}
	if j.provider.TransientUsers { // its word finds nobody who is kept
		j.account.user = j.Transient
		return nil
	}
	link, err := s.link(ctx, j.key(), j.Identity.FormerSubject, former)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up link: %w", err)
	}
	user, err := s.Store.User(ctx, link.UserID)
	if errors.Is(err, store.ErrNotFound) {
		// The user was deleted and the link was left behind: ids are never reused, so it ties nobody to nothing.
		return s.dropLink(ctx, link)
	}
	if err != nil {
		return fmt.Errorf("look up user: %w", err)
	}
	if err := s.Gate.User(user); err != nil {
		return err
	}
	j.account.link, j.account.user, j.account.former = link, user, link.LinkKey != j.key()
	return nil
}

// link returns the link with this key, or with that of an issuer that its provider had before; where there is none, one by the
// subject that the same person had before, "" for none. Nobody's word of a former subject counts against a link.
func (s *Service) link(ctx context.Context, key store.LinkKey, formerSubject string, former []string) (*store.Link, error) {
	issuers, subjects := append([]string{key.Issuer}, former...), []string{key.Subject}
	if provider.IsSubject(formerSubject) && formerSubject != key.Subject {
		subjects = append(subjects, formerSubject)
	}
	for _, key.Subject = range subjects {
		for _, key.Issuer = range issuers {
			if link, err := s.Store.Link(ctx, key); !errors.Is(err, store.ErrNotFound) {
				return link, err
			}
		}
	}
	return nil, store.ErrNotFound
}

// overtaken reports whether the identity was linked, unlinked or linked to somebody else since the journey began, so that
// its flows have decided about another user than would log in; a link that was taken away is not to be made again. One that
// was new, and is a user's by now without a flow to pass, is the same person in another tab.
func (s *Service) overtaken(j *journey) bool {
	if j.account.user == nil {
		return j.Linked != ""
	}
	if j.Draft.UserID != "" && j.Draft.UserID != j.account.user.ID {
		return true
	}
	return !j.local() && j.Linked == "" && len(s.postLogin(j.provider)) > 0
}

// proceed runs the flows of the journey from where it is, and commits it if they succeed. answer is what the visitor
// answered to the page that it paused at, nil if it did not pause.
func (s *Service) proceed(w http.ResponseWriter, r *http.Request, j *journey, turn *flow.Turn) {
	rec := web.RecordOf(r.Context())
	for ; j.Stage < stageDone; j.nextStage() {
		f := s.flowOf(j)
		if len(f) == 0 {
			continue
		}
		out, err := f.Run(r.Context(), &j.State, s.turn(r, j, turn))
		turn = nil
		if err == nil {
			err = s.noteHeld(r.Context(), j)
		}
		if err != nil {
			s.flowFailed(w, r, j, err)
			return
		}
		rec.Note("step", out.Step)
		if out.Failed != nil {
			rec.Err = out.Failed
		}
		if j.Stage == stagePostLogin && j.decision() != j.Decided {
			s.Fail(w, r, j.target, errors.New("a step of the post-login flow changed who logs in"))
			return
		}
		if out.Kind == flow.Done {
			continue
		}
		linked, err := s.linkedMeanwhile(r.Context(), j)
		if err != nil {
			s.Fail(w, r, j.target, err)
			return
		}
		if linked {
			continue
		}
		if j.target.Passive && out.Kind != flow.Denied { // OpenID Connect Core §3.1.2.6
			s.Send(w, r, j.target, j.target.Refuse("interaction_required"))
			return
		}
		if j.Unasked && j.Stage == stageFirstLogin && out.Kind != flow.Denied {
			s.failUnasked(w, r, j)
			return
		}
		switch out.Kind {
		case flow.Asked:
			if j.onLoginPage(out.Step) {
				s.wrongLocal(w, r, j, out.Page.Errors)
				return
			}
			s.pause(w, r, j)
		case flow.Left:
			s.leaveFlow(w, r, j, out.Alias)
		default:
			if j.onLoginPage(out.Step) {
				s.wrongLocal(w, r, j, nil) // who is disabled is not told apart
				return
			}
			s.denied(w, r, j, out)
		}
		return
	}
	s.finish(w, r, j)
}

// linkedMeanwhile reports whether an identity that nobody knew, and that its first-login flow is held up with, is a user's by
// now: the same person has come through in another tab, and is who stands in the way. The journey then goes on as that user's.
func (s *Service) linkedMeanwhile(ctx context.Context, j *journey) (bool, error) {
	if j.local() || j.Stage != stageFirstLogin || j.Linked != "" {
		return false, nil
	}
	if err := s.lookUp(ctx, j); err != nil || j.account.user == nil {
		return false, err
	}
	j.Linked = j.account.user.ID
	j.Draft = flow.Draft{Profile: provider.ProfileOf(j.Identity, j.provider.TrustEmail), UserID: j.Linked}
	return true, nil
}

// undecided are the reasons of the engine itself.
var undecided = map[string]bool{flow.ReasonSkipped: true, flow.ReasonUndecided: true, flow.ReasonRestarts: true}

// denied shows why a flow let nobody in. The step's data that is text fills in the message.
func (s *Service) denied(w http.ResponseWriter, r *http.Request, j *journey, out flow.Outcome) {
	if out.Failed != nil && undecided[out.Reason] { // what could not be told is no reason to send somebody away
		s.Fail(w, r, j.target, out.Failed)
		return
	}
	args := map[string]string{}
	for name, value := range out.Data {
		if text, ok := value.(string); ok {
			args[name] = text
		}
	}
	message := out.Reason
	switch {
	case message == firstlogin.AccountExists:
		message += "_" + args["field"]
	case undecided[message]:
		message = "no_way"
		if j.Stage == stageFirstLogin && j.Draft.Existing != nil { // it could not prove itself
			message = firstlogin.AccountExists + "_" + j.Draft.Existing.Field
		}
	}
	s.Fail(w, r, j.target, &Problem{
		Status: http.StatusForbidden, Message: message, Args: args, Err: fmt.Errorf("step %q denied: %s", out.Step, out.Reason),
	})
}

func (j *journey) nextStage() {
	j.Stage, j.State, j.Decided = j.Stage+1, flow.State{}, j.decision()
}

// flowOf returns the flow of the stage that the journey is in; nil is passed over.
func (s *Service) flowOf(j *journey) flow.Flow {
	if j.Stage == stagePostLogin {
		return s.postLogin(j.provider)
	}
	if j.provider.FirstLogin != nil {
		return j.provider.FirstLogin
	}
	return s.FirstLogin
}

func (s *Service) postLogin(p *gate.Provider) flow.Flow {
	if p.PostLogin != nil {
		return p.PostLogin
	}
	return s.PostLogin
}

// mapAt runs the provider's mappers of one stage, in order.
func mapAt(p *gate.Provider, at provider.Stage, m *provider.Mapping) error {
	for _, mapper := range p.Mappers {
		if mapper.Stage != at || m.Update && at == provider.StageProfile && !syncOf(p, mapper).Updates() {
			continue
		}
		before := email(m)
		if err := mapper.Map(m); err != nil {
			return &provider.Error{Kind: provider.Invalid, Err: fmt.Errorf("mapper %q: %w", mapper.Name, err)}
		}
		switch { // what was verified was another address
		case email(m) == before:
		case m.Profile != nil:
			m.Profile.EmailVerified = false
		default:
			m.Identity.EmailVerified = false
		}
	}
	return nil
}

func email(m *provider.Mapping) string {
	if m.Profile == nil {
		return firstlogin.Email(m.Identity.Email)
	}
	return firstlogin.Email(m.Profile.Email)
}

// mapLookup runs the mappers that come before an identity is looked up, and makes sure that there is something to look
// up.
func mapLookup(p *gate.Provider, id *provider.Identity) error {
	if err := mapAt(p, provider.StageLookup, &provider.Mapping{Alias: p.Alias, Identity: id}); err != nil {
		return err
	}
	if !provider.IsSubject(id.Subject) {
		return &provider.Error{Kind: provider.Invalid, Err: errors.New("identity without a subject")}
	}
	return nil
}

// forget takes from a user who exists what the mappers decide anew at each login.
func forget(p *gate.Provider, m *provider.Mapping) {
	for _, mapper := range p.Mappers {
		if mapper.Stage == provider.StageProfile && mapper.Forget != nil && syncOf(p, mapper) == provider.SyncForce {
			mapper.Forget(m)
		}
	}
}

// syncOf returns when the mapper runs for users who exist already.
func syncOf(p *gate.Provider, m provider.Mapper) provider.SyncMode {
	if m.Sync == provider.SyncInherit {
		return p.Sync
	}
	return m.Sync
}

// ignore returns err unless it is target.
func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
