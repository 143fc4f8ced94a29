package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func transientValues(k *kit) {
	end := k.at(3600)
	for _, read := range []func(key string) ([]byte, error){
		func(key string) ([]byte, error) { return k.s.Get(k.ctx, "p", key) },
		func(key string) ([]byte, error) { return k.s.Take(k.ctx, "p", key) },
	} {
		_, err := read("none")
		k.is(err, store.ErrNotFound, "value that is not there")
		for i, value := range [][]byte{
			nil, {}, {0}, []byte("\x00\xff'\"\x00"), []byte("text"), []byte("12"), bytes.Repeat([]byte("ab"), 40<<10),
		} {
			k.ok(k.s.Put(k.ctx, "p", fmt.Sprint(i), value, end), "Put")
			got, err := read(fmt.Sprint(i))
			k.ok(err, "value %d", i)
			if !bytes.Equal(got, value) {
				k.Fatalf("value %d came back as %.20q (%d bytes), want %.20q (%d bytes)", i, got, len(got), value, len(value))
			}
		}
	}
	k.ok(k.s.Put(k.ctx, "p", "k", []byte("one"), end), "Put")
	k.ok(k.s.Put(k.ctx, "p", "k", []byte("two"), end), "Put over another value")
	k.is(k.s.Add(k.ctx, "p", "k", []byte("three"), end), store.ErrExists, "Add over a value")
	got, err := k.s.Get(k.ctx, "p", "k")
	k.ok(err, "Get")
	k.same(string(got), "two", "value after Put, Put and Add")
	got, err = k.s.Take(k.ctx, "p", "k")
	k.ok(err, "Take")
	k.same(string(got), "two", "value that was taken")
	_, err = k.s.Take(k.ctx, "p", "k")
	k.is(err, store.ErrNotFound, "Take once more")
	_, err = k.s.Get(k.ctx, "p", "k")
	k.is(err, store.ErrNotFound, "Get after Take")
	k.ok(k.s.Add(k.ctx, "p", "k", []byte("four"), end), "Add after Take")
	k.is(k.s.Add(k.ctx, "p", "k", []byte("five"), end), store.ErrExists, "Add once more")
	got, err = k.s.Get(k.ctx, "p", "k")
	k.ok(err, "Get")
	k.same(string(got), "four", "value that was added")
}

func transientPurposes(k *kit) {
	end := k.at(3600)
	k.ok(k.s.Put(k.ctx, "code", "k", []byte("code"), end), "Put")
	_, err := k.s.Get(k.ctx, "mail", "k")
	k.is(err, store.ErrNotFound, "Get for another purpose")
	_, err = k.s.Take(k.ctx, "mail", "k")
	k.is(err, store.ErrNotFound, "Take for another purpose")
	_, err = k.s.Take(k.ctx, "", "k")
	k.is(err, store.ErrNotFound, "Take for no purpose")
	k.ok(k.s.Add(k.ctx, "mail", "k", []byte("mail"), end), "Add for another purpose")
	k.ok(k.s.Put(k.ctx, "mail", "k", []byte("mail2"), end), "Put for another purpose")
	got, err := k.s.Take(k.ctx, "code", "k")
	k.ok(err, "Take")
	k.same(string(got), "code", "value of its purpose")
	got, err = k.s.Get(k.ctx, "mail", "k")
	k.ok(err, "Get after the same key was taken for another purpose")
	k.same(string(got), "mail2", "value of its purpose")
}

func transientExpiry(k *kit) {
	for _, key := range []string{"get", "take", "add", "put"} {
		k.ok(k.s.Put(k.ctx, "p", key, []byte("old"), k.at(600)), "Put")
	}
	k.ok(k.s.Add(k.ctx, "p", "added", nil, k.at(600)), "Add")
	k.ok(k.s.Put(k.ctx, "p", "late", []byte("late"), k.at(1800)), "Put")
	k.ok(k.s.Put(k.ctx, "p", "longer", []byte("short"), k.at(600)), "Put")
	k.ok(k.s.Put(k.ctx, "p", "longer", []byte("longer"), k.at(1800)), "Put over a value, for longer")
	k.ok(k.s.Put(k.ctx, "p", "shorter", []byte("long"), k.at(1800)), "Put")
	k.ok(k.s.Put(k.ctx, "p", "shorter", []byte("shorter"), k.at(600)), "Put over a value, for shorter")
	k.ok(k.s.Put(k.ctx, "p", "over", nil, k.start.Add(-time.Hour)), "Put of what has expired already")
	k.ok(k.s.Add(k.ctx, "p", "over", nil, time.Time{}), "Add over what has expired already")
	_, err := k.s.Get(k.ctx, "p", "over")
	k.is(err, store.ErrNotFound, "Get of what was put after it had expired")
	k.advance(9 * time.Minute)
	for _, key := range []string{"get", "added", "late", "longer", "shorter"} {
		_, err := k.s.Get(k.ctx, "p", key)
		k.ok(err, "Get of %q a minute before the first end", key)
	}
	k.is(k.s.Add(k.ctx, "p", "added", nil, k.at(3600)), store.ErrExists, "Add a minute before the end of the first")
	k.advance(2 * time.Minute)
	for _, key := range []string{"get", "shorter"} {
		_, err := k.s.Get(k.ctx, "p", key)
		k.is(err, store.ErrNotFound, "Get of %q a minute after its end", key)
	}
	_, err = k.s.Take(k.ctx, "p", "take")
	k.is(err, store.ErrNotFound, "Take a minute after the end")
	k.ok(k.s.Add(k.ctx, "p", "add", []byte("new"), k.at(3600)), "Add over what has expired")
	k.ok(k.s.Put(k.ctx, "p", "put", []byte("new"), k.at(3600)), "Put over what has expired")
	k.is(k.s.Add(k.ctx, "p", "add", []byte("newer"), k.at(3600)), store.ErrExists, "Add over what was added over what had expired")
	for key, want := range map[string]string{"add": "new", "put": "new", "late": "late", "longer": "longer"} {
		got, err := k.s.Take(k.ctx, "p", key)
		k.ok(err, "Take of %q", key)
		k.same(string(got), want, "value of %q", key)
	}
}

func transientRaces(k *kit) {
	end := k.at(3600)
	k.oneWins(store.ErrExists, "Add of one key", func(round, i int) error {
		return k.s.Add(k.ctx, "p", fmt.Sprint(round), fmt.Append(nil, i), end)
	})
	k.oneWins(store.ErrNotFound, "Take of one key", func(round, _ int) error {
		_, err := k.s.Take(k.ctx, "p", fmt.Sprint(round))
		return err
	})
	for i := range 3 {
		k.ok(k.s.Put(k.ctx, "old", fmt.Sprint(i), nil, k.at(60)), "Put")
	}
	k.advance(2 * time.Minute)
	k.oneWins(store.ErrExists, "Add of one key over what has expired", func(round, i int) error {
		return k.s.Add(k.ctx, "old", fmt.Sprint(round), fmt.Append(nil, i), end)
	})
}

func transientCopies(k *kit) {
	end := k.at(3600)
	put, added := []byte("put"), []byte("added")
	k.ok(k.s.Put(k.ctx, "p", "put", put, end), "Put")
	k.ok(k.s.Add(k.ctx, "p", "added", added, end), "Add")
	put[0], added[0] = 'X', 'X'
	for range 2 {
		for _, key := range []string{"put", "added"} {
			got, err := k.s.Get(k.ctx, "p", key)
			k.ok(err, "Get")
			k.same(string(got), key, "value, after what was given or returned before was changed")
			got[0] = 'X'
		}
	}
}

func keyID(key *store.Key) string { return key.ID }

func keyringRoundTrip(k *kit) {
	keys, err := k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	k.same(len(keys), 0, "number of keys at first")
	k.is(k.s.DeleteKey(k.ctx, "none"), store.ErrNotFound, "DeleteKey of none")
	want := []*store.Key{
		k.key("d", "ES256", 2), k.key("c", "ES256", 10), k.key("b", "EdDSA", 1), k.key("e", "RS256", 1), k.key("a", "RS256", 2),
	}
	for _, i := range []int{1, 3, 0, 4, 2} {
		k.ok(k.s.AddKey(k.ctx, want[i]), "AddKey")
	}
	keys, err = k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	k.same(ids(keys, keyID), ids(want, keyID), "Keys, by algorithm and generation")
	for i := range want {
		k.same(keys[i], kept(want[i]), "Key")
	}
	k.ok(k.s.DeleteKey(k.ctx, "b"), "DeleteKey")
	keys, err = k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	k.same(ids(keys, keyID), []string{"d", "c", "e", "a"}, "Keys after DeleteKey")
	k.is(k.s.DeleteKey(k.ctx, "b"), store.ErrNotFound, "DeleteKey once more")
}

func keyringUnique(k *kit) {
	k.ok(k.s.AddKey(k.ctx, k.key("a", "RS256", 1)), "AddKey")
	k.is(k.s.AddKey(k.ctx, k.key("a", "ES256", 7)), store.ErrExists, "AddKey with an id that is taken")
	k.is(k.s.AddKey(k.ctx, k.key("b", "RS256", 1)), store.ErrExists, "AddKey with a generation that is taken")
	k.ok(k.s.AddKey(k.ctx, k.key("c", "ES256", 1)), "AddKey with the generation of another algorithm")
	keys, err := k.s.Keys(k.ctx)
	k.ok(err, "Keys")
	k.same(keys, []*store.Key{kept(k.key("c", "ES256", 1)), kept(k.key("a", "RS256", 1))}, "Keys")
}

func keyringRaces(k *kit) {
	k.oneWins(store.ErrExists, "AddKey of one generation", func(round, i int) error {
		return k.s.AddKey(k.ctx, k.key(fmt.Sprint(round, "-", i), "RS256", round))
	})
	k.oneWins(store.ErrExists, "AddKey of one id", func(round, i int) error {
		return k.s.AddKey(k.ctx, k.key(fmt.Sprint(round), "ES256", 100*round+i))
	})
}

func keyringCopies(k *kit) {
	spoil := func(key *store.Key) { key.Algorithm, key.Private[0] = "none", 'X' }
	copies(k, "Key", k.key("a", "RS256", 1), k.key("a", "RS256", 1), spoil,
		func(key *store.Key) error { return k.s.AddKey(k.ctx, key) },
		func() (*store.Key, error) { return first(k.s.Keys(k.ctx)) })
}

// twins are strings that something might take for each other.
func twins() []string {
	long := strings.Repeat("0123456789abcdef", 63)
	return []string{
		"a", "A", "b", "aa", "a ", " a", "a\t", "a\n", "a'", `a"`, "a`", "a%", "%", "a_", "_", `a\`, `a\\`, "a*", "a?", "a;--", "a,b", "a/b",
		"a:b", "a|b", "a\x1fb", "\u00e4", "a\u0308", "\u00c4", "\u00df", "ss", "SS", "\u1e9e", "i", "I", "\u0131", "\u0130",
		"\u03a9", "\u2126",
		"\u03c3", "\u03c2", "a\u200b", "\uff41", "\u0430", "\U0001f600", "0", "00", "1", "01", "1.0", "1e0", "0x1", "-1", "null", "NULL",
		"true", "undefined", long + "a", long + "b", long,
	}
}

// A place is somewhere a string is looked for. put stores one so that get finds it by no other: get returns what tells
// it apart, which is the string.
type place struct {
	name string
	put  func(s string) error
	get  func(s string) (string, error)
}

// userPlaces are those in which users are looked for.
func (k *kit) userPlaces() []place {
	n := 0
	id := func() string { n++; return fmt.Sprint("id", n) }
	user := func(u *store.User, err error) (string, error) {
		return fieldOf(u, err, func() string { return u.Name })
	}
	users := func(u []*store.User, err error) (string, error) { return user(only(u, err)) }
	return []place{
		{"User by id",
			func(s string) error { return k.s.CreateUser(k.ctx, &store.User{ID: s, Username: id(), Name: s}) },
			func(s string) (string, error) { return user(k.s.User(k.ctx, s)) }},
		{"FindUsers by username",
			func(s string) error { return k.s.CreateUser(k.ctx, &store.User{ID: id(), Username: s, Name: s}) },
			func(s string) (string, error) { return users(k.s.FindUsers(k.ctx, store.UserQuery{Username: s})) }},
		{"FindUsers by e-mail",
			func(s string) error {
				return k.s.CreateUser(k.ctx, &store.User{ID: id(), Username: id(), Email: s, Name: s})
			},
			func(s string) (string, error) { return users(k.s.FindUsers(k.ctx, store.UserQuery{Email: s})) }},
	}
}

func (k *kit) places() []place { return append(k.userPlaces(), k.otherPlaces()...) }

func (k *kit) otherPlaces() []place {
	end := k.at(3600)
	key := func(s string) store.LinkKey { return store.LinkKey{Provider: "p", Issuer: "i", Subject: s} }
	n := 0
	id := func() string { n++; return fmt.Sprint("id", n) }
	value := func(v []byte, err error) (string, error) { return string(v), err }
	session := func(x *store.Session, err error) (string, error) {
		return fieldOf(x, err, func() string { return x.ACR })
	}
	grant := func(x *store.Grant, err error) (string, error) {
		return fieldOf(x, err, func() string { return x.Nonce })
	}
	return []place{
		{"Link by subject",
			func(s string) error {
				return k.s.CreateLink(k.ctx, &store.Link{LinkKey: key(s), UserID: s, Username: s})
			},
			func(s string) (string, error) {
				l, err := k.s.Link(k.ctx, key(s))
				return fieldOf(l, err, func() string { return l.Username })
			}},
		{"Link by provider",
			func(s string) error {
				return k.s.CreateLink(k.ctx, &store.Link{LinkKey: store.LinkKey{Provider: s, Subject: "at a provider"}, Username: s})
			},
			func(s string) (string, error) {
				l, err := k.s.Link(k.ctx, store.LinkKey{Provider: s, Subject: "at a provider"})
				return fieldOf(l, err, func() string { return l.Username })
			}},
		{"Link by issuer",
			func(s string) error {
				return k.s.CreateLink(k.ctx, &store.Link{LinkKey: store.LinkKey{Provider: "p", Issuer: s, Subject: "of an issuer"}, Username: s})
			},
			func(s string) (string, error) {
				l, err := k.s.Link(k.ctx, store.LinkKey{Provider: "p", Issuer: s, Subject: "of an issuer"})
				return fieldOf(l, err, func() string { return l.Username })
			}},
		{"LinksOf a user",
			func(s string) error {
				return k.s.CreateLink(k.ctx, &store.Link{LinkKey: key(id()), UserID: "of " + s, Username: s})
			},
			func(s string) (string, error) {
				l, err := only(k.s.LinksOf(k.ctx, "of "+s))
				return fieldOf(l, err, func() string { return l.Username })
			}},
		{"Session by id",
			func(s string) error { return k.s.CreateSession(k.ctx, &store.Session{ID: s, ACR: s, ExpiresAt: end}) },
			func(s string) (string, error) { return session(k.s.Session(k.ctx, s)) }},
		{"FindSessions by user",
			func(s string) error {
				return k.s.CreateSession(k.ctx, &store.Session{ID: id(), UserID: s, ACR: s, ExpiresAt: end})
			},
			func(s string) (string, error) {
				return session(only(k.s.FindSessions(k.ctx, store.SessionQuery{UserID: s})))
			}},
		{"FindSessions by provider",
			func(s string) error {
				n := &store.Session{ID: id(), Upstream: store.LinkKey{Provider: "at " + s}, ACR: s, ExpiresAt: end}
				return k.s.CreateSession(k.ctx, n)
			},
			func(s string) (string, error) {
				return session(only(k.s.FindSessions(k.ctx, store.SessionQuery{Provider: "at " + s})))
			}},
		{"FindSessions by issuer",
			func(s string) error {
				n := &store.Session{ID: id(), Upstream: store.LinkKey{Provider: "p2", Issuer: s}, ACR: s, ExpiresAt: end}
				return k.s.CreateSession(k.ctx, n)
			},
			func(s string) (string, error) {
				return session(only(k.s.FindSessions(k.ctx, store.SessionQuery{Provider: "p2", Issuer: s})))
			}},
		{"FindSessions by upstream session",
			func(s string) error {
				return k.s.CreateSession(k.ctx, &store.Session{ID: id(), Upstream: store.LinkKey{Provider: "p1"}, UpstreamSession: s,
					ACR: s, ExpiresAt: end})
			},
			func(s string) (string, error) {
				return session(only(k.s.FindSessions(k.ctx, store.SessionQuery{Provider: "p1", UpstreamSession: s})))
			}},
		{"FindSessions by subject",
			func(s string) error {
				return k.s.CreateSession(k.ctx, &store.Session{ID: id(), Upstream: key(s), ACR: s, ExpiresAt: end})
			},
			func(s string) (string, error) {
				return session(only(k.s.FindSessions(k.ctx, store.SessionQuery{Provider: "p", Issuer: "i", Subject: s})))
			}},
		{"Grant by id",
			func(s string) error { return k.s.CreateGrant(k.ctx, &store.Grant{ID: s, Nonce: s, ExpiresAt: end}) },
			func(s string) (string, error) { return grant(k.s.Grant(k.ctx, s)) }},
		{"FindGrants by session",
			func(s string) error {
				return k.s.CreateGrant(k.ctx, &store.Grant{ID: id(), SessionID: s, Nonce: s, ExpiresAt: end})
			},
			func(s string) (string, error) {
				return grant(only(k.s.FindGrants(k.ctx, store.GrantQuery{SessionID: s})))
			}},
		{"FindGrants by user",
			func(s string) error {
				return k.s.CreateGrant(k.ctx, &store.Grant{ID: id(), UserID: s, Nonce: s, ExpiresAt: end})
			},
			func(s string) (string, error) { return grant(only(k.s.FindGrants(k.ctx, store.GrantQuery{UserID: s}))) }},
		{"FindGrants by client",
			func(s string) error {
				return k.s.CreateGrant(k.ctx, &store.Grant{ID: id(), ClientID: s, Nonce: s, ExpiresAt: end})
			},
			func(s string) (string, error) {
				return grant(only(k.s.FindGrants(k.ctx, store.GrantQuery{ClientID: s})))
			}},
		{"Key by id",
			func(s string) error { return k.s.AddKey(k.ctx, &store.Key{ID: s, Algorithm: id(), Private: []byte(s)}) },
			func(s string) (string, error) {
				keys, err := k.s.Keys(k.ctx)
				for _, key := range keys {
					if key.ID == s {
						return string(key.Private), nil
					}
				}
				return "", cmp.Or(err, store.ErrNotFound)
			}},
		{"transient value by key",
			func(s string) error { return k.s.Add(k.ctx, "p", s, []byte(s), end) },
			func(s string) (string, error) { return value(k.s.Take(k.ctx, "p", s)) }},
		{"transient value by purpose",
			func(s string) error { return k.s.Add(k.ctx, "for "+s, "k", []byte(s), end) },
			func(s string) (string, error) { return value(k.s.Take(k.ctx, "for "+s, "k")) }},
	}
}

// fieldOf returns a field of a record that may be nil.
func fieldOf[T any](_ *T, err error, field func() string) (string, error) {
	if err != nil {
		return "", err
	}
	return field(), nil
}

// only is first with ErrNotFound for none.
func only[T any](records []*T, err error) (*T, error) {
	if err == nil && len(records) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return first(records, nil)
}

func keysExact(k *kit, places []place) {
	all := twins()
	for _, p := range places {
		for i, s := range all {
			if i%2 == 1 {
				continue // half are asked for while their twins are there and they are not
			}
			k.ok(p.put(s), "%s: %q stored beside the likes of it", p.name, brief(s))
		}
		for i, s := range all {
			if i%2 == 1 {
				_, err := p.get(s)
				k.is(err, store.ErrNotFound, "%s: %q, which was not stored though the likes of it were", p.name, brief(s))
			}
		}
		for i, s := range all {
			if i%2 == 1 {
				k.ok(p.put(s), "%s: %q stored beside the likes of it", p.name, brief(s))
			}
		}
		for _, s := range all {
			got, err := p.get(s)
			k.ok(err, "%s: %q", p.name, brief(s))
			k.same(brief(got), brief(s), "%s", p.name)
			k.same(len(got), len(s), "%s: length of %q", p.name, brief(s))
		}
	}
}

// brief keeps both ends of a string.
func brief(s string) string {
	if len(s) <= 60 {
		return s
	}
	return s[:20] + "…" + s[len(s)-20:]
}

// keysOdd stores what a store may refuse. It must not take one for another, or for something that it can store.
func keysOdd(k *kit, places []place) {
	long := strings.Repeat("x", 4095)
	odd := []string{"\xff", "\xfe", "\xc3", "\xc3\x28", "\xed\xa0\x80", "a\xff", long + "a", long + "b", "a\x00", "a\x00b"}
	for _, p := range places {
		for _, s := range []string{"a", "\ufffd", "a\ufffd"} {
			k.ok(p.put(s), "%s: %q", p.name, s)
		}
		var stored []string
		for _, s := range odd {
			if err := p.put(s); err == nil {
				stored = append(stored, s)
			} else if isSentinel(err) {
				k.Fatalf("%s: %q was taken for another: %v", p.name, brief(s), err)
			}
		}
		for _, s := range odd {
			got, err := p.get(s)
			if !slices.Contains(stored, s) {
				if err == nil {
					k.Fatalf("%s: %q was refused and is there as %q", p.name, brief(s), brief(got))
				}
				continue
			}
			k.ok(err, "%s: %q", p.name, brief(s))
			k.same(brief(got), brief(s), "%s", p.name)
		}
	}
}

// keysParts stores keys of several parts that are the same once they are joined.
func keysParts(k *kit) {
	end := k.at(3600)
	var keys []store.LinkKey
	for _, sep := range []string{"", "|", "/", ":", ",", ".", "-", "_", " ", "\x1f", "\n", "%", `\`, `"`, "'"} {
		keys = append(keys,
			store.LinkKey{Provider: "a" + sep, Issuer: "b", Subject: "c"}, store.LinkKey{Provider: "a", Issuer: sep + "b", Subject: "c"},
			store.LinkKey{Provider: "a", Issuer: "b" + sep, Subject: "c"}, store.LinkKey{Provider: "a", Issuer: "b", Subject: sep + "c"},
			store.LinkKey{Provider: "a" + sep + "b", Subject: "c"}, store.LinkKey{Provider: "a", Subject: "b" + sep + "c"},
			store.LinkKey{Provider: "a" + sep + "b", Issuer: "c"}, store.LinkKey{Provider: "a", Issuer: "b" + sep + "c"},
			store.LinkKey{Issuer: "a" + sep + "b", Subject: "c"}, store.LinkKey{Subject: "a" + sep + "b" + sep + "c"})
	}
	slices.SortFunc(keys, func(a, b store.LinkKey) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject))
	})
	keys = slices.Compact(keys)
	for i, key := range keys {
		k.ok(k.s.CreateLink(k.ctx, &store.Link{LinkKey: key, UserID: fmt.Sprint(i)}), "CreateLink %+q", key)
		k.ok(k.s.CreateSession(k.ctx, &store.Session{ID: fmt.Sprint(i), UserID: "u", Upstream: key, UpstreamSession: key.Subject,
			ExpiresAt: end}), "CreateSession")
		k.ok(k.s.Put(k.ctx, "1"+key.Provider, key.Issuer+key.Subject, fmt.Append(nil, key), end), "Put")
	}
	for i, key := range keys {
		l, err := k.s.Link(k.ctx, key)
		k.ok(err, "Link %+q", key)
		k.same(l.UserID, fmt.Sprint(i), "user of link %+q", key)
		if key.Provider == "" {
			continue
		}
		q := store.SessionQuery{Provider: key.Provider, Issuer: key.Issuer, Subject: key.Subject, UpstreamSession: key.Subject}
		found, err := k.s.FindSessions(k.ctx, q)
		k.ok(err, "FindSessions(%+q)", q)
		for _, s := range found {
			if u := s.Upstream; u.Provider != q.Provider || q.Issuer != "" && u.Issuer != q.Issuer || q.Subject != "" && u.Subject != q.Subject {
				k.Fatalf("FindSessions(%+q) found one of %+q", q, s.Upstream)
			}
		}
		if !slices.Contains(ids(found, sessionID), fmt.Sprint(i)) {
			k.Fatalf("FindSessions(%+q) does not find session %d", q, i)
		}
	}
	k.ok(k.s.Put(k.ctx, "ab", "c", []byte("ab c"), end), "Put")
	k.ok(k.s.Put(k.ctx, "a", "bc", []byte("a bc"), end), "Put")
	got, err := k.s.Take(k.ctx, "ab", "c")
	k.ok(err, "Take")
	k.same(string(got), "ab c", `value for "ab" under "c"`)
	for _, p := range []string{":", "/", "|", ".", "\x1f", "-", "_"} {
		k.ok(k.s.Put(k.ctx, "a"+p+"b", "c", []byte("left"), end), "Put")
		_, err := k.s.Take(k.ctx, "a", "b"+p+"c")
		k.is(err, store.ErrNotFound, "Take for %q under %q, stored for %q under %q", "a", "b"+p+"c", "a"+p+"b", "c")
	}
}
