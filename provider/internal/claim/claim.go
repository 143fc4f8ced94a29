// Package claim finds what an upstream says about a user: by paths, in documents that were JSON.
//
//	at, err := claim.Parse("data.user.id")
//	…
//	id, ok := claim.ID(at.Find(document))
package claim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-idbroker/idbroker/provider"
)

const (
	maxPath  = 1024
	maxSteps = 32
	maxText  = 4096 // bytes of a value
)

// A Path leads to a claim.
type Path []step

// A step goes to a member of an object or, if it has no name, to an element of a list.
type step struct {
	name  string
	index int
}

// Parse reads a path as the comment of package mapper describes it.
func Parse(s string) (Path, error) {
	switch {
	case s == "":
		return nil, errors.New("the claim is missing")
	case len(s) > maxPath:
		return nil, fmt.Errorf("the path of the claim has %d bytes; the most is %d", len(s), maxPath)
	case strings.HasPrefix(s, "urn:"), strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "https://"):
		if !strings.Contains(s, `\`) {
			return Name(s), nil
		}
	}
	var p Path
	for rest := s; ; {
		name, after, err := cutName(rest)
		if err != nil {
			return nil, fmt.Errorf("claim %q: %w", s, err)
		}
		p, rest = append(p, step{name: name}), after
		for strings.HasPrefix(rest, "[") {
			digits, after, ok := strings.Cut(rest[1:], "]")
			index, err := strconv.ParseUint(digits, 10, 16)
			if !ok || err != nil {
				return nil, fmt.Errorf("claim %q: after %q there is to be a number in brackets", s, name)
			}
			p, rest = append(p, step{index: int(index)}), after
		}
		switch {
		case len(p) > maxSteps:
			return nil, fmt.Errorf("claim %q: the path has more than %d steps", s, maxSteps)
		case rest == "":
			return p, nil
		case rest[0] != '.':
			return nil, fmt.Errorf("claim %q: after an index there is to be a dot, another index or the end", s)
		}
		rest = rest[1:]
	}
}

// Name is the path to the member of that name, whatever is in it.
func Name(name string) Path { return Path{{name: name}} }

// Names returns the names that p goes through, false if it goes through a list.
func (p Path) Names() ([]string, bool) {
	var names []string
	for _, s := range p {
		if s.name == "" {
			return nil, false
		}
		names = append(names, s.name)
	}
	return names, true
}

// cutName cuts the first name off, which ends at a dot or a bracket.
func cutName(s string) (name, rest string, err error) {
	var b strings.Builder
	i := 0
	for ; i < len(s) && s[i] != '.' && s[i] != '['; i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) || !strings.ContainsRune(`.[]\`, rune(s[i])) {
				return "", "", errors.New(`a backslash stands before ".", "[", "]" or "\" only`)
			}
		case ']':
			return "", "", errors.New(`"]" without "["`)
		}
		b.WriteByte(s[i])
	}
	if b.Len() == 0 {
		return "", "", errors.New("a name is empty")
	}
	return b.String(), s[i:], nil
}

// Find returns what is at p, nil if nothing is.
func (p Path) Find(claims map[string]any) any {
	var at any = claims
	for _, s := range p {
		switch v := at.(type) {
		case map[string]any:
			if s.name == "" {
				return nil
			}
			at = v[s.name]
		case []any:
			if s.name != "" || s.index >= len(v) {
				return nil
			}
			at = v[s.index]
		case []string:
			if s.name != "" || s.index >= len(v) {
				return nil
			}
			at = v[s.index]
		default:
			return nil
		}
	}
	return at
}

// Elements returns the elements of a list, or v alone, but no nulls.
func Elements(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			if e != nil {
				list = append(list, e)
			}
		}
		return list
	case []string:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = e
		}
		return list
	}
	return []any{v}
}

// Scalar returns the text of a string, number or boolean.
func Scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// Texts returns a claim, or its elements, as text that can be stored: objects and lists in lists are JSON.
func Texts(v any) []string {
	var all []string
	for _, e := range Elements(v) {
		s, ok := Scalar(e)
		if !ok {
			s = JSON(e)
		}
		if Usable(s) {
			all = append(all, s)
		}
	}
	return all
}

// JSON returns v as JSON, "" if it has none.
func JSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil { // nothing that came as JSON
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Usable reports whether s can be stored and shown: not empty, no control characters, no more than fits.
func Usable(s string) bool {
	return s != "" && len(s) <= maxText && !strings.ContainsFunc(s, unicode.IsControl)
}

var integer = regexp.MustCompile(`^-?[1-9][0-9]*$`)

// ID returns the text of what can identify somebody: a text that is a subject (see [provider.IsSubject]), or a whole number but 0.
// What is missing, null, empty, a boolean, a list or an object would be one id for everybody who has that.
func ID(v any) (string, bool) {
	s, ok := Scalar(v)
	if _, text := v.(string); !text {
		ok = ok && integer.MatchString(s)
	}
	return s, ok && provider.IsSubject(s)
}
