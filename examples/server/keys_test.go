package main

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/mail"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/mapper"
	"github.com/go-idbroker/idbroker/provider/oauth2"
	"github.com/go-idbroker/idbroker/provider/oidc"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/provider/social"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

// leftOut are the fields of the library that have no key, each with the reason.
var leftOut = map[string]string{
	"broker.Config.Store":          "what the key store says is opened when the server starts",
	"broker.Config.Logger":         "the server's own",
	"broker.Config.Now":            "for tests",
	"broker.Config.RemoteAddr":     "a function of the proxy in front",
	"broker.Config.ClientStore":    "nothing in this server writes clients",
	"broker.Config.Fences":         "the store's own",
	"broker.Config.Credentials":    "the store's own, if the key says so",
	"broker.Config.Passwords":      "what OWASP recommends is what there is",
	"broker.Provider.IdP":          "made of the other keys",
	"oidc.Config.Now":              "for tests",
	"oidc.Config.ClientSecretFunc": "a function",
	"saml.Config.Now":              "for tests",
	"oauth2.Config.Now":            "for tests",
	"social.Options.Now":           "for tests",
	"token.Key.Generation":         "of the broker's own keys",
	"token.Key.NotBefore":          "of the broker's own keys",
	"store.Client.Version":         "of clients in a store",
	"provider.HTTPOptions.MaxBody": "one size fits all",
	"provider.HTTPOptions.RootCAs": "the system's",
	"mail.SMTP.RootCAs":            "the system's",
}

// Every field of the library has a key, or a reason for having none, and what a key says arrives in it.
func TestEveryFieldHasAKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	icon := filepath.Join(dir, "icon.svg")
	if err := os.WriteFile(icon, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate, private := pair(t, 1)
	file := filepath.Join(dir, "certificate.pem") // and metadata: nothing looks into that yet
	if err := os.WriteFile(file, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &setup{
		doc:      &document{file: "test.yaml", keys: map[reflect.Type]map[string]reflect.StructField{}},
		assigner: assigner{}, clients: map[provider.HTTPOptions]*http.Client{},
	}
	fill(t, reflect.ValueOf(&s.config).Elem(), map[string]string{
		"Icon": icon, "Theme": dir, "Private": private, "FirstLogin": "default", "PostLogin": "terms", "Directory": "",
		"Addr": "smtp.example.com:587", "From": "no-reply@example.com",
		"Metadata": file, "Certificate": file, "Certificates": file, "MetadataCertificates": file,
	})
	s.Flows = map[string][]step{"terms": {{Step: "allow"}}}
	s.Mailer.SMTP.InsecurePlaintext, s.Mailer.SMTP.ImplicitTLS = false, false // do not go with a password, nor with each other
	*s.Providers[0].SAML.AttributeService = 1
	s.Secrets = []secret{"0123456789abcdef0123456789abcdef"}
	s.build()
	upstream := s.openID("providers[0]", s.Providers[0].openID)
	federated := s.saml("providers[0].saml", *s.Providers[0].SAML)
	plain := s.oauth2("providers[0].oauth2", *s.Providers[0].OAuth2)
	for _, p := range s.doc.problems {
		if !p.library { // everything at once is too much for the library
			t.Errorf("%s: %s", p.path, p.text)
		}
	}
	for _, made := range []any{
		s.options, s.options.Providers[0], s.options.Clients[0], s.options.Clients[0].Claims[0], s.options.Keys, s.options.ClientHTTP,
		upstream, upstream.Endpoints, upstream.ClientKey, upstream.DecryptionKeys[0], filledSMTP(t),
		federated, federated.Endpoints, federated.Attributes, federated.SigningKeys[0], federated.DecryptionKeys[0],
		federated.RequestedAttributes[0], s.socialOptions(*s.Providers[0].Social), plain, plain.Endpoints, plain.Claims, plain.EmailList,
	} {
		v := reflect.ValueOf(made)
		for _, field := range reflect.VisibleFields(v.Type()) {
			name := v.Type().String() + "." + field.Name
			_, none := leftOut[name]
			switch zero := v.FieldByIndex(field.Index).IsZero(); {
			case zero && !none:
				t.Errorf("%s: no key sets it: give it one in config.go, a row in README.md and a line in example.yaml", name)
			case !zero && none && field.Name != "IdP":
				t.Errorf("%s: has a key, and a reason for having none", name)
			}
		}
	}
	for name := range leftOut {
		kind, field, _ := strings.Cut(name[strings.Index(name, ".")+1:], ".")
		if !slices.ContainsFunc(library, func(lib reflect.Type) bool {
			_, ok := lib.FieldByName(field)
			return ok && lib.Name() == kind
		}) {
			t.Errorf("%s: there is no such field any more", name)
		}
	}
}

// Every key sets a field of the library, or one of these.
func TestEveryKeyDoesSomething(t *testing.T) {
	t.Parallel()
	ours := []string{"Listen", "TLS", "Log", "Type", "Redis", "SAML", "OAuth2", "Social", "Account", "Flows"}
	for _, pair := range [][]reflect.Type{
		{reflect.TypeFor[config](), reflect.TypeFor[broker.Config]()},
		{reflect.TypeFor[schedule](), reflect.TypeFor[token.Schedule]()},
		{reflect.TypeFor[clientHTTP](), reflect.TypeFor[provider.HTTPOptions]()},
		{reflect.TypeFor[upstream](), reflect.TypeFor[broker.Provider](), reflect.TypeFor[oidc.Config]()},
		{reflect.TypeFor[endpoints](), reflect.TypeFor[oidc.Endpoints]()},
		{reflect.TypeFor[privateKey](), reflect.TypeFor[token.Key]()},
		{reflect.TypeFor[samlIdP](), reflect.TypeFor[saml.Config]()},
		{reflect.TypeFor[oauth2Server](), reflect.TypeFor[oauth2.Config]()},
		{reflect.TypeFor[oauth2Endpoints](), reflect.TypeFor[oauth2.Endpoints]()},
		{reflect.TypeFor[oauth2Claims](), reflect.TypeFor[oauth2.Claims]()},
		{reflect.TypeFor[oauth2EmailList](), reflect.TypeFor[oauth2.EmailList]()},
		{reflect.TypeFor[vendor](), reflect.TypeFor[social.Options](), reflect.TypeFor[constructed]()},
		{reflect.TypeFor[appleKey](), reflect.TypeFor[social.AppleKey]()},
		{reflect.TypeFor[condition](), reflect.TypeFor[mapper.Condition]()},
		{reflect.TypeFor[samlEndpoints](), reflect.TypeFor[saml.Endpoints]()},
		{reflect.TypeFor[samlAttributes](), reflect.TypeFor[saml.Attributes]()},
		{reflect.TypeFor[samlKey](), reflect.TypeFor[saml.Key]()},
		{reflect.TypeFor[requestedAttribute](), reflect.TypeFor[saml.RequestedAttribute]()},
		{reflect.TypeFor[client](), reflect.TypeFor[store.Client]()},
		{reflect.TypeFor[clientClaim](), reflect.TypeFor[store.ClientClaim]()},
		{reflect.TypeFor[smtp](), reflect.TypeFor[mail.SMTP]()},
	} {
		for key, field := range keysOf(pair[0]) {
			if !slices.Contains(ours, field.Name) && !slices.ContainsFunc(pair[1:], func(lib reflect.Type) bool {
				_, ok := lib.FieldByName(field.Name)
				return ok
			}) {
				t.Errorf("%v: %s: the library has no field %s", pair[0], key, field.Name)
			}
		}
	}
}

// constructed is what the constructors of package social take.
type constructed struct{ ClientID, ClientSecret, Tenants, Domain, Realm, Key, AppleKey int }

var library = []reflect.Type{
	reflect.TypeFor[broker.Config](), reflect.TypeFor[broker.Provider](), reflect.TypeFor[oidc.Config](), reflect.TypeFor[token.Key](),
	reflect.TypeFor[store.Client](), reflect.TypeFor[provider.HTTPOptions](), reflect.TypeFor[saml.Config](),
	reflect.TypeFor[oauth2.Config](), reflect.TypeFor[social.Options](),
	reflect.TypeFor[mail.SMTP](),
}

// filledSMTP is what a mail server with every key becomes.
func filledSMTP(t *testing.T) mail.SMTP {
	t.Helper()
	var from smtp
	fill(t, reflect.ValueOf(&from).Elem(), nil)
	var made mail.SMTP
	assigner{}.assign(&made, from)
	return made
}

// fill sets everything in v to something, and the fields that special names to that.
func fill(t *testing.T, v reflect.Value, special map[string]string) {
	t.Helper()
	if c, ok := v.Addr().Interface().(choice); ok {
		names := c.names()
		v.SetString(names[len(names)-1])
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if text, ok := special[v.Type().Field(i).Name]; ok {
				v.Field(i).SetString(text)
				continue
			}
			// What is embedded is not exported, but its fields are.
			fill(t, reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem(), special)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), special)
	case reflect.Map:
		if v.Type() != reflect.TypeFor[map[string][]step]() { // which has no end
			v.Set(reflect.ValueOf(map[string]string{"a": "b"}))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), special)
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Hour))
	default:
		t.Fatalf("no value for a %v", v.Type())
	}
}

// paths returns the paths of all keys below a struct, those of list elements as "clients[].id" and those of what has names in the
// file as "flows.NAME[].id". What a step of a flow has in it is steps.
func paths(t reflect.Type, prefix string) (all []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t == reflect.TypeFor[map[string][]step]() {
		switch t.Kind() {
		case reflect.Slice:
			prefix += "[]"
		case reflect.Map:
			prefix += ".NAME"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || strings.HasSuffix(prefix, ".sub[]") {
		return nil
	}
	for key, field := range keysOf(t) {
		path := strings.TrimPrefix(prefix+"."+key, ".")
		all = append(append(all, path), paths(field.Type, path)...)
	}
	return all
}

// The README has a row for each key and for nothing else.
func TestREADMEHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text2, _ := strings.Cut(string(text), "\n## Keys\n")
	heading := regexp.MustCompile("^### (?:`(.+)`)?")
	row := regexp.MustCompile("^\\| `([^`]+)` \\| [^|]+ \\| [^|]+ \\|$")
	var documented []string
	prefix := ""
	for line := range strings.Lines(text2) {
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			prefix = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil {
			documented = append(documented, strings.TrimPrefix(prefix+"."+m[1], "."))
		} else if strings.HasPrefix(line, "| `") {
			t.Errorf("not a row of three cells: %s", line)
		}
	}
	known := paths(reflect.TypeFor[config](), "")
	for _, path := range known {
		if !slices.Contains(documented, path) {
			t.Errorf("%s has no row in README.md", path)
		}
	}
	for i, path := range documented {
		if !slices.Contains(known, path) {
			t.Errorf("README.md has a row for %s, which is no key", path)
		}
		if slices.Contains(documented[:i], path) {
			t.Errorf("README.md has two rows for %s", path)
		}
	}
}

// The example has no mistake, as it is and with all that is commented out in it read as a key, and has every key.
func TestExampleHasEveryKey(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^export .*`).FindAllString(string(readme), -1) { // what it says to export is enough
		for _, variable := range regexp.MustCompile(`([A-Z_]+)=`).FindAllStringSubmatch(line, -1) {
			t.Setenv(variable[1], "0123456789abcdef0123456789abcdef")
		}
	}
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSetup("example.yaml", text, 0o644); err != nil {
		t.Errorf("example.yaml:\n%v", err)
	}
	// "# key: value" becomes "key: value" at the same place; "# A sentence." stays.
	commented := regexp.MustCompile(`(?m)^( *)# ( *[a-z_]+:)`)
	var root yaml.Node
	if err := yaml.Unmarshal(commented.ReplaceAll(text, []byte("$1$2")), &root); err != nil {
		t.Fatalf("example.yaml with all that is commented out: %v", err)
	}
	has := map[string]bool{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		for i, child := range n.Content {
			switch n.Kind {
			case yaml.MappingNode:
				if i%2 == 1 {
					at := strings.TrimPrefix(path+"."+n.Content[i-1].Value, ".")
					if path == "flows" {
						at = "flows.NAME"
					}
					has[at] = true
					if nested := regexp.MustCompile(`(\.sub\[\])+`); nested.MatchString(at) {
						has[nested.ReplaceAllString(at, "")] = true // a step of a flow in a flow
					}
					walk(child, at)
				}
			case yaml.SequenceNode:
				walk(child, path+"[]")
			default:
				walk(child, path)
			}
		}
	}
	walk(&root, "")
	known := paths(reflect.TypeFor[config](), "")
	for _, path := range known {
		if !has[path] {
			t.Errorf("example.yaml does not show %s", path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(has)) {
		// Of a secret, a parameter, an application, the name of a flow, and the steps in a step.
		elsewhere := regexp.MustCompile(
			`\.(file|env)$|(auth|login|token|userinfo)_params\.|\.header\.|unsolicited\.|theme_data\.|^flows\.NAME$|\.sub\[\]\.`).MatchString(path)
		if !elsewhere && !slices.Contains(known, path) {
			t.Errorf("example.yaml shows %s, which is no key", path)
		}
	}
}
