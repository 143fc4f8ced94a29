package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// RoleReadToken is the role of users whose upstream tokens clients may fetch at {BaseURL}/broker/{alias}/token, as far as their
// ProviderTokens name the provider: by GET with an access token of the user as the bearer's, or by POST with the client's own
// authentication and the access token as the parameter "token", which then may also be one that has the client in its audience, as
// that of an API has. Users whom a [Provider] with TokensReadable brings have it from their first login on.
const RoleReadToken = vault.RoleRead

// Why [Broker.UpstreamTokens] returns none. Any other error means that the store could not tell.
var (
	// ErrTokensNotStored: the provider's StoreTokens keeps none.
	ErrTokensNotStored = vault.ErrOff
	// ErrTokensRefused: there is no such provider or user, or one of them is switched off or held.
	ErrTokensRefused = errors.New("broker: the provider or the user is switched off, or there is none")
	// ErrNotLinked: the user is not linked to the provider.
	ErrNotLinked = vault.ErrNotLinked
	// ErrNoTokens: nothing is stored: the user has not signed in with the provider since it stores tokens, or the session that
	// had some is over, or the provider has issued none.
	ErrNoTokens = vault.ErrNone
	// ErrLinkAgain: what was stored has ended, and only the user can help, by signing in with the provider, or linking it, again.
	// That is so where the provider says that the refresh token is no longer good, and where it has refused it for an hour without
	// saying why; in the latter case it is asked again each time.
	ErrLinkAgain = vault.ErrLinkAgain
	// ErrRefreshFailed: what was stored has ended, and the provider could not be asked for more, or refuses and does not say why:
	// trying again later may do.
	ErrRefreshFailed = vault.ErrRefresh
)

// UpstreamTokens returns what the provider with this alias has issued for a user: an access token that is good for the provider's
// TokenMinValidity at least, if it ends at all. If it would end before, it is renewed first, once for all callers at the same
// time on all nodes. Where a node dies over it the next caller waits for fifteen seconds and tries the same refresh token again, which
// may have been used: then it is ErrLinkAgain, unless the provider takes it once more. The refresh token is left out: it is the broker's
// alone to use, as most are good for one use.
//
// Where the provider's tokens are kept in sessions, these are the tokens of the session that ctx tells of, behind
// [Broker.RequireLogin], or else of the user's newest session that has some.
//
// The caller decides who may have them. The error is one of those above, or wraps one.
func (b *Broker) UpstreamTokens(ctx context.Context, userID, alias string) (*provider.Tokens, error) {
	tokens, err := b.upstreamTokens(ctx, userID, alias)
	if gate.Refused(err) || errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrTokensRefused, err)
	}
	if err != nil {
		return nil, fmt.Errorf("tokens of provider %q: %w", alias, err)
	}
	tokens.RefreshToken = ""
	return tokens, nil
}

func (b *Broker) upstreamTokens(ctx context.Context, userID, alias string) (*provider.Tokens, error) {
	id := ""
	if p, err := b.gate.Enabled(alias); err == nil && p.StoreTokens == provider.TokensInSession {
		if s, ok := SessionFrom(ctx); ok && s.UserID == userID && s.Upstream.Provider == alias {
			id = s.ID
		} else if id, err = b.vault.Newest(ctx, userID, alias); err != nil {
			return nil, err
		}
	}
	user, err := b.store.User(ctx, userID)
	if errors.Is(err, store.ErrNotFound) && id != "" { // a transient user
		var active *session.Active
		if active, err = b.sessions.Load(ctx, id); err == nil {
			user = active.User
		}
	}
	if err != nil {
		return nil, err
	}
	return b.vault.Tokens(ctx, user, alias, id)
}

// RevokeUpstreamTokens gives up all that is stored of what providers have issued for a user, on links and in sessions: here before
// it returns, and there as far as a provider that is not switched off can be told, for which nobody waits. It is for a host that
// deletes a user, and calls it before, and for one that does not wait until [Broker.Run] does the same for a user who is Disabled,
// or keeps users in a table of its own, which that does not look through. A user for whom nothing is stored is no error.
func (b *Broker) RevokeUpstreamTokens(ctx context.Context, userID string) error {
	if err := b.vault.Forget(ctx, userID); err != nil {
		return fmt.Errorf("revoke tokens of providers: %w", err)
	}
	return nil
}

// tokensInSession reports whether some provider's tokens are kept in sessions.
func (c *Config) tokensInSession() bool {
	for _, p := range c.Providers {
		if p.StoreTokens == provider.TokensInSession {
			return true
		}
	}
	return false
}
