package broker_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// A brittle store fails to write logins, or credentials, while it is told to.
type brittle struct {
	*memstore.Store
	logins, credentials atomic.Pointer[error]
	whose               atomic.Pointer[string] // is the newest credential
}

func (b *brittle) Commit(ctx context.Context, l *store.Login) error {
	if err := b.logins.Load(); err != nil {
		return *err
	}
	return b.Store.Commit(ctx, l)
}

func (b *brittle) CreateCredential(ctx context.Context, c *store.Credential) error {
	if err := b.credentials.Load(); err != nil {
		return *err
	}
	b.whose.Store(&c.UserID)
	return b.Store.CreateCredential(ctx, c)
}

func (b *brittle) UpdateCredential(ctx context.Context, c *store.Credential) error {
	if err := b.credentials.Load(); err != nil {
		return *err
	}
	return b.Store.UpdateCredential(ctx, c)
}

var errPower = errors.New("the process has died")

// A new password is written right before the login: wherever the process ends, nobody is signed in or created without the password
// that was demanded of them, and who exists signs in with the old one or the new one.
func TestNewPasswordAndCrash(t *testing.T) {
	t.Parallel()
	chosen := url.Values{"password": {"her own words"}, "repeat": {"her own words"}}
	exists := store.ErrExists
	for name, row := range map[string]struct {
		fails func(b *brittle)
		isNew bool // the user
		good  string
	}{
		"between the two":            {func(b *brittle) { b.logins.Store(&errPower) }, false, "her own words"},
		"before both":                {func(b *brittle) { b.credentials.Store(&errPower) }, false, "given by an admin"},
		"between the two, new":       {func(b *brittle) { b.logins.Store(&errPower) }, true, ""},
		"before both, new":           {func(b *brittle) { b.credentials.Store(&errPower) }, true, ""},
		"somebody was quicker, new":  {func(b *brittle) { b.logins.Store(&exists) }, true, ""},
		"somebody was quicker there": {func(b *brittle) { b.logins.Store(&exists) }, false, "her own words"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &brittle{}
			w, alice, _ := newLocalWorld(t, func(c *broker.Config) {
				b.Store, _ = c.Store.(*memstore.Store)
				c.Store, c.Credentials = b, b
				c.PostLogin = flow.Flow{{ID: "update", Do: factor.UpdatePassword{}}}
				c.Providers[1].FirstLogin = flow.Flow{{ID: "create", Do: firstlogin.CreateUserIfUnique{RequirePassword: true}}}
			})
			hash, err := w.local().Passwords.Hash(t.Context(), "given by an admin")
			if err == nil {
				err = w.local().SetPassword(t.Context(), alice.ID, hash, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			by, who := "Demo", "alice"
			if row.isNew {
				by, who = "Other", "carol"
				w.other.LoginAs("carol")
			}
			hers := brokertest.NewBrowser(t)
			page := hers.Get(w.Origin + "/").Click(by)
			shows(t, page, http.StatusOK, `autocomplete="new-password"`)
			row.fails(b)
			if page = page.Submit(chosen); page.Status < 400 {
				t.Errorf("status %d at %s", page.Status, page.URL)
			}
			if hers.Get(w.Origin+"/").URL.Path == "/" {
				t.Error("signed in although nothing was written")
			}
			if strings.HasPrefix(name, "somebody was quicker") && row.isNew {
				if left, err := b.CredentialsOf(t.Context(), *b.whose.Load()); len(left) > 0 || err != nil {
					t.Errorf("%d credentials of a user who does not come to be, %v", len(left), err)
				}
			}
			b.logins.Store(nil)
			b.credentials.Store(nil)
			if row.isNew {
				if w.users(who) != 0 {
					t.Fatal("carol is a user, without a password")
				}
				page = hers.Get(w.Origin + "/").Click(by)
				shows(t, page, http.StatusOK, `autocomplete="new-password"`)
				carol := page.Submit(chosen).Who()
				if _, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: carol.ID}, "her own words"); err != nil {
					t.Errorf("carol's password: %v", err)
				}
				return
			}
			temporary, err := w.local().VerifyPassword(t.Context(), factor.Attempt{UserID: alice.ID}, row.good)
			if err != nil || temporary != (row.good == "given by an admin") {
				t.Errorf("%q: temporary is %t, %v", row.good, temporary, err)
			}
		})
	}
}
