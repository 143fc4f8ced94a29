package firstlogin

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Who opens a mailed link sees by whom it was asked for: by more than the address, which is always the account's.
func TestCalledAs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 500)
	for _, row := range []struct{ username, email, want string }{
		{"mallory", "ann@example.com", "mallory (ann@example.com)"},
		{"ann@example.com", "ann@example.com", "ann@example.com"},
		{"", "ann@example.com", "ann@example.com"},
		{"mallory", "", "mallory"},
		{"", "", ""},
		{"\u202egnihtemos\u2066\u200b\x00", "ann@example.com", "gnihtemos (ann@example.com)"},
		{" mallory\n\n\n  is\u2028ann ", "", "mallory is ann"},
		{"m\xffallory", "", "mallory"},
		{long, "", strings.Repeat("ä", 79) + "…"},
	} {
		if got := calledAs(row.username, row.email); got != row.want {
			t.Errorf("calledAs(%q, %q) = %q, want %q", row.username, row.email, got, row.want)
		}
	}
	if got := calledAs(long, long+"@example.com"); utf8.RuneCountInString(got) > 163 {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}
