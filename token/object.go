package token

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An object holds the members of a JSON object by their exact names. encoding/json would take the last of several equal
// names, and "ISS" for "iss", so that two readers of one token could see two different ones.
type object []member

type member struct {
	name  string
	value []byte // as it stands in the document
}

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 32

// parseObject reads a JSON object. It refuses invalid UTF-8, trailing data, equal names in any object of it, and names on
// the first level that differ in nothing but case.
func parseObject(b []byte) (object, error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, invalid("malformed JSON")
	}
	s := scanner{rest: b}
	if s.peek() != '{' {
		return nil, invalid("not a JSON object")
	}
	return s.object(0)
}

func (o object) get(name string) []byte {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (o object) has(name string) bool { return o.get(name) != nil }

// text reads a string into to, and leaves it alone if there is no such member.
func (o object) text(name string, to *string) error {
	v := o.get(name)
	if v == nil {
		return nil
	}
	if v[0] != '"' || json.Unmarshal(v, to) != nil {
		return invalid(name + " is no string")
	}
	return nil
}

// texts reads a string or an array of strings, and leaves to alone if there is no such member.
func (o object) texts(name string, to *[]string) error {
	v := o.get(name)
	if v == nil {
		return nil
	}
	if v[0] == '"' {
		*to = make([]string, 1)
		return o.text(name, &(*to)[0])
	}
	var values []*string // a null is no string
	if v[0] != '[' || json.Unmarshal(v, &values) != nil || slices.Contains(values, nil) {
		return invalid(name + " is no list of strings")
	}
	for _, s := range values {
		*to = append(*to, *s)
	}
	return nil
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

// date reads a NumericDate (RFC 7519 §2), and leaves to alone if there is no such member.
func (o object) date(name string, to *time.Time) error {
	v := o.get(name)
	if v == nil {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	// ParseFloat knows more than JSON has, but what is in v is JSON.
	if err != nil || !(seconds >= 0 && seconds <= maxDate) {
		return invalid(name + " is no date")
	}
	whole, fraction := math.Modf(seconds)
	*to = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	return nil
}

// A scanner walks over JSON that is known to be valid.
type scanner struct{ rest []byte }

// peek returns the next byte that is no white space, or 0 at the end.
func (s *scanner) peek() byte {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	if len(s.rest) == 0 {
		return 0
	}
	return s.rest[0]
}

func (s *scanner) take(n int) []byte {
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) object(depth int) (object, error) {
	if depth > maxDepth {
		return nil, invalid("nested too deep")
	}
	var o object
	for s.take(1); s.peek() != '}'; {
		if s.rest[0] == ',' {
			s.take(1)
			s.peek()
		}
		name := unquote(s.string())
		s.peek()
		s.take(1) // the colon
		value, err := s.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, member{name, value})
	}
	s.take(1)
	if o.ambiguous(depth == 0) {
		return nil, invalid("ambiguous names")
	}
	return o, nil
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return invalid("nested too deep")
	}
	for s.take(1); s.peek() != ']'; {
		if s.rest[0] == ',' {
			s.take(1)
		}
		if _, err := s.value(depth + 1); err != nil {
			return err
		}
	}
	s.take(1)
	return nil
}

// value walks over one value and returns it.
func (s *scanner) value(depth int) ([]byte, error) {
	first := s.peek()
	start := s.rest
	var err error
	switch first {
	case '{':
		_, err = s.object(depth)
	case '[':
		err = s.array(depth)
	case '"':
		s.string()
	default:
		n := bytes.IndexAny(s.rest, ",]} \t\r\n")
		s.take(n)
	}
	return start[:len(start)-len(s.rest)], err
}

// string walks over a string and returns it with its quotes.
func (s *scanner) string() []byte {
	i := 1
	for ; s.rest[i] != '"'; i++ {
		if s.rest[i] == '\\' {
			i++
		}
	}
	return s.take(i + 1)
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("token: valid JSON does not unmarshal: " + err.Error())
	}
	return s
}

// ambiguous reports whether two names are equal or, if fold is set, differ in nothing but case.
func (o object) ambiguous(fold bool) bool {
	names := make([]string, len(o))
	for i, m := range o {
		names[i] = m.name
		if fold {
			names[i] = strings.ToLower(strings.ToUpper(m.name)) // both, as some letters have two lower-case forms
		}
	}
	slices.Sort(names)
	return len(slices.Compact(names)) < len(o)
}
