package account

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// locales fills in the languages that the user may choose from.
func (s *Service) locales(p *web.AccountProfile) {
	tags := append([]string{""}, s.Pages.Languages()...)
	if !slices.Contains(tags, p.Locale) {
		tags = append(tags, p.Locale)
	}
	for _, tag := range tags {
		row := web.AccountLocale{Tag: tag, Chosen: tag == p.Locale}
		if parsed, err := language.Parse(tag); err == nil && tag != "" {
			row.Name = display.Self.Name(parsed)
		}
		if row.Name == "" {
			row.Name = tag
		}
		p.Locales = append(p.Locales, row)
	}
}

// saveProfile handles POST …/profile: the names and the language, and nothing else of the user.
func (s *Service) saveProfile(v *visit) {
	field := func(name string) string { return strings.TrimSpace(v.PostForm.Get(name)) }
	p := web.AccountProfile{FirstName: field("first_name"), LastName: field("last_name"), Name: field("name"), Locale: field("locale")}
	p.Errors = map[string]string{}
	for name, value := range map[string]string{"first_name": p.FirstName, "last_name": p.LastName, "name": p.Name} {
		if !plain(value) {
			p.Errors[name] = "invalid"
		}
	}
	if p.Locale != "" && p.Locale != v.user.Locale && !slices.Contains(s.Pages.Languages(), p.Locale) {
		p.Locale = v.user.Locale
	}
	if len(p.Errors) > 0 {
		s.show(v, &p)
		return
	}
	err := s.update(v, func(u *store.User) {
		u.FirstName, u.LastName, u.Name, u.Locale = p.FirstName, p.LastName, p.Name, p.Locale
	})
	if err != nil {
		s.fail(v, err)
		return
	}
	s.Login.Changed(v.Request, v.user, "profile", "")
	s.tell(v, "profile", nil)
	s.done(v, "profile")
}

// update edits the user as they are now, and again if somebody else was quicker.
func (s *Service) update(v *visit, edit func(u *store.User)) error {
	for range 3 {
		u, err := s.Store.User(v.Context(), v.user.ID)
		if err != nil {
			return err
		}
		if err := s.Gate.User(u); err != nil {
			return err
		}
		edit(u)
		u.UpdatedAt = s.Now().UTC()
		if err := s.Store.UpdateUser(v.Context(), u); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return store.ErrConflict
}

const (
	namesPurpose = "new username"
	maxNames     = 10 // tries an hour: each tells whether a name is taken
)

// askUsername handles GET …/username.
func (s *Service) askUsername(v *visit) {
	if s.recent(v, v.base+"/username") {
		s.usernamePage(v, v.user.Username, nil)
	}
}

func (s *Service) usernamePage(v *visit, value string, errs map[string]string) {
	s.render(v, web.Page{Name: "account-username", Data: web.AccountFormData{Base: v.base, Action: v.base + "/username", Value: value, Errors: errs}})
}

// saveUsername handles POST …/username.
func (s *Service) saveUsername(v *visit) {
	if !s.recent(v, v.base+"/username") {
		return
	}
	given := v.PostForm.Get("username")
	name := firstlogin.Username(given)
	switch {
	case name == v.user.Username:
		s.redirect(v, v.base+"/")
		return
	// An address for a name is only for whose address it is.
	case name == "" || strings.Contains(name, "@") && name != v.user.Email:
		s.usernamePage(v, given[:min(len(given), 255)], map[string]string{"username": "invalid"})
		return
	}
	ok, err := s.counted(v, namesPurpose, maxNames)
	if err != nil {
		s.fail(v, err)
		return
	}
	if !ok {
		s.usernamePage(v, name, map[string]string{"username": "too_many"})
		return
	}
	taken, err := s.taken(v, name)
	if err == nil && !taken {
		err = s.update(v, func(u *store.User) { u.Username = name })
	}
	switch {
	case taken || errors.Is(err, store.ErrExists):
		s.usernamePage(v, name, map[string]string{"username": "taken"})
	case err != nil:
		s.fail(v, err)
	default:
		s.Login.Changed(v.Request, v.user, "username", "")
		s.tell(v, "profile", nil) // which names the former one
		s.done(v, "username")
	}
}

const (
	emailPurpose  = "new e-mail"
	mailsPurpose  = "new e-mail mails"
	emailLifetime = 30 * time.Minute
	maxMails      = 5 // an hour
	fieldProof    = "proof"
)

// An emailProof is a new address of a user, to whose owner a link was mailed. It is good in the session that has asked for it
// only: somebody else can put a session of their own into the browser of an address's owner, to have them confirm it.
type emailProof struct {
	User    string `json:"u"`
	Session string `json:"s"`
	Old     string `json:"o"`
	New     string `json:"n"`
}

// askEmail handles GET …/email.
func (s *Service) askEmail(v *visit) {
	if s.Login.Mail == nil {
		s.fail(v, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	if s.recent(v, v.base+"/email") {
		s.emailPage(v, "", nil)
	}
}

func (s *Service) emailPage(v *visit, value string, errs map[string]string) {
	s.render(v, web.Page{Name: "account-email", Data: web.AccountFormData{Base: v.base, Action: v.base + "/email", Value: value, Errors: errs}})
}

// mailProof handles POST …/email: the new address gets a link. Whether somebody else has it is not said here.
func (s *Service) mailProof(v *visit) {
	if s.Login.Mail == nil {
		s.fail(v, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	if !s.recent(v, v.base+"/email") {
		return
	}
	given := v.PostForm.Get("email")
	email := firstlogin.Email(given)
	if email == "" {
		s.emailPage(v, given[:min(len(given), 320)], map[string]string{"email": "invalid"})
		return
	}
	ok, err := s.counted(v, mailsPurpose, maxMails)
	if err != nil {
		s.fail(v, err)
		return
	}
	if !ok {
		s.emailPage(v, email, map[string]string{"email": "too_many"})
		return
	}
	plain, err := json.Marshal(emailProof{User: v.user.ID, Session: v.session.ID, Old: v.user.Email, New: email})
	if err != nil {
		s.fail(v, err)
		return
	}
	handle, hash := token.NewHandle(emailPurpose)
	if err := s.Store.Put(v.Context(), emailPurpose, hash, plain, s.Now().Add(emailLifetime)); err != nil {
		s.fail(v, err)
		return
	}
	s.Login.Tell(v.Request, v.user, flow.Mail{
		Name: "verify-email", To: email, Args: map[string]string{"email": email, "minutes": strconv.Itoa(int(emailLifetime / time.Minute))},
		Link: s.Base.Scheme + "://" + s.Base.Host + v.base + "/verify?" + url.Values{fieldProof: {handle}}.Encode(),
	})
	s.done(v, "email_sent")
}

// counted counts something that the user has asked for, if there was less than most of it in the last hour.
func (s *Service) counted(v *visit, purpose string, most int) (bool, error) {
	for i := range most {
		err := s.Store.Add(v.Context(), purpose, v.user.ID+" "+strconv.Itoa(i), nil, s.Now().Add(time.Hour))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrExists) {
			return false, err
		}
	}
	return false, nil
}

// askProof handles GET …/verify: the link that was mailed. It changes nothing, as mail servers open links, too.
func (s *Service) askProof(v *visit) {
	handle := v.URL.Query().Get(fieldProof)
	p, err := s.proof(v, handle, false)
	if err != nil {
		s.fail(v, err)
		return
	}
	s.render(v, web.Page{Name: "account-confirm", Data: web.ConfirmData{
		Question: "email", Args: map[string]string{"email": p.New, "account": v.user.Username}, Action: v.base + "/verify",
		Hidden: url.Values{fieldProof: {handle}}, Field: "decision",
	}})
}

// takeProof handles POST …/verify: the address is the user's, and verified, since whoever has the link and the session owns both.
func (s *Service) takeProof(v *visit) {
	if v.PostForm.Get("decision") != "yes" {
		s.redirect(v, v.base+"/")
		return
	}
	p, err := s.proof(v, v.PostForm.Get(fieldProof), true)
	if err != nil {
		s.fail(v, err)
		return
	}
	taken, err := s.taken(v, p.New)
	if err != nil {
		s.fail(v, err)
		return
	}
	if taken {
		s.done(v, "email_taken")
		return
	}
	changed := false
	err = s.update(v, func(u *store.User) {
		if changed = u.Email == p.Old; changed {
			u.Email, u.EmailVerified, u.SharedEmail = p.New, true, false
		}
	})
	switch {
	case errors.Is(err, store.ErrExists):
		s.done(v, "email_taken")
	case err != nil:
		s.fail(v, err)
	case !changed:
		s.fail(v, &login.Problem{Status: http.StatusGone, Message: "reset_expired"})
	default:
		s.Login.Changed(v.Request, v.user, "e-mail", "")
		s.tell(v, "profile", nil) // to the former address
		s.done(v, "email")
	}
}

// taken reports whether another user has the address, or is called by it.
func (s *Service) taken(v *visit, email string) (bool, error) {
	for _, q := range []store.UserQuery{{Email: email}, {Username: email}} {
		found, err := s.Store.FindUsers(v.Context(), q)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(found, func(u *store.User) bool { return u.ID != v.user.ID }) {
			return true, nil
		}
	}
	return false, nil
}

// proof returns what a mailed link proves for the user who has opened it.
func (s *Service) proof(v *visit, handle string, take bool) (*emailProof, error) {
	read := s.Store.Get
	if take {
		read = s.Store.Take
	}
	expired := &login.Problem{Status: http.StatusGone, Message: "reset_expired"}
	hash := token.HashHandle(emailPurpose, handle)
	plain, err := s.Store.Get(v.Context(), emailPurpose, hash)
	if err == nil {
		var p emailProof
		if json.Unmarshal(plain, &p) != nil || p.User != v.user.ID || p.Old != v.user.Email {
			return nil, expired // and another user who opens it does not use it up
		}
		if p.Session != v.session.ID {
			return nil, &login.Problem{Status: http.StatusForbidden, Message: "other_browser"}
		}
		if _, err = read(v.Context(), emailPurpose, hash); err == nil {
			return &p, nil
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, expired
	}
	return nil, err
}
