package oauth2_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/token"
)

// A browser goes to op by the redirect and returns what it is sent back with.
func browse(t testing.TB, r *provider.Redirect) url.Values {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	return at.Query()
}

// A whole login at a strict server that knows OAuth 2.0 only, by each way of client authentication, with PKCE.
func TestLogin(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "alice", OAuth2: &providertest.OAuth2{
		UserInfo: func(u providertest.User) any {
			return map[string]any{"id": 4711, "login": u.Username, "profile": map[string]any{"given": u.GivenName, "family": u.FamilyName},
				"links": map[string]any{"avatar": []any{"https://x.example/a.png"}}, "orgs": u.Groups}
		},
		Emails: func(u providertest.User) any {
			return map[string]any{"values": []any{map[string]any{"email": u.Email, "is_confirmed": true, "is_primary": true}}}
		},
	}})
	for _, method := range []oauth2.AuthMethod{
		oauth2.ClientSecretBasic, oauth2.ClientSecretPost, oauth2.ClientSecretJWT, oauth2.PrivateKeyJWT, oauth2.NoClientAuth,
	} {
		client := op.Register(providertest.Client{Auth: string(method), Key: &private.PublicKey, RedirectURIs: []string{callback}})
		p, err := oauth2.New(oauth2.Config{
			Endpoints: oauth2.Endpoints{
				Authorization: op.Issuer() + "/authorize", Token: op.Issuer() + "/token", UserInfo: op.Issuer() + "/userinfo", Emails: op.Issuer() + "/emails",
			},
			ClientID: client.ID, ClientSecret: client.Secret, ClientKey: token.Key{ID: "k", Algorithm: "ES256", Private: private}, AuthMethod: method,
			Scopes: []string{"profile", "offline_access"},
			Claims: oauth2.Claims{Subject: "id", Username: "login", FirstName: "profile.given", LastName: "profile.family",
				Picture: "links.avatar[0]", Groups: "orgs"},
			EmailList:         oauth2.EmailList{List: "values", Verified: "is_confirmed", Primary: "is_primary"},
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Begin(t.Context(), provider.Request{RedirectURI: callback, State: "s"})
		if err != nil {
			t.Fatal(err)
		}
		id, err := p.Finish(t.Context(), provider.Callback{Params: browse(t, r), Data: r.Data})
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		got := fmt.Sprint(id.Subject, id.Username, id.Email, id.EmailVerified, id.FirstName, id.LastName, id.Picture, id.Groups)
		if want := "4711alicealice@example.comtrueAliceLiddellhttps://x.example/a.png[staff readers]"; got != want {
			t.Errorf("%s: got %s, want %s", method, got, want)
		}
		if id.Tokens.AccessToken == "" || id.Tokens.RefreshToken == "" || id.Tokens.IDToken != "" || time.Until(id.Tokens.Expiry) < time.Minute {
			t.Errorf("%s: tokens are not complete, or too many", method)
		}
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.provider(t, func(c *oauth2.Config) {
		c.Endpoints.Authorization += "?tenant=1"
		c.Scopes, c.ScopeSeparator = []string{"a", "b"}, ","
		c.AuthParams = map[string]string{"access_type": "offline", "hd": "fixed"}
		c.LoginParams = map[string]string{"auth_type": "reauthenticate"}
		c.ForwardParams, c.ForwardLoginHint, c.ForwardUILocales, c.FormPost = []string{"hd", "twice", "display"}, true, true, true
	})
	r, err := p.Begin(t.Context(), provider.Request{
		RedirectURI: callback, State: "s", LoginHint: "alice", UILocales: []string{"de", "en"}, Prompt: []string{"login"},
		Params: url.Values{"hd": {"app"}, "twice": {"a", "b"}, "display": {"popup"}, "evil": {"x"}, "client_id": {"evil"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	if len(q.Get("code_challenge")) != 43 || !r.PostBack || r.Form != nil {
		t.Errorf("%+v", r)
	}
	q.Del("code_challenge")
	want := url.Values{
		"tenant": {"1"}, "response_type": {"code"}, "client_id": {"client"}, "redirect_uri": {callback}, "state": {"s"}, "scope": {"a,b"},
		"access_type": {"offline"}, "hd": {"fixed"}, "display": {"popup"}, "login_hint": {"alice"}, "ui_locales": {"de en"},
		"response_mode": {"form_post"}, "code_challenge_method": {"S256"}, "auth_type": {"reauthenticate"},
	}
	if q.Encode() != want.Encode() {
		t.Errorf("got  %s\nwant %s", q.Encode(), want.Encode())
	}
	for name, request := range map[string]provider.Request{
		"no page": {RedirectURI: callback, State: "s", Prompt: []string{"none"}},
	} {
		_, err := p.Begin(t.Context(), request)
		kind(t, name, err, provider.LoginRequired)
	}
	// A server that cannot be told to ask again would be believed to have asked.
	_, err = s.provider(t, nil).Begin(t.Context(), provider.Request{RedirectURI: callback, State: "s", Prompt: []string{"login"}})
	kind(t, "a new proof", err, provider.LoginRequired)
	for _, request := range []provider.Request{{State: "s"}, {RedirectURI: callback}} {
		_, err := p.Begin(t.Context(), request)
		kind(t, "half a request", err, provider.Misconfigured)
	}
}

// 46: each way to authenticate, with ids and secrets that some encoding somewhere gets wrong.
func TestClientAuthBySecret(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, c := range []struct{ id, secret string }{
		{"client", "with:colon"}, {"a b", "100%"}, {"a+b&c=d", "a+b%41"}, {`quo"te\`, "ümläut ~._-*"}, {"日本", "a/b?c#d "},
	} {
		for method, want := range map[oauth2.AuthMethod]string{
			oauth2.ClientSecretBasic:          "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.id)+":"+url.QueryEscape(c.secret))),
			oauth2.ClientSecretBasicUnencoded: "Basic " + base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.secret)),
			oauth2.ClientSecretPost:           "",
		} {
			p := s.provider(t, func(o *oauth2.Config) { o.ClientID, o.ClientSecret, o.AuthMethod = c.id, c.secret, method })
			if _, err := login(t, p, nil); err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			r, id, secret := s.request("/token"), c.id, c.secret
			if method != oauth2.ClientSecretPost {
				id, secret = "", "" // they stand in one place only
			}
			if got := r.Header.Get("Authorization"); got != want || r.PostForm.Get("client_id") != id || r.PostForm.Get("client_secret") != secret {
				t.Errorf("%s of %q: header %q, want %q; form %v", method, c, got, want, r.PostForm)
			}
		}
	}
}

// 46: assertions by each algorithm, for the token endpoint or the audience that is configured.
func TestClientAssertion(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const secret = "a secret of at least thirty-two bytes"
	for _, alg := range []string{"HS256", token.RS256, token.PS256, token.ES256, token.EdDSA} {
		for _, audience := range []string{"", "https://audience.example/"} {
			var verify any = []byte(secret)
			p := s.provider(t, func(c *oauth2.Config) {
				c.AssertionAudience, c.ClientSecret, c.AuthMethod = audience, secret, oauth2.ClientSecretJWT
				if alg != "HS256" {
					private, err := token.GenerateKey(alg)
					if err != nil {
						t.Fatal(err)
					}
					c.ClientSecret, c.AuthMethod, c.ClientKey = "", "", token.Key{ID: "k", Algorithm: alg, Private: private}
					verify = private.Public()
				}
			})
			if _, err := login(t, p, nil); err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			form := s.request("/token").PostForm
			_, err := jwt.Parse(form.Get("client_assertion"), func(*jwt.Token) (any, error) { return verify, nil }, jwt.WithValidMethods([]string{alg}),
				jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithIssuer("client"), jwt.WithSubject("client"),
				jwt.WithAudience(cmp.Or(audience, s.url+"/token")))
			if err != nil || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
				t.Errorf("%s for %q: %v, form %v", alg, audience, err, form)
			}
		}
	}
}

// What is sent: the verifier of this challenge, the token in the header and nowhere else, and what the configuration adds.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.provider(t, func(c *oauth2.Config) {
		c.AuthMethod = oauth2.ClientSecretPost
		c.TokenParams = map[string]string{"resource": "r"}
		c.UserInfoParams = map[string]string{"fields": "id,name"}
		c.Header = map[string]string{"Accept": "application/vnd.x+json", "X-Version": "2"}
		c.ProofParam = "appsecret_proof"
		c.Endpoints.UserInfo += "?v=1"
	})
	s.userinfo.contentType = "application/vnd.x+json; charset=utf-8"
	r, err := p.Begin(t.Context(), provider.Request{RedirectURI: callback, State: "s"})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), provider.Callback{Params: url.Values{"state": {"s"}, "code": {"c"}}, Data: r.Data}); err != nil {
		t.Fatal(err)
	}
	form := s.request("/token").PostForm
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != begun.Query().Get("code_challenge") {
		t.Error("the verifier is not that of the challenge")
	}
	form.Del("code_verifier")
	want := url.Values{"grant_type": {"authorization_code"}, "code": {"c"}, "redirect_uri": {callback}, "client_id": {"client"},
		"client_secret": {"a secret"}, "resource": {"r"}}
	if form.Encode() != want.Encode() {
		t.Errorf("got  %s\nwant %s", form.Encode(), want.Encode())
	}
	mac := hmac.New(sha256.New, []byte("a secret"))
	mac.Write([]byte("at-1"))
	info := s.request("/userinfo")
	query := url.Values{"v": {"1"}, "fields": {"id,name"}, "appsecret_proof": {hex.EncodeToString(mac.Sum(nil))}}
	if info.URL.RawQuery != query.Encode() || info.Method != http.MethodGet {
		t.Errorf("%s %s", info.Method, info.URL)
	}
	for name, want := range map[string]string{"Authorization": "Bearer at-1", "Accept": "application/vnd.x+json", "X-Version": "2"} {
		if got := info.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFormTokens(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"access_token=at-1&expires=3600", "access_token=at-1&expires_in=3600&token_type=Bearer"} {
		s := newServer(t)
		s.token = answer{contentType: "text/plain; charset=utf-8", body: body}
		id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.FormTokens, c.AssumeBearer = true, true }), nil)
		if err != nil || id.Tokens.AccessToken != "at-1" || time.Until(id.Tokens.Expiry) < 59*time.Minute {
			t.Errorf("%s: %v", body, err)
		}
	}
	s := newServer(t) // it may be JSON all the same
	if _, err := login(t, s.provider(t, func(c *oauth2.Config) { c.FormTokens = true }), nil); err != nil {
		t.Error(err)
	}
}

func TestWithoutPKCE(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.provider(t, func(c *oauth2.Config) { c.InsecureSkipPKCE = true })
	if _, err := login(t, p, nil); err != nil {
		t.Fatal(err)
	}
	if s.request("/token").PostForm.Has("code_verifier") {
		t.Error("a verifier was sent")
	}
	if got := p.Insecure(); !slices.Equal(got, []string{"InsecureAllowHTTP", "InsecureAllowPrivateNetworks", "InsecureSkipPKCE"}) {
		t.Errorf("Insecure is %q", got)
	}
}

// Names that stand for nothing, and what fills in for a name.
func TestNames(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	id, err := login(t, s.provider(t, func(c *oauth2.Config) { c.Claims.Username, c.Claims.Name = "-", "-" }), nil)
	if err != nil || id.Username != "alice@example.com" || id.Name != "" {
		t.Errorf("%+v, %v", id, err)
	}
	s.userinfo.body = `{"sub":17}`
	if id, err = login(t, s.provider(t, nil), nil); err != nil || id.Username != "17" {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	good := oauth2.Config{
		Endpoints: oauth2.Endpoints{Authorization: "https://x.example/a", Token: "https://x.example/t", UserInfo: "https://x.example/u"},
		ClientID:  "c", ClientSecret: "s",
	}
	if _, err := oauth2.New(good); err != nil {
		t.Fatal(err)
	}
	for field, edit := range map[string]func(*oauth2.Config){
		"Endpoints.Authorization": func(c *oauth2.Config) { c.Endpoints.Authorization = "" },
		"Endpoints.Token":         func(c *oauth2.Config) { c.Endpoints.Token = "http://x.example/t" },
		"Endpoints.UserInfo":      func(c *oauth2.Config) { c.Endpoints.UserInfo = "https://user:hunter2@x.example/u" },
		"Endpoints.Emails":        func(c *oauth2.Config) { c.Endpoints.Emails = "/emails" },
		"ClientID":                func(c *oauth2.Config) { c.ClientID = "" },
		"AuthMethod":              func(c *oauth2.Config) { c.AuthMethod = "tls" },
		"ClientSecret":            func(c *oauth2.Config) { c.AuthMethod = oauth2.ClientSecretJWT },
		"ClientKey":               func(c *oauth2.Config) { c.AuthMethod = oauth2.PrivateKeyJWT },
		"InsecureSkipPKCE": func(c *oauth2.Config) {
			c.AuthMethod, c.ClientSecret, c.InsecureSkipPKCE = oauth2.NoClientAuth, "", true
		},
		"ProofParam": func(c *oauth2.Config) { c.AuthMethod, c.ClientSecret, c.ProofParam = oauth2.NoClientAuth, "", "p" },
		"TokenParam": func(c *oauth2.Config) {
			c.TokenParam, c.UserInfoParams = "key", map[string]string{"key": "x"}
		},
		"TokenScheme":           func(c *oauth2.Config) { c.TokenScheme, c.TokenParam = "OAuth", "access_token" },
		"RequireResponseIssuer": func(c *oauth2.Config) { c.RequireResponseIssuer = true },
		"Scopes":                func(c *oauth2.Config) { c.Scopes = []string{"openid"} },
		"ScopeSeparator":        func(c *oauth2.Config) { c.ScopeSeparator = "&" },
		"AuthParams":            func(c *oauth2.Config) { c.AuthParams = map[string]string{"state": "x"} },
		"LoginParams":           func(c *oauth2.Config) { c.LoginParams = map[string]string{"scope": "x"} },
		"TokenParams":           func(c *oauth2.Config) { c.TokenParams = map[string]string{"client_secret": "x"} },
		"UserInfoParams":        func(c *oauth2.Config) { c.UserInfoParams = map[string]string{"access_token": "x"} },
		"ForwardParams":         func(c *oauth2.Config) { c.ForwardParams = []string{"prompt"} },
		"Header":                func(c *oauth2.Config) { c.Header = map[string]string{"authorization": "x"} },
		"Claims.Subject":        func(c *oauth2.Config) { c.Claims.Subject = "-" },
		"Claims.Picture":        func(c *oauth2.Config) { c.Claims.Picture = "a[" },
		"EmailList.List":        func(c *oauth2.Config) { c.EmailList.List = "." },
		"EssentialClaim":        func(c *oauth2.Config) { c.EssentialClaim = "." },
		"EssentialValue":        func(c *oauth2.Config) { c.EssentialClaim, c.EssentialValue = "a", "(" },
	} {
		c := good
		edit(&c)
		if _, err := oauth2.New(c); err == nil || !strings.Contains(err.Error(), "oauth2: "+field) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error is %v", field, err)
		}
	}
}

// Whoever redeems codes or says who somebody is decides whom subjects stand for; the client does not.
func TestTrust(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	mark := func(edit func(*oauth2.Config)) string { return s.provider(t, edit).Trust().Mark() }
	was := mark(nil)
	for name, edit := range map[string]func(*oauth2.Config){
		"token": func(c *oauth2.Config) { c.Endpoints.Token += "2" }, "userinfo": func(c *oauth2.Config) { c.Endpoints.UserInfo += "2" },
		"emails": func(c *oauth2.Config) { c.Endpoints.Emails = s.url }, "subject": func(c *oauth2.Config) { c.Claims.Subject = "login" },
		"issuer": func(c *oauth2.Config) { c.Issuer = "x" }, "former": func(c *oauth2.Config) { c.Claims.FormerSubject = "old" },
	} {
		if mark(edit) == was {
			t.Errorf("%s: the word rests on the same", name)
		}
	}
	if mark(func(c *oauth2.Config) { c.ClientID, c.ClientSecret, c.Claims.Subject = "other", "other", "sub" }) != was {
		t.Error("another client is another server")
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var b strings.Builder
	p := s.provider(t, nil)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "config", s.config(), "provider", p)
	if got := b.String() + fmt.Sprintf("%v %+v %#v %s", s.config(), p, s.config(), p); strings.Contains(got, "a secret") {
		t.Error(got)
	}
}

// A server with a way of its own is data.
func ExampleNew() {
	idp, err := oauth2.New(oauth2.Config{
		Endpoints: oauth2.Endpoints{
			Authorization: "https://git.example.com/login/oauth/authorize",
			Token:         "https://git.example.com/login/oauth/access_token",
			UserInfo:      "https://git.example.com/api/user",
			Emails:        "https://git.example.com/api/user/emails",
		},
		ClientID:     "0123",
		ClientSecret: "a secret from the environment",
		Scopes:       []string{"read:user", "user:email"},
		Claims:       oauth2.Claims{Subject: "id", Username: "login", Picture: "avatar_url"},
		Header:       map[string]string{"X-Api-Version": "2022-11-28"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	redirect, err := idp.Begin(context.Background(), provider.Request{RedirectURI: "https://app.example/id/broker/git/endpoint", State: "random"})
	if err != nil {
		fmt.Println(err)
		return
	}
	at, _ := url.Parse(redirect.URL)
	fmt.Println(at.Host, at.Query().Get("scope"))
	// Output: git.example.com read:user user:email
}

// Whatever a server says, there is an error or a subject.
func FuzzUserInfo(f *testing.F) {
	const good, mails = `{"sub":"u1","email":"a@x.example","email_verified":true}`, `[{"email":"a@x.example","verified":true,"primary":true}]`
	f.Add(good, mails)
	f.Add(`{"sub":0}`, `{}`)
	f.Add(`{"sub":[1]}`, `[[]]`)
	s := newServer(f)
	p := s.provider(f, func(c *oauth2.Config) { c.Endpoints.Emails = s.url + "/emails" })
	f.Fuzz(func(t *testing.T, userinfo, emails string) {
		s.userinfo.body, s.emails.body = userinfo, emails
		id, err := login(t, p, nil)
		if userinfo == good && emails == mails && (err != nil || id.Subject != "u1" || id.Email != "a@x.example" || !id.EmailVerified) {
			t.Fatalf("%+v, %v", id, err)
		}
		if (id == nil) == (err == nil) {
			t.Fatalf("%+v, %v", id, err)
		}
		if err == nil && (strings.TrimSpace(id.Subject) == "" || id.Subject == "0" && !strings.Contains(userinfo, `"0"`) || id.EmailVerified && id.Email == "") {
			t.Errorf("%+v", id)
		}
	})
}

// Whatever a token endpoint says, there is an error or a token that can be sent.
func FuzzTokenAnswer(f *testing.F) {
	mustEnter := map[[2]string]bool{{`{"access_token":"x","token_type":"bearer"}`, "application/json"}: true, {`access_token=x`, "text/plain"}: true}
	for seed := range mustEnter {
		f.Add(seed[0], seed[1])
	}
	s := newServer(f)
	p := s.provider(f, func(c *oauth2.Config) { c.FormTokens, c.AssumeBearer = true, true })
	f.Fuzz(func(t *testing.T, body, contentType string) {
		if strings.ContainsAny(contentType, "\r\n\x00") {
			return
		}
		s.token = answer{body: body, contentType: contentType}
		id, err := login(t, p, nil)
		if (id == nil) == (err == nil) || err != nil && mustEnter[[2]string{body, contentType}] {
			t.Fatalf("%+v, %v", id, err)
		}
		if err == nil && id.Tokens.AccessToken == "" {
			t.Error("no token")
		}
	})
}
