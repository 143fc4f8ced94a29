package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
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
		lent.Credentials, lent.Passwords = s.Credentials, s.Passwords
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

// setPassword writes the password that a step of the journey has decided on. The login stands if it cannot: a password that had
// to be changed still has to be.
func (s *Service) setPassword(ctx context.Context, j *journey) {
	if len(j.Draft.Password) == 0 || s.Credentials == nil {
		return
	}
	local := &factor.Local{Credentials: s.Credentials, Transient: s.Store, Passwords: s.Passwords, Now: s.Now}
	// The login is written: what belongs to it must not end with the request.
	ctx = context.WithoutCancel(ctx)
	if err := local.SetPassword(ctx, j.user, j.Draft.Password, false); err != nil {
		web.RecordOf(ctx).Err = fmt.Errorf("write new password: %w", err)
	}
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
