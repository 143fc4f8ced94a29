package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/examples/existing-users/hostusers"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// Users are in the host's own table, which no transaction spans with the rest: links and grants are in one database, marks and
// sessions in Redis. A process that is killed between two writes of a first login leaves what package store says of Parts, after
// each of them. Whoever it was meets the account that exists, if there is one; nobody gets it without a proof, and with one it is
// theirs, by one link.
func TestKilledBetweenTheWritesOfALogin(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rows := []struct {
		after        string
		users, links int64 // that are left
	}{
		{"Add", 0, 0}, {"CreateUser", 1, 0}, {"Commit", 1, 1}, {"CreateSession", 1, 1},
	}
	var people []providertest.User
	for _, row := range rows {
		person := providertest.User{
			Subject: row.after, Username: row.after, Email: row.after + "@example.com", EmailVerified: true, GivenName: "Ada", FamilyName: "L",
		}
		people = append(people, person)
		person.Subject, person.Username, person.EmailVerified = "eve "+row.after, "eve "+row.after, false
		people = append(people, person)
	}
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: rows[0].after, AlwaysAsk: true, Users: people})
	dsn := newPostgres(t)
	db := openPostgres(t, dsn)
	for _, text := range []string{hostusers.Schema, hostusers.Migration} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{addr: freePort(t)}
	c := newNodeConfig(t, "http://"+n.addr, upstream, dsn, startRedis(t).addr)
	c.HostUsers = true
	left := func(subject string) (users, links int64) {
		return queryInt(t, db, `SELECT COUNT(*) FROM users WHERE lower(email) = lower($1)`, subject+"@example.com"),
			queryInt(t, db, `SELECT COUNT(*) FROM idbroker_links WHERE subject = $1`, subject)
	}
	for _, row := range rows { // each by a node of its own, over what the others have left
		c.Dies = row.after
		n.start(t, c)
		if code, err := c.user(row.after, http.DefaultTransport).code(ctx, "openid"); err == nil {
			t.Fatalf("a node that was killed after %s has answered with the code %s", row.after, code)
		}
		<-n.done
		if n.err == nil || !strings.Contains(n.err.Error(), "killed") {
			t.Fatalf("the node ended by %v, want to be killed after %s", n.err, row.after)
		}
		if users, links := left(row.after); users != row.users || links != row.links {
			t.Errorf("killed after %s: %d users and %d links, want %d and %d", row.after, users, links, row.users, row.links)
		}
	}

	c.Dies = ""
	n.start(t, c)
	for range 2 { // by the default flow, without a mailer or another provider to prove it by
		if code, err := c.user("CreateUser", http.DefaultTransport).code(ctx, "openid"); err == nil {
			t.Fatalf("the account is taken without a proof, with the code %s", code)
		}
		if users, links := left("CreateUser"); users != 1 || links != 0 {
			t.Fatalf("%d users and %d links", users, links)
		}
	}
	n.kill()
	c.AutoLink = true
	n.start(t, c)
	for _, row := range rows {
		if row.users > 0 {
			if code, err := c.user("eve "+row.after, http.DefaultTransport).code(ctx, "openid"); err == nil {
				t.Errorf("somebody with the address of who was killed after %s, unverified, gets the code %s", row.after, code)
			}
		}
		for range 2 {
			person := c.user(row.after, http.DefaultTransport)
			code, err := person.code(ctx, "openid")
			if err != nil {
				t.Fatal(err)
			}
			if a := person.redeem(ctx, code); a.status != http.StatusOK {
				t.Fatalf("the code is refused: %+v", a)
			}
			if users, links := left(row.after); users != 1 || links != 1 {
				t.Errorf("who was killed after %s is %d users with %d links", row.after, users, links)
			}
		}
	}
	links := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_links AS l JOIN users AS u ON l.user_id = u.sub AND u.email = lower(l.subject) || '@example.com'`)
	if links != int64(len(rows)) {
		t.Errorf("%d of %d are linked to the user that the killed node has made of them", links, len(rows))
	}
}
