package firstlogin

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// ConfirmLink asks visitors for whom an account was found to exist whether they want to use that account, or go back to
// [ReviewProfile] with other data, which it offers only where that step is in the flow and enabled. It names the field that the
// account has, and never whose account it is. It decides nothing: a proof has to follow.
//
// Its page is "confirm-link". It skips where no account was found.
type ConfirmLink struct {
	// Provable says whether the account could prove itself by what follows: where it could not, the step denies with
	// [AccountExists] rather than raise hopes, or, if it is the username that is taken, offers nothing but the review. Nil asks
	// always. [Provable] is that of [Default].
	Provable func(ctx context.Context, t *flow.Turn) (bool, error)
}

// Authenticate asks.
func (c ConfirmLink) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	existing := t.Draft.Existing
	if existing == nil {
		return flow.Skip(), nil
	}
	mayReview := t.Draft.Review != flow.ReviewNever
	switch {
	case t.Input.Has("link"):
		return flow.Success(), nil
	case t.Input.Has("review") && mayReview:
		t.Draft.Review = flow.ReviewWanted
		return flow.Restart(), nil
	}
	if c.Provable != nil {
		if ok, err := c.Provable(ctx, t); err != nil {
			return flow.Result{}, err
		} else if !ok && mayReview && existing.Field == "username" { // another name is all it takes
			return flow.Ask(confirmPage(t, false)), nil
		} else if !ok {
			return flow.DenyPage(AccountExists, map[string]any{"field": existing.Field}), nil
		}
	}
	return flow.Ask(confirmPage(t, true)), nil
}

func confirmPage(t *flow.Turn, provable bool) flow.Page {
	return flow.Page{Name: "confirm-link", Data: map[string]any{
		"field": t.Draft.Existing.Field, "provider": t.Provider.Name,
		"review": t.Draft.Review != flow.ReviewNever, "link": provable,
	}}
}

// DetectExisting finds the account that has the draft's e-mail address or username, and denies with [NoAccount] where there is
// none: for who wants no new users. It decides nothing: a proof has to follow.
type DetectExisting struct{}

// NoAccount is the reason with which [DetectExisting] denies.
const NoAccount = "no_account"

// Authenticate looks.
func (DetectExisting) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Draft.UserID != "" {
		return flow.Success(), nil
	}
	d, err := look(ctx, t, Policy{NoNewUsers: true})
	if err != nil {
		return flow.Result{}, err
	}
	if d.Action == Refuse {
		return flow.Deny(NoAccount), nil
	}
	return flow.Success(), nil
}

// AutoLink decides for the account whose e-mail address both sides have verified, and skips where anything is missing to that:
// see [Decide] for all that has to be so. A provider that is trusted for e-mail addresses (TrustEmail) thereby signs in as any user
// who has verified theirs: [DryRun] says who that would be.
type AutoLink struct{}

var _ flow.Decider = AutoLink{}

// Decides marks the step as one that decides the draft.
func (AutoLink) Decides() {}

// Authenticate decides.
func (AutoLink) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Draft.New || t.Draft.UserID != "" {
		return flow.Skip(), nil
	}
	d, err := look(ctx, t, Policy{AutoLink: true})
	if err != nil || d.Action != Link {
		return flow.Skip(), err
	}
	t.Draft.UserID = d.UserID
	return flow.Success(), nil
}

// InsecureSetExisting decides for the only account that has the upstream's e-mail address, without any proof: whoever gets any
// upstream to say that address is that user. It is dangerous. It is for flows in which another step has proved the account, and
// for upstreams that give out the addresses of all users themselves. It skips where nobody or several were found, where the
// account was found by its username, and where the visitor has edited the profile. Flows that have it say so in the log.
type InsecureSetExisting struct{}

var _ flow.Decider = InsecureSetExisting{}

// Decides marks the step as one that decides the draft.
func (InsecureSetExisting) Decides() {}

// Insecure names the step.
func (InsecureSetExisting) Insecure() []string { return []string{"InsecureSetExisting"} }

// Authenticate decides.
func (InsecureSetExisting) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	d := t.Draft
	if d.New || d.UserID != "" || d.EditedEmail || d.EditedUsername || d.Existing == nil || d.Existing.UserID == "" || d.Existing.Field != "email" {
		return flow.Skip(), nil
	}
	note(t, "linked_by", "nothing")
	d.UserID = d.Existing.UserID
	return flow.Success(), nil
}

// ConfirmOverrideLink asks, after a step that has decided for a user, whether the new link may replace the one that this user has
// to the same provider already. It succeeds where there is none; without the step, a user may have several. Its page is
// "override-link". Who does not want it is denied with [LinkKept].
type ConfirmOverrideLink struct{}

// LinkKept is the reason with which [ConfirmOverrideLink] denies.
const LinkKept = "link_kept"

// Authenticate asks.
func (ConfirmOverrideLink) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if !t.Draft.Decided() {
		return flow.Skip(), nil
	}
	former, err := sameProvider(ctx, t)
	if err != nil {
		return flow.Result{}, err
	}
	switch {
	case former == nil:
		return flow.Success(), nil
	case t.Input.Has("replace"):
		t.Draft.Replace = true
		return flow.Success(), nil
	case t.Input.Has("keep"):
		return flow.Deny(LinkKept), nil
	}
	return flow.Ask(flow.Page{Name: "override-link", Data: map[string]any{
		"provider": t.Provider.Name, "former": calledAs(former.Username, former.Email), "now": calledAs(t.Identity.Username, t.Identity.Email),
	}}), nil
}

// sameProvider returns a link of the user who was decided on to somebody else at the same provider, nil if there is none.
func sameProvider(ctx context.Context, t *flow.Turn) (*store.Link, error) {
	if t.Draft.UserID == "" {
		return nil, nil
	}
	links, err := t.Accounts.LinksOf(ctx, t.Draft.UserID)
	if err != nil {
		return nil, fmt.Errorf("links of user: %w", err)
	}
	for _, l := range links {
		if l.Provider == t.Provider.Alias && l.LinkKey != linkKey(t) {
			return l, nil
		}
	}
	return nil, nil
}

func linkKey(t *flow.Turn) store.LinkKey {
	return store.LinkKey{Provider: t.Provider.Alias, Issuer: t.Identity.Issuer, Subject: t.Identity.Subject}
}

// calledAs returns what somebody at an upstream is called, for people: the username and the e-mail address. The address alone would
// not do: that of who wants an account by its address is the account's own, whoever they are.
func calledAs(username, email string) string {
	name, address := visible(username), visible(email)
	switch {
	case address == "" || name == address:
		return name
	case name == "":
		return address
	}
	return name + " (" + address + ")"
}

// visible returns text that others chose without what cannot be seen, or makes other text look different, and bounds it.
func visible(s string) string {
	const most = 80
	runes := []rune(strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)), " "))
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return string(runes)
}

// candidate returns the only account that was found to exist, nil if there is none, it is gone, or it is disabled.
func candidate(ctx context.Context, t *flow.Turn) (*store.User, error) {
	if t.Draft.Existing == nil || t.Draft.Existing.UserID == "" {
		return nil, nil
	}
	u, err := userOrNil(ctx, t, t.Draft.Existing.UserID)
	if err != nil || u == nil || u.Disabled {
		return nil, err
	}
	return u, nil
}
