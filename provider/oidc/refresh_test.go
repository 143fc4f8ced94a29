package oidc_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// first logs in and returns what there is to renew.
func (o *op) first(t testing.TB, p *oidc.Provider) *provider.Tokens {
	t.Helper()
	return o.must(t, p).Tokens
}

// secretless fails if an error shows what nobody may read.
func secretless(t testing.TB, err error) {
	t.Helper()
	for _, secret := range []string{clientSecret, "refresh-token", "access-token", "eyJ", "is spent"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("error %q shows %q", err, secret)
		}
	}
}

func TestRefreshTokens(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	old := o.first(t, p)
	before := *old
	next, err := p.RefreshTokens(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if *old != before {
		t.Error("what was to be renewed was changed")
	}
	if next.AccessToken != "the-next-access-token" || next.RefreshToken != "the-next-refresh-token" || next.Scope != "openid email" ||
		next.IDToken == old.IDToken || next.IDToken == "" || !next.Expiry.Equal(o.now().Add(10*time.Minute)) {
		t.Errorf("new tokens: %#v", next)
	}
	if f := o.tokenReq.PostForm; f.Has("scope") || len(f) != 2 || o.tokenReq.Header.Get("Authorization") == "" {
		t.Errorf("request %v, want the refresh token and the client's authentication alone", f)
	}
	o.answer = func(m object) {
		for _, name := range []string{"refresh_token", "id_token", "scope"} {
			delete(m, name)
		}
	}
	kept, err := p.RefreshTokens(t.Context(), old)
	if err != nil || kept.RefreshToken != old.RefreshToken || kept.IDToken != old.IDToken || kept.Scope != old.Scope ||
		kept.AccessToken != "the-next-access-token" {
		t.Errorf("what the answer leaves out: %#v, %v", kept, err)
	}
}

// What the ID token of the login does not say, one that comes later may.
func TestRefreshTokensSayMore(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.claims = drop("auth_time")
	p := newProvider(t, o.config())
	old := o.first(t, p)
	o.claims = set("auth_time", o.ago(time.Hour))
	if _, err := p.RefreshTokens(t.Context(), old); err != nil {
		t.Errorf("RefreshTokens: %v", err)
	}
}

func TestRefreshTokensAttacks(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		edit func(*op)
		old  func(*provider.Tokens)
		kind provider.Kind
		part string
	}{
		"another subject":     {edit: func(o *op) { o.claims = set("sub", "mallory") }, part: "sub"},
		"another issuer":      {edit: func(o *op) { o.claims = set("iss", "https://evil.example") }, part: "issuer"},
		"another audience":    {edit: func(o *op) { o.claims = set("aud", "another") }, part: "audience"},
		"another nonce":       {edit: func(o *op) { o.claims = set("nonce", "another") }, part: "nonce"},
		"another auth_time":   {edit: func(o *op) { o.claims = set("auth_time", 1) }, part: "auth_time"},
		"another token":       {edit: func(o *op) { o.claims = set("at_hash", "AAAA") }, part: "at_hash"},
		"a logout token":      {edit: func(o *op) { o.claims = set("events", object{}) }, part: "security event"},
		"an old ID token":     {edit: func(o *op) { o.claims = set("iat", o.ago(time.Hour)) }, part: "too long ago"},
		"a foreign signature": {edit: func(o *op) { o.raw = func(raw string) string { return raw[:len(raw)-6] + "AAAAAA" } }, part: "signature"},
		"no access token":     {edit: func(o *op) { o.answer = drop("access_token") }, part: "no access token"},
		"another token type":  {edit: func(o *op) { o.answer = set("token_type", "MAC") }, part: "MAC"},
		"a page":              {edit: func(o *op) { o.media = "text/html" }, part: "text/html"},
		"an error with status 200": {
			edit: func(o *op) { o.answer = set("error", "invalid_grant") }, kind: provider.Expired, part: "invalid_grant",
		},
		"a spent token": {
			old: func(t *provider.Tokens) { t.RefreshToken = "another-refresh-token" }, kind: provider.Expired, part: "invalid_grant",
		},
		"a spent token, in words": {
			edit: func(o *op) {
				o.reply = answers(http.StatusBadRequest, object{"status": 400, "message": "Invalid refresh token"})
			},
			kind: provider.Expired, part: "400",
		},
		"a refusal without a reason": {
			edit: func(o *op) { o.reply = answers(http.StatusUnauthorized, object{"message": "Unauthorized"}) }, kind: provider.Denied, part: "401",
		},
		"no refresh token": {old: func(t *provider.Tokens) { t.RefreshToken = "" }, kind: provider.Expired, part: "no refresh token"},
		"no ID token":      {old: func(t *provider.Tokens) { t.IDToken = "" }, kind: provider.Expired, part: "ID token"},
		"client refused": {
			edit: func(o *op) { o.auth = func(*http.Request) bool { return false } }, kind: provider.Misconfigured, part: "invalid_client",
		},
		"out of order": {edit: func(o *op) { o.down = true }, kind: provider.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.claims = set("auth_time", o.ago(time.Minute))
			p := newProvider(t, o.config())
			tokens := o.first(t, p)
			if row.edit != nil {
				row.edit(o)
			}
			if row.old != nil {
				row.old(tokens)
			}
			_, err := p.RefreshTokens(t.Context(), tokens)
			refused(t, err, row.kind, row.part)
			secretless(t, err)
		})
	}
}

func answers(status int, v object) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		writeJSON(w, v)
	}
}

// A refresh token goes to nobody but who has issued it, also where an alias has come to point to another provider since.
func TestRefreshTokensOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	o, evil := newOP(t), newOP(t)
	old := o.first(t, newProvider(t, o.config()))
	_, err := newProvider(t, evil.config()).RefreshTokens(t.Context(), old)
	refused(t, err, provider.Expired, "issuer")
	secretless(t, err)
	if evil.count("/token") != 0 {
		t.Error("another provider has seen the refresh token")
	}
}

// While its keys cannot be had the provider's new refresh token is not lost; a user who is changed is noticed all the same.
func TestRefreshTokensWithoutKeys(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		sub  string
		fail bool
	}{"the same user": {"alice-1", false}, "another user": {"mallory", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			p := newProvider(t, o.config())
			old := o.first(t, p)
			o.claims = set("sub", row.sub)
			o.header = set("kid", "unknown")
			o.mu.Lock()
			o.keys = nil
			o.mu.Unlock()
			o.advance(time.Hour) // the keys that are known have to be asked for again
			next, err := p.RefreshTokens(t.Context(), old)
			if row.fail != (err != nil) {
				t.Fatalf("RefreshTokens: %v", err)
			}
			if err == nil && (next.RefreshToken != "the-next-refresh-token" || next.IDToken != old.IDToken) {
				t.Errorf("new tokens: %#v", next)
			}
			secretless(t, err)
		})
	}
}

func TestRevokeTokens(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	silent := newProvider(t, o.config())
	tokens := o.first(t, silent)
	if err := silent.RevokeTokens(t.Context(), tokens); err != nil || o.count("/revoke") != 0 {
		t.Errorf("without an endpoint: %v, asked %d times", err, o.count("/revoke"))
	}
	o.metadata["revocation_endpoint"] = o.URL + "/revoke"
	p := newProvider(t, o.config())
	if err := p.RevokeTokens(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
	if f := o.tokenReq.PostForm; f.Get("token") != tokens.RefreshToken || f.Get("token_type_hint") != "refresh_token" ||
		o.tokenReq.Header.Get("Authorization") == "" {
		t.Errorf("revocation request %v", f)
	}
	access := *tokens
	access.RefreshToken = ""
	if err := p.RevokeTokens(t.Context(), &access); err != nil || o.tokenReq.PostForm.Get("token") != tokens.AccessToken {
		t.Errorf("without a refresh token: %v, %v", o.tokenReq.PostForm, err)
	}
	o.reply = func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusServiceUnavailable)
		writeJSON(w, object{"error": tokens.RefreshToken})
	}
	err := p.RevokeTokens(t.Context(), tokens)
	refused(t, err, provider.Unavailable, "503")
}

// A discovery that names an address which is none for a token endpoint changes nothing: the refresh token goes where it went before.
func TestRefreshTokensAfterBadDiscovery(t *testing.T) {
	t.Parallel()
	for _, edit := range []func(evil string) (name, value string){
		func(evil string) (string, string) {
			return "token_endpoint", strings.Replace(evil, "http://", "http://user@", 1) + "/token"
		},
		func(evil string) (string, string) { return "token_endpoint", "file:///etc/passwd" },
		func(evil string) (string, string) { return "revocation_endpoint", evil + "/revoke#x" },
		func(evil string) (string, string) { return "issuer", evil },
	} {
		o, evil := newOP(t), newOP(t)
		p := newProvider(t, o.config())
		old := o.first(t, p)
		name, value := edit(evil.URL)
		o.mu.Lock()
		o.metadata[name] = value
		if name == "issuer" {
			o.metadata["token_endpoint"] = evil.URL + "/token"
		}
		o.mu.Unlock()
		o.claims = set("iss", o.URL)
		o.advance(2 * time.Hour)
		for p.Stale() == nil { // what is known is fetched again beside this
			if _, err := p.RefreshTokens(t.Context(), old); err != nil {
				t.Fatalf("%s %s: %v", name, value, err)
			}
		}
		if err := p.RevokeTokens(t.Context(), old); err != nil {
			t.Errorf("%s %s: revoke: %v", name, value, err)
		}
		if evil.count("/token")+evil.count("/revoke") != 0 {
			t.Errorf("%s %s: another server was sent the refresh token", name, value)
		}
	}
}
