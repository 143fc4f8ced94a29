package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// newNode makes a broker without providers over a store.
func newNode(t testing.TB, s store.Store, log *slog.Logger) *broker.Broker {
	t.Helper()
	b, err := broker.New(broker.Config{
		BaseURL: "http://localhost/id", Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}, Store: s, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Three nodes keep one store: what has expired goes in small batches, keys are made, and all ends with ctx at once.
func TestRunKeepsTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := memstore.New()
		for i := range 3000 {
			if err := kept.Put(t.Context(), "test", fmt.Sprint(i), nil, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		sweeps := &sweeps{Store: kept}
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		for range 3 {
			b := newNode(t, sweeps, nil)
			ended.Go(func() {
				if err := b.Run(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Run() = %v", err)
				}
			})
		}
		time.Sleep(2 * time.Minute)
		if n, err := kept.Sweep(t.Context(), 1); n != 0 || err != nil {
			t.Errorf("something is left to be swept: %d, %v", n, err)
		}
		if keys, err := kept.Keys(t.Context()); len(keys) != 2 || err != nil {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		if sweeps.most != 500 || sweeps.moments < 6 || sweeps.moments > 30 {
			t.Errorf("up to %d swept at a time, at %d moments", sweeps.most, sweeps.moments)
		}
		before := time.Now()
		stop()
		ended.Wait() // and synctest says if a goroutine is left
		if took := time.Since(before); took != 0 {
			t.Errorf("Run ended %v after its context", took)
		}
	})
}

// sweeps is a store that counts at how many moments it was swept.
type sweeps struct {
	*memstore.Store
	mu      sync.Mutex
	last    time.Time
	moments int
	most    int
}

func (s *sweeps) Sweep(ctx context.Context, limit int) (int, error) {
	s.mu.Lock()
	if now := time.Now(); !now.Equal(s.last) {
		s.last, s.moments = now, s.moments+1
	}
	s.most = max(s.most, limit)
	s.mu.Unlock()
	return s.Store.Sweep(ctx, limit)
}

// What fails is tried again ever later, is logged, and keeps nothing else from being done.
func TestRunRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var mu sync.Mutex
		down := errors.New("the disk is full")
		var tries []time.Time
		spy := &spyStore{Store: memstore.New()}
		spy.hook = func(call string) error {
			mu.Lock()
			defer mu.Unlock()
			if call != "sweep" || len(tries) > 8 {
				return nil
			}
			tries = append(tries, time.Now())
			return down
		}
		b := newNode(t, spy, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		time.Sleep(time.Hour)
		stop()
		<-ended
		if len(tries) != 9 {
			t.Fatalf("%d tries", len(tries))
		}
		for i, want := range []time.Duration{5, 10, 20, 40, 60, 60, 60, 60} {
			want *= time.Second
			if got := tries[i+1].Sub(tries[i]); got < want || got > want*5/4 {
				t.Errorf("try %d came after %v, want %v and up to a quarter more", i+2, got, want)
			}
		}
		if n := strings.Count(log.String(), `level=ERROR msg="upkeep failed" job=sweep`); n != 9 || !strings.Contains(log.String(), down.Error()) {
			t.Errorf("%d errors logged:\n%s", n, log.String())
		}
		if keys, err := spy.Keys(t.Context()); len(keys) != 2 || err != nil {
			t.Errorf("meanwhile there are %d keys, %v", len(keys), err)
		}
	})
}

// Nobody calls Run: for half a year keys rotate all the same, and nothing that has expired is honoured.
func TestWithoutRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Keys.Sign = 30 * 24 * time.Hour })
	seen := map[string]bool{}
	b := brokertest.NewBrowser(t)
	for range 36 {
		before := w.enter(b, w.rp)
		seen[fmt.Sprint(part(t, before.IDToken, 0)["kid"])] = true
		if r := w.userInfo(before.AccessToken); r.StatusCode != http.StatusOK {
			t.Fatalf("userinfo: status %d", r.StatusCode)
		}
		w.advance(5 * 24 * time.Hour)
		if r := w.userInfo(before.AccessToken); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("an access token of five days ago: status %d", r.StatusCode)
		}
		if page := b.Get(w.Origin + "/"); !strings.Contains(page.URL.Path, "/login") {
			t.Errorf("a session of five days ago opens %s", page.URL)
		}
	}
	if len(seen) < 5 {
		t.Errorf("%d keys have signed", len(seen))
	}
	if keys, err := w.store.Keys(t.Context()); err != nil || len(keys) > 6 {
		t.Errorf("%d keys are kept, %v", len(keys), err)
	}
}

func (w *world) userInfo(accessToken string) *reply {
	w.t.Helper()
	return send(w.t, http.MethodGet, w.URL+"/userinfo", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+accessToken) })
}

func TestRotateKeys(t *testing.T) {
	t.Parallel()
	var config broker.Config
	w := newWorld(t, func(c *broker.Config) { config = *c })
	other, err := broker.New(config) // another node, which nobody tells
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := func(accessToken string) int {
		r := httptest.NewRequest(http.MethodGet, "/id/userinfo", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		answer := httptest.NewRecorder()
		other.ServeHTTP(answer, r)
		return answer.Code
	}
	b := brokertest.NewBrowser(t)
	stolen := w.enter(b, w.rp)
	if here, there := w.userInfo(stolen.AccessToken).StatusCode, elsewhere(stolen.AccessToken); here != 200 || there != 200 {
		t.Fatalf("before: status %d and %d", here, there)
	}
	if err := w.Broker.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := w.userInfo(stolen.AccessToken); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of a key that was withdrawn: status %d", r.StatusCode)
	}
	answer := httptest.NewRecorder()
	other.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/id/jwks", nil))
	for _, set := range []string{send(t, http.MethodGet, w.URL+"/jwks", nil, nil).text, answer.Body.String()} {
		if kid := fmt.Sprint(part(t, stolen.IDToken, 0)["kid"]); strings.Contains(set, kid) || strings.Count(set, `"kid"`) != 2 {
			t.Errorf("the key %s is published: %s", kid, set)
		}
	}
	w.rp.Connect(w.URL) // it fetches the keys again
	fresh := w.enter(b, w.rp)
	if fresh.Subject != stolen.Subject {
		t.Error("somebody else is signed in")
	}
	if here, there := w.userInfo(fresh.AccessToken).StatusCode, elsewhere(fresh.AccessToken); here != 200 || there != 200 {
		t.Errorf("a new token: status %d and %d", here, there)
	}
	w.advance(15 * time.Second)
	if got := elsewhere(stolen.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("a token of a key that was withdrawn, elsewhere: status %d", got)
	}
}

// Somebody may have had a look at the signing keys. One call on any node, and they are worth nothing.
func ExampleBroker_RotateKeys() {
	b, err := broker.New(broker.Config{
		BaseURL: "https://app.example/id",
		Secrets: [][]byte{[]byte("32 random bytes, the same on every node")},
		Store:   memstore.New(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	published := func() string {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/id/jwks", nil))
		return w.Body.String()
	}
	before := published()
	if err := b.RotateKeys(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(before == published())
	// Output: false
}

// Providers that have something to do are maintained at the start and each hour, whether they are in use or not; one that fails is
// named, tried again later, and keeps no other from it. What is disabled is left alone.
func TestRunMaintainsProviders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		well, ill, off := &maintained{}, &maintained{err: errors.New("it is down")}, &maintained{}
		b, err := broker.New(broker.Config{
			BaseURL: "http://localhost/id", Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}, Store: memstore.New(),
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Providers: []broker.Provider{
				{Alias: "well", IdP: well}, {Alias: "ill", IdP: ill}, {Alias: "off", IdP: off, Disabled: true},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		synctest.Wait()
		if well.calls.Load() != 1 || off.calls.Load() != 0 {
			t.Errorf("at the start: %d and %d calls", well.calls.Load(), off.calls.Load())
		}
		if !strings.Contains(log.String(), `provider \"ill\": it is down`) {
			t.Errorf("the log does not say what failed:\n%s", log.String())
		}
		ill.mend()
		time.Sleep(time.Minute)
		synctest.Wait()
		before := well.calls.Load()
		time.Sleep(10 * time.Hour)
		stop()
		<-ended
		if n := well.calls.Load() - before; n < 8 || n > 10 {
			t.Errorf("%d calls in ten hours", n)
		}
	})
}

// With the network down all providers fail, of which there may be thousands: a log gets a line that can be read.
func TestRunNamesSomeOfManyProviders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		var all []broker.Provider
		for i := range 200 {
			all = append(all, broker.Provider{Alias: fmt.Sprintf("p%03d", i), IdP: &maintained{err: errors.New("it is down")}})
		}
		b, err := broker.New(broker.Config{
			BaseURL: "http://localhost/id", Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}, Store: memstore.New(),
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Providers: all,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		synctest.Wait()
		stop()
		<-ended
		if text := log.String(); strings.Count(text, "it is down") != 10 || !strings.Contains(text, `provider \"p009\"`) || !strings.Contains(text, "and 190 more") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// maintained is an upstream that counts how often it is maintained.
type maintained struct {
	provider.IdentityProvider
	calls atomic.Int64
	mu    sync.Mutex
	err   error
}

func (m *maintained) Maintain(context.Context) error {
	m.calls.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *maintained) mend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = nil
}
