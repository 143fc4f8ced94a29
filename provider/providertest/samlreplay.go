package providertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
)

// A SAMLTarget is a service provider that forgeries are sent to.
type SAMLTarget struct {
	// IdP is the identity provider that the target trusts, and at which it is registered with what it is to be attacked by:
	// forgeries that have to be encrypted are left out without EncryptTo.
	IdP *SAML
	// Begin starts a login in a browser that was never there before.
	Begin func(t testing.TB) SAMLAttempt
	// Budget is what the target may take for a forgery: some are about nothing else. Of its fields, 0 is ten seconds, and a gigabyte:
	// enough for tests that run in parallel, which see what others cost, too.
	Budget Cost
}

// A SAMLAttempt is a login that waits for the answer of the identity provider.
type SAMLAttempt struct {
	// URL is where the browser is sent to, Form what it posts there; without Form it gets URL.
	URL  string
	Form url.Values
	// Finish is the browser coming back: it posts form to at or, if form is nil, gets it. It returns the subject of who was
	// let in, or an error if nobody was. It may be called again.
	Finish func(at string, form url.Values) (subject string, err error)
	// Logout is a LogoutRequest arriving in the same way, after Finish. It returns nil if the session of who was let in has
	// ended. Without it, forgeries of such requests are left out.
	Logout func(at string, form url.Values) error
	// BeginLogout begins a sign-out here, after Finish, and returns where the browser is sent to and what it posts there, as
	// URL and Form do; "" is nowhere. FinishLogout is the LogoutResponse arriving, and returns nil if that is taken for the identity provider's
	// word that the session there has ended. It may be called again. Without both, forgeries of such responses are left out.
	BeginLogout  func() (at string, form url.Values, err error)
	FinishLogout func(at string, form url.Values) error
}

// A SAMLForgery is what an attacker sends to a service provider, or somebody honest whom it must take for one.
type SAMLForgery struct {
	Name string
	Why  string // what is attacked, and which advisory had it
	// Genuine is not forged, though it looks odd: it must be accepted.
	Genuine bool

	user    User   // whom it is to let in
	either  bool   // refused or not, it may not cost much
	uniform string // of those with the same one, all must be refused in the same words
	kind    samlKind
	make    func(a *samlAttack) ([]samlMessage, error)
}

// A samlKind says which message of the identity provider is forged.
type samlKind int

const (
	samlPosted         samlKind = iota // the answer, where it is asked for by HTTP-POST
	samlQueried                        // …by HTTP-Redirect
	samlByArtifact                     // …by HTTP-Artifact
	samlLogoutRequest                  // by any binding
	samlLogoutResponse                 // by any binding
)

var samlAnswers = map[string]samlKind{"HTTP-POST": samlPosted, "HTTP-Redirect": samlQueried, "HTTP-Artifact": samlByArtifact}

// A SAMLResult is what a target made of a forgery.
type SAMLResult struct {
	Forgery  SAMLForgery
	LeftOut  bool // it does not fit the target: the binding, the algorithm of the keys, no encryption, no logout
	Accepted bool
	Subject  string // who was let in
	Err      error  // why nobody was
	Cost     Cost   // what the target took for it; see [Measure]. What is dear is tried three times, and the least counts
	budget   Cost
}

func (r SAMLResult) dear() bool { return r.Cost.Time > r.budget.Time || r.Cost.Bytes > r.budget.Bytes }

// Wrong says what is wrong with the result; "" if nothing is.
func (r SAMLResult) Wrong() string {
	switch f := r.Forgery; {
	case r.LeftOut:
	case r.dear():
		return fmt.Sprintf("%s: it COST %v; %s", f.Name, r.Cost, f.Why)
	case f.either && (!r.Accepted || r.Subject == f.user.Subject):
	case f.Genuine && !r.Accepted:
		return fmt.Sprintf("%s: refused, though it is genuine (%v); %s", f.Name, r.Err, f.Why)
	case f.Genuine && f.kind < samlLogoutRequest && r.Subject != f.user.Subject:
		return fmt.Sprintf("%s: %q was let in, not %q; %s", f.Name, r.Subject, f.user.Subject, f.Why)
	case !f.Genuine && r.Accepted:
		return fmt.Sprintf("%s: ACCEPTED, %q was let in; %s", f.Name, r.Subject, f.Why)
	}
	return ""
}

// A samlMessage arrives at the service provider.
type samlMessage struct {
	query string // "" if it is posted
	form  url.Values
}

func (m samlMessage) at(address string) (string, url.Values) {
	if m.query == "" {
		return address, m.form
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + m.query, nil
}

// ReplaySAML sends all of [SAMLForgeries] to a target, each in a login of its own. It fails the test for each that was
// accepted, each genuine one that was refused, and each that cost more than SAMLTarget.Budget, logs the dearest, and returns all results.
func ReplaySAML(t testing.TB, target SAMLTarget) []SAMLResult {
	t.Helper()
	var results []SAMLResult
	said := map[string]string{}
	for _, f := range SAMLForgeries() {
		r := f.Replay(t, target)
		if wrong := r.Wrong(); wrong != "" {
			t.Error(wrong)
		}
		if r.Err != nil && f.uniform != "" && !r.LeftOut {
			if first, ok := said[f.uniform]; ok && first != r.Err.Error() {
				t.Errorf("%s: refused with %q, another one with %q; %s", f.Name, r.Err, first, f.Why)
			}
			said[f.uniform] = r.Err.Error()
		}
		results = append(results, r)
	}
	logDearest(t, results)
	return results
}

// logDearest says what the target took most for.
func logDearest(t testing.TB, results []SAMLResult) {
	t.Helper()
	for what, of := range map[string]func(Cost) uint64{
		"time": func(c Cost) uint64 { return uint64(c.Time) }, "memory": func(c Cost) uint64 { return c.Bytes },
	} {
		dearest := slices.SortedFunc(slices.Values(results), func(a, b SAMLResult) int { return cmp.Compare(of(b.Cost), of(a.Cost)) })
		for _, r := range dearest[:min(3, len(dearest))] {
			t.Logf("most %s: %v for %s", what, r.Cost, r.Forgery.Name)
		}
	}
}

// Replay sends one forgery to a target.
func (f SAMLForgery) Replay(t testing.TB, target SAMLTarget) SAMLResult {
	t.Helper()
	r := f.replay(t, target)
	for range 2 { // what else the process does at a time is no cost of this
		if !r.dear() {
			break
		}
		again := f.replay(t, target)
		r.Cost = Cost{min(r.Cost.Time, again.Cost.Time), min(r.Cost.Bytes, again.Cost.Bytes)}
	}
	return r
}

func (f SAMLForgery) replay(t testing.TB, target SAMLTarget) SAMLResult {
	t.Helper()
	attempt := target.Begin(t)
	a := target.attack(t, attempt)
	r := SAMLResult{Forgery: f, budget: Cost{cmp.Or(target.Budget.Time, samlBudget.Time), cmp.Or(target.Budget.Bytes, samlBudget.Bytes)}}
	deliver, at := a.prepare(t, f.kind, attempt)
	if deliver == nil {
		r.LeftOut = true
		return r
	}
	messages, err := f.make(a)
	switch {
	case err != nil:
		t.Fatalf("%s: %v", f.Name, err)
	case len(messages) == 0:
		r.LeftOut = true
		return r
	}
	for i, m := range messages {
		to, form := m.at(at)
		cost := Measure(func() { r.Subject, r.Err = deliver(to, form) })
		r.Cost = Cost{max(r.Cost.Time, cost.Time), max(r.Cost.Bytes, cost.Bytes)}
		if r.Err != nil && i < len(messages)-1 {
			t.Errorf("%s: the message before it was refused: %v", f.Name, r.Err)
		}
	}
	r.Accepted = r.Err == nil
	return r
}

// prepare brings an attempt to where a forgery of that kind arrives; nil if it never does.
func (a *samlAttack) prepare(t testing.TB, kind samlKind, attempt SAMLAttempt) (deliver func(string, url.Values) (string, error), at string) {
	t.Helper()
	logout := a.login.sp.Logout
	switch kind {
	case samlLogoutRequest:
		if attempt.Logout == nil || logout == "" {
			return nil, ""
		}
		a.signIn(t, attempt)
		return func(at string, form url.Values) (string, error) { return "", attempt.Logout(at, form) }, logout
	case samlLogoutResponse:
		if attempt.BeginLogout == nil || attempt.FinishLogout == nil || logout == "" {
			return nil, ""
		}
		a.signIn(t, attempt)
		to, form, err := attempt.BeginLogout()
		if err != nil {
			t.Fatalf("sign out: %v", err)
		}
		if to == "" {
			return nil, ""
		}
		a.asked = inboundSAML(t, to, form)
		return func(at string, form url.Values) (string, error) { return "", attempt.FinishLogout(at, form) }, logout
	}
	if kind != samlAnswers[a.login.binding] {
		return nil, ""
	}
	return attempt.Finish, a.login.acs
}

// inboundSAML is a message of a target as the identity provider receives it.
func inboundSAML(t testing.TB, at string, form url.Values) *samlInbound {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err == nil && form != nil {
		r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	m, err := receiveSAML(r)
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	return m
}

// attack looks at the request of an attempt as the identity provider does.
func (target SAMLTarget) attack(t testing.TB, attempt SAMLAttempt) *samlAttack {
	t.Helper()
	login, err := target.IdP.authnRequest(inboundSAML(t, attempt.URL, attempt.Form))
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	return &samlAttack{idp: target.IdP, login: login}
}

// signIn lets the victim in, by the rules.
func (a *samlAttack) signIn(t testing.TB, attempt SAMLAttempt) {
	t.Helper()
	out := a.about(samlVictim)
	a.nameID, a.index = out.nameID, out.index
	text, err := out.document()
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	m, err := a.sent(text)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	if _, err := attempt.Finish(m[0].at(a.login.acs)); err != nil {
		t.Fatalf("sign in: %v", err)
	}
}

// ReplaySAMLAcross brings the genuine answer of each target's identity provider to every other target. It fails the test
// for each that was accepted.
func ReplaySAMLAcross(t testing.TB, targets ...SAMLTarget) {
	t.Helper()
	for i := range targets {
		for j := range targets {
			attempt := targets[j].Begin(t)
			a := targets[j].attack(t, attempt)
			from := *a
			from.idp = targets[i].IdP
			text, err := from.about(samlVictim).document()
			if err != nil {
				t.Fatal(err)
			}
			m, err := from.sent(text)
			if err != nil {
				t.Fatal(err)
			}
			subject, err := attempt.Finish(m[0].at(a.login.acs))
			if (err == nil) != (i == j) {
				t.Errorf("the answer of provider %d at target %d: %q, %v", i, j, subject, err)
			}
		}
	}
}

// SAMLProviderTarget is a provider of SAML without a broker around it. What brokers see to is seen to here: that the state is
// the one of this login, that an answer and a logout request are used once, and that a logout is about this session.
// acs and logout are the addresses that idp knows it by; logout may be "".
func SAMLProviderTarget(idp *SAML, p provider.IdentityProvider, acs, logout string) SAMLTarget {
	return SAMLTarget{IdP: idp, Begin: func(t testing.TB) SAMLAttempt {
		t.Helper()
		b := &bareLogin{ctx: t.Context(), p: p, state: samlSecret(), used: map[string]bool{}}
		redirect, err := p.Begin(b.ctx, provider.Request{RedirectURI: acs, State: b.state})
		if err != nil {
			t.Fatalf("Begin: %v", err)
		}
		b.data = redirect.Data
		attempt := SAMLAttempt{URL: redirect.URL, Form: redirect.Form, Finish: b.finish}
		if _, ok := p.(provider.LogoutReceiver); ok && logout != "" {
			attempt.Logout = b.logout
		}
		if _, ok := p.(provider.LogoutAnswerer); ok && logout != "" {
			b.back = logout
			attempt.BeginLogout, attempt.FinishLogout = b.beginLogout, b.finishLogout
		}
		return attempt
	}}
}

// A bareLogin is one at a provider without a broker.
type bareLogin struct {
	ctx   context.Context
	p     provider.IdentityProvider
	state string
	data  []byte
	used  map[string]bool
	who   *provider.Identity

	back    string // where the browser comes back to after a logout
	leaving string // the state of the logout that was begun; "" once it was answered
	parting []byte
}

func arrived(at string, form url.Values) url.Values {
	if form != nil {
		return form
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil
	}
	return u.Query()
}

func (b *bareLogin) finish(at string, form url.Values) (string, error) {
	params := arrived(at, form)
	if !slices.Equal(params["RelayState"], []string{b.state}) {
		return "", errors.New("the state is another one")
	}
	id, err := b.p.Finish(b.ctx, provider.Callback{URL: at, Params: params, Data: b.data})
	if err != nil {
		return "", err
	}
	if id.Once != nil {
		if b.used[id.Once.ID] {
			return "", errors.New("it was used before")
		}
		b.used[id.Once.ID] = true
	}
	b.who = id
	return id.Subject, nil
}

func (b *bareLogin) logout(at string, form url.Values) error {
	l, err := b.p.(provider.LogoutReceiver).ReceiveLogout(b.ctx, provider.LogoutMessage{URL: at, Params: arrived(at, form)})
	switch {
	case err != nil:
		return err
	case b.used[l.ID]:
		return errors.New("it was received before")
	case l.Subject != "" && l.Subject != b.who.Subject, l.Session != "" && l.Session != b.who.Session && !slices.Contains(l.MoreSessions, b.who.Session):
		return errors.New("it is about another session")
	}
	b.used[l.ID] = true
	return nil
}

func (b *bareLogin) beginLogout() (at string, form url.Values, err error) {
	starter, ok := b.p.(provider.LogoutStarter)
	if !ok {
		return "", nil, errors.New("it answers messages about logout, and sends none")
	}
	b.leaving = samlSecret()
	r, err := starter.BeginLogout(b.ctx, provider.LogoutRequest{
		IDToken: b.who.LogoutHint, Subject: b.who.Subject, Session: b.who.Session, RedirectURI: b.back, State: b.leaving,
	})
	if err != nil || r == nil { // it has no key, or the identity provider no such service
		return "", nil, err
	}
	b.parting = r.Data
	return r.URL, r.Form, nil
}

func (b *bareLogin) finishLogout(at string, form url.Values) error {
	params := arrived(at, form)
	if b.leaving == "" || !slices.Equal(params["RelayState"], []string{b.leaving}) {
		return errors.New("the state is another one")
	}
	b.leaving = ""
	return b.p.(provider.LogoutAnswerer).FinishLogout(b.ctx, provider.Callback{URL: at, Params: params, Data: b.parting})
}
