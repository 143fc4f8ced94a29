// Package passkey lets users prove who they are with a passkey (WebAuthn Level 3): a key that only their device or security key
// has, and uses only for this site and after it has verified its user.
//
// It owns both ceremonies, for the broker and for a host's own pages ([Site]). The step that asks for a passkey is in the package
// factor, and the pages are the broker's. It stands apart from them so that who does not import it links none of what it needs.
//
//	b, err := broker.New(broker.Config{
//		BaseURL:     "https://app.example/id",
//		Credentials: s,
//		Passkeys:    passkey.Site{}, // on the login page, the account page, and where an account has to prove itself
//		…
//	})
//
// A passkey is a proof by itself: its device has verified the user, so that it takes the place of a password and of a second
// factor. One whose signature counter goes back may have been copied, and is refused.
package passkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// ErrNoSite means that there can be no passkeys for a site: its host is an IP address (WebAuthn Level 3 §5.1.2), or none.
var ErrNoSite = errors.New("passkey: only a site with a domain name, such as localhost, can have passkeys: an IP address is none")

// maxHandle is how long a user's id may be, which is the user handle (WebAuthn Level 3 §5.4.3).
const maxHandle = 64

// maxRetries bounds how often a credential is read again because somebody else has written it.
const maxRetries = 8

// A Site is the relying party: who passkeys are for. The broker's own is complete with the zero value.
type Site struct {
	// BaseURL is the broker's, which fills it in. Its origin is the only one that passkeys are made and used at.
	BaseURL string
	// RPID is the domain that they belong to for ever: BaseURL's host or a parent domain of it. "" is the host.
	RPID string
	// Name is shown by some devices. "" is the broker's, or else the RPID.
	Name string
}

var _ flow.Passkeys = Site{}

// At returns s for the broker at baseURL, of the product called name. It is an error, [ErrNoSite] for one, if no browser would make
// passkeys there, or if s is for another broker.
func (s Site) At(baseURL, name string) (flow.Passkeys, error) {
	if s.BaseURL != "" && s.BaseURL != baseURL {
		return nil, fmt.Errorf("passkey: the BaseURL of the Site is %q, and the broker's is %q; leave it out", s.BaseURL, baseURL)
	}
	s.BaseURL, s.Name = baseURL, firstOf(s.Name, name)
	if _, err := s.engine(); err != nil {
		return nil, err
	}
	return s, nil
}

// engine returns the library's view of the site.
func (s Site) engine() (*webauthn.WebAuthn, error) {
	u, err := url.Parse(s.BaseURL)
	if err != nil || u.Host == "" {
		return nil, ErrNoSite
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil, ErrNoSite
	}
	c := &webauthn.Config{RPID: s.RPID, RPDisplayName: s.Name, RPOrigins: []string{u.Scheme + "://" + u.Host}}
	if c.RPID == "" {
		c.RPID = u.Hostname()
	}
	if !strings.HasSuffix("."+u.Hostname(), "."+c.RPID) { // WebAuthn Level 3 §5.1.3
		return nil, fmt.Errorf("passkey: the RPID %q is neither %q nor a parent domain of it", c.RPID, u.Hostname())
	}
	if c.RPDisplayName == "" {
		c.RPDisplayName = c.RPID
	}
	resident := true
	c.AuthenticatorSelection = protocol.AuthenticatorSelection{
		ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &resident, UserVerification: protocol.VerificationRequired,
	}
	c.AttestationPreference = protocol.PreferNoAttestation
	w, err := webauthn.New(c)
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return w, nil
}

// BeginRegistration begins to make a passkey for a user: options are for navigator.credentials.create, as JSON; state, which
// has the challenge, is kept for this user and browser, out of their reach, for one FinishRegistration and some minutes.
func (s Site) BeginRegistration(ctx context.Context, c store.Credentials, u *store.User) (options, state []byte, err error) {
	w, err := s.engine()
	if err != nil {
		return nil, nil, err
	}
	who, err := read(ctx, c, u)
	if err != nil {
		return nil, nil, err
	}
	creation, session, err := w.BeginRegistration(who, webauthn.WithExclusions(webauthn.Credentials(who.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, nil, fmt.Errorf("passkey: begin registration: %w", err)
	}
	return both(creation.Response, session)
}

// FinishRegistration checks what the browser answered, as JSON, and keeps the passkey under label, which is for people. It is
// [factor.ErrRefused] if the answer proves nothing.
func (s Site) FinishRegistration(ctx context.Context, c store.Credentials, u *store.User, label string, state, answer []byte, now time.Time) error {
	w, err := s.engine()
	if err != nil {
		return err
	}
	who, err := read(ctx, c, u)
	if err != nil {
		return err
	}
	session, err := sessionOf(state)
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return refused(err)
	}
	made, err := w.CreateCredential(who, *session, parsed)
	if err != nil {
		return refused(err)
	}
	if who.index(made.ID) >= 0 {
		return refused(errors.New("it is registered already"))
	}
	kept := &store.Credential{
		ID: rand.Text(), UserID: u.ID, Kind: store.CredentialPasskey, Label: label, CreatedAt: now.UTC(),
	}
	if err := write(kept, made); err != nil {
		return err
	}
	return c.CreateCredential(ctx, kept)
}

// BeginLogin begins to ask for a passkey: options are for navigator.credentials.get, as JSON; state is kept as BeginRegistration
// says. With u, only a passkey of that user will do; with nil, whoever uses one says who they are.
func (s Site) BeginLogin(ctx context.Context, c store.Credentials, u *store.User) (options, state []byte, err error) {
	w, err := s.engine()
	if err != nil {
		return nil, nil, err
	}
	verify := webauthn.WithUserVerification(protocol.VerificationRequired)
	var assertion *protocol.CredentialAssertion
	var session *webauthn.SessionData
	if u == nil {
		assertion, session, err = w.BeginDiscoverableLogin(verify)
	} else {
		who, readErr := read(ctx, c, u)
		if readErr != nil {
			return nil, nil, readErr
		}
		assertion, session, err = w.BeginLogin(who, verify)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("passkey: begin login: %w", err)
	}
	return both(assertion.Response, session)
}

// FinishLogin checks what the browser answered, as JSON, to the options that came with state, and notes the passkey's use. It is
// [factor.ErrRefused] if the answer proves nothing; any other error means that it could not be told. users finds a user by id.
func (s Site) FinishLogin(ctx context.Context, c store.Credentials, users func(ctx context.Context, id string) (*store.User, error),
	state, answer []byte, now time.Time) (*flow.PasskeyProof, error) {
	w, err := s.engine()
	if err != nil {
		return nil, err
	}
	session, err := sessionOf(state)
	if err != nil {
		return nil, err
	}
	for range maxRetries {
		// What was parsed is used up by each check.
		parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
		if err != nil {
			return nil, refused(err)
		}
		id := string(parsed.Response.UserHandle)
		if len(session.UserID) > 0 {
			id = string(session.UserID)
		}
		who, err := find(ctx, c, users, id)
		if err != nil {
			return nil, err
		}
		used, err := check(w, who, session, parsed)
		if err != nil {
			return nil, refused(err)
		}
		kept := who.kept[who.index(used.ID)]
		if err := write(kept, used); err != nil {
			return nil, err
		}
		kept.LastUsed = now.UTC()
		err = c.UpdateCredential(ctx, kept)
		if err == nil {
			return &flow.PasskeyProof{User: who.user, AMR: amrOf(used)}, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("write passkey: %w", err)
		}
	}
	return nil, fmt.Errorf("write passkey: %w", store.ErrConflict)
}

// check verifies an assertion.
func check(w *webauthn.WebAuthn, who *owner, session *webauthn.SessionData, parsed *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	var used *webauthn.Credential
	var err error
	if len(session.UserID) > 0 {
		used, err = w.ValidateLogin(who, *session, parsed)
	} else {
		used, err = w.ValidateDiscoverableLogin(func(_, _ []byte) (webauthn.User, error) { return who, nil }, *session, parsed)
	}
	if err != nil {
		return nil, err
	}
	if used.Authenticator.CloneWarning {
		return nil, fmt.Errorf("the signature counter of passkey %s of user %s did not go up: it may be a copy (WebAuthn Level 3 §6.1.1)",
			who.kept[who.index(used.ID)].ID, who.user.ID)
	}
	return used, nil
}

func amrOf(c *webauthn.Credential) []string {
	if c.Flags.BackupEligible {
		return []string{"swk", "user", factor.AMRMultiple}
	}
	return []string{"hwk", "user", factor.AMRMultiple}
}

// An owner is a user with their passkeys, as the library wants to see them.
type owner struct {
	user *store.User
	kept []*store.Credential
	keys []webauthn.Credential // of kept, in order
}

var _ webauthn.User = (*owner)(nil)

func (o *owner) WebAuthnID() []byte                         { return []byte(o.user.ID) }
func (o *owner) WebAuthnName() string                       { return o.user.Username }
func (o *owner) WebAuthnDisplayName() string                { return firstOf(o.user.Name, o.user.Username) }
func (o *owner) WebAuthnCredentials() []webauthn.Credential { return o.keys }

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// index returns which of the passkeys has this id, -1 if none.
func (o *owner) index(id []byte) int {
	for i := range o.keys {
		if bytes.Equal(o.keys[i].ID, id) {
			return i
		}
	}
	return -1
}

func find(ctx context.Context, c store.Credentials, users func(context.Context, string) (*store.User, error), id string) (*owner, error) {
	if id == "" || len(id) > maxHandle || !utf8.ValidString(id) || strings.ContainsRune(id, 0) { // what no store has, and some refuse
		return nil, refused(errors.New("no user handle"))
	}
	u, err := users(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refused(errors.New("there is no such user any more"))
	}
	if err != nil {
		return nil, fmt.Errorf("passkey: find user: %w", err)
	}
	return read(ctx, c, u)
}

// read returns a user with their passkeys.
func read(ctx context.Context, c store.Credentials, u *store.User) (*owner, error) {
	if u.ID == "" || len(u.ID) > maxHandle {
		return nil, fmt.Errorf("passkey: a user's id has 1 to %d bytes", maxHandle)
	}
	all, err := c.CredentialsOf(ctx, u.ID)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	o := &owner{user: u}
	for _, kept := range all {
		if kept.Kind != store.CredentialPasskey {
			continue
		}
		var key webauthn.Credential
		if err := json.Unmarshal(kept.Secret, &key); err != nil {
			return nil, fmt.Errorf("passkey %s: %w", kept.ID, err)
		}
		key.Authenticator.SignCount = uint32(kept.Step) //nolint:gosec // it was one
		o.kept, o.keys = append(o.kept, kept), append(o.keys, key)
	}
	return o, nil
}

// write puts what is known of a passkey where it is kept.
func write(kept *store.Credential, key *webauthn.Credential) error {
	secret, err := json.Marshal(key)
	kept.Secret, kept.Step = secret, int64(key.Authenticator.SignCount)
	return err
}

func both(options, state any) (o, s []byte, err error) {
	o, err1 := json.Marshal(options)
	s, err2 := json.Marshal(state)
	return o, s, errors.Join(err1, err2)
}

func sessionOf(state []byte) (*webauthn.SessionData, error) {
	session := &webauthn.SessionData{}
	if err := json.Unmarshal(state, session); err != nil {
		return nil, refused(errors.New("nothing was begun"))
	}
	if session.UserVerification != protocol.VerificationRequired {
		return nil, refused(errors.New("what was begun asks for no verification of the user"))
	}
	return session, nil
}

// maxReason bounds, in bytes, what a stranger's answer can have the log say.
const maxReason = 300

// refused says for the log why an answer proves nothing.
func refused(err error) error {
	reason := err.Error()
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.DevInfo != "" {
		reason = e.Details + ": " + e.DevInfo
	}
	return fmt.Errorf("%w: passkey: %s", factor.ErrRefused, strings.ToValidUTF8(reason[:min(len(reason), maxReason)], ""))
}
