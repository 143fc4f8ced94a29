package broker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
)

// BenchmarkSignOut is the end of a session in which the user had gone to so many applications, each of which is told by a
// logout token of its own before the browser has its answer. The applications are in the same process.
func BenchmarkSignOut(b *testing.B) {
	for _, applications := range []int{0, 1, 100} {
		for _, alg := range []string{"RS256", "ES256"} {
			b.Run(fmt.Sprintf("applications=%d/%s", applications, alg), func(b *testing.B) { benchmarkSignOut(b, applications, alg) })
		}
	}
}

func benchmarkSignOut(b *testing.B, applications int, alg string) {
	var told atomic.Int64
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told.Add(1) }))
	b.Cleanup(site.Close)
	w := newWorld(b, also(signsOut, func(c *broker.Config) {
		for i := range applications {
			client := c.Clients[0]
			client.ID, client.IDTokenAlg, client.BackchannelLogoutURI = fmt.Sprint("app", i), alg, site.URL
			c.Clients = append(c.Clients, client)
		}
	}))
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		browser := w.login("Demo")
		who := browser.Get(w.Origin + "/").Who()
		for i := range applications {
			now := w.clock()
			g := &store.Grant{
				ID: fmt.Sprintf("%s-%d", who.Session, i), ClientID: fmt.Sprint("app", i), UserID: who.ID, SessionID: who.Session,
				Scope: []string{"openid"}, CodeUsed: true, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
			}
			if err := w.store.CreateGrant(b.Context(), g); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if page := browser.Post(w.URL+"/logout", url.Values{}, ""); page.Status != http.StatusOK {
			b.Fatal(page.Body)
		}
		n++
	}
	if told.Load() != n*int64(applications) {
		b.Errorf("%d applications were told, want %d", told.Load(), n*int64(applications))
	}
}
