package saml_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider/saml"
)

// Parsers that read something else than what was written are how Go's were fooled: what is written again, and signed, is not what is
// read. Here what is read in the end are the octets that were digested, whatever the tree was that they were written from: in this one a
// name has markup in it, which no parser yields, and the octets have an element that the tree has not.
func TestReadsWhatWasDigested(t *testing.T) {
	t.Parallel()
	root := read(t, newForge("_request").response(t)).FindElement("./saml:Assertion")
	root = root.Copy()
	root.CreateAttr("xmlns:saml", nsAssertion)
	root.RemoveChild(root.FindElement("./ds:Signature"))
	name := root.FindElement("./saml:Subject/saml:NameID")
	name.Tag = "NameID></saml:NameID"
	name.CreateText("bob")
	signElement(t, root, idpKey(), string(saml.RSASHA256), false, nil, "")
	tree, err := saml.Canonical(root.Copy(), "")
	must(err)
	if !bytes.Contains(tree, []byte("<saml:NameID></saml:NameID")) {
		t.Fatalf("no markup in the name: %s", tree)
	}
	out, err := saml.Verified(root, idpKey().Certificate.PublicKey)
	if err == nil {
		t.Fatalf("octets that are no XML were read as %s", write(out))
	}
	// The same where the octets are XML: a text that is markup.
	root = read(t, newForge("_request").response(t)).FindElement("./saml:Assertion").Copy()
	root.CreateAttr("xmlns:saml", nsAssertion)
	root.RemoveChild(root.FindElement("./ds:Signature"))
	subject := root.FindElement("./saml:Subject")
	subject.RemoveChild(subject.FindElement("./saml:NameID"))
	subject.InsertChildAt(0, etree.NewDirective("saml:NameID>bob</saml:NameID"))
	signElement(t, root, idpKey(), string(saml.RSASHA256), false, nil, "")
	if out, err := saml.Verified(root, idpKey().Certificate.PublicKey); err == nil {
		t.Fatalf("a directive was read as %s", write(out))
	}
	// And where they are one document, but another one than the tree.
	root = read(t, newForge("_request").response(t)).FindElement("./saml:Assertion").Copy()
	root.CreateAttr("xmlns:saml", nsAssertion)
	root.RemoveChild(root.FindElement("./ds:Signature"))
	root.FindElement("./saml:Subject").Attr = []etree.Attr{{Key: `a="1" b`, Value: "2"}}
	signElement(t, root, idpKey(), string(saml.RSASHA256), false, nil, "")
	out, err = saml.Verified(root, idpKey().Certificate.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.FindElement("./saml:Subject"); len(got.Attr) != 2 || got.SelectAttrValue("a", "") != "1" || got.SelectAttrValue("b", "") != "2" {
		t.Errorf("the octets say a and b, and were read as %+v", got.Attr)
	}
}

// Nor does it matter what was looked at before: the octets are looked at again.
func TestLooksAtWhatWasDigested(t *testing.T) {
	t.Parallel()
	for path, row := range map[string]struct{ name, want string }{
		// What would be the name of one attribute ends the element, and begins another one of the kind.
		"./samlp:Status":         {`a=""><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/></samlp:Status><samlp:Status b`, "2 elements Status"},
		".//saml:AttributeValue": {`a=""/><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><saml:AttributeValue b`, "unusual places"},
	} {
		f := newForge("_request")
		f.signed = ""
		root := read(t, f.response(t))
		e := root.FindElement(path)
		e.Attr = []etree.Attr{{Key: row.name}}
		signElement(t, root, idpKey(), string(saml.RSASHA256), false, nil, "")
		err := saml.VerifyResponse(newProvider(t, config()), root, idpKey().Certificate.PublicKey)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", path, err, row.want)
		}
	}
}

// FuzzRoundTrip wants of every document that is parsed that what is written of it canonically is read as the same, names, namespaces,
// attributes and text, and is written the same again.
func FuzzRoundTrip(f *testing.F) {
	genuine := map[string]bool{}
	for _, how := range []string{"", "a", "r", "ra"} {
		forged := newForge(begunID)
		forged.signed = how
		genuine[forged.response(f)] = true
	}
	genuine[logoutRequest()], genuine[descriptor{}.String()] = true, true
	for doc := range genuine {
		f.Add([]byte(doc))
	}
	for _, doc := range []string{
		`<a:b:c xmlns:a="urn:a"/>`, `<a xmlns:x="urn:x" :x="1"/>`, `<:a/>`, `<a xmlns:="urn:a"/>`, `<a x:xmlns="" xmlns:x="urn:x"/>`, "<a>\r\n&#13;&#10;&#9;</a>",
		`<a b="&#10;&quot;&lt;'>"/>`, `<a><![CDATA[<b>]]>]]&gt;<![CDATA[]]></a>`, `<a xmlns="urn:a"><b xmlns=""/><c xmlns="urn:a"/></a>`,
		`<a xml:lang="en" xmlns:b="urn:b" b:c="1" c="2"/>`, "<a>\u2028\ufeff\U0010ffff</a>", `<a xmlns:xml="http://www.w3.org/XML/1998/namespace"/>`,
		`<a xmlns:b="urn:b"><b:c xmlns:b="urn:c"/><b:c/></a>`, `<é ñ="ü"/>`, `<?xml version="1.0"?><a/>`, `<a></ a>`, `<a b = '1'c="2" />`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		tree, err := saml.Parse(doc)
		if err != nil {
			if genuine[string(doc)] {
				t.Fatal(err)
			}
			return
		}
		before := readAs(tree, map[string]string{"xml": "http://www.w3.org/XML/1998/namespace"})
		first, err := saml.Canonical(tree, "")
		if err != nil {
			return // it would be refused
		}
		again, err := saml.Parse(first)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", doc, first, err)
		}
		if after := readAs(again, map[string]string{"xml": "http://www.w3.org/XML/1998/namespace"}); !slices.Equal(before, after) {
			t.Fatalf("%q is read as %q, and when it was written as %q", doc, before, after)
		}
		if second, err := saml.Canonical(again, ""); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%q is written as %q, then as %q, %v", doc, first, second, err)
		}
		if elsewhere := tokensOf(t, first); !slices.Equal(before, elsewhere) {
			t.Fatalf("%q is read as %q, elsewhere as %q", doc, before, elsewhere)
		}
	})
}

// readAs says what is in an element, with the namespaces of prefixes and without what declares them.
func readAs(e *etree.Element, around map[string]string) []string {
	prefixes := map[string]string{}
	for prefix, namespace := range around {
		prefixes[prefix] = namespace
	}
	for _, a := range e.Attr {
		switch {
		case a.Space == "xmlns":
			prefixes[a.Key] = a.Value
		case a.Space == "" && a.Key == "xmlns":
			prefixes[""] = a.Value
		}
	}
	var attrs []string
	for _, a := range e.Attr {
		switch {
		case a.Space == "xmlns", a.Space == "" && a.Key == "xmlns":
		case a.Space == "":
			attrs = append(attrs, "@{}"+a.Key+"="+a.Value)
		default:
			attrs = append(attrs, "@{"+prefixes[a.Space]+"}"+a.Key+"="+a.Value)
		}
	}
	slices.Sort(attrs)
	all := append([]string{"{" + prefixes[e.Space] + "}" + e.Tag}, attrs...)
	text := ""
	for _, t := range e.Child {
		switch t := t.(type) {
		case *etree.CharData:
			text += t.Data
		case *etree.Element:
			all = append(all, "#"+text)
			text = ""
			all = append(all, readAs(t, prefixes)...)
		}
	}
	return append(all, "#"+text, "/")
}

// tokensOf says the same of octets, by a decoder that knows of namespaces itself.
func tokensOf(t *testing.T, octets []byte) []string {
	t.Helper()
	var all []string
	text := ""
	for d := xml.NewDecoder(bytes.NewReader(octets)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%q: %v", octets, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if len(all) > 0 {
				all = append(all, "#"+text)
			}
			text = ""
			var attrs []string
			for _, a := range token.Attr {
				if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
					attrs = append(attrs, "@{"+a.Name.Space+"}"+a.Name.Local+"="+a.Value)
				}
			}
			slices.Sort(attrs)
			all = append(append(all, "{"+token.Name.Space+"}"+token.Name.Local), attrs...)
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			all = append(all, "#"+text, "/")
			text = ""
		}
	}
}
