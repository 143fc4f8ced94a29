// Package oauth2 lets users in through an authorization server that speaks OAuth 2.0 (RFC 6749) but no OpenID Connect: who it is
// is what its interface says about the bearer of the access token.
//
// It owns what lies between a browser's trip to one server and the identity that comes of it: the request with PKCE, the check of
// the answer, client authentication, userinfo and e-mail addresses. What servers do in a way of their own is data in [Config]. It
// owns no session and no user, and keeps nothing of a login. For an OpenID Provider package oidc checks more. Nothing is discovered: the
// metadata of such a server (RFC 8414), where it has any, leaves out what says who somebody is.
//
//	idp, err := oauth2.New(oauth2.Config{
//		Endpoints: oauth2.Endpoints{
//			Authorization: "https://git.example.com/login/oauth/authorize",
//			Token:         "https://git.example.com/login/oauth/access_token",
//			UserInfo:      "https://git.example.com/api/user",
//		},
//		ClientID: id, ClientSecret: secret,
//		Claims: oauth2.Claims{Subject: "id", Username: "login"},
//	})
//	…
//	cfg.Providers = []broker.Provider{{Alias: "git", IdP: idp}}
//
// The redirect URI to register there is {BaseURL}/broker/git/endpoint. Package social has well-known vendors by name.
//
// All checks are on unless a field of [Config] that is spelt Insecure… takes one away.
package oauth2

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	xoauth2 "golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// Provider is one authorization server as an upstream. It is made by [New] and safe for concurrent use.
type Provider struct {
	cfg    Config // with defaults filled in; not changed after New
	auth   oauth.Client
	paths  *paths
	client func() *http.Client // made when it is first needed
}

var (
	_ provider.IdentityProvider = (*Provider)(nil)
	_ provider.TokenRefresher   = (*Provider)(nil)
	_ provider.TokenRevoker     = (*Provider)(nil)
	_ provider.Trusted          = (*Provider)(nil)
)

// New returns the upstream that cfg describes. It does no I/O. All mistakes in cfg are returned in one error.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	read, err := cfg.check()
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, auth: cfg.client(), paths: read}
	p.client = sync.OnceValue(p.cfg.httpClient)
	return p, nil
}

// A login is what has to be remembered between Begin and Finish. It is sealed by the broker.
type login struct {
	RedirectURI string `json:"r"`
	Verifier    string `json:"v,omitempty"`
}

// Begin says where to send the browser.
func (p *Provider) Begin(_ context.Context, r provider.Request) (*provider.Redirect, error) {
	if r.RedirectURI == "" || r.State == "" {
		return nil, oauth.Fail(provider.Misconfigured, "begin login: a redirect URI and a state are needed")
	}
	again := slices.Contains(r.Prompt, "login")
	switch {
	case slices.Contains(r.Prompt, "none"):
		return nil, oauth.Fail(provider.LoginRequired, "begin login: the application wants no page, which OAuth 2.0 has no word for")
	case again && p.cfg.LoginParams == nil:
		return nil, oauth.Fail(provider.LoginRequired, "begin login: a new proof is asked for, and LoginParams do not say how")
	}
	at, err := url.Parse(p.cfg.Endpoints.Authorization)
	if err != nil {
		return nil, oauth.Fail(provider.Misconfigured, "begin login: bad address")
	}
	l := login{RedirectURI: r.RedirectURI}
	q := at.Query()
	p.setForwarded(q, r, again)
	q.Set("response_type", "code")
	q.Set("client_id", p.cfg.ClientID)
	q.Set("redirect_uri", r.RedirectURI)
	q.Set("state", r.State)
	if len(p.cfg.Scopes) > 0 {
		q.Set("scope", strings.Join(p.cfg.Scopes, p.cfg.ScopeSeparator))
	}
	if p.cfg.FormPost {
		q.Set("response_mode", "form_post")
	}
	if !p.cfg.InsecureSkipPKCE {
		l.Verifier = xoauth2.GenerateVerifier()
		q.Set("code_challenge", xoauth2.S256ChallengeFromVerifier(l.Verifier))
		q.Set("code_challenge_method", "S256")
	}
	at.RawQuery = q.Encode()
	data, err := json.Marshal(l)
	if err != nil {
		return nil, oauth.Fail(provider.Invalid, "begin login: %w", err)
	}
	return &provider.Redirect{URL: at.String(), Data: data, PostBack: p.cfg.FormPost}, nil
}

// setForwarded sets what the application may ask for and what the configuration adds; what the protocol sets comes after it.
func (p *Provider) setForwarded(q url.Values, r provider.Request, again bool) {
	for _, name := range p.cfg.ForwardParams {
		if values := r.Params[name]; len(values) == 1 && values[0] != "" { // RFC 6749 §3.1: none is sent twice
			q.Set(name, values[0])
		}
	}
	if p.cfg.ForwardLoginHint && r.LoginHint != "" {
		q.Set("login_hint", r.LoginHint)
	}
	if p.cfg.ForwardUILocales && len(r.UILocales) > 0 {
		q.Set("ui_locales", strings.Join(r.UILocales, " "))
	}
	for name, value := range p.cfg.AuthParams {
		q.Set(name, value)
	}
	if again {
		for name, value := range p.cfg.LoginParams {
			q.Set(name, value)
		}
	}
}

// Finish verifies the answer of the server and returns who it says the bearer of its access token is.
func (p *Provider) Finish(ctx context.Context, cb provider.Callback) (*provider.Identity, error) {
	var l login
	if err := json.Unmarshal(cb.Data, &l); err != nil || l.RedirectURI == "" || (l.Verifier == "") != p.cfg.InsecureSkipPKCE {
		return nil, oauth.Fail(provider.Invalid, "the data of the login is not what Begin returned")
	}
	code, err := oauth.CodeOf(cb.Params, p.checkIssuer)
	if err != nil {
		return nil, err
	}
	tokens, err := p.exchange(ctx, code, &l)
	if err != nil {
		return nil, err
	}
	said, err := p.userInfo(ctx, tokens.AccessToken)
	if err != nil {
		return nil, err
	}
	id, err := p.identity(said, tokens)
	if err != nil {
		return nil, err
	}
	if p.cfg.Endpoints.Emails != "" {
		if err := p.emails(ctx, id); err != nil {
			return nil, err
		}
	}
	if id.Username == "" {
		id.Username = id.Email
	}
	if id.Username == "" {
		id.Username = id.Subject
	}
	return id, nil
}

// checkIssuer looks at the parameter "iss" of an answer, RFC 9207 §2.4.
func (p *Provider) checkIssuer(there bool, iss string) error {
	switch {
	case !there && p.cfg.RequireResponseIssuer:
		return oauth.Fail(provider.Invalid, "answer: no issuer, which this server always sends")
	case there && p.cfg.Issuer != "" && iss != p.cfg.Issuer:
		return oauth.Fail(provider.Invalid, "answer: issuer is %s, want %q", oauth.Quote(iss), p.cfg.Issuer)
	case there && p.cfg.Issuer == "":
		return oauth.Fail(provider.Misconfigured, "answer: issuer is %s, and no Issuer is configured to compare it with", oauth.Quote(iss))
	}
	return nil
}

// exchange gets the tokens for a code.
func (p *Provider) exchange(ctx context.Context, code string, l *login) (*provider.Tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.RedirectURI}}
	if l.Verifier != "" {
		form.Set("code_verifier", l.Verifier)
	}
	return p.tokens(ctx, "redeem code", form)
}

// tokens asks the token endpoint.
func (p *Provider) tokens(ctx context.Context, what string, form url.Values) (*provider.Tokens, error) {
	for name, value := range p.cfg.TokenParams { // none is the protocol's
		form.Set(name, value)
	}
	req, err := p.auth.TokenRequest(ctx, p.cfg.Endpoints.Token, form)
	if err != nil {
		return nil, err
	}
	asked := p.cfg.Now()
	status, contentType, body, err := oauth.Do(p.client(), req)
	if err != nil {
		return nil, oauth.Fail(provider.Unavailable, "%s: %w", what, err)
	}
	a, readable := p.parseTokens(contentType, body)
	if status != http.StatusOK || a.Error != "" {
		if what == refreshing {
			return nil, oauth.RefreshError(status, &a, "")
		}
		return nil, oauth.TokenError(what, status, a.Error, "")
	}
	switch {
	case !readable:
		return nil, oauth.Fail(provider.Invalid, "%s: answer is %s and no token response", what, oauth.Quote(contentType))
	case !strings.EqualFold(a.TokenType, "Bearer") && (a.TokenType != "" || !p.cfg.AssumeBearer):
		return nil, oauth.Fail(provider.Invalid, "%s: token type is %s, want Bearer", what, oauth.Quote(a.TokenType))
	case !isToken(a.AccessToken):
		return nil, oauth.Fail(provider.Invalid, "%s: no access token, or none that can be sent", what)
	}
	return &provider.Tokens{
		AccessToken: a.AccessToken, TokenType: "Bearer", RefreshToken: a.RefreshToken, Scope: a.Scope, Expiry: oauth.Expiry(asked, a.ExpiresIn),
	}, nil
}

const refreshing = "refresh tokens"

// RefreshTokens renews tokens.
func (p *Provider) RefreshTokens(ctx context.Context, old *provider.Tokens) (*provider.Tokens, error) {
	form, err := oauth.RefreshForm(old)
	if err != nil {
		return nil, err
	}
	next, err := p.tokens(ctx, refreshing, form)
	if err != nil {
		return nil, err
	}
	return oauth.Renewed(next, old), nil
}

// RevokeTokens tells the server that tokens are not needed any more, if Endpoints.Revocation is set.
func (p *Provider) RevokeTokens(ctx context.Context, t *provider.Tokens) error {
	return p.auth.Revoke(ctx, p.client(), p.cfg.Endpoints.Revocation, p.cfg.Endpoints.Token, t)
}

// parseTokens reads a token response, JSON or, where that is configured, a form.
func (p *Provider) parseTokens(contentType string, body []byte) (a oauth.TokenAnswer, ok bool) {
	if !p.cfg.FormTokens || isJSON(contentType) {
		err := json.Unmarshal(body, &a)
		return a, err == nil && isJSON(contentType)
	}
	form, err := url.ParseQuery(string(body))
	for _, values := range form {
		if len(values) > 1 {
			return a, false
		}
	}
	expires := form.Get("expires_in")
	if expires == "" {
		expires = form.Get("expires")
	}
	return oauth.TokenAnswer{
		AccessToken: form.Get("access_token"), TokenType: form.Get("token_type"), RefreshToken: form.Get("refresh_token"),
		Scope: form.Get("scope"), ExpiresIn: json.RawMessage(expires), Error: form.Get("error"),
	}, err == nil
}

// isToken reports whether s can stand in a header (RFC 6750 §2.1 is narrower, and not kept to).
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

func isJSON(contentType string) bool {
	return oauth.IsMedia(contentType, "application/json") || oauth.IsMedia(contentType, "text/javascript") ||
		strings.HasSuffix(strings.TrimSpace(strings.SplitN(contentType, ";", 2)[0]), "+json")
}

// get fetches what the server says to the bearer of an access token.
func (p *Provider) get(ctx context.Context, what, address, accessToken string) ([]byte, error) {
	at, err := url.Parse(address)
	if err != nil {
		return nil, oauth.Fail(provider.Misconfigured, "%s: bad address", what)
	}
	q := at.Query()
	for name, value := range p.cfg.UserInfoParams {
		q.Set(name, value)
	}
	if p.cfg.ProofParam != "" {
		mac := hmac.New(sha256.New, []byte(p.cfg.ClientSecret))
		mac.Write([]byte(accessToken))
		q.Set(p.cfg.ProofParam, hex.EncodeToString(mac.Sum(nil)))
	}
	if p.cfg.TokenParam != "" {
		q.Set(p.cfg.TokenParam, accessToken)
	}
	at.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, oauth.Fail(provider.Misconfigured, "%s: bad address", what)
	}
	req.Header.Set("Accept", "application/json")
	for name, value := range p.cfg.Header {
		req.Header.Set(name, value)
	}
	if p.cfg.TokenParam == "" {
		req.Header.Set("Authorization", cmp.Or(p.cfg.TokenScheme, "Bearer")+" "+accessToken)
	}
	status, contentType, body, err := oauth.Do(p.client(), req)
	switch {
	case err != nil:
		return nil, oauth.Fail(provider.Unavailable, "%s: %w", what, err)
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, oauth.Fail(provider.Unavailable, "%s: status %d", what, status)
	case status == http.StatusForbidden || status == http.StatusNotFound:
		return nil, oauth.Fail(provider.Misconfigured, "%s: status %d; is a scope missing?", what, status)
	case status != http.StatusOK:
		return nil, oauth.Fail(provider.Invalid, "%s: status %d", what, status)
	case !isJSON(contentType):
		return nil, oauth.Fail(provider.Invalid, "%s: answer is %s, want JSON", what, oauth.Quote(contentType))
	}
	return body, nil
}

// Trust says on what the server's word rests: its name, who redeems codes, who says who somebody is, and by which claim.
func (p *Provider) Trust() provider.Trust {
	basis := []string{
		"protocol=oauth2", "token=" + p.cfg.Endpoints.Token, "userinfo=" + p.cfg.Endpoints.UserInfo, "subject=" + p.cfg.Claims.Subject,
	}
	if p.cfg.Endpoints.Emails != "" {
		basis = append(basis, "emails="+p.cfg.Endpoints.Emails)
	}
	if p.paths.former != nil {
		basis = append(basis, "former_subject="+p.cfg.Claims.FormerSubject)
	}
	return provider.Trust{Issuer: p.cfg.Issuer, Basis: basis}
}

// Insecure returns the names of the fields by which the configuration takes a check away, for the broker to log at start.
func (p *Provider) Insecure() []string {
	var set []string
	for _, field := range []struct {
		name string
		on   bool
	}{
		{"InsecureAllowHTTP", p.cfg.InsecureAllowHTTP},
		{"InsecureAllowPrivateNetworks", p.cfg.InsecureAllowPrivateNetworks},
		{"InsecureSkipPKCE", p.cfg.InsecureSkipPKCE},
	} {
		if field.on {
			set = append(set, field.name)
		}
	}
	return set
}

// Format prints client and token endpoint, whatever the verb: the rest holds secrets.
func (p *Provider) Format(s fmt.State, verb rune) { p.cfg.Format(s, verb) }

// LogValue keeps secrets out of logs.
func (p *Provider) LogValue() slog.Value { return p.cfg.LogValue() }
