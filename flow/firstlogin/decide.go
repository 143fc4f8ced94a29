package firstlogin

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// An Action is what is to become of somebody whom nobody is linked to.
type Action int

// The zero Action lets nobody in.
const (
	Refuse Action = iota // neither a new user nor an old one
	Ask                  // there is an account, which has to prove itself
	Create               // there is none: a new user
	Link                 // there is an account, and its e-mail address is proof enough
)

var actionNames = [...]string{"refuse", "ask", "create", "link"}

// String returns the action in a word.
func (a Action) String() string {
	if a < 0 || int(a) >= len(actionNames) {
		return fmt.Sprintf("Action(%d)", int(a))
	}
	return actionNames[a]
}

// A Policy says how freely accounts are made and linked. The zero value makes new users and links nobody without proof.
type Policy struct {
	// AutoLink links an account by its e-mail address alone, where both sides have verified it; see [Decide].
	AutoLink bool
	// SharedEmail lets several users have the same e-mail address. It then names nobody.
	SharedEmail bool
	// NoNewUsers refuses whom no account is found for.
	NoNewUsers bool
}

// A Question is all that the decision about a first login depends on.
type Question struct {
	Provider   flow.Provider
	Identity   *provider.Identity // what the upstream said
	Profile    provider.Profile   // what that became; its Email and Username as by [Email] and [Username]
	Edited     bool               // the visitor has changed the e-mail address or the username
	ByEmail    []*store.User      // who has the profile's e-mail address
	ByUsername []*store.User      // who has its username, as their name or as their address
	Policy     Policy
}

// A Reason is one of the facts that a decision rests on.
type Reason string

// The reasons there are.
const (
	NobodyFound        Reason = "nobody_found"
	NewUsersRefused    Reason = "new_users_refused"
	EmailExists        Reason = "email_exists"
	UsernameExists     Reason = "username_exists"
	MutuallyVerified   Reason = "mutually_verified"
	AutoLinkOff        Reason = "auto_link_off"
	ProviderUntrusted  Reason = "provider_untrusted"
	UpstreamUnverified Reason = "upstream_unverified"
	EmailMalformed     Reason = "email_malformed"
	EmailForeign       Reason = "email_foreign"
	ProfileUnverified  Reason = "profile_unverified"
	ProfileEdited      Reason = "profile_edited"
	SeveralAccounts    Reason = "several_accounts"
	AccountUnverified  Reason = "account_unverified"
	AccountShared      Reason = "account_shared"
	AccountDisabled    Reason = "account_disabled"
)

var reasonTexts = map[Reason]string{
	NobodyFound:        "no account has this e-mail address or username",
	NewUsersRefused:    "new users are not wanted",
	EmailExists:        "an account has this e-mail address",
	UsernameExists:     "an account has this username, which proves nothing",
	MutuallyVerified:   "the upstream and the account have both verified the same e-mail address",
	AutoLinkOff:        "accounts are not linked without asking",
	ProviderUntrusted:  "the provider is not trusted for e-mail addresses",
	UpstreamUnverified: "the upstream does not say that it has verified the e-mail address",
	EmailMalformed:     "the upstream's e-mail address is none, or not an ordinary one",
	EmailForeign:       "the e-mail address is not the one that the upstream has verified",
	ProfileUnverified:  "nobody vouches for the e-mail address in the profile any more",
	ProfileEdited:      "the visitor has changed the e-mail address or username",
	SeveralAccounts:    "it could be several accounts",
	AccountUnverified:  "the account's e-mail address was never verified",
	AccountShared:      "the account may share its e-mail address with others",
	AccountDisabled:    "the account is disabled",
}

// Text returns the reason in words, for administrators; the reason itself is its short id.
func (r Reason) Text() string { return reasonTexts[r] }

// A Decision is what to do, for whom, and why. Nothing in it but Action and Reasons is fit for a log, and nothing but Field for
// the visitor.
type Decision struct {
	Action  Action
	UserID  string   // Link: who it is; Ask: the only account in question, "" if there are several
	Field   string   // Ask and Link: what the account has: "email" or "username"
	Reasons []Reason // at least one
}

// String returns the action and the ids of its reasons, for the log.
func (d Decision) String() string {
	ids := make([]string, len(d.Reasons))
	for i, r := range d.Reasons {
		ids[i] = string(r)
	}
	return d.Action.String() + ": " + strings.Join(ids, " ")
}

// Decide says what is to become of somebody whom nobody is linked to: it is the one place where that is decided, and depends on
// q alone. It answers Link only where all of this is so: the policy has AutoLink; the provider is trusted for e-mail addresses;
// the upstream says that it has verified the one address in question, which is the profile's still; the visitor has edited
// nothing; exactly one account is in question, has that address, has it verified, shares it with nobody, and is not disabled. A
// username never links anybody. Every other account that is found has to prove itself.
func Decide(q Question) Decision {
	candidates, field := q.ByEmail, "email"
	if q.Policy.SharedEmail {
		candidates = nil
	}
	found := EmailExists
	if len(candidates) == 0 {
		candidates, field, found = q.ByUsername, "username", UsernameExists
	}
	switch {
	case len(candidates) > 0:
	case q.Policy.NoNewUsers:
		return Decision{Action: Refuse, Reasons: []Reason{NobodyFound, NewUsersRefused}}
	default:
		return Decision{Action: Create, Reasons: []Reason{NobodyFound}}
	}
	d := Decision{Action: Ask, Field: field, Reasons: []Reason{found}}
	if len(candidates) == 1 {
		d.UserID = candidates[0].ID
	}
	var obstacles []Reason
	if found == EmailExists {
		obstacles = q.obstacles()
	}
	switch {
	case found == EmailExists && len(obstacles) == 0:
		d.Action, d.Reasons = Link, append(d.Reasons, MutuallyVerified)
	default:
		d.Reasons = append(d.Reasons, obstacles...)
	}
	return d
}

// obstacles returns what keeps the e-mail address from being proof enough.
func (q *Question) obstacles() (why []Reason) {
	said := provider.Identity{}
	if q.Identity != nil {
		said = *q.Identity
	}
	account := q.ByEmail[0]
	address := Email(said.Email)
	for _, o := range []struct {
		holds  bool
		reason Reason
	}{
		{!q.Policy.AutoLink, AutoLinkOff},
		{!q.Provider.TrustEmail, ProviderUntrusted},
		{!said.EmailVerified, UpstreamUnverified},
		{address == "", EmailMalformed},
		{address != q.Profile.Email || address != account.Email, EmailForeign},
		{!q.Profile.EmailVerified, ProfileUnverified},
		{q.Edited, ProfileEdited},
		{q.several(), SeveralAccounts},
		{!account.EmailVerified, AccountUnverified},
		{account.SharedEmail, AccountShared},
		{account.Disabled, AccountDisabled},
	} {
		if o.holds {
			why = append(why, o.reason)
		}
	}
	return why
}

// several reports whether more than one account is in question.
func (q *Question) several() bool {
	first := q.ByEmail[0].ID
	for _, users := range [][]*store.User{q.ByEmail[1:], q.ByUsername} {
		for _, u := range users {
			if u.ID != first {
				return true
			}
		}
	}
	return len(q.ByEmail) > 1
}

// DryRun says for each of users what would happen if an upstream that is trusted for e-mail addresses, as p, vouched for somebody
// with that user's address, and said that it has verified it. Whoever is linked to that provider already is left out, as is who
// has no address. It writes nothing; an error ends it.
//
// It answers what an administrator asks before they set TrustEmail and use [AutoLink]: which accounts would be linked without a
// question, and why the others would not.
func DryRun(ctx context.Context, accounts flow.Accounts, users iter.Seq[*store.User], p flow.Provider, policy Policy) iter.Seq2[Forecast, error] {
	p.TrustEmail = true
	return func(yield func(Forecast, error) bool) {
		for u := range users {
			f, known, err := forecast(ctx, accounts, u, p, policy)
			if err != nil {
				yield(Forecast{}, err)
				return
			}
			if !known && !yield(f, nil) {
				return
			}
		}
	}
}

// A Forecast is what [DryRun] says about one user.
type Forecast struct {
	User     *store.User
	Decision Decision
}

func forecast(ctx context.Context, accounts flow.Accounts, u *store.User, p flow.Provider, policy Policy) (f Forecast, known bool, err error) {
	if u.Email == "" {
		return f, true, nil
	}
	links, err := accounts.LinksOf(ctx, u.ID)
	if err != nil {
		return f, false, fmt.Errorf("links of user %s: %w", u.ID, err)
	}
	for _, l := range links {
		if l.Provider == p.Alias {
			return f, true, nil
		}
	}
	id := &provider.Identity{Email: u.Email, EmailVerified: true}
	t := &flow.Turn{Provider: p, Identity: id, Accounts: accounts, Draft: &flow.Draft{Profile: provider.ProfileOf(id, true)}}
	q, err := policy.question(ctx, t)
	if err != nil {
		return f, false, fmt.Errorf("user %s: %w", u.ID, err)
	}
	return Forecast{User: u, Decision: Decide(q)}, false, nil
}
