package web_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// catalog reads a message file, and refuses a key that stands in it twice.
func catalog(t testing.TB, lang string) map[string]string {
	t.Helper()
	file, err := os.ReadFile("locales/" + lang + ".json")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	d := json.NewDecoder(bytes.NewReader(file))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		var pair [2]string
		for i := range pair {
			token, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			pair[i], _ = token.(string)
		}
		if _, twice := texts[pair[0]]; twice {
			t.Errorf("%s.json: %s stands there twice", lang, pair[0])
		}
		texts[pair[0]] = pair[1]
	}
	return texts
}

var (
	placeholder = regexp.MustCompile(`\{[a-z]*\}`)
	// French sets these apart by a space, which must not be one that ends a line.
	loosePunctuation = regexp.MustCompile(` [:;?!»]|« `)
)

func TestCatalogsAgree(t *testing.T) {
	t.Parallel()
	en := catalog(t, "en")
	if len(en) < 100 {
		t.Fatalf("%d messages in English", len(en))
	}
	for _, lang := range languages {
		texts := catalog(t, lang)
		for key := range texts {
			if _, ok := en[key]; !ok {
				t.Errorf("%s.json: %s is not in English", lang, key)
			}
		}
		for key, english := range en {
			text := texts[key]
			if text == "" || text != strings.TrimSpace(text) || strings.Contains(text, "  ") || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%s.json: %s is missing or untidy: %q", lang, key, text)
			}
			if lang == "fr" && loosePunctuation.MatchString(text) {
				t.Errorf("%s.json: %s can have a line begin with punctuation: %q", lang, key, text)
			}
			if got, want := placeholder.FindAllString(text, -1), placeholder.FindAllString(english, -1); !slices.Equal(got, want) {
				t.Errorf("%s.json: %s has placeholders %v, want %v", lang, key, got, want)
			}
			// "default.provider" is written to begin a sentence, "default.application" to stand in one.
			if strings.HasPrefix(key, "error.") && (strings.LastIndex(text, "{provider}") > 0 || strings.HasPrefix(text, "{application}")) {
				t.Errorf("%s.json: %s has a placeholder where its default does not fit: %q", lang, key, text)
			}
			if _, ok := texts[strings.TrimSuffix(key, ".title")+".text"]; strings.HasPrefix(key, "error.") && strings.HasSuffix(key, ".title") && !ok {
				t.Errorf("%s.json: %s has no text", lang, key)
			}
		}
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	p := newPages(t, web.Config{Theme: fstest.MapFS{"locales/pt-BR.json": {Data: []byte(`{"login.title": "Entrar"}`)}}})
	long := strings.Repeat("x-aaaaaaaa,", 100)
	rows := []struct{ name, uiLocales, accept, want string }{
		{"nothing said", "", "", "en"},
		{"browser", "", "de", "de"},
		{"region", "", "de-CH,de;q=0.9,en;q=0.8", "de"},
		{"weights", "", "fr;q=0.2, de;q=0.7", "de"},
		{"refused", "", "de;q=0, fr;q=0.1", "fr"},
		{"unknown first", "", "ja, fr;q=0.5", "fr"},
		{"all unknown", "", "ja, zh", "en"},
		{"wildcard", "", "*", "en"},
		{"request wins", "fr-CA fr en", "de", "fr"},
		{"request's order", "en de", "fr", "en"},
		{"request unknown", "ja zh", "de", "de"},
		{"request broken", "%%% \x00 -", "fr", "fr"},
		{"request partly broken", "%%% fr", "de", "fr"},
		{"browser broken", "", "de;q=x", "en"},
		{"theme's", "", "pt-BR", "pt-BR"},
		{"theme's, near enough", "pt", "", "pt-BR"},
		{"no end", "", "de," + long, "de"},
		{"wish beyond the end", "", long + "de", "en"},
		{"one endless wish", strings.Repeat("a", 10_000), strings.Repeat("-", 100_000), "en"},
	}
	for _, row := range rows {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", row.accept)
		if got := p.Language(r, row.uiLocales); got != row.want {
			t.Errorf("%s: Language(%.40q, %.40q) = %q, want %q", row.name, row.accept, row.uiLocales, got, row.want)
		}
	}
}

func FuzzLanguage(f *testing.F) {
	p := newPages(f, web.Config{})
	for _, seed := range [][2]string{
		{"de-CH,de;q=0.9,en;q=0.8", "fr en"}, {"de-CH,de;q=0.9,en;q=0.8", ""}, {"*;q=0", "x-y-z"}, {"de;q=1e9", "i-klingon"}, {strings.Repeat("a-", 300), "\xff"},
		{"en-u-rg-dezzzz", "art-lojban"}, {",,;;==", "de-de-de-1901-1996"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, accept, uiLocales string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header["Accept-Language"] = []string{accept}
		got := p.Language(r, uiLocales)
		if !slices.Contains(languages, got) || accept == "de-CH,de;q=0.9,en;q=0.8" && (uiLocales == "fr en" && got != "fr" || uiLocales == "" && got != "de") {
			t.Fatalf("Language(%q, %q) = %q", accept, uiLocales, got)
		}
		// What lies beyond the bounds decides nothing.
		r.Header["Accept-Language"] = []string{accept + strings.Repeat(",", 512)}
		if again := p.Language(r, uiLocales+strings.Repeat(" ", 256)); again != got && len(accept) <= 512 && len(uiLocales) <= 256 {
			t.Fatalf("Language(%q, %q) = %q, with a tail %q", accept, uiLocales, got, again)
		}
	})
}
