package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
)

// start serves the application with an environment.
func start(t *testing.T, env map[string]string) string {
	t.Helper()
	site := httptest.NewUnstartedServer(nil)
	app, err := newApp("http://"+site.Listener.Addr().String(), func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	site.Config.Handler = app
	site.Start()
	t.Cleanup(site.Close)
	return site.URL
}

// There is a button for each vendor that is configured, with its icon, and it leads there.
func TestButtons(t *testing.T) {
	t.Parallel()
	at := start(t, map[string]string{"GITHUB_ID": "id", "GITHUB_SECRET": "secret", "X_ID": "id", "X_SECRET": "secret", "OKTA_SECRET": "no id"})
	b := brokertest.NewBrowser(t)
	page := b.Get(at + "/")
	for _, want := range []string{"GitHub", "Continue with X", "/id/icon/github", "/id/icon/x"} {
		if page.Status != http.StatusOK || !strings.Contains(page.Body, want) {
			t.Errorf("status %d, and the page lacks %q:\n%s", page.Status, want, page.Body)
		}
	}
	if strings.Contains(page.Body, "Okta") {
		t.Error("there is a button for a vendor without an id")
	}
	if icon := b.Get(at + "/id/icon/github"); icon.Status != http.StatusOK || !strings.HasPrefix(icon.Body, "<svg") {
		t.Errorf("icon: status %d, %q", icon.Status, icon.Body)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/id/broker/github/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(r) // which follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if to := answer.Header.Get("Location"); !strings.HasPrefix(to, "https://github.com/login/oauth/authorize?") {
		t.Errorf("status %d, location %q", answer.StatusCode, to)
	}
}

// Every vendor of the library is known here and in README.md.
func TestEveryVendor(t *testing.T) {
	t.Parallel()
	env := func(name string) string {
		switch name {
		case "MICROSOFT_TENANTS", "GOOGLE_DOMAINS", "GITHUB_URL", "GITLAB_URL":
			return ""
		}
		return "text"
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, p := range vendors(env) {
		known[p.Alias] = true
		if name := p.IdP.(provider.Branded).Brand().Name; strings.ToLower(strings.ReplaceAll(name, " ", "")) != p.Alias {
			t.Errorf("%s is %s", p.Alias, name)
		}
		if !strings.Contains(string(readme), "`"+strings.ToUpper(p.Alias)+"`") {
			t.Errorf("README.md has no row for %s", p.Alias)
		}
	}
	for _, file := range []string{"openid.go", "oauth2.go"} {
		source, err := os.ReadFile("../../provider/social/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(`).FindAllStringSubmatch(string(source), -1) {
			if !known[strings.ToLower(m[1])] {
				t.Errorf("social.%s is not here", m[1])
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":       {nil, "no vendor"},
		"no secret":     {map[string]string{"GOOGLE_ID": "id"}, "ClientSecret"},
		"no tenant":     {map[string]string{"MICROSOFT_ID": "id", "MICROSOFT_SECRET": "s"}, "Tenants"},
		"no key":        {map[string]string{"APPLE_ID": "id"}, "AppleKey"},
		"no realm":      {map[string]string{"KEYCLOAK_ID": "id", "KEYCLOAK_SECRET": "s", "KEYCLOAK_URL": "https://sso.example"}, "realm"},
		"a bad address": {map[string]string{"GITHUB_ID": "id", "GITHUB_SECRET": "s", "GITHUB_URL": "git.example"}, "BaseURL"},
	} {
		_, err := newApp("http://localhost:8080", func(name string) string { return row.env[name] })
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, row.want)
		}
	}
}
