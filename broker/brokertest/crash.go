package brokertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// Crash tests on the stores that open makes, each of them empty, that people get along with a broker that dies, or whose
// store fails: one story (first login, code redemption, single sign-on, returning login, refresh, replay, logout) is lived
// through again for each call of the store in it, which fails or during which the node dies, before it is made or after. A
// node that has died is replaced by another one over the same store.
//
// However it goes, whoever fails succeeds a moment later; an acknowledged login is kept, and is of the one user that there
// is, who has one link; no code and no refresh token is good for two; what was signed out stays it; and no page tells what
// went wrong inside. Nothing is left half written: by a store that is a [store.Committer] nothing at all, by others what
// [store.Commit] says.
func Crash(t *testing.T, open func(t testing.TB) store.Store) {
	stage := newStage(t)
	empty := open(t)
	for i, method := range stage.rehearse(t, empty) {
		if method == "AddKey" {
			stage.spoil(t, "of the first keys", i+1, method, func(t *testing.T) store.Store { return open(t) })
		}
	}
	keys, err := empty.Keys(t.Context())
	if err != nil || len(keys) == 0 {
		t.Fatalf("brokertest: %d keys, %v", len(keys), err)
	}
	withKeys := func(t *testing.T) store.Store { // the same for all: making them takes longer than the story
		s := open(t)
		for _, k := range keys {
			if err := s.AddKey(t.Context(), k); err != nil {
				t.Fatalf("brokertest: %v", err)
			}
		}
		return s
	}
	for i, method := range stage.rehearse(t, withKeys(t)) {
		stage.spoil(t, "of the story", i+1, method, withKeys)
	}
}

// rehearse plays the story without faults and returns the calls of the store in it.
func (s *stage) rehearse(t *testing.T, in store.Store) (calls []string) {
	t.Helper()
	failures := s.play(t, in, func(c storetest.Call) error {
		if !c.After {
			calls = append(calls, c.Method)
		}
		return nil
	})
	if failures > 0 || len(calls) < 20 {
		t.Fatalf("brokertest: %d requests fail without a fault, and these are all calls of the store: %q", failures, calls)
	}
	return calls
}

// spoil plays the story once for each fault of one call.
func (s *stage) spoil(t *testing.T, what string, number int, method string, open func(*testing.T) store.Store) {
	t.Helper()
	for name, fault := range map[string]error{"fails": errFault, "kills": storetest.ErrDead} {
		for _, after := range []bool{false, true} {
			when := map[bool]string{false: "before", true: "after"}[after]
			t.Run(fmt.Sprintf("call %d %s %s %s %s", number, what, name, when, method), func(t *testing.T) {
				happened := false
				failures := s.play(t, open(t), func(c storetest.Call) error {
					if c.Number != number || c.After != after {
						return nil
					}
					happened = true
					return fault
				})
				if !happened {
					t.Error("the story went another way, and the fault did not happen")
				}
				if failures > 2 { // the request, and that with the code or the session that it has spent
					t.Errorf("one fault made %d requests fail", failures)
				}
			})
		}
	}
}

const secretOfTheHouse = "table idbroker_secrets is on fire"

var errFault = errors.New(secretOfTheHouse)

// A stage is what all stories have in common.
type stage struct {
	upstream *providertest.OIDC
	idp      provider.IdentityProvider
	client   store.Client
	url      string
	serve    atomic.Pointer[http.HandlerFunc]
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.serve.Load())(w, r) }))
	t.Cleanup(func() { stop(server) })
	s.url = server.URL
	s.upstream = providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice", Alg: "ES256", Users: []providertest.User{
		{Subject: "alice", Username: "alice", Email: "alice@example.com", EmailVerified: true},
	}})
	registered := s.upstream.Register(providertest.Client{ID: "broker", RedirectURIs: []string{CallbackURL(s.url, "demo")}})
	var err error
	if s.idp, err = oidc.New(oidc.Config{
		Issuer: s.upstream.Issuer(), ClientID: registered.ID, ClientSecret: registered.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	}); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	s.client = store.Client{
		ID: "app", Secrets: [][]byte{[]byte("the application's secret")}, RedirectURIs: []string{s.url + "/held"}, IDTokenAlg: "ES256",
		PostLogoutRedirectURIs: []string{s.url + "/bye"},
	}
	return s
}

func (s *stage) node(t *testing.T, in store.Store) *broker.Broker {
	t.Helper()
	b, err := broker.New(broker.Config{
		BaseURL: s.url, Secrets: [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 2)}, Store: in,
		Providers: []broker.Provider{{Alias: "demo", IdP: s.idp, TrustEmail: true, Logout: provider.LogoutNone}}, DefaultProvider: "demo",
		Clients: []store.Client{s.client},
		FirstLogin: flow.Flow{ // the latter for the user whom a node left without a link when it died
			{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
			{ID: "link", When: flow.Alternative, Do: firstlogin.AutoLink{}},
		},
	})
	if err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	return b
}

// A story is one life of a broker.
type story struct {
	*stage
	t        *testing.T
	store    store.Store // without faults
	died     atomic.Bool
	failures int

	subject   string            // of the first login that was acknowledged
	redeemed  map[string]int    // codes, and how often each was
	successor map[string]string // of a refresh token
}

// play lives through the story with the faults that the plan wants, and returns how many requests failed.
func (s *stage) play(t *testing.T, in store.Store, plan func(storetest.Call) error) (failures int) {
	st := &story{stage: s, t: t, store: in, redeemed: map[string]int{}, successor: map[string]string{}}
	first := s.node(t, storetest.Faulty(in, func(c storetest.Call) error {
		err := plan(c)
		if errors.Is(err, storetest.ErrDead) {
			st.died.Store(true)
		}
		return err
	}))
	second := sync.OnceValue(func() *broker.Broker { return s.node(t, in) })
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" || r.URL.Path == "/bye" {
			return
		}
		if st.died.Load() {
			second().ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		first.ServeHTTP(answer, r)
		if st.died.Load() { // nobody hears from it
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the browser is gone: nobody is left to be told
	})
	s.serve.Store((*http.HandlerFunc)(&serve))
	st.live()
	return st.failures
}

func (s *story) live() {
	browser := NewBrowser(s.t)
	old := s.enter(browser)
	s.enter(browser) // by the session
	browser = NewBrowser(s.t)
	tokens := s.enter(browser)
	tokens = s.refresh(tokens)
	s.is(tokens.access)
	s.refused(url.Values{
		"grant_type": {"authorization_code"}, "code": {old.code}, "redirect_uri": {s.client.RedirectURIs[0]}, "code_verifier": {verifier},
	}, "a code, once more")
	s.leave(browser, tokens)
	s.refused(refreshForm(tokens.refresh), "a refresh token of a session that was signed out")
	s.enter(NewBrowser(s.t))
	s.whole()
}

type tokenSet struct{ code, access, refresh, id string }

// enter signs a browser in and redeems the code, until it has worked.
func (s *story) enter(b *Browser) tokenSet {
	s.t.Helper()
	for range 3 {
		tokens, ok := s.tryEnter(b)
		s.whole()
		if ok {
			s.is(tokens.access)
			return tokens
		}
	}
	s.t.Fatal("the login does not succeed")
	return tokenSet{}
}

func (s *story) tryEnter(b *Browser) (tokenSet, bool) {
	s.t.Helper()
	config := oauth2.Config{
		ClientID: s.client.ID, RedirectURL: s.client.RedirectURIs[0], Scopes: []string{"openid", "email"},
		Endpoint: oauth2.Endpoint{AuthURL: s.url + "/authorize"},
	}
	page := b.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	code := page.URL.Query().Get("code")
	if page.URL.Path != "/held" || code == "" {
		s.failed(page.Status, page.URL.String()+"\n"+page.Body)
		return tokenSet{}, false
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {config.RedirectURL}, "code_verifier": {verifier},
	}
	tokens, ok := s.ask(form)
	if !ok {
		tokens, ok = s.ask(form)
	}
	if !ok {
		return tokenSet{}, false
	}
	tokens.code = code
	return tokens, true
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// refresh exchanges the refresh token, again if it does not hear anything.
func (s *story) refresh(before tokenSet) tokenSet {
	s.t.Helper()
	for range 3 {
		after, ok := s.ask(refreshForm(before.refresh))
		if !ok {
			continue
		}
		if known := s.successor[before.refresh]; known != "" && known != after.refresh {
			s.t.Error("a refresh token was good for two others")
		}
		s.successor[before.refresh] = after.refresh
		return after
	}
	s.t.Fatal("the refresh does not succeed")
	return tokenSet{}
}

// leave signs the browser out, until it has worked.
func (s *story) leave(b *Browser, tokens tokenSet) {
	s.t.Helper()
	for range 3 {
		page := b.Get(s.url + "/logout?" + url.Values{
			"id_token_hint": {tokens.id}, "post_logout_redirect_uri": {s.client.PostLogoutRedirectURIs[0]},
		}.Encode())
		if _, _, asks := page.Form(); asks && page.Status == http.StatusOK {
			page = page.Submit(nil)
		}
		if page.URL.Path == "/bye" {
			return
		}
		s.failed(page.Status, page.URL.String()+"\n"+page.Body)
	}
	s.t.Fatal("the logout does not succeed")
}

// ask posts a form to the token endpoint.
func (s *story) ask(form url.Values) (tokens tokenSet, ok bool) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(s.client.ID, url.QueryEscape(string(s.client.Secrets[0])))
	status, body := s.send(r)
	if status != http.StatusOK {
		s.failed(status, body)
		return tokenSet{}, false
	}
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Access == "" || answer.Refresh == "" {
		s.t.Fatalf("%v: token answer %s", err, body)
	}
	if code := form.Get("code"); code != "" {
		if s.redeemed[code]++; s.redeemed[code] > 1 {
			s.t.Error("a code was redeemed twice")
		}
	}
	return tokenSet{access: answer.Access, refresh: answer.Refresh, id: answer.ID}, true
}

func (s *story) send(r *http.Request) (status int, body string) {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// refused wants a form that nobody may succeed with to be refused, also where the store fails the first time.
func (s *story) refused(form url.Values, what string) {
	s.t.Helper()
	before := s.failures
	for range 2 {
		if _, ok := s.ask(form); ok {
			s.t.Errorf("%s: accepted", what)
		}
	}
	s.failures = before
}

// is wants the access token to be that of the one user that there is.
func (s *story) is(access string) {
	s.t.Helper()
	for range 2 {
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/userinfo", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+access)
		status, body := s.send(r)
		if status != http.StatusOK {
			s.failed(status, body)
			continue
		}
		var user struct {
			Subject string `json:"sub"`
		}
		if err := json.Unmarshal([]byte(body), &user); err != nil || user.Subject == "" {
			s.t.Fatalf("userinfo: %v: %s", err, body)
		}
		if s.subject == "" {
			s.subject = user.Subject
		}
		if s.subject != user.Subject {
			s.t.Errorf("the user is %s, and was %s before", user.Subject, s.subject)
		}
		return
	}
	s.t.Error("an acknowledged login is not kept")
}

// failed counts what did not work, and wants it to say nothing about the inside.
func (s *story) failed(status int, body string) {
	s.t.Helper()
	s.failures++
	for _, inside := range []string{secretOfTheHouse, "storetest", "goroutine", "panic"} {
		if strings.Contains(body, inside) {
			s.t.Errorf("status %d tells what goes on inside:\n%s", status, body)
		}
	}
}

// whole wants nothing to be half written.
func (s *story) whole() {
	s.t.Helper()
	ctx := s.t.Context()
	users, err := s.store.FindUsers(ctx, store.UserQuery{Email: "alice@example.com"})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(users) > 1 || len(users) == 0 && s.subject != "" {
		s.t.Fatalf("there are %d users, want one", len(users))
	}
	link, err := s.store.Link(ctx, store.LinkKey{Provider: "demo", Issuer: s.upstream.Issuer(), Subject: "alice"})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.t.Fatal(err)
	}
	_, atOnce := store.As[store.Committer](s.store)
	switch alone := len(users) == 1; {
	case alone == (err == nil):
	case atOnce || s.subject != "", alone && !s.died.Load():
		s.t.Errorf("there are %d users and the link is %v: half of a login", len(users), err)
	}
	if len(users) == 0 {
		return
	}
	if err == nil && link.UserID != users[0].ID || s.subject != "" && s.subject != users[0].ID {
		s.t.Errorf("the link is of %s, the tokens are of %s, and the user is %s", link.UserID, s.subject, users[0].ID)
	}
	links, err := s.store.LinksOf(ctx, users[0].ID)
	if err != nil || len(links) > 1 {
		s.t.Errorf("the user has %d links, %v", len(links), err)
	}
	grants, err := s.store.FindGrants(ctx, store.GrantQuery{UserID: users[0].ID})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, g := range grants {
		_, err := s.store.Session(ctx, g.SessionID)
		if err != nil && (atOnce || !s.died.Load()) {
			s.t.Errorf("a grant is of a session that is not there: %v", err)
		}
	}
}
