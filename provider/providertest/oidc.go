package providertest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// OIDCConfig says what an [OIDC] provider is. The zero value is useful with [StartOIDC]: two users, a login page, RS256.
type OIDCConfig struct {
	// Issuer is the provider's URL, and where its handler is mounted, path included. [NewOIDC] requires it;
	// [StartOIDC] puts its listener's address before it, so that it is "" or a path such as "/realms/demo" there.
	Issuer string
	Name   string // of the provider, on its pages; "" is "Demo Provider"
	Accent string // colour of its pages, "#rrggbb"; "" is a blue

	// Users are those who can log in. If nil, there are alice (verified e-mail address) and bob (unverified).
	Users   []User
	Clients []Client // more can be added with [OIDC.Register]

	// AutoLogin names a user (by subject, username or e-mail address) who logs in and consents at once, without a page.
	// A login_hint that names another user wins. "" shows the page. [OIDC.LoginAs] changes it.
	AutoLogin string
	// AlwaysAsk shows the login page even to a browser that has a session here. prompt=none still uses the session.
	AlwaysAsk bool
	// Consent asks for consent the first time that a user logs in at a client; prompt=consent always asks.
	Consent bool

	// Alg signs ID tokens of clients that registered no other: RS256, PS256, ES256 or EdDSA; "" is RS256. ES256 is made
	// for tests: making an RSA key takes a good part of a second.
	Alg string
	// LeanIDToken leaves claims about the user out of ID tokens: only the userinfo endpoint has them.
	LeanIDToken bool
	// OAuth2 makes it an authorization server that knows no OpenID Connect; nil is an OpenID Provider.
	OAuth2 *OAuth2
	Now    func() time.Time // nil is time.Now
}

// OAuth2 says what an authorization server without OpenID Connect tells: it has no discovery, no keys, no ID tokens, needs no
// scope, and sends no "iss" with its answers.
type OAuth2 struct {
	// UserInfo is what the userinfo endpoint says about a user, in the shape of some vendor; nil is the claims of OpenID Connect.
	UserInfo func(User) any
	// Emails is what Issuer + "/emails" says, with a token of the user; nil is 404.
	Emails func(User) any
}

// A User can log in. Empty fields are claims that the provider does not send, but for Subject.
type User struct {
	Subject       string // "" is Username
	Username      string // claim preferred_username
	Email         string
	EmailVerified bool // sent whenever Email is
	GivenName     string
	FamilyName    string
	Name          string // "" is GivenName and FamilyName
	Locale        string
	Picture       string
	Groups        []string
	Claims        map[string]any // further ones, whatever the scope; they win over the fields
	// Error is the code with which the login of this user ends, "access_denied" or "interaction_required" for instance.
	Error string
}

// display is what people read.
func (u User) display() string {
	for _, name := range []string{u.Name, strings.TrimSpace(u.GivenName + " " + u.FamilyName), u.Username, u.Email} {
		if name != "" {
			return name
		}
	}
	return u.Subject
}

// OIDC is an OpenID Provider: an [http.Handler] that speaks OpenID Connect Core, Discovery, RP-Initiated Logout and RFC
// 9207, refuses what a strict provider refuses, and breaks where [OIDC.Break] tells it to. It keeps everything in memory
// and is safe for concurrent use.
type OIDC struct {
	cfg    OIDCConfig
	base   string // the issuer without a slash at its end; URLs of the endpoints begin with it
	cookie string
	mux    http.Handler

	mu       sync.Mutex
	script   *script
	users    []User
	clients  map[string]Client
	keys     map[string]*ring   // by algorithm
	codes    map[string]*grant  // by authorization code, used ones included
	access   map[string]*grant  // by access token
	refresh  map[string]*grant  // by refresh token
	sessions map[string]session // by the value of the cookie
	consents map[[2]string]bool // by subject and client
	jtis     map[string]time.Time
	requests []*Request
	sweepAt  int // entries
}

// A script is what tests change. It is replaced and never written to, so that a request sees one script to its end.
type script struct {
	faults   []Fault
	hooks    Hooks
	auto     string
	released chan struct{} // closed when another script takes over
}

func (s *script) has(f Fault) bool { return slices.Contains(s.faults, f) }

var accentForm = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// NewOIDC returns a provider that serves cfg.Issuer. A program that wants a demonstration provider mounts it on a
// listener of its own; tests use [StartOIDC].
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("providertest: issuer %q is not an http or https URL without query and fragment", cfg.Issuer)
	}
	if cfg.Accent == "" {
		cfg.Accent = "#2f5bd8"
	}
	if !accentForm.MatchString(cfg.Accent) {
		return nil, fmt.Errorf("providertest: accent %q is not a colour #rrggbb", cfg.Accent)
	}
	if cfg.Name == "" {
		cfg.Name = "Demo Provider"
	}
	if cfg.Alg == "" {
		cfg.Alg = "RS256"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Users == nil {
		cfg.Users = defaultUsers()
	}
	// Cookies do not know ports: two providers on one host need different names.
	name := sha256.Sum256([]byte(cfg.Issuer))
	o := &OIDC{
		cfg: cfg, base: strings.TrimSuffix(cfg.Issuer, "/"), cookie: "op_" + hex.EncodeToString(name[:6]),
		script:  &script{auto: cfg.AutoLogin, released: make(chan struct{})},
		clients: map[string]Client{}, keys: map[string]*ring{},
		codes: map[string]*grant{}, access: map[string]*grant{}, refresh: map[string]*grant{},
		sweepAt: sweepAt, sessions: map[string]session{}, consents: map[[2]string]bool{}, jtis: map[string]time.Time{},
	}
	if err := o.useAlg(cfg.Alg); err != nil {
		return nil, err
	}
	for _, user := range cfg.Users {
		o.SetUser(user)
	}
	for _, c := range cfg.Clients {
		if _, err := o.register(c); err != nil {
			return nil, err
		}
	}
	if _, ok := o.user(cfg.AutoLogin); !ok && cfg.AutoLogin != "" {
		return nil, fmt.Errorf("providertest: AutoLogin: no user %q", cfg.AutoLogin)
	}
	o.mux = o.routes(strings.TrimSuffix(u.Path, "/"))
	return o, nil
}

func (o *OIDC) routes(prefix string) http.Handler {
	mux := http.NewServeMux()
	if o.cfg.OAuth2 == nil {
		mux.Handle("GET "+prefix+"/.well-known/openid-configuration", o.endpoint(Discovery, o.discovery))
		mux.Handle("GET "+prefix+"/jwks", o.endpoint(JWKS, o.jwks))
	} else if o.cfg.OAuth2.Emails != nil {
		mux.Handle("GET "+prefix+"/emails", o.endpoint(Emails, o.emails))
	}
	mux.Handle("POST "+prefix+"/token", o.endpoint(Token, o.token))
	mux.Handle("POST "+prefix+"/revoke", o.endpoint(Revocation, o.revoke))
	mux.Handle("GET "+prefix+"/userinfo", o.endpoint(UserInfo, o.userinfo))
	mux.Handle("POST "+prefix+"/userinfo", o.endpoint(UserInfo, o.userinfo))
	mux.HandleFunc("GET "+prefix+"/authorize", o.authorize)
	mux.HandleFunc("POST "+prefix+"/authorize", o.authorize)
	mux.HandleFunc("GET "+prefix+"/logout", o.logout)
	mux.HandleFunc("POST "+prefix+"/logout", o.logout)
	mux.HandleFunc("GET "+prefix+"/style.css", o.style)
	mux.HandleFunc("GET "+prefix+"/submit.js", o.submit)
	return mux
}

// ServeHTTP serves everything below the issuer's path, which must still be part of the request's.
func (o *OIDC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	o.mux.ServeHTTP(w, r)
}

// Issuer returns the issuer, exactly as ID tokens have it.
func (o *OIDC) Issuer() string { return o.cfg.Issuer }

// SetUser adds a user, or changes the one with the same subject. Tokens that were issued before tell of the change.
func (o *OIDC) SetUser(u User) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.users = withUser(o.users, u)
}

// withUser returns users with u, in the place of the one with its subject.
func withUser(users []User, u User) []User {
	if u.Subject == "" {
		u.Subject = u.Username
	}
	u.Groups, u.Claims = slices.Clone(u.Groups), maps.Clone(u.Claims)
	if i := slices.IndexFunc(users, func(have User) bool { return have.Subject == u.Subject }); i >= 0 {
		users[i] = u
		return users
	}
	return append(users, u)
}

// defaultUsers are those of a provider that was given none.
func defaultUsers() []User {
	return []User{
		{Subject: "248289761001", Username: "alice", Email: "alice@example.com", EmailVerified: true,
			GivenName: "Alice", FamilyName: "Liddell", Locale: "en-GB", Groups: []string{"staff", "readers"}},
		{Subject: "248289761002", Username: "bob", Email: "bob@example.com", GivenName: "Bob", FamilyName: "Sawyer"},
	}
}

// user finds a user by subject, username or e-mail address.
func (o *OIDC) user(name string) (User, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return findUser(o.users, name)
}

func findUser(users []User, name string) (User, bool) {
	for _, key := range []func(User) string{
		func(u User) string { return u.Subject },
		func(u User) string { return u.Username },
		func(u User) string { return u.Email },
	} {
		if i := slices.IndexFunc(users, func(u User) bool { return key(u) == name }); i >= 0 && name != "" {
			return users[i], true
		}
	}
	return User{}, false
}

// LoginAs changes who logs in without a page from now on: a user's subject, username or e-mail address; "" shows the
// page. It panics if there is no such user.
func (o *OIDC) LoginAs(user string) {
	if _, ok := o.user(user); !ok && user != "" {
		panic(fmt.Sprintf("providertest: no user %q", user))
	}
	o.update(func(s *script) { s.auto = user })
}

// Hooks edit what the provider says, for what no [Fault] has a name for. A nil hook edits nothing. They run after the
// faults, on maps of their own, and concurrently if requests are.
type Hooks struct {
	Discovery func(document map[string]any)
	Token     func(reply map[string]any)          // a successful reply of the token endpoint
	IDToken   func(header, claims map[string]any) // before it is signed
	UserInfo  func(claims map[string]any)         // before they are signed, if they are
}

// Edit replaces the hooks; Edit(Hooks{}) removes them.
func (o *OIDC) Edit(h Hooks) { o.update(func(s *script) { s.hooks = h }) }

// Break makes exactly these faults happen from now on, several at once if they are at different places; Break() heals.
// It releases requests that an earlier fault holds up. It panics on a fault that is none of [Faults] and
// [EncryptionFaults].
func (o *OIDC) Break(faults ...Fault) {
	for _, f := range faults {
		if !slices.Contains(allFaults, f) && !slices.Contains(encryptionFaults, f) {
			panic(fmt.Sprintf("providertest: no fault %q", f))
		}
	}
	o.update(func(s *script) { s.faults = slices.Clone(faults) })
}

func (o *OIDC) update(edit func(*script)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := *o.script
	next.released = make(chan struct{})
	edit(&next)
	close(o.script.released)
	o.script = &next
}

func (o *OIDC) current() *script {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.script
}

// discovery is the provider's configuration, OpenID Connect Discovery 1.0 §3.
func (o *OIDC) discovery(_ *http.Request, s *script, _ record) reply {
	doc := map[string]any{
		"issuer":                                           o.cfg.Issuer,
		"authorization_endpoint":                           o.base + "/authorize",
		"token_endpoint":                                   o.base + "/token",
		"userinfo_endpoint":                                o.base + "/userinfo",
		"jwks_uri":                                         o.base + "/jwks",
		"end_session_endpoint":                             o.base + "/logout",
		"revocation_endpoint":                              o.base + "/revoke",
		"scopes_supported":                                 []string{"openid", "profile", "email", "groups", "offline_access"},
		"response_types_supported":                         []string{"code"},
		"response_modes_supported":                         []string{"query", "form_post"},
		"grant_types_supported":                            []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                          []string{"public"},
		"id_token_signing_alg_values_supported":            o.algs(),
		"userinfo_signing_alg_values_supported":            o.algs(),
		"id_token_encryption_alg_values_supported":         encryptionAlgs,
		"id_token_encryption_enc_values_supported":         encryptionEncs,
		"userinfo_encryption_alg_values_supported":         encryptionAlgs,
		"userinfo_encryption_enc_values_supported":         encryptionEncs,
		"token_endpoint_auth_methods_supported":            authMethods,
		"token_endpoint_auth_signing_alg_values_supported": append(slices.Clone(secretAlgs), keyAlgs...),
		"code_challenge_methods_supported":                 []string{"S256"},
		"prompt_values_supported":                          []string{"none", "login", "consent", "select_account"},
		"authorization_response_iss_parameter_supported":   true,
		"request_parameter_supported":                      false,
		"request_uri_parameter_supported":                  false,
		"claims_parameter_supported":                       false,
	}
	if s.has(DiscoveryWrongIssuer) {
		doc["issuer"] = wrongIssuer
	}
	if s.hooks.Discovery != nil {
		s.hooks.Discovery(doc)
	}
	return jsonReply(http.StatusOK, doc)
}

// A reply is an answer of an endpoint that programs talk to.
type reply struct {
	status      int
	contentType string
	body        []byte
	challenge   string // WWW-Authenticate
	huge        bool
	truncated   bool
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil { // a hook put something in that JSON has no form for
		return reply{status: http.StatusInternalServerError, contentType: "text/plain", body: []byte(err.Error())}
	}
	return reply{status: status, contentType: "application/json", body: body}
}

// errorReply is RFC 6749 §5.2. The description helps whoever writes the client.
func errorReply(rec record, status int, code, description string) reply {
	rec.failed(code)
	return jsonReply(status, map[string]any{"error": code, "error_description": description})
}

// An Endpoint is one of the provider's.
type Endpoint string

// The endpoints.
const (
	Discovery  Endpoint = "discovery"
	JWKS       Endpoint = "jwks"
	Authorize  Endpoint = "authorize" // the login page's form included
	Token      Endpoint = "token"
	UserInfo   Endpoint = "userinfo"
	EndSession Endpoint = "end_session"
	Revocation Endpoint = "revocation"
	Emails     Endpoint = "emails" // see [OAuth2]
)

// A Request is one that the provider received, secrets included. It is for reading.
type Request struct {
	Endpoint Endpoint
	Method   string
	Params   url.Values  // of the query, or of a POST's body
	Header   http.Header // as received
	// ClientAuth is how the client of a token request authenticated, "client_secret_basic" for instance; "" if it did not.
	ClientAuth string
	Error      string // the code of the error that was answered, or the text on the error page; "" if there was none
}

const maxRequests = 10_000 // are kept, so that a demonstration can run for weeks

// Requests returns what was received at the endpoints, or at all of them if none is named, oldest first. It keeps the
// latest thousands.
func (o *OIDC) Requests(at ...Endpoint) []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	var got []Request
	for _, r := range o.requests {
		if len(at) == 0 || slices.Contains(at, r.Endpoint) {
			got = append(got, *r)
		}
	}
	return got
}

// A record is a request whose outcome is still to be noted. It is noted before the answer is sent, so that who has the
// answer finds it in Requests.
type record struct {
	op   *OIDC
	kept *Request
}

func (o *OIDC) record(at Endpoint, r *http.Request, params url.Values) record {
	kept := &Request{Endpoint: at, Method: r.Method, Params: params, Header: r.Header.Clone()}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.requests) >= maxRequests {
		o.requests = slices.Delete(o.requests, 0, maxRequests/2)
	}
	o.requests = append(o.requests, kept)
	return record{o, kept}
}

func (rec record) failed(code string) {
	rec.op.mu.Lock()
	defer rec.op.mu.Unlock()
	rec.kept.Error = code
}

func (rec record) authenticated(method string) {
	rec.op.mu.Lock()
	defer rec.op.mu.Unlock()
	rec.kept.ClientAuth = method
}

// endpoint serves what programs talk to, and breaks it as the script says.
func (o *OIDC) endpoint(at Endpoint, serve func(*http.Request, *script, record) reply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := o.current()
		params := r.URL.Query()
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			params = r.PostForm
		}
		rec := o.record(at, r, params)
		if breakBefore(w, r, s, at) {
			return
		}
		breakReply(s, at, serve(r, s, rec)).write(w)
	})
}

func (p reply) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	h.Set("Cache-Control", "no-store")
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.huge {
		w.WriteHeader(p.status)
		writeHuge(w, p.body)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.status)
	if p.truncated {
		p.body = p.body[:len(p.body)/2] // the server ends the connection
	}
	w.Write(p.body)
}

// handle returns a secret that nobody guesses.
func handle() string { return rand.Text() }
