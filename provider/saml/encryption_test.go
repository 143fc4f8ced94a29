package saml_test

import (
	"crypto"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func TestEncrypted(t *testing.T) {
	t.Parallel()
	second := newKey("second", newRSA(2048), epoch.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0))
	oaep := gcm(spKey())
	tests := []struct {
		name   string
		change func(*encryption)
		config func(*saml.Config)
	}{
		{"AES-256-GCM, OAEP with SHA-1", nil, nil},
		{"AES-128-GCM", func(e *encryption) { e.data = xmlenc11 + "aes128-gcm" }, nil},
		{"OAEP with SHA-256, MGF with SHA-1", func(e *encryption) { e.digest, e.hash = xmlenc+"sha256", crypto.SHA256 }, nil},
		{"OAEP with SHA-256 throughout", func(e *encryption) {
			e.key, e.digest, e.hash = xmlenc11+"rsa-oaep", xmlenc+"sha256", crypto.SHA256
			e.mgf, e.mgfHash = xmlenc11+"mgf1sha256", crypto.SHA256
		}, nil},
		{"the EncryptedKey beside", func(e *encryption) { e.beside = true }, nil},
		{"for the second of two keys", func(e *encryption) { *e = gcm(second) }, func(c *saml.Config) { c.DecryptionKeys = append(c.DecryptionKeys, second) }},
		{"wanted", nil, func(c *saml.Config) { c.WantAssertionsEncrypted = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := oaep
			if test.change != nil {
				test.change(&e)
			}
			cfg := decrypting(config())
			if test.config != nil {
				test.config(&cfg)
			}
			for _, signed := range []string{"a", "r", "ra"} {
				identity, err := try(t, cfg, func(f *forge) { f.signed, f.encrypt = signed, e.encrypt })
				if err != nil || identity.Subject != "alice-1" {
					t.Errorf("signed %q: identity %+v, error %v", signed, identity, err)
				}
			}
		})
	}
}

func TestEncryptedRefused(t *testing.T) {
	t.Parallel()
	const uniform = "it cannot be decrypted"
	flip := func(n int) func(*forge) {
		return func(f *forge) {
			f.encrypt = gcm(spKey()).encrypt
			f.after = func(r *etree.Element) {
				v := r.FindElements(".//xenc:CipherValue")[n]
				b, err := base64.StdEncoding.DecodeString(v.Text())
				must(err)
				b[len(b)/2] ^= 1
				v.SetText(base64.StdEncoding.EncodeToString(b))
			}
		}
	}
	with := func(change func(*encryption)) changes {
		return func(f *forge) {
			e := gcm(spKey())
			change(&e)
			f.encrypt = e.encrypt
		}
	}
	cbc := with(func(e *encryption) { e.data = xmlenc + "aes128-cbc" })
	tests := []struct {
		name, want string
		config     func(*saml.Config)
		change     func(*forge)
	}{
		{"no key of ours", "no DecryptionKeys", func(c *saml.Config) { c.DecryptionKeys = nil }, with(func(*encryption) {})},
		{"for another's key", uniform, nil, with(func(e *encryption) { *e = gcm(otherKey()) })},
		{"changed key", uniform, nil, flip(0)},
		{"changed content", uniform, nil, flip(1)},
		{"key of another length", uniform, nil, with(func(e *encryption) { e.wrongKeySize = true })},
		{"PKCS #1 v1.5", uniform, nil, with(func(e *encryption) { e.key = xmlenc + "rsa-1_5" })},
		{"unknown digest", uniform, nil, with(func(e *encryption) { e.digest = "urn:x" })},
		{"a mask beside the algorithm that has its own", uniform, nil, with(func(*encryption) {}).then(func(r *etree.Element) {
			r.FindElement(".//xenc:EncryptedKey/xenc:EncryptionMethod").CreateElement("e:MGF").CreateAttr("Algorithm", xmlenc11+"mgf1sha1")
			r.FindElement(".//xenc:EncryptedKey/xenc:EncryptionMethod/e:MGF").CreateAttr("xmlns:e", xmlenc11)
		})},
		{"more about the algorithm than is known", uniform, nil, with(func(*encryption) {}).then(func(r *etree.Element) {
			r.FindElement(".//xenc:EncryptedKey/xenc:EncryptionMethod").CreateElement("xenc:x")
		})},
		{"no XML", uniform, nil, func(f *forge) {
			f.encrypt = func(string) string { return gcm(spKey()).encrypt("alice") }
		}},
		{"3DES", "is refused", nil, with(func(e *encryption) { e.data = xmlenc11 + "aes128-gcm" }).then(func(r *etree.Element) {
			r.FindElement(".//xenc:EncryptedData/xenc:EncryptionMethod").CreateAttr("Algorithm", xmlenc+"tripledes-cbc")
		})},
		{"CBC", "InsecureAllowCBC", nil, cbc},
		{"CBC, allowed, but not covered", "no signature covers", func(c *saml.Config) { c.InsecureAllowCBC = true }, cbc},
		{"plain though wanted", "WantAssertionsEncrypted", func(c *saml.Config) { c.WantAssertionsEncrypted = true }, nil},
		{"unsigned", "neither the response nor the assertion is signed", nil, func(f *forge) { f.signed, f.encrypt = "", gcm(spKey()).encrypt }},
		{"signed by a stranger", "none of the keys", nil, func(f *forge) { f.key, f.encrypt = otherKey(), gcm(spKey()).encrypt }},
		{"two assertions in one", "not one assertion", nil, func(f *forge) {
			f.encrypt = func(s string) string {
				return gcm(spKey()).encrypt(strings.Replace(s, "</saml:Subject>", "</saml:Subject><saml:Advice>"+
					`<saml:Assertion ID="_x"/></saml:Advice>`, 1))
			}
		}},
		{"a signature in an attribute", "not one assertion", nil, func(f *forge) {
			f.encrypt = func(s string) string {
				return gcm(spKey()).encrypt(strings.Replace(s, "</saml:AttributeValue>",
					`<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/></saml:AttributeValue>`, 1))
			}
		}},
		{"no encrypted key", "too many", nil, func(f *forge) {
			f.encrypt = gcm(spKey()).encrypt
			f.after = func(r *etree.Element) {
				k := r.FindElement(".//xenc:EncryptedKey")
				k.Parent().RemoveChild(k)
			}
		}},
		{"nine encrypted keys", "too many", nil, func(f *forge) {
			f.encrypt = gcm(spKey()).encrypt
			f.after = func(r *etree.Element) {
				k := r.FindElement(".//xenc:EncryptedKey")
				for range 8 {
					k.Parent().AddChild(k.Copy())
				}
			}
		}},
		{"something else", "not one assertion", nil, func(f *forge) {
			f.encrypt = func(string) string { return gcm(spKey()).encrypt(`<x/>`) }
		}},
		{"a forged one in the place of the signed one", "none of the keys", nil, func(f *forge) {
			f.signed, f.encrypt = "a", func(s string) string { return gcm(spKey()).encrypt(s) }
			f.key = otherKey()
		}},
		{"a forged one after the response was signed", "digest", nil, func(f *forge) {
			f.signed, f.encrypt = "r", gcm(spKey()).encrypt
			f.after = func(r *etree.Element) {
				old := r.FindElement("./saml:EncryptedAssertion")
				doc := etree.NewDocument()
				must(doc.ReadFromString(gcm(spKey()).encrypt(`<saml:Assertion xmlns:saml="` + nsAssertion + `" ID="_x"/>`)))
				r.InsertChildAt(old.Index(), doc.Root())
				r.RemoveChild(old)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := decrypting(config())
			if test.config != nil {
				test.config(&cfg)
			}
			identity, err := try(t, cfg, test.change)
			refused(t, identity, err, test.want)
		})
	}
	cfg := decrypting(config())
	cfg.InsecureAllowCBC = true
	identity, err := try(t, cfg, func(f *forge) {
		cbc(f)
		f.signed = "r"
	})
	if err != nil || identity.Subject != "alice-1" {
		t.Errorf("CBC in a signed response: %v", err)
	}
}

// then changes the response after it was signed.
func (change changes) then(after func(*etree.Element)) func(*forge) {
	return func(f *forge) {
		change(f)
		f.after = after
	}
}

type changes func(*forge)

// Ciphertexts of every length around the blocks end in an error.
func TestCiphertextLengths(t *testing.T) {
	t.Parallel()
	cfg := decrypting(config())
	cfg.InsecureAllowCBC = true
	p := newProvider(t, cfg)
	data, id := begin(t, p, provider.Request{})
	for _, algorithm := range []string{xmlenc11 + "aes256-gcm", xmlenc + "aes128-cbc"} {
		for n := range 49 {
			f := newForge(id)
			f.signed = "r"
			f.encrypt = func(string) string {
				e := gcm(spKey())
				e.data = algorithm
				s := e.encrypt("<x/>")
				at := strings.LastIndex(s, "<xenc:CipherValue>") + len("<xenc:CipherValue>")
				end := at + strings.Index(s[at:], "<")
				return s[:at] + base64.StdEncoding.EncodeToString(make([]byte, n)) + s[end:]
			}
			identity, err := finish(t, p, data, f.response(t))
			refused(t, identity, err, "")
		}
	}
}

func TestEncryptedParts(t *testing.T) {
	t.Parallel()
	id, part := gcm(spKey()), gcm(spKey())
	id.tag, part.tag = "EncryptedID", "EncryptedAttribute"
	identity, err := try(t, decrypting(config()), func(f *forge) {
		f.nameID = id.encrypt(`<saml:NameID xmlns:saml="` + nsAssertion + `" Format="` + string(saml.NameIDPersistent) + `">secret-1</saml:NameID>`)
		f.attributes = part.encrypt(`<saml:Attribute xmlns:saml="` + nsAssertion + `" Name="mail"><saml:AttributeValue>a@b.example</saml:AttributeValue></saml:Attribute>`)
	})
	if err != nil || identity.Subject != "secret-1" || identity.Email != "a@b.example" {
		t.Errorf("identity %+v, error %v", identity, err)
	}
	identity, err = try(t, decrypting(config()), func(f *forge) { f.nameID = id.encrypt(`<x/>`) })
	refused(t, identity, err, "no NameID")
}
