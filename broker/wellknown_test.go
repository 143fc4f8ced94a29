package broker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store/memstore"
)

func TestWellKnown(t *testing.T) { // RFC 8414 §3 and §5
	t.Parallel()
	w := newWorld(t, nil)
	server := httptest.NewServer(w.Broker.WellKnown())
	t.Cleanup(server.Close)
	want := send(t, http.MethodGet, w.URL+"/.well-known/openid-configuration", nil, nil).text
	for _, path := range []string{"/.well-known/oauth-authorization-server/id", "/.well-known/openid-configuration/id"} {
		r := send(t, http.MethodGet, server.URL+path, nil, from("https://any.example", nil))
		if r.StatusCode != http.StatusOK || r.text != want || r.Header.Get("Access-Control-Allow-Origin") != "*" ||
			r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, headers %v\n%s", path, r.StatusCode, r.Header, r.text)
		}
		if r := send(t, http.MethodPost, server.URL+path, nil, nil); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: status %d", path, r.StatusCode)
		}
	}
	for _, path := range []string{
		"/", "/.well-known/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/id/",
		"/.well-known/oauth-authorization-server/other", "/id/.well-known/openid-configuration", "/token", "/.well-known/jwks/id",
	} {
		if r := send(t, http.MethodGet, server.URL+path, nil, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
}

// A broker below a path says who it is at the root of the host, too, where clients of OAuth 2.0 look.
func ExampleBroker_WellKnown() {
	b, err := broker.New(broker.Config{
		BaseURL: "https://app.example/id",
		Secrets: [][]byte{[]byte("32 random bytes, the same on every node")},
		Store:   memstore.New(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/.well-known/", b.WellKnown())

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-authorization-server/id", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 application/json
}
