package saml_test

import (
	"bytes"
	"compress/flate"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// What libraries of SAML are known to get wrong, and no other test here is about.

// A canonicalization that fails says so: it never yields a digest of nothing (CVE-2025-66568).
func TestCanonicalFails(t *testing.T) {
	t.Parallel()
	broken := func() *etree.Element { return etree.NewElement("nobody:e") }
	inside := etree.NewElement("e")
	inside.AddChild(broken())
	attribute := etree.NewElement("e")
	attribute.CreateAttr("nobody:a", "1")
	for name, e := range map[string]*etree.Element{"the root": broken(), "an element in it": inside, "an attribute": attribute} {
		for _, prefixes := range []string{"", "#default nobody"} {
			if got, err := saml.Canonical(e.Copy(), prefixes); err == nil || len(got) > 0 {
				t.Errorf("%s of an undeclared prefix: got %q, %v", name, got, err)
			}
		}
	}
}

// A message that its provider signed without this or that, as it may by mistake, makes nothing panic and nobody else of the user
// (GO-2026-6909: an Issuer that was not there).
func TestEverythingLeftOutAndSigned(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	try := func(what string, edit func(*etree.Element)) {
		f := newForge(id)
		f.signed, f.edit = "r", edit
		identity, err := finish(t, p, data, f.response(t))
		wantProviderError(t, "without "+what, err)
		if (identity == nil) != (err != nil) || identity != nil && identity.Subject != "alice-1" {
			t.Errorf("without %s: identity %+v, error %v", what, identity, err)
		}
	}
	plain := newForge(id)
	plain.signed = ""
	all := read(t, plain.response(t)).FindElements("//*")
	for i, e := range all {
		if i > 0 && (e.Tag != "Issuer" || e.Parent() != all[0]) { // the test's own signature is put behind that one: see TestFinishAccepts
			try(e.Tag, func(r *etree.Element) {
				e := r.FindElements("//*")[i]
				e.Parent().RemoveChild(e)
			})
		}
		for _, a := range e.Attr {
			if name := a.FullKey(); a.Space != "xmlns" && (i > 0 || name != "ID") { // without which the test could not sign it
				try(e.Tag+"/@"+name, func(r *etree.Element) { r.FindElements("//*")[i].RemoveAttr(name) })
			}
		}
	}
}

// An element of another namespace that is called as one of ours is none of ours, wherever it stands and though it was signed: the
// message is refused, or read as if it had none (GO-2026-6909).
func TestForeignTwinsAreInvisible(t *testing.T) {
	t.Parallel()
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	genuine, err := finish(t, p, data, newForge(id).response(t))
	must(err)
	plain := newForge(id)
	plain.signed = ""
	root := read(t, plain.response(t))
	accepted, all := 0, len(root.FindElements("//*"))
	forged := strings.NewReplacer("alice", "bob", "_assert", "_twin", ":Success", ":Responder", spEntity, "https://x.example")
	for i := 1; i < all; i++ {
		for behind := range 2 {
			f := newForge(id)
			var tag string
			f.signed, f.edit = "r", func(r *etree.Element) {
				e := r.FindElements("//*")[i]
				tag = e.Tag
				twin := e.Copy()
				for _, c := range append(twin.FindElements(".//*"), twin) {
					if c.Text() != "" {
						c.SetText(forged.Replace(c.Text()))
					}
					for i := range c.Attr {
						c.Attr[i].Value = forged.Replace(c.Attr[i].Value)
					}
				}
				twin.Space = "f"
				twin.CreateAttr("xmlns:f", "urn:foreign")
				e.Parent().InsertChildAt(e.Index()+behind, twin)
			}
			identity, err := finish(t, p, data, f.response(t))
			wantProviderError(t, tag, err)
			if err == nil && !reflect.DeepEqual(identity, genuine) {
				t.Errorf("f:%s, %d: identity %+v, want %+v", tag, behind, identity, genuine)
			}
			if err == nil {
				accepted++
			}
		}
	}
	if accepted < all { // of twice as many, or nothing was compared
		t.Errorf("%d of %d are accepted", accepted, 2*(all-1))
	}
}

// longNamespace puts elements into e that share a namespace whose name is long.
func longNamespace(e *etree.Element, length, elements int) {
	e.CreateAttr("xmlns:b", "urn:"+strings.Repeat("b", length))
	for range elements {
		e.CreateElement("b:b")
	}
}

// manyPrefixes puts elements into e whose attributes have prefixes, all declared so deep above them, with attributes between.
func manyPrefixes(e *etree.Element, deep, wide, elements int) {
	e = e.CreateElement("x")
	for i := range wide {
		e.CreateAttr(fmt.Sprint("xmlns:p", i), fmt.Sprint("urn:", i))
	}
	for range deep {
		e = e.CreateElement("x")
		for i := range wide + 10 {
			e.CreateAttr(fmt.Sprint("a", i), "")
		}
	}
	for range elements {
		x := e.CreateElement("x")
		for i := range wide {
			x.CreateAttr(fmt.Sprintf("p%d:a", i), "")
		}
	}
}

// Canonicalization declares a namespace at each element that uses it. A message that a few kilobytes of a query, or anybody's form,
// become gigabytes by is refused before that: in a SignedInfo that nobody signed, and in a body beside one that was signed.
func TestCanonicalBomb(t *testing.T) { // alone, since it counts what the process allocates
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	info := newForge(id)
	info.signed, info.after = "r", func(r *etree.Element) {
		method := r.FindElement("./ds:Signature/ds:SignedInfo/ds:CanonicalizationMethod")
		kept := method.CreateElement("ec:InclusiveNamespaces")
		kept.CreateAttr("xmlns:ec", "http://www.w3.org/2001/10/xml-exc-c14n#")
		longNamespace(kept, 64<<10, 4<<10)
	}
	body := newForge(id)
	body.signed, body.after = "r", func(r *etree.Element) { longNamespace(r.FindElement("./samlp:Status"), 64<<10, 4<<10) }
	for _, bomb := range []struct {
		name, want string
		f          *forge
	}{{"SignedInfo", "elements in it", info}, {"body", "bytes come of it", body}} {
		doc := bomb.f.response(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		identity, err := finish(t, p, data, doc)
		runtime.ReadMemStats(&after)
		refused(t, identity, err, bomb.want)
		if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 32 {
			t.Errorf("%s: %d MiB are allocated for %d KiB", bomb.name, allocated, len(doc)>>10)
		}
	}
}

// What a prefix means is not looked up in all that is around an element, for each of its attributes: that took half a minute of a
// message that nobody had signed. Nor does canonicalization take long of one beside which a signature is good.
func TestPrefixBomb(t *testing.T) { // alone, since it takes the time of the process
	p := newProvider(t, config())
	data, id := begin(t, p, provider.Request{})
	swell := func(r *etree.Element) { manyPrefixes(r.FindElement("./samlp:Status"), 30, 50, 900) }
	for signed, want := range map[string]string{"": "neither", "r": "digest"} {
		f := newForge(id)
		f.signed, f.after = signed, swell
		doc := f.response(t)
		var identity *provider.Identity
		var err error
		took := providertest.Measure(func() { identity, err = finish(t, p, data, doc) }).Time
		t.Logf("signed %q: %d KiB take %v", signed, len(doc)>>10, took)
		refused(t, identity, err, want)
		if took > 4*time.Second {
			t.Errorf("signed %q: %d KiB take %v", signed, len(doc)>>10, took)
		}
	}
}

// bombOf inflates to so many blanks.
func bombOf(size int) string {
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	must(err)
	_, err = w.Write(bytes.Repeat([]byte(" "), size))
	must(err)
	must(w.Close())
	return base64Of(deflated.Bytes())
}

// What inflates without end is inflated up to a bound, whatever comes by a query (CVE-2023-28119 and its kind).
func TestBomb(t *testing.T) { // alone, since it counts what the process allocates
	bomb := bombOf(40 << 20)
	cfg := leaving()
	cfg.ResponseBinding = saml.HTTPRedirect
	p := newProvider(t, cfg)
	data, _ := begin(t, p, provider.Request{})
	leave, err := p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "alice-1", State: state})
	must(err)
	answer, request := url.Values{"SAMLResponse": {bomb}, "RelayState": {state}}, url.Values{"SAMLRequest": {bomb}}
	for name, take := range map[string]func() error{
		"a login": func() error {
			_, err := p.Finish(t.Context(), provider.Callback{URL: acs + "?" + answer.Encode(), Params: answer, Data: data})
			return err
		},
		"a logout": func() error {
			_, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: slo + "?" + request.Encode(), Params: request})
			return err
		},
		"the answer to a logout": func() error {
			return p.FinishLogout(t.Context(), provider.Callback{URL: slo + "?" + answer.Encode(), Params: answer, Data: leave.Data})
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := take()
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 10
		t.Logf("%s: %d KiB inflate to 40 MiB: %d KiB allocated", name, len(bomb)*3/4>>10, allocated)
		if err == nil || !strings.Contains(err.Error(), "more than") || allocated > 4<<10 {
			t.Errorf("%s: %v, %d KiB allocated", name, err, allocated)
		}
	}
}

// A compressor has a megabyte of state, which a login must not cost.
func TestBeginAllocates(t *testing.T) { // alone, as above
	cfg := config()
	cfg.SigningKeys = []saml.Key{spKey()}
	p := newProvider(t, cfg)
	begin(t, p, provider.Request{})
	const n = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		if _, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	each := (after.TotalAlloc - before.TotalAlloc) / n >> 10
	if t.Logf("%d KiB allocated for a signed request", each); each > 400 { // the race detector has the pool drop a quarter of them
		t.Errorf("%d KiB allocated for a signed request", each)
	}
}

// One provider serves all at once.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	p := newProvider(t, decrypting(leaving()))
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			data, id := begin(t, p, provider.Request{})
			f := newForge(id)
			f.signed = []string{"a", "r", "ra"}[i%3]
			if i%2 == 0 {
				f.encrypt = gcm(spKey()).encrypt
			}
			if identity, err := finish(t, p, data, f.response(t)); err != nil || identity.Subject != "alice-1" {
				t.Errorf("identity %+v, error %v", identity, err)
			}
			key := idpKey()
			cb := deliver(t, "SAMLRequest", logoutRequest(), saml.HTTPPost, &key, nil, nil)
			if _, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params}); err != nil {
				t.Errorf("ReceiveLogout: %v", err)
			}
			if _, err := p.Descriptor(t.Context(), provider.DescriptorRequest{RedirectURI: acs, LogoutURI: slo}); err != nil {
				t.Errorf("Descriptor: %v", err)
			}
		})
	}
	all.Wait()
}

// Whatever is configured, New refuses it or nothing panics later on. Each pair of settings is tried.
func TestNoConfigurationPanics(t *testing.T) {
	t.Parallel()
	hour := time.Hour
	edits := []func(*saml.Config){
		func(*saml.Config) {},
		func(c *saml.Config) { *c = saml.Config{} },
		func(c *saml.Config) { c.EntityID = "" },
		func(c *saml.Config) { c.IdPEntityID = "" },
		func(c *saml.Config) { c.Endpoints = saml.Endpoints{} },
		func(c *saml.Config) { c.Endpoints.SingleLogout = sloURL },
		func(c *saml.Config) { c.Endpoints.LogoutResponse = sloURL },
		func(c *saml.Config) { c.Certificates = nil },
		func(c *saml.Config) { c.Certificates = []*x509.Certificate{nil, {}} },
		func(c *saml.Config) { c.Metadata = []byte(descriptor{}.String()) },
		func(c *saml.Config) { c.Metadata = []byte(" ") },
		func(c *saml.Config) { c.MetadataURL = "https://127.0.0.1:1/metadata" },
		func(c *saml.Config) { c.MetadataCertificates = []*x509.Certificate{otherKey().Certificate} },
		func(c *saml.Config) { c.SigningKeys = []saml.Key{spKey()} },
		func(c *saml.Config) { c.SigningKeys = []saml.Key{ecKey(), spKey()} },
		func(c *saml.Config) { c.SigningKeys = []saml.Key{{}} },
		func(c *saml.Config) { c.SignatureAlgorithm = saml.ECDSASHA256 },
		func(c *saml.Config) { c.SignMetadata = true },
		func(c *saml.Config) { c.DecryptionKeys = []saml.Key{spKey()} },
		func(c *saml.Config) { c.WantAssertionsEncrypted = true },
		func(c *saml.Config) { c.RequestBinding = saml.HTTPPost },
		func(c *saml.Config) { c.ResponseBinding = saml.HTTPRedirect },
		func(c *saml.Config) {
			c.ResponseBinding, c.Endpoints.ArtifactResolution = saml.HTTPArtifact, "https://127.0.0.1:1/artifact"
		},
		func(c *saml.Config) { c.LogoutBinding = saml.HTTPPost },
		func(c *saml.Config) { c.NameIDFormat = saml.NameIDTransient },
		func(c *saml.Config) { c.SubjectAttribute = "uid" },
		func(c *saml.Config) { c.EssentialAttribute = "uid" },
		func(c *saml.Config) { c.MaxAge = &hour },
		func(c *saml.Config) { c.AuthnContextDecls = []string{"urn:x"} },
		func(c *saml.Config) { c.AuthnContextClasses, c.ForwardACRValues = []string{"urn:x"}, true },
		func(c *saml.Config) { c.RequestedAttributes = []saml.RequestedAttribute{{Name: "x"}} },
		func(c *saml.Config) { c.Unsolicited = map[string]string{"": "/"} },
		func(c *saml.Config) { c.HTTPClient, c.Now, c.Logger = &http.Client{}, nil, nil },
		func(c *saml.Config) { c.AcceptPromptNone, c.ForwardLoginHint = true, true },
	}
	usable := 0
	for i := range edits {
		for j := range edits {
			cfg := config()
			edits[i](&cfg)
			edits[j](&cfg)
			p, err := saml.New(cfg)
			if (p == nil) == (err == nil) {
				t.Fatalf("settings %d and %d: New = %v, %v", i, j, p, err)
			}
			if err == nil {
				usable++
				callAll(t, p)
			}
		}
	}
	if usable < len(edits)*10 {
		t.Errorf("%d pairs are usable", usable)
	}
}

// callAll calls whatever there is, for what it does not do.
func callAll(t *testing.T, p *saml.Provider) {
	t.Helper()
	r, _ := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state, LoginHint: "x", ACRValues: []string{"urn:y"}})
	if r == nil {
		r = &provider.Redirect{}
	}
	form := url.Values{"SAMLResponse": {base64Of([]byte("<x/>"))}, "RelayState": {state}}
	for _, cb := range []provider.Callback{{}, {URL: acs, Params: form, Data: r.Data}, {URL: acs + "?" + form.Encode(), Params: form, Data: r.Data}} {
		_, _ = p.Finish(t.Context(), cb)
		_, _, _ = p.FinishUnsolicited(t.Context(), cb)
		_ = p.FinishLogout(t.Context(), cb)
		_, _ = p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: cb.URL, Params: cb.Params})
	}
	_, _ = p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "x", State: state})
	_, _ = p.AnswerLogout(t.Context(), &provider.Logout{ID: "_x"}, true)
	_, _ = p.Descriptor(t.Context(), provider.DescriptorRequest{RedirectURI: acs, LogoutURI: slo})
	_, _, _ = p.Trust(), p.Insecure(), p.Stale()
}
