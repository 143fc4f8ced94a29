package provider

import "context"

// Maintained is the capability of an [IdentityProvider] that has something to do from time to time although nobody logs in:
// to fetch again what its upstream publishes, to warn of what will end.
type Maintained interface {
	// Maintain does what is due, and nothing if nothing is. The broker's Run calls it at least once an hour, on each node. An
	// error is logged, and Maintain called again soon; logins do not depend on it.
	Maintain(ctx context.Context) error
}
