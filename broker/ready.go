package broker

import "context"

// Ready returns nil if the broker can do its work now: the store answers, and the secrets open the signing keys in it. The
// first call on an empty store makes the first keys. It is one query, for a readiness probe, or for a look at a broker with
// a new configuration before it takes over from the one before. The error is for the log and not for visitors.
func (b *Broker) Ready(ctx context.Context) error { return b.keys.Check(ctx) }
