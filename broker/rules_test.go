package broker_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The rules of the project that a machine can check. A rule that stands in the way is changed here, in a commit of its
// own that says why; an exception goes into a table beside its reason.

const rulesModule = "github.com/go-idbroker/idbroker"

// importRules say who may import whom. Folders are relative to the module; "x/..." is x and all below it, "x/*" what
// stands right below x. The rule with the longest pattern decides, and a package that no rule covers is an error.
var importRules = []importRule{{
	pkg: "token",
	why: "a leaf: a resource server in Go verifies our tokens without linking the broker",
}, {
	pkg:   "store",
	never: []string{"net/http", "database/sql"},
	why:   "a leaf: what is remembered knows neither how it travels nor where it is kept",
}, {
	pkg: "provider",
	why: "a leaf: what an upstream is, whatever it speaks; those who write one need nothing else of ours",
}, {
	pkg: "provider/*",
	may: []string{"provider", "token", "provider/internal/..."},
	why: "one protocol a package: a provider says who somebody is and decides nothing, so it sees no store and no flow",
}, {
	pkg: "provider/internal/...",
	may: []string{"provider", "token", "provider/internal/..."},
	why: "what the protocols share is bound as they are",
}, {
	pkg: "provider/social",
	may: []string{"provider", "token", "provider/internal/...", "provider/oidc", "provider/oauth2"},
	why: "presets are values over the two protocol packages",
}, {
	pkg:   "provider/mapper",
	may:   []string{"provider", "provider/internal/claim"},
	never: []string{"net/http"},
	why:   "mappers are pure: they edit a value. Claims are found by the same paths as where a provider reads them",
}, {
	pkg: "provider/providertest",
	kit: true,
	may: []string{"provider", "token", "provider/internal/..."},
	why: "a foreign upstream, written from the specifications and not from our own client",
}, {
	pkg: "store/*",
	may: []string{"store", "store/seal"},
	why: "a store is tried alone, and the driver or client is the host's choice",
}, {
	pkg: "store/storetest",
	kit: true,
	may: []string{"store"},
	why: "the kit knows the contract and no implementation",
}, {
	pkg:   "flow",
	may:   []string{"provider", "store"},
	never: []string{"net/http", "html/template"},
	why:   "a pure engine: a login can be decided, drawn and fuzzed without a server",
}, {
	pkg: "flow/internal/...",
	why: "what the steps share is no more than they need",
}, {
	pkg:   "flow/factor",
	may:   []string{"flow", "flow/internal/...", "provider", "store"},
	never: []string{"net/http", "html/template"},
	why:   "a step asks for a page by its name and does not render it",
}, {
	pkg:   "flow/factor/passkey",
	may:   []string{"flow", "flow/factor", "flow/internal/...", "provider", "store"},
	never: []string{"html/template"},
	why:   "apart, so that who does not use passkeys links nothing of them",
}, {
	pkg:   "flow/firstlogin",
	may:   []string{"flow", "flow/factor", "flow/internal/...", "provider", "store"},
	never: []string{"net/http", "html/template"},
	why:   "a step asks for a page by its name and does not render it",
}, {
	pkg:   "flow/flowtest",
	kit:   true,
	may:   []string{"flow", "provider", "store"},
	never: []string{"net/http", "html/template"},
	why:   "drives a flow without HTTP",
}, {
	pkg: "broker",
	may: []string{"token", "store", "store/seal", "provider", "flow/...", "broker/internal/..."},
	why: "the facade names what is plugged into it by interface only: a host links the providers and the store it chose. " +
		"store/seal keeps nothing: it is what makes whichever store a safe one",
}, {
	pkg: "broker/mail",
	may: []string{"broker", "token", "store", "store/seal", "provider", "flow/...", "broker/internal/..."},
	why: "an SMTP client of ours is one Mailer of many: the broker does not link it",
}, {
	pkg: "broker/internal/...",
	may: []string{"token", "store", "store/seal", "provider", "flow/...", "broker/internal/..."},
	why: "parts of the broker are bound as the broker is",
}, {
	pkg: "broker/brokertest",
	kit: true,
	may: []string{
		"broker", "broker/internal/...", "token", "store", "store/memstore", "store/seal", "store/storetest", "provider",
		"provider/internal/...", "provider/oidc", "provider/providertest", "flow/...",
	},
	why: "a whole broker on loopback needs one store and one upstream that work",
}}

type importRule struct {
	pkg   string
	may   []string // of ours; standard packages and the modules of allowedModules are free to all
	never []string // whole trees of import paths that are not ours, named by the package or by what it names
	kit   bool     // a public test kit
	why   string
}

// allowedModules is all that the library may require: everything here ends up in go.sum of every host. SQL drivers,
// Redis clients, routers, browsers and test servers belong into the examples module.
var allowedModules = map[string]string{
	"code.dny.dev/ssrf":                             "the address list that the guarded HTTP client refuses; no dependencies",
	"github.com/coreos/go-oidc/v3":                  "OpenID Connect discovery and ID tokens",
	"github.com/go-jose/go-jose/v4":                 "JWK sets",
	"github.com/golang-jwt/jwt/v5":                  "JWT, wrapped once in token",
	"github.com/pquerna/otp":                        "one-time codes (RFC 4226), and their QR image by boombuler/barcode",
	"github.com/boombuler/barcode":                  "of pquerna/otp",
	"github.com/beevik/etree":                       "the one XML tree of provider/saml",
	"github.com/russellhaering/goxmldsig":           "canonical XML and XML signatures",
	"github.com/russellhaering/gosaml2":             "SAML requests",
	"github.com/jonboulle/clockwork":                "of goxmldsig",
	"github.com/mattermost/xml-roundtrip-validator": "of gosaml2, for its own parser; provider/saml says why it needs none",
	"github.com/fxamacker/cbor/v2":                  "of go-webauthn/webauthn",
	"github.com/go-viper/mapstructure/v2":           "of go-webauthn/webauthn",
	"github.com/go-webauthn/webauthn":               "WebAuthn, for hosts that import flow/factor/passkey; the broker does not",
	"github.com/go-webauthn/x":                      "of go-webauthn/webauthn",
	"github.com/google/go-tpm":                      "of go-webauthn/webauthn",
	"github.com/google/uuid":                        "of go-webauthn/webauthn",
	"github.com/philhofer/fwd":                      "of go-webauthn/webauthn",
	"github.com/tinylib/msgp":                       "of go-webauthn/webauthn",
	"github.com/x448/float16":                       "of go-webauthn/webauthn",
	"golang.org/x/crypto":                           "argon2id and, for imported users, bcrypt",
	"github.com/wneessen/go-mail":                   "SMTP, for hosts that import broker/mail; the broker does not",
	"golang.org/x/oauth2":                           "the OAuth 2.0 client",
	"golang.org/x/sys":                              "of golang.org/x/crypto",
	"golang.org/x/sync":                             "single flight for key sets and metadata",
	"golang.org/x/text":                             "languages and Unicode profiles of names",
}

// topLevel is all that stands visibly in the module's root.
var topLevel = []string{
	"LICENSE", "README.md", "broker", "examples", "flow", "go.mod", "go.sum", "provider", "store", "token",
}

// refusedImports are packages that shipped code does not import. Kits may.
var refusedImports = map[string]string{
	"testing":           "it would be linked into the hosts' programs",
	"net/http/httptest": "it would be linked into the hosts' programs",
	"log":               "logging goes to the *slog.Logger of the configuration",
	"math/rand":         "secrets, identifiers and nonces come from crypto/rand; jitter needs a row in allowedImports",
	"math/rand/v2":      "secrets, identifiers and nonces come from crypto/rand; jitter needs a row in allowedImports",
	"expvar":            "it registers a handler at http.DefaultServeMux",
	"net/http/pprof":    "it registers handlers at http.DefaultServeMux",
	"unsafe":            "nothing here needs it",
}

// allowedImports are the exceptions of refusedImports: folder and import path, with the reason.
var allowedImports = map[[2]string]string{
	{"store/sqlstore", "math/rand/v2"}:         "jitter between the tries of a transaction",
	{"broker/internal/upkeep", "math/rand/v2"}: "jitter between the upkeep of several nodes",
}

// refusedNames are functions and variables that shipped code does not mention. Kits may.
var refusedNames = map[string]string{
	"context.Background":       "work ends with the caller's context; detach with context.WithoutCancel and a timeout",
	"context.TODO":             "work ends with the caller's context; detach with context.WithoutCancel and a timeout",
	"net/http.DefaultClient":   "it has no timeout, no size limit, and reaches private networks",
	"net/http.Get":             "it has no timeout, no size limit, and reaches private networks",
	"net/http.Head":            "it has no timeout, no size limit, and reaches private networks",
	"net/http.Post":            "it has no timeout, no size limit, and reaches private networks",
	"net/http.PostForm":        "it has no timeout, no size limit, and reaches private networks",
	"net/http.Handle":          "routes are the host's: hand out a handler",
	"net/http.HandleFunc":      "routes are the host's: hand out a handler",
	"net/http.DefaultServeMux": "routes are the host's: hand out a handler",
	"log/slog.Default":         "logging goes to the *slog.Logger of the configuration",
	"log/slog.SetDefault":      "the default logger is the host's",
	"os.Getenv":                "a library is configured by its Config, not by the environment",
	"os.LookupEnv":             "a library is configured by its Config, not by the environment",
	"os.Exit":                  "only the host ends its process",
	"os.Stdout":                "logging goes to the *slog.Logger of the configuration",
	"os.Stderr":                "logging goes to the *slog.Logger of the configuration",
	"fmt.Print":                "logging goes to the *slog.Logger of the configuration",
	"fmt.Printf":               "logging goes to the *slog.Logger of the configuration",
	"fmt.Println":              "logging goes to the *slog.Logger of the configuration",
}

// maySkip lists the only files whose tests may be skipped.
var maySkip = map[string]string{
	"examples/integration/peer_test.go": "foreign programs that a newcomer does not have; the CI run requires them",
}

func TestRules(t *testing.T) {
	t.Parallel()
	pkgs, imp := loadRulePackages(t, "./...")
	if len(pkgs) < 5 {
		t.Fatalf("found only %d packages of ours: the rules look at the wrong place", len(pkgs))
	}
	for _, p := range pkgs {
		if err := p.parse(imp); err != nil {
			t.Fatal(err)
		}
	}
	report := func(name string, check func(*rulePackage) []string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, p := range pkgs {
				for _, finding := range check(p) {
					t.Error(finding)
				}
			}
		})
	}
	report("imports", checkRuleImports)
	report("docs", checkRuleDocs)
	report("state", checkRuleState)
	report("names", checkRuleNames)
}

// TestRulesExceptions wants every exception to be needed still.
func TestRulesExceptions(t *testing.T) {
	t.Parallel()
	pkgs, _ := loadRulePackages(t, "./...")
	for key := range allowedImports {
		if !slices.ContainsFunc(pkgs, func(p *rulePackage) bool { return p.folder() == key[0] && slices.Contains(p.Imports, key[1]) }) {
			t.Errorf("allowedImports: %s does not import %s any more", key[0], key[1])
		}
	}
}

func TestRulesTopLevel(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	leftBehind := regexp.MustCompile(`^go\.work(\.sum)?$|\.(test|out|prof)$`) // by the go tool; .gitignore has them
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || leftBehind.MatchString(name) || slices.Contains(topLevel, name) {
			continue
		}
		t.Errorf("%s stands at the top level, which is fixed: %v", name, topLevel)
	}
}

func TestRulesModules(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct{ Path string }
		Replace []struct{ Old struct{ Path string } }
		Tool    []struct{ Path string }
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Require) == 0 {
		t.Fatal("go.mod requires nothing: read the wrong file?")
	}
	for _, r := range mod.Require {
		if allowedModules[r.Path] == "" {
			t.Errorf("go.mod requires %s, which allowedModules does not have: does it belong into examples/go.mod?", r.Path)
		}
	}
	for _, r := range mod.Replace {
		t.Errorf("go.mod replaces %s: hosts would not see that", r.Old.Path)
	}
	for _, r := range mod.Tool {
		t.Errorf("go.mod pins the tool %s: tools belong into .github/tools.mod", r.Path)
	}
}

// TestRulesTests holds the tests to two of their rules: none may be skipped, none waits by sleeping.
func TestRulesTests(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return fs.SkipDir
		case !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		files++
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(file, ".."+string(filepath.Separator)))
		for _, finding := range checkRuleTestFile(name, src) {
			t.Error(finding)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("found no test file")
	}
}

// checkRuleImports holds p to the most specific of importRules. It looks at everything that p links, not only at what
// it names, so that nothing is reached through a third package; only what another package of ours brings along is that
// package's affair.
func checkRuleImports(p *rulePackage) (findings []string) {
	r, ok := importRuleFor(p.folder())
	if !ok {
		return []string{p.folder() + ": no rule covers this package: add one to importRules, with its reason"}
	}
	isKit := strings.HasSuffix(path.Base(p.ImportPath), "test")
	if isKit != r.kit {
		findings = append(findings, p.folder()+": a folder whose name ends in \"test\" is a kit with a rule of its own, and only that")
	}
	for _, dep := range p.Deps {
		folder, ours := strings.CutPrefix(dep, rulesModule+"/")
		if !ours {
			continue
		}
		if !matchesAny(r.may, folder) {
			findings = append(findings, fmt.Sprintf("%s imports %s: %s", p.folder(), folder, r.why))
		}
		if dr, _ := importRuleFor(folder); dr.kit && !r.kit {
			findings = append(findings, fmt.Sprintf("%s imports the test kit %s", p.folder(), folder))
		}
	}
	for _, dep := range p.foreign {
		if underAny(r.never, dep) {
			findings = append(findings, fmt.Sprintf("%s imports %s: %s", p.folder(), dep, r.why))
		}
		if dep == "testing" && !r.kit {
			findings = append(findings, fmt.Sprintf("%s links testing: %s", p.folder(), refusedImports[dep]))
		}
	}
	for _, path := range p.Imports {
		why := refusedImports[path]
		if why != "" && !r.kit && allowedImports[[2]string{p.folder(), path}] == "" {
			findings = append(findings, fmt.Sprintf("%s imports %s: %s", p.folder(), path, why))
		}
	}
	return findings
}

// checkRuleDocs wants a package comment that says something, in a public package with a use of it, and a comment on
// every name that can be seen from outside. Fields need one where a person fills them in: in Config structs.
func checkRuleDocs(p *rulePackage) (findings []string) {
	missing := func(pos token.Pos, what string) {
		findings = append(findings, fmt.Sprintf("%s: %s has no doc comment", p.fset.Position(pos), what))
	}
	internal := strings.Contains("/"+p.folder()+"/", "/internal/")
	findings = append(findings, p.checkPackageDoc(internal)...)
	for _, file := range p.files {
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc.Text() == "" && (d.Recv == nil || ast.IsExported(receiverName(d))) &&
					!p.implementsWellKnown(d) {
					missing(d.Pos(), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					checkSpecDoc(d, s, missing)
				}
			}
		}
	}
	return findings
}

func (p *rulePackage) checkPackageDoc(internal bool) []string {
	var docs []string
	for _, file := range p.files {
		if text := file.Doc.Text(); text != "" {
			docs = append(docs, text)
		}
	}
	if len(docs) != 1 {
		return []string{fmt.Sprintf("%s: has %d package comments, want one", p.folder(), len(docs))}
	}
	doc := docs[0]
	switch {
	case !strings.HasPrefix(doc, "Package "+p.Name+" "):
		return []string{p.folder() + ": the package comment does not begin with \"Package " + p.Name + " \""}
	case len(strings.Fields(doc)) < 12:
		return []string{p.folder() + ": the package comment says next to nothing"}
	case !internal && !strings.Contains(doc, "\n\t"):
		return []string{p.folder() + ": the package comment of a public package shows a use (indented code)"}
	}
	return nil
}

func checkSpecDoc(d *ast.GenDecl, s ast.Spec, missing func(token.Pos, string)) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		// One comment may stand for a group of constants of one type, as go doc shows them together.
		documented := s.Doc.Text() != "" || s.Comment.Text() != "" || d.Doc.Text() != ""
		for _, name := range s.Names {
			if name.IsExported() && !documented {
				missing(name.Pos(), name.Name)
			}
		}
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return
		}
		if s.Doc.Text() == "" && (d.Doc.Text() == "" || len(d.Specs) > 1) {
			missing(s.Pos(), s.Name.Name)
		}
		checkMembersDoc(s, missing)
	}
}

func checkMembersDoc(s *ast.TypeSpec, missing func(token.Pos, string)) {
	var members *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.InterfaceType:
		members = t.Methods
	case *ast.StructType:
		if strings.HasSuffix(s.Name.Name, "Config") {
			members = t.Fields
		}
	}
	if members == nil {
		return
	}
	said := "" // the last comment: it may speak of the members after it, too, by their names
	for _, m := range members.List {
		if text := m.Doc.Text() + m.Comment.Text(); text != "" {
			said = text
			continue
		}
		for _, name := range m.Names {
			if name.IsExported() && !slices.Contains(strings.FieldsFunc(said, notInName), name.Name) {
				missing(name.Pos(), s.Name.Name+"."+name.Name)
			}
		}
	}
}

func notInName(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }

// implementsWellKnown is true for methods whose contract everybody knows.
func (p *rulePackage) implementsWellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "As", "Len", "Less", "Swap"}, d.Name.Name)
}

// checkRuleState finds what makes a package remember or do something by being imported: init functions, and package
// variables that are written outside their declaration. Sentinel errors, compiled patterns and tables are fine.
func checkRuleState(p *rulePackage) (findings []string) {
	complain := func(pos token.Pos, format string, args ...any) {
		findings = append(findings, fmt.Sprintf("%s: %s", p.fset.Position(pos), fmt.Sprintf(format, args...)))
	}
	written := func(expr ast.Expr) {
		if v := p.packageVar(expr); v != nil {
			complain(expr.Pos(), "writes to the package variable %s: no globals", v.Name())
		}
	}
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					complain(n.Pos(), "has an init function: importing a package does nothing")
				}
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					written(left)
				}
			case *ast.IncDecStmt:
				written(n.X)
			case *ast.RangeStmt:
				written(n.Key)
				written(n.Value)
			case *ast.UnaryExpr:
				if v := p.packageVar(n.X); n.Op == token.AND && v != nil {
					complain(n.Pos(), "takes the address of the package variable %s: no globals", v.Name())
				}
			case *ast.CallExpr:
				if name, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"delete", "clear"}, name.Name) {
					written(n.Args[0])
				}
			case *ast.ValueSpec:
				for _, name := range n.Names {
					if v := p.packageVar(name); v != nil && isMutable(v.Type()) {
						complain(name.Pos(), "the package variable %s is a %s: no globals", v.Name(), v.Type())
					}
				}
			}
			return true
		})
	}
	return findings
}

// isMutable is true for types whose only use is to be changed.
func isMutable(t types.Type) bool {
	if ptr, ok := types.Unalias(t).(*types.Pointer); ok {
		t = ptr.Elem()
	}
	if _, ok := t.Underlying().(*types.Chan); ok {
		return true
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return false
	}
	pkg, name := named.Obj().Pkg().Path(), named.Obj().Name()
	// A Pool remembers nothing: what comes out of it is as good as new.
	return pkg == "sync" && name != "Pool" || pkg == "sync/atomic"
}

// packageVar returns the package-level variable of p that expr is a part of, or nil.
func (p *rulePackage) packageVar(expr ast.Expr) *types.Var {
	for {
		switch e := expr.(type) {
		case *ast.ParenExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		case *ast.SelectorExpr:
			if v, ok := p.info.Uses[e.Sel].(*types.Var); ok && !v.IsField() {
				return v // of another package
			}
			expr = e.X
		case *ast.Ident:
			v, ok := p.info.ObjectOf(e).(*types.Var)
			if !ok || v.Parent() != p.types.Scope() {
				return nil
			}
			return v
		default:
			return nil
		}
	}
}

// checkRuleNames finds mentions of refusedNames, whatever the import is called.
func checkRuleNames(p *rulePackage) (findings []string) {
	if r, _ := importRuleFor(p.folder()); r.kit {
		return nil
	}
	for ident, obj := range p.info.Uses {
		if obj.Pkg() == nil || obj.Parent() != obj.Pkg().Scope() {
			continue
		}
		name := obj.Pkg().Path() + "." + obj.Name()
		if why := refusedNames[name]; why != "" {
			findings = append(findings, fmt.Sprintf("%s: uses %s: %s", p.fset.Position(ident.Pos()), name, why))
		}
	}
	slices.Sort(findings)
	return findings
}

// checkRuleTestFile looks at one test file: no skips but in maySkip, no sleeping but in a synctest bubble, where time is
// not the machine's.
func checkRuleTestFile(name string, src []byte) (findings []string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, 0)
	if err != nil {
		return []string{err.Error()}
	}
	imports := map[string]string{}
	for _, spec := range file.Imports {
		importPath := strings.Trim(spec.Path.Value, `"`)
		alias := path.Base(importPath)
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		imports[alias] = importPath
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, _ := sel.X.(*ast.Ident)
		if x == nil {
			return true
		}
		pos := fset.Position(sel.Pos())
		switch from := imports[x.Name]; {
		case from == "" && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) && maySkip[name] == "":
			findings = append(findings, fmt.Sprintf("%s: skips a test", pos))
		case from == "testing" && sel.Sel.Name == "Short":
			findings = append(findings, fmt.Sprintf("%s: asks for -short: every test always runs", pos))
		case from == "time" && sel.Sel.Name == "Sleep" && imports["synctest"] == "":
			findings = append(findings, fmt.Sprintf("%s: sleeps: wait for a condition, or advance a clock", pos))
		}
		return true
	})
	return findings
}

// TestRulesRefuse shows every check something that it must refuse, and the same mended.
func TestRulesRefuse(t *testing.T) {
	t.Parallel()
	_, imp := loadRulePackages(t, "context", "net/http", "sync")
	const doc = "// Package oidc is here to be looked at by a test of the rules:\n//\n//\toidc.Use()\npackage oidc\n"
	state, names, docs := checkRuleState, checkRuleNames, checkRuleDocs
	for _, row := range []struct {
		name  string
		check func(*rulePackage) []string
		src   string
		want  string // part of the only finding; "" for none
	}{
		{"fine", docs, doc, ""},
		{"no package comment", docs, "package oidc", "has 0 package comments"},
		{"other package's comment", docs, "// Package odic is one of those of which there are several in this place.\npackage oidc", "does not begin"},
		{"empty package comment", docs, "// Package oidc does OIDC.\npackage oidc", "next to nothing"},
		{"no use", docs, "// Package oidc is here to be looked at by a test of the rules and has no code.\npackage oidc", "shows a use"},
		{"func", docs, doc + "func Use() {}", "Use has no doc"},
		{"method", docs, doc + "// T is.\ntype T int\nfunc (*T) Use() {}", "Use has no doc"},
		{"method of generic", docs, doc + "// T is.\ntype T[E any] int\nfunc (T[E]) Use() {}", "Use has no doc"},
		{"method of hidden", docs, doc + "type t int\nfunc (t) Use() {}", ""},
		{"error method", docs, doc + "// E is.\ntype E int\nfunc (E) Error() string { return \"\" }", ""},
		{"type", docs, doc + "type T int", "T has no doc"},
		{"type in a group", docs, doc + "// Two.\ntype (\n\tT int\n\t// U is.\n\tU int\n)", "T has no doc"},
		{"const", docs, doc + "const C = 1", "C has no doc"},
		{"const in a group", docs, doc + "// All.\nconst (\n\tC = 1\n\tD = 2\n)", ""},
		{"var", docs, doc + "var V = 1", "V has no doc"},
		{"interface method", docs, doc + "// I is.\ntype I interface{ Do() }", "I.Do has no doc"},
		{"config field", docs, doc + "// Config is.\ntype Config struct{ N int }", "Config.N has no doc"},
		{"config field after its twin", docs, doc + "// Config is.\ntype Config struct {\n\t// A and B are.\n\tA int\n\tB int\n\tC int\n}", "Config.C has"},
		{"config field with a line comment", docs, doc + "// Config is.\ntype Config struct {\n\tN int // is\n}", ""},

		{"sentinels and tables", state, "package oidc\nvar m = map[string]int{}\nfunc f() int { return m[\"\"] }", ""},
		{"local twin", state, "package oidc\nvar m int\nfunc f() { m := 0; m++; _ = m }", ""},
		{"init", state, "package oidc\nfunc init() {}", "init function"},
		{"method init", state, "package oidc\ntype t int\nfunc (t) init() {}", ""},
		{"assign", state, "package oidc\nvar v int\nfunc f() { v = 1 }", "writes to the package variable v"},
		{"count", state, "package oidc\nvar v int\nfunc f() { v++ }", "writes to the package variable v"},
		{"index", state, "package oidc\nvar m = map[int]int{}\nfunc f() { m[1] = 1 }", "writes to the package variable m"},
		{"field", state, "package oidc\nvar v struct{ n int }\nfunc f() { (v).n = 1 }", "writes to the package variable v"},
		{"delete", state, "package oidc\nvar m map[int]int\nfunc f() { delete(m, 1) }", "writes to the package variable m"},
		{"range", state, "package oidc\nvar v int\nfunc f() { for v = range 3 {} }", "writes to the package variable v"},
		{"address", state, "package oidc\nvar v int\nfunc f() *int { return &v }", "takes the address"},
		{"other package's", state, "package oidc\nimport \"net/http\"\nfunc f() { http.DefaultClient = nil }", "DefaultClient"},
		{"lock", state, "package oidc\nimport \"sync\"\nvar mu sync.Mutex", "is a sync.Mutex"},
		{"once", state, "package oidc\nimport \"sync\"\nvar o = new(sync.Once)", "is a *sync.Once"},
		{"pool", state, "package oidc\nimport \"sync\"\nvar p sync.Pool", ""},

		{"background", names, "package oidc\nimport c \"context\"\nfunc f() any { return c.Background() }", "uses context.Background"},
		{"todo", names, "package oidc\nimport . \"context\"\nvar f = TODO", "uses context.TODO"},
		{"default client", names, "package oidc\nimport \"net/http\"\nvar c = http.DefaultClient", "uses net/http.DefaultClient"},
		{"method of the same name", names, "package oidc\nimport \"net/http\"\nfunc f(c http.Client) { c.Get(\"\") }", ""},
	} {
		t.Run(row.name, func(t *testing.T) { // not parallel: imp is not safe for that
			p := &rulePackage{ImportPath: rulesModule + "/provider/oidc", Name: "oidc"}
			if err := p.parseSources(imp, map[string][]byte{"x.go": []byte(row.src)}); err != nil {
				t.Fatal(err)
			}
			expectRuleFinding(t, row.check(p), row.want)
		})
	}
}

func TestRulesRefuseImports(t *testing.T) {
	t.Parallel()
	const m = rulesModule + "/"
	for _, row := range []struct {
		pkg     string
		deps    []string // ours
		foreign []string
		imports []string
		want    string
	}{
		{pkg: "token"},
		{pkg: "util", want: "no rule covers"},
		{pkg: "provider/oidc/x", want: "no rule covers"},
		{pkg: "provider/odictest", want: "is a kit with a rule of its own"},
		{pkg: "token", deps: []string{m + "store"}, want: "token imports store"},
		{pkg: "store", foreign: []string{"net/http/httptrace"}, want: "store imports net/http/httptrace"},
		{pkg: "store/sqlstore", deps: []string{m + "store", m + "store/seal"}, foreign: []string{"database/sql"}},
		{pkg: "store/sqlstore", deps: []string{m + "store/memstore"}, want: "store/sqlstore imports store/memstore"},
		{pkg: "store/storetest", deps: []string{m + "store/memstore"}, want: "store/storetest imports store/memstore"},
		{pkg: "provider/oidc", deps: []string{m + "provider", m + "token", m + "provider/internal/web"}, foreign: []string{"net/http"}},
		{pkg: "provider/oidc", deps: []string{m + "provider/oauth2"}, want: "provider/oidc imports provider/oauth2"},
		{pkg: "provider/oidc", deps: []string{m + "flow"}, want: "provider/oidc imports flow"},
		{pkg: "provider/social", deps: []string{m + "provider/oauth2", m + "provider/oidc"}},
		{pkg: "flow", foreign: []string{"html/template"}, want: "flow imports html/template"},
		{pkg: "flow", deps: []string{m + "flow/factor"}, want: "flow imports flow/factor"},
		{pkg: "flow/factor", deps: []string{m + "flow/firstlogin"}, want: "flow/factor imports flow/firstlogin"},
		{pkg: "flow/firstlogin", deps: []string{m + "broker"}, want: "flow/firstlogin imports broker"},
		{pkg: "broker", deps: []string{m + "provider/oidc"}, want: "broker imports provider/oidc"},
		{pkg: "broker", deps: []string{m + "provider/internal/guard"}, want: "broker imports provider/internal/guard"},
		{pkg: "broker/internal/op/x", deps: []string{m + "store/memstore"}, want: "imports store/memstore"},
		{pkg: "broker", deps: []string{m + "flow", m + "flow/firstlogin", m + "broker/internal/op/x"}},
		{pkg: "broker", deps: []string{m + "flow/flowtest"}, want: "broker imports the test kit flow/flowtest"},
		{pkg: "broker", imports: []string{"testing"}, want: "broker imports testing"},
		{pkg: "broker", foreign: []string{"testing"}, want: "broker links testing"},
		{pkg: "broker", imports: []string{"math/rand/v2"}, want: "broker imports math/rand/v2"},
		{pkg: "broker/brokertest", deps: []string{m + "broker"}, imports: []string{"testing"}},
	} {
		t.Run(row.pkg, func(t *testing.T) {
			t.Parallel()
			p := &rulePackage{ImportPath: m + row.pkg, Deps: row.deps, Imports: row.imports, foreign: row.foreign}
			expectRuleFinding(t, checkRuleImports(p), row.want)
		})
	}
}

func TestRulesRefuseTests(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, file, src, want string }{
		{"skip", "a_test.go", "func f(t T) { t.Skip() }", "skips a test"},
		{"skip by name", "a_test.go", "func f(b T) { b.SkipNow() }", "skips a test"},
		{"skip where it may", "examples/integration/peer_test.go", "func f(t T) { t.Skip() }", ""},
		{"not a test's", "a_test.go", "import \"x/flow\"\nfunc f() { flow.Skip() }", ""},
		{"short", "a_test.go", "import \"testing\"\nfunc f() { testing.Short() }", "asks for -short"},
		{"sleep", "a_test.go", "import \"time\"\nfunc f() { time.Sleep(1) }", "sleeps"},
		{"sleep under an alias", "a_test.go", "import zzz \"time\"\nfunc f() { zzz.Sleep(1) }", "sleeps"},
		{"sleep in a bubble", "a_test.go", "import (\"time\"; \"testing/synctest\")\nfunc f() { synctest.Test(); time.Sleep(1) }", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			expectRuleFinding(t, checkRuleTestFile(row.file, []byte("package a\n"+row.src)), row.want)
		})
	}
}

func expectRuleFinding(t *testing.T, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("got %q, want no finding", got)
	case want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }):
		t.Errorf("got %q, want a finding with %q", got, want)
	}
}

// importRuleFor returns the rule with the longest pattern that covers folder.
func importRuleFor(folder string) (importRule, bool) {
	var found []importRule
	for _, r := range importRules {
		if matches(r.pkg, folder) {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return importRule{}, false
	}
	return slices.MaxFunc(found, func(a, b importRule) int {
		return cmp.Compare(len(strings.TrimRight(a.pkg, ".*")), len(strings.TrimRight(b.pkg, ".*")))
	}), true
}

func matches(pattern, folder string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == tree || strings.HasPrefix(folder, tree+"/")
	}
	ok, _ := path.Match(pattern, folder)
	return ok
}

func matchesAny(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, folder) })
}

func underAny(trees []string, importPath string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return matches(tree+"/...", importPath) })
}

func receiverName(d *ast.FuncDecl) string {
	for expr := d.Recv.List[0].Type; ; {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// rulePackage is what go list says of a package, and its shipped files with their types.
type rulePackage struct {
	ImportPath, Name, Dir, Export string
	GoFiles, Imports, Deps        []string

	foreign []string // imports that are not ours, and what these link

	fset  *token.FileSet
	files []*ast.File
	types *types.Package
	info  *types.Info
}

func (p *rulePackage) folder() string {
	return strings.TrimPrefix(p.ImportPath, rulesModule+"/")
}

func (p *rulePackage) parse(imp types.Importer) error {
	sources := map[string][]byte{}
	for _, name := range p.GoFiles {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return err
		}
		sources[path.Join(p.folder(), name)] = src
	}
	return p.parseSources(imp, sources)
}

func (p *rulePackage) parseSources(imp types.Importer, sources map[string][]byte) error {
	p.fset = token.NewFileSet()
	for name, src := range sources {
		file, err := parser.ParseFile(p.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p.files = append(p.files, file)
	}
	p.info = &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	var err error
	p.types, err = (&types.Config{Importer: imp}).Check(p.ImportPath, p.fset, p.files, p.info)
	return err
}

// loadRulePackages returns those of our packages that the patterns name or link, and an importer for all they link.
func loadRulePackages(t *testing.T, patterns ...string) ([]*rulePackage, types.Importer) {
	t.Helper()
	var ours []*rulePackage
	all := map[string]*rulePackage{}
	dec := json.NewDecoder(bytes.NewReader(goCommand(t, append([]string{"list", "-deps", "-export",
		"-json=ImportPath,Name,Dir,Export,GoFiles,Imports,Deps"}, patterns...)...)))
	for {
		p := new(rulePackage)
		err := dec.Decode(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
		if !strings.HasPrefix(p.ImportPath, rulesModule+"/") || len(p.GoFiles) == 0 {
			continue
		}
		ours = append(ours, p)
		for _, path := range p.Imports { // go list prints dependencies first
			if dep := all[path]; dep != nil && !strings.HasPrefix(path, rulesModule+"/") {
				p.foreign = append(append(p.foreign, path), dep.Deps...)
			}
		}
		slices.Sort(p.foreign)
		p.foreign = slices.Compact(p.foreign)
	}
	return ours, importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(all[path].Export)
	})
}

// goCommand runs the go command in the root of the module and returns what it prints.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}
