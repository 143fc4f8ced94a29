package factor_test

import (
	"bytes"
	"errors"
	"image/png"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

// codeAt is what an app shows.
func codeAt(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestTOTPVectors has the codes of RFC 6238, appendix B, of which six digits are the last six.
func TestTOTPVectors(t *testing.T) {
	t.Parallel()
	for at, code := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		w := newWorld(t)
		w.now = time.Unix(at, 0)
		if err := w.EnrolTOTP(t.Context(), "ann", "", []byte("12345678901234567890"), code); err != nil {
			t.Errorf("at %d: code %s: %v", at, code, err)
		}
	}
}

func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := factor.NewEnrolment("Example & Söhne", "ann+1@example.com")
	u, err := url.Parse(e.URI)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Example & Söhne:ann+1@example.com" ||
		u.Query().Get("secret") != e.Text || u.Query().Get("issuer") != "Example & Söhne" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("URI %s (%v)", e.URI, err)
	}
	if len(e.Seed) != 20 || bytes.Equal(e.Seed, factor.NewEnrolment("", "x").Seed) {
		t.Errorf("seed %x: not 20 random bytes", e.Seed)
	}
	image, err := e.QR()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(image)); err != nil {
		t.Errorf("QR code is no PNG: %v", err)
	}

	attempt := factor.Attempt{UserID: "ann"}
	want(t, "wrong confirmation", w.EnrolTOTP(t.Context(), "ann", "", e.Seed, "000000"), factor.ErrRefused)
	want(t, "before it is confirmed", w.VerifyTOTP(t.Context(), attempt, codeAt(t, e.Text, w.now)), factor.ErrRefused)
	if err := w.EnrolTOTP(t.Context(), "ann", "", e.Seed[:10], "000000"); err == nil || errors.Is(err, factor.ErrRefused) {
		t.Errorf("a short seed: got %v", err)
	}
	code := codeAt(t, e.Text, w.now)
	want(t, "enrol", w.EnrolTOTP(t.Context(), "ann", "phone", e.Seed, code), nil)
	want(t, "the code that confirmed", w.VerifyTOTP(t.Context(), attempt, code), factor.ErrRefused)
	w.pass(30 * time.Second)
	want(t, "the next", w.VerifyTOTP(t.Context(), attempt, codeAt(t, e.Text, w.now)), nil)
	w.pass(30 * time.Second)
	w.totp(t, "ann")
	want(t, "the app before", w.VerifyTOTP(t.Context(), attempt, codeAt(t, e.Text, w.now)), factor.ErrRefused)
}

func TestVerifyTOTP(t *testing.T) {
	t.Parallel()
	start := newWorld(t).now.Add(time.Hour)
	for _, row := range []struct {
		name string
		off  time.Duration
		want error
	}{
		{"now", 0, nil}, {"one step late", -30 * time.Second, nil}, {"one step early", 30 * time.Second, nil},
		{"two steps late", -60 * time.Second, factor.ErrRefused}, {"two steps early", 60 * time.Second, factor.ErrRefused},
	} {
		w := newWorld(t)
		e := factor.NewEnrolment("", "ann")
		if err := w.EnrolTOTP(t.Context(), "ann", "", e.Seed, codeAt(t, e.Text, w.now)); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		code := codeAt(t, e.Text, start.Add(row.off))
		want(t, row.name, w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, code[:3]+" "+code[3:]), row.want)
		want(t, row.name+", again", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, code), factor.ErrRefused)
		want(t, row.name+", of somebody else", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "bob"}, code), factor.ErrRefused)
	}
}

// A code that is older than the one used last is no good, though it would be by itself.
func TestVerifyTOTPOlder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.totp(t, "ann")
	w.pass(time.Hour)
	older := code()
	w.pass(30 * time.Second)
	want(t, "newer", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, code()), nil)
	want(t, "older", w.VerifyTOTP(t.Context(), factor.Attempt{UserID: "ann"}, older), factor.ErrRefused)
}

// TestOneCodeOnce races nodes with one code: the bound on guessing is each time another, so that nothing but the store decides.
func TestOneCodeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.totp(t, "ann")
	w.pass(time.Minute)
	now, attempt := code(), factor.Attempt{UserID: "ann"}
	unbound := func() *factor.Local {
		return &factor.Local{Credentials: w.store, Transient: newWorld(t).store, Passwords: quick(), Now: w.clock}
	}
	won := race(t, 64, func() error { return unbound().VerifyTOTP(t.Context(), attempt, now) }, factor.ErrRefused)
	if won != 1 {
		t.Errorf("one code was right %d times of 64", won)
	}
	codes, err := w.NewRecoveryCodes(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	won = race(t, 64, func() error { return unbound().VerifyRecoveryCode(t.Context(), attempt, codes[3]) },
		factor.ErrRefused, store.ErrConflict)
	if won != 1 {
		t.Errorf("one recovery code was right %d times of 64", won)
	}
}

func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	codes, err := w.NewRecoveryCodes(t.Context(), "ann")
	if err != nil || len(codes) != 10 {
		t.Fatalf("got %d codes, %v", len(codes), err)
	}
	secret := w.credential(t, "ann", store.CredentialRecovery).Secret
	for i, code := range codes {
		plain := strings.ReplaceAll(code, "-", "")
		if len(plain) != 16 || bytes.Contains(secret, []byte(code)) || bytes.Contains(secret, []byte(plain)) {
			t.Errorf("code %d is %q and kept as %x", i, code, secret)
		}
	}
	ann, bob := factor.Attempt{UserID: "ann"}, factor.Attempt{UserID: "bob"}
	verify := func(a factor.Attempt, code string) error { return w.VerifyRecoveryCode(t.Context(), a, code) }
	want(t, "typed differently", verify(ann, " "+strings.ToLower(strings.ReplaceAll(codes[0], "-", " "))), nil)
	want(t, "again", verify(ann, codes[0]), factor.ErrRefused)
	want(t, "without codes", verify(bob, codes[1]), factor.ErrRefused)
	want(t, "nothing", verify(ann, ""), factor.ErrRefused)
	want(t, "another", verify(ann, codes[1]), nil)
	if n, err := w.RecoveryCodesLeft(t.Context(), "ann"); n != 8 || err != nil {
		t.Errorf("%d are left (%v), want 8", n, err)
	}
	again, err := w.NewRecoveryCodes(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "of before", verify(ann, codes[2]), factor.ErrRefused)
	for _, code := range again {
		want(t, "new", verify(ann, code), nil)
	}
	if kinds, err := w.Kinds(t.Context(), "ann"); len(kinds) != 0 || err != nil {
		t.Errorf("has %v (%v) with every code used", kinds, err)
	}
	if n, err := w.RecoveryCodesLeft(t.Context(), "bob"); n != 0 || err != nil {
		t.Errorf("bob has %d (%v)", n, err)
	}
}
