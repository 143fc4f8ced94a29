package provider

import "fmt"

// A Kind says what a failed login at an upstream means for the person who waits.
type Kind int

// The zero Kind is the one with the least that can be done about it.
const (
	Invalid       Kind = iota // the answer failed a check: signature, nonce, audience, missing subject …
	Denied                    // the user, or the upstream on the user's behalf, refused
	LoginRequired             // the upstream would have had to show a page, and was asked not to
	Expired                   // the code or the upstream's own login page was too old: trying again will do
	Unavailable               // the upstream could not be reached, was too slow, or failed
	Misconfigured             // the upstream refused the broker itself: client, secret, redirect URI, scope
	ClaimMismatch             // a claim that this provider requires is missing or has another value
)

var kindNames = [...]string{"invalid", "denied", "login required", "expired", "unavailable", "misconfigured", "claim mismatch"}

// String returns the kind in words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Error is how Begin and Finish fail. Its text is for the log: it may hold what the upstream sent, and is never shown to
// a visitor. It never holds a token or a secret.
type Error struct {
	Kind Kind
	// Code is the protocol's own error code as the upstream sent it ("access_denied", "interaction_required"), "" if it
	// sent none. It has been checked to be a code: ASCII without spaces, quotes or backslashes, at most 64 bytes.
	Code string
	Err  error // what happened; may be nil
}

// Error returns the text for the log.
func (e *Error) Error() string {
	s := "provider: " + e.Kind.String()
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }
