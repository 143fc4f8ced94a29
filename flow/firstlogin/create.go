// Package firstlogin holds the steps that decide who somebody is whom an upstream vouches for and whom the broker does
// not know yet.
//
// It owns these steps, the decision that they share ([Decide]), the proofs that are mailed ([ReadProof], [ConfirmProof]), the
// spelling of usernames and e-mail addresses ([Username], [Email]), and the flow that is used where a host gives none
// ([Default]). It writes nothing but marks and proofs that expire: steps decide in the draft, the broker commits.
//
//	cfg.FirstLogin = flow.Flow{
//		{ID: "terms", Do: acceptTerms{}},
//		{ID: "login", Sub: firstlogin.Default()},
//	}
//
// # Who may be linked to an account that exists
//
// Whoever proves that account: reads its mail, signs in by another provider that it is linked to, or knows its password and has
// its second factor. That an upstream names its e-mail address is proof where [AutoLink] is used and both sides have verified it,
// and nowhere else; a username, and anything that the visitor has typed in, is never proof.
//
// An account may have been set up, by somebody who had not verified its address, to lie in wait for the address's owner. So when
// a mailed link proves an address for the first time, everything by which others could sign in goes with the login: passwords and
// other credentials that the broker keeps, links to providers, sessions. What the host keeps elsewhere is for the host. Where the
// address was verified before, or something else than mail is the proof, nothing is taken away.
package firstlogin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// AccountExists is the reason with which [CreateUserIfUnique] and [ConfirmLink] deny.
const AccountExists = "account_exists"

// CreateUserIfUnique decides that a user is created from the draft's profile, if no account has its e-mail address or
// its username (see [Decide]). It writes both into the profile as they will be stored (see [Email], [Username]): an e-mail
// address that is none is dropped; and where the profile has no username, the new user's is the e-mail address or, where there
// is none either, made of the provider's alias and the upstream's subject.
//
// Where an account exists, the draft's Existing says which and in what respect. The step then skips, for the next
// Alternative to prove that account; where it is Required, it denies with [AccountExists] and as data "field", which is
// "email" or "username". Whose account it is, nobody is told.
type CreateUserIfUnique struct {
	// SharedEmail lets several users have the same e-mail address. It then names nobody, and is no username.
	SharedEmail bool
	// RequirePassword has a new user choose a password, as by factor.UpdatePassword, on its page. Where the broker keeps no
	// credentials that is an error, and nobody is created.
	RequirePassword bool
}

var _ flow.Decider = CreateUserIfUnique{}

// Decides marks the step as one that decides the draft.
func (CreateUserIfUnique) Decides() {}

// Authenticate decides.
func (c CreateUserIfUnique) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	d := t.Draft
	if d.UserID != "" { // somebody is known: there is nobody to create
		d.Existing = nil
		return flow.Skip(), nil
	}
	decision, err := look(ctx, t, Policy{SharedEmail: c.SharedEmail})
	if err != nil {
		return flow.Result{}, err
	}
	switch {
	case decision.Action == Create:
		d.New, d.SharedEmail = true, c.SharedEmail
		return c.password(ctx, t)
	case t.Required():
		return flow.DenyPage(AccountExists, map[string]any{"field": decision.Field}), nil
	}
	d.New, d.SharedEmail = false, false // somebody has taken the name while a password was chosen
	return flow.Skip(), nil
}

func (c CreateUserIfUnique) password(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if !c.RequirePassword {
		return flow.Success(), nil
	}
	if _, ok := factor.LocalOf(t); !ok {
		return flow.Result{}, errors.New("a password is required, but the broker keeps no credentials")
	}
	return factor.UpdatePassword{Missing: true}.Authenticate(ctx, t)
}

// look decides about the draft's profile, writes who exists into the draft, and what was decided into the log.
func look(ctx context.Context, t *flow.Turn, p Policy) (Decision, error) {
	t.Draft.Existing = nil
	q, err := p.question(ctx, t)
	if err != nil {
		return Decision{}, fmt.Errorf("look for existing account: %w", err)
	}
	d := Decide(q)
	if d.Action == Ask || d.Action == Link {
		t.Draft.Existing = &flow.Existing{UserID: d.UserID, Field: d.Field}
	}
	note(t, "first_login", d.String())
	return d, nil
}

func note(t *flow.Turn, key, value string) {
	if t.Note != nil {
		t.Note(key, value)
	}
}

// question collects what the decision depends on. It writes the profile's e-mail address and username as they will be stored,
// and chooses a username for who brings none.
func (c Policy) question(ctx context.Context, t *flow.Turn) (q Question, err error) {
	p := &t.Draft.Profile
	p.Email = Email(p.Email)
	p.EmailVerified = p.EmailVerified && p.Email != ""
	p.Username = Username(p.Username)
	q = Question{Provider: t.Provider, Identity: t.Identity, Edited: t.Draft.EditedEmail || t.Draft.EditedUsername, Policy: c}
	if p.Email != "" && !c.SharedEmail {
		if q.ByEmail, err = t.Accounts.FindUsers(ctx, store.UserQuery{Email: p.Email}); err != nil {
			return q, err
		}
		if len(q.ByEmail) == 0 && p.Username == "" {
			p.Username = p.Email
		}
	}
	switch {
	case p.Username != "":
		q.ByUsername, err = named(ctx, t, p.Username)
	case len(q.ByEmail) == 0:
		err = invent(ctx, t)
	}
	q.Profile = *p
	return q, err
}

// invent chooses a username for somebody who brings none. Nobody chose it, so somebody else's having it says nothing about who
// this is: subjects that differ in case alone, for instance, or a dot in an alias.
func invent(ctx context.Context, t *flow.Turn) error {
	for _, name := range madeUp(t) {
		taken, err := named(ctx, t, name)
		if err != nil {
			return err
		}
		if len(taken) == 0 {
			t.Draft.Profile.Username = name
			return nil
		}
	}
	return errors.New("every username for somebody without one is taken")
}

// named returns who has this username or, as that would be the name of one person and the address of another, this e-mail
// address.
func named(ctx context.Context, t *flow.Turn, name string) ([]*store.User, error) {
	users, err := t.Accounts.FindUsers(ctx, store.UserQuery{Username: name})
	if len(users) > 0 || err != nil || !strings.Contains(name, "@") || name == t.Draft.Profile.Email {
		return users, err
	}
	return t.Accounts.FindUsers(ctx, store.UserQuery{Email: name})
}

// madeUp returns the usernames for somebody who brings none, the nicest first.
func madeUp(t *flow.Turn) []string {
	id, alias := t.Identity, t.Provider.Alias
	parts, _ := json.Marshal([]string{alias, id.Issuer, id.Subject}) // of strings: cannot fail
	sum := sha256.Sum256(parts)
	unique := Username(alias + "." + hex.EncodeToString(sum[:10]))
	if nice := Username(alias + "." + id.Subject); nice != "" {
		return []string{nice, unique}
	}
	return []string{unique}
}
