package broker_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// midway has do happen while the upstream "demo" renews tokens for the first time: it has taken the refresh token, and has not
// answered yet. do is told the new refresh token.
func (w *world) midway(do func(next string)) {
	var once atomic.Bool
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) {
		asked := w.op.Requests(providertest.Token)
		if asked[len(asked)-1].Params.Get("grant_type") == "refresh_token" && once.CompareAndSwap(false, true) {
			do(m["refresh_token"].(string))
		}
	}})
}

// wantRenewals fails unless the upstream was brought so many refresh tokens, and took each.
func (w *world) wantRenewals(n int) {
	w.t.Helper()
	if brought, taken := renewals(w.op); brought != n || taken != n {
		w.t.Errorf("the upstream was brought %d refresh tokens and took %d, want %d", brought, taken, n)
	}
}

// A caller who gives up ends the renewal for nobody, and what the upstream has answered is kept.
func TestRefreshOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answer := make(chan struct{})
	w.midway(func(string) {
		cancel()
		<-answer
	})
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(ctx, id, "demo"); !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller who left: %v", err)
	}
	close(answer)
	tokens, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	if err != nil || !w.good(w.op, tokens.AccessToken) || tokens.RefreshToken != "" {
		t.Fatalf("the next one: %v", err)
	}
	w.wantRenewals(1)
	w.advance(11 * time.Minute)
	_, err = w.Broker.UpstreamTokens(t.Context(), id, "demo")
	must(t, err)
	w.wantRenewals(2)
}

// What is renewed while the link goes is given to nobody, and revoked.
func TestRefreshWhileUnlinked(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	var next atomic.Value
	w.midway(func(n string) {
		next.Store(n)
		w.unlink("alice")
	})
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); !errors.Is(err, broker.ErrNotLinked) {
		t.Errorf("UpstreamTokens: %v", err)
	}
	eventually(t, "the upstream is told", func() bool {
		told := w.op.Requests(providertest.Revocation)
		return len(told) == 1 && told[0].Params.Get("token") == next.Load()
	})
}

// What is renewed while all is given up is given up, too.
func TestRefreshWhileGivenUp(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		w.login("Demo")
		id := w.named("alice").ID
		var next atomic.Value
		w.midway(func(n string) {
			next.Store(n)
			must(w.t, w.Broker.RevokeUpstreamTokens(w.t.Context(), id))
		})
		w.advance(11 * time.Minute)
		if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); !errors.Is(err, broker.ErrNoTokens) {
			t.Errorf("UpstreamTokens: %v", err)
		}
		eventually(t, "the upstream is told", func() bool {
			told := w.op.Requests(providertest.Revocation)
			return slices.ContainsFunc(told, func(r providertest.Request) bool { return r.Params.Get("token") == next.Load() })
		})
	}
}

// What is too large to be kept is no use, and nobody waits for it to become smaller: the refresh token is spent, and not tried again.
func TestRefreshBringsTooMuch(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) {
		delete(m, "id_token")
		m["access_token"] = strings.Repeat("a", 100<<10)
	}})
	w.advance(11 * time.Minute)
	for range 2 {
		if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); !errors.Is(err, broker.ErrLinkAgain) {
			t.Errorf("UpstreamTokens: %v", err)
		}
	}
	w.wantRenewals(1)
	eventually(t, "the upstream is told", func() bool { return len(w.op.Requests(providertest.Revocation)) == 1 })
}

// What is renewed while the session ends is given to nobody, and revoked.
func TestRefreshWhileSignedOut(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensInSession, nil)
	b := w.login("Demo")
	w.midway(func(string) { w.deleteSession(b) })
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo"); !errors.Is(err, broker.ErrNoTokens) {
		t.Errorf("UpstreamTokens: %v", err)
	}
	eventually(t, "the upstream is told", func() bool { return len(w.op.Requests(providertest.Revocation)) == 1 })
}

// Tokens of a login that came meanwhile stay; anything else that was written meanwhile stays, too, and is no reason to lose what was
// renewed.
func TestRefreshWhileWritten(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		write func(w *world)
		login bool
	}{
		"by a login": {func(w *world) { w.login("Demo") }, true},
		"otherwise": {func(w *world) {
			l := w.linksOf(w.named("alice").ID)[0]
			l.Username = "renamed"
			must(w.t, w.store.UpdateLink(w.t.Context(), l))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVaultWorld(t, provider.TokensOnLink, nil)
			w.login("Demo")
			id := w.named("alice").ID
			var next atomic.Value
			w.midway(func(n string) {
				next.Store(n)
				row.write(w)
			})
			w.advance(11 * time.Minute)
			tokens, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
			if err != nil || !w.good(w.op, tokens.AccessToken) {
				t.Fatalf("UpstreamTokens: %v", err)
			}
			w.advance(11 * time.Minute)
			_, err = w.Broker.UpstreamTokens(t.Context(), id, "demo")
			must(t, err)
			w.wantRenewals(2)
			sent := w.op.Requests(providertest.Token)
			if renewed := sent[len(sent)-1].Params.Get("refresh_token") == next.Load(); renewed == row.login {
				t.Errorf("the second renewal used what the first had brought: %t", renewed)
			}
			if l := w.linksOf(id)[0]; !row.login && l.Username != "renamed" {
				t.Errorf("the link's name is %q", l.Username)
			}
		})
	}
}

// A store that fails while the answer is written is tried again, and a write whose answer was lost is found.
func TestRefreshWithFaultyStore(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before the write": false, "after the write": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVaultWorld(t, provider.TokensOnLink, nil)
			w.login("Demo")
			var failed, calls atomic.Int32
			w.keeping(provider.TokensOnLink, func(c *broker.Config) {
				c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
					if call.Method != "UpdateLink" || call.After != after || !after && calls.Add(1) == 1 { // the lease, without which nothing begins
						return nil
					}
					if failed.Add(1) <= 3 {
						return errFaulty
					}
					return nil
				})
			})
			w.advance(11 * time.Minute)
			tokens, err := w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo")
			if err != nil || !w.good(w.op, tokens.AccessToken) || failed.Load() == 0 {
				t.Fatalf("UpstreamTokens: %v after %d faults", err, failed.Load())
			}
			w.advance(11 * time.Minute)
			_, err = w.Broker.UpstreamTokens(t.Context(), w.named("alice").ID, "demo")
			must(t, err)
			w.wantRenewals(2)
		})
	}
}

// Another node waits for the one that renews, and has what that has got.
func TestRefreshOnTwoNodes(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	var waiting atomic.Int32
	var second *broker.Broker
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		other := *c
		other.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
			if call.Method == "Link" && call.After {
				waiting.Add(1)
			}
			return nil
		})
		var err error
		second, err = broker.New(other)
		must(t, err)
	})
	w.advance(11 * time.Minute)
	got := make(chan string)
	w.midway(func(string) {
		go func() {
			tokens, err := second.UpstreamTokens(t.Context(), id, "demo")
			if err != nil {
				t.Error(err)
				tokens = &provider.Tokens{}
			}
			got <- tokens.AccessToken
		}()
		eventually(t, "the second node waits", func() bool { return waiting.Load() >= 2 })
	})
	tokens, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	if err != nil || !w.good(w.op, tokens.AccessToken) {
		t.Fatalf("the first node: %v", err)
	}
	if theirs := <-got; theirs != tokens.AccessToken {
		t.Error("the second node has another token")
	}
	w.wantRenewals(1)
}

// The lease of a node that has died ends by itself. Of those who wait for that the first may leave.
func TestRefreshAfterCrash(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	dying := func(c *broker.Config) {
		c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
			if call.Method == "UpdateLink" && call.After {
				return storetest.ErrDead
			}
			return nil
		})
	}
	w.advance(11 * time.Minute)
	w.keeping(provider.TokensOnLink, dying)
	if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); err == nil {
		t.Fatal("the dying node returned tokens")
	}
	w.wantRenewals(0)
	var tried, came atomic.Int32
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
			if call.Method == "Link" && !call.After {
				tried.Add(1)
			}
			if call.Method == "LinksOf" && call.After {
				came.Add(1)
			}
			return nil
		})
	})
	failed, left := make(chan error), make(chan error)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go func() {
		_, err := w.Broker.UpstreamTokens(ctx, id, "demo")
		left <- err
	}()
	eventually(t, "the other node waits", func() bool { return tried.Load() >= 2 })
	go func() {
		_, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
		failed <- err
	}()
	eventually(t, "the second caller has come", func() bool { return came.Load() == 2 })
	since := tried.Load()
	eventually(t, "the second caller waits", func() bool { return tried.Load() >= since+3 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: %v", err)
	}
	w.wantRenewals(0)
	since = tried.Load()
	w.advance(2 * time.Minute)
	must(t, <-failed)
	w.wantRenewals(1)
	if n := tried.Load() - since; n > 40 { // who waits looks ten times a second
		t.Errorf("the lease was watched for long, though it was an old one: %d times", n)
	}
}

// A panicking is an upstream with a mistake in it.
type panicking struct {
	*oidc.Provider
	left atomic.Int32
}

func (p *panicking) RefreshTokens(ctx context.Context, old *provider.Tokens) (*provider.Tokens, error) {
	if p.left.Add(-1) >= 0 {
		panic("with " + old.RefreshToken)
	}
	return p.Provider.RefreshTokens(ctx, old)
}

// A provider that panics takes neither the process with it nor the next caller.
func TestRefreshPanics(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		broken := &panicking{Provider: c.Providers[0].IdP.(*oidc.Provider)}
		broken.left.Store(1)
		c.Providers[0].IdP = broken
	})
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); !errors.Is(err, broker.ErrRefreshFailed) || strings.Contains(err.Error(), "with ") {
		t.Errorf("UpstreamTokens: %v", err)
	}
	if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); err != nil {
		t.Errorf("the next caller: %v", err)
	}
	w.wantRenewals(1)
}

// A refusing is an upstream that refuses, and says no more, as long as it is told to.
type refusing struct {
	*oidc.Provider
	refuses atomic.Bool
	asked   atomic.Int32
}

func (p *refusing) RefreshTokens(ctx context.Context, old *provider.Tokens) (*provider.Tokens, error) {
	p.asked.Add(1)
	if p.refuses.Load() {
		return nil, &provider.Error{Kind: provider.Denied}
	}
	return p.Provider.RefreshTokens(ctx, old)
}

// A gateway out of order refuses everybody for a while, which ends no link; what goes on for an hour the user is told, and is
// over as soon as the upstream takes the refresh token again.
func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		w.login("Demo")
		id := w.named("alice").ID
		idp := &refusing{}
		idp.refuses.Store(true)
		w.keeping(mode, func(c *broker.Config) {
			idp.Provider = c.Providers[0].IdP.(*oidc.Provider)
			c.Providers[0].IdP = idp
		})
		want := func(want error) {
			t.Helper()
			asked := idp.asked.Load()
			_, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
			if !errors.Is(err, want) || errors.Is(err, broker.ErrRefreshFailed) && errors.Is(err, broker.ErrLinkAgain) {
				t.Errorf("mode %d: %v, want %v", mode, err, want)
			}
			if idp.asked.Load() != asked+1 {
				t.Errorf("mode %d: the upstream was not asked", mode)
			}
		}
		w.advance(11 * time.Minute)
		want(broker.ErrRefreshFailed)
		w.advance(59 * time.Minute)
		want(broker.ErrRefreshFailed)
		w.advance(time.Minute)
		want(broker.ErrLinkAgain)
		want(broker.ErrLinkAgain)
		idp.refuses.Store(false)
		want(nil)
		w.wantRenewals(1)
		idp.refuses.Store(true)
		w.advance(11 * time.Minute)
		want(broker.ErrRefreshFailed) // counted anew
	}
}

// What could not be renewed is the next caller's to try, at once.
func TestRefreshThatFailedMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	for _, mode := range []provider.TokenMode{provider.TokensOnLink, provider.TokensInSession} {
		w := newVaultWorld(t, mode, nil)
		w.login("Demo")
		id := w.named("alice").ID
		var looked atomic.Int32
		w.keeping(mode, func(c *broker.Config) {
			c.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
				if !call.After && (call.Method == "Link" || call.Method == "Session") {
					looked.Add(1)
				}
				return nil
			})
		})
		w.op.Break(providertest.TokenDown)
		w.advance(11 * time.Minute)
		for range 2 {
			if _, err := w.Broker.UpstreamTokens(t.Context(), id, "demo"); !errors.Is(err, broker.ErrRefreshFailed) {
				t.Errorf("mode %d: %v", mode, err)
			}
		}
		w.op.Break()
		_, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
		must(t, err)
		if n := looked.Load(); n > 40 { // who waits looks ten times a second
			t.Errorf("mode %d: the store was asked %d times", mode, n)
		}
	}
}

// Who is asked for the tokens of a link that takes another's place while they are renewed has those of the new one; what the old one
// was renewed to goes to nobody, and is not revoked, as some upstreams would revoke the new one's with it.
func TestRefreshWhileSubjectMoves(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	former := func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) {
			withRefresh(c)
			c.FormerSubjectClaim = "ids.old"
		})
	}
	w.keeping(provider.TokensOnLink, former)
	r := &renamedWorld{world: w, alice: w.login("Demo").Get(w.Origin + "/").Who().ID}
	w.midway(func(string) {
		r.renamed("alice-2", "alice")
		r.wantOnly(t, w.login("Demo").Get(w.Origin+"/").Who().ID)
	})
	w.advance(11 * time.Minute)
	for range 2 {
		tokens, err := w.Broker.UpstreamTokens(t.Context(), r.alice, "demo")
		if err != nil {
			t.Fatalf("UpstreamTokens: %v", err)
		}
		said := send(t, http.MethodGet, w.op.Issuer()+"/userinfo", nil, bearer(tokens.AccessToken))
		if !strings.Contains(said.text, `"sub":"alice-2"`) {
			t.Errorf("the token is of %s", said.text)
		}
	}
	w.wantRenewals(1)
	w.advance(11 * time.Minute)
	_, err := w.Broker.UpstreamTokens(t.Context(), r.alice, "demo")
	must(t, err)
	w.wantRenewals(2)
	if n := len(w.op.Requests(providertest.Revocation)); n != 0 {
		t.Errorf("%d tokens were revoked", n)
	}
}

// The refresh token of a former subject is not taken over: what it brings is about whom the link is not.
func TestRefreshTokenOfAFormerSubject(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		c.Providers[0].IdP = w.upstream(w.op, "demo", func(c *oidc.Config) {
			withRefresh(c)
			c.FormerSubjectClaim = "ids.old"
		})
	})
	r := &renamedWorld{world: w, alice: w.login("Demo").Get(w.Origin + "/").Who().ID}
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) { delete(m, "refresh_token") }})
	r.renamed("alice-2", "alice")
	r.wantOnly(t, w.login("Demo").Get(w.Origin+"/").Who().ID)
	if _, err := w.Broker.UpstreamTokens(t.Context(), r.alice, "demo"); err != nil {
		t.Errorf("what the login brought: %v", err)
	}
	w.advance(11 * time.Minute)
	if _, err := w.Broker.UpstreamTokens(t.Context(), r.alice, "demo"); !errors.Is(err, broker.ErrLinkAgain) {
		t.Errorf("UpstreamTokens: %v", err)
	}
	w.wantRenewals(0)
}

// A login that brings no refresh token leaves the one that is being used to who uses it: nobody else does meanwhile.
func TestRefreshWhileALoginBringsNone(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	w.login("Demo")
	id := w.named("alice").ID
	var second *broker.Broker
	var waiting, loggedIn atomic.Bool
	w.keeping(provider.TokensOnLink, func(c *broker.Config) {
		other := *c
		other.Store = storetest.Faulty(w.store, func(call storetest.Call) error {
			waiting.CompareAndSwap(false, call.Method == "Link" && call.After && loggedIn.Load())
			return nil
		})
		var err error
		second, err = broker.New(other)
		must(t, err)
	})
	var once atomic.Bool
	got := make(chan error, 1)
	w.op.Edit(providertest.Hooks{Token: func(m map[string]any) {
		asked := w.op.Requests(providertest.Token)
		if asked[len(asked)-1].Params.Get("grant_type") != "refresh_token" {
			delete(m, "refresh_token")
			m["expires_in"] = 1 // so that whoever asks has to renew it
			return
		}
		if !once.CompareAndSwap(false, true) {
			return
		}
		w.login("Demo")
		loggedIn.Store(true)
		go func() {
			_, err := second.UpstreamTokens(t.Context(), id, "demo")
			got <- err
		}()
		eventually(t, "the second node has looked", waiting.Load)
	}})
	w.advance(11 * time.Minute)
	_, err := w.Broker.UpstreamTokens(t.Context(), id, "demo")
	must(t, err)
	must(t, <-got)
	w.wantRenewals(1)
}

// What was issued for users who are switched off is revoked and given up while the broker runs; what is others' stays.
func TestTokensOfDisabledUsersAreRevoked(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]provider.TokenMode{"on the link": provider.TokensOnLink, "in the session": provider.TokensInSession} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVaultWorld(t, mode, nil)
			tokens := w.fetch("demo", w.accessToken(w.login("Demo"))).fetched(t)
			w.op.LoginAs("bob")
			others := w.fetch("demo", w.accessToken(w.login("Demo"))).fetched(t)
			alice, bob := w.named("alice").ID, w.named("bob").ID
			w.editUser("alice", func(u *store.User) { u.Disabled = true })
			ctx, stop := context.WithCancel(t.Context())
			var ended sync.WaitGroup
			for range 2 { // two nodes may
				ended.Go(func() { _ = w.Broker.Run(ctx) })
			}
			kept := func(user string) bool { return len(w.linksOf(user)[0].Tokens) > 0 || w.sessionTokens(user) }
			eventually(t, "they are given up", func() bool { return !kept(alice) })
			eventually(t, "the upstream is told", func() bool { return !w.good(w.op, tokens.AccessToken) })
			stop()
			ended.Wait()
			if !kept(bob) || !w.good(w.op, others.AccessToken) {
				t.Error("another user's are revoked, too")
			}
			if n := len(w.op.Requests(providertest.Revocation)); n != 1 {
				t.Errorf("the upstream was told %d times", n)
			}
			w.editUser("alice", func(u *store.User) { u.Disabled = false })
			if _, err := w.Broker.UpstreamTokens(t.Context(), alice, "demo"); !errors.Is(err, broker.ErrNoTokens) {
				t.Errorf("switched on again: %v", err)
			}
		})
	}
}

// lateHolders is a store in which something happens to the users whom it lists, before anybody looks at them.
type lateHolders struct {
	*memstore.Store
	meanwhile func()
	asked     atomic.Int32
}

func (h *lateHolders) DisabledHolders(ctx context.Context, after string, limit int) ([]string, error) {
	ids, err := h.Store.DisabledHolders(ctx, after, limit)
	if h.asked.Add(1) == 1 {
		h.meanwhile()
	}
	return ids, err
}

// Who is switched on again before their turn comes keeps what a new login has brought.
func TestTokensOfUsersWhoAreSwitchedOnAgain(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, nil)
	h := &lateHolders{Store: w.store, meanwhile: func() { w.editUser("alice", func(u *store.User) { u.Disabled = false }) }}
	w.keeping(provider.TokensOnLink, func(c *broker.Config) { c.Store = h })
	w.login("Demo")
	alice := w.named("alice").ID
	w.editUser("alice", func(u *store.User) { u.Disabled = true })
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { _ = w.Broker.Run(ctx) })
	eventually(t, "all users are looked through", func() bool { return h.asked.Load() > 1 })
	stop()
	ended.Wait()
	if tokens, err := w.Broker.UpstreamTokens(t.Context(), alice, "demo"); err != nil || tokens.AccessToken == "" {
		t.Errorf("switched on again: %v", err)
	}
}

func TestUpstreamTokensErrors(t *testing.T) {
	t.Parallel()
	w := newVaultWorld(t, provider.TokensOnLink, func(c *broker.Config) {
		c.Providers[0].StoreTokens = provider.TokensOnLink
		c.Providers[1].Disabled = true
	})
	w.login("Demo")
	alice := w.named("alice")
	for name, row := range map[string]struct {
		user, alias string
		want        error
	}{
		"no such provider":     {alice.ID, "none", broker.ErrTokensRefused},
		"provider that is off": {alice.ID, "other", broker.ErrTokensRefused},
		"no such user":         {"nobody", "demo", broker.ErrTokensRefused},
		"no user":              {"", "demo", broker.ErrTokensRefused},
	} {
		if tokens, err := w.Broker.UpstreamTokens(t.Context(), row.user, row.alias); tokens != nil || !errors.Is(err, row.want) {
			t.Errorf("%s: %v, %v", name, tokens, err)
		}
	}
	alice.Disabled = true
	must(t, w.store.UpdateUser(t.Context(), alice))
	if _, err := w.Broker.UpstreamTokens(t.Context(), alice.ID, "demo"); !errors.Is(err, broker.ErrTokensRefused) {
		t.Errorf("user who is off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Broker.UpstreamTokens(ctx, alice.ID, "demo"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	for _, name := range []error{broker.ErrTokensRefused, broker.ErrTokensNotStored, broker.ErrNotLinked, broker.ErrNoTokens, broker.ErrLinkAgain,
		broker.ErrRefreshFailed} {
		if errors.Is(name, store.ErrNotFound) {
			t.Errorf("%v is the store's", name)
		}
	}
}
