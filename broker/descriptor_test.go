package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/token"
)

// encrypting returns a world whose provider "demo" encrypts all that it says to the keys that the broker publishes.
func encrypting(t testing.TB) *world {
	t.Helper()
	private, err := token.GenerateKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, signsOut)
	client := providertest.Client{
		ID: "demo", Secret: "a secret of the broker at the provider", RedirectURIs: []string{brokertest.CallbackURL(w.base, "demo")},
		BackchannelLogoutURI: w.base + "/broker/demo/backchannel_logout",
		UserInfoAlg:          "ES256",
	}
	idp, err := oidc.New(oidc.Config{
		Issuer: w.op.Issuer(), ClientID: client.ID, ClientSecret: client.Secret, Now: w.clock,
		InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		DecryptionKeys:          []token.Key{{ID: "d1", Algorithm: "ECDH-ES+A256KW", Private: private}},
		RequireEncryptedIDToken: true, RequireEncryptedUserInfo: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.reconfigure(func(c *broker.Config) {
		signsOut(c)
		c.Providers[0].IdP = idp
	})
	client.EncryptionAlg = "ECDH-ES+A256KW"
	client.JWKS = []byte(send(t, http.MethodGet, descriptorURL(w, "demo"), nil, nil).text)
	w.op.Register(client)
	return w
}

func descriptorURL(w *world, alias string) string {
	return w.URL + "/broker/" + alias + "/endpoint/descriptor"
}

// Row 48 of the behaviours, through a whole login and a logout.
func TestEncryptedUpstream(t *testing.T) {
	t.Parallel()
	w := encrypting(t)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	if login.Claims["email"] != "alice@example.com" || login.Claims["identity_provider"] != "demo" {
		t.Errorf("claims %v", login.Claims)
	}
	w.wantTaken(t, providertest.Logout{Subject: "alice"})
	w.wantSignedOut(t, b, login, 0)
}

// Each way in which an upstream's encryption can be wrong, through a whole login: nobody gets in, nothing is kept, and the
// page says the same, however far it came.
func TestEncryptionFaults(t *testing.T) {
	t.Parallel()
	w := encrypting(t)
	b := brokertest.NewBrowser(t)
	login := w.enter(b, w.rp)
	for _, fault := range providertest.EncryptionFaults() {
		w.op.Break(fault)
		page := brokertest.NewBrowser(t).Get(w.rp.LoginURL()).Click("Demo")
		shows(t, page, http.StatusBadGateway, "We could not verify the answer")
		if strings.Contains(page.Body, `"Subject"`) || w.sessions() != 1 {
			t.Errorf("%s: %d sessions, want the one of before\n%s", fault, w.sessions(), page.Body)
		}
		if fault == providertest.EncryptionAbsent {
			continue // a logout token need not be
		}
		l := providertest.Logout{Client: "demo", Subject: "alice", Session: w.upstreamSession(login)}
		wantRejected(t, w.sendLogout(t, w.op, "demo", w.op.LogoutToken(l)), http.StatusBadRequest, "invalid_request")
		if !w.signedIn(b) {
			t.Fatalf("%s: the session has ended", fault)
		}
	}
}

// What an upstream fetches about the broker: from a provider that has something and may be used, and from nobody else.
func TestDescriptor(t *testing.T) {
	t.Parallel()
	w := encrypting(t)
	r := send(t, http.MethodGet, descriptorURL(w, "demo"), nil, nil)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(r.text), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["use"] != "enc" || set.Keys[0]["d"] != "" {
		t.Errorf("published %s, %v", r.text, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	wants := func(alias string, status int) {
		t.Helper()
		if r := send(t, http.MethodGet, descriptorURL(w, alias), nil, nil); r.StatusCode != status || strings.Contains(r.text, `"keys"`) {
			t.Errorf("%s: status %d, want %d: %s", alias, r.StatusCode, status, r.text)
		}
	}
	wants("other", http.StatusNotFound) // has no keys
	wants("nobody", http.StatusNotFound)
	if r := send(t, http.MethodPost, descriptorURL(w, "demo"), nil, nil); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("by POST: status %d", r.StatusCode)
	}

	p := &publisher{body: "<md/>"}
	serve := func(edit func(*broker.Provider)) {
		w.reconfigure(func(c *broker.Config) {
			p.IdentityProvider = c.Providers[0].IdP
			c.Providers[0].IdP = p
			edit(&c.Providers[0])
		})
	}
	serve(func(*broker.Provider) {})
	r = send(t, http.MethodGet, descriptorURL(w, "demo"), nil, nil)
	if r.text != "<md/>" || r.Header.Get("Content-Type") != "application/samlmetadata+xml" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("published %s with %v", r.text, r.Header)
	}
	at := brokertest.CallbackURL(w.base, "demo")
	want := provider.DescriptorRequest{URL: descriptorURL(w, "demo"), RedirectURI: at, LogoutURI: at + "/logout"}
	if p.asked != want {
		t.Errorf("asked %+v, want %+v", p.asked, want)
	}
	p.err = errors.New("the reason is secret")
	if r := send(t, http.MethodGet, descriptorURL(w, "demo"), nil, nil); r.StatusCode != http.StatusInternalServerError ||
		strings.Contains(r.text, "secret") {
		t.Errorf("failing: status %d %s", r.StatusCode, r.text)
	}
	p.err = nil
	serve(func(p *broker.Provider) { p.Disabled = true })
	wants("demo", http.StatusNotFound)
	serve(func(p *broker.Provider) { p.LinkOnly = true }) // it still needs the keys
	wants("demo", http.StatusOK)
}

type publisher struct {
	provider.IdentityProvider
	body  string
	err   error
	asked provider.DescriptorRequest
}

func (p *publisher) Descriptor(_ context.Context, r provider.DescriptorRequest) (*provider.Descriptor, error) {
	p.asked = r
	return &provider.Descriptor{ContentType: "application/samlmetadata+xml", Body: []byte(p.body), MaxAge: time.Millisecond}, p.err
}
