package social_test

import (
	"net/url"
	"testing"
)

// With one tenant, too, an account is of the tenant that vouches for it.
func TestMicrosoftOneTenant(t *testing.T) {
	t.Parallel()
	w, d := one(t, microsoft(), autoLink)
	d.set(func(d *double) { d.edit = func(c map[string]any) { c["tid"] = globex } })
	w.refused(w.signIn(d), notVerified)
}

// A name that Apple has signed, should it begin to, counts for more than what the browser says.
func TestAppleNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		edit func(map[string]any)
		want string
	}{
		{"in the token", func(c map[string]any) { c["given_name"] = "Ann" }, "Ann"},
		{"in the browser", func(map[string]any) {}, "Eve"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := apple()
			v.extra = func(*person) url.Values {
				return url.Values{"user": {`{"name":{"firstName":"Eve","lastName":"Evil"}}`}}
			}
			w, d := one(t, v, autoLink)
			d.set(func(d *double) { d.edit = row.edit })
			if user := w.in(d); user.FirstName != row.want {
				t.Errorf("first name %q, want %q", user.FirstName, row.want)
			}
		})
	}
}
