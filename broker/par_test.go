package broker_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// push pushes a request of the world's application, edited.
func (w *world) push(edit func(url.Values)) *reply {
	w.t.Helper()
	params := w.authParams()
	if edit != nil {
		edit(params)
	}
	return send(w.t, http.MethodPost, w.URL+"/par", params, basic("rp", w.secret()))
}

// pushed returns what leads a browser to a request that was pushed.
func (w *world) pushed(edit func(url.Values)) url.Values {
	w.t.Helper()
	r := w.push(edit)
	var answer struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(r.text), &answer); err != nil || r.StatusCode != http.StatusCreated || answer.ExpiresIn != 60 || !strings.HasPrefix(answer.RequestURI, requestURIPrefix) {
		w.t.Fatalf("push: status %d: %s", r.StatusCode, r.text)
	}
	return url.Values{"client_id": {"rp"}, "request_uri": {answer.RequestURI}}
}

func TestPushedRequest(t *testing.T) { // RFC 9126 §2 and §4
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	r := w.push(nil)
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", r.Header)
	}
	params := w.pushed(nil)
	handle := strings.TrimPrefix(params.Get("request_uri"), requestURIPrefix)
	kept, err := w.store.Get(t.Context(), "par", token.HashHandle("par", handle))
	if err != nil || bytes.Contains(kept, []byte("callback")) || bytes.Contains(kept, []byte("nonce")) {
		t.Errorf("kept as %q: %v", kept, err)
	}
	// §4: what the browser brings beside the name counts for nothing.
	params.Set("redirect_uri", "https://evil.example/")
	params.Set("state", "another")
	params.Set("prompt", "login")
	params.Set("response_mode", "form_post")
	to, query := w.authorize(params, b).location(t)
	if to != w.callback() || query.Get("state") != "the state" || query.Get("iss") != w.URL {
		t.Fatalf("answer to %s with %v", to, query)
	}
	w.redeem(query.Get("code"), nil).tokens(t)
	wantPage(t, w.authorize(params, b), "page 400") // §4: once
}

func TestPushedRequestRefusals(t *testing.T) { // RFC 9126 §2.1 and §2.3
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{
			ID: "another", Secrets: c.Clients[0].Secrets, RedirectURIs: []string{"https://another.example/callback"},
		}, store.Client{ID: "public", AuthMethod: store.AuthNone, RedirectURIs: c.Clients[0].RedirectURIs})
	})
	for _, row := range []struct {
		name   string
		edit   func(url.Values)
		status int
		code   string
	}{
		{"§2.1: request_uri", set("request_uri", requestURIPrefix+"x"), 400, "invalid_request"},
		{"§2.1: an empty request_uri", set("request_uri", ""), 400, "invalid_request"},
		{"§3: request", set("request", "eyJhbGciOiJub25lIn0.e30."), 400, "request_not_supported"},
		{"§2.3: redirect_uri of another", set("redirect_uri", "https://another.example/callback"), 400, "invalid_request"},
		{"§2.3: no redirect_uri", unset("redirect_uri"), 400, "invalid_request"},
		{"§2.3: a parameter twice", set("state", "a", "b"), 400, "invalid_request"},
		{"§2.3: response_type", set("response_type", "token"), 400, "unsupported_response_type"},
		{"§2.3: scope", set("scope", "profile"), 400, "invalid_scope"},
		{"§2.3: no challenge", unset("code_challenge"), 400, "invalid_request"},
		{"§2.3: response_mode", set("response_mode", "fragment"), 400, "invalid_request"},
		{"§2.1: another client's id", set("client_id", "another"), 401, "invalid_client"},
		{"§2.3: too large", set("state", strings.Repeat("x", 20<<10)), 413, "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, w.push(row.edit), row.status, row.code)
		})
	}
	t.Run("§2: no authentication", func(t *testing.T) {
		t.Parallel()
		wantError(t, send(t, http.MethodPost, w.URL+"/par", w.authParams(), nil), http.StatusUnauthorized, "invalid_client")
		wantError(t, send(t, http.MethodPost, w.URL+"/par", w.authParams(), basic("rp", "wrong")), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("§2: a public client says who it is", func(t *testing.T) {
		t.Parallel()
		params := w.authParams()
		params.Set("client_id", "public")
		if r := send(t, http.MethodPost, w.URL+"/par", params, nil); r.StatusCode != http.StatusCreated {
			t.Errorf("status %d: %s", r.StatusCode, r.text)
		}
	})
	t.Run("§2.3: method", func(t *testing.T) {
		t.Parallel()
		if r := send(t, http.MethodGet, w.URL+"/par?"+w.authParams().Encode(), nil, basic("rp", w.secret())); r.StatusCode != 405 {
			t.Errorf("status %d", r.StatusCode)
		}
	})
}

func TestPushedRequestBound(t *testing.T) { // RFC 9126 §2.2 and §7
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{
			ID: "another", Secrets: c.Clients[0].Secrets, RedirectURIs: c.Clients[0].RedirectURIs,
		})
	})
	b := w.login("Demo")
	params := w.pushed(nil)
	uri := params.Get("request_uri")
	for name, edit := range map[string]func(url.Values){
		"another client":   set("client_id", "another"),
		"no client":        unset("client_id"),
		"guessed":          set("request_uri", requestURIPrefix+"0123456789abcdef"),
		"cut short":        set("request_uri", uri[:len(uri)-1]),
		"with more":        set("request_uri", uri+"A"),
		"nothing":          set("request_uri", requestURIPrefix),
		"twice":            set("request_uri", uri, uri),
		"client_id twice":  set("client_id", "rp", "rp"),
		"another purpose":  set("request_uri", strings.Replace(uri, "request_uri:", "other:", 1)),
		"with NUL":         set("request_uri", uri+"\x00"),
		"not as registred": set("request_uri", strings.ToUpper(uri)),
	} {
		broken := url.Values{"client_id": {"rp"}, "request_uri": {uri}}
		edit(broken)
		wantPage(t, w.authorize(broken, b), "page 400")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if _, query := w.authorize(params, b).location(t); query.Get("code") == "" {
		t.Error("the request did not survive what was not for it")
	}
	late := w.pushed(nil)
	w.advance(time.Minute)
	r := w.authorize(late, b)
	wantPage(t, r, "page 400")
	if !strings.Contains(r.text, w.rp.Client().HomeURL) {
		t.Error("no way back to the application", r.text)
	}
}

// A pushed request lasts as long as the login that it began, however often its pages are opened, and is answered once.
func TestPushedRequestLogin(t *testing.T) { // RFC 9126 §4
	t.Parallel()
	w := newWorld(t, nil)
	start := w.URL + "/authorize?" + w.pushed(nil).Encode()
	b := brokertest.NewBrowser(t)
	page := b.Get(start)
	shows(t, page, http.StatusOK, "Test App", "Continue with Demo")
	w.advance(5 * time.Minute)
	page = b.Get(start)
	shows(t, page, http.StatusOK, "Continue with Demo")
	last := page.Click("Continue with Demo")
	if q := went(t, last, w.callback()).Query(); q.Get("code") == "" || q.Get("state") != "the state" {
		t.Fatalf("answer %v", q)
	}
	again := brokertest.NewBrowser(t).Get(start)
	shows(t, again, http.StatusBadRequest)
}

func TestPushedRequestAnsweredOnce(t *testing.T) { // RFC 9126 §7.3: of two that began before, one is answered
	t.Parallel()
	w := newWorld(t, nil)
	start := w.URL + "/authorize?" + w.pushed(nil).Encode()
	one, two := brokertest.NewBrowser(t).Get(start), brokertest.NewBrowser(t).Get(start)
	if q := went(t, one.Click("Demo"), w.callback()).Query(); q.Get("code") == "" {
		t.Fatalf("answer %v", q)
	}
	last := two.Click("Other")
	for _, u := range last.Trail {
		if strings.HasPrefix(u, w.callback()) {
			t.Errorf("answered a second time: %s", u)
		}
	}
}

// A browser that comes at the very moment of the answer may have the request written once more: the mark decides.
func TestPushedRequestMark(t *testing.T) { // RFC 9126 §7.3
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	params := w.pushed(nil)
	key := token.HashHandle("par", strings.TrimPrefix(params.Get("request_uri"), requestURIPrefix))
	kept, err := w.store.Get(t.Context(), "par", key)
	if err != nil {
		t.Fatal(err)
	}
	if _, query := w.authorize(params, b).location(t); query.Get("code") == "" {
		t.Fatal("no code")
	}
	if err := w.store.Put(t.Context(), "par", key, kept, w.clock().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantPage(t, w.authorize(params, b), "page 409")
}

func TestPushedRequestRace(t *testing.T) { // CVE-2026-90997: of 64 at once one gets a code
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	params := w.pushed(nil)
	var mu sync.Mutex
	codes := 0
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			r := w.authorize(params, b)
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(r.Header.Get("Location"), "code=") {
				codes++
			} else if r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusConflict {
				t.Errorf("status %d to %s", r.StatusCode, r.Header.Get("Location"))
			}
		})
	}
	wg.Wait()
	if codes != 1 {
		t.Errorf("%d codes", codes)
	}
}

func TestPushedHints(t *testing.T) { // Behaviours §1.5: the hint is honoured inside a pushed request too
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Providers[1].Domains = []string{"other.example"} })
	for _, name := range []string{"idp_hint", "kc_idp_hint"} {
		last := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.pushed(set(name, "other")).Encode())
		went(t, last, w.other.Issuer())
		went(t, last, w.callback())
	}
	// What is typed in, and a link of the page, count for more than the application's hint.
	page := brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.pushed(set("kc_idp_hint", "nobody")).Encode())
	shows(t, page, http.StatusOK, "Continue with Demo")
	went(t, page.Submit(url.Values{"email": {"carol@other.example"}}), w.other.Issuer())
	// Refused there, the visitor chooses again instead of being sent there again.
	w.op.Break(providertest.ErrorAccessDenied)
	page = brokertest.NewBrowser(t).Get(w.URL + "/authorize?" + w.pushed(set("kc_idp_hint", "demo")).Encode())
	shows(t, page, http.StatusOK, "Continue with Other")
	went(t, page.Click("Continue with Other"), w.callback())
}

func TestRequirePAR(t *testing.T) { // RFC 9126 §6
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) { c.Clients[0].RequirePAR = true })
	b := w.login("Demo")
	wantRefused(t, w, w.authorize(w.authParams(), b), "invalid_request")
	wantRefused(t, w, w.authorize(w.authParams(), nil), "invalid_request")
	r := send(t, http.MethodGet, w.URL+"/broker/demo/login?"+w.authParams().Encode(), nil, nil)
	wantPage(t, r, "page 400")
	if _, query := w.authorize(w.pushed(nil), b).location(t); query.Get("code") == "" {
		t.Error("no code for a pushed request")
	}
}

func TestPushedRequestSwitchedOff(t *testing.T) { // what was switched off since is off
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	params := w.pushed(nil)
	w.reconfigure(func(c *broker.Config) { c.Clients[0].Disabled = true })
	wantPage(t, w.authorize(params, b), "page 400")
	wantError(t, w.push(nil), http.StatusUnauthorized, "invalid_client")
	w.reconfigure(func(c *broker.Config) { c.Clients[0].RedirectURIs = []string{"https://new.example/"} })
	wantPage(t, w.authorize(params, b), "page 400")
}
