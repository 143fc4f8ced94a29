package broker_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// localClients lets the broker reach applications of the tests.
var localClients = provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true}

// signsOut makes the configuration one in which the application "rp" is told of sign-outs by the back channel, and in
// which sign-outs stay here.
func signsOut(c *broker.Config) {
	c.ClientHTTP = localClients
	registerLogout(&c.Clients[0])
	for i := range c.Providers {
		c.Providers[i].Logout = provider.LogoutNone
	}
}

func registerLogout(c *store.Client) {
	site := strings.TrimSuffix(c.RedirectURIs[0], "/callback")
	c.PostLogoutRedirectURIs = []string{site + "/signed-out", site + "/elsewhere?a=b"}
	c.BackchannelLogoutURI = site + "/backchannel"
}

// also makes two edits one.
func also(edits ...func(*broker.Config)) func(*broker.Config) {
	return func(c *broker.Config) {
		for _, edit := range edits {
			edit(c)
		}
	}
}

// enter signs the browser in at the application.
func (w *world) enter(b *brokertest.Browser, rp *brokertest.RelyingParty) brokertest.Login {
	w.t.Helper()
	page := b.Get(rp.LoginURL())
	if strings.HasPrefix(page.URL.String(), w.URL) {
		page = page.Click("Demo")
	}
	if page.Status != http.StatusOK || rp.Login().Error != "" || rp.Login().Subject == "" {
		w.t.Fatalf("login at the application: status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	return rp.Login()
}

// OpenID Connect RP-Initiated Logout 1.0 §2 to §4, CVE-2025-31123's kind: what ends a session, what asks first, and what
// does neither.
func TestEndSession(t *testing.T) {
	t.Parallel()
	type outcome int
	const (
		ends outcome = iota
		asks
		refuses
	)
	w := newWorld(t, also(signsOut, func(c *broker.Config) {
		off, other := c.Clients[0], c.Clients[0]
		off.ID, off.Disabled, other.ID = "off", true, "other"
		other.PostLogoutRedirectURIs = []string{"https://other.example/out"}
		c.Clients = append(c.Clients, off, other)
	}))
	second := brokertest.NewBrowser(t)
	elsewhere := w.enter(second, w.rp) // another session of the same user
	w.op.LoginAs("bob")
	bobs := w.enter(brokertest.NewBrowser(t), w.rp)
	w.op.LoginAs("alice")
	back, elsewhereAt := w.rp.SignedOutURL(), strings.TrimSuffix(w.callback(), "/callback")+"/elsewhere?a=b"
	upstreams := w.op.LogoutToken(providertest.Logout{Client: "demo", Subject: "alice"})
	for name, row := range map[string]struct {
		params func(l brokertest.Login) url.Values
		want   outcome
		late   time.Duration
	}{
		"own ID token":            {want: ends},
		"own ID token, expired":   {want: ends, late: 20 * time.Minute},
		"with client_id":          {params: fixed("client_id", "rp"), want: ends},
		"without an address":      {params: fixed("post_logout_redirect_uri"), want: ends},
		"without state":           {params: fixed("state"), want: ends},
		"another address":         {params: fixed("post_logout_redirect_uri", elsewhereAt), want: ends},
		"no hint":                 {params: fixed("id_token_hint", "", "client_id", "rp"), want: asks},
		"a session elsewhere":     {params: fixed("id_token_hint", elsewhere.IDToken), want: asks},
		"another user":            {params: fixed("id_token_hint", bobs.IDToken), want: asks},
		"access token":            {params: accessTokenHint, want: asks},
		"altered":                 {params: alteredHint, want: asks},
		"alg none":                {params: unsignedHint, want: asks},
		"upstream's token":        {params: fixed("id_token_hint", upstreams, "client_id", "rp"), want: asks},
		"logout_hint alone":       {params: fixed("id_token_hint", "", "post_logout_redirect_uri", "", "logout_hint", "alice"), want: asks},
		"state alone":             {params: fixed("id_token_hint", "", "post_logout_redirect_uri", ""), want: asks},
		"address of nobody":       {params: fixed("id_token_hint", ""), want: refuses},
		"address, broken hint":    {params: fixed("id_token_hint", "x.y.z"), want: refuses},
		"address below":           {params: fixed("post_logout_redirect_uri", back+"/x"), want: refuses},
		"address with a query":    {params: fixed("post_logout_redirect_uri", back+"?a=b"), want: refuses},
		"address with a fragment": {params: fixed("post_logout_redirect_uri", back+"#a"), want: refuses},
		"address in capitals":     {params: fixed("post_logout_redirect_uri", strings.ToUpper(back)), want: refuses},
		"address elsewhere":       {params: fixed("post_logout_redirect_uri", "https://evil.example/"), want: refuses},
		"script":                  {params: fixed("post_logout_redirect_uri", "javascript:alert(1)"), want: refuses},
		"redirect URI":            {params: fixed("post_logout_redirect_uri", w.callback()), want: refuses},
		"another client's":        {params: fixed("post_logout_redirect_uri", "https://other.example/out"), want: refuses},
		"hint of another client":  {params: fixed("client_id", "other", "post_logout_redirect_uri", "https://other.example/out"), want: refuses},
		"unknown client":          {params: fixed("id_token_hint", "", "client_id", "nobody"), want: refuses},
		"client that is off":      {params: fixed("id_token_hint", "", "client_id", "off"), want: refuses},
		"two hints":               {params: twice("id_token_hint"), want: refuses},
		"two addresses":           {params: twice("post_logout_redirect_uri"), want: refuses},
	} {
		t.Run(name, func(t *testing.T) {
			b := brokertest.NewBrowser(t)
			login := w.enter(b, w.rp)
			told := len(w.rp.Logouts())
			w.advance(row.late)
			params := url.Values(nil)
			if row.params != nil {
				params = row.params(login)
			}
			target := w.rp.LogoutURL(params)
			page := b.Get(target)
			switch row.want {
			case ends:
				w.wantSignedOut(t, b, login, told)
				w.wantBack(t, page, target)
			case asks:
				shows(t, page, http.StatusOK, "Sign out?")
				w.wantSignedIn(t, b, login, told)
				page = page.Submit(nil)
				w.wantSignedOut(t, b, login, told)
				w.wantBack(t, page, target)
			case refuses:
				shows(t, page, http.StatusBadRequest)
				if strings.Contains(page.Body, "evil.example") || strings.Contains(page.Body, login.IDToken) {
					t.Errorf("the page repeats what was sent:\n%s", page.Body)
				}
				w.wantSignedIn(t, b, login, told)
			}
		})
	}
	if !w.signedIn(second) {
		t.Error("the session elsewhere has ended")
	}
}

// fixed changes parameters: names and values, of which "" leaves one out, as does none at the end.
func fixed(pairs ...string) func(brokertest.Login) url.Values {
	params := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		params[pairs[i]] = nil
		if i+1 < len(pairs) && pairs[i+1] != "" {
			params.Set(pairs[i], pairs[i+1])
		}
	}
	return func(brokertest.Login) url.Values { return params }
}

func twice(name string) func(brokertest.Login) url.Values {
	return func(l brokertest.Login) url.Values {
		if name == "id_token_hint" {
			return url.Values{name: {l.IDToken, l.IDToken}}
		}
		return url.Values{name: {"https://a.example/", "https://b.example/"}}
	}
}

func accessTokenHint(l brokertest.Login) url.Values {
	return url.Values{"id_token_hint": {l.AccessToken}, "client_id": {"rp"}}
}

func alteredHint(l brokertest.Login) url.Values {
	return url.Values{"id_token_hint": {twin(l.IDToken, len(l.IDToken)-10)}, "client_id": {"rp"}}
}

func unsignedHint(l brokertest.Login) url.Values {
	_, rest, _ := strings.Cut(l.IDToken, ".")
	claims, _, _ := strings.Cut(rest, ".")
	return url.Values{"id_token_hint": {"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + claims + "."}, "client_id": {"rp"}}
}

func (w *world) wantSignedOut(t *testing.T, b *brokertest.Browser, l brokertest.Login, told int) {
	t.Helper()
	if w.signedIn(b) {
		t.Error("still signed in")
	}
	if got := w.userinfo(l.AccessToken).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("userinfo answers the access token with status %d", got)
	}
	sid := l.Claims["sid"].(string)
	if grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{SessionID: sid}); err != nil || len(grants) != 0 {
		t.Errorf("%d grants are left (%v)", len(grants), err)
	}
	logouts := w.rp.Logouts()[told:]
	if len(logouts) != 1 || logouts[0].Session != sid || logouts[0].Subject != l.Subject {
		t.Errorf("the application was told %+v, want session %s", logouts, sid)
	}
}

func (w *world) wantSignedIn(t *testing.T, b *brokertest.Browser, l brokertest.Login, told int) {
	t.Helper()
	if !w.signedIn(b) {
		t.Error("no longer signed in")
	}
	if got := w.userinfo(l.AccessToken).StatusCode; got != http.StatusOK && !expired(w, l) {
		t.Errorf("userinfo answers the access token with status %d", got)
	}
	if got := w.rp.Logouts()[told:]; len(got) != 0 {
		t.Errorf("the application was told %+v", got)
	}
}

func expired(w *world, l brokertest.Login) bool {
	exp, _ := l.Claims["exp"].(float64)
	return float64(w.clock().Unix()) >= exp
}

// wantBack fails unless the browser has come back to the address that the request names, with its state.
func (w *world) wantBack(t *testing.T, page *brokertest.Page, request string) {
	t.Helper()
	sent, err := url.Parse(request)
	if err != nil {
		t.Fatal(err)
	}
	want := sent.Query().Get("post_logout_redirect_uri")
	if want == "" {
		shows(t, page, http.StatusOK, "You are signed out")
		if page.URL.Path != "/id/logout" {
			t.Errorf("came to %s", page.URL)
		}
		return
	}
	if state := sent.Query().Get("state"); state != "" {
		separator := "?"
		if strings.Contains(want, "?") {
			separator = "&"
		}
		want += separator + url.Values{"state": {state}}.Encode()
	}
	if page.URL.String() != want {
		t.Errorf("came to %s, want %s", page.URL, want)
	}
}

// RP-Initiated Logout §2: POST is as good as GET. It comes from another site, and browsers send no cookie along with it.
func TestEndSessionByPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	target, err := url.Parse(w.rp.LogoutURL(nil))
	if err != nil {
		t.Fatal(err)
	}
	// Without its cookie the browser is sent to the same by GET, and nothing is decided before.
	answer := send(t, http.MethodPost, w.URL+"/logout", target.Query(), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if to := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || to != target.String() {
		t.Errorf("status %d to %s", answer.StatusCode, to)
	}
	w.wantSignedIn(t, b, login, 0)

	t.Run("with the field of our own page", func(t *testing.T) {
		form := target.Query()
		form.Set("confirm", "1")
		shows(t, b.Post(w.URL+"/logout", form, "https://evil.example/"), http.StatusForbidden, "another site")
		shows(t, b.Post(w.URL+"/logout", url.Values{}, "https://evil.example/"), http.StatusForbidden, "another site")
		shows(t, b.Get(w.URL+"/logout?confirm=1"), http.StatusOK, "Sign out?")
		shows(t, b.Get(w.URL+"/logout?confirm=1&client_id=rp"), http.StatusOK, "Sign out?", "Test App")
		w.wantSignedIn(t, b, login, 0)
	})
	t.Run("too large", func(t *testing.T) {
		form := target.Query()
		form.Set("state", strings.Repeat("a", 20<<10))
		shows(t, b.Post(w.URL+"/logout", form, "https://app.example/"), http.StatusRequestEntityTooLarge)
		form.Set("state", strings.Repeat("a", 100<<10))
		shows(t, b.Post(w.URL+"/logout", form, "https://app.example/"), http.StatusBadRequest)
	})
	page := b.Post(w.URL+"/logout", target.Query(), "https://app.example/")
	w.wantSignedOut(t, b, login, 0)
	w.wantBack(t, page, target.String())
}

// Somebody who is not signed in any more is sent on as well: the application waits for them.
func TestEndSessionTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := brokertest.NewBrowser(t)
	w.enter(b, w.rp)
	target := w.rp.LogoutURL(nil)
	b.Get(target)
	w.wantBack(t, b.Get(target), target)
	w.wantBack(t, brokertest.NewBrowser(t).Get(target), target)
	if got := w.rp.Logouts(); len(got) != 1 {
		t.Errorf("told %d times", len(got))
	}
	for _, bad := range []string{"https://evil.example/", "javascript:alert(1)"} {
		page := brokertest.NewBrowser(t).Get(w.rp.LogoutURL(url.Values{"post_logout_redirect_uri": {bad}}))
		shows(t, page, http.StatusBadRequest)
	}
}

// What is switched off does not keep anybody from signing out.
func TestSignOutSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]func(w *world){
		"user": func(w *world) { w.editUser("alice", func(u *store.User) { u.Disabled = true }) },
		"provider": func(w *world) {
			w.reconfigure(also(signsOut, func(c *broker.Config) { c.Providers[0].Disabled = true }))
		},
		"idle": func(w *world) { w.advance(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, signsOut)
			b := brokertest.NewBrowser(t)
			login := w.enter(b, w.rp)
			off(w)
			shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusOK, "You are signed out")
			w.wantSignedOut(t, b, login, 0)
			if _, err := w.store.Session(t.Context(), login.Claims["sid"].(string)); err == nil {
				t.Error("the session is still there")
			}
		})
	}
}

// The host's own way out tells applications, too, and so do another user's login and the host's own wish.
func TestSessionsEndOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	page := b.Get(w.URL + "/logout?return_to=/bye&ui_locales=de")
	if page.Header.Get("Content-Language") != "de" {
		t.Errorf("asked in %s", page.Header.Get("Content-Language"))
	}
	page = page.Submit(nil)
	shows(t, page, http.StatusOK, "Sie sind abgemeldet", w.Origin+"/bye")
	w.wantSignedOut(t, b, login, 0)

	login = w.enter(b, w.rp)
	w.op.LoginAs("bob")
	w.rp.Params = url.Values{"prompt": {"login"}, "idp_hint": {"demo"}}
	bobs := w.enter(b, w.rp)
	if got := w.rp.Logouts()[1:]; len(got) != 1 || got[0].Session != login.Claims["sid"] || got[0].Subject != login.Subject {
		t.Errorf("told %+v when bob took the place of session %v", got, login.Claims["sid"])
	}
	if grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{SessionID: login.Claims["sid"].(string)}); err != nil || len(grants) != 0 {
		t.Errorf("%d grants of alice are left (%v)", len(grants), err)
	}

	second := brokertest.NewBrowser(t)
	again := w.enter(second, w.rp)
	if err := w.Broker.SignOut(t.Context(), bobs.Subject); err != nil {
		t.Fatal(err)
	}
	if w.signedIn(b) || w.signedIn(second) {
		t.Error("bob is still signed in")
	}
	var sids []any
	for _, l := range w.rp.Logouts()[2:] {
		sids = append(sids, l.Session)
	}
	if len(sids) != 2 || !slices.Contains(sids, bobs.Claims["sid"]) || !slices.Contains(sids, again.Claims["sid"]) {
		t.Errorf("told of %v, want %v and %v", sids, bobs.Claims["sid"], again.Claims["sid"])
	}
	if err := w.Broker.SignOut(t.Context(), bobs.Subject); err != nil {
		t.Errorf("a user without sessions: %v", err)
	}
	if err := w.Broker.SignOut(t.Context(), ""); err == nil {
		t.Error("nobody was signed out, without a complaint")
	}
}

// offers is the configuration in which sign-outs go on at the provider by the mode.
func goesOn(mode provider.LogoutMode) func(*broker.Config) {
	return also(signsOut, func(c *broker.Config) { c.Providers[0].Logout = mode })
}

// Row 78: the sign-out reaches the upstream with id_token_hint, however old.
func TestSignOutUpstream(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.LogoutMode{provider.LogoutOffer, provider.LogoutPerform, provider.LogoutNone} {
		for _, late := range []time.Duration{0, 25 * time.Minute} {
			w := newWorld(t, goesOn(mode))
			b := brokertest.NewBrowser(t)
			login := w.enter(b, w.rp)
			w.advance(late)
			target := w.rp.LogoutURL(nil)
			page := b.Get(target)
			if mode == provider.LogoutOffer {
				shows(t, page, http.StatusOK, "You are signed out", "You may still be signed in at Demo", "Back to Test App")
				w.wantBack(t, page.Click("Back to"), target)
				page = page.Click("Sign out of Demo")
			}
			w.wantSignedOut(t, b, login, 0)
			w.wantBack(t, page, target)
			w.wantUpstream(t, mode != provider.LogoutNone)
		}
	}
}

// Keycloak #51243: that a provider began the sign-out, and is not to be asked again, is known from its signed message and from
// no parameter, by which anybody's link would have kept the session there alive.
func TestSignOutInitiator(t *testing.T) {
	t.Parallel()
	forged := url.Values{
		"initiating_idp": {"demo"}, "initiating_provider": {"demo"}, "idp_hint": {"demo"}, "kc_idp_hint": {"demo"}, "provider": {"demo"},
	}
	t.Run("by an application", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, goesOn(provider.LogoutPerform))
		b := brokertest.NewBrowser(t)
		login := w.enter(b, w.rp)
		target := w.rp.LogoutURL(forged)
		w.wantBack(t, b.Get(target), target)
		w.wantSignedOut(t, b, login, 0)
		w.wantUpstream(t, true)
	})
	t.Run("by the host", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, goesOn(provider.LogoutPerform))
		b := w.login("Demo")
		b.Get(w.URL + "/logout?" + forged.Encode()).Submit(nil)
		if w.signedIn(b) {
			t.Error("still signed in")
		}
		w.wantUpstream(t, true)
	})
	// The loop that the parameter is against ends by itself: after the upstream's message there is no session to lead there.
	t.Run("by the upstream", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, goesOn(provider.LogoutPerform))
		b := brokertest.NewBrowser(t)
		login := w.enter(b, w.rp)
		w.wantTaken(t, providertest.Logout{Session: w.upstreamSession(login)})
		w.wantSignedOut(t, b, login, 0)
		target := w.rp.LogoutURL(nil)
		w.wantBack(t, b.Get(target), target)
		w.wantUpstream(t, false)
	})
}

// wantUpstream fails unless the upstream was asked, rightly, to end alice's session, or was not asked.
func (w *world) wantUpstream(t *testing.T, asked bool) {
	t.Helper()
	requests := w.op.Requests(providertest.EndSession)
	if !asked || len(requests) != 1 {
		if asked || len(requests) != 0 {
			t.Errorf("%d requests to end the upstream's session", len(requests))
		}
		return
	}
	r := requests[0]
	hint := part(t, r.Params.Get("id_token_hint"), 1)
	if r.Error != "" || hint["sub"] != "alice" || hint["aud"] != "demo" || r.Params.Get("client_id") != "demo" ||
		r.Params.Get("post_logout_redirect_uri") != w.URL+"/broker/demo/logout_response" || len(r.Params.Get("state")) < 20 {
		t.Errorf("asked with %v, answered %q", r.Params, r.Error)
	}
}

func TestSignOutUpstreamOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, goesOn(provider.LogoutPerform))
	b := w.login("Demo")
	page := b.Get(w.URL + "/logout?return_to=/bye").Submit(nil)
	shows(t, page, http.StatusOK, "You are signed out", w.Origin+"/bye")
	if page.URL.Path != "/id/broker/demo/logout_response" || w.signedIn(b) {
		t.Errorf("came to %s", page.URL)
	}
	w.wantUpstream(t, true)
	if strings.Contains(page.Body, "Sign out of Demo") {
		t.Error("offers what was done")
	}
}

// Nothing at the upstream keeps the session here alive.
func TestSignOutUpstreamFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(w *world){
		"unknown on a new node, and down": func(w *world) {
			w.op.Break(providertest.DiscoveryDown)
			w.reconfigure(goesOn(provider.LogoutPerform))
		},
		"unknown on a new node, and slow": func(w *world) {
			w.op.Break(providertest.DiscoverySlow)
			w.reconfigure(goesOn(provider.LogoutPerform))
		},
		"no such endpoint": func(w *world) {
			w.op.Edit(providertest.Hooks{Discovery: func(doc map[string]any) { delete(doc, "end_session_endpoint") }})
			w.reconfigure(goesOn(provider.LogoutPerform))
		},
		"another secret": func(w *world) {
			w.reconfigure(also(goesOn(provider.LogoutPerform), func(c *broker.Config) {
				c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) { c.Endpoints.EndSession = "http://127.0.0.1:1/nobody" })
				c.Providers[0].Logout = provider.LogoutOffer
			}))
		},
		"provider off": func(w *world) {
			w.reconfigure(also(goesOn(provider.LogoutPerform), func(c *broker.Config) { c.Providers[0].Disabled = true }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, goesOn(provider.LogoutPerform))
			b := brokertest.NewBrowser(t)
			login := w.enter(b, w.rp)
			fail(w)
			began := time.Now()
			page := b.Get(w.rp.LogoutURL(nil))
			if took := time.Since(began); took > 30*time.Second { // the upstream is slow by a minute
				t.Errorf("took %v", took)
			}
			if name != "another secret" {
				w.wantBack(t, page, w.rp.LogoutURL(nil))
			}
			w.wantSignedOut(t, b, login, 0)
		})
	}
}

// A poster is a provider of another protocol: signing out there begins with a form.
type poster struct{ provider.IdentityProvider }

func (poster) BeginLogout(_ context.Context, r provider.LogoutRequest) (*provider.Redirect, error) {
	return &provider.Redirect{
		URL:  "https://idp.example/slo",
		Form: url.Values{"SAMLRequest": {r.Subject + " " + r.Session}, "RelayState": {r.State}},
	}, nil
}

func TestSignOutUpstreamByForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, also(goesOn(provider.LogoutPerform), func(c *broker.Config) { c.Providers[0].IdP = poster{c.Providers[0].IdP} }))
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	session, err := w.store.Session(t.Context(), login.Claims["sid"].(string))
	if err != nil {
		t.Fatal(err)
	}
	page := b.Get(w.rp.LogoutURL(nil))
	shows(t, page, http.StatusOK, `action="https://idp.example/slo"`, "alice "+session.UpstreamSession)
	w.wantSignedOut(t, b, login, 0)
	_, fields, _ := page.Form()
	w.wantBack(t, b.Get(w.URL+"/broker/demo/logout_response?state="+fields.Get("RelayState")), w.rp.LogoutURL(nil))
}

// An ID token is kept only for a sign-out that can use it, and nobody who reads the store can use it instead.
func TestUpstreamIDTokenIsKept(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		mode     provider.LogoutMode
		endpoint bool
		want     bool
	}{
		"offered": {provider.LogoutOffer, true, true}, "performed": {provider.LogoutPerform, true, true},
		"off": {provider.LogoutNone, true, false}, "nowhere to go": {provider.LogoutPerform, false, false},
	} {
		w := newWorld(t, goesOn(row.mode))
		if !row.endpoint {
			w.op.Edit(providertest.Hooks{Discovery: func(doc map[string]any) { delete(doc, "end_session_endpoint") }})
		}
		login := w.enter(brokertest.NewBrowser(t), w.rp)
		session, err := w.store.Session(t.Context(), login.Claims["sid"].(string))
		if err != nil || (len(session.UpstreamIDToken) > 0) != row.want {
			t.Errorf("%s: %d bytes are kept (%v)", name, len(session.UpstreamIDToken), err)
			continue
		}
		if bytes.HasPrefix(session.UpstreamIDToken, []byte("eyJ")) {
			t.Errorf("%s: kept in the clear", name)
		}
	}
}

// The way back from the upstream is for the browser that left, once.
func TestLogoutResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, goesOn(provider.LogoutOffer))
	leaves := func(t *testing.T) (b *brokertest.Browser, start, back string) {
		t.Helper()
		b = brokertest.NewBrowser(t)
		w.enter(b, w.rp)
		page := b.Get(w.rp.LogoutURL(nil))
		for _, link := range page.Links() {
			if strings.Contains(link.Text, "Sign out of Demo") {
				start = link.URL
			}
		}
		if start == "" {
			t.Fatalf("nothing is offered:\n%s", page.Body)
		}
		u, err := url.Parse(start)
		if err != nil {
			t.Fatal(err)
		}
		return b, start, w.URL + "/broker/demo/logout_response?" + u.RawQuery
	}
	refused := func(t *testing.T, page *brokertest.Page) {
		t.Helper()
		shows(t, page, http.StatusBadRequest, "This sign-out is not under way")
	}
	t.Run("other states", func(t *testing.T) {
		b, start, back := leaves(t)
		at := w.URL + "/broker/demo/logout_response"
		for _, query := range []string{"", "?state=", "?state=x", "?state=" + strings.Repeat("A", 26), "?state=a%0d%0ab", back[len(at):] + "&state=x"} {
			refused(t, b.Get(at+query))
		}
		refused(t, b.Get(strings.Replace(back, "/demo/", "/other/", 1)))
		refused(t, b.Get(strings.Replace(start, "/demo/", "/other/", 1)))
		refused(t, b.Get(strings.Replace(back, "/demo/", "/nobody/", 1)))
		w.wantBack(t, b.Get(back), w.rp.LogoutURL(nil)) // it is still the browser's
	})
	t.Run("another browser", func(t *testing.T) {
		b, start, back := leaves(t)
		refused(t, brokertest.NewBrowser(t).Get(start))
		refused(t, brokertest.NewBrowser(t).Get(back))
		forger := brokertest.NewBrowser(t)
		for name := range b.Cookies(w.Origin) {
			if strings.HasPrefix(name, w.cookieName("logout-")) {
				forger.SetCookies(w.Origin, map[string]string{name: strings.Repeat("A", 43)})
			}
		}
		refused(t, forger.Get(start))
	})
	t.Run("twice", func(t *testing.T) {
		b, start, back := leaves(t)
		cookies := b.Cookies(w.Origin)
		w.wantBack(t, b.Get(back), w.rp.LogoutURL(nil))
		refused(t, b.Get(back))
		b.SetCookies(w.Origin, cookies)
		refused(t, b.Get(back))
		refused(t, b.Get(start))
	})
	t.Run("late", func(t *testing.T) {
		w := newWorld(t, goesOn(provider.LogoutPerform))
		b := brokertest.NewBrowser(t)
		w.enter(b, w.rp)
		b.Stop()
		away := b.Get(w.rp.LogoutURL(nil)).Header.Get("Location")
		w.advance(11 * time.Minute)
		refused(t, b.Get(away))
	})
	t.Run("switched off meanwhile", func(t *testing.T) {
		w := newWorld(t, goesOn(provider.LogoutOffer))
		b := brokertest.NewBrowser(t)
		w.enter(b, w.rp)
		page := b.Get(w.rp.LogoutURL(nil))
		w.reconfigure(also(goesOn(provider.LogoutOffer), func(c *broker.Config) { c.Clients[0].PostLogoutRedirectURIs = nil }))
		page = page.Click("Sign out of Demo")
		shows(t, page, http.StatusOK, "You are signed out")
		if page.URL.Path != "/id/broker/demo/logout_response" {
			t.Errorf("came to %s", page.URL)
		}
	})
}

// OpenID Connect Front-Channel Logout 1.0 §2 and §3: the page loads the application's frame, and then leads on.
func TestFrontchannelLogout(t *testing.T) {
	t.Parallel()
	front := func(c *broker.Config) {
		c.Clients[0].FrontchannelLogoutURI = strings.TrimSuffix(c.Clients[0].RedirectURIs[0], "/callback") + "/frontchannel"
	}
	w := newWorld(t, also(signsOut, front))
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	target := w.rp.LogoutURL(nil)
	w.wantBack(t, b.Get(target), target)
	if got := w.rp.FrontLogouts(); len(got) != 1 || got[0].Session != login.Claims["sid"] {
		t.Errorf("told %+v", got)
	}
	w.wantSignedOut(t, b, login, 0)

	b = brokertest.NewBrowser(t)
	w.enter(b, w.rp)
	page := b.Get(w.URL + "/logout").Submit(nil)
	site := strings.TrimSuffix(w.callback(), "/callback")
	if policy := page.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "; frame-src "+site) || len(page.Frames()) != 1 {
		t.Errorf("policy %q, frames %q", policy, page.Frames())
	}
	if got := w.rp.FrontLogouts(); len(got) != 2 {
		t.Errorf("told %d times", len(got))
	}
	for _, path := range []string{"/login", "/logout"} {
		if policy := b.Get(w.URL + path).Header.Get("Content-Security-Policy"); strings.Contains(policy, "frame-src") {
			t.Errorf("%s may load frames: %q", path, policy)
		}
	}
}

func TestLogoutDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var doc map[string]any
	brokertest.NewBrowser(t).Get(w.URL + "/.well-known/openid-configuration").JSON(&doc)
	if doc["end_session_endpoint"] != w.URL+"/logout" {
		t.Errorf("end_session_endpoint is %v", doc["end_session_endpoint"])
	}
	for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported",
		"frontchannel_logout_supported", "frontchannel_logout_session_supported"} {
		if doc[name] != true {
			t.Errorf("%s is %v", name, doc[name])
		}
	}
}

func TestLogoutConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	type edit = func(c *store.Client)
	back := func(uri string) edit { return func(c *store.Client) { c.PostLogoutRedirectURIs = []string{uri} } }
	message := func(uri string) edit { return func(c *store.Client) { c.BackchannelLogoutURI = uri } }
	frame := func(uri string) edit { return func(c *store.Client) { c.FrontchannelLogoutURI = uri } }
	own := func(rest string) edit {
		return func(c *store.Client) { c.FrontchannelLogoutURI = c.RedirectURIs[0] + rest }
	}
	for name, row := range map[string]struct {
		edit edit
		want string // in the error; "" is none
	}{
		"all three": {func(c *store.Client) {
			c.PostLogoutRedirectURIs = []string{"https://a.example/out?x=y", "com.example.app:/out", "http://127.0.0.1:8080/out"}
			c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "https://b.example/out?x=y", c.RedirectURIs[0]
		}, ""},
		"back to a script":         {back("javascript:alert(1)"), "PostLogoutRedirectURIs"},
		"back to data":             {back("data:text/html,x"), "PostLogoutRedirectURIs"},
		"back to a fragment":       {back("https://a.example/#a"), "PostLogoutRedirectURIs"},
		"back by http":             {back("http://a.example/"), "PostLogoutRedirectURIs"},
		"back to a wildcard":       {back("https://a.example/*"), "PostLogoutRedirectURIs"},
		"back with a state":        {back("https://a.example/?state=x"), "PostLogoutRedirectURIs"},
		"message to a script":      {message("javascript:alert(1)"), "BackchannelLogoutURI"},
		"message to an app":        {message("com.example.app:/out"), "BackchannelLogoutURI"},
		"message by http":          {message("http://a.example/"), "BackchannelLogoutURI"},
		"message to a file":        {message("file:///etc/passwd"), "BackchannelLogoutURI"},
		"message with a user":      {message("https://u:p@a.example/"), "BackchannelLogoutURI"},
		"message by loopback http": {message("http://127.0.0.1/out"), "ClientHTTP"},
		"frame of a script":        {frame("javascript:alert(1)"), "FrontchannelLogoutURI"},
		"frame of another origin":  {frame("https://a.example/out"), "FrontchannelLogoutURI"},
		"frame of another port":    {frame("http://127.0.0.1:1/out"), "FrontchannelLogoutURI"},
		"frame with a fragment":    {own("#a"), "FrontchannelLogoutURI"},
		"frame with a sid":         {own("?sid=1"), "FrontchannelLogoutURI"},
		"frame with an iss":        {own("?iss=1"), "FrontchannelLogoutURI"},
		"frame of an IPv6 address": {func(c *store.Client) {
			c.FrontchannelLogoutURI = "http://[::1]:1/out"
			c.RedirectURIs = append(c.RedirectURIs, "http://[::1]:1/cb")
		}, "FrontchannelLogoutURI"},
		"frame without a scheme":    {frame("//a.example/"), "FrontchannelLogoutURI"},
		"back without a scheme":     {back("/out"), "PostLogoutRedirectURIs"},
		"back with a user":          {back("https://u@a.example/"), "PostLogoutRedirectURIs"},
		"back that browsers change": {back("https://a.example\\@b.example/"), "PostLogoutRedirectURIs"},
	} {
		_, err := broker.New(w.config(func(c *broker.Config) {
			c.Clients = slices.Clone(c.Clients)
			row.edit(&c.Clients[0])
		}))
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := broker.New(w.config(func(c *broker.Config) { c.Providers[0].Logout = 3 })); err == nil {
		t.Error("an unknown logout mode was taken")
	}
}
