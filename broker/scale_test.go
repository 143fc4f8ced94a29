package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// counted is a store that counts calls, and what lists are made of.
type counted struct {
	*spyStore
	calls, rows atomic.Int64
}

func count[T any](c *counted, list []T, err error) ([]T, error) {
	c.calls.Add(1)
	c.rows.Add(int64(len(list)))
	return list, err
}

func (c *counted) FindUsers(ctx context.Context, q store.UserQuery) ([]*store.User, error) {
	list, err := c.Store.FindUsers(ctx, q)
	return count(c, list, err)
}

func (c *counted) LinksOf(ctx context.Context, userID string) ([]*store.Link, error) {
	list, err := c.Store.LinksOf(ctx, userID)
	return count(c, list, err)
}

func (c *counted) FindSessions(ctx context.Context, q store.SessionQuery) ([]*store.Session, error) {
	list, err := c.Store.FindSessions(ctx, q)
	return count(c, list, err)
}

func (c *counted) FindGrants(ctx context.Context, q store.GrantQuery) ([]*store.Grant, error) {
	list, err := c.Store.FindGrants(ctx, q)
	return count(c, list, err)
}

// A login costs the same for a user with ten thousand sessions, grants and links.
func TestLoginOfManySessions(t *testing.T) {
	t.Parallel()
	c := &counted{}
	w := newWorld(t, nil)
	c.spyStore = &spyStore{Store: w.store, hook: func(string) error { c.calls.Add(1); return nil }}
	w.reconfigure(func(config *broker.Config) { config.Store = c })
	b := brokertest.NewBrowser(t)
	user := w.enter(b, w.rp).Subject
	cost := func() [4]int64 {
		c.calls.Store(0)
		c.rows.Store(0)
		login := w.enter(brokertest.NewBrowser(t), w.rp) // in a new session
		calls, rows := c.calls.Swap(0), c.rows.Swap(0)
		w.enter(b, w.rp) // in one that goes on
		if login.Subject != user {
			t.Fatal("somebody else is signed in")
		}
		return [4]int64{calls, rows, c.calls.Load(), c.rows.Load()}
	}
	before := cost()
	for i := range 10_000 {
		id := fmt.Sprint("more-", i)
		ends := w.clock().Add(time.Hour)
		err := w.store.CreateSession(t.Context(), &store.Session{ID: id, UserID: user, LastSeen: w.clock(), ExpiresAt: ends})
		if err == nil {
			err = w.store.CreateGrant(t.Context(), &store.Grant{ID: id, UserID: user, ClientID: "rp", SessionID: id, ExpiresAt: ends})
		}
		if err == nil {
			err = w.store.CreateLink(t.Context(), &store.Link{UserID: user, LinkKey: store.LinkKey{Provider: "other", Subject: id}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if after := cost(); after != before {
		t.Errorf("calls and rows of a new session, and of one that goes on: %v, before there were ten thousand: %v", after, before)
	}
}

// An upstream that cannot be asked for its metadata again does not end logins, but the log says so.
func TestStaleProviderIsLogged(t *testing.T) {
	t.Parallel()
	log := newLockedLog()
	w := newWorld(t, func(c *broker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	w.login("Demo")
	if strings.Contains(log.String(), "known of it before") {
		t.Errorf("all is well, and the log says:\n%s", log.String())
	}
	w.op.Break(providertest.DiscoveryDown)
	w.advance(2 * time.Hour)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "known of it before: "); {
		w.login("Demo") // the first begins the request that fails
		if time.Now().After(deadline) {
			t.Fatalf("the log does not say that the metadata is old:\n%s", log.String())
		}
	}
	if !strings.Contains(log.String(), "level=WARN msg=request") {
		t.Errorf("it is no warning:\n%s", log.String())
	}
}
