package integration

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// Two nodes are brokers of one configuration over PostgreSQL and Redis, each with connections of its own. Requests go to the
// one that the test has chosen.
type twoNodes struct {
	nodeConfig
	t     *testing.T
	nodes [2]*broker.Broker
	store store.Store // the first one's
	at    atomic.Int32
	late  atomic.Int64 // nanoseconds that the clock of both was advanced
	op    *providertest.OIDC
}

func startTwoNodes(t *testing.T, edit func(*broker.Config)) *twoNodes {
	t.Helper()
	n := &twoNodes{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app" {
			n.nodes[n.at.Load()].ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	n.op = providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", Users: []providertest.User{
		{Subject: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"},
	}})
	n.nodeConfig = newNodeConfig(t, server.URL, n.op, newPostgres(t), startRedis(t).addr)
	n.Client.RedirectURIs = []string{server.URL + "/app"}
	for i := range n.nodes {
		config, closeStores, err := n.broker()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := closeStores(); err != nil {
				t.Error(err)
			}
		})
		config.Now = func() time.Time { return time.Now().Add(time.Duration(n.late.Load())) }
		if edit != nil {
			edit(&config)
		}
		if n.nodes[i], err = broker.New(config); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			n.store = config.Store
		}
	}
	return n
}

// first and second choose the node.
func (n *twoNodes) first()  { n.at.Store(0) }
func (n *twoNodes) second() { n.at.Store(1) }

// enter signs ada in at the chosen node.
func (n *twoNodes) enter() (*appUser, answer) {
	n.t.Helper()
	u := n.user("ada", http.DefaultTransport)
	code, err := u.code(n.t.Context(), "openid offline_access")
	if err != nil {
		n.t.Fatal(err)
	}
	a := u.redeem(n.t.Context(), code)
	if a.status != http.StatusOK {
		n.t.Fatalf("the code is refused: %+v", a)
	}
	return u, a
}

func (n *twoNodes) userinfo(token string) (status int) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, n.Base+"/userinfo", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		n.t.Fatal(err)
	}
	return response.StatusCode
}

// Each step of a login may be at another node than the one before.
func TestTwoNodesLogin(t *testing.T) {
	t.Parallel()
	pauses := &atomic.Bool{}
	n := startTwoNodes(t, func(c *broker.Config) {
		c.PostLogin = flow.Flow{{ID: "terms", Do: askOnce{pauses}}}
		c.Theme = fstest.MapFS{"templates/terms.html": {Data: []byte(`{{define "title"}}Terms{{end}}{{define "main"}}
			<form method="post" action="{{.Data.Action}}">
			{{range $name, $value := .Data.Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">{{end}}
			<button type="submit">I agree</button></form>{{end}}`)}}
	})
	for _, paused := range []bool{false, true} {
		pauses.Store(paused)
		u := n.user("ada", http.DefaultTransport)
		b := brokertest.NewBrowser(t)
		b.Stop()
		n.first()
		away := b.Get(u.begin("openid")).Header.Get("Location") // to the upstream
		back := b.Get(away).Header.Get("Location")
		n.second()
		following := brokertest.NewBrowser(t)
		following.SetCookies(n.Base, b.Cookies(back))
		page := following.Get(back)
		if paused {
			if page.Status != http.StatusOK || !strings.Contains(page.Body, "I agree") {
				t.Fatalf("the flow does not pause: status %d\n%s", page.Status, page.Body)
			}
			n.first()
			page = page.Submit(url.Values{"agree": {"yes"}})
		}
		code := page.URL.Query().Get("code")
		if page.URL.Path != "/app" || code == "" {
			t.Fatalf("paused %v: status %d at %s, want the application with a code\n%s", paused, page.Status, page.URL, page.Body)
		}
		n.first()
		a := u.redeem(t.Context(), code)
		n.second()
		if status := n.userinfo(a.Access); status != http.StatusOK {
			t.Errorf("paused %v: the other node says %d of the token", paused, status)
		}
		if again := u.redeem(t.Context(), code); again.status != http.StatusBadRequest {
			t.Errorf("paused %v: the code at the other node: %+v, want it refused", paused, again)
		}
	}
}

// askOnce asks a page while it is told to.
type askOnce struct{ asks *atomic.Bool }

func (a askOnce) Authenticate(_ context.Context, turn *flow.Turn) (flow.Result, error) {
	if a.asks.Load() && turn.Input == nil {
		return flow.Ask(flow.Page{Name: "terms"}), nil
	}
	return flow.Success(), nil
}

// A key that one node has made is known to the other before anybody meets it, and keys that one withdraws soon sign nowhere.
func TestTwoNodesRotateKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	n := startTwoNodes(t, nil)
	n.first()
	_, before := n.enter()
	n.second()
	n.enter() // it has read the keys
	n.first()
	if err := n.nodes[0].RotateKeys(ctx); err != nil {
		t.Fatal(err)
	}
	_, after := n.enter()
	n.second()
	issuer, err := gooidc.NewProvider(ctx, n.Base)
	if err != nil {
		t.Fatal(err)
	}
	verifier := issuer.Verifier(&gooidc.Config{ClientID: n.Client.ID, SupportedSigningAlgs: []string{"ES256"}})
	if _, err := verifier.Verify(ctx, after.ID); err != nil {
		t.Errorf("a token of the new key by what the other node publishes: %v", err)
	}
	if _, err := verifier.Verify(ctx, before.ID); err == nil {
		t.Error("the other node publishes the key that was withdrawn")
	}
	if status := n.userinfo(after.Access); status != http.StatusOK {
		t.Errorf("the other node says %d of a token of the new key", status)
	}
	n.late.Store(int64(16 * time.Second))
	_, other := n.enter()
	if _, err := verifier.Verify(ctx, other.ID); err != nil {
		t.Errorf("the other node signs with another key: %v", err)
	}
	if status := n.userinfo(before.Access); status != http.StatusUnauthorized {
		t.Errorf("the other node says %d of a token of the key that was withdrawn", status)
	}
}

// Who is switched off at one node is off at the other by the next request.
func TestTwoNodesKillSwitch(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	n := startTwoNodes(t, nil)
	n.second()
	u, a := n.enter()
	if status := n.userinfo(a.Access); status != http.StatusOK {
		t.Fatalf("userinfo: status %d", status)
	}
	n.first()
	found, err := n.store.FindUsers(ctx, store.UserQuery{Username: "ada"})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d users, %v", len(found), err)
	}
	found[0].Disabled = true
	if err := n.store.UpdateUser(ctx, found[0]); err != nil {
		t.Fatal(err)
	}
	n.second()
	if status := n.userinfo(a.Access); status != http.StatusUnauthorized {
		t.Errorf("userinfo of who was disabled: status %d", status)
	}
	if a := u.refresh(ctx, a.Refresh); a.status != http.StatusBadRequest {
		t.Errorf("refresh by who was disabled: %+v", a)
	}
	if code, err := n.user("ada", http.DefaultTransport).code(ctx, "openid"); err == nil {
		t.Errorf("who was disabled gets the code %s", code)
	}
}
