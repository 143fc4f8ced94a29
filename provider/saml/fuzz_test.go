package saml_test

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// checkAccepted compares with what was signed: whatever is accepted must be that, and a message that is in order must be.
func checkAccepted(t *testing.T, identity *provider.Identity, err error, signed *provider.Identity, must bool) {
	t.Helper()
	if err != nil {
		if _, ok := errors.AsType[*provider.Error](err); !ok || identity != nil || must {
			t.Fatalf("identity %+v, error %v", identity, err)
		}
		return
	}
	if !reflect.DeepEqual(identity, signed) {
		t.Fatalf("accepted %+v, and %+v was signed", identity, signed)
	}
}

// within fails unless do costs little for a message of that size: the worst that anybody can do with one is to make it dear.
func within(t *testing.T, size int, do func()) {
	t.Helper()
	c := providertest.Measure(do)
	if c.Bytes > 24<<20+100*uint64(size) || c.Time > 2*time.Second+time.Duration(size)*5*time.Microsecond {
		t.Fatalf("%d bytes cost %v", size, c)
	}
}

// begun is the data of a login that is the same in all processes of a fuzz run.
const begun, begunID = `{"i":"_request","r":"` + acs + `","t":1777896000}`, "_request"

// bombs are small messages that are dear to look at, for those who look at them in the wrong way.
func bombs(id string) map[string]*forge {
	all := map[string]*forge{}
	for _, how := range []string{"", "a", "r"} {
		names := newForge(id)
		names.signed, names.after = how, func(r *etree.Element) { longNamespace(r.FindElement("./samlp:Status"), 32<<10, 1<<10) }
		info := newForge(id)
		info.signed, info.after = how, func(r *etree.Element) {
			if m := r.FindElement(".//ds:CanonicalizationMethod"); m != nil {
				longNamespace(m.CreateElement("x"), 32<<10, 1<<10)
			}
		}
		all["names "+how], all["names in SignedInfo "+how] = names, info
	}
	return all
}

func FuzzResponse(f *testing.F) {
	p := newProvider(f, decrypting(config()))
	data, id := []byte(begun), begunID
	genuine := map[string]bool{}
	var signed *provider.Identity
	for _, how := range []string{"a", "r", "ra"} {
		for _, encrypted := range []bool{false, true} {
			forged := newForge(id)
			forged.signed = how
			if encrypted {
				forged.encrypt = gcm(spKey()).encrypt
			}
			doc := forged.response(f)
			identity, err := finish(f, p, data, doc)
			if err != nil {
				f.Fatal(err)
			}
			signed, genuine[doc] = identity, true
			f.Add([]byte(doc))
			forged.key = otherKey()
			f.Add([]byte(forged.response(f)))
			if !encrypted {
				for _, wrap := range wraps {
					forged := newForge(id)
					forged.signed, forged.after = how, func(r *etree.Element) { wrap(r, false) }
					f.Add([]byte(forged.response(f)))
				}
			}
		}
	}
	for _, bomb := range bombs(id) {
		f.Add([]byte(bomb.response(f)))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		within(t, len(doc), func() {
			identity, err := finish(t, p, data, string(doc))
			checkAccepted(t, identity, err, signed, genuine[string(doc)])
		})
	})
}

// FuzzRedirect wants of each message that comes by a query what the others want of those in forms.
func FuzzRedirect(f *testing.F) {
	cfg := leaving()
	cfg.ResponseBinding = saml.HTTPRedirect
	p := newProvider(f, cfg)
	data, id := []byte(begun), begunID
	key := idpKey()
	forged := newForge(id)
	forged.signed = ""
	genuine := map[string]bool{}
	add := func(name, doc string) string {
		_, query, _ := strings.Cut(queried(f, name, doc, &key, saml.RSASHA256, nil).URL, "?")
		genuine[query] = true
		f.Add(query)
		return query
	}
	answer := add("SAMLResponse", forged.response(f))
	add("SAMLRequest", logoutRequest())
	add("SAMLResponse", logoutResponse(begunID))
	f.Add(answer + "&SAMLResponse=x")
	f.Add("SAMLResponse=x&Signature=&SigAlg=")
	f.Add(strings.Replace(answer, "SAMLResponse=", "SAMLResponse="+url.QueryEscape(bombOf(8<<20))+"&x=", 1))
	cb := queried(f, "SAMLResponse", forged.response(f), &key, saml.RSASHA256, nil)
	cb.Data = data
	signed, err := p.Finish(f.Context(), cb)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		params, _ := url.ParseQuery(query)
		var entered bool
		within(t, len(query), func() {
			identity, err := p.Finish(t.Context(), provider.Callback{URL: acs + "?" + query, Params: params, Data: data})
			checkAccepted(t, identity, err, signed, false)
			entered = err == nil
			l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: slo + "?" + query, Params: params})
			entered = checkLogout(t, l, err) || entered
			entered = p.FinishLogout(t.Context(), provider.Callback{URL: slo + "?" + query, Params: params, Data: data}) == nil || entered
		})
		if entered && params.Get("Signature") == "" || !entered && genuine[query] {
			t.Fatalf("accepted is %v, %s", entered, query)
		}
	})
}

// checkLogout compares a request with the one that was signed, and reports whether it was accepted.
func checkLogout(t *testing.T, l *provider.Logout, err error) bool {
	t.Helper()
	if err != nil {
		return false
	}
	if l.Subject != "alice-1" || l.Session != "session-1" || l.ID != "_out" || l.Issuer != idpEntity || len(l.MoreSessions) > 0 ||
		!l.Expires.After(epoch) {
		t.Fatalf("accepted %+v", l)
	}
	return true
}

func FuzzLogout(f *testing.F) {
	p := newProvider(f, leaving())
	genuine := map[string]bool{}
	signatures := map[string]bool{}
	for _, doc := range []string{logoutRequest(), logoutResponse(begunID)} {
		root := read(f, doc)
		signElement(f, root, idpKey(), string(saml.RSASHA256), false, nil, "")
		signatures[root.FindElement(".//ds:SignatureValue").Text()] = true
		genuine[write(root)] = true
		f.Add([]byte(write(root)))
		f.Add([]byte(strings.NewReplacer("LogoutRequest", "LogoutResponse", "LogoutResponse", "LogoutRequest").Replace(write(root))))
		f.Add([]byte(strings.Replace(write(root), "alice-1", "root", 1)))
		f.Add([]byte(doc))
		longNamespace(root, 32<<10, 1<<10)
		f.Add([]byte(write(root)))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		encoded := base64.StdEncoding.EncodeToString(doc)
		var entered bool
		within(t, len(doc), func() {
			l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: slo, Params: url.Values{"SAMLRequest": {encoded}}})
			entered = checkLogout(t, l, err)
			err = p.FinishLogout(t.Context(), provider.Callback{URL: slo, Params: url.Values{"SAMLResponse": {encoded}}, Data: []byte(begun)})
			entered = entered || err == nil
		})
		if !entered {
			if genuine[string(doc)] {
				t.Fatal("one that is in order was refused")
			}
			return
		}
		value := strings.Join(strings.Fields(read(t, string(doc)).FindElement("./ds:Signature/ds:SignatureValue").Text()), "")
		if !signatures[value] {
			t.Fatal("one that nobody has signed was accepted")
		}
	})
}

// FuzzMetadata wants that metadata is refused or leads to addresses that browsers may be sent to, and keys that are strong; and
// what has to be signed, to where those who signed it say.
func FuzzMetadata(f *testing.F) {
	genuine := map[string]bool{}
	for _, metadata := range []string{
		descriptor{}.String(),
		group(` cacheDuration="PT1H"`, descriptor{}.String()),
		descriptor{attrs: ` validUntil="2030-01-01T00:00:00Z" cacheDuration="P1Y2M3DT4H5M6.7S"`}.String(),
		descriptor{keys: keyDescriptor(signing, weakKey(), idpKey())}.String(),
		signMetadata(f, descriptor{attrs: ` ID="_m"`}.String(), idpKey()),
	} {
		genuine[metadata] = true
		f.Add([]byte(metadata))
	}
	f.Add([]byte(signMetadata(f, descriptor{attrs: ` ID="_m"`, sso: ssoAt("https://evil.example")}.String(), otherKey())))
	root := read(f, signMetadata(f, descriptor{attrs: ` ID="_m"`}.String(), idpKey()))
	longNamespace(root, 32<<10, 1<<10)
	f.Add([]byte(write(root)))
	good, bad := newForge(begunID), newForge(begunID)
	bad.key = weakKey()
	strong, weak := good.response(f), bad.response(f)
	f.Fuzz(func(t *testing.T, metadata []byte) {
		cfg := byMetadata(string(metadata))
		var p *saml.Provider
		var err error
		within(t, len(metadata), func() { p, err = saml.New(cfg) })
		cfg.MetadataCertificates = []*x509.Certificate{idpKey().Certificate}
		var signed *saml.Provider
		within(t, len(metadata), func() { signed, _ = saml.New(cfg) })
		if signed != nil {
			if got := entrance(t, signed); got != ssoURL {
				t.Errorf("signed, and a browser is sent to %q", got)
			}
		}
		if err != nil {
			if genuine[string(metadata)] {
				t.Fatal(err)
			}
			return
		}
		if to, err := url.Parse(entrance(t, p)); err != nil || to.Scheme != "https" || to.Host == "" {
			t.Fatalf("a browser is sent to %q", to)
		}
		if who, err := finish(t, p, []byte(begun), weak); err == nil {
			t.Fatalf("a weak key lets %q in", who.Subject)
		}
		if _, err := finish(t, p, []byte(begun), strong); err != nil && genuine[string(metadata)] {
			t.Fatal(err)
		}
	})
}

// entrance returns where a login leads to, without the query.
func entrance(t *testing.T, p *saml.Provider) string {
	t.Helper()
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
	if err != nil {
		wantProviderError(t, "Begin", err)
		return ssoURL
	}
	to, _, _ := strings.Cut(redirect.URL, "?")
	return to
}

// FuzzDecrypt feeds ciphertexts of any length and kind to both modes, and plaintexts that were encrypted as they should be.
func FuzzDecrypt(f *testing.F) {
	cfg := decrypting(config())
	cfg.InsecureAllowCBC, cfg.WantAssertionsSigned = true, true // otherwise what is around it would vouch for all that is in it
	p := newProvider(f, cfg)
	data, id := []byte(begun), begunID
	for n := range 34 {
		f.Add(make([]byte, n), make([]byte, 256-n), n%2 == 0)
	}
	inner := newForge(id)
	root := read(f, inner.response(f))
	assertion := root.FindElement("./saml:Assertion")
	assertion.CreateAttr("xmlns:saml", nsAssertion)
	plain := write(assertion)
	swollen := read(f, plain)
	longNamespace(swollen, 32<<10, 1<<10)
	for _, cbc := range []bool{false, true} {
		f.Add([]byte(plain), []byte(nil), cbc)
		f.Add([]byte(strings.ReplaceAll(plain, "alice", "root")), []byte(nil), cbc)
		f.Add([]byte(write(swollen)), []byte(nil), cbc)
	}
	signed, err := finish(f, p, data, newForge(id).response(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content, wrapped []byte, cbc bool) {
		forged := newForge(id)
		forged.signed = ""
		method := gcm(spKey())
		if cbc { // which something has to cover
			forged.signed, method.data = "r", xmlenc+"aes128-cbc"
		}
		forged.encrypt = func(string) string {
			if len(wrapped) == 0 {
				return method.encrypt(string(content))
			}
			return `<saml:EncryptedAssertion xmlns:saml="` + nsAssertion + `"><e:EncryptedData xmlns:e="` + xmlenc + `"><e:EncryptionMethod Algorithm="` + method.data +
				`"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><e:EncryptedKey><e:EncryptionMethod Algorithm="` + xmlenc + `rsa-oaep-mgf1p"/><e:CipherData><e:CipherValue>` +
				base64Of(wrapped) + `</e:CipherValue></e:CipherData></e:EncryptedKey></ds:KeyInfo><e:CipherData><e:CipherValue>` + base64Of(content) +
				`</e:CipherValue></e:CipherData></e:EncryptedData></saml:EncryptedAssertion>`
		}
		doc := forged.response(t)
		within(t, len(doc), func() {
			identity, err := finish(t, p, data, doc)
			if len(wrapped) > 0 {
				refused(t, identity, err, "cannot be decrypted")
				return
			}
			checkAccepted(t, identity, err, signed, string(content) == plain)
		})
	})
}
