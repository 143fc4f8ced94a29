package integration

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

const (
	stormUsers  = 64
	stormLogins = 2400 // that are acknowledged
	stormGrace  = 10 * time.Second
	calm        = "before anything was killed"
)

// In the middle of 2,400 logins of 64 users at two nodes, each node, PostgreSQL and Redis are killed and started again, Redis
// without what it knew. Whoever fails tries again. Then everything that was acknowledged is accounted for.
func TestStorm(t *testing.T) {
	t.Parallel()
	var users []providertest.User
	for i := range stormUsers {
		name := fmt.Sprint("user", i)
		users = append(users, providertest.User{Subject: name, Username: name, Email: name + "@example.com", EmailVerified: true, GivenName: "U", FamilyName: name})
	}
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "user0", AlwaysAsk: true, Users: users})
	database, cache := startPostgres(t), startRedis(t)
	front, base := newBalancer(t, 2)
	s := &storm{nodeConfig: newNodeConfig(t, base, upstream, database.dsn(), cache.addr), failed: map[string]int{}, successors: map[string]string{}}
	s.during.Store(new(calm))
	var nodes []*node
	for _, addr := range front.addrs {
		n := &node{addr: addr}
		n.start(t, s.nodeConfig)
		nodes = append(nodes, n)
	}
	s.transport.MaxIdleConnsPerHost = stormUsers
	t.Cleanup(s.transport.CloseIdleConnections)

	restart := func(n *node) func() {
		return func() {
			n.kill()
			n.start(t, s.nodeConfig)
		}
	}
	events := []struct {
		name string
		do   func()
	}{
		{"a node was killed", restart(nodes[0])},
		{"PostgreSQL was killed", func() {
			database.kill(syscall.SIGKILL)
			waitFor(t, func() bool { return database.start(t.Context()) == nil }) // its children need a moment to notice
		}},
		{"Redis was killed", func() {
			cache.kill()
			s.lost.Add(1)
			cache.start(t)
		}},
		{"the other node was killed", restart(nodes[1])},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	s.stop = cancel
	start := time.Now()
	var done sync.WaitGroup
	for i := range stormUsers {
		done.Go(func() { s.live(ctx, fmt.Sprint("user", i)) })
	}
	for i, e := range events {
		for s.acknowledged.Load() < int64((i+1)*stormLogins/(len(events)+1)) && again(ctx) {
		}
		if ctx.Err() != nil {
			break
		}
		s.during.Store(&e.name)
		e.do()
	}
	done.Wait()
	took := time.Since(start)
	s.account(t, database)
	t.Logf("%d logins in %.1f s, each code tried again: %d redeemed, %d races for one, %d refused afterwards; %d refreshes, %d families ended by the rules; "+
		"requests that failed: %v", s.acknowledged.Load(), took.Seconds(), s.redeemed.Load(), s.races.Load(), s.refused.Load(), s.refreshed.Load(),
		s.ended.Load(), s.failed)
}

// A storm is everybody and what was acknowledged to them.
type storm struct {
	nodeConfig
	transport http.Transport
	during    atomic.Pointer[string] // what happened last
	lost      atomic.Int64           // how often Redis was
	stop      func()

	acknowledged, redeemed, races, refused, refreshed, ended atomic.Int64

	mu         sync.Mutex
	wrong      []string
	failed     map[string]int    // requests, by what had happened last
	logins     []*stormLogin     // acknowledged
	successors map[string]string // of refresh tokens
}

// A stormLogin is one that was acknowledged.
type stormLogin struct {
	user    *appUser
	code    string
	id      string
	refresh string // the newest; "" if nothing may come of it any more
	offline bool
	lost    int64 // how often Redis was when it began
	// unclear is since when it is not known whether the refresh token was exchanged, zero if it is.
	unclear  time.Time
	replayed bool
}

func (s *storm) mistake(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// fail counts a request that failed. Before anything was killed none may, and there is no use in going on.
func (s *storm) fail(what any) {
	during := *s.during.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed[during]++; during == calm && s.failed[during] == 1 {
		s.wrong = append(s.wrong, fmt.Sprintf("%s: %.500v", calm, what))
		s.stop()
	}
}

// again waits for a moment and reports whether there is time for another try.
func again(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// live signs one user in until everybody together has done so often enough.
func (s *storm) live(ctx context.Context, name string) {
	for n := 0; s.acknowledged.Load() < stormLogins && ctx.Err() == nil; n++ {
		l, err := s.login(ctx, name, n)
		if err != nil {
			s.fail(err)
			again(ctx)
			continue
		}
		s.acknowledged.Add(1)
		if n%4 == 1 || n%4 == 2 {
			for range 2 {
				s.renew(ctx, l)
			}
		} else {
			s.replay(ctx, l)
		}
		s.mu.Lock()
		s.logins = append(s.logins, l)
		s.mu.Unlock()
	}
}

// login signs a user in. An error says why it was not acknowledged. Each sixteenth code is redeemed twice at once.
func (s *storm) login(ctx context.Context, name string, n int) (*stormLogin, error) {
	l := &stormLogin{user: s.user(name, &s.transport), offline: n%4 == 1, lost: s.lost.Load()}
	scope := "openid email"
	if l.offline {
		scope += " offline_access"
	}
	var err error
	if l.code, err = l.user.code(ctx, scope); err != nil {
		return nil, err
	}
	answers := make([]answer, 1)
	if n%16 == 3 {
		answers = make([]answer, 2)
		s.races.Add(1)
	}
	var done sync.WaitGroup
	for i := range answers {
		done.Go(func() { answers[i] = l.user.redeem(ctx, l.code) })
	}
	done.Wait()
	if len(answers) == 1 && !answers[0].clear() {
		s.fail(answers[0])
		answers = append(answers, l.user.redeem(ctx, l.code)) // whether it was redeemed nobody knows
	}
	times := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			times++
			l.id, l.refresh = a.ID, a.Refresh
		}
	}
	if times > 1 {
		s.mistake("a code was redeemed %d times", times)
	}
	if times == 0 {
		return nil, fmt.Errorf("the code was not redeemed: %+v", answers)
	}
	s.redeemed.Add(1)
	return l, nil
}

// replay tries the code once more, until it hears what comes of it. That ends what was granted for it.
func (s *storm) replay(ctx context.Context, l *stormLogin) {
	for ctx.Err() == nil {
		a := l.user.redeem(ctx, l.code)
		if a.status == http.StatusOK {
			s.mistake("a code was redeemed once more")
		}
		if a.clear() {
			s.refused.Add(1)
			l.refresh, l.replayed = "", true
			return
		}
		s.fail(a)
		again(ctx)
	}
}

// renew exchanges the refresh token, until it hears what comes of it.
func (s *storm) renew(ctx context.Context, l *stormLogin) {
	for l.refresh != "" && ctx.Err() == nil {
		sent := time.Now()
		a := l.user.refresh(ctx, l.refresh)
		if !a.clear() {
			if l.unclear.IsZero() {
				l.unclear = sent
			}
			s.fail(a)
			again(ctx)
			continue
		}
		late := !l.unclear.IsZero() && time.Since(l.unclear) >= stormGrace
		if a.status != http.StatusOK {
			if !late && (l.offline || l.lost == s.lost.Load()) {
				s.mistake("a refresh token of %s is refused without a reason: %+v", l.user.name, a)
			}
			s.ended.Add(1)
			l.refresh = ""
			return
		}
		s.mu.Lock()
		if known := s.successors[l.refresh]; known != "" && known != a.Refresh {
			s.wrong = append(s.wrong, "a refresh token was good for two others")
		}
		s.successors[l.refresh] = a.Refresh
		s.mu.Unlock()
		s.refreshed.Add(1)
		l.refresh, l.id, l.unclear = a.Refresh, cmp.Or(a.ID, l.id), time.Time{}
		return
	}
}

// account wants all that was acknowledged to be there, once.
func (s *storm) account(t *testing.T, database *postgres) {
	t.Helper()
	ctx := t.Context()
	for _, l := range s.logins {
		s.renew(ctx, l)
		if !l.replayed {
			s.replay(ctx, l)
		}
	}
	db := openPostgres(t, database.dsn())
	ids := map[string]string{} // of users, by name
	rows, err := db.QueryContext(ctx, `SELECT u.id, u.username, l.subject FROM idbroker_users u JOIN idbroker_links l ON l.user_id = u.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, name, subject string
		if err := rows.Scan(&id, &name, &subject); err != nil {
			t.Fatal(err)
		}
		if ids[name] != "" || name != subject {
			t.Errorf("user %s is %s and %s, and is linked to %s", name, ids[name], id, subject)
		}
		ids[name] = id
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"users", "links"} {
		if n := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_`+what); n != stormUsers || len(ids) != stormUsers {
			t.Errorf("%d %s and %d that belong together, want %d", n, what, len(ids), stormUsers)
		}
	}
	issuer, err := gooidc.NewProvider(ctx, s.Base)
	if err != nil {
		t.Fatal(err)
	}
	verifier := issuer.Verifier(&gooidc.Config{ClientID: s.Client.ID, SkipExpiryCheck: true, SupportedSigningAlgs: []string{"ES256"}})
	each := map[string]int{}
	for _, l := range s.logins {
		id, err := verifier.Verify(ctx, l.id)
		if err != nil || id.Subject != ids[l.user.name] {
			t.Errorf("an acknowledged ID token of %s: %v, %+v, want the subject %s", l.user.name, err, id, ids[l.user.name])
		}
		each[l.user.name]++
	}
	if len(each) != stormUsers || len(s.logins) < stormLogins {
		t.Errorf("%d logins of %d users, want at least %d of %d", len(s.logins), len(each), stormLogins, stormUsers)
	}
	if len(s.wrong) > 0 {
		t.Errorf("%d mistakes, of these kinds:\n%s", len(s.wrong), strings.Join(slices.Compact(slices.Sorted(slices.Values(s.wrong))), "\n"))
	}
	if n := s.refused.Load(); n != s.redeemed.Load() {
		t.Errorf("%d codes were redeemed, and %d were refused when they came again", s.redeemed.Load(), n)
	}
}
