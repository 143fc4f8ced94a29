package keys_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/keys"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/token"
)

const (
	day      = 24 * time.Hour
	longest  = 12 * time.Hour // that a token may live
	maxSkew  = time.Minute
	algFirst = token.ES256 // that every node has
	algLater = token.EdDSA // that nodes get with a newer configuration
)

// A cluster is some nodes over one store, and relying parties that cache what these publish, for months.
type cluster struct {
	*testing.T
	random   *rand.Rand
	seed     uint64
	schedule token.Schedule
	now      time.Time // the true time
	store    *memstore.Store
	nodes    []*node
	parties  []party
	tokens   []issued

	withdrawn map[string]time.Time // keys, and since when
	emergency time.Time            // the last one: caches that are older may lack a key that signs
	ever      map[string]bool      // keys
}

// A node is one broker with a clock of its own.
type node struct {
	*keys.Keys
	store *flaky
	skew  time.Duration
	up    time.Time // until when its store is down
}

// A party is what somebody has cached.
type party struct {
	ids            []string
	fetched, until time.Time
}

type issued struct {
	id      string
	expires time.Time // by the clock of the node that signed
}

func (c *cluster) upTo(d time.Duration) time.Duration {
	return time.Duration(c.random.Int64N(int64(d) + 1))
}

func (c *cluster) bad(format string, args ...any) {
	c.Helper()
	c.Fatalf("seed %d, %+v, after %v: %s", c.seed, c.schedule, c.now.Sub(epoch), fmt.Sprintf(format, args...))
}

// start starts a node afresh.
func (c *cluster) start(n *node) {
	n.store.down = func(string) bool { return c.now.Before(n.up) }
	algorithms := []string{algFirst}
	if n.Keys != nil {
		algorithms = n.Algorithms
	}
	n.Keys = newKeys(c, n.store, func() time.Time { return c.now.Add(n.skew) })
	n.Schedule, n.Algorithms = c.schedule, algorithms
}

func newCluster(t *testing.T, seed uint64) *cluster {
	c := &cluster{
		T: t, seed: seed, random: rand.New(rand.NewPCG(seed, 4)), now: epoch, store: memstore.New(),
		parties: make([]party, 4), withdrawn: map[string]time.Time{}, ever: map[string]bool{},
	}
	c.schedule = token.Schedule{Announce: 10*time.Minute + c.upTo(c.upTo(2*day)), Retire: longest + time.Hour + c.upTo(day)}
	c.schedule.Sign = c.schedule.Announce + c.upTo(20*day)
	for range 2 + c.random.IntN(4) {
		n := &node{store: &flaky{Keyring: c.store}, skew: c.upTo(2*maxSkew) - maxSkew}
		c.start(n)
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cluster) node() *node { return c.nodes[c.random.IntN(len(c.nodes))] }

// step is one thing that happens somewhere.
func (c *cluster) step() {
	n := c.node()
	switch k := c.random.IntN(1000); {
	case k < 30:
		c.start(n)
	case k < 34:
		n.Algorithms = []string{algFirst, algLater}
		c.start(n)
	case k < 40:
		n.up = c.now.Add(c.upTo(3 * c.schedule.Announce))
	case k < 42:
		c.replace(n)
	case k < 400: // upkeep, or any request
		if _, err := n.Ring(c.Context()); err != nil && !c.now.Before(n.up) {
			c.bad("no keys: %v", err)
		}
	case k < 550:
		c.fetch(n)
	default:
		c.sign(n)
	}
}

// sign has a node sign a token, and looks whether everybody can verify it.
func (c *cluster) sign(n *node) {
	algorithm := n.Algorithms[c.random.IntN(len(n.Algorithms))]
	ring, err := n.Ring(c.Context())
	if err != nil {
		if !c.now.Before(n.up) {
			c.bad("cannot sign: %v", err)
		}
		return
	}
	key, ok := ring.Signer(algorithm, n.Now())
	if !ok {
		c.bad("no key signs")
	}
	c.ever[key.ID] = true
	c.noteFirst()
	if since, ok := c.withdrawn[key.ID]; ok {
		// A node whose store was down may not know. It asks again within five seconds.
		if c.now.Sub(since) > follows && c.now.Sub(n.up) > 5*time.Second {
			c.bad("a key signs that was withdrawn %v ago", c.now.Sub(since))
		}
		return
	}
	for i, p := range c.parties {
		if c.now.Before(p.until) && p.fetched.After(c.emergency) && !slices.Contains(p.ids, key.ID) {
			c.bad("%v signs, which relying party %d, asking %v ago, does not know", key, i, c.now.Sub(p.fetched))
		}
	}
	other := c.node() // one is enough each time: asking changes what it knows
	if !slices.Contains(c.published(other), key.ID) && !c.now.Before(other.up) {
		c.bad("%v signs, which another node does not publish", key)
	}
	c.tokens = append(c.tokens, issued{key.ID, n.Now().Add(c.upTo(longest))})
}

func (c *cluster) published(n *node) (ids []string) {
	ring, err := n.Published(c.Context())
	if err != nil && !c.now.Before(n.up) {
		c.bad("publishes nothing: %v", err)
	}
	if err != nil {
		return nil
	}
	for _, k := range ring.Public(n.Now()) {
		ids = append(ids, k.ID)
	}
	return ids
}

// fetch has a relying party ask for the keys, and keep the answer for as long as it may.
func (c *cluster) fetch(n *node) {
	i := c.random.IntN(len(c.parties))
	ids := c.published(n)
	if ids == nil {
		return
	}
	if c.now.Before(n.up) && c.emergency.After(epoch) {
		return // it may know nothing of the emergency yet
	}
	ring, err := n.Published(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	_, lasts := ring.JWKS(n.Now())
	c.parties[i] = party{ids, c.now, c.now.Add(lasts)}
}

func (c *cluster) replace(n *node) {
	if c.now.Before(n.up) {
		return
	}
	before := stored(c, c.store)
	if err := n.Replace(c.Context()); err != nil {
		c.Fatal(err)
	}
	for _, id := range before {
		if c.withdrawn[id].IsZero() {
			c.withdrawn[id] = c.now
		}
		if knows(c, n.Keys, id) {
			c.bad("a key is known that was withdrawn here")
		}
	}
	c.emergency = c.now
}

// verify looks whether nodes and whoever asks now can verify what was signed.
func (c *cluster) verify() {
	n := c.node()
	c.tokens = slices.DeleteFunc(c.tokens, func(t issued) bool {
		return !n.Now().Before(t.expires.Add(maxSkew)) || !c.withdrawn[t.id].IsZero()
	})
	if c.now.Before(n.up) {
		return
	}
	for _, t := range c.tokens {
		if n.Now().Before(t.expires) && !knows(c, n.Keys, t.id) {
			c.bad("a node cannot verify a token that lives until %v", t.expires.Sub(epoch))
		}
	}
}

// However nodes and clocks go: what one signs all others publish by then, and everybody can verify it as long as it lives.
func TestNodes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		c := newCluster(t, seed)
		for range 1500 {
			c.step()
			c.verify()
			switch k := c.random.IntN(100); {
			case k < 60:
				c.now = c.now.Add(c.upTo(10 * time.Second))
			case k < 80:
				c.now = c.now.Add(c.upTo(c.schedule.Announce / 3))
			case k < 98:
				c.now = c.now.Add(c.upTo(6 * time.Hour))
			default: // nobody is there
				c.now = c.now.Add(c.upTo(3 * c.schedule.Sign))
			}
		}
		c.end()
	}
}

// noteFirst notes the moment at which an algorithm got its first key, as that of an emergency: it signs at once, and no
// cache can know it beforehand.
func (c *cluster) noteFirst() {
	list, err := c.store.Keys(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	for _, k := range list {
		if !k.NotBefore.After(k.CreatedAt) && k.CreatedAt.Add(maxSkew).After(c.emergency) {
			c.emergency = k.CreatedAt.Add(maxSkew)
		}
	}
}

// end lets time pass until all that is old has to be gone.
func (c *cluster) end() {
	old := stored(c, c.store)
	for range 20 {
		c.now = c.now.Add(c.schedule.Sign/4 + c.schedule.Retire/4)
		for _, n := range c.nodes {
			n.up = c.now
			n.Algorithms = []string{algFirst, algLater}
			if _, err := n.Ring(c.Context()); err != nil {
				c.bad("at the end: %v", err)
			}
		}
	}
	left := stored(c, c.store)
	for _, id := range old {
		if slices.Contains(left, id) {
			c.bad("an old key was never deleted")
		}
	}
	if most := 2 * (3 + int(c.schedule.Retire/c.schedule.Sign)); len(left) > most || len(c.ever) < 3 {
		c.bad("%d keys are left, of %d that have signed", len(left), len(c.ever))
	}
}
