package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// lend returns what steps of the journey may use of the broker.
func (s *Service) lend(r *http.Request, j *journey) flow.Lent {
	rec := web.RecordOf(r.Context())
	lent := flow.Lent{
		BaseURL: s.Base.String(), Source: s.Source(r), Transient: s.Store, Journey: j.ID, Start: j.Start, Note: rec.Note,
		Upstream: func(alias string) (flow.Provider, bool) {
			p, err := s.Gate.Linked(alias, j.target.Providers)
			if err != nil {
				return flow.Provider{}, false
			}
			return flow.Provider{Alias: p.Alias, Name: p.Title(), TrustEmail: p.TrustEmail}, true
		},
	}
	if s.Mail != nil {
		lent.Mail = func(ctx context.Context, m flow.Mail) error {
			err := s.Mail(ctx, s.Pages.Language(r, j.target.Locales), m)
			if err != nil { // a step may go on without it
				rec.Err = fmt.Errorf("send mail %q: %w", m.Name, err)
			}
			return err
		}
	}
	if s.Credentials != nil && j.Transient == nil {
		lent.Credentials, lent.Passwords, lent.Refused = s.witness(j), s.Passwords, s.Refused
		if lent.Passkeys = s.Passkeys; j.begun != nil && j.Stage == stageFirstLogin {
			lent.Passkeys = j.begun
		}
		if lent.Passkeys != nil {
			lent.Passkeys = recordedPasskeys{lent.Passkeys}
		}
		lent.KnownDevice = func(userID string) string { return s.knownDevice(r, userID) }
	}
	return lent
}

// Factors returns what checks and changes the credentials of users.
func (s *Service) Factors() *factor.Local {
	return &factor.Local{Credentials: s.Credentials, Transient: s.Store, Passwords: s.Passwords, Now: s.Now, Refused: s.Refused}
}

// Refused writes the line that says that somebody has tried a credential and proved nothing.
func (s *Service) Refused(ctx context.Context, userID string, kind store.CredentialKind, source string) {
	rec := web.RecordOf(ctx)
	rec.Note("refused", string(kind))
	s.Log.WarnContext(ctx, "credential refused", "user", userID, "kind", string(kind), "source", source, "request", rec.ID)
}

// setPassword writes the password that a step of the journey has decided on. It comes before the login, which no store writes
// together with it: a user who exists has proved to be that, and a new one has it from their first moment on. A transient user has none.
func (s *Service) setPassword(ctx context.Context, j *journey, userID string) error {
	if len(j.Draft.Password) == 0 || s.Credentials == nil || j.Transient != nil {
		return nil
	}
	// Somebody else who knew the former one may have been quicker to change it.
	if err := s.stillProved(ctx, j); err != nil {
		return err
	}
	local := s.Factors()
	local.Credentials = s.witness(j)
	if err := local.SetPassword(ctx, userID, j.Draft.Password, false); err != nil {
		return err
	}
	return s.noteHeld(ctx, j)
}

// takePasswordBack removes the password of a user whom the login did not create, if it is certain that it did not. What a process
// leaves behind that ends before that is a hash of nobody's: ids are never used again.
func (s *Service) takePasswordBack(ctx context.Context, login *store.Login, failed error) error {
	if login.NewUser == nil || !errors.Is(failed, store.ErrExists) && !errors.Is(failed, store.ErrConflict) {
		return nil
	}
	return s.dropCredentials(context.WithoutCancel(ctx), login.NewUser.ID)
}

const (
	deviceCookie   = "device"
	devicePurpose  = "known device"
	deviceLifetime = 180 * 24 * time.Hour
	maxDevices     = 5 // users of one browser; those who signed in last are remembered
)

// A device is a browser in which a user has signed in before: strangers' guesses at that user's password do not lock it.
type device struct {
	User string    `json:"u"`
	ID   string    `json:"i"`
	Till time.Time `json:"t"`
}

func (s *Service) devices(r *http.Request) []device {
	plain, err := s.Sealer.Open(devicePurpose, "", s.Cookies.Get(r, deviceCookie))
	var all []device
	if err != nil || json.Unmarshal(plain, &all) != nil {
		return nil // none, or of another secret: the browser is not known
	}
	now := s.Now()
	return slices.DeleteFunc(all, func(d device) bool { return !now.Before(d.Till) })
}

func (s *Service) knownDevice(r *http.Request, userID string) string {
	for _, d := range s.devices(r) {
		if d.User == userID {
			return d.ID
		}
	}
	return ""
}

// remember makes the browser one in which the user has signed in.
func (s *Service) remember(w http.ResponseWriter, r *http.Request, j *journey) {
	if s.Credentials == nil || j.Transient != nil { // who has no password is not locked out
		return
	}
	known := device{User: j.user, ID: rand.Text()}
	rest := s.devices(r)
	if i := slices.IndexFunc(rest, func(d device) bool { return d.User == j.user }); i >= 0 {
		known.ID = rest[i].ID
		rest = slices.Delete(rest, i, i+1)
	}
	known.Till = s.Now().Add(deviceLifetime)
	all := slices.Concat([]device{known}, rest[:min(len(rest), maxDevices-1)])
	for ; len(all) > 0; all = all[:len(all)-1] {
		plain, err := json.Marshal(all)
		if err != nil { // a year beyond 9999
			return
		}
		if sealed := s.Sealer.Seal(devicePurpose, "", plain); s.Cookies.Fits(deviceCookie, sealed) {
			s.Cookies.Set(w, deviceCookie, sealed, deviceLifetime, false)
			return
		}
	}
}
