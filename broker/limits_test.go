package broker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/store"
)

// limited has a public client "spa" beside the devices, and takes the header From for where a request comes from.
func limited(c *broker.Config) {
	withDevices(nil)(c)
	spa := c.Clients[0]
	spa.ID, spa.AuthMethod, spa.Secrets = "spa", store.AuthNone, nil
	c.Clients = append(c.Clients, spa)
	c.RemoteAddr = func(r *http.Request) netip.Addr {
		addr, _ := netip.ParseAddr(r.Header.Get("From"))
		return addr
	}
}

func cameFrom(addr string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("From", addr) }
}

// wantBusy fails unless the reply says when to come again.
func wantBusy(t *testing.T, r *reply) {
	t.Helper()
	wantError(t, r, http.StatusTooManyRequests, "temporarily_unavailable")
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
	}
}

// until sends requests until one is not answered with status, and returns how many were and that one.
func until(t *testing.T, status, most int, next func(i int) *reply) (n int, last *reply) {
	t.Helper()
	for ; n < most; n++ {
		if last = next(n); last.StatusCode != status {
			return n, last
		}
	}
	t.Fatalf("%d requests were answered with %d, and nothing was refused", most, status)
	return n, nil
}

// Anybody can speak for a public client. What is kept for them is bounded.
func TestPublicClientsAreLimited(t *testing.T) { // RFC 8628 §5.2, RFC 9126 §2.3 and §7
	t.Parallel()
	w := newWorld(t, limited)
	device := func(client string) url.Values { return url.Values{"client_id": {client}, "scope": {"openid"}} }
	push := w.authParams()
	push.Set("client_id", "spa")
	for _, row := range []struct {
		path string
		form url.Values
		good int
	}{
		{"/device_authorization", device("tv"), http.StatusOK},
		{"/par", push, http.StatusCreated},
	} {
		t.Run(row.path, func(t *testing.T) {
			ask := func(addr string) *reply { return send(t, http.MethodPost, w.URL+row.path, row.form, cameFrom(addr)) }
			n, refused := until(t, row.good, 1000, func(int) *reply { return ask("2001:db8::1") })
			wantBusy(t, refused)
			if n < 290 { // some were used up before
				t.Errorf("%d requests of one address were let, want 300", n)
			}
			wantBusy(t, ask("2001:db8::ffff:2"))   // the same household
			wantBusy(t, ask("2001:db8::1%router")) // the same address
			for _, other := range []string{"2001:db8:0:1::1", "192.0.2.1", ""} {
				if r := ask(other); r.StatusCode != row.good {
					t.Errorf("%q: status %d: %s", other, r.StatusCode, r.text)
				}
			}
			w.advance(time.Minute)
			if r := ask("2001:db8::1"); r.StatusCode != row.good {
				t.Errorf("a minute later: status %d: %s", r.StatusCode, r.text)
			}
		})
	}
	t.Run("a client of everybody", func(t *testing.T) {
		r := send(t, http.MethodPost, w.URL+"/device_authorization", device("box"), basic("box", w.secret()))
		if r.StatusCode != http.StatusBadRequest { // openid is no scope of it
			t.Fatalf("status %d: %s", r.StatusCode, r.text)
		}
		n, refused := until(t, http.StatusOK, 9000, func(i int) *reply {
			return send(t, http.MethodPost, w.URL+"/device_authorization", device("tv"), cameFrom(fmt.Sprintf("198.51.%d.%d", i/200, i%200)))
		})
		wantBusy(t, refused)
		if n < 2900 { // it was used above
			t.Errorf("%d requests were let, want 3000", n)
		}
		confidential := url.Values{"scope": {"profile"}}
		for range 50 {
			if r := send(t, http.MethodPost, w.URL+"/device_authorization", confidential, basic("box", w.secret())); r.StatusCode != http.StatusOK {
				t.Fatalf("a client that has proved itself: status %d: %s", r.StatusCode, r.text)
			}
		}
	})
	t.Run("what is refused anyway costs nothing", func(t *testing.T) {
		bad := device("tv")
		bad.Set("scope", "nothing")
		for range 400 {
			wantError(t, send(t, http.MethodPost, w.URL+"/device_authorization", bad, cameFrom("203.0.113.7")), http.StatusBadRequest, "invalid_scope")
		}
	})
}

// By default an address that a proxy has is nobody's, and what a stranger says about theirs counts for nothing.
func TestAddressOfTheConnection(t *testing.T) {
	t.Parallel()
	w := newDeviceWorld(t, nil)
	for i := range 350 {
		r := send(t, http.MethodPost, w.URL+"/device_authorization", url.Values{"client_id": {"tv"}, "scope": {"openid"}}, func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", "192.0.2.1")
			r.Header.Set("Forwarded", "for=192.0.2.1")
		})
		if r.StatusCode != http.StatusOK {
			t.Fatalf("request %d: status %d: %s", i, r.StatusCode, r.text)
		}
	}
	// A connection that comes from outside is known by its address.
	n := 0
	for ; n < 1000; n++ {
		form := url.Values{"client_id": {"tv"}, "scope": {"openid"}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/device_authorization", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "192.0.2.1:" + strconv.Itoa(1024+n)
		answer := httptest.NewRecorder()
		r.Header.Set("X-Forwarded-For", strconv.Itoa(n)+".0.0.1")
		if w.Broker.ServeHTTP(answer, r); answer.Code == http.StatusTooManyRequests {
			break
		}
	}
	if n < 300 || n == 1000 {
		t.Errorf("%d requests of one address were let", n)
	}
}

// Once a browser has come with it, a pushed request lives as long as a login may be pending, and on only for those whom an
// upstream has vouched for.
func TestPushedRequestLifetime(t *testing.T) { // RFC 9126 §2.2 and §7.3
	t.Parallel()
	w := newWorld(t, nil)
	start := w.URL + "/authorize?" + w.pushed(nil).Encode()
	page := brokertest.NewBrowser(t).Get(start)
	shows(t, page, http.StatusOK, "Continue with Demo")
	w.advance(9 * time.Minute)
	shows(t, brokertest.NewBrowser(t).Get(start), http.StatusOK, "Continue with Demo") // which prolongs nothing
	w.advance(time.Minute)
	shows(t, page.Click("Demo"), http.StatusBadRequest)
	shows(t, brokertest.NewBrowser(t).Get(start), http.StatusBadRequest)

	w.reconfigure(func(c *broker.Config) { c.PostLogin, c.Theme = flow.Flow{{ID: "ask", Do: askOnce{}}}, askTheme })
	page = brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.pushed(nil).Encode()).Click("Demo")
	w.advance(35 * time.Minute)
	if q := went(t, page.Submit(url.Values{"ok": {"1"}}), w.callback()).Query(); q.Get("code") == "" {
		t.Errorf("after 35 minutes the page is answered with %v", q)
	}
}
