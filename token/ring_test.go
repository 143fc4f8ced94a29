package token_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/token"
)

const day = 24 * time.Hour

// carryOut does what a plan says to keys as a store with a unique (algorithm, generation) would.
func carryOut(keys []token.Key, p token.Plan) []token.Key {
	for _, k := range p.Add {
		taken := slices.ContainsFunc(keys, func(o token.Key) bool { return o.Algorithm == k.Algorithm && o.Generation == k.Generation })
		if !taken {
			k.ID = fmt.Sprintf("%s-%d-%d", k.Algorithm, k.Generation, len(keys)+int(k.NotBefore.Unix()))
			k.Private = private(k.Algorithm)
			keys = append(keys, k)
		}
	}
	return slices.DeleteFunc(keys, func(k token.Key) bool { return slices.Contains(p.Drop, k.ID) })
}

func TestRingLife(t *testing.T) {
	t.Parallel()
	first := mustRing(t, token.Schedule{}).Plan(epoch, token.ES256, token.EdDSA, token.ES256)
	if len(first.Add) != 2 || first.Add[0].Algorithm != token.ES256 || first.Add[0].Generation != 1 || len(first.Drop) != 0 {
		t.Fatalf("first plan = %+v, want generation 1 of two algorithms", first)
	}
	if nb := first.Add[0].NotBefore; nb.After(epoch) || nb.Before(epoch.Add(-2*time.Minute)) {
		t.Errorf("first key signs from %v, want about %v", nb, epoch)
	}
	keys := carryOut(nil, mustRing(t, token.Schedule{}).Plan(epoch, token.ES256))
	begin := keys[0].NotBefore
	r := mustRing(t, token.Schedule{}, keys...)
	for _, at := range []time.Duration{0, day, 89*day - time.Second} {
		if p := r.Plan(begin.Add(at), token.ES256); len(p.Add)+len(p.Drop) != 0 {
			t.Errorf("plan after %v = %+v, want none", at, p)
		}
	}
	keys = carryOut(keys, r.Plan(begin.Add(89*day), token.ES256))
	if len(keys) != 2 || !keys[1].NotBefore.Equal(begin.Add(90*day)) || keys[1].Generation != 2 {
		t.Fatalf("keys after 89 days = %v, want a second generation that signs after 90", keys)
	}
	r = mustRing(t, token.Schedule{}, keys[1], keys[0])
	for _, tt := range []struct {
		at     time.Duration
		phases [2]token.Phase
	}{
		{-time.Second, [2]token.Phase{token.Announced, token.Announced}},
		{0, [2]token.Phase{token.Signing, token.Announced}},
		{90*day - 1, [2]token.Phase{token.Signing, token.Announced}},
		{90 * day, [2]token.Phase{token.Retired, token.Signing}},
		{91*day - 1, [2]token.Phase{token.Retired, token.Signing}},
		{91 * day, [2]token.Phase{token.Gone, token.Signing}},
		{500 * day, [2]token.Phase{token.Gone, token.Signing}}, // late, but no outage
	} {
		now := begin.Add(tt.at)
		if got := [2]token.Phase{r.Phase(keys[0].ID, now), r.Phase(keys[1].ID, now)}; got != tt.phases {
			t.Errorf("phases after %v = %v, want %v", tt.at, got, tt.phases)
		}
		published, _ := r.JWKS(now)
		for i, p := range tt.phases {
			if got, want := strings.Contains(string(published), `"`+keys[i].ID+`"`), p != token.Gone; got != want {
				t.Errorf("after %v key %d is published: %v, want %v", tt.at, i, got, want)
			}
			got, err := r.PublicKeys(t.Context(), keys[i].ID, now)
			if want := p != token.Gone; err != nil || (len(got) == 1) != want {
				t.Errorf("after %v key %d is found: %v, %v, want %v", tt.at, i, got, err, want)
			}
		}
	}
	if p := r.Plan(begin.Add(91*day), token.ES256); len(p.Add) != 0 || !slices.Equal(p.Drop, []string{keys[0].ID}) {
		t.Errorf("plan after 91 days = %+v, want to drop the first key", p)
	}
	if got := r.Phase("nobody", begin); got != token.Gone {
		t.Errorf("phase of an unknown key = %v, want gone", got)
	}
}

// Whatever the schedule and however late some plans are: one signer at any time, announced long enough, never early, never
// again, and a token verifies against the published keys as long as it lives.
func TestRingProperties(t *testing.T) {
	t.Parallel()
	type issued struct {
		kid     string
		expires time.Time
	}
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
		s := token.Schedule{Announce: time.Hour + upTo(48*time.Hour), Retire: time.Hour + upTo(48*time.Hour)}
		s.Sign = s.Announce + upTo(30*day)
		now := epoch.Add(upTo(day))
		var keys []token.Key
		var tokens []issued
		published := map[string]time.Time{}
		past := map[string]bool{}
		signs := map[string]string{}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d, %+v, %v: %s", seed, s, now, fmt.Sprintf(format, args...))
		}
		names := []string{token.ES256, token.EdDSA}
		for range 60 {
			r := mustRing(t, s, keys...)
			plan, same := r.Plan(now, names...), r.Plan(now, names...)
			if fmt.Sprint(plan) != fmt.Sprint(same) {
				fail("two nodes plan %v and %v", plan, same)
			}
			keys = carryOut(carryOut(keys, plan), same)
			r = mustRing(t, s, keys...)
			if p := r.Plan(now, names...); len(p.Add)+len(p.Drop) > 0 {
				fail("a plan that was carried out leaves %v", p)
			}
			for _, k := range keys {
				if _, known := published[k.ID]; !known {
					published[k.ID] = now
				}
			}
			step := upTo(s.Announce)
			if random.IntN(10) == 0 {
				step = upTo(3 * s.Sign) // nobody did the upkeep
			}
			next := now.Add(step)
			for range 4 { // moments until the next plan, in order
				now = now.Add(upTo(max(next.Sub(now), 1)))
				public := r.Public(now)
				for _, name := range names {
					signer, ok := r.Signer(name, now)
					if !ok {
						fail("no %s key signs", name)
					}
					for _, k := range keys {
						if k.Algorithm == name && (r.Phase(k.ID, now) == token.Signing) != (k.ID == signer.ID) {
							fail("%v and %v sign", k, signer)
						}
					}
					if signer.NotBefore.After(now) || signer.Generation > 1 && now.Sub(published[signer.ID]) < s.Announce {
						fail("%v signs too early", signer)
					}
					if before := signs[name]; before != signer.ID {
						past[before] = true
						signs[name] = signer.ID
					}
					if past[signer.ID] {
						fail("%v signs again", signer)
					}
					tokens = append(tokens, issued{signer.ID, now.Add(s.Retire)})
				}
				for _, i := range tokens {
					known := slices.ContainsFunc(public, func(k token.PublicKey) bool { return k.ID == i.kid })
					if now.Before(i.expires) && !known {
						fail("the key %s of a valid token is not published", i.kid)
					}
				}
			}
			now = next
		}
	}
}

func TestRingSignsOnlyWithTheSigner(t *testing.T) {
	t.Parallel()
	k := newKey(token.EdDSA)
	r := mustRing(t, token.Schedule{}, k)
	if _, err := r.Sign(k.NotBefore.Add(-1), token.EdDSA, token.IDToken, claims{}); err == nil {
		t.Error("a key signs before its time")
	}
	if _, err := r.Sign(k.NotBefore, token.ES256, token.IDToken, claims{}); err == nil {
		t.Error("an algorithm without a key signs")
	}
	if _, ok := r.Signer(token.EdDSA, k.NotBefore.Add(-1)); ok {
		t.Error("Signer gives a key away before its time")
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	old, announced, other := newKey(token.ES256), newKey(token.ES256), newKey(token.EdDSA)
	announced.ID, announced.Generation, announced.NotBefore = "next", 2, epoch.Add(time.Hour)
	keys := []token.Key{old, announced, other}
	r := mustRing(t, token.Schedule{}, keys...)
	stolen, err := r.Sign(epoch, token.ES256, token.AccessToken, access(nil))
	if err != nil {
		t.Fatal(err)
	}
	p := r.Replace(epoch, token.ES256)
	if len(p.Add) != 1 || p.Add[0].Generation != 3 || !slices.Equal(p.Drop, []string{old.ID, announced.ID}) {
		t.Fatalf("Replace = %+v, want generation 3 instead of both others", p)
	}
	keys = carryOut(keys, p)
	r = mustRing(t, token.Schedule{}, keys...)
	if k, ok := r.Signer(token.ES256, epoch); !ok || k.Generation != 3 {
		t.Errorf("after Replace %v signs, want the new key at once", k)
	}
	if _, err := newParser(r).Parse(t.Context(), stolen); err == nil {
		t.Error("after Replace a token of the old key is accepted")
	}
	if p := r.Plan(epoch, token.ES256, token.EdDSA); len(p.Add)+len(p.Drop) != 0 {
		t.Errorf("plan after Replace = %+v, want none", p)
	}
	// Even if the key that is replaced has only just begun to sign.
	fresh := newKey(token.EdDSA)
	fresh.NotBefore = epoch.Add(-time.Second)
	both := append([]token.Key{fresh}, mustRing(t, token.Schedule{}, fresh).Replace(epoch, token.EdDSA).Add...)
	both[1].ID, both[1].Private = "new", private(token.EdDSA)
	if k, _ := mustRing(t, token.Schedule{}, both...).Signer(token.EdDSA, epoch); k.ID != "new" {
		t.Errorf("after Replace of a fresh key %v signs, want the new one", k)
	}
	// Twice within the same minute: the newer one wins although both are as old.
	keys = append(keys, func() token.Key {
		k := r.Replace(epoch, token.ES256).Add[0]
		k.ID, k.Private = "again", private(token.ES256)
		return k
	}())
	if k, _ := mustRing(t, token.Schedule{}, keys...).Signer(token.ES256, epoch); k.ID != "again" {
		t.Errorf("after a second Replace %v signs, want the newest", k)
	}
}

// A store may cut times to seconds: that must never shorten the announcement.
func TestPlanCountsInWholeSeconds(t *testing.T) {
	t.Parallel()
	r := mustRing(t, token.Schedule{}, newKey(token.EdDSA))
	late := epoch.Add(100*day + 1)
	want := epoch.Add(101*day + time.Second)
	if got := r.Plan(late, token.EdDSA).Add[0].NotBefore; !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("a late plan has a key sign from %v, want %v", got, want)
	}
}

func TestPlanDropsUnusedAlgorithms(t *testing.T) {
	t.Parallel()
	k := newKey(token.EdDSA)
	r := mustRing(t, token.Schedule{}, k)
	end := k.NotBefore.Add(91 * day)
	if p := r.Plan(end.Add(-1)); len(p.Drop) != 0 {
		t.Errorf("plan within the time of an unused key = %+v, want none", p)
	}
	if p := r.Plan(end); !slices.Equal(p.Drop, []string{k.ID}) || len(p.Add) != 0 {
		t.Errorf("plan after the time of an unused key = %+v, want to drop it", p)
	}
}

// A node whose clock was years ahead must not end the rotation of all others.
func TestPlanPassesOverKeysOfTheFarFuture(t *testing.T) {
	t.Parallel()
	future := newKey(token.EdDSA)
	future.NotBefore = epoch.Add(1000 * day)
	keys := []token.Key{future}
	keys = carryOut(keys, mustRing(t, token.Schedule{}, keys...).Plan(epoch, token.EdDSA))
	r := mustRing(t, token.Schedule{}, keys...)
	if k, ok := r.Signer(token.EdDSA, epoch); !ok || k.Generation != 2 {
		t.Fatalf("signer = %v, %v, want a key that signs at once", k, ok)
	}
	if p := r.Plan(epoch.Add(95*day), token.EdDSA); len(p.Add) != 1 || p.Add[0].Generation != 3 {
		t.Errorf("plan after 95 days = %+v, want a third key", p)
	}
}

func TestNewRingRefuses(t *testing.T) {
	t.Parallel()
	a, b := newKey(token.EdDSA), newKey(token.EdDSA)
	b.Generation = 2
	if _, err := token.NewRing(token.Schedule{}, a, b); err == nil {
		t.Error("NewRing accepts two keys with one id")
	}
	b.ID, b.Generation = "b", 1
	if _, err := token.NewRing(token.Schedule{}, a, b); err == nil {
		t.Error("NewRing accepts two keys of one generation")
	}
	for _, s := range []token.Schedule{{Announce: -1}, {Sign: -1}, {Retire: -1}, {Announce: 2 * time.Hour, Sign: time.Hour}} {
		if _, err := token.NewRing(s); err == nil {
			t.Errorf("NewRing accepts %+v", s)
		}
	}
}
