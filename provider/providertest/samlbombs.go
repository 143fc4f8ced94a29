package providertest

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// samlBudget is what a forgery may cost, if the target does not say otherwise. The messages have two megabytes at most.
var samlBudget = Cost{Time: 10 * time.Second, Bytes: 1 << 30}

const (
	whySwells   = "a message that is small until somebody looks at it (CVE-2023-28119, CVE-2023-26483, CVE-2025-25293, CVE-2026-2575)"
	whyCanon    = "canonicalization that writes gigabytes, or takes minutes, of what nobody has signed yet"
	whyMany     = "checks that are made for each of what there should be one of, or for each pair"
	whyEntities = "document types and entities (CVE-2024-47832 and its kind)"
)

// What bombs are filled with. They stay below the sizes that a service provider refuses unseen.
const (
	samlFill = 512 << 10
	samlMany = 5000
)

// swellings are put into an element, wherever that is.
var swellings = []struct {
	name, why string
	into      func(e *etree.Element)
	signable  bool // without harm to who signs it
}{
	{"a long namespace of many elements", whyCanon, func(e *etree.Element) {
		e.CreateAttr("xmlns:b", "urn:"+strings.Repeat("b", 128<<10))
		several(8192, func(int) { e.CreateElement("b:b") })
	}, false},
	{"a long default namespace, taken back by every second element", whyCanon, func(e *etree.Element) {
		long := "urn:" + strings.Repeat("b", 64<<10)
		e = e.CreateElement("b")
		e.CreateAttr("xmlns", long)
		several(4096, func(int) { e.CreateElement("b").CreateElement("x:x").CreateAttr("xmlns:x", "urn:x") })
	}, false},
	{"prefixes that are declared far above", whyCanon, func(e *etree.Element) {
		const deep, wide = 30, 50
		e = e.CreateElement("x")
		several(wide, func(i int) { e.CreateAttr("xmlns:p"+strconv.Itoa(i), "urn:"+strconv.Itoa(i)) })
		several(deep, func(int) {
			e = e.CreateElement("x")
			several(wide+10, func(i int) { e.CreateAttr("a"+strconv.Itoa(i), "") })
		})
		several(400, func(int) {
			x := e.CreateElement("x")
			several(wide, func(i int) { x.CreateAttr("p"+strconv.Itoa(i)+":a", "") })
		})
	}, false},
	{"prefixes that are declared anew at each element", whyCanon, func(e *etree.Element) {
		several(400, func(i int) {
			x := e.CreateElement("x")
			several(30, func(j int) {
				x.CreateAttr(fmt.Sprintf("xmlns:p%d", j), fmt.Sprintf("urn:%d-%d", i, j))
				x.CreateAttr(fmt.Sprintf("p%d:a", j), "")
			})
		})
	}, false},
	{"a thousand prefixes of one element", whyCanon, func(e *etree.Element) {
		several(1000, func(i int) {
			e.CreateAttr("xmlns:p"+strconv.Itoa(i), "urn:"+strconv.Itoa(i))
			e.CreateAttr("p"+strconv.Itoa(i)+":a", "")
		})
		several(1000, func(i int) { e.CreateElement("p" + strconv.Itoa(i) + ":x") })
	}, false},
	{"attributes of one element", whyMany, func(e *etree.Element) {
		e = e.CreateElement("x")
		e.Attr = make([]etree.Attr, 0, 60_000)
		several(60_000, func(i int) { e.Attr = append(e.Attr, etree.Attr{Key: "a" + strconv.Itoa(i)}) })
	}, false},
	{"elements", whyMany, func(e *etree.Element) { several(4*samlMany, func(int) { e.CreateElement("x") }) }, false},
	{"elements with ids", whyMany, func(e *etree.Element) {
		several(samlMany, func(i int) { e.CreateElement("x").CreateAttr("ID", "_"+strconv.Itoa(i)) })
	}, true},
	{"elements in elements", whyMany, func(e *etree.Element) {
		several(2*samlMany, func(int) { e = e.CreateElement("x") })
	}, false},
	{"text in pieces", whyMany, func(e *etree.Element) {
		e = e.CreateElement("x")
		several(4*samlMany, func(int) { e.AddChild(etree.NewCData("x")) })
	}, false},
	{"characters by reference", whyMany, func(e *etree.Element) { e.CreateElement("x").SetText(strings.Repeat("<&>", samlFill/13)) }, true},
	{"one text", whyMany, func(e *etree.Element) { e.CreateElement("x").SetText(strings.Repeat("x", samlFill)) }, true},
	{"one attribute", whyMany, func(e *etree.Element) { e.CreateElement("x").CreateAttr("a", strings.Repeat("x", samlFill)) }, true},
	{"one name", whyMany, func(e *etree.Element) { e.CreateElement(strings.Repeat("x", samlFill/2)) }, true},
	{"confirmations", whyMany, func(e *etree.Element) {
		several(samlMany, func(int) { e.CreateElement("saml:SubjectConfirmation").CreateAttr("Method", samlBearer) })
	}, true},
	{"names in names", whyMany, func(e *etree.Element) { several(samlMany, func(int) { e.CreateElement("saml:NameID").SetText("x") }) }, true},
	{"assertions", whyMany, func(e *etree.Element) { several(samlMany, func(int) { e.CreateElement("saml:Assertion") }) }, true},
	{"encrypted assertions", whyMany, func(e *etree.Element) {
		several(1000, func(int) { e.CreateElement("saml:EncryptedAssertion").CreateElement("EncryptedData") })
	}, true},
}

func several(n int, do func(i int)) {
	for i := range n {
		do(i)
	}
}

// signatureSwellings are put into a ds:Signature.
var signatureSwellings = []struct {
	name string
	into func(sig *etree.Element)
}{
	{"SignatureValue", func(sig *etree.Element) { child(sig, "SignatureValue").SetText(strings.Repeat("AAAA", samlFill/4)) }},
	{"DigestValue", func(sig *etree.Element) {
		sig.FindElement(".//DigestValue").SetText(strings.Repeat("AAAA", samlFill/4))
	}},
	{"a certificate", func(sig *etree.Element) {
		info := holderIn(sig.Parent(), "KeyInfo")
		info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(strings.Repeat("MIIB", samlFill/4))
	}},
	{"certificates", repeated("KeyInfo", "X509Data")},
	{"signatures", func(sig *etree.Element) { several(300, func(int) { sig.Parent().AddChild(sig.Copy()) }) }},
	{"references", repeated("SignedInfo", "Reference")},
	{"transforms", repeated("Transforms", "Transform")},
	{"values", repeated("", "SignatureValue")},
	{"prefixes to keep", func(sig *etree.Element) {
		var list []string
		several(samlMany, func(i int) { list = append(list, "p"+strconv.Itoa(i)) })
		keepPrefixes(sig.FindElement(".//Transform[2]"), strings.Join(list, " "))
	}},
	{"prefixes to keep, declared and of many elements", func(sig *etree.Element) {
		var list []string
		several(40, func(i int) {
			list = append(list, "p"+strconv.Itoa(i))
			sig.Parent().CreateAttr("xmlns:p"+strconv.Itoa(i), "urn:"+strings.Repeat("p", 4<<10))
		})
		keepPrefixes(sig.FindElement(".//Transform[2]"), strings.Join(list, " "))
		several(5000, func(int) { sig.Parent().CreateElement("x") })
	}},
	{"elements to canonicalize, of SignedInfo", func(sig *etree.Element) {
		e := sig.FindElement(".//CanonicalizationMethod").CreateElement("x")
		e.CreateAttr("xmlns:b", "urn:"+strings.Repeat("b", 64<<10))
		several(4096, func(int) { e.CreateElement("b:b") })
	}},
	{"elements to canonicalize, of prefixes to keep", func(sig *etree.Element) {
		e := keepPrefixes(sig.FindElement(".//CanonicalizationMethod"), "b")
		e.CreateAttr("xmlns:b", "urn:"+strings.Repeat("b", 64<<10))
		several(4096, func(int) { e.CreateElement("b:b") })
	}},
}

// repeated puts many copies of a part of a signature beside it.
func repeated(in, tag string) func(sig *etree.Element) {
	return func(sig *etree.Element) {
		parent := sig
		if in != "" {
			parent = sig.FindElement(".//" + in)
		}
		part := child(parent, tag)
		if part == nil {
			part = parent.CreateElement("ds:" + tag)
		}
		several(300, func(int) { parent.InsertChildAt(part.Index(), part.Copy()) })
	}
}

func keepPrefixes(method *etree.Element, list string) *etree.Element {
	e := method.CreateElement("ec:InclusiveNamespaces")
	e.CreateAttr("xmlns:ec", exclusiveC14N)
	e.CreateAttr("PrefixList", list)
	return e
}

// samlBombs are about what a message costs who looks at it. Those that the identity provider has signed may be accepted.
func samlBombs() []SAMLForgery {
	var all []SAMLForgery
	add := func(name, why string, edit func(a *samlAttack, out *samlOutcome) error) *SAMLForgery {
		all = append(all, forgery("bomb: "+name, why, samlVictim, edit))
		return &all[len(all)-1]
	}
	for _, s := range swellings {
		subject := func(r *etree.Element) { s.into(r.FindElement("./Assertion/Subject")) }
		add(s.name+", nothing signed", s.why, func(_ *samlAttack, out *samlOutcome) error {
			out.sign, out.encrypt, out.outer = "", false, subject
			return nil
		})
		for _, sign := range samlLayouts[:2] {
			add(s.name+", in what was signed: "+string(sign), s.why, func(_ *samlAttack, out *samlOutcome) error {
				out.sign, out.encrypt, out.outer = sign, false, subject
				return nil
			})
		}
		if s.signable {
			add(s.name+", signed", s.why, func(_ *samlAttack, out *samlOutcome) error {
				out.sign, out.edit = SAMLSignAssertion, subject
				return nil
			}).either = true
		}
		add(s.name+", encrypted", s.why, func(a *samlAttack, out *samlOutcome) error {
			if a.login.sp.EncryptTo == nil {
				return errLeaveOut
			}
			out.sign, out.encrypt, out.inner = SAMLSignAssertion, true, subject
			return nil
		})
	}
	for _, s := range signatureSwellings {
		for _, sign := range samlLayouts[:2] {
			add("signature with "+s.name+": "+string(sign), whyCanon, func(_ *samlAttack, out *samlOutcome) error {
				out.sign, out.encrypt = sign, false
				out.outer = func(r *etree.Element) {
					for _, e := range signedElements(r) {
						s.into(child(e, "Signature"))
					}
				}
				return nil
			}).either = s.name == "a certificate" || s.name == "certificates" // which nobody has to look at
		}
	}
	all = append(all, samlEncryptedBombs()...)
	all = append(all, samlDocumentBombs()...)
	slices.SortStableFunc(all, func(a, b SAMLForgery) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// samlEncryptedBombs make decryption dear.
func samlEncryptedBombs() []SAMLForgery {
	var all []SAMLForgery
	for name, edit := range map[string]func(e *etree.Element){
		"a ciphertext without end":  func(e *etree.Element) { values(e)[1].SetText(strings.Repeat("AAAA", samlFill/4)) },
		"a wrapped key without end": func(e *etree.Element) { values(e)[0].SetText(strings.Repeat("AAAA", samlFill/4)) },
		"a label without end": func(e *etree.Element) {
			oaepMethod(e).CreateElement("xenc:OAEPparams").SetText(strings.Repeat("AAAA", samlFill/4))
		},
		"wrapped keys, all different": func(e *etree.Element) { moreKeys(e, 300) },
		"eight wrapped keys":          func(e *etree.Element) { moreKeys(e, 7) },
		"digests of the wrapped key": func(e *etree.Element) {
			method := oaepMethod(e)
			digest := child(method, "DigestMethod")
			several(samlMany, func(int) { method.AddChild(digest.Copy()) })
		},
	} {
		all = append(all, forgery("bomb: encrypted, "+name, whyMany, samlVictim, func(a *samlAttack, out *samlOutcome) error {
			if a.login.sp.EncryptTo == nil {
				return errLeaveOut
			}
			out.sign, out.encrypt, out.outer = "", true, func(r *etree.Element) { edit(child(r, "EncryptedAssertion")) }
			return nil
		}))
	}
	return all
}

// values are the CipherValues of an EncryptedAssertion: that of the key, and that of the content.
func values(e *etree.Element) []*etree.Element { return e.FindElements(".//CipherValue") }

func oaepMethod(e *etree.Element) *etree.Element {
	return e.FindElement(".//EncryptedKey/EncryptionMethod")
}

func moreKeys(e *etree.Element, n int) {
	key := e.FindElement(".//EncryptedKey")
	several(n, func(i int) {
		other := key.Copy()
		other.FindElement(".//CipherValue").SetText(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i)}, 256)))
		key.Parent().InsertChildAt(0, other)
	})
}

// samlDocumentBombs are dear to whoever parses them.
func samlDocumentBombs() []SAMLForgery {
	var all []SAMLForgery
	document := func(name, why string, text func(genuine string) string) {
		all = append(all, SAMLForgery{Name: "bomb: " + name, Why: why, user: samlVictim, make: func(a *samlAttack) ([]samlMessage, error) {
			out := a.about(samlVictim)
			out.encrypt = false
			genuine, err := out.document()
			return a.posted(text(genuine)), err
		}})
	}
	inName := func(declarations, name string) func(string) string {
		return func(genuine string) string {
			return "<!DOCTYPE r [" + declarations + "]>" + strings.Replace(genuine, ">"+samlVictim.Subject+"<", ">"+name+"<", 1)
		}
	}
	laughs, percent := `<!ENTITY l0 "`+strings.Repeat("ha", 50)+`">`, `<!ENTITY % p0 "`+strings.Repeat("x", 50)+`">`
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf(`<!ENTITY l%d "%s">`, i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
		percent += fmt.Sprintf(`<!ENTITY %% p%d "%s">`, i, strings.Repeat(fmt.Sprintf("&#37;p%d;", i-1), 10))
	}
	document("entities of entities", whyEntities, inName(laughs, "&l11;"))
	document("entities of entities, in an attribute", whyEntities, func(genuine string) string {
		return "<!DOCTYPE r [" + laughs + "]>" + strings.Replace(genuine, "<saml:Subject>", `<saml:Subject a="&l11;">`, 1)
	})
	document("parameter entities of parameter entities", whyEntities, inName(percent+"%p11;", "x"))
	document("one long entity, many times", whyEntities, inName(`<!ENTITY l "`+strings.Repeat("l", samlFill/4)+`">`, strings.Repeat("&l;", samlFill/6)))
	document("entities of each other", whyEntities, inName(`<!ENTITY a "&b;"><!ENTITY b "&a;">`, "&a;"))
	document("declarations without end", whyEntities, inName(strings.Repeat(`<!ENTITY x "">`, samlFill/14), "x"))
	document("blanks around it all", whyMany, func(genuine string) string { return genuine + strings.Repeat(" ", samlFill) })
	all[len(all)-1].either = true
	document("a comment without end", whyMany, func(genuine string) string { return "<!--" + strings.Repeat("x", samlFill) + "-->" + genuine })
	document("an element that never ends", whyMany, func(string) string { return "<a " + strings.Repeat("a", samlFill) })
	document("only the beginnings of elements", whyMany, func(string) string { return strings.Repeat("<a>", samlFill/3) })
	document("only what ends elements", whyMany, func(string) string { return strings.Repeat("</a>", samlFill/4) })
	return all
}

// bomb inflates to so many MiB of a document, a thousandth of that itself: what one MiB of blanks is compressed to refers to
// blanks before it, and can be repeated.
func bomb(mib int) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // there is this level
	}
	write := func(text string) string {
		from := b.Len()
		if _, err := io.WriteString(w, text); err != nil || w.Flush() != nil {
			panic("a buffer takes everything")
		}
		return b.String()[from:]
	}
	blanks := strings.Repeat(" ", 1<<20)
	return write("<a>") + write(blanks) + strings.Repeat(write(blanks), mib-1)
}
