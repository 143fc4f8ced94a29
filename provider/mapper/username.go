package mapper

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/claim"
)

// A Target is what [Username] writes.
type Target int

// The targets.
const (
	Local Target = iota // the name of a user who is created
	// BrokerID is the subject by which the user is known: who gets another one is somebody else. What it is made of has to be
	// unique and stable at the upstream, as e-mail addresses and names are not. Between two claims there has to be a text, whose
	// first character the former claim must not contain: "a" with "b-c" is not to be "a-b" with "c".
	BrokerID
	// BrokerUsername is the name on the link and, unless another mapper says otherwise, that of a user who is created.
	BrokerUsername
	// FormerID is the subject by which the user was known before, for users who are linked by that and not yet by their own: see
	// provider.Identity.FormerSubject. Where a claim is missing nobody is known so.
	FormerID
)

// The claim in which package saml has the NameID.
const nameID = "urn:oasis:names:tc:SAML:2.0:assertion:NameID"

// A template is a list of parts, each a text or something to fill in.
type template []part

type part struct {
	text  string // of a literal; of a claim its path, for errors
	kind  kind
	claim claim.Path
	pipes []func(string) string
}

type kind int

const (
	literal kind = iota
	alias
	uuid
	value
)

var pipes = map[string]func(string) string{
	"uppercase": strings.ToUpper,
	"lowercase": strings.ToLower,
	"localpart": func(s string) string {
		if at := strings.LastIndexByte(s, '@'); at >= 0 {
			return s[:at]
		}
		return s
	},
}

// Username fills in text and writes it to the target. What stands in ${…} is replaced: ALIAS is the provider's, UUID a random
// one, CLAIM.path (or ATTRIBUTE.path) a claim, of a list the first element, and NAMEID the NameID of SAML. Each may be followed by
// pipes: "${CLAIM.email | localpart | lowercase}"; there is uppercase, lowercase and localpart, which is what stands before the last "@".
//
// A claim that is not there is empty. With [BrokerID] it ends the login, as do null, lists, objects, booleans, the number 0, and a
// claim that has the character which ends it: what several have in common would be one account.
func Username(text string, target Target) provider.Mapper {
	m := provider.Mapper{Name: "username " + text, Stage: provider.StageLookup}
	t, err := parseTemplate(text)
	switch {
	case err != nil:
		return broken(m, err)
	case target < Local || target > FormerID:
		return broken(m, fmt.Errorf("target %d is unknown", target))
	case (target == BrokerID || target == FormerID) && !t.has(value):
		return broken(m, errors.New("an id without a claim would be the same for everybody"))
	case (target == BrokerID || target == FormerID) && t.has(uuid):
		return broken(m, errors.New("an id with a UUID would be another one at each login"))
	case (target == BrokerID || target == FormerID) && t.runsTogether():
		return broken(m, errors.New("two claims of an id stand side by side: different people could have it in common"))
	}
	switch target {
	case Local:
		m.Stage = provider.StageProfile
		m.Map = func(m *provider.Mapping) error {
			if m.Update { // it is for ever
				return nil
			}
			if s, _ := t.fill(m, false); claim.Usable(strings.TrimSpace(s)) {
				m.Profile.Username = s
			}
			return nil
		}
	case BrokerID:
		m.Map = func(m *provider.Mapping) error {
			s, err := t.fill(m, true)
			if err == nil {
				m.Identity.Subject = s
			}
			return err
		}
	case FormerID:
		m.Map = func(m *provider.Mapping) error {
			if s, err := t.fill(m, true); err == nil {
				m.Identity.FormerSubject = s
			}
			return nil
		}
	case BrokerUsername:
		m.Map = func(m *provider.Mapping) error {
			if s, _ := t.fill(m, false); claim.Usable(strings.TrimSpace(s)) {
				m.Identity.Username = s
			}
			return nil
		}
	}
	return m
}

func (t template) has(k kind) bool {
	for _, p := range t {
		if p.kind == k {
			return true
		}
	}
	return false
}

// runsTogether reports whether a claim follows another one at once.
func (t template) runsTogether() bool {
	for i := 1; i < len(t); i++ {
		if t[i].kind == value && t[i-1].kind == value {
			return true
		}
	}
	return false
}

func parseTemplate(text string) (template, error) {
	if text == "" {
		return nil, errors.New("the template is missing")
	}
	var t template
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			t = append(t, part{text: before})
		}
		if !found {
			break
		}
		inside, behind, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("template %q: a ${ is not closed", text)
		}
		p, err := parsePart(inside)
		if err != nil {
			return nil, fmt.Errorf("template %q: %w", text, err)
		}
		t, rest = append(t, p), behind
	}
	return t, nil
}

func parsePart(inside string) (p part, err error) {
	words := strings.Split(inside, "|")
	what := strings.TrimSpace(words[0])
	for _, prefix := range []string{"CLAIM.", "ATTRIBUTE."} {
		if at, ok := strings.CutPrefix(what, prefix); ok {
			p.kind, p.text = value, at
			if p.claim, err = claim.Parse(at); err != nil {
				return p, err
			}
		}
	}
	switch {
	case p.kind == value:
	case what == "ALIAS":
		p.kind = alias
	case what == "UUID":
		p.kind = uuid
	case what == "NAMEID":
		p.kind, p.text, p.claim = value, what, claim.Name(nameID)
	default:
		return p, fmt.Errorf("${%s} is none of ALIAS, UUID, NAMEID, CLAIM.path and ATTRIBUTE.path", what)
	}
	for _, word := range words[1:] {
		pipe, ok := pipes[strings.TrimSpace(word)]
		if !ok {
			return p, fmt.Errorf("%q is none of uppercase, lowercase and localpart", strings.TrimSpace(word))
		}
		p.pipes = append(p.pipes, pipe)
	}
	return p, nil
}

// fill fills the template in. With strict, each claim has to be what can identify somebody, and to end where it seems to.
func (t template) fill(m *provider.Mapping, strict bool) (string, error) {
	parts := make([]string, len(t))
	for i := range t {
		p := &t[i]
		s := p.text
		switch p.kind {
		case alias:
			s = m.Alias
		case uuid:
			s = newUUID()
		case value:
			s = ""
			v := p.claim.Find(m.Identity.Claims)
			if _, ok := claim.ID(v); strict && !ok {
				return "", fmt.Errorf("claim %q is missing, or nothing that can identify somebody", p.text)
			}
			if all := claim.Texts(v); len(all) > 0 {
				s = all[0]
			}
		}
		for _, pipe := range p.pipes {
			s = pipe(s)
		}
		if strict && p.kind == value && strings.TrimSpace(s) == "" {
			return "", fmt.Errorf("nothing is left of claim %q", p.text)
		}
		if parts[i] = s; strict && p.kind != value && i > 0 && t[i-1].kind == value && t[i:].has(value) {
			if end, _ := utf8.DecodeRuneInString(s); strings.ContainsRune(parts[i-1], end) {
				return "", fmt.Errorf("claim %q has the character %q, which is to end it", t[i-1].text, end)
			}
		}
	}
	return strings.Join(parts, ""), nil
}

// newUUID returns a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
