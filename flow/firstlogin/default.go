package firstlogin

import (
	"context"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
)

// Default returns the flow for first logins where the host gives none. It is Keycloak's: who is new becomes a user, after they have
// completed what the upstream left out; where an account with their e-mail address or username exists already, they are asked
// whether they want to use it, and have to prove that it is theirs: by a mailed link, by another provider that it is linked to, or
// by its password and second factor, or a passkey. Where none of these can be had, a page says that the account exists.
func Default() flow.Flow {
	return flow.Flow{
		{ID: "review", Do: ReviewProfile{}},
		{ID: "account", Sub: flow.Flow{
			{ID: "create", When: flow.Alternative, Do: CreateUserIfUnique{}},
			{ID: "existing", When: flow.Alternative, Sub: flow.Flow{
				{ID: "confirm", Do: ConfirmLink{Provable: Provable}},
				{ID: "verify", Sub: flow.Flow{
					{ID: "email", When: flow.Alternative, Do: VerifyByEmail{}},
					{ID: "provider", When: flow.Alternative, Do: VerifyByProvider{}},
					// The last of them: a Required step that skips denies the flow.
					{ID: "reauthenticate", When: flow.Alternative, Sub: VerifyByReauthentication()},
				}},
			}},
		}},
	}
}

// VerifyByReauthentication returns the sub-flow in which somebody proves to be a user by the password and, where that user has one,
// a second factor; or by a passkey alone, which is two factors, where the broker has them.
func VerifyByReauthentication() flow.Flow {
	return flow.Flow{
		{ID: "password", Do: factor.UsernamePassword{OrPasskey: true}},
		{ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs-second", Do: factor.NeedsSecond()},
			{ID: "code", Do: factor.SecondFactor{}},
		}},
	}
}

// Provable is the [ConfirmLink].Provable of [Default]: one of its three ways is open.
func Provable(ctx context.Context, t *flow.Turn) (bool, error) {
	if _, ok := factor.LocalOf(t); ok {
		return true, nil
	}
	if u, err := mailable(ctx, t); u != nil || err != nil {
		return u != nil, err
	}
	others, err := otherProviders(ctx, t)
	return len(others) > 0, err
}
