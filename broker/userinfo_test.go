package broker_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func (w *world) userinfo(token string) *reply {
	w.t.Helper()
	return send(w.t, http.MethodGet, w.URL+"/userinfo", nil, bearer(token))
}

// wantInvalidToken fails unless the reply refuses the token as RFC 6750 §3.1 has it.
func wantInvalidToken(t *testing.T, r *reply) {
	t.Helper()
	if r.StatusCode != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") != `Bearer realm="userinfo", error="invalid_token"` {
		t.Errorf("status %d, WWW-Authenticate %q, want 401 invalid_token", r.StatusCode, r.Header.Get("WWW-Authenticate"))
	}
	if a := r.answer(t); a.Error != "invalid_token" || strings.Contains(r.text, "sub") || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("answered %s %v", r.text, r.Header)
	}
}

func segment(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestUserInfoToken(t *testing.T) { // RFC 6750, OpenID Connect Core §5.3.3
	t.Parallel()
	w, foreign := newWorld(t, nil), newWorld(t, nil)
	b := w.login("Demo")
	good := w.redeem(w.code(b, nil), nil).tokens(t)
	theirs := foreign.redeem(foreign.code(foreign.login("Demo"), nil), nil).tokens(t)
	parts := strings.Split(good.AccessToken, ".")
	header, claims := part(t, good.AccessToken, 0), part(t, good.AccessToken, 1)
	// edited has other headers or claims, and the signature that was.
	edited := func(i int, name string, value any) string {
		m := maps.Clone([]map[string]any{header, claims}[i])
		m[name] = value
		p := slices.Clone(parts)
		p[i] = segment(m)
		return strings.Join(p, ".")
	}
	none := func(alg, signature string) string {
		return segment(map[string]any{"alg": alg, "typ": "at+jwt", "kid": header["kid"]}) + "." + parts[1] + "." + signature
	}
	mac := func(key string) string { // with what anybody can read
		signed := segment(map[string]any{"alg": "HS256", "typ": "at+jwt", "kid": header["kid"]}) + "." + parts[1]
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	if r := w.userinfo(good.AccessToken); r.StatusCode != http.StatusOK {
		t.Fatalf("status %d %s", r.StatusCode, r.text)
	}
	for name, token := range map[string]string{
		"OIDC Core §16.17: an ID token":          good.IDToken,
		"another broker's access token":          theirs.AccessToken,
		"a code":                                 w.code(b, nil),
		"junk":                                   "junk",
		"two dots":                               "..",
		"CVE-2025-30204: many dots":              strings.Repeat(".", 60000),
		"CVE-2024-28180: a large token":          strings.Repeat("A", 60000),
		"alg none":                               none("none", ""),
		"alg None":                               none("None", ""),
		"alg none with the signature":            none("none", parts[2]),
		"CVE-2026-11800: HMAC with the kid":      mac(header["kid"].(string)),
		"CVE-2026-11800: HMAC with the key set":  mac(send(t, http.MethodGet, w.URL+"/jwks", nil, nil).text),
		"CVE-2026-11800: HMAC with the empty":    mac(""),
		"alg RS256":                              edited(0, "alg", "RS256"),
		"typ JWT":                                edited(0, "typ", "JWT"),
		"another kid":                            edited(0, "kid", part(t, good.IDToken, 0)["kid"]),
		"a jku":                                  edited(0, "jku", "https://evil.example/jwks"),
		"another sub":                            edited(1, "sub", "somebody"),
		"another jti":                            edited(1, "jti", "somebody"),
		"a later exp":                            edited(1, "exp", 99999999999),
		"no signature":                           parts[0] + "." + parts[1] + ".",
		"two parts":                              parts[0] + "." + parts[1],
		"four parts":                             good.AccessToken + "." + parts[2],
		"other token's signature":                parts[0] + "." + parts[1] + "." + strings.Split(theirs.AccessToken, ".")[2],
		"padded":                                 good.AccessToken + "=",
		"with a comma and another":               good.AccessToken + ", " + theirs.AccessToken,
		"the client's credentials as a token":    "rp:" + w.secret(),
		"JSON serialization":                     `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"CVE-2026-27840: in lower case":          strings.ToLower(good.AccessToken),
		"CVE-2026-27840: twin of the last":       twin(good.AccessToken, len(good.AccessToken)-1),
		"CVE-2026-27840: twin in the claims":     twin(good.AccessToken, len(parts[0])+10),
		"CVE-2026-27840: prefix to last but one": good.AccessToken[:len(good.AccessToken)-1],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantInvalidToken(t, w.userinfo(token))
		})
	}
	t.Run("CVE-2026-27840: prefixes", func(t *testing.T) {
		t.Parallel()
		for i := 1; i < len(good.AccessToken); i += 7 {
			wantInvalidToken(t, w.userinfo(good.AccessToken[:i]))
		}
	})
}

func TestUserInfoRequest(t *testing.T) { // RFC 6750 §2 and §3
	t.Parallel()
	w := newWorld(t, nil)
	token := w.redeem(w.code(w.login("Demo"), nil), nil).tokens(t).AccessToken
	form := url.Values{"access_token": {token}}
	for _, row := range []struct {
		name      string
		method    string
		query     url.Values
		body      url.Values
		edit      func(*http.Request)
		status    int
		challenge string
	}{
		{"§3.1: no token, no error code", http.MethodGet, nil, nil, nil, 401, `Bearer realm="userinfo"`},
		{"§3.1: no token in a POST", http.MethodPost, nil, url.Values{}, nil, 401, `Bearer realm="userinfo"`},
		{"§2.1: an empty token", http.MethodGet, nil, nil, bearer(""), 401, `Bearer realm="userinfo"`},
		{"RFC 9700 §4.3.2: token in the query is ignored", http.MethodGet, form, nil, nil, 401, `Bearer realm="userinfo"`},
		{"RFC 9700 §4.3.2: and in that of a POST", http.MethodPost, form, url.Values{}, nil, 401, `Bearer realm="userinfo"`},
		{"§2.1: header", http.MethodGet, nil, nil, bearer(token), 200, ""},
		{"§2.1: header of a POST", http.MethodPost, nil, url.Values{}, bearer(token), 200, ""},
		{"RFC 9110 §11.1: scheme in lower case", http.MethodGet, nil, nil, func(r *http.Request) {
			r.Header.Set("Authorization", "bearer "+token)
		}, 200, ""},
		{"§2.2: form", http.MethodPost, nil, form, nil, 200, ""},
		{"§2.2: form of another content type", http.MethodPost, nil, form, func(r *http.Request) {
			r.Header.Set("Content-Type", "text/plain")
		}, 401, `Bearer realm="userinfo"`},
		{"§2: two ways at once", http.MethodPost, nil, form, bearer(token), 400, `Bearer realm="userinfo", error="invalid_request"`},
		{"§2.2: form, token twice", http.MethodPost, nil, url.Values{"access_token": {token, token}}, nil, 400, `Bearer realm="userinfo", error="invalid_request"`},
		{"§3.1: an unsupported way to authenticate", http.MethodGet, nil, nil, basic("rp", w.secret()), 401, `Bearer realm="userinfo"`},
		{"cookies are no token", http.MethodGet, nil, nil, func(r *http.Request) {
			r.Header.Set("Cookie", "access_token="+token)
		}, 401, `Bearer realm="userinfo"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := send(t, row.method, w.URL+"/userinfo?"+row.query.Encode(), row.body, row.edit)
			if r.StatusCode != row.status || r.Header.Get("WWW-Authenticate") != row.challenge {
				t.Errorf("status %d, WWW-Authenticate %q\n%s", r.StatusCode, r.Header.Get("WWW-Authenticate"), r.text)
			}
			if strings.Contains(r.text, "sub") != (row.status == 200) || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("answered %s %v", r.text, r.Header)
			}
		})
	}
}

func TestUserInfoExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	a := w.redeem(w.code(b, nil), nil).tokens(t)
	w.advance(4 * time.Minute)
	if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
		t.Errorf("after four minutes: status %d", r.StatusCode)
	}
	w.advance(3 * time.Minute)
	wantInvalidToken(t, w.userinfo(a.AccessToken))
	if page := b.Get(w.Origin + "/"); page.Status != http.StatusOK {
		t.Errorf("the session ended with the token: status %d", page.Status)
	}
}

// Whoever vouched, applications see the same user and the same claims; and only those that were asked for.
func TestUserInfoClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[0].TrustEmail, c.Providers[1].TrustEmail = true, true })
	claimsOf := func(b *brokertest.Browser, scope string) map[string]any {
		r := w.userinfo(w.redeem(w.code(b, set("scope", scope)), nil).tokens(t).AccessToken)
		var m map[string]any
		if err := json.Unmarshal([]byte(r.text), &m); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Fatal(err, r.Header)
		}
		return m
	}
	demo, other := w.login("Demo"), w.login("Other")
	who := demo.Get(w.Origin + "/").Who()
	for _, row := range []struct {
		scope string
		want  []string
	}{
		{"openid", []string{"sub"}},
		{"openid email", []string{"email", "email_verified", "sub"}},
		{"openid profile", []string{"name", "preferred_username", "sub", "updated_at"}},
		{"openid profile email", []string{"email", "email_verified", "name", "preferred_username", "sub", "updated_at"}},
		{"openid address phone offline_access", []string{"sub"}},
	} {
		fromDemo, fromOther := claimsOf(demo, row.scope), claimsOf(other, row.scope)
		if got := slices.Sorted(maps.Keys(fromDemo)); !slices.Equal(got, row.want) {
			t.Errorf("scope %q: %v, want %v", row.scope, got, row.want)
		}
		if got := slices.Sorted(maps.Keys(fromOther)); !slices.Equal(got, row.want) {
			t.Errorf("scope %q through the other provider: %v, want %v", row.scope, got, row.want)
		}
		if fromDemo["sub"] != who.ID || fromOther["sub"] == who.ID {
			t.Errorf("sub %v and %v, want %v for the first", fromDemo["sub"], fromOther["sub"], who.ID)
		}
	}
	t.Run("one user, two links", func(t *testing.T) {
		link := &store.Link{LinkKey: store.LinkKey{Provider: "other", Issuer: w.other.Issuer(), Subject: "twin"}, UserID: who.ID}
		if err := w.store.CreateLink(t.Context(), link); err != nil {
			t.Fatal(err)
		}
		w.other.LoginAs("twin")
		if got, want := claimsOf(w.login("Other"), "openid profile email"), claimsOf(demo, "openid profile email"); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
	t.Run("an unverified address says so", func(t *testing.T) {
		w.op.LoginAs("bob")
		if got := claimsOf(w.login("Demo"), "openid email"); got["email_verified"] != false {
			t.Errorf("email_verified %v", got["email_verified"])
		}
	})
}
