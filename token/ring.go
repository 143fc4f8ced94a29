package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Schedule says how long the phases of a key last. Each zero field means its default.
type Schedule struct {
	// Announce is how long a key is published before it signs, so that whoever caches the key set knows it in time.
	// Longer than any cache keeps a key set and than any node keeps a Ring. Default 24 hours.
	Announce time.Duration
	// Sign is how long a key signs before the next one does. Default 90 days.
	Sign time.Duration
	// Retire is how long a key stays published after it has last signed. Longer than any token is valid. Default 24 hours.
	Retire time.Duration
}

func (s Schedule) withDefaults() (Schedule, error) {
	s.Announce = cmp.Or(s.Announce, 24*time.Hour)
	s.Sign = cmp.Or(s.Sign, 90*24*time.Hour)
	s.Retire = cmp.Or(s.Retire, 24*time.Hour)
	if s.Announce < 0 || s.Sign < 0 || s.Retire < 0 {
		return s, errors.New("schedule: a duration is negative")
	}
	if s.Announce > s.Sign {
		return s, errors.New("schedule: Announce is longer than Sign, so a key would be announced before the one before it signs")
	}
	return s, nil
}

// A Phase is where a key stands in its life.
type Phase int

// The phases of a key. It is published, and verifies, in all but Gone.
const (
	Gone      Phase = iota // unknown, or retired for long enough
	Announced              // does not sign yet
	Signing                // the one key of its algorithm that signs
	Retired                // signs no more
)

// String returns the name of the phase in lower case.
func (p Phase) String() string {
	switch p {
	case Announced:
		return "announced"
	case Signing:
		return "signing"
	case Retired:
		return "retired"
	}
	return "gone"
}

// A Ring is an immutable set of signing keys with their schedule. What its keys do is a pure function of the time:
//
// Of the keys of one algorithm, the one whose NotBefore passed last is signing (of two with the same, the higher
// generation). Those that are still to come are announced. Those that came before are retired, and gone once
// Schedule.Retire has passed since the next one took over. A key whose successor is late signs on, because an outage
// would help nobody; so whoever wants rotation must carry out [Ring.Plan] regularly. Remove a signing key by
// [Ring.Replace] only: without it, the one before it would sign again.
//
// A Ring is a [KeySource] of its published keys. It is safe for concurrent use.
type Ring struct {
	schedule Schedule
	keys     []*ringKey // by algorithm, then in the order in which they sign
}

type ringKey struct {
	Key
	public  PublicKey
	jwk     []byte          // the public half as it is published
	headers map[Type]string // encoded, with the dot
	next    *ringKey        // takes over from this one; nil if there is none
}

// NewRing makes a ring of keys in any order. It refuses a schedule that is negative or announces longer than it signs,
// keys that do not fit their algorithm, and two keys with the same id or with the same generation of an algorithm.
func NewRing(s Schedule, keys ...Key) (*Ring, error) {
	s, err := s.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	r := &Ring{schedule: s}
	for _, k := range keys {
		rk, err := newRingKey(k)
		if err != nil {
			return nil, fmt.Errorf("key ring: %w", err)
		}
		for _, other := range r.keys {
			if other.ID == k.ID || other.Algorithm == k.Algorithm && other.Generation == k.Generation {
				return nil, fmt.Errorf("key ring: %v: its id or its generation %d is taken", k, k.Generation)
			}
		}
		r.keys = append(r.keys, rk)
	}
	slices.SortFunc(r.keys, func(a, b *ringKey) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.Generation, b.Generation))
	})
	for i, k := range r.keys[:max(len(r.keys)-1, 0)] {
		if n := r.keys[i+1]; n.Algorithm == k.Algorithm {
			k.next = n
		}
	}
	return r, nil
}

func newRingKey(k Key) (*ringKey, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	public, _ := publicOf(k.Private)
	rk := &ringKey{Key: k, public: PublicKey{ID: k.ID, Algorithm: k.Algorithm, Key: public}, headers: make(map[Type]string)}
	for _, t := range []Type{IDToken, AccessToken, LogoutToken} {
		rk.headers[t] = header(k, t)
	}
	var err error
	rk.jwk, err = marshalJWK(rk.public)
	return rk, err
}

func (r *Ring) phase(k *ringKey, now time.Time) Phase {
	switch {
	case now.Before(k.NotBefore):
		return Announced
	case k.next == nil || now.Before(k.next.NotBefore):
		return Signing
	case now.Before(k.next.NotBefore.Add(r.schedule.Retire)):
		return Retired
	}
	return Gone
}

// Phase returns the phase of the key with this id, which is Gone if there is none.
func (r *Ring) Phase(id string, now time.Time) Phase {
	for _, k := range r.keys {
		if k.ID == id {
			return r.phase(k, now)
		}
	}
	return Gone
}

// Signer returns the key of the algorithm that signs now, and false if there is none.
func (r *Ring) Signer(algorithm string, now time.Time) (Key, bool) {
	if k := r.signer(algorithm, now); k != nil {
		return k.Key, true
	}
	return Key{}, false
}

func (r *Ring) signer(algorithm string, now time.Time) *ringKey {
	for _, k := range r.keys {
		if k.Algorithm == algorithm && r.phase(k, now) == Signing {
			return k
		}
	}
	return nil
}

// Public returns the keys that are published now: all but those that are gone.
func (r *Ring) Public(now time.Time) []PublicKey {
	var keys []PublicKey
	for _, k := range r.keys {
		if r.phase(k, now) != Gone {
			keys = append(keys, k.public)
		}
	}
	return keys
}

// PublicKeys makes a Ring a [KeySource] of the keys that are published at now. It never fails.
func (r *Ring) PublicKeys(_ context.Context, id string, now time.Time) ([]PublicKey, error) {
	if id == "" {
		return r.Public(now), nil
	}
	for _, k := range r.keys {
		if k.ID == id && r.phase(k, now) != Gone {
			return []PublicKey{k.public}, nil
		}
	}
	return nil, nil
}

// A Plan is what has to be done to the stored keys. Add first, then drop.
type Plan struct {
	// Add names keys by Algorithm, Generation and NotBefore; they still need a Private (see [GenerateKey]) and an ID. Of
	// several nodes that plan at the same time each comes to the same generations, so where the store keeps
	// (algorithm, generation) unique, one of them wins and the others read the keys again.
	Add []Key
	// Drop holds the ids of keys that are of no more use.
	Drop []string
}

// skew is how far the clocks of two nodes may differ for a key that signs at once: it does for both. Each is a minute off
// at most.
const skew = 2 * time.Minute

// MaxAge is how long a node may use the ring while it cannot read the keys again: half of Schedule.Announce. Until then it
// lacks no key that another node signs with, and neither does anybody who keeps what is published of it for as long as
// [Ring.JWKS] says, but for keys that sign at once.
func (r *Ring) MaxAge() time.Duration { return r.schedule.Announce / 2 }

// Plan says what to do now so that each of the algorithms has exactly one signing key at any time. The first key of an
// algorithm signs at once; each later one is announced first, for Schedule.Announce at least, however late the plan is
// made. Keys of other algorithms are dropped once their time is over. Carry it out several times within
// Schedule.Announce; while nothing is to be done it is empty.
func (r *Ring) Plan(now time.Time, algorithms ...string) Plan {
	var p Plan
	algorithms = slices.Compact(slices.Sorted(slices.Values(algorithms)))
	for _, a := range algorithms {
		if k, due := r.due(a, now); due {
			p.Add = append(p.Add, k)
		}
	}
	for _, k := range r.keys {
		unused := k.next == nil && !slices.Contains(algorithms, k.Algorithm)
		if r.phase(k, now) == Gone || unused && !now.Before(k.NotBefore.Add(r.schedule.Sign+r.schedule.Retire)) {
			p.Drop = append(p.Drop, k.ID)
		}
	}
	return p
}

// due returns the key that has to be added for the algorithm, if any.
func (r *Ring) due(algorithm string, now time.Time) (Key, bool) {
	signer := r.signer(algorithm, now)
	if signer == nil {
		return r.atOnce(algorithm, now), true
	}
	end := signer.NotBefore.Add(r.schedule.Sign)
	if now.Before(end.Add(-r.schedule.Announce)) {
		return Key{}, false
	}
	if earliest := now.Add(r.schedule.Announce); end.Before(earliest) {
		end = earliest
	}
	end = ceilSecond(end)
	if signer.next != nil && !signer.next.NotBefore.After(end.Add(skew)) { // by a clock that may be ahead of ours
		return Key{}, false
	}
	return Key{Algorithm: algorithm, Generation: r.nextGeneration(algorithm), NotBefore: end}, true
}

// Replace is the emergency: the keys of the algorithm cannot be trusted any more. It plans a new one that signs at once
// and drops all others, announced ones included. Tokens signed with them are refused from then on by whoever reads this
// issuer's keys afresh, and by everybody else when their cache ends.
func (r *Ring) Replace(now time.Time, algorithm string) Plan {
	p := Plan{Add: []Key{r.atOnce(algorithm, now)}}
	for _, k := range r.keys {
		if k.Algorithm == algorithm {
			p.Drop = append(p.Drop, k.ID)
		}
	}
	return p
}

// atOnce returns the next key of the algorithm, to sign from now on on every node whose clock is at most skew behind.
func (r *Ring) atOnce(algorithm string, now time.Time) Key {
	begin := now.Add(-skew).Truncate(time.Second).UTC()
	if s := r.signer(algorithm, now); s != nil && begin.Before(s.NotBefore) {
		begin = s.NotBefore
	}
	return Key{Algorithm: algorithm, Generation: r.nextGeneration(algorithm), NotBefore: begin}
}

func (r *Ring) nextGeneration(algorithm string) int {
	last := 0
	for _, k := range r.keys {
		if k.Algorithm == algorithm {
			last = max(last, k.Generation)
		}
	}
	return last + 1
}

// ceilSecond rounds up, so that no store rounds the time down to one that is too early.
func ceilSecond(t time.Time) time.Time {
	if f := t.Truncate(time.Second); f.Before(t) {
		return f.Add(time.Second).UTC()
	}
	return t.UTC()
}
