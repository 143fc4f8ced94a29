package provider

import "context"

// Unsolicited is the capability of an [IdentityProvider] whose upstream may sign in users who did not ask for it at the
// broker (SAML 2.0: "IdP-initiated"). Whoever has an account there can sign somebody else's browser in to it, so that an
// implementation refuses such answers unless its configuration says otherwise. The first-login flow of one lets in who needs no
// page; anybody else is asked to sign in with the provider again, from here.
type Unsolicited interface {
	// FinishUnsolicited verifies an answer to no request, without Data, and returns who it is and where they are to go on to: a
	// path of the host's site, or the home page of the client whose id follows [ToClient]. The Once of the Identity is not nil: the
	// caller sees that the answer is used once.
	FinishUnsolicited(ctx context.Context, cb Callback) (id *Identity, target string, err error)
}

// ToClient begins the target of a login that leads to a client of the broker instead of to a page of the host's.
const ToClient = "client:"
