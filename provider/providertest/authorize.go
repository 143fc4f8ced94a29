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
	plain       bool          // OAuth 2.0 without OpenID Connect
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
	rec := o.record(Authorize, r, params)
	if err := http.NewCrossOriginProtection().Check(r); err != nil && len(choice) > 0 {
		o.failPage(w, rec, http.StatusForbidden, "This choice was made on another site's page.")
		return
	}
	v := &visit{op: o, w: w, r: r, script: o.current(), rec: rec}
	var err error
	if v.req, err = o.parseRequest(params); err == nil {
		err = v.script.error()
	}
	refused, answerable := errors.AsType[*oauthError](err)
	switch {
	case err == nil:
		v.decide(choice)
	case answerable:
		v.refuse(refused.code, refused.description)
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
	req := &authRequest{plain: o.cfg.OAuth2 != nil, params: params, client: c, redirectURI: params.Get("redirect_uri"), maxAge: -1,
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
	case !req.plain && !slices.Contains(req.scope, "openid"):
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

// A visit is one request of a browser for a code.
type visit struct {
	op     *OIDC
	w      http.ResponseWriter
	r      *http.Request
	script *script
	rec    record
	req    *authRequest
}

// decide logs a user in, or asks who it is. The choice is what somebody clicked on a page, empty at first.
func (v *visit) decide(choice url.Values) {
	current, user, known := v.session()
	switch name := choice.Get("user"); {
	case choice.Has("refuse"):
		v.refuse("access_denied", "The user refused.")
	case name != "":
		v.choose(name)
	case known && choice.Get("consent") == "allow":
		v.allow(user)
		v.issue(current)
	default:
		v.arrive(current, user, known)
	}
}

func (v *visit) choose(name string) {
	user, ok := v.op.user(name)
	if !ok {
		v.op.failPage(v.w, v.rec, http.StatusBadRequest, "There is no such user.")
		return
	}
	if began, ok := v.login(user); ok {
		v.proceed(began, user)
	}
}

// arrive is a browser that has chosen nothing yet: its session will do, or somebody logs in without a page, or there is
// a page, which prompt=none forbids.
func (v *visit) arrive(current session, user User, known bool) {
	passive := slices.Contains(v.req.prompt, "none")
	known = known && !v.stale(current)
	hinted, hint := v.op.user(v.req.params.Get("login_hint"))
	if auto, ok := v.op.user(v.script.auto); ok && !passive {
		if hint {
			auto = hinted
		}
		v.enter(current, known && auto.Subject == user.Subject, auto)
		return
	}
	usable := known && (!hint || hinted.Subject == user.Subject)
	chooses := slices.Contains(v.req.prompt, "select_account") || v.op.cfg.AlwaysAsk && !passive
	switch {
	case usable && !chooses:
		v.proceed(current, user)
	case passive:
		v.refuse("login_required", "Nobody is logged in here.")
	default:
		v.op.loginPage(v.w, v.req, hinted.Subject)
	}
}

// enter is a login without a page.
func (v *visit) enter(current session, usable bool, user User) {
	if !usable {
		if current, usable = v.login(user); !usable {
			return
		}
	}
	v.issue(current)
}

// stale reports whether the request wants a newer proof than the session's.
func (v *visit) stale(current session) bool {
	age := v.op.cfg.Now().Sub(current.authTime)
	return slices.Contains(v.req.prompt, "login") || v.req.maxAge == 0 || v.req.maxAge > 0 && age > v.req.maxAge
}

// login starts a session for a user who has just proved who they are, as far as this provider asks for proof. It reports
// false if it has answered already.
func (v *visit) login(user User) (session, bool) {
	if user.Error != "" {
		v.refuse(user.Error, "This user was scripted to end so.")
		return session{}, false
	}
	began := session{id: handle(), subject: user.Subject, authTime: v.op.cfg.Now()}
	cookie := handle()
	v.op.mu.Lock()
	defer v.op.mu.Unlock()
	if old, err := v.r.Cookie(v.op.cookie); err == nil {
		delete(v.op.sessions, old.Value)
	}
	v.op.sessions[cookie] = began
	v.op.setCookie(v.w, cookie, 0)
	return began, true
}

// proceed asks for consent where it is needed.
func (v *visit) proceed(current session, user User) {
	v.op.mu.Lock()
	allowed := v.op.consents[[2]string{user.Subject, v.req.client.ID}]
	v.op.mu.Unlock()
	switch {
	case !slices.Contains(v.req.prompt, "consent") && (allowed || !v.op.cfg.Consent):
		v.issue(current)
	case slices.Contains(v.req.prompt, "none"):
		v.refuse("consent_required", "The user has not consented yet.")
	default:
		v.op.consentPage(v.w, v.req, user)
	}
}

func (v *visit) allow(user User) {
	v.op.mu.Lock()
	defer v.op.mu.Unlock()
	v.op.consents[[2]string{user.Subject, v.req.client.ID}] = true
}

func (v *visit) session() (session, User, bool) {
	cookie, err := v.r.Cookie(v.op.cookie)
	if err != nil {
		return session{}, User{}, false
	}
	v.op.mu.Lock()
	current, ok := v.op.sessions[cookie.Value]
	v.op.mu.Unlock()
	if !ok {
		return session{}, User{}, false
	}
	user, ok := v.op.user(current.subject)
	return current, user, ok
}

// issue answers with a code.
func (v *visit) issue(current session) {
	code := handle()
	v.op.mu.Lock()
	v.op.sweep()
	v.op.codes[code] = &grant{
		client: v.req.client.ID, redirectURI: v.req.redirectURI, challenge: v.req.challenge, nonce: v.req.params.Get("nonce"),
		scope: v.req.scope, session: current, expiry: v.op.cfg.Now().Add(codeTTL),
	}
	v.op.mu.Unlock()
	v.answer(url.Values{"code": {code}})
}

func (v *visit) refuse(code, description string) {
	v.rec.failed(code)
	params := url.Values{"error": {code}}
	if description != "" {
		params.Set("error_description", description)
	}
	v.answer(params)
}

// answer sends the browser to the redirect URI, with state and issuer (RFC 9207) unless the script has other plans.
func (v *visit) answer(params url.Values) {
	if v.req.params.Has("state") {
		params.Set("state", v.req.params.Get("state"))
	}
	if v.op.cfg.OAuth2 == nil {
		params.Set("iss", v.op.cfg.Issuer)
	}
	v.script.breakAnswer(params)
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.Header().Set("Referrer-Policy", "no-referrer")
	if v.req.formPost {
		v.op.postPage(v.w, v.req.redirectURI, params)
		return
	}
	http.Redirect(v.w, v.r, withQuery(v.req.redirectURI, params), http.StatusSeeOther)
}

// withQuery adds parameters to a URL that may have some already.
func withQuery(target string, params url.Values) string {
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	return target + separator + params.Encode()
}

func (o *OIDC) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: o.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(o.cfg.Issuer, "https:")})
}
