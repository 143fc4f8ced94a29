// Package provider says what an upstream is: somebody else who vouches for users.
//
// It owns the plug point [IdentityProvider] and the values that pass through it, the [Identity] that an upstream vouched
// for, the [Profile] that mappers make of it, and [NewHTTPClient], the one guarded client through which anything that an
// administrator can type is fetched. It owns no protocol (packages below this one) and knows no local user.
//
// A login takes two calls, with the browser's trip to the upstream between them:
//
//	redirect, err := idp.Begin(ctx, provider.Request{RedirectURI: callback, State: state})
//	// keep redirect.Data sealed and bound to this browser, send it to redirect.URL …
//	identity, err := idp.Finish(ctx, provider.Callback{URL: requested, Params: form, Data: data})
//
// An implementation keeps nothing between the two: what it must remember is in Redirect.Data.
package provider

import (
	"context"
	"net/url"
	"time"
)

// IdentityProvider is an upstream that a browser is sent to. Implementations are safe for concurrent use, do no network
// I/O before the first call, and return a [*Error] for whatever went wrong.
//
// Further capabilities are found by type assertion, and a wrapper has to forward them by hand: [LogoutStarter],
// [LogoutReceiver], [LogoutAnswerer], [Unsolicited], [TokenVerifier], [TokenRefresher], [TokenRevoker], [Publisher],
// [Trusted] and [Branded]; and a method Insecure() []string that names the settings which take a check away, for the broker to
// log at start, Stale() error that says why logins go on with what was known of the upstream before, for the broker to log with
// each, and Check() error that says what is wrong with a value whose constructor could not, for the broker to ask at start.
type IdentityProvider interface {
	// Begin says where to send the browser. The State of the request must come back as the parameter by which the
	// protocol returns it (OAuth 2.0 "state", SAML RelayState).
	Begin(ctx context.Context, r Request) (*Redirect, error)
	// Finish verifies what came back and returns who it is. It must refuse whatever it cannot verify: the caller
	// trusts every field of the Identity as far as its doc says. The caller has checked that the state is its own, that
	// it belongs to this browser and to this provider, and that it was not used before.
	Finish(ctx context.Context, cb Callback) (*Identity, error)
}

// Request is what the broker asks of an upstream. All but RedirectURI and State are wishes of the application, which an
// implementation passes on where its protocol and its configuration allow it.
type Request struct {
	RedirectURI string // where the answer must go
	State       string // must come back with it, unchanged
	Prompt      []string
	LoginHint   string
	UILocales   []string // BCP 47, preferred first
	ACRValues   []string
	// MaxAge is the longest time since the user proved who they are; nil is any. Zero asks for a new proof. An
	// implementation that passes it on must refuse an answer that does not keep to it.
	MaxAge *time.Duration
	// Params are the application's own request parameters, from which an implementation forwards those that its
	// configuration lists and nothing else.
	Params url.Values
}

// Redirect says where to send the browser.
type Redirect struct {
	URL  string
	Form url.Values // non-nil: POST it to URL; nil: GET URL
	Data []byte     // handed back to Finish, once, unreadable for the browser; keep it under 1 KiB
	// PostBack says that the answer will come as a POST from the upstream's pages (form_post, SAML HTTP-POST), so that
	// the browser's cookie must be one that is sent along with it.
	PostBack bool
}

// Callback is what came back.
type Callback struct {
	URL    string     // the redirect URI with the raw query as it was requested
	Params url.Values // of the query or, for a POST, of the body, never of both
	Data   []byte     // from Redirect.Data
	// KeepTokens says that what the upstream has issued for itself will be kept: the Identity is to have it all as Tokens, also
	// what is dear to prepare.
	KeepTokens bool
}

// Identity is what an upstream said about somebody, this time. Strings that it did not give are empty.
type Identity struct {
	Issuer  string // the upstream's name for itself: OpenID issuer, SAML entity id; "" where the protocol has none
	Subject string // who it is at the upstream: stable, never reassigned, never empty
	// FormerSubject is the Subject by which the upstream named the same person before, "" if it named nobody otherwise. A user who is
	// linked by that, where nobody is by Subject, is linked by Subject from then on. So it has to come from what was verified as
	// Subject was, and from where nobody can write what they like: it lets people in. Nobody's Subject may be another's FormerSubject.
	FormerSubject string
	Username      string // for people; may change
	Email         string
	// EmailVerified is what the upstream said about Email in the same document. Whether it is believed is the
	// broker's business.
	EmailVerified bool
	FirstName     string
	LastName      string
	Name          string
	Locale        string
	Picture       string
	Groups        []string
	ACR           string
	AMR           []string
	AuthTime      time.Time      // when the user proved who they are; zero if the upstream did not say
	Session       string         // the upstream's own session: OpenID "sid", SAML SessionIndex
	SessionUntil  time.Time      // when it ends there at the latest, and so here; zero if the upstream did not say
	Claims        map[string]any // what it said, merged; JSON numbers are json.Number
	Tokens        *Tokens        // what the upstream issued; nil where it issues nothing
	// LogoutHint is what BeginLogout will be given, where that is not an ID token; "" if there is nothing to sign out of.
	LogoutHint string
	// Once, if it is not nil, names what the upstream said this by: the broker takes it a single time, on all nodes. It is
	// for protocols whose answers would be good for another login as well.
	Once *Once
}

// Once names what may be used a single time.
type Once struct {
	ID    string    // the issuer gives no other the same
	Until time.Time // from then on it is refused anyway
}
