// Package brokertest runs a whole broker in a test: on loopback, with a browser and an application.
//
// It owns the test's side of the front door: [Start] mounts a broker and a host application on a listener, [Browser]
// behaves like a person's browser (cookies, redirects, links, forms), and [RelyingParty] is an OpenID Connect client that
// checks what it gets. It owns no upstream; the package providertest has those.
//
//	op := providertest.StartOIDC(t, providertest.OIDCConfig{AutoLogin: "alice"})
//	rp := brokertest.NewRelyingParty(t)
//	srv := brokertest.Start(t, func(base string) broker.Config {
//		… // a broker.Config with op as a provider and rp.Client() as a client; BaseURL and Secrets are filled in
//	})
//	rp.Connect(srv.URL)
//	page := brokertest.NewBrowser(t).Get(rp.LoginURL())
//	page = page.Click("Continue with Demo")
//	fmt.Println(rp.Login().Subject)
package brokertest

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
)

// A Server is a broker at /id on a loopback address, with its account page at /account/ and a host application behind
// [broker.Broker.RequireLogin] at every other path.
type Server struct {
	Broker *broker.Broker
	URL    string // the BaseURL: "http://127.0.0.1:port/id"
	Origin string // of the host application: "http://127.0.0.1:port"
}

// Start serves the broker that configure returns until the test has ended. It is told the BaseURL beforehand, as upstreams
// want to know the redirect URI, which [CallbackURL] makes of it. BaseURL and Secrets are filled in where they are empty.
// The host application answers with the signed-in user and session as [Who].
func Start(t testing.TB, configure func(baseURL string) broker.Config) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("brokertest: listen: %v", err)
	}
	s := &Server{Origin: "http://" + listener.Addr().String()}
	s.URL = s.Origin + "/id"
	c := configure(s.URL)
	if c.BaseURL == "" {
		c.BaseURL = s.URL
	}
	if c.Secrets == nil {
		c.Secrets = [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 2)}
	}
	if s.Broker, err = broker.New(c); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", s.Broker)
	mux.HandleFunc("/account/", func(w http.ResponseWriter, r *http.Request) { s.Broker.Account().ServeHTTP(w, r) })
	mux.Handle("/", s.Broker.RequireLogin(http.HandlerFunc(whoAmI)))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(func() { stop(server) })
	return s
}

// stop ends a server and forgets what it served. The testing package keeps clean-ups until the last test has ended, and with
// them all that they refer to: a whole broker for each test that has one.
func stop(server *httptest.Server) {
	server.Close()
	server.Config.Handler = nil
}

// CallbackURL returns the redirect URI of the provider with this alias at a broker with this BaseURL.
func CallbackURL(baseURL, alias string) string { return baseURL + "/broker/" + alias + "/endpoint" }

// Who is what the host application answers: who is signed in, and who vouched.
type Who struct {
	Path     string `json:"path"`
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Verified bool   `json:"email_verified"`
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Session  string `json:"session"`
}

func whoAmI(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	session, _ := broker.SessionFrom(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Who{ // the browser is gone: nobody is left to be told
		Path: r.URL.RequestURI(), ID: user.ID, Username: user.Username, Email: user.Email, Verified: user.EmailVerified,
		Name: user.Name, Provider: session.Upstream.Provider, Session: session.ID,
	})
}
