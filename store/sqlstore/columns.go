package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// instant reads a time from a column of microseconds.
type instant struct{ t *time.Time }

func (i instant) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is %T, not an integer", v)
	}
	*i.t = time.UnixMicro(n).UTC()
	return nil
}

// packed reads a list or a map from a column of JSON.
type packed[T any] struct{ v *T }

func (p packed[T]) Scan(v any) error {
	switch v := v.(type) {
	case string:
		if v == "" {
			return nil
		}
		return json.Unmarshal([]byte(v), p.v)
	case []byte:
		if len(v) == 0 {
			return nil
		}
		return json.Unmarshal(v, p.v)
	default:
		return fmt.Errorf("JSON is %T, not text", v)
	}
}

var errUTF8 = errors.New("a string is not valid UTF-8")

// pack is the other direction of packed for the types that records have. JSON would put U+FFFD for what is not UTF-8, so
// that two strings could become one: such a string is refused.
func pack(v any) (string, error) {
	valid, size := true, 0
	check := func(s string) { valid = valid && utf8.ValidString(s) }
	switch v := v.(type) {
	case []string:
		size = len(v)
		for _, s := range v {
			check(s)
		}
	case map[string]string:
		size = len(v)
		for k, s := range v {
			check(k)
			check(s)
		}
	case map[string][]string:
		size = len(v)
		for k, list := range v {
			check(k)
			for _, s := range list {
				check(s)
			}
		}
	}
	if !valid {
		return "", errUTF8
	}
	if size == 0 {
		return "", nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}
