package token

import (
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
	value string // as it stands in the document, never empty
}

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 32

// parseObject reads a JSON object. It refuses invalid UTF-8, trailing data, equal names in any object of it, and names on
// the first level that differ in nothing but case.
func parseObject(b []byte) (object, error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, invalid("malformed JSON")
	}
	s := scanner{rest: string(b)} // so that names and values are parts of one string
	if s.peek() != '{' {
		return nil, invalid("not a JSON object")
	}
	return s.object(0)
}

// get returns a member's value, or "" if there is none.
func (o object) get(name string) string {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return ""
}

func (o object) has(name string) bool { return o.get(name) != "" }

// text reads a string into to, and leaves it alone if there is no such member.
func (o object) text(name string, to *string) error {
	v := o.get(name)
	if v == "" {
		return nil
	}
	if v[0] != '"' {
		return invalid(name + " is no string")
	}
	*to = unquote(v)
	return nil
}

// texts reads a string or an array of strings, and leaves to alone if there is no such member.
func (o object) texts(name string, to *[]string) error {
	v := o.get(name)
	if v == "" {
		return nil
	}
	if v[0] == '"' {
		*to = []string{unquote(v)}
		return nil
	}
	var values []*string // a null is no string
	if v[0] != '[' || json.Unmarshal([]byte(v), &values) != nil || slices.Contains(values, nil) {
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
	if v == "" {
		return nil
	}
	seconds, err := strconv.ParseFloat(v, 64)
	// ParseFloat knows more than JSON has, but what is in v is JSON.
	if err != nil || !(seconds >= 0 && seconds <= maxDate) {
		return invalid(name + " is no date")
	}
	whole, fraction := math.Modf(seconds)
	*to = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	return nil
}

// A scanner walks over JSON that is known to be valid.
type scanner struct{ rest string }

// peek returns the next byte that is no white space, or 0 at the end.
func (s *scanner) peek() byte {
	s.rest = strings.TrimLeft(s.rest, " \t\r\n")
	if len(s.rest) == 0 {
		return 0
	}
	return s.rest[0]
}

func (s *scanner) take(n int) string {
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) object(depth int) (object, error) {
	if depth > maxDepth {
		return nil, invalid("nested too deep")
	}
	var o object
	if depth == 0 { // a token has about as many; thousands of empty ones inside of it should cost nothing
		o = make(object, 0, 12)
	}
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
func (s *scanner) value(depth int) (string, error) {
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
		s.take(strings.IndexAny(s.rest, ",]} \t\r\n"))
	}
	return start[:len(start)-len(s.rest)], err
}

// string walks over a string and returns it with its quotes.
func (s *scanner) string() string {
	i := 1
	for ; s.rest[i] != '"'; i++ {
		if s.rest[i] == '\\' {
			i++
		}
	}
	return s.take(i + 1)
}

func unquote(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		panic("token: valid JSON does not unmarshal: " + err.Error())
	}
	return s
}

// ambiguous reports whether two names are equal or, if folded is set, differ in nothing but case.
func (o object) ambiguous(folded bool) bool {
	var buf [16]string
	names := buf[:0]
	for _, m := range o {
		if folded {
			m.name = fold(m.name)
		}
		names = append(names, m.name)
	}
	slices.Sort(names)
	return len(slices.Compact(names)) < len(o)
}

// fold makes names equal that encoding/json takes for equal.
func fold(name string) string {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			name = strings.ToUpper(name) // first, as some letters have two lower-case forms
			break
		}
	}
	return strings.ToLower(name)
}
