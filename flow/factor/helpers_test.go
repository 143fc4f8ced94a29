package factor_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

const (
	right = "correct horse battery"
	wrong = "incorrect horse"
)

// quick makes hashes that are cheap: what is tested is not what they cost.
func quick() *factor.Passwords { return &factor.Passwords{Memory: 8, Time: 1, AtOnce: 64} }

// A world is a broker's credentials and a clock.
type world struct {
	*factor.Local
	store *memstore.Store
	mu    sync.Mutex
	now   time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{store: memstore.New(), now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)}
	w.store.Now = w.clock
	w.Local = &factor.Local{Credentials: w.store, Transient: w.store, Passwords: quick(), Now: w.clock}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) lent() flow.Lent {
	return flow.Lent{Credentials: w.store, Transient: w.store, Passwords: w.Passwords}
}

// user makes a user with the password right.
func (w *world) user(t testing.TB, id string) *store.User {
	t.Helper()
	u := &store.User{ID: id, Username: id, Email: id + "@example.com"}
	if err := w.store.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	w.setPassword(t, id, right, false)
	return u
}

func (w *world) setPassword(t testing.TB, id, password string, temporary bool) {
	t.Helper()
	hash, err := w.Passwords.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(t.Context(), id, hash, temporary); err != nil {
		t.Fatal(err)
	}
}

// totp enrols the user and returns what makes their codes.
func (w *world) totp(t testing.TB, id string) func() string {
	t.Helper()
	e := factor.NewEnrolment("Example", id)
	code := func() string { return codeAt(t, e.Text, w.clock()) }
	if err := w.EnrolTOTP(t.Context(), id, "phone", e.Seed, code()); err != nil {
		t.Fatal(err)
	}
	return code
}

func (w *world) credential(t testing.TB, id string, kind store.CredentialKind) *store.Credential {
	t.Helper()
	all, err := w.store.CredentialsOf(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Kind == kind {
			return c
		}
	}
	t.Fatalf("%s has no %s", id, kind)
	return nil
}

func (w *world) try(t testing.TB, a factor.Attempt, password string) error {
	t.Helper()
	_, err := w.VerifyPassword(t.Context(), a, password)
	return err
}

func want(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// race calls f n times at once and returns how often it returned nil; every other result must be one of allowed.
func race(t testing.TB, n int, f func() error, allowed ...error) (won int) {
	t.Helper()
	results := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f()
		})
	}
	close(start)
	wg.Wait()
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !isAny(err, allowed):
			t.Errorf("a racing caller got %v", err)
		}
	}
	return won
}

func isAny(err error, of []error) bool {
	for _, target := range of {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// broken is a store that fails.
type broken struct{ memstore.Store }

var errBroken = errors.New("the store is down")

func (*broken) CredentialsOf(context.Context, string) ([]*store.Credential, error) {
	return nil, errBroken
}

func (*broken) Add(context.Context, string, string, []byte, time.Time) error { return errBroken }
