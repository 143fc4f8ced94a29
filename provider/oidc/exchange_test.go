package oidc_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/token"
)

// Ids and secrets that some encoding somewhere gets wrong.
func awkward() []string {
	return []string{"plain", "with:colon", "with space", "100%", "%41", "a+b", "a&b=c", "a/b?c#d", `quo"te\`, "ümläut", "日本",
		"~._-*", "trailing "}
}

func TestClientAuthBySecret(t *testing.T) {
	t.Parallel()
	secretOnlyInHeader := func(f url.Values) bool {
		return !f.Has("client_secret") && !f.Has("client_assertion") && !f.Has("client_id")
	}
	for _, row := range []struct {
		method oidc.AuthMethod
		accept func(r *http.Request, id, secret string) bool
	}{
		{oidc.ClientSecretBasic, func(r *http.Request, id, secret string) bool {
			// As RFC 6749 §2.3.1 has it read, by hand: base64, first colon, form decoding of both parts.
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
			gotID, gotSecret, ok := strings.Cut(string(raw), ":")
			gotID, err1 := url.QueryUnescape(gotID)
			gotSecret, err2 := url.QueryUnescape(gotSecret)
			return err == nil && ok && err1 == nil && err2 == nil && gotID == id && gotSecret == secret && secretOnlyInHeader(r.PostForm)
		}},
		{oidc.ClientSecretBasicUnencoded, func(r *http.Request, id, secret string) bool {
			gotID, gotSecret, ok := r.BasicAuth()
			return ok && gotID == id && gotSecret == secret && secretOnlyInHeader(r.PostForm)
		}},
		{oidc.ClientSecretPost, func(r *http.Request, id, secret string) bool {
			return r.Header.Get("Authorization") == "" && r.PostForm.Get("client_id") == id && r.PostForm.Get("client_secret") == secret &&
				!strings.Contains(r.URL.RawQuery, "secret")
		}},
		{oidc.NoClientAuth, func(r *http.Request, id, _ string) bool {
			return r.Header.Get("Authorization") == "" && r.PostForm.Get("client_id") == id && !r.PostForm.Has("client_secret")
		}},
	} {
		t.Run(string(row.method), func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			for i, id := range awkward() {
				secret := awkward()[(i+5)%len(awkward())]
				if row.method == oidc.ClientSecretBasicUnencoded {
					id = strings.ReplaceAll(id, ":", "")
				}
				cfg := o.config()
				cfg.ClientID, cfg.ClientSecret, cfg.AuthMethod = id, secret, row.method
				if row.method == oidc.NoClientAuth {
					cfg.ClientSecret = ""
				}
				cfg.DisableUserInfo = true
				o.claims = set("aud", id)
				o.auth = func(r *http.Request) bool { return row.accept(r, id, secret) }
				if _, err := o.login(t, newProvider(t, cfg)); err != nil {
					t.Errorf("id %q, secret %q: %v", id, secret, err)
				}
			}
		})
	}
}

func TestClientAuthIsNotGuessed(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	o.auth = func(*http.Request) bool { return false }
	o.metadata["token_endpoint_auth_methods_supported"] = []string{"client_secret_post", "private_key_jwt"}
	_, err := o.login(t, newProvider(t, o.config()))
	e := refused(t, err, provider.Misconfigured, "client_secret_post private_key_jwt")
	if e.Code != "invalid_client" || !strings.Contains(e.Error(), "client_secret_basic") {
		t.Errorf("error %q", e)
	}
	if got := o.count("/token"); got != 1 {
		t.Errorf("the code was sent %d times", got)
	}
}

func TestClientAssertion(t *testing.T) {
	t.Parallel()
	key := func(alg string) token.Key {
		private, err := token.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		return token.Key{ID: "my-key", Algorithm: alg, Private: private}
	}
	for _, row := range []struct {
		name, alg string
		edit      func(*oidc.Config)
	}{
		{"secret", "HS256", func(c *oidc.Config) { c.AuthMethod = oidc.ClientSecretJWT }},
		{"RSA", "RS256", func(c *oidc.Config) { c.ClientSecret, c.ClientKey = "", key("RS256") }},
		{"RSA-PSS", "PS256", func(c *oidc.Config) { c.ClientSecret, c.ClientKey = "", key("PS256") }},
		{"ECDSA", "ES256", func(c *oidc.Config) { c.ClientSecret, c.ClientKey = "", key("ES256") }},
		{"Ed25519", "EdDSA", func(c *oidc.Config) { c.AuthMethod, c.ClientKey = oidc.PrivateKeyJWT, key("EdDSA") }},
		{"audience", "ES256", func(c *oidc.Config) {
			c.ClientSecret, c.ClientKey, c.AssertionAudience = "", key("ES256"), "https://aud.example/"
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := newOP(t)
			cfg := o.config()
			row.edit(&cfg)
			audience := cfg.AssertionAudience
			if audience == "" {
				audience = o.URL + "/token"
			}
			seen := map[string]bool{}
			o.auth = func(r *http.Request) bool {
				f := r.PostForm
				if r.Header.Get("Authorization") != "" || f.Has("client_secret") || f.Get("client_id") != clientID ||
					f.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
					return false
				}
				parsed, err := jwt.Parse(f.Get("client_assertion"), func(tok *jwt.Token) (any, error) {
					if cfg.ClientKey.Private == nil {
						return []byte(clientSecret), nil
					}
					if tok.Header["kid"] != "my-key" {
						return nil, jwt.ErrTokenUnverifiable
					}
					return cfg.ClientKey.Private.Public(), nil
				}, jwt.WithValidMethods([]string{row.alg}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithAudience(audience),
					jwt.WithIssuer(clientID), jwt.WithSubject(clientID), jwt.WithTimeFunc(o.now))
				if err != nil {
					t.Error(err)
					return false
				}
				claims := parsed.Claims.(jwt.MapClaims)
				id, _ := claims["jti"].(string)
				exp, _ := claims.GetExpirationTime()
				fresh := len(id) >= 20 && !seen[id] && exp.Before(o.now().Add(5*time.Minute))
				seen[id] = true
				return fresh
			}
			p := newProvider(t, cfg)
			o.must(t, p)
			o.must(t, p)
			if len(seen) != 2 {
				t.Errorf("%d assertions for two logins", len(seen))
			}
		})
	}
}

func TestTokenEndpointErrors(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	say := func(status int, contentType, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	// What some providers do: repeat what they were sent.
	chatty := `,"error_description":"bad secret ` + clientSecret + `, token the-access-token"}`
	for _, row := range []struct {
		name     string
		reply    func(http.ResponseWriter)
		want     provider.Kind
		wantCode string
	}{
		{"invalid_grant", say(400, "application/json", `{"error":"invalid_grant"`+chatty), provider.Expired, "invalid_grant"},
		{"invalid_client", say(401, "application/json", `{"error":"invalid_client"`+chatty), provider.Misconfigured, "invalid_client"},
		{"unauthorized_client", say(400, "application/json", `{"error":"unauthorized_client"}`), provider.Misconfigured,
			"unauthorized_client"},
		{"invalid_request", say(400, "text/plain", `{"error":"invalid_request"}`), provider.Misconfigured, "invalid_request"},
		{"interaction_required", say(400, "application/json", `{"error":"interaction_required"}`), provider.LoginRequired,
			"interaction_required"},
		{"access_denied", say(403, "application/json", `{"error":"access_denied"}`), provider.Denied, "access_denied"},
		{"access_denied to the client", say(401, "application/json", `{"error":"access_denied"}`), provider.Misconfigured, "access_denied"},
		{"unknown error", say(400, "application/json", `{"error":"odd"}`), provider.Misconfigured, "odd"},
		{"error that is none", say(400, "application/json", `{"error":"`+clientSecret+`"}`), provider.Misconfigured, ""},
		{"error of another type", say(400, "application/json", `{"error":{"message":"`+clientSecret+`"}}`), provider.Misconfigured, ""},
		{"error with status 200", say(200, "application/json", `{"error":"invalid_grant"`+chatty), provider.Expired, "invalid_grant"},
		{"500", say(500, "text/html", "<h1>the-access-token</h1>"), provider.Unavailable, ""},
		{"503 with a code", say(503, "application/json", `{"error":"invalid_grant"}`), provider.Unavailable, "invalid_grant"},
		{"429", say(429, "application/json", `{"error":"slow_down"}`), provider.Unavailable, "slow_down"},
		{"404", say(404, "text/html", clientSecret), provider.Misconfigured, ""},
		{"201", say(201, "application/json", "{}"), provider.Misconfigured, ""},
		{"redirect", func(w http.ResponseWriter) { w.Header().Set("Location", "/jwks"); w.WriteHeader(307) }, provider.Unavailable, ""},
		{"not JSON", say(200, "application/json", "the-access-token"), provider.Invalid, ""},
		{"HTML", say(200, "text/html", "<p>the-access-token</p>"), provider.Invalid, ""},
		{"a form", say(200, "application/x-www-form-urlencoded", "access_token=the-access-token"), provider.Invalid, ""},
		{"no type", say(200, "", "{}"), provider.Invalid, ""},
		{"a list", say(200, "application/json", "[]"), provider.Invalid, ""},
		{"null", say(200, "application/json", "null"), provider.Invalid, ""},
		{"huge", say(200, "application/json", strings.Repeat(" ", 2<<20)+"{}"), provider.Unavailable, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.reply = row.reply
			_, err := o.login(t, p)
			if e := refused(t, err, row.want, "redeem code"); e.Code != row.wantCode {
				t.Errorf("code %q, want %q", e.Code, row.wantCode)
			}
		})
	}
}

func TestTokenResponse(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	cfg := o.config()
	cfg.DisableUserInfo = true
	p := newProvider(t, cfg)
	for _, row := range []struct {
		name string
		edit func(object)
		want string
	}{
		{"no token type", drop("token_type"), "token type"},
		{"token type MAC", set("token_type", "mac"), "token type"},
		{"token type DPoP", set("token_type", "DPoP"), "token type"},
		{"token type empty", set("token_type", ""), "token type"},
		{"no access token", drop("access_token"), "no access token"},
		{"access token null", set("access_token", nil), "no access token"},
		{"access token a number", set("access_token", 5), "not the JSON"},
		{"no ID token", drop("id_token"), "no ID token"},
		{"ID token empty", set("id_token", ""), "no ID token"},
		{"ID token null", set("id_token", nil), "no ID token"},
		{"ID token an object", set("id_token", object{"sub": "alice-1"}), "not the JSON"},
		{"ID token a list", set("id_token", []string{"a", "b"}), "not the JSON"},
		{"another access token than at_hash says", set("access_token", "swapped"), "at_hash"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o.answer = row.edit
			_, err := o.login(t, p)
			refused(t, err, provider.Invalid, row.want)
		})
	}
	for _, row := range []struct {
		expires any
		want    time.Duration // zero is that it is not said
	}{
		{60, time.Minute}, {"60", time.Minute}, {60.9, time.Minute}, {nil, 0}, {0, 0}, {-5, 0}, {"soon", 0}, {"", 0}, {object{}, 0},
		{1e300, 10 * 365 * 24 * time.Hour},
	} {
		o.answer = set("expires_in", row.expires)
		got := o.must(t, p).Tokens.Expiry
		if row.want == 0 && !got.IsZero() || row.want != 0 && !got.Equal(o.now().Add(row.want)) {
			t.Errorf("expires_in %v: %v", row.expires, got)
		}
	}
	for _, spelling := range []string{"Bearer", "bearer", "BEARER"} {
		o.answer = set("token_type", spelling)
		o.must(t, p)
	}
}

func TestTokenResponseType(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	for _, media := range []string{"text/html", "text/plain", "application/x-www-form-urlencoded", "application/jwt", "x",
		"application/json2"} {
		o.media = media
		_, err := o.login(t, p)
		refused(t, err, provider.Invalid, "want application/json")
	}
	for _, media := range []string{"application/json", "application/json;charset=UTF-8", "Application/JSON"} {
		o.media = media
		o.must(t, p)
	}
}

func TestTokenEndpointNeverAnswers(t *testing.T) {
	t.Parallel()
	o := newOP(t)
	p := newProvider(t, o.config())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.ctx = func() context.Context { return ctx }
	hold := make(chan struct{})
	o.reply = func(http.ResponseWriter) { cancel(); <-hold }
	_, err := o.login(t, p)
	close(hold)
	refused(t, err, provider.Unavailable, "context canceled")
}
