package broker_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
)

// BenchmarkSessions is what the middleware adds to a request of somebody who is signed in, with everything checked.
func BenchmarkSessions(b *testing.B) {
	w := newWorld(b, nil)
	cookies := w.login("Demo").Cookies(w.Origin)
	signedIn := false
	h := w.Broker.Sessions(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, signedIn = broker.UserFrom(r.Context()) }))
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, w.Origin+"/", nil)
	for name, value := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(answer, r)
	}
	if !signedIn {
		b.Fatal("nobody was signed in")
	}
}

// BenchmarkSingleSignOn is an application's whole login by a browser that has a session: one redirect, one code redeemed,
// one userinfo, the browser and the application in the same process.
func BenchmarkSingleSignOn(b *testing.B) {
	w := newWorld(b, nil)
	browser := w.login("Demo")
	b.ReportAllocs()
	for b.Loop() {
		if page := browser.Get(w.rp.LoginURL()); page.Status != http.StatusOK {
			b.Fatal(page.Body)
		}
	}
}

// BenchmarkBrokeredLogin is the same by a new browser, through the upstream, which is in the same process too.
func BenchmarkBrokeredLogin(b *testing.B) {
	w := newWorld(b, nil)
	w.rp.Params.Set("idp_hint", "demo")
	b.ReportAllocs()
	for b.Loop() {
		if page := brokertest.NewBrowser(b).Get(w.rp.LoginURL()); page.Status != http.StatusOK {
			b.Fatal(page.Body)
		}
	}
}
