package oidc_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

func (f *flow) provider(t testing.TB, edit func(*oidc.Config)) *oidc.Provider {
	t.Helper()
	c := f.config(t)
	if edit != nil {
		edit(&c)
	}
	p, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func receive(t testing.TB, p *oidc.Provider, tokens ...string) (*provider.Logout, error) {
	t.Helper()
	return p.ReceiveLogout(t.Context(), provider.LogoutMessage{Params: url.Values{"logout_token": tokens}})
}

// OpenID Connect Back-Channel Logout 1.0 §2.6, CVE-2026-18569, GHSA-pcgw-qcv5-h8ch.
func TestReceiveLogoutRefuses(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	p := f.provider(t, nil)
	refuses := func(t *testing.T, kind provider.Kind, tokens ...string) {
		t.Helper()
		l, err := receive(t, p, tokens...)
		failure, ok := errors.AsType[*provider.Error](err)
		if !ok || failure.Kind != kind || l != nil {
			t.Fatalf("got %+v, %v, want %v", l, err, kind)
		}
		for _, token := range tokens {
			if token != "" && strings.Contains(err.Error(), token) {
				t.Errorf("the error repeats the token: %v", err)
			}
		}
	}
	right := providertest.Logout{Client: f.client.ID, Subject: "248289761001", Session: "s"}
	for _, fault := range providertest.LogoutFaults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			l := right
			l.Faults = []providertest.LogoutFault{fault}
			refuses(t, provider.Invalid, f.op.LogoutToken(l))
		})
	}
	edits := map[string]func(header, claims map[string]any){
		"typ number":    func(h, _ map[string]any) { h["typ"] = 1 },
		"typ null":      func(h, _ map[string]any) { h["typ"] = nil },
		"typ of a DPoP": func(h, _ map[string]any) { h["typ"] = "dpop+jwt" },
		"b64":           func(h, _ map[string]any) { h["b64"] = false },
		"null nonce":    func(_, c map[string]any) { c["nonce"] = nil },
		"events list": func(_, c map[string]any) {
			c["events"] = []string{"http://schemas.openid.net/event/backchannel-logout"}
		},
		"event null": func(_, c map[string]any) {
			c["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": nil}
		},
		"event by case": func(_, c map[string]any) {
			c["events"] = map[string]any{"HTTP://schemas.openid.net/event/backchannel-logout": map[string]any{}}
		},
		"Events":            func(_, c map[string]any) { c["Events"] = c["events"]; delete(c, "events") },
		"iat text":          func(_, c map[string]any) { c["iat"] = "now" },
		"iat negative":      func(_, c map[string]any) { c["iat"] = -1 },
		"exp text":          func(_, c map[string]any) { c["exp"] = "later" },
		"exp null":          func(_, c map[string]any) { c["exp"] = nil },
		"sid number":        func(_, c map[string]any) { c["sid"] = 1 },
		"sid null":          func(_, c map[string]any) { c["sid"] = nil },
		"sid with a NUL":    func(_, c map[string]any) { c["sid"] = "a\x00" },
		"sid too long":      func(_, c map[string]any) { c["sid"] = strings.Repeat("a", 4000) },
		"sub null":          func(_, c map[string]any) { c["sub"] = nil },
		"sub empty":         func(_, c map[string]any) { c["sub"] = "" },
		"sub too long":      func(_, c map[string]any) { c["sub"] = strings.Repeat("a", 256) },
		"jti empty":         func(_, c map[string]any) { c["jti"] = "" },
		"jti number":        func(_, c map[string]any) { c["jti"] = 1 },
		"jti too long":      func(_, c map[string]any) { c["jti"] = strings.Repeat("a", 2000) },
		"audience mixed":    func(_, c map[string]any) { c["aud"] = []any{c["aud"], 1} },
		"audience by case":  func(_, c map[string]any) { c["aud"] = strings.ToUpper(c["aud"].(string)) },
		"issuer by a slash": func(_, c map[string]any) { c["iss"] = c["iss"].(string) + "/" },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := right
			l.Edit = edit
			refuses(t, provider.Invalid, f.op.LogoutToken(l))
		})
	}
	t.Run("other than one token", func(t *testing.T) {
		t.Parallel()
		refuses(t, provider.Invalid)
		refuses(t, provider.Invalid, "")
		refuses(t, provider.Invalid, f.op.LogoutToken(right), f.op.LogoutToken(right))
	})
	t.Run("ID token", func(t *testing.T) {
		t.Parallel()
		id, err := f.login(t, p)
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, provider.Invalid, id.Tokens.IDToken)
	})
	t.Run("huge", func(t *testing.T) {
		t.Parallel()
		l := right
		l.Edit = func(_, c map[string]any) { c["padding"] = strings.Repeat("a", 20<<10) }
		refuses(t, provider.Invalid, f.op.LogoutToken(l))
	})
	t.Run("another client's", func(t *testing.T) {
		t.Parallel()
		l := right
		l.Client = f.op.Register(providertest.Client{}).ID
		refuses(t, provider.Invalid, f.op.LogoutToken(l))
	})
}

func TestReceiveLogoutWithoutKeys(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	p := f.provider(t, nil)
	f.op.Break(providertest.JWKSDown)
	_, err := receive(t, p, f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Session: "s"}))
	if failure, ok := errors.AsType[*provider.Error](err); !ok || failure.Kind != provider.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestReceiveLogout(t *testing.T) {
	t.Parallel()
	late := time.Duration(0)
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	p := f.provider(t, func(c *oidc.Config) { c.Now = func() time.Time { return time.Now().Add(late) } })
	for name, edit := range map[string]func(header, claims map[string]any){
		"as it should be":  nil,
		"typ JWT":          func(h, _ map[string]any) { h["typ"] = "JWT" },
		"no typ":           func(h, _ map[string]any) { delete(h, "typ") },
		"typ in full":      func(h, _ map[string]any) { h["typ"] = "application/logout+JWT" },
		"no exp":           func(_, c map[string]any) { delete(c, "exp") },
		"long exp":         func(_, c map[string]any) { c["exp"] = time.Now().Add(time.Hour).Unix() },
		"several audience": func(_, c map[string]any) { c["aud"] = []any{"other", c["aud"]} },
		"event with data": func(_, c map[string]any) {
			c["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{"a": 1}, "other": 1}
		},
	} {
		token := f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Subject: "sub", Session: "sid", Edit: edit})
		l, err := receive(t, p, token)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		left := time.Until(l.Expires)
		if l.Issuer != f.op.Issuer() || l.Subject != "sub" || l.Session != "sid" || l.ID == "" || left < time.Minute || left > 3*time.Minute {
			t.Errorf("%s: got %+v", name, l)
		}
	}
	either := []providertest.Logout{{Session: "sid"}, {Subject: "sub"}}
	for _, l := range either {
		l.Client = f.client.ID
		got, err := receive(t, p, f.op.LogoutToken(l))
		if err != nil || got.Session != l.Session || got.Subject != l.Subject {
			t.Errorf("%+v: got %+v, %v", l, got, err)
		}
	}

	// Once it has expired by its own word the same token is refused: no replay mark is needed any longer.
	token := f.op.LogoutToken(providertest.Logout{Client: f.client.ID, Session: "sid"})
	l, err := receive(t, p, token)
	if err != nil {
		t.Fatal(err)
	}
	late = time.Until(l.Expires)
	if l, err := receive(t, p, token); err == nil {
		t.Errorf("accepted after Expires: %+v", l)
	}
}

// OpenID Connect RP-Initiated Logout 1.0 §2.
func TestBeginLogout(t *testing.T) {
	t.Parallel()
	f := newFlow(t, providertest.OIDCConfig{}, providertest.Client{})
	request := provider.LogoutRequest{IDToken: "h.i.nt", Subject: "s", Session: "sid", RedirectURI: "https://broker.example/back?a=b", State: "st&ate"}
	want := url.Values{
		"id_token_hint": {"h.i.nt"}, "client_id": {f.client.ID}, "post_logout_redirect_uri": {request.RedirectURI}, "state": {"st&ate"},
	}.Encode()
	redirect, err := f.provider(t, nil).BeginLogout(t.Context(), request)
	if err != nil || redirect.URL != f.op.Issuer()+"/logout?"+want || redirect.Form != nil {
		t.Errorf("got %+v, %v", redirect, err)
	}
	fixed := f.provider(t, func(c *oidc.Config) { c.Endpoints.EndSession = "https://op.example/out?tenant=1" })
	redirect, err = fixed.BeginLogout(t.Context(), provider.LogoutRequest{State: "s"})
	want = url.Values{"client_id": {f.client.ID}, "state": {"s"}, "tenant": {"1"}}.Encode()
	if err != nil || redirect.URL != "https://op.example/out?"+want {
		t.Errorf("configured: got %+v, %v", redirect, err)
	}

	f.op.Edit(providertest.Hooks{Discovery: func(doc map[string]any) { delete(doc, "end_session_endpoint") }})
	if redirect, err := f.provider(t, nil).BeginLogout(t.Context(), request); redirect != nil || err != nil {
		t.Errorf("without an endpoint: got %+v, %v", redirect, err)
	}
	f.op.Edit(providertest.Hooks{Discovery: func(doc map[string]any) { doc["end_session_endpoint"] = "javascript:alert(1)" }})
	if redirect, err := f.provider(t, nil).BeginLogout(t.Context(), request); err == nil {
		t.Errorf("with a script: got %+v", redirect)
	}
	f.op.Break(providertest.DiscoveryDown)
	if redirect, err := f.provider(t, nil).BeginLogout(t.Context(), request); err == nil {
		t.Errorf("without discovery: got %+v", redirect)
	}
	script := oidc.Endpoints{EndSession: "javascript:alert(1)"}
	if _, err := oidc.New(oidc.Config{Issuer: "https://op.example", ClientID: "c", ClientSecret: "s", Endpoints: script}); err == nil {
		t.Error("a script was taken for an end session endpoint")
	}
}
