package broker_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// A tokenAnswer is all that a token endpoint may say.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
}

func (r *reply) answer(t testing.TB) tokenAnswer {
	t.Helper()
	var a tokenAnswer
	d := json.NewDecoder(strings.NewReader(r.text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		t.Fatalf("status %d: %v\n%s", r.StatusCode, err, r.text)
	}
	return a
}

// tokens returns the tokens of a successful answer.
func (r *reply) tokens(t testing.TB) tokenAnswer {
	t.Helper()
	a := r.answer(t)
	if r.StatusCode != http.StatusOK || a.AccessToken == "" || a.IDToken == "" {
		t.Fatalf("status %d: %s", r.StatusCode, r.text)
	}
	return a
}

// redeemForm is a good token request but for its authentication.
func (w *world) redeemForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {w.callback()}, "code_verifier": {testVerifier},
	}
}

// basic authenticates as RFC 6749 §2.3.1 has it.
func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func (w *world) secret() string { return string(w.rp.Client().Secrets[0]) }

// redeem sends a token request of the world's application.
func (w *world) redeem(code string, edit func(url.Values)) *reply {
	w.t.Helper()
	form := w.redeemForm(code)
	if edit != nil {
		edit(form)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, basic("rp", w.secret()))
}

// wantError fails unless the reply is the error as RFC 6749 §5.2 has it, with nothing of ours in it.
func wantError(t *testing.T, r *reply, status int, code string) {
	t.Helper()
	a := r.answer(t)
	if r.StatusCode != status || a.Error != code || a.AccessToken != "" || a.IDToken != "" || a.RefreshToken != "" {
		t.Errorf("got status %d %s, want %d %s", r.StatusCode, r.text, status, code)
	}
	for _, word := range []string{"store", "sql", "session", "grant:", "goroutine", ".go:", "secret with"} {
		if strings.Contains(a.Description, word) {
			t.Errorf("description %q says %q", a.Description, word)
		}
	}
	if strings.ContainsFunc(a.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		t.Errorf("description %q", a.Description)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", r.Header)
	}
	if (status == http.StatusUnauthorized) != (r.Header.Get("WWW-Authenticate") != "") {
		t.Errorf("WWW-Authenticate is %q with status %d", r.Header.Get("WWW-Authenticate"), status)
	}
}

// twin returns s with the case of its i-th character swapped, or another character there.
func twin(s string, i int) string {
	c := s[i : i+1]
	other := strings.ToUpper(c)
	if other == c {
		other = strings.ToLower(c)
	}
	if other == c {
		other = string('0' + (c[0]-'0'+1)%10)
	}
	return s[:i] + other + s[i+1:]
}

// newCodeWorld has another client with the same redirect URI, and one that may leave PKCE out.
func newCodeWorld(t testing.TB) *world {
	t.Helper()
	return newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "thief", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs})
		c.Clients = append(c.Clients, store.Client{ID: "lax", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs, InsecureWithoutPKCE: true})
	})
}

// A badRedemption is a token request with something wrong, and the error that it is answered with.
type badRedemption struct {
	name string
	edit func(url.Values)
	code string
}

// keepsCode tries each row with a code of its own.
func (w *world) keepsCode(t *testing.T, b *brokertest.Browser, rows ...badRedemption) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, w.redeem(w.code(b, nil), row.edit), http.StatusBadRequest, row.code)
		})
	}
}

func TestTokenCode(t *testing.T) {
	t.Parallel()
	w := newCodeWorld(t)
	b := w.login("Demo")
	t.Run("CVE-2026-27840: prefixes, suffixes and twins", func(t *testing.T) {
		t.Parallel()
		code, other := w.code(b, nil), w.code(b, nil)
		id, secret, _ := strings.Cut(code, ".")
		otherID, otherSecret, _ := strings.Cut(other, ".")
		fakes := []string{
			code + "A", code + ".", code + "=", code + " ", " " + code, code + "\x00", code + "." + secret, id + "." + otherSecret, otherID + "." + secret,
			secret + "." + id, id + ".." + secret, strings.ToLower(code), id, id + ".", "." + secret, secret, url.QueryEscape(code) + "%00",
		}
		for i := range code {
			fakes = append(fakes, code[:i], twin(code, i))
		}
		for _, fake := range fakes {
			if fake != code {
				wantError(t, w.redeem(fake, nil), http.StatusBadRequest, "invalid_grant")
			}
		}
		w.redeem(code, nil).tokens(t) // none of them has used it up
		w.redeem(other, nil).tokens(t)
	})
}

func testTokenCodeExpires(t *testing.T) { // RFC 6749 §4.1.2
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	code, late := w.code(b, nil), w.code(b, nil)
	w.advance(50 * time.Second)
	w.redeem(code, nil).tokens(t)
	w.advance(11 * time.Second)
	wantError(t, w.redeem(late, nil), http.StatusBadRequest, "invalid_grant")
}

func testTokenReplay(t *testing.T) { // RFC 6749 §4.1.2, RFC 9700 §2.1.1
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	for _, row := range []struct {
		name string
		edit func(url.Values)
	}{
		{"as before", nil}, {"with another verifier", set("code_verifier", strings.Repeat("x", 43))}, {"without a verifier", unset("code_verifier")},
		{"with another redirect URI", set("redirect_uri", "https://evil.example/")},
	} {
		t.Run(row.name, func(t *testing.T) {
			code := w.code(b, nil)
			first := w.redeem(code, nil).tokens(t)
			if r := w.userinfo(first.AccessToken); r.StatusCode != http.StatusOK {
				t.Fatalf("userinfo before the replay: status %d", r.StatusCode)
			}
			wantError(t, w.redeem(code, row.edit), http.StatusBadRequest, "invalid_grant")
			wantInvalidToken(t, w.userinfo(first.AccessToken))
			wantError(t, w.redeem(code, nil), http.StatusBadRequest, "invalid_grant")
			if who := b.Get(w.Origin + "/"); who.Status != http.StatusOK {
				t.Errorf("the session ended, too: status %d", who.Status)
			}
		})
	}
	t.Run("long after", func(t *testing.T) {
		code := w.code(b, nil)
		w.redeem(code, nil).tokens(t)
		w.advance(10 * time.Minute)
		b.Get(w.Origin + "/")
		fresh := w.redeem(w.code(b, nil), nil).tokens(t)
		wantError(t, w.redeem(code, nil), http.StatusBadRequest, "invalid_grant")
		if r := w.userinfo(fresh.AccessToken); r.StatusCode != http.StatusOK {
			t.Errorf("another code's token died, too: status %d", r.StatusCode)
		}
	})
}

func testTokenRace(t *testing.T) { // CVE-2026-90997, supabase/auth#2483: of 64 at once one gets tokens
	t.Parallel()
	const racers = 64
	var spy *spyStore
	w := newWorld(t, func(c *broker.Config) {
		spy = &spyStore{Store: c.Store}
		c.Store = spy
	})
	b := w.login("Demo")
	w.redeem(w.code(b, nil), nil).tokens(t) // the keys are made
	code := w.code(b, nil)
	var ready sync.WaitGroup
	ready.Add(racers)
	spy.hook = func(call string) error {
		if call == "update grant" { // each has read the grant, and found the code unused
			ready.Done()
			ready.Wait()
		}
		return nil
	}
	statuses := make(chan int, racers)
	var all sync.WaitGroup
	for range racers {
		all.Go(func() { statuses <- w.redeem(code, nil).StatusCode })
	}
	all.Wait()
	close(statuses)
	n := map[int]int{}
	for status := range statuses {
		n[status]++
	}
	if n[http.StatusOK] != 1 || n[http.StatusBadRequest] != racers-1 {
		t.Errorf("answers by status: %v, want one 200", n)
	}
}

func testTokenClientAuthentication(t *testing.T) { // RFC 6749 §2.3.1, RFC 9700 §2.5
	t.Parallel()
	const plain, odd = "0123456789abcdef", "sécret: +%2F&=\"\\ ünd ☃ ~"
	w := newWorld(t, func(c *broker.Config) {
		add := func(id, method string, secrets ...string) {
			client := store.Client{ID: id, AuthMethod: method, RedirectURIs: c.Clients[0].RedirectURIs}
			for _, s := range secrets {
				client.Secrets = append(client.Secrets, []byte(s))
			}
			c.Clients = append(c.Clients, client)
		}
		add("default", "", plain)
		add("basic", store.AuthSecretBasic, plain)
		add("post", store.AuthSecretPost, plain)
		add("none", store.AuthNone)
		add("odd:id+&%", store.AuthSecretBasic, odd)
		add("odd post", store.AuthSecretPost, odd)
		add("rotating", store.AuthSecretBasic, plain, odd)
		add("off", store.AuthSecretBasic, plain)
		c.Clients[len(c.Clients)-3].ID = "odd-post"
	})
	b := w.login("Demo")
	useBasic := func(id, secret string) func(*http.Request, url.Values) {
		return func(r *http.Request, _ url.Values) { basic(id, secret)(r) }
	}
	usePost := func(id, secret string) func(*http.Request, url.Values) {
		return func(_ *http.Request, v url.Values) { v.Set("client_id", id); v.Set("client_secret", secret) }
	}
	useNone := func(id string) func(*http.Request, url.Values) {
		return func(_ *http.Request, v url.Values) { v.Set("client_id", id) }
	}
	both := func(fs ...func(*http.Request, url.Values)) func(*http.Request, url.Values) {
		return func(r *http.Request, v url.Values) {
			for _, f := range fs {
				f(r, v)
			}
		}
	}
	header := func(value string) func(*http.Request, url.Values) {
		return func(r *http.Request, _ url.Values) { r.Header.Set("Authorization", value) }
	}
	raw := func(userpass string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(userpass)) }
	for _, row := range []struct {
		name   string
		client string
		use    func(*http.Request, url.Values)
		want   string // "" is success
	}{
		{"basic is the default", "default", useBasic("default", plain), ""},
		{"default by post", "default", usePost("default", plain), "invalid_client"},
		{"basic by basic", "basic", useBasic("basic", plain), ""},
		{"basic by basic in lower case", "basic", header("basic " + raw("basic:" + plain)[6:]), ""},
		{"basic by post", "basic", usePost("basic", plain), "invalid_client"},
		{"basic by none", "basic", useNone("basic"), "invalid_client"},
		{"basic by empty secret", "basic", useBasic("basic", ""), "invalid_client"},
		{"basic by basic with client_id as well", "basic", both(useBasic("basic", plain), useNone("basic")), ""},
		{"basic by basic with another client_id", "basic", both(useBasic("basic", plain), useNone("default")), "invalid_client"},
		{"post by post", "post", usePost("post", plain), ""},
		{"post by basic", "post", useBasic("post", plain), "invalid_client"},
		{"post by none", "post", useNone("post"), "invalid_client"},
		{"post by empty secret", "post", usePost("post", ""), "invalid_client"},
		{"none by none", "none", useNone("none"), ""},
		{"none with an empty secret, which counts as left out", "none", usePost("none", ""), ""},
		{"none by post", "none", usePost("none", plain), "invalid_client"},
		{"none by basic", "none", useBasic("none", plain), "invalid_client"},
		{"none by basic without a secret", "none", useBasic("none", ""), "invalid_client"},
		{"both at once", "basic", both(useBasic("basic", plain), usePost("basic", plain)), "invalid_request"},
		{"both at once, one wrong", "basic", both(useBasic("basic", plain), usePost("basic", "x")), "invalid_request"},
		{"odd characters by basic", "odd:id+&%", useBasic("odd:id+&%", odd), ""},
		{"odd characters by basic, not encoded", "odd:id+&%", header(raw("odd:id+&%:" + odd)), "invalid_client"},
		{"odd characters by post", "odd-post", usePost("odd-post", odd), ""},
		{"first of two secrets", "rotating", useBasic("rotating", plain), ""},
		{"second of two secrets", "rotating", useBasic("rotating", odd), ""},
		{"both secrets joined", "rotating", useBasic("rotating", plain+odd), "invalid_client"},
		{"wrong secret", "basic", useBasic("basic", plain[:15]+"e"), "invalid_client"},
		{"prefix of the secret", "basic", useBasic("basic", plain[:15]), "invalid_client"},
		{"secret with more", "basic", useBasic("basic", plain+"0"), "invalid_client"},
		{"secret in another case", "basic", useBasic("basic", strings.ToUpper(plain)), "invalid_client"},
		{"secret with NUL", "basic", useBasic("basic", plain+"\x00"), "invalid_client"},
		{"nobody", "basic", func(*http.Request, url.Values) {}, "invalid_client"},
		{"unknown client", "basic", useBasic("nobody", plain), "invalid_client"},
		{"bearer", "basic", header("Bearer " + plain), "invalid_client"},
		{"no base64", "basic", header("Basic ***"), "invalid_client"},
		{"no colon", "basic", header(raw("basic")), "invalid_client"},
		{"bad escape", "basic", header(raw("basic:%zz")), "invalid_client"},
		{"an assertion", "basic", func(_ *http.Request, v url.Values) {
			v.Set("client_id", "basic")
			v.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			v.Set("client_assertion", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJiYXNpYyJ9.")
		}, "invalid_client"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			form := w.redeemForm(w.code(b, set("client_id", row.client)))
			row.use(&http.Request{Header: http.Header{}}, form) // what goes into the form must be there before it is encoded
			r := send(t, http.MethodPost, w.URL+"/token", form, func(r *http.Request) { row.use(r, url.Values{}) })
			switch row.want {
			case "":
				r.tokens(t)
			case "invalid_client":
				wantError(t, r, http.StatusUnauthorized, row.want)
			default:
				wantError(t, r, http.StatusBadRequest, row.want)
			}
		})
	}
	t.Run("unknown clients and wrong secrets look alike", func(t *testing.T) {
		t.Parallel()
		unknown := send(t, http.MethodPost, w.URL+"/token", w.redeemForm("x"), basic("nobody", plain))
		wrong := send(t, http.MethodPost, w.URL+"/token", w.redeemForm("x"), basic("basic", "wrong"))
		if unknown.text != wrong.text || unknown.StatusCode != wrong.StatusCode {
			t.Errorf("%s and %s", unknown.text, wrong.text)
		}
	})
}

func testTokenRequest(t *testing.T) { // RFC 6749 §3.2
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	auth := basic("rp", w.secret())
	t.Run("parameters in the query are ignored", func(t *testing.T) {
		form := w.redeemForm(w.code(b, nil))
		r := send(t, http.MethodPost, w.URL+"/token?"+form.Encode(), url.Values{}, auth)
		wantError(t, r, http.StatusBadRequest, "invalid_request")
		form.Set("client_id", "rp")
		form.Set("client_secret", w.secret())
		r = send(t, http.MethodPost, w.URL+"/token?"+form.Encode(), url.Values{"grant_type": {"authorization_code"}}, nil)
		wantError(t, r, http.StatusUnauthorized, "invalid_client")
	})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodTrace} {
		t.Run("method "+method, func(t *testing.T) {
			code := w.code(b, nil)
			r := send(t, method, w.URL+"/token?"+w.redeemForm(code).Encode(), nil, auth)
			if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "OPTIONS, POST" || strings.Contains(r.text, "access_token") {
				t.Errorf("status %d, Allow %q", r.StatusCode, r.Header.Get("Allow"))
			}
		})
	}
	for _, kind := range []string{"", "application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded2", "\x7f"} {
		t.Run("content type "+kind, func(t *testing.T) {
			r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), func(r *http.Request) {
				auth(r)
				r.Header["Content-Type"] = []string{kind}
				if kind == "\x7f" {
					r.Header.Set("Content-Type", "///")
				}
			})
			wantError(t, r, http.StatusBadRequest, "invalid_request")
		})
	}
	t.Run("a charset is no other content type", func(t *testing.T) {
		r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), func(r *http.Request) {
			auth(r)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		})
		r.tokens(t)
	})
	t.Run("a body of 1 MB", func(t *testing.T) {
		form := w.redeemForm("x")
		form.Set("junk", strings.Repeat("x", 1<<20))
		wantError(t, send(t, http.MethodPost, w.URL+"/token", form, auth), http.StatusBadRequest, "invalid_request")
	})
	t.Run("a broken escape", func(t *testing.T) {
		r := send(t, http.MethodPost, w.URL+"/token?%zz", w.redeemForm("x"), auth)
		wantError(t, r, http.StatusBadRequest, "invalid_request")
	})
	t.Run("cookies do not matter", func(t *testing.T) {
		r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), func(r *http.Request) {
			r.Header.Set("Cookie", w.cookies(b))
		})
		wantError(t, r, http.StatusUnauthorized, "invalid_client")
	})
}

// CVE-2026-2603, 3009, 1486, 3047, CVE-2025-64717: what is switched off between code and token, or between token and
// userinfo, is off.
func TestTokenSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		off    func(*world, *brokertest.Browser)
		status int
		code   string
	}{
		{"user disabled", func(w *world, _ *brokertest.Browser) {
			w.editUser("alice", func(u *store.User) { u.Disabled = true })
		}, http.StatusBadRequest, "invalid_grant"},
		{"user deleted", func(w *world, _ *brokertest.Browser) { w.deleteUser("alice") }, http.StatusBadRequest, "invalid_grant"},
		{"client disabled", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { c.Clients[0].Disabled = true })
		}, http.StatusUnauthorized, "invalid_client"},
		{"client removed", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { c.Clients = nil })
		}, http.StatusUnauthorized, "invalid_client"},
		{"provider disabled", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { c.Providers[0].Disabled = true })
		}, http.StatusBadRequest, "invalid_grant"},
		{"provider removed", func(w *world, _ *brokertest.Browser) {
			w.reconfigure(func(c *broker.Config) { c.Providers = c.Providers[1:] })
		}, http.StatusBadRequest, "invalid_grant"},
		{"signed out", func(w *world, b *brokertest.Browser) {
			shows(w.t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK)
		}, http.StatusBadRequest, "invalid_grant"},
		{"session deleted", func(w *world, b *brokertest.Browser) {
			if err := w.store.DeleteSession(w.t.Context(), b.Get(w.Origin+"/").Who().Session); err != nil {
				w.t.Fatal(err)
			}
		}, http.StatusBadRequest, "invalid_grant"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.login("Demo")
			before := w.redeem(w.code(b, nil), nil).tokens(t)
			code := w.code(b, nil)
			row.off(w, b)
			wantError(t, w.redeem(code, nil), row.status, row.code)
			wantInvalidToken(t, w.userinfo(before.AccessToken))
			if r := w.authorize(w.authParams(), b); strings.Contains(r.Header.Get("Location"), "code=") {
				t.Errorf("still gives codes: %s", r.Header.Get("Location"))
			}
		})
	}
}

// editUser changes a user in the store.
func (w *world) editUser(name string, edit func(*store.User)) {
	w.t.Helper()
	found, err := w.store.FindUsers(w.t.Context(), store.UserQuery{Username: name})
	if err != nil || len(found) != 1 {
		w.t.Fatalf("user %s: %d found, %v", name, len(found), err)
	}
	edit(found[0])
	if err := w.store.UpdateUser(w.t.Context(), found[0]); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deleteUser(name string) {
	w.t.Helper()
	found, err := w.store.FindUsers(w.t.Context(), store.UserQuery{Username: name})
	if err != nil || len(found) != 1 {
		w.t.Fatalf("user %s: %d found, %v", name, len(found), err)
	}
	if err := w.store.DeleteUser(w.t.Context(), found[0].ID); err != nil {
		w.t.Fatal(err)
	}
}

// part decodes a part of a JWT.
func part(t testing.TB, raw string, i int) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", raw)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// OpenID Connect Core §2 and §3.1.3.3, RFC 9068 §2.2: what tokens say, signed by each algorithm there is.
func TestTokenContents(t *testing.T) {
	t.Parallel()
	algs := []string{"RS256", "ES256", "PS256", "EdDSA"}
	w := newWorld(t, func(c *broker.Config) {
		for _, alg := range algs {
			c.Clients = append(c.Clients, store.Client{
				ID: alg, Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs, IDTokenAlg: alg, AccessTokenAlg: alg,
				Audience: []string{"https://api.example"}, IDTokenLifetime: time.Hour, AccessTokenLifetime: 2 * time.Hour,
			})
		}
	})
	b := w.login("Demo")
	who := b.Get(w.Origin + "/").Who()
	check := func(t *testing.T, client, idAlg, accessAlg string, idLife, accessLife float64) {
		code := w.code(b, set("client_id", client))
		a := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(code), basic(client, w.secret())).tokens(t)
		provider, err := gooidc.NewProvider(t.Context(), w.URL)
		if err != nil {
			t.Fatal(err)
		}
		id, err := provider.Verifier(&gooidc.Config{ClientID: client, SupportedSigningAlgs: []string{idAlg}}).Verify(t.Context(), a.IDToken)
		if err != nil {
			t.Fatal(err)
		}
		if err := id.VerifyAccessToken(a.AccessToken); err != nil { // at_hash
			t.Error(err)
		}
		kids := w.kids(t)
		for _, token := range []struct{ raw, typ, alg string }{{a.IDToken, "JWT", idAlg}, {a.AccessToken, "at+jwt", accessAlg}} {
			header := part(t, token.raw, 0)
			if header["typ"] != token.typ || header["alg"] != token.alg || kids[fmt.Sprint(header["kid"])] != token.alg || len(header) != 3 {
				t.Errorf("header %v, keys %v", header, kids)
			}
		}
		now := float64(w.clock().Unix())
		claims := part(t, a.IDToken, 1)
		for name, want := range map[string]any{
			"iss": w.URL, "sub": who.ID, "aud": client, "nonce": "the nonce", "identity_provider": "demo", "sid": who.Session,
			"name": "Alice Liddell", "preferred_username": "alice", "email": "alice@example.com", "exp": claims["iat"].(float64) + idLife,
		} {
			if claims[name] != want {
				t.Errorf("ID token: %s is %v, want %v", name, claims[name], want)
			}
		}
		access := part(t, a.AccessToken, 1)
		for name, want := range map[string]any{
			"iss": w.URL, "sub": who.ID, "client_id": client, "scope": "openid profile email", "sid": who.Session, "auth_time": claims["auth_time"],
			"exp": access["iat"].(float64) + accessLife,
		} {
			if access[name] != want {
				t.Errorf("access token: %s is %v, want %v", name, access[name], want)
			}
		}
		for _, name := range []string{"email", "name", "preferred_username"} {
			if _, has := access[name]; has {
				t.Errorf("access token: has %s", name)
			}
		}
		for _, at := range []any{claims["iat"], claims["auth_time"], access["iat"]} {
			if at, ok := at.(float64); !ok || at > now || at < now-120 {
				t.Errorf("time %v at %v", at, now)
			}
		}
		if jti, _ := access["jti"].(string); len(jti) < 20 {
			t.Errorf("jti %q", jti)
		}
		if r := w.userinfo(a.AccessToken); r.StatusCode != http.StatusOK {
			t.Errorf("userinfo: status %d", r.StatusCode)
		}
	}
	t.Run("default", func(t *testing.T) { check(t, "rp", "RS256", "ES256", 300, 300) })
	for _, alg := range algs {
		t.Run(alg, func(t *testing.T) { check(t, alg, alg, alg, 3600, 7200) })
	}
	t.Run("no nonce asked, none said", func(t *testing.T) {
		a := w.redeem(w.code(b, unset("nonce")), nil).tokens(t)
		if _, has := part(t, a.IDToken, 1)["nonce"]; has {
			t.Error("there is a nonce")
		}
	})
	t.Run("OIDC Core §5.4: scopes decide", func(t *testing.T) {
		a := w.redeem(w.code(b, set("scope", "openid")), nil).tokens(t)
		for _, name := range []string{"name", "email", "email_verified", "preferred_username", "updated_at"} {
			if _, has := part(t, a.IDToken, 1)[name]; has {
				t.Errorf("there is %s", name)
			}
		}
		if a.Scope != "openid" {
			t.Errorf("scope %q", a.Scope)
		}
	})
	t.Run("an access token ends with its session", func(t *testing.T) {
		w.reconfigure(func(c *broker.Config) { c.SessionLifetime, c.Clients[0].AccessTokenLifetime = time.Minute, time.Hour })
		b := w.login("Demo")
		if a := w.redeem(w.code(b, nil), nil).tokens(t); a.ExpiresIn > 60 {
			t.Errorf("expires in %d", a.ExpiresIn)
		}
	})
}

// kids returns the algorithms of the published keys by their ids, and fails on anything private among them.
func (w *world) kids(t *testing.T) map[string]string {
	t.Helper()
	r := send(t, http.MethodGet, w.URL+"/jwks", nil, nil)
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(r.text), &set); err != nil {
		t.Fatal(err)
	}
	kids := map[string]string{}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := key[private]; has {
				t.Errorf("key %v has the private member %s", key["kid"], private)
			}
		}
		if key["use"] != "sig" {
			t.Errorf("key %v is for %v", key["kid"], key["use"])
		}
		kids[fmt.Sprint(key["kid"])] = fmt.Sprint(key["alg"])
	}
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/jwk-set+json" || len(kids) == 0 {
		t.Fatalf("status %d, %s, %d keys", r.StatusCode, r.Header.Get("Content-Type"), len(kids))
	}
	return kids
}

// OpenID Connect Discovery §3 and §4.3: the document says what is so.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "ed", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs, IDTokenAlg: "EdDSA"})
	})
	r := send(t, http.MethodGet, w.URL+"/.well-known/openid-configuration", nil, func(r *http.Request) {
		r.Host = "evil.example"
		r.Header.Set("X-Forwarded-Host", "evil.example")
	})
	var doc map[string]any
	if err := json.Unmarshal([]byte(r.text), &doc); err != nil || r.Header.Get("Content-Type") != "application/json" {
		t.Fatal(err, r.Header)
	}
	if doc["issuer"] != w.URL || strings.Contains(r.text, "evil.example") {
		t.Errorf("issuer %v\n%s", doc["issuer"], r.text)
	}
	for name, status := range map[string]int{"jwks_uri": 200, "userinfo_endpoint": 401, "token_endpoint": 405, "pushed_authorization_request_endpoint": 405, "authorization_endpoint": 400} {
		if got := send(t, http.MethodGet, fmt.Sprint(doc[name]), nil, nil).StatusCode; got != status {
			t.Errorf("%s: status %d, want %d", name, got, status)
		}
	}
	if doc["authorization_response_iss_parameter_supported"] != true {
		t.Error("RFC 9207 is not announced")
	}
	for _, name := range []string{"request_parameter_supported", "request_uri_parameter_supported"} {
		if doc[name] != false {
			t.Errorf("%s is %v", name, doc[name])
		}
	}
	if doc["claims_parameter_supported"] != true {
		t.Error("claims_parameter_supported is", doc["claims_parameter_supported"])
	}
	b := w.login("Demo")
	each := func(name string, try func(value string)) {
		list, ok := doc[name].([]any)
		if !ok || len(list) == 0 {
			t.Errorf("%s is %v", name, doc[name])
		}
		for _, value := range list {
			try(fmt.Sprint(value))
		}
	}
	accepted := func(name string) func(string) {
		return func(value string) {
			params := w.authParams()
			params.Set(name, value)
			if name == "scope" {
				params.Set(name, "openid "+value)
			}
			r := w.authorize(params, b)
			if strings.Contains(r.Header.Get("Location"), "error=") || r.StatusCode >= 400 {
				t.Errorf("%s=%s: status %d to %q", name, value, r.StatusCode, r.Header.Get("Location"))
			}
		}
	}
	each("response_types_supported", accepted("response_type"))
	each("response_modes_supported", accepted("response_mode"))
	each("scopes_supported", accepted("scope"))
	each("prompt_values_supported", accepted("prompt"))
	each("ui_locales_supported", accepted("ui_locales"))
	each("code_challenge_methods_supported", accepted("code_challenge_method"))
	each("ui_locales_supported", func(value string) {
		if page := brokertest.NewBrowser(t).Get(w.URL + "/login?ui_locales=" + value); page.Header.Get("Content-Language") != value {
			t.Errorf("ui_locales %s: page in %s", value, page.Header.Get("Content-Language"))
		}
	})
	w.redeem(w.code(b, nil), nil).tokens(t)
	published := map[string]bool{}
	for _, alg := range w.kids(t) {
		published[alg] = true
	}
	each("id_token_signing_alg_values_supported", func(alg string) {
		if !published[alg] {
			t.Errorf("%s is announced, and no key for it is published", alg)
		}
	})
	each("userinfo_signing_alg_values_supported", func(alg string) {
		if !published[alg] {
			t.Errorf("%s is announced for userinfo, and no key for it is published", alg)
		}
	})
	if !strings.Contains(fmt.Sprint(doc["id_token_signing_alg_values_supported"]), "RS256") { // OIDC Core §15.1
		t.Error("RS256 is not announced")
	}
	claims := part(t, w.redeem(w.code(b, nil), nil).tokens(t).IDToken, 1)
	for name := range claims {
		if !strings.Contains(fmt.Sprint(doc["claims_supported"])+" ", name) {
			t.Errorf("claim %s is not announced", name)
		}
	}
}

// One provider is like another to applications, and keys that were rotated still verify what they signed.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients[0].AccessTokenLifetime, c.SessionLifetime, c.SessionIdle = 12*time.Hour, 48*time.Hour, 48*time.Hour
	})
	b := w.login("Demo")
	w.redeem(w.code(b, nil), nil).tokens(t)
	before := w.kids(t)
	w.advance(89*24*time.Hour + time.Hour)
	w.kids(t) // the next keys are announced by use
	w.advance(22 * time.Hour)
	b = w.login("Demo")
	old := w.redeem(w.code(b, nil), nil).tokens(t)
	w.advance(6 * time.Hour)
	fresh := w.redeem(w.code(b, nil), nil).tokens(t)
	if part(t, old.AccessToken, 0)["kid"] == part(t, fresh.AccessToken, 0)["kid"] {
		t.Errorf("after ninety days the same key signs; keys %v, before %v", w.kids(t), before)
	}
	if r := w.userinfo(old.AccessToken); r.StatusCode != http.StatusOK {
		t.Errorf("a token of the old key: status %d", r.StatusCode)
	}
}
