package providertest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// SAMLConfig says what a [SAML] provider is. The zero value is useful with [StartSAML]: two users, a login page, RS256.
type SAMLConfig struct {
	// URL is where the provider is mounted, path included. [NewSAML] requires it; [StartSAML] puts its listener's address
	// before it, so that it is "" or a path there. Its entity id is URL + "/metadata", which is where its metadata is.
	URL    string
	Name   string // of the provider, on its pages; "" is "Demo Provider"
	Accent string // colour of its pages, "#rrggbb"; "" is a blue

	// Users are those who can log in. If nil, there are alice and bob. A user's attributes are mail, uid, givenName, sn,
	// displayName, groups and all Claims that are a string or a []string.
	Users     []User
	Providers []SAMLServiceProvider // more can be added with [SAML.Register]

	// AutoLogin names a user (by subject, username or e-mail address) who logs in at once, without a page. "" shows the
	// page. [SAML.LoginAs] changes it.
	AutoLogin string

	// Alg signs: RS256, RS384, RS512, ES256, ES384 or ES512, of JSON's names, as XML Signature has them; "" is RS256.
	Alg string
	// SignMetadata signs the metadata with the signing key.
	SignMetadata bool
	// Federation publishes the metadata as one of several in an EntitiesDescriptor.
	Federation bool
	// OmitSessionIndex leaves the name of the session out of assertions and of logout requests.
	OmitSessionIndex bool
	// LaxRequests takes requests without a signature from a service provider that has certificates.
	LaxRequests bool
	Now         func() time.Time // nil is time.Now
}

// SAMLSign says what is signed. The zero value signs the assertion.
type SAMLSign string

// What is signed.
const (
	SAMLSignAssertion SAMLSign = "assertion"
	SAMLSignResponse  SAMLSign = "response"
	SAMLSignBoth      SAMLSign = "both"
)

// A SAMLServiceProvider is known to a [SAML] provider. EntityID and an ACS are required.
type SAMLServiceProvider struct {
	EntityID string
	Name     string // on the provider's pages; "" is EntityID
	// ACS are the AssertionConsumerService URLs that a request may name, exactly; the first one is the default.
	ACS []string
	// Logout is its SingleLogoutService, for both bindings; "" if it takes no part in single logout.
	Logout string
	// LogoutByPost sends messages about logout by HTTP-POST in place of HTTP-Redirect.
	LogoutByPost bool
	// Certificates are those by whose keys it signs. A request must then be signed; without them no request about
	// logout or artifact is answered.
	Certificates []*x509.Certificate
	// EncryptTo is for whom assertions are encrypted; nil encrypts nothing.
	EncryptTo  *x509.Certificate
	Encryption SAMLEncryption
	Sign       SAMLSign
}

// SAMLHooks edit what the provider says, for what has no setting. A nil hook edits nothing. They run concurrently if
// requests do.
type SAMLHooks struct {
	// Response edits the document of a response before it is signed or encrypted.
	Response func(xml string) string
	// Metadata edits the metadata before it is signed.
	Metadata func(xml string) string
}

// SAML is a SAML 2.0 identity provider: an [http.Handler] that speaks the profiles Web Browser SSO, Artifact Resolution
// and Single Logout, and checks what it is sent: signature, destination, age, replay, and that the answer goes to an
// address which is registered. It keeps everything in memory and is safe for concurrent use.
type SAML struct {
	cfg    SAMLConfig
	look   look
	cookie string
	mux    http.Handler
	alg    xmlAlg

	mu        sync.Mutex
	auto      string
	hooks     SAMLHooks
	users     []User
	sps       map[string]SAMLServiceProvider
	signing   *certKey
	next      *certKey // announced
	old       []*certKey
	stranger  *certKey // never published: what a forger has
	logins    map[string]*samlLogin
	sessions  map[string]*samlSession // by the value of the cookie
	artifacts map[string]samlArtifact
	seen      map[string]bool // ids of requests
	partings  map[string]*samlParting
	requests  []SAMLRequest
}

// NewSAML returns a provider that serves cfg.URL. A program that wants a demonstration provider mounts it on a listener
// of its own; tests use [StartSAML].
func NewSAML(cfg SAMLConfig) (*SAML, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("providertest: URL %q is not an http or https URL without query and fragment", cfg.URL)
	}
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	if cfg.Accent == "" {
		cfg.Accent = "#2f5bd8"
	}
	if !accentForm.MatchString(cfg.Accent) {
		return nil, fmt.Errorf("providertest: accent %q is not a colour #rrggbb", cfg.Accent)
	}
	if cfg.Name == "" {
		cfg.Name = "Demo Provider"
	}
	if cfg.Alg == "" {
		cfg.Alg = "RS256"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Users == nil {
		cfg.Users = defaultUsers()
	}
	alg, ok := xmlAlgs[cfg.Alg]
	if !ok {
		return nil, fmt.Errorf("providertest: no signing algorithm %q", cfg.Alg)
	}
	name := sha256.Sum256([]byte(cfg.URL))
	i := &SAML{
		cfg: cfg, look: look{cfg.Name, cfg.URL, cfg.Accent}, cookie: "saml_" + hex.EncodeToString(name[:6]), alg: alg, auto: cfg.AutoLogin,
		sps: map[string]SAMLServiceProvider{}, logins: map[string]*samlLogin{}, sessions: map[string]*samlSession{},
		artifacts: map[string]samlArtifact{}, seen: map[string]bool{}, partings: map[string]*samlParting{},
	}
	if i.signing, err = i.newKey(); err != nil {
		return nil, err
	}
	for _, user := range cfg.Users {
		i.SetUser(user)
	}
	for _, sp := range cfg.Providers {
		if err := i.register(sp); err != nil {
			return nil, err
		}
	}
	if _, ok := i.user(cfg.AutoLogin); !ok && cfg.AutoLogin != "" {
		return nil, fmt.Errorf("providertest: AutoLogin: no user %q", cfg.AutoLogin)
	}
	i.mux = i.routes(strings.TrimSuffix(u.Path, "/"))
	return i, nil
}

// StartSAML serves a provider on a loopback address until the test has ended.
func StartSAML(t testing.TB, cfg SAMLConfig) *SAML {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	cfg.URL = "http://" + server.Listener.Addr().String() + cfg.URL
	idp, err := NewSAML(cfg)
	if err != nil {
		server.Listener.Close()
		t.Fatal(err)
	}
	server.Config.Handler = idp
	server.Start()
	t.Cleanup(func() { stop(server) })
	return idp
}

func (i *SAML) routes(prefix string) http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{"GET ", "POST "} {
		mux.HandleFunc(method+prefix+"/sso", i.sso)
		mux.HandleFunc(method+prefix+"/slo", i.slo)
	}
	mux.HandleFunc("GET "+prefix+"/metadata", i.metadata)
	mux.HandleFunc("GET "+prefix+"/login", i.login)
	mux.HandleFunc("POST "+prefix+"/login", i.login)
	mux.HandleFunc("GET "+prefix+"/start", i.start)
	mux.HandleFunc("GET "+prefix+"/logout", i.logout)
	mux.HandleFunc("POST "+prefix+"/artifact", i.resolve)
	mux.HandleFunc("GET "+prefix+"/style.css", func(w http.ResponseWriter, _ *http.Request) { i.look.style(w) })
	mux.HandleFunc("GET "+prefix+"/submit.js", func(w http.ResponseWriter, _ *http.Request) { i.look.submit(w) })
	return mux
}

// ServeHTTP serves everything below the URL's path, which must still be part of the request's.
func (i *SAML) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	i.mux.ServeHTTP(w, r)
}

// EntityID returns the provider's name, which is also the URL of its metadata.
func (i *SAML) EntityID() string { return i.cfg.URL + "/metadata" }

// SSO returns the URL of the single sign-on service, for both bindings.
func (i *SAML) SSO() string { return i.cfg.URL + "/sso" }

// SLO returns the URL of the single logout service, for both bindings.
func (i *SAML) SLO() string { return i.cfg.URL + "/slo" }

// Artifacts returns the URL of the artifact resolution service.
func (i *SAML) Artifacts() string { return i.cfg.URL + "/artifact" }

// StartURL returns the page from which a user signs in at a service provider that did not ask ("IdP-initiated").
func (i *SAML) StartURL(entityID, relayState string) string {
	return i.cfg.URL + "/start?" + url.Values{"sp": {entityID}, "target": {relayState}}.Encode()
}

// LogoutURL returns the page on which a user signs out here and, by way of the browser, at every service provider.
func (i *SAML) LogoutURL() string { return i.cfg.URL + "/logout" }

// SetUser adds a user, or changes the one with the same subject.
func (i *SAML) SetUser(u User) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users = withUser(i.users, u)
}

func (i *SAML) user(name string) (User, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return findUser(i.users, name)
}

// LoginAs changes who logs in without a page from now on: a user's subject, username or e-mail address; "" shows the
// page. It panics if there is no such user.
func (i *SAML) LoginAs(user string) {
	if _, ok := i.user(user); !ok && user != "" {
		panic(fmt.Sprintf("providertest: no user %q", user))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.auto = user
}

// Edit replaces the hooks; Edit(SAMLHooks{}) removes them.
func (i *SAML) Edit(h SAMLHooks) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hooks = h
}

// Register adds a service provider, or changes the one with the same entity id. It panics if sp cannot be one.
func (i *SAML) Register(sp SAMLServiceProvider) {
	if err := i.register(sp); err != nil {
		panic(err)
	}
}

func (i *SAML) register(sp SAMLServiceProvider) error {
	if sp.EntityID == "" || len(sp.ACS) == 0 {
		return errors.New("providertest: a service provider needs an EntityID and an ACS")
	}
	for _, address := range append(slices.Clone(sp.ACS), sp.Logout) {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("providertest: %q is not an http or https URL", address)
		}
	}
	switch sp.Sign {
	case "":
		sp.Sign = SAMLSignAssertion
	case SAMLSignAssertion, SAMLSignResponse, SAMLSignBoth:
	default:
		return fmt.Errorf("providertest: Sign is %q", sp.Sign)
	}
	if err := sp.Encryption.check(); err != nil {
		return err
	}
	sp.ACS, sp.Certificates = slices.Clone(sp.ACS), slices.Clone(sp.Certificates)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sps[sp.EntityID] = sp
	return nil
}

func (i *SAML) sp(entityID string) (SAMLServiceProvider, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	sp, ok := i.sps[entityID]
	return sp, ok
}

func (i *SAML) newKey() (*certKey, error) {
	return newCertKey("signing key of "+i.cfg.Name, i.alg.curve, 2048, i.cfg.Now())
}

func (i *SAML) mustKey(have **certKey) *certKey {
	if *have == nil {
		k, err := i.newKey()
		if err != nil {
			panic(err) // the system has no random numbers
		}
		*have = k
	}
	return *have
}

// AnnounceKeys publishes the key that [SAML.RotateKeys] will sign with next.
func (i *SAML) AnnounceKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mustKey(&i.next)
}

// RotateKeys signs with another key from now on, the announced one if there is one. The old keys stay published until
// [SAML.RetireKeys].
func (i *SAML) RotateKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	next := i.mustKey(&i.next)
	i.old = append(i.old, i.signing)
	i.signing, i.next = next, nil
}

// RetireKeys stops publishing the keys that no longer sign.
func (i *SAML) RetireKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.old = nil
}

// Certificates returns those that are published, that of the key which signs first.
func (i *SAML) Certificates() []*x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	certs := []*x509.Certificate{i.signing.cert}
	if i.next != nil {
		certs = append(certs, i.next.cert)
	}
	for _, k := range i.old {
		certs = append(certs, k.cert)
	}
	return certs
}

// signer is how the provider signs now.
func (i *SAML) signer() signing {
	i.mu.Lock()
	defer i.mu.Unlock()
	return signing{i.signing, i.alg, i.signing.cert}
}

func (i *SAML) hook() SAMLHooks {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hooks
}

// A SAMLRequest is a message that the provider received and what came of it. It is for reading.
type SAMLRequest struct {
	Kind       string // "AuthnRequest", "LogoutRequest", "LogoutResponse" or "ArtifactResolve"; "" if that was not to be seen
	Binding    string // "HTTP-Redirect", "HTTP-POST" or "SOAP"
	XML        string
	RelayState string
	Error      string // why it was refused; "" if it was not
}

// Requests returns what was received, of one kind or, if that is "", of all, oldest first. It keeps the latest thousands.
func (i *SAML) Requests(kind string) []SAMLRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	var got []SAMLRequest
	for _, r := range i.requests {
		if kind == "" || r.Kind == kind {
			got = append(got, r)
		}
	}
	return got
}

func (i *SAML) note(m *samlInbound, err error) {
	r := SAMLRequest{Binding: m.binding, XML: m.text, RelayState: m.relayState}
	if m.root != nil {
		r.Kind = m.root.Tag
	}
	if err != nil {
		r.Error = err.Error()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.requests) >= maxRequests {
		i.requests = slices.Delete(i.requests, 0, maxRequests/2)
	}
	i.requests = append(i.requests, r)
}

func (i *SAML) failPage(w http.ResponseWriter, status int, message string) {
	i.look.render(w, status, page{Kind: "fail", Message: message})
}

// attributes are those of an assertion about u, in the order of their names.
func (u User) attributes() []samlAttribute {
	values := map[string][]string{}
	for name, value := range map[string]string{
		"mail": u.Email, "uid": u.Username, "givenName": u.GivenName, "sn": u.FamilyName, "displayName": u.display(),
	} {
		if value != "" {
			values[name] = []string{value}
		}
	}
	if len(u.Groups) > 0 {
		values["groups"] = u.Groups
	}
	for name, claim := range u.Claims {
		switch claim := claim.(type) {
		case string:
			values[name] = []string{claim}
		case []string:
			values[name] = claim
		}
	}
	var all []samlAttribute
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, samlAttribute{name, values[name]})
	}
	return all
}

type samlAttribute struct {
	name   string
	values []string
}

// prune keeps maps from growing while a demonstration runs for weeks.
func prune[K comparable, V any](m map[K]V) {
	if len(m) > maxRequests {
		clear(m)
	}
}

func samlSecret() string { return rand.Text() }
