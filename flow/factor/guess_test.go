package factor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/flow/factor"
)

// Four are free, then there is a wait that doubles, and while it lasts the right password is none.
func TestGuessWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	ann := factor.Attempt{UserID: "ann"}
	for range 5 {
		want(t, "wrong", w.try(t, ann, wrong), factor.ErrRefused)
	}
	for _, wait := range []time.Duration{30, 60, 120, 240, 480, 900, 900} {
		w.pass(wait*time.Second - time.Second)
		want(t, fmt.Sprintf("right after %d s less one", wait), w.try(t, ann, right), factor.ErrRefused)
		w.pass(time.Second)
		want(t, "wrong", w.try(t, ann, wrong), factor.ErrRefused)
	}
	w.pass(15 * time.Minute)
	want(t, "right at last", w.try(t, ann, right), nil)
	for range 4 {
		want(t, "wrong", w.try(t, ann, wrong), factor.ErrRefused)
	}
	want(t, "success had forgotten all", w.try(t, ann, right), nil)
	for range 10 {
		want(t, "wrong", w.try(t, ann, wrong), factor.ErrRefused)
	}
	w.pass(24 * time.Hour)
	want(t, "a day later", w.try(t, ann, right), nil)
}

// In a day of guessing as fast as it goes there are some hundred tries.
func TestGuessPerDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	count := &counting{Passwords: w.Passwords}
	w.Passwords = count
	for range 24 * 60 * 2 {
		want(t, "wrong", w.try(t, factor.Attempt{UserID: "ann"}, wrong), factor.ErrRefused)
		w.pass(30 * time.Second)
	}
	if tries := count.real.Load(); tries < 90 || tries > 110 {
		t.Errorf("%d passwords were tried in a day, want about 100", tries)
	}
}

// Tries at the same moment are no more than tries in a row.
func TestGuessRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	code := w.totp(t, "ann")
	w.pass(time.Minute)
	count := &counting{Passwords: w.Passwords}
	w.Passwords = count
	race(t, 64, func() error { return w.try(t, factor.Attempt{UserID: "ann"}, wrong) }, factor.ErrRefused)
	if got := count.real.Load(); got != 5 {
		t.Errorf("%d of 64 racing guesses were checked, want 5", got)
	}
	race(t, 64, func() error { return w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, "000000") }, factor.ErrRefused)
	want(t, "the right code", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, code()), factor.ErrRefused)
}

// An account counts over all its names and both kinds of codes; the password and the codes apart; another account, a name that
// nobody has, and a browser that the user has signed in with, each by themselves.
func TestGuessPerAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "ann")
	w.user(t, "bob")
	code := w.totp(t, "ann")
	recovery, err := w.NewRecoveryCodes(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	known := factor.Attempt{UserID: "ann", Device: "laptop"}
	for i := range 6 {
		name := []string{"ann", "ANN", "ann@example.com", " Ann@Example.com"}[i%4]
		u, _, err := factor.FindUser(t.Context(), w.store, name)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "wrong", w.try(t, factor.Attempt{UserID: u.ID, Source: fmt.Sprint(i)}, wrong), factor.ErrRefused)
	}
	want(t, "a stranger's browser", w.try(t, factor.Attempt{UserID: "ann"}, right), factor.ErrRefused)
	want(t, "a known browser", w.try(t, known, right), nil)
	want(t, "a stranger's browser still", w.try(t, factor.Attempt{UserID: "ann"}, right), factor.ErrRefused)
	want(t, "another account", w.try(t, factor.Attempt{UserID: "bob"}, right), nil)
	want(t, "a code", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, code()), nil)
	for range 5 {
		want(t, "wrong", w.try(t, known, wrong), factor.ErrRefused)
	}
	want(t, "a known browser that guesses", w.try(t, known, right), factor.ErrRefused)

	w.pass(time.Minute)
	for i := range 5 {
		a := factor.Attempt{UserID: "ann", Device: fmt.Sprint(i)} // which is nothing to codes
		if i%2 == 0 {
			want(t, "wrong", w.VerifyTOTP(t.Context(), a, "000000"), factor.ErrRefused)
		} else {
			want(t, "wrong", w.VerifyRecoveryCode(t.Context(), a, "AAAA-AAAA-AAAA-AAAA"), factor.ErrRefused)
		}
	}
	want(t, "a code while locked", w.VerifyTOTP(t.Context(), known, code()), factor.ErrRefused)
	want(t, "a recovery code while locked", w.VerifyRecoveryCode(t.Context(), known, recovery[0]), factor.ErrRefused)
	w.pass(30 * time.Second)
	want(t, "a recovery code later", w.VerifyRecoveryCode(t.Context(), known, recovery[0]), nil)
}

// A source may fail so often, whoever it is about; that one of its accounts is right frees no more than that try.
func TestGuessPerSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user(t, "own")
	w.user(t, "ann")
	for i := range 19 {
		a := factor.Attempt{Name: fmt.Sprint("name ", i), Source: "203.0.113.7"}
		want(t, "wrong", w.try(t, a, wrong), factor.ErrRefused)
		want(t, "right in between", w.try(t, factor.Attempt{UserID: "own", Source: "203.0.113.7"}, right), nil)
	}
	ann := factor.Attempt{UserID: "ann", Source: "203.0.113.7"}
	want(t, "the twentieth", w.try(t, ann, wrong), factor.ErrRefused)
	want(t, "one more", w.try(t, ann, right), factor.ErrTooMany)
	want(t, "from elsewhere", w.try(t, factor.Attempt{UserID: "ann", Source: "203.0.113.8"}, right), nil)
	want(t, "from nowhere", w.try(t, factor.Attempt{UserID: "ann"}, right), nil)
	w.pass(10 * time.Minute)
	want(t, "later", w.try(t, ann, right), nil)
}
