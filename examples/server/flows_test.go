package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"mime/quotedprintable"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/broker/mail"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/provider/providertest"
)

// keycloaks is the library's own flow, in the words of the file.
const keycloaks = `flows:
  office:
    - step: review
    - id: account
      sub:
        - {step: create, when: alternative}
        - id: existing
          when: alternative
          sub:
            - {id: confirm, step: confirm_link, provable: true}
            - id: verify
              sub:
                - {id: email, step: verify_email, when: alternative}
                - {id: provider, step: verify_provider, when: alternative}
                - {id: reauthenticate, step: verify_password, when: alternative}
`

func setupOf(t *testing.T, more string) (*setup, error) {
	t.Helper()
	t.Setenv("IDBROKER_TEST_SECRET", "a secret from the environment")
	text := strings.ReplaceAll(whole, "{file: secret}", "{env: IDBROKER_TEST_SECRET_32}") + more
	t.Setenv("IDBROKER_TEST_SECRET_32", "0123456789abcdef0123456789abcdef")
	return newSetup("broker.yaml", []byte(text), 0o644)
}

func TestFlowsOfTheFile(t *testing.T) {
	s, err := setupOf(t, keycloaks+`  with-terms:
    - {step: allow, id: terms}
    - {flow: office}
first_login: office
post_login: with-terms
mail: {directory: mails}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.options.FirstLogin.String(), firstlogin.Default().String(); got != want {
		t.Errorf("the flow is\n%swant\n%s", got, want)
	}
	if got := s.options.PostLogin.String(); !strings.Contains(got, "├ terms") || !strings.Contains(got, "└ office") || !strings.Contains(got, "  ├ review") {
		t.Errorf("a flow in a flow is\n%s", got)
	}
	if s.options.Mailer != mail.Directory("mails") {
		t.Errorf("the mailer is %#v", s.options.Mailer)
	}
}

// A provider's flows are its own.
func TestFlowsOfAProvider(t *testing.T) {
	s, err := setupOf(t, keycloaks)
	if err != nil {
		t.Fatal(err)
	}
	if s.options.FirstLogin != nil || s.options.Providers[0].FirstLogin != nil {
		t.Error("a flow that nobody names is used")
	}
	s.Providers[1].FirstLogin, s.Providers[1].PostLogin = "office", "office"
	s.options.Providers = nil
	s.build()
	if p := s.options.Providers; p[0].FirstLogin != nil || p[1].FirstLogin == nil || p[1].PostLogin == nil {
		t.Errorf("providers have the flows %v and %v", p[0].FirstLogin, p[1].FirstLogin)
	}
}

func TestFlowMistakes(t *testing.T) {
	lines := strings.Count(whole, "\n")
	for _, row := range []struct {
		name, text, want string // lines are counted from the first of text
	}{
		{"unknown step", "flows:\n  a:\n    - {step: reviwe}\n", `3:8: flows.a[0].step: "reviwe" is unknown; there is allow, auto_link`},
		{"unknown requirement", "flows:\n  a:\n    - {step: allow, when: maybe}\n", `3:21: flows.a[0].when: "maybe" is unknown; there is required`},
		{"nothing", "flows:\n  a:\n    - {when: required}\n", `3:7: flows.a[0]: is to have one of step, flow and sub`},
		{"two things", "flows:\n  a:\n    - {step: allow, flow: default}\n", `3:7: flows.a[0]: is to have one of step, flow and sub`},
		{"no name", "flows:\n  a:\n    - sub: [{step: create}]\n", `3:7: flows.a[0]: is to have an id`},
		{"foreign option", "flows:\n  a:\n    - step: create\n      mode: on\n", `4:7: flows.a[0].mode: is no option of this step: review has it`},
		{"option left out", "flows:\n  a:\n    - id: c\n      when: conditional\n      sub: [{step: if_attribute, attribute: x}, {step: create}]\n",
			`5:13: flows.a[0].sub[0]: value is missing: if_attribute needs it`},
		{"unknown flow", "flows:\n  a:\n    - {flow: b}\n", `3:8: flows.a[0].flow: "b" is unknown; there is default, a`},
		{"itself", "flows:\n  a:\n    - {flow: b}\n  b:\n    - {flow: a}\n", `5:8: flows.b[0].flow: "a" would contain itself`},
		{"itself by an alias", "flows:\n  a: &a\n    - {id: x, sub: *a}\n", `3:15: flows.a[0].sub[0].sub: contains itself`},
		{"the library's name", "flows:\n  default:\n    - {step: create}\n", `2:3: flows.default: is the library's own: choose another name`},
		{"no proof", "flows:\n  a:\n    - id: x\n      sub:\n        - {step: create, when: alternative}\n        - {step: allow, when: alternative}\n",
			`2:3: flows.a: could succeed with nothing decided, when these succeed: allow: make a step required that decides, such as create`},
		{"alternative beside required", "flows:\n  a:\n    - {step: create}\n    - id: x\n      sub:\n        - {step: review}\n        - {step: allow, when: alternative}\n",
			`4:7: flows.a[1]: allow is alternative beside review, which is required, and would be ignored: put the alternatives into a sub-flow`},
		{"twice", "flows:\n  a:\n    - {step: create}\n    - {step: create}\n", `4:7: flows.a[1]: has the ID of another step`},
		{"twice, in a flow that is named", "flows:\n  a:\n    - {step: create}\n    - {flow: default}\n",
			`4:7: flows.a[1]: account/create has the ID of another step`},
		{"conditional without a condition", "flows:\n  a:\n    - {step: create}\n    - {id: x, when: conditional, sub: [{step: allow}]}\n",
			`4:7: flows.a[1]: is conditional without a condition, and would be passed over: add one, such as if_role`},
		{"empty", "flows:\n  a: []\n", `2:3: flows.a: is empty and can never succeed`},
		{"unknown first login", "first_login: b\n", `1:1: first_login: "b" is unknown; there is default`},
		{"nothing decides", "flows:\n  a:\n    - {step: review}\nfirst_login: a\n", `4:1: first_login: has no step that decides whose login it is, such as create`},
		{"default at every login", "post_login: default\n", `1:1: post_login: default is for first logins`},
		{"two mailers", "mail: {smtp: {addr: \"a:25\", from: a@b.example}, directory: x}\n", `1:1: mail: is to have one of smtp and directory`},
		{"no mailer", "mail: {}\n", `1:1: mail: is to have one of smtp and directory`},
		{"no address", "mail:\n  smtp:\n    addr: smtp.example.com\n    from: a@b.example\n", `3:5: mail.smtp.addr: "smtp.example.com" is not host:port`},
		{"nobody sends", "mail:\n  smtp:\n    addr: smtp.example.com:25\n", `2:3: mail.smtp.from: "" is not an address`},
		{"a password in the clear", "mail:\n  smtp:\n    addr: smtp.example.com:25\n    from: a@b.example\n    username: u\n    password: {env: IDBROKER_TEST_SECRET}\n    insecure_plaintext: true\n",
			`6:5: mail.smtp.password: would travel in the clear because of insecure_plaintext`},
		{"a password for all to read", "mail:\n  smtp:\n    addr: smtp.example.com:25\n    from: a@b.example\n    username: u\n    password: hunter2\n",
			`6:5: mail.smtp.password: stands in a file that everybody`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := setupOf(t, row.text)
			if err == nil {
				t.Fatal("no mistake is found")
			}
			said := err.Error()
			line, rest, _ := strings.Cut(row.want, ":")
			want := "broker.yaml:" + plus(t, line, lines) + ":" + rest
			if !strings.HasPrefix(said, want) || strings.Contains(said, "hunter2") {
				t.Errorf("said:\n%s\nwant:\n%s", said, want)
			}
			if strings.Contains(said, "\n") {
				t.Errorf("one mistake is told in several lines:\n%s", said)
			}
		})
	}
}

func plus(t *testing.T, number string, more int) string {
	t.Helper()
	n := 0
	for _, c := range number {
		n = 10*n + int(c-'0')
	}
	n += more
	digits := ""
	for ; n > 0; n /= 10 {
		digits = string(rune('0'+n%10)) + digits
	}
	return digits
}

// Every step of the library has a name in the file, and each option is of some step.
func TestEveryStepHasAName(t *testing.T) {
	t.Parallel()
	var exported []string
	for _, folder := range []string{"firstlogin", "factor", "factor/passkey"} {
		dir := filepath.Join("..", "..", "flow", filepath.FromSlash(folder))
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file.Name(), ".go") && !strings.HasSuffix(file.Name(), "_test.go") {
				exported = append(exported, stepsIn(t, filepath.Join(dir, file.Name()), filepath.Base(dir))...)
			}
		}
	}
	if len(exported) < 20 {
		t.Fatalf("only found %q", exported)
	}
	var named []string
	for name, kind := range steps {
		named = append(named, kind.of)
		if (kind.do == nil) == (kind.sub == nil) {
			t.Errorf("%s is made of nothing, or of two things", name)
		}
		if kind.sub != nil {
			continue
		}
		made := reflect.TypeOf(kind.do(&step{}))
		if kind.of == made.String() && made.NumField() != len(kind.options) {
			t.Errorf("%s has the options %q, and %s has %d fields", name, kind.options, kind.of, made.NumField())
		}
	}
	for _, name := range exported {
		if !slices.Contains(named, name) && name != "firstlogin.Default" {
			t.Errorf("%s has no name in the file", name)
		}
	}
	for _, name := range named {
		if !slices.Contains(exported, name) {
			t.Errorf("there is no %s any more", name)
		}
	}
	for key, field := range keysOf(reflect.TypeFor[step]()) {
		if !slices.Contains([]string{"ID", "When", "Step", "Flow", "Sub"}, field.Name) && whose(key) == ":  has it" {
			t.Errorf("%s is an option of no step", key)
		}
	}
}

// stepsIn returns the exported authenticators and the functions that return one, or a flow, of a file.
func stepsIn(t *testing.T, file, pkg string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range parsed.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if fn.Recv != nil {
			if owner, ok := fn.Recv.List[0].Type.(*ast.Ident); ok && fn.Name.Name == "Authenticate" && owner.IsExported() {
				names = append(names, pkg+"."+owner.Name)
			}
			continue
		}
		if !fn.Name.IsExported() || fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
			continue
		}
		if result, ok := fn.Type.Results.List[0].Type.(*ast.SelectorExpr); ok && (result.Sel.Name == "Authenticator" || result.Sel.Name == "Flow") {
			names = append(names, pkg+"."+fn.Name.Name)
		}
	}
	return names
}

// A flow of the file runs, and its mail arrives in the folder.
func TestFlowAndMailOfTheFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := providertest.StartOIDC(t, providertest.OIDCConfig{Name: "Other", AutoLogin: "alice", Clients: []providertest.Client{
		{ID: "broker", Secret: "secret of the broker", RedirectURIs: []string{s.url + "/id/broker/other/endpoint"}},
	}})
	s.edit("clients:\n", `  - alias: other
    type: oidc
    name: Other
    issuer: `+other.Issuer()+`
    client_id: broker
    client_secret: secret of the broker
    insecure_allow_http: true
    insecure_allow_private_networks: true
    post_login: guests
flows:
  office:
    - {step: create, when: alternative}
    - id: existing
      when: alternative
      sub:
        - {step: confirm_link}
        - {step: verify_email}
  guests:
    - {step: allow}
    - {id: not-guests, when: conditional, sub: [{step: if_role, role: guest}, {step: deny}]}
first_login: office
mail: {directory: mails}
clients:
`)
	s.start()
	page := brokertest.NewBrowser(t).Get(s.url + "/").Click("Demo")
	if !strings.Contains(page.Body, "Signed in as Alice Liddell") {
		t.Fatalf("a new user comes to\n%s", page.Body)
	}
	page = brokertest.NewBrowser(t).Get(s.url + "/").Click("Other").Submit(url.Values{"link": {"1"}})
	files, err := filepath.Glob(filepath.Join(s.dir, "mails", "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("there is the mail %v, %v; the page is\n%s", files, err, page.Body)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text, _ = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(text))) // the heads are no such text, and not asked for
	link := regexp.MustCompile(`https?://\S+/proof\?\S+`).Find(text)
	shown := regexp.MustCompile(`class="code digits" dir="ltr">([0-9 ]+)<`).FindStringSubmatch(page.Body)
	if shown == nil {
		t.Fatalf("the page that waits shows no number:\n%s", page.Body)
	}
	brokertest.NewBrowser(t).Get(string(link)).Submit(url.Values{"number": {shown[1]}})
	if page = page.Submit(url.Values{"confirmed": {"1"}}); !strings.Contains(page.Body, "Signed in as Alice Liddell") {
		t.Errorf("after the proof:\n%s", page.Body)
	}
}
