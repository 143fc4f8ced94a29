package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// A crowd is many people, each with a browser and an application, who sign in at one broker through one provider.
type crowd struct {
	store *sqlstore.Store
	apps  []*brokertest.RelyingParty
}

func newCrowd(t *testing.T, s *sqlstore.Store, people int) *crowd {
	t.Helper()
	c := &crowd{store: s}
	var users []providertest.User
	for i := range people {
		name := fmt.Sprint("user", i)
		users = append(users, providertest.User{Username: name, Email: name + "@example.com", EmailVerified: true, GivenName: "U", FamilyName: name})
	}
	demo := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", Users: users})
	srv := brokertest.Start(t, func(base string) broker.Config {
		config := broker.Config{
			Store: s, DefaultProvider: "demo",
			ClientHTTP: provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
			Providers:  []broker.Provider{{Alias: "demo", IdP: demoIdP(t, demo, base), TrustEmail: true}},
		}
		for i := range people {
			rp := brokertest.NewRelyingParty(t)
			client := rp.Client()
			client.ID = fmt.Sprint("app", i)
			rp.SetClient(client)
			c.apps = append(c.apps, rp)
			config.Clients = append(config.Clients, client)
		}
		return config
	})
	for _, rp := range c.apps {
		rp.Connect(srv.URL)
	}
	return c
}

// begin takes person i with a new browser to the provider's page.
func (c *crowd) begin(t *testing.T, i int) *brokertest.Page {
	return brokertest.NewBrowser(t).Get(c.apps[i].LoginURL())
}

// signIn signs person i in with a new browser. Why it failed is an error.
func (c *crowd) signIn(t *testing.T, i int) (subject string, err error) {
	page := c.begin(t, i)
	if !strings.Contains(page.Body, "Who are you?") {
		return "", fmt.Errorf("%s: status %d: %.300s", page.URL, page.Status, page.Body)
	}
	page = page.Submit(url.Values{"user": {fmt.Sprint("user", i)}})
	if page.Status != http.StatusOK || !strings.HasPrefix(page.URL.String(), c.apps[i].Client().RedirectURIs[0]) {
		return "", fmt.Errorf("%s: status %d: %.300s", page.URL, page.Status, page.Body)
	}
	var login brokertest.Login
	page.JSON(&login)
	if login.Error != "" || login.Subject == "" || login.AccessToken == "" {
		return "", fmt.Errorf("the application got %+v", login)
	}
	return login.Subject, nil
}

// all has everybody sign in a few times, all at once, and returns the subjects of each and the errors.
func (c *crowd) all(t *testing.T, times int) (subjects [][]string, errs []error) {
	subjects = make([][]string, len(c.apps))
	failed := make([][]error, len(c.apps))
	var done sync.WaitGroup
	for i := range c.apps {
		done.Go(func() {
			for range times {
				if subject, err := c.signIn(t, i); err != nil {
					failed[i] = append(failed[i], err)
				} else {
					subjects[i] = append(subjects[i], subject)
				}
			}
		})
	}
	done.Wait()
	return subjects, slices.Concat(failed...)
}

// same checks that each person is one user with one link, whoever was first.
func (c *crowd) same(t *testing.T, subjects [][]string) {
	t.Helper()
	seen := map[string]int{}
	for i, list := range subjects {
		ids := slices.Compact(list)
		if len(ids) != 1 {
			t.Errorf("person %d is the users %q, want one", i, ids)
			continue
		}
		if before, taken := seen[ids[0]]; taken {
			t.Errorf("persons %d and %d are one user", before, i)
		}
		seen[ids[0]] = i
		u, err := c.store.User(t.Context(), ids[0])
		if err != nil || u.Username != fmt.Sprint("user", i) {
			t.Errorf("person %d: got user %+v, %v", i, u, err)
		}
		if links, err := c.store.LinksOf(t.Context(), ids[0]); err != nil || len(links) != 1 {
			t.Errorf("person %d: got %d links, %v, want 1", i, len(links), err)
		}
	}
}

// Many people at once, on a database that has never been used: nobody fails.
func TestPostgresManyLogins(t *testing.T) {
	t.Parallel()
	db := openPostgres(t, newPostgres(t))
	c := newCrowd(t, sqlstore.New(db), 32)
	subjects, errs := c.all(t, 4)
	if len(errs) > 0 {
		t.Errorf("%d of %d logins failed, the first: %v", len(errs), 32*4, errs[0])
	}
	c.same(t, subjects)
	for what, want := range map[string]int64{"users": 32, "links": 32, "sessions": 32 * 4, "grants": 32 * 4} {
		if got := queryInt(t, db, `SELECT COUNT(*) FROM idbroker_`+what); got != want {
			t.Errorf("got %d %s, want %d", got, what, want)
		}
	}
}

// While PostgreSQL is restarted logins may fail. What was acknowledged is kept, and afterwards nobody meets a connection
// of the time before. Killed, the server comes back with what it has said to keep.
func TestPostgresRestart(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]syscall.Signal{"stopped": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const people = 8
			server := startPostgres(t)
			c := newCrowd(t, sqlstore.New(openPostgres(t, server.dsn())), people)
			before, errs := c.all(t, 1)
			if len(errs) > 0 {
				t.Fatalf("%d logins failed, the first: %v", len(errs), errs[0])
			}
			var over atomic.Bool
			during := make([][]string, people)
			var done sync.WaitGroup
			for i := range people {
				done.Go(func() {
					for !over.Load() {
						if subject, err := c.signIn(t, i); err == nil {
							during[i] = append(during[i], subject)
						}
					}
				})
			}
			server.kill(how)
			waitFor(t, func() bool {
				err := server.start(t.Context())
				return err == nil // a server that was killed leaves children, who need a moment to notice
			})
			over.Store(true)
			done.Wait()
			after, errs := c.all(t, 3)
			if len(errs) > 0 {
				t.Errorf("%d of %d logins failed after the restart, the first: %v", len(errs), people*3, errs[0])
			}
			for i := range people {
				after[i] = append(append(after[i], before[i]...), during[i]...)
			}
			c.same(t, after)
		})
	}
}

// The connections that a restart has cut are idle at that moment, and the first who need them find out.
func TestPostgresRestartWhileIdle(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	c := newCrowd(t, sqlstore.New(openPostgres(t, server.dsn())), 8)
	if _, errs := c.all(t, 1); len(errs) > 0 {
		t.Fatalf("%d logins failed, the first: %v", len(errs), errs[0])
	}
	server.kill(syscall.SIGINT)
	if err := server.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	subjects, errs := c.all(t, 2)
	if len(errs) > 0 {
		t.Errorf("%d of 16 logins failed after the restart, the first: %v", len(errs), errs[0])
	}
	c.same(t, subjects)
}

// Whoever goes to the provider and does not come back has written nothing.
func TestAbandonedLoginWritesNothing(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		// Nothing else writes: no statistics, no standby, no checkpoint.
		server := startPostgres(t, "autovacuum=off", "wal_level=minimal", "max_wal_senders=0", "checkpoint_timeout=1h")
		db := openPostgres(t, server.dsn())
		abandon(t, sqlstore.New(db), func() string {
			return fmt.Sprint(queryInt(t, db, `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn`))
		})
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		file := newFile(t)
		abandon(t, sqlstore.New(openSQLite(t, file+pragmas)), func() string {
			var state strings.Builder
			for _, suffix := range []string{"", "-wal"} {
				content, err := os.ReadFile(strings.TrimPrefix(file, "file:") + suffix)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&state, "%d bytes %x;", len(content), content)
			}
			return state.String()
		})
	})
}

func abandon(t *testing.T, s *sqlstore.Store, written func() string) {
	t.Helper()
	c := newCrowd(t, s, 1)
	if _, err := c.signIn(t, 0); err != nil { // makes the tables and the keys
		t.Fatal(err)
	}
	before := written()
	for range 10 {
		if page := c.begin(t, 0); !strings.Contains(page.Body, "Who are you?") {
			t.Fatalf("at %s, want the provider's page", page.URL)
		}
	}
	if written() != before {
		t.Error("logins that were abandoned have written to the database")
	}
	if _, err := c.signIn(t, 0); err != nil {
		t.Fatal(err)
	}
	if written() == before {
		t.Error("a login has written nothing: the test does not see what is written")
	}
}
