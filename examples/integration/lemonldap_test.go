package integration

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
)

// LemonLDAP::NG of Debian as the upstream. Its ID tokens have a list with one element as aud.

const lemonPortal = "/usr/share/lemonldap-ng/portal"

// startLemonLDAP starts a portal whose clients are the providers of the broker at base with these aliases and secrets. It
// returns the issuer.
func startLemonLDAP(t *testing.T, base string, secrets map[string]string) (issuer string) {
	t.Helper()
	issuer, _ = startPortal(t, "127.0.0.1", func(issuer string) map[string]any { return lemonOpenID(t, issuer, base, secrets) })
	return issuer
}

// startPortal starts a portal with its demonstration users (dwho, rtyler, msmith; the password is the name), and with what
// issuing adds to its configuration. name is the loopback host as browsers know it. It returns the portal's address.
func startPortal(t *testing.T, name string, issuing func(portal string) map[string]any) (issuer string, p *process) {
	t.Helper()
	plackup := requireProgram(t, "plackup")
	if _, err := os.Stat(lemonPortal); err != nil {
		missingPeer(t, "the test needs LemonLDAP::NG: %v", err)
	}
	address := freePort(t)
	host, port, _ := strings.Cut(address, ":")
	issuer = "http://" + name + ":" + port
	dir := t.TempDir()
	settings := lemonConfig(dir, issuer)
	settings["domain"] = name
	maps.Copy(settings, issuing(issuer))
	config, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"conf/lmConf-1.json":  string(config),
		"sessions/lock/.keep": "", "persistent/lock/.keep": "",
		"lemonldap-ng.ini": fmt.Sprintf("[all]\nlogLevel = warn\n[configuration]\ntype = File\ndirName = %s/conf\n"+
			"[portal]\nstaticPrefix = /static\ntemplateDir = %s/templates\nlanguages = en\n", dir, lemonPortal),
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(plackup, "--host", host, "--port", port, "--env", "deployment", lemonPortal+"/htdocs/index.psgi")
	cmd.Env = append(os.Environ(), "LLNG_DEFAULTCONFFILE="+filepath.Join(dir, "lemonldap-ng.ini"))
	return issuer, startProcess(t, cmd, listens(address))
}

// lemonConfig is what a portal needs that issues nothing.
func lemonConfig(dir, issuer string) map[string]any {
	files := func(name string) map[string]string {
		folder := filepath.Join(dir, name)
		return map[string]string{"Directory": folder, "LockDirectory": filepath.Join(folder, "lock")}
	}
	return map[string]any{
		"cfgNum": 1, "cfgVersion": "2.16.1", "cfgDate": 1, "cfgAuthor": "a test",
		"portal": issuer + "/", "cookieName": "lemonldap", "securedCookie": 0,
		"locationRules":  map[string]any{},
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Demo", "registerDB": "Null",
		"demoExportedVars": map[string]string{"cn": "cn", "mail": "mail", "uid": "uid"},
		"globalStorage":    "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("persistent"),
		"localSessionStorage":        "Cache::FileCache",
		"localSessionStorageOptions": map[string]any{"namespace": "test", "cache_root": filepath.Join(dir, "cache"), "cache_depth": 3},
	}
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func lemonOpenID(t *testing.T, issuer, base string, secrets map[string]string) map[string]any {
	t.Helper()
	signing := newClientKey(t, "RS256")
	private, err := x509.MarshalPKCS8PrivateKey(signing.Private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(signing.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	clients, claims := map[string]any{}, map[string]any{}
	for alias, secret := range secrets {
		clients[alias] = map[string]any{
			"oidcRPMetaDataOptionsClientID":               alias,
			"oidcRPMetaDataOptionsClientSecret":           secret,
			"oidcRPMetaDataOptionsRedirectUris":           brokertest.CallbackURL(base, alias),
			"oidcRPMetaDataOptionsPostLogoutRedirectUris": base + "/broker/" + alias + "/logout_response",
			"oidcRPMetaDataOptionsLogoutBypassConfirm":    1,
			"oidcRPMetaDataOptionsBypassConsent":          1,
			"oidcRPMetaDataOptionsRequirePKCE":            1,
			"oidcRPMetaDataOptionsIDTokenSignAlg":         "RS256",
		}
		claims[alias] = map[string]string{"name": "cn", "email": "mail", "preferred_username": "uid"}
	}
	return map[string]any{
		"issuerDBOpenIDConnectActivation": 1, "oidcServiceMetaDataIssuer": issuer, "oidcServiceKeyIdSig": signing.ID,
		"oidcServicePrivateKeySig":   inPEM("PRIVATE KEY", private),
		"oidcServicePublicKeySig":    inPEM("PUBLIC KEY", public),
		"oidcRPMetaDataOptions":      clients,
		"oidcRPMetaDataExportedVars": claims,
	}
}

func TestLoginThroughLemonLDAP(t *testing.T) {
	t.Parallel()
	var issuer string
	rp := newToldApp(t)
	srv := brokertest.Start(t, func(base string) broker.Config {
		// In Basic it takes id and secret as they come, against RFC 6749 §2.3.1, and of Base64 only letters and digits.
		secrets := map[string]string{"basic": "0123456789abcdefghijklmnopqrstuv", "post": foreignSecret}
		issuer = startLemonLDAP(t, base, secrets)
		upstream := func(alias string, method oidc.AuthMethod) broker.Provider {
			return broker.Provider{Alias: alias, Logout: provider.LogoutPerform, IdP: newUpstream(t, oidc.Config{
				Issuer: issuer, ClientID: alias, ClientSecret: secrets[alias], AuthMethod: method,
			})}
		}
		return broker.Config{
			Store:      sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers:  []broker.Provider{upstream("basic", oidc.ClientSecretBasic), upstream("post", oidc.ClientSecretPost)},
			Clients:    []store.Client{rp.Client()},
			ClientHTTP: provider.HTTPOptions{InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true},
		}
	})
	rp.Connect(srv.URL)
	toLogin := func(browser *brokertest.Browser, alias string) *brokertest.Page {
		t.Helper()
		page := browser.Get(rp.LoginURL()).Click("Continue with " + alias)
		if !strings.HasPrefix(page.URL.String(), issuer) {
			t.Fatalf("at %s (status %d), want the upstream's login page:\n%s", page.URL, page.Status, page.Body)
		}
		return page
	}
	signIn := func(browser *brokertest.Browser, alias, user string) brokertest.Login {
		t.Helper()
		page := toLogin(browser, alias).Submit(url.Values{"user": {user}, "password": {user}})
		if !strings.HasPrefix(page.URL.String(), rp.Client().RedirectURIs[0]) {
			t.Fatalf("%s: at %s (status %d), want the application:\n%s", user, page.URL, page.Status, page.Body)
		}
		return rp.Login()
	}
	page := toLogin(brokertest.NewBrowser(t), "basic").Submit(url.Values{"user": {"dwho"}, "password": {"wrong"}})
	if !strings.HasPrefix(page.URL.String(), issuer) || rp.Login().Subject != "" {
		t.Errorf("with a wrong password: at %s, and the application has %v", page.URL, rp.Login())
	}
	browser := brokertest.NewBrowser(t)
	first := signIn(browser, "basic", "dwho")
	equal(t, "name", first.Claims["name"], any("Doctor Who"))
	equal(t, "e-mail address", first.Claims["email"], any("dwho@badwolf.org"))
	other := signIn(brokertest.NewBrowser(t), "post", "rtyler")
	if other.Subject == first.Subject || other.Claims["name"] != "Rose Tyler" {
		t.Errorf("somebody else: got subject %q and name %v", other.Subject, other.Claims["name"])
	}

	page = browser.Get(rp.LogoutURL(url.Values{"id_token_hint": {first.IDToken}}))
	if !strings.HasPrefix(page.URL.String(), rp.SignedOutURL()) {
		t.Errorf("after the sign-out: at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	if again := signIn(browser, "basic", "dwho"); again.Subject != first.Subject || first.Subject == "" { // it asked who is there
		t.Errorf("subject of the second login: got %q, want %q", again.Subject, first.Subject)
	}
}
