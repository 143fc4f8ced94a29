package saml_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

const sloAddress = "https://broker.example/id/broker/x/logout"

// A peer is a provider and the identity provider in the process that it talks to, with a browser between them.
type peer struct {
	t       testing.TB
	idp     *providertest.SAML
	sp      *saml.Provider
	browser *http.Client
}

func newPeer(t testing.TB, idpConfig providertest.SAMLConfig, editSP func(*saml.Config), edit func(*providertest.SAMLServiceProvider)) *peer {
	t.Helper()
	idpConfig.AutoLogin = "alice"
	idp := providertest.StartSAML(t, idpConfig)
	cfg := saml.Config{
		EntityID: spEntity, MetadataURL: idp.EntityID(), IdPEntityID: idp.EntityID(), SigningKeys: []saml.Key{spKey()}, DecryptionKeys: []saml.Key{spKey()},
		InsecureAllowPrivateNetworks: true, InsecureAllowHTTP: true,
	}
	if editSP != nil {
		editSP(&cfg)
	}
	sp := providertest.SAMLServiceProvider{EntityID: spEntity, ACS: []string{acs}, Logout: sloAddress, Certificates: []*x509.Certificate{spKey().Certificate}}
	if edit != nil {
		edit(&sp)
	}
	idp.Register(sp)
	jar, err := cookiejar.New(nil)
	must(err)
	return &peer{t, idp, newProvider(t, cfg), &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "broker.example" {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// back is what a browser brings to the broker.
type back struct {
	url    string
	params url.Values
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// follow sends the browser somewhere, until it is sent to the broker.
func (p *peer) follow(r *provider.Redirect) *back {
	p.t.Helper()
	b, page := p.visit(r)
	if b == nil {
		p.t.Fatalf("%s leads nowhere:\n%s", r.URL, page)
	}
	return b
}

func (p *peer) visit(r *provider.Redirect) (*back, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, r.URL, nil)
	if r.Form != nil {
		req, err = http.NewRequestWithContext(p.t.Context(), http.MethodPost, r.URL, strings.NewReader(r.Form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	must(err)
	resp, err := p.browser.Do(req)
	must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(err)
	if to, err := resp.Location(); err == nil {
		return &back{to.String(), to.Query()}, ""
	}
	action := formAction.FindSubmatch(body)
	if action == nil || !bytes.HasPrefix(action[1], []byte("https://broker.example/")) {
		return nil, string(body)
	}
	b := &back{html.UnescapeString(string(action[1])), url.Values{}}
	for _, field := range formField.FindAllSubmatch(body, -1) {
		b.params.Add(html.UnescapeString(string(field[1])), html.UnescapeString(string(field[2])))
	}
	return b, ""
}

func (p *peer) login(r provider.Request) (*provider.Identity, error) {
	p.t.Helper()
	r.RedirectURI, r.State = acs, state
	redirect, err := p.sp.Begin(p.t.Context(), r)
	if err != nil {
		p.t.Fatalf("Begin: %v", err)
	}
	b := p.follow(redirect)
	if got := b.params.Get("RelayState"); got != state {
		p.t.Errorf("RelayState is %q", got)
	}
	return p.sp.Finish(p.t.Context(), provider.Callback{URL: b.url, Params: b.params, Data: redirect.Data})
}

func TestPeerLogin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		idp  providertest.SAMLConfig
		sp   func(*saml.Config)
		edit func(*providertest.SAMLServiceProvider)
	}{
		{"as it comes", providertest.SAMLConfig{}, nil, nil},
		{"below a path", providertest.SAMLConfig{URL: "/idp"}, nil, nil},
		{"response signed", providertest.SAMLConfig{}, nil, func(s *providertest.SAMLServiceProvider) { s.Sign = providertest.SAMLSignResponse }},
		{"both signed, SHA-512", providertest.SAMLConfig{Alg: "RS512"}, nil, func(s *providertest.SAMLServiceProvider) { s.Sign = providertest.SAMLSignBoth }},
		{"ECDSA", providertest.SAMLConfig{Alg: "ES256"}, nil, nil},
		{"ECDSA P-384, both", providertest.SAMLConfig{Alg: "ES384"}, nil, func(s *providertest.SAMLServiceProvider) { s.Sign = providertest.SAMLSignBoth }},
		{"ECDSA P-521, by redirect", providertest.SAMLConfig{Alg: "ES512"}, func(c *saml.Config) { c.ResponseBinding = saml.HTTPRedirect }, nil},
		{"encrypted", providertest.SAMLConfig{}, func(c *saml.Config) { c.WantAssertionsEncrypted = true }, func(s *providertest.SAMLServiceProvider) {
			s.EncryptTo = spKey().Certificate
		}},
		{"encrypted, AES-128, SHA-256", providertest.SAMLConfig{}, nil, func(s *providertest.SAMLServiceProvider) {
			s.EncryptTo, s.Encryption = spKey().Certificate, providertest.SAMLEncryption{Data: "aes128-gcm", SHA256: true}
		}},
		{"encrypted, CBC", providertest.SAMLConfig{}, func(c *saml.Config) { c.InsecureAllowCBC = true }, func(s *providertest.SAMLServiceProvider) {
			s.EncryptTo, s.Encryption, s.Sign = spKey().Certificate, providertest.SAMLEncryption{Data: "aes256-cbc"}, providertest.SAMLSignBoth
		}},
		{"request by POST", providertest.SAMLConfig{}, func(c *saml.Config) { c.RequestBinding = saml.HTTPPost }, nil},
		{"request by POST, ECDSA", providertest.SAMLConfig{}, func(c *saml.Config) { c.RequestBinding, c.SigningKeys = saml.HTTPPost, []saml.Key{ecKey()} },
			func(s *providertest.SAMLServiceProvider) { s.Certificates = []*x509.Certificate{ecKey().Certificate} }},
		{"request by redirect, ECDSA", providertest.SAMLConfig{}, func(c *saml.Config) { c.SigningKeys = []saml.Key{ecKey()} },
			func(s *providertest.SAMLServiceProvider) { s.Certificates = []*x509.Certificate{ecKey().Certificate} }},
		{"request not signed", providertest.SAMLConfig{}, func(c *saml.Config) { c.SigningKeys = nil }, func(s *providertest.SAMLServiceProvider) { s.Certificates = nil }},
		{"response by redirect", providertest.SAMLConfig{}, func(c *saml.Config) { c.ResponseBinding = saml.HTTPRedirect }, nil},
		{"artifact", providertest.SAMLConfig{}, func(c *saml.Config) { c.ResponseBinding = saml.HTTPArtifact }, nil},
		{"signed metadata of a federation", providertest.SAMLConfig{SignMetadata: true, Federation: true}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, tt.idp, tt.sp, tt.edit)
			got, err := p.login(provider.Request{})
			if err != nil {
				t.Fatalf("Finish: %v", err)
			}
			if got.Issuer != p.idp.EntityID() || got.Subject != "248289761001" || got.Email != "alice@example.com" || got.FirstName != "Alice" ||
				got.LastName != "Liddell" || got.Username != "alice" || !slices.Equal(got.Groups, []string{"staff", "readers"}) || got.Session == "" {
				t.Errorf("got %+v", got)
			}
			for _, r := range p.idp.Requests("") {
				if r.Error != "" {
					t.Errorf("%s by %s: %s", r.Kind, r.Binding, r.Error)
				}
			}
		})
	}
}

// A request reaches the identity provider as it was asked for, and what it cannot do ends the login.
func TestPeerRefusals(t *testing.T) {
	t.Parallel()
	p := newPeer(t, providertest.SAMLConfig{}, func(c *saml.Config) { c.AcceptPromptNone, c.ForwardLoginHint = true, true }, nil)
	p.idp.SetUser(providertest.User{Username: "mallory", Error: "RequestDenied"})
	if got, err := p.login(provider.Request{LoginHint: "bob@example.com"}); err != nil || got.Subject != "248289761002" {
		t.Errorf("hinted at bob: %+v, %v", got, err)
	}
	p.idp.LoginAs("mallory")
	if _, err := p.login(provider.Request{}); kindOf(err) != provider.Denied {
		t.Errorf("denied: %v", err)
	}
	p.idp.LoginAs("")
	p.browser.Jar, _ = cookiejar.New(nil)
	if _, err := p.login(provider.Request{Prompt: []string{"none"}}); kindOf(err) != provider.LoginRequired {
		t.Errorf("passive: %v", err)
	}
	redirect, err := p.sp.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	must(err)
	if b, page := p.visit(redirect); b != nil || !strings.Contains(page, "Alice Liddell") || !strings.Contains(page, `value="248289761002"`) {
		t.Errorf("no login page:\n%s", page)
	}
}

func kindOf(err error) provider.Kind {
	if e, ok := err.(*provider.Error); ok { //nolint:errorlint // it is returned as it is
		return e.Kind
	}
	return -1
}

// behaviours.md, row 68: a new certificate is taken, a withdrawn one is not.
func TestRow68MetadataRefresh(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64 // minutes
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load()) * time.Minute) }
	p := newPeer(t, providertest.SAMLConfig{Alg: "ES256", Now: now}, func(c *saml.Config) { c.Now = now }, nil)
	for n, step := range []func(){func() {}, p.idp.AnnounceKeys, p.idp.RotateKeys, p.idp.RetireKeys, p.idp.RotateKeys} {
		step()
		passed.Add(2) // an unknown key is looked for once a minute
		if _, err := p.login(provider.Request{}); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
	metadata, err := p.idp.Metadata()
	must(err)
	p.idp.Edit(providertest.SAMLHooks{Metadata: func(string) string { return withoutFirstKey(metadata) }})
	passed.Add(7 * 60) // the key that signs is withdrawn, and the metadata fetched anew
	if _, err := p.login(provider.Request{}); err == nil {
		t.Error("a withdrawn key is taken")
	}
}

func withoutFirstKey(metadata string) string {
	i := strings.Index(metadata, "<md:KeyDescriptor")
	j := strings.Index(metadata, "</md:KeyDescriptor>") + len("</md:KeyDescriptor>")
	return metadata[:i] + metadata[j:]
}

// behaviours.md, row 80: single logout both ways, with and without SessionIndex.
func TestRow80SingleLogout(t *testing.T) {
	t.Parallel()
	for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
		for _, omit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, without SessionIndex %v", binding[len(binding)-8:], omit), func(t *testing.T) {
				t.Parallel()
				p := newPeer(t, providertest.SAMLConfig{OmitSessionIndex: omit}, func(c *saml.Config) { c.LogoutBinding = binding },
					func(s *providertest.SAMLServiceProvider) { s.LogoutByPost = binding == saml.HTTPPost })
				p.startHere(omit)
				p.startThere(omit)
			})
		}
	}
}

// startHere signs out at the broker first.
func (p *peer) startHere(omit bool) {
	p.t.Helper()
	id, err := p.login(provider.Request{})
	must(err)
	if (id.Session == "") != omit {
		p.t.Errorf("session is %q", id.Session)
	}
	redirect, err := p.sp.BeginLogout(p.t.Context(), provider.LogoutRequest{
		IDToken: id.LogoutHint, Subject: id.Subject, Session: id.Session, RedirectURI: sloAddress, State: state,
	})
	must(err)
	b := p.follow(redirect)
	if b.params.Get("RelayState") != state || !strings.HasPrefix(b.url, sloAddress) {
		p.t.Errorf("back at %s with %v", b.url, b.params)
	}
	if err := p.sp.FinishLogout(p.t.Context(), provider.Callback{URL: b.url, Params: b.params, Data: redirect.Data}); err != nil {
		p.t.Errorf("FinishLogout: %v", err)
	}
	p.idp.LoginAs("")
	again, err := p.sp.Begin(p.t.Context(), provider.Request{RedirectURI: acs, State: state})
	must(err)
	if b, _ := p.visit(again); b != nil {
		p.t.Error("the session there goes on")
	}
	p.idp.LoginAs("alice")
}

// startThere signs out at the identity provider first.
func (p *peer) startThere(omit bool) {
	p.t.Helper()
	id, err := p.login(provider.Request{})
	must(err)
	b := p.follow(&provider.Redirect{URL: p.idp.LogoutURL()})
	l, err := p.sp.ReceiveLogout(p.t.Context(), provider.LogoutMessage{URL: b.url, Params: b.params})
	if err != nil {
		p.t.Fatalf("ReceiveLogout: %v", err)
	}
	if l.Subject != id.Subject || l.Session != id.Session || (l.Session == "") != omit {
		p.t.Errorf("got %+v", l)
	}
	redirect, err := p.sp.AnswerLogout(p.t.Context(), l, true)
	must(err)
	if b, page := p.visit(redirect); b != nil || !strings.Contains(page, "You are signed out") {
		p.t.Errorf("after the answer:\n%s", page)
	}
}

// behaviours.md, row 67: only with the RelayState that is configured.
func TestRow67Unsolicited(t *testing.T) {
	t.Parallel()
	p := newPeer(t, providertest.SAMLConfig{}, func(c *saml.Config) { c.Unsolicited = map[string]string{"app": "/app"} }, nil)
	for _, relayState := range []string{"app", "other", ""} {
		b := p.follow(&provider.Redirect{URL: p.idp.StartURL(spEntity, relayState)})
		id, target, err := p.sp.FinishUnsolicited(t.Context(), provider.Callback{URL: b.url, Params: b.params})
		if relayState == "app" && (err != nil || target != "/app" || id.Subject != "248289761001") || relayState != "app" && err == nil {
			t.Errorf("%q: %+v, %q, %v", relayState, id, target, err)
		}
	}
}

// behaviours.md, row 65: a transient name with a principal from an attribute.
func TestRow65TransientNameID(t *testing.T) {
	t.Parallel()
	p := newPeer(t, providertest.SAMLConfig{}, func(c *saml.Config) { c.NameIDFormat, c.SubjectAttribute = saml.NameIDTransient, "uid" }, nil)
	names := map[string]bool{}
	for range 2 {
		id, err := p.login(provider.Request{})
		if err != nil || id.Subject != "alice" {
			t.Fatalf("%+v, %v", id, err)
		}
		names[id.LogoutHint] = true
	}
	if len(names) != 2 {
		t.Errorf("names: %v", names)
	}
}
