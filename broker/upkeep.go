package broker

import (
	"context"
	"sync"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/upkeep"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// jobs are what is done from time to time, on each node. Whatever else has to be done to the store from time to time belongs here.
func (b *Broker) jobs() []upkeep.Job {
	jobs := []upkeep.Job{{Name: "rotation of signing keys", Do: func(ctx context.Context) error {
		_, err := b.keys.Published(ctx)
		return err
	}}}
	if sweeper, ok := store.As[store.Sweeper](b.store); ok {
		jobs = append(jobs, upkeep.Job{Name: "sweep", Do: func(ctx context.Context) error { return upkeep.Sweep(ctx, sweeper) }})
	}
	if b.holders != nil {
		jobs = append(jobs, upkeep.Job{Name: "tokens of disabled users", Every: 10 * time.Minute, Do: func(ctx context.Context) error {
			return b.vault.ForgetDisabled(ctx, b.holders)
		}})
	}
	if len(b.maintained) > 0 {
		jobs = append(jobs, upkeep.Job{Name: "maintenance of providers", Every: time.Hour, Do: func(ctx context.Context) error {
			return upkeep.Maintain(ctx, b.maintained)
		}})
	}
	return jobs
}

// holdersOf returns who finds users that hold tokens: nil where users are kept apart from their links, by the host for instance.
func holdersOf(s store.Store) store.Holders {
	switch p := s.(type) {
	case store.Parts:
		holders, _ := p.Users.(store.Holders)
		return holders
	case *store.Parts:
		return holdersOf(*p)
	}
	holders, _ := store.As[store.Holders](s)
	return holders
}

// maintained are the providers in use that have something to do from time to time, by alias.
func (c *Config) maintained() map[string]provider.Maintained {
	all := map[string]provider.Maintained{}
	for _, p := range c.Providers {
		if m, ok := p.IdP.(provider.Maintained); ok && !p.Disabled {
			all[p.Alias] = m
		}
	}
	return all
}

// Run does the broker's upkeep until ctx ends, and returns its error: it rotates keys, removes what has expired, tells
// applications of a sign-out again that could not be told at once, and has each provider that is a [provider.Maintained] do what is
// due: metadata of SAML is fetched, and the end of its certificates told, although nobody logs in. What providers have issued for users
// who are Disabled is revoked and given up within a quarter of an hour, where Store is a [store.Holders]. On several nodes it may run
// on each: they do it at different moments. What fails is logged and tried again, less and less often.
//
// A broker works without it. Keys are rotated by requests then, and what has expired is refused as ever; but it stays in the
// store, and an application that could not be told of a sign-out is not told again.
func (b *Broker) Run(ctx context.Context) error {
	var retries sync.WaitGroup
	retries.Go(func() { b.logouts.Run(ctx) })
	upkeep.Run(ctx, b.log, b.jobs())
	retries.Wait()
	return ctx.Err()
}

// RotateKeys is for an emergency: signing keys may be known to somebody else. All that there are are withdrawn, announced
// ones included, and new ones sign. It is one call, on any node; without one, keys are rotated by Config.Keys.
//
//   - When it returns, this node knows the old keys no more, and no node that is asked for its key set publishes them.
//   - Other nodes follow within fifteen seconds: until then they may still sign with an old key, and such tokens become void
//     with it. One whose store does not answer goes on as it was, for half of Keys.Announce at most.
//   - Relying parties learn it when they next fetch the key set, which they may cache for as long as its Cache-Control says:
//     an hour, or a quarter of Keys.Announce if that is less. Most fetch it at once when they see a key that is new to them.
//   - Sessions and refresh tokens go on, as no key signs them: applications get new tokens for the old ones. Access tokens
//     that are out are refused here, and by an API that verifies them itself as soon as it has fetched the key set.
//
// Keys that Config.Secrets cannot open, which is an error everywhere else, are withdrawn as well. With an error nothing is
// lost, and some keys may be withdrawn already: call it again. A second call withdraws the keys of the first.
func (b *Broker) RotateKeys(ctx context.Context) error { return b.keys.Replace(ctx) }
