package account

import (
	"crypto/rand"
	"encoding/json"
	"errors"
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

const (
	passkeyPurpose  = "new passkey"
	passkeyLifetime = 10 * time.Minute
	maxPasskeys     = 20
	maxLabel        = 64 // characters
)

// A newPasskey is one that is being made, sealed for the session that has begun it.
type newPasskey struct {
	ID      string    `json:"i"`
	State   []byte    `json:"s"`
	Expires time.Time `json:"e"`
}

// askPasskey handles GET …/passkey.
func (s *Service) askPasskey(v *visit) {
	if s.mayAddPasskey(v) {
		s.passkeyPage(v, "", nil)
	}
}

// mayAddPasskey reports whether the user may make one more passkey now; if not, they are sent to do something else first.
func (s *Service) mayAddPasskey(v *visit) bool {
	if !s.recent(v, v.base+"/passkey") {
		return false
	}
	w, err := s.ways(v.Context(), v.user.ID)
	switch {
	case err != nil:
		s.fail(v, err)
	case w.passkeys >= maxPasskeys:
		s.done(v, "passkeys_full")
	default:
		return true
	}
	return false
}

// passkeyPage begins to make a passkey, and asks the browser for it.
func (s *Service) passkeyPage(v *visit, label string, errs map[string]string) {
	var plain []byte
	options, state, err := s.Passkeys.BeginRegistration(v.Context(), s.Credentials, v.user)
	if err == nil {
		plain, err = json.Marshal(newPasskey{ID: rand.Text(), State: state, Expires: s.Now().Add(passkeyLifetime).UTC()})
	}
	if err != nil {
		s.fail(v, err)
		return
	}
	s.render(v, web.Page{Name: "account-passkey", Data: web.AccountFormData{
		Base: v.base, Action: v.base + "/passkey", Options: string(options), Value: label, Errors: errs,
		Hidden: url.Values{"begun": {s.Sealer.Seal(passkeyPurpose, v.session.ID, plain)}},
	}})
}

// addPasskey handles POST …/passkey: what the browser has made. What was begun is used up by it.
func (s *Service) addPasskey(v *visit) {
	if !s.mayAddPasskey(v) {
		return
	}
	ctx, label := v.Context(), strings.TrimSpace(v.PostForm.Get("label"))
	if !isLabel(label) {
		s.passkeyPage(v, "", map[string]string{"label": "invalid"})
		return
	}
	var begun newPasskey
	plain, err := s.Sealer.Open(passkeyPurpose, v.session.ID, v.PostForm.Get("begun"))
	if err != nil || json.Unmarshal(plain, &begun) != nil || !s.Now().Before(begun.Expires) {
		s.passkeyPage(v, label, map[string]string{"credential": "refused"})
		return
	}
	err = s.Store.Add(ctx, passkeyPurpose, begun.ID, nil, begun.Expires)
	if err == nil {
		err = s.Passkeys.FinishRegistration(ctx, s.Credentials, v.user, label, begun.State, []byte(v.PostForm.Get("credential")), s.Now())
	}
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, factor.ErrRefused):
		web.RecordOf(ctx).Err = err
		s.passkeyPage(v, label, map[string]string{"credential": "refused"})
	case err != nil:
		s.fail(v, err)
	default:
		s.credentialChanged(v, string(store.CredentialPasskey))
		s.done(v, "passkey")
	}
}

// isLabel reports whether a text may be the name of a passkey.
func isLabel(text string) bool { return plain(text) && len([]rune(text)) <= maxLabel }

// askName handles GET …/rename: the name of a passkey.
func (s *Service) askName(v *visit) {
	if c, ok := s.passkey(v, v.URL.Query().Get("credential")); ok {
		s.namePage(v, c.ID, c.Label, nil)
	}
}

func (s *Service) namePage(v *visit, id, label string, errs map[string]string) {
	s.render(v, web.Page{Name: "account-passkey", Data: web.AccountFormData{
		Base: v.base, Action: v.base + "/rename", Hidden: url.Values{"credential": {id}}, Value: label, Has: true, Errors: errs,
	}})
}

// rename handles POST …/rename. A name proves nothing, so that it needs no proof.
func (s *Service) rename(v *visit) {
	c, ok := s.passkey(v, v.PostForm.Get("credential"))
	if !ok {
		return
	}
	label := strings.TrimSpace(v.PostForm.Get("label"))
	if !isLabel(label) {
		s.namePage(v, c.ID, c.Label, map[string]string{"label": "invalid"})
		return
	}
	c.Label = label
	switch err := s.Credentials.UpdateCredential(v.Context(), c); {
	case errors.Is(err, store.ErrConflict):
		s.done(v, "busy")
	case err != nil:
		s.fail(v, err)
	default:
		s.Login.Changed(v.Request, v.user, "credential", "passkey renamed")
		s.done(v, "renamed")
	}
}

// passkey returns the user's passkey with this id, or says itself that there is none.
func (s *Service) passkey(v *visit, id string) (*store.Credential, bool) {
	all, err := s.Credentials.CredentialsOf(v.Context(), v.user.ID)
	i := slices.IndexFunc(all, func(c *store.Credential) bool { return c.ID == id && c.Kind == store.CredentialPasskey })
	switch {
	case err != nil:
		s.fail(v, err)
	case i < 0:
		s.fail(v, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
	default:
		return all[i], true
	}
	return nil, false
}
