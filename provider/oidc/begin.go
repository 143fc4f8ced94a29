package oidc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/provider"
)

// A login is what has to be remembered between Begin and Finish. It is sealed by the broker.
type login struct {
	RedirectURI string `json:"r"`
	Nonce       string `json:"n,omitempty"`
	Verifier    string `json:"v,omitempty"`
	Begun       int64  `json:"t"`           // Unix time
	MaxAge      *int64 `json:"m,omitempty"` // seconds; nil if none was asked for
}

// parseLogin reads what Begin wrote. That it came back unchanged is the caller's promise.
func parseLogin(data []byte) (*login, error) {
	var l login
	if err := json.Unmarshal(data, &l); err != nil || l.RedirectURI == "" || l.Begun <= 0 {
		return nil, fail(provider.Invalid, "the data of the login is not what Begin returned")
	}
	return &l, nil
}

// Begin says where to send the browser.
func (p *Provider) Begin(ctx context.Context, r provider.Request) (*provider.Redirect, error) {
	if r.RedirectURI == "" || r.State == "" {
		return nil, fail(provider.Misconfigured, "begin login: a redirect URI and a state are needed")
	}
	prompt, err := p.prompt(r.Prompt)
	if err != nil {
		return nil, err
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	l := login{RedirectURI: r.RedirectURI, Begun: p.now().Unix(), MaxAge: p.maxAge(r.MaxAge)}
	options := make([]oauth2.AuthCodeOption, 0, 16)
	set := func(name, value string) {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	p.setForwarded(set, r)
	set("prompt", prompt)
	set("redirect_uri", r.RedirectURI)
	if l.MaxAge != nil {
		set("max_age", strconv.FormatInt(*l.MaxAge, 10))
	}
	if p.cfg.FormPost {
		set("response_mode", "form_post")
	}
	if !p.cfg.InsecureSkipNonce {
		l.Nonce = rand.Text()
		set("nonce", l.Nonce)
	}
	if !p.cfg.InsecureSkipPKCE {
		l.Verifier = oauth2.GenerateVerifier()
		options = append(options, oauth2.S256ChallengeOption(l.Verifier))
	}
	data, err := json.Marshal(l)
	if err != nil {
		return nil, fail(provider.Invalid, "begin login: %w", err)
	}
	return &provider.Redirect{URL: up.client.AuthCodeURL(r.State, options...), Data: data, PostBack: p.cfg.FormPost}, nil
}

// setForwarded sets what the application may ask for and what the configuration adds. The protocol's own parameters
// are not among them, New has seen to that.
func (p *Provider) setForwarded(set func(name, value string), r provider.Request) {
	for _, name := range p.cfg.ForwardParams {
		if values := r.Params[name]; len(values) == 1 { // RFC 6749 §3.1: none is sent twice
			set(name, values[0])
		}
	}
	set("acr_values", strings.Join(r.ACRValues, " "))
	if p.cfg.ForwardLoginHint {
		set("login_hint", r.LoginHint)
	}
	if p.cfg.ForwardUILocales {
		set("ui_locales", strings.Join(r.UILocales, " "))
	}
	for name, value := range p.cfg.AuthParams {
		set(name, value)
	}
}

// prompt returns what to send. An application that wants no page must not get one because that wish was dropped.
func (p *Provider) prompt(requested []string) (string, error) {
	unknown := func(s string) bool {
		return p.cfg.PromptValues != nil && !slices.Contains(p.cfg.PromptValues, s) && s != "none"
	}
	proof := slices.Contains(requested, "login") && !slices.Contains(p.cfg.Prompt, "login")
	if proof && (unknown("login") || slices.Contains(p.cfg.Prompt, "none")) {
		return "", fail(provider.LoginRequired, "begin login: a new proof is asked for, and this provider does not know how")
	}
	requested = slices.DeleteFunc(slices.Clone(requested), unknown)
	if !slices.Contains(requested, "none") {
		if len(p.cfg.Prompt) > 0 || p.cfg.IgnorePrompt {
			requested = slices.Clone(p.cfg.Prompt)
			if proof { // the answer is taken for one
				requested = slices.Insert(requested, 0, "login")
			}
		}
		return strings.Join(requested, " "), nil
	}
	switch fixed := strings.Join(p.cfg.Prompt, " "); {
	case len(requested) > 1:
		return "", fail(provider.Invalid, "begin login: prompt none stands beside others")
	case fixed == "none", fixed == "" && p.cfg.AcceptPromptNone:
		return "none", nil
	}
	return "", fail(provider.LoginRequired, "begin login: the application wants no page, and this provider is not asked for that")
}

// maxAge returns the shorter of what is configured and what is asked and passed on, in seconds.
func (p *Provider) maxAge(requested *time.Duration) *int64 {
	age := p.cfg.MaxAge
	if p.cfg.ForwardMaxAge && requested != nil && (age == nil || *requested < *age) {
		age = requested
	}
	if age == nil {
		return nil
	}
	seconds := int64(max(*age, 0) / time.Second)
	return &seconds
}
