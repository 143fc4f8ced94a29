package broker_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
)

// CVE-2020-1744: wrong codes count in the post-login flow, too, whichever login they are part of.
func TestCodesAreCountedAfterEachLogin(t *testing.T) {
	t.Parallel()
	w, alice, _ := newLocalWorld(t, func(c *broker.Config) {
		c.PostLogin = flow.Flow{{ID: "allow", Do: firstlogin.Allow{}}, {ID: "second", When: flow.Conditional, Sub: flow.Flow{
			{ID: "needs", Do: factor.NeedsSecond()}, {ID: "code", Do: factor.SecondFactor{}},
		}}}
	})
	codes, err := w.local().NewRecoveryCodes(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo")
		shows(t, page, http.StatusOK, `name="code"`)
		shows(t, page.Submit(url.Values{"code": {"AAAA-AAAA-AAAA"}}), http.StatusOK, "not right")
	}
	page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo").Submit(url.Values{"code": {codes[0]}})
	shows(t, page, http.StatusOK, "too many attempts")
}

// CVE-2023-6787: who is to prove anew that they are alice and signs in as bob takes nothing over, and ends nothing.
func TestProofByAnotherUserTakesNothingOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	alice := b.Get(w.Origin + "/").Who()
	w.op.LoginAs("bob")
	page := b.Get(w.URL + "/login?again=" + alice.ID + "&return_to=/account/").Click("Demo")
	if page.Status != http.StatusForbidden {
		t.Errorf("status %d at %s\n%s", page.Status, page.URL, page.Body)
	}
	if who := b.Get(w.Origin + "/").Who(); who.ID != alice.ID || who.Session != alice.Session {
		t.Errorf("the session is %+v, want alice's as it was", who)
	}
}
