// Package spelling has the one spelling of usernames and e-mail addresses under which they are stored and looked up.
package spelling

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxUsername is how long a username may be, in bytes.
const maxUsername = 255

// Username is firstlogin.Username, whose doc says what it does.
func Username(s string) string {
	if len(s) > 4*maxUsername || !utf8.ValidString(s) {
		return ""
	}
	// Lower case can bring up what the normal form composes, and the other way round: twice is enough for what Unicode
	// has, and what is still not stable is refused.
	s = lower(lower(s))
	if s == "" || len(s) > maxUsername || s != lower(s) || strings.ContainsFunc(s, invisible) {
		return ""
	}
	return s
}

func lower(s string) string {
	return strings.TrimSpace(norm.NFKC.String(strings.ToLower(norm.NFKC.String(s))))
}

// invisible reports whether r is a control or format character, a space other than " ", or one that would be drawn as a
// blank; a name with it could look like another.
func invisible(r rune) bool {
	return !unicode.IsPrint(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) ||
		unicode.Is(unicode.Variation_Selector, r) || r == '\u2800'
}

// Email is firstlogin.Email, whose doc says what it does.
func Email(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if len(s) > 254 {
		return ""
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(local) > 64 || !isDotAtom(local) || !isDomain(domain) {
		return ""
	}
	return strings.ToLower(s) // ASCII by now, so that no other letter becomes one
}

func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return !isAlnum(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	return true
}

// isDomain reports whether s is a host name (RFC 1123 §2.1), and no IPv4 address.
func isDomain(s string) bool {
	digits := false // the last label is all digits
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isAlnum(r) && r != '-' }) {
			return false
		}
		digits = strings.Trim(label, "0123456789") == ""
	}
	return !digits
}

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
