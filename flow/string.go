package flow

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

var requirementNames = [...]string{"REQUIRED", "ALTERNATIVE", "CONDITIONAL", "DISABLED"}

// String returns the requirement as Keycloak writes it.
func (r Requirement) String() string {
	if r < 0 || int(r) >= len(requirementNames) {
		return fmt.Sprintf("Requirement(%d)", int(r))
	}
	return requirementNames[r]
}

// String returns the tree, a line a step: ID, requirement, and what it does, which is the authenticator's own String or
// the name of its type.
func (f Flow) String() string {
	var rows [][3]string
	rows = f.rows(rows, "", 1)
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-*s %-11s %s", width, r[0], r[1], r[2]), " "))
	}
	return b.String()
}

func (f Flow) rows(rows [][3]string, indent string, depth int) [][3]string {
	for i := range f {
		s := &f[i]
		if len(rows) >= maxSteps || depth > maxDepth {
			return append(rows, [3]string{indent + "…"})
		}
		branch, below := "├ ", "│ "
		if i == len(f)-1 {
			branch, below = "└ ", "  "
		}
		rows = append(rows, [3]string{indent + branch + s.ID, s.When.String(), s.does()})
		rows = s.Sub.rows(rows, indent+below, depth+1)
	}
	return rows
}

func (s *Step) does() string {
	switch do := s.Do.(type) {
	case nil:
		return ""
	case condition:
		return "condition"
	case fmt.Stringer:
		return do.String()
	default:
		return fmt.Sprintf("%T", do)
	}
}
