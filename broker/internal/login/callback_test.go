package login

import (
	"testing"

	"github.com/go-idbroker/idbroker/provider"
)

// OpenID Connect Core §3.1.2.6: what an application is told that allowed no page.
func TestPassiveCode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind       provider.Kind
		code, want string
	}{
		{provider.LoginRequired, "login_required", "login_required"},
		{provider.LoginRequired, "interaction_required", "interaction_required"},
		{provider.LoginRequired, "consent_required", "consent_required"},
		{provider.LoginRequired, "account_selection_required", "account_selection_required"},
		{provider.LoginRequired, "", "login_required"},
		{provider.Denied, "access_denied", "access_denied"},
		{provider.Unavailable, "server_error", "login_required"},
		{provider.Invalid, "anything", "login_required"},
	} {
		if got := passiveCode(&provider.Error{Kind: test.kind, Code: test.code}); got != test.want {
			t.Errorf("passiveCode(%v %q) = %q, want %q", test.kind, test.code, got, test.want)
		}
	}
}
