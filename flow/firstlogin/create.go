// Package firstlogin holds the steps that decide who somebody is whom an upstream vouches for and whom the broker does
// not know yet.
//
// It owns these steps, the spelling of usernames and e-mail addresses ([Username], [Email]), and the flow that is used
// where a host gives none ([Default]). It writes nothing: steps decide in the draft, the broker commits.
//
//	cfg.FirstLogin = flow.Flow{
//		{ID: "terms", Do: acceptTerms{}},
//		{ID: "create", Do: firstlogin.CreateUserIfUnique{}},
//	}
package firstlogin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// Default returns the flow for first logins where the host gives none: who is new becomes a user, and where an account
// with their e-mail address or username exists already, a page says so.
func Default() flow.Flow {
	return flow.Flow{{ID: "create", Do: CreateUserIfUnique{}}}
}

// AccountExists is the reason with which [CreateUserIfUnique] denies.
const AccountExists = "account_exists"

// CreateUserIfUnique decides that a user is created from the draft's profile, if no account has its e-mail address or
// its username. It writes both into the profile as they will be stored (see [Email], [Username]): an e-mail address that
// is none is dropped; and where the profile has no username, the new user's is the e-mail address or, where there is
// none either, made of the provider's alias and the upstream's subject.
//
// Where an account exists, the draft's Existing says which and in what respect. The step then skips, for the next
// Alternative to prove that account; where it is Required, it denies with [AccountExists] and as data "field", which is
// "email" or "username". Whose account it is, nobody is told.
type CreateUserIfUnique struct {
	// SharedEmail lets several users have the same e-mail address. It then names nobody, and is no username.
	SharedEmail bool
}

var _ flow.Decider = CreateUserIfUnique{}

// Decides marks the step as one that decides the draft.
func (CreateUserIfUnique) Decides() {}

// Authenticate decides.
func (c CreateUserIfUnique) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	d := t.Draft
	d.Existing = nil
	if d.UserID != "" { // somebody is known: there is nobody to create
		return flow.Skip(), nil
	}
	d.Profile.Email = Email(d.Profile.Email)
	d.Profile.EmailVerified = d.Profile.EmailVerified && d.Profile.Email != ""
	existing, err := c.existing(ctx, t)
	if err != nil {
		return flow.Result{}, fmt.Errorf("look for existing account: %w", err)
	}
	if existing == nil {
		d.New, d.SharedEmail = true, c.SharedEmail
		return flow.Success(), nil
	}
	d.Existing = existing
	if t.Required() {
		return flow.DenyPage(AccountExists, map[string]any{"field": existing.Field}), nil
	}
	return flow.Skip(), nil
}

// existing returns who stands in the way, nil if nobody does, and chooses the username.
func (c CreateUserIfUnique) existing(ctx context.Context, t *flow.Turn) (*flow.Existing, error) {
	p := &t.Draft.Profile
	if p.Email != "" && !c.SharedEmail {
		if who, err := find(ctx, t, "email", store.UserQuery{Email: p.Email}); who != nil || err != nil {
			return who, err
		}
	}
	if p.Username = Username(p.Username); p.Username == "" && !c.SharedEmail {
		p.Username = p.Email
	}
	if p.Username != "" {
		return c.byUsername(ctx, t, p.Username)
	}
	// Nobody chose the name that is made up, so somebody else's having it says nothing about who this is: subjects that
	// differ in case alone, for instance, or a dot in an alias.
	for _, name := range madeUp(t) {
		who, err := c.byUsername(ctx, t, name)
		if err != nil {
			return nil, err
		}
		if p.Username = name; who == nil {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("every username for somebody without one is taken")
}

// byUsername returns who has this username or, as that would be the name of one person and the address of another, this
// e-mail address.
func (c CreateUserIfUnique) byUsername(ctx context.Context, t *flow.Turn, name string) (*flow.Existing, error) {
	who, err := find(ctx, t, "username", store.UserQuery{Username: name})
	if who != nil || err != nil || !strings.Contains(name, "@") || name == t.Draft.Profile.Email {
		return who, err
	}
	return find(ctx, t, "username", store.UserQuery{Email: name})
}

func find(ctx context.Context, t *flow.Turn, field string, q store.UserQuery) (*flow.Existing, error) {
	users, err := t.Accounts.FindUsers(ctx, q)
	switch {
	case err != nil || len(users) == 0:
		return nil, err
	case len(users) > 1: // it would be a guess which of them it is
		return &flow.Existing{Field: field}, nil
	}
	return &flow.Existing{UserID: users[0].ID, Field: field}, nil
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
