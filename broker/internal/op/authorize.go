package op

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// maxRequest bounds an authentication request: it has to fit into a cookie while the browser is away.
const maxRequest = 8 << 10

// An authRequest is an authentication request that was checked (OpenID Connect Core §3.1.2.1).
type authRequest struct {
	client      *store.Client
	redirectURI string
	state       string
	scope       []string
	nonce       string
	challenge   string
	jkt         string // the key that the code is bound to
	formPost    bool   // response_mode: the answer is posted
	prompt      []string
	resources   []string
	maxAge      *time.Duration
	subject     string // of id_token_hint: nobody else gets a code
	params      url.Values
	claims      claimsRequest

	sent      url.Values     // what the browser brings: params or, of a pushed request, its name
	pushed    *pushedRequest // nil if params came by the browser
	consented bool           // just now
	link      string         // alias of the provider that the user is to link; "" if the client asks for no such thing
	linked    string         // sealed: what became of that
	status    string         // what became of that, once it is known; told to the client
}

// An authError is told to the client through the browser (RFC 6749 §4.1.2.1).
type authError struct {
	code        string
	description string
}

func (e *authError) Error() string { return e.code + ": " + e.description }

// Authorize handles GET and POST /authorize.
func (p *Provider) Authorize(w http.ResponseWriter, r *http.Request) {
	params, err := authParams(w, r)
	if err != nil {
		p.Login.Fail(w, r, nil, err)
		return
	}
	req, err := p.request(r.Context(), params)
	if err != nil {
		p.refuse(w, r, params.Get("client_id"), req, err)
		return
	}
	web.RecordOf(r.Context()).Note("client", req.client.ID)
	if params.Has(paramBack) {
		p.Login.Send(w, r, p.target(req), p.denial(req))
		return
	}
	active, err := p.Sessions.Current(r)
	if err != nil && !errors.Is(err, session.ErrNone) {
		p.Login.Fail(w, r, p.target(req), err)
		return
	}
	if err == nil && p.satisfies(active.Session, req) {
		p.Login.Conclude(w, r, p.target(req), active.Session)
		return
	}
	p.Login.Choose(w, r, p.target(req))
}

func authParams(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		if err := r.ParseForm(); err != nil {
			return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
		}
		login.ReadForm(r.PostForm)
		return r.PostForm, nil
	}
	return parseQuery(r.URL.RawQuery)
}

func parseQuery(raw string) (url.Values, error) {
	if len(raw) > maxRequest {
		return nil, &login.Problem{Status: http.StatusRequestURITooLong, Message: "too_large"}
	}
	params, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err}
	}
	return params, nil
}

// parse checks an authentication request. Until client and redirect URI are known to belong together its error is for
// the visitor and the request is nil; from then on it may be an *authError for the client.
func (p *Provider) parse(ctx context.Context, params url.Values) (*authRequest, error) {
	if len(params["client_id"]) > 1 || len(params["redirect_uri"]) > 1 {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: errRepeated}
	}
	client, err := p.Gate.Client(ctx, params.Get("client_id"))
	if err != nil {
		return nil, err
	}
	req := &authRequest{client: client, redirectURI: params.Get("redirect_uri"), params: params, sent: params}
	// RFC 9700 §2.1: compared as strings, and never left out.
	if !slices.Contains(client.RedirectURIs, req.redirectURI) {
		return nil, &login.Problem{Status: http.StatusBadRequest, Message: "bad_redirect_uri"}
	}
	req.state, req.nonce = params.Get("state"), params.Get("nonce")
	for _, check := range []func(url.Values) error{req.readResponseMode, req.checkForm, req.checkPKCE, req.readJKT, req.readScope,
		req.readPrompt, req.readMaxAge, req.readClaims} {
		if err := check(params); err != nil {
			return req, err
		}
	}
	if err := p.Gate.Grant(client, store.GrantTypeCode); err != nil {
		return req, &authError{"unauthorized_client", "this client may not use the authorization code grant"}
	}
	if req.resources, err = p.targets(client, nil, params["resource"]); err != nil {
		return req, &authError{"invalid_target", "resource is none that the client may have tokens for"}
	}
	return req, p.readHint(ctx, req)
}

func (req *authRequest) checkForm(params url.Values) error {
	if repeated(params) {
		return &authError{"invalid_request", errRepeated.Error()}
	}
	switch params.Get("response_type") {
	case "code":
	case "":
		return &authError{"invalid_request", "response_type is missing"}
	default:
		return &authError{"unsupported_response_type", "the only response_type is code"}
	}
	for _, unsupported := range []string{"request", "request_uri", "registration"} {
		if params.Get(unsupported) != "" {
			return &authError{unsupported + "_not_supported", unsupported + " is not supported"}
		}
	}
	return nil
}

// checkPKCE has no way around: a challenge that is there is S256 (RFC 9700 §2.1.1), and only a client that has a secret
// and the explicit leave of its configuration may send none.
func (req *authRequest) checkPKCE(params url.Values) error {
	challenge, method := params.Get("code_challenge"), params.Get("code_challenge_method")
	switch {
	case challenge == "" && method != "":
		return &authError{"invalid_request", "code_challenge_method without code_challenge"}
	case challenge == "" && req.client.InsecureWithoutPKCE && req.client.AuthMethod != store.AuthNone:
		return nil
	case challenge == "":
		return &authError{"invalid_request", "code_challenge is missing: PKCE is required"}
	case method != "S256":
		return &authError{"invalid_request", "code_challenge_method must be S256"}
	case !isChallenge(challenge):
		return &authError{"invalid_request", "code_challenge is not the base64url of a SHA-256"}
	}
	req.challenge = challenge
	return nil
}

// readScope keeps what the client may have of what it asks for; the rest is ignored, as OpenID Connect Core §3.1.2.1 has
// it, and the token response says what was granted.
func (req *authRequest) readScope(params url.Values) error {
	for s := range strings.FieldsSeq(params.Get("scope")) {
		if req.mayAsk(s) && !slices.Contains(req.scope, s) {
			req.scope = append(req.scope, s)
		}
	}
	if !slices.Contains(req.scope, "openid") {
		return &authError{"invalid_scope", "scope must contain openid"}
	}
	return nil
}

// mayAsk reports whether the client may ask for the scope.
func (req *authRequest) mayAsk(scope string) bool {
	return slices.Contains(scopesOf(req.client), scope)
}

func (req *authRequest) readPrompt(params url.Values) error {
	req.prompt = strings.Fields(params.Get("prompt"))
	for _, value := range req.prompt {
		switch value {
		case "none":
			if len(req.prompt) > 1 {
				return &authError{"invalid_request", "prompt=none excludes every other prompt"}
			}
		case "login", "consent", "select_account":
		default:
			return &authError{"invalid_request", "unknown prompt"}
		}
	}
	return nil
}

func (req *authRequest) readMaxAge(params url.Values) error {
	given := params.Get("max_age")
	if given == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(given, 10, 31)
	if err != nil {
		return &authError{"invalid_request", "max_age must be a number of seconds"}
	}
	age := time.Duration(seconds) * time.Second
	req.maxAge = &age
	return nil
}

// readHint reads whom the application expects. A hint that cannot be verified, perhaps because its key is gone, names
// nobody: that is no answer to give without asking.
func (p *Provider) readHint(ctx context.Context, req *authRequest) error {
	raw := req.params.Get("id_token_hint")
	if raw == "" {
		return nil
	}
	parser := token.Parser{
		Type: token.IDToken, Issuer: p.issuer(), Audience: req.client.ID, Keys: p.Keys, Now: p.Now, SkipExpiry: true,
	}
	hint, err := parser.Parse(ctx, raw)
	switch {
	case err == nil:
		req.subject = hint.Subject
	case !errors.Is(err, token.ErrInvalid):
		return err
	case slices.Contains(req.prompt, "none"):
		return &authError{"login_required", "id_token_hint is no ID token for this client"}
	}
	return nil
}

// satisfies reports whether the session answers the request without anybody being asked.
func (p *Provider) satisfies(s *store.Session, req *authRequest) bool {
	if slices.Contains(req.prompt, "login") || slices.Contains(req.prompt, "select_account") {
		return false
	}
	if !req.expects(s) || !req.claims.met(s) || p.Gate.Allows(req.client, s.Upstream.Provider) != nil {
		return false
	}
	return req.maxAge == nil || p.Now().Sub(s.AuthTime) <= *req.maxAge
}

// expects reports whether the session is that of the user whom the application named, if it named one (OpenID Connect
// Core §3.1.2.2).
func (req *authRequest) expects(s *store.Session) bool {
	return (req.subject == "" || req.subject == s.UserID) && req.claims.names(s.UserID)
}

// grant returns what session s grants the client, once the user need not be asked, with the answer that brings it there.
func (p *Provider) grant(ctx context.Context, req *authRequest, s *store.Session) (*store.Grant, login.Answer, error) {
	switch {
	case !req.expects(s):
		return nil, req.failure(p.issuer(), "login_required", "another user signed in than the request names"), nil
	case !req.claims.met(s): // OpenID Connect Core §5.5.1.1
		return nil, req.failure(p.issuer(), "unmet_authentication_requirements", "no authentication of the acr that is essential"), nil
	}
	if answer, err := p.linkFirst(ctx, req, s); answer != nil || err != nil {
		return nil, orNone(answer), err
	}
	agreed, err := p.agreed(ctx, req, s)
	if err != nil {
		return nil, login.Answer{}, err
	}
	if !agreed {
		answer, err := p.askConsent(ctx, req, s)
		return nil, answer, err
	}
	if err := p.consume(ctx, req.pushed); err != nil {
		return nil, login.Answer{}, err
	}
	g, code := p.newGrant(req, s)
	return g, req.success(p.issuer(), code), nil
}

// refuse tells the client why not, or the visitor where the client cannot be told.
func (p *Provider) refuse(w http.ResponseWriter, r *http.Request, clientID string, req *authRequest, err error) {
	refusal, ok := errors.AsType[*authError](err)
	if !ok || req == nil {
		var t *login.Target
		if client, err := p.Gate.Client(r.Context(), clientID); err == nil {
			t = &login.Target{Application: cmp.Or(client.Name, client.ID), Back: client.HomeURL}
		}
		p.Login.Fail(w, r, t, err)
		return
	}
	web.RecordOf(r.Context()).Err = err
	p.Login.Send(w, r, &login.Target{Application: req.application()}, req.failure(p.issuer(), refusal.code, refusal.description))
}

// target says to the package login what the request wants.
func (p *Provider) target(req *authRequest) *login.Target {
	t := &login.Target{
		Start:       req.start(),
		Application: req.application(),
		Back:        p.back(req),
		Locales:     req.params.Get("ui_locales"),
		Choose:      slices.Contains(req.prompt, "select_account"),
		Passive:     slices.Contains(req.prompt, "none"),
		Wishes: provider.Request{
			Prompt:    req.prompt,
			LoginHint: req.params.Get("login_hint"),
			UILocales: strings.Fields(req.params.Get("ui_locales")),
			ACRValues: append(strings.Fields(req.params.Get("acr_values")), req.claims.wish...),
			MaxAge:    req.maxAge,
			Params:    req.params,
		},
		Providers: req.client.Providers,
		Link:      req.link,
		Keep:      func(ctx context.Context, until time.Time) error { return p.prolong(ctx, req.pushed, until) },
		Refuse:    func(code string) login.Answer { return req.failure(p.issuer(), code, "") },
		Grant: func(ctx context.Context, s *store.Session) (*store.Grant, login.Answer, error) {
			return p.grant(ctx, req, s)
		},
	}
	t.ReadHints(req.params)
	return t
}

// Resolve makes the target of the parameters that a Start holds, if they may still be served.
func (p *Provider) Resolve(ctx context.Context, rawQuery string) (*login.Target, error) {
	params, err := parseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	req, err := p.request(ctx, params)
	if err != nil {
		return nil, unanswerable(err)
	}
	return p.target(req), nil
}

// unanswerable is err for the visitor: the client, which knew better when it asked, is not told any more.
func unanswerable(err error) error {
	if refusal, ok := errors.AsType[*authError](err); ok {
		return &login.Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: refusal}
	}
	return err
}
