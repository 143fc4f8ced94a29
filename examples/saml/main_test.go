package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// A user signs in and out by way of the demo identity provider, and is signed out by it.
func TestCustomer(t *testing.T) {
	t.Parallel()
	key, err := loadKey("", "")
	if err != nil {
		t.Fatal(err)
	}
	start := func() (*httptest.Server, string) {
		server := httptest.NewUnstartedServer(nil)
		t.Cleanup(server.Close)
		return server, "http://" + server.Listener.Addr().String()
	}
	host, origin := start()
	upstream, home := start()
	demo, err := newDemo(home, origin, key)
	if err != nil {
		t.Fatal(err)
	}
	app, err := newApp(origin, key, customer{metadata: demo.EntityID(), insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	host.Config.Handler, upstream.Config.Handler = app, demo
	host.Start()
	upstream.Start()

	browser := brokertest.NewBrowser(t)
	signIn := func() *brokertest.Page {
		t.Helper()
		page := browser.Get(origin + "/")
		if page.URL.Host != strings.TrimPrefix(home, "http://") {
			t.Fatalf("at %s (status %d), want the identity provider:\n%s", page.URL, page.Status, page.Body)
		}
		page = page.Submit(url.Values{"user": {"alice"}})
		if _, form, ok := page.Form(); ok && form.Has("SAMLResponse") {
			page = page.Submit(nil) // as its script does
		}
		if page.URL.String() != origin+"/" || !strings.Contains(page.Body, "Hello, Alice Liddell (alice@example.com)") {
			t.Fatalf("at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
		}
		return page
	}
	page := signIn().Click("Sign out").Submit(nil)
	if page.Status != http.StatusOK || !strings.Contains(strings.Join(page.Trail, "\n"), demo.SLO()) {
		t.Fatalf("signed out by %q (status %d), want the identity provider to be told:\n%s", page.Trail, page.Status, page.Body)
	}
	signIn() // it has to ask again
	browser.Get(demo.LogoutURL())
	if page = browser.Get(origin + "/"); page.URL.Host != strings.TrimPrefix(home, "http://") {
		t.Errorf("signed out there: at %s (status %d), want the identity provider", page.URL, page.Status)
	}
	page = browser.Get(acs(origin) + "/descriptor")
	if page.Status != http.StatusOK || !strings.Contains(page.Body, `entityID="`+entityID(origin)+`"`) {
		t.Errorf("metadata: status %d\n%s", page.Status, page.Body)
	}
}
