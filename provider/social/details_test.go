package social_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

// Bitbucket lists the address that somebody typed in beside those that they confirmed: Keycloak takes the first.
func TestBitbucketEmails(t *testing.T) {
	t.Parallel()
	const victim = "victim@initech.example"
	entry := func(email string, primary, confirmed bool) object {
		return object{"type": "email", "email": email, "is_primary": primary, "is_confirmed": confirmed}
	}
	for _, row := range []struct {
		name     string
		emails   list
		email    string
		verified bool
	}{
		{"an unconfirmed one first", list{entry(victim, false, false), entry("b@x.example", true, true)}, "b@x.example", true},
		{"an unconfirmed primary one", list{entry(victim, true, false), entry("b@x.example", false, true)}, "b@x.example", true},
		{"none is confirmed", list{entry("a@x.example", true, false), entry("b@x.example", false, false)}, "a@x.example", false},
		{"neither confirmed nor primary", list{entry(victim, false, false)}, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := bitbucket()
			v.apis[1].says = func(*person) any { return object{"values": row.emails} }
			w, d := one(t, v, autoLink)
			w.add("victim", victim)
			if user := w.in(d); user.Email != row.email || user.EmailVerified != row.verified {
				t.Errorf("address %q, verified %v; want %q, %v", user.Email, user.EmailVerified, row.email, row.verified)
			}
		})
	}
}

// PayPal's address counts as verified by its own word, not by that of an older interface, nor because the account is.
func TestPayPalEmails(t *testing.T) {
	t.Parallel()
	const victim = "victim@initech.example"
	for _, row := range []struct {
		name     string
		say      object
		email    string
		verified bool
	}{
		{"verified", object{"email": "b@x.example", "email_verified": true}, "b@x.example", true},
		{"verified, as a text", object{"email": "b@x.example", "email_verified": "true"}, "b@x.example", true},
		{"not verified", object{"email": "b@x.example", "email_verified": "false"}, "b@x.example", false},
		{"a verified account", object{"email": "b@x.example", "verified_account": true, "verified": "true"}, "b@x.example", false},
		{"a member of another schema", object{"email_verified": true,
			"emails": list{object{"value": victim, "primary": true, "confirmed": true}}}, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := payPal(false)
			v.apis[0].says = func(p *person) any { return with(row.say, "user_id", p.id) }
			w, d := one(t, v, autoLink)
			w.add("victim", victim)
			if user := w.in(d); user.Email != row.email || user.EmailVerified != row.verified {
				t.Errorf("address %q, verified %v; want %q, %v", user.Email, user.EmailVerified, row.email, row.verified)
			}
		})
	}
}

// Spotify's id may change, and be somebody else's then: who it is says account_id alone.
func TestSpotifyIdentifier(t *testing.T) {
	t.Parallel()
	v := spotify()
	w, d := one(t, v, autoLink)
	ann := w.in(d)
	d.set(func(d *double) { d.who.id, d.who.email = "acc-evil", "evil@initech.example" })
	if evil := w.signIn(d); evil.URL.Path == "/" && w.user(evil).ID == ann.ID {
		t.Error("who took Ann's id signs in as Ann")
	}
	v.apis[0].says = func(p *person) any { return object{"id": p.user, "email": p.email} } // as before May 2026
	w.refused(w.signIn(d), notVerified)
}

// Kakao's address counts while it is this account's (is_email_valid) and was verified, not one of both.
func TestKakaoEmail(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name            string
		valid, verified any
		want            bool
	}{
		{"both", true, true, true},
		{"another account has taken it over", false, true, false},
		{"it was never verified", true, false, false},
		{"nothing is said of whose it is", nil, true, false},
		{"nothing is said of whether it is verified", true, nil, false},
		{"a text", "false", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := kakao()
			v.apis[0].says = func(p *person) any {
				return object{"id": number(p.id), "kakao_account": some(object{
					"email": p.email, "is_email_valid": row.valid, "is_email_verified": row.verified,
					"profile": object{"nickname": p.name},
				})}
			}
			w, d := one(t, v, autoLink)
			if user := w.in(d); user.EmailVerified != row.want {
				t.Errorf("address %q, verified %v", user.Email, user.EmailVerified)
			}
		})
	}
}

// A vendor whose documentation says nothing of verified addresses has none, whatever else stands in its messages.
func TestNeverVerified(t *testing.T) {
	t.Parallel()
	for _, v := range vendors() {
		if v.verifies || v.noEmail {
			continue
		}
		t.Run(v.alias, func(t *testing.T) {
			t.Parallel()
			claim := func(o object) { o["email_verified"], o["verified"], o["verified_account"] = true, true, "true" }
			for i, a := range v.apis {
				v.apis[i].says = func(p *person) any {
					o := a.says(p).(object)
					claim(o)
					return o
				}
			}
			w, d := one(t, v, autoLink)
			d.set(func(d *double) { d.edit = claim })
			local := w.add("ann-local", "ann@initech.example")
			w.refused(w.signIn(d), "already exists")
			if links, err := w.store.LinksOf(t.Context(), local.ID); err != nil || len(links) != 0 {
				t.Errorf("linked to %+v, %v", links, err)
			}
		})
	}
}

// Who has no username at Twitch has no name either: what stands in for a username is none.
func TestTwitchWithoutUsername(t *testing.T) {
	t.Parallel()
	w, d := one(t, twitch(), autoLink)
	d.set(func(d *double) { d.who.user = "" })
	if user := w.in(d); user.Name != "" || user.Username != "ann@initech.example" {
		t.Errorf("called %q, %q", user.Username, user.Name)
	}
}

// A workspace of Bitbucket's, and an account that has no profile at the site, are nobody.
func TestNoPerson(t *testing.T) {
	t.Parallel()
	workspace, none, suspended := bitbucket(), stackOverflow(), x()
	profile := workspace.apis[0].says
	workspace.apis[0].says = func(p *person) any { return with(profile(p).(object), "type", "team") }
	none.apis[0].says = func(*person) any { return object{"items": list{}, "has_more": false} }
	suspended.apis[0].says = func(*person) any { return object{"errors": list{object{"title": "Forbidden"}}} }
	for _, v := range []*vendor{workspace, none, suspended} {
		t.Run(v.alias, func(t *testing.T) {
			t.Parallel()
			w, d := one(t, v, autoLink)
			w.refused(w.signIn(d), notVerified)
			w.nobody(v.want.username, "ann@initech.example")
		})
	}
}

// What Stack Overflow escapes for HTML is text here, once, and is escaped again where it is shown.
func TestStackOverflowNames(t *testing.T) {
	t.Parallel()
	v := stackOverflow()
	w, d := one(t, v, autoLink)
	d.set(func(d *double) { d.who.name = "Ann O'Lee & <b>Co</b>" })
	v.apis[0].says = func(p *person) any {
		return object{"items": list{object{"user_id": number(p.id),
			"display_name": "Ann O&#39;Lee &amp; &lt;b&gt;Co&lt;/b&gt; &amp;amp;"}}}
	}
	if user := w.in(d); user.Name != "Ann O'Lee & <b>Co</b> &amp;" {
		t.Errorf("the name is %q", user.Name)
	}
}

// Discord's pictures are named by a hash, which must not become another address.
func TestDiscordPictures(t *testing.T) {
	t.Parallel()
	for avatar, want := range map[any]string{
		nil:                                "",
		"":                                 "",
		"a_8342729096ea3675442027381ff50d": "https://cdn.discordapp.com/avatars/80351110224678912/a_8342729096ea3675442027381ff50d.png",
		"../../evil":                       "https://cdn.discordapp.com/avatars/80351110224678912/..%2F..%2Fevil.png",
		"x.png?y=":                         "https://cdn.discordapp.com/avatars/80351110224678912/x.png%3Fy=.png",
	} {
		v := discord()
		profile := v.apis[0].says
		v.apis[0].says = func(p *person) any { return with(profile(p).(object), "avatar", avatar) }
		w, d := one(t, v, autoLink)
		if user := w.in(d); user.Picture != want {
			t.Errorf("avatar %v: picture %q, want %q", avatar, user.Picture, want)
		}
	}
}

// Slack's users are numbered in each workspace anew.
func TestSlackWorkspaces(t *testing.T) {
	t.Parallel()
	v := slack()
	w, d := one(t, v, autoLink)
	ann := w.in(d)
	d.set(func(d *double) { d.who.domain, d.who.email = "T0EVIL", "ann@evil.example" })
	if evil := w.in(d); evil.ID == ann.ID || w.link(evil).Subject != "T0EVIL.U0ANN" {
		t.Errorf("%s of another workspace signs in as %s", w.link(evil).Subject, evil.ID)
	}
	// Who tells neither name nor address is called by all of the subject: the same number is somebody else's elsewhere.
	d.set(func(d *double) { d.who.id, d.who.domain, d.who.email = "U0BEA", "T0EVIL", "" })
	if bea := w.in(d); bea.Username != "t0evil.u0bea" {
		t.Errorf("called %q", bea.Username)
	}
	for name, claims := range map[string]object{
		"no workspace": {"https://slack.com/team_id": nil}, "no user": {"https://slack.com/user_id": nil},
		"a dot":      {"https://slack.com/team_id": "T0INIT.U0ANN", "https://slack.com/user_id": "X"},
		"a number":   {"https://slack.com/team_id": 7},
		"other user": {"https://slack.com/user_id": ""},
	} {
		d.set(func(d *double) {
			d.who = v.ann()
			d.edit = func(c map[string]any) {
				for name, v := range claims {
					c[name] = v
				}
			}
		})
		page := w.signIn(d)
		if page.Status < 400 {
			t.Errorf("%s: status %d at %s", name, page.Status, page.URL)
		}
		w.refused(page, notVerified)
	}
}

// Options.EssentialClaim keeps out whoever lacks it, with both kinds of vendors: Slack's is the name of a claim, GitHub's a path.
func TestEssentialClaim(t *testing.T) {
	t.Parallel()
	workspace, login := slack(), gitHub("", "")
	workspace.idp = func(c *http.Client) provider.IdentityProvider {
		return social.Slack(clientID, clientSecret).With(social.Options{HTTPClient: c,
			EssentialClaim: "https://slack.com/team_id", EssentialValue: "T0INIT"})
	}
	login.idp = func(c *http.Client) provider.IdentityProvider {
		return social.GitHub(clientID, clientSecret).With(social.Options{HTTPClient: c, EssentialClaim: "login", EssentialValue: "Ann-.*"})
	}
	for _, row := range []struct {
		v     *vendor
		other func(*person)
	}{
		{workspace, func(p *person) { p.domain = "T0INIT2" }},
		{login, func(p *person) { p.user = "bob-lee" }},
	} {
		w, d := one(t, row.v, autoLink)
		w.in(d)
		d.set(func(d *double) { row.other(&d.who) })
		w.refused(w.signIn(d), "")
	}
}

// Google turns prompt=login away, and knows the others.
func TestGooglePrompts(t *testing.T) {
	t.Parallel()
	w, d := one(t, google(), nil)
	for prompt, to := range map[string]string{"login": "", "select_account": "select_account"} {
		b := brokertest.NewBrowser(t)
		b.Transport = &w.wire
		before := d.asked(d.authorize)
		page := b.Get(w.URL + "/login?return_to=/&prompt=" + prompt)
		if page = page.Click("Continue with Google"); prompt != "login" {
			w.user(page)
			if sent := d.sent.Get("prompt"); sent != to {
				t.Errorf("prompt=%s arrives as %q", prompt, sent)
			}
			continue
		}
		if page.Status != http.StatusOK || page.URL.Path != "/id/login" || d.asked(d.authorize) != before {
			t.Errorf("prompt=login: status %d at %s, and Google was asked %d times", page.Status, page.URL, d.asked(d.authorize)-before)
		}
	}
}

// Options.ForwardMaxAge and ForwardUILocales pass on what the application asked for, and the former holds the vendor to it.
func TestForwarded(t *testing.T) {
	t.Parallel()
	v, age := google(), 5*time.Minute
	var idp *social.OpenID
	v.idp = func(c *http.Client) provider.IdentityProvider {
		idp = social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, ForwardMaxAge: true, ForwardUILocales: true})
		return idp
	}
	_, d := one(t, v, nil)
	for _, row := range []struct {
		name string
		ago  time.Duration
		in   bool
	}{{"a minute ago", time.Minute, true}, {"an hour ago", time.Hour, false}, {"it does not say when", 0, false}} {
		redirect, err := idp.Begin(t.Context(), provider.Request{RedirectURI: d.callback, State: "s", MaxAge: &age, UILocales: []string{"de", "fr"}})
		if err != nil {
			t.Fatal(err)
		}
		d.set(func(d *double) {
			d.edit = func(c map[string]any) {
				if row.ago > 0 {
					c["auth_time"] = time.Now().Add(-row.ago).Unix()
				}
			}
		})
		at, answer := d.agree(t, redirect.URL)
		if at.Get("max_age") != "300" || at.Get("ui_locales") != "de fr" {
			t.Errorf("asked for are %v", at)
		}
		_, err = idp.Finish(t.Context(), provider.Callback{Params: answer, Data: redirect.Data})
		if (err == nil) != row.in {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// Options.ClockSkew bounds how far the vendor's clock may be off.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for skew, in := range map[time.Duration]bool{0: false, 4 * time.Minute: true} {
		v := google()
		v.idp = func(c *http.Client) provider.IdentityProvider {
			return social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, ClockSkew: skew})
		}
		w, d := one(t, v, nil)
		d.set(func(d *double) {
			d.edit = func(c map[string]any) { c["exp"] = time.Now().Add(-2 * time.Minute).Unix() }
		})
		page := w.signIn(d)
		if got := page.Status == http.StatusOK && page.URL.Path == "/"; got != in {
			t.Errorf("skew %v: status %d at %s", skew, page.Status, page.URL)
		}
	}
}

// Options.ExchangeAudiences are whose ID tokens may be exchanged beside this client's own; nobody else's are.
func TestExchangeAudiences(t *testing.T) {
	t.Parallel()
	for audience, in := range map[string]bool{clientID: true, "mobile": true, "another": false} {
		v := google()
		var idp *social.OpenID
		v.idp = func(c *http.Client) provider.IdentityProvider {
			idp = social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, ExchangeAudiences: []string{"mobile"}})
			return idp
		}
		_, d := one(t, v, nil)
		d.set(func(d *double) { d.edit = func(c map[string]any) { c["aud"], c["azp"] = audience, audience } })
		id, err := idp.VerifyToken(t.Context(), d.idToken(&grant{who: d.who}, "at"))
		if (err == nil) != in || in && id.Subject != v.id {
			t.Errorf("for %q: %v", audience, err)
		}
	}
}

// Who changes the list later changes nobody's way in.
func TestHostedDomainsAreNotShared(t *testing.T) {
	t.Parallel()
	v, domains := google(), []string{"globex.example"}
	var idp *social.OpenID
	v.params = map[string]string{"hd": "globex.example"}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		idp = social.Google(clientID, clientSecret).With(social.Options{HTTPClient: c, HostedDomains: domains})
		return idp
	}
	_, d := one(t, v, nil)
	domains[0] = "*"
	if _, err := idp.VerifyToken(t.Context(), d.idToken(&grant{who: d.who}, "at")); err == nil {
		t.Error("a foreign domain is let in")
	}
}

// A realm's tokens are good for that realm, although another is at the same address, and is somebody else's to run.
func TestKeycloakRealms(t *testing.T) {
	t.Parallel()
	initech, globex := keycloak("initech"), keycloak("globex")
	w, doubles := newWorld(t, autoLink, initech, globex)
	ann := w.user(w.via(doubles[0]))
	doubles[1].set(func(d *double) { d.who.user, d.who.email = "ann-of-globex", "ann@globex.example" })
	if evil := w.user(w.via(doubles[1])); evil.ID == ann.ID {
		t.Error("the same subject in another realm signs in as Ann")
	}
	// What globex says reaches the redirect URI, or the token answer, of initech.
	doubles[0].set(func(d *double) { d.edit = func(c map[string]any) { c["iss"] = globex.issuer } })
	w.refused(w.via(doubles[0]), notVerified)
	confused := *initech
	confused.iss = globex.issuer
	w, d := one(t, &confused, autoLink)
	w.refused(w.signIn(d), notVerified)
}

// Facebook's interface may be told to refuse tokens without a proof, and the broker always sends one; more fields come on demand.
func TestFacebookFields(t *testing.T) {
	t.Parallel()
	v := facebook()
	v.apis[0].query = map[string]string{"fields": "id,name,first_name,last_name,email,picture,birthday,link"}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		return social.Facebook(clientID, clientSecret).With(social.Options{HTTPClient: c, Fields: []string{"birthday", "link"}})
	}
	w, d := one(t, v, nil)
	w.in(d)
	// With another secret than the application's the proof is wrong, before anybody looks at what the answer says.
	v = facebook()
	v.idp = func(c *http.Client) provider.IdentityProvider {
		return social.Facebook(clientID, strings.ToUpper(clientSecret)).With(social.Options{HTTPClient: c})
	}
	v.secret = func(string) error { return nil } // the token endpoint takes it
	w, d = one(t, v, nil)
	d.bystander = true
	w.refused(w.signIn(d), "")
	if !slices.Contains(d.complaints, "GET https://graph.facebook.com/v26.0/me: the appsecret_proof is missing or wrong") {
		t.Errorf("complaints: %q", d.complaints)
	}
}

// What a vendor leaves out that others have is said at start: LinkedIn's codes are protected by nothing but the state.
func TestWhatIsInsecure(t *testing.T) {
	t.Parallel()
	for _, v := range vendors() {
		insecure := v.idp(nil).(interface{ Insecure() []string }).Insecure()
		want := []string(nil)
		if v.alias == "linkedin" {
			want = []string{"InsecureAllowCodeInjection", "InsecureSkipNonce", "InsecureSkipPKCE"}
		}
		if !slices.Equal(insecure, want) {
			t.Errorf("%s: %q", v.alias, insecure)
		}
	}
}

// Whose codes are bound to the browser by neither PKCE, as far as its documentation goes, nor a nonce says so in its comment.
func TestWhatBindsNoCode(t *testing.T) {
	t.Parallel()
	docs := constructors(t)
	for _, v := range vendors() {
		says := strings.Contains(strings.ReplaceAll(docs[v.name], "\n", " "), "on its way")
		if want := v.pkce != pkceTaken && (v.openID == nil || v.pkce == pkceRefused); says != want {
			t.Errorf("%s: its comment says so: %t, want %t", v.name, says, want)
		}
	}
}

// Every vendor that there is has a double.
func TestEveryVendorHasADouble(t *testing.T) {
	t.Parallel()
	var doubles []string
	for _, v := range vendors() {
		doubles = append(doubles, v.name)
	}
	for name, p := range presets(t, social.Options{}) {
		if !slices.Contains(doubles, p.Brand().Name) {
			t.Errorf("%s has none", name)
		}
	}
}
