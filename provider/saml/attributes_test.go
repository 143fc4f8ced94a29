package saml_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

func TestAttributes(t *testing.T) {
	t.Parallel()
	friendly := func(name, friendlyName, value string) string {
		return strings.Replace(attribute(name, value), `">`, `" FriendlyName="`+friendlyName+`">`, 1)
	}
	cfg := config()
	cfg.EmailVerified = true
	identity, err := try(t, cfg, func(f *forge) {
		f.attributes = friendly("urn:oid:0.9.2342.19200300.100.1.1", "uid", "alice") +
			friendly("urn:oid:0.9.2342.19200300.100.1.3", "mail", "alice@example.com") +
			friendly("urn:oid:2.5.4.42", "givenName", "Alice &amp; &lt;Co&gt;") + friendly("urn:oid:2.5.4.4", "sn", "Liddell") +
			friendly("urn:oid:2.16.840.1.113730.3.1.241", "displayName", "Alice L.") +
			attribute("groups", "a", "b") + attribute("groups", "c") + attribute("empty") +
			friendly("urn:x:1", "twice", "1") + friendly("urn:x:2", "twice", "2") + friendly("urn:x:3", "groups", "evil")
	})
	if err != nil {
		t.Fatal(err)
	}
	want := provider.Identity{
		Issuer: idpEntity, Subject: "alice-1", Username: "alice", Email: "alice@example.com", EmailVerified: true,
		FirstName: "Alice & <Co>", LastName: "Liddell", Name: "Alice L.", Groups: []string{"a", "b", "c"},
		ACR:      "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
		AuthTime: epoch, Session: "session-1", Once: identity.Once,
		Claims: map[string]any{
			"urn:oid:0.9.2342.19200300.100.1.1": "alice", "uid": "alice",
			"urn:oid:0.9.2342.19200300.100.1.3": "alice@example.com", "mail": "alice@example.com",
			"urn:oid:2.5.4.42": "Alice & <Co>", "givenName": "Alice & <Co>", "urn:oid:2.5.4.4": "Liddell", "sn": "Liddell",
			"urn:oid:2.16.840.1.113730.3.1.241": "Alice L.", "displayName": "Alice L.",
			"groups": []any{"a", "b", "c"}, "empty": []any{}, "urn:x:1": "1", "urn:x:2": "2", "urn:x:3": "evil",
			saml.ClaimNameID: "alice-1", saml.ClaimNameIDFormat: string(saml.NameIDPersistent),
		},
	}
	if !reflect.DeepEqual(*identity, want) {
		t.Errorf("identity = %+v\nwant %+v", *identity, want)
	}
}

func TestAttributeNames(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Attributes = saml.Attributes{Username: "login", Email: "address", FirstName: "first", LastName: "last", Name: "full", Groups: "roles"}
	identity, err := try(t, cfg, func(f *forge) {
		f.attributes = attribute("login", "l") + attribute("address", "e@x.example") + attribute("first", "f") + attribute("last", "n") +
			attribute("full", "f n") + attribute("roles", "r") + attribute("mail", "other@x.example")
	})
	if err != nil {
		t.Fatal(err)
	}
	if identity.Username != "l" || identity.Email != "e@x.example" || identity.FirstName != "f" || identity.LastName != "n" ||
		identity.Name != "f n" || !reflect.DeepEqual(identity.Groups, []string{"r"}) {
		t.Errorf("identity = %+v", identity)
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	transient := `<saml:NameID Format="` + string(saml.NameIDTransient) + `">T1</saml:NameID>`
	tests := []struct {
		name, nameID, attributes string
		config                   func(*saml.Config)
		want                     string
		refused                  string
	}{
		{"attribute", transient, attribute("id", "42"), func(c *saml.Config) { c.SubjectAttribute, c.NameIDFormat = "id", saml.NameIDTransient }, "42", ""},
		{"attribute without a NameID", "", attribute("id", "42"), func(c *saml.Config) { c.SubjectAttribute = "id" }, "42", ""},
		{"friendly name", transient, strings.Replace(attribute("urn:id", "42"), `">`, `" FriendlyName="id">`, 1),
			func(c *saml.Config) { c.SubjectFriendlyName = "id" }, "42", ""},
		{"friendly name twice", transient, strings.Replace(attribute("urn:id", "42"), `">`, `" FriendlyName="id">`, 1) +
			strings.Replace(attribute("urn:id2", "43"), `">`, `" FriendlyName="id">`, 1),
			func(c *saml.Config) { c.SubjectFriendlyName = "id" }, "", "no single value"},
		{"name where a friendly name is wanted", transient, attribute("id", "42"), func(c *saml.Config) { c.SubjectFriendlyName = "id" }, "", "no single value"},
		{"friendly name where a name is wanted", transient, strings.Replace(attribute("urn:id", "42"), `">`, `" FriendlyName="id">`, 1),
			func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "no single value"},
		{"missing", transient, "", func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "no single value"},
		{"two values", transient, attribute("id", "42", "43"), func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "no single value"},
		{"two attributes", transient, attribute("id", "42") + attribute("id", "43"), func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "no single value"},
		{"empty", transient, attribute("id", ""), func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "unusable"},
		{"null", transient, attribute("id", "null"), func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "unusable"},
		{"NameID in an attribute", transient, `<saml:Attribute Name="id"><saml:AttributeValue><saml:NameID>42</saml:NameID></saml:AttributeValue></saml:Attribute>`,
			func(c *saml.Config) { c.SubjectAttribute = "id" }, "42", ""},
		{"other XML in an attribute", transient, `<saml:Attribute Name="id"><saml:AttributeValue><saml:x>42</saml:x></saml:AttributeValue></saml:Attribute>`,
			func(c *saml.Config) { c.SubjectAttribute = "id" }, "", "no single value"},
		{"e-mail address, asked for", `<saml:NameID Format="` + string(saml.NameIDEmail) + `">a@b.example</saml:NameID>`, "",
			func(c *saml.Config) { c.NameIDFormat = saml.NameIDEmail }, "a@b.example", ""},
		{"any format", `<saml:NameID>a</saml:NameID>`, "", func(c *saml.Config) { c.NameIDFormat = saml.NameIDUnspecified }, "a", ""},
		{"any format but transient", transient, "", func(c *saml.Config) { c.NameIDFormat = saml.NameIDUnspecified }, "", "transient"},
		{"qualified by who we are", `<saml:NameID NameQualifier="` + idpEntity + `" SPNameQualifier="` + spEntity + `" Format="` + string(saml.NameIDPersistent) + `">a</saml:NameID>`,
			"", nil, "a", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			if test.config != nil {
				test.config(&cfg)
			}
			identity, err := try(t, cfg, func(f *forge) { f.nameID, f.attributes = test.nameID, test.attributes })
			if test.refused != "" {
				refused(t, identity, err, test.refused)
			} else if err != nil || identity.Subject != test.want {
				t.Errorf("identity %+v, error %v", identity, err)
			}
		})
	}
}

func TestEssentialAttribute(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value string
		want  bool
	}{{"", true}, {"staff|admin", true}, {"sta", false}, {"a.*", true}, {"other", false}} {
		cfg := config()
		cfg.EssentialAttribute, cfg.EssentialValue = "groups", test.value
		_, err := try(t, cfg, func(f *forge) { f.attributes = attribute("groups", "guests", "admin") })
		failure, ok := errors.AsType[*provider.Error](err)
		if test.want != (err == nil) || err != nil && (!ok || failure.Kind != provider.ClaimMismatch) {
			t.Errorf("EssentialValue %q: error = %v", test.value, err)
		}
	}
	cfg := config()
	cfg.EssentialAttribute = "groups"
	_, err := try(t, cfg, nil)
	if failure, ok := errors.AsType[*provider.Error](err); !ok || failure.Kind != provider.ClaimMismatch {
		t.Errorf("missing: error = %v", err)
	}
}

func TestAttributeRefused(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*etree.Element){
		"no name":      func(r *etree.Element) { r.FindElement(".//saml:Attribute").RemoveAttr("Name") },
		"unknown part": func(r *etree.Element) { r.FindElement(".//saml:AttributeStatement").CreateElement("saml:x") },
	} {
		identity, err := try(t, config(), func(f *forge) { f.edit = edit })
		if identity != nil || err == nil {
			t.Errorf("%s: identity %+v, error %v", name, identity, err)
		}
	}
	// The twin of another namespace is invisible.
	identity, err := try(t, config(), func(f *forge) {
		f.edit = func(r *etree.Element) {
			value := r.FindElement(".//saml:AttributeValue")
			twin := etree.NewElement("x:AttributeValue")
			twin.CreateAttr("xmlns:x", "urn:x")
			twin.SetText("evil@example.com")
			value.Parent().InsertChildAt(0, twin)
		}
	})
	if err != nil || identity.Email != "alice@example.com" {
		t.Errorf("identity %+v, error %v", identity, err)
	}
}
