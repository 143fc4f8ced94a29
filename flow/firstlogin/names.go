package firstlogin

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxUsername is how long a username may be, in bytes.
const maxUsername = 255

// Username returns the one spelling under which a username is stored and looked up: without space around it, in Unicode
// normal form KC, in lower case. It is "" for what is no username: nothing, more than 255 bytes, text that is not UTF-8,
// or with characters that cannot be seen.
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

// Email returns the one spelling under which an e-mail address is stored and looked up: without space around it and in
// lower case. It is "" for what is not exactly one address of the ordinary kind: an ASCII dot-atom of at most 64 bytes,
// "@", and a domain name (RFC 5321 §4.1.2 and §4.5.3.1). Quoted local parts, IP addresses and addresses beyond ASCII are
// refused: in these, what looks like one mailbox can be another.
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
