package broker_test

import (
	"context"
	"errors"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A world is a broker with upstreams and one application. The configuration can be changed at any time: every node
// that serve starts shares store, secrets and clock.
type world struct {
	t     testing.TB
	store *memstore.Store
	start time.Time
	late  atomic.Int64       // nanoseconds that the clock was advanced
	op    *providertest.OIDC // of provider "demo"
	other *providertest.OIDC // of provider "other"
	rp    *brokertest.RelyingParty
	base  string
	*brokertest.Server
}

// newWorld starts a broker whose configuration is edited by edit, which may be nil.
func newWorld(t testing.TB, edit func(*broker.Config)) *world {
	t.Helper()
	w := &world{t: t, store: memstore.New(), rp: brokertest.NewRelyingParty(t)}
	w.store.Now = w.clock
	for _, key := range signingKeys(t) {
		if err := w.store.AddKey(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	w.start = time.Now().Truncate(time.Second).Add(time.Second) // after the keys were made, and far from the next second
	w.op = providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Demo", AutoLogin: "alice", Alg: "ES256", Now: w.clock, Users: []providertest.User{
		{Subject: "alice", Username: "alice", Email: "alice@example.com", EmailVerified: true, Name: "Alice Liddell"},
		{Subject: "bob", Username: "bob", Email: "bob@example.com", Name: "Bob"},
	}})
	w.other = providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Other", AutoLogin: "carol", Alg: "ES256", Now: w.clock, Users: []providertest.User{
		{Subject: "carol", Username: "carol", Email: "carol@other.example", EmailVerified: true, Name: "Carol"},
		{Subject: "alice", Username: "alice2", Email: "alice@example.com", EmailVerified: true, Name: "Alice of Other"},
		{Subject: "twin", Username: "alice", Email: "twin@other.example", EmailVerified: true, Name: "Twin"},
	}})
	w.Server = brokertest.Start(t, func(base string) broker.Config {
		w.base = base
		return w.config(edit)
	})
	w.rp.Now = w.clock
	w.rp.Connect(w.URL)
	return w
}

// signingKeys returns the keys of all worlds, as a broker with their secret has made them once: an RSA key takes longer than
// most tests.
func signingKeys(t testing.TB) []*store.Key {
	t.Helper()
	keys, err := madeKeys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

var madeKeys = sync.OnceValues(func() ([]*store.Key, error) {
	kept := memstore.New()
	b, err := broker.New(broker.Config{BaseURL: "http://localhost/id", Secrets: worldSecrets, Store: kept})
	if err != nil {
		return nil, err
	}
	b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/id/jwks", nil))
	keys, err := kept.Keys(context.Background())
	if err == nil && len(keys) == 0 {
		err = errors.New("the broker made no keys")
	}
	return keys, err
})

// worldSecrets are those of every world.
var worldSecrets = [][]byte{[]byte("a secret of the tests: 32 bytes!")}

// clock goes on by a microsecond each time that it is read, and by what advance says. It does not follow the machine's, so that
// nothing expires in a test that has to wait for its turn.
func (w *world) clock() time.Time {
	return w.start.Add(time.Duration(w.late.Add(int64(time.Microsecond))))
}

// cookieName is what the broker calls one of its cookies here, on a port of its own.
func (w *world) cookieName(name string) string {
	return "idbroker-" + w.Origin[strings.LastIndex(w.Origin, ":")+1:] + "-" + name
}

func (w *world) advance(d time.Duration) { w.late.Add(int64(d)) }

// config returns the broker's configuration as it was, edited.
func (w *world) config(edit func(*broker.Config)) broker.Config {
	c := broker.Config{
		BaseURL: w.base,
		Secrets: worldSecrets,
		Store:   w.store,
		Now:     w.clock,
		Providers: []broker.Provider{
			{Alias: "demo", Name: "Demo", IdP: w.upstream(w.op, "demo", nil)},
			{Alias: "other", Name: "Other", IdP: w.upstream(w.other, "other", nil)},
		},
		Clients: []store.Client{w.rp.Client()},
	}
	if edit != nil {
		edit(&c)
	}
	return c
}

// upstream returns op as a provider with this alias.
func (w *world) upstream(op *providertest.OIDC, alias string, edit func(*oidc.Config)) provider.IdentityProvider {
	w.t.Helper()
	client := op.Register(providertest.Client{
		ID: alias, Secret: "of " + alias + ", the same on each node", RedirectURIs: []string{brokertest.CallbackURL(w.base, alias)},
		PostLogoutRedirectURIs: []string{w.base + "/broker/" + alias + "/logout_response"},
		BackchannelLogoutURI:   w.base + "/broker/" + alias + "/backchannel_logout",
	})
	c := oidc.Config{
		Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, Now: w.clock,
		InsecureAllowHTTP: true,
		HTTPClient: provider.NewHTTPClient(provider.HTTPOptions{
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true, Timeout: 2 * time.Minute, // on a busy machine
		}),
	}
	if edit != nil {
		edit(&c)
	}
	idp, err := oidc.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return idp
}

// reconfigure replaces the broker by one with another configuration, as a restart would.
func (w *world) reconfigure(edit func(*broker.Config)) {
	w.t.Helper()
	b, err := broker.New(w.config(edit))
	if err != nil {
		w.t.Fatal(err)
	}
	*w.Broker = *b
}

// twoNodes has two brokers with this configuration serve the world from now on, at an origin of its own. They share the store and
// nothing else, and requests go to the one or the other in a sequence that never repeats itself three times over, so that each
// kind of request meets each node after each other kind.
func (w *world) twoNodes(edit func(*broker.Config)) {
	w.t.Helper()
	var asked atomic.Uint64
	var nodes []http.Handler
	balancer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		nodes[bits.OnesCount64(asked.Add(1))%2].ServeHTTP(rw, r) // Thue and Morse
	}))
	w.t.Cleanup(func() {
		balancer.Close()
		balancer.Config.Handler = nil
	})
	w.base = balancer.URL + "/id"
	for range 2 {
		node := brokertest.Start(w.t, func(string) broker.Config { return w.config(edit) })
		to, err := url.Parse(node.Origin)
		if err != nil {
			w.t.Fatal(err)
		}
		nodes = append(nodes, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		}})
	}
	w.Server = &brokertest.Server{URL: w.base, Origin: balancer.URL}
	w.rp.Connect(w.URL)
}

// login signs a new browser in at the host application through a provider and returns it.
func (w *world) login(name string) *brokertest.Browser {
	w.t.Helper()
	b := brokertest.NewBrowser(w.t)
	page := b.Get(w.Origin + "/").Click(name)
	if page.Status != 200 || page.URL.Path != "/" {
		w.t.Fatalf("login with %s: status %d at %s\n%s", name, page.Status, page.URL, page.Body)
	}
	return b
}

// users returns how many users there are with one of these names.
func (w *world) users(names ...string) int {
	w.t.Helper()
	n := 0
	for _, name := range names {
		found, err := w.store.FindUsers(w.t.Context(), store.UserQuery{Username: name})
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(found)
	}
	return n
}

// went returns the first URL of the trail that begins with prefix, parsed.
func went(t testing.TB, p *brokertest.Page, prefix string) *url.URL {
	t.Helper()
	for _, u := range p.Trail {
		if strings.HasPrefix(u, prefix) {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			return parsed
		}
	}
	t.Fatalf("nothing in %q begins with %s", p.Trail, prefix)
	return nil
}

// shows fails unless the page has the status and contains each text.
func shows(t testing.TB, p *brokertest.Page, status int, texts ...string) {
	t.Helper()
	if p.Status != status {
		t.Errorf("%s: status %d, want %d\n%s", p.URL, p.Status, status, p.Body)
	}
	for _, text := range texts {
		if !strings.Contains(p.Body, text) {
			t.Errorf("%s does not say %q:\n%s", p.URL, text, p.Body)
		}
	}
}
