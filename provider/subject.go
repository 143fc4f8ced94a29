package provider

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxSubject = 1024 // bytes: what every store finds

// noSubjects are what programs write for an id that is not there: JavaScript, Python, Go, C, and whoever counts from zero.
var noSubjects = []string{"null", "undefined", "NaN", "[object Object]", "None", "nil", "<nil>", "(null)", "0"}

// IsSubject reports whether s can be an [Identity.Subject]. What stands for nothing would be one account for all who have nothing
// (CVE-2026-82968): it is false for text that is empty or blank, that is not UTF-8, that has control characters or is longer than
// 1 KiB, and for "null", "undefined", "NaN", "[object Object]", "None", "nil", "<nil>", "(null)" and "0", spelt so, with
// or without space around. The broker lets nobody in whose subject is none, whichever the protocol, and whatever mappers make of it.
func IsSubject(s string) bool {
	bare := strings.TrimSpace(s)
	return bare != "" && !slices.Contains(noSubjects, bare) && len(s) <= maxSubject && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, unicode.IsControl)
}
