package broker_test

import (
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// A user who logs in again in the same browser goes on with the session, and so with what applications were granted in it;
// the cookie is another all the same.
func TestLoggingInAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	before, old := b.Get(w.Origin+"/").Who(), b.Cookies(w.Origin)[w.cookieName("session")]
	b.Get(w.rp.LoginURL())
	first := w.rp.Login()

	w.rp.Params = url.Values{"prompt": {"login"}, "idp_hint": {"demo"}}
	b.Get(w.rp.LoginURL())
	second := w.rp.Login()
	after := b.Get(w.Origin + "/").Who()
	if after.Session != before.Session || first.Claims["sid"] != second.Claims["sid"] || second.Claims["sid"] != after.Session {
		t.Errorf("session %s became %s (sid %v, then %v)", before.Session, after.Session, first.Claims["sid"], second.Claims["sid"])
	}
	thief := brokertest.NewBrowser(t)
	thief.SetCookies(w.Origin, map[string]string{w.cookieName("session"): old})
	if page := thief.Get(w.Origin + "/"); page.URL.Path != "/id/login" {
		t.Errorf("the cookie from before still signs in: %d at %s", page.Status, page.URL)
	}

	t.Run("as somebody else ends the session", func(t *testing.T) {
		w.op.LoginAs("bob")
		b.Get(w.rp.LoginURL())
		if _, err := w.store.Session(t.Context(), before.Session); err == nil {
			t.Error("alice's session goes on")
		}
		bob := b.Get(w.Origin + "/").Who()
		if bob.Username != "bob" || bob.Session == before.Session || w.rp.Login().Subject == first.Subject {
			t.Errorf("signed in as %q in session %s", bob.Username, bob.Session)
		}
		grants, err := w.store.FindGrants(t.Context(), store.GrantQuery{UserID: before.ID})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grants {
			if g.SessionID != before.Session {
				t.Errorf("grant of another session: %+v", g)
			}
		}
	})
}
