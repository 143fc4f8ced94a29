package provider

import (
	"slices"
	"strings"
)

// Trusted is the capability of an upstream to say on what its word rests. The broker keeps that from the first login on, and
// holds all logins once it is another, until an administrator has confirmed the change: an alias that points to somebody
// else must not let them in as those who are linked to it.
type Trusted interface {
	// Trust returns it, of the configuration alone. It does no I/O.
	Trust() Trust
}

// A Trust is on what an upstream's word rests. Two that differ may mean different people by the same subject.
type Trust struct {
	Issuer string // as in [Identity.Issuer]; of several, the main one
	// Basis are settings that decide whom subjects stand for, or who can make them up: the protocol, further issuers, addresses
	// that are not discovered, the attribute that is the subject. They hold no secret, as they are logged.
	Basis []string
}

// Mark returns one text for t, whatever the order of its Basis.
func (t Trust) Mark() string {
	basis := slices.Clone(t.Basis)
	slices.Sort(basis)
	return strings.Join(append([]string{t.Issuer}, basis...), "\n")
}
