package login

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	resetPurpose  = "password reset"
	resetsPurpose = "password reset mails"
	resetLifetime = 20 * time.Minute
	maxResets     = 3  // mails to one account an hour
	maxResetsFrom = 10 // from one source an hour
	maxResetsOnce = 16 // that are under way at a time in this process
	fieldReset    = "link"
	fieldJourney  = "flow" // the paused login that waits for a password
)

// A reset is the right to set one user's password, once. It is worth nothing once the password or the address is another one. It
// signs nobody in: who has set the password signs in with it, and passes whatever else that takes (CVE-2026-18963).
type reset struct {
	User       string    `json:"u"`
	Email      string    `json:"e"`
	Credential string    `json:"c"`
	Version    int64     `json:"v"`
	Journey    string    `json:"j,omitempty"` // named in the page that leads on, where this browser has it
	Expires    time.Time `json:"x"`
}

func (s *Service) mayReset() bool { return s.Mail != nil && s.Credentials != nil }

// ShowReset handles GET /reset: who has forgotten their password says who they are, or has opened the link that was mailed, which
// changes nothing yet.
func (s *Service) ShowReset(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case !s.mayReset():
		s.Fail(w, r, nil, &Problem{Status: http.StatusNotFound, Message: "not_found"})
	case query.Has(fieldReset):
		if _, err := s.readReset(r.Context(), query.Get(fieldReset)); err != nil {
			s.resetFailed(w, r, err)
			return
		}
		s.setPage(w, r, query.Get(fieldReset), nil)
	default:
		s.askPage(w, r, query.Get(fieldJourney), nil)
	}
}

func (s *Service) askPage(w http.ResponseWriter, r *http.Request, journey string, errs map[string]string) {
	data := web.ResetData{Stage: "ask", Action: s.url("/reset"), Hidden: url.Values{}, Errors: errs, Continue: s.resetBack(r, journey)}
	if journey != "" {
		data.Hidden.Set(fieldJourney, journey)
	}
	s.Render(w, r, nil, web.Page{Name: "reset", Data: data})
}

func (s *Service) setPage(w http.ResponseWriter, r *http.Request, handle string, errs map[string]string) {
	s.Render(w, r, nil, web.Page{Name: "reset", Data: web.ResetData{
		Stage: "set", Action: s.url("/reset/set"), Hidden: url.Values{fieldReset: {handle}}, Errors: errs,
	}})
}

// resetBack is where signing in goes on: the journey if it is this browser's, otherwise at the beginning.
func (s *Service) resetBack(r *http.Request, journey string) string {
	if isState(journey) && s.Cookies.Get(r, flowCookie+journey) != "" {
		return s.url("/flow/" + journey)
	}
	return s.url("/login")
}

// AskReset handles POST /reset. The answer comes before anybody looks whether there is such an account, so that it is the same, and
// as quick.
func (s *Service) AskReset(w http.ResponseWriter, r *http.Request) {
	if !s.mayReset() {
		s.Fail(w, r, nil, &Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	if !s.readForm(w, r) {
		return
	}
	name, journey := r.PostForm.Get(fieldUsername), r.PostForm.Get(fieldJourney)
	if name == "" {
		s.askPage(w, r, journey, map[string]string{fieldUsername: "required"})
		return
	}
	if !isState(journey) {
		journey = ""
	}
	language, source := s.Pages.Language(r, ""), s.Source(r)
	if s.resetting.Add(1) <= maxResetsOnce {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), mailPatience)
		go func() {
			defer s.resetting.Add(-1)
			defer cancel()
			if err := s.mailReset(ctx, name, journey, language, source); err != nil {
				level := slog.LevelWarn
				if _, ok := errors.AsType[noReset](err); ok {
					level = slog.LevelInfo
				}
				s.Log.Log(ctx, level, "no mail to reset a password", "error", err)
			}
		}()
	} else {
		s.resetting.Add(-1)
		s.Log.WarnContext(r.Context(), "no mail to reset a password: too many at a time")
	}
	s.Render(w, r, nil, web.Page{Name: "reset", Data: web.ResetData{Stage: "sent", Continue: s.resetBack(r, journey)}})
}

// A noReset is why nobody gets a mail although nothing has failed. The log alone says so.
type noReset string

func (n noReset) Error() string { return string(n) }

// mailReset sends a link to the verified address of the account with this name that has a password, if there is one.
func (s *Service) mailReset(ctx context.Context, name, journey, language, source string) error {
	if source != "" {
		if err := s.count(ctx, "source "+source, maxResetsFrom); err != nil {
			return err
		}
	}
	user, _, err := factor.FindUser(ctx, s.Store, name)
	switch {
	case err != nil:
		return err
	case user == nil || s.Gate.User(user) != nil || user.Email == "" || !user.EmailVerified:
		return noReset("no account that can be mailed has this name")
	}
	c, err := s.passwordOf(ctx, user.ID)
	switch {
	case err != nil:
		return err
	case c == nil:
		return noReset("the account has no password")
	}
	if err := s.count(ctx, "user "+user.ID, maxResets); err != nil {
		return err
	}
	plain, err := json.Marshal(reset{
		User: user.ID, Email: user.Email, Credential: c.ID, Version: c.CreatedAt.UnixMicro(), Journey: journey, Expires: s.Now().Add(resetLifetime),
	})
	if err != nil {
		return err
	}
	handle, hash := token.NewHandle(resetPurpose)
	if err := s.Store.Put(ctx, resetPurpose, hash, plain, s.Now().Add(resetLifetime)); err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "password reset asked for", "user", user.ID)
	return s.Mail(ctx, language, flow.Mail{
		Name: "reset-password", To: user.Email, Args: map[string]string{"minutes": strconv.Itoa(int(resetLifetime / time.Minute))},
		Link: s.url("/reset?" + url.Values{fieldReset: {handle}}.Encode()),
	})
}

// count counts one mail for key, unless there were as many as may be in the last hour.
func (s *Service) count(ctx context.Context, key string, most int) error {
	for i := range most {
		err := s.Store.Add(ctx, resetsPurpose, key+" "+strconv.Itoa(i), nil, s.Now().Add(time.Hour))
		if !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return noReset("enough mails in an hour")
}

func (s *Service) passwordOf(ctx context.Context, userID string) (*store.Credential, error) {
	all, err := s.Credentials.CredentialsOf(ctx, userID)
	for _, c := range all {
		if c.Kind == store.CredentialPassword {
			return c, err
		}
	}
	return nil, err
}

// readReset returns what a mailed link allows, while it does.
func (s *Service) readReset(ctx context.Context, handle string) (*reset, error) {
	hash := token.HashHandle(resetPurpose, handle)
	plain, err := s.Store.Get(ctx, resetPurpose, hash)
	if err != nil {
		return nil, err
	}
	var allowed reset
	if err := json.Unmarshal(plain, &allowed); err != nil || !s.Now().Before(allowed.Expires) {
		return nil, store.ErrNotFound
	}
	user, err := s.Store.User(ctx, allowed.User)
	if err != nil {
		return nil, err
	}
	c, err := s.passwordOf(ctx, user.ID)
	if err != nil {
		return nil, err
	}
	if s.Gate.User(user) != nil || user.Email != allowed.Email || !user.EmailVerified || c == nil || c.ID != allowed.Credential ||
		c.CreatedAt.UnixMicro() != allowed.Version {
		return nil, store.ErrNotFound
	}
	return &allowed, nil
}

func (s *Service) resetFailed(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, store.ErrNotFound) {
		err = &Problem{Status: http.StatusGone, Message: "reset_expired", Err: err}
	}
	s.Fail(w, r, &Target{Start: "/reset"}, err)
}

// SetReset handles POST /reset/set: the new password. The link is used up by one that may be chosen; every session of the user ends.
func (s *Service) SetReset(w http.ResponseWriter, r *http.Request) {
	if !s.mayReset() {
		s.Fail(w, r, nil, &Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	if !s.readForm(w, r) {
		return
	}
	ctx, handle := r.Context(), r.PostForm.Get(fieldReset)
	allowed, err := s.readReset(ctx, handle)
	if err != nil {
		s.resetFailed(w, r, err)
		return
	}
	user, err := s.Store.User(ctx, allowed.User)
	if err != nil {
		s.resetFailed(w, r, err)
		return
	}
	hash, wrong, err := s.NewPassword(ctx, user, r.PostForm)
	switch {
	case err != nil:
		s.Fail(w, r, nil, err)
		return
	case wrong != nil:
		s.setPage(w, r, handle, wrong)
		return
	}
	if _, err := s.Store.Take(ctx, resetPurpose, token.HashHandle(resetPurpose, handle)); err != nil {
		s.resetFailed(w, r, err)
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err = s.Factors().SetPassword(ctx, user.ID, hash, false); err == nil {
		err = s.EndEverything(ctx, "password reset", user.ID)
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	s.Changed(r, user, "credential", "password reset")
	s.Tell(r, user, flow.Mail{Name: "credential", Args: map[string]string{"account": user.Username}})
	s.Render(w, r, nil, web.Page{Name: "reset", Data: web.ResetData{Stage: "done", Continue: s.resetBack(r, allowed.Journey)}})
}

// readForm parses a POST of a page of ours, or says why not.
func (s *Service) readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
	if err := r.ParseForm(); err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return false
	}
	return true
}
