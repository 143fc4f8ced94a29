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
	Attributes    map[string][]string
	Notes         map[string]string // go into the session, never into the user
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

// Clone returns a copy that shares nothing with p.
func (p Profile) Clone() Profile {
	p.Roles = append([]string(nil), p.Roles...)
	p.Groups = append([]string(nil), p.Groups...)
	attrs := make(map[string][]string, len(p.Attributes))
	for name, values := range p.Attributes {
		attrs[name] = append([]string(nil), values...)
	}
	p.Attributes = attrs
	p.Notes = maps.Clone(p.Notes)
	return p
}

// A SyncMode says when an upstream's data is written to a user who exists already.
type SyncMode int

const (
	SyncInherit SyncMode = iota // a mapper: as its provider; a provider: as SyncImport
	SyncImport                  // only when the user is created
	SyncForce                   // at every login
)

// A Stage is a point of a login at which mappers run.
type Stage int

const (
	// StageProfile: the user is created or, with SyncForce, logs in again: edit m.Profile. At a later login that starts from
	// what the user has, so that a mapper can also take away. One that changes Email takes EmailVerified away.
	StageProfile Stage = iota
	StageLookup        // before the link is looked up: may edit m.Identity, its Subject included
	StageSession       // at every login, whatever the sync mode: edit m.Profile.Notes
)

// A Mapper edits what an Identity becomes. Mappers run in the order of the configuration, each at its own stage; an
// error ends the login. Map is pure: no I/O, no state, safe for concurrent use.
type Mapper struct {
	Name  string   // for errors and the log
	Stage Stage    // the zero value is StageProfile
	Sync  SyncMode // for StageProfile; the zero value inherits the provider's
	Map   func(m *Mapping) error
}

// A Mapping is what a mapper sees and edits.
type Mapping struct {
	Alias    string    // of the provider
	Identity *Identity // to be edited at StageLookup only
	Profile  *Profile  // to be edited at StageProfile, and its Notes at StageSession
	Update   bool      // the user exists already: this is a login under SyncForce
}
