package integration

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/examples/existing-users/hostusers"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

// migrated is a database with the application's table, what was in it, and what the broker needs beside.
func migrated(t testing.TB, before ...string) *sql.DB {
	t.Helper()
	db := openPostgres(t, newPostgres(t))
	for _, text := range append(append([]string{hostusers.Schema}, before...), hostusers.Migration) {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return db
}

func TestExistingUsersTable(t *testing.T) {
	t.Parallel()
	storetest.RunUsers(t, func(t testing.TB) store.Users { return hostusers.New(migrated(t)) })
}

// The application's users come in as who they are, others as new rows of the same table, and whoever is not active does not.
func TestExistingUsers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := migrated(t, `INSERT INTO users (email, full_name, is_active) VALUES
		('Ada@Example.com', 'Ada Lovelace', TRUE), ('old@example.com', 'Long Gone', FALSE), ('eve@example.com', 'Eve', TRUE)`)
	rest := sqlstore.New(db)
	users := hostusers.New(db)
	s := store.Parts{Users: users, Links: rest, Sessions: rest, Grants: rest, Transient: rest, Keyring: rest}
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", AlwaysAsk: true, Users: []providertest.User{
		{Subject: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, Name: "Ada"},
		{Subject: "old", Username: "old", Email: "old@example.com", EmailVerified: true, Name: "Old"},
		{Subject: "eve", Username: "eve", Email: "eve@example.com", EmailVerified: true, Name: "Eve"},
		{Subject: "new", Username: "new", Email: "new@example.com", EmailVerified: true, Name: "Grace Hopper"},
	}})
	srv := brokertest.Start(t, func(base string) broker.Config {
		client := op.Register(providertest.Client{RedirectURIs: []string{brokertest.CallbackURL(base, "corp")}})
		idp, err := oidc.New(oidc.Config{
			Issuer: op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, ForwardLoginHint: true,
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{Store: s, Providers: []broker.Provider{{Alias: "corp", IdP: idp}}}
	})
	ids := map[string]string{}
	for _, name := range []string{"ada", "old"} { // whose accounts there the application knows already
		found, err := users.FindUsers(ctx, store.UserQuery{Email: name + "@example.com"})
		if err != nil || len(found) != 1 {
			t.Fatalf("users with the e-mail of %s: %d, %v, want 1", name, len(found), err)
		}
		ids[name] = found[0].ID
		link := &store.Link{
			LinkKey: store.LinkKey{Provider: "corp", Issuer: op.Issuer(), Subject: name}, UserID: ids[name], CreatedAt: time.Now(),
		}
		if err := s.CreateLink(ctx, link); err != nil {
			t.Fatal(err)
		}
	}
	enter := func(name string) *brokertest.Page {
		return brokertest.NewBrowser(t).Get(srv.URL + "/login?idp_hint=corp&return_to=/app&login_hint=" + name)
	}
	page := enter("ada")
	if who := page.Who(); who.ID != ids["ada"] || who.Name != "Ada Lovelace" || who.Email != "ada@example.com" {
		t.Errorf("an existing user: got %+v, want %s, Ada Lovelace", who, ids["ada"])
	}
	for range 2 {
		if who := enter("new").Who(); who.Name != "Grace Hopper" || who.Username != "new" {
			t.Errorf("a new user: got %+v, want Grace Hopper", who)
		}
	}
	var row string
	err := db.QueryRowContext(ctx, `SELECT concat_ws(' ', id, email, full_name, is_active) FROM users WHERE email = 'new@example.com'`).Scan(&row)
	if want := "4 new@example.com Grace Hopper t"; err != nil || row != want {
		t.Errorf("row of the new user: got %q, %v, want %q", row, err, want)
	}
	if page := enter("old"); page.Status != http.StatusForbidden {
		t.Errorf("somebody who is not active: status %d, want %d", page.Status, http.StatusForbidden)
	}
	// Nobody gets the account of a user whom the provider only has the e-mail of.
	if page := enter("eve"); page.URL.Path == "/app" || !strings.Contains(page.Body, "<html") {
		t.Errorf("an e-mail that a user has who is not linked: status %d at %s, want a page that says so", page.Status, page.URL)
	}
	// Who is not active any more is out at once.
	in := brokertest.NewBrowser(t)
	if page := in.Get(srv.URL + "/login?idp_hint=corp&return_to=/app&login_hint=ada"); page.Status != http.StatusOK {
		t.Fatalf("login: status %d", page.Status)
	}
	if _, err := db.ExecContext(ctx, `UPDATE users SET is_active = FALSE WHERE sub = $1`, ids["ada"]); err != nil {
		t.Fatal(err)
	}
	if page := in.Get(srv.Origin + "/app"); page.URL.Path == "/app" {
		t.Errorf("a user who is not active any more still gets in: %s", page.Body)
	}
}
