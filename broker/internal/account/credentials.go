package account

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

func (s *Service) showCredentials(ctx context.Context, v *visit, data *web.AccountData, w *ways) error {
	if s.Credentials == nil {
		return nil
	}
	all, err := s.Credentials.CredentialsOf(ctx, v.user.ID)
	if err != nil {
		return err
	}
	shown := &web.AccountCredentials{
		Needed: s.onlyWay(w, store.CredentialPassword), NeedsPasskey: s.onlyWay(w, store.CredentialPasskey), MorePasskeys: s.Passkeys != nil,
		NoPasswords: !s.TakesPasswords, NoApps: !s.TakesCodes,
	}
	for _, c := range all {
		row := web.AccountCredential{ID: c.ID, Label: c.Label, Since: c.CreatedAt.UTC(), Used: c.LastUsed.UTC()}
		switch c.Kind {
		case store.CredentialPassword:
			shown.Password = &row
		case store.CredentialTOTP:
			shown.App = &row
		case store.CredentialPasskey:
			shown.Passkeys = append(shown.Passkeys, row)
		}
	}
	shown.Codes, err = s.local().RecoveryCodesLeft(ctx, v.user.ID)
	data.Local = shown
	return err
}

// has returns the user's credential of a kind, nil if there is none.
func (s *Service) has(ctx context.Context, userID string, kind store.CredentialKind) (*store.Credential, error) {
	all, err := s.Credentials.CredentialsOf(ctx, userID)
	if i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.Kind == kind }); i >= 0 {
		return all[i], err
	}
	return nil, err
}

// askPassword handles GET …/password.
func (s *Service) askPassword(v *visit) {
	if s.recent(v, v.base+"/password") {
		s.passwordPage(v, nil)
	}
}

func (s *Service) passwordPage(v *visit, errs map[string]string) {
	old, err := s.has(v.Context(), v.user.ID, store.CredentialPassword)
	if err != nil {
		s.fail(v, err)
		return
	}
	s.render(v, web.Page{Name: "account-password", Data: web.AccountFormData{
		Base: v.base, Action: v.base + "/password", Account: v.user.Username, Has: old != nil, Errors: errs,
	}})
}

// setPassword handles POST …/password. Who has one proves it, with the same bound on guessing as everywhere.
func (s *Service) setPassword(v *visit) {
	if !s.recent(v, v.base+"/password") {
		return
	}
	ctx := v.Context()
	old, err := s.has(ctx, v.user.ID, store.CredentialPassword)
	if err != nil {
		s.fail(v, err)
		return
	}
	if old != nil {
		_, err := s.local().VerifyPassword(ctx, s.Login.Attempt(v.Request, v.user.ID), v.PostForm.Get("current"))
		switch {
		case errors.Is(err, factor.ErrTooMany):
			s.passwordPage(v, map[string]string{"current": "too_many"})
			return
		case errors.Is(err, factor.ErrRefused):
			s.passwordPage(v, map[string]string{"current": "refused"})
			return
		case err != nil:
			s.fail(v, err)
			return
		}
	}
	hash, errs, err := s.Login.NewPassword(ctx, v.user, v.PostForm)
	switch {
	case err != nil:
		s.fail(v, err)
		return
	case errs != nil:
		s.passwordPage(v, errs)
		return
	}
	if err := s.local().SetPassword(ctx, v.user.ID, hash, false); err != nil {
		s.fail(v, err)
		return
	}
	s.credentialChanged(v, "password")
	if err := s.endOthers(v, "password changed by the user"); err != nil {
		s.fail(v, err)
		return
	}
	s.done(v, "password")
}

func (s *Service) credentialChanged(v *visit, what string) {
	s.Login.Changed(v.Request, v.user, "credential", what)
	s.tell(v, "credential", nil)
}

const (
	enrolPurpose  = "enrolment"
	enrolLifetime = 15 * time.Minute
)

// An enrolment is a seed on its way into an app, sealed for the session that it was made for: nothing is kept of it before.
type enrolment struct {
	Seed    []byte    `json:"s"`
	URI     string    `json:"u"`
	Text    string    `json:"t"`
	Expires time.Time `json:"e"`
}

// showEnrolment handles GET …/totp.
func (s *Service) showEnrolment(v *visit) {
	if !s.recent(v, v.base+"/totp") {
		return
	}
	made := factor.NewEnrolment(s.Product, nameOf(v.user))
	e := enrolment{Seed: made.Seed, URI: made.URI, Text: made.Text, Expires: s.Now().Add(enrolLifetime)}
	plain, err := json.Marshal(e)
	if err != nil {
		s.fail(v, err)
		return
	}
	s.enrolPage(v, &e, s.Sealer.Seal(enrolPurpose, v.session.ID, plain), nil)
}

func (s *Service) enrolPage(v *visit, e *enrolment, sealed string, errs map[string]string) {
	old, err := s.has(v.Context(), v.user.ID, store.CredentialTOTP)
	if err != nil {
		s.fail(v, err)
		return
	}
	qr, err := (&factor.Enrolment{Seed: e.Seed, URI: e.URI, Text: e.Text}).QR()
	if err != nil {
		s.fail(v, err)
		return
	}
	var groups []string
	for part := range slices.Chunk([]byte(e.Text), 4) {
		groups = append(groups, string(part))
	}
	s.render(v, web.Page{Name: "account-totp", Data: web.AccountFormData{
		Base: v.base, Action: v.base + "/totp", Hidden: url.Values{"enrolment": {sealed}}, Has: old != nil, Errors: errs,
		QR: "data:image/png;base64," + base64.StdEncoding.EncodeToString(qr), Secret: strings.Join(groups, " "),
	}})
}

// enrol handles POST …/totp: a code that the app makes proves that the seed has arrived.
func (s *Service) enrol(v *visit) {
	if !s.recent(v, v.base+"/totp") {
		return
	}
	sealed := v.PostForm.Get("enrolment")
	var e enrolment
	plain, err := s.Sealer.Open(enrolPurpose, v.session.ID, sealed)
	if err != nil || json.Unmarshal(plain, &e) != nil || !s.Now().Before(e.Expires) {
		s.redirect(v, v.base+"/totp")
		return
	}
	ctx := v.Context()
	err = s.local().EnrolTOTP(ctx, v.user.ID, "", e.Seed, v.PostForm.Get("code"))
	if errors.Is(err, factor.ErrRefused) {
		s.enrolPage(v, &e, sealed, map[string]string{"code": "refused"})
		return
	}
	if err != nil {
		s.fail(v, err)
		return
	}
	s.credentialChanged(v, "app")
	left, err := s.local().RecoveryCodesLeft(ctx, v.user.ID)
	switch {
	case err != nil:
		s.fail(v, err)
	case left == 0:
		s.codesPage(v)
	default:
		s.done(v, "totp")
	}
}

// newCodes handles POST …/recovery.
func (s *Service) newCodes(v *visit) {
	if !s.recent(v, v.base+"/?notice=again") {
		return
	}
	app, err := s.has(v.Context(), v.user.ID, store.CredentialTOTP)
	if err != nil {
		s.fail(v, err)
		return
	}
	if app == nil { // codes stand in for an app
		s.redirect(v, v.base+"/totp")
		return
	}
	if s.confirmed(v, "recovery", nil, nil) {
		s.credentialChanged(v, "recovery codes")
		s.codesPage(v)
	}
}

// codesPage makes recovery codes and shows them, once.
func (s *Service) codesPage(v *visit) {
	codes, err := s.local().NewRecoveryCodes(v.Context(), v.user.ID)
	if err != nil {
		s.fail(v, err)
		return
	}
	s.render(v, web.Page{Name: "account-recovery", Data: web.RecoveryData{Base: v.base, Codes: codes}})
}

// download handles POST …/recovery.txt: the codes that the page has in it come back as a file, without anything being kept.
func (s *Service) download(v *visit) {
	var text strings.Builder
	for _, code := range v.PostForm["code"] {
		if len(code) > 32 || strings.ContainsFunc(code, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') }) {
			s.fail(v, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request"})
			return
		}
		fmt.Fprintln(&text, code)
	}
	h := v.Header()
	web.Headers(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="recovery-codes.txt"`)
	_, _ = v.ResponseWriter.Write([]byte(text.String())) // a visitor who has gone needs no file
}

// remove handles POST …/remove: a credential of the user's own goes, unless it is the last way in.
func (s *Service) remove(v *visit) {
	if !s.recent(v, v.base+"/?notice=again") {
		return
	}
	all, err := s.Credentials.CredentialsOf(v.Context(), v.user.ID)
	if err != nil {
		s.fail(v, err)
		return
	}
	i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.ID == v.PostForm.Get("credential") })
	if i < 0 || all[i].Kind == store.CredentialRecovery {
		s.redirect(v, v.base+"/")
		return
	}
	c := all[i]
	if !s.confirmed(v, "remove-"+string(c.Kind), nil, url.Values{"credential": {c.ID}}) {
		return
	}
	s.alone(v, func() error {
		w, err := s.ways(v.Context(), v.user.ID)
		if err != nil {
			return err
		}
		if s.onlyWay(w, c.Kind) {
			s.done(v, "last_way")
			return nil
		}
		gone := []*store.Credential{c}
		for _, other := range all { // codes that stand in for an app
			if c.Kind == store.CredentialTOTP && other.Kind == store.CredentialRecovery {
				gone = append(gone, other)
			}
		}
		for _, c := range gone {
			if err := s.Credentials.DeleteCredential(v.Context(), c.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		s.credentialChanged(v, string(c.Kind))
		if err := s.endLocal(context.WithoutCancel(v.Context()), v, c.Kind); err != nil {
			return err
		}
		s.done(v, "removed")
		return nil
	})
}

// endLocal ends the user's other sessions that no provider has vouched for, and what was granted to outlive such, once a passkey or
// the password is gone: whoever else had it may have signed in. Which of several passkeys a session began with is not known.
func (s *Service) endLocal(ctx context.Context, v *visit, kind store.CredentialKind) error {
	if kind != store.CredentialPassword && kind != store.CredentialPasskey {
		return nil
	}
	return s.Logouts.EndWhere(ctx, string(kind)+" removed by the user", v.user.ID, func(sessionID string, by store.LinkKey) bool {
		return sessionID != v.session.ID && by.Provider == ""
	})
}
