package firstlogin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// Bounds of mailed links.
const (
	proofLifetime  = 15 * time.Minute
	proofKept      = 24 * time.Hour // longer, so that who comes late is told so
	mailsOfJourney = 5
	mailsOfAccount = 10
	mailsForget    = time.Hour

	triesOfNumbers = 3 // a link
)

// Purposes of [store.Transient], each a name space of its own.
const (
	linkPurpose    = "linkmail" // a mailed link, by the hash of its handle
	usedPurpose    = "linkmail used"
	proofPurpose   = "linkproof" // what a click has proved, until the journey takes it
	revokedPurpose = "linkproof revoked"
	sentPurpose    = "linkmail sent"
	triesPurpose   = "linkmail tries"
)

// PageVerifyEmail is the name of the page of [VerifyByEmail].
const PageVerifyEmail = "verify-email"

// VerifyByEmail has the account that was found prove itself by a link that is mailed to the account's own address, which may be
// opened in any browser. Opening it changes nothing, as mail scanners do that too: a button on the page below it, at
// {BaseURL}/proof, proves once that whoever has pressed it reads the account's mail ([ConfirmProof]). The proof is good for this
// login alone, with this upstream identity, this account and this address, for a quarter of an hour, and once.
//
// In any other browser than the login's own, the button comes with a question: which number the page of this step shows. Who is sent
// such a mail because a stranger has signed in with their address does not see that page, so that they give nothing away by a button
// that they press in good faith. Three wrong numbers end the link.
//
// The mail goes out when the step is reached, and again on request, at most five times a login and ten times an hour an account;
// each link that was mailed stays good until one of them is used.
//
// With the proof, the step decides for the account, and its address counts as verified ([flow.Draft].ProvedEmail, which also says
// what becomes of everything that was set up before its address was ever verified).
//
// Its page is "verify-email". It skips where the broker sends no mail; where the account was found by its username, is disabled,
// or shares its address; and where the visitor has edited the e-mail address or username.
type VerifyByEmail struct{}

var _ flow.Decider = VerifyByEmail{}

// Decides marks the step as one that decides the draft.
func (VerifyByEmail) Decides() {}

// Authenticate sends, waits, and decides.
func (VerifyByEmail) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	u, err := mailable(ctx, t)
	if u == nil || err != nil {
		return flow.Skip(), err
	}
	proof := mailProof(t)
	proof.UserID, proof.Account, proof.Email = u.ID, u.Username, u.Email
	if t.Input.Has("another") && t.Others() {
		return flow.Another(), nil
	}
	proved, res, err := proof.ask(ctx, t, "link-account", "account "+u.ID, sentPage(t))
	if proved {
		note(t, "linked_by", "email")
		t.Draft.UserID, t.Draft.ProvedEmail = u.ID, u.Email
	}
	return res, err
}

// sentTo is under which a step remembers to which address it has sent a mail.
const sentTo = "sent to"

// ask has the visitor prove what p says by a link that is mailed to p.Email, within bounds, of which bound is one beside the login's
// own, and reports whether they have, as the result says it, too.
func (p *Proof) ask(ctx context.Context, t *flow.Turn, mail, bound string, page flow.Page) (proved bool, _ flow.Result, _ error) {
	ok, err := takeProof(ctx, t.Transient, *p, t.Now)
	switch address := hashOf(sentTo, p.Email); {
	case err != nil:
		return false, flow.Result{}, err
	case ok:
		// The other links that were mailed for it are of no use any more.
		if err := RevokeProofs(ctx, t.Transient, p.UserID, p.Link, t.Now); err != nil {
			return false, flow.Result{}, fmt.Errorf("revoke mailed links: %w", err)
		}
		return true, flow.Success(), nil
	case t.Input.Has("resend") || t.Get(sentTo) != address:
		t.Set(sentTo, address)
		res, err := p.send(ctx, t, mail, bound, page)
		return false, res, err
	case t.Input != nil:
		page.Errors = map[string]string{"confirmed": "not_yet"}
	}
	return false, flow.Ask(page), nil
}

// mailable returns the account that was found if its own address can prove it, nil if it cannot.
func mailable(ctx context.Context, t *flow.Turn) (*store.User, error) {
	d := t.Draft
	if t.Mail == nil || t.Transient == nil || t.BaseURL == "" || t.Journey == "" || d.Decided() || d.EditedEmail || d.EditedUsername ||
		d.Existing == nil || d.Existing.Field != "email" {
		return nil, nil
	}
	u, err := candidate(ctx, t)
	if u == nil || err != nil || u.Email == "" || u.Email != d.Profile.Email || u.SharedEmail {
		return nil, err
	}
	return u, nil
}

func sentPage(t *flow.Turn) flow.Page {
	// The address is the visitor's own, from the upstream: it is what the account was found by.
	return flow.Page{Name: PageVerifyEmail, Data: map[string]any{
		"email": t.Draft.Profile.Email, "provider": t.Provider.Name, "minutes": minutes(proofLifetime), "another": t.Others(),
		"number": number(t.Journey),
	}}
}

// number is what the page of a login shows, and whoever confirms a link of that login in another browser has to know. It is the same
// for all links of a login, and follows from its name, which nobody else can guess.
func number(journey string) string {
	h := sha256.Sum256([]byte("number of the login " + journey))
	return fmt.Sprintf("%04d", binary.BigEndian.Uint64(h[:])%10_000)
}

func minutes(d time.Duration) string { return strconv.Itoa(int(d / time.Minute)) }

// send mails a link, if there may be one more, and asks to open it.
func (p *Proof) send(ctx context.Context, t *flow.Turn, mail, bound string, page flow.Page) (flow.Result, error) {
	ok, err := maySend(ctx, t, bound)
	if err != nil {
		return flow.Result{}, err
	}
	if !ok {
		page.Errors = map[string]string{"mail": "too_many"}
		return flow.Ask(page), nil
	}
	if p.Revocation, err = p.revocation(ctx, t.Transient); err != nil {
		return flow.Result{}, err
	}
	handle := rand.Text() + rand.Text()
	if err := p.put(ctx, t.Transient, linkPurpose, hashOf(linkPurpose, handle), t.Now.Add(proofKept)); err != nil {
		return flow.Result{}, fmt.Errorf("keep mailed link: %w", err)
	}
	m := flow.Mail{Name: mail, To: p.Email, Link: t.BaseURL + "/proof?" + url.Values{"link": {handle}}.Encode()}
	m.Args = map[string]string{
		"provider": t.Provider.Name, "username": p.Upstream, "account": p.Account, "email": p.Email, "minutes": minutes(proofLifetime),
	}
	if err := t.Mail(ctx, m); err != nil {
		// Whoever sends has logged it. The link is nobody's.
		_, _ = t.Transient.Take(ctx, linkPurpose, hashOf(linkPurpose, handle))
		page.Errors = map[string]string{"mail": "failed"}
	}
	return flow.Ask(page), nil
}

// maySend counts a mail, if there may be one more.
func maySend(ctx context.Context, t *flow.Turn, whose string) (bool, error) {
	for _, bound := range []struct {
		name string
		most int
	}{{"journey " + t.Journey, mailsOfJourney}, {whose, mailsOfAccount}} {
		nth, err := mark(ctx, t.Transient, sentPurpose, bound.name, bound.most, t.Now.Add(mailsForget))
		if nth == 0 || err != nil {
			return false, err
		}
	}
	return true, nil
}

// mark counts something that may be done most times, and returns the how manieth time it is, 0 if it may not be done any more.
func mark(ctx context.Context, marks store.Transient, purpose, name string, most int, until time.Time) (int, error) {
	for i := range most {
		err := marks.Add(ctx, purpose, hashOf(purpose, name, strconv.Itoa(i)), nil, until)
		switch {
		case err == nil:
			return i + 1, nil
		case !errors.Is(err, store.ErrExists):
			return 0, err
		}
	}
	return 0, nil
}

// A Proof is what a mailed link says: whoever confirms it proves that the account UserID, whose address is Email, is theirs, and
// wants to sign in to it by Link from now on; or, if it is of [VerifyEmail], only that they read the mail of Email, and are who has
// signed in to the account.
type Proof struct {
	UserID   string        // "" for an account that this login makes
	Account  string        // what it is called, for people
	Email    string        // the account's, when the mail was sent
	Verifies bool          // by VerifyEmail: nobody is linked by it
	Link     store.LinkKey // who at which provider wants to be linked, or has signed in; zero for nobody upstream
	Upstream string        // what that is called there, for people
	Journey  string        // the login that has asked for it, as [flow.Lent].Journey
	Start    string        // as [flow.Lent].Start
	Expires  time.Time
	// Revocation is the last one of proofs like this before the mail was sent; "" for none. Any later one revokes it.
	Revocation string
}

// mailProof returns what is the same in all proofs of a login.
func mailProof(t *flow.Turn) Proof {
	return Proof{
		Link: linkKey(t), Upstream: calledAs(t.Identity.Username, t.Identity.Email), Journey: t.Journey, Start: t.Start,
		Expires: t.Now.Add(proofLifetime).UTC(),
	}
}

// Refusals of a mailed link.
var (
	// ErrProofUsed means that the link, or another one for the same login, was confirmed before.
	ErrProofUsed = errors.New("firstlogin: mailed link was used before")
	// ErrProofExpired means that it is too late.
	ErrProofExpired = errors.New("firstlogin: mailed link has expired")
	// ErrProofNumber means that the number is not the one that the login's page shows. It can be tried again.
	ErrProofNumber = errors.New("firstlogin: number for mailed link is wrong")
	// ErrProofRevoked means that the account, its address or its links have changed since, or that the number was wrong too often.
	ErrProofRevoked = errors.New("firstlogin: mailed link was revoked")
)

// ReadProof returns what the mailed link with this handle says, and changes nothing. Its error is [ErrProofUsed] or
// [ErrProofExpired], with the proof, [store.ErrNotFound], with nil, or means that it could not be told.
func ReadProof(ctx context.Context, marks store.Transient, handle string, now time.Time) (*Proof, error) {
	value, err := marks.Get(ctx, linkPurpose, hashOf(linkPurpose, handle))
	used := false
	if errors.Is(err, store.ErrNotFound) {
		used = true
		value, err = marks.Get(ctx, usedPurpose, hashOf(linkPurpose, handle))
	}
	if err != nil {
		return nil, fmt.Errorf("read mailed link: %w", err)
	}
	var p Proof
	if err := json.Unmarshal(value, &p); err != nil {
		return nil, fmt.Errorf("read mailed link: %w", err)
	}
	switch {
	case used:
		return &p, ErrProofUsed
	case !now.Before(p.Expires):
		return &p, ErrProofExpired
	}
	return &p, nil
}

// A Confirmation is somebody's word that a mailed link was for them.
type Confirmation struct {
	Handle string // of the link
	// Journey is as [Proof].Journey where the word is from the browser in which that login is under way: the caller has to know, by
	// a secret that no other browser has. It is "" for any other browser.
	Journey string
	Number  string // what was typed in where Journey is ""; "" is no try
}

// ConfirmProof uses the mailed link up, so that the login that has asked for it can go on: of any number of racing callers one
// does. users tells whether the account is still what it was. Errors are as those of [ReadProof], or [ErrProofRevoked], or
// [ErrProofNumber].
func ConfirmProof(ctx context.Context, marks store.Transient, users users, c Confirmation, now time.Time) (*Proof, error) {
	handle := c.Handle
	p, err := ReadProof(ctx, marks, handle, now)
	if err != nil {
		return p, err
	}
	if err := p.stands(ctx, users); err != nil {
		return p, err
	}
	revoked, err := p.revoked(ctx, marks)
	if err != nil {
		return p, err
	}
	if revoked {
		return p, ErrProofRevoked
	}
	if c.Journey == "" || c.Journey != p.Journey {
		if err := p.match(ctx, marks, c); err != nil {
			return p, err
		}
	}
	if _, err := marks.Take(ctx, linkPurpose, hashOf(linkPurpose, handle)); errors.Is(err, store.ErrNotFound) {
		return p, ErrProofUsed
	} else if err != nil {
		return p, fmt.Errorf("use mailed link: %w", err)
	}
	if err := p.put(ctx, marks, usedPurpose, hashOf(linkPurpose, handle), now.Add(proofKept)); err != nil {
		return p, fmt.Errorf("mark mailed link: %w", err)
	}
	if err := p.put(ctx, marks, proofPurpose, p.key(), p.Expires); err != nil {
		return p, fmt.Errorf("keep proof: %w", err)
	}
	return p, nil
}

// match returns nil if the number is the one that the login's page shows. Every try is counted before it is looked at, so that those
// at once are no more than those in turn.
func (p *Proof) match(ctx context.Context, marks store.Transient, c Confirmation) error {
	typed := strings.Join(strings.Fields(c.Number), "")
	if typed == "" || p.Journey == "" {
		return ErrProofNumber
	}
	key := hashOf(linkPurpose, c.Handle)
	nth, err := mark(ctx, marks, triesPurpose, key, triesOfNumbers, p.Expires)
	if err != nil {
		return fmt.Errorf("count numbers of mailed link: %w", err)
	}
	if nth > 0 && subtle.ConstantTimeCompare([]byte(typed), []byte(number(p.Journey))) == 1 {
		return nil
	}
	switch nth {
	case 0:
		return ErrProofRevoked
	case triesOfNumbers:
		if _, err := marks.Take(ctx, linkPurpose, key); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("end mailed link: %w", err)
		}
		return ErrProofRevoked
	}
	return ErrProofNumber
}

type users interface {
	User(ctx context.Context, id string) (*store.User, error)
}

// stands returns ErrProofRevoked if the account is not what it was when the mail was sent.
func (p *Proof) stands(ctx context.Context, users users) error {
	if p.Verifies && p.UserID == "" {
		return nil // there is no account yet
	}
	u, err := users.User(ctx, p.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read account: %w", err)
	}
	// What VerifyEmail asks about is the address that the account will have: the step compares it.
	if err != nil || u.Disabled || !p.Verifies && u.Email != p.Email {
		return ErrProofRevoked
	}
	return nil
}

// RevokeProofs makes every mailed link, and every proof by one, worthless by which this identity could still be linked to this
// user: for who unlinks it, or removes the user. now is when they did. What is mailed from then on is good.
func RevokeProofs(ctx context.Context, marks store.Transient, userID string, link store.LinkKey, now time.Time) error {
	// A value of its own, and no time: what was mailed before does not know it, whatever the clocks of two nodes say.
	return marks.Put(ctx, revokedPurpose, revokedKey(userID, link), []byte(rand.Text()), now.Add(2*proofLifetime))
}

// takeProof reports whether what like says was proved, in time, which is then used up.
func takeProof(ctx context.Context, marks store.Transient, like Proof, now time.Time) (bool, error) {
	value, err := marks.Take(ctx, proofPurpose, like.key())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take proof: %w", err)
	}
	var p Proof
	if err := json.Unmarshal(value, &p); err != nil {
		return false, fmt.Errorf("take proof: %w", err)
	}
	revoked, err := p.revoked(ctx, marks)
	return err == nil && !revoked && p.key() == like.key() && now.Before(p.Expires), err
}

// key binds a proof to all that it is about.
func (p *Proof) key() string {
	return hashOf(proofPurpose, strconv.FormatBool(p.Verifies), p.UserID, p.Email, p.Link.Provider, p.Link.Issuer, p.Link.Subject, p.Journey)
}

func revokedKey(userID string, link store.LinkKey) string {
	return hashOf(revokedPurpose, userID, link.Provider, link.Issuer, link.Subject)
}

// revocation returns the last revocation of such proofs, "" if there was none for as long as one is good.
func (p *Proof) revocation(ctx context.Context, marks store.Transient) (string, error) {
	value, err := marks.Get(ctx, revokedPurpose, revokedKey(p.UserID, p.Link))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("look for revocation: %w", err)
	}
	return string(value), nil
}

// revoked reports whether the proof was revoked after its mail was sent.
func (p *Proof) revoked(ctx context.Context, marks store.Transient) (bool, error) {
	last, err := p.revocation(ctx, marks)
	return last != "" && last != p.Revocation, err
}

func (p *Proof) put(ctx context.Context, marks store.Transient, purpose, key string, expires time.Time) error {
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return marks.Put(ctx, purpose, key, value, expires)
}

// hashOf makes a key of parts of any length, for one purpose.
func hashOf(purpose string, parts ...string) string {
	h := sha256.New()
	for _, part := range append([]string{purpose}, parts...) {
		h.Write([]byte(strconv.Itoa(len(part)) + " " + part))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
