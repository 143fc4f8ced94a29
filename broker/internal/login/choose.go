package login

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// Parameters that the broker itself puts into a Start. Applications may send the hints, too.
const (
	paramHint         = "idp_hint"
	paramKeycloakHint = "kc_idp_hint" // so that Keycloak's clients work unchanged
	paramNotice       = "idp_notice"
	paramNoticeBy     = "idp_notice_by" // alias of the provider that the notice is about
	paramByEmail      = "idp_by_email"
	paramLoginHint    = "login_hint"
	fieldEmail        = "email" // of the login page's form
)

// notices are the messages that a Start may name, so that no link can put other words on the page.
var notices = map[string]bool{"denied": true, "login_required": true}

// ReadForm turns what the login page's e-mail form sends into what an application would have asked for.
func ReadForm(params url.Values) {
	if params.Has(fieldEmail) {
		params.Set(paramLoginHint, params.Get(fieldEmail))
		params.Set(paramByEmail, "1")
		params.Del(fieldEmail)
	}
}

// Carry puts into the parameters of a request those that our own pages have added to its Start since.
func Carry(params, start url.Values) {
	if start.Has(paramByEmail) { // what was typed in counts for more than the application's hint
		params.Set(paramLoginHint, start.Get(paramLoginHint))
		params.Del(paramHint)
		params.Del(paramKeycloakHint)
	}
	for _, name := range []string{paramHint, paramKeycloakHint, paramNotice, paramByEmail} {
		if start.Has(name) {
			params.Set(name, start.Get(name))
		}
	}
}

// ReadHints fills in what the parameters say about the choice of the provider.
func (t *Target) ReadHints(params url.Values) {
	for _, name := range []string{paramHint, paramKeycloakHint} {
		if params.Has(name) {
			t.HasHint, t.Hint = true, params.Get(name)
			break
		}
	}
	t.ByEmail = params.Has(paramByEmail)
	if n := params.Get(paramNotice); notices[n] {
		t.Notice, t.NoticeBy = n, params.Get(paramNoticeBy)
	}
}

// Choose sends the browser to the provider that the target names, or that follows from it, or shows the login page.
func (s *Service) Choose(w http.ResponseWriter, r *http.Request, t *Target) {
	p := s.chosen(t)
	switch {
	case t.Passive && p == nil:
		s.Send(w, r, t, t.Refuse("login_required"))
	case p == nil:
		s.loginPage(w, r, t, nil)
	default:
		s.begin(w, r, t, p, "")
	}
}

// chosen returns the provider to go to without asking, or nil. A hint that cannot be followed shows the page.
func (s *Service) chosen(t *Target) *gate.Provider {
	if t.Choose {
		return nil
	}
	alias := s.Default
	if t.HasHint {
		alias = t.Hint
	} else if p := s.Gate.Domain(t.Wishes.LoginHint, t.Providers); p != nil {
		return p
	}
	if t.ByEmail {
		return nil // no provider has this domain: say so instead of guessing
	}
	p, err := s.Gate.Login(alias, t.Providers)
	if err != nil {
		return nil
	}
	return p
}

// StartProvider handles GET /broker/{alias}/login: a login with one provider, which may be hidden but not disabled.
func (s *Service) StartProvider(w http.ResponseWriter, r *http.Request) {
	start := "/login"
	switch query := r.URL.Query(); {
	case query.Has("client_id"):
		start = "/authorize"
	case query.Has("user_code"):
		start = "/device"
	case query.Has("provider"):
		start = "/link"
	}
	t, err := s.Resolve(r.Context(), start+"?"+r.URL.RawQuery)
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	p, err := s.Gate.Login(r.PathValue("alias"), t.Providers)
	if err != nil {
		s.Fail(w, r, t, err)
		return
	}
	s.begin(w, r, t, p, "")
}

func (s *Service) loginPage(w http.ResponseWriter, r *http.Request, t *Target, edit func(*web.LoginData)) {
	path, params, err := unhinted(t.Start)
	if err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	data := web.LoginData{Application: t.Application, Notice: t.Notice}
	if p, err := s.Gate.Login(t.NoticeBy, t.Providers); err == nil && !p.HideOnLogin {
		data.NoticeArgs = map[string]string{"provider": p.Title()}
	}
	if t.Back != "" {
		data.Back = &web.Link{URL: t.Back}
	}
	for _, p := range s.Gate.Shown(t.Providers) {
		data.Providers = append(data.Providers, web.Button{
			Name: p.Title(),
			URL:  s.startURL(p, params),
			Icon: s.icon(p), ThemeData: p.ThemeData,
		})
	}
	if s.localAllowed(t, false) == nil {
		data.Local = s.localForm(t)
	}
	if s.localAllowed(t, true) == nil {
		if data.Passkey, err = s.passkeyForm(w, r, t); err != nil {
			s.Fail(w, r, t, err)
			return
		}
	}
	if s.Gate.HasDomains(t.Providers) {
		data.Email = s.emailForm(t, path, params)
	}
	if edit != nil {
		edit(&data)
	}
	s.Render(w, r, t, web.Page{Name: "login", Status: http.StatusOK, Data: data})
}

// unhinted takes a Start apart, without what it says about the choice of the provider.
func unhinted(start string) (path string, params url.Values, err error) {
	path, query, _ := strings.Cut(start, "?")
	params, err = url.ParseQuery(query)
	for _, name := range []string{paramHint, paramKeycloakHint, paramNotice, paramNoticeBy, paramByEmail} {
		params.Del(name)
	}
	return path, params, err
}

// startURL begins the login that the parameters are of with this provider.
func (s *Service) startURL(p *gate.Provider, params url.Values) string {
	return s.url("/broker/" + p.Alias + "/login?" + params.Encode())
}

// otherWays reports whether somebody could sign in to t in another way than with p.
func (s *Service) otherWays(t *Target, p *gate.Provider) bool {
	return s.localAllowed(t, false) == nil || s.localAllowed(t, true) == nil || s.Gate.HasDomains(t.Providers) ||
		slices.ContainsFunc(s.Gate.Shown(t.Providers), func(o *gate.Provider) bool { return o.Alias != p.Alias })
}

func (s *Service) emailForm(t *Target, path string, params url.Values) *web.EmailForm {
	form := &web.EmailForm{Action: s.url(path), Value: t.Wishes.LoginHint, Hidden: params}
	params.Del(paramLoginHint)
	if t.ByEmail {
		form.Error = "unknown"
	}
	return form
}

func (s *Service) icon(p *gate.Provider) string {
	if len(p.Icon) == 0 {
		return ""
	}
	return s.Base.Path + "/icon/" + p.Alias
}
