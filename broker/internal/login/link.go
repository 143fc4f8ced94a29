package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
)

// linkUser puts into the login what changes about a user who gets another link, and returns the user as it will be.
func (s *Service) linkUser(ctx context.Context, j *journey, login *store.Login, user *store.User, now time.Time) (*store.User, error) {
	proved := j.Draft.ProvedEmail
	if proved != "" && proved != user.Email { // it was changed meanwhile
		return nil, errConflict
	}
	after := *user
	changed, err := s.sync(ctx, j, &after)
	if err != nil {
		return nil, err
	}
	if proved != "" && !user.EmailVerified {
		if err := s.disown(ctx, user); err != nil {
			return nil, err
		}
		j.Held = nil // what else was proved was of the former owner's making
		if after.Email == proved {
			after.EmailVerified, changed = true, true
		}
	}
	if j.Draft.Replace {
		if login.OldLink, err = s.former(ctx, login.NewLink); err != nil {
			return nil, err
		}
	}
	if !verify(&after, j) && !changed {
		return user, nil
	}
	after.UpdatedAt = now
	login.User = &after
	return &after, nil
}

// disown takes away everything by which others could sign in as a user whose address somebody has proved for the first time:
// whoever set it up had not, and may have waited for the address's owner to come. It comes before the login is written, so that
// nothing of it survives where the process ends in between; the owner of the address proves it again then.
func (s *Service) disown(ctx context.Context, user *store.User) error {
	if err := s.dropCredentials(ctx, user.ID); err != nil { // first: see takeBack
		return fmt.Errorf("credentials of disowned account: %w", err)
	}
	links, err := s.Store.LinksOf(ctx, user.ID)
	if err != nil {
		return fmt.Errorf("links of disowned account: %w", err)
	}
	for _, l := range links {
		if err := s.unlink(ctx, l); err != nil {
			return fmt.Errorf("unlink disowned account: %w", err)
		}
	}
	if err := s.EndEverything(ctx, "the account's address was proved for the first time", user.ID); err != nil {
		return fmt.Errorf("sessions and grants of disowned account: %w", err)
	}
	return nil
}

func (s *Service) dropCredentials(ctx context.Context, userID string) error {
	if s.Credentials == nil {
		return nil
	}
	all, err := s.Credentials.CredentialsOf(ctx, userID)
	for _, c := range all {
		err = errors.Join(err, ignore(s.Credentials.DeleteCredential(ctx, c.ID), store.ErrNotFound))
	}
	return err
}

// unlink removes a link, with all that could make it again.
func (s *Service) unlink(ctx context.Context, l *store.Link) error {
	return errors.Join(firstlogin.RevokeProofs(ctx, s.Store, l.UserID, l.LinkKey, s.Now()), s.dropLink(ctx, l))
}

// dropLink removes a link, and has what was kept with it revoked.
func (s *Service) dropLink(ctx context.Context, l *store.Link) error {
	err := ignore(s.Store.DeleteLink(ctx, l.LinkKey), store.ErrNotFound)
	if err == nil {
		s.Vault.Revoke(ctx, l.Provider, l.Tokens)
	}
	return err
}

// afterLinking does what follows a login that has linked a user who was there before. The login stands whatever becomes of it.
func (s *Service) afterLinking(r *http.Request, j *journey, login *store.Login, user *store.User) {
	if login.NewLink == nil || login.NewUser != nil || j.account.user != nil {
		return
	}
	rec := web.RecordOf(r.Context())
	rec.Note("linked", j.Alias)
	if j.Draft.Replace {
		if err := s.replaceLinks(context.WithoutCancel(r.Context()), login); err != nil {
			rec.Err = fmt.Errorf("remove link that was replaced: %w", err)
		}
		rec.Note("replaced", j.Alias)
	}
	s.Tell(r, user, flow.Mail{Name: "linked", Args: map[string]string{"provider": j.provider.Title(), "account": user.Username}})
}

const mailPatience = 30 * time.Second

// former returns a link that the user has to the provider of the one to be made, nil if there is none.
func (s *Service) former(ctx context.Context, made *store.Link) (*store.Link, error) {
	links, err := s.Store.LinksOf(ctx, made.UserID)
	if err != nil {
		return nil, fmt.Errorf("link to be replaced: %w", err)
	}
	for _, l := range links {
		if l.Provider == made.Provider && l.LinkKey != made.LinkKey {
			return l, nil
		}
	}
	return nil, nil
}

// replaceLinks ends what hung on the link that the login has replaced, and on others to its provider if there were more than one.
func (s *Service) replaceLinks(ctx context.Context, login *store.Login) (err error) {
	if login.OldLink != nil {
		err = s.unlink(ctx, login.OldLink)
	}
	links, failed := s.Store.LinksOf(ctx, login.NewLink.UserID)
	err = errors.Join(err, failed)
	for _, l := range links {
		if l.Provider == login.NewLink.Provider && l.LinkKey != login.NewLink.LinkKey {
			err = errors.Join(err, s.unlink(ctx, l))
		}
	}
	return err
}
