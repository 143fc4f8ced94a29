package saml

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Namespaces.
const (
	nsAssertion    = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsProtocol     = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsMetadata     = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature    = dsig.Namespace
	nsEncryption   = "http://www.w3.org/2001/04/xmlenc#"
	nsEncryption11 = "http://www.w3.org/2009/xmlenc11#"
	nsExclusive    = "http://www.w3.org/2001/10/xml-exc-c14n#"
	nsSOAP         = "http://schemas.xmlsoap.org/soap/envelope/"
	nsXML          = "http://www.w3.org/XML/1998/namespace"
)

// limits bound what is parsed, before it is.
type limits struct {
	bytes int
	tags  int  // how many "<" there may be: two an element
	notes bool // comments and processing instructions are dropped instead of refused
}

// A message with five thousand attribute values has a megabyte, if each declares its own prefixes, and ten thousand tags.
var (
	ofMessage  = limits{bytes: 3 << 19, tags: 32 << 10}
	ofMetadata = limits{bytes: 4 << 20, tags: 128 << 10, notes: true}
)

const (
	maxDepth    = 40
	maxAttrs    = 64
	maxPrefixes = 64 // declared around an element: canonicalization carries each of them along
)

// parse reads a document and returns its root. It is the only parser here, and strict where parsers are known to differ:
// one root, UTF-8, no document type, no entity but the five of XML itself, no comment, no processing instruction, no
// attribute twice, no id twice, no prefix without a namespace.
func parse(data []byte, l limits) (*etree.Element, error) { return parseIn(nil, data, l) }

// parseIn is parse for a document that may use prefixes which are declared where it stood.
func parseIn(place *etree.Element, data []byte, l limits) (*etree.Element, error) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	switch {
	case len(data) > l.bytes:
		return nil, fmt.Errorf("XML of %d bytes", len(data))
	case bytes.Count(data, []byte("<")) > l.tags:
		return nil, errors.New("XML with too many elements")
	case bytes.Count(data, []byte(`"`))+bytes.Count(data, []byte("'")) > 4*l.tags: // of attributes, two each
		return nil, errors.New("XML with too many quotes")
	case !utf8.Valid(data):
		return nil, errors.New("XML that is not UTF-8")
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{PreserveDuplicateAttrs: true, MaxDepth: maxDepth, CharsetReader: refuseCharset}
	if err := doc.ReadFromBytes(data); err != nil {
		return nil, fmt.Errorf("XML: %w", err)
	}
	root, err := rootOf(doc, l)
	if err != nil {
		return nil, err
	}
	if place != nil {
		inherit(root, place)
	}
	s := scan{limits: l, prefixes: map[string]string{"xml": nsXML}}
	if err := s.element(root, 0); err != nil {
		return nil, err
	}
	return root, nil
}

func refuseCharset(string, io.Reader) (io.Reader, error) {
	return nil, errors.New("it says that it is not UTF-8")
}

// rootOf returns the only element of a document. Nothing else stands beside it but an XML declaration and space.
func rootOf(doc *etree.Document, l limits) (root *etree.Element, err error) {
	for i, t := range doc.Child {
		ok := false
		switch t := t.(type) {
		case *etree.Element:
			ok = root == nil
			root = t
		case *etree.CharData:
			ok = strings.Trim(t.Data, " \t\r\n") == ""
		case *etree.ProcInst:
			ok = i == 0 && t.Target == "xml" || l.notes && t.Target != "xml"
		case *etree.Comment:
			ok = l.notes
		}
		if !ok {
			return nil, errors.New("XML with more than one element around it all")
		}
	}
	if root == nil {
		return nil, errors.New("XML without an element")
	}
	return root, nil
}

// A scan looks at each element once. It keeps the namespaces of prefixes itself: to look them up in all that is around an element,
// for each of its attributes, would take half a minute of a message that is not even signed.
type scan struct {
	limits
	ids        map[string]bool
	prefixes   map[string]string // that are declared here, with their namespaces
	namespaces []string          // of the attributes of one element; kept to be used again
}

// A shadow is what a prefix meant outside of the element that declares it.
type shadow struct {
	prefix, namespace string
	declared          bool
}

// enter takes the prefixes that e declares, and returns what they meant around it.
func (s *scan) enter(e *etree.Element) (before []shadow) {
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Space == "xmlns" {
			namespace, declared := s.prefixes[a.Key]
			before = append(before, shadow{a.Key, namespace, declared})
			s.prefixes[a.Key] = a.Value
		}
	}
	return before
}

func (s *scan) leave(before []shadow) {
	for _, b := range slices.Backward(before) {
		if b.declared {
			s.prefixes[b.prefix] = b.namespace
		} else {
			delete(s.prefixes, b.prefix)
		}
	}
}

// element looks at e, around which so many prefixes are declared.
func (s *scan) element(e *etree.Element, declared int) error {
	if len(e.Attr) > maxAttrs {
		return errors.New("XML with too many attributes")
	}
	before := s.enter(e)
	defer s.leave(before)
	if err := s.attributes(e); err != nil {
		return err
	}
	if declared += len(before); declared > maxPrefixes {
		return errors.New("XML with too many prefixes")
	}
	if err := checkName(e.Space, e.Tag); err != nil {
		return err
	}
	if e.Space != "" && s.prefixes[e.Space] == "" {
		return fmt.Errorf("XML with the undeclared prefix %s", quote(e.Space))
	}
	if s.notes {
		e.Child = slices.DeleteFunc(e.Child, isNote)
		e.ReindexChildren()
	}
	for _, t := range e.Child {
		switch t := t.(type) {
		case *etree.Element:
			if err := s.element(t, declared); err != nil {
				return err
			}
		case *etree.CharData:
		default:
			return errors.New("XML with a comment, a processing instruction or a directive")
		}
	}
	return nil
}

func isNote(t etree.Token) bool {
	switch t.(type) {
	case *etree.Comment, *etree.ProcInst:
		return true
	}
	return false
}

func (s *scan) attributes(e *etree.Element) error {
	s.namespaces = s.namespaces[:0]
	for i := range e.Attr {
		a := &e.Attr[i]
		if a.Space == "" || a.Space == "xmlns" { // which is no prefix of these
			s.namespaces = append(s.namespaces, a.Space)
		} else {
			s.namespaces = append(s.namespaces, s.prefixes[a.Space])
		}
		if err := checkName(a.Space, a.Key); err != nil {
			return err
		}
		switch {
		case a.Space == "xmlns" && (a.Key == "xml" || a.Key == "xmlns" || a.Value == ""):
			return errors.New("XML that declares a reserved prefix, or takes one back")
		case a.Space != "" && s.namespaces[i] == "":
			return fmt.Errorf("XML with the undeclared prefix %s", quote(a.Space))
		}
		for j := range i {
			if a.Key == e.Attr[j].Key && s.namespaces[i] == s.namespaces[j] {
				return errors.New("XML with an attribute twice")
			}
		}
		if strings.EqualFold(a.Key, "id") && a.Space != "xmlns" {
			if a.Value == "" || s.ids[a.Value] {
				return errors.New("XML with an empty id, or one twice")
			}
			if s.ids == nil {
				s.ids = map[string]bool{}
			}
			s.ids[a.Value] = true
		}
	}
	return nil
}

// checkName refuses names that are read in one way and written in another.
func checkName(space, local string) error {
	if local == "" || strings.Contains(local, ":") || strings.Contains(space, ":") {
		return errors.New("XML with a name that is none")
	}
	return nil
}

// namespace returns the namespace of an element.
func namespace(e *etree.Element) string {
	if e.Space == "xml" {
		return nsXML
	}
	return e.NamespaceURI()
}

// inherit declares on e the prefixes that are declared around place, and on it.
func inherit(e, place *etree.Element) {
	for ; place != nil; place = place.Parent() {
		for _, a := range place.Attr {
			if name := a.FullKey(); (name == "xmlns" || a.Space == "xmlns") && !declares(e, a.Space, a.Key) {
				e.CreateAttr(name, a.Value)
			}
		}
	}
}

func declares(e *etree.Element, space, key string) bool {
	return slices.ContainsFunc(e.Attr, func(a etree.Attr) bool { return a.Space == space && a.Key == key })
}

func is(e *etree.Element, ns, tag string) bool {
	return e != nil && e.Tag == tag && namespace(e) == ns
}

// all returns the children of e of that name.
func all(e *etree.Element, ns, tag string) []*etree.Element {
	var found []*etree.Element
	for _, t := range e.Child {
		if c, ok := t.(*etree.Element); ok && is(c, ns, tag) {
			found = append(found, c)
		}
	}
	return found
}

// maybe returns the one child of e of that name, nil if there is none.
func maybe(e *etree.Element, ns, tag string) (*etree.Element, error) {
	found := all(e, ns, tag)
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d elements %s in %s", len(found), tag, e.Tag)
}

// one returns the one child of e of that name.
func one(e *etree.Element, ns, tag string) (*etree.Element, error) {
	c, err := maybe(e, ns, tag)
	if err == nil && c == nil {
		err = fmt.Errorf("no %s in %s", tag, e.Tag)
	}
	return c, err
}

// elements returns all children that are elements.
func elements(e *etree.Element) []*etree.Element {
	var found []*etree.Element
	for _, t := range e.Child {
		if c, ok := t.(*etree.Element); ok {
			found = append(found, c)
		}
	}
	return found
}

// only returns the one element in e.
func only(e *etree.Element) (*etree.Element, error) {
	found := elements(e)
	if len(found) != 1 {
		return nil, fmt.Errorf("%d elements in %s", len(found), e.Tag)
	}
	return found[0], nil
}

// attr returns an attribute that is in no namespace, "" if there is none.
func attr(e *etree.Element, name string) string {
	value, _ := lookup(e, name)
	return value
}

func lookup(e *etree.Element, name string) (value string, there bool) {
	for i := range e.Attr {
		if e.Attr[i].Space == "" && e.Attr[i].Key == name {
			return e.Attr[i].Value, true
		}
	}
	return "", false
}

// textOf returns all of the text in e, and false if there is an element among it.
func textOf(e *etree.Element) (string, bool) {
	var text strings.Builder
	for _, t := range e.Child {
		c, ok := t.(*etree.CharData)
		switch {
		case !ok:
			return "", false
		case len(e.Child) == 1:
			return c.Data, true
		}
		text.WriteString(c.Data)
	}
	return text.String(), true
}

// text returns the text of an element that has nothing else in it and may not be empty, without space around it.
func text(e *etree.Element) (string, error) {
	s, ok := textOf(e)
	s = trim(s)
	if !ok || s == "" {
		return "", fmt.Errorf("%s is empty or no text", e.Tag)
	}
	return s, nil
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// instant returns an attribute that is a time, and whether it is there (SAML Core §1.3.3: in UTC).
func instant(e *etree.Element, name string) (t time.Time, there bool, err error) {
	s, there := lookup(e, name)
	if !there {
		return t, false, nil
	}
	t, err = time.Parse(time.RFC3339, trim(s))
	if err != nil || t.Year() < 1970 {
		return t, true, fmt.Errorf("%s of %s is no time", name, e.Tag)
	}
	return t.UTC(), true, nil
}

// boolean returns an attribute of type xs:boolean, false if it is not there.
func boolean(e *etree.Element, name string) bool {
	s := trim(attr(e, name))
	return s == "true" || s == "1"
}

// decodeBase64 decodes as XML writes it, with space anywhere.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, " \t") { // the decoder itself passes over ends of lines
		s = strings.NewReplacer(" ", "", "\t", "").Replace(s)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// quote makes what somebody else wrote fit for a line of a log.
func quote(s string) string {
	const enough = 200
	if len(s) > enough {
		return fmt.Sprintf("%q…", s[:enough])
	}
	return fmt.Sprintf("%q", s)
}
