package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
	"github.com/go-idbroker/idbroker/token"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutAge is how old a logout token may be; Back-Channel Logout §2.4 has two minutes as the most that it lives.
	maxLogoutAge = 2 * time.Minute
	maxLogoutID  = 1024
)

// logoutTypes are those that a logout token may have (RFC 7515 §4.1.9: "application/" may be left out).
var logoutTypes = []string{string(token.LogoutToken), "application/" + string(token.LogoutToken), jwtType}

// BeginLogout sends the browser to the end_session_endpoint (OpenID Connect RP-Initiated Logout 1.0 §2), or nowhere if the
// provider has none.
func (p *Provider) BeginLogout(ctx context.Context, r provider.LogoutRequest) (*provider.Redirect, error) {
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	if up.logoutURL == "" {
		return nil, nil
	}
	u, err := url.Parse(up.logoutURL)
	if err != nil {
		return nil, fail(provider.Misconfigured, "begin logout: bad end_session_endpoint")
	}
	params := u.Query()
	for _, e := range []struct{ name, value string }{
		{"id_token_hint", r.IDToken},
		{"client_id", p.cfg.ClientID},
		{"post_logout_redirect_uri", r.RedirectURI},
		{"state", r.State},
	} {
		if e.value != "" {
			params.Set(e.name, e.value)
		}
	}
	u.RawQuery = params.Encode()
	return &provider.Redirect{URL: u.String()}, nil
}

// ReceiveLogout verifies a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). Two things are left to the provider
// that the specification came to ask for late: "typ", which may be absent or JWT but is logout+jwt if it is anything else,
// and "exp", which counts if it is there. What tells a logout token from an ID token is "events", and no "nonce"; and an
// "iat" of more than two minutes ago is refused whatever "exp" says.
func (p *Provider) ReceiveLogout(ctx context.Context, m provider.LogoutMessage) (*provider.Logout, error) {
	tokens := m.Params["logout_token"]
	if len(tokens) != 1 {
		return nil, fail(provider.Invalid, "logout: %d logout tokens", len(tokens))
	}
	up, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := p.open(tokens[0], false, logoutTypes...) // Back-Channel Logout §2.4 only recommends it
	if err != nil {
		return nil, fail(provider.Invalid, "logout token: %w", err)
	}
	if _, err := parseHeader(raw, up.algs, logoutTypes...); err != nil {
		return nil, fail(provider.Invalid, "logout token: %w", err)
	}
	keys := &keySet{KeySet: up.keys}
	payload, err := keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, keys.explain("logout token", err)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, fail(provider.Invalid, "logout token: %w", err)
	}
	l, err := p.checkLogout(c)
	if err != nil {
		return nil, fail(provider.Invalid, "logout token: %w", err)
	}
	return l, nil
}

// checkLogout makes the checks of Back-Channel Logout §2.6 that are about claims.
func (p *Provider) checkLogout(c claims) (*provider.Logout, error) {
	l := &provider.Logout{}
	for _, check := range []func(claims, *provider.Logout) error{
		p.checkLogoutFor, p.checkLogoutTimes, checkLogoutEvent, checkLogoutNames,
	} {
		if err := check(c, l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (p *Provider) checkLogoutFor(c claims, l *provider.Logout) (err error) {
	if l.Issuer, err = c.must("iss"); err != nil {
		return err
	}
	if _, ok := p.issuers.accept(l.Issuer); !ok {
		return fmt.Errorf("issuer is %s, want %q", oauth.Quote(l.Issuer), p.cfg.Issuer)
	}
	audience, err := c.audience()
	if err == nil && !slices.Contains(audience, p.cfg.ClientID) {
		err = errors.New("audience is not this client")
	}
	return err
}

func (p *Provider) checkLogoutTimes(c claims, l *provider.Logout) error {
	now, skew := p.now(), p.cfg.ClockSkew
	iat, there, err := c.time("iat")
	if err != nil || !there {
		return orMissing(err, "iat")
	}
	l.Expires = iat.Add(maxLogoutAge + skew)
	exp, there, err := c.time("exp")
	if err != nil {
		return err
	}
	if there && exp.Add(skew).Before(l.Expires) {
		l.Expires = exp.Add(skew)
	}
	switch {
	case iat.After(now.Add(skew)):
		return errors.New("issued in the future: are both clocks right?")
	case !now.Before(l.Expires):
		return errors.New("expired, or issued too long ago: are both clocks right?")
	}
	return nil
}

func checkLogoutEvent(c claims, _ *provider.Logout) error {
	events, ok := c["events"].(map[string]any)
	if !ok {
		return errors.New("events is missing or no object")
	}
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return errors.New("it is not about a logout")
	}
	if _, there := c["nonce"]; there {
		return errors.New("it has a nonce, as an ID token has")
	}
	return nil
}

// checkLogoutNames reads what the token names: jti, and sub or sid or both. One that is there and unusable is no reason to
// go by the other alone, which could name more.
func checkLogoutNames(c claims, l *provider.Logout) (err error) {
	if l.ID, err = c.must("jti"); err != nil {
		return err
	}
	if len(l.ID) > maxLogoutID {
		return errors.New("jti is too long")
	}
	if _, there := c["sid"]; there {
		if l.Session, err = c.must("sid"); err != nil {
			return err
		}
		if c.text("sid") != l.Session {
			return errors.New("sid is unusable")
		}
	}
	if _, there := c["sub"]; there {
		if err := checkSubject(c); err != nil {
			return err
		}
		l.Subject = c.text("sub")
	}
	if l.Session == "" && l.Subject == "" {
		return errors.New("neither sid nor sub")
	}
	return nil
}
