// Package demo is what the mount examples share, so that each of them is nothing but its router: a broker with a demo
// provider that asks for no password, a page, and the test that every way to mount a broker passes.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A Mount returns the host application: the broker at /id, a page for everybody at /, and one at /private for those who
// are signed in.
type Mount func(b *broker.Broker) http.Handler

// Configure changes something about the broker.
type Configure func(c *broker.Config)

// Page is what the pages say: who is signed in, or nobody if there is no user.
func Page(user *store.User) string {
	if user == nil {
		return `<!doctype html><title>Demo</title><p>Nobody is signed in. <a href="/private">Sign in</a></p>`
	}
	return `<!doctype html><title>Demo</title><p>Hello, ` + html.EscapeString(user.Name) + `. ` +
		`<a href="/id/logout?return_to=/">Sign out</a></p>`
}

// Write answers with the [Page] of whoever is signed in.
func Write(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, Page(user))
}

// A site is the host application and the provider, each at a loopback address.
type site struct {
	origin  string
	servers []*http.Server
}

// open serves the host application at a loopback address, and the provider at another.
func open(address string, mount Mount, configure ...Configure) (*site, error) {
	s := &site{}
	upstream, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at the start of a program
	if err != nil {
		return nil, err
	}
	app, err := net.Listen("tcp", address) //nolint:noctx // as above
	if err != nil {
		return nil, errors.Join(err, upstream.Close())
	}
	s.origin = "http://" + app.Addr().String()
	op, b, err := newBroker(s.origin, "http://"+upstream.Addr().String(), configure)
	if err != nil {
		return nil, errors.Join(err, upstream.Close(), app.Close())
	}
	s.serve(upstream, op)
	s.serve(app, mount(b))
	return s, nil
}

func newBroker(origin, issuer string, configure []Configure) (*providertest.OIDC, *broker.Broker, error) {
	callback := brokertest.CallbackURL(origin+"/id", "demo")
	op, err := providertest.NewOIDC(providertest.OIDCConfig{Issuer: issuer, Alg: "ES256"})
	if err != nil {
		return nil, nil, err
	}
	client := op.Register(providertest.Client{RedirectURIs: []string{callback}})
	idp, err := oidc.New(oidc.Config{
		Issuer: issuer, ClientID: client.ID, ClientSecret: client.Secret,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true, // on this machine only
	})
	if err != nil {
		return nil, nil, err
	}
	config := broker.Config{
		BaseURL:   origin + "/id",
		Secrets:   [][]byte{[]byte(rand.Text() + rand.Text())}, // in earnest the same at every start
		Store:     memstore.New(),
		Providers: []broker.Provider{{Alias: "demo", Name: "Demo Provider", IdP: idp}},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	for _, change := range configure {
		change(&config)
	}
	b, err := broker.New(config)
	return op, b, err
}

func (s *site) serve(listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go server.Serve(listener) //nolint:errcheck // it ends with close
}

func (s *site) close() {
	for _, server := range s.servers {
		_ = server.Close() // nothing more can be done about it
	}
}

// Serve serves the host application until Ctrl+C.
func Serve(mount Mount, configure ...Configure) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	s, err := open("127.0.0.1:8080", mount, configure...)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("serving at %s", s.origin)
	<-ctx.Done()
	stop()
	s.close()
}

// Test holds a mount to what hosts rely on: who is not signed in comes to the login and back to the page, with its query;
// a script gets no page; who signs out is signed out; and whatever the broker does not know, the broker says so.
func Test(t *testing.T, mount Mount) {
	t.Helper()
	s, err := open("127.0.0.1:0", mount)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	b := brokertest.NewBrowser(t)
	see := func(page *brokertest.Page, path, text string) {
		t.Helper()
		if page.Status != http.StatusOK || page.URL.RequestURI() != path || !strings.Contains(page.Body, text) {
			t.Fatalf("at %s with status %d, want %s with %q:\n%s", page.URL, page.Status, path, text, page.Body)
		}
	}
	see(b.Get(s.origin+"/"), "/", "Nobody is signed in")
	page := b.Get(s.origin + "/private?a=b%2Fc&d=%20")
	if page.URL.Path != "/id/login" {
		t.Fatalf("a private page brought to %s, want the login", page.URL)
	}
	page = page.Click("Demo Provider").Submit(map[string][]string{"user": {"alice"}})
	see(page, "/private?a=b%2Fc&d=%20", "Hello, Alice Liddell")
	see(b.Get(s.origin+"/"), "/", "Hello, Alice Liddell")
	if page = b.Get(s.origin + "/id/broker/nobody/login"); page.Status < 400 || page.Header.Get("X-Request-Id") == "" {
		t.Errorf("an unknown provider: status %d from %v, want an error of the broker", page.Status, page.Header)
	}
	if page = b.Get(s.origin + "/id/.well-known/openid-configuration"); !strings.Contains(page.Body, s.origin+"/id/jwks") {
		t.Errorf("discovery: status %d\n%s", page.Status, page.Body)
	}
	see(b.Get(s.origin+"/private").Click("Sign out").Submit(nil), "/id/logout", "signed out")
	if page = b.Get(s.origin + "/private"); page.URL.Path != "/id/login" {
		t.Errorf("signed out, a private page brought to %s, want the login", page.URL)
	}
	if status := statusFor(t, s.origin+"/private"); status != http.StatusUnauthorized {
		t.Errorf("a script that is not signed in: status %d, want 401", status)
	}
}

// statusFor is what a script gets.
func statusFor(t *testing.T, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	response, err := http.DefaultTransport.RoundTrip(r) // which follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}
