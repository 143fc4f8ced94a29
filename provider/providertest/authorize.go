package providertest

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An authRequest is an authorization request that can be answered at its redirect URI.
type authRequest struct {
	params      url.Values
	client      Client
	redirectURI string
	formPost    bool
	scope       []string
	challenge   string
	prompt      []string
	maxAge      time.Duration // negative: any
}

// A session is what the provider remembers of a browser.
type session struct {
	id       string // sid
	subject  string
	authTime time.Time
}

// An oauthError is answered at the redirect URI.
type oauthError struct{ code, description string }

func (e *oauthError) Error() string { return e.code + ": " + e.description }

// authorize is the authorization endpoint, OpenID Connect Core §3.1.2, and its login page, whose form comes back to the
// same URL: the request is in the query, the choice in the body.
func (o *OIDC) authorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	params, choice := r.URL.Query(), url.Values{}
	if r.Method == http.MethodPost {
		choice = r.PostForm
		if r.URL.RawQuery == "" {
			params, choice = r.PostForm, url.Values{}
		}
	}
	s := o.current()
	rec, finish := o.record(Authorize, r, params)
	defer finish()
	if err := http.NewCrossOriginProtection().Check(r); err != nil && len(choice) > 0 {
		o.failPage(w, rec, http.StatusForbidden, "This choice was made on another site's page.")
		return
	}
	req, err := o.parseRequest(params)
	if err == nil {
		err = scriptedError(s)
	}
	refused, answerable := errors.AsType[*oauthError](err)
	switch {
	case err == nil:
		o.decide(w, r, s, rec, req, choice)
	case answerable:
		o.refuse(w, r, s, rec, req, refused)
	default:
		o.failPage(w, rec, http.StatusBadRequest, err.Error())
	}
}

// parseRequest checks a request. An *oauthError goes to the redirect URI, which has been checked then; any other error
// must not leave the provider, RFC 6749 §4.1.2.1.
func (o *OIDC) parseRequest(params url.Values) (*authRequest, error) {
	for name, values := range params {
		if len(values) > 1 {
			return nil, fmt.Errorf("parameter %q is there %d times", name, len(values))
		}
	}
	c, ok := o.client(params.Get("client_id"))
	if !ok {
		return nil, errors.New("unknown client_id")
	}
	req := &authRequest{params: params, client: c, redirectURI: params.Get("redirect_uri"), maxAge: -1,
		scope: strings.Fields(params.Get("scope")), prompt: strings.Fields(params.Get("prompt")), challenge: params.Get("code_challenge")}
	if !slices.Contains(c.RedirectURIs, req.redirectURI) {
		return nil, errors.New("redirect_uri is not registered for this client")
	}
	req.formPost = params.Get("response_mode") == "form_post"
	if err := req.check(); err != nil {
		return req, err
	}
	return req, nil
}

// check returns an *oauthError, or nil.
func (req *authRequest) check() error {
	p := req.params
	invalid := func(description string) error { return &oauthError{"invalid_request", description} }
	switch {
	case p.Has("request"):
		return &oauthError{"request_not_supported", ""}
	case p.Has("request_uri"):
		return &oauthError{"request_uri_not_supported", ""}
	case p.Get("response_type") != "code":
		return &oauthError{"unsupported_response_type", "response_type is not code"}
	case !slices.Contains([]string{"", "query", "form_post"}, p.Get("response_mode")):
		return invalid("response_mode is neither query nor form_post")
	case !slices.Contains(req.scope, "openid"):
		return &oauthError{"invalid_scope", "scope has no openid"}
	case slices.Contains(req.prompt, "none") && len(req.prompt) > 1:
		return invalid("prompt has none and others")
	}
	if p.Has("code_challenge") || p.Has("code_challenge_method") || req.client.Auth == "none" {
		// RFC 7636 §4.2: a challenge is a SHA-256 in base64url; plain is refused, RFC 9700 §2.1.1.
		sum, err := base64.RawURLEncoding.Strict().DecodeString(req.challenge)
		if err != nil || len(sum) != sha256.Size || p.Get("code_challenge_method") != "S256" {
			return invalid("code_challenge is missing or not S256")
		}
	}
	if p.Has("max_age") {
		seconds, err := strconv.ParseInt(p.Get("max_age"), 10, 32)
		if err != nil || seconds < 0 {
			return invalid("max_age is not a number of seconds")
		}
		req.maxAge = time.Duration(seconds) * time.Second
	}
	return nil
}

// decide logs a user in, or asks who it is. Whoever changes the order here changes what a stranger can do.
func (o *OIDC) decide(w http.ResponseWriter, r *http.Request, s *script, rec *Request, req *authRequest, choice url.Values) {
	if choice.Has("refuse") {
		o.refuse(w, r, s, rec, req, &oauthError{"access_denied", "The user refused."})
		return
	}
	if name := choice.Get("user"); name != "" {
		user, ok := o.user(name)
		if !ok {
			o.failPage(w, rec, http.StatusBadRequest, "There is no such user.")
			return
		}
		o.login(w, r, s, rec, req, user, false)
		return
	}
	current, user, known := o.session(r)
	passive := slices.Contains(req.prompt, "none")
	stale := slices.Contains(req.prompt, "login") || req.maxAge >= 0 && o.cfg.Now().Sub(current.authTime) > req.maxAge || req.maxAge == 0
	hinted, hint := o.user(req.params.Get("login_hint"))
	if known && choice.Get("consent") == "allow" {
		o.allow(req, user)
		o.issue(w, r, s, req, current)
		return
	}
	if auto, ok := o.user(s.auto); ok && !passive {
		if hint {
			auto = hinted
		}
		if known && !stale && auto.Subject == user.Subject {
			o.issue(w, r, s, req, current)
			return
		}
		o.login(w, r, s, rec, req, auto, true)
		return
	}
	usable := known && !stale && !(hint && hinted.Subject != user.Subject)
	chooses := slices.Contains(req.prompt, "select_account") || o.cfg.AlwaysAsk && !passive
	switch {
	case usable && !chooses:
		o.proceed(w, r, s, rec, req, current, user)
	case passive:
		o.refuse(w, r, s, rec, req, &oauthError{"login_required", "Nobody is logged in here."})
	default:
		o.loginPage(w, req, hinted.Subject)
	}
}

// login starts a session for a user who has just proved who they are, as far as this provider asks for proof.
func (o *OIDC) login(w http.ResponseWriter, r *http.Request, s *script, rec *Request, req *authRequest, user User, consents bool) {
	if user.Error != "" {
		o.refuse(w, r, s, rec, req, &oauthError{user.Error, "This user was scripted to end so."})
		return
	}
	began := session{id: handle(), subject: user.Subject, authTime: o.cfg.Now()}
	cookie := handle()
	o.mu.Lock()
	if old, err := r.Cookie(o.cookie); err == nil {
		delete(o.sessions, old.Value)
	}
	o.sessions[cookie] = began
	o.mu.Unlock()
	o.setCookie(w, cookie, 0)
	if consents {
		o.issue(w, r, s, req, began)
		return
	}
	o.proceed(w, r, s, rec, req, began, user)
}

// proceed asks for consent where it is needed.
func (o *OIDC) proceed(w http.ResponseWriter, r *http.Request, s *script, rec *Request, req *authRequest, current session, user User) {
	o.mu.Lock()
	allowed := o.consents[[2]string{user.Subject, req.client.ID}]
	o.mu.Unlock()
	switch {
	case !slices.Contains(req.prompt, "consent") && (allowed || !o.cfg.Consent):
		o.issue(w, r, s, req, current)
	case slices.Contains(req.prompt, "none"):
		o.refuse(w, r, s, rec, req, &oauthError{"consent_required", "The user has not consented yet."})
	default:
		o.consentPage(w, req, user)
	}
}

func (o *OIDC) allow(req *authRequest, user User) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.consents[[2]string{user.Subject, req.client.ID}] = true
}

func (o *OIDC) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: o.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(o.cfg.Issuer, "https:")})
}

func (o *OIDC) session(r *http.Request) (session, User, bool) {
	cookie, err := r.Cookie(o.cookie)
	if err != nil {
		return session{}, User{}, false
	}
	o.mu.Lock()
	current, ok := o.sessions[cookie.Value]
	o.mu.Unlock()
	if !ok {
		return session{}, User{}, false
	}
	user, ok := o.user(current.subject)
	return current, user, ok
}

// issue answers with a code.
func (o *OIDC) issue(w http.ResponseWriter, r *http.Request, s *script, req *authRequest, current session) {
	code := handle()
	o.mu.Lock()
	o.sweep()
	o.codes[code] = &grant{
		client: req.client.ID, redirectURI: req.redirectURI, challenge: req.challenge, nonce: req.params.Get("nonce"),
		scope: req.scope, session: current, expiry: o.cfg.Now().Add(codeTTL),
	}
	o.mu.Unlock()
	o.answer(w, r, s, req, url.Values{"code": {code}})
}

func (o *OIDC) refuse(w http.ResponseWriter, r *http.Request, s *script, rec *Request, req *authRequest, e *oauthError) {
	rec.Error = e.code
	v := url.Values{"error": {e.code}}
	if e.description != "" {
		v.Set("error_description", e.description)
	}
	o.answer(w, r, s, req, v)
}

// scriptedError is the error that the script wants instead of a login; nil if it wants none.
func scriptedError(s *script) error {
	for _, f := range s.faults {
		switch f {
		case ErrorAccessDenied:
			return &oauthError{"access_denied", "The user refused."}
		case ErrorLoginRequired:
			return &oauthError{"login_required", ""}
		case ErrorServer:
			return &oauthError{"server_error", "Something went wrong."}
		case ErrorAuthenticationExpired:
			return &oauthError{"temporarily_unavailable", "authentication_expired"}
		case ErrorMarkup:
			return &oauthError{`<script>alert("error")</script>`, `"><img src=x onerror=alert(1)>`}
		}
	}
	return nil
}

// answer sends the browser to the redirect URI, with state and issuer (RFC 9207) unless the script has other plans.
func (o *OIDC) answer(w http.ResponseWriter, r *http.Request, s *script, req *authRequest, v url.Values) {
	if req.params.Has("state") {
		v.Set("state", req.params.Get("state"))
	}
	v.Set("iss", o.cfg.Issuer)
	for _, f := range s.faults {
		switch f {
		case ResponseIssWrong:
			v.Set("iss", "https://wrong-issuer.example")
		case ResponseIssAbsent:
			v.Del("iss")
		case ResponseStateWrong:
			v.Set("state", "wrong-"+v.Get("state"))
		case ResponseStateAbsent:
			v.Del("state")
		case ResponseCodeAbsent:
			v.Del("code")
		case ResponseTwice:
			for name, values := range v {
				v[name] = append(values, values...)
			}
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if req.formPost {
		o.postPage(w, req.redirectURI, v)
		return
	}
	separator := "?"
	if strings.Contains(req.redirectURI, "?") {
		separator = "&"
	}
	http.Redirect(w, r, req.redirectURI+separator+v.Encode(), http.StatusSeeOther)
}
