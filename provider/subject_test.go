package provider_test

import (
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
)

// CVE-2026-82968: what stands for nothing is no subject, and what merely looks like it is one.
func TestIsSubject(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": false, " ": false, "\u00a0": false, "\x00": false, "a\x00": false, "a\n": false, "\xff": false, "a\u0085b": false,
		"null": false, " null": false, "null\u00a0": false, "undefined": false, "NaN": false, "[object Object]": false, "None": false, "nil": false,
		"<nil>": false, "(null)": false, "0": false, " 0 ": false, strings.Repeat("a", 1025): false, strings.Repeat("ä", 513): false,
		"a": true, "1": true, "00": true, "-1": true, "NULL": true, "Nullmeier": true, "null@example.com": true, " a ": true, "none": true,
		"ü": true, strings.Repeat("a", 1024): true, "https://issuer.example|x": true,
	} {
		if got := provider.IsSubject(s); got != want {
			t.Errorf("IsSubject(%.30q) = %t, want %t", s, got, want)
		}
	}
}
