package integration

import (
	"context"
	_ "embed"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// Django OAuth Toolkit as the upstream, which knows OAuth 2.0 and, as it is set up here, no OpenID Connect: a process with its own
// login page, its own consent page, and a userinfo of its own shape.

//go:embed testdata/oauth-toolkit.py
var oauthToolkitScript string

// startOAuthToolkit starts the server and returns its address.
func startOAuthToolkit(t *testing.T, redirectURI, secret string) string {
	t.Helper()
	const python = "/usr/bin/python3" // the one that has Debian's packages
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import oauth2_provider").CombinedOutput(); err != nil {
		missingPeer(t, "the test needs %s with Django OAuth Toolkit: %v %s", python, err, out)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "main.py")
	if err := os.WriteFile(file, []byte(oauthToolkitScript), 0o600); err != nil {
		t.Fatal(err)
	}
	given, err := json.Marshal(map[string]string{"redirect_uri": redirectURI, "secret": secret})
	if err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, exec.Command(python, file, dir, string(given)), prints("listens at "))
	return regexp.MustCompile(`listens at (\S+)\.`).FindStringSubmatch(p.output())[1]
}

func TestLoginThroughOAuthToolkit(t *testing.T) {
	t.Parallel()
	rp := brokertest.NewRelyingParty(t)
	kept := sqlstore.New(openSQLite(t, newFile(t)+pragmas))
	var at string
	srv := brokertest.Start(t, func(base string) broker.Config {
		at = startOAuthToolkit(t, brokertest.CallbackURL(base, "toolkit"), foreignSecret)
		idp, err := oauth2.New(oauth2.Config{
			Endpoints: oauth2.Endpoints{Authorization: at + "/o/authorize/", Token: at + "/o/token/", UserInfo: at + "/me", Revocation: at + "/o/revoke_token/"},
			ClientID:  "broker", ClientSecret: foreignSecret, Scopes: []string{"read"},
			Claims: oauth2.Claims{
				Subject: "user.number", Username: "user.login", Email: "user.mail", Name: "user.full_name",
			},
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			Store: kept, Clients: []store.Client{rp.Client()},
			Providers: []broker.Provider{{Alias: "toolkit", Name: "Toolkit", IdP: idp, StoreTokens: provider.TokensOnLink, TokenMinValidity: 100 * time.Hour}},
		}
	})
	rp.Connect(srv.URL)
	consent := func(b *brokertest.Browser, user string) *brokertest.Page {
		t.Helper()
		page := b.Get(rp.LoginURL()).Click("Continue with Toolkit")
		if !strings.HasPrefix(page.URL.String(), at+"/accounts/login/") {
			t.Fatalf("at %s (status %d), want the server's login page:\n%s", page.URL, page.Status, page.Body)
		}
		return page.Submit(url.Values{"username": {user}, "password": {"password"}})
	}
	allowed := func(user string) brokertest.Login {
		t.Helper()
		page := consent(brokertest.NewBrowser(t), user).Submit(url.Values{"allow": {"Authorize"}})
		if page.Status != http.StatusOK || !strings.HasPrefix(rp.LoginURL(), "http://"+page.URL.Host) {
			t.Fatalf("at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
		}
		return rp.Login()
	}

	// Refused there, the visitor is back at the choice, and is nobody here.
	refused := consent(brokertest.NewBrowser(t), "bob").Submit(url.Values{"allow": {""}})
	if refused.Status != http.StatusOK || !strings.HasPrefix(refused.URL.String(), srv.URL) || !strings.Contains(refused.Body, "Continue with Toolkit") {
		t.Errorf("after the refusal: at %s (status %d)\n%s", refused.URL, refused.Status, refused.Body)
	}
	if users, err := kept.FindUsers(t.Context(), store.UserQuery{Username: "bob"}); err != nil || len(users) > 0 {
		t.Errorf("after the refusal: users %+v, %v", users, err)
	}

	first := allowed("Alice")
	if first.Claims["preferred_username"] != "alice" || first.Claims["name"] != "Alice of Toolkit" || first.Claims["email_verified"] != false {
		t.Errorf("the application gets %v", first.Claims)
	}
	link, err := kept.Link(t.Context(), store.LinkKey{Provider: "toolkit", Subject: "1"})
	if err != nil || link.UserID != first.Subject || link.Username != "alice" {
		t.Errorf("link is %+v, %v", link, err)
	}
	if again := allowed("Alice"); again.Subject != first.Subject {
		t.Errorf("the second time it is %s, was %s", again.Subject, first.Subject)
	}
	if other := allowed("bob"); other.Subject == first.Subject {
		t.Error("another user there is the same here")
	}

	// Its tokens live for ten hours, and are to be good for longer: each call renews them, by a refresh token that is good once.
	seen := map[string]bool{}
	for range 3 {
		tokens, err := srv.Broker.UpstreamTokens(t.Context(), first.Subject, "toolkit")
		if err != nil {
			t.Fatalf("its access token: %v", err)
		}
		if seen[tokens.AccessToken] {
			t.Error("its access token was not renewed")
		}
		seen[tokens.AccessToken] = true
		if got := statusAt(t, at+"/me", tokens.AccessToken); got != http.StatusOK {
			t.Errorf("its access token is answered with status %d there", got)
		}
	}
	// Of a user who is switched off they are no good there either.
	user, err := kept.User(t.Context(), first.Subject)
	if err != nil {
		t.Fatal(err)
	}
	user.Disabled = true
	if err := kept.UpdateUser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = srv.Broker.Run(ctx) }() // until ctx ends, which is its error
	waitFor(t, func() bool {
		for token := range seen {
			if statusAt(t, at+"/me", token) == http.StatusOK {
				return false
			}
		}
		return true
	})
}

// statusAt returns how a server answers a bearer token.
func statusAt(t *testing.T, rawURL, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
