package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/go-idbroker/idbroker/store"
)

func holders(k *kit) {
	in, _ := store.As[store.Holders](k.s)
	for i, u := range []struct {
		enabled                        bool
		link, linkTokens, session, own bool // own: the session has tokens
	}{
		0: {link: true, linkTokens: true},                                          // holds
		1: {link: true},                                                            //
		2: {enabled: true, link: true, linkTokens: true, session: true, own: true}, //
		3: {session: true, own: true},                                              // holds
		4: {session: true},                                                         //
		5: {link: true, linkTokens: true, session: true, own: true},                // holds, in two places
		6: {},                                                                      //
	} {
		id := fmt.Sprint("u", i)
		user := k.user(id)
		user.Disabled = !u.enabled
		k.ok(k.s.CreateUser(k.ctx, user), "CreateUser")
		if u.link {
			l := k.link(id, id)
			if !u.linkTokens {
				l.Tokens = nil
			}
			k.ok(k.s.CreateLink(k.ctx, l), "CreateLink")
		}
		if u.session {
			n := k.session(id, id)
			if !u.own {
				n.UpstreamTokens = nil
			}
			k.ok(k.s.CreateSession(k.ctx, n), "CreateSession")
		}
	}
	list := func(limit int) []string {
		k.Helper()
		found := []string{}
		for after := ""; ; {
			page, err := in.DisabledHolders(k.ctx, after, limit)
			k.ok(err, "DisabledHolders")
			if len(page) > limit {
				k.Fatalf("DisabledHolders: %d users, want %d at most", len(page), limit)
			}
			if len(page) == 0 {
				return found
			}
			found, after = append(found, page...), page[len(page)-1]
		}
	}
	for _, limit := range []int{1, 2, 10} {
		k.same(list(limit), []string{"u0", "u3", "u5"}, "users who are disabled and hold tokens, %d at a time", limit)
	}
	empty, err := k.s.Link(k.ctx, k.link("u0", "u0").LinkKey)
	k.ok(err, "Link")
	empty.Tokens = nil
	k.ok(k.s.UpdateLink(k.ctx, empty), "UpdateLink")
	k.same(list(10), []string{"u3", "u5"}, "users who are disabled and hold tokens, without one whose were taken")
	k.advance(2 * time.Hour)
	k.same(list(10), []string{"u5"}, "users who are disabled and hold tokens, after the sessions have expired")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	_, err = in.DisabledHolders(ctx, "", 10)
	k.is(err, context.Canceled, "DisabledHolders with a context that is cancelled")
}
