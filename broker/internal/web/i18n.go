package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// errUnknown: a template names a message or a static file that does not exist.
var errUnknown = errors.New("does not exist")

// How much of a request's wishes is read. Nobody speaks so many languages.
const (
	maxUILocales      = 256
	maxAcceptLanguage = 512
)

// catalogs are the messages of all languages.
type catalogs struct {
	langs   []string // English first; the index is the matcher's
	matcher language.Matcher
	texts   map[string]map[string]string // language, key, text
}

// readCatalogs reads locales/*.json of all layers, of which the last one wins, key by key.
func readCatalogs(layers []fs.FS) (*catalogs, error) {
	c := &catalogs{langs: []string{"en"}, texts: map[string]map[string]string{"en": {}}}
	var errs []error
	for _, layer := range layers {
		files, err := readAll([]fs.FS{layer}, "locales", ".json")
		errs = append(errs, err)
		for _, lang := range slices.Sorted(maps.Keys(files)) {
			if err := c.add(lang, files[lang]); err != nil {
				errs = append(errs, fmt.Errorf("locales/%s.json: %w", lang, err))
			}
		}
	}
	var tags []language.Tag
	for _, lang := range c.langs {
		tags = append(tags, language.Make(lang))
	}
	c.matcher = language.NewMatcher(tags)
	return c, errors.Join(errs...)
}

func (c *catalogs) add(lang string, file []byte) error {
	if tag, err := language.Parse(lang); err != nil || tag.String() != lang {
		return errors.New("its name is no language tag such as nl or pt-BR")
	}
	var texts map[string]string
	if err := json.Unmarshal(file, &texts); err != nil {
		return err
	}
	if c.texts[lang] == nil {
		c.texts[lang] = make(map[string]string)
		c.langs = append(c.langs, lang)
	}
	maps.Copy(c.texts[lang], texts)
	return nil
}

// def is the language of last resort.
func (c *catalogs) def() string { return c.langs[0] }

// choose returns the language for the wishes of a request.
func (c *catalogs) choose(uiLocales, accept string) string {
	var wishes []language.Tag
	for _, s := range strings.Fields(bound(uiLocales, maxUILocales, " ")) {
		if tag, err := language.Parse(s); err == nil {
			wishes = append(wishes, tag)
		}
	}
	if lang, ok := c.match(wishes); ok {
		return lang
	}
	wishes, _, err := language.ParseAcceptLanguage(bound(accept, maxAcceptLanguage, ","))
	if err != nil {
		return c.def()
	}
	lang, _ := c.match(wishes)
	return lang
}

// match returns the best language, and whether it is one that was wished for.
func (c *catalogs) match(wishes []language.Tag) (string, bool) {
	if len(wishes) == 0 {
		return c.def(), false
	}
	_, i, confidence := c.matcher.Match(wishes...)
	return c.langs[i], confidence > language.No
}

// bound cuts a list that is longer than limit after its last whole entry.
func bound(list string, limit int, sep string) string {
	if len(list) <= limit {
		return list
	}
	return list[:max(strings.LastIndex(list[:limit+1], sep), 0)]
}

// find returns a message in the language, or else in English.
func (c *catalogs) find(lang, key string) (string, bool) {
	if s, ok := c.texts[lang][key]; ok {
		return s, true
	}
	s, ok := c.texts[c.def()][key]
	return s, ok
}

func (c *catalogs) known(lang, key string) bool {
	_, ok := c.find(lang, key)
	return ok
}

// text returns a message with pairs of placeholder and value.
func (c *catalogs) text(lang, key string, pairs []any) (string, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("message %s: a placeholder without a value", key)
	}
	args := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		args[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
	}
	return c.either(lang, args, []string{key})
}

// either returns the first message of keys that exists.
func (c *catalogs) either(lang string, args map[string]string, keys []string) (string, error) {
	for _, key := range keys {
		if s, ok := c.find(lang, key); ok {
			return c.fill(lang, s, args), nil
		}
	}
	return "", fmt.Errorf("message %s: %w", strings.Join(keys, ", "), errUnknown)
}

// fill replaces the {name} placeholders, once: a value with braces in it stays as it is. A placeholder without a value
// is said by the message "default.<name>", or left out.
func (c *catalogs) fill(lang, s string, args map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			b.WriteString(s)
			return b.String()
		}
		value := args[name]
		if value == "" {
			value, _ = c.find(lang, "default."+name)
		}
		b.WriteString(before)
		b.WriteString(value)
		s = after
	}
}

// direction returns how a language is written, for the attribute dir.
func direction(lang string) string {
	script, _ := language.Make(lang).Script()
	switch script.String() {
	case "Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm":
		return "rtl"
	}
	return "ltr"
}
