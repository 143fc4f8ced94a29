// Package account is the page on which users see and change their own account: how they sign in, what is known of them, where
// they are signed in.
//
// It owns the page's forms and who may send them: everything is about the user of the session and nobody else, what decides how
// somebody signs in needs a proof of a few minutes ago, and the last way in stays. It owns no trust: whether an address is
// verified, roles, groups and the like no form can say. Linking is package login's, as an upstream has a part in it.
package account

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/fence"
	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/logout"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

const maxForm = 32 << 10

// Service is the account page of one broker. Its fields are set once; it is safe for concurrent use.
type Service struct {
	Base        *url.URL
	Product     string
	Store       store.Store
	Gate        *gate.Gate
	Fences      *fence.Keeper
	Sessions    *session.Manager
	Login       *login.Service
	Logouts     *logout.Service
	Pages       *web.Pages
	Sealer      *web.Sealer
	Credentials store.Credentials // nil keeps none
	Passkeys    flow.Passkeys     // nil for none
	Local       bool              // users may sign in with a password
	Now         func() time.Time
	// TakesPasswords and TakesCodes say that a login asks for them.
	TakesPasswords, TakesCodes bool
	// ChangeUsername lets users change what they are called.
	ChangeUsername bool
	Log            *slog.Logger
}

// A visit is one request by the user whose account it is.
type visit struct {
	http.ResponseWriter
	*http.Request
	base    string // path of the page, without a slash at its end
	session *store.Session
	user    *store.User
}

// transient reports whether the user lives in the session only: there is nothing to change about them.
func (v *visit) transient() bool { return len(v.session.TransientUser) > 0 }

// words are the last segments of paths that are not the page itself, each with what it does.
func (s *Service) words() map[string]map[string]func(*visit) {
	w := map[string]map[string]func(*visit){
		"profile":  {"POST": s.saveProfile},
		"unlink":   {"POST": s.unlink},
		"sessions": {"POST": s.endSessions},
		"email":    {"GET": s.askEmail, "POST": s.mailProof},
		"verify":   {"GET": s.askProof, "POST": s.takeProof},
	}
	if s.ChangeUsername {
		w["username"] = map[string]func(*visit){"GET": s.askUsername, "POST": s.saveUsername}
	}
	if s.Credentials != nil {
		w["password"] = map[string]func(*visit){"GET": s.askPassword, "POST": s.setPassword}
		w["totp"] = map[string]func(*visit){"GET": s.showEnrolment, "POST": s.enrol}
		w["recovery"] = map[string]func(*visit){"POST": s.newCodes}
		w["recovery.txt"] = map[string]func(*visit){"POST": s.download}
		w["remove"] = map[string]func(*visit){"POST": s.remove}
		w["rename"] = map[string]func(*visit){"GET": s.askName, "POST": s.rename}
	}
	if s.Passkeys != nil {
		w["passkey"] = map[string]func(*visit){"GET": s.askPasskey, "POST": s.addPasskey}
	}
	return w
}

// ServeHTTP serves the page, wherever the host has mounted it on BaseURL's origin. POSTs of other sites the caller has refused.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{ResponseWriter: w, Request: r}
	where := requested(r)
	if where == "" {
		s.fail(v, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
		return
	}
	methods := map[string]func(*visit){"GET": func(v *visit) { s.show(v, nil) }}
	v.base = strings.TrimSuffix(where, "/")
	if i := strings.LastIndexByte(where, '/'); i >= 0 {
		if found, ok := s.words()[where[i+1:]]; ok {
			v.base, methods = where[:i], found
		}
	}
	act, ok := methods[r.Method]
	if !ok {
		s.fail(v, &login.Problem{Status: http.StatusMethodNotAllowed, Message: "method"})
		return
	}
	active, err := s.Sessions.Current(r)
	switch {
	case errors.Is(err, session.ErrNone):
		s.signIn(v, where)
		return
	case err != nil:
		s.fail(v, err)
		return
	}
	v.session, v.user = active.Session, active.User
	if v.transient() && v.base != strings.TrimSuffix(where, "/") && !strings.HasSuffix(where, "/sessions") {
		s.fail(v, login.ErrTransientUser)
		return
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			s.fail(v, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
			return
		}
	}
	act(v)
}

// requested is the path that the browser has asked for, whatever the host's router stripped of it; "" if it is none that a page of
// ours could lead to: "//host" is another site to a browser.
func requested(r *http.Request) string {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || (&url.URL{Path: u.Path}).EscapedPath() != u.Path {
		return ""
	}
	if clean := path.Clean(u.Path); u.Path != clean && u.Path != clean+"/" {
		return ""
	}
	return u.Path
}

// signIn sends a visitor to the login, and back to the page that they wanted.
func (s *Service) signIn(v *visit, where string) {
	if v.Method != http.MethodGet {
		where = v.base + "/"
	} else if v.URL.RawQuery != "" {
		where += "?" + v.URL.RawQuery
	}
	s.redirect(v, s.Base.String()+"/login?"+url.Values{"return_to": {where}}.Encode())
}

// recent reports whether the user has proved who they are just now. If not, they are sent to do so, and then to where.
func (s *Service) recent(v *visit, where string) bool {
	if s.Login.Recent(v.session) {
		return true
	}
	s.redirect(v, s.Login.AgainURL(v.user.ID, where))
	return false
}

func (s *Service) redirect(v *visit, to string) {
	v.Header().Set("Cache-Control", "no-store")
	http.Redirect(v.ResponseWriter, v.Request, to, http.StatusSeeOther)
}

// Header returns the response's header, not the request's.
func (v *visit) Header() http.Header { return v.ResponseWriter.Header() }

// done shows the page with a notice.
func (s *Service) done(v *visit, notice string) { s.redirect(v, v.base+"/?notice="+notice) }

func (s *Service) fail(v *visit, err error) {
	if v.user == nil {
		s.Login.Fail(v.ResponseWriter, v.Request, nil, err)
		return
	}
	s.Login.Fail(v.ResponseWriter, v.Request, &login.Target{Back: s.Base.Scheme + "://" + s.Base.Host + v.base + "/"}, err)
}

func (s *Service) render(v *visit, page web.Page) {
	page.Locales = v.user.Locale
	page.RequestID = web.RecordOf(v.Context()).ID
	s.Pages.Render(v.ResponseWriter, v.Request, page)
}

// confirmed reports whether the user has confirmed what they are about to do; if not, they are asked, or back on the page.
func (s *Service) confirmed(v *visit, question string, args map[string]string, hidden url.Values) bool {
	switch v.PostForm.Get("decision") {
	case "yes":
		return true
	case "no":
		s.redirect(v, v.base+"/")
		return false
	}
	where := requested(v.Request)
	s.render(v, web.Page{Name: "account-confirm", Data: web.ConfirmData{
		Question: question, Args: args, Action: where, Hidden: hidden, Field: "decision", Danger: question != "email",
	}})
	return false
}

func (s *Service) local() *factor.Local { return s.Login.Factors() }

// badNotices are those that stand for something that did not happen.
var badNotices = map[string]bool{
	"email_taken": true, "last_way": true, "busy": true, "link_cancelled": true, "link_error": true, "again": true,
	"passkeys_full": true,
}

// show handles GET of the page itself.
func (s *Service) show(v *visit, profile *web.AccountProfile) {
	ctx := v.Context()
	data := web.AccountData{
		Base: v.base, Account: v.user.Username, Rename: s.ChangeUsername, Email: v.user.Email, Verified: v.user.EmailVerified, Mail: s.Login.Mail != nil,
		Logout: s.Base.String() + "/logout", Notice: v.URL.Query().Get("notice"),
	}
	if status := v.URL.Query().Get("link_status"); status != "" {
		data.Notice = "link_" + status
	}
	data.Bad = badNotices[data.Notice]
	if v.transient() {
		data.Transient = true
		if err := s.showSessions(ctx, v, &data); err != nil {
			s.fail(v, err)
			return
		}
		s.render(v, web.Page{Name: "account", Data: data})
		return
	}
	if profile == nil {
		profile = &web.AccountProfile{FirstName: v.user.FirstName, LastName: v.user.LastName, Name: v.user.Name, Locale: v.user.Locale}
	}
	data.Profile = *profile
	s.locales(&data.Profile)
	ways, err := s.ways(ctx, v.user.ID)
	if err == nil {
		err = s.showLinks(v, &data, ways)
	}
	if err == nil {
		err = s.showCredentials(ctx, v, &data, ways)
	}
	if err == nil {
		err = s.showSessions(ctx, v, &data)
	}
	if err != nil {
		s.fail(v, err)
		return
	}
	s.render(v, web.Page{Name: "account", Data: data})
}

func (s *Service) showSessions(ctx context.Context, v *visit, data *web.AccountData) error {
	sessions, err := s.live(ctx, v.user.ID)
	for _, found := range sessions {
		row := web.AccountSession{
			ID: found.ID, Current: found.ID == v.session.ID, Since: found.CreatedAt.UTC(), Seen: found.LastSeen.UTC(), By: found.Upstream.Provider,
			Passkey: slices.Contains(found.AMR, "hwk") || slices.Contains(found.AMR, "swk"),
		}
		if p, err := s.Gate.Provider(row.By); err == nil {
			row.By = p.Title()
		}
		data.Sessions = append(data.Sessions, row)
	}
	slices.SortStableFunc(data.Sessions, func(a, b web.AccountSession) int {
		if a.Current != b.Current {
			return map[bool]int{true: -1, false: 1}[a.Current]
		}
		return b.Seen.Compare(a.Seen)
	})
	return err
}

// live returns the sessions of a user that are honoured now.
func (s *Service) live(ctx context.Context, userID string) ([]*store.Session, error) {
	found, err := s.Store.FindSessions(ctx, store.SessionQuery{UserID: userID})
	if err != nil {
		return nil, err
	}
	var live []*store.Session
	for _, one := range found {
		active, err := s.Sessions.Load(ctx, one.ID)
		switch {
		case err == nil:
			live = append(live, active.Session)
		case !errors.Is(err, session.ErrNone):
			return nil, err
		}
	}
	return live, nil
}

// endSessions handles POST …/sessions: one of the user's other sessions ends, or all of them.
func (s *Service) endSessions(v *visit) {
	sessions, err := s.Store.FindSessions(v.Context(), store.SessionQuery{UserID: v.user.ID})
	if err != nil {
		s.fail(v, err)
		return
	}
	var ids []string
	for _, found := range sessions {
		if found.ID != v.session.ID && (v.PostForm.Has("others") || found.ID == v.PostForm.Get("session")) {
			ids = append(ids, found.ID)
		}
	}
	if _, err := s.Logouts.End(v.Context(), "ended by the user", ids...); err != nil {
		s.fail(v, err)
		return
	}
	s.Login.Changed(v.Request, v.user, "sessions ended", "")
	s.done(v, "sessions")
}

// endOthers ends the user's other sessions, after something was changed that may have been known to others, and what was granted
// to outlive sessions.
func (s *Service) endOthers(v *visit, reason string) error {
	return s.Logouts.EndWhere(v.Context(), reason, v.user.ID, func(sessionID string, _ store.LinkKey) bool {
		return sessionID != v.session.ID
	})
}

// ways are those in which a user can sign in.
type ways struct {
	links    []*store.Link // through providers with which people can sign in now
	password bool
	passkeys int
}

func (w *ways) count() int {
	n := len(w.links) + w.passkeys
	if w.password {
		n++
	}
	return n
}

// ways returns how a user can sign in now.
func (s *Service) ways(ctx context.Context, userID string) (*ways, error) {
	links, err := s.Store.LinksOf(ctx, userID)
	if err != nil {
		return nil, err
	}
	w := &ways{}
	seen := map[[2]string]bool{}
	for _, l := range links {
		p, err := s.Gate.Linked(l.Provider, nil)
		if err != nil {
			continue
		}
		_, err = s.Fences.Pass(ctx, p)
		if gate.Refused(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if who := [2]string{l.Provider, l.Subject}; !seen[who] { // twins are one way
			seen[who] = true
			w.links = append(w.links, l)
		}
	}
	if s.Credentials == nil {
		return w, nil
	}
	all, err := s.Credentials.CredentialsOf(ctx, userID)
	for _, c := range all {
		switch {
		case c.Kind == store.CredentialPassword && s.Local:
			w.password = true
		case c.Kind == store.CredentialPasskey && s.Passkeys != nil:
			w.passkeys++
		}
	}
	return w, err
}

// onlyWay reports whether a credential of this kind is the last way in.
func (s *Service) onlyWay(w *ways, kind store.CredentialKind) bool {
	return w.count() == 1 && (kind == store.CredentialPassword && w.password || kind == store.CredentialPasskey && w.passkeys == 1)
}

const (
	lockPurpose  = "account change"
	lockLifetime = 10 * time.Second
)

// alone runs change for a user of whom nobody else removes a way in at this moment, on any node: of two that are left, two tabs
// could remove one each.
func (s *Service) alone(v *visit, change func() error) {
	ctx := context.WithoutCancel(v.Context())
	err := s.Store.Add(ctx, lockPurpose, v.user.ID, nil, s.Now().Add(lockLifetime))
	if errors.Is(err, store.ErrExists) {
		s.done(v, "busy")
		return
	}
	if err == nil {
		err = change()
		if _, freed := s.Store.Take(ctx, lockPurpose, v.user.ID); freed != nil && !errors.Is(freed, store.ErrNotFound) {
			web.RecordOf(ctx).Err = freed
		}
	}
	if err != nil {
		s.fail(v, err)
	}
}

// tell mails the user that something was changed.
func (s *Service) tell(v *visit, mail string, args map[string]string) {
	all := map[string]string{"account": v.user.Username}
	for name, value := range args {
		all[name] = value
	}
	s.Login.Tell(v.Request, v.user, flow.Mail{Name: mail, Args: all})
}

func nameOf(u *store.User) string { return cmp.Or(u.Email, u.Username) }
