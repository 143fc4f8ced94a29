package saml_test

import (
	"testing"

	"github.com/go-idbroker/idbroker/provider/saml"
)

// Exclusive canonicalization, octet by octet (Exclusive XML Canonicalization 1.0 §3).
func TestCanonical(t *testing.T) {
	t.Parallel()
	const around = `<o xmlns="urn:o" xmlns:p="urn:p" xmlns:q="urn:q">`
	for _, tt := range []struct{ name, in, prefixes, want string }{
		{"what is used", `<p:e b="2" a="1"/>`, "", `<p:e xmlns:p="urn:p" a="1" b="2"></p:e>`},
		{"a default namespace that is used", `<e><p:i/></e>`, "", `<e xmlns="urn:o"><p:i xmlns:p="urn:p"></p:i></e>`},
		{"a prefix that is kept", `<p:e/>`, "q", `<p:e xmlns:p="urn:p" xmlns:q="urn:q"></p:e>`},
		{"a default namespace that is kept", `<p:e/>`, "#default", `<p:e xmlns="urn:o" xmlns:p="urn:p"></p:e>`},
		{"kept beside a prefix", `<p:e z="1"/>`, "q #default", `<p:e xmlns="urn:o" xmlns:p="urn:p" xmlns:q="urn:q" z="1"></p:e>`},
		{"kept and used", `<p:e><i><p:j/></i></p:e>`, "#default", `<p:e xmlns="urn:o" xmlns:p="urn:p"><i><p:j></p:j></i></p:e>`},
		{"kept where it changes", `<p:e><p:i xmlns="urn:i"><p:j xmlns="urn:i"/></p:i><p:k/></p:e>`, "#default",
			`<p:e xmlns="urn:o" xmlns:p="urn:p"><p:i xmlns="urn:i"><p:j></p:j></p:i><p:k></p:k></p:e>`},
		{"kept where it ends", `<p:e><p:i xmlns=""><j/></p:i></p:e>`, "#default", `<p:e xmlns="urn:o" xmlns:p="urn:p"><p:i xmlns=""><j></j></p:i></p:e>`},
		{"none to keep", `<p:e xmlns=""><p:i/></p:e>`, "#default", `<p:e xmlns:p="urn:p"><p:i></p:i></p:e>`},
	} {
		root := read(t, around+tt.in+"</o>")
		got, err := saml.Canonical(root.ChildElements()[0], tt.prefixes)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}
