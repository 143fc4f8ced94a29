package integration

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/examples/existing-users/hostusers"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/redisstore"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// A nodeConfig is all that one node of several has to be told: users, links, grants and keys are in PostgreSQL, sessions and
// what is short-lived in Redis.
type nodeConfig struct {
	Base, Postgres, Redis, Issuer, ID, Secret string
	Client                                    store.Client

	HostUsers bool   // users are in a table of the host's
	Dies      string // by kill -9, when the store has been called like that
	AutoLink  bool   // the provider's word for an address is enough to be linked
	Vault     bool   // what the provider issues is kept, and everything is in PostgreSQL
}

// newNodeConfig registers the brokers that are to be at base at an upstream, and an application there. Redis and PostgreSQL
// are the test's own.
func newNodeConfig(t testing.TB, base string, upstream *providertest.OIDC, dsn, redisAddr string) nodeConfig {
	t.Helper()
	registered := upstream.Register(providertest.Client{ID: "nodes", RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
	return nodeConfig{
		Base: base, Postgres: dsn, Redis: redisAddr, Issuer: upstream.Issuer(), ID: registered.ID, Secret: registered.Secret,
		Client: store.Client{
			ID: "app", Secrets: [][]byte{[]byte("the-secret-of-the-application")}, RedirectURIs: []string{"https://app.example/callback"},
			Scopes: []string{"openid", "profile", "email", "offline_access"}, IDTokenAlg: "ES256",
		},
	}
}

// broker returns the configuration of a node, with connections of its own.
func (c nodeConfig) broker() (broker.Config, func() error, error) {
	db, err := sql.Open("pgx", c.Postgres)
	if err != nil {
		return broker.Config{}, nil, err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	cache := redis.NewClient(&redis.Options{Addr: c.Redis, ContextTimeoutEnabled: true})
	scopes := []string{"openid", "profile", "email"}
	if c.Vault {
		scopes = append(scopes, "offline_access")
	}
	idp, err := oidc.New(oidc.Config{
		Scopes: scopes, Issuer: c.Issuer, ClientID: c.ID, ClientSecret: c.Secret, ForwardLoginHint: true,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		return broker.Config{}, nil, err
	}
	kept, fast := sqlstore.New(db), redisstore.New(goRedis(cache))
	users, firstLogin := store.Users(kept), firstlogin.Default()
	if c.HostUsers {
		users = hostusers.New(db)
	}
	if c.AutoLink {
		firstLogin = flow.Flow{
			{ID: "create", When: flow.Alternative, Do: firstlogin.CreateUserIfUnique{}},
			{ID: "link", When: flow.Alternative, Do: firstlogin.AutoLink{}},
		}
	}
	made := broker.Config{
		BaseURL: c.Base, Secrets: [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 2)},
		Store:     store.Parts{Users: users, Links: kept, Sessions: fast, Grants: kept, Transient: fast, Keyring: kept},
		Providers: []broker.Provider{{Alias: "demo", IdP: idp, Logout: provider.LogoutNone, TrustEmail: c.HostUsers}}, DefaultProvider: "demo",
		Clients: []store.Client{c.Client}, FirstLogin: firstLogin,
	}
	if c.Dies != "" {
		made.Store = storetest.Faulty(made.Store, killedAfter(c.Dies))
	}
	if c.Vault {
		made.Store, made.Providers[0].StoreTokens, made.Providers[0].TokensReadable = kept, provider.TokensOnLink, true
	}
	return made, func() error { return errors.Join(db.Close(), cache.Close()) }, nil
}

// killedAfter ends the process by kill -9 when the store has done this, before anybody hears of it.
func killedAfter(method string) func(storetest.Call) error {
	return func(c storetest.Call) error {
		if c.After && c.Method == method {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal takes a moment
		}
		return nil
	}
}

// nodeEnv makes the test binary a node.
const nodeEnv = "IDBROKER_TEST_NODE"

// serveNode is the process of a node. It ends with its parent, whose pipe in is.
func serveNode(in io.Reader) error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(os.Getenv(nodeEnv)), &c); err != nil {
		return err
	}
	config, closeStores, err := c.broker()
	if err != nil {
		return err
	}
	defer closeStores()
	b, err := broker.New(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = b.Run(ctx) }() // until ctx ends, which is its error
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		return err
	}
	fmt.Println("the node listens")
	go func() {
		_, _ = io.Copy(io.Discard, in) // however it ends
		_ = l.Close()
	}()
	server := &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	if err := server.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// A node is a broker in a process of its own.
type node struct {
	addr string
	*process
}

// start starts the node, again if it was killed.
func (n *node) start(t testing.TB, c nodeConfig) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], n.addr)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.process = startProcess(t, cmd, prints("the node listens"))
	t.Cleanup(func() { in.Close() })
}

// kill is kill -9.
func (n *node) kill() {
	endGroup(n.cmd)
	<-n.done
}

// A balancer gives each request to the next node, and to another one if nobody listens there.
type balancer struct {
	addrs []string
	turn  atomic.Int64
	inner http.Transport
}

// newBalancer serves it for as many nodes as are wanted, whose addresses are free.
func newBalancer(t testing.TB, nodes int) (b *balancer, base string) {
	t.Helper()
	b = &balancer{inner: http.Transport{MaxIdleConnsPerHost: 64}}
	for range nodes {
		b.addrs = append(b.addrs, freePort(t))
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport: b,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "no node", http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() {
		server.Close()
		b.inner.CloseIdleConnections()
	})
	return b, server.URL
}

func (b *balancer) RoundTrip(r *http.Request) (response *http.Response, err error) {
	var body []byte
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for range b.addrs {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host = "http", b.addrs[int(b.turn.Add(1))%len(b.addrs)]
		out.Body = io.NopCloser(bytes.NewReader(body))
		response, err = b.inner.RoundTrip(out)
		var failed *net.OpError
		if err == nil || !errors.As(err, &failed) || failed.Op != "dial" {
			return response, err
		}
	}
	return nil, err
}

// An appUser is a browser and the application that its user signs in to, in one.
type appUser struct {
	nodeConfig
	name   string // whom the upstream lets in without a page
	client *http.Client
}

// user is one with a new browser.
func (c nodeConfig) user(name string, transport http.RoundTripper) *appUser {
	jar, _ := cookiejar.New(nil) // which is no error without options
	follow := func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), c.Client.RedirectURIs[0]) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &appUser{c, name, &http.Client{Jar: jar, Transport: transport, Timeout: 2 * time.Minute, CheckRedirect: follow}}
}

const appVerifier = "a-code-verifier-of-the-tests-which-is-long-enough"

// begin is where the browser is sent by the application.
func (u *appUser) begin(scope string) string {
	return u.Base + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {u.Client.ID}, "redirect_uri": u.Client.RedirectURIs, "scope": {scope}, "state": {"state"},
		"code_challenge_method": {"S256"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(appVerifier)}, "login_hint": {u.name},
	}.Encode()
}

// code signs in and returns the code. Why it failed is an error.
func (u *appUser) code(ctx context.Context, scope string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.begin(scope), nil)
	if err != nil {
		return "", err
	}
	response, err := u.client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	to, err := response.Location()
	if err != nil {
		return "", fmt.Errorf("%s: status %d: %.300s", response.Request.URL.Path, response.StatusCode, text)
	}
	if to.Query().Get("code") == "" {
		return "", fmt.Errorf("the application got %s", to)
	}
	return to.Query().Get("code"), nil
}

// An answer is what the token endpoint says, or that it says nothing.
type answer struct {
	status  int    // 0 if nobody has answered
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`
}

// clear reports whether it says what became of the request.
func (a answer) clear() bool { return a.status == http.StatusOK || a.status >= 400 && a.status < 500 }

func (u *appUser) token(ctx context.Context, form url.Values) (a answer) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.Base+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return a
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(u.Client.ID, string(u.Client.Secrets[0]))
	response, err := u.client.Do(r)
	if err != nil {
		return a
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil && response.StatusCode == http.StatusOK {
		return answer{} // it was cut off
	}
	a.status = response.StatusCode
	return a
}

func (u *appUser) redeem(ctx context.Context, code string) answer {
	return u.token(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": u.Client.RedirectURIs, "code_verifier": {appVerifier},
	})
}

func (u *appUser) refresh(ctx context.Context, token string) answer {
	return u.token(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}
