package social_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
	"github.com/go-idbroker/idbroker/store"
)

// The same subject at another vendor is somebody else, whatever it looks like: better-auth CVE-2026-110863, CVE-2026-67330.
func TestSameSubject(t *testing.T) {
	t.Parallel()
	var all []*vendor
	for _, v := range vendors() {
		if v.number != "" {
			all = append(all, v)
		}
	}
	w, doubles := newWorld(t, autoLink, all...)
	whose := map[string]string{}
	for i, d := range doubles {
		d.set(func(d *double) {
			d.who.id, d.who.user, d.who.domain = d.number, "user-of-"+d.alias, ""
			if !d.noEmail {
				d.who.email = d.alias + "@initech.example"
			}
		})
		page := w.via(d)
		user := w.user(page)
		if other, taken := whose[user.ID]; taken {
			t.Errorf("%s signs in as who came by %s", d.alias, other)
		}
		whose[user.ID] = d.alias
		if i == 0 && d.number != w.link(user).Subject {
			t.Errorf("the subject is %q", w.link(user).Subject)
		}
	}
}

// via is signIn by the address of a login, where buttons are many or share a name.
func (w *world) via(d *double) *brokertest.Page {
	w.t.Helper()
	b := brokertest.NewBrowser(w.t)
	b.Transport = &w.wire
	page := b.Get(w.URL + "/broker/" + d.alias + "/login?return_to=/")
	if page.URL.Host == hostOf(d.authorize) && d.formPost {
		page = page.Submit(nil)
	}
	return page
}

// What an ID token has to say, at each vendor that issues them: a preset that takes a check away has to take its row away here.
func TestIDTokens(t *testing.T) {
	t.Parallel()
	for _, v := range vendors() {
		if v.openID == nil {
			continue
		}
		t.Run(v.alias, func(t *testing.T) {
			t.Parallel()
			w, d := one(t, v, autoLink)
			try := func(name string, edit func(*double)) {
				d.set(edit)
				page := w.signIn(d)
				if page.Status < 400 {
					t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
				}
				w.refused(page, notVerified)
				d.set(func(d *double) { d.edit, d.nonce = nil, "" })
			}
			claim := func(name string, value any) func(*double) {
				return func(d *double) { d.edit = func(claims map[string]any) { claims[name] = value } }
			}
			try("another audience", claim("aud", "another-client"))
			try("another issuer", claim("iss", "https://evil.example"))
			try("expired", claim("exp", time.Now().Add(-time.Hour).Unix()))
			try("no subject", claim("sub", ""))
			try("the hash of another access token", claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"))
			if v.openID.nonce {
				try("another nonce", func(d *double) { d.nonce = "a-nonce-of-another-login" })
				try("no nonce", func(d *double) { d.edit = func(claims map[string]any) { delete(claims, "nonce") } })
			}
			w.in(d)
			v.openID.forged = true // nobody reads it now
			try("the key of somebody else", func(*double) {})
		})
	}
}

// Where the userinfo endpoint of an OpenID Provider is asked, its errors are pages too, and what it says is about the same person.
func TestUserInfo(t *testing.T) {
	t.Parallel()
	asked := 0
	for _, v := range vendors() {
		if v.openID == nil || v.apis == nil {
			continue
		}
		w, d := one(t, v, autoLink)
		w.in(d)
		address := v.apis[0].url
		if d.asked(address) == 0 {
			continue // the ID token says it all: testSuccess has seen that
		}
		asked++
		other := v.ann()
		other.id = changedID(other.id)
		for _, say := range append(slices.Clone(junk), v.apis[0].broken, reply{body: toJSON(v.apis[0].says(&other))}) {
			d.set(func(d *double) { d.says = map[string]reply{address: say} })
			w.refused(w.signIn(d), "")
		}
	}
	if asked == 0 {
		t.Error("none is asked")
	}
}

// An installation in one's own network is not asked unless that is said, which is told at start.
func TestPrivateNetworks(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var knocks atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			knocks.Add(1)
			_ = c.Close()
		}
	}()
	for _, allowed := range []bool{false, true} {
		o := social.Options{BaseURL: "https://" + listener.Addr().String(), InsecureAllowPrivateNetworks: allowed}
		for name, p := range map[string]preset{"OpenID": social.GitLab("client", "secret").With(o), "OAuth2": social.GitHub("client", "secret").With(o)} {
			knocks.Store(0)
			redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: "https://b.example/cb", State: "s"})
			if name == "OAuth2" && err == nil {
				_, err = p.Finish(t.Context(), provider.Callback{Params: url.Values{"code": {"c"}, "state": {"s"}}, Data: redirect.Data})
			}
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Kind != provider.Unavailable || knocks.Load() > 0 != allowed {
				t.Errorf("%s, allowed %v: %v, and %d connections", name, allowed, err, knocks.Load())
			}
			if got := slices.Contains(p.Insecure(), "InsecureAllowPrivateNetworks"); got != allowed {
				t.Errorf("%s: told at start is %v, want %v", name, got, allowed)
			}
		}
	}
}

// RFC 9207: who sends "iss" is held to it, so that an answer of one vendor is not taken for another's.
func TestMixUp(t *testing.T) {
	t.Parallel()
	for _, v := range vendors() {
		if v.iss == "" {
			continue
		}
		t.Run(v.alias, func(t *testing.T) {
			t.Parallel()
			evil := *v
			evil.iss = "https://evil.example"
			w, d := one(t, &evil, nil)
			w.refused(w.signIn(d), notVerified)
			if d.asked(v.token) != 0 {
				t.Error("the code was redeemed all the same")
			}
		})
	}
}

// The domain of a Google account is what the ID token says, not what was asked for or what the browser brings.
func TestGoogleHostedDomains(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		domains []string
		asked   string
		says    string // the claim hd
		in      bool
	}{
		{"the domain", []string{"initech.example"}, "initech.example", "initech.example", true},
		{"the domain in other letters", []string{"Initech.Example"}, "Initech.Example", "initech.example", true},
		{"one of two", []string{"globex.example", "initech.example"}, "*", "initech.example", true},
		{"any", []string{"*"}, "*", "globex.example", true},
		{"a foreign one", []string{"initech.example"}, "initech.example", "evil.example", false},
		{"one that contains it", []string{"initech.example"}, "initech.example", "initech.example.evil.example", false},
		{"one that ends with it", []string{"initech.example"}, "initech.example", "evil-initech.example", false},
		{"a consumer", []string{"initech.example"}, "initech.example", "", false},
		{"a consumer, any domain wanted", []string{"*"}, "*", "", false},
		{"a star", []string{"initech.example"}, "initech.example", "*", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := google()
			v.params = map[string]string{"hd": row.asked}
			v.extra = func(*person) url.Values { return url.Values{"hd": {"initech.example"}} }        // the browser's word
			v.apis[0].says = func(p *person) any { return with(standard(p), "hd", "initech.example") } // signed by nobody
			v.idp = func(c *http.Client) provider.IdentityProvider {
				return social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, HostedDomains: row.domains})
			}
			const secret = "the secret of a backend, 32 bytes"
			w, d := one(t, v, func(c *broker.Config) {
				autoLink(c)
				c.Providers[0].AllowTokenExchange = true
				c.Clients = []store.Client{{
					ID: "backend", Secrets: [][]byte{[]byte(secret)}, Grants: []string{store.GrantTypeTokenExchange},
					Audience: []string{"backend"},
				}}
			})
			d.set(func(d *double) { d.who.domain = "initech.example" })
			if row.in {
				d.set(func(d *double) { d.who.domain = row.says })
				w.in(d)
			} else {
				d.set(func(d *double) { d.who.domain = row.says })
				w.refused(w.signIn(d), notAmong)
				w.nobody("", "ann@initech.example")
			}
			// CVE-2026-18214: and so is that of a token which an application hands in. Ann is linked, so that nothing else refuses her.
			user := w.add("linked", "linked@initech.example")
			if !row.in {
				link := &store.Link{LinkKey: store.LinkKey{Provider: "google", Issuer: v.issuer, Subject: v.id}, UserID: user.ID}
				if err := w.store.CreateLink(t.Context(), link); err != nil {
					t.Fatal(err)
				}
			}
			token := d.idToken(&grant{who: d.who}, "at")
			if status, body := w.exchange("backend", secret, "google", token); (status == http.StatusOK) != row.in {
				t.Errorf("token exchange: status %d\n%s", status, body)
			}
		})
	}
}

// exchange hands an ID token in.
func (w *world) exchange(client, secret, issuer, token string) (status int, body string) {
	w.t.Helper()
	form := url.Values{
		"grant_type": {store.GrantTypeTokenExchange}, "subject_token": {token}, "subject_issuer": {issuer},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(secret))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// What is asked for at Google.
func TestGoogleOffline(t *testing.T) {
	t.Parallel()
	v := google()
	v.params = map[string]string{"access_type": "offline"}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		return social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, Offline: true})
	}
	w, d := one(t, v, nil)
	w.in(d)
}

const globex = "99999999-2222-4333-8444-555555555555" // a tenant that somebody else made

// manyTenants is Microsoft for the users of several tenants.
func manyTenants(at string, o social.Options, tenants ...string) *vendor {
	v := microsoft()
	base := "https://login.microsoftonline.com/" + at
	v.authorize, v.token = base+"/oauth2/v2.0/authorize", base+"/oauth2/v2.0/token"
	v.openID.discovery, v.openID.jwks = base+"/v2.0/.well-known/openid-configuration", base+"/discovery/v2.0/keys"
	for name, address := range map[string]string{
		"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "authorization_endpoint": v.authorize,
		"token_endpoint": v.token,
		"jwks_uri":       v.openID.jwks,
	} {
		v.openID.document[name] = address
	}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		o := o
		o.HTTPClient = c
		return social.Microsoft(clientID, clientSecret, tenants...).With(o)
	}
	return v
}

func tenantIssuer(tid string) string { return "https://login.microsoftonline.com/" + tid + "/v2.0" }

// Who has a tenant decides what its tokens say, but not that they are another's.
func TestMicrosoftTenants(t *testing.T) {
	t.Parallel()
	const other = "77777777-2222-4333-8444-555555555555"
	w, d := one(t, manyTenants("organizations", social.Options{}, initech, other), autoLink)
	for _, row := range []struct {
		name string
		edit func(claims map[string]any)
		text string // "" gets in
	}{
		{"ours", func(c map[string]any) { c["iss"] = tenantIssuer(initech) }, ""},
		{"a foreign tenant", func(c map[string]any) { c["iss"], c["tid"] = tenantIssuer(globex), globex }, notVerified},
		{"a foreign issuer with our tid", func(c map[string]any) { c["iss"] = tenantIssuer(globex) }, notVerified},
		{"our issuer with a foreign tid", func(c map[string]any) { c["iss"], c["tid"] = tenantIssuer(initech), globex },
			notVerified},
		{"our issuer with our other tid", func(c map[string]any) { c["iss"], c["tid"] = tenantIssuer(initech), other },
			notVerified},
		{"no tid", func(c map[string]any) { c["iss"] = tenantIssuer(initech); delete(c, "tid") }, notVerified},
		{"the template", func(c map[string]any) { c["iss"], c["tid"] = tenantIssuer("{tenantid}"), "{tenantid}" }, notVerified},
		{"version 1", func(c map[string]any) { c["iss"] = "https://sts.windows.net/" + initech + "/" }, notVerified},
		{"no oid", func(c map[string]any) { c["iss"] = tenantIssuer(initech); delete(c, "oid") }, notVerified},
		{"an oid that reaches into the tid", func(c map[string]any) {
			c["iss"], c["oid"] = tenantIssuer(initech),
				"x."+annOID
		}, notVerified},
	} {
		d.set(func(d *double) { d.edit = row.edit })
		page := w.signIn(d)
		if row.text == "" {
			if link := w.link(w.user(page)); link.Subject != initech+"."+annOID {
				t.Errorf("%s: linked to %q", row.name, link.Subject)
			}
			continue
		}
		if page.Status < 400 {
			t.Errorf("%s: status %d at %s", row.name, page.Status, page.URL)
		}
		w.refused(page, row.text)
	}
}

// The same oid in another tenant is somebody else; and so is sub, which is all that a tenant's administrator cannot choose.
func TestMicrosoftSameObject(t *testing.T) {
	t.Parallel()
	w, d := one(t, manyTenants("common", social.Options{InsecureAllowAnyTenant: true}), autoLink)
	d.set(func(d *double) { d.edit = func(c map[string]any) { c["iss"] = tenantIssuer(initech) } })
	ann := w.in(d)
	d.set(func(d *double) {
		d.edit = func(c map[string]any) {
			c["iss"], c["tid"], c["email"], c["preferred_username"] = tenantIssuer(globex), globex, "ann@globex.example",
				"ann@globex.example"
		}
	})
	if evil := w.in(d); evil.ID == ann.ID {
		t.Error("the same oid in another tenant signs in as Ann")
	}
}

// nOAuth (Descope 2023, Semperis 2025): an administrator writes a victim's address into an account of their own tenant.
func TestMicrosoftMailOfAVictim(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]map[string]any{
		"plain": {}, "email_verified": {"email_verified": true}, "xms_edov": {"xms_edov": true},
		"lists": {"verified_primary_email": []string{"victim@initech.example"}, "email_verified": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, d := one(t, manyTenants("common", social.Options{InsecureAllowAnyTenant: true}), func(c *broker.Config) {
				autoLink(c)
				c.Providers[0].Sync = provider.SyncForce
			})
			victim := w.add("victim", "victim@initech.example")
			claims := func(email string) func(*double) {
				return func(d *double) {
					d.edit = func(c map[string]any) {
						for name, v := range more {
							c[name] = v
						}
						c["iss"], c["tid"], c["email"], c["preferred_username"] = tenantIssuer(globex), globex, email, email
					}
				}
			}
			d.set(claims(victim.Email))
			w.refused(w.signIn(d), "already exists")
			// An account of their own first, whose address changes to the victim's.
			d.set(claims("evil@globex.example"))
			evil := w.in(d)
			if evil.EmailVerified {
				t.Error("the address counts as verified")
			}
			d.set(claims(victim.Email))
			page := w.signIn(d)
			if page.Status == http.StatusOK && page.URL.Path == "/" {
				if user := w.user(page); user.ID == victim.ID || user.Email == victim.Email || user.EmailVerified {
					t.Errorf("signed in as %+v", user)
				}
			}
			if after, err := w.store.User(t.Context(),
				victim.ID); err != nil || after.Email != victim.Email || !after.EmailVerified {
				t.Errorf("the victim is %+v, %v", after, err)
			}
			if links, err := w.store.LinksOf(t.Context(), victim.ID); err != nil || len(links) != 0 {
				t.Errorf("the victim is linked to %+v, %v", links, err)
			}
		})
	}
}

// The parameter "user" of Apple's answer is whatever the browser says: a name, and nothing else.
func TestAppleUserParameter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, user  string
		first, last string
	}{
		{"a victim's address", `{"name":{"firstName":"Eve","lastName":"Evil"},"email":"victim@initech.example"}`, "Eve", "Evil"},
		{"and a subject", `{"name":{"firstName":"Eve","lastName":"Evil"},"email":"victim@initech.example","sub":"1","email_verified":true}`, "Eve", "Evil"},
		{"markup", `{"name":{"firstName":"<script>alert(1)</script>","lastName":"Evil"}}`, "<script>alert(1)</script>", "Evil"},
		{"a name of control characters", `{"name":{"firstName":"Eve\u0000\r\n","lastName":"Evil"}}`, "", "Evil"},
		{"no object", `"Eve"`, "", ""},
		{"no JSON", `{`, "", ""},
		{"a name that is none", `{"name":["Eve"]}`, "", ""},
		{"a long answer", `{"name":{"firstName":"` + strings.Repeat("e", 5000) + `","lastName":"Evil"}}`, "", ""},
		{"a long name", `{"name":{"firstName":"` + strings.Repeat("e", 256) + `","lastName":"Evil"}}`, "", "Evil"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := apple()
			v.extra = func(*person) url.Values { return url.Values{"user": {row.user}} }
			w, d := one(t, v, autoLink)
			victim := w.add("victim", "victim@initech.example")
			page := w.signIn(d)
			user := w.user(page)
			if user.ID == victim.ID || user.Email != "ann@initech.example" || user.FirstName != row.first || user.LastName != row.last {
				t.Errorf("signed in as %+v", user)
			}
			if w.link(user).Subject != v.id {
				t.Errorf("linked to %q", w.link(user).Subject)
			}
		})
	}
}

// The name comes with the first login only, and stays; a later one in the browser's words changes nothing.
func TestAppleNameOnce(t *testing.T) {
	t.Parallel()
	w, d := one(t, apple(), autoLink)
	user := w.in(d)
	d.set(func(d *double) { d.who.first = "" }) // no parameter "user"
	if again := w.in(d); again.ID != user.ID || again.FirstName != "Ann" || again.Name != "Ann Lee" {
		t.Errorf("came back as %+v", again)
	}
	d.set(func(d *double) { d.who.first, d.who.last = "Eve", "Evil" })
	if again := w.in(d); again.ID != user.ID || again.Name != "Ann Lee" {
		t.Errorf("came back as %+v", again)
	}
}

// The client secret is made for each request, of the key as it was when the constructor read it.
func TestAppleSecretIsRenewed(t *testing.T) {
	t.Parallel()
	v, now := apple(), time.Now().Truncate(time.Second)
	var issued []time.Time
	v.secret = func(secret string) error {
		issued = append(issued, issuedAt(t, secret))
		return checkAppleSecret(secret)
	}
	key := social.AppleKey{TeamID: appleTeam, ID: appleKeyID, PEM: pkcs8(t, applePrivate())}
	idp := social.Apple(clientID, key)
	clear(key.PEM)
	v.idp = func(c *http.Client) provider.IdentityProvider {
		return idp.With(social.Options{HTTPClient: c, Now: func() time.Time { return now }})
	}
	w, d := one(t, v, autoLink)
	w.in(d)
	first := now
	now = now.Add(-10 * time.Second)
	w.in(d)
	if want := []time.Time{first, now}; !slices.EqualFunc(issued, want, time.Time.Equal) {
		t.Errorf("secrets are of %v, want %v", issued, want)
	}
}

// issuedAt is the claim iat of a JWT.
func issuedAt(t *testing.T, jwt string) time.Time {
	var claims struct{ Iat int64 }
	_, rest, _ := strings.Cut(jwt, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err = errors.Join(err, json.Unmarshal(raw, &claims)); err != nil {
		t.Error(err)
	}
	return time.Unix(claims.Iat, 0)
}

// An address of the relay is one of this account, and verified.
func TestAppleRelay(t *testing.T) {
	t.Parallel()
	w, d := one(t, apple(), autoLink)
	d.set(func(d *double) { d.who.email = appleRelay })
	if user := w.in(d); user.Email != appleRelay || !user.EmailVerified {
		t.Errorf("address %q, verified %v", user.Email, user.EmailVerified)
	}
}

// Of GitHub's addresses the verified primary one counts, then any verified one; one that is not verified opens nothing.
func TestGitHubEmails(t *testing.T) {
	t.Parallel()
	entry := func(email string, primary, verified bool) object {
		return object{"email": email, "primary": primary, "verified": verified, "visibility": nil}
	}
	const victim = "victim@initech.example"
	for _, row := range []struct {
		name     string
		emails   list
		email    string
		verified bool
	}{
		{"the verified primary one", list{entry("a@x.example", false, true), entry("b@x.example", true, true)}, "b@x.example",
			true},
		{"a verified one before the primary one", list{entry(victim, true, false), entry("b@x.example", false, true)},
			"b@x.example", true},
		{"none that is verified", list{entry("a@x.example", false, false), entry("b@x.example", true, false)}, "b@x.example",
			false},
		{"verified in other words", list{object{"email": "b@x.example", "primary": true, "verified": 1}}, "b@x.example", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := gitHub("", "")
			v.apis[1].says = func(*person) any { return row.emails }
			w, d := one(t, v, autoLink)
			w.add("victim", victim)
			if user := w.in(d); user.Email != row.email || user.EmailVerified != row.verified {
				t.Errorf("address %q, verified %v; want %q, %v", user.Email, user.EmailVerified, row.email, row.verified)
			}
		})
	}
}

// Where the scope was taken away, GitHub says nothing of addresses: a login that is refused, not one without an address.
func TestGitHubWithoutScope(t *testing.T) {
	t.Parallel()
	v := gitHub("", "")
	w, d := one(t, v, autoLink)
	d.set(func(d *double) {
		d.says["https://api.github.com/user/emails"] = reply{status: 404, body: `{"message":"` + confidential + `"}`}
	})
	w.refused(w.signIn(d), notSetUp)
	w.nobody(v.user, "")
}
