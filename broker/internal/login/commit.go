package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// seenEvery is how exact [store.Link.LastLogin] is: more often would cost a write per login.
const seenEvery = time.Hour

// errConflict says that somebody else was quicker, twice: with this user, or with a name for a new one.
var errConflict = errors.New("login: what it would write was changed or taken meanwhile")

// Conclude answers the application by a session that was there already.
func (s *Service) Conclude(w http.ResponseWriter, r *http.Request, t *Target, session *store.Session) {
	grant, answer, err := t.Grant(r.Context(), session)
	if err == nil && grant != nil {
		err = s.Store.CreateGrant(r.Context(), grant)
	}
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	s.Send(w, r, t, answer)
}

// finish writes what the journey decided, signs the browser in, and sends it on.
func (s *Service) finish(w http.ResponseWriter, r *http.Request, j *journey) {
	cookie, answer, err := s.commit(r, j)
	if errors.Is(err, errConflict) || errors.Is(err, errUnproved) {
		web.RecordOf(r.Context()).Err = err
		s.Expired(w, r, j.target, "")
		return
	}
	if err != nil {
		s.Fail(w, r, j.target, err)
		return
	}
	s.Sessions.SetCookie(w, cookie)
	if j.Key != "" {
		s.Cookies.Clear(w, flowCookie+j.ID)
	}
	s.remember(w, r, j)
	s.Send(w, r, j.target, answer)
}

// commit writes the login in one go. What somebody else wrote at the same moment (the same identity in another tab, a
// name that was taken, a user who was changed) is read again and decided again, once.
func (s *Service) commit(r *http.Request, j *journey) (cookie string, answer Answer, err error) {
	for attempt := 0; ; attempt++ {
		cookie, answer, err = s.tryCommit(r, j)
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return cookie, answer, err
		}
		if s.replayed(r.Context(), j) {
			return "", Answer{}, &Problem{Status: http.StatusConflict, Message: "already_used", Err: err}
		}
		if attempt > 0 {
			return "", Answer{}, errConflict
		}
		j.account = nil
	}
}

// replayed reports whether the login was committed before.
func (s *Service) replayed(ctx context.Context, j *journey) bool {
	_, err := s.Store.Get(ctx, store.PurposeLogin, j.Once)
	return err == nil
}

func (s *Service) tryCommit(r *http.Request, j *journey) (cookie string, answer Answer, err error) {
	ctx := r.Context()
	if j.account == nil {
		if err := s.lookUp(ctx, j); err != nil {
			return "", Answer{}, err
		}
	}
	if s.overtaken(j) {
		return "", Answer{}, errConflict
	}
	login := &store.Login{Once: j.Once, OnceExpires: j.Expires}
	user, err := s.writeUser(ctx, j, login)
	if err != nil {
		return "", Answer{}, err
	}
	if j.target.Same != "" && user.ID != j.target.Same {
		return "", Answer{}, &Problem{Status: http.StatusForbidden, Message: "other_user", Err: errors.New("another user signed in than was to sign in again")}
	}
	if j.session == "" {
		if j.session, err = s.Sessions.ID(r); err != nil {
			return "", Answer{}, err
		}
	}
	login.Session, cookie, login.EndSession, err = s.Sessions.Begin(ctx, j.session, user.ID)
	if err != nil {
		return "", Answer{}, err
	}
	by, had := login.Session.Upstream, login.Session.UpstreamTokens
	if err := s.describeSession(ctx, login.Session, j); err != nil {
		return "", Answer{}, err
	}
	login.Session.UpstreamIDToken = s.logoutHint(ctx, j)
	if login.Grant, answer, err = j.target.Grant(ctx, login.Session); err != nil {
		return "", Answer{}, err
	}
	rec := web.RecordOf(ctx)
	rec.Note("user", user.ID)
	if err := s.setPassword(ctx, j, user.ID); err != nil {
		return "", Answer{}, fmt.Errorf("write new password: %w", err)
	}
	gone := s.Vault.Leaving(ctx, login.EndSession)
	if err := store.Commit(ctx, s.Store, login); err != nil {
		return "", Answer{}, errors.Join(fmt.Errorf("commit login: %w", err), s.takePasswordBack(ctx, login, err))
	}
	if login.EndSession != "" {
		gone()
		s.Ended(ctx, "another user logged in", login.EndSession)
	}
	if err := s.stillProved(ctx, j); err != nil {
		return "", Answer{}, errors.Join(err, s.takeBack(ctx, j, login))
	}
	s.afterLinking(r, j, login, user)
	if login.Session.Version > 1 {
		s.prolong(ctx, login.Session)
	}
	if by != login.Session.Upstream { // another upstream's word, which the session rests on no more
		s.Vault.Revoke(ctx, by.Provider, had)
	}
	j.user = user.ID
	return cookie, answer, nil
}

// prolong lets what was granted in a session that goes on end with it, and not when it would have ended before: its
// applications are told of the sign-out until then.
func (s *Service) prolong(ctx context.Context, session *store.Session) {
	grants, err := s.Store.FindGrants(ctx, store.GrantQuery{SessionID: session.ID})
	for _, g := range grants {
		if !g.CodeUsed && len(g.CodeHash) > 0 { // a code that nobody has redeemed
			continue
		}
		g.ExpiresAt = session.ExpiresAt
		if failed := s.Store.UpdateGrant(ctx, g); !errors.Is(failed, store.ErrConflict) {
			err = errors.Join(err, failed)
		}
	}
	if err != nil { // the login stands: what is missing is that some application lives longer
		web.RecordOf(ctx).Err = fmt.Errorf("prolong grants: %w", err)
	}
}

// writeUser puts user and link into the login and returns the user as it will be.
func (s *Service) writeUser(ctx context.Context, j *journey, login *store.Login) (*store.User, error) {
	now := s.Now().UTC()
	if j.Transient != nil {
		verify(j.Transient, j)
		return j.Transient, nil
	}
	if j.account.user != nil {
		return j.account.user, s.update(ctx, j, login, now)
	}
	login.NewLink = &store.Link{LinkKey: j.key(), CreatedAt: now, LastLogin: now}
	describe(login.NewLink, j.provider, j.Identity)
	login.NewLink.Tokens = s.tokensOnLink(ctx, j.provider, j.Identity, nil)
	if !j.Draft.Decided() {
		return nil, errors.New("the first-login flow succeeded but decided neither to create a user nor to link one")
	}
	if j.Draft.New {
		login.NewUser = newUser(&j.Draft.Profile, now)
		if j.provider.TokensReadable {
			login.NewUser.Roles = unique(append(login.NewUser.Roles, vault.RoleRead))
		}
		login.NewUser.SharedEmail = j.Draft.SharedEmail
		verify(login.NewUser, j)
		login.NewLink.UserID = login.NewUser.ID
		return login.NewUser, nil
	}
	user, err := s.Store.User(ctx, j.Draft.UserID)
	if errors.Is(err, store.ErrNotFound) { // deleted after they had proved themselves
		return nil, errConflict
	}
	if err != nil {
		return nil, fmt.Errorf("user to be linked: %w", err)
	}
	if err := s.Gate.User(user); err != nil {
		return nil, err
	}
	login.NewLink.UserID = user.ID
	return s.linkUser(ctx, j, login, user, now)
}

// update puts into the login what changes about a user who is linked already.
func (s *Service) update(ctx context.Context, j *journey, login *store.Login, now time.Time) error {
	if !j.local() {
		s.updateLink(ctx, j, login, now)
	}
	user := *j.account.user
	changed, err := s.sync(ctx, j, &user)
	if err != nil || !verify(&user, j) && !changed {
		return err
	}
	user.UpdatedAt = now
	login.User, j.account.user = &user, &user
	return nil
}

func (s *Service) updateLink(ctx context.Context, j *journey, login *store.Login, now time.Time) {
	link := *j.account.link
	link.Tokens = s.tokensOnLink(ctx, j.provider, j.Identity, &link)
	changed := !bytes.Equal(link.Tokens, j.account.link.Tokens)
	switch changed = describe(&link, j.provider, j.Identity) || changed; {
	case j.account.former: // from now on it is known by the provider's present issuer, and its own subject
		link.LinkKey, link.LastLogin, link.Version = j.key(), now, 0
		login.NewLink, login.OldLink = &link, j.account.link
	case changed || now.Sub(link.LastLogin) >= seenEvery:
		link.LastLogin = now
		login.Link = &link
	}
}

// verify marks the user's address as verified if a step of the journey has proved it, and reports whether that changed it.
func verify(u *store.User, j *journey) bool {
	if j.Draft.VerifiedEmail == "" || u.Email != j.Draft.VerifiedEmail || u.EmailVerified {
		return false
	}
	u.EmailVerified = true
	return true
}

// tokensOnLink returns what a link is to have of what the upstream has issued; before is how it was until now, nil if there was none.
func (s *Service) tokensOnLink(ctx context.Context, p *gate.Provider, id *provider.Identity, before *store.Link) []byte {
	if p.StoreTokens != provider.TokensOnLink {
		return nil
	}
	if before == nil || before.Subject != id.Subject { // a refresh token of a former subject's would be answered about somebody else
		return s.Vault.Keep(ctx, p, id.Tokens, nil)
	}
	return s.Vault.Keep(ctx, p, id.Tokens, before.Tokens)
}

// sync edits a user who exists already by the provider's and its mappers' sync modes, and reports whether that changed
// anything. The username stays; an empty e-mail address never replaces one that is there, and one that another user has is not
// taken.
func (s *Service) sync(ctx context.Context, j *journey, u *store.User) (bool, error) {
	if !syncs(j.provider) {
		return false, nil
	}
	before := profileOf(u)
	after := before.Clone()
	if j.provider.Sync.Updates() {
		overlay(&after, provider.ProfileOf(j.Identity, j.provider.TrustEmail), j.provider.Sync == provider.SyncForce)
	}
	replaced := after.Email != before.Email
	m := &provider.Mapping{Alias: j.Alias, Identity: j.Identity, Profile: &after, Update: true}
	forget(j.provider, m)
	if err := mapAt(j.provider, provider.StageProfile, m); err != nil {
		return false, err
	}
	after.Username = before.Username
	after.Roles, after.Groups = steady(before.Roles, after.Roles), steady(before.Groups, after.Groups)
	if after.Email = firstlogin.Email(after.Email); after.Email == "" {
		after.Email, after.EmailVerified = before.Email, before.EmailVerified
	}
	if after.Email != before.Email {
		taken, err := s.emailTaken(ctx, u, after.Email)
		if err != nil {
			return false, err
		}
		if taken {
			after.Email, after.EmailVerified = before.Email, before.EmailVerified
		}
	} else if replaced { // a mapper put back the address that the user has
		after.EmailVerified = before.EmailVerified
	}
	if reflect.DeepEqual(before, after) {
		return false, nil
	}
	setProfile(u, &after)
	return true, nil
}

// syncs reports whether a login may change a user who exists already.
func syncs(p *gate.Provider) bool {
	return p.Sync.Updates() || slices.ContainsFunc(p.Mappers, func(m provider.Mapper) bool {
		return m.Stage == provider.StageProfile && syncOf(p, m).Updates()
	})
}

// steady returns what is in after, each once, in the order of before and then its own: what was taken away and given again
// is no change.
func steady(before, after []string) []string {
	have := make(map[string]bool, len(after))
	for _, v := range after {
		have[v] = true
	}
	kept := slices.DeleteFunc(slices.Clone(before), func(v string) bool { return !have[v] })
	return unique(append(kept, after...))
}

func (s *Service) emailTaken(ctx context.Context, u *store.User, email string) (bool, error) {
	if email == "" {
		return false, nil
	}
	others, err := s.Store.FindUsers(ctx, store.UserQuery{Email: email})
	if err != nil {
		return false, err
	}
	for _, other := range others {
		if other.ID != u.ID && !(other.SharedEmail && u.SharedEmail) {
			return true, nil
		}
	}
	// Nor may the address of one be the name of another.
	named, err := s.Store.FindUsers(ctx, store.UserQuery{Username: email})
	return len(named) > 0 && named[0].ID != u.ID, err
}

// unique returns values without those that stand there before, so that a mapper need not look.
func unique(values []string) []string {
	var kept []string
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if !seen[v] {
			kept, seen[v] = append(kept, v), true
		}
	}
	return kept
}

// describeSession says in the session who vouched, and what the mappers note.
func (s *Service) describeSession(ctx context.Context, session *store.Session, j *journey) error {
	before := session.UpstreamTokens
	if session.Upstream != j.key() {
		before = nil
	}
	session.UpstreamTokens = nil
	if j.provider.StoreTokens == provider.TokensInSession {
		session.UpstreamTokens = s.Vault.Keep(ctx, j.provider, j.Identity.Tokens, before)
	}
	if err := describeTransient(session, j); err != nil {
		return err
	}
	session.Upstream = j.key()
	session.UpstreamSession = j.Identity.Session
	if until := j.Identity.SessionUntil; !until.IsZero() && until.Before(session.ExpiresAt) {
		session.ExpiresAt = until.UTC()
	}
	session.ACR, session.AMR = j.Identity.ACR, unique(slices.Concat(j.Identity.AMR, j.Draft.AMR))
	if at := j.Identity.AuthTime; !at.IsZero() && at.Before(session.AuthTime) {
		session.AuthTime = at.UTC()
	}
	notes := provider.Profile{}.Clone()
	m := &provider.Mapping{Alias: j.Alias, Identity: j.Identity, Profile: &notes, Update: true}
	if err := mapAt(j.provider, provider.StageSession, m); err != nil {
		return err
	}
	session.Notes = notes.Notes
	return nil
}

const maxIDToken = 6 << 10 // a longer one fits into no URL

// logoutHint returns the upstream's ID token for the session, or what its provider has in place of one, if there is a way
// to sign out there that may need it.
func (s *Service) logoutHint(ctx context.Context, j *journey) []byte {
	if j.provider.Logout == provider.LogoutNone {
		return nil
	}
	starter, ok := j.provider.IdP.(provider.LogoutStarter)
	if !ok {
		return nil
	}
	hint := j.Identity.LogoutHint
	if hint == "" {
		tokens := j.Identity.Tokens
		if tokens == nil || tokens.IDToken == "" {
			return nil
		}
		if way, err := starter.BeginLogout(ctx, provider.LogoutRequest{}); way == nil || err != nil {
			return nil // the sign-out will do without it
		}
		hint = tokens.IDToken
	}
	if len(hint) > maxIDToken {
		return nil
	}
	return []byte(hint)
}

// describe sets what the upstream says about the link, and reports whether that changed it.
func describe(l *store.Link, p *gate.Provider, id *provider.Identity) bool {
	username := id.Username
	if !p.CaseSensitiveUsername {
		username = strings.ToLower(username)
	}
	if l.Username == username && l.Email == id.Email {
		return false
	}
	l.Username, l.Email = username, id.Email
	return true
}

func newUser(p *provider.Profile, now time.Time) *store.User {
	u := &store.User{ID: rand.Text(), Username: p.Username, CreatedAt: now, UpdatedAt: now}
	setProfile(u, p)
	return u
}

// setProfile sets all of a user that a profile decides but the username, which no provider changes.
func setProfile(u *store.User, p *provider.Profile) {
	u.Email, u.EmailVerified = p.Email, p.EmailVerified
	u.FirstName, u.LastName, u.Name = p.FirstName, p.LastName, p.Name
	u.Locale, u.Picture = p.Locale, p.Picture
	u.Roles, u.Groups, u.Attributes = unique(p.Roles), unique(p.Groups), p.Attributes
}

func profileOf(u *store.User) provider.Profile {
	return provider.Profile{
		Username: u.Username,
		Email:    u.Email, EmailVerified: u.EmailVerified,
		FirstName: u.FirstName, LastName: u.LastName, Name: u.Name,
		Locale: u.Locale, Picture: u.Picture,
		Roles: u.Roles, Groups: u.Groups, Attributes: u.Attributes,
	}.Clone()
}

// overlay puts what an upstream says over what is there. With empty, what it does not say is taken away too, but for the
// e-mail address.
func overlay(p *provider.Profile, from provider.Profile, empty bool) {
	for _, field := range []struct {
		to   *string
		from string
	}{
		{&p.FirstName, from.FirstName}, {&p.LastName, from.LastName}, {&p.Name, from.Name},
		{&p.Locale, from.Locale}, {&p.Picture, from.Picture},
	} {
		if field.from != "" || empty {
			*field.to = field.from
		}
	}
	switch {
	case from.Email == "":
	case firstlogin.Email(from.Email) != p.Email:
		p.Email, p.EmailVerified = from.Email, from.EmailVerified
	case from.EmailVerified:
		p.EmailVerified = true
	}
}
