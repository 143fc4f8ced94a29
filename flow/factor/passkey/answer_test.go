package passkey_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/flowtest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// An assertion is what an authenticator and its browser say, before it is signed.
type assertion struct {
	client map[string]any
	data   []byte
	key    *ecdsa.PrivateKey
	whole  map[string]any
}

func (x *assertion) response() map[string]any { return x.whole["response"].(map[string]any) }

// take reads an answer apart.
func take(t testing.TB, a *flowtest.Authenticator, answer []byte) *assertion {
	t.Helper()
	x := &assertion{key: a.Key}
	for _, err := range []error{json.Unmarshal(answer, &x.whole), json.Unmarshal(raw(t, x, "clientDataJSON"), &x.client)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	x.data = raw(t, x, "authenticatorData")
	return x
}

func raw(t testing.TB, x *assertion, field string) []byte {
	t.Helper()
	text, _ := x.response()[field].(string)
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign puts it together again.
func (x *assertion) sign(t testing.TB) {
	t.Helper()
	client, err := json.Marshal(x.client)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(x.data, hash[:]))
	signature, err := ecdsa.SignASN1(rand.Reader, x.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for field, b := range map[string][]byte{"clientDataJSON": client, "authenticatorData": x.data, "signature": signature} {
		x.response()[field] = base64.RawURLEncoding.EncodeToString(b)
	}
}

// strict stores take no key that is not text, as PostgreSQL does not.
func strict(s *memstore.Store) func(context.Context, string) (*store.User, error) {
	return func(ctx context.Context, id string) (*store.User, error) {
		if !utf8.ValidString(id) || strings.Contains(id, "\x00") {
			return nil, fmt.Errorf("%q is no text", id)
		}
		return s.User(ctx, id)
	}
}

// What the browser or the authenticator says of where and how is believed as far as it is signed, and has to be right; whatever else
// is odd about an answer is refused as well, and no fault of the broker's.
func TestLoginAnswers(t *testing.T) {
	t.Parallel()
	handle := func(h string) func(x *assertion) {
		return func(x *assertion) { x.response()["userHandle"] = base64.RawURLEncoding.EncodeToString([]byte(h)) }
	}
	for name, row := range map[string]struct {
		edit func(x *assertion)
		ok   bool
	}{
		"as it was":                       {func(*assertion) {}, true},
		"an unknown member":               {func(x *assertion) { x.client["new_keys_may_be_added_here"] = "x" }, true},
		"in a frame of another site":      {func(x *assertion) { x.client["crossOrigin"] = true }, false},
		"with the site on top":            {func(x *assertion) { x.client["crossOrigin"], x.client["topOrigin"] = true, "https://evil.example" }, false},
		"with a site on top that is none": {func(x *assertion) { x.client["topOrigin"] = "https://evil.example" }, false},
		"a new passkey":                   {func(x *assertion) { x.client["type"] = "webauthn.create" }, false},
		"a payment":                       {func(x *assertion) { x.client["type"] = "payment.get" }, false},
		"no origin":                       {func(x *assertion) { delete(x.client, "origin") }, false},
		"an origin with a user":           {func(x *assertion) { x.client["origin"] = "https://app.example@evil.example" }, false},
		"an opaque origin":                {func(x *assertion) { x.client["origin"] = "null" }, false},
		"no challenge":                    {func(x *assertion) { delete(x.client, "challenge") }, false},
		"nobody was there":                {func(x *assertion) { x.data[32] &^= 0x01 }, false},
		"backed up, but not eligible":     {func(x *assertion) { x.data[32] |= 0x10 }, false},
		"attested data that is none":      {func(x *assertion) { x.data[32] |= 0x40 }, false},
		"extensions that are none":        {func(x *assertion) { x.data[32] |= 0x80 }, false},
		"data after the data":             {func(x *assertion) { x.data = append(x.data, 0) }, false},
		"half the data":                   {func(x *assertion) { x.data = x.data[:20] }, false},
		"no data":                         {func(x *assertion) { x.data = nil }, false},
		"a domain below":                  {func(x *assertion) { h := sha256.Sum256([]byte("x.app.example")); copy(x.data, h[:]) }, false},
		"an empty handle":                 {handle(""), false},
		"a handle that is no text":        {handle("\xff\xfe"), false},
		"a handle with a NUL":             {handle("ann\x00"), false},
		"a handle of 65 bytes":            {handle(strings.Repeat("a", 65)), false},
		"a handle of a megabyte":          {handle(strings.Repeat("a", 1<<20)), false},
		"a handle that is a number":       {func(x *assertion) { x.response()["userHandle"] = 7 }, false},
		"another kind":                    {func(x *assertion) { x.whole["type"] = "password" }, false},
		"no id":                           {func(x *assertion) { x.whole["id"], x.whole["rawId"] = "", "" }, false},
		"no response":                     {func(x *assertion) { x.whole["response"] = map[string]any{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ann, _ := newStore(t)
			text, state, err := site.BeginLogin(t.Context(), s, nil)
			if err != nil {
				t.Fatal(err)
			}
			x := take(t, ann, ann.Get(text))
			row.edit(x)
			if len(x.response()) > 0 {
				x.sign(t)
			}
			answer, err := json.Marshal(x.whole)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := site.FinishLogin(t.Context(), s, strict(s), state, answer, now)
			if row.ok != (err == nil) || err != nil && !errors.Is(err, factor.ErrRefused) {
				t.Fatalf("got %+v, %v; want success %t", proof, err, row.ok)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the log gets %d bytes", len(err.Error()))
			}
		})
	}
}

// A copy of a passkey that was used is named for the log, by what the broker calls it.
func TestCopiedPasskeyIsNamed(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	all, err := s.CredentialsOf(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	text, state, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	ann.Counter = 0
	_, err = site.FinishLogin(t.Context(), s, s.User, state, ann.Get(text), now)
	if !errors.Is(err, factor.ErrRefused) || !strings.Contains(err.Error(), "passkey "+all[0].ID+" of user ann") || !strings.Contains(err.Error(), "copy") {
		t.Errorf("got %v", err)
	}
}

// Another user who registers a key under the id of ann's gets in by it as themselves, and she does by hers.
func TestSameIDForTwoUsers(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	twin := flowtest.NewAuthenticator(t, origin)
	twin.ID = ann.ID
	register(t, s, user(t, s, "bob"), twin)
	for want, a := range map[string]*flowtest.Authenticator{"ann": ann, "bob": twin} {
		text, state, err := site.BeginLogin(t.Context(), s, nil)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := site.FinishLogin(t.Context(), s, s.User, state, a.Get(text), now)
		if err != nil || proof.User.ID != want {
			t.Errorf("%s: got %+v, %v", want, proof, err)
		}
	}
	text, state, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	twin.Handle = ann.Handle
	if proof, err := site.FinishLogin(t.Context(), s, s.User, state, twin.Get(text), now); !errors.Is(err, factor.ErrRefused) {
		t.Errorf("bob's key for ann: got %+v, %v", proof, err)
	}
}

// What was begun to make a passkey proves nobody, and is signed for nothing else.
func TestRegistrationIsNoLogin(t *testing.T) {
	t.Parallel()
	s, ann, _ := newStore(t)
	text, state, err := site.BeginRegistration(t.Context(), s, user(t, s, "ann"))
	if err != nil {
		t.Fatal(err)
	}
	handle := ann.Handle
	created := ann.Create(text)
	ann.Handle = handle
	for name, answer := range map[string][]byte{"what was made": created, "null": []byte("null")} {
		if proof, err := site.FinishLogin(t.Context(), s, s.User, state, answer, now); !errors.Is(err, factor.ErrRefused) {
			t.Errorf("%s: got %+v, %v", name, proof, err)
		}
	}
	login, begun, err := site.BeginLogin(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.FinishRegistration(t.Context(), s, user(t, s, "ann"), "", state, ann.Get(login), now); !errors.Is(err, factor.ErrRefused) {
		t.Errorf("a proof as a new passkey: got %v", err)
	}
	if proof, err := site.FinishLogin(t.Context(), s, s.User, begun, created, now); !errors.Is(err, factor.ErrRefused) {
		t.Errorf("a new passkey as a proof: got %+v, %v", proof, err)
	}
}

// Whatever text comes as an answer proves who made the passkey, or is refused; it is never the broker's fault, and never ends it.
func FuzzAnswers(f *testing.F) {
	s, ann, _ := newStore(f)
	text, login, err := site.BeginLogin(f.Context(), s, nil)
	if err != nil {
		f.Fatal(err)
	}
	creation, making, err := site.BeginRegistration(f.Context(), s, user(f, s, "ann"))
	if err != nil {
		f.Fatal(err)
	}
	good := string(ann.Get(text))
	made := string(flowtest.NewAuthenticator(f, origin).Create(creation))
	// The processes of a fuzz run have answers of their own, which stand here by name.
	written := strings.NewReplacer("GOOD", good, "MADE", made, "OPEN", good[:len(good)-1])
	for _, seed := range []string{
		"GOOD", "MADE", good, made, "", "null", "[]", `""`, "{", "7", "GOODGOOD", `OPEN,"response":null}`, `OPEN,"response":{"signature":""}}`,
		`OPEN,"rawId":"AA"}`, `OPEN,"x":{}}`, strings.Repeat("[", 20000), `{"id":` + strings.Repeat(`{"id":`, 5000), `{"response":{"attestationObject":"oA"}}`,
		strings.Replace(made, `"fmt"`, `"x"`, 1), "\xff", strings.Replace(good, `"id":"`, `"id":"=`, 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		kept := memstore.New()
		u := user(t, s, "ann")
		u.Version = 0
		if err := kept.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		all, err := s.CredentialsOf(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		all[0].Version = 0
		if err := kept.CreateCredential(t.Context(), all[0]); err != nil {
			t.Fatal(err)
		}
		name := answer
		answer = written.Replace(answer)
		proof, err := site.FinishLogin(t.Context(), kept, strict(kept), login, []byte(answer), now)
		if err == nil && proof.User.ID != "ann" || err != nil && (!errors.Is(err, factor.ErrRefused) || name == "GOOD") {
			t.Errorf("login: got %+v, %v", proof, err)
		}
		err = site.FinishRegistration(t.Context(), kept, u, "", making, []byte(answer), now)
		if err != nil && (!errors.Is(err, factor.ErrRefused) || name == "MADE") {
			t.Errorf("registration: got %v", err)
		}
	})
}

// A flow after a login steps up by a passkey, beside steps that decide nothing either: who has one is asked, unless the login was by one.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s, ann, bob := newStore(t)
	f := flow.Flow{
		{ID: "terms", Do: factor.UpdatePassword{}},
		{ID: "more", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs", Do: factor.NeedsSecond(store.CredentialPasskey, store.CredentialTOTP)},
			{ID: "by", Sub: flow.Flow{
				{ID: "own", When: flow.Alternative, Do: factor.OwnPasskey{}},
				{ID: "code", When: flow.Alternative, Do: factor.SecondFactor{}},
			}},
		}},
	}
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	d := start(t, s, f, &flow.Draft{UserID: "ann", AMR: []string{factor.AMRPassword}})
	d.Answer(answer(bob.Get(optionsOf(d))))
	if got := d.Page("passkey").Errors["credential"]; got != "refused" {
		t.Errorf("bob's passkey for ann: got error %q", got)
	}
	d.Answer(answer(ann.Get(optionsOf(d))))
	if got := d.Done(); got.UserID != "ann" || !slices.Equal(got.AMR, []string{"pwd", "hwk", "user", "mfa"}) {
		t.Errorf("got %+v", got)
	}
	start(t, s, f, &flow.Draft{UserID: "ann", AMR: []string{"hwk", "user", "mfa"}}).Done()
	if err := s.CreateUser(t.Context(), &store.User{ID: "without", Username: "without"}); err != nil {
		t.Fatal(err)
	}
	start(t, s, f, &flow.Draft{UserID: "without"}).Done()
	alone := flow.Flow{{ID: "own", Do: factor.OwnPasskey{}}}
	start(t, s, alone, &flow.Draft{}).Denied(flow.ReasonSkipped)
	start(t, s, alone, &flow.Draft{Existing: &flow.Existing{UserID: "ann", Field: "email"}}).Denied(flow.ReasonSkipped)
	start(t, s, alone, &flow.Draft{New: true}).Denied(flow.ReasonSkipped)
}
