package broker_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/store"
)

// clientsStored has the world's application in the store instead of the configuration.
func clientsStored(c *broker.Config) {
	c.ClientStore, _ = c.Store.(store.Clients)
	c.Clients = nil
}

// newStoredWorld starts a broker whose application is kept in the store.
func newStoredWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, clientsStored)
	client := w.rp.Client()
	if err := w.Broker.PutClient(t.Context(), &client); err != nil {
		t.Fatal(err)
	}
	return w
}

// kept returns the world's application as the store has it.
func (w *world) kept() *store.Client {
	w.t.Helper()
	client, err := w.store.Client(w.t.Context(), "rp")
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

func TestPutClient(t *testing.T) {
	t.Parallel()
	w := newStoredWorld(t)
	b := w.login("Demo")
	w.redeem(w.code(b, nil), nil).tokens(t)
	if bytes.Contains(bytes.Join(w.kept().Secrets, nil), w.rp.Client().Secrets[0]) {
		t.Error("the store has the secret itself")
	}

	stale := w.kept()
	client := w.kept()
	client.Name, client.Secrets = "Renamed", append(client.Secrets, []byte("the next secret, sealed:"))
	if err := w.Broker.PutClient(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if client.Version != 2 || w.kept().Version != 2 || w.kept().Name != "Renamed" {
		t.Errorf("version %d, kept as %d %q", client.Version, w.kept().Version, w.kept().Name)
	}
	for _, secret := range []string{w.secret(), "the next secret, sealed:"} {
		send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), basic("rp", secret)).tokens(t)
	}
	for _, secret := range w.kept().Secrets {
		r := send(t, http.MethodPost, w.URL+"/token", w.redeemForm(w.code(b, nil)), basic("rp", string(secret)))
		wantError(t, r, http.StatusUnauthorized, "invalid_client") // who reads the store cannot use what is there
	}
	if err := w.Broker.PutClient(t.Context(), stale); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an old version: %v, want %v", err, store.ErrConflict)
	}
	again := w.rp.Client()
	if err := w.Broker.PutClient(t.Context(), &again); !errors.Is(err, store.ErrExists) || again.Version != 0 {
		t.Errorf("the same id again: %v, version %d, want %v", err, again.Version, store.ErrExists)
	}
	if !bytes.Equal(again.Secrets[0], w.rp.Client().Secrets[0]) {
		t.Error("the caller's secret was changed")
	}

	// A new secret of the broker seals from now on; the old one still opens.
	rotate := func(secrets ...string) {
		w.reconfigure(func(c *broker.Config) {
			clientsStored(c)
			c.Secrets = nil
			for _, s := range secrets {
				c.Secrets = append(c.Secrets, []byte(s))
			}
		})
	}
	const older, newer = "a secret of the tests: 32 bytes!", "another secret of the tests: 32!"
	rotate(newer, older)
	client = w.kept()
	if err := w.Broker.PutClient(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	rotate(newer)
	wantPage(t, w.authorize(w.authParams(), nil), "page 200")
}

// What New refuses in a configuration is refused before it is in the store.
func TestPutClientRefuses(t *testing.T) {
	t.Parallel()
	w := newStoredWorld(t)
	secret := []byte("sixteen bytes or more")
	good := store.Client{ID: "app", Secrets: [][]byte{secret}, RedirectURIs: []string{"https://app.example/cb"}}
	for name, row := range map[string]struct {
		edit func(*store.Client)
		want string
	}{
		"no id":                        {func(c *store.Client) { c.ID = "" }, "ID"},
		"id with a space":              {func(c *store.Client) { c.ID = "a b" }, "ID"},
		"id that is too long":          {func(c *store.Client) { c.ID = strings.Repeat("a", 256) }, "ID"},
		"no secret":                    {func(c *store.Client) { c.Secrets = nil }, "Secrets"},
		"short secret":                 {func(c *store.Client) { c.Secrets = [][]byte{secret, []byte("short")} }, "Secrets"},
		"sealed by nobody":             {func(c *store.Client) { c.Secrets = [][]byte{[]byte("idb\x01\x02id" + strings.Repeat("x", 60))} }, "Secrets"},
		"sealed for another":           {func(c *store.Client) { c.Secrets = w.kept().Secrets }, "Secrets"},
		"public with a secret":         {func(c *store.Client) { c.AuthMethod = store.AuthNone }, "no secret"},
		"public without PKCE":          {func(c *store.Client) { c.AuthMethod, c.Secrets, c.InsecureWithoutPKCE = store.AuthNone, nil, true }, "PKCE"},
		"unknown method":               {func(c *store.Client) { c.AuthMethod = "guess" }, "AuthMethod"},
		"no redirect URI":              {func(c *store.Client) { c.RedirectURIs = nil }, "RedirectURIs"},
		"http redirect URI":            {func(c *store.Client) { c.RedirectURIs = []string{"http://app.example/cb"} }, "https"},
		"wildcard":                     {func(c *store.Client) { c.RedirectURIs = []string{"https://*.example/cb"} }, "wildcard"},
		"fragment":                     {func(c *store.Client) { c.RedirectURIs = []string{"https://app.example/cb#x"} }, "fragment"},
		"unknown grant type":           {func(c *store.Client) { c.Grants = []string{"password"} }, "Grants"},
		"empty provider":               {func(c *store.Client) { c.Providers = []string{""} }, "Providers"},
		"unknown algorithm":            {func(c *store.Client) { c.IDTokenAlg = "none" }, "algorithm"},
		"tokens that live for a month": {func(c *store.Client) { c.AccessTokenLifetime = 720 << 41 }, "lifetimes"},
	} {
		client := good
		row.edit(&client)
		err := w.Broker.PutClient(t.Context(), &client)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got error %v, want one that says %q", name, err, row.want)
		} else if strings.Contains(err.Error(), string(secret)) || strings.Contains(err.Error(), "short\"") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
		if client.Version != 0 {
			t.Errorf("%s: version %d", name, client.Version)
		}
	}
	if listed, err := w.store.ListClients(t.Context(), "", 10); err != nil || len(listed) != 1 {
		t.Errorf("%d clients are kept, %v, want only the world's", len(listed), err)
	}
	c := w.config(nil)
	b, err := broker.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PutClient(t.Context(), &good); err == nil {
		t.Error("PutClient without a ClientStore: no error")
	}
}

// Whatever was written past the broker does not pass the checks that a configuration has to pass.
func TestClientsWrittenByOthers(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]func(w *world, c *store.Client){
		"secret that is not sealed": func(w *world, c *store.Client) { c.Secrets = w.rp.Client().Secrets },
		"another client's secret": func(w *world, c *store.Client) {
			other := w.rp.Client()
			other.ID = "other"
			if err := w.Broker.PutClient(w.t.Context(), &other); err != nil {
				w.t.Fatal(err)
			}
			sealed, err := w.store.Client(w.t.Context(), "other")
			if err != nil {
				w.t.Fatal(err)
			}
			c.Secrets = sealed.Secrets
		},
		"one bad secret among good ones": func(_ *world, c *store.Client) { c.Secrets = append(c.Secrets, []byte("a secret that nobody sealed")) },
		"redirect URI that is none":      func(_ *world, c *store.Client) { c.RedirectURIs = append(c.RedirectURIs, "http://evil.example/") },
		"unknown method":                 func(_ *world, c *store.Client) { c.AuthMethod = "anything" },
		"public with secrets":            func(_ *world, c *store.Client) { c.AuthMethod = store.AuthNone },
		"switched off":                   func(_ *world, c *store.Client) { c.Disabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStoredWorld(t)
			b := w.login("Demo")
			code := w.code(b, nil)
			token := w.redeem(w.code(b, nil), nil).tokens(t).AccessToken
			client := w.kept()
			row(w, client)
			if err := w.store.PutClient(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			wantError(t, w.redeem(code, nil), http.StatusUnauthorized, "invalid_client")
			wantError(t, w.redeem(code, set("client_id", "rp")), http.StatusUnauthorized, "invalid_client")
			wantInvalidToken(t, w.userinfo(token))
			if r := w.authorize(w.authParams(), b); r.StatusCode != http.StatusBadRequest || r.Header.Get("Location") != "" {
				t.Errorf("authorize: status %d, Location %q", r.StatusCode, r.Header.Get("Location"))
			}
		})
	}
}

// A client of the configuration cannot be changed by one of its name in the store.
func TestConfiguredClientComesFirst(t *testing.T) {
	t.Parallel()
	w := newStoredWorld(t)
	w.reconfigure(func(c *broker.Config) {
		c.ClientStore, _ = c.Store.(store.Clients)
		c.Clients[0].Disabled = true
	})
	if r := w.authorize(w.authParams(), nil); r.StatusCode != http.StatusBadRequest {
		t.Errorf("one that is switched off in the configuration and not in the store: status %d", r.StatusCode)
	}
	client := w.kept()
	if err := w.Broker.PutClient(t.Context(), client); !errors.Is(err, store.ErrExists) {
		t.Errorf("PutClient of a configured id: %v, want %v", err, store.ErrExists)
	}
}

type noClients struct{ store.Clients }

var errNoClients = errors.New("no connection to the clients' table")

func (noClients) Client(context.Context, string) (*store.Client, error) { return nil, errNoClients }

// A store that cannot tell is no refusal, by which an application would forget its secret or its tokens, and no leave.
func TestClientStoreDown(t *testing.T) {
	t.Parallel()
	w := newStoredWorld(t)
	b := w.login("Demo")
	code := w.code(b, nil)
	token := w.redeem(w.code(b, nil), nil).tokens(t).AccessToken
	w.reconfigure(func(c *broker.Config) { c.Clients, c.ClientStore = nil, noClients{} })
	for name, r := range map[string]*reply{
		"token": w.redeem(code, nil), "userinfo": w.userinfo(token), "authorize": w.authorize(w.authParams(), b),
	} {
		if r.StatusCode != http.StatusInternalServerError || strings.Contains(r.text, "table") || r.Header.Get("Location") != "" {
			t.Errorf("%s: status %d %s", name, r.StatusCode, r.text)
		}
	}
	w.reconfigure(clientsStored)
	w.redeem(code, nil).tokens(t)
	if r := w.userinfo(token); r.StatusCode != http.StatusOK {
		t.Errorf("userinfo afterwards: status %d", r.StatusCode)
	}
}

// Ids that no store need take for a key are not looked for.
func TestOddClientIDs(t *testing.T) {
	t.Parallel()
	w := newStoredWorld(t)
	w.reconfigure(func(c *broker.Config) { c.Clients, c.ClientStore = nil, noClients{} })
	for _, id := range []string{"", " ", "a\x00", "\xff", "\u00fc", "a\n", strings.Repeat("a", 300)} {
		params := w.authParams()
		params.Set("client_id", id)
		if r := w.authorize(params, nil); r.StatusCode != http.StatusBadRequest {
			t.Errorf("client_id %q: status %d", id, r.StatusCode)
		}
	}
}

func onlyOther(c *broker.Config) { c.Clients[0].Providers = []string{"other"} }

// Dex GHSA-7qjx-gp9h-65qj: a list of who may vouch holds at every way in.
func TestClientProviders(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		edit   func(*broker.Config)
		params url.Values
	}{
		"choice":                {},
		"default":               {edit: func(c *broker.Config) { c.DefaultProvider = "demo" }},
		"hint":                  {params: url.Values{"idp_hint": {"demo"}}},
		"Keycloak's hint":       {params: url.Values{"kc_idp_hint": {"demo"}}},
		"domain":                {edit: func(c *broker.Config) { c.Providers[0].Domains = []string{"example.com"} }, params: url.Values{"login_hint": {"alice@example.com"}}},
		"domain of the form":    {edit: func(c *broker.Config) { c.Providers[0].Domains = []string{"example.com"} }, params: url.Values{"email": {"alice@example.com"}}},
		"choice of the account": {params: url.Values{"prompt": {"select_account"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *broker.Config) {
				onlyOther(c)
				if row.edit != nil {
					row.edit(c)
				}
			})
			signedIn := brokertest.NewBrowser(t)
			if who := signedIn.Get(w.URL + "/broker/demo/login").Who(); who.Provider != "demo" {
				t.Fatalf("signed in by %q", who.Provider)
			}
			for _, b := range []*brokertest.Browser{brokertest.NewBrowser(t), signedIn} {
				w.rp.Params = row.params
				page := b.Get(w.rp.LoginURL())
				links := page.Links()
				has := func(text string) bool {
					return slices.ContainsFunc(links, func(l brokertest.Link) bool { return strings.Contains(l.Text, text) })
				}
				if page.URL.Path == "" || !strings.HasPrefix(page.URL.String(), w.URL) || has("Demo") || !has("Other") {
					t.Fatalf("%s offers %v", page.URL, links)
				}
				if strings.Contains(page.Body, `name="email"`) {
					t.Error("asks for an address, which leads nowhere")
				}
				if page = page.Click("Other"); w.rp.Login().Subject == "" || w.rp.Login().Claims["identity_provider"] != "other" {
					t.Errorf("by Other: %d at %s", page.Status, page.URL)
				}
			}
		})
	}
	t.Run("default that is allowed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, func(c *broker.Config) { onlyOther(c); c.DefaultProvider = "other" })
		brokertest.NewBrowser(t).Get(w.rp.LoginURL())
		if w.rp.Login().Subject == "" {
			t.Error("not signed in at once")
		}
	})
	t.Run("by its URL", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, onlyOther)
		_, query, _ := strings.Cut(w.rp.AuthURL(), "?")
		page := brokertest.NewBrowser(t).Get(w.URL + "/broker/demo/login?" + query)
		shows(t, page, http.StatusForbidden, "Not available for this application")
		if w.users("alice") != 0 {
			t.Error("signed in all the same")
		}
	})
	t.Run("no page allowed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, onlyOther)
		wantRefused(t, w, w.authorize(edited(w.authParams(), set("prompt", "none")), w.login("Demo")), "login_required")
	})
	t.Run("the host's own page offers all", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, onlyOther)
		shows(t, brokertest.NewBrowser(t).Get(w.URL+"/login"), http.StatusOK, "Demo", "Other")
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		c := w.config(func(c *broker.Config) { c.Clients[0].Providers = []string{"demo", "nobody"} })
		if _, err := broker.New(c); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
			t.Errorf("New: %v", err)
		}
	})
}

func edited(v url.Values, edits ...func(url.Values)) url.Values {
	for _, edit := range edits {
		edit(v)
	}
	return v
}

// One session can be vouched for by one provider after the other. What was granted by the first one's word goes on with
// that one's link and ends with it, and gives nothing to a client that does not take the second one's.
func TestSessionOfTwoProviders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onlyOther)
	alice := w.login("Demo").Get(w.Origin + "/").Who()
	link := &store.Link{LinkKey: store.LinkKey{Provider: "other", Issuer: w.other.Issuer(), Subject: "carol"}, UserID: alice.ID}
	if err := w.store.CreateLink(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	b := brokertest.NewBrowser(t)
	b.Get(w.rp.LoginURL()).Click("Other")
	first := w.rp.Login()
	b.Get(w.URL + "/login?prompt=login&return_to=/").Click("Demo")
	who := b.Get(w.Origin + "/").Who()
	if first.Subject != alice.ID || who.Session != first.Claims["sid"] || who.Provider != "demo" {
		t.Fatalf("session %v of %s became %s of %s by %s", first.Claims["sid"], first.Subject, who.Session, who.ID, who.Provider)
	}
	if r := w.userinfo(first.AccessToken); r.StatusCode != http.StatusOK {
		t.Errorf("the token ends although who vouched for it is still linked: status %d", r.StatusCode)
	}
	if r := w.authorize(w.authParams(), b); strings.Contains(r.Header.Get("Location"), "code=") {
		t.Error("a session of another provider gives codes")
	}
	if err := w.store.DeleteLink(t.Context(), link.LinkKey); err != nil {
		t.Fatal(err)
	}
	wantInvalidToken(t, w.userinfo(first.AccessToken))
	if got := b.Get(w.Origin + "/"); got.URL.Path != "/" {
		t.Errorf("the session ends although who vouched for it last is still linked: at %s", got.URL)
	}
}

// RFC 6749 §4.1.2.1 and §5.2: unauthorized_client.
func TestGrantTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.login("Demo")
	code := w.code(b, nil)
	w.reconfigure(func(c *broker.Config) { c.Clients[0].Grants = []string{store.GrantTypeRefresh} })
	wantError(t, w.redeem(code, nil), http.StatusBadRequest, "unauthorized_client")
	wantError(t, w.redeem(code, set("grant_type", "password")), http.StatusBadRequest, "unsupported_grant_type")
	wantError(t, w.redeem(code, unset("grant_type")), http.StatusBadRequest, "invalid_request")
	wantRefused(t, w, w.authorize(w.authParams(), b), "unauthorized_client")
	wantRefused(t, w, w.authorize(w.authParams(), nil), "unauthorized_client")
	w.reconfigure(nil)
	w.redeem(code, nil).tokens(t) // the refusal has used nothing up
}
