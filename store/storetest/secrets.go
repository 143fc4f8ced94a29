package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

func secretChecks() []check {
	return []check{
		{"secrets/list", secretsList},
		{"secrets/replace", secretsReplace},
		{"secrets/races", secretsRaces},
		{"secrets/cancelled", secretsCancelled},
	}
}

// addSecrets makes a record with each secret field, and returns the fields that the store has with their rows.
func (k *kit) addSecrets(id string, value []byte) map[store.SecretField][]string {
	k.Helper()
	l, n, key := k.link(id, "u"), k.session(id, "u"), k.key(id, "RS256", len(id))
	l.Tokens, n.UpstreamIDToken, n.UpstreamTokens, n.TransientUser, key.Private = value, value, value, value, value
	key.Algorithm = id
	k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
	k.ok(k.s.CreateSession(k.ctx, n), "CreateSession")
	k.ok(k.s.AddKey(k.ctx, key), "AddKey")
	rows := map[store.SecretField][]string{
		store.SecretTokens: {l.Provider, l.Issuer, l.Subject}, store.SecretIDToken: {id},
		store.SecretUpstream: {id}, store.SecretUser: {id}, store.SecretPrivate: {id},
	}
	if k.credentials != nil {
		c := k.credential(id, "u")
		c.Secret = value
		k.ok(k.credentials.CreateCredential(k.ctx, c), "CreateCredential")
		rows[store.SecretCredential] = []string{id, "u", string(c.Kind)}
	}
	return rows
}

func rowOf(s *store.Secret) string { return strings.Join(s.Row, "\n") }

func secretsList(k *kit) {
	_, err := k.secrets.Secrets(k.ctx, "users.email", nil, 10)
	if err == nil || isSentinel(err) {
		k.Fatalf("Secrets of a field that there is none of: %v", err)
	}
	if err := k.secrets.ReplaceSecret(k.ctx, &store.Secret{Field: "users.email", Row: []string{"u"}}, nil); err == nil || isSentinel(err) {
		k.Fatalf("ReplaceSecret of a field that there is none of: %v", err)
	}
	want := map[store.SecretField]map[string]string{}
	for _, field := range store.SecretFields() {
		found, err := k.secrets.Secrets(k.ctx, field, nil, 10)
		k.ok(err, "Secrets of %s", field)
		k.same(len(found), 0, "number of %s where there are none", field)
		want[field] = map[string]string{}
	}
	for i := range 7 {
		value := fmt.Sprint("\x00\xff ", i)
		for field, row := range k.addSecrets(fmt.Sprint("id '", (i*3)%7), []byte(value)) {
			want[field][strings.Join(row, "\n")] = value
		}
	}
	for _, field := range store.SecretFields() {
		got := map[string]string{}
		var order []string
		for after := []string(nil); ; {
			page, err := k.secrets.Secrets(k.ctx, field, after, 3)
			k.ok(err, "Secrets of %s", field)
			if len(page) > 3 {
				k.Fatalf("Secrets with limit 3 returned %d", len(page))
			}
			for _, s := range page {
				k.same(s.Field, field, "field of a secret")
				got[rowOf(s)] = string(s.Value)
				order = append(order, rowOf(s))
				s.Value[0]++ // the caller's
			}
			if len(page) < 3 || len(order) > 100 {
				break
			}
			after = page[2].Row
		}
		k.same(got, want[field], "what pages of %s have", field)
		k.same(len(order), len(got), "number of rows on pages of %s", field)
		whole, err := k.secrets.Secrets(k.ctx, field, nil, 100)
		k.ok(err, "Secrets of %s", field)
		k.same(ids(whole, rowOf), order, "pages of %s, and all at once", field)
		for _, s := range whole {
			k.same(string(s.Value), want[field][rowOf(s)], "value of %s after another copy was changed", field)
		}
		zero, err := k.secrets.Secrets(k.ctx, field, nil, 0)
		k.ok(err, "Secrets of %s", field)
		k.same(len(zero), 0, "number of %s with limit 0", field)
	}
	k.ok(k.s.DeleteSession(k.ctx, "id '3"), "DeleteSession")
	for _, field := range []store.SecretField{store.SecretIDToken, store.SecretUpstream, store.SecretUser} {
		page, err := k.secrets.Secrets(k.ctx, field, []string{"id '3"}, 100)
		k.ok(err, "Secrets")
		whole, err := k.secrets.Secrets(k.ctx, field, nil, 100)
		k.ok(err, "Secrets")
		if len(page) == 0 || !slices.Equal(ids(page, rowOf), ids(whole, rowOf)[len(whole)-len(page):]) {
			k.Fatalf("Secrets after one that was deleted: %q of %q", ids(page, rowOf), ids(whole, rowOf))
		}
	}
}

// values reads each secret field of the records with an id, past the capability.
func (k *kit) values(id string) map[store.SecretField]string {
	k.Helper()
	l, err := k.s.Link(k.ctx, k.link(id, "").LinkKey)
	k.ok(err, "Link")
	n, err := k.s.Session(k.ctx, id)
	k.ok(err, "Session")
	keys, err := k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	i := slices.IndexFunc(keys, func(key *store.Key) bool { return key.ID == id })
	k.same(l.Version+n.Version, int64(2), "versions, which ReplaceSecret leaves alone")
	values := map[store.SecretField]string{
		store.SecretTokens: string(l.Tokens), store.SecretIDToken: string(n.UpstreamIDToken),
		store.SecretUpstream: string(n.UpstreamTokens), store.SecretUser: string(n.TransientUser), store.SecretPrivate: string(keys[i].Private),
	}
	if k.credentials != nil {
		all, err := k.credentials.CredentialsOf(k.ctx, "u")
		k.ok(err, "CredentialsOf")
		for _, c := range all {
			if c.ID == id {
				k.same(c.Version, int64(1), "version, which ReplaceSecret leaves alone")
				values[store.SecretCredential] = string(c.Secret)
			}
		}
	}
	return values
}

func secretsReplace(k *kit) {
	k.addSecrets("other", []byte("old"))
	for field, row := range k.addSecrets("id", []byte("old")) {
		old := &store.Secret{Field: field, Row: row, Value: []byte("old")}
		wrong := &store.Secret{Field: field, Row: row, Value: []byte("old ")}
		k.is(k.secrets.ReplaceSecret(k.ctx, wrong, []byte("new")), store.ErrConflict, "ReplaceSecret of a value of %s that is not there", field)
		for i := range row {
			another := &store.Secret{Field: field, Row: slices.Clone(row), Value: []byte("old")}
			another.Row[i] += "x"
			k.is(k.secrets.ReplaceSecret(k.ctx, another, []byte("new")), store.ErrConflict, "ReplaceSecret in a row of %s that is not there", field)
		}
		k.same(k.values("id")[field], "old", "%s after ReplaceSecret that failed", field)
		value := []byte("new \x00\xff")
		k.ok(k.secrets.ReplaceSecret(k.ctx, old, value), "ReplaceSecret of %s", field)
		value[0] = 'X'
		k.same(k.values("id")[field], "new \x00\xff", "%s after ReplaceSecret", field)
		k.same(k.values("other")[field], "old", "%s of another after ReplaceSecret", field)
		k.is(k.secrets.ReplaceSecret(k.ctx, old, []byte("again")), store.ErrConflict, "ReplaceSecret of a value of %s that was there", field)
	}
	want := k.link("id", "u")
	want.Tokens, want.Version = []byte("new \x00\xff"), 1
	got, err := k.s.Link(k.ctx, want.LinkKey)
	k.ok(err, "Link")
	k.same(got, kept(want), "Link after ReplaceSecret")
	session := k.session("id", "u")
	session.UpstreamIDToken, session.UpstreamTokens, session.Version = []byte("new \x00\xff"), []byte("new \x00\xff"), 1
	session.TransientUser = []byte("new \x00\xff")
	gotSession, err := k.s.Session(k.ctx, "id")
	k.ok(err, "Session")
	k.same(gotSession, kept(session), "Session after ReplaceSecret")
	session.ACR = "changed"
	k.ok(k.s.UpdateSession(k.ctx, session), "UpdateSession of a version from before ReplaceSecret")
}

func secretsRaces(k *kit) {
	rows := k.addSecrets("id", []byte("0"))
	for _, field := range store.SecretFields() {
		if rows[field] == nil {
			continue
		}
		k.oneWins(store.ErrConflict, "ReplaceSecret of one value of "+string(field), func(round, _ int) error {
			old := &store.Secret{Field: field, Row: rows[field], Value: []byte(fmt.Sprint(round))}
			return k.secrets.ReplaceSecret(k.ctx, old, []byte(fmt.Sprint(round+1)))
		})
	}
}

func secretsCancelled(k *kit) {
	rows := k.addSecrets("id", []byte("old"))
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	for field, row := range rows {
		_, err := k.secrets.Secrets(ctx, field, nil, 10)
		k.is(err, context.Canceled, "Secrets of %s with a context that is cancelled", field)
		old := &store.Secret{Field: field, Row: row, Value: []byte("old")}
		k.is(k.secrets.ReplaceSecret(ctx, old, []byte("new")), context.Canceled, "ReplaceSecret of %s with a context that is cancelled", field)
		k.same(k.values("id")[field], "old", "%s after ReplaceSecret with a context that is cancelled", field)
	}
}
