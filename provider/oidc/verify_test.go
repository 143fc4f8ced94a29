package oidc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
)

// token is an ID token that an application got by itself.
func (o *op) token(t testing.TB) string {
	t.Helper()
	return o.idToken(t, object{
		"iss": o.metadata["issuer"], "sub": "alice-1", "aud": clientID, "iat": o.now().Unix(), "nonce": "the application's",
		"exp": o.now().Add(time.Hour).Unix(), "email": "alice@example.com", "email_verified": true, "at_hash": "x",
	})
}

func TestVerifyToken(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	id, err := p.VerifyToken(t.Context(), o.token(t))
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer != o.URL || id.Subject != "alice-1" || id.Email != "alice@example.com" || !id.EmailVerified || id.Tokens != nil {
		t.Errorf("got %+v", id)
	}
	if o.count("/userinfo")+o.count("/token") != 0 {
		t.Error("endpoints were asked that need an access token or a code")
	}
}

// RFC 8693 §2.1 leaves to the server what a token must be; these are the checks of a login, and those that make up for
// what a login has besides: Zitadel CVE-2026-55669, Keycloak CVE-2026-18214, authentik CVE-2024-47077.
func TestVerifyTokenRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		claims, header func(object)
		raw            func(string) string
		part           string
	}{
		"issuer wrong":              {claims: set("iss", "https://evil.example"), part: "issuer"},
		"issuer missing":            {claims: drop("iss"), part: "iss"},
		"issuer with a slash":       {claims: func(c object) { c["iss"] = c["iss"].(string) + "/" }, part: "issuer"},
		"audience another client":   {claims: set("aud", "other"), part: "audience"},
		"audience missing":          {claims: drop("aud"), part: "aud"},
		"audience in capitals":      {claims: set("aud", strings.ToUpper(clientID)), part: "audience"},
		"audience by another name":  {claims: func(c object) { c["Aud"] = c["aud"]; delete(c, "aud") }, part: "aud"},
		"audiences without azp":     {claims: set("aud", []string{clientID, "other"}), part: "azp"},
		"azp another client":        {claims: set("azp", "other"), part: "azp"},
		"azp a list":                {claims: set("azp", []string{clientID}), part: "azp"},
		"azp null":                  {claims: set("azp", nil), part: "azp"},
		"an access token by scope":  {claims: set("scope", "openid"), part: "access token"},
		"an access token by scp":    {claims: set("scp", []string{"x"}), part: "access token"},
		"an access token by typ":    {claims: set("typ", "Bearer"), part: "typ"},
		"a refresh token by typ":    {claims: set("typ", "Refresh"), part: "typ"},
		"an access token by header": {header: set("typ", "at+jwt"), part: "type"},
		"a logout token":            {claims: set("events", object{}), part: "security event"},
		"a logout token by header":  {header: set("typ", "logout+jwt"), part: "type"},
		"expired":                   {claims: func(c object) { c["exp"] = c["iat"].(int64) - 61 }, part: "expired"},
		"exp missing":               {claims: drop("exp"), part: "exp"},
		"iat missing":               {claims: drop("iat"), part: "iat"},
		"iat in the future":         {claims: func(c object) { c["iat"] = c["iat"].(int64) + 120 }, part: "future"},
		"iat six minutes ago":       {claims: func(c object) { c["iat"] = c["iat"].(int64) - 361 }, part: "too long ago"},
		"nbf in the future":         {claims: func(c object) { c["nbf"] = c["iat"].(int64) + 120 }, part: "not valid yet"},
		"auth_time in the future":   {claims: func(c object) { c["auth_time"] = c["iat"].(int64) + 120 }, part: "auth_time"},
		"subject missing":           {claims: drop("sub"), part: "sub"},
		"subject empty":             {claims: set("sub", ""), part: "sub"},
		"subject null":              {claims: set("sub", "null"), part: "subject"},
		"subject a number":          {claims: set("sub", 1), part: "sub"},
		"alg none":                  {header: set("alg", "none"), part: "signed with"},
		"alg of no key":             {header: set("alg", "XS256"), part: "signed with"},
		"crit":                      {header: set("crit", []string{"x"}), part: "crit"},
		"signature cut":             {raw: func(s string) string { return s[:len(s)-2] }, part: "signature"}, // 63 whole bytes
		"signature cut in a byte":   {raw: func(s string) string { return s[:len(s)-1] }, part: "malformed"},
		"signature missing":         {raw: func(s string) string { return s[:strings.LastIndex(s, ".")+1] }, part: ""},
		"nothing":                   {raw: func(string) string { return "" }, part: "not a signed JWT"},
		"very long":                 {raw: func(s string) string { return s + strings.Repeat("A", 17<<10) }, part: "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.claims, o.header, o.raw = row.claims, row.header, row.raw
			raw := o.token(t)
			id, err := newProvider(t, o.config()).VerifyToken(t.Context(), raw)
			refused(t, err, provider.Invalid, row.part)
			if id != nil {
				t.Errorf("and yet an identity: %+v", id)
			}
			if raw != "" && strings.Contains(err.Error(), raw) {
				t.Error("the error repeats the token")
			}
		})
	}
}

func TestVerifyTokenOfAnotherKey(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	known := o.signer.public()
	o.signer = newKey(t, "ES256", "k1")
	o.keys = []any{jose.JSONWebKey{Key: known.Key, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}
	_, err := newProvider(t, o.config()).VerifyToken(t.Context(), o.token(t))
	refused(t, err, provider.Invalid, "signature")
}

func TestVerifyTokenProviderDown(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	raw := o.token(t)
	o.setDown(true)
	_, err := newProvider(t, o.config()).VerifyToken(t.Context(), raw)
	refused(t, err, provider.Unavailable, "")
}

func TestVerifyTokenOfAnApplication(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		claims func(object)
		ok     bool
	}{
		"for it":                      {set("aud", "mobile"), true},
		"for it, asked for by it":     {merge(object{"aud": "mobile", "azp": "mobile"}), true},
		"for the broker, asked by it": {set("azp", "mobile"), true},
		"for it, asked by another":    {merge(object{"aud": "mobile", "azp": "other"}), false},
		"for another, asked by it":    {merge(object{"aud": "other", "azp": "mobile"}), false},
		"for it and another":          {set("aud", []string{"mobile", "other"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			o.claims = row.claims
			cfg := o.config()
			cfg.ExchangeAudiences = []string{"mobile"}
			if _, err := newProvider(t, cfg).VerifyToken(t.Context(), o.token(t)); (err == nil) != row.ok {
				t.Errorf("accepted is %t, want %t: %v", err == nil, row.ok, err)
			}
		})
	}
	if _, err := oidc.New(oidc.Config{Issuer: "https://op.example", ClientID: "c", ClientSecret: "s", ExchangeAudiences: []string{""}}); err == nil ||
		!strings.Contains(err.Error(), "ExchangeAudiences") {
		t.Errorf("an empty audience is configured: %v", err)
	}
}

func TestVerifyTokenOtherRules(t *testing.T) {
	t.Parallel()
	hour := time.Hour
	for name, row := range map[string]struct {
		config func(*oidc.Config)
		claims func(*op, object)
		kind   provider.Kind
		part   string // "" is accepted
	}{
		"hosted domain missing":    {config: hosted, kind: provider.ClaimMismatch, part: "hd"},
		"hosted domain of another": {config: hosted, claims: func(_ *op, c object) { c["hd"] = "evil.example" }, kind: provider.ClaimMismatch, part: "hd"},
		"hosted domain":            {config: hosted, claims: func(_ *op, c object) { c["hd"] = "corp.example" }},
		"max_age, no auth_time":    {config: func(c *oidc.Config) { c.MaxAge = &hour }, part: "auth_time"},
		"max_age, long ago": {config: func(c *oidc.Config) { c.MaxAge = &hour },
			claims: func(o *op, c object) { c["auth_time"] = o.ago(2 * time.Hour) }, part: "max_age"},
		"max_age":             {config: func(c *oidc.Config) { c.MaxAge = &hour }, claims: func(o *op, c object) { c["auth_time"] = o.ago(time.Minute) }},
		"Keycloak's ID token": {config: func(*oidc.Config) {}, claims: func(_ *op, c object) { c["typ"] = "ID" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			if row.claims != nil {
				o.claims = func(c object) { row.claims(o, c) }
			}
			cfg := o.config()
			row.config(&cfg)
			_, err := newProvider(t, cfg).VerifyToken(t.Context(), o.token(t))
			if row.part == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, row.kind, row.part)
		})
	}
}

func hosted(c *oidc.Config) { c.EssentialClaim, c.EssentialValue = "hd", "corp.example" }
