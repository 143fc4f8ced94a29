package firstlogin_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/flow/firstlogin"
)

func TestUsername(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 255)
	for in, want := range map[string]string{
		"ann":                          "ann",
		"  Ann \n":                     "ann",
		"Ann B.":                       "ann b.",
		"ANN@Example.COM":              "ann@example.com",
		"Zoe\u0308":                    "zo\u00eb", // decomposed
		"\u212aelvin":                  "kelvin",   // the Kelvin sign
		"\uff41\uff42":                 "ab",       // full width
		"\u0130":                       "i",
		"a\u00a0b":                     "a b",
		"\u00a0":                       "",
		long:                           long,
		long + "a":                     "",
		strings.Repeat("ä", 128):       "",
		"":                             "",
		" \t":                          "",
		"a\x00b":                       "",
		"a\nb":                         "",
		"a\u200bb":                     "", // zero width space
		"a\u202eb":                     "", // right-to-left override
		"a\u00adb":                     "", // soft hyphen
		"a\ufe0fb":                     "", // variation selector
		"a\u3164b":                     "", // Hangul filler
		"a\u2800b":                     "", // braille blank
		"a\U000e0041b":                 "", // tag
		"a\xffb":                       "",
		strings.Repeat("\u0300", 5000): "",
	} {
		if got := firstlogin.Username(in); got != want {
			t.Errorf("Username(%+q) got %+q, want %+q", in, got, want)
		}
	}
}

// Advisories: a@b@c, and addresses that one parser reads otherwise than the next.
func TestEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ann@example.com":                           "ann@example.com",
		"  Ann@Example.COM\r\n":                     "ann@example.com",
		"o'neil+tag=x_y@sub.example.co":             "o'neil+tag=x_y@sub.example.co",
		"root@localhost":                            "root@localhost",
		"a@xn--bcher-kva.example":                   "a@xn--bcher-kva.example",
		"a@1.example":                               "a@1.example",
		"":                                          "",
		"ann":                                       "",
		"@example.com":                              "",
		"ann@":                                      "",
		"a@b@c":                                     "",
		"victim@corp.example@evil.example":          "",
		`"victim@corp.example"@evil.example`:        "",
		`"a b"@example.com`:                         "",
		"Ann <ann@example.com>":                     "",
		"ann@example.com,bob@evil.com":              "",
		"ann@example.com bob@evil.com":              "",
		"ann@example.com\nbcc: x@y":                 "",
		"ann@example.com\x00":                       "",
		"ann@example.com\x00.evil.com":              "",
		"mailto:ann@example.com":                    "",
		"ann(comment)@example.com":                  "",
		".ann@example.com":                          "",
		"ann.@example.com":                          "",
		"a..b@example.com":                          "",
		"ann@example.com.":                          "",
		"ann@.example.com":                          "",
		"ann@example..com":                          "",
		"ann@-example.com":                          "",
		"ann@example-.com":                          "",
		"ann@exa_mple.com":                          "",
		"ann@[127.0.0.1]":                           "",
		"ann@127.0.0.1":                             "",
		"ann@example.123":                           "",
		"ann@b\u00fccher.example":                   "",
		"ann@example\u3002com":                      "", // an ideographic full stop
		"\u0430nn@example.com":                      "", // a Cyrillic a
		"an\u212a@example.com":                      "", // the Kelvin sign
		"ann\u200b@example.com":                     "",
		"\u00a0ann@example.com":                     "",
		"ann%evil.example@example.com":              "ann%evil.example@example.com",
		strings.Repeat("a", 64) + "@b.c":            strings.Repeat("a", 64) + "@b.c",
		strings.Repeat("a", 65) + "@b.c":            "",
		"a@" + strings.Repeat("b", 64) + ".c":       "",
		"a@" + strings.Repeat("bbbbbbb.", 32) + "c": "",
	} {
		if got := firstlogin.Email(in); got != want {
			t.Errorf("Email(%+q) got %+q, want %+q", in, got, want)
		}
	}
}

// What came out goes in and comes out the same, and holds nothing that could be taken for something else.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"Ann@Example.com", "a@b@c", "\u0130\u212a", "a\u200bb", "\u1e9b\u0323", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "Ann@Example.com" && (firstlogin.Username(s) == "" || firstlogin.Email(s) == "") {
			t.Errorf("%q is nobody", s)
		}
		if u := firstlogin.Username(s); u != "" {
			if again := firstlogin.Username(u); again != u {
				t.Errorf("Username(%+q) got %+q, then %+q", s, u, again)
			}
			if len(u) > 255 || !utf8.ValidString(u) || u != strings.TrimSpace(u) || strings.ContainsFunc(u, unicode.IsControl) {
				t.Errorf("Username(%+q) got %+q", s, u)
			}
			if twin := firstlogin.Username(" " + strings.ToUpper(u)); strings.ToLower(strings.ToUpper(u)) == u && twin != u {
				t.Errorf("Username got %+q and, in upper case, %+q", u, twin)
			}
		}
		if e := firstlogin.Email(s); e != "" {
			if again := firstlogin.Email(e); again != e {
				t.Errorf("Email(%+q) got %+q, then %+q", s, e, again)
			}
			if strings.Count(e, "@") != 1 || len(e) > 254 || strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Errorf("Email(%+q) got %+q", s, e)
			}
		}
	})
}
