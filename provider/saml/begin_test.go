package saml_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func TestBegin(t *testing.T) {
	t.Parallel()
	redirect, r := beginRequest(t, newProvider(t, config()), provider.Request{LoginHint: "alice", ACRValues: []string{"urn:mfa"}})
	for name, want := range map[string]string{
		"Version": "2.0", "Destination": ssoURL, "AssertionConsumerServiceURL": acs, "IssueInstant": stamp(epoch),
		"ProtocolBinding": string(saml.HTTPPost), "ForceAuthn": "", "IsPassive": "", "AttributeConsumingServiceIndex": "",
	} {
		if got := r.SelectAttrValue(name, ""); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if got := find(t, r, "./saml:Issuer").Text(); got != spEntity {
		t.Errorf("Issuer = %q", got)
	}
	policy := find(t, r, "./samlp:NameIDPolicy")
	if policy.SelectAttrValue("Format", "") != string(saml.NameIDPersistent) || policy.SelectAttrValue("AllowCreate", "") != "true" {
		t.Errorf("NameIDPolicy = %v", policy.Attr)
	}
	if r.FindElement("./saml:Subject") != nil || r.FindElement("./samlp:RequestedAuthnContext") != nil {
		t.Error("what the application wants was passed on unasked")
	}
	u, err := url.Parse(redirect.URL)
	if err != nil || u.Query().Get("RelayState") != state || !redirect.PostBack || redirect.Form != nil || u.Query().Has("Signature") {
		t.Errorf("redirect = %+v, %v", redirect, err)
	}
	if n := len(redirect.Data); n > 1024 {
		t.Errorf("%d bytes of data", n)
	}
}

func TestBeginOptions(t *testing.T) {
	t.Parallel()
	index, zero := uint16(3), time.Duration(0)
	tests := []struct {
		name    string
		config  func(*saml.Config)
		request provider.Request
		path    string // of an element, with the attribute or text that it must have
		attr    string
		want    string
	}{
		{"ForceAuthn", func(c *saml.Config) { c.ForceAuthn = true }, provider.Request{}, ".", "ForceAuthn", "true"},
		{"MaxAge 0", func(c *saml.Config) { c.MaxAge = &zero }, provider.Request{}, ".", "ForceAuthn", "true"},
		{"prompt login", nil, provider.Request{Prompt: []string{"login"}}, ".", "ForceAuthn", "true"},
		{"prompt login, ignored", func(c *saml.Config) { c.IgnorePrompt = true }, provider.Request{Prompt: []string{"login"}}, ".", "ForceAuthn", ""},
		{"prompt none", func(c *saml.Config) { c.AcceptPromptNone = true }, provider.Request{Prompt: []string{"none"}}, ".", "IsPassive", "true"},
		{"login hint", func(c *saml.Config) { c.ForwardLoginHint = true }, provider.Request{LoginHint: `a"<&>@x`}, "./saml:Subject/saml:NameID", "", `a"<&>@x`},
		{"classes", func(c *saml.Config) { c.AuthnContextClasses = []string{"urn:a", "urn:b"} }, provider.Request{}, "./samlp:RequestedAuthnContext/saml:AuthnContextClassRef[2]", "", "urn:b"},
		{"comparison", func(c *saml.Config) {
			c.AuthnContextClasses, c.AuthnContextComparison = []string{"urn:a"}, saml.CompareMinimum
		}, provider.Request{}, "./samlp:RequestedAuthnContext", "Comparison", "minimum"},
		{"acr_values", func(c *saml.Config) { c.ForwardACRValues = true }, provider.Request{ACRValues: []string{"urn:c"}}, "./samlp:RequestedAuthnContext/saml:AuthnContextClassRef", "", "urn:c"},
		{"declarations", func(c *saml.Config) { c.AuthnContextDecls = []string{"urn:d"} }, provider.Request{}, "./samlp:RequestedAuthnContext/saml:AuthnContextDeclRef", "", "urn:d"},
		{"comparison of declarations", func(c *saml.Config) {
			c.AuthnContextDecls, c.AuthnContextComparison = []string{"urn:d"}, saml.CompareBetter
		}, provider.Request{}, "./samlp:RequestedAuthnContext", "Comparison", "better"},
		{"attribute service", func(c *saml.Config) { c.AttributeService = &index }, provider.Request{}, ".", "AttributeConsumingServiceIndex", "3"},
		{"no new users", func(c *saml.Config) { c.DisallowCreate = true }, provider.Request{}, "./samlp:NameIDPolicy", "AllowCreate", "false"},
		{"format", func(c *saml.Config) { c.NameIDFormat = saml.NameIDEmail }, provider.Request{}, "./samlp:NameIDPolicy", "Format", string(saml.NameIDEmail)},
		{"response by redirect", func(c *saml.Config) { c.ResponseBinding = saml.HTTPRedirect }, provider.Request{}, ".", "ProtocolBinding", string(saml.HTTPRedirect)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, binding := range []saml.Binding{saml.HTTPRedirect, saml.HTTPPost} {
				cfg := config()
				cfg.RequestBinding = binding
				if test.config != nil {
					test.config(&cfg)
				}
				_, r := beginRequest(t, newProvider(t, cfg), test.request)
				e := r
				if test.path != "." {
					e = find(t, r, test.path)
				}
				got := e.SelectAttrValue(test.attr, "")
				if test.attr == "" {
					got = e.Text()
				}
				if got != test.want {
					t.Errorf("%s: %s/@%s = %q, want %q", binding, test.path, test.attr, got, test.want)
				}
			}
		})
	}
}

func TestBeginPassiveRefused(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	for _, test := range []struct {
		prompt []string
		want   provider.Kind
	}{{[]string{"none"}, provider.LoginRequired}, {[]string{"none", "login"}, provider.Invalid}} {
		_, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state, Prompt: test.prompt})
		if failure, ok := errors.AsType[*provider.Error](err); !ok || failure.Kind != test.want {
			t.Errorf("prompt %v: error = %v, want %v", test.prompt, err, test.want)
		}
	}
	if _, err := p.Begin(t.Context(), provider.Request{}); err == nil {
		t.Error("a request without state was begun")
	}
}

// What is signed can be verified by others: by the standard library over the raw query, and by goxmldsig.
func TestBeginSigned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key       saml.Key
		algorithm saml.SignatureAlgorithm
		want      saml.SignatureAlgorithm
		x509      x509.SignatureAlgorithm
	}{
		{spKey(), "", saml.RSASHA256, x509.SHA256WithRSA},
		{spKey(), saml.RSASHA512, saml.RSASHA512, x509.SHA512WithRSA},
		{ecKey(), "", saml.ECDSASHA256, x509.ECDSAWithSHA256},
	} {
		cfg := config()
		cfg.SigningKeys, cfg.SignatureAlgorithm = []saml.Key{test.key}, test.algorithm
		redirect, _ := beginRequest(t, newProvider(t, cfg), provider.Request{})
		_, raw, _ := strings.Cut(redirect.URL, "?")
		covered, signature, ok := strings.Cut(raw, "&Signature=")
		query, err := url.ParseQuery(raw)
		if !ok || err != nil || query.Get("SigAlg") != string(test.want) || strings.Contains(signature, "&") {
			t.Fatalf("%s: query %q, %v", test.want, raw, err)
		}
		value := decode(t, query.Get("Signature"))
		if key, ok := test.key.Certificate.PublicKey.(*ecdsa.PublicKey); ok {
			digest := sha256.Sum256([]byte(covered))
			if len(value) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(value[:32]), new(big.Int).SetBytes(value[32:])) {
				t.Errorf("%s: the signature is not r and s", test.want)
			}
		} else if err := test.key.Certificate.CheckSignature(test.x509, []byte(covered), value); err != nil {
			t.Errorf("%s: %v", test.want, err)
		}

		cfg.RequestBinding = saml.HTTPPost
		redirect, request := beginRequest(t, newProvider(t, cfg), provider.Request{})
		if redirect.URL != ssoURL || redirect.Form.Get("RelayState") != state {
			t.Errorf("redirect = %+v", redirect)
		}
		if got := request.ChildElements()[1].Tag; got != "Signature" {
			t.Errorf("behind the Issuer stands %s", got)
		}
		value2 := find(t, request, "./ds:Signature/ds:SignatureValue")
		if raw := decode(t, value2.Text()); test.want == saml.ECDSASHA256 {
			if len(raw) != 64 {
				t.Errorf("%d bytes of signature", len(raw))
			}
			continue // goxmldsig verifies ASN.1 only
		}
		ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{test.key.Certificate}})
		ctx.Clock = dsig.NewFakeClockAt(epoch)
		if _, err := ctx.Validate(request); err != nil {
			t.Errorf("%s: %v", test.want, err)
		}
	}
}

// queried returns an answer as HTTP-Redirect brings it.
func queried(t testing.TB, name, doc string, key *saml.Key, algorithm saml.SignatureAlgorithm, edit func(string) string) provider.Callback {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	must(err)
	_, _ = w.Write([]byte(doc))
	must(w.Close())
	// Lower-case escapes, as others write them: what was sent is what is covered.
	lower := strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3A", "%3a")
	query := name + "=" + lower.Replace(url.QueryEscape(base64.StdEncoding.EncodeToString(b.Bytes()))) + "&RelayState=" + state
	if key != nil {
		query += "&SigAlg=" + lower.Replace(url.QueryEscape(string(algorithm)))
		digest := sha256.Sum256([]byte(query))
		value, err := key.Private.Sign(nil, digest[:], crypto.SHA256)
		must(err)
		if _, ok := key.Private.(*rsa.PrivateKey); !ok {
			value = rawOf(value, 32)
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value))
	}
	if edit != nil {
		query = edit(query)
	}
	params, err := url.ParseQuery(query)
	must(err)
	return provider.Callback{URL: acs + "?" + query, Params: params}
}

func TestRedirectResponse(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.ResponseBinding = saml.HTTPRedirect
	cfg.Certificates = append(cfg.Certificates, ecKey().Certificate)
	p := newProvider(t, cfg)
	idp, ec, other := idpKey(), ecKey(), otherKey()
	replace := func(old, now string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, now, 1) }
	}
	tests := []struct {
		name      string
		signed    string
		key       *saml.Key
		algorithm saml.SignatureAlgorithm
		edit      func(string) string
		want      string // "" if it is accepted
	}{
		{"signed", "", &idp, saml.RSASHA256, nil, ""},
		{"signed by ECDSA", "", &ec, saml.ECDSASHA256, nil, ""},
		{"a parameter beside", "", &idp, saml.RSASHA256, func(s string) string { return s + "&x=y" }, ""},
		{"signed assertion", "a", nil, "", nil, ""},
		{"signed twice", "a", &idp, saml.RSASHA256, nil, ""},
		{"not signed", "", nil, "", nil, "neither"},
		{"by a stranger", "", &other, saml.RSASHA256, nil, "none of the keys"},
		{"by a stranger though the assertion is not", "a", &other, saml.RSASHA256, nil, "none of the keys"},
		{"algorithm exchanged", "", &idp, saml.RSASHA256, replace("rsa-sha256", "rsa-sha512"), "none of the keys"},
		{"SHA-1", "", &idp, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", nil, "is refused"},
		{"relay state exchanged", "", &idp, saml.RSASHA256, replace("RelayState=A", "RelayState=B"), "none of the keys"},
		{"relay state taken out", "", &idp, saml.RSASHA256, replace("&RelayState="+state, ""), "none of the keys"},
		{"escapes rewritten", "", &idp, saml.RSASHA256, replace("RelayState=A", "RelayState=%41"), "none of the keys"},
		{"signature taken out", "", &idp, saml.RSASHA256, func(s string) string { return s[:strings.Index(s, "&Signature")] }, "neither"},
		{"signature empty", "", &idp, saml.RSASHA256, func(s string) string { return s[:strings.Index(s, "&Signature")] + "&Signature=" }, "none of the keys"},
		{"message twice", "", &idp, saml.RSASHA256, func(s string) string { return s + "&SAMLResponse=x" }, "twice"},
		{"message twice, spelt otherwise", "", &idp, saml.RSASHA256, func(s string) string { return s + "&%53AMLResponse=x" }, "twice"},
		{"message under a name with an escape", "", &idp, saml.RSASHA256, replace("SAMLResponse", "SAML%52esponse"), "written in another way"},
		{"signature under a name with an escape", "", &idp, saml.RSASHA256, replace("&Signature", "&%53ignature"), "written in another way"},
		{"in another order", "", &idp, saml.RSASHA256, func(s string) string {
			parts := strings.Split(s, "&")
			slices.Reverse(parts)
			return strings.Join(parts, "&")
		}, ""},
		{"signature twice", "", &idp, saml.RSASHA256, func(s string) string { return s + "&Signature=x" }, "twice"},
		{"unknown encoding", "a", nil, "", func(s string) string { return s + "&SAMLEncoding=urn:x" }, "encoding"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data, id := begin(t, p, provider.Request{})
			f := newForge(id)
			f.signed = test.signed
			cb := queried(t, "SAMLResponse", f.response(t), test.key, test.algorithm, test.edit)
			cb.Data = data
			identity, err := p.Finish(t.Context(), cb)
			if test.want != "" {
				refused(t, identity, err, test.want)
			} else if err != nil || identity.Subject != "alice-1" {
				t.Errorf("identity %+v, error %v", identity, err)
			}
		})
	}
	// The detached signature covers the response: it must say where it goes.
	data, id := begin(t, p, provider.Request{})
	f := newForge(id)
	f.signed, f.edit = "", func(r *etree.Element) { r.RemoveAttr("Destination") }
	cb := queried(t, "SAMLResponse", f.response(t), &idp, saml.RSASHA256, nil)
	cb.Data = data
	identity, err := p.Finish(t.Context(), cb)
	refused(t, identity, err, "destination")
}

// A message comes by the binding that was asked for, once, and in no other encoding than that binding's.
func TestBindings(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	doc := newForge(id).response(t)
	bomb := func(n int) string {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, flate.BestCompression)
		for range n {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
		}
		_ = w.Close()
		return base64.StdEncoding.EncodeToString(b.Bytes())
	}
	byQuery := config()
	byQuery.ResponseBinding = saml.HTTPRedirect
	for name, test := range map[string]struct {
		p    *saml.Provider
		cb   provider.Callback
		want string
	}{
		"by query instead of a form": {p, queried(t, "SAMLResponse", doc, nil, "", nil), "HTTP-Redirect"},
		"by form instead of a query": {newProvider(t, byQuery), posted(doc), "HTTP-POST"},
		"both":                       {p, provider.Callback{URL: acs + "?SAMLResponse=x", Params: posted(doc).Params}, "HTTP-Redirect"},
		"twice":                      {p, provider.Callback{URL: acs, Params: url.Values{"SAMLResponse": {"x", "y"}}}, "2 times"},
		"none":                       {p, provider.Callback{URL: acs, Params: url.Values{}}, "0 times"},
		"no base64":                  {p, provider.Callback{URL: acs, Params: url.Values{"SAMLResponse": {"<x/>"}}}, "base64"},
		"deflated in a form":         {p, provider.Callback{URL: acs, Params: url.Values{"SAMLResponse": {bomb(1)}}}, "XML"},
		"large":                      {p, provider.Callback{URL: acs, Params: url.Values{"SAMLResponse": {strings.Repeat("A", 2<<20+4)}}}, "SAMLResponse has"},
		"bomb":                       {newProvider(t, byQuery), provider.Callback{URL: acs + "?SAMLResponse=" + url.QueryEscape(bomb(32))}, "more than"},
		"large query":                {newProvider(t, byQuery), provider.Callback{URL: acs + "?SAMLResponse=" + strings.Repeat("A", 65<<10)}, "SAMLResponse has"},
		"not deflated":               {newProvider(t, byQuery), provider.Callback{URL: acs + "?SAMLResponse=AAAA"}, "DEFLATE"},
		"cannot be unescaped":        {newProvider(t, byQuery), provider.Callback{URL: acs + "?SAMLResponse=%zz"}, "cannot be read"},
	} {
		test.cb.Data = data
		identity, err := test.p.Finish(t.Context(), test.cb)
		if identity != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: identity %+v, error %v, want one with %q", name, identity, err, test.want)
		}
	}
}

// Only CompareExact says which answers are enough: the others need an order of the classes that nobody knows here.
func TestComparisonHeldTo(t *testing.T) {
	t.Parallel()
	for _, comparison := range []saml.Comparison{"", saml.CompareExact, saml.CompareMinimum, saml.CompareMaximum, saml.CompareBetter} {
		cfg := config()
		cfg.AuthnContextClasses, cfg.AuthnContextComparison = []string{"urn:another"}, comparison
		_, err := try(t, cfg, nil)
		if held := comparison == "" || comparison == saml.CompareExact; held != (err != nil) {
			t.Errorf("%q: %v", comparison, err)
		}
	}
}
