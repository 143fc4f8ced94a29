package factor_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

func TestPasswordsHash(t *testing.T) {
	t.Parallel()
	p := &factor.Passwords{}
	hash, err := p.Hash(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(string(hash), want) {
		t.Errorf("got %s, want %s…", hash, want)
	}
	if weak := p.Insecure(); len(weak) > 0 {
		t.Errorf("the zero value is insecure: %v", weak)
	}
	if weak := (&factor.Passwords{Memory: 8, MinLength: 4}).Insecure(); len(weak) != 2 {
		t.Errorf("got %v, want both weaknesses", weak)
	}
	again, err := p.Hash(t.Context(), right)
	if err != nil || string(again) == string(hash) {
		t.Errorf("the same hash twice (error %v): no salt", err)
	}
	for password, want := range map[string]bool{right: true, wrong: false, "": false, right + " ": false} {
		ok, better, err := p.Verify(t.Context(), hash, password)
		if ok != want || better != nil || err != nil {
			t.Errorf("Verify %q: got %t, %q, %v; want %t", password, ok, better, err, want)
		}
	}
}

// The vectors are of the reference implementation of argon2 and of PHP's password_hash.
func TestPasswordsVerifyOthers(t *testing.T) {
	t.Parallel()
	made, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	long, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("x", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p := quick()
	for _, row := range []struct {
		name, hash, password string
		better               bool
	}{
		{"argon2id", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
		{"bcrypt 2a", string(made), "password", true},
		{"bcrypt 2y", "$2y" + string(made[3:]), "password", true},
		{"bcrypt, more than it sees", string(long), strings.Repeat("x", 80), false},
	} {
		ok, better, err := p.Verify(t.Context(), []byte(row.hash), row.password)
		if !ok || err != nil || (better != nil) != row.better {
			t.Errorf("%s: got %t, %q, %v", row.name, ok, better, err)
		}
		if ok, better, err := p.Verify(t.Context(), []byte(row.hash), "passwore"); ok || better != nil || err != nil {
			t.Errorf("%s, wrong password: got %t, %q, %v", row.name, ok, better, err)
		}
		if better == nil {
			continue
		}
		if ok, again, err := p.Verify(t.Context(), better, row.password); !ok || again != nil || err != nil {
			t.Errorf("%s, hashed anew: got %t, %q, %v", row.name, ok, again, err)
		}
	}
}

// A hash that asks for too much, or is none, is an error that does not show it.
func TestPasswordsRefuseHashes(t *testing.T) {
	t.Parallel()
	const tail = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"plain", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1" + tail, "$argon2id$v=16$m=8,t=1,p=1" + tail,
		"$argon2id$v=19$m=4294967295,t=1,p=1" + tail, "$argon2id$v=19$m=8,t=1000,p=1" + tail, "$argon2id$v=19$m=8,t=0,p=1" + tail,
		"$argon2id$v=19$m=8,t=1,p=0" + tail, "$argon2id$v=19$m=8,t=1,p=255" + tail, "$argon2id$v=19$m=-8,t=1,p=1" + tail,
		"$argon2id$v=19$m=8,t=1,p=1$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$",
		"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + strings.Repeat("A", 1000), "$argon2id$v=19$m=8,t=1,p=1" + tail + "=",
		"$2a$31$" + strings.Repeat("a", 53), "$2a$10$short", "$2",
	} {
		ok, better, err := quick().Verify(t.Context(), []byte(hash), "password")
		if ok || better != nil || err == nil || strings.Contains(err.Error(), hash) {
			t.Errorf("%s: got %t, %q, %v; want an error", hash, ok, better, err)
		}
	}
}

func TestPasswordsRules(t *testing.T) {
	t.Parallel()
	p := quick()
	p.Breached = func(_ context.Context, password string) error {
		switch password {
		case "password1":
			return factor.PasswordBreached
		case "unlucky password":
			return errBroken
		}
		return nil
	}
	for _, row := range []struct {
		name, password string
		want           error
	}{
		{"plain", "12345678", nil},
		{"eight characters of three bytes", "あいうえおかきく", nil},
		{"seven of them", "あいうえおかき", factor.PasswordTooShort},
		{"eight that compose to four", "e\u0301e\u0301e\u0301e\u0301", factor.PasswordTooShort},
		{"empty", "", factor.PasswordTooShort},
		{"1 KiB", strings.Repeat("x", 1024), nil},
		{"more", strings.Repeat("x", 1025), factor.PasswordTooLong},
		{"control characters", "abcdefgh\x00", factor.PasswordNoText},
		{"no text", "abcdefgh\xff", factor.PasswordNoText},
		{"the name", "Ann-Miller", factor.PasswordIsName},
		{"the address", "ann@example.com", factor.PasswordIsName},
		{"breached", "password1", factor.PasswordBreached},
		{"nobody knows whether", "unlucky password", errBroken},
	} {
		hash, err := p.Hash(t.Context(), row.password, "ann-miller", "ann@example.com", "")
		if !errors.Is(err, row.want) || (hash == nil) != (row.want != nil) {
			t.Errorf("%s: got %s, %v; want %v", row.name, hash, err, row.want)
		}
	}
}

// What looks the same is the same, however a keyboard sends it; what does not look the same is not.
func TestPasswordsUnicode(t *testing.T) {
	t.Parallel()
	hash, err := quick().Hash(t.Context(), "Caf\u00e9\u00a0 \u2460\u2461\u2462")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{
		"Cafe\u0301  \u2460\u2461\u2462": true, "Cafe  \u2460\u2461\u2462": false, "caf\u00e9  \u2460\u2461\u2462": false,
		"Caf\u00e9  123": false, "Caf\u00e9  \u2460\u2461\u2462\x00": false,
	} {
		if ok, _, err := quick().Verify(t.Context(), hash, password); ok != want || err != nil {
			t.Errorf("%q: got %t, %v; want %t", password, ok, err, want)
		}
	}
}

// A flood of logins hashes no more at once than it may, and whoever leaves waits no longer.
func TestPasswordsAtOnce(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	p := &factor.Passwords{Memory: 8, Time: 1, AtOnce: 2}
	hash, err := p.Hash(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	counted := &factor.Passwords{Memory: 8, Time: 1, AtOnce: 2}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if ok, _, err := p.Verify(t.Context(), hash, right); !ok || err != nil {
				t.Errorf("got %t, %v", ok, err)
			}
			factor.CountWork(counted, func(start bool) {
				if !start {
					now.Add(-1)
					return
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
			})
		})
	}
	wg.Wait()
	if got := most.Load(); got < 1 || got > 2 {
		t.Errorf("%d at once, want at most 2", got)
	}

	held, free := make(chan struct{}), make(chan struct{})
	full := &factor.Passwords{Memory: 8, Time: 1, AtOnce: 1}
	wg.Go(func() {
		factor.CountWork(full, func(start bool) {
			if start {
				close(held)
				<-free
			}
		})
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := full.Verify(ctx, hash, right); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v from a full queue, want %v", err, context.Canceled)
	}
	// Nobody's password waits for the same work: its absence would be seen.
	if _, _, err := full.Verify(ctx, nil, right); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v for nobody from a full queue, want %v", err, context.Canceled)
	}
	close(free)
	wg.Wait()
}

func TestVerifyPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	if err := w.store.CreateUser(t.Context(), &store.User{ID: "none", Username: "none"}); err != nil {
		t.Fatal(err)
	}
	ann := factor.Attempt{UserID: "ann"}
	want(t, "right", w.try(t, ann, right), nil)
	want(t, "wrong", w.try(t, ann, wrong), factor.ErrRefused)
	want(t, "empty", w.try(t, ann, ""), factor.ErrRefused)
	want(t, "user without a password", w.try(t, factor.Attempt{UserID: "none"}, right), factor.ErrRefused)
	want(t, "nobody", w.try(t, factor.Attempt{Name: "nobody"}, right), factor.ErrRefused)
	if got := w.credential(t, "ann", store.CredentialPassword).LastUsed; !got.Equal(w.now) {
		t.Errorf("last used %v, want %v", got, w.now)
	}

	w.setPassword(t, "ann", "another password", true)
	want(t, "the old one", w.try(t, ann, right), factor.ErrRefused)
	temporary, err := w.VerifyPassword(t.Context(), ann, "another password")
	if !temporary || err != nil {
		t.Errorf("got %t, %v; want a temporary password", temporary, err)
	}

	w.Local.Credentials = &broken{}
	want(t, "store down", w.try(t, ann, "another password"), errBroken)
	w.Local.Credentials, w.Local.Transient = w.store, &broken{}
	want(t, "store for limits down", w.try(t, ann, "another password"), errBroken)
}

// A password that is set anew is told from the one before by when it was made, also where two clocks, or one that stands still, say
// otherwise: who was let in by the former one depends on it.
func TestSetPasswordIsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	last := w.credential(t, "ann", store.CredentialPassword).CreatedAt
	for _, d := range []time.Duration{0, 0, -time.Hour, time.Hour + time.Second} {
		w.pass(d)
		w.setPassword(t, "ann", right, false)
		made := w.credential(t, "ann", store.CredentialPassword).CreatedAt
		if made.UnixMicro() <= last.UnixMicro() {
			t.Errorf("%v later: made at %v, the one before at %v", d, made, last)
		}
		last = made
	}
	if !last.Equal(w.now) {
		t.Errorf("made at %v, want now: %v", last, w.now)
	}
}

// What was made with other parameters is made anew at the next success, and only then.
func TestVerifyPasswordRehash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	before := w.credential(t, "ann", store.CredentialPassword).Secret
	w.Passwords = &factor.Passwords{Memory: 16, Time: 1, MinLength: 100}
	want(t, "wrong", w.try(t, factor.Attempt{UserID: "ann"}, wrong), factor.ErrRefused)
	if got := w.credential(t, "ann", store.CredentialPassword).Secret; string(got) != string(before) {
		t.Fatalf("hash became %s without success", got)
	}
	want(t, "right", w.try(t, factor.Attempt{UserID: "ann"}, right), nil)
	if got := w.credential(t, "ann", store.CredentialPassword).Secret; !strings.Contains(string(got), "$m=16,t=1,p=1$") {
		t.Errorf("hash is %s, want the new parameters", got)
	}
	want(t, "right again", w.try(t, factor.Attempt{UserID: "ann"}, right), nil)
}

// Nobody, somebody without a password, and somebody who is locked cost as much work as a wrong password.
func TestVerifyPasswordSameWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	count := &counting{Passwords: w.Passwords}
	w.Passwords = count
	for i := range 8 {
		for _, a := range []factor.Attempt{{UserID: "ann"}, {Name: "nobody"}, {UserID: "without"}} {
			count.verified.Store(0)
			password := wrong
			if i > 5 {
				password = right // which is no better while it is locked
			}
			want(t, "try", w.try(t, a, password), factor.ErrRefused)
			if got := count.verified.Load(); got != 1 {
				t.Errorf("try %d of %+v: %d hashes, want 1", i, a, got)
			}
		}
	}
}

// counting counts the hashes, and of these the real ones.
type counting struct {
	flow.Passwords
	verified, real atomic.Int32
}

func (c *counting) Verify(ctx context.Context, hash []byte, password string) (bool, []byte, error) {
	c.verified.Add(1)
	if hash != nil {
		c.real.Add(1)
	}
	return c.Passwords.Verify(ctx, hash, password)
}

func TestFindUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	for _, u := range []*store.User{
		{ID: "1", Username: "twin1", Email: "twin@example.com", SharedEmail: true},
		{ID: "2", Username: "twin2", Email: "twin@example.com", SharedEmail: true},
	} {
		if err := w.store.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ name, id, tried string }{
		{"ann", "ann", ""}, {" ANN ", "ann", ""}, {"\uff21nn", "ann", ""}, {"Ann@Example.COM", "ann", ""},
		{"bob", "", "bob"}, {"BOB", "", "bob"}, {"", "", ""}, {"a\x00b", "", ""}, {"twin@example.com", "", "twin@example.com"}, {"twin1", "1", ""},
	} {
		u, tried, err := factor.FindUser(t.Context(), w.store, row.name)
		id := ""
		if u != nil {
			id = u.ID
		}
		if id != row.id || tried != row.tried || err != nil {
			t.Errorf("%q: got %q, %q, %v; want %q, %q", row.name, id, tried, err, row.id, row.tried)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	p := &factor.Passwords{}
	hash, err := p.Hash(b.Context(), right)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _, err := p.Verify(b.Context(), hash, right); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password")
	f.Add("HASH", right) // the processes of a fuzz run have one each
	f.Add("$2a$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x")
	p := quick()
	hash, err := p.Hash(f.Context(), right)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(hash), right)
	f.Add(string(hash), right+"x")
	f.Fuzz(func(t *testing.T, text, password string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ok, better, err := p.Verify(ctx, []byte(strings.ReplaceAll(text, "HASH", string(hash))), password)
		if ok && err != nil || !ok && better != nil || (text == "HASH" || text == string(hash)) && ok != (password == right) {
			t.Errorf("got %t, %q, %v", ok, better, err)
		}
	})
}
