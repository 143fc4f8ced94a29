// Package storetest is the conformance kit of stores: what package store promises, as tests that every implementation
// has to pass.
//
// It owns the promises and no store. Call [Run] from a test of the store, whatever it keeps things in:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
//			now := time.Now()
//			s := mystore.New()
//			s.Now = func() time.Time { return now }
//			return s, func(d time.Duration) { now = now.Add(d) }
//		})
//	}
//
// There is no way to leave a test out: what a store cannot promise, its users cannot rely on. [RunReopen] is for what a store
// keeps beyond its process, and [Faulty] for tests of those who use one that fails.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

// Run tests the stores that open makes, in subtests that run one after the other. It calls open once or more for each,
// for a store that is empty, whose clock says about what [time.Now] does, and whose clock the function that comes with it
// puts forward. open may use t.Cleanup to close what it opened; the clock is never put forward while a method runs.
//
// A store that is a [store.Committer], a [store.Sweeper], a [store.Secrets], a [store.Holders], a [store.Clients], a [store.Credentials] or a
// [store.Fences] is tested as such, as [store.As] finds it.
func Run(t *testing.T, open func(t testing.TB) (store.Store, func(time.Duration))) {
	s, _ := open(t)
	for _, c := range checks(s) {
		t.Run(c.name, func(t *testing.T) { c.run(newKit(t, open)) })
	}
}

// RunClients tests what keeps nothing but clients, as Run tests a whole store.
func RunClients(t *testing.T, open func(t testing.TB) store.Clients) {
	for _, c := range clientChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(&kit{TB: t, ctx: t.Context(), clients: open(t)}) })
	}
}

// RunCredentials tests what keeps nothing but credentials, as Run tests a whole store.
func RunCredentials(t *testing.T, open func(t testing.TB) store.Credentials) {
	for _, c := range credentialChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(&kit{TB: t, ctx: t.Context(), credentials: open(t), start: start()}) })
	}
}

// RunFences tests what keeps nothing but fences, as Run tests a whole store.
func RunFences(t *testing.T, open func(t testing.TB) store.Fences) {
	for _, c := range fenceChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(&kit{TB: t, ctx: t.Context(), fences: open(t), start: start()}) })
	}
}

// RunUsers tests what keeps nothing but users, such as a host's own table, as Run tests a whole store.
func RunUsers(t *testing.T, open func(t testing.TB) store.Users) {
	for _, c := range userChecks() {
		t.Run(c.name, func(t *testing.T) {
			c.run(newKit(t, func(t testing.TB) (store.Store, func(time.Duration)) { return store.Parts{Users: open(t)}, nil }))
		})
	}
}

// userChecks need no other role than users.
func userChecks() []check {
	return []check{
		{"users/round trip", usersRoundTrip},
		{"users/missing", usersMissing},
		{"users/unique", usersUnique},
		{"users/email", usersEmail},
		{"users/find at most ten", usersFindTen},
		{"users/update", usersUpdate},
		{"users/races", usersRaces},
		{"users/copies", usersCopies},
		{"users/byte for byte", func(k *kit) { keysExact(k, k.userPlaces()) }},
		{"users/odd bytes", func(k *kit) { keysOdd(k, k.userPlaces()) }},
		{"users/cancelled", usersCancelled},
	}
}

// A check is one promise. What it finds broken it reports to the kit, which need not be that of a real test: this
// package's own tests run checks against broken stores and want them to fail.
type check struct {
	name string
	run  func(*kit)
}

// checks returns those that apply to s.
func checks(s store.Store) []check {
	all := append(userChecks(), []check{
		{"links/round trip", linksRoundTrip},
		{"links/missing", linksMissing},
		{"links/of a user", linksOf},
		{"links/update", linksUpdate},
		{"links/races", linksRaces},
		{"links/copies", linksCopies},
		{"links/ten thousand providers", linksMany},
		{"sessions/round trip", sessionsRoundTrip},
		{"sessions/missing", sessionsMissing},
		{"sessions/find", sessionsFind},
		{"sessions/update", sessionsUpdate},
		{"sessions/expiry", sessionsExpiry},
		{"sessions/races", sessionsRaces},
		{"sessions/copies", sessionsCopies},
		{"grants/round trip", grantsRoundTrip},
		{"grants/missing", grantsMissing},
		{"grants/find", grantsFind},
		{"grants/update", grantsUpdate},
		{"grants/expiry", grantsExpiry},
		{"grants/races", grantsRaces},
		{"grants/copies", grantsCopies},
		{"transient/values", transientValues},
		{"transient/purposes", transientPurposes},
		{"transient/expiry", transientExpiry},
		{"transient/races", transientRaces},
		{"transient/copies", transientCopies},
		{"keyring/round trip", keyringRoundTrip},
		{"keyring/unique", keyringUnique},
		{"keyring/races", keyringRaces},
		{"keyring/copies", keyringCopies},
		{"keys/byte for byte", func(k *kit) { keysExact(k, k.places()) }},
		{"keys/odd bytes", func(k *kit) { keysOdd(k, k.places()) }},
		{"keys/parts", keysParts},
		{"long values", valuesLong},
		{"times", times},
		{"empty", empties},
		{"cancelled", cancelled},
	}...)
	if _, ok := store.As[store.Clients](s); ok {
		all = append(all, clientChecks()...)
	}
	if _, ok := store.As[store.Credentials](s); ok {
		all = append(all, credentialChecks()...)
	}
	if _, ok := store.As[store.Fences](s); ok {
		all = append(all, fenceChecks()...)
	}
	if _, ok := store.As[store.Secrets](s); ok {
		all = append(all, secretChecks()...)
	}
	if _, ok := store.As[store.Holders](s); ok {
		all = append(all, check{"holders", holders})
	}
	all = append(all, commitChecks("commit/part by part/", hideCommitter)...)
	if _, ok := store.As[store.Committer](s); ok {
		all = append(all, commitChecks("commit/", func(*kit) {})...)
		all = append(all, check{"commit/all or nothing", commitAllOrNothing}, check{"commit/cancelled", commitCancelled})
	}
	if _, ok := store.As[store.Sweeper](s); ok {
		all = append(all, check{"sweep", sweep})
	}
	return all
}

// A kit is one open store and the test that it is open for.
type kit struct {
	testing.TB
	ctx     context.Context
	s       store.Store
	advance func(time.Duration)
	start   time.Time // about what the store's clock says at first, to the microsecond

	// s, if it is that
	clients     store.Clients
	credentials store.Credentials
	fences      store.Fences
	secrets     store.Secrets
}

func newKit(tb testing.TB, open func(testing.TB) (store.Store, func(time.Duration))) *kit {
	s, advance := open(tb)
	k := &kit{TB: tb, ctx: tb.Context(), s: s, advance: advance, start: start()}
	k.clients, _ = store.As[store.Clients](s)
	k.credentials, _ = store.As[store.Credentials](s)
	k.fences, _ = store.As[store.Fences](s)
	k.secrets, _ = store.As[store.Secrets](s)
	return k
}

func start() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// ok ends the test if err is one.
func (k *kit) ok(err error, what string, args ...any) {
	k.Helper()
	if err != nil {
		k.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

// is ends the test unless err is want.
func (k *kit) is(err, want error, what string, args ...any) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Fatalf("%s: got error %v, want %v", fmt.Sprintf(what, args...), err, want)
	}
}

// same ends the test unless got is want in every field.
func (k *kit) same(got, want any, what string, args ...any) {
	k.Helper()
	if !reflect.DeepEqual(got, want) {
		k.Fatalf("%s:\ngot  %+v\nwant %+v", fmt.Sprintf(what, args...), deref(got), deref(want))
	}
}

func deref(v any) any {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && !p.IsNil() {
		return p.Elem()
	}
	return v
}

// racers is how many callers race each other.
const racers = 64

// race runs f for each of the racers at once, and returns their errors.
func race(f func(i int) error) []error {
	errs := make([]error, racers)
	var ready, done sync.WaitGroup
	gun := make(chan struct{})
	for i := range racers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-gun
			errs[i] = f(i)
		})
	}
	ready.Wait()
	close(gun)
	done.Wait()
	return errs
}

// oneWins races f a few times and ends the test unless exactly one wins each time and all others get lose.
func (k *kit) oneWins(lose error, what string, f func(round, i int) error) {
	k.Helper()
	for round := range 3 {
		winners := 0
		for _, err := range race(func(i int) error { return f(round, i) }) {
			if err == nil {
				winners++
			} else {
				k.is(err, lose, "%s: one that lost the race", what)
			}
		}
		if winners != 1 {
			k.Fatalf("%s: %d of %d racers won, want 1", what, winners, racers)
		}
	}
}

// ids returns the ids of records in their order.
func ids[T any](records []*T, id func(*T) string) []string {
	got := make([]string, len(records))
	for i, r := range records {
		got[i] = id(r)
	}
	return got
}

// The samples have every field set, so that one which a store forgets is missed, and times that are neither whole
// milliseconds nor in UTC.

func (k *kit) user(id string) *store.User {
	return &store.User{
		ID: id, Username: "name of " + id, Email: id + "@example.com", EmailVerified: true, SharedEmail: true,
		FirstName: "Ada", LastName: "Lovelace", Name: "Ada, Countess of Lovelace", Locale: "en-GB",
		Picture: "https://example.com/ada.png", Disabled: true, Roles: []string{"admin", "b\"c", "admin"},
		Groups: []string{"/staff", "/staff/ü"}, Attributes: map[string][]string{"phone": {"1", "2", "1"}, "": {""}},
		CreatedAt: k.at(1), UpdatedAt: k.at(2),
	}
}

// own is a user who does not share their e-mail.
func (k *kit) own(id string) *store.User {
	u := k.user(id)
	u.SharedEmail = false
	return u
}

func (k *kit) link(subject, user string) *store.Link {
	return &store.Link{
		LinkKey: store.LinkKey{Provider: "acme", Issuer: "https://acme.example", Subject: subject},
		UserID:  user, Username: "ada", Email: "ada@acme.example", Tokens: []byte{0, 1, 0xff, '\'', 0},
		CreatedAt: k.at(1), LastLogin: k.at(2),
	}
}

func (k *kit) session(id, user string) *store.Session {
	return &store.Session{
		ID: id, SecretHash: []byte("\x00\xff of " + id), UserID: user,
		Upstream:        store.LinkKey{Provider: "acme", Issuer: "https://acme.example", Subject: "ada"},
		UpstreamSession: "upstream of " + id, UpstreamIDToken: []byte{0xff, 0, 'e'}, UpstreamTokens: []byte{0, 0xfe, 't'}, TransientUser: []byte{'{', 0, 0xff},
		ACR: "urn:acr", AMR: []string{"pwd", "otp"},
		Notes: map[string]string{"tenant": "t1", "": "<&>"}, AuthTime: k.at(1), CreatedAt: k.at(2), LastSeen: k.at(3),
		ExpiresAt: k.at(3600),
	}
}

func (k *kit) grant(id, user string) *store.Grant {
	return &store.Grant{
		ID: id, Kind: store.GrantConsent, ClientID: "app", UserID: user, SessionID: "session of " + id,
		Scope: []string{"openid", "profile"}, Nonce: "n", AuthTime: k.at(1), ACR: "urn:acr", AMR: []string{"pwd", "otp"},
		Upstream:  store.LinkKey{Provider: "acme", Issuer: "https://acme.example", Subject: "ada"},
		Resources: []string{"https://api.example/?a=b", "urn:b"}, JKT: "thumb-print_",
		ClaimsRequest: []string{"id_token:email", "userinfo:name"},
		CodeHash:      []byte{0, 0xff, 1}, CodeExpires: k.at(60), CodeUsed: true, RedirectURI: "https://app.example/cb?a=b",
		CodeChallenge: "c", RefreshHash: []byte{0xff, 0, 2}, PreviousHash: []byte{0xff, 0, 3}, GraceUntil: k.at(61),
		Answer: []byte{0, 0xff, 4}, CreatedAt: k.at(2), ExpiresAt: k.at(3600),
	}
}

func (k *kit) key(id, alg string, generation int) *store.Key {
	return &store.Key{
		ID: id, Algorithm: alg, Generation: generation, Private: []byte{0x30, 0, 0xff}, CreatedAt: k.at(1), NotBefore: k.at(2),
	}
}

// at is a moment about s seconds after the start, told by a clock of another zone.
func (k *kit) at(s int) time.Time {
	return k.start.Add(time.Duration(s)*time.Second + 123*time.Microsecond).In(time.FixedZone("", 5*3600+1800))
}

// kept is what a store hands out for a record that it was given: the same with times in UTC.
func kept[T any](record *T) *T {
	c := *record
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if t, ok := v.Field(i).Interface().(time.Time); ok {
			v.Field(i).Set(reflect.ValueOf(t.UTC()))
		}
	}
	return &c
}
