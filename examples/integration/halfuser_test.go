package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/examples/existing-users/hostusers"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
)

// Users are in the host's own table, which no transaction spans with the rest. A process that is killed between the user and
// their link leaves a user without one, as package store says of Commit and Parts. Whoever it was meets an account that
// exists; nobody gets it without a proof, and with one it is theirs, by one link.
func TestKilledBetweenUserAndLink(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", AlwaysAsk: true, Users: []providertest.User{
		{Subject: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"},
		{Subject: "eve", Username: "eve", Email: "ada@example.com", EmailVerified: false, GivenName: "Eve", FamilyName: "Else"},
	}})
	dsn := newPostgres(t)
	db := openPostgres(t, dsn)
	for _, text := range []string{hostusers.Schema, hostusers.Migration} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{addr: freePort(t)}
	c := newNodeConfig(t, "http://"+n.addr, upstream, dsn, startRedis(t).addr)
	c.HostUsers, c.Dies = true, true
	n.start(t, c)
	rows := func(users, links int64) {
		t.Helper()
		if got := queryInt(t, db, `SELECT COUNT(*) FROM users`); got != users {
			t.Fatalf("%d rows of users, want %d", got, users)
		}
		if got := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_links`); got != links {
			t.Fatalf("%d links, want %d", got, links)
		}
	}
	if code, err := c.user("ada", http.DefaultTransport).code(ctx, "openid"); err == nil {
		t.Fatalf("a node that was killed has answered with the code %s", code)
	}
	<-n.done
	if n.err == nil || !strings.Contains(n.err.Error(), "killed") {
		t.Fatalf("the node ended by %v, want to be killed", n.err)
	}
	rows(1, 0)
	left, err := hostusers.New(db).FindUsers(ctx, store.UserQuery{Email: "ada@example.com"})
	if err != nil || len(left) != 1 {
		t.Fatalf("%d users with the address, %v", len(left), err)
	}

	c.Dies = false
	n.start(t, c)
	for range 2 { // by the default flow, without a mailer or another provider to prove it by
		if code, err := c.user("ada", http.DefaultTransport).code(ctx, "openid"); err == nil {
			t.Fatalf("the account is taken without a proof, with the code %s", code)
		}
		rows(1, 0)
	}
	n.kill()
	c.AutoLink = true
	n.start(t, c)
	if code, err := c.user("eve", http.DefaultTransport).code(ctx, "openid"); err == nil {
		t.Errorf("somebody with the same address, unverified, gets the code %s", code)
	}
	for range 2 {
		ada := c.user("ada", http.DefaultTransport)
		code, err := ada.code(ctx, "openid")
		if err != nil {
			t.Fatal(err)
		}
		if a := ada.redeem(ctx, code); a.status != http.StatusOK {
			t.Fatalf("the code is refused: %+v", a)
		}
		rows(1, 1)
	}
	links := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_links WHERE user_id = $1 AND subject = 'ada'`, left[0].ID)
	if links != 1 {
		t.Errorf("the user who was left is linked %d times to who made them, want once", links)
	}
}
