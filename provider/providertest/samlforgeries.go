package providertest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// --- signatures

func samlSignatures() []SAMLForgery {
	var all []SAMLForgery
	for _, sign := range samlLayouts {
		signed := "signed: " + string(sign) + ": "
		// after is a change to what was signed.
		after := func(name, why string, edit func(a *samlAttack, r, e *etree.Element)) {
			all = append(all, forgery(signed+name, why, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
				out.sign, out.encrypt = sign, false
				out.outer = func(r *etree.Element) {
					for _, e := range signedElements(r) {
						edit(a, r, e)
					}
				}
				return nil
			}))
		}
		tamper := func(r *etree.Element) { becomeVictim(child(r, "Assertion")) }
		after("changed", whyUnsigned, func(_ *samlAttack, r, _ *etree.Element) { tamper(r) })
		after("changed, without signature", whyUnsigned, func(_ *samlAttack, r, e *etree.Element) { tamper(r); unsign(e) })
		after("changed, without SignatureValue", whyUnsigned, func(_ *samlAttack, r, e *etree.Element) {
			tamper(r)
			sig := child(e, "Signature")
			sig.RemoveChild(child(sig, "SignatureValue"))
		})
		after("changed, with an empty SignatureValue", whyUnsigned, func(_ *samlAttack, r, e *etree.Element) {
			tamper(r)
			child(child(e, "Signature"), "SignatureValue").SetText("")
		})
		after("changed, without Reference", whyShape, func(_ *samlAttack, r, e *etree.Element) {
			tamper(r)
			info := e.FindElement("./Signature/SignedInfo")
			info.RemoveChild(child(info, "Reference"))
		})
		after("changed, with its digest", whyUnsigned, func(_ *samlAttack, r, e *etree.Element) { tamper(r); redigest(e) })
		after("changed, with an empty DigestValue", whyUnsigned, func(_ *samlAttack, r, e *etree.Element) {
			tamper(r)
			e.FindElement("./Signature/SignedInfo/Reference/DigestValue").SetText("")
		})
		after("changed, algorithm none", whyAlgorithm, func(_ *samlAttack, r, e *etree.Element) {
			tamper(r)
			redigest(e)
			e.FindElement("./Signature/SignedInfo/SignatureMethod").CreateAttr("Algorithm", "none")
			child(child(e, "Signature"), "SignatureValue").SetText("")
		})
		for _, h := range []struct {
			name string
			new  func() hash.Hash
		}{{"hmac-sha1", sha1.New}, {"hmac-sha256", sha256.New}} {
			for secret, of := range map[string]func(*x509.Certificate) []byte{
				"certificate": func(c *x509.Certificate) []byte { return c.Raw },
				"PEM": func(c *x509.Certificate) []byte {
					return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
				},
				"public key": func(c *x509.Certificate) []byte { return c.RawSubjectPublicKeyInfo },
			} {
				after("changed, "+h.name+" with the "+secret+" for a secret", whyAlgorithm, func(a *samlAttack, r, e *etree.Element) {
					tamper(r)
					redigest(e)
					uri := "http://www.w3.org/2001/04/xmldsig-more#" + h.name
					if h.name == "hmac-sha1" {
						uri = xmlSignatureNS + h.name
					}
					info := e.FindElement("./Signature/SignedInfo")
					child(info, "SignatureMethod").CreateAttr("Algorithm", uri)
					data, err := c14n(info)
					if err != nil {
						panic(err) // it was canonical before
					}
					mac := hmac.New(h.new, of(a.idp.signer().key.cert))
					mac.Write(data)
					child(child(e, "Signature"), "SignatureValue").SetText(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
				})
			}
		}
		for _, tag := range []string{
			"SignedInfo", "SignatureValue", "KeyInfo", "CanonicalizationMethod", "SignatureMethod", "Reference", "Transforms", "Transform", "DigestMethod", "DigestValue",
		} {
			for _, place := range []string{"before", "behind"} {
				after("changed, "+tag+" twice, the forged one "+place, whyShape, func(_ *samlAttack, r, e *etree.Element) {
					forgedPart(r, e, tag, place, tamper)
				})
			}
		}
		after("two signatures", whyShape, func(_ *samlAttack, _, e *etree.Element) {
			sig := child(e, "Signature")
			e.InsertChildAt(sig.Index(), sig.Copy())
		})
		after("two signatures, one of a stranger", whyShape, func(a *samlAttack, r, e *etree.Element) {
			tamper(r)
			genuine := child(e, "Signature")
			e.RemoveChild(genuine)
			if err := (signing{a.strangerKey(), a.idp.alg, a.strangerKey().cert}).envelop(e); err != nil {
				panic(err)
			}
			e.AddChild(genuine)
		})
		for _, part := range []struct{ name, wrap string }{
			{"a comment", "<!--%s-->"}, {"a processing instruction", "<?x %s?>"}, {"CDATA", "<![CDATA[%s]]>"},
		} {
			for _, tag := range []string{"DigestValue", "SignatureValue"} {
				after("changed, "+part.name+" in "+tag, whyComment, func(_ *samlAttack, r, e *etree.Element) {
					sig := child(e, "Signature")
					genuine := sig.FindElement(".//" + tag).Text()
					tamper(r)
					forged := redigest(e)
					if tag == "SignatureValue" {
						forged = "AAAA"
					} else {
						sig.FindElement(".//" + tag).SetText(genuine)
					}
					setInner(sig.FindElement(".//"+tag), fmt.Sprintf(part.wrap, forged)+genuine)
				})
			}
		}
		// by is a signature of another key, or made in another way.
		by := func(name, why string, use func(a *samlAttack, out *samlOutcome) error) {
			all = append(all, forgery(signed+name, why, samlVictim, func(a *samlAttack, out *samlOutcome) error {
				out.sign = sign
				return use(a, out)
			}))
		}
		by("by a stranger, with their certificate", whyKeyInfo, func(a *samlAttack, out *samlOutcome) error {
			out.signer.key = a.strangerKey()
			out.signer.keyInfo = out.signer.key.cert
			return nil
		})
		by("by a stranger, without KeyInfo", whyKeyInfo, func(a *samlAttack, out *samlOutcome) error {
			out.signer.key, out.signer.keyInfo = a.strangerKey(), nil
			return nil
		})
		by("by a stranger, with the genuine certificate", whyKeyInfo, func(a *samlAttack, out *samlOutcome) error {
			out.signer.key = a.strangerKey()
			return nil
		})
		by("by a key of RSA 1024", whyAlgorithm, func(a *samlAttack, out *samlOutcome) error {
			key, err := newCertKey("weak", nil, 1024, a.idp.cfg.Now())
			out.signer = signing{key, xmlAlgs["RS256"], nil}
			return err
		})
		by("by SHA-1", whyAlgorithm, func(a *samlAttack, out *samlOutcome) error {
			out.signer.alg = sha1Alg
			if a.idp.alg.curve != nil {
				out.signer.alg.uri = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"
			}
			return nil
		})
		by("by a digest of SHA-1", whyAlgorithm, func(_ *samlAttack, out *samlOutcome) error {
			inner, resign := out.signer.alg, out.signer
			out.edit = nil
			out.sign = ""
			out.inner = func(r *etree.Element) {
				if sign != SAMLSignResponse {
					signOddly(resign, child(r, "Assertion"), inner, func(e *etree.Element, data []byte) string {
						sum := sha1.Sum(data)
						return reference(xmlSignatureNS+"sha1", e.SelectAttrValue("ID", ""), sum[:])
					})
				}
			}
			out.outer = func(r *etree.Element) {
				if sign != SAMLSignAssertion {
					signOddly(resign, r, inner, func(e *etree.Element, data []byte) string {
						sum := sha1.Sum(data)
						return reference(xmlSignatureNS+"sha1", e.SelectAttrValue("ID", ""), sum[:])
					})
				}
			}
			return nil
		})
		if sign == SAMLSignBoth {
			continue
		}
		// What the genuine key signs in another form.
		for name, refs := range map[string]func(e *etree.Element, data []byte) string{
			"two references, the second of something else": func(e *etree.Element, data []byte) string {
				return digestOf(e.SelectAttrValue("ID", ""), data) + digestOf("_other", []byte("other"))
			},
			"two references, the first of something else": func(e *etree.Element, data []byte) string {
				return digestOf("_other", []byte("other")) + digestOf(e.SelectAttrValue("ID", ""), data)
			},
			"a reference to everything": func(e *etree.Element, data []byte) string {
				return strings.Replace(digestOf("", data), `URI="#"`, `URI=""`, 1)
			},
			"a reference without URI": func(e *etree.Element, data []byte) string {
				return strings.Replace(digestOf("", data), ` URI="#"`, "", 1)
			},
			"a reference by XPointer": func(e *etree.Element, data []byte) string {
				return digestOf("xpointer(id('"+e.SelectAttrValue("ID", "")+"'))", data)
			},
			"no reference": func(*etree.Element, []byte) string { return "" },
			"a transform of XPath": func(e *etree.Element, data []byte) string {
				return strings.Replace(digestOf(e.SelectAttrValue("ID", ""), data), exclusiveC14N, "http://www.w3.org/TR/1999/REC-xpath-19991116", 1)
			},
			"a transform of XSLT": func(e *etree.Element, data []byte) string {
				return strings.Replace(digestOf(e.SelectAttrValue("ID", ""), data), exclusiveC14N, "http://www.w3.org/TR/1999/REC-xslt-19991116", 1)
			},
		} {
			by(name, whyShape, func(_ *samlAttack, out *samlOutcome) error {
				s := out.signer
				out.sign, out.encrypt = "", false
				out.outer = func(r *etree.Element) {
					e := r
					if sign == SAMLSignAssertion {
						e = child(r, "Assertion")
					}
					signOddly(s, e, s.alg, refs)
				}
				return nil
			})
		}
		by("ECDSA in ASN.1", "one signature, two forms: XML Signature 1.1 §6.4.3 has r and s side by side", func(a *samlAttack, out *samlOutcome) error {
			if a.idp.alg.curve == nil {
				return errLeaveOut
			}
			out.encrypt = false
			out.outer = func(r *etree.Element) {
				for _, e := range signedElements(r) {
					rewriteASN1(out.signer, e)
				}
			}
			return nil
		})
	}
	slices.SortStableFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// signedElements are those of a response that have a signature, the inner one first.
func signedElements(r *etree.Element) []*etree.Element {
	var found []*etree.Element
	for _, e := range []*etree.Element{child(r, "Assertion"), r} {
		if child(e, "Signature") != nil {
			found = append(found, e)
		}
	}
	return found
}

// digestOf is a reference by SHA-256.
func digestOf(id string, data []byte) string {
	sum := sha256.Sum256(data)
	return reference(xmlEncNS+"sha256", id, sum[:])
}

// signOddly signs e with references of whatever form.
func signOddly(s signing, e *etree.Element, alg xmlAlg, references func(e *etree.Element, data []byte) string) {
	data, err := c14n(e)
	if err != nil {
		panic(err) // it was made here
	}
	info := signedInfo(alg, references(e, data))
	value, err := s.key.sign(alg, []byte(info))
	if err != nil {
		panic(err)
	}
	sig, err := readXML(`<ds:Signature xmlns:ds="` + xmlSignatureNS + `">` + info + `<ds:SignatureValue>` + base64.StdEncoding.EncodeToString(value) +
		`</ds:SignatureValue></ds:Signature>`)
	if err != nil {
		panic(err)
	}
	e.InsertChildAt(child(e, "Issuer").Index()+1, sig)
}

// rewriteASN1 replaces a SignatureValue of ECDSA by one in ASN.1.
func rewriteASN1(s signing, e *etree.Element) {
	sig := child(e, "Signature")
	data, err := c14n(child(sig, "SignedInfo"))
	if err != nil {
		panic(err)
	}
	h := s.alg.hash.New()
	h.Write(data)
	value, err := s.key.private.Sign(rand.Reader, h.Sum(nil), s.alg.hash)
	if err != nil {
		panic(err)
	}
	child(sig, "SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
}

// redigest makes the digest that of what e is now, and returns it.
func redigest(e *etree.Element) string {
	bare := standalone(e)
	unsign(bare)
	data, err := c14n(bare)
	if err != nil {
		panic(err)
	}
	value := e.FindElement("./Signature/SignedInfo/Reference/DigestValue")
	uri := e.FindElement("./Signature/SignedInfo/Reference/DigestMethod").SelectAttrValue("Algorithm", "")
	h := crypto.SHA256.New()
	for _, alg := range xmlAlgs {
		if alg.digestURI == uri {
			h = alg.hash.New()
		}
	}
	h.Write(data)
	value.SetText(base64.StdEncoding.EncodeToString(h.Sum(nil)))
	return value.Text()
}

// forgedPart changes the message and puts, beside a part of the signature, what that would be for the changed one.
func forgedPart(r, e *etree.Element, tag, place string, tamper func(*etree.Element)) {
	sig := child(e, "Signature")
	part := sig.FindElement(".//" + tag)
	genuine := part.Copy()
	tamper(r)
	digest := e.FindElement("./Signature/SignedInfo/Reference/DigestValue")
	kept := digest.Text()
	redigest(e)
	forged := part.Copy()
	digest.SetText(kept)
	parent, index := part.Parent(), part.Index()
	parent.RemoveChild(part)
	first, second := forged, genuine
	if place == "behind" {
		first, second = genuine, forged
	}
	parent.InsertChildAt(index, first)
	parent.InsertChildAt(index+1, second)
}

// setInner replaces what is in e by XML.
func setInner(e *etree.Element, text string) {
	holder, err := readXML("<x>" + text + "</x>")
	if err != nil {
		panic(err)
	}
	e.Child = nil
	for _, t := range slices.Clone(holder.Child) {
		e.AddChild(t)
	}
}

// --- documents

// textForgery changes the text of the answer at the end.
func textForgery(name, why string, u User, edit func(a *samlAttack, text string) string) []SAMLForgery {
	var all []SAMLForgery
	for _, sign := range samlLayouts {
		all = append(all, SAMLForgery{Name: "document, signed: " + string(sign) + ": " + name, Why: why, user: u, make: func(a *samlAttack) ([]samlMessage, error) {
			out := a.about(u)
			out.sign, out.encrypt = sign, false
			text, err := out.document()
			return a.posted(edit(a, text)), err
		}})
	}
	return all
}

func samlDocuments() []SAMLForgery {
	evil := samlAttacker // of whom the first part of the name is the victim's
	evil.Subject = samlVictim.Subject + ".evil.example"
	evil.Email = samlVictim.Email + ".evil.example"
	replace := func(old, replacement string) func(*samlAttack, string) string {
		return func(_ *samlAttack, text string) string {
			return strings.ReplaceAll(text, old, replacement)
		}
	}
	split := func(what string) func(*samlAttack, string) string {
		return replace(samlVictim.Subject+".evil", samlVictim.Subject+what+".evil")
	}
	laughs := `<!ENTITY l0 "` + strings.Repeat("ha", 50) + `">`
	for i := 1; i < 10; i++ {
		laughs += fmt.Sprintf(`<!ENTITY l%d "%s">`, i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
	}
	all := slices.Concat(
		textForgery("a comment in the NameID", whyComment, evil, split("<!-- -->")),
		textForgery("an empty comment in the NameID", whyComment, evil, split("<!---->")),
		textForgery("a processing instruction in the NameID", whyComment, evil, split("<?x y?>")),
		textForgery("a comment in an attribute", whyComment, evil, replace(samlVictim.Email+".evil", samlVictim.Email+"<!-- -->.evil")),
		textForgery("a processing instruction in an attribute", whyComment, evil, replace(samlVictim.Email+".evil", samlVictim.Email+"<?x y?>.evil")),
		textForgery("a comment before the root", whyComment, evil, func(_ *samlAttack, text string) string { return "<!-- x -->" + text }),
		textForgery("a document type", whyEntities, evil, func(_ *samlAttack, text string) string { return `<!DOCTYPE r>` + text }),
		textForgery("an entity", whyEntities, evil, func(_ *samlAttack, text string) string {
			return `<!DOCTYPE r [<!ENTITY e "` + samlVictim.Subject + `">]>` + strings.Replace(text, evil.Subject, "&e;", 1)
		}),
		textForgery("an entity from a file", whyEntities, evil, func(_ *samlAttack, text string) string {
			return `<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/hostname">]>` + strings.Replace(text, evil.Subject, "&e;", 1)
		}),
		textForgery("an entity from an address", whyEntities, evil, func(a *samlAttack, text string) string {
			return `<!DOCTYPE r [<!ENTITY % e SYSTEM "` + a.idp.cfg.URL + `/metadata">%e;]>` + text
		}),
		textForgery("a billion laughs", whyEntities, evil, func(_ *samlAttack, text string) string {
			return `<!DOCTYPE r [` + laughs + `]>` + strings.Replace(text, evil.Subject, "&l9;", 1)
		}),
		textForgery("an attribute by default", whyEntities, evil, func(_ *samlAttack, text string) string {
			return `<!DOCTYPE r [<!ATTLIST r ID CDATA "_x">]>` + text
		}),
		textForgery("a second root", whyParser, evil, func(_ *samlAttack, text string) string { return text + "<r/>" }),
		textForgery("a second response behind", whyParser, evil, func(_ *samlAttack, text string) string { return text + asVictim(text, evil) }),
		textForgery("a second response before", whyParser, evil, func(_ *samlAttack, text string) string { return asVictim(text, evil) + text }),
		textForgery("text behind the root", whyParser, evil, func(_ *samlAttack, text string) string { return text + "text" }),
		textForgery("an attribute twice", whyParser, evil, func(_ *samlAttack, text string) string {
			return strings.Replace(text, ` Version="2.0"`, ` Version="2.0" Version="2.0"`, 1)
		}),
		textForgery("an ID twice", whyParser, evil, func(_ *samlAttack, text string) string {
			r, err := readXML(text)
			if err != nil {
				panic(err)
			}
			e := child(r, "Status").CreateElement("samlp:StatusDetail").CreateElement("x")
			e.CreateAttr("ID", child(r, "Assertion").SelectAttrValue("ID", ""))
			return writeXML(r)
		}),
		textForgery("a NUL", whyParser, evil, split("\x00")),
		textForgery("a NUL by reference", whyParser, evil, split("&#0;")),
		textForgery("not UTF-8", whyParser, evil, split("\xff")),
		textForgery("UTF-7", whyParser, evil, func(_ *samlAttack, text string) string { return `<?xml version="1.0" encoding="UTF-7"?>` + text }),
		textForgery("an undeclared prefix", whyParser, evil, replace("</saml:NameID>", "<y:z/></saml:NameID>")),
		textForgery("names with two colons", whyParser, evil, replace("</saml:NameID>", `<saml:x:NameID xmlns:x="urn:x"/></saml:NameID>`)),
		textForgery("an element in the NameID", whyParser, evil, split("<x/>")),
		textForgery("nested deeply", whyParser, evil, func(_ *samlAttack, text string) string {
			const depth = 20_000
			return strings.Replace(text, "</samlp:Status>", strings.Repeat("<a>", depth)+strings.Repeat("</a>", depth)+"</samlp:Status>", 1)
		}),
		textForgery("too large", whySwells, evil, func(_ *samlAttack, text string) string {
			return strings.Replace(text, "</samlp:Status>", strings.Repeat(" ", 4<<20)+"</samlp:Status>", 1)
		}),
		textForgery("no XML", whyParser, evil, func(*samlAttack, string) string { return "<<<" }),
		textForgery("nothing", whyParser, evil, func(*samlAttack, string) string { return "" }),
		textForgery("something else that is signed", whyParser, evil, func(a *samlAttack, _ string) string {
			text, err := a.idp.signer().signed(a.idp.logoutXML("LogoutResponse", a.login.acs, xmlID(), ` InResponseTo="`+a.login.id+`"`,
				`<samlp:Status><samlp:StatusCode Value="`+samlStatus+`Success"/></samlp:Status>`))
			if err != nil {
				panic(err)
			}
			return text
		}),
	)
	for _, tag := range []string{"Response", "Assertion", "Subject", "NameID", "SubjectConfirmation", "SubjectConfirmationData", "Conditions",
		"AudienceRestriction", "Audience", "AuthnStatement", "Issuer", "Status", "StatusCode", "Signature", "SignedInfo", "Reference"} {
		all = append(all, forgery("document: "+tag+" of a foreign namespace", whyParser, samlVictim, func(_ *samlAttack, out *samlOutcome) error {
			out.encrypt = false
			foreign := func(r *etree.Element) {
				for _, e := range append(r.FindElements("//"+tag), r) {
					if e.Tag == tag {
						e.Space = "f"
						e.CreateAttr("xmlns:f", "urn:foreign")
					}
				}
			}
			if slices.Contains([]string{"Signature", "SignedInfo", "Reference"}, tag) {
				out.outer = foreign
			} else {
				out.edit, out.sign = foreign, SAMLSignBoth
				if tag == "Assertion" {
					out.sign = SAMLSignResponse
				}
			}
			return nil
		}))
	}
	for _, second := range []string{"before", "behind"} {
		all = append(all, forgery("document: two assertions, the forged one "+second, whyWrapping, samlAttacker, func(_ *samlAttack, out *samlOutcome) error {
			out.encrypt = false
			out.outer = func(r *etree.Element) {
				genuine := child(r, "Assertion")
				forged := genuine.Copy()
				unsign(forged)
				becomeVictim(forged)
				forged.CreateAttr("ID", xmlID())
				r.InsertChildAt(genuine.Index()+map[string]int{"before": 0, "behind": 1}[second], forged)
			}
			return nil
		}))
	}
	all = append(all, forgery("document: two assertions, both signed", "which of them counts?", samlAttacker, func(a *samlAttack, out *samlOutcome) error {
		out.encrypt = false
		other, err := a.about(samlVictim).plain()
		if err != nil {
			return err
		}
		out.outer = func(r *etree.Element) { r.AddChild(child(other, "Assertion")) }
		return nil
	}), forgery("document: no assertion", whyUnsigned, samlVictim, func(_ *samlAttack, out *samlOutcome) error {
		out.sign, out.edit = SAMLSignResponse, func(r *etree.Element) { r.RemoveChild(child(r, "Assertion")) }
		return nil
	}), forgery("document: an assertion without a response", whyParser, samlVictim, func(_ *samlAttack, out *samlOutcome) error {
		out.encrypt = false
		out.outer = func(r *etree.Element) { *r = *standalone(child(r, "Assertion")) }
		return nil
	}))
	raw := func(name, why string, make func(a *samlAttack) ([]samlMessage, error)) {
		all = append(all, SAMLForgery{Name: "document: " + name, Why: why, user: samlVictim, make: make})
	}
	raw("compressed in a form, 1 MiB of it a gigabyte", whySwells, func(a *samlAttack) ([]samlMessage, error) { return a.posted(bomb(1024)), nil })
	raw("compressed in a query, 48 MiB", whySwells, func(a *samlAttack) ([]samlMessage, error) {
		return []samlMessage{{query: "SAMLResponse=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(bomb(44)))) +
			"&RelayState=" + url.QueryEscape(a.login.relayState)}}, nil
	})
	raw("twice in the form", whyParser, func(a *samlAttack) ([]samlMessage, error) {
		m, err := a.document(a.about(samlVictim), nil)
		m[0].form["SAMLResponse"] = append(m[0].form["SAMLResponse"], m[0].form["SAMLResponse"]...)
		return m, err
	})
	raw("no base64", whyParser, func(a *samlAttack) ([]samlMessage, error) {
		m := a.posted("x")
		m[0].form.Set("SAMLResponse", "%%%")
		return m, nil
	})
	raw("a query without signature", whyUnsigned, func(a *samlAttack) ([]samlMessage, error) {
		out := a.about(samlVictim)
		out.sign, out.encrypt = "", false
		text, err := out.document()
		return []samlMessage{{query: "SAMLResponse=" + url.QueryEscape(deflate64(text)) + "&RelayState=" + url.QueryEscape(a.login.relayState)}}, err
	})
	raw("a query signed by a stranger", whyKeyInfo, func(a *samlAttack) ([]samlMessage, error) {
		out := a.about(samlVictim)
		out.sign, out.encrypt = "", false
		text, err := out.document()
		if err != nil {
			return nil, err
		}
		query, err := signing{a.strangerKey(), a.idp.alg, nil}.query("SAMLResponse", text, a.login.relayState)
		return []samlMessage{{query: query}}, err
	})
	return all
}

// plain returns the document as an element, not encrypted.
func (o *samlOutcome) plain() (*etree.Element, error) {
	o.encrypt = false
	text, err := o.document()
	if err != nil {
		return nil, err
	}
	return readXML(text)
}

// asVictim is a response with somebody else in it.
func asVictim(text string, u User) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, u.Subject, samlVictim.Subject), u.Email, samlVictim.Email)
}

// --- encryption

func samlEncrypted() []SAMLForgery {
	var all []SAMLForgery
	add := func(name, why string, u User, edit func(a *samlAttack, out *samlOutcome) error) {
		all = append(all, forgery("encrypted: "+name, why, u, func(a *samlAttack, out *samlOutcome) error {
			if a.login.sp.EncryptTo == nil {
				return errLeaveOut
			}
			out.encrypt = true
			return edit(a, out)
		}))
	}
	add("nothing signed", whyEncrypted, samlVictim, func(_ *samlAttack, out *samlOutcome) error { out.sign = ""; return nil })
	for _, sign := range samlLayouts {
		add("by a stranger, signed: "+string(sign), whyEncrypted, samlVictim, func(a *samlAttack, out *samlOutcome) error {
			out.sign, out.signer.key = sign, a.strangerKey()
			return nil
		})
		add("changed after it was signed: "+string(sign), whyEncrypted, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
			out.sign = sign
			if sign == SAMLSignResponse { // there the ciphertext is what is signed
				out.outer = func(r *etree.Element) { a.exchange(r, nil) }
				return nil
			}
			out.inner = func(r *etree.Element) { becomeVictim(child(r, "Assertion")) }
			if sign == SAMLSignBoth {
				out.sign = SAMLSignAssertion
			}
			return nil
		})
		add("a forged one beside, signed: "+string(sign), whyEncrypted, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
			out.sign = sign
			out.outer = func(r *etree.Element) {
				e := child(r, "EncryptedAssertion")
				forged := e.Copy()
				r.InsertChildAt(e.Index(), forged)
				a.exchangeAt(r, forged)
			}
			return nil
		})
	}
	add("a plain forged one beside", whyEncrypted, samlAttacker, func(a *samlAttack, out *samlOutcome) error {
		forged, err := a.about(samlVictim).plain()
		out.outer = func(r *etree.Element) {
			e := child(forged, "Assertion")
			unsign(e)
			r.InsertChildAt(child(r, "EncryptedAssertion").Index(), e)
		}
		return err
	})
	add("something that is no assertion", whyEncrypted, samlVictim, func(a *samlAttack, out *samlOutcome) error {
		out.sign = SAMLSignResponse
		out.inner = func(r *etree.Element) { child(r, "Assertion").Tag = "Advice" }
		return nil
	})
	for _, data := range []string{"aes256-gcm", "aes256-cbc"} {
		for _, size := range []int{0, 1, 11, 12, 15, 16, 17, 27, 28, 31, 32, 33, 47, 48, 49} {
			add("a ciphertext of "+strconv.Itoa(size)+" bytes, "+data, whyOracle, samlVictim, func(a *samlAttack, out *samlOutcome) error {
				out.sign = ""
				return a.oracle(out, data, make([]byte, size))
			})
			all[len(all)-1].uniform = data
		}
		for name, plain := range map[string]string{"no XML": "<<<", "blanks": "                ", "no assertion": "<a/>", "nothing": ""} {
			if name == "no assertion" {
				continue // whoever has the public key knows what is in it: that it was read says nothing new
			}
			add("a plaintext of "+name+", "+data, whyOracle, samlVictim, func(a *samlAttack, out *samlOutcome) error {
				out.sign = ""
				out.outer = func(r *etree.Element) {
					text, err := SAMLEncryption{Data: data}.element("EncryptedAssertion", plain, a.login.sp.EncryptTo)
					swapEncrypted(r, text, err)
				}
				return nil
			})
			all[len(all)-1].uniform = data
		}
	}
	slices.SortStableFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// oracle puts a ciphertext, whatever it is, into the answer.
func (a *samlAttack) oracle(out *samlOutcome, data string, ciphertext []byte) error {
	text, err := SAMLEncryption{Data: data}.wrapped("EncryptedAssertion", ciphertext, make([]byte, xmlDataMethods[data].size), a.login.sp.EncryptTo)
	out.outer = func(r *etree.Element) { swapEncrypted(r, text, nil) }
	return err
}

// exchange puts a forged assertion, encrypted, in the place of the genuine one.
func (a *samlAttack) exchange(r, _ *etree.Element) { a.exchangeAt(r, child(r, "EncryptedAssertion")) }

func (a *samlAttack) exchangeAt(r, place *etree.Element) {
	forged, err := a.forgedAssertion(true)
	if err != nil {
		panic(err) // it was made here
	}
	insertBefore(place, forged)
	r.RemoveChild(place)
}

func swapEncrypted(r *etree.Element, text string, err error) {
	swapAt(r, child(r, "EncryptedAssertion"), text, err)
}

func swapAt(r, place *etree.Element, text string, err error) {
	if err == nil {
		var e *etree.Element
		if e, err = readXML(text); err == nil {
			r.InsertChildAt(place.Index(), e)
			r.RemoveChild(place)
			return
		}
	}
	panic(err) // it was made here
}
