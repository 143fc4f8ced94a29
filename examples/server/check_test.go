package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

// whole is a configuration without mistakes, of which each row below breaks one line.
const whole = `base_url: https://id.example.com
listen: 127.0.0.1:8080
store: memory
secrets: [{file: secret}]
providers:
  - alias: acme
    type: oidc
    issuer: https://acme.example.com
    client_id: broker
    client_secret: {file: secret}
    domains: [acme.example]
  - alias: other
    type: oidc
    issuer: https://other.example.com
    client_id: broker
    client_secret: {env: IDBROKER_TEST_SECRET}
clients:
  - id: app
    secrets: [{file: secret}]
    redirect_uris:
      - https://app.example.com/callback
`

// check runs -check on a configuration in a folder of its own.
func check(t *testing.T, yaml string, mode os.FileMode) (status int, said string) {
	t.Helper()
	dir := t.TempDir()
	certificate, private := pair(t, 1)
	other, _ := pair(t, 2)
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"broker.yaml": {yaml, mode},
		"secret":      {"0123456789abcdef0123456789abcdef\n", 0o600},
		"short":       {"short", 0o600},
		"nothing":     {"\n", 0o600},
		"open":        {"0123456789abcdef0123456789abcdef\n", 0o644},
		"group":       {"0123456789abcdef0123456789abcdef\n", 0o440},
		"cert.pem":    {certificate, 0o644},
		"key.pem":     {private, 0o600},
		"other.pem":   {other, 0o644},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(file.text), file.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), file.mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	var out, errOut bytes.Buffer
	status = command([]string{"-check", "-config", filepath.Join(dir, "broker.yaml")}, &out, &errOut)
	return status, strings.ReplaceAll(out.String()+errOut.String(), dir+string(filepath.Separator), "")
}

func TestCheck(t *testing.T) {
	t.Setenv("IDBROKER_TEST_SECRET", "a secret from the environment")
	t.Setenv("IDBROKER_TEST_NO_DATABASE", "postgres://user:password@db")
	t.Setenv("IDBROKER_TEST_NO_ESCAPE", "postgres://user:pass%word@db/idbroker")
	t.Setenv("IDBROKER_TEST_NO_MODE", "postgres://user:password@db/idbroker?sslmode=maybe")
	if status, said := check(t, whole, 0o644); status != 0 || said != "broker.yaml: no mistakes\n" {
		t.Fatalf("a configuration without mistakes: status %d, said %q", status, said)
	}
	for _, row := range []struct{ name, old, replacement, want string }{
		// The file itself.
		{"no YAML", "listen:", "listen: a:", "broker.yaml:2:1: is no YAML: mapping values are not allowed"},
		{"unknown key", "listen:", "listne:", "broker.yaml:2:1: listne: is no key that is known here: did you mean listen?"},
		{"unknown key that is like none", "listen:", "frobnicate:", "broker.yaml:2:1: frobnicate: is no key that is known here: README.md has those that are"},
		{"unknown key deep inside", "    domains:", "    domain:", "broker.yaml:11:5: providers[0].domain: is no key that is known here: did you mean domains?"},
		{"a key twice", "listen: 127.0.0.1:8080", "store: memory", "broker.yaml:3:1: store: is there twice: it was given on line 2"},
		{"no value", "listen: 127.0.0.1:8080", "listen:", "broker.yaml:2:1: listen: has no value: give it one, or remove the key"},
		{"empty", "listen: 127.0.0.1:8080", `listen: ""`, "broker.yaml:2:1: listen: is empty"},
		{"a list for a value", "listen: 127.0.0.1:8080", "listen: [a]", "broker.yaml:2:1: listen: is to be a single value"},
		{"a value for a list", "secrets: [{file: secret}]\npro", "secrets: {file: secret}\npro", "broker.yaml:4:1: secrets: is to be a list"},
		{"a value for a mapping", "listen: 127.0.0.1:8080", "log: debug", "broker.yaml:2:1: log: is to be a mapping"},
		{"a second document", "listen: 127.0.0.1:8080", "---", "broker.yaml:2:1: a second document begins here"},
		// Values.
		{"no length of time", "listen: 127.0.0.1:8080", "session_idle: 30", `broker.yaml:2:1: session_idle: "30" is no length of time: write 90s, 30m, 12h or 7d`},
		{"negative length of time", "listen: 127.0.0.1:8080", "session_idle: -30m", `broker.yaml:2:1: session_idle: "-30m" is no length of time`},
		{"zero", "listen: 127.0.0.1:8080", "session_idle: 0s", "broker.yaml:2:1: session_idle: is zero, which would mean the default"},
		{"no boolean", "type: oidc", "type: oidc\n    disabled: no", `broker.yaml:8:5: providers[0].disabled: "no" is to be true or false`},
		{"no number", "type: oidc", "type: oidc\n    order: first", `broker.yaml:8:5: providers[0].order: "first" is no whole number`},
		{"no address", "127.0.0.1:8080", "8080", `broker.yaml:2:1: listen: "8080" is no address to listen at, such as 127.0.0.1:8080 or :8443`},
		{"no port", "127.0.0.1:8080", "127.0.0.1:80800", `broker.yaml:2:1: listen: "127.0.0.1:80800" is no address`},
		{"no level", "listen: 127.0.0.1:8080", "log: {level: loud}", `broker.yaml:2:7: log.level: "loud" is unknown; there is debug, info, warn, error`},
		{"no flow", "listen: 127.0.0.1:8080", "first_login: mine", `broker.yaml:2:1: first_login: "mine" is unknown; there is default`},
		{"no type", "    type: oidc\n", "", `broker.yaml:6:5: providers[0].type: is missing: say oidc, oauth2, saml, or the name of a vendor such as google`},
		{"another type", "type: oidc", "type: cas", `broker.yaml:7:5: providers[0].type: "cas" is unknown; there is oidc, oauth2, saml`},
		{"a theme that is not there", "listen: 127.0.0.1:8080", "theme: nowhere", `broker.yaml:2:1: theme: stat nowhere: no such file`},
		{"a theme that is a file", "listen: 127.0.0.1:8080", "theme: secret", `broker.yaml:2:1: theme: secret is no folder`},
		{"an icon that is none", "type: oidc", "type: oidc\n    icon: secret", `broker.yaml:8:5: providers[0].icon: is no SVG`},
		{"half of TLS", "listen: 127.0.0.1:8080", "tls: {cert_file: secret}", "broker.yaml:2:1: tls: needs both cert_file and key_file"},
		{"no certificate", "listen: 127.0.0.1:8080", "tls: {cert_file: secret, key_file: secret}", "broker.yaml:2:1: tls: certificate and key: tls: failed to find"},
		{"a key for all to read", "listen: 127.0.0.1:8080", "tls: {cert_file: secret, key_file: open}", "broker.yaml:2:26: tls.key_file: everybody on this machine may read"},
		// The store.
		{"no store", "store: memory\n", "", "broker.yaml:1:1: store: is missing: sqlite:FILE keeps everything"},
		{"PostgreSQL without a database", "store: memory", "store: {env: IDBROKER_TEST_NO_DATABASE}", "broker.yaml:3:1: store: is to be postgres://USER:PASSWORD@HOST:PORT/DATABASE"},
		{"PostgreSQL, not escaped", "store: memory", "store: {env: IDBROKER_TEST_NO_ESCAPE}", "broker.yaml:3:1: store: is to be postgres://USER:PASSWORD@HOST:PORT/DATABASE"},
		{"PostgreSQL, no mode of TLS", "store: memory", "store: {env: IDBROKER_TEST_NO_MODE}", "broker.yaml:3:1: store: is no address of a PostgreSQL database"},
		{"PostgreSQL, a secret for all to read", "store: memory", "store: postgres://user:password@db/idbroker", "broker.yaml:3:1: store: stands in a file that everybody"},
		{"PostgreSQL, a file for all to read", "store: memory", "store: {file: open}", "broker.yaml:3:1: store: everybody on this machine may read"},
		{"another store", "store: memory", "store: mysql://user:password@db/idbroker", "broker.yaml:3:1: store: is to be sqlite:FILE, postgres://USER@HOST/DATABASE or memory"},
		{"parameters of SQLite", "store: memory", `store: "sqlite:a.db?mode=ro"`, "broker.yaml:3:1: store: is to be sqlite:FILE, postgres"},
		// Secrets.
		{"no secrets", "secrets: [{file: secret}]\npro", "pro", "broker.yaml:1:1: secrets: is missing: give a list"},
		{"a short one", "secrets: [{file: secret}]\npro", "secrets: [{file: secret}, {file: short}]\npro", "broker.yaml:4:1: secrets: number 1 has 5 bytes"},
		{"an empty file", "secrets: [{file: secret}]\npro", "secrets: [{file: nothing}]\npro", "broker.yaml:4:11: secrets[0]: the file nothing is empty"},
		{"no file", "secrets: [{file: secret}]\npro", "secrets: [{file: nowhere}]\npro", "broker.yaml:4:11: secrets[0]: open nowhere: no such file"},
		{"a file for all to read", "secrets: [{file: secret}]\npro", "secrets: [{file: open}]\npro", "broker.yaml:4:11: secrets[0]: everybody on this machine may read or change the file open: chmod o="},
		{"no variable", "env: IDBROKER_TEST_SECRET", "env: IDBROKER_TEST_NOTHING", "broker.yaml:16:5: providers[1].client_secret: the environment variable IDBROKER_TEST_NOTHING is not set"},
		{"two places", "{env: IDBROKER_TEST_SECRET}", "{env: IDBROKER_TEST_SECRET, file: secret}", "broker.yaml:16:5: providers[1].client_secret: is to be the secret itself, {file: path} or {env: NAME}"},
		{"another place", "{env: IDBROKER_TEST_SECRET}", "{vault: x}", "broker.yaml:16:21: providers[1].client_secret.vault: is no key that is known here"},
		{"a secret for all to read", "{env: IDBROKER_TEST_SECRET}", "hunter2 hunter2", "broker.yaml:16:5: providers[1].client_secret: stands in a file that everybody"},
		{"no private key", "client_secret: {env: IDBROKER_TEST_SECRET}", "client_key: {algorithm: ES256, private: {file: secret}}", "broker.yaml:16:5: providers[1].client_key: private is to be one PEM block"},
		{"no key to decrypt with", "client_secret: {env: IDBROKER_TEST_SECRET}", "client_secret: {env: IDBROKER_TEST_SECRET}\n    decryption_keys: [{algorithm: ECDH-ES, private: {file: secret}}]", "broker.yaml:17:23: providers[1].decryption_keys[0]: private is to be one PEM block"},
		{"encryption that is refused", "client_secret: {env: IDBROKER_TEST_SECRET}", "client_secret: {env: IDBROKER_TEST_SECRET}\n    content_encryption: [A128GCM, none]", `broker.yaml:17:35: providers[1].content_encryption: "none" is refused`},
		{"encryption without a key", "client_secret: {env: IDBROKER_TEST_SECRET}", "client_secret: {env: IDBROKER_TEST_SECRET}\n    require_encrypted_id_token: true", "broker.yaml:17:5: providers[1].require_encrypted_id_token: without decryption_keys nobody could get in"},
		// What the library says, at the place that it is about.
		{"base URL", "https://id.example.com", "http://id.example.com", `broker.yaml:1:1: base_url: "http://id.example.com" must be https; http is for loopback hosts only`},
		{"no base URL", "base_url: https://id.example.com\n", "", `broker.yaml:1:1: base_url: "" is not an absolute URL`},
		{"base URL that is a probe", "https://id.example.com", "https://id.example.com/healthz", `broker.yaml:1:1: base_url: /healthz is an address of this server itself`},
		{"home URL", "listen: 127.0.0.1:8080", "home_url: https://evil.example", `broker.yaml:2:1: home_url: "https://evil.example" is not on base_url's site`},
		{"schedule", "listen: 127.0.0.1:8080", "keys: {retire: 1h}", `broker.yaml:2:1: keys: retire is not an hour longer than tokens may live`},
		{"default provider", "listen: 127.0.0.1:8080", "default_provider: acne", `broker.yaml:2:1: default_provider: there is no provider "acne"`},
		{"alias", "alias: acme", "alias: a/b", `broker.yaml:6:5: providers[0].alias: must be 1 to 64 letters`},
		{"alias twice", "alias: other", "alias: ACME", `broker.yaml:12:5: providers[1].alias: is taken by another provider`},
		{"domain", "[acme.example]", "[acme.example, example]", `broker.yaml:11:29: providers[0].domains: "example" is not a domain such as example.com`},
		{"issuer", "https://acme.example.com", "http://acme.example.com", `broker.yaml:8:5: providers[0].issuer: http://acme.example.com is not an https address (insecure_allow_http allows http)`},
		{"no issuer", "    issuer: https://acme.example.com\n", "", `broker.yaml:6:5: providers[0].issuer: is missing`},
		{"endpoint", "type: oidc", "type: oidc\n    endpoints: {token: /token}", `broker.yaml:8:17: providers[0].endpoints.token: `},
		{"client authentication", "type: oidc", "type: oidc\n    auth_method: password", `broker.yaml:8:5: providers[0].auth_method: "password" is unknown`},
		{"redirect URI", "https://app.example.com/callback", "https://app.example.com/*", `broker.yaml:21:9: clients[0].redirect_uris: "https://app.example.com/*" has a wildcard`},
		{"no redirect URI", "\n      - https://app.example.com/callback", " []", `broker.yaml:20:5: clients[0].redirect_uris: give at least one`},
		{"algorithm", "- id: app", "- id: app\n    id_token_alg: HS256", `broker.yaml:19:19: clients[0]: "HS256" is not an algorithm`},
		{"a public client's secret", "- id: app", "- id: app\n    auth_method: none", `broker.yaml:19:18: clients[0]: a client with auth_method "none" has no secret`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !strings.Contains(whole, row.old) {
				t.Fatalf("there is no %q", row.old)
			}
			status, said := check(t, strings.Replace(whole, row.old, row.replacement, 1), 0o644)
			if status != 1 || !strings.Contains("\n"+said, "\n"+row.want) {
				t.Errorf("status %d, said:\n%swant 1 and:\n%s", status, said, row.want)
			}
			if n := strings.Count(said, "\n"); n != 1 && !strings.Contains(row.name, "unknown key") && row.name != "a key twice" {
				t.Errorf("one mistake is told in %d lines:\n%s", n, said)
			}
			for _, secret := range []string{"hunter2", "password@", "0123456789abcdef"} {
				if strings.Contains(said, secret) {
					t.Errorf("a secret is told: %s", said)
				}
			}
		})
	}
}

// Nobody knows what a provider lacks whose type nobody knows.
func TestCheckTypeMisspelt(t *testing.T) {
	t.Parallel()
	yaml := strings.NewReplacer("env: IDBROKER_TEST_SECRET", "file: secret",
		"clients:\n", "  - alias: third\n    type: gogle\n    social: {client_id: broker, client_secret: {file: secret}}\nclients:\n").Replace(whole)
	_, said := check(t, yaml, 0o644)
	if !strings.HasPrefix(said, `broker.yaml:18:5: providers[2].type: "gogle" is unknown`) || strings.Count(said, "\n") != 1 {
		t.Errorf("said:\n%swant one line about the type", said)
	}
	_, said = check(t, strings.NewReplacer("gogle", "github", ", client_secret: {file: secret}}", "}").Replace(yaml), 0o644)
	if want := "broker.yaml:19:5: providers[2].social.client_secret: is missing: \"client_secret_post\" needs one\n"; said != want {
		t.Errorf("said:\n%swant:\n%s", said, want)
	}
}

// federated is a SAML provider without mistakes, with all that is read from files; nothing of it is asked over the network.
const federated = `base_url: https://id.example.com
store: memory
secrets: [{file: secret}]
providers:
  - alias: acme
    type: saml
    saml:
      entity_id: https://id.example.com/acme
      idp_entity_id: https://idp.example
      certificates: cert.pem
      endpoints: {single_sign_on: https://idp.example/sso}
      signing_keys:
        - {private: {file: key.pem}, certificate: cert.pem}
  - alias: other
    type: saml
    saml:
      entity_id: https://id.example.com/other
      metadata_url: https://nowhere.invalid/metadata
      response_binding: post
      unsolicited: {"": /, orders: /orders}
`

func TestCheckSAML(t *testing.T) {
	t.Parallel()
	if status, said := check(t, federated, 0o644); status != 0 {
		t.Fatalf("a configuration without mistakes: status %d, said %q", status, said)
	}
	for _, row := range []struct{ name, old, replacement, want string }{
		{"no mapping", "type: saml\n    saml:\n      entity_id: https://id.example.com/other\n      metadata_url: https://nowhere.invalid/metadata\n      response_binding: post\n      unsolicited: {\"\": /, orders: /orders}\n", "type: saml\n", "broker.yaml:14:5: providers[1].saml: is missing"},
		{"key of another type", "type: saml\n", "type: saml\n    issuer: https://idp.example\n", "broker.yaml:7:5: providers[0].issuer: is for type oidc"},
		{"no entity", "      entity_id: https://id.example.com/other\n", "", "broker.yaml:16:5: providers[1].saml.entity_id: is missing"},
		{"nobody known", "metadata_url: https://nowhere.invalid/metadata", "force_authn: false", "broker.yaml:16:5: providers[1].saml: the identity provider is not known: set metadata_url, metadata_file, or idp_entity_id"},
		{"no TLS", "https://nowhere", "http://nowhere", "broker.yaml:18:7: providers[1].saml.metadata_url: http://nowhere.invalid/metadata is not an https address (insecure_allow_http"},
		{"endpoint", "https://idp.example/sso", "/sso", "broker.yaml:11:19: providers[0].saml.endpoints.single_sign_on: "},
		{"binding", "response_binding: post", "response_binding: soap", `broker.yaml:19:7: providers[1].saml.response_binding: "soap" is unknown; there is redirect, post, artifact`},
		{"binding of requests", "response_binding: post", "request_binding: artifact", `broker.yaml:19:7: providers[1].saml.request_binding: `},
		{"no certificate", "certificates: cert.pem", "certificates: secret", `broker.yaml:10:7: providers[0].saml.certificates: is to be a file with PEM blocks "CERTIFICATE"`},
		{"key for a certificate", "certificates: cert.pem", "certificates: key.pem", `broker.yaml:10:7: providers[0].saml.certificates: is to be a file with PEM blocks "CERTIFICATE"`},
		{"no such file", "certificates: cert.pem", "certificates: nowhere", "broker.yaml:10:7: providers[0].saml.certificates: open nowhere: no such file"},
		{"no metadata", "response_binding: post", "metadata_file: secret", "broker.yaml:19:7: providers[1].saml.metadata_file: "},
		{"certificate for a key", "{file: key.pem}", "{file: cert.pem}", "broker.yaml:13:"},
		{"key for all to read", "{file: key.pem}", "{file: other.pem}", "broker.yaml:13:12: providers[0].saml.signing_keys[0].private: everybody on this machine"},
		{"another's certificate", "certificate: cert.pem}", "certificate: other.pem}", "broker.yaml:12:7: providers[0].saml.signing_keys: Certificate is not that of Private"},
		{"no certificate of a key", ", certificate: cert.pem}", "}", "broker.yaml:13:11: providers[0].saml.signing_keys[0]: needs certificate"},
		{"algorithm", "response_binding: post", "signature_algorithm: rsa-sha1", `broker.yaml:19:7: providers[1].saml.signature_algorithm: "rsa-sha1" is unknown`},
		{"algorithm for another key", "certificates: cert.pem", "certificates: cert.pem\n      signature_algorithm: rsa-sha256", "broker.yaml:11:7: providers[0].saml.signature_algorithm: "},
		{"kind of names", "certificates: cert.pem", "certificates: cert.pem\n      key_names: KEY_ID", `broker.yaml:11:7: providers[0].saml.key_names: "KEY_ID" is unknown; there is subject, id`},
		{"extension without a name", "certificates: cert.pem", "certificates: cert.pem\n      key_name_extension: true", "broker.yaml:11:7: providers[0].saml.key_name_extension: the first of signing_keys has no name"},
		{"index", "response_binding: post", "attribute_service: 65536", "broker.yaml:19:7: providers[1].saml.attribute_service: is to be between 0 and 65535"},
		{"target elsewhere", "orders: /orders", "orders: https://evil.example/", `broker.yaml:20:`},
		{"transient", "response_binding: post", "name_id_format: transient", "broker.yaml:19:7: providers[1].saml.name_id_format: a transient name is another one at each login: set subject_attribute"},
		{"skew", "response_binding: post", "clock_skew: 1h", "broker.yaml:19:7: providers[1].saml.clock_skew: must be between zero and 3m0s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(federated, row.old) {
				t.Fatalf("there is no %q", row.old)
			}
			i := strings.LastIndex(federated, row.old)
			if row.name == "key of another type" {
				i = strings.Index(federated, row.old)
			}
			status, said := check(t, federated[:i]+row.replacement+federated[i+len(row.old):], 0o644)
			if status != 1 || !strings.HasPrefix(said, row.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("status %d, said:\n%swant 1 and one line:\n%s", status, said, row.want)
			}
		})
	}
}

// plain is a configuration with a server of OAuth 2.0 and mappers, without mistakes.
const plain = `base_url: https://id.example.com
store: memory
secrets: [{file: secret}]
providers:
  - alias: git
    type: oauth2
    mappers:
      - {type: attribute, claim: company.name, attribute: company}
      - type: role
        role: admin
        when: [{claim: plan, value: "pro|team", regex: true}]
    oauth2:
      endpoints:
        authorization: https://git.example/authorize
        token: https://git.example/token
        userinfo: https://git.example/user
      client_id: broker
      client_secret: {file: secret}
      claims: {subject: id}
`

func TestCheckOAuth2AndMappers(t *testing.T) {
	t.Parallel()
	if status, said := check(t, plain, 0o644); status != 0 {
		t.Fatalf("a configuration without mistakes: status %d, said %q", status, said)
	}
	for _, row := range []struct{ name, old, replacement, want string }{
		{"another type", "type: oauth2\n", "type: saml\n    saml: {entity_id: x, idp_entity_id: y, metadata_url: https://x.example}\n", "broker.yaml:13:5: providers[0].oauth2: is for type oauth2"},
		{"key of another type", "type: oauth2\n", "type: oauth2\n    issuer: https://x.example\n", "broker.yaml:7:5: providers[0].issuer: is for type oidc; what is of type oauth2"},
		{"no endpoint", "        userinfo: https://git.example/user\n", "", "broker.yaml:13:7: providers[0].oauth2.endpoints.userinfo: is missing"},
		{"no TLS", "https://git.example/token", "http://git.example/token", "broker.yaml:15:9: providers[0].oauth2.endpoints.token: http://git.example/token is not an https address"},
		{"no client", "      client_id: broker\n", "", "broker.yaml:12:5: providers[0].oauth2.client_id: is missing"},
		{"bad path", "subject: id", `subject: "id["`, "broker.yaml:19:16: providers[0].oauth2.claims.subject: claim "},
		{"no type of a mapper", "type: attribute, ", "", "broker.yaml:8:9: providers[0].mappers[0].type: is missing"},
		{"unknown mapper", "type: attribute", "type: script", "broker.yaml:8:10: providers[0].mappers[0].type: \"script\" is unknown; there is attribute, fixed_attribute, role"},
		{"reserved", "attribute: company", "attribute: sub", "broker.yaml:8:9: providers[0].mappers[0]: attribute \"sub\" is reserved"},
		{"path of a mapper", "company.name", "company..name", "broker.yaml:8:9: providers[0].mappers[0]: claim \"company..name\": a name is empty"},
		{"regular expression", "pro|team", "pro(", "broker.yaml:9:9: providers[0].mappers[1]: claim \"plan\": error parsing regexp"},
		{"no condition", "        when: [{claim: plan, value: \"pro|team\", regex: true}]\n", "", "broker.yaml:9:9: providers[0].mappers[1].when: is missing: the type role needs it"},
		{"a key that does nothing", "role: admin", "role: admin\n        group: staff", "broker.yaml:11:9: providers[0].mappers[1].group: does nothing in a mapper of the type role"},
		{"sync", "role: admin", "role: admin\n        sync: always", "broker.yaml:11:9: providers[0].mappers[1].sync: \"always\" is unknown; there is import, force, legacy"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(plain, row.old) != 1 {
				t.Fatalf("%q is there %d times", row.old, strings.Count(plain, row.old))
			}
			status, said := check(t, strings.Replace(plain, row.old, row.replacement, 1), 0o644)
			if status != 1 || !strings.HasPrefix(said, row.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("status %d, said:\n%swant 1 and one line:\n%s", status, said, row.want)
			}
		})
	}
}

const vendorFile = `base_url: https://id.example.com
store: memory
secrets: [{file: secret}]
providers:
  - alias: vendor
    type: TYPE
    social:
      client_id: broker
`

// Every vendor that the library knows is a type.
func TestVendors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../provider/social/*.go")
	if err != nil {
		t.Fatal(err)
	}
	constructor := regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(`)
	found := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range constructor.FindAllStringSubmatch(string(text), -1) {
			found++
			if _, known := vendors[upstreamType(strings.ToLower(m[1]))]; !known {
				t.Errorf("there is no type for social.%s", m[1])
			}
		}
	}
	if found != len(vendors) {
		t.Errorf("%d constructors, %d types", found, len(vendors))
	}
}

// A type is the vendor of its name, and each key arrives where it belongs.
func TestVendorsAreWhoTheyAreCalled(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	const tenant = "01234567-89ab-cdef-0123-456789abcdef"
	where := map[upstreamType]string{ // of the installation, in the name under which links are kept
		"auth0": "https://acme.example/", "okta": "https://acme.example", "keycloak": "https://sso.example/realms/staff",
	}
	for name, kind := range vendors {
		p := kind.make(&vendor{
			ClientID: "the-client", ClientSecret: "0123456789abcdef0123456789abcdef", Tenants: []string{tenant}, Domain: "acme.example",
			BaseURL: "https://sso.example", Realm: "staff", Key: "the-key",
			AppleKey: appleKey{TeamID: "T", ID: "K", PEM: secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))},
		}, social.Options{})
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		brand := strings.ToLower(strings.ReplaceAll(p.(provider.Branded).Brand().Name, " ", ""))
		issuer := p.(provider.Trusted).Trust().Issuer
		if brand != string(name) || where[name] != "" && issuer != where[name] || !strings.Contains(fmt.Sprint(p), `client "the-client"`) {
			t.Errorf("%s is %s at %s, as %v", name, brand, issuer, p)
		}
	}
}

func TestCheckVendors(t *testing.T) {
	t.Parallel()
	const secret = "      client_secret: 0123456789abcdef0123456789abcdef\n"
	required := map[upstreamType]string{
		"apple": "apple_key", "auth0": "domain", "keycloak": "realm", "microsoft": "tenants", "okta": "domain", "stackoverflow": "key",
	}
	for name := range vendors {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			file := strings.Replace(vendorFile, "TYPE", string(name), 1)
			if name != "apple" {
				file += secret
			}
			status, said := check(t, file, 0o600)
			if key := required[name]; key == "" && status != 0 || key != "" && (status != 1 || !strings.Contains(said, key+" is missing")) {
				t.Errorf("status %d, said %q", status, said)
			}
		})
	}
	for _, row := range []struct{ name, of, more, want string }{
		{"nothing", "google", "", "providers[0].social.client_secret: "},
		{"another's option", "github", secret + "      hosted_domains: [a.example]\n", "broker.yaml:10:7: providers[0].social.hosted_domains: this vendor has no use for it"},
		{"another's argument", "github", secret + "      domain: a.example\n", "broker.yaml:10:7: providers[0].social.domain: github has no use for it"},
		{"no TLS", "gitlab", secret + "      base_url: http://git.example\n", "broker.yaml:10:7: providers[0].social.base_url: is not an https address"},
		{"a tenant by name", "microsoft", secret + "      tenants: [acme.example]\n", `broker.yaml:10:17: providers[0].social.tenants: "acme.example" is not the id of a tenant`},
		{"any tenant and one", "microsoft", secret + "      tenants: [01234567-89ab-cdef-0123-456789abcdef]\n      insecure_allow_any_tenant: true\n",
			"broker.yaml:11:7: providers[0].social.insecure_allow_any_tenant: "},
		{"no key of Apple's", "apple", "      apple_key: {team_id: T, id: K, pem: nothing}\n", "broker.yaml:9:7: providers[0].social.apple_key: "},
		{"a secret for Apple", "apple", secret + "      apple_key: {team_id: T, id: K, pem: nothing}\n", "broker.yaml:9:7: providers[0].social.client_secret: apple has no use for it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			status, said := check(t, strings.Replace(vendorFile, "TYPE", row.of, 1)+row.more, 0o600)
			if status != 1 || !strings.Contains(said, row.want) {
				t.Errorf("status %d, said:\n%swant 1 and:\n%s", status, said, row.want)
			}
			if strings.Contains(said, "0123456789abcdef0123456789abcdef") {
				t.Error("the secret is shown")
			}
		})
	}
	for name, text := range map[string]string{
		"any tenant":     strings.Replace(vendorFile, "TYPE", "microsoft", 1) + secret + "      insecure_allow_any_tenant: true\n",
		"of one's own":   strings.Replace(vendorFile, "TYPE", "github", 1) + secret + "      base_url: https://git.example\n",
		"realm":          strings.Replace(vendorFile, "TYPE", "keycloak", 1) + secret + "      base_url: https://sso.example\n      realm: staff\n",
		"hosted domains": strings.Replace(vendorFile, "TYPE", "google", 1) + secret + "      hosted_domains: [a.example]\n      offline: true\n",
	} {
		if status, said := check(t, text, 0o600); status != 0 {
			t.Errorf("%s: status %d, said %q", name, status, said)
		}
	}
	for name, edit := range map[string]*strings.Replacer{
		"providers[0].social: is missing":                        strings.NewReplacer("    social:\n      client_id: broker\n", ""),
		"providers[0].social: is for the types that are vendors": strings.NewReplacer("TYPE", "oidc\n    issuer: https://a.example\n    client_id: a\n    client_secret: a"),
		"providers[0].issuer: is for type oidc":                  strings.NewReplacer("TYPE", "github\n    issuer: https://a.example"),
	} {
		text := strings.Replace(edit.Replace(vendorFile), "TYPE", "github", 1)
		if status, said := check(t, text, 0o600); status != 1 || !strings.Contains(said, name) {
			t.Errorf("%s: status %d, said %q", name, status, said)
		}
	}
}

func TestCheckTellsAllMistakes(t *testing.T) {
	t.Setenv("IDBROKER_TEST_SECRET", "a secret from the environment")
	broken := strings.NewReplacer("listen:", "listne:", "type: oidc", "type: oidc\n    order: first", "/callback", "/*",
		"issuer: https://other", "issuer: http://other").Replace(whole)
	_, said := check(t, broken, 0o600)
	var at []string
	for line := range strings.Lines(said) {
		where, _, _ := strings.Cut(line, ": ")
		at = append(at, where)
	}
	want := "broker.yaml:2:1 broker.yaml:8:5 broker.yaml:15:5 broker.yaml:16:5 broker.yaml:23:9"
	if got := strings.Join(at, " "); got != want {
		t.Errorf("mistakes at %s, want %s:\n%s", got, want, said)
	}
}

// The README begins with a configuration that works.
func TestREADMEBegins(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, yaml, _ := strings.Cut(string(text), "```yaml\n")
	yaml, _, _ = strings.Cut(yaml, "```")
	yaml = strings.NewReplacer("corp-secret", "secret", "app-secret", "secret").Replace(yaml)
	if status, said := check(t, yaml, 0o644); status != 0 {
		t.Errorf("the configuration that README.md begins with: status %d, %s:\n%s", status, said, yaml)
	}
}

func TestInlineSecrets(t *testing.T) {
	t.Setenv("IDBROKER_TEST_SECRET", "a secret from the environment")
	inline := strings.Replace(whole, "{env: IDBROKER_TEST_SECRET}", "hunter2 hunter2", 1)
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o640: 0, 0o644: 1, 0o602: 1} {
		if status, said := check(t, inline, mode); status != want {
			t.Errorf("a secret in a file of mode %o: status %d, want %d: %s", mode, status, want, said)
		}
	}
	group := strings.Replace(whole, "{env: IDBROKER_TEST_SECRET}", "{file: group}", 1)
	if status, said := check(t, group, 0o644); status != 0 {
		t.Errorf("a secret that its group may read: status %d, want 0: %s", status, said)
	}
	if runtime.GOOS == "windows" {
		t.Error("files have no such modes here")
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		want int
		said string
	}{
		{nil, 2, "usage: server -config FILE"},
		{[]string{"-check"}, 2, "usage: "},
		{[]string{"-config", "nowhere.yaml"}, 1, "open nowhere.yaml: no such file"},
		{[]string{"-config", "nowhere.yaml", "more"}, 2, "usage: "},
		{[]string{"-nonsense"}, 2, "not defined"},
		{[]string{"-help"}, 0, "the folder examples"},
	} {
		var out bytes.Buffer
		if got := command(row.args, &out, &out); got != row.want || !strings.Contains(out.String(), row.said) {
			t.Errorf("%q: status %d, want %d; said %q, want %q", row.args, got, row.want, out.String(), row.said)
		}
	}
}
