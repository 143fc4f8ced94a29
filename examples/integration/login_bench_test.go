package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
)

// What a brokered login costs the broker's process: upstream, browser and application live in a child process, so that
// the CPU time of this one is the broker's alone. A login is what an application's user causes: the authentication
// request, the callback (with the code exchange and the check of the upstream's RS256 ID token), and the token request
// (with an RS256 ID token and an ES256 access token).
//
// The floor is the least program that could do it: the same three requests served, the same one sent, the same token
// checked, the same two signatures, nothing stored and nothing else checked.

const driverEnv = "IDBROKER_BENCH_DRIVER"

func TestMain(m *testing.M) {
	if os.Getenv(driverEnv) != "" {
		if err := drive(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench driver:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(nodeEnv) != "" {
		if err := serveNode(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := stopSharedPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = 1
	}
	os.Exit(code)
}

// BenchmarkLogin reports CPU time, allocations, SQL statements and commits a login, what the database's own processes need,
// bytes written, and the ratio of the CPU time to the floor's in the same run. Run it with -benchtime 2000x or more:
//
//	go test ./integration -run '^$' -bench Login -benchtime 4000x
//
// The user of a returning login is one of a thousand, or of as many as IDBROKER_BENCH_USERS says: what a login costs must
// not depend on it.
func BenchmarkLogin(b *testing.B) {
	var floor float64
	b.Run("floor", func(b *testing.B) {
		d := startDriver(b)
		f := newFloor(b, d.upstream)
		floor = d.measure(b, f.URL, load{"returning", 1, 1}, &benchStore{})
	})
	for _, open := range []struct {
		name string
		open func(testing.TB) *benchStore
	}{
		{"memstore", benchMemory}, {"sqlite", benchSQLite("NORMAL")}, {"sqlite-full", benchSQLite("FULL")}, {"postgres", benchPostgres},
	} {
		for _, l := range loads(b) {
			b.Run(fmt.Sprintf("%s/%s/%d-at-once/of-%d", open.name, l.kind, l.atOnce, l.users), func(b *testing.B) {
				d, s := startDriver(b), open.open(b)
				s.fill(b, l.users, d.upstream)
				cpu := d.measure(b, serveBroker(b, s.store, d.upstream), l, s)
				if floor > 0 {
					b.ReportMetric(cpu/floor, "x-floor")
				}
			})
		}
	}
}

// A load is how logins come: of users who were there before or are new, how many at once, and how many there are.
type load struct {
	kind          string
	atOnce, users int
}

func loads(b *testing.B) []load {
	b.Helper()
	list := []load{{"new", 1, 1000}, {"returning", 1, 1000}, {"returning", 8, 1000}, {"returning", 32, 1000}}
	if many := os.Getenv("IDBROKER_BENCH_USERS"); many != "" {
		n, err := strconv.Atoi(many)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, load{"returning", 1, n}, load{"returning", 8, n})
	}
	return list
}

const (
	benchClient = "bench"
	benchSecret = "a-secret-for-the-benchmark"
	benchReturn = "https://app.example/callback"
)

func serveBroker(b *testing.B, s store.Store, upstream string, others ...broker.Provider) string {
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	idp, err := oidc.New(oidc.Config{
		Issuer: upstream, ClientID: benchClient, ClientSecret: benchSecret, DisableUserInfo: true,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	br, err := broker.New(broker.Config{
		BaseURL: base, Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}, Store: s,
		Providers:       append(others, broker.Provider{Alias: "up", IdP: idp}),
		DefaultProvider: "up",
		Clients:         []store.Client{{ID: benchClient, Secrets: [][]byte{[]byte(benchSecret)}, RedirectURIs: []string{benchReturn}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	server.Config.Handler = br
	server.Start()
	b.Cleanup(server.Close)
	return base
}

// newFloor serves the least possible broker.
func newFloor(b *testing.B, upstream string) *httptest.Server {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	key := upstreamKey(b, upstream)
	client := &http.Client{}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	b.Cleanup(server.Close)
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		nonce := rand.Text()
		http.SetCookie(w, &http.Cookie{Name: "login", Value: nonce})
		to := url.Values{"state": {rand.Text()}, "nonce": {nonce}, "redirect_uri": {server.URL + "/broker/up/endpoint"}}
		http.Redirect(w, r, upstream+"/authorize?"+to.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /broker/up/endpoint", func(w http.ResponseWriter, r *http.Request) {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {r.FormValue("code")}}
		response, err := client.PostForm(upstream+"/token", form)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		var tokens struct {
			IDToken string `json:"id_token"`
		}
		if err := json.NewDecoder(response.Body).Decode(&tokens); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		parsed, err := jwt.Parse(tokens.IDToken, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{"RS256"}))
		if err != nil || !parsed.Valid {
			http.Error(w, "bad ID token", http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, benchReturn+"?code="+rand.Text(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		claims := jwt.MapClaims{"iss": server.URL, "sub": "s", "aud": benchClient, "exp": 1 << 40, "iat": 1, "nonce": r.FormValue("code")}
		id, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(rsaKey)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		access, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(ecKey)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": access, "id_token": id, "token_type": "Bearer"})
	})
	return server
}

func upstreamKey(b *testing.B, upstream string) crypto.PublicKey {
	response, err := http.Get(upstream + "/jwks")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	var set struct{ Keys []struct{ N, E string } }
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		b.Fatal(err)
	}
	n, err := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	if err != nil {
		b.Fatal(err)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
}

// A benchDriver is the child process.
type benchDriver struct {
	upstream string // issuer of the upstream in it
	in       io.Writer
	out      *bufio.Scanner
}

func startDriver(b *testing.B) *benchDriver {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), driverEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && b.Context().Err() == nil {
			b.Error(err)
		}
	})
	d := &benchDriver{in: in, out: bufio.NewScanner(out)}
	d.upstream = d.line(b)
	return d
}

func (d *benchDriver) line(b *testing.B) string {
	b.Helper()
	if !d.out.Scan() {
		b.Fatalf("the driver stopped: %v", d.out.Err())
	}
	return d.out.Text()
}

func (d *benchDriver) run(b *testing.B, base string, l load, n int) {
	b.Helper()
	fmt.Fprintln(d.in, base, l.kind, l.atOnce, l.users, n)
	if got := d.line(b); got != "done" {
		b.Fatal(got)
	}
}

// measure has b.N logins made and reports what they cost this process and that of the database.
func (d *benchDriver) measure(b *testing.B, base string, l load, s *benchStore) float64 {
	b.Helper()
	d.run(b, base, l, 20*l.atOnce) // keys, discovery, connections and what is prepared on each
	b.ReportAllocs()
	s.counts.reset()
	var databaseCPU, written int64
	if s.cpu != nil {
		databaseCPU = s.cpu(b)
	}
	if s.written != nil {
		written = s.written(b)
	}
	b.ResetTimer()
	before := cpuTime(b)
	d.run(b, base, l, b.N)
	cpu := float64(cpuTime(b)-before) / float64(b.N)
	b.StopTimer()
	b.ReportMetric(cpu/1e3, "cpu-µs/login")
	if s.cpu != nil {
		b.ReportMetric(float64(s.cpu(b)-databaseCPU)/1e3/float64(b.N), "database-cpu-µs/login")
	}
	if s.written != nil {
		b.ReportMetric(float64(s.written(b)-written)/float64(b.N), "written-B/login")
	}
	if n := s.counts.statements.Load(); n > 0 {
		b.ReportMetric(float64(n)/float64(b.N), "statements/login")
		b.ReportMetric(float64(s.counts.writes.Load())/float64(b.N), "commits/login")
	}
	return cpu
}

// cpuTime returns the CPU time of this process so far, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// drive is the child process: it serves an upstream, prints its issuer, and for each line "base kind atOnce users n" makes n logins.
func drive(in io.Reader, out io.Writer) error {
	u, err := newBenchUpstream()
	if err != nil {
		return err
	}
	defer u.server.Close()
	fmt.Fprintln(out, u.server.URL)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var base string
		var l load
		var n int64
		if _, err := fmt.Sscan(lines.Text(), &base, &l.kind, &l.atOnce, &l.users, &n); err != nil {
			return err
		}
		var answer atomic.Value
		answer.Store("done")
		var left atomic.Int64
		left.Store(n)
		var done sync.WaitGroup
		for range l.atOnce {
			done.Go(func() {
				for left.Add(-1) >= 0 {
					if err := u.login(base, l); err != nil {
						answer.Store(err.Error())
						return
					}
				}
			})
		}
		done.Wait()
		fmt.Fprintln(out, strings.ReplaceAll(answer.Load().(string), "\n", " "))
	}
	return lines.Err()
}

// benchUpstream is an OpenID Provider whose users never see a page, and a browser and an application in one.
type benchUpstream struct {
	server *httptest.Server
	key    *rsa.PrivateKey
	client *http.Client

	mu     sync.Mutex
	nonces map[string]string // by code
	names  map[string]string // by code
	serial int
}

func newBenchUpstream() (*benchUpstream, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	u := &benchUpstream{key: key, nonces: map[string]string{}, names: map[string]string{}}
	u.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	mux := http.NewServeMux()
	u.server = httptest.NewServer(mux)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": u.server.URL, "authorization_endpoint": u.server.URL + "/authorize", "token_endpoint": u.server.URL + "/token",
			"jwks_uri": u.server.URL + "/jwks", "id_token_signing_alg_values_supported": []string{"RS256"},
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "e": "AQAB",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		}}})
	})
	mux.HandleFunc("POST /token", u.token)
	return u, nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (u *benchUpstream) token(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("code")
	u.mu.Lock()
	nonce, sub := u.nonces[code], u.names[code]
	delete(u.nonces, code)
	delete(u.names, code)
	u.mu.Unlock()
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": u.server.URL, "sub": sub, "aud": benchClient, "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(), "nonce": nonce,
		"preferred_username": sub, "email": sub + "@example.com", "email_verified": true, "name": "Some One",
		"given_name": "Some", "family_name": "One", "locale": "en", "auth_time": now.Unix(),
	})
	t.Header["kid"] = "1"
	raw, err := t.SignedString(u.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60, "id_token": raw})
}

// login signs a new browser in and redeems the code.
func (u *benchUpstream) login(base string, l load) error {
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	start, err := u.client.Get(base + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {benchClient}, "redirect_uri": {benchReturn}, "scope": {"openid profile email"},
		"state": {rand.Text()}, "nonce": {rand.Text()}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}.Encode())
	if err != nil {
		return err
	}
	asked, err := location(start)
	if err != nil {
		return err
	}
	code := rand.Text()
	u.mu.Lock()
	u.serial++
	name := fmt.Sprint("new-", u.serial)
	if l.kind == "returning" {
		name = fmt.Sprint("user-", 1+u.serial*7919%l.users) // no two of those at once
	}
	u.nonces[code], u.names[code] = asked.Query().Get("nonce"), name
	u.mu.Unlock()
	back := url.Values{"code": {code}, "state": {asked.Query().Get("state")}}
	r, err := http.NewRequest(http.MethodGet, asked.Query().Get("redirect_uri")+"?"+back.Encode(), nil)
	if err != nil {
		return err
	}
	for _, c := range start.Cookies() {
		r.AddCookie(c)
	}
	returned, err := u.client.Do(r)
	if err != nil {
		return err
	}
	landed, err := location(returned)
	if err != nil {
		return err
	}
	return u.redeem(base, landed.Query().Get("code"), verifier)
}

func (u *benchUpstream) redeem(base, code, verifier string) error {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, base+"/token", strings.NewReader(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {benchReturn}, "code_verifier": {verifier},
	}.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(benchClient, benchSecret)
	response, err := u.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var tokens struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&tokens); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || tokens.IDToken == "" {
		return fmt.Errorf("token request: status %d", response.StatusCode)
	}
	return nil
}

func location(r *http.Response) (*url.URL, error) {
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("%s: status %d: %.300s", r.Request.URL.Path, r.StatusCode, body)
	}
	return r.Location()
}
