package firstlogin

import (
	"context"
	"fmt"

	"github.com/go-idbroker/idbroker/flow"
)

// VerifyEmail asks who signs in, once it is decided who that is, to prove that they read the mail of the account's address, if nobody
// has verified it yet: a required action for hosts that demand verified addresses, in a PostLogin flow or at the end of a first login.
// The proof is a mailed link as that of [VerifyByEmail], with the same bounds: it may be opened in any browser, where a button
// confirms it; it is good for this login, this account, this address, and once. Then the address counts as verified
// ([flow.Draft].VerifiedEmail). What else is known of the account stays: whoever could sign in to it before still can.
//
// Who owns a mailbox, and presses the button below a link that a stranger's login has sent there, is asked for the number that the
// page of that login shows, which they do not see: so they do not give the stranger's account a verified address by it.
//
// It succeeds where the address is verified already, by a provider that is trusted for it or because a step has proved it
// ([flow.Draft].ProvedEmail). Its page is that of VerifyByEmail, "verify-email". It skips where nobody was decided on, where the
// broker sends no mail, and where there is no address: if Required, nobody without a verified address gets in.
type VerifyEmail struct{}

// An addressee is whose address VerifyEmail asks about.
type addressee struct {
	id, name, email string
	verified        bool
}

// Authenticate sends, waits, and writes down what was proved.
func (VerifyEmail) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	if !t.Draft.Decided() {
		return flow.Skip(), nil
	}
	who, err := whose(ctx, t)
	switch {
	case err != nil:
		return flow.Result{}, err
	case who.email == "":
		return flow.Skip(), nil
	case who.verified:
		return flow.Success(), nil
	case t.Mail == nil || t.Transient == nil || t.BaseURL == "" || t.Journey == "":
		return flow.Skip(), nil
	}
	proof := mailProof(t)
	proof.UserID, proof.Account, proof.Email, proof.Verifies = who.id, who.name, who.email, true
	page := flow.Page{Name: PageVerifyEmail, Data: map[string]any{
		"email": who.email, "minutes": minutes(proofLifetime), "own": true, "number": number(t.Journey),
	}}
	proved, res, err := proof.ask(ctx, t, "confirm-address", "address "+who.email, page)
	if proved {
		note(t, "verified", "email")
		t.Draft.VerifiedEmail = who.email
	}
	return res, err
}

// whose returns the user who was decided on, as the login will write them.
func whose(ctx context.Context, t *flow.Turn) (*addressee, error) {
	d := t.Draft
	who := &addressee{name: d.Profile.Username, email: Email(d.Profile.Email), verified: d.Profile.EmailVerified && !d.EditedEmail}
	if !d.New {
		u, err := t.Accounts.User(ctx, d.UserID)
		if err != nil {
			return nil, fmt.Errorf("read account: %w", err)
		}
		who = &addressee{id: u.ID, name: u.Username, email: u.Email, verified: u.EmailVerified}
		if who.email != "" && who.email == d.ProvedEmail {
			who.verified = true
		}
	}
	return who, nil
}
