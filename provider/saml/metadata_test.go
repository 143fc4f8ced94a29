package saml_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// descriptor is an identity provider's metadata.
type descriptor struct {
	entity string
	attrs  string // of the EntityDescriptor
	role   string // attributes of the role
	keys   string
	more   string
	sso    string
}

func keyDescriptor(use string, keys ...saml.Key) string {
	s := `<md:KeyDescriptor` + use + `><ds:KeyInfo xmlns:ds="` + dsig.Namespace + `">`
	for _, k := range keys {
		s += `<ds:X509Data><ds:X509Certificate>` + base64Of(k.Certificate.Raw) + `</ds:X509Certificate></ds:X509Data>`
	}
	return s + `</ds:KeyInfo></md:KeyDescriptor>`
}

const signing, encryptionUse = ` use="signing"`, ` use="encryption"`

func (d descriptor) String() string {
	if d.entity == "" {
		d.entity = idpEntity
	}
	if d.keys == "" {
		d.keys = keyDescriptor(signing, idpKey())
	}
	if d.sso == "" {
		d.sso = ssoAt(ssoURL)
	}
	return `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + d.entity + `"` + d.attrs +
		`><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"` + d.role + `>` + d.keys +
		`<md:SingleLogoutService Binding="` + string(saml.HTTPRedirect) + `" Location="` + sloURL + `"/>` + d.more + d.sso +
		`</md:IDPSSODescriptor></md:EntityDescriptor>`
}

func ssoAt(address string) string {
	return `<md:SingleSignOnService Binding="` + string(saml.HTTPRedirect) + `" Location="` + address + `"/>`
}

func group(attrs string, all ...string) string {
	return `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"` + attrs + `>` + strings.Join(all, "\n") + `</md:EntitiesDescriptor>`
}

func byMetadata(metadata string) saml.Config {
	return saml.Config{EntityID: spEntity, Metadata: []byte(metadata), Now: func() time.Time { return epoch }}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	other := descriptor{entity: "https://other.example", keys: keyDescriptor(signing, otherKey())}.String()
	tests := []struct {
		name, metadata string
		config         func(*saml.Config)
		to             string // where a request goes; ssoURL if empty
	}{
		{"plain", descriptor{}.String(), nil, ""},
		{"with a declaration, a comment and an instruction", "\uFEFF<?xml version=\"1.0\"?>\n<!-- by hand --><?x y?>" + descriptor{more: "<!-- x --><?x y?>"}.String(), nil, ""},
		{"key without a use", descriptor{keys: keyDescriptor("", idpKey())}.String(), nil, ""},
		{"key among others", descriptor{keys: keyDescriptor(encryptionUse, otherKey()) + keyDescriptor(signing, weakKey(), otherKey()) + keyDescriptor(signing, idpKey())}.String(), nil, ""},
		{"in a group", group("", other, descriptor{}.String()), func(c *saml.Config) { c.IdPEntityID = idpEntity }, ""},
		{"in a group of groups", group("", other, group("", descriptor{}.String())), func(c *saml.Config) { c.IdPEntityID = idpEntity }, ""},
		{"beside one that has expired, and one that nobody can read", group("", strings.Replace(other, "<md:EntityDescriptor ", `<md:EntityDescriptor validUntil="2026-05-04T11:00:00Z" `, 1),
			`<md:EntityDescriptor entityID="https://odd.example" cacheDuration="1h"/>`, descriptor{}.String()), func(c *saml.Config) { c.IdPEntityID = idpEntity }, ""},
		{"beside a group that has expired, and one that nobody can read", group("", group(` validUntil="2026-05-04T11:00:00Z"`, other),
			group(` cacheDuration="1h"`, strings.ReplaceAll(other, "https://", "https://odd.")), descriptor{}.String()), func(c *saml.Config) { c.IdPEntityID = idpEntity }, ""},
		{"alone in a group", group("", descriptor{}.String()), nil, ""},
		{"valid still", descriptor{attrs: ` validUntil="2026-05-04T12:00:01Z"`}.String(), nil, ""},
		{"other endpoint", descriptor{}.String(), func(c *saml.Config) { c.Endpoints.SingleSignOn = "https://idp.example/other?x=y" }, "https://idp.example/other?x=y"},
		{"other certificate", descriptor{keys: keyDescriptor(signing, otherKey())}.String(), func(c *saml.Config) { c.Certificates = []*x509.Certificate{idpKey().Certificate} }, ""},
		{"beside roles of other protocols, as AD FS has it", strings.Replace(descriptor{}.String(), "<md:IDPSSODescriptor", `<md:RoleDescriptor xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="fed:SecurityTokenServiceType" protocolSupportEnumeration="http://docs.oasis-open.org/wsfed/federation/200706">`+
			keyDescriptor(signing, otherKey())+`<fed:TokenTypesOffered/></md:RoleDescriptor><md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">`+keyDescriptor(signing, otherKey())+`</md:SPSSODescriptor><md:IDPSSODescriptor`, 1), nil, ""},
		{"by POST only", descriptor{sso: `<md:SingleSignOnService Binding="` + string(saml.HTTPPost) + `" Location="https://idp.example/post"/>`}.String(), nil, "https://idp.example/post"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := byMetadata(test.metadata)
			if test.config != nil {
				test.config(&cfg)
			}
			p := newProvider(t, cfg)
			redirect, r := beginRequest(t, p, provider.Request{})
			to := test.to
			if to == "" {
				to = ssoURL
			}
			if !strings.HasPrefix(redirect.URL, to) || r.SelectAttrValue("Destination", "") != to {
				t.Errorf("redirect to %s", redirect.URL)
			}
			identity, err := finish(t, p, redirect.Data, newForge(r.SelectAttrValue("ID", "")).response(t))
			if err != nil || identity.Subject != "alice-1" {
				t.Errorf("identity %+v, error %v", identity, err)
			}
			// Keycloak CVE-2026-16443: whatever is said about keys, signatures are wanted, and wanted of this one.
			for _, how := range []string{"", "a", "r"} {
				f := newForge(r.SelectAttrValue("ID", ""))
				f.signed, f.key = how, spKey() // which is nobody's there
				identity, err := finish(t, p, redirect.Data, f.response(t))
				if failure, ok := errors.AsType[*provider.Error](err); identity != nil || !ok || failure.Kind != provider.Invalid {
					t.Errorf("signed %q by a stranger: identity %+v, error %v", how, identity, err)
				}
			}
		})
	}
}

func TestMetadataRefused(t *testing.T) {
	t.Parallel()
	other := descriptor{entity: "https://other.example"}.String()
	tests := []struct {
		name, metadata, want string
		config               func(*saml.Config)
	}{
		{"no key", descriptor{keys: " "}.String(), "no certificate", nil},
		{"key for encryption only", descriptor{keys: keyDescriptor(encryptionUse, idpKey())}.String(), "no certificate", nil},
		{"key of an unknown use", descriptor{keys: keyDescriptor(` use="x"`, idpKey())}.String(), "no certificate", nil},
		{"weak key only", descriptor{keys: keyDescriptor(signing, weakKey())}.String(), "no certificate", nil},
		{"certificate that is none", descriptor{keys: strings.Replace(keyDescriptor(signing, idpKey()), "MII", "AAA", 1)}.String(), "no certificate", nil},
		{"no endpoint", descriptor{sso: " "}.String(), "takes no requests", nil},
		{"not by that binding", descriptor{}.String(), "takes no requests", func(c *saml.Config) { c.RequestBinding = saml.HTTPPost }},
		{"script as endpoint", descriptor{sso: `<md:SingleSignOnService Binding="` + string(saml.HTTPPost) + `" Location="javascript:alert(1)"/>`}.String(), "https", nil},
		{"endpoint without TLS", strings.Replace(descriptor{}.String(), sloURL, "http://idp.example/slo", 1), "https", nil},
		{"another entity", descriptor{}.String(), "no identity provider", func(c *saml.Config) { c.IdPEntityID = "https://x.example" }},
		{"two", group("", other, descriptor{}.String()), "more than one", nil},
		{"two of one name", group("", descriptor{}.String(), descriptor{}.String()), "more than one", func(c *saml.Config) { c.IdPEntityID = idpEntity }},
		{"none", group(""), "no identity provider", nil},
		{"the broker itself", descriptor{entity: spEntity}.String(), "the broker itself", nil},
		{"no entity id", descriptor{entity: " "}.String(), "no entityID", nil},
		{"SAML 1.1", strings.Replace(descriptor{}.String(), "SAML:2.0:protocol", "SAML:1.1:protocol", 1), "no identity provider", nil},
		{"expired", descriptor{attrs: ` validUntil="2026-05-04T12:00:00Z"`}.String(), "valid until", nil},
		{"role expired", descriptor{role: ` validUntil="2026-05-04T12:00:00Z"`}.String(), "valid until", nil},
		{"group expired", group(` validUntil="2026-05-04T12:00:00Z"`, descriptor{}.String()), "valid until", nil},
		{"group of a group expired", group(` validUntil="2026-05-04T12:00:00Z"`, group("", descriptor{}.String())), "valid until", nil},
		{"inner group expired", group("", group(` validUntil="2026-05-04T12:00:00Z"`, descriptor{}.String())), "valid until", nil},
		{"no time", descriptor{attrs: ` validUntil="tomorrow"`}.String(), "no time", nil},
		{"no duration", descriptor{attrs: ` cacheDuration="1h"`}.String(), "no duration", nil},
		{"not signed", descriptor{}.String(), "signature of the metadata", func(c *saml.Config) { c.MetadataCertificates = []*x509.Certificate{otherKey().Certificate} }},
		{"signed by another", signMetadata(t, descriptor{attrs: ` ID="_m"`}.String(), idpKey()), "none of the keys", func(c *saml.Config) { c.MetadataCertificates = []*x509.Certificate{otherKey().Certificate} }},
		{"changed", strings.Replace(signMetadata(t, descriptor{attrs: ` ID="_m"`}.String(), otherKey()), ssoURL, "https://evil.example", 1), "digest", func(c *saml.Config) {
			c.MetadataCertificates = []*x509.Certificate{otherKey().Certificate}
		}},
		{"signed inside of an unsigned group", group("", signMetadata(t, descriptor{attrs: ` ID="_m"`}.String(), otherKey())), "signature of the metadata", func(c *saml.Config) {
			c.MetadataCertificates = []*x509.Certificate{otherKey().Certificate}
		}},
		{"large", descriptor{}.String() + strings.Repeat(" ", 4<<20), "bytes", nil},
		{"document type", "<!DOCTYPE x>" + descriptor{}.String(), "XML", nil},
		{"no artifacts", descriptor{}.String(), "artifacts", func(c *saml.Config) { c.ResponseBinding = saml.HTTPArtifact }},
	}
	for _, test := range tests {
		cfg := byMetadata(test.metadata)
		if test.config != nil {
			test.config(&cfg)
		}
		if p, err := saml.New(cfg); p != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: New = %v, %v, want an error with %q", test.name, p, err, test.want)
		}
	}
	cfg := byMetadata(signMetadata(t, descriptor{attrs: ` ID="_m"`}.String(), otherKey()))
	for _, before := range [][]*x509.Certificate{nil, {spKey().Certificate}, {spKey().Certificate, ecKey().Certificate}} {
		cfg.MetadataCertificates = append(before, otherKey().Certificate) // each that is given will do
		newProvider(t, cfg)
	}
}

func signMetadata(t testing.TB, metadata string, key saml.Key) string {
	t.Helper()
	root := read(t, metadata)
	ctx, err := dsig.NewSigningContext(key.Private, [][]byte{key.Certificate.Raw})
	must(err)
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	sig, err := ctx.ConstructSignature(root.Copy(), true)
	must(err)
	root.InsertChildAt(0, sig)
	return write(root)
}

// A wire serves metadata, and can be down.
type wire struct {
	*httptest.Server
	mu       sync.Mutex
	metadata string // "" is down
	asked    atomic.Int64
	now      atomic.Pointer[time.Time]
}

func newWire(t *testing.T, metadata string) *wire {
	t.Helper()
	w := &wire{metadata: metadata}
	w.now.Store(&epoch)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		w.asked.Add(1)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.metadata == "" {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = rw.Write([]byte(w.metadata))
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *wire) set(metadata string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.metadata = metadata
}

func (w *wire) advance(d time.Duration) {
	later := w.now.Load().Add(d)
	w.now.Store(&later)
}

func (w *wire) config() saml.Config {
	return saml.Config{
		EntityID: spEntity, MetadataURL: w.URL, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		Now: func() time.Time { return *w.now.Load() },
	}
}

// login takes a whole login with that key.
func (w *wire) login(t *testing.T, p *saml.Provider, key saml.Key) error {
	t.Helper()
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	if err != nil {
		return err
	}
	f := newForge(sent(t, redirect, "SAMLRequest").SelectAttrValue("ID", ""))
	f.key, f.at = key, *w.now.Load()
	_, err = finish(t, p, redirect.Data, f.response(t))
	return err
}

func wantKind(t *testing.T, err error, want provider.Kind) {
	t.Helper()
	if failure, ok := errors.AsType[*provider.Error](err); !ok || failure.Kind != want {
		t.Errorf("error = %v, want kind %v", err, want)
	}
}

func TestMetadataURL(t *testing.T) {
	t.Parallel()
	w := newWire(t, "")
	p := newProvider(t, w.config()) // while it is down
	wantKind(t, w.login(t, p, idpKey()), provider.Unavailable)
	asked := w.asked.Load()
	wantKind(t, w.login(t, p, idpKey()), provider.Unavailable)
	if w.asked.Load() != asked {
		t.Error("asked again at once")
	}
	w.set(descriptor{}.String())
	w.advance(4 * time.Second)
	if err := w.login(t, p, idpKey()); err != nil {
		t.Fatal(err)
	}
	asked = w.asked.Load()
	if err := w.login(t, p, idpKey()); err != nil || w.asked.Load() != asked {
		t.Errorf("%v, asked %d times", err, w.asked.Load()-asked)
	}

	// A new key beside the old one, then without it: the new one is fetched when it is met, the old one is refused once it
	// was taken away.
	w.set(descriptor{keys: keyDescriptor(signing, idpKey(), otherKey())}.String())
	w.advance(2 * time.Minute)
	if err := w.login(t, p, otherKey()); err != nil {
		t.Errorf("new key: %v", err)
	}
	if err := w.login(t, p, idpKey()); err != nil {
		t.Errorf("old key beside the new one: %v", err)
	}
	w.set(descriptor{keys: keyDescriptor(signing, otherKey())}.String())
	w.advance(7 * time.Hour)
	if err := w.login(t, p, idpKey()); err == nil || !strings.Contains(err.Error(), "none of the keys") {
		t.Errorf("the first login after a key was withdrawn, with it: %v", err)
	}

	// Foreign keys make it ask once a minute at most.
	w.advance(2 * time.Minute)
	asked = w.asked.Load()
	for range 20 {
		wantKind(t, w.login(t, p, spKey()), provider.Invalid)
	}
	if n := w.asked.Load() - asked; n != 1 {
		t.Errorf("asked %d times because of foreign keys, want once", n)
	}

	// What is known is used while it is down.
	w.set("")
	w.advance(7 * time.Hour)
	if err := w.login(t, p, otherKey()); err != nil {
		t.Errorf("while it is down: %v", err)
	}
}

// wait waits until something is so that happens in the background.
func wait(t *testing.T, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ; !so(); runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal("it did not come to be so")
		}
	}
}

func TestMetadataExpires(t *testing.T) {
	t.Parallel()
	w := newWire(t, descriptor{attrs: ` validUntil="` + stamp(epoch.Add(time.Hour)) + `" cacheDuration="P1DT2H"`}.String())
	p := newProvider(t, w.config())
	if err := w.login(t, p, idpKey()); err != nil {
		t.Fatal(err)
	}
	w.set("")
	w.advance(59 * time.Minute)
	if err := w.login(t, p, idpKey()); err != nil {
		t.Errorf("valid still: %v", err)
	}
	w.advance(2 * time.Minute)
	wantKind(t, w.login(t, p, idpKey()), provider.Unavailable)

	file := byMetadata(descriptor{attrs: ` validUntil="` + stamp(epoch.Add(time.Hour)) + `"`}.String())
	now := epoch
	file.Now = func() time.Time { return now }
	q := newProvider(t, file)
	data, id := begin(t, q, provider.Request{})
	now = epoch.Add(time.Hour)
	f := newForge(id)
	f.at = now
	_, err := finish(t, q, data, f.response(t))
	wantKind(t, err, provider.Unavailable)
}

// What is configured counts until the metadata was fetched once.
func TestMetadataBoth(t *testing.T) {
	t.Parallel()
	w := newWire(t, "")
	cfg := w.config()
	cfg.Metadata = []byte(descriptor{}.String())
	p := newProvider(t, cfg)
	if err := w.login(t, p, idpKey()); err != nil {
		t.Errorf("while it is down: %v", err)
	}
	w.set(descriptor{keys: keyDescriptor(signing, otherKey())}.String())
	w.advance(2 * time.Minute)
	wait(t, func() bool { return w.login(t, p, otherKey()) == nil })
}

func TestMetadataAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want provider.Kind
	}{
		"no metadata": {"<html/>", provider.Misconfigured},
		"large":       {strings.Repeat(" ", 5<<20), provider.Unavailable},
		"many":        {group("", strings.Repeat("<x/>", 200000)), provider.Misconfigured},
	} {
		w := newWire(t, test.body)
		err := w.login(t, newProvider(t, w.config()), idpKey())
		if failure, ok := errors.AsType[*provider.Error](err); !ok || failure.Kind != test.want {
			t.Errorf("%s: error = %v, want kind %v", name, err, test.want)
		}
	}
	w := newWire(t, descriptor{}.String()+strings.Repeat(" ", 5<<20))
	cfg := w.config()
	cfg.HTTPClient = w.Client() // which has no bound of its own
	if err := w.login(t, newProvider(t, cfg), idpKey()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("large, by a client of the host's: %v", err)
	}
	w = newWire(t, descriptor{}.String())
	cfg = w.config()
	cfg.InsecureAllowPrivateNetworks = false
	wantKind(t, w.login(t, newProvider(t, cfg), idpKey()), provider.Unavailable)
	if w.asked.Load() != 0 {
		t.Error("the private network was reached")
	}
}

func TestWantsSignedRequests(t *testing.T) {
	t.Parallel()
	cfg := byMetadata(descriptor{role: ` WantAuthnRequestsSigned="true"`}.String())
	_, err := newProvider(t, cfg).Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	wantKind(t, err, provider.Misconfigured)
	cfg.SigningKeys = []saml.Key{spKey()}
	begin(t, newProvider(t, cfg), provider.Request{})
}

func TestCertificateExpires(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := epoch
	cfg := config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	cfg.Now = func() time.Time { return now }
	last := idpKey().Certificate.NotAfter
	p := newProvider(t, cfg)
	for _, step := range []struct {
		left  time.Duration
		lines int
	}{{31, 0}, {30, 1}, {20, 1}, {14, 2}, {13, 2}, {3, 3}, {1, 3}} {
		now = last.Add(-step.left * 24 * time.Hour)
		begin(t, p, provider.Request{})
		begin(t, p, provider.Request{})
		if got := strings.Count(log.String(), "event=saml_certificate_expires"); got != step.lines {
			t.Errorf("%d days before: %d lines, want %d", step.left, got, step.lines)
		}
	}
}

// What counts is the certificate that lasts longest, wherever it stands; the one that takes its place has events of its own.
func TestCertificateExpiresOfSeveral(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	day := func(n int) time.Time { return epoch.AddDate(0, 0, n) }
	until := func(n int) saml.Key { return newKey("idp", idpKey().Private, epoch, day(n)) }
	w := newWire(t, descriptor{keys: keyDescriptor(signing, until(10), until(50), until(20))}.String())
	cfg := w.config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newProvider(t, cfg)
	lines := 0
	at := func(n, more int) {
		t.Helper()
		w.advance(day(n).Sub(*w.now.Load()))
		must(p.Maintain(t.Context()))
		lines += more
		if got := strings.Count(log.String(), "event=saml_certificate_expires"); got != lines {
			t.Errorf("on day %d: %d events, want %d\n%s", n, got, lines, &log)
		}
	}
	at(1, 0)
	at(19, 0)
	at(20, 1)
	at(48, 1)
	w.set(descriptor{keys: keyDescriptor(signing, until(50), until(100))}.String())
	at(49, 0)
	at(70, 1)
	at(86, 1)
	at(97, 1)
	at(98, 0)
}

// Metadata is fetched, and the end of its certificates told, although nobody logs in; what fails says so.
func TestMaintain(t *testing.T) {
	t.Parallel()
	w := newWire(t, descriptor{}.String())
	var log bytes.Buffer
	cfg := w.config()
	now := idpKey().Certificate.NotAfter.Add(-20 * 24 * time.Hour)
	cfg.Now = func() time.Time { return now }
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newProvider(t, cfg)
	for range 2 {
		if err := p.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.asked.Load(); n != 1 {
		t.Errorf("metadata was fetched %d times, want once", n)
	}
	if !strings.Contains(log.String(), "event=saml_certificate_expires") {
		t.Errorf("nobody is told that the certificate expires: %s", log.String())
	}
	w.set("") // down
	now = now.Add(7 * 24 * time.Hour)
	wantKind(t, p.Maintain(t.Context()), provider.Unavailable)
	if n := strings.Count(log.String(), "event=saml_certificate_expires"); n != 2 {
		t.Errorf("thirteen days before it expires, and metadata is down: %d lines, want 2", n)
	}
	w.set(descriptor{}.String())
	now = now.Add(25 * time.Hour)
	asked := w.asked.Load()
	if err := p.Maintain(t.Context()); err != nil || w.asked.Load() != asked+1 {
		t.Errorf("a day later: %v, fetched %d times", err, w.asked.Load()-asked)
	}
	broken := newWire(t, "<x/>")
	wantKind(t, newProvider(t, broken.config()).Maintain(t.Context()), provider.Misconfigured)
}
