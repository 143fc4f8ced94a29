package mapper_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
)

// Whatever the upstream says and the path is, nothing panics, and what is imported can be stored.
func FuzzAttribute(f *testing.F) {
	for _, path := range []string{"a", `a\.b[0].c`, "urn:x", "list[3]", "a[0][1]"} {
		f.Add(path, document)
	}
	f.Fuzz(func(t *testing.T, path, text string) {
		var all map[string]any
		if json.Unmarshal([]byte(text), &all) != nil {
			return
		}
		imported := 0
		for _, m := range []provider.Mapper{
			mapper.Attribute(path, "x"), mapper.Note(path, "x"), mapper.Groups(path, "p/"), mapper.Username("${CLAIM."+path+"}", mapper.BrokerID),
		} {
			if m.Err != nil {
				continue
			}
			on := mapping(all)
			if err := m.Map(on); err == nil && strings.TrimSpace(on.Identity.Subject) == "" {
				t.Errorf("%s: an empty subject", m.Name)
			}
			for _, value := range append(on.Profile.Attributes["x"], append(on.Profile.Groups, on.Profile.Notes["x"])...) {
				imported += len(value)
				if len(value) > 1<<16 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
					t.Errorf("%s: got %q", m.Name, value)
				}
			}
		}
		if imported == 0 && text == document && path == "list[3]" {
			t.Error("nothing comes of it")
		}
	})
}

// A quoted name is found, whatever it is.
func FuzzQuotedName(f *testing.F) {
	f.Add("a.b[0]")
	f.Add(`\`)
	f.Add("http://x")
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || len(name) > 200 {
			return
		}
		quoted := strings.NewReplacer(`\`, `\\`, ".", `\.`, "[", `\[`, "]", `\]`).Replace(name)
		on := mapping(map[string]any{name: "found"})
		m := mapper.Attribute(quoted, "x")
		if m.Err != nil {
			t.Fatal(m.Err)
		}
		if err := m.Map(on); err != nil || len(on.Profile.Attributes["x"]) != 1 {
			t.Errorf("%q: %v", quoted, err)
		}
	})
}
