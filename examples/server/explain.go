package main

import (
	"maps"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// explain reports what the library found wrong, at the keys that it is about. The library names fields; t is the struct of
// this package whose fields have these names, and path is where that stands.
func (d *document) explain(err error, t reflect.Type, path string) {
	joined, ok := err.(interface{ Unwrap() []error }) // no errors.As: the texts between would be lost
	if !ok {
		d.explainText(err.Error(), t, path)
		return
	}
	for _, one := range joined.Unwrap() {
		d.explain(one, t, path)
	}
}

var (
	element = regexp.MustCompile(`^(Providers|Clients)\[(\d+)\] \("(?:[^"\\]|\\.)*"\): `)
	subject = regexp.MustCompile(`^([A-Z]\w*)(?:\.([A-Z]\w*))?(?:\[\d+\])?(: | )`)
	names   = regexp.MustCompile(`\b[A-Z][A-Za-z]+\b`)
	quoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// explainText reports one message: "Clients[0] ("app"): RedirectURIs: …", "oidc: Issuer: …".
func (d *document) explainText(text string, t reflect.Type, path string) {
	text = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(text, "oidc: "), "oauth2: "), "saml: ")
	text = strings.ReplaceAll(text, "firstlogin.CreateUserIfUnique", "create")
	if m := element.FindStringSubmatch(text); m != nil {
		field, _ := t.FieldByName(m[1])
		path, t = field.Tag.Get("yaml")+"["+m[2]+"]", field.Type.Elem()
		text = text[len(m[0]):]
	}
	fields := fieldsOf(t)
	if m := subject.FindStringSubmatch(text); m != nil {
		if field, ok := fields[m[1]]; ok {
			path = strings.TrimPrefix(path+"."+field.Tag.Get("yaml"), ".")
			text = text[len(m[0]):]
			inner := fieldsOf(field.Type)
			if deeper, ok := inner[m[2]]; ok {
				path += "." + deeper.Tag.Get("yaml")
			}
			maps.Copy(fields, inner)
		}
	}
	text = names.ReplaceAllStringFunc(text, func(name string) string {
		if field, ok := fields[name]; ok {
			return field.Tag.Get("yaml")
		}
		return name
	})
	_, given := d.find(path)
	if d.has(path) || !given && strings.HasSuffix(path, ".discovery_url") { // where none is given it is made of the issuer
		return
	}
	d.problem(path, "%s", strings.ReplaceAll(text, "\n", "; "))
	p := &d.problems[len(d.problems)-1]
	p.library = true
	d.sharpen(path, p)
}

// sharpen moves a problem to the very value that its text quotes, if that is in a list or deeper.
func (d *document) sharpen(path string, p *problem) {
	at := d.place(path).value
	if at == nil || at.Kind == yaml.ScalarNode {
		return
	}
	for _, q := range quoted.FindAllString(p.text, -1) {
		value, err := strconv.Unquote(q)
		if err != nil {
			continue
		}
		if n := find(at, value); n != nil {
			p.line, p.col = n.Line, n.Column
			return
		}
	}
}

// find returns the value below n that is this text.
func find(n *yaml.Node, text string) *yaml.Node {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if child.Kind == yaml.ScalarNode && child.Value == text {
			return child
		}
		if found := find(child, text); found != nil {
			return found
		}
	}
	return nil
}

// fieldsOf returns the fields of a struct, or of one that is pointed to, by their names in Go.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	fields := map[string]reflect.StructField{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for _, field := range keysOf(t) {
		fields[field.Name] = field
	}
	return fields
}
