package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// The tables that a transient user may have rows in, as long as their session lives, and those that are about nobody.
var (
	withTheSession = []string{"idbroker_grants", "idbroker_sessions"}
	aboutNobody    = []string{"idbroker_fences", "idbroker_keys", "idbroker_locks", "idbroker_migrations", "idbroker_transient"}
)

// A transient user signs in, gets tokens, renews them, agrees to what an application wants, lets a device in, has the upstream's token
// fetched, asks for what only others may have, guesses passwords and signs out. No table of the database says anything of them but what
// goes with the session; whatever table there will be is among those that are looked at.
func TestTransientUserLeavesNoRow(t *testing.T) {
	t.Parallel()
	now := newClock()
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", Now: now.now, Users: []providertest.User{
		{Subject: "subject-of-ada", Username: "ada", Email: "ada@upstream.example", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"},
	}})
	upstream.LoginAs("subject-of-ada")
	db := openSQLite(t, newFile(t)+pragmas)
	kept := sqlstore.New(db)
	kept.Now = now.now
	rp := brokertest.NewRelyingParty(t)
	client := rp.Client()
	client.Consent, client.Scopes = true, []string{"openid", "profile", "email", "offline_access"}
	client.ProviderTokens, client.Secrets = []string{"demo"}, [][]byte{[]byte("a-secret-without-odd-characters")}
	rp.SetClient(client)
	tv := store.Client{ID: "tv", AuthMethod: store.AuthNone, Grants: []string{store.GrantTypeDevice}}
	srv := brokertest.Start(t, func(base string) broker.Config {
		registered := upstream.Register(providertest.Client{ID: "broker", RedirectURIs: []string{brokertest.CallbackURL(base, "demo")}})
		idp, err := oidc.New(oidc.Config{
			Issuer: upstream.Issuer(), ClientID: registered.ID, ClientSecret: registered.Secret, Now: now.now,
			Scopes: []string{"openid", "profile", "email", "offline_access"}, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			Store: kept, Credentials: kept, LocalLogin: true, Clients: []store.Client{client, tv}, Now: now.now, Mailer: nowhere{},
			Providers: []broker.Provider{{
				Alias: "demo", Name: "Demo", IdP: idp, TransientUsers: true, StoreTokens: provider.TokensInSession, TokensReadable: true,
			}},
		}
	})
	rp.Connect(srv.URL)
	rp.Params.Set("scope", "openid profile email offline_access")
	b := brokertest.NewBrowser(t)
	tables := tablesOf(t, db)
	nothing := func(where string, but ...string) {
		t.Helper()
		for _, table := range tables {
			n := queryInt(t, db, `SELECT COUNT(*) FROM `+table)
			if n > 0 && !slices.Contains(aboutNobody, table) && !slices.Contains(but, table) {
				t.Errorf("%s: %d rows in %s", where, n, table)
			}
		}
		for _, word := range []string{"ada@upstream.example", "subject-of-ada", "Lovelace"} {
			for _, found := range findText(t, db, tables, word) {
				if !slices.Contains(but, strings.Split(found, ".")[0]) {
					t.Errorf("%s: %q is in %s", where, word, found)
				}
			}
		}
	}
	nothing("before")

	page := b.Get(rp.LoginURL()).Click("Continue with Demo")
	if !strings.Contains(page.Body, `name="decision"`) {
		t.Fatalf("at %s (status %d), want the question for consent:\n%s", page.URL, page.Status, page.Body)
	}
	nothing("after the login", withTheSession...)
	page.Submit(url.Values{"decision": {"allow"}})
	login := rp.Login()
	if !strings.HasPrefix(login.Subject, "transient-") {
		t.Fatalf("the application got %+v", login)
	}
	nothing("after the consent", withTheSession...)

	app := &appUser{nodeConfig: nodeConfig{Base: srv.URL, Client: client}, client: http.DefaultClient}
	back := b.Get(rp.Config().AuthCodeURL("state", oauth2.S256ChallengeOption(appVerifier))).URL.Query()
	issued := app.redeem(t.Context(), back.Get("code"))
	for range 3 {
		if issued.status != http.StatusOK || issued.Refresh == "" {
			t.Fatalf("tokens: %+v", issued)
		}
		now.advance(5 * time.Minute) // until the upstream's token has to be renewed
		issued = app.refresh(t.Context(), issued.Refresh)
	}
	nothing("after refreshes", withTheSession...)
	if status, upstreams := app.fetch(t.Context(), issued.Access); status != http.StatusOK || upstreams == "" {
		t.Errorf("the upstream's token: status %d", status)
	}
	nothing("after the vault", withTheSession...)

	var device struct {
		Code string `json:"device_code"`
		User string `json:"user_code"`
	}
	postForm(t, srv.URL+"/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid"}}, &device)
	page = b.Get(srv.URL + "/device").Submit(url.Values{"user_code": {device.User}})
	page.Submit(url.Values{"decision": {"allow"}})
	var let answer
	postForm(t, srv.URL+"/token", url.Values{"grant_type": {store.GrantTypeDevice}, "device_code": {device.Code}, "client_id": {"tv"}}, &let)
	if let.Access == "" {
		t.Errorf("the device gets %+v", let)
	}
	nothing("after the device", withTheSession...)

	for _, path := range []string{"profile", "email", "password", "totp", "recovery", "unlink"} {
		page = b.Post(srv.Origin+"/account/"+path, url.Values{"name": {"x"}, "email": {"x@example.com"}, "password": {"a password"}, "repeat": {"a password"}}, srv.Origin)
		if page.Status < 400 {
			t.Errorf("account page, %s: status %d", path, page.Status)
		}
	}
	b.Get(srv.URL + "/link?provider=demo&return_to=/")
	nothing("after the account page and the link", withTheSession...)

	guess := brokertest.NewBrowser(t)
	for range 12 {
		page = guess.Get(rp.LoginURL()).Submit(url.Values{"username": {"ada"}, "password": {"wrong, and wrong again"}})
	}
	if !strings.HasSuffix(page.URL.Path, "/login/password") || !strings.Contains(page.Body, `class="note bad"`) {
		t.Errorf("a password of somebody who has none: at %s, status %d\n%s", page.URL, page.Status, page.Body)
	}
	nothing("after guesses", withTheSession...)

	b.Get(srv.URL + "/logout").Submit(nil)
	if refused := app.refresh(t.Context(), issued.Refresh); refused.status != http.StatusBadRequest {
		t.Errorf("after the sign-out: %+v", refused)
	}
	nothing("after the sign-out")
}

func postForm(t *testing.T, rawURL string, form url.Values, v any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rawURL, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
}

// nowhere is where mail goes.
type nowhere struct{}

func (nowhere) Send(context.Context, *broker.Message) error { return nil }

// A clock is put forward by the test alone.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// tablesOf returns all tables of an SQLite database.
func tablesOf(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return texts(t, db, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`)
}

func texts(t *testing.T, db *sql.DB, query string, args ...any) (found []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		found = append(found, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// findText returns the columns that have a word in some row, each as "table.column".
func findText(t *testing.T, db *sql.DB, tables []string, word string) (found []string) {
	t.Helper()
	for _, table := range tables {
		for _, column := range texts(t, db, `SELECT name FROM pragma_table_info($1)`, table) {
			if queryInt(t, db, `SELECT COUNT(*) FROM `+table+` WHERE INSTR(CAST(`+column+` AS TEXT), '`+word+`') > 0`) > 0 {
				found = append(found, table+"."+column)
			}
		}
	}
	return found
}
