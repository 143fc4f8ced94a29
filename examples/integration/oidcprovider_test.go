package integration

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/token"
)

// The certified npm package oidc-provider as the upstream: broker and store are real, and so is the application.

//go:embed testdata/oidc-provider.mjs
var oidcProviderScript string

const foreignSecret = "a secret with: % + - and /"

// A foreign is a broker whose upstream is oidc-provider, and an application.
type foreign struct {
	op  *process
	srv *brokertest.Server
	rp  *brokertest.RelyingParty
}

// startForeign starts everything. registered is what oidc-provider knows about the broker as its client, without
// redirect_uris and jwks_uri; ours is what the broker knows about oidc-provider, without Issuer.
func startForeign(t *testing.T, registered map[string]any, ours oidc.Config) *foreign {
	t.Helper()
	requireNode(t, "oidc-provider")
	f := &foreign{rp: brokertest.NewRelyingParty(t)}
	f.srv = brokertest.Start(t, func(base string) broker.Config {
		registered["redirect_uris"] = []string{brokertest.CallbackURL(base, "foreign")}
		registered["jwks_uri"] = brokertest.CallbackURL(base, "foreign") + "/descriptor" // fetched if a key is needed
		config, err := json.Marshal(map[string]any{"clients": []any{registered}})
		if err != nil {
			t.Fatal(err)
		}
		f.op = startNode(t, "oidc-provider", oidcProviderScript, prints("issuer "), string(config))
		ours.Issuer = regexp.MustCompile(`issuer (\S+)\.`).FindStringSubmatch(f.op.output())[1]
		ours.ClientID = "broker"
		ours.RequireResponseIssuer = true
		ours.InsecureAllowHTTP, ours.InsecureAllowPrivateNetworks = true, true
		idp, err := oidc.New(ours)
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			Store:     sqlstore.New(openSQLite(t, newFile(t)+pragmas)),
			Providers: []broker.Provider{{Alias: "foreign", Name: "Foreign", IdP: idp, TrustEmail: true}},
			Clients:   []store.Client{f.rp.Client()},
		}
	})
	f.rp.Connect(f.srv.URL)
	return f
}

// toConsent goes with a new browser from the application to the upstream's page that asks for consent.
func (f *foreign) toConsent(t *testing.T, who string) *brokertest.Page {
	t.Helper()
	page := brokertest.NewBrowser(t).Get(f.rp.LoginURL()).Click("Continue with Foreign")
	if !strings.Contains(page.Body, "Sign-in") {
		t.Fatalf("at %s (status %d), want the upstream's login page:\n%s", page.URL, page.Status, page.Body)
	}
	return page.Submit(url.Values{"login": {who}, "password": {"any"}})
}

// login goes all the way and returns what the application got.
func (f *foreign) login(t *testing.T, who string) brokertest.Login {
	t.Helper()
	page := f.toConsent(t, who).Submit(nil)
	if page.Status != http.StatusOK || !strings.HasPrefix(f.rp.LoginURL(), "http://"+page.URL.Host) {
		t.Fatalf("after consent: at %s (status %d), want the application:\n%s", page.URL, page.Status, page.Body)
	}
	return f.rp.Login()
}

func newClientKey(t *testing.T, algorithm string) token.Key {
	t.Helper()
	private, err := token.GenerateKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	id, err := token.KeyID(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return token.Key{ID: id, Algorithm: algorithm, Generation: 1, Private: private}
}

// publicSet is a client's key as others register it who do not fetch it.
func publicSet(t *testing.T, key token.Key) json.RawMessage {
	t.Helper()
	ring, err := token.NewRing(token.Schedule{}, key)
	if err != nil {
		t.Fatal(err)
	}
	document, _ := ring.JWKS(time.Now())
	return document
}

func TestLoginThroughOIDCProvider(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, auth, keyAlg, idTokenAlg, userInfoAlg string }{
		{"secret, RS256", "client_secret_basic", "", "RS256", ""},
		{"secret, ES256", "client_secret_basic", "", "ES256", ""},
		{"secret in the form", "client_secret_post", "", "ES256", ""},
		{"ES256 key, RS256", "private_key_jwt", "ES256", "RS256", ""},
		{"RS256 key, ES256", "private_key_jwt", "RS256", "ES256", ""},
		{"PS256 key, EdDSA, userinfo EdDSA", "private_key_jwt", "PS256", "EdDSA", "EdDSA"},
		{"EdDSA key, PS256, userinfo ES256", "private_key_jwt", "EdDSA", "PS256", "ES256"},
		{"secret, ES256, userinfo PS256", "client_secret_basic", "", "ES256", "PS256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			registered := map[string]any{
				"client_id": "broker", "token_endpoint_auth_method": test.auth, "id_token_signed_response_alg": test.idTokenAlg,
			}
			// What the upstream may sign with is narrowed to what it was told to, so that it must have obeyed.
			ours := oidc.Config{AuthMethod: oidc.AuthMethod(test.auth), SigningAlgs: []string{test.idTokenAlg}}
			if test.userInfoAlg != "" {
				registered["userinfo_signed_response_alg"] = test.userInfoAlg
				ours.SigningAlgs, ours.RequireSignedUserInfo = append(ours.SigningAlgs, test.userInfoAlg), true
			}
			if test.keyAlg == "" {
				registered["client_secret"], ours.ClientSecret = foreignSecret, foreignSecret
			} else {
				ours.ClientKey = newClientKey(t, test.keyAlg)
				registered["token_endpoint_auth_signing_alg"] = test.keyAlg
			}
			f := startForeign(t, registered, ours)

			first := f.login(t, "frida")
			for claim, want := range map[string]any{
				"name": "frida of oidc-provider", "preferred_username": "frida", "email": "frida@foreign.example",
				"email_verified": true, "identity_provider": "foreign", "sub": first.Subject,
			} {
				if got := first.Claims[claim]; got != want {
					t.Errorf("claim %s: got %v, want %v", claim, got, want)
				}
			}
			if again := f.login(t, "frida"); again.Subject != first.Subject || first.Subject == "" {
				t.Errorf("subject of the second login: got %q, want %q", again.Subject, first.Subject)
			}
			if other := f.login(t, "gustav"); other.Subject == first.Subject || other.Claims["email"] != "gustav@foreign.example" {
				t.Errorf("somebody else: got subject %q and e-mail %v", other.Subject, other.Claims["email"])
			}
			for _, want := range []string{"authorized with nonce true, state true, PKCE S256", "redeemed with " + test.auth} {
				if got := strings.Count(f.op.output(), want); got != 3 {
					t.Errorf("the upstream printed %q %d times, want 3:\n%s", want, got, f.op.output())
				}
			}
		})
	}
}

// Encrypted ID tokens and userinfo, to the keys that oidc-provider fetches from the broker.
func TestEncryptedLoginThroughOIDCProvider(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, alg, enc, userInfoAlg string }{
		{"RSA-OAEP-256, A256GCM", "RSA-OAEP-256", "A256GCM", "ES256"},
		{"RSA-OAEP, A128GCM", "RSA-OAEP", "A128GCM", "ES256"},
		{"ECDH-ES, A128CBC-HS256", "ECDH-ES", "A128CBC-HS256", "RS256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			registered := map[string]any{
				"client_id": "broker", "token_endpoint_auth_method": "private_key_jwt",
				"id_token_signed_response_alg":    "ES256",
				"id_token_encrypted_response_alg": test.alg, "id_token_encrypted_response_enc": test.enc,
				"userinfo_encrypted_response_alg": test.alg, "userinfo_encrypted_response_enc": test.enc,
				"userinfo_signed_response_alg": test.userInfoAlg,
			}
			kind := token.RS256
			if strings.HasPrefix(test.alg, "ECDH") {
				kind = token.ES256
			}
			decrypt := newClientKey(t, kind)
			decrypt.Algorithm = test.alg
			f := startForeign(t, registered, oidc.Config{
				ClientKey: newClientKey(t, token.ES256), SigningAlgs: []string{"ES256", "RS256"},
				DecryptionKeys: []token.Key{decrypt}, ContentEncryption: []string{test.enc},
				RequireEncryptedIDToken: true, RequireEncryptedUserInfo: true,
			})
			if got := f.login(t, "frida"); got.Claims["email"] != "frida@foreign.example" || got.Subject == "" {
				t.Errorf("got error %q and claims %v, want frida's", got.Error, got.Claims)
			}
		})
	}
}

func TestRefusalAtOIDCProvider(t *testing.T) {
	t.Parallel()
	f := startForeign(t, map[string]any{"client_id": "broker", "client_secret": foreignSecret},
		oidc.Config{ClientSecret: foreignSecret, SigningAlgs: []string{"RS256"}})
	toLogin := func() *brokertest.Page {
		return brokertest.NewBrowser(t).Get(f.rp.LoginURL()).Click("Continue with Foreign")
	}
	toConsent := func() *brokertest.Page { return f.toConsent(t, "frida") }
	for name, begin := range map[string]func() *brokertest.Page{"instead of signing in": toLogin, "instead of consenting": toConsent} {
		refuse := func() *brokertest.Page {
			page := begin().Click("Cancel")
			if !strings.HasPrefix(page.URL.String(), f.srv.URL+"/authorize?") || page.Status != http.StatusOK ||
				!strings.Contains(page.Body, `role="alert"`) {
				t.Fatalf("%s: at %s (status %d), want the login page with a notice:\n%s", name, page.URL, page.Status, page.Body)
			}
			return page
		}
		refuse().Click("Back to Test App")
		if got := f.rp.Login().Error; got != "access_denied" {
			t.Errorf("%s, then back: the application got error %q, want access_denied", name, got)
		}
		page := refuse().Click("Continue with Foreign")
		for strings.Contains(page.URL.Path, "/interaction/") {
			page = page.Submit(url.Values{"login": {"frida"}, "password": {"any"}})
		}
		if got := f.rp.Login(); got.Error != "" || got.Claims["preferred_username"] != "frida" {
			t.Errorf("%s, then again: the application got error %q and claims %v, want frida's", name, got.Error, got.Claims)
		}
	}
}

func TestOIDCProviderDoesNotKnowTheSecret(t *testing.T) {
	t.Parallel()
	f := startForeign(t, map[string]any{"client_id": "broker", "client_secret": foreignSecret},
		oidc.Config{ClientSecret: foreignSecret + "x"})
	page := f.toConsent(t, "frida").Submit(nil)
	if page.Status != http.StatusBadGateway || !strings.Contains(page.Body, "not set up correctly") {
		t.Errorf("got status %d, want %d and a page that says why:\n%s", page.Status, http.StatusBadGateway, page.Body)
	}
	if got := f.rp.Login(); got.Subject != "" || strings.Contains(page.Body, foreignSecret) {
		t.Errorf("the application got subject %q, want none", got.Subject)
	}
}
