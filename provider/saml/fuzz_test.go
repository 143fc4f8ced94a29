package saml_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// checkAccepted compares with what was signed: whatever is accepted must be that.
func checkAccepted(t *testing.T, identity *provider.Identity, err error, signed *provider.Identity) {
	t.Helper()
	if err != nil {
		if _, ok := errors.AsType[*provider.Error](err); !ok || identity != nil {
			t.Fatalf("identity %+v, error %v", identity, err)
		}
		return
	}
	if identity.Subject != signed.Subject || identity.Email != signed.Email || identity.Session != signed.Session ||
		identity.Issuer != signed.Issuer || identity.Once.ID != signed.Once.ID || identity.ACR != signed.ACR ||
		len(identity.Claims) != len(signed.Claims) || !identity.AuthTime.Equal(signed.AuthTime) {
		t.Fatalf("accepted %+v, and %+v was signed", identity, signed)
	}
}

// begun is the data of a login that is the same in all processes of a fuzz run.
const begun, begunID = `{"i":"_request","r":"` + acs + `","t":1777896000}`, "_request"

func FuzzResponse(f *testing.F) {
	p := newProvider(f, decrypting(config()))
	data, id := []byte(begun), begunID
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
			signed = identity
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
	f.Fuzz(func(t *testing.T, doc []byte) {
		identity, err := finish(t, p, data, string(doc))
		checkAccepted(t, identity, err, signed)
	})
}

func FuzzRedirect(f *testing.F) {
	cfg := config()
	cfg.ResponseBinding = saml.HTTPRedirect
	p := newProvider(f, cfg)
	data, id := []byte(begun), begunID
	key := idpKey()
	forged := newForge(id)
	forged.signed = ""
	cb := queried(f, "SAMLResponse", forged.response(f), &key, saml.RSASHA256, nil)
	cb.Data = data
	signed, err := p.Finish(f.Context(), cb)
	if err != nil {
		f.Fatal(err)
	}
	_, query, _ := strings.Cut(cb.URL, "?")
	f.Add(query)
	f.Add(query + "&SAMLResponse=x")
	f.Add("SAMLResponse=x&Signature=&SigAlg=")
	f.Fuzz(func(t *testing.T, query string) {
		params, _ := url.ParseQuery(query)
		identity, err := p.Finish(t.Context(), provider.Callback{URL: acs + "?" + query, Params: params, Data: data})
		checkAccepted(t, identity, err, signed)
	})
}

func FuzzLogout(f *testing.F) {
	p := newProvider(f, leaving())
	root := read(f, logoutRequest())
	signElement(f, root, idpKey(), string(saml.RSASHA256), false, nil, "")
	f.Add([]byte(write(root)))
	f.Add([]byte(strings.ReplaceAll(write(root), "LogoutRequest", "LogoutResponse")))
	f.Add([]byte(logoutRequest()))
	f.Fuzz(func(t *testing.T, doc []byte) {
		encoded := base64.StdEncoding.EncodeToString(doc)
		l, err := p.ReceiveLogout(t.Context(), provider.LogoutMessage{URL: slo, Params: url.Values{"SAMLRequest": {encoded}}})
		if err == nil && (l.Subject != "alice-1" || l.Session != "session-1" || l.ID != "_out" || len(l.MoreSessions) > 0) {
			t.Fatalf("accepted %+v", l)
		}
		err = p.FinishLogout(t.Context(), provider.Callback{URL: slo, Params: url.Values{"SAMLResponse": {encoded}}, Data: []byte(`{"i":"_request"}`)})
		if err == nil {
			t.Fatal("an answer that nobody has signed was accepted")
		}
	})
}

// FuzzMetadata wants that metadata is refused or leads to addresses that browsers may be sent to, and keys that are strong.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(descriptor{}.String()))
	f.Add([]byte(group(` cacheDuration="PT1H"`, descriptor{}.String())))
	f.Add([]byte(descriptor{attrs: ` validUntil="2030-01-01T00:00:00Z" cacheDuration="P1Y2M3DT4H5M6.7S"`}.String()))
	f.Fuzz(func(t *testing.T, metadata []byte) {
		p, err := saml.New(saml.Config{EntityID: spEntity, Metadata: metadata, Now: func() time.Time { return epoch }})
		if err != nil {
			return
		}
		redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: acs, State: state})
		if err != nil {
			wantProviderError(t, "Begin", err)
			return
		}
		if u, err := url.Parse(redirect.URL); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Fatalf("a browser is sent to %q", redirect.URL)
		}
	})
}

// FuzzDecrypt feeds ciphertexts of any length and kind to both modes.
func FuzzDecrypt(f *testing.F) {
	cfg := decrypting(config())
	cfg.InsecureAllowCBC = true
	p := newProvider(f, cfg)
	data, id := []byte(begun), begunID
	for n := range 34 {
		f.Add(make([]byte, n), make([]byte, 256-n), n%2 == 0)
	}
	f.Fuzz(func(t *testing.T, ciphertext, wrapped []byte, cbc bool) {
		algorithm := xmlenc11 + "aes256-gcm"
		if cbc {
			algorithm = xmlenc + "aes128-cbc"
		}
		forged := newForge(id)
		forged.signed = "r"
		forged.encrypt = func(string) string {
			return `<saml:EncryptedAssertion xmlns:saml="` + nsAssertion + `"><e:EncryptedData xmlns:e="` + xmlenc + `"><e:EncryptionMethod Algorithm="` + algorithm +
				`"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><e:EncryptedKey><e:EncryptionMethod Algorithm="` + xmlenc + `rsa-oaep-mgf1p"/><e:CipherData><e:CipherValue>` +
				base64Of(wrapped) + `</e:CipherValue></e:CipherData></e:EncryptedKey></ds:KeyInfo><e:CipherData><e:CipherValue>` + base64Of(ciphertext) +
				`</e:CipherValue></e:CipherData></e:EncryptedData></saml:EncryptedAssertion>`
		}
		identity, err := finish(t, p, data, forged.response(t))
		refused(t, identity, err, "cannot be decrypted")
	})
}
