package integration

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// startSPA builds and starts examples/spa as an application of the broker at issuer, and returns its origin.
func startSPA(t *testing.T, issuer string, dpop bool) (origin string) {
	t.Helper()
	library := filepath.Join(requireNode(t, "oidc-client-ts"), "node_modules", "oidc-client-ts", "dist", "browser")
	program := filepath.Join(t.TempDir(), "spa.exe") // Windows wants the ending, nobody else minds
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../spa").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := startProcess(t, exec.Command(program, "-issuer", issuer, "-listen", "127.0.0.1:0", "-library", library,
		"-dpop="+strconv.FormatBool(dpop)), prints("serving at"))
	return regexp.MustCompile(`http://[^/\s]+`).FindString(p.output())
}

// A page's script signs in by redirect, renews its tokens by itself, and signs out; the browser holds it to what the broker
// allows other origins.
func TestSPAInChromium(t *testing.T) {
	t.Parallel()
	browser := startChromium(t)
	for name, dpop := range map[string]bool{"bearer tokens": false, "tokens bound by DPoP": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var origin string
			srv := brokertest.Start(t, func(base string) broker.Config {
				origin = startSPA(t, base, dpop)
				upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256"})
				return broker.Config{
					Store:     sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
					Providers: []broker.Provider{{Alias: "demo", IdP: demoIdP(t, upstream, base), Logout: provider.LogoutPerform}},
					Clients: []store.Client{{
						ID: "spa", AuthMethod: store.AuthNone, RequireDPoP: dpop, RedirectURIs: []string{origin + "/callback"},
						PostLogoutRedirectURIs: []string{origin + "/signed-out"}, Origins: []string{origin},
						// The script renews a minute before the end.
						AccessTokenLifetime: time.Minute + 2*time.Second,
					}},
				}
			})
			useSPA(openTab(t, browser, window{width: 1280}), srv, origin)
		})
	}
}

func useSPA(b *tab, srv *brokertest.Server, origin string) {
	b.t.Helper()
	signIn := func() {
		b.t.Helper()
		b.click("Sign in")
		b.click("demo")
		b.click("Alice Liddell")
		b.see("Hello, Alice Liddell")
	}
	b.open(origin)
	b.see("Nobody is signed in.")
	signIn()
	b.see("alice@example.com")
	if address := evaluate[string](b, "location.href"); address != origin+"/" {
		b.t.Errorf("after the login the address is %s, want it without a code", address)
	}
	b.open(origin) // still there
	b.see("Hello, Alice Liddell")
	b.see("The tokens were renewed.")
	b.click("Sign out")
	b.see("You are signed out.")
	b.open(origin)
	b.see("Nobody is signed in.")
	if said := b.said(); len(said) > 0 {
		b.t.Errorf("the console says %q", said)
	}
	signIn() // nobody was left at the upstream either: it asked who is there

	// Whom the host signs out, the next refresh does not bring back.
	user := evaluate[string](b, `[...document.querySelectorAll("dt")].find((e) => e.textContent === "sub").nextSibling.textContent`)
	if err := srv.Broker.SignOut(b.t.Context(), user); err != nil {
		b.t.Fatal(err)
	}
	b.see("Your session has ended.")
}
