package provider

import (
	"context"
	"net/url"
	"time"
)

// LogoutStarter is the capability of an [IdentityProvider] that can be signed out of: it ends the session that the browser
// has there.
type LogoutStarter interface {
	// BeginLogout says where to send the browser, or nil without an error if there is nowhere to send it. The State must
	// come back, as after Begin, at the RedirectURI. Whatever it names may have expired since.
	BeginLogout(ctx context.Context, r LogoutRequest) (*Redirect, error)
}

// LogoutRequest is what is known about a session at an upstream that is to end. Strings that are not known are empty.
type LogoutRequest struct {
	IDToken     string // the last one for it, or the LogoutHint of its Identity
	Subject     string
	Session     string // the upstream's own name for it: OpenID "sid", SAML SessionIndex
	RedirectURI string // where the browser must come back to
	State       string // must come back with it, unchanged
}

// LogoutReceiver is the capability of an [IdentityProvider] that tells the broker whom it has signed out: without a browser
// or, if it is a [LogoutAnswerer] too, by way of one.
type LogoutReceiver interface {
	// ReceiveLogout verifies a message and returns whom it is about. It must refuse, with a [*Error], whatever it cannot
	// verify: the caller ends sessions because of it. That a message was not received before is the caller's to check.
	ReceiveLogout(ctx context.Context, m LogoutMessage) (*Logout, error)
}

// LogoutAnswerer is the capability of an [IdentityProvider] whose messages about logout come by way of the browser, and
// have to be answered (SAML 2.0 single logout). It is a [LogoutStarter] and a [LogoutReceiver].
type LogoutAnswerer interface {
	// AnswerLogout says where to send the browser that brought l, which ReceiveLogout returned: back to the upstream. done
	// says whether what it asked for was done.
	AnswerLogout(ctx context.Context, l *Logout, done bool) (*Redirect, error)
	// FinishLogout verifies the answer to what BeginLogout sent, whose Data comes with it. An error says that the session
	// there may go on; here it has ended already.
	FinishLogout(ctx context.Context, cb Callback) error
}

// LogoutMessage is what arrived at the broker's logout endpoint for this provider. Anybody may have sent it.
type LogoutMessage struct {
	URL    string     // the endpoint, with the raw query as it was requested
	Params url.Values // of the body, which was a form, or of the query
}

// A Logout is what an upstream said: this session of its own has ended or, where it names none, all of this subject.
// One of Subject and Session is not empty, and where both are given both count.
type Logout struct {
	Issuer       string // as in [Identity]
	Subject      string
	Session      string
	MoreSessions []string  // that have ended as well
	ID           string    // of the message; the issuer gives no other the same
	Expires      time.Time // from then on the same message is refused anyway
	State        string    // for AnswerLogout to send back
}

// A LogoutMode says whether signing out here signs out at the upstream as well, as far as it is a [LogoutStarter].
type LogoutMode int

const (
	LogoutOffer   LogoutMode = iota // the page that says so offers it
	LogoutPerform                   // the browser is sent there
	LogoutNone                      // the session there goes on
)
