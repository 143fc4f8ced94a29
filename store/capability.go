package store

import "context"

// As returns s as a T and whether it is one: T is a capability or a role that not every store has, such as [Committer] or
// [Credentials]. It is a type assertion that sees through stores which wrap another. Those have a method Unwrap() Store,
// forward all that they know of, and are a T where what they wrap is one.
func As[T any](s Store) (T, bool) {
	if w, ok := s.(interface{ Unwrap() Store }); ok {
		if _, ok := As[T](w.Unwrap()); !ok {
			var none T
			return none, false
		}
	}
	t, ok := s.(T)
	return t, ok
}

// A Secret is a value that whoever wraps the store has sealed, and its place: what it is and which record it is of.
type Secret struct {
	Field SecretField
	Row   []string // the key of the record; see the fields
	Value []byte   // as it is kept; empty where the record has none
}

// A SecretField is a field of a record that holds a secret for longer than minutes.
type SecretField string

// The secret fields, in the order in which they are listed, and their rows.
const (
	SecretTokens     SecretField = "links.tokens"               // [Link.Tokens] by Provider, Issuer, Subject
	SecretIDToken    SecretField = "sessions.upstream_id_token" // [Session.UpstreamIDToken] by ID
	SecretUpstream   SecretField = "sessions.upstream_tokens"   // [Session.UpstreamTokens] by ID
	SecretUser       SecretField = "sessions.transient_user"    // [Session.TransientUser] by ID
	SecretCredential SecretField = "credentials.secret"         // [Credential.Secret] by ID, UserID, Kind
	SecretPrivate    SecretField = "keys.private"               // [Key.Private] by ID
)

// SecretFields are all of them.
func SecretFields() []SecretField {
	return []SecretField{SecretTokens, SecretIDToken, SecretUpstream, SecretUser, SecretCredential, SecretPrivate}
}

// Secrets is the capability of a store to hand out what is sealed in it, so that it can be sealed again with another key.
// The secrets of [Clients] are not among them, as those can be listed.
type Secrets interface {
	// Secrets returns up to limit values of a field in an order of the store's own, which stays the same: those that follow
	// the one of the row after, be it still there or not, or the first if after is nil. Records without a value count; what
	// has expired may be left out. None is an empty slice and no error.
	Secrets(ctx context.Context, field SecretField, after []string, limit int) ([]*Secret, error)
	// ReplaceSecret puts value in the place of old.Value if that is still there, byte for byte; otherwise ErrConflict. The
	// record is otherwise the same, its Version included.
	ReplaceSecret(ctx context.Context, old *Secret, value []byte) error
}
