package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/redisstore"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// prefixes keep what one test writes from the others that use the same server.
var prefixes atomic.Int64

// overRedis is a whole store with sessions and transient values in Redis and the rest in memory, of one clock.
func overRedis(d redisstore.Doer) (p store.Parts, fast *redisstore.Store, advance func(time.Duration)) {
	now := time.Now()
	clock := func() time.Time { return now }
	rest := memstore.New()
	fast = redisstore.New(d)
	fast.Prefix = fmt.Sprintf("test%d:", prefixes.Add(1))
	rest.Now, fast.Now = clock, clock
	fast.Timeout = time.Minute // on a busy machine
	p = store.Parts{Users: rest, Links: rest, Sessions: fast, Grants: rest, Transient: fast, Keyring: rest}
	return p, fast, func(d time.Duration) { now = now.Add(d) }
}

func TestRedis(t *testing.T) {
	t.Parallel()
	c := startRedis(t).client(t)
	storetest.Run(t, func(testing.TB) (store.Store, func(time.Duration)) {
		p, _, advance := overRedis(goRedis(c))
		return p, advance
	})
}

// Other clients give strings as bytes, as redigo does.
func TestRedisRepliesInBytes(t *testing.T) {
	t.Parallel()
	c := goRedis(startRedis(t).client(t))
	storetest.Run(t, func(testing.TB) (store.Store, func(time.Duration)) {
		p, _, advance := overRedis(redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
			for _, a := range args {
				if _, ok := a.(string); !ok {
					return nil, fmt.Errorf("argument %v is %T, not a string", a, a)
				}
			}
			reply, err := c.Do(ctx, args...)
			switch r := reply.(type) {
			case string:
				return []byte(r), err
			case []any:
				for i := range r {
					r[i] = []byte(r[i].(string))
				}
			}
			return reply, err
		}))
		return p, advance
	})
}

// A cluster of three serves every command and script, which are of one hash slot each.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := startRedisCluster(t, 3)
	storetest.Run(t, func(testing.TB) (store.Store, func(time.Duration)) {
		p, _, advance := overRedis(goRedis(c))
		return p, advance
	})
}

func startRedisCluster(t testing.TB, nodes int) *redis.ClusterClient {
	t.Helper()
	ctx := t.Context()
	var clients []*redis.Client
	var first []any // host, port and bus of the node that the others meet
	for i := range nodes {
		_, bus, _ := strings.Cut(freePort(t), ":")
		r := startRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus)
		c := r.client(t)
		if err := c.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*16384/nodes, (i+1)*16384/nodes-1).Err(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			host, port, _ := strings.Cut(r.addr, ":")
			first = []any{"CLUSTER", "MEET", host, port, bus}
		} else if err := c.Do(ctx, first...).Err(); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	var addrs []string
	for _, c := range clients {
		addrs = append(addrs, c.Options().Addr)
		eventually(t, func() bool {
			info, err := c.ClusterInfo(ctx).Result()
			shards, err2 := c.ClusterShards(ctx).Result()
			return err == nil && err2 == nil && strings.Contains(info, "cluster_state:ok") && len(shards) == nodes
		})
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// eventually waits for something that others do.
func eventually(t testing.TB, what func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), peerStart)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !what() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not happen")
		case <-tick.C:
		}
	}
}

// What is switched off is off by every way in, where sessions and marks are in Redis.
func TestRedisKillSwitch(t *testing.T) {
	t.Parallel()
	c := startRedis(t).client(t)
	brokertest.KillSwitch(t, func(t testing.TB) store.Store {
		fast := redisstore.New(goRedis(c))
		fast.Prefix = fmt.Sprintf("test%d:", prefixes.Add(1))
		rest := sqlstore.New(openSQLite(t, newFile(t)+pragmas))
		return store.Parts{Users: rest, Links: rest, Sessions: fast, Grants: rest, Transient: fast, Keyring: rest}
	})
}

// Everything has a time to live, and what has expired for long leaves the sets.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := startRedis(t).client(t)
	_, s, advance := overRedis(goRedis(c))
	session := func(id string, end time.Duration) *store.Session {
		return &store.Session{ID: id, UserID: "u", Upstream: store.LinkKey{Provider: "p", Subject: "s"}, UpstreamSession: "x",
			ExpiresAt: s.Now().Add(end)}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.CreateSession(ctx, session("short", time.Minute)))
	must(s.CreateSession(ctx, session("long", time.Hour)))
	must(s.Put(ctx, "p", "put", nil, s.Now().Add(time.Hour)))
	must(s.Add(ctx, "p", "added", nil, s.Now().Add(time.Hour)))
	keys, err := c.Keys(ctx, "*").Result()
	must(err)
	if len(keys) != 8 { // two sessions, two values, and sets by user, provider, subject and upstream session
		t.Errorf("keys: got %q, want 8", keys)
	}
	for _, key := range keys {
		ttl, err := c.PTTL(ctx, key).Result()
		must(err)
		if longest := time.Hour + 2*time.Minute; ttl <= 0 || ttl > longest {
			t.Errorf("%q lives for %v, want at most %v", key, ttl, longest)
		}
		if strings.Contains(key, ":s:short") && ttl > 3*time.Minute {
			t.Errorf("%q lives for %v, want little more than a minute", key, ttl)
		}
	}
	advance(3 * time.Minute)
	must(s.CreateSession(ctx, session("new", time.Hour)))
	for _, key := range keys {
		if kind, _ := c.Type(ctx, key).Result(); kind != "zset" {
			continue
		}
		ids, err := c.ZRange(ctx, key, 0, -1).Result()
		must(err)
		if got := strings.Join(ids, " "); got != "long new" {
			t.Errorf("set %q has %q, want the two that have not expired", key, got)
		}
	}
	must(s.DeleteSession(ctx, "long"))
	must(s.DeleteSession(ctx, "new"))
	if left, err := c.Keys(ctx, "*").Result(); err != nil || len(left) != 3 {
		t.Errorf("after all sessions were signed out: got %q, %v, want the short one and two values", left, err)
	}
}

// A full Redis that evicts nothing fails the write, and what is there stays.
func TestRedisFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := startRedis(t).client(t)
	_, s, _ := overRedis(goRedis(c))
	end := s.Now().Add(time.Hour)
	if err := s.Add(ctx, "p", "mark", nil, end); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Put":           s.Put(ctx, "p", "k", nil, end),
		"Add":           s.Add(ctx, "p", "k", nil, end),
		"CreateSession": s.CreateSession(ctx, &store.Session{ID: "s", UserID: "u", ExpiresAt: end}),
	} {
		if err == nil || !strings.Contains(err.Error(), "OOM") || errors.Is(err, store.ErrExists) {
			t.Errorf("%s in a full Redis: got error %v, want that of Redis", what, err)
		}
	}
	if _, err := s.Take(ctx, "p", "mark"); err != nil {
		t.Errorf("Take of what was there: %v", err)
	}
}

// A redisBroker is a broker with sessions and marks in Redis, and everything else in SQLite.
type redisBroker struct {
	redis *redisServer
	rest  *sqlstore.Store
	srv   *brokertest.Server
}

const redisUsers = 16

func startRedisBroker(t *testing.T, settings ...string) *redisBroker {
	t.Helper()
	b := &redisBroker{redis: startRedis(t, settings...), rest: sqlstore.New(openSQLite(t, newFile(t)+pragmas))}
	fast := redisstore.New(goRedis(b.redis.client(t)))
	var users []providertest.User
	for i := range redisUsers {
		name := fmt.Sprint("user", i)
		users = append(users, providertest.User{Subject: name, Username: name, Email: name + "@example.com", EmailVerified: true, Name: name})
	}
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "user0", AlwaysAsk: true, Users: users})
	b.srv = brokertest.Start(t, func(base string) broker.Config {
		client := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
		idp, err := oidc.New(oidc.Config{
			Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, ForwardLoginHint: true,
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			Store:     store.Parts{Users: b.rest, Links: b.rest, Sessions: fast, Grants: b.rest, Transient: fast, Keyring: b.rest},
			Providers: []broker.Provider{{Alias: "demo", IdP: idp}},
		}
	})
	return b
}

// enter signs a user in, or opens the application if they are.
func (b *redisBroker) enter(browser *brokertest.Browser, name string) *brokertest.Page {
	if page := browser.Get(b.srv.Origin + "/api"); page.Status != http.StatusOK || page.URL.Path == "/api" {
		return page
	}
	return browser.Get(b.srv.URL + "/login?idp_hint=demo&return_to=/api&login_hint=" + name)
}

// A Redis that is gone is an error at once, and one that is back without what it knew has people sign in again as who they were.
func TestRedisLosesEverything(t *testing.T) {
	t.Parallel()
	b := startRedisBroker(t)
	browser, atUpstream := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	page := b.enter(browser, "user1")
	if page.Status != http.StatusOK {
		t.Fatalf("login: status %d at %s", page.Status, page.URL)
	}
	who := page.Who()
	atUpstream.Stop()
	toUpstream := atUpstream.Get(b.srv.URL + "/login?idp_hint=demo&return_to=/api&login_hint=user2").Header.Get("Location")
	callback := atUpstream.Get(toUpstream).Header.Get("Location")

	b.redis.kill()
	start := time.Now()
	if page := browser.Get(b.srv.Origin + "/api"); page.Status != http.StatusServiceUnavailable {
		t.Errorf("the application without Redis: status %d, want %d", page.Status, http.StatusServiceUnavailable)
	}
	if page := browser.Get(b.srv.URL + "/login"); page.Status < 500 || !strings.Contains(page.Body, "<html") {
		t.Errorf("the login page without Redis: status %d, want a page that says that something is wrong:\n%s", page.Status, page.Body)
	}
	if err := b.srv.Broker.Ready(t.Context()); err == nil {
		t.Error("Ready() = nil without Redis, want an error")
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("three answers without Redis took %v", took)
	}

	b.redis.start(t)
	eventually(t, func() bool { return b.srv.Broker.Ready(t.Context()) == nil })
	// Who was at the upstream meanwhile comes back to a login that needs nothing but what the browser has.
	back := atUpstream.Get(callback)
	if back.Status != http.StatusSeeOther && back.Status != http.StatusFound {
		t.Fatalf("back from the upstream: status %d, want a redirect:\n%s", back.Status, back.Body)
	}
	if page := atUpstream.Get(b.srv.Origin + "/api"); page.Status != http.StatusOK || page.Who().Username != "user2" {
		t.Errorf("who was at the upstream meanwhile: status %d, %s", page.Status, page.Body)
	}
	page = browser.Get(b.srv.Origin + "/api")
	if page.Status == http.StatusOK && page.URL.Path == "/api" || page.Status >= 500 {
		t.Errorf("with the session that is gone: status %d at %s, want the way to the login", page.Status, page.URL)
	}
	page = b.enter(browser, "user1")
	if page.Status != http.StatusOK {
		t.Fatalf("login again: status %d at %s", page.Status, page.URL)
	}
	if again := page.Who(); again.ID != who.ID || again.Session == who.Session {
		t.Errorf("after the login again: got %+v, want the same user as %+v in another session", again, who)
	}
}

// With appendonly and appendfsync always nothing is undone: who is signed in stays it, what was taken stays taken, and a mark
// stays set.
func TestRedisKeepsEverything(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := startRedisBroker(t, "--appendonly", "yes", "--appendfsync", "always")
	in, out := brokertest.NewBrowser(t), brokertest.NewBrowser(t)
	who := b.enter(in, "user1").Who()
	gone := b.enter(out, "user2").Who()
	s := redisstore.New(goRedis(b.redis.client(t)))
	end := time.Now().Add(time.Hour)
	_, err := s.Take(ctx, "p", "none")
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(ctx, "p", "taken", nil, end), s.Add(ctx, "p", "mark", nil, end)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(ctx, "p", "taken"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, gone.Session); err != nil {
		t.Fatal(err)
	}
	b.redis.kill()
	b.redis.start(t)
	eventually(t, func() bool { return b.srv.Broker.Ready(ctx) == nil })
	if page := in.Get(b.srv.Origin + "/api"); page.Status != http.StatusOK || page.Who().Session != who.Session {
		t.Errorf("who was signed in: status %d, %s", page.Status, page.Body)
	}
	if _, err := s.Session(ctx, gone.Session); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("who was signed out: got error %v, want %v", err, store.ErrNotFound)
	}
	if _, err := s.Take(ctx, "p", "taken"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Take of what was taken: got error %v, want %v", err, store.ErrNotFound)
	}
	if err := s.Add(ctx, "p", "mark", nil, end); !errors.Is(err, store.ErrExists) {
		t.Errorf("Add of a mark that was set: got error %v, want %v", err, store.ErrExists)
	}
	found, err := s.FindSessions(ctx, store.SessionQuery{UserID: who.ID})
	if err != nil || len(found) != 1 {
		t.Errorf("FindSessions: got %d, %v, want 1", len(found), err)
	}
}

// People sign in and out while Redis dies and comes back empty, three times: nobody who was let in is lost, or there twice.
func TestRedisDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	b := startRedisBroker(t)
	var mu sync.Mutex
	known := map[string]string{} // username to id, of those who were let in
	var logins, refused atomic.Int64
	var people sync.WaitGroup
	stop := make(chan struct{})
	for i := range redisUsers {
		name := fmt.Sprint("user", i)
		people.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page := b.enter(brokertest.NewBrowser(t), name)
				if page.Status != http.StatusOK || page.URL.Path != "/api" { // an error, or signed out again at once
					refused.Add(1)
					continue
				}
				logins.Add(1)
				who := page.Who()
				mu.Lock()
				if id := known[name]; id != "" && id != who.ID || who.Username != name {
					t.Errorf("%s is %+v, and was %q before", name, who, id)
				}
				known[name] = who.ID
				mu.Unlock()
			}
		})
	}
	for range 3 {
		before := logins.Load()
		eventually(t, func() bool { return logins.Load() > before+2*redisUsers })
		b.redis.kill()
		missed := refused.Load()
		eventually(t, func() bool { return refused.Load() > missed })
		b.redis.start(t)
	}
	before := logins.Load()
	eventually(t, func() bool { return logins.Load() > before+2*redisUsers })
	close(stop)
	people.Wait()
	t.Logf("%d logins, %d refused", logins.Load(), refused.Load())
	for name := range known {
		page := b.enter(brokertest.NewBrowser(t), name)
		if page.Status != http.StatusOK || page.Who().ID != known[name] {
			t.Errorf("%s afterwards: status %d, %s", name, page.Status, page.Body)
		}
		users, err := b.rest.FindUsers(t.Context(), store.UserQuery{Username: name})
		if err != nil || len(users) != 1 || users[0].ID != known[name] {
			t.Errorf("users of the name %s: %v, %v, want the one", name, users, err)
		}
		if links, err := b.rest.LinksOf(t.Context(), known[name]); err != nil || len(links) != 1 {
			t.Errorf("links of %s: %d, %v, want 1", name, len(links), err)
		}
	}
}

// Wherever the process dies in a write, there is no session that its user's sessions do not have, and one that lives on stays
// among them.
func TestRedisNoSessionIsHidden(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := goRedis(startRedis(t).client(t))
	errDied := errors.New("died")
	left := -1 // commands until the process dies; less than 0 is never
	_, s, advance := overRedis(redisstore.DoFunc(func(ctx context.Context, args ...any) (any, error) {
		if left == 0 {
			return nil, errDied
		}
		left--
		return c.Do(ctx, args...)
	}))
	session := func(id, user string, end time.Duration) *store.Session {
		return &store.Session{ID: id, UserID: user, Upstream: store.LinkKey{Provider: "p", Subject: user}, ExpiresAt: s.Now().Add(end)}
	}
	hidden := func(id string) bool {
		left = -1
		n, err := s.Session(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []store.SessionQuery{{UserID: n.UserID}, {Provider: "p"}, {Provider: "p", Subject: n.UserID}} {
			found, err := s.FindSessions(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 {
				return true
			}
		}
		return false
	}
	for at := 0; ; at++ {
		id := fmt.Sprint("created", at)
		left = at
		err := s.CreateSession(ctx, session(id, id, time.Hour))
		if hidden(id) {
			t.Errorf("CreateSession that died at command %d: the session is not among its user's", at)
		}
		if err == nil {
			if err := s.DeleteSession(ctx, id); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for at := 0; ; at++ { // to another user, as when somebody else signs in
		n := session(fmt.Sprint("moved", at), fmt.Sprint("before", at), time.Hour)
		if err := s.CreateSession(ctx, n); err != nil {
			t.Fatal(err)
		}
		n.UserID, n.Upstream.Subject = fmt.Sprint("after", at), fmt.Sprint("after", at)
		left = at
		err := s.UpdateSession(ctx, n)
		if hidden(n.ID) {
			t.Errorf("UpdateSession that died at command %d: the session is not among its user's", at)
		}
		if err := s.DeleteSession(ctx, n.ID); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			break
		}
	}
	n := session("lives on", "u", time.Hour)
	if err := s.CreateSession(ctx, n); err != nil {
		t.Fatal(err)
	}
	sooner := *n
	sooner.Version, sooner.ExpiresAt = 7, s.Now().Add(time.Minute)
	if err := s.UpdateSession(ctx, &sooner); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("UpdateSession of another version: got error %v, want %v", err, store.ErrConflict)
	}
	advance(10 * time.Minute)
	other := session("other", "u", time.Hour)
	other.Upstream.Provider = "q"
	if err := s.CreateSession(ctx, other); err != nil {
		t.Fatal(err)
	}
	if found, err := s.FindSessions(ctx, store.SessionQuery{UserID: "u"}); err != nil || len(found) != 2 {
		t.Errorf("sessions of a user, one of which was to end sooner and does not: %d, %v, want 2", len(found), err)
	}
}

func BenchmarkRedisSession(b *testing.B) {
	s := redisstore.New(goRedis(startRedis(b).client(b)))
	if err := s.CreateSession(b.Context(), loginOf("id", time.Now().Add(time.Hour)).Session); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Session(b.Context(), "id"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedisTake(b *testing.B) {
	s := redisstore.New(goRedis(startRedis(b).client(b)))
	value, end := make([]byte, 200), time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Put(b.Context(), "p", "k", value, end); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Take(b.Context(), "p", "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedisCreateSession(b *testing.B) {
	s := redisstore.New(goRedis(startRedis(b).client(b)))
	end, i := time.Now().Add(time.Hour), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if err := s.CreateSession(b.Context(), loginOf(fmt.Sprint(i), end).Session); err != nil {
			b.Fatal(err)
		}
	}
}
