package store

import (
	"context"
	"time"
)

// A CredentialKind says how a [Credential] proves who its user is, and so what its Secret is.
type CredentialKind string

const (
	// CredentialPassword is a password. Secret is its hash, as a PHC string.
	CredentialPassword CredentialKind = "password"
	// CredentialTOTP makes one-time codes from the time (RFC 6238). Secret is the seed.
	CredentialTOTP CredentialKind = "totp"
	// CredentialRecovery is a set of recovery codes, each good for once. Secret is the hashes of those that are left.
	CredentialRecovery CredentialKind = "recovery"
	// CredentialPasskey is a key that an authenticator holds (WebAuthn). Secret is what the broker knows of it: its id, its
	// public key and its flags. A user may have several; of any other kind they have one at most.
	CredentialPasskey CredentialKind = "passkey"
)

// A Credential is one way in which a user proves to the broker itself who they are.
type Credential struct {
	ID     string         // unique for ever, opaque
	UserID string         // never changes
	Kind   CredentialKind // never changes
	Label  string         // for people, such as the name of a device
	Secret []byte         // sealed; see the kinds
	// Step is what was used last, so that nothing is used twice: of a TOTP the time step whose code was accepted (RFC 6238
	// §5.2), of a passkey its signature counter (WebAuthn Level 3 §6.1.1). Two uses of the same are two updates of the
	// same version, of which one wins.
	Step      int64
	CreatedAt time.Time
	LastUsed  time.Time // zero until it is
	Version   int64     // for [Credentials.UpdateCredential]; the store counts it up from 1
}

// Credentials keeps how users prove to the broker itself who they are. It is a role of its own: a [Store] need not have it.
type Credentials interface {
	// CredentialsOf returns the credentials of a user ordered by creation; none is an empty slice and no error.
	CredentialsOf(ctx context.Context, userID string) ([]*Credential, error)
	// CreateCredential adds c and sets c.Version to 1. ErrExists if its id is taken, or if the user has one of its kind
	// already and it is not [CredentialPasskey]. Of any number of racing callers exactly one wins.
	CreateCredential(ctx context.Context, c *Credential) error
	// UpdateCredential replaces the credential c.ID if its version is still c.Version and counts c.Version up; ErrConflict
	// if it is not or if that user has no such credential of that kind. Of any number of racing callers with the same
	// version exactly one wins.
	UpdateCredential(ctx context.Context, c *Credential) error
	// DeleteCredential removes the credential; ErrNotFound if there is none.
	DeleteCredential(ctx context.Context, id string) error
}
