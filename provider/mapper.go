package provider

import "maps"

// Profile is what an Identity becomes: the part of a local user, and of its session, that an upstream decides. The
// broker fills it from the Identity, mappers edit it.
type Profile struct {
	Username      string
	Email         string
	EmailVerified bool // and the provider is trusted for e-mail; false once a mapper or the user has changed Email
	FirstName     string
	LastName      string
	Name          string
	Locale        string
	Picture       string
	Roles         []string
	Groups        []string
	Attributes    map[string][]string // what else is known; a mapper finds neither map nil
	Notes         map[string]string   // go into the session, never into the user
}

// ProfileOf returns the profile that id has before any mapper ran. It copies; E-mail counts as verified only if the
// upstream says so and trustEmail is set.
func ProfileOf(id *Identity, trustEmail bool) Profile {
	return Profile{
		Username:      id.Username,
		Email:         id.Email,
		EmailVerified: id.EmailVerified && trustEmail && id.Email != "",
		FirstName:     id.FirstName,
		LastName:      id.LastName,
		Name:          id.Name,
		Locale:        id.Locale,
		Picture:       id.Picture,
		Attributes:    map[string][]string{},
		Notes:         map[string]string{},
	}
}

// Clone returns a copy that shares nothing with p. Its maps are never nil.
func (p Profile) Clone() Profile {
	p.Roles = append([]string(nil), p.Roles...)
	p.Groups = append([]string(nil), p.Groups...)
	attrs := make(map[string][]string, len(p.Attributes))
	for name, values := range p.Attributes {
		attrs[name] = append([]string(nil), values...)
	}
	p.Attributes = attrs
	notes := make(map[string]string, len(p.Notes))
	maps.Copy(notes, p.Notes)
	p.Notes = notes
	return p
}

// A SyncMode says when an upstream's data is written to a user who exists already.
type SyncMode int

const (
	SyncInherit SyncMode = iota // a mapper: as its provider; a provider: as SyncImport
	SyncImport                  // only when the user is created
	// SyncForce: at every login, and what the upstream does not say (any more) is taken away, names that users filled in
	// here included. First, last and full name, locale and picture become empty; an e-mail address is only ever replaced, as
	// it may be the way back to an account, and a username never changes.
	SyncForce
	// SyncLegacy: at every login what the upstream says is written, but nothing is taken away because it says it no longer. It
	// is for upstreams that leave out what users have filled in here.
	SyncLegacy
)

// Updates reports whether m writes to users who exist already.
func (m SyncMode) Updates() bool { return m == SyncForce || m == SyncLegacy }

// A Stage is a point of a login at which mappers run.
type Stage int

const (
	// StageProfile: the user is created or, with SyncForce or SyncLegacy, logs in again: edit m.Profile. At a later login that
	// starts from what the user has. One that changes Email takes EmailVerified away; Username counts at the creation only.
	StageProfile Stage = iota
	// StageLookup: before the link is looked up: may edit m.Identity, its Subject included. One that changes Email takes EmailVerified
	// away here, too.
	StageLookup
	StageSession // at every login, whatever the sync mode: edit m.Profile.Notes
)

// A Mapper edits what an Identity becomes. Mappers run in the order of the configuration, each at its own stage; an
// error ends the login. Map and Forget are pure: no I/O, no state, safe for concurrent use. The package mapper has those that
// are usual.
type Mapper struct {
	Name  string   // for errors and the log
	Stage Stage    // the zero value is StageProfile
	Sync  SyncMode // for StageProfile; the zero value inherits the provider's
	Map   func(m *Mapping) error
	// Forget takes from m.Profile, which is what the user has, all that Map may have given it at an earlier login. Under
	// SyncForce those of all mappers run before the first Map, so that what none of them gives again is gone, and what one
	// gives is there, whatever the others find. Nil takes nothing. It is for StageProfile.
	Forget func(m *Mapping)
	// Err says why this mapper can never work. The broker does not start with one that has it.
	Err error
}

// With returns m with another sync mode.
func (m Mapper) With(sync SyncMode) Mapper {
	m.Sync = sync
	return m
}

// A Mapping is what a mapper sees and edits.
type Mapping struct {
	Alias    string    // of the provider
	Identity *Identity // to be edited at StageLookup only
	Profile  *Profile  // to be edited at StageProfile, and its Notes at StageSession; nil at StageLookup
	Update   bool      // the user exists already
}
