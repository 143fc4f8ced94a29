package broker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Published holes of comparable systems have tests here, which .github/ADVISORIES.md names: each of them exists, in the
// package that stands behind it.
func TestAdvisoriesHaveTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../.github/ADVISORIES.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]map[string]bool{}
	rows := 0
	for n, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || cells[0] == "What went wrong" {
			continue
		}
		rows++
		for _, problem := range advisoryFindings(t, packages, cells[2]) {
			t.Errorf("ADVISORIES.md:%d: %s", n+1, problem)
		}
	}
	if rows < 80 {
		t.Errorf("only %d rows: read the wrong lines?", rows)
	}
}

var advisoryNames = regexp.MustCompile("`((?:Test|Fuzz)\\w*)[^`]*`|\\(((?:broker|examples|flow|provider|store|token)[a-z0-9/-]*)\\)")

// advisoryFindings returns what is wrong with the tests that a row names: "`TestX`, `TestY` (package)", once or more.
func advisoryFindings(t *testing.T, packages map[string]map[string]bool, cell string) (found []string) {
	var unplaced []string
	named := false
	for _, m := range advisoryNames.FindAllStringSubmatch(cell, -1) {
		test, folder := m[1], m[2]
		if folder == "" {
			unplaced, named = append(unplaced, test), true
			continue
		}
		if packages[folder] == nil {
			packages[folder] = testsOf(t, folder)
		}
		for _, test := range unplaced {
			if !packages[folder][test] {
				found = append(found, "there is no "+test+" in "+folder)
			}
		}
		unplaced = nil
	}
	if len(unplaced) > 0 {
		found = append(found, "names a test without its package: "+strings.Join(unplaced, ", "))
	}
	if !named && !strings.HasPrefix(cell, "does not apply: ") {
		found = append(found, "neither names a test, nor says why it does not apply: "+cell)
	}
	return found
}

// testsOf returns the names of the tests and fuzz targets of a package, by its folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(folder), "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", folder, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

func TestAdvisoriesRefuse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ cell, want string }{
		{"`TestAdvisoriesRefuse`, `TestRules` (broker)", ""},
		{"`TestAdvisoriesRefuse/\"x\"` (broker); `FuzzJWKS` (token)", ""},
		{"does not apply: no LDAP yet", ""},
		{"", "neither names"},
		{"`TestRules`", "without its package"},
		{"does not apply: no LDAP yet, but `TestNobodyHasWritten` (broker)", "there is no TestNobodyHasWritten"},
		{"`TestRules` (broker), `TestRules`", "without its package"},
		{"`TestNobodyHasWritten` (broker)", "there is no TestNobodyHasWritten"},
		{"`TestAdvisoriesRefuse` (token)", "there is no"},
	} {
		t.Run(row.cell, func(t *testing.T) {
			t.Parallel()
			expectRuleFinding(t, advisoryFindings(t, map[string]map[string]bool{}, row.cell), row.want)
		})
	}
}
