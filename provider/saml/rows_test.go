package saml_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// The rows of the acceptance tests that are about SAML; rows 65, 67, 68 and 80 are beside the peer, 62 and 67 also in
// package broker.

// refusedForgeries sends those forgeries in whose names one of the words is, of which there must be so many.
func refusedForgeries(t *testing.T, least int, words ...string) {
	t.Helper()
	target, sent := forgeryTarget(t, "https://idp.example", "ES256", nil), 0
	for _, f := range providertest.SAMLForgeries() {
		for _, word := range words {
			if strings.Contains(f.Name, word) {
				sent++
				if wrong := f.Replay(t, target).Wrong(); wrong != "" {
					t.Error(wrong)
				}
				break
			}
		}
	}
	if sent < least {
		t.Errorf("%d forgeries with %v in their names", sent, words)
	}
}

// What is signed, by what is wanted.
func TestRow58Signed(t *testing.T) {
	t.Parallel()
	for _, want := range []bool{false, true} {
		for _, sign := range []providertest.SAMLSign{providertest.SAMLSignAssertion, providertest.SAMLSignResponse, providertest.SAMLSignBoth} {
			t.Run(fmt.Sprintf("%s, WantAssertionsSigned %v", sign, want), func(t *testing.T) {
				t.Parallel()
				p := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, func(c *saml.Config) { c.WantAssertionsSigned = want },
					func(s *providertest.SAMLServiceProvider) { s.Sign = sign })
				_, err := p.login(provider.Request{})
				if refuse := want && sign == providertest.SAMLSignResponse; (err != nil) != refuse {
					t.Errorf("refused %v, want %v: %v", err != nil, refuse, err)
				}
			})
		}
	}
	refusedForgeries(t, 10, "without signature", "nothing signed", "without SignatureValue", "not signed")
}

func TestRow59Encrypted(t *testing.T) {
	t.Parallel()
	want := func(c *saml.Config) { c.WantAssertionsEncrypted = true }
	if _, err := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, want, nil).login(provider.Request{}); err == nil {
		t.Error("one that is not encrypted is taken")
	}
	p := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, want, func(s *providertest.SAMLServiceProvider) { s.EncryptTo = otherKey().Certificate })
	if _, err := p.login(provider.Request{}); err == nil || !strings.Contains(err.Error(), "cannot be decrypted") {
		t.Errorf("encrypted for somebody else: %v", err)
	}
	p = newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, func(c *saml.Config) {
		want(c)
		c.DecryptionKeys = []saml.Key{otherKey(), spKey()}
	}, func(s *providertest.SAMLServiceProvider) { s.EncryptTo = spKey().Certificate })
	if _, err := p.login(provider.Request{}); err != nil {
		t.Errorf("encrypted for the second key: %v", err)
	}
}

func TestRow60InResponseTo(t *testing.T) {
	t.Parallel()
	refusedForgeries(t, 14, "InResponseTo", "nobody asked")
}

func TestRow61Conditions(t *testing.T) {
	t.Parallel()
	refusedForgeries(t, 40, "Destination", "destination", "issuer", "audience", "recipient", "NotOnOrAfter", "NotBefore")
	// What expires after five minutes does so after a minute of skew, and a clock that is slow may be so by one.
	for late, ok := range map[time.Duration]bool{
		5*time.Minute + 30*time.Second: true, 6*time.Minute + 30*time.Second: false, -30 * time.Second: true, -90 * time.Second: false,
	} {
		var passed atomic.Int64
		p := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, func(c *saml.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
		}, nil)
		redirect, err := p.sp.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
		must(err)
		b := p.follow(redirect)
		passed.Store(int64(late))
		if _, err := p.sp.Finish(t.Context(), provider.Callback{URL: b.url, Params: b.params, Data: redirect.Data}); (err == nil) != ok {
			t.Errorf("%v late: %v", late, err)
		}
	}
}

func TestRow62Replay(t *testing.T) {
	t.Parallel()
	refusedForgeries(t, 3, "replay")
}

// The metadata is enough for an identity provider to send its answer, and its messages about logout.
func TestRow63Descriptor(t *testing.T) {
	t.Parallel()
	p := newProvider(t, func() saml.Config {
		c := config()
		c.SigningKeys, c.DecryptionKeys, c.SignMetadata = []saml.Key{spKey(), ecKey()}, []saml.Key{otherKey()}, true
		c.RequestedAttributes = []saml.RequestedAttribute{{Name: "mail", Required: true}}
		return c
	}())
	d, err := p.Descriptor(t.Context(), provider.DescriptorRequest{RedirectURI: acs, LogoutURI: sloAddress})
	must(err)
	for _, want := range []string{
		`entityID="` + spEntity + `"`, `Location="` + acs + `"`, `Location="` + sloAddress + `"`, "<ds:SignatureValue>", `Name="mail"`,
		base64Of(spKey().Certificate.Raw), base64Of(ecKey().Certificate.Raw), base64Of(otherKey().Certificate.Raw),
	} {
		if !strings.Contains(string(d.Body), want) {
			t.Errorf("no %.60s in\n%s", want, d.Body)
		}
	}
}

// What is asked for arrives.
func TestRow64Asked(t *testing.T) {
	t.Parallel()
	p := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, func(c *saml.Config) {
		c.ForceAuthn, c.ForwardLoginHint = true, true
		c.AuthnContextClasses = []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}
	}, nil)
	who, err := p.login(provider.Request{LoginHint: "bob@example.com"})
	if err != nil || who.Subject != "248289761002" || who.ACR != "urn:oasis:names:tc:SAML:2.0:ac:classes:X509" {
		t.Fatalf("%+v, %v", who, err)
	}
	request := p.idp.Requests("AuthnRequest")[0].XML
	for _, want := range []string{`ForceAuthn="true"`, "ac:classes:X509", ">bob@example.com<", `Comparison="exact"`} {
		if !strings.Contains(request, want) {
			t.Errorf("no %s in %s", want, request)
		}
	}
}

// An artifact is exchanged once, by who it is for; and who came in by it can sign out.
func TestRow66Artifact(t *testing.T) {
	t.Parallel()
	p := newPeer(t, providertest.SAMLConfig{Alg: "ES256"}, func(c *saml.Config) { c.ResponseBinding = saml.HTTPArtifact }, nil)
	redirect, err := p.sp.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	must(err)
	b := p.follow(redirect)
	cb := provider.Callback{URL: b.url, Params: b.params, Data: redirect.Data}
	if _, err := p.sp.Finish(t.Context(), cb); err != nil {
		t.Fatalf("Finish: %v", err)
	}
	if _, err := p.sp.Finish(t.Context(), cb); kindOf(err) != provider.Expired {
		t.Errorf("the artifact a second time: %v", err)
	}
	p.startHere(false)
	p.startThere(false)
}
