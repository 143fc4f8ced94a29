package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// stopped returns a browser that follows no redirects.
func stopped(t testing.TB) *brokertest.Browser {
	t.Helper()
	b := brokertest.NewBrowser(t)
	b.Stop()
	return b
}

// ready takes a browser that follows no redirects through a login at the upstream, and returns the callback URL that it
// would open next.
func (w *world) ready(b *brokertest.Browser, alias string) string {
	w.t.Helper()
	upstream := b.Get(w.URL + "/broker/" + alias + "/login?return_to=/deep").Header.Get("Location")
	callback := b.Get(upstream).Header.Get("Location")
	if !strings.HasPrefix(callback, brokertest.CallbackURL(w.URL, alias)) {
		w.t.Fatalf("%s leads to %q", upstream, callback)
	}
	return callback
}

// with returns a URL with one parameter of its query changed; no values remove it.
func with(t testing.TB, rawURL, name string, values ...string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	delete(query, name)
	if len(values) > 0 {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func param(t testing.TB, rawURL, name string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// pendingCookies returns the names of the cookies of logins that are under way.
func (w *world) pendingCookies(b *brokertest.Browser) []string {
	var names []string
	for name := range b.Cookies(w.URL) {
		if strings.Contains(name, w.cookieName("login-")) {
			names = append(names, name)
		}
	}
	return names
}

// signedIn reports whether the host application knows who sits at the browser.
func (w *world) signedIn(b *brokertest.Browser) bool {
	w.t.Helper()
	r := send(w.t, http.MethodGet, w.Origin+"/", nil, func(r *http.Request) { r.Header.Set("Cookie", w.cookies(b)) })
	return r.StatusCode == http.StatusOK
}

// wantRefusedCallback fails unless the page is an error page of ours and nobody is signed in.
func wantRefusedCallback(t *testing.T, w *world, b *brokertest.Browser, page *brokertest.Page, status int, text string) {
	t.Helper()
	shows(t, page, status, text)
	if page.Header.Get("Location") != "" {
		t.Errorf("leads to %q", page.Header.Get("Location"))
	}
	if w.signedIn(b) {
		t.Error("somebody is signed in")
	}
}

// better-auth CVE-2026-114607, hono CVE-2026-81888, fastapi-sso CVE-2025-14546; behaviours §1.6; RFC 9700 §4.7: a callback
// counts in the browser that began the login, for the provider it began with, and for nothing else.
func TestCallbackState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const refused = "We do not recognise your browser"
	for _, row := range []struct {
		name string
		edit func(t *testing.T, callback string) string
		text string
	}{
		{"state missing", func(t *testing.T, u string) string { return with(t, u, "state") }, refused},
		{"state empty", func(t *testing.T, u string) string { return with(t, u, "state", "") }, refused},
		{"state twice", func(t *testing.T, u string) string {
			return with(t, u, "state", param(t, u, "state"), param(t, u, "state"))
		}, refused},
		{"state and RelayState", func(t *testing.T, u string) string { return with(t, u, "RelayState", param(t, u, "state")) }, refused},
		{"state in lower case", func(t *testing.T, u string) string {
			return with(t, u, "state", strings.ToLower(param(t, u, "state")))
		}, refused},
		{"state with one letter changed", func(t *testing.T, u string) string {
			s := param(t, u, "state")
			return with(t, u, "state", map[bool]string{true: "B", false: "A"}[s[0] == 'A']+s[1:])
		}, refused},
		{"state cut", func(t *testing.T, u string) string { return with(t, u, "state", param(t, u, "state")[:25]) }, refused},
		{"state with more", func(t *testing.T, u string) string { return with(t, u, "state", param(t, u, "state")+"A") }, refused},
		{"state that names another cookie", func(t *testing.T, u string) string { return with(t, u, "state", "../session") }, refused},
		{"state of a header", func(t *testing.T, u string) string { return with(t, u, "state", "A\r\nSet-Cookie: x=1") }, refused},
		{"state of 60 KB", func(t *testing.T, u string) string { return with(t, u, "state", strings.Repeat("A", 60000)) }, refused},
		{"a broken query", func(_ *testing.T, u string) string { return u + "&%zz" }, "We did not understand"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := stopped(t)
			callback := w.ready(b, "other")
			wantRefusedCallback(t, w, b, b.Get(row.edit(t, callback)), http.StatusBadRequest, row.text)
			if page := b.Get(callback); page.Status != http.StatusSeeOther || !w.signedIn(b) {
				t.Errorf("the right callback after the wrong one: status %d", page.Status)
			}
		})
	}
	t.Run("the cookie was deleted", func(t *testing.T) {
		t.Parallel()
		b := stopped(t)
		callback := w.ready(b, "other")
		fresh := stopped(t)
		wantRefusedCallback(t, w, fresh, fresh.Get(callback), http.StatusBadRequest, refused)
	})
	t.Run("login CSRF: an attacker's code and state in a victim's browser", func(t *testing.T) {
		t.Parallel()
		attacker, victim := stopped(t), stopped(t)
		callback := w.ready(attacker, "demo")
		w.ready(victim, "demo") // has a login of its own under way
		wantRefusedCallback(t, w, victim, victim.Get(callback), http.StatusBadRequest, refused)
	})
	t.Run("code injection: an attacker's code with the victim's state", func(t *testing.T) {
		t.Parallel()
		attacker, victim := stopped(t), stopped(t)
		code := param(t, w.ready(attacker, "demo"), "code")
		callback := w.ready(victim, "demo")
		wantRefusedCallback(t, w, victim, victim.Get(with(t, callback, "code", code)), http.StatusBadRequest, "That took too long")
	})
	t.Run("another browser's cookie under this browser's state", func(t *testing.T) {
		t.Parallel()
		attacker, victim := stopped(t), stopped(t)
		theirs := w.ready(attacker, "demo")
		callback := w.ready(victim, "demo")
		name := w.cookieName("login-")
		victim.SetCookies(w.URL, map[string]string{
			name + param(t, callback, "state"): attacker.Cookies(w.URL)[name+param(t, theirs, "state")],
		})
		wantRefusedCallback(t, w, victim, victim.Get(callback), http.StatusBadRequest, refused)
	})
	t.Run("a state for another purpose: the sealed cookie as a session", func(t *testing.T) {
		t.Parallel()
		b := stopped(t)
		callback := w.ready(b, "demo")
		b.SetCookies(w.URL, map[string]string{w.cookieName("session"): b.Cookies(w.URL)[w.cookieName("login-")+param(t, callback, "state")]})
		if w.signedIn(b) {
			t.Error("signed in")
		}
	})
}

// SimpleSAMLphp CVE-2026-49283, Zitadel CVE-2026-109372, RFC 9700 §4.4: the answer of provider i is no answer of provider j.
func TestCallbackOfAnotherProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	aliases := []string{"demo", "other", "third"}
	w.reconfigure(func(c *broker.Config) {
		c.Providers = append(c.Providers, broker.Provider{Alias: "third", IdP: w.upstream(w.op, "third", nil)}) // the same upstream again
	})
	for _, i := range aliases {
		for _, j := range aliases {
			t.Run(i+" at "+j, func(t *testing.T) {
				b := stopped(t)
				callback := strings.Replace(w.ready(b, i), "/broker/"+i+"/", "/broker/"+j+"/", 1)
				asked := len(w.op.Requests(providertest.Token)) + len(w.other.Requests(providertest.Token))
				page := b.Get(callback)
				if i == j {
					if page.Status != http.StatusSeeOther && page.Status != http.StatusForbidden { // forbidden: the other alias has the e-mail
						t.Errorf("status %d", page.Status)
					}
					return
				}
				wantRefusedCallback(t, w, b, page, http.StatusBadRequest, "We do not recognise your browser")
				if n := len(w.op.Requests(providertest.Token)) + len(w.other.Requests(providertest.Token)); n != asked {
					t.Error("an upstream was asked for tokens")
				}
			})
		}
	}
	t.Run("RFC 9207: iss of another provider", func(t *testing.T) {
		b := stopped(t)
		callback := with(t, w.ready(b, "demo"), "iss", w.other.Issuer())
		wantRefusedCallback(t, w, b, b.Get(callback), http.StatusBadGateway, "We could not verify the answer")
	})
	t.Run("RFC 9207: iss twice", func(t *testing.T) {
		b := stopped(t)
		callback := with(t, w.ready(b, "demo"), "iss", w.op.Issuer(), w.other.Issuer())
		wantRefusedCallback(t, w, b, b.Get(callback), http.StatusBadGateway, "We could not verify the answer")
	})
}

// [M] CVE-2020-14302: a state is single use, even in a browser whose cookies were put back.
func TestCallbackReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Providers = append(c.Providers, broker.Provider{Alias: "lax", Name: "Lax", IdP: laxUpstream{}})
	})
	b := stopped(t)
	replay := func(alias string, status int, text string) {
		callback := b.Get(w.URL + "/broker/" + alias + "/login").Header.Get("Location")
		if alias != "lax" {
			callback = b.Get(callback).Header.Get("Location")
		}
		before := b.Cookies(w.URL)
		if page := b.Get(callback); page.Status != http.StatusSeeOther || !w.signedIn(b) {
			t.Fatalf("status %d\n%s", page.Status, page.Body)
		}
		if len(w.pendingCookies(b)) != 0 {
			t.Errorf("cookies %v are left", w.pendingCookies(b))
		}
		sessions := w.sessions()
		thief := stopped(t)
		thief.SetCookies(w.URL, before)
		wantRefusedCallback(t, w, thief, thief.Get(callback), status, text)
		shows(t, b.Get(callback), http.StatusBadRequest, "We do not recognise your browser") // reload
		if n := w.sessions(); n != sessions {
			t.Errorf("%d sessions, want %d", n, sessions)
		}
		if !w.signedIn(b) {
			t.Error("the replay has signed the user out")
		}
	}
	replay("demo", http.StatusBadRequest, "That took too long")
	replay("lax", http.StatusConflict, "already been used") // an upstream that takes a code twice

	t.Run("64 at once", func(t *testing.T) {
		b := stopped(t)
		callback := b.Get(w.URL + "/broker/lax/login").Header.Get("Location")
		cookie := w.cookies(b)
		statuses := make(chan int, 64)
		var all sync.WaitGroup
		for range cap(statuses) {
			all.Go(func() {
				r := send(t, http.MethodGet, callback, nil, func(r *http.Request) { r.Header.Set("Cookie", cookie) })
				statuses <- r.StatusCode
			})
		}
		all.Wait()
		close(statuses)
		n := map[int]int{}
		for status := range statuses {
			n[status]++
		}
		if n[http.StatusSeeOther] != 1 || n[http.StatusConflict] != 63 {
			t.Errorf("answers by status: %v, want one 303 and 63 409", n)
		}
	})
}

// sessions returns how many sessions there are of the test's users.
func (w *world) sessions() int {
	w.t.Helper()
	n := 0
	for _, alias := range []string{"demo", "other", "lax", "slow"} {
		found, err := w.store.FindSessions(w.t.Context(), store.SessionQuery{Provider: alias})
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(found)
	}
	return n
}

// laxUpstream is an upstream that vouches for the same user whoever comes, as often as they come.
type laxUpstream struct{}

func (laxUpstream) Begin(_ context.Context, r provider.Request) (*provider.Redirect, error) {
	return &provider.Redirect{URL: r.RedirectURI + "?code=always-the-same&state=" + r.State}, nil
}

func (laxUpstream) Finish(context.Context, provider.Callback) (*provider.Identity, error) {
	return &provider.Identity{Subject: "lax", Username: "lax", Email: "lax@example.com", Name: "Lax"}, nil
}

func TestCallbackExpires(t *testing.T) { // behaviours §1.6: the way back to where it began
	t.Parallel()
	w := newWorld(t, nil)
	away := func() (*brokertest.Browser, string) {
		b := stopped(t)
		upstream := b.Get(w.rp.AuthURL() + "&idp_hint=demo").Header.Get("Location")
		return b, b.Get(upstream).Header.Get("Location")
	}
	early, inTime := away()
	late, expired := away()
	w.advance(9 * time.Minute)
	if page := early.Get(inTime); page.Status == http.StatusConflict {
		t.Errorf("after nine minutes: status %d", page.Status)
	}
	w.advance(2 * time.Minute)
	page := late.Get(expired)
	wantRefusedCallback(t, w, late, page, http.StatusConflict, "This page has expired")
	shows(t, page, http.StatusConflict, "Start again", "Back to Test App")
	b := brokertest.NewBrowser(t)
	for _, link := range page.Links() {
		switch {
		case strings.Contains(link.Text, "Start again"):
			shows(t, b.Get(link.URL), http.StatusOK, `"Subject"`)
		case strings.Contains(link.Text, "Back"):
			shows(t, b.Get(link.URL), http.StatusBadRequest, "state is not ours") // used up by the one before
		}
	}
}

func TestCallbackCookieTampered(t *testing.T) { // CVE-2026-7571: what the state holds is authenticated
	t.Parallel()
	w := newWorld(t, nil)
	b := stopped(t)
	callback := w.ready(b, "demo")
	name := w.cookieName("login-") + param(t, callback, "state")
	sealed := b.Cookies(w.URL)[name]
	var bad []string
	for i := 0; i < len(sealed); i += 3 {
		bad = append(bad, twin(sealed, i), sealed[:i])
	}
	bad = append(bad, sealed+"A", sealed+"=", sealed+sealed, strings.ToLower(sealed), twin(sealed, len(sealed)-1), "A", "%00", "null", "{}")
	asked := len(w.op.Requests(providertest.Token))
	for _, value := range bad {
		r := send(t, http.MethodGet, callback, nil, func(r *http.Request) { r.Header.Set("Cookie", name+"="+value) })
		if r.StatusCode != http.StatusBadRequest || !strings.Contains(r.text, "We do not recognise your browser") {
			t.Fatalf("cookie %q: status %d\n%s", value, r.StatusCode, r.text)
		}
	}
	// Two of one name: somebody else has planted one of them.
	r := send(t, http.MethodGet, callback, nil, func(r *http.Request) { r.Header.Set("Cookie", name+"="+sealed+"; "+name+"="+sealed) })
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("the cookie twice: status %d", r.StatusCode)
	}
	if n := len(w.op.Requests(providertest.Token)); n != asked {
		t.Errorf("the upstream was asked %d times", n-asked)
	}
	if page := b.Get(callback); page.Status != http.StatusSeeOther {
		t.Errorf("the right cookie: status %d", page.Status)
	}
}

func TestCallbackTabs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	t.Run("two tabs finish", func(t *testing.T) {
		b := stopped(t)
		one, two := w.ready(b, "other"), w.ready(b, "other")
		for _, callback := range []string{two, one} {
			if page := b.Get(callback); page.Status != http.StatusSeeOther || page.Header.Get("Location") != w.Origin+"/deep" {
				t.Errorf("status %d to %q", page.Status, page.Header.Get("Location"))
			}
		}
		if !w.signedIn(b) || w.users("carol") != 1 {
			t.Errorf("signed in: %v; %d users", w.signedIn(b), w.users("carol"))
		}
	})
	t.Run("one new identity in many tabs is one user", func(t *testing.T) {
		const tabs = 8
		type tab struct{ callback, cookie string }
		var all []tab
		for range tabs {
			b := stopped(t)
			callback := w.ready(b, "demo")
			all = append(all, tab{callback, w.cookies(b)})
		}
		var done sync.WaitGroup
		for _, one := range all {
			done.Go(func() {
				r := send(t, http.MethodGet, one.callback, nil, func(r *http.Request) { r.Header.Set("Cookie", one.cookie) })
				if r.StatusCode != http.StatusSeeOther {
					t.Errorf("status %d\n%s", r.StatusCode, r.text)
				}
			})
		}
		done.Wait()
		if n := w.users("alice"); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})
	t.Run("cookies do not pile up", func(t *testing.T) {
		b := stopped(t)
		first := w.ready(b, "other")
		for range 5 {
			w.ready(b, "other")
		}
		newest := w.ready(b, "other")
		if n := len(w.pendingCookies(b)); n > 5 {
			t.Errorf("%d cookies of logins under way", n)
		}
		shows(t, b.Get(first), http.StatusBadRequest, "We do not recognise your browser")
		if page := b.Get(newest); page.Status != http.StatusSeeOther {
			t.Errorf("the newest tab: status %d", page.Status)
		}
	})
	t.Run("cookies with odd names and values do no harm", func(t *testing.T) {
		b := stopped(t)
		callback := w.ready(b, "other")
		odd := w.cookies(b) + strings.ReplaceAll(`; idbroker-login-=x; idbroker-login-../../x=y; idbroker-login-%00=z; idbroker-login-"a"=1; =; ;;; idbroker-flow-=x; `+
			`idbroker-login-`+strings.Repeat("A", 26)+`=x; idbroker-session=; idbroker-session=`+strings.Repeat("A", 4000), "idbroker-", w.cookieName(""))
		cookie := func(r *http.Request) { r.Header.Set("Cookie", odd) }
		for _, path := range []string{"/login", "/logout", "/flow/x", "/broker/demo/login"} {
			if r := send(t, http.MethodGet, w.URL+path, nil, cookie); r.StatusCode >= 500 {
				t.Errorf("%s: status %d", path, r.StatusCode)
			}
		}
		if r := send(t, http.MethodGet, callback, nil, cookie); r.StatusCode != http.StatusSeeOther {
			t.Errorf("status %d\n%s", r.StatusCode, r.text)
		}
	})
}

func TestCallbackByPost(t *testing.T) { // OAuth 2.0 Form Post Response Mode
	t.Parallel()
	w := newWorld(t, nil)
	split := func(callback string) (string, url.Values) {
		path, raw, _ := strings.Cut(callback, "?")
		form, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		return path, form
	}
	t.Run("works from another site", func(t *testing.T) {
		b := stopped(t)
		path, form := split(w.ready(b, "other"))
		page := b.Post(path, form, w.other.Issuer())
		if page.Status >= 400 || !w.signedIn(b) {
			t.Errorf("status %d\n%s", page.Status, page.Body)
		}
	})
	t.Run("ignores the query", func(t *testing.T) {
		b := stopped(t)
		callback := w.ready(b, "other")
		wantRefusedCallback(t, w, b, b.Post(callback, url.Values{}, w.other.Issuer()), http.StatusBadRequest, "We do not recognise")
		path, form := split(callback)
		page := b.Post(path+"?state=x&code=y&error=access_denied&iss=https://evil.example", form, w.other.Issuer())
		if page.Status >= 400 || !w.signedIn(b) {
			t.Errorf("status %d\n%s", page.Status, page.Body)
		}
	})
	t.Run("of too much", func(t *testing.T) {
		b := stopped(t)
		path, form := split(w.ready(b, "other"))
		form.Set("junk", strings.Repeat("x", 3<<20))
		wantRefusedCallback(t, w, b, b.Post(path, form, w.other.Issuer()), http.StatusBadRequest, "We did not understand")
	})
	t.Run("cannot be had by other methods", func(t *testing.T) {
		b := stopped(t)
		callback := w.ready(b, "other")
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			if r := send(t, method, callback, nil, nil); r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s: status %d", method, r.StatusCode)
			}
		}
	})
}

// #50534 and the pages of the field: what an upstream says is not said on; and there is a way back.
func TestUpstreamErrorsAreNotRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.rp.Params = url.Values{"idp_hint": {"demo"}}
	for _, row := range []struct {
		error, description string
		texts              []string
	}{
		{"access_denied", "<b>marked</b> up", []string{"permission was refused", "Continue with Other"}},
		{"access_denied", "javascript:alert(1)", []string{"permission was refused", "Continue with Other"}},
		{"server_error", "panic at /etc/passwd:1", []string{"not answering", "Try again", "Back to Test App"}},
		{"<script>alert(1)</script>", "marked", []string{"Try again", "Back to Test App"}},
		{"", "marked", []string{"Back to Test App"}},
		{strings.Repeat("x", 10000), "marked", []string{"Try again", "Back to Test App"}},
	} {
		b := stopped(t)
		upstream := b.Get(w.rp.AuthURL()).Header.Get("Location")
		callback := w.URL + "/broker/demo/endpoint?" + url.Values{
			"state": {param(t, upstream, "state")}, "iss": {w.op.Issuer()}, "error": {row.error}, "error_description": {row.description},
			"error_uri": {"https://evil.example/marked"},
		}.Encode()
		page := b.Get(callback)
		if to := page.Header.Get("Location"); to != "" {
			page = b.Get(to)
		}
		if page.Status >= 500 && page.Status != http.StatusBadGateway {
			t.Errorf("%.30q: status %d", row.error, page.Status)
		}
		shows(t, page, page.Status, row.texts...)
		for _, theirs := range []string{"marked", "evil.example", "<script>", "passwd", "alert(1)", "xxxxxxxx", param(t, upstream, "state")} {
			if strings.Contains(page.Body, theirs) {
				t.Errorf("%.30q: %q is in the page", row.error, theirs)
			}
		}
	}
}

// A faultOutcome is what a login comes to that meets one of these faults.
type faultOutcome struct {
	status int
	text   string // of the page; "" where the login succeeds
	faults []providertest.Fault
}

func faultOutcomes() []faultOutcome {
	return []faultOutcome{
		{200, "", []providertest.Fault{
			providertest.JWKSNoKid, providertest.JWKSOddKeys, providertest.AuthTimeAbsent, providertest.AuthTimeStale,
			providertest.EmailVerifiedString, providertest.EmailVerifiedFalseString, providertest.EmailVerifiedFalse,
			providertest.EmailVerifiedAbsent, providertest.UserInfoUnsigned, providertest.UserInfoKeyUnknown,
			providertest.UserInfoAlgNone, providertest.UserInfoIssWrong, providertest.UserInfoAudWrong,
		}},
		{502, "We could not verify the answer", []providertest.Fault{
			providertest.TokenNotJSON, providertest.UserInfoNotJSON, providertest.JWKSEmpty, providertest.ResponseIssWrong,
			providertest.ResponseIssAbsent, providertest.ResponseCodeAbsent, providertest.ErrorMarkup, providertest.TokenNoIDToken,
			providertest.NonceWrong, providertest.NonceAbsent, providertest.NonceTwice, providertest.IssWrong,
			providertest.IssAbsent, providertest.IssSlash, providertest.AudWrong, providertest.AudAbsent, providertest.AudOthers,
			providertest.AzpWrong, providertest.ExpPast, providertest.ExpAbsent, providertest.IatPast, providertest.IatFuture,
			providertest.IatAbsent, providertest.NbfFuture, providertest.SubAbsent, providertest.SubEmpty, providertest.SubNull,
			providertest.SubNumber, providertest.SubArray, providertest.ATHashWrong, providertest.TypAccessToken,
			providertest.TypLogoutToken, providertest.CritUnknown, providertest.AlgNone, providertest.AlgHMACPublicKey,
			providertest.AlgHMACSecret, providertest.KeyUnknown, providertest.KeyUnknownKid, providertest.KeyEmbedded,
			providertest.SignatureWrong, providertest.UserInfoSubWrong, providertest.UserInfoSubAbsent,
			providertest.UserInfoContentType,
		}},
		{502, "No connection to the sign-in service", []providertest.Fault{
			providertest.DiscoveryDown, providertest.DiscoverySlow, providertest.DiscoveryHuge, providertest.DiscoveryRedirected,
			providertest.DiscoveryTruncated, providertest.JWKSDown, providertest.JWKSSlow, providertest.JWKSHuge,
			providertest.JWKSRedirected, providertest.JWKSNotJSON, providertest.JWKSTruncated, providertest.TokenDown,
			providertest.TokenSlow, providertest.TokenHuge, providertest.TokenRedirected, providertest.TokenTruncated,
			providertest.UserInfoDown, providertest.UserInfoSlow, providertest.UserInfoHuge, providertest.UserInfoRedirected,
			providertest.UserInfoTruncated, providertest.ErrorServer,
		}},
		{502, "This way to sign in is not set up correctly", []providertest.Fault{
			providertest.DiscoveryNotJSON, providertest.DiscoveryWrongIssuer, providertest.TokenInvalidClient,
		}},
		{400, "That took too long", []providertest.Fault{
			providertest.ErrorAuthenticationExpired, providertest.TokenInvalidGrant,
		}},
		{400, "We do not recognise your browser", []providertest.Fault{
			providertest.ResponseStateWrong, providertest.ResponseStateAbsent, providertest.ResponseTwice,
		}},
		{200, "permission was refused", []providertest.Fault{
			providertest.ErrorAccessDenied,
		}},
		{200, "sign in there once more", []providertest.Fault{
			providertest.ErrorLoginRequired,
		}},
	}
}

// Every way in which an upstream can misbehave, through a whole login. A new fault needs a row in faultOutcomes.
func TestUpstreamFaults(t *testing.T) {
	t.Parallel()
	rows := map[providertest.Fault]faultOutcome{}
	for _, outcome := range faultOutcomes() {
		for _, fault := range outcome.faults {
			rows[fault] = outcome
		}
	}
	for _, fault := range providertest.Faults() {
		want, known := rows[fault]
		if !known {
			t.Errorf("there is no row for %q", fault)
			continue
		}
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			impatient := &impatience{}
			if endpoint, slow := strings.CutSuffix(string(fault), ": slow"); slow {
				impatient.with.Store(&endpoint)
			}
			w.reconfigure(func(c *broker.Config) {
				c.Providers[0].TrustEmail = true
				c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) {
					c.HTTPClient = &http.Client{Transport: impatient}
				})
			})
			w.op.Break(fault)
			w.rp.Params = url.Values{"idp_hint": {"demo"}}
			page := brokertest.NewBrowser(t).Get(w.rp.LoginURL())
			if want.text == "" {
				shows(t, page, http.StatusOK, `"Subject"`)
				if w.users("alice") != 1 {
					t.Error("no user")
				}
				return
			}
			shows(t, page, want.status, want.text)
			if strings.Contains(page.Body, `"Subject"`) || w.rp.Login().Subject != "" || w.users("alice") != 0 || w.sessions() != 0 {
				t.Errorf("login %+v, %d users, %d sessions", w.rp.Login(), w.users("alice"), w.sessions())
			}
			_, err := w.store.Link(t.Context(), store.LinkKey{Provider: "demo", Issuer: w.op.Issuer(), Subject: "alice"})
			grants, errGrants := w.store.FindGrants(t.Context(), store.GrantQuery{ClientID: "rp"})
			if !errors.Is(err, store.ErrNotFound) || errGrants != nil || len(grants) != 0 {
				t.Errorf("link: %v; grants: %v %v", err, grants, errGrants)
			}
			if !slices.Contains(rows[providertest.ResponseTwice].faults, fault) && !strings.Contains(page.Body, "Back to Test App") {
				t.Error("no way back to the application")
			}
			w.op.Break()
			impatient.with.Store(nil)
			w.advance(5 * time.Minute)                                                          // what failed is not fetched again at once
			shows(t, brokertest.NewBrowser(t).Get(w.rp.LoginURL()), http.StatusOK, `"Subject"`) // it was no more than the fault
		})
	}
	for fault := range rows {
		if !slices.Contains(providertest.Faults(), fault) {
			t.Errorf("there is no fault %q", fault)
		}
	}
}

// An impatience waits for one endpoint no longer than a moment, and for all others as long as they need.
type impatience struct{ with atomic.Pointer[string] }

func (i *impatience) RoundTrip(r *http.Request) (*http.Response, error) {
	endpoint := i.with.Load()
	if endpoint == nil || !strings.Contains(r.URL.Path, strings.Replace(*endpoint, "discovery", "openid-configuration", 1)) {
		return http.DefaultTransport.RoundTrip(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	return http.DefaultTransport.RoundTrip(r.WithContext(ctx))
}

// An upstream that a step asks as well, and that wants to start again, starts that again and not another login.
func TestRetryInsideAFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.PostLogin = flow.Flow{{ID: "second", Do: secondUpstream{}}} })
	b := stopped(t)
	callback := b.Get(w.ready(b, "demo")).Header.Get("Location") // a page has led to the other upstream
	if !strings.HasPrefix(callback, brokertest.CallbackURL(w.URL, "other")) {
		t.Fatalf("leads to %q", callback)
	}
	expired := with(t, callback, "code")
	expired = with(t, expired, "error", "temporarily_unavailable")
	expired = with(t, expired, "error_description", "authentication_expired")
	again := b.Get(expired).Header.Get("Location")
	if page := b.Get(again); page.Status != http.StatusSeeOther || page.Header.Get("Location") != w.Origin+"/deep" {
		t.Errorf("%q: status %d to %q\n%s", again, page.Status, page.Header.Get("Location"), page.Body)
	}
	if !w.signedIn(b) || w.users("alice") != 1 || w.users("carol") != 0 {
		t.Errorf("signed in: %v; %d alice, %d carol", w.signedIn(b), w.users("alice"), w.users("carol"))
	}
}

// secondUpstream is a step that wants another upstream's word, too.
type secondUpstream struct{}

func (secondUpstream) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	if t.Returned == nil {
		return flow.Leave("other"), nil
	}
	return flow.Success(), nil
}

// A visitor for whom nobody has vouched writes nothing: whatever they do, the store is only read.
func TestNobodyWritesUnvouched(t *testing.T) {
	t.Parallel()
	var spy *spyStore
	w := newWorld(t, func(c *broker.Config) {
		spy = &spyStore{Store: c.Store}
		c.Store = spy
		c.Providers[1].Domains = []string{"other.example"}
	})
	var writes atomic.Int64
	spy.hook = func(call string) error {
		if !strings.HasPrefix(call, "get ") {
			writes.Add(1)
			t.Errorf("unvouched: %s", call)
		}
		return nil
	}
	b := stopped(t)
	b.Get(w.URL + "/login")
	b.Get(w.Origin + "/")
	b.Get(w.rp.AuthURL())
	b.Get(w.rp.AuthURL() + "&prompt=none")
	b.Get(w.URL + "/authorize?client_id=x")
	b.Get(w.URL + "/logout")
	b.Post(w.URL+"/logout", url.Values{}, "")
	b.Post(w.URL+"/login", url.Values{"email": {"carol@other.example"}}, "")
	b.Post(w.URL+"/flow/x", url.Values{"turn": {"x"}}, "")
	b.Get(w.URL + "/flow/x")
	callback := w.ready(b, "demo")
	b.Get(with(t, callback, "state", strings.Repeat("A", 26)))
	b.Get(with(t, callback, "code", "wrong"))
	b.Get(with(t, w.ready(b, "demo"), "error", "access_denied"))
	w.op.Break(providertest.NonceWrong)
	b.Get(w.ready(b, "demo"))
	w.op.Break(providertest.SubEmpty)
	b.Get(w.ready(b, "demo"))
	w.op.Break()
	send(t, http.MethodPost, w.URL+"/token", w.redeemForm("x.y"), basic("rp", w.secret()))
	send(t, http.MethodPost, w.URL+"/token", w.redeemForm("x.y"), basic("rp", "wrong"))
	good := w.ready(b, "demo")
	if writes.Load() != 0 {
		t.Fatalf("%d writes", writes.Load())
	}
	spy.hook = nil
	if page := b.Get(good); page.Status != http.StatusSeeOther {
		t.Errorf("the login itself: status %d", page.Status)
	}
}

// A spyStore tells hook of each call beforehand, "get " before those that only read; an error of hook is its answer.
type spyStore struct {
	store.Store
	hook func(call string) error
}

var (
	_ store.Committer = (*spyStore)(nil)
	_ store.Sweeper   = (*spyStore)(nil)
)

func (s *spyStore) call(format string, args ...any) error {
	if s.hook == nil {
		return nil
	}
	return s.hook(fmt.Sprintf(format, args...))
}

func spied[T any](s *spyStore, call string, f func() (T, error)) (T, error) {
	if err := s.call("%s", call); err != nil {
		var zero T
		return zero, err
	}
	return f()
}

func (s *spyStore) User(ctx context.Context, id string) (*store.User, error) {
	return spied(s, "get user", func() (*store.User, error) { return s.Store.User(ctx, id) })
}

func (s *spyStore) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	return spied(s, "get users", func() ([]*store.User, error) { return s.Store.FindUsers(ctx, q) })
}

func (s *spyStore) CreateUser(ctx context.Context, u *store.User) error {
	if err := s.call("create user"); err != nil {
		return err
	}
	return s.Store.CreateUser(ctx, u)
}

func (s *spyStore) UpdateUser(ctx context.Context, u *store.User) error {
	if err := s.call("update user"); err != nil {
		return err
	}
	return s.Store.UpdateUser(ctx, u)
}

func (s *spyStore) Link(ctx context.Context, key store.LinkKey) (*store.Link, error) {
	return spied(s, "get link", func() (*store.Link, error) { return s.Store.Link(ctx, key) })
}

func (s *spyStore) CreateLink(ctx context.Context, l *store.Link) error {
	if err := s.call("create link"); err != nil {
		return err
	}
	return s.Store.CreateLink(ctx, l)
}

func (s *spyStore) DeleteLink(ctx context.Context, key store.LinkKey) error {
	if err := s.call("delete link"); err != nil {
		return err
	}
	return s.Store.DeleteLink(ctx, key)
}

func (s *spyStore) Session(ctx context.Context, id string) (*store.Session, error) {
	return spied(s, "get session", func() (*store.Session, error) { return s.Store.Session(ctx, id) })
}

func (s *spyStore) CreateSession(ctx context.Context, n *store.Session) error {
	if err := s.call("create session"); err != nil {
		return err
	}
	return s.Store.CreateSession(ctx, n)
}

func (s *spyStore) UpdateSession(ctx context.Context, n *store.Session) error {
	if err := s.call("update session"); err != nil {
		return err
	}
	return s.Store.UpdateSession(ctx, n)
}

func (s *spyStore) DeleteSession(ctx context.Context, id string) error {
	if err := s.call("delete session"); err != nil {
		return err
	}
	return s.Store.DeleteSession(ctx, id)
}

func (s *spyStore) Grant(ctx context.Context, id string) (*store.Grant, error) {
	return spied(s, "get grant", func() (*store.Grant, error) { return s.Store.Grant(ctx, id) })
}

func (s *spyStore) CreateGrant(ctx context.Context, g *store.Grant) error {
	if err := s.call("create grant"); err != nil {
		return err
	}
	return s.Store.CreateGrant(ctx, g)
}

func (s *spyStore) UpdateGrant(ctx context.Context, g *store.Grant) error {
	if err := s.call("update grant"); err != nil {
		return err
	}
	return s.Store.UpdateGrant(ctx, g)
}

func (s *spyStore) DeleteGrant(ctx context.Context, id string) error {
	if err := s.call("delete grant"); err != nil {
		return err
	}
	return s.Store.DeleteGrant(ctx, id)
}

func (s *spyStore) Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	if err := s.call("put %s", purpose); err != nil {
		return err
	}
	return s.Store.Put(ctx, purpose, key, value, expires)
}

func (s *spyStore) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	if err := s.call("add %s", purpose); err != nil {
		return err
	}
	return s.Store.Add(ctx, purpose, key, value, expires)
}

func (s *spyStore) Get(ctx context.Context, purpose, key string) ([]byte, error) {
	return spied(s, "get "+purpose, func() ([]byte, error) { return s.Store.Get(ctx, purpose, key) })
}

func (s *spyStore) Take(ctx context.Context, purpose, key string) ([]byte, error) {
	return spied(s, "get and remove "+purpose, func() ([]byte, error) { return s.Store.Take(ctx, purpose, key) })
}

func (s *spyStore) Keys(ctx context.Context) ([]*store.Key, error) {
	return spied(s, "get keys", func() ([]*store.Key, error) { return s.Store.Keys(ctx) })
}

func (s *spyStore) AddKey(ctx context.Context, k *store.Key) error {
	if err := s.call("add key"); err != nil {
		return err
	}
	return s.Store.AddKey(ctx, k)
}

func (s *spyStore) Commit(ctx context.Context, l *store.Login) error {
	if err := s.call("commit login"); err != nil {
		return err
	}
	return store.Commit(ctx, s.Store, l)
}

func (s *spyStore) Sweep(ctx context.Context, limit int) (int, error) {
	return spied(s, "sweep", func() (int, error) {
		sweeper, ok := s.Store.(store.Sweeper)
		if !ok {
			return 0, nil
		}
		return sweeper.Sweep(ctx, limit)
	})
}

// Where a provider does not answer, trying again is trying that one again, and the other ways are one click away, where there are any.
// Neither loses what the login is for, nor a login that only asked that provider, too.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	fails := func(t *testing.T, w *world, page *brokertest.Page, other bool) {
		t.Helper()
		shows(t, page, http.StatusBadGateway, "not answering", "Try again")
		if got := strings.Contains(page.Body, "Choose another way"); got != other {
			t.Errorf("other ways are offered: %t\n%s", got, page.Body)
		}
	}
	t.Run("chosen on the page", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		b := brokertest.NewBrowser(t)
		w.op.Break(providertest.TokenDown)
		page := b.Get(w.Origin + "/deep?a=1").Click("Demo")
		fails(t, w, page, true)
		again := page.Click("Try again")
		fails(t, w, again, true)
		shows(t, page.Click("Choose another way"), http.StatusOK, "Continue with Other", "Continue with Demo")
		w.op.Break()
		w.advance(5 * time.Minute)
		if page = again.Click("Try again"); page.URL.Path != "/deep" || page.URL.RawQuery != "a=1" || page.Who().Username != "alice" {
			t.Errorf("at %s\n%s", page.URL, page.Body)
		}
	})
	t.Run("named by an application", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.rp.Params = url.Values{"idp_hint": {"demo"}}
		w.op.Break(providertest.TokenDown)
		b := brokertest.NewBrowser(t)
		page := b.Get(w.rp.LoginURL())
		fails(t, w, page, true)
		shows(t, page.Click("Choose another way").Click("Other"), http.StatusOK, `"Subject"`)
	})
	t.Run("the only one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.reconfigure(func(c *broker.Config) { c.Providers = c.Providers[:1] })
		w.op.Break(providertest.TokenDown)
		fails(t, w, brokertest.NewBrowser(t).Get(w.URL+"/broker/demo/login"), false)
		w.reconfigure(func(c *broker.Config) {
			c.Providers, c.Credentials, c.LocalLogin = c.Providers[:1], w.store, true
		})
		fails(t, w, brokertest.NewBrowser(t).Get(w.URL+"/broker/demo/login"), true)
	})
	t.Run("asked by a step", func(t *testing.T) {
		t.Parallel()
		l := newLinkWorld(t, noMailer)
		b := brokertest.NewBrowser(t)
		asks := l.come(b).Submit(press("link"))
		l.op.Break(providertest.TokenDown)
		page := asks.Submit(url.Values{"provider": {"demo"}})
		fails(t, l.world, page, false)
		page = page.Click("Try again")
		shows(t, page, http.StatusOK, "Continue with Demo", `name="another"`)
		l.op.Break()
		l.advance(5 * time.Minute)
		l.wantLinked(page.Submit(url.Values{"provider": {"demo"}}))
	})
}
