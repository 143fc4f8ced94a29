package oauth2_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

const callback = "https://app.example/id/broker/x/endpoint"

// An answer is what a server says at one endpoint.
type answer struct {
	status      int    // 0 is 200
	contentType string // "" is JSON
	body        string
}

// A server is an authorization server that says whatever a test wants.
type server struct {
	token, userinfo, emails answer

	mu   sync.Mutex
	seen map[string]*http.Request // by path, the last one, with its form
	url  string
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{
		token:    answer{body: `{"access_token":"at-1","token_type":"bearer","expires_in":3600,"refresh_token":"rt-1","scope":"user"}`},
		userinfo: answer{body: `{"sub":"u1","preferred_username":"alice","email":"alice@example.com","email_verified":true,"name":"Alice"}`},
		emails:   answer{body: `[]`},
		seen:     map[string]*http.Request{},
	}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.seen[r.URL.Path] = r
	s.mu.Unlock()
	a := map[string]answer{"/token": s.token, "/userinfo": s.userinfo, "/emails": s.emails}[r.URL.Path]
	if a.contentType == "" {
		a.contentType = "application/json; charset=utf-8"
	}
	w.Header().Set("Content-Type", a.contentType)
	if a.status >= 300 && a.status < 400 {
		w.Header().Set("Location", s.url+"/stolen")
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write([]byte(a.body))
}

// request returns the last one at a path, nil if there was none.
func (s *server) request(path string) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[path]
}

func (s *server) config() oauth2.Config {
	return oauth2.Config{
		Endpoints:         oauth2.Endpoints{Authorization: s.url + "/authorize", Token: s.url + "/token", UserInfo: s.url + "/userinfo"},
		ClientID:          "client",
		ClientSecret:      "a secret",
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	}
}

// provider returns the server as an upstream.
func (s *server) provider(t testing.TB, edit func(*oauth2.Config)) *oauth2.Provider {
	t.Helper()
	c := s.config()
	if edit != nil {
		edit(&c)
	}
	p, err := oauth2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// login goes through a login; params edits what the browser brings back.
func login(t testing.TB, p *oauth2.Provider, params func(url.Values)) (*provider.Identity, error) {
	t.Helper()
	r, err := p.Begin(t.Context(), provider.Request{RedirectURI: callback, State: "state-1"})
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"state": {"state-1"}, "code": {"code-1"}}
	if params != nil {
		params(q)
	}
	return p.Finish(t.Context(), provider.Callback{URL: callback + "?" + q.Encode(), Params: q, Data: r.Data})
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
