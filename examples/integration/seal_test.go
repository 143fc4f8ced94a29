package integration

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/seal"
	"github.com/go-idbroker/idbroker/store/sqlstore"
	"github.com/go-idbroker/idbroker/store/storetest"
)

func sealed(t testing.TB, s store.Store) *seal.Store {
	t.Helper()
	keys, err := seal.FromSecrets(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(keys).Store(s)
}

// The conformance kit finds the same store behind the seal.
func TestSQLiteSealed(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) (store.Store, func(time.Duration)) {
		s, forward := stoppedClock(sqlstore.New(openSQLite(t, newFile(t)+pragmas)))
		return sealed(t, s), forward
	})
}

// After a login with everything on, the file of the database has no secret in it: none that the browser holds, none of the
// application, none of the upstream, and none of the user.
func TestSQLiteFileHasNoSecrets(t *testing.T) {
	t.Parallel()
	dsn := newFile(t)
	db := openSQLite(t, dsn+pragmas)
	kept := sqlstore.New(db)
	secret, rp := []byte(rand.Text()+rand.Text()), brokertest.NewRelyingParty(t)
	op := providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Demo", AutoLogin: "alice", Users: []providertest.User{
		{Subject: "alice", Username: "alice", Email: "alice@example.com", EmailVerified: true, Name: "Alice Liddell"},
		{Subject: "twin", Username: "alice", Email: "twin@example.com", Name: "Twin"}, // has to choose another name: a login that pauses
	}})
	server := brokertest.Start(t, func(base string) broker.Config {
		up := op.Register(providertest.Client{ID: "demo", RedirectURIs: []string{brokertest.CallbackURL(base, "demo")},
			PostLogoutRedirectURIs: []string{base + "/broker/demo/logout_response"}})
		idp, err := oidc.New(oidc.Config{Issuer: op.Issuer(), ClientID: up.ID, ClientSecret: up.Secret,
			InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true})
		if err != nil {
			t.Fatal(err)
		}
		return broker.Config{
			BaseURL: base, Secrets: [][]byte{secret}, Store: kept, ClientStore: kept, Credentials: kept, Fences: kept,
			Providers: []broker.Provider{{Alias: "demo", Name: "Demo", IdP: idp}},
		}
	})
	client := rp.Client()
	client.Scopes = []string{"openid", "offline_access"}
	client.Grants = []string{store.GrantTypeCode, store.GrantTypeRefresh, store.GrantTypeDevice}
	if err := server.Broker.PutClient(t.Context(), &client); err != nil {
		t.Fatal(err)
	}
	rp.Connect(server.URL)
	clientSecret := string(rp.Client().Secrets[0])
	post := func(path string, form url.Values) map[string]any {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(client.ID, url.QueryEscape(clientSecret))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		fields := map[string]any{}
		if err := json.NewDecoder(answer.Body).Decode(&fields); err != nil || answer.StatusCode > 201 {
			t.Fatalf("%s: status %d, %v, %v", path, answer.StatusCode, fields, err)
		}
		return fields
	}

	b := brokertest.NewBrowser(t)
	b.Get(server.Origin + "/").Click("Demo")
	verifier := oauth2.GenerateVerifier()
	pushed := post("/par", url.Values{"response_type": {"code"}, "client_id": {client.ID}, "redirect_uri": {client.RedirectURIs[0]},
		"scope": {"openid offline_access"}, "state": {"s"}, "login_hint": {"hint for the upstream"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"}})
	code := b.Get(server.URL + "/authorize?client_id=" + client.ID + "&request_uri=" + url.QueryEscape(pushed["request_uri"].(string))).
		URL.Query().Get("code")
	tokens := post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {client.RedirectURIs[0]}, "code_verifier": {verifier}})
	refreshed := post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}})
	again := post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens["refresh_token"].(string)}})
	if again["refresh_token"] != refreshed["refresh_token"] {
		t.Fatal("a refresh that was repeated had another answer: it was not kept")
	}
	device := post("/device_authorization", url.Values{"client_id": {client.ID}, "scope": {"openid"}})
	op.LoginAs("twin")
	paused := brokertest.NewBrowser(t)
	paused.Get(server.Origin + "/").Click("Demo")
	found, err := kept.FindUsers(t.Context(), store.UserQuery{Username: "alice"})
	if err != nil || len(found) != 1 {
		t.Fatalf("users: %v, %v", found, err)
	}
	keys, err := seal.FromSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal.New(keys).Store(kept)
	for _, kind := range []store.CredentialKind{store.CredentialPassword, store.CredentialTOTP, store.CredentialRecovery} {
		if err := sealed.CreateCredential(t.Context(), &store.Credential{ID: rand.Text(), UserID: found[0].ID, Kind: kind,
			Secret: []byte("$argon2id$ a secret of the user")}); err != nil {
			t.Fatal(err)
		}
	}
	sessions, err := sealed.FindSessions(t.Context(), store.SessionQuery{UserID: found[0].ID})
	if err != nil || len(sessions) == 0 || !bytes.HasPrefix(sessions[0].UpstreamIDToken, []byte("eyJ")) {
		t.Fatalf("the session has no ID token of the upstream: %+v, %v", sessions, err)
	}
	signing, err := sealed.Keys(t.Context())
	if err != nil || len(signing) == 0 {
		t.Fatalf("signing keys: %v, %v", signing, err)
	}

	secrets := map[string]string{
		"Config.Secrets": string(secret), "the client's secret": clientSecret, "a JWT": "eyJ", "the user's credentials": "$argon2id$",
		"a hint of a request":    "hint for the upstream",
		"the upstream's session": string(sessions[0].UpstreamIDToken[:40]),
	}
	for _, k := range signing {
		secrets["private key "+k.ID] = string(k.Private[len(k.Private)/2:])
	}
	for name, value := range map[string]any{
		"code": code, "access token": tokens["access_token"], "refresh token": tokens["refresh_token"],
		"next refresh token": refreshed["refresh_token"], "request_uri": pushed["request_uri"], "device code": device["device_code"],
		"user code": device["user_code"],
	} {
		text := value.(string)
		secrets[name] = text[len(text)-min(len(text), 20):] // without an id or a prefix
	}
	for _, browser := range []*brokertest.Browser{b, paused} {
		for name, value := range browser.Cookies(server.URL) {
			secrets["cookie "+name] = value[len(value)-min(len(value), 20):]
		}
	}
	if len(secrets) < 17 {
		t.Errorf("only %d secrets are looked for", len(secrets))
	}
	raw := database(t, db, strings.TrimPrefix(dsn, "file:"))
	for name, value := range secrets {
		if bytes.Contains(raw, []byte(value)) || bytes.Contains(raw, []byte(base64.StdEncoding.EncodeToString([]byte(value)))[:len(value)]) {
			t.Errorf("%s is in the file: %.12q…", name, value)
		}
	}
	for _, there := range []string{"alice@example.com", client.ID, "idb\x01"} { // the right file was read
		if !bytes.Contains(raw, []byte(there)) {
			t.Errorf("%q is not in the file", there)
		}
	}
}

// database returns all bytes of a database's files.
func database(t *testing.T, db *sql.DB, file string) []byte {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "PRAGMA wal_checkpoint(FULL)"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(file + "-wal")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return append(raw, wal...)
}
