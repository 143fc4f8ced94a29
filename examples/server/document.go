package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A document is a YAML file that is read strictly into a struct: each mistake is kept with the place where it stands, and
// reading goes on, so that a person gets to know all of them at once.
type document struct {
	file     string
	root     *yaml.Node // nil if there is none, or no more
	keys     map[reflect.Type]map[string]reflect.StructField
	open     []*yaml.Node // that are being read by their aliases
	inline   []string     // paths of the secrets that stand in the file itself
	problems []problem
}

// A place is where a value stands, and where the eye looks for it: at its key, if it has one.
type place struct {
	value     *yaml.Node
	line, col int
}

// A problem is one mistake. Its text says what to do, and no secret.
type problem struct {
	path      string
	line, col int
	text      string
	library   bool // said by the library about what was read
}

// parse reads text into target, a pointer to a struct with tags "yaml".
func parse(file string, text []byte, target any) *document {
	d := &document{file: file, keys: map[reflect.Type]map[string]reflect.StructField{}}
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	err := decoder.Decode(&root)
	switch {
	case errors.Is(err, io.EOF):
		d.problem("", "the file is empty")
	case err != nil:
		d.syntax(err)
	default:
		d.root = root.Content[0]
		d.read(d.root, reflect.ValueOf(target).Elem(), "")
		var second yaml.Node
		if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
			d.problems = append(d.problems, problem{line: max(second.Line, 1), col: 1,
				text: `a second document begins here: remove this "---", or all that follows`})
		}
	}
	return d
}

// syntax reports what the YAML parser says. It knows the line only, and says so in its text.
func (d *document) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := problem{line: 1, col: 1, text: text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, what, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			p.line, p.text = line, what
		}
	}
	p.text = "is no YAML: " + p.text
	d.problems = append(d.problems, p)
}

// problem reports a mistake at the key with this path or, if it is not in the file, at what it would stand in.
func (d *document) problem(path, format string, args ...any) {
	at := d.place(path)
	d.problems = append(d.problems, problem{path: path, line: at.line, col: at.col, text: fmt.Sprintf(format, args...)})
}

func (d *document) place(path string) place {
	for {
		if at, ok := d.find(path); ok {
			return at
		}
		if path == "" {
			return place{line: 1, col: 1}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// find returns where the value with this path stands, "clients[0].id" for instance, if it is there. "" is the whole document.
func (d *document) find(path string) (place, bool) {
	if d.root == nil {
		return place{}, false
	}
	return place{d.root, d.root.Line, d.root.Column}.below("." + path)
}

// below goes down from a place. Keys may have dots and brackets in them, too.
func (p place) below(path string) (place, bool) {
	n := p.value
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if path == "" || path == "." {
		return p, true
	}
	if n.Kind == yaml.SequenceNode {
		number, rest, _ := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.ParseUint(number, 10, 31)
		if err != nil || int(i) >= len(n.Content) {
			return place{}, false
		}
		element := n.Content[i]
		if element.Kind == yaml.AliasNode {
			element = element.Alias
		}
		return place{element, element.Line, element.Column}.below(rest)
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		rest, ok := strings.CutPrefix(path, "."+key.Value)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			if found, ok := (place{n.Content[i+1], key.Line, key.Column}).below(rest); ok {
				return found, true
			}
		}
	}
	return place{}, false
}

// has reports whether there is a mistake in the value of this key already, so that what follows from it is not reported
// as well. One somewhere in an element of a list says nothing about the rest of the element.
func (d *document) has(path string) bool {
	return slices.ContainsFunc(d.problems, func(p problem) bool {
		return !p.library && (p.path == path || within(path, p.path) || within(p.path, path) && !strings.HasSuffix(path, "]"))
	})
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (outer == "" || strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

// err returns all mistakes, one a line, in the order of the file; nil if there is none.
func (d *document) err() error {
	slices.SortStableFunc(d.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col))
	})
	var errs []error
	for _, p := range d.problems {
		where := fmt.Sprintf("%s:%d:%d: ", d.file, p.line, p.col)
		if p.path != "" {
			where += p.path + ": "
		}
		errs = append(errs, errors.New(where+p.text))
	}
	return errors.Join(errs...)
}

// resolve returns the name of a file that the document names, which is relative to the document itself.
func (d *document) resolve(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(d.file), name)
}

// read reads a node into v, whose type says what is expected.
func (d *document) read(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		if n = n.Alias; slices.Contains(d.open, n) {
			d.problem(path, "contains itself")
			return
		}
		d.open = append(d.open, n)
		defer func() { d.open = d.open[:len(d.open)-1] }()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.problem(path, "has no value: give it one, or remove the key")
		return
	}
	if v.Type() == reflect.TypeFor[secret]() {
		v.SetString(d.secret(n, path))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.readStruct(n, v, path)
	case reflect.Map:
		d.readMap(n, v, path)
	case reflect.Slice:
		d.readList(n, v, path)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.read(n, v.Elem(), path)
		return
	default:
		d.readScalar(n, v, path)
	}
}

func (d *document) readStruct(n *yaml.Node, v reflect.Value, path string) {
	fields := d.keysOf(v.Type())
	d.eachKey(n, path, func(key, at string, value *yaml.Node) {
		field, known := fields[key]
		if !known {
			d.problem(at, "is no key that is known here%s", nearest(key, fields))
			return
		}
		d.read(value, v.FieldByIndex(field.Index), at)
	})
}

func (d *document) readMap(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.eachKey(n, path, func(key, at string, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.read(value, element, at)
		v.SetMapIndex(reflect.ValueOf(key), element)
	})
}

// eachKey calls visit for each key of a mapping, once.
func (d *document) eachKey(n *yaml.Node, path string, visit func(key, at string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.problem(path, "is to be a mapping: keys with values, each on a line of its own")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if line, twice := seen[key.Value]; twice {
			d.problems = append(d.problems, problem{path: at, line: key.Line, col: key.Column,
				text: fmt.Sprintf("is there twice: it was given on line %d", line)})
			continue
		}
		seen[key.Value] = key.Line
		visit(key.Value, at, n.Content[i+1])
	}
}

func (d *document) readList(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(path, "is to be a list: [a, b], or one element a line with %q before it", "- ")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, element := range n.Content {
		d.read(element, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *document) readScalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.problem(path, "is to be a single value")
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *time.Duration:
		lasts, err := parseDuration(n.Value)
		if err != nil {
			d.problem(path, "%q is no length of time: write 90s, 30m, 12h or 7d", n.Value)
		} else if lasts == 0 && !strings.HasSuffix(path, ".max_age") { // whose zero is one
			d.problem(path, "is zero, which would mean the default: leave the key out")
		}
		*target = lasts
	case *bool:
		if n.ShortTag() != "!!bool" {
			d.problem(path, "%q is to be true or false", n.Value)
		}
		*target = strings.EqualFold(n.Value, "true")
	case *int:
		number, err := strconv.Atoi(n.Value)
		if err != nil {
			d.problem(path, "%q is no whole number", n.Value)
		}
		*target = number
	case choice:
		if !slices.Contains(target.names(), n.Value) {
			d.problem(path, "%q is unknown; there is %s", n.Value, strings.Join(target.names(), ", "))
			return
		}
		v.SetString(n.Value)
	default:
		if n.Value == "" {
			d.problem(path, "is empty: give it a value, or remove the key")
		}
		v.SetString(n.Value)
	}
}

// parseDuration reads what time.ParseDuration does, and days. No length of time here may be negative.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	lasts, err := time.ParseDuration(s)
	if err == nil && lasts < 0 {
		err = errors.New("is negative")
	}
	return lasts, err
}

// keysOf is keysOf, once for each type. The map is not to be changed.
func (d *document) keysOf(t reflect.Type) map[string]reflect.StructField {
	if _, ok := d.keys[t]; !ok {
		d.keys[t] = keysOf(t)
	}
	return d.keys[t]
}

// keysOf returns the fields of a struct by their keys, those of embedded structs included.
func keysOf(t reflect.Type) map[string]reflect.StructField {
	keys := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(t) {
		if key := field.Tag.Get("yaml"); key != "" {
			keys[key] = field
		}
	}
	return keys
}

// nearest suggests a key in place of an unknown one, if there is one that looks like it.
func nearest(key string, known map[string]reflect.StructField) string {
	best, least := "", len(key)/3+2
	for name := range known {
		if n := distance(key, name); n < least || n == least && name < best {
			best, least = name, n
		}
	}
	if best == "" {
		return ": README.md has those that are"
	}
	return ": did you mean " + best + "?"
}

// distance is how many letters have to be changed, added or removed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
