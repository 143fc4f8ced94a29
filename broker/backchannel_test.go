package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// upstreamSession returns what the upstream calls the session.
func (w *world) upstreamSession(l brokertest.Login) string {
	w.t.Helper()
	s, err := w.store.Session(w.t.Context(), l.Claims["sid"].(string))
	if err != nil || s.UpstreamSession == "" {
		w.t.Fatalf("session %v: %+v, %v", l.Claims["sid"], s, err)
	}
	return s.UpstreamSession
}

func (w *world) sendLogout(t testing.TB, op *providertest.OIDC, client, token string) providertest.LogoutAnswer {
	t.Helper()
	answer, err := op.SendLogout(t.Context(), client, token)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Header.Get("Cache-Control") != "no-store" { // Back-Channel Logout §2.8
		t.Errorf("Cache-Control is %q", answer.Header.Get("Cache-Control"))
	}
	return answer
}

func (w *world) wantTaken(t testing.TB, l providertest.Logout) {
	t.Helper()
	l.Client = "demo"
	if answer := w.sendLogout(t, w.op, "demo", w.op.LogoutToken(l)); answer.Status != http.StatusOK || answer.Body != "" {
		t.Errorf("got %d %s", answer.Status, answer.Body)
	}
}

// wantRejected fails unless the answer is the error of Back-Channel Logout §2.8, without a word about why.
func wantRejected(t testing.TB, answer providertest.LogoutAnswer, status int, code string) {
	t.Helper()
	var body map[string]string
	err := json.Unmarshal([]byte(answer.Body), &body)
	if err != nil || answer.Status != status || body["error"] != code || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s (%v), want %d %s", answer.Status, answer.Body, err, status, code)
	}
	for _, word := range []string{"signature", "jti", "replay", "iss", "key", "store"} {
		if strings.Contains(body["error_description"], word) {
			t.Errorf("the answer tells %q", answer.Body)
		}
	}
}

// Row 79: a session that the upstream names ends alone, a subject's sessions end together, and applications are told.
func TestBackchannelFromUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	first, second := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	one := w.enter(first, w.rp)
	two := w.enter(second, w.rp)
	other := brokertest.NewBrowser(t) // the same subject at another provider is somebody else
	w.other.LoginAs("alice")
	w.rp.Params.Set("idp_hint", "other")
	stranger := other.Get(w.Origin + "/").Click("Other")
	shows(t, stranger, http.StatusOK, "already exists") // the address is alice's: still nobody is signed in
	w.other.LoginAs("carol")
	shows(t, other.Get(w.Origin+"/").Click("Other"), http.StatusOK)
	w.rp.Params.Del("idp_hint")

	t.Run("unknown session", func(t *testing.T) {
		w.wantTaken(t, providertest.Logout{Session: "nobody's"})
		w.wantTaken(t, providertest.Logout{Subject: "nobody"})
		w.wantSignedIn(t, first, one, 0)
	})
	t.Run("session of another subject", func(t *testing.T) {
		w.wantTaken(t, providertest.Logout{Session: w.upstreamSession(one), Subject: "bob"})
		w.wantSignedIn(t, first, one, 0)
	})
	t.Run("session", func(t *testing.T) {
		w.wantTaken(t, providertest.Logout{Session: w.upstreamSession(one), Subject: "alice"})
		w.wantSignedOut(t, first, one, 0)
		w.wantSignedIn(t, second, two, 1)
	})
	t.Run("session alone", func(t *testing.T) {
		one = w.enter(first, w.rp)
		w.wantTaken(t, providertest.Logout{Session: w.upstreamSession(one)})
		w.wantSignedOut(t, first, one, 1)
		w.wantSignedIn(t, second, two, 2)
	})
	t.Run("subject", func(t *testing.T) {
		one = w.enter(first, w.rp)
		w.wantTaken(t, providertest.Logout{Subject: "alice"})
		if w.signedIn(first) || w.signedIn(second) {
			t.Error("still signed in")
		}
		var sids []any
		for _, l := range w.rp.Logouts()[2:] {
			sids = append(sids, l.Session)
		}
		if len(sids) != 2 || !slices.Contains(sids, one.Claims["sid"]) || !slices.Contains(sids, two.Claims["sid"]) {
			t.Errorf("told of %v", sids)
		}
	})
	if !w.signedIn(other) {
		t.Error("carol's session at the other provider has ended")
	}
}

// CVE-2026-18569, GHSA-pcgw-qcv5-h8ch: what is not signed, not for us, not new or not a logout token ends nothing.
func TestBackchannelAttacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	right := providertest.Logout{Client: "demo", Subject: "alice", Session: w.upstreamSession(login)}
	for _, fault := range providertest.LogoutFaults() {
		l := right
		l.Faults = []providertest.LogoutFault{fault}
		answer := w.sendLogout(t, w.op, "demo", w.op.LogoutToken(l))
		wantRejected(t, answer, http.StatusBadRequest, "invalid_request")
		if !w.signedIn(b) {
			t.Fatalf("%s: the session has ended", fault)
		}
	}
	foreign := right
	foreign.Client = "other"
	for name, token := range map[string]string{
		"of another provider":                w.other.LogoutToken(foreign),
		"of another provider, with our name": w.other.LogoutToken(providertest.Logout{Client: "other", Subject: "alice", Edit: asIf(w.op, "demo")}),
		"for another client":                 w.op.LogoutToken(providertest.Logout{Client: w.op.Register(providertest.Client{}).ID, Subject: "alice"}),
		"our own ID token":                   login.IDToken,
		"our own access token":               login.AccessToken,
		"nothing":                            "",
		"no token":                           "x.y.z",
	} {
		answer := w.sendLogout(t, w.op, "demo", token)
		if answer.Status != http.StatusBadRequest || !w.signedIn(b) {
			t.Errorf("%s: status %d, signed in is %t", name, answer.Status, w.signedIn(b))
		}
	}
	t.Run("other requests", func(t *testing.T) {
		at := w.URL + "/broker/demo/backchannel_logout"
		good := w.op.LogoutToken(right)
		for name, r := range map[string]*reply{
			"in the query":   send(t, http.MethodPost, at+"?"+url.Values{"logout_token": {good}}.Encode(), url.Values{}, nil),
			"twice":          send(t, http.MethodPost, at, url.Values{"logout_token": {good, good}}, nil),
			"too large":      send(t, http.MethodPost, at, url.Values{"logout_token": {strings.Repeat("a", 100<<10)}}, nil),
			"without a body": send(t, http.MethodPost, at, nil, nil),
			"as something else": send(t, http.MethodPost, at, url.Values{"logout_token": {good}}, func(r *http.Request) {
				r.Header.Set("Content-Type", "application/json")
			}),
		} {
			if r.StatusCode != http.StatusBadRequest || !w.signedIn(b) {
				t.Errorf("%s: status %d %s", name, r.StatusCode, r.text)
			}
		}
		if r := send(t, http.MethodGet, at+"?"+url.Values{"logout_token": {good}}.Encode(), nil, nil); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("by GET: status %d", r.StatusCode)
		}
		for _, alias := range []string{"nobody", "demo%2F", "Demo"} {
			r := send(t, http.MethodPost, w.URL+"/broker/"+alias+"/backchannel_logout", url.Values{"logout_token": {good}}, nil)
			if r.StatusCode != http.StatusNotFound || !w.signedIn(b) {
				t.Errorf("to %q: status %d", alias, r.StatusCode)
			}
		}
	})
	t.Run("replay", func(t *testing.T) {
		token := w.op.LogoutToken(right)
		if answer := w.sendLogout(t, w.op, "demo", token); answer.Status != http.StatusOK {
			t.Fatalf("got %d %s", answer.Status, answer.Body)
		}
		w.wantSignedOut(t, b, login, 0)
		subject := w.op.LogoutToken(providertest.Logout{Client: "demo", Subject: "alice"})
		w.sendLogout(t, w.op, "demo", subject)
		login = w.enter(b, w.rp) // the same session of the upstream, perhaps
		for _, late := range []time.Duration{0, time.Minute, 2 * time.Minute, 10 * time.Minute} {
			w.advance(late)
			for _, again := range []string{token, subject} {
				wantRejected(t, w.sendLogout(t, w.op, "demo", again), http.StatusBadRequest, "invalid_request")
			}
		}
		w.wantSignedIn(t, b, login, 1)
	})
	t.Run("provider off", func(t *testing.T) {
		token := w.op.LogoutToken(right)
		w.reconfigure(also(signsOut, func(c *broker.Config) { c.Providers[0].Disabled = true }))
		wantRejected(t, w.sendLogout(t, w.op, "demo", token), http.StatusNotFound, "not_found")
		w.reconfigure(also(signsOut, func(c *broker.Config) {
			c.Providers[0].IdP = struct{ provider.IdentityProvider }{c.Providers[0].IdP} // it takes no messages
		}))
		wantRejected(t, w.sendLogout(t, w.op, "demo", token), http.StatusNotFound, "not_found")
	})
}

// asIf makes a token say that it is of another provider and for another client.
func asIf(op *providertest.OIDC, client string) func(header, claims map[string]any) {
	return func(_, claims map[string]any) {
		claims["iss"], claims["aud"], claims["azp"] = op.Issuer(), client, client
	}
}

// Of any number of the same message at once one is taken.
func TestBackchannelRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	token := w.op.LogoutToken(providertest.Logout{Client: "demo", Session: w.upstreamSession(login)})
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if answer, err := w.op.SendLogout(t.Context(), "demo", token); err == nil && answer.Status == http.StatusOK {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("taken %d times", taken.Load())
	}
	w.wantSignedOut(t, b, login, 0)
}

// A stubbornStore ends no session while it is stubborn.
type stubbornStore struct {
	*memstore.Store
	stubborn atomic.Bool
}

var errStubborn = errors.New("the store has its day off")

func (s *stubbornStore) DeleteSession(ctx context.Context, id string) error {
	if s.stubborn.Load() {
		return errStubborn
	}
	return s.Store.DeleteSession(ctx, id)
}

// A message that could not be carried out may come again; nobody is told that they are signed out who are not.
func TestSignOutStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	kept := &stubbornStore{Store: w.store}
	w.reconfigure(also(signsOut, func(c *broker.Config) { c.Store = kept }))
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	token := w.op.LogoutToken(providertest.Logout{Client: "demo", Session: w.upstreamSession(login)})
	kept.stubborn.Store(true)
	wantRejected(t, w.sendLogout(t, w.op, "demo", token), http.StatusBadRequest, "server_error")
	shows(t, b.Get(w.rp.LogoutURL(nil)), http.StatusInternalServerError)
	shows(t, b.Post(w.URL+"/logout", url.Values{}, ""), http.StatusInternalServerError)
	if err := w.Broker.SignOut(t.Context(), login.Subject); !errors.Is(err, errStubborn) {
		t.Errorf("SignOut: %v", err)
	}
	w.wantSignedIn(t, b, login, 0)
	kept.stubborn.Store(false)
	if answer := w.sendLogout(t, w.op, "demo", token); answer.Status != http.StatusOK {
		t.Errorf("the second time: %d %s", answer.Status, answer.Body)
	}
	w.wantSignedOut(t, b, login, 0)
	wantRejected(t, w.sendLogout(t, w.op, "demo", token), http.StatusBadRequest, "invalid_request")
}

// An application of another kind: it notes what it is told, and answers as told.
type listener struct {
	url      string
	received chan string // logout tokens
	answer   atomic.Int32
}

func listen(t testing.TB, answer int) *listener {
	t.Helper()
	l := &listener{received: make(chan string, 100)}
	l.answer.Store(int32(answer))
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := int(l.answer.Load()) // before anybody hears of it and changes it
		l.received <- r.PostFormValue("logout_token")
		switch {
		case status == 0: // never answers
			select {
			case <-r.Context().Done():
			case <-done:
			}
		case status >= 300 && status < 400:
			http.Redirect(w, r, l.url+"/elsewhere", status)
		default:
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(func() {
		close(done)
		server.Close()
	})
	l.url = server.URL
	return l
}

// hears returns the next logout token, which may take the world's clock some minutes.
func (l *listener) hears(t testing.TB, w *world) string {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); ; {
		select {
		case token := <-l.received:
			return token
		case <-tick.C:
			w.advance(30 * time.Second)
		case <-limit:
			t.Fatal("was told nothing")
		}
	}
}

// An application that is slow, or fails, holds nobody up. It is told again, with another token each time, until it takes
// one or it has failed too often.
func TestBackchannelRetries(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{
		"hangs": 0, "fails": http.StatusInternalServerError, "refuses": http.StatusBadRequest, "redirects": http.StatusTemporaryRedirect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			l := listen(t, status)
			second := brokertest.NewRelyingParty(t)
			bad := second.Client()
			bad.ID, bad.BackchannelLogoutURI = "bad", l.url+"/told"
			second.SetClient(bad)
			w.reconfigure(also(signsOut, func(c *broker.Config) {
				c.Clients, c.ClientHTTP.Timeout = append(c.Clients, bad), 3*time.Second
			}))
			second.Connect(w.URL)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- w.Broker.Run(ctx) }()

			b := brokertest.NewBrowser(t)
			w.enter(b, second)
			login := w.enter(b, w.rp)
			target := w.rp.LogoutURL(nil)
			w.wantBack(t, b.Get(target), target)
			w.wantSignedOut(t, b, login, 0) // the other application was told
			seen := map[any]bool{}
			for attempt := range 4 {
				claims := part(t, l.hears(t, w), 1)
				if claims["sid"] != login.Claims["sid"] || claims["aud"] != "bad" || seen[claims["jti"]] {
					t.Errorf("attempt %d: told %v", attempt, claims)
				}
				seen[claims["jti"]] = true
				if attempt == 2 {
					l.answer.Store(http.StatusOK) // it takes the next one
				}
			}
			w.advance(time.Hour)
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
			if len(l.received) != 0 || len(w.rp.Logouts()) != 1 {
				t.Errorf("told %d and %d times more", len(l.received), len(w.rp.Logouts())-1)
			}
		})
	}
}

// However long a request may take, a sign-out does not wait for it.
func TestBackchannelPatience(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l := listen(t, 0)
	w.reconfigure(also(signsOut, func(c *broker.Config) {
		c.Clients[0].BackchannelLogoutURI, c.ClientHTTP.Timeout = l.url, 2*time.Minute
	}))
	b := brokertest.NewBrowser(t)
	w.enter(b, w.rp)
	began := time.Now()
	target := w.rp.LogoutURL(nil)
	w.wantBack(t, b.Get(target), target)
	if took := time.Since(began); took > time.Minute || len(l.received) != 1 {
		t.Errorf("signing out took %v, and told %d times", took, len(l.received))
	}
}

func TestBackchannelGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l := listen(t, http.StatusInternalServerError)
	log := newLockedLog()
	w.reconfigure(also(signsOut, func(c *broker.Config) {
		c.Clients[0].BackchannelLogoutURI, c.Logger = l.url, slog.New(slog.NewTextHandler(log, nil))
	}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Broker.Run(ctx) }()
	b := brokertest.NewBrowser(t)
	w.enter(b, w.rp)
	b.Get(w.rp.LogoutURL(nil))
	for range 4 {
		l.hears(t, w)
	}
	log.waitFor(t, "given up")
	stop()
	<-ended
	if len(l.received) != 0 {
		t.Errorf("told %d times more", len(l.received))
	}
	for _, secret := range []string{w.rp.Login().IDToken, "logout_token=", w.rp.Login().AccessToken} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// A lockedLog is a log that can be read while it is written.
type lockedLog struct {
	mu    sync.Mutex
	text  strings.Builder
	wrote chan struct{}
}

func newLockedLog() *lockedLog { return &lockedLog{wrote: make(chan struct{}, 1)} }

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.wrote <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// waitFor returns once the log has the text.
func (l *lockedLog) waitFor(t testing.TB, text string) {
	t.Helper()
	for limit := time.After(time.Minute); !strings.Contains(l.String(), text); {
		select {
		case <-l.wrote:
		case <-limit:
			t.Fatalf("the log does not say %q:\n%s", text, l)
		}
	}
}

// Zitadel CVE-2026-27945 and its like: an address of a client is not a way into our network.
func TestBackchannelAddresses(t *testing.T) {
	t.Parallel()
	l := listen(t, http.StatusOK)
	for name, options := range map[string]provider.HTTPOptions{
		"private network": {InsecureAllowHTTP: true},
		"http":            {InsecureAllowPrivateNetworks: true},
		"by default":      {},
	} {
		w := newWorld(t, nil)
		kept := memstore.New() // of clients that no configuration has looked at
		kept.Now = w.clock
		c := w.rp.Client()
		registerLogout(&c)
		c.BackchannelLogoutURI = l.url
		w.reconfigure(func(config *broker.Config) {
			signsOut(config)
			config.ClientHTTP, config.Clients, config.ClientStore = options, nil, kept
		})
		if err := w.Broker.PutClient(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
		b := brokertest.NewBrowser(t)
		w.enter(b, w.rp)
		target := w.rp.LogoutURL(nil)
		w.wantBack(t, b.Get(target), target)
		if w.signedIn(b) || len(l.received) != 0 {
			t.Errorf("%s: signed in is %t, told %d times", name, w.signedIn(b), len(l.received))
		}
	}
}

// Applications that may not be used are told nothing, and neither are those of other sessions.
func TestBackchannelTellsWhomItConcerns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, signsOut)
	second := brokertest.NewRelyingParty(t)
	c := second.Client()
	c.ID = "second"
	registerLogout(&c)
	second.SetClient(c)
	both := also(signsOut, func(config *broker.Config) { config.Clients = append(config.Clients, c) })
	w.reconfigure(both)
	second.Connect(w.URL)
	b, elsewhere := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	w.enter(elsewhere, second)
	b.Get(w.rp.LogoutURL(nil))
	w.wantSignedOut(t, b, login, 0)
	if got := second.Logouts(); len(got) != 0 || !w.signedIn(elsewhere) {
		t.Errorf("the application of another session was told %+v", got)
	}

	login = w.enter(b, w.rp)
	for range 3 { // it is told once, however often the user went there
		w.enter(b, w.rp)
	}
	w.enter(b, second)
	w.reconfigure(also(both, func(config *broker.Config) { config.Clients[1].Disabled = true }))
	b.Get(w.rp.LogoutURL(nil))
	w.wantSignedOut(t, b, login, 1)
	if got := second.Logouts(); len(got) != 0 {
		t.Errorf("the application that is off was told %+v", got)
	}
	if got, err := w.store.FindGrants(t.Context(), store.GrantQuery{SessionID: login.Claims["sid"].(string)}); err != nil || len(got) != 0 {
		t.Errorf("%d grants are left (%v)", len(got), err)
	}
}
