// Command social is an application that people sign in to with the vendors whose credentials are in the environment.
//
//	GITHUB_ID=… GITHUB_SECRET=… GOOGLE_ID=… GOOGLE_SECRET=… go run -C examples ./social
//
// README.md says what else the environment may have.
package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// An environment has what os.Getenv has.
type environment func(name string) string

// vendors returns all vendors that the environment has the id of a client for, by their aliases.
func vendors(env environment) []broker.Provider {
	id := func(vendor string) string { return env(vendor + "_ID") }
	secret := func(vendor string) string { return env(vendor + "_SECRET") }
	list := func(name string) []string {
		if env(name) == "" {
			return nil
		}
		return strings.Split(env(name), ",")
	}
	var all []broker.Provider
	add := func(alias string, idp func(vendor string) provider.IdentityProvider) {
		if vendor := strings.ToUpper(alias); id(vendor) != "" {
			all = append(all, broker.Provider{Alias: alias, IdP: idp(vendor)})
		}
	}
	for alias, constructor := range map[string]func(id, secret string) *social.OpenID{
		"line": social.LINE, "linkedin": social.LinkedIn, "salesforce": social.Salesforce, "slack": social.Slack, "twitch": social.Twitch,
	} {
		add(alias, func(vendor string) provider.IdentityProvider { return constructor(id(vendor), secret(vendor)) })
	}
	for alias, constructor := range map[string]func(id, secret string) *social.OAuth2{
		"amazon": social.Amazon, "bitbucket": social.Bitbucket, "discord": social.Discord, "facebook": social.Facebook,
		"kakao": social.Kakao, "spotify": social.Spotify, "x": social.X, "yandex": social.Yandex,
	} {
		add(alias, func(vendor string) provider.IdentityProvider { return constructor(id(vendor), secret(vendor)) })
	}
	add("apple", func(v string) provider.IdentityProvider {
		return social.Apple(id(v), social.AppleKey{TeamID: env("APPLE_TEAM_ID"), ID: env("APPLE_KEY_ID"), PEM: []byte(env("APPLE_KEY"))})
	})
	add("auth0", func(v string) provider.IdentityProvider { return social.Auth0(env("AUTH0_DOMAIN"), id(v), secret(v)) })
	add("github", func(v string) provider.IdentityProvider {
		return social.GitHub(id(v), secret(v)).With(social.Options{BaseURL: env("GITHUB_URL")})
	})
	add("gitlab", func(v string) provider.IdentityProvider {
		return social.GitLab(id(v), secret(v)).With(social.Options{BaseURL: env("GITLAB_URL")})
	})
	add("google", func(v string) provider.IdentityProvider {
		return social.Google(id(v), secret(v)).With(social.Options{HostedDomains: list("GOOGLE_DOMAINS")})
	})
	add("keycloak", func(v string) provider.IdentityProvider {
		return social.Keycloak(env("KEYCLOAK_URL"), env("KEYCLOAK_REALM"), id(v), secret(v))
	})
	add("microsoft", func(v string) provider.IdentityProvider {
		return social.Microsoft(id(v), secret(v), list("MICROSOFT_TENANTS")...)
	})
	add("okta", func(v string) provider.IdentityProvider { return social.Okta(env("OKTA_DOMAIN"), id(v), secret(v)) })
	add("paypal", func(v string) provider.IdentityProvider {
		return social.PayPal(id(v), secret(v)).With(social.Options{Sandbox: env("PAYPAL_SANDBOX") != ""})
	})
	add("stackoverflow", func(v string) provider.IdentityProvider {
		return social.StackOverflow(id(v), secret(v), env("STACKOVERFLOW_KEY"))
	})
	slices.SortFunc(all, func(a, b broker.Provider) int { return cmp.Compare(a.Alias, b.Alias) })
	return all
}

// newApp returns the application at origin: the broker at /id, and a page for those who are signed in everywhere else.
func newApp(origin string, env environment) (http.Handler, error) {
	providers := vendors(env)
	if len(providers) == 0 {
		return nil, errors.New("no vendor has an id in the environment: set GITHUB_ID and GITHUB_SECRET, for instance")
	}
	for _, p := range providers {
		fmt.Fprintf(os.Stderr, "%s: the redirect URI to register is %s/id/broker/%s/endpoint\n", p.Alias, origin, p.Alias)
	}
	b, err := broker.New(broker.Config{
		BaseURL:   origin + "/id",
		Secrets:   [][]byte{[]byte(rand.Text() + rand.Text())}, // in earnest the same at every start
		Store:     memstore.New(),                              // in earnest one that remembers
		Providers: providers,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/id/", b)
	mux.Handle("/", b.RequireLogin(http.HandlerFunc(page)))
	return mux, nil
}

func page(w http.ResponseWriter, r *http.Request) {
	user, _ := broker.UserFrom(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>App</title><p>Hello, %s (%s). <a href="/id/logout">Sign out</a></p>`,
		html.EscapeString(cmp.Or(user.Name, user.Username)), html.EscapeString(user.Email))
}

func main() {
	origin := cmp.Or(os.Getenv("ORIGIN"), "http://localhost:8080")
	app, err := newApp(origin, os.Getenv)
	if err != nil {
		log.Fatal(err)
	}
	address := "127.0.0.1:8080"
	if u, err := url.Parse(origin); err == nil && u.Scheme == "http" {
		address = "127.0.0.1:" + cmp.Or(u.Port(), "80")
	}
	fmt.Fprintf(os.Stderr, "open %s (listening at %s)\n", origin, address)
	server := &http.Server{Addr: address, Handler: app, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
