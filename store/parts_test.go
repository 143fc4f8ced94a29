package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// splits are ways to keep the roles in several places: for each role, in the order of Parts, which place it is.
var splits = []string{"aaaaaa", "abbbbb", "aababa", "aabaab", "abcdef", "abaaba"}

// split is a store of which the roles are where the split says, and the places, whose clock stands still.
func split(s string, wrap func(*memstore.Store) store.Store) (p store.Parts, advance func(time.Duration)) {
	now := time.Now()
	places := map[rune]store.Store{}
	for _, name := range s {
		m := memstore.New()
		m.Now = func() time.Time { return now }
		if places[name] == nil {
			places[name] = wrap(m)
		}
	}
	at := func(i int) store.Store { return places[rune(s[i])] }
	return store.Parts{at(0), at(1), at(2), at(3), at(4), at(5)}, func(d time.Duration) { now = now.Add(d) }
}

func whole(m *memstore.Store) store.Store { return m }

func TestParts(t *testing.T) {
	t.Parallel()
	for _, s := range splits {
		t.Run(s, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(testing.TB) (store.Store, func(time.Duration)) { return split(s, whole) })
		})
	}
}

func TestPartsCheck(t *testing.T) {
	t.Parallel()
	full, _ := split("aaaaaa", whole)
	if err := full.Check(); err != nil {
		t.Errorf("Check of full parts: %v", err)
	}
	full.Links, full.Transient = nil, (*memstore.Store)(nil)
	want := "store.Parts: Links is nil\nstore.Parts: Transient is nil"
	if err := full.Check(); err == nil || err.Error() != want {
		t.Errorf("Check: got %v, want %q", err, want)
	}
}

// A journal is a store that notes which calls write to it, dies before or after one of them, and stays dead.
type journal struct {
	*memstore.Store
	log *fault
}

// A fault is shared by the places of one store.
type fault struct {
	calls []string
	at    int  // which call it happens to; -1 is none
	after bool // it happens after the call has done its work
	dead  bool // what comes later fails, too
	down  bool
}

func (j journal) note(name string, call func() error) error {
	f := j.log
	if f.down {
		return errDown
	}
	f.calls = append(f.calls, name)
	if len(f.calls)-1 != f.at {
		return call()
	}
	f.down = f.dead
	if f.after {
		if err := call(); err != nil {
			return err
		}
	}
	return errDown
}

func (j journal) Add(ctx context.Context, purpose, key string, value []byte, expires time.Time) error {
	return j.note("mark", func() error { return j.Store.Add(ctx, purpose, key, value, expires) })
}

func (j journal) CreateUser(ctx context.Context, u *store.User) error {
	return j.note("new user", func() error { return j.Store.CreateUser(ctx, u) })
}

func (j journal) UpdateUser(ctx context.Context, u *store.User) error {
	return j.note("user", func() error { return j.Store.UpdateUser(ctx, u) })
}

func (j journal) DeleteUser(ctx context.Context, id string) error {
	return j.note("no user", func() error { return j.Store.DeleteUser(ctx, id) })
}

func (j journal) CreateLink(ctx context.Context, l *store.Link) error {
	return j.note("new link", func() error { return j.Store.CreateLink(ctx, l) })
}

func (j journal) UpdateLink(ctx context.Context, l *store.Link) error {
	return j.note("link", func() error { return j.Store.UpdateLink(ctx, l) })
}

func (j journal) CreateSession(ctx context.Context, s *store.Session) error {
	return j.note("session", func() error { return j.Store.CreateSession(ctx, s) })
}

func (j journal) DeleteSession(ctx context.Context, id string) error {
	return j.note("end", func() error { return j.Store.DeleteSession(ctx, id) })
}

func (j journal) CreateGrant(ctx context.Context, g *store.Grant) error {
	return j.note("grant", func() error { return j.Store.CreateGrant(ctx, g) })
}

func (j journal) DeleteGrant(ctx context.Context, id string) error {
	return j.note("no grant", func() error { return j.Store.DeleteGrant(ctx, id) })
}

func (j journal) Commit(ctx context.Context, l *store.Login) error {
	parts := []string{}
	for _, part := range []struct {
		name string
		in   bool
	}{
		{"mark", l.Once != ""}, {"new user", l.NewUser != nil}, {"new link", l.NewLink != nil}, {"link", l.Link != nil},
		{"old link", l.OldLink != nil},
		{"user", l.User != nil}, {"grant", l.Grant != nil}, {"session", l.Session != nil}, {"end", l.EndSession != ""},
	} {
		if part.in {
			parts = append(parts, part.name)
		}
	}
	return j.note("{"+strings.Join(parts, " ")+"}", func() error { return j.Store.Commit(ctx, l) })
}

func journaled(s string, f *fault) store.Parts {
	p, _ := split(s, func(m *memstore.Store) store.Store { return journal{m, f} })
	return p
}

// newcomer is the login of somebody new, in the session of somebody else.
func newcomer() *store.Login {
	l := login()
	l.EndSession = "old"
	l.Grant = &store.Grant{ID: "g", UserID: "u", SessionID: "s", ExpiresAt: time.Now().Add(time.Hour)}
	return l
}

// known is the next login of the same.
func known(of *store.Login) *store.Login {
	l := newcomer()
	l.Once, l.NewUser, l.NewLink, l.User, l.Link = "again", nil, nil, of.NewUser, of.NewLink
	l.Session.ID, l.EndSession, l.Grant.ID = "s2", "s", "g2"
	return l
}

// What one place keeps and can write at once is written at once, and the mark is never later than anything else.
func TestPartsWritesTogetherWhatItCan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ split, first, again, plain string }{
		{"aaaaaa", "{mark new user new link grant session end}", "{mark link user grant session end}", "{mark link grant session end}"},
		{"abbbbb", "mark, new user, {new link grant session end}", "{mark link}, user, {grant session end}", "{mark link grant session end}"},
		{"aababa", "mark, {new user new link grant}, {session end}", "mark, {link user grant}, {session end}", "mark, {link grant}, {session end}"},
		{"aabaab", "{mark new user new link grant}, {session end}", "{mark link user grant}, {session end}",
			"{mark link grant}, {session end}"},
		{"abcdef", "mark, new user, new link, grant, {session end}", "mark, link, user, grant, {session end}",
			"mark, link, grant, {session end}"},
	} {
		t.Run(c.split, func(t *testing.T) {
			t.Parallel()
			f := &fault{at: -1}
			p := journaled(c.split, f)
			first := newcomer()
			again := known(first)
			plain := known(first)
			plain.Once, plain.User, plain.Session.ID, plain.EndSession, plain.Grant.ID = "plain", nil, "s3", "s2", "g3"
			for _, step := range []struct {
				l    *store.Login
				want string
			}{{first, c.first}, {again, c.again}, {plain, c.plain}} {
				f.calls = nil
				if err := store.Commit(t.Context(), p, step.l); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(f.calls, ", "); got != step.want {
					t.Errorf("writes: got %q, want %q", got, step.want)
				}
			}
		})
	}
}

// Whatever fails or dies, and whether or not it had done its work: a login that failed cannot be repeated, leaves nothing that
// is in the way, and the same person can come in by the next.
func TestPartsFaults(t *testing.T) {
	t.Parallel()
	for _, s := range append(splits, "none") {
		for _, after := range []bool{false, true} {
			for _, dead := range []bool{false, true} {
				for _, mode := range []string{"first", "again"} {
					t.Run(fmt.Sprint(s, "/", mode, "/after=", after, "/dead=", dead), func(t *testing.T) {
						t.Parallel()
						for at := 0; tryFault(t, s, mode == "again", fault{at: at, after: after, dead: dead}); at++ {
							if at > 20 {
								t.Fatal("it never ends")
							}
						}
					})
				}
			}
		}
	}
}

// tryFault reports whether there was a call for the fault to happen to.
func tryFault(t *testing.T, s string, again bool, f fault) (happened bool) {
	t.Helper()
	ctx := t.Context()
	where := f
	f.at = -1
	var p store.Parts
	var tried store.Store
	if s == "none" { // nothing here is a Committer
		p = journaled("aaaaaa", &f)
		tried = struct{ store.Store }{p.Links.(store.Store)}
	} else {
		p = journaled(s, &f)
		tried = p
	}
	l := newcomer()
	if err := p.CreateSession(ctx, &store.Session{ID: "old", UserID: "other", ExpiresAt: l.Session.ExpiresAt}); err != nil {
		t.Fatal(err)
	}
	if again {
		if err := store.Commit(ctx, p, l); err != nil {
			t.Fatal(err)
		}
		l = known(l)
	}
	f.calls, f.at = nil, where.at
	err := store.Commit(ctx, tried, l)
	calls := strings.Join(f.calls, ", ")
	if happened = f.at < len(f.calls); happened {
		where.calls = f.calls[:f.at+1]
	}
	f.at, f.down = -1, false
	if !happened {
		if err != nil {
			t.Errorf("%s: Commit: %v", calls, err)
		}
		return false
	}
	if err == nil {
		t.Errorf("%s: Commit is no error though the store failed", calls)
	}
	unlinked := left(t, p, l, calls, where)
	// The person comes again, with another mark, and meets what there is.
	next := newcomer()
	next.Once, next.Session.ID, next.Grant.ID = "next", "next", "next"
	if link, err := p.Link(ctx, next.NewLink.LinkKey); err == nil {
		next.NewUser, next.NewLink, next.Link = nil, nil, link
	} else if unlinked {
		next.NewUser = nil // an existing account, which the person proves to be theirs
	}
	if err := store.Commit(ctx, p, next); err != nil {
		t.Errorf("%s: the next login: %v", calls, err)
	}
	return true
}

// left checks what a login that failed has left behind, and reports whether that is a user without a link.
func left(t *testing.T, p store.Parts, l *store.Login, calls string, f fault) (unlinked bool) {
	t.Helper()
	ctx := t.Context()
	_, noUser := p.User(ctx, "u")
	_, noLink := p.Link(ctx, login().NewLink.LinkKey)
	_, noGrant := p.Grant(ctx, l.Grant.ID)
	_, noSession := p.Session(ctx, l.Session.ID)
	_, noMark := p.Get(ctx, store.PurposeLogin, l.Once)
	wrote := noUser == nil && l.NewUser != nil || noGrant == nil || noSession == nil
	if wrote && noMark != nil {
		t.Errorf("%s: something was written and the login can be repeated", calls)
	}
	if noLink == nil && noUser != nil && !f.after {
		t.Errorf("%s: there is a link to nobody", calls)
	}
	unlinked = noUser == nil && noLink != nil
	if unlinked && !f.dead {
		t.Errorf("%s: there is a user without a link though the store came back at once", calls)
	}
	last := f.calls[len(f.calls)-1]
	if noSession == nil && !f.after && last != "end" {
		t.Errorf("%s: there is a session though it was not written", calls)
	}
	if noGrant == nil && noSession != nil && !f.dead {
		t.Errorf("%s: there is a grant without its session though the store came back at once", calls)
	}
	return unlinked
}
