package token_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/go-idbroker/idbroker/token"
)

func TestHandle(t *testing.T) {
	t.Parallel()
	handle, hash := token.NewHandle("code")
	if !token.MatchHandle("code", handle, hash) || hash != token.HashHandle("code", handle) {
		t.Errorf("handle %q does not match its own hash", handle)
	}
	if len(handle) < 26 || len(hash) != 43 || strings.Contains(hash, handle) {
		t.Errorf("NewHandle = %d and %d bytes, want at least 26 and 43", len(handle), len(hash))
	}
	if other, _ := token.NewHandle("code"); other == handle {
		t.Error("two handles are equal")
	}
}

// Whatever is nearly a handle is none.
func TestHandleTwinsDoNotMatch(t *testing.T) {
	t.Parallel()
	handle, hash := token.NewHandle("code")
	twins := map[string]string{
		"lower case": strings.ToLower(handle), "padding": handle + "=", "NUL": handle + "\x00", "line break": handle + "\n",
		"leading blank": " " + handle, "twice": handle + handle, "hash": hash, "more": handle + "A", "empty": "",
	}
	for i := range handle {
		twins["prefix "+handle[:i]] = handle[:i]
		twins["suffix "+handle[i+1:]] = handle[i+1:]
		for _, c := range "A7=-_" + string(unicode.ToLower(rune(handle[i]))) + string(rune(handle[i]^1)) {
			if changed := handle[:i] + string(c) + handle[i+1:]; changed != handle {
				twins["changed "+changed] = changed
			}
		}
	}
	for name, twin := range twins {
		if token.MatchHandle("code", twin, hash) || token.HashHandle("code", twin) == hash {
			t.Errorf("%s matches", name)
		}
	}
	for _, h := range []string{"", hash[:42], hash + "=", strings.ToLower(hash), strings.ToUpper(hash)} {
		if token.MatchHandle("code", handle, h) {
			t.Errorf("handle matches the hash %q", h)
		}
	}
}

func TestHandlePurposesAreApart(t *testing.T) {
	t.Parallel()
	handle, hash := token.NewHandle("code")
	for _, purpose := range []string{"", "cod", "code ", "Code", "refresh"} {
		if token.MatchHandle(purpose, handle, hash) {
			t.Errorf("a handle for code matches as %q", purpose)
		}
	}
	if token.HashHandle("ab", "c") == token.HashHandle("a", "bc") {
		t.Error("the end of a purpose passes for the begin of a handle")
	}
}
