// Package store says what idbroker remembers and which roles keep it.
//
// It owns the data ([User], [Link], [Session], [Grant], [Key] …) and the role interfaces over it ([Users], [Links],
// [Sessions], [Grants], [Transient], [Keyring]), each small enough to be put over a table that exists already. It owns no
// protocol and no policy: who may log in is decided in the packages flow and broker.
//
// A [Store] is those roles in one value. Three more stand for themselves, for who needs what they keep: [Clients],
// [Credentials] and [Fences]. The packages memstore and sqlstore have all of them; storetest is the kit that each store has
// to pass:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
//			now := time.Now()
//			s := mystore.New()
//			s.Now = func() time.Time { return now }
//			return s, func(d time.Duration) { now = now.Add(d) }
//		})
//	}
//
// Rules for every implementation:
//
//   - Methods are safe for concurrent use and return ctx.Err() (wrapped or not) when ctx ends first.
//   - Keys and values are compared byte for byte: no case folding, no Unicode normalisation, no trimming. Callers
//     canonicalise what they want equal before they store it.
//   - What a method is given and what it returns belongs to the caller: the store keeps a copy and hands out copies.
//   - What is valid UTF-8 without NUL is kept exactly, and found by keys of up to 1 KiB. Anything else and anything
//     longer may be refused, by an error that is none of the sentinels, but is never cut, mended or taken for another.
//   - Something that has expired is not there, whether or not it was swept yet: it is [ErrNotFound], an update of it is
//     [ErrConflict], and its key is free. It has expired from the very moment that ExpiresAt names; a zero time is long ago.
//   - Times are kept to the microsecond at least, and handed out in UTC. The zero time stays zero.
//   - Nil and empty slices and maps are the same; either may come back as the other.
//   - A method that fails leaves the Version of what it was given alone.
//   - A query whose fields name nothing is an error, never everything.
//
// What is called sealed here is so where a store keeps it: the broker puts each store behind the package store/seal, which
// those who read and write secrets by other means have to use as well.
package store

import (
	"context"
	"errors"
	"time"
)

// Sentinels. A store returns them wrapped or bare; callers use [errors.Is]. Any other error means that the store could
// not do its work, and callers must treat the outcome of a write as unknown.
var (
	// ErrNotFound: there is no such thing, or it has expired.
	ErrNotFound = errors.New("store: not found")
	// ErrExists: a unique key is taken; nothing was written.
	ErrExists = errors.New("store: already exists")
	// ErrConflict: the record was changed or deleted since it was read; nothing was written. Read it again and decide again.
	ErrConflict = errors.New("store: changed since it was read")
)

// A User is a local user, the one in the middle: what applications see, whichever provider vouched.
type User struct {
	ID            string // unique for ever, never reused, opaque; it is the "sub" of every token
	Username      string // unique; lower case as the broker writes it
	Email         string // lower case as the broker writes it; "" if none is known
	EmailVerified bool   // somebody who is trusted for it has verified Email
	SharedEmail   bool   // other users may have the same Email; false (the strict value) makes a second one ErrExists
	FirstName     string
	LastName      string
	Name          string // the full name
	Locale        string // BCP 47
	Picture       string // a URL
	Disabled      bool   // may not log in, and holds no valid token
	Roles         []string
	Groups        []string
	Attributes    map[string][]string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Version       int64 // for [Users.UpdateUser]; the store counts it up from 1
}

// A UserQuery names users by exactly one of its fields.
type UserQuery struct {
	Username string
	Email    string
}

// Users keeps local users. A host that has a users table implements this over it.
type Users interface {
	// User returns the user with this id, or ErrNotFound.
	User(ctx context.Context, id string) (*User, error)
	// FindUsers returns the users that q names, at most ten, in any order; none is an empty slice and no error.
	FindUsers(ctx context.Context, q UserQuery) ([]*User, error)
	// CreateUser adds u and sets u.Version to 1. ErrExists if the id or username is taken, or if the e-mail (unless it
	// is "") is that of another user and not both are SharedEmail.
	CreateUser(ctx context.Context, u *User) error
	// UpdateUser replaces the user u.ID if its version is still u.Version and counts u.Version up. ErrConflict if it is
	// not or if there is no such user, ErrExists as for CreateUser.
	UpdateUser(ctx context.Context, u *User) error
	// DeleteUser removes the user; ErrNotFound if there is none. What else names the user stays, for the caller to remove.
	DeleteUser(ctx context.Context, id string) error
}

// A LinkKey identifies somebody at an upstream provider. All three parts count: the same subject at another provider,
// or at another issuer behind the same alias, is somebody else.
type LinkKey struct {
	Provider string // alias of the provider in the broker's configuration
	Issuer   string // the upstream's own name: OpenID issuer, SAML entity id; "" where the protocol has none
	Subject  string // the upstream's stable, never reassigned identifier
}

// A Link is the remembered tie between a local user and somebody at an upstream provider.
type Link struct {
	LinkKey
	UserID    string
	Username  string // as the upstream last said, for display
	Email     string // as the upstream last said, for display
	Tokens    []byte // the upstream's tokens, sealed; nil unless the provider stores tokens
	CreatedAt time.Time
	LastLogin time.Time
	Version   int64 // for [Links.UpdateLink]; the store counts it up from 1
}

// Links keeps the ties between local users and upstream subjects.
type Links interface {
	// Link returns the link with this key, or ErrNotFound.
	Link(ctx context.Context, key LinkKey) (*Link, error)
	// LinksOf returns the links of a user ordered by creation; none is an empty slice and no error.
	LinksOf(ctx context.Context, userID string) ([]*Link, error)
	// CreateLink adds l and sets l.Version to 1. ErrExists if its key is taken, whoever's it is.
	CreateLink(ctx context.Context, l *Link) error
	// UpdateLink replaces the link with l's key if its version is still l.Version and counts l.Version up; ErrConflict
	// if it is not or if there is no such link.
	UpdateLink(ctx context.Context, l *Link) error
	// DeleteLink removes the link; ErrNotFound if there is none.
	DeleteLink(ctx context.Context, key LinkKey) error
}

// A Session is one browser that is signed in. The browser holds the id and a random secret; the store knows only the
// secret's hash.
type Session struct {
	ID         string // the "sid" of tokens; no secret
	SecretHash []byte // of what the browser holds: another at each login, while the same user's session goes on
	UserID     string
	Upstream   LinkKey // who vouched; the zero value if nobody upstream did
	// UpstreamSession is the upstream's name for its own session (OpenID "sid", SAML SessionIndex), "" if it gave none.
	UpstreamSession string
	UpstreamIDToken []byte // sealed, for signing out there; nil if there is none
	UpstreamTokens  []byte // sealed; what the upstream has issued, nil unless its provider keeps that in the session
	TransientUser   []byte // sealed; the user UserID as JSON, who is kept nowhere else; nil for one of [Users]
	ACR             string
	AMR             []string
	Notes           map[string]string // by mappers, for tokens; they vanish with the session
	AuthTime        time.Time         // when the user last proved who they are
	CreatedAt       time.Time
	LastSeen        time.Time // for the idle limit; updated at most once a minute
	ExpiresAt       time.Time // the absolute end
	Version         int64     // for [Sessions.UpdateSession]; the store counts it up from 1
}

// A SessionQuery names sessions. Empty fields match everything, but one of UserID and Provider must be set.
type SessionQuery struct {
	UserID          string
	Provider        string // alias: sessions that this provider vouched for
	Issuer          string // with Provider
	Subject         string // with Provider and Issuer
	UpstreamSession string // with Provider
}

// Sessions keeps signed-in browsers.
type Sessions interface {
	// Session returns the session with this id, or ErrNotFound.
	Session(ctx context.Context, id string) (*Session, error)
	// FindSessions returns the sessions that q names, newest first; none is an empty slice and no error.
	FindSessions(ctx context.Context, q SessionQuery) ([]*Session, error)
	// CreateSession adds s and sets s.Version to 1; ErrExists if its id is taken.
	CreateSession(ctx context.Context, s *Session) error
	// UpdateSession replaces the session s.ID if its version is still s.Version and counts s.Version up; ErrConflict if
	// it is not or if there is no such session.
	UpdateSession(ctx context.Context, s *Session) error
	// DeleteSession removes the session; ErrNotFound if there is none.
	DeleteSession(ctx context.Context, id string) error
}

// A GrantKind says what a grant is for.
type GrantKind string

const (
	GrantTokens  GrantKind = ""        // a code, and the tokens that were issued for it
	GrantConsent GrantKind = "consent" // what a user has agreed that a client may have: Scope, and nothing else
)

// A Grant is what a user, or a session of theirs, has granted a client: first an authorization code, then the tokens
// that were issued for it. Tokens name their grant, and are dead once it is gone.
type Grant struct {
	ID        string
	Kind      GrantKind
	ClientID  string
	UserID    string
	SessionID string // the session it was granted in; it ends with that. "" for one that outlives sessions
	Scope     []string
	Nonce     string // of the authentication request, for the ID token
	// ClaimsRequest are single claims that the request named beyond its scope (OpenID Connect Core §5.5), each as
	// "userinfo:" or "id_token:" and its name.
	ClaimsRequest []string
	AuthTime      time.Time
	ACR           string
	AMR           []string
	Upstream      LinkKey  // who vouched; the grant ends with that link, even if the session goes on by another's word
	Resources     []string // the APIs that the tokens may be for (RFC 8707); nil is the client's Audience
	JKT           string   // thumbprint of the key that tokens are bound to (RFC 9449 §6); "" if they are bearer tokens

	// The code: single use, bound to the redirect URI and to the PKCE challenge.
	CodeHash      []byte
	CodeExpires   time.Time
	CodeUsed      bool
	RedirectURI   string
	CodeChallenge string // S256; "" if the client sent none, which only a confidential client may

	// The refresh token: another after each use. The one before may be repeated for a moment, for a client that did not
	// get the answer, and gets the same answer; any later use of it ends the grant.
	RefreshHash  []byte
	PreviousHash []byte
	GraceUntil   time.Time
	Answer       []byte // sealed; until GraceUntil

	CreatedAt time.Time
	ExpiresAt time.Time // the end of the grant and of all that was issued for it
	Version   int64     // for [Grants.UpdateGrant]; the store counts it up from 1
}

// A GrantQuery names grants. Empty fields match everything, but one must be set.
type GrantQuery struct {
	UserID    string
	ClientID  string
	SessionID string
}

// Grants keeps what was granted to clients.
type Grants interface {
	// Grant returns the grant with this id, or ErrNotFound.
	Grant(ctx context.Context, id string) (*Grant, error)
	// FindGrants returns the grants that q names, newest first; none is an empty slice and no error.
	FindGrants(ctx context.Context, q GrantQuery) ([]*Grant, error)
	// CreateGrant adds g and sets g.Version to 1; ErrExists if its id is taken.
	CreateGrant(ctx context.Context, g *Grant) error
	// UpdateGrant replaces the grant g.ID if its version is still g.Version and counts g.Version up; ErrConflict if it
	// is not or if there is no such grant. Of any number of racing callers with the same version exactly one wins.
	UpdateGrant(ctx context.Context, g *Grant) error
	// DeleteGrant removes the grant; ErrNotFound if there is none.
	DeleteGrant(ctx context.Context, id string) error
}

// Transient keeps short-lived values and single-use marks. Each purpose is a name space of its own: a value put for one
// purpose is never found under another.
type Transient interface {
	// Put stores value under key until expires, over whatever was there.
	Put(ctx context.Context, purpose, key string, value []byte, expires time.Time) error
	// Add stores value under key until expires if nothing unexpired is there, otherwise ErrExists. Of any number of
	// racing callers exactly one wins.
	Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error
	// Get returns the value, or ErrNotFound.
	Get(ctx context.Context, purpose, key string) ([]byte, error)
	// Take returns the value and removes it in one step, or ErrNotFound. Of any number of racing callers exactly one
	// gets it.
	Take(ctx context.Context, purpose, key string) ([]byte, error)
}

// A Key is a signing key of the broker at rest. When it is announced, signs and is retired follows from NotBefore alone
// (see the package token).
type Key struct {
	ID         string // the "kid"
	Algorithm  string // JWA name, such as "RS256"
	Generation int    // counts up per algorithm: of several nodes that rotate at once, one adds the next generation
	Private    []byte // PKCS #8, sealed
	CreatedAt  time.Time
	NotBefore  time.Time // the first moment it may sign
}

// Keyring keeps the broker's signing keys: a handful, so they are read all at once.
type Keyring interface {
	// Keys returns all keys ordered by algorithm, then generation; none is an empty slice and no error.
	Keys(ctx context.Context) ([]*Key, error)
	// AddKey adds k. ErrExists if its id, or its generation of its algorithm, is taken.
	AddKey(ctx context.Context, k *Key) error
	// DeleteKey removes the key; ErrNotFound if there is none.
	DeleteKey(ctx context.Context, id string) error
}

// Store is every role in one value. Four capabilities are found by [As]: [Committer], [Sweeper], [Secrets] and [Holders]. [Parts]
// is one of roles that are kept in different places.
type Store interface {
	Users
	Links
	Sessions
	Grants
	Transient
	Keyring
}

// Committer is the capability of a store that can write a whole login in one transaction.
type Committer interface {
	// Commit writes all of l or nothing, and sets the Version of each part that it wrote. ErrExists if the mark or a
	// unique key is taken, ErrConflict if the user, link or session was changed since it was read.
	Commit(ctx context.Context, l *Login) error
}

// Sweeper is the capability of a store that does not forget expired things by itself.
type Sweeper interface {
	// Sweep removes up to limit things that have expired and returns how many it removed. It is safe to run on every
	// node at once, and at any time.
	Sweep(ctx context.Context, limit int) (int, error)
}

// Holders is the capability of a store that has users, links and sessions in one place to find who of them holds what.
type Holders interface {
	// DisabledHolders returns the ids of up to limit users who are Disabled and of whom [Link.Tokens] or
	// [Session.UpstreamTokens] are kept, each once, in an order of the store's own, which stays the same: those that follow
	// the id after, be there such a user or not, or the first if after is "". None is an empty slice and no error.
	DisabledHolders(ctx context.Context, after string, limit int) ([]string, error)
}

// A Login is what one successful login writes. Nil and empty parts are not written.
type Login struct {
	// Once marks the login as done until OnceExpires, so that a replay of it is ErrExists. It is an [Transient.Add] for
	// the purpose [PurposeLogin].
	Once        string
	OnceExpires time.Time

	NewUser    *User    // to create
	User       *User    // to update
	NewLink    *Link    // to create
	Link       *Link    // to update
	OldLink    *Link    // to delete: NewLink takes its place
	Session    *Session // to create or, if it has a Version, to update
	EndSession string   // id of a session that the new one replaces; none there is no error
	Grant      *Grant
}

// PurposeLogin is the [Transient] purpose of the marks that [Commit] sets.
const PurposeLogin = "login"
