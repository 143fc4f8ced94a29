package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func credentialID(c *store.Credential) string { return c.ID }

func credentialChecks() []check {
	return []check{
		{"credentials/round trip", credentialsRoundTrip},
		{"credentials/missing", credentialsMissing},
		{"credentials/of a user", credentialsOf},
		{"credentials/one of a kind", credentialsOne},
		{"credentials/update", credentialsUpdate},
		{"credentials/races", credentialsRaces},
		{"credentials/copies", credentialsCopies},
		{"credentials/byte for byte", credentialsExact},
		{"credentials/cancelled", credentialsCancelled},
	}
}

// credential is a passkey, of which a user may have several.
func (k *kit) credential(id, user string) *store.Credential {
	return &store.Credential{
		ID: id, UserID: user, Kind: store.CredentialPasskey, Label: "Ada's <phone> \u00fc'\"", Secret: []byte{0, 0xff, '\'', 0},
		Step: 1<<53 + 1, CreatedAt: k.at(1), LastUsed: k.at(2),
	}
}

// onlyCredential is the one credential of a user.
func (k *kit) onlyCredential(user string) (*store.Credential, error) {
	return first(k.credentials.CredentialsOf(k.ctx, user))
}

func credentialsRoundTrip(k *kit) {
	for i, kind := range []store.CredentialKind{
		store.CredentialPasskey, store.CredentialPassword, store.CredentialTOTP, store.CredentialRecovery, "of the host",
	} {
		user := fmt.Sprint("u", i)
		c := k.credential("of "+user, user)
		c.Kind = kind
		k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential")
		k.same(c.Version, int64(1), "Version after CreateCredential")
		got, err := k.onlyCredential(user)
		k.ok(err, "CredentialsOf")
		k.same(got, kept(c), "credential")
		other := k.credential(c.ID, "another")
		k.is(k.credentials.CreateCredential(k.ctx, other), store.ErrExists, "CreateCredential with an id that is taken")
		k.same(other.Version, int64(0), "Version after a CreateCredential that failed")
		got, err = k.onlyCredential(user)
		k.ok(err, "CredentialsOf")
		k.same(got, kept(c), "credential after another wanted its id")
		k.ok(k.credentials.DeleteCredential(k.ctx, c.ID), "DeleteCredential")
		left, err := k.credentials.CredentialsOf(k.ctx, user)
		k.ok(err, "CredentialsOf after DeleteCredential")
		k.same(len(left), 0, "number of credentials after DeleteCredential")
		k.ok(k.credentials.CreateCredential(k.ctx, k.credential(c.ID, user)), "CreateCredential with an id that was given up")
	}
	bare := &store.Credential{ID: "bare", UserID: "bare", Kind: store.CredentialPassword}
	k.ok(k.credentials.CreateCredential(k.ctx, bare), "CreateCredential")
	got, err := k.onlyCredential("bare")
	k.ok(err, "CredentialsOf")
	if len(got.Secret) == 0 {
		got.Secret = nil
	}
	k.same(got, bare, "credential that has no secret and was never used")
}

func credentialsMissing(k *kit) {
	k.is(k.credentials.DeleteCredential(k.ctx, "none"), store.ErrNotFound, "DeleteCredential of none")
	c := k.credential("none", "u")
	for _, version := range []int64{0, 1} {
		c.Version = version
		k.is(k.credentials.UpdateCredential(k.ctx, c), store.ErrConflict, "UpdateCredential of none")
		k.same(c.Version, version, "Version after an UpdateCredential that failed")
	}
	for _, user := range []string{"u", ""} {
		found, err := k.credentials.CredentialsOf(k.ctx, user)
		k.ok(err, "CredentialsOf")
		k.same(len(found), 0, "number of credentials where there are none")
	}
}

func credentialsOf(k *kit) {
	for i, id := range []string{"c", "a", "b"} {
		c := k.credential(id, "u")
		c.CreatedAt = k.at(i)
		k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential")
		k.ok(k.credentials.CreateCredential(k.ctx, k.credential("other "+id, "other")), "CreateCredential")
	}
	found, err := k.credentials.CredentialsOf(k.ctx, "u")
	k.ok(err, "CredentialsOf")
	k.same(ids(found, credentialID), []string{"c", "a", "b"}, "credentials of a user")
	k.ok(k.credentials.DeleteCredential(k.ctx, "a"), "DeleteCredential")
	found, err = k.credentials.CredentialsOf(k.ctx, "u")
	k.ok(err, "CredentialsOf")
	k.same(ids(found, credentialID), []string{"c", "b"}, "credentials of a user after DeleteCredential")
}

// credentialsOne lets a user have no second credential of a kind, but for passkeys.
func credentialsOne(k *kit) {
	create := func(id, user string, kind store.CredentialKind) error {
		c := k.credential(id, user)
		c.Kind = kind
		return k.credentials.CreateCredential(k.ctx, c)
	}
	for _, kind := range []store.CredentialKind{store.CredentialPassword, store.CredentialTOTP, store.CredentialRecovery} {
		first := string(kind) + " 1"
		k.ok(create(first, "u", kind), "CreateCredential of a %s", kind)
		k.ok(create(string(kind)+" of another", "another", kind), "CreateCredential of a %s of another user", kind)
		k.is(create(string(kind)+" 2", "u", kind), store.ErrExists, "CreateCredential of a second %s", kind)
		k.ok(k.credentials.DeleteCredential(k.ctx, first), "DeleteCredential")
		k.ok(create(string(kind)+" 3", "u", kind), "CreateCredential of a %s after the first was deleted", kind)
	}
	for i := range 3 {
		k.ok(create(fmt.Sprint("key", i), "u", store.CredentialPasskey), "CreateCredential of a passkey")
	}
	found, err := k.credentials.CredentialsOf(k.ctx, "u")
	k.ok(err, "CredentialsOf")
	k.same(len(found), 6, "number of credentials")
}

func credentialsUpdate(k *kit) {
	c := k.credential("c", "u")
	k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential")
	stale := *c
	*c = store.Credential{ID: "c", UserID: "u", Kind: c.Kind, Label: "changed", Secret: []byte("changed"), Step: 7,
		CreatedAt: k.at(5), LastUsed: k.at(6), Version: 1}
	k.ok(k.credentials.UpdateCredential(k.ctx, c), "UpdateCredential")
	k.same(c.Version, int64(2), "Version after UpdateCredential")
	k.is(k.credentials.UpdateCredential(k.ctx, &stale), store.ErrConflict, "UpdateCredential of an old version")
	k.same(stale.Version, int64(1), "Version after an UpdateCredential that failed")
	moved, turned := *c, *c
	moved.UserID, turned.Kind = "another", store.CredentialPassword
	k.is(k.credentials.UpdateCredential(k.ctx, &moved), store.ErrConflict, "UpdateCredential with another user")
	k.is(k.credentials.UpdateCredential(k.ctx, &turned), store.ErrConflict, "UpdateCredential with another kind")
	got, err := k.onlyCredential("u")
	k.ok(err, "CredentialsOf")
	k.same(got, kept(c), "credential after updates")
	found, err := k.credentials.CredentialsOf(k.ctx, "another")
	k.ok(err, "CredentialsOf")
	k.same(len(found), 0, "number of credentials of a user who has none")
	k.ok(k.credentials.DeleteCredential(k.ctx, "c"), "DeleteCredential")
	k.is(k.credentials.UpdateCredential(k.ctx, c), store.ErrConflict, "UpdateCredential after DeleteCredential")
}

func credentialsRaces(k *kit) {
	k.oneWins(store.ErrExists, "CreateCredential with one id", func(round, i int) error {
		return k.credentials.CreateCredential(k.ctx, k.credential(fmt.Sprint(round), fmt.Sprint("of ", i)))
	})
	k.oneWins(store.ErrExists, "CreateCredential of one kind for one user", func(round, i int) error {
		c := k.credential(fmt.Sprint("password ", round, " ", i), fmt.Sprint("user ", round))
		c.Kind = store.CredentialPassword
		return k.credentials.CreateCredential(k.ctx, c)
	})
	code := k.credential("code", "u")
	code.Kind = store.CredentialTOTP
	k.ok(k.credentials.CreateCredential(k.ctx, code), "CreateCredential")
	k.oneWins(store.ErrConflict, "UpdateCredential of one version", func(round, i int) error {
		c := *code
		c.Step, c.Version = int64(i), int64(round+1)
		return k.credentials.UpdateCredential(k.ctx, &c)
	})
	k.oneWins(store.ErrNotFound, "DeleteCredential of one id", func(round, _ int) error {
		return k.credentials.DeleteCredential(k.ctx, fmt.Sprint(round))
	})
}

func credentialsCopies(k *kit) {
	spoil := func(c *store.Credential) { c.Label, c.Secret[0] = "spoilt", 'X' }
	read := func() (*store.Credential, error) { return k.onlyCredential("u") }
	copies(k, "credential", k.credential("c", "u"), k.credential("c", "u"), spoil,
		func(c *store.Credential) error { return k.credentials.CreateCredential(k.ctx, c) }, read)
	copies(k, "credential after an update", k.credential("c", "u"), k.credential("c", "u"), spoil,
		func(c *store.Credential) error {
			c.Version = 1
			return k.credentials.UpdateCredential(k.ctx, c)
		}, read)
}

func credentialsExact(k *kit) {
	for _, s := range twins() {
		c := k.credential("id "+s, "user "+s)
		c.Label = s
		k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential %+q", s)
	}
	for _, s := range twins() {
		got, err := k.onlyCredential("user " + s)
		k.ok(err, "CredentialsOf %+q", s)
		k.same([]string{got.ID, got.UserID, got.Label}, []string{"id " + s, "user " + s, s}, "credential of %+q", s)
		k.ok(k.credentials.DeleteCredential(k.ctx, "id "+s), "DeleteCredential %+q", s)
	}
	for i, odd := range []string{"\xff", "\xc3\x28", "\ufffd", "a\x00"} {
		user := fmt.Sprint("odd", i)
		c := k.credential(user, user)
		c.Label = odd
		if err := k.credentials.CreateCredential(k.ctx, c); err != nil {
			if isSentinel(err) {
				k.Fatalf("CreateCredential with %+q: %v", odd, err)
			}
			continue
		}
		got, err := k.onlyCredential(user)
		k.ok(err, "CredentialsOf")
		k.same(got.Label, odd, "label of a credential")
	}
	for i, t := range []time.Time{{}, time.UnixMicro(-1), time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)} {
		user := fmt.Sprint("time", i)
		c := k.credential(user, user)
		c.CreatedAt, c.LastUsed = t, t
		k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential at %v", t)
		got, err := k.onlyCredential(user)
		k.ok(err, "CredentialsOf")
		k.same(got, kept(c), "credential of %v", t)
	}
}

func credentialsCancelled(k *kit) {
	c := k.credential("old", "u")
	k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"CredentialsOf":    func() error { _, err := k.credentials.CredentialsOf(ctx, "u"); return err },
		"CreateCredential": func() error { return k.credentials.CreateCredential(ctx, k.credential("new", "u")) },
		"UpdateCredential": func() error { changed := *c; changed.Label = "x"; return k.credentials.UpdateCredential(ctx, &changed) },
		"DeleteCredential": func() error { return k.credentials.DeleteCredential(ctx, "old") },
	} {
		k.is(call(), context.Canceled, "%s with a context that is cancelled", name)
		got, err := k.onlyCredential("u")
		k.ok(err, "CredentialsOf after %s with a context that is cancelled", name)
		k.same(got, kept(c), "credential after %s with a context that is cancelled", name)
	}
}
